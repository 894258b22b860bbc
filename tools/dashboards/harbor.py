# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Harbor, by its own metrics, which the agent of its cluster scrapes (docs/agent.md). Where they come from is said in the head of the rule file harbor.yaml."""

from __future__ import annotations

from collections.abc import Sequence

from . import common as c
from .alerts import alert_table
from .control_plane import SELDOM, SMALL_SHARE, mean, or_none, per_second

_HARBOR = 'cluster=~"$cluster",infrastructure=""'
_POD = f'{_HARBOR},job="harbor"'
_UP = [c.mapping({1: ("healthy", c.GREEN), 0: ("not healthy", c.RED)})]
_REQUESTS, _DURATION = "harbor_core_http_request_total", "harbor_core_http_request_duration_seconds"
_TASKS, _TASK_TIME = "harbor_jobservice_task_total", "harbor_jobservice_task_process_time_seconds"
_STORAGE = "registry_storage_action_seconds"


def _last(expr: str) -> str:
    return expr.replace("$__rate_interval", "5m")


def _health() -> list[c.Panel]:
    up = f"max by (component) (harbor_up{{{_HARBOR}}})"
    queued = f"max by (type) (harbor_task_queue_size{{{_HARBOR}}})"
    return [
        c.row("Health"),
        c.stat(
            "Harbor",
            "What Harbor says of itself: healthy when all its components are.",
            "none",
            f"max(harbor_health{{{_HARBOR}}})",
            mappings=_UP,
            color="background",
            limits=c.thresholds("transparent"),
        ),
        c.stat(
            "Components not healthy",
            "How many of its components Harbor finds not healthy.",
            "short",
            f"count({up} == 0) or 0 * count({up})",
            limits=c.bad_if_any(),
        ),
        c.stat(
            "Pods not scraped",
            "Pods of core, exporter, jobservice and registry whose metrics the agent can not get.",
            "short",
            f"count(up{{{_POD}}}) - sum(up{{{_POD}}})",
            limits=c.bad_if_any(),
        ),
        c.stat(
            "Storage", "What all blobs and system artifacts take, each blob once.", "bytes", f"max(harbor_statistics_total_storage_consumption{{{_HARBOR}}})"
        ),
        c.stat("Jobs waiting", "Jobs of all types that wait for a worker.", "short", f"sum({queued})", limits=c.high_is_bad(200, 1000)),
        c.stat(
            "Success",
            "Share of the requests to Harbor of the last five minutes that were not answered with a status from 500 on.",
            "percentunit",
            f'1 - (sum(rate({_REQUESTS}{{{_HARBOR},code=~"5.."}}[5m])) or vector(0)) / sum(rate({_REQUESTS}{{{_HARBOR}}}[5m]))',
            limits=c.low_is_bad(0.95, 0.99),
            decimals=2,
        ),
        c.table(
            "Components",
            "What Harbor finds of each of its components (/api/v2.0/health).",
            [c.label("component", "Component"), c.value("State", up, "none", c.thresholds("transparent"), mappings=_UP, background=True)],
            sort="Component",
            descending=False,
            width=8,
            height=9,
        ),
        c.table(
            "Pods",
            "The pods with metrics. portal, database, Redis and Trivy have none; the cluster's own pages show theirs.",
            [
                c.label("pod", "Pod"),
                c.label("component", "Component"),
                c.value("Up", f"max by (pod, component) (up{{{_POD}}})", "none", mappings=[c.mapping({1: ("up", c.GREEN), 0: ("down", c.RED)})]),
                c.value("CPU", f"sum by (pod, component) (rate(process_cpu_seconds_total{{{_POD}}}[5m]))", "short", decimals=3),
                c.value("Memory", f"sum by (pod, component) (process_resident_memory_bytes{{{_POD}}})", "bytes"),
                c.value("Since start", f"time() - max by (pod, component) (process_start_time_seconds{{{_POD}}})", "s", decimals=0),
            ],
            sort="Pod",
            descending=False,
            width=10,
            height=9,
        ),
        c.stat(
            "Version",
            "Harbor's version, and how people log in.",
            "none",
            {"{{harbor_version}} ({{auth_mode}})": f"max by (harbor_version, auth_mode) (harbor_system_info{{{_HARBOR}}})"},
            text="name",
            color="none",
            width=6,
            height=9,
        ),
    ]


