# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry against a real API server."""

from __future__ import annotations

import concurrent.futures
import json

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _kubernetes
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._registry import Registry, items_from

LABELS = {"customer": "customer-a", "name": "Production of customer A", "region": "west", "tier": "gold"}


@pytest.fixture(name="namespace")
def fixture_namespace(cluster):
    name = cluster.namespace()
    assert cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})[0] == 201
    yield name
    cluster.request("DELETE", f"/api/v1/namespaces/{name}")


def path(namespace):
    return f"/api/v1/namespaces/{namespace}/configmaps/kaas-clusters"


def data(cluster, namespace):
    return cluster.request("GET", path(namespace))[1].get("data", {})


def upstream(cluster, namespace, **entries):
    """As the mock service of the MVP registers: bare keys by a strategic merge patch."""
    cluster.request("POST", f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "kaas-clusters"}})
    assert cluster.request("PATCH", path(namespace), {"data": entries}, "application/strategic-merge-patch+json")[0] == 200


def ensure(cluster, namespace, clusters, *, present=True, check=False):
    client = _kubernetes.connect({"kubeconfig": cluster.kubeconfig})
    outcome = Registry(client, namespace).ensure(items_from(clusters, present=present), check=check)
    return outcome.result(), client.requests


def test_module_registers_updates_and_unregisters(cluster, namespace, run_playbook):
    arguments = {"kubeconfig": cluster.kubeconfig, "namespace": namespace}
    clusters = [{"name": "a", "labels": {"tier": "gold"}}, {"name": "b", "role": "infrastructure", "description": "Harbor"}]

    def run(*flags, **options):
        done = run_playbook("scs.observer.kaas_clusters", arguments | options, *flags)
        assert done.code == 0, done.output
        return done

    predicted = run("--check", "--diff", clusters=clusters)
    assert predicted.result["registered"] == ["a", "b"]
    assert '"role": "infrastructure"' in predicted.output
    assert cluster.request("GET", path(namespace))[0] == 404

    first = run(clusters=clusters).result
    assert (first["changed"], first["registered"], first["requests"]) == (True, ["a", "b"], 2)
    assert data(cluster, namespace) == {"a": '{"labels":{"tier":"gold"},"role":"kaas"}', "b": '{"description":"Harbor","role":"infrastructure"}'}

    second = run(clusters=clusters).result
    assert (second["changed"], second["unchanged"], second["requests"]) == (False, ["a", "b"], 1)

    gone = run(clusters=[{"name": "b"}, {"name": "c"}], state="absent").result
    assert (gone["unregistered"], gone["unchanged"], gone["requests"]) == (["b"], ["c"], 2)
    assert list(data(cluster, namespace)) == ["a"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": [{"name": "good"}, {"name": "Bad"}]}, "Item 2 of clusters ('Bad'): a cluster's name is an RFC 1123 label"),
        ({"clusters": [{"name": "a"}, {"name": "a"}]}, "Items 1 and 2 of clusters have one name, a"),
        ({"clusters": [{"name": "a", "labels": {"tier": 1}}]}, "the label 'tier' is 1, which is no string"),
        ({"clusters": [{"name": "a"}], "namespace": "not-there"}, "there is no namespace not-there"),
        (
            {"clusters": [{"name": "a"}], "host": "https://127.0.0.1:1", "api_key": "x", "kubeconfig": None},
            "Kubernetes API server https://127.0.0.1:1 cannot be reached",
        ),
    ],
)
def test_module_refuses_with_one_message(cluster, namespace, run_playbook, options, message):
    given = {"kubeconfig": cluster.kubeconfig, "namespace": namespace} | options
    done = run_playbook("scs.observer.kaas_clusters", {key: value for key, value in given.items() if value is not None})
    assert done.result["failed"]
    assert message in done.result["msg"]
    assert cluster.request("GET", path(namespace))[0] == 404


def test_kubeconfig_without_rights_is_named(cluster, namespace):
    client = _kubernetes.connect({"kubeconfig": cluster.user("nobody")})
    with pytest.raises(ObserverError, match="nobody"):
        Registry(client, namespace).ensure(items_from([{"name": "a"}], present=True))


