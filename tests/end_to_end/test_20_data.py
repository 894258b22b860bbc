# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What arrives: all jobs of both clusters, under the right id, few series, and nothing that is not meant to leave a cluster."""

from __future__ import annotations

import base64
import datetime
import json
import time
import typing as t

import pytest

OBSERVER, ALPHA, BETA = "test-observer", "test-alpha", "test-beta"
CLUSTERS = (ALPHA, BETA)
# kubelet stands for cAdvisor too: the same job at another path
JOBS = {
    "apiserver",
    "coredns",
    "kube-controller-manager",
    "kube-etcd",
    "kube-proxy",
    "kube-scheduler",
    "kube-state-metrics",
    "kubelet",
    "node-exporter",
    "prometheus-agent",
}
RESTRICTED = [(OBSERVER, "observer"), (ALPHA, "observer-agent"), (BETA, "observer-agent")]


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_every_job_is_up_under_the_cluster_s_id(lab: t.Any, kaas: t.Any, cluster: str) -> None:
    def all_up() -> bool:
        series = lab.query(f'up{{cluster="{cluster}"}}')
        return {one["metric"]["job"] for one in series} == JOBS and all(one["value"][1] == "1" for one in series)

    lab.wait_until(all_up, 60, f"up of {cluster} to be 1 for the jobs {sorted(JOBS)} and no others")
    series = lab.query(f'up{{cluster="{cluster}"}}')
    targets = [(one["metric"]["job"], one["metric"]["instance"], one["metric"].get("metrics_path")) for one in series]
    assert len(targets) == len(set(targets)), f"one series a target is expected, three receives or not: {sorted(targets)}"
    assert {one["metric"].get("metrics_path") for one in series if one["metric"]["job"] == "kubelet"} == {"/metrics", "/metrics/cadvisor"}
    extra = {label for one in series for label in one["metric"]} & {"observer", "infrastructure", "receive_replica", "prometheus_replica"}
    assert not extra, f"labels that are not the cluster's: {extra}"


def test_nothing_comes_under_another_id(lab: t.Any, kaas: t.Any) -> None:
    ids = {one["metric"]["cluster"] for one in lab.query('count by (cluster) (up{cluster!=""})')}
    assert ids == set(CLUSTERS)
    for cluster in CLUSTERS:
        names = {one["metric"]["node"] for one in lab.query(f'kube_node_info{{cluster="{cluster}"}}')}
        assert names == {lab.name(cluster)}, f"under {cluster} the nodes {names} are seen"


def test_registered_clusters_are_expected_within_30_seconds(lab: t.Any, kaas: t.Any) -> None:
    kaas.need_fresh()
    written = [
        datetime.datetime.fromisoformat(event["stageTimestamp"]).timestamp()
        for event in lab.audit(OBSERVER)
        if event["verb"] in ("create", "patch", "update")
        and event.get("objectRef", {}).get("name") == "kaas-clusters"
        and "dryRun" not in event["requestURI"]
        and event["user"]["username"] == "kubernetes-admin"
    ]
    assert written, "the audit log has no write of the registry"
    for cluster in CLUSTERS:
        (series,) = lab.wait_until(lambda cluster=cluster: lab.query(f'kaas{{cluster="{cluster}"}}[30m]'), 30, f"kaas of {cluster}")
        seconds = series["values"][0][0] - written[-1]
        lab.figures[f"{cluster}: kaas after registration, seconds"] = round(seconds, 1)
        assert seconds <= 30, f"kaas of {cluster} came {seconds:.1f} s after its registration"
        assert {value for _time, value in series["values"]} == {"1"}


def test_first_sample_within_a_minute(lab: t.Any, kaas: t.Any) -> None:
    kaas.need_fresh()
    for cluster in CLUSTERS:
        made = lab.get(cluster, "namespace", "observer-agent")["metadata"]["creationTimestamp"]
        (first,) = lab.query(f'min_over_time(timestamp(up{{cluster="{cluster}",job="prometheus-agent"}})[30m:5s])')
        seconds = float(first["value"][1]) - datetime.datetime.fromisoformat(made).timestamp()
        lab.figures[f"{cluster}: first sample after the agent's namespace, seconds"] = round(seconds, 1)
        assert seconds < 60, f"the first sample of {cluster} came {seconds:.0f} s after its agent"


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_series_of_an_idle_cluster(lab: t.Any, kaas: t.Any, cluster: str) -> None:
    series = lab.value(f'count({{__name__=~".+",cluster="{cluster}",observer=""}})')
    lab.figures[f"{cluster}: series, profile minimal"] = int(series or 0)
    assert 500 < (series or 0) < 6000, f"{cluster} sends {series} series"


