# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ties role, module and filters together. How they work on a host is tested on one: tests/osism."""

from __future__ import annotations

import ast
import pathlib
import re
import typing as t

import pytest
import yaml
from ansible_collections.scs.observer.plugins.filter.osism import FilterModule
from ansible_collections.scs.observer.plugins.modules import osism_thanos_sidecar_info as module

TOP = pathlib.Path(__file__).parents[4]
ROLE = TOP / "roles/osism_thanos_sidecar"


def load(path: str) -> t.Any:
    return yaml.safe_load((ROLE / path).read_text())


def test_the_role_passes_what_the_filters_read() -> None:
    source = ast.parse((TOP / "plugins/module_utils/_osism_sidecar.py").read_text())
    read = {
        node.slice.value
        for node in ast.walk(source)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "settings" and isinstance(node.slice, ast.Constant)
    }
    assert len(read) > 20
    assert read <= set(load("vars/main.yml")["__osism_thanos_sidecar_settings"])


@pytest.mark.parametrize("part", ["prometheus", "sidecar", "receive", "configuration"])
def test_the_role_passes_options_of_the_module(part: str) -> None:
    option = "remote_write" if part == "receive" else part
    assert set(load("vars/main.yml")[f"__osism_thanos_sidecar_look_at_{part}"]) <= set(module.ARGUMENT_SPEC[option]["options"])


def test_the_readme_has_every_variable_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", (ROLE / "README.md").read_text().replace("\\|", "|"), re.MULTILINE))
    for name, default in load("defaults/main.yml").items():
        shown = rows.pop(name)
        assert shown == (
            default if isinstance(default, str) and default else yaml.safe_dump(default, default_style='"' if default == "" else None).split("\n")[0]
        ), name
    assert rows == {}


def test_no_file_of_the_role_is_tracked_or_templated_by_accident() -> None:
    """kolla renders overlays: the host's name has to reach it as a template."""
    overlay = (ROLE / "templates/60-scs-observer.yml.j2").read_text()
    assert """"{{ '{{ inventory_hostname }}' }}\"""" in overlay


@pytest.mark.parametrize("number", [10901, "10901"])
def test_numbers_that_were_made_text_are_numbers_again(number: int | str) -> None:
    """As ansible-core 2.18 passes them."""
    settings = {"uid": number, "gid": number, "grpc_port": number, "http_port": number, "mode": "query", "directory": "/d", "http_address": "::1", "image": "i"}
    settings |= dict.fromkeys(("username", "password", "certificate", "private_key", "client_ca"), "")
    look = {"prometheus": {"url": "http://a"}, "sidecar": {"address": "a"}}
    service = FilterModule().filters()["osism_sidecar_compose"](look, settings)["services"]["thanos_sidecar"]
    assert "--grpc-address=a:10901" in service["command"]
    assert service["user"] == "10901:10901"
