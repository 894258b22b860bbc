# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest
from ansible_collections.scs.observer.plugins.callback import progress

TOP = pathlib.Path(__file__).parents[4]

PLAYBOOK = """
- name: First play
  hosts: all
  gather_facts: false
  vars:
    ansible_connection: local
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  tasks:
    - name: build
      ansible.builtin.command: sleep {{ item.seconds }}
      changed_when: false
      loop:
        - {name: alpha, seconds: 0, token: not-for-you}
        - {name: beta, seconds: "{{ pace }}", token: not-for-you}
      loop_control:
        label: "{{ item.name }}"
        extended: true
    - name: quick
      ansible.builtin.set_fact:
        quick: true
    - name: slow
      ansible.builtin.command: sleep {{ pace }}
      changed_when: false
    - name: page
      ansible.builtin.debug:
        msg: ["first line", "second line\\nthird line"]
    - name: each
      ansible.builtin.debug:
        msg: "page {{ item }}"
      loop: [1, 2]
    - name: nothing to see
      ansible.builtin.debug:
        msg: hunter2
      no_log: true
    - name: skipped
      ansible.builtin.debug:
        msg: never said
      when: false
    - name: may fail
      ansible.builtin.fail:
        msg: ["it did", "as it may"]
      ignore_errors: true
    - block:
        - name: mended
          ansible.builtin.fail:
            msg: broken for a while
      rescue:
        - name: mend
          ansible.builtin.debug:
            msg: it is mended
    - name: write
      ansible.builtin.copy:
        content: "a new line\\n"
        dest: "{{ playbook_dir }}/written"
        mode: "0600"
    - name: fail in a loop
      ansible.builtin.command: sh -c 'echo it broke on {{ item }} >&2; exit 3'
      changed_when: false
      loop: [gamma]
      loop_control:
        extended: true
      when: end == "loop"
    - name: fail with a secret
      ansible.builtin.fail:
        msg: hunter2
      no_log: true
      when: end == "secret"
    - name: fail at last
      ansible.builtin.fail:
        msg: |
          the bucket cannot be written
          give other keys
- name: Second play
  hosts: nobody
  tasks: []
"""


def play(folder: pathlib.Path, *args: str, hosts: str = "lab,", end: str = "fail", pace: int = 0, **settings: str) -> list[str]:
    """Runs the playbook above and gives back what it wrote."""
    path = folder / "playbook.yml"
    path.write_text(PLAYBOOK)
    (folder / "ansible.cfg").touch()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "SCS_OBSERVER_PROGRESS_"))}
    environment |= {
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_COLLECTIONS_PATH": str(TOP / ".cache/tree"),
        "ANSIBLE_STDOUT_CALLBACK": "scs.observer.progress",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "SCS_OBSERVER_PROGRESS_SLOW_TASK_SECONDS": "2.5",
        "SCS_OBSERVER_PROGRESS_HEARTBEAT_SECONDS": "0.8",
        **settings,
    }
    command = [sys.executable, "-m", "ansible", "playbook", "-i", hosts, "-e", f"end={end} pace={pace}", str(path), *args]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return play(tmp_path_factory.mktemp("progress"), "--diff", pace=3)


def test_play_has_a_header_with_the_elapsed_time(lines: list[str]) -> None:
    assert re.fullmatch(r"▸ First play 0:\d\d", lines[0])
    assert not any("PLAY" in line or "TASK" in line for line in lines)


def test_numbered_item_gets_a_line_when_it_ends(lines: list[str]) -> None:
    assert any(re.fullmatch(r"1/2 build alpha 0:\d\d", line) for line in lines)
    assert any(re.fullmatch(r"2/2 build beta 0:(0[3-9]|[1-5]\d)", line) for line in lines)
    assert not any("not-for-you" in line for line in lines)


def test_other_task_gets_a_line_only_when_it_is_slow(lines: list[str]) -> None:
    assert any(re.fullmatch(r"slow \[lab\] 0:(0[3-9]|[1-5]\d)", line) for line in lines)
    assert not any("quick" in line for line in lines)


