# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of how each alert was provoked in the lab is complete and says nothing of stories that there are not."""

from __future__ import annotations

import ast
import importlib.util
import pathlib
import re
import typing as t

import pytest
import yaml
from _rule_files import ELSEWHERE

TOP = pathlib.Path(__file__).parents[2]
FOLDER = TOP / "tests" / "end_to_end"


def _load() -> t.Any:
    spec = importlib.util.spec_from_file_location("end_to_end_provoked", FOLDER / "_provoked.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PROVOKED = _load()
TABLE: dict[str, dict[str, dict[str, str]]] = PROVOKED.read()
ENTRIES = {alert: entry for alerts in TABLE.values() for alert, entry in alerts.items()}
TOLD = {alert: entry for alert, entry in ENTRIES.items() if "story" in entry}


def _alerts() -> dict[str, dict[str, set[str]]]:
    """By file of rules: each alert with its severities."""
    found: dict[str, dict[str, set[str]]] = {}
    for path in sorted(TOP.glob("roles/*/files/rules/*.yaml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    found.setdefault(path.stem, {}).setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    return found


def test_every_alert_is_in_the_table() -> None:
    assert {name: set(alerts) for name, alerts in TABLE.items()} == {name: set(alerts) for name, alerts in _alerts().items()}


@pytest.mark.parametrize("alert", ENTRIES)
def test_an_entry_tells_how_or_why_not(alert: str) -> None:
    entry = ENTRIES[alert]
    assert set(entry) in ({"story", "how"}, {"story", "how", "severity"}, {"why_not"}, {"double"}), entry
    assert all(value.strip() for value in entry.values())
    if "severity" in entry:
        severities = next(alerts[alert] for alerts in _alerts().values() if alert in alerts)
        assert entry["severity"] in severities
        assert len(severities) > 1, "there is only one"


@pytest.mark.parametrize("alert", TOLD)
def test_its_story_is_told(alert: str) -> None:
    """The file has that function, and names the alert."""
    name, _colons, story = TOLD[alert]["story"].partition("::")
    tree = ast.parse((FOLDER / name).read_text())
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert story in functions, f"{name} has no {story}"
    # a story of _stories.py names its alerts itself (decorator); those of other files may do so beside it
    place: ast.AST = functions[story] if name == "test_77_alerts.py" else tree
    words = [node.value for node in ast.walk(place) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert any(re.search(rf"\b{alert}\b", word) for word in words), f"{name}::{story} does not name {alert}"


def test_most_alerts_were_provoked() -> None:
    """Of those whose subject the lab has; the page says so."""
    here = [alert for alert, entry in ENTRIES.items() if "double" not in entry]
    assert len(TOLD) >= 0.7 * len(here), f"{len(TOLD)} of {len(here)}"


def test_a_double_is_told_of_what_the_lab_does_not_have_only() -> None:
    """Whole rule files, all of which that test makes fire."""
    told = {name: {"double" in entry for entry in alerts.values()} for name, alerts in TABLE.items()}
    assert {name for name, kinds in told.items() if True in kinds} == ELSEWHERE
    assert {name: kinds for name, kinds in told.items() if len(kinds) > 1} == {}


def test_the_page_is_the_table() -> None:
    assert PROVOKED.PAGE.read_text() == PROVOKED.page(TABLE), "run python tests/end_to_end/_provoked.py"
