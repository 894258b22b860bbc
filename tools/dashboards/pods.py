# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pods of a cluster: what state they are in, what they use of what they asked for, and why some do not run."""

from __future__ import annotations

from ._kaas import CALM, NAMESPACE, READY, UTILISATION, namespace_variable, not_ended, over, top, top_graph
from .common import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    Dashboard,
    bad_if_any,
    cluster_variable,
    dashboard,
    high_is_bad,
    label,
    link,
    mapping,
    override,
    row,
    source,
    stat,
    table,
    textbox_variable,
    timeseries,
    value,
)

PODS = f'{NAMESPACE},pod=~"$pod"'
CONTAINERS = f'{PODS},container!=""'
STUCK = f'(kube_pod_status_phase{{{PODS},phase=~"Pending|Failed|Unknown"}} == 1)'
POD = "cluster, namespace, pod"
CONTAINER = "cluster, namespace, pod, container"
NAME = "{{namespace}}/{{pod}}"
CONTAINER_NAME = "{{namespace}}/{{pod}}/{{container}}"
PHASES = {"Running": GREEN, "Pending": ORANGE, "Failed": RED, "Unknown": PURPLE, "Succeeded": BLUE}
NO_PLACE = mapping({1: ("fits no node", RED)})
PHASE = mapping({name: (name.lower(), color) for name, color in PHASES.items()})
NODE_LINK = link("scs-kaas-node", cluster="$cluster", node="${__data.fields.Node}")
POD_LINK = link("scs-kaas-pods", "Only this pod", cluster="$cluster", namespace="${__data.fields.Namespace}", pod="${__data.fields.Pod}")


def cpu(window: str, at: str = "", by: str = POD) -> str:
    return f"sum by ({by}) (rate(container_cpu_usage_seconds_total{{{CONTAINERS}}}[{window}]{at}))"


def memory(window: str = "", at: str = "", by: str = POD) -> str:
    return f"sum by ({by}) ({over(f'container_memory_working_set_bytes{{{CONTAINERS}}}', window, at)})"


def asked(kind: str, resource: str, by: str = POD, at: str = "") -> str:
    """C(kind): requests or limits."""
    return f'sum by ({by}) (kube_pod_container_resource_{kind}{{{PODS},resource="{resource}"}}{at})'


def of(used: str, asked_for: str) -> str:
    return f"{used} / ({asked_for} > 0)"


def throttled(window: str, at: str = "") -> str:
    periods = f"sum by ({CONTAINER}) (rate(container_cpu_cfs_periods_total{{{CONTAINERS}}}[{window}]{at}))"
    return f"sum by ({CONTAINER}) (rate(container_cpu_cfs_throttled_periods_total{{{CONTAINERS}}}[{window}]{at})) / ({periods} > 0)"


def restarts(window: str, at: str = "") -> str:
    return f"sum by ({CONTAINER}) (increase(kube_pod_container_status_restarts_total{{{PODS}}}[{window}]{at}))"


def top_pods(make, legend: str = NAME):
    return top(make, "namespace, pod", legend)


def top_containers(make, condition: str = ""):
    return top(make, "namespace, pod, container", CONTAINER_NAME, condition=condition)


def phase(name: str) -> str:
    return f'sum(kube_pod_status_phase{{{PODS},phase="{name}"}}) or vector(0)'


