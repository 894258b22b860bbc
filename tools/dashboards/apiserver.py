# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API server of a KaaS cluster, with its error budget."""

from __future__ import annotations

from collections.abc import Sequence

from . import common as c
from .control_plane import (
    DETAILS,
    FULL,
    SMALL_SHARE,
    UP,
    age,
    health,
    instances,
    mean,
    or_none,
    per_second,
    quantile,
    resources,
    selector,
    top,
    version,
    work_queues,
)

JOB = "apiserver"
# What is asked of the API server itself: neither what it passes on nor what lasts until its client leaves.
OWN = 'verb!~"CONNECT|WATCH|WATCHLIST",subresource!~"proxy|exec|attach|log|portforward"'
READ, WRITE = 'verb=~"LIST|GET"', 'verb=~"POST|PUT|PATCH|DELETE|DELETECOLLECTION|APPLY"'


def _errors(window: str) -> str:
    return f'max(cluster:apiserver_request_errors:ratio_rate{window}{{{c.RECORDED},cluster=~"$cluster"}})'


# Means of the recorded hours, for the windows themselves would be read from the bucket.
_MONTH = f'max(avg_over_time(cluster:apiserver_request_errors:ratio_rate1h{{{c.RECORDED},cluster=~"$cluster"}}[30d:10m]))'
_BUDGET = "(1 - $objective / 100)"


def _objective() -> list[c.Panel]:
    return [
        c.row("Objective over 30 days"),
        c.stat(
            "Availability",
            "Share of the requests of 30 days, or of a younger cluster's life, answered without an error of the API server; each minute counts alike.",
            "percentunit",
            f"1 - {_MONTH}",
            decimals=3,
            width=5,
        ),
        c.gauge(
            "Error budget left",
            "What the objective allows to fail in 30 days is the budget; this share of it is left. Below 0 the objective is missed.",
            "percentunit",
            f"1 - {_MONTH} / {_BUDGET}",
            limits=c.low_is_bad(0, 0.25),
            minimum=0,
            maximum=1,
            width=5,
            height=4,
        ),
        c.stat("Failed in the last hour", "Share of the requests that failed in the last hour.", "percentunit", _errors("1h"), decimals=3, width=5),
        c.stat(
            "Burn rate of the last hour",
            "How fast the budget is used: at 1 it lasts for exactly 30 days, at 14 for two.",
            "suffix: x",
            f"{_errors('1h')} / {_BUDGET}",
            limits=c.high_is_bad(1, 14.4),
            decimals=1,
            width=5,
        ),
        version(JOB),
        c.timeseries(
            "Burn rates",
            "How fast the budget is used, over windows of different length. A short one above 14 or a long one above 1 misses the objective if it goes on.",
            "suffix: x",
            {window: f"{_errors(window)} / {_BUDGET}" for window in ("5m", "1h", "6h", "1d", "3d")},
            limits=c.high_is_bad(1, 14.4),
            threshold_lines=True,
        ),
        c.timeseries(
            "Failed requests",
            "Share of the requests that the API server answered with an error of its own.",
            "percentunit",
            {"5 minutes": _errors("5m"), "allowed by the objective": _BUDGET + " + 0 * time()"},
            limits=c.thresholds(c.BLUE),
            overrides=SMALL_SHARE,
        ),
    ]


