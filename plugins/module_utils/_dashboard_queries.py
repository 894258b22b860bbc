# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: sends every query of dashboards to a Prometheus or Thanos, as Grafana would, and tells what each panel shows."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import math
import threading
import typing as t

from ansible_collections.scs.observer.plugins.module_utils import _dashboard_variables as variables
from ansible_collections.scs.observer.plugins.module_utils import _dashboard_walk, _promql
from ansible_collections.scs.observer.plugins.module_utils._dashboard_variables import Api, TimeRange, Value, Variable
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._grafana_dashboards import Wanted, fail_for

STATES = ("data", "empty", "error", "skipped", "excepted")
WITHOUT_QUERIES = {"text", "row", "news", "dashlist", "alertlist", "alertGroups", "annolist", "pluginlist", "welcome", "gettingstarted", "debug"}
OTHERS_QUERIES = {"rawSql", "query", "queryType", "scenarioId"}  # keys of what is no query for Prometheus
SHOWN = 20  # panels that the message of a failure names
DRAWN_SERIES = 20
DRAWN_ROWS = 50  # of a table
DRAWN_POINTS = 100
GIVEN_UP = 20  # queries in a row that got no answer

Json = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Allowed:
    """A panel that may be empty; with C(sometimes) it may have data as well."""

    dashboard: str
    panel: str
    reason: str
    sometimes: bool = False


