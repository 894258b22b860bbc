# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry against a real API server; and what the Observer makes of it, with a real importer, Prometheus, sidecar and Thanos Query."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import pathlib
import subprocess
import sys
import time
import urllib.request

import pytest
import yaml
from _observer import free_port, own_address
from _programs import find_program
from ansible_collections.scs.observer.plugins.module_utils import _kubernetes
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._registry import Registry, items_from

IMPORTER = pathlib.Path(__file__).parents[2] / "roles" / "observer" / "files" / "kaas_metric_importer.py"
LABELS = {"customer": "customer-a", "name": "Production of customer A", "region": "west", "tier": "gold"}


@pytest.fixture(name="namespace")
def fixture_namespace(cluster):
    name = cluster.namespace()
    assert cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})[0] == 201
    yield name
    cluster.request("DELETE", f"/api/v1/namespaces/{name}")


def path(namespace):
    return f"/api/v1/namespaces/{namespace}/configmaps/kaas-clusters"


def data(cluster, namespace):
    return cluster.request("GET", path(namespace))[1].get("data", {})


def upstream(cluster, namespace, **entries):
    """As the mock service of the MVP registers: bare keys by a strategic merge patch."""
    cluster.request("POST", f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "kaas-clusters"}})
    assert cluster.request("PATCH", path(namespace), {"data": entries}, "application/strategic-merge-patch+json")[0] == 200


def ensure(cluster, namespace, clusters, *, present=True, **options):
    client = _kubernetes.connect({"kubeconfig": cluster.kubeconfig})
    outcome = Registry(client, namespace).ensure(items_from(clusters, present=present), **options)
    return outcome.result(), client.requests


def test_module_registers_updates_and_unregisters(cluster, namespace, run_playbook):
    arguments = {"kubeconfig": cluster.kubeconfig, "namespace": namespace}
    clusters = [{"name": "a", "labels": {"tier": "gold"}}, {"name": "b", "role": "infrastructure", "description": "Harbor"}]

    def run(*flags, **options):
        done = run_playbook("scs.observer.kaas_clusters", arguments | options, *flags)
        assert done.code == 0, done.output
        return done

    predicted = run("--check", "--diff", clusters=clusters)
    assert predicted.result["registered"] == ["a", "b"]
    assert '"role": "infrastructure"' in predicted.output
    assert cluster.request("GET", path(namespace))[0] == 404

    first = run(clusters=clusters).result
    assert (first["changed"], first["registered"], first["requests"]) == (True, ["a", "b"], 2)
    assert data(cluster, namespace) == {
        "a": '{"labels":{"tier":"gold"},"manager":"ansible","role":"kaas"}',
        "b": '{"description":"Harbor","manager":"ansible","role":"infrastructure"}',
    }

    second = run(clusters=clusters).result
    assert (second["changed"], second["unchanged"], second["requests"]) == (False, ["a", "b"], 1)

    gone = run(clusters=[{"name": "b"}, {"name": "c"}], state="absent").result
    assert (gone["unregistered"], gone["unchanged"], gone["requests"]) == (["b"], ["c"], 2)
    assert list(data(cluster, namespace)) == ["a"]


def test_module_stores_every_field_and_takes_it_away_again(cluster, namespace, run_playbook):
    """The time unquoted, as YAML makes something else of it."""
    task = yaml.safe_load(
        """
        - name: a
          api_url: https://192.0.2.1:6443/
          maintenance: true
          agent_certificate_not_after: 2027-01-31T13:00:00+01:00
          kubeconfig_secret: {namespace: tenant, name: a-kubeconfig}
          labels: {tier: gold}
          description: d
        """
    )
    arguments = {"kubeconfig": cluster.kubeconfig, "namespace": namespace, "manager": "database"}
    done = run_playbook("scs.observer.kaas_clusters", arguments | {"clusters": task})
    assert done.result["registered"] == ["a"], done.output
    assert json.loads(data(cluster, namespace)["a"]) == {
        "role": "kaas",
        "manager": "database",
        "labels": {"tier": "gold"},
        "description": "d",
        "api_url": "https://192.0.2.1:6443",
        "maintenance": True,
        "agent_certificate_not_after": "2027-01-31T12:00:00Z",
        "kubeconfig_secret": {"namespace": "tenant", "name": "a-kubeconfig", "key": "value"},
    }
    assert not run_playbook("scs.observer.kaas_clusters", arguments | {"clusters": task}).result["changed"]
    task = [{"name": "a", "maintenance": False}]
    done = run_playbook("scs.observer.kaas_clusters", arguments | {"clusters": task, "manager": "other"}, "--diff")
    assert '-  "maintenance": true,' in done.output
    empty = {"api_url": "", "agent_certificate_not_after": "", "kubeconfig_secret": {}, "labels": {}, "description": ""}
    done = run_playbook("scs.observer.kaas_clusters", arguments | {"clusters": [{"name": "a", **empty}]})
    assert done.result["updated"] == ["a"]
    assert data(cluster, namespace) == {"a": '{"manager":"database","role":"kaas"}'}


