# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: makes a dashboard that was written for one Prometheus fit for the Observer, whose data are of many.

Datasource, uid, title and tags are set, matchers go into every selector, and the variables that they name are added. Done again, it changes nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import typing as t

from ansible_collections.scs.observer.plugins.module_utils import _dashboard_walk, _promql_inject, _rules_promql
from ansible_collections.scs.observer.plugins.module_utils._dashboard_walk import VARIABLE, Json, Place
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._promql_inject import METRIC, NUMBER, OTHER, Matcher, Unclear

PROBLEMS_SHOWN = 5
UID_MAX = 40  # Grafana's
UID_PREFIX_MAX = 24
# What Grafana itself answers, or what is of many datasources.
SPECIAL = frozenset(["-- Mixed --", "-- Grafana --", "-- Dashboard --", "grafana", "__expr__"])
PROMETHEUS, DEFAULT, UNKNOWN, ELSE = "prometheus", "default", "unknown", "else"

# What binds a dashboard to the Grafana that it was exported from.
BINDINGS = ("id", "iteration", "folderId", "folderUid", "folderTitle", "meta", "__inputs", "__requires", "__elements")


class Problem(t.NamedTuple):
    """What was left as it is; ref_id is the query's letter, or the name of the variable or annotation."""

    dashboard: str
    path: str
    panel: str
    ref_id: str
    expr: str
    reason: str

    def __str__(self) -> str:
        where = " ".join(part for part in (self.panel and f'panel "{self.panel}"', self.ref_id, f"({self.path})") if part)
        return f"{self.dashboard}, {where}: {self.reason}" + (f" The query is {self.expr}" if self.expr else "")


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is asked for; C(variables) are complete."""

    datasource: str
    keep_datasources: frozenset[str] = frozenset()
    matchers: tuple[Matcher, ...] = ()
    replace_matchers: bool = True
    variables: tuple[Json, ...] = ()
    uid: str = ""
    uid_prefix: str = ""
    title_prefix: str = ""
    tags: tuple[str, ...] = ()
    replace_tags: bool = False


def wanted(
    *,
    datasource: str = "${datasource}",
    keep_datasources: t.Iterable[str] = (),
    matchers: t.Iterable[str] = (),
    existing_matchers: str = "replace",
    variables: t.Iterable[t.Mapping[str, t.Any]] = (),
    uid: str = "",
    uid_prefix: str = "",
    title_prefix: str = "",
    tags: t.Iterable[str] = (),
    replace_tags: bool = False,
) -> Wanted:
    """ObserverError for what is not possible."""
    for option, several in (("keep_datasources", keep_datasources), ("matchers", matchers), ("tags", tags)):
        if isinstance(several, str) or not all(isinstance(text, str) for text in several):
            raise ObserverError(f"{option} must be a list of texts.")
    given = _parsed(tuple(matchers))
    if existing_matchers not in ("replace", "keep"):
        raise ObserverError(f"existing_matchers is {existing_matchers}. It must be replace or keep.")
    if not datasource or datasource in SPECIAL:
        raise ObserverError("datasource must be the uid of a Prometheus datasource, or a variable such as ${datasource}.")
    for option, text, longest in (("uid", uid, UID_MAX), ("uid_prefix", uid_prefix, UID_PREFIX_MAX)):
        if len(text) > longest or re.search(r"[^a-zA-Z0-9_-]", text):
            raise ObserverError(f"{option} is {text}. It may have at most {longest} letters, digits, - and _.")
    if uid and uid_prefix:
        raise ObserverError("Give uid or uid_prefix, not both.")
    complete = tuple(_variable(variable, datasource) for variable in variables)
    plural = {variable["name"] for variable in complete if variable["multi"] or variable["includeAll"]}
    for matcher in given:
        single = sorted(plural & _names(matcher.text)) if matcher.op in ("=", "!=") else []
        if single:
            raise ObserverError(
                f"matchers: {matcher.text} compares with one value, but ${single[0]} may have several. Write it with =~, or set multi to false."
            )
    return Wanted(
        datasource, frozenset(keep_datasources), given, existing_matchers == "replace", complete, uid, uid_prefix, title_prefix, tuple(tags), replace_tags
    )


def adopt(dashboard: t.Mapping[str, t.Any], asked: Wanted) -> tuple[Json, list[Problem]]:
    """The dashboard as asked for, and what of it could not be changed; the given one stays as it is."""
    found, problems, _queries = adopt_and_count(dashboard, asked)
    return found, problems


def adopt_and_count(dashboard: t.Mapping[str, t.Any], asked: Wanted) -> tuple[Json, list[Problem], int]:
    """As adopt(), and how many queries were to be changed."""
    adoption = _Adoption(_unpacked(dashboard), asked)
    return adoption.run(), adoption.problems, adoption.queries


def check(problems: t.Sequence[Problem]) -> None:
    if problems:
        more = f"; and {len(problems) - PROBLEMS_SHOWN} more" if len(problems) > PROBLEMS_SHOWN else ""
        texts = "; ".join(str(problem) for problem in problems[:PROBLEMS_SHOWN])
        remedy = "Mend them, or take the dashboard with on_error=keep, which leaves them as they are"
        raise ObserverError(f"{len(problems)} places of the dashboard can not be adopted: {texts}{more}. {remedy}.")


def _parsed(matchers: tuple[str, ...]) -> tuple[Matcher, ...]:
    if matchers and not _rules_promql.available():
        message = f"The Python library promql-parser can not be used on the controller ({_rules_promql.IMPORT_ERROR})."
        raise ObserverError(f"{message} Install it there: pip install 'promql-parser>=0.11'.")
    return _promql_inject.matchers(matchers)


def _names(text: str) -> set[str]:
    return {found["plain"] or found["braced"] or found["old"] for found in VARIABLE.finditer(text)}


def _variable(given: t.Mapping[str, t.Any], datasource: str) -> Json:
    known = {"name", "label", "query", "multi", "include_all", "all_value", "hide"}
    name = str(given.get("name") or "")
    if not re.fullmatch(r"\w+", name) or set(given) - known:
        raise ObserverError(
            f"variables: each needs a name of letters, digits and _, and can have {', '.join(sorted(known - {'name'}))}. Given was {dict(given)}."
        )
    query = str(given.get("query") or f'label_values(up{{{name}!=""}}, {name})')
    multi = bool(given.get("multi", True))
    include_all = bool(given.get("include_all", True))
    return {
        "name": name,
        "label": str(given.get("label") or name.replace("_", " ").capitalize()),
        "type": "query",
        "datasource": _reference(datasource),
        "query": {"query": query, "refId": f"Variable-{name}"},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "regex": "",
        "multi": multi,
        "includeAll": include_all,
        # not the list of all values, which may be long
        "allValue": str(given.get("all_value") or ".+") if include_all else None,
        "hide": 2 if given.get("hide") else 0,
        "skipUrlSync": False,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]} if include_all else {},
        "options": [],
    }


def _reference(datasource: str) -> Json:
    return {"type": "prometheus", "uid": datasource}


def _copied(value: t.Any) -> t.Any:
    """A deep copy that keeps the texts themselves, for Ansible marks those that are no templates."""
    if isinstance(value, t.Mapping):
        return {key: _copied(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copied(entry) for entry in value]
    return value


def _unpacked(given: t.Any) -> Json:
    if not isinstance(given, t.Mapping):
        raise ObserverError("What is to be adopted is no dashboard but a text or a list. Give a dictionary; a text is made one by the filter from_json.")
    # as Grafana's API gives it
    inner = given.get("dashboard")
    dashboard = _copied(inner if isinstance(inner, t.Mapping) and "panels" not in given and "rows" not in given else given)
    if "elements" in dashboard or isinstance(dashboard.get("spec"), dict):
        raise ObserverError("The dashboard is written in schema v2, which this filter does not know. Export it from Grafana as classic JSON.")
    if not isinstance(dashboard.get("title"), str) or not dashboard["title"].strip():
        raise ObserverError("The dashboard has no title. Give it one.")
    return dashboard


class _Adoption:
    def __init__(self, dashboard: Json, asked: Wanted) -> None:
        self.dashboard, self.asked = dashboard, asked
        self.problems: list[Problem] = []
        self.queries = 0
        inputs = [entry for entry in dashboard.get("__inputs") or () if isinstance(entry, dict)]
        self._inputs = {str(entry.get("name")): str(entry.get("pluginId") or "") for entry in inputs if entry.get("type") == "datasource"}
        self._constants = {str(entry.get("name")): str(entry.get("value") or "") for entry in inputs if entry.get("type") == "constant"}
        self._variables = {variable.name: variable for variable in _dashboard_walk.variables(dashboard) if variable.kind == "datasource"}
        self._own = VARIABLE.fullmatch(asked.datasource)
        for variable in _dashboard_walk.variables(dashboard):
            chooses = variable.kind == "datasource" and _is_prometheus(variable.raw.get("query"))
            if self._own and variable.name in _names(asked.datasource) and not chooses:
                raise ObserverError(f"datasource: the dashboard has a variable {variable.name} of another kind. Give another name, such as ${{prometheus}}.")

    def run(self) -> Json:
        dashboard, asked = self.dashboard, self.asked
        title = dashboard["title"]
        self._identify(title)
        if not title.startswith(asked.title_prefix):
            dashboard["title"] = asked.title_prefix + title
        tags = [] if asked.replace_tags else [str(tag) for tag in dashboard.get("tags") or ()]
        dashboard["tags"] = list(dict.fromkeys([*tags, *asked.tags]))
        for key in BINDINGS:
            dashboard.pop(key, None)
        if self._constants:
            self.dashboard = dashboard = self._with_constants(dashboard)
        self._panels()
        self._annotations()
        self._templating()
        self._sweep()
        return dashboard

    def _identify(self, title: str) -> None:
        asked, old = self.asked, self.dashboard.get("uid")
        uid = asked.uid or (old if isinstance(old, str) else "")
        if not uid:
            slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:27].strip("-")
            uid = f"{slug}-{hashlib.sha256(title.encode()).hexdigest()[:12]}".lstrip("-")
        if not uid.startswith(asked.uid_prefix):
            uid = asked.uid_prefix + uid
        if len(uid) > UID_MAX:
            uid = f"{uid[: UID_MAX - 13]}-{hashlib.sha256(uid.encode()).hexdigest()[:12]}"
        self.dashboard["uid"] = uid

    def _with_constants(self, value: t.Any) -> t.Any:
        if isinstance(value, dict):
            return {key: self._with_constants(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [self._with_constants(entry) for entry in value]
        if isinstance(value, str) and "${" in value:
            return VARIABLE.sub(lambda found: self._constants.get(found["braced"] or "", found.group()), value)
        return value

    # Datasources

    def _kind(self, reference: t.Any) -> str:
        """Of what kind a datasource is, by one of the ways to name it."""
        if reference is None or reference in ("", "default"):
            return DEFAULT
        name, plugin = (reference.get("uid"), reference.get("type")) if isinstance(reference, dict) else (reference, None)
        if name in SPECIAL or name in self.asked.keep_datasources or (isinstance(reference, dict) and reference.get("name") in self.asked.keep_datasources):
            return ELSE
        found = VARIABLE.fullmatch(name) if isinstance(name, str) else None
        if found:
            variable = found["plain"] or found["braced"] or found["old"]
            if name == self.asked.datasource:
                return PROMETHEUS
            named = self._variables[variable].raw.get("query") if variable in self._variables else self._inputs.get(variable)
            if named:
                return PROMETHEUS if _is_prometheus(named) else ELSE
            plugin = None if plugin == "datasource" else plugin
        if plugin:
            return PROMETHEUS if _is_prometheus(plugin) else ELSE
        return UNKNOWN if name else DEFAULT

    def _set(self, holder: Json, *, promql: bool) -> bool:
        """Whether it is of Prometheus; promql says that its queries look so, which decides where the name does not tell."""
        kind = self._kind(holder.get("datasource"))
        if kind == PROMETHEUS or (kind in (DEFAULT, UNKNOWN) and promql):
            holder["datasource"] = _reference(self.asked.datasource)
            return True
        return False

    def _sweep(self) -> None:
        """The datasources in other places, such as links to Explore, and those that nobody will give."""
        waiting: list[t.Any] = [{key: entry for key, entry in self.dashboard.items() if key != "templating"}]
        texts: list[str] = []
        while waiting:
            value = waiting.pop()
            if isinstance(value, dict):
                if isinstance(value.get("libraryPanel"), dict):
                    texts += _texts(value)
                    continue
                if "datasource" in value and self._kind(value["datasource"]) == PROMETHEUS:
                    value["datasource"] = _reference(self.asked.datasource)
                if "datasourceUid" in value and self._kind(value["datasourceUid"]) == PROMETHEUS:
                    value["datasourceUid"] = self.asked.datasource
                waiting += value.values()
            elif isinstance(value, list):
                waiting += value
            elif isinstance(value, str):
                texts.append(value)
        self._drop_variables(texts)
        used = set().union(*map(_names, texts)) if self._inputs else set()
        for name, plugin in self._inputs.items():
            if name in used and name not in self._variables and not _is_prometheus(plugin):
                self._problem(
                    f"inputs.{name}", "", name, "", f"It needs a datasource of {plugin}, which is not set here. Write its uid in place of ${{{name}}}."
                )

    def _drop_variables(self, texts: list[str]) -> None:
        """The variables that only chose the datasource."""
        templating = self.dashboard.get("templating")
        if not isinstance(templating, dict):
            return
        kept = templating["list"]
        for variable in self._variables.values():
            own = self._own is not None and variable.name in _names(self.asked.datasource)
            if own or not _is_prometheus(variable.raw.get("query")) or variable.name in self.asked.keep_datasources:
                continue
            others = [entry for entry in kept if entry is not variable.raw]
            if not any(variable.name in _names(text) or f"var-{variable.name}" in text for text in [*texts, *_texts(others)]):
                kept = others
        templating["list"] = kept

    # Queries

    def _panels(self) -> None:
        kinds = self._kinds()
        libraries: list[str] = []
        for panel in _dashboard_walk.panels(self.dashboard):
            if any(panel.path.startswith(f"{path}.") for path in libraries):
                continue
            if panel.library:
                libraries.append(panel.path)
                self._problem(
                    panel.path, panel.title or str(panel.raw["libraryPanel"].get("name") or ""), "", "", "It is a library panel, which Grafana keeps apart."
                )
                continue
            targets = list(panel.targets())
            # Grafana sends all queries to the panel's datasource, unless that is a mixed one
            any_promql = any(target.expr is not None and self._kind(target.raw.get("datasource")) != ELSE for target in targets)
            whole = self._set(panel.raw, promql=any_promql)
            mixed = _uid(panel.raw.get("datasource")) == "-- Mixed --"
            for target in targets:
                inherits = target.raw.get("datasource") is None and not mixed
                prometheus = whole if inherits else self._set(target.raw, promql=target.expr is not None)
                if prometheus and target.expr is not None:
                    self._inject(target.expr, kinds, panel.title, target.ref_id)

    def _annotations(self) -> None:
        for annotation in _dashboard_walk.annotations(self.dashboard):
            if self._set(annotation.raw, promql=annotation.expr is not None) and annotation.expr is not None:
                self._inject(annotation.expr, self._kinds(), "", annotation.name)

    def _inject(self, place: Place, kinds: dict[str, str], panel: str, ref_id: str) -> None:
        if place.text.strip() and self.asked.matchers:
            self.queries += 1
            try:
                place.holder[place.key] = _promql_inject.inject(place.text, self.asked.matchers, replace=self.asked.replace_matchers, kinds=kinds)
            except Unclear as error:
                self._problem(place.path, panel, ref_id, place.text, str(error))

    def _problem(self, path: str, panel: str, ref_id: str, expr: str, reason: str) -> None:
        self.problems.append(Problem(str(self.dashboard["uid"]), path, panel, ref_id, expr, reason))

    # Variables

    def _templating(self) -> None:
        templating = self.dashboard.setdefault("templating", {})
        if not isinstance(templating, dict):
            raise ObserverError("templating is not an object, so this is no dashboard of Grafana's. Export it again.")
        own = {variable["name"]: variable for variable in self.asked.variables}
        kinds = self._kinds()
        # A variable can only be limited by those before it: otherwise two could wait for one another.
        defined = set(own) | {found["braced"] or found["plain"] or found["old"] for found in [self._own] if found}
        kept, old = [], {}
        for variable in _dashboard_walk.variables(self.dashboard):
            if variable.name in own:
                old[variable.name] = variable.raw
                continue
            kept.append(variable.raw)
            if variable.kind in ("query", "adhoc", "groupby"):
                prometheus = self._set(variable.raw, promql=variable.kind != "query" or self._asks_prometheus(variable))
                if prometheus and variable.query is not None:
                    allowed = tuple(matcher for matcher in self.asked.matchers if _names(matcher.text) <= defined)
                    self._limit(variable, allowed, kinds)
            defined.add(variable.name)
        unknown = sorted({name for matcher in self.asked.matchers for name in _names(matcher.text)} - defined)
        if unknown:
            raise ObserverError(f"matchers: the dashboard has no variable {', '.join(unknown)}. Give it as variables=[{{'name': '{unknown[0]}'}}].")
        new = [self._merged(variable, old.get(name)) for name, variable in own.items()]
        choosers = [entry for entry in kept if entry.get("type") == "datasource"]
        if self._own is not None and not any(entry.get("name") in _names(self.asked.datasource) for entry in choosers):
            choosers.insert(0, _chooser(*_names(self.asked.datasource)))
        templating["list"] = [*choosers, *new, *(entry for entry in kept if entry.get("type") != "datasource")]

    def _asks_prometheus(self, variable: _dashboard_walk.Variable) -> bool:
        if variable.query is None:
            return False
        return self._kind(variable.raw.get("datasource")) == DEFAULT or bool(_dashboard_walk.variable_query(variable.query.text).function)

    def _merged(self, variable: Json, old: Json | None) -> Json:
        """What somebody has chosen stays chosen."""
        chosen = {key: old[key] for key in ("current", "options") if old and old.get("type") == "query" and old.get(key)}
        return {**_copied(variable), **chosen}

    def _limit(self, variable: _dashboard_walk.Variable, matchers: tuple[Matcher, ...], kinds: dict[str, str]) -> None:
        place = variable.query
        if place is None or not place.text.strip() or not matchers:
            return
        self.queries += 1
        try:
            text = _limited(place.text, matchers, replace=self.asked.replace_matchers, kinds=kinds)
        except Unclear as error:
            self._problem(place.path, "", variable.name, place.text, str(error))
            return
        if text != place.text:
            place.holder[place.key] = text
            if isinstance(variable.raw.get("definition"), str):
                variable.raw["definition"] = text

    def _kinds(self) -> dict[str, str]:
        """What the variables stand for, as far as their values tell."""
        return {variable.name: kind for variable in _dashboard_walk.variables(self.dashboard) if (kind := _kind_of(variable))}


def _is_prometheus(plugin: t.Any) -> bool:
    # Amazon's and Azure's too
    return isinstance(plugin, str) and "prometheus" in plugin.lower()


def _uid(reference: t.Any) -> t.Any:
    return reference.get("uid") if isinstance(reference, dict) else reference


def _texts(value: t.Any) -> t.Iterator[str]:
    waiting = [value]
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, dict):
            waiting += entry.values()
        elif isinstance(entry, list):
            waiting += entry
        elif isinstance(entry, str):
            yield entry


def _chooser(name: str) -> Json:
    return {
        "name": name,
        "label": "Datasource",
        "type": "datasource",
        "query": "prometheus",
        "regex": "",
        "refresh": 1,
        "multi": False,
        "includeAll": False,
        "hide": 0,
        "skipUrlSync": False,
        "current": {},
        "options": [],
    }


def _limited(text: str, matchers: tuple[Matcher, ...], *, replace: bool, kinds: dict[str, str]) -> str:
    """A variable's query with the matchers."""
    inside = ",".join(matcher.text for matcher in matchers)
    query = _dashboard_walk.variable_query(text)
    if query.function == "label_names":
        return text  # of nothing that has a selector
    if query.function == "metrics":
        names = f'__name__=~".*(?:{_escaped(query.argument)}).*"' if query.argument else '__name__!=""'
        return f"label_values({{{names},{inside}}}, __name__)"
    if query.function == "label_values" and not query.argument.strip("{} \t"):
        # something that is not empty must be asked for
        label = "__name__" if VARIABLE.search(query.label) or query.label in {matcher.label for matcher in matchers} else query.label
        return f'label_values({{{label}!="",{inside}}}, {query.label})'
    found = _promql_inject.inject(query.argument, matchers, replace=replace, kinds=kinds)
    if found == query.argument:
        return text
    return {"label_values": f"label_values({found}, {query.label})", "query_result": f"query_result({found})"}.get(query.function, found)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?(?:ms|[smhdwy])?")


def _kind_of(variable: _dashboard_walk.Variable) -> str:
    raw, kind = variable.raw, variable.kind
    if kind == "interval":
        return NUMBER
    if variable.query is not None:
        query = _dashboard_walk.variable_query(variable.query.text)
        if query.function == "metrics" or query.label == "__name__":
            return METRIC
    values = [option.get("value") for option in raw.get("options") or () if isinstance(option, dict)]
    current = raw.get("current")
    chosen = current.get("value") if isinstance(current, dict) else None
    values += chosen if isinstance(chosen, list) else [chosen]
    if kind in ("custom", "textbox", "constant") and isinstance(raw.get("query"), str):
        values += [part.rpartition(" : ")[2].strip() for part in raw["query"].split(",")] if kind == "custom" else [raw["query"]]
    texts = [str(value).strip() for value in values if value not in (None, "", "$__all")]
    if not texts:
        return ""
    if all(_NUMBER.fullmatch(text) for text in texts):
        return NUMBER
    if all(re.fullmatch(r"[a-zA-Z_:][\w:]*", text) for text in texts):
        return METRIC
    return OTHER
