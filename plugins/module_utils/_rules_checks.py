# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: the checks of alert rules, in one table, and those that look at one rule at a time."""

from __future__ import annotations

import dataclasses
import itertools
import re
import typing as t

from ansible_collections.scs.observer.plugins.module_utils import _rules_cluster, _rules_promql, _rules_template
from ansible_collections.scs.observer.plugins.module_utils._rules_formats import Finding, Group, Rule
from ansible_collections.scs.observer.plugins.module_utils._rules_promql import Node


@dataclasses.dataclass(frozen=True)
class Check:
    severity: str
    what: str
    pint: tuple[str, ...] = ()  # the names that pint has for it
    verdict: bool = False  # Prometheus refuses to load what this finds, so promtool has the last word


CHECKS: dict[str, Check] = {
    # reading
    "file": Check("error", "The file can not be read, is too large or is not text."),
    "yaml": Check("error", "The file is not YAML, or nested or multiplied beyond bounds.", ("yaml/parse",), verdict=True),
    "duplicate-key": Check("error", "A key is set twice in one map.", ("yaml/parse",), verdict=True),
    "schema": Check("error", "A field is unknown or has the wrong type.", ("yaml/parse",), verdict=True),
    "manifest": Check("error", "A PrometheusRule or ConfigMap is not as Kubernetes wants it."),
    "documents": Check("warning", "A rule file has several documents; Prometheus and Thanos read the first only."),
    "empty": Check("warning", "A group or rule is only a dash."),
    "no-rules": Check("info", "A rule file holds no rules."),
    "comment": Check("warning", "A comment is to switch off a check that does not exist.", ("pint/comment",)),
    # what Prometheus loads
    "rule-kind": Check("error", "A rule has not exactly one of alert and record, no expr, or a recording rule has for or annotations.", verdict=True),
    "promql-syntax": Check("error", "The expression is not PromQL: syntax, types, number of arguments, unknown functions.", ("promql/syntax",), verdict=True),
    "result-type": Check("error", "The expression gives a range or a text, which no rule can use.", ("promql/syntax",)),
    "experimental": Check("error", "The expression needs a feature that is switched off in Prometheus (option features).", ("promql/features",), verdict=True),
    "names": Check("error", "A name of a metric, label or annotation is not valid, or is __name__.", verdict=True),
    "durations": Check("error", "A duration is not valid.", ("rule/for",), verdict=True),
    "duplicate-group": Check("error", "Two groups of a file have one name.", verdict=True),
    "template-syntax": Check("error", "A template of a label or annotation can not be parsed.", ("alerts/template",), verdict=True),
    "promtool": Check("error", "promtool refuses what no other check found.", verdict=True),
    "not-checked": Check("info", "promtool accepts what this module can not read, so the other checks were not made."),
    # many clusters
    "cluster-aggregation": Check("error", "An aggregation loses the label of the clusters.", ("promql/aggregate",)),
    "cluster-join": Check("error", "A join mixes series of several clusters, or loses their label.", ("promql/aggregate", "promql/vector_matching")),
    "cluster-absent": Check("error", "absent() is true only when all clusters lack a series.", ("promql/aggregate", "alerts/absent")),
    # style and sense
    "useless-zero": Check("info", "A duration of 0 is written out.", ("alerts/for", "rule/for")),
    "duplicate-rule": Check("warning", "Two rules of all files have one name and the same labels.", ("rule/duplicate",)),
    "template-label": Check("warning", "A template uses a label that the expression's result does not have.", ("alerts/template",)),
    "required-labels": Check("warning", "An alert lacks a label, or has a value that is not allowed (option required_labels).", ("rule/label",)),
    "required-annotations": Check("warning", "An alert lacks an annotation (option required_annotations).", ("alerts/annotation",)),
    "runbook-url": Check("warning", "An alert's runbook_url does not look as it should (option runbook_url).", ("rule/link", "alerts/annotation")),
    "always-firing": Check("warning", "An alert has no condition: it fires as long as the series exists.", ("alerts/comparison",)),
    "absent-for": Check("warning", "absent() without for fires at each restart of Prometheus.", ("alerts/absent",)),
    "rate-range": Check("warning", "The range of rate() is shorter than two scrape intervals (option scrape_interval).", ("promql/rate",)),
    "rate-of-aggregate": Check("warning", "rate() of an aggregate takes the reset of one counter for a leap.", ("promql/rate",)),
    "irate": Check("info", "irate() in an alert looks at two samples only.", ("promql/rate",)),
    "counter": Check("warning", "A counter is compared without rate(), or a gauge is treated as a counter, by its name.", ("promql/counter", "promql/rate")),
    "regexp": Check("info", "A regular expression is anchored twice, or is not needed.", ("promql/regexp",)),
    "name-style": Check("warning", "A name holds more than letters, digits and _: PromQL must quote it.", ("rule/name",)),
    "record-name": Check("info", "The name of a recording rule is not level:metric:operations.", ("rule/name",)),
    "group-interval": Check("warning", "A group runs more seldom than Prometheus looks back (option max_group_interval).", ("group/interval",)),
    "group-size": Check("info", "A group has many rules, which run one after the other (option max_group_rules)."),
    "recording-rule": Check("warning", "An expression reads a recorded series (its name has a colon) that no given rule records.", ("rule/dependency",)),
    "jinja": Check("error", "Something of Jinja is left in the text."),
    # programs and servers
    "test-failed": Check("error", "A test file of promtool fails, or can not be run."),
    "alert-untested": Check("warning", "No test file expects the alert to fire."),
    "live-series": Check("warning", "A selector finds no series at query_url.", ("promql/series",)),
    "live-query": Check("warning", "query_url refuses a selector.", ("promql/series",)),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    cluster_label: str = "cluster"
    clusterless: tuple[Node, ...] = ()
    known_metrics: tuple[str, ...] = ()
    required_labels: t.Mapping[str, t.Sequence[str]] = dataclasses.field(default_factory=dict)
    required_annotations: tuple[str, ...] = ()
    runbook_url: str = ""
    scrape_interval: float = 30
    max_group_interval: float = 300
    max_group_rules: int = 100
    features: tuple[str, ...] = ()


Found = t.Iterator[Finding]
# printf "up{%s}" is no block of Jinja's
_JINJA = re.compile(r"\{%[-+]?\s*(?:\w+\s|\w+\s*[-+]?%\})|\s[-+]?%\}|\{#|#\}")
_ACTION = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_PLAIN_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_PLAIN_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_RECORD = re.compile(r"[^:]+:[^:]+:[^:]+")
RATES = frozenset(["rate", "irate", "increase"])
RANGED = RATES | frozenset(["delta", "idelta", "deriv"])
# A counter's value means something inside of these.
COUNTER_USES = RANGED | frozenset(
    [
        "resets",
        "changes",
        "absent",
        "absent_over_time",
        "present_over_time",
        "count_over_time",
        "timestamp",
        "last_over_time",
        "scalar",
        "predict_linear",
        "double_exponential_smoothing",
    ]
)


class Checker:
    """Looks at one rule after the other; what all rules share is looked at by finish()."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.parsed: list[tuple[Rule, Node]] = []
        self.recorded: set[str] = set()
        self._seen: dict[tuple[t.Any, ...], Rule] = {}
        self._runbook = re.compile(settings.runbook_url) if settings.runbook_url else None
        # one expression is often written several times
        self._cache: dict[str, _rules_promql.Parsed | _rules_promql.SyntaxFault] = {}

    def group(self, group: Group) -> Found:
        settings, source = self.settings, group.of.source
        place: dict[str, t.Any] = {"group": group, "of": group.of}
        yield from self._names(group, None)
        if group.interval is not None and group.interval > settings.max_group_interval:
            message = f"The group runs every {group.interval:g} s; after {settings.max_group_interval:g} s its series are stale and its alerts resolve."
            yield Finding("group-interval", source, group.interval_node, message, "Shorten it, or raise max_group_interval.", **place)
        if len(group.rules) > settings.max_group_rules:
            message = f"The group has {len(group.rules)} rules, which run one after the other."
            yield Finding("group-size", source, group.node, message, "Split it, or raise max_group_rules.", **place)

    def rule(self, rule: Rule) -> Found:
        yield from self._names(rule.group, rule)
        yield from self._jinja(rule)
        yield from self._duplicate(rule)
        root = None
        if rule.expr:
            found = self._parse(rule.expr)
            if isinstance(found, _rules_promql.SyntaxFault):
                yield self._fault(rule, found)
            else:
                root = found.root
                missing = sorted(set(found.features) - set(self.settings.features))
                if missing:
                    message = f"Experimental: {', '.join(dict.fromkeys(found.experimental))}. It needs {', '.join(missing)}."
                    remedy = "Write it otherwise, or switch that on in Prometheus and in the option features."
                    yield self._at(rule, "experimental", None, message, remedy)
                self.parsed.append((rule, root))
        if rule.kind == "alert":
            yield from self._templates(rule, root)
            yield from self._required(rule)
        if root is not None:
            yield from self._expression(rule, root)

    def _parse(self, expr: str) -> _rules_promql.Parsed | _rules_promql.SyntaxFault:
        if expr not in self._cache:
            try:
                self._cache[expr] = _rules_promql.parse(expr)
            except _rules_promql.SyntaxFault as error:
                self._cache[expr] = error
        return self._cache[expr]

    def _fault(self, rule: Rule, fault: _rules_promql.SyntaxFault) -> Finding:
        if fault.unsure:
            return self._at(rule, "not-checked", None, f"The expression was not looked into. {fault}", "Split it by recording rules.")
        if fault.feature in self.settings.features:
            return self._at(rule, "not-checked", None, f"The expression was not looked into: {fault}", "promtool judges it, where it is present.")
        if fault.feature:
            remedy = f"Write it otherwise, or switch {fault.feature} on in Prometheus and in the option features."
            return self._at(rule, "experimental", None, str(fault), remedy)
        return self._at(rule, "promql-syntax", None, f"The expression is not PromQL: {fault}", "Correct it.")

    def _at(self, rule: Rule, check: str, node: Node | None, message: str, remedy: str) -> Finding:
        """At a part of the rule's expression."""
        offset = _rules_promql.offset(rule.expr, node) if node is not None else 0
        return Finding(check, rule.group.of.source, rule.expr_node or rule.node, message, remedy, rule.group, rule, offset, of=rule.group.of)

    def _field(self, rule: Rule, check: str, node: Node | t.Any, message: str, remedy: str, offset: int = 0) -> Finding:
        return Finding(check, rule.group.of.source, node, message, remedy, rule.group, rule, offset, of=rule.group.of)

    def _names(self, group: Group, rule: Rule | None) -> Found:
        def at(check: str, node: t.Any, message: str, remedy: str) -> Finding:
            return Finding(check, group.of.source, node, message, remedy, group, rule, of=group.of)

        labels = group.labels if rule is None else rule.labels
        for name, (_value, node) in labels.items():
            if not name or name == "__name__":
                yield at("names", node, f"A label can not be named {name!r}.", "Rename it.")
            elif not _PLAIN_NAME.fullmatch(name):
                yield at("name-style", node, f"The label {name} holds more than letters, digits and _.", "Rename it, for PromQL and templates must quote it.")
        if rule is None:
            return
        for name, (_value, node) in rule.annotations.items():
            if not name:
                yield at("names", node, "An annotation has no name.", "Name it.")
            elif not _PLAIN_NAME.fullmatch(name):
                yield at("name-style", node, f"The annotation {name} holds more than letters, digits and _.", "Rename it.")
        record = rule.fields.get("record") if rule.kind == "record" else None
        if record is None:
            return
        if "{" in rule.name or "}" in rule.name:
            yield at("names", record, f"The name {rule.name} holds braces.", "Labels of a recording rule stand in labels, its expression in expr.")
        elif not _PLAIN_METRIC.fullmatch(rule.name):
            yield at("name-style", record, f"The metric {rule.name} holds more than letters, digits, _ and :.", "Rename it, for PromQL must quote it.")
        elif not _RECORD.fullmatch(rule.name):
            message = f"The name {rule.name} is not level:metric:operations."
            yield at("record-name", record, message, "Name it like cluster_job:http_requests:rate5m.")

    def _jinja(self, rule: Rule) -> Found:
        texts = [(name, node.value, node) for name, node in rule.fields.items() if node.kind == "scalar" and name != "expr"]
        texts += [(f"labels.{name}", value, node) for name, (value, node) in rule.labels.items()]
        texts += [(f"annotations.{name}", value, node) for name, (value, node) in rule.annotations.items()]
        remedy = "Render the file first, or let this module read it by paths, which renders nothing."
        for where, text, node in texts:
            match = _JINJA.search(text) if "{" in text or "}" in text else None
            if match is None and rule.kind == "alert" and where.startswith(("labels.", "annotations.")):
                continue  # {{ }} are templates of Prometheus here
            match = match or _ACTION.search(text)
            if match:
                yield self._field(rule, "jinja", node, f"{where} holds {match.group()[:40]}, which Prometheus does not render.", remedy, match.start())
        match = _ACTION.search(rule.expr) or re.search(r"\{%.*?%\}", rule.expr) if "{{" in rule.expr or "{%" in rule.expr else None
        if match:
            message = f"expr holds {match.group()[:40]}, which Prometheus does not render."
            yield self._field(rule, "jinja", rule.expr_node, message, remedy, match.start())

    def _duplicate(self, rule: Rule) -> Found:
        if not rule.kind:
            return
        labels = {name: value for name, (value, _node) in [*rule.group.labels.items(), *rule.labels.items()]}
        key = (rule.kind, rule.name, *sorted(labels.items()))
        first = self._seen.setdefault(key, rule)
        if first is not rule:
            line = first.group.of.source.place(first.node.line, 0)[0]
            same = "and the same expression " if first.expr == rule.expr else ""
            message = f"The rule has the name {same}and labels of the one in {first.group.of.source.name}:{line}."
            yield self._field(rule, "duplicate-rule", rule.fields[rule.kind], message, "Keep one of them, or tell them apart by a label.")

    def _templates(self, rule: Rule, root: Node | None) -> Found:
        labels = None
        for noun, texts in (("label", rule.labels), ("annotation", rule.annotations)):
            for name, (text, node) in texts.items():
                if "{{" not in text:
                    continue
                try:
                    uses = _rules_template.read(text)
                except _rules_template.TemplateFault as error:
                    message = f"The template of {noun} {name} can not be parsed: {error}."
                    remedy = "Correct it; if it is meant for Jinja, it was not rendered."
                    yield self._field(rule, "template-syntax", node, message, remedy, error.offset)
                    continue
                for use in uses if root is not None else ():
                    labels = labels or _rules_promql.labels_of(root)
                    if not labels.has(use.label) and use.label != "__name__":
                        message = f"The {noun} {name} uses the label {use.label}, which the expression's result does not have."
                        remedy = f"Keep it in by () or group_left (), or take it out; the result has {_listed(labels)}."
                        yield self._field(rule, "template-label", node, message, remedy, use.offset)

    def _required(self, rule: Rule) -> Found:
        settings = self.settings
        labels = {name: value for name, (value, _node) in [*rule.group.labels.items(), *rule.labels.items()]}
        alert = rule.fields["alert"]
        for name, allowed in settings.required_labels.items():
            value = labels.get(name, "")
            if not value:
                remedy = f"Set it to one of {', '.join(allowed)}." if allowed else "Set it."
                yield self._field(rule, "required-labels", alert, f"The alert has no label {name}.", remedy)
            elif allowed and value not in allowed and "{{" not in value:
                node = rule.labels.get(name, rule.group.labels.get(name, ("", alert)))[1]
                yield self._field(rule, "required-labels", node, f"The label {name} is {value}.", f"Allowed are {', '.join(allowed)}.")
        for name in settings.required_annotations:
            if not rule.annotations.get(name, ("", None))[0].strip():
                yield self._field(
                    rule, "required-annotations", alert, f"The alert has no annotation {name}.", "Tell whoever gets it what it means and what to do."
                )
        url, node = rule.annotations.get("runbook_url", ("", None))
        if url and self._runbook and not self._runbook.fullmatch(url):
            message = f"runbook_url is {url[:80]}, which does not match {self._runbook.pattern}."
            yield self._field(rule, "runbook-url", node, message, "Give the address of a page that tells what to do.")

    def _expression(self, rule: Rule, root: Node) -> Found:
        alert = rule.kind == "alert"
        if root.kind in ("string", "range", "subquery"):
            message = f"The expression gives {'a text' if root.kind == 'string' else 'a range'}, not a vector or a number."
            yield self._at(rule, "result-type", None, message, "Aggregate a range over time; each evaluation fails else.")
            return
        if alert and not conditional(root):
            message = "The alert has no condition: it fires as long as the expression gives any series."
            yield self._at(rule, "always-firing", None, message, "Compare it with a threshold.")
        for node in root.walk():
            if node.kind == "call":
                yield from self._call(rule, node, alert)
            elif node.kind == "selector":
                yield from self._regexps(rule, node)
        yield from self._counters(rule, root)

    def _call(self, rule: Rule, node: Node, alert: bool) -> Found:
        name = node.name
        if alert and name == "absent" and not rule.duration:
            message = "absent() without for fires whenever the series is late, as after a restart."
            yield self._at(rule, "absent-for", node, message, "Give the alert a for of two scrape intervals at least.")
        if name not in RANGED:
            return
        argument = node.args[0]
        if argument.kind == "range" and argument.seconds is not None and argument.seconds < 2 * self.settings.scrape_interval:
            message = f"{name}() over {argument.seconds:g} s sees less than two samples at times, at a scrape interval of {self.settings.scrape_interval:g} s."
            yield self._at(rule, "rate-range", node, message, f"Take {4 * self.settings.scrape_interval:g} s or more, or set scrape_interval.")
        if name in RATES and argument.kind == "subquery" and argument.args[0].kind == "aggregate" and argument.args[0].name in ("sum", "avg", "max", "min"):
            message = f"{name}() of {argument.args[0].name}: the reset of one counter looks like a leap of the aggregate."
            yield self._at(rule, "rate-of-aggregate", node, message, f"Write {argument.args[0].name}({name}(...)).")
        if alert and name == "irate":
            yield self._at(rule, "irate", node, "irate() looks at the last two samples only, so the alert flaps.", "Use rate().")
        metric = argument.args[0].name if argument.kind == "range" else ""
        if name in RATES and metric.endswith(("_ratio", "_celsius", "_percent", "_info", "_timestamp_seconds", "_time_seconds")) and ":" not in metric:
            message = f"{name}() is for counters, and {metric} is a gauge by its name."
            yield self._at(rule, "counter", node, message, "Use delta() or deriv(), or no function.")
        if name in ("delta", "idelta", "deriv") and metric.endswith("_total"):
            message = f"{name}() is for gauges, and {metric} is a counter by its name: a reset makes the result negative."
            yield self._at(rule, "counter", node, message, "Use rate() or increase().")

    def _counters(self, rule: Rule, root: Node) -> Found:
        """Counters that are compared as they are: their value says how long the process runs."""
        waiting = [(root, False)]
        while waiting:
            node, compared = waiting.pop()
            if (node.kind == "call" and node.name in COUNTER_USES) or node.kind == "subquery":
                continue
            if node.kind == "aggregate" and node.name in ("count", "group", "count_values"):
                continue
            if node.kind == "selector" and compared and node.name.endswith("_total") and ":" not in node.name:
                message = f"{node.name} is a counter by its name, and its value is compared as it is."
                yield self._at(rule, "counter", node, message, "Compare its rate() or increase().")
            if node.kind == "binary" and node.name in _rules_promql.COMPARISONS:
                # == 0 and > 0 ask whether it ever happened; unless, and take no values
                never = any(child.kind == "number" and float(child.text) == 0 for child in node.args)
                waiting += [(child, not never) for child in node.args]
            else:
                waiting += [(child, compared and not (node.kind == "binary" and node.name in _rules_promql.SETS)) for child in node.args]

    def _regexps(self, rule: Rule, node: Node) -> Found:
        for name, op, value in node.matchers:
            if op not in ("=~", "!~") or not value:
                continue
            plain = op.replace("~", "") if op == "!~" else "="
            if value.startswith("^") or (value.endswith("$") and not value.endswith("\\$")):
                message = f"{name}{op}{value!r} is anchored twice: PromQL's regular expressions match the whole value."
                yield self._at(rule, "regexp", node, message, "Take ^ and $ out.")
            elif not re.search(r"[\\.+*?()|\[\]{}^$]", value):
                yield self._at(rule, "regexp", node, f"{name}{op}{value!r} needs no regular expression.", f"Write {name}{plain}{value!r}.")
            elif value == ".*":
                yield self._at(rule, "regexp", node, f'{name}{op}".*" matches {"all series" if op == "=~" else "none"}.', "Take it out.")

    def finish(self) -> Found:
        """The checks that need all rules: what is recorded, and by that what carries the clusters' label."""
        settings = self.settings
        records = [(rule, root) for rule, root in self.parsed if rule.kind == "record"]
        self.recorded = {rule.name for rule, _root in records}
        carries: dict[str, bool] = {}
        if settings.cluster_label:
            label = settings.cluster_label
            named = ((rule.name, root, label in rule.labels or label in rule.group.labels) for rule, root in records)
            carries = _rules_cluster.recorded(named, label, list(settings.clusterless))
        known = [re.compile(pattern) for pattern in settings.known_metrics]
        for rule, root in self.parsed:
            for node in root.walk():
                if node.kind == "selector" and ":" in node.name and node.name not in self.recorded and not any(one.fullmatch(node.name) for one in known):
                    message = f"No given rule records {node.name}."
                    yield self._at(rule, "recording-rule", node, message, "Check the name, give its file too, or list it in known_metrics.")
            if settings.cluster_label:
                analysis = _rules_cluster.Analysis(settings.cluster_label, settings.clusterless, carries)
                analysis.run(root)
                for mixed in analysis.mixed:
                    yield self._at(rule, mixed.check, mixed.node, mixed.message, mixed.remedy)


def conditional(node: Node) -> bool:
    """Whether an alert's expression can be empty by its own condition, and not by missing series only."""
    if node.kind == "selector":
        # such series exist while something is so; a selector of a value is a condition of its own
        return node.name.endswith(("_info", ":info")) or node.name in ("ALERTS", "ALERTS_FOR_STATE")
    if node.kind == "binary":
        left, right = node.args
        if node.name in _rules_promql.COMPARISONS:
            return node.text != "bool" or any(conditional(child) for child in node.args)
        if node.name == "unless":
            return True
        if node.name == "or":
            return conditional(left) and conditional(right)
        return any(conditional(child) for child in node.args if not child.scalar)
    if node.kind == "call":
        if node.name in ("absent", "absent_over_time"):
            return True
        return any(conditional(child) for child in node.args if not child.scalar)
    if node.kind == "aggregate":
        return conditional(node.args[-1])
    if node.kind in ("unary", "range", "subquery"):
        return conditional(node.args[0])
    return False


def _listed(labels: _rules_promql.Labels) -> str:
    names = ", ".join(itertools.islice(sorted(labels.names), 10))
    return (names or "no labels") if labels.closed else f"not {names}"
