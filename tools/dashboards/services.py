# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the provider runs for itself: services that are probed, the Observer, and Kubernetes clusters that are no customer's."""

from __future__ import annotations

from . import common as c
from .alerts import alert_table
from .kaas import chosen, cluster_table, condition, filters, intake

# Probes of services; those of the clusters' API servers are the clusters' matter.
_PROBE = f'{c.OBSERVER},job=~"blackbox-.+"'


def _services() -> list[c.Panel]:
    def success(comparison: str) -> str:
        return f"count(max by (service, instance) (probe_success{{{_PROBE}}}) {comparison}) or vector(0)"

    end = f"(min by (service, instance) (probe_ssl_earliest_cert_expiry{{{_PROBE}}}) - time()) / 86400"
    to_probes = [c.link("scs-service-probes")]
    return [
        c.stat("Probed", "Addresses that are probed (observer_services).", "none", success(">= 0"), width=3, links=to_probes),
        c.stat(
            "Up", "Services whose last probe succeeded.", "none", success("== 1"), width=3, color="background", limits=c.thresholds(c.GREEN), links=to_probes
        ),
        c.stat("Down", "Services whose last probe failed.", "none", success("== 0"), width=3, color="background", limits=c.bad_if_any(), links=to_probes),
        c.stat(
            "Certificates under 30 days",
            "Services with a certificate in their chain that ends in less than 30 days.",
            "none",
            f"count({end} < 30) or vector(0)",
            width=3,
            color="background",
            limits=c.bad_if_any(c.ORANGE),
            links=to_probes,
        ),
        c.table(
            "Services",
            "One row for each address that is probed, the failed ones first, with the phase in which they fail; a click shows its course.",
            [
                c.label("service", "Service", links=to_probes),
                c.label("instance", "Address"),
                c.value(
                    "Probe",
                    f"max by (service, instance) (probe_success{{{_PROBE}}})",
                    "none",
                    mappings=[c.mapping({1: ("up", c.GREEN), 0: ("down", c.RED)})],
                    background=True,
                    width=80,
                ),
                c.label("phase", "Fails in", width=90),
                c.source(f"max by (service, instance, phase) (observer:service_failed_phase:info{{{c.RECORDED}}})"),
                c.value(
                    "Availability",
                    f"avg by (service, instance) (avg_over_time(probe_success{{{_PROBE}}}[24h]))",
                    "percentunit",
                    c.low_is_bad(0.99, 0.999),
                    decimals=2,
                    width=110,
                ),
                c.value("Answer", f"max by (service, instance) (probe_duration_seconds{{{_PROBE}}})", "s", c.high_is_bad(1, 5), width=90),
                c.value("Certificate", end, "suffix: days", c.low_is_bad(7, 30), decimals=0, width=110),
            ],
            width=12,
            height=8,
            sort="Probe",
            descending=False,
        ),
    ]


def _observer() -> list[c.Panel]:
    own = f'{c.RECORDED},cluster="",alertstate="firing"'
    targets = f'up{{{c.OBSERVER},job!="kaas-api",job!~"blackbox-.+"}}'
    to_observer = [c.link("scs-observer")]
    parts = c.table(
        "Parts of the Observer",
        "How many pods of each part its Prometheus sees, and how many of them answer.",
        [
            c.label("job", "Part", links=to_observer),
            c.value("Answer", f"sum by (job) ({targets})", "none", width=90),
            c.value("Of", f"count by (job) ({targets})", "none", width=90),
            c.value("Share", f"avg by (job) ({targets})", "percentunit", c.low_is_bad(0.5, 1), background=True, width=90),
        ],
        width=12,
        height=8,
        sort="Share",
        descending=False,
    )
    counts = [
        c.stat(
            f"Observer: {severity}",
            f"Alerts ({severity}) that fire for the Observer itself and for services, silenced ones too.",
            "none",
            f'count(ALERTS{{{own},severity="{severity}"}}) or vector(0)',
            width=3,
            color="background",
            limits=c.bad_if_any(color),
            links=to_observer,
        )
        for severity, color in (("critical", c.RED), ("warning", c.ORANGE))
    ]
    watchdog = c.stat(
        "Alerting",
        "Whether the ruler writes the alert that always fires. That it also leaves the Observer, only the heartbeat's receiver can tell.",
        "none",
        f'count(ALERTS{{{own},alertname="Watchdog"}}) or vector(0)',
        width=3,
        color="background",
        limits=c.thresholds(c.RED, (1, c.GREEN)),
        mappings=[c.mapping({0: ("no rules", c.RED), 1: ("works", c.GREEN)})],
        links=to_observer,
    )
    rejected = c.stat(
        "Notifications failed",
        "Notifications that Alertmanager could not hand over in the last hour.",
        "none",
        f"round(sum(increase(alertmanager_notifications_failed_total{{{c.OBSERVER}}}[1h])))",
        width=3,
        limits=c.bad_if_any(c.ORANGE),
        links=to_observer,
    )
    return [*counts, watchdog, rejected, parts]


def _infrastructure() -> list[c.Panel]:
    def counter(title: str, text: str, expr: str, limits: c.models.ThresholdsConfig) -> c.Panel:
        return c.stat(title, text, "none", f"count({chosen(expr, role='infrastructure')}) or vector(0)", width=4, height=3, color="background", limits=limits)

    every = " or ".join(f"({condition(name)})" for name in ("up", "warning", "critical"))
    silent = " or ".join(f"({condition(name)})" for name in ("down", "agent_down", "never_seen"))
    return [
        counter("Reporting", "Clusters of the provider's own that report.", every, c.thresholds(c.GREEN)),
        counter("With warnings", "Those of them with a warning and nothing critical.", condition("warning"), c.bad_if_any(c.ORANGE)),
        counter("With critical alerts", "Those of them with a critical alert.", condition("critical"), c.bad_if_any()),
        counter("Silent", "Clusters of the provider's own that are down, or whose agent is, or that were never seen.", silent, c.bad_if_any()),
        cluster_table(
            "Infrastructure clusters",
            "One row for each Kubernetes cluster of the provider's own (role: infrastructure in the registry), such as Harbor's.",
            role="infrastructure",
            height=8,
        ),
    ]


def dashboards() -> list[c.Dashboard]:
    return [
        c.dashboard(
            "scs-services",
            "What the provider runs for itself: services probed from outside, the Observer, and its own Kubernetes clusters.",
            variables=filters(),
            down=["scs-service-probes", "scs-harbor", "scs-observer", "scs-observer-tenants", "scs-kaas", "scs-iaas"],
            panels=[
                intake(),
                c.row("Services"),
                *_services(),
                c.row("Observer"),
                *_observer(),
                alert_table(
                    "Alerts of the Observer",
                    "Alerts that fire for the Observer itself and for services.",
                    f'{c.RECORDED},cluster=""',
                    height=6,
                    subject="service",
                ),
                c.row("Infrastructure clusters"),
                *_infrastructure(),
            ],
        )
    ]
