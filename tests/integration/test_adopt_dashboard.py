# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter adopt_dashboard: what a real Prometheus says to its queries, and the example of docs/adopt_dashboard.md as it is written there."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import time
import typing as t
import urllib.parse
import urllib.request

import _tricky_queries
import pytest
import yaml
from _observer import free_port
from _programs import find_program
from ansible_collections.scs.observer.plugins.module_utils import _promql_inject
from grafana_double.running import double

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs/adopt_dashboard.md"
WANTED = _promql_inject.matchers(_tricky_queries.MATCHERS)


@pytest.fixture(name="parse", scope="module")
def fixture_parse(tmp_path_factory):
    """What Prometheus makes of a query; HTTPError when it refuses it."""
    folder, url = tmp_path_factory.mktemp("prometheus"), f"http://127.0.0.1:{free_port()}"
    (folder / "prometheus.yml").write_text("global: {}\n")
    command = [find_program("prometheus"), f"--web.listen-address={url.removeprefix('http://')}", "--storage.tsdb.path=data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=2):
                break
        except OSError:
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)

    def parse(query: str) -> t.Any:
        with urllib.request.urlopen(f"{url}/api/v1/parse_query", data=urllib.parse.urlencode({"query": query}).encode(), timeout=10) as answer:
            return json.loads(answer.read())["data"]

    yield parse
    process.kill()
    process.wait()


def with_matchers(node: t.Any) -> t.Any:
    """Prometheus' own tree, with our matchers in each selector in place of others on the same labels."""
    if isinstance(node, list):
        return [with_matchers(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: with_matchers(value) for key, value in node.items()}
    if "matchers" in found:
        labels = {matcher.label for matcher in WANTED}
        others = [matcher for matcher in found["matchers"] if matcher["name"] not in labels]
        found["matchers"] = [*others, *({"name": matcher.label, "type": matcher.op, "value": matcher.value} for matcher in WANTED)]
    return found


def in_order(node: t.Any) -> t.Any:
    if isinstance(node, list):
        return [in_order(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {key: sorted(map(repr, value)) if key == "matchers" else in_order(value) for key, value in node.items()}


@pytest.mark.parametrize(("before", "after"), _tricky_queries.QUERIES)
def test_prometheus_sees_the_matchers_and_no_other_change(parse, before, after):
    assert _promql_inject.inject(before, WANTED) == after
    first, second = (_promql_inject._fill(query, {}).text for query in (before, after))
    assert in_order(parse(second)) == in_order(with_matchers(parse(first)))


def test_example_of_the_document(tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    (tmp_path / "play.yml").write_text(text)
    good = {"title": "Nodes", "uid": "nodes", "id": 5, "schemaVersion": 39, "panels": [panel('rate(x{job="a"}[$__rate_interval])')]}
    bad = {"title": "Bad", "schemaVersion": 14, "rows": [{"panels": [{**panel("up{"), "title": "Broken {{ 1 + 1 }}"}]}]}
    (tmp_path / "dashboards").mkdir()
    (tmp_path / "dashboards/a.json").write_text(json.dumps(good))
    (tmp_path / "dashboards/b.json").write_text(json.dumps(bad))
    with double() as grafana:
        variables = {"grafana_url": grafana.url, "grafana_token": grafana.login["url_token"], "ansible_python_interpreter": sys.executable}
        program = pathlib.Path(sys.executable).parent / "ansible-playbook"
        command = [str(program), "-i", "localhost,", "-c", "local", "play.yml", "-e", json.dumps(variables)]
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "false"}
        runs = [subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False) for number in (1, 2)]
        assert [run.returncode for run in runs] == [0, 0], runs[0].stdout + runs[0].stderr
        assert "It can not be parsed: unexpected end of input inside braces. up{" in re.sub(r"\s+", " ", runs[0].stdout)
        assert "Broken {{ 1 + 1 }}" in runs[0].stdout
        found = grafana.request("GET", "/api/dashboards/uid/osism-nodes")
        hits = grafana.request("GET", "/api/search?type=dash-db&tag=osism")
    assert re.search(r"changed=1\b", runs[0].stdout)
    assert re.search(r"changed=0\b", runs[1].stdout), runs[1].stdout
    assert sorted(hit["title"] for hit in hits) == ["OSISM / Bad", "OSISM / Nodes"]
    assert found["meta"]["folderTitle"] == "IaaS"
    (target,) = found["dashboard"]["panels"][0]["targets"]
    (told,) = re.findall(r"`(rate\(x\{infrastructure.*?)` \|", DOCUMENT.read_text())
    assert target["expr"] == told
    # Grafana's own {{ }} is no template of Ansible's
    assert target["legendFormat"] == "{{instance}}"
    assert [variable["name"] for variable in found["dashboard"]["templating"]["list"]] == ["datasource", "infrastructure"]


def panel(expr: str) -> dict[str, t.Any]:
    return {"id": 1, "type": "timeseries", "title": "P", "targets": [{"expr": expr, "refId": "A", "legendFormat": "{{instance}}"}]}


def test_example_of_the_filter(tmp_path, run_playbook):
    """The variables that the documentation gives the filter, by a playbook."""
    documentation = pathlib.Path(__file__).parents[2] / "plugins/filter/adopt_dashboard.yml"
    (task,) = yaml.safe_load(yaml.safe_load(documentation.read_text())["EXAMPLES"])
    (given,) = task["scs.observer.grafana_dashboards"]["dashboards"]
    files = {"openstack.json": json.dumps({"title": "T", "uid": "u", "panels": [panel("up")]})}
    done = run_playbook("ansible.builtin.debug", {"msg": given["content"]}, files=files, variables=task["vars"])
    assert done.code == 0, done.output
    assert done.result["msg"]["uid"] == "osism-u"
    assert done.result["msg"]["panels"][0]["targets"][0]["expr"] == _tricky_queries.expected("up{§}")
