# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ingress controllers of a KaaS cluster: ingress-nginx and Traefik. The agent scrapes them where it finds them (docs/agent.md)."""

from __future__ import annotations

from collections.abc import Sequence

from . import common as c
from .control_plane import DETAILS, FULL, UP, per_second, quantile, top

JOBS = "ingress-nginx|traefik"
_SCRAPED = f'cluster=~"$cluster",infrastructure="",job=~"{JOBS}",pod=~"$pod"'
_NGINX = 'cluster=~"$cluster",infrastructure="",job="ingress-nginx",pod=~"$pod"'
_TRAEFIK = 'cluster=~"$cluster",infrastructure="",job="traefik",pod=~"$pod"'
_REQUESTS = "nginx_ingress_controller_requests"
_ENTRY, _SERVICE = "traefik_entrypoint_requests_total", "traefik_service_requests_total"
NGINX_CERTIFICATE, TRAEFIK_CERTIFICATE = "nginx_ingress_controller_ssl_expire_time_seconds", "traefik_tls_certs_not_after"


def _class(metric: str, matchers: str, code: str) -> str:
    """Requests by the first digit of their status."""
    counted = f'label_replace(rate({metric}{{{matchers}}}[$__rate_interval]), "class", "${{1}}xx", "{code}", "(.).*")'
    return f"sum by (class) ({counted})"


def _success(metric: str, matchers: str, code: str, *by: str) -> str:
    labels = f" by ({', '.join(by)})" if by else ""
    asked = f"rate({metric}{{{matchers}}}[$__rate_interval])"
    good = f'rate({metric}{{{matchers},{code}!~"5.."}}[$__rate_interval])'
    # what only failed has no good request at all
    return f"(sum{labels} ({good}) or 0 * sum{labels} ({asked})) / sum{labels} ({asked})"


def _last(expr: str) -> str:
    return expr.replace("$__rate_interval", "5m")


def _nginx() -> list[c.Panel]:
    latency = "nginx_ingress_controller_request_duration_seconds"
    by = ("namespace", "ingress", "service")
    return [
        c.row("ingress-nginx"),
        c.timeseries(
            "Requests by status", "Requests by class of HTTP status.", "reqps", {"{{class}}": _class(_REQUESTS, _NGINX, "status")}, stacked=True, width=8
        ),
        c.timeseries(
            "Success by ingress",
            "Share of the requests that were not answered with a status from 500 on, the ten worst ingresses.",
            "percentunit",
            {
                "{{namespace}}/{{ingress}}": top(_success(_REQUESTS, _NGINX, "status", "namespace", "ingress"), "namespace", "ingress").replace(
                    "topk(", "bottomk("
                )
            },
            maximum=1,
            width=8,
        ),
        c.timeseries(
            "Latency (99th percentile)",
            f"From the first byte of a request to the last of its answer, the ten slowest ingresses. {FULL}",
            "s",
            {"{{namespace}}/{{ingress}}": top(quantile(0.99, latency, _NGINX, "namespace", "ingress"), "namespace", "ingress")},
            width=8,
        ),
        c.timeseries(
            "Connections",
            "Connections of clients that are open, by what they do.",
            "short",
            {"{{state}}": f'sum by (state) (nginx_ingress_controller_nginx_process_connections{{{_NGINX},state!="active"}})'},
            stacked=True,
            width=8,
        ),
        c.timeseries(
            "Connections accepted and handled",
            "New connections a second. What is accepted and not handled was refused for lack of room.",
            "ops",
            {"{{state}}": per_second("nginx_ingress_controller_nginx_process_connections_total", _NGINX, "state")},
            width=8,
        ),
        c.timeseries(
            "Reloads",
            "How often the configuration was reloaded, and how often that failed. Each ends long connections.",
            "ops",
            {
                "{{pod}}": per_second("nginx_ingress_controller_success", _NGINX, "pod"),
                "{{pod}} failed": per_second("nginx_ingress_controller_errors", _NGINX, "pod"),
            },
            width=8,
        ),
        c.table(
            "Ingresses",
            "What each ingress gets at the moment, the busiest first. Latency needs the agent's profile full. Hosts' names do not leave the cluster.",
            [
                c.label("namespace", "Namespace"),
                c.label("ingress", "Ingress"),
                c.label("service", "Service"),
                c.value("Requests", _last(per_second(_REQUESTS, _NGINX, *by)), "reqps"),
                c.value("Success", _last(_success(_REQUESTS, _NGINX, "status", *by)), "percentunit", c.low_is_bad(0.95, 0.99)),
                c.value("Latency (99th percentile)", _last(quantile(0.99, latency, _NGINX, *by)), "s"),
            ],
            sort="Requests",
        ),
    ]


