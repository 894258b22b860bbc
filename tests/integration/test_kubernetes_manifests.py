# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kubernetes_manifests against a real API server."""

from __future__ import annotations

import base64
import copy
import json
import re
import threading
import time
import typing as t

import pytest
import yaml
from ansible_collections.scs.observer.plugins.module_utils import _manifests, _manifests_sync
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._kubernetes import Client, connect

MODULE = "scs.observer.kubernetes_manifests"
PASSWORD = "correct-horse-battery-staple"


def namespace(name: str, **labels: str) -> dict[str, t.Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def config_map(space: str, name: str, **data: str) -> dict[str, t.Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": space}, "data": data}


def workload(space: str, kind: str, name: str, *, replicas: int = 1, **spec: t.Any) -> dict[str, t.Any]:
    labels = {"app": name}
    pod = {"containers": [{"name": "main", "image": "registry.invalid/main:1", "ports": [{"containerPort": 8080}]}]}
    content = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}, **spec}
    if kind != "DaemonSet":
        content["replicas"] = replicas
    if kind == "StatefulSet":
        content["serviceName"] = name
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": space}, "spec": content}


def service(space: str, name: str) -> dict[str, t.Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": space}, "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}}


def everything(space: str) -> list[dict[str, t.Any]]:
    """One of each kind that the roles write, in a namespace of its own; not in order."""
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    return [
        workload(space, "Deployment", "query"),
        workload(space, "StatefulSet", "receive", volumeClaimTemplates=[claim]),
        workload(space, "DaemonSet", "node-exporter"),
        service(space, "query"),
        {**config_map(space, "config", **{"a.yml": "a: 1\nb: 2\n"})},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "secret", "namespace": space}, "stringData": {"password": PASSWORD}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "query", "namespace": space}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "query", "namespace": space},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "query", "namespace": space},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "query"},
            "subjects": [{"kind": "ServiceAccount", "name": "query", "namespace": space}],
        },
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": space}, "rules": []},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "own", "namespace": space}, "spec": claim["spec"]},
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "query", "namespace": space},
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "query"}}},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "query", "namespace": space},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "tidy", "namespace": space},
            "spec": {
                "schedule": "0 0 1 1 *",
                "jobTemplate": {
                    "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "registry.invalid/main:1"}]}}}
                },
            },
        },
        namespace(space),
    ]


class Run:
    """One call of the module's logic, with what it cost."""

    def __init__(self, kubeconfig: str, manifests: t.Sequence[t.Any], state: str = "present", **options: t.Any) -> None:
        options.setdefault("set_name", None)
        options.setdefault("wait", False)
        if "keep" in options:
            options["keep"] = frozenset(options["keep"])
        self.client: Client = connect({"kubeconfig": kubeconfig})
        parsed = _manifests.parse(copy.deepcopy(list(manifests)))
        start = time.monotonic()
        function = _manifests_sync.apply if state == "present" else _manifests_sync.remove
        self.outcome = function(self.client, parsed, _manifests_sync.Options(**options))
        self.seconds = time.monotonic() - start

    @property
    def lists(self) -> tuple[list[str], list[str], list[str]]:
        return sorted(self.outcome.created), sorted(self.outcome.updated), sorted(self.outcome.deleted)


@pytest.fixture
def run(cluster) -> t.Callable[..., Run]:
    return lambda manifests, state="present", kubeconfig=cluster.kubeconfig, **options: Run(kubeconfig, manifests, state, **options)


@pytest.fixture
def space(cluster) -> t.Iterator[str]:
    """An existing, empty namespace."""
    name = cluster.namespace()
    assert cluster.request("POST", "/api/v1/namespaces", namespace(name))[0] == 201
    yield name
    cluster.request("DELETE", f"/api/v1/namespaces/{name}")


def titles(manifests: t.Iterable[dict[str, t.Any]]) -> list[str]:
    return sorted(map(_manifests.title, manifests))


# --- plan, apply, again ----------------------------------------------------------------------------------------------------------------------------


