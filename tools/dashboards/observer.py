# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Observer itself, as its own Prometheus sees it; and what each KaaS cluster costs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import common as c
from .control_plane import SMALL_SHARE, or_none, per_second, quantile, top

# What the Observer's own Prometheus scraped. receive_replica="": no Receive has it.
_OWN = 'infrastructure="",observer=~"$observer",receive_replica=""'
_FAILED = 'grpc_code=~"Unknown|ResourceExhausted|Internal|Unavailable|DataLoss"'
# The name of a rule group without the path that Thanos puts before it.
_GROUP = ("rule_group", ".*;(.+)")


def _job(job: str, *more: str) -> str:
    return ",".join((_OWN, f'job=~"{job}"', *more))


RECEIVE, QUERY, FRONTEND, STORE, COMPACT, RULER = (_job(f"thanos-{name}") for name in ("receive", "query", "query-frontend", "store", "compact", "ruler"))
PROMETHEUS, ALERTMANAGER, IMPORTER = _job("prometheus"), _job("alertmanager"), _job("kaas-metric-importer")


def _observer_variable() -> Any:
    query = f"label_values(up{{{c.OBSERVER}}}, observer)"
    return c.query_variable("observer", "Observer", query, description="Name of an Observer (observer_name).", all_value=".+")


def _short_group(expr: str) -> str:
    return f'label_replace({expr}, "group", "$1", "{_GROUP[0]}", "{_GROUP[1]}")'


def _recorded(name: str) -> str:
    return f'max({name}{{{c.RECORDED},cluster=""}})'


def dashboards() -> Sequence[c.Dashboard]:
    return [_observer(), _tenants()]


def _observer() -> c.Dashboard:
    return c.dashboard(
        "scs-observer",
        "The Observer itself: intake, queries, rules, compaction, bucket, Prometheus, Alertmanager, importer, certificates, resources.",
        variables=[_observer_variable()],
        up=("scs-kaas", "scs-services"),
        down=("scs-observer-tenants",),
        panels=[*_overview(), *_intake(), *_queries(), *_rules(), *_compaction(), *_bucket(), *_prometheus(), *_alertmanager(), *_importer(), *_resources()],
    )


def _overview() -> list[c.Panel]:
    up = f"up{{{_OWN},job!~'blackbox-.+|kaas-api'}}"
    return [
        c.row("Overview"),
        c.stat("Up", "Parts of the Observer that answer its Prometheus.", "short", f"sum({up})", width=3),
        c.stat("Down", "Parts of the Observer that do not answer.", "short", f"count({up}) - sum({up})", limits=c.bad_if_any(), width=3),
        c.stat(
            "Alerts",
            "Alerts that fire for the Observer itself, not for a cluster.",
            "short",
            f'count(ALERTS{{{c.RECORDED},alertstate="firing",cluster="",severity=~"warning|critical"}}) or vector(0)',
            limits=c.bad_if_any(c.ORANGE),
            width=3,
        ),
        c.stat(
            "Connected Receives",
            "Part of the intake that queries and rules can see. Below two thirds the alerts on silent clusters wait.",
            "percentunit",
            _recorded("observer:thanos_receive_connected:ratio"),
            limits=c.low_is_bad(0.67, 1),
            decimals=0,
            width=3,
        ),
        c.stat("Samples", "Samples a second that arrive.", "cps", f"sum(rate(thanos_receive_write_samples_sum{{{RECEIVE}}}[5m]))", decimals=0, width=3),
        c.stat(
            "Series in memory",
            "Series that all Receives hold at the moment; with replication each counts once for each copy.",
            "short",
            f"sum(prometheus_tsdb_head_series{{{RECEIVE}}})",
            decimals=0,
            width=3,
        ),
        c.stat(
            "Compactor halted",
            "A halted compactor does nothing until somebody mends the bucket and restarts it.",
            "none",
            f"max(thanos_compact_halted{{{COMPACT}}})",
            mappings=[c.mapping({0: ("no", c.GREEN), 1: ("yes", c.RED)})],
            width=3,
        ),
        c.stat("Clusters", "KaaS clusters that are registered.", "short", f"max(kaas_registry_entries{{{IMPORTER}}})", width=3),
        c.table(
            "Parts",
            "Each pod of the Observer. Memory is what the program itself uses.",
            [
                c.label("job", "Part"),
                c.label("instance", "Pod"),
                c.value(
                    "State",
                    f"max by (job, instance) ({up})",
                    "none",
                    c.thresholds("transparent"),
                    mappings=[c.mapping({1: ("up", c.GREEN), 0: ("down", c.RED)})],
                    background=True,
                    width=80,
                ),
                c.value("CPU", f"sum by (job, instance) (rate(process_cpu_seconds_total{{{_OWN}}}[5m]))", "short", decimals=3),
                c.value("Memory", f"sum by (job, instance) (process_resident_memory_bytes{{{_OWN}}})", "bytes"),
                c.value("Goroutines", f"sum by (job, instance) (go_goroutines{{{_OWN}}})", "short"),
                c.value(
                    "Open files",
                    f"max by (job, instance) (process_open_fds{{{_OWN}}} / process_max_fds{{{_OWN}}})",
                    "percentunit",
                    c.high_is_bad(0.7, 0.9),
                    decimals=1,
                ),
                c.value("Since start", f"time() - max by (job, instance) (process_start_time_seconds{{{_OWN}}})", "s", decimals=0),
            ],
            sort="Part",
            descending=False,
        ),
    ]


