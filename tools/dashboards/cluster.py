# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One KaaS cluster: everything that can be wrong in it on one page, each with the way to its details. The agent's minimal profile is enough."""

from __future__ import annotations

from . import common as c
from .alerts import alert_table
from .kaas import rank, rank_mapping, state

_CHOSEN = 'cluster=~"$cluster"'
# infrastructure="": no store of an infrastructure needs to be asked
_OF = f'{_CHOSEN},infrastructure=""'
_RECORDED = f"{c.RECORDED},{_CHOSEN}"
# 0 as long as kube-state-metrics says that there is nothing of a kind, and nothing while it is silent itself.
_NONE = f'0 * max(up{{{_OF},observer="",job="kube-state-metrics"}} == 1)'


def _link(name: str) -> list[dict[str, object]]:
    return [c.link(f"scs-kaas-{name}", cluster="$cluster")]


def _share(title: str, description: str, good: str, all_of: str, details: str) -> c.Panel:
    """How many of all are as they ought to be: "ok 3 of 3", or "only 2 of 3"."""
    good, all_of = f"(({good}) or {_NONE})", f"(({all_of}) or {_NONE})"
    return c.stat(
        title,
        description,
        "none",
        {"ok": f"{good} >= {all_of}", "only": f"{good} < {all_of}", "of": all_of},
        text="value_and_name",
        overrides=[c.override("ok", color=c.GREEN), c.override("only", color=c.RED), c.override("of", color="text")],
        links=_link(details),
        width=4,
    )


def _compared(kind: str, have: str, want: str) -> tuple[str, str]:
    """Objects of a kind that have what they want, and all of them."""
    by = f"max by (cluster, namespace, {kind})"
    name = f"kube_{kind}"
    return f"sum({by} ({name}_{have}{{{_OF}}}) >= bool {by} ({name}_{want}{{{_OF}}}))", f"count({by} ({name}_{want}{{{_OF}}}))"


def _objects() -> list[c.Panel]:
    ready = f'kube_node_status_condition{{{_OF},condition="Ready",status="true"}}'
    claims = "by (cluster, namespace, persistentvolumeclaim)"
    jobs = "by (cluster, namespace, job_name)"
    return [
        _share("Nodes", "Nodes that are ready.", f"sum({ready})", f"count(kube_node_info{{{_OF}}})", "nodes"),
        _share(
            "Pods",
            "Pods that run or have succeeded; those that are pending, failed or unknown are missing.",
            f'sum(kube_pod_status_phase{{{_OF},phase=~"Running|Succeeded"}})',
            f"count(kube_pod_info{{{_OF}}})",
            "pods",
        ),
        _share(
            "Containers",
            "Containers of running pods that are ready.",
            f'sum(kube_pod_container_status_ready{{{_OF}}} and on (cluster, namespace, pod) kube_pod_status_phase{{{_OF},phase="Running"}} == 1)',
            f'count(kube_pod_container_status_ready{{{_OF}}} and on (cluster, namespace, pod) kube_pod_status_phase{{{_OF},phase="Running"}} == 1)',
            "pods",
        ),
        _share(
            "Deployments",
            "Deployments with as many available replicas as they want.",
            *_compared("deployment", "status_replicas_available", "spec_replicas"),
            "workloads",
        ),
        _share(
            "StatefulSets",
            "StatefulSets with as many ready replicas as they want.",
            *_compared("statefulset", "status_replicas_ready", "replicas"),
            "workloads",
        ),
        _share(
            "DaemonSets",
            "DaemonSets that are ready on each node that they are meant for.",
            *_compared("daemonset", "status_number_ready", "status_desired_number_scheduled"),
            "workloads",
        ),
        _share(
            "Jobs",
            "Jobs that have not failed: done or at work.",
            f'count(group {jobs} (kube_job_info{{{_OF}}}) unless on (cluster, namespace, job_name) kube_job_failed{{{_OF},condition="true"}} == 1)',
            f"count(group {jobs} (kube_job_info{{{_OF}}}))",
            "workloads",
        ),
        _share(
            "Volume claims",
            "PersistentVolumeClaims that are bound.",
            f'sum(max {claims} (kube_persistentvolumeclaim_status_phase{{{_OF},phase="Bound"}}))',
            f"count(group {claims} (kube_persistentvolumeclaim_info{{{_OF}}}))",
            "volumes",
        ),
        c.stat(
            "Fullest volume",
            "The volume claim with the least room left. The kubelet tells nothing of volumes that are folders of a node.",
            "percentunit",
            {
                "{{namespace}}/{{persistentvolumeclaim}}": f"topk(1, max {claims} (kubelet_volume_stats_used_bytes{{{_OF}}})"
                f" / max {claims} (kubelet_volume_stats_capacity_bytes{{{_OF}}} > 0))"
            },
            text="value_and_name",
            limits=c.high_is_bad(0.8, 0.9),
            links=_link("volumes"),
            no_value="no volume tells",
        ),
        c.stat("Namespaces", "How many namespaces there are.", "none", f"count(kube_namespace_created{{{_OF}}})", links=_link("namespaces")),
        c.stat(
            "Restarts",
            "Restarts of containers in the last hour.",
            "none",
            f"round(sum(increase(kube_pod_container_status_restarts_total{{{_OF}}}[1h])))",
            limits=c.thresholds(c.GREEN, (1, c.YELLOW), (10, c.ORANGE)),
            links=_link("pods"),
        ),
        c.stat(
            "Ingress controllers",
            "How many of the ingress controllers that the agent scrapes answer.",
            "percentunit",
            f'avg(up{{{_OF},observer="",job=~"ingress-nginx|traefik"}})',
            limits=c.low_is_bad(0.5, 1),
            links=_link("ingress"),
            no_value="none scraped",
        ),
    ]


