# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: draws what the panels of dashboards show, as one HTML page that loads nothing.

Labels come from whoever sends metrics, and are not to be trusted: all texts are escaped, and the page runs no script but its own two, by their hashes.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import html as _html
import json
import math
import re
import typing as t

from ansible_collections.scs.observer.plugins.module_utils import _dashboard_units as units
from ansible_collections.scs.observer.plugins.module_utils._dashboard_queries import DRAWN_SERIES, STATES, Dashboard, Drawn, Panel, Query, Report, Section
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

COLUMNS = 24  # of Grafana's grid
COLOURS = ("#3274d9", "#e8743b", "#19a979", "#8f3bb8", "#c4162a", "#0f7c8f", "#b8860b", "#5a6b7b", "#e0559c", "#6b8e23")
_NAMED = {"green": "#37872d", "yellow": "#b58900", "orange": "#d9640b", "red": "#c4162a", "blue": "#1f60c4", "purple": "#8f3bb8", "gray": "#6e7681"}
_TABLES = {"table", "table-old", "logs", "datagrid"}
_TILES = {"stat", "singlestat"}
_BARS = {"gauge", "bargauge"}
_SLICES = {"piechart", "grafana-piechart-panel"}
_COLUMNS = {"barchart", "histogram", "trend", "xychart"}
_STEPS = {"state-timeline", "status-history"}
_WORDS = {"data": "data", "empty": "empty", "error": "error", "skipped": "skipped", "excepted": "empty, as expected"}

Json = dict[str, t.Any]


def check() -> None:
    """ObserverError where plotly is missing, before anything is asked."""
    _plotly()


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ObserverError(f"report needs the Python library plotly where this task runs ({error}). Install it there: pip install plotly.") from error
    return get_plotlyjs()


def html(report: Report) -> str:
    library, script = _plotly(), _SCRIPT
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in (library, script))
    policy = f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"
    summary = report.summary()
    moment = datetime.datetime.fromtimestamp(report.span.end, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    counts = " ".join(f'<span class="badge {state}">{summary[state]} {_WORDS[state]}</span>' for state in STATES if summary[state])
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        f'<meta name="viewport" content="width=device-width"><title>Dashboards with data</title><style>{_STYLE}</style></head><body>',
        f'<header id="top"><h1>Dashboards with data</h1><p>{_e(report.server)}, {_length(report.span.seconds)} until {moment}. '
        f"{summary['dashboards']} dashboards, {summary['panels']} panels: {counts}. {summary['ratio']:.1%} have data.</p>"
        "<p class=note>Transformations are not run; of what is repeated, the first is shown. "
        '<label><input type="checkbox" id="faulty"> only panels without data</label></p></header>',
        _contents(report),
        *(_dashboard(dashboard) for dashboard in report.dashboards),
        f"<script>{library}</script>\n<script>{script}</script></body></html>\n",
    ]
    return "\n".join(parts)


def _contents(report: Report) -> str:
    rows = []
    for dashboard in report.dashboards:
        states = [panel.state for panel in dashboard.panels]
        cells = "".join(f'<td class="{state if states.count(state) else "none"}">{states.count(state) or ""}</td>' for state in STATES)
        failed = sum(1 for variable in dashboard.variables.values() if variable.error)
        link = f'<a href="#{_anchor(dashboard)}">{_e(dashboard.wanted.title)}</a>'
        rows.append(f'<tr><td>{link}<td>{_e(dashboard.wanted.uid)}<td>{len(states)}{cells}<td class="{"error" if failed else ""}">{failed or ""}</tr>')
    heads = "".join(f"<th>{_WORDS[state]}" for state in STATES)
    table = f"<table class=contents><tr><th>dashboard<th>uid<th>panels{heads}<th>variables failed</tr>{''.join(rows)}</table>"
    if not report.needless:
        return table
    items = "".join(f"<li>{_e(item['dashboard'])}, panel {_e(item['panel'])}: {_e(item['why'])}" for item in report.needless)
    return f"{table}<p>Needless entries of allow_empty:</p><ul>{items}</ul>"


def _anchor(dashboard: Dashboard) -> str:
    return f"d-{_e(dashboard.wanted.uid)}"