def warnings_as_restricted(lab: t.Any, cluster: str, namespace: str) -> list[str]:
    # another version than "latest" makes the API server look at all pods that run
    labels = ["pod-security.kubernetes.io/enforce=restricted", "pod-security.kubernetes.io/enforce-version=v1.36"]
    done = lab.kubectl_run(cluster, "label", "--dry-run=server", "--overwrite", "namespace", namespace, *labels)
    return [line for line in done.stderr.splitlines() if "arning" in line]


@pytest.mark.parametrize(("cluster", "namespace"), RESTRICTED)
def test_pods_pass_restricted(lab: t.Any, kaas: t.Any, cluster: str, namespace: str) -> None:
    found = lab.get(cluster, "namespace", namespace)
    assert found["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert lab.get(cluster, "pods", "-n", namespace), f"no pod in {namespace}"
    assert warnings_as_restricted(lab, cluster, namespace) == []


def test_restricted_is_really_evaluated(lab: t.Any, kaas: t.Any) -> None:
    # node-exporter needs the host: the very same question has to give a warning in its namespace
    assert any("node-exporter" in line for line in warnings_as_restricted(lab, ALPHA, "observer-agent-node"))


def test_no_annotation_and_no_secret_leaves_a_cluster(lab: t.Any, kaas: t.Any) -> None:
    mark = f"leak{time.time_ns()}"
    name = f"seen-{mark}"
    annotations = {f"example.com/{mark}": f"annotation-{mark}"}
    labels = {f"example.com-{mark}": f"label-{mark}"}

    def metadata(**words: t.Any) -> dict[str, t.Any]:
        return {"name": name, "annotations": annotations, "labels": labels, **words}

    environment = [{"name": "PASSWORD", "value": f"environment-{mark}"}, {"name": "S", "valueFrom": {"secretKeyRef": {"name": name, "key": mark}}}]
    security = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "runAsUser": 65534, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "pause", "image": "registry.k8s.io/pause:3.10", "env": environment, "securityContext": security}
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata()},
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata(namespace=name), "stringData": {mark: f"secret-{mark}"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(namespace=name), "data": {mark: f"config-{mark}"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata(namespace=name), "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}},
    ]
    try:
        lab.kubectl(ALPHA, "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        # what is looked for below must be able to arrive
        lab.wait_until(
            lambda: lab.query(f'kube_pod_status_phase{{cluster="{ALPHA}",namespace="{name}",phase="Running"}} == 1'), 60, f"the pod {name} in the metrics"
        )
        lab.wait_until(
            lambda: lab.query(f'container_memory_working_set_bytes{{cluster="{ALPHA}",namespace="{name}"}}'), 60, f"the pod {name} in cAdvisor's metrics"
        )
        every = lab.query(f'{{__name__=~".+",cluster="{ALPHA}",observer=""}}')
    finally:
        lab.kubectl(ALPHA, "delete", "namespace", name, "--timeout=60s", check=False)
    marked = {f"{key}={value}" for one in every for key, value in one["metric"].items() if mark in key or mark in value}
    assert any(name in label for label in marked)
    told = {label for label in marked if label.partition("=")[2] != name}
    assert not told, f"annotations, labels, environment or a Secret's content left the cluster: {sorted(told)}"
    names = {one["metric"]["__name__"] for one in every}
    assert not [metric for metric in names if metric.startswith(("kube_secret_", "kube_configmap_")) or metric.endswith("_annotations")]
    contents = {
        base64.b64decode(value).decode(errors="replace").strip()
        for secret in lab.get(ALPHA, "secrets", "--all-namespaces")
        for value in secret.get("data", {}).values()
    }
    values = {value for one in every for value in one["metric"].values()}
    assert contents and not contents & values
