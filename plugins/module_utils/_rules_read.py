# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: YAML files into trees whose nodes know where they stand; with bounds, for files may be anything."""

from __future__ import annotations

import bisect
import codecs
import dataclasses
import glob
import itertools
import os
import pathlib
import stat
import typing as t

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

try:
    import yaml

    # pure Python's reads the same, ten times slower
    LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    IMPORT_ERROR: ImportError | None = None
except ImportError as error:
    IMPORT_ERROR = error

SUFFIXES = (".yaml", ".yml", ".json", ".rules")
MAX_NODES = 1_000_000
MAX_DEPTH = 100
BLOCK = ("|", ">")


class Unreadable(Exception):
    """A text that is no YAML, or too much of it; C(check) is the check that finds this."""

    def __init__(self, check: str, message: str, remedy: str, place: tuple[int, int] = (1, 1)) -> None:
        super().__init__(message)
        self.check, self.message, self.remedy, self.place = check, message, remedy, place


class Node:
    """kind is scalar, map or list; children of a map are pairs of nodes. Lines and columns count from 0."""

    __slots__ = ("children", "column", "end_line", "index", "kind", "line", "style", "tag", "value")

    def __init__(self, kind: str, event: t.Any) -> None:
        mark = event.start_mark
        self.kind, self.index, self.line, self.column = kind, mark.index, mark.line, mark.column
        self.end_line: int = mark.line
        self.children: list[t.Any] = []
        self.value: str = ""
        self.style: str | None = None
        self.tag: str | None = event.tag

    @property
    def null(self) -> bool:
        return self.kind == "scalar" and not self.style and self.tag is None and self.value in ("", "~", "null", "Null", "NULL")


@dataclasses.dataclass(frozen=True)
class Document:
    root: Node
    duplicates: tuple[tuple[Node, Node], ...]  # key, and the same key before


class Source:
    """A text and the place it has in its file; a rule file inside a ConfigMap has an outer source."""

    def __init__(self, name: str, text: str, outer: Source | None = None, node: Node | None = None) -> None:
        self.name, self.text, self._outer, self._node = name, text, outer, node
        self._starts: list[int] | None = None
        self._indent = 0
        if outer is not None and node is not None and node.style == "|":
            first = next((number for number, line in enumerate(text.split("\n")) if line.strip()), 0)
            given, inner = outer.line_text(node.line + 1 + first), text.split("\n")[first]
            self._indent = max(len(given) - len(inner), 0)

    def _line_starts(self) -> list[int]:
        if self._starts is None:
            lengths = (len(line) for line in self.text.splitlines(keepends=True))
            self._starts = [0, *itertools.accumulate(lengths)]
        return self._starts

    def line_text(self, line: int) -> str:
        starts = self._line_starts()
        return self.text[starts[line] : starts[line + 1]].rstrip("\r\n") if 0 <= line < len(starts) - 1 else ""

    def line_of(self, index: int) -> int:
        return max(bisect.bisect_right(self._line_starts(), index) - 1, 0)

    def place(self, line: int, column: int) -> tuple[int, int]:
        """Line and column in the file, from 1."""
        if self._outer is None or self._node is None:
            return line + 1, column + 1
        if self._node.style == "|":
            return self._outer.place(self._node.line + 1 + line, column + self._indent)
        return self._outer.place(self._node.line, self._node.column)

    def place_in(self, node: Node, offset: int) -> tuple[int, int]:
        """The place of a character of a scalar's value.

        Folding, indentation and chomping change white space only, so the other characters are counted.
        """
        if offset <= 0 and node.style not in BLOCK:
            return self.place(node.line, node.column + (1 if node.style else 0))
        wanted = sum(not sign.isspace() for sign in node.value[:offset])
        start = node.index
        if node.style in BLOCK:
            start = self.text.find("\n", node.index) + 1
        elif node.style:
            start += 1
        text, position = self.text, start
        while position < len(text):
            sign = text[position]
            if not sign.isspace():
                if wanted == 0:
                    break
                wanted -= 1
                if (sign == "\\" and node.style == '"') or (sign == "'" and node.style == "'"):
                    position += 1
            position += 1
        line = self.line_of(position)
        return self.place(line, position - self._line_starts()[line])


def expand(paths: t.Iterable[str], option: str) -> list[str]:
    """Files, folders (all YAML files in them) and globs, each file once; an entry that gives nothing is an error."""
    found: dict[str, None] = {}
    for given in paths:
        path = pathlib.Path(given).expanduser()
        if path.is_dir():
            inside = sorted(str(file) for file in path.rglob("*") if file.suffix in SUFFIXES and not file.is_dir())
            if not inside:
                raise ObserverError(f"{option}: the folder {given} has no file that ends in {', '.join(SUFFIXES)}. Check the path.")
        elif path.exists() or path.is_symlink():
            inside = [str(path)]
        elif glob.has_magic(given):
            # pathlib's has no absolute patterns
            matching = glob.glob(str(path), recursive=True)  # noqa: PTH207
            inside = sorted(file for file in matching if not pathlib.Path(file).is_dir())
            if not inside:
                raise ObserverError(f"{option}: the pattern {given} matches no file. Check it; relative ones begin at {pathlib.Path.cwd()}.")
        else:
            raise ObserverError(f"{option}: {given} does not exist. Check the path; relative ones begin at {pathlib.Path.cwd()}.")
        found.update(dict.fromkeys(inside))
    return list(found)