def _intake() -> list[c.Panel]:
    writes = _job("thanos-receive", 'handler="receive"')
    limited = per_second("thanos_receive_head_series_limited_requests_total", RECEIVE)
    return [
        c.row("Intake"),
        c.timeseries(
            "Requests by code",
            "Requests of the agents, by the answer's status. 429: over a limit; 409: out of order or a duplicate.",
            "reqps",
            {"{{code}}": per_second("http_requests_total", writes, "code")},
            stacked=True,
            width=8,
        ),
        c.timeseries(
            "Samples",
            "Samples that were taken, and those of requests that were refused, by status.",
            "cps",
            {"{{code}}": per_second("thanos_receive_write_samples_sum", RECEIVE, "code")},
            stacked=True,
            width=8,
        ),
        c.timeseries(
            "Latency",
            "How long a Receive takes to answer a write, replication included.",
            "s",
            {
                "99th percentile": quantile(0.99, "http_request_duration_seconds", writes),
                "median": quantile(0.5, "http_request_duration_seconds", writes),
            },
            width=8,
        ),
        c.timeseries(
            "Replication",
            "Copies of requests that are handed to other Receives, by result. With one Receive it hands them to itself.",
            "ops",
            {
                "replicated, {{result}}": per_second("thanos_receive_replications_total", RECEIVE, "result"),
                "forwarded, {{result}}": per_second("thanos_receive_forward_requests_total", RECEIVE, "result"),
            },
            width=8,
        ),
        c.timeseries(
            "Writes at work",
            "Requests that each Receive works at. At the limit further ones wait.",
            "short",
            {
                "{{instance}}": f"thanos_receive_write_request_concurrent_gate_write_requests_in_flight{{{RECEIVE}}}",
                "limit": f"min(thanos_receive_write_request_concurrent_gate_write_requests_max{{{RECEIVE}}})",
            },
            width=8,
        ),
        c.timeseries(
            "Refused by limits",
            "Requests of clusters with more series than they may have, and failed questions for how many they have (then nobody is limited).",
            "reqps",
            {
                "over the limit": f"{limited} or 0 * group(thanos_receive_head_series_limit{{{RECEIVE}}})",
                "failed questions": per_second("thanos_receive_metamonitoring_failed_queries_total", RECEIVE),
            },
            width=8,
        ),
        c.timeseries(
            "Series in memory",
            "Series that each Receive holds.",
            "short",
            {"{{instance}}": f"sum by (instance) (prometheus_tsdb_head_series{{{RECEIVE}}})"},
            width=8,
        ),
        c.timeseries(
            "Write-ahead log on disk",
            "What each Receive keeps on its disk to survive a restart, all clusters together.",
            "bytes",
            {"{{instance}}": f"sum by (instance) (prometheus_tsdb_wal_storage_size_bytes{{{RECEIVE}}})"},
            width=8,
        ),
        c.timeseries(
            "Samples refused by the database",
            "Out of order, too old or out of bounds: an agent with a wrong clock, or two with one certificate.",
            "cps",
            {
                "out of order": per_second("prometheus_tsdb_out_of_order_samples_total", RECEIVE),
                "out of bounds": per_second("prometheus_tsdb_out_of_bound_samples_total", RECEIVE),
                "too old": per_second("prometheus_tsdb_too_old_samples_total", RECEIVE),
            },
            width=8,
        ),
    ]


