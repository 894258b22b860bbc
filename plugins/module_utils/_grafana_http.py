# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: the only code that talks to Grafana's HTTP API (/api of Grafana 10 to 13), by one session and a bounded number of threads."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.cookiejar
import json
import pathlib
import random
import re
import tempfile
import threading
import time
import typing as t
import urllib.parse

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._grafana_dashboards import Datasource
from ansible_collections.scs.observer.plugins.module_utils._url_access import ACCESS_SPEC, Access, authentication, check_url, reason, tls_files

try:
    import requests
    import requests.adapters

    IMPORT_ERROR: ImportError | None = None
except ImportError as error:
    IMPORT_ERROR = error

CONNECT_TIMEOUT = 10
PAGE = 1000
SEARCH_PAGE = 5000  # the most that Grafana gives in one answer
BACKOFF = 0.5
BACKOFF_MAX = 30.0
CONCURRENCY_MAX = 32
# 500 is what Grafana says too when SQLite is locked
TRIED_AGAIN = (429, 500, 502, 503, 504)

ARGUMENT_SPEC: dict[str, t.Any] = {
    "url": {"type": "str", "required": True},
    **ACCESS_SPEC,
    "url_token": {**ACCESS_SPEC["url_token"], "aliases": ["token"]},
    "org_id": {"type": "int"},
    "timeout": {"type": "int", "default": 30},
    "retries": {"type": "int", "default": 3},
    "concurrency": {"type": "int", "default": 8},
}
ARGUMENT_RULES: dict[str, t.Any] = {
    "mutually_exclusive": [("url_username", "url_token")],
    "required_together": [("url_username", "url_password"), ("url_client_certificate", "url_client_key")],
    "required_one_of": [("url_username", "url_token", "url_client_certificate")],
}

Item = t.TypeVar("Item")
Result = t.TypeVar("Result")


class GrafanaError(ObserverError):
    """A request that Grafana did not fulfil; C(status) is 0 where no answer came, C(code) Grafana's own word such as version-mismatch.

    With C(fatal) every other request would end the same way.
    """

    def __init__(self, message: str, *, status: int = 0, code: str = "", fatal: bool = False) -> None:
        super().__init__(message)
        self.status, self.code, self.fatal = status, code, fatal


class NotTried(GrafanaError):
    """Left out, since another request had shown that none would succeed."""


class Settings(t.NamedTuple):
    version: str
    nested_folders: bool
    datasources: list[Datasource]

    @property
    def major(self) -> int:
        """0 where Grafana hides its version."""
        found = re.match(r"\d+", self.version)
        return int(found[0]) if found else 0


def from_params(params: t.Mapping[str, t.Any]) -> Client:
    return Client(params["url"], Access.from_params(params), **{name: params[name] for name in ("org_id", "timeout", "retries", "concurrency")})


