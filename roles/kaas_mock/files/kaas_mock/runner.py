# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of a playbook: its processes, its events, its end.

A subprocess and a callback of 60 lines, not ansible-runner: that ends a run by its process group, which Ansible's workers leave (setsid), and
keeps every event with its whole result as a file of its own. Here every process of a run bears a mark in its environment, which children inherit
whatever session they make, so that all of them are found, by the next process of the service too.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import time
import typing as t
from contextlib import suppress
from pathlib import Path

import psutil

MARK = "KAAS_MOCK_RUN"
EVENTS = "KAAS_MOCK_EVENTS"
HERE = Path(__file__).resolve().parent
LONGEST_ERROR = 2000
POLL = 0.2
# a task of this name failed: a further attempt would say the same
FINAL = "Refuse "
SECRET = re.compile(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----|\b(Bearer|Basic) [A-Za-z0-9+/=._-]{8,}", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Result:
    """C(error) is empty when it went well. C(final): trying again is of no use. C(stopped): somebody wanted it to end."""

    error: str = ""
    final: bool = False
    stopped: bool = False


def clean(text: str) -> str:
    """Text for a person: no secret of a known form, not endless."""
    text = SECRET.sub("(secret)", text).strip()
    return text if len(text) <= LONGEST_ERROR else text[: LONGEST_ERROR - 6] + " [...]"


def find(marks: t.Collection[str]) -> list[psutil.Process]:
    """All living processes that bear one of the marks, and what they started."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(MARK) in marks and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = process
                found.update((child.pid, child) for child in process.children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE)
    return list(found.values())


def end(marks: t.Collection[str], seconds: float = 60) -> None:
    """End them all, and return when none is left."""
    limit = time.monotonic() + seconds
    while marks and (processes := find(marks)):
        if time.monotonic() > limit:
            raise RuntimeError(f"processes of an earlier run do not end: {', '.join(str(process.pid) for process in processes)}")
        for process in processes:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(processes, timeout=1)


@dataclasses.dataclass
class Followed:
    """What the callback wrote so far: the task that runs, and the newest failure."""

    task: str = ""
    failed: str = ""
    error: str = ""

    def read(self, lines: t.TextIO) -> None:
        while True:
            place = lines.tell()
            line = lines.readline()
            if not line.endswith("\n"):
                # not written to its end yet
                lines.seek(place)
                return
            event = json.loads(line)
            if "error" in event:
                self.failed, self.error = event["task"], event["error"]
            else:
                self.task = event["task"]


class Runner:
    """Runs playbooks one at a time; a run's folder holds its inventory, variables and events."""

    def __init__(self, ansible_playbook: Path, home: Path, collections_path: str = "") -> None:
        self._program = ansible_playbook
        self._home = home
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        # so that no other one is found
        self._configuration = home / "ansible.cfg"
        self._configuration.write_text("")
        self._collections_path = collections_path

    def run(
        self,
        folder: Path,
        playbook: str,
        inventory: t.Mapping[str, t.Any],
        variables: t.Sequence[t.Mapping[str, t.Any] | Path],
        log: Path,
        timeout: float,
        stop: t.Callable[[], bool],
        progress: t.Callable[[str], None],
    ) -> Result:
        """Run it to its end, or to C(stop); none of its processes is left afterwards. The folder's path is the mark. C(variables): later ones win."""
        folder.mkdir(mode=0o700, parents=True)
        command = [str(self._program), "-i", self._write(folder / "hosts.json", inventory), playbook]
        for number, item in enumerate(variables):
            path = str(item) if isinstance(item, Path) else self._write(folder / f"variables-{number}.json", item)
            command += ["-e", f"@{path}"]
        events = folder / "events.jsonl"
        events.touch(mode=0o600)
        begin = time.monotonic()
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
            output.write(f"\n{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {playbook}\n".encode())
            output.flush()
            size = output.tell()
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=folder,
                    env=self._environment(folder, events),
                    start_new_session=True,
                )
            except OSError as error:
                return Result(f"{self._program} can not be started: {error.strerror}. Correct the setting ansible_playbook.", final=True)
            followed = Followed()
            stopped = late = False
            with events.open() as lines:
                while process.poll() is None and not stopped and not late:
                    time.sleep(POLL)
                    followed.read(lines)
                    progress(followed.task)
                    stopped = stop()
                    late = time.monotonic() - begin > timeout
                if stopped or late:
                    end([str(folder)])
                    process.wait()
                followed.read(lines)
        if stopped:
            return Result("Stopped.", stopped=True)
        if late:
            return Result(f"It took longer than {timeout:g} s (setting job_timeout) and was ended. Its last task was: {followed.task or 'none'}")
        # what it left in the background on purpose (a lab machine) stays
        if process.returncode == 0:
            return Result()
        if followed.error:
            return Result(clean(f"{followed.failed}: {followed.error}"), final=followed.failed.startswith(FINAL))
        with log.open(errors="replace") as text:
            text.seek(size)
            said = [line.strip() for line in text.read().splitlines() if line.strip()]
        # where it says what is wrong, else where it ends
        begin_of_error = max((number for number, line in enumerate(said) if line.startswith(("ERROR!", "[ERROR]"))), default=-3)
        return Result(clean(f"ansible-playbook ended with {process.returncode}: " + " ".join(said[begin_of_error:][:3])))

    def _environment(self, mark: Path, events: Path) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "KAAS_MOCK_", "K8S_AUTH_"))}
        settings = {
            MARK: str(mark),
            EVENTS: str(events),
            "ANSIBLE_CONFIG": str(self._configuration),
            "ANSIBLE_HOME": str(self._home),
            "ANSIBLE_LOCAL_TEMP": str(self._home / "tmp"),
            "ANSIBLE_REMOTE_TEMP": str(self._home / "tmp"),
            "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback"),
            "ANSIBLE_CALLBACKS_ENABLED": "kaas_mock_events",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_RETRY_FILES_ENABLED": "0",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_LOCALHOST_WARNING": "0",
        }
        if self._collections_path:
            settings["ANSIBLE_COLLECTIONS_PATH"] = self._collections_path
        return {**inherited, **settings}

    def _write(self, path: Path, content: t.Any) -> str:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(content, file)
        return str(path)
