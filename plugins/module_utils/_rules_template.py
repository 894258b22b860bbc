# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: Go templates as Prometheus parses them in labels and annotations, and the labels they use."""

from __future__ import annotations

import re
import typing as t

# Prometheus' own (template.go) and those of text/template
FUNCTIONS = frozenset(
    [
        "query",
        "first",
        "label",
        "value",
        "strvalue",
        "args",
        "reReplaceAll",
        "safeHtml",
        "match",
        "title",
        "toUpper",
        "toLower",
        "graphLink",
        "tableLink",
        "sortByLabel",
        "stripPort",
        "stripDomain",
        "humanize",
        "humanize1024",
        "humanizeDuration",
        "humanizePercentage",
        "humanizeTimestamp",
        "toTime",
        "toDuration",
        "now",
        "pathPrefix",
        "externalURL",
        "parseDuration",
        "tmpl",
        "urlQueryEscape",
        "and",
        "or",
        "not",
        "len",
        "index",
        "slice",
        "print",
        "printf",
        "println",
        "html",
        "js",
        "urlquery",
        "call",
        "eq",
        "ge",
        "gt",
        "le",
        "lt",
        "ne",
    ]
)
BLOCKS = frozenset(("if", "range", "with", "define", "block"))
GIVEN = frozenset(("$", "$labels", "$externalLabels", "$externalURL", "$value"))
_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`|'(?:[^'\\\n]|\\.)+')
      | (?P<end>(?:(?<=\s)-)?\}\})
      | (?P<number>[-+]?(?:0[xX][0-9a-fA-F_]+|\d[\d_]*\.?\d*(?:[eE][-+]?\d+)?|\.\d+)i?)
      | (?P<field>\.[^\W\d]\w*)
      | (?P<variable>\$\w*)
      | (?P<word>[^\W\d]\w*)
      | (?P<sign>:=|=|\||\(|\)|,|\.)
      | (?P<other>.)""",
    re.VERBOSE,
)


_SIMPLE = re.compile(r"\{\{ ?(?:\$labels\.([a-zA-Z_]\w*)|\$value(?: ?\| ?humanize(?:1024|Duration|Percentage)?)?) ?\}\}", re.ASCII)
_COMMENT_END = re.compile(r"\*/(?:\s-)?\}\}")


class TemplateFault(Exception):
    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class Use(t.NamedTuple):
    """A label that a template reads from $labels or .Labels."""

    label: str
    offset: int


def read(text: str) -> list[Use]:
    """The labels it uses; TemplateFault for what Prometheus refuses to load."""
    if "{{" not in text:
        return []
    # most templates hold nothing else
    if "{{" not in _SIMPLE.sub("", text):
        return [Use(match.group(1), match.start(1) - len("$labels.")) for match in _SIMPLE.finditer(text) if match.group(1)]
    uses: list[Use] = []
    blocks: list[tuple[str, int, set[str]]] = []  # keyword, offset, variables before it
    variables = set(GIVEN)
    position = 0
    while True:
        start = text.find("{{", position)
        if start < 0:
            break
        inside = start + 2
        if text.startswith("- ", inside) or text.startswith("-\t", inside) or text.startswith("-\n", inside) or text.startswith("-/*", inside):
            inside += 1
        # "{{- /*" or "{{/*"
        comment = inside + (inside > start + 2 and text[inside : inside + 1].isspace())
        if text.startswith("/*", comment):
            end = _COMMENT_END.match(text, max(text.find("*/", comment + 2), 0))
            if end is None:
                raise TemplateFault("a comment is not closed", start)
            position = end.end()
            continue
        tokens, position = _action(text, inside, start)
        variables = _statement(tokens, start, blocks, variables)
        uses += _uses(tokens, variables)
    if blocks:
        keyword, start, _before = blocks[-1]
        raise TemplateFault(f"{{{{ {keyword} }}}} has no {{{{ end }}}}", start)
    return uses


Token = tuple[str, str, int]


def _action(text: str, position: int, start: int) -> tuple[list[Token], int]:
    tokens: list[Token] = []
    depth = 0
    while True:
        match = _TOKEN.match(text, position)
        if match is None:
            raise TemplateFault("an action is not closed by }}", start)
        kind, value, position = str(match.lastgroup), match.group(), match.end()
        if kind == "end":
            if depth:
                raise TemplateFault("a parenthesis is not closed", start)
            return tokens, position
        if kind == "other":
            raise TemplateFault(f"unexpected {value!r} in an action", match.start())
        if value in "()" and kind == "sign":
            depth += 1 if value == "(" else -1
            if depth < 0:
                raise TemplateFault("unexpected right parenthesis", match.start())
        tokens.append((kind, value, match.start()))


def _statement(tokens: list[Token], start: int, blocks: list[tuple[str, int, set[str]]], variables: set[str]) -> set[str]:
    """Checks one action, keeps the blocks' stack, and returns the variables that hold behind it."""
    plain = [token for token in tokens if token[0] != "space"]
    if not plain:
        raise TemplateFault("an action is empty", start)
    kind, word, place = plain[0]
    if kind == "word" and word == "end":
        if not blocks:
            raise TemplateFault("an end closes nothing", start)
        if len(plain) > 1:
            raise TemplateFault(f"unexpected {plain[1][1]!r} behind end", plain[1][2])
        return blocks.pop()[2]
    if kind == "word" and word == "else":
        if not blocks or blocks[-1][0] not in ("if", "range", "with", "else if"):
            raise TemplateFault("an else is in no if, range or with", start)
        opened, opened_at, before = blocks.pop()
        follows = plain[1][1] if len(plain) > 1 else ""
        if not follows:
            blocks.append(("else", opened_at, before))
            return set(before)
        if follows not in ("if", "with"):
            raise TemplateFault(f"unexpected {follows!r} behind else", plain[1][2])
        blocks.append((opened, opened_at, before))
        return _pipeline(tokens[tokens.index(plain[1]) + 1 :], place, set(before))
    if kind == "word" and word in ("break", "continue"):
        if not any(block[0] == "range" for block in blocks):
            raise TemplateFault(f"{{{{ {word} }}}} is in no range", start)
        return variables
    if kind == "word" and word in ("template", *BLOCKS):
        rest = tokens[tokens.index(plain[0]) + 1 :]
        if word in ("define", "template", "block"):
            if len(plain) < 2 or plain[1][0] != "string":
                raise TemplateFault(f"{word} needs a name in quotes", place)
            rest = tokens[tokens.index(plain[1]) + 1 :]
            if word == "define":
                if blocks:
                    raise TemplateFault("define is inside of another block", place)
                if len(plain) > 2:
                    raise TemplateFault(f"unexpected {plain[2][1]!r} behind define", plain[2][2])
                blocks.append((word, start, variables))
                return {"$"}
        before = set(variables)
        if word != "template" or any(token[0] != "space" for token in rest):
            variables = _pipeline(rest, place, variables, assigns=2 if word == "range" else 1)
        if word != "template":
            blocks.append((word, start, before))
        return variables
    return _pipeline(tokens, start, variables)


def _pipeline(tokens: list[Token], start: int, variables: set[str], assigns: int = 1) -> set[str]:
    plain = [token for token in tokens if token[0] != "space"]
    if not plain:
        raise TemplateFault("a value is missing", start)
    values = [token[1] for token in plain]
    declared: list[str] = []
    for number in range(1, assigns + 1):
        sign = values[2 * number - 1] if len(values) > 2 * number - 1 else ""
        if sign in (":=", "=") and all(plain[2 * item][0] == "variable" for item in range(number)):
            declared = values[0 : 2 * number : 2]
            if sign == "=" and any(name not in variables for name in declared):
                raise TemplateFault(f"undefined variable {declared[0]!r}", plain[0][2])
            plain = plain[2 * number :]
            break
    if not plain:
        raise TemplateFault("a value is missing", start)
    expects = True  # an operand: at the beginning, behind | and (
    previous, previous_end = "", -1
    for kind, value, place in plain:
        if kind == "sign":
            if value in (":=", "=", ","):
                raise TemplateFault(f"unexpected {value!r}", place)
            if expects and (value == "|" or (value == ")" and previous == "(")):
                raise TemplateFault(f"a value is missing before {value!r}", place)
            if value == "." and previous_end == place:
                raise TemplateFault("unexpected '.'", place)
            expects = value in "|("
        else:
            if kind == "word" and value not in FUNCTIONS and value not in ("true", "false", "nil"):
                raise TemplateFault(f'function "{value}" not defined', place)
            if kind == "variable" and value not in variables:
                raise TemplateFault(f"undefined variable {value!r}", place)
            if kind in ("string", "number", "word", "variable") and previous_end == place:
                raise TemplateFault(f"unexpected {value!r}: a space is missing", place)
            expects = False
        previous_end = place + len(value) if kind != "sign" or value in ".)" else -1
        previous = value
    # Go lets a pipe end in nothing
    if expects and previous != "|":
        raise TemplateFault("a value is missing at the end", plain[-1][2])
    stages = _stages(plain)
    for stage in stages[1:]:
        if stage[0][0] in ("string", "number") or stage[0][1] in ("true", "false", "nil"):
            raise TemplateFault(f"{stage[0][1]} can not stand behind |: it is no function", stage[0][2])
    if len(stages) == 1 and [token[1] for token in stages[0]] == ["nil"]:
        raise TemplateFault("nil is no command", stages[0][0][2])
    return variables | set(declared)


def _stages(plain: list[Token]) -> list[list[Token]]:
    stages: list[list[Token]] = [[]]
    depth = 0
    for token in plain:
        depth += (token[1] == "(") - (token[1] == ")")
        if token[1] == "|" and depth == 0:
            stages.append([])
        else:
            stages[-1].append(token)
    return [stage for stage in stages if stage]


def _uses(tokens: list[Token], variables: set[str]) -> t.Iterator[Use]:
    for number, (kind, value, place) in enumerate(tokens):
        follow = tokens[number + 1] if number + 1 < len(tokens) else ("", "", 0)
        if (kind == "variable" and value == "$labels") or (kind == "field" and value == ".Labels"):
            if follow[0] == "field":
                yield Use(follow[1][1:], place)
            elif follow[0] == "space" and number >= 1:
                before = [token for token in tokens[:number] if token[0] != "space"]
                after = [token for token in tokens[number + 1 :] if token[0] != "space"]
                if before and before[-1][1] == "index" and after and after[0][0] == "string":
                    yield Use(after[0][1][1:-1], place)
