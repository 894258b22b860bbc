# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _grafana_dashboards as dashboards
from ansible_collections.scs.observer.plugins.module_utils import _grafana_sync as sync
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._grafana_dashboards import Datasource
from ansible_collections.scs.observer.plugins.module_utils._grafana_folders import Tree
from ansible_collections.scs.observer.plugins.module_utils._grafana_http import GrafanaError, Settings


class Backend:
    """What Grafana remembers, without HTTP; the double of its HTTP API is for the integration tests."""

    title = "https://grafana"

    def __init__(self, version="11.0.0", nested=True):
        self.version, self.nested = version, nested
        self.tree: dict[str, tuple[str, str]] = {}
        self.stored: dict[str, dict] = {}
        self.written: list[tuple] = []
        self.refuse: dict[str, GrafanaError] = {}
        self.before_save = lambda uid: None
        self.listed = None

    def put(self, uid, folder="", version=1, meta=None, **content):
        self.stored[uid] = {"dashboard": {"uid": uid, "title": uid, **content, "id": 9, "version": version}, "meta": {"folderUid": folder, **(meta or {})}}

    def settings(self):
        return Settings(self.version, self.nested, [Datasource("Thanos", "thanos", "prometheus")])

    def folders(self, parent=""):
        return [{"uid": uid, "title": title} for uid, (title, above) in self.tree.items() if above == parent]

    def folder(self, uid):
        return {"uid": uid, "title": self.tree[uid][0], "parentUid": self.tree[uid][1]}

    def create_folder(self, title, parent=""):
        if title in self.refuse:
            raise self.refuse[title]
        uid = f"uid-{title}"
        self.tree[uid] = (title, parent)
        self.written.append(("folder", title, parent))
        return uid

    def search(self, tag=None):
        known = self.stored if self.listed is None else {uid: self.stored[uid] for uid in self.listed}
        hits = [
            {"uid": uid, "title": i["dashboard"]["title"], "folderUid": i["meta"]["folderUid"], "tags": i["dashboard"].get("tags", [])}
            for uid, i in known.items()
        ]
        return [hit for hit in hits if tag is None or tag in hit["tags"]]

    def dashboard(self, uid):
        return self.stored.get(uid)

    def save(self, content, folder, *, message="", overwrite=False):
        uid = content["uid"]
        self.before_save(uid)
        if uid in self.refuse:
            raise self.refuse[uid]
        there = self.stored[uid]["dashboard"]["version"] if uid in self.stored else 0
        if content.get("version", 0) != there and not overwrite:
            raise GrafanaError("changed by someone else", status=412, code="version-mismatch")
        self.put(uid, folder, version=there + 1, **{key: value for key, value in content.items() if key not in ("uid", "id", "version")})
        self.written.append(("save", uid, folder))

    def delete(self, uid):
        if uid in self.refuse:
            raise self.refuse[uid]
        del self.stored[uid]
        self.written.append(("delete", uid))

    def each(self, function, items):
        found = []
        for item in items:
            try:
                found.append(function(item))
            except GrafanaError as error:
                found.append(error)
        return found


def wanted(*uids, folder="", **content):
    return dashboards.parse([{"uid": uid, "title": uid, **content} for uid in uids], folder)


def run(backend, items, **options):
    return sync.run(backend, items, sync.Options(**options))


def prune(folder=None, tag=None, limit=None, allow_empty=False):
    return sync.Prune(None if folder is None else dashboards.split_path(folder), tag, limit, allow_empty)


# Folders


def test_folders_are_made_once_and_parents_first():
    backend = Backend()
    backend.tree = {"k": ("KaaS", "")}
    found = run(backend, [*wanted("a", folder="KaaS/Clusters"), *wanted("b", folder="New/Deep"), *wanted("c", folder="KaaS/Clusters")])
    assert backend.written[:3] == [("folder", "New", ""), ("folder", "Clusters", "k"), ("folder", "Deep", "uid-New")]
    assert found.folders == ["New", "KaaS/Clusters", "New/Deep"] and found.created == ["a", "b", "c"]
    again = run(backend, [*wanted("a", folder="KaaS/Clusters"), *wanted("b", folder="New/Deep"), *wanted("c", folder="KaaS/Clusters")])
    assert not again.changed and len(backend.written) == 6


