# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: whether Go (RE2) takes a regular expression, told without Go.

What Python's C(re) has and RE2 has not is looked for; what RE2 has besides is put into Python's words; then C(re) judges the rest.
"""

from __future__ import annotations

import re
import typing as t

_GROUPS: t.Final = (
    ("(?=", "a look-ahead"),
    ("(?!", "a look-ahead"),
    ("(?<=", "a look-behind"),
    ("(?<!", "a look-behind"),
    ("(?>", "an atomic group"),
    ("(?(", "a condition"),
    ("(?P=", "a reference to a group"),
    ("(?P>", "a reference to a group"),
    ("(?#", "a comment"),
)
_NAMED = re.compile(r"\(\?P?<[A-Za-z0-9_]+>")
_FLAGS = re.compile(r"\(\?([imsU]*)(-[imsU]+)?([:)])")
_REPEAT = re.compile(r"[*+?]|\{(\d+)(,(\d*))?\}")
_CLASS = re.compile(r"\[:\^?(alnum|alpha|ascii|blank|cntrl|digit|graph|lower|print|punct|space|upper|word|xdigit):\]")
_UNICODE = re.compile(r"\\[pP](?:[CLMNPSZ]|\{\^?[A-Za-z_]+\})")
_HEX = re.compile(r"\\x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\})")
_MOST = 1000


class _Refused(Exception):
    pass


def problem(pattern: str) -> str | None:
    """Why Go refuses it; None when it does not."""
    try:
        re.compile(_translated(pattern))
    except _Refused as refused:
        return str(refused)
    except (re.error, OverflowError, RecursionError) as error:
        return str(error)
    return None


def _translated(pattern: str) -> str:
    out: list[str] = []
    position = 0
    inside = False  # of [...]
    while position < len(pattern):
        char = pattern[position]
        if char == "\\":
            text, position = _escape(pattern, position, inside)
        elif inside:
            text, position = _in_class(pattern, position)
            inside = char != "]"
        elif char == "[":
            inside = True
            text = re.match(r"\[\^?\]?", pattern[position:]).group()  # type: ignore[union-attr]
            position += len(text)
            text = text.replace("]", "\\]")
        elif pattern.startswith("(?", position):
            text, position = _group(pattern, position)
        elif found := _REPEAT.match(pattern, position):
            text, position = _repeat(pattern, found)
        else:
            text, position = char, position + 1
        out.append(text)
    return "".join(out)


def _escape(pattern: str, start: int, inside: bool) -> tuple[str, int]:
    char = pattern[start + 1 : start + 2]
    if not char:
        raise _Refused("it ends with a backslash")
    if char == "Q" and not inside:
        end = pattern.find("\\E", start)
        literal = pattern[start + 2 : end if end >= 0 else len(pattern)]
        return re.escape(literal), end + 2 if end >= 0 else len(pattern)
    if char in "pP":
        found = _UNICODE.match(pattern, start)
        if not found:
            raise _Refused(f"\\{char} is no class of characters")
        return r"\w", found.end()
    if char == "x":
        found = _HEX.match(pattern, start)
        if not found or int(found[1] or found[2], 16) > 0x10FFFF:
            raise _Refused("\\x wants two hex digits, or some in braces")
        return re.escape(chr(int(found[1] or found[2], 16))), found.end()
    if char in "123456789":
        raise _Refused(f"\\{char} is a reference to a group")
    if char == "0":
        return r"\x00", start + 2
    if char == "z" and not inside:
        return r"\Z", start + 2
    if char in ("afnrtvdDsSwW" if inside else "AbBafnrtvdDsSwW") or (char.isascii() and not char.isalnum()):
        return "\\" + char, start + 2
    raise _Refused(f"it does not know \\{char}")


def _in_class(pattern: str, start: int) -> tuple[str, int]:
    if pattern.startswith("[:", start):
        found = _CLASS.match(pattern, start)
        if found:
            return r"\w", found.end()
        if ":]" in pattern[start:]:
            raise _Refused("it does not know " + pattern[start : pattern.index(":]", start) + 2])
    # Python warns of some that stand there twice
    return "\\" + pattern[start] if pattern[start] in "[&|~" else pattern[start], start + 1


def _group(pattern: str, start: int) -> tuple[str, int]:
    for text, what in _GROUPS:
        if pattern.startswith(text, start):
            raise _Refused(f"{text}...) is {what}")
    if found := _NAMED.match(pattern, start):
        return "(", found.end()
    if (found := _FLAGS.match(pattern, start)) and (found[1] or found[2] or found[3] == ":"):
        return "(?:" if found[3] == ":" else "", found.end()
    raise _Refused(f"it does not know {pattern[start : start + 4]}")


def _repeat(pattern: str, found: re.Match[str]) -> tuple[str, int]:
    if max(int(number or 0) for number in (found[1], found[3])) > _MOST:
        raise _Refused(f"{found[0]} repeats more than {_MOST} times")
    end = found.end() + pattern.startswith("?", found.end())
    if again := _REPEAT.match(pattern, end):
        raise _Refused(f"{pattern[found.start() : again.end()]} repeats a repetition")
    return pattern[found.start() : end], end
