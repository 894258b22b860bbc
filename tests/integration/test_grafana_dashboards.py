# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""grafana_dashboards and grafana_dashboards_info on the double of Grafana's API or, with GRAFANA_URL, on that Grafana.

What needs a broken, slow or racing Grafana runs on the double only. What the action plugin or the output is a part of runs by ansible-playbook; the
rest calls the modules in this process, for a playbook costs seconds.
"""

from __future__ import annotations

import dataclasses
import json
import time
import typing as t
import uuid

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.scs.observer.plugins.module_utils import _certificates, _grafana_dashboards, _grafana_http, _grafana_sync
from ansible_collections.scs.observer.plugins.module_utils._certificates import AuthoritySpec, CertificateSpec
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._grafana_http import Client, GrafanaError
from ansible_collections.scs.observer.plugins.module_utils._promql_backends import Access
from ansible_collections.scs.observer.plugins.modules import grafana_dashboards, grafana_dashboards_info
from grafana_double.running import TOKEN, VIEWER_TOKEN, double, real

MODULE = "scs.observer.grafana_dashboards"
REAL = real()


@dataclasses.dataclass
class Task:
    result: dict[str, t.Any]
    output: str


@pytest.fixture(name="task")
def fixture_task(capsys):
    """Calls a module as Ansible and the action plugin do, which packs all dashboards into one text."""

    def call(module, arguments, *flags):
        internal = {"_ansible_check_mode": "--check" in flags, "_ansible_diff": "--diff" in flags, "_ansible_remote_tmp": "/tmp"}
        if "dashboards" in arguments:
            arguments = {**arguments, "dashboards": [_grafana_dashboards.pack([json.dumps(item) for item in arguments["dashboards"]])]}
        capsys.readouterr()
        with patch_module_args({**arguments, **internal}), pytest.raises(SystemExit):
            module.main()
        output = capsys.readouterr().out
        return Task(json.loads(output), output)

    return call


@pytest.fixture(name="grafana", scope="module")
def fixture_grafana():
    """What all versions must do; of the double, each test gets it empty."""
    if REAL:
        yield REAL
    else:
        with double("--nested") as found:
            yield found


@pytest.fixture(name="doubled")
def fixture_doubled():
    with double("--nested") as found:
        yield found


@pytest.fixture(name="mark")
def fixture_mark(grafana):
    """A prefix for uids and folders of one test, which are removed after it."""
    mark = f"t{uuid.uuid4().hex[:8]}"
    yield mark
    for hit in grafana.request("GET", "/api/search?type=dash-db&limit=5000"):
        if hit["uid"].startswith(mark):
            grafana.request("DELETE", f"/api/dashboards/uid/{hit['uid']}")
    for folder in grafana.request("GET", "/api/folders?limit=1000"):
        if folder["title"].startswith(mark):
            grafana.request("DELETE", f"/api/folders/{folder['uid']}")


def content(uid, **more):
    panel = {"type": "timeseries", "title": "CPU", "gridPos": {"h": 8, "w": 12, "x": 0, "y": 0}, "targets": [{"expr": "up", "refId": "A"}]}
    return {"uid": uid, "title": f"Title of {uid}", "schemaVersion": 39, "panels": [panel], "tags": [], **more}


def nested(grafana):
    settings = grafana.request("GET", "/api/frontend/settings")
    return settings["featureToggles"].get("nestedFolders") or int(settings["buildInfo"]["version"].split(".")[0]) >= 11


# On any Grafana


def test_create_change_delete(grafana, mark, task, run_playbook, tmp_path):
    """Each step in check mode, for real, and again."""
    folder = f"{mark}/Inner" if nested(grafana) else mark
    arguments = {"url": grafana.url, **grafana.login, "src": [f"{tmp_path}/dashboards"], "folder": folder}
    uids = [f"{mark}-a", f"{mark}-b"]
    (tmp_path / "dashboards").mkdir()
    for uid in uids:
        (tmp_path / "dashboards" / f"{uid}.json").write_text(json.dumps(content(uid)))

    def run(*flags, **more):
        done = task(grafana_dashboards, {**arguments, **more}, *flags)
        assert not done.result.get("failed"), done.output
        return done

    def search():
        return [hit["uid"] for hit in grafana.request("GET", "/api/search?type=dash-db&limit=5000") if hit["uid"].startswith(mark)]

    checked = run("--check", "--diff").result
    assert checked["created"] == uids and checked["changed"] and search() == []
    done = run_playbook(MODULE, arguments, "--diff")
    assert done.result["created"] == uids and done.result["folders"] == checked["folders"] and done.result["diff"] == checked["diff"]
    assert f"+++ after: {folder}/Title of {mark}-a ({mark}-a)" in done.output
    assert sorted(search()) == uids
    again = run("--diff")
    assert again.result["unchanged"] == uids and not again.result["changed"] and again.result["diff"] == []

    (tmp_path / "dashboards" / f"{mark}-b.json").write_text(json.dumps(content(f"{mark}-b", tags=["x"])))
    checked = run("--check").result
    assert checked["updated"] == [f"{mark}-b"] and grafana.request("GET", f"/api/dashboards/uid/{mark}-b")["dashboard"]["version"] == 1
    done = run("--diff")
    assert done.result["updated"] == [f"{mark}-b"] and '  "tags": [' in done.result["diff"][0]["after"]
    assert not run().result["changed"]

    exported = task(grafana_dashboards_info, {"url": grafana.url, **grafana.login, "folder": mark}).result["dashboards"]
    assert [(entry["uid"], entry["folder"]) for entry in exported] == [(uid, folder) for uid in uids]
    assert exported[1]["content"] == _grafana_dashboards.normal(content(f"{mark}-b", tags=["x"])) and exported[1]["version"] == 2
    # what was exported comes back without a change
    back = [{"content": entry["content"], "folder": entry["folder"]} for entry in exported]
    assert not run(src=[], dashboards=back).result["changed"]

    assert run("--check", state="absent").result["deleted"] == uids and sorted(search()) == uids
    assert run(state="absent").result["deleted"] == uids and search() == []
    assert not run(state="absent").result["changed"]


def test_prune_in_a_folder(grafana, mark, task):
    arguments = {"url": grafana.url, **grafana.login, "folder": mark, "prune": True, "prune_folder": mark}
    first = task(grafana_dashboards, {**arguments, "dashboards": [content(f"{mark}-{number}") for number in range(4)]})
    assert len(first.result["created"]) == 4, first.output
    rest = [content(f"{mark}-{number}") for number in range(2)]
    refused = task(grafana_dashboards, {**arguments, "dashboards": rest, "prune_limit": "1"})
    assert "prune would delete 2 dashboards, and prune_limit (1) allows 1. Nothing was written." in refused.result["msg"]
    done = task(grafana_dashboards, {**arguments, "dashboards": rest, "prune_limit": "50%"}, "--diff")
    assert sorted(done.result["deleted"]) == [f"{mark}-2", f"{mark}-3"] and len(done.result["diff"]) == 2
    assert "prune with no dashboard at all" in task(grafana_dashboards, {**arguments, "dashboards": []}).result["msg"]
    assert len(task(grafana_dashboards, {**arguments, "dashboards": [], "prune_allow_empty": True}).result["deleted"]) == 2


def test_a_dashboard_moves_between_folders(grafana, mark, task):
    arguments = {"url": grafana.url, **grafana.login, "dashboards": [content(f"{mark}-a")]}
    task(grafana_dashboards, {**arguments, "folder": f"{mark} one"})
    moved = task(grafana_dashboards, {**arguments, "folder": f"{mark} two"}, "--diff").result
    assert moved["updated"] == [f"{mark}-a"] and moved["diff"][1]["before"].startswith(f"folder: {mark} one\n")
    assert grafana.request("GET", f"/api/dashboards/uid/{mark}-a")["meta"]["folderTitle"] == f"{mark} two"


def test_a_wrong_token_is_one_message(grafana, run_playbook):
    done = run_playbook(MODULE, {"url": grafana.url, "url_token": "wrong-token", "dashboards": [content("a")]})
    assert done.result["msg"].startswith(f"{grafana.url} does not let us in (401: Invalid API key). Check url_token")
    assert "wrong-token" not in done.output


def test_an_unknown_datasource_is_one_message(grafana, task):
    done = task(grafana_dashboards, {"url": grafana.url, **grafana.login, "dashboards": [content("a")], "datasources": {"prometheus": "No such"}})
    assert "prometheus shall be No such, and Grafana has no datasource of that name or uid" in done.result["msg"]


# On the double


def client(grafana, **options):
    return Client(grafana.url, Access(token=TOKEN), **{"sleep": lambda seconds: None, **options})


def wanted(*uids, folder="", **more):
    return _grafana_dashboards.parse([content(uid, **more) for uid in uids], folder)


def run(grafana, items, **options):
    with client(grafana) as found:
        return _grafana_sync.run(found, items, _grafana_sync.Options(**options))


@pytest.mark.parametrize("version", ["10.4.19", "11.6.0", "12.1.0", "13.0.0"])
def test_every_version_is_brought_to_rest(version):
    with double("--version", version) as grafana:
        items = wanted("a", "b", folder="X" if version.startswith("10") else "X/Y")
        assert run(grafana, items).created == ["a", "b"]
        writes = grafana.writes()
        assert run(grafana, items).unchanged == ["a", "b"] and grafana.writes() == writes


def test_what_the_editor_fills_in_is_no_change(doubled):
    run(doubled, wanted("a"))
    doubled.control("edit", {"uid": "a", "touch": False})
    assert run(doubled, wanted("a")).unchanged == ["a"]
    doubled.control("edit", {"uid": "a"})
    assert run(doubled, wanted("a")).updated == ["a"]


def test_src_is_found_on_the_controller(doubled, run_playbook):
    files = {"files/set/top.json": json.dumps(content("top")), "files/set/KaaS/inner.json": json.dumps(content("inner")), "files/other.txt": "x"}
    arguments = {"url": doubled.url, "url_token": TOKEN, "src": ["set"], "folder": "Observer", "folders_from_src": True}
    done = run_playbook(MODULE, arguments, files=files)
    assert done.result["folders"] == ["Observer", "Observer/KaaS"], done.output
    # a pattern flattens, and its dashboards move
    assert run_playbook(MODULE, {**arguments, "src": ["set/*.json", "set/KaaS/in*.json"]}).result["updated"] == ["inner"]
    assert run_playbook(MODULE, {**arguments, "src": ["set"], "remote_src": True}).result["unchanged"] == []
    missing = run_playbook(MODULE, {**arguments, "src": ["nowhere"]})
    assert "src: nowhere cannot be read on the controller" in missing.output


def test_bad_files_are_told_together_and_nothing_is_written(doubled, run_playbook):
    files = {
        "d/broken.json": '{"uid": "a",',
        "d/good.json": json.dumps(content("good")),
        "d/no_title.json": '{"uid": "b"}',
        "d/no_uid.json": '{"title": "c", "panels": []}',
        "d/twice.json": json.dumps(content("good")),
    }
    done = run_playbook(MODULE, {"url": doubled.url, "url_token": TOKEN, "src": ["d"]}, files=files)
    lines = done.result["msg"].splitlines()
    assert lines[0] == "4 problems. Nothing was written." and len(lines) == 5
    for name, text in (("broken", "line 1, column 13"), ("no_title", "has no title"), ("no_uid", "no uid"), ("twice", "uid good is there twice")):
        assert any(f"{name}.json: " in line and text in line for line in lines), done.result["msg"]
    assert doubled.log() == []


def test_unchanged_writes_nothing_and_asks_once_each(doubled):
    items = wanted(*(f"d{number}" for number in range(30)), folder="X/Y")
    assert len(run(doubled, items).created) == 30
    before = len(doubled.log())
    assert not run(doubled, items).changed
    # settings, two levels of folders, one search, and each dashboard
    assert len(doubled.log()) - before == 4 + 30
    assert len(doubled.writes()) == 32


def test_long_lists_are_read_page_by_page(doubled, monkeypatch):
    monkeypatch.setattr(_grafana_http, "PAGE", 3)
    monkeypatch.setattr(_grafana_http, "SEARCH_PAGE", 4)
    items = [item for number in range(7) for item in wanted(f"d{number}", folder=f"F{number}")]
    assert len(run(doubled, items).created) == 7
    found = run(doubled, items)
    assert len(found.unchanged) == 7 and found.folders == []
    assert sum("/api/folders?" in line for line in doubled.log()) == 2 * 3 - 2


def test_provisioned_dashboards_are_refused_before_anything_is_written(doubled, task):
    doubled.control("provision", {"dashboard": content("p"), "external_id": "team/p.json"})
    before = doubled.writes()
    done = task(grafana_dashboards, {"url": doubled.url, "url_token": TOKEN, "dashboards": [content("a"), content("p", description="x")]})
    assert "Title of p (p) is provisioned from a file of the Grafana server (team/p.json), and can not be changed here." in done.result["msg"]
    assert doubled.writes() == before
    doubled.control("provision", {"dashboard": content("q"), "allow_ui": True})
    assert run(doubled, wanted("q", description="x")).updated == ["q"]


@pytest.mark.parametrize(("policy", "outcome"), [("fail", "failures"), ("overwrite", "updated"), ("skip", "left")])
def test_version_conflicts(doubled, policy, outcome):
    run(doubled, wanted("a", "b"))
    doubled.control("race", {"uid": "a"})
    found = run(doubled, wanted("a", "b", time={"from": "now-1h", "to": "now"}), on_conflict=policy)
    assert len(getattr(found, outcome)) == (2 if policy == "overwrite" else 1) and "b" in found.updated
    stored = doubled.request("GET", "/api/dashboards/uid/a")["dashboard"]
    assert ("time" in stored and stored["time"]["from"] == "now-1h") == (policy == "overwrite")
    if policy == "fail":
        assert "it was written by somebody in the meantime" in found.failures[0]["message"]


def test_a_locked_database_is_no_conflict(doubled):
    """As Grafana 10.4.3 on SQLite answers some of many writes at once, though nobody else writes."""
    run(doubled, wanted("a"))
    refusal = {"message": "The dashboard has been changed by someone else", "status": "version-mismatch"}
    doubled.control("faults", [{"method": "POST", "path": "dashboards/db", "status": 412, "body": refusal, "times": 4}])
    assert run(doubled, wanted("a", description="x")).updated == ["a"]
    doubled.control("faults", [{"method": "POST", "path": "dashboards/db", "status": 412, "body": refusal}])
    before = len(doubled.log())
    assert "though nobody did" in run(doubled, wanted("a", description="y")).failures[0]["message"]
    assert len(doubled.log()) - before < 30


def test_a_dashboard_of_a_plugin_is_overwritten_only_when_told(doubled):
    run(doubled, wanted("a"))
    doubled.control("plugin", {"uid": "a"})
    assert "belongs to plugin" in run(doubled, wanted("a", description="x")).failures[0]["message"]
    assert run(doubled, wanted("a", description="x"), on_conflict="overwrite").updated == ["a"]


def test_a_title_that_is_taken_is_never_overwritten(doubled):
    run(doubled, wanted("other", title="T"))
    with pytest.raises(ObserverError, match="the folder has a dashboard other of this title"):
        run(doubled, wanted("a", title="T"), on_conflict="overwrite")
    assert doubled.request("GET", "/api/dashboards/uid/other")["dashboard"]["version"] == 1


def test_nested_folders_need_the_toggle_in_grafana_10():
    with double() as grafana:
        with pytest.raises(ObserverError, match=r"this Grafana \(10\.4\.19\) has no nested folders"):
            run(grafana, wanted("a", folder="A/B"))
        assert grafana.writes() == [] and run(grafana, wanted("a", folder="A")).created == ["a"]


def test_folder_loops_end(doubled):
    run(doubled, wanted("a", folder="X/Y"))
    folders = {hit["title"]: hit["uid"] for hit in doubled.request("GET", "/api/search?type=dash-folder")}
    doubled.control("move", {"uid": folders["X"], "parentUid": folders["Y"]})
    with pytest.raises(ObserverError, match="lie in one another, a loop"):
        run(doubled, wanted("a"))


def test_all_failures_are_reported(doubled, task):
    doubled.control(
        "faults", [{"method": "POST", "path": "dashboards/db", "status": 400, "body": {"message": "Dashboard refresh interval is too low"}, "times": 2}]
    )
    arguments = {"url": doubled.url, "url_token": TOKEN, "concurrency": 1, "dashboards": [content(f"d{number}") for number in range(4)]}
    done = task(grafana_dashboards, arguments)
    assert done.result["msg"].startswith("2 of 4 dashboards failed, 2 written.\nTitle of d0 (d0), Title of d1 (d1): POST /api/dashboards/db: Dashboard refresh")
    assert done.result["created"] == ["d2", "d3"] and [failure["uid"] for failure in done.result["failures"]] == ["d0", "d1"] and done.result["changed"]
    assert task(grafana_dashboards, arguments).result["created"] == ["d0", "d1"]


def test_a_viewer_is_told_what_it_lacks(doubled, task):
    run(doubled, wanted("a"))
    arguments = {"url": doubled.url, "url_token": VIEWER_TOKEN}
    changed = task(grafana_dashboards, {**arguments, "dashboards": [content("a", description="x")]})
    assert "Title of a (a) may not be changed by this account. Give it the role Editor" in changed.result["msg"]
    created = task(grafana_dashboards, {**arguments, "dashboards": [content("b")]})
    assert "Title of b (b): not permitted (You'll need additional permissions" in created.result["msg"]
    assert task(grafana_dashboards_info, arguments).result["dashboards"][0]["uid"] == "a"


# Broken answers


@pytest.mark.parametrize(
    "fault", [{"status": 429, "headers": {"Retry-After": "1"}}, {"status": 500}, {"status": 503}, {"html": "<html>", "status": 502}, {"drop": True}]
)
def test_passing_faults_are_tried_again(doubled, fault):
    doubled.control("faults", [{**fault, "times": 3}])
    assert run(doubled, wanted("a", folder="X")).created == ["a"]
    doubled.control("faults", [{**fault, "times": 2, "method": "POST"}])
    assert run(doubled, wanted("a", description="x", folder="Y")).updated == ["a"]


def test_retry_after_is_heeded(doubled):
    waited = []
    doubled.control("faults", [{"status": 429, "headers": {"Retry-After": "7"}, "times": 1}, {"status": 503, "times": 2}])
    with client(doubled, sleep=waited.append) as found:
        found.settings()
    assert waited == [7.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"html": "<html>Please log in</html>"}, "answers /api/frontend/settings with a page of HTML instead of JSON (200)"),
        ({"html": "<html>Bad gateway</html>", "status": 502}, "with a page of HTML instead of JSON (502)"),
        ({"html": "<html>Forbidden</html>", "status": 403}, "with a page of HTML instead of JSON (403)"),
        (
            {"status": 302, "headers": {"Location": "https://sso.example.com/login?x=1"}},
            "redirects /api/frontend/settings to https://sso.example.com/login (302)",
        ),
        ({"status": 200, "body": []}, "answers JSON, but is not a Grafana"),
        ({"status": 500}, "GET /api/frontend/settings: Internal Server Error (500)"),
        ({"drop": True}, "can not be reached"),
        ({"delay": 2}, "did not answer GET /api/frontend/settings within 1 s"),
    ],
)
def test_lasting_faults_are_one_message(doubled, fault, message, task):
    doubled.control("faults", [fault])
    done = task(grafana_dashboards, {"url": doubled.url, "url_token": TOKEN, "retries": 1, "timeout": 1, "dashboards": [content("a")]})
    assert message in done.result["msg"] and "\n" not in done.result["msg"], done.output
    assert doubled.writes() == []


def test_a_grafana_that_goes_away_is_not_asked_500_times(doubled):
    doubled.control("faults", [{"method": "POST", "path": "dashboards/db", "drop": True}])
    found = run(doubled, wanted(*(f"d{number}" for number in range(100))))
    assert len(found.failures) == 100 and len(doubled.writes()) <= 8 * 4
    text = _grafana_sync.failure_message(found)
    assert "can not be reached" in text and "more were not tried after that." in text and len(text) < 2000


def test_slow_answers_are_waited_for_side_by_side(doubled):
    doubled.control("faults", [{"path": "dashboards/db", "delay": 0.2}])
    begin = time.monotonic()
    assert len(run(doubled, wanted(*(f"d{number}" for number in range(16)))).created) == 16
    assert time.monotonic() - begin < 16 * 0.2 / 3


def test_no_more_requests_than_allowed_are_under_way(doubled):
    doubled.control("faults", [{"path": "dashboards/db", "delay": 0.1}])
    begin = time.monotonic()
    with client(doubled, concurrency=2) as found:
        assert len(_grafana_sync.run(found, wanted(*"abcdef"), _grafana_sync.Options()).created) == 6
    assert time.monotonic() - begin >= 0.3


@pytest.mark.parametrize("url", ["grafana.example.com", "https://user:secret@grafana", "https://grafana?x=1", "ftp://x", "https://a b"])
def test_a_malformed_url_is_one_message(url):
    with pytest.raises(ObserverError, match=r"^url is malformed\.") as caught:
        Client(url, Access())
    assert "secret" not in str(caught.value)


def test_tls(tmp_path, task):
    specs = [CertificateSpec("server", "ca", "grafana", dns_names=("localhost",), ip_addresses=("127.0.0.1",))]
    made = _certificates.provide([AuthoritySpec("ca"), AuthoritySpec("other")], specs)
    server, pem = made.certificates["server"], made.authorities["ca"]["certificate"]
    (tmp_path / "tls.crt").write_text(server["certificate"])
    (tmp_path / "tls.key").write_text(server["private_key"])
    with double("--host", "0.0.0.0", "--certificate", str(tmp_path / "tls.crt"), "--key", str(tmp_path / "tls.key"), scheme_is_https=True) as grafana:
        arguments = {"url": grafana.url, "url_token": TOKEN, "dashboards": [content("a")]}
        arguments["url"] = arguments["url"].replace("0.0.0.0", "127.0.0.1")
        unknown = task(grafana_dashboards, arguments)
        assert "the TLS connection failed (" in unknown.result["msg"] and "Give its CA as url_ca_certificate" in unknown.result["msg"]
        assert task(grafana_dashboards, {**arguments, "url_ca_certificate": pem}).result["created"] == ["a"]
        other = task(grafana_dashboards, {**arguments, "url_ca_certificate": made.authorities["other"]["certificate"]})
        assert "the TLS connection failed (" in other.result["msg"]
        name = task(grafana_dashboards, {**arguments, "url": grafana.url.replace("0.0.0.0", "127.0.0.2"), "url_ca_certificate": pem})
        assert "the TLS connection failed (" in name.result["msg"] and "use a name that its certificate holds" in name.result["msg"]
        assert "url_ca_certificate can not be read as PEM" in task(grafana_dashboards, {**arguments, "url_ca_certificate": "x"}).result["msg"]


def test_nothing_is_written_without_a_message_of_the_server(doubled):
    with client(doubled) as found, pytest.raises(GrafanaError) as caught:
        found.save({"title": ""}, "")
    assert str(caught.value) == "POST /api/dashboards/db: Dashboard title cannot be empty (400)" and caught.value.code == "empty-name"
