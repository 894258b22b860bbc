# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook for OSISM run against the test host, and a real Query with the Observer's certificate."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import typing as t

import requests
import yaml
from _programs import find_program
from ansible_collections.scs.observer.plugins.module_utils import _lab_machine as lab
from ansible_collections.scs.observer.plugins.module_utils._lab_pki import Authority, Pair
from osism_host import machine

TOP = pathlib.Path(__file__).parents[1]
T = t.TypeVar("T")
SERVER_NAME = "testbed.infrastructure"


@dataclasses.dataclass
class Run:
    """What one run of ansible-playbook said and did."""

    code: int
    output: str

    @property
    def changed(self) -> int:
        recap = self.output.rpartition("PLAY RECAP")[2]
        return sum(int(number) for number in re.findall(r"changed=(\d+)", recap))

    @property
    def messages(self) -> list[str]:
        """What failed tasks said."""
        return re.findall(r'"?msg"?: "?(.+?)"?$', self.output, re.MULTILINE)


class Sidecar:
    """The playbook against the test host, and looks at what it has made."""

    def __init__(self, host: machine.Host, folder: pathlib.Path) -> None:
        self.host, self.folder = host, folder
        self.infrastructures, self.inside = Authority.create("infrastructures-ca"), Authority.create("inside-ca")
        self.server = self.infrastructures.issue("testbed", dns_names=[SERVER_NAME], ip_addresses=[each.address for each in host.all.values()])
        self.secrets = ["password", *self.server.key_pem.decode().splitlines()[1:2]]

    @property
    def variables(self) -> dict[str, t.Any]:
        """As the Observer's playbook writes them for this infrastructure, and what the operator adds."""
        return {
            "osism_thanos_sidecar_infrastructure": "testbed",
            "osism_thanos_sidecar_grpc_certificate": self.server.certificate_pem.decode(),
            "osism_thanos_sidecar_grpc_private_key": self.server.key_pem.decode(),
            "osism_thanos_sidecar_grpc_client_ca": self.inside.certificate_pem.decode(),
            "osism_thanos_sidecar_apply_prometheus": True,
            "osism_thanos_sidecar_wait_timeout": 60,
            "prometheus_password": machine.PASSWORD,
        }

    def play(self, *flags: str, without: t.Sequence[str] = (), **variables: t.Any) -> Run:
        """Variables are without the role's prefix, unless they are none of the role's."""
        wanted = {name: value for name, value in self.variables.items() if name not in without}
        for name, value in variables.items():
            wanted[name if name.startswith(("prometheus_", "ansible_")) and name != "prometheus_url" else f"osism_thanos_sidecar_{name}"] = value
        path = self.folder / "variables.json"
        path.write_text(json.dumps(wanted))
        environment = {
            **os.environ,
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_STDOUT_CALLBACK": "default",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false",
            "ANSIBLE_PIPELINING": "true",
        }
        ansible = pathlib.Path(sys.executable).parent / "ansible-playbook"
        command = [ansible, "-i", self.host.inventory, TOP / "playbooks" / "osism_thanos_sidecar.yml", "-e", f"@{path}", *flags]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment, cwd=TOP, timeout=400, check=False)
        run = Run(done.returncode, done.stdout + done.stderr)
        with (self.folder / "plays.log").open("a") as log:
            log.write(f"==== {flags} {sorted(variables)}\n{run.output}\n")
        shown = re.sub(r"prometheus_password|password_file", "", run.output)
        assert not [secret for secret in self.secrets if secret != machine.PASSWORD and secret in shown], "a secret is in the output"
        return run

    def works(self, *flags: str, **variables: t.Any) -> Run:
        run = self.play(*flags, **variables)
        assert run.code == 0, run.output[-6000:]
        return run

    def refused(self, *flags: str, says: str, **variables: t.Any) -> Run:
        """Fails with a message that has these words, and changes nothing; a sidecar that runs goes on."""
        before = self.state()
        run = self.play(*flags, **variables)
        assert run.code != 0, run.output[-6000:]
        assert re.search(says, run.output, re.IGNORECASE), run.output[-6000:]
        assert self.state() == before, run.output[-6000:]
        assert run.changed == 0, run.output[-6000:]
        return run

    # -- what is there --------------------------------------------------------
    def state(self, name: str = machine.MANAGER) -> dict[str, str]:
        """All that a run may change on a host: files with their modes and contents, units, containers, volumes, networks."""
        script = """
        for folder in /opt /etc/systemd/system /etc/kolla; do
          find $folder -path '*/.git' -prune -o -printf '%p %M %u %g %l\\n' | sort
          find $folder -path '*/.git' -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
        done
        echo --; docker ps --all --no-trunc --format '{{.ID}} {{.Names}} {{.Image}} {{.State}}' | sort
        echo --; docker volume ls --quiet | sort
        echo --; docker network ls --quiet | sort
        echo --; docker images --no-trunc --quiet | sort
        echo --; wc -l </var/log/osism-double.log 2>/dev/null || true
        """
        files, *rest = self.host.machines[name].sh(script).split("--\n")
        return dict(zip(("files", "containers", "volumes", "networks", "images", "osism"), [files, *rest], strict=True))

    def container(self, name: str = machine.MANAGER) -> dict[str, t.Any] | None:
        done = self.host.machines[name].run("docker", "inspect", "thanos_sidecar", check=False)
        return json.loads(done.stdout)[0] if done.returncode == 0 else None

    def log(self) -> list[str]:
        """What the stand-in for OSISM's command line was called with."""
        return self.host.manager.sh("cat /var/log/osism-double.log").splitlines()

    def edit(self, path: str, text: str) -> None:
        """A file of the configuration repository, written by the operator and committed."""
        self.host.manager.write(f"/opt/configuration/{path}", text, owner=machine.DRAGON)
        self.host.manager.sh('cd /opt/configuration; sudo -u dragon sh -ec \'git add "$1"; git commit --quiet --message edit || true\' sh "$1"', path)

    @contextlib.contextmanager
    def edited(self, path: str, text: str) -> t.Iterator[None]:
        """Until the end of this context."""
        before = self.host.manager.sh(f"cat /opt/configuration/{path}")
        self.edit(path, text)
        try:
            yield
        finally:
            self.edit(path, before)

    # -- the Observer's side --------------------------------------------------
    def client(self, authority: Authority | None = None) -> Pair:
        return (authority or self.inside).issue("thanos-query")

    @contextlib.contextmanager
    def query(self, client: Pair | None = None) -> t.Iterator[Query]:
        """A real Query with the Observer's client certificate, that trusts the infrastructures' authority and asks for its own name of the server."""
        pair = client or self.client()
        folder = self.folder / f"query-{time.monotonic_ns()}"
        folder.mkdir()
        pair.write(folder, "tls")
        (folder / "ca.crt").write_bytes(self.infrastructures.certificate_pem)
        tls = {"enabled": True, "ca_file": f"{folder}/ca.crt", "cert_file": f"{folder}/tls.crt", "key_file": f"{folder}/tls.key", "min_version": "1.3"}
        endpoints = [
            {"address": f"{each.address}:10901", "client_config": {"tls_config": tls, "server_name": SERVER_NAME}} for each in self.host.machines.values()
        ]
        (folder / "endpoints.yml").write_text(yaml.safe_dump({"endpoints": endpoints}))
        with run_query(folder, f"--endpoint.sd-config-file={folder}/endpoints.yml") as query:
            yield query


