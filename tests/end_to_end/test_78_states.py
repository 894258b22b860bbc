# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each state of a KaaS cluster and each of its alerts, seen in Alertmanager firing and resolved, by breaking the real thing.

The stories run side by side where they do not disturb each other, and in the end nothing else may have fired than what they tell. After test_70, whose
ten minutes without a connection bear no broken agent.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import typing as t

import pytest
from _outage import Outage

OBSERVER, ALPHA, BETA, GHOST = "test-observer", "test-alpha", "test-beta", "test-ghost"
TOP = pathlib.Path(__file__).parents[2]
REGISTRY = ["configmap", "kaas-clusters", "-n", "observer"]
SINGLE = ("KaaSClusterDown", "KaaSAgentDown", "KaaSClusterNeverSeen")


@dataclasses.dataclass
class Stage:
    """The lab with what the stories need of it; every change is noted with how to undo it."""

    lab: t.Any
    url: str
    alertmanager: str
    began: float = dataclasses.field(default_factory=time.time)

    # -- what is seen -------------------------------------------------------
    def states(self) -> dict[str, str]:
        found = self.lab.query('cluster:kaas_state:info{infrastructure=""}', url=self.url)
        return {one["metric"]["cluster"]: one["metric"]["state"] for one in found}

    def registered(self) -> dict[str, float]:
        found = self.lab.query('cluster:kaas_registered:timestamp_seconds{infrastructure=""}', url=self.url)
        return {one["metric"]["cluster"]: float(one["value"][1]) for one in found}

    def alerts(self) -> dict[tuple[str, str], str]:
        """By name and cluster: active, or suppressed when another one mutes it."""
        found = self.lab.http_json(f"{self.alertmanager}/api/v2/alerts")
        return {(alert["labels"]["alertname"], alert["labels"].get("cluster", "")): alert["status"]["state"] for alert in found}

    def until(self, what: str, check: t.Callable[[], t.Any], seconds: float) -> float:
        """Seconds until it was so."""
        begin = time.monotonic()
        self.lab.wait_until(check, seconds, what)
        return time.monotonic() - begin

    def both(self) -> dict[str, float]:
        return self.lab.wait_until(lambda: set(found := self.registered()) == {ALPHA, BETA} and found, 30, "both clusters to be registered")

    def still(self, since: dict[str, float], states: dict[str, str] | None = None) -> None:
        """The same clusters are registered since the same times. Waited for, as a busy machine's Query loses one of its stores for a moment."""
        self.until(f"{since} to be registered as before", lambda: self.registered() == since, 30)
        if states:
            self.until(f"the states {states}", lambda: self.states() == states, 30)

    def state(self, cluster: str, state: str | None, seconds: float) -> None:
        self.until(f"{cluster} to be {state}", lambda: self.states().get(cluster) == state, seconds)

    def fires(self, name: str, cluster: str = "", seconds: float = 90, state: str = "active") -> None:
        took = self.until(f"{name} {cluster} to be {state}, by {time.time() - self.began:.0f} s", lambda: self.alerts().get((name, cluster)) == state, seconds)
        self.lab.figures.setdefault(f"{name} {state} in Alertmanager, seconds of waiting", round(took, 1))

    def resolved(self, name: str, cluster: str = "", seconds: float = 60) -> None:
        took = self.until(f"{name} {cluster} to be resolved, by {time.time() - self.began:.0f} s", lambda: (name, cluster) not in self.alerts(), seconds)
        self.lab.figures.setdefault(f"{name} resolved, seconds of waiting", round(took, 1))

    # -- what is done -------------------------------------------------------
    def kaas_clusters(self, **arguments: t.Any) -> None:
        """One task of the module."""
        words = [str(pathlib.Path(sys.executable).parent / "ansible"), "localhost", "-i", "localhost,", "-c", "local", "-m", "scs.observer.kaas_clusters"]
        words += ["-e", f"ansible_python_interpreter={sys.executable}", "-a", json.dumps({"kubeconfig": self.lab.kubeconfig(OBSERVER), **arguments})]
        done = subprocess.run(words, cwd=TOP, capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"ANSIBLE_NOCOLOR": "1"})
        assert done.returncode == 0, done.stdout + done.stderr

    def register(self, cluster: str, **fields: t.Any) -> None:
        self.kaas_clusters(clusters=[{"name": cluster, **fields}])

    def unregister(self, cluster: str) -> None:
        self.kaas_clusters(clusters=[{"name": cluster}], state="absent")

    def scale_agent(self, cluster: str, replicas: int) -> None:
        self.lab.kubectl(cluster, "scale", "statefulset", "prometheus-agent", "-n", "observer-agent", f"--replicas={replicas}")

    def scale(self, kind: str, name: str, replicas: int) -> None:
        self.lab.kubectl(OBSERVER, "scale", kind, name, "-n", "observer", f"--replicas={replicas}")

    def signal_api_server(self, cluster: str, number: signal.Signals) -> None:
        folder = str(self.lab.state(cluster) / "pki")
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().decode().split("\0")
                if words[0].endswith("kube-apiserver") and any(folder in word for word in words):
                    os.kill(int(process.name), number)
                    return
        raise AssertionError(f"no kube-apiserver of {cluster} was found")


