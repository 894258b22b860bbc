# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The workloads of a cluster: how many pods each ought to have and has, and what they use."""

from __future__ import annotations

from ._kaas import CALM, NAMESPACE, NO_YES, YES_NO, namespace_variable, not_ended, over, top, top_graph
from .common import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    Dashboard,
    bad_if_any,
    cluster_variable,
    dashboard,
    high_is_bad,
    label,
    link,
    low_is_bad,
    mapping,
    override,
    row,
    source,
    stat,
    table,
    textbox_variable,
    thresholds,
    timeseries,
    value,
)

POD = "cluster, namespace, pod"
WORKLOAD = "cluster, namespace, kind, workload"
# Kind -> the label with the name, the metrics of how many pods are wanted and ready.
KINDS = {
    "Deployment": ("deployment", "kube_deployment_spec_replicas", "kube_deployment_status_replicas_ready"),
    "StatefulSet": ("statefulset", "kube_statefulset_replicas", "kube_statefulset_status_replicas_ready"),
    "DaemonSet": ("daemonset", "kube_daemonset_status_desired_number_scheduled", "kube_daemonset_status_number_ready"),
}
HEALTH = low_is_bad(0.9, 1)
SHARE = thresholds(RED, (0.5, ORANGE), (1, GREEN))
SUSPENDED = mapping({0: ("no", GREEN), 1: ("suspended", ORANGE)})
HAPPENED = mapping({0: ("", GREY)})


def selector(name: str, **more: str) -> str:
    """The series of workloads whose name, in the label C(name), is chosen."""
    return "{" + ",".join([NAMESPACE, f'{name}=~"$workload"', *(f'{key}="{text}"' for key, text in more.items())]) + "}"


def pods_link(column: str):
    return link("scs-kaas-pods", "Its pods", cluster="$cluster", namespace="${__data.fields.Namespace}", pod=f"${{__data.fields.{column}}}-.*")


def owners(at: str = "") -> str:
    """For each pod the workload that it belongs to: what made it, or what made that (a Deployment its ReplicaSets, a CronJob its Jobs)."""

    def named(metric: str) -> str:
        kind = f'label_replace({metric}{{{NAMESPACE},owner_kind=~".+",owner_name=~"$workload"}}{at}, "kind", "$1", "owner_kind", "(.+)")'
        return f'label_replace({kind}, "workload", "$1", "owner_name", "(.+)")'

    def through(kind: str, name: str, metric: str) -> str:
        first = f'label_replace(kube_pod_owner{{{NAMESPACE},owner_kind="{kind}"}}{at}, "{name}", "$1", "owner_name", "(.+)")'
        second = named(metric)
        return f"{first} * on (cluster, namespace, {name}) group_left (kind, workload) max by (cluster, namespace, {name}, kind, workload) ({second})"

    return f"""
    max by ({POD}, kind, workload) (
      {through("ReplicaSet", "replicaset", "kube_replicaset_owner")}
      or on ({POD}) {through("Job", "job_name", "kube_job_owner")}
      or on ({POD}) {named("kube_pod_owner")}
    )
    """


def by_workload(of_pods: str, at: str = "") -> str:
    """Sums of values by pod, for each workload."""
    return f"sum by ({WORKLOAD}) ({of_pods} * on ({POD}) group_left (kind, workload) {owners(at)})"


def cpu(window: str, at: str = "") -> str:
    return by_workload(f'sum by ({POD}) (rate(container_cpu_usage_seconds_total{{{NAMESPACE},container!=""}}[{window}]{at}))', at)


def memory(window: str = "", at: str = "") -> str:
    metric = f'container_memory_working_set_bytes{{{NAMESPACE},container!=""}}'
    return by_workload(f"sum by ({POD}) ({over(metric, window, at)})", at)


def requested(resource: str) -> str:
    return by_workload(f'sum by ({POD}) (kube_pod_container_resource_requests{{{NAMESPACE},resource="{resource}"}} {not_ended()})')


def missing() -> str:
    """Pods that are wanted and not ready, by workload of any kind."""
    parts = []
    for kind, (name, wanted, ready) in KINDS.items():
        by = f"cluster, namespace, {name}"
        difference = f"sum by ({by}) ({wanted}{selector(name)}) - sum by ({by}) ({ready}{selector(name)})"
        parts.append(f'label_replace(label_replace({difference}, "workload", "$1", "{name}", "(.+)"), "kind", "{kind}", "", "")')
    return f"sum by ({WORKLOAD}) ({' or '.join(parts)})"


def most_missing(window: str, at: str) -> str:
    return f"max_over_time(({missing()})[{window}:]{at})" if at else missing()


