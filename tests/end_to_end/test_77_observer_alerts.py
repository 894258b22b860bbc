# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The alerts on the Observer itself and on services, each provoked by a real fault and seen firing; provoked.yaml says how, and which are not.

Most faults hit one pod of two or three, whose network, volume or configuration fails, so the Observer goes on and tells of them.
Comes after test_77_alerts.py: the last test here takes the content away.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import datetime
import http.client
import http.server
import ipaddress
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import typing as t
import urllib.parse

import pytest
import yaml
from _remote_write import Writer, agent_of, load_authority, now
from _stories import FIRING, Expected, Story, Told, Watch, at_once, story, tell_all
from ansible_collections.scs.observer.plugins.module_utils import _s3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

OBSERVER, ALPHA, BETA = "test-observer", "test-alpha", "test-beta"
PROMTOOL = pathlib.Path(os.environ.get("SCS_OBSERVER_CACHE", pathlib.Path.home() / ".cache" / "scs-observer")) / "bin" / "promtool"
# this machine, as pods see it
HOST = "10.200.0.1"
# below what the Observer really has: nothing is slow enough on purpose
LOW = {
    "service_probe_seconds": {"warning": 1},
    "thanos_query_seconds": {"warning": 0.0001},
    "thanos_receive_seconds": {"warning": 0.0001},
    "thanos_bucket_seconds": {"warning": 0.0001},
}
WARNING, CRITICAL = {"severity": "warning"}, {"severity": "critical"}


def both(name: str, **labels: str) -> tuple[tuple[str, dict[str, str]], tuple[str, dict[str, str]]]:
    """An alert with two severities."""
    return (name, WARNING | labels), (name, CRITICAL | labels)


# -- one pod's network, processes and volumes ----------------------------------------
def pid_of(lab: t.Any, pod: str, program: str) -> int:
    """The process of this program in a pod of the Observer, as this machine counts."""
    uid = lab.get(OBSERVER, "pod", pod, "-n", "observer")["metadata"]["uid"]
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if pathlib.Path((process / "cmdline").read_bytes().split(b"\0")[0].decode()).name == program and uid in (process / "cgroup").read_text():
                return int(process.name)
    raise AssertionError(f"no process {program} of {pod} was found")


def pods_of(lab: t.Any, name: str) -> list[str]:
    found = lab.get(OBSERVER, "pods", "-n", "observer", "-l", f"app.kubernetes.io/name={name}")
    return sorted(pod["metadata"]["name"] for pod in found if not pod["metadata"].get("deletionTimestamp"))


@contextlib.contextmanager
def unreachable(
    lab: t.Any, pod: str, program: str, port: int, *more: str, how: str = "REJECT", protocol: str = "tcp", chain: str = "OUTPUT"
) -> t.Iterator[None]:
    """What this pod sends to a port (chain INPUT: gets at it) is refused (REJECT) or lost (DROP)."""
    words = [chain, "-p", protocol, "--dport", str(port), *more, "-j", how]
    if how == "REJECT" and protocol == "tcp":
        words += ["--reject-with", "tcp-reset"]
    enter = ["nsenter", "-t", str(pid_of(lab, pod, program)), "-n", "iptables", "-w"]
    subprocess.run([*enter, "-I", *words], check=True, timeout=60, capture_output=True)
    try:
        yield
    finally:
        subprocess.run([*enter, "-D", *words], check=False, timeout=60, capture_output=True)


