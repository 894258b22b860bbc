# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dashboards of role observer_content: the committed JSON is what the code makes, and each of them keeps what all promise."""

from __future__ import annotations

import itertools
import json
import pathlib
import re
import subprocess
import sys
import typing as t

import promql_parser
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "roles" / "observer_content" / "files" / "dashboards"
FILES = sorted(FOLDER.rglob("*.json"))
LOADED = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FILES}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
CORE = {"stat", "timeseries", "table", "gauge", "bargauge", "text", "row"}
BUILT_IN = {"__rate_interval", "__interval", "__range", "__range_s", "__from", "__to", "__url_time_range", "__data", "__field", "__value", "__auto", "__all"}
# Labels that name one of many: whoever writes such a name into a query writes it for one site.
NAMES = {"cluster", "observer", "infrastructure", "instance", "node", "nodename", "host", "pod", "customer", "region", "tier"}
PLACEHOLDER = "filled-in"


def every(dashboard: dict[str, t.Any]) -> t.Iterator[dict[str, t.Any]]:
    """All panels, and those in collapsed rows."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def queries(dashboard: dict[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    for panel in every(dashboard):
        for target in panel.get("targets", []):
            yield f"{panel['title']} {target['refId']}", target["expr"]


def filled(expr: str, dashboard: dict[str, t.Any]) -> str:
    """The query as Grafana sends it, with a name that nobody writes for each variable; fixed values are what they are."""
    expr = re.sub(r"\$\{?__(rate_interval|interval|range)(:\w+)?\}?", "5m", expr)
    fixed = {variable["name"]: variable["current"]["value"] for variable in dashboard["templating"]["list"] if variable["type"] == "custom"}
    return re.sub(r"\$\{?(\w+)(:\w+)?\}?", lambda match: fixed.get(match[1], PLACEHOLDER), expr)


def selectors(expr: str) -> list[t.Any]:
    found: list[t.Any] = []

    def visit(node: t.Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


def strings(value: t.Any) -> t.Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str):
                yield key, inner
            else:
                yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


@pytest.fixture(name="dashboard", params=sorted(LOADED))
def fixture_dashboard(request):
    return LOADED[request.param]


@pytest.fixture(name="common", scope="module")
def fixture_common():
    sys.path.insert(0, str(ROOT))
    from tools.dashboards import common

    yield common
    sys.path.remove(str(ROOT))


def test_json_is_what_the_code_makes():
    done = subprocess.run([sys.executable, "-m", "tools.dashboards", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check_names_the_file_that_differs(tmp_path):
    """On a copy: one changed, one that no code makes."""
    copied = tmp_path / "tools" / "dashboards"
    copied.mkdir(parents=True)
    for path in (ROOT / "tools" / "dashboards").glob("*.py"):
        (copied / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    command = [sys.executable, "-m", "tools.dashboards"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False).returncode == 0
    made = tmp_path / "roles" / "observer_content" / "files" / "dashboards"
    assert {path.relative_to(made) for path in made.rglob("*.json")} == {path.relative_to(FOLDER) for path in FILES}
    (made / "KaaS" / "scs-kaas.json").write_text("{}\n", encoding="utf-8")
    (made / "KaaS" / "scs-stray.json").write_text("{}\n", encoding="utf-8")
    done = subprocess.run([*command, "--check"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["KaaS/scs-kaas.json: is not what the code makes", "KaaS/scs-stray.json: no code makes it"]


def test_all_that_were_promised_are_there(common):
    assert set(LOADED) == set(common.DASHBOARDS)
    for path in FILES:
        entry = common.DASHBOARDS[path.stem]
        assert (path.parent.name, LOADED[path.stem]["title"]) == (entry.folder, entry.title)
    assert len({dashboard["title"] for dashboard in LOADED.values()}) == len(LOADED)


def test_head(dashboard):
    assert LOADED[dashboard["uid"]] is dashboard, "the uid is the file's name"
    assert dashboard["title"] and dashboard["description"]
    project, level, subject = dashboard["tags"]
    assert (project, level in ("L0", "L1", "L2"), subject in ("kaas", "iaas", "service", "observer")) == ("scs-observer", True, True)
    assert dashboard["refresh"] == ("30s" if level == "L0" else "1m")
    assert dashboard["time"] == {"from": "now-15m" if level == "L0" else "now-1h", "to": "now"}
    assert dashboard["schemaVersion"] == 39
    assert "id" not in dashboard and "version" not in dashboard


def test_variables(dashboard):
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert next(iter(variables)) == "datasource" and variables["datasource"]["type"] == "datasource"
    assert all(variable["label"] and variable["description"] for variable in variables.values())
    text = json.dumps(dashboard)
    used = {name for name in re.findall(r"\$\{?(\w+)", re.sub(r"\$1", "", text)) if not name.isdigit()} - BUILT_IN
    assert used == set(variables), "a variable is used that there is none of, or one is of no use"
    if dashboard["uid"].startswith("scs-kaas-"):
        assert "cluster" in variables
    for variable in variables.values():
        if variable["type"] == "query":
            assert re.fullmatch(r"label_values\(.+, \w+\)", variable["query"]["query"]), "Grafana's Prometheus data source knows few functions"
            (selector,) = selectors(filled(variable["query"]["query"], dashboard)[len("label_values(") :].rpartition(",")[0])
            check_selector(dashboard, variable["name"], selector)


def test_links(dashboard):
    """Up from all but the first level, down from all but the last; to what exists; nothing else than a dashboard."""
    level = dashboard["tags"][1]
    texts = [text for key, text in strings(dashboard) if key == "url"]
    targets = []
    for url in texts:
        if url.startswith("/dashboards?tag="):
            continue  # Grafana's own list, for dashboards that are not of this collection
        assert url.startswith("/d/"), "no link leaves Grafana, or names a host"
        targets.append(re.match(r"/d/([^?]+)\?", url)[1])
        assert "datasource:queryparam" in url
    assert set(targets) <= set(LOADED)
    levels = {LOADED[uid]["tags"][1] for uid in targets}
    if level != "L0":
        assert levels & {"L0", "L1"}, "no way up"
    if level != "L2":
        assert any(later > level for later in levels) or any(link["type"] == "dashboards" for link in dashboard["links"]), "no way down"
    for link in dashboard["links"]:
        assert link["keepTime"]
        if link["type"] == "dashboards":
            assert any(set(link["tags"]) <= set(other["tags"]) for other in LOADED.values())


def links_of(value: t.Any) -> set[str]:
    return {match[1] for key, text in strings(value) if key == "url" and (match := re.match(r"/d/([^?]+)", text))}


def test_every_dashboard_can_be_reached():
    """By links alone, without a menu of tags; and from a cluster's page each of its details but the node, which the table of nodes leads to."""
    reached = waiting = {uid for uid, dashboard in LOADED.items() if dashboard["tags"][1] == "L0"}
    while waiting:
        waiting = set().union(*(links_of(LOADED[uid]) for uid in waiting)) - reached
        reached = reached | waiting
    assert reached == set(LOADED)
    details = {uid for uid, dashboard in LOADED.items() if dashboard["tags"][1:] == ["L2", "kaas"]}
    assert details - links_of(LOADED["scs-kaas-cluster"]) == {"scs-kaas-node"}
    assert "scs-kaas-node" in links_of(LOADED["scs-kaas-nodes"])