def health(kind: str) -> str:
    name, wanted, ready = KINDS[kind]
    return f"sum({ready}{selector(name)}) / (sum({wanted}{selector(name)}) > 0)"


def _health_stat(kind: str, plural: str):
    return stat(
        plural,
        f"How many of the pods that {plural[0].lower() + plural[1:]} want are ready.",
        "percentunit",
        health(kind),
        width=3,
        limits=HEALTH,
        decimals=1,
        no_value="none",
    )


def _replicas(kind: str, title: str, more: list, description: str, height: int = 8):
    """A table of one kind of workload: what is wanted, and what is there."""
    name, wanted, ready = KINDS[kind]
    by = f"cluster, namespace, {name}"
    return table(
        title,
        description,
        [
            label("namespace", "Namespace"),
            label(name, kind, links=[pods_link(kind)]),
            value("Wanted", f"sum by ({by}) ({wanted}{selector(name)})", "none", width=100),
            value("Ready", f"sum by ({by}) ({ready}{selector(name)})", "none", width=100),
            value(
                "Health",
                f"sum by ({by}) ({ready}{selector(name)}) / (sum by ({by}) ({wanted}{selector(name)}) > 0)",
                "percentunit",
                SHARE,
                decimals=0,
                width=100,
            ),
            *[value(column, f"sum by ({by}) ({metric}{selector(name)})", "none", limits, width=120) for column, metric, limits in more],
            value("Age", f"time() - max by ({by}) (kube_{name}_created{selector(name)})", "s", width=120),
        ],
        sort="Health",
        descending=False,
        height=height,
    )