def _projects() -> list[c.Panel]:
    def by_project(name: str) -> str:
        return f"max by (project_name) (harbor_{name}{{{_HARBOR}}})"

    share = f"{by_project('project_quota_usage_byte')} / ({by_project('project_quota_byte')} > 0)"
    return [
        c.row("Projects"),
        c.stat("Projects", "Projects, public and private ones.", "short", f"max(harbor_statistics_total_project_amount{{{_HARBOR}}})", width=4),
        c.stat("Public projects", "Projects that everybody can pull from.", "short", f"max(harbor_statistics_public_project_amount{{{_HARBOR}}})", width=4),
        c.stat("Repositories", "Repositories of all projects.", "short", f"max(harbor_statistics_total_repo_amount{{{_HARBOR}}})", width=4),
        c.stat(
            "Artifacts",
            "Artifacts of all projects: images, charts and others.",
            "short",
            f"sum(max by (project_name, artifact_type) (harbor_project_artifact_total{{{_HARBOR}}}))",
            width=4,
        ),
        c.stat(
            "Pulls",
            "Pulls in the chosen time range.",
            "short",
            f"sum(max by (project_name) (increase(harbor_artifact_pulled{{{_HARBOR}}}[$__range])))",
            decimals=0,
            width=4,
        ),
        c.stat(
            "Projects near their quota",
            "Projects that use more than 90 % of their quota.",
            "short",
            f"count({share} > 0.9) or 0 * count({by_project('project_quota_byte')})",
            limits=c.bad_if_any(c.ORANGE),
            width=4,
        ),
        c.table(
            "Each project",
            "One row for each project. Without a quota there is no share of it. Pulls are those of the chosen time range.",
            [
                c.label("project_name", "Project"),
                c.value("Used", by_project("project_quota_usage_byte"), "bytes"),
                c.value("Quota", f"{by_project('project_quota_byte')} > 0", "bytes"),
                c.value(
                    "Share",
                    share,
                    "percentunit",
                    c.high_is_bad(0.9, 0.98),
                    bar=True,
                ),
                c.value("Repositories", by_project("project_repo_total"), "short"),
                c.value("Artifacts", f"sum by (project_name) (max by (project_name, artifact_type) (harbor_project_artifact_total{{{_HARBOR}}}))", "short"),
                c.value("Members", by_project("project_member_total"), "short"),
                c.value("Pulls", f"max by (project_name) (increase(harbor_artifact_pulled{{{_HARBOR}}}[$__range]))", "short", decimals=0),
            ],
            sort="Used",
        ),
        c.timeseries(
            "Storage by project",
            "What the artifacts of each project take. Blobs that several projects share count for each.",
            "bytes",
            {"{{project_name}}": by_project("project_quota_usage_byte")},
            width=8,
        ),
        c.timeseries(
            "Pulls by project",
            "Pulls a second of each project.",
            "ops",
            {"{{project_name}}": f"max by (project_name) (rate(harbor_artifact_pulled{{{_HARBOR}}}[$__rate_interval]))"},
            width=8,
        ),
        c.timeseries(
            "Artifacts by type",
            "Artifacts of all projects, by their type.",
            "short",
            {"{{artifact_type}}": f"sum by (artifact_type) (max by (project_name, artifact_type) (harbor_project_artifact_total{{{_HARBOR}}}))"},
            stacked=True,
            width=8,
        ),
    ]


