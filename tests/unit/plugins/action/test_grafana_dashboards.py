# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import types

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible_collections.scs.observer.plugins.action.grafana_dashboards import ActionModule
from ansible_collections.scs.observer.plugins.module_utils import _grafana_dashboards
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


def unpacked(arguments):
    return [json.loads(text) for text in _grafana_dashboards.unpack(arguments["dashboards"])]


def test_all_dashboards_become_one_text(arguments):
    found = arguments({"dashboards": [{"uid": "a"}, '{"uid": "b"}']})
    assert len(found["dashboards"]) == 1 and unpacked(found) == [{"uid": "a"}, {"uid": "b"}]
    assert unpacked(arguments({"dashboards": {"uid": "a"}})) == [{"uid": "a"}] and arguments({"dashboards": None})["dashboards"] == []


def test_what_the_module_gets_is_small(arguments):
    panels = [{"title": f"Panel {number}", "targets": [{"expr": f"sum by (cluster) (rate(metric_{number}[5m]))"}]} for number in range(200)]
    found = arguments({"dashboards": [{"uid": f"d{number}", "panels": panels} for number in range(20)]})
    assert len(json.dumps(found)) < len(json.dumps(panels)) * 20 / 8


def test_src_is_found_in_files_and_read_here(arguments, tmp_path):
    assert unpacked(arguments({"src": ["set"], "folder": "Top", "folders_from_src": True})) == [
        {"name": f"{tmp_path}/files/set/KaaS/b.json", "folder": "Top/KaaS", "content": "{}"},
        {"name": f"{tmp_path}/files/set/a.json", "folder": "Top", "content": "{}"},
    ]
    assert [entry["folder"] for entry in unpacked(arguments({"src": "set/*.json, set/KaaS/b.json", "folder": "Top"}))] == ["Top", "Top"]


def test_remote_src_is_left_to_the_module(arguments):
    assert arguments({"src": ["/there"], "remote_src": True}) == {"src": ["/there"], "remote_src": True, "dashboards": []}


def test_missing_files_are_named_together(arguments):
    with pytest.raises(ObserverError) as caught:
        arguments({"src": ["nowhere", "set/*.txt"]})
    assert "src: nowhere cannot be read on the controller" in str(caught.value) and "set/*.txt. Correct the pattern." in str(caught.value)
