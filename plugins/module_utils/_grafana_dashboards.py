# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: what a dashboard is. Reading, checking, datasources, and the normal form in which two are compared."""

from __future__ import annotations

import base64
import collections
import dataclasses
import glob
import json
import os
import pathlib
import re
import typing as t
import zlib

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

UID = re.compile(r"[A-Za-z0-9_-]{1,40}\Z")
SUFFIX = ".json"
PACKED = "packed:"
ENTRY_KEYS = {"content", "folder", "uid", "name"}
# What Grafana counts, what only an import reads, and what its editor leaves behind.
NOT_COMPARED = ("id", "version", "iteration", "__inputs", "__requires", "__elements", "meta")
# A dashboard without one of these behaves as one with this value; Grafana's editor writes them on each save.
DEFAULTS: dict[str, t.Any] = {
    "annotations": {"list": []},
    "editable": True,
    "fiscalYearStartMonth": 0,
    "graphTooltip": 0,
    "links": [],
    "liveNow": False,
    "panels": [],
    "preload": False,
    "refresh": "",
    "style": "dark",
    "tags": [],
    "templating": {"list": []},
    "time": {"from": "now-6h", "to": "now"},
    "timepicker": {},
    "timezone": "",
    "weekStart": "",
}
# Datasources that every Grafana has.
BUILT_IN = {"-- Grafana --", "-- Mixed --", "-- Dashboard --", "__expr__", "grafana", "-100"}
BUILT_IN_TYPES = {"datasource", "grafana", "__expr__"}
INPUT = re.compile(r"\$\{([A-Za-z0-9_-]+)\}")


