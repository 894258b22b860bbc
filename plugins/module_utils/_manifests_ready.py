# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: whether a Kubernetes object is ready and, if not, why. Nothing here talks to a server."""

from __future__ import annotations

import typing as t

Body = t.Mapping[str, t.Any]

# One long message of a pod says as much as ten.
PODS_SHOWN = 3


class State(t.NamedTuple):
    """C(reason) is empty when ready; C(failed) means that waiting is of no use."""

    reason: str = ""
    failed: bool = False

    @property
    def ready(self) -> bool:
        return not self.reason


READY = State()


def condition(body: Body, kind: str) -> Body:
    for entry in (body.get("status") or {}).get("conditions") or []:
        if entry.get("type") == kind:
            return entry
    return {}


def _is(body: Body, kind: str, status: str = "True") -> bool:
    return condition(body, kind).get("status") == status


def _observed(body: Body) -> bool:
    return (body.get("status") or {}).get("observedGeneration", 0) >= body["metadata"].get("generation", 0)


def _counts(*pairs: tuple[str, int, int]) -> State:
    """The first count that is not reached."""
    for word, have, want in pairs:
        if have < want:
            return State(f"{have} of {want} replicas {word}")
    return READY


def _deployment(body: Body) -> State:
    spec, status = body.get("spec") or {}, body.get("status") or {}
    if not _observed(body):
        return State("its controller has not seen the change yet")
    want = spec.get("replicas", 1)
    updated = status.get("updatedReplicas", 0)
    counts = _counts(("updated", updated, want))
    if counts.ready and status.get("replicas", 0) > updated:
        return State(f"{status['replicas'] - updated} old replicas still terminate")
    counts = counts if not counts.ready else _counts(("available", status.get("availableReplicas", 0), want))
    failure = condition(body, "ReplicaFailure")
    if not counts.ready and failure.get("status") == "True":
        return State(f"{counts.reason}: {failure.get('message', '')}")
    return counts


def _stateful_set(body: Body) -> State:
    spec, status = body.get("spec") or {}, body.get("status") or {}
    if not _observed(body):
        return State("its controller has not seen the change yet")
    want = spec.get("replicas", 1)
    strategy = spec.get("updateStrategy") or {}
    ready = ("ready", status.get("readyReplicas", 0), want)
    if strategy.get("type") == "OnDelete":
        return _counts(ready)
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    updated = status.get("updatedReplicas", 0)
    if not partition and status.get("currentRevision") == status.get("updateRevision"):
        updated = max(updated, status.get("currentReplicas", 0))
    return _counts(("updated", updated, max(want - partition, 0)), ready, ("available", status.get("availableReplicas", want), want))


def _daemon_set(body: Body) -> State:
    spec, status = body.get("spec") or {}, body.get("status") or {}
    if not _observed(body):
        return State("its controller has not seen the change yet")
    want = status.get("desiredNumberScheduled", 0)
    available = ("available", status.get("numberAvailable", 0), want)
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        return _counts(available)
    return _counts(("updated", status.get("updatedNumberScheduled", 0), want), available)


def _job(body: Body) -> State:
    if (body.get("spec") or {}).get("suspend") or _is(body, "Complete"):
        return READY
    if _is(body, "Failed"):
        failed = condition(body, "Failed")
        return State(f"failed: {failed.get('reason', '')} {failed.get('message', '')}".rstrip(), failed=True)
    status = body.get("status") or {}
    return State(f"not complete: {status.get('succeeded', 0)} succeeded, {status.get('active', 0)} active, {status.get('failed', 0)} failed")


def _crd(body: Body) -> State:
    names = condition(body, "NamesAccepted")
    if names.get("status") == "False":
        return State(f"names not accepted: {names.get('message', '')}", failed=True)
    return READY if _is(body, "Established") else State("not established")


def _namespace(body: Body) -> State:
    phase = (body.get("status") or {}).get("phase")
    return READY if phase == "Active" else State(f"phase {phase}")


def _api_service(body: Body) -> State:
    available = condition(body, "Available")
    return READY if available.get("status") == "True" else State(f"not available: {available.get('message', '')}")


def _pod(body: Body) -> State:
    if (body.get("status") or {}).get("phase") == "Succeeded" or _is(body, "Ready"):
        return READY
    if (body.get("status") or {}).get("phase") == "Failed":
        return State(pod_problem(body) or "failed", failed=True)
    return State(pod_problem(body) or "not ready")


