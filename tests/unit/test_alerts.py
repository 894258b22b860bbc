# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every alert of the collection is explained, tested and listed. What the rules say is judged by promtool and alert_rules_check: tests/integration."""

from __future__ import annotations

import functools
import pathlib
import re
import typing as t

import jinja2
import pytest
import yaml
from ansible.plugins.filter.core import FilterModule

TOP = pathlib.Path(__file__).parents[2]
RUNBOOKS = "https://github.com/SovereignCloudStack/k8s-observability/blob/main/docs/runbooks/"
FILES = sorted(path for path in TOP.glob("roles/*/files/rules/*.yaml") if path.name != "thresholds.yaml")
LIST = (TOP / "docs/alerts.md").read_text()
# fires always
QUIET = {"Watchdog"}
# what is no part of the object's name
NO_OBJECT = {"severity", "tier"}


@functools.cache
def load(path: pathlib.Path) -> t.Any:
    return yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def alerts() -> list[tuple[pathlib.Path, dict[str, t.Any]]]:
    return [(path, rule) for path in FILES for group in load(path)["groups"] for rule in group["rules"] if "alert" in rule]


@functools.cache
def cases() -> dict[str, list[dict[str, t.Any]]]:
    found: dict[str, list[dict[str, t.Any]]] = {}
    for path in sorted((TOP / "tests/rules").glob("*.yaml")):
        for test in load(path)["tests"]:
            for case in test.get("alert_rule_test") or []:
                found.setdefault(case["alertname"], []).append(case)
    return found


def severities(case: dict[str, t.Any]) -> set[str]:
    return {alert["exp_labels"]["severity"] for alert in case["exp_alerts"] or []}


@functools.cache
def headings(path: pathlib.Path) -> set[str]:
    return set(re.findall(r"^## (\S+)$", path.read_text(), re.MULTILINE))


def test_all_rule_files_are_looked_at() -> None:
    assert len(FILES) >= 14 and len(alerts()) > 100


@pytest.mark.parametrize(
    ("path", "rule"), alerts(), ids=lambda value: f"{value['alert']}-{value['labels'].get('severity')}" if isinstance(value, dict) else value.stem
)
def test_an_alert_is_explained_and_tested(path: pathlib.Path, rule: dict[str, t.Any]) -> None:
    name, severity = rule["alert"], rule["labels"]["severity"]
    assert severity in ("none",) if name in QUIET else severity in ("warning", "critical")
    annotations = rule["annotations"]
    assert all(annotations.get(key, "").strip() for key in ("summary", "description"))
    assert annotations["runbook_url"] == f"{RUNBOOKS}{path.stem}.md#{name.lower()}"
    assert name in headings(TOP / "docs/runbooks" / f"{path.stem}.md")
    tested = cases().get(name, [])
    assert [case for case in tested if severity in severities(case)], "no test sees it firing"
    assert name in QUIET or [case for case in tested if severity not in severities(case)], "no test sees it quiet"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_runbook_has_nothing_else(path: pathlib.Path) -> None:
    names = {rule["alert"] for group in load(path)["groups"] for rule in group["rules"] if "alert" in rule}
    runbook = TOP / "docs/runbooks" / path.with_suffix(".md").name
    assert (headings(runbook) if runbook.exists() else set()) == names


def test_every_runbook_has_its_rules() -> None:
    assert {path.stem for path in TOP.glob("docs/runbooks/*.md")} <= {path.stem for path in FILES}


def test_the_list_is_complete() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\((runbooks/\w+\.md)#(\w+)\) \| ([a-z, ]+) \| \[([\w.]+)\]\(\.\./(\S+)\) \|", LIST, re.MULTILINE)
    listed = [(name, text, place) for name, _page, _anchor, text, _file, place in rows]
    by_name: dict[str, tuple[set[str], str]] = {}
    for path, rule in alerts():
        by_name.setdefault(rule["alert"], (set(), str(path.relative_to(TOP))))[0].add(rule["labels"]["severity"])
    order = ("critical", "warning", "none")
    assert sorted(listed) == sorted((name, ", ".join(word for word in order if word in found), place) for name, (found, place) in by_name.items())
    for name, page, anchor, _text, file, place in rows:
        assert (page, anchor) == (f"runbooks/{pathlib.Path(place).stem}.md", name.lower()) and place.endswith(f"/{file}")


def test_the_thresholds_are_listed() -> None:
    rules = [
        rule
        for group in load(TOP / "roles/observer_content/files/rules/thresholds.yaml")["groups"]
        for rule in group["rules"]
        if "threshold" in rule.get("labels", {})
    ]
    values: dict[str, dict[str, str]] = {}
    for rule in rules:
        values.setdefault(rule["labels"]["threshold"], {})[rule["labels"]["severity"]] = rule["expr"].removeprefix("vector(").removesuffix(")")
    listed = re.findall(r"^\| `([a-z0-9_]+)` \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$", LIST, re.MULTILINE)
    assert {name: (warning.strip(), critical.strip()) for name, warning, critical, _alerts in listed} == {
        name: (by_severity.get("warning", ""), by_severity.get("critical", "")) for name, by_severity in values.items()
    }
    used = {name: {rule["alert"] for _path, rule in alerts() if f'threshold="{name}"' in rule["expr"]} for name in values}
    assert {name: set(text.replace(" ", "").split(",")) for name, _warning, _critical, text in listed} == used


def equal() -> set[str]:
    """The labels that tell one object from another to Alertmanager."""
    role = TOP / "roles/observer"
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(role / "templates"))
    environment.filters |= {**FilterModule().filters(), "scs.observer.image": str}
    settings = yaml.safe_load((role / "defaults/main.yml").read_text()) | {"observer_alertmanager_default_receiver": "none"}
    text = environment.from_string("{% import '_macros.yml.j2' as m with context %}{{ m.alertmanager_config() }}").render(settings)
    return set(yaml.safe_load(text)["inhibit_rules"][0]["equal"])


def test_a_critical_alert_mutes_its_warning_and_no_other() -> None:
    """Both name their object by the same labels, and Alertmanager compares all of these."""
    both: dict[str, dict[str, set[frozenset[str]]]] = {}
    for name, found in cases().items():
        for case in found:
            for alert in case["exp_alerts"] or []:
                labels = frozenset(alert["exp_labels"]) - NO_OBJECT
                both.setdefault(name, {}).setdefault(alert["exp_labels"]["severity"], set()).add(labels)
    twins = {name: by_severity for name, by_severity in both.items() if len(by_severity) > 1}
    assert len(twins) > 15
    compared = equal()
    # tests need not see each kind of object with both severities
    differ = {name: found for name, found in twins.items() if not (found["warning"] <= found["critical"] or found["critical"] <= found["warning"])}
    assert differ == {}
    assert {name: sorted(labels - compared) for name, by_severity in twins.items() for labels in set().union(*by_severity.values()) if labels - compared} == {}