def _queries() -> list[c.Panel]:
    asked = _job("thanos-query", 'handler=~"query|query_range"')
    failed = per_second("http_requests_total", asked + ',code=~"5.."', "handler")
    return [
        c.row("Queries"),
        c.timeseries(
            "Queries",
            "Queries to Thanos Query, by kind and status. The ruler's are in them.",
            "reqps",
            {"{{handler}} {{code}}": per_second("http_requests_total", asked, "handler", "code")},
            width=8,
        ),
        c.timeseries(
            "Latency (99th percentile)",
            "How long queries take.",
            "s",
            {"{{handler}}": quantile(0.99, "http_request_duration_seconds", asked, "handler")},
            width=8,
        ),
        c.timeseries(
            "Failed queries",
            "Share of the queries that ended with a status from 500 on.",
            "percentunit",
            {"{{handler}}": f"({failed} or 0 * sum by (handler) (http_requests_total{{{asked}}})) / {per_second('http_requests_total', asked, 'handler')}"},
            overrides=SMALL_SHARE,
            width=8,
        ),
        c.timeseries(
            "Queries at work",
            "Queries that each Query works at; at the limit further ones wait.",
            "short",
            {
                "{{instance}}": f"thanos_query_concurrent_gate_queries_in_flight{{{QUERY}}}",
                "limit": f"min(thanos_query_concurrent_gate_queries_max{{{QUERY}}})",
            },
            width=8,
        ),
        c.timeseries(
            "Stores that Query sees",
            "Connections of Query to whatever has data, by kind.",
            "short",
            {"{{store_type}}": f"max by (store_type) (thanos_store_nodes_grpc_connections{{{QUERY}}})"},
            width=8,
        ),
        c.timeseries(
            "Calls between the parts that fail",
            "Calls of Query to Receives, stores, sidecars and rulers that failed, by who was asked.",
            "reqps",
            {
                "{{job}} {{grpc_code}}": or_none(
                    per_second("grpc_server_handled_total", _job("thanos-.+", _FAILED), "job", "grpc_code") + " > 0", "job", f"up{{{QUERY}}}"
                ),
            },
            width=8,
        ),
        c.timeseries(
            "Store gateway: latency (99th percentile)",
            "How long the store gateways take to answer calls for series and labels.",
            "s",
            {"{{grpc_method}}": quantile(0.99, "grpc_server_handling_seconds", STORE, "grpc_method")},
            width=8,
        ),
        c.timeseries(
            "Store gateway: index cache",
            "Share of the lookups in the index that the cache answered.",
            "percentunit",
            {
                "{{item_type}}": f"{per_second('thanos_store_index_cache_hits_total', STORE, 'item_type')} "
                f"/ {per_second('thanos_store_index_cache_requests_total', STORE, 'item_type')}"
            },
            maximum=1,
            width=8,
        ),
        c.timeseries(
            "Query frontend",
            "Queries that come by the frontend (Grafana's), and its cache's hits.",
            "reqps",
            {
                "{{op}}": per_second("thanos_query_frontend_queries_total", FRONTEND, "op"),
                "hits, {{tripperware}}": per_second("cortex_cache_hits_total", FRONTEND, "tripperware"),
            },
            width=8,
        ),
    ]


