# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: container images as archives, from programs and Debian packages, without a registry and without Docker.

The same content gives the same bytes: names sorted, no times, one owner.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
import typing as t
from pathlib import Path, PurePosixPath

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._images import IMAGES

NOBODY = "65534"
DEBIAN_RELEASE = "bookworm"
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSWD = "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"
_GROUP = "root:x:0:\nnobody:x:65534:\n"
_NSSWITCH = "hosts: files dns\n"


@dataclasses.dataclass(frozen=True)
class ProgramImage:
    """An image of IMAGES: the folder below roles/lab_cluster/files/programs it is built in, and the binaries' paths as in the official image."""

    program: str
    binaries: t.Mapping[str, str]
    entrypoint: str
    user: str = NOBODY
    workdir: str = "/"
    # bits of capabilities(7) that the binary gets when the container may have them
    capabilities: tuple[int, ...] = ()


_NET_BIND_SERVICE = 10

PROGRAM_IMAGES: t.Final[t.Mapping[str, ProgramImage]] = {
    "thanos": ProgramImage("thanos", {"/bin/thanos": "thanos"}, "/bin/thanos"),
    "prometheus": ProgramImage("prometheus", {"/bin/prometheus": "prometheus", "/bin/promtool": "promtool"}, "/bin/prometheus", workdir="/prometheus"),
    "alertmanager": ProgramImage("alertmanager", {"/bin/alertmanager": "alertmanager", "/bin/amtool": "amtool"}, "/bin/alertmanager", workdir="/alertmanager"),
    "blackbox_exporter": ProgramImage("blackbox_exporter", {"/bin/blackbox_exporter": "blackbox_exporter"}, "/bin/blackbox_exporter"),
    "node_exporter": ProgramImage("node_exporter", {"/bin/node_exporter": "node_exporter"}, "/bin/node_exporter"),
    "kube_state_metrics": ProgramImage("kube_state_metrics", {"/kube-state-metrics": "kube-state-metrics"}, "/kube-state-metrics"),
    # port 53 as a user who is not root
    "coredns": ProgramImage("coredns", {"/coredns": "coredns"}, "/coredns", capabilities=(_NET_BIND_SERVICE,)),
    "pause": ProgramImage("pause", {"/pause": "pause"}, "/pause", user="65535:65535"),
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One path of a layer: a folder, a symbolic link, or a file with its bytes or the file that holds them."""

    kind: t.Literal["folder", "link", "file"]
    mode: int = 0o755
    content: bytes | Path = b""
    target: str = ""
    owner: int = 0
    capabilities: tuple[int, ...] = ()


Layer = dict[str, Entry]


def build_program_image(name: str, binaries: Path, out: Path, reference: str | None = None) -> str:
    """The archive of one of PROGRAM_IMAGES from the folder with its built binaries; returns the image's id."""
    if name not in PROGRAM_IMAGES:
        raise ObserverError(f"No lab image is named {name!r}. There are: {', '.join(sorted([*PROGRAM_IMAGES, 'python']))}.")
    image = PROGRAM_IMAGES[name]
    return build_scratch_image(
        reference or IMAGES[name].reference,
        {path: binaries / binary for path, binary in image.binaries.items()},
        [image.entrypoint],
        user=image.user,
        workdir=image.workdir,
        out=out,
        capabilities=image.capabilities,
    )


def build_scratch_image(
    reference: str,
    files: t.Mapping[str, Path],
    entrypoint: t.Sequence[str],
    *,
    out: Path,
    user: str = NOBODY,
    workdir: str = "/",
    capabilities: t.Sequence[int] = (),
) -> str:
    """An archive with nothing but static programs and what they expect of a system; returns the image's id."""
    layer = _system_layer()
    for path, source in files.items():
        if not source.is_file():
            raise ObserverError(f"The image {reference} cannot be made: {source} is missing. Build that program first.")
        layer[_inside(path)] = Entry("file", 0o755, source, capabilities=tuple(capabilities))
    if _inside(workdir):
        layer[_inside(workdir)] = Entry("folder", 0o755, owner=int(user.partition(":")[0]))
    return _write_archive(reference, layer, {"Entrypoint": list(entrypoint), "User": user, "WorkingDir": workdir, "Env": [f"PATH={_PATH}"]}, out)


def build_python_image(reference: str, out: Path, workdir: Path) -> str:
    """An archive with Debian's Python and its standard library; packages are fetched, verified and left below C(workdir)."""
    layer = _system_layer()
    for package in _closure(_download_debian_packages(workdir), ["libpython3.11-stdlib", "python3.11-minimal"]):
        layer = _unpack(package) | layer
    for name in ("python3", "python3.11"):
        layer[f"usr/local/bin/{name}"] = Entry("link", target="/usr/bin/python3.11")
    layer["usr/lib/ssl/cert.pem"] = Entry("link", target="/etc/ssl/certs/ca-certificates.crt")
    for name in ("bin", "lib", "lib64", "sbin"):
        layer[name] = Entry("link", target=f"usr/{name}")
    settings = {"Cmd": ["python3"], "User": NOBODY, "WorkingDir": "/", "Env": [f"PATH={_PATH}", "LANG=C.UTF-8"]}
    return _write_archive(reference, layer, settings, out)


def _inside(path: str) -> str:
    return str(PurePosixPath("/", path).relative_to("/")).removeprefix(".")


def _system_layer() -> Layer:
    if not CA_BUNDLE.is_file():
        raise ObserverError(f"The lab's images need {CA_BUNDLE}. Install the package ca-certificates.")
    return {
        "etc/passwd": Entry("file", 0o644, _PASSWD.encode()),
        "etc/group": Entry("file", 0o644, _GROUP.encode()),
        "etc/nsswitch.conf": Entry("file", 0o644, _NSSWITCH.encode()),
        "etc/ssl/certs/ca-certificates.crt": Entry("file", 0o644, CA_BUNDLE),
        "tmp": Entry("folder", 0o1777),
    }


def _with_parents(layer: Layer) -> Layer:
    parents = {str(parent) for path in layer for parent in PurePosixPath(path).parents if str(parent) != "."}
    return {path: Entry("folder") for path in parents - layer.keys()} | layer


def _write_layer(layer: Layer, out: Path) -> None:
    # pax only where an attribute needs it: its headers would differ nowhere else
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT, dereference=True) as tar:
        for path, entry in sorted(_with_parents(layer).items()):
            member = tarfile.TarInfo(path)
            member.mode, member.uid, member.gid, member.mtime = entry.mode, entry.owner, entry.owner, 0
            if entry.kind == "folder":
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
            elif entry.kind == "link":
                member.type, member.linkname, member.mode = tarfile.SYMTYPE, entry.target, 0o777
                tar.addfile(member)
            else:
                if entry.capabilities:
                    member.pax_headers["SCHILY.xattr.security.capability"] = _capability_attribute(entry.capabilities)
                with entry.content.open("rb") if isinstance(entry.content, Path) else io.BytesIO(entry.content) as content:
                    member.size = content.seek(0, os.SEEK_END)
                    content.seek(0)
                    tar.addfile(member, content)


