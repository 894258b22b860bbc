# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: builds the lab's programs from Go modules, once for each go.sum."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
import threading
import time
import typing as t
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._images import IMAGES
from ansible_collections.scs.observer.plugins.module_utils._lab_images import PROGRAM_IMAGES, build_program_image, build_python_image

# Raised when _lab_images lays an image out in another way, so that archives are made again.
LAYOUT = 1
_KUBERNETES = "k8s.io/component-base/version"
_PROMETHEUS = "github.com/prometheus/common/version"


@dataclasses.dataclass(frozen=True)
class Source:
    """How one folder below roles/lab_cluster/files/programs is built; C({version}) is the one that its go.mod names."""

    module: str
    package: str = "tool"
    tags: tuple[str, ...] = ()
    linker: tuple[str, ...] = ()
    # Prometheus numbers its Go module v0.315.0 and itself 3.15.0.
    version: t.Callable[[str], str] = lambda module_version: module_version.removeprefix("v")
    # Whether C(cache)/bin has it; not where a newer one has that name.
    linked: bool = True


def _prometheus_version(module_version: str) -> str:
    number = int(module_version.split(".")[1])
    return f"{number // 100}.{number % 100}.{module_version.split('.')[2]}"


def _prometheus_2_version(module_version: str) -> str:
    return f"2.{module_version.removeprefix('v0.')}"


SOURCES: dict[str, Source] = {
    "kubernetes": Source(
        "k8s.io/kubernetes",
        linker=(f"-X {_KUBERNETES}.gitVersion=v{{version}}", f"-X {_KUBERNETES}.gitMajor=1", f"-X {_KUBERNETES}.gitMinor={{minor}}"),
    ),
    "coredns": Source("github.com/coredns/coredns", package="."),
    "pause": Source("", package="."),
    "versitygw": Source("github.com/versity/versitygw", package="."),
    # Without slicelabels, which its own releases set too, the labels it shares with gRPC buffers are read as another type, and it crashes.
    "thanos": Source("github.com/thanos-io/thanos", tags=("netgo", "slicelabels"), linker=(f"-X {_PROMETHEUS}.Version={{version}}",)),
    # Only the discoveries that the roles use: the others are two thirds of the build.
    "prometheus": Source(
        "github.com/prometheus/prometheus",
        tags=("netgo", "remove_all_sd", "enable_kubernetes_sd", "enable_dns_sd"),
        linker=(f"-X {_PROMETHEUS}.Version={{version}}",),
        version=_prometheus_version,
    ),
    # What OSISM 8 and 9 run, for tests of the sidecar beside it. It can't leave out discoveries.
    "prometheus_2": Source(
        "github.com/prometheus/prometheus",
        tags=("netgo",),
        linker=(f"-X {_PROMETHEUS}.Version={{version}}",),
        version=_prometheus_2_version,
        linked=False,
    ),
    "alertmanager": Source("github.com/prometheus/alertmanager", tags=("netgo",), linker=(f"-X {_PROMETHEUS}.Version={{version}}",)),
    "blackbox_exporter": Source("github.com/prometheus/blackbox_exporter", linker=(f"-X {_PROMETHEUS}.Version={{version}}",)),
    "node_exporter": Source("github.com/prometheus/node_exporter", linker=(f"-X {_PROMETHEUS}.Version={{version}}",)),
    "kube_state_metrics": Source("k8s.io/kube-state-metrics/v2", linker=(f"-X {_PROMETHEUS}.Version={{version}}",)),
}


def module_version(go_mod: str, module: str) -> str:
    """The version of C(module) that the text of a go.mod requires, such as V(v1.36.3)."""
    found = re.search(rf"^\s*(?:require\s+)?{re.escape(module)}\s+(v\S+)", go_mod, re.MULTILINE)
    if not found:
        raise ObserverError(f"go.mod requires no version of {module}; run 'go get -tool {module}@VERSION' in that folder")
    return found.group(1)


def linker_flags(source: Source, go_mod: str) -> str:
    if not source.module:
        return "-s -w"
    version = source.version(module_version(go_mod, source.module))
    return " ".join(["-s", "-w", *(flag.format(version=version, minor=version.split(".")[1]) for flag in source.linker)])