def test_module_prunes_its_own(cluster, namespace, run_playbook):
    upstream(cluster, namespace, bare="")
    ensure(cluster, namespace, [{"name": "theirs"}], manager="kaas_mock")
    ensure(cluster, namespace, [{"name": name} for name in ("a", "b", "c", "test-1")])
    arguments = {"kubeconfig": cluster.kubeconfig, "namespace": namespace, "prune": True, "ignore": ["test-*"]}

    def run(*flags, **options):
        return run_playbook("scs.observer.kaas_clusters", arguments | options, *flags)

    before = data(cluster, namespace)
    for options, message in (
        ({"clusters": []}, "prune is set and clusters names none that stays"),
        (
            {"clusters": [{"name": "a"}], "prune_limit": "49%"},
            "2 of the 4 clusters that manager ansible registered would be pruned (b, c), more than prune_limit 49%",
        ),
        ({"clusters": [{"name": "a"}], "prune_limit": 1}, "more than prune_limit 1 allows"),
        ({"clusters": [{"name": "a"}], "state": "absent"}, "prune keeps what clusters names"),
    ):
        done = run(**options)
        assert done.result["failed"] and message in done.result["msg"]
        assert data(cluster, namespace) == before

    options = {"clusters": [{"name": "a"}, {"name": "d"}], "prune_limit": "50%"}
    predicted = run("--check", "--diff", **options).result
    assert data(cluster, namespace) == before
    done = run("--diff", **options).result
    assert (done["registered"], done["unregistered"], done["unchanged"], done["requests"]) == (["d"], ["b", "c"], ["a"], 2)
    assert [entry["before_header"] for entry in done["diff"]] == ["d", "b", "c"]
    assert predicted["diff"] == done["diff"]
    assert set(data(cluster, namespace)) == {"bare", "theirs", "a", "d", "test-1"}
    assert not run(**options).result["changed"]
    assert run(clusters=[], prune_allow_empty=True).result["unregistered"] == ["a", "d"]
    assert set(data(cluster, namespace)) == {"bare", "theirs", "test-1"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": [{"name": "good"}, {"name": "Bad"}]}, "Item 2 of clusters ('Bad'): a cluster's name is an RFC 1123 label"),
        ({"clusters": [{"name": "a"}, {"name": "a"}]}, "Items 1 and 2 of clusters have one name, a"),
        ({"clusters": [{"name": "a", "labels": {"tier": 1}}]}, "the label 'tier' is 1, which is no string"),
        ({"clusters": [{"name": "a", "labels": {"observer": "x"}}]}, "the label 'observer' is reserved"),
        ({"clusters": [{"name": "a", "api_url": "https://user:word@192.0.2.1"}]}, "api_url is 'https://...@192.0.2.1'. Give https, host and port"),
        ({"clusters": [{"name": "a", "agent_certificate_not_after": "soon"}]}, "is 'soon', which is no time of RFC 3339"),
        ({"clusters": [{"name": "a", "state": "absent"}, {"name": "a"}]}, "Items 1 and 2 of clusters have one name, a"),
        ({"clusters": [{"name": "a"}], "manager": "a b"}, "manager is 'a b'"),
        ({"clusters": [{"name": "a"}], "backup": ""}, "mutually exclusive"),
        ({}, "one of the following is required: clusters, backup"),
        ({"clusters": [{"name": "a"}], "name": "kube-root-ca.crt"}, "is no registry: none of its keys (ca.crt) is a cluster's id"),
        ({"clusters": [{"name": "a"}], "namespace": "not-there"}, "there is no namespace not-there"),
        (
            {"clusters": [{"name": "a"}], "host": "https://127.0.0.1:1", "api_key": "x", "kubeconfig": None},
            "Kubernetes API server https://127.0.0.1:1 cannot be reached",
        ),
    ],
)
def test_module_refuses_with_one_message(cluster, namespace, run_playbook, options, message):
    deadline = time.monotonic() + 20
    while cluster.request("GET", path(namespace).replace("kaas-clusters", "kube-root-ca.crt"))[0] != 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    given = {"kubeconfig": cluster.kubeconfig, "namespace": namespace} | options
    done = run_playbook("scs.observer.kaas_clusters", {key: value for key, value in given.items() if value is not None})
    assert done.result["failed"]
    assert message in done.result["msg"]
    assert cluster.request("GET", path(namespace))[0] == 404


