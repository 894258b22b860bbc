# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The alerts on infrastructures and on Harbor: a real Prometheus with the rule files scrapes a double of their exporters.

The lab has no OpenStack, no Ceph and no Harbor, so no real fault can be made. The double is well, then ill, then well again. It serves the series of
tests/rules, named and labelled as the exporters' sources name them, one page for each target; a target that is down answers 503. Durations are a
sixtieth, so that a minute takes a second: in the rules (for, ranges, offsets), and nothing else is changed in them. What has to fire is what promtool's
tests of the rules expect, label by label.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import pathlib
import re
import subprocess
import threading
import time
import typing as t
import urllib.parse
import urllib.request

import pytest
import yaml
from _observer import free_port
from _programs import find_program
from _rule_files import ELSEWHERE

TOP = pathlib.Path(__file__).parents[2]
RULES = TOP / "roles" / "observer_content" / "files" / "rules"
SCALE = 60
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# labels that a target has; all others are on its page
TARGET = ("infrastructure", "cluster", "job", "instance", "namespace", "pod")

Alert = tuple[str, frozenset[tuple[str, str]]]


def shorter(text: str) -> str:
    """A duration of a rule, in the time of this test."""
    amount, unit = re.fullmatch(r"(\d+)([smhd])", text).groups()
    return f"{int(amount) * SECONDS[unit] * 1000 // SCALE}ms"


def rules(name: str) -> dict[str, t.Any]:
    file = yaml.safe_load((RULES / f"{name}.yaml").read_text())
    for rule in (rule for group in file["groups"] for rule in group["rules"]):
        rule["expr"] = re.sub(r"(?<=\[)\d+[smhd](?=\])|(?<= offset )\d+[smhd]", lambda match: shorter(match[0]), rule["expr"])
        if "for" in rule:
            rule["for"] = shorter(rule["for"])
    return file


def minutes(text: str) -> int:
    return int(text.removesuffix("m"))


def expanded(notation: str) -> list[float | None]:
    """promtool's notation of values, one a minute."""
    result: list[float | None] = []
    for part in notation.split():
        if part.startswith("_"):
            result += [None] * int(part[2:])
            continue
        start, step, count = re.fullmatch(r"([-\d.e]+(?:e\+\d+)?)(?:\+([-\d.]+))?x(\d+)", part).groups()
        result += [float(start) + float(step or 0) * number for number in range(int(count) + 1)]
    return result


class Series(t.NamedTuple):
    text: str
    growing: bool
    # by phase: the value, or for a counter its growth in a second
    values: tuple[float | None, ...]


class Double:
    """Pages by target; what they say depends on the phase, 0 to 2."""

    def __init__(self) -> None:
        self.pages: dict[tuple[tuple[str, str], ...], list[Series]] = {}
        self.up: dict[tuple[tuple[str, str], ...], tuple[float | None, ...]] = {}
        self.expected: set[Alert] = set()
        for name in sorted(ELSEWHERE):
            # as promtool reads it: to others, 0x299 is a number
            (test,) = yaml.load((TOP / "tests" / "rules" / f"{name}.yaml").read_text(), yaml.BaseLoader)["tests"]
            moments = sorted({minutes(case["eval_time"]) for case in test["alert_rule_test"]})
            assert len(moments) == 3
            for given in test["input_series"]:
                self._add(given["series"], given["values"], moments)
            for case in test["alert_rule_test"]:
                self.expected |= {(case["alertname"], frozenset(alert["exp_labels"].items())) for alert in case["exp_alerts"]}
        self.targets = list(self.pages)
        self._counted: dict[str, float] = {}
        self._phase, self._since = 0, time.monotonic()

    def _add(self, series: str, notation: str, moments: list[int]) -> None:
        metric, inner = re.fullmatch(r"([\w:]+)\{(.*)\}", series, re.DOTALL).groups()
        labels = dict(re.findall(r'(\w+)="([^"]*)"', inner))
        # of long ago in promtool's test; no time is long ago here
        if metric == "harbor_jobservice_task_total" and labels["cluster"] == "beta" and (labels["type"], labels["status"]) == ("REPLICATION", "fail"):
            return
        # the exporter's pod says by that label which component it means
        component = "exporter" if metric == "harbor_up" else labels.pop("component", "")
        target = tuple((name, labels.pop(name)) for name in TARGET if name in labels) + ((("component", component),) if component else ())
        page = self.pages.setdefault(target, [])
        points = expanded(notation)
        growing = "+" in re.sub(r"e\+\d+", "", notation)
        values = tuple((points[at] - points[at - 1]) / 60 if growing and points[at] is not None else points[at] for at in moments)
        if metric == "up":
            self.up[target] = values
        else:
            text = ",".join(f'{name}="{value}"' for name, value in labels.items())
            page.append(Series(f"{metric}{{{text}}}", growing, values))

    def enter(self, phase: int) -> None:
        now = time.monotonic()
        for target, page in self.pages.items():
            for series in page:
                if series.growing:
                    key = f"{target}{series.text}"
                    self._counted[key] = self._counted.get(key, 0.0) + (series.values[self._phase] or 0.0) * (now - self._since)
        self._phase, self._since = phase, now

    def page(self, number: int) -> str | None:
        target = self.targets[number]
        if not self.up.get(target, (1.0, 1.0, 1.0))[self._phase]:
            return None
        lines = []
        for series in self.pages[target]:
            value = series.values[self._phase]
            if value is not None and series.growing:
                value = self._counted.get(f"{target}{series.text}", 0.0) + value * (time.monotonic() - self._since)
            if value is not None:
                lines.append(f"{series.text} {value}\n")
        return "".join(lines)


