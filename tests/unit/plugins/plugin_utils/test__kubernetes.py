# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import types

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.plugin_utils._kubernetes import ActionModule


@pytest.fixture
def arguments(tmp_path):
    """What the module gets for a task's arguments; files lie in tmp_path."""

    def run(given, transport="local"):
        task = types.SimpleNamespace(args=given, action="scs.observer.kubernetes_manifests", async_val=0, get_search_path=lambda: [str(tmp_path)])
        plugin = ActionModule(task, types.SimpleNamespace(transport=transport), None, DataLoader(), None, None)
        return plugin._arguments(dict(given))

    return run


OBJECT = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}


def test_each_manifest_becomes_one_text(arguments):
    found = arguments({"manifests": [OBJECT, "kind: x\n", [OBJECT, OBJECT]]})["manifests"]
    assert [json.loads(found[0]), found[1], json.loads(found[2])] == [OBJECT, "kind: x\n", [OBJECT, OBJECT]]


@pytest.mark.parametrize(("given", "count"), [(OBJECT, 1), ("a: 1, b: 2", 1), (None, 0), ((entry for entry in [OBJECT]), 1)])
def test_one_manifest_need_not_be_a_list(arguments, given, count):
    assert len(arguments({"manifests": given})["manifests"]) == count


def test_src_is_found_in_files_and_read_here(arguments, tmp_path):
    (tmp_path / "files" / "folder").mkdir(parents=True)
    (tmp_path / "files" / "a.yml").write_text("a: 1\n")
    (tmp_path / "files" / "folder" / "b.yml").write_text("b: 1\n")
    found = arguments({"src": ["a.yml", "folder"], "manifests": [OBJECT]}, transport="ssh")
    assert "src" not in found
    assert found["manifests"][1:] == [f"# Source: {tmp_path}/files/a.yml\na: 1\n", f"# Source: {tmp_path}/files/folder/b.yml\nb: 1\n"]
    assert arguments({"src": "a.yml, folder"})["manifests"] == found["manifests"][1:]


def test_remote_src_is_left_to_the_module(arguments):
    assert arguments({"src": ["/there.yml"], "remote_src": True}) == {"src": ["/there.yml"], "remote_src": True}


def test_missing_files_are_named(arguments):
    with pytest.raises(ObserverError, match=r"^src: nowhere\.yml cannot be read on the controller: "):
        arguments({"src": ["nowhere.yml"]})
    with pytest.raises(ObserverError, match=r"^kubeconfig: nowhere cannot be read on the controller: "):
        arguments({"kubeconfig": "nowhere"})


def test_kubeconfig_is_found_only_for_local_connections(arguments, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "config").write_text("x")
    assert arguments({"kubeconfig": "config"})["kubeconfig"] == f"{tmp_path}/files/config"
    assert arguments({"kubeconfig": "config"}, transport="ssh")["kubeconfig"] == "config"
    assert arguments({"kubeconfig": "/a:/b"})["kubeconfig"] == "/a:/b"
    assert arguments({"kubeconfig": {"clusters": []}})["kubeconfig"] == {"clusters": []}
