# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: PromQL as a small tree of our own; promql-parser makes it, and what it does otherwise than Prometheus is mended here."""

from __future__ import annotations

import itertools
import re
import typing as t

try:
    import promql_parser as pp

    IMPORT_ERROR: ImportError | None = None
except ImportError as error:
    IMPORT_ERROR = error

AGGREGATES = frozenset(
    ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "topk", "bottomk", "quantile", "count_values", "limitk", "limit_ratio"]
)
# these choose among their input's elements, which keep their labels
CHOOSING = frozenset(("topk", "bottomk", "limitk", "limit_ratio"))
COMPARISONS = frozenset(("==", "!=", ">", "<", ">=", "<="))
SETS = frozenset(("and", "or", "unless"))
EXPERIMENTAL_AGGREGATES = frozenset(("limitk", "limit_ratio"))
# Each operator is a level of the parser's recursion, which ends the whole process when it is too deep.
MAX_OPERATORS = 500

FUNCTIONS = "promql-experimental-functions"
RANGES = "promql-extended-range-selectors"
FILLS = "promql-binop-fill-modifiers"
FEATURES = (FUNCTIONS, RANGES, FILLS)

_OPERATORS = re.compile(r"[-+*/%^(=<>!]|\b(?:and|or|unless|atan2)\b")
_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
      | (?P<number>0[xX][0-9a-fA-F_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?(?:(?:ms|[smhdwy])(?:\d+(?:ms|[smhdwy]))*)?)
      | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
      | (?P<brace>\{(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`|[^}"'`])*\})
      | (?P<bracket>\[[^\]]*\])
      | (?P<operator>==|!=|>=|<=|[-+*/%^<>])
      | (?P<other>.)""",
    re.VERBOSE,
)
_UNDERSCORE = re.compile(r"(?<=\d)_(?=\d)|(?<=^0[xX])_|(?<=[a-fA-F])_|_(?=[a-fA-F])")
# a duration that is computed, with an operator or function in it
_COMPUTED = re.compile(r"(?=.*[-+*/%^(])(?:\s|\d+(?:ms|[smhdwy])?|[-+*/%^().,:]|step|range|min|max)*", re.DOTALL)
_LISTS = frozenset(["by", "without", "on", "ignoring", "group_left", "group_right"])


class SyntaxFault(Exception):
    """An expression that is not valid, or can not be judged: feature is what Prometheus must have switched on, unsure that only promtool knows."""

    def __init__(self, message: str, *, feature: str = "", unsure: bool = False) -> None:
        super().__init__(message)
        self.feature, self.unsure = feature, unsure


class Node:
    """kind: selector, range (child: selector), subquery, aggregate, call, binary, unary, number, string.

    name is the metric, function or operator; place counts the nodes of one kind in the order of the text.
    """

    __slots__ = ("args", "choice", "grouped", "include", "kind", "labels", "matchers", "name", "place", "seconds", "text")

    def __init__(self, kind: str, name: str, args: list[Node], place: int = 0) -> None:
        self.kind, self.name, self.args, self.place = kind, name, args, place
        self.matchers: list[tuple[str, str, str]] = []
        # by/on (include) or without/ignoring labels; None where nothing is written
        self.include: bool | None = None
        self.labels: tuple[str, ...] = ()
        # group_left or group_right, with its labels
        self.choice = ""
        self.grouped: tuple[str, ...] = ()
        self.seconds: float | None = None
        self.text = ""

    def walk(self) -> t.Iterator[Node]:
        """This node and all below it, in no order that matters."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.args

    @property
    def scalar(self) -> bool:
        if self.kind in ("number", "string"):
            return True
        if self.kind == "call":
            return self.name in ("scalar", "time", "pi")
        if self.kind in ("binary", "unary"):
            return all(child.scalar for child in self.args)
        return False


class Parsed(t.NamedTuple):
    root: Node
    experimental: tuple[str, ...]  # what of it is experimental, as a text
    features: tuple[str, ...]  # the features it needs


