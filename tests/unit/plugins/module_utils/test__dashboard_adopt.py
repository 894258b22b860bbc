# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _dashboard_adopt, _dashboard_walk
from ansible_collections.scs.observer.plugins.module_utils._dashboard_adopt import adopt, check, wanted
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

MATCHERS = ['infrastructure=~"$infrastructure"', 'cluster=""']
ASKED = {"matchers": MATCHERS, "variables": [{"name": "infrastructure"}]}
M = ",".join(MATCHERS)
OURS = {"type": "prometheus", "uid": "${datasource}"}


def panel(expr="up", title="P", **more):
    return {"type": "timeseries", "title": title, "targets": [{"expr": expr, "refId": "A"}], **more}


def dashboard(*panels, **more):
    return {"title": "T", "uid": "u", "schemaVersion": 39, "panels": list(panels), **more}


def adopted(given, problems=0, **options):
    """Adopts it twice: the second time must change nothing."""
    before = copy.deepcopy(given)
    asked = wanted(**{**ASKED, **options})
    found, left = adopt(given, asked)
    assert given == before, "the given one was changed"
    assert len(left) == problems, left
    again, _left = adopt(found, asked)
    assert again == found
    return found


def variable(found, name):
    (one,) = [entry for entry in found["templating"]["list"] if entry.get("name") == name]
    return one


def with_variable(**given):
    return dashboard(panel(), templating={"list": [{"name": "v", "type": "query", "datasource": None, **given}]})


# Datasources

VARIABLES = {
    "templating": {
        "list": [
            {"name": "ds", "type": "datasource", "query": "prometheus"},
            {"name": "logs", "type": "datasource", "query": "loki"},
        ]
    }
}
INPUTS = {
    "__inputs": [
        {"name": "DS_PROM", "type": "datasource", "pluginId": "prometheus"},
        {"name": "DS_LOKI", "type": "datasource", "pluginId": "loki"},
    ]
}


@pytest.mark.parametrize(
    "named",
    [
        None,
        "default",
        "Prometheus",
        "$ds",
        "${ds}",
        "[[ds]]",
        "${DS_PROM}",
        "$datasource",
        {"type": "prometheus", "uid": "PBFA97CFB590B2093"},
        {"type": "prometheus", "uid": "${DS_PROM}"},
        {"type": "datasource", "uid": "${ds}"},
        {"type": "grafana-amazonprometheus-datasource", "uid": "x"},
        {"uid": "${DS_PROM}"},
        {"uid": "x"},
        {"type": "prometheus"},
        {},
    ],
)
@pytest.mark.parametrize("place", ["panel", "target", "both"])
def test_all_ways_to_name_a_prometheus(named, place):
    given = panel()
    if place in ("panel", "both"):
        given["datasource"] = named
    if place in ("target", "both"):
        given["targets"][0]["datasource"] = named
    (found,) = adopted(dashboard(given, **VARIABLES, **INPUTS))["panels"]
    assert found["targets"][0]["expr"] == f"up{{{M}}}"
    assert (found["targets"][0].get("datasource") or found["datasource"]) == OURS
    if place == "both" and named not in (None, {}):
        assert found["targets"][0]["datasource"] == found["datasource"] == OURS


@pytest.mark.parametrize(
    "named",
    [
        "-- Grafana --",
        "-- Dashboard --",
        "$logs",
        "${logs}",
        "Logs",
        {"type": "loki", "uid": "x"},
        {"type": "datasource", "uid": "grafana"},
        {"type": "__expr__", "uid": "__expr__"},
        {"type": "datasource", "uid": "-- Mixed --"},
    ],
)
def test_other_datasources_stay_with_their_queries(named):
    given = panel('{job="x"} |= "y"', datasource=named)
    if named == {"type": "datasource", "uid": "-- Mixed --"}:
        given["targets"][0]["datasource"] = {"type": "loki", "uid": "x"}
    found = adopted(dashboard(given, **VARIABLES), keep_datasources=["Logs"])
    assert found["panels"] == [given]


