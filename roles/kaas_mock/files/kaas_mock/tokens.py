# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what: tokens have names, and lie in a file that only this service's user can read."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import threading
from pathlib import Path

from kaas_mock.settings import SettingsError

ADMIN = "admin"
NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?")
SHORTEST = 20


class Tokens:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._hashes: dict[str, bytes] = {}
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # written whole or not at all
            new = path.with_name(f"{path.name}.new")
            new.unlink(missing_ok=True)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump({ADMIN: secrets.token_urlsafe(32)}, file)
            new.rename(path)
        self._read()

    def owner(self, token: str) -> str | None:
        """Whose token it is; compared with all of them, in a time that tells nothing about them."""
        self._read()
        asked = _hash(token)
        found = None
        for name, known in self._hashes.items():
            if hmac.compare_digest(asked, known):
                found = name
        return found

    def _read(self) -> None:
        with self._lock:
            try:
                status = self._path.stat()
                seen = (status.st_mtime_ns, status.st_size, status.st_ino)
                if seen == self._seen:
                    return
                if status.st_mode & 0o077:
                    raise SettingsError(f"The tokens file {self._path} can be read by others than its owner. Set its mode to 0600.")
                tokens = json.loads(self._path.read_text())
            except OSError as error:
                raise SettingsError(f"The tokens file {self._path} can not be read: {error.strerror}.") from error
            except ValueError as error:
                raise SettingsError(f"The tokens file {self._path} is no JSON. Write an object of names and tokens into it.") from error
            self._hashes = _check(self._path, tokens)
            self._seen = seen


def _check(path: Path, tokens: object) -> dict[str, bytes]:
    if not isinstance(tokens, dict) or not tokens:
        raise SettingsError(f'The tokens file {path} holds no object of names and tokens. Write {{"admin": "<token>"}} into it.')
    for name, token in tokens.items():
        if not NAME.fullmatch(name):
            raise SettingsError(f"The tokens file {path} has a token for {name!r}. Use letters, digits, '.', '_' and '-' in a name, at most 63.")
        if not isinstance(token, str) or len(token) < SHORTEST:
            raise SettingsError(f"The tokens file {path}: the token of {name} is no text of at least {SHORTEST} characters. Make a longer one.")
    if len(set(tokens.values())) != len(tokens):
        raise SettingsError(f"The tokens file {path} has one token under two names. Give each name its own.")
    return {name: _hash(token) for name, token in tokens.items()}


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
