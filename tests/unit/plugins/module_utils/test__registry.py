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
from ansible_collections.scs.observer.plugins.module_utils._promql import QueryError
from ansible_collections.scs.observer.plugins.module_utils._registry import Item, Prune, Registry, items_from, items_from_backup, prune_from, wait_shown

PATH = "/api/v1/namespaces/observer/configmaps/kaas-clusters"
BAD_URLS = [
    *(
        "http://10.0.0.1:6443",
        "10.0.0.1:6443",
        "https://",
        "https:///x",
        "https://10.0.0.1:6443/livez",
        "https://10.0.0.1?x",
        "https://10.0.0.1?",
        "https://a#b",
    ),
    *(
        "https://user:word@10.0.0.1",
        "https://user@a",
        "https://@a",
        "https://a:0",
        "https://a:66666",
        "https://a:x",
        "https://a:",
        "https://a b",
        "https://a_b",
    ),
    *("https://999.1.1.1", "https://[::1", "https://-a", "https://ä", "https://" + "a" * 64, "https://" + "a." * 130, "ftp://a", "x"),
]
BAD_MOMENTS = ["tomorrow", "2027-01-31", "2027-01-31T12:00:00", "2027-02-30T12:00:00Z", "2027-01-31T12:00Z", "1769335200", "0001-01-01T00:00:00+01:00", " "]
BAD_SECRETS = [
    {"name": "a"},
    {"namespace": "b"},
    {"namespace": "A", "name": "a"},
    {"namespace": "b", "name": "a_b"},
    {"namespace": "b", "name": "a", "key": "/"},
]
FULL = '{"description":"d","labels":{"tier":"gold"},"role":"infrastructure"}'


class RecordingClient:
    """One ConfigMap, with the API server's rules for merge patches and resource versions."""

    server = "https://server"

    def __init__(self, data=None, *, namespace=True, interfere=()):
        self.configmap = None if data is None else {"kind": "ConfigMap", "metadata": {"resourceVersion": "1"}, "data": data}
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
            self.configmap = {"kind": "ConfigMap", "metadata": body["metadata"] | {"resourceVersion": "1"}, "data": body["data"]}
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


def ensure(client, clusters, *, present=True, **options):
    return Registry(client).ensure(items_from(clusters, present=present), **options).result()


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
        "data": {
            "new": '{"description":"d","labels":{"customer":"a","tier":"gold"},"manager":"ansible","role":"kaas"}',
            "old": '{"role":"infrastructure"}',
        },
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
        (None, {}, '{"manager":"ansible","role":"kaas"}'),
        (None, {"api_url": "", "maintenance": False, "kubeconfig_secret": {}}, '{"manager":"ansible","role":"kaas"}'),
        (None, {"maintenance": True, "api_url": "https://a"}, '{"api_url":"https://a","maintenance":true,"manager":"ansible","role":"kaas"}'),
        ('{"role":"kaas","manager":"kaas_mock"}', {"maintenance": True}, '{"maintenance":true,"manager":"kaas_mock","role":"kaas"}'),
        ('{"maintenance":true,"role":"kaas","x":1}', {"maintenance": False}, '{"role":"kaas","x":1}'),
        ('{"maintenance":1,"role":"kaas"}', {"maintenance": True}, '{"maintenance":true,"role":"kaas"}'),
        (FULL, {"api_url": "https://a", "agent_certificate_not_after": ""}, FULL[:1] + '"api_url":"https://a",' + FULL[1:]),
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
    assert body["data"] == {"a": '{"manager":"ansible","role":"kaas"}'}
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
    for check in (False, True):
        with pytest.raises(ObserverError, match="is an immutable ConfigMap"):
            ensure(client, [{"name": "x"}], check=check)
    assert ensure(client, [{"name": "a"}])["changed"] is False
    assert client.methods == ["GET"] * 3


def test_configmap_that_is_no_registry_is_refused():
    client = RecordingClient({"Corefile": "x", "prometheus.yml": "y"})
    with pytest.raises(
        ObserverError, match=r"ConfigMap observer/kaas-clusters is no registry: none of its keys \(Corefile, prometheus\.yml\) is a cluster's id"
    ):
        ensure(client, [{"name": "x"}])
    client.configmap = {"kind": "Status", "metadata": {}}
    with pytest.raises(ObserverError, match="is no ConfigMap"):
        ensure(client, [{"name": "x"}])
    assert client.methods == ["GET", "GET"]