def _dashboard(dashboard: Dashboard) -> str:
    chosen = []
    for variable in dashboard.variables.values():
        if variable.kind in ("adhoc", "datasource"):
            continue
        value = f"All ({len(variable.options)})" if variable.all else ", ".join(variable.value.values) or "none"
        error = f' <span class="badge error">{_e(variable.error)}</span>' if variable.error else ""
        chosen.append(f"<span class=variable><b>{_e(variable.name)}</b> {_e(_short(value, 120))}{error}</span>")
    description = str((dashboard.wanted.content or {}).get("description") or "")
    head = f"<h2>{_e(dashboard.wanted.title)} <small>{_e(dashboard.wanted.uid)} · {_e(dashboard.wanted.source)} · <a href='#top'>top</a></small></h2>"
    about = f"<p class=note>{_e(description)}</p>" if description else ""
    sections = "".join(_section(section, dashboard) for section in dashboard.sections)
    return f'<section class="dashboard {_well(dashboard.panels)}" id="{_anchor(dashboard)}">{head}{about}<p>{" ".join(chosen)}</p>{sections}</section>'


def _section(section: Section, dashboard: Dashboard) -> str:
    places = _places(section.panels)
    panels = "".join(_panel(panel, place, dashboard) for panel, place in zip(section.panels, places, strict=True))
    head = f"<h3>{_e(section.title)}</h3>" if section.title else ""
    return f'<div class="{_well(section.panels)}">{head}<div class=grid>{panels}</div></div>'


def _well(panels: t.Iterable[Panel]) -> str:
    """What the page can leave out when only the rest is asked for."""
    return "well" if all(panel.state in ("", "data") for panel in panels) else "unwell"


def _places(panels: t.Sequence[Panel]) -> list[tuple[int, int, int, int]]:
    """Column, row, width and height of each, from 1; those without a place go below, and rows of before Grafana 5 are laid out by their spans."""
    given = [_map(panel.raw.get("gridPos")) for panel in panels]
    tops = [_whole(place.get("y"), 0) for place in given if place]
    first = min(tops, default=0)
    bottom = max((_whole(place.get("y"), 0) - first + _whole(place.get("h"), 8) for place in given if place), default=0)
    found, column = [], 0
    for panel, place in zip(panels, given, strict=True):
        if place:
            width = min(max(_whole(place.get("w"), 12), 1), COLUMNS)
            left = min(max(_whole(place.get("x"), 0), 0), COLUMNS - width)
            found.append((left + 1, _whole(place.get("y"), 0) - first + 1, width, min(max(_whole(place.get("h"), 8), 2), 40)))
            continue
        width = min(max(2 * _whole(panel.raw.get("span"), 6), 2), COLUMNS)
        if column + width > COLUMNS:
            column, bottom = 0, bottom + 8
        found.append((column + 1, bottom + 1, width, 8))
        column += width
    return found


def _whole(value: t.Any, otherwise: int) -> int:
    number = _number(value)
    return otherwise if number is None or abs(number) > 10_000 else int(number)


def _panel(panel: Panel, place: tuple[int, int, int, int], dashboard: Dashboard) -> str:
    column, row, width, height = place
    style = f"grid-column:{column}/span {width};grid-row:{row}/span {height}"
    state = panel.state or "text"
    badge = f'<span class="badge {state}">{_WORDS[state]}</span> ' if state not in ("data", "text") else ""
    notes = []
    if panel.repeat:
        notes.append(f"repeated by {panel.repeat['variable']}, the first of {panel.repeat['of']}: {panel.repeat['value']}")
    if state == "data" and panel.reason:
        notes.append(panel.reason)
    if panel.raw.get("transformations"):
        notes.append("transformations not run")
    if state in ("data", "excepted"):
        notes += sorted({warning for query in panel.queries for warning in query.found.warnings if not warning.startswith("PromQL info")})
    if state == "data":
        body = _body(panel)
    elif state == "text":
        body = _text(panel)
    else:
        asked = "".join(f"<pre>{_e(query.ref_id)}: {_e(query.asked.expr)}</pre>" for query in panel.queries)
        body = f'<p class="big {state}">{_WORDS[state]}</p><p>{_e(panel.reason)}</p>{asked}'
    more = f"<p class=note>{_e(' · '.join(notes))}</p>" if notes else ""
    about = str(panel.raw.get("description") or "")
    title = f'<h4 title="{_e(about)}">{badge}{_e(panel.title)} <small>{_e(panel.type)} {_e(str(panel.id))}</small></h4>'
    return f'<article class="panel {state}" style="{style}">{title}<div class=body>{body}</div>{more}{_asked(panel)}</article>'


