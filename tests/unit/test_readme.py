# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What README.md and the other documents say is true: commands, variables, figures and links. tests/end_to_end/test_75_readme.py runs what needs a cluster."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import typing as t

import _readme
import pytest
import yaml

TOP = _readme.TOP
BIN = pathlib.Path(sys.executable).parent
TEXT = _readme.README.read_text()
DOCUMENTS = [_readme.README, *sorted(TOP.glob("docs/*.md")), *sorted(TOP.glob("roles/*/README.md")), TOP / "benchmarks/README.md"]
EXAMPLES = sorted((TOP / "inventories/example").rglob("*.yml"))
# said by -e, to one playbook only
OF_PLAYBOOKS = {"observer_images_file", "kaas_registry_backup_file"}
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1"}


def load(path: str) -> t.Any:
    return yaml.safe_load((TOP / path).read_text())


def variables() -> set[str]:
    specs = [load(str(path.relative_to(TOP)))["argument_specs"] for path in TOP.glob("roles/*/meta/argument_specs.yml")]
    return {option for spec in specs for entry in spec.values() for option in entry.get("options") or {}}


@pytest.mark.parametrize("path", [*DOCUMENTS, *EXAMPLES], ids=lambda path: str(path.relative_to(TOP)))
def test_variables_exist(path: pathlib.Path) -> None:
    text = path.read_text()
    # a role's private variables, and lists such as observer_s3_*, are none
    named = {hit[1] for hit in re.finditer(r"(?<![\w/.:])((?:observer|kaas_agent|lab_cluster)_[a-z0-9_]+)(?![\w*])", text) if not hit[1].endswith("_")}
    known = variables() | OF_PLAYBOOKS | {path.stem for path in [*TOP.glob("playbooks/*.yml"), *TOP.glob("roles/*")]}
    # what the lab's role gives back
    known |= set(re.findall(r"^    (lab_cluster_\w+):", (TOP / "roles/lab_cluster/tasks/finish.yml").read_text(), re.MULTILINE))
    # thresholds of alerts are named in the same manner
    known |= set(re.findall(r"threshold: (\w+)", (TOP / "roles/observer_content/files/rules/thresholds.yaml").read_text()))
    assert named - known == set()
    if path == _readme.README:
        assert len(named) > 25


def test_commands_are_known() -> None:
    found = _readme.commands()
    assert len(found) > 25
    programs = {shlex.split(command.text)[0] for command in found}
    assert programs == {"make", "python3", "pip", "ansible-galaxy", "ansible-playbook", "ansible-vault", "cp", "mkdir", "mv", "while", "export", "kubectl"}
    for begin in _readme.NOT_RUN:
        assert any(command.text.startswith(begin) for command in found), f"no command begins with {begin}"


def test_ten_steps_are_there() -> None:
    assert re.findall(r"^### (\d+)\. ", TEXT, re.MULTILINE) == [str(number) for number in range(1, 11)]


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z_-]+):", (TOP / "Makefile").read_text(), re.MULTILINE))
    named = {match for path in DOCUMENTS for match in re.findall(r"(?:^|`)make ([a-z_-]+)", path.read_text(), re.MULTILINE)}
    assert {"demo", "demo-down", "test"} <= named <= targets


PLAYBOOKS = sorted({command.text for command in _readme.commands() if command.text.startswith("ansible-playbook ")})


