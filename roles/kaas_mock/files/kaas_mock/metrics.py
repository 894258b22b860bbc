# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service's own Prometheus metrics. No label names a cluster or an owner, so they can be read without a token.

Their prefix is not kaas_, for Receive takes nothing of that name from anybody.
"""

from __future__ import annotations

import typing as t

from prometheus_client import CollectorRegistry, Gauge, Histogram, Info
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from kaas_mock import VERSION, store

BUCKETS = (1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 900)


class _Counts(Collector):
    def __init__(self, database: store.Store) -> None:
        self._database = database

    def describe(self) -> t.Iterable[GaugeMetricFamily]:
        return []

    def collect(self) -> t.Iterable[GaugeMetricFamily]:
        by_state, by_action = self._database.counts()
        clusters = GaugeMetricFamily("scs_kaas_mock_clusters", "Clusters by state.", labels=["state"])
        for state in store.CLUSTER_STATES:
            clusters.add_metric([state], by_state.get(state, 0))
        jobs = GaugeMetricFamily("scs_kaas_mock_jobs", "Remembered jobs by action and state.", labels=["action", "state"])
        for action in store.ACTIONS:
            for state in store.JOB_STATES:
                jobs.add_metric([action, state], by_action.get((action, state), 0))
        return [clusters, jobs]


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._steps = Histogram(
            "scs_kaas_mock_step_seconds", "Seconds of the steps that were done, all attempts together.", ["step"], buckets=BUCKETS, registry=self.registry
        )
        self._limit = Gauge("scs_kaas_mock_clusters_max", "How many clusters there may be.", registry=self.registry)
        Info("scs_kaas_mock_build", "Version of the service.", registry=self.registry).info({"version": VERSION})

    def observe(self, step: str, seconds: float) -> None:
        self._steps.labels(step).observe(seconds)

    def watch(self, database: store.Store, max_clusters: int) -> None:
        self.registry.register(_Counts(database))
        self._limit.set(max_clusters)