def test_check_mode_on_an_empty_cluster_predicts_what_a_run_makes_and_writes_nothing(cluster, run):
    space = cluster.namespace()
    manifests = everything(space)
    before = len(cluster.writes())
    predicted = run(manifests, set_name="s1", check_mode=True)
    assert predicted.outcome.changed
    assert cluster.writes()[before:] == []
    assert cluster.request("GET", f"/api/v1/namespaces/{space}")[0] == 404
    made = run(manifests, set_name="s1")
    assert predicted.lists == made.lists == (titles(manifests), [], [])
    assert predicted.outcome.diff
    assert len(predicted.outcome.diff) == len(manifests)
    written = cluster.writes()[before:]
    assert len(written) == len(manifests)
    assert all("fieldManager=scs.observer" in uri for uri in written)


def test_a_second_run_changes_nothing(cluster, run):
    space = cluster.namespace()
    run(everything(space), set_name="s2")
    time.sleep(0.5)
    before = len(cluster.writes())
    again = run(everything(space), set_name="s2", prune=True)
    assert again.lists == ([], [], [])
    assert not again.outcome.changed
    assert again.outcome.diff == []
    assert sorted(again.outcome.unchanged) == titles(everything(space))
    assert cluster.writes()[before:] == []


def test_a_namespace_without_labels_is_unchanged_on_its_second_run(cluster, run):
    bare = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": cluster.namespace()}}
    assert run([bare]).outcome.created
    assert run([bare]).outcome.unchanged


def test_a_change_is_shown_and_made(cluster, run, space):
    run([config_map(space, "a", x="1"), service(space, "b")])
    changed = [config_map(space, "a", x="2", y="new"), service(space, "b")]
    planned = run(changed, check_mode=True)
    assert planned.outcome.updated == [f"ConfigMap {space}/a"]
    assert cluster.request("GET", f"/api/v1/namespaces/{space}/configmaps/a")[1]["data"] == {"x": "1"}
    (diff,) = run(changed).outcome.diff
    assert diff["before_header"] == f"ConfigMap {space}/a"
    assert "x: '1'" in diff["before"]
    assert "x: '2'" in diff["after"]
    for noise in ("managedFields", "resourceVersion", "uid:", "creationTimestamp"):
        assert noise not in diff["before"] + diff["after"]
    assert cluster.request("GET", f"/api/v1/namespaces/{space}/configmaps/a")[1]["data"] == {"x": "2", "y": "new"}


def test_fields_that_leave_the_manifest_leave_the_object(cluster, run, space):
    run([config_map(space, "a", x="1", y="1")])
    assert run([config_map(space, "a", x="1")]).outcome.updated
    assert cluster.request("GET", f"/api/v1/namespaces/{space}/configmaps/a")[1]["data"] == {"x": "1"}


def test_keys_that_leave_string_data_leave_the_secret_and_values_are_never_shown(cluster, run, space):
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": space}, "stringData": {"a": PASSWORD, "b": "other-value"}}
    run([secret])
    secret["stringData"] = {"a": PASSWORD + "2"}
    (diff,) = run([secret]).outcome.diff
    assert set(cluster.request("GET", f"/api/v1/namespaces/{space}/secrets/s")[1]["data"]) == {"a"}
    shown = json.dumps(diff)
    for value in (PASSWORD, "other-value"):
        assert value not in shown
        assert base64.b64encode(value.encode()).decode()[:12] not in shown
    before, after = yaml.safe_load(diff["before"])["data"], yaml.safe_load(diff["after"])["data"]
    assert before["a"] != after["a"]
    assert set(before) == {"a", "b"}


