# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All infrastructures (OpenStack deployments with their own Prometheus) at a glance.

Only what every Prometheus has (up, ALERTS) and node-exporter's most common series: what else an infrastructure shows is known to its own dashboards alone.
cluster="": no KaaS cluster can write itself an infrastructure's series.
"""

from __future__ import annotations

from . import common as c
from .kaas import severity_mapping

_OF = 'cluster="",infrastructure=~"$infrastructure",infrastructure!=""'
_FIRING = f'{_OF},alertstate="firing",alertname!="Watchdog"'

_NOTHING = """
An infrastructure appears here as soon as its Prometheus is connected: by a Thanos sidecar beside it, or by remote write to a Receive of its own; its external
label `infrastructure` names it. **Dashboards** (above) lists the dashboards with the tag `iaas`; those of an infrastructure's own Grafana come there by
`grafana_dashboards` with the filter `adopt_dashboard`. While nothing is connected, the counters below are 0 and everything else is empty.
"""


def _counter(title: str, text: str, expr: str, limits: c.models.ThresholdsConfig = c.PLAIN) -> c.Panel:
    return c.stat(title, text, "none", f"count({expr}) or vector(0)", color="background", limits=limits)


def dashboards() -> list[c.Dashboard]:
    self = [c.link("scs-iaas", "Only this one", infrastructure="${__data.fields.infrastructure}")]
    alert = f"group without (observer, prometheus_replica, replica) (ALERTS{{{_FIRING}}})"
    by = "by (infrastructure)"
    none = f"0 * group {by} (up{{{_OF}}})"
    busy = f'1 - avg {by} (rate(node_cpu_seconds_total{{{_OF},mode=~"idle"}}[$__rate_interval]))'
    used = f"1 - sum {by} (node_memory_MemAvailable_bytes{{{_OF}}}) / sum {by} (node_memory_MemTotal_bytes{{{_OF}}})"

    def firing(severity: str) -> str:
        return f'count {by} (ALERTS{{{_FIRING},severity="{severity}"}}) or on (infrastructure) {none}'

    return [
        c.dashboard(
            "scs-iaas",
            "All infrastructures: alerts, health, and the way to the dashboards of each.",
            variables=[
                c.query_variable(
                    "infrastructure",
                    "Infrastructure",
                    'label_values(up{cluster="",infrastructure!=""}, infrastructure)',
                    description="An IaaS deployment, by the external label of its Prometheus.",
                    all_value=".*",
                    multi=True,
                )
            ],
            down=["scs-kaas", "scs-services"],
            lists=[("Dashboards", ["iaas"])],
            panels=[
                c.text("About", "How an infrastructure comes here.", _NOTHING, height=3),
                _counter("Infrastructures", "How many of them report.", f"group {by} (up{{{_OF}}})"),
                _counter("Targets", "What the Prometheus servers of the infrastructures scrape.", f"up{{{_OF}}}"),
                _counter("Targets down", "Those of the targets that do not answer.", f"up{{{_OF}}} == 0", c.bad_if_any(c.ORANGE)),
                _counter("Critical", "Critical alerts that fire for infrastructures.", f'ALERTS{{{_FIRING},severity="critical"}}', c.bad_if_any()),
                _counter("Warning", "Warnings that fire for infrastructures.", f'ALERTS{{{_FIRING},severity="warning"}}', c.bad_if_any(c.ORANGE)),
                _counter(
                    "Other alerts",
                    "Alerts with severities of the infrastructure's own rules, such as P3.",
                    f'ALERTS{{{_FIRING},severity!~"critical|warning|none"}}',
                    c.bad_if_any(c.YELLOW),
                ),
                c.row("Infrastructures"),
                c.table(
                    "Infrastructures",
                    "One row for each infrastructure. CPU and memory are those of all hosts with a node-exporter.",
                    [
                        c.label("infrastructure", "Infrastructure", links=self),
                        c.value("Critical", firing("critical"), "none", c.bad_if_any(), width=90),
                        c.value("Warning", firing("warning"), "none", c.bad_if_any(c.ORANGE), width=90),
                        c.value("Targets", f"count {by} (up{{{_OF}}})", "none", width=90),
                        c.value("Up", f"avg {by} (up{{{_OF}}})", "percentunit", c.low_is_bad(0.9, 1), decimals=1, bar=True),
                        c.value("Hosts", f"count {by} (group by (infrastructure, instance) (node_uname_info{{{_OF}}}))", "none", width=90),
                        c.value("CPU", busy, "percentunit", c.high_is_bad(0.8, 0.9), bar=True),
                        c.value("Memory", used, "percentunit", c.high_is_bad(0.8, 0.9), bar=True),
                        c.value("Last sample", f"time() - max {by} (timestamp(up{{{_OF}}}))", "s", c.high_is_bad(120, 300), decimals=0, width=110),
                    ],
                    height=7,
                    sort="Critical",
                ),
                c.table(
                    "Alerts",
                    "Alerts that fire for infrastructures: of their own rules, and of the Observer's about them.",
                    [
                        c.label("severity", "Severity", mappings=[severity_mapping()], cellOptions={"type": "color-background", "mode": "basic"}, width=90),
                        c.label("alertname", "Alert"),
                        c.label("infrastructure", "Infrastructure", links=self),
                        c.value("Copies", alert, "none", width=90),
                    ],
                    height=9,
                    sort="Severity",
                    descending=False,
                    all_labels=True,
                ),
                c.row("Health"),
                c.timeseries(
                    "Targets down by job",
                    "Which parts do not answer.",
                    "none",
                    {"{{infrastructure}} {{job}}": f"sum by (infrastructure, job) (up{{{_OF}}} == bool 0) > 0"},
                ),
                c.timeseries(
                    "Alerts by severity",
                    "How many alerts fired.",
                    "none",
                    {"{{infrastructure}} {{severity}}": f"count by (infrastructure, severity) (ALERTS{{{_FIRING}}})"},
                    no_value="no alerts",
                ),
            ],
        )
    ]
