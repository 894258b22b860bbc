"""Starts the double for a test, and gives its controls. Where GRAFANA_URL is set, tests that need no control run on that Grafana instead."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import typing as t
import urllib.error
import urllib.request

TOKEN, VIEWER_TOKEN = "token-of-an-editor", "token-of-a-viewer"


class Grafana:
    """A Grafana or its double; C(controls) says whether it is the double."""

    def __init__(self, url: str, authorization: str, login: dict[str, str], *, controls: bool) -> None:
        self.url, self.login, self.controls = url, login, controls
        self._authorization = authorization

    def as_other(self, authorization: str) -> Grafana:
        return Grafana(self.url, authorization, {}, controls=self.controls)

    def request(self, method: str, path: str, body: t.Any = None) -> t.Any:
        """The answer; (status, answer) of one that is refused."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Authorization": self._authorization}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            text = error.read()
            with contextlib.suppress(ValueError):
                return error.code, json.loads(text)
            return error.code, text.decode()

    def control(self, what: str, body: t.Any) -> t.Any:
        return self.request("POST", f"/_double/{what}", body)

    def log(self) -> list[str]:
        return self.request("GET", "/_double/log")

    def writes(self) -> list[str]:
        return [line for line in self.log() if not line.startswith("GET ")]

    def forget(self) -> None:
        self.request("DELETE", "/_double")


@contextlib.contextmanager
def double(*flags: str, scheme_is_https: bool = False) -> t.Iterator[Grafana]:
    process = subprocess.Popen([sys.executable, str(pathlib.Path(__file__).parent), *flags], stdout=subprocess.PIPE, text=True)
    try:
        url = t.cast(t.IO[str], process.stdout).readline().strip()
        assert url.startswith("https://" if scheme_is_https else "http://"), f"the double does not start: {url}"
        yield Grafana(url, f"Bearer {TOKEN}", {"url_token": TOKEN}, controls=True)
    finally:
        process.terminate()
        process.wait(10)


def basic(username: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


def real() -> Grafana | None:
    """The Grafana of GRAFANA_URL, with GRAFANA_TOKEN, or GRAFANA_USERNAME and GRAFANA_PASSWORD."""
    url = os.environ.get("GRAFANA_URL", "").rstrip("/")
    if not url:
        return None
    if token := os.environ.get("GRAFANA_TOKEN"):
        return Grafana(url, f"Bearer {token}", {"url_token": token}, controls=False)
    username, password = os.environ.get("GRAFANA_USERNAME", "admin"), os.environ["GRAFANA_PASSWORD"]
    return Grafana(url, basic(username, password), {"url_username": username, "url_password": password}, controls=False)
