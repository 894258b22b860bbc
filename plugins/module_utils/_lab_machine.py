# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: a lab machine, which is a set of supervised programs in namespaces of their own on a common bridge.

A machine has its own network, mount and process namespace, all held by its first process and by nothing else. So the kernel
takes everything with it when that process ends, however it ends: pods, mounts, addresses, the veth pair. What can be left are
cgroup folders, routes and files; C(Machine.remove) and C(sweep) clear them. Every process of a machine is in the machine's own
cgroups and its link names its state folder, so that each of them is known even where files are lost.
"""

from __future__ import annotations

import configparser
import dataclasses
import errno
import fcntl
import hashlib
import importlib.util
import ipaddress
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import typing as t
import xmlrpc.client
from contextlib import contextmanager, suppress
from pathlib import Path

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

BRIDGE = "lab0"
NETWORK = ipaddress.ip_network("10.200.0.0/24")
GATEWAY = NETWORK[1]
FIRST_ADDRESS = 10
DEFAULT_ROOT = Path("/var/lib/scs-observer-lab")
CGROUP_ROOT = Path("/sys/fs/cgroup")
CGROUP_PREFIX = "scs-lab-"
LINK = re.compile(r"lab-([0-9]+)")
LOCKS = Path("/run/scs-observer-lab")
# A Unix socket's path has at most 107 characters; the longest below a state folder is kubelet/device-plugins/kubelet.sock with a number.
LONGEST_STATE = 60
# Each cluster's programs watch files by about 20 of these, and Linux allows a user 128.
INOTIFY_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
ENOUGH_INSTANCES = 4096
# A version 1 cpuset group takes no process before these two are filled.
CPUSET_FILES = ("cpuset.cpus", "cpuset.mems")
# From the first moment on the machine's processes are in its cgroup, so that they are found however this run ends.
ENTER_CGROUP = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"'
# What the machine's first process does before it becomes supervisord: wait for the network, make private what programs share by path.
# /tmp is one of these, so what the programs need of the real one is put back into it.
INIT = r"""
set -e
state=$1; python=$2; shift 2
until [ -n "$(ip route show default)" ]; do sleep 0.02; done
mount --make-rshared /
mkdir -p "$state/tmp" "$state/run" "$state/cni-results" "$state/log/containers"
chmod 1777 "$state/tmp"
for path; do
  mkdir -p "$state$path"
  mount --bind "$path" "$state$path"
done
mount --rbind "$state/tmp" /tmp
mkdir -p /run/netns /run/containerd /var/lib/cni /var/log/containers
mount -t tmpfs -o mode=755 tmpfs /run/netns
mount -t tmpfs -o mode=700 tmpfs /run/containerd
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


def check_machine(state: Path, *programs: str) -> None:
    """Refuse what can't work before anything is made: another user than root, missing programs."""
    if os.geteuid() != 0:
        raise ObserverError("the lab makes namespaces, mounts and cgroups, so it needs root; run as root, or with become: true")
    missing = [name for name in ("ip", "nsenter", "unshare", "mount", *programs) if shutil.which(name) is None]
    if missing:
        raise ObserverError(f"the lab needs {', '.join(missing)}, missing on this machine; 'make system' installs all that the lab needs")
    if importlib.util.find_spec("supervisor") is None:
        raise ObserverError(f"the Python package supervisor is missing for {sys.executable}; install it for the Python that runs this task")
    if not state.is_absolute():
        raise ObserverError(f"the lab's root {state.parent} is not an absolute path; give one, such as {DEFAULT_ROOT}")
    if len(str(state)) > LONGEST_STATE:
        raise ObserverError(f"the path {state} is too long for the sockets below it (over {LONGEST_STATE} characters); use a shorter root")


