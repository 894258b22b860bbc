# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs what runs of a collection, also of one that was never built (a checkout), and prints the pack's SHA-256.

Runs on the controller, by Ansible's own Python. The same content always gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import pathlib
import tarfile
import typing as t

# collections run from these only
PARTS = ("meta", "playbooks", "plugins", "roles")


def files(top: pathlib.Path) -> t.Iterator[pathlib.Path]:
    for part in PARTS:
        for path in sorted((top / part).rglob("*")):
            if path.is_file() and path.suffix != ".pyc" and not any(name.startswith(".") for name in path.relative_to(top).parts):
                yield path


def pack(top: pathlib.Path) -> bytes:
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in files(top):
            content = path.read_bytes()
            member = tarfile.TarInfo(path.relative_to(top).as_posix())
            member.size = len(content)
            member.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            archive.addfile(member, io.BytesIO(content))
    return found.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("top", type=pathlib.Path, help="the collection's folder")
    parser.add_argument("to", type=pathlib.Path, help="where to write the pack")
    words = parser.parse_args()
    packed = pack(words.top)
    words.to.write_bytes(packed)
    print(hashlib.sha256(packed).hexdigest())


if __name__ == "__main__":
    main()