def test_kubectls_annotation_is_not_shown(cluster, run, space):
    noisy = config_map(space, "a", x="1")
    noisy["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "noise"}
    cluster.request("POST", f"/api/v1/namespaces/{space}/configmaps", noisy)
    (diff,) = run([config_map(space, "a", x="2")], force_conflicts=True).outcome.diff
    assert "noise" not in diff["before"]


def test_ownership_is_taken_even_where_the_content_is_the_same(cluster, run, space):
    cluster.request("POST", f"/api/v1/namespaces/{space}/configmaps", config_map(space, "a", x="1"))
    first = run([config_map(space, "a", x="1")])
    assert first.outcome.updated
    assert "ownership" in first.outcome.diff[0]["after"]
    assert run([config_map(space, "a", x="1")]).outcome.unchanged


def test_own_defining_kinds_and_their_objects(cluster, run):
    space = cluster.namespace()
    kind = f"Widget{space[2:]}"
    group = f"{space}.example.org"
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": "widgets"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    widget = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": "w", "namespace": space}, "spec": {"size": 1}}
    manifests = [widget, definition, namespace(space)]
    predicted = run(manifests, set_name="crd", check_mode=True)
    made = run(manifests, set_name="crd", wait=True)
    assert predicted.lists == made.lists == (titles(manifests), [], [])
    assert not run(manifests, set_name="crd", prune=True).outcome.changed
    with pytest.raises(ObserverError, match="sise"):
        run([{**widget, "spec": {"sise": 1}}])
    assert run([], "absent", set_name="crd").outcome.deleted[-2:] == [f"CustomResourceDefinition widgets.{group}", f"Namespace {space}"]
    deadline = time.monotonic() + 20
    while cluster.request("GET", f"/apis/{group}/v1")[0] != 404 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert run([widget], "absent").lists == ([], [], [])


def test_a_set_of_sixty_unchanged_objects_takes_less_than_a_second(run, space):
    manifests = [config_map(space, f"m{number}", **{"a.yml": "x: 1\n" * 200}) for number in range(40)]
    manifests += [service(space, f"s{number}") for number in range(10)]
    manifests += [workload(space, "Deployment", f"d{number}", replicas=0) for number in range(10)]
    run(manifests, set_name="sixty")
    time.sleep(1)
    runs = [run(manifests, set_name="sixty") for _run in range(3)]
    assert all(not again.outcome.changed for again in runs)
    assert runs[0].client.requests <= 60 + 4
    print(f"60 unchanged objects: {[round(again.seconds, 2) for again in runs]} s, {runs[0].client.requests} requests")
    assert min(again.seconds for again in runs) < 1
    pruning = run(manifests, set_name="sixty", prune=True)
    print(f"with prune: {pruning.seconds:.2f} s, {pruning.client.requests} requests")
    assert not pruning.outcome.changed


# --- problems --------------------------------------------------------------------------------------------------------------------------------------


def test_all_problems_are_named_before_anything_is_written(cluster, run, space):
    bad = workload(space, "Deployment", "bad")
    bad["spec"]["template"]["spec"]["containers"][0]["nmae"] = "x"
    invalid = service(space, "invalid")
    invalid["spec"]["ports"] = [{"port": 99999}]
    before = len(cluster.writes())
    with pytest.raises(ObserverError) as caught:
        run([config_map(space, "good", x="1"), bad, invalid])
    text = str(caught.value)
    assert text.startswith("2 of 3 objects cannot be applied; nothing was changed:")
    assert f"Deployment {space}/bad: " in text
    assert "nmae" in text
    assert f"Service {space}/invalid: " in text
    assert "65535" in text
    assert cluster.writes()[before:] == []


def test_objects_in_a_new_namespace_are_tried_before_they_are_written(cluster, run):
    space = cluster.namespace()
    bad = service(space, "bad")
    bad["spec"]["ports"] = [{"port": 99999}]
    with pytest.raises(_manifests_sync.SyncError) as caught:
        run([namespace(space), config_map(space, "good", x="1"), bad])
    assert f"Service {space}/bad" in str(caught.value)
    assert f"Done before: Namespace {space}." in str(caught.value)
    assert caught.value.outcome.created == [f"Namespace {space}"]
    assert cluster.request("GET", f"/api/v1/namespaces/{space}/configmaps/good")[0] == 404
    assert run([namespace(space), config_map(space, "good", x="1")]).lists[0] == [f"ConfigMap {space}/good"]


