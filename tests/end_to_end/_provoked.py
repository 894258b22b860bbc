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


def read() -> dict[str, dict[str, dict[str, str]]]:
    """By file of rules and alert."""
    return yaml.safe_load((HERE / "provoked.yaml").read_text())


def page(table: t.Mapping[str, t.Mapping[str, t.Mapping[str, str]]]) -> str:
    entries = [entry for alerts in table.values() for entry in alerts.values()]
    done = sum("story" in entry for entry in entries)
    lines = [
        "# How each alert was provoked",
        "",
        f"Of {len(entries)} alerts {done} ({done / len(entries):.0%}) were made to fire in the lab by a real fault in a real cluster, and are so again",
        "in each run of the end-to-end tests. A threshold below the real value means that the alert's own expression fires on real data, but nothing was",
        "driven to its limits. All others have tests with given series (`tests/rules/`) like every alert.",
        "",
        "Written by `tests/end_to_end/_provoked.py` from `tests/end_to_end/provoked.yaml`.",
    ]
    for name, alerts in table.items():
        lines += ["", f"## {name}.yaml", "", "| alert | how | told by |", "|---|---|---|"]
        for alert, entry in alerts.items():
            only = f" (only {entry['severity']})" if "severity" in entry else ""
            lines.append(f"| {alert}{only} | {entry['how']} | `{entry['story']}` |" if "story" in entry else f"| {alert} | **not**: {entry['why_not']} | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(read()))
