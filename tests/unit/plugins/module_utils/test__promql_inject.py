# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random
import time

import _tricky_queries
import pytest
from ansible_collections.scs.observer.plugins.module_utils import _promql_inject
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._promql_inject import METRIC, NUMBER, OTHER, Unclear, inject, matchers

WANTED = matchers(_tricky_queries.MATCHERS)
OURS = {(matcher.label, matcher.op, matcher.value) for matcher in WANTED}


def selectors(query):
    """The matchers of each selector, with the variables filled in."""
    return [node[2] for node in _promql_inject._tree(_promql_inject._fill(query, {}).text, (), True) if node[0] == "VectorSelector"]


@pytest.mark.parametrize(("before", "after"), _tricky_queries.QUERIES)
def test_matchers_go_into_each_selector(before, after):
    assert inject(before, WANTED) == after
    assert all(found >= OURS for found in selectors(after))


@pytest.mark.parametrize("after", [after for _before, after in _tricky_queries.QUERIES])
def test_done_again_it_changes_nothing(after):
    assert inject(after, WANTED) == after


@pytest.mark.parametrize(("query", "reason"), _tricky_queries.LEFT)
def test_what_is_not_clear_is_left(query, reason):
    begin = time.monotonic()
    with pytest.raises(Unclear) as caught:
        inject(query, WANTED)
    assert reason in str(caught.value)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("query", "after"),
    [
        ('a{cluster="x"}', 'a{n="1",cluster="x"}'),
        ('a{cluster="x"} + b', 'a{n="1",cluster="x"} + b{cluster="",n="1"}'),
        ('a{n="2", cluster!=""}', 'a{n="2", cluster!=""}'),
    ],
)
def test_matchers_that_are_there_can_be_kept(query, after):
    assert inject(query, matchers(['cluster=""', 'n="1"']), replace=False) == after


def test_several_matchers_on_one_label():
    wanted = matchers(['a!=""', 'a=~"$a"'])
    once = inject('x{b="1"} + y{c="2", a="3"}', wanted)
    assert once == 'x{a!="",a=~"$a",b="1"} + y{c="2", a!="",a=~"$a"}'
    assert inject(once, wanted) == once
    assert inject('x{a!=""}', wanted) == 'x{a!="",a=~"$a"}'


def test_what_a_variable_stands_for_decides():
    assert inject("a > $x", WANTED, kinds={"x": NUMBER}) == _tricky_queries.expected("a{§} > $x")
    assert inject("a > $x", WANTED, kinds={"x": METRIC}) == _tricky_queries.expected("a{§} > $x{§}")
    with pytest.raises(Unclear, match=r"\$x holds a part of a query"):
        inject("a > $x", WANTED, kinds={"x": OTHER})
    # a function takes one of the two only
    assert inject("sum($x)", WANTED) == _tricky_queries.expected("sum($x{§})")
    assert inject("vector($x) + a", WANTED) == _tricky_queries.expected("vector($x) + a{§}")


def test_variables_that_differ_by_their_form_only_are_replaced():
    assert inject('a{infrastructure=~"${infrastructure}",cluster=""}', WANTED) == 'a{infrastructure=~"$infrastructure",cluster=""}'


@pytest.mark.parametrize("text", ["", "a", 'a="b', 'a="b",c="d"', 'a="b"}', '__name__="up"', 'a=~"("', '"up"', "a=$b or", '{a="b"}'])
def test_what_is_no_matcher_is_refused(text):
    with pytest.raises(ObserverError, match="is not a matcher of PromQL"):
        matchers([text])


def test_a_query_that_would_change_more_is_left(monkeypatch):
    """The proof after the edit: an editor that errs is found out."""
    monkeypatch.setattr(_promql_inject, "_edits", lambda *_arguments: [(0, 0, "2 * ")])
    with pytest.raises(Unclear, match="could not be put in without changing more"):
        inject("a", WANTED)
    monkeypatch.setattr(_promql_inject, "_edits", lambda *_arguments: [(1, 1, '{cluster=""}')])
    with pytest.raises(Unclear, match="could not be put in without changing more"):
        inject("a", WANTED)


def _random_query(dice, depth=0):
    """PromQL with variables in most places."""
    name = dice.choice(["up", "a:b", "node_${x}_total", "sum", "$metric"])
    braces = dice.choice(["", "{}", '{a=~"$b"}', "{c!='}', }", '{cluster="$c",d="e"}'])
    if name == "$metric" and not braces:
        braces = '{a="b"}'
    selector = name + dice.choice(["", " "]) * bool(braces) + braces
    if depth > 3:
        return selector
    inner = _random_query(dice, depth + 1)
    return dice.choice(
        [
            selector,
            f"rate({selector}[{dice.choice(['5m', '$__rate_interval', '[[i]]', '${n}s'])}] offset 1h)",
            f"sum by ($by, c) ({inner})",
            f"({inner}) * on (x) group_left (y) ({_random_query(dice, depth + 1)})",
            f"max_over_time(({inner})[$__range:$__interval])",
            f'label_replace({inner}, "x", "$1", "y", "(.*)$")',
            f"topk($n, {inner})",
            f"# {{comment}}\n{inner}",
            f"-({inner}) / $__range_s",
            f"${{agg}}({inner})",
        ]
    )


def test_random_queries():
    dice = random.Random(20261121)
    changed = 0
    unclear: list[str] = []
    for query in [_random_query(dice) for number in range(300)]:
        try:
            after = inject(query, WANTED)
        except Unclear as error:
            unclear.append(str(error))
            continue
        changed += 1
        assert inject(after, WANTED) == after, query
        found = selectors(after)
        assert found, query
        assert all(one >= OURS for one in found), query
        assert [sorted(label for label, _op, _value in one).count("cluster") for one in found] == [1] * len(found), query
    assert changed > 280
    assert all("too many variables" in reason for reason in unclear)
