# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: how to come in at a URL, for every module that takes one with the options url_*; it loads no HTTP library."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import ssl
import typing as t
import urllib.parse

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

if t.TYPE_CHECKING:
    import requests

# Documented by the fragment query_url.
ACCESS_SPEC: dict[str, t.Any] = {
    "url_username": {"type": "str"},
    "url_password": {"type": "str", "no_log": True},
    "url_token": {"type": "str", "no_log": True},
    "url_ca_certificate": {"type": "str"},
    "url_client_certificate": {"type": "str"},
    "url_client_key": {"type": "str", "no_log": True},
}


@dataclasses.dataclass(frozen=True)
class Access:
    """How to come in at a URL; certificates and key are PEM texts."""

    username: str = ""
    password: str = dataclasses.field(default="", repr=False)
    token: str = dataclasses.field(default="", repr=False)
    ca_certificate: str = ""
    client_certificate: str = ""
    client_key: str = dataclasses.field(default="", repr=False)

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Access:
        return cls(**{name.removeprefix("url_"): params[name] or "" for name in ACCESS_SPEC})


def check_url(url: str, examples: str, without: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:
        good = False
    # no echo of what may hold user:password@
    if not good or parts.username is not None or parts.query or parts.fragment:
        raise ObserverError(f"url is malformed. Write it like {examples}, without {without}, query or user; a user is given as url_username and url_password.")


def authentication(access: Access) -> t.Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Always one, for without it requests would look into ~/.netrc."""
    if access.username:
        from requests.auth import HTTPBasicAuth

        return HTTPBasicAuth(access.username.encode(), access.password.encode())

    def authenticate(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if access.token:
            request.headers["Authorization"] = f"Bearer {access.token}"
        return request

    return authenticate


def tls_files(folder: pathlib.Path, access: Access) -> tuple[str | bool, tuple[str, str] | None]:
    """What requests takes as C(verify) and C(cert): the PEM texts as checked files in a private folder, for it reads files only."""
    verify: str | bool = _file(folder, "ca.crt", access.ca_certificate) or True
    certificate, key = _file(folder, "tls.crt", access.client_certificate), _file(folder, "tls.key", access.client_key)
    both = (certificate, key) if certificate and key else None
    _check_files(verify, both)
    return verify, both


def _file(folder: pathlib.Path, name: str, text: str) -> str:
    if not text:
        return ""
    path = folder / name
    path.touch(mode=0o600)
    path.write_text(text)
    return str(path)


def _check_files(authority: str | bool, certificate: tuple[str, str] | None) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if isinstance(authority, str):
            context.load_verify_locations(authority)
    except (ssl.SSLError, OSError):
        raise ObserverError("url_ca_certificate can not be read as PEM. Give the text from BEGIN CERTIFICATE to END CERTIFICATE.") from None
    try:
        if certificate:
            # an empty passphrase, for without one OpenSSL would ask for it at the terminal
            context.load_cert_chain(*certificate, password="")
    except (ssl.SSLError, OSError):
        message = "url_client_certificate and url_client_key can not be read as PEM, or do not belong together. Give both, the key not encrypted."
        raise ObserverError(message) from None


def reason(error: Exception) -> str:
    """The innermost cause, without the connection's address in memory."""
    cause: t.Any = error
    while True:
        inner = getattr(cause, "reason", None)
        if not isinstance(inner, Exception):
            inner = next((argument for argument in getattr(cause, "args", ()) if isinstance(argument, Exception)), None)
        if inner is None:
            break
        cause = inner
    text = (str(cause) or type(cause).__name__).splitlines()[0]
    return re.sub(r"^(.*object at 0x[0-9a-f]+>|\w+Connection\(host=.*?, port=\d+\)): ", "", text)
