# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes of a cluster, and all about one of them."""

from __future__ import annotations

from ._kaas import (
    CALM,
    CLUSTER,
    CORDONED,
    NO_YES,
    NODE,
    RATE,
    READY,
    REAL_INTERFACE,
    ROLE,
    UTILISATION,
    both_ways,
    node_variable,
    not_ended,
    over,
    top,
    top_graph,
)
from .common import (
    GREEN,
    ORANGE,
    RED,
    Dashboard,
    bad_if_any,
    cluster_variable,
    dashboard,
    high_is_bad,
    label,
    link,
    low_is_bad,
    override,
    row,
    source,
    stat,
    table,
    thresholds,
    timeseries,
    value,
)

PSI = "Share of the time in which work waited for it (Linux' pressure stall information; a kernel without it has none)."
NODE_LINK = link("scs-kaas-node", cluster="$cluster", node="${__data.fields.Node}")
POD_LINK = link("scs-kaas-pods", cluster="$cluster", namespace="${__data.fields.Namespace}", pod="${__data.fields.Pod}")
GRAPH_LINK = link("scs-kaas-node", cluster="$cluster", node="${__field.labels.node}")
ROLES = f"""
max by (cluster, node) (kube_node_role{{{NODE},role=~"control-plane|master"}})
or on (cluster, node) 0 * group by (cluster, node) (kube_node_info{{{NODE}}})
"""
PODS = f"count by (cluster, node) (kube_pod_info{{{NODE}}} {not_ended()})"


def condition(name: str, status: str = "true") -> str:
    return f'max by (cluster, node) (kube_node_status_condition{{{NODE},condition="{name}",status="{status}"}})'


def allocatable(resource: str, by: str = "cluster, node") -> str:
    return f'sum by ({by}) (kube_node_status_allocatable{{{NODE},resource="{resource}"}})'


def requests(resource: str, by: str = "cluster, node") -> str:
    return f'sum by ({by}) (kube_pod_container_resource_requests{{{NODE},resource="{resource}"}} {not_ended()})'


def cpu(window: str, at: str = "", by: str = "cluster, node") -> str:
    """Busy share; waiting for disks is no use of a CPU."""
    idle = f'rate(node_cpu_seconds_total{{{NODE},mode=~"idle|iowait"}}[{window}]{at})'
    return f"1 - avg by ({by}) (sum by (cluster, node, cpu) ({idle}))"


def memory(window: str = "", at: str = "", by: str = "cluster, node") -> str:
    return f"1 - sum by ({by}) ({over(f'node_memory_MemAvailable_bytes{{{NODE}}}', window, at)}) / sum by ({by}) (node_memory_MemTotal_bytes{{{NODE}}}{at})"


def filesystem(window: str = "", at: str = "") -> str:
    """The fullest of a node's file systems."""
    free = over(f"node_filesystem_avail_bytes{{{NODE}}}", window, at)
    return f"max by (cluster, node) (1 - {free} / (node_filesystem_size_bytes{{{NODE}}}{at} > 0))"


def busiest_disk(window: str, at: str = "") -> str:
    return f"max by (cluster, node) (rate(node_disk_io_time_seconds_total{{{NODE}}}[{window}]{at}))"


def network(direction: str, what: str = "bytes", by: str = "cluster, node") -> str:
    """The rate of a counter of real interfaces; [...] is filled in by the caller."""
    return f"sum by ({by}) (rate(node_network_{direction}_{what}_total{{{NODE},{REAL_INTERFACE}}}[%s]%s))"


def both_directions(what: str, by: str = "cluster, node") -> str:
    return f"{network('receive', what, by)} + {network('transmit', what, by)}"


def top_network(template: str, legend: str):
    return top(lambda window, at: template.replace("%s]%s", f"{window}]{at}"), "node", legend)


def now(template: str, window: str = RATE) -> str:
    return template.replace("%s]%s", f"{window}]")


