# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""promql_info with a real Prometheus, by URL and through a real API server, and with a real Thanos whose answer is partial."""

from __future__ import annotations

import pathlib
import subprocess
import time
import urllib.request

import pytest
from _observer import free_port, own_address
from _programs import find_program
from ansible_collections.scs.observer.plugins.module_utils import _kubernetes
from ansible_collections.scs.observer.plugins.module_utils._promql import Expectation, NotMet, QueryError, ask, parse_ranges, parse_series, parse_values
from ansible_collections.scs.observer.plugins.module_utils._promql_backends import Access, ServiceBackend, UrlBackend

CONFIG = """
global: {scrape_interval: 1s, external_labels: {observer: test, prometheus_replica: a}}
scrape_configs:
- job_name: self
  static_configs: [{targets: ['localhost:PORT']}]
"""


def started(folder, url, *command):
    log = (folder / f"{pathlib.Path(command[0]).name}-{free_port()}.log").open("wb")
    process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=2):
                return process
        except OSError:
            time.sleep(0.1)
    process.kill()
    return pytest.fail(f"{command[0]} does not start")


@pytest.fixture(name="prometheus", scope="module")
def fixture_prometheus(tmp_path_factory):
    """Listens on all addresses; gives its port."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    (folder / "prometheus.yml").write_text(CONFIG.replace("PORT", str(port)))
    process = started(folder, f"http://127.0.0.1:{port}", find_program("prometheus"), f"--web.listen-address=0.0.0.0:{port}", "--storage.tsdb.path=data")
    yield port
    process.kill()
    process.wait()


@pytest.fixture(name="service")
def fixture_service(cluster, prometheus):
    """A Service whose endpoint is the Prometheus of this machine; as a Pod's, for the API server proxies to Pods only."""
    namespace = cluster.namespace()
    base, address = f"/api/v1/namespaces/{namespace}", own_address() or pytest.skip("this machine has no address but loopback")
    pod = {"metadata": {"name": "prometheus"}, "spec": {"nodeName": "none", "containers": [{"name": "prometheus", "image": "none"}]}}
    status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}
    addresses = [{"ip": address, "targetRef": {"kind": "Pod", "name": "prometheus", "namespace": namespace}}]
    endpoints = {"metadata": {"name": "prometheus"}, "subsets": [{"addresses": addresses, "ports": [{"name": "http", "port": prometheus}]}]}
    ports = [{"name": "http", "port": 9090, "targetPort": prometheus}]
    account = {"metadata": {"name": "default"}}
    assert cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})[0] == 201
    # the controller manager makes it too, perhaps first
    assert cluster.request("POST", f"{base}/serviceaccounts", account)[0] in (201, 409)
    for path, body in (
        (f"{base}/pods", pod),
        (f"{base}/services", {"metadata": {"name": "prometheus"}, "spec": {"ports": ports}}),
        (f"{base}/services", {"metadata": {"name": "empty"}, "spec": {"ports": [{"port": 9090}]}}),
        (f"{base}/endpoints", endpoints),
        (f"{base}/endpoints", {"metadata": {"name": "empty"}}),
    ):
        assert cluster.request("POST", path, body)[0] == 201
    assert cluster.request("PATCH", f"{base}/pods/prometheus/status", status, "application/merge-patch+json")[0] == 200
    yield {"namespace": namespace, "name": "prometheus", "port": "9090"}
    cluster.request("DELETE", f"{base}/pods/prometheus?gracePeriodSeconds=0")
    cluster.request("DELETE", f"/api/v1/namespaces/{namespace}")


def test_by_url(prometheus, run_playbook):
    url = f"http://127.0.0.1:{prometheus}"
    done = run_playbook("scs.observer.promql_info", {"url": url, "query": "up", "min_series": 1, "retries": 20, "delay": 0.5})
    assert done.code == 0, done.output
    assert not done.result["changed"]
    (series,) = done.result["series"]
    assert series["labels"] == {"__name__": "up", "instance": f"localhost:{prometheus}", "job": "self"}
    assert (series["value"], type(series["timestamp"])) == ("1", float)
    assert done.result["attempts"] >= 1


