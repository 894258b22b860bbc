# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be true of the collection as a whole, whatever its parts do."""

from __future__ import annotations

import ast
import json
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import tomllib
import typing as t

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from packaging.version import Version

TOP = pathlib.Path(__file__).parents[2]
SITE = pathlib.Path(sysconfig.get_path("purelib"))
NAME = "scs.observer"
HEADER = """\
# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""

ROLES = sorted(path.parents[1].name for path in TOP.glob("roles/*/meta/argument_specs.yml"))
MODULES = sorted(path.stem for path in TOP.glob("plugins/modules/*.py"))
PLUGINS = sorted(path.relative_to(TOP).as_posix() for path in TOP.glob("plugins/**/*.py"))


def load(path: str) -> t.Any:
    return yaml.safe_load((TOP / path).read_text())


def committed() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True, check=True).stdout
    return [path for path in listed.split("\0") if path and (TOP / path).is_file()]


# Roles


def test_roles_are_typed() -> None:
    assert sorted(path.name for path in TOP.glob("roles/*") if path.is_dir()) == ROLES


@pytest.mark.parametrize("role", ROLES)
def test_defaults_agree_with_argument_specs(role: str) -> None:
    path = TOP / f"roles/{role}/defaults/main.yml"
    defaults = (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}
    entries = load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]
    typed = {name: option["default"] for name, option in (entries["main"].get("options") or {}).items() if "default" in option}
    assert typed == defaults


@pytest.mark.parametrize("role", ROLES)
def test_every_role_and_option_is_described(role: str) -> None:
    assert (TOP / f"roles/{role}/README.md").is_file()
    for name, entry in load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"].items():
        assert entry.get("short_description"), name
        for option, spec in (entry.get("options") or {}).items():
            assert spec.get("description"), f"{name}: {option} has no description"
            assert spec.get("type"), f"{name}: {option} has no type"
            assert not (spec.get("required") and "default" in spec), f"{name}: {option} is required and has a default"


@pytest.mark.parametrize("role", ROLES)
def test_variables_carry_the_name_of_a_role(role: str) -> None:
    public = {name for entry in load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"].values() for name in entry.get("options") or {}}
    assert not [name for name in public if not name.startswith(tuple(f"{owner}_" for owner in ROLES))]
    path = TOP / f"roles/{role}/vars/main.yml"
    private = (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}
    assert not [name for name in private if not name.startswith(f"__{role}_")]


# Modules and plugins


@pytest.fixture(scope="module")
def documentation() -> dict[str, dict[str, t.Any]]:
    """The documentation of every module, its fragments filled in."""
    command = [sys.executable, "-m", "ansible", "doc", "--json", "--type", "module", *(f"{NAME}.{module}" for module in MODULES)]
    done = subprocess.run(command, cwd=TOP, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name.rpartition(".")[2]: found for name, found in json.loads(done.stdout).items()}


def unknown_options(given: t.Any, options: dict[str, t.Any], at: str) -> list[str]:
    """Paths of the options that an example uses and the documentation does not have."""
    if isinstance(given, list):
        return [path for item in given for path in unknown_options(item, options, at)]
    if not isinstance(given, dict):
        return []
    known = {name: option for key, option in options.items() for name in (key, *option.get("aliases", []))}
    found = [f"{at}{name}" for name in given if name not in known]
    for name, value in given.items():
        if name in known and known[name].get("suboptions"):
            found += unknown_options(value, known[name]["suboptions"], f"{at}{name}.")
    return found


def tasks_of(found: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """Tasks of a list of tasks or plays, those in blocks too."""
    for item in found or []:
        lists = [item[key] for key in ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always") if key in item]
        if not lists:
            yield item
        for inner in lists:
            yield from tasks_of(inner)


@pytest.mark.parametrize("module", MODULES)
def test_examples_use_options_that_exist(module: str, documentation: dict[str, dict[str, t.Any]]) -> None:
    examples = yaml.safe_load(documentation[module]["examples"])
    used = 0
    for task in tasks_of(examples):
        assert task.get("name"), f"an example without a name: {task}"
        for action in [key for key in task if key.startswith(f"{NAME}.")]:
            used += action == f"{NAME}.{module}"
            options = documentation[action.rpartition(".")[2]]["doc"]["options"]
            assert unknown_options(task[action] or {}, options, "") == []
    assert used, "no example uses the module"


@pytest.mark.parametrize("module", MODULES)
def test_modules_say_what_they_can(module: str, documentation: dict[str, dict[str, t.Any]]) -> None:
    doc = documentation[module]["doc"]
    assert {"check_mode", "diff_mode"} <= set(doc.get("attributes", {}))
    assert doc["version_added"] == "0.1.0"
    assert documentation[module]["return"] is not None


def test_no_module_returns_results(documentation: dict[str, dict[str, t.Any]]) -> None:
    """Ansible takes C(results) for those of a loop, and shows them in spite of no_log."""
    assert [name for name, found in documentation.items() if "results" in (found.get("return") or {})] == []


def test_modules_of_kubernetes_are_in_its_action_group(documentation: dict[str, dict[str, t.Any]]) -> None:
    group = {item for item in load("meta/runtime.yml")["action_groups"]["kubernetes"] if isinstance(item, str)}
    assert group == {module for module in MODULES if "kubeconfig" in documentation[module]["doc"].get("options", {})}


def test_modules_of_kubernetes_find_files_on_the_controller() -> None:
    """By an action plugin of the same name: a redirection to another name hides the module's documentation from antsibull-docs."""
    runtime = load("meta/runtime.yml")
    group = {item for item in runtime["action_groups"]["kubernetes"] if isinstance(item, str)}
    actions = {path.stem for path in TOP.glob("plugins/action/[a-z]*.py")}
    assert group <= actions <= set(MODULES)
    assert "action" not in runtime.get("plugin_routing", {})


