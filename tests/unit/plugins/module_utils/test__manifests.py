# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import datetime
import json

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _manifests as m
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._manifests_sync import BUILT_IN_KINDS

SECRET_TEXT = "hunter2-is-long"


def config_map(name="a", namespace="n", **more):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, **more}


def secret(**more):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, **more}


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def test_parse_takes_mappings_lists_documents_and_kind_list():
    text = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: n}\n---\n---\n# nothing\n"
    listed = {"apiVersion": "v1", "kind": "List", "items": [config_map("c"), config_map("d")]}
    found = m.parse([config_map("a"), text, json.dumps(listed), [config_map("e"), [config_map("f")]], "", "# only a comment\n", None])
    assert [manifest.name for manifest in found] == list("abcdef")
    assert [manifest.source for manifest in found] == [
        "manifests[0]",
        "manifests[1], document 1",
        "manifests[2], items[0]",
        "manifests[2], items[1]",
        "manifests[3][0]",
        "manifests[3][1][0]",
    ]


def test_flow_style_yaml_is_not_mistaken_for_json():
    assert m.parse(["{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: n}}"])[0].name == "a"


def test_source_comment_names_the_item():
    (manifest,) = m.parse(["# Source: files/a.yml\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: n}\n"])
    assert manifest.source == "files/a.yml"
    with pytest.raises(ObserverError, match=r"^files/a.yml, document 2: has no apiVersion\.$"):
        m.parse(["# Source: files/a.yml\n" + json.dumps(config_map()) + "\n---\nkey: value\n"])


def test_dates_stay_texts():
    (manifest,) = m.parse(["apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: n, annotations: {day: 2026-01-02}}\n"])
    assert manifest.body["metadata"]["annotations"]["day"] == "2026-01-02"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("a: [1, 2", r"^manifests\[0\]: not valid YAML in line [12], column [19]: "),
        ("a: 1\na: 2\n", r"^manifests\[0\]: not valid YAML in line 2, column 1: key 'a' is there twice\.$"),
        ("# Source: x.yml\nok: 1\nb: c: d\n", r"^x.yml: not valid YAML in line 2, column "),
        ("text", r"^manifests\[0\]: is a text, not an object"),
        (7, r"^manifests\[0\]: is of type int, not an object"),
        ({}, r"^manifests\[0\]: has no apiVersion\.$"),
        ({"apiVersion": "v1"}, r"has no kind\.$"),
        ({"apiVersion": "v1", "kind": "ConfigMap"}, r"^manifests\[0\] \(ConfigMap\): has no metadata"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}, r"has no metadata\.name\.$"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "a-"}}, r"generateName makes a new object at each run"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": 5}}, r"metadata\.name is not a text: put it in quotes"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": []}}, r"\(ConfigMap a\): metadata\.labels is not a mapping"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": 3}}, r"metadata\.namespace is not a text"),
        (secret(stringData={"pin": 123456}), r"\(Secret s\): stringData\[pin\] is not a text"),
        (secret(data={"key": "%%%" + SECRET_TEXT}), r"data\[key\] is not base64: use stringData"),
        (secret(data=[SECRET_TEXT]), r"data is not a mapping"),
    ],
)
def test_bad_items_are_named_without_their_content(item, message):
    with pytest.raises(ObserverError, match=message) as caught:
        m.parse([item])
    assert SECRET_TEXT not in str(caught.value)
    assert "123456" not in str(caught.value)


def test_broken_yaml_of_a_secret_is_not_quoted():
    with pytest.raises(ObserverError) as caught:
        m.parse([f'kind: Secret\nstringData:\n  password: "{SECRET_TEXT}\n'])
    assert SECRET_TEXT not in str(caught.value)


def test_all_bad_items_are_named_together():
    with pytest.raises(ObserverError) as caught:
        m.parse([{}, config_map("a"), "text", config_map("a")])
    assert str(caught.value).startswith("3 manifests are wrong; nothing was changed:\n- manifests[0]: ")
    assert "manifests[3]: ConfigMap n/a is there twice, first in manifests[1]. Remove one of them." in str(caught.value)


def test_an_object_is_the_same_in_any_version_of_its_api():
    old = {"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a", "namespace": "n"}}
    with pytest.raises(ObserverError, match="is there twice"):
        m.parse([old, {**old, "apiVersion": "autoscaling/v2"}])


def test_plain_gives_json_types():
    class Text(str):
        pass

    value = {"a": (1, 2.5, None, True), 3: {Text("x")}, "d": datetime.date(2026, 1, 2), "b": b"y", "g": (number for number in (1, 2))}
    assert m.plain(value) == {"a": [1, 2.5, None, True], "3": ["x"], "d": "2026-01-02", "b": "y", "g": [1, 2]}
    assert not isinstance(m.plain({"a": Text("x")})["a"], Text)


