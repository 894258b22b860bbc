# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each check finds what it is for, at its place, and can be switched off."""

from __future__ import annotations

import os
import pathlib
import time

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _rules_checks, _rules_cluster, _rules_read, _rules_report, _rules_run
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._rules_checks import CHECKS

SETTINGS = _rules_checks.Settings(
    required_labels={"severity": ["critical", "warning"]}, required_annotations=("summary",), runbook_url=r"https://.+", max_group_rules=1
)

ALERT = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: {expr}\n    for: 5m\n    labels: {{severity: warning}}\n    annotations: {{summary: s}}\n"
RECORD = "groups:\n- name: g\n  rules:\n  - record: {name}\n    expr: {expr}\n"

# check: a rule file, and the line and column of what is found
FOUND = {
    "yaml": ("groups: [\n", 2, 1),
    "duplicate-key": ("groups: []\ngroups: []\n", 2, 1),
    "schema": (RECORD.format(name="a:b:c", expr="vector(1)") + "    labls: {}\n", 6, 5),
    "manifest": ("apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nspec: {groups: []}\n", 1, 1),
    "documents": (RECORD.format(name="a:b:c", expr="vector(1)") + "---\n" + RECORD.format(name="a:b:d", expr="vector(1)"), 7, 1),
    "no-rules": ("groups: []\n", 1, 1),
    "empty": ("groups:\n- name: g\n  rules:\n  - record: a:b:c\n    expr: vector(1)\n  -\n", 6, 4),
    "comment": (RECORD.format(name="a:b:c", expr="vector(1) # scs-observer disable no-such"), 5, 1),
    "rule-kind": ("groups:\n- name: g\n  rules:\n  - record: a:b:c\n    expr: vector(1)\n    for: 5m\n", 6, 10),
    "promql-syntax": (RECORD.format(name="a:b:c", expr="sum(x"), 5, 11),
    "result-type": (RECORD.format(name="a:b:c", expr="x[5m]"), 5, 11),
    "experimental": (RECORD.format(name="a:b:c", expr="sort_by_label(x, 'a')"), 5, 11),
    "names": ("groups:\n- name: g\n  rules:\n  - record: a:b:c\n    expr: vector(1)\n    labels: {__name__: x}\n", 6, 24),
    "durations": ("groups:\n- name: g\n  interval: 5\n  rules: []\n", 3, 13),
    "duplicate-group": ("groups:\n- name: g\n  rules: []\n- name: g\n  rules: []\n", 4, 3),
    "template-syntax": (ALERT.format(expr="x > 1").replace("{summary: s}", "\n      summary: a {{ $labels.a }\n"), 9, 31),
    "not-checked": (RECORD.format(name="a:b:c", expr="sum by (cluster) (rate(x[5m+1m]))"), 5, 11),
    "cluster-aggregation": (RECORD.format(name="a:b:c", expr="2 * sum by (a) (x)"), 5, 15),
    "cluster-join": (RECORD.format(name="a:b:c", expr="x / on (a) y"), 5, 13),
    "cluster-absent": (ALERT.format(expr="absent(x)"), 5, 11),
    "useless-zero": (ALERT.format(expr="x > 1").replace("5m", "0s"), 6, 10),
    "duplicate-rule": (ALERT.format(expr="x > 1") + "  - alert: A\n    expr: x > 2\n    labels: {severity: warning}\n    annotations: {summary: s}\n", 9, 12),
    "template-label": (ALERT.format(expr="sum by (cluster) (x) > 1").replace(": s}", ": '{{ $labels.pod }}'}"), 8, 32),
    "required-labels": (ALERT.format(expr="x > 1").replace("warning", "page"), 7, 24),
    "required-annotations": (ALERT.format(expr="x > 1").replace("summary", "text"), 4, 12),
    "runbook-url": (ALERT.format(expr="x > 1").replace(": s}", ": s, runbook_url: http://x}"), 8, 44),
    "always-firing": (ALERT.format(expr="sum by (cluster) (x)"), 5, 11),
    "absent-for": (ALERT.format(expr="absent(x{cluster='a'})").replace("    for: 5m\n", ""), 5, 11),
    "rate-range": (RECORD.format(name="a:b:c", expr="2 * rate(x[30s])"), 5, 15),
    "rate-of-aggregate": (RECORD.format(name="a:b:c", expr="rate(sum by (cluster) (x)[5m:1m])"), 5, 11),
    "irate": (ALERT.format(expr="irate(x[5m]) > 1"), 5, 11),
    "counter": (ALERT.format(expr="sum by (cluster) (requests_total) > 5"), 5, 29),
    "regexp": (ALERT.format(expr="x{a=~'b'} > 1"), 5, 11),
    "name-style": (RECORD.format(name="a-b", expr="vector(1)"), 4, 13),
    "record-name": (RECORD.format(name="ab", expr="vector(1)"), 4, 13),
    "group-interval": ("groups:\n- name: g\n  interval: 10m\n  rules: []\n", 3, 13),
    "group-size": (RECORD.format(name="a:b:c", expr="vector(1)") + "  - record: a:b:d\n    expr: vector(2)\n", 2, 3),
    "recording-rule": (RECORD.format(name="a:b:c", expr="2 * job:x:rate5m"), 5, 15),
    "jinja": (RECORD.format(name="a:b:c", expr="'x > {{ limit }}'"), 5, 16),
}
# tested with files, promtool and a server
ELSEWHERE = {"file", "promtool", "test-failed", "alert-untested", "live-series", "live-query"}