def nodes() -> Dashboard:
    info = f"kube_node_info{{{NODE}}}"
    count = f"count(group by (cluster, node) ({info}))"
    not_ready = f'count((kube_node_status_condition{{{NODE},condition="Ready",status="true"}} == 0)) or vector(0)'
    pressure = f'count(group by (cluster, node) (kube_node_status_condition{{{NODE},condition!="Ready",status="true"}} == 1)) or vector(0)'
    return dashboard(
        "scs-kaas-nodes",
        "All nodes of a KaaS cluster: whether they are ready, what they do and what is left of them. A click on a node opens its details.",
        up=["scs-kaas-cluster"],
        down=["scs-kaas-pods", "scs-kaas-network", "scs-kaas-kubelet"],
        variables=[cluster_variable(), node_variable(every=True)],
        panels=[
            row("Overview"),
            stat("Chosen", "How many nodes are chosen.", "none", count, width=2),
            stat(
                "Not ready", "Nodes that their kubelet does not report as ready, or whose kubelet is silent.", "none", not_ready, width=3, limits=bad_if_any()
            ),
            stat(
                "Closed for pods",
                "Nodes that take no new pods (cordoned).",
                "none",
                f"sum(kube_node_spec_unschedulable{{{NODE}}})",
                width=3,
                limits=bad_if_any(ORANGE),
            ),
            stat(
                "Under pressure",
                "Nodes short of memory, disk or process ids, or without network, as they say themselves.",
                "none",
                pressure,
                width=3,
                limits=bad_if_any(),
            ),
            stat(
                "CPU in use", "Busy share of all CPUs, over the last minutes.", "percentunit", cpu(CALM, by="cluster"), width=3, limits=UTILISATION, decimals=1
            ),
            stat("Memory in use", "What is not available, of all memory.", "percentunit", memory(by="cluster"), width=3, limits=UTILISATION, decimals=1),
            stat(
                "CPU requested",
                "What pods have asked for, of what nodes have to give. At 100 % no pod with a request finds a place.",
                "percentunit",
                f"{requests('cpu', 'cluster')} / {allocatable('cpu', 'cluster')}",
                width=3,
                limits=UTILISATION,
                decimals=1,
            ),
            stat(
                "Memory requested",
                "What pods have asked for, of what nodes have to give. At 100 % no pod with a request finds a place.",
                "percentunit",
                f"{requests('memory', 'cluster')} / {allocatable('memory', 'cluster')}",
                width=4,
                limits=UTILISATION,
                decimals=1,
            ),
            table(
                "Nodes",
                "One row a node. CPU and network are of the last minutes; disk is the fullest file system.",
                [
                    label("node", "Node", links=[NODE_LINK]),
                    value("Role", ROLES, "none", mappings=[ROLE], width=110),
                    value("Ready", condition("Ready"), "none", mappings=[READY], width=85),
                    label("kubelet_version", "Kubelet", width=90),
                    value("CPU", cpu(CALM), "percentunit", UTILISATION, bar=True, decimals=0, width=115),
                    value("Memory", memory(), "percentunit", UTILISATION, bar=True, decimals=0, width=115),
                    value("Disk", filesystem(), "percentunit", UTILISATION, bar=True, decimals=0, width=115),
                    value("Received", now(network("receive"), CALM), "Bps", width=105),
                    value("Sent", now(network("transmit"), CALM), "Bps", width=105),
                    value("Load per CPU", load_per_cpu(), "none", high_is_bad(1.5, 3), decimals=2, width=115),
                    value("Pods", PODS, "none", width=75),
                    value("CPU requested", f"{requests('cpu')} / {allocatable('cpu')}", "percentunit", UTILISATION, decimals=0, width=125),
                    value("Memory requested", f"{requests('memory')} / {allocatable('memory')}", "percentunit", UTILISATION, decimals=0, width=145),
                    value("Up for", f"time() - max by (cluster, node) (node_boot_time_seconds{{{NODE}}})", "s", width=100),
                    source(f"max by (cluster, node, kubelet_version) ({info})"),
                ],
                sort="CPU",
                height=11,
            ),
            table(
                "Conditions",
                "What each node's kubelet says of itself; empty where a cluster has no such condition.",
                [
                    label("node", "Node", links=[NODE_LINK]),
                    value("Ready", condition("Ready"), "none", mappings=[READY]),
                    value("Takes pods", f"max by (cluster, node) (kube_node_spec_unschedulable{{{NODE}}})", "none", mappings=[CORDONED]),
                    value("Silent", condition("Ready", "unknown"), "none", mappings=[NO_YES]),
                    value("Memory pressure", condition("MemoryPressure"), "none", mappings=[NO_YES]),
                    value("Disk pressure", condition("DiskPressure"), "none", mappings=[NO_YES]),
                    value("PID pressure", condition("PIDPressure"), "none", mappings=[NO_YES]),
                    value("No network", condition("NetworkUnavailable"), "none", mappings=[NO_YES]),
                    value("Pods of limit", f"{PODS} / {allocatable('pods')}", "percentunit", UTILISATION, decimals=0),
                    value("Disk busy", busiest_disk(CALM), "percentunit", UTILISATION, decimals=1),
                ],
                height=7,
                sort="Node",
                descending=False,
            ),
            table(
                "Versions",
                "What runs on each node.",
                [
                    label("node", "Node", links=[NODE_LINK]),
                    label("internal_ip", "Address"),
                    label("kubelet_version", "Kubelet"),
                    label("container_runtime_version", "Container runtime"),
                    label("kernel_version", "Kernel"),
                    label("os_image", "System"),
                    source(f"max by (cluster, node, internal_ip, kubelet_version, container_runtime_version, kernel_version, os_image) ({info})"),
                ],
                height=7,
                sort="Node",
                descending=False,
            ),
            row("Use, the ten highest"),
            top_graph("CPU", "Busy share of each node.", "percentunit", top(cpu, "node", "{{node}}"), width=12, maximum=1, links=[GRAPH_LINK]),
            top_graph(
                "Memory",
                "What is not available, of each node's memory.",
                "percentunit",
                top(memory, "node", "{{node}}"),
                width=12,
                maximum=1,
                links=[GRAPH_LINK],
            ),
            top_graph(
                "Load per CPU",
                "Processes that run or wait, by CPU, over five minutes; above 1 some wait.",
                "none",
                top(load_per_cpu, "node", "{{node}}"),
                width=12,
                links=[GRAPH_LINK],
            ),
            top_graph("Fullest file system", "Of each node.", "percentunit", top(filesystem, "node", "{{node}}"), width=12, maximum=1, links=[GRAPH_LINK]),
            top_graph(
                "Busiest disk",
                "Share of the time in which each node's busiest disk had something to do. A disk that does many things at once is not full at 100 %.",
                "percentunit",
                top(busiest_disk, "node", "{{node}}"),
                width=12,
                links=[GRAPH_LINK],
            ),
            top_graph(
                "Pods",
                "Pods that are placed on each node and have not ended.",
                "none",
                top(
                    lambda _window, at: f"count by (cluster, node) (kube_pod_info{{{NODE}}}{at} {not_ended(at)})",
                    "node",
                    "{{node}}",
                ),
                width=12,
                links=[GRAPH_LINK],
            ),
            row("Network, the ten highest"),
            top_graph("Received", "By all real interfaces of each node.", "Bps", top_network(network("receive"), "{{node}}"), width=12, links=[GRAPH_LINK]),
            top_graph("Sent", "By all real interfaces of each node.", "Bps", top_network(network("transmit"), "{{node}}"), width=12, links=[GRAPH_LINK]),
            top_graph("Errors", "Broken packets, in and out.", "pps", top_network(both_directions("errs"), "{{node}}"), width=12, links=[GRAPH_LINK]),
            top_graph(
                "Drops", "Packets that were thrown away, in and out.", "pps", top_network(both_directions("drop"), "{{node}}"), width=12, links=[GRAPH_LINK]
            ),
            row("Pressure, the ten highest"),
            *[
                top_graph(title, PSI, "percentunit", top(pressure_of(metric), "node", "{{node}}"), width=12, links=[GRAPH_LINK])
                for title, metric in (
                    ("Waiting for CPU", "cpu_waiting"),
                    ("Waiting for memory", "memory_waiting"),
                    ("Waiting for disks", "io_waiting"),
                    ("All waiting for disks", "io_stalled"),
                )
            ],
        ],
    )


