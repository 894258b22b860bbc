"""Starts the double for a test, and gives its controls."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import sys
import typing as t
import urllib.request

PASSWORD = "password-of-the-double"


class Cloud:
    def __init__(self, url: str) -> None:
        self.url = url

    def request(self, method: str, path: str, body: t.Any = None) -> t.Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def control(self, what: str, body: t.Any) -> t.Any:
        return self.request("POST", f"/_double/{what}", body)

    def log(self) -> list[str]:
        return self.request("GET", "/_double/log")

    def forget(self) -> None:
        self.request("DELETE", "/_double/log")

    def writes(self) -> list[str]:
        """What was asked to be another; logging in is not."""
        return [line for line in self.log() if not line.startswith("GET ") and line != "POST /identity/v3/auth/tokens"]

    def state(self, collection: str) -> list[dict[str, t.Any]]:
        return self.request("GET", "/_double/state")[collection]

    def names(self) -> dict[str, list[str]]:
        """All that a project's user made."""
        state = self.request("GET", "/_double/state")
        kept = {"networks": "public", "subnets": "public-subnet", "security_groups": "default"}
        wanted = ("networks", "subnets", "routers", "ports", "security_groups", "floatingips", "servers", "keypairs")
        found = {name: [item.get("name") or item.get("floating_ip_address") or item["id"] for item in state[name]] for name in wanted}
        return {name: [item for item in items if item != kept.get(name)] for name, items in found.items()}

    @property
    def environment(self) -> dict[str, str]:
        return {
            "OS_AUTH_URL": f"{self.url}/identity",
            "OS_USERNAME": "demo",
            "OS_PASSWORD": PASSWORD,
            "OS_PROJECT_NAME": "demo",
            "OS_USER_DOMAIN_NAME": "Default",
            "OS_PROJECT_DOMAIN_NAME": "Default",
            "OS_REGION_NAME": "RegionOne",
            "OS_IDENTITY_API_VERSION": "3",
        }


@contextlib.contextmanager
def double(*flags: str) -> t.Iterator[Cloud]:
    process = subprocess.Popen([sys.executable, str(pathlib.Path(__file__).parent), *flags], stdout=subprocess.PIPE, text=True)
    try:
        url = t.cast(t.IO[str], process.stdout).readline().strip()
        assert url.startswith("http://"), f"the double does not start: {url}"
        yield Cloud(url)
    finally:
        process.terminate()
        process.wait(10)
