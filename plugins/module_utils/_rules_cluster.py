# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: whether an expression keeps the clusters apart, by its tree.

Each part of an expression has elements of many clusters, which carry the label, or none that do. Aggregating or joining the former without
the label mixes clusters; what comes out is of no cluster, so that one mistake is found once.
"""

from __future__ import annotations

import typing as t

from ansible_collections.scs.observer.plugins.module_utils import _rules_promql
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._rules_promql import Node

AGGREGATION, JOIN, ABSENT = "cluster-aggregation", "cluster-join", "cluster-absent"


class Mixed(t.NamedTuple):
    check: str
    node: Node
    message: str
    remedy: str


class Analysis:
    """label: the clusters' label. clusterless: selectors whose series have none. recorded: of recording rules, whether their series carry it."""

    def __init__(self, label: str, clusterless: t.Iterable[Node], recorded: t.Mapping[str, bool]) -> None:
        self.label, self.recorded = label, recorded
        self._clusterless = [(node, set(node.matchers)) for node in clusterless]
        self.mixed: list[Mixed] = []

    def run(self, root: Node) -> bool:
        """Whether the result carries the label; what mixes clusters is in mixed."""
        return self._kinds[root.kind](self, root) and not root.scalar

    def _none(self, node: Node) -> bool:
        return False

    def _inner(self, node: Node) -> bool:
        return self.run(node.args[0])

    def _selector(self, node: Node) -> bool:
        if any(name == self.label and _rules_promql.lacks((name, op, value)) for name, op, value in node.matchers):
            return False
        if not self.recorded.get(node.name, True):
            return False
        return not any(_within(node, pattern, matchers) for pattern, matchers in self._clusterless)

    def _aggregate(self, node: Node) -> bool:
        if node.name not in _rules_promql.CHOOSING and len(node.args) > 1:
            self.run(node.args[0])
        if not self.run(node.args[-1]):
            return False
        if node.name in _rules_promql.CHOOSING:
            return True
        kept = self.label in node.labels if node.include else node.include is False and self.label not in node.labels
        if not kept:
            how = f"by ({', '.join(node.labels)})" if node.include else f"without ({', '.join(node.labels)})" if node.include is False else "without by"
            remedy = f"Take {self.label} out of without()" if node.include is False else f"Write {node.name} by ({', '.join([self.label, *node.labels])})"
            message = f"{node.name} {how} aggregates over all clusters: the label {self.label} is lost."
            self._found(AGGREGATION, node, message, remedy)
        return kept

    def _call(self, node: Node) -> bool:
        carries = [self.run(child) for child in node.args]
        name = node.name
        if name in ("absent", "absent_over_time"):
            if not carries[0]:
                return False
            if _rules_promql.labels_of(node).has(self.label):
                return True
            message = f"{name}() is true only when no cluster at all has the series, and its result has no label {self.label}."
            others = f"Compare with a list of the clusters, such as: kaas unless on ({self.label}) up"
            self._found(ABSENT, node, message, others)
            return False
        if name == "scalar":
            if carries[0]:
                message = f"scalar() has no labels: it takes the value of one cluster, or NaN when there are several, and {self.label} is lost."
                self._found(AGGREGATION, node, message, f"Join by on ({self.label}) group_left () instead")
            return False
        if name in ("label_replace", "label_join") and node.args[1].text == self.label:
            if name == "label_replace" and carries[0] and not node.args[2].text:
                self._found(AGGREGATION, node, f"label_replace() empties the label {self.label}.", "Leave it as it is")
                return False
            return True
        return any(carries) and name != "vector"

    def _binary(self, node: Node) -> bool:
        left, right = node.args
        first, second = self.run(left), self.run(right)
        if left.scalar or right.scalar:
            return first or second
        matched = self.label in node.labels if node.include else self.label not in node.labels
        if first and second and not matched:
            how = f"on ({', '.join(node.labels)})" if node.include else f"ignoring ({', '.join(node.labels)})"
            remedy = f"Write on ({', '.join([self.label, *node.labels])})" if node.include else f"Take {self.label} out of ignoring()"
            message = f'"{node.name} {how}" joins series of one cluster with those of others.'
            self._found(JOIN, node, message, remedy)
            return False
        if node.name in _rules_promql.SETS:
            return first or (second and node.name == "or")
        if node.choice:
            many, one = (first, second) if node.choice == "left" else (second, first)
            return many or (one and self.label in node.grouped)
        if (first or second) and not matched:
            side = "left" if first else "right"
            message = f'The result of "{node.name}" loses the label {self.label}, for one-to-one matching keeps the labels that it matches by only.'
            self._found(JOIN, node, message, f"Add group_{side} () behind the list of labels")
            return False
        return first or second

    def _found(self, check: str, node: Node, message: str, remedy: str) -> None:
        self.mixed.append(Mixed(check, node, message, f"{remedy}, or switch the check off for this rule when all clusters are meant."))

    _kinds: t.ClassVar[dict[str, t.Callable[[Analysis, Node], bool]]] = {
        "selector": _selector,
        "range": _inner,
        "subquery": _inner,
        "unary": _inner,
        "aggregate": _aggregate,
        "call": _call,
        "binary": _binary,
        "number": _none,
        "string": _none,
    }


def _within(node: Node, pattern: Node, matchers: set[tuple[str, str, str]]) -> bool:
    """Whether a selector is at least as narrow as the pattern, by what is written."""
    own = set(node.matchers)
    for name, op, value in matchers:
        if name == "__name__":
            if not _rules_promql.matches(op, value, node.name):
                return False
        elif (name, op, value) not in own and not any(n == name and o == "=" and _rules_promql.matches(op, value, v) for n, o, v in own):
            return False
    return not pattern.name or pattern.name == node.name


def clusterless(selectors: t.Iterable[str]) -> list[Node]:
    found = []
    for given in selectors:
        try:
            root = _rules_promql.parse(given).root
        except _rules_promql.SyntaxFault as error:
            raise ObserverError(f'clusterless: {given} is not a selector of PromQL: {error} Write it like up{{observer!=""}}.') from error
        if root.kind != "selector":
            raise ObserverError(f'clusterless: {given} is not a selector of PromQL. Write it like up{{observer!=""}}.')
        found.append(root)
    return found


def recorded(rules: t.Iterable[tuple[str, Node, bool]], label: str, patterns: list[Node]) -> dict[str, bool]:
    """For each recording rule's metric whether its series carry the label; rules are names, trees and whether the rule itself sets the label.

    Rules may read each other and themselves, so it begins with "none does" and goes on until nothing changes.
    """
    named: dict[str, list[tuple[Node, bool]]] = {}
    for name, root, sets in rules:
        named.setdefault(name, []).append((root, sets))
    readers: dict[str, set[str]] = {}
    for name, given in named.items():
        for root, _sets in given:
            for node in root.walk():
                if node.kind == "selector" and node.name in named:
                    readers.setdefault(node.name, set()).add(name)
    carries = dict.fromkeys(named, False)
    waiting = list(named)
    while waiting:
        name = waiting.pop()
        if not carries[name] and any(sets or Analysis(label, patterns, carries).run(root) for root, sets in named[name]):
            carries[name] = True
            waiting += readers.get(name, ())
    return carries
