# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _dashboard_variables as variables
from ansible_collections.scs.observer.plugins.module_utils._dashboard_variables import Intervals, Resolver, TimeRange, Value
from ansible_collections.scs.observer.plugins.module_utils._promql import QueryError

HOUR = TimeRange(1_700_000_000, 1_700_003_600)
SERVERS = Value(("test1.", "te'st2"), several=True, escaped=True, name="servers")


class Api:
    """A double of a server: answers label_values by what is asked, and keeps it."""

    title = "http://double"

    def __init__(self, **answers):
        self.answers, self.asked = answers, []

    def _of(self, key):
        self.asked.append(key)
        answer = self.answers.get(key, [])
        return answer if "status" in answer else {"status": "success", "data": answer}

    def label_names(self, **times):
        return self._of("label_names")

    def label_values(self, label, match="", **times):
        assert times == {"start": HOUR.start, "end": HOUR.end}
        return self._of(f"{label} of {match}" if match else label)

    def series(self, match, **times):
        return self._of(f"series {match}")

    def query(self, query, *, time=None):
        assert time == HOUR.end
        return self._of(f"query {query}")


def resolved(models, given=None, api=None, **dashboard):
    resolver = Resolver({"templating": {"list": models}, **dashboard}, given or {}, HOUR, api or Api(), 15)
    return resolver.resolve(), resolver.scope()


def query(name, text, **more):
    return {"type": "query", "name": name, "query": text, "refresh": 1, "datasource": {"type": "prometheus", "uid": "x"}, **more}


# as the documentation of Grafana 10.4 has them, "Advanced variable format options"
@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("csv", "test1.,te'st2"),
        ("distributed", "test1.,servers=te'st2"),
        ("doublequote", '"test1.","te\'st2"'),
        ("glob", "{test1.,te'st2}"),
        ("json", '["test1.","te\'st2"]'),
        ("lucene", '("test1." OR "te\'st2")'),
        ("pipe", "test1.|te'st2"),
        ("raw", "test1.,te'st2"),
        ("regex", r"(test1\.|te'st2)"),
        ("singlequote", r"'test1.','te\'st2'"),
        ("sqlstring", "'test1.','te''st2'"),
        ("text", "test1. + te'st2"),
        ("queryparam", "var-servers=test1.&var-servers=te%27st2"),
        ("percentencode", "%7Btest1.%2Cte%27st2%7D"),
        ("unknown", "{test1.,te'st2}"),
    ],
)
def test_formats(form, text):
    assert variables.put_in(f"a ${{servers:{form}}} b", {"servers": SERVERS}) == f"a {text} b"


@pytest.mark.parametrize("reference", ["$x", "${x}", "[[x]]", "${x.field}", "${x:raw}", "[[x:raw]]"])
def test_every_syntax(reference):
    assert variables.put_in(f"up{{job={reference}}}", {"x": Value.of("a")}, "prometheus") == "up{job=a}"


def test_in_a_query_several_values_are_a_regular_expression():
    assert variables.put_in("$servers", {"servers": SERVERS}, "prometheus") == r"(test1\\.|te\\'st2)"
    assert variables.put_in("$x", {"x": Value.of("a.b", escaped=True)}, "prometheus") == r"a\\.b"
    assert variables.put_in("$x", {"x": Value(("a.b",), several=True, escaped=True)}, "prometheus") == r"a\\.b"
    # neither multi nor All: only what would break the query's text
    assert variables.put_in("$x", {"x": Value.of("a.b\\c")}, "prometheus") == "a.b\\\\c"


def test_what_is_unknown_stays():
    text = 'label_replace(up, "a", "$1", "b", "(.*)") * $unknown'
    assert variables.put_in(text, {"x": Value.of("a")}, "prometheus") == text


def test_names_end_where_words_end():
    assert variables.put_in("$ab $a ${a}b", {"a": Value.of("1")}) == "$ab 1 1b"


