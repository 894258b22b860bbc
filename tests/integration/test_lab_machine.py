# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lab machines with a small program, in a network namespace of the test's own: whatever happens to its bridge, no lab of this machine notices."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _lab_machine as lab
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="lab machines need root")

CLONE_NEWNET = 0x40000000
INDEX = 77
ROUTES = ("10.177.0.0/16",)


@pytest.fixture(autouse=True)
def own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[None]:
    monkeypatch.setattr(lab, "CGROUP_PREFIX", "scs-lab-of-a-test-")
    monkeypatch.setattr(lab, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr(lab, "INOTIFY_INSTANCES", tmp_path / "max_user_instances")
    (tmp_path / "max_user_instances").write_text("128\n")
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/self/ns/net").open() as before:
        assert libc.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            assert not lab._lab_links()
            yield
        finally:
            assert libc.setns(before.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())


@pytest.fixture
def root() -> t.Iterator[Path]:
    # Below /tmp, which every machine hides behind one of its own; and short.
    path = Path(tempfile.mkdtemp(prefix="lab-", dir="/tmp"))
    yield path
    for folder in path.iterdir():
        lab.Machine(path, folder.name, INDEX).remove(ROUTES)
    shutil.rmtree(path)


def start(root: Path, name: str = "one", index: int = INDEX) -> lab.Machine:
    machine = lab.Machine(root, name, index)
    program = lab.Program(
        "waiter", ("/bin/sh", "-c", 'printf "%s\\n" "100% of \'$1\'; $2 $WORD"; exec sleep 600', "sh", "a ;b #c", '"d\\e'), environment={"WORD": "x=%(y)s,z"}
    )
    machine.state.mkdir()
    (machine.state / "index").write_text(str(index))
    machine.start([program], ROUTES)
    eventually(lambda: "100%" in machine.log_tail("waiter"))
    return machine


def eventually(done: t.Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def cgroups(machine: lab.Machine) -> list[Path]:
    return [folder for folder in (controller / machine.cgroup for controller in lab._controllers()) if folder.exists()]


def assert_gone(machine: lab.Machine, pids: t.Iterable[int]) -> None:
    assert not machine.state.exists()
    assert cgroups(machine) == []
    assert machine.index not in lab._lab_links()
    assert lab._lab_routes() == {}
    assert [pid for pid in pids if lab._start_time(pid) is not None] == []


def test_a_machine_runs_its_programs_as_they_were_given(root: Path) -> None:
    machine = start(root)
    assert machine.log_tail("waiter") == "100% of 'a ;b #c'; \"d\\e x=%(y)s,z"


def test_a_machine_is_reached_and_shares_nothing_but_the_bridge(root: Path) -> None:
    machine = start(root)
    assert machine.is_connected(ROUTES)
    assert lab.living_owners() == {INDEX: machine.state}
    inside = lab.run(*machine.nsenter("ip", "-brief", "address", "show", "eth0")).stdout
    assert f"{machine.address}/24" in inside
    for path in ("/run/netns", "/run/containerd", "/var/lib/cni", "/var/log/containers"):
        lab.run(*machine.nsenter("touch", f"{path}/of-a-lab-machine"))
        assert not Path(path, "of-a-lab-machine").exists()
    lab.run(*machine.nsenter("touch", "/tmp/of-a-lab-machine"))
    assert not Path("/tmp/of-a-lab-machine").exists()
    assert str(root) not in Path("/proc/self/mountinfo").read_text()


def test_all_processes_are_in_the_machines_cgroup(root: Path) -> None:
    machine = start(root)
    pids = lab._processes(machine.cgroup)
    assert machine.pid in pids
    names = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids}
    assert {"unshare", "sleep"} <= names


def test_a_bridge_that_was_taken_away_comes_back(root: Path) -> None:
    machine = start(root)
    lab.run("ip", "link", "delete", lab.BRIDGE)
    assert not machine.is_connected(ROUTES)
    machine.connect(ROUTES)
    assert machine.is_connected(ROUTES)


def test_a_link_that_was_taken_away_comes_back(root: Path) -> None:
    machine = start(root)
    lab.run("ip", "link", "delete", machine.veth)
    assert not machine.is_connected(ROUTES)
    machine.connect(ROUTES)
    assert machine.is_connected(ROUTES)
    assert "default via" in lab.run(*machine.nsenter("ip", "route")).stdout


def test_remove_leaves_nothing(root: Path) -> None:
    machine = start(root)
    pids = lab._processes(machine.cgroup)
    machine.remove(ROUTES)
    assert_gone(machine, pids)
    assert lab.sweep(root) == [f"bridge {lab.BRIDGE}"]
    assert lab.sweep(root) == []


def test_limits_are_given_back_with_the_last_machine(root: Path) -> None:
    machine = start(root)
    assert lab.INOTIFY_INSTANCES.read_text() == str(lab.ENOUGH_INSTANCES)
    machine.remove(ROUTES)
    lab.sweep(root)
    assert lab.INOTIFY_INSTANCES.read_text().strip() == "128"


def test_a_killed_machine_is_known_as_ended_and_removed(root: Path) -> None:
    machine = start(root)
    pids = lab._processes(machine.cgroup)
    os.kill(t.cast(int, machine.pid), signal.SIGKILL)
    eventually(lambda: machine.pid is None)
    machine.remove(ROUTES)
    assert_gone(machine, pids)


def test_a_machine_whose_start_was_killed_before_it_was_noted_is_removed(root: Path) -> None:
    machine = start(root)
    pids = lab._processes(machine.cgroup)
    (machine.state / "machine.pid").unlink()
    assert machine.pid is None
    machine.remove(ROUTES)
    assert_gone(machine, pids)


def test_sweep_ends_a_machine_whose_state_folder_is_gone(root: Path) -> None:
    machine = start(root)
    pids = lab._processes(machine.cgroup)
    shutil.rmtree(machine.state)
    found = lab.sweep(root, check_mode=True)
    assert f"cgroup {machine.cgroup}" in found
    assert cgroups(machine)
    lab.sweep(root)
    assert_gone(machine, pids)
    assert not lab._links(lab.BRIDGE)


def test_sweep_touches_no_machine_that_runs(root: Path) -> None:
    machine = start(root)
    other = Path(tempfile.mkdtemp(prefix="lab-", dir="/tmp"))
    try:
        assert lab.sweep(root) == []
        assert lab.sweep(other) == []
    finally:
        other.rmdir()
    assert machine.is_connected(ROUTES)


def test_another_roots_machine_keeps_its_address(root: Path) -> None:
    machine = start(root)
    other = Path(tempfile.mkdtemp(prefix="lab-", dir="/tmp"))
    try:
        twin = lab.Machine(other, "one", INDEX)
        assert twin.cgroup != machine.cgroup
        with pytest.raises(ObserverError, match=rf"index {INDEX}\) is in use by the lab machine {machine.state}; use another index"):
            twin.start([], ROUTES)
        twin.remove(ROUTES)
    finally:
        shutil.rmtree(other)
    assert machine.is_connected(ROUTES)


def test_a_number_that_another_process_has_now_is_not_killed(root: Path) -> None:
    machine = start(root)
    os.kill(t.cast(int, machine.pid), signal.SIGKILL)
    with subprocess.Popen(["sleep", "600"]) as bystander:
        try:
            (machine.state / "machine.pid").write_text(f"{bystander.pid} {lab._start_time(bystander.pid)}")
            assert machine.pid is None
            machine.remove(ROUTES)
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_a_program_that_dies_is_started_again(root: Path) -> None:
    machine = start(root)

    def pid() -> int:
        return t.cast(int, machine.supervisor().getProcessInfo("waiter")["pid"])

    before = pid()
    lab.run(*machine.nsenter("kill", "-9", str(before)))
    eventually(lambda: pid() not in (0, before))
