# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook adopt_dashboards with two infrastructures: real Prometheus, sidecars and Query, and the double of Grafana."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import typing as t

import pytest
import yaml
from _infrastructures import Infrastructures, wait_for
from _observer import free_port
from grafana_double.running import TOKEN, double

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs/adopt_dashboards.md"
JOBS = [{"job_name": "own", "static_configs": [{"targets": ["OWN_ADDRESS"]}]}]
# the ways in which dashboards name the one Prometheus that they know
FORMS: dict[str, t.Any] = {
    "variable": "$datasource",
    "object": {"type": "prometheus", "uid": "${datasource}"},
    "input": {"type": "prometheus", "uid": "${DS_PROMETHEUS}"},
    "uid": {"type": "prometheus", "uid": "PBFA97CFB590B2093"},
    "number": "000000001",
    "none": None,
}


def panel(number: int, expr: str, **more: t.Any) -> dict[str, t.Any]:
    at = {"x": 0, "y": 8 * number, "w": 12, "h": 8}
    return {"id": number, "type": "timeseries", "title": f"Panel {number}", "gridPos": at, "targets": [{"refId": "A", "expr": expr}], **more}


def dashboard(title: str, *panels: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return {"title": title, "uid": title.lower(), "schemaVersion": 39, "panels": list(panels), **more}


def sample() -> dict[str, dict[str, t.Any]]:
    """By file name: one dashboard for each way to name the datasource, one without a uid, one that can be adopted in part only."""
    found = {f"{form}.json": dashboard(form.capitalize(), panel(1, "sum(up)", **({"datasource": given} if given else {}))) for form, given in FORMS.items()}
    chooser = {"type": "datasource", "name": "datasource", "query": "prometheus", "current": {}}
    found["variable.json"]["templating"] = {"list": [chooser, {"type": "query", "name": "job", "query": "label_values(up, job)", "datasource": "$datasource"}]}
    found["variable.json"]["links"] = [
        {"type": "link", "title": "Uid", "url": "/d/uid/of-a-uid"},
        {"type": "dashboards", "title": "More", "tags": ["kolla"]},
    ]
    found["input.json"]["__inputs"] = [{"name": "DS_PROMETHEUS", "type": "datasource", "pluginId": "prometheus"}]
    del found["none.json"]["uid"]
    found["infrastructure/parts.json"] = dashboard("Parts", panel(1, "up{", title="Broken <b>"), panel(2, "no_such_metric", title="Empty"), tags=["kolla"])
    return found


@pytest.fixture(name="query", scope="module")
def fixture_query(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[str]:
    """The URL of a Query over two infrastructures and a KaaS cluster, each with one target."""
    with Infrastructures(tmp_path_factory.mktemp("infrastructures")) as running:
        for name, labels in (("testbed", {"infrastructure": "testbed"}), ("prod", {"infrastructure": "prod"}), ("kaas", {"cluster": "kaas"})):
            running.source(name, labels, JOBS)
        url = running.query()
        # older than a step, for the last point of a range lies up to one step back
        wait_for(url, "count(count_over_time(up[2m] offset 16s)) == 3")
        yield url


class Site:
    def __init__(self, folder: pathlib.Path, grafana: t.Any, query: str) -> None:
        self.folder, self.grafana = folder, grafana
        self.variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "adopt_dashboards_src": "dashboards",
            "adopt_dashboards_infrastructures": ["testbed"],
            "adopt_dashboards_query_url": query,
            "adopt_dashboards_scrape_interval": "15s",
            "adopt_dashboards_grafana_url": grafana.url,
            "adopt_dashboards_grafana_token": TOKEN,
        }
        self.write(sample())

    def write(self, files: dict[str, t.Any]) -> None:
        for name, content in files.items():
            path = self.folder / "dashboards" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))

    def run(self, *flags: str, **variables: t.Any) -> tuple[int, str]:
        given = {name: value for name, value in (self.variables | variables).items() if value is not None}
        (self.folder / "hosts.yml").write_text(yaml.safe_dump({"observer": {"hosts": {"observer": given}}}))
        return ansible(self.folder, "-i", "hosts.yml", "scs.observer.adopt_dashboards", *flags)

    def dashboards(self) -> dict[str, t.Any]:
        """What Grafana holds, by uid: the folder and the dashboard."""
        hits = self.grafana.request("GET", "/api/search?type=dash-db&limit=5000")
        return {hit["uid"]: (hit["folderTitle"], self.grafana.request("GET", f"/api/dashboards/uid/{hit['uid']}")["dashboard"]) for hit in hits}

    def files(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()} - {"hosts.yml"} - self.sources()

    def sources(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in (self.folder / "dashboards").rglob("*")}