# by calculatePrometheusInterval and calculateRateInterval of Grafana 10.4
@pytest.mark.parametrize(
    ("span", "points", "given", "interval", "rate"),
    [
        (3600, 500, {}, 15, 60),
        (3600, 100, {}, 30, 60),
        (86400, 500, {}, 120, 135),
        (604800, 1000, {}, 600, 615),
        (3600, 500, {"target": "1m"}, 60, 240),
        (3600, 500, {"target": "$__rate_interval"}, 60, 60),
        (3600, 500, {"target": "${__rate_interval}"}, 60, 60),
        (3600, 500, {"target": "$__interval"}, 15, 60),
        (3600, 500, {"factor": 4}, 60, 60),
        (3600, 500, {"panel": "2m"}, 120, 135),
        (3600, 500, {"scrape": 60}, 60, 240),
        (30 * 86400, 1_000_000, {"target": "1s"}, 300, 60),
    ],
)
def test_intervals(span, points, given, interval, rate):
    found = variables.intervals(span, points, **{"scrape": 15, **given})
    assert found.interval == interval
    if "target" not in given or given["target"] != "1s":
        assert found.rate == rate


def test_built_in_variables():
    scope = {**variables.built_in(HOUR, {"title": "A", "uid": "a"}), **variables.of_intervals(Intervals(15, 60))}
    text = "$__range $__range_s $__range_ms ${__from} ${__to:date:seconds} $__interval $__interval_ms $__rate_interval ${__rate_interval_ms} ${__dashboard.uid}"
    assert variables.put_in(text, scope) == "3600s 3600 3600000 1700000000000 1700003600 15s 15000 1m0s 60000 a"
    assert variables.put_in("${__from:date:iso}", scope) == "2023-11-14T22:13:20.000Z"
    # Grafana leaves out what is over
    assert variables.of_intervals(Intervals(90, 90))["__interval"].plain == "1m"
    assert variables.of_intervals(Intervals(90, 90))["__rate_interval"].plain == "1m30s"


def test_a_query_variable_takes_the_first_value():
    found, scope = resolved([query("job", "label_values(up, job)")], api=Api(**{"job of up": ["a", "b"]}))
    assert found["job"].result() == {"name": "job", "type": "query", "value": ["a"], "all": False, "options": 2, "error": ""}
    assert variables.put_in("$job", scope, "prometheus") == "a"


def test_the_saved_value_is_taken_while_it_exists():
    api = Api(**{"job of up": ["a", "b"]})
    assert resolved([query("job", "label_values(up, job)", current={"text": "b", "value": "b"})], api=api)[0]["job"].value.values == ("b",)
    assert resolved([query("job", "label_values(up, job)", current={"text": "z", "value": "z"})], api=api)[0]["job"].value.values == ("a",)
    # Grafana would not look
    assert resolved([query("job", "label_values(up, job)", current={"text": "z", "value": "z"}, refresh=0)], api=api)[0]["job"].value.values == ("z",)


def test_all():
    api = Api(**{"job of up": ["a.b", "c"]})
    model = query("job", "label_values(up, job)", includeAll=True, multi=True, current={"text": ["All"], "value": ["$__all"]})
    found, scope = resolved([model], api=api)
    assert found["job"].all
    assert variables.put_in("$job ${job:csv} ${job:text}", scope, "prometheus") == r"(a\\.b|c) a.b,c All"
    assert resolved([{**model, "allValue": ".+"}], api=api)[1]["job"] == Value.of(".+", literal=True, escaped=True, name="job", text="All")
    assert variables.put_in("$job ${job:regex}", resolved([{**model, "allValue": ".+"}], api=api)[1], "prometheus") == ".+ .+"
    # of nothing, as Grafana has it
    assert variables.put_in("$job", resolved([model])[1], "prometheus") == "()"


def test_all_is_the_first_value_where_there_is_no_other():
    assert resolved([query("job", "label_values(up, job)", includeAll=True)], api=Api(**{"job of up": ["a"]}))[0]["job"].all


@pytest.mark.parametrize(
    ("given", "text"),
    [("b", "b"), (["a", "b"], "(a|b)"), ("All", "(a|b)"), ("$__all", "(a|b)"), (["elsewhere"], "elsewhere"), (3, "3")],
)
def test_the_task_decides(given, text):
    model = query("job", "label_values(up, job)", includeAll=True, multi=True)
    assert variables.put_in("$job", resolved([model], {"job": given}, Api(**{"job of up": ["a", "b"]}))[1], "prometheus") == text


