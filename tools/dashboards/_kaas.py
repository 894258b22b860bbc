# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the dashboards of one KaaS cluster have in common: selectors, variables, and graphs of the first few of many.

Graphs show ten of many. C(topk) over a time range chooses anew at every point, so lines come and go; top() chooses once, at the end of the range, by the mean
of the whole range, and then draws these. Tables always hold all.
"""

from __future__ import annotations

import typing as t

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.models import common as common_models

from .common import GREEN, ORANGE, RED, Panel, high_is_bad, mapping, override, query_variable, target, timeseries

# The series of the cluster's agent. infrastructure="": no store of an infrastructure needs to be asked.
CLUSTER = 'cluster=~"$cluster",infrastructure=""'
NODE = f'{CLUSTER},node=~"$node"'
NAMESPACE = f'{CLUSTER},namespace=~"$namespace"'
# Neither the node's own loopback nor the bridges whose traffic is counted at the real interface too.
REAL_INTERFACE = 'device!~"lo|docker.*|br-.*|cbr.*|virbr.*|flannel.*|kube-.*|vxlan.*|bridge.*"'
RATE, WHOLE, AT_END = "$__rate_interval", "$__range", " @ end()"
# Tables: long enough to be calm, short enough to be now.
CALM = "5m"

YES_NO = mapping({1: ("yes", GREEN), 0: ("no", RED)})
NO_YES = mapping({0: ("no", GREEN), 1: ("yes", RED)})
UTILISATION = high_is_bad(0.8, 0.9)
READY = mapping({1: ("ready", GREEN), 0: ("not ready", RED)})
ROLE = mapping({1: ("control plane", "blue"), 0: ("worker", "text")})
CORDONED = mapping({0: ("yes", GREEN), 1: ("no", ORANGE)})


def not_ended(at: str = "") -> str:
    """Behind something of pods: without those that have ended. They hold nothing any more, but Kubernetes still lists what they had asked for."""
    return f'unless on (cluster, namespace, pod) (kube_pod_status_phase{{{CLUSTER},phase=~"Succeeded|Failed"}}{at} == 1)'


def top(make: t.Callable[[str, str], str], on: str, legend: str, number: int = 10, condition: str = "") -> t.Any:
    """A query for the few of many; C(make(window, at)) gives the expression of all, C(on) the labels that tell them apart, without the cluster.

    C(condition), such as C(" > 0"), leaves out what never meets it: lines that are all at 0 have no order.
    """
    return target(f"{make(RATE, '')} and on (cluster, {on}) topk({number}, {make(WHOLE, AT_END)}{condition})", legend)


def over(selector: str, window: str, at: str, how: str = "avg") -> str:
    """For top(): a metric that is no counter, as it is, or its mean (or C(how)) of the whole range."""
    return f"{how}_over_time({selector}[{window}]{at})" if at else selector


def top_graph(title: str, description: str, unit: str, queries: t.Any, *, width: int = 24, height: int = 9, **more: t.Any) -> Panel:
    """A timeseries whose lines are named in a table at the right, the highest first. Long names need the full width."""
    panel = timeseries(title, description, unit, queries, width=width, height=height, legend="table", **more)
    shown = common_builders.VizLegendOptions().placement(common_models.LegendPlacement.RIGHT).show_legend(True).sort_by("Mean").sort_desc(True)
    panel.builder.legend(shown.display_mode(common_models.LegendDisplayMode.TABLE).calcs(["mean", "max"]))
    if not more.get("stacked"):
        # ten areas on top of each other show nothing
        panel.builder.fill_opacity(0)
    return panel


def node_variable(*, every: bool) -> t.Any:
    """C($node): one, or with C(every) several or all. Pods that wait for a node have none, and are nobody's."""
    return query_variable(
        "node",
        "Node",
        f"label_values(kube_node_info{{{CLUSTER}}}, node)",
        description="A node of the cluster.",
        all_value=".+" if every else None,
        multi=every,
    )


def namespace_variable() -> t.Any:
    """C($namespace): several or all."""
    return query_variable(
        "namespace",
        "Namespace",
        f"label_values(kube_namespace_status_phase{{{CLUSTER}}}, namespace)",
        description="Namespaces of the cluster.",
        all_value=".+",
        multi=True,
    )


def both_ways(title: str, description: str, unit: str, queries: t.Mapping[str, str], *, width: int = 12, **more: t.Any) -> Panel:
    """Two directions in one graph: the second of each pair (its legend ends with "sent" or "written") is drawn downwards."""
    downwards = override(".*(sent|written)$", regexp=True, transform="negative-Y")
    return timeseries(title, description, unit, queries, width=width, minimum=None, overrides=[downwards], **more)


def pod_traffic(direction: str, what: str, by: str, selector: str = NAMESPACE) -> t.Callable[[str, str], str]:
    """For top(): the rate of a network counter of pods. Those on the node's own network would each count all of the node's."""

    def make(window: str, at: str) -> str:
        counted = f"rate(container_network_{direction}_{what}_total{{{selector}}}[{window}]{at})"
        return f'sum by ({by}) ({counted} unless on (cluster, namespace, pod) kube_pod_info{{{CLUSTER},host_network="true"}}{at})'

    return make
