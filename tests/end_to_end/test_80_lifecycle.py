# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ends: an agent that dies (an alert), a cluster that is taken out on purpose (none), and the Observer itself.

The last file: it removes what the others need.
"""

from __future__ import annotations

import dataclasses
import time
import typing as t

import pytest

OBSERVER, ALPHA, BETA = "test-observer", "test-alpha", "test-beta"
# as in inventory/group_vars/observer.yml
FOR = 15
LOOKBACK = 30
# its API server answers the Observer's probe all the time; kaas_onboard registered the address
DOWN = "KaaSAgentDown"
# what a cluster that is taken out on purpose must never become
WRONG = (DOWN, "KaaSClusterDown", "KaaSClusterNeverSeen", "KaaSClusterOrphan")


def down(lab: t.Any, *names: str) -> set[str]:
    return {alert["labels"]["cluster"] for name in names or [DOWN] for alert in lab.alerts(name)}


@pytest.fixture(scope="module", autouse=True)
def all_is_well(lab: t.Any, kaas: t.Any) -> None:
    lab.wait_until(lambda: {one["metric"]["cluster"] for one in lab.query('count by (cluster) (up{cluster!=""} == 1)')} == {ALPHA, BETA}, 60, "both clusters")
    lab.wait_until(lambda: not down(lab, *WRONG), 60, "no alert at the begin")


def scale_agent(lab: t.Any, replicas: int) -> None:
    lab.kubectl(BETA, "scale", "statefulset", "prometheus-agent", "-n", "observer-agent", f"--replicas={replicas}")


def test_agent_that_stops_is_alerted_and_resolved(lab: t.Any, kaas: t.Any) -> None:
    begin = time.monotonic()
    scale_agent(lab, 0)
    try:
        found = lab.wait_until(lambda: down(lab), 180, f"{DOWN} in Alertmanager")
        seconds = round(time.monotonic() - begin, 1)
        lab.figures[f"{DOWN} after the agent's stop, seconds"] = seconds
        assert found == {BETA}, f"only {BETA} is down, and the alert says {found}"
        assert seconds > FOR, f"the alert came after {seconds} s"
        (alert,) = (alert for alert in lab.alerts(DOWN) if alert["labels"]["cluster"] == BETA)
        assert alert["labels"]["severity"] == "warning"
        assert BETA in alert["annotations"]["summary"]
        assert not {"ruler_replica", "receive_replica", "prometheus_replica"} & set(alert["labels"]), "one alert, not one for each replica"
        assert lab.query(f'up{{cluster="{ALPHA}"}}'), f"{ALPHA} still reports"
    finally:
        scale_agent(lab, 1)
    begin = time.monotonic()
    lab.wait_until(lambda: not down(lab), 120, f"{DOWN} to be resolved after the agent's restart")
    lab.figures[f"{DOWN} resolved after the agent's start, seconds"] = round(time.monotonic() - begin, 1)


@dataclasses.dataclass
class OffBoarding:
    began: float
    gone: float
    runs: list[t.Any]


@pytest.fixture(scope="module")
def off_boarding(lab: t.Any, kaas: t.Any) -> OffBoarding:
    """test-beta is unregistered, its agent is out, and then the whole cluster is deleted."""
    began = time.time()
    predicted = lab.playbook("kaas_offboard", "--limit", BETA, "--check")
    assert lab.exists(BETA, "namespace", "observer-agent"), "check mode removed the agent"
    assert lab.query(f'kaas{{cluster="{BETA}"}}'), "check mode unregistered the cluster"
    run = lab.playbook("kaas_offboard", "--limit", BETA)
    lab.figures["kaas_offboard, seconds"] = run.seconds
    assert predicted.objects("deleted") == run.objects("deleted") != set()
    assert not lab.query(f'kaas{{cluster="{BETA}"}}'), f"{BETA} is off-boarded and still expected"
    assert not lab.exists(BETA, "namespace", "observer-agent", "observer-agent-node"), "the agent's namespaces are still there"
    lab.playbook("lab", "--limit", BETA, variables={"lab_state": "absent"})
    assert not lab.state(BETA).exists(), f"{BETA} was to be deleted"
    return OffBoarding(began, time.time(), [predicted, run])


def test_second_off_boarding_finds_nothing_to_do(lab: t.Any, off_boarding: OffBoarding) -> None:
    again = lab.playbook("kaas_offboard", "--limit", BETA)
    assert again.changed == 0, again.changed_tasks


def test_registry_holds_the_other_only(lab: t.Any, off_boarding: OffBoarding) -> None:
    assert {one["metric"]["cluster"] for one in lab.query("kaas")} == {ALPHA}
    assert lab.query(f'up{{cluster="{ALPHA}"}}')


@pytest.fixture(scope="module")
def predicted_end(lab: t.Any, off_boarding: OffBoarding) -> tuple[set[str], dict[str, str]]:
    """What observer_state=absent would delete, and everything that is there."""
    there = lab.snapshot(OBSERVER, "observer")
    run = lab.playbook("observer", "--check", variables={"observer_state": "absent"})
    assert lab.snapshot(OBSERVER, "observer") == there, "check mode of observer_state=absent changed something"
    return run.objects("deleted"), there


def test_no_alert_for_a_cluster_that_was_off_boarded(lab: t.Any, off_boarding: OffBoarding, predicted_end: t.Any) -> None:
    # three times the rule's time after its last sample can be seen, counted from the cluster's end; what was fired meanwhile is in the ruler's own series
    while time.time() < off_boarding.gone + 3 * FOR + LOOKBACK:
        assert BETA not in down(lab, *WRONG), f"an alert for {BETA}, which was off-boarded on purpose"
        time.sleep(2)
    window = f"{int(time.time() - off_boarding.began)}s"
    seen = lab.query(f'count_over_time(ALERTS{{alertname=~"{"|".join(WRONG)}",alertstate="firing",cluster="{BETA}"}}[{window}])')
    assert not seen, f"an alert fired for {BETA} after it was off-boarded: {seen}"
    # the rule worked all the time
    assert lab.query('ALERTS{alertname="Watchdog",alertstate="firing"}')


def titles(snapshot: dict[str, str]) -> set[str]:
    return {title for title in snapshot if " observer/" in title}


def test_absent_leaves_what_holds_data(lab: t.Any, predicted_end: tuple[set[str], dict[str, str]]) -> None:
    predicted, before = predicted_end
    run = lab.playbook("observer", variables={"observer_state": "absent"})
    lab.figures["observer_state=absent, seconds"] = run.seconds
    assert run.objects("deleted") == predicted, "check mode predicted something else"
    after = lab.snapshot(OBSERVER, "observer")
    kept = {title: version for title, version in before.items() if title.startswith(("Secret observer/", "PersistentVolumeClaim observer/"))}
    assert len(kept) > 15, sorted(kept)
    assert {title: after.get(title) for title in kept} == kept, "Secrets and volumes have to stay as they are"
    assert "Namespace /observer" in after
    # the registry is what the provider wrote, not what the role made
    others = {"ConfigMap observer/kube-root-ca.crt", "ServiceAccount observer/default", "ConfigMap observer/kaas-clusters"}
    assert titles(after) - set(kept) <= others, f"left behind: {sorted(titles(after) - set(kept) - others)}"
    lab.wait_until(lambda: not lab.get(OBSERVER, "pods", "-n", "observer"), 60, "the pods to end")
    again = lab.playbook("observer", variables={"observer_state": "absent"})
    assert again.changed == 0, again.changed_tasks


def test_absent_with_data_removes_everything(lab: t.Any, predicted_end: t.Any) -> None:
    both = {"observer_state": "absent", "observer_remove_data": True}
    run = lab.playbook("observer", variables=both)
    lab.figures["observer_remove_data=true, seconds"] = run.seconds
    assert not lab.exists(OBSERVER, "namespace", "observer"), "the namespace is still there"
    left = [volume["metadata"]["name"] for volume in lab.get(OBSERVER, "persistentvolumes") if volume["spec"]["claimRef"]["namespace"] == "observer"]
    assert not left or lab.wait_until(lambda: not lab.get(OBSERVER, "persistentvolumes"), 30, "the volumes to be gone")
    assert (lab.state(OBSERVER).parent / "s3" / "data" / lab.bucket).is_dir(), "the bucket stays as it is"
    again = lab.playbook("observer", variables=both)
    assert again.changed == 0, again.changed_tasks
