# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/services.md and the example inventory say of services holds. A real exporter is asked by tests/integration/test_observer_services.py."""

from __future__ import annotations

import re
import typing as t

import pytest
import yaml
from _services_examples import PAGE, TOP, blocks
from ansible_collections.scs.observer.plugins.module_utils._services import EXPECTATIONS, REQUEST, probes, problems

# what the SCS project's own Observer looked at (values-observer-scs.yaml of k8s-observability)
SCS = {"web", "docs", "jitsi", "hedgedoc", "nextcloud", "registry", "zuul"}


@pytest.mark.parametrize("number", range(len(blocks())))
def test_the_examples_can_be_probed(number: int) -> None:
    variables = blocks()[number]
    assert problems(variables["observer_services"], variables.get("observer_blackbox_modules")) == []
    assert probes(variables["observer_services"], variables.get("observer_blackbox_modules"))["jobs"]


def test_every_word_is_in_the_examples() -> None:
    used: dict[str, set[str]] = {"request": set(), "expectations": set()}
    for variables in blocks():
        for service in variables["observer_services"]:
            for key, words in used.items():
                words |= set(service.get(key) or {})
    text = PAGE.read_text()
    for key, known in (("request", REQUEST), ("expectations", EXPECTATIONS)):
        assert {word for words in known.values() for word in words} - used[key] <= {"bearer_secret", "answer_not"}, key
    assert "`bearer_secret`" in text and "`answer_not`" in text


def test_the_messages_are_those_of_the_code() -> None:
    given = [{"url": "docs.example.com"}, {"expectations": {"code": 200}}, {"expectations": {"body": "(?!error)"}}]
    found = [line for more in given for line in problems([{"name": "docs", "url": "https://docs.example.com", **more}])]
    (listed,) = re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert listed.splitlines() == found


def test_the_services_of_scs_are_the_example() -> None:
    services: list[dict[str, t.Any]] = yaml.safe_load((TOP / "inventories/example/group_vars/observer.yml").read_text())["observer_services"]
    assert {service["name"] for service in services} == {f"scs-{name}" for name in SCS}
    assert problems(services) == []
    assert all(service["url"].startswith("https://") for service in services)
