# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: KaaS clusters as hosts, of the registry or of Cluster API; for the inventory plugin and the role kaas_watcher's program.

Written for cluster.x-k8s.io v1beta1 and v1beta2.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import typing as t

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._kubernetes import ApiError, Client, Resource
from ansible_collections.scs.observer.plugins.module_utils._registry import CLUSTER_NAME, DEFAULTS, LABEL_NAME, RESERVED_LABELS, parse

GROUP = "cluster.x-k8s.io"
KIND = "Cluster"
# the best first
VERSIONS = ("v1beta2", "v1beta1")
ID_MAX = 63
DIGEST = 6


@dataclasses.dataclass(frozen=True)
class Host:
    """One KaaS cluster. C(entry) is what kaas_clusters takes; C(secret) says where its kubeconfig is, which is never read here."""

    name: str
    entry: t.Mapping[str, t.Any]
    secret: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    source: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)


# -- the registry ---------------------------------------------------------------------------------------------------------------------------------------


def from_registry(data: t.Mapping[str, str]) -> tuple[list[Host], list[str]]:
    """A host for each entry, and the names that can be no host."""
    hosts, bad = [], []
    for name, value in sorted(data.items()):
        if not CLUSTER_NAME.fullmatch(name):
            bad.append(name)
            continue
        fields = parse(value) or {}
        entry = {"name": name, **{field: fields[field] for field in DEFAULTS if field in fields}}
        secret = fields.get("kubeconfig_secret")
        hosts.append(Host(name, entry, secret if isinstance(secret, dict) else {}))
    return hosts, bad


# -- Cluster API ----------------------------------------------------------------------------------------------------------------------------------------


def cluster_id(namespace: str, name: str) -> str:
    """Readable, at most 63 characters, and never the same for two: C(a-b/c) and C(a/b-c) differ by the digest of what they were made from."""
    digest = hashlib.sha256(f"{namespace}/{name}".encode()).hexdigest()[:DIGEST]
    readable = re.sub(r"[^a-z0-9]+", "-", f"{namespace}-{name}".lower())[: ID_MAX - DIGEST - 1]
    return f"{readable.strip('-')}-{digest}"


def find_resource(client: Client) -> Resource:
    """The newest version that the server serves and this collection knows. An ApiError of status 404 when there is no Cluster API."""
    try:
        served = [version["version"] for version in client.request("GET", f"/apis/{GROUP}")["versions"]]
    except ApiError as error:
        if error.status == 404:
            message = f"{client.server} knows no {GROUP}: it is no management cluster of Cluster API. Check 'kubeconfig' and 'context'."
            raise ApiError(message, status=404) from error
        raise
    for version in VERSIONS:
        if version in served:
            resource = client.resolve(f"{GROUP}/{version}", KIND)
            if resource:
                return resource
    wanted = " or ".join(VERSIONS)
    raise ApiError(f"{client.server} serves {GROUP} as {', '.join(served)} and has no {KIND} of {wanted}. Install Cluster API's core provider.", status=404)


def list_objects(client: Client, path: str, labels: str | None = None) -> tuple[list[dict[str, t.Any]], str]:
    """All objects, and the resourceVersion from which a watch goes on."""
    query = {"limit": "500"} | ({"labelSelector": labels} if labels else {})
    objects: list[dict[str, t.Any]] = []
    while True:
        page = client.request("GET", path, query=query)
        if not isinstance(page, dict) or not str(page.get("kind", "")).endswith("List") or not isinstance(page.get("items"), list):
            raise ApiError(f"{client.server}{path} is no list. Check that it is a Kubernetes API server.", status=0)
        objects += page["items"]
        query["continue"] = page["metadata"].get("continue") or ""
        if not query["continue"]:
            return objects, page["metadata"]["resourceVersion"]


def list_clusters(client: Client, *, namespaces: t.Sequence[str] = (), labels: str | None = None) -> list[dict[str, t.Any]]:
    resource = find_resource(client)
    found: list[dict[str, t.Any]] = []
    for namespace in namespaces or [None]:
        found += list_objects(client, resource.path(namespace), labels)[0]
    return found


def is_deleted(cluster: t.Mapping[str, t.Any]) -> bool:
    """Asked to go, though it may linger for as long as its machines do."""
    return "deletionTimestamp" in cluster["metadata"]


def is_ready(cluster: t.Mapping[str, t.Any]) -> bool:
    """Its API server has once answered, and so there is a kubeconfig. That stays true when the cluster is broken later on: then it is down, not gone."""
    status = cluster.get("status") or {}
    if (status.get("initialization") or {}).get("controlPlaneInitialized") or status.get("controlPlaneReady"):
        return True
    true = {condition.get("type") for condition in status.get("conditions") or [] if condition.get("status") == "True"}
    return bool(true & {"ControlPlaneInitialized", "ControlPlaneAvailable", "ControlPlaneReady"})


def check_labels(labels: t.Mapping[t.Any, t.Any]) -> dict[str, str]:
    """The option that maps labels of Cluster objects to labels of the registry."""
    for theirs, ours in labels.items():
        if not isinstance(ours, str) or not LABEL_NAME.fullmatch(ours) or ours.startswith("__") or ours in RESERVED_LABELS:
            raise ObserverError(
                f"labels: {theirs!r} is to become the label {ours!r}, which is reserved or no label name. Use letters, digits and '_', "
                "and none of the names that the Observer sets itself, such as cluster or role."
            )
    return {str(theirs): ours for theirs, ours in labels.items()}


def from_cluster_api(clusters: t.Iterable[t.Mapping[str, t.Any]], *, labels: t.Mapping[str, str]) -> list[Host]:
    """A host for each Cluster that is ready and not about to go."""
    hosts: dict[str, Host] = {}
    for cluster in clusters:
        if is_deleted(cluster) or not is_ready(cluster):
            continue
        host = _host(cluster, labels)
        if host.name in hosts:
            here, there = (f"{one.source['namespace']}/{one.source['name']}" for one in (hosts[host.name], host))
            raise ObserverError(f"The clusters {here} and {there} get the same id, {host.name}. Give one of them another name.")
        hosts[host.name] = host
    return [hosts[name] for name in sorted(hosts)]


def _host(cluster: t.Mapping[str, t.Any], labels: t.Mapping[str, str]) -> Host:
    metadata = cluster["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    theirs = metadata.get("labels") or {}
    entry: dict[str, t.Any] = {
        "name": cluster_id(namespace, name),
        "labels": {"name": name} | {ours: theirs[label] for label, ours in labels.items() if theirs.get(label)},
    }
    endpoint = (cluster.get("spec") or {}).get("controlPlaneEndpoint") or {}
    if endpoint.get("host") and endpoint.get("port"):
        host = f"[{endpoint['host']}]" if ":" in endpoint["host"] else endpoint["host"]
        entry["api_url"] = f"https://{host}:{endpoint['port']}"
    secret = {"namespace": namespace, "name": f"{name}-kubeconfig", "key": "value"}
    source = {"namespace": namespace, "name": name, "labels": theirs, "phase": (cluster.get("status") or {}).get("phase", "")}
    return Host(entry["name"], entry, secret, source)
