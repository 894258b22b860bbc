# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _registry
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._kubernetes import ApiError
from ansible_collections.scs.observer.plugins.module_utils._registry import Item, Registry, items_from

PATH = "/api/v1/namespaces/observer/configmaps/kaas-clusters"
FULL = '{"description":"d","labels":{"tier":"gold"},"role":"infrastructure"}'


class RecordingClient:
    """One ConfigMap, with the API server's rules for merge patches and resource versions."""

    def __init__(self, data=None, *, namespace=True, interfere=()):
        self.configmap = None if data is None else {"metadata": {"resourceVersion": "1"}, "data": data}
        self.namespace = namespace
        self.interfere = list(interfere)
        self.log = []

    def request(self, method, path, *, body=None, query=None, content_type="application/json", text=False):
        self.log.append((method, path, copy.deepcopy(body), content_type))
        if method == "GET":
            if self.configmap is None:
                raise ApiError("configmaps not found", status=404)
            answer = copy.deepcopy(self.configmap)
            if self.interfere:
                self.interfere.pop(0)(self)
            return answer
        if method == "POST":
            if not self.namespace:
                raise ApiError("namespaces not found", status=404)
            if self.configmap is not None:
                raise ApiError("exists", status=409)
            self.configmap = {"metadata": body["metadata"] | {"resourceVersion": "1"}, "data": body["data"]}
            return self.configmap
        if self.configmap is None:
            raise ApiError("configmaps not found", status=404)
        if body["metadata"]["resourceVersion"] != self.configmap["metadata"]["resourceVersion"]:
            raise ApiError("conflict", status=409)
        for key, value in body["data"].items():
            if value is None:
                self.configmap["data"].pop(key, None)
            else:
                self.configmap["data"][key] = value
        self.touch()
        return self.configmap

    def touch(self, **data):
        self.configmap["data"].update(data)
        self.configmap["metadata"]["resourceVersion"] += "0"

    @property
    def methods(self):
        return [entry[0] for entry in self.log]


@pytest.fixture(autouse=True)
def _no_sleep(monkeypatch):
    monkeypatch.setattr(_registry.time, "sleep", lambda seconds: None)


def ensure(client, clusters, *, present=True, check=False):
    return Registry(client).ensure(items_from(clusters, present=present), check=check).result()


def test_one_patch_holds_only_what_changes():
    client = RecordingClient({"same": FULL, "other": "", "old": '{"role":"kaas"}'})
    clusters = [
        {"name": "new", "labels": {"tier": "gold", "customer": "a"}, "description": "d"},
        {"name": "same", "role": "infrastructure", "labels": {"tier": "gold"}},
        {"name": "old", "role": "infrastructure"},
    ]
    result = ensure(client, clusters)

    assert result == {"changed": True, "registered": ["new"], "unregistered": [], "updated": ["old"], "unchanged": ["same"]}
    assert client.methods == ["GET", "PATCH"]
    method, path, body, content_type = client.log[1]
    assert (method, path, content_type) == ("PATCH", PATH, "application/merge-patch+json")
    assert body == {
        "metadata": {"resourceVersion": "1"},
        "data": {"new": '{"description":"d","labels":{"customer":"a","tier":"gold"},"role":"kaas"}', "old": '{"role":"infrastructure"}'},
    }
    assert ensure(client, clusters)["changed"] is False
    assert client.methods == ["GET", "PATCH", "GET"]


def test_absent_removes_what_is_there_and_nothing_else():
    client = RecordingClient({"a": "", "b": FULL, "Not_An_Id": "x"})
    result = ensure(client, [{"name": "b"}, {"name": "missing"}, {"name": "Not_An_Id"}], present=False)

    assert result == {"changed": True, "registered": [], "unregistered": ["b", "Not_An_Id"], "updated": [], "unchanged": ["missing"]}
    assert client.log[1][2]["data"] == {"b": None, "Not_An_Id": None}
    assert client.configmap["data"] == {"a": ""}


def test_absent_without_a_registry_changes_nothing():
    client = RecordingClient()
    assert ensure(client, [{"name": "a"}], present=False)["unchanged"] == ["a"]
    assert client.methods == ["GET"]


@pytest.mark.parametrize("value", ["", " ", "{}", '{"role": "kaas"}', '{"role":"kaas","maintenance":true}', "text of another program"])
def test_existing_entry_stays_character_by_character_when_nothing_is_asked(value):
    assert _registry.merge("a", value, {}) == value


