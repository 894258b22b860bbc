# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the KaaS mock service share: the DOUBLE of ansible-playbook, a user of the API, the service as a process that can be killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import httpx

HERE = Path(__file__).parent
FILES = HERE.parents[3] / "roles" / "kaas_mock" / "files"


class Double:
    """The folder of double_ansible_playbook.py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.program = folder / "ansible-playbook"
        self.program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "double_ansible_playbook.py"}" "$@"\n')
        self.program.chmod(0o755)

    def set(self, what: str, content: t.Any = "") -> None:
        (self.folder / what).write_text(content if isinstance(content, str) else json.dumps(content))

    def unset(self, what: str) -> None:
        (self.folder / what).unlink()

    def journal(self) -> list[dict[str, t.Any]]:
        with contextlib.suppress(FileNotFoundError):
            return [json.loads(line) for line in (self.folder / "journal.jsonl").read_text().splitlines()]
        return []

    def begun(self, name: str | None = None) -> list[str]:
        return [line["begin"] for line in self.journal() if "begin" in line and name in (None, line["name"])]

    def most_at_once(self) -> int:
        now = most = 0
        for line in self.journal():
            now += ("begin" in line) - ("end" in line)
            most = max(most, now)
        return most

    def twice(self) -> list[dict[str, t.Any]]:
        return [line for line in self.journal() if "twice" in line]

    def machines(self, name: str) -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if path.read_bytes().split(b"\0")[-2:] == [str(self.folder / name).encode(), b""]:
                    found.append(int(path.parent.name))
        return found

    def processes(self) -> list[int]:
        """Of playbooks that run."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                environment = (path / "environ").read_bytes()
                words = (path / "cmdline").read_bytes()
                if f"DOUBLE_FOLDER={self.folder}".encode() in environment.split(b"\0") and b"double_ansible_playbook" in words:
                    found.append(int(path.name))
        return found

    def registered(self) -> set[str]:
        folder = self.folder / "registry"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    def clean(self) -> None:
        """End machines and playbooks that a test left."""
        for path in self.folder.glob("hold-*"):
            path.unlink()
        for name in {line["name"] for line in self.journal() if "begin" in line}:
            for pid in self.machines(name):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


TOKENS = {"admin": "a" * 32, "alice": "b" * 32, "bob": "c" * 32}


class Api:
    """What a user does, as one token's owner."""

    def __init__(self, client: httpx.Client, owner: str) -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {TOKENS[owner]}"}

    def request(self, method: str, path: str, **words: t.Any) -> httpx.Response:
        return self.client.request(method, path, headers={**self.headers, **words.pop("headers", {})}, **words)

    def create(self, name: str) -> httpx.Response:
        return self.request("POST", "/api/clusters/", json={"name": name})

    def delete(self, name: str) -> httpx.Response:
        return self.request("DELETE", f"/api/clusters/{name}")

    def clusters(self) -> dict[str, dict[str, t.Any]]:
        answer = self.request("GET", "/api/clusters/")
        assert answer.status_code == 200, answer.text
        return {cluster["name"]: cluster for cluster in answer.json()}

    def state(self, name: str) -> str:
        return self.clusters().get(name, {}).get("state", "gone")

    def job(self, number: int) -> dict[str, t.Any]:
        answer = self.request("GET", f"/api/jobs/{number}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait(self, job: int | httpx.Response, state: str = "succeeded", seconds: float = 60) -> dict[str, t.Any]:
        if isinstance(job, httpx.Response):
            assert job.status_code == 202, job.text
            job = job.json()["id"]
        end = time.monotonic() + seconds
        while (found := self.job(t.cast("int", job)))["state"] != state:
            assert found["state"] in ("queued", "running"), f"wanted {state}, got {found}"
            assert time.monotonic() < end, f"wanted {state}, still {found}"
            time.sleep(0.05)
        return found


def wait_until(done: t.Callable[[], t.Any], what: str, seconds: float = 60) -> t.Any:
    end = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.02)
    return found


class Service:
    """The service as a process. C(kill) is kill -9, of this process alone."""

    def __init__(self, options: t.Mapping[str, t.Any], folder: Path) -> None:
        self.state = Path(options["state_dir"])
        self.settings = folder / "settings.toml"
        lines = [f"{name} = {json.dumps(value if isinstance(value, (int, bool)) else str(value))}" for name, value in options.items()]
        self.settings.write_text("\n".join(lines) + "\n")
        self.log = folder / "service.log"
        self.process: subprocess.Popen[bytes] | None = None
        # what a client believes
        self.verify: ssl.SSLContext | bool = True

    def start(self) -> Api:
        (self.state / "address").unlink(missing_ok=True)
        environment = {**os.environ, "KAAS_MOCK_SETTINGS": str(self.settings), "PYTHONPATH": str(FILES)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "kaas_mock"], env=environment, stdout=log, stderr=log, start_new_session=True)
        wait_until(lambda: (self.state / "address").exists() or self.process.poll() is not None, "the service's address")
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        client = httpx.Client(base_url=(self.state / "address").read_text().strip(), timeout=10, verify=self.verify)

        def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return client.get("/health").status_code == 200
            return False

        wait_until(answers, "the service to answer")
        return Api(client, "alice")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