def test_conflicts_name_field_owner_and_remedy(cluster, run, space):
    run([workload(space, "Deployment", "d", replicas=1)])
    path = f"/apis/apps/v1/namespaces/{space}/deployments/d?fieldManager=scaler"
    cluster.request("PATCH", path, {"spec": {"replicas": 3}}, "application/merge-patch+json")
    with pytest.raises(ObserverError) as caught:
        run([workload(space, "Deployment", "d", replicas=2)])
    assert f"Deployment {space}/d: .spec.replicas is owned by 'scaler'" in str(caught.value)
    assert "force_conflicts" in str(caught.value)
    assert run([workload(space, "Deployment", "d", replicas=2)], force_conflicts=True).outcome.updated
    assert run([workload(space, "Deployment", "d", replicas=2)]).outcome.unchanged


def test_unknown_kinds_are_named_one_by_one(run, space):
    monitor = {"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": {"name": "m", "namespace": space}}
    wrong = {"apiVersion": "v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": space}}
    with pytest.raises(ObserverError) as caught:
        run([monitor, wrong, config_map(space, "a")], check_mode=True)
    assert f"ServiceMonitor {space}/m: the API server knows no kind ServiceMonitor in monitoring.coreos.com/v1" in str(caught.value)
    assert f"Deployment {space}/d: the API server knows no kind Deployment in v1" in str(caught.value)
    assert "CustomResourceDefinition" in str(caught.value)


def test_a_missing_namespace_is_named_in_a_run_and_taken_for_granted_in_check_mode(cluster, run):
    space = cluster.namespace()
    with pytest.raises(ObserverError, match=f"ConfigMap {space}/a: namespace {space} does not exist"):
        run([config_map(space, "a")])
    assert run([config_map(space, "a")], check_mode=True).outcome.created == [f"ConfigMap {space}/a"]


def test_immutable_fields_are_explained(run, space):
    run([workload(space, "StatefulSet", "s"), {**config_map(space, "fixed", x="1"), "immutable": True}])
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    with pytest.raises(ObserverError) as caught:
        run([workload(space, "StatefulSet", "s", volumeClaimTemplates=[claim]), {**config_map(space, "fixed", x="2"), "immutable": True}])
    assert f"kubectl delete statefulset s -n {space} --cascade=orphan" in str(caught.value)
    assert f"ConfigMap {space}/fixed" in str(caught.value)
    assert "keep the old value" in str(caught.value)


def test_cluster_ip_is_explained(run, space):
    run([service(space, "s")])
    other = service(space, "s")
    other["spec"]["clusterIP"] = "10.96.77.77"
    with pytest.raises(ObserverError, match=f"kubectl delete service s -n {space}"):
        run([other], force_conflicts=True)


def test_pod_security_refuses_a_pod_and_warns_for_a_workload(cluster, run):
    space = cluster.namespace()
    restricted = namespace(space, **{"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"})
    run([restricted])
    found = run([restricted, workload(space, "Deployment", "loose")], check_mode=True)
    assert any("violate PodSecurity" in warning and f"Deployment {space}/loose" in warning for warning in found.outcome.warnings)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a", "namespace": space}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": space}}
    pod["spec"] = {"serviceAccountName": "a", "containers": [{"name": "main", "image": "registry.invalid/main:1"}]}
    run([account])
    with pytest.raises(ObserverError, match=f'Pod {space}/p: pods "p" is forbidden: violates PodSecurity'):
        run([pod], check_mode=True)


def test_a_pod_whose_service_account_is_new_too_can_be_planned(cluster, run, space):
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "new", "namespace": space}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": space}}
    pod["spec"] = {"serviceAccountName": "new", "containers": [{"name": "main", "image": "registry.invalid/main:1"}]}
    predicted = run([pod, account], check_mode=True)
    assert predicted.lists == run([pod, account]).lists == (titles([pod, account]), [], [])


