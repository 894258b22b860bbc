# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The namespaces of a cluster: who uses how much of it, and how much of what was granted."""

from __future__ import annotations

from ._kaas import CALM, CLUSTER, NAMESPACE, UTILISATION, namespace_variable, not_ended, over, pod_traffic, top, top_graph
from .common import Dashboard, cluster_variable, dashboard, label, link, row, stat, table, value

BY = "cluster, namespace"
QUOTA = "cluster, namespace, resourcequota, resource"
CLAIM = "cluster, namespace, persistentvolumeclaim"
PODS_LINK = link("scs-kaas-pods", "Its pods", cluster="$cluster", namespace="${__data.fields.Namespace}")
WORKLOADS_LINK = link("scs-kaas-workloads", "Its workloads", cluster="$cluster", namespace="${__data.fields.Namespace}")
VOLUMES_LINK = link("scs-kaas-volumes", "Its volumes", cluster="$cluster", namespace="${__data.fields.Namespace}")
GRAPH_LINK = link("scs-kaas-pods", "Its pods", cluster="$cluster", namespace="${__field.labels.namespace}")


def cpu(window: str, at: str = "", by: str = BY) -> str:
    return f'sum by ({by}) (rate(container_cpu_usage_seconds_total{{{NAMESPACE},container!=""}}[{window}]{at}))'


def memory(window: str = "", at: str = "", by: str = BY) -> str:
    metric = f'container_memory_working_set_bytes{{{NAMESPACE},container!=""}}'
    return f"sum by ({by}) ({over(metric, window, at)})"


def asked(kind: str, resource: str, by: str = BY, at: str = "") -> str:
    """C(kind): requests or limits, of pods that have not ended."""
    return f'sum by ({by}) (kube_pod_container_resource_{kind}{{{NAMESPACE},resource="{resource}"}}{at} {not_ended(at)})'


def pods(at: str = "", by: str = BY) -> str:
    return f"count by ({by}) (kube_pod_info{{{NAMESPACE}}}{at} {not_ended(at)})"


def granted(kind: str, at: str = "") -> str:
    return f'max by ({QUOTA}) (kube_resourcequota{{{NAMESPACE},type="{kind}"}}{at})'


def quota_use(_window: str = "", at: str = "") -> str:
    return f"{granted('used', at)} / ({granted('hard', at)} > 0)"


def claimed(at: str = "") -> str:
    return f"sum by ({BY}) (kube_persistentvolumeclaim_resource_requests_storage_bytes{{{NAMESPACE}}}{at})"


def share(resource: str) -> str:
    """Of what all nodes have to give, how much a namespace's pods have asked for."""
    whole = f'sum by (cluster) (kube_node_status_allocatable{{{CLUSTER},resource="{resource}"}})'
    return f"{asked('requests', resource)} / on (cluster) group_left () {whole}"


def commitment(title: str, kind: str, resource: str, what: str, width: int = 3):
    return stat(
        title,
        f"{what}, of what all nodes of the cluster have to give.",
        "percentunit",
        f'{asked(kind, resource, "cluster")} / sum by (cluster) (kube_node_status_allocatable{{{CLUSTER},resource="{resource}"}})',
        width=width,
        limits=UTILISATION if kind == "requests" else None,
        decimals=0,
    )


