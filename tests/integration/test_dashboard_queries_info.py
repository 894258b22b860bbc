# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""dashboard_queries_info with a real Prometheus, by ansible-playbook."""

from __future__ import annotations

import contextlib
import http.server
import json
import pathlib
import re
import subprocess
import threading
import time
import urllib.parse
import urllib.request

import pytest
from _observer import free_port
from _programs import find_program

MODULE = "scs.observer.dashboard_queries_info"
THANOS = {"type": "prometheus", "uid": "${datasource}"}
# three targets of two jobs, all this Prometheus itself
CONFIG = """
global: {scrape_interval: 1s}
scrape_configs:
- job_name: first
  static_configs:
  - {targets: ['localhost:PORT'], labels: {shard: a.1}}
  - {targets: ['127.0.0.1:PORT'], labels: {shard: b}}
- job_name: second
  static_configs: [{targets: ['localhost:PORT'], labels: {shard: c}}]
"""


@pytest.fixture(name="url", scope="module")
def fixture_url(tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    url = f"http://127.0.0.1:{port}"
    (folder / "prometheus.yml").write_text(CONFIG.replace("PORT", str(port)))
    command = [find_program("prometheus"), f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path=data", "--query.timeout=30s"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 60
        # two samples of each target, so that a rate is one; and older than a step (15 s), for the last point of a range lies up to one step back
        while values(url, "count(count_over_time(up[1m] offset 16s) > 1)") != ["3"]:
            if time.monotonic() > deadline:
                pytest.fail("Prometheus does not scrape itself: " + (folder / "log").read_text()[-2000:])
            time.sleep(0.2)
        yield url
    finally:
        process.kill()
        process.wait()


def values(url, query):
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/api/v1/query?query={urllib.parse.quote(query)}", timeout=5) as answer:
        return [series["value"][1] for series in json.load(answer)["data"]["result"]]
    return []


def panel(number, expr, **more):
    target = {"refId": "A", "expr": expr, **more.pop("target", {})}
    at = {"x": 12 * (number % 2), "y": 8 * (number // 2), "w": 12, "h": 8}
    return {"id": number, "type": "timeseries", "title": f"Panel {number}", "gridPos": at, "datasource": THANOS, "targets": [target], **more}


def dashboard(*panels, uid="tried", variables=()):
    source = {"type": "datasource", "name": "datasource", "query": "prometheus", "current": {}}
    return {"uid": uid, "title": f"Dashboard {uid}", "panels": list(panels), "templating": {"list": [source, *variables]}, "schemaVersion": 39}


def variable(name, query, **more):
    return {"type": "query", "name": name, "query": query, "refresh": 1, "datasource": THANOS, **more}


def found(result):
    return {item["id"]: item for entry in result["dashboards"] for item in entry["panels"]}


def test_states(url, run_playbook):
    given = dashboard(
        panel(1, "up"),
        panel(2, "rate(prometheus_http_requests_total[$__rate_interval])"),
        panel(3, 'up{job="none"}'),
        panel(4, "sum(up"),
        panel(5, "up * on (job) group_left () up"),
        panel(6, "up", type="stat", target={"instant": True}),
        panel(7, "0/0 * up"),
        panel(8, "{app=1}", datasource={"type": "loki", "uid": "l"}),
        {"id": 9, "type": "text"},
    )
    done = run_playbook(MODULE, {"dashboards": [given], "url": url, "range": "5m", "scrape_interval": "1s"}, "--check")
    assert done.code == 0, done.output
    assert not done.result["changed"]
    panels = found(done.result)
    assert {number: item["state"] for number, item in panels.items()} == {
        1: "data",
        2: "data",
        3: "empty",
        4: "error",
        5: "error",
        6: "data",
        7: "empty",
        8: "skipped",
    }
    assert (panels[1]["series"], panels[6]["queries"][0]["samples"]) == (3, 3)
    assert panels[2]["queries"][0]["expr"] == "rate(prometheus_http_requests_total[4s])"
    assert "parse error" in panels[4]["reason"]
    assert "many-to-many" in panels[5]["reason"] or "duplicate" in panels[5]["reason"]
    assert done.result["summary"]["ratio"] == round(3 / 7, 4)
    # the probe, and each query once; instant and range differ
    assert done.result["requests"] == 1 + 7


# a variable, what the task gives for it, a query with it, what is asked then, and how many series that finds
VARIABLES = [
    (variable("x", "label_values(up, job)"), None, 'up{job="$x"}', 'up{job="first"}', 2),
    (variable("x", "label_values(job)"), "second", 'up{job="${x}"}', 'up{job="second"}', 1),
    (variable("x", "label_values(up, shard)", multi=True), ["a.1", "b"], 'up{shard=~"$x"}', r'up{shard=~"(a\\.1|b)"}', 2),
    (variable("x", "label_values(up, shard)", multi=True), ["a.1"], 'up{shard=~"[[x]]"}', r'up{shard=~"a\\.1"}', 1),
    (variable("x", "label_values(up, shard)", includeAll=True), None, 'up{shard=~"$x"}', r'up{shard=~"(a\\.1|b|c)"}', 3),
    (variable("x", "label_values(up, shard)", includeAll=True, allValue=".+"), "All", 'up{shard=~"$x"}', 'up{shard=~".+"}', 3),
    (variable("x", "label_values(up, shard)", multi=True), ["b", "c"], 'up{shard=~"${x:pipe}"}', 'up{shard=~"b|c"}', 2),
    (variable("x", "label_values(up, shard)", multi=True), ["b", "c"], "up{shard=~`${x:regex}`}", "up{shard=~`(b|c)`}", 2),
    (variable("x", "label_values(up, shard)", multi=True, includeAll=True), "All", "up{shard=~`${x:regex}`}", r"up{shard=~`(a\.1|b|c)`}", 3),
    (variable("x", "label_values(up, job)", multi=True), ["first"], "sum by (${x:csv}) (up)", "sum by (first) (up)", 1),
    (variable("x", "label_names()", regex="/^sha(?<value>.*)/"), None, "count by (sha${x:raw}) (up)", "count by (shard) (up)", 3),
    (variable("x", "metrics(^prometheus_build_info$)"), None, "${x}", "prometheus_build_info", 3),
    (variable("x", "query_result(up{shard='c'})", regex='/job="(.*?)"/'), None, 'up{job="$x"}', 'up{job="second"}', 1),
    (variable("x", "up{shard='c'}", regex='/job="(.*?)"/'), None, 'up{job="$x"}', 'up{job="second"}', 1),
    (variable("x", {"query": "label_values(up, job)", "qryType": 1, "refId": "v"}, sort=2), None, 'up{job="$x"}', 'up{job="second"}', 1),
    ({"type": "custom", "name": "x", "query": "one : a.1,b"}, "one", 'up{shard="$x"}', 'up{shard="a.1"}', 1),
    ({"type": "constant", "name": "x", "query": "b"}, None, 'up{shard="$x"}', 'up{shard="b"}', 1),
    ({"type": "textbox", "name": "x", "query": "c"}, None, 'up{shard="$x"}', 'up{shard="c"}', 1),
    (
        {"type": "interval", "name": "x", "query": "2s,1m", "auto": True, "auto_count": 10, "auto_min": "10s"},
        "auto",
        "max_over_time(up[$x])",
        "max_over_time(up[30s])",
        3,
    ),
    ({"type": "interval", "name": "x", "query": "2s,1m"}, None, "max_over_time(up[$x])", "max_over_time(up[2s])", 3),
    ({"type": "adhoc", "name": "x"}, None, "up", "up", 3),
]


def test_variables(url, run_playbook):
    """Of all forms, each by a name of its own in one dashboard."""
    models = [{**model, "name": f"x{number}"} for number, (model, *_rest) in enumerate(VARIABLES)]
    panels = [panel(number, re.sub(r"\bx\b", f"x{number}", case[2])) for number, case in enumerate(VARIABLES)]
    given = {f"x{number}": case[1] for number, case in enumerate(VARIABLES) if case[1] is not None}
    result = run_playbook(MODULE, {"dashboards": [dashboard(*panels, variables=models)], "url": url, "range": "5m", "variables": given}).result
    assert result["summary"]["variables_failed"] == 0, result["dashboards"][0]["variables"]
    asked = {number: (item["queries"][0]["expr"], item["series"], item["state"]) for number, item in found(result).items()}
    assert asked == {number: (case[3], case[4], "data") for number, case in enumerate(VARIABLES)}


def test_variables_that_need_each_other_and_repeated_panels(url, run_playbook):
    chain = [variable("shard", 'label_values(up{job="$job"}, shard)', multi=True, includeAll=True), variable("job", "label_values(up, job)")]
    given = dashboard(panel(1, 'up{job="$job",shard=~"$shard"}', repeat="shard", title="Of $shard"), variables=chain)
    (item,) = run_playbook(MODULE, {"dashboards": [given], "url": url}).result["dashboards"][0]["panels"]
    assert item["queries"][0]["expr"] == r'up{job="first",shard=~"a\\.1"}'
    assert (item["title"], item["repeat"], item["series"]) == ("Of a.1", {"variable": "shard", "value": "a.1", "of": 2}, 1)


def test_files_report_and_exceptions(url, run_playbook):
    files = {
        "dashboards/sub/a.json": json.dumps(dashboard(panel(1, "up"), panel(2, "none"), uid="a")),
        "dashboards/b.json": json.dumps(dashboard(panel(1, "up"), uid="b")),
    }
    allowed = [{"dashboard": "a", "panel": "Panel 2", "reason": "there is none"}, {"dashboard": "b", "panel": "1", "reason": "wrong"}]
    arguments = {"src": ["dashboards"], "url": url, "range": "5m", "allow_empty": allowed, "report": True}
    done = run_playbook(MODULE, {**arguments, "fail_on": ["error", "empty"]}, files=files)
    assert done.code == 0, done.output
    assert [pathlib.PurePath(item["file"]).name for item in done.result["dashboards"]] == ["b.json", "a.json"]
    assert done.result["summary"]["excepted"] == 1
    assert done.result["html"].startswith("<!DOCTYPE html>")
    assert done.result["html"].count('<article class="panel data"') == 2
    assert "there is none" in done.result["html"]
    done = run_playbook(MODULE, {**arguments, "fail_on": ["needless"], "report": False}, files=files)
    assert done.result["failed"]
    assert done.result["msg"] == "1 finding lets this task fail (fail_on: needless):\n- allow_empty: b, panel 1: the panel's state is data"
    assert "html" not in done.result
    assert done.result["needless"][0]["why"] == "the panel's state is data"


def test_failures_name_dashboard_and_panel(url, run_playbook):
    broken = variable("x", "label_values(up{, job)")
    given = dashboard(panel(1, "up"), panel(2, "none"), panel(3, "sum(up"), variables=[broken])
    done = run_playbook(MODULE, {"dashboards": [given], "url": url, "fail_on": ["error", "empty"]})
    lines = done.result["msg"].splitlines()
    assert lines[0] == "3 findings let this task fail (fail_on: error, empty):"
    assert lines[1].startswith("- Dashboard tried (tried), variable x: ")
    assert lines[2].startswith("- Dashboard tried (tried), panel 2 (Panel 2): empty: no series")
    assert lines[3].startswith("- Dashboard tried (tried), panel 3 (Panel 3): error: query A: ")


def test_a_query_that_times_out_is_named(url, run_playbook):
    slow = "count(" + " * ".join(f"sum by (job, n{number}) (count_over_time(prometheus_http_requests_total[7d:1ms]))" for number in range(4)) + ")"
    done = run_playbook(MODULE, {"dashboards": [dashboard(panel(1, "up"), panel(2, slow))], "url": url, "timeout": 1, "fail_on": ["error"]})
    (line,) = done.result["msg"].splitlines()[1:]
    assert line.startswith("- Dashboard tried (tried), panel 2 (Panel 2): error: query A: ")
    assert "tim" in line
    assert found(done.result)[1]["state"] == "data"


@contextlib.contextmanager
def web_page():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Log in</html>")

        def log_message(self, format, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_server_that_is_no_prometheus(run_playbook):
    given = {"dashboards": [dashboard(panel(1, "up"))]}
    with web_page() as url:
        done = run_playbook(MODULE, {**given, "url": url})
    assert done.result["msg"] == f"{url} answered with 200, and not as the Prometheus API does. Check the address, or that the server is up."
    done = run_playbook(MODULE, {**given, "url": "http://127.0.0.1:1"})
    assert "http://127.0.0.1:1 can not be reached" in done.result["msg"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"src": ["a.json"]}, "a.json: this is not JSON: line 1, column 2"),
        ({"src": ["nowhere.json"]}, "nowhere.json cannot be read on the controller"),
        ({"dashboards": [{"uid": "e", "title": "Bare"}]}, "dashboard Bare (e) has no panels. Give one that has, or leave it out. Nothing was asked."),
        ({}, "There are no dashboards. Give some as src or dashboards."),
        ({"dashboards": [dashboard(panel(1, "up"))], "range": "soon"}, "range is soon. Write it like 30s, 5m or 6h."),
        ({"dashboards": [dashboard(panel(1, "up"))], "kubeconfig": "nowhere"}, "kubeconfig: nowhere cannot be read on the controller"),
    ],
)
def test_bad_input_is_one_message(run_playbook, arguments, message):
    done = run_playbook(MODULE, {"url": "http://127.0.0.1:1", **arguments}, files={"a.json": "{broken"})
    assert done.result["failed"]
    assert message in done.result["msg"]
