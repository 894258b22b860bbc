# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook observer_content against a real API server and the double of Grafana. No ruler runs here: tests/end_to_end shows that it takes the rules."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
import yaml
from _programs import find_program
from grafana_double.running import TOKEN, double

ROLE = pathlib.Path(__file__).parents[2] / "roles/observer_content"
DASHBOARDS = {path.stem for path in ROLE.glob("files/dashboards/*/*.json")}


class Site:
    """An Observer's namespace, a Grafana, and an inventory for them."""

    def __init__(self, cluster: t.Any, grafana: t.Any, folder: pathlib.Path) -> None:
        self.cluster, self.grafana, self.folder, self.namespace = cluster, grafana, folder, cluster.namespace()
        self.path = f"/api/v1/namespaces/{self.namespace}/configmaps/thanos-ruler-content"
        self.variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "observer_kubeconfig": cluster.kubeconfig,
            "observer_namespace": self.namespace,
            "observer_content_wait": False,
            "observer_content_promtool": find_program("promtool"),
            "observer_content_grafana_url": grafana.url,
            "observer_content_grafana_token": TOKEN,
        }
        assert cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})[0] == 201

    def run(self, *flags: str, **variables: t.Any) -> tuple[int, str]:
        (self.folder / "hosts.yml").write_text(yaml.safe_dump({"observer": {"hosts": {"observer": self.variables | variables}}}))
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_STDOUT_CALLBACK": "default"}
        command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.yml", "scs.observer.observer_content", *flags]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=self.folder, timeout=300, check=False)
        return done.returncode, done.stdout + done.stderr

    def rules(self) -> dict[str, t.Any] | None:
        """What is in the ConfigMap, by file; None when there is none."""
        status, found = self.cluster.request("GET", self.path)
        return {name: yaml.safe_load(text) for name, text in found["data"].items()} if status == 200 else None

    def dashboards(self) -> dict[str, str]:
        """The folder of each dashboard in Grafana."""
        return {hit["uid"]: hit["folderTitle"] for hit in self.grafana.request("GET", "/api/search?type=dash-db&limit=5000")}


@pytest.fixture(name="site")
def fixture_site(cluster: t.Any, tmp_path: pathlib.Path) -> t.Iterator[Site]:
    with double() as grafana:
        site = Site(cluster, grafana, tmp_path)
        yield site
        cluster.request("DELETE", f"/api/v1/namespaces/{site.namespace}")


def changed(output: str) -> int:
    return int(re.search(r"^observer +: ok=\d+ +changed=(\d+)", output, re.MULTILINE)[1])


def alerts(rules: dict[str, t.Any]) -> dict[str, list[dict[str, t.Any]]]:
    found: dict[str, list[dict[str, t.Any]]] = {}
    for file in rules.values():
        for rule in (rule for group in file["groups"] for rule in group["rules"] if "alert" in rule):
            found.setdefault(rule["alert"], []).append(rule)
    return found


def test_brought_unchanged_and_taken_away(site: Site) -> None:
    code, output = site.run("--check", "--diff")
    assert (code, site.rules(), site.dashboards()) == (0, None, {}), output
    assert changed(output) == 2 and "observer:content:info" in output and '"title": "KaaS' in output

    code, output = site.run()
    assert (code, changed(output)) == (0, 2), output
    files = {f"content-{path.name}" for path in ROLE.glob("files/rules/*.yaml")}
    rules = site.rules()
    assert set(rules) == {*files, "content-info.yaml"} and len(alerts(rules)) > 50
    folders = {path.stem: path.parent.name for path in ROLE.glob("files/dashboards/*/*.json")}
    assert site.dashboards() == folders and len(folders) > 20
    assert f"created {len(folders)}, updated 0, unchanged 0" in output
    assert TOKEN not in output

    writes = site.grafana.writes()
    code, output = site.run()
    assert (code, changed(output), site.grafana.writes()) == (0, 0, writes), output

    code, output = site.run("-e", "observer_content_state=absent")
    assert (code, changed(output)) == (0, 2), output
    assert (site.rules(), site.dashboards()) == (None, {})
    code, output = site.run("-e", "observer_content_state=absent")
    assert (code, changed(output)) == (0, 0), output


def test_a_provider_sets_alerts_and_thresholds(site: Site) -> None:
    settings = {
        "observer_content_alerts": {"KubePodCrashLooping": {"for": "30m"}, "KubeletDown": {"enabled": False}},
        "observer_content_thresholds": {"gold": {"node_memory_utilisation": {"warning": 0.5}}},
        "observer_content_dashboards": False,
    }
    code, output = site.run(**settings)
    assert code == 0, output
    found = alerts(site.rules())
    assert {rule["for"] for rule in found["KubePodCrashLooping"]} == {"30m"}
    assert "KubeletDown" not in found and site.dashboards() == {}
    recorded = [rule for group in site.rules()["content-thresholds.yaml"]["groups"] for rule in group["rules"] if rule["record"] == "observer:threshold:value"]
    values = {(rule["labels"]["tier"], rule["labels"]["severity"]): rule["expr"] for rule in recorded}
    assert 'vector(0.5), "threshold", "node_memory_utilisation"' in values["gold", "warning"]
    assert 'vector(0.5), "threshold", "node_memory_utilisation"' not in values["default", "warning"]
    assert values["gold", "critical"] == values["default", "critical"]


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"observer_content_alerts": {"KubePodCrashLoping": {"for": "1m"}}}, "Did you mean KubePodCrashLooping"),
        ({"observer_content_alerts": {"KubePodCrashLooping": {"for": "soon"}}}, "'KubePodCrashLooping'"),
        ({"observer_content_thresholds": {"gold": {"no_such": {"warning": 1}}}}, "no_such"),
        ({"observer_content_rule_files": ["mine.yaml"]}, "mine.yaml"),
        ({"observer_content_rule_files": ["node.yaml"]}, "several rule files of the name node.yaml"),
        ({"observer_content_dashboard_files": ["broken.json"]}, "broken.json"),
        ({"observer_content_grafana_token": "wrong"}, "url_token"),
        ({"observer_content_grafana_token": ""}, "There is no way to log in to Grafana"),
        ({"observer_content_grafana_datasource": "nowhere"}, "nowhere"),
    ],
    ids=["unknown alert", "duration", "threshold", "broken rules", "two of a name", "broken dashboard", "token", "no login", "datasource"],
)
def test_bad_input_changes_nothing(site: Site, variables: dict[str, t.Any], says: str) -> None:
    (site.folder / "mine.yaml").write_text("groups: [{name: mine, rules: [{alert: Mine, expr: 'sum(up) by'}]}]\n")
    (site.folder / "node.yaml").write_text("groups: []\n")
    (site.folder / "broken.json").write_text(json.dumps({"title": "no uid"}))
    for name in ("observer_content_rule_files", "observer_content_dashboard_files"):
        variables = variables | {name: [str(site.folder / file) for file in variables.get(name, [])]}
    code, output = site.run(**variables)
    assert code != 0 and says in " ".join(output.split()), output
    assert (site.rules(), site.dashboards()) == (None, {}), output
    assert TOKEN not in output
