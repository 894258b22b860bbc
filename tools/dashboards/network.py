# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network of a cluster: traffic of nodes, namespaces and pods, what gets lost, and a short look at kube-proxy and CoreDNS."""

from __future__ import annotations

from ._kaas import CALM, CLUSTER, NAMESPACE, NODE, RATE, REAL_INTERFACE, both_ways, namespace_variable, node_variable, over, pod_traffic, top, top_graph
from .common import (
    ORANGE,
    Dashboard,
    bad_if_any,
    cluster_variable,
    dashboard,
    high_is_bad,
    label,
    link,
    low_is_bad,
    row,
    stat,
    table,
    timeseries,
    value,
)

BY_NODE, BY_NAMESPACE, BY_POD = "cluster, node", "cluster, namespace", "cluster, namespace, pod"
OWN = "Pods on the node's own network are left out: each would count all of the node's."
PODS = f'{NAMESPACE},node=~"$node"'
POD_NAME = "{{namespace}}/{{pod}}"
NODE_LINK = link("scs-kaas-node", cluster="$cluster", node="${__data.fields.Node}")
PODS_LINK = link("scs-kaas-pods", cluster="$cluster", namespace="${__data.fields.Namespace}")
POD_LINK = link("scs-kaas-pods", cluster="$cluster", namespace="${__data.fields.Namespace}", pod="${__data.fields.Pod}")
NODE_GRAPH_LINK = link("scs-kaas-node", cluster="$cluster", node="${__field.labels.node}")
RETRANSMITTED = high_is_bad(0.01, 0.05)


def node_traffic(direction: str, what: str = "bytes", by: str = BY_NODE):
    """For top(): the rate of a counter of the nodes' real interfaces."""
    return lambda window, at: f"sum by ({by}) (rate(node_network_{direction}_{what}_total{{{NODE},{REAL_INTERFACE}}}[{window}]{at}))"


def pods(direction: str, what: str, by: str):
    return pod_traffic(direction, what, by, PODS)


def both(make, *arguments: str):
    """For top(): received and sent together."""
    return lambda window, at: f"{make('receive', *arguments)(window, at)} + {make('transmit', *arguments)(window, at)}"


def counter(metric: str, by: str = BY_NODE):
    return lambda window, at: f"sum by ({by}) (rate({metric}{{{NODE}}}[{window}]{at}))"


def retransmitted(window: str, at: str = "", by: str = BY_NODE) -> str:
    return f"{counter('node_netstat_Tcp_RetransSegs', by)(window, at)} / ({counter('node_netstat_Tcp_OutSegs', by)(window, at)} > 0)"


def conntrack(window: str = "", at: str = "") -> str:
    used = over(f"node_nf_conntrack_entries{{{NODE}}}", window, at)
    return f"max by ({BY_NODE}) ({used} / (node_nf_conntrack_entries_limit{{{NODE}}}{at} > 0))"


def mean(metric: str, selector: str):
    """For top(): the mean duration, from a histogram's sum and count."""

    def make(window: str, at: str) -> str:
        parts = [f"sum by ({BY_NODE}) (rate({metric}_{part}{{{selector}}}[{window}]{at}))" for part in ("sum", "count")]
        return f"{parts[0]} / ({parts[1]} > 0)"

    return make


def up(job: str) -> str:
    return f'avg(up{{{CLUSTER},observer="",job="{job}"}})'