@dataclasses.dataclass(frozen=True)
class Options:
    span: float = 3600
    scrape_interval: float = variables.DEFAULT_SCRAPE_INTERVAL
    max_data_points: int = 500
    parallel: int = 4
    variables: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    allow_empty: tuple[Allowed, ...] = ()
    draw: bool = False


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A series as far as the report draws it."""

    labels: t.Mapping[str, str]
    points: tuple[tuple[float, float | None], ...]


@dataclasses.dataclass(frozen=True)
class Found:
    """What a query found; C(samples) are those that are numbers, C(step) tells that only each so-manieth of them is drawn."""

    series: int = 0
    samples: int = 0
    error: str = ""
    warnings: tuple[str, ...] = ()
    drawn: tuple[Drawn, ...] = ()
    every: int = 1


class Asked(t.NamedTuple):
    """What is sent; panels that ask the same share the answer."""

    expr: str
    instant: bool
    start: float
    end: float
    step: float


@dataclasses.dataclass
class Query:
    ref_id: str
    asked: Asked
    legend: str
    format: str
    found: Found = Found()

    def result(self) -> Json:
        found = self.found
        kind, step = ("instant", None) if self.asked.instant else ("range", self.asked.step)
        own = {"ref_id": self.ref_id, "expr": self.asked.expr, "kind": kind, "step": step, "series": found.series, "samples": found.samples}
        return {**own, "error": found.error, "warnings": list(found.warnings)}


@dataclasses.dataclass
class Panel:
    id: t.Any
    title: str
    type: str
    row: str
    raw: Json
    queries: list[Query] = dataclasses.field(default_factory=list)
    skipped: list[str] = dataclasses.field(default_factory=list)
    state: str = ""  # none for those that have no queries
    reason: str = ""
    repeat: Json | None = None
    section: int = 0
    shares: t.Any = None  # id of the panel whose data this one shows
    span: TimeRange | None = None

    @property
    def series(self) -> int:
        return sum(query.found.series for query in self.queries)

    def __str__(self) -> str:
        return f"panel {self.id} ({self.title})" if self.title else f"panel {self.id}"

    def result(self) -> Json:
        own = {"id": self.id, "title": self.title, "type": self.type, "row": self.row, "state": self.state, "reason": self.reason}
        return {**own, "series": self.series, "repeat": self.repeat, "queries": [query.result() for query in self.queries]}


@dataclasses.dataclass
class Section:
    """A row and its panels; the first of a dashboard may have no title."""

    title: str = ""
    panels: list[Panel] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Dashboard:
    wanted: Wanted
    variables: dict[str, Variable]
    sections: list[Section]

    @property
    def panels(self) -> list[Panel]:
        """Those that have queries."""
        return [panel for section in self.sections for panel in section.panels if panel.state]

    def result(self) -> Json:
        own = {"uid": self.wanted.uid, "title": self.wanted.title, "file": self.wanted.source}
        return {**own, "variables": [found.result() for found in self.variables.values()], "panels": [panel.result() for panel in self.panels]}


@dataclasses.dataclass
class Report:
    server: str
    span: TimeRange
    dashboards: list[Dashboard]
    needless: list[Json]
    requests: int
    options: Options

    def summary(self) -> Json:
        counts = collections.Counter(panel.state for dashboard in self.dashboards for panel in dashboard.panels)
        asked = sum(counts[state] for state in STATES if state != "skipped")
        failed = sum(1 for dashboard in self.dashboards for variable in dashboard.variables.values() if variable.error)
        return {
            "dashboards": len(self.dashboards),
            "panels": sum(counts.values()),
            **{state: counts[state] for state in STATES},
            "variables_failed": failed,
            "ratio": round(counts["data"] / asked, 4) if asked else 0.0,
        }

    def result(self) -> Json:
        dashboards = [dashboard.result() for dashboard in self.dashboards]
        return {"dashboards": dashboards, "summary": self.summary(), "needless": self.needless, "requests": self.requests}

    def failures(self, fail_on: t.Collection[str]) -> list[str]:
        found = []
        for dashboard in self.dashboards:
            name = f"{dashboard.wanted.title} ({dashboard.wanted.uid})"
            if "error" in fail_on:
                found += [f"{name}, {variable.error}" for variable in dashboard.variables.values() if variable.error]
            found += [f"{name}, {panel}: {panel.state}: {panel.reason}" for panel in dashboard.panels if panel.state in fail_on]
        if "needless" in fail_on:
            found += [f"allow_empty: {entry['dashboard']}, panel {entry['panel']}: {entry['why']}" for entry in self.needless]
        return found


def failure_message(failures: t.Sequence[str], fail_on: t.Iterable[str]) -> str:
    more = f"\n... and {len(failures) - SHOWN} more" if len(failures) > SHOWN else ""
    lines = "\n".join(f"- {failure}" for failure in failures[:SHOWN])
    noun = "finding lets" if len(failures) == 1 else "findings let"
    return f"{len(failures)} {noun} this task fail (fail_on: {', '.join(fail_on)}):\n{lines}{more}"


# Asking


class Server:
    """Counts the requests, and remembers what variables ask, for dashboards ask the same."""

    def __init__(self, api: Api) -> None:
        self.title, self._api = api.title, api
        self.requests = 0
        self._lock = threading.Lock()
        self._known: dict[t.Hashable, object] = {}
        self._silent = 0

    def now(self) -> float:
        """The server's time, which is not always ours; ObserverError when it does not answer as a Prometheus."""
        return _promql.parse(self._counted("query", "vector(1)"), self.title).series[0].timestamp

    def query(self, query: str, *, time: float | None = None) -> t.Any:
        return self._remembered("query", query, time=time)

    def query_range(self, query: str, *, start: float, end: float, step: float) -> t.Any:
        return self._counted("query_range", query, start=start, end=end, step=step)

    def label_names(self, **times: float | None) -> t.Any:
        return self._remembered("label_names", **times)

    def label_values(self, label: str, match: str = "", **times: float | None) -> t.Any:
        return self._remembered("label_values", label, match, **times)

    def series(self, match: str, **times: float | None) -> t.Any:
        return self._remembered("series", match, **times)

    def find(self, asked: Asked, rows: int) -> Found:
        """What a panel's query finds, with so many series to draw."""
        if self._silent >= GIVEN_UP:
            return Found(error=f"Not asked, for {self.title} did not answer the {GIVEN_UP} queries before. Look at the first of them.")
        try:
            if asked.instant:
                raw = self._counted("query", asked.expr, time=asked.end)
            else:
                raw = self._counted("query_range", asked.expr, start=asked.start, end=asked.end, step=asked.step)
        except _promql.QueryError as error:
            self._silent += 1
            return Found(error=str(error))
        self._silent = 0
        try:
            if asked.instant:
                answer = _promql.parse(raw, self.title)
                series = [(item.labels, ((item.timestamp, item.value),)) for item in answer.series]
            else:
                ranges = _promql.parse_ranges(raw, self.title)
                series = [(item.labels, item.samples) for item in ranges.series]
        except _promql.QueryError as error:
            return Found(error=str(error))
        return _found(series, tuple(map(str, raw.get("warnings") or ())), rows)

    def _counted(self, name: str, *given: t.Any, **more: t.Any) -> t.Any:
        with self._lock:
            self.requests += 1
        return getattr(self._api, name)(*given, **more)

    def _remembered(self, name: str, *given: t.Any, **more: t.Any) -> t.Any:
        key = (name, given, tuple(sorted(more.items())))
        if key not in self._known:
            self._known[key] = self._counted(name, *given, **more)
        return self._known[key]


