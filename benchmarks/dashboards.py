"""Measures grafana_dashboards beside a loop of community.grafana.grafana_dashboard; prints a Markdown table.

    python benchmarks/dashboards.py [--save] [--runs 3] [--dashboards 500] [--loop 10] [--latency MS]
    GRAFANA_URL=... GRAFANA_USERNAME=... GRAFANA_PASSWORD=... python benchmarks/dashboards.py (likewise)

Without GRAFANA_URL it runs on the double of Grafana's HTTP API (tests/grafana_double), which answers faster than a Grafana with its database does. With
--latency the double waits so long before each answer. On a Grafana, the folders Bench and Loop and the dashboards bench-<number> are made and removed.
Both ways run in turn in the same ansible-playbook; seconds are those of whole tasks, requests are counted by the double, or by Grafana in /metrics. The
loop has fewer dashboards, and its time is extrapolated. With --save the table takes its place in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import re
import statistics
import sys
import tempfile
import typing as t

import lab
import yaml

sys.path.insert(0, str(lab.TOP / "tests"))
from grafana_double.running import Grafana, double, real

STEPS = ("first push", "unchanged", "5 changed", "prune of 5")
CHANGED = 5
PANELS = 20


def dashboard(number: int, description: str = "") -> dict[str, t.Any]:
    """About as large as one of kubernetes-mixin."""
    defaults = {"custom": {"drawStyle": "line", "fillOpacity": 10, "lineWidth": 1, "showPoints": "never"}, "unit": "percentunit", "min": 0}
    panels = [
        {
            "id": panel + 1,
            "type": "timeseries",
            "title": f"CPU of workload {panel}",
            "description": "Share of the requested CPU that the pods of this workload use, by container. Above 1 for long: raise the request.",
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "gridPos": {"h": 8, "w": 12, "x": 12 * (panel % 2), "y": 8 * (panel // 2)},
            "fieldConfig": {
                "defaults": defaults,
                "overrides": [{"matcher": {"id": "byName", "options": "limit"}, "properties": []}],
            },
            "options": {"legend": {"displayMode": "table", "placement": "right", "calcs": ["mean", "max", "last"]}, "tooltip": {"mode": "multi"}},
            "targets": [
                {"refId": "A", "expr": f'sum by (cluster, container) (rate(container_cpu_usage_seconds_total{{cluster="$cluster", pod=~"w{panel}-.*"}}[5m]))'},
                {"refId": "B", "expr": f'sum by (cluster, container) (kube_pod_container_resource_requests{{cluster="$cluster", pod=~"w{panel}-.*"}})'},
            ],
        }
        for panel in range(PANELS)
    ]
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus"},
        {"name": "cluster", "type": "query", "query": "label_values(cluster)"},
    ]
    found = {"uid": f"bench-{number}", "title": f"Dashboard {number}", "schemaVersion": 39, "panels": panels, "templating": {"list": variables}, "tags": ["b"]}
    return {**found, "description": description} if description else found


def written(folder: pathlib.Path, numbers: t.Iterable[int], changed: int = 0) -> list[str]:
    folder.mkdir()
    files = []
    for position, number in enumerate(numbers):
        file = folder / f"{number:04}.json"
        file.write_text(json.dumps(dashboard(number, "changed" if position < changed else ""), indent=2))
        files.append(str(file))
    return files


def timed(name: str, task: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    clock = "{{ lookup('ansible.builtin.pipe', 'date +%s.%N') }}"
    return [
        {"name": "Begin", "ansible.builtin.set_fact": {"begin": clock}},
        {"name": name, **task, "register": "done"},
        {"name": "End", "ansible.builtin.set_fact": {"times": "{{ times + [clock | float - begin | float] }}"}, "vars": {"clock": clock}},
        {"name": "Count", "ansible.builtin.uri": {"url": "{{ url }}{{ counter }}", "return_content": True}, "register": "log"},
        {"name": "Keep", "ansible.builtin.set_fact": {"counts": "{{ counts + [log.content] }}"}},
    ]


def counter(grafana: Grafana) -> str:
    return "/_double/log" if grafana.controls else "/metrics"


def requests_in(text: str) -> int:
    """Requests so far, as the double's log or Grafana's metrics say."""
    if text.lstrip().startswith("["):
        return len(json.loads(text))
    rows = re.findall(r'^grafana_http_request_duration_seconds_count\{[^}]*handler="(/api/[^"]*)"[^}]*\} (\S+)', text, re.MULTILINE)
    return sum(int(float(value)) for _handler, value in rows)


def play(tasks: list[dict[str, t.Any]], grafana: Grafana, folder: pathlib.Path) -> list[tuple[float, int]]:
    """Seconds and requests of each timed task."""
    save = {"content": "{{ {'times': times, 'counts': counts} | to_json }}", "dest": str(folder / "times.json"), "mode": "0600"}
    whole = {
        "name": "Turn",
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"times": [], "counts": [], "url": grafana.url, "counter": counter(grafana), "ansible_python_interpreter": sys.executable},
        "tasks": [*tasks[-2:], *tasks, {"name": "Save", "ansible.builtin.copy": save}],
    }
    (folder / "play.yml").write_text(yaml.safe_dump([whole]))
    lab.playbook("-i", "localhost,", "-c", "local", str(folder / "play.yml"))
    found = json.loads((folder / "times.json").read_text())
    counts = [requests_in(text) for text in found["counts"]]
    return [(seconds, after - before) for seconds, before, after in zip(found["times"], counts[:-1], counts[1:], strict=True)]


@contextlib.contextmanager
def tidied(grafana: Grafana) -> t.Iterator[Grafana]:
    """A Grafana that has nothing of this benchmark, before and after."""

    def tidy() -> None:
        for folder in grafana.request("GET", "/api/folders"):
            if folder["title"] in ("Bench", "Loop"):
                grafana.request("DELETE", f"/api/folders/{folder['uid']}")

    tidy()
    try:
        yield grafana
    finally:
        tidy()


def turn(options: argparse.Namespace) -> dict[str, list[tuple[float, int]]]:
    found = real()
    with tempfile.TemporaryDirectory(prefix="scs-observer-bench-") as name, tidied(found) if found else double("--nested", "--password", "admin") as grafana:
        folder = pathlib.Path(name)
        if options.latency:
            grafana.control("faults", [{"path": "^/api/", "delay": options.latency / 1000}])
        numbers = range(options.dashboards)
        for place, files in (("same", numbers), ("fewer", numbers[CHANGED:])):
            written(folder / place, files)
        written(folder / "changed", numbers, CHANGED)
        login = {"url": grafana.url, **grafana.login}
        scope = {"folder": "Bench", "prune": True, "prune_folder": "Bench"}
        ours = [
            step
            for place in ("same", "same", "changed", "fewer")
            for step in timed(f"Ours, {place}", {"scs.observer.grafana_dashboards": {**login, **scope, "src": [str(folder / place)]}})
        ]
        result = {"ours": play(ours, grafana, folder)}
        their_names = {"url_token": "grafana_api_key"}
        their_login = {"url": grafana.url, **{their_names.get(name, name): value for name, value in grafana.login.items()}}
        loop = {**their_login, "folder": "Loop", "overwrite": True}
        grafana.request("POST", "/api/folders", {"title": "Loop", "uid": "loop"})
        few = range(10_000, 10_000 + options.loop)
        names = {"few": written(folder / "few", few), "few changed": written(folder / "few changed", few, CHANGED)}
        theirs = [
            step
            for place in ("few", "few", "few changed")
            for step in timed(f"Theirs, {place}", {"community.grafana.grafana_dashboard": {**loop, "path": "{{ item }}"}, "loop": names[place]})
        ]
        gone = {**their_login, "state": "absent", "uid": "{{ item }}"}
        uids = [f"bench-{number}" for number in few[:CHANGED]]
        theirs += timed("Theirs, delete", {"community.grafana.grafana_dashboard": gone, "loop": uids})
        result["loop"] = play(theirs, grafana, folder)
    return result


def measure(options: argparse.Namespace) -> str:
    turns = [turn(options) for _run in range(options.runs)]
    rows: lab.Rows = []
    for number, step in enumerate(STEPS):
        ours, loop = ([found[way][number] for found in turns] for way in ("ours", "loop"))
        median, median_loop = statistics.median(seconds for seconds, _requests in ours), statistics.median(seconds for seconds, _requests in loop)
        count = CHANGED if step == STEPS[3] else options.loop
        # the loop has to go through all of them to find the five that changed, and nothing but a list can tell it what to delete
        whole = median_loop * (1 if step == STEPS[3] else options.dashboards / options.loop)
        rows.append(
            (
                step,
                f"{median:.2f} ({', '.join(f'{seconds:.2f}' for seconds, _requests in ours)})",
                ", ".join(sorted({str(requests) for _seconds, requests in ours})),
                f"{count}: {median_loop:.1f} ({', '.join(f'{seconds:.1f}' for seconds, _requests in loop)})",
                f"{count}: {', '.join(sorted({str(requests) for _seconds, requests in loop}))}",
                f"{whole:.0f}" + (" (extrapolated)" if whole != median_loop else " (the five, told by name)"),
                f"**{whole / median:.0f}**",
            )
        )
    size = len(json.dumps(dashboard(0), indent=2)) // 1024
    head = (
        f"{options.dashboards} dashboards of {size} KiB",
        "grafana_dashboards, seconds",
        "requests",
        "loop of community.grafana, seconds",
        "requests",
        "the loop for as many, seconds",
        "ratio",
    )
    wait = f", which waits {options.latency} ms before each answer" if options.latency else ""
    where = f"on the double{wait}, not on a Grafana"
    if grafana := real():
        where = f"on a Grafana {grafana.request('GET', '/api/frontend/settings')['buildInfo']['version']} on the same machine, with SQLite"
    begin = "One turn" if options.runs == 1 else f"Median of {options.runs} turns (each of them in brackets)"
    return f"{begin}, {where}.\n\n{lab.table(head, rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dashboards", type=int, default=500)
    parser.add_argument("--loop", type=int, default=10, help="dashboards of the loop")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0, help="milliseconds that the double waits before each answer")
    parser.add_argument("--name", default="dashboards", help="the table's name in benchmarks/README.md")
    parser.add_argument("--save", action="store_true", help="write the table into benchmarks/README.md")
    options = parser.parse_args()
    if not CHANGED <= options.loop <= options.dashboards:
        parser.error(f"--loop is at least {CHANGED} and at most --dashboards")
    where = lab.machine()
    command = " ".join(["python benchmarks/dashboards.py", *(word for word in sys.argv[1:] if word != "--save")])
    text = f"`{command}`. {where}\n\n{measure(options)}"
    print(text)
    if options.save:
        lab.save("dashboards-real" if real() else "dashboards-latency" if options.latency else options.name, text)


if __name__ == "__main__":
    main()
