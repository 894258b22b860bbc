# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Observer's programs as processes of this machine, without TLS: Receives, Query, rulers with the role's rules, Prometheus, importer.

For what has to be seen with real ones and needs no Kubernetes around them. Query listens on an address that is not loopback, for an API server proxies to
no other; everything else on loopback.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import pathlib
import socket
import subprocess
import sys
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request

import cramjam
from _programs import find_program
from _remote_write import write_message

TOP = pathlib.Path(__file__).parents[1]
RULES = TOP / "roles" / "observer" / "files" / "rules"
IMPORTER = TOP / "roles" / "observer" / "files" / "kaas_metric_importer.py"
LOCAL = "127.0.0.1"
START_SECONDS = 180
BLACKBOX = "modules: {kaas_api: {prober: http, timeout: 2s, http: {valid_status_codes: [200, 401, 403], tls_config: {insecure_skip_verify: true}}}}"


def free_port(address: str = LOCAL) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def own_address() -> str | None:
    """An address of this machine that is not loopback; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return probe.getsockname()[0]


@dataclasses.dataclass
class Running:
    name: str
    process: subprocess.Popen[bytes]
    log: pathlib.Path

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float) -> None:
        self.process.terminate()
        self.process.wait(seconds)


class Observer:
    """Killed at the end, never stopped: a Receive that stops takes 512 MiB of disk for each tenant."""

    def __init__(self, folder: pathlib.Path, *, interval: str = "1s", lookback: str = "5m", name: str = "test") -> None:
        self.folder, self.interval, self.lookback, self.name = folder, interval, lookback, name
        self.running: dict[str, Running] = {}
        self.stores: list[str] = []
        self.receives: dict[str, tuple[str, str]] = {}
        self.query_address, self.query_port = "", 0

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, *error: object) -> None:
        for running in self.running.values():
            running.kill()

    def start(self, name: str, ready: str, *command: str, environment: dict[str, str] | None = None) -> Running:
        log = self.folder / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(command, cwd=self.folder, stdout=out, stderr=subprocess.STDOUT, env=environment)
        self.running[name] = Running(name, process, log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            try:
                with urllib.request.urlopen(ready, timeout=5):
                    return self.running[name]
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"{name} does not start: {log.read_text()[-3000:]}")

    def _thanos(self, name: str, kind: str, *flags: str, grpc: str = "") -> tuple[str, str]:
        """Addresses of gRPC and HTTP."""
        grpc, http_address = grpc or f"{LOCAL}:{free_port()}", f"{LOCAL}:{free_port()}"
        common = [f"--grpc-address={grpc}", f"--http-address={http_address}", "--log.level=warn"]
        self.start(name, f"http://{http_address}/-/ready", find_program("thanos"), kind, *common, *flags)
        return grpc, http_address

    def receive(self, name: str = "thanos-receive-0", *flags: str, grpc: str = "", data: pathlib.Path | None = None) -> str:
        """Takes samples under the tenant that a header names; gives the URL. Alone, unless C(flags) name hashrings, in which C(grpc) is its own address."""
        write = free_port()
        own = [
            f"--remote-write.address={LOCAL}:{write}",
            "--receive.tenant-label-name=cluster",
            f"--receive.capnproto-address={LOCAL}:{free_port()}",
            f'--label=receive_replica="{name}"',
            f"--tsdb.path={data or self.folder / name}",
        ]
        if not grpc:
            grpc = f"{LOCAL}:{free_port()}"
            own.append("--receive.hashrings=" + json.dumps([{"endpoints": [grpc]}]))
        own.append(f"--receive.local-endpoint={grpc}")
        _grpc, http_address = self._thanos(name, "receive", *own, *flags, grpc=grpc)
        self.stores.append(grpc)
        self.receives[name] = (f"http://{LOCAL}:{write}/api/v1/receive", http_address)
        return self.receives[name][0]

    def prometheus(self, *, importer: str = "", blackbox: str = "") -> None:
        """Beside its sidecar. It scrapes what the states are made of, as the role's does."""
        port = free_port()
        jobs: list[dict[str, t.Any]] = [
            {"job_name": "thanos-receive", "static_configs": [{"targets": [address for _url, address in self.receives.values()]}]},
            {"job_name": "thanos-query", "static_configs": [{"targets": [f"{self.query_address}:{self.query_port}"]}]},
        ]
        if importer:
            jobs.append({"job_name": "kaas-metric-importer", "honor_labels": True, "static_configs": [{"targets": [importer]}]})
        if blackbox:
            relabel = [
                {"target_label": "__param_target", "source_labels": ["__address__"]},
                {"target_label": "instance", "source_labels": ["__param_target"]},
                {"target_label": "__address__", "replacement": blackbox},
            ]
            after = [{"target_label": "cluster", "source_labels": ["kaas_cluster"]}, {"action": "labeldrop", "regex": "kaas_cluster"}]
            discovery = [{"url": f"http://{importer}/api-targets", "refresh_interval": self.interval}]
            probe = {"metrics_path": "/probe", "params": {"module": ["kaas_api"]}, "http_sd_configs": discovery}
            jobs.append({"job_name": "kaas-api", **probe, "relabel_configs": relabel, "metric_relabel_configs": after})
        labels = {"observer": self.name, "prometheus_replica": "prometheus-0"}
        config = {"global": {"scrape_interval": self.interval, "scrape_timeout": self.interval, "external_labels": labels}, "scrape_configs": jobs}
        (self.folder / "prometheus.yml").write_text(json.dumps(config))
        data = self.folder / "prometheus"
        url = f"http://{LOCAL}:{port}"
        flags = ["--config.file=prometheus.yml", f"--web.listen-address={LOCAL}:{port}", f"--storage.tsdb.path={data}", "--log.level=warn"]
        self.start("prometheus", f"{url}/-/ready", find_program("prometheus"), *flags)
        self.stores.append(self._thanos("sidecar", "sidecar", f"--prometheus.url={url}", f"--tsdb.path={data}")[0])

    def reserve_query(self, address: str) -> None:
        """Its address is known before it runs, for Prometheus and rulers ask it and it asks them."""
        self.query_address, self.query_port = address, free_port(address)

    def ruler(self, name: str = "thanos-ruler-0", rules: t.Sequence[str] = ("kaas.yaml",)) -> str:
        flags = [
            f"--data-dir={self.folder / name}",
            f"--eval-interval={self.interval}",
            *(f"--rule-file={RULES / rule}" for rule in rules),
            f"--query=http://{self.query_address}:{self.query_port}",
            f'--label=ruler_replica="{name}"',
            f'--label=observer="{self.name}"',
            "--alert.label-drop=ruler_replica",
        ]
        grpc, http_address = self._thanos(name, "rule", *flags)
        self.stores.append(grpc)
        return http_address

    def query(self) -> str:
        """All stores that were started before."""
        labels = [f"--query.replica-label={name}" for name in ("receive_replica", "prometheus_replica", "ruler_replica")]
        flags = [*labels, "--deduplication.func=chain", f"--query.lookback-delta={self.lookback}", "--query.conn-metric.label=store_type"]
        endpoints = [f"--endpoint={store}" for store in self.stores]
        address = f"{self.query_address}:{self.query_port}"
        common = [f"--http-address={address}", f"--grpc-address={LOCAL}:{free_port()}", "--log.level=warn"]
        self.start("thanos-query", f"http://{address}/-/ready", find_program("thanos"), "query", *common, *flags, *endpoints)
        return f"http://{address}"

    def blackbox(self) -> str:
        address = f"{LOCAL}:{free_port()}"
        (self.folder / "blackbox.yml").write_text(BLACKBOX)
        self.start(
            "blackbox", f"http://{address}/-/healthy", find_program("blackbox_exporter"), "--config.file=blackbox.yml", f"--web.listen-address={address}"
        )
        return address

    def importer(self, cluster: t.Any, namespace: str, *flags: str) -> str:
        """Over the registry of a namespace that exists, with a token of its own."""
        account = self.folder / "account"
        account.mkdir()
        (account / "ca.crt").write_text(cluster.authority.pem)
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        subjects = [{"kind": "ServiceAccount", "name": "importer", "namespace": namespace}]
        for path, body in (
            (f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "importer"}}),
            (f"{rbac}/roles", {"metadata": {"name": "importer"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]}]}),
            (
                f"{rbac}/rolebindings",
                {
                    "metadata": {"name": "importer"},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "importer"},
                    "subjects": subjects,
                },
            ),
        ):
            status, answer = cluster.request("POST", path, body)
            assert status == 201, answer
        asked = {"spec": {"expirationSeconds": 7200}}
        status, answer = cluster.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/importer/token", asked)
        assert status == 201, answer
        (account / "token").write_text(answer["status"]["token"])
        address = f"{LOCAL}:{free_port()}"
        command = [sys.executable, "-I", "-S", str(IMPORTER), "--namespace", namespace, "--api-host", LOCAL, "--api-port", cluster.server.rpartition(":")[2]]
        command += ["--service-account", str(account), "--listen-host", LOCAL, "--listen-port", address.rpartition(":")[2], *flags]
        self.start("importer", f"http://{address}/-/ready", *command, environment={})
        return address