def available() -> bool:
    return IMPORT_ERROR is None


def parse(expr: str) -> Parsed:
    """SyntaxFault for what Prometheus refuses."""
    if len(expr) > MAX_OPERATORS and len(_OPERATORS.findall(expr)) > MAX_OPERATORS:
        raise SyntaxFault(f"It has more than {MAX_OPERATORS} operators and brackets, too many to look into.", unsure=True)
    try:
        found = pp.parse(expr)
    except ValueError as error:
        # Prometheus lets _ stand between digits
        plain = _plain_numbers(expr)
        try:
            if plain == expr:
                raise error
            found = pp.parse(plain)
        except ValueError as second:
            raise _fault(expr, str(second)) from second
    builder = _Builder()
    root = builder.build(found)
    if builder.or_matchers:
        raise SyntaxFault('Matchers are separated by commas; "or" between them is not PromQL.')
    return Parsed(root, tuple(builder.experimental), tuple(builder.features))


def _fault(expr: str, message: str) -> SyntaxFault:
    tokens = [(match.lastgroup, match.group()) for match in _TOKEN.finditer(expr) if match.lastgroup != "space"]
    if any(kind == "name" and text in ("anchored", "smoothed") for kind, text in tokens):
        return SyntaxFault("anchored and smoothed are experimental.", feature=RANGES)
    arithmetic = any(kind == "bracket" and _COMPUTED.fullmatch(text[1:-1]) for kind, text in tokens)
    after_offset = any(text == "offset" and follow[1] == "(" for (_kind, text), follow in itertools.pairwise(tokens))
    if arithmetic or after_offset:
        return SyntaxFault("It computes durations, which Prometheus before 3.15 does not know.", unsure=True)
    if any(first[1] in "<>" and second[1] == "/" for first, second in itertools.pairwise(tokens)):
        return SyntaxFault("It trims histograms, which Prometheus before 3.15 does not know.", unsure=True)
    return SyntaxFault(f"{' '.join(message.split())}.")


def _plain_numbers(expr: str) -> str:
    texts = ((match.lastgroup, match.group()) for match in _TOKEN.finditer(expr))
    return "".join(_UNDERSCORE.sub("", text) if kind == "number" else text for kind, text in texts)


def _labels(modifier: t.Any) -> tuple[bool | None, tuple[str, ...]]:
    if modifier is None:
        return None, ()
    return str(modifier.type) in ("AggModifierType.By", "LabelModifierType.Include"), tuple(modifier.labels)


