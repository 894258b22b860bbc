# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Infrastructures as the Observer sees them: for each a real Prometheus with its external label and a real Thanos sidecar, without TLS, and one real Query."""

from __future__ import annotations

import json
import time
import typing as t
import urllib.parse
import urllib.request

import _observer
from _programs import find_program

LOCAL = _observer.LOCAL


class Infrastructures(_observer.Observer):
    def source(self, name: str, labels: t.Mapping[str, str], jobs: t.Sequence[t.Mapping[str, t.Any]]) -> str:
        """A Prometheus with these external labels, beside its sidecar; gives its URL."""
        folder, address = self.folder / name, f"{LOCAL}:{_observer.free_port()}"
        folder.mkdir()
        config = {"global": {"scrape_interval": self.interval, "scrape_timeout": self.interval, "external_labels": dict(labels)}, "scrape_configs": list(jobs)}
        text = json.dumps(config).replace("OWN_ADDRESS", address)
        (folder / "prometheus.yml").write_text(text)
        flags = [f"--config.file={folder}/prometheus.yml", f"--web.listen-address={address}", f"--storage.tsdb.path={folder}/data", "--log.level=warn"]
        # a sidecar wants blocks of one length
        flags += ["--storage.tsdb.min-block-duration=2h", "--storage.tsdb.max-block-duration=2h"]
        self.start(name, f"http://{address}/-/ready", find_program("prometheus"), *flags)
        self.stores.append(self._thanos(f"{name}-sidecar", "sidecar", f"--prometheus.url=http://{address}", f"--tsdb.path={folder}/data")[0])
        return f"http://{address}"

    def query(self) -> str:
        self.reserve_query(LOCAL)
        return super().query()


def value(url: str, query: str) -> float | None:
    """Of the one series that the query finds."""
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?query={urllib.parse.quote(query)}", timeout=20) as answer:
            found = json.load(answer)["data"]["result"]
    except OSError:
        return None
    return float(found[0]["value"][1]) if found else None


def wait_for(url: str, query: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not value(url, query):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{url} does not find {query}")
        time.sleep(0.5)
