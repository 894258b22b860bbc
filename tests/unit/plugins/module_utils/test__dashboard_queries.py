# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import pathlib
import threading

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _dashboard_queries as queries
from ansible_collections.scs.observer.plugins.module_utils._dashboard_queries import Allowed, Options
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._grafana_dashboards import Wanted
from ansible_collections.scs.observer.plugins.module_utils._promql import QueryError

NOW = 1_700_000_007.0
THANOS = {"type": "prometheus", "uid": "$datasource"}


class Api:
    """A double of a server: a query that has "none" in it finds nothing, with "nan" a NaN, with "broken" it is refused, and else two series."""

    title = "http://double"

    def __init__(self):
        self.asked, self.lock = [], threading.Lock()

    def _answer(self, query, kind, points):
        with self.lock:
            self.asked.append((kind, query))
        if "broken" in query:
            return {"status": "error", "errorType": "bad_data", "error": "parse error"}
        value = "NaN" if "nan" in query else "1"
        series = [] if "none" in query else [{"metric": {"job": job}, **points(value)} for job in ("a", "b")]
        return {"status": "success", "data": {"resultType": kind, "result": series}, "warnings": ["partial"] if "partial" in query else []}

    def query(self, query, *, time=None):
        return self._answer(query, "vector", lambda value: {"value": [time or NOW, value]})

    def query_range(self, query, *, start, end, step):
        moments = [start + step * number for number in range(int((end - start) / step) + 1)]
        return self._answer(query, "matrix", lambda value: {"values": [[moment, value] for moment in moments]})

    def label_values(self, label, match="", **times):
        return {"status": "success", "data": ["x", "y"]}


def panel(number=1, expr="up", **more):
    targets = more.pop("targets", None) or [{"refId": "A", "expr": expr}]
    return {"id": number, "type": "timeseries", "title": f"Panel {number}", "datasource": THANOS, "targets": targets, **more}


def wanted(*panels, uid="d", **more):
    return Wanted(f"{uid}.json", uid, (), {"title": f"Dashboard {uid}", "uid": uid, "panels": list(panels), **more})


def run(*dashboards, api=None, **options):
    return queries.run(dashboards, api or Api(), Options(**options))


def states(report):
    return {panel.id: panel.state for dashboard in report.dashboards for panel in dashboard.panels}


def variable(name, **more):
    return {"type": "query", "name": name, "query": f"label_values({name})", "refresh": 1, **more}


def test_states():
    report = run(wanted(panel(1), panel(2, "none"), panel(3, "broken"), panel(4, "nan"), panel(5, targets=[{"expr": "none"}, {"refId": "B", "expr": "up"}])))
    assert states(report) == {1: "data", 2: "empty", 3: "error", 4: "empty", 5: "data"}
    found = {panel["id"]: panel for panel in report.result()["dashboards"][0]["panels"]}
    assert (found[1]["series"], found[1]["queries"][0]["samples"], found[1]["reason"]) == (2, 2 * 241, "")
    assert found[2]["reason"] == "no series"
    assert found[3]["reason"] == "query A: http://double refused the query: parse error."
    assert found[4]["reason"] == "its series hold only NaN"
    assert report.summary() == {
        "dashboards": 1,
        "panels": 5,
        "data": 2,
        "empty": 2,
        "error": 1,
        "skipped": 0,
        "excepted": 0,
        "variables_failed": 0,
        "ratio": 0.4,
    }


def test_panels_are_found_everywhere():
    rows = [{"title": "Old", "panels": [panel(5)]}]
    nested = {"id": 9, "type": "row", "title": "Closed", "collapsed": True, "panels": [panel(3)]}
    report = run(wanted(panel(1), {"id": 8, "type": "row", "title": "Open"}, panel(2), nested, rows=rows), wanted({"type": "text", "id": 1}, panel(4), uid="e"))
    assert {item["id"]: item["row"] for found in report.result()["dashboards"] for item in found["panels"]} == {1: "", 2: "Open", 3: "Closed", 5: "Old", 4: ""}


