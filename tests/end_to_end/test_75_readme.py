# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""README.md's commands for production, word by word, on the running Observer; only the inventory, the cluster's id and the kubeconfig are the lab's.

Not run: what _readme.NOT_RUN names, and what would install the collection once more (tests/build does). Leaves both clusters reporting and registered.
"""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import typing as t

import _readme
import pytest

OBSERVER, ALPHA = "test-observer", "test-alpha"
HERE = pathlib.Path(__file__).parent
CACHE = pathlib.Path(os.environ.get("SCS_OBSERVER_CACHE", pathlib.Path.home() / ".cache" / "scs-observer"))


class Reader:
    """Somebody who follows README.md in an empty folder."""

    def __init__(self, lab: t.Any, folder: pathlib.Path) -> None:
        self.lab, self.folder = lab, folder
        (folder / "password").write_text("a password\n")

    def run(self, command: str, cluster: str = OBSERVER) -> str:
        text = command.replace("-i inventory ", f"-i {HERE / 'inventory'} ").replace("--limit customer-a-prod", f"--limit {ALPHA}")
        # it is Grafana's, which the lab has not
        text = text.replace(" grafana-admin", "")
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(pathlib.Path(sys.executable).parent), str(CACHE / "bin"), os.environ["PATH"]]),
            "KUBECONFIG": self.lab.kubeconfig(cluster),
            "ANSIBLE_VAULT_PASSWORD_FILE": str(self.folder / "password"),
            "ANSIBLE_STDOUT_CALLBACK": "default",
            "ANSIBLE_NOCOLOR": "1",
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == 0, f"README.md says '{command}', and it ends with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"
        return done.stdout

    def step(self, number: int) -> list[str]:
        return [command.text for command in _readme.of_section(f"{number}.") if not command.reason]


@pytest.fixture(scope="module")
def reader(lab: t.Any, kaas: t.Any, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(lab, tmp_path_factory.mktemp("reader"))


def changed(output: str) -> int:
    counts = re.findall(r"\bchanged=(\d+)", output)
    assert counts, output[-500:]
    return sum(map(int, counts))


def test_preflight_only_writes_nothing(lab: t.Any, reader: Reader) -> None:
    (command,) = reader.step(5)
    before = lab.snapshot(OBSERVER, "observer")
    assert changed(reader.run(command)) == 0
    assert lab.snapshot(OBSERVER, "observer") == before


def test_deploying_again_changes_nothing(reader: Reader) -> None:
    check, deploy = (command for command in reader.step(6) if command.startswith("ansible-playbook "))
    assert "--check --diff" in check
    assert changed(reader.run(check)) == 0
    assert changed(reader.run(deploy)) == 0


def test_what_is_looked_at_is_there(reader: Reader) -> None:
    looks = [command for command in reader.step(6) if command.startswith("kubectl ")]
    pods, service = (reader.run(command) for command in looks)
    assert "thanos-receive-2" in pods
    assert "thanos-receive-remote-write" in service


def test_alert_for_a_test_reaches_alertmanager(reader: Reader) -> None:
    add, query = (command for command in reader.step(7) if command.startswith("kubectl "))
    reader.run(add)
    # it is in the one replica that got it: alerts are not shared, for the ruler sends each to all
    (line,) = (line for line in reader.run(query).splitlines() if line.startswith("TestAlert "))
    assert "Only a test" in line
    assert line.split()[-1] == "active"


def test_content_is_brought(lab: t.Any, reader: Reader) -> None:
    """And taken away again: the tests after this one make it themselves, with shorter times."""
    check, bring = (command for command in reader.step(7) if command.startswith("ansible-playbook "))
    assert changed(reader.run(check)) == 1
    try:
        assert "the ruler in namespace observer has loaded exactly these" in " ".join(reader.run(bring).split())
        assert lab.query('observer:content:info{cluster=""}')
    finally:
        reader.run(f"{bring} -e observer_content_state=absent")
    lab.wait_until(lambda: not lab.query('observer:content:info{cluster=""}'), 150, "the ruler to have dropped the rules")


def test_cluster_is_onboarded_and_offboarded(lab: t.Any, reader: Reader) -> None:
    check, first, others, off = reader.step(8)
    assert changed(reader.run(check)) == 0
    assert changed(reader.run(first)) == 0
    try:
        reader.run(off)
        assert not lab.query(f'kaas{{cluster="{ALPHA}"}}')
    finally:
        back = reader.run(others)
    assert f"{ALPHA}: first sample after" in back
    lab.wait_until(lambda: lab.query(f'kaas{{cluster="{ALPHA}"}}'), 30, f"{ALPHA} to be expected again")


def test_backup_can_be_restored(lab: t.Any, reader: Reader) -> None:
    """Into another cluster, which had none of it."""
    commands = reader.step(9)
    create = next(command for command in commands if "create namespace" in command)
    for command in commands[: commands.index(create)]:
        reader.run(command)
    assert (reader.folder / "secrets.yaml").read_text().startswith("$ANSIBLE_VAULT;")
    assert not lab.exists(ALPHA, "namespace", "observer")
    try:
        for command in commands[commands.index(create) :]:
            reader.run(command, ALPHA)
        for words in (["secret", "agents-ca"], ["secret", "inside-ca"], ["configmap", "kaas-clusters"]):
            there, here = (lab.get(cluster, *words, "-n", "observer") for cluster in (OBSERVER, ALPHA))
            assert here["data"] == there["data"], f"{words} is not as it was"
            assert here["metadata"].get("labels") == there["metadata"].get("labels")
    finally:
        lab.kubectl(ALPHA, "delete", "namespace", "observer", "--ignore-not-found")
