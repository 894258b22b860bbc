# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _rules_template


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("plain", []),
        ("{{ $labels.a }} and {{$labels.b}}: {{ $value | humanize }}", ["a", "b"]),
        ('{{ .Labels.a }}{{ index $labels "b" }}', ["a", "b"]),
        ('{{- if eq $labels.a "x" -}} 1 {{ else if true }} 2 {{ else }} 3 {{ end }}', ["a"]),
        ('{{ range $i, $e := query "up" }}{{ $i }} {{ $e.Value }}{{ end }}', []),
        ('{{ with printf "x{a=%q}" .Labels.a | query }}{{ . | first | value }}{{ end }}', ["a"]),
        ("{{/* a comment with }} in it */}}{{- /* another */ -}}", []),
        ('{{ define "x" }}{{ . }}{{ end }}{{ template "x" $labels.a }}', ["a"]),
        ("{{ $x := $value }}{{ $x }}", []),
        ('{{ "}}" }}', []),
    ],
)
def test_templates_and_the_labels_they_use(text, labels):
    assert [use.label for use in _rules_template.read(text)] == labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ $labels.a }", "unexpected"),
        ("{{ $labels.a", "not closed"),
        ("{{ labels.a }}", "not defined"),
        ("{{ cluster }}", "not defined"),
        ("{{ $x }}", "undefined variable"),
        ("{{ if true }}", "no {{ end }}"),
        ("{{ end }}", "closes nothing"),
        ("{{ if }}{{ end }}", "missing"),
        ("{{ else }}", "in no if"),
        ("{{ }}", "empty"),
        ("{{ ( $value }}", "parenthesis"),
        ('{{ $value | "x" }}', "no function"),
        ("{{ | humanize }}", "missing"),
        ("{{ break }}", "no range"),
        ("{{/* x }}", "comment"),
        ("{{ if true }}{{ $y := 1 }}{{ end }}{{ $y }}", "undefined variable"),
    ],
)
def test_what_prometheus_refuses(text, message):
    with pytest.raises(_rules_template.TemplateFault, match=message):
        _rules_template.read(text)