@dataclasses.dataclass(frozen=True)
class Source:
    """A file's text; C(folder) are the subfolders between C(src) and the file."""

    name: str
    text: str
    folder: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A dashboard as the task wants it; C(content) is None where a C(uid) is enough, that is for C(state=absent)."""

    source: str
    uid: str
    folder: tuple[str, ...]
    content: dict[str, t.Any] | None

    @property
    def title(self) -> str:
        return (self.content or {}).get("title", "")

    def __str__(self) -> str:
        return f"{self.title} ({self.uid})" if self.title else self.uid


def fail_for(problems: t.Sequence[str], after: str = "Nothing was written.") -> None:
    """One error that tells all of them."""
    if len(problems) == 1:
        raise ObserverError(f"{problems[0]} {after}")
    if problems:
        raise ObserverError(f"{len(problems)} problems. {after}\n" + "\n".join(f"- {problem}" for problem in problems))


# Reading


def files_of(given: str) -> list[tuple[pathlib.Path, tuple[str, ...]]]:
    """The file, what a glob finds, or what lies in a folder and ends in .json, in the order of names; with the subfolders that lead to each."""
    path = pathlib.Path(given)
    if path.is_dir():
        found = _walk(path, (), (path.resolve(),))
        missing = f"src: folder {given} has no file that ends in {SUFFIX}. Give a folder with dashboards."
    elif glob.has_magic(given) and not path.exists():
        first = next(number for number, part in enumerate(path.parts) if glob.has_magic(part))
        fitting = pathlib.Path(*path.parts[:first]).glob(str(pathlib.PurePath(*path.parts[first:])))
        found = [(file, ()) for file in sorted(fitting) if file.is_file()]
        missing = f"src: no file fits {given}. Correct the pattern."
    else:
        return [(path, ())]
    if not found:
        raise ObserverError(missing)
    return found


def _walk(folder: pathlib.Path, inside: tuple[str, ...], above: tuple[pathlib.Path, ...]) -> list[tuple[pathlib.Path, tuple[str, ...]]]:
    found: list[tuple[pathlib.Path, tuple[str, ...]]] = []
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise ObserverError(f"src: folder {folder} cannot be read: {error.strerror}. Correct its rights.") from error
    for entry in entries:
        if entry.is_dir():
            if entry.resolve() in above:
                raise ObserverError(f"src: folder {entry} is a link to a folder that it lies in, a loop. Remove the link.")
            found += _walk(entry, (*inside, entry.name), (*above, entry.resolve()))
        elif entry.suffix == SUFFIX:
            found.append((entry, inside))
    return found


def read(path: str | os.PathLike[str], name: str, folder: tuple[str, ...] = ()) -> Source:
    try:
        return Source(name, pathlib.Path(path).read_text(encoding="utf-8-sig"), folder)
    except FileNotFoundError as error:
        raise ObserverError(f"src: file {name} does not exist. Correct the path.") from error
    except UnicodeDecodeError as error:
        raise ObserverError(f"src: file {name} is not UTF-8 text. Give a dashboard's JSON.") from error
    except OSError as error:
        raise ObserverError(f"src: file {name} cannot be read: {error.strerror}.") from error


def read_all(paths: t.Iterable[str]) -> list[Source]:
    found: list[Source] = []
    problems: list[str] = []
    for given in paths:
        try:
            files = files_of(given)
        except ObserverError as error:
            problems.append(str(error))
            continue
        for path, folder in files:
            try:
                found.append(read(path, str(path), folder))
            except ObserverError as error:
                problems.append(str(error))
    fail_for(problems)
    return found


def entry_of(source: Source, folder: str, *, by_folder: bool) -> dict[str, str]:
    """An entry of the option dashboards, made of a file."""
    path = (*split_path(folder), *source.folder) if by_folder else split_path(folder)
    return {"name": source.name, "folder": join_path(path), "content": source.text}


def pack(entries: t.Sequence[str]) -> str:
    """All entries in one, many times shorter: a module with megabytes of arguments starts slowly, the more so through a pipe."""
    return PACKED + base64.b64encode(zlib.compress(json.dumps(entries).encode(), 1)).decode()


def unpack(entries: t.Iterable[t.Any]) -> list[t.Any]:
    """All entries, one by one."""
    found: list[t.Any] = []
    for index, entry in enumerate(entries):
        if isinstance(entry, str) and entry.startswith(PACKED):
            try:
                found += json.loads(zlib.decompress(base64.b64decode(entry.removeprefix(PACKED), validate=True)))
            except (ValueError, TypeError, zlib.error) as error:
                raise ObserverError(f"dashboards[{index}] begins with {PACKED}, as this module's action plugin packs them, and can not be unpacked.") from error
        else:
            found.append(entry)
    return found


def split_path(path: str) -> tuple[str, ...]:
    r"""Titles of a folder path; C(\/) is a slash inside of a title. C(General) and nothing are the top."""
    parts = [part.replace("\0", "/").strip() for part in path.replace("\\/", "\0").split("/")]
    found = tuple(part for part in parts if part)
    return () if found in ((), ("General",)) else found


def join_path(parts: t.Iterable[str]) -> str:
    return "/".join(part.replace("/", "\\/") for part in parts)


# Checking


def parse(entries: t.Iterable[t.Any], folder: str, *, content: bool = True) -> list[Wanted]:
    """The dashboards of all entries; one error that names everything that is wrong. With C(content) false a uid is enough."""
    found: list[Wanted] = []
    problems: list[str] = []
    for index, entry in enumerate(entries):
        try:
            found.append(_wanted(entry, f"dashboards[{index}]", folder, content=content))
        except ObserverError as error:
            problems.append(str(error))
    first: dict[str, Wanted] = {}
    for wanted in found:
        other = first.setdefault(wanted.uid, wanted)
        if other is not wanted:
            problems.append(f"{wanted.source}: uid {wanted.uid} is there twice, first in {other.source}. Give one of them another uid.")
    fail_for(problems)
    return found


def _wanted(entry: t.Any, source: str, folder: str, *, content: bool) -> Wanted:
    if isinstance(entry, str):
        entry = _decoded(entry, source)
    if not isinstance(entry, dict):
        raise ObserverError(f"{source}: a dashboard is a JSON object, and this is {_kind(entry)}. Correct it.")
    if "content" not in entry and not set(entry) <= ENTRY_KEYS:
        entry = {"content": entry}
    unknown = sorted(set(entry) - ENTRY_KEYS)
    if unknown:
        raise ObserverError(f"{source}: beside content there is {', '.join(unknown)}, which is not known. Known are {', '.join(sorted(ENTRY_KEYS))}.")
    for key in ("name", "folder", "uid"):
        if entry.get(key) is not None and not isinstance(entry[key], str):
            raise ObserverError(f"{source}: {key} is {_kind(entry[key])}. Give a text.")
    source = entry.get("name") or source
    path = split_path(folder if entry.get("folder") is None else entry["folder"])
    body = entry.get("content")
    if body is None and not content and entry.get("uid"):
        return Wanted(source, _uid(entry["uid"], source), path, None)
    if body is None:
        raise ObserverError(f"{source}: there is no content. Give the dashboard's JSON.")
    dashboard = _dashboard(_decoded(body, source) if isinstance(body, str) else body, source)
    uid = _uid(entry.get("uid") or dashboard.get("uid"), source)
    return Wanted(source, uid, path, {**dashboard, "uid": uid})


def decoded(source: Source) -> dict[str, t.Any]:
    """A file's dashboard, which may have no uid."""
    return _dashboard(_decoded(source.text, source.name), source.name)


def _decoded(text: str, source: str) -> t.Any:
    try:
        return json.loads(text.removeprefix("\ufeff"), parse_constant=_not_json)
    except json.JSONDecodeError as error:
        what = "it is empty" if not text.strip() else f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise ObserverError(f"{source}: this is not JSON: {what}. Correct it.") from error
    except (ValueError, RecursionError) as error:
        raise ObserverError(f"{source}: this is not JSON: {str(error) or 'too deep'}. Correct it.") from error


