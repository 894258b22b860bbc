# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: the registry, a ConfigMap with one key a cluster that ought to report.

A value is empty (upstream's bare key: a KaaS cluster, nothing more is known) or a JSON object with the fields of DEFAULTS and C(manager). Fields that
this version does not know are left as they are, and so are keys and values that others wrote.
"""

from __future__ import annotations

import dataclasses
import datetime
import fnmatch
import ipaddress
import json
import random
import re
import time
import typing as t
import urllib.parse

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._kubernetes import MERGE_PATCH, ApiError, Client, quote
from ansible_collections.scs.observer.plugins.module_utils._plan import Plan, make_plan
from ansible_collections.scs.observer.plugins.module_utils._promql import Backend, QueryError
from ansible_collections.scs.observer.plugins.module_utils._promql import parse as parse_answer

NAMESPACE = "observer"
NAME = "kaas-clusters"
MANAGER = "ansible"
ROLES = ("kaas", "infrastructure")
# The fields that can be asked for. One that has its default is not written, the role excepted.
DEFAULTS: dict[str, t.Any] = {
    "role": "kaas",
    "labels": {},
    "description": "",
    "api_url": "",
    "maintenance": False,
    "agent_certificate_not_after": "",
    "kubeconfig_secret": {},
}

CLUSTER_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
CONFIGMAP_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
MANAGER_NAME = re.compile(r"[a-zA-Z0-9]([-_.a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
OBJECT_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
HOST_NAME = re.compile(r"(?=.{1,253}$)[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)*")
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
PRUNE_LIMIT = re.compile(r"(\d{1,9})(%?)", re.ASCII)
# What the Observer itself says about a series; an entry must not say it too. The importer knows the same names.
RESERVED_LABELS = frozenset(
    {
        *("cluster", "infrastructure", "observer", "role", "tenant", "tenant_id"),
        *("prometheus_replica", "receive", "receive_replica", "replica", "ruler_replica"),
        *("instance", "job", "le", "quantile"),
    }
)
LABEL_NAME_MAX = 128
LABEL_VALUE_MAX = 256
DESCRIPTION_MAX = 1024
# Kubernetes refuses more than 1 MiB of data; etcd refuses objects of 1.5 MiB, in which each key is named once more by managedFields.
DATA_MAX = 900 * 1024
OBJECT_MAX = 1200 * 1024
MANAGED_FIELD = 8

ATTEMPTS = 20
DELAY_MAX = 1.0

# All at once, for a query that names a thousand clusters is longer than proxies let through.
# Without the importer's own word, what is not shown is not gone.
IMPORTER = "kaas_registry_present"
SHOWN_QUERY = f'kaas{{observer!=""}} or {IMPORTER}{{observer!=""}}'
SHOWN_DELAY = 1.0
NAMED = 5  # clusters that a message names


@dataclasses.dataclass(frozen=True)
class Item:
    """What is asked of one cluster; a field that is not in C(asked) stays as it is. C(exact) is the whole value, out of a backup."""

    name: str
    asked: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    present: bool = True
    exact: str | None = None
    overwrite: bool = False


@dataclasses.dataclass(frozen=True)
class Prune:
    """Unregister what the manager registered and no item names."""

    ignore: tuple[str, ...] = ()
    limit: str | None = None

    def __post_init__(self) -> None:
        if self.limit is None:
            return
        found = PRUNE_LIMIT.fullmatch(self.limit)
        if not found or (found[2] and int(found[1]) > 100):
            raise ObserverError(
                f"prune_limit is {self.limit!r}. Give the number of clusters that may be pruned at most, such as 10, or their share, such as 10%."
            )

    def ignores(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.ignore)

    def check(self, manager: str, pruned: t.Sequence[str], owned: int) -> None:
        if self.limit is None:
            return
        number, percent = t.cast("re.Match[str]", PRUNE_LIMIT.fullmatch(self.limit)).groups()
        if len(pruned) * 100 > int(number) * owned if percent else len(pruned) > int(number):
            raise ObserverError(
                f"{len(pruned)} of the {owned} clusters that manager {manager} registered would be pruned ({named(pruned)}), more than prune_limit "
                f"{self.limit} allows. Check that the list of clusters is complete; if it is, raise prune_limit."
            )


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The registry as it was read; C(resource_version) is empty when it does not exist."""

    data: t.Mapping[str, str]
    resource_version: str
    binary: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    immutable: bool = False

    @property
    def other_bytes(self) -> int:
        return sum(len(key) + len(value) for key, value in self.binary.items())


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


def items_from(clusters: t.Sequence[t.Mapping[str, t.Any]], *, present: bool = True) -> list[Item]:
    """The module's option, checked; C(present) holds for what names no C(state). The first bad item is named with its position."""
    first: dict[str, int] = {}
    items = []
    for position, cluster in enumerate(clusters, 1):
        name = cluster["name"]
        what = f"Item {position} of clusters ({name!r})"
        wanted = present if cluster.get("state") is None else cluster["state"] == "present"
        if wanted and not CLUSTER_NAME.fullmatch(name):
            raise ObserverError(
                f"{what}: a cluster's name is an RFC 1123 label: lower-case letters, digits and '-', beginning and ending with a letter or digit, "
                "at most 63 characters. Choose such an id; a display name can be given as label 'name'."
            )
        if not CONFIGMAP_KEY.fullmatch(name):
            raise ObserverError(f"{what}: no registry can hold such a name. Give the name of a registered cluster.")
        if name in first:
            raise ObserverError(f"Items {first[name]} and {position} of clusters have one name, {name}. Leave one out; an id is never shared by two clusters.")
        first[name] = position
        items.append(Item(name, _asked(what, cluster) if wanted else {}, wanted))
    return items


def items_from_backup(text: str, *, overwrite: bool = False) -> list[Item]:
    """The entries of a backup, exactly as they were."""
    import yaml

    what = "The backup"
    remedy = "Give the text of a file that the playbook kaas_registry_backup wrote"
    try:
        backup = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}: {getattr(error, 'problem', '')})" if mark else ""
        raise ObserverError(f"{what} is no YAML{place}. {remedy}.") from error
    if not isinstance(backup, dict) or (backup.get("apiVersion"), backup.get("kind")) != ("v1", "ConfigMap"):
        raise ObserverError(f"{what} is no ConfigMap. {remedy}.")
    data = backup.get("data")
    if not isinstance(data, dict) or not data:
        raise ObserverError(f"{what} holds no cluster (its 'data' is {'empty' if not data else 'no mapping'}). {remedy}.")
    for name, value in data.items():
        if not isinstance(name, str) or not CONFIGMAP_KEY.fullmatch(name):
            raise ObserverError(f"{what} names a cluster {name!r}, which no registry can hold. Correct it in the file; put it in quotes.")
        if not isinstance(value, str):
            raise ObserverError(f"{what}: the entry {name} is no text but {value!r:.100}. Correct it in the file; put it in quotes.")
        _check_text(f"{what}: the entry {name}", value)
    return [Item(name, exact=value, overwrite=overwrite) for name, value in data.items()]