@pytest.mark.parametrize(
    ("value", "asked", "after"),
    [
        ("", {"role": "kaas", "labels": {}, "description": ""}, ""),
        ("", {"role": "infrastructure"}, '{"role":"infrastructure"}'),
        ("", {"labels": {"tier": "gold"}}, '{"labels":{"tier":"gold"},"role":"kaas"}'),
        (FULL, {"labels": {"tier": "gold"}}, FULL),
        (FULL, {"labels": {"region": "west"}}, '{"description":"d","labels":{"region":"west"},"role":"infrastructure"}'),
        (FULL, {"labels": {}}, '{"description":"d","role":"infrastructure"}'),
        (FULL, {"description": "", "role": "kaas"}, '{"labels":{"tier":"gold"},"role":"kaas"}'),
        ('{"role": "kaas", "maintenance": true}', {"description": "ü"}, '{"description":"ü","maintenance":true,"role":"kaas"}'),
        (None, {}, '{"role":"kaas"}'),
    ],
)
def test_merge(value, asked, after):
    assert _registry.merge("a", value, asked) == after
    assert _registry.merge("a", after, asked) == after


@pytest.mark.parametrize("value", ["text", "[1]", "5", "null", '"x"', "{broken", "[" * 100_000])
def test_value_of_another_program_is_not_overwritten(value):
    client = RecordingClient({"a": value})
    with pytest.raises(ObserverError, match="Registry entry a: its value is neither empty nor a JSON object"):
        ensure(client, [{"name": "a", "role": "kaas"}])
    assert client.methods == ["GET"]
    assert ensure(client, [{"name": "a"}])["unchanged"] == ["a"]
    assert ensure(client, [{"name": "a"}], present=False)["unregistered"] == ["a"]


def test_check_mode_predicts_without_writing():
    clusters = [{"name": "new"}, {"name": "a", "role": "infrastructure"}]
    client = RecordingClient({"a": ""})
    predicted = ensure(client, clusters, check=True)
    assert client.methods == ["GET"]
    assert ensure(client, clusters) == predicted

    assert ensure(RecordingClient(namespace=False), clusters, check=True)["registered"] == ["new", "a"]


def test_registry_is_made_when_absent():
    client = RecordingClient()
    assert ensure(client, [{"name": "a"}])["registered"] == ["a"]
    method, path, body, _content_type = client.log[1]
    assert (method, path) == ("POST", "/api/v1/namespaces/observer/configmaps")
    assert body["data"] == {"a": '{"role":"kaas"}'}
    assert body["metadata"]["name"] == "kaas-clusters"
    assert "scs.observer/set" not in body["metadata"]["labels"]


def test_missing_namespace_is_named():
    with pytest.raises(ObserverError, match="there is no namespace observer"):
        ensure(RecordingClient(namespace=False), [{"name": "a"}])


def test_conflict_is_planned_anew():
    client = RecordingClient({"a": ""}, interfere=[lambda server: server.touch(b="", new=FULL), lambda server: server.touch(c="")])
    result = ensure(client, [{"name": "new"}, {"name": "x"}])

    assert client.methods == ["GET", "PATCH"] * 3
    assert result["registered"] == ["x"]
    assert result["unchanged"] == ["new"]
    assert set(client.configmap["data"]) == {"a", "b", "c", "new", "x"}


def test_registry_made_or_removed_by_another_in_between():
    def remove(server):
        server.configmap = None

    client = RecordingClient({"a": ""}, interfere=[remove])
    assert ensure(client, [{"name": "x"}])["registered"] == ["x"]
    assert client.methods == ["GET", "PATCH", "GET", "POST"]


def test_endless_conflict_ends():
    client = RecordingClient({"a": ""}, interfere=[lambda server: server.touch()] * 100)
    with pytest.raises(ObserverError, match=r"was changed by others each time before it could be written, 20 times\. Find out"):
        ensure(client, [{"name": "x"}])
    assert client.methods == ["GET", "PATCH"] * 20


def test_other_errors_are_passed_on():
    class Refusing(RecordingClient):
        def request(self, method, path, **options):
            if method == "PATCH":
                raise ApiError("forbidden", status=403)
            return super().request(method, path, **options)

    with pytest.raises(ApiError, match="forbidden"):
        ensure(Refusing({"a": ""}), [{"name": "x"}])


