# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.scs.observer.plugins.module_utils import _dashboard_adopt
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError


def _adopt_dashboard(dashboard: t.Any, *, on_error: str = "fail", **options: t.Any) -> dict[str, t.Any]:
    try:
        if on_error not in ("fail", "keep"):
            raise ObserverError(f"on_error is {on_error}. It must be fail or keep.")
        adopted, problems = _dashboard_adopt.adopt(dashboard, _dashboard_adopt.wanted(**options))
        if on_error == "fail":
            _dashboard_adopt.check(problems)
        return adopted
    except ObserverError as error:
        raise AnsibleFilterError(str(error)) from error


def _adopt_dashboard_problems(dashboard: t.Any, *, on_error: str = "fail", **options: t.Any) -> list[dict[str, str]]:
    try:
        _adopted, problems = _dashboard_adopt.adopt(dashboard, _dashboard_adopt.wanted(**options))
    except ObserverError as error:
        raise AnsibleFilterError(str(error)) from error
    return [problem._asdict() for problem in problems]


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"adopt_dashboard": _adopt_dashboard, "adopt_dashboard_problems": _adopt_dashboard_problems}
