# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _dashboard_walk
from ansible_collections.scs.observer.plugins.module_utils._dashboard_walk import VARIABLE, VariableQuery, variable_query
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

PANELS = {
    "panels": [
        {"type": "stat", "title": "First", "targets": [{"expr": "a", "refId": "Q"}, {"rawSql": "SELECT 1"}]},
        {"type": "row", "title": "Open", "collapsed": False, "panels": []},
        {"type": "graph", "title": "Behind", "targets": None},
        {"type": "row", "title": "Closed", "collapsed": True, "panels": [{"type": "graph", "title": "Inside", "targets": [{"expr": "b"}]}]},
    ]
}
ROWS = {"rows": [{"title": "Old", "panels": [{"title": "One", "targets": [{"expr": "a"}]}]}, {"panels": [{"targets": [{"expr": "b"}]}]}, {}]}


def test_panels_of_all_schemas():
    assert [(panel.path, panel.kind, panel.title, panel.row) for panel in _dashboard_walk.panels(PANELS)] == [
        ("panels[0]", "stat", "First", ""),
        ("panels[1]", "row", "Open", ""),
        ("panels[2]", "graph", "Behind", "Open"),
        ("panels[3]", "row", "Closed", "Open"),
        ("panels[3].panels[0]", "graph", "Inside", "Closed"),
    ]
    assert [(panel.path, panel.kind, panel.title, panel.row) for panel in _dashboard_walk.panels(ROWS)] == [
        ("rows[0]", "row", "Old", ""),
        ("rows[0].panels[0]", "", "One", "Old"),
        ("rows[1]", "row", "", ""),
        ("rows[1].panels[0]", "", "", ""),
        ("rows[2]", "row", "", ""),
    ]
    assert list(_dashboard_walk.panels({})) == []


def test_targets_can_be_changed_where_they_are():
    dashboard = {"panels": [{"targets": [{"expr": "a"}, {"expr": 5}, {}]}]}
    (panel,) = _dashboard_walk.panels(dashboard)
    targets = list(panel.targets())
    assert [(target.path, target.ref_id, target.expr and target.expr.text) for target in targets] == [
        ("panels[0].targets[0]", "A", "a"),
        ("panels[0].targets[1]", "B", None),
        ("panels[0].targets[2]", "C", None),
    ]
    place = targets[0].expr
    place.holder[place.key] = "b"
    assert dashboard["panels"][0]["targets"][0]["expr"] == "b"


def test_library_panels_are_known():
    assert [panel.library for panel in _dashboard_walk.panels({"panels": [{"libraryPanel": {"uid": "x"}}, {"libraryPanel": None}]})] == [True, False]


def test_variables_and_annotations():
    listed = [
        {"name": "a", "type": "query", "query": "label_values(up, job)"},
        {"name": "b", "type": "query", "query": {"query": "metrics(x)", "refId": "y"}},
        {"name": "c", "type": "query", "query": {"rawSql": "SELECT 1"}},
        {"name": "d", "type": "custom", "query": "1,2"},
        {},
    ]
    found = list(_dashboard_walk.variables({"templating": {"list": listed}}))
    texts = [variable.query and variable.query.text for variable in found]
    assert texts == ["label_values(up, job)", "metrics(x)", None, None, None]
    assert [variable.name for variable in found] == ["a", "b", "c", "d", ""]
    annotated = [{"name": "x", "expr": "up == 0"}, {"name": "y", "target": {"expr": "a"}}, {"builtIn": 1, "target": {"type": "dashboard"}}, {"expr": ""}]
    notes = list(_dashboard_walk.annotations({"annotations": {"list": annotated}}))
    assert [note.expr and note.expr.text for note in notes] == ["up == 0", "a", None, None]


@pytest.mark.parametrize(
    ("dashboard", "message"),
    [
        ({"panels": {}}, "panels is an object, not a list"),
        ({"panels": ["a"]}, r"panels\[0\] is a text, not an object"),
        ({"panels": [{"targets": [None]}]}, r"panels\[0\]\.targets\[0\] is null, not an object"),
        ({"rows": [{"panels": 5}]}, r"rows\[0\]\.panels is a number, not a list"),
        ({"templating": []}, "templating is a list, not an object"),
        ({"templating": {"list": "x"}}, "templating.list is a text"),
        ({"annotations": {"list": [True]}}, r"annotations\.list\[0\] is true or false"),
    ],
)
def test_what_is_no_dashboard_is_told(dashboard, message):
    def walk():
        for panel in _dashboard_walk.panels(dashboard):
            list(panel.targets())
        list(_dashboard_walk.variables(dashboard))
        list(_dashboard_walk.annotations(dashboard))

    with pytest.raises(ObserverError, match=message):
        walk()


def test_rows_without_end():
    row: dict = {"panels": []}
    row["panels"].append(row)
    with pytest.raises(ObserverError, match="rows lie in rows"):
        list(_dashboard_walk.panels(row))


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("label_values(job)", VariableQuery("label_values", "", "job")),
        ("label_values(up, job)", VariableQuery("label_values", "up", "job")),
        (' label_values(up{a=~"b,c", d="$e"} ,  $label ) ', VariableQuery("label_values", 'up{a=~"b,c", d="$e"}', "$label")),
        ("label_values({}, job)", VariableQuery("label_values", "{}", "job")),
        ("label_values(up{a})", VariableQuery("", "label_values(up{a})")),
        ("label_names()", VariableQuery("label_names", "")),
        ("metrics(node_.*)", VariableQuery("metrics", "node_.*")),
        ("query_result(topk(5, sum(a) by (b)))", VariableQuery("query_result", "topk(5, sum(a) by (b))")),
        ('up{a="b"}', VariableQuery("", 'up{a="b"}')),
        ("", VariableQuery("", "")),
    ],
)
def test_queries_of_variables(text, query):
    assert variable_query(text) == query


def test_what_grafana_takes_for_a_variable():
    text = '$a ${b} ${c:regex} ${d.e:raw} [[f]] [[g:pipe]] $1 x$ "$" $$ ${} [[:alpha:]] [[h-i]] $__rate_interval'
    found = [match["plain"] or match["braced"] or match["old"] for match in VARIABLE.finditer(text)]
    assert found == ["a", "b", "c", "d", "f", "g", "1", "__rate_interval"]
