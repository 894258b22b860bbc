# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: where the panels, queries, variables and annotations of a Grafana dashboard are.

Of all schemas: panels side by side, panels inside a collapsed row, and C(rows) of before schemaVersion 16. What is yielded are the parts of
the given dashboard themselves, so that who walks may change them.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

Json = dict[str, t.Any]
# A row in a row is none of Grafana's; a file may have it.
DEPTH_MAX = 10

# What Grafana takes for a variable: $name, ${name.field:format}, [[name:format]]; group "name" is of whichever it was.
VARIABLE = re.compile(r"\$(?P<plain>\w+)|\$\{(?P<braced>\w+)(?:\.(?P<field>[^:}]+))?(?::(?P<format>[^}]+))?\}|\[\[(?P<old>\w+)(?::(?P<old_format>\w+))?\]\]")


class Place(t.NamedTuple):
    """A text in the dashboard: where it is, for messages, and by C(holder[key]) to change it."""

    path: str
    holder: Json
    key: str

    @property
    def text(self) -> str:
        return self.holder[self.key]


class Target(t.NamedTuple):
    """A query of a panel; expr is None for what is no PromQL by its form, such as SQL."""

    path: str
    raw: Json
    ref_id: str
    expr: Place | None


class Panel(t.NamedTuple):
    """A panel or a row; row is the title of the row it lies in."""

    path: str
    raw: Json
    title: str
    kind: str
    row: str

    @property
    def library(self) -> bool:
        """Whether it only names a library panel, which Grafana keeps elsewhere."""
        return isinstance(self.raw.get("libraryPanel"), dict)

    def targets(self) -> t.Iterator[Target]:
        for number, raw in enumerate(_objects(self.raw, "targets", self.path)):
            path = f"{self.path}.targets[{number}]"
            expr = Place(path, raw, "expr") if isinstance(raw.get("expr"), str) else None
            yield Target(path, raw, str(raw.get("refId") or chr(ord("A") + number % 26)), expr)


class Variable(t.NamedTuple):
    """A variable; query is its query's text, of a query variable only."""

    path: str
    raw: Json
    name: str
    kind: str
    query: Place | None


class Annotation(t.NamedTuple):
    """An annotation; expr is None for what Grafana itself gives."""

    path: str
    raw: Json
    name: str
    expr: Place | None


def panels(dashboard: t.Mapping[str, t.Any]) -> t.Iterator[Panel]:
    """All panels, each behind the row it lies in; rows are yielded too, with kind "row"."""
    yield from _panels(dashboard, "", "", 0)
    for number, raw in enumerate(_objects(dashboard, "rows", "")):
        path = f"rows[{number}]"
        title = str(raw.get("title") or "")
        yield Panel(path, raw, title, "row", "")
        yield from _panels(raw, f"{path}.", title, 1)


def _panels(holder: t.Mapping[str, t.Any], path: str, row: str, depth: int) -> t.Iterator[Panel]:
    if depth > DEPTH_MAX:
        raise ObserverError(f"{path.rstrip('.')}: rows lie in rows, more than {DEPTH_MAX} deep, which is no dashboard of Grafana's.")
    for number, raw in enumerate(_objects(holder, "panels", path.rstrip("."))):
        own = f"{path}panels[{number}]"
        title, kind = str(raw.get("title") or ""), str(raw.get("type") or "")
        yield Panel(own, raw, title, kind, row)
        if kind == "row":
            # those behind an open row lie beside it
            row = title
        yield from _panels(raw, f"{own}.", title or row, depth + 1)


def variables(dashboard: t.Mapping[str, t.Any]) -> t.Iterator[Variable]:
    for number, raw in enumerate(_objects(dashboard.get("templating"), "list", "templating")):
        path, query = f"templating.list[{number}]", raw.get("query")
        place = None
        if raw.get("type") == "query":
            if isinstance(query, str):
                place = Place(path, raw, "query")
            elif isinstance(query, dict) and isinstance(query.get("query"), str):
                place = Place(path, query, "query")
        yield Variable(path, raw, str(raw.get("name") or ""), str(raw.get("type") or ""), place)


def annotations(dashboard: t.Mapping[str, t.Any]) -> t.Iterator[Annotation]:
    for number, raw in enumerate(_objects(dashboard.get("annotations"), "list", "annotations")):
        path = f"annotations.list[{number}]"
        holders = [holder for holder in (raw, raw.get("target")) if isinstance(holder, dict) and isinstance(holder.get("expr"), str) and holder["expr"]]
        yield Annotation(path, raw, str(raw.get("name") or ""), Place(path, holders[0], "expr") if holders else None)


class VariableQuery(t.NamedTuple):
    """The query of a query variable: function is label_values, label_names, metrics, query_result, or empty for a bare selector."""

    function: str
    argument: str  # the selector, regular expression or query; may be empty
    label: str = ""  # of label_values


def variable_query(text: str) -> VariableQuery:
    """As the Prometheus datasource of Grafana reads it."""
    found = re.fullmatch(r"\s*label_values\((?:(?P<argument>.+),\s*)?(?P<label>[a-zA-Z_$]\w*|\$\{[^}]+\}|\[\[[^\]]+\]\])\s*\)\s*", text, re.DOTALL)
    if found:
        return VariableQuery("label_values", (found["argument"] or "").strip(), found["label"])
    found = re.fullmatch(r"\s*(label_names|metrics|query_result)\((.*)\)\s*", text, re.DOTALL)
    return VariableQuery(found[1], found[2].strip()) if found else VariableQuery("", text.strip())


def _objects(holder: t.Any, key: str, path: str) -> list[Json]:
    """A list of objects; what is missing or null is an empty one."""
    where = f"{path}.{key}" if path and path != key else key
    if holder is None:
        return []
    if not isinstance(holder, dict):
        raise ObserverError(f"{path} is {_kind(holder)}, not an object, so this is no dashboard of Grafana's. Export it again.")
    found = holder.get(key)
    if found is None:
        return []
    if not isinstance(found, list):
        raise ObserverError(f"{where} is {_kind(found)}, not a list, so this is no dashboard of Grafana's. Export it again.")
    for number, item in enumerate(found):
        if not isinstance(item, dict):
            raise ObserverError(f"{where}[{number}] is {_kind(item)}, not an object, so this is no dashboard of Grafana's. Export it again.")
    return found


def _kind(value: t.Any) -> str:
    return {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(type(value), "a number")
