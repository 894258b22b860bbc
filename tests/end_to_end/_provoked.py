# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/alerts_provoked.md from provoked.yaml. tests/unit/test_alerts_provoked.py sees that both are true."""

from __future__ import annotations

import pathlib
import typing as t

import yaml

HERE = pathlib.Path(__file__).parent
TOP = HERE.parents[1]
PAGE = TOP / "docs" / "alerts_provoked.md"
DOUBLES = TOP / "tests" / "integration" / "test_iaas_alerts.py"


def read() -> dict[str, dict[str, dict[str, str]]]:
    """By file of rules and alert."""
    return yaml.safe_load((HERE / "provoked.yaml").read_text())


def page(table: t.Mapping[str, t.Mapping[str, t.Mapping[str, str]]]) -> str:
    entries = [entry for alerts in table.values() for entry in alerts.values()]
    doubles = sum("double" in entry for entry in entries)
    here = len(entries) - doubles
    done = sum("story" in entry for entry in entries)
    lines = [
        "# How each alert was provoked",
        "",
        f"{here} of the {len(entries)} alerts are about what the lab has. {done} of these ({done / here:.0%}) were made to fire in the lab by a",
        "real fault in a real cluster, and are so again in each run of the end-to-end tests. A threshold below the real value means that the alert's own",
        "expression fires on real data, but nothing was driven to its limits. All others have tests with given series (`tests/rules/`) like every alert.",
        "",
        f"The other {doubles} are about what the lab does not have: OpenStack and what kolla deploys with it, Ceph, and Harbor. No real fault was made",
        "for them. A double of their exporters that is well, then ill, then well again is scraped by a real Prometheus with the rule files, whose",
        "durations are a sixtieth: all of them fire, for what is ill only, and end (`tests/integration/test_iaas_alerts.py`).",
        "",
        "Written by `tests/end_to_end/_provoked.py` from `tests/end_to_end/provoked.yaml`.",
    ]
    for name, alerts in table.items():
        lines += ["", f"## {name}.yaml", "", "| alert | how | told by |", "|---|---|---|"]
        for alert, entry in alerts.items():
            only = f" (only {entry['severity']})" if "severity" in entry else ""
            if "double" in entry:
                lines.append(f"| {alert} | by a double of {entry['double']} | `{DOUBLES.name}` |")
            elif "story" in entry:
                lines.append(f"| {alert}{only} | {entry['how']} | `{entry['story']}` |")
            else:
                lines.append(f"| {alert} | **not**: {entry['why_not']} | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(read()))