@contextlib.contextmanager
def run_query(folder: pathlib.Path, endpoints: str) -> t.Iterator[Query]:
    http, grpc = free_port(), free_port()
    command = [find_program("thanos"), "query", f"--http-address=127.0.0.1:{http}", f"--grpc-address=127.0.0.1:{grpc}"]
    command += [endpoints, "--query.replica-label=prometheus_replica"]
    with (folder / "query.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield Query(f"http://127.0.0.1:{http}")
        finally:
            process.send_signal(signal.SIGTERM)


class Query:
    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str) -> t.Any:
        return requests.get(self.url + path, params=parameters, timeout=10).json()["data"]

    def stores(self) -> list[dict[str, t.Any]]:
        return [store for store in self.get("/api/v1/stores").get("sidecar", []) if not store["lastError"]]

    def wait_for_stores(self, count: int = 1, seconds: float = 60) -> list[dict[str, t.Any]]:
        return wait(lambda: stores if len(stores := self.stores()) == count else None, seconds, f"{count} sidecars are not seen")

    def series(self, expression: str) -> list[dict[str, str]]:
        return [entry["metric"] for entry in self.get("/api/v1/query", query=expression)["result"]]

    def wait_for(self, expression: str, seconds: float = 90) -> list[dict[str, str]]:
        return wait(lambda: self.series(expression), seconds, f"{expression} gives nothing")


