# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scheduler and controller manager of a KaaS cluster, and what all dashboards of single programs repeat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import common as c

FULL = "Needs the agent's profile full."
# How the parts of a KaaS cluster are linked: up to the cluster, and aside to all other details.
UP = ("scs-kaas-cluster",)
DETAILS = (("Details", ("scs-observer", "L2", "kaas")),)


# What happens now and then makes no line, so its points have to be seen.
SELDOM = (c.override(".*", regexp=True, showPoints="always", pointSize=5),)
# The axis of a share that is 0 nearly always would else go up to 10000 %.
SMALL_SHARE = (c.override(".*", regexp=True, axisSoftMax=0.05),)


def instances(job: str, *, name: str = "instance", title: str = "Instance") -> Any:
    """C($instance): one or several of the job's instances, by default all."""
    query = f'label_values(up{{cluster=~"$cluster",infrastructure="",job="{job}"}}, {name})'
    return c.query_variable(name, title, query, description=f"Instances of {job} that the agent scrapes.", all_value=".*", multi=True)


def selector(job: str, *more: str) -> str:
    """Of the chosen cluster, these instances of a job."""
    return ",".join(('cluster=~"$cluster",infrastructure=""', f'job="{job}"', 'instance=~"$instance"', *more))


def rate(metric: str, matchers: str) -> str:
    return f"rate({metric}{{{matchers}}}[$__rate_interval])"


def per_second(metric: str, matchers: str, *by: str) -> str:
    """A counter's growth, of all instances together."""
    made = rate(metric, matchers)
    return f"sum by ({', '.join(by)}) ({made})" if by else f"sum({made})"


def quantile(share: float, metric: str, matchers: str, *by: str) -> str:
    """Of a classic histogram."""
    return f"histogram_quantile({share}, sum by ({', '.join(('le', *by))}) ({rate(metric + '_bucket', matchers)}))"


def mean(metric: str, matchers: str, *by: str) -> str:
    """Of a histogram or a summary: what one took on average."""
    labels = ", ".join(by)
    return f"sum by ({labels}) ({rate(metric + '_sum', matchers)}) / sum by ({labels}) ({rate(metric + '_count', matchers)})"


def top(expr: str, *by: str, number: str = "10") -> str:
    """Of many series those that are highest over the whole time range; a plain topk chooses others at each point and shows them all."""
    whole = expr.replace("[$__rate_interval]", "[$__range] @ end()")
    return f"{expr} and on ({', '.join(by)}) topk({number}, {whole})"


def gauge_mean(metric: str, matchers: str, *by: str) -> str:
    """Of a gauge, as top() needs it."""
    return f"sum by ({', '.join(by)}) (avg_over_time({metric}{{{matchers}}}[$__rate_interval]))"


def or_none(expr: str, label: str, present: str) -> str:
    """Counters of what goes wrong are not there before it does: then a line at 0 called none, as long as there are other series of that source."""
    return f'{expr} or label_replace(0 * group({present}), "{label}", "none", "", "")'


def health(job: str, name: str) -> list[c.Panel]:
    """The first panels of each part."""
    up = f"up{{{selector(job)}}}"
    mappings = [c.mapping({1: ("up", c.GREEN), 0: ("down", c.RED)})]
    return [
        c.stat(
            "Up",
            f"Instances of {name} that answer the agent. A part that the agent can not reach, as in a hosted control plane, has none.",
            "short",
            f"sum({up})",
        ),
        c.stat("Down", f"Instances of {name} that do not answer the agent.", "short", f"count({up}) - sum({up})", limits=c.bad_if_any()),
        c.stat("Instances", f"Each instance of {name}.", "none", {"{{instance}}": up}, width=8, color="background", text="value_and_name", mappings=mappings),
    ]


def version(job: str) -> c.Panel:
    return c.stat(
        "Version",
        "Version of Kubernetes of each instance; several of them during an upgrade.",
        "none",
        {"{{git_version}}": f"group by (git_version) (kubernetes_build_info{{{selector(job)}}})"},
        text="name",
        color="none",
    )


def age(job: str) -> c.Panel:
    return c.stat(
        "Since start",
        "Time since the youngest instance was started.",
        "s",
        f"time() - max(process_start_time_seconds{{{selector(job)}}})",
        decimals=0,
    )