def test_range_and_value(prometheus, run_playbook):
    url = f"http://127.0.0.1:{prometheus}"
    arguments = {"url": url, "query": "up", "range": "2s", "step": "1s", "value": {"equal": 1}, "retries": 20, "delay": 0.5}
    done = run_playbook("scs.observer.promql_info", arguments)
    assert done.code == 0, done.output
    (series,) = done.result["series"]
    assert [sample["value"] for sample in series["values"]] == ["1"] * len(series["values"])
    assert (series["value"], series["timestamp"]) == ("1", series["values"][-1]["timestamp"])
    done = run_playbook("scs.observer.promql_info", {"url": url, "query": "up", "value": {"min": 2, "max": 3}})
    assert "Expected at least 1 series, each value at least 2 and at most 3, found 1 of 1 with other values (up{" in done.result["msg"]
    assert done.result["series"][0]["value"] == "1"


def test_ranges_label_values_and_series_of_a_real_server(prometheus, cluster, service):
    with UrlBackend(f"http://127.0.0.1:{prometheus}", Access()) as by_url:
        ask(by_url, "up", Expectation(1), retries=20, delay=0.5)
        for backend in (by_url, through(cluster, service)):
            now = time.time()
            (found,) = parse_ranges(backend.query_range("vector(1)", start=now - 10, end=now, step=5), backend.title).series
            assert [value for _moment, value in found.samples] == ["1", "1", "1"]
            assert parse_values(backend.label_values("job", "up", start=now - 60, end=now), backend.title).values == ("self",)
            assert parse_values(backend.label_values("none"), backend.title).values == ()
            assert "instance" in parse_values(backend.label_names(), backend.title).values
            (labels,) = parse_series(backend.series('up{job="self"}'), backend.title).labels
            assert labels["__name__"] == "up"
            with pytest.raises(QueryError, match="refused the query") as caught:
                parse_ranges(backend.query_range("up[5m]", start=now - 10, end=now, step=5), backend.title)
            assert not caught.value.again


def test_lookup(prometheus, run_playbook):
    url = f"http://127.0.0.1:{prometheus}"
    asked = f"lookup('scs.observer.promql', 'vector(5)', url='{url}'"
    text = f"{{{{ {asked}, value=true) | first | float * 2 }}}} {{{{ ({asked}, range='10s', step='5s') | first)['values'] | length }}}}"
    done = run_playbook("ansible.builtin.debug", {"msg": text})
    assert done.result["msg"] == "10.0 3", done.output
    done = run_playbook("ansible.builtin.debug", {"msg": f"{{{{ lookup('scs.observer.promql', 'up{{', url='{url}', url_token='a-secret') }}}}"})
    assert done.result["failed"]
    assert "1:4: parse error" in done.result["msg"]
    assert "a-secret" not in done.result["msg"]


def test_through_the_api_server(cluster, service, run_playbook):
    arguments = {"kubeconfig": cluster.kubeconfig, "service": service, "query": 'up{job=~"self|a&b"}', "min_series": 1, "retries": 20, "delay": 0.5}
    done = run_playbook("scs.observer.promql_info", arguments, "--check")
    assert done.code == 0, done.output
    assert done.result["series"][0]["labels"]["job"] == "self"


def test_failure_is_one_message(prometheus, run_playbook):
    url = f"http://127.0.0.1:{prometheus}"
    done = run_playbook("scs.observer.promql_info", {"url": url, "query": 'up{job="none"}', "min_series": 2, "retries": 2, "delay": 0.5})
    assert done.result["failed"]
    assert "Expected at least 2 series, found none, after " in done.result["msg"]
    assert f's and 3 attempts, from {url}. The query was up{{job="none"}}' in done.result["msg"]
    assert (done.result["attempts"], done.result["series"]) == (3, [])
    assert done.result["elapsed"] >= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": "up"}, "one of the following is required: url, service"),
        ({"query": "up", "service": {}, "url_token": "a-token"}, "missing parameter(s) required by 'url_token': url"),
        ({"query": "up", "url": "http://127.0.0.1:1", "timeout": 0}, "timeout is 0"),
        ({"query": "up", "url": "http://127.0.0.1:1", "step": "1m"}, "needs start or range"),
        ({"query": "up", "url": "http://127.0.0.1:1", "value": {}}, "value needs min, max or both"),
    ],
)
def test_bad_options(run_playbook, arguments, message):
    done = run_playbook("scs.observer.promql_info", arguments)
    assert done.result["failed"]
    assert message in done.result["msg"]