def test_mixed_panels_are_changed_by_query():
    given = panel(datasource="-- Mixed --")
    given["targets"] = [
        {"expr": "a", "datasource": {"type": "prometheus", "uid": "x"}},
        {"expr": "b"},
        {"expr": '{c="d"} |= "e"', "datasource": {"type": "loki", "uid": "x"}},
        {"expression": "$A + $B", "datasource": {"type": "__expr__", "uid": "__expr__"}},
        {"rawSql": "SELECT 1", "datasource": {"type": "mysql", "uid": "x"}},
    ]
    (found,) = adopted(dashboard(given))["panels"]
    assert found["datasource"] == "-- Mixed --"
    assert found["targets"][:2] == [{"expr": f"a{{{M}}}", "datasource": OURS}, {"expr": f"b{{{M}}}", "datasource": OURS}]
    assert found["targets"][2:] == given["targets"][2:]


def test_panels_that_ask_nothing_are_left():
    text = {"type": "text", "title": "x", "datasource": None, "options": {"content": "$x"}}
    row = {"type": "row", "title": "R", "datasource": {"type": "prometheus", "uid": "old"}, "panels": []}
    found = adopted(dashboard(text, row))["panels"]
    assert found == [text, {**row, "datasource": OURS}]


def test_given_datasource_is_used_and_choosers_go():
    given = dashboard(panel(datasource="$ds"), **VARIABLES)
    found = adopted(given, datasource="thanos")
    assert found["panels"][0]["datasource"] == {"type": "prometheus", "uid": "thanos"}
    assert [entry["name"] for entry in found["templating"]["list"]] == ["logs", "infrastructure"]


def test_chooser_that_something_names_stays():
    given = dashboard(panel(datasource="$ds", links=[{"url": "/d/x?var-ds=${ds}"}]), **VARIABLES)
    assert [entry["name"] for entry in adopted(given)["templating"]["list"]] == ["datasource", "ds", "logs", "infrastructure"]


def test_chooser_is_added_or_kept():
    added = variable(adopted(dashboard(panel())), "datasource")
    assert (added["type"], added["query"]) == ("datasource", "prometheus")
    own = {"name": "datasource", "type": "datasource", "query": "prometheus", "regex": "/Thanos/", "current": {"value": "x"}}
    found = adopted(dashboard(panel(), templating={"list": [{"name": "v", "type": "custom", "query": "1"}, own]}))
    assert [entry["name"] for entry in found["templating"]["list"]] == ["datasource", "infrastructure", "v"]
    assert variable(found, "datasource") == own
    with pytest.raises(ObserverError, match="has a variable datasource of another kind"):
        adopted(dashboard(panel(), templating={"list": [{"name": "datasource", "type": "datasource", "query": "loki"}]}))


def test_datasources_in_other_places():
    links = [{"internal": {"datasourceUid": "${DS_PROM}", "query": {"datasource": {"uid": "${DS_PROM}"}}}}]
    given = dashboard(panel(datasource="${DS_PROM}", fieldConfig={"defaults": {"links": links}}), **INPUTS)
    (found,) = adopted(given)["panels"][0]["fieldConfig"]["defaults"]["links"]
    assert found["internal"] == {"datasourceUid": "${datasource}", "query": {"datasource": OURS}}


def test_input_of_another_type_is_a_problem():
    given = dashboard(panel(), panel('{a="b"}', datasource="${DS_LOKI}"), **INPUTS)
    found, (problem,) = adopt(given, wanted(**ASKED))
    assert "__inputs" not in found
    assert found["panels"][1] == given["panels"][1]
    assert "It needs a datasource of loki" in problem.reason


def test_constants_of_an_export_get_their_values():
    given = dashboard(panel('up{job="${VAR_JOB}"}', title="${VAR_JOB} $VAR_JOB"), __inputs=[{"name": "VAR_JOB", "type": "constant", "value": "node"}])
    (found,) = adopted(given)["panels"]
    assert (found["targets"][0]["expr"], found["title"]) == (f'up{{{M},job="node"}}', "node $VAR_JOB")


# What it is called


def test_uid_title_and_tags():
    given = dashboard(panel(), tags=["a", "b"])
    found = adopted(given, uid_prefix="osism-", title_prefix="OSISM / ", tags=["b", "c"])
    assert (found["uid"], found["title"], found["tags"]) == ("osism-u", "OSISM / T", ["a", "b", "c"])
    found = adopted(given, uid="other", tags=["c"], replace_tags=True)
    assert (found["uid"], found["title"], found["tags"]) == ("other", "T", ["c"])
    assert adopted(dashboard(panel(), tags=None))["tags"] == []


