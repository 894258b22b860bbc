# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on every node of a KaaS cluster: kubelet and kube-proxy."""

from __future__ import annotations

from collections.abc import Sequence

from . import common as c
from .control_plane import (
    DETAILS,
    FULL,
    SELDOM,
    UP,
    age,
    client_requests,
    health,
    instances,
    mean,
    or_none,
    per_second,
    quantile,
    resources,
    selector,
    top,
    version,
)

KUBELET, PROXY = "kubelet", "kube-proxy"


def dashboards() -> Sequence[c.Dashboard]:
    return [_kubelet(), _proxy()]


def _days(metric: str, matchers: str) -> str:
    return f"{metric}{{{matchers}}} / 86400"


def _kubelet() -> c.Dashboard:
    every = selector(KUBELET, 'metrics_path="/metrics"')
    # Client and server certificates that the kubelet renews by itself; what was given to it as a file has none of these.
    certificates = "kubelet_certificate_manager_{}_ttl_seconds"
    zero = f"0 * group(kubelet_running_pods{{{every}}})"
    return c.dashboard(
        "scs-kaas-kubelet",
        "The kubelets of a KaaS cluster: pods and containers, starts, relists, the container runtime, volumes, certificates.",
        variables=[c.cluster_variable(), instances(KUBELET)],
        up=UP,
        lists=DETAILS,
        panels=[
            c.row("Health"),
            c.stat("Up", "Kubelets that answer the agent.", "short", f"sum(up{{{every}}})"),
            c.stat(
                "Down",
                "Kubelets that do not answer the agent, or whose certificate it can not verify (docs/agent.md).",
                "short",
                f"count(up{{{every}}}) - sum(up{{{every}}})",
                limits=c.bad_if_any(),
            ),
            c.stat("Running pods", "Pods that run on these nodes.", "short", f"sum(kubelet_running_pods{{{every}}})"),
            c.stat(
                "Running containers",
                "Containers that run on these nodes.",
                "short",
                f'sum(kubelet_running_containers{{{every},container_state="running"}})',
            ),
            c.stat(
                "Broken configurations",
                "Kubelets that could not use their new configuration and go on with the old one. Not all versions tell.",
                "short",
                f"sum(kubelet_node_config_error{{{every}}}) or 0 * group(up{{{every}}})",
                limits=c.bad_if_any(),
            ),
            version(KUBELET),
            c.row("Pods"),
            c.timeseries("Pods by node", "Pods that run on each node.", "short", {"{{node}}": f"sum by (node) (kubelet_running_pods{{{every}}})"}, width=8),
            c.timeseries(
                "Containers by state",
                "Containers on these nodes, by state.",
                "short",
                {"{{container_state}}": f"sum by (container_state) (kubelet_running_containers{{{every}}})"},
                width=8,
            ),
            c.timeseries(
                "Pods wanted and active",
                f"Pods that ought to run on these nodes, and those that the kubelets work at. {FULL}",
                "short",
                {"wanted": f"sum(kubelet_desired_pods{{{every}}})", "active": f"sum(kubelet_active_pods{{{every}}})"},
                width=8,
            ),
            c.timeseries(
                "Start of a pod",
                f"From the moment when the kubelet sees a pod to its last container's start, without the pull of images. {FULL}",
                "s",
                {
                    "99th percentile": quantile(0.99, "kubelet_pod_start_sli_duration_seconds", every),
                    "median": quantile(0.5, "kubelet_pod_start_sli_duration_seconds", every),
                },
                overrides=SELDOM,
                width=8,
            ),
            c.timeseries(
                "Work at a pod (99th percentile)",
                f"How long one round of the kubelet at one pod takes. {FULL}",
                "s",
                {"{{operation_type}}": quantile(0.99, "kubelet_pod_worker_duration_seconds", every, "operation_type")},
                overrides=SELDOM,
                width=8,
            ),
            c.timeseries(
                "Starts that fail, evictions",
                "Pods and containers that could not be started (profile full), and pods that were evicted because a node was short of something.",
                "ops",
                {
                    "pods": f"{per_second('kubelet_started_pods_errors_total', every)} or 0 * group(kubelet_running_pods{{{every}}})",
                    "containers": per_second("kubelet_started_containers_errors_total", every),
                    "evicted, {{eviction_signal}}": per_second("kubelet_evictions", every, "eviction_signal"),
                },
                width=8,
            ),
            c.row("Relists and container runtime"),
            c.timeseries(
                "Relist (99th percentile)",
                "How long it takes to list all containers of a node. Above three minutes the node is set to not ready.",
                "s",
                {"{{node}}": quantile(0.99, "kubelet_pleg_relist_duration_seconds", every, "node")},
                width=8,
            ),
            c.timeseries(
                "Time between relists (99th percentile)",
                f"Ought to be about a second, or five minutes where the runtime sends events. {FULL}",
                "s",
                {"{{node}}": quantile(0.99, "kubelet_pleg_relist_interval_seconds", every, "node")},
                width=8,
            ),
            c.timeseries(
                "Runtime: operations",
                "What the kubelets ask of the container runtime, the ten most frequent.",
                "ops",
                {"{{operation_type}}": top(per_second("kubelet_runtime_operations_total", every, "operation_type"), "operation_type")},
                width=8,
            ),
            c.timeseries(
                "Runtime: errors",
                "What the container runtime could not do.",
                "ops",
                {
                    "{{operation_type}}": or_none(
                        per_second("kubelet_runtime_operations_errors_total", every, "operation_type"),
                        "operation_type",
                        f"kubelet_runtime_operations_total{{{every}}}",
                    )
                },
                width=8,
            ),
            c.timeseries(
                "Runtime: latency (99th percentile)",
                f"How long the container runtime takes, the ten slowest operations. {FULL}",
                "s",
                {"{{operation_type}}": top(quantile(0.99, "kubelet_runtime_operations_duration_seconds", every, "operation_type"), "operation_type")},
                width=8,
            ),
            c.timeseries(
                "Control groups (99th percentile)",
                f"How long the kubelets take to make, change and remove control groups. {FULL}",
                "s",
                {"{{operation_type}}": quantile(0.99, "kubelet_cgroup_manager_duration_seconds", every, "operation_type")},
                overrides=SELDOM,
                width=8,
            ),
            c.row("Volumes"),
            c.timeseries(
                "Volumes",
                "Volumes that pods want, and those that are mounted. A lasting difference is a volume that can not be mounted.",
                "short",
                {"{{state}}": f"sum by (state) (volume_manager_total_volumes{{{every}}})"},
                width=8,
            ),
            c.timeseries(
                "Storage operations that fail",
                f"Mounts, attachments and the like that failed, by what was done and how. {FULL}",
                "ops",
                {
                    "{{operation_name}} {{volume_plugin}}": or_none(
                        per_second("storage_operation_duration_seconds_count", f'{every},status!="success"', "operation_name", "volume_plugin"),
                        "operation_name",
                        f"storage_operation_duration_seconds_count{{{every}}}",
                    )
                },
                width=8,
            ),
            c.timeseries(
                "Storage operations (99th percentile)",
                f"How long they take. {FULL}",
                "s",
                {
                    "{{operation_name}} {{volume_plugin}}": quantile(0.99, "storage_operation_duration_seconds", every, "operation_name", "volume_plugin"),
                },
                width=8,
            ),
            c.row("Certificates"),
            c.stat(
                "Client certificate: shortest",
                "Days until the first client certificate of a kubelet ends, of those that the kubelets renew themselves.",
                "suffix: days",
                f"min({_days(certificates.format('client'), every)})",
                limits=c.low_is_bad(7, 30),
                decimals=0,
                width=5,
                height=8,
                mappings=[c.no_data("not known")],
            ),
            c.stat(
                "Server certificate: shortest",
                "Days until the first server certificate of a kubelet ends, of those that the kubelets renew themselves (serverTLSBootstrap).",
                "suffix: days",
                f"min({_days(certificates.format('server'), every)})",
                limits=c.low_is_bad(7, 30),
                decimals=0,
                width=5,
                height=8,
                mappings=[c.no_data("not known")],
            ),
            c.stat(
                "Renewals that failed",
                "Client and server certificates that could not be renewed in the last day.",
                "short",
                f"(sum(increase(kubelet_certificate_manager_client_expiration_renew_errors{{{every}}}[1d])) or {zero})"
                f" + (sum(increase(kubelet_server_expiration_renew_errors{{{every}}}[1d])) or {zero})",
                limits=c.bad_if_any(),
                decimals=0,
                width=5,
                height=8,
            ),
            c.timeseries(
                "Days left",
                "Days until the certificates of each kubelet end, of those that it renews itself.",
                "suffix: days",
                {
                    "{{node}} client": _days(certificates.format("client"), every),
                    "{{node}} server": _days(certificates.format("server"), every),
                },
                width=9,
            ),
            *client_requests(KUBELET, "the kubelets"),
            *resources(KUBELET),
        ],
    )