def _found(series: t.Sequence[tuple[t.Mapping[str, str], t.Sequence[tuple[float, str | None]]]], warnings: tuple[str, ...], rows: int) -> Found:
    # None is a native histogram, which is something
    samples = sum(1 for _labels, points in series for _moment, value in points if value is None or value.lower() != "nan")
    grid = sorted({moment for _labels, points in series[:rows] for moment, _value in points})
    every = max(1, math.ceil(len(grid) / DRAWN_POINTS))
    kept = set(grid[(len(grid) - 1) % every :: every] if grid else ())  # the last one always
    drawn = [Drawn(labels, tuple((moment, _number(value)) for moment, value in points if moment in kept)) for labels, points in series[:rows]]
    return Found(len(series), samples, warnings=warnings, drawn=tuple(drawn), every=every)


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


# What is asked


def prepared(wanted: Wanted, server: Server, now: float, options: Options) -> Dashboard:
    """The dashboard with its variables found, and the queries of its panels, not yet sent."""
    content = wanted.content or {}
    span = TimeRange(now - options.span, now)
    resolver = variables.Resolver(content, options.variables, span, server, options.scrape_interval)
    resolver.resolve()
    scope = resolver.scope()
    sections: list[Section] = [Section()]
    row_scope: variables.Scope = scope
    row_repeat: Json | None = None
    for item in _dashboard_walk.panels(content):
        if item.kind == "row":
            row_scope, row_repeat = _repeated(item.raw, scope, resolver.found)
            sections.append(Section(variables.put_in(item.title, row_scope)))
            continue
        raw = _library(item.raw, content)
        own, repeat = _repeated(raw, row_scope, resolver.found)
        panel = Panel(raw.get("id"), "", str(raw.get("type") or ""), sections[-1].title, raw, repeat=repeat or row_repeat)
        panel.title = variables.put_in(str(raw.get("title") or ""), own)
        sections[-1].panels.append(panel)
        _ask(panel, item._replace(raw=raw), own, content, span, options)
    return Dashboard(wanted, resolver.found, [section for section in sections if section.panels])


def _library(raw: Json, dashboard: t.Mapping[str, t.Any]) -> Json:
    """A library panel with the content that an export for sharing brings along."""
    named = raw.get("libraryPanel")
    if not isinstance(named, dict):
        return raw
    elements = dashboard.get("__elements")
    found = elements.get(named.get("uid")) if isinstance(elements, dict) else None
    model = found.get("model") if isinstance(found, dict) else named.get("model")
    if not isinstance(model, dict):
        return raw
    return {**model, **{key: value for key, value in raw.items() if key in ("id", "gridPos", "libraryPanel", "repeat") or (key == "title" and value)}}


def _repeated(raw: Json, scope: variables.Scope, known: t.Mapping[str, Variable]) -> tuple[variables.Scope, Json | None]:
    """Of what is repeated for each value of a variable, the first."""
    name = raw.get("repeat")
    variable = known.get(name) if isinstance(name, str) else None
    if variable is None:
        return scope, None
    values = variable.options if variable.all else variable.value.values
    if not values:
        return scope, None
    return {**scope, str(name): Value.of(values[0], escaped=variable.value.escaped, name=str(name))}, {"variable": name, "value": values[0], "of": len(values)}


