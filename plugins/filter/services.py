# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.scs.observer.plugins.module_utils import _services
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError


def _service_probes(services: t.Any, modules: t.Any = None, proxies: t.Any = None) -> dict[str, t.Any]:
    try:
        return _services.probes(services, modules, proxies)
    except ObserverError as error:
        raise AnsibleFilterError(str(error)) from error


def _service_problems(services: t.Any, modules: t.Any = None, interval: str = "", secrets: t.Any = None, namespace: str = "") -> list[str]:
    try:
        return _services.problems(services, modules, interval, secrets, namespace)
    except ObserverError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"service_probes": _service_probes, "service_problems": _service_problems}