@pytest.fixture(scope="module")
def stage(lab: t.Any, kaas: t.Any) -> Stage:
    # looked up once, for a story has to be told without a question to the API server too
    stage = Stage(lab, lab.service("thanos-query", 9090), lab.service("alertmanager", 9093))
    stage.until("both clusters to be up", lambda: stage.states() == {ALPHA: "up", BETA: "up"}, 120)
    stage.until("no alert at the begin", lambda: not [name for name, _cluster in stage.alerts() if name.startswith("KaaS")], 60)
    assert set(json.loads(lab.get(OBSERVER, *REGISTRY)["data"][BETA])) >= {"api_url", "agent_certificate_not_after"}, "kaas_onboard notes both"
    stage.began = time.time()
    return stage


# -- the stories ----------------------------------------------------------------
def never_seen(stage: Stage) -> None:
    """An entry without a cluster: new, after its grace never seen, and nothing any more when it is taken out."""
    stage.register(GHOST)
    stage.state(GHOST, "new", 30)
    assert ("KaaSClusterNeverSeen", GHOST) not in stage.alerts()
    stage.state(GHOST, "never_seen", 90)
    stage.fires("KaaSClusterNeverSeen", GHOST, 30)
    stage.unregister(GHOST)
    stage.state(GHOST, None, 20)
    stage.resolved("KaaSClusterNeverSeen", GHOST)


def orphan(stage: Stage) -> None:
    """Unregistered while it reports; no alert before the time that an off-boarding takes; registered again."""
    entry = json.loads(stage.lab.get(OBSERVER, *REGISTRY)["data"][ALPHA])
    stage.unregister(ALPHA)
    stage.state(ALPHA, "orphan", 30)
    began = time.monotonic()
    stage.fires("KaaSClusterOrphan", ALPHA, 180)
    assert time.monotonic() - began > 100, "an off-boarding must not be an orphan"
    stage.register(ALPHA, **{name: value for name, value in entry.items() if name != "manager"})
    stage.state(ALPHA, "up", 20)
    stage.resolved("KaaSClusterOrphan", ALPHA)


def certificate(stage: Stage) -> None:
    """Ends in ten days, is renewed."""
    entry = json.loads(stage.lab.get(OBSERVER, *REGISTRY)["data"][BETA])
    near = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=10)
    stage.register(BETA, agent_certificate_not_after=near.strftime("%Y-%m-%dT%H:%M:%SZ"))
    stage.fires("KaaSAgentCertificateExpiring", BETA, 40)
    stage.register(BETA, agent_certificate_not_after=entry["agent_certificate_not_after"])
    stage.resolved("KaaSAgentCertificateExpiring", BETA)


def broken(stage: Stage) -> None:
    """The agent stops, the API server answers; maintenance; then the API server is frozen too. It stays so for the next act."""
    stage.scale_agent(BETA, 0)
    stage.state(BETA, "agent_down", 90)
    stage.fires("KaaSAgentDown", BETA, 60)
    # probes have to fail for 90 s before the API server counts as silent
    stage.signal_api_server(BETA, signal.SIGSTOP)
    stage.register(BETA, maintenance=True)
    stage.state(BETA, "maintenance", 20)
    stage.resolved("KaaSAgentDown", BETA)
    quiet_until = time.monotonic() + 20
    while time.monotonic() < quiet_until:
        assert not {("KaaSAgentDown", BETA), ("KaaSClusterDown", BETA)} & set(stage.alerts()), "in maintenance, and an alert"
        time.sleep(2)
    stage.register(BETA, maintenance=False)
    stage.fires("KaaSAgentDown", BETA, 60)
    stage.state(BETA, "down", 120)
    stage.fires("KaaSClusterDown", BETA, 60)
    assert stage.alerts().get(("KaaSAgentDown", BETA)) in ("suppressed", None), "one alert a cluster"