def through(cluster, service, **changes):
    client = _kubernetes.connect({"kubeconfig": changes.pop("kubeconfig", cluster.kubeconfig)})
    return ServiceBackend(client, **(service | changes))


def test_what_the_api_server_says_is_told(cluster, service):
    assert ask(through(cluster, service, port="http"), "vector(1)", Expectation(1)).answer.series[0].value == "1"
    with pytest.raises(QueryError, match=r"refused the query: .*parse error") as caught:
        ask(through(cluster, service), "up{", Expectation())
    assert not caught.value.again
    with pytest.raises(QueryError, match='"missing" not found') as caught:
        ask(through(cluster, service, name="missing"), "up", Expectation())
    assert not caught.value.again
    with pytest.raises(NotMet, match=r"no endpoints available.* Given up after .* and 2 attempts"):
        ask(through(cluster, service, name="empty"), "up", Expectation(), retries=1, delay=0.1)
    with pytest.raises(QueryError, match="cannot get resource") as caught:
        ask(through(cluster, service, kubeconfig=cluster.user("nobody")), "up", Expectation())
    assert not caught.value.again


@pytest.mark.parametrize("length", [10, 500])
def test_long_queries(cluster, service, prometheus, length):
    """500 make 24 KB; by URL they are posted."""
    query = " or ".join(f'up{{job="self",instance!="{number}"}}' for number in range(length))
    with UrlBackend(f"http://127.0.0.1:{prometheus}", Access()) as backend:
        assert ask(backend, query, Expectation(1), retries=20, delay=0.5).answer.series
    assert ask(through(cluster, service), query, Expectation(1)).answer.series


@pytest.mark.parametrize(
    ("query", "value"), [("scalar(vector(1))", "1"), ('"text"', "text"), ("vector(0)/0", "NaN"), ("vector(1)/0", "+Inf"), ("vector(0.1)", "0.1")]
)
def test_values_of_a_real_server(prometheus, query, value):
    with UrlBackend(f"http://127.0.0.1:{prometheus}", Access()) as backend:
        assert [series.value for series in ask(backend, query, Expectation()).answer.series] == [value]


def test_partial_answer_of_thanos_is_not_taken_for_gone(prometheus, tmp_path):
    """The sidecar is killed: Thanos Query answers with a warning, or without the store at all after a while."""
    grpc, sidecar_http, http, query_grpc = free_port(), free_port(), free_port(), free_port()
    thanos = find_program("thanos")
    local = "127.0.0.1"
    flags = [f"--grpc-address={local}:{grpc}", f"--http-address={local}:{sidecar_http}", f"--prometheus.url=http://{local}:{prometheus}"]
    (tmp_path / "tsdb").mkdir()
    sidecar = started(tmp_path, f"http://{local}:{sidecar_http}", thanos, "sidecar", *flags, f"--tsdb.path={tmp_path / 'tsdb'}")
    flags = [f"--http-address={local}:{http}", f"--grpc-address={local}:{query_grpc}", f"--endpoint-strict={local}:{grpc}", "--query.replica-label=x"]
    query = started(tmp_path, f"http://{local}:{http}", thanos, "query", *flags)
    try:
        with UrlBackend(f"http://{local}:{http}", Access(), timeout=5) as backend:
            (series,) = ask(backend, 'up{job="self"}', Expectation(1), retries=30, delay=0.5).answer.series
            assert series.labels["observer"] == "test"
            assert ask(backend, 'up{job="gone"}', Expectation(max_series=0)).attempts == 1
            sidecar.kill()
            sidecar.wait()
            with pytest.raises(NotMet, match="found 0 in a partial answer"):
                ask(backend, 'up{job="self"}', Expectation(max_series=0), retries=2, delay=0.5)
    finally:
        for process in (sidecar, query):
            process.kill()
            process.wait()
