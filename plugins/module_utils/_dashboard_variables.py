# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: the variables of a dashboard, found and put into texts as Grafana 10.4 does it, and its rules for intervals."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
import typing as t
import urllib.parse

from ansible_collections.scs.observer.plugins.module_utils import _dashboard_walk, _promql
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

ALL = "$__all"
SAFE_RESOLUTION = 11000  # Prometheus refuses more points a series
DEFAULT_SCRAPE_INTERVAL = 15.0
PROMETHEUS_TYPES = {"prometheus", "grafana-amazonprometheus-datasource", "grafana-azureprometheus-datasource"}
DEPTH = 10  # of values that hold references themselves

_DURATION = re.compile(r"(-?\d+)(?:\.\d+)?(ms|[Mwdhmsy])")
_UNIT_SECONDS = {"y": 31_536_000, "M": 2_592_000, "w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
# Up to the first (ms) an interval is rounded to the second, as Grafana has it.
_ROUNDED = (
    *((10, 1), (15, 10), (35, 20), (75, 50), (150, 100), (350, 200), (750, 500), (1500, 1000), (3500, 2000), (7500, 5000), (12_500, 10_000)),
    *((17_500, 15_000), (25_000, 20_000), (45_000, 30_000), (90_000, 60_000), (210_000, 120_000), (450_000, 300_000), (750_000, 600_000)),
    *((1_050_000, 900_000), (1_500_000, 1_200_000), (2_700_000, 1_800_000), (5_400_000, 3_600_000), (9_000_000, 7_200_000)),
    *((16_200_000, 10_800_000), (32_400_000, 21_600_000), (86_400_000, 43_200_000), (604_800_000, 86_400_000), (1_814_400_000, 604_800_000)),
    (3_628_800_000, 2_592_000_000),
)


class Api(_promql.Backend, t.Protocol):
    """What is needed of module_utils/_promql_backends.py."""

    def query(self, query: str, *, time: float | None = None) -> t.Any: ...

    def query_range(self, query: str, *, start: float, end: float, step: float) -> object: ...

    def label_names(self, *, start: float | None = None, end: float | None = None) -> object: ...

    def label_values(self, label: str, match: str = "", *, start: float | None = None, end: float | None = None) -> object: ...

    def series(self, match: str, *, start: float | None = None, end: float | None = None) -> object: ...


# Intervals


@dataclasses.dataclass(frozen=True)
class TimeRange:
    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclasses.dataclass(frozen=True)
class Intervals:
    """What C($__interval) and C($__rate_interval) are, and the step of a range query, in seconds."""

    interval: float
    rate: float


def duration(text: str) -> float | None:
    """Seconds of a duration as Grafana reads it, such as 5m; a bare number is seconds."""
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    match = _DURATION.search(text)
    return int(match[1]) * _UNIT_SECONDS[match[2]] if match else None


def rounded(seconds: float) -> float:
    milliseconds = seconds * 1000
    return next((value for limit, value in _ROUNDED if milliseconds < limit), 31_536_000_000) / 1000


def written(seconds: float) -> str:
    """The largest unit that fits, and what is over left out, as Grafana does it."""
    for unit in "ydhms":
        if seconds >= _UNIT_SECONDS[unit]:
            return f"{int(seconds // _UNIT_SECONDS[unit])}{unit}"
    return f"{max(1, round(seconds * 1000))}ms"


def exactly(seconds: float) -> str:
    """With nothing left out, as Go writes it."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds / 1000, 60)
    hours, minutes = divmod(int(minutes), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest:g}s"


def intervals(span: float, points: int, *, scrape: float, panel: str = "", target: str = "", factor: int = 1) -> Intervals:
    """C(panel) is the panel's minimum interval, C(target) the minimum step of a query, C(scrape) the datasource's interval."""
    wanted = max(duration(panel) or scrape, rounded(span / points))
    own = target.strip("{}").replace("${", "$")
    least = (None if own in ("$__interval", "$__interval_ms", "$__rate_interval") else duration(target)) or wanted
    calculated = least if span / points < least else rounded(span / points)
    calculated = max(calculated, rounded(span / SAFE_RESOLUTION))
    if own == "$__rate_interval":
        rate = max(calculated + scrape, 4 * scrape)
        return Intervals(rate, rate)
    step = calculated * max(1, factor)
    base = step if own.startswith("$__interval") else duration(target) or scrape
    return Intervals(step, max(wanted + base, 4 * base))


# Putting values into texts


@dataclasses.dataclass(frozen=True)
class Value:
    """The value of a variable; C(escaped) where it is put into a query as a regular expression, C(literal) where it is put there as it is."""

    values: tuple[str, ...]
    several: bool = False
    escaped: bool = False
    literal: bool = False
    name: str = ""
    text: str = ""
    fields: t.Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, value: str, **more: t.Any) -> Value:
        return cls((value,), **more)

    @property
    def plain(self) -> str:
        return ",".join(self.values)


Scope = t.Mapping[str, Value]


def put_in(text: str, scope: Scope, form: str = "glob", depth: int = 0) -> str:
    """The text with the values of its variables; references that nothing is known for stay, as in Grafana."""

    def replace(match: re.Match[str]) -> str:
        value, own = scope.get(_name(match)), match["format"] or match["old_format"]
        if value is None:
            return match[0]
        if value.literal and own not in ("text", "percentencode", "queryparam"):
            return put_in(value.plain, scope, form, depth + 1) if depth < DEPTH else value.plain
        if match["field"] in value.fields:
            return value.fields[match["field"]]
        return formatted(value, own or form)

    return _dashboard_walk.VARIABLE.sub(replace, text)


def references(text: str) -> list[str]:
    return [_name(match) for match in _dashboard_walk.VARIABLE.finditer(text)]


def _name(match: re.Match[str]) -> str:
    return match["plain"] or match["braced"] or match["old"]


def formatted(value: Value, form: str) -> str:
    form, _colon, argument = form.partition(":")
    values = value.values
    if form == "date":
        return _date(value.plain, argument)
    one = not value.several or len(values) == 1
    quotes = {"doublequote": ('"', '\\"'), "singlequote": ("'", "\\'"), "sqlstring": ("'", "''")}
    if form in quotes:
        quote, escaped = quotes[form]
        return ",".join(f"{quote}{item.replace(quote, escaped)}{quote}" for item in values)
    simple: dict[str, t.Callable[[], str]] = {
        "prometheus": lambda: _prometheus(value),
        "regex": lambda: _group([re.sub(r"[\\^$*+?.()|\[\]{}/]", r"\\\g<0>", item) for item in values], one=one),
        "pipe": lambda: "|".join(values),
        "csv": lambda: ",".join(values),
        "raw": lambda: ",".join(values),
        "json": lambda: json.dumps(values, ensure_ascii=False, separators=(",", ":")) if value.several else value.plain,
        "text": lambda: value.text or " + ".join(values),
        "percentencode": lambda: urllib.parse.quote(formatted(value, "glob"), safe=""),
        "uriencode": lambda: urllib.parse.quote(",".join(values), safe=";,/?:@&=+$-_.!~*'()#"),
        "queryparam": lambda: "&".join(f"var-{value.name}={urllib.parse.quote(item, safe='')}" for item in ([value.text] if value.text else values)),
        "distributed": lambda: ",".join(item if number == 0 else f"{value.name}={item}" for number, item in enumerate(values)),
        "lucene": lambda: _lucene(values[0]) if not value.several and values else _any_of([f'"{_lucene(item)}"' for item in values]),
    }
    # unknown ones are glob
    return simple.get(form, lambda: ",".join(values) if one or not values else "{" + ",".join(values) + "}")()


def _lucene(text: str) -> str:
    return re.sub(r'[!*+\-=<>\s&|()\[\]{}^~?:\\/"]', r"\\\g<0>", text)


def _any_of(terms: t.Sequence[str]) -> str:
    return "(" + " OR ".join(terms) + ")" if terms else "__empty__"


def _group(parts: t.Sequence[str], *, one: bool) -> str:
    return "".join(parts) if one else "(" + "|".join(parts) + ")"


def _prometheus(value: Value) -> str:
    if not value.escaped:
        return ",".join(item.replace("\\", "\\\\").replace("'", "\\\\'") for item in value.values)
    parts = [re.sub(r"[$^*{}\[\]'+?.()|]", r"\\\\\g<0>", item.replace("\\", "\\\\\\\\")) for item in value.values]
    return _group(parts, one=not value.several or len(parts) == 1)


def _date(milliseconds: str, form: str) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(int(milliseconds) / 1000, datetime.UTC)
    except ValueError:
        return milliseconds
    if form == "seconds":
        return str(int(milliseconds) // 1000)
    text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return text if form in ("", "iso") else moment.strftime("%Y-%m-%d")


def built_in(span: TimeRange, dashboard: t.Mapping[str, t.Any]) -> dict[str, Value]:
    """What every query knows but for the intervals."""
    milliseconds, seconds = round(span.seconds * 1000), round(span.seconds)
    found = {
        "__range": f"{seconds}s",
        "__range_s": str(seconds),
        "__range_ms": str(milliseconds),
        "__from": str(round(span.start * 1000)),
        "__to": str(round(span.end * 1000)),
        "__timezone": "UTC",
        "__org": "1",
    }
    title, uid = str(dashboard.get("title") or ""), str(dashboard.get("uid") or "")
    named = Value.of(title, fields={"name": title, "uid": uid})
    return {name: Value.of(value) for name, value in found.items()} | {"__dashboard": named}


def of_intervals(given: Intervals) -> dict[str, Value]:
    return {
        "__interval": Value.of(written(given.interval)),
        "__interval_ms": Value.of(str(round(given.interval * 1000))),
        "__rate_interval": Value.of(exactly(given.rate)),
        "__rate_interval_ms": Value.of(str(round(given.rate * 1000))),
    }


# Finding the values


@dataclasses.dataclass(frozen=True)
class Variable:
    """A variable with its value; C(options) are all values that it can have, C(error) why they could not be found."""

    name: str
    kind: str
    value: Value
    options: tuple[str, ...] = ()
    all: bool = False
    error: str = ""

    def result(self) -> dict[str, t.Any]:
        value = list(self.value.values)
        return {"name": self.name, "type": self.kind, "value": value, "all": self.all, "options": len(self.options), "error": self.error}


@dataclasses.dataclass(frozen=True)
class Option:
    text: str
    value: str


class Resolver:
    """Finds the values of a dashboard's variables, each when it is needed first, so that one may hold references to others."""

    def __init__(self, dashboard: t.Mapping[str, t.Any], given: t.Mapping[str, t.Any], span: TimeRange, api: Api, scrape: float) -> None:
        listed = (dashboard.get("templating") or {}).get("list") or []
        self._models = {str(model["name"]): model for model in listed if isinstance(model, dict) and model.get("name")}
        self._given, self._span, self._api, self._scrape = given, span, api, scrape
        self._scope = built_in(span, dashboard)
        self._dashboard = dashboard
        self._open: list[str] = []
        self.found: dict[str, Variable] = {}

    def resolve(self) -> dict[str, Variable]:
        for name in self._models:
            self._resolve(name)
        # values that only the task gives
        for name, value in self._given.items():
            self.found.setdefault(name, Variable(name, "given", self._chosen({"name": name}, _texts(value))))
        return self.found

    def scope(self) -> dict[str, Value]:
        return {**self._scope, **{name: variable.value for name, variable in self.found.items() if variable.kind != "adhoc"}}

    def _resolve(self, name: str) -> None:
        if name in self.found:
            return
        model = self._models[name]
        kind = str(model.get("type") or "query")
        if name in self._open:
            circle = " -> ".join([*self._open[self._open.index(name) :], name])
            raise ObserverError(f"variable {name} needs itself ({circle}). Break the circle.")
        self._open.append(name)
        try:
            for other in references(" ".join(_texts_of(model))):
                if other in self._models and other != name:
                    self._resolve(other)
            self.found[name] = self._made(name, kind, model)
        except ObserverError as error:
            self.found.setdefault(name, Variable(name, kind, self._chosen(model, _current(model)[0]), error=str(error)))
        finally:
            self._open.pop()

    def _made(self, name: str, kind: str, model: t.Mapping[str, t.Any]) -> Variable:
        query = model.get("query")
        if kind == "adhoc":
            return Variable(name, kind, Value((), name=name))
        if kind in ("constant", "textbox"):
            text = _current(model)[0] if kind == "textbox" else ()
            value = _texts(self._given[name]) if name in self._given else text or (str(query or ""),)
            return Variable(name, kind, self._chosen(model, value))
        if kind == "datasource":
            current = _texts(self._given[name]) if name in self._given else _current(model)[0]
            chosen = tuple("default" if item in (ALL, "") else item for item in current) or (str(query or "default"),)
            return Variable(name, kind, Value(chosen, name=name, several=len(chosen) > 1))
        if kind == "custom":
            options = _custom(put_in(str(query or ""), self.scope()))
        elif kind == "interval":
            options = [Option(item.strip(), item.strip()) for _quote, quoted, bare in _INTERVALS.findall(str(query or "")) if (item := quoted or bare).strip()]
            if model.get("auto"):
                options.insert(0, Option("auto", f"$__auto_interval_{name}"))
        elif kind == "query":
            options = self._queried(name, model)
        else:
            options = [Option(str(item.get("text")), str(item.get("value"))) for item in model.get("options") or [] if isinstance(item, dict)]
        return self._selected(name, kind, model, [option for option in options if option.value != ALL])

    def _selected(self, name: str, kind: str, model: t.Mapping[str, t.Any], options: list[Option]) -> Variable:
        values = tuple(option.value for option in options)
        everything = bool(model.get("includeAll"))
        if name in self._given:
            wanted = tuple("All" if item == ALL else item for item in _texts(self._given[name]))
            by_text = {option.text: option.value for option in options}
            chosen = (ALL,) if wanted == ("All",) and "All" not in values else tuple(item if item in values else by_text.get(item, item) for item in wanted)
        else:
            current, text = _current(model)
            kept = (ALL,) if current[:1] == (ALL,) and everything else tuple(item for item in current if item in values)
            if kind == "query" and model.get("refresh") in (0, False) and current:
                kept = current  # Grafana asks for no values then, and takes what was saved
            by_text = {option.text: option.value for option in options}
            chosen = kept or ((by_text[text],) if text in by_text and text else ()) or ((ALL,) if everything else values[:1])
        if kind == "interval":
            auto = self._auto(model)
            return Variable(name, kind, auto if chosen[:1] and chosen[0].startswith("$__auto") else self._chosen(model, chosen), values)
        if chosen[:1] == (ALL,):
            if model.get("allValue"):
                return Variable(name, kind, Value.of(str(model["allValue"]), literal=True, escaped=True, name=name, text="All"), values, all=True)
            return Variable(name, kind, Value(values, several=True, escaped=True, name=name, text="All"), values, all=True)
        return Variable(name, kind, self._chosen(model, chosen), values)

    def _chosen(self, model: t.Mapping[str, t.Any], values: tuple[str, ...]) -> Value:
        many = len(values) > 1
        escaped = bool(model.get("multi") or model.get("includeAll")) or many
        return Value(values or ("",), several=bool(model.get("multi")) or many, escaped=escaped, name=str(model.get("name")))

    def _auto(self, model: t.Mapping[str, t.Any]) -> Value:
        count = model.get("auto_count")
        least = duration(str(model.get("auto_min") or "10s")) or 10
        return Value.of(written(max(least, rounded(self._span.seconds / (count if isinstance(count, int) and count > 0 else 30)))))

    def _queried(self, name: str, model: t.Mapping[str, t.Any]) -> list[Option]:
        scope = {**self.scope(), "__interval": Value.of(written(self._scrape)), "__interval_ms": Value.of(str(round(self._scrape * 1000)))}
        kind = datasource_type(model.get("datasource"), self._dashboard)
        if kind not in PROMETHEUS_TYPES:
            if name in self._given:
                return []
            raise ObserverError(f"variable {name} asks a datasource of type {kind}, and not Prometheus. Give its value in variables.")
        query = put_in(variable_query(model), scope, "prometheus").strip()
        try:
            found = values_of(query, self._api, self._span) if query else []
        except _promql.QueryError as error:
            raise ObserverError(f"variable {name}: {error} The query was {query}") from error
        pattern = put_in(str(model.get("regex") or ""), scope, "regex")
        try:
            return _sorted(_filtered(found, pattern), model.get("sort") or 0)
        except re.error as error:
            raise ObserverError(f"variable {name}: its regex {pattern} can not be read: {error}. Correct it.") from error


_INTERVALS = re.compile(r"""(["'])(.*?)\1|(\w+)""")


def values_of(query: str, api: Api, span: TimeRange) -> list[str]:
    """What a variable's query, without references, finds."""
    times = {"start": span.start, "end": span.end}
    function, argument, label = _dashboard_walk.variable_query(query)
    if function == "label_names":
        if not argument:
            return list(_promql.parse_values(api.label_names(**times), api.title).values)
        sets = _promql.parse_series(api.series(f'{{__name__=~".*{argument}.*"}}', **times), api.title).labels
        return sorted({name for labels in sets for name in labels})
    if function == "label_values":
        return list(_promql.parse_values(api.label_values(label, "" if argument.replace(" ", "") == "{}" else argument, **times), api.title).values)
    if function == "metrics":
        names = _promql.parse_values(api.label_values("__name__", **times), api.title).values
        try:
            return [name for name in names if re.search(argument, name)]
        except re.error as error:
            raise _promql.QueryError(f"the pattern of metrics() can not be read: {error}.", again=False) from error
    if function == "query_result":
        raw = api.query(argument, time=span.end)
        answer = _promql.parse(raw, api.title)
        if raw["data"]["resultType"] != "vector":
            return [series.value or "" for series in answer.series]
        return [f"{_series_name(series.labels)} {series.value} {round(series.timestamp * 1000)}" for series in answer.series]
    if re.match(r"(label_values|metrics|query_result|label_names)\(", query):
        raise _promql.QueryError(
            "this is not label_values(metric, label), label_values(label), metrics(regex), label_names() or query_result(query).", again=False
        )
    return [_series_name(labels) for labels in _promql.parse_series(api.series(query, **times), api.title).labels]


def variable_query(model: t.Mapping[str, t.Any]) -> str:
    """As a text; newer dashboards write it as an object."""
    query = model.get("query")
    if isinstance(query, str):
        return query
    if not isinstance(query, dict):
        return str(model.get("definition") or "")
    if isinstance(query.get("query"), str):
        return query["query"]
    kind = query.get("qryType")
    if kind == 1:
        filters = ",".join(
            f'{item.get("label")}{item.get("op", "=")}"{item.get("value")}"' for item in query.get("labelFilters") or [] if isinstance(item, dict)
        )
        selector = f"{query.get('metric') or ''}{{{filters}}}" if filters else query.get("metric") or ""
        return f"label_values({selector},{query.get('label')})" if selector else f"label_values({query.get('label')})"
    named = {0: f"label_names({query.get('match') or ''})", 2: f"metrics({query.get('metric')})", 4: query.get("seriesQuery"), 5: query.get("classicQuery")}
    if kind == 3:
        return "query_result(" + re.sub(r"[\r\n]+", "", str(query.get("varQuery"))) + ")"
    return str(named.get(kind) or model.get("definition") or "")


def datasource_type(reference: t.Any, dashboard: t.Mapping[str, t.Any]) -> str:
    """The type of plugin that a reference leads to; what nothing tells is taken for Prometheus."""
    if isinstance(reference, dict):
        kind, uid = str(reference.get("type") or ""), str(reference.get("uid") or "")
    else:
        kind, uid = "", str(reference or "")
    special = {
        "-- Mixed --": "mixed",
        "-- Dashboard --": "dashboard",
        "-- Grafana --": "grafana",
        "grafana": "grafana",
        "__expr__": "__expr__",
        "-100": "__expr__",
    }
    if uid in special or kind == "__expr__":
        return special.get(uid, kind)
    for name in references(uid):
        for model in (dashboard.get("templating") or {}).get("list") or []:
            if isinstance(model, dict) and model.get("name") == name and model.get("type") == "datasource":
                return str(model.get("query") or kind or "prometheus")
        for item in dashboard.get("__inputs") or []:
            if isinstance(item, dict) and item.get("name") == name and item.get("type") == "datasource":
                return str(item.get("pluginId") or kind or "prometheus")
    return kind or "prometheus"


def _series_name(labels: t.Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{value}"' for name, value in labels.items() if name != "__name__")
    return f"{labels.get('__name__', '')}{{{inside}}}"


def _custom(query: str) -> list[Option]:
    found = []
    for part in re.findall(r"(?:\\,|[^,])+", query):
        text = part.replace("\\,", ",")
        named = re.fullmatch(r"(.+)\s:\s(.+)", text, re.DOTALL)
        found.append(Option(named[1].strip(), named[2].strip()) if named else Option(text.strip(), text.strip()))
    return found


def _filtered(values: t.Iterable[str], pattern: str) -> list[Option]:
    """What the variable's regex leaves, and what it takes out of each; named groups are text and value."""
    if not pattern:
        return _unique(Option(value, value) for value in values)
    match = re.fullmatch(r"/(.*?)/([gimsuy]*)", pattern, re.DOTALL)
    flags = re.IGNORECASE if match and "i" in match[2] else 0
    body = match[1] if match else f"^{pattern}$"
    compiled = re.compile(re.sub(r"\(\?<(?=[A-Za-z_])", "(?P<", body).replace("\\/", "/"), flags)
    found: list[Option] = []
    for value in values:
        matches = list(compiled.finditer(value)) if match and "g" in match[2] else [hit for hit in [compiled.search(value)] if hit]
        if not matches:
            continue
        groups: dict[str, str] = {}
        for hit in reversed(matches):
            groups.update({name: text for name, text in hit.groupdict().items() if text})
        if {"text", "value"} & set(groups):
            found.append(Option(groups.get("text") or groups["value"], groups.get("value") or groups["text"]))
        elif compiled.groups:
            found += [Option(hit[1] or "", hit[1] or "") for hit in (matches if len(matches) > 1 else matches[:1])]
        else:
            found.append(Option(value, value))
    return _unique(found)


def _unique(options: t.Iterable[Option]) -> list[Option]:
    found: dict[str, Option] = {}
    for option in options:
        found.setdefault(option.value, option)
    return list(found.values())


def _sorted(options: list[Option], order: int) -> list[Option]:
    def number(option: Option) -> int:
        match = re.search(r"\d+", option.text)
        return int(match[0]) if match else -1

    def natural(option: Option) -> list[t.Any]:
        return [(0, int(part), "") if part.isdigit() else (1, 0, part.lower()) for part in re.split(r"(\d+)", option.text) if part]

    keys: dict[int, t.Callable[[Option], t.Any]] = {1: lambda option: option.text, 2: number, 3: lambda option: option.text.lower(), 4: natural}
    key = keys.get((order + 1) // 2) if isinstance(order, int) and order > 0 else None
    if key is None:
        return options
    found = sorted(options, key=key)
    return found[::-1] if order % 2 == 0 else found


def _current(model: t.Mapping[str, t.Any]) -> tuple[tuple[str, ...], str]:
    """The saved value and its text."""
    current = model.get("current")
    if not isinstance(current, dict) or current.get("value") in (None, "", []):
        return (), ""
    text = current.get("text")
    return _texts(current["value"]), text if isinstance(text, str) else ""


def _texts(value: t.Any) -> tuple[str, ...]:
    if isinstance(value, (list, tuple)):
        return tuple(_text(item) for item in value)
    return (_text(value),)


def _text(value: t.Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _texts_of(model: t.Mapping[str, t.Any]) -> list[str]:
    """What may hold references to other variables."""
    found = [variable_query(model) if model.get("type", "query") == "query" else str(model.get("query") or "")]
    return [*found, str(model.get("regex") or ""), str(model.get("allValue") or "")]