def test_the_task_may_give_what_the_dashboard_does_not_have():
    assert variables.put_in("$extra", resolved([], {"extra": "x"})[1]) == "x"


def test_variables_may_need_each_other_in_any_order():
    api = Api(**{"cluster of up": ["c"], 'job of up{cluster="c"}': ["j"], 'instance of up{cluster="c",job=~"j"}': ["i"]})
    models = [
        query("instance", 'label_values(up{cluster="$cluster",job=~"[[job]]"}, instance)'),
        query("job", 'label_values(up{cluster="${cluster}"}, job)', multi=True),
        query("cluster", "label_values(up, cluster)"),
    ]
    assert resolved(models, api=api)[0]["instance"].value.values == ("i",)


def test_a_circle_is_told():
    found, _scope = resolved([query("a", 'label_values(up{x="$b"}, a)'), query("b", 'label_values(up{x="$a"}, b)')])
    assert "variable a needs itself (a -> b -> a)" in found["b"].error or "variable b needs itself" in found["a"].error


@pytest.mark.parametrize(
    ("text", "asked", "answer", "values"),
    [
        ("label_values(job)", "job", ["a"], ("a",)),
        ("label_values({}, job)", "job", ["a"], ("a",)),
        ('label_values(up{a=~"b,c"}, job)', 'job of up{a=~"b,c"}', ["a"], ("a",)),
        ("label_names()", "label_names", ["job"], ("job",)),
        ("metrics(^node_)", "__name__", ["node_a", "up"], ("node_a",)),
        ("up", "series up", [{"__name__": "up", "job": "a"}], ('up{job="a"}',)),
        ("label_names(up)", 'series {__name__=~".*up.*"}', [{"__name__": "up", "job": "a"}], ("__name__", "job")),
    ],
)
def test_query_functions(text, asked, answer, values):
    api = Api(**{asked: answer})
    assert resolved([query("x", text)], api=api)[0]["x"].options == values
    assert api.asked == [asked]


def test_query_result():
    vector = {"resultType": "vector", "result": [{"metric": {"__name__": "up", "job": "a"}, "value": [1700003600, "1"]}]}
    assert resolved([query("x", "query_result(up)")], api=Api(**{"query up": vector}))[0]["x"].options == ('up{job="a"} 1 1700003600000',)
    assert resolved([query("x", "query_result(1)")], api=Api(**{"query 1": {"resultType": "scalar", "result": [1, "7"]}}))[0]["x"].options == ("7",)


def test_the_query_of_newer_dashboards_is_an_object():
    assert variables.variable_query({"query": {"query": "label_values(up, job)", "refId": "A"}}) == "label_values(up, job)"
    built = {"qryType": 1, "label": "job", "metric": "up", "labelFilters": [{"label": "a", "op": "=~", "value": "b"}]}
    assert variables.variable_query({"query": built}) == 'label_values(up{a=~"b"},job)'
    assert variables.variable_query({"query": {"qryType": 3, "varQuery": "sum(\nup)"}}) == "query_result(sum(up))"


@pytest.mark.parametrize(
    ("regex", "values"),
    [
        ("", ("node-b", "node-a", "x")),
        ("/node-.*/", ("node-b", "node-a")),
        ("/node-(.*)/", ("b", "a")),
        ("/NODE-(?<value>.*)/i", ("b", "a")),
        ("node-.*", ("node-b", "node-a")),
        ("ode", ()),
        ("/[a-z]/g", ("node-b", "node-a", "x")),
        ("/([a-z])/g", ("n", "o", "d", "e", "b", "a", "x")),
    ],
)
def test_regex(regex, values):
    assert resolved([query("x", "label_values(n)", regex=regex)], api=Api(n=["node-b", "node-a", "x"]))[0]["x"].options == values


