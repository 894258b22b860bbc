# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import types

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible_collections.scs.observer.plugins.action.grafana_dashboards import ActionModule
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError


@pytest.fixture(name="arguments")
def fixture_arguments(tmp_path):
    """What the module gets for a task's arguments; files lie in tmp_path."""

    def run(given):
        task = types.SimpleNamespace(args=given, action="scs.observer.grafana_dashboards", async_val=0, get_search_path=lambda: [str(tmp_path)])
        return ActionModule(task, types.SimpleNamespace(transport="local"), None, DataLoader(), None, None)._arguments(dict(given))

    for name in ("files/set/a.json", "files/set/KaaS/b.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    return run


def test_each_dashboard_becomes_one_text(arguments):
    found = arguments({"dashboards": [{"uid": "a"}, '{"uid": "b"}']})["dashboards"]
    assert [json.loads(text) for text in found] == [{"uid": "a"}, {"uid": "b"}]
    assert arguments({"dashboards": {"uid": "a"}})["dashboards"] == ['{"uid": "a"}'] and arguments({"dashboards": None})["dashboards"] == []


def test_src_is_found_in_files_and_read_here(arguments, tmp_path):
    found = [json.loads(text) for text in arguments({"src": ["set"], "folder": "Top", "folders_from_src": True})["dashboards"]]
    assert found == [
        {"name": f"{tmp_path}/files/set/KaaS/b.json", "folder": "Top/KaaS", "content": "{}"},
        {"name": f"{tmp_path}/files/set/a.json", "folder": "Top", "content": "{}"},
    ]
    assert [json.loads(text)["folder"] for text in arguments({"src": "set/*.json, set/KaaS/b.json", "folder": "Top"})["dashboards"]] == ["Top", "Top"]


def test_remote_src_is_left_to_the_module(arguments):
    assert arguments({"src": ["/there"], "remote_src": True}) == {"src": ["/there"], "remote_src": True}


def test_missing_files_are_named_together(arguments):
    with pytest.raises(ObserverError) as caught:
        arguments({"src": ["nowhere", "set/*.txt"]})
    assert "src: nowhere cannot be read on the controller" in str(caught.value) and "set/*.txt. Correct the pattern." in str(caught.value)
