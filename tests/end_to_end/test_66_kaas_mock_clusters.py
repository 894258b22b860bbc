# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The KaaS mock service as the role installs it (under supervisord, for there is no systemd here), and four real clusters at once through it."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import socket
import stat
import sys
import time
import typing as t
import urllib.request

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _lab_cluster, _lab_machine

OBSERVER = "test-observer"
COUNT = 4
# END_TO_END_SLOT gives each lab indexes of its own; 65 to 74 are test_65's
FIRST_INDEX = 75 + COUNT * int(os.environ.get("END_TO_END_SLOT") or 0)
# two processors: how long the other two wait, and how long all may take
PATIENCE = 900
ALERTS_OF_SILENCE = "KaaSClusterDown|KaaSAgentDown|KaaSClusterNeverSeen|KaaSClusterOrphan|KaaSMassOutage"
# how long silence takes to become an alert in this lab: lookback, "for", and two evaluations
QUIET_SECONDS = 60


@dataclasses.dataclass
class Installation:
    """What the playbook kaas_mock is told, and where that puts things."""

    lab: t.Any
    place: pathlib.Path
    port: int
    runs: dict[str, t.Any] = dataclasses.field(default_factory=dict)

    @property
    def prefix(self) -> str:
        return self.lab.name("test-many")

    @property
    def names(self) -> list[str]:
        return [f"{self.prefix}-{number}" for number in range(1, COUNT + 1)]

    def play(self, playbook: str, *flags: str, check: bool = True, **variables: t.Any) -> t.Any:
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
        inventory = self.place / "hosts.json"
        inventory.write_text(json.dumps({"kaas_mock": {"hosts": {"test-mock": host}}}))
        given = {
            "kaas_mock_service": "supervisor",
            "kaas_mock_prefix": f"{self.place}/opt",
            "kaas_mock_config_dir": f"{self.place}/etc",
            "kaas_mock_state_dir": f"{self.place}/state",
            "kaas_mock_port": self.port,
            "kaas_mock_max_clusters": COUNT,
            "kaas_mock_parallel": 2,
            "kaas_mock_first_index": FIRST_INDEX,
            "kaas_mock_observer_kubeconfig": self.lab.kubeconfig(OBSERVER),
            "kaas_mock_receive_url": self.lab.receive_url,
            "kaas_mock_variables": {"kaas_agent_scrape_interval": "5s"},
            "kaas_mock_clusters_prefix": self.prefix,
            "kaas_mock_clusters_timeout": PATIENCE,
            **variables,
        }
        return self.lab.playbook(playbook, "-i", str(inventory), *flags, variables=given, check=check, timeout=PATIENCE + 120)

    def database(self) -> pathlib.Path:
        return self.place / "state" / "kaas.db"

    def get(self, path: str) -> t.Any:
        token = json.loads((self.place / "state" / "tokens.json").read_text())["admin"]
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)


def registered(lab: t.Any) -> dict[str, str]:
    return lab.get(OBSERVER, "configmap", "kaas-clusters", "-n", "observer").get("data") or {}


def machines(name: str) -> list[pathlib.Path]:
    return [owner for owner in _lab_machine.living_owners().values() if owner.name == name]


def leave_nothing(installation: Installation) -> None:
    """Of a session that was killed, or failed."""
    lab = installation.lab
    for name in installation.names:
        _lab_cluster.ensure_absent(_lab_machine.DEFAULT_ROOT, name, False)
        if name in registered(lab):
            lab.kubectl(OBSERVER, "patch", "configmap", "kaas-clusters", "-n", "observer", "--type=merge", "-p", json.dumps({"data": {name: None}}))


