# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All KaaS clusters at a glance, good for 1000 of them: it reads what the ruler recorded, never what clusters send.

tests/truth_table says what its counters have to show.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import common as c

# A name that a customer's label may have; All is ".*", which also fits clusters without the label.
_FILTERS = 'customer=~"$customer",region=~"$region",tier=~"$tier"'
_SEARCH = '"(?i).*$search.*"'
# Those of the provider itself. What the registry said last holds while it can not be read; what it says now goes before it.
_INFRASTRUCTURE = f'(last_over_time(kaas_info{{{c.OBSERVER},role="infrastructure"}}[1h]) unless on (cluster) kaas_info{{{c.OBSERVER},role="kaas"}})'

CRITICAL, WARNING, ANY = "critical", "warning", "critical|warning"

# A cluster's condition, from the worst on: what it is called, its colour, and what its counter says. The number is what the table sorts by.
CONDITIONS: dict[str, tuple[int, str, str]] = {
    "down": (9, c.RED, "Silent, and their API servers do not answer either."),
    "critical": (8, c.RED, "They report, and at least one critical alert fires for them."),
    "agent_down": (7, c.ORANGE, "Silent, while their API servers answer: look at the agent."),
    "never_seen": (6, c.PURPLE, "Registered for longer than the time of grace, and nothing ever came."),
    "warning": (5, c.ORANGE, "They report, and at least one warning fires for them, but nothing critical."),
    "orphan": (4, c.YELLOW, "They report, and nobody registered them."),
    "new": (3, c.BLUE, "Registered a moment ago; nothing came yet."),
    "maintenance": (2, c.GREY, "Their registry entry says so; no alert is made of their silence."),
    "up": (1, c.GREEN, "They report, and neither a warning nor a critical alert fires for them."),
}


def state(matchers: str = "") -> str:
    """The recorded state of each cluster."""
    return f"max by (cluster, state) (cluster:kaas_state:info{{{c.RECORDED}{matchers and ',' + matchers}}})"


def alerts(severity: str) -> str:
    """Alerts that fire for a cluster, as the Observer's ruler wrote them: nobody else's."""
    return f'ALERTS{{{c.RECORDED},alertstate="firing",cluster!="",severity=~"{severity}"}}'


def chosen(expr: str, *, role: str = "kaas") -> str:
    """Of these clusters those that the variables choose, by id or display name; without those of the provider (or these only)."""
    info = f"kaas_info{{{c.OBSERVER},{_FILTERS}"
    return (
        f"({expr}) and on (cluster) ({info},cluster=~{_SEARCH}}} or {info},name=~{_SEARCH}}}"
        # no info, as of an orphan: All is the only filter that keeps it
        f" or cluster:kaas_state:info{{{c.RECORDED},{_FILTERS},cluster=~{_SEARCH}}}) {'unless' if role == 'kaas' else 'and'} on (cluster) {_INFRASTRUCTURE}"
    )


def condition(name: str) -> str:
    """The clusters in one of CONDITIONS. Each is in exactly one, so their counts add up to all clusters."""
    up = state('state="up"')
    if name == "critical":
        return f"{up} and on (cluster) {alerts(CRITICAL)}"
    if name == "warning":
        return f"{up} and on (cluster) {alerts(WARNING)} unless on (cluster) {alerts(CRITICAL)}"
    if name == "up":
        return f"{up} unless on (cluster) {alerts(ANY)}"
    return state(f'state="{name}"')


def rank() -> str:
    """The number of each cluster's condition."""
    parts = [f"{number} * ({condition(name)})" for name, (number, _color, _text) in CONDITIONS.items()]
    return f"max by (cluster) ({' or on (cluster) '.join(parts)})"


def rank_mapping() -> Any:
    return c.mapping({number: (name.replace("_", " "), color) for name, (number, color, _text) in CONDITIONS.items()})