def test_instant_and_range():
    api = Api()
    targets = [
        {"refId": "A", "expr": "a", "instant": True},
        {"refId": "B", "expr": "b", "range": True},
        {"refId": "C", "expr": "c", "range": True, "instant": True},
        {"refId": "D", "expr": "d", "hide": True},
        {"refId": "E", "expr": " "},
    ]
    report = run(wanted(panel(targets=targets)), api=api)
    assert sorted(api.asked[1:]) == [("matrix", "b"), ("matrix", "c"), ("vector", "a"), ("vector", "c")]
    found = report.dashboards[0].panels[0].queries
    assert [(query.ref_id, query.result()["kind"], query.result()["step"]) for query in found] == [
        ("A", "instant", None),
        ("B", "range", 15),
        ("C", "range", 15),
        ("C", "instant", None),
    ]
    # whole steps, and the server's time
    assert found[1].asked.start % 15 == 0
    assert found[0].asked.end == NOW


def test_the_same_query_is_asked_once():
    api = Api()
    report = run(wanted(panel(1), panel(2)), wanted(panel(1), uid="e"), api=api)
    assert api.asked[1:] == [("matrix", "up")]
    assert report.requests == 2
    assert [panel.series for dashboard in report.dashboards for panel in dashboard.panels] == [2, 2, 2]


def test_variables_and_intervals_are_put_in():
    api = Api()
    text = 'rate(x{a=~"$a"}[$__rate_interval]) $__interval $__range'
    targets = [{"expr": text, "interval": "1m", "legendFormat": "$a {{job}}"}]
    report = run(wanted(panel(targets=targets, title="Of $a"), templating={"list": [variable("a")]}), api=api)
    assert api.asked[1:] == [("matrix", 'rate(x{a=~"x"}[4m0s]) 1m 3600s')]
    assert report.dashboards[0].panels[0].title == "Of x"
    assert report.dashboards[0].panels[0].queries[0].legend == "x {{job}}"
    assert report.result()["dashboards"][0]["variables"][0]["value"] == ["x"]


def test_a_panel_has_its_own_time():
    report = run(wanted(panel(1, timeFrom="2h", timeShift="1h", maxDataPoints=10), panel(2, "$__range", timeFrom="2h")))
    asked = report.dashboards[0].panels[0].queries[0].asked
    assert asked.step == 600
    assert abs(asked.end - (NOW - 3600)) < 600
    assert asked.end - asked.start == 7200
    assert report.dashboards[0].panels[1].queries[0].asked.expr == "7200s"


def test_of_what_is_repeated_the_first_is_tried():
    api = Api()
    many = variable("a", multi=True, includeAll=True)
    report = run(wanted(panel(1, "up{a=~'$a'}", repeat="a", title="$a"), panel(2, "down{a=~'$a'}"), templating={"list": [many]}), api=api)
    assert {query for _kind, query in api.asked[1:]} == {"up{a=~'x'}", "down{a=~'(x|y)'}"}
    first, second = report.result()["dashboards"][0]["panels"]
    assert (first["title"], first["repeat"], second["repeat"]) == ("x", {"variable": "a", "value": "x", "of": 2}, None)


def test_repeated_rows():
    api = Api()
    many = variable("a", multi=True, includeAll=True)
    row = {"id": 3, "type": "row", "title": "Of $a", "repeat": "a"}
    rest = {"id": 4, "type": "row", "title": "Rest"}
    report = run(wanted(row, panel(1, "up{a=~'$a'}"), rest, panel(2, "down{a=~'$a'}"), templating={"list": [many]}), api=api)
    assert {query for _kind, query in api.asked[1:]} == {"up{a=~'x'}", "down{a=~'(x|y)'}"}
    assert [(item.row, bool(item.repeat)) for item in report.dashboards[0].panels] == [("Of x", True), ("Rest", False)]


