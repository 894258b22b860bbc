# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import http.server
import importlib.util
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import typing as t

import pytest

PATH = pathlib.Path(__file__).parents[4] / "roles/observer/files/rules_reloader.py"
_spec = importlib.util.spec_from_file_location("rules_reloader", PATH)
assert _spec and _spec.loader
rules_reloader = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rules_reloader)


class Ruler(http.server.ThreadingHTTPServer):
    """Stands in for the ruler's /-/reload: counts, and refuses while C(broken)."""

    def __init__(self) -> None:
        self.reloads, self.broken = 0, False
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/-/reload"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Ruler

    def do_POST(self) -> None:
        self.server.reloads += 1
        body = b"bad rule in kaas.yaml" if self.server.broken else b""
        self.send_response(500 if self.server.broken else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: t.Any) -> None:
        pass


@pytest.fixture
def ruler() -> t.Iterator[Ruler]:
    server = Ruler()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def swap(folder: pathlib.Path, version: str, text: str) -> None:
    """Change the folder as the kubelet does with a ConfigMap: new files in a hidden folder, then one link is moved."""
    (folder / f"..{version}").mkdir()
    (folder / f"..{version}" / "kaas.yaml").write_text(text)
    (folder / "..next").symlink_to(f"..{version}")
    (folder / "..next").rename(folder / "..data")
    if not (folder / "kaas.yaml").is_symlink():
        (folder / "kaas.yaml").symlink_to("..data/kaas.yaml")


def until(condition: t.Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_the_digest_is_that_of_names_and_contents(tmp_path: pathlib.Path) -> None:
    swap(tmp_path, "1", "groups: []")
    first = rules_reloader.digest(tmp_path)
    swap(tmp_path, "2", "groups: []")
    assert rules_reloader.digest(tmp_path) == first
    swap(tmp_path, "3", "groups: [x]")
    assert rules_reloader.digest(tmp_path) != first


def test_a_refusal_is_told_with_its_reason(ruler: Ruler) -> None:
    assert rules_reloader.reload(ruler.url) == ""
    ruler.broken = True
    assert rules_reloader.reload(ruler.url) == "500: bad rule in kaas.yaml"


def test_nobody_there_is_told(ruler: Ruler) -> None:
    ruler.shutdown()
    ruler.server_close()
    assert "refused" in rules_reloader.reload(ruler.url)


def test_it_reloads_on_change_only_and_tries_again_after_a_refusal(ruler: Ruler, tmp_path: pathlib.Path) -> None:
    swap(tmp_path, "1", "groups: []")
    environment = os.environ | {"RULES_FOLDER": str(tmp_path), "RELOAD_URL": ruler.url, "INTERVAL": "0.05"}
    with subprocess.Popen([sys.executable, "-u", str(PATH)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert until(lambda: ruler.reloads == 1)
            time.sleep(0.5)
            assert ruler.reloads == 1
            ruler.broken = True
            swap(tmp_path, "2", "groups: [x]")
            assert until(lambda: ruler.reloads >= 4)
            ruler.broken = False
            seen = ruler.reloads
            assert until(lambda: ruler.reloads > seen)
            time.sleep(0.3)
            settled = ruler.reloads
            time.sleep(0.5)
            assert ruler.reloads == settled
        finally:
            process.send_signal(signal.SIGTERM)
            output, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert output.count(" loaded") == 2
    assert errors.count("the old ones stay: 500: bad rule in kaas.yaml") == 1
