# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory plugin makes hosts of; tests/integration/test_kaas_inventory.py asks a real API server."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _kaas_inventory as inventory
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._kubernetes import ApiError
from ansible_collections.scs.observer.plugins.module_utils._registry import CLUSTER_NAME


def cluster(namespace: str = "a", name: str = "prod", status: t.Any = None, **metadata: t.Any) -> dict[str, t.Any]:
    status = {"initialization": {"controlPlaneInitialized": True}} if status is None else status
    return {"metadata": {"namespace": namespace, "name": name, **metadata}, "spec": {}, "status": status}


def test_id_is_stable() -> None:
    """Another one would make every cluster a new one."""
    assert inventory.cluster_id("customer-a", "prod") == "customer-a-prod-fbb754"


def test_ids_differ_where_names_run_together() -> None:
    pairs = [("a-b", "c"), ("a", "b-c"), ("a", "b.c"), ("a", "b" * 63 + "1"), ("a", "b" * 63 + "2"), ("x" * 63, "y" * 63), ("x" * 63, "z" * 63)]
    ids = [inventory.cluster_id(*pair) for pair in pairs]
    assert len(set(ids)) == len(pairs)
    assert all(CLUSTER_NAME.fullmatch(one) for one in ids), ids
    assert ids[1].startswith("a-b-c-") and ids[2].startswith("a-b-c-")


def test_cut_does_not_leave_two_dashes() -> None:
    found = inventory.cluster_id("a" * 55, "prod")
    assert found.startswith("a" * 55 + "-") and "--" not in found


@pytest.mark.parametrize(
    ("status", "ready"),
    [
        ({}, False),
        ({"phase": "Provisioning", "infrastructureReady": True}, False),
        ({"initialization": {"infrastructureProvisioned": True}}, False),
        ({"initialization": {"controlPlaneInitialized": True}}, True),
        ({"conditions": [{"type": "ControlPlaneInitialized", "status": "False"}]}, False),
        ({"conditions": [{"type": "ControlPlaneInitialized", "status": "True"}]}, True),
        ({"conditions": [{"type": "ControlPlaneAvailable", "status": "True"}]}, True),
        ({"conditions": [{"type": "Available", "status": "Unknown"}, {"type": "RemoteConnectionProbe", "status": "True"}]}, False),
        ({"controlPlaneReady": True}, True),
        # broken later on: it is down, not gone
        (
            {
                "initialization": {"controlPlaneInitialized": True},
                "controlPlaneReady": False,
                "conditions": [{"type": "ControlPlaneAvailable", "status": "False"}],
            },
            True,
        ),
    ],
)
def test_ready(status: t.Any, ready: bool) -> None:
    assert inventory.is_ready(cluster(status=status)) is ready
    assert [host.name for host in inventory.from_cluster_api([cluster(status=status)], labels={})] == ["a-prod-a946a4"] * ready


def test_deleted_is_no_host() -> None:
    assert inventory.from_cluster_api([cluster(deletionTimestamp="2026-01-01T00:00:00Z")], labels={}) == []


def test_no_endpoint_is_no_api_url() -> None:
    (host,) = inventory.from_cluster_api([cluster()], labels={"x": "tier", "y": "region"})
    assert host.entry == {"name": "a-prod-a946a4", "labels": {"name": "prod"}}


def test_same_id_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "cluster_id", lambda namespace, name: "same")
    with pytest.raises(ObserverError, match="a/one and a/two get the same id, same"):
        inventory.from_cluster_api([cluster(name="one"), cluster(name="two")], labels={})


class Server:
    server = "https://management.example.com"

    def __init__(self, *versions: str) -> None:
        self.versions = versions

    def request(self, _method: str, _path: str) -> t.Any:
        if not self.versions:
            raise ApiError("404", status=404)
        return {"versions": [{"version": version} for version in self.versions]}

    def resolve(self, api_version: str, kind: str) -> t.Any:
        return (api_version, kind)


@pytest.mark.parametrize(("served", "chosen"), [(["v1beta1"], "v1beta1"), (["v1beta1", "v1beta2"], "v1beta2"), (["v1", "v1beta2"], "v1beta2")])
def test_version_that_is_served(served: list[str], chosen: str) -> None:
    assert inventory.find_resource(t.cast("t.Any", Server(*served))) == (f"cluster.x-k8s.io/{chosen}", "Cluster")


@pytest.mark.parametrize(("served", "message"), [([], "no management cluster"), (["v1alpha4"], "serves cluster.x-k8s.io as v1alpha4")])
def test_no_version_is_an_error(served: list[str], message: str) -> None:
    with pytest.raises(ApiError, match=message) as caught:
        inventory.find_resource(t.cast("t.Any", Server(*served)))
    assert caught.value.status == 404
