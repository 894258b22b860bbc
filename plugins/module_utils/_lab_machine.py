# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: a lab machine, which is a set of supervised programs in namespaces of their own on a common bridge.

A machine has its own network, mount and process namespace, all held by its first process and by nothing else. So the kernel
takes everything with it when that process ends, however it ends: pods, mounts, addresses, the veth pair. What can be left are
cgroup folders, routes and files; C(remove) and the next C(start) clear them.
"""

from __future__ import annotations

import configparser
import dataclasses
import errno
import fcntl
import ipaddress
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import typing as t
import xmlrpc.client
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

BRIDGE = "lab0"
NETWORK = ipaddress.ip_network("10.200.0.0/24")
GATEWAY = NETWORK[1]
CGROUP_ROOT = Path("/sys/fs/cgroup")
# A version 1 cpuset group takes no process before these two are filled.
CPUSET_FILES = ("cpuset.cpus", "cpuset.mems")
# What the machine's first process does before it becomes supervisord: wait for the network, make private what programs share by path.
INIT = r"""
set -e
state=$1; python=$2
until [ -n "$(ip route show default)" ]; do sleep 0.02; done
mount --make-rshared /
mkdir -p "$state/tmp" "$state/run" "$state/cni-results" "$state/log/containers"
chmod 1777 "$state/tmp"
mount --bind "$state/tmp" /tmp
mkdir -p /run/netns /var/lib/cni /var/log/containers
mount -t tmpfs -o mode=755 tmpfs /run/netns
mount --bind "$state/cni-results" /var/lib/cni
mount --bind "$state/log/containers" /var/log/containers
for setting in net/ipv4/ip_forward net/ipv4/conf/all/route_localnet net/bridge/bridge-nf-call-iptables; do
  [ ! -e "/proc/sys/$setting" ] || echo 1 > "/proc/sys/$setting"
done
exec "$python" -m supervisor.supervisord --nodaemon --configuration "$state/supervisord.conf"
"""


@dataclasses.dataclass(frozen=True)
class Program:
    """One supervised process. C(autostart) false: started by C(Machine.start_programs) when what it needs is there."""

    name: str
    command: tuple[str, ...]
    priority: int = 100
    autostart: bool = True
    environment: t.Mapping[str, str] = dataclasses.field(default_factory=dict)


def run(*command: str | Path, check: bool = True, **options: t.Any) -> subprocess.CompletedProcess[str]:
    """Run a command; a failure names it and what it said."""
    try:
        result = subprocess.run([str(word) for word in command], check=False, capture_output=True, text=True, **options)
    except FileNotFoundError as error:
        raise ObserverError(f"the program {command[0]} is missing on this machine; install it ('make system' installs all that the lab needs)") from error
    if check and result.returncode:
        raise ObserverError(f"'{' '.join(str(word) for word in command)}' ended with {result.returncode}: {(result.stderr or result.stdout).strip()[-800:]}")
    return result


@contextmanager
def lock(root: Path) -> t.Iterator[None]:
    """One change of the shared bridge and of the address table at a time."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def ensure_bridge() -> None:
    if run("ip", "link", "show", BRIDGE, check=False).returncode:
        run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "replace", f"{GATEWAY}/{NETWORK.prefixlen}", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")


def _controllers() -> list[Path]:
    """The version 1 hierarchies with the unified one beside them (hybrid mode), or the unified one alone."""
    if (CGROUP_ROOT / "cgroup.controllers").exists():
        return [CGROUP_ROOT]
    return sorted({path.resolve() for path in CGROUP_ROOT.iterdir() if path.is_dir()})