@pytest.mark.parametrize("missing", [None, "", 5])
def test_missing_uid_is_made_of_the_title(missing):
    titles = ("Node: a/b ü", "Node: a/b ö", "Node: a/b ü", "x" * 200, "日本")
    made = [adopted({**dashboard(panel()), "uid": missing, "title": title})["uid"] for title in titles]
    assert made[0] == made[2] != made[1]
    assert made[0].startswith("node-a-b-")
    assert all(0 < len(uid) <= 40 for uid in made)
    adopted({**dashboard(panel()), "uid": missing, "title": "x" * 200}, uid_prefix="a-prefix-as-long-as-can-")


def test_long_uids_stay_different():
    uids = [adopted({**dashboard(panel()), "uid": "x" * 38 + end}, uid_prefix="osism-")["uid"] for end in ("1", "2")]
    assert uids[0] != uids[1]
    assert all(len(uid) == 40 and uid.startswith("osism-x") for uid in uids)


def test_what_binds_it_to_its_origin_is_removed():
    given = dashboard(panel(), id=5, iteration=7, folderId=3, folderUid="x", __requires=[], __elements={}, version=12, gnetId=1860)
    found = adopted(given)
    assert not {"id", "iteration", "folderId", "folderUid", "__requires", "__elements"} & set(found)
    assert found["gnetId"] == 1860


def test_the_form_of_the_api():
    found, _problems = adopt({"dashboard": dashboard(panel(), id=5), "meta": {"folderUid": "x"}}, wanted(**ASKED))
    assert found == adopted(dashboard(panel()))


# Queries


def test_all_panels_of_all_schemas():
    closed = {"type": "row", "title": "C", "collapsed": True, "panels": [panel("b")]}
    found = adopted(dashboard(panel("a"), closed, rows=[{"title": "Old", "panels": [panel("c")]}], schemaVersion=14))
    exprs = [target.expr.text for one in _dashboard_walk.panels(found) for target in one.targets()]
    assert exprs == [f"{name}{{{M}}}" for name in "abc"]


def test_hidden_and_empty_queries():
    given = panel()
    given["targets"] = [{"expr": "a", "hide": True}, {"expr": " "}, {"expr": ""}]
    (found,) = adopted(dashboard(given))["panels"]
    assert [target["expr"] for target in found["targets"]] == [f"a{{{M}}}", " ", ""]


def test_annotations():
    notes = [
        {"name": "x", "datasource": "$ds", "expr": "up == 0"},
        {"name": "y", "datasource": None, "target": {"expr": "a"}},
        {"builtIn": 1, "datasource": {"type": "grafana", "uid": "-- Grafana --"}, "name": "Annotations"},
    ]
    found = adopted(dashboard(panel(), annotations={"list": notes}, **VARIABLES))["annotations"]["list"]
    assert found[0] == {"name": "x", "datasource": OURS, "expr": f"up{{{M}}} == 0"}
    assert found[1]["target"]["expr"] == f"a{{{M}}}"
    assert found[2] == notes[2]


def test_library_panels_are_reported_and_left():
    library = {"type": "row", "title": "L", "libraryPanel": {"uid": "x", "name": "Lib"}, "datasource": "$ds", "panels": [panel("a")]}
    found, (problem,) = adopt(dashboard(panel(), library, **VARIABLES), wanted(**ASKED))
    assert found["panels"][1] == library
    assert (problem.dashboard, problem.path, problem.panel, problem.expr) == ("u", "panels[1]", "L", "")
    assert "library panel" in problem.reason
    assert variable(found, "ds"), "what the library panel names is still needed"


def test_bad_queries_are_reported_and_left():
    given = dashboard(panel("up{", title="Bad"), panel("b"), templating={"list": [{"name": "v", "type": "query", "query": "query_result(sum()"}]})
    found, problems = adopt(given, wanted(**ASKED))
    assert [target["expr"] for one in found["panels"] for target in one["targets"]] == ["up{", f"b{{{M}}}"]
    assert [(problem.panel, problem.ref_id, problem.path, problem.expr) for problem in problems] == [
        ("Bad", "A", "panels[0].targets[0]", "up{"),
        ("", "v", "templating.list[0]", "query_result(sum()"),
    ]
    with pytest.raises(ObserverError, match=r'2 places .* can not be adopted: u, panel "Bad" A \(panels\[0\]\.targets\[0\]\): It can not be parsed'):
        check(problems)
    check([])


