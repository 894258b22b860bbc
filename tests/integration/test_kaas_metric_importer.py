# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The importer as its own process, with a service account's token, at a real API server that goes away and comes back."""

from __future__ import annotations

import contextlib
import json
import pathlib
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest
from _programs import find_program

SOURCE = pathlib.Path(__file__).parents[2] / "roles" / "observer" / "files" / "kaas_metric_importer.py"
MERGE_PATCH = "application/merge-patch+json"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(check, seconds):
    """Seconds until the check holds."""
    begin = time.monotonic()
    while not check():
        assert time.monotonic() - begin < seconds, f"not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - begin


class Registry:
    """The namespace, its ConfigMap and the importer's service account with its least rights."""

    def __init__(self, cluster, folder):
        self.cluster, self.folder, self.namespace = cluster, folder, cluster.namespace()
        self.collection = f"/api/v1/namespaces/{self.namespace}/configmaps"
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.namespace}"
        rules = [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["kaas-clusters"], "verbs": ["list", "watch"]}]
        account = {"kind": "ServiceAccount", "name": "importer", "namespace": self.namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "importer"}
        for path, body in (
            ("/api/v1/namespaces", {"metadata": {"name": self.namespace}}),
            (f"/api/v1/namespaces/{self.namespace}/serviceaccounts", {"metadata": {"name": "importer"}}),
            (f"{rbac}/roles", {"metadata": {"name": "importer"}, "rules": rules}),
            (f"{rbac}/rolebindings", {"metadata": {"name": "importer"}, "roleRef": role, "subjects": [account]}),
        ):
            assert cluster.request("POST", path, body)[0] == 201
        (folder / "ca.crt").write_text(cluster.authority.pem)
        self.new_token()

    def new_token(self):
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/importer/token"
        status, answer = self.cluster.request("POST", path, {"spec": {"expirationSeconds": 600}})
        assert status == 201
        (self.folder / "token").write_text(answer["status"]["token"])

    def make(self, **data):
        assert self.cluster.request("POST", self.collection, {"metadata": {"name": "kaas-clusters"}, "data": data})[0] == 201

    def patch(self, **data):
        assert self.cluster.request("PATCH", f"{self.collection}/kaas-clusters", {"data": data}, MERGE_PATCH)[0] == 200

    def delete(self):
        assert self.cluster.request("DELETE", f"{self.collection}/kaas-clusters")[0] == 200


class Importer:
    def __init__(self, registry, port):
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = registry.folder / "importer.log"
        command = [sys.executable, "-I", "-S", str(SOURCE), "--namespace", registry.namespace, "--api-host", "127.0.0.1", "--api-port", str(port)]
        command += ["--service-account", str(registry.folder), "--listen-host", "127.0.0.1", "--listen-port", self.url.rpartition(":")[2]]
        self.process = subprocess.Popen(command, stdout=self.log.open("wb"), stderr=subprocess.STDOUT, env={})

    def get(self, path="/metrics"):
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def values(self):
        return dict(line.rsplit(" ", 1) for line in self.get()[1].splitlines() if line and not line.startswith("#"))

    def shows(self, *clusters):
        shown = {name.split('"')[1] for name in self.values() if name.startswith("kaas{")}
        return shown == set(clusters)


@pytest.fixture(name="registry")
def fixture_registry(cluster, tmp_path):
    return Registry(cluster, tmp_path)


@pytest.fixture(name="importer")
def fixture_importer(registry):
    with contextlib.ExitStack() as stack:

        def start(port=None):
            importer = Importer(registry, port or registry.cluster.server.rpartition(":")[2])
            stack.callback(importer.process.wait)
            stack.callback(importer.process.kill)
            until(lambda: importer.get("/-/ready")[0], 10)
            return importer

        yield start


def ready(importer):
    until(lambda: importer.get("/-/ready")[0] == 200, 10)


