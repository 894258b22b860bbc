# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong around the registry and onboarding: nothing is lost, no alert is wrong, and the next run repairs.

Each fault is the real thing: a pod that is deleted, an API server that is frozen, a playbook that is killed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import typing as t

import psutil
import pytest

OBSERVER, ALPHA, BETA = "test-observer", "test-alpha", "test-beta"
HERE = pathlib.Path(__file__).parent
TOP = HERE.parents[1]
# seconds
LOOKBACK = 30
SCRAPE_INTERVAL = 5
FROZEN = 60
REGISTERED = "cluster:kaas_registered:timestamp_seconds"


@pytest.fixture(scope="module")
def query_url(lab: t.Any, kaas: t.Any) -> str:
    """Looked up once: the Observer's API server is frozen in between."""
    return lab.service("thanos-query", 9090)


@pytest.fixture(scope="module", autouse=True)
def both_report(lab: t.Any, query_url: str) -> None:
    lab.wait_until(lambda: set(states(lab, query_url).items()) >= {(ALPHA, "up"), (BETA, "up")}, 120, "both clusters to be up")


def states(lab: t.Any, url: str) -> dict[str, str]:
    """Each cluster's state, by the rule that alerts and dashboards use."""
    return {one["metric"]["cluster"]: one["metric"]["state"] for one in lab.query('cluster:kaas_state:info{infrastructure=""}', url=url)}


def expected(lab: t.Any, url: str) -> set[str]:
    return {one["metric"]["cluster"] for one in lab.query('max by (cluster) (kaas{observer!=""})', url=url)}


def registry(lab: t.Any) -> dict[str, str]:
    return lab.get(OBSERVER, "configmap", "kaas-clusters", "-n", "observer").get("data") or {}


@contextlib.contextmanager
def alerts(lab: t.Any, url: str, *, required: t.Collection[str] = (), tolerated: t.Collection[str] = ()) -> t.Iterator[None]:
    """No other alert about KaaS clusters fires meanwhile, nor in the time that a late one would need."""
    began = time.time()
    yield
    time.sleep(LOOKBACK)
    window = f"{int(time.time() - began)}s"
    fired = {
        (one["metric"]["alertname"], one["metric"].get("cluster", ""))
        for one in lab.query(f'count_over_time(ALERTS{{alertname=~"KaaS.+",alertstate="firing"}}[{window}])', url=url)
    }
    wrong = {alert for alert in fired if alert[0] not in {*required, *tolerated}}
    assert not wrong, f"wrong alerts: {wrong}"
    assert {name for name, _cluster in fired} >= set(required)
    assert lab.query('ALERTS{alertname="Watchdog",alertstate="firing"}', url=url), "the rules were evaluated"


def gaps(lab: t.Any, url: str, series: str, began: float) -> float:
    """The longest time, in seconds, between two samples of the series since then, as scraped."""
    found = lab.query(f"{series}[{int(time.time() - began)}s]", url=url)
    assert found, f"no {series}"
    times = sorted({when for one in found for when, _value in one["values"]})
    return max(after - before for before, after in itertools.pairwise(times))


def registered_since(lab: t.Any, url: str) -> dict[str, float]:
    found = lab.query(f'{REGISTERED}{{infrastructure="",cluster=~"{ALPHA}|{BETA}"}}', url=url)
    return {one["metric"]["cluster"]: float(one["value"][1]) for one in found}


def start_playbook(lab: t.Any, name: str, *flags: str) -> subprocess.Popen[str]:
    """In a group of its own, so that it can be killed with all its children at any moment."""
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(HERE / "inventory"), f"playbooks/{name}.yml", *flags]
    log = (lab.folder / f"background-{name}-{time.monotonic_ns()}.txt").open("w")
    return subprocess.Popen(command, cwd=TOP, stdout=log, stderr=log, text=True, start_new_session=True, env=os.environ | {"ANSIBLE_NOCOLOR": "1"})


def kill_group(process: subprocess.Popen[str]) -> None:
    """As kill -9 of everything it has started; its workers are in sessions of their own."""
    family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(20)