def pressure_of(metric: str):
    return lambda window, at: f"max by (cluster, node) (rate(node_pressure_{metric}_seconds_total{{{NODE}}}[{window}]{at}))"


def load_per_cpu(window: str = "", at: str = "") -> str:
    cpus = f'count by (cluster, node) (node_cpu_seconds_total{{{NODE},mode="idle"}}{at})'
    return f"max by (cluster, node) ({over(f'node_load5{{{NODE}}}', window, at)}) / {cpus}"


def used(left: str, size: str) -> str:
    by = "cluster, node, mountpoint"
    return f"1 - max by ({by}) (node_filesystem_{left}{{{NODE}}}) / max by ({by}) (node_filesystem_{size}{{{NODE}}} > 0)"


def disk(metric: str) -> str:
    return f"sum by (cluster, node, device) (rate(node_disk_{metric}_total{{{NODE}}}[{RATE}]))"


def device(direction: str, what: str) -> str:
    return f"sum by (cluster, node, device) (rate(node_network_{direction}_{what}_total{{{NODE},{REAL_INTERFACE}}}[{RATE}]))"


def rate(metric: str, matcher: str = "") -> str:
    return f"sum by (cluster, node) (rate({metric}{{{NODE}{matcher}}}[{RATE}]))"


def one(metric: str, matcher: str = "") -> str:
    return f"max by (cluster, node) ({metric}{{{NODE}{matcher}}})"