def _rules() -> list[c.Panel]:
    last = f"max by (rule_group) (prometheus_rule_group_last_duration_seconds{{{RULER}}})"
    interval = f"max by (rule_group) (prometheus_rule_group_interval_seconds{{{RULER}}})"
    return [
        c.row("Rules"),
        c.stat(
            "Behind",
            "Time since the group of rules that waits longest was evaluated.",
            "s",
            f"max(time() - prometheus_rule_group_last_evaluation_timestamp_seconds{{{RULER}}})",
            limits=c.high_is_bad(120, 600),
            decimals=0,
            height=8,
        ),
        c.timeseries(
            "Evaluations and failures",
            "Rules that are evaluated, those that fail, and those with a warning, such as a store that did not answer.",
            "ops",
            {
                "evaluations": per_second("prometheus_rule_evaluations_total", RULER),
                "failures": per_second("prometheus_rule_evaluation_failures_total", RULER),
                "warnings": per_second("thanos_rule_evaluation_with_warnings_total", RULER),
                "rounds left out": per_second("prometheus_rule_group_iterations_missed_total", RULER),
            },
            width=10,
        ),
        c.timeseries(
            "Alerts sent",
            "Alerts to Alertmanager, and those that could not be sent.",
            "ops",
            {
                "sent to {{alertmanager}}": per_second("thanos_alert_sender_alerts_sent_total", RULER, "alertmanager"),
                "dropped": f"{per_second('thanos_alert_sender_alerts_dropped_total', RULER)} + {per_second('thanos_alert_queue_alerts_dropped_total', RULER)}",
            },
            width=10,
        ),
        c.table(
            "Groups of rules",
            "The slowest first. A group that takes longer than its interval leaves rounds out.",
            [
                c.label("group", "Group"),
                c.value("Last duration", _short_group(last), "s"),
                c.value("Part of the interval", _short_group(f"{last} / {interval}"), "percentunit", c.high_is_bad(0.5, 0.9), bar=True),
                c.value("Rules", _short_group(f"max by (rule_group) (prometheus_rule_group_rules{{{RULER}}})"), "short"),
                c.value("Samples written", _short_group(f"max by (rule_group) (prometheus_rule_group_last_evaluation_samples{{{RULER}}})"), "short"),
                c.value(
                    "Failures in an hour",
                    _short_group(f"sum by (rule_group) (increase(prometheus_rule_evaluation_failures_total{{{RULER}}}[1h]))"),
                    "short",
                    c.bad_if_any(),
                    decimals=0,
                ),
                c.value(
                    "Last evaluated",
                    _short_group(f"time() - max by (rule_group) (prometheus_rule_group_last_evaluation_timestamp_seconds{{{RULER}}})"),
                    "s",
                    decimals=0,
                ),
            ],
            sort="Last duration",
        ),
    ]


def _compaction() -> list[c.Panel]:
    return [
        c.row("Compaction"),
        c.timeseries(
            "Runs",
            "Rounds of the compactor over the bucket in an hour, compactions and failures in them.",
            "short",
            {
                "rounds": f"sum(increase(thanos_compact_iterations_total{{{COMPACT}}}[1h]))",
                "compactions": f"sum(increase(thanos_compact_group_compactions_total{{{COMPACT}}}[1h]))",
                "failed compactions": f"sum(increase(thanos_compact_group_compactions_failures_total{{{COMPACT}}}[1h]))",
                "downsampled": f"sum(increase(thanos_compact_downsample_total{{{COMPACT}}}[1h]))",
                "failed downsampling": f"sum(increase(thanos_compact_downsample_failures_total{{{COMPACT}}}[1h]))",
            },
            width=8,
        ),
        c.timeseries(
            "Backlog",
            "What the compactor has still to do.",
            "short",
            {
                "compactions": f"sum(thanos_compact_todo_compactions{{{COMPACT}}})",
                "blocks to compact": f"sum(thanos_compact_todo_compaction_blocks{{{COMPACT}}})",
                "blocks to downsample": f"sum(thanos_compact_todo_downsample_blocks{{{COMPACT}}})",
                "blocks to delete": f"sum(thanos_compact_todo_deletion_blocks{{{COMPACT}}})",
            },
            width=8,
        ),
        c.timeseries(
            "Blocks marked and deleted",
            "Blocks that were marked (for deletion, or as not to be compacted) and deleted in an hour, and deletions that failed.",
            "short",
            {
                "{{marker}}": f"sum by (marker) (increase(thanos_compact_blocks_marked_total{{{COMPACT}}}[1h]))",
                "deleted": f"sum(increase(thanos_compact_blocks_cleaned_total{{{COMPACT}}}[1h]))",
                "failed deletions": f"sum(increase(thanos_compact_block_cleanup_failures_total{{{COMPACT}}}[1h]))",
            },
            width=8,
        ),
    ]


