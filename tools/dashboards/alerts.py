# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The alerts of one, several or all KaaS clusters."""

from __future__ import annotations

from . import common as c
from .kaas import severity_mapping

_FIRING = f'{c.RECORDED},alertstate="firing",cluster=~"$cluster",cluster!=""'


def alert_table(title: str, description: str, matchers: str, *, height: int = 12, width: int = 24, subject: str = "cluster") -> c.Panel:
    """Alerts that fire, each with all its labels; C(matchers) choose them."""
    links = [c.link("scs-kaas-cluster", cluster="${__data.fields.cluster}")] if subject == "cluster" else []
    # when they began (the ruler's memory for "for"), of those that fire
    expr = f'time() - (ALERTS_FOR_STATE{{{matchers}}} and ignoring (alertstate) ALERTS{{{matchers},alertstate="firing",alertname!="Watchdog"}})'
    return c.table(
        title,
        description,
        [
            c.label("severity", "Severity", mappings=[severity_mapping()], cellOptions={"type": "color-background", "mode": "basic"}, width=90),
            c.label("alertname", "Alert", width=250),
            c.label(subject, subject.capitalize(), links=links),
            c.value("Since", expr, "s", decimals=0, width=110),
        ],
        height=height,
        width=width,
        sort="Severity",
        descending=False,
        all_labels=True,
        no_value="no alerts",
    )


def dashboards() -> list[c.Dashboard]:
    chosen = f'{_FIRING},severity=~"$severity",alertname=~"(?i).*$search.*"'
    counted = [
        c.stat(
            title,
            f"{title} alerts that fire for the chosen clusters; those that Alertmanager mutes or that somebody silenced are among them.",
            "none",
            f'count(ALERTS{{{_FIRING},severity="{severity}",alertname=~"(?i).*$search.*"}}) or vector(0)',
            color="background",
            limits=c.bad_if_any(color),
        )
        for title, severity, color in (("Critical", "critical", c.RED), ("Warning", "warning", c.ORANGE))
    ]
    with_alerts = c.stat(
        "Clusters with alerts",
        "How many of the chosen clusters at least one alert fires for.",
        "none",
        f"count(group by (cluster) (ALERTS{{{chosen}}})) or vector(0)",
    )
    by_cluster = c.bargauge(
        "Most alerts",
        "The clusters that most alerts fire for.",
        "none",
        {"{{cluster}}": f"topk(5, count by (cluster) (ALERTS{{{chosen}}}))"},
        width=12,
        height=4,
        minimum=0,
        no_value="no alerts",
        links=[c.link("scs-kaas-cluster", cluster="${__field.labels.cluster}")],
    )
    history = [
        c.timeseries(
            "By severity",
            "How many alerts fired for the chosen clusters.",
            "none",
            {"{{severity}}": f"count by (severity) (ALERTS{{{chosen}}})"},
            stacked=True,
            no_value="no alerts",
            overrides=[c.override("critical", color=c.RED), c.override("warning", color=c.ORANGE)],
        ),
        c.timeseries(
            "By alert",
            "Which alerts fired, and how often at once.",
            "none",
            {"{{alertname}}": f"count by (alertname) (ALERTS{{{chosen}}})"},
            stacked=True,
            no_value="no alerts",
        ),
        c.timeseries(
            "By cluster",
            "The clusters that most alerts fired for.",
            "none",
            {"{{cluster}}": f"topk(10, count by (cluster) (ALERTS{{{chosen}}}))"},
            width=24,
            no_value="no alerts",
        ),
    ]
    return [
        c.dashboard(
            "scs-kaas-alerts",
            "Alerts of one, several or all KaaS clusters: what fires now, since when, and what fired before.",
            variables=[
                c.cluster_variable(every=True),
                c.custom_variable("severity", "Severity", ["critical|warning", "critical", "warning"], description="How grave the alerts are."),
                c.textbox_variable("search", "Search", description="Part of an alert's name, or a regular expression."),
            ],
            up=["scs-kaas", "scs-kaas-cluster"],
            panels=[
                *counted,
                with_alerts,
                by_cluster,
                alert_table(
                    "Alerts that fire",
                    "One row for each alert. docs/alerts.md says what each means and what to do.",
                    f'{c.RECORDED},cluster=~"$cluster",cluster!="",severity=~"$severity",alertname=~"(?i).*$search.*"',
                ),
                c.row("History"),
                *history,
            ],
        )
    ]
