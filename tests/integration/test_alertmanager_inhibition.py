# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What mutes what, by a real Alertmanager with the configuration that the role writes."""

from __future__ import annotations

import json
import pathlib
import subprocess
import time
import typing as t
import urllib.error
import urllib.request

import jinja2
import pytest
import yaml
from _observer import LOCAL, free_port
from _programs import find_program
from ansible.plugins.filter.core import FilterModule

ROLE = pathlib.Path(__file__).parents[2] / "roles" / "observer"
WARNING, CRITICAL = {"severity": "warning"}, {"severity": "critical"}


def configuration() -> str:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(ROLE / "templates"), undefined=jinja2.StrictUndefined)
    environment.filters |= {**FilterModule().filters(), "scs.observer.image": str}
    template = environment.from_string("{% import '_macros.yml.j2' as m with context %}{{ m.alertmanager_config() }}")
    # nobody is told; the default for that is made of Ansible's own "default", which plain Jinja lacks
    settings = {**yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()), "observer_alertmanager_default_receiver": "none"}
    # groups are made at once
    return template.render(settings | {"observer_alertmanager_group_wait": "0s"})


def request(url: str, body: object = None) -> t.Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"}), timeout=10) as answer:
        text = answer.read()
    return json.loads(text) if text else None


@pytest.fixture
def alertmanager(tmp_path: pathlib.Path) -> t.Iterator[str]:
    port = free_port()
    (tmp_path / "alertmanager.yml").write_text(configuration())
    command = [
        find_program("alertmanager"),
        f"--config.file={tmp_path}/alertmanager.yml",
        f"--storage.path={tmp_path}/data",
        f"--web.listen-address={LOCAL}:{port}",
        "--cluster.listen-address=",
    ]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            url = f"http://{LOCAL}:{port}/api/v2"
            for _attempt in range(300):
                try:
                    request(f"{url}/status")
                    break
                except (urllib.error.URLError, ConnectionError):
                    assert process.poll() is None, (tmp_path / "log").read_text()
                    time.sleep(0.2)
            yield url
        finally:
            process.terminate()


def muted(url: str, *alerts: dict[str, str]) -> list[bool]:
    """Which of these alerts are muted by the first of them, when Alertmanager has heard of all."""
    # the first alone: what mutes has to be known before what it mutes, and where the machine is busy one request for both does not say so
    states: dict[frozenset[tuple[str, str]], t.Any] = {}
    wanted = [frozenset(alert.items()) for alert in alerts]
    for sent in (alerts[:1], alerts[1:]):
        request(f"{url}/alerts", [{"labels": alert} for alert in sent])
        for _attempt in range(50):
            # each alert was looked at once it was dispatched, which its group shows
            groups = request(f"{url}/alerts/groups")
            states = {frozenset(alert["labels"].items()): alert["status"] for group in groups for alert in group["alerts"]}
            if all(frozenset(alert.items()) in states and states[frozenset(alert.items())]["state"] != "unprocessed" for alert in sent):
                break
            time.sleep(0.2)
        # Alertmanager's inhibitor hears of them beside its dispatcher
        time.sleep(0.2)
    return [bool(states[alert]["inhibitedBy"]) for alert in wanted]


def alert(severity: dict[str, str], **labels: str) -> dict[str, str]:
    return {"alertname": "NodeFilesystemFull", "observer": "observer", **severity, **labels}


PLACE = {"cluster": "alpha", "instance": "node-1", "device": "/dev/vda", "mountpoint": "/"}


@pytest.mark.parametrize(
    "other",
    [
        *("cluster", "infrastructure", "infra_alertname", "instance", "device", "mountpoint", "namespace", "pod", "persistentvolumeclaim", "deployment"),
        *("job", "service", "node"),
    ],
)
def test_a_critical_alert_mutes_the_warning_about_the_same_thing_only(alertmanager: str, other: str) -> None:
    place = {**PLACE, other: "one"}
    same, another = alert(WARNING, **place), alert(WARNING, **{**place, other: "two"})
    # one that names no such thing is another one too
    without = alert(WARNING, **{name: value for name, value in place.items() if name != other})
    assert muted(alertmanager, alert(CRITICAL, **place), same, another, without) == [False, True, False, False]


def test_tier_and_value_make_no_other_thing(alertmanager: str) -> None:
    assert muted(alertmanager, alert(CRITICAL, tier="gold", **PLACE), alert(WARNING, **PLACE)) == [False, True]


def test_another_alert_is_not_muted(alertmanager: str) -> None:
    assert muted(alertmanager, alert(CRITICAL, **PLACE), {**alert(WARNING, **PLACE), "alertname": "NodeMemoryHigh"}) == [False, False]


def test_a_cluster_that_is_down_mutes_its_own_alerts(alertmanager: str) -> None:
    down = {"alertname": "KaaSClusterDown", "cluster": "alpha", "observer": "observer", **CRITICAL}
    own, others, nobodys = alert(CRITICAL, **PLACE), alert(CRITICAL, **{**PLACE, "cluster": "beta"}), {**alert(CRITICAL), "instance": "thanos-receive-0"}
    assert muted(alertmanager, down, own, others, nobodys) == [False, True, False, False]


def test_an_infrastructure_that_is_down_mutes_its_own_alerts(alertmanager: str) -> None:
    down = {"alertname": "InfrastructureDown", "infrastructure": "testbed", "observer": "observer", **CRITICAL}
    own = {"alertname": "InfrastructureAlert", "infra_alertname": "GaleraDown", "infrastructure": "testbed", "observer": "observer", **CRITICAL}
    assert muted(alertmanager, down, own, {**own, "infrastructure": "west"}, alert(CRITICAL, **PLACE)) == [False, True, False, False]


def test_a_mass_outage_mutes_the_single_ones(alertmanager: str) -> None:
    mass = {"alertname": "KaaSMassOutage", "observer": "observer", **CRITICAL}
    down = [{"alertname": "KaaSClusterDown", "cluster": cluster, "observer": "observer", **CRITICAL} for cluster in ("alpha", "beta")]
    agent = {"alertname": "KaaSAgentDown", "cluster": "gamma", "observer": "observer", **WARNING}
    assert muted(alertmanager, mass, *down, agent, alert(CRITICAL, **{**PLACE, "cluster": "delta"})) == [False, True, True, True, False]


def test_groups_hold_the_cluster(alertmanager: str) -> None:
    muted(alertmanager, alert(WARNING, **PLACE), alert(WARNING, **{**PLACE, "cluster": "beta"}))
    assert sorted(group["labels"]["cluster"] for group in request(f"{alertmanager}/alerts/groups")) == ["alpha", "beta"]