def _ask(panel: Panel, item: _dashboard_walk.Panel, scope: variables.Scope, content: Json, span: TimeRange, options: Options) -> None:
    raw = item.raw
    if panel.type in WITHOUT_QUERIES:
        return
    panel.state = "empty"
    targets = list(item.targets())
    if item.library and not targets:
        name = raw["libraryPanel"].get("name") or raw["libraryPanel"].get("uid")
        panel.state, panel.reason = "skipped", f"it is the library panel {name}, whose content is not in the dashboard"
        return
    of_panel = raw.get("datasource")
    shared = variables.datasource_type(of_panel, content) == "dashboard"
    if shared:
        panel.shares = next((target.raw.get("panelId") for target in targets), None)
        return
    panel.span = _span(raw, scope, span)
    shown = [target for target in targets if target.raw.get("hide") is not True]
    for target in shown:
        kind = _kind(of_panel, target.raw.get("datasource"), content)
        if kind == "__expr__":
            panel.skipped.append(f"query {target.ref_id} is an expression of Grafana")
        elif kind not in variables.PROMETHEUS_TYPES:
            panel.skipped.append(f"query {target.ref_id} is for a datasource of type {kind}")
        elif target.expr is None and target.raw.keys() & OTHERS_QUERIES:
            panel.skipped.append(f"query {target.ref_id} is not PromQL")
        elif target.expr is not None and target.expr.text.strip():
            panel.queries += _queries(panel, target, scope, options)
    if not panel.queries:
        if panel.skipped:
            panel.state, panel.reason = "skipped", "; ".join(panel.skipped)
        else:
            panel.reason = "all its queries are hidden" if targets and not shown else "it has no query"


def _kind(of_panel: t.Any, of_target: t.Any, content: Json) -> str:
    """Grafana asks a panel's datasource, whatever its query names, unless the panel's is Mixed."""
    panel = variables.datasource_type(of_panel, content)
    target = variables.datasource_type(of_target, content)
    if target == "__expr__" or panel == "mixed" or not of_panel:
        return target
    return panel


def _span(raw: Json, scope: variables.Scope, span: TimeRange) -> TimeRange:
    """With the panel's own relative time and time shift."""
    length = variables.duration(variables.put_in(str(raw.get("timeFrom") or ""), scope)) or span.seconds
    shift = variables.duration(variables.put_in(str(raw.get("timeShift") or ""), scope)) or 0
    return TimeRange(span.end - shift - length, span.end - shift)


def _queries(panel: Panel, target: _dashboard_walk.Target, scope: variables.Scope, options: Options) -> list[Query]:
    raw, span = target.raw, t.cast("TimeRange", panel.span)
    points = panel.raw.get("maxDataPoints")
    given = variables.intervals(
        span.seconds,
        int(points) if isinstance(points, (int, float)) and points >= 1 else options.max_data_points,
        scrape=options.scrape_interval,
        panel=variables.put_in(str(panel.raw.get("interval") or ""), scope),
        target=variables.put_in(str(raw.get("interval") or ""), scope),
        factor=raw["intervalFactor"] if isinstance(raw.get("intervalFactor"), int) else 1,
    )
    own = {**scope, **variables.of_intervals(given)}
    if span.seconds:
        own.update({name: value for name, value in variables.built_in(span, {}).items() if name.startswith("__range")})
    expr = variables.put_in(target.expr.text, own, "prometheus") if target.expr else ""
    # Prometheus' caches want whole steps
    start, end = (math.floor(moment / given.interval) * given.interval for moment in (span.start, span.end))
    kinds = []
    if raw.get("range") or not raw.get("instant"):
        kinds.append(Asked(expr, False, start, end, given.interval))
    if raw.get("instant"):
        kinds.append(Asked(expr, True, span.start, span.end, 0))
    legend = variables.put_in(str(raw.get("legendFormat") or ""), own)
    return [Query(target.ref_id, asked, legend, str(raw.get("format") or "time_series")) for asked in kinds]


# Running


