# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all dashboards are made of.

A module of this package has a function C(dashboards() -> list[Dashboard]). The shortest one:

    from .common import cluster_variable, dashboard, row, stat, table, label, value, timeseries, high_is_bad

    def dashboards():
        return [
            dashboard(
                "scs-kaas-nodes",
                "The nodes of a cluster, the busiest first.",
                variables=[cluster_variable()],
                panels=[
                    row("Overview"),
                    stat("Nodes", "How many nodes the cluster has.", "short", 'cluster:kube_node_info:count{cluster=~"$cluster"}'),
                    timeseries("CPU", "Busy share of each node.", "percentunit", {"{{instance}}": 'instance:node_cpu...{cluster=~"$cluster"}'}, maximum=1),
                    table(
                        "Nodes",
                        "One row a node; a click opens its details.",
                        [
                            label("instance", "Node", links=[link("scs-kaas-node", cluster="${__data.fields.cluster}", node="${__data.fields.instance}")]),
                            value("CPU", 'max by (cluster, instance) (instance:node_cpu...{cluster=~"$cluster"})', "percentunit", high_is_bad(0.8, 0.9)),
                        ],
                        sort="CPU",
                    ),
                ],
            )
        ]

Nobody gives positions: panels are set side by side in 24 columns, and a row or a full line begins a new line. Panels keep their ids as long as they keep their
titles.
Titles, folders and tags are in DASHBOARDS. stat, gauge, bargauge and table ask for one moment (instant), timeseries for the time range.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t
import zlib
from collections.abc import Iterable, Mapping, Sequence

from grafana_foundation_sdk.builders import bargauge as bargauge_builders
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import gauge as gauge_builders
from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.builders import stat as stat_builders
from grafana_foundation_sdk.builders import table as table_builders
from grafana_foundation_sdk.builders import text as text_builders
from grafana_foundation_sdk.builders import timeseries as timeseries_builders
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prometheus_models
from grafana_foundation_sdk.models import text as text_models
from grafana_foundation_sdk.models import units

GREEN, YELLOW, ORANGE, RED, BLUE, PURPLE, GREY = "green", "yellow", "orange", "red", "blue", "purple", "#8e8e8e"
DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
# The Observer's own series: what its Prometheus scraped (OBSERVER), and what its ruler recorded (RECORDED). No Receive has them, and none needs to be asked.
RECORDED = 'infrastructure="",receive_replica=""'
OBSERVER = 'infrastructure="",observer!="",receive_replica=""'
_COLUMNS = 24
# What a table with all labels leaves out.
_NO_COLUMNS = ("Time", "__name__", "alertstate", "observer", "prometheus_replica", "receive", "receive_replica", "tenant_id")
_UNITS = {getattr(units, name) for name in dir(units) if isinstance(getattr(units, name), str) and not name.startswith("_")}


@dataclasses.dataclass(frozen=True)
class _Entry:
    title: str
    level: str
    subject: str
    folder: str
    # Variables that a link to it hands over, if the dashboard with the link has them too.
    takes: tuple[str, ...] = ()


# Every dashboard: uid -> title, level, subject, folder. Links name dashboards by uid, and find their titles here.
DASHBOARDS: dict[str, _Entry] = {
    "scs-kaas": _Entry("KaaS clusters", "L0", "kaas", "KaaS"),
    "scs-iaas": _Entry("IaaS", "L0", "iaas", "IaaS"),
    "scs-services": _Entry("Services and infrastructure clusters", "L0", "service", "Services"),
    "scs-kaas-cluster": _Entry("KaaS cluster", "L1", "kaas", "KaaS", ("cluster",)),
    **{
        f"scs-kaas-{name}": _Entry(title, "L2", "kaas", "KaaS", ("cluster", *more))
        for name, title, *more in (
            ("nodes", "Nodes"),
            ("node", "Node", "node"),
            ("pods", "Pods", "namespace"),
            ("workloads", "Workloads", "namespace"),
            ("namespaces", "Namespaces", "namespace"),
            ("volumes", "Volumes", "namespace"),
            ("network", "Network", "namespace"),
            ("alerts", "Alerts of KaaS clusters"),
            ("apiserver", "API server"),
            ("etcd", "etcd"),
            ("scheduler", "Scheduler"),
            ("controller-manager", "Controller manager"),
            ("kubelet", "Kubelet"),
            ("kube-proxy", "kube-proxy"),
            ("coredns", "CoreDNS"),
            ("ingress", "Ingress controllers"),
            ("certificates", "Certificates"),
        )
    },
    "scs-service-probes": _Entry("Service probes", "L2", "service", "Services"),
    "scs-harbor": _Entry("Harbor", "L2", "service", "Services", ("cluster",)),
    "scs-observer": _Entry("Observer", "L2", "observer", "Observer"),
    "scs-observer-tenants": _Entry("Observer: tenants", "L2", "observer", "Observer"),
}


