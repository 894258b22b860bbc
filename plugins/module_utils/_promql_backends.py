# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: the two ways to the Prometheus HTTP API v1, by URL or through the Kubernetes API server's service proxy."""

from __future__ import annotations

import contextlib
import json
import pathlib
import tempfile
import typing as t
import urllib.parse

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._kubernetes import ApiError, Client, quote
from ansible_collections.scs.observer.plugins.module_utils._promql import QueryError
from ansible_collections.scs.observer.plugins.module_utils._url_access import Access, authentication, check_url, reason, tls_files

try:
    import requests

    IMPORT_ERROR: ImportError | None = None
except ImportError as error:
    IMPORT_ERROR = error

CONNECT_TIMEOUT = 10
# Longer queries are posted, for proxies refuse long addresses.
QUERY_LENGTH_MAX = 2000


class _Api:
    """What the API has, by one way to call it; the answers are decoded and not yet judged: module_utils/_promql.py has a function for each."""

    def __init__(self, title: str, timeout: int) -> None:
        self.title, self._timeout = title, timeout

    def _call(self, path: str, fields: t.Mapping[str, str], *, postable: bool = True) -> t.Any:
        raise NotImplementedError

    def query(self, query: str, *, time: float | None = None) -> t.Any:
        return self._call("query", {"query": query, "timeout": f"{self._timeout}s", **_times(time=time)})

    def query_range(self, query: str, *, start: float, end: float, step: float) -> t.Any:
        return self._call("query_range", {"query": query, "timeout": f"{self._timeout}s", **_times(start=start, end=end, step=step)})

    def label_names(self, *, start: float | None = None, end: float | None = None) -> t.Any:
        return self._call("labels", _times(start=start, end=end))

    def label_values(self, label: str, match: str = "", *, start: float | None = None, end: float | None = None) -> t.Any:
        """The values of a label, of all series or of those that a selector finds."""
        return self._call(f"label/{quote(label)}/values", {**({"match[]": match} if match else {}), **_times(start=start, end=end)}, postable=False)

    def series(self, match: str, *, start: float | None = None, end: float | None = None) -> t.Any:
        return self._call("series", {"match[]": match, **_times(start=start, end=end)})


class ServiceBackend(_Api):
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
        super().__init__(f"service {namespace}/{name}:{port}", timeout)
        self._client, self._parameters = client, dict(parameters or {})
        target = quote(f"https:{name}:{port}" if scheme == "https" else f"{name}:{port}")
        self._path = f"/api/v1/namespaces/{quote(namespace)}/services/{target}/proxy/api/v1"

    def _call(self, path: str, fields: t.Mapping[str, str], *, postable: bool = True) -> t.Any:
        # always GET, for POST would need the right create on services/proxy
        try:
            return self._client.request("GET", f"{self._path}/{path}", query={**fields, **self._parameters})
        except ApiError as error:
            answer = _decoded(error.detail)
            if isinstance(answer, dict) and answer.get("status") == "error":
                return answer
            raise QueryError(f"{self.title}: {error}", again=error.reason != "Tls" and error.status not in (200, 400, 401, 403, 404, 405)) from error


class UrlBackend(_Api, contextlib.AbstractContextManager["UrlBackend"]):
    """One session for all attempts. The PEM texts lie in a private folder for its time, for requests reads files only."""

    def __init__(self, url: str, access: Access, *, timeout: int = 30) -> None:
        if IMPORT_ERROR is not None:
            raise ObserverError(f"The Python library requests can not be used where this task runs ({IMPORT_ERROR}). Install it there: pip install requests.")
        check_url(url, "https://thanos.example.com or http://10.0.0.1:9090/prefix", "/api/v1")
        super().__init__(url.rstrip("/"), timeout)
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "scs.observer"
        self._authenticate = authentication(access)
        with contextlib.ExitStack() as stack:
            stack.callback(self._session.close)
            folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scs-observer-")))
            self._verify, self._certificate = tls_files(folder, access)
            self._stack = stack.pop_all()

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _call(self, path: str, fields: t.Mapping[str, str], *, postable: bool = True) -> t.Any:
        posted = postable and sum(map(len, fields.values())) > QUERY_LENGTH_MAX
        place: dict[str, t.Any] = {"method": "POST", "data": fields} if posted else {"method": "GET", "params": fields}
        try:
            # verify is given here because the environment's REQUESTS_CA_BUNDLE would win over the session's
            answer = self._session.request(
                url=f"{self.title}/api/v1/{path}",
                **place,
                auth=self._authenticate,
                verify=self._verify,
                cert=self._certificate,
                timeout=(CONNECT_TIMEOUT, self._timeout + 5),
                allow_redirects=False,
            )
        except requests.exceptions.SSLError as error:
            remedy = "Give its CA as url_ca_certificate, use a name that its certificate holds, and the client certificate that it asks for"
            raise QueryError(f"{self.title}: the TLS connection failed ({reason(error)}). {remedy}.", again=False) from error
        except (requests.exceptions.RequestException, OSError) as error:
            remedy = "Check the address, firewalls and proxies (HTTPS_PROXY, NO_PROXY)"
            raise QueryError(f"{self.title} can not be reached ({reason(error)}). {remedy}.", again=True) from error
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


def _times(**seconds: float | None) -> dict[str, str]:
    return {name: f"{value:.3f}" for name, value in seconds.items() if value is not None}


def _decoded(text: str) -> t.Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
