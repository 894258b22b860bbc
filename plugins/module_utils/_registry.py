# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: the registry, a ConfigMap with one key a cluster that ought to report.

A value is empty (upstream's bare key: a KaaS cluster, nothing more is known) or a JSON object with C(role), C(labels) and C(description). Fields that this
version does not know are left as they are, and so are keys and values that others wrote.
"""

from __future__ import annotations

import dataclasses
import json
import random
import re
import time
import typing as t

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._kubernetes import MERGE_PATCH, ApiError, Client, quote
from ansible_collections.scs.observer.plugins.module_utils._plan import Plan, make_plan

NAMESPACE = "observer"
NAME = "kaas-clusters"
ROLES = ("kaas", "infrastructure")
DEFAULTS: dict[str, t.Any] = {"role": "kaas", "labels": {}, "description": ""}

CLUSTER_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
CONFIGMAP_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
# What the Observer itself says about a series; an entry must not say it too. The importer knows the same names.
RESERVED_LABELS = frozenset(
    {
        *("cluster", "infrastructure", "observer", "role", "tenant", "tenant_id"),
        *("prometheus_replica", "receive", "receive_replica", "replica", "ruler_replica"),
        *("instance", "job", "le", "quantile"),
    }
)
LABEL_VALUE_MAX = 256
DESCRIPTION_MAX = 1024
# Kubernetes refuses more than 1 MiB of data; etcd refuses objects of 1.5 MiB, in which each key is named once more by managedFields.
DATA_MAX = 900 * 1024
OBJECT_MAX = 1200 * 1024
MANAGED_FIELD = 8

ATTEMPTS = 20
DELAY_MAX = 1.0


@dataclasses.dataclass(frozen=True)
class Item:
    """What is asked of one cluster; a field that is not in C(asked) stays as it is."""

    name: str
    asked: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    present: bool = True


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The registry as it was read; C(resource_version) is empty when it does not exist."""

    data: t.Mapping[str, str]
    resource_version: str
    other_bytes: int = 0
    immutable: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    plan: Plan[str]
    unchanged: tuple[str, ...]

    def result(self) -> dict[str, t.Any]:
        return {
            "changed": self.plan.changed,
            "registered": self.plan.names("create"),
            "unregistered": self.plan.names("delete"),
            "updated": self.plan.names("update"),
            "unchanged": list(self.unchanged),
        }


def items_from(clusters: t.Sequence[t.Mapping[str, t.Any]], *, present: bool) -> list[Item]:
    """The module's option, checked; the first bad item is named with its position."""
    first: dict[str, int] = {}
    for position, cluster in enumerate(clusters, 1):
        name = cluster["name"]
        what = f"Item {position} of clusters ({name!r})"
        if present and not CLUSTER_NAME.fullmatch(name):
            raise ObserverError(
                f"{what}: a cluster's name is an RFC 1123 label: lower-case letters, digits and '-', beginning and ending with a letter or digit, "
                "at most 63 characters. Choose such an id; a display name can be given as label 'name'."
            )
        if not CONFIGMAP_KEY.fullmatch(name):
            raise ObserverError(f"{what}: no registry can hold such a name. Give the name of a registered cluster.")
        if name in first:
            raise ObserverError(f"Items {first[name]} and {position} of clusters have one name, {name}. Leave one out; an id is never shared by two clusters.")
        first[name] = position
        if present:
            _check_labels(what, cluster.get("labels") or {})
            _check_description(what, cluster.get("description") or "")
    return [
        Item(cluster["name"], {field: cluster[field] for field in DEFAULTS if cluster.get(field) is not None} if present else {}, present)
        for cluster in clusters
    ]


def _check_labels(what: str, labels: t.Mapping[t.Any, t.Any]) -> None:
    for label, value in labels.items():
        if not isinstance(label, str) or not LABEL_NAME.fullmatch(label) or label.startswith("__"):
            raise ObserverError(f"{what}: {label!r} is no label name. Use letters, digits and '_', not beginning with a digit or '__'.")
        if label in RESERVED_LABELS:
            raise ObserverError(f"{what}: the label {label!r} is reserved, for the Observer sets it itself. Use another name.")
        if not isinstance(value, str):
            raise ObserverError(f"{what}: the label {label!r} is {value!r}, which is no string. Put it in quotes.")
        if len(value) > LABEL_VALUE_MAX or not value.isprintable():
            raise ObserverError(f"{what}: the label {label!r} must be printable text of at most {LABEL_VALUE_MAX} characters. Shorten or clean it.")


def _check_description(what: str, description: str) -> None:
    if len(description) > DESCRIPTION_MAX:
        raise ObserverError(f"{what}: the description has {len(description)} characters, {DESCRIPTION_MAX} are allowed. Shorten it.")


def parse(value: str) -> dict[str, t.Any] | None:
    """The fields of a value; empty for a bare key, None for a value that is not of this form."""
    if not value.strip():
        return {}
    try:
        fields = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def merge(name: str, value: str | None, asked: t.Mapping[str, t.Any]) -> str:
    """The value after what is asked; character by character the old one when it says all that already."""
    fields = {} if value is None else parse(value)
    if fields is None:
        if not asked:
            return t.cast("str", value)
        raise ObserverError(
            f"Registry entry {name}: its value is neither empty nor a JSON object, so another program wrote it and it is not overwritten. "
            "Unregister the cluster first, or ask for nothing but its name."
        )
    if value is not None and all(fields.get(field, DEFAULTS[field]) == wanted for field, wanted in asked.items()):
        return value
    merged = {"role": DEFAULTS["role"]} | fields | dict(asked)
    kept = {field: content for field, content in merged.items() if field == "role" or content != DEFAULTS.get(field, ())}
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def plan_for(items: t.Sequence[Item], data: t.Mapping[str, str]) -> Outcome:
    desired = {item.name: merge(item.name, data.get(item.name), item.asked) for item in items if item.present}
    gone = {item.name for item in items if not item.present}
    plan = make_plan(desired, data, prune=gone.__contains__)
    moved = {step.name for step in plan.of("create", "update", "delete")}
    return Outcome(plan, tuple(item.name for item in items if item.name not in moved))


def render(value: str) -> str:
    """One cluster in a diff."""
    fields = parse(value)
    if fields is None:
        return f"{value}\n"
    return json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


class Registry:
    def __init__(self, client: Client, namespace: str = NAMESPACE, name: str = NAME) -> None:
        self.client = client
        self.namespace = namespace
        self.name = name
        self._collection = f"/api/v1/namespaces/{quote(namespace)}/configmaps"
        self._path = f"{self._collection}/{quote(name)}"

    def ensure(self, items: t.Sequence[Item], *, check: bool = False) -> Outcome:
        """Read, plan, write; planned anew when another writer came first."""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, min(DELAY_MAX, 0.05 * 2**attempt)))
            snapshot = self.read()
            outcome = plan_for(items, snapshot.data)
            self._check_size(snapshot, outcome)
            if check or not outcome.plan.changed or self._write(snapshot, outcome):
                return outcome
        raise ObserverError(
            f"Registry {self.namespace}/{self.name} was changed by others each time before it could be written, {ATTEMPTS} times. "
            "Find out who writes it all the time (metadata.managedFields names them), then run again."
        )

    def read(self) -> Snapshot:
        try:
            configmap = self.client.request("GET", self._path)
        except ApiError as error:
            if error.status == 404:
                return Snapshot({}, "")
            raise
        binary = configmap.get("binaryData") or {}
        return Snapshot(
            configmap.get("data") or {},
            configmap["metadata"]["resourceVersion"],
            sum(len(key) + len(value) for key, value in binary.items()),
            bool(configmap.get("immutable")),
        )

    def _write(self, snapshot: Snapshot, outcome: Outcome) -> bool:
        """False when another writer came first."""
        if snapshot.immutable:
            raise ObserverError(f"Registry {self.namespace}/{self.name} is an immutable ConfigMap. Make it anew without 'immutable', then run again.")
        changes = {step.name: step.after for step in outcome.plan.of("create", "update", "delete")}
        query = {"fieldManager": "scs.observer"}
        try:
            if snapshot.resource_version:
                body = {"metadata": {"resourceVersion": snapshot.resource_version}, "data": changes}
                self.client.request("PATCH", self._path, body=body, query=query, content_type=MERGE_PATCH)
            else:
                self.client.request("POST", self._collection, body=self._new(changes), query=query)
        except ApiError as error:
            if error.status == 409 or (error.status == 404 and snapshot.resource_version):
                return False
            if error.status == 404:
                raise ObserverError(
                    f"Registry {self.namespace}/{self.name} can not be made, for there is no namespace {self.namespace}. "
                    "Deploy the Observer first (playbook observer), or set the option namespace to where it is."
                ) from error
            raise
        return True

    def _new(self, data: t.Mapping[str, str | None]) -> dict[str, t.Any]:
        labels = {"app.kubernetes.io/name": self.name, "app.kubernetes.io/part-of": "observer", "app.kubernetes.io/managed-by": "scs.observer"}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self.name, "namespace": self.namespace, "labels": labels}, "data": data}

    def _check_size(self, snapshot: Snapshot, outcome: Outcome) -> None:
        after = dict(snapshot.data)
        for step in outcome.plan.of("create", "update", "delete"):
            if step.after is None:
                del after[step.name]
            else:
                after[step.name] = step.after
        before_size, size = _data_size(snapshot.data), _data_size(after)
        whole = size + sum(len(key) + MANAGED_FIELD for key in after)
        if size > before_size and (size + snapshot.other_bytes > DATA_MAX or whole + snapshot.other_bytes > OBJECT_MAX):
            raise ObserverError(
                f"Registry {self.namespace}/{self.name} would hold {len(after)} clusters in {size // 1024} KiB, near the 1 MiB at which Kubernetes refuses it. "
                "Shorten labels and descriptions, unregister clusters that are gone, or use a second Observer."
            )


def _data_size(data: t.Mapping[str, str]) -> int:
    return sum(len(key) + len(value.encode()) for key, value in data.items())
