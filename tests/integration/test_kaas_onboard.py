# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of kaas_onboard that need an API server and no Observer: the kubeconfig of a Secret, and registering with some failed and some gone."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
import yaml

TOP = pathlib.Path(__file__).parents[2]

WITH_SECRET = """
- name: Use a Secret
  hosts: kaas
  gather_facts: false
  tasks:
    - name: Use it
      ansible.builtin.include_role: {name: scs.observer.kaas_agent}
      vars: {kaas_agent_state: absent}
    - name: Say what is left of it
      ansible.builtin.debug: {msg: "{{ __kaas_agent_read | string }}{{ __kaas_agent_api_url }}"}
"""
REGISTER = """
- name: Register
  hosts: kaas
  gather_facts: false
  tasks:
    - name: Settle
      ansible.builtin.set_fact:
        __kaas_id: "{{ inventory_hostname }}"
        __kaas_manager: "{{ kaas_onboard_manager | default('ansible') }}"
        __kaas_entry: {name: "{{ inventory_hostname }}"}
    - name: Fail for one
      ansible.builtin.fail: {msg: broken}
      when: inventory_hostname == 'broken'
    - name: Register
      ansible.builtin.include_tasks: TASKS
      loop: "{{ ansible_play_hosts | map('extract', hostvars, '__kaas_manager') | unique | sort }}"
      loop_control: {loop_var: kaas_manager}
"""


class Done(t.NamedTuple):
    code: int
    output: str

    @property
    def text(self) -> str:
        """Without what YAML adds to a long line."""
        return " ".join(self.output.replace("''", "'").split())


@pytest.fixture(name="namespace")
def fixture_namespace(cluster: t.Any) -> t.Iterator[str]:
    name = cluster.namespace()
    assert cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})[0] == 201
    yield name
    cluster.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture(name="play")
def fixture_play(tmp_path: pathlib.Path) -> t.Callable[..., Done]:
    def run(text: str, hosts: dict[str, t.Any], *flags: str, **variables: t.Any) -> Done:
        (tmp_path / "tmp").mkdir(exist_ok=True)
        (tmp_path / "play.yml").write_text(text)
        everywhere = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}
        (tmp_path / "inventory.json").write_text(json.dumps({"all": {"vars": everywhere, "children": {"kaas": {"hosts": hosts}}}}))
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_STDOUT_CALLBACK": "default", "TMPDIR": str(tmp_path / "tmp")}
        program = pathlib.Path(sys.executable).with_name("ansible-playbook")
        command = [str(program), "-i", str(tmp_path / "inventory.json"), str(tmp_path / "play.yml"), *flags]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300, check=False)
        return Done(done.returncode, done.stdout + done.stderr)

    return run