def cluster_table(title: str, description: str, *, role: str = "kaas", height: int = 16) -> c.Panel:
    """One row for each cluster; on recorded series only."""
    to_cluster = [c.link("scs-kaas-cluster", cluster="${__data.fields.cluster}")]
    to_alerts = [c.link("scs-kaas-alerts", cluster="${__data.fields.cluster}")]
    to_nodes = [c.link("scs-kaas-nodes", cluster="${__data.fields.cluster}")]

    def recorded(name: str) -> str:
        return f'max by (cluster) ({name}{{{c.RECORDED},cluster!=""}})'

    def counted(severity: str) -> str:
        return f"count by (cluster) ({alerts(severity)}) or on (cluster) 0 * group by (cluster) ({state()})"

    return c.table(
        title,
        description,
        [
            c.label("cluster", "Cluster", links=to_cluster, width=180),
            c.value("State", chosen(rank(), role=role), "none", mappings=[rank_mapping()], background=True, width=110),
            c.label("name", "Name", links=to_cluster),
            c.label("customer", "Customer"),
            c.label("region", "Region"),
            c.label("tier", "Tier"),
            c.value("Critical", counted(CRITICAL), "none", c.bad_if_any(), links=to_alerts, width=95),
            c.value("Warning", counted(WARNING), "none", c.bad_if_any(c.ORANGE), links=to_alerts, width=95),
            c.value("Nodes", recorded("cluster:kube_node_info:count"), "none", links=to_nodes, width=80),
            c.value("Ready", recorded("cluster:kube_node_ready:count"), "none", links=to_nodes, width=80),
            c.value("CPU", recorded("cluster:node_cpu_utilisation:ratio_rate5m"), "percentunit", c.high_is_bad(0.8, 0.9), bar=True, width=130),
            c.value("Memory", recorded("cluster:node_memory_utilisation:ratio"), "percentunit", c.high_is_bad(0.8, 0.9), bar=True, width=130),
            c.value("Fullest disk", recorded("cluster:node_filesystem_utilisation:max"), "percentunit", c.high_is_bad(0.8, 0.9), bar=True, width=130),
            c.label("git_version", "Kubernetes", width=115),
            c.value("Last sample", f"time() - {recorded('cluster:kaas_last_sample:timestamp_seconds')}", "s", c.high_is_bad(120, 300), decimals=0, width=115),
            c.value(
                "Certificate",
                f"({recorded('cluster:kaas_agent_certificate_not_after:timestamp_seconds')} - time()) / 86400",
                "suffix: days",
                c.low_is_bad(3, 20),
                decimals=0,
                width=120,
            ),
            c.source(f"group by (cluster, name, customer, region, tier) (kaas_info{{{c.OBSERVER}}})"),
            # one version, the more frequent, while a cluster is on its way to the next
            c.source(f'topk by (cluster) (1, max by (cluster, git_version) (cluster:kubernetes_build_info:info{{{c.RECORDED},cluster!=""}}))'),
        ],
        height=height,
        sort="State",
        # the other queries know more clusters than are chosen
        transformations=[
            c.transformation("filterByValue", filters=[{"fieldName": "State", "config": {"id": "isNotNull", "options": {}}}], type="include", match="all")
        ],
    )


def intake(width: int = 24) -> c.Panel:
    """Whether what the others show can be believed, the gravest trouble first."""

    def alert(name: str) -> str:
        return f'max(ALERTS{{{c.RECORDED},cluster="",alertname="{name}",alertstate="firing"}})'

    connected = f'observer:thanos_receive_connected:ratio{{{c.RECORDED},cluster=""}}'
    expr = f"""
        5 * absent(kaas_ruler_evaluation:timestamp_seconds{{{c.RECORDED},cluster=""}})
          or 4 * {alert("KaaSMassOutage")}
          or 3 * max({connected} < bool 2 / 3) > 0
          or 2 * max(kaas_registry_present{{{c.OBSERVER}}} == bool 0) > 0
          or absent(kaas_registry_present{{{c.OBSERVER}}})
          or vector(0)"""
    words = c.mapping(
        {
            0: ("Intake and registry work", c.GREEN),
            1: ("The importer is away: the registry is as it was", c.ORANGE),
            2: ("The registry is gone: restore it (kaas_registry_restore)", c.RED),
            3: ("Receives are not connected: silence may be the Observer's own", c.RED),
            4: ("Mass outage: look at the Observer's intake first", c.RED),
            5: ("The ruler writes no states: nothing below is of now", c.RED),
        }
    )
    return c.stat(
        "Intake",
        "Whether the Observer hears its clusters at all. While it does not, what is shown as silent may be well.",
        "none",
        expr,
        width=width,
        height=3,
        color="background",
        mappings=[words],
        links=[c.link("scs-observer")],
    )