def _core() -> list[c.Panel]:
    counted = f'label_replace(rate({_REQUESTS}{{{_HARBOR}}}[$__rate_interval]), "class", "${{1}}xx", "code", "(.).*")'
    asked = f"sum by (operation) (rate({_REQUESTS}{{{_HARBOR}}}[$__rate_interval]))"
    failed = f'sum by (operation) (rate({_REQUESTS}{{{_HARBOR},code=~"5.."}}[$__rate_interval]))'
    proxied = f"sum by (project) (rate(harbor_core_http_registry_proxy_{{}}requests_total{{{{{_HARBOR}}}}}[$__rate_interval]))"
    return [
        c.row("Core"),
        c.timeseries(
            "Requests by status",
            "Requests to core (API and registry) by class of HTTP status.",
            "reqps",
            {"{{class}}": f"sum by (class) ({counted})"},
            stacked=True,
            width=8,
        ),
        c.timeseries(
            "Errors by operation",
            "Share of the requests of an operation that were answered with a status from 500 on.",
            "percentunit",
            {"{{operation}}": f"({failed} or 0 * {asked}) / {asked}"},
            overrides=SMALL_SHARE,
            width=8,
        ),
        c.timeseries(
            "Requests in flight",
            "Requests that core works on.",
            "short",
            {"{{pod}}": f"sum by (pod) (harbor_core_http_inflight_requests{{{_HARBOR}}})"},
            width=8,
        ),
        c.timeseries(
            "Latency (mean)",
            "What a request takes on average, by operation. v2_blob and v2_blob_upload move layers.",
            "s",
            {"{{operation}}": mean(_DURATION, _HARBOR, "operation")},
            width=8,
        ),
        c.timeseries(
            "Latency (99th percentile)",
            "As core itself calculates it for each of its pods; the slowest pod.",
            "s",
            {"{{operation}}": f'max by (operation) ({_DURATION}{{{_HARBOR},quantile="0.99"}})'},
            width=8,
        ),
        c.timeseries(
            "Proxy cache hits",
            "Share of the requests to proxy projects that did not go to the other registry. Empty without such projects.",
            "percentunit",
            {"{{project}}": f"1 - {proxied.format('upstream_')} / {proxied.format('')}"},
            maximum=1,
            width=8,
        ),
    ]


def _jobs() -> list[c.Panel]:
    def done(kind: str) -> dict[str, str]:
        chosen = f'{_HARBOR},type=~"{kind}"'
        return {"{{type}} {{status}}": f"sum by (type, status) (increase({_TASKS}{{{chosen}}}[$__rate_interval]))"}

    def in_range(status: str) -> str:
        return f'sum by (type) (increase({_TASKS}{{{_HARBOR},status="{status}"}}[$__range]))'

    failures = or_none(f'sum by (type) (increase({_TASKS}{{{_HARBOR},status="fail"}}[$__rate_interval]))', "type", f"{_TASKS}{{{_HARBOR}}}")
    return [
        c.row("Job service"),
        c.timeseries(
            "Jobs waiting", "Jobs that wait for a worker, by type.", "short", {"{{type}}": f"max by (type) (harbor_task_queue_size{{{_HARBOR}}})"}, width=8
        ),
        c.timeseries(
            "Oldest waiting job",
            "How long the job that is next has been waiting, by type.",
            "s",
            {"{{type}}": f"max by (type) (harbor_task_queue_latency{{{_HARBOR}}})"},
            width=8,
        ),
        c.timeseries(
            "Workers",
            "Jobs that run at the same time, by type.",
            "short",
            {"{{type}}": f"sum by (type) (max by (type, pool) (harbor_task_concurrency{{{_HARBOR}}}))"},
            stacked=True,
            width=8,
        ),
        c.timeseries("Duration", "What a job takes on average, by type.", "s", {"{{type}}": mean(_TASK_TIME, _HARBOR, "type")}, overrides=SELDOM, width=8),
        c.timeseries("Failures", "Jobs that failed, by type; each try counts.", "short", {"{{type}}": failures}, overrides=SELDOM, width=8),
        c.stat("Scheduled jobs", "Jobs that are to run at a time that is set.", "short", f"max(harbor_task_scheduled_total{{{_HARBOR}}})", width=4, height=8),
        c.stat(
            "Workers of each pod",
            "How many jobs a pod of the job service runs at once.",
            "none",
            {"{{workers}}": f"max by (pod, workers) (harbor_jobservice_info{{{_HARBOR}}})"},
            text="name",
            color="none",
            width=4,
            height=8,
        ),
        c.table(
            "Jobs by type",
            "What became of jobs in the chosen time range, since each pod's start at most.",
            [
                c.label("type", "Type"),
                c.value("Succeeded", in_range("success"), "short", decimals=0),
                c.value("Failed", in_range("fail"), "short", c.bad_if_any(c.ORANGE), decimals=0),
                c.value("Stopped", in_range("stop"), "short", decimals=0),
                c.value("Mean duration", _last(mean(_TASK_TIME, _HARBOR, "type")).replace("[5m]", "[$__range]"), "s"),
            ],
            sort="Failed",
            width=24,
            height=8,
        ),
        c.row("Replication, garbage collection, scans"),
        c.text(
            "What Harbor does not tell",
            "What its metrics do not have.",
            "Harbor counts jobs by type and result only. Its metrics name no replication policy and no other registry, no freed bytes, no time of the last "
            "garbage collection, and no number of vulnerabilities: its own pages and API have them.",
        ),
        c.timeseries(
            "Replications",
            "Replication jobs that ended, by result; each artifact that is copied is one.",
            "short",
            done("REPLICATION"),
            overrides=SELDOM,
            width=8,
        ),
        c.timeseries(
            "Garbage collections",
            "Garbage collections and retention jobs that ended, by result.",
            "short",
            done("GARBAGE_COLLECTION|RETENTION"),
            overrides=SELDOM,
            width=8,
        ),
        c.timeseries(
            "Scans",
            "Scans for vulnerabilities and for software bills of materials that ended, by result.",
            "short",
            done("IMAGE_SCAN|SCAN_ALL|SBOM"),
            overrides=SELDOM,
            width=8,
        ),
    ]