@contextlib.contextmanager
def full_volume(lab: t.Any, pod: str, program: str) -> t.Iterator[None]:
    """The program can not make any file longer, as if its volume were full; what it has open in memory goes on."""
    pid = str(pid_of(lab, pod, program))
    # a root without CAP_SYS_RESOURCE may not, but the program's own user may
    owner = pathlib.Path("/proc", pid).stat()
    words, who = ["prlimit", "--pid", pid], {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": ()}
    subprocess.run([*words, "--fsize=1:unlimited"], check=True, timeout=30, capture_output=True, **who)
    try:
        yield
    finally:
        subprocess.run([*words, "--fsize=unlimited:unlimited"], check=False, timeout=30, capture_output=True, **who)


@contextlib.contextmanager
def frozen(lab: t.Any, pod: str, program: str) -> t.Iterator[None]:
    pid = pid_of(lab, pod, program)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def data_of(lab: t.Any, pod: str) -> pathlib.Path:
    return pathlib.Path(f"/proc/{pid_of(lab, pod, 'thanos')}/root/data")


@contextlib.contextmanager
def changed(lab: t.Any, kind: str, name: str, **data: str | None) -> t.Iterator[None]:
    """Keys of a ConfigMap are what somebody wrote there by mistake; C(None) takes one away."""
    before = lab.get(OBSERVER, kind, name, "-n", "observer")["data"]
    names = {key.replace("__", "."): value for key, value in data.items()}
    try:
        lab.kubectl(OBSERVER, "patch", kind, name, "-n", "observer", "--type=merge", "-p", json.dumps({"data": names}))
        yield
    finally:
        saved = {key: before.get(key) for key in names}
        lab.kubectl(OBSERVER, "patch", kind, name, "-n", "observer", "--type=merge", "-p", json.dumps({"data": saved}))


@contextlib.contextmanager
def again_and_again(what: t.Callable[[], t.Any], delay: float, threads: int = 1) -> t.Iterator[None]:
    over = threading.Event()

    def work() -> None:
        while not over.wait(delay):
            with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
                what()

    workers = [threading.Thread(target=work, daemon=True) for _number in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        over.set()
        for worker in workers:
            worker.join(30)


# -- services of ours, that the Observer probes and scrapes --------------------------
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, text = 200, "all is well\n"
        if self.path == "/error":
            status = 500
        elif self.path == "/other":
            text = "something else\n"
        elif self.path == "/slow":
            time.sleep(2)
        elif self.path == "/unstable":
            status = 503 if time.time() % 24 < 12 else 200
        elif self.path == "/many":
            text = "".join(f'faults_many{{number="{number}"}} 1\n' for number in range(50))
        elif self.path == "/again":
            # another value of the same moment
            text = f"faults_again {time.time()} {self.server.begin}\n"  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(text.encode())

    def log_message(self, *_words: t.Any) -> None:
        pass


def short_certificate(folder: pathlib.Path, days: float) -> ssl.SSLContext:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    moment = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - datetime.timedelta(days=1))
        .not_valid_after(moment + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    pem += key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "short.pem"
    file.touch(mode=0o600)
    file.write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@contextlib.contextmanager
def served(context: ssl.SSLContext | None = None) -> t.Iterator[str]:
    server = http.server.ThreadingHTTPServer((HOST, 0), Page)
    server.daemon_threads = True
    server.begin = time.time_ns() // 1_000_000  # type: ignore[attr-defined]
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def probed(plain: str, short: str, closed: int) -> dict[str, t.Any]:
    """Variables of the role observer."""
    here = f"{HOST}:{urllib.parse.urlsplit(plain).port}"
    http_probe: dict[str, t.Any] = {"prober": "http", "timeout": "4s", "http": {"preferred_ip_protocol": "ip4"}}
    body, tls = copy.deepcopy(http_probe), copy.deepcopy(http_probe)
    body["http"]["fail_if_body_not_matches_regexp"] = ["all is well"]
    tls["http"]["tls_config"] = {"insecure_skip_verify": True}
    relabel = [
        {"target_label": "__param_target", "source_labels": ["__address__"]},
        {"target_label": "instance", "source_labels": ["__param_target"]},
        {"target_label": "__address__", "replacement": "blackbox-exporter.observer.svc:9115"},
    ]
    unknown = {"metrics_path": "/probe", "params": {"module": ["no_such"]}, "static_configs": [{"targets": [plain]}], "relabel_configs": relabel}
    return {
        "observer_services": [
            {"name": "faults-closed", "url": f"http://{HOST}:{closed}/"},
            *({"name": f"faults-{name}", "url": f"{plain}/{name}"} for name in ("error", "slow", "unstable")),
            {"name": "faults-other", "url": f"{plain}/other", "module": "faults_body"},
            {"name": "faults-certificate", "url": f"{short}/", "module": "faults_tls"},
        ],
        "observer_blackbox_modules": {"http_2xx": http_probe, "faults_body": body, "faults_tls": tls},
        "observer_prometheus_scrape_configs": [
            {"job_name": "blackbox-typo", **unknown},
            {"job_name": "faults-large", "metrics_path": "/many", "sample_limit": 10, "static_configs": [{"targets": [here]}]},
            {"job_name": "faults-again", "metrics_path": "/again", "static_configs": [{"targets": [here]}]},
            {"job_name": "faults-lost", "http_sd_configs": [{"url": f"http://{HOST}:{closed}/targets", "refresh_interval": "10s"}]},
        ],
    }


@story(
    *(("ServiceDown", {"service": f"faults-{name}"}) for name in ("closed", "error", "other")),
    *both("ServiceCertificateExpiring", service="faults-certificate"),
    ("ServiceSlow", {"service": "faults-slow"}),
    ("ServiceUnstable", {"service": "faults-unstable"}),
    ("ServiceNotProbed", {"job": "blackbox-typo"}),
    ("PrometheusScrapeLimited", {}),
    ("PrometheusSamplesRefused", {}),
    ("PrometheusDiscoveryFailing", {}),
    seconds=240,
)
def probes(_lab: t.Any) -> t.Iterator[None]:
    """What the scene serves."""
    yield


@story(*both("KaaSApiCertificateExpiring", cluster="test-short"), seconds=180)
def api_certificate(lab: t.Any) -> t.Iterator[None]:
    """A registered cluster whose API server shows a certificate of five days."""
    with served(short_certificate(lab.folder, 5)) as url, changed(lab, "configmap", "kaas-clusters", **{"test-short": json.dumps({"api_url": url})}):
        yield


# -- Prometheus -----------------------------------------------------------------
@story(("PrometheusStorageFailing", {"instance": "prometheus-1"}), ("PrometheusNotIngesting", {"instance": "prometheus-1"}), seconds=420)
def prometheus_volume(lab: t.Any) -> t.Iterator[None]:
    """The other one sees it. The rule looks at five minutes."""
    with full_volume(lab, "prometheus-1", "prometheus"):
        yield


@story(
    ("ThanosSidecarNoPrometheus", {"instance": "prometheus-1"}),
    ("ThanosRuleIncomplete", {}),
    seconds=180,
)
def sidecar(lab: t.Any) -> t.Iterator[None]:
    """It does not reach its Prometheus, so Query gets errors from it; and there is a group of rules that takes part of an answer."""
    rule = {"record": "faults:up", "expr": 'count(up{observer!="",job="prometheus"})'}
    # often, for Query leaves out after some seconds what does not answer
    group = {"name": "faults", "interval": "1s", "partial_response_strategy": "warn", "rules": [rule]}
    with changed(lab, "configmap", "thanos-ruler-rules", faults__yaml=json.dumps({"groups": [group]})):
        lab.wait_until(lambda: lab.query("faults:up"), 120, "the series of a new rule", 3)
        with unreachable(lab, "prometheus-1", "prometheus", 9090, "-o", "lo"):
            yield


# -- Alertmanager ---------------------------------------------------------------
def mounted(lab: t.Any, pod: str, text: str) -> bool:
    return pathlib.Path(f"/proc/{pid_of(lab, pod, 'alertmanager')}/root/etc/observer/config/alertmanager.yml").read_text() == text


def reload(lab: t.Any, pod: str) -> int:
    address = lab.get(OBSERVER, "pod", pod, "-n", "observer")["status"]["podIP"]
    connection = http.client.HTTPConnection(address, 9093, timeout=30)
    try:
        connection.request("POST", "/-/reload")
        return connection.getresponse().status
    finally:
        connection.close()


@story(
    *both("AlertmanagerNotificationsFailing", integration="webhook"),
    ("AlertmanagerConfigsDiffer", {}),
    ("AlertmanagerConfigInvalid", {"instance": "alertmanager-1"}),
    ("AlertmanagerMembersMissing", {}),
    seconds=540,
)
def alertmanagers(lab: t.Any) -> t.Iterator[None]:
    """All notify a port that nobody listens at; the first has another configuration than the others; the second gets one that is no YAML; the third is alone.

    The rules on the last two look at five minutes.
    """
    pods = pods_of(lab, "alertmanager")
    secret = ["secret", "alertmanager-config", "-n", "observer"]
    saved = base64.b64decode(lab.get(OBSERVER, *secret)["data"]["alertmanager.yml"]).decode()
    settings = yaml.safe_load(saved)

    def configure(text: str, *who: str) -> list[int]:
        data = {"data": {"alertmanager.yml": base64.b64encode(text.encode()).decode()}}
        lab.kubectl(OBSERVER, "patch", *secret, "--type=merge", "-p", json.dumps(data))
        lab.wait_until(lambda: all(mounted(lab, pod, text) for pod in who), 120, "the configuration in Alertmanager's pods", 2)
        return [reload(lab, pod) for pod in who]

    with contextlib.ExitStack() as stack:
        for protocol, chain in itertools.product(("tcp", "udp"), ("INPUT", "OUTPUT")):
            stack.enter_context(unreachable(lab, pods[2], "alertmanager", 9094, how="DROP", protocol=protocol, chain=chain))
        try:
            settings["receivers"].append({"name": "faults", "webhook_configs": [{"url": f"http://{HOST}:{closed_port()}/"}]})
            settings["route"] |= {"receiver": "faults", "routes": []}
            assert configure(yaml.safe_dump(settings), *pods) == [200, 200, 200]
            assert configure("receivers: [", pods[1]) == [500]
            settings["route"]["repeat_interval"] = "7h"
            assert configure(yaml.safe_dump(settings), pods[0]) == [200]
            # the second does not read it again, so it keeps what it knew
            yield
        finally:
            configure(saved, *pods)


# -- Thanos ----------------------------------------------------------------------
@story(
    ("ThanosReceiveStorageFailing", {"instance": "thanos-receive-2"}),
    ("ThanosReceiveForwardFailing", {}),
    *both("ThanosReceiveErrors"),
    seconds=240,
)
def receive_volumes(lab: t.Any) -> t.Iterator[None]:
    """One has a full volume, and another can not make the folder of one cluster, whose requests are refused then as too few would store them."""
    ours = load_authority(lab.get(OBSERVER, "secret", "agents-ca", "-n", "observer"))
    writer = Writer(lab.receive_url, agent_of(lab, ALPHA).signed_by(lab.folder / "broken-77", "test-broken", ours))
    in_the_way = data_of(lab, "thanos-receive-1") / "test-broken"
    shutil.rmtree(in_the_way, ignore_errors=True)
    in_the_way.touch()
    try:
        with full_volume(lab, "thanos-receive-2", "thanos"):
            series = [({"__name__": "end_to_end_broken_77", "number": str(number)}, 1.0) for number in range(5)]
            with again_and_again(lambda: writer.write_now(*series), 0.2, threads=3):
                yield
    finally:
        in_the_way.unlink()


@story(("ThanosReceiveHashringInvalid", {}), ("ThanosReceiveLimitsInvalid", {}), seconds=180)
def receive_config(lab: t.Any) -> t.Iterator[None]:
    with changed(lab, "configmap", "thanos-receive", hashrings__json="[", limits__yml="write: ["):
        yield


@story(("ThanosReceiveLimitsBlind", {"instance": "thanos-receive-0"}), seconds=240)
def receive_blind(lab: t.Any) -> t.Iterator[None]:
    """It does not reach Prometheus."""
    with unreachable(lab, "thanos-receive-0", "thanos", 9090):
        yield


@story(("ThanosTenantUploadFailing", {"cluster": ALPHA}), seconds=300)
def tenant_upload(lab: t.Any) -> t.Iterator[None]:
    """A block of test-alpha lost its index on the volume."""
    end = now() - 3 * 3600_000
    name = ulid(end)
    meta = {"ulid": name, "minTime": end - 7200_000, "maxTime": end, "stats": {"numSamples": 9, "numSeries": 1, "numChunks": 1}, "version": 1}
    tenant = data_of(lab, "thanos-receive-0") / ALPHA
    block = tenant / name
    block.mkdir()
    (block / "meta.json").write_text(json.dumps(meta | {"compaction": {"level": 1, "sources": [name]}}))
    try:
        yield
    finally:
        shutil.rmtree(block, ignore_errors=True)
        shutil.rmtree(tenant / "thanos" / "upload" / name, ignore_errors=True)


@story(*both("ThanosBucketFailing", job="thanos-store"), seconds=420)
def bucket(lab: t.Any) -> t.Iterator[None]:
    """The store gateways do not reach the bucket."""
    with unreachable(lab, "thanos-store-0", "thanos", 7070), unreachable(lab, "thanos-store-1", "thanos", 7070):
        yield


@story(("ThanosQuerySlow", {}), ("ThanosReceiveSlow", {}), ("ThanosBucketSlow", {}), seconds=300)
def low_thresholds(_lab: t.Any) -> t.Iterator[None]:
    yield


@story(("ThanosQueryStoreMissing", {}), seconds=180)
def query_store(lab: t.Any) -> t.Iterator[None]:
    """One Query does not reach one store gateway."""
    address = lab.get(OBSERVER, "pod", "thanos-store-0", "-n", "observer")["status"]["podIP"]
    with unreachable(lab, pods_of(lab, "thanos-query")[0], "thanos", 10901, "-d", address):
        yield


@story(("ObserverTargetDown", {"job": "thanos-bucket-web"}), seconds=110)
def frozen_page(lab: t.Any) -> t.Iterator[None]:
    with frozen(lab, pods_of(lab, "thanos-bucket-web")[0], "thanos"):
        yield


@story(("ThanosRuleAlertsLost", {}), ("ThanosRuleFailing", {}), ("ThanosRuleSlow", {}), ("ThanosDnsFailing", {"job": "thanos-ruler"}), seconds=300)
def lonely_rulers(lab: t.Any) -> t.Iterator[None]:
    """One reaches no Alertmanager; the other no Query, first without an answer and then refused, and no name server."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(unreachable(lab, "thanos-ruler-0", "thanos", 9093))
        with unreachable(lab, "thanos-ruler-1", "thanos", 9090, how="DROP"):
            time.sleep(40)
        stack.enter_context(unreachable(lab, "thanos-ruler-1", "thanos", 9090))
        for protocol in ("tcp", "udp"):
            stack.enter_context(unreachable(lab, "thanos-ruler-1", "thanos", 53, protocol=protocol))
        yield


@story(("ThanosRuleConfigInvalid", {}), seconds=180)
def bad_rules(lab: t.Any) -> t.Iterator[None]:
    with changed(lab, "configmap", "thanos-ruler-rules", faults__yaml="groups: ["):
        yield


def ulid(milliseconds: int) -> str:
    letters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    number = milliseconds << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join(letters[number >> 5 * place & 31] for place in reversed(range(26)))


@contextlib.contextmanager
def objects(lab: t.Any, content: t.Mapping[str, bytes]) -> t.Iterator[None]:
    keys = lab.s3_keys
    authority = (lab.state(OBSERVER).parent / "s3" / "pki" / "ca.crt").read_text()
    with _s3._client(_s3.Storage("https://10.200.0.10:7070", lab.bucket, keys["access_key"], keys["secret_key"], authority)) as client:
        try:
            for key, body in content.items():
                client.put(key, body)
            yield
        finally:
            for key in content:
                client.clean_up(key)


def wrong_blocks(folder: pathlib.Path) -> dict[str, bytes]:
    """Two blocks of one time, whose chunks all lie outside the time that the blocks claim."""
    begin = (now() // 7200_000 - 36) * 7200
    text = "# TYPE faults_block gauge\n" + "".join(f"faults_block {number} {begin + 15 * number}\n" for number in range(100)) + "# EOF\n"
    (folder / "samples.txt").write_text(text)
    words = [str(PROMTOOL), "tsdb", "create-blocks-from", "openmetrics", str(folder / "samples.txt"), str(folder / "blocks")]
    subprocess.run(words, check=True, capture_output=True, timeout=120)
    (made,) = (path for path in (folder / "blocks").iterdir() if (path / "meta.json").exists())
    found: dict[str, bytes] = {}
    for number in range(2):
        name = ulid((begin + 7200) * 1000 + number)
        meta = json.loads((made / "meta.json").read_text())
        meta |= {"ulid": name, "minTime": (begin + 7200) * 1000, "maxTime": (begin + 14400) * 1000, "compaction": {"level": 1, "sources": [name]}}
        meta["thanos"] = {"labels": {"faults": "one"}, "downsample": {"resolution": 0}, "source": "receive"}
        found |= {f"{name}/meta.json": json.dumps(meta).encode(), f"{name}/index": (made / "index").read_bytes()}
        found[f"{name}/chunks/000001"] = (made / "chunks" / "000001").read_bytes()
    return found


@story(
    ("ThanosCompactFailing", {}),
    ("ThanosCompactHalted", {}),
    ("ThanosBlocksBroken", {"job": "thanos-compact"}),
    ("ThanosCompactMultipleRunning", {}),
    seconds=420,
)
def compactor(lab: t.Any) -> t.Iterator[None]:
    """Its volume is full while it has work; then there is room, and it finds the blocks wrong; then somebody starts a second one.

    It looks each five seconds, and not each five minutes, which changes nothing else.
    """
    folder = lab.folder / "wrong-blocks"
    folder.mkdir()
    words = ["statefulset", "thanos-compact", "-n", "observer"]
    saved = lab.get(OBSERVER, *words)["spec"]["template"]["spec"]["containers"][0]["args"]
    argument = {"op": "replace", "path": "/spec/template/spec/containers/0/args"}

    def start(args: list[str]) -> None:
        lab.kubectl(OBSERVER, "patch", *words, "--type=json", "-p", json.dumps([{**argument, "value": args}]))
        lab.kubectl(OBSERVER, "rollout", "status", "statefulset/thanos-compact", "-n", "observer", "--timeout=150s", timeout=180)

    def metric(name: str) -> float:
        return lab.value(f'max(max_over_time({name}{{job="thanos-compact",observer!="",receive_replica=""}}[2m]))') or 0

    again = {}
    try:
        start([*saved, "--wait-interval=5s"])
        with contextlib.ExitStack() as stack:
            with full_volume(lab, "thanos-compact-0", "thanos"):
                broken = {f"{ulid(now() - 3 * 86400_000)}/meta.json": b"{"}
                stack.enter_context(objects(lab, wrong_blocks(folder) | broken))
                lab.wait_until(lambda: metric("thanos_compact_group_compactions_failures_total") >= 5, 180, "the fifth compaction to fail", 3)
            lab.wait_until(lambda: metric("thanos_compact_halted") == 1, 120, "the compactor to halt", 3)
            template = lab.get(OBSERVER, *words)["spec"]["template"]
            again = {"apiVersion": "v1", "kind": "Pod", **copy.deepcopy(template)}
            again["metadata"] = {"name": "thanos-compact-again", "namespace": "observer", "labels": {"app.kubernetes.io/part-of": "scs-observer"}}
            again["spec"]["volumes"].append({"name": "data", "emptyDir": {}})
            lab.kubectl(OBSERVER, "apply", "-f", "-", stdin=json.dumps(again))
            yield
    finally:
        lab.kubectl(OBSERVER, "delete", "pod", "thanos-compact-again", "-n", "observer", "--ignore-not-found", "--now", "--wait=false")
        start(saved)
        if again:
            # it has seen the wrong blocks
            lab.kubectl(OBSERVER, "delete", "pod", "thanos-compact-0", "-n", "observer", "--now")


ACTS: list[list[Story]] = [
    [
        probes, api_certificate, prometheus_volume, alertmanagers, receive_volumes, receive_config, receive_blind, tenant_upload, bucket,
        low_thresholds, query_store, frozen_page, lonely_rulers, bad_rules, compactor,
    ],
    [sidecar],
]  # fmt: skip
STORIES = {one.name: one for act in ACTS for one in act}


# -- the scene ---------------------------------------------------------------------------
def both_up(lab: t.Any) -> bool:
    found = {one["metric"]["cluster"]: one["metric"]["state"] for one in lab.query('cluster:kaas_state:info{infrastructure=""}')}
    return found == {ALPHA: "up", BETA: "up"}


@pytest.fixture(scope="module")
def scene(lab: t.Any, content: t.Any) -> t.Iterator[Watch]:
    """Services of ours are probed, and some thresholds are low; all alerts that fire are noted."""
    with served() as plain, served(short_certificate(lab.folder, 5)) as short:
        lab.playbook("observer_content", variables={"observer_content_alerts": at_once(), "observer_content_thresholds": {"default": LOW}})
        alert = {"observer_alert_for": {"ObserverTargetDown": "0s"}}
        lab.playbook("observer", variables=probed(plain, short, closed_port()) | alert)
        url = lab.service("thanos-query", 9090)
        watch = Watch(lambda: [one["metric"] for one in lab.query(FIRING, url=url)])
        watch.start()
        try:
            yield watch
        finally:
            watch.end()
            # what the inventory says, and nothing of the faults
            lab.playbook("observer")


@pytest.fixture(scope="module")
def told(lab: t.Any, scene: Watch) -> Told:
    """The stories, and what became of them."""
    found = Told()
    begin = time.time()

    def say(text: str) -> None:
        with (lab.folder / "observer-stories.txt").open("a") as file:
            file.write(f"{time.time() - begin:.0f} s: {text}\n")

    wanted = os.environ.get("END_TO_END_STORIES", "").split()
    acts = [chosen for act in ACTS if (chosen := [one for one in act if not wanted or one.name in wanted])]
    lab.figures["stories on the Observer told twice"] = tell_all(lab, acts, scene, found, say)
    say("fired: " + ", ".join(sorted({dict(labels)["alertname"] + "/" + dict(labels).get("severity", "") for labels in scene.first})))
    lab.figures["alerts on the Observer told, seconds"] = round(time.time() - begin)
    return found


@pytest.mark.parametrize(("name", "expected"), [(one.name, expected) for one in STORIES.values() for expected in one.expects], ids=str)
def test_fires(told: Told, name: str, expected: Expected) -> None:
    told.check(expected, name)


def test_stories_end_well(told: Told) -> None:
    assert {name: str(error) for name, error in told.errors.items()} == {}


def test_goes_again(lab: t.Any, told: Told) -> None:
    """The content is taken away, a second time nothing; the Observer is what it was, and both clusters report."""
    lab.playbook("observer")
    assert lab.playbook("observer").changed == 0
    first = lab.playbook("observer_content", variables={"observer_content_state": "absent"})
    assert first.changed
    second = lab.playbook("observer_content", variables={"observer_content_state": "absent"})
    assert second.changed == 0, second.changed_tasks
    lab.wait_until(lambda: both_up(lab), 420, "both clusters to be up", 3)