def test_files_and_folders(tmp_path):
    (tmp_path / "b.yaml").write_text("b: 1\n")
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "readme.md").write_text("no")
    (tmp_path / "sub").mkdir()
    texts = m.read_files([str(tmp_path), str(tmp_path / "b.yaml")])
    assert [text.splitlines()[0] for text in texts] == [f"# Source: {tmp_path}/{name}" for name in ("a.json", "b.yaml", "b.yaml")]
    with pytest.raises(ObserverError, match="sub has no file that ends in"):
        m.read_files([str(tmp_path / "sub")])
    with pytest.raises(ObserverError, match=r"nowhere\.yml does not exist"):
        m.read_files([str(tmp_path / "nowhere.yml")])
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe")
    with pytest.raises(ObserverError, match="is not UTF-8"):
        m.read_files([str(tmp_path / "binary.yml")])


def test_string_data_becomes_data_and_wins():
    found = m.secret_data_only(secret(data={"a": "YQ==\n", "b": encoded("old")}, stringData={"b": "new"}, type="Opaque"))
    assert found["data"] == {"a": "YQ==", "b": encoded("new")}
    assert "stringData" not in found
    assert found["type"] == "Opaque"
    assert "data" not in m.secret_data_only(secret(stringData={}))


def manifest(body, source="manifests[0]"):
    return m.Manifest(body, source)


def test_complete_adds_namespace_and_label_and_leaves_the_given_alone():
    given = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"x": "y"}}, "status": {}}
    found = m.complete(manifest(given), namespaced=True, namespace="n", set_name="s")
    assert found.body["metadata"] == {"name": "a", "namespace": "n", "labels": {"x": "y", "scs.observer/set": "s"}}
    assert "status" not in found.body
    assert "namespace" not in given["metadata"]
    assert m.complete(manifest(config_map("a", "own")), namespaced=True, namespace="n", set_name=None).namespace == "own"


def test_complete_refuses_wrong_scopes():
    with pytest.raises(ObserverError, match=r"manifests\[0\]: ConfigMap a names no namespace: set metadata.namespace, or the option 'namespace'"):
        m.complete(manifest({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}), namespaced=True, namespace=None, set_name=None)
    body = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "a", "namespace": "n"}}
    with pytest.raises(ObserverError, match="ClusterRole a is cluster-scoped"):
        m.complete(manifest(body), namespaced=False, namespace=None, set_name=None)


@pytest.mark.parametrize("name", ["", "a b", "-a", "a" * 64, "ä"])
def test_a_set_is_a_label_value(name):
    with pytest.raises(ObserverError, match="no label value"):
        m.check_set(name)
    m.check_set("kaas-agent")
    m.check_set(None)


def key(kind, group=""):
    return m.Key(group, kind, "n", "x")


def test_order_of_creation():
    wanted = [
        key("Namespace"),
        key("CustomResourceDefinition", "apiextensions.k8s.io"),
        key("Role", "rbac.authorization.k8s.io"),
        key("ServiceAccount"),
        key("Secret"),
        key("ConfigMap"),
        key("PersistentVolumeClaim"),
        key("Service"),
        key("Deployment", "apps"),
        key("StatefulSet", "apps"),
        key("Widget", "example.org"),
        key("ValidatingWebhookConfiguration", "admissionregistration.k8s.io"),
    ]
    ranks = [m.create_rank(entry, BUILT_IN_KINDS) for entry in wanted]
    assert ranks == sorted(set(ranks))


def test_order_of_deletion():
    wanted = [
        key("MutatingWebhookConfiguration", "admissionregistration.k8s.io"),
        key("Service", "serving.knative.dev"),
        key("Deployment", "apps"),
        key("Service"),
        key("CustomResourceDefinition", "apiextensions.k8s.io"),
        key("Namespace"),
    ]
    stages = [m.delete_stage(entry, BUILT_IN_KINDS) for entry in wanted]
    assert stages == sorted(set(stages))
    assert m.delete_stage(key("Secret"), BUILT_IN_KINDS) == m.delete_stage(key("Service"), BUILT_IN_KINDS)


def test_normalise_drops_what_the_server_counts():
    live = config_map(data={"x": "1"}, status={"phase": "Active"})
    live["metadata"] |= {"uid": "1", "resourceVersion": "5", "generation": 2, "creationTimestamp": "now", "managedFields": [{}], "labels": {}}
    live["metadata"]["annotations"] = {m.LAST_APPLIED: "{}"}
    assert m.normalise(live) == config_map(data={"x": "1"})
    live["metadata"]["annotations"] = {m.LAST_APPLIED: "{}", "mine": "1"}
    assert m.normalise(live)["metadata"]["annotations"] == {"mine": "1"}


