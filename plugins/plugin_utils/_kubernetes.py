# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: finds O(kubeconfig) and O(src) on the controller, and hands manifests over as texts.

A module's no_log hides each text of an option wherever it appears in the result. With one text for each manifest, a Secret's values never
show up, and names, which are parts of it, do.
"""

from __future__ import annotations

import json
import pathlib
import typing as t

from ansible.errors import AnsibleError
from ansible_collections.scs.observer.plugins.module_utils import _manifests
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.plugin_utils._arguments import ArgumentsActionModule


class ActionModule(ArgumentsActionModule):
    def _arguments(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        self._find_kubeconfig(arguments)
        if "manifests" in arguments:
            given = arguments["manifests"]
            items = [] if given is None else [given] if isinstance(given, (str, t.Mapping)) else given
            arguments["manifests"] = [item if isinstance(item, str) else json.dumps(_manifests.plain(item)) for item in items]
        if arguments.get("src") and str(arguments.get("remote_src", "")).lower() not in ("true", "yes", "on", "1", "y", "t"):
            src = arguments.pop("src")
            paths = src.split(",") if isinstance(src, str) else src
            arguments["manifests"] = [*arguments.get("manifests", []), *self._texts(paths)]
        return arguments

    def _texts(self, paths: t.Iterable[str]) -> list[str]:
        texts: list[str] = []
        for given in paths:
            path = pathlib.Path(self._found(str(given).strip()))
            for file in _manifests.files_of(path):
                real = self._loader.get_real_file(str(file), decrypt=True)
                # the name that the user knows, also for a decrypted copy
                texts += _manifests.read_files([real], named=str(file))
        return texts

    def _found(self, path: str) -> str:
        try:
            return self._find_needle("files", path)
        except AnsibleError as error:
            raise ObserverError(f"src: {path} cannot be read on the controller: {str(error).splitlines()[0]}") from error