@pytest.mark.parametrize("command", PLAYBOOKS)
def test_playbooks_run_with_the_example(command: str) -> None:
    words = [str(TOP / "inventories/example") if word == "inventory" else word for word in shlex.split(command)[1:]]
    done = subprocess.run(
        [str(BIN / "ansible-playbook"), *words, "--list-tasks", "--list-hosts"], cwd=TOP, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "no hosts matched" not in (done.stdout + done.stderr).lower()
    assert re.search(r"hosts \([1-9]\d*\):", done.stdout), done.stdout
    assert "tasks:" in done.stdout


def test_extra_variables_exist() -> None:
    given = set(re.findall(r"-e (\w+)=", TEXT))
    assert given
    assert given <= variables() | OF_PLAYBOOKS


def test_inventory_is_made_as_told(tmp_path: pathlib.Path) -> None:
    """The commands of step 2 themselves; an editor that writes what the text says belongs into the vault."""
    installed = tmp_path / ".ansible/collections/ansible_collections/scs/observer"
    installed.mkdir(parents=True)
    shutil.copytree(TOP / "inventories/example", installed / "inventories/example")
    wanted = set(re.findall(r"\bvault_\w+", "".join(path.read_text().replace("# ", "#") for path in EXAMPLES)))
    optional = {name for name in wanted if re.search(rf"^#.*{name}", "\n".join(path.read_text() for path in EXAMPLES), re.MULTILINE)}
    told = set(re.findall(r"`(vault_\w+)`", TEXT))
    assert wanted - optional == told
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nprintf '%s\\n' " + " ".join(f"'{name}: text-of-{name}'" for name in sorted(told)) + ' > "$1"\n')
    editor.chmod(0o755)
    password = tmp_path / "password"
    password.write_text("a password\n")
    environment = {**ENVIRONMENT, "HOME": str(tmp_path), "EDITOR": str(editor), "ANSIBLE_VAULT_PASSWORD_FILE": str(password)}
    for command in _readme.of_section("2."):
        if command.text.startswith(("cp ", "mkdir ", "mv ", "ansible-vault ")):
            # an editor is only opened on a terminal
            subprocess.run(["script", "-qec", command.text, "/dev/null"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    vault = tmp_path / "inventory/group_vars/observer/vault.yml"
    assert vault.read_text().startswith("$ANSIBLE_VAULT;")
    listed = subprocess.run(
        [str(BIN / "ansible-inventory"), "-i", "inventory", "--host", "observer"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    hostvars = yaml.safe_load(listed.stdout)
    assert told <= set(hostvars)
    assert hostvars["observer_profile"] == "production"


def test_list_of_images_is_written(tmp_path: pathlib.Path) -> None:
    (command,) = (command.text for command in _readme.of_section("2.") if "observer_images " in command.text)
    words = command.replace("-i inventory", f"-i {TOP / 'inventories/example'} -e observer_image_prefix=registry.example.com/mirror")
    subprocess.run(["bash", "-euc", words], cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True)
    pairs = [line.split() for line in (tmp_path / "images.txt").read_text().splitlines()]
    assert len(pairs) >= 8
    for source, target in pairs:
        assert target == "registry.example.com/mirror/" + source.partition("/")[2]


def gibibytes(text: str) -> float:
    return float(text[:-2]) / {"Mi": 1024, "Gi": 1}[text[-2:]]


@pytest.mark.parametrize("profile", ["small", "production"])
def test_sizes_are_those_of_the_profile(profile: str) -> None:
    found = load("roles/observer/vars/main.yml")["__observer_profiles"][profile]
    pod_of = {"thanos_sidecar": "prometheus", "rules_reloader": "thanos_ruler"}
    # these are options
    for option in ("openstack_exporter", "thanos_receive_infrastructures"):
        for numbers in found.values():
            if isinstance(numbers, dict):
                numbers.pop(option, None)
    requests = [(found["replicas"][pod_of.get(name, name)], one["requests"]) for name, one in found["resources"].items()]
    pods = sum(found["replicas"].values())
    cores = sum(count * int(one["cpu"].removesuffix("m")) for count, one in requests) / 1000
    memory = sum(count * gibibytes(one["memory"]) for count, one in requests)
    volumes = sum(found["replicas"][name] * gibibytes(size) for name, size in found["storage"].items())
    assert f"| `{profile}` | {pods} | {cores:.1f} | {memory:.1f} GiB | {volumes:.0f} GiB |" in TEXT


def test_defaults_in_the_text_are_those_of_the_roles() -> None:
    defaults = load("roles/observer/defaults/main.yml") | load("roles/kaas_agent/defaults/main.yml")
    told = re.findall(r"`((?:observer|kaas_agent)_\w+)` \((\d+)", TEXT)
    assert len(told) >= 4
    assert [(name, int(number)) for name, number in told if int(str(defaults[name]).rstrip("dm")) != int(number)] == []


def test_versions_in_the_text_agree() -> None:
    galaxy = load("galaxy.yml")
    assert set(re.findall(r"scs-observer-([\d.]+)\.tar\.gz", TEXT)) == {galaxy["version"]}
    (line,) = (command.text for command in _readme.commands() if command.text.startswith("pip install "))
    assert set(shlex.split(line)[2:]) <= set(tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["dependencies"])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(TOP)))
def test_links_lead_somewhere(path: pathlib.Path) -> None:
    def anchors(text: str) -> set[str]:
        return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}

    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text()):
        name, _hash, anchor = target.partition("#")
        file = path.parent / name if name else path
        assert file.exists(), f"{path.name} leads to {target}"
        if anchor:
            assert anchor in anchors((file / "README.md" if file.is_dir() else file).read_text()), f"{path.name} leads to {target}"
