# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[4]


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ({"a": "one", "b": "two", "c": "one"}, "The same id for more than one KaaS cluster: one. "),
        ({"a": "one", "b": "Two_", "c": "x" * 64}, "No RFC 1123 label, so no id of a KaaS cluster: Two_, " + "x" * 64 + ". "),
    ],
)
def test_wrong_ids_are_refused_before_any_cluster_is_asked(tmp_path: pathlib.Path, ids: dict[str, str], words: str) -> None:
    inventory = tmp_path / "inventory.json"
    hosts = {host: {"kaas_agent_cluster": name} for host, name in ids.items()}
    everywhere = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory.write_text(json.dumps({"all": {"vars": everywhere, "children": {"kaas": {"hosts": hosts}}}}))
    (tmp_path / "ansible.cfg").touch()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": os.environ["ANSIBLE_COLLECTIONS_PATH"],
        "LC_ALL": "C.UTF-8",
    }
    program = pathlib.Path(sys.executable).with_name("ansible-playbook")
    command = [str(program), "-i", str(inventory), str(ROOT / "playbooks" / "kaas_onboard.yml")]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert words in done.stdout + done.stderr
    assert "promql" not in done.stdout and "kaas_clusters" not in done.stdout


def tasks_of(tasks: list[dict[str, t.Any]]) -> t.Iterator[dict[str, t.Any]]:
    """With those of files that are included."""
    for task in tasks:
        included = task.get("ansible.builtin.include_tasks")
        if included:
            name = included["file"] if isinstance(included, dict) else included
            yield from yaml.safe_load((ROOT / "playbooks" / name).read_text())
        else:
            yield task


def test_all_clusters_are_one_write() -> None:
    for name, expected in (("kaas_onboard", 2), ("kaas_offboard", 1)):
        plays = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text())
        tasks = [task for play in plays for task in tasks_of(play["tasks"]) if "scs.observer.kaas_clusters" in task]
        assert len(tasks) == expected
        assert all(task["run_once"] is True and "ansible_play_hosts" in json.dumps(task) for task in tasks)


def test_offboard_unregisters_before_it_touches_the_cluster() -> None:
    unregister, remove = yaml.safe_load((ROOT / "playbooks" / "kaas_offboard.yml").read_text())
    (task,) = [task for task in unregister["tasks"] if any(key.startswith("scs.observer.") for key in task)]
    assert task["scs.observer.kaas_clusters"]["state"] == "absent" and task["scs.observer.kaas_clusters"]["wait"] is True
    assert "kaas_agent" not in json.dumps([task for task in unregister["tasks"] if "ansible.builtin.include_role" in task])
    (block,) = [task for task in remove["tasks"] if "block" in task]
    assert block["block"][0]["ansible.builtin.include_role"]["name"] == "scs.observer.kaas_agent"
