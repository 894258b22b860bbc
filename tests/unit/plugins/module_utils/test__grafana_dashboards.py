# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _grafana_dashboards as dashboards
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._grafana_dashboards import Datasource, Source

THANOS = Datasource("Thanos", "thanos-uid", "prometheus")
LOKI = Datasource("Loki", "loki-uid", "loki")
BUILT_IN_ANNOTATION = {
    "builtIn": 1,
    "datasource": {"type": "grafana", "uid": "-- Grafana --"},
    "enable": True,
    "type": "dashboard",
    "name": "Annotations & Alerts",
}


def one(entry, folder="", **flags):
    (found,) = dashboards.parse([entry], folder, **flags)
    return found


def dashboard(**more):
    return {"uid": "a", "title": "A", **more}


def same(actual, wanted):
    return dashboards.same(dashboards.normal(actual), dashboards.normal(wanted))


# Entries


@pytest.mark.parametrize(
    "entry",
    [
        dashboard(),
        json.dumps(dashboard()),
        "\ufeff" + json.dumps(dashboard()),
        {"content": dashboard()},
        {"content": json.dumps(dashboard()), "name": "file"},
        json.dumps({"content": json.dumps(dashboard())}),
        {"dashboard": dashboard(), "meta": {"slug": "a"}},
        {"content": dashboard(uid="other"), "uid": "a"},
        {"content": {"title": "A"}, "uid": "a"},
    ],
)
def test_a_dashboard_is_taken_in_every_form(entry):
    assert one(entry).content == dashboard()


def test_folders_are_paths():
    assert one(dashboard(), "KaaS/ Clusters /").folder == ("KaaS", "Clusters")
    assert one({"content": dashboard(), "folder": r"a\/b/c"}, "x").folder == ("a/b", "c")
    assert one({"content": dashboard(), "folder": ""}, "x").folder == ()
    assert dashboards.split_path("General") == () and dashboards.split_path("General/x") == ("General", "x")
    assert dashboards.join_path(("a/b", "c")) == r"a\/b/c"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('{"uid": "a",\n "title": }', "dashboards[0]: this is not JSON: line 2, column 11: Expecting value."),
        ("", "dashboards[0]: this is not JSON: it is empty."),
        ('{"uid": "a", "title": "A", "x": NaN}', "dashboards[0]: this is not JSON: NaN is no JSON number."),
        ("[" * 200_000, "dashboards[0]: this is not JSON: "),
        ("[]", "dashboards[0]: a dashboard is a JSON object, and this is a list."),
        ({"content": "7", "name": "f.json"}, "f.json: a dashboard is a JSON object, and this is a number."),
        ({"title": "A"}, "dashboards[0]: the dashboard has no uid"),
        ({"uid": "a"}, "dashboards[0]: there is no content."),
        ({"uid": "a", "panels": []}, "dashboards[0]: the dashboard has no title."),
        (dashboard(title=" "), "dashboards[0]: the dashboard has no title."),
        (dashboard(uid="a b"), "dashboards[0]: uid 'a b' is not valid."),
        (dashboard(uid="x" * 41), "is not valid. Use 1 to 40 letters"),
        (dashboard(uid=7), "dashboards[0]: uid 7 is not valid."),
        (dashboard(panels={}), "dashboards[0]: panels is an object and not a list."),
        ({"content": dashboard(), "fodler": "x"}, "beside content there is fodler"),
        ({"apiVersion": "dashboard.grafana.app/v2", "spec": {}}, "schema v2 or a Kubernetes object"),
        ({"content": dashboard(), "folder": ["a"]}, "folder is a list. Give a text."),
    ],
)
def test_bad_input_is_one_clear_message(entry, message):
    with pytest.raises(ObserverError) as caught:
        one(entry)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).endswith("Nothing was written.")


def test_all_problems_are_told_together():
    with pytest.raises(ObserverError) as caught:
        dashboards.parse([{"title": "x"}, "{", dashboard(), {"content": dashboard(), "name": "second.json"}], "")
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 problems. Nothing was written."
    assert "second.json: uid a is there twice, first in dashboards[2]." in lines[3]


def test_a_uid_is_enough_to_delete():
    assert one({"uid": "a"}, content=False).content is None
    with pytest.raises(ObserverError, match="no uid"):
        one({"content": {"title": "A"}}, content=False)


# Files