class Keeps(threading.Thread):
    """Looks all the time whether an alert fires."""

    def __init__(self, stage: Stage, name: str, cluster: str) -> None:
        super().__init__(daemon=True)
        self.stage, self.key = stage, (name, cluster)
        self.missed, self.seen = 0, 0
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(1):
            with contextlib.suppress(OSError):
                there = self.key in self.stage.alerts()
                self.seen += there
                self.missed += not there

    def all_the_time(self) -> bool:
        self._over.set()
        self.join(10)
        return self.seen > 5 and not self.missed


def importer(stage: Stage) -> None:
    """No importer: an alert for it, and the one of the silent cluster goes on."""
    since = stage.both()
    keeps = Keeps(stage, "KaaSClusterDown", BETA)
    keeps.start()
    stage.scale("deployment", "kaas-metric-importer", 0)
    stage.fires("KaaSImporterDown", seconds=90)
    assert not stage.lab.query('kaas{observer!=""}', url=stage.url)
    stage.still(since, {ALPHA: "up", BETA: "down"})
    stage.scale("deployment", "kaas-metric-importer", 1)
    stage.resolved("KaaSImporterDown", seconds=90)
    stage.still(since)
    assert keeps.all_the_time(), f"KaaSClusterDown was away {keeps.missed} times of {keeps.seen}"


def registry(stage: Stage) -> None:
    """The registry is deleted, the importer starts anew without one: an alert within two minutes, and nobody is taken for removed."""
    since = stage.both()
    saved = stage.lab.get(OBSERVER, *REGISTRY)
    keeps = Keeps(stage, "KaaSClusterDown", BETA)
    keeps.start()
    began = time.monotonic()
    stage.lab.kubectl(OBSERVER, "delete", *REGISTRY)
    try:
        stage.lab.kubectl(OBSERVER, "delete", "pod", "-n", "observer", "-l", "app.kubernetes.io/name=kaas-metric-importer", "--wait=true")
        stage.fires("KaaSRegistryMissing", seconds=120 - (time.monotonic() - began))
        stage.until("an importer that knows no cluster", lambda: stage.lab.value('max(kaas_registry_entries{observer!=""})', url=stage.url) == 0, 60)
        stage.still(since)
        assert set(stage.states()) == {ALPHA, BETA}
        assert "orphan" not in stage.states().values()
    finally:
        metadata = {key: saved["metadata"][key] for key in ("name", "namespace", "labels") if key in saved["metadata"]}
        restored = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": saved["data"]}
        stage.lab.kubectl(OBSERVER, "create", "-f", "-", stdin=json.dumps(restored))
    stage.resolved("KaaSRegistryMissing")
    stage.still(since)
    assert keeps.all_the_time(), f"KaaSClusterDown was away {keeps.missed} times of {keeps.seen}"


def stale(stage: Stage) -> None:
    """The importer may read the registry no more."""
    words = ["rolebinding", "kaas-metric-importer", "-n", "observer"]
    saved = stage.lab.get(OBSERVER, *words)
    saved["metadata"] = {key: saved["metadata"][key] for key in ("name", "namespace", "labels")}
    stage.lab.kubectl(OBSERVER, "delete", *words)
    try:
        since = stage.both()
        stage.fires("KaaSRegistryStale", seconds=150)
        stage.still(since)
    finally:
        # as the role does, or it would not be the role's any more
        stage.lab.kubectl(OBSERVER, "apply", "--server-side", "--field-manager=scs.observer", "-f", "-", stdin=json.dumps(saved))
    stage.resolved("KaaSRegistryStale")


def mass(stage: Stage, alpha: Outage) -> None:
    """Both silent, one by a broken way to Receive, which no receive notices: one alert, and it mutes. Then all receives are gone: still one alert."""
    since = stage.both()
    stage.fires("KaaSMassOutage", seconds=90)
    stage.fires("KaaSClusterDown", BETA, 20, "suppressed")
    stage.fires("KaaSAgentDown", ALPHA, 40, "suppressed")
    stage.scale("statefulset", "thanos-receive", 0)
    stage.until("no single alert", lambda: not [key for key in stage.alerts() if key[0] in SINGLE], 90)
    alpha.end()
    for _times in range(5):
        found = stage.alerts()
        assert found.get(("KaaSMassOutage", "")) == "active"
        assert not [key for key, state in found.items() if key[0] in SINGLE and state == "active"]
        time.sleep(2)
    stage.still(since)