def test_a_dashboard_moves():
    backend = Backend()
    backend.tree = {"x": ("X", ""), "y": ("Y", "")}
    backend.put("a", "x")
    found = run(backend, wanted("a", folder="Y"), diff=True)
    assert found.updated == ["a"] and backend.stored["a"]["meta"]["folderUid"] == "y"
    assert found.diff[0]["before_header"] == "X/a (a)" and found.diff[0]["after_header"] == "Y/a (a)"


def test_nested_folders_that_grafana_does_not_have_are_an_error():
    with pytest.raises(ObserverError, match=r"folder A/B: this Grafana \(10\.4\.19\) has no nested folders"):
        run(Backend("10.4.19", nested=False), wanted("a", folder="A/B"))


def test_two_folders_of_one_path_are_an_error():
    backend = Backend()
    backend.tree = {"x": ("X", ""), "y": ("X", "")}
    with pytest.raises(ObserverError, match=r"folder X is there 2 times in Grafana \(x, y\)"):
        run(backend, wanted("a", folder="X/Y"))


def test_folder_loops_are_an_error():
    backend = Backend()
    backend.tree = {"x": ("X", "y"), "y": ("Y", "x")}
    backend.put("a", "x")
    with pytest.raises(ObserverError, match="the folders x, y lie in one another, a loop"):
        run(backend, wanted("a"))
    backend.tree["z"] = ("Z", "")
    tree = Tree(backend, nested=True)
    with pytest.raises(ObserverError, match="a loop"):
        tree.below("x")


def test_a_folder_that_somebody_else_makes_is_taken():
    backend = Backend()

    def faster(title, parent=""):
        backend.tree["theirs"] = (title, parent)
        raise GrafanaError("exists", status=409)

    backend.create_folder = faster
    assert run(backend, wanted("a", folder="X")).created == ["a"]
    assert backend.stored["a"]["meta"]["folderUid"] == "theirs"


def test_dashboards_of_a_folder_that_can_not_be_made_fail_with_it():
    backend = Backend()
    backend.refuse["X"] = GrafanaError("not permitted", status=403)
    found = run(backend, [*wanted("a", folder="X/Y"), *wanted("b")])
    assert found.created == ["b"] and found.failures[0]["message"] == "folder X can not be made: not permitted"


# Planning


def test_check_mode_tells_everything_and_writes_nothing():
    backend = Backend()
    backend.put("old", "", description="x")
    backend.put("same", "")
    backend.put("gone", "", tags=["t"])
    items = wanted("new", "old", "same", folder="", tags=["t"])
    backend.put("same", "", tags=["t"])
    found = run(backend, items, check=True, prune=prune(tag="t"))
    assert (found.created, found.updated, found.unchanged, found.deleted) == (["new"], ["old"], ["same"], ["gone"])
    assert backend.written == [] and found.changed
    real = run(backend, items, prune=prune(tag="t"))
    assert dataclasses.replace(real, diff=[]) == found


def test_provisioned_dashboards_are_an_error_before_anything_is_written():
    backend = Backend()
    backend.put("p", description="x", meta={"provisioned": True, "provisionedExternalId": "p.json"})
    with pytest.raises(ObserverError, match=r"dashboards\[1\]: p \(p\) is provisioned from a file of the Grafana server \(p\.json\), and can not be changed"):
        run(backend, wanted("a", "p"))
    assert backend.written == []
    backend.put("p", meta={"provisioned": True})
    assert run(backend, wanted("p")).unchanged == ["p"]
    with pytest.raises(ObserverError, match="can not be deleted here"):
        run(backend, wanted("p"), state="absent")


def test_missing_rights_are_an_error_before_anything_is_written():
    backend = Backend()
    backend.put("a", description="x", meta={"canSave": False})
    with pytest.raises(ObserverError, match="may not be changed by this account"):
        run(backend, wanted("a", "b"))
    assert backend.written == []


def test_titles_must_be_unique_in_a_folder_of_grafana_10():
    backend = Backend("10.4.19")
    backend.put("taken")
    backend.stored["taken"]["dashboard"]["title"] = "T"
    items = dashboards.parse([{"uid": "a", "title": "T"}, {"uid": "b", "title": "T"}], "")
    with pytest.raises(ObserverError) as caught:
        run(backend, items)
    assert "T (b) has the title of a in the same folder" in str(caught.value) and "the folder has a dashboard taken of this title" in str(caught.value)
    assert run(Backend("11.0.0"), items).created == ["a", "b"]