def _bucket() -> list[c.Panel]:
    every = _job("thanos-.+")
    operations = "thanos_objstore_bucket_operations_total"
    failed = per_second("thanos_objstore_bucket_operation_failures_total", every, "job", "operation")
    return [
        c.row("Bucket"),
        c.timeseries(
            "Operations",
            "What all parts ask of the bucket.",
            "ops",
            {"{{operation}}": per_second(operations, every, "operation")},
            stacked=True,
            width=8,
        ),
        c.timeseries(
            "Failed operations",
            "What the bucket refused or did not answer, by part.",
            "ops",
            {
                "{{job}} {{operation}}": f"{failed} > 0 or 0 * {per_second(operations, every, 'job')}",
            },
            width=8,
        ),
        c.timeseries(
            "Latency (99th percentile)",
            "How long the bucket takes to answer.",
            "s",
            {"{{operation}}": quantile(0.99, "thanos_objstore_bucket_operation_duration_seconds", every, "operation")},
            width=8,
        ),
        c.timeseries(
            "Blocks",
            "Blocks in the bucket that the compactor and the store gateways have loaded.",
            "short",
            {
                "compactor": f'max(thanos_blocks_meta_synced{{{COMPACT},state="loaded"}})',
                "store gateways": f"sum(thanos_bucket_store_blocks_loaded{{{STORE}}})",
                "marked for deletion": f'max(thanos_blocks_meta_synced{{{COMPACT},state="marked-for-deletion"}})',
            },
            width=8,
        ),
        c.timeseries(
            "Uploads",
            "Blocks that Receives, sidecars and rulers put into the bucket in an hour, and failures. Each makes one every two hours for each cluster.",
            "short",
            {
                "{{job}}": f"sum by (job) (increase(thanos_shipper_uploads_total{{{every}}}[1h]))",
                "{{job}} failed": f"sum by (job) (increase(thanos_shipper_dir_sync_failures_total{{{every}}}[1h]))",
            },
            width=8,
        ),
        c.stat(
            "Since the last upload",
            "Time since each part last put something into the bucket. A Receive or sidecar that is older than three hours and has none is broken.",
            "s",
            {"{{job}}": f"min by (job) (time() - (thanos_objstore_bucket_last_successful_upload_time{{{every}}} > 0))"},
            decimals=0,
            width=8,
            height=8,
            text="value_and_name",
            color="none",
        ),
        c.timeseries(
            "Traffic",
            "Bytes that are read from the bucket and written to it.",
            "Bps",
            {"{{operation}}": per_second("thanos_objstore_bucket_operation_transferred_bytes_sum", every, "operation")},
        ),
        c.timeseries(
            "Reading the list of blocks (99th percentile)",
            "How long a look over all blocks of the bucket takes. It grows with the number of blocks.",
            "s",
            {
                "{{job}}": quantile(0.99, "thanos_blocks_meta_sync_duration_seconds", every, "job"),
            },
        ),
    ]


