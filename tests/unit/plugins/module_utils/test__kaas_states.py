# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kaas_clusters_info makes of the registry and of what the ruler recorded."""

from __future__ import annotations

import json
import pathlib

import pytest
import yaml
from ansible_collections.scs.observer.plugins.module_utils import _kaas_states
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._kaas_states import (
    CONNECTED,
    EVALUATION,
    LAST_SAMPLE,
    REGISTERED,
    STATE,
    STATES,
    combine,
    recorded_in,
)
from ansible_collections.scs.observer.plugins.module_utils._promql import Answer, QueryError, Series
from ansible_collections.scs.observer.plugins.module_utils._registry import Snapshot

NOW = 1_800_000_000.0
RULES = pathlib.Path(__file__).parents[4] / "roles/observer/files/rules/kaas.yaml"


def series(name, value, *, ruler="thanos-ruler-0", observer="test", **labels):
    return Series({"__name__": name, "observer": observer, "ruler_replica": ruler, **labels}, str(value), NOW)


def records(states, *, age=10.0, connected=1.0, **options):
    """What one ruler wrote: C(states) as cluster to state."""
    found = [series(STATE, 1, cluster=cluster, state=state, **options) for cluster, state in states.items()]
    found.append(series(EVALUATION, NOW - age, **options))
    if connected is not None:
        found.append(series(CONNECTED, connected, **options))
    return found


def look(data, answer, *, warnings=(), version="1"):
    found = Answer(tuple(answer), tuple(warnings))
    return combine(Snapshot(data, version), recorded_in(found, "query"), found.warnings if found.partial else (), "observer/kaas-clusters", "query")


def states_of(outcome):
    return {cluster["name"]: cluster["state"] for cluster in outcome.clusters}


def test_the_recorded_state_is_told_as_it_is():
    recorded = dict(zip("abcdefg", STATES, strict=True))
    outcome = look(dict.fromkeys("abcdef", ""), records(recorded))
    assert states_of(outcome) == recorded
    assert {cluster["name"]: cluster["registered"] for cluster in outcome.clusters} == {**dict.fromkeys("abcdef", True), "g": False}
    assert outcome.result()["states"] == dict.fromkeys(STATES, 1)
    assert outcome.result()["intake"] is True
    assert outcome.warnings == ()


def test_the_entry_is_told_whole():
    entry = {
        "role": "infrastructure",
        "labels": {"tier": "gold"},
        "description": "Harbor",
        "api_url": "https://192.0.2.10:6443",
        "maintenance": True,
        "agent_certificate_not_after": "2027-01-01T00:00:00Z",
        "kubeconfig_secret": {"namespace": "a", "name": "b", "key": "value"},
        "manager": "cluster_api",
        "later": "a field of a later version",
    }
    answer = [*records({"a": "maintenance"}), series(LAST_SAMPLE, NOW - 86400.4, cluster="a")]
    (cluster,) = look({"a": json.dumps(entry)}, answer).clusters
    entry.pop("later")
    assert cluster == {"name": "a", "state": "maintenance", "registered": True, "last_sample": "2027-01-14T07:59:59Z", **entry}


def test_a_bare_key_and_an_orphan_have_all_fields():
    known = {"labels": {}, "description": "", "api_url": "", "maintenance": False, "agent_certificate_not_after": "", "kubeconfig_secret": {}, "manager": None}
    bare, orphan = look({"a": ""}, records({"a": "never_seen", "b": "orphan"})).clusters
    assert bare == {"name": "a", "state": "never_seen", "registered": True, "role": "kaas", "last_sample": None, **known}
    assert orphan == {"name": "b", "state": "orphan", "registered": False, "role": None, "last_sample": None, **known}