class _Builder:
    def __init__(self) -> None:
        self.or_matchers = False
        self.experimental: list[str] = []
        self.features: list[str] = []
        self._counts = dict.fromkeys(("selector", "aggregate", "call", "binary"), 0)
        self._builders = {
            pp.VectorSelector: self._selector,
            pp.MatrixSelector: self._range,
            pp.AggregateExpr: self._aggregate,
            pp.Call: self._call,
            pp.BinaryExpr: self._binary,
            pp.ParenExpr: lambda expr: self.build(expr.expr),
            pp.UnaryExpr: lambda expr: Node("unary", "-", [self.build(expr.expr)]),
            pp.SubqueryExpr: self._subquery,
            pp.NumberLiteral: lambda expr: _with_text(Node("number", "", []), str(expr.val)),
            pp.StringLiteral: lambda expr: _with_text(Node("string", "", []), expr.val),
        }

    def build(self, expr: t.Any) -> Node:
        return self._builders[type(expr)](expr)

    def _place(self, kind: str) -> int:
        self._counts[kind] += 1
        return self._counts[kind] - 1

    def _needs(self, feature: str, what: str) -> None:
        self.experimental.append(what)
        self.features.append(feature)

    def _selector(self, expr: t.Any) -> Node:
        node = Node("selector", expr.name or "", [], self._place("selector"))
        matchers = expr.matchers
        self.or_matchers = self.or_matchers or bool(matchers.or_matchers)
        for matcher in matchers.matchers:
            op = _OPS[str(matcher.op)]
            if matcher.name == "__name__" and op == "=":
                node.name = matcher.value
            else:
                node.matchers.append((matcher.name, op, matcher.value))
        return node

    def _range(self, expr: t.Any) -> Node:
        node = Node("range", "", [self._selector(expr.vector_selector)])
        node.seconds = expr.range.total_seconds()
        return node

    def _subquery(self, expr: t.Any) -> Node:
        node = Node("subquery", "", [self.build(expr.expr)])
        node.seconds = expr.range.total_seconds() if expr.range else None
        return node

    def _aggregate(self, expr: t.Any) -> Node:
        node = Node("aggregate", str(expr.op), [], self._place("aggregate"))
        if node.name in EXPERIMENTAL_AGGREGATES:
            self._needs(FUNCTIONS, node.name)
        node.include, node.labels = _labels(expr.modifier)
        if expr.param is not None:
            param = self.build(expr.param)
            node.text = param.text
            node.args.append(param)
        node.args.append(self.build(expr.expr))
        return node

    def _call(self, expr: t.Any) -> Node:
        function = expr.func
        node = Node("call", function.name, [], self._place("call"))
        if function.experimental:
            self._needs(FUNCTIONS, f"{function.name}()")
        node.args = [self.build(argument) for argument in expr.args]
        return node

    def _binary(self, expr: t.Any) -> Node:
        left = self.build(expr.lhs)
        node = Node("binary", str(expr.op), [left], self._place("binary"))
        node.args.append(self.build(expr.rhs))
        modifier = expr.modifier
        if modifier is not None:
            node.include, node.labels = _labels(modifier.matching)
            node.text = "bool" if modifier.return_bool else ""
            card = str(modifier.card).rpartition(".")[2]
            node.choice = {"ManyToOne": "left", "OneToMany": "right"}.get(card, "")
            node.grouped = tuple(modifier.group_labels or ())
            fill = modifier.fill_values
            if fill is not None and (fill.lhs is not None or fill.rhs is not None):
                self._needs(FILLS, "fill")
        return node


_OPS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}


def _with_text(node: Node, text: str) -> Node:
    node.text = text
    return node


def offset(expr: str, node: Node) -> int:
    """Where a node begins in the text; for a binary one, its operator. The parser tells no positions, so the tokens are counted once more."""
    for kind, place, position in _places(expr):
        if kind == node.kind and place == node.place:
            return position
    return 0


def _places(expr: str) -> t.Iterator[tuple[str, int, int]]:
    tokens = [match for match in _TOKEN.finditer(expr) if match.lastgroup != "space"]
    counts = dict.fromkeys(("selector", "aggregate", "call", "binary"), 0)
    operand = False  # an operand ends here, so that a sign would be an operator
    skip = 0

    def found(kind: str, match: re.Match[str]) -> tuple[str, int, int]:
        counts[kind] += 1
        return kind, counts[kind] - 1, match.start()

    for number, match in enumerate(tokens):
        if number < skip:
            continue
        kind, text = match.lastgroup, match.group()
        follow = tokens[number + 1].group() if number + 1 < len(tokens) else ""
        if kind == "name":
            word = text.lower()
            if word in _LISTS:
                if follow == "(":
                    skip = next((other for other in range(number + 1, len(tokens)) if tokens[other].group() == ")"), len(tokens)) + 1
            elif word in SETS or word == "atan2":
                yield found("binary", match)
                operand = False
            elif word in ("bool", "offset") or (word in ("inf", "nan") and follow != "("):
                operand = word in ("inf", "nan")
            elif word in ("start", "end") and number and tokens[number - 1].group() == "@":
                skip, operand = number + 3, True
            elif word in AGGREGATES and (follow == "(" or follow.lower() in ("by", "without")):
                yield found("aggregate", match)
                operand = False
            elif follow == "(":
                yield found("call", match)
                operand = False
            else:
                yield found("selector", match)
                operand = True
                if tokens[number + 1 : number + 2] and tokens[number + 1].lastgroup == "brace":
                    skip = number + 2
        elif kind == "brace":
            yield found("selector", match)
            operand = True
        elif kind == "operator":
            if operand:
                yield found("binary", match)
            operand = False
        elif kind in ("number", "string", "bracket") or text == ")":
            operand = True
        else:
            operand = False


