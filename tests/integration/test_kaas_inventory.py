# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin by the real ansible-inventory, against a real API server with Cluster API's own CRD."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time
import typing as t

import _cluster_api
import pytest
import yaml

CLUSTERS = "/apis/cluster.x-k8s.io/{version}/namespaces/{namespace}/clusters"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def plain(value: t.Any) -> t.Any:
    """Without ansible-inventory's marks for what is no template."""
    if isinstance(value, dict):
        return value["__ansible_unsafe"] if set(value) == {"__ansible_unsafe"} else {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


class Found:
    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code = done.returncode
        self.output = done.stdout + done.stderr
        self.warnings = done.stderr
        self.data = json.loads(done.stdout) if done.stdout.startswith("{") else {}

    @property
    def hosts(self) -> list[str]:
        return sorted(self.group("kaas"))

    def group(self, name: str) -> list[str]:
        return self.data.get(name, {}).get("hosts", [])

    def of(self, host: str) -> dict[str, t.Any]:
        return plain(self.data["_meta"]["hostvars"][host])


@pytest.fixture(name="inventory")
def fixture_inventory(cluster: t.Any, tmp_path: pathlib.Path) -> t.Callable[..., Found]:
    def run(name: str = "test.kaas.yml", **options: t.Any) -> Found:
        given = {"plugin": "scs.observer.kaas", "kubeconfig": cluster.kubeconfig, **options}
        (tmp_path / name).write_text(yaml.safe_dump({key: value for key, value in given.items() if value is not None}))
        program = pathlib.Path(sys.executable).with_name("ansible-inventory")
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_INVENTORY_UNPARSED_FAILED": "1"}
        command = [str(program), "-i", str(tmp_path / name), "--list"]
        return Found(subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=120, check=False))

    return run


@pytest.fixture(name="namespaces")
def fixture_namespaces(cluster: t.Any) -> t.Iterator[list[str]]:
    names = [cluster.namespace(), cluster.namespace()]
    for name in names:
        assert cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})[0] == 201
    yield names
    for name in names:
        cluster.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture(name="version", params=["v1beta2", "v1beta1"])
def fixture_version(request: pytest.FixtureRequest, cluster: t.Any) -> t.Iterator[str]:
    """The version whose CRD is there; each alone, for a conversion would need Cluster API's webhook."""
    version = request.param
    assert cluster.request("POST", CRD, _cluster_api.crd(version))[0] == 201
    wait_for(lambda: cluster.request("GET", f"/apis/cluster.x-k8s.io/{version}/clusters")[0] == 200)
    yield version
    for item in cluster.request("GET", f"/apis/cluster.x-k8s.io/{version}/clusters")[1]["items"]:
        path = CLUSTERS.format(version=version, namespace=item["metadata"]["namespace"]) + f"/{item['metadata']['name']}"
        cluster.request("PATCH", path, {"metadata": {"finalizers": None}}, "application/merge-patch+json")
    cluster.request("DELETE", f"{CRD}/clusters.cluster.x-k8s.io")
    wait_for(lambda: cluster.request("GET", "/apis/cluster.x-k8s.io")[0] == 404)