@pytest.mark.parametrize("path", PLUGINS)
def test_plugin_carries_the_licence(path: str) -> None:
    text = (TOP / path).read_text().removeprefix("#!/usr/bin/python\n")
    assert text.startswith(HEADER)
    assert "from __future__ import annotations\n" in text


@pytest.mark.parametrize("path", [path for path in PLUGINS if path.startswith("plugins/module_utils/")])
def test_module_utils_are_private_and_import_downward(path: str) -> None:
    tree = ast.parse((TOP / path).read_text())
    assert pathlib.Path(path).name.startswith("_")
    assert (ast.get_docstring(tree) or "").startswith("PRIVATE to the collection:")
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    upward = [module for module in imported if module.startswith("ansible_collections.scs.observer.") and ".plugins.module_utils" not in module]
    assert upward == []


# Versions


def test_versions_agree() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    galaxy = load("galaxy.yml")
    assert galaxy["version"] == project["version"]
    assert f"{galaxy['namespace']}.{galaxy['name']}" == NAME


def test_lock_agrees_with_pyproject() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())
    lock = tomllib.loads((TOP / "uv.lock").read_text())
    metadata = next(package for package in lock["package"] if package["name"] == project["project"]["name"])["metadata"]

    def wanted(lines: list[str]) -> dict[str, SpecifierSet]:
        parts = (re.fullmatch(r"([a-z0-9-]+)(.*)", line) for line in lines)
        return {part[1]: SpecifierSet(part[2]) for part in parts if part}

    def locked(entries: list[dict[str, str]]) -> dict[str, SpecifierSet]:
        return {entry["name"]: SpecifierSet(entry.get("specifier", "")) for entry in entries}

    assert wanted(project["project"]["dependencies"]) == locked(metadata["requires-dist"])
    for group, lines in project["dependency-groups"].items():
        assert wanted(lines) == locked(metadata["requires-dev"][group])


def test_required_collections_agree_with_the_environment() -> None:
    required = {entry["name"]: entry["version"] for entry in load("requirements.yml")["collections"]}
    ranges = load("galaxy.yml")["dependencies"]
    assert set(required) == set(ranges)
    for name, version in required.items():
        namespace, short = name.split(".")
        manifest = json.loads((SITE / "ansible_collections" / namespace / short / "MANIFEST.json").read_text())
        assert manifest["collection_info"]["version"] == version
        assert Version(version) in SpecifierSet(ranges[name])


def test_only_declared_collections_are_used() -> None:
    declared = {NAME, "ansible.builtin", *load("galaxy.yml")["dependencies"]}
    used = set()
    for path in [*TOP.glob("roles/*/tasks/**/*.yml"), *TOP.glob("roles/*/handlers/**/*.yml"), *TOP.glob("playbooks/**/*.yml")]:
        used |= set(re.findall(r"^\s+(?:- )?([a-z][a-z0-9_]*\.[a-z][a-z0-9_]*)\.[a-z][a-z0-9_]*:(?:\s|$)", path.read_text(), re.MULTILINE))
    assert used <= declared


# What is committed

# written in pieces, so that this file is no finding of its own
REGISTRY_HOSTS = [
    "pypi." + "org",
    "files.python" + "hosted.org",
    "proxy.golang" + ".org",
    "sum.golang" + ".org",
    "registry.npm" + "js.org",
    "deb.debian" + ".org",
    "galaxy.ansible" + ".com",
]
# uv writes the public index into its lock, and has no lock without it: docs/decisions/0002-python-environment.md
LOCK = "uv.lock"
MACHINE_PATH = re.compile(r"(?<![\w.}:/-])/(?:" + "|".join(["root", "work"]) + r")(?:/|\b(?![\w-]))")


@pytest.mark.parametrize(
    ("what", "pattern"),
    [("a registry's host name", re.compile("|".join(map(re.escape, REGISTRY_HOSTS)))), ("a path of one machine", MACHINE_PATH)],
)
def test_committed_files_are_free_of(what: str, pattern: re.Pattern[str]) -> None:
    found = []
    for path in committed():
        if path in (LOCK, "LICENSE") or path.endswith("go.sum"):
            continue
        text = (TOP / path).read_text(errors="replace")
        found += [f"{path}:{text.count(chr(10), 0, hit.start()) + 1}: {what}: {hit[0]}" for hit in pattern.finditer(text)]
    assert found == []


def test_lock_names_the_public_index_only() -> None:
    hosts = set(re.findall(r"https?://([^/\"]+)", (TOP / LOCK).read_text()))
    assert hosts == set(REGISTRY_HOSTS[:2])


def test_no_private_key_is_committed() -> None:
    marker = re.compile("-----BEGIN [A-Z ]*PRIVATE " + "KEY-----\n[A-Za-z0-9+/]{16}")
    assert [path for path in committed() if marker.search((TOP / path).read_text(errors="replace"))] == []


@pytest.mark.parametrize("version", ["2.18", "2.19"])
def test_sanity_ignores_say_why(version: str) -> None:
    lines = (TOP / f"tests/sanity/ignore-{version}.txt").read_text().splitlines()
    assert [line for line in lines if not re.search(r" # \S", line)] == []


def test_decisions_are_numbered() -> None:
    names = sorted(path.name for path in TOP.glob("docs/decisions/*.md"))
    assert [name[:4] for name in names] == [f"{number:04}" for number in range(1, len(names) + 1)]