def test_a_folder_is_read_by_name_with_its_subfolders(tmp_path):
    for name in ("b.json", "sub/deep/c.json", "a.json", "a.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    found = dashboards.read_all([str(tmp_path)])
    assert [source.name.removeprefix(f"{tmp_path}/") for source in found] == ["a.json", "b.json", "sub/deep/c.json"]
    assert found[2].folder == ("sub", "deep")
    assert [source.name for source in dashboards.read_all([f"{tmp_path}/[ab].json"])] == [f"{tmp_path}/a.json", f"{tmp_path}/b.json"]
    assert len(dashboards.read_all([f"{tmp_path}/**/*.json"])) == 3


def test_subfolders_become_folders_when_asked_for():
    source = Source("f", "{}", ("a/b", "c"))
    assert dashboards.entry_of(source, "Top", by_folder=True) == {"name": "f", "folder": r"Top/a\/b/c", "content": "{}"}
    assert dashboards.entry_of(source, "Top", by_folder=False)["folder"] == "Top"


def test_files_that_can_not_be_read_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "binary.json").write_bytes(b"\x89PNG\xff")
    given = [f"{tmp_path}/{name}" for name in ("empty", "binary.json", "none.json", "*.txt")]
    with pytest.raises(ObserverError) as caught:
        dashboards.read_all(given)
    text = str(caught.value)
    for part in ("empty has no file that ends in .json", "binary.json is not UTF-8 text", "none.json does not exist", "no file fits"):
        assert part in text


def test_a_loop_of_folders_is_an_error(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "again").symlink_to(tmp_path)
    with pytest.raises(ObserverError, match="inside/again is a link to a folder that it lies in, a loop"):
        dashboards.read_all([str(tmp_path)])


# Datasources


def replaced(content, mapping):
    return dashboards.replace_datasources(one(dashboard(**content)), mapping).content


def test_datasources_are_replaced_by_input_uid_name_or_type():
    panels = [
        {"datasource": {"type": "prometheus", "uid": "${DS_P}"}, "targets": [{"datasource": "old name"}]},
        {"datasource": {"type": "prometheus", "uid": "old"}},
        {"datasource": {"type": "loki", "uid": "x"}},
    ]
    inputs = [{"name": "DS_P", "type": "datasource", "pluginId": "prometheus"}]
    found = replaced({"panels": panels, "__inputs": inputs, "__requires": []}, {"DS_P": THANOS, "old name": THANOS, "old": LOKI, "loki": LOKI})
    thanos, loki = {"type": "prometheus", "uid": "thanos-uid"}, {"type": "loki", "uid": "loki-uid"}
    assert found["panels"] == [{"datasource": thanos, "targets": [{"datasource": thanos}]}, {"datasource": loki}, {"datasource": loki}]
    assert "__inputs" not in found and "__requires" not in found


def test_inputs_are_replaced_by_type_and_in_texts():
    inputs = [{"name": "DS_P", "type": "datasource", "pluginId": "prometheus"}, {"name": "VAR_X", "type": "constant", "value": "7"}]
    found = replaced({"panels": [{"datasource": "${DS_P}", "title": "${VAR_X} ${other}", "x": "${DS_P}"}], "__inputs": inputs}, {"prometheus": THANOS})
    assert found["panels"] == [{"datasource": {"type": "prometheus", "uid": "thanos-uid"}, "title": "7 ${other}", "x": "thanos-uid"}]


def test_variables_and_built_in_datasources_stay():
    variable = {"name": "datasource", "type": "datasource", "query": "prometheus", "current": {"text": "x", "value": "x"}}
    panels = [
        {"datasource": {"type": "prometheus", "uid": "${datasource}"}},
        {"datasource": {"type": "datasource", "uid": "-- Mixed --"}},
        {"datasource": None},
    ]
    found = replaced({"panels": panels, "templating": {"list": [variable]}}, {"prometheus": THANOS})
    assert found["panels"] == panels
    assert found["templating"]["list"] == [{**variable, "current": {"text": "Thanos", "value": "thanos-uid"}}]


def test_an_input_without_a_datasource_is_an_error():
    with pytest.raises(ObserverError, match=r"input DS_P needs a datasource of type prometheus\. Name one in datasources, as in DS_P: Thanos\."):
        replaced({"__inputs": [{"name": "DS_P", "type": "datasource", "pluginId": "prometheus"}]}, {"loki": LOKI})


