#!/usr/bin/python
# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: alert_rules_check
short_description: Check alert and recording rules for Prometheus and Thanos
version_added: 0.1.0
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
description:
  - Reads alert and recording rules, finds what is wrong with them, and fails when there is something that O(fail_on) says. It changes nothing.
  - The files are read by the module itself, so that Jinja never touches C({{ $labels.cluster }}).
  - It reads rule files of Prometheus and Thanos, C(PrometheusRule) manifests and C(ConfigMap) manifests with rule files inside, also several documents in a
    file. Manifests of other kinds are skipped.
  - The checks, their severities and what they find are listed in C(docs/alert_rules_check.md). The ones that a ruler of many clusters needs most find every
    aggregation, join and C(absent) that does not keep O(cluster_label).
  - A comment switches a check off for the rule that it stands in or right above of, C(# scs-observer disable cluster-join&#58; why), or for its file,
    C(# scs-observer file/disable cluster-join). Comments of pint, such as C(# pint disable promql/aggregate), are understood too.
  - Where C(promtool) is present, its verdict on what Prometheus loads is the one that counts.
extends_documentation_fragment:
  - scs.observer.query_url
attributes:
  check_mode:
    support: full
    description: The module only reads, so it does the same in check mode.
  diff_mode:
    support: none
    description: Nothing is changed.
  idempotent:
    support: full
    description: Nothing is changed.
options:
  paths:
    description:
      - Rule files, folders (all files below them that end in C(.yaml), C(.yml), C(.json) or C(.rules)) and patterns such as C(rules/**/*.yaml).
      - An entry that gives no file is an error.
      - With a local connection, relative ones are looked up as O(ansible.builtin.copy#module:src) is, in a role's C(files/) too.
      - At least one of O(paths) and O(rules) is required.
    type: list
    elements: str
  rules:
    description:
      - Rule files or manifests as texts or maps. Mark what holds C({{) as C(!unsafe), or use O(paths).
    type: list
    elements: raw
  tests:
    description:
      - Files of C(promtool test rules), looked up as O(paths) are. They are run, and alerts that no test expects to fire are reported.
    type: list
    elements: str
    default: []
  promtool:
    description:
      - Name or path of C(promtool). With a name it is looked for in E(PATH), and done without when it is not there. V("") is not to use it.
    type: str
    default: promtool
  fail_on:
    description: The least severity that lets the task fail.
    type: str
    choices: [error, warning, info, never]
    default: error
  checks:
    description: Severities of checks by name, where they are to be other than by default; each is V(error), V(warning), V(info) or V(off).
    type: dict
    default: {}
  exceptions:
    description: Problems that are not to be reported, for rules that can not hold a comment.
    type: list
    elements: dict
    default: []
    suboptions:
      check:
        description: Name of the check.
        type: str
        required: true
      file:
        description: Pattern of the file's path or name, such as V(node-*.yaml).
        type: str
      group:
        description: Pattern of the group's name.
        type: str
      rule:
        description: Pattern of the rule's name.
        type: str
  dialect:
    description: Whose rule files they are. Only V(thanos) knows C(partial_response_strategy).
    type: str
    choices: [thanos, prometheus]
    default: thanos
  cluster_label:
    description: The label that tells the clusters apart. V("") is not to check this.
    type: str
    default: cluster
  clusterless:
    description:
      - Selectors of series that are of no cluster, such as those of the Observer itself, so that aggregating them loses nothing. A selector in a rule is
        meant when it has the same matchers, and perhaps more.
      - Selectors with C(cluster="") are known to be so, and recorded series by the expressions that record them.
    type: list
    elements: str
    default: []
  known_metrics:
    description: Regular expressions for recorded series that are not recorded by the given rules.
    type: list
    elements: str
    default: []
  required_labels:
    description: The labels that each alert must have, each with a list of its allowed values. An empty list allows all.
    type: dict
    default:
      severity: [critical, warning, info, none]
  required_annotations:
    description: The annotations that each alert must have.
    type: list
    elements: str
    default: [summary, description]
  runbook_url:
    description: A regular expression that the annotation C(runbook_url) matches as a whole, where there is one.
    type: str
    default: https?://\S+
  scrape_interval:
    description: The longest scrape interval of what the rules look at.
    type: str
    default: 30s
  max_group_interval:
    description: The longest interval that a group may have; Prometheus looks back 5 minutes by default.
    type: str
    default: 5m
  max_group_rules:
    description: How many rules a group may have.
    type: int
    default: 100
  features:
    description: What is switched on in Prometheus by C(--enable-feature).
    type: list
    elements: str
    choices:
      - promql-experimental-functions
      - promql-extended-range-selectors
      - promql-binop-fill-modifiers
    default: []
  max_file_size:
    description: The size that a file may have, in MiB.
    type: float
    default: 10
  timeout:
    description: How long all of it may take, in seconds.
    type: int
    default: 120
  query_url:
    description:
      - URL of a Prometheus or Thanos, without C(/api/v1). It is asked whether each selector finds a series now.
    type: str
requirements:
  - promql-parser >= 0.11
  - PyYAML
  - requests >= 2.25 (for O(query_url))
  - promtool (recommended; needed for O(tests))
seealso:
  - module: scs.observer.promql_info
"""

EXAMPLES = r"""
- name: Check the rules of a role, and run their tests
  scs.observer.alert_rules_check:
    paths:
      - rules/*.yaml
    tests:
      - "{{ playbook_dir }}/tests/rules/*.yaml"
    clusterless:
      - up{observer!=""}
    fail_on: warning

- name: Check manifests of others, and see which of their rules are not made for many clusters
  scs.observer.alert_rules_check:
    paths:
      - /srv/kube-prometheus/manifests
    checks:
      cluster-aggregation: warning
      cluster-join: warning
      cluster-absent: warning
      required-annotations: "off"
  register: checked

- name: Write the report for the forge
  ansible.builtin.copy:
    content: "{{ checked.junit }}"
    dest: /tmp/rules.xml
    mode: "0644"

- name: Look whether the series exist that the rules ask for
  scs.observer.alert_rules_check:
    paths: [rules]
    query_url: https://thanos.example.com
    url_token: "{{ thanos_token }}"
    fail_on: never
"""

RETURN = r"""
problems:
  description: What was found, sorted by file, line and column. Also returned when the task fails because of them.
  returned: always, when the rules were read
  type: list
  elements: dict
  contains:
    file:
      description: The file, or C(rules[0]) for the first of O(rules).
      type: str
      returned: always
    line:
      description: The line, from 1. In a ConfigMap it is the line of the manifest.
      type: int
      returned: always
    column:
      description: The column, from 1.
      type: int
      returned: always
    group:
      description: Name of the group; empty when it is of the whole file.
      type: str
      returned: always
    rule:
      description: Name of the rule; empty when it is of the whole group.
      type: str
      returned: always
    check:
      description: Name of the check.
      type: str
      returned: always
    severity:
      description: One of V(error), V(warning) and V(info).
      type: str
      returned: always
    message:
      description: What is wrong.
      type: str
      returned: always
    remedy:
      description: What to do.
      type: str
      returned: always
  sample:
    - file: rules/nodes.yaml
      line: 12
      column: 15
      group: nodes
      rule: NodesBusy
      check: cluster-aggregation
      severity: error
      message: "sum by (node) aggregates over all clusters: the label cluster is lost."
      remedy: Write sum by (cluster, node), or switch the check off for this rule when all clusters are meant.
summary:
  description: >-
    Counts: C(files), C(groups), C(rules), C(alerts), C(skipped) (manifests that hold no rules), C(error), C(warning), C(info), and C(checks), the problems of
    each check.
  returned: always, when the rules were read
  type: dict
  sample: {files: 1, groups: 1, rules: 3, alerts: 2, skipped: 0, error: 1, warning: 0, info: 0, checks: {cluster-aggregation: 1}}
junit:
  description: The report in JUnit's XML, a suite for each file and a case for each rule.
  returned: always, when the rules were read
  type: str
promtool:
  description: Whether promtool was used.
  returned: always, when the rules were read
  type: bool
"""

import dataclasses

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.observer.plugins.module_utils import _rules_options, _rules_promql, _rules_report, _rules_run, _url_access
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

SHOWN = 20  # problems that the message of a failure names

ARGUMENT_SPEC = {
    "paths": {"type": "list", "elements": "str"},
    "rules": {"type": "list", "elements": "raw"},
    "tests": {"type": "list", "elements": "str", "default": []},
    "promtool": {"type": "str", "default": "promtool"},
    "fail_on": {"type": "str", "choices": ["error", "warning", "info", "never"], "default": "error"},
    "checks": {"type": "dict", "default": {}},
    "exceptions": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"check": {"type": "str", "required": True}, "file": {"type": "str"}, "group": {"type": "str"}, "rule": {"type": "str"}},
    },
    "dialect": {"type": "str", "choices": ["thanos", "prometheus"], "default": "thanos"},
    "cluster_label": {"type": "str", "default": "cluster"},
    "clusterless": {"type": "list", "elements": "str", "default": []},
    "known_metrics": {"type": "list", "elements": "str", "default": []},
    "required_labels": {"type": "dict", "default": {"severity": ["critical", "warning", "info", "none"]}},
    "required_annotations": {"type": "list", "elements": "str", "default": ["summary", "description"]},
    "runbook_url": {"type": "str", "default": r"https?://\S+"},
    "scrape_interval": {"type": "str", "default": "30s"},
    "max_group_interval": {"type": "str", "default": "5m"},
    "max_group_rules": {"type": "int", "default": 100},
    "features": {"type": "list", "elements": "str", "choices": list(_rules_promql.FEATURES), "default": []},
    "max_file_size": {"type": "float", "default": 10},
    "timeout": {"type": "int", "default": 120},
    "query_url": {"type": "str"},
    **_url_access.ACCESS_SPEC,
}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
        required_one_of=[("paths", "rules")],
        mutually_exclusive=[("url_username", "url_token")],
        required_together=[("url_username", "url_password"), ("url_client_certificate", "url_client_key")],
        required_by=dict.fromkeys(_url_access.ACCESS_SPEC, ("query_url",)),
    )
    fail_on = module.params["fail_on"]
    try:
        options = _rules_options.options_from(module.params)
        with _rules_options.backend_from(module.params) as backend:
            report = _rules_run.check(options, backend)
    except ObserverError as error:
        module.fail_json(msg=str(error))
    result = {
        "problems": [dataclasses.asdict(problem) for problem in report.problems],
        "summary": report.summary(),
        "junit": _rules_report.junit(report.cases, report.problems, fail_on),
        "promtool": report.promtool,
    }
    bad = _rules_report.severe(report.problems, fail_on)
    if bad:
        more = f"\n... and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        shown = "\n".join(map(str, bad[:SHOWN]))
        noun = "problem lets" if len(bad) == 1 else "problems let"
        module.fail_json(msg=f"{len(bad)} {noun} this task fail (fail_on: {fail_on}):\n{shown}{more}", **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