def _prometheus() -> list[c.Panel]:
    def growth(*names: str) -> str:
        return " + ".join(per_second(f"prometheus_{name}_total", PROMETHEUS) for name in names)

    return [
        c.row("The Observer's Prometheus"),
        c.timeseries(
            "Samples",
            "Samples that it scrapes.",
            "cps",
            {"{{instance}}": per_second("prometheus_tsdb_head_samples_appended_total", PROMETHEUS, "instance")},
            width=6,
        ),
        c.timeseries("Series", "Series in its memory.", "short", {"{{instance}}": f"prometheus_tsdb_head_series{{{PROMETHEUS}}}"}, width=6),
        c.timeseries(
            "Targets",
            "Targets that it scrapes, by job.",
            "short",
            {"{{scrape_job}}": f"max by (scrape_job) (prometheus_target_scrape_pool_targets{{{PROMETHEUS}}})"},
            stacked=True,
            width=6,
        ),
        c.timeseries(
            "Problems",
            "Compactions, checkpoints and logs that failed, samples that were refused, and discovery that failed.",
            "ops",
            {
                "database": growth("tsdb_compactions_failed", "tsdb_checkpoint_creations_failed", "tsdb_wal_writes_failed"),
                "samples": growth("target_scrapes_sample_out_of_order", "target_scrapes_sample_duplicate_timestamp"),
                "discovery": growth("sd_kubernetes_failures", "sd_http_failures"),
            },
            width=6,
        ),
    ]


def _alertmanager() -> list[c.Panel]:
    # It has a series for each kind of receiver, used or not; those that are not would hide the others.
    present = f"alertmanager_receivers{{{ALERTMANAGER}}}"
    sent = or_none(f"sum by (integration) (increase(alertmanager_notifications_total{{{ALERTMANAGER}}}[1h])) > 0", "integration", present)
    failing = f"sum by (integration, reason) (increase(alertmanager_notifications_failed_total{{{ALERTMANAGER}}}[1h])) > 0"
    failed = or_none(failing, "integration", present)
    return [
        c.row("Alertmanager"),
        c.timeseries("Alerts", "Alerts that it holds, by state.", "short", {"{{state}}": f"max by (state) (alertmanager_alerts{{{ALERTMANAGER}}})"}, width=8),
        c.timeseries(
            "Notifications",
            "Notifications in the last hour, by kind of receiver.",
            "short",
            {"{{integration}}": sent},
            width=8,
        ),
        c.timeseries(
            "Failed notifications",
            "Notifications of the last hour that could not be delivered, by kind of receiver and reason.",
            "short",
            {"{{integration}} {{reason}}": failed},
            width=8,
        ),
        c.timeseries(
            "Latency of notifications (99th percentile)",
            "How long receivers take to answer.",
            "s",
            {"{{integration}}": f"{quantile(0.99, 'alertmanager_notification_latency_seconds', ALERTMANAGER, 'integration')} >= 0"},
            width=8,
        ),
        c.timeseries("Silences", "Silences by state.", "short", {"{{state}}": f"max by (state) (alertmanager_silences{{{ALERTMANAGER}}})"}, width=8),
        c.stat(
            "Members",
            "Alertmanagers that know of each other; one that runs alone counts none. And whether the last configuration could be used.",
            "short",
            {
                "members": f"max(alertmanager_cluster_members{{{ALERTMANAGER}}}) or 0 * max(alertmanager_cluster_enabled{{{ALERTMANAGER}}})",
                "configuration used": f"min(alertmanager_config_last_reload_successful{{{ALERTMANAGER}}})",
            },
            text="value_and_name",
            width=8,
            height=8,
        ),
    ]