def _registry() -> list[c.Panel]:
    def cache(kind: str) -> str:
        return f'sum(rate(registry_storage_cache_total{{{_HARBOR},type="{kind}"}}[$__rate_interval]))'

    return [
        c.row("Registry"),
        c.timeseries(
            "Requests",
            "Requests to the registry behind core, by what they are for.",
            "reqps",
            {"{{handler}}": per_second("registry_http_requests_total", _HARBOR, "handler")},
            stacked=True,
            width=8,
        ),
        c.timeseries(
            "Errors",
            "Requests to the registry that were answered with a status from 500 on.",
            "reqps",
            {
                "{{handler}}": or_none(
                    per_second("registry_http_requests_total", f'{_HARBOR},code=~"5.."', "handler"), "handler", f"registry_http_requests_total{{{_HARBOR}}}"
                )
            },
            width=8,
        ),
        c.timeseries(
            "Latency (mean)",
            "What a request to the registry takes on average.",
            "s",
            {"{{handler}}": mean("registry_http_request_duration_seconds", _HARBOR, "handler")},
            width=8,
        ),
        c.timeseries(
            "Storage operations",
            "What the registry asks of its storage.",
            "ops",
            {"{{driver}} {{action}}": per_second(f"{_STORAGE}_count", _HARBOR, "driver", "action")},
            stacked=True,
            width=8,
        ),
        c.timeseries(
            "Storage latency (mean)",
            "What such an operation takes on average. It does not tell which ones failed.",
            "s",
            {"{{driver}} {{action}}": mean(_STORAGE, _HARBOR, "driver", "action")},
            width=8,
        ),
        c.timeseries(
            "Cache hits",
            "Share of the questions for layers that the registry's cache answers.",
            "percentunit",
            {"hits": f"{cache('Hit')} / {cache('Request')}"},
            maximum=1,
            width=8,
        ),
    ]


def dashboards() -> Sequence[c.Dashboard]:
    clusters = c.query_variable(
        "cluster", "Cluster", 'label_values(harbor_health{cluster!="",infrastructure=""}, cluster)', description="A cluster with Harbor's exporter in it."
    )
    return [
        c.dashboard(
            "scs-harbor",
            "Harbor: health, components, projects, quotas, requests, the job service with replication, garbage collection and scans, the registry's storage.",
            variables=[clusters],
            up=("scs-services", "scs-kaas-cluster"),
            panels=[
                *_health(),
                alert_table("Alerts", "Alerts of Harbor that fire.", f'{c.RECORDED},cluster=~"$cluster",alertname=~"Harbor.+"', height=6),
                *_projects(),
                *_core(),
                *_jobs(),
                *_registry(),
            ],
        )
    ]