def test_binary_data_is_left_alone_and_never_taken_for_a_cluster():
    client = RecordingClient({"a": ""})
    client.configmap["binaryData"] = {"x": "AAAA", "y": "AAAA"}
    with pytest.raises(ObserverError, match="holds x as binaryData, which is no entry of a cluster"):
        ensure(client, [{"name": "x"}])
    assert ensure(client, [{"name": "x"}], present=False)["unchanged"] == ["x"]
    assert ensure(client, [{"name": "z"}])["registered"] == ["z"]
    assert client.configmap["binaryData"] == {"x": "AAAA", "y": "AAAA"}


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
    assert client.methods.count("PATCH") == 1


def test_thousand_clusters_are_two_requests():
    client = RecordingClient({})
    assert len(ensure(client, [{"name": f"c{number}"} for number in range(1000)])["registered"]) == 1000
    assert client.methods == ["GET", "PATCH"]


def test_diff_shows_each_changed_cluster():
    items = items_from([{"name": "new", "labels": {"tier": "gold"}}, {"name": "same"}, {"name": "old", "role": "infrastructure"}], present=True)
    diff = _registry.plan_for(items, {"same": "", "old": ""}).plan.diff(_registry.render)

    assert [entry["before_header"] for entry in diff] == ["new", "old"]
    assert diff[0]["before"] == ""
    assert json.loads(diff[0]["after"]) == {"role": "kaas", "manager": "ansible", "labels": {"tier": "gold"}}
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
        ({"name": "x", "labels": {"t" * 129: "y"}}, "is no label name. Use letters, digits and '_', not beginning with a digit or '__', at most 128"),
        ({"name": "x", "description": "y" * 1025}, "the description has 1025 characters"),
        ({"name": "x", "description": "\ud800"}, "the description holds characters that are no valid Unicode text"),
        *(({"name": "x", "api_url": url}, "Give https, host and port of the cluster's API server") for url in BAD_URLS),
        *(({"name": "x", "agent_certificate_not_after": moment}, "which is no time of RFC 3339") for moment in BAD_MOMENTS),
        *(({"name": "x", "kubeconfig_secret": secret}, "which no Secret can have") for secret in BAD_SECRETS),
    ],
)
def test_bad_cluster_is_refused_with_its_position(cluster, message):
    with pytest.raises(ObserverError) as caught:
        items_from([{"name": "good"}, cluster], present=True)
    assert str(caught.value).startswith(f"Item 2 of clusters ({cluster['name']!r})")
    assert message in str(caught.value)
    assert "word" not in str(caught.value)


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


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        ({"api_url": "HTTPS://api.example.com:6443/"}, {"api_url": "https://api.example.com:6443"}),
        ({"api_url": "https://[2001:db8::1]:6443"}, {"api_url": "https://[2001:db8::1]:6443"}),
        ({"api_url": "https://192.0.2.1"}, {"api_url": "https://192.0.2.1"}),
        ({"api_url": ""}, {"api_url": ""}),
        ({"maintenance": False}, {"maintenance": False}),
        ({"agent_certificate_not_after": "2027-01-31T12:00:00Z"}, {"agent_certificate_not_after": "2027-01-31T12:00:00Z"}),
        ({"agent_certificate_not_after": "2027-01-31 13:00:00.25+01:00"}, {"agent_certificate_not_after": "2027-01-31T12:00:00Z"}),
        ({"agent_certificate_not_after": ""}, {"agent_certificate_not_after": ""}),
        ({"kubeconfig_secret": {"namespace": "b", "name": "a.b"}}, {"kubeconfig_secret": {"namespace": "b", "name": "a.b", "key": "value"}}),
        ({"kubeconfig_secret": {"namespace": None, "name": None, "key": "value"}}, {"kubeconfig_secret": {}}),
        ({"api_url": None, "maintenance": None, "labels": None, "state": None}, {}),
    ],
)
def test_fields_are_stored_in_one_form(asked, stored):
    assert items_from([{"name": "a", **asked}]) == [Item("a", stored)]


def test_state_of_an_item_wins():
    clusters = [{"name": "a", "state": "absent"}, {"name": "b"}, {"name": "c", "state": "present"}]
    assert [item.present for item in items_from(clusters)] == [False, True, True]
    assert [item.present for item in items_from(clusters, present=False)] == [False, False, True]
    client = RecordingClient({"a": "", "b": ""})
    result = ensure(client, clusters, present=False)
    assert (result["registered"], set(result["unregistered"])) == (["c"], {"a", "b"})
    assert client.methods == ["GET", "PATCH"]


def entry(manager):
    return json.dumps({"role": "kaas", "manager": manager})


OWNED = {"bare": "", "text": "x", "list": "[1]", "theirs": entry("kaas_mock"), "odd": entry(["ansible"]), **{f"mine-{n}": entry("ansible") for n in range(10)}}