def ansible(folder: pathlib.Path, *words: str) -> tuple[int, str]:
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_STDOUT_CALLBACK": "default"}
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(name="site")
def fixture_site(query: str, tmp_path: pathlib.Path) -> t.Iterator[Site]:
    with double() as grafana:
        yield Site(tmp_path, grafana, query)


def changed(output: str) -> int:
    return int(re.search(r"^observer +: ok=\d+ +changed=(\d+)", output, re.MULTILINE)[1])


def text(output: str) -> str:
    """Without the line breaks of messages."""
    return re.sub(r"\s+", " ", output)


def expressions(found: dict[str, t.Any]) -> list[str]:
    return [target["expr"] for each in found["panels"] for target in each["targets"]]


def test_brought_tried_reported_unchanged_and_taken_away(site: Site) -> None:
    site.variables["adopt_dashboards_dest"] = "adopted"
    code, output = site.run("--check", "--diff")
    assert (code, site.files(), site.dashboards()) == (0, set(), {}), output
    assert changed(output) >= 2 and '"title": "testbed / Parts"' in output

    code, output = site.run()
    assert code == 0, output
    assert "testbed: 7 dashboards, 8 of 9 queries made for it; 6 of 8 panels have data, 1 an error" in text(output)
    assert TOKEN not in output
    held = site.dashboards()
    nameless = next(uid for uid in held if uid.startswith("testbed_none-"))
    assert set(held) == {*(f"testbed_{form}" for form in FORMS if form != "none"), "testbed_parts", nameless}
    for uid, (folder, found) in held.items():
        assert folder == "IaaS testbed" and found["title"].startswith("testbed / ")
        assert {"iaas", "testbed", "adopted-testbed"} <= set(found["tags"])
        assert {each["datasource"]["uid"] for each in found["panels"]} == {"${datasource}"}
        chooser, infrastructure, *_others = found["templating"]["list"]
        assert (chooser["type"], infrastructure["name"], infrastructure["query"]) == ("datasource", "infrastructure", "testbed")
        if uid != "testbed_parts":
            assert expressions(found) == ['sum(up{infrastructure=~"$infrastructure",cluster=""})']
        written = json.loads((site.folder / f"adopted/testbed/{uid}.json").read_text())
        assert expressions(written) == expressions(found)
    assert expressions(held["testbed_parts"][1]) == ["up{", 'no_such_metric{infrastructure=~"$infrastructure",cluster=""}']
    found = held["testbed_variable"][1]
    assert found["templating"]["list"][2]["query"] == 'label_values(up{infrastructure=~"$infrastructure",cluster=""}, job)'
    assert [found["links"][0]["url"], found["links"][1]["tags"]] == ["/d/testbed_uid/of-a-uid", ["kolla", "adopted-testbed"]]

    report = (site.folder / "adopted-dashboards.txt").read_text()
    assert "8 of 9 queries were made" in report and "6 of 8 panels have data, 1 have none, 1 have an error" in report
    assert re.search(r"testbed / Parts \(testbed_parts\), Broken <b> A panels\[0\]\S+\n  It can not be parsed: .*\n  up\{\n", report)
    assert "error: Broken <b> (panel 1)" in report and "empty: Empty (panel 2)" in report
    page = (site.folder / "adopted-dashboards.html").read_text()
    assert "Broken &lt;b&gt;" in page and "<b>" not in page

    writes = site.grafana.writes()
    code, output = site.run()
    assert (code, changed(output), site.grafana.writes()) == (0, 0, writes), output

    code, output = site.run(adopt_dashboards_state="absent")
    assert (code, site.dashboards()) == (0, {}), output
    assert site.files() == {"adopted-dashboards.txt", "adopted-dashboards.html"}
    code, output = site.run(adopt_dashboards_state="absent", adopt_dashboards_dest="")
    assert (code, changed(output)) == (0, 0), output