def _capability_attribute(capabilities: t.Sequence[int]) -> str:
    """struct vfs_cap_data, revision 2 with the effective bit; all bytes stay below 128 for the capabilities in use."""
    permitted = sum(1 << bit for bit in capabilities)
    words = (0x02000001, permitted & 0xFFFFFFFF, 0, permitted >> 32, 0)
    return b"".join(word.to_bytes(4, "little") for word in words).decode("ascii")


def _write_archive(reference: str, layer: Layer, settings: t.Mapping[str, t.Any], out: Path) -> str:
    """A docker-archive, as 'docker save' writes it and 'ctr images import' reads it; it appears whole or not at all."""
    partial = out.with_name(f"{out.name}.partial-{os.getpid()}")
    layer_file = out.with_name(f"{out.name}.layer-{os.getpid()}")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        _write_layer(layer, layer_file)
        with layer_file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        config = {
            "architecture": _architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": dict(settings),
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "scs.observer lab"}],
        }
        config_bytes = json.dumps(config, sort_keys=True).encode()
        image = hashlib.sha256(config_bytes).hexdigest()
        manifest = [{"Config": f"{image}.json", "RepoTags": [reference], "Layers": [f"{digest}/layer.tar"]}]
        with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
            for path, content in (
                (f"{digest}/layer.tar", layer_file),
                (f"{image}.json", config_bytes),
                ("manifest.json", json.dumps(manifest, sort_keys=True).encode()),
            ):
                member = tarfile.TarInfo(path)
                member.mode = 0o644
                with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as stream:
                    member.size = stream.seek(0, os.SEEK_END)
                    stream.seek(0)
                    tar.addfile(member, stream)
        partial.rename(out)
    finally:
        partial.unlink(missing_ok=True)
        layer_file.unlink(missing_ok=True)
    return f"sha256:{image}"