def node() -> Dashboard:
    mounts = "cluster, node, mountpoint, device, fstype"
    pods_here = f"kube_pod_info{{{NODE}}} {not_ended()}"
    here = f"and on (cluster, namespace, pod) kube_pod_info{{{NODE}}}"
    container = f'{NODE},container!=""'
    pod = "cluster, namespace, pod"

    def pod_cpu(window: str, at: str = "") -> str:
        return f"sum by ({pod}) (rate(container_cpu_usage_seconds_total{{{container}}}[{window}]{at}))"

    def pod_memory(window: str = "", at: str = "") -> str:
        return f"sum by ({pod}) ({over(f'container_memory_working_set_bytes{{{container}}}', window, at)})"

    return dashboard(
        "scs-kaas-node",
        "All about one node of a KaaS cluster: CPU, memory, pressure, disks, file systems, network, limits of the kernel, clock, and the pods on it.",
        up=["scs-kaas-nodes", "scs-kaas-cluster"],
        down=["scs-kaas-pods", "scs-kaas-kubelet", "scs-kaas-network"],
        variables=[cluster_variable(), node_variable(every=False)],
        panels=[
            row("Overview"),
            stat("Ready", "Whether its kubelet reports it as ready.", "none", condition("Ready"), width=3, height=3, mappings=[READY]),
            stat("Role", "Whether it carries the control plane.", "none", ROLES, width=3, height=3, mappings=[ROLE]),
            stat(
                "Takes pods",
                "No: it is cordoned, and takes no new pods.",
                "none",
                f"max(kube_node_spec_unschedulable{{{NODE}}})",
                width=3,
                height=3,
                mappings=[CORDONED],
            ),
            stat(
                "Up for", "Since its last start.", "s", f"time() - {one('node_boot_time_seconds')}", width=3, height=3, limits=thresholds(ORANGE, (3600, GREEN))
            ),
            stat("CPUs", "How many it has.", "none", f'count(node_cpu_seconds_total{{{NODE},mode="idle"}})', width=3, height=3),
            stat("Memory size", "How much it has.", "bytes", one("node_memory_MemTotal_bytes"), width=3, height=3, decimals=1),
            stat("Pods", "Pods that are placed on it and have not ended.", "none", f"count({pods_here})", width=3, height=3),
            stat(
                "Pods of limit",
                "Of the pods that it may carry.",
                "percentunit",
                f"{PODS} / {allocatable('pods')}",
                width=3,
                height=3,
                limits=UTILISATION,
                decimals=0,
            ),
            stat("CPU in use", "Busy share, over the last minutes.", "percentunit", cpu(CALM), width=6, limits=UTILISATION, decimals=1),
            stat("Memory in use", "What is not available.", "percentunit", memory(), width=6, limits=UTILISATION, decimals=1),
            stat("Fullest disk", "The fullest file system.", "percentunit", filesystem(), width=6, limits=UTILISATION, decimals=1),
            stat(
                "Load per CPU",
                "Processes that run or wait, by CPU, over five minutes.",
                "none",
                load_per_cpu(),
                width=6,
                limits=high_is_bad(1.5, 3),
                decimals=2,
            ),
            table(
                "System",
                "What runs on it.",
                [
                    label("node", "Node"),
                    label("internal_ip", "Address"),
                    label("kubelet_version", "Kubelet"),
                    label("container_runtime_version", "Container runtime"),
                    label("kernel_version", "Kernel"),
                    label("os_image", "System"),
                    source(
                        f"max by (cluster, node, internal_ip, kubelet_version, container_runtime_version, kernel_version, os_image) (kube_node_info{{{NODE}}})",
                    ),
                ],
                height=4,
                pages=False,
            ),
            row("CPU"),
            timeseries(
                "CPU by mode",
                "What the CPUs do, as a share of all of them; the rest is idle.",
                "percentunit",
                {
                    "{{mode}}": f'sum by (cluster, node, mode) (rate(node_cpu_seconds_total{{{NODE},mode!="idle"}}[{RATE}]))'
                    f' / ignoring (mode) group_left () count by (cluster, node) (node_cpu_seconds_total{{{NODE},mode="idle"}})'
                },
                stacked=True,
                maximum=1,
                width=12,
            ),
            timeseries(
                "Load",
                "Processes that run or wait. More than there are CPUs: some wait.",
                "none",
                {
                    "1 minute": one("node_load1"),
                    "5 minutes": one("node_load5"),
                    "15 minutes": one("node_load15"),
                    "CPUs": f'count by (cluster, node) (node_cpu_seconds_total{{{NODE},mode="idle"}})',
                },
                width=6,
                overrides=[override("CPUs", color=RED, fillOpacity=0, lineStyle={"fill": "dash", "dash": [10, 10]})],
            ),
            timeseries(
                "Each CPU",
                "Busy share of each CPU. One that is full while the others are idle: a program that uses one thread.",
                "percentunit",
                {"{{cpu}}": f'1 - sum by (cluster, node, cpu) (rate(node_cpu_seconds_total{{{NODE},mode=~"idle|iowait"}}[{RATE}]))'},
                width=6,
                maximum=1,
            ),
            timeseries(
                "Switches and interrupts",
                "How often the kernel goes from one process to another, and how often a device asks for it.",
                "cps",
                {"context switches": rate("node_context_switches_total"), "interrupts": rate("node_intr_total")},
                width=12,
            ),
            timeseries(
                "Processes",
                "Those that run, those that wait for a disk, and how many begin each second.",
                "none",
                {"running": one("node_procs_running"), "blocked": one("node_procs_blocked"), "new, per second": rate("node_forks_total")},
                width=12,
            ),
            row("Memory"),
            timeseries(
                "Memory by use",
                "Programs: what could not be given back; buffers, cache and slab can, mostly.",
                "bytes",
                {
                    "programs": " - ".join(one(f"node_memory_{part}_bytes") for part in ("MemTotal", "MemFree", "Buffers", "Cached", "Slab")),
                    "buffers": one("node_memory_Buffers_bytes"),
                    "cache": one("node_memory_Cached_bytes"),
                    "slab": one("node_memory_Slab_bytes"),
                    "free": one("node_memory_MemFree_bytes"),
                },
                stacked=True,
                width=12,
            ),
            timeseries(
                "Promised memory",
                "What programs have been promised, and what the kernel would promise if it were strict.",
                "bytes",
                {"promised": one("node_memory_Committed_AS_bytes"), "limit": one("node_memory_CommitLimit_bytes"), "shared": one("node_memory_Shmem_bytes")},
                width=6,
            ),
            timeseries(
                "Swap",
                "In use, and pages that go in and out each second. A node that swaps all the time is too small.",
                "bytes",
                {
                    "in use": f"{one('node_memory_SwapTotal_bytes')} - {one('node_memory_SwapFree_bytes')}",
                    "pages in": rate("node_vmstat_pswpin"),
                    "pages out": rate("node_vmstat_pswpout"),
                },
                width=6,
                overrides=[override("pages.*", regexp=True, unit="cps", axisPlacement="right")],
            ),
            timeseries(
                "Page faults",
                "Major ones had to read from a disk.",
                "cps",
                {"all": rate("node_vmstat_pgfault"), "major": rate("node_vmstat_pgmajfault")},
                width=12,
                overrides=[override("major", axisPlacement="right")],
            ),
            timeseries(
                "Processes killed for memory",
                "By the kernel, in each step of the graph: the node or a container's limit had no more.",
                "none",
                {"killed": f"sum by (cluster, node) (increase(node_vmstat_oom_kill{{{NODE}}}[{RATE}]))"},
                width=6,
            ),
            timeseries(
                "Waiting for disks to write",
                "Changed memory that has to be written yet.",
                "bytes",
                {"changed": one("node_memory_Dirty_bytes"), "being written": one("node_memory_Writeback_bytes")},
                width=6,
            ),
            row("Pressure"),
            timeseries(
                "Some work waited",
                PSI,
                "percentunit",
                {
                    "for CPU": rate("node_pressure_cpu_waiting_seconds_total"),
                    "for memory": rate("node_pressure_memory_waiting_seconds_total"),
                    "for disks": rate("node_pressure_io_waiting_seconds_total"),
                },
                width=12,
            ),
            timeseries(
                "All work waited",
                "Share of the time in which nothing went on because everything waited for it.",
                "percentunit",
                {"for memory": rate("node_pressure_memory_stalled_seconds_total"), "for disks": rate("node_pressure_io_stalled_seconds_total")},
                width=12,
            ),
            row("File systems"),
            table(
                "File systems",
                "Full in: when the free space would end, if it went on as in the last six hours; empty where it does not shrink.",
                [
                    label("mountpoint", "Mounted at"),
                    label("device", "Device"),
                    label("fstype", "Kind", width=80),
                    value("Size", f"max by ({mounts}) (node_filesystem_size_bytes{{{NODE}}})", "bytes"),
                    value("Free", f"max by ({mounts}) (node_filesystem_avail_bytes{{{NODE}}})", "bytes"),
                    value(
                        "Used",
                        f"max by ({mounts}) (1 - node_filesystem_avail_bytes{{{NODE}}} / (node_filesystem_size_bytes{{{NODE}}} > 0))",
                        "percentunit",
                        UTILISATION,
                        bar=True,
                    ),
                    value(
                        "Inodes used",
                        f"max by ({mounts}) (1 - node_filesystem_files_free{{{NODE}}} / (node_filesystem_files{{{NODE}}} > 0))",
                        "percentunit",
                        UTILISATION,
                        bar=True,
                    ),
                    value(
                        "Read only",
                        f"max by ({mounts}) (node_filesystem_readonly{{{NODE}}} and node_filesystem_size_bytes{{{NODE}}})",
                        "none",
                        mappings=[NO_YES],
                    ),
                    value(
                        "Full in",
                        f"max by ({mounts}) (node_filesystem_avail_bytes{{{NODE}}} / (-deriv(node_filesystem_avail_bytes{{{NODE}}}[6h]) > 0))",
                        "s",
                        low_is_bad(86400, 4 * 86400),
                    ),
                ],
                height=7,
                sort="Used",
            ),
            timeseries(
                "Space in use",
                "Of each file system.",
                "percentunit",
                {"{{mountpoint}}": used("avail_bytes", "size_bytes")},
                width=12,
                maximum=1,
            ),
            timeseries(
                "Inodes in use",
                "Of each file system that counts them: how many files more it can hold.",
                "percentunit",
                {"{{mountpoint}}": used("files_free", "files")},
                width=12,
                maximum=1,
            ),
            row("Disks"),
            both_ways(
                "Throughput",
                "What is read (above) and written (below).",
                "Bps",
                {"{{device}} read": disk("read_bytes"), "{{device}} written": disk("written_bytes")},
            ),
            both_ways(
                "Operations",
                "Reads (above) and writes (below) that were completed.",
                "iops",
                {"{{device}} read": disk("reads_completed"), "{{device}} written": disk("writes_completed")},
            ),
            timeseries(
                "Busy",
                "Share of the time in which the disk had something to do. A disk that does many things at once is not full at 100 %.",
                "percentunit",
                {"{{device}}": disk("io_time_seconds")},
                width=8,
            ),
            timeseries(
                "Queue",
                "Operations that are in work or wait, on average: how far the disk is behind.",
                "none",
                {"{{device}}": disk("io_time_weighted_seconds")},
                width=8,
            ),
            timeseries(
                "Latency",
                "Mean time that a read or a write took, waiting included.",
                "s",
                {
                    "{{device}} read": f"{disk('read_time_seconds')} / ({disk('reads_completed')} > 0)",
                    "{{device}} write": f"{disk('write_time_seconds')} / ({disk('writes_completed')} > 0)",
                },
                width=8,
            ),
            row("Network"),
            both_ways(
                "Traffic",
                "Received (above) and sent (below), by interface.",
                "Bps",
                {"{{device}} received": device("receive", "bytes"), "{{device}} sent": device("transmit", "bytes")},
            ),
            both_ways(
                "Packets",
                "Received (above) and sent (below), by interface.",
                "pps",
                {"{{device}} received": device("receive", "packets"), "{{device}} sent": device("transmit", "packets")},
            ),
            both_ways(
                "Errors",
                "Broken packets, received (above) and sent (below).",
                "pps",
                {"{{device}} received": device("receive", "errs"), "{{device}} sent": device("transmit", "errs")},
            ),
            both_ways(
                "Drops",
                "Packets that were thrown away, received (above) and sent (below).",
                "pps",
                {"{{device}} received": device("receive", "drop"), "{{device}} sent": device("transmit", "drop")},
            ),
            timeseries(
                "TCP sent again",
                "Segments that had to be sent again, of all that were sent; more than 1 % says that packets are lost on the way.",
                "percentunit",
                {"sent again": f"{rate('node_netstat_Tcp_RetransSegs')} / ({rate('node_netstat_Tcp_OutSegs')} > 0)"},
                width=8,
            ),
            timeseries(
                "TCP connections",
                "Established ones, and those that linger after their end.",
                "none",
                {"established": one("node_netstat_Tcp_CurrEstab"), "in use": one("node_sockstat_TCP_inuse"), "time wait": one("node_sockstat_TCP_tw")},
                width=8,
            ),
            timeseries(
                "Refused and lost",
                "Connections that a program did not take in time, handshakes sent again, and UDP packets with errors.",
                "cps",
                {
                    "listen queue full": rate("node_netstat_TcpExt_ListenOverflows"),
                    "listen drops": rate("node_netstat_TcpExt_ListenDrops"),
                    "handshakes sent again": rate("node_netstat_TcpExt_TCPSynRetrans"),
                    "UDP errors": rate("node_netstat_Udp_InErrors"),
                },
                width=8,
            ),
            row("Limits of the kernel, and the clock"),
            timeseries(
                "Connection tracking",
                "Connections that the firewall remembers. At the limit new ones are dropped.",
                "none",
                {"entries": one("node_nf_conntrack_entries"), "limit": one("node_nf_conntrack_entries_limit")},
                width=8,
                overrides=[override("limit", color=RED, fillOpacity=0)],
            ),
            timeseries(
                "Open files",
                "File handles in use, as a share of what the kernel gives.",
                "percentunit",
                {"in use": f"{one('node_filefd_allocated')} / {one('node_filefd_maximum')}"},
                width=8,
            ),
            timeseries(
                "Sockets",
                "Sockets of all kinds that are in use, and TCP's that are allocated.",
                "none",
                {"in use": one("node_sockstat_sockets_used"), "TCP": one("node_sockstat_TCP_alloc")},
                width=8,
            ),
            timeseries(
                "Clock's offset",
                "How far the clock is from its source, and how wrong it can be at most.",
                "s",
                {"offset": one("node_timex_offset_seconds"), "possible error": one("node_timex_maxerror_seconds")},
                minimum=None,
                width=12,
            ),
            timeseries(
                "Clock is synchronised",
                "1 while something keeps the kernel's clock right.",
                "none",
                {"synchronised": one("node_timex_sync_status")},
                maximum=1,
                width=6,
            ),
            timeseries(
                "Clock against the agent's",
                "The node's clock less the time at which its sample was taken: it stays below the time of a scrape.",
                "s",
                {"difference": f"max by (cluster, node) (node_time_seconds{{{NODE}}} - timestamp(node_time_seconds{{{NODE}}}))"},
                minimum=None,
                width=6,
            ),
            row("Pods on this node"),
            table(
                "Pods",
                "The pods on this node that have not ended. CPU is of the last minutes.",
                [
                    label("namespace", "Namespace"),
                    label("pod", "Pod", links=[POD_LINK], width=360),
                    label("created_by_kind", "Made by", width=110),
                    value("Ready", f'max by ({pod}) (kube_pod_status_ready{{{CLUSTER},condition="true"}} {here})', "none", mappings=[READY], width=90),
                    value("Restarts", f"sum by ({pod}) (kube_pod_container_status_restarts_total{{{CLUSTER}}} {here})", "none", width=90),
                    value("CPU", pod_cpu(CALM), "none", decimals=3),
                    value("CPU requested", f'sum by ({pod}) (kube_pod_container_resource_requests{{{NODE},resource="cpu"}} {not_ended()})', "none", decimals=3),
                    value("Memory", pod_memory(), "bytes"),
                    value("Memory requested", f'sum by ({pod}) (kube_pod_container_resource_requests{{{NODE},resource="memory"}} {not_ended()})', "bytes"),
                    value("Age", f"time() - max by ({pod}) (kube_pod_start_time{{{CLUSTER}}} {here})", "s"),
                    source(f"max by ({pod}, created_by_kind) ({pods_here})"),
                ],
                sort="CPU",
            ),
            top_graph("CPU of pods", "The ten that use most, in CPUs.", "none", top(pod_cpu, "namespace, pod", "{{namespace}}/{{pod}}")),
            top_graph("Memory of pods", "The ten that use most.", "bytes", top(pod_memory, "namespace, pod", "{{namespace}}/{{pod}}")),
        ],
    )


def dashboards() -> list[Dashboard]:
    return [nodes(), node()]