@dataclasses.dataclass(frozen=True)
class Build:
    """One program's build: where its source is, and where its binaries are once it is done."""

    name: str
    folder: Path
    cache: Path

    @property
    def output(self) -> Path:
        """Named by everything that decides the binaries, so that a folder that is there is right."""
        source = SOURCES[self.name]
        digest = hashlib.sha256(repr((source.package, source.tags, source.linker)).encode())
        for path in sorted(self.folder.iterdir()):
            if path.suffix in (".mod", ".sum", ".go"):
                digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return self.cache / "programs" / f"{self.name}-{digest.hexdigest()[:16]}"

    @property
    def done(self) -> bool:
        return self.output.is_dir()

    def environment(self) -> dict[str, str]:
        go = self.cache / "go"
        settings = {
            "CGO_ENABLED": "0",
            "GOCACHE": str(go / "build"),
            "GOMODCACHE": str(go / "mod"),
            "GOFLAGS": "-mod=readonly",
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
            # The compiler spends a third of its time on collecting garbage of processes that end soon; memory is what this machine has.
            "GOGC": "off",
            "GOMEMLIMIT": "3GiB",
        }
        return {**os.environ, **settings}

    def run(self) -> float:
        """Build with as many processors as there are; returns seconds. A killed build leaves nothing that looks whole."""
        begin = time.monotonic()
        source = SOURCES[self.name]
        partial = self.output.with_name(f"{self.output.name}.partial-{os.getpid()}")
        partial.mkdir(parents=True)
        flags = linker_flags(source, (self.folder / "go.mod").read_text())
        command = ["go", "build", "-trimpath", "-ldflags", flags, *self._tags(), "-o", f"{partial}/", source.package]
        try:
            result = subprocess.run(command, cwd=self.folder, env=self.environment(), capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            shutil.rmtree(partial)
            raise ObserverError("the program go is missing; install Go 1.26 (https://go.dev/doc/install) and put it into PATH") from error
        if result.returncode:
            shutil.rmtree(partial)
            raise ObserverError(f"'go build' of {self.name} in {self.folder} failed: {result.stderr.strip()[-1500:]}")
        partial.rename(self.output)
        self.link()
        self._drop_older()
        return time.monotonic() - begin

    def _tags(self) -> list[str]:
        return ["-tags", ",".join(SOURCES[self.name].tags)]

    @property
    def fetched(self) -> Path:
        """There when all modules of the program are in Go's cache."""
        return self.cache / "go" / "fetched" / self.output.name

    def link(self) -> None:
        """C(cache)/bin holds the newest of every program, for people and for tests."""
        if not SOURCES[self.name].linked:
            return
        folder = self.cache / "bin"
        folder.mkdir(exist_ok=True)
        for program in self.output.iterdir():
            partial = folder / f".{program.name}-{os.getpid()}"
            partial.symlink_to(program)
            partial.rename(folder / program.name)

    def _drop_older(self) -> None:
        for path in self.output.parent.glob(f"{self.name}-*"):
            if path != self.output and re.fullmatch(rf"{re.escape(self.name)}-[0-9a-f]{{16}}(\.partial-\d+)?", path.name):
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def fetching(builds: t.Sequence[Build]) -> t.Iterator[None]:
    """Fetch the modules of programs that are built later, one program after the other, as long as this context lasts.

    A build uses the network first and the processors then; so the one of this program and the other of the next. What fails here
    is left to the build, which says why.
    """
    ended = threading.Event()
    running: list[subprocess.Popen[bytes]] = []
    guard = threading.Lock()

    def fetch() -> None:
        for build in builds:
            if build.done or build.fetched.exists():
                continue
            # Only what the program imports is fetched, a small part of what go.sum names.
            command = ["go", "list", "-deps", *build._tags(), SOURCES[build.name].package]
            with guard:
                if ended.is_set():
                    return
                try:
                    process = subprocess.Popen(command, cwd=build.folder, env=build.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                except FileNotFoundError:
                    return
                running.append(process)
            if process.wait() == 0:
                build.fetched.parent.mkdir(parents=True, exist_ok=True)
                build.fetched.touch()

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        with guard:
            ended.set()
        for process in running:
            process.kill()
        thread.join()


def find_build(name: str, folder: Path, cache: Path) -> Build:
    if name not in SOURCES:
        raise ObserverError(f"no lab program is named '{name}'; there are {', '.join(sorted(SOURCES))}")
    if not (folder / "go.mod").is_file():
        raise ObserverError(f"{folder} holds no go.mod, so {name} can't be built; name the folder with the lab's programs in source")
    return Build(name, folder, cache)


@dataclasses.dataclass(frozen=True)
class Archive:
    """One image's archive; C(build) is None for the image that holds Debian's Python and nothing of ours."""

    name: str
    build: Build | None
    cache: Path

    @property
    def reference(self) -> str:
        return IMAGES[self.name].reference

    @property
    def path(self) -> Path:
        content = f"{self.reference} {self.build.output.name if self.build else ''} {LAYOUT}"
        return self.cache / "images" / f"{self.name}-{hashlib.sha256(content.encode()).hexdigest()[:16]}.tar"

    @property
    def done(self) -> bool:
        return self.path.is_file()

    def make(self) -> None:
        if self.build is None:
            build_python_image(self.reference, self.path, self.cache / "debian")
        elif not self.build.done:
            message = f"the image {self.name} needs the program {self.build.name}, which is not built"
            raise ObserverError(f"{message}; build it first with the role lab_cluster's entry point programs")
        else:
            build_program_image(self.name, self.build.output, self.path)
        for older in self.path.parent.glob(f"{self.name}-*"):
            if older != self.path:
                older.unlink()


def find_archive(name: str, source: Path, cache: Path) -> Archive:
    if name not in IMAGES:
        raise ObserverError(f"no image is named '{name}'; there are {', '.join(sorted(IMAGES))}")
    if name == "python":
        return Archive(name, None, cache)
    if name not in PROGRAM_IMAGES:
        raise ObserverError(f"the image {name} can't be made from source; give it as an archive in lab_cluster_image_archives")
    program = PROGRAM_IMAGES[name].program
    return Archive(name, find_build(program, source / program, cache), cache)