def check(given: t.Sequence[Wanted], options: Options) -> None:
    """One error that tells all that is wrong before anything is sent."""
    problems = []
    for wanted in given:
        try:
            if not any(panel.kind != "row" for panel in _dashboard_walk.panels(wanted.content or {})):
                problems.append(f"{wanted.source}: dashboard {wanted} has no panels. Give one that has, or leave it out.")
            list(_dashboard_walk.variables(wanted.content or {}))
            for panel in _dashboard_walk.panels(wanted.content or {}):
                list(panel.targets())
        except ObserverError as error:
            problems.append(f"{wanted.source}: {error}")
    problems += [f"allow_empty: {item.dashboard}, panel {item.panel} has no reason. Give one." for item in options.allow_empty if not item.reason.strip()]
    if not given:
        problems.append("There are no dashboards. Give some as src or dashboards.")
    fail_for(problems, "Nothing was asked.")


def run(given: t.Sequence[Wanted], api: Api, options: Options) -> Report:
    check(given, options)
    server = Server(api)
    now = server.now()
    with concurrent.futures.ThreadPoolExecutor(options.parallel) as pool:
        dashboards = list(pool.map(lambda wanted: prepared(wanted, server, now, options), given))
        waiting: dict[Asked, list[Query]] = {}
        for dashboard in dashboards:
            for panel in dashboard.panels:
                for query in panel.queries:
                    waiting.setdefault(query.asked, []).append(query)
        rows = DRAWN_ROWS if options.draw else 0
        for queries, found in zip(waiting.values(), pool.map(lambda asked: server.find(asked, rows), waiting), strict=True):
            for query in queries:
                query.found = found
    for dashboard in dashboards:
        _judge(dashboard)
    return Report(api.title, TimeRange(now - options.span, now), dashboards, _except(dashboards, options.allow_empty), server.requests, options)


def _judge(dashboard: Dashboard) -> None:
    by_id = {str(panel.id): panel for panel in dashboard.panels}
    for panel in sorted(dashboard.panels, key=lambda panel: panel.shares is not None):
        if panel.shares is not None:
            source = by_id.get(str(panel.shares))
            if source is None or source is panel:
                panel.state, panel.reason = "error", f"it shows the data of panel {panel.shares}, which the dashboard does not have"
                continue
            panel.queries, panel.skipped = source.queries, source.skipped
            if not source.queries:
                panel.state, panel.reason = source.state, f"it shows the data of {source}: {source.reason}"
        if not panel.queries:
            continue
        errors = [f"query {query.ref_id}: {query.found.error}{_hint(query, dashboard)}" for query in panel.queries if query.found.error]
        if errors:
            panel.state, panel.reason = "error", " ".join(errors)
        elif any(query.found.samples for query in panel.queries):
            panel.state = "data"
            panel.reason = "; ".join(panel.skipped)
        else:
            panel.state, panel.reason = "empty", ("its series hold only NaN" if panel.series else "no series") + _instead(panel)


def _instead(panel: Panel) -> str:
    config = panel.raw.get("fieldConfig")
    defaults = config.get("defaults") if isinstance(config, dict) else None
    shown = defaults.get("noValue") if isinstance(defaults, dict) else None
    return f'; Grafana shows "{shown}" then' if shown else ""


def _hint(query: Query, dashboard: Dashboard) -> str:
    """References that nothing was known for are the likely cause of a refused query; $1 is a group of label_replace()."""
    left = sorted({name for name in variables.references(query.asked.expr) if not name.isdigit()} - {"__name__"})
    unknown = [name for name in left if name not in dashboard.variables]
    return f" The dashboard has no variable {', '.join(unknown)}." if unknown else ""


def _except(dashboards: t.Sequence[Dashboard], allowed: t.Sequence[Allowed]) -> list[Json]:
    """Mark the panels that may be empty; what is given for others is needless."""
    needless = []
    for item in allowed:
        found = [
            panel
            for dashboard in dashboards
            if item.dashboard in (dashboard.wanted.uid, dashboard.wanted.title)
            for panel in dashboard.panels
            if item.panel in (str(panel.id), panel.title, panel.raw.get("title"))
        ]
        for panel in found:
            if panel.state == "empty":
                panel.state, panel.reason = "excepted", item.reason
        if not any(panel.state == "excepted" for panel in found) and not (item.sometimes and found):
            why = f"the panel's state is {found[0].state}" if found else "there is no such panel"
            needless.append({"dashboard": item.dashboard, "panel": item.panel, "reason": item.reason, "why": why})
    return needless
