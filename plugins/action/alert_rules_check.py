# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: looks relative paths up as copy does, in a role's files/ too. The module reads them."""

from __future__ import annotations

import glob
import pathlib
import typing as t

from ansible_collections.scs.observer.plugins.plugin_utils._arguments import ArgumentsActionModule


class ActionModule(ArgumentsActionModule):
    def _arguments(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        if self._connection.transport == "local":
            for option in ("paths", "tests"):
                given = arguments.get(option)
                if given:
                    paths = given.split(",") if isinstance(given, str) else given if isinstance(given, list) else [given]
                    arguments[option] = [self._found(str(path)) for path in paths]
        return arguments

    def _found(self, given: str) -> str:
        """The first place where there is such a file; else as it is, and the module says that there is none."""
        path = pathlib.Path(given).expanduser()
        if path.is_absolute():
            return str(path)
        for folder in [*self._task.get_search_path(), self._loader.get_basedir()]:
            for place in (pathlib.Path(folder) / "files" / path, pathlib.Path(folder) / path):
                # pathlib's glob has no absolute patterns
                if place.exists() or (glob.has_magic(given) and glob.glob(str(place), recursive=True)):  # noqa: PTH207
                    return str(place)
        return given