def test_without_matchers_queries_stay():
    found = adopted(dashboard(panel("up{")), matchers=[], variables=[])
    assert found["panels"][0]["targets"][0]["expr"] == "up{"


# Variables


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("label_values(up, job)", f"label_values(up{{{M}}}, job)"),
        ('label_values(up{a="$b", c="d,e"}, job)', f'label_values(up{{{M},a="$b", c="d,e"}}, job)'),
        ("label_values(job)", f'label_values({{job!="",{M}}}, job)'),
        ("label_values({}, job)", f'label_values({{job!="",{M}}}, job)'),
        ("label_values($label)", f'label_values({{__name__!="",{M}}}, $label)'),
        ("label_values(cluster)", f'label_values({{__name__!="",{M}}}, cluster)'),
        ("label_values(up, cluster)", f"label_values(up{{{M}}}, cluster)"),
        ("metrics(node_.*)", f'label_values({{__name__=~".*(?:node_.*).*",{M}}}, __name__)'),
        ('metrics("\\.")', f'label_values({{__name__=~".*(?:\\"\\\\.\\").*",{M}}}, __name__)'),
        ("metrics()", f'label_values({{__name__!="",{M}}}, __name__)'),
        ("query_result(topk(5, sum by (a) (b)))", f"query_result(topk(5, sum by (a) (b{{{M}}})))"),
        ('up{a="b"}', f'up{{{M},a="b"}}'),
        ("label_names()", "label_names()"),
        ("", ""),
    ],
)
@pytest.mark.parametrize("form", ["text", "object"])
def test_queries_of_variables(before, after, form):
    given = with_variable(query=before if form == "text" else {"query": before, "refId": "x"}, definition=before)
    found = variable(adopted(given), "v")
    assert (found["query"] if form == "text" else found["query"]["query"]) == after
    assert found["definition"] == after
    assert found["datasource"] == OURS


@pytest.mark.parametrize(
    "given",
    [
        {"type": "query", "datasource": {"type": "loki", "uid": "x"}, "query": "label_values(job)"},
        {"type": "query", "datasource": "MySQL", "query": "SELECT 1"},
        {"type": "query", "datasource": {"type": "mysql", "uid": "x"}, "query": {"rawSql": "SELECT 1"}},
        {"type": "custom", "query": "up,down"},
    ],
)
def test_other_variables_are_left(given):
    before = with_variable(**given)
    assert variable(adopted(before), "v") == before["templating"]["list"][0]


def test_variable_is_added():
    found = adopted(dashboard(panel()))
    assert [entry["name"] for entry in found["templating"]["list"]] == ["datasource", "infrastructure"]
    added = variable(found, "infrastructure")
    assert added["query"]["query"] == added["definition"] == 'label_values(up{infrastructure!=""}, infrastructure)'
    assert (added["multi"], added["includeAll"], added["allValue"], added["hide"], added["label"]) == (True, True, ".+", 0, "Infrastructure")
    assert added["datasource"] == OURS
    options = {"name": "infrastructure", "label": "Cloud", "query": "label_values(a, b)", "multi": False, "include_all": False, "hide": True}
    added = variable(adopted(dashboard(panel()), variables=[options]), "infrastructure")
    assert (added["multi"], added["includeAll"], added["allValue"], added["hide"], added["label"]) == (False, False, None, 2, "Cloud")
    assert added["query"]["query"] == "label_values(a, b)"


def test_variable_of_the_same_name_is_replaced_and_its_choice_kept():
    chosen = {"text": ["testbed"], "value": ["testbed"]}
    given = dashboard(panel(), templating={"list": [{"name": "infrastructure", "type": "query", "query": "x", "current": chosen}]})
    found = adopted(given)
    assert variable(found, "infrastructure")["current"] == chosen
    assert "label_values(up{" in variable(found, "infrastructure")["query"]["query"]