def test_kubeconfig_of_a_secret(cluster: t.Any, namespace: str, play: t.Callable[..., Done], tmp_path: pathlib.Path) -> None:
    folder = pathlib.Path(cluster.kubeconfig).parent
    content = yaml.safe_load(pathlib.Path(cluster.kubeconfig).read_text())
    content["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode((folder / "ca.crt").read_bytes()).decode()
    del content["clusters"][0]["cluster"]["certificate-authority"]
    key = (folder / "tls.key").read_text()
    content["users"][0]["user"] = {
        f"client-{name}-data": base64.b64encode((folder / file).read_bytes()).decode() for name, file in (("certificate", "tls.crt"), ("key", "tls.key"))
    }
    good = yaml.safe_dump(content)
    for name, data in {"good": {"value": good}, "named": {"admin.conf": good}, "text": {"value": "hello"}, "empty": {}, "list": {"value": "[1]"}}.items():
        body = {"metadata": {"name": name}, "stringData": data}
        assert cluster.request("POST", f"/api/v1/namespaces/{namespace}/secrets", body)[0] == 201

    def reference(name: str, **more: str) -> dict[str, t.Any]:
        return {"kaas_agent_kubeconfig_secret": {"namespace": namespace, "name": name, **more}}

    hosts = {
        "good": reference("good"),
        "other-key": reference("named", key="admin.conf"),
        "no-key": reference("named"),
        "no-secret": reference("nothing"),
        "no-kubeconfig": reference("text"),
        "no-mapping": reference("list"),
        "empty": reference("empty"),
        "no-right": reference("good") | {"kaas_agent_management_kubeconfig": cluster.user("nobody")},
        "no-name": {"kaas_agent_kubeconfig_secret": {"name": "good"}},
    }
    done = play(WITH_SECRET, hosts, "-vvv", "--diff", observer_kubeconfig=cluster.kubeconfig)
    failed = {host for host in hosts if f"fatal: [{host}]: FAILED!" in done.output}
    assert failed == set(hosts) - {"good", "other-key"}, done.output[-4000:]
    title, where = f"Secret {namespace}/", f"in the management cluster (kubeconfig '{cluster.kubeconfig}', context 'current')"
    for message in (
        f"no-secret: there is no {title}nothing in the management cluster",
        f"no-key: {title}named {where} has no key 'value'; what it has: admin.conf.",
        f"empty: {title}empty {where} has no key 'value'; what it has: nothing.",
        f"no-kubeconfig: {title}text {where} holds no kubeconfig under its key 'value'",
        f"no-mapping: {title}list in the management cluster",
        f"no-right: {title}good with the kubeconfig can not be read in the management cluster",
        'User "nobody" cannot get resource "secrets"',
        "no-name: kaas_agent_kubeconfig_secret names no Secret.",
    ):
        assert message in done.text.replace('\\"', '"'), message
    # nothing is left of it, and nothing was shown
    assert list((tmp_path / "tmp").glob("kaas_agent.*")) == []
    secret_lines = [line for line in key.splitlines() if "-----" not in line]
    encoded = content["users"][0]["user"]["client-key-data"]
    assert not [line for line in secret_lines if line in done.output] and encoded[40:100] not in done.output
    # the test's API server is on loopback, which the Observer could not ask
    assert done.output.count("{}") >= 2 and cluster.server not in done.output.partition("Say what is left of it")[2]


def owner(manager: str) -> str:
    return json.dumps({"role": "kaas", "manager": manager})


def test_register_with_some_failed_and_some_gone(cluster: t.Any, namespace: str, play: t.Callable[..., Done]) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    data = {"a": owner("ansible"), "broken": owner("ansible"), "gone": owner("ansible"), "of-api": owner("cluster_api"), "gone-api": owner("cluster_api")}
    assert cluster.request("POST", path, {"metadata": {"name": "kaas-clusters"}, "data": data | {"bare": "", "else": owner("other")}})[0] == 201
    text = REGISTER.replace("TASKS", str(TOP / "playbooks" / "tasks" / "kaas_register.yml"))
    hosts: dict[str, t.Any] = {"a": {}, "new": {}, "broken": {}, "of-api": {"kaas_onboard_manager": "cluster_api"}}
    variables = {"observer_kubeconfig": cluster.kubeconfig, "observer_namespace": namespace}

    def registered() -> dict[str, str]:
        return cluster.request("GET", f"{path}/kaas-clusters")[1]["data"]

    play(text, hosts, **variables)
    assert set(registered()) == {*data, "bare", "else", "new"}, "without kaas_onboard_prune nothing goes"

    limited = play(text, hosts, "--limit", "a,new,of-api", **variables, kaas_onboard_prune=True)
    assert limited.code == 0 and "gone" in registered(), "with --limit nothing goes"

    refused = play(text, hosts, **variables, kaas_onboard_prune=True, kaas_onboard_prune_limit="10%")
    assert "would be pruned (gone), more than prune_limit 10% allows" in refused.text
    assert "gone" in registered()

    done = play(text, hosts, **variables, kaas_onboard_prune=True)
    assert "fatal: [broken]" in done.output
    assert set(registered()) == {"a", "new", "broken", "of-api", "bare", "else"}, "what failed is still there, and others' entries are theirs"
    assert json.loads(registered()["new"])["manager"] == "ansible"
    again = play(text, hosts, **variables, kaas_onboard_prune=True)
    assert not [line for line in again.output.splitlines() if line.startswith("changed: ")]
