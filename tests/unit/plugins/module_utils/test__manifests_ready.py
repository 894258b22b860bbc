# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _manifests_ready as ready


def body(kind="Deployment", spec=None, status=None, generation=2, **metadata):
    return {"kind": kind, "metadata": {"name": "x", "generation": generation, **metadata}, "spec": spec or {}, "status": status or {}}


def status(**counts):
    return {"observedGeneration": 2, **counts}


FULL = {"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3, "readyReplicas": 3}
REVISIONS = {"currentRevision": "a", "updateRevision": "a", "currentReplicas": 3}


@pytest.mark.parametrize(
    ("spec", "found", "reason"),
    [
        ({"replicas": 3}, status(**FULL), ""),
        ({}, status(replicas=1, updatedReplicas=1, availableReplicas=1), ""),
        ({"replicas": 0}, status(), ""),
        ({"replicas": 3}, {**status(**FULL), "observedGeneration": 1}, "its controller has not seen the change yet"),
        ({"replicas": 3}, status(**{**FULL, "updatedReplicas": 1}), "1 of 3 replicas updated"),
        ({"replicas": 3}, status(**{**FULL, "replicas": 4}), "1 old replicas still terminate"),
        ({"replicas": 3}, status(**{**FULL, "availableReplicas": 2}), "2 of 3 replicas available"),
        ({}, status(conditions=[{"type": "ReplicaFailure", "status": "True", "message": "quota"}]), "0 of 1 replicas updated: quota"),
    ],
)
def test_deployment(spec, found, reason):
    assert ready.state("apps", "Deployment", body(spec=spec, status=found)) == (reason, False)


@pytest.mark.parametrize(
    ("spec", "found", "reason"),
    [
        ({"replicas": 3}, status(**FULL, **REVISIONS), ""),
        ({"replicas": 3}, status(**{**FULL, "updatedReplicas": 0}, **REVISIONS), ""),
        ({"replicas": 3}, status(**{**FULL, "updatedReplicas": 1}, **{**REVISIONS, "updateRevision": "b"}), "1 of 3 replicas updated"),
        ({"replicas": 3}, status(**{**FULL, "readyReplicas": 2}, **REVISIONS), "2 of 3 replicas ready"),
        ({"replicas": 3}, status(**{**FULL, "availableReplicas": 1}, **REVISIONS), "1 of 3 replicas available"),
        ({"replicas": 3, "updateStrategy": {"type": "OnDelete"}}, status(readyReplicas=3, updateRevision="b"), ""),
        ({"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 2}}}, status(readyReplicas=3, updatedReplicas=1, updateRevision="b"), ""),
        ({"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 2}}}, status(readyReplicas=3, updateRevision="b"), "0 of 1 replicas updated"),
    ],
)
def test_stateful_set(spec, found, reason):
    assert ready.state("apps", "StatefulSet", body(spec=spec, status=found)) == (reason, False)


@pytest.mark.parametrize(
    ("spec", "found", "reason"),
    [
        ({}, status(desiredNumberScheduled=2, updatedNumberScheduled=2, numberAvailable=2), ""),
        ({}, status(desiredNumberScheduled=2, updatedNumberScheduled=2, numberAvailable=1), "1 of 2 replicas available"),
        ({}, status(desiredNumberScheduled=2, updatedNumberScheduled=1, numberAvailable=2), "1 of 2 replicas updated"),
        ({"updateStrategy": {"type": "OnDelete"}}, status(desiredNumberScheduled=2, numberAvailable=2), ""),
        ({}, {}, "its controller has not seen the change yet"),
    ],
)
def test_daemon_set(spec, found, reason):
    assert ready.state("apps", "DaemonSet", body(spec=spec, status=found)) == (reason, False)


def conditions(*entries):
    return {"conditions": [dict(zip(("type", "status", "reason", "message"), entry, strict=False)) for entry in entries]}


@pytest.mark.parametrize(
    ("group", "kind", "spec", "found", "state"),
    [
        ("batch", "Job", {}, conditions(("Complete", "True")), ("", False)),
        ("batch", "Job", {"suspend": True}, {}, ("", False)),
        ("batch", "Job", {}, {"active": 1}, ("not complete: 0 succeeded, 1 active, 0 failed", False)),
        ("batch", "Job", {}, conditions(("Failed", "True", "BackoffLimitExceeded", "too often")), ("failed: BackoffLimitExceeded too often", True)),
        ("apiextensions.k8s.io", "CustomResourceDefinition", {}, conditions(("Established", "True")), ("", False)),
        ("apiextensions.k8s.io", "CustomResourceDefinition", {}, {}, ("not established", False)),
        ("apiextensions.k8s.io", "CustomResourceDefinition", {}, conditions(("NamesAccepted", "False", "", "taken")), ("names not accepted: taken", True)),
        ("", "Namespace", {}, {"phase": "Active"}, ("", False)),
        ("", "Namespace", {}, {"phase": "Terminating"}, ("phase Terminating", False)),
        ("apiregistration.k8s.io", "APIService", {}, conditions(("Available", "False", "", "no endpoints")), ("not available: no endpoints", False)),
        ("", "Pod", {}, conditions(("Ready", "True")), ("", False)),
        ("", "Pod", {}, {"phase": "Succeeded"}, ("", False)),
        ("", "Pod", {}, {"phase": "Failed", "reason": "Evicted"}, ("failed: Evicted", True)),
        ("", "PersistentVolumeClaim", {}, {"phase": "Pending"}, ("", False)),
        ("", "Service", {}, {}, ("", False)),
        ("example.org", "Deployment", {}, {}, ("", False)),
    ],
)
def test_other_kinds(group, kind, spec, found, state):
    assert ready.state(group, kind, body(kind, spec, found)) == state


def pod(name="p", **found):
    return {"metadata": {"name": name}, "status": found}


def container(state, **more):
    return {"name": "main", "ready": False, "state": state, **more}


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (conditions(("Ready", "True")), None),
        (conditions(("PodScheduled", "False", "Unschedulable", "0/1 nodes available")), "Unschedulable: 0/1 nodes available"),
        ({"containerStatuses": [container({"waiting": {"reason": "ErrImagePull", "message": "not found"}})]}, "container main: ErrImagePull: not found"),
        (
            {
                "containerStatuses": [
                    container(
                        {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                        lastState={"terminated": {"exitCode": 1, "reason": "Error", "message": "bad flag\n"}},
                    )
                ]
            },
            "container main: CrashLoopBackOff: back-off (ended with exit code 1, Error: bad flag)",
        ),
        ({"containerStatuses": [container({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})]}, "container main: ended with exit code 137, OOMKilled"),
        (
            {
                "initContainerStatuses": [{**container({"waiting": {"reason": "ImagePullBackOff"}}), "name": "init"}],
                "containerStatuses": [container({"waiting": {"reason": "PodInitializing"}})],
            },
            "container init: ImagePullBackOff",
        ),
        ({"phase": "Running", "containerStatuses": [container({"running": {}})]}, "container main runs but is not ready: see its readiness probe"),
        ({"phase": "Pending"}, "phase Pending, not started by a node yet"),
    ],
)
def test_pod_problem(found, problem):
    assert ready.pod_problem(pod(**found)) == problem


def test_selector():
    expressions = [
        {"key": "a", "operator": "In", "values": ["x", "y"]},
        {"key": "b", "operator": "NotIn", "values": ["z"]},
        {"key": "c", "operator": "Exists"},
        {"key": "d", "operator": "DoesNotExist"},
    ]
    found = ready.selector(body(spec={"selector": {"matchLabels": {"app": "q"}, "matchExpressions": expressions}}))
    assert found == "app=q,a in (x,y),b notin (z),c,!d"
    assert ready.selector(body()) is None


def event(kind, name, reason, message, **more):
    return {"type": "Warning", "involvedObject": {"kind": kind, "name": name}, "reason": reason, "message": message, **more}


def test_reasons_gather_pods_and_own_events():
    pods = [pod(f"x-{number}", phase="Pending") for number in range(5)]
    events = [
        event("ReplicaSet", "x-5d9c", "FailedCreate", "old", lastTimestamp="2026-01-01T00:00:00Z"),
        event("ReplicaSet", "x-5d9c", "FailedCreate", "violates\nPodSecurity", lastTimestamp="2026-01-02T00:00:00Z"),
        event("ReplicaSet", "x-y-5d9c", "FailedCreate", "of another deployment"),
        event("Pod", "x-1", "FailedMount", "no secret"),
        event("Pod", "other", "FailedMount", "of another pod"),
        {**event("Deployment", "x", "Scaled", "fine"), "type": "Normal"},
    ]
    assert ready.reasons(body(), pods, events) == [
        "pod x-0, x-1, x-2 and more: phase Pending, not started by a node yet",
        "FailedMount: no secret",
        "FailedCreate: violates PodSecurity",
    ]