def test_immutable_registry_is_refused():
    client = RecordingClient({"a": ""})
    client.configmap["immutable"] = True
    with pytest.raises(ObserverError, match="is an immutable ConfigMap"):
        ensure(client, [{"name": "x"}])
    assert client.methods == ["GET"]


def test_size_limit_comes_before_the_one_of_kubernetes():
    client = RecordingClient({"a": ""})
    clusters = [{"name": f"cluster-{number}", "description": "x" * 1024} for number in range(1000)]
    with pytest.raises(ObserverError, match=r"would hold 1001 clusters in 10\d\d KiB, near the 1 MiB"):
        ensure(client, clusters, check=True)
    assert client.methods == ["GET"]


def test_too_large_registry_can_still_shrink():
    client = RecordingClient({"a": "x" * 1_000_000, "b": "y" * 1000})
    assert ensure(client, [{"name": "b"}], present=False)["unregistered"] == ["b"]
    with pytest.raises(ObserverError, match="near the 1 MiB"):
        ensure(client, [{"name": "c"}])


def test_thousand_clusters_are_two_requests():
    client = RecordingClient({})
    assert len(ensure(client, [{"name": f"c{number}"} for number in range(1000)])["registered"]) == 1000
    assert client.methods == ["GET", "PATCH"]


def test_diff_shows_each_changed_cluster():
    items = items_from([{"name": "new", "labels": {"tier": "gold"}}, {"name": "same"}, {"name": "old", "role": "infrastructure"}], present=True)
    diff = _registry.plan_for(items, {"same": "", "old": ""}).plan.diff(_registry.render)

    assert [entry["before_header"] for entry in diff] == ["new", "old"]
    assert diff[0]["before"] == ""
    assert json.loads(diff[0]["after"]) == {"role": "kaas", "labels": {"tier": "gold"}}
    assert diff[1]["before"] == "{}\n"


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ({"name": "Prod"}, "a cluster's name is an RFC 1123 label"),
        ({"name": "a.b"}, "a cluster's name is an RFC 1123 label"),
        ({"name": "-a"}, "a cluster's name is an RFC 1123 label"),
        ({"name": ""}, "a cluster's name is an RFC 1123 label"),
        ({"name": "a\n"}, "a cluster's name is an RFC 1123 label"),
        ({"name": "x" * 64}, "a cluster's name is an RFC 1123 label"),
        ({"name": "x", "labels": {"cluster": "y"}}, "the label 'cluster' is reserved"),
        ({"name": "x", "labels": {"receive_replica": "y"}}, "the label 'receive_replica' is reserved"),
        ({"name": "x", "labels": {"tier": 1}}, "the label 'tier' is 1, which is no string"),
        ({"name": "x", "labels": {"tier": True}}, "the label 'tier' is True, which is no string"),
        ({"name": "x", "labels": {"tier-class": "y"}}, "'tier-class' is no label name"),
        ({"name": "x", "labels": {"__tier": "y"}}, "'__tier' is no label name"),
        ({"name": "x", "labels": {1: "y"}}, "1 is no label name"),
        ({"name": "x", "labels": {"tier": "y" * 257}}, "must be printable text of at most 256 characters"),
        ({"name": "x", "labels": {"tier": "a\nb"}}, "must be printable text"),
        ({"name": "x", "description": "y" * 1025}, "the description has 1025 characters"),
    ],
)
def test_bad_cluster_is_refused_with_its_position(cluster, message):
    with pytest.raises(ObserverError) as caught:
        items_from([{"name": "good"}, cluster], present=True)
    assert str(caught.value).startswith(f"Item 2 of clusters ({cluster['name']!r})")
    assert message in str(caught.value)


@pytest.mark.parametrize("present", [True, False])
def test_name_given_twice_is_refused_with_both_positions(present):
    with pytest.raises(ObserverError, match="Items 1 and 3 of clusters have one name, a"):
        items_from([{"name": "a"}, {"name": "b"}, {"name": "a"}], present=present)


def test_absent_takes_any_possible_key_but_no_other():
    assert items_from([{"name": "Some_Key.1", "labels": {"cluster": "x"}}], present=False) == [Item("Some_Key.1", {}, False)]
    with pytest.raises(ObserverError, match="no registry can hold such a name"):
        items_from([{"name": "a/b"}], present=False)


def test_names_of_63_characters_are_allowed():
    assert items_from([{"name": "x" * 63}], present=True)
