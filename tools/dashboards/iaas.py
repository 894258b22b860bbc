# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All infrastructures (OpenStack deployments with their own Prometheus) at a glance.

Rows are infrastructures: those that the Observer is told of (observer:infrastructure:info, recorded by its ruler) and those that report. What they are made
of is named as Kolla's exporters name it; where an infrastructure does not run a part, its cells stay empty.
cluster="": no KaaS cluster can write itself an infrastructure's series. observer="": of its own Prometheus, not of what the Observer asks or records about it.
"""

from __future__ import annotations

from . import common as c
from .kaas import severity_mapping

_OF = 'cluster="",infrastructure=~"$infrastructure",infrastructure!=""'
_SENT = f'{_OF},observer=""'
# told in the role's variable observer_infrastructures
_KNOWN = f'observer:infrastructure:info{{{_OF},observer!="",receive_replica=""}}'
# InfrastructureAlert says again, to Alertmanager, what an infrastructure's own alert says
_FIRING = f'{_OF},alertstate="firing",alertname!~"Watchdog|InfrastructureAlert"'
_CRITICAL = 'severity=~"critical|emergency|page"'
_WARNING = 'severity="warning"'
_BY = "by (infrastructure)"

_STATES = {
    4: ("down", c.RED),
    3: ("critical", c.RED),
    2: ("warning", c.ORANGE),
    1: ("up", c.GREEN),
}
_CEPH = {0: ("OK", c.GREEN), 1: ("warning", c.ORANGE), 2: ("error", c.RED)}

_ABOUT = """
An infrastructure appears here when it is one of `observer_infrastructures`, or its Prometheus reports: by a Thanos sidecar beside it, or by remote write; its
external label `infrastructure` names it. **Dashboards** (above) lists those with the tag `iaas`, which the playbook `adopt_dashboards` brings; a click on an
infrastructure leads to its own. A cell is empty where an infrastructure does not run that part, or nothing measures it.
"""

# What there is of each kind: 1 is well, 0 is not.
_APIS = f'min by (infrastructure, service) (label_replace({{__name__=~"openstack_[a-z0-9_]+_up",{_OF}}}, "service", "$1", "__name__", "openstack_(.+)_up"))'
_AGENTS = f'max by (infrastructure, service, hostname) ({{__name__=~"openstack_(nova|neutron|cinder)_agent_state",{_OF},adminState=~"enabled|up"}})'
_OSDS = f"max by (infrastructure, ceph_daemon) (ceph_osd_up{{{_OF}}})"
_DATABASES = f"max by (infrastructure, instance) (mysql_up{{{_OF}}})"
_BACKENDS = f'max by (infrastructure, proxy) (haproxy_backend_status{{{_OF},state="UP"}})'
# of a node: 0 is well
_RABBITS = (
    "max by (infrastructure, instance) "
    f'({{__name__=~"rabbitmq_unreachable_cluster_peers_count|rabbitmq_alarms_(memory_used|free_disk_space)_watermark",{_OF}}})'
)
_GALERA_SIZE = f"min {_BY} (mysql_global_status_wsrep_cluster_size{{{_OF}}})"
_SILENT = f"group {_BY} ({_KNOWN}) unless on (infrastructure) group {_BY} (up{{{_SENT}}})"


def _all() -> str:
    """Every infrastructure, with the value 1."""
    return f"group {_BY} ({_KNOWN} or up{{{_SENT}}})"


def _state() -> str:
    critical, warning = (f"group {_BY} (ALERTS{{{_FIRING},{severity}}})" for severity in (_CRITICAL, _WARNING))
    return f"4 * ({_SILENT}) or on (infrastructure) 3 * {critical} or on (infrastructure) 2 * {warning} or on (infrastructure) {_all()}"


def _down(what: str) -> str:
    """How many of them are 0; 0 when none is, nothing where there are none."""
    return f"sum {_BY} (({what}) == bool 0)"


def _firing(severity: str) -> str:
    return f"count {_BY} (ALERTS{{{_FIRING},{severity}}}) or on (infrastructure) 0 * {_all()}"


def _counter(title: str, text: str, expr: str, limits: c.models.ThresholdsConfig = c.PLAIN) -> c.Panel:
    return c.stat(title, text, "none", f"count({expr}) or vector(0)", width=3, color="background", limits=limits)


def _bad(title: str, expr: str, width: int = 90, **settings: object) -> c.Column:
    return c.value(title, expr, "none", c.bad_if_any(), width=width, **settings)


def dashboards() -> list[c.Dashboard]:
    own = {"title": "Its dashboards", "url": "/dashboards?tag=iaas&tag=${__data.fields.infrastructure}", "targetBlank": False}
    self = [c.link("scs-iaas", "Only this one", infrastructure="${__data.fields.infrastructure}"), own]
    busy = f'1 - avg {_BY} (rate(node_cpu_seconds_total{{{_OF},mode=~"idle"}}[$__rate_interval]))'
    used = f"1 - sum {_BY} (node_memory_MemAvailable_bytes{{{_OF}}}) / sum {_BY} (node_memory_MemTotal_bytes{{{_OF}}})"
    raw = f"sum {_BY} (ceph_cluster_total_used_raw_bytes{{{_OF}}}) / sum {_BY} (ceph_cluster_total_bytes{{{_OF}}})"
    alerts = (
        f'label_replace(group without (prometheus_replica, replica) (ALERTS{{{_FIRING},observer=""}}), "source", "infrastructure", "", "") or '
        f'label_replace(group without (observer, prometheus_replica, replica) (ALERTS{{{_FIRING},observer!=""}}), "source", "Observer", "", "")'
    )
    made = c.dashboard(
        "scs-iaas",
        "All infrastructures: alerts, health, and the way to the dashboards of each.",
        variables=[
            c.query_variable(
                "infrastructure",
                "Infrastructure",
                'label_values({__name__=~"up|observer:infrastructure:info",cluster="",infrastructure!=""}, infrastructure)',
                description="An IaaS deployment, by the external label of its Prometheus.",
                all_value=".*",
                multi=True,
            )
        ],
        down=["scs-kaas", "scs-services"],
        lists=[("Dashboards", ["iaas"])],
        panels=[
            c.text("About", "How an infrastructure comes here.", _ABOUT, height=3),
            _counter("Infrastructures", "How many are known or report.", _all()),
            _counter("Down", "Those of observer_infrastructures from which nothing comes.", _SILENT, c.bad_if_any()),
            _counter("Targets", "What the Prometheus servers of the infrastructures scrape.", f"up{{{_SENT}}}"),
            _counter("Targets down", "Those of the targets that do not answer.", f"up{{{_SENT}}} == 0", c.bad_if_any(c.ORANGE)),
            _counter("Critical", "Critical alerts that fire in or for infrastructures.", f"ALERTS{{{_FIRING},{_CRITICAL}}}", c.bad_if_any()),
            _counter("Warning", "Warnings that fire in or for infrastructures.", f"ALERTS{{{_FIRING},{_WARNING}}}", c.bad_if_any(c.ORANGE)),
            _counter(
                "Other alerts",
                "Alerts with severities of the infrastructures' own rules, such as P3.",
                f'ALERTS{{{_FIRING},severity!~"critical|emergency|page|warning|info|none"}}',
                c.bad_if_any(c.YELLOW),
            ),
            c.row("Infrastructures"),
            c.table(
                "Infrastructures",
                "One row for each infrastructure, the worst first. What counts as bad is coloured; CPU and memory are those of all hosts with a node-exporter.",
                [
                    c.label("infrastructure", "Infrastructure", links=self, width=160),
                    c.value("State", _state(), "none", mappings=[c.mapping(_STATES)], background=True, width=90),
                    _bad("Critical", _firing(_CRITICAL)),
                    c.value("Warning", _firing(_WARNING), "none", c.bad_if_any(c.ORANGE), width=90),
                    c.value("Targets", f"count {_BY} (up{{{_SENT}}})", "none", width=85),
                    _bad("Targets down", _down(f"up{{{_SENT}}}"), width=115),
                    c.value("Hosts", f"count {_BY} (group by (infrastructure, instance) (node_uname_info{{{_OF}}}))", "none", width=80),
                    c.value("CPU", busy, "percentunit", c.high_is_bad(0.8, 0.9), bar=True),
                    c.value("Memory", used, "percentunit", c.high_is_bad(0.8, 0.9), bar=True),
                    _bad("APIs down", _down(_APIS), width=100),
                    _bad("Agents down", _down(_AGENTS), width=110),
                    c.value("Ceph", f"max {_BY} (ceph_health_status{{{_OF}}})", "none", mappings=[c.mapping(_CEPH)], background=True, width=85),
                    _bad("Databases down", f"clamp_min(count {_BY} ({_DATABASES}) - on (infrastructure) {_GALERA_SIZE}, 0)", width=130),
                    _bad("RabbitMQ", f"sum {_BY} ({_RABBITS} > bool 0)"),
                    c.value("Last sample", f"time() - max {_BY} (timestamp(up{{{_SENT}}}))", "s", c.high_is_bad(120, 300), decimals=0, width=110),
                ],
                height=10,
                sort="State",
            ),
            c.table(
                "Alerts",
                "Alerts that fire: of the infrastructures' own rules, and of the Observer's about them.",
                [
                    c.label("severity", "Severity", mappings=[severity_mapping()], cellOptions={"type": "color-background", "mode": "basic"}, width=90),
                    c.label("alertname", "Alert"),
                    c.label("infrastructure", "Infrastructure", links=self),
                    c.label("source", "Rule of", width=110),
                    c.value("Copies", alerts, "none", width=90),
                ],
                height=9,
                sort="Severity",
                descending=False,
                all_labels=True,
                no_value="no alerts",
            ),
            c.row("Health"),
            c.timeseries(
                "Targets down by job",
                "Which parts do not answer.",
                "none",
                {"{{infrastructure}} {{job}}": f"sum by (infrastructure, job) (up{{{_SENT}}} == bool 0) > 0"},
                no_value="all answer",
            ),
            c.timeseries(
                "Alerts by severity",
                "How many alerts fired.",
                "none",
                {"{{infrastructure}} {{severity}}": f"count by (infrastructure, severity) (ALERTS{{{_FIRING}}})"},
                no_value="no alerts",
            ),
            c.table(
                "Targets that do not answer",
                "Scraped by the infrastructures' own Prometheus, at this moment.",
                [
                    c.label("infrastructure", "Infrastructure", links=self),
                    c.label("job", "Job"),
                    c.label("instance", "Instance"),
                    c.value("Up", f"max by (infrastructure, job, instance) (up{{{_SENT}}}) == 0", "none", width=80),
                ],
                width=12,
                sort="Infrastructure",
                descending=False,
                no_value="all answer",
            ),
            c.table(
                "OpenStack",
                "APIs and agents as the OpenStack exporter sees them; agents that are disabled on purpose are left out.",
                [
                    c.label("infrastructure", "Infrastructure", links=self),
                    c.value("APIs", f"count {_BY} ({_APIS})", "none", width=80),
                    _bad("APIs down", _down(_APIS), width=100),
                    c.value("Agents", f"count {_BY} ({_AGENTS})", "none", width=90),
                    _bad("Agents down", _down(_AGENTS), width=110),
                    c.value("Servers", f"max {_BY} (openstack_nova_total_vms{{{_OF}}})", "none", width=90),
                ],
                width=12,
                sort="APIs down",
                no_value="no OpenStack exporter",
            ),
            c.table(
                "Ceph",
                "As Ceph's managers tell it.",
                [
                    c.label("infrastructure", "Infrastructure", links=self),
                    c.value("Health", f"max {_BY} (ceph_health_status{{{_OF}}})", "none", mappings=[c.mapping(_CEPH)], background=True, width=100),
                    c.value("OSDs", f"count {_BY} ({_OSDS})", "none", width=90),
                    _bad("OSDs down", _down(_OSDS), width=100),
                    c.value("Used", raw, "percentunit", c.high_is_bad(0.7, 0.85), bar=True),
                ],
                width=12,
                sort="Health",
                no_value="no Ceph",
            ),
            c.table(
                "Databases, queues and load balancers",
                "Galera's nodes that the smallest part sees; nodes of RabbitMQ with an alarm or without a peer; HAProxy's backends without a server.",
                [
                    c.label("infrastructure", "Infrastructure", links=self),
                    c.value("Databases", f"count {_BY} ({_DATABASES})", "none", width=100),
                    c.value("In the cluster", _GALERA_SIZE, "none", width=120),
                    c.value("RabbitMQ nodes", f"count {_BY} ({_RABBITS})", "none", width=130),
                    _bad("In trouble", f"sum {_BY} ({_RABBITS} > bool 0)", width=100),
                    _bad("Backends down", _down(_BACKENDS), width=130),
                ],
                width=12,
                sort="Infrastructure",
                descending=False,
                no_value="no exporters of these",
            ),
        ],
    )
    for menu in made.model.links or ():
        # an adopted dashboard is of its own infrastructures; what was chosen here is not to be chosen there
        menu.include_vars = menu.include_vars and menu.title != "Dashboards"
    return [made]