def _control_plane() -> list[c.Panel]:
    parts = (
        ("API server", "apiserver", "apiserver"),
        ("etcd", "kube-etcd", "etcd"),
        ("Scheduler", "kube-scheduler", "scheduler"),
        ("Controller manager", "kube-controller-manager", "controller-manager"),
        ("Kubelet", "kubelet", "kubelet"),
        ("kube-proxy", "kube-proxy", "kube-proxy"),
        ("CoreDNS", "coredns", "coredns"),
    )
    requests = f'apiserver_request_total{{{_OF},job="apiserver"'
    none = f'0 * max(up{{{_OF},observer="",job="apiserver"}} == 1)'
    errors = f'(sum(rate({requests},code=~"5.."}}[$__rate_interval])) or {none}) / sum(rate({requests}}}[$__rate_interval]))'
    return [
        *(
            c.stat(
                title,
                f"How much of it answers the agent ({job}). Not scraped: the cluster keeps it to itself, as hosted control planes do.",
                "percentunit",
                f'avg(up{{{_OF},observer="",job="{job}"}})',
                width=3,
                color="background",
                limits=c.low_is_bad(0.5, 1),
                links=_link(details),
                no_value="not scraped",
            )
            for title, job, details in parts
        ),
        c.stat(
            "API errors",
            "Share of requests that the API server answered with an error of its own (5xx).",
            "percentunit",
            errors,
            width=3,
            decimals=2,
            color="background",
            limits=c.high_is_bad(0.01, 0.05),
            links=_link("apiserver"),
        ),
    ]


def _nodes(title: str, of: str) -> list[c.Panel]:
    """CPU, memory, disk and network of a group of nodes. C(of) chooses them: "and" those of the control plane, or all "unless" they are."""
    chosen = f'{of} on (cluster, instance) label_replace(kube_node_role{{{_OF},role=~"control-plane|master"}}, "instance", "$1", "node", "(.+)")'

    def per_node(expr: str) -> str:
        return f"({expr} {chosen})"

    idle = per_node(f'sum by (cluster, instance) (rate(node_cpu_seconds_total{{{_OF},mode=~"idle|iowait"}}[$__rate_interval]))')
    cpus = per_node(f'count by (cluster, instance) (node_cpu_seconds_total{{{_OF},mode="idle"}})')
    free = per_node(f"max by (cluster, instance) (node_memory_MemAvailable_bytes{{{_OF}}})")
    memory = per_node(f"max by (cluster, instance) (node_memory_MemTotal_bytes{{{_OF}}})")
    # a device counts once, wherever it is mounted
    left = per_node(f"sum by (cluster, instance) (max by (cluster, instance, device) (node_filesystem_avail_bytes{{{_OF}}}))")
    disk = per_node(f"sum by (cluster, instance) (max by (cluster, instance, device) (node_filesystem_size_bytes{{{_OF}}}))")
    real = 'device!~"lo|veth.*|cali.*|cilium.*|lxc.*|cni.*|flannel.*"'
    bytes_in, bytes_out = (
        per_node(f"sum by (cluster, instance) (rate(node_network_{way}_bytes_total{{{_OF},{real}}}[$__rate_interval]))") for way in ("receive", "transmit")
    )

    def resource(name: str, text: str, unit: str, unused: str, whole: str) -> c.Panel:
        used = {
            "overall": f"1 - sum({unused}) / sum({whole})",
            "most: {{instance}}": f"topk(1, 1 - {unused} / {whole})",
            "used": f"sum({whole}) - sum({unused})",
            "of": f"sum({whole})",
        }
        units = [c.override(legend, unit=unit, color="text") for legend in ("used", "of")]
        return c.stat(
            f"{title}: {name}",
            text,
            "percentunit",
            used,
            width=6,
            height=6,
            limits=c.high_is_bad(0.8, 0.9),
            overrides=units,
            links=_link("nodes"),
            no_value="no such nodes",
            lines=True,
        )

    return [
        resource("CPU", "Busy share of all CPUs of these nodes, the busiest node, and CPUs in use. Waiting for disks is no use.", "none", idle, cpus),
        resource(
            "Memory", "Used share of the memory of these nodes, the node that uses most, and bytes. What can be freed counts as free.", "bytes", free, memory
        ),
        resource("Disk", "Used share of the file systems of these nodes, the fullest node, and bytes.", "bytes", left, disk),
        c.stat(
            f"{title}: network",
            "Traffic of these nodes with others, and of the node with most. Virtual interfaces of pods are left out.",
            "Bps",
            {
                "received": f"sum({bytes_in})",
                "sent": f"sum({bytes_out})",
                "most: {{instance}}": f"topk(1, {bytes_in} + {bytes_out})",
            },
            width=6,
            height=6,
            links=_link("network"),
            no_value="no such nodes",
            lines=True,
        ),
    ]