def _not_json(name: str) -> t.NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _dashboard(body: t.Any, source: str) -> dict[str, t.Any]:
    if not isinstance(body, dict):
        raise ObserverError(f"{source}: a dashboard is a JSON object, and this is {_kind(body)}. Correct it.")
    # as the API and community.grafana export it
    if isinstance(body.get("dashboard"), dict):
        body = body["dashboard"]
    if "apiVersion" in body or ("elements" in body and "layout" in body):
        raise ObserverError(
            f"{source}: this is a dashboard of schema v2 or a Kubernetes object, which the /api of Grafana does not take. Export it as classic JSON."
        )
    title = body.get("title")
    if not isinstance(title, str) or not title.strip():
        raise ObserverError(f"{source}: the dashboard has no title. Give it one.")
    for key, kind in (("panels", list), ("tags", list), ("templating", dict), ("annotations", dict), ("__inputs", list)):
        if body.get(key) is not None and not isinstance(body[key], kind):
            raise ObserverError(f"{source}: {key} is {_kind(body[key])} and not {'a list' if kind is list else 'an object'}. Correct it.")
    return body


def _uid(uid: t.Any, source: str) -> str:
    if not uid:
        raise ObserverError(f"{source}: the dashboard has no uid, by which it would be found again. Give it one, of letters, digits, - and _.")
    if not isinstance(uid, str) or not UID.match(uid.strip()):
        raise ObserverError(f"{source}: uid {uid!r} is not valid. Use 1 to 40 letters, digits, - and _.")
    return uid.strip()


