# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _lab_images
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._images import IMAGES

REFERENCE = "registry.example.com/a/b:v1"


class Archive:
    """A docker-archive, read back."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as tar:
            parts = {member.name: t.cast(t.IO[bytes], tar.extractfile(member)).read() for member in tar}
        [manifest] = json.loads(parts["manifest.json"])
        self.tags = manifest["RepoTags"]
        self.config_name = manifest["Config"]
        self.config_bytes = parts[manifest["Config"]]
        self.config = json.loads(self.config_bytes)
        [layer] = manifest["Layers"]
        self.layer_bytes = parts[layer]
        self.layer = tarfile.open(fileobj=io.BytesIO(self.layer_bytes))  # noqa: SIM115
        self.members = {member.name: member for member in self.layer}

    def read(self, path: str) -> bytes:
        return t.cast(t.IO[bytes], self.layer.extractfile(path)).read()


@pytest.fixture(autouse=True)
def ca_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.crt").write_text("authorities")
    monkeypatch.setattr(_lab_images, "CA_BUNDLE", tmp_path / "ca.crt")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program"
    path.write_bytes(b"\x7fELF")
    return path


def build(tmp_path: Path, program: Path, **options: t.Any) -> tuple[str, Archive]:
    out = tmp_path / "out" / "image.tar"
    identity = _lab_images.build_scratch_image(REFERENCE, {"/bin/program": program}, ["/bin/program"], out=out, **options)
    return identity, Archive(out)


def test_scratch_image_holds_the_program_and_what_it_expects(tmp_path: Path, program: Path) -> None:
    _identity, archive = build(tmp_path, program)
    assert archive.tags == [REFERENCE]
    assert archive.read("bin/program") == b"\x7fELF"
    assert archive.members["bin/program"].mode == 0o755
    assert archive.read("etc/ssl/certs/ca-certificates.crt") == b"authorities"
    assert b"nobody:x:65534:65534:" in archive.read("etc/passwd")
    assert b"nobody:x:65534:" in archive.read("etc/group")
    assert archive.read("etc/nsswitch.conf") == b"hosts: files dns\n"
    assert archive.members["tmp"].isdir()
    assert archive.members["tmp"].mode == 0o1777
    assert archive.config["config"] == {"Entrypoint": ["/bin/program"], "User": "65534", "WorkingDir": "/", "Env": [f"PATH={_lab_images._PATH}"]}


def test_digests_are_those_of_the_content(tmp_path: Path, program: Path) -> None:
    identity, archive = build(tmp_path, program)
    digest = hashlib.sha256(archive.config_bytes).hexdigest()
    assert identity == f"sha256:{digest}"
    assert archive.config_name == f"{digest}.json"
    assert archive.config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(archive.layer_bytes).hexdigest()}"]


def test_same_content_gives_the_same_bytes(tmp_path: Path, program: Path) -> None:
    build(tmp_path, program)
    first = (tmp_path / "out" / "image.tar").read_bytes()
    program.touch()
    program.chmod(0o700)
    build(tmp_path, program)
    assert (tmp_path / "out" / "image.tar").read_bytes() == first


def test_layer_is_sorted_without_times_and_has_every_folder(tmp_path: Path, program: Path) -> None:
    _identity, archive = build(tmp_path, program)
    assert list(archive.members) == sorted(archive.members)
    assert {member.mtime for member in archive.members.values()} == {0}
    assert {"bin", "etc", "etc/ssl", "etc/ssl/certs"} <= {name for name, member in archive.members.items() if member.isdir()}
    assert "" not in archive.members


def test_work_folder_belongs_to_the_user(tmp_path: Path, program: Path) -> None:
    _identity, archive = build(tmp_path, program, user="1000:2000", workdir="/prometheus")
    assert (archive.members["prometheus"].uid, archive.members["prometheus"].isdir()) == (1000, True)
    assert (archive.config["config"]["User"], archive.config["config"]["WorkingDir"]) == ("1000:2000", "/prometheus")


def test_file_capability_is_as_setcap_writes_it(tmp_path: Path, program: Path) -> None:
    _identity, archive = build(tmp_path, program, capabilities=(10,))
    attribute = archive.members["bin/program"].pax_headers["SCHILY.xattr.security.capability"].encode()
    assert attribute.hex() == "0100000200040000" + "00000000" * 3
    assert archive.members["etc/passwd"].pax_headers == {}


def test_missing_program_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ObserverError, match=rf"image {REFERENCE} cannot be made: .*/nowhere is missing"):
        build(tmp_path, tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()


def test_interrupted_build_leaves_nothing(tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_lab_images.json, "dumps", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, program)
    assert list((tmp_path / "out").iterdir()) == []


def test_program_images_are_those_of_the_table(tmp_path: Path) -> None:
    assert set(_lab_images.PROGRAM_IMAGES) | {"python", "grafana", "openstack_exporter"} == set(IMAGES)
    for name, image in _lab_images.PROGRAM_IMAGES.items():
        for binary in image.binaries.values():
            (tmp_path / binary).write_bytes(b"x")
        _lab_images.build_program_image(name, tmp_path, tmp_path / f"{name}.tar")
        archive = Archive(tmp_path / f"{name}.tar")
        assert archive.tags == [IMAGES[name].reference]
        assert archive.config["config"]["Entrypoint"] == [image.entrypoint]
        assert {path.removeprefix("/") for path in image.binaries} <= set(archive.members)
        assert image.entrypoint in image.binaries
        assert image.user.partition(":")[0].isdecimal()


def test_unknown_program_image(tmp_path: Path) -> None:
    with pytest.raises(ObserverError, match=r"No lab image is named 'grafana'. There are: alertmanager,.* python"):
        _lab_images.build_program_image("grafana", tmp_path, tmp_path / "x.tar")


def test_machine_of_another_kind(tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(ObserverError, match="machine of kind riscv64"):
        build(tmp_path, program)


def package(folder: Path, name: str, files: t.Mapping[str, str], depends: str = "") -> None:
    """A Debian package, made by Debian's own tool; C(-> x) as content makes a link."""
    root = folder / "source" / name
    (root / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: t <t@example.com>\nDescription: t\n"
    (root / "DEBIAN" / "control").write_text(control + (f"Depends: {depends}\n" if depends else ""))
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("-> "):
            (root / path).symlink_to(content[3:])
        else:
            (root / path).write_text(content)
            (root / path).chmod(0o4755)
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", root, folder / f"{name}_1_all.deb"], check=True, capture_output=True)


def test_python_image_is_the_closure_of_pythons_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    package(packages, "python3.11-minimal", {"usr/bin/python3.11": "python", "usr/share/doc/python/x": "doc"}, "libc6 (>= 2) | musl, libnone | libz")
    package(packages, "libpython3.11-stdlib", {"usr/lib/python3.11/json.py": "json", "etc/passwd": "theirs"})
    package(packages, "libc6", {"lib/libc.so.6": "libc", "lib64/ld.so": "-> /lib/libc.so.6", "usr/share/man/x": "man"})
    package(packages, "libz", {"usr/lib/libz.so": "z"})
    package(packages, "perl-base", {"usr/bin/perl": "perl"})
    monkeypatch.setattr(_lab_images, "_download_debian_packages", lambda _workdir: packages)
    out = tmp_path / "python.tar"
    first = _lab_images.build_python_image(REFERENCE, out, tmp_path)
    archive = Archive(out)
    assert archive.read("usr/lib/libc.so.6") == b"libc"
    assert archive.members["usr/lib64/ld.so"].linkname == "/lib/libc.so.6"
    assert archive.members["lib64"].linkname == "usr/lib64"
    assert archive.members["usr/local/bin/python3"].linkname == "/usr/bin/python3.11"
    assert archive.members["usr/bin/python3.11"].mode == 0o755
    assert {"usr/lib/libz.so", "usr/lib/python3.11/json.py", "tmp"} <= set(archive.members)
    assert not [name for name in archive.members if "perl" in name or "/doc" in name or "/man" in name]
    assert archive.read("etc/passwd") == _lab_images._PASSWD.encode()
    assert archive.config["config"]["Cmd"] == ["python3"]
    assert archive.config["config"]["User"] == "65534"
    assert _lab_images.build_python_image(REFERENCE, out, tmp_path) == first


def test_package_that_was_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lab_images, "_download_debian_packages", lambda _workdir: tmp_path)
    with pytest.raises(ObserverError, match=r"package python3.11-minimal is not among those"):
        _lab_images.build_python_image(REFERENCE, tmp_path / "x.tar", tmp_path)