def _certificates() -> list[c.Panel]:
    def days(title: str, text: str, expr: str, **more: object) -> c.Panel:
        return c.stat(title, text, "suffix: days", f"({expr}) / 86400", width=6, decimals=0, limits=c.low_is_bad(7, 30), links=_link("certificates"), **more)

    return [
        days(
            "API server's certificate",
            "Days until the certificate that the API server shows to the Observer's probe ends. Not probed: the registry has no api_url.",
            f'min(probe_ssl_earliest_cert_expiry{{{_CHOSEN},job="kaas-api",{c.OBSERVER}}}) - time()',
            no_value="not probed",
        ),
        days(
            "Client certificates",
            "Days that the client certificates shown to the API server have left; one in a hundred has less.",
            f"histogram_quantile(0.01, sum by (le) (rate(apiserver_client_certificate_expiration_seconds_bucket{{{_OF}}}[$__rate_interval])))",
            no_value="none shown",
        ),
        days(
            "Kubelets' certificates",
            "Days until the first client certificate of a kubelet ends. Kubelets that do not rotate theirs tell nothing.",
            f"min(kubelet_certificate_manager_client_ttl_seconds{{{_OF}}} < +Inf)",
            no_value="kubelets tell nothing",
        ),
        days(
            "Agent's certificate",
            "Days until the certificate ends that the agent is known by. A run of kaas_onboard renews it with 30 days left.",
            f"max(cluster:kaas_agent_certificate_not_after:timestamp_seconds{{{_RECORDED}}}) - time()",
            no_value="not in the registry",
        ),
    ]


def _condition() -> list[c.Panel]:
    def firing(title: str, severity: str, color: str) -> c.Panel:
        expr = f'count(ALERTS{{{_RECORDED},alertstate="firing",severity="{severity}"}}) or vector(0)'
        text = f"{title} alerts that fire for this cluster, silenced ones too."
        return c.stat(title, text, "none", expr, color="background", limits=c.bad_if_any(color), links=_link("alerts"))

    return [
        c.stat(
            "State",
            "The cluster's state, as docs/alerts.md explains them; critical and warning: it reports, and such an alert fires.",
            "none",
            f"max(({rank()}) and on (cluster) {state(_CHOSEN)})",
            color="background",
            mappings=[rank_mapping()],
            links=[c.link("scs-kaas")],
        ),
        firing("Critical", "critical", c.RED),
        firing("Warning", "warning", c.ORANGE),
        c.stat(
            "Last sample",
            "How long ago the newest sample was made that the Observer has of this cluster.",
            "s",
            f"time() - max(cluster:kaas_last_sample:timestamp_seconds{{{_RECORDED}}})",
            decimals=0,
            limits=c.high_is_bad(120, 300),
            no_value="never",
        ),
        c.stat(
            "Kubernetes",
            "The API servers' version; two of them during an upgrade.",
            "none",
            {"{{git_version}}": f'group by (git_version) (kubernetes_build_info{{{_OF},job="apiserver"}})'},
            text="name",
        ),
        c.table(
            "Registry",
            "What the registry says of this cluster.",
            [
                c.label("name", "Name"),
                c.label("customer", "Customer"),
                c.label("region", "Region"),
                c.label("tier", "Tier"),
                c.source(f"group by (name, customer, region, tier) (kaas_info{{{c.OBSERVER},{_CHOSEN}}})"),
            ],
            width=4,
            height=4,
            pages=False,
        ),
    ]


def dashboards() -> list[c.Dashboard]:
    return [
        c.dashboard(
            "scs-kaas-cluster",
            "One KaaS cluster: its state and alerts, control plane, objects, nodes and certificates. Each panel leads to its details.",
            variables=[c.cluster_variable()],
            up=["scs-kaas"],
            down=["scs-kaas-alerts", "scs-kaas-nodes", "scs-kaas-pods", "scs-kaas-workloads"],
            lists=[("Details", ["scs-observer", "L2", "kaas"])],
            panels=[
                *_condition(),
                alert_table("Alerts", "Alerts that fire for this cluster, the gravest first.", _RECORDED, height=7),
                c.row("Control plane"),
                *_control_plane(),
                c.row("Objects"),
                *_objects(),
                c.row("Control-plane nodes"),
                *_nodes("Control plane", "and"),
                c.row("Workers"),
                *_nodes("Workers", "unless"),
                c.row("Certificates"),
                *_certificates(),
            ],
        )
    ]
