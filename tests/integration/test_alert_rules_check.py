# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""alert_rules_check beside the real promtool, and as a task of a real playbook."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import stat
import subprocess
import sys
import typing as t

import pytest
import yaml
from _programs import find_program
from _rule_files import ELSEWHERE, FILES, OF_INFRASTRUCTURES
from ansible_collections.scs.observer.plugins.module_utils import _rules_checks, _rules_cluster, _rules_promql, _rules_promtool, _rules_run
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._rules_checks import CHECKS
from rules_check.mutations import mutations

TOP = pathlib.Path(__file__).parents[2]
SAMPLES = TOP / "tests" / "rules_check"
VERDICTS = {name for name, check in CHECKS.items() if check.verdict}
BROKEN = 200
# what the Observer's own series are, as the role says it; the Observer has no label cluster
OBSERVER = tuple(yaml.safe_load((TOP / "roles/observer_content/vars/main.yml").read_text())["__observer_content_clusterless"])


def check(*texts: str, **options: t.Any) -> list[t.Any]:
    return _rules_run.check(_rules_run.Options(rules=texts, **options)).problems


def refused(text: str, **options: t.Any) -> list[str]:
    return [str(problem) for problem in check(text, dialect="prometheus", **options) if problem.check in VERDICTS]


def test_promtool_and_the_module_agree_on_broken_files():
    """Of files that are broken in one place, file by file: always when promtool runs, and for all but a few in a thousand without it."""
    promtool = find_program("promtool")
    texts = list(itertools.islice(mutations((SAMPLES / "good.yaml").read_text(), 5), 320))
    with _rules_promtool.RuleCheck(promtool, texts, []) as judge:
        errors = judge.errors(120)
    broken = [(text, found) for text, found in zip(texts, errors, strict=True) if found]
    assert len(broken) >= BROKEN
    # one run of the module for all of them, each with its own verdict
    together = {problem.file for problem in check(*texts, dialect="prometheus", promtool=promtool) if problem.check in VERDICTS}
    assert together == {f"rules[{number}]" for number, found in enumerate(errors) if found}
    alone = [text for text, found in zip(texts, errors, strict=True) if bool(refused(text, promtool="")) != bool(found)]
    assert len(alone) <= 1, alone


def test_a_good_file_is_good():
    promtool = find_program("promtool")
    assert check((SAMPLES / "good.yaml").read_text(), promtool=promtool) == []


def test_promtool_tells_the_place():
    text = (SAMPLES / "good.yaml").read_text().replace("/ on (cluster, namespace, pod)", "/ on (cluster, namespace, pod))")
    (problem,) = [problem for problem in check(text, promtool=find_program("promtool")) if problem.check == "promql-syntax"]
    assert (problem.line, problem.rule) == (26, "PodsOverRequest")
    assert "unexpected" in problem.message and problem.column > 40


def test_promtool_is_right(tmp_path):
    """Where both disagree: a double of promtool that accepts all, and one that refuses what is good."""
    rules = "groups:\n- name: g\n  rules:\n  - record: a:b:c\n    expr: {}\n"

    def double(script: str) -> str:
        program = tmp_path / "promtool"
        program.write_text(f'#!/bin/sh\nfor last; do :; done\necho "Checking $last"\n{script}\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return str(program)

    accepts, refuses = (
        "echo '  SUCCESS: 1 rules found'",
        'echo "$last: 5:11: group \\"g\\", rule 1, \\"a:b:c\\": could not parse expression: 1:3: parse error: no" >&2; exit 1',
    )
    assert [problem.check for problem in check(rules.format("sum("), promtool=double(accepts))] == ["not-checked"]
    (problem,) = check(rules.format("time()"), promtool=double(refuses))
    assert (problem.check, problem.line, problem.column) == ("promql-syntax", 5, 13)
    with pytest.raises(ObserverError, match="promtool ended with 7"):
        check(rules.format("time()"), promtool=double("exit 7"))
    with pytest.raises(ObserverError, match="not done after"):
        check(rules.format("time()"), promtool=double("exec sleep 30"), timeout=2)
    with pytest.raises(ObserverError, match="no program"):
        check(rules.format("time()"), promtool=str(tmp_path / "no-such"))
    # looked for in PATH, and done without
    assert check(rules.format("time()"), promtool="no-such-promtool") == []


def test_manifests_are_judged_too():
    """promtool knows no manifests; its verdict on what is in them comes to the right rule."""
    promtool = find_program("promtool")
    groups = yaml.safe_load((SAMPLES / "good.yaml").read_text())
    groups["groups"][0]["rules"][1]["annotations"]["summary"] = 'ü😀 {{ $labels.instance | printf "%s" | nope }}'
    manifest = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": {"name": "x"}, "spec": groups}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a.yaml": yaml.safe_dump(groups)}}
    for text in (yaml.safe_dump_all([manifest]), yaml.safe_dump_all([config]), json.dumps(manifest, indent=1, ensure_ascii=False)):
        found = [problem for problem in check(text, promtool=promtool) if problem.check in VERDICTS]
        assert [(problem.check, problem.rule) for problem in found] == [("template-syntax", "NodeBusy")]