def with_owner(body, fields, manager=m.FIELD_MANAGER, **more):
    body["metadata"]["managedFields"] = [{"manager": manager, "operation": "Apply", "fieldsV1": fields, **more}]
    return body


def test_ownership_counts_as_a_change_and_says_so():
    before, after = m.item(config_map()), m.item(with_owner(config_map(), {"f:data": {}}))
    assert not m.equal(before, after)
    assert "only the ownership of fields changes" in m.Mask().render(m.with_note(before, after))
    assert m.with_note(before, m.item(config_map(data={"x": "1"}))).note == ""
    assert m.equal(m.item(with_owner(config_map(), {"f:a": {}}, "kubectl")), m.item(with_owner(config_map(), {"f:b": {}}, "kubectl")))
    assert m.owned_fields(with_owner(config_map(), {"f:status": {}}, subresource="status")) is None


def test_contains_compares_what_is_desired():
    live = {"a": 1, "b": [{"c": 1, "defaulted": True}], "other": 1}
    assert m.contains(live, {"a": 1, "b": [{"c": 1}]})
    assert not m.contains(live, {"b": [{"c": 2}]})
    assert not m.contains(live, {"b": [{"c": 1}, {"c": 1}]})
    assert not m.contains(live, {"b": {"c": 1}})
    assert not m.contains([], {"a": 1})


def test_mask_shows_change_and_nothing_else():
    mask = m.Mask()
    same, other = mask.marker(SECRET_TEXT), mask.marker("other")
    assert same == mask.marker(SECRET_TEXT) != other
    assert m.Mask().marker(SECRET_TEXT) != same
    shown = mask.render(m.item(secret(data={"password": encoded(SECRET_TEXT)})))
    assert encoded(SECRET_TEXT) not in shown
    assert "password: <hidden " in shown
    assert mask.body(config_map(data={"x": "1"}))["data"] == {"x": "1"}


def test_yaml_is_readable():
    text = m.to_yaml(config_map(data={"prometheus.yml": "a: 1\nb: 2\n"}))
    assert text.splitlines()[:2] == ["apiVersion: v1", "kind: ConfigMap"]
    assert "  prometheus.yml: |\n    a: 1\n    b: 2\n" in text


def test_scrub_takes_plain_and_encoded_values_out():
    values = m.secret_values([secret(data={"a": encoded(SECRET_TEXT), "short": encoded("1"), "binary": base64.b64encode(b"\xff" * 9).decode()}), config_map()])
    assert SECRET_TEXT in values
    assert "1" not in values
    assert m.scrub(f"got {SECRET_TEXT} and {encoded(SECRET_TEXT)}", values) == "got <hidden> and <hidden>"


def test_explain_conflicts():
    causes = [
        {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl-client-side-apply" using v1', "field": ".data.x"},
        {"reason": "FieldManagerConflict", "message": 'conflict with "helm"', "field": ".data.y"},
    ]
    text = m.explain(manifest(config_map()), status=409, detail="Apply failed with 2 conflicts", causes=causes)
    assert text.startswith("ConfigMap n/a: .data.x is owned by 'kubectl-client-side-apply', .data.y is owned by 'helm'. ")
    assert "force_conflicts: true" in text


@pytest.mark.parametrize(
    ("status", "detail", "kind", "message"),
    [
        (404, 'namespaces "n" not found', "namespaces", "ConfigMap n/a: namespace n does not exist. Create it first, or add it to the manifests."),
        (404, "the server could not find the requested resource", "", "the API server knows no kind ConfigMap in v1"),
        (
            500,
            "failed to create typed patch object (n/a; /v1, Kind=ConfigMap): .spec: field not declared in schema",
            "",
            "a: .spec: field not declared in schema.",
        ),
        (403, 'User "bob" cannot patch resource', "", "grant it by a Role"),
        (403, 'pods "x" is forbidden: violates PodSecurity', "", 'ConfigMap n/a: pods "x" is forbidden: violates PodSecurity.'),
        (422, 'ConfigMap "a" is invalid: data: Forbidden: field is immutable when `immutable` is set', "", "'kubectl delete configmap a -n n' and run again"),
    ],
)
def test_explain(status, detail, kind, message):
    assert message in m.explain(manifest(config_map()), status=status, detail=detail, kind=kind)


def test_explain_a_stateful_set_keeps_its_pods():
    body = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s", "namespace": "n"}}
    detail = 'StatefulSet.apps "s" is invalid: spec: Forbidden: updates to statefulset spec for fields other than "replicas" are forbidden'
    assert "--cascade=orphan" in m.explain(manifest(body), status=422, detail=detail)
