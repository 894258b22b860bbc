# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Kubernetes API server on loopback for the tests: etcd, kube-apiserver (TLS, RBAC, audit log, admission) and kube-controller-manager.

No kubelet runs: pods are made, but never start, unless a test writes their status. The programs are looked up in C($SCS_OBSERVER_BIN), then in
the lab's cache, then in C($PATH).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import ipaddress
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import typing as t
import uuid

import pytest
import urllib3
import yaml
from _programs import find_program
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

START_TIMEOUT = 90
CALLBACKS = pathlib.Path(__file__).parents[1] / "callback"

AUDIT_POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, userGroups: ["system:nodes", "system:serviceaccounts"]}
- {level: None, users: ["system:apiserver", "system:kube-controller-manager", "system:anonymous"]}
- {level: Metadata}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Authority:
    """A CA that signs the test cluster's certificates."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._build("test-ca", self.key, None, x509.BasicConstraints(ca=True, path_length=None))

    def _build(self, name: str, key: ec.EllipticCurvePrivateKey, organisation: str | None, *extensions: x509.ExtensionType) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        if organisation:
            attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
        subject = x509.Name(attributes)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.certificate.subject if hasattr(self, "certificate") else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=2))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self.key, hashes.SHA256())

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, name: str, organisation: str | None = None) -> tuple[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._build(
            name,
            key,
            organisation,
            x509.BasicConstraints(ca=False, path_length=None),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode(), key_pem(key)


def key_pem(key: t.Any) -> str:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


@dataclasses.dataclass
class Cluster:
    folder: pathlib.Path
    server: str
    authority: Authority
    kubeconfig: str = ""
    _pool: t.Any = None

    def user(self, name: str, organisation: str | None = None, *, server: str | None = None, authority: Authority | None = None) -> str:
        """Path of a kubeconfig with a client certificate for this user."""
        certificate, key = self.authority.issue(name, organisation)
        folder = self.folder / "users" / f"{name}-{uuid.uuid4().hex[:6]}"
        folder.mkdir(parents=True)
        for file, text in (("ca.crt", (authority or self.authority).pem), ("tls.crt", certificate), ("tls.key", key)):
            (folder / file).write_text(text)
        cluster = {"server": server or self.server, "certificate-authority": str(folder / "ca.crt")}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": name, "user": {"client-certificate": str(folder / "tls.crt"), "client-key": str(folder / "tls.key")}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        }
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(content))
        return str(path)

    def request(self, method: str, path: str, body: t.Any = None, content_type: str = "application/json") -> tuple[int, t.Any]:
        """As administrator, without the collection's own client."""
        if self._pool is None:
            folder = pathlib.Path(self.kubeconfig).parent
            self._pool = urllib3.PoolManager(ca_certs=str(folder / "ca.crt"), cert_file=str(folder / "tls.crt"), key_file=str(folder / "tls.key"))
        headers = {"Content-Type": content_type, "User-Agent": "test"}
        answer = self._pool.request(method, self.server + path, body=None if body is None else json.dumps(body), headers=headers, retries=False, timeout=20)
        try:
            return answer.status, json.loads(answer.data)
        except ValueError:
            return answer.status, answer.data.decode()

    def audit(self, *, user_agent: str = "scs.observer") -> list[dict[str, t.Any]]:
        """The requests of the collection's client so far, from the API server's audit log."""
        marker = f"/api/v1/namespaces/default?marker={uuid.uuid4().hex}"
        self.request("GET", marker)
        deadline = time.monotonic() + 10
        while marker not in (text := (self.folder / "audit.log").read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        events = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        return [event for event in events if event.get("userAgent", "") == user_agent]

    def writes(self) -> list[str]:
        """Those of them that are not reads and not dry runs."""
        events = [event for event in self.audit() if event["verb"] not in ("get", "list", "watch")]
        return [f"{event['verb']} {event['requestURI']}" for event in events if "dryRun=All" not in event["requestURI"]]

    def namespace(self) -> str:
        """A name for a namespace that does not exist yet."""
        return f"t-{uuid.uuid4().hex[:8]}"


def start(folder: pathlib.Path, *command: str) -> subprocess.Popen[bytes]:
    log = (folder / f"{pathlib.Path(command[0]).name}.log").open("wb")
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True)


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Cluster]:
    """etcd, kube-apiserver and kube-controller-manager; stopped at the end of the session."""
    programs = {name: find_program(name) for name in ("etcd", "kube-apiserver", "kube-controller-manager")}
    folder = tmp_path_factory.mktemp("cluster")
    authority = Authority()
    (folder / "ca.crt").write_text(authority.pem)
    (folder / "ca.key").write_text(key_pem(authority.key))
    certificate, key = authority.issue("kube-apiserver")
    (folder / "server.crt").write_text(certificate)
    (folder / "server.key").write_text(key)
    (folder / "sa.key").write_text(key_pem(rsa.generate_private_key(65537, 2048)))
    (folder / "audit.yml").write_text(AUDIT_POLICY)
    ports = {name: free_port() for name in ("etcd", "peer", "apiserver", "manager")}
    found = Cluster(folder, f"https://127.0.0.1:{ports['apiserver']}", authority)
    found.kubeconfig = found.user("admin", "system:masters")
    with contextlib.ExitStack() as running:
        etcd = f"http://127.0.0.1:{ports['etcd']}"
        peer = f"http://127.0.0.1:{ports['peer']}"
        urls = [f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}", f"--listen-peer-urls={peer}"]
        peers = [f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}"]
        flags = [programs["etcd"], f"--data-dir={folder / 'etcd'}", *urls, *peers]
        # Debian's etcd 3.4 knows the first, 3.5 both
        running.callback(stop, start(folder, *flags, "--unsafe-no-fsync"))
        server = start(
            folder,
            programs["kube-apiserver"],
            f"--etcd-servers={etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={ports['apiserver']}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--tls-cert-file=server.crt",
            "--tls-private-key-file=server.key",
            "--client-ca-file=ca.crt",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=sa.key",
            "--service-account-signing-key-file=sa.key",
            "--authorization-mode=RBAC",
            "--endpoint-reconciler-type=none",
            "--audit-policy-file=audit.yml",
            "--audit-log-path=audit.log",
        )
        running.callback(stop, server)
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                if found.request("GET", "/readyz")[0] == 200 and found.request("GET", "/api/v1/namespaces/default")[0] == 200:
                    break
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail("kube-apiserver does not start: " + (folder / "kube-apiserver.log").read_text()[-2000:])
            time.sleep(0.2)
        manager = start(
            folder,
            programs["kube-controller-manager"],
            f"--kubeconfig={found.user('system:kube-controller-manager', 'system:masters')}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={ports['manager']}",
            "--cert-dir=manager",
            "--service-account-private-key-file=sa.key",
            "--root-ca-file=ca.crt",
            "--use-service-account-credentials",
        )
        running.callback(stop, manager)
        yield found