def _text(panel: Panel) -> str:
    content = _map(panel.raw.get("options")).get("content") or panel.raw.get("content")
    return f"<pre class=text>{_e(str(content or ''))}</pre>"


def _asked(panel: Panel) -> str:
    if not panel.queries:
        return ""
    rows = []
    for query in panel.queries:
        found = query.found
        kind = "instant" if query.asked.instant else f"every {_length(query.asked.step)}"
        rows.append(f"<b>{_e(query.ref_id)}</b> {kind}, {found.series} series, {found.samples} samples {_e(found.error)}<pre>{_e(query.asked.expr)}</pre>")
    noun = "query" if len(panel.queries) == 1 else "queries"
    return f"<details><summary>{len(panel.queries)} {noun}, {panel.series} series</summary><div>{''.join(rows)}</div></details>"


# Names, units and colours of series


@dataclasses.dataclass(frozen=True)
class Line:
    """A series with its name and how its values are written."""

    name: str
    drawn: Drawn
    field: Json
    query: Query

    @property
    def values(self) -> list[float]:
        return [value for _moment, value in self.drawn.points if value is not None]


def _lines(panel: Panel, queries: t.Iterable[Query] | None = None) -> list[Line]:
    found = []
    for query in panel.queries if queries is None else queries:
        drawn = query.found.drawn
        common = {key for key, value in (drawn[0].labels.items() if len(drawn) > 1 else ()) if all(item.labels.get(key) == value for item in drawn)}
        for item in drawn:
            name = _name(query, item.labels, common)
            field = _field(panel, name, query.ref_id)
            shown = field.get("displayName")
            if isinstance(shown, str) and shown:
                name = _display_name(shown, item.labels, name)
            found.append(Line(name, item, field, query))
    return found


def _name(query: Query, labels: t.Mapping[str, str], common: t.Collection[str]) -> str:
    if query.legend and query.legend != "__auto":
        return re.sub(r"\{\{\s*(.+?)\s*\}\}", lambda match: labels.get(match[1], ""), query.legend)
    own = {key: value for key, value in labels.items() if key not in common and key != "__name__"}
    if len(own) == 1 and query.legend == "__auto":
        return next(iter(own.values()))
    inside = ", ".join(f'{key}="{value}"' for key, value in sorted(own.items()))
    metric = labels.get("__name__", "")
    return f"{metric}{{{inside}}}" if metric and inside else metric or inside or "Value"


def _display_name(text: str, labels: t.Mapping[str, str], name: str) -> str:
    text = re.sub(r"\$\{__field\.labels\.([A-Za-z_]\w*)\}", lambda match: labels.get(match[1], ""), text)
    return re.sub(r"\$\{__(field|series)\.(display)?[nN]ame\}|\$__cell_0", lambda _match: name, text)


def _field(panel: Panel, name: str, ref_id: str) -> Json:
    """The panel's field options for a series, with the overrides that are for it."""
    config = panel.raw.get("fieldConfig")
    if not isinstance(config, dict):
        return _old_field(panel.raw)
    found = dict(_map(config.get("defaults")))
    for override in map(_map, _list(config.get("overrides"))):
        matcher = _map(override.get("matcher"))
        wanted, kind = matcher.get("options"), matcher.get("id")
        if (kind == "byName" and wanted == name) or (kind == "byFrameRefID" and wanted == ref_id) or (kind == "byRegexp" and _matches(str(wanted), name)):
            found |= {str(item.get("id")): item.get("value") for item in map(_map, _list(override.get("properties")))}
    return found


