# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner with the real ansible-playbook."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest
from _service import mode, wait_until
from kaas_mock import runner

PROGRAM = Path(sys.executable).parent / "ansible-playbook"
INVENTORY = {"kaas": {"hosts": {"one": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}}}


class Tried:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tasks: list[str] = []
        self.log = folder / "1.log"
        self.runner = runner.Runner(PROGRAM, folder / "ansible")

    def run(self, tasks: t.Any, *, timeout: float = 60, stop: t.Callable[[], bool] = lambda: False, variables: t.Sequence[t.Any] = ()) -> runner.Result:
        playbook = self.folder / "playbook.yml"
        text = tasks if isinstance(tasks, str) else json.dumps([{"hosts": "kaas", "gather_facts": False, "tasks": tasks}])
        playbook.write_text(text)
        folder = self.folder / "run"
        assert not folder.exists()
        return self.runner.run(folder, str(playbook), INVENTORY, variables, self.log, timeout, stop, self.tasks.append)


@pytest.fixture
def tried(tmp_path: Path) -> Tried:
    return Tried(tmp_path)


def test_it_goes_well(tried: Tried) -> None:
    tasks = [{"name": "Look", "ansible.builtin.command": "sleep 1"}, {"name": "Say", "ansible.builtin.debug": {"msg": "{{ word }} {{ other }}"}}]
    file = tried.folder / "variables.yml"
    file.write_text("word: file\nother: file\n")
    result = tried.run(tasks, variables=[{"word": "first", "other": "first"}, file, {"word": "last"}])
    assert result == runner.Result()
    assert "Look" in tried.tasks and "last file" in tried.log.read_text()
    assert mode(tried.log) == 0o600 and {mode(path) for path in (tried.folder / "run").iterdir()} == {0o600} and mode(tried.folder / "run") == 0o700


@pytest.mark.parametrize(
    ("tasks", "error", "final"),
    [
        ([{"name": "Try", "ansible.builtin.fail": {"msg": "no room here"}}], "Try: no room here", False),
        ([{"name": "Refuse it", "ansible.builtin.assert": {"that": False, "fail_msg": "It is taken."}}], "Refuse it: It is taken.", True),
        ([{"name": "Loop", "ansible.builtin.fail": {"msg": "item {{ item }}"}, "loop": [1], "when": "item == 1"}], "Loop: item 1", False),
        ([{"name": "Run", "ansible.builtin.command": "/none/program"}], "Run: Error executing command", False),
        ([{"name": "Hide", "ansible.builtin.fail": {"msg": "secret word"}, "no_log": True}], "Hide: ", False),
        (
            [
                {"name": "Ignored", "ansible.builtin.fail": {"msg": "no matter"}, "ignore_errors": True},
                {
                    "block": [{"name": "Rescued", "ansible.builtin.fail": {"msg": "first"}}],
                    "rescue": [{"name": "Then", "ansible.builtin.fail": {"msg": "second"}}],
                },
            ],
            "Then: second",
            False,
        ),
        ("- hosts: kaas\n  nonsense: 1\n", "ansible-playbook ended with 4: [ERROR]: 'nonsense' is not a valid attribute for a Play", False),
        ("{", "ansible-playbook ended with 4: [ERROR]: YAML parsing failed", False),
    ],
)
def test_it_fails(tried: Tried, tasks: t.Any, error: str, final: bool) -> None:
    result = tried.run(tasks)
    assert result.error.startswith(error), result.error
    assert result.final is final and not result.stopped
    # Ansible itself writes it into its output, and so into the log, which only the service's user can read
    assert "secret word" not in result.error


def test_what_failed_and_was_rescued_is_no_error(tried: Tried) -> None:
    tasks = [{"block": [{"name": "Try", "ansible.builtin.fail": {"msg": "x"}}], "rescue": [{"name": "Mend", "ansible.builtin.debug": {"msg": "y"}}]}]
    assert tried.run(tasks) == runner.Result()


def marked(folder: Path) -> list[int]:
    return [process.pid for process in runner.find([str(folder)])]


def test_a_stop_ends_every_process(tried: Tried) -> None:
    stop = threading.Event()
    result: list[runner.Result] = []
    tasks = [{"name": "Wait", "ansible.builtin.shell": "setsid sleep 300 & exec sleep 300"}]
    thread = threading.Thread(target=lambda: result.append(tried.run(tasks, stop=stop.is_set)))
    thread.start()
    folder = tried.folder / "run"

    def sleeps() -> list[int]:
        return [pid for pid in marked(folder) if b"sleep\x00300" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    wait_until(lambda: len(sleeps()) == 2, "the task's two processes", 30)
    sessions = {os.getsid(pid) for pid in marked(folder)}
    assert len(sessions) > 1, "they all share a session: then the process group would do"
    stop.set()
    thread.join(30)
    assert result == [runner.Result("Stopped.", stopped=True)] and marked(folder) == []


def test_a_time_limit_ends_it(tried: Tried) -> None:
    begin = time.monotonic()
    result = tried.run([{"name": "Wait", "ansible.builtin.command": "sleep 300"}], timeout=4)
    assert result.error == "It took longer than 4 s (setting job_timeout) and was ended. Its last task was: Wait" and not result.final
    assert time.monotonic() - begin < 20 and marked(tried.folder / "run") == []


def test_what_goes_on_in_the_background_is_left_alone(tried: Tried) -> None:
    assert tried.run([{"name": "Start", "ansible.builtin.shell": "setsid sleep 300 > /dev/null 2>&1 &"}]) == runner.Result()
    assert len(marked(tried.folder / "run")) == 1
    runner.end([str(tried.folder / "run")])
    assert marked(tried.folder / "run") == []


def test_nothing_of_the_caller_s_ansible_is_used(tried: Tried, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "none.such")
    monkeypatch.setenv("K8S_AUTH_HOST", "https://other.example.com")
    monkeypatch.setenv("KAAS_MOCK_HOST", "x")
    result = tried.run([{"name": "Look", "ansible.builtin.shell": "env | grep -E '^(K8S_AUTH|KAAS_MOCK_HOST|ANSIBLE_STDOUT)' && exit 1 || true"}])
    assert result == runner.Result(), tried.log.read_text()
