# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
import sys
from unittest import mock

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _dashboard_queries as queries
from ansible_collections.scs.observer.plugins.module_utils import _dashboard_report as report
from ansible_collections.scs.observer.plugins.module_utils import _dashboard_units as units
from ansible_collections.scs.observer.plugins.module_utils._dashboard_queries import Allowed, Options
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._grafana_dashboards import Wanted

NOW = 1_700_000_007.0
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


class Api:
    """A double of a server whose label values are hostile; C(values) are what its series have."""

    title = "http://double"

    def __init__(self, values=(1.0, 2.0), labels=None, series=2):
        self.values, self.labels, self.series = values, labels or {"job": EVIL}, series

    def _answer(self, query, kind, given):
        if "broken" in query:
            return {"status": "error", "errorType": "bad_data", "error": f"parse error {EVIL}"}
        found = [] if "none" in query else [{"metric": {**self.labels, "n": str(number)}, **given} for number in range(self.series)]
        return {"status": "success", "data": {"resultType": kind, "result": found}}

    def query(self, query, *, time=None):
        return self._answer(query, "vector", {"value": [time or NOW, str(self.values[-1])]})

    def query_range(self, query, *, start, end, step):
        return self._answer(query, "matrix", {"values": [[start + step * number, str(value)] for number, value in enumerate(self.values)]})