def test_a_search_that_lags_is_not_believed_from_12_on():
    backend = Backend("12.1.0")
    backend.put("a")
    backend.listed = []
    assert run(backend, wanted("a")).unchanged == ["a"]


def test_an_unknown_datasource_is_an_error():
    with pytest.raises(ObserverError, match="no datasource of that name"):
        run(Backend(), wanted("a"), datasources={"prometheus": "Mimir"})


# Pruning


def test_prune_keeps_to_its_folder_and_what_lies_in_it():
    backend = Backend()
    backend.tree = {"x": ("X", ""), "inner": ("Inner", "x"), "y": ("Y", "")}
    for uid, folder in (("a", "x"), ("b", "inner"), ("c", "y"), ("d", "")):
        backend.put(uid, folder)
    assert run(backend, wanted("a", folder="X"), prune=prune("X")).deleted == ["b"]
    assert set(backend.stored) == {"a", "c", "d"}
    assert run(backend, wanted("new", folder="Y"), prune=prune("General")).deleted == ["d"]


def test_prune_by_tag_gives_the_tag():
    backend = Backend()
    backend.put("other")
    backend.put("old", tags=["ours"])
    found = run(backend, wanted("a"), prune=prune(tag="ours"))
    assert found.deleted == ["old"] and backend.stored["a"]["dashboard"]["tags"] == ["ours"]
    assert run(backend, wanted("a"), prune=prune(tag="ours")).unchanged == ["a"]


def test_prune_by_both_takes_what_is_in_both():
    backend = Backend()
    backend.tree = {"x": ("X", "")}
    backend.put("a", "x", tags=["t"])
    backend.put("b", "x")
    backend.put("c", "", tags=["t"])
    assert run(backend, [], prune=prune("X", "t", allow_empty=True)).deleted == ["a"]


@pytest.mark.parametrize(("limit", "good"), [("1", False), ("2", True), ("49%", False), ("50%", True), ("0", False)])
def test_prune_has_a_limit(limit, good):
    backend = Backend()
    for uid in "abcd":
        backend.put(uid, tags=["t"])
    if good:
        assert run(backend, wanted("a", "b"), prune=prune(tag="t", limit=limit)).deleted == ["c", "d"]
    else:
        with pytest.raises(ObserverError, match="prune would delete 2 dashboards, and prune_limit"):
            run(backend, wanted("a", "b"), prune=prune(tag="t", limit=limit))
        assert backend.written == []


def test_prune_wants_a_scope_and_dashboards():
    with pytest.raises(ObserverError, match="prune needs a scope"):
        run(Backend(), wanted("a"), prune=prune())
    with pytest.raises(ObserverError, match="prune with no dashboard at all"):
        run(Backend(), [], prune=prune("X"))
    with pytest.raises(ObserverError, match="state=absent"):
        run(Backend(), wanted("a"), prune=prune("X"), state="absent")
    with pytest.raises(ObserverError, match="There is no dashboard"):
        run(Backend(), [])
    with pytest.raises(ObserverError, match=r"prune_limit is many\."):
        run(Backend(), wanted("a"), prune=prune(tag="t", limit="many"))


def test_provisioned_dashboards_are_never_pruned():
    backend = Backend()
    backend.put("p", tags=["t"], meta={"provisioned": True})
    found = run(backend, wanted("a"), prune=prune(tag="t"))
    assert found.kept == ["p"] and found.deleted == [] and "p" in backend.stored


def test_nothing_is_pruned_when_writing_failed():
    backend = Backend()
    backend.put("old", tags=["t"])
    backend.refuse["a"] = GrafanaError("no", status=400)
    found = run(backend, wanted("a", "b"), prune=prune(tag="t"))
    assert found.created == ["b"] and found.deleted == [] and "old" in backend.stored
    assert found.warnings == ["Nothing was deleted, for writing failed: old."]


def test_absent_deletes_what_is_there():
    backend = Backend()
    backend.put("a")
    found = run(backend, dashboards.parse([{"uid": "a"}, {"uid": "b"}], "", content=False), state="absent")
    assert (found.deleted, found.unchanged) == (["a"], ["b"])
    assert not run(backend, wanted("a"), state="absent").changed


# Conflicts and failures


