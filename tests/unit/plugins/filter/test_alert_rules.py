# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.scs.observer.plugins.filter.alert_rules import FilterModule

FILTERS = FilterModule().filters()
THRESHOLDS = "groups: [{name: g, rules: [{record: 'observer:threshold:value', labels: {threshold: a, severity: warning, tier: default}, expr: vector(1)}]}]"
ALERTS = "groups: [{name: g, rules: [{alert: Up, expr: up}, {alert: Down, expr: up == 0}]}]"


def test_filters() -> None:
    (group,) = FILTERS["thresholds"](THRESHOLDS, {"gold": {"a": {"warning": 2}}})["groups"]
    assert [(rule["labels"]["tier"], rule["expr"]) for rule in group["rules"]] == [
        (tier, f'label_replace(vector({value}), "threshold", "a", "", "")') for tier, value in (("default", 1), ("gold", 2))
    ]
    (group,) = FILTERS["alert_settings"](ALERTS, {"Up": {"enabled": False}, "Other": {}}, ["Other"])["groups"]
    assert [rule["alert"] for rule in group["rules"]] == ["Down"]
    assert FILTERS["alert_names"](ALERTS) == ["Up", "Down"]


@pytest.mark.parametrize("name", ["thresholds", "alert_settings", "alert_names"])
def test_errors_are_filter_errors(name: str) -> None:
    with pytest.raises(AnsibleFilterError, match="needs a list 'groups'"):
        FILTERS[name]("x")