def test_prune_takes_only_what_its_manager_registered():
    client = RecordingClient(dict(OWNED))
    clusters = [{"name": "mine-0"}, {"name": "new"}, {"name": "bare", "description": "d"}]
    result = ensure(client, clusters, prune=Prune(("mine-[1-6]", "*-7")))
    assert (result["registered"], result["unregistered"], result["updated"]) == (["new"], ["mine-8", "mine-9"], ["bare"])
    assert client.methods == ["GET", "PATCH"]
    # what was asked of a bare key did not make it ours
    result = ensure(client, [{"name": "mine-0"}], prune=Prune())
    assert set(result["unregistered"]) == {"new", *(f"mine-{n}" for n in range(1, 8))}
    assert set(client.configmap["data"]) == {"bare", "text", "list", "theirs", "odd", "mine-0"}
    assert ensure(client, [{"name": "mine-0"}], prune=Prune())["changed"] is False
    assert ensure(client, [{"name": "mine-0"}], prune=Prune(), manager="kaas_mock")["unregistered"] == ["theirs"]


def test_manager_is_written_once():
    client = RecordingClient({})
    ensure(client, [{"name": "a"}], manager="kaas_mock")
    assert ensure(client, [{"name": "a"}], manager="other")["changed"] is False
    ensure(client, [{"name": "a", "description": "d"}], manager="other")
    assert json.loads(client.configmap["data"]["a"]) == {"role": "kaas", "manager": "kaas_mock", "description": "d"}


@pytest.mark.parametrize("manager", ["", " ", "a b", "-a", "a/b", "ä", "a" * 64, "a\n"])
def test_bad_manager(manager):
    with pytest.raises(ObserverError, match="manager is "):
        _registry.check_manager(manager)


@pytest.mark.parametrize(
    ("limit", "named", "allowed"),
    [
        ("3", 7, True),
        ("2", 7, False),
        ("0", 9, False),
        ("0", 10, True),
        ("30%", 7, True),
        ("29%", 7, False),
        ("100%", 1, True),
        ("0%", 10, True),
        (None, 1, True),
    ],
)
def test_prune_limit(limit, named, allowed):
    """Of ten clusters; what is named as absent is not counted."""
    client = RecordingClient(dict(OWNED))
    clusters = [{"name": f"mine-{n}"} for n in range(named)] + [{"name": "theirs", "state": "absent"}]
    if allowed:
        assert len(ensure(client, clusters, prune=Prune(limit=limit))["unregistered"]) == 11 - named
        return
    with pytest.raises(
        ObserverError, match=rf"^{10 - named} of the 10 clusters that manager ansible registered would be pruned \(mine-.*more than prune_limit {limit}"
    ):
        ensure(client, clusters, prune=Prune(limit=limit))
    assert client.methods == ["GET"]


@pytest.mark.parametrize("limit", ["", "%", "x", "-1", "1.5", "101%", "10 %", "1e3", "٣"])
def test_bad_prune_limit(limit):
    with pytest.raises(ObserverError, match="prune_limit is "):
        Prune(limit=limit)


@pytest.mark.parametrize("clusters", [[], [{"name": "a", "state": "absent"}]])
def test_prune_with_an_empty_list_only_when_told(clusters):
    items = items_from(clusters)
    with pytest.raises(ObserverError, match="prune is set and clusters names none that stays"):
        prune_from(items)
    client = RecordingClient(dict(OWNED))
    assert len(Registry(client).ensure(items, prune=prune_from(items, allow_empty=True)).plan.names("delete")) == 10


def test_prune_is_planned_anew_after_a_conflict():
    """What another run registers meanwhile under the same manager counts too."""
    client = RecordingClient(dict(OWNED), interfere=[lambda server: server.touch(**{"mine-x": entry("ansible")})])
    with pytest.raises(ObserverError, match="2 of the 11 clusters"):
        ensure(client, [{"name": f"mine-{n}"} for n in range(9)], prune=Prune(limit="1"))
    assert "mine-9" in client.configmap["data"]


BACKUP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: other, namespace: other}
data:
  'a': ''
  'Old_Key': 'x'
  'b': '{"role": "kaas",  "manager":"kaas_mock","unknown":[1]}'