def module(lab: t.Any, name: str, arguments: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """One task of a module, from the command line."""
    words = [str(pathlib.Path(sys.executable).parent / "ansible"), "localhost", "-i", "localhost,", "-c", "local", "-m", f"scs.observer.{name}"]
    words += ["-e", f"ansible_python_interpreter={sys.executable}", "-a", json.dumps({"kubeconfig": lab.kubeconfig(OBSERVER), **arguments})]
    done = subprocess.run(
        words,
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1", "ANSIBLE_STDOUT_CALLBACK": "json"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)["plays"][0]["tasks"][0]["hosts"]["localhost"]


def test_importer_is_restarted(lab: t.Any, query_url: str) -> None:
    began = time.time()
    before = registered_since(lab, query_url)
    assert set(before) == {ALPHA, BETA}
    with alerts(lab, query_url):
        lab.kubectl(OBSERVER, "delete", "pod", "-n", "observer", "-l", "app.kubernetes.io/name=kaas-metric-importer", "--wait=true")
        lab.kubectl(OBSERVER, "rollout", "status", "deployment", "kaas-metric-importer", "-n", "observer", "--timeout=90s")
        lab.wait_until(lambda: expected(lab, query_url) == {ALPHA, BETA}, 60, "the new importer's metrics")
    assert registered_since(lab, query_url) == before, "a new importer must not make the clusters new"
    assert gaps(lab, query_url, f'{REGISTERED}{{cluster="{ALPHA}"}}', began) < LOOKBACK


def test_receive_is_restarted(lab: t.Any, query_url: str) -> None:
    began = time.time()
    selector = f'up{{cluster="{ALPHA}",job="apiserver"}}'
    with alerts(lab, query_url):
        lab.kubectl(OBSERVER, "delete", "pod", "thanos-receive-0", "-n", "observer", "--wait=true", timeout=360)
        lab.kubectl(OBSERVER, "wait", "pod", "thanos-receive-0", "-n", "observer", "--for=condition=Ready", "--timeout=180s", timeout=200)
    lab.wait_until(lambda: states(lab, query_url) == {ALPHA: "up", BETA: "up"}, 60, "both clusters to be up")
    assert gaps(lab, query_url, selector, began) < 2 * SCRAPE_INTERVAL, "a sample is missing"


def test_two_registrations_at_one_moment(lab: t.Any, query_url: str) -> None:
    """Two runs of the module, and the upstream mock service's bare key in between: none overwrites another."""
    names = ["fault-one", "fault-two", "fault-three"]
    before = registry(lab)
    results: dict[str, t.Any] = {}

    def register(name: str) -> None:
        results[name] = module(lab, "kaas_clusters", {"clusters": [{"name": name, "labels": {"customer": name}}]})

    threads = [threading.Thread(target=register, args=[name]) for name in names[:2]]
    try:
        for thread in threads:
            thread.start()
        lab.kubectl(OBSERVER, "patch", "configmap", "kaas-clusters", "-n", "observer", "-p", json.dumps({"data": {names[2]: ""}}))
        for thread in threads:
            thread.join(120)
        assert {name: results[name]["registered"] for name in names[:2]} == {name: [name] for name in names[:2]}
        after = registry(lab)
        assert set(after) == {*before, *names}
        assert {name: after[name] for name in before} == before
        assert after[names[2]] == ""
    finally:
        gone = module(lab, "kaas_clusters", {"clusters": [{"name": name} for name in names], "state": "absent", "wait": True, "wait_timeout": 60})
    assert set(gone["unregistered"]) == set(names)
    assert registry(lab) == before
    assert expected(lab, query_url) == {ALPHA, BETA}


def test_registry_is_deleted_and_restored(lab: t.Any, query_url: str, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "registry.yml"
    backup = lab.playbook("kaas_registry_backup", variables={"kaas_registry_backup_file": str(file)})
    assert backup.changed == 1
    before, since = registry(lab), registered_since(lab, query_url)
    with alerts(lab, query_url, required={"KaaSRegistryMissing"}):
        lab.kubectl(OBSERVER, "delete", "configmap", "kaas-clusters", "-n", "observer")
        deleted = time.monotonic()
        lab.wait_until(lambda: lab.alerts("KaaSRegistryMissing"), 120, "KaaSRegistryMissing in Alertmanager")
        lab.figures["registry deleted -> KaaSRegistryMissing, seconds"] = round(time.monotonic() - deleted, 1)
        # a new importer knows nothing any more, and still no cluster is taken for removed
        lab.kubectl(OBSERVER, "delete", "pod", "-n", "observer", "-l", "app.kubernetes.io/name=kaas-metric-importer", "--wait=true")
        time.sleep(LOOKBACK)
        assert states(lab, query_url) == {ALPHA: "up", BETA: "up"}
        restored = lab.playbook("kaas_registry_restore", variables={"kaas_registry_backup_file": str(file)})
        assert restored.changed == 1
        assert registry(lab) == before
        lab.wait_until(lambda: not lab.alerts("KaaSRegistryMissing"), 90, "KaaSRegistryMissing to be resolved")
        lab.wait_until(lambda: expected(lab, query_url) == {ALPHA, BETA}, 60, "both clusters to be expected again")
    assert registered_since(lab, query_url) == since
    again = lab.playbook("kaas_registry_restore", variables={"kaas_registry_backup_file": str(file)})
    assert again.changed == 0, again.changed_tasks


def test_run_is_killed_between_agent_and_registration(lab: t.Any, query_url: str) -> None:
    lab.playbook("kaas_offboard", "--limit", BETA)
    assert BETA not in registry(lab)
    with alerts(lab, query_url):
        run = start_playbook(lab, "kaas_onboard", "--limit", BETA)
        try:
            lab.wait_until(lambda: lab.exists(BETA, "statefulset", "prometheus-agent", "-n", "observer-agent"), 90, "the agent to be put in", delay=0.2)
        finally:
            kill_group(run)
        assert BETA not in registry(lab), "killed too late, this shows nothing"
        lab.wait_until(lambda: states(lab, query_url).get(BETA) == "orphan", 120, f"{BETA} to report without being registered")
        again = lab.playbook("kaas_onboard", "--limit", BETA)
        assert BETA in registry(lab)
        assert not again.objects("deleted"), "what the killed run made is kept"
        lab.wait_until(lambda: states(lab, query_url).get(BETA) == "up", 60, f"{BETA} to be up")
        assert lab.playbook("kaas_onboard", "--limit", BETA).changed == 0


def test_observers_api_server_is_away_while_a_cluster_is_created(lab: t.Any, query_url: str) -> None:
    """Frozen for a minute, as the run goes on. Rules, samples and alerts need no API server."""
    lab.playbook("kaas_offboard", "--limit", BETA)
    state = str(lab.state(OBSERVER))
    (api,) = (
        process
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"] == "kube-apiserver" and state + "/" in " ".join(process.info["cmdline"])
    )
    began = time.time()
    # that the registry can't be read is true, and said after a minute
    with alerts(lab, query_url, tolerated={"KaaSRegistryStale"}):
        run = start_playbook(lab, "kaas_onboard", "--limit", BETA)
        try:
            lab.wait_until(lambda: lab.exists(BETA, "namespace", "observer-agent"), 90, "the agent to be put in", delay=0.2)
            api.suspend()
            time.sleep(FROZEN)
            assert states(lab, query_url).get(ALPHA) == "up"
            assert ALPHA in expected(lab, query_url)
        finally:
            api.resume()
        code = run.wait(300)
        # the run may have been patient enough, or have ended with a message: the next one repairs
        lab.figures["kaas_onboard while the Observer's API server was frozen for 60 s, exit code"] = code
        again = lab.playbook("kaas_onboard", "--limit", BETA)
        assert code or again.changed == 0, again.changed_tasks
        lab.wait_until(lambda: states(lab, query_url) == {ALPHA: "up", BETA: "up"}, 90, "both clusters to be up")
    assert gaps(lab, query_url, f'up{{cluster="{ALPHA}",job="apiserver"}}', began) < 2 * SCRAPE_INTERVAL, "a sample is missing"