def dashboards() -> list[Dashboard]:
    name = "{{namespace}}"
    return [
        dashboard(
            "scs-kaas-namespaces",
            "The namespaces of a KaaS cluster: CPU, memory, network and storage that each uses, what its pods asked for, and what of its quota is left.",
            up=["scs-kaas-cluster"],
            down=["scs-kaas-workloads", "scs-kaas-pods", "scs-kaas-volumes", "scs-kaas-network"],
            variables=[cluster_variable(), namespace_variable()],
            panels=[
                row("Overview"),
                stat("Chosen", "How many namespaces are chosen.", "none", f"count(group by ({BY}) (kube_namespace_status_phase{{{NAMESPACE}}} == 1))", width=2),
                stat("Pods", "Pods that have not ended.", "none", pods(by="cluster"), width=2),
                stat("CPU", "In use, in CPUs, over the last minutes.", "none", cpu(CALM, by="cluster"), width=3, decimals=2),
                stat("Memory", "What can't be taken from pods without harm (working set).", "bytes", memory(by="cluster"), width=3, decimals=1),
                commitment("CPU requested", "requests", "cpu", "What pods have asked for"),
                commitment("CPU limits", "limits", "cpu", "What pods may use at most; more than 100 % is more than there is"),
                commitment("Memory requested", "requests", "memory", "What pods have asked for", 4),
                commitment("Memory limits", "limits", "memory", "What pods may use at most; more than 100 % is more than there is", 4),
                table(
                    "Namespaces",
                    "One row a namespace. CPU (in CPUs) and network are of the last minutes; CPU/request, Memory/request: what is used of what was asked for.",
                    [
                        label("namespace", "Namespace", links=[PODS_LINK, WORKLOADS_LINK, VOLUMES_LINK]),
                        value("Pods", pods(), "none", width=80),
                        value("CPU", cpu(CALM), "none", decimals=3, width=100),
                        value("CPU/request", f"{cpu(CALM)} / ({asked('requests', 'cpu')} > 0)", "percentunit", decimals=0, width=130),
                        value("Memory", memory(), "bytes", width=110),
                        value("Memory/request", f"{memory()} / ({asked('requests', 'memory')} > 0)", "percentunit", decimals=0, width=150),
                        value("Received", pod_traffic("receive", "bytes", BY)(CALM, ""), "Bps", width=120),
                        value("Sent", pod_traffic("transmit", "bytes", BY)(CALM, ""), "Bps", width=120),
                        value("Volume claims", f"count by ({BY}) (group by ({CLAIM}) (kube_persistentvolumeclaim_info{{{NAMESPACE}}}))", "none", width=130),
                        value("Storage requested", claimed(), "bytes", width=150),
                    ],
                    sort="CPU",
                    height=11,
                ),
                table(
                    "Requests and limits",
                    "Of pods that have not ended: what they asked for is theirs, more than the limit they don't get. Share: requested, of what all nodes have.",
                    [
                        label("namespace", "Namespace", links=[PODS_LINK]),
                        value("CPU used", cpu(CALM), "none", decimals=3),
                        value("CPU requested", asked("requests", "cpu"), "none", decimals=2),
                        value("CPU limit", asked("limits", "cpu"), "none", decimals=2),
                        value("Share of CPU", share("cpu"), "percentunit", UTILISATION, bar=True, decimals=1),
                        value("Memory used", memory(), "bytes"),
                        value("Memory requested", asked("requests", "memory"), "bytes"),
                        value("Memory limit", asked("limits", "memory"), "bytes"),
                        value("Share of memory", share("memory"), "percentunit", UTILISATION, bar=True, decimals=1),
                    ],
                    sort="Share of CPU",
                    height=9,
                ),
                row("Quotas"),
                table(
                    "Quotas",
                    "What each namespace may ask for, and has asked for. At 100 % new pods or claims are refused.",
                    [
                        label("namespace", "Namespace", links=[PODS_LINK], width=120),
                        label("resourcequota", "Quota", width=120),
                        label("resource", "Resource"),
                        value("Granted", granted("hard"), "si: ", decimals=2, width=100),
                        value("Used", granted("used"), "si: ", decimals=2, width=100),
                        value("Share", quota_use(), "percentunit", UTILISATION, bar=True, width=150),
                    ],
                    sort="Share",
                    width=12,
                    height=9,
                ),
                top_graph(
                    "Quotas that are nearly used up",
                    "The ten quotas of which most is used.",
                    "percentunit",
                    top(quota_use, "namespace, resourcequota, resource", "{{namespace}}/{{resourcequota}} {{resource}}"),
                    width=12,
                ),
                row("Use, the ten highest"),
                top_graph("CPU by namespace", "In CPUs.", "none", top(cpu, "namespace", name), width=12, stacked=True, links=[GRAPH_LINK]),
                top_graph("Memory by namespace", "Working set.", "bytes", top(memory, "namespace", name), width=12, stacked=True, links=[GRAPH_LINK]),
                top_graph(
                    "CPU of requested",
                    "What a namespace's pods use of what they asked for.",
                    "percentunit",
                    top(lambda window, at: f"{cpu(window, at)} / ({asked('requests', 'cpu', at=at)} > 0)", "namespace", name),
                    width=12,
                    links=[GRAPH_LINK],
                ),
                top_graph(
                    "Memory of requested",
                    "What a namespace's pods use of what they asked for.",
                    "percentunit",
                    top(lambda window, at: f"{memory(window, at)} / ({asked('requests', 'memory', at=at)} > 0)", "namespace", name),
                    width=12,
                    links=[GRAPH_LINK],
                ),
                top_graph("Received", "By pods with a network of their own.", "Bps", top(pod_traffic("receive", "bytes", BY), "namespace", name), width=12),
                top_graph("Sent", "By pods with a network of their own.", "Bps", top(pod_traffic("transmit", "bytes", BY), "namespace", name), width=12),
                top_graph("Pods by namespace", "That have not ended.", "none", top(lambda _window, at: pods(at), "namespace", name), width=12, stacked=True),
                top_graph(
                    "Storage requested",
                    "By volume claims.",
                    "bytes",
                    top(lambda _window, at: claimed(at), "namespace", name),
                    width=12,
                    stacked=True,
                ),
            ],
        )
    ]
