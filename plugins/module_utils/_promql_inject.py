# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: puts matchers into every selector of a PromQL query that may hold Grafana's variables.

The variables are filled in with what can stand in their places, the parser gives the tree, and the text is edited where its selectors are, so
that the query keeps its form and its variables. Then the edited text is parsed too: but for the matchers, its tree must be the first one.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import typing as t

from ansible_collections.scs.observer.plugins.module_utils import _rules_promql
from ansible_collections.scs.observer.plugins.module_utils._dashboard_walk import VARIABLE
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

if t.TYPE_CHECKING or _rules_promql.available():
    import promql_parser as pp

TRIALS_MAX = 512
GUARD = "scs_observer_guard"

# What a variable can stand for where a number and a metric are both possible.
NUMBER, METRIC, OTHER = "number", "metric", "other"
Kinds = t.Mapping[str, str]

_STRING = r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|`[^`]*`'
_LEXEME = re.compile(
    rf"""(?P<space>\s+|\#[^\n]*)
      | (?P<string>{_STRING})
      | (?P<variable>{re.sub(r"[?]P<[a-z_]+>", "?:", VARIABLE.pattern)})
      | (?P<part>[\w.]+)
      | (?P<colon>:)
      | (?P<operator>==|!=|>=|<=|=~|!~|[-+*/%^<>=])
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_BRACE = re.compile(rf"(?P<space>\s+|\#[^\n]*)|(?P<string>{_STRING})|(?P<comma>,)|(?P<end>\}})|(?P<other>.)", re.DOTALL)
_UNITS = re.compile(r"(?:ms|[smhdwy])(?:\d+(?:ms|[smhdwy]))*")
_UNESCAPED = re.compile(rf"(?<!\\)(?:{VARIABLE.pattern})")
_LISTS = frozenset(["by", "without", "on", "ignoring", "group_left", "group_right"])
# One of these fits each way in which a function or aggregation is called; which one does not matter.
_FUNCTIONS = (
    *("sum", "rate", "abs", "avg_over_time", "sum_over_time", "topk", "quantile", "histogram_quantile", "quantile_over_time", "clamp_max"),
    *("min", "max", "avg", "count", "increase", "irate", "delta", "idelta", "deriv", "ceil", "floor", "round", "last_over_time", "min_over_time"),
    *("max_over_time", "count_over_time", "predict_linear", "bottomk", "clamp_min", "scalar", "vector", "time", "label_replace"),
)
_OPERATORS = ("+", ">", "and")


class Unclear(Exception):
    """A query that is left as it is, and why."""


class Matcher(t.NamedTuple):
    label: str
    op: str
    value: str  # with the variables filled in
    text: str

    @property
    def pair(self) -> tuple[str, str]:
        return self.op, self.value


def matchers(texts: t.Iterable[str]) -> tuple[Matcher, ...]:
    """ObserverError for what is none."""
    found = []
    for text in texts:
        trouble = f'matchers: {text} is not a matcher of PromQL. Write it like infrastructure=~"$infrastructure" or cluster="".'
        try:
            pieces = _pieces(text, {})
            filled = _joined(pieces, [piece.choices[0] for piece in pieces]).text
            (item,), end = _items("{" + filled + "\n}", 1)
            if end != len(filled) + 2:
                raise ValueError(text)
        except (Unclear, ValueError) as error:
            raise ObserverError(trouble) from error
        if not item.op or item.label == "__name__":
            raise ObserverError(trouble)
        found.append(Matcher(item.label, item.op, item.value, text.strip()))
    return tuple(found)


def inject(expr: str, wanted: t.Sequence[Matcher], *, replace: bool = True, kinds: Kinds | None = None) -> str:
    """The query with the matchers in every selector; without C(replace), a label that a selector already matches on is left to it."""
    filled = _fill(expr, kinds or {})
    try:
        return _edited(expr, filled, wanted, replace)
    except (_rules_promql.SyntaxFault, ValueError):
        raise Unclear("The matchers could not be put in without changing more. Please report this query.") from None


def _edited(expr: str, filled: _Filled, wanted: t.Sequence[Matcher], replace: bool) -> str:
    """ValueError when the result is not the query with the matchers."""
    edits = _edits(filled.text, wanted, replace)
    result, checked = expr, filled.text
    for start, end, text in sorted(edits, reverse=True):
        result = result[: filled.origin(start)] + text + result[filled.origin(end) :]
        checked = checked[:start] + _in_strings(text) + checked[end:]
    if edits and _tree(checked, (), replace) != _tree(filled.text, wanted, replace):
        raise ValueError(checked)
    return result


# Variables


class _Filled(t.NamedTuple):
    """A text without variables, and for each of them where it ends and by how much the original is longer from there on."""

    text: str
    shifts: tuple[tuple[int, int], ...]

    def origin(self, position: int) -> int:
        return position + next((shift for end, shift in reversed(self.shifts) if end <= position), 0)


class _Piece(t.NamedTuple):
    """A part of the query: choices is what can stand for it, and operand whether a number and a metric are among them."""

    text: str
    choices: tuple[str, ...]
    operand: bool = False


def _plain(text: str) -> str:
    """A name for a variable, the same for the same."""
    return f"gf{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _in_strings(text: str) -> str:
    # behind a backslash the sign means itself, in a regular expression
    return _UNESCAPED.sub(lambda found: _plain(found.group()), text)


def _fill(expr: str, kinds: Kinds) -> _Filled:
    """With something in the place of each variable that makes it PromQL."""
    pieces = _pieces(expr, kinds)
    free = [place for place, piece in enumerate(pieces) if piece.operand]
    good: list[tuple[_Filled, tuple[str, ...]]] = []
    fault, trials = "", 0
    for operands in itertools.product(*(pieces[place].choices for place in free)):
        chosen = dict(zip(free, operands, strict=True))
        rest = [(chosen[place],) if place in chosen else piece.choices for place, piece in enumerate(pieces)]
        # which function stands for a variable does not matter, so that one that fits is enough
        for choice in itertools.product(*rest):
            trials += 1
            if trials > TRIALS_MAX:
                raise Unclear("It has too many variables whose meaning is not clear.")
            filled = _joined(pieces, choice)
            found = _fault(filled.text, first=trials == 1)
            if not found:
                good.append((filled, operands))
                break
            fault = fault or found
    if not good:
        raise Unclear(f"It can not be parsed: {fault}")
    if len(good) > 1:
        several = [len(set(found)) > 1 for found in zip(*(operands for _filled, operands in good), strict=True)]
        names = dict.fromkeys(pieces[place].text for place, unclear in zip(free, several, strict=True) if unclear)
        raise Unclear(f"{', '.join(names)} may be a number or a metric.")
    return good[0][0]


def _fault(text: str, *, first: bool) -> str:
    """What is wrong with a query; empty when nothing is."""
    try:
        if not first:
            pp.parse(text)  # quicker, and as deep as the first, which was not too deep
        _rules_promql.parse(text)
        # the other mends what only Prometheus takes
        pp.parse(text)
    except _rules_promql.SyntaxFault as error:
        if error.unsure:
            raise Unclear(f"It can not be parsed: {error}") from error
        return str(error)
    except ValueError as error:
        return f"{error}."
    return ""


def _joined(pieces: t.Sequence[_Piece], choice: t.Sequence[str]) -> _Filled:
    text, shifts, shift = [], [], 0
    length = 0
    for piece, chosen in zip(pieces, choice, strict=True):
        text.append(chosen)
        length += len(chosen)
        if len(chosen) != len(piece.text):
            shift += len(piece.text) - len(chosen)
            shifts.append((length, shift))
    return _Filled("".join(text), tuple(shifts))


class _Token(t.NamedTuple):
    kind: str
    text: str


def _pieces(expr: str, kinds: Kinds) -> list[_Piece]:
    tokens = [_Token(str(found.lastgroup), found.group()) for found in _LEXEME.finditer(expr)]
    pieces: list[_Piece] = []
    inside: list[str] = []  # the brackets that are open; "l" for a list of labels
    before: list[str] = ["", ""]  # the last words and signs
    number = 0
    while number < len(tokens):
        kind, text = tokens[number]
        count = 1
        if kind == "string":
            pieces.append(_Piece(text, (_in_strings(text),)))
        elif kind in ("part", "variable"):
            # a recorded metric's name has colons, a subquery's range is parted by one
            joined = ("part", "variable") if inside[-1:] == ["["] else ("part", "variable", "colon")
            word = list(itertools.takewhile(lambda token, joined=joined: token.kind in joined, tokens[number:]))
            count = len(word)
            text = "".join(token.text for token in word)
            if any(token.kind == "variable" for token in word):
                follow = [token.text for token in tokens[number + count :] if token.kind != "space"][:1]
                pieces.append(_word(word, text, inside[-1] if inside else "", before, follow[0] if follow else "", kinds))
            else:
                pieces.append(_Piece(text, (text,)))
        else:
            pieces.append(_Piece(text, (text,)))
            if text in ("{", "[", "("):
                inside.append("l" if text == "(" and before[-1].lower() in _LISTS else text)
            elif text in ("}", "]", ")") and inside:
                inside.pop()
        if kind != "space":
            before = [before[-1], text]
        number += count
    return pieces


def _word(word: list[_Token], text: str, inside: str, before: list[str], follow: str, kinds: Kinds) -> _Piece:
    """What can stand for a word that has a variable in it, by where it is."""
    name = "".join(token.text if token.kind != "variable" else _plain(token.text) for token in word)
    alone = len(word) == 1
    if inside == "{":
        if before[-1] in ("=", "!=", "=~", "!~"):
            return _Piece(text, (f'"{name}"',))
        # a label's name, or whole matchers
        return _Piece(text, (name if follow in ("=", "!=", "=~", "!~") else f'{name}="x"',))
    if inside == "l":
        return _Piece(text, (name,))
    if inside == "[" or before[-1] == "offset" or before == ["offset", "-"]:
        tail = word[-1].text if word[-1].kind == "part" else ""
        return _Piece(text, (f"5{tail}" if tail and _UNITS.fullmatch(tail) else "5m",) if word[0].kind == "variable" else (f"{word[0].text}m",))
    if before[-1] == "@":
        return _Piece(text, ("1",))
    if follow == "(" or follow.lower() in ("by", "without"):
        pattern = "".join(re.escape(token.text) if token.kind != "variable" else ".+" for token in word)
        return _Piece(text, tuple(function for function in _FUNCTIONS if re.fullmatch(pattern, function)) or (name,))
    if not alone:
        return _Piece(text, (name if re.match(r"[a-zA-Z_:]", name) else f"gf{name}",))
    return _operand(text, before[-1], follow, kinds)


def _operand(text: str, before: str, follow: str, kinds: Kinds) -> _Piece:
    found = VARIABLE.fullmatch(text)
    variable = (found["plain"] or found["braced"] or found["old"]) if found else ""
    kind = NUMBER if variable.startswith("__") else kinds.get(variable, "")
    if kind == OTHER:
        raise Unclear(f"{text} holds a part of a query, into which nothing can be put. Write it out, or put the matchers into the variable's values.")
    if follow in ("{", "["):
        return _Piece(text, (_plain(text),))
    if before and (before in (")", "}", "]") or before[-1].isalnum()) and before.lower() not in ("and", "or", "unless", "bool", "atan2", *_LISTS):
        return _Piece(text, _OPERATORS)
    choices = {NUMBER: ("1",), METRIC: (_plain(text),)}.get(kind, ("1", _plain(text)))
    return _Piece(text, choices, operand=True)


# Selectors


class _Item(t.NamedTuple):
    """What stands between two commas in the braces; op is empty where only a metric's name stands there."""

    start: int
    end: int
    label: str
    op: str
    value: str


def _items(text: str, start: int) -> tuple[list[_Item], int]:
    """What is in the braces that open before C(start), and where they close."""
    items, begin, last = [], 0, 0
    for found in _BRACE.finditer(text, start):
        kind = found.lastgroup
        if kind in ("comma", "end"):
            if last:
                items.append(_item(text, begin, last))
            begin = last = 0
            if kind == "end":
                return items, found.start()
        elif kind != "space":
            begin, last = begin or found.start(), found.end()
    raise ValueError(text)


def _item(text: str, start: int, end: int) -> _Item:
    written = text[start:end]
    if re.fullmatch(_STRING, written):
        return _Item(start, end, "__name__", "", "")
    parsed = pp.parse(f'{{{GUARD}!="",{written}\n}}')
    (matcher,) = [matcher for matcher in parsed.matchers.matchers if matcher.name != GUARD]
    return _Item(start, end, matcher.name, _OPS[str(matcher.op)], matcher.value)


def _edits(text: str, wanted: t.Sequence[Matcher], replace: bool) -> list[tuple[int, int, str]]:
    edits = []
    for node in _rules_promql.parse(text).root.walk():
        if node.kind != "selector":
            continue
        start = _rules_promql.offset(text, node)
        name = re.compile(r"[a-zA-Z_:][\w:]*").match(text, start)
        end = name.end() if name else start
        brace = re.compile(r"(?:\s|\#[^\n]*\n)*\{").match(text, end)
        if brace is None:
            edits.append((end, end, "{" + ",".join(matcher.text for matcher in wanted) + "}"))
        else:
            edits += _in_braces(_items(text, brace.end())[0], brace.end(), wanted, replace)
    return edits


def _in_braces(items: list[_Item], start: int, wanted: t.Sequence[Matcher], replace: bool) -> list[tuple[int, int, str]]:
    edits, fresh = [], []
    for label, group in itertools.groupby(sorted(wanted, key=lambda matcher: matcher.label), key=lambda matcher: matcher.label):
        new = list(group)
        old = [number for number, item in enumerate(items) if item.label == label and item.op]
        if not old:
            fresh += new
        elif replace and {(items[number].op, items[number].value) for number in old} != {matcher.pair for matcher in new}:
            edits.append((items[old[0]].start, items[old[0]].end, ",".join(matcher.text for matcher in new)))
            # with the comma before it
            edits += [(items[number - 1].end, items[number].end, "") for number in old[1:]]
    if fresh:
        fresh.sort(key=wanted.index)
        edits.append((start, start, ",".join(matcher.text for matcher in fresh) + ("," if items else "")))
    return edits


# Proof


def _tree(text: str, wanted: t.Sequence[Matcher], replace: bool) -> list[tuple[t.Any, ...]]:
    """The tree as a list, each node before those below it, with the matchers put in."""
    nodes: list[tuple[t.Any, ...]] = []
    labels = {matcher.label for matcher in wanted}

    def selector(node: t.Any) -> tuple[t.Any, ...]:
        own = {(matcher.name, _OPS[str(matcher.op)], matcher.value) for matcher in node.matchers.matchers}
        if node.name:
            own.add(("__name__", "=", node.name))
        kept = {label for label, _op, _value in own} & labels if not replace else set()
        own = {matcher for matcher in own if matcher[0] not in labels - kept}
        own |= {(matcher.label, matcher.op, matcher.value) for matcher in wanted if matcher.label not in kept}
        return ("VectorSelector", _time(node), frozenset(own))

    def visit(node: t.Any) -> None:
        kind = type(node).__name__
        if kind == "VectorSelector":
            nodes.append(selector(node))
            return
        nodes.append((kind, *_OWN.get(kind, lambda _node: ())(node)))

    pp.walk(pp.parse(text), visit)
    return nodes


def _time(node: t.Any) -> tuple[str, str, str]:
    return str(node.offset), str(node.at and node.at.type), str(node.at and node.at.at)


def _modifier(modifier: t.Any) -> tuple[t.Any, ...]:
    return () if modifier is None else (str(modifier.type), tuple(modifier.labels))


def _matching(modifier: t.Any) -> tuple[t.Any, ...]:
    if modifier is None:
        return ()
    fill = modifier.fill_values
    return str(modifier.card), _modifier(modifier.matching), modifier.return_bool, tuple(modifier.group_labels or ()), str(fill.lhs), str(fill.rhs)


_OWN: dict[str, t.Callable[[t.Any], tuple[t.Any, ...]]] = {
    "AggregateExpr": lambda node: (str(node.op), node.param is None, _modifier(node.modifier)),
    "BinaryExpr": lambda node: (str(node.op), _matching(node.modifier)),
    "Call": lambda node: (node.func.name, len(node.args)),
    "MatrixSelector": lambda node: (str(node.range),),
    "SubqueryExpr": lambda node: (str(node.range), str(node.step), _time(node)),
    "NumberLiteral": lambda node: (str(node.val),),
    "StringLiteral": lambda node: (node.val,),
}
_OPS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}
