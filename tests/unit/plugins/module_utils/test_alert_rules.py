# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import re
import subprocess
import typing as t

import pytest
import yaml
from _programs import find_program
from ansible_collections.scs.observer.plugins.module_utils._alert_rules import THRESHOLD, alert_names, alert_settings, thresholds
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

TOP = pathlib.Path(__file__).parents[4]
SHIPPED = (TOP / "roles/observer_content/files/rules/thresholds.yaml").read_text()
SMALL = """
groups:
- name: thresholds
  rules:
  - {record: "observer:threshold:value", labels: {threshold: node_memory_utilisation, severity: warning, tier: default}, expr: vector(0.9)}
  - {record: "observer:threshold:value", labels: {threshold: node_memory_utilisation, severity: critical, tier: default}, expr: vector(0.97)}
  - {record: "observer:threshold:value", labels: {threshold: certificate_days, severity: warning, tier: default}, expr: vector(30)}
  - {record: "observer:threshold:value", labels: {threshold: certificate_days, severity: critical, tier: default}, expr: vector(7)}
  - {record: "observer:threshold:value", labels: {threshold: probe_seconds, severity: warning, tier: default}, expr: vector(5)}
- name: tiers
  rules:
  - {record: "cluster:kaas_tier:info", expr: up}
"""
RULES = """
groups:
- name: two
  interval: 1m
  rules:
  - {record: "a:b:c", expr: up}
  - {alert: Full, expr: disk > 1, for: 5m, labels: {severity: warning}, annotations: {summary: full}}
  - {alert: Full, expr: disk > 2, for: 5m, labels: {severity: critical}, annotations: {summary: full}}
- name: one
  rules:
  - {alert: Slow, expr: slow > 1, labels: {severity: warning}}
"""


def values(rules: dict[str, t.Any]) -> dict[tuple[str, str, str], str]:
    """By tier, threshold and severity, as they stand in the shipped file or in what the ruler gets."""
    by_name: dict[tuple[str, str, str], str] = {}
    for rule in [rule for group in rules["groups"] for rule in group["rules"] if rule["record"] == THRESHOLD]:
        labels = rule["labels"]
        together = re.findall(r'label_replace\((vector\([^)]+\)), "threshold", "(\w+)", "", ""\)', rule["expr"])
        assert not together or rule["expr"].count("\n  or ") == len(together) - 1
        for value, threshold in together or [(rule["expr"], labels.get("threshold", ""))]:
            assert (labels["tier"], threshold, labels["severity"]) not in by_name
            by_name[labels["tier"], threshold, labels["severity"]] = value
    return by_name


@pytest.mark.parametrize("settings", [None, "", {}])
def test_thresholds_stay_as_they_are(settings: object) -> None:
    """But for being recorded by two rules: the ruler asks Query for each rule at each evaluation."""
    shipped, rules = yaml.safe_load(SHIPPED), thresholds(SHIPPED, settings)
    assert values(rules) == values(shipped)
    assert len(values(shipped)) > 50
    assert [rule["labels"] for rule in rules["groups"][0]["rules"]] == [{"severity": severity, "tier": "default"} for severity in ("warning", "critical")]
    # a second group of thresholds is gone, for all are in the first
    others = [group for group in shipped["groups"] if {rule["record"] for rule in group["rules"]} != {THRESHOLD}]
    assert len(others) < len(shipped["groups"]) - 1 and rules["groups"][1:] == others


