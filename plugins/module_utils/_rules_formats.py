# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: rule groups out of rule files, PrometheusRule manifests and ConfigMaps, with what is wrong about their form."""

from __future__ import annotations

import dataclasses
import json
import re
import typing as t

from ansible_collections.scs.observer.plugins.module_utils import _rules_read
from ansible_collections.scs.observer.plugins.module_utils._rules_read import Node, Source, Unreadable

GROUP_FIELDS = ("name", "interval", "query_offset", "limit", "rules", "labels")
THANOS_FIELDS = ("partial_response_strategy",)
RULE_FIELDS = ("record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations")
# More rules than this come from aliases that multiply.
MAX_RULES = 100_000
MAX_DUMP = 2_000_000
_DURATION = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")
_UNITS = (31_536_000_000, 604_800_000, 86_400_000, 3_600_000, 60_000, 1000, 1)
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][\d_]*|0[xX][0-9a-fA-F_]+|0o?[0-7_]+|0b[01_]+|[\d_]*\.?\d+(?:[eE][-+]?\d+)?)")


@dataclasses.dataclass(slots=True)
class Rule:
    group: Group
    number: int  # in its group, from 1
    node: Node
    kind: str = ""  # alert or record; empty when neither or both are set
    name: str = ""
    expr: str = ""
    expr_node: Node | None = None
    duration: float = 0  # of "for", in seconds
    fields: dict[str, Node] = dataclasses.field(default_factory=dict)
    labels: dict[str, tuple[str, Node]] = dataclasses.field(default_factory=dict)
    annotations: dict[str, tuple[str, Node]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(slots=True)
class Group:
    of: RuleSet
    node: Node
    name: str = ""
    interval: float | None = None
    interval_node: Node | None = None
    labels: dict[str, tuple[str, Node]] = dataclasses.field(default_factory=dict)
    rules: list[Rule] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(eq=False)
class RuleSet:
    """What Prometheus would get as one rule file."""

    source: Source
    root: Node | None  # None when it is no YAML
    groups: list[Group] = dataclasses.field(default_factory=list)
    whole: bool = False  # the text itself is the rule file
    thanos: bool = False  # with fields that only Thanos knows

    def text(self) -> str | None:
        """For promtool; None when there is nothing that it could judge."""
        if self.whole and not self.thanos:
            return self.source.text
        if self.root is None:
            return None
        try:
            return _json(self.root, [MAX_DUMP])
        except OverflowError:
            return None


@dataclasses.dataclass(slots=True)
class Finding:
    """A problem before its severity is known, at a node of a source."""

    check: str
    source: Source
    node: Node | None
    message: str
    remedy: str
    group: Group | None = None
    rule: Rule | None = None
    offset: int = 0
    place: tuple[int, int] | None = None
    of: RuleSet | None = None

    def where(self) -> tuple[int, int]:
        if self.place:
            return self.source.place(self.place[0] - 1, self.place[1] - 1)
        if self.node is None:
            return self.source.place(0, 0)
        if self.node.kind == "scalar":
            return self.source.place_in(self.node, self.offset)
        return self.source.place(self.node.line, self.node.column)


class Reader:
    """Takes files, keeps rule sets, findings and the number of documents that hold no rules."""

    def __init__(self, dialect: str) -> None:
        self._group_fields = (*GROUP_FIELDS, *(THANOS_FIELDS if dialect == "thanos" else ()))
        self.sets: list[RuleSet] = []
        self.findings: list[Finding] = []
        self.skipped = 0
        self._rules = 0

    def read(self, source: Source) -> None:
        """One text with its documents."""
        before, found = len(self.sets), len(self.findings)
        plain: list[RuleSet] = []
        number = 0
        manifests = False
        try:
            for document in _rules_read.documents(source.text):
                number += 1
                root = document.root
                if root.null:
                    continue
                if root.kind == "map" and {"apiVersion", "kind"} <= _keys(root):
                    manifests = True
                    self._manifest(source, root)
                    of = None
                else:
                    of = RuleSet(source, root)
                    plain.append(of)
                    self._groups(of, root)
                    self.sets.append(of)
                for key, first in document.duplicates:
                    line = source.place(first.line, 0)[0]
                    self._find("duplicate-key", source, key, f"The key {key.value} was set in line {line} already.", "Keep one of them.", of=of)
        except Unreadable as error:
            of = RuleSet(source, None, whole=not manifests and number == 0)
            self.sets.append(of)
            self.findings.append(Finding(error.check, source, None, error.message, error.remedy, place=error.place, of=of))
            return
        if len(plain) == 1 and number == 1:
            plain[0].whole = True
        for of in plain[1:]:
            message = "Prometheus and Thanos read the first document of a rule file only, and this is another one."
            self._find("documents", source, of.root, message, "Put its groups into the first one, or into a file of their own.", of=of)
        if not any(of.groups for of in self.sets[before:]) and not manifests and len(self.findings) == found:
            self._find("no-rules", source, None, "The file holds no rule.", "Take it out of paths, or add groups.")

    def _find(self, check: str, source: Source, node: Node | None, message: str, remedy: str, **place: t.Any) -> None:
        self.findings.append(Finding(check, source, node, message, remedy, **place))

    def _manifest(self, source: Source, root: Node, depth: int = 0) -> None:
        fields = self._fields(root)
        kind = fields["kind"].value
        if kind == "List" and depth == 0 and "items" in fields:
            for item in fields["items"].children if fields["items"].kind == "list" else []:
                if item.kind == "map" and {"apiVersion", "kind"} <= _keys(item):
                    self._manifest(source, item, depth + 1)
        elif kind == "PrometheusRule":
            self._prometheus_rule(source, root, fields)
        elif kind == "ConfigMap":
            self._config_map(source, fields)
        else:
            self.skipped += 1

    def _prometheus_rule(self, source: Source, root: Node, fields: dict[str, Node]) -> None:
        if fields["apiVersion"].value != "monitoring.coreos.com/v1":
            message = f"apiVersion of a PrometheusRule is monitoring.coreos.com/v1, not {fields['apiVersion'].value}."
            self._find("manifest", source, fields["apiVersion"], message, "Correct it.")
        metadata = fields.get("metadata")
        if metadata is None or metadata.kind != "map" or not ({"name", "generateName"} & _keys(metadata)):
            self._find("manifest", source, metadata or root, "The PrometheusRule has no metadata.name.", "Name it.")
        for key, _value in root.children:
            if key.value not in ("apiVersion", "kind", "metadata", "spec", "status"):
                self._find("manifest", source, key, f"A PrometheusRule has no field {key.value}.", "Check its spelling and indentation.")
        spec = fields.get("spec")
        if spec is None or spec.kind != "map":
            self._find("manifest", source, spec or root, "The PrometheusRule has no spec with groups.", "Put the groups below spec.")
            return
        of = RuleSet(source, spec)
        self._groups(of, spec, thanos=True)
        self.sets.append(of)

    def _config_map(self, source: Source, fields: dict[str, Node]) -> None:
        data = fields.get("data")
        found = False
        for key, value in data.children if data is not None and data.kind == "map" else []:
            if value.kind == "scalar" and re.search(r"^[\s{\"]*groups\"?\s*:", value.value, re.MULTILINE):
                found = True
                self.read(Source(f"{source.name}", value.value, source, value))
            elif value.kind == "scalar" and key.value.endswith(".rules"):
                self._find("manifest", source, key, f"The value of {key.value} holds no rule groups.", "Add groups to it, or rename the key.")
        self.skipped += not found

    def _fields(self, node: Node, depth: int = 0) -> dict[str, Node]:
        """A map's values by key; merged ones (<<) are weaker than its own."""
        own: dict[str, Node] = {}
        merged: list[Node] = []
        for key, value in node.children:
            if key.kind == "scalar" and key.value == "<<" and not key.style:
                merged += value.children if value.kind == "list" else [value]
            elif key.kind == "scalar" and key.value not in own:
                own[key.value] = value
        for other in merged[:50] if depth < 3 else ():
            if other.kind == "map":
                for name, value in self._fields(other, depth + 1).items():
                    own.setdefault(name, value)
        return own

    def _groups(self, of: RuleSet, root: Node, *, thanos: bool = False) -> None:
        source = of.source
        if root.kind != "map":
            self._find("schema", source, root, "A rule file is a map with the key groups.", "Begin it with groups: or take the file out of paths.", of=of)
            return
        fields = self._fields(root)
        for key, _value in root.children:
            if key.value not in ("groups", "<<"):
                self._find("schema", source, key, f"A rule file has no field {key.value or key.kind}.", "Check its spelling and indentation.", of=of)
        groups = fields.get("groups")
        if groups is None or groups.null:
            return
        if groups.kind != "list":
            self._find("schema", source, groups, "groups is not a list.", "Begin each group with a dash.", of=of)
            return
        seen: dict[str, Group] = {}
        for node in groups.children:
            if self._rules > MAX_RULES:
                return
            group = self._group(of, node, thanos)
            if group is None:
                continue
            of.groups.append(group)
            if group.name in seen and group.name:
                line = source.place(seen[group.name].node.line, 0)[0]
                message = f"The group {group.name} was begun in line {line} already."
                self._find("duplicate-group", source, node, message, "Rename one of them, or put the rules into one.", group=group, of=of)
            seen.setdefault(group.name, group)

    def _group(self, of: RuleSet, node: Node, thanos: bool) -> Group | None:
        source = of.source
        if node.null:
            self._find("empty", source, node, "The group is empty, and Prometheus skips it.", "Give it a name and rules, or take it out.", of=of)
            return None
        if node.kind != "map":
            self._find("schema", source, node, "A group is a map with name and rules.", "Check its indentation.", of=of)
            return None
        group = Group(of, node)
        fields = self._fields(node)
        allowed = (*self._group_fields, *THANOS_FIELDS) if thanos else self._group_fields
        of.thanos = of.thanos or any(name in fields for name in THANOS_FIELDS if name in allowed)
        name = fields.get("name")
        group.name = self._text(name, group=group, what="name") if name is not None else ""
        if not group.name:
            self._find("schema", source, node, "The group has no name.", "Name it; the name is unique in its file.", group=group, of=of)
        self._unknown(group, None, node, allowed, "group")
        if "interval" in fields:
            group.interval, group.interval_node = self._duration(fields["interval"], "interval", group), fields["interval"]
        if "query_offset" in fields:
            self._duration(fields["query_offset"], "query_offset", group)
        limit = fields.get("limit")
        if limit is not None and not limit.null and (limit.kind != "scalar" or limit.style or not _INTEGER.fullmatch(limit.value)):
            self._find("schema", source, limit, "limit is not a whole number.", "Write it without quotes.", group=group, of=of)
        strategy = fields.get("partial_response_strategy") if of.thanos else None
        if strategy is not None and strategy.value.lower() not in ("", "abort", "warn"):
            self._find("schema", source, strategy, f"partial_response_strategy is {strategy.value}.", "It is abort or warn.", group=group, of=of)
        if "labels" in fields:
            group.labels = self._texts(fields["labels"], "labels", group, None)
        rules = fields.get("rules")
        if rules is None or rules.null:
            return group
        if rules.kind != "list":
            self._find("schema", source, rules, "rules is not a list.", "Begin each rule with a dash.", group=group, of=of)
            return group
        for rule in rules.children:
            if rule.null:
                self._find(
                    "empty",
                    source,
                    rule,
                    "The rule is empty, and Prometheus skips it.",
                    "Give it alert or record, and expr, or take it out.",
                    group=group,
                    of=of,
                )
                continue
            self._rules += 1
            if self._rules > MAX_RULES:
                self._find("yaml", source, rules, f"There are more than {MAX_RULES} rules.", "Aliases may multiply them; check fewer at once.", of=of)
                break
            self._rule(group, len(group.rules) + 1, rule)
        return group

    def _rule(self, group: Group, number: int, node: Node) -> None:
        source, of = group.of.source, group.of
        if node.kind != "map":
            self._find("schema", source, node, "A rule is a map with alert or record, and expr.", "Check its indentation.", group=group, of=of)
            return
        rule = Rule(group, number, node)
        group.rules.append(rule)
        rule.fields = fields = self._fields(node)
        names = {kind: self._text(fields[kind], group=group, rule=rule, what=kind) for kind in ("alert", "record") if kind in fields}
        names = {kind: name for kind, name in names.items() if name}
        rule.name = next(iter(names.values()), "")
        place: dict[str, t.Any] = {"group": group, "rule": rule, "of": of}
        self._unknown(group, rule, node, RULE_FIELDS, "rule")
        if len(names) == 2:
            self._find("rule-kind", source, fields["record"], "The rule has both alert and record.", "Make two rules of it.", **place)
        elif not names:
            self._find("rule-kind", source, node, "The rule has neither alert nor record.", "Name what it makes.", **place)
        else:
            rule.kind = next(iter(names))
        rule.expr_node = fields.get("expr")
        rule.expr = self._text(rule.expr_node, what="expr", **place) if rule.expr_node is not None else ""
        if not rule.expr and (rule.expr_node is None or rule.expr_node.kind == "scalar"):
            self._find("rule-kind", source, rule.expr_node or node, "The rule has no expr.", "Give it an expression.", **place)
        durations = {name: self._duration(fields[name], name, group, rule) for name in ("for", "keep_firing_for") if name in fields}
        rule.duration = durations.get("for") or 0
        for name, value in durations.items():
            if "record" in names and value:
                self._find("rule-kind", source, fields[name], f"A recording rule has no {name}.", "Take it out.", **place)
            elif value == 0 and not fields[name].null:
                self._find("useless-zero", source, fields[name], f"{name} is 0, as it is without it.", "Take it out.", **place)
        if "labels" in fields:
            rule.labels = self._texts(fields["labels"], "labels", group, rule)
        if "annotations" in fields:
            rule.annotations = self._texts(fields["annotations"], "annotations", group, rule)
            if "record" in names and rule.annotations:
                self._find("rule-kind", source, fields["annotations"], "A recording rule has no annotations.", "Take them out.", **place)

    def _unknown(self, group: Group, rule: Rule | None, node: Node, allowed: t.Collection[str], noun: str) -> None:
        for key, _value in node.children:
            if key.kind != "scalar" or (key.value not in allowed and key.value != "<<"):
                known = f"It knows {', '.join(allowed)}."
                self._find("schema", group.of.source, key, f"A {noun} has no field {key.value or key.kind}.", known, group=group, rule=rule, of=group.of)

    def _text(self, node: Node, *, group: Group, what: str, rule: Rule | None = None, of: RuleSet | None = None) -> str:
        if node.kind != "scalar":
            self._find("schema", group.of.source, node, f"{what} is not a text.", "Write a single value.", group=group, rule=rule, of=group.of)
            return ""
        return "" if node.null else node.value

    def _texts(self, node: Node, what: str, group: Group, rule: Rule | None) -> dict[str, tuple[str, Node]]:
        place: dict[str, t.Any] = {"group": group, "rule": rule, "of": group.of}
        if node.null:
            return {}
        if node.kind != "map":
            self._find("schema", group.of.source, node, f"{what} is not a map.", "Write name: value in each line.", **place)
            return {}
        return {name: (self._text(value, what=f"{what}.{name}", **place), value) for name, value in self._fields(node).items()}

    def _duration(self, node: Node, what: str, group: Group, rule: Rule | None = None) -> float | None:
        if node.null:
            return 0
        value = seconds(node.value) if node.kind == "scalar" else None
        if value is None:
            message = f"{what} is no duration: {node.value[:60] or node.kind}."
            self._find("durations", group.of.source, node, message, "Write it like 30s, 5m, 1h30m.", group=group, rule=rule, of=group.of)
        return value


def seconds(text: str) -> float | None:
    """A duration as Prometheus writes it; None when it is none."""
    if text == "0":
        return 0
    match = _DURATION.fullmatch(text) if text.isascii() else None
    if match is None or not text:
        return None
    milliseconds = sum(int(part) * unit for part, unit in zip(match.groups(), _UNITS, strict=True) if part)
    return milliseconds / 1000 if milliseconds <= (2**63 - 1) // 10**6 else None


def _keys(node: Node) -> set[str]:
    return {key.value for key, value in node.children if key.kind == "scalar" and value is not None}


def _json(node: Node, left: list[int]) -> str:
    """A rule set without what Prometheus does not know, values as they are written; OverflowError for a bomb."""
    left[0] -= 1
    if left[0] < 0:
        raise OverflowError
    if node.kind == "scalar":
        if node.null:
            return "null"
        # a quoted or ordinary text; other plain ones keep their own type
        plain = node.style is None and node.tag is None and re.fullmatch(r"<<|true|false|(?=.*\d)[-+.\d][-+.\w]*", node.value)
        return node.value if plain else json.dumps(node.value, ensure_ascii=False)
    if node.kind == "list":
        return f"[{', '.join(_json(child, left) for child in node.children)}]"
    pairs = (f"{_json(key, left)}: {_json(value, left)}" for key, value in node.children if key.value not in THANOS_FIELDS)
    return f"{{{', '.join(pairs)}}}"