"""


def test_backup_puts_back_what_is_missing_exactly():
    client = RecordingClient({"a": "changed", "c": ""})
    items = items_from_backup(BACKUP)
    outcome = Registry(client).ensure(items)
    assert (outcome.plan.names("create"), list(outcome.unchanged)) == (["Old_Key", "b"], ["a"])
    assert client.configmap["data"] == {"a": "changed", "c": "", "Old_Key": "x", "b": '{"role": "kaas",  "manager":"kaas_mock","unknown":[1]}'}
    assert Registry(client).ensure(items).plan.changed is False
    outcome = Registry(client).ensure(items_from_backup(BACKUP, overwrite=True))
    assert outcome.plan.names("update") == ["a"]
    assert client.configmap["data"]["a"] == "" and "c" in client.configmap["data"]


def test_backup_makes_a_deleted_registry():
    client = RecordingClient()
    Registry(client).ensure(items_from_backup(BACKUP))
    assert client.methods == ["GET", "POST"]
    assert set(client.configmap["data"]) == {"a", "b", "Old_Key"}


def backup_of(data):
    return f"apiVersion: v1\nkind: ConfigMap\ndata: {data}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n b: 2", r"The backup is no YAML \(line 2: "),
        ("a: \x00", "The backup is no YAML"),
        ("[" * 100_000, "The backup is no YAML"),
        ("", "The backup is no ConfigMap"),
        ("text", "The backup is no ConfigMap"),
        ("- a", "The backup is no ConfigMap"),
        (BACKUP.replace("ConfigMap", "Secret"), "The backup is no ConfigMap"),
        ("apiVersion: v1\nkind: ConfigMap", "The backup holds no cluster"),
        (backup_of("{}"), "The backup holds no cluster"),
        (backup_of("[a]"), "The backup holds no cluster"),
        (backup_of("{a: {role: kaas}}"), "The backup: the entry a is no text but {'role': 'kaas'}"),
        (backup_of("{a: }"), "The backup: the entry a is no text but None"),
        (backup_of("{1: x}"), "The backup names a cluster 1, which no registry can hold"),
        (backup_of("{a/b: x}"), "The backup names a cluster 'a/b'"),
    ],
)
def test_broken_backup(text, message):
    with pytest.raises(ObserverError, match=message):
        items_from_backup(text)


class Observer:
    """A double of Thanos Query: one answer after the other, the last for ever."""

    title = "service observer/thanos-query:9090"

    def __init__(self, *answers):
        self.answers = list(answers)
        self.now = 0.0
        self.queries = []

    def query(self, query):
        self.queries.append(query)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait(self, shown=(), gone=(), timeout=60):
        return wait_shown(self, shown, gone, timeout=timeout, sleep=self.sleep, clock=lambda: self.now)

    def sleep(self, seconds):
        self.now += seconds


def answer(*names, warnings=(), importer=True):
    series = [{"metric": {"__name__": "kaas", "cluster": name, "observer": "o"}, "value": [1, "1"]} for name in names]
    series += [{"metric": {"__name__": "kaas_registry_present", "observer": "o"}, "value": [1, "1"]}] * importer
    return {"status": "success", "data": {"resultType": "vector", "result": series}, "warnings": list(warnings)}


def test_wait_until_shown_and_gone():
    observer = Observer(answer("old"), answer("old", "a"), answer("a"), answer("a", "b"))
    assert observer.wait(["a", "b", "Old_Key"], ["old", "never"]) == 3
    assert len(set(observer.queries)) == 1
    assert Observer(answer("a")).wait(["a"]) == 0
    assert Observer(answer("a")).wait() == 0


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (
            answer("a", "c"),
            r"does not yet expect b and still expects c \(metric kaas in service observer/thanos-query:9090\)\. Check that kaas-metric-importer",
        ),
        (answer(warnings=["no store x"]), r"does not yet expect a, b and still expects c .*The last answer was partial: no store x\."),
        (answer("a", "b", importer=False), r"still expects c .*Nothing is heard of the importer"),
        (QueryError("no way.", again=True), r"There was no answer at last: no way\."),
    ],
)
def test_wait_ends_and_names_what_is_missing(last, message):
    observer = Observer(last)
    with pytest.raises(ObserverError, match=message) as caught:
        observer.wait(["a", "b"], ["c"], timeout=60)
    assert "after 60 s" in str(caught.value)
    assert observer.now == 60


def test_wait_names_some_of_many():
    with pytest.raises(ObserverError, match=r"does not yet expect c0, c1, c10, c11, c12 and 95 more \("):
        Observer(answer()).wait([f"c{n}" for n in range(100)])


def test_wait_does_not_go_on_when_asking_again_is_no_use():
    observer = Observer(QueryError("no right.", again=False))
    with pytest.raises(ObserverError, match=r"The registry is as asked, but what the Observer makes of it can't be seen: no right\."):
        observer.wait(["a"])
    assert observer.now == 0
