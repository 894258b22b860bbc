# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kaas-metric-importer: shows the registry of KaaS clusters as metrics, kaas{cluster="x"} 1 for each that ought to report.

It watches one ConfigMap through the API server, with nothing but Python's standard library, so that an official image and this file
are enough. What was read once stays shown while the registry can't be read or is deleted: neither means that the clusters ended.

At /api-targets it lists the clusters' API servers in the form of Prometheus' HTTP service discovery, for the blackbox probe.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import http.client
import http.server
import json
import logging
import os
import pathlib
import random
import re
import signal
import socket
import socketserver
import ssl
import sys
import threading
import time
import typing as t
import urllib.parse

SERVICE_ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
CLUSTER_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
API_URL = re.compile(r"https://([A-Za-z0-9]([-.A-Za-z0-9]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?")
# The same as in the module kaas_clusters; a test compares them.
ROLES = ("kaas", "infrastructure")
RESERVED_LABELS = frozenset(
    {
        *("cluster", "infrastructure", "observer", "role", "tenant", "tenant_id"),
        *("prometheus_replica", "receive", "receive_replica", "replica", "ruler_replica"),
        *("instance", "job", "le", "quantile"),
    }
)
# A watch ends after this and the registry is listed again, so that a connection that died silently is noticed in time.
RESYNC_SECONDS = 20
# On top of it before the socket gives up, and the time for any other answer.
ANSWER_SECONDS = 5
BACKOFF_SECONDS = (0.5, 10.0)
STUCK_SECONDS = 300
DURATION_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}

log = logging.getLogger("kaas-metric-importer")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A registered cluster; C(info) is None for a bare key."""

    name: str
    info: t.Mapping[str, str] | None = None
    api_url: str = ""
    maintenance: bool = False
    # when the agent's certificate ends, seconds since 1970; None: not known
    not_after: float | None = None


class Gone(Exception):
    """The resource version is too old; the registry must be listed again."""


class ApiError(Exception):
    """The API server refused."""


def parse(data: t.Mapping[str, str]) -> tuple[list[Cluster], list[str]]:
    """The clusters in the order of their names, and what is wrong with the rest."""
    clusters, problems = [], []
    for key in sorted(data):
        if not CLUSTER_NAME.fullmatch(key):
            problems.append(f"{key!r} is no RFC 1123 label, so it is not shown")
            continue
        try:
            fields = json.loads(data[key]) if data[key].strip() else None
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            clusters.append(Cluster(key))
            continue
        info, wrong = parse_info(key, fields)
        known, wrong_too = parse_fields(fields)
        clusters.append(Cluster(key, info, **known))
        wrong += wrong_too
        if wrong:
            problems.append(f"{key}: {', '.join(wrong)} can't be shown")
    return clusters, problems


def parse_info(name: str, fields: t.Mapping[str, t.Any]) -> tuple[dict[str, str], list[str]]:
    wrong = []
    role = fields.get("role", ROLES[0])
    if role not in ROLES:
        wrong.append(f"role {role!r}")
        role = ROLES[0]
    info = {"role": role, "name": name}
    labels = fields.get("labels", {})
    if not isinstance(labels, dict):
        return info, [*wrong, "labels"]
    for label, value in sorted(labels.items()):
        if LABEL_NAME.fullmatch(label) and not label.startswith("__") and label not in RESERVED_LABELS and isinstance(value, str):
            info[label] = value
        else:
            wrong.append(f"label {label!r}")
    return info, wrong


def parse_fields(fields: t.Mapping[str, t.Any]) -> tuple[dict[str, t.Any], list[str]]:
    """What the entry says besides; a field that can't be used is left out and named."""
    known: dict[str, t.Any] = {}
    wrong = []
    api_url = fields.get("api_url") or ""
    if isinstance(api_url, str) and (not api_url or API_URL.fullmatch(api_url.rstrip("/"))):
        known["api_url"] = api_url.rstrip("/")
    else:
        wrong.append("api_url")
    if isinstance(fields.get("maintenance", False), bool):
        known["maintenance"] = fields.get("maintenance", False)
    else:
        wrong.append("maintenance")
    if not_after := fields.get("agent_certificate_not_after"):
        try:
            moment = datetime.datetime.fromisoformat(not_after)
            # without a zone it would be read as the local time of the machine
            known["not_after"] = moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp()
        except (TypeError, ValueError, OverflowError):
            wrong.append("agent_certificate_not_after")
    return known, wrong