def test_the_collections_own_rules():
    """No error; alerts that are meant for all clusters together say so by a comment; each alert is tested, and all tests pass."""
    settings = _rules_checks.Settings(
        clusterless=tuple(_rules_cluster.clusterless(OBSERVER)),
        required_labels={"severity": ["critical", "warning", "none"]},
        required_annotations=("summary", "description", "runbook_url"),
    )
    folders = sorted(TOP.glob("roles/*/files/rules"))
    assert [folder.parts[-3] for folder in folders] == ["observer", "observer_content"]
    options = _rules_run.Options(
        paths=tuple(str(folder) for folder in folders),
        tests=(str(TOP / "tests" / "rules"),),
        promtool=find_program("promtool"),
        settings=settings,
        timeout=600,
    )
    report = _rules_run.check(options)
    assert report.promtool and report.rules > 250
    assert [str(problem) for problem in report.problems if problem.severity == "error"] == []
    assert [problem.rule for problem in report.problems if problem.check == "alert-untested"] == []


def infrastructures(text: str) -> list[str]:
    """What is wrong with rules that see many infrastructures; thresholds are recorded without the label, and so of none."""
    rules = text + "\n" + THRESHOLD
    return [
        problem.check for problem in check(rules, promtool="", settings=_rules_checks.Settings(cluster_label="infrastructure")) if problem.severity == "error"
    ]


THRESHOLD = """
  - name: threshold
    rules:
      - {record: "observer:threshold:value", labels: {threshold: any, severity: warning, tier: default}, expr: vector(1)}
"""