def test_what_is_not_for_prometheus_is_skipped():
    mixed = {"uid": "-- Mixed --"}
    loki = {"type": "loki", "uid": "l"}
    expression = {"refId": "C", "type": "math", "expression": "$A", "datasource": {"type": "__expr__", "uid": "__expr__"}}
    report = run(
        wanted(
            panel(1, datasource=loki),
            panel(2, datasource=mixed, targets=[{"refId": "A", "expr": "up", "datasource": THANOS}, {"refId": "B", "expr": "{a=1}", "datasource": loki}]),
            panel(3, targets=[{"refId": "A", "expr": "up"}, expression]),
            panel(4, datasource={"type": "mysql"}, targets=[{"rawSql": "select 1"}]),
            {"id": 5, "type": "stat", "libraryPanel": {"uid": "l", "name": "Shared"}},
            # the panel's datasource wins, as in Grafana
            panel(6, targets=[{"refId": "A", "expr": "up", "datasource": loki}]),
        )
    )
    assert states(report) == {1: "skipped", 2: "data", 3: "data", 4: "skipped", 5: "skipped", 6: "data"}
    reasons = [panel.reason for panel in report.dashboards[0].panels]
    assert reasons == [
        "query A is for a datasource of type loki",
        "query B is for a datasource of type loki",
        "query C is an expression of Grafana",
        "query A is for a datasource of type mysql",
        "it is the library panel Shared, whose content is not in the dashboard",
        "",
    ]
    assert report.summary()["ratio"] == 1


def test_library_panels_of_an_export_are_tried():
    model = {"type": "stat", "title": "Shared", "datasource": THANOS, "targets": [{"refId": "A", "expr": "up"}]}
    content = wanted({"id": 5, "libraryPanel": {"uid": "l", "name": "Shared"}}, __elements={"l": {"uid": "l", "kind": 1, "model": model}})
    assert [(panel.title, panel.state) for panel in run(content).dashboards[0].panels] == [("Shared", "data")]


def test_a_panel_may_show_another_ones_data():
    shared = {"type": "datasource", "uid": "-- Dashboard --"}
    report = run(wanted(panel(1, datasource=shared, targets=[{"panelId": 2}]), panel(2), panel(3, datasource=shared, targets=[{"panelId": 7}])))
    assert states(report) == {1: "data", 2: "data", 3: "error"}
    assert report.dashboards[0].panels[2].reason == "it shows the data of panel 7, which the dashboard does not have"


def test_panels_without_queries():
    report = run(wanted({"id": 1, "type": "text"}, {"id": 2, "type": "stat"}, panel(3, targets=[{"expr": "up", "hide": True}])))
    assert {panel.id: panel.reason for panel in report.dashboards[0].panels} == {2: "it has no query", 3: "all its queries are hidden"}
    assert states(report) == {2: "empty", 3: "empty"}


def test_exceptions():
    allowed = (
        Allowed("d", "Panel 2", "no such hardware"),
        Allowed("Dashboard d", "1", "wrong"),
        Allowed("d", "3", "an error is none"),
        Allowed("d", "Panel 9", "gone"),
        Allowed("d", "Panel 1", "may be", sometimes=True),
        Allowed("d", "Panel 8", "gone too", sometimes=True),
    )
    report = run(wanted(panel(1), panel(2, "none"), panel(3, "broken")), allow_empty=allowed)
    assert states(report) == {1: "data", 2: "excepted", 3: "error"}
    assert report.dashboards[0].panels[1].reason == "no such hardware"
    assert [(item["panel"], item["why"]) for item in report.needless] == [
        ("1", "the panel's state is data"),
        ("3", "the panel's state is error"),
        ("Panel 9", "there is no such panel"),
        ("Panel 8", "there is no such panel"),
    ]
    assert report.failures(["error"]) == ["Dashboard d (d), panel 3 (Panel 3): error: query A: http://double refused the query: parse error."]
    assert report.failures([]) == []
    assert len(report.failures(["needless", "empty"])) == 4
    with pytest.raises(ObserverError, match="allow_empty: d, panel 1 has no reason"):
        run(wanted(panel(1)), allow_empty=(Allowed("d", "1", " "),))


def test_a_text_for_no_value_is_told():
    report = run(wanted(panel(1, "none", fieldConfig={"defaults": {"noValue": "well"}})))
    assert [(panel.state, panel.reason) for panel in report.dashboards[0].panels] == [("empty", 'no series; Grafana shows "well" then')]


