# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import inspect
import pathlib

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.scs.observer.plugins.doc_fragments.adopt_dashboard import ModuleDocFragment
from ansible_collections.scs.observer.plugins.filter.adopt_dashboard import FilterModule
from ansible_collections.scs.observer.plugins.module_utils import _dashboard_adopt

FILTERS = FilterModule().filters()
ADOPT, PROBLEMS = FILTERS["adopt_dashboard"], FILTERS["adopt_dashboard_problems"]
BAD = {"title": "T", "uid": "u", "panels": [{"title": "P", "targets": [{"expr": "up", "refId": "A"}, {"expr": "up{", "refId": "B"}]}]}
MATCHERS = {"matchers": ['cluster=""']}


def test_what_can_not_be_adopted_fails_or_is_kept():
    with pytest.raises(AnsibleFilterError, match=r'1 places .* u, panel "P" B \(panels\[0\]\.targets\[1\]\): It can not be parsed'):
        ADOPT(BAD, **MATCHERS)
    exprs = [target["expr"] for target in ADOPT(BAD, on_error="keep", **MATCHERS)["panels"][0]["targets"]]
    assert exprs == ['up{cluster=""}', "up{"]
    (problem,) = PROBLEMS(BAD, **MATCHERS)
    reason = problem.pop("reason")
    assert problem == {"dashboard": "u", "path": "panels[0].targets[1]", "panel": "P", "ref_id": "B", "expr": "up{"}
    assert reason.startswith("It can not be parsed")
    assert PROBLEMS(BAD, on_error="keep") == []


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_errors_are_filter_errors(name):
    with pytest.raises(AnsibleFilterError, match="has no title"):
        FILTERS[name]({})
    with pytest.raises(AnsibleFilterError, match="is not a matcher"):
        FILTERS[name](BAD, matchers=["x"])


def test_on_error_is_checked():
    with pytest.raises(AnsibleFilterError, match="on_error is ignore"):
        ADOPT(BAD, on_error="ignore")


def test_documented_options_and_defaults_are_those_of_the_code():
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    parameters = inspect.signature(_dashboard_adopt.wanted).parameters
    assert set(documented) == set(parameters)
    for name, parameter in parameters.items():
        default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        assert documented[name]["default"] == default, name
    folder = pathlib.Path(inspect.getfile(FilterModule)).parent
    for name in FILTERS:
        assert set(yaml.safe_load((folder / f"{name}.yml").read_text())["DOCUMENTATION"]["options"]) == {"_input", "on_error"}