class Client(contextlib.AbstractContextManager["Client"]):
    def __init__(
        self,
        url: str,
        access: Access,
        *,
        org_id: int | None = None,
        timeout: float = 30,
        retries: int = 3,
        concurrency: int = 8,
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        if IMPORT_ERROR is not None:
            raise ObserverError(f"The Python library requests can not be used where this task runs ({IMPORT_ERROR}). Install it there: pip install requests.")
        check_url(url, "https://grafana.example.com or http://10.0.0.1:3000/grafana", "/api")
        if timeout <= 0 or retries < 0:
            raise ObserverError(f"timeout is {timeout} and retries is {retries}. timeout must be 1 or more, retries 0 or more.")
        if not 1 <= concurrency <= CONCURRENCY_MAX:
            raise ObserverError(f"concurrency is {concurrency}. It must be 1 to {CONCURRENCY_MAX}.")
        self.title = url.rstrip("/")
        self.requests = 0
        self._timeout, self._retries, self._concurrency, self._sleep = timeout, retries, concurrency, sleep
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._authenticate = authentication(access)
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": "scs.observer", "Accept": "application/json"})
        if org_id is not None:
            # the community's way, switching the user's organisation on the server, would race with whoever else logs in as that user
            self._session.headers["X-Grafana-Org-Id"] = str(org_id)
        # threads share the session, so no answer may change it
        self._session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        adapter = requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=concurrency)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        # looked up once, not for each request; the environment's REQUESTS_CA_BUNDLE is left out on purpose: verify below says all
        self._session.proxies = requests.utils.get_environ_proxies(self.title)
        self._session.trust_env = False
        with contextlib.ExitStack() as stack:
            stack.callback(self._session.close)
            folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scs-observer-")))
            self._session.verify, self._session.cert = tls_files(folder, access)
            self._stack = stack.pop_all()

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    # What Grafana has

    def settings(self) -> Settings:
        found = self._request("GET", "/api/frontend/settings")
        if not isinstance(found, dict) or not isinstance(found.get("buildInfo"), dict):
            raise GrafanaError(f"{self.title} answers JSON, but is not a Grafana. Check the address.", status=200, fatal=True)
        version = str(found["buildInfo"].get("version") or "")
        listed = found.get("datasources")
        datasources = [
            Datasource(str(item.get("name") or name), str(item["uid"]), str(item.get("type", "")))
            for name, item in (listed if isinstance(listed, dict) else {}).items()
            if isinstance(item, dict) and item.get("uid")
        ]
        settings = Settings(version, False, datasources)
        nested = bool((found.get("featureToggles") or {}).get("nestedFolders")) or settings.major == 0 or settings.major >= 11
        return settings._replace(nested_folders=nested)

    def folders(self, parent: str = "") -> list[dict[str, t.Any]]:
        """The folders directly below a folder, or those at the top."""
        query = {"parentUid": parent} if parent else {}
        return [folder for folder in self._pages("/api/folders", query, PAGE) if folder.get("uid") != "sharedwithme"]

    def folder(self, uid: str) -> dict[str, t.Any]:
        return self._object(self._request("GET", f"/api/folders/{_quote(uid)}"))

    def search(self, tag: str | None = None) -> list[dict[str, t.Any]]:
        query = {"type": "dash-db", "sort": "alpha-asc"}
        return self._pages("/api/search", {**query, "tag": tag} if tag else query, SEARCH_PAGE)

    def dashboard(self, uid: str) -> dict[str, t.Any] | None:
        try:
            found = self._object(self._request("GET", f"/api/dashboards/uid/{_quote(uid)}"))
        except GrafanaError as error:
            if error.status == 404:
                return None
            raise
        return {"dashboard": self._object(found.get("dashboard")), "meta": self._object(found.get("meta"))}

    # What changes it

    def create_folder(self, title: str, parent: str = "") -> str:
        body = {"title": title, **({"parentUid": parent} if parent else {})}
        found = self._object(self._request("POST", "/api/folders", body))
        if parent and found.get("parentUid", parent) != parent:
            raise GrafanaError(f"{self.title} made the folder {title} at another place than it was told.", status=200)
        return str(found["uid"])

    def save(self, dashboard: t.Mapping[str, t.Any], folder: str, *, message: str = "", overwrite: bool = False) -> None:
        body = {"dashboard": dashboard, "folderUid": folder, "message": message, "overwrite": overwrite}
        self._request("POST", "/api/dashboards/db", body)

    def delete(self, uid: str) -> None:
        try:
            self._request("DELETE", f"/api/dashboards/uid/{_quote(uid)}")
        except GrafanaError as error:
            # gone is what was wanted, as after an answer that got lost
            if error.status != 404:
                raise

    def each(self, function: t.Callable[[Item], Result], items: t.Iterable[Item]) -> list[Result | GrafanaError]:
        """The function's result or error for each item, in order. After a fatal error no further item is begun."""

        def run(item: Item) -> Result | GrafanaError:
            if self._stopped.is_set():
                return NotTried("not tried")
            try:
                return function(item)
            except GrafanaError as error:
                if error.fatal:
                    self._stopped.set()
                return error

        with concurrent.futures.ThreadPoolExecutor(self._concurrency) as pool:
            return list(pool.map(run, items))

    def pause(self, attempt: int) -> None:
        """Before a request is made again; longer from attempt to attempt."""
        self._sleep(min(BACKOFF * 2**attempt, BACKOFF_MAX) * random.uniform(0.5, 1))

    # HTTP

    def _pages(self, path: str, query: t.Mapping[str, str], limit: int) -> list[dict[str, t.Any]]:
        found: dict[str, dict[str, t.Any]] = {}
        page = 1
        while True:
            answer = self._request("GET", path, query={**query, "limit": str(limit), "page": str(page)})
            if not isinstance(answer, list) or not all(isinstance(item, dict) and item.get("uid") for item in answer):
                raise self._strange(path)
            before = len(found)
            found.update((item["uid"], item) for item in answer)
            # a server that does not know pages gives the first one again
            if len(answer) < limit or len(found) == before:
                return list(found.values())
            page += 1

    def _object(self, value: t.Any) -> dict[str, t.Any]:
        if not isinstance(value, dict):
            raise self._strange("a request")
        return value

    def _strange(self, what: str) -> GrafanaError:
        return GrafanaError(f"{self.title} answers {what} with JSON that is not of Grafana's API. Check the address, and its version.", status=200, fatal=True)

    def _request(self, method: str, path: str, body: object | None = None, query: t.Mapping[str, str] | None = None) -> t.Any:
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        for attempt in range(self._retries + 1):
            try:
                return self._attempt(method, path, data, query)
            except _AgainError as error:
                if attempt == self._retries:
                    raise error.error from error.__cause__
                self._sleep(min(error.after or BACKOFF * 2**attempt, BACKOFF_MAX))
        raise AssertionError

    def _attempt(self, method: str, path: str, data: bytes | None, query: t.Mapping[str, str] | None) -> t.Any:
        with self._lock:
            self.requests += 1
        headers = {"Content-Type": "application/json"} if data is not None else {}
        try:
            answer = self._session.request(
                method,
                self.title + path,
                params=query,
                data=data,
                headers=headers,
                auth=self._authenticate,
                timeout=(CONNECT_TIMEOUT, self._timeout),
                allow_redirects=False,
            )
        except requests.exceptions.SSLError as error:
            remedy = "Give its CA as url_ca_certificate, use a name that its certificate holds, and the client certificate that it asks for"
            raise GrafanaError(f"{self.title}: the TLS connection failed ({reason(error)}). {remedy}.", fatal=True) from error
        except requests.exceptions.ReadTimeout as error:
            raise _AgainError(
                GrafanaError(f"{self.title} did not answer {method} {path} within {self._timeout} s. Raise timeout, or look at its load.", fatal=True)
            ) from error
        except (requests.exceptions.RequestException, OSError) as error:
            remedy = "Check the address, firewalls and proxies (HTTPS_PROXY, NO_PROXY)"
            raise _AgainError(GrafanaError(f"{self.title} can not be reached ({reason(error)}). {remedy}.", fatal=True)) from error
        if answer.status_code == 200:
            return self._decoded(answer, path)
        error = self._error(answer, method, path)
        if answer.status_code in TRIED_AGAIN:
            raise _AgainError(error, _seconds(answer.headers.get("Retry-After")))
        raise error

    def _decoded(self, answer: requests.Response, path: str) -> t.Any:
        try:
            return json.loads(answer.content)
        except ValueError:
            raise self._not_json(answer, path) from None

    def _not_json(self, answer: requests.Response, path: str) -> GrafanaError:
        kind = answer.headers.get("Content-Type", "").split(";")[0] or "something"
        kind = "a page of HTML" if kind == "text/html" or answer.content.lstrip()[:1] == b"<" else kind
        like = "as a proxy or a login page before Grafana does"
        message = f"{self.title} answers {path} with {kind} instead of JSON ({answer.status_code}), {like}. Give the address of Grafana itself."
        return GrafanaError(message, status=answer.status_code, fatal=True)

    def _error(self, answer: requests.Response, method: str, path: str) -> GrafanaError:
        status = answer.status_code
        if 300 <= status < 400:
            place = urllib.parse.urlsplit(answer.headers.get("Location", ""))
            to = f"{place.scheme}://{place.netloc}{place.path}" if place.netloc else place.path
            return GrafanaError(f"{self.title} redirects {path} to {to} ({status}). Give the address behind it.", status=status, fatal=True)
        try:
            body = json.loads(answer.content)
        except ValueError:
            body = None
        said = str(body.get("message") or body.get("error") or "") if isinstance(body, dict) else ""
        code = str(body.get("status") or "") if isinstance(body, dict) else ""
        if status == 401:
            remedy = "Check url_token, or url_username and url_password, and that they are not expired or of another organisation"
            return GrafanaError(f"{self.title} does not let us in (401{f': {said}' if said else ''}). {remedy}.", status=status, fatal=True)
        if not isinstance(body, dict):
            return self._not_json(answer, path)
        if status == 403:
            return GrafanaError(f"not permitted ({said or 403}). Give the account the role Editor, or rights to this folder", status=status, code=code)
        return GrafanaError(f"{method} {path}: {said or 'no reason given'} ({status})", status=status, code=code)


class _AgainError(Exception):
    def __init__(self, error: GrafanaError, after: float | None = None) -> None:
        super().__init__(str(error))
        self.error, self.after = error, after


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdigit() else None


def _quote(text: str) -> str:
    return urllib.parse.quote(text, safe="")