def test_unreachable_unauthorised_and_without_rights(cluster, run, space):
    manifests = [config_map(space, "a"), config_map(space, "b")]
    with pytest.raises(ObserverError, match=r"Kubernetes API server https://127\.0\.0\.1:1 cannot be reached: .*refused.*Check that it runs"):
        run(manifests, kubeconfig=cluster.user("bob", server="https://127.0.0.1:1"))
    with pytest.raises(ObserverError, match=r"TLS certificate of Kubernetes API server .* cannot be verified.*ca_cert"):
        run(manifests, kubeconfig=cluster.user("bob", authority=type(cluster.authority)()))
    with pytest.raises(ObserverError, match=r"2 of 2 objects cannot be applied; nothing was changed(.|\n)*User \"bob\" cannot patch(.|\n)*grant it"):
        run(manifests, set_name="x", kubeconfig=cluster.user("bob"))
    token = connect({"host": cluster.server, "api_key": "wrong", "ca_cert": str(cluster.folder / "ca.crt")})
    with pytest.raises(ObserverError, match=r"does not accept the credentials \(401\)"):
        _manifests_sync.apply(token, _manifests.parse(manifests), _manifests_sync.Options())


def test_rights_in_one_namespace_are_enough(cluster, run, space):
    cluster.request(
        "POST",
        f"/apis/rbac.authorization.k8s.io/v1/namespaces/{space}/rolebindings",
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "edit"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
            "subjects": [{"kind": "User", "name": "carol"}],
        },
    )
    carol = cluster.user("carol")
    made = run([config_map(space, "a"), config_map(space, "b")], set_name="small", kubeconfig=carol)
    assert len(made.outcome.created) == 2
    pruned = run([config_map(space, "a")], set_name="small", prune=True, kubeconfig=carol)
    assert pruned.lists == ([], [], [f"ConfigMap {space}/b"])
    assert any("No right to list" in warning and "ClusterRole" in warning for warning in pruned.outcome.warnings)


# --- sets, prune, absent ---------------------------------------------------------------------------------------------------------------------------


def test_prune_removes_what_has_left_the_set_and_nothing_else(cluster, run, space):
    cluster.request("POST", f"/api/v1/namespaces/{space}/configmaps", config_map(space, "foreign", x="1"))
    run([config_map(space, "other-set", x="1")], set_name="p-other")
    run([config_map(space, name, x="1") for name in ("stays", "goes")] + [service(space, "svc")], set_name="p")
    kept = config_map(space, "annotated", x="1")
    kept["metadata"]["annotations"] = {"scs.observer/keep": "true"}
    run([kept], set_name="p")
    planned = run([config_map(space, "stays", x="1")], set_name="p", prune=True, keep=["Service"], check_mode=True)
    assert planned.lists == ([], [], [f"ConfigMap {space}/goes"])
    assert cluster.request("GET", f"/api/v1/namespaces/{space}/configmaps/goes")[0] == 200
    done = run([config_map(space, "stays", x="1")], set_name="p", prune=True, keep=["Service"])
    assert done.lists == planned.lists
    assert sorted(done.outcome.kept) == [f"ConfigMap {space}/annotated", f"Service {space}/svc"]
    left = {entry["metadata"]["name"] for entry in cluster.request("GET", f"/api/v1/namespaces/{space}/configmaps")[1]["items"]}
    assert left >= {"foreign", "other-set", "stays", "annotated"}
    assert "goes" not in left


def test_prune_leaves_what_controllers_gave_the_same_label(cluster, run, space):
    manifests = [workload(space, "Deployment", "d"), service(space, "d")]
    run(manifests, set_name="copied")
    wait_for_pods(cluster, space, 1)
    paths = (f"/api/v1/namespaces/{space}/endpoints/d", f"/apis/discovery.k8s.io/v1/namespaces/{space}/endpointslices?labelSelector=scs.observer/set=copied")
    deadline = time.monotonic() + 10
    while cluster.request("GET", paths[0])[0] != 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert cluster.request("GET", paths[0])[1]["metadata"]["labels"]["scs.observer/set"] == "copied"
    assert cluster.request("GET", paths[1])[1]["items"]
    again = run(manifests, set_name="copied", prune=True)
    assert again.lists == ([], [], [])
    assert again.outcome.kept == []