def test_panels(dashboard):
    panels = list(every(dashboard))
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["type"] in CORE, "only what every Grafana has; nothing of Angular"
        assert panel["title"]
        if panel["type"] == "row":
            continue
        assert len(panel["description"]) > 5, panel["title"]
        if panel["type"] == "text":
            assert panel["options"]["content"]
            continue
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"], panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        sparkline = panel["type"] == "stat" and panel["options"]["graphMode"] != "none"
        for target in panel["targets"]:
            over_time = panel["type"] == "timeseries" or sparkline
            assert (target["instant"], target["range"]) == (not over_time, over_time), panel["title"]


def test_no_two_panels_overlap(dashboard):
    for folder in [dashboard["panels"], *(panel["panels"] for panel in dashboard["panels"] if panel.get("panels"))]:
        places = [panel["gridPos"] for panel in folder]
        assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 and place["w"] > 0 and place["h"] > 0 for place in places)
        for one, other in itertools.combinations(places, 2):
            apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"], (one, other)


def test_one_data_source(dashboard):
    def visit(value: t.Any) -> None:
        if isinstance(value, dict):
            if "datasource" in value:
                assert value["datasource"] == DATASOURCE
            for inner in value.values():
                visit(inner)
        elif isinstance(value, list):
            for inner in value:
                visit(inner)

    visit(dashboard)
    assert all(panel.get("datasource") == DATASOURCE for panel in every(dashboard) if panel["type"] not in ("row", "text"))