def test_datasources_are_found_by_name_or_uid():
    found = dashboards.resolve_datasources({"${DS_P}": "Thanos", "loki": "loki-uid"}, [THANOS, LOKI])
    assert found == {"DS_P": THANOS, "loki": LOKI}
    with pytest.raises(ObserverError, match=r"prometheus shall be Mimir, and Grafana has no datasource of that name or uid\. It has: Loki, Thanos\."):
        dashboards.resolve_datasources({"prometheus": "Mimir"}, [THANOS, LOKI])


# Comparing


@pytest.mark.parametrize(
    "filled",
    [
        {"id": 7, "version": 3, "iteration": 1},
        {"title": "A "},
        {"annotations": {"list": [BUILT_IN_ANNOTATION]}},
        {"editable": True, "links": [], "tags": [], "templating": {"list": []}, "time": {"to": "now", "from": "now-6h"}, "timezone": "", "refresh": ""},
        {"schemaVersion": 41},
        {"description": None},
        {"fiscalYearStartMonth": 0.0},
    ],
)
def test_what_grafana_fills_in_is_no_change(filled):
    assert same(dashboard(**filled), dashboard())


@pytest.mark.parametrize(
    ("actual", "wanted"),
    [
        ({"panels": [{"id": 1, "type": "row", "panels": [{"id": 2}]}]}, {"panels": [{"type": "row", "panels": [{}]}]}),
        ({"panels": [{"id": 1}, {"id": 2}]}, {"panels": [{"id": 1}, {"id": 1}]}),
        (
            {"panels": [{"id": 1, "libraryPanel": {"uid": "l", "name": "L", "version": 4, "meta": {}}}]},
            {"panels": [{"id": 1, "libraryPanel": {"uid": "l", "name": "L"}}]},
        ),
        ({"panels": [{"id": 1, "x": 1.0}]}, {"panels": [{"id": 1, "x": 1}]}),
        ({"tags": ["b", "a"]}, {"tags": ["a", "b", "a"]}),
        ({"panels": [{"id": 1, "datasource": None}]}, {"panels": [{"id": 1}]}),
    ],
)
def test_these_mean_the_same(actual, wanted):
    assert same(dashboard(**actual), dashboard(**wanted))


@pytest.mark.parametrize(
    ("actual", "wanted"),
    [
        ({"title": "B"}, {}),
        ({"editable": False}, {}),
        ({"panels": [{"id": 1}, {"id": 2}]}, {"panels": [{"id": 2}, {"id": 1}]}),
        ({"panels": [{"id": 1, "x": True}]}, {"panels": [{"id": 1, "x": 1}]}),
        ({"schemaVersion": 38}, {"schemaVersion": 39}),
        ({"panels": [{"id": 1, "libraryPanel": {"uid": "l"}}]}, {"panels": [{"id": 1, "libraryPanel": {"uid": "m"}}]}),
        ({"panels": [{"id": 1, "title": "x"}]}, {"panels": [{"title": "y"}]}),
        ({"annotations": {"list": [BUILT_IN_ANNOTATION, {"name": "mine"}]}}, {}),
        ({}, {"tags": ["a"]}),
        ({"time": {"from": "now-1h", "to": "now"}}, {}),
    ],
)
def test_these_differ(actual, wanted):
    assert not same(dashboard(**actual), dashboard(**wanted))


def test_the_normal_form_is_its_own_normal_form():
    found = dashboards.normal(dashboard(id=1, version=2, tags=["b", "a"], annotations={"list": [BUILT_IN_ANNOTATION]}, panels=[{"id": 3, "x": None, "y": 2.0}]))
    assert found == {"panels": [{"id": 3, "y": 2}], "tags": ["a", "b"], "title": "A", "uid": "a"}
    assert dashboards.normal(found) == found and dashboards.render(found) == dashboards.render(dashboards.normal(found))


def test_a_tag_is_added_once():
    wanted = dashboards.with_tag(one(dashboard(tags=["x"])), "t")
    assert wanted.content["tags"] == ["x", "t"] and dashboards.with_tag(wanted, "t") is wanted


def test_packed_entries_are_unpacked_in_their_place():
    assert dashboards.unpack(["{}", dashboards.pack(["ä", "b"]), {"uid": "c"}]) == ["{}", "ä", "b", {"uid": "c"}]
    for broken in ("packed:", "packed:ä", "packed:AAAA", dashboards.pack(["a"])[:-4]):
        with pytest.raises(ObserverError, match=r"dashboards\[0\] begins with packed:"):
            dashboards.unpack([broken])