def test_prune_with_no_manifests_is_refused(run):
    with pytest.raises(ObserverError, match="state: absent"):
        run([], set_name="p", prune=True)


def test_an_object_of_another_set_is_refused(run, space):
    run([config_map(space, "a", x="1")], set_name="one")
    with pytest.raises(ObserverError, match=f"ConfigMap {space}/a: belongs to set one, not two"):
        run([config_map(space, "a", x="1")], set_name="two", force_conflicts=False)


def test_absent_goes_in_order_and_keeps_what_is_to_be_kept(cluster, run):
    space = cluster.namespace()
    run(everything(space), set_name="gone")
    planned = run([], "absent", set_name="gone", check_mode=True, keep=["PersistentVolumeClaim"])
    done = run([], "absent", set_name="gone", wait=True, wait_timeout=60, keep=["PersistentVolumeClaim"])
    assert planned.outcome.deleted == done.outcome.deleted
    kinds = [title.split(" ")[0] for title in done.outcome.deleted]
    assert set(kinds[:4]) == {"CronJob", "DaemonSet", "Deployment", "StatefulSet"}
    assert "Namespace" not in kinds
    assert f"Namespace {space}" in done.outcome.kept
    assert f"PersistentVolumeClaim {space}/own" in done.outcome.kept
    assert cluster.request("GET", f"/api/v1/namespaces/{space}/persistentvolumeclaims/own")[0] == 200
    # a claim that only the StatefulSet made is kept with its namespace as well
    cluster.request("DELETE", f"/api/v1/namespaces/{space}/persistentvolumeclaims/own")
    # its finalizer holds it until the controller has seen that no pod uses it
    deadline = time.monotonic() + 30
    while cluster.request("GET", f"/api/v1/namespaces/{space}/persistentvolumeclaims/own")[0] != 404 and time.monotonic() < deadline:
        time.sleep(0.1)
    claims = cluster.request("GET", f"/api/v1/namespaces/{space}/persistentvolumeclaims")[1]["items"]
    if any(claim["metadata"]["name"] == "data-receive-0" for claim in claims):
        assert run([], "absent", set_name="gone", keep=["PersistentVolumeClaim"], check_mode=True).outcome.kept == [f"Namespace {space}"]
    final = run([], "absent", set_name="gone", wait=True, wait_timeout=60)
    assert final.outcome.deleted[-1] == f"Namespace {space}"
    assert cluster.request("GET", f"/api/v1/namespaces/{space}")[0] == 404
    assert run([], "absent", set_name="gone").lists == ([], [], [])
    assert run(everything(space), "absent").lists == ([], [], [])


def test_absent_of_named_objects(cluster, run, space):
    run([config_map(space, "a"), config_map(space, "b")], set_name="n")
    assert run([config_map(space, "a")], "absent").outcome.deleted == [f"ConfigMap {space}/a"]
    cluster.request("POST", f"/api/v1/namespaces/{space}/configmaps", config_map(space, "foreign"))
    done = run([config_map(space, "b"), config_map(space, "foreign")], "absent", set_name="n")
    assert done.outcome.deleted == [f"ConfigMap {space}/b"]
    assert done.outcome.kept == [f"ConfigMap {space}/foreign"]


def test_a_namespace_on_its_way_out_is_waited_for(cluster, run):
    space = cluster.namespace()
    run([namespace(space), config_map(space, "a", x="1")], set_name="again")
    cluster.request("PATCH", f"/api/v1/namespaces/{space}/configmaps/a", {"metadata": {"finalizers": ["test/hold"]}}, "application/merge-patch+json")
    cluster.request("DELETE", f"/api/v1/namespaces/{space}")
    manifests = [namespace(space), config_map(space, "a", x="1")]
    assert run(manifests, set_name="again", check_mode=True).lists[0] == titles(manifests)
    with pytest.raises(ObserverError, match=f"Namespace {space} is being deleted"):
        run(manifests, set_name="again")
    release = {"metadata": {"finalizers": None}}
    timer = threading.Timer(1, lambda: cluster.request("PATCH", f"/api/v1/namespaces/{space}/configmaps/a", release, "application/merge-patch+json"))
    timer.start()
    assert run(manifests, set_name="again", wait=True, wait_timeout=60).lists[0] == titles(manifests)
    timer.join()


