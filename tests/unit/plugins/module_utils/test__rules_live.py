# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _promql, _rules_live, _rules_promql, _rules_run


class Double:
    """Stands in for a Prometheus: knows which selectors find something, and refuses one."""

    title = "http://double"

    def __init__(self, present=(), refused=(), down=False):
        self.present, self.refused, self.down = present, refused, down
        self.queries = []

    def query(self, query):
        self.queries.append(query)
        if self.down:
            raise _promql.QueryError("not reachable", again=True)
        parts = re.findall(r'group\((.*?)\),"(\w+)","(\d+)"', query)
        assert parts
        if any(selector in self.refused for selector, _mark, _number in parts):
            return {"status": "error", "errorType": "bad_data", "error": "no matchers specified"}
        found = [{"metric": {mark: number}, "value": [1, "1"]} for selector, mark, number in parts if selector in self.present]
        return {"status": "success", "data": {"resultType": "vector", "result": found}}


@pytest.mark.parametrize("text", ["up{}", 'up{a="b\\"",c!~"d.+"}', '{"http.requests",a="b"}', '{__name__=~"x.+"}'])
def test_a_selector_is_written_as_it_was(text):
    root = _rules_promql.parse(text).root
    assert _rules_live.written(root) == text
    assert _rules_live.written(_rules_promql.parse(_rules_live.written(root)).root) == text


def test_many_selectors_are_asked_for_at_once():
    selectors = [f"x{number}{{}}" for number in range(100)]
    double = Double(present=selectors[1:])
    assert _rules_live.missing(double, selectors) == {"x0{}": ""}
    assert len(double.queries) == 3


def test_one_that_is_refused_does_not_hide_the_others():
    double = Double(present=["a{}"], refused=["b{}"])
    found = _rules_live.missing(double, ["a{}", "b{}", "c{}"])
    assert found["c{}"] == "" and "no matchers" in found["b{}"] and "a{}" not in found


def test_a_server_that_is_down_is_an_error():
    with pytest.raises(_promql.QueryError, match="not reachable"):
        _rules_live.missing(Double(down=True), ["a{}"])


def test_problems_are_of_the_rules_that_use_the_selector():
    text = "groups:\n- name: g\n  rules:\n  - record: a:b:c\n    expr: sum by (cluster) (x offset 1m) / y\n  - record: a:b:d\n    expr: rate(x[5m]) + z\n"
    report = _rules_run.check(_rules_run.Options(rules=(text,), promtool=""), Double(present=["y{}"], refused=["z{}"]))
    found = [(problem.check, problem.rule, problem.line, problem.column) for problem in report.problems]
    assert found == [("live-series", "a:b:c", 5, 29), ("live-series", "a:b:d", 7, 16), ("live-query", "a:b:d", 7, 25)]