def test_variables_do_not_wait_for_one_another():
    """A variable is limited by those before it only, so that no circle can be."""
    listed = [{"name": name, "type": "query", "query": f"label_values(up, {name})"} for name in ("a", "b", "c")]
    found = adopted(dashboard(panel(), templating={"list": listed}), matchers=['a=~"$a"', 'b=~"$b"'], variables=[])
    queries = [variable(found, name)["query"] for name in ("a", "b", "c")]
    assert queries == ["label_values(up, a)", 'label_values(up{a=~"$a"}, b)', 'label_values(up{a=~"$a",b=~"$b"}, c)']


def test_matcher_without_its_variable_is_refused():
    with pytest.raises(ObserverError, match=r"no variable infrastructure\. Give it as variables=\[\{'name': 'infrastructure'\}\]"):
        adopt(dashboard(panel()), wanted(matchers=MATCHERS))


@pytest.mark.parametrize(
    ("given", "expr"),
    [
        ({"type": "textbox", "query": "80"}, f"a{{{M}}} > $v"),
        ({"type": "interval", "query": "1m,5m"}, f"a{{{M}}} > $v"),
        ({"type": "custom", "query": "few : 1, many : 2.5"}, f"a{{{M}}} > $v"),
        ({"type": "custom", "query": "node_load1,node_load5"}, f"a{{{M}}} > $v{{{M}}}"),
        ({"type": "query", "query": "metrics(x)"}, f"a{{{M}}} > $v{{{M}}}"),
        ({"type": "query", "query": "label_values({a=~'b'}, __name__)"}, f"a{{{M}}} > $v{{{M}}}"),
        ({"type": "query", "query": "query_result(x)", "current": {"value": "5"}}, f"a{{{M}}} > $v"),
    ],
)
def test_values_tell_what_a_variable_stands_for(given, expr):
    before = with_variable(**given)
    before["panels"][0]["targets"][0]["expr"] = "a > $v"
    assert adopted(before)["panels"][0]["targets"][0]["expr"] == expr


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"type": "custom", "query": "rate(x[5m]),y"}, "holds a part of a query"),
        ({"type": "textbox", "query": ""}, "may be a number or a metric"),
    ],
)
def test_unclear_variables_are_problems(given, reason):
    before = with_variable(**given)
    before["panels"][0]["targets"][0]["expr"] = "a > $v"
    _found, (problem,) = adopt(before, wanted(**ASKED))
    assert reason in problem.reason


# Bad input


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{}", "no dashboard but a text"),
        ([], "no dashboard but a text or a list"),
        ({"panels": []}, "has no title"),
        ({"title": " "}, "has no title"),
        ({"title": "x", "elements": {}}, "schema v2"),
        ({"title": "x", "spec": {}}, "schema v2"),
        ({"title": "x", "panels": 5}, "panels is a number"),
        ({"title": "x", "templating": []}, "templating is a list"),
    ],
)
def test_what_is_no_dashboard_is_refused(given, message):
    with pytest.raises(ObserverError, match=message):
        adopt(given, wanted(**ASKED))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"matchers": ["x"]}, "x is not a matcher"),
        ({"matchers": 'a="b"'}, "matchers must be a list"),
        ({"tags": "x"}, "tags must be a list"),
        ({"existing_matchers": "drop"}, "existing_matchers is drop"),
        ({"datasource": ""}, "datasource must be"),
        ({"datasource": "-- Mixed --"}, "datasource must be"),
        ({"uid": "a b"}, "uid is a b"),
        ({"uid": "x" * 41}, "at most 40"),
        ({"uid_prefix": "x" * 25}, "at most 24"),
        ({"uid": "x", "uid_prefix": "y"}, "not both"),
        ({"variables": [{"name": "a b"}]}, "each needs a name"),
        ({"variables": [{"name": "a", "color": "red"}]}, "each needs a name"),
        ({"matchers": ['a="$a"'], "variables": [{"name": "a"}]}, r"compares with one value, but \$a may have several"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ObserverError, match=message):
        wanted(**options)


def test_missing_library_is_told(monkeypatch):
    monkeypatch.setattr(_dashboard_adopt._rules_promql, "IMPORT_ERROR", ImportError("No module named 'promql_parser'"))
    with pytest.raises(ObserverError, match="promql-parser can not be used"):
        wanted(matchers=['a="b"'])
    assert wanted().matchers == ()