@contextlib.contextmanager
def served(double: Double) -> t.Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = double.page(int(self.path.strip("/")))
            self.send_response(503 if content is None else 200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write((content or "").encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


class Prometheus:
    def __init__(self, folder: pathlib.Path, targets: list[dict[str, t.Any]]) -> None:
        for name in (*ELSEWHERE, "thresholds"):
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(rules(name)))
        scrape = {"job_name": "double", "honor_labels": True, "static_configs": targets}
        every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config = {"global": every, "rule_files": ["*.yaml"], "scrape_configs": [scrape]}
        (folder / "prometheus.yml").write_text(json.dumps(config))
        self.url = f"http://127.0.0.1:{free_port()}"
        command = [find_program("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={self.url[7:]}"]
        self.log = folder / "prometheus.log"
        with self.log.open("wb") as out:
            # as five minutes are to it
            self.process = subprocess.Popen([*command, "--query.lookback-delta=5s"], cwd=folder, stdout=out, stderr=subprocess.STDOUT)

    def ask(self, query: str) -> list[dict[str, str]]:
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}", timeout=10) as answer:
            return [result["metric"] for result in json.load(answer)["data"]["result"]]

    def firing(self) -> set[Alert]:
        no_label = {"__name__", "alertname", "alertstate"}
        found = self.ask('ALERTS{alertstate="firing"}')
        return {(labels["alertname"], frozenset((name, value) for name, value in labels.items() if name not in no_label)) for labels in found}

    def collect(self, wanted: set[Alert], seconds: int) -> set[Alert]:
        """All that fire until the wanted ones have: some end by themselves before the last ones begin."""
        end, found = time.monotonic() + seconds, set[Alert]()
        while time.monotonic() < end and not wanted <= found:
            with contextlib.suppress(OSError):
                found |= self.firing()
            time.sleep(0.5)
        return found

    def wait_for_end(self, seconds: int) -> set[Alert]:
        """What still fires then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                if not self.firing():
                    return set()
            time.sleep(1)
        return self.firing()


@pytest.fixture(name="double")
def fixture_double() -> Double:
    return Double()


def test_all_fire_and_end(double: Double, tmp_path: pathlib.Path) -> None:
    names = {rule["alert"] for name in sorted(ELSEWHERE) for group in rules(name)["groups"] for rule in group["rules"] if "alert" in rule}
    assert {name for name, _labels in double.expected} == names and len(names) > 60
    with served(double) as port:
        targets = [{"targets": [f"127.0.0.1:{port}"], "labels": {**dict(target), "__metrics_path__": f"/{n}"}} for n, target in enumerate(double.targets)]
        prometheus = Prometheus(tmp_path, targets)
        try:
            end = time.monotonic() + 60
            while time.monotonic() < end:
                with contextlib.suppress(OSError):
                    if len(prometheus.ask("up == 1")) == len(targets) and prometheus.ask("observer:threshold:value"):
                        break
                time.sleep(0.5)
            # longer than most of them wait
            time.sleep(12)
            assert prometheus.firing() == set()
            double.enter(1)
            found = prometheus.collect(double.expected, 80)
            assert (sorted(map(str, double.expected - found)), sorted(map(str, found - double.expected))) == ([], [])
            double.enter(2)
            # failures of Harbor's jobs are looked back at for an hour
            assert prometheus.wait_for_end(120) == set()
        finally:
            prometheus.process.terminate()
            prometheus.process.wait(20)
