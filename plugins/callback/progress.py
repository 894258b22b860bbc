# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Output for people who watch a long play: what runs, how long it takes, and what failed."""

from __future__ import annotations

DOCUMENTATION = r"""
name: progress
type: stdout
short_description: One line for each thing that takes long, and nothing else
version_added: 0.1.0
author:
  - Sovereign Cloud Stack (@SovereignCloudStack)
description:
  - For long plays that are watched by people.
  - A play gets one header line, as soon as something in it runs, with the time since the start.
  - Each item of a loop with C(loop_control.extended) gets a line when it ends, C(3/9 build prometheus 1:51).
    That is its number, the task's name, the item's label and its duration.
  - Every other task gets a line only when it took long, see O(slow_task_seconds).
  - A task that still runs says so, see O(heartbeat_seconds).
  - The messages of M(ansible.builtin.debug) are printed as plain text; the items of a list are lines.
  - Failures are printed with host, task, file and line and with the whole message, never with the task's parameters.
  - At the end there is one line for each host, and the time of the whole run.
  - With C(-v) or more it writes what P(ansible.builtin.default#callback) writes.
requirements:
  - Set as C(stdout_callback) in ansible.cfg or by E(ANSIBLE_STDOUT_CALLBACK).
extends_documentation_fragment:
  - default_callback
  - result_format_callback
notes:
  - The options of P(ansible.builtin.default#callback) count with C(-v) only, but O(display_failed_stderr) and O(result_format), which always do.
options:
  slow_task_seconds:
    description: A task without numbered items is shown when it took longer than this many seconds.
    type: float
    default: 10
    env:
      - name: SCS_OBSERVER_PROGRESS_SLOW_TASK_SECONDS
    ini:
      - section: callback_progress
        key: slow_task_seconds
  heartbeat_seconds:
    description:
      - A task, or the item of a loop, that runs longer than this many seconds says so while it runs.
      - On a terminal the line is overwritten in place. Elsewhere it comes each time twice as many seconds have passed.
      - V(0) turns it off.
    type: float
    default: 30
    env:
      - name: SCS_OBSERVER_PROGRESS_HEARTBEAT_SECONDS
    ini:
      - section: callback_progress
        key: heartbeat_seconds
  show_changed:
    description: Also show each task that changed something, however short it was.
    type: bool
    default: false
    env:
      - name: SCS_OBSERVER_PROGRESS_SHOW_CHANGED
    ini:
      - section: callback_progress
        key: show_changed
"""

import collections.abc
import dataclasses
import os
import shutil
import sys
import textwrap
import threading
import time
import typing as t

from ansible import constants as C
from ansible import context
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback.default import CallbackModule as Default

HIDDEN = "(hidden by no_log)"
LAST_LINES = 30
_ERASE_LINE = "\r\x1b[K"


def duration(seconds: float) -> str:
    """C(0:31), C(12:05), C(1:02:03)."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def lines_of(value: t.Any) -> list[str]:
    """The lines of a message that is a text or a list of texts; the items of a list may have several lines."""
    if isinstance(value, str):
        return str(value).rstrip("\n").split("\n")
    return [line for item in value for line in lines_of(item)]


def is_text(value: t.Any) -> bool:
    return isinstance(value, str) or (isinstance(value, collections.abc.Sequence) and all(isinstance(item, str) for item in value))


def item_label(found: t.Mapping[str, t.Any]) -> t.Any:
    """The label of a loop's item, or the item itself; None outside of a loop and under no_log."""
    if found.get("_ansible_no_log") or "ansible_loop_var" not in found:
        return None
    return found.get("_ansible_item_label", found.get(found["ansible_loop_var"]))


def with_label(name: str, label: t.Any) -> str:
    """The task's name and the item's label, unless the name has it already or the label is no plain value."""
    if isinstance(label, bool) or not isinstance(label, (str, int)) or str(label) in name:
        return name
    return f"{name} {label}"


@dataclasses.dataclass
class Running:
    """A task on one host; in a numbered loop, the item whose turn it is."""

    name: str
    host: str
    since: float
    item_since: float
    done: int = 0
    length: int = 0
    attempt: str = ""
    shown: float = 0.0
    numbered: bool = False

    def text(self, now: float, host: str) -> str:
        number = f"{self.done + 1}/{self.length} " if 0 < self.done < self.length else ""
        return f"… {number}{self.name}{host} {duration(now - self.item_since)}{self.attempt}"


