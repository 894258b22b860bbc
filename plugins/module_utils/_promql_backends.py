# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: the two ways to the Prometheus HTTP API v1, by URL or through the Kubernetes API server's service proxy."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import re
import ssl
import tempfile
import typing as t
import urllib.parse

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._kubernetes import ApiError, Client, quote
from ansible_collections.scs.observer.plugins.module_utils._promql import QueryError

try:
    import requests

    IMPORT_ERROR: ImportError | None = None
except ImportError as error:
    IMPORT_ERROR = error

CONNECT_TIMEOUT = 10
# Longer queries are posted, for proxies refuse long addresses.
QUERY_LENGTH_MAX = 2000


class ServiceBackend:
    """Through the API server, so that a Service need not be reachable from outside; C(port) is a number or a name, C(parameters) go with each query."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        port: str,
        *,
        scheme: str = "http",
        timeout: int = 30,
        parameters: t.Mapping[str, str] | None = None,
    ) -> None:
        self.title = f"service {namespace}/{name}:{port}"
        self._client, self._timeout, self._parameters = client, timeout, dict(parameters or {})
        target = quote(f"https:{name}:{port}" if scheme == "https" else f"{name}:{port}")
        self._path = f"/api/v1/namespaces/{quote(namespace)}/services/{target}/proxy/api/v1/query"

    def query(self, query: str) -> t.Any:
        try:
            return self._client.request("GET", self._path, query={"query": query, "timeout": f"{self._timeout}s", **self._parameters})
        except ApiError as error:
            answer = _decoded(error.detail)
            if isinstance(answer, dict) and answer.get("status") == "error":
                return answer
            raise QueryError(f"{self.title}: {error}", again=error.reason != "Tls" and error.status not in (200, 400, 401, 403, 404, 405)) from error


@dataclasses.dataclass(frozen=True)
class Access:
    """How to come in at a URL; certificates and key are PEM texts."""

    username: str = ""
    password: str = dataclasses.field(default="", repr=False)
    token: str = dataclasses.field(default="", repr=False)
    ca_certificate: str = ""
    client_certificate: str = ""
    client_key: str = dataclasses.field(default="", repr=False)


class UrlBackend(contextlib.AbstractContextManager["UrlBackend"]):
    """One session for all attempts. The PEM texts lie in a private folder for its time, for requests reads files only."""

    def __init__(self, url: str, access: Access, *, timeout: int = 30) -> None:
        if IMPORT_ERROR is not None:
            raise ObserverError(f"The Python library requests can not be used where this task runs ({IMPORT_ERROR}). Install it there: pip install requests.")
        _check_url(url)
        self.title = url.rstrip("/")
        self._timeout = timeout
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "scs.observer"
        self._authenticate = _authentication(access)
        with contextlib.ExitStack() as stack:
            stack.callback(self._session.close)
            folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scs-observer-")))
            self._verify: str | bool = _file(folder, "ca.crt", access.ca_certificate) or True
            certificate, key = _file(folder, "tls.crt", access.client_certificate), _file(folder, "tls.key", access.client_key)
            self._certificate = (certificate, key) if certificate and key else None
            _check_files(self._verify, self._certificate)
            self._stack = stack.pop_all()

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def query(self, query: str) -> t.Any:
        fields = {"query": query, "timeout": f"{self._timeout}s"}
        place: dict[str, t.Any] = {"method": "POST", "data": fields} if len(query) > QUERY_LENGTH_MAX else {"method": "GET", "params": fields}
        try:
            # verify is given here because the environment's REQUESTS_CA_BUNDLE would win over the session's
            answer = self._session.request(
                url=f"{self.title}/api/v1/query",
                **place,
                auth=self._authenticate,
                verify=self._verify,
                cert=self._certificate,
                timeout=(CONNECT_TIMEOUT, self._timeout + 5),
                allow_redirects=False,
            )
        except requests.exceptions.SSLError as error:
            remedy = "Give its CA as url_ca_certificate, use a name that its certificate holds, and the client certificate that it asks for"
            raise QueryError(f"{self.title}: the TLS connection failed ({_reason(error)}). {remedy}.", again=False) from error
        except (requests.exceptions.RequestException, OSError) as error:
            remedy = "Check the address, firewalls and proxies (HTTPS_PROXY, NO_PROXY)"
            raise QueryError(f"{self.title} can not be reached ({_reason(error)}). {remedy}.", again=True) from error
        return self._decode(answer)

    def _decode(self, answer: requests.Response) -> t.Any:
        decoded = _decoded(answer.text)
        if isinstance(decoded, dict) and decoded.get("status") in ("success", "error"):
            return decoded
        status = answer.status_code
        if status in (401, 403):
            raise QueryError(
                f"{self.title} does not let us in ({status}). Check url_token, url_username and url_password, or the client certificate.", again=False
            )
        if 300 <= status < 400:
            place = urllib.parse.urlsplit(answer.headers.get("Location", ""))
            raise QueryError(f"{self.title} redirects to {place.scheme}://{place.netloc}{place.path} ({status}). Give the address behind it.", again=False)
        again = status == 429 or status >= 500
        raise QueryError(f"{self.title} answered with {status}, and not as the Prometheus API does. Check the address, or that the server is up.", again=again)


def _check_url(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:
        good = False
    # no echo of what may hold user:password@
    if not good or parts.username is not None or parts.query or parts.fragment:
        raise ObserverError(
            "url is malformed. Write it like https://thanos.example.com or http://10.0.0.1:9090/prefix, without /api/v1, query or user; "
            "a user is given as url_username and url_password."
        )


def _authentication(access: Access) -> t.Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Always one, for without it requests would look into ~/.netrc."""
    if access.username:
        return requests.auth.HTTPBasicAuth(access.username.encode(), access.password.encode())

    def authenticate(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if access.token:
            request.headers["Authorization"] = f"Bearer {access.token}"
        return request

    return authenticate


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


def _reason(error: Exception) -> str:
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


def _decoded(text: str) -> t.Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