def check_selector(dashboard: dict[str, t.Any], place: str, selector: t.Any) -> None:
    matchers = {(matcher.name, str(matcher.op).rpartition(".")[2]): matcher.value for matcher in selector.matchers.matchers}
    told = f"{dashboard['uid']}, {place}: {selector.prettify()}"
    # Nobody but the Observer has series without the label of Receives' replicas; whatever an agent sent has it.
    own = matchers.get(("receive_replica", "Equal")) == "" or any(name == "observer" and text for (name, _op), text in matchers.items())
    names = {name for name, _op in matchers}
    assert own or "cluster" in names, f"{told} mixes clusters, or reads what another one sent"
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    if "cluster" in variables and not own and dashboard["tags"][2] == "kaas":
        assert matchers.get(("cluster", "Re")) == PLACEHOLDER, f"{told} is not of the chosen cluster"
    if "infrastructure" in names and not own:
        assert matchers.get(("cluster", "Equal")) == "" or matchers.get(("infrastructure", "Equal")) == "", f"{told}: an agent could write that"
    for (name, _op), text in matchers.items():
        if name in NAMES:
            assert text in ("", ".+", ".*") or PLACEHOLDER in text, f"{told} names one {name}"


def test_queries(dashboard):
    for place, expr in queries(dashboard):
        for selector in selectors(filled(expr, dashboard)):
            check_selector(dashboard, place, selector)
        assert "irate(" not in expr, place


def test_rates_over_time_fit_the_time_range(dashboard):
    """A fixed window hides what a short range ought to show, and leaves gaps in a long one. For one moment it is right, if any scrape interval fits into it."""
    for panel in every(dashboard):
        for target in panel.get("targets", []):
            for window in re.findall(r"\brate\([^()]*?\[([^]]*)\]", re.sub(r'"[^"]*"', "", target["expr"])):
                assert window in ("$__rate_interval", "$__range") or (target["instant"] and window in ("5m", "10m", "15m", "30m", "1h")), panel["title"]


def test_clusters_stay_apart_where_several_are_shown(dashboard):
    """A join of two clusters' series would show the one's in the place of the other's."""
    cluster = [variable for variable in dashboard["templating"]["list"] if variable["name"] == "cluster"]
    if cluster and not cluster[0]["multi"]:
        return
    for place, expr in queries(dashboard):
        for labels in re.findall(r"\bon \(([^)]*)\)", expr):
            if labels and not {"service", "instance"} & set(labels.split(", ")):
                assert {"cluster", "infrastructure", "observer", "tenant"} & set(labels.split(", ")), f"{place}: on ({labels})"
        for labels in re.findall(r"\bignoring \(([^)]*)\)", expr):
            assert "cluster" not in labels, place


# ---------------------------------------------------------------- the helpers


def test_panels_stand_side_by_side_and_keep_their_ids(common):
    def made(*panels):
        return common.dashboard("scs-kaas", "for a test", panels=panels, down=["scs-kaas-cluster"]).model.panels

    def panel(title, width):
        return common.stat(title, "Whatever it shows.", "none", "up", width=width, height=3)

    first = made(panel("a", 12), panel("b", 12), panel("c", 6), common.row("R"), panel("a", 4))
    assert [(one.grid_pos.x, one.grid_pos.y) for one in first] == [(0, 0), (12, 0), (0, 3), (0, 6), (0, 7)]
    second = made(panel("new", 12), panel("a", 12), panel("b", 12), panel("c", 6), common.row("R"), panel("a", 4))
    assert [one.id_val for one in second][1:] == [one.id_val for one in first]
    collapsed = made(common.row("R", collapsed=True), panel("a", 4), panel("b", 4), common.row("S"), panel("c", 4))
    assert [(one.title, [inner.title for inner in one.panels] if one.type_val == "row" else None) for one in collapsed] == [
        ("R", ["a", "b"]),
        ("S", []),
        ("c", None),
    ]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda c: c.stat("T", "D", "parsecs", "up"), "Grafana knows no unit 'parsecs'"),
        (lambda c: c.stat("T", "", "none", "up"), "has no title or no description"),
        (lambda c: c.link("scs-nowhere"), "no dashboard has the uid 'scs-nowhere'"),
        (lambda c: c.dashboard("scs-kaas-nodes", "D", panels=[]), "needs a way up"),
        (lambda c: c.table("T", "D", [c.value("A", "up", "none")], sort="B"), "no column 'B'"),
        (lambda c: c.dashboard("scs-kaas", "D", panels=[c.row("R"), c.row("R")]), "the same title"),
    ],
)
def test_what_is_wrong_is_told_at_once(common, wrong, told):
    with pytest.raises(ValueError, match=told):
        wrong(common)