def test_get_and_patch_on_the_one_configmap_are_rights_enough(cluster, namespace):
    upstream(cluster, namespace, a="")
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["kaas-clusters"], "verbs": ["get", "patch"]}]
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    assert cluster.request("POST", f"{rbac}/roles", {"metadata": {"name": "registrar"}, "rules": rules})[0] == 201
    binding = {
        "metadata": {"name": "registrar"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "registrar"},
        "subjects": [{"kind": "User", "name": "registrar", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    assert cluster.request("POST", f"{rbac}/rolebindings", binding)[0] == 201
    client = _kubernetes.connect({"kubeconfig": cluster.user("registrar")})
    assert Registry(client, namespace).ensure(items_from([{"name": "b"}], present=True)).plan.names("create") == ["b"]


def test_upstream_registry_keeps_its_bare_keys(cluster, namespace):
    upstream(cluster, namespace, **{"kaas-1": "", "kaas-2": "", "Old_Key": "x"})
    result, requests = ensure(cluster, namespace, [{"name": "kaas-1"}, {"name": "kaas-2", "labels": {"tier": "gold"}}, {"name": "kaas-3"}])

    assert (result["registered"], result["updated"], result["unchanged"], requests) == (["kaas-3"], ["kaas-2"], ["kaas-1"], 2)
    upstream(cluster, namespace, **{"kaas-4": ""})
    after = data(cluster, namespace)
    assert after["kaas-1"] == after["kaas-4"] == ""
    assert after["Old_Key"] == "x"
    assert json.loads(after["kaas-2"]) == {"role": "kaas", "labels": {"tier": "gold"}}


def test_thousand_clusters_are_two_requests(cluster, namespace):
    clusters = [{"name": f"cluster-{number:04}", "labels": LABELS, "description": "Written up in the contract"} for number in range(1000)]
    before = len(cluster.audit())

    result, requests = ensure(cluster, namespace, clusters)
    assert (len(result["registered"]), requests) == (1000, 2)
    changed = [cluster | {"description": "new"} if number < 10 else cluster for number, cluster in enumerate(clusters)]
    result, requests = ensure(cluster, namespace, changed)
    assert (len(result["updated"]), len(result["unchanged"]), requests) == (10, 990, 2)
    result, requests = ensure(cluster, namespace, changed)
    assert (result["changed"], requests) == (False, 1)
    result, requests = ensure(cluster, namespace, changed, present=False)
    assert (len(result["unregistered"]), requests) == (1000, 2)

    assert data(cluster, namespace) == {}
    assert len(cluster.audit()) - before == 7


def test_conflict_with_another_writer_is_planned_anew(cluster, namespace, monkeypatch):
    upstream(cluster, namespace, a="")
    client = _kubernetes.connect({"kubeconfig": cluster.kubeconfig})
    registry = Registry(client, namespace)
    read, others = registry.read, ["other-1", "other-2"]

    def read_then_another_writes():
        snapshot = read()
        if others:
            upstream(cluster, namespace, **{others.pop(): ""})
        return snapshot

    monkeypatch.setattr(registry, "read", read_then_another_writes)
    outcome = registry.ensure(items_from([{"name": "b"}], present=True))

    assert outcome.plan.names("create") == ["b"]
    assert client.requests == 6
    assert set(data(cluster, namespace)) == {"a", "b", "other-1", "other-2"}


def test_many_writers_at_the_same_moment_lose_nothing(cluster, namespace):
    """Also the very first write, when the registry does not exist yet."""
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        done = list(pool.map(lambda number: ensure(cluster, namespace, [{"name": f"c{number}"}]), range(20)))

    assert all(result["registered"] for result, _requests in done)
    assert set(data(cluster, namespace)) == {f"c{number}" for number in range(20)}


def fits(cluster, namespace, clusters):
    try:
        ensure(cluster, namespace, clusters, check=True)
    except ObserverError:
        return False
    return True


@pytest.mark.parametrize("size", [0, 100, 1024], ids=["many short", "medium", "long"])
def test_what_passes_our_limit_passes_the_one_of_kubernetes(cluster, namespace, size):
    """The largest registry that is not refused by us is accepted by the server."""
    clusters = [{"name": f"cluster-{number:05}-{'x' * 49}", "description": "d" * size} for number in range(9000 if not size else 6000 if size == 100 else 1000)]
    low, high = 0, len(clusters)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(cluster, namespace, clusters[:middle]):
            low = middle
        else:
            high = middle - 1
    assert 0 < low < len(clusters)
    result, requests = ensure(cluster, namespace, clusters[:low])
    assert (len(result["registered"]), requests) == (low, 2)
    result, _requests = ensure(cluster, namespace, clusters[:low], present=False)
    assert len(result["unregistered"]) == low