class CallbackModule(Default):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "scs.observer.progress"

    def __init__(self) -> None:
        super().__init__()
        self._started = time.monotonic()
        self._header: tuple[str, float] | None = None
        self._names: dict[str, str] = {}
        self._hosts: set[str] = set()
        self._running: dict[tuple[str, str], Running] = {}
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None
        self._in_place = False
        self._brief = self._display.verbosity == 0

    # What is written

    def _write(self, text: str, color: str | None = None, *, stderr: bool = False) -> None:
        with self._lock:
            self._erase()
            if self._header is not None:
                name, at = self._header
                self._header = None
                self._display.display(f"▸ {name} {duration(at)}", color=C.COLOR_HIGHLIGHT)
            self._display.display(text, color=color, stderr=stderr)

    def _erase(self) -> None:
        if self._in_place:
            self._in_place = False
            self._display.display(_ERASE_LINE, screen_only=True, newline=False)

    def _host(self, name: str) -> str:
        """The host's name where it tells anything: with more than one host in the play."""
        return f" [{name}]" if len(self._hosts) > 1 else ""

    def _name(self, result: t.Any) -> str:
        fields = result._task_fields or {}
        return str(fields.get("name") or self._names.get(result._task._uuid) or result._task.get_name()).strip()

    # What runs

    def _begin(self, host: t.Any, task: t.Any) -> None:
        now = time.monotonic()
        name = self._names.get(task._uuid) or task.get_name().strip()
        with self._lock:
            self._hosts.add(host.get_name())
            self._running[host.get_name(), task._uuid] = Running(name, host.get_name(), now, now)
            if self._heart is None and self.get_option("heartbeat_seconds") > 0:
                self._heart = threading.Thread(target=self._beat, name="progress-heartbeat", daemon=True)
                self._heart.start()

    def _end(self, result: t.Any) -> tuple[Running | None, float]:
        with self._lock:
            running = self._running.pop((result._host.get_name(), result._task._uuid), None)
        return running, time.monotonic() - running.since if running else 0.0

    def _beat(self) -> None:
        after = self.get_option("heartbeat_seconds")
        terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        while not self._ended.wait(min(1.0, after / 4)):
            now = time.monotonic()
            with self._lock:
                waiting = [running for running in self._running.values() if now - running.item_since >= after]
                if not waiting or self._ended.is_set():
                    continue
                oldest = min(waiting, key=lambda running: running.item_since)
                if not terminal and now - max(oldest.shown, oldest.item_since) < 2 * after:
                    continue
                others = len([running for running in waiting if running.name == oldest.name]) - 1
                text = oldest.text(now, f" [{oldest.host} and {others} more]" if others else f" [{oldest.host}]")
                for running in waiting:
                    running.shown = now
                if not terminal:
                    self._write(text)
                    continue
                if self._header is not None:
                    self._write(text)
                self._erase()
                self._display.display(text[: shutil.get_terminal_size().columns - 1], screen_only=True, newline=False)
                self._in_place = True

    # Events of a play

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        if not self._brief:
            super().v2_playbook_on_play_start(play)
            return
        self._play = play
        self._hosts = set()
        self._running.clear()
        self._header = (play.get_name().strip(), time.monotonic() - self._started)

    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        if not self._brief:
            super().v2_playbook_on_task_start(task, is_conditional)
        self._names[task._uuid] = str(task.name or task.get_name()).strip()

    def v2_playbook_on_handler_task_start(self, task: t.Any) -> None:
        if not self._brief:
            super().v2_playbook_on_handler_task_start(task)
        self._names[task._uuid] = str(task.name or task.get_name()).strip()

    def v2_playbook_on_include(self, included_file: t.Any) -> None:
        if not self._brief:
            super().v2_playbook_on_include(included_file)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        if not self._brief:
            super().v2_playbook_on_no_hosts_matched()
            return
        self._header, header = None, self._header
        self._write(f"no hosts matched: {header[0] if header else ''}", C.COLOR_SKIP)

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        if not self._brief:
            super().v2_playbook_on_no_hosts_remaining()

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        self._ended.set()
        if not self._brief:
            super().v2_playbook_on_stats(stats)
            return
        with self._lock:
            self._erase()
        self._header = None
        width = max((len(host) for host in stats.processed), default=0)
        for host in sorted(stats.processed):
            counts = stats.summarize(host)
            bad = counts["failures"] or counts["unreachable"]
            color = C.COLOR_ERROR if bad else C.COLOR_CHANGED if counts["changed"] else C.COLOR_OK
            parts = [f"ok={counts['ok']}", f"changed={counts['changed']}", f"failed={counts['failures']}"]
            parts += [f"{key}={counts[key]}" for key in ("unreachable", "rescued", "ignored") if counts[key]]
            self._write(f"{host:{width}}  {'  '.join(parts)}", color)
        check = " (check mode: nothing was changed)" if context.CLIARGS.get("check") else ""
        self._write(f"total {duration(time.monotonic() - self._started)}{check}")

    # Events of a task

    def v2_runner_on_start(self, host: t.Any, task: t.Any) -> None:
        if not self._brief:
            super().v2_runner_on_start(host, task)
        elif not isinstance(task, TaskInclude) and task.action not in ("pause", "ansible.builtin.pause", *C._ACTION_META):
            self._begin(host, task)

    def v2_runner_on_ok(self, result: t.Any) -> None:
        if not self._brief:
            super().v2_runner_on_ok(result)
            return
        running, took = self._end(result)
        self._handle_warnings(result._result)
        if isinstance(result._task, TaskInclude) or (running and running.numbered):
            return
        if result._task.action in C._ACTION_DEBUG:
            if not (result._task.loop and "results" in result._result):
                self._debug(result)
            return
        changed = bool(result._result.get("changed")) and self.get_option("show_changed")
        if took > self.get_option("slow_task_seconds") or changed:
            host = result._host.get_name()
            self._write(f"{self._name(result)} [{host}] {duration(took)}", C.COLOR_CHANGED if result._result.get("changed") else C.COLOR_OK)

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        if not self._brief:
            super().v2_runner_on_skipped(result)
            return
        self._end(result)
        self._handle_warnings(result._result)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        if not self._brief:
            super().v2_runner_on_failed(result, ignore_errors)
            return
        self._end(result)
        # the items of a loop have spoken for themselves
        if not (result._task.loop and any(item.get("failed") for item in result._result.get("results") or [] if isinstance(item, dict))):
            self._failed(result, "FAILED", ignored=ignore_errors)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        if not self._brief:
            super().v2_runner_on_unreachable(result)
            return
        self._end(result)
        self._failed(result, "UNREACHABLE", ignored=bool((result._task_fields or {}).get("ignore_unreachable")))

    def v2_runner_retry(self, result: t.Any) -> None:
        if not self._brief:
            super().v2_runner_retry(result)
            return
        with self._lock:
            running = self._running.get((result._host.get_name(), result._task._uuid))
            if running:
                running.attempt = f" (attempt {result._result.get('attempts', 0) + 1} of {result._result.get('retries')})"

    def v2_runner_on_async_poll(self, result: t.Any) -> None:
        if not self._brief:
            super().v2_runner_on_async_poll(result)

    def v2_runner_on_async_ok(self, result: t.Any) -> None:
        if not self._brief:
            super().v2_runner_on_async_ok(result)

    def v2_runner_on_async_failed(self, result: t.Any) -> None:
        if not self._brief:
            super().v2_runner_on_async_failed(result)

    def v2_on_file_diff(self, result: t.Any) -> None:
        if not self._brief:
            super().v2_on_file_diff(result)
            return
        # the items of a loop have sent their own
        found = result._result
        if not (result._task.loop and "results" in found) and found.get("diff") and found.get("changed"):
            text = self._get_diff(found["diff"]).strip("\n")
            if text:
                self._write(f"{with_label(self._name(result), item_label(found))} [{result._host.get_name()}]\n{text}")

    # Events of an item

    def v2_runner_item_on_ok(self, result: t.Any) -> None:
        if not self._brief:
            super().v2_runner_item_on_ok(result)
            return
        self._handle_warnings(result._result)
        if result._task.action in C._ACTION_DEBUG:
            self._debug(result)
        elif not isinstance(result._task, TaskInclude):
            self._item(result, C.COLOR_CHANGED if result._result.get("changed") else C.COLOR_OK)

    def v2_runner_item_on_skipped(self, result: t.Any) -> None:
        if not self._brief:
            super().v2_runner_item_on_skipped(result)
            return
        self._item_took(result)

    def v2_runner_item_on_failed(self, result: t.Any) -> None:
        if not self._brief:
            super().v2_runner_item_on_failed(result)
            return
        self._item_took(result)
        self._failed(result, "FAILED", ignored=bool((result._task_fields or {}).get("ignore_errors")))

    def _item_took(self, result: t.Any) -> tuple[Running | None, float]:
        now = time.monotonic()
        with self._lock:
            running = self._running.get((result._host.get_name(), result._task._uuid))
            if running is None:
                return None, 0.0
            took = now - running.item_since
            running.item_since, running.attempt, running.done = now, "", running.done + 1
            loop = result._result.get("ansible_loop")
            if loop:
                running.numbered, running.length = True, loop["length"]
            return running, took

    def _item(self, result: t.Any, color: str) -> None:
        loop = result._result.get("ansible_loop")
        _running, took = self._item_took(result)
        if loop:
            name = with_label(self._name(result), item_label(result._result))
            self._write(f"{loop['index']}/{loop['length']} {name}{self._host(result._host.get_name())} {duration(took)}", color)

    # Messages

    def _debug(self, result: t.Any) -> None:
        if result._result.get("_ansible_no_log") or "censored" in result._result:
            return
        loop_variable = result._result.get("ansible_loop_var")
        self._clean_results(result._result, result._task.action)
        shown = {key: value for key, value in result._result.items() if not key.startswith("_") and key not in ("warnings", "deprecations", loop_variable)}
        message = shown.get("msg")
        if "msg" in shown and is_text(message):
            self._write("\n".join(lines_of(message)))
        elif "msg" in shown and isinstance(message, (int, float)):
            self._write(str(message))
        else:
            self._write(textwrap.dedent(self._dump_results(shown).strip("\n")))

    def _failed(self, result: t.Any, what: str, *, ignored: bool) -> None:
        host = self.host_label(result)
        name = with_label(self._name(result), item_label(result._result))
        message = self._message(result._result)
        self._handle_warnings(result._result)
        if ignored or _has_rescue(result._task):
            self._write(f"{'ignored' if ignored else 'rescued'}: {name} [{host}]: {message[0]}", C.COLOR_WARN)
            return
        text = [f"{what} [{host}] {name}", *(f"  {line}" for line in message)]
        path = result._task.get_path()
        if path:
            text.append(f"  at {path}")
        self._write("\n".join(text), C.COLOR_ERROR if what == "FAILED" else C.COLOR_UNREACHABLE, stderr=self.get_option("display_failed_stderr"))

    def _message(self, found: t.Mapping[str, t.Any]) -> list[str]:
        if found.get("_ansible_no_log") or "censored" in found:
            return [HIDDEN]
        message = found.get("msg")
        text = lines_of(message) if message and is_text(message) else [str(message)] if message else []
        # what a command said before it ended
        if "rc" in found:
            said = [
                line for key in ("stderr", "stdout", "module_stderr", "module_stdout") for line in str(found.get(key) or "").rstrip("\n").split("\n") if line
            ]
            left = len(said) - LAST_LINES
            text += [f"(exit status {found['rc']}; {left} earlier lines left out)" if left > 0 else f"(exit status {found['rc']})", *said[-LAST_LINES:]]
        return text or ["it gave no message; run again with -v"]


def _has_rescue(task: t.Any) -> bool:
    """Whether a C(rescue) deals with the failure of this task: it stands under the C(block) of one, not under C(rescue) or C(always)."""
    child, parent = task, getattr(task, "_parent", None)
    while parent is not None:
        if getattr(parent, "rescue", None) and any(item._uuid == child._uuid for item in parent.block):
            return True
        child, parent = parent, getattr(parent, "_parent", None)
    return False