def dashboards() -> list[Dashboard]:
    not_ready = f"""
    count((kube_pod_status_ready{{{PODS},condition="true"}} == 0) and on ({POD}) (kube_pod_status_phase{{phase="Running",{PODS}}} == 1)) or vector(0)
    """
    ready = f'max by ({POD}) (kube_pod_status_ready{{{PODS},condition="true"}} {not_ended()})'
    restarted = f"sum(increase(kube_pod_container_status_restarts_total{{{PODS}}}[1h])) or vector(0)"
    killed = f'count(kube_pod_container_status_last_terminated_reason{{{PODS},reason="OOMKilled"}}) or vector(0)'
    ended = f"(kube_pod_container_status_last_terminated_reason{{{PODS}}} == 1)"
    restarts_of_ended = f"max by ({CONTAINER}) (kube_pod_container_status_restarts_total{{{PODS}}} and on ({CONTAINER}) {ended})"
    squeezed = f"count({throttled(CALM)} > 0.25) or vector(0)"
    waiting = f"""
    max by ({CONTAINER}, reason) (
      kube_pod_container_status_waiting_reason{{{PODS}}} or kube_pod_init_container_status_waiting_reason{{{PODS}}}
    )
    """
    return [
        dashboard(
            "scs-kaas-pods",
            "The pods of a KaaS cluster: state, CPU and memory against what they asked for and may have, and what keeps some of them from running.",
            up=["scs-kaas-workloads", "scs-kaas-namespaces", "scs-kaas-cluster"],
            down=["scs-kaas-nodes", "scs-kaas-volumes", "scs-kaas-network"],
            variables=[
                cluster_variable(),
                namespace_variable(),
                textbox_variable("pod", "Pod", ".*", description="A pod's name, or a regular expression for several, such as web-.*"),
            ],
            panels=[
                row("Overview"),
                stat("Running", "Pods whose containers have begun.", "none", phase("Running"), width=3),
                stat("Pending", "Pods that wait for a node, an image or a volume.", "none", phase("Pending"), width=3, limits=bad_if_any(ORANGE)),
                stat("Failed", "Pods that have ended with an error and are still listed.", "none", phase("Failed"), width=3, limits=bad_if_any()),
                stat("Not ready", "Pods that run, but do not answer as they ought to.", "none", not_ready, width=3, limits=bad_if_any(ORANGE)),
                stat("Restarts", "Of containers, in the last hour.", "none", restarted, width=3, decimals=0, limits=high_is_bad(1, 10)),
                stat("Killed for memory", "Containers whose last end was the kernel's, for want of memory.", "none", killed, width=3, limits=bad_if_any()),
                stat(
                    "Throttled",
                    "Containers that were kept from the CPU by their limit in more than a quarter of the periods, over the last minutes.",
                    "none",
                    squeezed,
                    width=3,
                    limits=bad_if_any(ORANGE),
                ),
                stat("CPU", "What all of them use, in CPUs, over the last minutes.", "none", cpu(CALM, by="cluster"), width=3, decimals=2),
                table(
                    "Pods",
                    "One row a pod. CPU (in CPUs) is of the last minutes. Requested: what it uses of what it asked for, more than 100 % is borrowed. "
                    "Limit: what it uses of what it may; near 100 % it is throttled (CPU) or killed (memory).",
                    [
                        label("namespace", "Namespace", width=140),
                        label("pod", "Pod", links=[POD_LINK], width=260),
                        label("phase", "Phase", mappings=[PHASE], cellOptions={"type": "color-text"}, width=85),
                        value(
                            "Ready",
                            ready,
                            "none",
                            mappings=[READY],
                            width=90,
                        ),
                        value("Restarts", f"sum by ({POD}) (kube_pod_container_status_restarts_total{{{PODS}}})", "none", high_is_bad(1, 10), width=90),
                        value("Age", f"time() - max by ({POD}) (kube_pod_start_time{{{PODS}}})", "s", width=90),
                        value("CPU", cpu(CALM), "none", decimals=3, width=80),
                        value("CPU/request", of(cpu(CALM), asked("requests", "cpu")), "percentunit", decimals=0, width=115),
                        value("CPU/limit", of(cpu(CALM), asked("limits", "cpu")), "percentunit", UTILISATION, decimals=0, width=100),
                        value("Memory", memory(), "bytes", width=90),
                        value("Memory/request", of(memory(), asked("requests", "memory")), "percentunit", decimals=0, width=140),
                        value("Memory/limit", of(memory(), asked("limits", "memory")), "percentunit", UTILISATION, decimals=0, width=125),
                        label("node", "Node", links=[NODE_LINK]),
                        source(
                            f"max by ({POD}, phase, node) ((kube_pod_status_phase{{{PODS}}} == 1) * on ({POD}) group_left (node)"
                            f" max by ({POD}, node) (kube_pod_info{{{PODS}}}))"
                        ),
                    ],
                    sort="CPU",
                    height=13,
                ),
                row("What does not run"),
                table(
                    "Pods that are pending, failed or lost",
                    "With the reason, where Kubernetes gives one for the whole pod.",
                    [
                        label("namespace", "Namespace"),
                        label("pod", "Pod", links=[POD_LINK]),
                        label("phase", "Phase", mappings=[PHASE], cellOptions={"type": "color-text"}, width=90),
                        label("reason", "Reason"),
                        value("Place", f"max by ({POD}) (kube_pod_status_unschedulable{{{PODS}}})", "none", mappings=[NO_PLACE]),
                        source(f"max by ({POD}, phase) ({STUCK})"),
                        source(f"max by ({POD}, reason) ((kube_pod_status_reason{{{PODS}}} == 1) and on ({POD}) {STUCK})"),
                    ],
                    width=12,
                    height=8,
                ),
                table(
                    "Containers that wait",
                    "CrashLoopBackOff: it ends again and again. ImagePullBackOff: its image can't be had. "
                    "CreateContainerConfigError: a ConfigMap or Secret is missing.",
                    [
                        label("namespace", "Namespace"),
                        label("pod", "Pod", links=[POD_LINK]),
                        label("container", "Container"),
                        label("reason", "Waits because of"),
                        source(f"{waiting} == 1"),
                    ],
                    width=12,
                    height=8,
                ),
                table(
                    "Containers that were ended",
                    "How their last run came to its end, of those that have been started again since. "
                    "OOMKilled: they used more memory than their limit or the node had.",
                    [
                        label("namespace", "Namespace", width=120),
                        label("pod", "Pod", links=[POD_LINK]),
                        label("container", "Container", width=110),
                        label("reason", "Ended by", width=110),
                        value(
                            "Restarts",
                            restarts_of_ended,
                            "none",
                            width=90,
                        ),
                        value(
                            "Last hour",
                            f"max by ({CONTAINER}) (increase(kube_pod_container_status_restarts_total{{{PODS}}}[1h]) and on ({CONTAINER}) {ended})",
                            "none",
                            decimals=0,
                            width=100,
                        ),
                        source(f"max by ({CONTAINER}, reason) ({ended})"),
                    ],
                    width=12,
                    height=8,
                    sort="Restarts",
                ),
                timeseries(
                    "Pods by phase",
                    "Those that have succeeded are left out.",
                    "none",
                    {"{{phase}}": f'sum by (cluster, phase) (kube_pod_status_phase{{{PODS},phase!="Succeeded"}})'},
                    width=12,
                    stacked=True,
                    overrides=[override(name, color=color) for name, color in PHASES.items()],
                ),
                row("CPU, the ten highest"),
                top_graph("CPU", "In CPUs.", "none", top_pods(cpu)),
                top_graph(
                    "CPU of requested",
                    "What a pod uses of what it asked for; more than 100 % is borrowed, and is taken back when others need theirs.",
                    "percentunit",
                    top_pods(lambda window, at: of(cpu(window, at), asked("requests", "cpu", at=at))),
                ),
                top_graph(
                    "CPU of limit",
                    "What a pod uses of what it may. At 100 % it is throttled.",
                    "percentunit",
                    top_pods(lambda window, at: of(cpu(window, at), asked("limits", "cpu", at=at))),
                ),
                top_graph(
                    "Throttled",
                    "Share of the periods in which a container was kept from the CPU by its limit; only containers with a limit have it.",
                    "percentunit",
                    top_containers(throttled),
                    maximum=1,
                ),
                row("Memory, the ten highest"),
                top_graph("Memory", "What can't be taken from a pod without harm (working set).", "bytes", top_pods(memory)),
                top_graph(
                    "Memory of limit",
                    "What a pod uses of what it may. At 100 % it is killed.",
                    "percentunit",
                    top_pods(lambda window, at: of(memory(window, at), asked("limits", "memory", at=at))),
                ),
                top_graph(
                    "Memory of requested",
                    "What a pod uses of what it asked for; pods above 100 % are the first to go when a node has no more.",
                    "percentunit",
                    top_pods(lambda window, at: of(memory(window, at), asked("requests", "memory", at=at))),
                ),
                top_graph(
                    "Restarts",
                    "Of containers, in each step of the graph; those that were not started again are left out.",
                    "none",
                    top_containers(restarts, " > 0"),
                ),
                row("Disks and memory events, the ten highest"),
                top_graph(
                    "Killed for memory",
                    "How often the kernel killed a process of a container in each step, for want of memory.",
                    "none",
                    top_containers(lambda window, at: f"sum by ({CONTAINER}) (increase(container_oom_events_total{{{CONTAINERS}}}[{window}]{at}))"),
                ),
                top_graph(
                    "Disks",
                    "What a pod reads and writes, its volumes included. Kernels that do not count it by cgroup have none.",
                    "Bps",
                    top_pods(
                        lambda window, at: (
                            f"sum by ({POD}) (rate(container_fs_reads_bytes_total{{{CONTAINERS}}}[{window}]{at}))"
                            f" + sum by ({POD}) (rate(container_fs_writes_bytes_total{{{CONTAINERS}}}[{window}]{at}))"
                        )
                    ),
                ),
                row("Containers", collapsed=True),
                table(
                    "Containers",
                    "One row a container, with what it may and what it asked for. CPU (in CPUs) is of the last minutes.",
                    [
                        label("namespace", "Namespace", width=140),
                        label("pod", "Pod", links=[POD_LINK], width=250),
                        label("container", "Container", width=130),
                        label("image", "Image"),
                        value("CPU", cpu(CALM, by=CONTAINER), "none", decimals=3, width=75),
                        value("CPU requested", asked("requests", "cpu", CONTAINER), "none", decimals=3, width=125),
                        value("CPU limit", asked("limits", "cpu", CONTAINER), "none", decimals=3, width=95),
                        value("Throttled", throttled(CALM), "percentunit", high_is_bad(0.25, 0.5), decimals=0, width=105),
                        value("Memory", memory(by=CONTAINER), "bytes", width=90),
                        value("Memory requested", asked("requests", "memory", CONTAINER), "bytes", width=150),
                        value("Memory limit", asked("limits", "memory", CONTAINER), "bytes", width=125),
                        value("Restarts", f"sum by ({CONTAINER}) (kube_pod_container_status_restarts_total{{{PODS}}})", "none", width=90),
                        source(f"max by ({CONTAINER}, image) (kube_pod_container_info{{{PODS}}})"),
                    ],
                    sort="CPU",
                    height=12,
                ),
            ],
        )
    ]