# --- waiting ---------------------------------------------------------------------------------------------------------------------------------------


def test_what_does_not_get_ready_is_named_with_its_reason(cluster, run):
    space = cluster.namespace()
    restricted = namespace(space, **{"pod-security.kubernetes.io/enforce": "restricted"})
    fine = workload(space, "Deployment", "idle", replicas=0)
    with pytest.raises(_manifests_sync.SyncError) as caught:
        run([restricted, fine, workload(space, "Deployment", "d"), workload(space, "StatefulSet", "s")], wait=True, wait_timeout=4)
    text = str(caught.value)
    assert "Not ready after 4 s:" in text
    assert f"Deployment {space}/d: 0 of 1 replicas updated" in text
    assert "violates PodSecurity" in text
    assert f"StatefulSet {space}/s: " in text
    assert "FailedCreate" in text
    assert f"Deployment {space}/idle" not in text.partition("Done before")[0]


def set_pod_status(cluster: t.Any, space: str, name: str, status: dict[str, t.Any]) -> None:
    code, answer = cluster.request("PATCH", f"/api/v1/namespaces/{space}/pods/{name}/status", {"status": status}, "application/merge-patch+json")
    assert code == 200, answer


def wait_for_pods(cluster: t.Any, space: str, count: int) -> list[str]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        pods = [pod["metadata"]["name"] for pod in cluster.request("GET", f"/api/v1/namespaces/{space}/pods")[1]["items"]]
        if len(pods) >= count:
            return pods
        time.sleep(0.1)
    raise AssertionError("no pods")


def test_pods_tell_why_and_a_later_run_waits_for_what_is_unchanged(cluster, run, space):
    manifests = [workload(space, "Deployment", "d")]
    run(manifests)
    (pod,) = wait_for_pods(cluster, space, 1)
    waiting = {"reason": "ErrImagePull", "message": "registry.invalid: no such host"}
    status = {"name": "main", "ready": False, "restartCount": 0, "image": "x", "imageID": "", "state": {"waiting": waiting}}
    set_pod_status(cluster, space, pod, {"phase": "Pending", "containerStatuses": [status]})
    with pytest.raises(ObserverError, match=rf"Deployment {space}/d: 0 of 1 replicas available; pod {pod}: container main: ErrImagePull: registry.invalid"):
        run(manifests, wait=True, wait_timeout=2)

    def start() -> None:
        ready = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")]
        set_pod_status(cluster, space, pod, {"phase": "Running", "conditions": ready, "containerStatuses": None})

    timer = threading.Timer(1, start)
    timer.start()
    done = run(manifests, wait=True, wait_timeout=30)
    timer.join()
    assert not done.outcome.changed
    ready = run(manifests, wait=True, wait_timeout=30)
    assert ready.client.requests == 3


# --- through Ansible -------------------------------------------------------------------------------------------------------------------------------