class Machine:
    """One lab machine: C(root)/C(name) holds all its files; C(index) 0 to 89 gives its address 10.200.0.(10 + index)."""

    def __init__(self, root: Path, name: str, index: int) -> None:
        self.root = root
        self.name = name
        self.index = index
        self.state = root / name
        self.address = str(NETWORK[10 + index])
        # An interface name has at most 15 characters.
        self.veth = f"lab-{index}"
        self.cgroup = f"scs-lab-{name}"
        self._pid_file = self.state / "machine.pid"

    # -- what is there ------------------------------------------------------
    @property
    def pid(self) -> int | None:
        """The machine's first process as this machine numbers it; None when it has ended (the number may be another's by now)."""
        try:
            pid, started = self._pid_file.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if _start_time(int(pid)) == started else None

    def nsenter(self, *command: str | Path) -> list[str]:
        """The command line that runs C(command) inside the machine's namespaces."""
        return ["nsenter", "--target", str(self.pid), "--net", "--mount", "--pid", *(str(word) for word in command)]

    # -- start --------------------------------------------------------------
    def start(self, programs: t.Sequence[Program], routes: t.Sequence[str] = ()) -> None:
        """Start the machine and its autostart programs; C(routes) are networks that the host reaches through it."""
        self.state.mkdir(parents=True, exist_ok=True)
        (self.state / "log").mkdir(exist_ok=True)
        self._make_cgroup()
        self._write_supervisor_configuration(programs)
        namespaces = ("unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--propagation", "private")
        with (self.state / "log" / "machine.log").open("ab") as log:
            outer = subprocess.Popen(
                [*namespaces, "sh", "-c", INIT, "machine", str(self.state), sys.executable],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        pid = self._first_process(outer)
        self._pid_file.write_text(f"{pid} {_start_time(pid)}")
        self._connect(pid, routes)

    def _first_process(self, outer: subprocess.Popen[bytes]) -> int:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        for _attempt in range(500):
            try:
                found = children.read_text().split()
            except FileNotFoundError:
                found = []
            # The child is a namespace's first process only once it has run its own program.
            if found and b"unshare" not in Path(f"/proc/{found[0]}/cmdline").read_bytes().split(b"\0")[0]:
                return int(found[0])
            if outer.poll() is not None:
                break
            time.sleep(0.01)
        raise ObserverError(f"lab machine {self.name} did not start; see {self.state}/log/machine.log (the lab needs root and the right to make namespaces)")

    def _connect(self, pid: int, routes: t.Sequence[str]) -> None:
        with lock(self.root):
            ensure_bridge()
            run("ip", "link", "delete", self.veth, check=False)
            run("ip", "link", "add", self.veth, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
            run("ip", "link", "set", self.veth, "master", BRIDGE, "up")
        for command in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{self.address}/{NETWORK.prefixlen}", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            # Last, for the machine waits for it.
            ("route", "add", "default", "via", str(GATEWAY)),
        ):
            run("nsenter", "--target", str(pid), "--net", "ip", *command)
        for route in routes:
            run("ip", "route", "replace", route, "via", self.address, "dev", BRIDGE)

    def _make_cgroup(self) -> None:
        for controller in _controllers():
            folder = controller / self.cgroup
            folder.mkdir(exist_ok=True)
            for name in CPUSET_FILES:
                if (folder / name).exists() and not (folder / name).read_text().strip():
                    (folder / name).write_text((controller / name).read_text())

    def _write_supervisor_configuration(self, programs: t.Sequence[Program]) -> None:
        # supervisord expands %(name)s in values, so a literal percent sign is doubled.
        parser = configparser.RawConfigParser()
        log = self.state / "log"
        parser["supervisord"] = {"logfile": f"{log}/supervisord.log", "pidfile": f"{self.state}/supervisord.pid", "childlogdir": str(log), "minfds": "16384"}
        parser["unix_http_server"] = {"file": f"{self.state}/supervisor.sock", "chmod": "0700"}
        parser["rpcinterface:supervisor"] = {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"}
        for program in programs:
            section = {
                "command": " ".join(_quote(word) for word in program.command).replace("%", "%%"),
                "priority": str(program.priority),
                "autostart": str(program.autostart).lower(),
                "autorestart": "true",
                "startsecs": "0",
                "startretries": "100",
                "stopwaitsecs": "20",
                "redirect_stderr": "true",
                "stdout_logfile": f"{log}/{program.name}.log",
                "stdout_logfile_maxbytes": "20MB",
                "stdout_logfile_backups": "1",
            }
            if program.environment:
                section["environment"] = ",".join(f"{key}={_quote(value)}" for key, value in program.environment.items()).replace("%", "%%")
            parser[f"program:{program.name}"] = section
        path = self.state / "supervisord.conf"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
            parser.write(handle)

    def supervisor(self) -> t.Any:
        """The supervisor's XML-RPC interface (U(https://supervisord.org/api.html)) of this machine."""
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, serverurl=f"unix://{self.state}/supervisor.sock")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def start_programs(self, names: t.Iterable[str]) -> None:
        supervisor = self.supervisor()
        for name in names:
            try:
                supervisor.startProcess(name, False)
            except xmlrpc.client.Fault as fault:
                if "ALREADY_STARTED" not in fault.faultString:
                    raise ObserverError(f"{name} of lab machine {self.name} did not start: {fault.faultString}; see {self.state}/log/{name}.log") from fault

    def log_tail(self, name: str, lines: int = 5) -> str:
        try:
            return "\n".join((self.state / "log" / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(no log)"

    # -- end ----------------------------------------------------------------
    def remove(self, routes: t.Sequence[str] = ()) -> None:
        """End the machine and remove all its files; of a machine that was killed too."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            _wait_until(lambda: _start_time(pid) is None, 30, f"lab machine {self.name} (process {pid}) does not end")
        for route in routes:
            run("ip", "route", "delete", route, check=False)
        run("ip", "link", "delete", self.veth, check=False)
        self._remove_cgroup()
        _remove_tree(self.state)

    def _remove_cgroup(self) -> None:
        for controller in _controllers():
            top = controller / self.cgroup
            if not top.exists():
                continue
            for folder, _folders, _files in os.walk(top, topdown=False):
                _wait_until(lambda folder=folder: _remove_folder(folder), 20, f"cgroup {folder} still holds processes")


def remove_bridge_when_unused(root: Path) -> None:
    """Delete the bridge when no machine is left on it."""
    with lock(root):
        members = json.loads(run("ip", "-json", "link", "show", "master", BRIDGE, check=False).stdout or "[]")
        if not [member for member in members if member]:
            run("ip", "link", "delete", BRIDGE, check=False)


def _start_time(pid: int) -> str | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # A zombie has ended; only its parent has not looked yet.
    return None if fields[0] == "Z" else fields[19]


def _wait_until(done: t.Callable[[], bool], seconds: float, message: str) -> None:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise ObserverError(f"{message} after {seconds:.0f} s; look with ps and try again")
        time.sleep(0.05)


def _remove_folder(folder: str) -> bool:
    try:
        Path(folder).rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def _remove_tree(path: Path) -> None:
    for attempt in range(20):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(0.1 * attempt)
    shutil.rmtree(path)


def _quote(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' if any(char in word for char in " \"';,") else word