def _traefik() -> list[c.Panel]:
    latency = "traefik_{}_request_duration_seconds"
    return [
        c.row("Traefik"),
        c.timeseries(
            "Requests by status", "Requests by class of HTTP status.", "reqps", {"{{class}}": _class(_ENTRY, _TRAEFIK, "code")}, stacked=True, width=8
        ),
        c.timeseries(
            "Success by entry point",
            "Share of the requests that were not answered with a status from 500 on.",
            "percentunit",
            {"{{entrypoint}}": _success(_ENTRY, _TRAEFIK, "code", "entrypoint")},
            maximum=1,
            width=8,
        ),
        c.timeseries(
            "Latency (99th percentile)",
            f"How long requests take, by entry point. {FULL}",
            "s",
            {"{{entrypoint}}": quantile(0.99, latency.format("entrypoint"), _TRAEFIK, "entrypoint")},
            width=8,
        ),
        c.timeseries(
            "Connections",
            "Connections of clients that are open, by entry point.",
            "short",
            {"{{entrypoint}} {{protocol}}": f"sum by (entrypoint, protocol) (traefik_open_connections{{{_TRAEFIK}}})"},
            stacked=True,
        ),
        c.timeseries(
            "Reloads", "How often a new configuration was taken over.", "ops", {"{{pod}}": per_second("traefik_config_reloads_total", _TRAEFIK, "pod")}
        ),
        c.table(
            "Services",
            "What each service behind Traefik gets at the moment, the busiest first. Latency needs the agent's profile full.",
            [
                c.label("service", "Service"),
                c.value("Requests", _last(per_second(_SERVICE, _TRAEFIK, "service")), "reqps"),
                c.value("Success", _last(_success(_SERVICE, _TRAEFIK, "code", "service")), "percentunit", c.low_is_bad(0.95, 0.99)),
                c.value("Latency (99th percentile)", _last(quantile(0.99, latency.format("service"), _TRAEFIK, "service")), "s"),
            ],
            sort="Requests",
        ),
    ]