def dashboards() -> Sequence[c.Dashboard]:
    s = selector
    every = s(JOB)
    scraped = f"up{{{every}}}"
    total = "apiserver_request_total"
    # the second is its name before Kubernetes 1.34
    objects = f"max by (resource) ({{__name__=~'apiserver_(resource|storage)_objects',{every}}})"
    return [
        c.dashboard(
            "scs-kaas-apiserver",
            "The API server of a KaaS cluster: error budget, requests, latency, load, admission, and etcd as the API server sees it.",
            variables=[
                c.cluster_variable(),
                instances(JOB),
                c.custom_variable(
                    "objective", "Objective (%)", ("99", "99.5", "99.9", "99.95"), description="Share of requests that must not fail in 30 days, in percent."
                ),
            ],
            up=UP,
            lists=DETAILS,
            panels=[
                *_objective(),
                c.row("Health"),
                *health(JOB, "the API server"),
                age(JOB),
                c.stat(
                    "Broken APIs",
                    "APIs that the API server takes from a program in the cluster (such as metrics.k8s.io) and that can not be reached.",
                    "short",
                    f"sum(max by (name) (aggregator_unavailable_apiservice{{{every}}}))",
                    limits=c.bad_if_any(),
                ),
                c.row("Requests"),
                c.timeseries("By verb", "Requests a second.", "reqps", {"{{verb}}": per_second(total, every, "verb")}, stacked=True, width=8),
                c.timeseries(
                    "By code", "Requests a second, by the answer's HTTP status.", "reqps", {"{{code}}": per_second(total, every, "code")}, stacked=True, width=8
                ),
                c.timeseries(
                    "By resource",
                    "Requests a second for the ten kinds of object that are asked for most.",
                    "reqps",
                    {"{{resource}}": top(per_second(total, every, "resource"), "resource")},
                    width=8,
                ),
                c.timeseries(
                    "Errors of the server by resource",
                    "Answers with a status from 500 on. What the API server only passed on (CONNECT) fails by the fault of a pod or node.",
                    "reqps",
                    {"{{resource}} {{verb}}": or_none(per_second(total, s(JOB, 'code=~"5.."'), "resource", "verb"), "resource", scraped)},
                ),
                c.timeseries(
                    "Refused requests",
                    "Answers 401 (not known), 403 (not allowed), 409 (conflict) and 429 (too many); the last one means that clients must wait.",
                    "reqps",
                    {"{{code}}": or_none(per_second(total, s(JOB, 'code=~"401|403|409|429"'), "code"), "code", scraped)},
                ),
                c.row("Latency"),
                c.timeseries(
                    "Reading (99th percentile)",
                    f"Time to answer GET and LIST, without what webhooks and queues took. {FULL}",
                    "s",
                    {"{{verb}} {{scope}}": quantile(0.99, "apiserver_request_sli_duration_seconds", s(JOB, OWN, READ), "verb", "scope")},
                    width=8,
                ),
                c.timeseries(
                    "Writing (99th percentile)",
                    f"Time to make, change and delete objects, without what webhooks and queues took. {FULL}",
                    "s",
                    {"{{verb}}": quantile(0.99, "apiserver_request_sli_duration_seconds", s(JOB, OWN, WRITE), "verb")},
                    width=8,
                ),
                c.timeseries(
                    "Slowest resources (mean)",
                    f"The ten kinds of object whose requests take longest, all included. {FULL}",
                    "s",
                    {"{{resource}} {{verb}}": top(mean("apiserver_request_duration_seconds", s(JOB, OWN), "resource", "verb"), "resource", "verb")},
                    width=8,
                ),
                c.row("Load, priority and fairness"),
                c.timeseries(
                    "In flight",
                    "Requests that are worked at, reading and mutating.",
                    "short",
                    {"{{request_kind}}": f"sum by (request_kind) (apiserver_current_inflight_requests{{{every}}})"},
                    width=8,
                ),
                c.timeseries(
                    "Long-running",
                    f"Watches, logs and connections into pods that are open. {FULL}",
                    "short",
                    {"{{verb}}": f"sum by (verb) (apiserver_longrunning_requests{{{every}}})"},
                    width=8,
                ),
                c.timeseries(
                    "Terminated and rejected",
                    "Requests that the API server ended to protect itself, and those that priority and fairness turned away (profile full).",
                    "reqps",
                    {
                        "terminated": f"{per_second('apiserver_request_terminations_total', every)} or 0 * group({scraped})",
                        "rejected, {{priority_level}}": or_none(
                            per_second("apiserver_flowcontrol_rejected_requests_total", every, "priority_level"),
                            "priority_level",
                            f"apiserver_flowcontrol_nominal_limit_seats{{{every}}}",
                        ),
                    },
                    width=8,
                ),
                c.timeseries(
                    "Executing by priority level",
                    f"Requests of each priority level that are worked at. {FULL}",
                    "short",
                    {"{{priority_level}}": f"sum by (priority_level) (apiserver_flowcontrol_current_executing_requests{{{every}}})"},
                    stacked=True,
                ),
                c.timeseries(
                    "Waiting by priority level",
                    f"Requests of each priority level that wait for their turn. {FULL}",
                    "short",
                    {"{{priority_level}}": f"sum by (priority_level) (apiserver_flowcontrol_current_inqueue_requests{{{every}}})"},
                ),
                c.row("Admission, audit and clients"),
                c.timeseries(
                    "Webhooks (99th percentile)",
                    f"How long admission webhooks take to answer; each write waits for them. {FULL}",
                    "s",
                    {"{{name}} {{operation}}": quantile(0.99, "apiserver_admission_webhook_admission_duration_seconds", every, "name", "operation")},
                    width=8,
                ),
                c.timeseries(
                    "Webhooks that refuse or fail",
                    f"Writes that webhooks refused, by reason, and those that went on because a webhook failed that may. {FULL}",
                    "ops",
                    {
                        "{{name}} {{error_type}}": or_none(
                            per_second("apiserver_admission_webhook_rejection_count", every, "name", "error_type"),
                            "name",
                            f"apiserver_longrunning_requests{{{every}}}",
                        ),
                        "{{name}} failed open": per_second("apiserver_admission_webhook_fail_open_count", every, "name"),
                    },
                    width=8,
                ),
                c.timeseries(
                    "Audit",
                    f"Events written to the audit log, and those that could not be. {FULL}",
                    "ops",
                    {
                        "events": per_second("apiserver_audit_event_total", every),
                        "errors": f"{per_second('apiserver_audit_error_total', every)} or 0 * group(apiserver_audit_event_total{{{every}}})",
                    },
                    width=8,
                ),
                c.timeseries(
                    "Authentication",
                    f"Attempts to log in, by result. {FULL}",
                    "ops",
                    {"{{result}}": per_second("authentication_attempts", every, "result")},
                    width=8,
                ),
                c.timeseries(
                    "TLS handshakes that fail",
                    f"Connections that ended before a request; many of them are a client with a wrong certificate or authority. {FULL}",
                    "ops",
                    {"failed": per_second("apiserver_tls_handshake_errors_total", every)},
                    width=8,
                ),
                c.table(
                    "Deprecated APIs in use",
                    f"Versions of APIs that clients ask for and that will go; the release that takes them away, where that is known. {FULL}",
                    [
                        c.label("group", "Group"),
                        c.label("version", "Version"),
                        c.label("resource", "Resource"),
                        c.label("removed_release", "Gone in"),
                        c.value("Asked for", f"group by (group, version, resource, removed_release) (apiserver_requested_deprecated_apis{{{every}}})", "none"),
                    ],
                    width=8,
                    height=8,
                ),
                c.timeseries(
                    "Clients whose certificate ends soon",
                    "Requests with a client certificate that ends within a day, a week or 30 days. The API server does not name the clients.",
                    "reqps",
                    {
                        text: per_second("apiserver_client_certificate_expiration_seconds_bucket", s(JOB, f'le=~"{seconds}"'))
                        for text, seconds in (("within a day", "86400(.0)?"), ("within a week", "604800(.0)?"), ("within 30 days", "2.592e[+]06|2592000(.0)?"))
                    },
                ),
                c.timeseries(
                    "Objects stored",
                    f"The ten kinds with most objects. {FULL}",
                    "short",
                    {"{{resource}}": f"{objects} and on (resource) topk(10, {objects.replace('}', '} @ end()')})"},
                ),
                c.row("etcd as the API server sees it"),
                c.timeseries(
                    "Requests",
                    f"Requests to etcd. {FULL}",
                    "reqps",
                    {"{{operation}}": per_second("etcd_requests_total", every, "operation")},
                    width=6,
                ),
                c.timeseries(
                    "Latency (mean)",
                    f"How long etcd takes to answer the API server. {FULL}",
                    "s",
                    {"{{operation}}": mean("etcd_request_duration_seconds", every, "operation")},
                    width=6,
                ),
                c.timeseries(
                    "Errors",
                    f"Requests to etcd that failed. {FULL}",
                    "reqps",
                    {"{{operation}}": or_none(per_second("etcd_request_errors_total", every, "operation"), "operation", f"etcd_requests_total{{{every}}}")},
                    width=6,
                ),
                c.timeseries(
                    "Size of the database",
                    "What etcd says of its own size to the API server; also where etcd itself can not be reached.",
                    "bytes",
                    {"{{storage_cluster_id}}": f"max by (storage_cluster_id) (apiserver_storage_size_bytes{{{every}}})"},
                    legend="hidden",
                    width=6,
                ),
                *work_queues(JOB, retries=False),
                *resources(JOB),
            ],
        )
    ]
