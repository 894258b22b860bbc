# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kaas_clusters_info with real programs all the way: registry in an API server, importer, Prometheus, Receive, two rulers with the role's rules, Query."""

from __future__ import annotations

import json
import re
import threading
import time

import pytest
from _observer import Observer, Sender, compressed, expose_query, own_address
from ansible_collections.scs.observer.plugins.module_utils import _kaas_states, _kubernetes
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._promql_backends import ServiceBackend
from ansible_collections.scs.observer.plugins.module_utils._registry import Registry

MODULE = "scs.observer.kaas_clusters_info"
MERGE_PATCH = "application/merge-patch+json"
GRACE = 8
# more than the 5 s or so in which Query still expects a store that has gone, and rules fail
LOOKBACK = 12


class Agents:
    """Write one "up" a second for each of the C(clusters)."""

    def __init__(self, url):
        self.clusters = set()
        self._url, self._stop = url, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        sender = Sender(self._url, timeout=5)
        while not self._stop.wait(1):
            body = compressed([({"__name__": "up", "job": "kubelet", "instance": "node-1"}, [(1, time.time_ns() // 1_000_000)])])
            for cluster in sorted(self.clusters):
                try:
                    sender.send(cluster, body)
                except OSError:
                    sender.close()

    def end(self):
        self._stop.set()
        self._thread.join()


class Setting:
    def __init__(self, cluster, observer, agents, namespace):
        self.cluster, self.observer, self.agents, self.namespace = cluster, observer, agents, namespace
        self.arguments = {"kubeconfig": cluster.kubeconfig, "namespace": namespace}

    def register(self, **entries):
        """None unregisters, an empty entry is a bare key."""
        data = {name.replace("_", "-"): json.dumps(entry) if entry else None if entry is None else "" for name, entry in entries.items()}
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/kaas-clusters"
        assert self.cluster.request("PATCH", path, {"data": data}, MERGE_PATCH)[0] == 200

    def observe(self):
        client = _kubernetes.connect({"kubeconfig": self.cluster.kubeconfig})
        backend = ServiceBackend(client, self.namespace, "thanos-query", "9090", parameters=_kaas_states.PARAMETERS)
        outcome = _kaas_states.observe(Registry(client, self.namespace), backend)
        assert client.requests == 2
        return outcome

    def states(self):
        return {cluster["name"]: cluster["state"] for cluster in self.observe().clusters}

    def until(self, **wanted):
        """Until so many clusters are in these states; an error while it waits is one of the test, for there is no reason for one."""
        wanted = {name.replace("_", "-"): state for name, state in wanted.items()}
        deadline = time.monotonic() + 60
        while (found := self.states()) != wanted:
            assert time.monotonic() < deadline, f"found {found}, wanted {wanted}"
            time.sleep(0.2)


@pytest.fixture(name="setting", scope="module")
def fixture_setting(cluster, tmp_path_factory):
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    namespace = cluster.namespace()
    assert cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})[0] == 201
    assert cluster.request("POST", f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "kaas-clusters"}})[0] == 201
    with Observer(tmp_path_factory.mktemp("observer"), lookback=f"{LOOKBACK}s") as observer:
        url = observer.receive()
        observer.reserve_query(address)
        observer.prometheus(importer=observer.importer(cluster, namespace, "--grace", f"{GRACE}s"), blackbox=observer.blackbox())
        for name in ("thanos-ruler-0", "thanos-ruler-1"):
            observer.ruler(name)
        observer.query()
        expose_query(cluster, namespace, observer)
        agents = Agents(url)
        yield Setting(cluster, observer, agents, namespace)
        agents.end()
    cluster.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/thanos-query?gracePeriodSeconds=0")
    cluster.request("DELETE", f"/api/v1/namespaces/{namespace}")


def test_before_the_first_evaluation_an_empty_registry_is_no_error(setting):
    assert setting.states() == {}
    deadline = time.monotonic() + 30
    while setting.observe().recorded.connected is None:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_every_state(setting, run_playbook):
    """In the order of the tests of this file: the next ones break what this one needs."""
    entry = {"role": "kaas", "labels": {"tier": "gold"}, "manager": "ansible"}
    setting.agents.clusters |= {"runs", "agent-gone", "gone", "stranger"}
    setting.register(runs=entry, agent_gone={"api_url": setting.cluster.server}, gone={}, paused={"maintenance": True}, never_came={})
    setting.until(runs="up", agent_gone="up", gone="up", paused="maintenance", never_came="never_seen", stranger="orphan")
    setting.agents.clusters -= {"agent-gone", "gone"}
    setting.until(runs="up", agent_gone="agent_down", gone="down", paused="maintenance", never_came="never_seen", stranger="orphan")
    setting.register(fresh={})
    assert setting.states()["fresh"] == "new"

    before = time.time()
    done = run_playbook(MODULE, setting.arguments, "--check")
    assert done.code == 0, done.output
    result = done.result
    assert not result["changed"]
    assert "warnings" not in result
    assert (result["intake"], result["requests"]) == (True, 2)
    counts = dict.fromkeys(_kaas_states.STATES, 1)
    # where the playbook's start took longer than the time of grace
    assert result["states"] in (counts, counts | {"new": 0, "never_seen": 2})
    clusters = {found["name"]: found for found in result["clusters"]}
    assert list(clusters) == sorted(clusters)
    runs = clusters["runs"]
    assert (runs["state"], runs["registered"], runs["role"], runs["labels"], runs["manager"]) == ("up", True, "kaas", {"tier": "gold"}, "ansible")
    assert clusters["stranger"]["registered"] is False and clusters["stranger"]["role"] is None
    assert clusters["never-came"]["last_sample"] is None
    assert clusters["gone"]["last_sample"] < runs["last_sample"] <= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time()))
    assert runs["last_sample"] >= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(before - 2 * LOOKBACK))

    chosen = run_playbook(MODULE, setting.arguments | {"states": ["down", "up"], "clusters": ["gone", "stranger"], "service": {"port": "http"}})
    assert [found["name"] for found in chosen.result["clusters"]] == ["gone"]
    assert chosen.result["states"]["orphan"] == 1


