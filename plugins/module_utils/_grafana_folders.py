# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: Grafana's tree of folders, read as far as it is needed, and made where a path is missing."""

from __future__ import annotations

import typing as t

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._grafana_dashboards import join_path

ROOT = ""
Path = tuple[str, ...]


class Backend(t.Protocol):
    def folders(self, parent: str = "") -> list[dict[str, t.Any]]: ...

    def folder(self, uid: str) -> dict[str, t.Any]: ...

    def create_folder(self, title: str, parent: str = "") -> str: ...


class Tree:
    def __init__(self, backend: Backend, *, nested: bool, version: str = "") -> None:
        self._backend, self._nested, self._version = backend, nested, version
        self._children: dict[str, dict[str, list[str]]] = {}
        # title and parent of each folder that was seen
        self._known: dict[str, tuple[str, str]] = {}
        self._made: dict[Path, str] = {}

    def children(self, uid: str) -> dict[str, list[str]]:
        """Title to uids."""
        if uid not in self._children:
            found: dict[str, list[str]] = {}
            # without nested folders Grafana gives the top's list again
            for folder in self._backend.folders(uid) if self._nested or uid == ROOT else []:
                found.setdefault(str(folder.get("title", "")).strip(), []).append(folder["uid"])
                self._known[folder["uid"]] = (str(folder.get("title", "")).strip(), uid)
            self._children[uid] = found
        return self._children[uid]

    def find(self, path: Path) -> str | None:
        """The folder's uid, None where it does not exist yet."""
        if len(path) > 1 and not self._nested:
            raise ObserverError(
                f"folder {join_path(path)}: this Grafana ({self._version}) has no nested folders. Give folders of one level, "
                "update to Grafana 11, or switch on its feature toggle nestedFolders."
            )
        uid = ROOT
        for depth, title in enumerate(path, 1):
            found = self.children(uid).get(title, [])
            if len(found) > 1:
                raise ObserverError(
                    f"folder {join_path(path[:depth])} is there {len(found)} times in Grafana ({', '.join(sorted(found))}). Rename or remove all but one."
                )
            if not found:
                return None
            uid = found[0]
        return uid

    def path(self, uid: str) -> Path:
        """The titles that lead to a folder."""
        titles: list[str] = []
        seen: set[str] = set()
        while uid != ROOT:
            if uid in seen:
                raise ObserverError(f"the folders {', '.join(sorted(seen))} lie in one another, a loop. Move one of them to the top in Grafana.")
            seen.add(uid)
            if uid not in self._known:
                folder = self._backend.folder(uid)
                self._known[uid] = (str(folder.get("title", "")).strip(), parent_of(folder))
            title, uid = self._known[uid]
            titles.insert(0, title)
        return tuple(titles)

    def below(self, uid: str) -> set[str]:
        """The folder and all folders in it, at any depth; of the top, only what lies there directly."""
        if uid == ROOT:
            return {ROOT}
        found: set[str] = set()
        todo = [(uid, frozenset[str]())]
        while todo:
            current, above = todo.pop()
            if current in above:
                raise ObserverError(f"the folders {', '.join(sorted(above))} lie in one another, a loop. Move one of them to the top in Grafana.")
            found.add(current)
            todo += [(child, above | {current}) for uids in self.children(current).values() for child in uids]
        return found

    def missing(self, paths: t.Iterable[Path]) -> list[Path]:
        """What has to be made, parents first."""
        wanted = {path[:depth] for path in paths for depth in range(1, len(path) + 1)}
        return sorted((path for path in wanted if self.find(path) is None), key=lambda path: (len(path), path))

    def make(self, path: Path) -> str:
        """Make one folder; its parent is there already."""
        parent = self.uid(path[:-1])
        try:
            uid = self._backend.create_folder(path[-1], parent)
        except ObserverError as error:
            # somebody else was faster, or our own answer got lost
            if getattr(error, "status", 0) not in (409, 412):
                raise
            self._children.pop(parent, None)
            uid = self.find(path)
            if uid is None:
                raise
        self._made[path] = uid
        return uid

    def uid(self, path: Path) -> str:
        found = self._made.get(path)
        found = self.find(path) if found is None else found
        if found is None:
            raise ObserverError(f"folder {join_path(path)} is missing. Run again.")
        return found


def parent_of(folder: t.Mapping[str, t.Any]) -> str:
    if "parentUid" not in folder and folder.get("parents"):
        return str(folder["parents"][-1]["uid"])
    parent = str(folder.get("parentUid") or ROOT)
    return ROOT if parent == "general" else parent