@dataclasses.dataclass(frozen=True)
class Dashboard:
    """A finished dashboard: where it goes, and what Grafana gets."""

    uid: str
    folder: str
    model: models.Dashboard


# ---------------------------------------------------------------- queries


@dataclasses.dataclass(frozen=True)
class Query:
    """One query of a panel; made by target() or instant()."""

    expr: str
    legend: str
    range: bool


# What panels take as queries: one expression, {legend: expression}, one Query or a list of them.
Queries = t.Union[str, "Query", Mapping[str, str], Sequence["Query"]]


def target(expr: str, legend: str = "") -> Query:
    """A query over the time range, for timeseries and for a stat with sparkline."""
    return Query(" ".join(expr.split()), legend, True)


def instant(expr: str, legend: str = "") -> Query:
    """A query for the end of the time range, for everything else."""
    return Query(" ".join(expr.split()), legend, False)


def _queries(given: Queries, make: t.Callable[..., Query]) -> list[Query]:
    if isinstance(given, str):
        return [make(given)]
    if isinstance(given, Query):
        return [given]
    if isinstance(given, Mapping):
        return [make(expr, legend) for legend, expr in given.items()]
    return list(given)


def _letters(number: int) -> str:
    return chr(65 + number) if number < 26 else chr(64 + number // 26) + chr(65 + number % 26)


def _targets(queries: Sequence[Query], *, table: bool = False) -> list[prometheus.Dataquery]:
    result = []
    for number, query in enumerate(queries):
        form = prometheus_models.PromQueryFormat.TABLE if table else prometheus_models.PromQueryFormat.TIME_SERIES
        made = prometheus.Dataquery().expr(query.expr).ref_id(_letters(number)).datasource(DATASOURCE).format(form)
        made = made.editor_mode(prometheus_models.QueryEditorMode.CODE)
        made = made.range() if query.range else made.instant()
        result.append(made if table else made.legend_format(query.legend or "__auto"))
    return result


# ---------------------------------------------------------------- looks: thresholds, mappings, links


def thresholds(base: str, *steps: tuple[float, str]) -> models.ThresholdsConfig:
    """Colours: the lowest, then (from this value on, colour) in rising order."""
    made = [models.Threshold(value=None, color=base), *(models.Threshold(value=number, color=color) for number, color in steps)]
    return models.ThresholdsConfig(mode=models.ThresholdsMode.ABSOLUTE, steps=made)


def high_is_bad(warning: float, critical: float) -> models.ThresholdsConfig:
    """Green, orange from C(warning) on, red from C(critical) on: utilisation, failures."""
    return thresholds(GREEN, (warning, ORANGE), (critical, RED))


def low_is_bad(critical: float, warning: float) -> models.ThresholdsConfig:
    """Red, orange from C(critical) on, green from C(warning) on: health, days left."""
    return thresholds(RED, (critical, ORANGE), (warning, GREEN))


def bad_if_any(color: str = RED) -> models.ThresholdsConfig:
    """Green at 0, coloured from 1 on: counts of what ought not to be."""
    return thresholds(GREEN, (1, color))


PLAIN = thresholds(BLUE)


def mapping(words: Mapping[str | int | float, tuple[str, str]]) -> models.ValueMap:
    """Words for values: C({1: ("up", GREEN), 0: ("down", RED)})."""
    options = {str(key): models.ValueMappingResult(text=text, color=color, index=index) for index, (key, (text, color)) in enumerate(words.items())}
    return models.ValueMap(options=options)


def no_data(text: str, color: str = GREY) -> models.SpecialValueMap:
    """A word for no value at all (null and NaN)."""
    result = models.ValueMappingResult(text=text, color=color, index=99)
    return models.SpecialValueMap(options=models.DashboardSpecialValueMapOptions(match=models.SpecialValueMatch.NULL_AND_NAN, result=result))


STATES: dict[str, tuple[str, str]] = {
    "up": ("up", GREEN),
    "agent_down": ("agent down", ORANGE),
    "down": ("down", RED),
    "never_seen": ("never seen", PURPLE),
    "new": ("new", BLUE),
    "maintenance": ("maintenance", GREY),
    "orphan": ("orphan", YELLOW),
}


def link(uid: str, title: str = "", **variables: str) -> dict[str, t.Any]:
    """A link from a panel or a column to a dashboard; keeps data source and time range, and sets variables.

    C(link("scs-kaas-cluster", cluster="${__data.fields.cluster}")) in a table, C("${__field.labels.cluster}") in the others. C(cluster="$cluster") keeps it.
    """
    entry = _entry(uid)
    parts = "".join(f"var-{name}={text}&" for name, text in variables.items())
    return {"title": title or entry.title, "url": f"/d/{uid}?{parts}${{datasource:queryparam}}&${{__url_time_range}}", "targetBlank": False}


def _entry(uid: str) -> _Entry:
    if uid not in DASHBOARDS:
        raise ValueError(f"no dashboard has the uid {uid!r}: add it to DASHBOARDS in tools/dashboards/common.py")
    return DASHBOARDS[uid]


def _unit(unit: str) -> str:
    if unit not in _UNITS and not re.match(r"(suffix|prefix|si|count|currency|time):.", unit):
        raise ValueError(f"Grafana knows no unit {unit!r}; grafana_foundation_sdk.models.units has them")
    return unit


def override(
    field: str,
    *,
    unit: str | None = None,
    decimals: int | None = None,
    limits: models.ThresholdsConfig | None = None,
    mappings: Sequence[models.ValueMapping] = (),
    links: Sequence[Mapping[str, t.Any]] = (),
    color: str | None = None,
    regexp: bool = False,
    **custom: t.Any,
) -> dict[str, t.Any]:
    """Other settings for one field (by its shown name, or all that a regexp fits). C(custom) goes to fieldConfig's custom part, such as width=90."""
    properties: list[tuple[str, t.Any]] = [("unit", unit and _unit(unit)), ("decimals", decimals), ("thresholds", limits)]
    properties += [("mappings", list(mappings) or None), ("links", list(links) or None)]
    properties += [("color", {"mode": "fixed", "fixedColor": color} if color else None)]
    properties += [(f"custom.{key}", content) for key, content in custom.items()]
    made = [models.DynamicConfigValue(id_val=key, value=content) for key, content in properties if content is not None]
    return {"regexp": regexp, "field": field, "properties": made}


# ---------------------------------------------------------------- panels


@dataclasses.dataclass
class Panel:
    """A panel (or row) with its size; dashboard() gives it its place and id."""

    title: str
    width: int
    height: int
    builder: t.Any
    collapsed: bool | None = None

    @property
    def is_row(self) -> bool:
        return self.collapsed is not None


def row(title: str, *, collapsed: bool = False) -> Panel:
    """Begins a part of the dashboard. What is collapsed asks nothing until somebody opens it."""
    return Panel(title, _COLUMNS, 1, builders.Row(title).collapsed(collapsed), collapsed)


def _panel(
    builder: t.Any,
    title: str,
    description: str,
    unit: str,
    *,
    width: int,
    height: int,
    limits: models.ThresholdsConfig | None = None,
    mappings: Sequence[models.ValueMapping] = (),
    links: Sequence[Mapping[str, t.Any]] = (),
    overrides: Sequence[Mapping[str, t.Any]] = (),
    transformations: Sequence[models.DataTransformerConfig] = (),
    decimals: int | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    no_value: str | None = None,
) -> Panel:
    if not (title and description):
        raise ValueError(f"the panel {title!r} has no title or no description")
    builder.title(title).description(" ".join(description.split())).datasource(DATASOURCE).unit(_unit(unit))
    builder.thresholds(_Made(limits or PLAIN))
    if mappings:
        builder.mappings(list(mappings))
    if links:
        builder.data_links([_Made(one) for one in links])
    if transformations:
        builder.transformations(list(transformations))
    for one in overrides:
        (builder.override_by_regexp if one["regexp"] else builder.override_by_name)(one["field"], one["properties"])
    for setter, content in ((builder.decimals, decimals), (builder.min, minimum), (builder.max, maximum), (builder.no_value, no_value)):
        if content is not None:
            setter(content)
    return Panel(title, width, height, builder)


class _Made:
    """What is already built, where the SDK wants a builder."""

    def __init__(self, made: t.Any) -> None:
        self._made = made

    def build(self) -> t.Any:
        return self._made


def _reduce() -> common_builders.ReduceDataOptions:
    return common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def stat(
    title: str,
    description: str,
    unit: str,
    queries: Queries,
    *,
    width: int = 4,
    height: int = 4,
    color: str = "value",
    text: str = "auto",
    sparkline: bool = False,
    lines: bool = False,
    **more: t.Any,
) -> Panel:
    """One big number for each series, or with C(lines) one line. C(color): value, background or none; C(text): auto, value, name, value_and_name.

    C(more) as in the other panels: limits, mappings, links, overrides, transformations, decimals, minimum, maximum, no_value.
    """
    if more.get("no_value") and not any(isinstance(one, models.SpecialValueMap) for one in more.get("mappings", ())):
        # grey, or the colour of the lowest threshold would call it good or bad
        more["mappings"] = [*more.get("mappings", ()), no_data(more["no_value"])]
    builder = stat_builders.Panel().reduce_options(_reduce()).color_mode(common_models.BigValueColorMode(color)).text_mode(common_models.BigValueTextMode(text))
    if lines:
        builder.orientation(common_models.VizOrientation.HORIZONTAL).text(common_builders.VizTextDisplayOptions().title_size(14).value_size(20))
    graph = common_models.BigValueGraphMode.AREA if sparkline else common_models.BigValueGraphMode.NONE
    builder.graph_mode(graph).targets(_targets(_queries(queries, target if sparkline else instant)))
    return _panel(builder, title, description, unit, width=width, height=height, **more)


def gauge(title: str, description: str, unit: str, queries: Queries, *, width: int = 4, height: int = 5, **more: t.Any) -> Panel:
    """A dial, for shares of a whole."""
    builder = gauge_builders.Panel().reduce_options(_reduce()).targets(_targets(_queries(queries, instant)))
    return _panel(builder, title, description, unit, width=width, height=height, **more)


def bargauge(title: str, description: str, unit: str, queries: Queries, *, width: int = 8, height: int = 8, **more: t.Any) -> Panel:
    """One bar for each series, for the first few of something."""
    builder = bargauge_builders.Panel().reduce_options(_reduce()).orientation(common_models.VizOrientation.HORIZONTAL)
    builder.display_mode(common_models.BarGaugeDisplayMode.BASIC).targets(_targets(_queries(queries, instant)))
    return _panel(builder, title, description, unit, width=width, height=height, **more)


def timeseries(
    title: str,
    description: str,
    unit: str,
    queries: Queries,
    *,
    width: int = 12,
    height: int = 8,
    stacked: bool = False,
    legend: str = "list",
    threshold_lines: bool = False,
    minimum: float | None = 0,
    **more: t.Any,
) -> Panel:
    """Lines over the time range. C(legend): list, table (with last and maximum) or hidden. The axis begins at 0 unless C(minimum=None)."""
    builder = timeseries_builders.Panel().targets(_targets(_queries(queries, target)))
    builder.line_width(1).fill_opacity(30 if stacked else 10).show_points(common_models.VisibilityMode.NEVER)
    if stacked:
        builder.stacking(common_builders.StackingConfig().mode(common_models.StackingMode.NORMAL).group("A"))
    if threshold_lines:
        builder.thresholds_style(common_builders.GraphThresholdsStyleConfig().mode(common_models.GraphThresholdsStyleMode.DASHED))
    shown = common_builders.VizLegendOptions().placement(common_models.LegendPlacement.BOTTOM).show_legend(legend != "hidden")
    shown.display_mode(common_models.LegendDisplayMode("list" if legend == "hidden" else legend)).calcs(["lastNotNull", "max"] if legend == "table" else [])
    builder.legend(shown).tooltip(common_builders.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI).sort(common_models.SortOrder.DESCENDING))
    return _panel(builder, title, description, unit, width=width, height=height, minimum=minimum, **more)