def resources(job: str) -> list[c.Panel]:
    """What the programs themselves use."""
    matchers = selector(job)
    return [
        c.row("Resources"),
        c.timeseries("CPU", "CPUs that each instance uses.", "short", {"{{instance}}": rate("process_cpu_seconds_total", matchers)}, width=8),
        c.timeseries("Memory", "Resident memory of each instance.", "bytes", {"{{instance}}": f"process_resident_memory_bytes{{{matchers}}}"}, width=8),
        c.timeseries(
            "Goroutines",
            "Concurrent tasks in each instance; growth without an end is a leak.",
            "short",
            {"{{instance}}": f"go_goroutines{{{matchers}}}"},
            width=8,
        ),
    ]


def client_requests(job: str, name: str, *, latency: bool = True) -> list[c.Panel]:
    """What a program asks of the API server."""
    matchers = selector(job)
    width = 8 if latency else 12
    failed = rate("rest_client_requests_total", selector(job, 'code=~"5..|<error>"'))
    panels = [
        c.row("Requests to the API server"),
        c.timeseries(
            "Requests by code",
            f"Requests of {name} to the API server, by the answer's code; <error> means no answer.",
            "reqps",
            {"{{code}}": per_second("rest_client_requests_total", matchers, "code")},
            stacked=True,
            width=width,
        ),
        c.timeseries(
            "Failed requests",
            f"Share of the requests of {name} that failed on the server's side or got no answer.",
            "percentunit",
            {"failed": f"(sum({failed}) or 0 * group(rest_client_requests_total{{{matchers}}})) / {per_second('rest_client_requests_total', matchers)}"},
            overrides=SMALL_SHARE,
            width=width,
        ),
    ]
    if latency:
        panels.append(
            c.timeseries(
                "Latency (99th percentile)",
                f"How long the API server's answers took, as {name} sees it, by verb. {FULL}",
                "s",
                {"{{verb}}": quantile(0.99, "rest_client_request_duration_seconds", matchers, "verb")},
                width=width,
            )
        )
    return panels


def work_queues(job: str, *, retries: bool = True) -> list[c.Panel]:
    """Queues of controllers, the busiest only."""
    matchers = selector(job)
    panels = [
        c.row("Work queues"),
        c.timeseries(
            "Added",
            f"Items put into each queue, the ten busiest. {FULL}",
            "ops",
            {"{{name}}": top(per_second("workqueue_adds_total", matchers, "name"), "name")},
            width=8,
        ),
        c.timeseries(
            "Waiting",
            f"Items that wait in each queue, the ten longest. One that stays long can not keep up. {FULL}",
            "short",
            {"{{name}}": top(gauge_mean("workqueue_depth", matchers, "name"), "name")},
            width=8,
        ),
        c.timeseries(
            "Time in the queue (99th percentile)",
            f"How long items wait before somebody works at them, the ten slowest queues. {FULL}",
            "s",
            {"{{name}}": top(quantile(0.99, "workqueue_queue_duration_seconds", matchers, "name"), "name")},
            width=8,
        ),
    ]
    if retries:
        panels += [
            c.timeseries(
                "Time of work (99th percentile)",
                f"How long the work at an item takes, the ten slowest queues. {FULL}",
                "s",
                {"{{name}}": top(quantile(0.99, "workqueue_work_duration_seconds", matchers, "name"), "name")},
                width=8,
            ),
            c.timeseries(
                "Retries",
                f"Items that are tried again after an error, the ten queues with most. {FULL}",
                "ops",
                {"{{name}}": top(per_second("workqueue_retries_total", matchers, "name"), "name")},
                width=8,
            ),
            c.timeseries(
                "Longest work at hand",
                f"For how long the oldest work has been going on in each queue; what only grows is stuck. {FULL}",
                "s",
                {"{{name}}": top(gauge_mean("workqueue_longest_running_processor_seconds", matchers, "name"), "name")},
                width=8,
            ),
        ]
    return panels


def leader(job: str, name: str) -> c.Panel:
    """Which instance works; the others wait."""
    return c.stat(
        "Leader",
        f"The instance of {name} that works; the others wait for its end. None while there is an election, or where an instance runs alone without one.",
        "none",
        {"{{instance}}": f"leader_election_master_status{{{selector(job)}}} == 1"},
        width=8,
        height=8,
        text="name",
        color="none",
        no_value="no election",
    )