class Page(html.parser.HTMLParser):
    """What a browser would see: scripts, attributes and texts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.figures, self.texts, self._inside = [], [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._inside = dict(attrs).get("type", "")

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside is None:
            self.texts.append(data)
        else:
            (self.figures if self._inside else self.scripts).append(data)

    @property
    def text(self):
        return " ".join(self.texts)


def drawn(*panels, api=None, allow_empty=(), **content):
    content = {"title": f"Dashboard {EVIL}", "uid": "d", "panels": list(panels), **content}
    found = queries.run([Wanted(f"{EVIL}.json", "d", (), content)], api or Api(), Options(draw=True, allow_empty=allow_empty))
    # plotly's 5 MB are not what is tested here
    with mock.patch.object(report, "_plotly", return_value="/* plotly */"):
        return Page(report.html(found))


def panel(kind="timeseries", expr="up", number=1, **more):
    return {"id": number, "type": kind, "title": f"Panel {number}", "targets": [{"refId": "A", "expr": expr, "instant": kind in ("table", "stat")}], **more}


@pytest.mark.parametrize("kind", ["timeseries", "stat", "table", "bargauge", "piechart", "barchart", "heatmap", "state-timeline", "text"])
def test_nothing_hostile_gets_in(kind):
    options = {"content": EVIL}
    more = {"description": EVIL, "options": options, "fieldConfig": {"defaults": {"displayName": EVIL, "unit": f"suffix:{EVIL}"}}}
    model = {"type": "custom", "name": "v", "query": EVIL}
    page = drawn({**panel(kind, **more), "title": EVIL}, panel(kind, "broken", 2), description=EVIL, templating={"list": [model]})
    assert "img" not in [tag for tag, _attributes in page.tags]
    assert page.scripts == ["/* plotly */", report._SCRIPT]
    assert {key for _tag, attributes in page.tags for key in attributes if key.startswith("on")} == set()
    assert EVIL in page.text


def test_names_in_figures_are_escaped_twice():
    """plotly reads a few tags in texts."""
    (figure,) = drawn(panel(targets=[{"refId": "A", "expr": "up", "legendFormat": "{{job}}"}])).figures
    assert "<" not in figure
    assert json.loads(figure)["data"][0]["name"].count("&lt;/script&gt;") == 2


def test_colours_are_colours():
    thresholds = {"mode": "absolute", "steps": [{"value": None, "color": "red;background:url(//x)"}]}
    page = drawn(panel("stat", fieldConfig={"defaults": {"thresholds": thresholds}}))
    assert "url(" not in str(page.tags)


def test_the_page_loads_nothing_and_runs_its_own_scripts_only():
    page = drawn(panel())
    policy = next(attributes["content"] for tag, attributes in page.tags if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    for script in page.scripts:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert not [attributes for _tag, attributes in page.tags if "src" in attributes or str(attributes.get("href", "#")).startswith("http")]


def test_plotly_is_in_the_page_once():
    content = {"title": "D", "uid": "d", "panels": [panel(), panel(number=2)]}
    found = queries.run([Wanted("d.json", "d", (), content)], Api(), Options(draw=True))
    assert len(re.findall(r"plotly\.js v\d", report.html(found))) == 1


def test_plotly_that_is_missing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ObserverError, match=r"^report needs the Python library plotly where this task runs .* pip install plotly\.$"):
        report.check()


def test_contents_and_states():
    allowed = (Allowed("d", "3", "because"), Allowed("d", "1", "wrong"))
    page = drawn(panel(), panel("stat", "broken", 2), panel("stat", "none", 3), panel("stat", "none", 4), allow_empty=allowed)
    classes = [attributes["class"] for tag, attributes in page.tags if tag == "article"]
    assert classes == ["panel data", "panel error", "panel excepted", "panel empty"]
    assert "parse error" in page.text
    assert "because" in page.text
    assert "1 dashboards, 4 panels" in page.text
    assert "25.0% have data" in page.text
    assert "d, panel 1: the panel's state is data" in page.text
    assert ("a", {"href": "#d-d"}) in page.tags
    assert [attributes["id"] for tag, attributes in page.tags if tag == "section"] == ["d-d"]


def test_panels_lie_as_in_grafana():
    at = {"gridPos": {"x": 12, "y": 7, "w": 12, "h": 6}}
    first = {"gridPos": {"x": 0, "y": 3, "w": 6, "h": 4}}
    wide = {"gridPos": {"x": 20, "y": 3, "w": 90, "h": 4000}}
    page = drawn(panel(**at), panel(**first, number=2), panel(**wide, number=3))
    styles = [attributes["style"] for tag, attributes in page.tags if tag == "article"]
    assert styles == [
        "grid-column:13/span 12;grid-row:5/span 6",
        "grid-column:1/span 6;grid-row:1/span 4",
        "grid-column:1/span 24;grid-row:1/span 40",
    ]


def test_old_rows_are_laid_out_by_their_spans():
    page = drawn(rows=[{"title": "Old", "panels": [panel(span=4), panel(span=8, number=2), panel(span=6, number=3)]}])
    styles = [attributes["style"] for tag, attributes in page.tags if tag == "article"]
    assert styles == ["grid-column:1/span 8;grid-row:1/span 8", "grid-column:9/span 16;grid-row:1/span 8", "grid-column:1/span 12;grid-row:9/span 8"]
    assert "Old" in page.texts


def test_lines():
    page = drawn(panel(fieldConfig={"defaults": {"unit": "bytes", "min": 0}}), api=Api((1024**3, 3 * 1024**3, "NaN")))
    figure = json.loads(page.figures[0])
    assert [trace["y"] for trace in figure["data"]] == [[1, 3, None], [1, 3, None]]
    assert figure["layout"]["yaxis"]["ticksuffix"] == " GiB"
    assert figure["layout"]["yaxis"]["range"] == [0, None]
    assert len(figure["x"]) == 3
    assert figure["x"][1] - figure["x"][0] == 15000
    assert "3 GiB" in page.text


def test_names_of_series():
    legends = ("{{ job }}/{{n}}", "__auto", "")
    targets = [{"refId": ref_id, "expr": ref_id, "legendFormat": legend} for ref_id, legend in zip("ABC", legends, strict=True)]
    page = drawn(panel(targets=targets), api=Api(labels={"__name__": "up", "job": "j"}))
    assert [trace["name"] for trace in json.loads(page.figures[0])["data"]] == ["j/0", "j/1", "0", "1", "up{n=&quot;0&quot;}", "up{n=&quot;1&quot;}"]


def test_what_is_left_out_is_told():
    page = drawn(panel(), api=Api(range(240), series=23))
    assert len(json.loads(page.figures[0])["data"]) == 20
    assert "3 more series not drawn, 1 point in 3 drawn" in page.text
    assert "10 more rows not drawn" in drawn(panel("table"), api=Api(series=60)).text


def test_values():
    mappings = [{"type": "value", "options": {"2": {"text": "well", "color": "green"}}}]
    assert "well" in drawn(panel("stat", fieldConfig={"defaults": {"mappings": mappings}})).texts
    thresholds = {"mode": "absolute", "steps": [{"value": None, "color": "green"}, {"value": 2, "color": "#ff0000"}]}
    page = drawn(panel("stat", fieldConfig={"defaults": {"unit": "percentunit", "thresholds": thresholds}}))
    assert "200 %" in page.texts
    assert [attributes["style"] for _tag, attributes in page.tags if attributes.get("class") == "tile"] == ["color:#ff0000"] * 2
    reduced = panel("stat", options={"reduceOptions": {"calcs": ["max"]}})
    reduced["targets"][0]["instant"] = False
    assert "7" in drawn(reduced, api=Api((7, 1))).texts


def test_tables():
    override = {"matcher": {"id": "byName", "options": "Memory"}, "properties": [{"id": "unit", "value": "bytes"}]}
    organize = {"id": "organize", "options": {"renameByName": {"Value #B": "Memory", "n": "Number"}, "excludeByName": {"job": True}}}
    targets = [{"refId": ref_id, "expr": f"{ref_id} 2048", "instant": True, "format": "table"} for ref_id in "AB"]
    made = panel("table", targets=targets, transformations=[{"id": "merge", "options": {}}, organize], fieldConfig={"defaults": {}, "overrides": [override]})
    page = drawn(made, api=Api((2048,)))
    table = page.text[page.text.index("Number") : page.text.index("transformations not run")]
    assert table.split() == ["Number", "Value", "#A", "Memory", "0", "2048", "2", "KiB", "1", "2048", "2", "KiB"]
    del made["transformations"][0]
    assert drawn(made, api=Api((2048,))).texts.count("Number") == 2


def test_heatmaps_show_each_bucket_alone():
    class Buckets(Api):
        def query_range(self, query, *, start, end, step):
            found = [{"metric": {"le": bound}, "values": [[start, count]]} for bound, count in (("+Inf", "9"), ("1", "7"), ("0.5", "3"))]
            return {"status": "success", "data": {"resultType": "matrix", "result": found}}

    made = panel("heatmap")
    made["targets"][0]["format"] = "heatmap"
    figure = json.loads(drawn(made, api=Buckets()).figures[0])
    assert (figure["data"][0]["y"], figure["data"][0]["z"]) == (["0.5", "1", "+Inf"], [[3], [4], [2]])


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "bytes", "0 B"),
        (1536, "bytes", "1.5 KiB"),
        (1500, "decbytes", "1.5 kB"),
        (2, "mbytes", "2 MiB"),
        (2e6, "Bps", "2 MB/s"),
        (0.5, "percentunit", "50 %"),
        (50, "percent", "50 %"),
        (0.0025, "s", "2.5 ms"),
        (90, "s", "1.5 min"),
        (172800, "s", "2 days"),
        (90, "m", "1.5 h"),
        (0, "s", "0 s"),
        (1500, "short", "1.5 K"),
        (1500, "none", "1500"),
        (12, "reqps", "12 req/s"),
        (1, "bool_yes_no", "Yes"),
        (1_700_000_000_000, "dateTimeAsIso", "2023-11-14 22:13:20"),
        (3, "suffix: cows", "3  cows"),
        (3.14159, "", "3.14"),
        (1e-9, "", "1e-09"),
        (float("inf"), "bytes", "inf"),
        (1e300, "dateTimeAsIso", "1e+300"),
    ],
)
def test_units(value, unit, text):
    assert units.text(value, unit) == text