@dataclasses.dataclass
class Playbook:
    code: int
    output: str
    result: dict[str, t.Any]


@pytest.fixture
def run_playbook(tmp_path: pathlib.Path) -> t.Callable[..., Playbook]:
    """Runs one task by the real ansible-playbook; gives back what it printed and what the task returned."""

    def run(
        module: str,
        arguments: t.Mapping[str, t.Any],
        *flags: str,
        files: t.Mapping[str, str] | None = None,
        variables: t.Mapping[str, t.Any] | None = None,
        defaults: t.Mapping[str, t.Any] | None = None,
    ) -> Playbook:
        for name, text in (files or {}).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        out = tmp_path / "results.jsonl"
        out.unlink(missing_ok=True)
        play = {
            "name": "Test",
            "hosts": "localhost",
            "gather_facts": False,
            "vars": dict(variables or {}),
            "module_defaults": dict(defaults or {}),
            "tasks": [{"name": "Under test", module: dict(arguments), "ignore_errors": True}],
        }
        play["vars"]["ansible_python_interpreter"] = sys.executable
        (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
        ansible = pathlib.Path(sys.executable).parent / "ansible-playbook"
        environment = {**os.environ, "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_STDOUT_CALLBACK": "default"}
        environment |= {"ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS), "ANSIBLE_CALLBACKS_ENABLED": "results", "TEST_RESULTS": str(out)}
        command = [str(ansible), "-i", "localhost,", "-c", "local", str(tmp_path / "play.yml"), *flags]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300, check=False)
        output = done.stdout + done.stderr
        lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
        return Playbook(done.returncode, output, next(({"failed": line["status"] != "ok"} | line["result"] for line in lines if "name" in line), {}))

    return run