def test_task_that_still_runs_says_so(lines: list[str]) -> None:
    beats = [line for line in lines if line.startswith("…")]
    assert any(re.fullmatch(r"… slow \[lab\] 0:(0[2-9]|[1-5]\d)", line) for line in beats)
    assert any(re.fullmatch(r"… 2/2 build \[lab\] 0:(0[2-9]|[1-5]\d)", line) for line in beats)


def test_debug_is_plain_text(lines: list[str]) -> None:
    at = lines.index("first line")
    assert lines[at : at + 5] == ["first line", "second line", "third line", "page 1", "page 2"]


def test_secret_and_skipped_are_not_written(lines: list[str]) -> None:
    assert not any("hunter2" in line or "never said" in line for line in lines)


def test_ignored_and_rescued_failure_are_one_line(lines: list[str]) -> None:
    assert "ignored: may fail [lab]: it did" in lines
    assert "rescued: mended [lab]: broken for a while" in lines
    assert not any("as it may" in line for line in lines)
    assert "it is mended" in lines


def test_diff_is_written(lines: list[str]) -> None:
    assert "write [lab]" in lines
    assert "+a new line" in lines


def test_failure_is_written_whole_with_its_place(lines: list[str]) -> None:
    at = lines.index("FAILED [lab] fail at last")
    assert lines[at + 1 : at + 3] == ["  the bucket cannot be written", "  give other keys"]
    number = 1 + next(index for index, line in enumerate(PLAYBOOK.splitlines()) if "name: fail at last" in line)
    assert re.fullmatch(rf"  at .*/playbook\.yml:{number}", lines[at + 3])


def test_recap_is_one_line_a_host_and_the_time(lines: list[str]) -> None:
    assert lines[-2] == "lab  ok=9  changed=1  failed=1  rescued=1  ignored=1"
    assert re.fullmatch(r"total 0:\d\d", lines[-1])


def test_failure_of_an_item_names_it_and_what_the_command_said(tmp_path: pathlib.Path) -> None:
    lines = play(tmp_path, end="loop")
    at = lines.index("FAILED [lab] fail in a loop gamma")
    assert lines[at + 1 : at + 4] == ["  non-zero return code", "  (exit status 3)", "  it broke on gamma"]
    assert len([line for line in lines if line.startswith("FAILED")]) == 1


def test_failure_under_no_log_hides_its_message(tmp_path: pathlib.Path) -> None:
    lines = play(tmp_path, "--check", end="secret")
    at = lines.index("FAILED [lab] fail with a secret")
    assert lines[at + 1] == "  (hidden by no_log)"
    assert not any("hunter2" in line for line in lines)
    assert lines[-1].endswith("(check mode: nothing was changed)")


def test_items_of_several_hosts_name_their_host(tmp_path: pathlib.Path) -> None:
    lines = play(tmp_path, hosts="one,two,", SCS_OBSERVER_PROGRESS_SHOW_CHANGED="true", SCS_OBSERVER_PROGRESS_HEARTBEAT_SECONDS="0")
    assert {re.sub(r"\d:\d\d$", "", line) for line in lines if line.startswith("2/2")} == {"2/2 build beta [one] ", "2/2 build beta [two] "}
    assert any(re.fullmatch(r"write \[(one|two)\] 0:\d\d", line) for line in lines)
    assert not any(line.startswith("…") for line in lines)


def test_verbose_is_the_default_output(tmp_path: pathlib.Path) -> None:
    lines = play(tmp_path, "-v")
    assert any(line.startswith("TASK [slow]") for line in lines)
    assert any(line.startswith("PLAY RECAP") for line in lines)
    assert any(line.startswith("ok: [lab] => ") for line in lines)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (31.4, "0:31"), (59.6, "1:00"), (725, "12:05"), (3723, "1:02:03")])
def test_duration(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


@pytest.mark.parametrize(
    ("name", "label", "text"),
    [
        ("build", "prometheus", "build prometheus"),
        ("Build prometheus", "prometheus", "Build prometheus"),
        ("wait for", 3, "wait for 3"),
        ("wait", {"password": "x"}, "wait"),
        ("wait", None, "wait"),
    ],
)
def test_with_label(name: str, label: object, text: str) -> None:
    assert progress.with_label(name, label) == text
