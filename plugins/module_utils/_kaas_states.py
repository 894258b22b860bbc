# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: the state of each KaaS cluster, as the ruler recorded it.

There is one rule for states, in roles/observer/files/rules/kaas.yaml. What is done here is to read what it said, with the registry beside it, and to
refuse an answer from which a wrong state would come.
"""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._promql import Answer, Backend, QueryError, Series, parse
from ansible_collections.scs.observer.plugins.module_utils._registry import CLUSTER_NAME, DEFAULTS, Registry, Snapshot, named
from ansible_collections.scs.observer.plugins.module_utils._registry import parse as parse_entry

STATES = ("up", "new", "never_seen", "agent_down", "down", "maintenance", "orphan")

STATE = "cluster:kaas_state:info"
LAST_SAMPLE = "cluster:kaas_last_sample:timestamp_seconds"
REGISTERED = "cluster:kaas_registered:timestamp_seconds"
CONNECTED = "observer:thanos_receive_connected:ratio"
EVALUATION = "kaas_ruler_evaluation:timestamp_seconds"
# One query, so that all of it is of one moment. receive_replica="": no customer's sample can be meant, and Query asks no Receive for it, however many
# clusters it holds.
QUERY = f'{{__name__=~"{"|".join((STATE, LAST_SAMPLE, REGISTERED, CONNECTED, EVALUATION))}",infrastructure="",observer!="",receive_replica=""}}'
# Two rulers evaluate at different times: merged, a cluster would have two states for a while after each change.
PARAMETERS = {"dedup": "false"}

# As in the guard of the alerts: of three Receives two are enough.
CONNECTED_MIN = 2 / 3
# Rules are evaluated every 30 s (observer_rule_interval). So much later something is wrong.
LATE_SECONDS = 120.0


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What one ruler wrote in its last evaluation; C(evaluated) is None when no ruler wrote anything of late."""

    evaluated: float | None = None
    age: float = 0.0
    states: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    last_samples: t.Mapping[str, float] = dataclasses.field(default_factory=dict)
    registered: t.Mapping[str, float] = dataclasses.field(default_factory=dict)
    connected: float | None = None

    @property
    def intake(self) -> bool:
        return self.connected is not None and self.connected >= CONNECTED_MIN


@dataclasses.dataclass(frozen=True)
class Outcome:
    clusters: tuple[dict[str, t.Any], ...]
    recorded: Recorded
    warnings: tuple[str, ...]

    def result(self, *, names: t.Collection[str] | None = None, states: t.Collection[str] | None = None) -> dict[str, t.Any]:
        """What the module returns; the counts are of all clusters, whatever is chosen."""
        chosen = [cluster for cluster in self.clusters if (names is None or cluster["name"] in names) and (states is None or cluster["state"] in states)]
        counts = dict.fromkeys(STATES, 0)
        for cluster in self.clusters:
            counts[cluster["state"]] += 1
        return {"clusters": chosen, "states": counts, "intake": self.recorded.intake, "recorded": moment(self.recorded.evaluated)}


def moment(seconds: float | None) -> str | None:
    """RFC 3339 in UTC, whole seconds"""
    return None if seconds is None else f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%dT%H:%M:%S}Z"


def observe(registry: Registry, backend: Backend) -> Outcome:
    """One read of the registry and one query, whatever the number of clusters."""
    snapshot = registry.read()
    try:
        answer = parse(backend.query(QUERY), backend.title)
    except QueryError as error:
        raise ObserverError(f"The states of the clusters can not be read: {error}") from error
    return combine(
        snapshot, recorded_in(answer, backend.title), answer.warnings if answer.partial else (), f"{registry.namespace}/{registry.name}", backend.title
    )


def recorded_in(answer: Answer, title: str) -> Recorded:
    """The newest ruler's records."""
    rulers: dict[tuple[str, str], list[Series]] = {}
    for series in answer.series:
        rulers.setdefault((series.labels.get("observer", ""), series.labels.get("ruler_replica", "")), []).append(series)
    found = [(evaluated, ruler, group) for ruler, group in rulers.items() if (evaluated := _single(group, EVALUATION)) is not None]
    observers = sorted({observer for _evaluated, (observer, _replica), _group in found})
    if len(observers) > 1:
        raise ObserverError(
            f"{title} shows the records of several Observers ({', '.join(observers)}), and one's clusters are none of the other's business. "
            "Ask the thanos-query of one; after a change of observer_name, wait five minutes."
        )
    if not found:
        return Recorded()
    evaluated, _ruler, group = max(found, key=lambda item: item[0])
    return Recorded(
        evaluated,
        max(0.0, group[0].timestamp - evaluated),
        _states(group, title),
        _by_cluster(group, LAST_SAMPLE),
        _by_cluster(group, REGISTERED),
        _single(group, CONNECTED),
    )


def _states(group: t.Iterable[Series], title: str) -> dict[str, str]:
    states: dict[str, str] = {}
    for series in group:
        if series.labels.get("__name__") != STATE:
            continue
        cluster, state = series.labels.get("cluster", ""), series.labels.get("state", "")
        if state not in STATES:
            raise ObserverError(
                f"{title} says that cluster {cluster} is {state!r}, which is no state ({', '.join(STATES)}). "
                "The Observer's rules are of another version than this collection: run the playbook observer."
            )
        if states.setdefault(cluster, state) != state:
            raise ObserverError(
                f"{title} says that cluster {cluster} is both {states[cluster]} and {state}, which the rule for {STATE} never does. "
                "Look for a second rule of that name (observer_rule_files), or a second ruler with the same ruler_replica."
            )
    return states