def duration(text: str) -> float:
    """Seconds of a duration in Prometheus' notation, such as 10m or 1h30m."""
    if not re.fullmatch(r"([0-9]+(ms|[smhdwy]))+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 30s, 10m or 1h30m")
    return sum(int(number) * DURATION_SECONDS[unit] for number, unit in re.findall(r"([0-9]+)(ms|[smhdwy])", text))


def escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def sample(metric: str, labels: t.Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{name}="{escape(text)}"' for name, text in labels.items())
    number = str(int(value)) if value == int(value) else repr(value)
    return f"{metric}{{{inside}}} {number}" if inside else f"{metric} {number}"


class State:
    """What is known of the registry; written by the watcher, read by scrapes."""

    def __init__(self, clock: t.Callable[[], float] = time.time, grace: float = 600) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._grace = grace
        self._clusters: list[Cluster] = []
        self._problems: list[str] = []
        self._present: bool | None = None
        self._last_sync = 0.0
        self._errors = 0
        self._alive = clock()

    @property
    def ready(self) -> bool:
        return self._present is not None

    @property
    def healthy(self) -> bool:
        return self.ready and self._clock() - self._alive < STUCK_SECONDS

    def read(self, data: t.Mapping[str, str]) -> None:
        clusters, problems = parse(data)
        with self._lock:
            if self._present is not True:
                log.info("registry read, %d clusters", len(clusters))
            elif clusters != self._clusters:
                before, after = {cluster.name for cluster in self._clusters}, {cluster.name for cluster in clusters}
                log.info("registry changed, %d clusters: %d registered, %d unregistered", len(after), len(after - before), len(before - after))
            if problems != self._problems:
                for problem in problems:
                    log.warning("registry entry %s", problem)
            self._clusters, self._problems, self._present = clusters, problems, True
            self._last_sync = self._alive = self._clock()

    def missing(self) -> None:
        with self._lock:
            if self._present is not False:
                log.warning("registry does not exist, the last %d clusters stay shown", len(self._clusters))
            self._present = False
            self._alive = self._clock()

    def confirmed(self) -> None:
        with self._lock:
            self._alive = self._clock()
            if self._present:
                self._last_sync = self._alive

    def failed(self) -> None:
        with self._lock:
            self._errors += 1
            self._alive = self._clock()

    def metrics(self) -> str:
        with self._lock:
            families = [
                ("kaas", "gauge", "The cluster is registered, it ought to report.", [({"cluster": cluster.name}, 1.0) for cluster in self._clusters]),
                (
                    "kaas_info",
                    "gauge",
                    "What the registry says about the cluster.",
                    [({"cluster": cluster.name, **cluster.info}, 1.0) for cluster in self._clusters if cluster.info is not None],
                ),
                (
                    "kaas_maintenance",
                    "gauge",
                    "The cluster is in maintenance, its silence is no failure.",
                    [({"cluster": cluster.name}, 1.0) for cluster in self._clusters if cluster.maintenance],
                ),
                (
                    "kaas_agent_certificate_not_after_timestamp_seconds",
                    "gauge",
                    "When the certificate of the cluster's agent ends.",
                    [({"cluster": cluster.name}, cluster.not_after) for cluster in self._clusters if cluster.not_after is not None],
                ),
                ("kaas_registration_grace_seconds", "gauge", "How long a newly registered cluster may take to report.", [({}, self._grace)]),
                ("kaas_registry_present", "gauge", "The registry exists; if not, the last known clusters are shown.", [({}, float(bool(self._present)))]),
                (
                    "kaas_registry_last_sync_timestamp_seconds",
                    "gauge",
                    "When the registry was last known to be as shown.",
                    [({}, self._last_sync)] if self._last_sync else [],
                ),
                ("kaas_registry_entries", "gauge", "Registered clusters that are shown.", [({}, float(len(self._clusters)))]),
                ("kaas_registry_invalid_entries", "gauge", "Registry entries that can't be shown, or not wholly.", [({}, float(len(self._problems)))]),
                ("kaas_registry_watch_errors_total", "counter", "Failed attempts to list or watch the registry.", [({}, float(self._errors))]),
            ]
        lines = []
        for metric, kind, text, samples in families:
            if samples:
                lines += [f"# HELP {metric} {text}", f"# TYPE {metric} {kind}", *(sample(metric, labels, value) for labels, value in samples)]
        return "\n".join(lines) + "\n"

    def api_targets(self) -> str:
        """The API servers for Prometheus' HTTP service discovery. Never the label "cluster": the probe's "up" would stand for the cluster's."""
        with self._lock:
            groups = [{"targets": [f"{cluster.api_url}/livez"], "labels": {"kaas_cluster": cluster.name}} for cluster in self._clusters if cluster.api_url]
        return json.dumps(groups) + "\n"


class Api:
    """The API server, as the pod's service account; one connection, opened when it is needed."""

    def __init__(self, host: str, port: int, service_account: pathlib.Path = SERVICE_ACCOUNT) -> None:
        self._host, self._port, self._folder = host, port, service_account
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def connect(self) -> http.client.HTTPConnection:
        # The CA is read for each connection and the token for each request, for the kubelet replaces both.
        context = ssl.create_default_context(cafile=str(self._folder / "ca.crt"))
        return http.client.HTTPSConnection(self._host, self._port, timeout=ANSWER_SECONDS, context=context)

    def get(self, path: str, query: t.Mapping[str, str], *, seconds: float = ANSWER_SECONDS) -> http.client.HTTPResponse:
        """A successful answer, of which nothing is read yet."""
        if self._connection is None:
            self._connection = self.connect()
        token = (self._folder / "token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "User-Agent": "kaas-metric-importer"}
        if self._connection.sock is None:
            self._connection.connect()
        self._connection.sock.settimeout(seconds)
        self._connection.request("GET", f"{path}?{urllib.parse.urlencode(query)}", headers=headers)
        answer = self._connection.getresponse()
        if answer.status == 200:
            return answer
        text = answer.read(65536)
        self.close()
        if answer.status == 410:
            raise Gone
        try:
            message = json.loads(text)["message"]
        except (ValueError, KeyError, TypeError):
            message = answer.reason
        raise ApiError(f"{answer.status}: {message}")


class Watcher:
    """Lists the registry, watches it, and again; for ever, whatever happens."""

    def __init__(self, api: Api, state: State, namespace: str, name: str, stop: threading.Event) -> None:
        self._api, self._state, self._stop = api, state, stop
        self._path = f"/api/v1/namespaces/{urllib.parse.quote(namespace)}/configmaps"
        self._query = {"fieldSelector": f"metadata.name={name}"}

    def run(self) -> None:
        delay, complaint = BACKOFF_SECONDS[0], ""
        while not self._stop.is_set():
            try:
                version = self.list()
                if complaint:
                    log.info("the registry can be read again")
                delay, complaint = BACKOFF_SECONDS[0], ""
                begin = time.monotonic()
                self.watch(version)
                # A proxy that ends each watch at once must not make this a busy loop.
                self._stop.wait(max(0.0, 1.0 - (time.monotonic() - begin)))
            except Gone:
                self._api.close()
                self._stop.wait(0.1)
            except Exception as error:  # must survive anything the network or the server makes up
                if self._stop.is_set():
                    return
                self._api.close()
                self._state.failed()
                text = f"{type(error).__name__}: {error}"
                if text != complaint:
                    log.error("the registry can't be read, what is known stays shown: %s", text)
                    complaint = text
                self._stop.wait(delay * random.uniform(0.5, 1.0))
                delay = min(delay * 2, BACKOFF_SECONDS[1])

    def list(self) -> str:
        """The registry as it is now; gives the version from which to watch."""
        answer = json.loads(self._api.get(self._path, self._query).read())
        items = answer.get("items") or []
        if items:
            self._state.read(items[0].get("data") or {})
        else:
            self._state.missing()
        return answer["metadata"]["resourceVersion"]

    def watch(self, version: str) -> None:
        """Follow the changes until the server ends the watch."""
        options = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": str(RESYNC_SECONDS)}
        answer = self._api.get(self._path, self._query | options, seconds=RESYNC_SECONDS + ANSWER_SECONDS)
        while line := answer.readline():
            if not line.strip():
                continue
            event = json.loads(line)
            kind, item = event["type"], event["object"]
            if kind in ("ADDED", "MODIFIED"):
                self._state.read(item.get("data") or {})
            elif kind == "DELETED":
                self._state.missing()
            elif kind == "BOOKMARK":
                self._state.confirmed()
            elif item.get("code") == 410:
                raise Gone
            else:
                raise ApiError(f"the watch ended: {item.get('code')} {item.get('message')}")


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        state = self.server.state
        path = self.path.partition("?")[0]
        if path == "/metrics":
            # Before the registry was ever read, no metrics at all: an empty list would look like the end of all clusters.
            self.answer(200, state.metrics(), "text/plain; version=0.0.4; charset=utf-8") if state.ready else self.answer(503, "registry not read yet\n")
        elif path == "/api-targets":
            # Prometheus keeps its targets when this fails, as it should.
            self.answer(200, state.api_targets(), "application/json") if state.ready else self.answer(503, "registry not read yet\n")
        elif path in ("/healthz", "/-/healthy"):
            self.answer(200, "ok\n") if state.healthy else self.answer(503, "registry not read yet, or the watch hangs\n")
        elif path == "/-/ready":
            self.answer(200, "ok\n") if state.ready else self.answer(503, "registry not read yet\n")
        else:
            self.answer(404, "see /metrics and /api-targets\n")

    do_HEAD = do_GET

    def answer(self, status: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
        body = text.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: t.Any) -> None:
        log.debug(format, *args)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, state: State) -> None:
        self.state = state
        both = not host and socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if both or ":" in host else socket.AF_INET
        self._both = both
        super().__init__((host, port), Handler)

    def server_bind(self) -> None:
        if self._both:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Not HTTPServer's own, which asks the DNS for the host's name first.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


def arguments(given: t.Sequence[str] | None = None) -> argparse.Namespace:
    environment = os.environ
    parser = argparse.ArgumentParser(prog="kaas-metric-importer", description=__doc__.partition("\n")[0])
    parser.add_argument("--namespace", default=environment.get("NAMESPACE", "observer"), help="namespace of the registry")
    parser.add_argument("--name", default="kaas-clusters", help="name of the registry's ConfigMap")
    parser.add_argument("--grace", type=duration, default="10m", help="how long a newly registered cluster may take to report, as in 10m")
    parser.add_argument("--listen-host", default="", help="address to listen on; all by default")
    parser.add_argument("--listen-port", type=int, default=8080)
    parser.add_argument("--api-host", default=environment.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc"))
    parser.add_argument("--api-port", type=int, default=int(environment.get("KUBERNETES_SERVICE_PORT", "443")))
    parser.add_argument("--service-account", type=pathlib.Path, default=SERVICE_ACCOUNT, help="folder with token and ca.crt")
    return parser.parse_args(given)


def main() -> int:
    options = arguments()
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    state = State(grace=options.grace)
    api = Api(options.api_host, options.api_port, options.service_account)
    server = Server(options.listen_host, options.listen_port, state)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    threading.Thread(target=Watcher(api, state, options.namespace, options.name, stop).run, name="watch", daemon=True).start()
    log.info("listening on port %d, registry %s/%s at %s:%d", server.server_port, options.namespace, options.name, options.api_host, options.api_port)
    stop.wait()
    log.info("stopping")
    server.shutdown()
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