def text(title: str, description: str, content: str, *, width: int = 24, height: int = 3) -> Panel:
    """Words (Markdown)."""
    builder = text_builders.Panel().title(title).description(description).mode(text_models.TextMode.MARKDOWN).content(content.strip())
    return Panel(title, width, height, builder)


# ---------------------------------------------------------------- tables


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table; made by label() or value()."""

    title: str
    source: str
    query: Query | None
    settings: Mapping[str, t.Any]


def label(name: str, title: str = "", **settings: t.Any) -> Column:
    """A column with the values of a label. C(settings) as for override(): links, mappings, width (pixels), ..."""
    return Column(title or name.capitalize(), name, None, settings)


def value(
    title: str,
    expr: str,
    unit: str,
    limits: models.ThresholdsConfig | None = None,
    *,
    bar: bool = False,
    background: bool = False,
    **settings: t.Any,
) -> Column:
    """A column with the values of a query. With limits the number is coloured, or its cell (C(background)); C(bar) draws a bar from min to max (0 to 1)."""
    if bar:
        settings = {"min": 0, "max": 1} | settings
        settings["cellOptions"] = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
    elif limits or settings.get("mappings"):
        settings["cellOptions"] = {"type": "color-background", "mode": "basic"} if background else {"type": "color-text"}
    return Column(title, "", instant(expr), {"unit": unit, "limits": limits, **settings})


def source(expr: str) -> Column:
    """A query that is asked for its labels only, which label() columns show; its values are not shown."""
    return Column("", "", instant(expr), {})


def hidden(name: str) -> Column:
    """A label that links need and nobody sees."""
    return Column(name, name, None, {"hidden": True})


def table(
    title: str,
    description: str,
    columns: Sequence[Column],
    *,
    width: int = 24,
    height: int = 10,
    sort: str = "",
    descending: bool = True,
    unit: str = "none",
    pages: bool = True,
    all_labels: bool = False,
    **more: t.Any,
) -> Panel:
    """One row for each set of labels that the queries have in common.

    Each query of value() has to return the same labels, those of the label() columns, by aggregation (C(max by (cluster, instance) (...))); one may have
    more. Of two queries with the same labels, rows are joined; where a query has none, its cell is empty. Other labels are not shown, unless C(all_labels):
    then they are behind the others, but those that tell the Observer's replicas apart. C(sort) is the title of a column. Columns can be filtered and sorted
    by the reader; many rows are shown in pages (C(pages=False): all at once).
    """
    queries = [column.query for column in columns if column.query]
    # Grafana's names for the values of one query and of several.
    names = [f"Value #{_letters(number)}" for number in range(len(queries))] if len(queries) > 1 else ["Value"]
    left = iter(names)
    fields = {column.source or next(left): column for column in columns}
    shown = {field: column for field, column in fields.items() if column.title}
    renames = {field: column.title for field, column in shown.items() if field != column.title}
    order = {field: number for number, field in enumerate(shown)}
    left_out = dict.fromkeys([*_NO_COLUMNS, *(field for field in fields if field not in shown)], True) if all_labels else {}
    transformations = [transformation("merge")]
    if not all_labels:
        transformations.append(transformation("filterFieldsByName", include={"names": list(shown)}))
    transformations.append(transformation("organize", indexByName=order, renameByName=renames, excludeByName=left_out))
    overrides = [_column_override(column) for column in shown.values() if column.settings]
    if more.get("no_value"):
        # it is meant for a table without rows, not for each empty cell
        overrides.insert(0, {"regexp": True, "field": ".*", "properties": [models.DynamicConfigValue(id_val="noValue", value="")]})
    builder = table_builders.Panel().targets(_targets(queries, table=True)).filterable(True).cell_height(common_models.TableCellHeight.SM)
    builder.footer(common_builders.TableFooterOptions().show(False).reducer(["sum"]).enable_pagination(pages))
    if sort:
        if sort not in {column.title for column in columns}:
            raise ValueError(f"the table {title!r} has no column {sort!r} to be sorted by")
        builder.sort_by([common_builders.TableSortByFieldState().display_name(sort).desc(descending)])
    overrides += more.pop("overrides", [])
    transformations += more.pop("transformations", [])
    return _panel(builder, title, description, unit, width=width, height=height, overrides=overrides, transformations=transformations, **more)


def _column_override(column: Column) -> dict[str, t.Any]:
    settings = dict(column.settings)
    bounds = [models.DynamicConfigValue(id_val=key, value=settings.pop(key)) for key in ("min", "max") if key in settings]
    made = override(column.title, **settings)
    made["properties"] += bounds
    return made


def transformation(name: str, **options: t.Any) -> models.DataTransformerConfig:
    """One of Grafana's core transformations, by its id: joinByField, organize, sortBy, calculateField, ..."""
    return models.DataTransformerConfig(id_val=name, options=options)