def test_promtool_finds_the_same_values(tmp_path: pathlib.Path) -> None:
    promtool = find_program("promtool")
    rules = thresholds(SHIPPED, {"gold": {"node_memory_utilisation": {"warning": 0.5}}})
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    samples = [
        {"labels": f'{THRESHOLD}{{severity="{severity}",threshold="{threshold}",tier="{tier}"}}', "value": float(value[7:-1])}
        for (tier, threshold, severity), value in values(rules).items()
    ]
    assert len(samples) == 2 * len(values(yaml.safe_load(SHIPPED)))
    test = {"promql_expr_test": [{"expr": THRESHOLD, "eval_time": "1m", "exp_samples": samples}], "interval": "1m"}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run([promtool, "test", "rules", str(tmp_path / "test.yaml")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_tiers_get_all_thresholds() -> None:
    given = yaml.safe_load(SMALL)
    settings = {
        "gold": {"node_memory_utilisation": {"warning": 0.8}, "probe_seconds": {"warning": 2}},
        "default": {"certificate_days": {"warning": 40}},
        "lead": {},
    }
    rules = thresholds(given, settings)
    found = values(rules)
    assert {tier for tier, _threshold, _severity in found} == {"default", "gold", "lead"} and len(found) == 15
    assert found["default", "certificate_days", "warning"] == "vector(40)"
    assert found["gold", "certificate_days", "warning"] == "vector(40)"
    assert found["gold", "node_memory_utilisation", "warning"] == "vector(0.8)"
    assert found["gold", "node_memory_utilisation", "critical"] == "vector(0.97)"
    assert found["lead", "probe_seconds", "warning"] == "vector(5)"
    assert found["gold", "probe_seconds", "warning"] == "vector(2)"
    # the rest of the file, and what was given, are as before
    assert [group["name"] for group in rules["groups"]] == ["thresholds", "tiers"]
    assert rules["groups"][1] == yaml.safe_load(SMALL)["groups"][1]
    assert given == yaml.safe_load(SMALL)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], r"must be a dictionary, and is \[\]"),
        (
            {"gold": {"node_memory_utilization": {"warning": 1}}},
            "threshold 'node_memory_utilization' does not exist. Did you mean node_memory_utilisation\\? There are: cert",
        ),
        ({"gold": {"probe_seconds": {"critical": 1}}}, "severity 'critical' does not exist. There are: warning"),
        ({"gold": {"probe_seconds": 3}}, "must be a dictionary, and is 3"),
        ({"gold": {"probe_seconds": {"warning": "5s"}}}, "'warning': is '5s', which is no number"),
        ({"gold": {"probe_seconds": {"warning": True}}}, "no number"),
        ({"gold": {"probe_seconds": {"warning": float("nan")}}}, "no number"),
        ({1: {}}, "tier 1 of .* is no name"),
        ({"": {}}, "tier '' of .* is no name"),
        ({"a\nb": {}}, "is no name"),
        ({"x" * 64: {}}, "is no name"),
        ({"gold": {"node_memory_utilisation": {"warning": 0.98}}}, r"critical \(0.97\) must be above warning \(0.98\)"),
        ({"default": {"certificate_days": {"warning": 5}}}, r"'default'.*critical \(7\) must be below warning \(5\)"),
    ],
)
def test_wrong_thresholds(settings: object, message: str) -> None:
    with pytest.raises(ObserverError, match=message):
        thresholds(SMALL, settings)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("a: [", "can not be read as YAML"),
        ("- a", "needs a list 'groups'"),
        ({"groups": [{"rules": ["x"]}]}, "each of its rules is a dictionary"),
        (RULES, "records no observer:threshold:value"),
        (SMALL.replace("vector(30)", "30"), "rule 3 of group 'thresholds' records observer:threshold:value without"),
        (SMALL.replace("tier: default}, expr: vector(5)", "tier: gold}, expr: vector(5)"), "rule 5 of group 'thresholds'"),
    ],
)
def test_no_file_of_thresholds(rules: object, message: str) -> None:
    with pytest.raises(ObserverError, match=message):
        thresholds(rules, {})


def test_alert_names() -> None:
    assert alert_names(RULES) == ["Full", "Slow"]


def test_alerts_keep_what_is_not_set() -> None:
    given = yaml.safe_load(RULES)
    assert alert_settings(given, {}) == alert_settings(RULES, None) == given
    assert alert_settings(RULES, {"Elsewhere": {"enabled": False}}, ["Elsewhere"]) == given


def test_alerts_are_changed_by_name() -> None:
    settings = {
        "Full": {"for": "10m", "keep_firing_for": "1h30m", "labels": {"team": "storage"}, "annotations": {"runbook_url": "https://wiki.example"}},
        "Slow": {"labels": {"severity": "critical"}},
    }
    given = yaml.safe_load(RULES)
    (recording, warning, critical), (slow,) = [group["rules"] for group in alert_settings(given, settings)["groups"]]
    assert recording == {"record": "a:b:c", "expr": "up"}
    assert warning["for"] == critical["for"] == "10m" and warning["keep_firing_for"] == "1h30m"
    assert warning["labels"] == {"severity": "warning", "team": "storage"} and critical["labels"] == {"severity": "critical", "team": "storage"}
    assert warning["annotations"] == {"summary": "full", "runbook_url": "https://wiki.example"}
    assert slow["labels"] == {"severity": "critical"} and "for" not in slow
    assert given == yaml.safe_load(RULES)


def test_alerts_are_left_out() -> None:
    assert [group["name"] for group in alert_settings(RULES, {"Slow": {"enabled": False}})["groups"]] == ["two"]
    (group, _other) = alert_settings(RULES, {"Full": {"enabled": False, "labels": {"severity": "none"}}})["groups"]
    assert group == {"name": "two", "interval": "1m", "rules": [{"record": "a:b:c", "expr": "up"}]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("x", "must be a dictionary"),
        ({"Ful": {}}, "alert 'Ful' does not exist. Did you mean Full\\? There are: Elsewhere, Full, Slow."),
        ({"Zzz": {}}, "alert 'Zzz' does not exist. There are: Elsewhere, Full, Slow."),
        ({"Full": {"enable": False}}, "the key 'enable' does not exist. Did you mean enabled"),
        ({"Full": "off"}, "must be a dictionary"),
        ({"Full": {"enabled": "no"}}, "'enabled' is 'no'. Write true or false"),
        ({"Full": {"for": 5}}, "'for' is 5, which is no duration"),
        ({"Full": {"for": "5 minutes"}}, "no duration"),
        ({"Full": {"keep_firing_for": ""}}, "no duration"),
        ({"Full": {"labels": {"alertname": "x"}}}, "alertname stays"),
        ({"Full": {"labels": {"a-b": "x"}}}, "'a-b' is no name"),
        ({"Full": {"labels": {"team": 1}}}, "is 1, which is no text"),
        ({"Slow": {"labels": {"severity": "P3"}}}, "the severity 'P3' does not exist. There are: critical, none, warning"),
        ({"Full": {"labels": {"severity": "critical"}}}, "'Full' has a rule for each severity"),
        # of another file, and wrong all the same
        ({"Elsewhere": {"for": "soon"}}, "'Elsewhere'.*no duration"),
    ],
)
def test_wrong_settings_of_alerts(settings: object, message: str) -> None:
    with pytest.raises(ObserverError, match=message):
        alert_settings(RULES, settings, ["Elsewhere"])
