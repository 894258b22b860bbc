# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dashboards of one cluster's nodes, pods, workloads, namespaces, volumes and network, on two clusters in which everything has the same names.

The panels' own PromQL, read from the committed JSON, is evaluated by a real Prometheus. Cluster "one" has to look the same whether "two" is there or not, and
every query has to find something, so that a name that was misspelt is found without a lab.
"""

from __future__ import annotations

import collections
import json
import pathlib
import re
import subprocess
import time
import typing as t

import pytest
import requests
from _observer import free_port
from _programs import find_program

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "roles" / "observer_content" / "files" / "dashboards" / "KaaS"
NAMES = ("nodes", "node", "pods", "workloads", "namespaces", "volumes", "network")
START, STEP, STEPS = 1_767_225_600, 60, 40
END = START + STEP * (STEPS - 1)
NODES, NAMESPACES = ("node-0", "node-1"), ("shop", "web")
# What nothing is found for while all is well; none of them stands for a panel of its own.
WELL = {
    ("scs-kaas-pods", "Pods that are pending, failed or lost", "C"),
}


class Series:
    """Collects samples: a counter or gauge that starts at some value and changes by a rate. Cluster two has other rates than one, and all in another state."""

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = collections.defaultdict(list)

    def add(self, name: str, start: float, rate: float = 0, clusters: str = "one two", /, **labels: str) -> None:
        for cluster in clusters.split():
            text = ",".join(f'{key}="{value}"' for key, value in {"cluster": cluster, **labels}.items())
            for number in range(STEPS):
                value = start + (rate if cluster == "one" else 3 * rate) * number * STEP
                self.lines[name].append(f"{name}{{{text}}} {value} {START + number * STEP}")

    def one_of(self, name: str, label: str, values: t.Sequence[str], true: str, /, **labels: str) -> None:
        """In cluster two it is the last of the values, so that a join that loses the cluster shows."""
        for value in values:
            self.add(name, float(value == true), 0, "one", **labels, **{label: value})
            self.add(name, float(value == values[-1]), 0, "two", **labels, **{label: value})

    def text(self) -> str:
        return "".join(f"# TYPE {name} gauge\n" + "\n".join(lines) + "\n" for name, lines in self.lines.items()) + "# EOF\n"


def add_node(s: Series, node: str) -> None:
    exporter = {"job": "node-exporter", "instance": node, "node": node, "namespace": "observer-agent-node", "pod": "node-exporter-x"}
    state = {"job": "kube-state-metrics", "node": node}
    for cpu in ("0", "1"):
        for mode, share in {"idle": 0.6, "user": 0.3, "system": 0.06, "iowait": 0.04}.items():
            s.add("node_cpu_seconds_total", 10, share / 3, cpu=cpu, mode=mode, **exporter)
    gauges = {f"memory_{name}_bytes": size * 1e9 for name, size in _MEMORY.items()}
    gauges |= {"load1": 1, "load5": 1, "load15": 1, "boot_time_seconds": START - 86400, "procs_running": 3, "procs_blocked": 1, "time_seconds": END}
    gauges |= {"nf_conntrack_entries": 100, "nf_conntrack_entries_limit": 1000, "filefd_allocated": 10, "filefd_maximum": 100, "netstat_Tcp_CurrEstab": 9}
    gauges |= {"sockstat_TCP_inuse": 9, "sockstat_TCP_tw": 1, "sockstat_TCP_alloc": 9, "sockstat_sockets_used": 30}
    gauges |= {"timex_offset_seconds": 0.001, "timex_maxerror_seconds": 0.1, "timex_sync_status": 1}
    for name, number in gauges.items():
        s.add(f"node_{name}", number, **exporter)
    for name in _NODE_COUNTERS:
        s.add(f"node_{name}", 5, 0.01, **exporter)
    for name, number in {"size_bytes": 1e11, "avail_bytes": 4e10, "files": 1e6, "files_free": 9e5, "readonly": 0}.items():
        s.add(f"node_filesystem_{name}", number, -1e6 if name == "avail_bytes" else 0, mountpoint="/", device="/dev/vda", fstype="ext4", **exporter)
    for name in _DISK_COUNTERS:
        s.add(f"node_disk_{name}_total", 5, 0.1, device="vda", **exporter)
    for direction in ("receive", "transmit"):
        for name in ("bytes", "packets", "errs", "drop"):
            s.add(f"node_network_{direction}_{name}_total", 5, 1, device="eth0", **exporter)
            s.add(f"node_network_{direction}_{name}_total", 5, 1e6, device="lo", **exporter)
    s.add("kube_node_info", 1, **state, **dict.fromkeys(("kubelet_version", "internal_ip", "container_runtime_version", "kernel_version", "os_image"), "x"))
    s.add("kube_node_spec_unschedulable", 0, **state)
    for condition in ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"):
        s.one_of(
            "kube_node_status_condition", "status", ("true", "false", "unknown"), "true" if condition == "Ready" else "false", condition=condition, **state
        )
    for resource, number in {"cpu": 2, "memory": 8e9, "pods": 110}.items():
        s.add("kube_node_status_allocatable", number, resource=resource, **state)
    kubelet = {"job": "kubelet", "node": node, "metrics_path": "/metrics"}
    s.add("volume_manager_total_volumes", 3, plugin_name="kubernetes.io/csi", state="actual_state_of_world", **kubelet)
    for part in ("sum", "count"):
        s.add(f"kubeproxy_sync_proxy_rules_duration_seconds_{part}", 5, 0.1, job="kube-proxy", node=node)
    s.add("kubeproxy_sync_proxy_rules_last_timestamp_seconds", START, job="kube-proxy", node=node)
    s.add("up", 1, job="kube-proxy", node=node)


_MEMORY = {"MemTotal": 8, "MemFree": 1, "MemAvailable": 4, "Buffers": 0.1, "Cached": 3, "Slab": 0.2, "CommitLimit": 8, "Committed_AS": 5, "Shmem": 0.1}
_MEMORY |= {"SwapTotal": 1, "SwapFree": 1, "Dirty": 0.01, "Writeback": 0}
_NODE_COUNTERS = [
    "context_switches_total",
    "intr_total",
    "forks_total",
    *(f"vmstat_{name}" for name in ("pgfault", "pgmajfault", "oom_kill", "pswpin", "pswpout")),
]
_NODE_COUNTERS += [f"pressure_{name}_waiting_seconds_total" for name in ("cpu", "memory", "io")]
_NODE_COUNTERS += [f"pressure_{name}_stalled_seconds_total" for name in ("memory", "io")]
_NODE_COUNTERS += [f"netstat_Tcp_{name}" for name in ("RetransSegs", "OutSegs")] + ["netstat_Udp_InErrors"]
_NODE_COUNTERS += [f"netstat_TcpExt_{name}" for name in ("ListenOverflows", "ListenDrops", "TCPSynRetrans")]
_DISK_COUNTERS = ["io_time_seconds", "io_time_weighted_seconds", "read_bytes", "written_bytes", "reads_completed", "writes_completed"]
_DISK_COUNTERS += ["read_time_seconds", "write_time_seconds"]
PHASES = ("Running", "Pending", "Failed", "Unknown", "Succeeded")


def add_pod(s: Series, namespace: str, pod: str, owner: tuple[str, str], node: str, phase: str = "Running", reason: str = "") -> None:
    names = {"job": "kube-state-metrics", "namespace": namespace, "pod": pod}
    kind, owner_name = owner
    info = {"created_by_kind": kind, "created_by_name": owner_name, **names} | ({"node": node} if node else {})
    s.add("kube_pod_info", 1, 0, "one", host_network="false", **info)
    s.add("kube_pod_info", 1, 0, "two", host_network="true", **info)
    s.add("kube_pod_owner", 1, owner_kind=kind, owner_name=owner_name, **names)
    s.add("kube_pod_start_time", START, **names)
    s.one_of("kube_pod_status_phase", "phase", PHASES, phase, **names)
    s.one_of("kube_pod_status_ready", "condition", ("true", "false", "unknown"), "true" if phase == "Running" else "false", **names)
    container = {**names, "container": "app"}
    asked = container | ({"node": node} if node else {})
    for resource, number in {"cpu": 0.5, "memory": 1e8}.items():
        s.add("kube_pod_container_resource_requests", number, resource=resource, **asked)
        s.add("kube_pod_container_resource_limits", number * 2, resource=resource, **asked)
    s.add("kube_pod_container_info", 1, image="registry.example/app", **container)
    if not node:
        s.add("kube_pod_status_unschedulable", 1, **names)
        return
    s.add("kube_pod_container_status_restarts_total", 1, 0.001, **container)
    s.add("kube_pod_container_status_last_terminated_reason", 1, reason="OOMKilled", **container)
    if reason:
        s.add("kube_pod_container_status_waiting_reason", 1, reason=reason, **container)
    cadvisor = {"job": "kubelet", "metrics_path": "/metrics/cadvisor", "namespace": namespace, "pod": pod, "node": node}
    s.add("container_memory_working_set_bytes", 5e7, container="app", **cadvisor)
    for name, rate in {"cpu_usage_seconds": 0.1, "cpu_cfs_periods": 10, "cpu_cfs_throttled_periods": 3}.items():
        s.add(f"container_{name}_total", 5, rate, container="app", **cadvisor)
    for name in ("oom_events", "fs_reads_bytes", "fs_writes_bytes"):
        s.add(f"container_{name}_total", 5, 0.1, container="app", **cadvisor)
    for direction in ("receive", "transmit"):
        for name in ("bytes", "packets", "errors", "packets_dropped"):
            s.add(f"container_network_{direction}_{name}_total", 5, 1, interface="eth0", **cadvisor)


def add_workloads(s: Series, namespace: str) -> None:
    place = {"job": "kube-state-metrics", "namespace": namespace}
    s.add("kube_namespace_status_phase", 1, phase="Active", **place)
    add_pod(s, namespace, "app-abc-1", ("ReplicaSet", "app-abc"), "node-0")
    add_pod(s, namespace, "app-abc-2", ("ReplicaSet", "app-abc"), "node-1", reason="CrashLoopBackOff")
    add_pod(s, namespace, "app-abc-3", ("ReplicaSet", "app-abc"), "", "Pending")
    add_pod(s, namespace, "db-0", ("StatefulSet", "db"), "node-0")
    add_pod(s, namespace, "night-1-x", ("Job", "night-1"), "node-1", "Succeeded")
    s.add("kube_replicaset_owner", 1, replicaset="app-abc", owner_kind="Deployment", owner_name="app", **place)
    s.add("kube_job_owner", 1, job_name="night-1", owner_kind="CronJob", owner_name="night", **place)
    counts = {"deployment": "spec_replicas status_replicas_available status_replicas_updated status_replicas_unavailable spec_paused created"}
    counts["statefulset"] = "replicas status_replicas_available status_replicas_current status_replicas_updated created"
    counts["daemonset"] = "status_desired_number_scheduled status_current_number_scheduled status_number_available status_updated_number_scheduled"
    counts["daemonset"] += " status_number_misscheduled created"
    counts["job"] = "status_active status_succeeded status_failed spec_completions status_start_time"
    counts["cronjob"] = "spec_suspend status_active status_last_schedule_time status_last_successful_time next_schedule_time"
    counts["horizontalpodautoscaler"] = "spec_min_replicas spec_max_replicas status_current_replicas status_desired_replicas"
    counts["poddisruptionbudget"] = "status_expected_pods status_current_healthy status_desired_healthy status_pod_disruptions_allowed"
    for kind, names in counts.items():
        for name in names.split():
            s.add(f"kube_{kind}_{name}", 3, **place, **{"job_name" if kind == "job" else kind: "app"})
    for kind, name in {"deployment": "status_replicas_ready", "statefulset": "status_replicas_ready", "daemonset": "status_number_ready"}.items():
        s.add(f"kube_{kind}_{name}", 2, **place, **{kind: "app"})
    for name in ("complete", "failed"):
        s.add(f"kube_job_{name}", 1, condition="true", job_name="app", **place)
    s.add("kube_cronjob_info", 1, cronjob="app", schedule="0 * * * *", concurrency_policy="Allow", **place)
    autoscaler = {"horizontalpodautoscaler": "app", **place}
    s.add("kube_horizontalpodautoscaler_info", 1, scaletargetref_kind="Deployment", scaletargetref_name="app", **autoscaler)
    s.add("kube_horizontalpodautoscaler_status_condition", 1, condition="ScalingActive", status="true", **autoscaler)
    for kind, number in {"hard": 10, "used": 4}.items():
        s.add("kube_resourcequota", number, resourcequota="q", resource="pods", type=kind, **place)


def add_claim(s: Series, namespace: str, claim: str, pod: str) -> None:
    place = {"namespace": namespace, "persistentvolumeclaim": claim}
    state = {"job": "kube-state-metrics", **place}
    volume = {"job": "kube-state-metrics", "persistentvolume": f"pv-{namespace}-{claim}"}
    s.add("kube_persistentvolumeclaim_info", 1, storageclass="fast", volumename=volume["persistentvolume"], **state)
    s.one_of("kube_persistentvolumeclaim_status_phase", "phase", ("Bound", "Pending", "Lost"), "Bound", **state)
    s.add("kube_persistentvolumeclaim_resource_requests_storage_bytes", 1e9, **state)
    s.add("kube_persistentvolume_info", 1, storageclass="fast", **volume)
    s.one_of("kube_persistentvolume_status_phase", "phase", ("Bound", "Available", "Released", "Failed"), "Bound", **volume)
    s.add("kube_persistentvolume_capacity_bytes", 1e9, **volume)
    s.add("kube_persistentvolume_created", START, **volume)
    s.add("kube_persistentvolume_claim_ref", 1, claim_namespace=namespace, name=claim, **volume)
    if not pod:
        s.add("kube_pod_spec_volumes_persistentvolumeclaims_info", 1, 0, "two", pod="db-0", **state)
        return
    s.add("kube_pod_spec_volumes_persistentvolumeclaims_info", 1, pod=pod, **state)
    # two nodes have it mounted, as with a shared file system
    for node in NODES:
        for name, number in {"capacity_bytes": 1e9, "used_bytes": 2e8, "inodes": 1e6, "inodes_used": 1e5}.items():
            s.add(f"kubelet_volume_stats_{name}", number, job="kubelet", node=node, **place)
        # in cluster one it is at 30 % at the end and loses 50 kB/s; in two it is fuller
        s.add("kubelet_volume_stats_available_bytes", 7e8 + 5e4 * (END - START), -5e4, job="kubelet", node=node, **place)


def series() -> str:
    s = Series()
    s.add("kube_node_role", 1, role="control-plane", job="kube-state-metrics", node=NODES[0])
    for node in NODES:
        add_node(s, node)
    for namespace in NAMESPACES:
        add_workloads(s, namespace)
        add_claim(s, namespace, "data-db-0", "db-0")
        add_claim(s, namespace, "old", "")
    s.add("up", 1, job="coredns")
    for name in ("dns_responses", "cache_hits", "cache_requests", "panics"):
        s.add(f"coredns_{name}_total", 5, 0.1, job="coredns", **({"rcode": "NOERROR"} if name == "dns_responses" else {}))
    return s.text()


class Engine:
    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()

    def ask(self, target: dict[str, t.Any], dashboard: dict[str, t.Any], cluster: str) -> dict[tuple, list]:
        """{labels: values}, as Grafana asks for it with All for every other variable."""
        expr = filled(target["expr"], dashboard, cluster)
        times = {"start": END - 1200, "end": END, "step": 60} if target["range"] else {"time": END}
        answer = self._session.post(f"{self._url}/api/v1/{'query_range' if target['range'] else 'query'}", data={"query": expr, **times}, timeout=10).json()
        assert answer["status"] == "success", (answer, expr)
        return {tuple(sorted(one["metric"].items())): one.get("values") or [one["value"]] for one in answer["data"]["result"]}


def filled(expr: str, dashboard: dict[str, t.Any], cluster: str) -> str:
    chosen = {"__rate_interval": "4m", "__range": "20m", "cluster": cluster}
    for variable in dashboard["templating"]["list"]:
        # the dashboard of one node has no All
        chosen.setdefault(variable["name"], variable.get("allValue") or (NODES[0] if variable["name"] == "node" else variable.get("query")))
    return re.sub(r"\$(__rate_interval|__range|[a-z]\w*)", lambda match: chosen[match[1]], expr)


@pytest.fixture(name="engine", scope="module")
def fixture_engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dashboards")
    (folder / "series.txt").write_text(series(), encoding="utf-8")
    command = [find_program("promtool"), "tsdb", "create-blocks-from", "openmetrics", "series.txt", "data"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    (folder / "prometheus.yml").write_text("{}", encoding="utf-8")
    port = free_port()
    options = [f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path=data", "--storage.tsdb.retention.time=100y"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([find_program("prometheus"), *options], cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
    while True:
        try:
            if requests.get(f"{url}/-/ready", timeout=2).ok:
                break
        except requests.ConnectionError:
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.1)
    yield Engine(url)
    process.kill()
    process.wait()


def load(name: str) -> dict[str, t.Any]:
    return json.loads((FOLDER / f"scs-kaas-{name}.json").read_text(encoding="utf-8"))


def targets(dashboard: dict[str, t.Any]) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    for panel in dashboard["panels"]:
        for one in [panel, *panel.get("panels", [])]:
            for target in one.get("targets", []):
                yield one["title"], target


def column(dashboard: dict[str, t.Any], title: str, name: str) -> dict[str, t.Any]:
    """The query of a table's column."""
    (panel,) = [panel for panel in dashboard["panels"] if panel["title"] == title and panel["type"] == "table"]
    (organize,) = [one["options"] for one in panel["transformations"] if one["id"] == "organize"]
    (source,) = [source for source, shown in organize["renameByName"].items() if shown == name]
    (target,) = [target for target in panel["targets"] if source == f"Value #{target['refId']}"]
    return target