def test_what_others_wrote_wrongly_does_no_harm():
    outcome = look({"a": '{"labels": "none", "maintenance": "no", "role": 1}', "b": "text", "Not_An_Id": ""}, records({"a": "up", "b": "up"}))
    assert [cluster["name"] for cluster in outcome.clusters] == ["a", "b"]
    assert (outcome.clusters[0]["labels"], outcome.clusters[0]["maintenance"], outcome.clusters[0]["role"]) == ({}, False, "kaas")
    assert [warning.partition(": ")[2].partition(",")[0] for warning in outcome.warnings] == [
        "Not_An_Id can be no cluster's id",
        "the value of b is no JSON object",
    ]


def test_registered_a_moment_ago_is_new():
    assert states_of(look({"a": "", "b": ""}, records({"a": "up"}))) == {"a": "up", "b": "new"}
    assert states_of(look({"a": "", "b": ""}, records({}))) == {"a": "new", "b": "new"}
    # met by the ruler in the evaluation that is just being written
    assert states_of(look({"a": ""}, [*records({}), series(REGISTERED, NOW - 10, cluster="a")])) == {"a": "new"}


def test_a_rule_that_fails_is_not_taken_for_new():
    with pytest.raises(ObserverError, match=r"Registered is a, and thanos-ruler, which runs, records no state in query: its queries fail\."):
        look({"a": ""}, records({}, connected=None))
    with pytest.raises(ObserverError, match="thanos-ruler knows of a and records no cluster:kaas_state:info: the rule fails"):
        look({"a": ""}, [*records({}), series(REGISTERED, NOW - 3600, cluster="a")])


def test_a_dead_ruler_is_an_error():
    with pytest.raises(ObserverError, match=r"^Registered is a, b, and no state is recorded in query\. Check that thanos-ruler runs") as caught:
        look({"a": "", "b": ""}, [])
    assert "just deployed" in str(caught.value)
    # its last records are still seen, of a replica whose heartbeat is not
    with pytest.raises(ObserverError, match="no state is recorded"):
        look({"a": ""}, [series(STATE, 1, cluster="a", state="up")])


def test_nothing_registered_and_nothing_recorded():
    outcome = look({}, [])
    assert outcome.result() == {"clusters": [], "states": dict.fromkeys(STATES, 0), "intake": False, "recorded": None}
    assert "no cluster is registered" in outcome.warnings[0]
    outcome = look({}, records({"a": "orphan"}), version="")
    assert states_of(outcome) == {"a": "orphan"}
    assert outcome.warnings == (
        "The registry observer/kaas-clusters does not exist. Make it by kaas_clusters, or restore it by the playbook kaas_registry_restore.",
    )


def test_the_newest_of_two_rulers_counts():
    """A cluster changes its state between their evaluations; and one of them died three minutes ago."""
    for age in (20, 180):
        answer = [*records({"a": "up"}, age=age, ruler="0", connected=0.5), *records({"a": "down"}, age=5, ruler="1"), series(LAST_SAMPLE, NOW, cluster="a")]
        for given in (answer, answer[::-1]):
            outcome = look({"a": ""}, given)
            assert (states_of(outcome), outcome.recorded.intake, outcome.warnings) == ({"a": "down"}, True, ())
            assert outcome.result()["recorded"] == "2027-01-15T07:59:55Z"


def test_two_states_of_one_ruler_are_an_error():
    with pytest.raises(ObserverError, match=r"cluster a is both up and down, which the rule for cluster:kaas_state:info never does"):
        look({"a": ""}, [*records({"a": "up"}), series(STATE, 1, cluster="a", state="down")])


def test_an_unknown_state_is_an_error():
    with pytest.raises(ObserverError, match=r"cluster a is 'asleep', which is no state .* run the playbook observer"):
        look({"a": ""}, records({"a": "asleep"}))


def test_two_observers_are_an_error():
    with pytest.raises(ObserverError, match=r"several Observers \(east, west\)"):
        look({"a": ""}, [*records({"a": "up"}, observer="east"), *records({"a": "orphan"}, observer="west")])