def test_the_end_of_a_cluster_is_no_state(setting):
    setting.register(gone=None, agent_gone=None, never_came=None, fresh=None)
    setting.agents.clusters -= {"stranger"}
    setting.until(runs="up", paused="maintenance")


def test_two_rulers_are_never_in_each_other_s_way(setting):
    """They evaluate at different times; merged, a cluster had two states after each of its changes."""
    seen = set()
    for registered in (True, False, True, False):
        setting.register(flips={"maintenance": True} if registered else None)
        setting.agents.clusters.add("flips")
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            seen.add(setting.states().get("flips"))
            time.sleep(0.05)
    assert {"maintenance", "orphan"} <= seen
    setting.agents.clusters.discard("flips")
    setting.until(runs="up", paused="maintenance")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"states": ["asleep"]}, "value of states must be one or more of: up, new, never_seen, agent_down, down, maintenance, orphan"),
        ({"timeout": 0}, "timeout is 0. It must be 1 or more."),
        ({"service": {"name": "missing"}}, 'The states of the clusters can not be read: service NAMESPACE/missing:9090: .*"missing" not found'),
        ({"kubeconfig": "nobody"}, "cannot get resource"),
    ],
)
def test_bad_options(setting, run_playbook, changes, message):
    if "kubeconfig" in changes:
        changes = {"kubeconfig": setting.cluster.user("nobody")}
    done = run_playbook(MODULE, setting.arguments | changes)
    assert done.result["failed"]
    assert re.search(message.replace("NAMESPACE", setting.namespace), done.result["msg"]), done.result["msg"]


def test_a_broken_intake_is_told(setting, run_playbook):
    setting.observer.running["thanos-receive-0"].kill()
    setting.until(runs="down", paused="maintenance")
    done = run_playbook(MODULE, setting.arguments)
    assert done.result["intake"] is False
    assert any("do not believe the states down and agent_down" in warning for warning in done.result["warnings"]), done.result


def test_a_deleted_registry_is_told(setting):
    path = f"/api/v1/namespaces/{setting.namespace}/configmaps/kaas-clusters"
    assert setting.cluster.request("DELETE", path)[0] == 200
    # nothing changes, so there is nothing to wait for but some evaluations
    time.sleep(3)
    outcome = setting.observe()
    assert {found["name"]: (found["state"], found["registered"]) for found in outcome.clusters} == {"runs": ("down", False), "paused": ("maintenance", False)}
    assert outcome.warnings[0].startswith(f"The registry {setting.namespace}/kaas-clusters does not exist.")
    assert setting.cluster.request("POST", path.rpartition("/")[0], {"metadata": {"name": "kaas-clusters"}, "data": {"runs": ""}})[0] == 201


def test_a_dead_ruler_is_an_error(setting, run_playbook):
    """But not one of two."""
    setting.until(runs="down")
    setting.observer.running["thanos-ruler-0"].kill()
    end = time.monotonic() + 1.5 * LOOKBACK
    while time.monotonic() < end:
        # while Query still expects the first, the other's rules fail and what it wrote last stays, of an unregistered cluster too
        assert setting.states()["runs"] == "down"
        time.sleep(0.2)
    setting.until(runs="down")
    setting.observer.running["thanos-ruler-1"].kill()
    end = time.monotonic() + 60
    while True:
        try:
            assert setting.states() == {"runs": "down"}
        except ObserverError as error:
            if "no state is recorded" in str(error) and "partial" not in str(error):
                break
        assert time.monotonic() < end
        time.sleep(0.2)
    done = run_playbook(MODULE, setting.arguments)
    assert done.result["failed"]
    assert done.result["msg"].startswith("Registered is runs, and no state is recorded in service ")
    assert "Check that thanos-ruler runs" in done.result["msg"]