def dashboards() -> Sequence[c.Dashboard]:
    up = f"up{{{_SCRAPED}}}"
    asked = f"(sum(rate({_REQUESTS}{{{_NGINX}}}[5m])) or vector(0)) + (sum(rate({_ENTRY}{{{_TRAEFIK}}}[5m])) or vector(0))"
    failed = f"""(sum(rate({_REQUESTS}{{{_NGINX},status=~"5.."}}[5m])) or vector(0)) + (sum(rate({_ENTRY}{{{_TRAEFIK},code=~"5.."}}[5m])) or vector(0))"""
    loaded = f"nginx_ingress_controller_config_last_reload_successful{{{_NGINX}}} or traefik_config_last_reload_success{{{_TRAEFIK}}} > bool 0"
    pods = c.query_variable(
        "pod",
        "Pod",
        f'label_values(up{{cluster=~"$cluster",infrastructure="",job=~"{JOBS}"}}, pod)',
        description="Pods of ingress controllers that the agent scrapes.",
        all_value=".*",
        multi=True,
    )
    return [
        c.dashboard(
            "scs-kaas-ingress",
            "The ingress controllers of a KaaS cluster: requests, success, latency, connections, reloads, certificates. Empty where the agent found none.",
            variables=[c.cluster_variable(), pods],
            up=UP,
            lists=DETAILS,
            panels=[
                c.row("All controllers"),
                c.stat("Up", "Pods of ingress controllers that answer the agent.", "short", f"sum({up})"),
                c.stat("Down", "Pods of ingress controllers that do not answer the agent.", "short", f"count({up}) - sum({up})", limits=c.bad_if_any()),
                c.stat("Requests", "Requests a second of the last five minutes.", "reqps", f"({asked}) and on () {up}", decimals=1),
                c.stat(
                    "Success",
                    "Share of the requests of the last five minutes that were not answered with a status from 500 on.",
                    "percentunit",
                    f"1 - ({failed}) / ({asked})",
                    limits=c.low_is_bad(0.95, 0.99),
                    decimals=2,
                ),
                c.stat(
                    "Broken configurations",
                    "Controllers that could not use their last configuration and go on with the one before. Traefik never counts: it tells only when it could.",
                    "short",
                    f"count(({loaded}) == 0) or 0 * count({loaded})",
                    limits=c.bad_if_any(),
                ),
                c.stat(
                    "Next certificate to end",
                    "Days until the first certificate that a controller serves ends.",
                    "suffix: days",
                    f"(min({NGINX_CERTIFICATE}{{{_NGINX}}} or {TRAEFIK_CERTIFICATE}{{{_TRAEFIK}}}) - time()) / 86400",
                    limits=c.low_is_bad(7, 30),
                    decimals=0,
                ),
                *_nginx(),
                *_traefik(),
                c.row("Pods"),
                c.table(
                    "Pods",
                    "Each pod of an ingress controller.",
                    [
                        c.label("job", "Controller"),
                        c.label("pod", "Pod"),
                        c.label("node", "Node", links=[c.link("scs-kaas-node", cluster="$cluster", node="${__data.fields.node}")]),
                        c.value("Up", f"max by (job, pod, node) ({up})", "none", mappings=[c.mapping({1: ("up", c.GREEN), 0: ("down", c.RED)})]),
                        c.value("CPU", f"sum by (job, pod, node) (rate(process_cpu_seconds_total{{{_SCRAPED}}}[5m]))", "short", decimals=3),
                        c.value("Memory", f"sum by (job, pod, node) (process_resident_memory_bytes{{{_SCRAPED}}})", "bytes"),
                        c.value("Since start", f"time() - max by (job, pod, node) (process_start_time_seconds{{{_SCRAPED}}})", "s", decimals=0),
                        c.value(
                            "Since the last good configuration",
                            "time() - max by (job, pod, node) ("
                            f"nginx_ingress_controller_config_last_reload_successful_timestamp_seconds{{{_NGINX}}} "
                            f"or traefik_config_last_reload_success{{{_TRAEFIK}}})",
                            "s",
                            decimals=0,
                        ),
                    ],
                    sort="Pod",
                    descending=False,
                    height=7,
                ),
                c.row("Certificates"),
                c.table(
                    "Certificates that ingress-nginx serves",
                    "Days left, the first to end on top. The Secret names the certificate.",
                    [
                        c.label("namespace", "Namespace"),
                        c.label("secret_name", "Secret"),
                        c.value(
                            "Days left",
                            f"(min by (namespace, secret_name) ({NGINX_CERTIFICATE}{{{_NGINX}}}) - time()) / 86400",
                            "suffix: days",
                            c.low_is_bad(7, 30),
                            decimals=0,
                        ),
                    ],
                    sort="Days left",
                    descending=False,
                    width=12,
                ),
                c.table(
                    "Certificates that Traefik serves",
                    "Days left, the first to end on top. Without leave to name hosts, a certificate has a number only (docs/agent.md).",
                    [
                        c.label("cn", "Name"),
                        c.label("hidden", "Number"),
                        c.value(
                            "Days left",
                            f"(min by (cn, hidden) ({TRAEFIK_CERTIFICATE}{{{_TRAEFIK}}}) - time()) / 86400",
                            "suffix: days",
                            c.low_is_bad(7, 30),
                            decimals=0,
                        ),
                    ],
                    sort="Days left",
                    descending=False,
                    width=12,
                ),
            ],
        )
    ]