def expose_query(cluster: t.Any, namespace: str, observer: Observer, name: str = "thanos-query") -> None:
    """A Service whose endpoint is the Query of this machine; as a Pod's, for the API server proxies to Pods only."""
    base, address, port = f"/api/v1/namespaces/{namespace}", observer.query_address, observer.query_port
    pod = {"metadata": {"name": name}, "spec": {"containers": [{"name": name, "image": "none"}]}}
    addresses = [{"ip": address, "targetRef": {"kind": "Pod", "name": name, "namespace": namespace}}]
    for path, body, fine in (
        # the controller manager makes it too, perhaps first
        (f"{base}/serviceaccounts", {"metadata": {"name": "default"}}, (201, 409)),
        (f"{base}/pods", pod, (201,)),
        (f"{base}/services", {"metadata": {"name": name}, "spec": {"ports": [{"name": "http", "port": 9090, "targetPort": port}]}}, (201,)),
        (f"{base}/endpoints", {"metadata": {"name": name}, "subsets": [{"addresses": addresses, "ports": [{"name": "http", "port": port}]}]}, (201,)),
    ):
        status, answer = cluster.request("POST", path, body)
        assert status in fine, answer
    status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}
    assert cluster.request("PATCH", f"{base}/pods/{name}/status", status, "application/merge-patch+json")[0] == 200


def compressed(series: t.Iterable[tuple[t.Mapping[str, str], t.Sequence[tuple[float, int]]]]) -> bytes:
    return bytes(cramjam.snappy.compress_raw(write_message(series)))


class Sender:
    """Writes as any tenant, over one kept connection."""

    HEADERS: t.ClassVar[dict[str, str]] = {
        "Content-Type": "application/x-protobuf",
        "Content-Encoding": "snappy",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }

    def __init__(self, url: str, timeout: float = 60) -> None:
        parts = urllib.parse.urlsplit(url)
        self._path = parts.path
        self._connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)

    def send(self, tenant: str, body: bytes) -> None:
        self._connection.request("POST", self._path, body, {**self.HEADERS, "THANOS-TENANT": tenant})
        answer = self._connection.getresponse()
        text = answer.read().decode(errors="replace")
        if answer.status != 200:
            raise RuntimeError(f"Receive refused what {tenant} wrote: {answer.status} {text.strip()}")

    def close(self) -> None:
        self._connection.close()
