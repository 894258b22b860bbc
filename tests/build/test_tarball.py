"""The collection as people get it: built, installed into an empty path without a network, run by name."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tarfile

import pytest
import yaml

TOP = pathlib.Path(__file__).parents[2]
PLAYBOOKS = sorted(path.stem for path in TOP.glob("playbooks/*.yml"))
MODULES = sorted(path.stem for path in TOP.glob("plugins/modules/*.py"))


def ansible(program: str, *args: str, cwd: pathlib.Path, collections: pathlib.Path | None = None) -> str:
    """Runs a program of Ansible as in an empty home, with no setting of this checkout."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    environment |= {"ANSIBLE_HOME": str(cwd / "home"), "HOME": str(cwd), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0"}
    if collections:
        environment["ANSIBLE_COLLECTIONS_PATH"] = str(collections)
    done = subprocess.run([sys.executable, "-m", "ansible", program, *args], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("tarball")
    ansible("galaxy", "collection", "build", str(TOP), "--output-path", str(folder), cwd=folder)
    version = yaml.safe_load((TOP / "galaxy.yml").read_text())["version"]
    return folder / f"scs-observer-{version}.tar.gz"


@pytest.fixture(scope="module")
def installed(tarball: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("installed")
    ansible("galaxy", "collection", "install", "--offline", str(tarball), "--collections-path", str(folder), cwd=tarball.parent, collections=folder)
    assert (folder / "ansible_collections/scs/observer/MANIFEST.json").is_file()
    return folder


def files_of(tarball: pathlib.Path) -> set[str]:
    with tarfile.open(tarball) as archive:
        return {member.name for member in archive.getmembers() if not member.isdir()}


def test_tarball_has_nothing_but_the_collection(tarball: pathlib.Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=TOP, capture_output=True, text=True, check=True).stdout
    wanted = {
        path
        for path in listed.split("\0")
        if (TOP / path).is_file()
        and (
            path.startswith(("plugins/", "roles/", "playbooks/", "meta/", "inventories/", "docs/"))
            or path in ("README.md", "LICENSE", "CHANGELOG.rst", "requirements.yml", "changelogs/config.yaml", "changelogs/changelog.yaml")
        )
    }
    assert files_of(tarball) == wanted | {"MANIFEST.json", "FILES.json"}
    assert tarball.stat().st_size < 5_000_000


def test_playbooks_run_by_name(installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """All in one go, for each start of Ansible costs a second."""
    assert PLAYBOOKS
    inventory = installed / "ansible_collections/scs/observer/inventories/lab"
    names = [f"scs.observer.{name}" for name in PLAYBOOKS]
    listed = ansible("playbook", "--inventory", str(inventory), "--list-tasks", *names, cwd=tmp_path, collections=installed)
    for name in PLAYBOOKS:
        assert f"observer/playbooks/{name}.yml\n" in listed
    ansible("playbook", "--inventory", str(inventory), "--syntax-check", *names, cwd=tmp_path, collections=installed)


def test_modules_are_documented_where_they_are_installed(installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    listed = ansible("doc", "--list", "--type", "module", "scs.observer", cwd=tmp_path, collections=installed)
    assert {line.split()[0] for line in listed.splitlines()} == {f"scs.observer.{module}" for module in MODULES}