def _architecture() -> str:
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise ObserverError(f"The lab's images cannot be made on a machine of kind {machine}. It runs on {' and '.join(_ARCHITECTURES)}.")
    return _ARCHITECTURES[machine]


def debian_mirror(apt: Path = Path("/etc/apt")) -> str | None:
    """The mirror that this machine's apt takes Debian's release from, or None when it has none."""
    for path in sorted(apt.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            fields = {
                key.lower(): value.split() for key, _colon, value in (line.partition(":") for line in stanza.splitlines() if re.match(r"[A-Za-z-]+:", line))
            }
            if "deb" in fields.get("types", []) and DEBIAN_RELEASE in fields.get("suites", []) and fields.get("enabled") != ["no"]:
                return next((uri for uri in fields.get("uris", []) if uri.startswith("http")), None)
    for path in [apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))]:
        if path.is_file():
            found = re.search(rf"^deb\s+(?:\[[^]]*\]\s+)?(https?://\S+)\s+{DEBIAN_RELEASE}\s", path.read_text(), re.MULTILINE)
            if found:
                return found.group(1)
    return None


def _download_debian_packages(workdir: Path) -> Path:
    """A folder with the packages of a small Debian, each checked against the release that Debian's archive key has signed."""
    target = workdir / "debian"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    mirror = debian_mirror()
    command = ["debootstrap", "--download-only", "--force-check-gpg", "--variant=minbase", "--include=libpython3.11-stdlib,python3.11-minimal"]
    command += [DEBIAN_RELEASE, str(target), *([mirror] if mirror else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ObserverError("The program debootstrap is missing. Install the package debootstrap.") from error
    if done.returncode:
        raise ObserverError(f"debootstrap could not fetch Debian {DEBIAN_RELEASE}'s packages: {(done.stdout + done.stderr).strip()[-800:]}")
    return target / "var/cache/apt/archives"


def _closure(packages: Path, wanted: t.Sequence[str]) -> list[Path]:
    """The wanted packages and all that they depend on, in a fixed order."""
    found = {path.name.partition("_")[0]: path for path in sorted(packages.glob("*.deb"))}
    chosen: dict[str, Path] = {}
    open_names = list(wanted)
    while open_names:
        name = open_names.pop()
        if name in chosen:
            continue
        if name not in found:
            raise ObserverError(f"Debian's package {name} is not among those that debootstrap fetched into {packages}.")
        chosen[name] = found[name]
        fields = subprocess.run(["dpkg-deb", "--field", str(found[name]), "Pre-Depends", "Depends"], capture_output=True, text=True, check=True).stdout
        for alternatives in re.split(r",|^\S+:", fields, flags=re.MULTILINE):
            names = [re.split(r"[\s:(]", choice.strip())[0] for choice in alternatives.split("|")]
            open_names += [next((choice for choice in names if choice in found), names[0])] if names[0] and any(choice in found for choice in names) else []
    return [chosen[name] for name in sorted(chosen)]


_DROPPED = re.compile(
    r"usr/share/(doc|man|locale|info|lintian|bug|i18n|readline|pixmaps|menu)/|usr/lib/\S*/gconv/|etc/cron|etc/apt/|usr/lib/python3\.11/(test|idlelib|lib2to3)/"
)


def _unpack(package: Path) -> Layer:
    """A package's files, without documentation, in Debian's merged /usr."""
    layer: Layer = {}
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as process, contextlib.ExitStack() as stack:
        tar = stack.enter_context(tarfile.open(fileobj=process.stdout, mode="r|"))
        for member in tar:
            path = re.sub(r"^(bin|sbin|lib|lib64)(?=/)", r"usr/\1", _inside(member.name))
            if _DROPPED.match(path) or path in ("bin", "sbin", "lib", "lib64"):
                continue
            if member.issym():
                layer[path] = Entry("link", target=member.linkname)
            elif member.islnk():
                layer[path] = layer[re.sub(r"^(bin|sbin|lib|lib64)(?=/)", r"usr/\1", _inside(member.linkname))]
            elif member.isfile():
                content = t.cast(t.IO[bytes], tar.extractfile(member)).read()
                # no set-uid program: nothing in the image becomes another user
                layer[path] = Entry("file", member.mode & 0o755, content)
        # dpkg-deb must not be stopped in the padding after the end
        t.cast(t.IO[bytes], process.stdout).read()
    if process.returncode:
        raise ObserverError(f"dpkg-deb could not unpack {package}. Remove that file and run again.")
    return layer