# ---------------------------------------------------------------- variables


def query_variable(
    name: str,
    label: str,
    query: str,
    *,
    description: str,
    all_value: str | None = None,
    multi: bool = False,
    regex: str = "",
) -> builders.QueryVariable:
    """Values from the data, C(label_values(metric{...}, label)). With C(all_value) "All" is the default; C(".*") also fits series without the label."""
    made = builders.QueryVariable(name).label(label).description(description).datasource(DATASOURCE).multi(multi)
    made.query({"query": query, "refId": "StandardVariableQuery"}).refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    made.sort(models.VariableSort.ALPHABETICAL_ASC)
    if regex:
        made.regex(regex)
    if all_value is not None:
        made.include_all(True).all_value(all_value).current(models.VariableOption(selected=True, text="All", value="$__all"))
    return made


def cluster_variable(*, every: bool = False) -> builders.QueryVariable:
    """C($cluster): one cluster; with C(every) one, several or all. Queries ask for C(cluster=~"$cluster") either way."""
    query = f"label_values(cluster:kaas_state:info{{{RECORDED}}}, cluster)"
    description = "A cluster that is registered or reports."
    return query_variable("cluster", "Cluster", query, description=description, all_value=".+" if every else None, multi=every)


def textbox_variable(name: str, label: str, default: str = "", *, description: str) -> builders.TextBoxVariable:
    """Free text."""
    made = builders.TextBoxVariable(name).label(label).description(description).default_value(default)
    # Grafana begins with the current value, not with the default.
    return made.current(models.VariableOption(selected=True, text=default, value=default)) if default else made


