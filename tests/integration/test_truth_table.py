# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The counters of the dashboard scs-kaas against the table of what they have to show (tests/truth_table/kaas.yaml).

The panels' own PromQL, read from the committed JSON, is evaluated by a real Prometheus. Each row of the table is a time of its own, two hours from the next,
so that no row sees another one's series.

The same rows show where the expressions of dNation's dashboard, which the MVP used, are wrong (tests/truth_table/upstream.yaml; docs/truth_table.md tells why).
"""

from __future__ import annotations

import collections
import json
import pathlib
import re
import subprocess
import time
import typing as t

import pytest
import requests
import yaml
from _observer import free_port
from _programs import find_program

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = ROOT / "tests" / "truth_table"
ROWS: list[dict[str, t.Any]] = yaml.safe_load((TABLE / "kaas.yaml").read_text(encoding="utf-8"))["rows"]
UPSTREAM: dict[str, t.Any] = yaml.safe_load((TABLE / "upstream.yaml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((ROOT / "roles" / "observer_content" / "files" / "dashboards" / "KaaS" / "scs-kaas.json").read_text(encoding="utf-8"))
CONDITIONS = ("up", "warning", "critical", "down", "agent_down", "never_seen", "new", "maintenance", "orphan")
START, APART = 1_767_225_600, 7200  # the first of January 2026, at a bound of blocks
REGISTERED = ("up", "agent_down", "down", "never_seen", "new", "maintenance")
REPORTING = ("up", "maintenance", "orphan")

BASE = {
    'kaas_ruler_evaluation:timestamp_seconds{observer="observer"}': 1,
    'observer:thanos_receive_connected:ratio{observer="observer"}': 1,
    'kaas_registry_present{observer="observer"}': 1,
}


def panel(title: str) -> dict[str, t.Any]:
    (found,) = [panel for panel in DASHBOARD["panels"] if panel["title"] == title and panel["type"] != "row"]
    return found


def query(title: str, ref: str = "A") -> str:
    (found,) = [target["expr"] for target in panel(title)["targets"] if target["refId"] == ref]
    return found


def row_series(row: dict[str, t.Any]) -> list[tuple[str, float, int]]:
    """What the ruler, the importer and agents write in that row's moment: series, value, seconds ago."""
    made: dict[str, float] = dict(BASE)
    for cluster, told in row["clusters"].items():
        state, *severities = told.split()
        made[f'cluster:kaas_state:info{{cluster="{cluster}",state="{state}",observer="observer"}}'] = 1
        for severity in severities:
            labels = f'alertname="Some{severity}",alertstate="firing",severity="{severity}",cluster="{cluster}",observer="observer",alertgroup="Cluster"'
            made[f"ALERTS{{{labels}}}"] = 1
        if state in REGISTERED:
            info = {"role": "kaas", "name": cluster} | row.get("info", {}).get(cluster, {})
            text = ",".join(f'{name}="{value}"' for name, value in info.items())
            made[f'kaas{{cluster="{cluster}",observer="observer"}}'] = 1
            made[f'kaas_info{{cluster="{cluster}",observer="observer",{text}}}'] = 1
        if state in REPORTING:
            made[f'up{{cluster="{cluster}",job="node-exporter",receive_replica="thanos-receive-0"}}'] = 1
    kept = [(series, value, 0) for series, value in made.items() if series.partition("{")[0] not in row.get("without", [])]
    return kept + [(series, value, (ago or [0])[0]) for series, value, *ago in row.get("series", [])]


def moment(number: int) -> int:
    return START + (number + 1) * APART