def test_write_is_visible_at_once(registry, importer):
    registry.make(a="", full='{"role":"infrastructure","labels":{"tier":"gold"}}', Invalid="")
    running = importer()
    ready(running)
    assert running.shows("a", "full")
    shown = running.values()
    assert shown['kaas_info{cluster="full",role="infrastructure",name="full",tier="gold"}'] == "1"
    assert (shown["kaas_registry_entries"], shown["kaas_registry_invalid_entries"]) == ("2", "1")

    lags = []
    for number in range(10):
        registry.patch(**{f"c{number}": ""})
        lags.append(until(lambda name=f"c{number}": f'kaas{{cluster="{name}"}}' in running.values(), 2))
    registry.patch(**{f"c{number}": None for number in range(10)})
    lags.append(until(lambda: running.shows("a", "full"), 2))
    print(f"write to metric: at most {max(lags):.3f} s")

    registry.patch(**{f"many-{number:04}": '{"role":"kaas","labels":{"tier":"gold"}}' for number in range(1000)})
    until(lambda: running.values()["kaas_registry_entries"] == "1002", 5)
    assert running.values()["kaas_registry_watch_errors_total"] == "0"


def test_metrics_are_what_promtool_expects(registry, importer):
    promtool = find_program("promtool")
    fields = {"api_url": "https://a.example", "maintenance": True, "agent_certificate_not_after": "2027-01-02T03:04:05Z"}
    registry.make(a="", full=json.dumps({"labels": {"tier": '"gold"\n'}} | fields))
    running = importer()
    ready(running)
    done = subprocess.run([promtool, "check", "metrics"], input=running.get()[1], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_prometheus_finds_the_api_servers(registry, importer, tmp_path):
    """A real Prometheus follows /api-targets, and keeps its targets while the importer is away."""
    registry.make(a="", b='{"api_url":"https://10.0.0.1:6443"}')
    running = importer()
    ready(running)
    url = f"http://127.0.0.1:{free_port()}"
    discovery = {"url": f"{running.url}/api-targets", "refresh_interval": "1s"}
    # as the role has it: what is asked is the blackbox exporter
    relabel = [{"target_label": "__param_target", "source_labels": ["__address__"]}, {"target_label": "__address__", "replacement": "127.0.0.1:1"}]
    job = {"job_name": "kaas-api", "scrape_interval": "1d", "http_sd_configs": [discovery], "relabel_configs": relabel}
    (tmp_path / "prometheus.yml").write_text(json.dumps({"scrape_configs": [job]}))
    command = [find_program("prometheus"), f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    command.append(f"--web.listen-address={url.removeprefix('http://')}")

    def targets():
        try:
            with urllib.request.urlopen(f"{url}/api/v1/targets?state=active", timeout=5) as answer:
                found = json.load(answer)["data"]["activeTargets"]
        except OSError:
            return None
        return {(target["discoveredLabels"]["__address__"], target["discoveredLabels"]["kaas_cluster"]) for target in found}

    first = ("https://10.0.0.1:6443/livez", "b")
    with (tmp_path / "prometheus.log").open("wb") as log:
        prometheus = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        until(lambda: targets() == {first}, 30)
        registry.patch(c='{"api_url":"https://c.example"}')
        until(lambda: targets() == {first, ("https://c.example/livez", "c")}, 15)
        registry.patch(c=None)
        until(lambda: targets() == {first}, 15)
        running.process.kill()
        running.process.wait()
        until(lambda: "Unable to refresh target groups" in (tmp_path / "prometheus.log").read_text(), 15)
        assert targets() == {first}
    finally:
        prometheus.kill()
        prometheus.wait()


def test_deleted_registry_is_not_the_end_of_all_clusters(registry, importer):
    registry.make(a="", b="")
    running = importer()
    ready(running)
    registry.delete()
    until(lambda: running.values()["kaas_registry_present"] == "0", 2)
    assert running.shows("a", "b")
    time.sleep(1)
    assert running.shows("a", "b")
    registry.make(b="", c="")
    until(lambda: running.shows("b", "c"), 2)
    assert running.values()["kaas_registry_present"] == "1"
    assert running.get("/healthz")[0] == 200


def test_registry_that_does_not_exist_yet(registry, importer):
    running = importer()
    ready(running)
    assert running.shows()
    assert running.values()["kaas_registry_present"] == "0"
    assert "kaas_registry_last_sync_timestamp_seconds" not in running.values()
    registry.make(a="")
    until(lambda: running.shows("a"), 2)


class SecondServer:
    """A further kube-apiserver on the same etcd, that may be killed."""

    def __init__(self, cluster):
        self.port = free_port()
        self.folder = cluster.folder
        (command,) = [
            (process / "cmdline").read_bytes().decode().split("\0")[:-1]
            for process in pathlib.Path("/proc").glob("[0-9]*")
            if self.link(process / "exe").name == "kube-apiserver" and self.link(process / "cwd") == self.folder
        ]
        replaced = {"--secure-port": str(self.port), "--audit-log-path": "audit-second.log"}
        flags = [flag.partition("=")[0] for flag in command]
        self.command = [f"{name}={replaced[name]}" if name in replaced else flag for name, flag in zip(flags, command, strict=True)]

    def link(self, path):
        with contextlib.suppress(OSError):
            return path.readlink()
        return pathlib.Path()

    def start(self):
        log = (self.folder / "second.log").open("ab")
        self.process = subprocess.Popen(self.command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT)

    def kill(self):
        self.process.kill()
        self.process.wait()


def test_api_server_killed_and_back(registry, importer):
    registry.make(a="", b="")
    server = SecondServer(registry.cluster)
    server.start()
    try:
        running = importer(server.port)
        until(lambda: running.get("/-/ready")[0] == 200, 60)
        assert running.shows("a", "b")
        errors = int(running.values()["kaas_registry_watch_errors_total"])

        server.kill()
        registry.patch(a=None, c="")
        until(lambda: int(running.values()["kaas_registry_watch_errors_total"]) > errors + 2, 20)
        assert running.shows("a", "b")
        assert running.get("/healthz")[0] == running.get("/-/ready")[0] == 200

        (registry.folder / "token").write_text("rotated away")
        server.start()
        until(lambda: "401: Unauthorized" in running.log.read_text(), 60)
        assert running.shows("a", "b")

        registry.new_token()
        print(f"after the new token: {until(lambda: running.shows('b', 'c'), 11):.1f} s")
        registry.patch(d="")
        until(lambda: running.shows("b", "c", "d"), 2)
        assert "the registry can be read again" in running.log.read_text()
    finally:
        server.kill()


class FreezingProxy:
    """Forwards bytes; when told to, keeps its connections open and forwards nothing more on them."""

    def __init__(self, port):
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections: list[list[socket.socket]] = []
        self.frozen: set[int] = set()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _address = self.listener.accept()
                pair = [near, socket.create_connection(("127.0.0.1", self.target))]
                self.connections.append(pair)
                for source, sink in (pair, pair[::-1]):
                    threading.Thread(target=self.forward, args=(len(self.connections) - 1, source, sink), daemon=True).start()

    def forward(self, number, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if number not in self.frozen:
                    sink.sendall(data)
            if number not in self.frozen:
                sink.shutdown(socket.SHUT_WR)

    def freeze(self):
        self.frozen.update(range(len(self.connections)))

    def close(self):
        self.listener.close()
        for pair in self.connections:
            for end in pair:
                end.close()


def test_connection_that_dies_silently_is_noticed_within_30_seconds(registry, importer):
    registry.make(a="")
    proxy = FreezingProxy(int(registry.cluster.server.rpartition(":")[2]))
    try:
        running = importer(proxy.port)
        ready(running)
        time.sleep(1)
        proxy.freeze()
        registry.patch(b="")
        print(f"silent death noticed after {until(lambda: running.shows('a', 'b'), 30):.1f} s")
        assert running.values()["kaas_registry_watch_errors_total"] == "1"
    finally:
        proxy.close()


def test_server_of_another_authority_is_not_believed(registry, importer):
    registry.make(a="")
    (registry.folder / "ca.crt").write_text(type(registry.cluster.authority)().pem)
    running = importer()
    until(lambda: "certificate verify failed" in running.log.read_text(), 10)
    assert [running.get(path)[0] for path in ("/metrics", "/healthz", "/-/ready")] == [503, 503, 503]


def test_missing_rights_are_named(registry, importer):
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{registry.namespace}/rolebindings/importer"
    assert registry.cluster.request("DELETE", rbac)[0] == 200
    running = importer()
    until(lambda: "403: configmaps" in running.log.read_text(), 10)
    assert running.get()[0] == 503
    assert running.log.read_text().count("403") == 1


def test_sigterm_ends_it_at_once(registry, importer):
    registry.make(a="")
    running = importer()
    ready(running)
    running.process.terminate()
    assert running.process.wait(2) == 0
    assert "stopping" in running.log.read_text()
