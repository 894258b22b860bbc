# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: whether selectors find series at a Prometheus or Thanos, many in one query."""

from __future__ import annotations

import itertools
import typing as t

from ansible_collections.scs.observer.plugins.module_utils import _promql
from ansible_collections.scs.observer.plugins.module_utils._rules_promql import Node

BATCH = 40
MARK = "scs_observer_selector"


def written(node: Node) -> str:
    """A selector without offset and range."""
    named = _plain(node.name)
    matchers = [f"{_name(name)}{op}{_quoted(value)}" for name, op, value in node.matchers]
    if node.name and not named:
        matchers.insert(0, _quoted(node.name))
    return f"{node.name if named else ''}{{{','.join(matchers)}}}"


def missing(backend: _promql.Backend, selectors: t.Sequence[str]) -> dict[str, str]:
    """The selectors that find nothing, with an empty text, and those that the server refuses, with its words."""
    found: dict[str, str] = {}
    rest = iter(selectors)
    while batch := list(itertools.islice(rest, BATCH)):
        try:
            present = _ask(backend, batch)
        except _promql.QueryError as error:
            if error.again:
                raise
            # one that is refused spoils the others
            for selector in batch:
                try:
                    if not _ask(backend, [selector]):
                        found[selector] = ""
                except _promql.QueryError as refused:
                    if refused.again:
                        raise
                    found[selector] = str(refused)
            continue
        found.update({selector: "" for number, selector in enumerate(batch) if number not in present})
    return found


def _ask(backend: _promql.Backend, selectors: t.Sequence[str]) -> set[int]:
    parts = (f'label_replace(group({selector}),"{MARK}","{number}","","")' for number, selector in enumerate(selectors))
    answer = _promql.parse(backend.query(" or ".join(parts)), backend.title)
    return {int(series.labels[MARK]) for series in answer.series}


def _plain(name: str) -> bool:
    return bool(name) and name.isascii() and all(sign.isalnum() or sign in "_:" for sign in name) and not name[0].isdigit()


def _name(name: str) -> str:
    return name if _plain(name) and ":" not in name else _quoted(name)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
