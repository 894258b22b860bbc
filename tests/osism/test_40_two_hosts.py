# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two Prometheus hosts of one infrastructure: a pair that Query tells apart by the replica label, and shows as one."""

from __future__ import annotations

import pytest
from _osism import Sidecar, wait
from osism_host.machine import MANAGER, SECOND


@pytest.fixture(scope="module", autouse=True)
def second(sidecar: Sidecar) -> None:
    sidecar.host.add(SECOND)


def test_two_sidecars_that_read_one_prometheus_are_refused(sidecar: Sidecar) -> None:
    sidecar.refused(prometheus_url=f"http://{sidecar.host.manager.address}:9091", says="read the same Prometheus|is no address of this host")


def test_what_is_wrong_on_one_host_changes_nothing_on_the_other(sidecar: Sidecar) -> None:
    unit = "kolla-prometheus_server-container.service"
    sidecar.host.machines[SECOND].sh(f"systemctl stop {unit}")
    run = sidecar.refused(says="does not run")
    assert SECOND in run.output
    sidecar.host.machines[SECOND].sh(f"systemctl start {unit}")
    sidecar.host.wait_for_prometheus(SECOND)


def test_a_pair_has_distinct_replica_labels(sidecar: Sidecar) -> None:
    sidecar.works()
    with sidecar.query() as query:
        stores = query.wait_for_stores(2)
        assert sorted(labels["prometheus_replica"] for store in stores for labels in store["labelSets"]) == sorted([MANAGER, SECOND])
        # each scrapes both, and what both know is one series
        targets = wait(
            lambda: found if len(found := query.series('up{infrastructure="testbed",job="prometheus"}')) == 2 else None, 60, "two targets are not seen"
        )
        assert "prometheus_replica" not in targets[0]
    assert sidecar.works().changed == 0


def test_a_pair_is_removed(sidecar: Sidecar) -> None:
    sidecar.works(state="absent")
    for name in (MANAGER, SECOND):
        assert "thanos_sidecar" not in sidecar.state(name)["containers"]
        assert "prometheus_replica" not in sidecar.host.machines[name].sh("cat /etc/kolla/prometheus-server/prometheus.yml")