def check(*texts, **options):
    return _rules_run.check(_rules_run.Options(rules=texts, promtool="", **{"settings": SETTINGS, **options})).problems


def test_each_check_is_tested():
    assert set(FOUND) | ELSEWHERE == set(CHECKS)


@pytest.mark.parametrize("name", FOUND)
def test_a_check_finds_at_its_place(name):
    text, line, column = FOUND[name]
    found = [problem for problem in check(text) if problem.check == name]
    assert [(problem.line, problem.column) for problem in found] == [(line, column)], found
    assert found[0].severity == CHECKS[name].severity and found[0].message and found[0].remedy
    assert "rules[0]" in found[0].file


@pytest.mark.parametrize("name", FOUND)
def test_a_check_can_be_switched_off(name):
    text = FOUND[name][0]
    assert name not in {problem.check for problem in check(text, checks={name: "off"})}
    assert name not in {problem.check for problem in check(text, exceptions=({"check": name},))}
    assert {problem.severity for problem in check(text, checks={name: "info"}) if problem.check == name} == {"info"}
    if name not in ("yaml", "comment"):
        assert name not in {problem.check for problem in check(f"# scs-observer file/disable {name}\n{text}")}


COMMENTED = """groups:
- name: g
  rules:
  - record: a:b:c  # {inside}
    expr: sum(x)

  # {above}
  # why
  - record: a:b:d
    expr: |-
      # {within}
      sum(y)
  - record: a:b:e
    expr: sum(z)
"""


@pytest.mark.parametrize(("place", "left"), [("inside", "de"), ("above", "ce"), ("within", "ce"), ("", "cde")])
@pytest.mark.parametrize(
    "comment", ["scs-observer disable record-name, cluster-aggregation: why", "pint disable promql/aggregate", "pint snooze 2999-01-01 promql/aggregate"]
)
def test_a_comment_is_of_one_rule(place, left, comment):
    text = COMMENTED.format(**{"inside": "-", "above": "-", "within": "-", place: comment})
    assert [problem.rule for problem in check(text) if problem.check == "cluster-aggregation"] == [f"a:b:{name}" for name in left]


@pytest.mark.parametrize("comment", ["pint snooze 2001-01-01 promql/aggregate", "pint disable promql/regexp", "pint disable", "disable promql/aggregate"])
def test_a_comment_that_switches_nothing_off(comment):
    assert len([problem for problem in check(COMMENTED.format(inside=comment, above="-", within="-")) if problem.check == "cluster-aggregation"]) == 3


