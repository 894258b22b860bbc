# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: what a user sets about alerts of shipped rule files: thresholds by tier, durations, labels, and which are off."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import typing as t

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

THRESHOLD: t.Final = "observer:threshold:value"
DEFAULT_TIER: t.Final = "default"
SEVERITIES: t.Final = ("warning", "critical")
# severity none is for what must reach nobody, such as the Watchdog
ALERT_SEVERITIES: t.Final = (*SEVERITIES, "none")
TIER_MAX: t.Final = 63

_VALUE = re.compile(r"vector\((.+)\)")
_DURATION = re.compile(r"0|(?=\d)(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?", re.ASCII)
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_SETTINGS: t.Final = ("enabled", "for", "keep_firing_for", "labels", "annotations")

Rules = dict[str, t.Any]
Values = dict[tuple[str, str], float]


def _rule_file(rules: object, what: str) -> Rules:
    """The rule file as a dictionary of its own, or one clear error."""
    if isinstance(rules, str):
        import yaml

        try:
            rules = yaml.safe_load(rules)
        except yaml.YAMLError as error:
            raise ObserverError(f"{what} can not be read as YAML: {' '.join(str(error).split())}. Give the content of a Prometheus rule file.") from error
    groups = rules.get("groups") if isinstance(rules, dict) else None
    if not isinstance(groups, list) or not all(isinstance(group, dict) and isinstance(group.get("rules") or [], list) for group in groups):
        raise ObserverError(f"{what} is no Prometheus rule file: it needs a list 'groups', each group with a list 'rules'.")
    if not all(isinstance(rule, dict) for group in groups for rule in group.get("rules") or []):
        raise ObserverError(f"{what} is no Prometheus rule file: each of its rules is a dictionary.")
    return t.cast("Rules", _copied(rules))