def _proxy() -> c.Dashboard:
    every = selector(PROXY)
    sync, program = "kubeproxy_sync_proxy_rules_duration_seconds", "kubeproxy_network_programming_duration_seconds"
    return c.dashboard(
        "scs-kaas-kube-proxy",
        "kube-proxy of a KaaS cluster: how soon changes of services reach the nodes. Empty where it listens on 127.0.0.1 only, or another one does its work.",
        variables=[c.cluster_variable(), instances(PROXY)],
        up=UP,
        lists=DETAILS,
        panels=[
            c.row("Health"),
            *health(PROXY, "kube-proxy"),
            version(PROXY),
            age(PROXY),
            c.row("Rules"),
            c.timeseries(
                "Writing the rules (99th percentile)",
                f"How long each node takes to bring its rules up to date. {FULL}",
                "s",
                {"{{node}}": quantile(0.99, sync, every, "node")},
                overrides=SELDOM,
                width=8,
            ),
            c.timeseries(
                "Writing the rules (mean)",
                "The same on average, which the profile minimal has too.",
                "s",
                {"{{node}}": mean(sync, every, "node")},
                overrides=SELDOM,
                width=8,
            ),
            c.timeseries(
                "Writes", "How often each node's rules are brought up to date.", "ops", {"{{node}}": per_second(f"{sync}_count", every, "node")}, width=8
            ),
            c.timeseries(
                "From change to rule (99th percentile)",
                f"From a change of a service or its pods to the node's rule. {FULL}",
                "s",
                {"{{node}}": quantile(0.99, program, every, "node")},
                overrides=SELDOM,
                width=8,
            ),
            c.timeseries(
                "Behind",
                "Time since the oldest change that is not yet in the rules; 0 when all are.",
                "s",
                {
                    "{{node}}": f"max by (node) (clamp_min(kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{{{every}}} "
                    f"- kubeproxy_sync_proxy_rules_last_timestamp_seconds{{{every}}}, 0))"
                },
                width=8,
            ),
            c.timeseries(
                "Rules",
                f"iptables rules of each node, by table. {FULL}",
                "short",
                {"{{node}} {{table}} {{ip_family}}": f"sum by (node, table, ip_family) (kubeproxy_sync_proxy_rules_iptables_total{{{every}}})"},
                width=8,
            ),
            c.timeseries(
                "Services without a pod on the node",
                f"Services whose traffic policy wants a pod on the same node where none is: their traffic is dropped. {FULL}",
                "short",
                {"{{node}} {{traffic_policy}}": f"max by (node, traffic_policy) (kubeproxy_sync_proxy_rules_no_local_endpoints_total{{{every}}})"},
            ),
            c.timeseries(
                "Changes",
                f"Changes of services and of their pods that kube-proxy saw. {FULL}",
                "ops",
                {
                    "services": per_second("kubeproxy_sync_proxy_rules_service_changes_total", every),
                    "pods": per_second("kubeproxy_sync_proxy_rules_endpoint_changes_total", every),
                },
            ),
            *client_requests(PROXY, "kube-proxy", latency=False),
            *resources(PROXY),
        ],
    )
