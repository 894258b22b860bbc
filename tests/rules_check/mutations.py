# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Breaks a rule file in one place, as people do: typing errors, wrong indentation, wrong words, lost and doubled lines."""

from __future__ import annotations

import random
import typing as t

WORDS = (
    ("expr:", "exp:"),
    ("alert:", "alerts:"),
    ("alert:", "record:"),
    ("record:", "alert:"),
    ("record:", "record: a\n        alert:"),
    ("for: 5m", "for: 5"),
    ("for: 10m", "for: 10 m"),
    ("for: 15m", "for: soon"),
    ("interval: 1m", "interval: 1m1h"),
    ("interval: 1m", "interval: -1m"),
    ("interval: 1m", "interval: 99999999y"),
    ("limit: 10", 'limit: "10"'),
    ("limit: 10", "limit: 1.5"),
    ("limit: 10", "limit: many"),
    ("limit: 10", "limit: [1]"),
    ("labels:", "label:"),
    ("labels:", "__name__:"),
    ("severity:", "__name__:"),
    ("severity:", "sever-ity:"),
    ("severity: warning", "severity: [warning]"),
    ("severity: warning", "severity: {a: b}"),
    ("severity: warning", "severity: 1"),
    ("severity: warning", "severity:"),
    ("annotations:", "annotations: none\n        x:"),
    ("annotations:", "Annotations:"),
    ("groups:", "group:"),
    ("groups:", "groups: {}\nx:"),
    ("- name: registry", "- name: nodes"),
    ("- name: registry", "- name:"),
    ("- name: registry", "- nam: registry"),
    ("- name: registry", '- name: ""'),
    ("- name: registry", "- name: registry\n    partial_response_strategy: abort"),
    ("rules:", "rules: []\n    rule:"),
    ("rules:", "rules: text\n    x:"),
    ("sum by", "sun by"),
    ("sum by", "sum bye"),
    ("avg by", "average by"),
    ("rate(", "rates("),
    ("rate(", "rate(1, "),
    ("rate(", "sort_by_label("),
    ("max by", "limitk by"),
    ("timestamp(", "histogram_quantile("),
    ("[5m]", ""),
    ("[5m]", "[5]"),
    ("[5m]", "[5x]"),
    ("[5m]", "[0s]"),
    ("[5m]", "[1h5m]"),
    ("[5m]", "[5m1h]"),
    ("[5m]", "[5m"),
    ("[5m]", "[5m+1m]"),
    ("[5m]", "[5m] anchored"),
    ("[5m:30s]", "[:30s]"),
    ("offset 1m", "offset"),
    ("offset 1m", "offset -1m"),
    ("offset 1m", "offset 1m offset 1m"),
    ("> 0.9", "> bool 0.9"),
    ("> 0.9", "> 0.9 > "),
    ("> 0.9", "> 1_000"),
    ("> 0.9", ">> 0.9"),
    ("> 0.9", '> "0.9"'),
    ("> 1.5", "=> 1.5"),
    (">= bool 0", ">= 0"),
    ("2 * 60", "2 > 60"),
    ("2 * 60", "2 ** 60"),
    ("2 * 60", "0x1F"),
    ("time()", "time(1)"),
    ("group_left (node)", "group_left node"),
    ("group_left (node)", "group_left (pod)"),
    ("group_left (node)", "group_middle (node)"),
    ("unless on (cluster)", "unless on (cluster) group_left ()"),
    ("unless on (cluster)", "unless by (cluster)"),
    ("unless on (cluster)", "unless on cluster"),
    ("unless on (cluster)", "and bool"),
    ('mode="idle"', "mode=idle"),
    ('mode="idle"', 'mode=="idle"'),
    ('mode="idle"', 'mode="idle" or mode="iowait"'),
    ('mode="idle"', 'mode="idle",'),
    ('mode="idle"', 'mode=~"(idle"'),
    ('mode="idle"', 'mode=~"(?!idle)"'),
    ('mode="idle"', 'mode="idle'),
    ('mode="idle"', '__name__="x"'),
    ('image=~".+"', 'image=~"*"'),
    ('{infrastructure=""}', '{infrastructure=""'),
    ("(kaas_maintenance{", "({"),
    ("(kaas_maintenance", '({"kaas.maintenance"}) + ({"x"'),
    ("{{ $labels.instance }}", "{{ $labels.instance }"),
    ("{{ $labels.instance }}", "{{ $label.instance }}"),
    ("{{ $labels.instance }}", "{{ labels.instance }}"),
    ("{{ $labels.instance }}", "{{ .labels.instance }}"),
    ("{{ $labels.instance }}", "{{ $labels.instance | upper }}"),
    ("{{ $labels.instance }}", '{{ $labels.instance | "x" }}'),
    ("{{ $labels.instance }}", "{{ $labels['instance'] }}"),
    ("{{ $labels.instance }}", "{{ }}"),
    ("{{ $labels.cluster }}", "{{ $labels.cluster | toUpper | }}"),
    ("{{ $labels.cluster }}", "{{ ($labels.cluster }}"),
    ("{{ $labels.cluster }}", "{% raw %}{{ $labels.cluster }}"),
    ("{{ end }}", ""),
    ("{{ end }}", "{{ end }}{{ end }}"),
    ("{{ end }}", "{{ endif }}"),
    ("{{ else }}", "{{ else }}{{ else }}"),
    ("{{ else }}", "{{ elseif true }}"),
    ("{{ else }}", "{{ else if true }}"),
    ("{{ if eq", "{{ if"),
    ("{{ if eq", "{{ if eq ("),
    ("{{ range", "{{ for"),
    ("{{- /* a comment */ -}}", "{{- /* a comment -}}"),
    ("{{- /* a comment */ -}}", "{{ /* a comment */ }}"),
    ("$index, $element :=", "$index, $element"),
    ("$index, $element :=", "$element :="),
    ("for: 5m", "for: 5m\n        annotations: {a: b}\n        record: x"),
    ("cluster:maintenance:max", "cluster maintenance"),
    ("cluster:maintenance:max", "max(kaas_maintenance)"),
    ("cluster:maintenance:max", "a{b}"),
    ("alert: ClusterSilent", "alert: [ClusterSilent]"),
    ("alert: ClusterSilent", "alert: ''"),
    ("alert: ClusterSilent", "alert: Cluster Silent"),
    ("- alert: SampleOld", "-"),
    ("- alert: SampleOld", "- alert: &a SampleOld"),
    ("- alert: SampleOld", "- alert: *a"),
    ("|-", "|9"),
    (">-", "]"),
)