class Engine:
    """A Prometheus with all rows."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/api/v1/query"
        self._session = requests.Session()

    def ask(self, expr: str, number: int) -> list[dict[str, t.Any]]:
        answer = self._session.post(self._url, data={"query": expr, "time": moment(number)}, timeout=10).json()
        assert answer["status"] == "success", (answer, expr)
        return answer["data"]["result"]

    def number(self, expr: str, number: int) -> float:
        (found,) = self.ask(expr, number)
        assert found["metric"] == {}
        return float(found["value"][1])


@pytest.fixture(name="engine", scope="module")
def fixture_engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    lines: dict[str, list[str]] = collections.defaultdict(list)
    for number, row in enumerate(ROWS):
        for series, value, ago in row_series(row):
            lines[series.partition("{")[0]].append(f"{series} {value} {moment(number) - ago}")
    text = "".join(f"# TYPE {name} gauge\n" + "\n".join(found) + "\n" for name, found in lines.items())
    (folder / "rows.txt").write_text(text + "# EOF\n", encoding="utf-8")
    command = [find_program("promtool"), "tsdb", "create-blocks-from", "--max-block-duration=100d", "openmetrics", "rows.txt", "data"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    (folder / "prometheus.yml").write_text("{}", encoding="utf-8")
    port = free_port()
    options = [f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path=data", "--storage.tsdb.retention.time=100y"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([find_program("prometheus"), *options], cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
    while True:
        try:
            if requests.get(f"{url}/-/ready", timeout=2).ok:
                break
        except requests.ConnectionError:
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.1)
    yield Engine(url)
    process.kill()
    process.wait()


def filled(expr: str, row: dict[str, t.Any]) -> str:
    """As Grafana sends it: All is what the variable of the dashboard says."""
    chosen = {}
    for variable in DASHBOARD["templating"]["list"]:
        chosen[variable["name"]] = str(row.get("filter", {}).get(variable["name"], variable.get("allValue", "")))
    for name, value in chosen.items():
        expr = re.sub(rf"\$\{{?{name}\b\}}?", lambda _match, value=value: value, expr)
    assert "$" not in expr.replace("$]", "").replace(chosen["search"], ""), expr
    return expr


def test_the_table_has_every_combination():
    """Each state with each kind of alerts, each pair and each three of conditions, filters and forged series: nobody takes a row away unnoticed."""
    assert len({row["name"] for row in ROWS}) == len(ROWS)
    alone = {tuple(row["clusters"].values()) for row in ROWS if len(row["clusters"]) == 1}
    for state in (*REGISTERED, "orphan"):
        assert {(state,), (f"{state} warning",), (f"{state} critical",), (f"{state} warning critical",)} <= alone
    plain = [row for row in ROWS if not set(row) & {"filter", "series", "without", "info"}]
    together = collections.Counter(len(set(row["expect"].values())) for row in plain if len(row["clusters"]) == len(row["expect"]) == 3)
    assert together[3] == 84, "three of nine"
    assert len({tuple(sorted(row["expect"].values())) for row in plain if len(row["expect"]) == 2}) == 45, "pairs of nine, equal ones too"
    assert {condition for row in ROWS for condition in row["expect"].values()} == set(CONDITIONS)


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[row["name"] for row in ROWS])
def test_counters(engine, number):
    row = ROWS[number]
    shown = {name: engine.number(filled(query(name.replace("_", " ").capitalize()), row), number) for name in CONDITIONS}
    assert shown == {name: list(row["expect"].values()).count(name) for name in CONDITIONS}
    assert engine.number(filled(query("Total"), row), number) == sum(shown.values()) == len(row["expect"])


def test_table(engine):
    """The table's column State: the same condition for each cluster, and no cluster more."""
    column = panel("Clusters")
    (override,) = [one for one in column["fieldConfig"]["overrides"] if one["matcher"]["options"] == "State"]
    (mappings,) = [one["value"] for one in override["properties"] if one["id"] == "mappings"]
    words = {number: result["text"].replace(" ", "_") for number, result in mappings[0]["options"].items()}
    assert set(words.values()) == set(CONDITIONS)
    for number, row in enumerate(ROWS):
        found = engine.ask(filled(query("Clusters"), row), number)
        assert all(set(series["metric"]) == {"cluster"} for series in found)
        assert {series["metric"]["cluster"]: words[series["value"][1]] for series in found} == row["expect"], row["name"]


def test_course(engine):
    """What the course over time adds up to is the total too."""
    for number, row in enumerate(ROWS):
        shown = [series for target in panel("Conditions")["targets"] for series in engine.ask(filled(target["expr"], row), number)]
        assert sum(float(series["value"][1]) for series in shown) == len(row["expect"]), row["name"]


def test_intake(engine):
    for number, row in enumerate(ROWS):
        assert engine.number(filled(query("Intake"), row), number) == row.get("intake", 0), row["name"]


# ---------------------------------------------------------------- upstream's