@contextmanager
def lock(machine: str | None = None, seconds: float = 600) -> t.Iterator[None]:
    """One change at a time: of what the machines share, or of one machine."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    with (LOCKS / (f"machine-{machine}.lock" if machine else "shared.lock")).open("a+") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    handle.seek(0)
                    holder = handle.read() or "unknown"
                    what = f"lab machine {machine}" if machine else "the lab"
                    raise ObserverError(f"another run (process {holder}) has worked on {what} for {seconds:.0f} s; wait for it or end it") from None
            time.sleep(0.05)
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def _raise_limits() -> None:
    """For all of this machine, for there is no other way; C(_restore_limits) gives back what was."""
    before = INOTIFY_INSTANCES.read_text().strip()
    if int(before) < ENOUGH_INSTANCES:
        LOCKS.mkdir(parents=True, exist_ok=True)
        write_whole(LOCKS / INOTIFY_INSTANCES.name, before)
        INOTIFY_INSTANCES.write_text(str(ENOUGH_INSTANCES))


def _restore_limits() -> None:
    saved = LOCKS / INOTIFY_INSTANCES.name
    if saved.exists():
        if INOTIFY_INSTANCES.read_text().strip() == str(ENOUGH_INSTANCES):
            INOTIFY_INSTANCES.write_text(saved.read_text())
        saved.unlink()


def ensure_bridge() -> None:
    if not _links(BRIDGE):
        run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "replace", f"{GATEWAY}/{NETWORK.prefixlen}", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")


def _links(*words: str) -> list[dict[str, t.Any]]:
    """The links that 'ip link show' knows; none where it says that there is no such device."""
    return [link for link in json.loads(run("ip", "-json", "link", "show", *words, check=False).stdout or "[]") if link]


def _lab_links() -> dict[int, dict[str, t.Any]]:
    found = ((LINK.fullmatch(link["ifname"]), link) for link in _links())
    return {int(match.group(1)): link for match, link in found if match}


def _lab_routes() -> dict[str, int]:
    """The networks that are routed into the lab, and the index of the machine each goes to."""
    routes = json.loads(run("ip", "-json", "route", "show", "dev", BRIDGE, check=False).stdout or "[]")
    first = int(NETWORK[FIRST_ADDRESS])
    return {route["dst"]: int(ipaddress.ip_address(route["gateway"])) - first for route in routes if "gateway" in route}


def living_owners() -> dict[int, Path]:
    """By index the state folders of the machines that run, below whatever root."""
    found = {}
    for index, link in _lab_links().items():
        owner = Path(link.get("ifalias", ""))
        if owner.is_absolute() and Machine(owner.parent, owner.name, index).pid is not None:
            found[index] = owner
    return found


def _controllers() -> list[Path]:
    """The version 1 hierarchies with the unified one beside them (hybrid mode), or the unified one alone."""
    if (CGROUP_ROOT / "cgroup.controllers").exists():
        return [CGROUP_ROOT]
    return sorted({path.resolve() for path in CGROUP_ROOT.iterdir() if path.is_dir()})


def _own_cgroup_hierarchy() -> Path:
    """The hierarchy by which a machine's processes are known; preferred is one that controls nothing, so that limits stay as they are."""
    controllers = _controllers()
    for name in ("unified", "systemd", "freezer"):
        if CGROUP_ROOT / name in controllers:
            return CGROUP_ROOT / name
    return controllers[0]


def _cgroup_suffix(root: Path) -> str:
    """Machines of one name below two roots are two machines."""
    place = root.resolve()
    return "" if place == DEFAULT_ROOT else f".{hashlib.sha256(str(place).encode()).hexdigest()[:8]}"


