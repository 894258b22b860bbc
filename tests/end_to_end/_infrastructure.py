# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An infrastructure beside the lab's clusters: a machine of its own (a network namespace on the lab's bridge) with a real Prometheus and a real Thanos sidecar.

Nothing of OpenStack is in it; to the Observer an infrastructure is what its Prometheus says.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import typing as t

import yaml

BIN = pathlib.Path(os.environ.get("SCS_OBSERVER_CACHE", pathlib.Path.home() / ".cache" / "scs-observer")) / "bin"
# what its own Prometheus alerts on, all the time
RULES = {
    "groups": [
        {
            "name": "own",
            "interval": "2s",
            "rules": [
                {"alert": "TestbedBroken", "expr": "vector(1)", "labels": {"severity": "critical", "instance": "db1"}},
                {"alert": "TestbedHint", "expr": "vector(1)", "labels": {"severity": "info"}},
            ],
        }
    ]
}


@dataclasses.dataclass
class Machine:
    name: str
    folder: pathlib.Path
    # on the bridge; its host's part says which
    address: str
    _processes: dict[str, subprocess.Popen[bytes]] = dataclasses.field(default_factory=dict)

    def start(self) -> None:
        # one of a session that was killed
        self.remove()
        self.folder.mkdir(parents=True, exist_ok=True)
        outer, inner = self._link, f"{self._net[:13]}-i"
        for command in (
            f"ip netns add {self._net}",
            f"ip link add {outer} type veth peer name {inner} netns {self._net}",
            f"ip link set {outer} master lab0 up",
            f"ip -n {self._net} link set lo up",
            f"ip -n {self._net} link set {inner} up",
            f"ip -n {self._net} addr add {self.address}/24 dev {inner}",
            f"ip -n {self._net} route add default via 10.200.0.1",
        ):
            subprocess.run(command.split(), check=True, capture_output=True)

    def remove(self) -> None:
        for name in list(self._processes):
            self.stop(name)
        # the namespace takes its links away, but later
        for words in (["link", "delete", self._link], ["netns", "delete", self._net]):
            subprocess.run(["ip", *words], check=False, capture_output=True)

    def prometheus(self, labels: dict[str, str], **more: t.Any) -> None:
        """A Prometheus with these external labels that scrapes itself; C(more) of its configuration."""
        (self.folder / "rules.yml").write_text(yaml.safe_dump(RULES))
        config = {
            "global": {"scrape_interval": "2s", "external_labels": labels},
            "rule_files": [str(self.folder / "rules.yml")],
            "scrape_configs": [{"job_name": "prometheus", "static_configs": [{"targets": ["127.0.0.1:9090"]}]}],
            **more,
        }
        self._touch("prometheus.yml", yaml.safe_dump(config))
        words = [f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data", "--web.listen-address=127.0.0.1:9090"]
        self._run("prometheus", *words, "--storage.tsdb.min-block-duration=2h", "--storage.tsdb.max-block-duration=2h")

    def sidecar(self, certificate: str, private_key: str, client_ca: str) -> None:
        """A sidecar with these texts; it takes the place of one that runs."""
        self.stop("thanos")
        tls = {"cert": certificate, "key": private_key, "client-ca": client_ca}
        for key, text in tls.items():
            self._touch(f"grpc-{key}.pem", text)
        words = [f"--grpc-server-tls-{key}={self.folder}/grpc-{key}.pem" for key in tls]
        words += ["--grpc-server-tls-min-version=1.3", "--prometheus.url=http://127.0.0.1:9090", "--http-address=127.0.0.1:10902"]
        self._run("thanos", "sidecar", *words, "--grpc-address=0.0.0.0:10901")

    def stop(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process:
            # one that writes would go on trying for a minute
            process.kill()
            process.wait(20)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    @property
    def _net(self) -> str:
        return f"e2e-{self.name}"

    @property
    def _link(self) -> str:
        """The end on the bridge; names have 15 characters at most."""
        return f"{self._net[:13]}-o"

    def _touch(self, name: str, text: str) -> None:
        (self.folder / name).touch(mode=0o600)
        (self.folder / name).write_text(text)

    def _run(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            # "exec": the process is the program's own
            self._processes[name] = subprocess.Popen(["ip", "netns", "exec", self._net, str(BIN / name), *words], stdout=log, stderr=log)