def _old_field(raw: Json) -> Json:
    """Of panels before Grafana 8."""
    axes = _list(raw.get("yaxes"))
    unit = raw.get("format") or (_map(axes[0]).get("format") if axes else None)
    return {"unit": unit, "decimals": raw.get("decimals"), "custom": {"stacking": {"mode": "normal" if raw.get("stack") else "none"}}}


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern.strip("/"), name) is not None
    except re.error:
        return False


def _written(value: float | None, field: Json) -> str:
    if value is None:
        return "–"
    mapped = _mapping(value, field).get("text")
    decimals = _number(field.get("decimals"))
    return str(mapped) if mapped else units.text(value, str(field.get("unit") or ""), None if decimals is None else int(min(max(decimals, 0), 10)))


def _mapping(value: float | str, field: Json) -> Json:
    """What the panel's value mappings have for a value."""
    for mapping in map(_map, _list(field.get("mappings"))):
        options, result = _map(mapping.get("options")), None
        if mapping.get("type") == "value":
            result = options.get(value if isinstance(value, str) else units.plain(value))
        elif mapping.get("type") == "range" and not isinstance(value, str):
            least, most = _number(options.get("from")), _number(options.get("to"))
            result = options.get("result") if (least is None or value >= least) and (most is None or value <= most) else None
        if isinstance(result, dict):
            return result
    return {}


def _colour(value: float | str | None, field: Json, fallback: str) -> str:
    """That of the value's mapping, else the fixed one, else that of the threshold that it has reached."""
    if value is None:
        return fallback
    mapped = _mapping(value, field).get("color")
    colour, thresholds = _map(field.get("color")), _map(field.get("thresholds"))
    found = str(mapped or "")
    if not mapped and colour.get("mode") == "fixed":
        found = str(colour.get("fixedColor") or "")
    elif not mapped and not isinstance(value, str) and colour.get("mode") in (None, "thresholds") and thresholds.get("mode") != "percentage":
        for step in map(_map, _list(thresholds.get("steps"))):
            least = _number(step.get("value"))
            if least is None or value >= least:
                found = str(step.get("color") or "")
    return _safe_colour(found, fallback)


def _safe_colour(text: str, fallback: str) -> str:
    named = re.sub(r"^(super-light|light|semi-dark|dark)-", "", text)
    return text if re.fullmatch(r"#[0-9a-fA-F]{3,8}", text) else _NAMED.get(named, fallback)


def _reduced(line: Line, panel: Panel) -> float | None:
    """One value of a series, as the panel's options have it."""
    given = _list(_map(_map(panel.raw.get("options")).get("reduceOptions")).get("calcs"))
    calculation = str(given[0]) if given else "lastNotNull"
    values, points = line.values, line.drawn.points
    if calculation == "last":
        return points[-1][1] if points else None
    if not values:
        return None
    known: dict[str, t.Callable[[], float]] = {
        "mean": lambda: sum(values) / len(values),
        "max": lambda: max(values),
        "min": lambda: min(values),
        "sum": lambda: sum(values),
        "first": lambda: values[0],
        "firstNotNull": lambda: values[0],
        "count": lambda: float(len(values)),
        "range": lambda: max(values) - min(values),
        "diff": lambda: values[-1] - values[0],
    }
    return known.get(calculation, lambda: values[-1])()


# Drawing


def _body(panel: Panel) -> str:
    if panel.type in _TABLES:
        return _tables(panel)
    lines = _lines(panel)
    if panel.type in _TILES:
        return _tiles(panel, lines)
    if panel.type in _BARS:
        return _gauges(panel, lines)
    if panel.type in _SLICES:
        return _slices(panel, lines)
    if panel.type == "heatmap" and any("le" in line.drawn.labels for line in lines):
        return _heatmap(lines)
    if panel.type in _COLUMNS and all(query.asked.instant for query in panel.queries):
        return _bars(panel, lines)
    if all(query.asked.instant for query in panel.queries):
        return _tiles(panel, lines)
    return _chart(panel, lines)


def _left_out(shown: int, panel: Panel, *, points: bool = False) -> str:
    every = max((query.found.every for query in panel.queries), default=1) if points else 1
    series = panel.series - shown
    notes = [f"{series} more series not drawn"] * (series > 0) + [f"1 point in {every} drawn"] * (every > 1)
    return f"<p class=note>{', '.join(notes)}</p>" if notes else ""