@pytest.mark.parametrize("path", [path for path in FILES if path.stem in OF_INFRASTRUCTURES & ELSEWHERE], ids=lambda path: path.stem)
def test_infrastructures_are_kept_apart(path):
    """Each aggregation and join of these files keeps the label infrastructure, and each selector asks for what is an infrastructure's and no agent's."""
    text = path.read_text()
    assert infrastructures(text) == []
    exprs = [rule["expr"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    selectors = [node for expr in exprs for node in _rules_promql.parse(expr).root.walk() if node.kind == "selector"]
    for node in selectors:
        if node.name != "observer:threshold:value":
            assert {("cluster", "=", ""), ("infrastructure", "!=", "")} <= set(node.matchers), node.name
    # and it would be seen
    assert infrastructures(text.replace("by (infrastructure, ", "by (").replace("by (infrastructure)", "by (service)")) != []
    if "on (infrastructure" in text:
        assert "cluster-join" in infrastructures(text.replace("on (infrastructure, ", "on (").replace("on (infrastructure)", "on (service)"))


def test_which_files_are_of_infrastructures():
    assert {"openstack", "galera", "rabbitmq", "haproxy", "libvirt", "memcached", "ceph", "iaas_node"} <= OF_INFRASTRUCTURES


TESTS = """rule_files: [rules.yaml]
tests:
  - input_series: [{series: 'up{cluster="a"}', values: 0x10}]
    alert_rule_test:
      - {eval_time: 5m, alertname: Down, exp_alerts: [{exp_labels: {severity: EXPECTED, cluster: a}, exp_annotations: {summary: a is down}}]}
      - {eval_time: 5m, alertname: Other, exp_alerts: []}
"""
RULES = """groups:
- name: g
  rules:
  - alert: Down
    expr: up == 0
    labels: {severity: critical}
    annotations: {summary: "{{ $labels.cluster }} is down"}
  - alert: Other
    expr: up == 2
    labels: {severity: critical}
    annotations: {summary: other}
"""


def test_tests_of_rules_are_run(tmp_path):
    (tmp_path / "rules.yaml").write_text(RULES)
    test = tmp_path / "tests.yaml"

    def found(promtool: str) -> list[tuple[str, str]]:
        options = _rules_run.Options(paths=(str(tmp_path / "rules.yaml"),), tests=(str(test),), promtool=promtool)
        return [(problem.check, problem.rule) for problem in _rules_run.check(options).problems]

    promtool = find_program("promtool")
    test.write_text(TESTS.replace("EXPECTED", "critical"))
    assert found(promtool) == [("alert-untested", "Other")]
    assert found("no-such-promtool") == [("alert-untested", "Other"), ("test-failed", "")]
    test.write_text(TESTS.replace("EXPECTED", "warning"))
    assert found(promtool) == [("alert-untested", "Other"), ("test-failed", "")]
    test.write_text("tests: [")
    assert ("test-failed", "") in found(promtool)


def play(folder: pathlib.Path, arguments: dict[str, t.Any], *flags: str) -> tuple[int, dict[str, t.Any]]:
    """The task in a role, as a playbook has it."""
    tasks = folder / "roles" / "r" / "tasks"
    tasks.mkdir(parents=True, exist_ok=True)
    task = {"name": "Check", "scs.observer.alert_rules_check": arguments, "register": "checked", "ignore_errors": True}
    kept = {
        "name": "Keep",
        "ansible.builtin.copy": {"content": "{{ checked | to_json }}", "dest": str(folder / "result.json"), "mode": "0600"},
        "check_mode": False,
    }
    (tasks / "main.yml").write_text(yaml.safe_dump([task, kept]))
    (folder / "play.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "roles": ["r"]}]))
    command = [str(pathlib.Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local", "play.yml", *flags]
    extra = {"ANSIBLE_PYTHON_INTERPRETER": sys.executable, "ANSIBLE_HOME": str(folder / "home"), "ANSIBLE_STDOUT_CALLBACK": "default"}
    done = subprocess.run(command, cwd=folder, env={**os.environ, **extra}, capture_output=True, text=True, timeout=200, check=False)
    assert (folder / "result.json").exists(), done.stdout + done.stderr
    return done.returncode, json.loads((folder / "result.json").read_text())


def test_a_task_reads_a_roles_files_and_leaves_templates_alone(tmp_path):
    files = tmp_path / "roles" / "r" / "files" / "rules"
    files.mkdir(parents=True)
    (files / "a.yaml").write_text(RULES)
    (files / "b.yaml").write_text(RULES.replace("up ==", "sum(up) ==").replace("name: g", "name: h"))
    before = sorted(path.read_text() for path in files.iterdir())
    arguments = {"paths": ["rules/*.yaml"], "promtool": find_program("promtool"), "checks": {"required-annotations": "off", "duplicate-rule": "off"}}
    _code, result = play(tmp_path, arguments, "--check")
    assert result["failed"] and not result["changed"]
    assert [(pathlib.Path(problem["file"]).name, problem["check"], problem["line"]) for problem in result["problems"]] == [
        ("b.yaml", "cluster-aggregation", 5),
        ("b.yaml", "template-label", 7),
        ("b.yaml", "cluster-aggregation", 9),
    ]
    assert result["summary"]["rules"] == 4 and result["promtool"] and result["junit"].startswith("<?xml")
    assert "2 problems let this task fail" in result["msg"]
    assert before == sorted(path.read_text() for path in files.iterdir())
    _code, result = play(tmp_path, {"rules": [{"groups": []}], "fail_on": "never"})
    assert not result["failed"] and result["summary"]["files"] == 1
    _code, result = play(tmp_path, {"paths": ["no-such/*.yaml"]})
    assert "matches no file" in result["msg"]