def test_kubeconfig_without_rights_is_named(cluster, namespace):
    client = _kubernetes.connect({"kubeconfig": cluster.user("nobody")})
    with pytest.raises(ObserverError, match="nobody"):
        Registry(client, namespace).ensure(items_from([{"name": "a"}], present=True))


def test_get_and_patch_on_the_one_configmap_are_rights_enough(cluster, namespace):
    upstream(cluster, namespace, a="")
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["kaas-clusters"], "verbs": ["get", "patch"]}]
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    assert cluster.request("POST", f"{rbac}/roles", {"metadata": {"name": "registrar"}, "rules": rules})[0] == 201
    binding = {
        "metadata": {"name": "registrar"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "registrar"},
        "subjects": [{"kind": "User", "name": "registrar", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    assert cluster.request("POST", f"{rbac}/rolebindings", binding)[0] == 201
    client = _kubernetes.connect({"kubeconfig": cluster.user("registrar")})
    assert Registry(client, namespace).ensure(items_from([{"name": "b"}], present=True)).plan.names("create") == ["b"]


def test_upstream_registry_keeps_its_bare_keys(cluster, namespace):
    upstream(cluster, namespace, **{"kaas-1": "", "kaas-2": "", "Old_Key": "x"})
    result, requests = ensure(cluster, namespace, [{"name": "kaas-1"}, {"name": "kaas-2", "labels": {"tier": "gold"}}, {"name": "kaas-3"}])

    assert (result["registered"], result["updated"], result["unchanged"], requests) == (["kaas-3"], ["kaas-2"], ["kaas-1"], 2)
    upstream(cluster, namespace, **{"kaas-4": ""})
    after = data(cluster, namespace)
    assert after["kaas-1"] == after["kaas-4"] == ""
    assert after["Old_Key"] == "x"
    assert json.loads(after["kaas-2"]) == {"role": "kaas", "labels": {"tier": "gold"}}


def test_thousand_clusters_are_two_requests(cluster, namespace):
    clusters = [{"name": f"cluster-{number:04}", "labels": LABELS, "description": "Written up in the contract"} for number in range(1000)]
    before = len(cluster.audit())

    result, requests = ensure(cluster, namespace, clusters)
    assert (len(result["registered"]), requests) == (1000, 2)
    changed = [cluster | {"description": "new"} if number < 10 else cluster for number, cluster in enumerate(clusters)]
    result, requests = ensure(cluster, namespace, changed)
    assert (len(result["updated"]), len(result["unchanged"]), requests) == (10, 990, 2)
    result, requests = ensure(cluster, namespace, changed)
    assert (result["changed"], requests) == (False, 1)
    result, requests = ensure(cluster, namespace, changed, present=False)
    assert (len(result["unregistered"]), requests) == (1000, 2)

    assert data(cluster, namespace) == {}
    assert len(cluster.audit()) - before == 7


def test_conflict_with_another_writer_is_planned_anew(cluster, namespace, monkeypatch):
    upstream(cluster, namespace, a="")
    client = _kubernetes.connect({"kubeconfig": cluster.kubeconfig})
    registry = Registry(client, namespace)
    read, others = registry.read, ["other-1", "other-2"]

    def read_then_another_writes():
        snapshot = read()
        if others:
            upstream(cluster, namespace, **{others.pop(): ""})
        return snapshot

    monkeypatch.setattr(registry, "read", read_then_another_writes)
    outcome = registry.ensure(items_from([{"name": "b"}], present=True))

    assert outcome.plan.names("create") == ["b"]
    assert client.requests == 6
    assert set(data(cluster, namespace)) == {"a", "b", "other-1", "other-2"}


def test_many_writers_at_the_same_moment_lose_nothing(cluster, namespace):
    """Also the very first write, when the registry does not exist yet."""
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        done = list(pool.map(lambda number: ensure(cluster, namespace, [{"name": f"c{number}"}]), range(20)))

    assert all(result["registered"] for result, _requests in done)
    assert set(data(cluster, namespace)) == {f"c{number}" for number in range(20)}


def fits(cluster, namespace, clusters):
    try:
        ensure(cluster, namespace, clusters, check=True)
    except ObserverError:
        return False
    return True


ALL_FIELDS = {
    "labels": LABELS,
    "description": "ü" * 20,
    "api_url": "https://api.cluster.customer-a.example.com:6443",
    "maintenance": True,
    "agent_certificate_not_after": "2027-01-31T12:00:00Z",
    "kubeconfig_secret": {"namespace": "customer-a", "name": "cluster-kubeconfig"},
}


@pytest.mark.parametrize(
    ("number", "fields"),
    [(9000, {}), (6000, {"description": "d" * 100}), (1000, {"description": "d" * 1024}), (4000, ALL_FIELDS)],
    ids=["many short", "medium", "long", "all fields"],
)
def test_what_passes_our_limit_passes_the_one_of_kubernetes(cluster, namespace, number, fields):
    """The largest registry that is not refused by us is accepted by the server."""
    clusters = [{"name": f"cluster-{position:05}-{'x' * 49}", **fields} for position in range(number)]
    low, high = 0, len(clusters)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(cluster, namespace, clusters[:middle]):
            low = middle
        else:
            high = middle - 1
    assert 0 < low < len(clusters)
    result, requests = ensure(cluster, namespace, clusters[:low])
    assert (len(result["registered"]), requests) == (low, 2)
    result, _requests = ensure(cluster, namespace, clusters[:low], present=False)
    assert len(result["unregistered"]) == low


def eventually(check, seconds, what):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def ready(url):
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=2):
            return True
    except OSError:
        return False


@dataclasses.dataclass
class Observer:
    url: str
    importer: subprocess.Popen

    def expects(self):
        with urllib.request.urlopen(f"{self.url}/api/v1/query?query=kaas", timeout=5) as answer:
            return {series["metric"]["cluster"] for series in json.load(answer)["data"]["result"]}


@pytest.fixture(name="observer")
def fixture_observer(cluster, namespace, tmp_path):
    """The registry's way into Thanos Query, each program for real, and Query behind the Service thanos-query."""
    base, address = f"/api/v1/namespaces/{namespace}", own_address() or pytest.skip("this machine has no address but loopback")
    ports = {name: free_port() for name in ("importer", "prometheus", "sidecar", "sidecar_grpc", "query", "query_grpc")}
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]}]
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    subject = {"kind": "ServiceAccount", "name": "importer", "namespace": namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "importer"}
    pod = {"metadata": {"name": "thanos-query"}, "spec": {"nodeName": "none", "containers": [{"name": "thanos", "image": "none"}]}}
    target = {"kind": "Pod", "name": "thanos-query", "namespace": namespace}
    subset = {"addresses": [{"ip": address, "targetRef": target}], "ports": [{"name": "http", "port": ports["query"]}]}
    for path_, body in (
        (f"{base}/serviceaccounts", {"metadata": {"name": "default"}}),
        (f"{base}/serviceaccounts", {"metadata": {"name": "importer"}}),
        (f"{rbac}/roles", {"metadata": {"name": "importer"}, "rules": rules}),
        (f"{rbac}/rolebindings", {"metadata": {"name": "importer"}, "roleRef": reference, "subjects": [subject]}),
        (f"{base}/pods", pod),
        (f"{base}/services", {"metadata": {"name": "thanos-query"}, "spec": {"ports": [{"name": "http", "port": 9090, "targetPort": ports["query"]}]}}),
        (f"{base}/endpoints", {"metadata": {"name": "thanos-query"}, "subsets": [subset]}),
    ):
        assert cluster.request("POST", path_, body)[0] in (201, 409), path_
    status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}
    assert cluster.request("PATCH", f"{base}/pods/thanos-query/status", status, "application/merge-patch+json")[0] == 200
    token = cluster.request("POST", f"{base}/serviceaccounts/importer/token", {"spec": {"expirationSeconds": 600}})[1]["status"]["token"]
    (tmp_path / "token").write_text(token)
    (tmp_path / "ca.crt").write_text(cluster.authority.pem)
    scrape = [{"job_name": "importer", "static_configs": [{"targets": [f"127.0.0.1:{ports['importer']}"]}]}]
    config = {"global": {"scrape_interval": "1s", "external_labels": {"observer": "test", "prometheus_replica": "a"}}, "scrape_configs": scrape}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    thanos, local = find_program("thanos"), "127.0.0.1"
    api = cluster.server.rpartition(":")[2]
    commands = {
        "importer": [
            *(sys.executable, str(IMPORTER), "--namespace", namespace, "--api-host", local, "--api-port", api, "--service-account", str(tmp_path)),
            *("--listen-host", local, "--listen-port", str(ports["importer"])),
        ],
        "prometheus": [find_program("prometheus"), f"--web.listen-address={local}:{ports['prometheus']}", "--storage.tsdb.path=data"],
        "sidecar": [
            *(thanos, "sidecar", f"--grpc-address={local}:{ports['sidecar_grpc']}", f"--http-address={local}:{ports['sidecar']}"),
            *(f"--prometheus.url=http://{local}:{ports['prometheus']}", f"--tsdb.path={tmp_path / 'data'}"),
        ],
        "query": [
            *(thanos, "query", f"--grpc-address={local}:{ports['query_grpc']}", f"--http-address=0.0.0.0:{ports['query']}"),
            *(f"--endpoint-strict={local}:{ports['sidecar_grpc']}", "--query.replica-label=prometheus_replica"),
        ],
    }
    with contextlib.ExitStack() as stack:
        processes = {}
        for name, command in commands.items():
            log = stack.enter_context((tmp_path / f"{name}.log").open("wb"))
            processes[name] = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT)
            stack.callback(processes[name].wait)
            stack.callback(processes[name].kill)
            eventually(lambda name=name: ready(f"http://{local}:{ports[name]}") or name == "importer", 30, f"{name} does not start")
        upstream(cluster, namespace, old="")
        observer = Observer(f"http://{local}:{ports['query']}", processes["importer"])
        eventually(lambda: observer.expects() == {"old"}, 30, "the registry is not seen")
        # the API server learns late of the endpoints where the machine is busy
        proxy = f"{base}/services/thanos-query:9090/proxy/-/ready"
        eventually(lambda: cluster.request("GET", proxy)[0] == 200, 60, "the API server does not reach Query")
        yield observer
    cluster.request("DELETE", f"{base}/pods/thanos-query?gracePeriodSeconds=0")


