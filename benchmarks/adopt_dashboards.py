"""Measures what adopting a folder of dashboards does to them; prints a Markdown table.

    python benchmarks/adopt_dashboards.py FOLDER [--grafana URL]

FOLDER holds dashboards that were written for the one Prometheus of an OpenStack deployment, such as grafana/dashboards of OSISM's kolla-operations. A real
Prometheus with a real sidecar stands for each of two infrastructures and a KaaS cluster, a real Query for the Observer. What they scrape is a double of the
exporters: it serves the metrics that the dashboards themselves name, with labels that fit their selectors, the same on both infrastructures (but for the values
and one host more), and the hosts' metrics on the KaaS cluster. So the figures say what adoption changes, never how much of a real deployment is seen.

--grafana also brings them to a Grafana, and asks it for each: its user and password are in GRAFANA_USERNAME and GRAFANA_PASSWORD.
With --save the table takes its place in benchmarks/README.md. Needs `make venv` and `make programs`.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.server
import itertools
import json
import math
import os
import pathlib
import re
import sys
import tempfile
import threading
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request

import lab
import promql_parser as pp

sys.path[:0] = [str(lab.TOP / ".cache" / "tree"), str(lab.TOP / "tests"), str(lab.TOP / "tests" / "end_to_end")]
from ansible_collections.scs.observer.plugins.module_utils import (  # noqa: E402
    _dashboard_queries,
    _dashboard_set,
    _dashboard_walk,
    _grafana_dashboards,
    _promql_backends,
    _promql_inject,
)
from ansible_collections.scs.observer.plugins.module_utils._url_access import Access  # noqa: E402

INTERVAL = 5
HOSTS = {"testbed": ("ctl001", "cmp001"), "prod": ("ctl001", "cmp001", "cmp002"), "kaas": ("worker-1",)}
BUILT_IN = re.compile(r"__\w+")
COMMON = re.compile(r"(node|up|process|go|prometheus|container)(_|$)")
BUCKETS = ("0.1", "1", "10", "+Inf")

Labels = tuple[tuple[str, str], ...]


# ---------------------------------------------------------------- the double of the exporters


class Need(t.NamedTuple):
    """What the dashboards ask of one metric: labels that it must have, and values that selectors want."""

    labels: set[str]
    wanted: set[Labels]


def exprs(dashboard: dict[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    """Queries of panels with their legends, and the selectors of variables."""
    for panel in _dashboard_walk.panels(dashboard):
        for target in panel.targets():
            if target.expr is not None and target.expr.text.strip():
                yield target.expr.text, str(target.raw.get("legendFormat") or "")
    for variable in _dashboard_walk.variables(dashboard):
        if variable.query is not None:
            found = _dashboard_walk.variable_query(variable.query.text)
            if found.argument and found.function in ("label_values", "query_result", ""):
                yield found.argument, "{{" + found.label + "}}"


def tree(expr: str) -> tuple[t.Any, dict[str, str]] | None:
    """The parsed query, and what stands in it for which variable."""
    for kinds in ({}, dict.fromkeys(names(expr), _promql_inject.NUMBER), dict.fromkeys(names(expr), _promql_inject.METRIC)):
        with contextlib.suppress(_promql_inject.Unclear, ValueError):
            filled = _promql_inject._fill(expr, kinds).text
            return pp.parse(filled), {_promql_inject._plain(hit.group()): name(hit) for hit in _dashboard_walk.VARIABLE.finditer(expr)}
    return None


def name(hit: re.Match[str]) -> str:
    return hit["plain"] or hit["braced"] or hit["old"]


def names(text: str) -> set[str]:
    return {name(hit) for hit in _dashboard_walk.VARIABLE.finditer(text)}


DEFAULTS = {"le": "1", "quantile": "0.99", "id": "1", "job": "kolla", "instance": "HOST:9100", "nodename": "HOST", "hostname": "HOST", "instance_id": "HOST"}


def default(label: str) -> str:
    return DEFAULTS.get(label, f"{label}1")


def chosen(dashboard: dict[str, t.Any]) -> dict[str, str]:
    """The value that each variable has on this data."""
    found = {}
    for variable in _dashboard_walk.variables(dashboard):
        value = ""
        if variable.query is not None:
            query = _dashboard_walk.variable_query(variable.query.text)
            value = default(query.label) if query.function == "label_values" else ""
            regex = str(variable.raw.get("regex") or "").strip("/")
            with contextlib.suppress(re.error):
                hit = re.search(regex.replace("?<", "?P<"), value) if regex else None
                value = (hit[1] if hit.re.groups and hit[1] else hit.group()) if hit else value
        elif variable.kind in ("custom", "constant", "textbox"):
            value = str(variable.raw.get("query") or "").split(",", maxsplit=1)[0].rpartition(" : ")[2].strip()
        found[variable.name] = value
    return found


def sample_of(pattern: str) -> str | None:
    """A text that a regular expression fits, of the kinds that dashboards have."""
    alternatives = re.sub(r"^\^?\(?(?:\?:)?|\)?\$?$", "", pattern).split("|")
    for text in (pattern, *alternatives):
        made = re.sub(r"\(([^()|]*)\|[^()]*\)", r"\1", text)
        made = re.sub(r"\[\^?[^]]+\][+*]?|\\d[+*]?|\.\+", "1", made).replace(".*", "").replace("\\.", ".").replace("\\", "")
        made = re.sub(r"[()^$?]", "", made)
        for candidate in (made, made + "1"):
            with contextlib.suppress(re.error):
                if re.fullmatch(pattern, candidate) and candidate:
                    return candidate
    return None


def needs(dashboards: t.Iterable[dict[str, t.Any]]) -> dict[str, Need]:
    found: dict[str, Need] = collections.defaultdict(lambda: Need(set(), set()))
    for dashboard in dashboards:
        values = chosen(dashboard)
        for expr, legend in exprs(dashboard):
            parsed = tree(expr)
            if parsed is None:
                continue
            root, variables = parsed
            around = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", legend))
            for group in re.findall(r"\b(?:by|on|group_left|group_right)\s*\(([^)]*)\)", expr):
                around |= {label.strip() for label in group.split(",") if re.fullmatch(r"\s*[a-zA-Z_]\w*\s*", label)}
            for selector in selectors(root):
                metric, want = selector.name or "", {}
                for matcher in selector.matchers.matchers:
                    op, text = str(matcher.op).rpartition(".")[2], matcher.value
                    if matcher.name == "__name__":
                        metric = text if op == "Equal" else sample_of(text) or ""
                        continue
                    found[metric].labels.add(matcher.name)
                    known = [variables[plain] for plain in variables if plain in text]
                    if any(BUILT_IN.fullmatch(each) or not values.get(each) for each in known):
                        continue
                    for plain, variable in variables.items():
                        text = text.replace(plain, values.get(variable, ""))
                    if op in ("Equal", "Re") and "HOST" not in text:
                        made = text if op == "Equal" or known else sample_of(text)
                        if made:
                            want[matcher.name] = made
                if metric and not metric.startswith("gf"):
                    found[metric].labels.update(around - {metric})
                    found[metric].wanted.add(tuple(sorted(want.items())))
    found.pop("", None)
    return {metric: need for metric, need in found.items() if re.fullmatch(r"[a-zA-Z_:][\w:]*", metric) and metric != "up"}


def selectors(root: t.Any) -> list[t.Any]:
    found: list[t.Any] = []

    def visit(node: t.Any) -> bool:
        if isinstance(node, pp.VectorSelector):
            found.append(node)
        return True

    pp.walk(root, visit)
    return found


def series(wanted: dict[str, Need], site: str) -> list[tuple[str, Labels, float]]:
    """All series of a site; the number makes the value."""
    found = []
    for metric, need in sorted(wanted.items()):
        if site == "kaas" and not COMMON.match(metric):
            continue
        made: set[Labels] = set()
        # what wants less finds what was made for who wants more
        most = [want for want in need.wanted if not any(set(want) < set(other) for other in need.wanted)]
        # one manager of Ceph answers for all
        hosts = HOSTS[site][:1] if metric.startswith("ceph_") else HOSTS[site]
        for host, want in itertools.product(hosts, sorted(most) or [()]):
            labels = {label: default(label) for label in need.labels | {"instance", "job"} if label not in ("infrastructure", "cluster", "__name__")}
            labels |= {label: value for label, value in want if label not in ("infrastructure", "cluster")}
            for le in BUCKETS if metric.endswith("_bucket") else ("",):
                own = {**labels, "le": le} if le else labels
                made.add(tuple(sorted((label, value.replace("HOST", host)) for label, value in own.items())))
        found += [(metric, labels, 1 + number + 10 * len(HOSTS[site])) for number, labels in enumerate(sorted(made))]
    return found


@contextlib.contextmanager
def exporters(wanted: dict[str, Need]) -> t.Iterator[str]:
    """The double: /<site> has the metrics of all exporters of that site. Counters count seconds."""
    sites = {site: series(wanted, site) for site in HOSTS}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            now, lines = time.time() % 1e6, []
            for metric, labels, number in sites[self.path.strip("/")]:
                counts = re.search(r"_(total|count|sum|bucket|seconds_total|bytes_total)$", metric)
                value = now * number if counts else 1 if re.search(r"(_up|_status|_info|_state|_success)$", metric) else number + math.sin(now / 60)
                if dict(labels).get("le"):
                    value = now * (BUCKETS.index(dict(labels)["le"]) + 1)
                inside = ",".join(f'{label}="{text}"' for label, text in labels)
                lines.append(f"{metric}{{{inside}}} {value}\n")
            body = "".join(lines).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: t.Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()


# ---------------------------------------------------------------- what is measured


def tried(url: str, dashboards: t.Sequence[dict[str, t.Any]]) -> _dashboard_queries.Report:
    wanted = _grafana_dashboards.parse([{"name": item["title"], "content": item} for item in dashboards], "")
    options = _dashboard_queries.Options(span=300, scrape_interval=INTERVAL)
    with _promql_backends.UrlBackend(url, Access(), timeout=120) as backend:
        return _dashboard_queries.run(wanted, backend, options)


class Answers:
    """What queries find at one moment; labels that only tell the infrastructure are left out."""

    def __init__(self, url: str, moment: float) -> None:
        self.url, self.moment = url, moment
        self._known: dict[str, t.Any] = {}

    def __call__(self, expr: str) -> t.Any:
        if expr not in self._known:
            data = urllib.parse.urlencode({"query": expr, "time": self.moment}).encode()
            try:
                with urllib.request.urlopen(f"{self.url}/api/v1/query", data=data, timeout=120) as answer:
                    found = json.load(answer)["data"]
                self._known[expr] = self._plain(found)
            except urllib.error.HTTPError as error:
                self._known[expr] = f"error {error.code}"
        return self._known[expr]

    def _plain(self, found: dict[str, t.Any]) -> t.Any:
        if found["resultType"] != "vector":
            return str(found["result"][1])
        rows = [
            (sorted((label, text) for label, text in item["metric"].items() if label != "infrastructure"), f"{float(item['value'][1]):.9g}")
            for item in found["result"]
        ]
        return sorted(rows)


def queries_of(report: _dashboard_queries.Report) -> list[tuple[str, ...]]:
    """By panel, in order: what it asks."""
    return [tuple(query["expr"] for query in panel["queries"]) for dashboard in report.result()["dashboards"] for panel in dashboard["panels"]]


def sees_matchers(url: str, expr: str) -> tuple[int, int]:
    """Of how many selectors a real Prometheus sees both matchers in how many."""
    filled = _promql_inject._fill(expr, dict.fromkeys(names(expr), _promql_inject.NUMBER)).text
    with urllib.request.urlopen(f"{url}/api/v1/parse_query", data=urllib.parse.urlencode({"query": filled}).encode(), timeout=60) as answer:
        root = json.load(answer)["data"]
    every = good = 0
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if "matchers" in node:
                pairs = {(matcher["name"], matcher["type"]): matcher["value"] for matcher in node["matchers"]}
                every, good = every + 1, good + (bool(pairs.get(("infrastructure", "=~"))) and pairs.get(("cluster", "=")) == "")
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return every, good


def all_exprs(dashboard: dict[str, t.Any]) -> t.Iterator[str]:
    yield from (expr for expr, _legend in exprs(dashboard))
    yield from (annotation.expr.text for annotation in _dashboard_walk.annotations(dashboard) if annotation.expr is not None)


def loaded(url: str, folder: str, number: int) -> lab.Rows:
    """What the playbook brings for two infrastructures, a Grafana gives back."""
    with tempfile.TemporaryDirectory() as report:
        variables = {
            "adopt_dashboards_src": folder,
            "adopt_dashboards_infrastructures": ["testbed", "prod"],
            "adopt_dashboards_query": False,
            "adopt_dashboards_report": f"{report}/report",
            "adopt_dashboards_grafana_url": url,
            "adopt_dashboards_grafana_user": os.environ.get("GRAFANA_USERNAME", "admin"),
            "ansible_python_interpreter": sys.executable,
        }
        (pathlib.Path(report) / "vars.json").write_text(json.dumps(variables | {"adopt_dashboards_grafana_password": os.environ["GRAFANA_PASSWORD"]}))
        words = ["-i", "observer,", "-c", "local", "scs.observer.adopt_dashboards", "-e", f"@{report}/vars.json"]
        first, _output = lab.playbook(*words)
        second, output = lab.playbook(*words)
        from grafana_double.running import Grafana, basic

        grafana = Grafana(url, basic(variables["adopt_dashboards_grafana_user"], os.environ["GRAFANA_PASSWORD"]), {}, controls=False)
        hits = grafana.request("GET", "/api/search?type=dash-db&limit=5000&tag=adopted-testbed")
        held = [grafana.request("GET", f"/api/dashboards/uid/{hit['uid']}") for hit in hits]
        lab.playbook(*words, "-e", "adopt_dashboards_state=absent")
        left = len(grafana.request("GET", "/api/search?type=dash-db&limit=5000&tag=adopted-testbed"))
        version = grafana.request("GET", "/api/frontend/settings")["buildInfo"]["version"]
    good = sum(1 for item in held if isinstance(item, dict) and item["dashboard"]["title"].startswith("testbed / "))
    seconds = f"{first:.0f}; again {second:.0f}, then changed={lab.changed(output)}; after state absent {left} are left"
    return [
        (f"dashboards that a Grafana {version} loads", f"{good} of {number}"),
        (f"playbook for both, {2 * number} dashboards, in seconds", seconds),
    ]


def measure(options: argparse.Namespace) -> str:
    from _infrastructures import Infrastructures, wait_for

    sources = _grafana_dashboards.read_all([options.folder])
    groups = _dashboard_set.groups(["testbed", "prod"], multi=False, folder="", name="adopted")
    sets = {group.name: _dashboard_set.adopted(sources, group) for group in groups}
    adopted = {group: [item.content for item in items] for group, items in sets.items()}
    originals = [{**_grafana_dashboards.decoded(source), "uid": item["uid"]} for source, item in zip(sources, adopted["testbed"], strict=True)]
    asked = sum(item.queries for item in sets["testbed"])
    problems = [problem for item in sets["testbed"] for problem in item.problems]
    wanted = needs(originals)
    with exporters(wanted) as double, tempfile.TemporaryDirectory() as folder, Infrastructures(pathlib.Path(folder), interval=f"{INTERVAL}s") as running:

        def job(site: str) -> list[dict[str, t.Any]]:
            return [{"job_name": "kolla", "honor_labels": True, "metrics_path": f"/{site}", "static_configs": [{"targets": [double]}]}]

        home = running.source("testbed", {"infrastructure": "testbed"}, job("testbed"))
        running.source("prod", {"infrastructure": "prod"}, job("prod"))
        running.source("kaas", {"cluster": "kaas"}, job("kaas"))
        query = running.query()
        wait_for(query, f"min(count_over_time(up[10m])) >= {options.seconds // INTERVAL}", 600)
        selectors_seen = [sees_matchers(home, expr) for item in sets["testbed"] for expr in all_exprs(item.content) if 'cluster=""' in expr]
        reports = {
            "at home": tried(home, originals),
            "before": tried(query, originals),
            "after": tried(query, adopted["testbed"]),
            "prod": tried(query, adopted["prod"]),
        }
        moment = time.time() - 3 * INTERVAL
        ask = {name: Answers(home if name == "at home" else query, moment) for name in reports}
        lists = {name: queries_of(report) for name, report in reports.items()}
        same, compared = collections.Counter(), 0
        for panels in zip(lists["at home"], lists["before"], lists["after"], strict=True):
            for own, before, after in zip(*panels, strict=False):
                expected = ask["at home"](own)
                if not expected or isinstance(expected, str):
                    continue
                compared += 1
                same["before"] += ask["before"](before) == expected
                same["after"] += ask["after"](after) == expected
        total = sum(len(series(wanted, site)) for site in HOSTS)
    every, good = (sum(column) for column in zip(*selectors_seen, strict=True))
    summary = {name: report.summary() for name, report in reports.items()}

    if options.why:
        reasons = [(panel["state"], panel["reason"][:160]) for each in reports["at home"].result()["dashboards"] for panel in each["panels"]]
        for (state, reason), number in collections.Counter(reasons).most_common(60):
            print(number, state, reason, file=sys.stderr)

    def panels(name: str) -> str:
        found = summary[name]
        return f"{found['data']} of {found['panels'] - found['skipped']}, {found['error']} with an error"

    rows: lab.Rows = [
        ("dashboards adopted", f"{len(adopted['testbed'])} of {len(sources)}"),
        ("queries changed by parsing", f"{asked - sum(1 for problem in problems if problem.expr)} of {asked}"),
        ("selectors in which Prometheus sees both matchers", f"{good} of {every}"),
        ("panels with data at home: unchanged, on the testbed's own Prometheus", panels("at home")),
        ("panels with data before adoption: unchanged, on the Observer's Query", panels("before")),
        ("panels with data after adoption, on the Observer's Query: testbed", panels("after")),
        ("the same: prod", panels("prod")),
        ("queries that find the same series and values as at home, before adoption", f"{same['before']} of {compared}"),
        ("the same, after adoption", f"**{same['after']} of {compared}**"),
    ]
    if options.grafana:
        rows[1:1] = loaded(options.grafana, options.folder, len(sources))
    head = (f"{len(sources)} dashboards; {len(wanted)} metrics, {total} series of two infrastructures and a KaaS cluster", "")
    left = "".join(f"\n- {problem.dashboard.partition('_')[2]}, {problem.ref_id}: {problem.reason} `{problem.expr}`" for problem in problems)
    return f"{lab.table(head, rows)}\n\nLeft as they are:\n{left}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--grafana")
    parser.add_argument("--seconds", type=int, default=120, help="of samples before the queries are tried")
    parser.add_argument("--why", action="store_true", help="say why panels have no data at home")
    parser.add_argument("--save", action="store_true", help="write the table into benchmarks/README.md")
    options = parser.parse_args()
    where = lab.machine()
    text = f"`python benchmarks/adopt_dashboards.py FOLDER{' --grafana URL' if options.grafana else ''}`. {where}\n\n{measure(options)}"
    print(text)
    if options.save:
        lab.save("adopt-dashboards", text)


if __name__ == "__main__":
    main()