def _by_cluster(group: t.Iterable[Series], name: str) -> dict[str, float]:
    return {series.labels["cluster"]: float(series.value or "nan") for series in group if series.labels.get("__name__") == name and "cluster" in series.labels}


def _single(group: t.Iterable[Series], name: str) -> float | None:
    values = [float(series.value or "nan") for series in group if series.labels.get("__name__") == name and "cluster" not in series.labels]
    return max(values, default=None)


def combine(snapshot: Snapshot, recorded: Recorded, missing: t.Sequence[str], registry: str, title: str) -> Outcome:
    """Registry and records side by side; C(missing) says what the answer lacks, when it is partial."""
    entries = {name: value for name, value in snapshot.data.items() if CLUSTER_NAME.fullmatch(name)}
    warnings = [*_odd(snapshot, registry)]
    unknown = sorted(entries.keys() - recorded.states.keys())
    lacks = "; ".join(missing)
    if entries and recorded.evaluated is None:
        raise ObserverError(
            f"Registered is {named(entries)}, and no state is recorded in {title}" + (f", whose answer is partial ({lacks})" if missing else "") + ". "
            "Check that thanos-ruler runs and reaches thanos-query, and that thanos-query reaches thanos-ruler: kubectl -n observer get pods, and the log of "
            "thanos-ruler-0. Of an Observer that was just deployed, the first states come a minute later."
        )
    if unknown and missing:
        raise ObserverError(
            f"The answer of {title} is partial ({lacks}), and {named(unknown)} may be in what it lacks. "
            "Run again; if it stays so, look at thanos-query's page Stores."
        )
    if entries and not recorded.states and recorded.connected is None:
        # its heartbeat needs no store, the other records do; so this is no Observer whose first cluster was registered just now
        raise ObserverError(
            f"Registered is {named(entries)}, and thanos-ruler, which runs, records no state in {title}: its queries fail. Its page Rules and its log say why; "
            "check that thanos-query and all its stores answer. Of an Observer that was just deployed, the first states come a minute later."
        )
    # What was registered well before the last evaluation has a state by then.
    stateless = sorted(name for name in unknown if recorded.evaluated and recorded.registered.get(name, recorded.evaluated) < recorded.evaluated - LATE_SECONDS)
    if stateless:
        raise ObserverError(
            f"thanos-ruler knows of {named(stateless)} and records no {STATE}: the rule fails. "
            "Its page Rules and its log say why; run the playbook observer again."
        )
    if missing:
        warnings.append(f"The answer of {title} is partial ({lacks}). Clusters that report and are not registered may be missing.")
    if recorded.evaluated is None:
        warnings.append(f"Nothing is recorded in {title}: no cluster is registered, and whether one reports is not known, for thanos-ruler is silent.")
    elif recorded.age > LATE_SECONDS:
        warnings.append(
            f"The states are {recorded.age:.0f} s old. Check that thanos-ruler runs and reaches thanos-query, unless observer_rule_interval is that long."
        )
    if recorded.evaluated is not None and not recorded.intake:
        warnings.append(_intake(recorded))
    names = sorted(entries.keys() | recorded.states.keys())
    # A registered cluster that the ruler has not met yet was registered since its last evaluation, or while kaas-metric-importer is away.
    clusters = tuple(_cluster(name, recorded.states.get(name, "new"), entries.get(name), recorded.last_samples.get(name)) for name in names)
    return Outcome(clusters, recorded, tuple(warnings))


def _odd(snapshot: Snapshot, registry: str) -> t.Iterator[str]:
    if not snapshot.resource_version:
        yield f"The registry {registry} does not exist. Make it by kaas_clusters, or restore it by the playbook kaas_registry_restore."
    bad = [name for name in snapshot.data if not CLUSTER_NAME.fullmatch(name)]
    if bad:
        yield f"Registry {registry}: {named(bad)} can be no cluster's id, so the Observer does not watch it. Unregister it."
    foreign = [name for name, value in snapshot.data.items() if parse_entry(value) is None]
    if foreign:
        yield f"Registry {registry}: the value of {named(foreign)} is no JSON object, so that only the name counts. Unregister and register it again."


def _intake(recorded: Recorded) -> str:
    known = recorded.connected is not None
    what = f"Only {recorded.connected:.0%} of the Receives are connected to thanos-query" if known else "How many Receives are connected is not known"
    return f"{what}: do not believe the states down and agent_down, for the Observer's own intake may be broken. Look at thanos-receive and thanos-query."


def _cluster(name: str, state: str, value: str | None, last_sample: float | None) -> dict[str, t.Any]:
    fields = (parse_entry(value) or {}) if value is not None else {}
    entry = {field: fields[field] if isinstance(fields.get(field), type(default)) else default for field, default in DEFAULTS.items()}
    if value is None:
        entry["role"] = None
    manager = fields.get("manager")
    known = {"name": name, "state": state, "registered": value is not None, "last_sample": moment(last_sample)}
    return {**known, **entry, "manager": manager if isinstance(manager, str) else None}
