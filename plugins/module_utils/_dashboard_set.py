# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: makes a folder of dashboards fit for infrastructures of the Observer, as one set for each of them or one for all.

The uid of each begins with the infrastructure's name and _, which no such name has in it: dashboards of two infrastructures never have one uid.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import typing as t

from ansible_collections.scs.observer.plugins.module_utils import _dashboard_adopt, _dashboard_walk, _grafana_dashboards
from ansible_collections.scs.observer.plugins.module_utils._dashboard_walk import Json
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

MATCHERS = ('infrastructure=~"$infrastructure"', 'cluster=""')
VARIABLE = "infrastructure"
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
# What names of infrastructures, which have no capital letters, can not be.
TOGETHER = "IaaS"
_LINK = re.compile(r"/d/([a-zA-Z0-9_-]+)")


@dataclasses.dataclass(frozen=True)
class Group:
    """The infrastructures that one set of dashboards is made for."""

    name: str
    infrastructures: tuple[str, ...]
    folder: str
    tag: str  # of this set alone, by which it is found again

    @property
    def path(self) -> str:
        """The name, shortened where it is too long to be the beginning of a uid."""
        if len(self.name) < _dashboard_adopt.UID_PREFIX_MAX:
            return self.name
        return f"{self.name[:14].rstrip('-')}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"


def groups(infrastructures: t.Any, *, multi: bool, folder: str, name: str) -> list[Group]:
    """C(infrastructures) are names, or mappings with name and perhaps folder; C(name) is the set's."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", name):
        raise ObserverError(f"The set's name is {name}. Use at most 40 small letters, digits and -.")
    given = [infrastructures] if isinstance(infrastructures, (str, t.Mapping)) else list(infrastructures or ())
    if not given:
        raise ObserverError("There is no infrastructure to make dashboards for. Name one, by its Prometheus' external label infrastructure.")
    folders: dict[str, str] = {}
    for item in given:
        entry = item if isinstance(item, t.Mapping) else {"name": item}
        infrastructure = entry.get("name")
        if not isinstance(infrastructure, str) or not NAME.match(infrastructure):
            raise ObserverError(f"{infrastructure!r} can not be the name of an infrastructure. It has at most 63 small letters, digits and - inside.")
        if infrastructure in folders:
            raise ObserverError(f"Infrastructure {infrastructure} is named twice. Leave one of them out.")
        folders[infrastructure] = str(entry.get("folder") or "")
    if multi:
        return [Group(TOGETHER, tuple(folders), folder or TOGETHER, f"{name}-{TOGETHER}")]
    default = folder or f"{TOGETHER} {{infrastructure}}"
    return [Group(each, (each,), own or default.replace("{infrastructure}", each), f"{name}-{each}") for each, own in folders.items()]


@dataclasses.dataclass(frozen=True)
class Adopted:
    """A dashboard of a set; C(queries) are those that the matchers were meant for, C(problems) what stays as it is."""

    file: str
    folder: tuple[str, ...]
    content: Json
    queries: int
    problems: tuple[_dashboard_adopt.Problem, ...]

    def about(self, group: Group) -> dict[str, t.Any]:
        problems = [{**problem._asdict(), "title": self.content["title"]} for problem in self.problems]
        unchanged = sum(1 for problem in self.problems if problem.expr)
        counts = {"queries": self.queries, "changed": self.queries - unchanged}
        uid = self.content["uid"]
        return {"file": self.file, "path": f"{group.path}/{uid}.json", "uid": uid, "title": self.content["title"], **counts, "problems": problems}

    def entry(self, folder: str) -> dict[str, str]:
        """As M(scs.observer.grafana_dashboards) takes it."""
        path = (*_grafana_dashboards.split_path(folder), *self.folder)
        text = json.dumps(self.content, indent=2, ensure_ascii=False) + "\n"
        return {"name": self.file, "folder": _grafana_dashboards.join_path(path), "content": text}


def adopted(
    sources: t.Sequence[_grafana_dashboards.Source],
    group: Group,
    *,
    tags: t.Sequence[str] = (),
    keep_datasources: t.Sequence[str] = (),
    subfolders: bool = False,
) -> list[Adopted]:
    """ObserverError that names all that is wrong with the files."""
    asked = _dashboard_adopt.wanted(
        matchers=MATCHERS,
        # only to be replaced: what can be chosen does not depend on what reports at the moment
        variables=[{"name": VARIABLE, "multi": False, "include_all": False}],
        keep_datasources=keep_datasources,
        uid_prefix=f"{group.path}_",
        title_prefix=f"{group.name} / ",
        tags=[*dict.fromkeys(["iaas", *group.infrastructures, group.tag, *tags])],
    )
    found: list[Adopted] = []
    uids: dict[str, str] = {}
    problems: list[str] = []
    for source in sources:
        try:
            given = _grafana_dashboards.decoded(source)
            content, left, queries = _dashboard_adopt.adopt_and_count(given, asked)
        except ObserverError as error:
            text = str(error)
            problems.append(text if text.startswith(source.name) else f"{source.name}: {text}")
            continue
        _fix_variable(content, group)
        if isinstance(given.get("uid"), str) and given["uid"]:
            uids[given["uid"]] = content["uid"]
        found.append(Adopted(source.name, source.folder if subfolders else (), content, queries, tuple(left)))
    _grafana_dashboards.fail_for(problems)
    # says which uids are not possible, or are there twice
    _grafana_dashboards.parse([{"name": item.file, "content": item.content} for item in found], "")
    return [dataclasses.replace(item, content=_linked(item.content, uids, group.tag)) for item in found]


def _fix_variable(dashboard: Json, group: Group) -> None:
    """The names themselves. A query would find none while an infrastructure is silent, and nothing chosen fits what has no such label: the Observer's own."""
    variables = dashboard["templating"]["list"]
    place = next(number for number, variable in enumerate(variables) if variable.get("name") == VARIABLE)
    several = group.name == TOGETHER
    values = [{"text": each, "value": each, "selected": not several} for each in group.infrastructures]
    every = [{"text": "All", "value": "$__all", "selected": True}] if several else []
    variables[place] = {
        "name": VARIABLE,
        "label": "Infrastructure",
        "type": "custom",
        "query": ",".join(group.infrastructures),
        "multi": several,
        "includeAll": several,
        "allValue": "|".join(group.infrastructures) if several else None,
        "hide": 0,
        "skipUrlSync": False,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]} if several else dict(values[0]),
        "options": [*every, *values],
    }


def _linked(dashboard: Json, uids: t.Mapping[str, str], tag: str) -> Json:
    """Links to dashboards of the set lead to the adopted ones, and menus by tags hold no others."""

    def leads(value: t.Any) -> t.Any:
        if isinstance(value, dict):
            return {key: leads(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [leads(entry) for entry in value]
        if isinstance(value, str) and "/d/" in value:
            return _LINK.sub(lambda hit: "/d/" + uids.get(hit[1], hit[1]), value)
        return value

    found = leads(dashboard)
    menus = [link for link in found.get("links") or () if isinstance(link, dict) and link.get("type") == "dashboards"]
    menus += [
        options
        for panel in _dashboard_walk.panels(found)
        if panel.kind == "dashlist" and isinstance(options := panel.raw.get("options"), dict) and options.get("tags")
    ]
    for menu in menus:
        menu["tags"] = [*dict.fromkeys([*(menu.get("tags") or ()), tag])]
    return found
