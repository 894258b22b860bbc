# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.scs.observer.plugins.module_utils import _alert_rules
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError


def _thresholds(rules: t.Any, settings: t.Any = None) -> dict[str, t.Any]:
    try:
        return _alert_rules.thresholds(rules, settings)
    except ObserverError as error:
        raise AnsibleFilterError(str(error)) from error


def _alert_settings(rules: t.Any, settings: t.Any = None, known: t.Iterable[str] | None = None) -> dict[str, t.Any]:
    try:
        return _alert_rules.alert_settings(rules, settings, known)
    except ObserverError as error:
        raise AnsibleFilterError(str(error)) from error


def _alert_names(rules: t.Any) -> list[str]:
    try:
        return _alert_rules.alert_names(rules)
    except ObserverError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"thresholds": _thresholds, "alert_settings": _alert_settings, "alert_names": _alert_names}
