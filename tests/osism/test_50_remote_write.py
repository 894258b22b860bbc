# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An infrastructure that can't be reached writes to a real Receive, which takes its name from the client certificate."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from _osism import Receive, Sidecar, receive
from osism_host.machine import MANAGER


@pytest.fixture(scope="module")
def running(sidecar: Sidecar, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Receive]:
    with receive(sidecar, tmp_path_factory.mktemp("receive")) as found:
        yield found


@pytest.fixture(scope="module")
def remote(sidecar: Sidecar, running: Receive) -> dict[str, t.Any]:
    client = sidecar.infrastructures.issue("testbed")
    return {
        "mode": "remote_write",
        "remote_write_url": running.url,
        "remote_write_certificate": client.certificate_pem.decode(),
        "remote_write_private_key": client.key_pem.decode(),
        "remote_write_ca": sidecar.inside.certificate_pem.decode(),
    }


def test_an_authority_that_has_not_signed_receive_is_refused(sidecar: Sidecar, remote: dict[str, t.Any]) -> None:
    sidecar.refused(**{**remote, "remote_write_ca": sidecar.infrastructures.certificate_pem.decode()}, says="not to be reached")


def test_a_certificate_of_another_infrastructure_is_refused(sidecar: Sidecar, remote: dict[str, t.Any]) -> None:
    other = sidecar.infrastructures.issue("other")
    changed = {"remote_write_certificate": other.certificate_pem.decode(), "remote_write_private_key": other.key_pem.decode()}
    sidecar.refused(**{**remote, **changed}, says="remote_write_certificate is other's")


def test_series_arrive_with_the_name_of_the_certificate(sidecar: Sidecar, remote: dict[str, t.Any], running: Receive, tmp_path: pathlib.Path) -> None:
    sidecar.works(**remote)
    assert sidecar.container() is None
    with running.query(tmp_path) as query:
        found = query.wait_for('up{infrastructure="testbed",job="prometheus"}')
        assert {series["infrastructure"] for series in found} == {"testbed"}
    # a Receive of the Observer keeps what a writer claims as exported_infrastructure
    assert "action: labeldrop" in sidecar.host.manager.sh("grep -A3 write_relabel_configs /etc/kolla/prometheus-server/prometheus.yml")
    assert sidecar.works(**remote).changed == 0
    key = remote["remote_write_private_key"].splitlines()[1]
    assert key not in sidecar.host.manager.sh("docker inspect prometheus_server; cat /etc/kolla/prometheus-server/prometheus.yml; ps axww -o args")


def test_it_stops_writing_when_it_is_removed(sidecar: Sidecar) -> None:
    sidecar.works(state="absent")
    assert "remote_write" not in sidecar.host.machines[MANAGER].sh("cat /etc/kolla/prometheus-server/prometheus.yml")