def check_manager(manager: str) -> str:
    if not MANAGER_NAME.fullmatch(manager):
        raise ObserverError(f"manager is {manager!r}. Use letters, digits, '-', '_' and '.', with a letter or digit at both ends, at most 63 characters.")
    return manager


def prune_from(items: t.Sequence[Item], *, ignore: t.Sequence[str] = (), limit: str | None = None, allow_empty: bool = False) -> Prune:
    prune = Prune(tuple(ignore), limit)
    if not allow_empty and not any(item.present for item in items):
        raise ObserverError(
            "prune is set and clusters names none that stays, so every cluster of this manager would be unregistered. "
            "Check where the list comes from; if that is meant, set prune_allow_empty."
        )
    return prune


def _asked(what: str, cluster: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What is asked of a cluster, checked, in the form in which it is stored."""
    asked = {field: cluster[field] for field in DEFAULTS if cluster.get(field) is not None}
    _check_labels(what, asked.get("labels", {}))
    _check_description(what, asked.get("description", ""))
    if asked.get("api_url"):
        asked["api_url"] = _api_url(what, asked["api_url"])
    if asked.get("agent_certificate_not_after"):
        asked["agent_certificate_not_after"] = _moment(what, asked["agent_certificate_not_after"])
    if "kubeconfig_secret" in asked:
        asked["kubeconfig_secret"] = _secret(what, asked["kubeconfig_secret"])
    return asked


def _api_url(what: str, url: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = None, "", None
    bare = parts is not None and "@" not in parts.netloc and "?" not in url and "#" not in url and parts.path in ("", "/")
    if parts is None or parts.scheme != "https" or not bare or not _is_host(host) or port == 0 or parts.netloc.endswith(":"):
        raise ObserverError(
            f"{what}: api_url is {_without_user(url)!r}. Give https, host and port of the cluster's API server as the Observer reaches it, without user, "
            "path and query, such as https://192.0.2.10:6443."
        )
    return f"https://{parts.netloc}"


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        # four numbers that are no address are no name either
        return bool(HOST_NAME.fullmatch(host)) and not re.fullmatch(r"[\d.]+", host)
    return True


def _without_user(url: str) -> str:
    """A password is not to be seen in a message."""
    return re.sub(r"//[^/]*@", "//...@", url)[:200]


def _moment(what: str, text: str) -> str:
    try:
        if not RFC_3339.fullmatch(text):
            raise ValueError(text)
        moment = datetime.datetime.fromisoformat(text.upper()).astimezone(datetime.UTC)
    except (ValueError, OverflowError) as error:
        raise ObserverError(
            f"{what}: agent_certificate_not_after is {text!r:.100}, which is no time of RFC 3339. Give it as module certificates returns not_after, "
            "such as 2027-01-31T12:00:00Z."
        ) from error
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z"


def _secret(what: str, secret: t.Mapping[str, t.Any]) -> dict[str, str]:
    """A reference to a Secret; empty when it names none."""
    namespace, name, key = secret.get("namespace") or "", secret.get("name") or "", secret.get("key") or "value"
    if not namespace and not name:
        return {}
    if not CLUSTER_NAME.fullmatch(namespace) or not OBJECT_NAME.fullmatch(name) or not CONFIGMAP_KEY.fullmatch(key):
        raise ObserverError(
            f"{what}: kubeconfig_secret is {namespace}/{name}, key {key}, which no Secret can have. Give namespace and name of the Secret, and the key "
            "that holds the kubeconfig."
        )
    return {"namespace": namespace, "name": name, "key": key}


def _check_text(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ObserverError(f"{what} holds characters that are no valid Unicode text. Write it in UTF-8.") from error


def _check_labels(what: str, labels: t.Mapping[t.Any, t.Any]) -> None:
    for label, value in labels.items():
        if not isinstance(label, str) or not LABEL_NAME.fullmatch(label) or label.startswith("__") or len(label) > LABEL_NAME_MAX:
            rule = f"letters, digits and '_', not beginning with a digit or '__', at most {LABEL_NAME_MAX} characters"
            raise ObserverError(f"{what}: {label!r:.200} is no label name. Use {rule}.")
        if label in RESERVED_LABELS:
            raise ObserverError(f"{what}: the label {label!r} is reserved, for the Observer sets it itself. Use another name.")
        if not isinstance(value, str):
            raise ObserverError(f"{what}: the label {label!r} is {value!r}, which is no string. Put it in quotes.")
        if len(value) > LABEL_VALUE_MAX or not value.isprintable():
            raise ObserverError(f"{what}: the label {label!r} must be printable text of at most {LABEL_VALUE_MAX} characters. Shorten or clean it.")


def _check_description(what: str, description: str) -> None:
    if len(description) > DESCRIPTION_MAX:
        raise ObserverError(f"{what}: the description has {len(description)} characters, {DESCRIPTION_MAX} are allowed. Shorten it.")
    _check_text(f"{what}: the description", description)


def parse(value: str) -> dict[str, t.Any] | None:
    """The fields of a value; empty for a bare key, None for a value that is not of this form."""
    if not value.strip():
        return {}
    try:
        fields = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def manager_of(value: str) -> str | None:
    """Who registered the cluster; None when nobody knows."""
    return (parse(value) or {}).get("manager")


def merge(name: str, value: str | None, asked: t.Mapping[str, t.Any], manager: str = MANAGER) -> str:
    """The value after what is asked; character by character the old one when it says all that already. A new one says who made it."""
    fields = {"manager": manager} if value is None else parse(value)
    if fields is None:
        if not asked:
            return t.cast("str", value)
        raise ObserverError(
            f"Registry entry {name}: its value is neither empty nor a JSON object, so another program wrote it and it is not overwritten. "
            "Unregister the cluster first, or ask for nothing but its name."
        )
    if value is not None and all(_dump(fields.get(field, DEFAULTS[field])) == _dump(wanted) for field, wanted in asked.items()):
        return value
    merged = {"role": DEFAULTS["role"]} | fields | dict(asked)
    return _dump({field: content for field, content in merged.items() if field == "role" or content != DEFAULTS.get(field, ())})


def _dump(content: object) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def plan_for(items: t.Sequence[Item], data: t.Mapping[str, str], *, manager: str = MANAGER, prune: Prune | None = None) -> Outcome:
    desired = {item.name: _wanted(item, data.get(item.name), manager) for item in items if item.present}
    gone = {item.name for item in items if not item.present}
    if prune is not None:
        owned = [name for name, value in data.items() if manager_of(value) == manager]
        pruned = [name for name in owned if name not in desired and name not in gone and not prune.ignores(name)]
        prune.check(manager, pruned, len(owned))
        gone.update(pruned)
    plan = make_plan(desired, data, prune=gone.__contains__)
    moved = {step.name for step in plan.of("create", "update", "delete")}
    return Outcome(plan, tuple(item.name for item in items if item.name not in moved))


def _wanted(item: Item, value: str | None, manager: str) -> str:
    if item.exact is None:
        return merge(item.name, value, item.asked, manager)
    return item.exact if value is None or item.overwrite else value


def named(names: t.Collection[str]) -> str:
    """For a message: some of many names."""
    first = ", ".join(sorted(names)[:NAMED])
    return f"{first} and {len(names) - NAMED} more" if len(names) > NAMED else first


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

    def ensure(self, items: t.Sequence[Item], *, manager: str = MANAGER, prune: Prune | None = None, check: bool = False) -> Outcome:
        """Read, plan, write; planned anew when another writer came first."""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, min(DELAY_MAX, 0.05 * 2**attempt)))
            snapshot = self.read()
            outcome = plan_for(items, snapshot.data, manager=manager, prune=prune)
            self._check_form(snapshot, outcome)
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
        if not isinstance(configmap, dict) or configmap.get("kind") != "ConfigMap":
            raise ObserverError(f"{self.client.server}{self._path} is no ConfigMap. Check that it is a Kubernetes API server.")
        return Snapshot(
            configmap.get("data") or {},
            configmap["metadata"]["resourceVersion"],
            configmap.get("binaryData") or {},
            bool(configmap.get("immutable")),
        )

    def _check_form(self, snapshot: Snapshot, outcome: Outcome) -> None:
        """Is it a registry, and can it be written?"""
        if snapshot.immutable and outcome.plan.changed:
            raise ObserverError(f"Registry {self.namespace}/{self.name} is an immutable ConfigMap. Make it anew without 'immutable', then run again.")
        keys = [*snapshot.data, *snapshot.binary]
        created = outcome.plan.names("create")
        if created and keys and not any(CLUSTER_NAME.fullmatch(key) for key in keys):
            raise ObserverError(
                f"ConfigMap {self.namespace}/{self.name} is no registry: none of its keys ({named(keys)}) is a cluster's id. "
                "Check the options namespace and name; nothing was changed."
            )
        taken = [name for name in created if name in snapshot.binary]
        if taken:
            raise ObserverError(
                f"Registry {self.namespace}/{self.name} holds {named(taken)} as binaryData, which is no entry of a cluster. "
                "Remove it from binaryData, then run again."
            )

    def _write(self, snapshot: Snapshot, outcome: Outcome) -> bool:
        """False when another writer came first."""
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


def wait_shown(
    backend: Backend,
    shown: t.Collection[str],
    gone: t.Collection[str],
    *,
    timeout: float,
    sleep: t.Callable[[float], None] = time.sleep,
    clock: t.Callable[[], float] = time.monotonic,
) -> float:
    """Until the Observer expects the ones and no longer the others; gives the seconds it took. What a part of the stores does not show is not gone."""
    missing = {name for name in shown if CLUSTER_NAME.fullmatch(name)}
    lingering = set(gone)
    begin = clock()
    while True:
        trouble = ""
        try:
            answer = parse_answer(backend.query(SHOWN_QUERY), backend.title)
            found = {series.labels.get("cluster", "") for series in answer.series}
            missing -= found
            if answer.partial:
                trouble = f" The last answer was partial: {'; '.join(answer.warnings)}."
            elif any(series.labels.get("__name__") == IMPORTER for series in answer.series):
                lingering &= found
            else:
                trouble = f" Nothing is heard of the importer (no {IMPORTER})."
        except QueryError as error:
            if not error.again:
                raise ObserverError(f"The registry is as asked, but what the Observer makes of it can't be seen: {error}") from error
            trouble = f" There was no answer at last: {error}"
        elapsed = clock() - begin
        if not missing and not lingering:
            return elapsed
        if elapsed >= timeout:
            break
        sleep(min(SHOWN_DELAY, timeout - elapsed))
    parts = [f"does not yet expect {named(missing)}"] if missing else []
    parts += [f"still expects {named(lingering)}"] if lingering else []
    raise ObserverError(
        f"The registry is as asked, but after {elapsed:.0f} s the Observer {' and '.join(parts)} (metric kaas in {backend.title}).{trouble} "
        "Check that kaas-metric-importer and Prometheus run, then run again."
    )