@pytest.fixture(scope="module")
def installation(lab: t.Any, kaas: t.Any, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Installation]:
    """Installed by the role: predicted, made, made again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = tmp_path_factory.mktemp("kaas_mock_clusters")
    found = Installation(lab, place, port)
    leave_nothing(found)
    try:
        found.runs["predicted"] = found.play("kaas_mock", "--check", "--diff")
        assert sorted(path.name for path in place.iterdir()) == ["hosts.json"], "check mode made something"
        found.runs["first"] = found.play("kaas_mock", "--diff", "-vvv")
        lab.figures["kaas_mock installed, seconds"] = found.runs["first"].seconds
        yield found
    finally:
        # the service first, so that it does not go on with what is removed here
        supervisord = place / "state" / "supervisord.pid"
        if supervisord.exists():
            pid = int(supervisord.read_text())
            os.kill(pid, 15)
            lab.wait_until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), 60, "supervisord to end")
        leave_nothing(found)


# -- the role -------------------------------------------------------------------
def test_the_service_answers(installation: Installation) -> None:
    assert installation.get("/health")["status"] == "ok"
    assert installation.get("/api/clusters/") == []
    assert installation.runs["predicted"].changed >= 10


def test_no_secret_is_shown_or_readable(installation: Installation) -> None:
    run = installation.runs["first"]
    tokens = json.loads((installation.place / "state" / "tokens.json").read_text())
    assert set(tokens) == {"admin"}
    kubeconfig = pathlib.Path(installation.lab.kubeconfig(OBSERVER)).read_text()
    key = next(line.split()[-1] for line in kubeconfig.splitlines() if "client-key-data" in line)
    assert tokens["admin"] not in run.output and key[:60] not in run.output
    files = [path for folder in ("etc", "state") for path in (installation.place / folder).rglob("*") if path.is_file()]
    folders = [installation.place / "etc", installation.place / "state"]
    assert {path.name for path in files} >= {"settings.toml", "observer.kubeconfig", "variables.json", "tokens.json", "kaas.db"}
    assert [path for path in folders if stat.S_IMODE(path.stat().st_mode) & 0o077] == [], "others can look into it"


def test_second_run_changes_nothing(installation: Installation) -> None:
    pid = (installation.place / "state" / "supervisord.pid").read_text()
    again = installation.play("kaas_mock")
    assert again.changed == 0, again.changed_tasks
    installation.lab.figures["kaas_mock, second run, seconds"] = again.seconds
    assert (installation.place / "state" / "supervisord.pid").read_text() == pid, "it was started anew"


# -- four clusters --------------------------------------------------------------
def test_check_mode_makes_no_cluster(installation: Installation) -> None:
    run = installation.play("kaas_mock_clusters", "--check", kaas_mock_clusters_count=COUNT)
    assert run.changed == 1 and installation.get("/api/clusters/") == []


@pytest.fixture(scope="module")
def clusters(installation: Installation) -> dict[str, t.Any]:
    """The four are ready; the job of each."""
    lab = installation.lab
    run = installation.play("kaas_mock_clusters", kaas_mock_clusters_count=COUNT)
    assert run.changed == 1
    jobs = {job["cluster"]: job for job in installation.get("/api/jobs/")}
    lab.figures["kaas_mock_clusters, 4 clusters asked for to all ready, seconds"] = run.seconds
    lab.figures["kaas_mock_clusters, each asked for to ready, seconds"] = [jobs[name]["elapsed"] for name in installation.names]
    return jobs


def test_all_four_are_up_in_query(installation: Installation, clusters: dict[str, t.Any]) -> None:
    lab = installation.lab
    assert {cluster["name"]: cluster["state"] for cluster in installation.get("/api/clusters/")} == dict.fromkeys(installation.names, "ready")
    assert set(installation.names) <= set(registered(lab))
    question = f'cluster:kaas_state:info{{cluster=~"{installation.prefix}-.*",infrastructure=""}} == 1'
    wanted = dict.fromkeys(installation.names, "up")

    def states() -> dict[str, str]:
        return {one["metric"]["cluster"]: one["metric"]["state"] for one in lab.query(question)}

    lab.wait_until(lambda: states() == wanted, 60, f"all of {installation.names} to be up")
    nodes = lab.query(f'kube_node_info{{cluster=~"{installation.prefix}-.*"}}')
    assert {(one["metric"]["cluster"], one["metric"]["node"]) for one in nodes} == {(name, name) for name in installation.names}


def test_two_are_made_at_a_time(installation: Installation, clusters: dict[str, t.Any]) -> None:
    moments = sorted([(job["started"], 1) for job in clusters.values()] + [(job["finished"], -1) for job in clusters.values()])
    now = most = 0
    for _time, step in moments:
        now += step
        most = max(most, now)
    assert most == 2


def test_second_run_finds_them_there(installation: Installation, clusters: dict[str, t.Any]) -> None:
    again = installation.play("kaas_mock_clusters", kaas_mock_clusters_count=COUNT)
    assert again.changed == 0, again.changed_tasks
    assert len(installation.get("/api/jobs/")) == COUNT


def test_one_too_many_is_told_by_name(installation: Installation, clusters: dict[str, t.Any]) -> None:
    run = installation.play("kaas_mock_clusters", kaas_mock_clusters_count=COUNT + 1, check=False)
    assert run.code == 2 and run.changed == 0
    assert any(f"{installation.prefix}-{COUNT + 1}: There are {COUNT} clusters, and no more than {COUNT} are allowed." in said for said in run.failures)


def test_the_service_is_not_removed_from_under_its_clusters(installation: Installation, clusters: dict[str, t.Any]) -> None:
    run = installation.play("kaas_mock", kaas_mock_state="absent", check=False)
    assert run.code == 2 and any(f"The service has clusters: {', '.join(installation.names)}." in said for said in run.failures), run.failures
    assert installation.get("/health")["status"] == "ok"


def test_clusters_outlive_a_new_setting(installation: Installation, clusters: dict[str, t.Any]) -> None:
    before = {name: (_lab_machine.DEFAULT_ROOT / name / "machine.pid").read_text() for name in installation.names}
    run = installation.play("kaas_mock", kaas_mock_keep_jobs=100)
    assert run.changed > 0
    assert installation.get("/health")["status"] == "ok"
    assert {name: (_lab_machine.DEFAULT_ROOT / name / "machine.pid").read_text() for name in installation.names} == before
    assert all(len(machines(name)) == 1 for name in installation.names)


# -- the end --------------------------------------------------------------------
@pytest.fixture(scope="module")
def removed(installation: Installation, clusters: dict[str, t.Any]) -> float:
    """When the first of them was asked to go."""
    begin = time.time()
    predicted = installation.play("kaas_mock_clusters", "--check", kaas_mock_clusters_state="absent")
    assert predicted.changed == 1 and len(installation.get("/api/clusters/")) == COUNT
    run = installation.play("kaas_mock_clusters", kaas_mock_clusters_state="absent")
    assert run.changed == 1
    installation.lab.figures["kaas_mock_clusters, 4 clusters removed, seconds"] = run.seconds
    return begin


def test_nothing_is_left_of_the_clusters(installation: Installation, removed: float) -> None:
    assert installation.get("/api/clusters/") == []
    assert not set(installation.names) & set(registered(installation.lab))
    assert not installation.lab.query(f'kaas{{cluster=~"{installation.prefix}-.*"}}')
    for name in installation.names:
        assert machines(name) == [] and not (_lab_machine.DEFAULT_ROOT / name).exists()
    again = installation.play("kaas_mock_clusters", kaas_mock_clusters_state="absent")
    assert again.changed == 0, again.changed_tasks


def test_nobody_was_alerted(installation: Installation, removed: float) -> None:
    lab = installation.lab
    time.sleep(max(0.0, QUIET_SECONDS - (time.time() - removed)))
    which = f'alertname=~"{ALERTS_OF_SILENCE}",cluster=~"{installation.prefix}-.*",alertstate="firing"'
    assert lab.query(f"max_over_time(ALERTS{{{which}}}[1h])") == []
    # the question can be answered: this Ruler does write ALERTS
    assert lab.query("ALERTS"), "there is no ALERTS at all, so this test shows nothing"


def test_nothing_is_left_of_the_service(installation: Installation, removed: float) -> None:
    predicted = installation.play("kaas_mock", "--check", kaas_mock_state="absent")
    assert installation.get("/health")["status"] == "ok"
    run = installation.play("kaas_mock", kaas_mock_state="absent")
    assert predicted.changed > 0 and run.changed > 0
    assert sorted(path.name for path in installation.place.iterdir()) == ["hosts.json"]
    again = installation.play("kaas_mock", kaas_mock_state="absent")
    assert again.changed == 0, again.changed_tasks