def test_wait_until_the_observer_knows(cluster, namespace, observer, run_playbook):
    arguments = {"kubeconfig": cluster.kubeconfig, "namespace": namespace, "wait": True, "wait_timeout": 30}

    def run(*flags, **options):
        return run_playbook("scs.observer.kaas_clusters", arguments | options, *flags)

    thousand = [{"name": f"cluster-{number:04}", "labels": LABELS} for number in range(1000)]
    done = run(clusters=[*thousand, {"name": "old", "state": "absent"}]).result
    assert observer.expects() == {cluster["name"] for cluster in thousand}
    assert (len(done["registered"]), done["unregistered"], done["requests"]) == (1000, ["old"], 2)
    assert 0 < done["waited"] < 30

    # an earlier run was interrupted after its write
    ensure(cluster, namespace, thousand[1:], present=False)
    done = run(clusters=thousand[1:], state="absent").result
    assert (done["changed"], done["requests"]) == (False, 1)
    assert observer.expects() == {thousand[0]["name"]}

    done = run(clusters=[{"name": "new"}], prune=True).result
    assert done["unregistered"] == [thousand[0]["name"]]
    assert observer.expects() == {"new"}

    predicted = run("--check", clusters=[{"name": "other"}]).result
    assert predicted["changed"] and "waited" not in predicted


def test_wait_that_ends_in_vain(cluster, namespace, observer, run_playbook):
    arguments = {"kubeconfig": cluster.kubeconfig, "namespace": namespace, "wait": True, "wait_timeout": 3}

    def run(**options):
        return run_playbook("scs.observer.kaas_clusters", arguments | options).result

    done = run(clusters=[{"name": "a"}], wait_service="missing")
    assert done["failed"] and done["changed"]
    assert "The registry is as asked, but what the Observer makes of it can't be seen: service" in done["msg"]
    assert '"missing" not found' in done["msg"]

    observer.importer.kill()
    eventually(lambda: not observer.expects(), 30, "kaas does not end")
    done = run(clusters=[{"name": "b"}, {"name": "old", "state": "absent"}])
    assert done["failed"] and (done["registered"], done["unregistered"]) == (["b"], ["old"])
    assert f"the Observer does not yet expect b and still expects old (metric kaas in service {namespace}/thanos-query:9090)" in done["msg"]
    assert "Nothing is heard of the importer" in done["msg"]
    assert set(data(cluster, namespace)) == {"a", "b"}
