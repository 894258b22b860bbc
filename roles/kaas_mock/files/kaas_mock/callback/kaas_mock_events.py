# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells the KaaS mock service which task runs and why one failed: a line of JSON each, in the file KAAS_MOCK_EVENTS."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: kaas_mock_events
type: notification
short_description: Write tasks and failures as lines of JSON to the file KAAS_MOCK_EVENTS
description: Part of the KaaS mock service.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "kaas_mock_events"
    CALLBACK_NEEDS_ENABLED = True

    def _write(self, **event: str) -> None:
        with Path(os.environ["KAAS_MOCK_EVENTS"]).open("a") as file:
            file.write(json.dumps(event) + "\n")

    def _failed(self, result: t.Any) -> None:
        values = getattr(result, "result", None) or result._result
        # a loop's own message names no reason
        items = [item for item in values.get("results") or [] if isinstance(item, dict) and item.get("failed")]
        error = next((item["msg"] for item in [*items, values] if item.get("msg")), None) or values.get("censored") or "failed without a message"
        task = getattr(result, "task", None) or result._task
        self._write(task=task.get_name(), error=str(error))

    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        self._write(task=task.get_name())

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._failed(result)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        self._failed(result)