def read(path: str, max_size: int) -> str:
    """A file's text. max_size is in bytes."""
    remedy = "Take it out of paths."
    try:
        # not blocking, for opening a FIFO would wait for a writer
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise Unreadable("file", "This is not a regular file.", remedy)
            if about.st_size > max_size:
                raise Unreadable("file", too_large(about.st_size, max_size), "Split it into files by component, or raise max_file_size.")
            content = file.read(max_size + 1)
    except OSError as error:
        raise Unreadable("file", f"The file can not be read: {error.strerror}.", "Check its permissions and links.") from error
    return decode(content)


def too_large(size: int, max_size: int) -> str:
    return f"The file has {size / 2**20:.1f} MiB, more than the {max_size / 2**20:g} MiB that a rule file may have here."


def decode(content: bytes) -> str:
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        message = f"The file is not text: byte {error.start + 1} is not UTF-8."
        raise Unreadable("file", message, "Take it out of paths, or save it as UTF-8.") from error
    if "\0" in text:
        raise Unreadable("file", "The file is not text: it holds zero bytes.", "Take it out of paths.")
    return text


def documents(text: str) -> t.Iterator[Document]:
    """The YAML documents of a text, one by one, so that those before a broken one are known."""
    if IMPORT_ERROR is not None:
        raise ObserverError(f"The Python library PyYAML can not be used where this task runs ({IMPORT_ERROR}). Install it there: pip install PyYAML.")
    try:
        yield from _compose(yaml.parse(text, Loader=LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        raise Unreadable("yaml", f"This is not YAML: {what}.", "Correct the syntax.", (mark.line + 1, mark.column + 1) if mark else (1, 1)) from error
    except yaml.YAMLError as error:
        raise Unreadable("yaml", f"This is not YAML: {' '.join(str(error).split())}.", "Correct the syntax.") from error


def _compose(events: t.Iterable[t.Any]) -> t.Iterator[Document]:
    """Own composer, for PyYAML's has no bounds. Aliases share their node, so a bomb of them stays small here."""
    anchors: dict[str, Node] = {}
    stack: list[tuple[Node, str | None, list[Node]]] = []
    duplicates: list[tuple[Node, Node]] = []
    count = 0
    for event in events:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            node = Node("scalar", event)
            node.value, node.style, node.end_line = event.value, event.style or None, event.end_mark.line
            if node.style in BLOCK and node.end_line > node.line:
                # the mark is behind empty lines and comments
                node.end_line = node.line + 1 + event.value.rstrip("\n").count("\n")
            anchor = event.anchor
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            if len(stack) >= MAX_DEPTH:
                place = (event.start_mark.line + 1, event.start_mark.column + 1)
                raise Unreadable("yaml", f"The YAML is nested deeper than {MAX_DEPTH} levels.", "This is no rule file: take it out of paths.", place)
            stack.append((Node("map" if kind is yaml.MappingStartEvent else "list", event), event.anchor, []))
            continue
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            node, anchor, items = stack.pop()
            if node.kind == "map":
                node.children = list(zip(items[::2], items[1::2], strict=True))
                duplicates += _duplicates(node)
            else:
                node.children = items
            node.end_line = items[-1].end_line if items else event.end_mark.line
        elif kind is yaml.AliasEvent:
            if event.anchor not in anchors:
                place = (event.start_mark.line + 1, event.start_mark.column + 1)
                raise Unreadable("yaml", f"The alias *{event.anchor} stands for nothing that ends before it.", f"Define &{event.anchor} above.", place)
            node, anchor = anchors[event.anchor], None
        elif kind is yaml.DocumentStartEvent:
            anchors, duplicates = {}, []
            continue
        else:
            continue
        count += 1
        if count > MAX_NODES:
            place = (event.start_mark.line + 1, event.start_mark.column + 1)
            raise Unreadable("yaml", f"The file holds more than {MAX_NODES} YAML nodes.", "Split it into files by component.", place)
        if anchor:
            anchors[anchor] = node
        if stack:
            stack[-1][2].append(node)
        else:
            yield Document(node, tuple(duplicates))


def _duplicates(node: Node) -> t.Iterator[tuple[Node, Node]]:
    keys: dict[str, Node] = {}
    for key, _value in node.children:
        if key.kind == "scalar" and key.value != "<<":
            if key.value in keys:
                yield key, keys[key.value]
            keys[key.value] = key
