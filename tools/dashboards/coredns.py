# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CoreDNS of a KaaS cluster."""

from __future__ import annotations

from collections.abc import Sequence

from . import common as c
from .control_plane import DETAILS, FULL, SELDOM, SMALL_SHARE, UP, age, health, instances, mean, or_none, per_second, quantile, resources, selector

JOB = "coredns"


def dashboards() -> Sequence[c.Dashboard]:
    every = selector(JOB)
    failed = per_second("coredns_dns_responses_total", selector(JOB, 'rcode=~"SERVFAIL|REFUSED"'))
    hits = f"(sum(rate(coredns_cache_hits_total{{{every}}}[$__rate_interval])) or 0 * group(coredns_cache_entries{{{every}}}))"
    return [
        c.dashboard(
            "scs-kaas-coredns",
            "The DNS of a KaaS cluster: requests, answers, latency, cache, the servers that it forwards to.",
            variables=[c.cluster_variable(), instances(JOB)],
            up=UP,
            lists=DETAILS,
            panels=[
                c.row("Health"),
                *health(JOB, "CoreDNS"),
                c.stat(
                    "Version", "Versions that run.", "none", {"{{version}}": f"group by (version) (coredns_build_info{{{every}}})"}, text="name", color="none"
                ),
                age(JOB),
                c.stat("Requests", "Requests a second at the moment.", "reqps", f"sum(rate(coredns_dns_requests_total{{{every}}}[5m]))", decimals=1, width=6),
                c.stat(
                    "Failed",
                    "Share of the answers of the last five minutes that say SERVFAIL or REFUSED.",
                    "percentunit",
                    f"""(sum(rate(coredns_dns_responses_total{{{every},rcode=~"SERVFAIL|REFUSED"}}[5m])) or 0 * group(coredns_build_info{{{every}}}))
                        / sum(rate(coredns_dns_responses_total{{{every}}}[5m]))""",
                    limits=c.high_is_bad(0.01, 0.05),
                    decimals=2,
                    width=6,
                ),
                c.stat(
                    "Panics",
                    "Requests of the last day that CoreDNS survived by luck only.",
                    "short",
                    f"sum(increase(coredns_panics_total{{{every}}}[1d]))",
                    limits=c.bad_if_any(),
                    decimals=0,
                    width=6,
                ),
                c.stat(
                    "Failed reloads",
                    "New configurations of the last day that could not be used; the old one stays.",
                    "short",
                    f"sum(increase(coredns_reload_failed_total{{{every}}}[1d]))",
                    limits=c.bad_if_any(),
                    decimals=0,
                    width=6,
                ),
                c.row("Requests and answers"),
                c.timeseries(
                    "By type",
                    "Requests by type of record.",
                    "reqps",
                    {"{{type}}": per_second("coredns_dns_requests_total", every, "type")},
                    stacked=True,
                    width=8,
                ),
                c.timeseries(
                    "By answer",
                    "Answers by code. NXDOMAIN is usual, for each short name is tried with all search domains.",
                    "reqps",
                    {"{{rcode}}": per_second("coredns_dns_responses_total", every, "rcode")},
                    stacked=True,
                    width=8,
                ),
                c.timeseries(
                    "By instance",
                    "Requests of each instance; one that gets nearly all is a client's cache or a broken balance.",
                    "reqps",
                    {"{{pod}}": per_second("coredns_dns_requests_total", every, "pod")},
                    width=8,
                ),
                c.timeseries(
                    "Failed answers",
                    "Share of the answers that say SERVFAIL or REFUSED.",
                    "percentunit",
                    {"failed": f"({failed} or 0 * group(coredns_build_info{{{every}}})) / {per_second('coredns_dns_responses_total', every)}"},
                    overrides=SMALL_SHARE,
                    width=8,
                ),
                c.timeseries(
                    "Latency",
                    f"How long an answer takes. {FULL}",
                    "s",
                    {
                        "99th percentile": quantile(0.99, "coredns_dns_request_duration_seconds", every),
                        "95th percentile": quantile(0.95, "coredns_dns_request_duration_seconds", every),
                        "median": quantile(0.5, "coredns_dns_request_duration_seconds", every),
                    },
                    width=8,
                ),
                c.timeseries(
                    "Size (mean)",
                    f"How long requests and answers are. Answers above 512 bytes need EDNS or TCP. {FULL}",
                    "bytes",
                    {
                        "requests, {{proto}}": mean("coredns_dns_request_size_bytes", every, "proto"),
                        "answers, {{proto}}": mean("coredns_dns_response_size_bytes", every, "proto"),
                    },
                    width=8,
                ),
                c.row("Cache"),
                c.timeseries(
                    "Hits",
                    "Share of the requests that the cache answers.",
                    "percentunit",
                    {"hits": f"{hits} / {per_second('coredns_cache_requests_total', every)}"},
                    width=8,
                    maximum=1,
                ),
                c.timeseries(
                    "Entries",
                    "Answers in the cache: names that exist, and names that do not.",
                    "short",
                    {"{{type}}": f"sum by (type) (coredns_cache_entries{{{every}}})"},
                    width=8,
                ),
                c.timeseries(
                    "Misses",
                    "Requests that the cache could not answer.",
                    "reqps",
                    {"misses": per_second("coredns_cache_misses_total", every)},
                    width=8,
                ),
                c.row("Servers that it forwards to"),
                c.timeseries(
                    "Requests and latency",
                    f"Requests to other servers, and how long they take (99th percentile). CoreDNS shows them from the first one on. {FULL}",
                    "s",
                    {"{{to}} {{rcode}}": quantile(0.99, "coredns_proxy_request_duration_seconds", every, "to", "rcode")},
                    width=8,
                ),
                c.timeseries(
                    "Health checks that fail",
                    "Checks of other servers that failed, and requests that were sent although all of them seemed broken.",
                    "ops",
                    {
                        "{{to}}": or_none(per_second("coredns_proxy_healthcheck_failures_total", every, "to"), "to", f"coredns_build_info{{{every}}}"),
                        "all broken": per_second("coredns_forward_healthcheck_broken_total", every),
                    },
                    width=8,
                ),
                c.timeseries(
                    "Rejected",
                    "Requests that were not forwarded, for too many were on their way.",
                    "reqps",
                    {"rejected": per_second("coredns_forward_max_concurrent_rejects_total", every)},
                    width=8,
                ),
                c.row("Names of the cluster"),
                c.timeseries(
                    "From change to answer (99th percentile)",
                    f"From a change of a service's pods to DNS that knows it. {FULL}",
                    "s",
                    {"{{service_kind}}": quantile(0.99, "coredns_kubernetes_dns_programming_duration_seconds", every, "service_kind")},
                    overrides=SELDOM,
                ),
                c.timeseries(
                    "Requests to the API server",
                    f"What CoreDNS asks of the API server, by the answer's code. {FULL}",
                    "reqps",
                    {"{{code}} {{method}}": per_second("coredns_kubernetes_rest_client_requests_total", every, "code", "method")},
                ),
                *resources(JOB),
            ],
        )
    ]