def test_unknown_variables_are_named():
    report = run(wanted(panel(1, 'broken{a="$nowhere"} + label_replace(up, "a", "$1", "b", "")')))
    assert report.dashboards[0].panels[0].reason.endswith("parse error. The dashboard has no variable nowhere.")


def test_warnings_of_the_server_are_kept():
    assert run(wanted(panel(1, "partial"))).result()["dashboards"][0]["panels"][0]["queries"][0]["warnings"] == ["partial"]


def test_what_is_drawn_is_bounded():
    class Much(Api):
        def query_range(self, query, *, start, end, step):
            values = [[start + number, str(number)] for number in range(1000)]
            return {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {"n": str(n)}, "values": values} for n in range(70)]}}

    (found,) = run(wanted(panel(1)), api=Much(), draw=True).dashboards[0].panels
    query = found.queries[0].found
    assert (query.series, query.samples, query.every) == (70, 70000, 10)
    assert (len(query.drawn), len(query.drawn[0].points)) == (queries.DRAWN_ROWS, 100)
    assert query.drawn[0].points[-1][1] == 999
    assert run(wanted(panel(1)), api=Much()).dashboards[0].panels[0].queries[0].found.drawn == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (wanted(), r"d\.json: dashboard Dashboard d \(d\) has no panels"),
        (wanted({"type": "row", "panels": []}), "has no panels"),
        (wanted("text"), r"d\.json: panels\[0\] is a text, not an object"),
        (wanted({"type": "stat", "targets": {"a": 1}}), r"panels\[0\]\.targets is an object, not a list"),
        (wanted(panel(1), templating={"list": ["a"]}), r"templating\.list\[0\] is a text"),
    ],
)
def test_bad_dashboards_are_told_before_anything_is_asked(content, message):
    api = Api()
    with pytest.raises(ObserverError, match=message):
        run(content, api=api)
    assert not api.asked


def test_no_dashboards():
    with pytest.raises(ObserverError, match="There are no dashboards"):
        run()


def test_a_server_that_is_not_there_is_one_message():
    class Down(Api):
        def query(self, query, *, time=None):
            self.asked.append(query)
            raise QueryError("http://double can not be reached (refused).", again=True)

    api = Down()
    with pytest.raises(ObserverError, match="can not be reached"):
        run(wanted(*(panel(number) for number in range(50))), api=api)
    assert len(api.asked) == 1


def test_a_server_that_goes_away_is_not_asked_for_ever():
    class Dying(Api):
        def query_range(self, query, *, start, end, step):
            self.asked.append(query)
            raise QueryError("http://double can not be reached (timed out).", again=True)

    api = Dying()
    report = run(wanted(*(panel(number, f"q{number}") for number in range(60))), api=api, parallel=1)
    assert len(api.asked) == 1 + queries.GIVEN_UP
    assert report.summary()["error"] == 60
    assert "can not be reached (timed out)" in report.dashboards[0].panels[0].reason
    assert "Not asked, for http://double did not answer the 20 queries before" in report.dashboards[0].panels[-1].reason


def test_html_for_an_answer_is_an_error_of_the_server():
    class Proxy(Api):
        def query(self, query, *, time=None):
            return "<html>"

    with pytest.raises(ObserverError, match="not of the Prometheus API"):
        run(wanted(panel(1)), api=Proxy())


RECORDED = json.loads((pathlib.Path(__file__).parent / "grafana_10.4_queries.json").read_text())


@pytest.mark.parametrize(("expr", "target", "more", "sent"), RECORDED["queries"])
def test_the_same_is_asked_as_by_grafana(expr, target, more, sent):
    made = panel(1, targets=[{"refId": "A", "expr": expr, "range": True, **target}], **{"maxDataPoints": RECORDED["maxDataPoints"], **more})
    content = wanted(made, uid="recorded", title="Recorded", templating={"list": RECORDED["variables"]})
    (found,) = queries.prepared(content, queries.Server(Api()), NOW, Options()).panels
    asked = [query.asked for query in found.queries]
    ours = [["query", item.expr, None, None] if item.instant else ["query_range", item.expr, item.step, round(item.end - item.start)] for item in asked]
    assert sorted(ours, key=str) == sorted(sent, key=str)