def _tiles(panel: Panel, lines: t.Sequence[Line]) -> str:
    shown = lines[:DRAWN_SERIES]
    tiles = []
    for line in shown:
        value = _reduced(line, panel)
        mode = _map(panel.raw.get("options")).get("textMode")
        named = mode not in ("value", "none") and (len(lines) > 1 or line.name != "Value")
        text = line.name if mode == "name" else _written(value, line.field)
        label = f"<small>{_e(_short(line.name, 60))}</small>" if named else ""
        tiles.append(f'<div class=tile style="color:{_colour(value, line.field, "#1f2937")}">{label}<b>{_e(text)}</b></div>')
    return f"<div class=tiles>{''.join(tiles)}</div>{_left_out(len(shown), panel)}"


def _gauges(panel: Panel, lines: t.Sequence[Line]) -> str:
    shown = lines[:DRAWN_SERIES]
    values = [(line, _reduced(line, panel)) for line in shown]
    largest = max((abs(value) for _line, value in values if value is not None), default=0)
    rows = []
    for line, value in values:
        unit = line.field.get("unit")
        low, top = _number(line.field.get("min")) or 0, _number(line.field.get("max"))
        if top is None:
            top = {"percent": 100, "percentunit": 1}.get(str(unit), largest)
        share = 0.0 if value is None or top <= low else min(1.0, max(0.0, (value - low) / (top - low)))
        colour = _colour(value, line.field, COLOURS[0])
        strip = f'<span class=bar><i style="width:{share:.1%};background:{colour}"></i></span>'
        rows.append(f"<tr><td>{_e(_short(line.name, 80))}<td>{strip}<td class=value>{_e(_written(value, line.field))}</tr>")
    return f"<table class=gauges>{''.join(rows)}</table>{_left_out(len(shown), panel)}"


def _tables(panel: Panel) -> str:
    """One for each query; in one where the panel joins them."""
    names, hidden, joined = _columns(panel)
    tables: list[list[tuple[dict[str, str], dict[str, float | None]]]] = []
    left = 0
    for query in panel.queries:
        lines = _lines(panel, [query])
        left += query.found.series - len(lines)
        column = f"Value #{query.ref_id}" if len(panel.queries) > 1 else "Value"
        if not tables or not joined:
            tables.append([])
        for line in lines:
            labels = {key: value for key, value in line.drawn.labels.items() if key != "__name__"}
            value = line.values[-1] if line.values else None
            for known, values in tables[-1] if joined else ():
                if (
                    column not in values
                    and all(known.get(key, value) == value for key, value in labels.items())
                    and (known.keys() & labels.keys() or not labels)
                ):
                    known.update(labels)
                    values[column] = value
                    break
            else:
                tables[-1].append((labels, {column: value}))
    more = f"<p class=note>{left} more rows not drawn</p>" if left > 0 else ""
    return "".join(_table(panel, rows, names, hidden) for rows in tables if rows) + more


def _columns(panel: Panel) -> tuple[dict[str, str], set[str], bool]:
    """The names that the panel gives to columns, those that it hides, and whether it makes one table of all queries."""
    names: dict[str, str] = {}
    hidden: set[str] = set()
    joined = False
    for transformation in map(_map, _list(panel.raw.get("transformations"))):
        options = _map(transformation.get("options"))
        joined |= transformation.get("id") in ("merge", "joinByField", "seriesToColumns")
        if transformation.get("id") == "organize":
            names |= {str(old): str(new) for old, new in _map(options.get("renameByName")).items() if new}
            hidden |= {str(name) for name, out in _map(options.get("excludeByName")).items() if out}
    return names, hidden, joined


