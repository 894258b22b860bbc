# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _lab_programs as lab_programs
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._images import IMAGES
from ansible_collections.scs.observer.plugins.module_utils._lab_programs import (
    SOURCES,
    Source,
    fetching,
    find_archive,
    find_build,
    linker_flags,
    module_version,
)

PROGRAMS = Path(__file__).parents[4] / "roles" / "lab_cluster" / "files" / "programs"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "pause"
    path.mkdir(parents=True)
    (path / "go.mod").write_text("module pause\n")
    (path / "main.go").write_text("package main\n")
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program named go that does what the test needs; its arguments are those of go build."""
    path = tmp_path / "bin" / "go"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")


# the partial folder is the word after -o
WRITES_PROGRAM = 'while [ "$1" != -o ]; do shift; done; echo built > "$2/pause"'


@pytest.mark.parametrize(
    "text",
    [
        "require k8s.io/kubernetes v1.36.3\n",
        "require (\n\tk8s.io/kubernetes-more v9.9.9\n\tk8s.io/kubernetes v1.36.3 // indirect\n)\n",
    ],
)
def test_the_version_is_the_one_that_go_mod_requires(text: str) -> None:
    assert module_version(text, "k8s.io/kubernetes") == "v1.36.3"


def test_a_go_mod_without_the_module_is_an_error() -> None:
    with pytest.raises(ObserverError, match=r"requires no version of k8s.io/kubernetes; run 'go get -tool"):
        module_version("module x\n", "k8s.io/kubernetes")


@pytest.mark.parametrize(("module", "program"), [("v0.315.0", "3.15.0"), ("v0.302.1", "3.2.1"), ("v0.55.1", "0.55.1")])
def test_prometheus_numbers_itself_in_its_own_way(module: str, program: str) -> None:
    assert lab_programs._prometheus_version(module) == program


def test_linker_flags_carry_the_version() -> None:
    flags = linker_flags(SOURCES["kubernetes"], "require k8s.io/kubernetes v1.36.3\n")
    assert flags.startswith("-s -w ")
    assert "-X k8s.io/component-base/version.gitVersion=v1.36.3" in flags
    assert "version.gitMajor=1 " in flags
    assert flags.endswith("version.gitMinor=36")
    assert linker_flags(Source(""), "") == "-s -w"


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_every_program_has_its_folder_and_its_version(name: str) -> None:
    build = find_build(name, PROGRAMS / name, Path("/cache"))
    assert (build.folder / "go.sum").is_file() or name == "pause"
    flags = linker_flags(SOURCES[name], (build.folder / "go.mod").read_text())
    assert "{" not in flags


@pytest.mark.parametrize(
    ("image", "program"), [("thanos", "thanos"), ("prometheus", "prometheus"), ("alertmanager", "alertmanager"), ("kube_state_metrics", "kube_state_metrics")]
)
def test_programs_have_the_versions_of_the_images_that_production_pulls(image: str, program: str) -> None:
    version = SOURCES[program].version(module_version((PROGRAMS / program / "go.mod").read_text(), SOURCES[program].module))
    assert IMAGES[image].reference.endswith(f":v{version}")


def test_the_output_is_named_by_what_decides_it(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def output() -> Path:
        return find_build("pause", folder, cache).output

    names = [output()]
    (folder / "README").write_text("no part of it")
    assert output() == names[0]
    for change in (lambda: (folder / "main.go").write_text("package main // 2\n"), lambda: (folder / "go.sum").write_text("x")):
        change()
        names.append(output())
    for source in (Source("", package=".", tags=("netgo",)), Source("", package=".", linker=("-X a=b",)), Source("", package="./cmd")):
        monkeypatch.setitem(SOURCES, "pause", source)
        names.append(output())
    assert len(set(names)) == len(names) == 6
    assert all(name.parent == cache / "programs" for name in names)


def test_a_build_is_there_whole(folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(tmp_path, monkeypatch, WRITES_PROGRAM)
    build = find_build("pause", folder, cache)
    assert not build.done
    build.run()
    assert build.done
    assert (build.output / "pause").read_text() == "built\n"
    assert (cache / "bin" / "pause").resolve() == build.output / "pause"
    assert [path.name for path in (cache / "programs").iterdir()] == [build.output.name]


def test_a_failed_build_says_why_and_leaves_nothing(folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(tmp_path, monkeypatch, "echo 'main.go:1: syntax error' >&2; exit 1")
    build = find_build("pause", folder, cache)
    with pytest.raises(ObserverError, match=r"'go build' of pause in .*/pause failed: main.go:1: syntax error"):
        build.run()
    assert not build.done
    assert list((cache / "programs").iterdir()) == []


def test_a_killed_build_leaves_nothing_that_looks_whole(folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(tmp_path, monkeypatch, f"{WRITES_PROGRAM}; kill -9 $PPID")
    build = find_build("pause", folder, cache)
    pid = os.fork()
    if pid == 0:
        build.run()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 9
    assert not build.done
    [partial] = (cache / "programs").iterdir()
    assert partial.name.startswith(f"{build.output.name}.partial-")
    go(tmp_path, monkeypatch, WRITES_PROGRAM)
    build.run()
    assert build.done
    assert [path.name for path in (cache / "programs").iterdir()] == [build.output.name]


def test_older_builds_of_the_same_program_go(folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(tmp_path, monkeypatch, WRITES_PROGRAM)
    find_build("pause", folder, cache).run()
    keep = cache / "programs" / "pause-other-0123456789abcdef"
    keep.mkdir()
    (folder / "main.go").write_text("package main // 2\n")
    newer = find_build("pause", folder, cache)
    newer.run()
    assert set((cache / "programs").iterdir()) == {newer.output, keep}
    assert (cache / "bin" / "pause").resolve() == newer.output / "pause"


def test_go_is_missing(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ObserverError, match="the program go is missing; install Go"):
        find_build("pause", folder, cache).run()
    assert list((cache / "programs").iterdir()) == []


def test_verification_is_never_switched_off(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOFLAGS", "-mod=mod")
    environment = find_build("pause", folder, cache).environment()
    assert environment["GOFLAGS"] == "-mod=readonly"
    assert environment["GOTOOLCHAIN"] == "local"
    assert environment["GOMODCACHE"] == str(cache / "go" / "mod")


@pytest.mark.parametrize(("name", "message"), [("nonsense", "no lab program is named 'nonsense'; there are alertmanager"), ("thanos", "holds no go.mod")])
def test_a_program_that_cant_be_built(tmp_path: Path, cache: Path, name: str, message: str) -> None:
    with pytest.raises(ObserverError, match=message):
        find_build(name, tmp_path / name, cache)


def test_images_that_cant_be_made(cache: Path) -> None:
    with pytest.raises(ObserverError, match="no image is named 'nonsense'"):
        find_archive("nonsense", PROGRAMS, cache)
    with pytest.raises(ObserverError, match="grafana can't be made from source; give it as an archive in lab_cluster_image_archives"):
        find_archive("grafana", PROGRAMS, cache)
    with pytest.raises(ObserverError, match="the image pause needs the program pause, which is not built; build it first"):
        find_archive("pause", PROGRAMS, cache).make()


def test_an_archive_is_named_by_what_is_in_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = find_archive("pause", PROGRAMS, cache).path
    assert find_archive("pause", PROGRAMS, cache).path == before
    monkeypatch.setattr(lab_programs, "LAYOUT", lab_programs.LAYOUT + 1)
    assert find_archive("pause", PROGRAMS, cache).path != before


def later(folder: Path, cache: Path) -> lab_programs.Build:
    return find_build("pause", folder, cache)


def eventually(path: Path) -> None:
    end = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_modules_are_fetched_while_another_program_is_built(folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(tmp_path, monkeypatch, f'echo "$@" >> {tmp_path}/calls')
    build = later(folder, cache)
    with fetching([build]):
        eventually(build.fetched)
    with fetching([build]):
        pass
    assert (tmp_path / "calls").read_text() == "list -deps -tags  .\n"
    assert not build.done


def test_fetching_ends_with_the_build(folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/pid.partial; mv {tmp_path}/pid.partial {tmp_path}/pid; exec sleep 600")
    build = later(folder, cache)
    with fetching([build]):
        eventually(tmp_path / "pid")
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
    assert not build.fetched.exists()


def test_what_cant_be_fetched_is_left_to_the_build(folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(tmp_path, monkeypatch, f"touch {tmp_path}/called; exit 1")
    build = later(folder, cache)
    with fetching([build]):
        eventually(tmp_path / "called")
    assert not build.fetched.exists()
