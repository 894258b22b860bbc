# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd of a KaaS cluster."""

from __future__ import annotations

from collections.abc import Sequence

from . import common as c
from .control_plane import DETAILS, FULL, SMALL_SHARE, UP, age, health, instances, mean, or_none, per_second, quantile, resources, selector, top

JOB = "kube-etcd"
_STREAMS = selector(JOB, 'grpc_service=~"etcdserverpb.(Watch|Lease)"', 'grpc_type="bidi_stream"')
_OPEN = f"sum by (grpc_service) (grpc_server_started_total{{{_STREAMS}}}) - sum by (grpc_service) (grpc_server_handled_total{{{_STREAMS}}})"
_UNARY = selector(JOB, 'grpc_type="unary"')
_FAILED = 'grpc_code=~"Unknown|FailedPrecondition|ResourceExhausted|Internal|Unavailable|DataLoss|DeadlineExceeded"'


def dashboards() -> Sequence[c.Dashboard]:
    every = selector(JOB)
    bad = per_second("grpc_server_handled_total", f"{_UNARY},{_FAILED}", "grpc_method")
    present = f"grpc_server_handled_total{{{_UNARY}}}"
    return [
        c.dashboard(
            "scs-kaas-etcd",
            "etcd of a KaaS cluster: leader and members, size of the database, disks, proposals, peers. Empty where the agent can not reach etcd.",
            variables=[c.cluster_variable(), instances(JOB)],
            up=UP,
            lists=DETAILS,
            panels=[
                c.row("Health"),
                *health(JOB, "etcd"),
                c.stat(
                    "Members with a leader",
                    "Members that know a leader. A member without one answers nothing.",
                    "short",
                    f"sum(etcd_server_has_leader{{{every}}})",
                ),
                c.stat(
                    "Leader",
                    "The member that leads.",
                    "none",
                    {"{{instance}}": f"etcd_server_is_leader{{{every}}} == 1"},
                    text="name",
                    color="none",
                    no_value="none",
                ),
                c.stat(
                    "Version",
                    "Version of each member.",
                    "none",
                    {"{{server_version}}": f"group by (server_version) (etcd_server_version{{{every}}})"},
                    text="name",
                ),
                age(JOB),
                c.stat(
                    "Changes of the leader in an hour",
                    "Each is a moment without writes. More than one or two an hour speak of a slow disk or network.",
                    "short",
                    f"max(increase(etcd_server_leader_changes_seen_total{{{every}}}[1h]))",
                    limits=c.thresholds(c.GREEN, (2, c.ORANGE), (4, c.RED)),
                    decimals=0,
                ),
                c.row("Database"),
                c.timeseries(
                    "Size",
                    "Size of each member's database, and what of it is in use; defragmentation gives back the rest. At the quota etcd takes no writes.",
                    "bytes",
                    {
                        "{{instance}} size": f"etcd_mvcc_db_total_size_in_bytes{{{every}}}",
                        "{{instance}} in use": f"etcd_mvcc_db_total_size_in_use_in_bytes{{{every}}}",
                        "quota": f"min(etcd_server_quota_backend_bytes{{{every}}})",
                    },
                ),
                c.gauge(
                    "Part of the quota",
                    "The largest member's database, as part of what it may be.",
                    "percentunit",
                    f"max(etcd_mvcc_db_total_size_in_bytes{{{every}}} / etcd_server_quota_backend_bytes{{{every}}})",
                    limits=c.high_is_bad(0.8, 0.95),
                    minimum=0,
                    maximum=1,
                    width=5,
                    height=8,
                ),
                c.timeseries("Keys", "Keys that are stored.", "short", {"{{instance}}": f"etcd_debugging_mvcc_keys_total{{{every}}}"}, width=7),
                c.row("Disk"),
                c.timeseries(
                    "Write-ahead log (99th percentile)",
                    f"How long it takes until an entry of the log is on the disk. Above 10 ms the disk is too slow for etcd. {FULL}",
                    "s",
                    {"{{instance}}": quantile(0.99, "etcd_disk_wal_fsync_duration_seconds", every, "instance")},
                    limits=c.high_is_bad(0.01, 0.5),
                    threshold_lines=True,
                    width=8,
                ),
                c.timeseries(
                    "Commit (99th percentile)",
                    f"How long it takes to write a batch into the database. Above 25 ms the disk is too slow for etcd. {FULL}",
                    "s",
                    {"{{instance}}": quantile(0.99, "etcd_disk_backend_commit_duration_seconds", every, "instance")},
                    limits=c.high_is_bad(0.025, 0.25),
                    threshold_lines=True,
                    width=8,
                ),
                c.timeseries(
                    "Disk (mean)",
                    "The same two on average, which the profile minimal has too.",
                    "s",
                    {
                        "{{instance}} log": mean("etcd_disk_wal_fsync_duration_seconds", every, "instance"),
                        "{{instance}} commit": mean("etcd_disk_backend_commit_duration_seconds", every, "instance"),
                    },
                    width=8,
                ),
                c.row("Consensus"),
                c.timeseries(
                    "Proposals",
                    "Changes that are agreed on and applied. If the two drift apart, a member can not keep up.",
                    "ops",
                    {
                        "{{instance}} committed": per_second("etcd_server_proposals_committed_total", every, "instance"),
                        "{{instance}} applied": per_second("etcd_server_proposals_applied_total", every, "instance"),
                    },
                    width=8,
                ),
                c.timeseries(
                    "Waiting and failed proposals",
                    "Changes that wait for agreement, and those that failed: while there is no leader, or no majority.",
                    "short",
                    {
                        "{{instance}} waiting": f"etcd_server_proposals_pending{{{every}}}",
                        "{{instance}} failed a second": per_second("etcd_server_proposals_failed_total", every, "instance"),
                    },
                    width=8,
                ),
                c.timeseries(
                    "Slowness",
                    "Changes that took more than 100 ms to apply, reads that waited long for the leader, and heartbeats that could not be sent in time.",
                    "ops",
                    {
                        "{{instance}} slow applies": per_second("etcd_server_slow_apply_total", every, "instance"),
                        "{{instance}} slow reads": per_second("etcd_server_slow_read_indexes_total", every, "instance"),
                        "{{instance}} heartbeats": per_second("etcd_server_heartbeat_send_failures_total", every, "instance"),
                    },
                    width=8,
                ),
                c.timeseries(
                    "Traffic with peers",
                    "What members send to each other. One member alone has none.",
                    "Bps",
                    {
                        "{{instance}} sent": per_second("etcd_network_peer_sent_bytes_total", every, "instance"),
                        "{{instance}} received": per_second("etcd_network_peer_received_bytes_total", every, "instance"),
                    },
                    width=8,
                ),
                c.timeseries(
                    "Round trip between peers (99th percentile)",
                    f"How long a message to another member and back takes. {FULL}",
                    "s",
                    {"{{instance}} to {{To}}": quantile(0.99, "etcd_network_peer_round_trip_time_seconds", every, "instance", "To")},
                    width=8,
                ),
                c.timeseries(
                    "Traffic with clients",
                    "What the API server and etcd send to each other.",
                    "Bps",
                    {
                        "{{instance}} sent": per_second("etcd_network_client_grpc_sent_bytes_total", every, "instance"),
                        "{{instance}} received": per_second("etcd_network_client_grpc_received_bytes_total", every, "instance"),
                    },
                    width=8,
                ),
                c.row("gRPC"),
                c.timeseries(
                    "Calls",
                    f"Calls of clients, the ten most frequent methods. {FULL}",
                    "reqps",
                    {"{{grpc_method}}": top(per_second("grpc_server_handled_total", _UNARY, "grpc_method"), "grpc_method")},
                    width=8,
                ),
                c.timeseries(
                    "Failed calls",
                    f"Share of the calls that etcd could not answer. {FULL}",
                    "percentunit",
                    {"{{grpc_method}}": or_none(f"{bad} / {per_second('grpc_server_handled_total', _UNARY, 'grpc_method')} > 0", "grpc_method", present)},
                    overrides=SMALL_SHARE,
                    width=8,
                ),
                c.timeseries(
                    "Open watches and leases",
                    f"Streams of clients that are open. {FULL}",
                    "short",
                    {"{{grpc_service}}": _OPEN},
                    width=8,
                ),
                *resources(JOB),
                c.timeseries(
                    "Open files",
                    "File descriptors in use, as part of what each member may open.",
                    "percentunit",
                    {"{{instance}}": f"process_open_fds{{{every}}} / process_max_fds{{{every}}}"},
                ),
            ],
        )
    ]