def healed(stage: Stage) -> None:
    stage.scale("statefulset", "thanos-receive", 3)
    stage.signal_api_server(BETA, signal.SIGCONT)
    stage.until("the API server", lambda: stage.lab.kubectl_run(BETA, "get", "--raw", "/livez", check=False).returncode == 0, 60)
    stage.scale_agent(BETA, 1)
    stage.until("both clusters to be up", lambda: stage.states() == {ALPHA: "up", BETA: "up"}, 150)
    stage.resolved("KaaSMassOutage")


@pytest.fixture(scope="module")
def told(stage: Stage) -> t.Iterator[dict[str, BaseException | None]]:
    """The stories, and how each ended."""
    lab = stage.lab
    ended: dict[str, BaseException | None] = {}
    alpha = Outage(lab, ALPHA)
    saved = lab.get(OBSERVER, *REGISTRY)["data"]

    def tell(*stories: t.Callable[[Stage], None]) -> None:
        with concurrent.futures.ThreadPoolExecutor(len(stories)) as pool:
            for story, future in {story: pool.submit(story, stage) for story in stories}.items():
                ended[story.__name__] = future.exception()

    def second_act(_stage: Stage) -> None:
        importer(stage)
        # Query shows it for another 30 s
        alpha.begin()
        registry(stage)

    def third_act(_stage: Stage) -> None:
        mass(stage, alpha)

    try:
        for stories in ((never_seen, orphan, certificate, broken), (second_act,), (stale, third_act), (healed,)):
            if not any(ended.values()):
                tell(*stories)
        lab.figures["states and alerts told, seconds"] = round(time.time() - stage.began, 1)
        yield ended
    finally:
        # whatever happened, both report and are registered again
        alpha.end()
        with contextlib.suppress(AssertionError):
            stage.signal_api_server(BETA, signal.SIGCONT)
        stage.scale("deployment", "kaas-metric-importer", 1)
        stage.scale("statefulset", "thanos-receive", 3)
        entries = [{"name": cluster, "maintenance": False} | json.loads(saved[cluster]) for cluster in (ALPHA, BETA)]
        stage.kaas_clusters(clusters=[*({key: value for key, value in one.items() if key != "manager"} for one in entries), {"name": GHOST, "state": "absent"}])
        stage.scale_agent(BETA, 1)


def succeeded(told: dict[str, BaseException | None], name: str) -> None:
    assert name in told, f"not told, for these went wrong: {[other for other, error in told.items() if error]}"
    if error := told[name]:
        raise error


def test_never_seen(told: t.Any) -> None:
    succeeded(told, "never_seen")


def test_orphan(told: t.Any) -> None:
    succeeded(told, "orphan")


def test_certificate(told: t.Any) -> None:
    succeeded(told, "certificate")


def test_agent_down_maintenance_and_cluster_down(told: t.Any) -> None:
    succeeded(told, "broken")


def test_importer_away_and_registry_deleted(told: t.Any) -> None:
    succeeded(told, "second_act")


def test_registry_stale(told: t.Any) -> None:
    succeeded(told, "stale")


def test_mass_outage(told: t.Any) -> None:
    succeeded(told, "third_act")


def test_all_is_well_again(told: t.Any) -> None:
    succeeded(told, "healed")


def test_nothing_else_fired(stage: Stage, told: t.Any) -> None:
    window = f"{int(time.time() - stage.began)}s"
    fired = stage.lab.query(f'count by (alertname, cluster) (count_over_time(ALERTS{{alertname=~"KaaS.+",alertstate="firing"}}[{window}]))', url=stage.url)
    assert {(one["metric"]["alertname"], one["metric"].get("cluster", "")) for one in fired} == {
        ("KaaSClusterNeverSeen", GHOST),
        ("KaaSClusterOrphan", ALPHA),
        ("KaaSAgentCertificateExpiring", BETA),
        ("KaaSAgentDown", BETA),
        ("KaaSClusterDown", BETA),
        ("KaaSImporterDown", ""),
        ("KaaSRegistryMissing", ""),
        ("KaaSRegistryStale", ""),
        ("KaaSMassOutage", ""),
        ("KaaSAgentDown", ALPHA),
    }
    # every moment had one state for each of the two that were there all the time
    both = f'cluster:kaas_state:info{{infrastructure="",cluster=~"{ALPHA}|{BETA}"}}'
    states = stage.lab.query(f"max_over_time(count by (cluster) ({both})[{window}:5s])", url=stage.url)
    assert {one["metric"]["cluster"]: one["value"][1] for one in states} == {ALPHA: "1", BETA: "1"}