class Machine:
    """One lab machine: C(root)/C(name) holds all its files; C(index) 0 to 89 gives its address 10.200.0.(10 + index)."""

    def __init__(self, root: Path, name: str, index: int) -> None:
        self.root = root
        self.name = name
        self.index = index
        self.state = root / name
        self.address = str(NETWORK[FIRST_ADDRESS + index])
        # An interface name has at most 15 characters.
        self.veth = f"lab-{index}"
        self.cgroup = f"{CGROUP_PREFIX}{name}{_cgroup_suffix(root)}"
        self._pid_file = self.state / "machine.pid"

    # -- what is there ------------------------------------------------------
    @property
    def pid(self) -> int | None:
        """The machine's first process as this machine numbers it; None when it has ended (the number may be another's by now)."""
        try:
            pid, started = self._pid_file.read_text().split()
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        # After a restart of this machine numbers and times come again, the arguments don't.
        ours = any(argument == str(self.state) or argument.startswith(f"{self.state}/") for argument in arguments)
        return int(pid) if ours and _start_time(int(pid)) == started else None

    def nsenter(self, *command: str | Path) -> list[str]:
        """The command line that runs C(command) inside the machine's namespaces."""
        return ["nsenter", "--target", str(self.pid), "--net", "--mount", "--pid", *(str(word) for word in command)]

    def is_connected(self, routes: t.Sequence[str] = ()) -> bool:
        """Whether this machine reaches it: somebody may have taken the bridge or a route away."""
        bridge = json.loads(run("ip", "-json", "address", "show", "dev", BRIDGE, check=False).stdout or "[]")
        addresses = [address["local"] for link in bridge if "UP" in link.get("flags", []) for address in link.get("addr_info", [])]
        [veth] = _links(self.veth) or [{}]
        known = _lab_routes()
        linked = veth.get("master") == BRIDGE and "UP" in veth.get("flags", [])
        return linked and str(GATEWAY) in addresses and all(known.get(route) == self.index for route in routes)

    # -- start --------------------------------------------------------------
    def start(self, programs: t.Sequence[Program], routes: t.Sequence[str] = ()) -> None:
        """Start the machine and its autostart programs; C(routes) are networks that the host reaches through it."""
        self.check_place()
        self.state.mkdir(parents=True, exist_ok=True)
        (self.state / "log").mkdir(exist_ok=True)
        self._write_supervisor_configuration(programs)
        # Locked, so that no other run sees a cgroup without a process and takes it for left behind.
        with lock(), (self.state / "log" / "machine.log").open("ab") as log:
            _raise_limits()
            namespaces = ("unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--propagation", "private")
            first = ("sh", "-c", INIT, "machine", str(self.state), sys.executable, *self._needed_of_tmp(programs))
            outer = subprocess.Popen(
                ["sh", "-c", ENTER_CGROUP, "sh", str(self._make_cgroup()), *namespaces, *first],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
            pid = self._first_process(outer)
        write_whole(self._pid_file, f"{pid} {_start_time(pid)}")
        self.connect(routes)

    def check_place(self) -> None:
        owner = living_owners().get(self.index, self.state)
        if owner != self.state:
            raise ObserverError(f"lab machine {self.name}: address {self.address} (index {self.index}) is in use by the lab machine {owner}; use another index")

    def _needed_of_tmp(self, programs: t.Sequence[Program]) -> list[str]:
        folders = {str(self.state), sys.prefix, sys.base_prefix, *(str(Path(program.command[0]).parent) for program in programs)}
        return sorted(folder for folder in folders if folder.startswith("/tmp/"))

    def _first_process(self, outer: subprocess.Popen[bytes]) -> int:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        for _attempt in range(500):
            try:
                found = children.read_text().split()
                # The child is a namespace's first process only once it has run its own program.
                if found and b"unshare" not in Path(f"/proc/{found[0]}/cmdline").read_bytes().split(b"\0")[0]:
                    return int(found[0])
            except (FileNotFoundError, ProcessLookupError):
                pass
            if outer.poll() is not None:
                break
            time.sleep(0.01)
        raise ObserverError(f"lab machine {self.name} did not start; see {self.state}/log/machine.log (the lab needs root and the right to make namespaces)")

    def connect(self, routes: t.Sequence[str]) -> None:
        """Link the running machine to the bridge; what is there of it already is used."""
        with lock():
            self.check_place()
            ensure_bridge()
            own = [link for link in _links(self.veth) if link.get("ifalias", str(self.state)) == str(self.state)]
            new = not own or run(*self._inside("ip", "link", "show", "eth0"), check=False).returncode != 0
            if new:
                run("ip", "link", "delete", self.veth, check=False)
                run("ip", "link", "add", self.veth, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid))
            run("ip", "link", "set", self.veth, "alias", str(self.state))
            run("ip", "link", "set", self.veth, "master", BRIDGE, "up")
        if new:
            for command in (
                ("link", "set", "lo", "up"),
                ("address", "add", f"{self.address}/{NETWORK.prefixlen}", "dev", "eth0"),
                ("link", "set", "eth0", "up"),
                # Last, for the machine waits for it.
                ("route", "add", "default", "via", str(GATEWAY)),
            ):
                run(*self._inside("ip", *command))
        for route in routes:
            run("ip", "route", "replace", route, "via", self.address, "dev", BRIDGE)

    def _inside(self, *command: str) -> list[str]:
        return ["nsenter", "--target", str(self.pid), "--net", *command]

    def _make_cgroup(self) -> Path:
        """The machine's cgroups; returns the one for its own processes (a leaf, for version 2 wants processes in leaves)."""
        for controller in _controllers():
            folder = controller / self.cgroup
            folder.mkdir(exist_ok=True)
            for name in CPUSET_FILES:
                if (folder / name).exists() and not (folder / name).read_text().strip():
                    (folder / name).write_text((controller / name).read_text())
        own = _own_cgroup_hierarchy() / self.cgroup / "machine"
        own.mkdir(exist_ok=True)
        return own

    def _write_supervisor_configuration(self, programs: t.Sequence[Program]) -> None:
        parser = configparser.RawConfigParser()
        log = self.state / "log"
        parser["supervisord"] = {"logfile": f"{log}/supervisord.log", "pidfile": f"{self.state}/supervisord.pid", "childlogdir": str(log), "minfds": "16384"}
        parser["unix_http_server"] = {"file": f"{self.state}/supervisor.sock", "chmod": "0700"}
        parser["rpcinterface:supervisor"] = {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"}
        for program in programs:
            section = {
                "command": _command_text(program.command),
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
                section["environment"] = ",".join(f"{key}={_environment_text(key, value)}" for key, value in program.environment.items())
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
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _wait_until(lambda: _start_time(pid) is None, 30, f"lab machine {self.name} (process {pid}) does not end")
        _end_cgroup(self.cgroup)
        # What bears this machine's number may be another root's by now.
        if living_owners().get(self.index, self.state) == self.state:
            for route in routes:
                run("ip", "route", "delete", route, "via", self.address, check=False)
            run("ip", "link", "delete", self.veth, check=False)
        _remove_tree(self.state)


def _processes(cgroup: str) -> set[int]:
    found: set[int] = set()
    for controller in _controllers():
        for folder, _folders, _files in os.walk(controller / cgroup):
            with suppress(OSError):
                found.update(int(pid) for pid in Path(folder, "cgroup.procs").read_text().split())
    return found


def _end_cgroup(cgroup: str) -> None:
    """Kill what runs in a machine's cgroups and remove them."""

    def ended() -> bool:
        pids = _processes(cgroup)
        for pid in pids:
            # 0 is a process that can't be seen from here.
            if pid > 1:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return not pids

    _wait_until(ended, 30, f"processes of cgroup {cgroup} do not end")
    for controller in _controllers():
        for folder, _folders, _files in os.walk(controller / cgroup, topdown=False):
            _wait_until(lambda folder=folder: _remove_folder(folder), 20, f"cgroup {folder} still holds processes")


def sweep(root: Path, check_mode: bool = False) -> list[str]:
    """Remove what labs that were killed have left, and the bridge when it is unused; returns what that was.

    Nothing is touched of a machine that runs, or that has a state folder.
    """
    with lock():
        found = []
        for cgroup in _orphaned_cgroups(root):
            found.append(f"cgroup {cgroup}")
            if not check_mode:
                _end_cgroup(cgroup)
        living = living_owners()
        links = _lab_links()
        reserved = _reserved(root)
        left = [index for index, link in links.items() if index not in living and ("ifalias" in link or index not in reserved)]
        kept = links.keys() - left
        networks = [network for network, index in _lab_routes().items() if index not in kept]
        found += [f"link lab-{index}" for index in left] + [f"route {network}" for network in networks]
        bridge = bool(_links(BRIDGE)) and not {link["ifname"] for link in _links("master", BRIDGE)} - {f"lab-{index}" for index in left}
        if bridge:
            found.append(f"bridge {BRIDGE}")
        if not check_mode:
            for index in left:
                run("ip", "link", "delete", f"lab-{index}", check=False)
            for network in networks:
                run("ip", "route", "delete", network, "dev", BRIDGE, check=False)
            if bridge:
                run("ip", "link", "delete", BRIDGE, check=False)
                _restore_limits()
        return found


def _reserved(root: Path) -> set[int]:
    """Indexes that a state folder below C(root) has; 0 has no file, for it is always the S3 server's."""
    texts = [path.read_text().strip() for path in root.glob("*/index")]
    return {int(text) for text in texts if text.isdigit()} | ({0} if (root / "s3").exists() else set())


def _orphaned_cgroups(root: Path) -> list[str]:
    """Those without a state folder below this C(root); of other roots, whose folders are not known here, those without a process."""
    suffix = _cgroup_suffix(root)
    names = {path.name for controller in _controllers() for path in controller.glob(f"{CGROUP_PREFIX}*") if path.is_dir()}
    found = []
    for name in sorted(names):
        machine, dot, own = name.removeprefix(CGROUP_PREFIX).partition(".")
        orphaned = not (root / machine).exists() if dot + own == suffix else not _processes(name) and (bool(dot) or not (DEFAULT_ROOT / machine).exists())
        if orphaned:
            found.append(name)
    return found


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


def write_whole(path: Path, text: str) -> None:
    """A reader, or a run after this one was killed, sees all of it or nothing."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.rename(path)


def _command_text(command: t.Sequence[str]) -> str:
    """As supervisord reads it: %(name)s is expanded, what follows a space and ';' or '#' is a comment even inside quotes, then come the shell's quotes."""
    if any("\n" in word for word in command):
        raise ObserverError(f"the command {command[0]} has a line break in a word, which supervisord can't be told; use another separator")
    text = " ".join(shlex.quote(word) for word in command)
    # Between the space and the mark the quotes end and begin again, which changes nothing for shlex.
    return re.sub(r"(?<=\s)(?=[;#])", "''", text).replace("%", "%%")


def _environment_text(key: str, value: str) -> str:
    # supervisord's own parser knows no escapes here.
    if re.search(r"[\"'\n]|\s[;#]", value):
        raise ObserverError(f"the value of the environment variable {key} holds a quote, a line break or a comment sign, which supervisord can't be told")
    return f'"{value}"'.replace("%", "%%")