def dashboards() -> list[Dashboard]:
    job = "cluster, namespace, job_name"
    cronjob = "cluster, namespace, cronjob"
    autoscaler = "cluster, namespace, horizontalpodautoscaler"
    budget = "cluster, namespace, poddisruptionbudget"
    jobs, cronjobs, autoscalers, budgets = (selector(name) for name in ("job_name", "cronjob", "horizontalpodautoscaler", "poddisruptionbudget"))
    ended = selector("job_name", condition="true")
    active = selector("horizontalpodautoscaler", condition="ScalingActive", status="true")
    at_limit = f"""
    count(
      max by ({autoscaler}) (kube_horizontalpodautoscaler_status_desired_replicas{autoscalers})
        >= on ({autoscaler}) max by ({autoscaler}) (kube_horizontalpodautoscaler_spec_max_replicas{autoscalers})
    ) or vector(0)
    """
    return [
        dashboard(
            "scs-kaas-workloads",
            "Deployments, stateful sets, daemon sets, jobs, cron jobs, autoscalers and disruption budgets of a KaaS cluster: what they want and have.",
            up=["scs-kaas-cluster"],
            down=["scs-kaas-pods", "scs-kaas-namespaces", "scs-kaas-volumes"],
            variables=[
                cluster_variable(),
                namespace_variable(),
                textbox_variable("workload", "Workload", ".*", description="A workload's name, or a regular expression for several, such as web.*"),
            ],
            panels=[
                row("Overview"),
                _health_stat("Deployment", "Deployments"),
                _health_stat("StatefulSet", "Stateful sets"),
                _health_stat("DaemonSet", "Daemon sets"),
                stat(
                    "Incomplete",
                    "Workloads of these kinds with fewer ready pods than they want.",
                    "none",
                    f"count({missing()} > 0) or vector(0)",
                    width=3,
                    limits=bad_if_any(ORANGE),
                ),
                stat(
                    "Jobs at work",
                    "Jobs with pods that run.",
                    "none",
                    f"count(max by ({job}) (kube_job_status_active{jobs}) > 0) or vector(0)",
                    width=3,
                ),
                stat(
                    "Failed jobs",
                    "Jobs that have given up and are still listed.",
                    "none",
                    f"sum(kube_job_failed{ended}) or vector(0)",
                    width=3,
                    limits=bad_if_any(),
                ),
                stat("HPAs at limit", "Horizontal pod autoscalers that may not add more pods.", "none", at_limit, width=3, limits=bad_if_any(ORANGE)),
                stat(
                    "Stuck budgets",
                    "Disruption budgets that allow no pod to be taken away: a node with such a pod can't be emptied.",
                    "none",
                    f"count(max by ({budget}) (kube_poddisruptionbudget_status_pod_disruptions_allowed{budgets}) == 0) or vector(0)",
                    width=3,
                    limits=bad_if_any(ORANGE),
                ),
                timeseries(
                    "Health",
                    "Ready pods of those that are wanted, by kind of workload.",
                    "percentunit",
                    {kind: health(kind) for kind in KINDS},
                    maximum=1,
                    width=12,
                ),
                top_graph(
                    "Pods that are missing",
                    "Wanted, and not ready: the ten workloads that missed most in this time.",
                    "none",
                    top(most_missing, "namespace, kind, workload", "{{namespace}}/{{workload}} ({{kind}})", condition=" > 0"),
                    width=12,
                    height=8,
                ),
                row("Deployments, stateful sets, daemon sets"),
                _replicas(
                    "Deployment",
                    "Deployments",
                    [
                        ("Available", "kube_deployment_status_replicas_available", None),
                        ("Updated", "kube_deployment_status_replicas_updated", None),
                        ("Unavailable", "kube_deployment_status_replicas_unavailable", bad_if_any(ORANGE)),
                        ("Paused", "kube_deployment_spec_paused", bad_if_any(ORANGE)),
                    ],
                    "One row a Deployment. Updated: pods that are of the newest version; while it is less than wanted, a change is on its way or stuck.",
                    height=11,
                ),
                _replicas(
                    "StatefulSet",
                    "Stateful sets",
                    [
                        ("Available", "kube_statefulset_status_replicas_available", None),
                        ("Current", "kube_statefulset_status_replicas_current", None),
                        ("Updated", "kube_statefulset_status_replicas_updated", None),
                    ],
                    "One row a StatefulSet. Current: pods of the version before a change; updated: of the newest.",
                ),
                _replicas(
                    "DaemonSet",
                    "Daemon sets",
                    [
                        ("Scheduled", "kube_daemonset_status_current_number_scheduled", None),
                        ("Available", "kube_daemonset_status_number_available", None),
                        ("Updated", "kube_daemonset_status_updated_number_scheduled", None),
                        ("Misplaced", "kube_daemonset_status_number_misscheduled", bad_if_any(ORANGE)),
                    ],
                    "One row a DaemonSet. Wanted: the nodes that it fits; misplaced: pods on nodes that it does not.",
                ),
                row("Jobs"),
                table(
                    "Jobs",
                    "One row a Job that is still listed.",
                    [
                        label("namespace", "Namespace"),
                        label("job_name", "Job", links=[pods_link("Job")], width=220),
                        label("owner_name", "Made by"),
                        value("Failed", f"max by ({job}) (kube_job_failed{ended})", "none", mappings=[NO_YES], width=110),
                        value("Complete", f"max by ({job}) (kube_job_complete{ended})", "none", mappings=[YES_NO], width=110),
                        value("At work", f"max by ({job}) (kube_job_status_active{jobs})", "none", width=110),
                        value("Pods succeeded", f"max by ({job}) (kube_job_status_succeeded{jobs})", "none", width=140),
                        value("Pods failed", f"sum by ({job}) (kube_job_status_failed{jobs})", "none", bad_if_any(ORANGE), width=140),
                        value("To complete", f"max by ({job}) (kube_job_spec_completions{jobs})", "none", width=130),
                        value("Began", f"time() - max by ({job}) (kube_job_status_start_time{jobs})", "s", width=110),
                        source(f"max by ({job}, owner_name) (kube_job_owner{jobs})"),
                    ],
                    sort="Began",
                    descending=False,
                    height=8,
                ),
                table(
                    "Cron jobs",
                    "One row a CronJob. Times are how long ago it was, or until it will be.",
                    [
                        label("namespace", "Namespace"),
                        label("cronjob", "Cron job", links=[pods_link("Cron job")]),
                        label("schedule", "Schedule"),
                        label("concurrency_policy", "While one runs"),
                        value("Suspended", f"max by ({cronjob}) (kube_cronjob_spec_suspend{cronjobs})", "none", mappings=[SUSPENDED], width=110),
                        value("At work", f"max by ({cronjob}) (kube_cronjob_status_active{cronjobs})", "none", width=110),
                        value("Last begun", f"time() - max by ({cronjob}) (kube_cronjob_status_last_schedule_time{cronjobs})", "s"),
                        value("Last success", f"time() - max by ({cronjob}) (kube_cronjob_status_last_successful_time{cronjobs})", "s"),
                        value("Next", f"max by ({cronjob}) (kube_cronjob_next_schedule_time{cronjobs}) - time()", "s", low_is_bad(-120, -60)),
                        source(f"max by ({cronjob}, schedule, concurrency_policy) (kube_cronjob_info{cronjobs})"),
                    ],
                    sort="Last begun",
                    descending=False,
                    height=7,
                ),
                timeseries(
                    "Jobs over time",
                    "How many are at work, have failed and are complete, of those that are still listed.",
                    "none",
                    {
                        "at work": f"count(max by ({job}) (kube_job_status_active{jobs}) > 0) or vector(0)",
                        "failed": f"sum(kube_job_failed{ended}) or vector(0)",
                        "complete": f"sum(kube_job_complete{ended}) or vector(0)",
                    },
                    width=24,
                    height=7,
                    overrides=[override("failed", color=RED), override("complete", color=GREEN), override("at work", color=BLUE)],
                ),
                row("Autoscalers and disruption budgets"),
                table(
                    "Horizontal pod autoscalers",
                    "One row an autoscaler. It does not work when it can't get the metrics that it goes by.",
                    [
                        label("namespace", "Namespace"),
                        label("horizontalpodautoscaler", "Autoscaler"),
                        label("scaletargetref_kind", "Kind", width=110),
                        label("scaletargetref_name", "Target"),
                        value(
                            "Works",
                            f"max by ({autoscaler}) (kube_horizontalpodautoscaler_status_condition{active})",
                            "none",
                            mappings=[YES_NO],
                        ),
                        value("Least", f"max by ({autoscaler}) (kube_horizontalpodautoscaler_spec_min_replicas{autoscalers})", "none"),
                        value("Now", f"max by ({autoscaler}) (kube_horizontalpodautoscaler_status_current_replicas{autoscalers})", "none"),
                        value("Wanted", f"max by ({autoscaler}) (kube_horizontalpodautoscaler_status_desired_replicas{autoscalers})", "none"),
                        value("Most", f"max by ({autoscaler}) (kube_horizontalpodautoscaler_spec_max_replicas{autoscalers})", "none"),
                        value(
                            "Of most",
                            f"max by ({autoscaler}) (kube_horizontalpodautoscaler_status_current_replicas{autoscalers})"
                            f" / max by ({autoscaler}) (kube_horizontalpodautoscaler_spec_max_replicas{autoscalers})",
                            "percentunit",
                            high_is_bad(0.9, 1),
                            decimals=0,
                        ),
                        source(
                            f"max by ({autoscaler}, scaletargetref_kind, scaletargetref_name) (kube_horizontalpodautoscaler_info{autoscalers})",
                        ),
                    ],
                    sort="Of most",
                    width=24,
                    height=6,
                ),
                top_graph(
                    "Autoscalers",
                    "Pods that each has, the ten largest.",
                    "none",
                    top(
                        lambda window, at: f"max by ({autoscaler}) ({over(f'kube_horizontalpodautoscaler_status_current_replicas{autoscalers}', window, at)})",
                        "namespace, horizontalpodautoscaler",
                        "{{namespace}}/{{horizontalpodautoscaler}}",
                    ),
                    width=12,
                    height=7,
                ),
                table(
                    "Disruption budgets",
                    "May go: how many pods may be taken away now, for example to empty a node.",
                    [
                        label("namespace", "Namespace"),
                        label("poddisruptionbudget", "Budget"),
                        value("Pods", f"max by ({budget}) (kube_poddisruptionbudget_status_expected_pods{budgets})", "none", width=95),
                        value("Healthy", f"max by ({budget}) (kube_poddisruptionbudget_status_current_healthy{budgets})", "none", width=95),
                        value("Needed", f"max by ({budget}) (kube_poddisruptionbudget_status_desired_healthy{budgets})", "none", width=95),
                        value(
                            "May go",
                            f"max by ({budget}) (kube_poddisruptionbudget_status_pod_disruptions_allowed{budgets})",
                            "none",
                            thresholds(ORANGE, (1, GREEN)),
                            width=95,
                        ),
                    ],
                    sort="May go",
                    descending=False,
                    width=12,
                    height=7,
                ),
                row("Use"),
                table(
                    "Use by workload",
                    "One row a workload of any kind. CPU (in CPUs) is of the last minutes; pods without an owner are left out.",
                    [
                        label("namespace", "Namespace"),
                        label("workload", "Workload", links=[pods_link("Workload")], width=260),
                        label("kind", "Kind", width=110),
                        value("Pods", by_workload(f"group by ({POD}) (kube_pod_info{{{NAMESPACE}}} {not_ended()})"), "none"),
                        value("CPU", cpu(CALM), "none", decimals=3),
                        value("CPU requested", requested("cpu"), "none", decimals=3),
                        value("Memory", memory(), "bytes"),
                        value("Memory requested", requested("memory"), "bytes"),
                        value(
                            "Restarts",
                            by_workload(f"sum by ({POD}) (kube_pod_container_status_restarts_total{{{NAMESPACE}}})"),
                            "none",
                            high_is_bad(1, 10),
                        ),
                    ],
                    sort="CPU",
                ),
                top_graph("CPU", "In CPUs, the ten highest.", "none", top(cpu, "namespace, kind, workload", "{{namespace}}/{{workload}}")),
                top_graph("Memory", "The ten highest.", "bytes", top(memory, "namespace, kind, workload", "{{namespace}}/{{workload}}")),
            ],
        )
    ]
