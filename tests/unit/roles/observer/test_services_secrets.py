# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's task that refuses services whose Secrets are not there, alone: one host for each case, one run."""

from __future__ import annotations

import pathlib
import typing as t

import _rendering
import yaml

ROOT = pathlib.Path(__file__).parents[4]
ROLE = ROOT / "roles" / "observer"
PASSWORD = "a-password-0481"
SECRETS: dict[str, list[dict[str, t.Any]]] = {
    "without": [],
    "empty": [{"metadata": {"name": "login"}}],
    "half": [{"metadata": {"name": "login"}, "data": {"username": "eA==", "other": PASSWORD}}],
    "whole": [{"metadata": {"name": "login"}, "data": {"username": "eA==", "password": PASSWORD}}],
}


def test_secrets_are_looked_for_before_anything_is_written(tmp_path: pathlib.Path) -> None:
    (task,) = [task for task in yaml.safe_load((ROLE / "tasks/present.yml").read_text()) if task["name"] == "Refuse services whose Secrets are not there"]
    services = [{"name": "api", "url": "https://a.example", "request": {"basic_auth_secret": "login"}}]
    hosts = {name: {"__observer_read": {"resources": resources}} for name, resources in SECRETS.items()}
    inventory = {"all": {"vars": _rendering.variables(tmp_path, observer_services=services), "hosts": hosts}}
    playbook = yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}])
    environment = {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_CALLBACK_FORMAT_PRETTY": "false", "ANSIBLE_NOCOLOR": "1"}
    done = _rendering.run(tmp_path, inventory, playbook, **environment)
    failed = {line.split("[")[1].split("]")[0]: line for line in done.stdout.splitlines() if "FAILED!" in line}
    assert set(failed) == set(SECRETS) - {"whole"}, done.stdout[-3000:]
    assert "'api' wants username and password of Secret 'login'" in failed["without"]
    assert "'api' wants username and password of Secret 'login'" in failed["empty"]
    assert "'api' wants password of Secret 'login'" in failed["half"]
    assert "kubectl create secret generic login -n observer" in failed["half"]
    assert PASSWORD not in done.stdout + done.stderr