def _kind(value: t.Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def with_tag(wanted: Wanted, tag: str) -> Wanted:
    if wanted.content is None or tag in (wanted.content.get("tags") or []):
        return wanted
    return dataclasses.replace(wanted, content={**wanted.content, "tags": [*(wanted.content.get("tags") or []), tag]})


# Datasources


@dataclasses.dataclass(frozen=True)
class Datasource:
    name: str
    uid: str
    type: str


def resolve_datasources(given: t.Mapping[str, t.Any], known: t.Iterable[Datasource]) -> dict[str, Datasource]:
    """What each key of the option datasources stands for in this Grafana, by name or uid."""
    known = list(known)
    by_name, by_uid = {item.name: item for item in known}, {item.uid: item for item in known}
    found: dict[str, Datasource] = {}
    problems: list[str] = []
    for key, target in given.items():
        item = by_uid.get(str(target)) or by_name.get(str(target))
        if item is None:
            names = ", ".join(sorted(by_name)) or "none"
            problems.append(f"datasources: {key} shall be {target}, and Grafana has no datasource of that name or uid. It has: {names}.")
        else:
            found[INPUT.sub(r"\1", key)] = item
    fail_for(problems)
    return found


def replace_datasources(wanted: Wanted, mapping: t.Mapping[str, Datasource]) -> Wanted:
    """References by input, uid, name or else type point to what Grafana has; the inputs of an export for sharing are gone then."""
    if wanted.content is None:
        return wanted
    inputs = {item["name"]: item for item in wanted.content.get("__inputs") or [] if isinstance(item, dict) and isinstance(item.get("name"), str)}
    if not mapping and not inputs:
        return wanted
    texts: dict[str, str] = {}
    missing = []
    for name, item in inputs.items():
        if item.get("type") == "datasource":
            target = mapping.get(name) or mapping.get(str(item.get("pluginId")))
            if target:
                texts[name] = target.uid
            else:
                missing.append(
                    f"{wanted.source}: input {name} needs a datasource of type {item.get('pluginId')}. Name one in datasources, as in {name}: Thanos."
                )
        elif isinstance(item.get("value"), str):
            texts[name] = item["value"]
        else:
            missing.append(f"{wanted.source}: input {name} has no value. Write the value in place of ${{{name}}}.")
    if missing:
        raise ObserverError("\n".join(missing))
    content = {key: value for key, value in wanted.content.items() if key not in ("__inputs", "__requires")}
    return dataclasses.replace(wanted, content=_replaced(content, mapping, inputs, texts))


def _replaced(value: t.Any, mapping: t.Mapping[str, Datasource], inputs: t.Mapping[str, t.Any], texts: t.Mapping[str, str]) -> t.Any:
    if isinstance(value, list):
        return [_replaced(item, mapping, inputs, texts) for item in value]
    if isinstance(value, str):
        return INPUT.sub(lambda hit: texts.get(hit[1], hit[0]), value) if texts and "${" in value else value
    if not isinstance(value, dict):
        return value
    found = {}
    for key, item in value.items():
        target = _target(item, mapping, inputs) if key == "datasource" and isinstance(item, (str, dict)) else None
        found[key] = {"type": target.type, "uid": target.uid} if target else _replaced(item, mapping, inputs, texts)
    # a variable that chooses a datasource begins with the one that is named
    if found.get("type") == "datasource" and isinstance(found.get("query"), str) and found["query"] in mapping:
        chosen = mapping[found["query"]]
        found["current"] = {"text": chosen.name, "value": chosen.uid}
    return found


def _target(reference: str | dict[str, t.Any], mapping: t.Mapping[str, Datasource], inputs: t.Mapping[str, t.Any]) -> Datasource | None:
    uid, kind = (reference, "") if isinstance(reference, str) else (reference.get("uid"), reference.get("type") or "")
    uid = uid if isinstance(uid, str) else ""
    if uid in BUILT_IN or kind in BUILT_IN_TYPES:
        return None
    if uid.startswith("$"):
        # a variable of the dashboard stays, an input does not
        name = uid.removeprefix("$").strip("{}")
        if name in mapping:
            return mapping[name]
        return mapping.get(str(inputs[name].get("pluginId"))) if name in inputs else None
    return mapping.get(uid) or mapping.get(kind)


# Comparing


def normal(dashboard: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The form in which dashboards are compared, shown and exported: without what Grafana fills in, and without what is the default anyway."""
    found = _plain({key: value for key, value in dashboard.items() if key not in NOT_COMPARED})
    for key in ("title", "uid"):
        if isinstance(found.get(key), str):
            found[key] = found[key].strip()
    if isinstance(found.get("tags"), list):
        found["tags"] = sorted({str(tag) for tag in found["tags"]})
    annotations = found.get("annotations")
    if isinstance(annotations, dict) and isinstance(annotations.get("list"), list):
        rest = [item for item in annotations["list"] if not (isinstance(item, dict) and item.get("builtIn") == 1 and item.get("type") == "dashboard")]
        found["annotations"] = {**annotations, "list": rest}
    return {key: value for key, value in sorted(found.items()) if not (key in DEFAULTS and text_of(value) == text_of(DEFAULTS[key]))}


def bare(dashboard: t.Mapping[str, t.Any]) -> str:
    """The text of a dashboard but for what is never compared."""
    return text_of({key: value for key, value in dashboard.items() if key not in NOT_COMPARED})


def _plain(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        found = {str(key): _plain(item) for key, item in value.items() if item is not None}
        library = found.get("libraryPanel")
        if isinstance(library, dict):
            found["libraryPanel"] = {key: library[key] for key in ("name", "uid") if key in library}
        return found
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    # Go writes 1.0 as 1
    return int(value) if isinstance(value, float) and value.is_integer() else value


def aligned(actual: dict[str, t.Any], wanted: dict[str, t.Any]) -> dict[str, t.Any]:
    """The actual normal form without what Grafana had to fill in because the wanted one does not say it."""
    found = dict(actual)
    if "schemaVersion" not in wanted:
        found.pop("schemaVersion", None)
    if not _panel_ids_hold(wanted) and isinstance(found.get("panels"), list):
        found["panels"] = without_panel_ids(found["panels"])
    return found


def same(actual: dict[str, t.Any], wanted: dict[str, t.Any]) -> bool:
    return text_of(aligned(actual, wanted)) == text_of(compared(wanted))


def compared(wanted: dict[str, t.Any]) -> dict[str, t.Any]:
    if _panel_ids_hold(wanted) or not isinstance(wanted.get("panels"), list):
        return wanted
    return {**wanted, "panels": without_panel_ids(wanted["panels"])}


def _panel_ids_hold(dashboard: t.Mapping[str, t.Any]) -> bool:
    """Where panels lack ids or share them, Grafana gives out its own."""
    ids = [panel.get("id") for panel in _panels(dashboard.get("panels"))]
    return None not in ids and 0 not in ids and max(collections.Counter(map(str, ids)).values(), default=1) == 1


def _panels(panels: t.Any) -> t.Iterator[dict[str, t.Any]]:
    for panel in panels if isinstance(panels, list) else []:
        if isinstance(panel, dict):
            yield panel
            yield from _panels(panel.get("panels"))


def without_panel_ids(panels: list[t.Any]) -> list[t.Any]:
    found = []
    for panel in panels:
        if isinstance(panel, dict):
            panel = {key: without_panel_ids(item) if key == "panels" and isinstance(item, list) else item for key, item in panel.items() if key != "id"}
        found.append(panel)
    return found


def text_of(value: t.Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def render(dashboard: t.Mapping[str, t.Any]) -> str:
    """The text of a normal form, as diffs show it and as a file should hold it."""
    return json.dumps(dashboard, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