def _copied(value: t.Any) -> t.Any:
    """A copy in plain types. Ansible's own dictionaries and lists carry the means to template them, and copy.deepcopy takes those along: minutes."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _settings(given: object, what: str) -> dict[t.Any, t.Any]:
    if given is None or given == "":
        return {}
    if not isinstance(given, dict):
        raise ObserverError(f"{what} must be a dictionary, and is {given!r:.100}.")
    return given


def _unknown(what: str, name: object, known: t.Iterable[str]) -> ObserverError:
    every = sorted(set(known))
    near = difflib.get_close_matches(str(name), every, n=3)
    return ObserverError(f"{what} {name!r} does not exist. " + (f"Did you mean {' or '.join(near)}? " if near else "") + f"There are: {', '.join(every)}.")


# Thresholds


@dataclasses.dataclass(frozen=True)
class _Place:
    """The rule of one threshold: its group, and its position there."""

    group: int
    rule: int


def _shipped(rules: Rules) -> dict[tuple[str, str], tuple[_Place, float]]:
    found: dict[tuple[str, str], tuple[_Place, float]] = {}
    for group_number, group in enumerate(rules["groups"]):
        for number, rule in enumerate(group.get("rules") or []):
            if rule.get("record") != THRESHOLD:
                continue
            labels = rule.get("labels") or {}
            value = _VALUE.fullmatch(str(rule.get("expr", "")).strip())
            if set(labels) != {"threshold", "severity", "tier"} or labels["severity"] not in SEVERITIES or labels["tier"] != DEFAULT_TIER or not value:
                raise ObserverError(
                    f"The rule {number + 1} of group {group.get('name')!r} records {THRESHOLD} without the labels threshold, severity (warning or "
                    f"critical) and tier: {DEFAULT_TIER}, or not as vector(<number>). Take thresholds.yaml of the role observer_content as it is."
                )
            found[labels["threshold"], labels["severity"]] = _Place(group_number, number), float(value[1])
    if not found:
        raise ObserverError(f"The rule file records no {THRESHOLD}. Give the content of thresholds.yaml of the role observer_content.")
    return found


def _number(where: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ObserverError(f"{where} is {value!r:.100}, which is no number. Write a number without unit; the threshold's name says in what it is counted.")
    return value


def _tier(where: str, given: object, shipped: t.Iterable[tuple[str, str]]) -> Values:
    """What one tier sets, each value checked by itself."""
    severities: dict[str, list[str]] = {}
    for threshold, severity in shipped:
        severities.setdefault(threshold, []).append(severity)
    values: Values = {}
    for threshold, by_severity in _settings(given, where).items():
        if threshold not in severities:
            raise _unknown(f"{where}: the threshold", threshold, severities)
        for severity, value in _settings(by_severity, f"{where}, threshold {threshold!r},").items():
            if severity not in severities[threshold]:
                raise _unknown(f"{where}, threshold {threshold!r}: the severity", severity, severities[threshold])
            values[threshold, severity] = _number(f"{where}, threshold {threshold!r}, severity {severity!r}:", value)
    return values


def thresholds(rules: object, settings: object = None) -> Rules:
    """
    The shipped thresholds with what is set for tier "default", and all of them once more for each other tier. They stand one by one in the shipped file, to be
    read, and together in what the ruler gets.
    """
    file = _rule_file(rules, "The file of thresholds")
    shipped = _shipped(file)
    tiers = _settings(settings, "The thresholds (observer_content_thresholds)")
    every: dict[str, Values] = {}
    default = {name: value for name, (_place, value) in shipped.items()}
    # the default first: other tiers build on it
    for tier in [DEFAULT_TIER, *(tier for tier in tiers if tier != DEFAULT_TIER)]:
        if not isinstance(tier, str) or not tier or not tier.isprintable() or len(tier) > TIER_MAX:
            raise ObserverError(
                f"The tier {tier!r:.100} of observer_content_thresholds is no name of a tier. Use the text that the registry's label 'tier' has: "
                f"printable, in quotes where it looks like a number, at most {TIER_MAX} characters."
            )
        every[tier] = {**default, **_tier(f"Tier {tier!r} of observer_content_thresholds", tiers.get(tier), shipped)}
        if tier == DEFAULT_TIER:
            default = every[tier]
        for threshold in {name for name, _severity in shipped}:
            _check_order(tier, threshold, every[tier], {name: value for name, (_place, value) in shipped.items()})
    first = min((place for place, _value in shipped.values()), key=dataclasses.astuple)
    places = {place for place, _value in shipped.values()}
    for group_number, group in enumerate(file["groups"]):
        rewritten: list[dict[str, t.Any]] = []
        for number, rule in enumerate(group.get("rules") or []):
            place = _Place(group_number, number)
            if place == first:
                rewritten += _together(every)
            elif place not in places:
                rewritten.append(rule)
        group["rules"] = rewritten
    # a group of thresholds only is empty now
    file["groups"] = [group for group in file["groups"] if group["rules"]]
    return file


def _together(every: dict[str, Values]) -> list[dict[str, t.Any]]:
    """One rule for all thresholds of a tier and severity, for the ruler asks Query once for each rule, at each evaluation."""
    rules: list[dict[str, t.Any]] = []
    for tier, values in every.items():
        for severity in SEVERITIES:
            wanted = [(threshold, value) for (threshold, of), value in values.items() if of == severity]
            if wanted:
                parts = [f'label_replace(vector({value:.15g}), "threshold", "{threshold}", "", "")' for threshold, value in wanted]
                rules.append({"record": THRESHOLD, "expr": "\n  or ".join(parts), "labels": {"severity": severity, "tier": tier}})
    return rules


def _check_order(tier: str, threshold: str, values: Values, shipped: Values) -> None:
    """Critical is worse than warning, on the side where the shipped values have it."""
    names = [(threshold, severity) for severity in SEVERITIES]
    if not all(name in shipped for name in names):
        return
    (warning, critical), (shipped_warning, shipped_critical) = ([of[name] for name in names] for of in (values, shipped))
    above = shipped_critical > shipped_warning
    if critical < warning if above else critical > warning:
        raise ObserverError(
            f"Tier {tier!r} of observer_content_thresholds, threshold {threshold!r}: critical ({critical:g}) must be {'above' if above else 'below'} warning "
            f"({warning:g}), or it is never told as a warning first. What is not set comes from the tier {DEFAULT_TIER!r}."
        )


# Settings of alerts


def alert_names(rules: object) -> list[str]:
    """The names of the alerts of a rule file, each once, in their order."""
    file = _rule_file(rules, "The rule file")
    return list(dict.fromkeys(str(rule["alert"]) for group in file["groups"] for rule in group.get("rules") or [] if "alert" in rule))


def _check_alert(name: str, settings: dict[t.Any, t.Any]) -> None:
    where = f"The settings of alert {name!r}"
    for key, value in settings.items():
        if key not in _SETTINGS:
            raise _unknown(f"{where}: the key", key, _SETTINGS)
        if key == "enabled" and not isinstance(value, bool):
            raise ObserverError(f"{where}: 'enabled' is {value!r:.100}. Write true or false.")
        if key in ("for", "keep_firing_for") and not (isinstance(value, str) and value and _DURATION.fullmatch(value)):
            raise ObserverError(f"{where}: {key!r} is {value!r:.100}, which is no duration. Write it like 10m, 1h30m or 90s.")
        if key in ("labels", "annotations"):
            for label, text in _settings(value, f"{where}: {key!r}").items():
                if not isinstance(label, str) or not _LABEL.fullmatch(label) or (key == "labels" and label == "alertname"):
                    raise ObserverError(f"{where}: {label!r:.100} is no name that can be set in {key!r}. Use letters, digits and _; alertname stays as it is.")
                if not isinstance(text, str):
                    raise ObserverError(f"{where}: {label!r} in {key!r} is {text!r:.100}, which is no text. Put it in quotes.")
    severity = (settings.get("labels") or {}).get("severity", "none")
    if severity not in ALERT_SEVERITIES:
        raise _unknown(f"{where}: the severity", severity, ALERT_SEVERITIES)


def alert_settings(rules: object, settings: object = None, known: t.Iterable[str] | None = None) -> Rules:
    """
    The rule file with what is set for its alerts, by their names. Settings of alerts that are not in it are for other files: C(known) holds the names of all.
    Groups that lose all their rules are left out; recording rules stay as they are.
    """
    file = _rule_file(rules, "The rule file")
    own = alert_names(file)
    every = _settings(settings, "The settings of alerts (observer_content_alerts)")
    names = {*own, *(known or ())}
    for name, given in every.items():
        if name not in names:
            raise _unknown("The alert", name, names)
        _check_alert(name, _settings(given, f"The settings of alert {name!r}"))
    groups: list[dict[str, t.Any]] = []
    for group in file["groups"]:
        kept: list[dict[str, t.Any]] = []
        for rule in group.get("rules") or []:
            given = every.get(rule.get("alert")) or {}
            if not given.get("enabled", True):
                continue
            for key in ("for", "keep_firing_for"):
                if key in given:
                    rule[key] = given[key]
            for key in ("labels", "annotations"):
                if given.get(key):
                    rule[key] = {**(rule.get(key) or {}), **given[key]}
            kept.append(rule)
        if kept:
            groups.append({**group, "rules": kept})
    _check_twins(groups, every)
    return {**file, "groups": groups}


def _check_twins(groups: list[dict[str, t.Any]], settings: dict[t.Any, t.Any]) -> None:
    """An alert with a rule for each severity can not have one severity: its two rules would write the same series."""
    for name, given in settings.items():
        rules = [rule for group in groups for rule in group["rules"] if rule.get("alert") == name]
        if "severity" in ((given or {}).get("labels") or {}) and len(rules) > 1:
            raise ObserverError(
                f"The alert {name!r} has a rule for each severity, so its label 'severity' can not be set. "
                "Set its thresholds in observer_content_thresholds instead, if it has any."
            )
