# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes each task's result as a line of JSON, beside what the run prints."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: results
type: notification
short_description: Write each task's result as a line of JSON to the file TEST_RESULTS
description: For tests, which spare a task that saves a result.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "results"
    CALLBACK_NEEDS_ENABLED = True

    def _write(self, **line: t.Any) -> None:
        with pathlib.Path(os.environ["TEST_RESULTS"]).open("a") as file:
            file.write(json.dumps(line, default=str) + "\n")

    def _task(self, status: str, result: t.Any) -> None:
        task = result.task
        self._write(name=task.name, action=task.action, host=result.host.name, status=status, result=dict(result.result))

    def v2_runner_on_ok(self, result: t.Any) -> None:
        self._task("ok", result)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        self._task("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        self._task("skipped", result)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        self._task("unreachable", result)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        self._write(stats={host: stats.summarize(host) for host in stats.processed})