def race(backend, description):
    """Somebody else writes right before our write, once."""
    left = ["a"]

    def before_save(uid):
        if left and left.pop() == uid:
            version = backend.stored[uid]["dashboard"]["version"] if uid in backend.stored else 0
            backend.put(uid, version=version + 1, description=description, meta={"updatedBy": "eve"})

    backend.before_save = before_save


@pytest.mark.parametrize("there", [True, False])
def test_a_conflict_fails_is_overwritten_or_skipped(there):
    def prepared():
        backend = Backend()
        if there:
            backend.put("a", description="old")
        race(backend, "theirs")
        return backend

    backend = prepared()
    found = run(backend, wanted("a", description="ours"))
    assert "it was written by eve in the meantime" in found.failures[0]["message"] and backend.stored["a"]["dashboard"]["description"] == "theirs"
    backend = prepared()
    assert run(backend, wanted("a", description="ours"), on_conflict="skip").left == ["a"]
    assert backend.stored["a"]["dashboard"]["description"] == "theirs"
    backend = prepared()
    assert run(backend, wanted("a", description="ours"), on_conflict="overwrite").changed
    assert backend.stored["a"]["dashboard"]["description"] == "ours"


def test_our_own_write_whose_answer_got_lost_is_no_conflict():
    backend = Backend()
    race(backend, "ours")
    found = run(backend, wanted("a", description="ours"))
    assert found.created == ["a"] and not found.failures


def test_a_dashboard_of_a_plugin_is_a_conflict():
    backend = Backend()
    backend.put("a", description="old")
    backend.refuse["a"] = GrafanaError("The dashboard belongs to plugin X.", status=412, code="plugin-dashboard")
    assert "belongs to plugin X" in run(backend, wanted("a")).failures[0]["message"]
    assert run(backend, wanted("a"), on_conflict="skip").left == ["a"]


def test_another_dashboard_of_the_same_title_is_never_overwritten():
    backend = Backend()
    backend.refuse["a"] = GrafanaError("A dashboard with the same name in the folder already exists", status=412, code="name-exists")
    assert "same name" in run(backend, wanted("a"), on_conflict="overwrite").failures[0]["message"]


def test_all_failures_are_told_those_of_one_reason_together():
    backend = Backend()
    for uid in ("a", "b"):
        backend.refuse[uid] = GrafanaError("not permitted", status=403)
    backend.refuse["c"] = GrafanaError("refresh is too low", status=400)
    found = run(backend, wanted("a", "b", "c", "d"))
    assert sync.failure_message(found).splitlines() == [
        "3 of 4 dashboards failed, 1 written.",
        "a (a), b (b): not permitted.",
        "c (c): refresh is too low.",
    ]
    assert found.failures[2] == {"uid": "c", "title": "c", "source": "dashboards[2]", "message": "refresh is too low"}


def test_the_diff_shows_only_what_differs():
    backend = Backend()
    backend.put("a", schemaVersion=41, panels=[{"id": 5, "type": "text"}], editable=True, description="old")
    found = run(backend, wanted("a", panels=[{"type": "text"}], description="new"), diff=True, check=True)
    (entry,) = found.diff
    before, after = entry["before"].splitlines(), entry["after"].splitlines()
    assert [line for line in before if line not in after] == ['  "description": "old",'] and [line for line in after if line not in before] == [
        '  "description": "new",'
    ]


# Exporting


def test_export_gives_the_normal_form_with_folder_paths():
    backend = Backend()
    backend.tree = {"x": ("X", ""), "y": ("Y", "x")}
    backend.put("a", "y", tags=["t"], editable=True)
    backend.put("b", "")
    found = sync.export(backend, [], None, None, content=True)
    assert [(entry["uid"], entry["folder"]) for entry in found] == [("b", ""), ("a", "X/Y")]
    assert found[1]["content"] == {"uid": "a", "title": "a", "tags": ["t"]} and found[1]["version"] == 1
    assert [entry["uid"] for entry in sync.export(backend, [], ("X",), None, content=False)] == ["a"]
    assert [entry["uid"] for entry in sync.export(backend, ["b", "none"], None, None, content=False)] == ["b"]
    assert [entry["uid"] for entry in sync.export(backend, ["b"], None, "t", content=False)] == []
    with pytest.raises(ObserverError, match="folder Z does not exist"):
        sync.export(backend, [], ("Z",), None, content=False)
