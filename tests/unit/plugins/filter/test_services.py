# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import inspect
import pathlib

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.scs.observer.plugins.filter.services import FilterModule

FILTERS = FilterModule().filters()


def test_they_answer():
    services = [{"name": "web", "url": "https://a.example"}]
    assert set(FILTERS["service_probes"](services)) == {"modules", "jobs", "secrets", "icmp"}
    assert FILTERS["service_problems"](services) == []
    assert len(FILTERS["service_problems"]([{"name": "web", "url": "x"}])) == 1


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_errors_are_filter_errors(name):
    with pytest.raises(AnsibleFilterError, match="not a list of dictionaries"):
        FILTERS[name]("web")


def test_what_can_not_be_probed_is_an_error():
    with pytest.raises(AnsibleFilterError, match="'web': the url is 'x'"):
        FILTERS["service_probes"]([{"name": "web", "url": "x"}])


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_documented_options_are_those_of_the_code(name):
    folder = pathlib.Path(inspect.getfile(FilterModule)).parent
    documented = yaml.safe_load((folder / f"{name}.yml").read_text())["DOCUMENTATION"]
    parameters = list(inspect.signature(FILTERS[name]).parameters)
    assert list(documented["options"]) == ["_input", *parameters[1:]]
    assert documented["positional"].split(", ") == parameters[1:]