def wait_for(true: t.Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture(name="make")
def fixture_make(cluster: t.Any, version: str) -> t.Callable[..., None]:
    def make(namespace: str, name: str, *, ready: bool = True, **options: t.Any) -> None:
        path = CLUSTERS.format(version=version, namespace=namespace)
        status, answer = cluster.request("POST", path, _cluster_api.cluster(namespace, name, version, **options))
        assert status == 201, answer["message"]
        if ready:
            body = {"status": _cluster_api.ready(version)}
            status, answer = cluster.request("PATCH", f"{path}/{name}/status", body, "application/merge-patch+json")
            assert status == 200, answer["message"]

    return make


def test_clusters_of_cluster_api(cluster: t.Any, version: str, namespaces: list[str], make: t.Callable[..., None], inventory: t.Callable[..., Found]) -> None:
    one, two = namespaces
    make(one, "prod", labels={"example.com/tier": "gold"}, host="2001:db8::7")
    make(two, "prod", labels={"example.com/tier": "silver"})
    make(two, "begun", ready=False)
    make(two, "going", finalizers=["cluster.cluster.x-k8s.io"])
    cluster.request("DELETE", CLUSTERS.format(version=version, namespace=two) + "/going")

    options = {"source": "cluster_api", "labels": {"example.com/tier": "tier"}, "keyed_groups": [{"prefix": "tier", "key": "kaas_cluster.labels.tier"}]}
    options |= {"groups": {"of_two": f"kaas_cluster_api.namespace == '{two}'"}, "compose": {"kaas_agent_profile": "'full' if 'of' else ''"}, "strict": True}
    found = inventory(**options)

    first, second = (f"{namespace}-prod-{digest(f'{namespace}/prod')}" for namespace in namespaces)
    assert found.code == 0, found.output
    assert found.hosts == sorted([first, second])
    expected = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "kaas_agent_cluster": first,
        "kaas_agent_kubeconfig_secret": {"namespace": one, "name": "prod-kubeconfig", "key": "value"},
        "kaas_agent_management_context": "",
        "kaas_agent_management_kubeconfig": cluster.kubeconfig,
        "kaas_agent_profile": "full",
        "kaas_cluster": {"name": first, "labels": {"name": "prod", "tier": "gold"}, "api_url": "https://[2001:db8::7]:6443"},
        "kaas_cluster_api": {"namespace": one, "name": "prod", "labels": {"example.com/tier": "gold"}, "phase": "Provisioned"},
        "kaas_onboard_manager": "cluster_api",
    }
    assert found.of(first) == expected
    assert (found.group("tier_gold"), found.group("tier_silver"), found.group("of_two")) == ([first], [second], [second])
    assert inventory(**options, namespaces=[one]).hosts == [first]
    assert inventory(**options, label_selector="example.com/tier=silver").hosts == [second]
    kubeconfig = yaml.safe_load(pathlib.Path(cluster.kubeconfig).read_text())
    given_whole = inventory(source="cluster_api", kubeconfig=kubeconfig)
    assert given_whole.hosts == found.hosts
    assert "kaas_agent_management_kubeconfig" not in given_whole.of(first)
    assert "client-certificate" not in given_whole.output, "a kubeconfig in hostvars"


def test_registered_clusters(cluster: t.Any, namespaces: list[str], inventory: t.Callable[..., Found]) -> None:
    namespace = namespaces[0]
    secret = {"namespace": "clusters", "name": "a", "key": "value"}
    entry = {"role": "infrastructure", "labels": {"tier": "gold"}, "description": "{{ lookup('pipe', 'id') }}", "api_url": "https://192.0.2.1"}
    data = {"a": json.dumps({**entry, "kubeconfig_secret": secret, "manager": "x", "new": 1}), "b": "", "Old_Key": "", "c": "not JSON"}
    assert cluster.request("POST", f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "kaas-clusters"}, "data": data})[0] == 201
    found = inventory(registry_namespace=namespace)
    assert found.hosts == ["a", "b", "c"]
    assert found.of("a")["kaas_cluster"] == {"name": "a", **entry, "kubeconfig_secret": secret}
    assert found.of("a")["kaas_agent_kubeconfig_secret"] == secret
    assert found.of("b")["kaas_cluster"] == {"name": "b"} and "kaas_agent_kubeconfig_secret" not in found.of("b")
    assert "Old_Key" in found.warnings
    # what somebody wrote into the registry is text, not a template
    assert found.data["_meta"]["hostvars"]["a"]["kaas_cluster"]["description"] == {"__ansible_unsafe": entry["description"]}


def test_registry_that_is_not_there_yet(namespaces: list[str], inventory: t.Callable[..., Found]) -> None:
    found = inventory(registry_namespace=namespaces[0])
    assert (found.code, found.hosts) == (0, [])
    assert f"no registry {namespaces[0]}/kaas-clusters yet" in found.warnings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "cluster_api"}, "it is no management cluster of Cluster API"),
        ({"kubeconfig": "/not/there"}, "Kubernetes connection cannot be set up from kubeconfig /not/there"),
        ({"kubeconfig": None, "host": "https://127.0.0.1:1", "api_key": "x"}, "Kubernetes API server https://127.0.0.1:1 cannot be reached"),
        ({"source": "nova"}, "nova"),
        ({"source": "cluster_api", "labels": {"x": "cluster"}}, "'x' is to become the label 'cluster', which is reserved"),
    ],
)
def test_wrong_options(inventory: t.Callable[..., Found], options: dict[str, t.Any], message: str) -> None:
    found = inventory(**options)
    assert found.code != 0
    assert message in " ".join(found.output.split())
    assert "Traceback" not in found.output


def test_right_is_named(cluster: t.Any, version: str, inventory: t.Callable[..., Found]) -> None:
    found = inventory(source="cluster_api", kubeconfig=cluster.user("nobody"))
    assert found.code != 0
    assert 'User "nobody" cannot list resource "clusters"' in " ".join(found.output.split())


def test_only_files_of_this_name_are_taken(inventory: t.Callable[..., Found]) -> None:
    found = inventory("clusters.yml")
    assert found.code != 0
    assert "could not be verified by inventory plugin 'scs.observer.kaas'" in " ".join(found.output.split())