def test_infrastructures_stay_apart_and_are_pruned_apart(site: Site) -> None:
    infrastructures = [{"name": "testbed", "endpoints": ["a:1"]}, {"name": "prod", "folder": "Production"}]
    site.variables |= {"adopt_dashboards_infrastructures": infrastructures, "adopt_dashboards_dest": "adopted", "adopt_dashboards_query": False}
    names = ("uid", "number", "variable")
    site.variables["adopt_dashboards_src"] = [f"dashboards/{name}.json" for name in names]
    code, output = site.run()
    assert code == 0, output
    held = site.dashboards()
    assert set(held) == {f"{each}_{name}" for each in ("testbed", "prod") for name in names}
    assert {folder for folder, _found in held.values()} == {"IaaS testbed", "Production"}
    assert {found["templating"]["list"][1]["query"] for uid, (_folder, found) in held.items() if uid.startswith("prod_")} == {"prod"}

    pruned = {"adopt_dashboards_infrastructures": "testbed", "adopt_dashboards_prune": True, "adopt_dashboards_grafana_prune_limit": "1"}
    code, output = site.run(adopt_dashboards_src="dashboards/uid.json", **pruned)
    assert code != 0 and "prune_limit" in output, output
    assert set(site.dashboards()) == set(held) and len(site.files()) == 8, "more than the limit would be deleted, so nothing is"

    code, output = site.run(adopt_dashboards_src=["dashboards/uid.json", "dashboards/variable.json"], **pruned)
    assert code == 0, output
    assert set(held) - set(site.dashboards()) == {"testbed_number"}, "what another infrastructure has is not of this run"
    assert not (site.folder / "adopted/testbed/testbed_number.json").exists()
    assert (site.folder / "adopted/prod/prod_number.json").exists()


def test_one_set_for_several(site: Site) -> None:
    code, output = site.run(adopt_dashboards_infrastructures=["testbed", "prod"], adopt_dashboards_multi=True, adopt_dashboards_report="")
    assert code == 0, output
    assert "IaaS: 7 dashboards" in output and site.files() == set()
    folder, found = site.dashboards()["IaaS_object"]
    assert folder == "IaaS" and {"iaas", "testbed", "prod", "adopted-IaaS"} <= set(found["tags"])
    variable = found["templating"]["list"][1]
    assert (variable["query"], variable["allValue"], variable["multi"]) == ("testbed,prod", "testbed|prod", True)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"adopt_dashboards_src": "nowhere"}, "file nowhere does not exist"),
        ({"adopt_dashboards_src": ["dashboards", "broken.json"]}, "broken.json: this is not JSON: line 1, column 13"),
        ({"adopt_dashboards_src": ["dashboards", "twin.json"]}, "uid testbed_uid is there twice, first in dashboards/uid.json"),
        ({"adopt_dashboards_infrastructures": ["Test_Bed"]}, "'Test_Bed' can not be the name of an infrastructure"),
        ({"adopt_dashboards_grafana_token_": "x"}, "has no variable adopt_dashboards_grafana_token_"),
        ({"adopt_dashboards_on_error": "fail"}, "testbed / Parts (testbed_parts), panels[0].targets[0]: It can not be parsed"),
        ({"adopt_dashboards_query_url": "http://127.0.0.1:PORT"}, "127.0.0.1:PORT"),
        ({"adopt_dashboards_grafana_token": "wrong"}, "url_token"),
    ],
    ids=lambda value: "-".join(f"{name.removeprefix('adopt_dashboards_')}" for name in value) if isinstance(value, dict) else "",
)
def test_bad_input_writes_nothing(site: Site, variables: dict[str, t.Any], says: str) -> None:
    port = str(free_port())
    (site.folder / "broken.json").write_text('{"title": 1,,}')
    (site.folder / "twin.json").write_text(json.dumps(dashboard("Another", uid="uid")))
    before = site.files()
    code, output = site.run(**{name: value.replace("PORT", port) if isinstance(value, str) else value for name, value in variables.items()})
    assert code != 0 and says.replace("PORT", port) in text(output), output
    assert (site.files(), site.dashboards(), site.grafana.writes()) == (before, {}, []), output
    assert TOKEN not in output and len(output) < 20_000, "no dashboards in a message"


def test_example_without_grafana_of_the_document(tmp_path: pathlib.Path) -> None:
    (command,) = (found for found in re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(), re.DOTALL) if "-i observer," in found)
    for name, content in sample().items():
        (tmp_path / "dashboards" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "dashboards" / name).write_text(json.dumps(content))
    code, output = ansible(tmp_path, *shlex.split(command.replace("\\\n", ""))[1:], "-e", f"ansible_python_interpreter={sys.executable}")
    assert code == 0, output
    assert len(list((tmp_path / "adopted/testbed").glob("testbed_*.json"))) == 7
    assert "The queries were not tried" in (tmp_path / "adopted-dashboards.txt").read_text()


def test_variables_of_the_document_are_those_of_the_role() -> None:
    role = yaml.safe_load((DOCUMENT.parents[1] / "roles/adopt_dashboards/meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    named = set(re.findall(r"\badopt_dashboards_\w+", DOCUMENT.read_text()))
    assert len(named) > 8 and named <= set(role)
