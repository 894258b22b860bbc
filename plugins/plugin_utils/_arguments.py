# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: an action plugin that changes a module's arguments on the controller, and then runs the module."""

from __future__ import annotations

import os
import typing as t

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError


class ArgumentsActionModule(ActionBase):
    _supports_async = True
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        try:
            arguments = self._arguments(dict(self._task.args))
        except ObserverError as error:
            raise AnsibleActionFail(str(error)) from error
        result.update(self._execute_module(module_name=self._task.action, module_args=arguments, task_vars=task_vars, wrap_async=self._task.async_val))
        return result

    def _arguments(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        """The arguments that the module gets; ObserverError when they are bad."""
        raise NotImplementedError

    def _find_kubeconfig(self, arguments: dict[str, t.Any]) -> None:
        """Where the module runs on the controller, a path of a kubeconfig is looked for as copy does it."""
        kubeconfig = arguments.get("kubeconfig")
        # several kubeconfigs in one value are left to the client
        if isinstance(kubeconfig, str) and kubeconfig and os.pathsep not in kubeconfig and self._connection.transport == "local":
            try:
                arguments["kubeconfig"] = self._loader.get_real_file(self._find_needle("files", kubeconfig), decrypt=True)
            except AnsibleError as error:
                raise ObserverError(f"kubeconfig: {kubeconfig} cannot be read on the controller: {str(error).splitlines()[0]}") from error