# dNationCloud/kubernetes-monitoring 715469a, jsonnet/dashboards/kaas-monitoring.libsonnet
NORMAL = """
sum(group by (cluster) (kaas{cluster=~"$cluster"}) and group by (cluster) (up{cluster=~"$cluster"}) unless group by (cluster)
(ALERTS{alertname!="Watchdog", cluster=~"$cluster", alertstate="firing", severity=~"warning|critical", alertgroup=~"Cluster|ClusterApp"})
OR on() vector(0)) OR on() vector(0)"""
WARNING = """
sum(group by (cluster) (ALERTS{alertname!="Watchdog", cluster=~"$cluster", alertstate="firing", severity="warning", alertgroup=~"Cluster|ClusterApp"})
unless group by (cluster) (ALERTS{alertname!="Watchdog", cluster=~"$cluster", alertstate="firing", severity="critical", alertgroup=~"Cluster|ClusterApp"}))
or on() vector(0)"""
CRITICAL = """
count(count by (cluster)
(ALERTS{cluster=~"$cluster", alertname!="Watchdog", alertstate=~"firing", severity="critical", alertgroup=~"Cluster|ClusterApp"})) OR on() vector(0)"""
# ... templates.libsonnet: the tile of a KaaS cluster, and that of any cluster
TILE = """
((sum(kaas{cluster="$cluster"} unless up{job=~"node-exporter", cluster="$cluster"}) or on() vector(0)) == bool 0) * (-1)
+ ((sum(kaas{cluster="$cluster"}) or on() vector(0)) == bool 0) * (-1)
+ sum(ALERTS{alertname!="Watchdog", cluster="$cluster", alertstate="firing", severity="warning", alertgroup=~"Cluster|ClusterApp"} OR on() vector(0))
+ sum(ALERTS{alertname!="Watchdog", cluster="$cluster", alertstate="firing", severity="critical", alertgroup=~"Cluster|ClusterApp"} OR on() vector(0))
* 10000"""
CLUSTER_TILE = """
((sum(up{job=~"node-exporter", cluster="$cluster"}) or on() vector(0)) == bool 0) * (-1)
+ sum(ALERTS{alertname!="Watchdog", cluster="$cluster", alertstate="firing", severity="warning", alertgroup=~"Cluster|ClusterApp"} OR on() vector(0))
+ sum(ALERTS{alertname!="Watchdog", cluster="$cluster", alertstate="firing", severity="critical", alertgroup=~"Cluster|ClusterApp"} OR on() vector(0))
* 10000"""
RIGHT = {"up": "OK", "warning": "Warning", "critical": "Critical", "down": "Down", "agent_down": "Down", "never_seen": "Down"}


def word(value: float) -> str:
    """The mapping of both tiles."""
    return {-2: "-", -1: "Down", 0: "OK"}.get(int(value)) or ("Critical" if value >= 10000 else "Warning")


def judged() -> t.Iterator[tuple[int, dict[str, t.Any], list[str]]]:
    """The rows that upstream's dashboard can be asked about (it knows no filters and no roles), with those of its variable: label_values(kaas, cluster)."""
    for number, row in enumerate(ROWS):
        registered = [cluster for cluster, told in row["clusters"].items() if told.split()[0] in REGISTERED]
        if registered and not {"filter", "info", "without"} & set(row):
            yield number, row, registered


def test_upstreams_counters_are_wrong(engine):
    """They have to add up to the registered clusters, each in one of the three; the rows where they don't."""
    wrong = []
    for number, row, registered in judged():
        chosen = f"({'|'.join(registered)})" if len(registered) > 1 else registered[0]
        shown = [engine.number(expr.replace("$cluster", chosen), number) for expr in (NORMAL, WARNING, CRITICAL)]
        if sum(shown) != len(registered):
            wrong.append(row["name"])
    assert wrong == UPSTREAM["counters"]


@pytest.mark.parametrize(("expr", "key"), [(TILE, "tile"), (CLUSTER_TILE, "cluster_tile")], ids=["tile", "cluster_tile"])
def test_upstreams_tiles_are_wrong(engine, expr, key):
    """A tile has to say OK, Warning, Critical, or Down of a silent cluster; the rows where it does not. What is new or in maintenance is not judged."""
    wrong: dict[str, dict[str, str]] = {}
    for number, row, registered in judged():
        for cluster in registered:
            condition = row["expect"].get(cluster)
            shown = word(engine.number(expr.replace("$cluster", cluster), number))
            if condition in RIGHT and shown != RIGHT[condition]:
                wrong.setdefault(row["name"], {})[cluster] = f"{shown}, not {RIGHT[condition]}"
    assert wrong == UPSTREAM[key]
