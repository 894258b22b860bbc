# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.scs.observer.plugins.doc_fragments.query_url import ModuleDocFragment
from ansible_collections.scs.observer.plugins.module_utils import _rules_options, _url_access
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._rules_checks import CHECKS
from ansible_collections.scs.observer.plugins.modules import alert_rules_check, promql_info

PAGE = pathlib.Path(__file__).resolve().parents[4] / "docs" / "alert_rules_check.md"


def table() -> str:
    rows = ["| check | severity | judge | what it finds | pint's names |", "|---|---|---|---|---|"]
    for name, check in CHECKS.items():
        judge = "Prometheus" if check.verdict else ""
        rows.append(f"| `{name}` | {check.severity} | {judge} | {check.what.replace('|', chr(92) + '|')} | {', '.join(f'`{pint}`' for pint in check.pint)} |")
    return "\n".join(rows)


def test_the_page_lists_all_checks():
    text = PAGE.read_text()
    begin, end = "<!-- checks -->\n", "\n<!-- end -->"
    old = text[text.index(begin) + len(begin) : text.index(end)] if begin + "<!-- end -->" not in text else ""
    if os.environ.get("SCS_OBSERVER_WRITE"):
        PAGE.write_text(text.replace(begin + (old + end if old else "<!-- end -->"), begin + table() + end))
        return
    assert old == table(), "Write it anew: SCS_OBSERVER_WRITE=1 pytest on this file"


def test_options_and_documentation_agree_with_promql_info():
    """The third copy would be one too many: these are options of one meaning."""
    assert promql_info.ACCESS_SPEC == _url_access.ACCESS_SPEC
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    assert documented.keys() == _url_access.ACCESS_SPEC.keys()


def params(**given: t.Any) -> dict[str, t.Any]:
    defaults = {name: about.get("default") for name, about in alert_rules_check.ARGUMENT_SPEC.items()}
    return {**defaults, **given}


def test_defaults_are_valid():
    options = _rules_options.options_from(params(rules=["groups: []", {"groups": [{"name": "ü", "rules": []}]}]))
    assert options.settings.scrape_interval == 30 and options.settings.max_group_interval == 300
    assert '"name": "ü"' in options.rules[1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"timeout": 0}, "timeout is 0"),
        ({"scrape_interval": "soon"}, "scrape_interval is soon"),
        ({"max_group_interval": "0"}, "max_group_interval is 0"),
        ({"required_labels": {"severity": "warning"}}, "required_labels"),
        ({"clusterless": ["sum(x)"]}, "clusterless"),
    ],
)
def test_wrong_options(given, message):
    with pytest.raises(ObserverError, match=message):
        _rules_options.options_from(params(**given))
