# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What alerts and dashboards ask of a KaaS cluster is what its agent sends: alerts by the profile C(minimal), unless their description says "profile full"."""

from __future__ import annotations

import json
import pathlib
import re
import typing as t

import jinja2
import pytest
import yaml
from _rule_files import FILES, OF_INFRASTRUCTURES
from ansible_collections.scs.observer.plugins.module_utils import _dashboard_walk, _promql_inject

TOP = pathlib.Path(__file__).parents[2]
DASHBOARDS = sorted((TOP / "roles/observer_content/files/dashboards").glob("*/*.json"))
# Prometheus writes these for each target; no list of metrics holds them back
ALWAYS = re.compile(r"up|scrape_(duration_seconds|samples_scraped|samples_post_metric_relabeling|series_added)")
# records that are there with the profile full only; the alerts made of them say so
FULL_RECORDS: set[str] = set()

Selector = frozenset[tuple[str, str, str]]


def _kept() -> dict[str, dict[str, re.Pattern[str]]]:
    """By profile and job, the names that the agent keeps."""
    variables = yaml.safe_load((TOP / "roles/kaas_agent/vars/main.yml").read_text())

    def pattern(*lists: list[str]) -> re.Pattern[str]:
        return re.compile("|".join(jinja2.Template(item).render(variables) for items in lists for item in items))

    lists = variables["__kaas_agent_metrics"]
    minimal = {job: pattern(lists["minimal"][job]) for job in lists["minimal"]}
    return {"minimal": minimal, "full": {job: pattern(lists["minimal"][job], lists["full"].get(job, [])) for job in minimal}}


KEPT = _kept()


def of_an_agent(selector: Selector) -> bool:
    """Not what the Observer or an infrastructure writes."""
    given = {name for name, op, value in selector if value or op != "="}
    empty = {name for name, op, value in selector if op == "=" and not value}
    return not empty & {"receive_replica", "cluster"} and not given & {"observer", "infrastructure"}


def names(selector: Selector) -> list[str]:
    """The metric names that it asks for; of a regular expression, its alternatives where it is a plain list of them."""
    for name, op, value in selector:
        if name == "__name__" and op in ("=", "=~"):
            return value.split("|") if re.fullmatch(r"[\w:|]+", value) else []
    return []


def selectors(expr: str) -> list[Selector]:
    """The matchers of each selector of a query with Grafana's variables, the metric's name as one of C(__name__)."""
    tree = _promql_inject._tree(_promql_inject._fill(expr, {"objective": _promql_inject.NUMBER}).text, (), True)
    return [node[2] for node in tree if node[0] == "VectorSelector"]


def missing(exprs: t.Iterable[str], profile: str) -> set[str]:
    found = set()
    for selector in (selector for expr in exprs for selector in selectors(expr) if of_an_agent(selector)):
        jobs = {value for name, op, value in selector if name == "job" and op == "="}
        if jobs == {"kubelet"} and ("metrics_path", "=", "/metrics/cadvisor") in selector:
            jobs = {"cadvisor"}
        lists = [kept for job, kept in KEPT[profile].items() if job in jobs or not jobs & set(KEPT[profile])]
        found |= {name for name in names(selector) if ":" not in name and not ALWAYS.fullmatch(name) and not any(kept.fullmatch(name) for kept in lists)}
    return found


def _rules() -> list[t.Any]:
    return [
        pytest.param(rule, id=f"{path.stem}-{number}-{rule.get('alert') or rule['record']}")
        for path in FILES
        for number, rule in enumerate(rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"])
    ]


@pytest.mark.parametrize("rule", _rules())
def test_rules_ask_for_what_agents_send(rule: dict[str, t.Any]) -> None:
    description = rule.get("annotations", {}).get("description", "")
    full = rule.get("record") in FULL_RECORDS or "profile full" in description or "in no profile" in description
    assert missing([rule["expr"]], "full" if full else "minimal") == set()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_ask_for_what_agents_send(path: pathlib.Path) -> None:
    panels = list(_dashboard_walk.panels(json.loads(path.read_text())))
    assert panels
    for panel in panels:
        exprs = [target.expr.text for target in panel.targets() if target.expr]
        profile = "full" if "profile full" in panel.raw.get("description", "") else "minimal"
        assert missing(exprs, profile) == set(), f"panel {panel.title!r}, profile {profile}"


# -- nothing else waits for an infrastructure's sidecar, which may hang: by this matcher Query sees that it need not ask ---------------
def without_infrastructure(exprs: t.Iterable[str]) -> list[Selector]:
    return [selector for expr in exprs for selector in selectors(expr) if ("infrastructure", "=", "") not in selector]


@pytest.mark.parametrize("path", [path for path in FILES if path.stem not in OF_INFRASTRUCTURES], ids=lambda path: path.stem)
def test_rules_say_whether_they_ask_infrastructures(path: pathlib.Path) -> None:
    assert without_infrastructure(str(rule["expr"]) for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]) == []


# scs-iaas is about them
@pytest.mark.parametrize("path", [path for path in DASHBOARDS if path.stem != "scs-iaas"], ids=lambda path: path.stem)
def test_panels_say_whether_they_ask_infrastructures(path: pathlib.Path) -> None:
    panels = json.loads(path.read_text())["panels"]
    assert without_infrastructure(target["expr"] for panel in panels for target in panel.get("targets", [])) == []