def test_as_a_task_with_check_diff_and_secrets(cluster, run_playbook):
    space = cluster.namespace()
    document = yaml.safe_dump_all([namespace(space), {**config_map(space, "a", note="visible-note")}])
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": "Opaque", "stringData": {"password": "{{ password }}"}}
    arguments = {
        "kubeconfig": cluster.kubeconfig,
        "namespace": space,
        "set": "task",
        "prune": True,
        "wait": False,
        "manifests": ["{{ document }}", secret],
        "src": ["more.yml", "folder"],
    }
    files = {
        "files/more.yml": f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: file}}\nstringData: {{password: {PASSWORD}-file}}\n",
        "files/folder/b.yaml": json.dumps(config_map(space, "from-folder", x="1")),
        "files/folder/ignored.txt": "no manifest",
    }
    variables = {"password": PASSWORD, "document": document}
    expected = [f"Namespace {space}", f"Secret {space}/s", f"Secret {space}/file", f"ConfigMap {space}/a", f"ConfigMap {space}/from-folder"]
    before = len(cluster.writes())
    check = run_playbook(MODULE, arguments, "--check", "--diff", "-vvv", files=files, variables=variables)
    assert check.result["created"] == expected, check.output
    assert cluster.writes()[before:] == []
    made = run_playbook(MODULE, arguments, "--diff", "-vvv", files=files, variables=variables)
    assert made.result["created"] == expected
    assert "visible-note" in made.output
    again = run_playbook(MODULE, arguments, "--diff", "-vvv", files=files, variables=variables)
    assert again.result["changed"] is False
    assert len(again.result["unchanged"]) == 5
    changed = run_playbook(MODULE, arguments, "--diff", "-vvv", files=files, variables={**variables, "password": "another-long-password"})
    assert changed.result["updated"] == [f"Secret {space}/s"]
    assert "<hidden " in changed.output
    secret["immutable"] = True
    assert run_playbook(MODULE, arguments, files=files, variables=variables).result["changed"]
    refused = run_playbook(MODULE, arguments, "--diff", "-vvv", files=files, variables={**variables, "password": "another-long-password"})
    assert refused.result["failed"]
    assert f"kubectl delete secret s -n {space}" in refused.result["msg"]
    for output in (check.output, made.output, again.output, changed.output, refused.output):
        for value in (PASSWORD, "another-long-password"):
            assert value not in output
            assert base64.b64encode(value.encode()).decode()[:16] not in output
    stored = cluster.request("GET", f"/api/v1/namespaces/{space}/secrets/s")[1]["data"]["password"]
    assert base64.b64decode(stored).decode() == PASSWORD
    assert run_playbook(MODULE, {**arguments, "state": "absent", "wait": True, "wait_timeout": 60}, "--diff", "-vvv", variables=variables, files=files).result[
        "deleted"
    ] == [*sorted(expected[1:]), expected[0]]


def test_connection_from_the_action_groups_defaults(cluster, run_playbook, space):
    defaults = {"group/scs.observer.kubernetes": {"kubeconfig": cluster.kubeconfig}}
    done = run_playbook(MODULE, {"manifests": config_map(space, "a", x="1")}, defaults=defaults)
    assert done.result["created"] == [f"ConfigMap {space}/a"], done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"manifests": ["a: b: c"]}, r"manifests\[0\]: not valid YAML in line 1"),
        ({"manifests": ["just text"]}, r"manifests\[0\]: is a text, not an object"),
        ({"manifests": [{"kind": "ConfigMap", "metadata": {"name": "x"}}]}, r"manifests\[0\] \(ConfigMap x\): has no apiVersion"),
        ({"manifests": [config_map("n", "x"), config_map("n", "x")]}, r"manifests\[1\]: ConfigMap n/x is there twice, first in manifests\[0\]"),
        ({"src": ["nowhere.yml"]}, r"src: nowhere.yml cannot be read on the controller"),
        ({"kubeconfig": "nowhere.kubeconfig", "manifests": [config_map("n", "x")]}, r"kubeconfig: nowhere.kubeconfig cannot be read on the controller"),
        ({"prune": True, "manifests": [config_map("n", "x")]}, r"prune needs the option 'set'"),
        ({"state": "absent"}, r"state: absent needs manifests, src or set"),
        ({"set": "no good", "manifests": [config_map("n", "x")]}, r"set 'no good' is no label value"),
        ({"set": "x", "keep": ["PVC"], "manifests": [config_map("n", "x")]}, r"keep: unknown kind PVC"),
    ],
)
def test_bad_input_is_one_clear_message(cluster, run_playbook, arguments, message):
    done = run_playbook(MODULE, {"kubeconfig": cluster.kubeconfig, **arguments})
    assert done.result["failed"], done.output
    assert re.search(message, done.result["msg"]), done.result["msg"]