def _importer() -> list[c.Panel]:
    return [
        c.row("Registry, probes and certificates"),
        c.stat(
            "Registry",
            "Whether the registry of KaaS clusters exists.",
            "none",
            f"max(kaas_registry_present{{{IMPORTER}}})",
            mappings=[c.mapping({1: ("there", c.GREEN), 0: ("gone", c.RED)})],
            width=4,
        ),
        c.stat(
            "Since the last look",
            "Time since the importer last read the registry.",
            "s",
            f"time() - max(kaas_registry_last_sync_timestamp_seconds{{{IMPORTER}}})",
            limits=c.high_is_bad(60, 300),
            decimals=0,
            width=4,
        ),
        c.stat(
            "Invalid entries",
            "Entries of the registry that can not be shown, or not wholly.",
            "short",
            f"max(kaas_registry_invalid_entries{{{IMPORTER}}})",
            limits=c.bad_if_any(c.ORANGE),
            width=4,
        ),
        c.stat(
            "Failed looks",
            "Attempts of the last hour to read or watch the registry that failed.",
            "short",
            f"sum(increase(kaas_registry_watch_errors_total{{{IMPORTER}}}[1h]))",
            decimals=0,
            limits=c.bad_if_any(c.ORANGE),
            width=4,
        ),
        c.stat(
            "Agents' certificates",
            "Days until the first certificate of an agent ends; a run of kaas_onboard renews it.",
            "suffix: days",
            f"(min(cluster:kaas_agent_certificate_not_after:timestamp_seconds{{{c.RECORDED}}}) - time()) / 86400",
            limits=c.low_is_bad(3, 20),
            decimals=0,
            width=4,
        ),
        c.stat(
            "API servers that answer",
            "Of the clusters with an address in the registry, those whose API server answers a probe.",
            "short",
            f"sum(max by (cluster) (probe_success{{{_OWN},job='kaas-api'}}))",
            width=4,
        ),
    ]


def _resources() -> list[c.Panel]:
    return [
        c.row("Resources"),
        c.timeseries("CPU", "CPUs that each part uses.", "short", {"{{job}}": per_second("process_cpu_seconds_total", _OWN, "job")}, stacked=True, width=8),
        c.timeseries(
            "Memory", "Resident memory of each part.", "bytes", {"{{job}}": f"sum by (job) (process_resident_memory_bytes{{{_OWN}}})"}, stacked=True, width=8
        ),
        c.timeseries(
            "Heap",
            "Memory that Go's objects take, the part that garbage collection works at.",
            "bytes",
            {"{{job}}": f"sum by (job) (go_memstats_heap_inuse_bytes{{{_OWN}}})"},
            width=8,
        ),
    ]


