# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Queries of dashboards in which it is hard to find the selectors, each with what becomes of it.

§ is where the matchers go.
"""

from __future__ import annotations

MATCHERS = ('infrastructure=~"$infrastructure"', 'cluster=""')

# (before, after)
QUERIES: list[tuple[str, str]] = [
    # selectors
    ("up", "up{§}"),
    ("up{}", "up{§}"),
    ("up{ }", "up{§ }"),
    ('up{job="a"}', 'up{§,job="a"}'),
    ('up{job="a",}', 'up{§,job="a",}'),
    ('up{job="a" , }', 'up{§,job="a" , }'),
    ('up {job="a"}', 'up {§,job="a"}'),
    ("up\n{\n  job='a'\n}", "up\n{§,\n  job='a'\n}"),
    ('{__name__=~"node_.*"}', '{§,__name__=~"node_.*"}'),
    ('{__name__="up", job=""}', '{§,__name__="up", job=""}'),
    ('{"a.metric of utf-8 ü", "a label"="b"}', '{§,"a.metric of utf-8 ü", "a label"="b"}'),
    ("cluster:up:sum", "cluster:up:sum{§}"),
    ('a{b="}"}', 'a{§,b="}"}'),
    ("a{b='{', c=`}\"`}", "a{§,b='{', c=`}\"`}"),
    ('a{b="\\"}{"}', 'a{§,b="\\"}{"}'),
    ('a{b=~"(x|y)$", c!~"^$|.+"}', 'a{§,b=~"(x|y)$", c!~"^$|.+"}'),
    ('a{b="#"} # {c="d"}\n + e', 'a{§,b="#"} # {c="d"}\n + e{§}'),
    ('a # {\n{b="c"}', 'a # {\n{§,b="c"}'),
    ('a{ # why {\n b="c" # and }\n}', 'a{§, # why {\n b="c" # and }\n}'),
    # words that are not what they seem
    ("sum(sum)", "sum(sum{§})"),
    ('count(count{a="b"}) by (count)', 'count(count{§,a="b"}) by (count)'),
    ("rate + avg_over_time", "rate{§} + avg_over_time{§}"),
    ("start - end", "start{§} - end{§}"),
    ("inf * nan", "inf * nan"),
    ("1 + 2", "1 + 2"),
    ("vector(time() - 5)", "vector(time() - 5)"),
    # time
    ("a offset 5m", "a{§} offset 5m"),
    ("rate(a[5m] offset -1w)", "rate(a{§}[5m] offset -1w)"),
    ("a @ start() / a @ 1700000000.5", "a{§} @ start() / a{§} @ 1700000000.5"),
    ("max_over_time(rate(a[5m])[1h:1m] @ end() offset 1d)", "max_over_time(rate(a{§}[5m])[1h:1m] @ end() offset 1d)"),
    ('sum by (x) (a{b="c"})[1h:]', 'sum by (x) (a{§,b="c"})[1h:]'),
    ("max_over_time((-a)[5m:] offset 1h)", "max_over_time((-a{§})[5m:] offset 1h)"),
    # operators
    ("a and on (x, y) b unless ignoring (z) c", "a{§} and on (x, y) b{§} unless ignoring (z) c{§}"),
    ("a * on (x) group_left (y, z) b", "a{§} * on (x) group_left (y, z) b{§}"),
    ("a*on(x)group_right b", "a{§}*on(x)group_right b{§}"),
    ("a==bool 1 or -b^2", "a{§}==bool 1 or -b{§}^2"),
    ("a atan2 b % c", "a{§} atan2 b{§} % c{§}"),
    # functions
    ('label_replace(up{a="b"}, "x", "$1:${2}", "y", "(.*):(.*)")', 'label_replace(up{§,a="b"}, "x", "$1:${2}", "y", "(.*):(.*)")'),
    ('label_join(a, "x", "{b}", "y")', 'label_join(a{§}, "x", "{b}", "y")'),
    ('count_values without (x) ("v{", a)', 'count_values without (x) ("v{", a{§})'),
    ("topk(scalar(max(a)), b)", "topk(scalar(max(a{§})), b{§})"),
    ('absent(up{job="a"})', 'absent(up{§,job="a"})'),
    ("histogram_quantile(0.9, sum by (le) (rate(a_bucket[5m])))", "histogram_quantile(0.9, sum by (le) (rate(a_bucket{§}[5m])))"),
    ("SUM BY (x) (a) OR AVG(b)", "SUM BY (x) (a{§}) OR AVG(b{§})"),
    # Grafana's variables
    ('rate(a{b=~"$b"}[$__rate_interval])', 'rate(a{§,b=~"$b"}[$__rate_interval])'),
    ('a{b=~"${b:regex}", c=~"[[c:pipe]]", d="x-$d-y"}', 'a{§,b=~"${b:regex}", c=~"[[c:pipe]]", d="x-$d-y"}'),
    ("max_over_time(a[5m:$__interval]) + avg_over_time(b[$range:${step}])", "max_over_time(a{§}[5m:$__interval]) + avg_over_time(b{§}[$range:${step}])"),
    ("increase(sum(a)[$__interval:] offset -$__interval)", "increase(sum(a{§})[$__interval:] offset -$__interval)"),
    ("increase(a[${__range_s}s]) / $__range_s", "increase(a{§}[${__range_s}s]) / $__range_s"),
    ("rate(a[[[interval]]] offset $back)", "rate(a{§}[[[interval]]] offset $back)"),
    ("sum by ($by, x) (a) / on ($by) group_left ([[more]]) b", "sum by ($by, x) (a{§}) / on ($by) group_left ([[more]]) b{§}"),
    ('$agg by (x) (${function}_over_time($metric{a="b"}[$__range]))', '$agg by (x) (${function}_over_time($metric{§,a="b"}[$__range]))'),
    ("rate(node_${what}_total[5m]) + level:[[what]]:sum", "rate(node_${what}_total{§}[5m]) + level:[[what]]:sum{§}"),
    ("topk($top, rate($metric[5m]))", "topk($top, rate($metric{§}[5m]))"),
    ('a{$filter, $label="x", y=${value:doublequote}}', 'a{§,$filter, $label="x", y=${value:doublequote}}'),
    ("a $operator b @ $__to", "a{§} $operator b{§} @ $__to"),
    ('a{b!~"\\\\$SYS.*|$other"}', 'a{§,b!~"\\\\$SYS.*|$other"}'),
    ("$__interval_ms / 1000", "$__interval_ms / 1000"),
    # matchers on the same labels
    ('a{cluster="x"}', 'a{infrastructure=~"$infrastructure",cluster=""}'),
    ('a{b="c", infrastructure="testbed", d="e"}', 'a{cluster="",b="c", infrastructure=~"$infrastructure", d="e"}'),
    ('a{cluster!="", b="c", cluster=~"$cluster"}', 'a{infrastructure=~"$infrastructure",cluster="", b="c"}'),
    ('a{"cluster"="x"}', 'a{infrastructure=~"$infrastructure",cluster=""}'),
    ('a{cluster="",infrastructure=~"$infrastructure"}', 'a{cluster="",infrastructure=~"$infrastructure"}'),
    ("a{infrastructure=~'$infrastructure', cluster=``}", "a{infrastructure=~'$infrastructure', cluster=``}"),
]

# What is left as it is, and a part of the reason.
LEFT: list[tuple[str, str]] = [
    ("up{", "can not be parsed"),
    ("rate(up)", "can not be parsed: expected type matrix"),
    ('a{b="c"}{d="e"}', "can not be parsed"),
    ('a{b="c", , d="e"}', "can not be parsed"),
    ('a{b="c" or d="e"}', "separated by commas"),
    ("a{b='\\d'}", "unknown escape sequence"),
    ('{job="x"} |= "error"', "can not be parsed"),
    ("SELECT a FROM b", "can not be parsed"),
    ("label_values(a{b})", "unknown function"),
    ("a > $limit", "$limit may be a number or a metric"),
    ("$whole", "$whole may be a number or a metric"),
    # metrics with the names of keywords, which Prometheus takes
    ("by * without", "without changing more"),
    ("+".join(["a"] * 600), "more than 500 operators"),
    (" + ".join(["$agg($x)"] * 12), "too many variables"),
]


def expected(after: str) -> str:
    return after.replace("§", ",".join(MATCHERS))


QUERIES = [(before, expected(after)) for before, after in QUERIES]