@pytest.mark.parametrize("name", NAMES)
def test_every_query_finds_something(engine, name):
    dashboard = load(name)
    empty = {(dashboard["uid"], title, target["refId"]) for title, target in targets(dashboard) if not engine.ask(target, dashboard, "one")}
    assert empty == {one for one in WELL if one[0] == dashboard["uid"]}


@pytest.mark.parametrize("name", NAMES)
def test_another_cluster_with_equal_names_changes_nothing(engine, name):
    """All lines of graphs that show ten are compared: with two clusters, others are the ten highest."""
    dashboard = load(name)
    compared = 0
    for title, target in targets(dashboard):
        target["expr"] = target["expr"].replace("topk(10,", "topk(1000,")
        alone, both = (engine.ask(target, dashboard, cluster) for cluster in ("one", "one|two"))
        if not all("cluster" in dict(labels) for labels in alone):
            # a sum of all, which is never asked for two clusters
            continue
        compared += 1
        assert {labels: values for labels, values in both.items() if dict(labels)["cluster"] == "one"} == alone, (title, target["expr"])
    assert compared > 10


@pytest.mark.parametrize("name", NAMES)
def test_every_join_names_the_cluster(name):
    """Also those whose loss the figures above can't show, for both clusters have the same objects."""
    for title, target in targets(load(name)):
        for labels in re.findall(r"\bon \(([^)]*)\)", target["expr"]):
            assert labels.split(", ")[0] == "cluster", (title, labels)