def mutations(text: str, seed: int) -> t.Iterator[str]:
    """Without end: first each word in each place that fits, in a random order, then breaks of any kind."""
    random_ = random.Random(seed)
    words = list(WORDS)
    random_.shuffle(words)
    for old, new in words:
        places = [place for place in range(len(text)) if text.startswith(old, place)]
        if not places:
            raise ValueError(f"{old!r} is not in the text")
        place = random_.choice(places)
        yield text[:place] + new + text[place + len(old) :]
    while True:
        yield random_.choice((_sign, _lost_sign, _line, _indent, _twice, _cut))(text, random_)


def _sign(text: str, random_: random.Random) -> str:
    place = random_.randrange(len(text))
    return text[:place] + random_.choice("{}[]()\"'`:,#&*!|>%@-=~\t\\$.\u00e9") + text[place:]


def _lost_sign(text: str, random_: random.Random) -> str:
    place = random_.choice([number for number, sign in enumerate(text) if not sign.isspace()])
    return text[:place] + text[place + 1 :]


def _line(text: str, random_: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    del lines[random_.randrange(len(lines))]
    return "".join(lines)


def _indent(text: str, random_: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    number = random_.randrange(len(lines))
    lines[number] = random_.choice((" " + lines[number], "  " + lines[number], lines[number][1:], lines[number].lstrip(" ")))
    return "".join(lines)


def _twice(text: str, random_: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    number = random_.randrange(len(lines))
    return "".join([*lines[:number], lines[number], *lines[number:]])


def _cut(text: str, random_: random.Random) -> str:
    return text[: random_.randrange(len(text))]
