# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a playbook over the role's variables, one host for each case: what many variants need costs one start of Ansible."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import typing as t

import yaml

ROOT = pathlib.Path(__file__).parents[1]
ROLE = ROOT / "roles" / "observer"


def variables(folder: pathlib.Path, **given: t.Any) -> dict[str, t.Any]:
    """The role's own, then what is given; a template finds its neighbours by C(role_path)."""
    own = yaml.safe_load((ROLE / "defaults/main.yml").read_text()) | yaml.safe_load((ROLE / "vars/main.yml").read_text())
    return own | given | {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "role_path": str(ROLE), "folder": str(folder)}


def run(folder: pathlib.Path, inventory: t.Mapping[str, t.Any], playbook: str, forks: int = 5, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "hosts.yml").write_text(yaml.safe_dump(dict(inventory)))
    (folder / "playbook.yml").write_text(playbook)
    command = [sys.executable, "-m", "ansible", "playbook", "-i", str(folder / "hosts.yml"), "--forks", str(forks), str(folder / "playbook.yml")]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False)


def play(folder: pathlib.Path, inventory: t.Mapping[str, t.Any], playbook: str, forks: int = 5) -> None:
    """A run that has to end well."""
    done = run(folder, inventory, playbook, forks)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
