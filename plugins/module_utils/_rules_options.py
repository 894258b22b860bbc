# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: a module's options as the options of a check of rules."""

from __future__ import annotations

import contextlib
import json
import typing as t

from ansible_collections.scs.observer.plugins.module_utils import _promql, _rules_checks, _rules_cluster, _rules_formats, _rules_run
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._url_access import Access


def options_from(params: t.Mapping[str, t.Any]) -> _rules_run.Options:
    for name in ("timeout", "max_file_size", "max_group_rules"):
        if params[name] <= 0:
            raise ObserverError(f"{name} is {params[name]}. It must be more than 0.")
    allowed = params["required_labels"]
    if not all(isinstance(values, list) and all(isinstance(value, str) for value in values) for values in allowed.values()):
        raise ObserverError("required_labels: each label has a list of allowed values, which may be empty. Write it like {severity: [critical, warning]}.")
    settings = _rules_checks.Settings(
        cluster_label=params["cluster_label"],
        clusterless=tuple(_rules_cluster.clusterless(params["clusterless"])),
        known_metrics=tuple(params["known_metrics"]),
        required_labels=allowed,
        required_annotations=tuple(params["required_annotations"]),
        runbook_url=params["runbook_url"],
        scrape_interval=_seconds(params, "scrape_interval"),
        max_group_interval=_seconds(params, "max_group_interval"),
        max_group_rules=params["max_group_rules"],
        features=tuple(params["features"]),
    )
    return _rules_run.Options(
        paths=tuple(params["paths"] or ()),
        rules=tuple(rules if isinstance(rules, str) else json.dumps(rules, ensure_ascii=False, indent=1) for rules in params["rules"] or ()),
        tests=tuple(params["tests"]),
        promtool=params["promtool"],
        dialect=params["dialect"],
        max_file_size=params["max_file_size"],
        timeout=params["timeout"],
        checks={name: str(severity) for name, severity in params["checks"].items()},
        exceptions=tuple({name: value for name, value in exception.items() if value} for exception in params["exceptions"]),
        settings=settings,
    )


def _seconds(params: t.Mapping[str, t.Any], name: str) -> float:
    value = _rules_formats.seconds(params[name])
    if not value:
        raise ObserverError(f"{name} is {params[name]}. Write it like 30s or 5m.")
    return value


def backend_from(params: t.Mapping[str, t.Any]) -> contextlib.AbstractContextManager[_promql.Backend | None]:
    if not params["query_url"]:
        return contextlib.nullcontext(None)
    # requests and the client of Kubernetes, a fifth of the time of a small check, are loaded only here
    from ansible_collections.scs.observer.plugins.module_utils import _promql_backends

    return _promql_backends.UrlBackend(params["query_url"], Access.from_params(params), timeout=min(30, int(params["timeout"])))