def test_exceptions_are_as_narrow_as_they_are_written():
    text = COMMENTED.format(inside="-", above="-", within="-")

    def left(**exception):
        found = check(text, exceptions=({"check": "cluster-aggregation", **exception},))
        return "".join(problem.rule[-1] for problem in found if problem.check == "cluster-aggregation")

    assert left(rule="a:b:[cd]") == "e"
    assert left(group="g", rule="a:b:c") == "de"
    assert left(group="h") == "cde"
    assert left(file="rules*") == "" and left(file="nodes*") == "cde" and left(file="rules[[]0]") == ""


CONFIG_MAP = """apiVersion: v1
kind: ConfigMap
metadata: {name: rules}
data:
  notes: text
  one.yaml: |
    groups:
    - name: g
      rules:
      - record: a:b:c
        expr: |-
          sum by (cluster) (x)
            / on (cluster)
          sum by (job) (y)
"""
MANIFEST = """apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: rules}
spec:
  groups:
  - name: g
    partial_response_strategy: abort
    rules:
    - record: a:b:c
      expr: >-
        sum by (cluster) (x)

        /   on (cluster)
        sum by (job) (y)
"""


@pytest.mark.parametrize(("text", "line", "column"), [(CONFIG_MAP, 14, 11), (MANIFEST, 14, 9), (MANIFEST.replace(">-", "|-"), 14, 9)])
def test_manifests_and_their_places(text, line, column):
    found = check(text)
    assert [(problem.check, problem.line, problem.column) for problem in found] == [("cluster-aggregation", line, column)]
    both = check(f"{CONFIG_MAP}---\nkind: Service\napiVersion: v1\n---\n{MANIFEST}---\napiVersion: v1\nkind: List\nitems: []\n")
    # the same rule twice, and both findings
    assert sorted(problem.check for problem in both) == ["cluster-aggregation", "cluster-aggregation", "duplicate-rule"]


def test_only_thanos_knows_its_fields():
    text = RECORD.format(name="a:b:c", expr="vector(1)").replace("  rules:", "  partial_response_strategy: warn\n  rules:")
    assert check(text) == []
    assert [problem.check for problem in check(text, dialect="prometheus")] == ["schema"]


def test_merged_maps_and_aliases_are_followed():
    text = """groups:
- name: g
  rules:
  - &a {alert: A, expr: x > 1, for: 5m, labels: &l {severity: warning}, annotations: {summary: s}}
  - {<<: *a, alert: B}
  - {alert: C, expr: x > 3, labels: *l, annotations: {summary: s}}
"""
    assert check(text, settings=_rules_checks.Settings(required_labels={"severity": ["warning"]}, required_annotations=("summary",))) == []


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(20))
RULES_BOMB = (
    "groups:\n- name: g\n  rules: &r\n"
    + "".join("  - {record: 'a:b:c', expr: vector(1)}\n" for _number in range(500))
    + "".join(f"- {{name: g{n}, rules: *r}}\n" for n in range(2000))
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "no field"),
        (f"groups:\n- name: g\n  rules: *a\n{BOMB}", "stands for nothing"),
        (f"{BOMB}groups:\n- name: g\n  rules: *u\n", "A rule is a map"),
        (RULES_BOMB, "more than 100000 rules"),
        ("[" * 1_000_000, "nested deeper"),
        ("a: &a [*a]", "stands for nothing"),
        ("groups: [" + "x, " * 1_100_000 + "]", "YAML nodes"),
        ("\x01", "not YAML"),
        ("- a", "A rule file is a map"),
        ("text", "A rule file is a map"),
        ("groups:\n  g: {}\n", "not a list"),
    ],
)
def test_bad_texts_have_one_clear_message_in_bounded_time(text, message):
    begin = time.process_time()
    found = [problem for problem in check(text) if problem.severity == "error"]
    assert any(message in problem.message for problem in found)
    assert time.process_time() - begin < 20