PREDICATES: dict[tuple[str, str], t.Callable[[Body], State]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("batch", "Job"): _job,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _crd,
    ("apiregistration.k8s.io", "APIService"): _api_service,
    ("", "Namespace"): _namespace,
    ("", "Pod"): _pod,
}


def state(group: str, kind: str, body: Body) -> State:
    """READY for kinds that are never waited for."""
    predicate = PREDICATES.get((group, kind))
    return predicate(body) if predicate else READY


def selector(body: Body) -> str | None:
    """A workload's pod selector as a query; None for what has no pods."""
    labels = (body.get("spec") or {}).get("selector")
    if not isinstance(labels, t.Mapping):
        return None
    parts = [f"{name}={value}" for name, value in (labels.get("matchLabels") or {}).items()]
    for expression in labels.get("matchExpressions") or []:
        name, operator, values = expression.get("key"), expression.get("operator"), ",".join(expression.get("values") or [])
        parts.append({"In": f"{name} in ({values})", "NotIn": f"{name} notin ({values})", "Exists": name}.get(operator, f"!{name}"))
    return ",".join(parts) or None


def pod_problem(pod: Body) -> str | None:
    """Why a pod is not ready; None if it is, or has done its work."""
    status = pod.get("status") or {}
    if status.get("phase") == "Succeeded" or _is(pod, "Ready"):
        return None
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return f"{scheduled.get('reason', 'Unschedulable')}: {scheduled.get('message', '')}".rstrip(": ")
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        problem = _container_problem(container)
        if problem:
            return f"container {container.get('name')}: {problem}"
    if status.get("phase") == "Failed":
        return f"failed: {status.get('reason', '')} {status.get('message', '')}".strip()
    not_ready = [container.get("name") for container in status.get("containerStatuses") or [] if not container.get("ready")]
    if not_ready:
        return f"container {', '.join(map(str, not_ready))} runs but is not ready: see its readiness probe"
    if pod["metadata"].get("deletionTimestamp"):
        return "terminating"
    return f"phase {status.get('phase', 'unknown')}, not started by a node yet"


def _container_problem(container: Body) -> str | None:
    now, last = container.get("state") or {}, container.get("lastState") or {}
    waiting, ended = now.get("waiting") or {}, now.get("terminated") or {}
    if waiting.get("reason") == "PodInitializing":
        return None
    if waiting:
        text = f"{waiting.get('reason', 'waiting')}: {waiting.get('message', '')}".rstrip(": ")
        return f"{text} ({_ended(last['terminated'])})" if last.get("terminated") else text
    return _ended(ended) if ended.get("exitCode") else None


def _ended(terminated: Body) -> str:
    text = f"ended with exit code {terminated.get('exitCode')}, {terminated.get('reason', 'Error')}"
    message = str(terminated.get("message") or "").strip()
    return f"{text}: {message[-300:]}" if message else text


def reasons(body: Body, pods: t.Iterable[Body], events: t.Iterable[Body]) -> list[str]:
    """What the pods and events of a workload tell beyond its own status."""
    found: dict[str, list[str]] = {}
    for pod in pods:
        problem = pod_problem(pod)
        if problem:
            found.setdefault(problem, []).append(pod["metadata"]["name"])
    lines = [f"pod {', '.join(names[:PODS_SHOWN])}{' and more' if len(names) > PODS_SHOWN else ''}: {problem}" for problem, names in found.items()]
    name = body["metadata"]["name"]
    pod_names = {entry for names in found.values() for entry in names}
    newest: dict[str, str] = {}
    for event in sorted(events, key=lambda entry: entry.get("lastTimestamp") or entry.get("eventTime") or ""):
        involved = event.get("involvedObject") or {}
        owner = involved.get("name", "")
        own = (owner == name and involved.get("kind") == body["kind"]) or (involved.get("kind") == "ReplicaSet" and owner.rpartition("-")[0] == name)
        if event.get("type") != "Normal" and (own or owner in pod_names):
            newest[str(event.get("reason"))] = f"{event.get('reason')}: {' '.join(str(event.get('message') or '').split())}"
    text = " ".join(lines)
    return lines + [line for line in newest.values() if line.split(": ", 1)[-1] not in text]
