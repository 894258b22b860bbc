# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module certificates as Ansible runs it: what it returns goes in again, and no key is seen."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

PLAY = """
- hosts: localhost
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    leaf: {name: agent, authority: agents, common_name: customer-a, usages: [client]}
  tasks:
    - name: First
      scs.observer.certificates:
        authorities: [{name: agents}]
        certificates: ["{{ leaf }}"]
      register: first
      no_log: true
    - name: Second
      scs.observer.certificates:
        authorities: ["{{ {'name': 'agents'} | combine(authority) }}"]
        certificates: ["{{ leaf | combine(own) }}"]
      vars:
        authority: "{{ first.authorities.agents | dict2items | selectattr('key', 'in', ['certificate', 'private_key']) | items2dict }}"
        own: "{{ first.certificates.agent | dict2items | selectattr('key', 'in', ['certificate', 'private_key']) | items2dict }}"
      register: second
      no_log: true
    - name: Compare
      ansible.builtin.assert:
        that:
          - first is changed
          - second is not changed
          - first.certificates.agent.private_key is match('-----BEGIN PRIVATE KEY-----')
          - second.certificates.agent.private_key == first.certificates.agent.private_key
          - second.authorities.agents.private_key == first.authorities.agents.private_key
          - second.certificates.agent.state == 'kept'
        quiet: true
    - name: Refused
      scs.observer.certificates:
        authorities: [{name: agents, certificate: "{{ first.authorities.agents.certificate }}"}]
      register: refused
      ignore_errors: true
      no_log: true
    - name: Open
      scs.observer.certificates:
        authorities: [{name: agents}]
      register: open
      ignore_errors: true
    - name: Messages
      ansible.builtin.debug:
        msg: ["{{ refused.msg }}", "{{ open.msg }}"]
"""


def run(tmp_path: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "play.yml").write_text(PLAY)
    program = pathlib.Path(sys.executable).parent / "ansible-playbook"
    return subprocess.run(
        [program, "-i", "localhost,", "-c", "local", *arguments, "play.yml"],
        cwd=tmp_path,
        env=os.environ | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_result_is_the_input_of_the_next_run(tmp_path):
    for arguments in ((), ("--check",)):
        done = run(tmp_path, "-vvv", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Authority agents: its certificate is given without its private key." in done.stdout
        assert "The result of this task holds private keys. Set no_log: true on it." in done.stdout
        assert "PRIVATE KEY-----" not in done.stdout.replace("BEGIN PRIVATE KEY-----'", "") + done.stderr