DEB822 = """# a comment
Types: deb
URIs: {uri}
Suites: {suites}
Components: main
{more}
"""


@pytest.mark.parametrize(
    ("files", "mirror"),
    [
        ({}, None),
        ({"sources.list.d/d.sources": DEB822.format(uri="http://a.example/debian", suites="bookworm bookworm-updates", more="")}, "http://a.example/debian"),
        ({"sources.list.d/d.sources": DEB822.format(uri="http://a.example/debian", suites="bookworm-security", more="")}, None),
        ({"sources.list.d/d.sources": DEB822.format(uri="http://a.example/debian", suites="bookworm", more="Enabled: no")}, None),
        ({"sources.list.d/d.sources": DEB822.format(uri="mirror+file:/etc/apt/m", suites="bookworm", more="")}, None),
        ({"sources.list": "# deb http://no.example bookworm main\ndeb [arch=amd64] https://b.example/debian bookworm main\n"}, "https://b.example/debian"),
        ({"sources.list": "deb http://b.example/debian trixie main\n", "sources.list.d/x.list": "deb http://c.example bookworm main\n"}, "http://c.example"),
    ],
)
def test_mirror_is_the_one_of_this_machines_apt(tmp_path: Path, files: dict[str, str], mirror: str | None) -> None:
    for name, text in files.items():
        (tmp_path / "apt" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "apt" / name).write_text(text)
    assert _lab_images.debian_mirror(tmp_path / "apt") == mirror


def test_packages_are_always_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def run(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        seen.append(command)
        return subprocess.CompletedProcess(command, 1, "", "E: Release signed by unknown key")

    monkeypatch.setattr("subprocess.run", run)
    with pytest.raises(ObserverError, match="could not fetch Debian bookworm's packages: E: Release signed by unknown key"):
        _lab_images.build_python_image(REFERENCE, tmp_path / "x.tar", tmp_path)
    assert "--force-check-gpg" in seen[0]
    assert "--no-check-gpg" not in seen[0]