# What of an expression's result carries which labels.


class Labels(t.NamedTuple):
    """The labels that a result may have: exactly these, or all but these."""

    closed: bool
    names: frozenset[str]

    def has(self, name: str) -> bool:
        return (name in self.names) == self.closed

    def keep(self, names: t.Iterable[str]) -> Labels:
        return Labels(True, frozenset(name for name in names if self.has(name)))

    def drop(self, names: t.Iterable[str]) -> Labels:
        return Labels(self.closed, self.names - frozenset(names) if self.closed else self.names | frozenset(names))

    def add(self, names: t.Iterable[str]) -> Labels:
        return Labels(self.closed, self.names | frozenset(names) if self.closed else self.names - frozenset(names))

    def union(self, other: Labels) -> Labels:
        if self.closed and other.closed:
            return Labels(True, self.names | other.names)
        if not self.closed and not other.closed:
            return Labels(False, self.names & other.names)
        closed, open_ = (self, other) if self.closed else (other, self)
        return Labels(False, open_.names - closed.names)


NOTHING = Labels(True, frozenset())


def labels_of(node: Node) -> Labels:
    if node.kind == "selector":
        return Labels(False, frozenset(name for name, op, value in node.matchers if lacks((name, op, value))))
    if node.kind in ("range", "subquery", "unary"):
        return labels_of(node.args[0])
    if node.kind == "aggregate":
        inner = labels_of(node.args[-1])
        if node.name in CHOOSING:
            return inner
        result = inner.keep(node.labels) if node.include else inner.drop(node.labels) if node.include is False else NOTHING
        return result.add([node.text]) if node.name == "count_values" else result
    if node.kind == "call":
        return _call_labels(node)
    if node.kind == "binary":
        return _binary_labels(node)
    return NOTHING


def _call_labels(node: Node) -> Labels:
    if node.name in ("absent", "absent_over_time"):
        selector = next((child for child in node.args[0].walk() if child.kind == "selector"), None)
        fixed = [] if selector is None or node.args[0].kind not in ("selector", "range") else selector.matchers
        return Labels(True, frozenset(name for name, op, value in fixed if op == "=" and value))
    if node.name in ("label_replace", "label_join"):
        return labels_of(node.args[0]).add([node.args[1].text])
    if node.name == "info":
        return Labels(False, frozenset())
    vector = next((child for child in node.args if not child.scalar), None)
    if vector is None or node.name in ("scalar", "vector"):
        return NOTHING
    result = labels_of(vector)
    return result.drop(["le"]) if node.name in ("histogram_quantile", "histogram_fraction") else result


def _binary_labels(node: Node) -> Labels:
    left, right = node.args
    if left.scalar or right.scalar:
        return labels_of(right if left.scalar else left)
    first, second = labels_of(left), labels_of(right)
    if node.name == "or":
        return first.union(second)
    if node.name in SETS:
        return first
    if node.choice:
        many, one = (first, second) if node.choice == "left" else (second, first)
        return many.add(name for name in node.grouped if one.has(name))
    if node.include is None:
        return first
    return first.keep(node.labels) if node.include else first.drop(node.labels)


def lacks(matcher: tuple[str, str, str]) -> bool:
    """Whether only series without this label match."""
    _name, op, value = matcher
    return (op in ("=", "=~") and value == "") or (op == "!~" and value in (".+", ".+?"))


def matches(op: str, value: str, text: str) -> bool:
    """A matcher on a text, as far as Python's regular expressions go with Go's."""
    if op in ("=", "!="):
        return (text == value) == (op == "=")
    try:
        return (re.fullmatch(value, text) is not None) == (op == "=~")
    except re.error:
        return False
