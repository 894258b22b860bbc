# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible.errors import AnsibleLookupError
from ansible.plugins.loader import lookup_loader


def dashboard(title, expr="up", **more):
    return {"title": title, "uid": title.lower(), "panels": [{"type": "stat", "title": "P", "targets": [{"expr": expr, "refId": "A"}]}], **more}


@pytest.fixture(name="adopt")
def fixture_adopt(tmp_path):
    def run(*dashboards, **options):
        for number, content in enumerate(dashboards):
            (tmp_path / f"{number}.json").write_text(content if isinstance(content, str) else json.dumps(content))
        lookup = lookup_loader.get("scs.observer.adopted_dashboards")
        return lookup.run([str(tmp_path)], {}, **{"infrastructures": ["testbed"], **options})

    return run


def contents(found):
    return [json.loads(entry["content"]) for entry in found["entries"]]


def test_a_set_for_each(adopt):
    one, other = adopt(dashboard("A"), dashboard("B", "up{"), infrastructures=["testbed", {"name": "prod", "folder": "P", "endpoints": []}], tags=["mine"])
    assert [one["folder"], other["folder"]] == ["IaaS testbed", "P"]
    assert [one["tag"], other["tag"]] == ["adopted-testbed", "adopted-prod"]
    assert [(each["uid"], each["path"], each["queries"], each["changed"]) for each in other["dashboards"]] == [
        ("prod_a", "prod/prod_a.json", 1, 1),
        ("prod_b", "prod/prod_b.json", 1, 0),
    ]
    (problem,) = other["dashboards"][1]["problems"]
    assert (problem["title"], problem["path"], problem["expr"]) == ("prod / B", "panels[0].targets[0]", "up{")
    first, _second = contents(one)
    assert first["tags"] == ["iaas", "testbed", "adopted-testbed", "mine"]
    variable = first["templating"]["list"][1]
    assert (variable["type"], variable["query"], variable["current"]["value"], variable["multi"]) == ("custom", "testbed", "testbed", False)


def test_one_set_for_all(adopt):
    (found,) = adopt(dashboard("A"), infrastructures=["a", "b"], multi=True)
    assert (found["name"], found["folder"], found["infrastructures"]) == ("IaaS", "IaaS", ["a", "b"])
    (content,) = contents(found)
    variable = content["templating"]["list"][1]
    assert (variable["query"], variable["allValue"], variable["current"]["value"]) == ("a,b", "a|b", ["$__all"])
    assert [option["value"] for option in variable["options"]] == ["$__all", "a", "b"]


@pytest.mark.parametrize("pair", [("a", "a-b"), ("a" * 63, "a" * 62)])
def test_uids_of_two_infrastructures_differ(adopt, pair):
    """Whatever the dashboards' own uids are, and however long the names."""
    given = [dashboard("A", uid=uid) for uid in ("x", "b_x", "-b_x", "x" * 40)]
    uids = [each["uid"] for found in adopt(*given, infrastructures=list(pair)) for each in found["dashboards"]]
    assert len(set(uids)) == 8 and max(map(len, uids)) <= 40


def test_a_missing_uid_is_always_the_same(adopt):
    given = dashboard("Of others")
    del given["uid"]
    uids = {adopt(given)[0]["dashboards"][0]["uid"] for _turn in range(2)}
    assert len(uids) == 1 and uids.pop().startswith("testbed_of-others-")


def test_links_stay_in_the_set(adopt):
    links = [{"type": "link", "url": "/d/b/title?x=1"}, {"type": "link", "url": "/d/bb"}, {"type": "dashboards", "tags": []}]
    panel = {"type": "dashlist", "title": "L", "options": {"tags": ["kolla"]}}
    found = contents(adopt(dashboard("A", links=links), {**dashboard("B"), "panels": [panel]})[0])
    assert [link.get("url") for link in found[0]["links"]] == ["/d/testbed_b/title?x=1", "/d/bb", None]
    assert found[0]["links"][2]["tags"] == ["adopted-testbed"]
    assert found[1]["panels"][0]["options"]["tags"] == ["kolla", "adopted-testbed"]


def test_folders(adopt):
    (found,) = adopt(dashboard("A"), folder="Clouds/{infrastructure}")
    assert (found["folder"], found["entries"][0]["folder"]) == ("Clouds/testbed", "Clouds/testbed")


def test_subfolders(adopt, tmp_path):
    (tmp_path / "ceph").mkdir()
    (tmp_path / "ceph/osd.json").write_text(json.dumps(dashboard("O")))
    folders = [[entry["folder"] for entry in adopt(dashboard("A"), subfolders=given)[0]["entries"]] for given in (False, True)]
    assert folders == [["IaaS testbed", "IaaS testbed"], ["IaaS testbed", "IaaS testbed/ceph"]]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"infrastructures": []}, "There is no infrastructure"),
        ({"infrastructures": ["a.b"]}, "'a.b' can not be the name of an infrastructure"),
        ({"infrastructures": [{"endpoints": []}]}, "None can not be the name"),
        ({"infrastructures": ["a", "a"]}, "Infrastructure a is named twice"),
        ({"set_name": "My set"}, "The set's name is My set"),
    ],
)
def test_wrong_options_are_told(adopt, options, says):
    with pytest.raises(AnsibleLookupError, match=says):
        adopt(dashboard("A"), **options)


def test_all_wrong_files_are_told(adopt):
    with pytest.raises(AnsibleLookupError) as caught:
        adopt(dashboard("A"), "{", {"uid": "x"}, {"title": "V2", "elements": {}, "layout": {}}, {**dashboard("B"), "panels": [1]})
    told = str(caught.value)
    assert "4 problems" in told
    for name, says in (("1", "this is not JSON"), ("2", "has no title"), ("3", "schema v2"), ("4", "panels[0] is a number, not an object")):
        assert f"{name}.json: " in told and says in told


def test_two_with_one_uid_are_told(adopt):
    with pytest.raises(AnsibleLookupError, match=r"1\.json: uid testbed_a is there twice, first in .*0\.json"):
        adopt(dashboard("A"), dashboard("B", uid="a"))


def test_a_folder_that_is_not_there_is_told():
    with pytest.raises(AnsibleLookupError, match="file nowhere does not exist"):
        lookup_loader.get("scs.observer.adopted_dashboards").run(["nowhere"], {}, infrastructures=["a"])
