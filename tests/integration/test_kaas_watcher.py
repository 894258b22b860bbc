# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watching loop as a process, against a real API server with Cluster API's own CRD; real ansible-runner, real inventory plugin.

The playbook is a double of kaas_onboard: it registers without putting in an agent, and fails or hangs for clusters that are named so.
tests/end_to_end/test_67_cluster_api.py runs the real one.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import typing as t
import urllib.error
import urllib.request

import _cluster_api
import psutil
import pytest
import yaml
from ansible_collections.scs.observer.plugins.module_utils._kaas_inventory import cluster_id

TOP = pathlib.Path(__file__).parents[2]
PROGRAM = TOP / "roles" / "kaas_watcher" / "files" / "kaas_watcher.py"
CLUSTERS = "/apis/cluster.x-k8s.io/v1beta2/namespaces/{}/clusters"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
MERGE = "application/merge-patch+json"

DOUBLE = """
- name: Double of kaas_onboard
  hosts: kaas
  gather_facts: false
  tasks:
    - name: Hang
      ansible.builtin.pause: {seconds: 600}
      when: kaas_cluster_api.name is match('hang')
    - name: Put the agent in
      ansible.builtin.fail: {msg: the cluster is broken}
      when: kaas_cluster_api.name is match('bad') and not lookup('ansible.builtin.env', 'DOUBLE_REPAIRED') is exists
    - name: Register
      scs.observer.kaas_clusters:
        kubeconfig: "{{ kaas_agent_management_kubeconfig }}"
        namespace: "{{ lookup('ansible.builtin.env', 'DOUBLE_REGISTRY') }}"
        clusters: ["{{ kaas_cluster }}"]
        manager: "{{ kaas_onboard_manager }}"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(true: t.Callable[[], t.Any], seconds: float = 120, what: str = "it") -> float:
    begin = time.monotonic()
    while not true():
        assert time.monotonic() - begin < seconds, f"waited {seconds} s for {what}"
        time.sleep(0.1)
    return time.monotonic() - begin


@pytest.fixture(name="crd")
def fixture_crd(cluster: t.Any) -> t.Iterator[None]:
    def make() -> bool:
        return cluster.request("POST", CRD, _cluster_api.crd("v1beta2"))[0] in (201, 409) and cluster.request("GET", CLUSTERS.format("default"))[0] == 200

    wait_for(make, what="the CRD")
    yield
    status, answer = cluster.request("GET", "/apis/cluster.x-k8s.io/v1beta2/clusters")
    for item in answer["items"] if status == 200 else []:
        release(cluster, item["metadata"]["namespace"], item["metadata"]["name"])
    cluster.request("DELETE", f"{CRD}/clusters.cluster.x-k8s.io")
    wait_for(lambda: cluster.request("GET", "/apis/cluster.x-k8s.io")[0] == 404, what="the CRD's end")


def release(cluster: t.Any, namespace: str, name: str) -> None:
    cluster.request("PATCH", f"{CLUSTERS.format(namespace)}/{name}", {"metadata": {"finalizers": None}}, MERGE)


class World:
    def __init__(self, cluster: t.Any, folder: pathlib.Path) -> None:
        self.cluster = cluster
        self.namespace = cluster.namespace()
        self.folder = folder
        self.port = free_port()
        self.repaired = folder / "repaired"
        self.process: subprocess.Popen[bytes] | None = None
        assert cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})[0] == 201
        (folder / "inventory").mkdir()
        source = {"plugin": "scs.observer.kaas", "source": "cluster_api", "kubeconfig": cluster.kubeconfig, "namespaces": [self.namespace]}
        (folder / "inventory" / "test.kaas.yml").write_text(yaml.safe_dump(source))
        (folder / "double.yml").write_text(DOUBLE)
        self.settings = {
            "inventory": str(folder / "inventory"),
            "folder": str(folder / "state"),
            "playbook": str(folder / "double.yml"),
            "management_kubeconfig": cluster.kubeconfig,
            "observer_kubeconfig": cluster.kubeconfig,
            "observer_namespace": self.namespace,
            "namespaces": [self.namespace],
            "retry_first": 1,
            "port": self.port,
        }

    # the cluster's side
    def make(self, *names: str, ready: bool = True) -> None:
        for name in names:
            body = _cluster_api.cluster(self.namespace, name, finalizers=["cluster.cluster.x-k8s.io/test"])
            status, answer = self.cluster.request("POST", CLUSTERS.format(self.namespace), body)
            assert status == 201, answer["message"]
            if ready:
                self.become_ready(name)

    def become_ready(self, name: str) -> None:
        path = f"{CLUSTERS.format(self.namespace)}/{name}/status"
        assert self.cluster.request("PATCH", path, {"status": _cluster_api.ready()}, MERGE)[0] == 200

    def delete(self, *names: str, wholly: bool = False) -> None:
        for name in names:
            assert self.cluster.request("DELETE", f"{CLUSTERS.format(self.namespace)}/{name}")[0] == 200
            if wholly:
                release(self.cluster, self.namespace, name)

    # the Observer's side
    def registry(self) -> dict[str, str]:
        return self.cluster.request("GET", f"/api/v1/namespaces/{self.namespace}/configmaps/kaas-clusters")[1].get("data") or {}

    def registered(self) -> set[str]:
        """By the names of their Cluster objects, as far as these are known here."""
        ids = {cluster_id(self.namespace, name): name for name in ("one", "two", "three", "four", "five", "late", "bad", "hang")}
        return {ids.get(name, name) for name in self.registry()}

    def write(self, **entries: str) -> None:
        body = {"metadata": {"name": "kaas-clusters"}, "data": {name.replace("_", "-"): value for name, value in entries.items()}}
        assert self.cluster.request("POST", f"/api/v1/namespaces/{self.namespace}/configmaps", body)[0] == 201

    def register(self, *names: str) -> None:
        self.write(**{cluster_id(self.namespace, name): json.dumps({"role": "kaas", "manager": "cluster_api"}) for name in names})

    # the program
    def start(self, **settings: t.Any) -> None:
        (self.folder / "settings.yml").write_text(yaml.safe_dump(self.settings | settings))
        paths = f"{TOP / '.cache' / 'tree'}{os.pathsep}{sysconfig.get_path('purelib')}"
        environment = {"PYTHONPATH": paths, "ANSIBLE_COLLECTIONS_PATH": paths, "DOUBLE_REGISTRY": self.namespace, "DOUBLE_REPAIRED": str(self.repaired)}
        environment = os.environ | environment | {"HOME": str(self.folder), "ANSIBLE_CONFIG": str(TOP / "ansible.cfg")}
        command = [sys.executable, str(PROGRAM), str(self.folder / "settings.yml")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=self.folder, start_new_session=True)

    def kill(self) -> None:
        """As kill -9 of everything it has started."""
        assert self.process
        if self.process.poll() is None:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            self.process.kill()
            self.process.wait(20)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def get(self, page: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{page}", timeout=10) as answer:
            return answer.read().decode()

    def metric(self, name: str) -> float:
        try:
            lines = self.get("/metrics").splitlines()
        except urllib.error.URLError:
            return -1
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} ")), -1)


@pytest.fixture(name="world")
def fixture_world(cluster: t.Any, crd: None, tmp_path: pathlib.Path) -> t.Iterator[World]:
    found = World(cluster, tmp_path)
    yield found
    if found.process:
        found.kill()
    print(found.log() if (tmp_path / "log").exists() else "")
    cluster.request("DELETE", f"/api/v1/namespaces/{found.namespace}")


def test_ready_is_registered_and_deleted_is_unregistered(world: World) -> None:
    world.write(bare="", of_another='{"role":"kaas","manager":"ansible"}')
    world.make("one", "two")
    world.make("late", ready=False)
    world.start()
    wait_for(lambda: world.registered() == {"one", "two", "bare", "of-another"}, what="the registrations")
    assert json.loads(world.registry()[cluster_id(world.namespace, "one")])["manager"] == "cluster_api"
    world.become_ready("late")
    wait_for(lambda: "late" in world.registered(), what="the late one's registration")

    world.delete("two")
    seconds = wait_for(lambda: "two" not in world.registered(), 20, "the unregistration")
    assert seconds < 5, "a deletionTimestamp is an unregistration at once"
    time.sleep(3)
    assert world.registered() == {"one", "late", "bare", "of-another"}, "what lingers is not onboarded again"
    assert world.get("/-/healthy") == "healthy\n"
    wait_for(lambda: world.metric('kaas_watcher_clusters{state="deleting"}') == 1, what="the metric")
    wait_for(lambda: world.metric("kaas_watcher_onboarding_seconds_count") == 3, what="the third measurement")
    assert world.metric("kaas_watcher_unregistered_total") == 1
    assert abs(world.metric("kaas_watcher_last_sync_timestamp_seconds") - time.time()) < 30
    release(world.cluster, world.namespace, "two")
    world.make("two")
    wait_for(lambda: "two" in world.registered(), what="the new cluster of an old name")

    assert world.process
    world.process.send_signal(signal.SIGTERM)
    assert world.process.wait(20) == 0
    assert "Traceback" not in world.log()


def test_broken_clusters_hold_up_no_other(world: World) -> None:
    world.make("bad", "hang")
    world.start(parallel=3)
    wait_for(lambda: "step onboard: failed (try 2" in world.log(), what="two failures")
    said = f"cluster {cluster_id(world.namespace, 'bad')}, step onboard: failed (try 1, again in 1 s): Put the agent in: the cluster is broken"
    assert said in world.log()
    world.make("one")
    wait_for(lambda: "one" in world.registered(), what="a good cluster beside a failing and a hanging one")
    assert world.metric(f'kaas_watcher_onboarding_failed{{cluster="{cluster_id(world.namespace, "bad")}"}}') >= 2
    world.repaired.touch()
    wait_for(lambda: world.registered() == {"one", "bad"}, what="the repaired one")

    # also while it hangs
    assert world.process
    world.process.send_signal(signal.SIGTERM)
    assert world.process.wait(30) == 0
    assert not [process for process in psutil.process_iter(["cmdline"]) if str(world.folder) in " ".join(process.info["cmdline"] or [])]


def test_killed_at_any_step(world: World) -> None:
    """Before, while and after it onboards; and what happened meanwhile is made up for."""
    world.make("one", "two", "three")
    for seconds in (0.5, 2, 4):
        world.start()
        time.sleep(seconds)
        world.kill()
    world.start(batch=3)
    wait_for(lambda: world.registered() == {"one", "two", "three"}, what="the registrations")
    world.kill()
    world.delete("one")
    world.delete("two", wholly=True)
    world.make("late")
    world.start()
    wait_for(lambda: world.registered() == {"three", "late"}, what="what it has missed")
    wait_for(lambda: not list((world.folder / "state").glob("run-*")), what="no leftovers of killed runs")


def test_second_one_is_refused(world: World) -> None:
    world.start()
    wait_for(lambda: world.metric("kaas_watcher_last_sync_timestamp_seconds") > 0, what="the first sync")
    first, world.process = world.process, None
    world.start(port=free_port())
    second = world.process
    world.process = first
    assert second and second.wait(20) == 1
    assert "Another kaas_watcher runs" in world.log()


def test_no_cluster_api_keeps_everything(world: World) -> None:
    world.register("one", "two")
    world.cluster.request("DELETE", f"{CRD}/clusters.cluster.x-k8s.io")
    wait_for(lambda: world.cluster.request("GET", "/apis/cluster.x-k8s.io")[0] == 404, what="the CRD's end")
    world.start()
    wait_for(lambda: world.log().count("it is no management cluster of Cluster API") >= 3, what="three refusals")
    assert world.registered() == {"one", "two"}
    assert world.metric("kaas_watcher_last_sync_timestamp_seconds") == 0


def test_crd_that_vanishes_keeps_everything(world: World) -> None:
    world.make("one", "two")
    world.start()
    wait_for(lambda: world.registered() == {"one", "two"}, what="the registrations")
    for name in ("one", "two"):
        release(world.cluster, world.namespace, name)
    world.cluster.request("DELETE", f"{CRD}/clusters.cluster.x-k8s.io")
    wait_for(lambda: "it is no management cluster of Cluster API" in world.log(), what="the refusal")
    time.sleep(8)
    assert world.registered() == {"one", "two"}


def test_missing_is_believed_when_it_is_missing_twice(world: World) -> None:
    world.register("one", "two")
    world.start()
    wait_for(lambda: world.metric('kaas_watcher_clusters{state="registered"}') == 2, what="the first answer")
    assert world.registered() == {"one", "two"}, "an empty answer alone unregisters nothing"
    wait_for(lambda: world.registered() == set(), what="the second answer")


def test_too_many_missing_are_kept(world: World) -> None:
    world.register("one", "two", "three", "four", "five")
    world.start()
    wait_for(lambda: "more than prune_limit 50% allows" in world.log(), what="the refusal")
    assert len(world.registered()) == 5
    wait_for(lambda: world.metric('kaas_watcher_clusters{state="kept"}') == 5, what="the metric")
    world.make("one", "two")
    wait_for(lambda: world.registered() == {"one", "two"}, what="three of five, of which two are back")


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"inventori": "x"}, "there is no setting inventori"), ({"observer_kubeconfig": "/not/there"}, "Kubernetes connection cannot be set up from")],
)
def test_wrong_settings(world: World, settings: dict[str, str], message: str) -> None:
    world.start(**settings)
    wait_for(lambda: message in world.log(), what="the message")
    assert "Traceback" not in world.log()