def filters() -> Sequence[Any]:
    def registry(name: str, title: str) -> Any:
        query = f'label_values(kaas_info{{{c.OBSERVER},{name}!=""}}, {name})'
        return c.query_variable(name, title, query, description=f"The label {name} of registry entries.", all_value=".*", multi=True)

    return [
        registry("customer", "Customer"),
        registry("region", "Region"),
        registry("tier", "Tier"),
        c.textbox_variable("search", "Search", description="Part of a cluster's id or display name, or a regular expression."),
    ]


def _counter(name: str, width: int) -> c.Panel:
    _number, color, description = CONDITIONS[name]
    limits = c.thresholds(color) if name == "up" else c.thresholds(c.GREY if name in ("maintenance", "new") else c.GREEN, (1, color))
    title = name.replace("_", " ").capitalize()
    links = [c.link("scs-kaas-alerts")] if name in ("critical", "warning") else []
    return c.stat(
        title, description, "none", f"count({chosen(condition(name))}) or vector(0)", height=4, width=width, color="background", limits=limits, links=links
    )


def dashboards() -> list[c.Dashboard]:
    total = c.stat(
        "Total",
        "All KaaS clusters that are registered or report. The other counters add up to it. The provider's own (infrastructure) clusters are not among them.",
        "none",
        f"count({chosen('group by (cluster) (' + state() + ')')}) or vector(0)",
        width=6,
        height=4,
        color="none",
    )
    firing = f"count by (alertname, severity) ({chosen(alerts(ANY))})"
    timeline = {name.replace("_", " "): f"count({chosen(condition(name))}) or vector(0)" for name in ("critical", "warning", "up")}
    silent = state('state!="up"')
    timeline["{{state}}"] = f"count by (state) ({chosen(silent)})"
    colors = [c.override(state_name, color=color) for state_name, (_number, color, _text) in CONDITIONS.items()]
    return [
        c.dashboard(
            "scs-kaas",
            "All KaaS clusters: how many are in which condition, one row for each, and the way to the details of one.",
            variables=filters(),
            down=["scs-kaas-cluster", "scs-kaas-alerts", "scs-iaas", "scs-services"],
            panels=[
                intake(),
                total,
                *(_counter(name, width=6) for name in ("up", "warning", "critical")),
                *(_counter(name, width=4) for name in ("down", "agent_down", "never_seen", "orphan", "new", "maintenance")),
                c.row("Clusters"),
                cluster_table(
                    "Clusters", "One row for each KaaS cluster, the worst first. A click on a cluster opens its dashboard, one on a number its alerts."
                ),
                c.row("Course"),
                c.timeseries("Conditions", "How many clusters were in which condition.", "none", timeline, width=16, stacked=True, overrides=colors),
                c.table(
                    "Most frequent alerts",
                    "Alerts that fire now, by the number of their occurrences in the chosen clusters.",
                    [
                        c.label("alertname", "Alert"),
                        c.label("severity", "Severity", mappings=[severity_mapping()], cellOptions={"type": "color-text"}, width=90),
                        c.value("Number", firing, "none", width=90),
                    ],
                    width=8,
                    height=8,
                    sort="Number",
                    links=[c.link("scs-kaas-alerts")],
                    no_value="no alerts",
                ),
            ],
        )
    ]


def severity_mapping() -> Any:
    return c.mapping({"critical": ("critical", c.RED), "warning": ("warning", c.ORANGE), "none": ("none", c.GREY)})