def test_a_partial_answer_gives_no_wrong_state():
    lost = ["receive series from Addr: 10.0.0.1:10901: rpc error"]
    outcome = look({"a": ""}, records({"a": "up"}), warnings=lost)
    assert states_of(outcome) == {"a": "up"}
    assert outcome.warnings[0].startswith("The answer of query is partial (receive series from Addr: 10.0.0.1:10901: rpc error). Clusters that report")
    with pytest.raises(ObserverError, match=r"partial \(receive series.*\), and b may be in what it lacks"):
        look({"a": "", "b": ""}, records({"a": "up"}), warnings=lost)
    with pytest.raises(ObserverError, match=r"no state is recorded in query, whose answer is partial \(receive"):
        look({"a": ""}, [], warnings=lost)
    assert look({"a": ""}, records({"a": "up"}), warnings=["PromQL info: metric might not be a counter"]).warnings == ()


@pytest.mark.parametrize(
    ("connected", "intake", "warning"),
    [
        (1.0, True, None),
        (2 / 3, True, None),
        (0.5, False, "Only 50% of the Receives are connected to thanos-query: do not believe the states down and agent_down"),
        (0.0, False, "Only 0% of the Receives"),
        ("nan", False, "Only nan% of the Receives"),
        (None, False, "How many Receives are connected is not known: do not believe"),
    ],
)
def test_intake(connected, intake, warning):
    outcome = look({"a": ""}, records({"a": "down"}, connected=connected))
    assert outcome.result()["intake"] is intake
    assert [text.startswith(warning) for text in outcome.warnings] == ([True] if warning else [])


def test_old_states_are_told():
    outcome = look({"a": ""}, records({"a": "up"}, age=150))
    assert outcome.warnings[0].startswith("The states are 150 s old. Check that thanos-ruler runs")


def test_a_customer_s_series_is_no_record():
    """By the matchers of the query; and whatever carries a cluster is neither heartbeat nor intake."""
    assert 'infrastructure="",observer!="",receive_replica=""' in _kaas_states.QUERY
    answer = [*records({"a": "down"}, connected=0.3), series(CONNECTED, 1, cluster="a"), series(EVALUATION, NOW + 60, cluster="a")]
    outcome = look({"a": ""}, answer)
    assert (outcome.recorded.connected, outcome.recorded.age) == (0.3, 10)


def test_filters_choose_and_counts_stay():
    outcome = look(dict.fromkeys("abc", ""), records({"a": "up", "b": "down", "c": "down", "d": "orphan"}))
    assert [cluster["name"] for cluster in outcome.result(states=["down"])["clusters"]] == ["b", "c"]
    assert [cluster["name"] for cluster in outcome.result(names=["a", "c", "gone"], states=["down", "up"])["clusters"]] == ["a", "c"]
    assert outcome.result(names=[])["clusters"] == []
    assert outcome.result(names=["a"])["states"] == {**dict.fromkeys(STATES, 0), "up": 1, "down": 2, "orphan": 1}


class Double:
    """Double of registry and backend: answers, and counts."""

    namespace, name, title = "observer", "kaas-clusters", "query"

    def __init__(self, answer):
        self.answer, self.queries = answer, []

    def read(self):
        return Snapshot({"a": ""}, "1")

    def query(self, query):
        self.queries.append(query)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_one_query_and_its_error():
    result = [{"metric": one.labels, "value": [NOW, one.value]} for one in records({"a": "up"})]
    double = Double({"status": "success", "data": {"resultType": "vector", "result": result}})
    assert states_of(_kaas_states.observe(double, double)) == {"a": "up"}
    assert double.queries == [_kaas_states.QUERY]
    with pytest.raises(ObserverError, match=r"^The states of the clusters can not be read: refused$"):
        _kaas_states.observe(double, Double(QueryError("refused", again=True)))


def test_the_rules_record_what_is_asked_for():
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert {STATE, LAST_SAMPLE, REGISTERED, CONNECTED, EVALUATION} <= {rule.get("record") for rule in rules}
    (rule,) = [rule for rule in rules if rule.get("record") == STATE]
    assert all(f'"{state}"' in rule["expr"] for state in STATES)