def test_files_that_can_not_be_read(tmp_path):
    huge, binary, zero, fifo, hanging = (tmp_path / f"{name}.yaml" for name in ("huge", "binary", "zero", "fifo", "hanging"))
    with huge.open("w") as file:
        file.truncate(50 * 2**20)
    binary.write_bytes(b"groups:\n\xff\xfe\x9d")
    zero.write_bytes(b"groups: []\0")
    os.mkfifo(fifo)
    hanging.symlink_to(tmp_path / "no-such")
    (tmp_path / "good.yaml").write_text(RECORD.format(name="a:b:c", expr="vector(1)"))
    report = _rules_run.check(_rules_run.Options(paths=(str(tmp_path),), promtool=""))
    assert report.rules == 1
    assert {(pathlib.Path(problem.file).stem, problem.check, problem.message.split(":")[0].rstrip(".")) for problem in report.problems} == {
        ("huge", "file", "The file has 50.0 MiB, more than the 10 MiB that a rule file may have here"),
        ("binary", "file", "The file is not text"),
        ("zero", "file", "The file is not text"),
        ("fifo", "file", "This is not a regular file"),
        ("hanging", "file", "The file can not be read"),
    }


@pytest.mark.parametrize(("path", "message"), [("no-such.yaml", "does not exist"), ("*.yaml", "matches no file"), (".", "has no file")])
def test_a_path_that_gives_nothing_is_an_error(tmp_path, monkeypatch, path, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ObserverError, match=message):
        _rules_read.expand([path], "paths")


def test_byte_order_marks():
    text = RECORD.format(name="a:b:c", expr="vector(1)")
    assert _rules_read.decode(text.encode("utf-16")) == _rules_read.decode(text.encode("utf-8-sig")) == text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checks": {"nope": "off"}}, "no check nope"),
        ({"checks": {"yaml": "bad"}}, "yaml is bad"),
        ({"exceptions": ({"check": "nope"},)}, "no check nope"),
        ({"settings": _rules_checks.Settings(features=("nope",))}, "features: nope"),
        ({"settings": _rules_checks.Settings(known_metrics=("(",))}, "known_metrics"),
        ({"timeout": 0}, "not done"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ObserverError, match=message):
        check(RECORD.format(name="a:b:c", expr="vector(1)"), **options)


def test_settings_are_heeded():
    text = RECORD.format(name="a:b:c", expr="sum(up{observer='x'}) + sum by (cluster) (known:x:y)")
    assert {problem.check for problem in check(text)} == {"cluster-aggregation", "recording-rule"}
    clusterless = tuple(_rules_cluster.clusterless(["up{observer='x'}"]))
    assert check(text, settings=_rules_checks.Settings(clusterless=clusterless, known_metrics=("known:.+",))) == []
    assert check(text, settings=_rules_checks.Settings(cluster_label="", known_metrics=("known:.+",))) == []
    experimental = RECORD.format(name="a:b:c", expr="sort_by_label(x, 'a')")
    assert check(experimental, settings=_rules_checks.Settings(features=("promql-experimental-functions",))) == []


def test_problems_are_sorted_and_reported():
    texts = [FOUND["cluster-join"][0], FOUND["regexp"][0].replace("name: g", "name: h&<\x01>"), RECORD.format(name="a:b:z", expr="vector(1)")]
    report = _rules_run.check(_rules_run.Options(rules=(*texts,), promtool="", settings=SETTINGS))
    assert report.problems == sorted(report.problems, key=lambda problem: problem.key)
    summary = report.summary()
    assert (summary["files"], summary["rules"], summary["alerts"], summary["error"]) == (3, 3 - 1, 0, 2)
    assert summary["checks"] == {"cluster-join": 1, "yaml": 1}
    junit = _rules_report.junit(report.cases, report.problems, "error")
    assert '<testsuites name="alert_rules_check" tests="5" failures="2">' in junit
    assert [problem.check for problem in _rules_report.severe(report.problems, "error")] == ["cluster-join", "yaml"]
    assert _rules_report.severe(report.problems, "never") == []
    assert "<failure" not in _rules_report.junit(report.cases, report.problems, "never")