def dashboards() -> Sequence[c.Dashboard]:
    return [_scheduler(), _controller_manager()]


def _scheduler() -> c.Dashboard:
    job, name = "kube-scheduler", "the scheduler"
    matchers = selector(job)
    return c.dashboard(
        "scs-kaas-scheduler",
        "The scheduler of a KaaS cluster: pods that wait, attempts and how long they take. Empty where the control plane is hosted elsewhere.",
        variables=[c.cluster_variable(), instances(job)],
        up=UP,
        lists=DETAILS,
        panels=[
            c.row("Health"),
            *health(job, name),
            version(job),
            age(job),
            c.row("Pods that wait"),
            c.stat(
                "Unschedulable",
                "Pods for which no node fits at the moment.",
                "short",
                f'sum(scheduler_pending_pods{{{matchers},queue="unschedulable"}})',
                limits=c.bad_if_any(c.ORANGE),
                height=8,
            ),
            c.timeseries(
                "Pending pods by queue",
                "active: next in turn; backoff: tried and to be tried again soon; unschedulable: no node fits; gated: held back on purpose.",
                "short",
                {"{{queue}}": f"sum by (queue) (scheduler_pending_pods{{{matchers}}})"},
                stacked=True,
                width=10,
            ),
            c.timeseries(
                "Attempts by result",
                "Attempts to place a pod. error means trouble of the scheduler itself, unschedulable that no node fits.",
                "ops",
                {"{{result}}": per_second("scheduler_schedule_attempts_total", matchers, "result")},
                width=10,
            ),
            c.row("Latency"),
            c.timeseries(
                "Attempt (99th percentile)",
                f"How long one attempt takes, by result. {FULL}",
                "s",
                {"{{result}}": quantile(0.99, "scheduler_scheduling_attempt_duration_seconds", matchers, "result")},
                overrides=SELDOM,
                width=8,
            ),
            c.timeseries(
                "From creation to a node",
                f"How long a pod waits for its node over all attempts. {FULL}",
                "s",
                {
                    "99th percentile": quantile(0.99, "scheduler_pod_scheduling_sli_duration_seconds", matchers),
                    "median": quantile(0.5, "scheduler_pod_scheduling_sli_duration_seconds", matchers),
                },
                overrides=SELDOM,
                width=8,
            ),
            c.timeseries(
                "By step (99th percentile)",
                f"Which step of placing takes how long. {FULL}",
                "s",
                {"{{extension_point}}": quantile(0.99, "scheduler_framework_extension_point_duration_seconds", matchers, "extension_point")},
                overrides=SELDOM,
                width=8,
            ),
            c.timeseries(
                "Preemptions",
                "Attempts to make room by removing pods of lower priority.",
                "ops",
                {"attempts": per_second("scheduler_preemption_attempts_total", matchers)},
            ),
            c.timeseries(
                "Objects in the cache",
                f"What the scheduler knows: nodes, pods, and pods that it assumes to be placed. {FULL}",
                "short",
                {"{{type}}": f"sum by (type) (scheduler_cache_size{{{matchers}}})"},
            ),
            *client_requests(job, name),
            *resources(job),
        ],
    )


def _controller_manager() -> c.Dashboard:
    job, name = "kube-controller-manager", "the controller manager"
    return c.dashboard(
        "scs-kaas-controller-manager",
        "The controller manager of a KaaS cluster: its work queues, what it asks of the API server, what it uses. Empty where that is hosted elsewhere.",
        variables=[c.cluster_variable(), instances(job)],
        up=UP,
        lists=DETAILS,
        panels=[
            c.row("Health"),
            *health(job, name),
            version(job),
            age(job),
            leader(job, name),
            c.timeseries(
                "Nodes that are not ready",
                "By zone, as the controller of the nodes sees them. When a whole zone is away, it removes pods more slowly or not at all.",
                "short",
                {"zone {{zone}}": f"sum by (zone) (node_collector_unhealthy_nodes_in_zone{{{selector(job)}}})"},
                width=8,
            ),
            c.timeseries(
                "Ready nodes",
                "Share of a zone's nodes that are ready, in percent.",
                "percent",
                {"zone {{zone}}": f"max by (zone) (node_collector_zone_health{{{selector(job)}}})"},
                width=8,
            ),
            *work_queues(job),
            *client_requests(job, name),
            *resources(job),
        ],
    )
