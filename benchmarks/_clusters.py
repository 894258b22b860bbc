# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What simulated KaaS clusters send: names and labels as the agents' (node-exporter, kube-state-metrics, kubelet), in any number."""

from __future__ import annotations

import itertools
import typing as t

Series = tuple[dict[str, str], t.Callable[[float], float]]

MODES = ("idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user")
JOBS = ("apiserver", "cadvisor", "coredns", "kube-state-metrics", "kubelet", "node-exporter")
CONDITIONS = ("DiskPressure", "MemoryPressure", "NetworkUnavailable", "PIDPressure", "Ready")
PHASES = ("Failed", "Pending", "Running", "Succeeded", "Unknown")
GIB = 1024**3


def clusters(count: int) -> list[str]:
    return [f"c{number:04}" for number in range(count)]


def _counter(each_second: float) -> t.Callable[[float], float]:
    # of the time since 2020, so that it is the same for whoever counts
    return lambda when: round((when - 1_577_836_800) * each_second, 3)


def _gauge(value: float) -> t.Callable[[float], float]:
    return lambda _when: value


def _node(node: str) -> t.Iterator[Series]:
    exporter = {"job": "node-exporter", "instance": node}
    for cpu, (number, mode) in itertools.product(range(4), enumerate(MODES)):
        yield {"__name__": "node_cpu_seconds_total", "cpu": str(cpu), "mode": mode, **exporter}, _counter(0.6 if mode == "idle" else 0.05 + number / 1000)
    for name, value in (("MemTotal", 16 * GIB), ("MemAvailable", 9 * GIB), ("MemFree", 2 * GIB), ("Buffers", GIB), ("Cached", 5 * GIB)):
        yield {"__name__": f"node_memory_{name}_bytes", **exporter}, _gauge(value)
    for name, value in (("size", 80 * GIB), ("avail", 50 * GIB), ("files", 5e6), ("files_free", 4e6)):
        yield (
            {"__name__": f"node_filesystem_{name}" + ("_bytes" if "files" not in name else ""), "mountpoint": "/", "fstype": "ext4", **exporter},
            _gauge(value),
        )
    for name in ("node_load1", "node_load5", "node_load15"):
        yield {"__name__": name, **exporter}, _gauge(0.7)
    state = {"job": "kube-state-metrics", "instance": "kube-state-metrics:8080", "node": node}
    yield {"__name__": "kube_node_info", "kubelet_version": "v1.33.4", "os_image": "Ubuntu 24.04", **state}, _gauge(1)
    for condition, status in itertools.product(CONDITIONS, ("true", "false", "unknown")):
        value = float((status == "true") == (condition == "Ready") and status != "unknown")
        yield {"__name__": "kube_node_status_condition", "condition": condition, "status": status, **state}, _gauge(value)


def _pod(number: int, node: str) -> t.Iterator[Series]:
    names = {"namespace": f"team-{number % 7}", "pod": f"service-{number}-7d9c6bf8d4-{number * 7919 % 99991:05}"}
    state = {"job": "kube-state-metrics", "instance": "kube-state-metrics:8080", **names}
    for phase in PHASES:
        yield {"__name__": "kube_pod_status_phase", "phase": phase, **state}, _gauge(float(phase == "Running"))
    kubelet = {"job": "cadvisor", "instance": node, "container": "app", **names}
    yield {"__name__": "container_cpu_usage_seconds_total", **kubelet}, _counter(0.02)
    yield {"__name__": "container_memory_working_set_bytes", **kubelet}, _gauge(90 * 1024**2)
    yield {"__name__": "kube_pod_container_status_restarts_total", "container": "app", **state}, _gauge(0)


def series_of(count: int) -> list[Series]:
    """The series of a cluster: a node for each 1,000 of them, and pods until they are so many."""
    nodes = [f"node-{number}" for number in range(max(1, count // 1000))]
    targets = [
        ({"__name__": name, "job": job, "instance": nodes[0]}, _gauge(value))
        for job in JOBS
        for name, value in (("up", 1.0), ("scrape_samples_post_metric_relabeling", count / len(JOBS)))
    ]
    pods = (one for number in itertools.count() for one in _pod(number, nodes[number % len(nodes)]))
    return list(itertools.islice(itertools.chain(targets, *map(_node, nodes), pods), count))


def samples(series: t.Sequence[Series], times: t.Sequence[float]) -> list[tuple[dict[str, str], list[tuple[float, int]]]]:
    """As _remote_write.write_message takes them."""
    return [(labels, [(value(when), int(when * 1000)) for when in times]) for labels, value in series]