def wait(look: t.Callable[[], T | None], seconds: float, what: str) -> T:
    end = time.monotonic() + seconds
    while True:
        error = None
        try:
            if found := look():
                return found
        except (requests.RequestException, KeyError, ValueError) as failure:
            error = failure
        assert time.monotonic() < end, f"{what} after {seconds} s: {error or 'nothing'}"
        time.sleep(0.5)


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def s3_server(folder: pathlib.Path) -> t.Iterator[tuple[dict[str, t.Any], pathlib.Path]]:
    """A real S3 server at the lab's gateway: how Thanos is told of its bucket, and the folder in which its objects are files."""
    address = str(lab.GATEWAY)
    data = folder / "data"
    (data / "observer").mkdir(parents=True)
    Authority.create("s3").issue("s3", ip_addresses=[address]).write(folder, "server")
    port = free_port(address)
    keys = {"access_key": "lab-access", "secret_key": "lab-secret-key"}
    environment = {**os.environ, "ROOT_ACCESS_KEY": keys["access_key"], "ROOT_SECRET_KEY": keys["secret_key"]}
    command = [find_program("versitygw"), "--port", f"{address}:{port}", "--cert", f"{folder}/server.crt", "--key", f"{folder}/server.key"]
    command += ["--iam-dir", str(folder), "posix", str(data)]
    with (folder / "s3.log").open("w") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process:
        try:
            wait(lambda: process.poll() is None and reachable(address, port), 20, "the S3 server does not answer")
            config = {"bucket": "observer", "endpoint": f"{address}:{port}", "region": "us-east-1", **keys, "http_config": {"insecure_skip_verify": True}}
            yield {"type": "S3", "config": config}, data / "observer"
        finally:
            process.terminate()


def reachable(address: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
        return True
    return False


@dataclasses.dataclass
class Receive:
    url: str
    grpc: str

    @contextlib.contextmanager
    def query(self, folder: pathlib.Path) -> t.Iterator[Query]:
        with run_query(folder, f"--endpoint={self.grpc}") as query:
            yield query


@contextlib.contextmanager
def receive(sidecar: Sidecar, folder: pathlib.Path) -> t.Iterator[Receive]:
    """A real Receive at the lab's gateway, with the settings of the Observer's for infrastructures."""
    address = str(lab.GATEWAY)
    sidecar.inside.issue("receive", ip_addresses=[address]).write(folder, "server")
    (folder / "ca.crt").write_bytes(sidecar.infrastructures.certificate_pem)
    ports = [free_port(address) for _port in range(3)]
    command = [find_program("thanos"), "receive", f"--tsdb.path={folder}/data", '--label=receive_replica="0"']
    command += [f"--http-address={address}:{ports[0]}", f"--grpc-address={address}:{ports[1]}", f"--remote-write.address={address}:{ports[2]}"]
    command += [f"--remote-write.server-tls-cert={folder}/server.crt", f"--remote-write.server-tls-key={folder}/server.key"]
    command += [f"--remote-write.server-tls-client-ca={folder}/ca.crt", "--receive.tenant-certificate-field=commonName"]
    command += ["--receive.tenant-label-name=infrastructure"]
    with (folder / "receive.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait(lambda: requests.get(f"http://{address}:{ports[0]}/-/ready", timeout=5).ok, 60, "Receive is not ready")
            yield Receive(f"https://{address}:{ports[2]}/api/v1/receive", f"{address}:{ports[1]}")
        finally:
            # A Receive that is asked to stop writes its blocks first.
            process.kill()
