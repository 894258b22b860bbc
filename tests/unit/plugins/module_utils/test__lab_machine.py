# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import configparser
import typing as t
from pathlib import Path

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _lab_machine as lab
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "LOCKS", tmp_path / "locks")


def test_addresses_follow_from_the_index(tmp_path: Path) -> None:
    machine = lab.Machine(tmp_path, "one", 89)
    assert (machine.address, machine.veth) == ("10.200.0.99", "lab-89")
    assert machine.state == tmp_path / "one"


def test_a_name_below_two_roots_is_two_machines(tmp_path: Path) -> None:
    assert lab.Machine(lab.DEFAULT_ROOT, "one", 1).cgroup == "scs-lab-one"
    groups = {lab.Machine(root, "one", 1).cgroup for root in (lab.DEFAULT_ROOT, tmp_path / "a", tmp_path / "b")}
    assert len(groups) == 3


@pytest.mark.parametrize("text", ["", "12", "12 34 56", "1 0", "999999999 1"])
def test_a_number_that_is_not_the_machines_is_no_pid(tmp_path: Path, text: str) -> None:
    machine = lab.Machine(tmp_path, "one", 1)
    machine.state.mkdir()
    (machine.state / "machine.pid").write_text(text)
    assert machine.pid is None


def parsed(machine: lab.Machine) -> t.Any:
    """The programs as supervisord itself reads them."""
    from supervisor.options import ServerOptions

    options = ServerOptions()
    options.realize(["-c", str(machine.state / "supervisord.conf")])
    return {group.name: group.process_configs[0] for group in options.process_group_configs}


@pytest.mark.parametrize(
    "words",
    [
        ("/bin/x", "--plain=1"),
        ("/bin/x", "100%", "%(here)s", "%%"),
        ("/bin/x", "two words", 'a "quote"', "it's", "back\\slash", ""),
        ("/bin/x", "while sleep 1; do y; done", "a ;b", ";c", "#d", "e #f", "\t;g"),
        ("/bin/x", "a,b", "k=v", "$HOME", "*"),
    ],
)
def test_supervisord_reads_every_word_as_it_was_given(tmp_path: Path, words: tuple[str, ...]) -> None:
    import shlex

    machine = lab.Machine(tmp_path, "one", 1)
    (machine.state / "log").mkdir(parents=True)
    machine._write_supervisor_configuration([lab.Program("x", words, autostart=False)])
    config = parsed(machine)["x"]
    assert tuple(shlex.split(config.command)) == words
    assert config.autostart is False
    assert config.startsecs == 0


def test_supervisord_reads_the_environment_and_nobody_else_does(tmp_path: Path) -> None:
    machine = lab.Machine(tmp_path, "one", 1)
    (machine.state / "log").mkdir(parents=True)
    environment = {"SECRET": "a-b_c=100%,d", "OTHER": "two words"}
    machine._write_supervisor_configuration([lab.Program("x", ("/bin/x",), environment=environment)])
    assert parsed(machine)["x"].environment == environment
    assert (machine.state / "supervisord.conf").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("value", ['a"b', "it's", "a\nb", "a ;b", "a #b"])
def test_what_supervisord_cant_be_told_is_an_error(value: str) -> None:
    with pytest.raises(ObserverError, match="environment variable KEY"):
        lab._environment_text("KEY", value)


def test_a_line_break_in_a_command_is_an_error() -> None:
    with pytest.raises(ObserverError, match="line break"):
        lab._command_text(("/bin/x", "a\nb"))


def test_the_first_process_gets_back_what_it_needs_of_tmp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab.sys, "prefix", "/tmp/checkout/.venv")
    monkeypatch.setattr(lab.sys, "base_prefix", "/usr")
    machine = lab.Machine(Path("/tmp/root"), "one", 1)
    programs = [lab.Program("x", ("/tmp/cache/programs/x",)), lab.Program("y", ("/usr/bin/y",))]
    assert machine._needed_of_tmp(programs) == ["/tmp/cache/programs", "/tmp/checkout/.venv", "/tmp/root/one"]


def test_who_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab.os, "geteuid", lambda: 1000)
    with pytest.raises(ObserverError, match="needs root; run as root, or with become: true"):
        lab.check_machine(lab.DEFAULT_ROOT / "one")


@pytest.mark.parametrize(
    ("state", "programs", "message"),
    [
        (Path("relative/one"), (), "the lab's root relative is not an absolute path"),
        (Path("/var/lib") / ("x" * 60), (), "is too long for the sockets below it"),
        (lab.DEFAULT_ROOT / "one", ("no-such-program",), "the lab needs no-such-program, missing on this machine"),
    ],
)
def test_what_cant_work_is_refused(monkeypatch: pytest.MonkeyPatch, state: Path, programs: tuple[str, ...], message: str) -> None:
    monkeypatch.setattr(lab.os, "geteuid", lambda: 0)
    monkeypatch.setattr(lab.shutil, "which", lambda name: None if name == "no-such-program" else f"/bin/{name}")
    with pytest.raises(ObserverError, match=message):
        lab.check_machine(state, *programs)


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ObserverError, match="the program no-such-program is missing on this machine"):
        lab.run("no-such-program")


def test_a_failed_command_says_why() -> None:
    with pytest.raises(ObserverError, match="'sh -c echo broken >&2; exit 3' ended with 3: broken"):
        lab.run("sh", "-c", "echo broken >&2; exit 3")


def test_one_change_at_a_time() -> None:
    with lab.lock("one"):
        with pytest.raises(ObserverError, match=r"another run \(process \d+\) has worked on lab machine one for 0 s"), lab.lock("one", seconds=0.1):
            pass
        with lab.lock("two", seconds=0.1), lab.lock(seconds=0.1):
            pass
    with lab.lock("one", seconds=0.1):
        pass


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    lab.write_whole(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path] or {entry.name for entry in tmp_path.iterdir()} <= {"x", "locks"}


def test_the_configuration_is_one_that_configparser_reads(tmp_path: Path) -> None:
    machine = lab.Machine(tmp_path, "one", 1)
    (machine.state / "log").mkdir(parents=True)
    machine._write_supervisor_configuration([])
    parser = configparser.RawConfigParser()
    parser.read(machine.state / "supervisord.conf")
    assert parser["unix_http_server"]["chmod"] == "0700"