def _table(panel: Panel, rows: t.Sequence[tuple[dict[str, str], dict[str, float | None]]], names: t.Mapping[str, str], hidden: t.Collection[str]) -> str:
    labels = [key for key in sorted({key for known, _values in rows for key in known}) if key not in hidden]
    columns = [key for key in sorted({key for _known, values in rows for key in values}) if key not in hidden]
    fields = {}
    for key in (*labels, *columns):
        fields[key] = _field(panel, names.get(key, key), key.removeprefix("Value #"))
    heads = "".join(f"<th>{_e(names.get(key) or (fields[key].get('displayName') if key in columns else '') or key)}" for key in (*labels, *columns))
    lines = []
    for known, values in rows:
        cells = []
        for key in labels:
            text = known.get(key, "")
            mapping = _mapping(text, fields[key])
            cells.append(f'<td style="color:{_safe_colour(str(mapping.get("color")), "inherit")}">{_e(_short(str(mapping.get("text") or text), 60))}')
        for key in columns:
            value = values.get(key)
            cells.append(f'<td class=value style="color:{_colour(value, fields[key], "inherit")}">{_e(_written(value, fields[key]))}')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table class=data><tr>{heads}</tr>{''.join(lines)}</table>"


def _chart(panel: Panel, lines: t.Sequence[Line]) -> str:
    shown = [line for line in lines if line.values][:DRAWN_SERIES]
    grid = sorted({moment for line in shown for moment, _value in line.drawn.points})
    unit = str(shown[0].field.get("unit") or "") if shown else ""
    fitting = units.scale(unit, max((abs(value) for line in shown for value in line.values), default=0))
    traces, legend = [], []
    for number, line in enumerate(shown):
        colour = COLOURS[number % len(COLOURS)]
        fixed = _map(line.field.get("color"))
        if fixed.get("mode") == "fixed":
            colour = _safe_colour(str(fixed.get("fixedColor")), colour)
        custom = _map(line.field.get("custom"))
        own = str(line.field.get("unit") or "")
        factor = fitting.factor if own == unit else units.scale(own, max(map(abs, line.values))).factor
        known = dict(line.drawn.points)
        trace: Json = {"name": _e(_short(line.name, 90)), "y": [_rounded(known.get(moment), factor) for moment in grid]}
        trace |= _style(panel, custom, colour)
        traces.append(trace)
        last = _written(line.values[-1], line.field)
        legend.append(f'<span><i style="background:{colour}"></i>{_e(_short(line.name, 90))} <b>{_e(last)}</b></span>')
    negative = any(value < 0 for line in shown for value in line.values)
    layout: Json = {"yaxis": {"rangemode": "normal" if negative else "nonnegative", "ticksuffix": _e(fitting.suffix), "tickprefix": _e(fitting.prefix)}}
    field = shown[0].field if shown else {}
    least, most = (_number(field.get(key)) for key in ("min", "max"))
    if least is not None or most is not None:
        layout["yaxis"]["range"] = [_rounded(edge, fitting.factor) for edge in (least, most)]
        layout["yaxis"]["autorange"] = "min" if least is None else "max" if most is None else False
    if any(trace.get("type") == "bar" for trace in traces):
        layout["barmode"] = "stack"
    if panel.span is not None:
        layout["xaxis"] = {"range": [round(panel.span.start * 1000), round(panel.span.end * 1000)]}
    hidden = sum(1 for line in lines if not line.values)
    more = _left_out(min(DRAWN_SERIES, len(shown) + hidden), panel, points=True)
    return _figure(traces, layout, [round(moment * 1000) for moment in grid]) + f"<div class=legend>{''.join(legend)}</div>{more}"


def _style(panel: Panel, custom: Json, colour: str) -> Json:
    stacking = _map(custom.get("stacking"))
    if custom.get("drawStyle") == "bars":
        return {"type": "bar", "marker": {"color": colour}}
    style: Json = {"type": "scatter", "mode": "lines", "line": {"color": colour, "width": 1.3}}
    if panel.type in _STEPS or str(custom.get("lineInterpolation")).startswith("step"):
        style["line"]["shape"] = "hv"
    if custom.get("drawStyle") == "points":
        style |= {"mode": "markers", "marker": {"color": colour, "size": 4}}
    if stacking.get("mode") in ("normal", "percent"):
        style["stackgroup"] = str(stacking.get("group") or "A")
        if stacking["mode"] == "percent":
            style["groupnorm"] = "percent"
    return style


