# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services as the Observer's blackbox exporter sees them from outside (observer_services)."""

from __future__ import annotations

from collections.abc import Sequence

from . import common as c
from .control_plane import top

_PROBED = f'{c.OBSERVER},job=~"blackbox-.+",service=~"$service"'
_API = f'{c.OBSERVER},job="kaas-api"'
# recorded for those that fail
_FAILED = f'observer:service_failed_phase:info{{{c.RECORDED},service=~"$service"}}'
_UP = [c.mapping({1: ("up", c.GREEN), 0: ("down", c.RED)})]


def _by(metric: str, function: str = "max", *more: str) -> str:
    """Replicas of the Observer's Prometheus probe alike."""
    return f"{function} by ({', '.join(('service', 'instance', *more))}) ({metric}{{{_PROBED}}})"


def dashboards() -> Sequence[c.Dashboard]:
    certificate = f"({_by('probe_ssl_earliest_cert_expiry', 'min')} - time()) / 86400"
    services = c.query_variable(
        "service",
        "Service",
        f'label_values(probe_success{{{c.OBSERVER},job=~"blackbox-.+"}}, service)',
        description="Services that are probed (observer_services).",
        all_value=".*",
        multi=True,
    )
    name = "{{service}} {{instance}}"
    return [
        c.dashboard(
            "scs-service-probes",
            "Services as they are seen from outside: answers, duration of each phase, certificates, TLS, DNS; and the API servers of the KaaS clusters.",
            variables=[services],
            up=("scs-services",),
            panels=[
                c.row("Overview"),
                c.stat("Probes", "URLs that are probed.", "short", f"count({_by('probe_success')})", width=4),
                c.stat("Up", "URLs whose last probe succeeded.", "short", f"sum({_by('probe_success')})", width=4),
                c.stat(
                    "Down",
                    "URLs whose last probe failed.",
                    "short",
                    f"count({_by('probe_success')}) - sum({_by('probe_success')})",
                    limits=c.bad_if_any(),
                    width=4,
                ),
                c.stat(
                    "Availability",
                    "Share of all probes in the chosen time range that succeeded.",
                    "percentunit",
                    f"avg(avg_over_time(probe_success{{{_PROBED}}}[$__range]))",
                    limits=c.low_is_bad(0.99, 0.999),
                    decimals=3,
                    width=4,
                ),
                c.stat("Slowest", "What the slowest probe took.", "s", f"max({_by('probe_duration_seconds')})", width=4),
                c.stat(
                    "Next certificate to end",
                    "Days until the first certificate of a service ends.",
                    "suffix: days",
                    f"min({certificate})",
                    limits=c.low_is_bad(7, 30),
                    decimals=0,
                    width=4,
                ),
                c.table(
                    "Services",
                    "One row for each URL that is probed. Availability is that of the chosen time range.",
                    [
                        c.label("service", "Service"),
                        c.label("instance", "URL", width=320),
                        c.value("State", _by("probe_success"), "none", c.thresholds("transparent"), mappings=_UP, background=True, width=80),
                        c.value(
                            "Availability",
                            f"avg by (service, instance) (avg_over_time(probe_success{{{_PROBED}}}[$__range]))",
                            "percentunit",
                            c.low_is_bad(0.99, 0.999),
                            decimals=3,
                        ),
                        c.value("Duration", _by("probe_duration_seconds"), "s"),
                        c.value("HTTP status", _by("probe_http_status_code") + " > 0", "none"),
                        c.value("HTTP version", _by("probe_http_version") + " > 0", "none"),
                        c.value("Certificate", certificate, "suffix: days", c.low_is_bad(7, 30), decimals=0),
                        c.label("version", "TLS"),
                        c.source(f"max by (service, instance, version) (probe_tls_version_info{{{_PROBED}}})"),
                    ],
                    sort="State",
                    descending=False,
                ),
                c.table(
                    "Failed probes",
                    "One row for each URL whose last probe failed, and in which phase: resolve (DNS), connect (TCP), tls (handshake), certificate (not "
                    "believed), setup (of ICMP), answer (none in time), redirect (to what does not answer or is not encrypted), transfer (does not end), "
                    "status (of HTTP), content (not the wanted one).",
                    [
                        c.label("service", "Service"),
                        c.label("instance", "URL"),
                        c.label("phase", "Phase", width=140),
                        c.source(f"max by (service, instance, phase) ({_FAILED})"),
                    ],
                    width=12,
                    height=8,
                    sort="Service",
                    descending=False,
                    no_value="none",
                ),
                c.timeseries(
                    "Failed probes by phase",
                    "How many URLs fail in which phase; no line while all succeed.",
                    "none",
                    {"{{phase}}": f"count by (phase) (max by (service, instance, phase) ({_FAILED}))"},
                    width=12,
                    height=8,
                ),
                c.row("Availability and duration"),
                c.timeseries(
                    "Answers",
                    "1: the probe succeeded, 0: it failed.",
                    "none",
                    {name: _by("probe_success", "min")},
                    maximum=1,
                ),
                c.timeseries("Duration", "What a whole probe takes.", "s", {name: _by("probe_duration_seconds")}),
                c.timeseries(
                    "Phases of HTTP",
                    "What each phase takes: resolve (DNS), connect (TCP), tls, processing (until the answer begins), transfer. Mean of the chosen services.",
                    "s",
                    {"{{phase}}": f"avg by (phase) (probe_http_duration_seconds{{{_PROBED}}})"},
                    stacked=True,
                ),
                c.timeseries(
                    "Phases of DNS servers and ICMP",
                    "What each phase takes where a DNS server is asked (resolve, connect, request) or ICMP is sent (resolve, setup, rtt). Mean of the chosen "
                    "services.",
                    "s",
                    {
                        "dns {{phase}}": f"avg by (phase) (probe_dns_duration_seconds{{{_PROBED}}})",
                        "icmp {{phase}}": f"avg by (phase) (probe_icmp_duration_seconds{{{_PROBED}}})",
                    },
                ),
                c.timeseries(
                    "DNS",
                    "How long it takes to find the address of a service.",
                    "s",
                    {name: _by("probe_dns_lookup_time_seconds")},
                ),
                c.row("HTTP and TLS"),
                c.timeseries("HTTP status", "Status of each answer; no line without one.", "none", {name: _by("probe_http_status_code") + " > 0"}, width=8),
                c.timeseries("Redirects", "Redirects that the probe followed.", "none", {name: _by("probe_http_redirects")}, width=8),
                c.timeseries(
                    "Length of the content",
                    "Bytes of the page without header; a page that shrinks is often an error page.",
                    "bytes",
                    {name: _by("probe_http_uncompressed_body_length")},
                    width=8,
                ),
                c.timeseries(
                    "Days left of certificates",
                    "Days until the first certificate of each service's chain ends.",
                    "suffix: days",
                    {name: certificate},
                    decimals=0,
                ),
                c.stat(
                    "TLS versions",
                    "How many services answer by which version of TLS; older than 1.2 is broken.",
                    "short",
                    {"{{version}}": f"count by (version) (max by (service, instance, version) (probe_tls_version_info{{{_PROBED}}}))"},
                    text="value_and_name",
                    color="none",
                    width=12,
                    height=8,
                ),
                c.row("API servers of the KaaS clusters"),
                c.stat(
                    "Answer",
                    "Clusters whose API server answers a probe from the Observer.",
                    "short",
                    f"sum(max by (cluster) (probe_success{{{_API}}}))",
                    width=4,
                    height=8,
                ),
                c.stat(
                    "Do not answer",
                    "Clusters whose API server does not answer. Whether that is an outage the state of the cluster tells.",
                    "short",
                    f"count(max by (cluster) (probe_success{{{_API}}}) == 0) or 0 * count(probe_success{{{_API}}})",
                    limits=c.bad_if_any(c.ORANGE),
                    width=4,
                    height=8,
                ),
                c.timeseries(
                    "Slowest",
                    "Probes of API servers that take longest, the ten slowest.",
                    "s",
                    {"{{cluster}}": top(f"max by (cluster) (avg_over_time(probe_duration_seconds{{{_API}}}[$__rate_interval]))", "cluster")},
                    width=16,
                ),
                c.table(
                    "API servers",
                    "One row for each cluster with an address in the registry.",
                    [
                        c.label("cluster", "Cluster", links=[c.link("scs-kaas-cluster", cluster="${__data.fields.cluster}")]),
                        c.value("State", f"max by (cluster) (probe_success{{{_API}}})", "none", c.thresholds("transparent"), mappings=_UP, background=True),
                        c.value(
                            "Availability",
                            f"avg by (cluster) (avg_over_time(probe_success{{{_API}}}[$__range]))",
                            "percentunit",
                            c.low_is_bad(0.99, 0.999),
                            decimals=3,
                        ),
                        c.value("Duration", f"max by (cluster) (probe_duration_seconds{{{_API}}})", "s"),
                        c.value("HTTP status", f"max by (cluster) (probe_http_status_code{{{_API}}}) > 0", "none"),
                        c.value(
                            "Certificate",
                            f"(min by (cluster) (probe_ssl_earliest_cert_expiry{{{_API}}}) - time()) / 86400",
                            "suffix: days",
                            c.low_is_bad(7, 30),
                            decimals=0,
                        ),
                    ],
                    sort="State",
                    descending=False,
                ),
            ],
        )
    ]