@pytest.mark.parametrize("name", NAMES)
def test_graphs_choose_their_lines_once(name):
    """A topk over time chooses anew at each point, so that lines come and go."""
    for title, target in targets(load(name)):
        if "topk" in target["expr"]:
            chosen = target["expr"].partition("topk(")[2]
            if chosen.endswith("[$__range:] @ end()) > 0)"):
                continue
            selectors = re.findall(r"\{[^}]*\}(?:\[[^]]*\])?( @ end\(\))?", chosen)
            assert target["range"] and selectors and all(selectors), (title, chosen)


def test_a_pod_that_waits_is_no_node(engine):
    dashboard = load("nodes")
    for title, target in targets(dashboard):
        if re.match(r"\w+ by \(cluster, node\b", target["expr"]):
            assert {dict(labels).get("node") for labels in engine.ask(target, dashboard, "one")} <= set(NODES), title


def test_figures(engine):
    """A few of the figures that are put together of several metrics."""
    volumes, workloads, pods, nodes = load("volumes"), load("workloads"), load("pods"), load("nodes")

    def value(dashboard, title, name, **labels):
        found = engine.ask(column(dashboard, title, name), dashboard, "one")
        (values,) = [values for key, values in found.items() if labels.items() <= dict(key).items()]
        return float(values[-1][1])

    claim = {"namespace": "web", "persistentvolumeclaim": "data-db-0"}
    assert value(volumes, "Volume claims", "In use", **claim) == pytest.approx(0.3)
    assert value(volumes, "Volume claims", "Full in", **claim) == pytest.approx(7e8 / 5e4, rel=0.01)
    app = {"namespace": "web", "workload": "app", "kind": "Deployment"}
    assert value(workloads, "Use by workload", "Pods", **app) == 3
    assert value(workloads, "Use by workload", "CPU", **app) == pytest.approx(0.2)
    assert value(workloads, "Use by workload", "Memory requested", **app) == pytest.approx(3e8)
    pod = {"namespace": "shop", "pod": "app-abc-2"}
    assert value(pods, "Pods", "CPU/request", **pod) == pytest.approx(0.2)
    assert value(pods, "Pods", "Memory/limit", **pod) == pytest.approx(0.25)
    # two CPUs, each busy for 0.12 of a second in a second; one of them waits for disks at times, which is no use of it
    assert value(nodes, "Nodes", "CPU", node="node-1") == pytest.approx(1 - (0.6 + 0.04) / 3)
    # loopback is not the network
    assert value(nodes, "Nodes", "Received", node="node-1") == pytest.approx(1)
    # the pod that has ended counts no more
    assert value(nodes, "Nodes", "Pods", node="node-1") == 2
    assert value(nodes, "Nodes", "CPU requested", node="node-1") == pytest.approx(2 * 0.5 / 2)