def _slices(panel: Panel, lines: t.Sequence[Line]) -> str:
    shown = lines[:DRAWN_SERIES]
    trace = {"type": "pie", "labels": [_e(_short(line.name, 60)) for line in shown], "values": [_rounded(_reduced(line, panel)) for line in shown], "hole": 0.4}
    return _figure([trace], {"showlegend": True}) + _left_out(len(shown), panel)


def _bars(panel: Panel, lines: t.Sequence[Line]) -> str:
    shown = lines[:DRAWN_SERIES]
    trace = {"type": "bar", "x": [_e(_short(line.name, 40)) for line in shown], "y": [_rounded(_reduced(line, panel)) for line in shown]}
    layout = {"xaxis": {"type": "category"}}
    return _figure([trace], layout) + _left_out(len(shown), panel)


def _heatmap(lines: t.Sequence[Line]) -> str:
    def bound(line: Line) -> float:
        try:
            return float(line.drawn.labels.get("le", "inf"))
        except ValueError:
            return math.inf

    ordered = sorted((line for line in lines if "le" in line.drawn.labels), key=bound)
    grid = sorted({moment for line in ordered for moment, _value in line.drawn.points})
    table = [[dict(line.drawn.points).get(moment) for moment in grid] for line in ordered]
    # buckets count what is below them too
    if ordered[0].query.format == "heatmap":
        below: list[float | None] = [0.0] * len(grid)
        for number, row in enumerate(table):
            table[number] = [None if value is None else max(0.0, value - (under or 0.0)) for value, under in zip(row, below, strict=True)]
            below = row
    trace = {
        "type": "heatmap",
        "x": [round(moment * 1000) for moment in grid],
        "y": [_e(line.drawn.labels["le"]) for line in ordered],
        "z": [[_rounded(value) for value in row] for row in table],
        "colorscale": "Blues",
        "reversescale": True,
    }
    return _figure([trace], {"yaxis": {"type": "category"}, "xaxis": {"type": "date"}})


