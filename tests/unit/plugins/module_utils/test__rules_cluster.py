# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _rules_cluster, _rules_promql
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError


def mixed(expr, *clusterless, recorded=None):
    analysis = _rules_cluster.Analysis("cluster", _rules_cluster.clusterless(clusterless), recorded or {})
    analysis.run(_rules_promql.parse(expr).root)
    return [found.check.removeprefix("cluster-") for found in analysis.mixed]


@pytest.mark.parametrize(
    "expr",
    [
        "up == 0",
        "sum by (cluster, job) (up)",
        "sum without (instance) (up)",
        "a / b",
        "a / on (cluster, x) group_left () b",
        "a * ignoring (x) group_right (y) b",
        "a and on (cluster) b",
        "a unless on (cluster) b or on (cluster) c",
        'max by (cluster) (a) and on () max(b{cluster=""}) == 1',
        'a / on () group_left () sum(b{cluster=""})',
        'a and on () vector(1) and on () count(b{cluster!~".+"})',
        "topk(5, up)",
        'a > scalar(max(b{cluster=""}))',
        'absent(up{cluster="x"})',
        'absent(up{cluster="",job="y"})',
        "vector(time()) - 1",
        'label_replace(a, "cluster", "$1", "tenant", "(.+)")',
        'count_values by (cluster) ("v", a)',
        "rate(sum by (cluster) (a)[5m:1m])",
        "sum by (cluster) (a) or vector(0)",
        "sum by (cluster) (a) > bool 1",
    ],
)
def test_clusters_stay_apart(expr):
    assert mixed(expr) == []


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ("sum(up)", ["aggregation"]),
        ("sum by (job) (up)", ["aggregation"]),
        ("sum without (cluster) (up)", ["aggregation"]),
        ("max(sum by (cluster) (up))", ["aggregation"]),
        # found once: what comes out is of no cluster
        ("max(sum(up)) / sum by (cluster) (sum by (x) (up))", ["aggregation", "aggregation"]),
        ("quantile(scalar(a), b)", ["aggregation", "aggregation"]),
        ("a / on (job) b", ["join"]),
        ("a / ignoring (cluster) b", ["join"]),
        ("a * on (job) group_left (cluster) b", ["join"]),
        ("a and on (job) b", ["join"]),
        ("a unless on () b", ["join"]),
        ("a or on () b", ["join"]),
        # no other cluster is joined, but one-to-one matching keeps nothing but its labels
        ('a / on () sum(b{cluster=""})', ["join"]),
        ("absent(up)", ["absent"]),
        ('absent_over_time(up{cluster=~"a|b"}[5m])', ["absent"]),
        ("scalar(a)", ["aggregation"]),
        ("a > scalar(b)", ["aggregation"]),
        ('label_replace(a, "cluster", "", "", "")', ["aggregation"]),
        ('sum(up{cluster="x"})', ["aggregation"]),
    ],
)
def test_clusters_are_mixed(expr, found):
    assert mixed(expr) == found


def test_selectors_of_no_cluster_are_given():
    assert mixed('sum(up{observer!="",job="x"})', 'up{observer!=""}') == []
    assert mixed('sum(up{job="x"})', 'up{observer!=""}') == ["aggregation"]
    assert mixed('sum(down{observer!=""})', 'up{observer!=""}') == ["aggregation"]
    assert mixed('sum(thanos_x{observer!="",a="b"})', '{__name__=~"thanos_.+",observer!=""}') == []
    assert mixed('sum(up{job="thanos-x"})', 'up{job=~"thanos-.+"}') == []
    with pytest.raises(ObserverError, match="clusterless"):
        _rules_cluster.clusterless(["sum(up)"])


def test_recorded_series_carry_what_their_expressions_do():
    rules = {
        "own:a:b": 'max(x{cluster=""})',
        "own:c:d": "own:a:b * 2",
        # itself, and through another
        "own:e:f": "own:e:f or own:g:h",
        "own:g:h": "own:e:f or max by (cluster) (x)",
        "own:i:j": "own:i:j or own:c:d",
        "own:k:l": "sum(x)",
    }
    given = [(name, _rules_promql.parse(expr).root, False) for name, expr in rules.items()]
    found = _rules_cluster.recorded(given, "cluster", [])
    assert found == {"own:a:b": False, "own:c:d": False, "own:e:f": True, "own:g:h": True, "own:i:j": False, "own:k:l": False}
    assert mixed("max(own:c:d)", recorded=found) == []
    assert mixed("max(own:e:f)", recorded=found) == ["aggregation"]
    assert _rules_cluster.recorded([("own:a:b", _rules_promql.parse("vector(1)").root, True)], "cluster", []) == {"own:a:b": True}