def custom_variable(name: str, label: str, values: Sequence[str], *, description: str) -> builders.CustomVariable:
    """One of fixed values; the first is the default."""
    made = builders.CustomVariable(name).label(label).description(description).values(",".join(values)).multi(False).include_all(False)
    return made.current(models.VariableOption(selected=True, text=values[0], value=values[0]))


def _datasource_variable() -> builders.DatasourceVariable:
    return builders.DatasourceVariable("datasource").label("Data source").description("The Observer's Thanos Query.").type("prometheus")


# ---------------------------------------------------------------- dashboards


def dashboard(
    uid: str,
    description: str,
    *,
    panels: Iterable[Panel],
    variables: Sequence[t.Any] = (),
    up: Sequence[str] = (),
    down: Sequence[str] = (),
    lists: Sequence[tuple[str, Sequence[str]]] = (),
) -> Dashboard:
    """A dashboard of DASHBOARDS.

    C(variables) besides C($datasource), which all have. Links at the top: C(up) and C(down) name dashboards; C(lists) are menus of dashboards by tags, as
    C(("Details", ["scs-observer", "L2", "kaas"])). Every level below L0 has at least one of C(up). They keep the time range and the variables that the other
    one takes (DASHBOARDS).
    """
    entry = _entry(uid)
    if entry.level != "L0" and not up:
        raise ValueError(f"{uid}: a dashboard of level {entry.level} needs a way up")
    made = builders.Dashboard(entry.title).uid(uid).description(" ".join(description.split()))
    made.tags(["scs-observer", entry.level, entry.subject]).timezone("browser").tooltip(models.DashboardCursorSync.CROSSHAIR)
    made.refresh("30s" if entry.level == "L0" else "1m").time("now-15m" if entry.level == "L0" else "now-1h", "now").editable()
    made.with_variable(_datasource_variable())
    for variable in variables:
        made.with_variable(variable)
    have = {"datasource"}
    # One value of several would be lost on a dashboard of one cluster; namespaces are several everywhere.
    have |= {variable.build().name for variable in variables if not variable.build().multi or variable.build().name == "namespace"}
    for other, sign in [(other, "↑ ") for other in up] + [(other, "") for other in down]:
        made.link(_Made(_top_link(other, sign, have)))
    for title, tags in lists:
        menu = builders.DashboardLink(title).type(models.DashboardLinkType.DASHBOARDS).tags(list(tags)).as_dropdown(True)
        made.link(menu.keep_time(True).include_vars(True).icon("external link"))
    built = made.build()
    built.panels = _place(list(panels), uid)
    # The SDK says 36; its models are those of Grafana 10.4, which needs no migration from here.
    built.schema_version = 39
    return Dashboard(uid, entry.folder, built)


