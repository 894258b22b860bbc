# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab builds is what production pulls: each go.mod names the version that the image's tag names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _lab_programs
from ansible_collections.scs.observer.plugins.module_utils._images import IMAGES
from ansible_collections.scs.observer.plugins.module_utils._lab_images import PROGRAM_IMAGES

PROGRAMS = Path(__file__).parents[4] / "roles" / "lab_cluster" / "files" / "programs"
FOLDERS = sorted(path.parent.name for path in PROGRAMS.glob("*/go.mod"))
# ours: no module stands behind it
OWN = {"pause"}


def test_every_folder_can_be_built_and_every_build_has_its_folder() -> None:
    assert set(FOLDERS) == set(_lab_programs.SOURCES)
    assert {image.program for image in PROGRAM_IMAGES.values()} <= set(FOLDERS)


@pytest.mark.parametrize("name", [name for name, image in PROGRAM_IMAGES.items() if image.program not in OWN])
def test_module_has_the_version_of_the_image(name: str) -> None:
    program = PROGRAM_IMAGES[name].program
    source = _lab_programs.SOURCES[program]
    built = source.version(_lab_programs.module_version((PROGRAMS / program / "go.mod").read_text(), source.module))
    assert f"v{built}" == IMAGES[name].tag


@pytest.mark.parametrize("folder", FOLDERS)
def test_versions_are_pinned_by_checksums(folder: str) -> None:
    module = (PROGRAMS / folder / "go.mod").read_text()
    assert re.search(rf"^module scs\.observer/lab/{re.escape(folder)}$", module, re.MULTILINE)
    sums = (PROGRAMS / folder / "go.sum").read_text() if (PROGRAMS / folder / "go.sum").exists() else ""
    assert bool(sums) == ("require" in module)


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_module_comes_from_this_machine(folder: str) -> None:
    assert not re.search(r"=>\s*[./]", (PROGRAMS / folder / "go.mod").read_text())


def required(folder: str) -> dict[str, str]:
    """Module -> version as it is compiled: a replacement wins."""
    text = (PROGRAMS / folder / "go.mod").read_text()
    versions = dict(re.findall(r"^(?:require |\t)(\S+) (v\S+)(?: // indirect)?$", re.sub(r"(?ms)^exclude \(.*?^\)", "", text), re.MULTILINE))
    replaced = dict(re.findall(r"^(?:replace |\t)(\S+) => \S+ (v\S+)$", text, re.MULTILINE))
    return {module: replaced.get(module, version) for module, version in versions.items()}


def test_coredns_shares_what_kubernetes_compiles_anyway() -> None:
    coredns, kubernetes = required("coredns"), required("kubernetes")
    excluded = set(re.findall(r"^\t(\S+) v\S+$", (PROGRAMS / "coredns" / "go.mod").read_text().partition("exclude (")[2], re.MULTILINE))
    assert {"k8s.io/api", "k8s.io/apimachinery", "k8s.io/client-go", "golang.org/x/net"} <= excluded
    assert {module: coredns[module] for module in excluded & coredns.keys()} == {module: kubernetes[module] for module in excluded & coredns.keys()}
