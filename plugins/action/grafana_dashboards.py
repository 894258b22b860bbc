# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds O(src) on the controller, and hands all dashboards over as one packed text: the module keeps it out of logs as a whole, and titles stay readable."""

from __future__ import annotations

import glob
import json
import pathlib
import typing as t

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.scs.observer.plugins.module_utils import _grafana_dashboards as dashboards
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._manifests import plain
from ansible_collections.scs.observer.plugins.plugin_utils._arguments import ArgumentsActionModule


class ActionModule(ArgumentsActionModule):
    def _arguments(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        given = arguments.get("dashboards")
        items = [] if given is None else [given] if isinstance(given, (str, t.Mapping)) else given
        entries = [str(item) if isinstance(item, str) else json.dumps(plain(item)) for item in items]
        if arguments.get("src") and not boolean(arguments.get("remote_src", False), strict=False):
            src = arguments.pop("src")
            paths = src.split(",") if isinstance(src, str) else src
            folder, by_folder = str(arguments.get("folder") or ""), boolean(arguments.get("folders_from_src", False), strict=False)
            entries += [json.dumps(dashboards.entry_of(source, folder, by_folder=by_folder)) for source in self._sources(paths)]
        arguments["dashboards"] = [dashboards.pack(entries)] if entries else []
        return arguments

    def _sources(self, paths: t.Iterable[str]) -> list[dashboards.Source]:
        found: list[dashboards.Source] = []
        problems: list[str] = []
        for given in paths:
            try:
                for file, folder in dashboards.files_of(self._found(str(given).strip())):
                    try:
                        found.append(dashboards.read(self._loader.get_real_file(str(file), decrypt=True), str(file), folder))
                    except AnsibleError as error:
                        problems.append(f"src: file {file} cannot be read: {str(error).splitlines()[0]}")
                    except ObserverError as error:
                        problems.append(str(error))
            except ObserverError as error:
                problems.append(str(error))
        dashboards.fail_for(problems)
        return found

    def _found(self, path: str) -> str:
        """Of a pattern, what comes before its first magic part is looked for."""
        parts = pathlib.PurePath(path).parts
        magic = next((number for number, part in enumerate(parts) if glob.has_magic(part)), None)
        try:
            if magic is None:
                return self._find_needle("files", path)
            return str(pathlib.Path(self._find_needle("files", str(pathlib.PurePath(*parts[:magic])) if magic else "."), *parts[magic:]))
        except AnsibleError as error:
            raise ObserverError(f"src: {path} cannot be read on the controller: {str(error).splitlines()[0]}") from error
