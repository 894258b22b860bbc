# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The content on the running Observer: brought by its playbook, and every panel of every dashboard asked for its data, as module dashboard_queries_info does.

test-alpha gets an agent with the profile full and a sample of what customers run, the Observer something to probe. Ingress controllers and cert-manager are a
double (files/applications_double.py). Panels that the lab has no data for are listed, with the reason, in files/panels_without_data.yaml. Leaves all as it was,
but for the content, which test_77 needs.
"""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.scs.observer.plugins.module_utils import _dashboard_queries, _grafana_dashboards, _promql_backends
from ansible_collections.scs.observer.plugins.module_utils._dashboard_queries import Allowed
from ansible_collections.scs.observer.plugins.module_utils._url_access import Access

OBSERVER, ALPHA, BETA = "test-observer", "test-alpha", "test-beta"
TOP = pathlib.Path(__file__).parents[2]
FILES = pathlib.Path(__file__).parent / "files"
DASHBOARDS = TOP / "roles/observer_content/files/dashboards"
EXCEPTIONS = yaml.safe_load((FILES / "panels_without_data.yaml").read_text())
# panels without data, of all that have queries
MOST_EXCEPTIONS = 0.1


def test_check_mode_writes_nothing(content: t.Any) -> None:
    assert content.writes == []
    assert content.predicted.changed == content.first.changed == 1


def test_ruler_has_loaded_it(lab: t.Any, content: t.Any) -> None:
    assert "has loaded exactly these" in " ".join(content.first.output.split())
    loaded = lab.http_json(f"{lab.service('thanos-ruler', 10902)}/api/v1/rules")["data"]["groups"]
    names = {group["name"] for path in TOP.glob("roles/*/files/rules/*.yaml") for group in yaml.safe_load(path.read_text())["groups"]}
    # the thresholds of infrastructures are put to the others
    names = names - {"scs-observer-thresholds-infrastructures"} | {"scs-observer-content"}
    assert names <= {group["name"] for group in loaded}


def test_second_run_changes_nothing(content: t.Any) -> None:
    assert content.second.changed == 0, content.second.changed_tasks


def test_bad_settings_change_nothing(lab: t.Any, content: t.Any) -> None:
    before = lab.snapshot(OBSERVER, "observer")
    refused = lab.playbook("observer_content", variables={"observer_content_alerts": {"KubePodCrashLoping": {"for": "1m"}}}, check=False)
    assert refused.code != 0 and "Did you mean KubePodCrashLooping" in refused.failures[-1]
    assert lab.snapshot(OBSERVER, "observer") == before


@pytest.fixture(name="sample", scope="module")
def fixture_sample(lab: t.Any, content: t.Any) -> t.Iterator[None]:
    """Something to look at: workloads, services to probe, a cluster of the provider's own."""
    register = ["patch", "configmap", "kaas-clusters", "-n", "observer", "--type", "merge", "-p"]
    entry = lab.get(OBSERVER, "configmap", "kaas-clusters", "-n", "observer")["data"][BETA]
    infrastructure = json.dumps({**json.loads(entry or "{}"), "role": "infrastructure"})
    shown = yaml.safe_load((TOP / "inventories/lab/group_vars/observer.yml").read_text())
    probes = {name: shown[name] for name in ("observer_services", "observer_blackbox_modules")}
    here = json.dumps(probes).replace("10.200.0.11:", f"{lab.address(OBSERVER)}:")
    try:
        lab.kubectl(ALPHA, "apply", "-f", str(FILES / "sample.yaml"), "-f", str(FILES / "applications.yaml"))
        double = ["create", "configmap", "applications-double", "-n", "applications", f"--from-file={FILES / 'applications_double.py'}"]
        lab.kubectl(ALPHA, *double, check=False)
        # the agent's playbook looks for what can be scraped
        lab.kubectl(ALPHA, "rollout", "status", "deployment", "-n", "applications", "--timeout=120s", timeout=130)
        lab.kubectl(OBSERVER, *register, json.dumps({"data": {BETA: infrastructure}}))
        lab.playbook("kaas_onboard", "--limit", ALPHA, variables={"kaas_agent_profile": "full"})
        lab.playbook("observer", variables=json.loads(here))
        # two would ask Query for the same thrice a second and more, on a machine that the panels' queries need too
        lab.kubectl(OBSERVER, "scale", "statefulset", "thanos-ruler", "-n", "observer", "--replicas=1")
        yield
    finally:
        lab.kubectl(ALPHA, "delete", "-f", str(FILES / "sample.yaml"), "-f", str(FILES / "applications.yaml"), "--ignore-not-found", "--wait=false")
        lab.kubectl(OBSERVER, *register, json.dumps({"data": {BETA: entry}}))
        lab.kubectl(OBSERVER, "scale", "statefulset", "thanos-ruler", "-n", "observer", "--replicas=2")
        lab.playbook("kaas_onboard", "--limit", ALPHA)
        lab.playbook("observer")


def ask(url: str, uids: t.Collection[str] = ()) -> _dashboard_queries.Report:
    """All dashboards, or those."""
    sources = _grafana_dashboards.read_all([str(DASHBOARDS)])
    entries = [_grafana_dashboards.entry_of(source, "", by_folder=False) for source in sources]
    wanted = [one for one in _grafana_dashboards.parse(entries, "") if not uids or one.uid in uids]
    allowed = tuple(Allowed(**entry) for entry in EXCEPTIONS)
    options = _dashboard_queries.Options(span=600, scrape_interval=5, variables={"cluster": ALPHA}, allow_empty=allowed)
    with _promql_backends.UrlBackend(url, Access(), timeout=60) as backend:
        return _dashboard_queries.run(wanted, backend, options)


def lacks(one: _dashboard_queries.Dashboard) -> bool:
    return any(variable.error for variable in one.variables.values()) or any(panel.state in ("error", "empty") for panel in one.panels)


def test_panels_have_data(lab: t.Any, sample: None) -> None:
    """In every panel but those listed, and no query of any has an error."""
    url = lab.service("thanos-query", 9090)
    last: list[str] = []
    lacking: set[str] = set()
    report: t.Any = None

    def all_there() -> bool:
        """Asked again is what lacked something, then once more everything: a question to all panels keeps a small machine busy."""
        nonlocal report
        report = ask(url, lacking)
        last[:] = report.failures(["error", "empty"])
        before = set(lacking)
        lacking.clear()
        lacking.update(one.wanted.uid for one in report.dashboards if lacks(one))
        return not last and (not before or all_there())

    try:
        # rates need samples of some time, and workloads have to start
        lab.wait_until(all_there, 480, "data in all panels", 15)
    except AssertionError:
        pytest.fail("\n".join(last), pytrace=False)
    lab.figures["panels of dashboards with data, without, all"] = tuple(report.summary()[key] for key in ("data", "excepted", "panels"))
    assert report.needless == []


def test_few_panels_are_excepted() -> None:
    panels = [panel for path in DASHBOARDS.glob("*/*.json") for panel in json.loads(path.read_text())["panels"] if panel.get("targets")]
    assert all(entry["reason"] for entry in EXCEPTIONS)
    assert len(EXCEPTIONS) <= MOST_EXCEPTIONS * len(panels), f"{len(EXCEPTIONS)} of {len(panels)}"