def dashboards() -> list[Dashboard]:
    dns = f'{CLUSTER},job="coredns"'
    proxy = f'{NODE},job="kube-proxy"'
    lost = both(node_traffic, "drop", "cluster")
    broken = both(node_traffic, "errs", "cluster")
    failed = f'(sum(rate(coredns_dns_responses_total{{{dns},rcode="SERVFAIL"}}[%s])) or vector(0)) / (sum(rate(coredns_dns_responses_total{{{dns}}}[%s])) > 0)'
    hits = f"sum(rate(coredns_cache_hits_total{{{dns}}}[%s])) / (sum(rate(coredns_cache_requests_total{{{dns}}}[%s])) > 0)"
    node, namespace = "{{node}}", "{{namespace}}"
    return [
        dashboard(
            "scs-kaas-network",
            "The network of a KaaS cluster: traffic, packets, errors and drops by node, namespace and pod, TCP's losses, kube-proxy and CoreDNS.",
            up=["scs-kaas-cluster"],
            down=["scs-kaas-kube-proxy", "scs-kaas-coredns", "scs-kaas-nodes", "scs-kaas-ingress"],
            variables=[cluster_variable(), node_variable(every=True), namespace_variable()],
            panels=[
                row("Overview"),
                stat("Received", "By all real interfaces of the nodes.", "Bps", node_traffic("receive", by="cluster")(CALM, ""), width=3, decimals=1),
                stat("Sent", "By all real interfaces of the nodes.", "Bps", node_traffic("transmit", by="cluster")(CALM, ""), width=3, decimals=1),
                stat("Errors", "Broken packets of the nodes, in and out.", "pps", broken(CALM, ""), width=2, decimals=1, limits=high_is_bad(0.1, 10)),
                stat("Drops", "Packets that the nodes threw away, in and out.", "pps", lost(CALM, ""), width=2, decimals=1, limits=high_is_bad(1, 100)),
                stat(
                    "TCP sent again",
                    "Segments that had to be sent again, of all that were sent.",
                    "percentunit",
                    retransmitted(CALM, by="cluster"),
                    width=4,
                    decimals=2,
                    limits=RETRANSMITTED,
                ),
                stat(
                    "Connection table",
                    "The fullest one: connections that a node's firewall remembers, of those that it can. At 100 % new ones are dropped.",
                    "percentunit",
                    f"max({conntrack()})",
                    width=4,
                    limits=high_is_bad(0.75, 0.9),
                    decimals=1,
                ),
                stat("kube-proxy", "How many of them answer the agent.", "percentunit", up("kube-proxy"), width=3, limits=low_is_bad(0.9, 1), decimals=0),
                stat("CoreDNS", "How many of them answer the agent.", "percentunit", up("coredns"), width=3, limits=low_is_bad(0.5, 1), decimals=0),
                row("Nodes"),
                table(
                    "Nodes",
                    "One row a node, over the last minutes; real interfaces only.",
                    [
                        label("node", "Node", links=[NODE_LINK]),
                        value("Received", node_traffic("receive")(CALM, ""), "Bps", width=130),
                        value("Sent", node_traffic("transmit")(CALM, ""), "Bps", width=130),
                        value("Packets in", node_traffic("receive", "packets")(CALM, ""), "pps", width=130),
                        value("Packets out", node_traffic("transmit", "packets")(CALM, ""), "pps", width=130),
                        value("Errors", both(node_traffic, "errs")(CALM, ""), "pps", high_is_bad(0.1, 10), decimals=2, width=130),
                        value("Drops", both(node_traffic, "drop")(CALM, ""), "pps", high_is_bad(1, 100), decimals=2, width=130),
                        value("TCP sent again", retransmitted(CALM), "percentunit", RETRANSMITTED, decimals=2, width=130),
                        value("TCP connections", f"max by ({BY_NODE}) (node_netstat_Tcp_CurrEstab{{{NODE}}})", "none", width=140),
                        value("Connection table", conntrack(), "percentunit", high_is_bad(0.75, 0.9), bar=True, width=160),
                    ],
                    sort="Received",
                    height=8,
                ),
                top_graph("Received by nodes", "The ten highest.", "Bps", top(node_traffic("receive"), "node", node), width=12, links=[NODE_GRAPH_LINK]),
                top_graph("Sent by nodes", "The ten highest.", "Bps", top(node_traffic("transmit"), "node", node), width=12, links=[NODE_GRAPH_LINK]),
                both_ways(
                    "Packets of all nodes",
                    "Received (above) and sent (below).",
                    "pps",
                    {
                        "received": node_traffic("receive", "packets", "cluster")(RATE, ""),
                        "sent": node_traffic("transmit", "packets", "cluster")(RATE, ""),
                    },
                    width=8,
                ),
                timeseries(
                    "Errors and drops of all nodes",
                    "Broken packets, and packets that were thrown away, in and out.",
                    "pps",
                    {
                        "errors in": node_traffic("receive", "errs", "cluster")(RATE, ""),
                        "errors out": node_traffic("transmit", "errs", "cluster")(RATE, ""),
                        "drops in": node_traffic("receive", "drop", "cluster")(RATE, ""),
                        "drops out": node_traffic("transmit", "drop", "cluster")(RATE, ""),
                    },
                    width=8,
                ),
                top_graph("Errors and drops by node", "In and out, the ten highest.", "pps", top(_errors_and_drops, "node", node), width=8, height=8),
                row("TCP and UDP of the nodes"),
                top_graph(
                    "TCP sent again by node",
                    "Segments that had to be sent again, of all that were sent: the ten highest. More than 1 % says that packets are lost on the way.",
                    "percentunit",
                    top(retransmitted, "node", node),
                    width=12,
                ),
                top_graph(
                    "TCP connections",
                    "Established ones, the ten highest.",
                    "none",
                    top(lambda window, at: f"max by ({BY_NODE}) ({over(f'node_netstat_Tcp_CurrEstab{{{NODE}}}', window, at)})", "node", node),
                    width=12,
                ),
                timeseries(
                    "Refused and lost",
                    "Of all nodes: connections that a program did not take in time, handshakes sent again, and UDP packets with errors.",
                    "cps",
                    {
                        "listen queue full": counter("node_netstat_TcpExt_ListenOverflows", "cluster")(RATE, ""),
                        "listen drops": counter("node_netstat_TcpExt_ListenDrops", "cluster")(RATE, ""),
                        "handshakes sent again": counter("node_netstat_TcpExt_TCPSynRetrans", "cluster")(RATE, ""),
                        "UDP errors": counter("node_netstat_Udp_InErrors", "cluster")(RATE, ""),
                    },
                    width=12,
                ),
                top_graph("Connection tables", "Share in use, the ten highest.", "percentunit", top(conntrack, "node", node), width=12, height=8, maximum=1),
                row("Namespaces and pods"),
                table(
                    "Namespaces",
                    f"One row a namespace, over the last minutes. {OWN}",
                    [
                        label("namespace", "Namespace", links=[PODS_LINK]),
                        value("Received", pods("receive", "bytes", BY_NAMESPACE)(CALM, ""), "Bps", width=100),
                        value("Sent", pods("transmit", "bytes", BY_NAMESPACE)(CALM, ""), "Bps", width=100),
                        value("Packets in", pods("receive", "packets", BY_NAMESPACE)(CALM, ""), "pps", width=115),
                        value("Packets out", pods("transmit", "packets", BY_NAMESPACE)(CALM, ""), "pps", width=115),
                        value("Errors", both(pods, "errors", BY_NAMESPACE)(CALM, ""), "pps", high_is_bad(0.1, 10), decimals=2, width=95),
                        value("Drops", both(pods, "packets_dropped", BY_NAMESPACE)(CALM, ""), "pps", high_is_bad(1, 100), decimals=2, width=95),
                    ],
                    sort="Received",
                    width=12,
                    height=9,
                ),
                table(
                    "Pods",
                    f"One row a pod, over the last minutes. {OWN}",
                    [
                        label("namespace", "Namespace", width=130),
                        label("pod", "Pod", links=[POD_LINK]),
                        value("Received", pods("receive", "bytes", BY_POD)(CALM, ""), "Bps", width=100),
                        value("Sent", pods("transmit", "bytes", BY_POD)(CALM, ""), "Bps", width=100),
                        value("Errors", both(pods, "errors", BY_POD)(CALM, ""), "pps", high_is_bad(0.1, 10), decimals=2, width=95),
                        value("Drops", both(pods, "packets_dropped", BY_POD)(CALM, ""), "pps", high_is_bad(1, 100), decimals=2, width=95),
                    ],
                    sort="Received",
                    width=12,
                    height=9,
                ),
                top_graph("Received by namespaces", "The ten highest.", "Bps", top(pods("receive", "bytes", BY_NAMESPACE), "namespace", namespace), width=12),
                top_graph("Sent by namespaces", "The ten highest.", "Bps", top(pods("transmit", "bytes", BY_NAMESPACE), "namespace", namespace), width=12),
                top_graph("Received by pods", "The ten highest.", "Bps", top(pods("receive", "bytes", BY_POD), "namespace, pod", POD_NAME)),
                top_graph("Sent by pods", "The ten highest.", "Bps", top(pods("transmit", "bytes", BY_POD), "namespace, pod", POD_NAME)),
                top_graph("Packets of pods", "In and out, the ten highest.", "pps", top(both(pods, "packets", BY_POD), "namespace, pod", POD_NAME)),
                top_graph(
                    "Drops of pods",
                    "In and out, the ten highest.",
                    "pps",
                    top(both(pods, "packets_dropped", BY_POD), "namespace, pod", POD_NAME),
                ),
                row("kube-proxy and CoreDNS"),
                _connected(
                    "kube-proxy: mean time of a sync",
                    "How long it takes to write the rules of Services; the ten slowest nodes. None where nothing was synced.",
                    "s",
                    top(mean("kubeproxy_sync_proxy_rules_duration_seconds", proxy), "node", node),
                    width=12,
                ),
                top_graph(
                    "kube-proxy: since the last sync",
                    "Time since the rules were written for the last time, the ten longest.",
                    "s",
                    top(
                        lambda _window, at: f"time() - max by ({BY_NODE}) (kubeproxy_sync_proxy_rules_last_timestamp_seconds{{{proxy}}}{at})",
                        "node",
                        node,
                    ),
                    width=12,
                ),
                stat(
                    "CoreDNS: failures",
                    "Answers that say SERVFAIL, of all.",
                    "percentunit",
                    failed.replace("%s", CALM),
                    width=4,
                    height=7,
                    decimals=2,
                    limits=high_is_bad(0.01, 0.05),
                    no_value="no answers",
                ),
                stat(
                    "CoreDNS: panics",
                    "In the last hour.",
                    "none",
                    f"sum(increase(coredns_panics_total{{{dns}}}[1h]))",
                    width=4,
                    height=7,
                    decimals=0,
                    limits=bad_if_any(ORANGE),
                ),
                timeseries(
                    "CoreDNS: answers",
                    "By what they say; NXDOMAIN: there is no such name.",
                    "reqps",
                    {"{{rcode}}": f"sum by (cluster, rcode) (rate(coredns_dns_responses_total{{{dns}}}[{RATE}]))"},
                    width=8,
                    height=7,
                    stacked=True,
                ),
                timeseries(
                    "CoreDNS: found in the cache",
                    "Share of the questions that its cache could answer.",
                    "percentunit",
                    {"found": hits.replace("%s", RATE)},
                    width=8,
                    height=7,
                    maximum=1,
                ),
            ],
        )
    ]


def _errors_and_drops(window: str, at: str) -> str:
    return f"{both(node_traffic, 'errs')(window, at)} + {both(node_traffic, 'drop')(window, at)}"


def _connected(*arguments, **more):
    """A graph of something that happens now and then: its points are joined by lines."""
    panel = top_graph(*arguments, **more)
    panel.builder.span_nulls(True)
    return panel