@pytest.mark.parametrize(
    ("sort", "values"),
    [(0, "b10 B2 a1"), (1, "B2 a1 b10"), (2, "b10 a1 B2"), (3, "a1 B2 b10"), (4, "b10 B2 a1"), (5, "a1 b10 B2"), (7, "a1 B2 b10")],
)
def test_sort(sort, values):
    assert resolved([query("x", "label_values(n)", sort=sort)], api=Api(n=["b10", "B2", "a1"]))[0]["x"].options == tuple(values.split())


def test_a_broken_query_is_an_error_of_the_variable():
    refused = {"status": "error", "errorType": "bad_data", "error": "parse error"}
    model = query("x", "label_values(up{, job)", current={"text": "old", "value": "old"})
    found, scope = resolved([model], api=Api(**{"job of up{": refused}))
    assert "variable x: http://double refused the query: parse error. The query was label_values(up{, job)" in found["x"].error
    assert scope["x"].plain == "old"
    assert "can not be read" in resolved([query("x", "label_values(n)", regex="/(/")], api=Api(n=["a"]))[0]["x"].error
    assert "this is not label_values(metric, label)" in resolved([query("x", "label_values(a, b, )")])[0]["x"].error


def test_other_datasources_are_not_asked():
    model = query("x", "show tables", datasource={"type": "mysql", "uid": "y"})
    api = Api()
    assert "asks a datasource of type mysql" in resolved([model], api=api)[0]["x"].error
    assert resolved([model], {"x": "a"}, api)[0]["x"].error == ""
    assert not api.asked


def test_variables_without_a_query():
    models = [
        {"type": "custom", "name": "c", "query": "one : 1, two\\,three, 4", "current": {"text": "4", "value": "4"}},
        {"type": "custom", "name": "d", "query": "1,2", "includeAll": True, "multi": True, "current": {"text": "All", "value": "$__all"}},
        {"type": "constant", "name": "k", "query": "fixed"},
        {"type": "textbox", "name": "t", "query": "default", "current": {"text": "typed", "value": "typed"}},
        {"type": "textbox", "name": "u", "query": "default"},
        {"type": "interval", "name": "i", "query": "1m,10m,'1 h'", "current": {"text": "10m", "value": "10m"}},
        {
            "type": "interval",
            "name": "auto",
            "query": "1m,10m",
            "auto": True,
            "auto_count": 30,
            "auto_min": "10s",
            "current": {"text": "auto", "value": "$__auto"},
        },
        {"type": "datasource", "name": "ds", "query": "prometheus", "current": {}},
        {"type": "adhoc", "name": "filters", "filters": [{"key": "a"}]},
    ]
    found, scope = resolved(models)
    assert found["c"].options == ("1", "two,three", "4")
    text = "$c $d $k $t $u $i $auto $ds"
    assert variables.put_in(text, scope, "prometheus") == "4 (1|2) fixed typed default 10m 2m prometheus"
    assert "filters" not in scope
    assert resolved(models, {"c": "one", "auto": "1m"})[1]["c"].plain == "1"
    assert resolved(models, {"auto": "1m"})[1]["auto"].plain == "1m"


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        (None, "prometheus"),
        ("Thanos", "prometheus"),
        ({"type": "loki", "uid": "a"}, "loki"),
        ({"uid": "${DS_LOGS}"}, "loki"),
        ("$source", "tempo"),
        ({"type": "prometheus", "uid": "$source"}, "tempo"),
        ("-- Mixed --", "mixed"),
        ({"type": "datasource", "uid": "-- Dashboard --"}, "dashboard"),
        ({"type": "__expr__", "uid": "__expr__"}, "__expr__"),
    ],
)
def test_datasource_type(reference, kind):
    dashboard = {
        "templating": {"list": [{"type": "datasource", "name": "source", "query": "tempo"}]},
        "__inputs": [{"type": "datasource", "name": "DS_LOGS", "pluginId": "loki"}],
    }
    assert variables.datasource_type(reference, dashboard) == kind


def test_a_server_that_is_not_reached_is_told():
    class Down(Api):
        def label_values(self, label, match="", **times):
            raise QueryError("http://double can not be reached.", again=True)

    assert "variable x: http://double can not be reached." in resolved([query("x", "label_values(n)")], api=Down())[0]["x"].error