def _figure(traces: t.Sequence[Json], layout: Json, grid: t.Sequence[int] | None = None) -> str:
    """The browser draws it when it comes into sight; C(grid) are the times that all traces share."""
    data = json.dumps({"data": traces, "layout": layout, "x": grid}, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        data = data.replace(sign, f"\\u{ord(sign):04x}")
    return f'<div class=chart><script type="application/json">{data}</script></div>'


def _rounded(value: float | None, factor: float = 1) -> float | None:
    if value is None or not math.isfinite(value * factor):
        return None
    number = float(f"{value * factor:.5g}")
    return int(number) if number == int(number) and abs(number) < 1e15 else number


def _map(value: t.Any) -> Json:
    """Dashboards are read as they come: what has a wrong type counts as not there."""
    return value if isinstance(value, dict) else {}


def _list(value: t.Any) -> list[t.Any]:
    return value if isinstance(value, list) else []


def _number(value: t.Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) else None


def _length(seconds: float) -> str:
    return units.text(seconds, "s")


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _e(text: object) -> str:
    return _html.escape(str(text), quote=True)


_STYLE = """
*{box-sizing:border-box}body{font:14px/1.4 system-ui,sans-serif;margin:0;padding:1rem;background:#f3f4f6;color:#1f2937}
h1{margin:0 0 .3rem}h2{margin:2rem 0 .3rem;border-top:2px solid #9ca3af;padding-top:.8rem}h3{margin:1rem 0 .3rem}
small{font-weight:normal;color:#6b7280;font-size:.75em}.note{color:#6b7280;font-size:.85em;margin:.2rem 0}
table{border-collapse:collapse}td,th{padding:.15rem .5rem;text-align:left}
.contents{background:#fff;border:1px solid #d1d5db}.contents td,.contents th{border-bottom:1px solid #e5e7eb}
.badge{border-radius:3px;padding:0 .35rem;font-size:.85em;white-space:normal;font-weight:normal}
.data.badge,td.data{background:#dcfce7;color:#166534}.empty.badge,td.empty{background:#fef3c7;color:#92400e}
.error.badge,td.error{background:#fee2e2;color:#991b1b}.skipped.badge,td.skipped,.excepted.badge,td.excepted{background:#e5e7eb;color:#374151}
.variable{background:#e5e7eb;border-radius:3px;padding:.1rem .4rem;margin-right:.3rem;display:inline-block;font-size:.85em}
.grid{display:grid;grid-template-columns:repeat(24,minmax(0,1fr));grid-auto-rows:30px;gap:8px}
.panel{background:#fff;border:1px solid #d1d5db;border-radius:4px;padding:.3rem .5rem;position:relative}
.panel{display:flex;flex-direction:column;min-height:0;overflow:hidden}
.panel:has(details[open]){overflow:visible;z-index:5}.panel.error{border:2px solid #dc2626}.panel.empty{border:2px solid #d97706}
.panel.skipped,.panel.excepted{background:#f9fafb}
.panel h4{margin:0 0 .2rem;font-size:.9rem;flex:none;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.body{flex:1;min-height:0;overflow:auto;display:flex;flex-direction:column}
.big{font-size:1.4rem;margin:.2rem 0;text-align:center}.big.error{color:#b91c1c}.big.empty{color:#b45309}.body p{overflow-wrap:anywhere}
.chart{flex:1;min-height:90px}.legend{flex:none;max-height:4.6em;overflow:auto;font-size:.75rem;line-height:1.5}
.legend span{margin-right:.9rem;display:inline-block}.legend i{display:inline-block;width:10px;height:3px;margin-right:4px;vertical-align:middle}
.tiles{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;align-items:center;justify-content:center;flex:1}.tile{text-align:center}
.tile small{display:block}.tile b{font-size:1.5rem;font-weight:600;line-height:1.1}
table.data{font-size:.8rem;margin-bottom:.5rem;white-space:nowrap}table.data th{border-bottom:1px solid #9ca3af;position:sticky;top:0;background:#fff}
table.data td{border-bottom:1px solid #e5e7eb;background:none;color:inherit}
.value{text-align:right!important;font-variant-numeric:tabular-nums;white-space:nowrap}
.gauges{width:100%;font-size:.85rem}.bar{display:block;background:#e5e7eb;height:12px;min-width:60px;width:100%}.bar i{display:block;height:12px}
.gauges td:nth-child(2){width:50%}pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:.2rem 0;font-size:.75rem}.text{font-family:inherit;font-size:.85rem}
details{flex:none;font-size:.75rem;color:#6b7280}details summary{cursor:pointer}
details>div{position:absolute;left:0;right:0;background:#fff;border:1px solid #9ca3af;padding:.4rem;z-index:6;color:#1f2937;max-height:300px;overflow:auto}
body.faulty .panel.data,body.faulty .panel.text,body.faulty .well{display:none}body.faulty .grid{grid-auto-rows:auto;grid-template-columns:repeat(3,1fr)}
body.faulty .panel{grid-column:auto!important;grid-row:auto!important}
""".strip()

_SCRIPT = """
(function () {
  var axis = {gridcolor: "#e5e7eb", zeroline: false, automargin: true, tickfont: {size: 10}};
  function draw(place) {
    if (place.done) { return; }
    place.done = true;
    var figure = JSON.parse(place.firstElementChild.textContent);
    var layout = figure.layout;
    layout.xaxis = Object.assign({ticklabeloverflow: "hide past domain"}, axis, figure.x ? {type: "date"} : {}, layout.xaxis);
    layout.yaxis = Object.assign({}, axis, layout.yaxis);
    if (figure.x) { figure.data.forEach(function (trace) { trace.x = figure.x; }); }
    var rest = {margin: {l: 45, r: 8, t: 6, b: 22}, showlegend: false, hovermode: "closest", paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)"};
    Plotly.newPlot(place, figure.data, Object.assign(rest, layout), {displayModeBar: false, responsive: true});
  }
  var places = document.querySelectorAll(".chart");
  var seen = new IntersectionObserver(function (entries) {
    entries.forEach(function (entry) { if (entry.isIntersecting) { draw(entry.target); } });
  }, {rootMargin: "600px"});
  places.forEach(function (place) { seen.observe(place); });
  window.addEventListener("beforeprint", function () { places.forEach(draw); });
  document.getElementById("faulty").addEventListener("change", function (event) { document.body.classList.toggle("faulty", event.target.checked); });
})();
""".strip()