def _tenants() -> c.Dashboard:
    """Every query is one number a tenant, or the first few of them: 1000 tenants make 1000 rows and no more."""
    tenant = 'tenant!="",tenant!="default-tenant",tenant=~"(?i).*$search.*"'
    receive = f"{RECEIVE},{tenant}"
    copies = f"on () group_left () max(thanos_receive_replication_factor{{{RECEIVE}}})"
    series = f"sum by (tenant) (prometheus_tsdb_head_series{{{receive}}}) / {copies}"
    held = f"sum by (tenant) (avg_over_time(prometheus_tsdb_head_series{{{receive}}}[$__rate_interval])) / {copies}"
    written = "thanos_receive_write_samples"
    taken, refused = f'{receive},code=~"2.."', f'{receive},code!~"2.."'
    # A limit of the cluster's own, else the one for all.
    limit = (
        f"(max by (tenant) (thanos_receive_head_series_limit{{{receive}}}) or on (tenant) "
        f"0 * group by (tenant) (prometheus_tsdb_head_series{{{receive}}}) + on () group_left () max(thanos_receive_head_series_limit{{{RECEIVE},tenant=''}}))"
    )

    def now(expr: str) -> str:
        return expr.replace("$__rate_interval", "5m")

    def first(expr: str) -> dict[str, str]:
        return {"{{tenant}}": top(expr, "tenant", number="$top")}

    nothing = f"0 * group by (tenant) (prometheus_tsdb_head_series{{{receive}}})"
    by_samples, by_refused = per_second(f"{written}_sum", taken, "tenant"), per_second(f"{written}_sum", refused, "tenant")
    wal = (
        f"sum by (tenant) (prometheus_tsdb_wal_storage_size_bytes{{{receive}}}) + sum by (tenant) (prometheus_tsdb_head_chunks_storage_size_bytes{{{receive}}})"
    )
    cluster = c.link("scs-kaas-cluster", cluster="${__field.labels.tenant}")
    return c.dashboard(
        "scs-observer-tenants",
        "What each KaaS cluster costs the Observer: series, samples, what was refused, limits, disk. Good for 1000 clusters.",
        variables=[
            _observer_variable(),
            c.custom_variable("top", "Lines", ("10", "5", "20", "50"), description="How many clusters the graphs show: those with most."),
            c.textbox_variable("search", "Search", description="Part of a cluster's id."),
        ],
        up=("scs-observer",),
        down=("scs-kaas",),
        panels=[
            c.row("All together"),
            c.stat(
                "Tenants", "Clusters that Receives hold something of.", "short", f"count(group by (tenant) (prometheus_tsdb_head_series{{{receive}}}))", width=6
            ),
            c.stat("Series", "Series in memory, copies not counted.", "short", f"sum({series})", width=6),
            c.stat("Samples", "Samples a second that are taken.", "cps", now(f"sum({by_samples})"), decimals=0, width=6),
            c.stat(
                "Refused",
                "Share of the samples of the last five minutes that came in requests that were refused.",
                "percentunit",
                now(f"(sum({by_refused}) or vector(0)) / {per_second(f'{written}_sum', receive)}"),
                limits=c.high_is_bad(0.001, 0.05),
                decimals=2,
                width=6,
            ),
            c.row("The largest"),
            c.timeseries("Series in memory", "The clusters with most series.", "short", first(held), links=[cluster], width=8),
            c.timeseries("Samples", "The clusters that send most.", "cps", first(by_samples), links=[cluster], width=8),
            c.timeseries(
                "Part of the limit",
                "The clusters that are nearest to their limit of series. At 100 % their requests are refused (429) until there is room.",
                "percentunit",
                first(f"{held} / on (tenant) {limit}"),
                links=[cluster],
                limits=c.high_is_bad(0.8, 1),
                width=8,
            ),
            c.timeseries(
                "Refused samples",
                "The clusters whose samples were refused most, by whatever reason.",
                "cps",
                {"{{tenant}}": or_none(f"({top(by_refused, 'tenant', number='$top')}) > 0", "tenant", f"prometheus_tsdb_head_series{{{RECEIVE}}}")},
                links=[cluster],
                width=8,
            ),
            c.timeseries(
                "New series",
                "The clusters whose series change most. Pods that come and go cost as much as series.",
                "ops",
                first(per_second("prometheus_tsdb_head_series_created_total", receive, "tenant")),
                links=[cluster],
                width=8,
            ),
            c.timeseries(
                "Disk",
                "The clusters that take most of the Receives' disks: write-ahead log and chunks, copies counted.",
                "bytes",
                first(wal),
                links=[cluster],
                width=8,
            ),
            c.row("Each"),
            c.table(
                "Tenants",
                "One row for each cluster, the largest first.",
                [
                    c.label("tenant", "Cluster", links=[c.link("scs-kaas-cluster", cluster="${__data.fields.tenant}")]),
                    c.value("Series", series, "short", decimals=0),
                    c.value("Limit", limit, "short", decimals=0),
                    c.value("Part of the limit", f"{series} / on (tenant) {limit}", "percentunit", c.high_is_bad(0.8, 1), bar=True),
                    c.value("Samples", now(by_samples), "cps", decimals=1),
                    c.value("Refused", f"{now(by_refused)} or {nothing}", "cps", c.thresholds(c.GREEN, (0.01, c.ORANGE)), decimals=2),
                    c.value("Requests", now(per_second(f"{written}_count", receive, "tenant")), "reqps"),
                    c.value(
                        "Over limit (1 h)",
                        f"sum by (tenant) (increase(thanos_receive_head_series_limited_requests_total{{{receive}}}[1h]))",
                        "short",
                        c.bad_if_any(c.ORANGE),
                        decimals=0,
                    ),
                    c.value("New series", now(per_second("prometheus_tsdb_head_series_created_total", receive, "tenant")), "ops", decimals=2),
                    c.value("Disk", wal, "bytes"),
                    c.value(
                        "Failed uploads (1 d)",
                        f"sum by (tenant) (increase(thanos_shipper_dir_sync_failures_total{{{receive}}}[1d]))",
                        "short",
                        c.bad_if_any(),
                        decimals=0,
                    ),
                ],
                sort="Series",
                height=16,
            ),
        ],
    )
