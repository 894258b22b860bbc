# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same expressions are given to a real exporter by tests/integration/test_observer_services.py."""

from __future__ import annotations

import pytest
from _regexps import BAD, GOOD
from ansible_collections.scs.observer.plugins.module_utils import _go_regexp


@pytest.mark.parametrize("pattern", GOOD)
def test_what_go_takes(pattern):
    assert _go_regexp.problem(pattern) is None


@pytest.mark.parametrize("pattern", BAD)
def test_what_go_refuses(pattern):
    assert _go_regexp.problem(pattern)


def test_the_reason_is_told():
    assert "look-ahead" in _go_regexp.problem("ok(?=x)")
    assert "look-behind" in _go_regexp.problem("(?<!x)ok")
    assert "reference" in _go_regexp.problem(r"(a)\1")
    assert r"\h" in _go_regexp.problem(r"\h")
    assert "1001" in _go_regexp.problem("a{1001}")
    assert "backslash" in _go_regexp.problem("a\\")
