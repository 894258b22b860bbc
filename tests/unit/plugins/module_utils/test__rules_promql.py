# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _rules_promql


@pytest.mark.parametrize(
    "expr",
    [
        "x{a='b',}",
        "1_000 + 0x_F",
        "sum by (a,) (x)",
        "x[5m:1m] offset -5m @ start()",
        '{"http.requests", a="b"}',
        "a atan2 on (b) group_left (c) d",
        'x{a="1_0"} > 1_0',
    ],
)
def test_what_prometheus_accepts(expr):
    assert not _rules_promql.parse(expr).experimental


@pytest.mark.parametrize(
    "expr", ["rate(up)", "sum(", 'x{a="b" or c="d"}', "clamp(x, 1)", "nope(x)", "1__0", "1_", '{a=""}', "a and on () group_left () b", "1 > 2"]
)
def test_what_prometheus_refuses(expr):
    with pytest.raises(_rules_promql.SyntaxFault) as caught:
        _rules_promql.parse(expr)
    assert not caught.value.unsure and not caught.value.feature


@pytest.mark.parametrize(("expr", "feature"), [("sort_by_label(x, 'a')", "functions"), ("limitk(1, x)", "functions"), ("a + fill (0) b", "fill")])
def test_experimental(expr, feature):
    assert feature in _rules_promql.parse(expr).features[0]


def test_what_only_the_parser_does_not_know_is_left_to_promtool():
    for expr in ("rate(x[5m+1m])", "x offset (5m * 2)", "x </ 5"):
        with pytest.raises(_rules_promql.SyntaxFault) as caught:
            _rules_promql.parse(expr)
        assert caught.value.unsure
    with pytest.raises(_rules_promql.SyntaxFault) as caught:
        _rules_promql.parse("rate(x[5m] anchored)")
    assert caught.value.feature == _rules_promql.RANGES


@pytest.mark.parametrize("expr", ["+".join(["x"] * 100_000), "(" * 100_000 + "x" + ")" * 100_000, "-" * 100_000 + "x"])
def test_deep_expressions_do_not_end_the_process(expr):
    with pytest.raises(_rules_promql.SyntaxFault, match="operators") as caught:
        _rules_promql.parse(expr)
    assert caught.value.unsure


def test_each_node_is_found_in_the_text():
    expr = """(
      sum by (sum, rate) (rate(count{a="sum(x)"}[5m])) # max(y)
        / on (rate) group_left (b)
      max without (x) (-metric offset 5m) > -1
    ) and topk(2, {a="}"}) unless count_values by (a) ("x", z @ start()) or inf * label_replace(q, "a", "b - c", "", "")"""
    texts = {
        ("aggregate", "sum"): "sum by",
        ("aggregate", "max"): "max without",
        ("aggregate", "topk"): "topk(",
        ("aggregate", "count_values"): "count_values by",
        ("call", "rate"): "rate(count",
        ("call", "label_replace"): "label_replace(",
        ("selector", "count"): "count{",
        ("selector", "metric"): "metric offset",
        ("selector", ""): '{a="}"}',
        ("selector", "z"): "z @",
        ("selector", "q"): "q, ",
        ("binary", "/"): "/ on",
        ("binary", ">"): "> -1",
        ("binary", "and"): "and topk",
        ("binary", "unless"): "unless ",
        ("binary", "or"): "or inf",
        ("binary", "*"): "* label",
    }
    nodes = [node for node in _rules_promql.parse(expr).root.walk() if node.kind in ("aggregate", "call", "selector", "binary")]
    assert len(nodes) == len(texts)
    for node in nodes:
        assert expr[_rules_promql.offset(expr, node) :].startswith(texts[node.kind, node.name]), (node.kind, node.name)


@pytest.mark.parametrize(
    ("expr", "has", "lacks"),
    [
        ("up", "job cluster", ""),
        ('up{job=""}', "cluster", "job"),
        ("sum by (a, b) (x)", "a b", "c"),
        ("sum without (a) (x)", "b", "a"),
        ("sum(x)", "", "a"),
        ("topk(1, x)", "a", ""),
        ('count_values("v", x)', "v", "a"),
        ("sum by (a) (x) * on (a) group_left (b) y", "a b", "c"),
        ("x / on (a) y", "a", "b"),
        ("x / ignoring (a) y", "b", "a"),
        ("sum by (a) (x) or sum by (b) (y)", "a b", "c"),
        ("x and on (a) y", "a b", ""),
        ('absent(x{a="1",b=~"2"})', "a", "b c"),
        ("vector(1)", "", "a"),
        ('label_replace(sum by (a) (x), "b", "", "", "")', "a b", "c"),
        ("histogram_quantile(0.9, sum by (le, a) (x))", "a", "le"),
        ("2 * sum by (a) (x)", "a", "b"),
        ("time()", "", "a"),
    ],
)
def test_labels_of_a_result(expr, has, lacks):
    labels = _rules_promql.labels_of(_rules_promql.parse(expr).root)
    assert all(labels.has(name) for name in has.split())
    assert not any(labels.has(name) for name in lacks.split())