def _top_link(uid: str, sign: str, have: set[str]) -> models.DashboardLink:
    entry = _entry(uid)
    names = [name for name in ("datasource", *entry.takes) if name in have]
    url = f"/d/{uid}?" + "&".join(f"${{{name}:queryparam}}" for name in names)
    kind = models.DashboardLinkType.LINK
    return models.DashboardLink(title=sign + entry.title, type_val=kind, url=url, icon="dashboard", keep_time=True, include_vars=False, target_blank=False)


def _place(panels: list[Panel], uid: str) -> list[t.Any]:
    """Positions from left to right, and an id made of row and title, so that a panel keeps it when others come and go."""
    result: list[t.Any] = []
    x = y = tallest = 0
    current: Panel | None = None
    inside: models.RowPanel | None = None
    taken: set[int] = set()
    for panel in panels:
        if panel.is_row or x + panel.width > _COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        built = panel.builder.build()
        built.grid_pos = models.GridPos(x=x, y=y, w=panel.width, h=panel.height)
        name = f"row {panel.title}" if panel.is_row else f"{current.title if current else ''}/{panel.title}"
        built.id_val = zlib.crc32(name.encode()) % 1_000_000 + 1
        if built.id_val in taken:
            raise ValueError(f"{uid}: the panel {panel.title!r} has the same title (or by chance the same id) as another one of its row")
        taken.add(built.id_val)
        if panel.is_row:
            current, inside = panel, built if panel.collapsed else None
        if inside is not None and built is not inside:
            inside.panels.append(built)
        else:
            result.append(built)
        x, tallest = x + panel.width, max(tallest, panel.height)
        if panel.is_row:
            x, y, tallest = 0, y + 1, 0
    return result
