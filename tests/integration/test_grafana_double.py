# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The double of Grafana's API, held to what was written for real Grafanas: its OpenAPI description, community.grafana's modules, grafana-client.

With GRAFANA_URL the same answers of that Grafana are compared with the description, and each with the double's. Where the description lies nowhere, a
warning says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import typing as t
import uuid
import warnings

import pytest
import yaml
from grafana_double.running import TOKEN, VIEWER_TOKEN, Grafana, basic, double, real

TOP = pathlib.Path(__file__).parents[2]
OPENAPI = pathlib.Path(os.environ.get("GRAFANA_OPENAPI") or TOP.parent / "shared/reference/grafana-10.4-openapi3.json")
CLIENT = TOP / ".cache/venv-grafana-client/bin/python"  # tools/setup-python makes it


@pytest.fixture(name="grafana")
def fixture_grafana():
    if found := real():
        yield found
    else:
        with double("--nested") as found:
            yield found


def has_nested_folders(settings: dict[str, t.Any]) -> bool:
    return bool(settings["featureToggles"].get("nestedFolders")) or int(settings["buildInfo"]["version"].split(".")[0]) >= 11


def test_what_is_compared():
    if not OPENAPI.is_file():
        text = "the OpenAPI description (GRAFANA_OPENAPI) is absent: the double's answers are not compared with it"
        warnings.warn(pytest.PytestWarning(text), stacklevel=1)


# Only defined where the description lies, for a skip would hide that it does not.
if OPENAPI.is_file():
    from jsonschema import Draft4Validator

    def problems_of(description: dict[str, t.Any], path: str, method: str, status: str, answer: t.Any) -> list[str]:
        """What the description says otherwise: wrong types, missing fields, and fields that it does not know."""
        response = description["paths"][path][method]["responses"][status]
        while "$ref" in response:
            response = resolved(description, response["$ref"])
        schema = strict(description, response["content"]["application/json"]["schema"], 0)
        # where Grafana 10.4.3 does not do as its description says
        if isinstance(answer, dict):
            answer = {name: value for name, value in answer.items() if name != "traceID"}
        if (method, path, status) == ("post", "/dashboards/db", "200"):
            answer = {"title" if name == "slug" else name: value for name, value in answer.items()}
        if (method, path, status) == ("delete", "/folders/{folder_uid}", "200"):
            answer = {"id": 0, "title": "", **answer}
        return [f"{method} {path}: {'/'.join(map(str, error.path))}: {error.message}" for error in Draft4Validator(schema).iter_errors(answer)]

    def resolved(description: dict[str, t.Any], reference: str) -> dict[str, t.Any]:
        found = description
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        return found

    def strict(description: dict[str, t.Any], schema: dict[str, t.Any], depth: int) -> dict[str, t.Any]:
        """With its references filled in, and open to no other field."""
        if "$ref" in schema:
            return strict(description, resolved(description, schema["$ref"]), depth + 1) if depth < 12 else {}
        found = {key: value for key, value in schema.items() if key not in ("format", "example", "description")}
        if found.get("type") == "object":
            # a nil pointer of Go is null, which the description can not say
            found["type"] = ["object", "null"]
        if "properties" in found:
            found["properties"] = {name: strict(description, item, depth + 1) for name, item in found["properties"].items()}
            found["additionalProperties"] = False
        if "items" in found:
            found["items"] = strict(description, found["items"], depth + 1)
        return found

    def test_answers_are_as_described(grafana):
        description = json.loads(OPENAPI.read_text())
        mark = f"t{uuid.uuid4().hex[:8]}"
        problems: list[str] = []

        def ask(method: str, path: str, body: t.Any = None, query: str = "", status: int = 200, **place: str) -> t.Any:
            answer = grafana.request(method.upper(), "/api" + path.format(**place) + query, body)
            if status != 200:
                assert isinstance(answer, tuple) and answer[0] == status, answer
                answer = answer[1]
            problems.extend(problems_of(description, path, method, str(status), answer))
            return answer

        folder = ask("post", "/folders", {"title": mark, "uid": mark})
        ask("get", "/folders/{folder_uid}", folder_uid=mark)
        ask("get", "/folders")
        ask("put", "/folders/{folder_uid}", {"title": f"{mark} b", "version": folder["version"]}, folder_uid=mark)
        ask("post", "/folders", {"title": " "}, status=400)
        ask("post", "/folders", {"title": f"{mark} b"}, status=409)
        body = {"dashboard": {"uid": f"{mark}-a", "title": mark, "tags": [mark]}, "folderUid": mark}
        ask("post", "/dashboards/db", body)
        ask("post", "/dashboards/db", body, status=412)
        ask("post", "/dashboards/db", {"dashboard": {"title": ""}}, status=400)
        ask("get", "/dashboards/uid/{uid}", uid=f"{mark}-a")
        ask("get", "/dashboards/uid/{uid}", uid="nowhere", status=404)
        ask("get", "/dashboards/uid/{uid}/versions", uid=f"{mark}-a")
        ask("get", "/search", query=f"?tag={mark}")
        ask("get", "/search", query="?limit=5001", status=422)
        ask("get", "/dashboards/tags")
        ask("get", "/datasources")
        ask("get", "/datasources/uid/{uid}", uid=grafana.request("GET", "/api/datasources")[0]["uid"]) if grafana.controls else None
        ask("get", "/org")
        ask("get", "/user") if grafana.controls else None
        ask("delete", "/dashboards/uid/{uid}", uid=f"{mark}-a")
        ask("delete", "/folders/{folder_uid}", folder_uid=mark)
        ask("delete", "/folders/{folder_uid}", folder_uid=mark, status=404)
        assert problems == []


PLAY = """
- name: community.grafana, unchanged
  hosts: localhost
  gather_facts: false
  tasks:
    - {community.grafana.grafana_folder: {title: Peer, uid: peer, grafana_api_key: "{{ token }}", url: "{{ url }}"}, register: folder}
    - {community.grafana.grafana_folder: {title: Peer, uid: peer, grafana_api_key: "{{ token }}", url: "{{ url }}"}, register: folder_again}
    - {community.grafana.grafana_dashboard: {path: "{{ file }}", folder: Peer, grafana_api_key: "{{ token }}", url: "{{ url }}"}, register: created}
    - {community.grafana.grafana_dashboard: {path: "{{ file }}", folder: Peer, url: "{{ url }}", url_username: admin, url_password: admin}, register: again}
    - {community.grafana.grafana_dashboard: {state: export, uid: peer-a, path: "{{ file }}.out", grafana_api_key: "{{ token }}", url: "{{ url }}"}}
    - community.grafana.grafana_datasource:
        {name: Peer, ds_type: prometheus, ds_url: http://localhost:9090, url: "{{ url }}", url_username: admin, url_password: admin}
      register: source
    - community.grafana.grafana_datasource: {name: Peer, ds_type: prometheus, state: absent, url: "{{ url }}", url_username: admin, url_password: admin}
      register: source_gone
    - {community.grafana.grafana_dashboard: {path: "{{ changed_file }}", folder: Peer, grafana_api_key: "{{ token }}", url: "{{ url }}"}, register: conflict,
      ignore_errors: true}
    - community.grafana.grafana_dashboard: {path: "{{ changed_file }}", folder: Peer, overwrite: true, grafana_api_key: "{{ token }}", url: "{{ url }}"}
      register: changed
    - {community.grafana.grafana_dashboard: {state: absent, uid: peer-a, grafana_api_key: "{{ token }}", url: "{{ url }}"}, register: gone}
    - {community.grafana.grafana_folder: {title: Peer, state: absent, grafana_api_key: "{{ token }}", url: "{{ url }}"}, register: folder_gone}
    - ansible.builtin.copy:
        dest: "{{ file }}.result"
        mode: "0600"
        content: >-
          {{ dict(['folder', 'folder_again', 'created', 'again', 'source', 'source_gone', 'changed', 'gone', 'folder_gone']
          | zip([folder, folder_again, created, again, source, source_gone, changed, gone, folder_gone] | map(attribute='changed')))
          | combine({'conflict': conflict.msg}) | to_json }}
"""


def test_modules_of_community_grafana_work(tmp_path):
    content = {"uid": "peer-a", "title": "A", "panels": [{"id": 1, "type": "text"}], "schemaVersion": 39}
    file, changed = tmp_path / "a.json", tmp_path / "b.json"
    file.write_text(json.dumps(content))
    changed.write_text(json.dumps({**content, "version": 7, "description": "x"}))
    play = yaml.safe_load(PLAY)
    play[0]["tasks"] = [{"name": f"Step {number}", **task} for number, task in enumerate(play[0]["tasks"])]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    with double() as grafana:
        variables = {"url": grafana.url, "token": TOKEN, "file": str(file), "changed_file": str(changed), "ansible_python_interpreter": sys.executable}
        program = pathlib.Path(sys.executable).parent / "ansible-playbook"
        command = [str(program), "-i", "localhost,", "-c", "local", str(tmp_path / "play.yml"), "-e", json.dumps(variables)]
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(pathlib.Path(f"{file}.result").read_text())
    assert "The dashboard has been changed by someone else (HTTP: 412)" in result.pop("conflict")
    assert result == {
        **dict.fromkeys(("folder", "created", "source", "source_gone", "changed", "gone", "folder_gone"), True),
        **dict.fromkeys(("folder_again", "again"), False),
    }
    assert json.loads(pathlib.Path(f"{file}.out").read_text())["dashboard"]["title"] == "A"


def test_grafana_client_works(grafana):
    settings = grafana.request("GET", "/api/frontend/settings")
    names = {"url_token": "GRAFANA_TOKEN", "url_username": "GRAFANA_USERNAME", "url_password": "GRAFANA_PASSWORD"}
    environment = {"GRAFANA_URL": grafana.url, **{names[name]: value for name, value in grafana.login.items()}}
    mark, nested = f"t{uuid.uuid4().hex[:8]}", str(int(has_nested_folders(settings)))
    script = TOP / "tests/grafana_double/with_grafana_client.py"
    command = [str(CLIENT), str(script), mark, settings["buildInfo"]["version"], nested]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


# What the double is for


def test_it_pages_and_refuses():
    with double("--nested") as grafana:
        for number in range(5):
            grafana.request("POST", "/api/dashboards/db", {"dashboard": {"uid": f"d{number}", "title": f"D{number}"}})
        assert [hit["uid"] for hit in grafana.request("GET", "/api/search?limit=2&page=3")] == ["d4"]
        assert grafana.request("POST", "/api/dashboards/db", {"dashboard": {"uid": "x y", "title": "T"}}) == (
            400,
            {"message": "uid contains illegal characters"},
        )
        twin = grafana.request("POST", "/api/dashboards/db", {"dashboard": {"uid": "new", "title": "D1"}})
        assert twin == (412, {"message": "A dashboard with the same name in the folder already exists", "status": "name-exists"})
        # the trap of overwrite in Grafana 10: another dashboard goes under
        assert grafana.request("POST", "/api/dashboards/db", {"dashboard": {"uid": "new", "title": "D1"}, "overwrite": True})["uid"] == "d1"
        grafana.control("provision", {"dashboard": {"uid": "p", "title": "P"}})
        assert grafana.request("DELETE", "/api/dashboards/uid/p") == (400, {"message": "provisioned dashboard cannot be deleted"})
        assert grafana.request("POST", "/api/dashboards/db", {"dashboard": {"uid": "p", "title": "P"}, "overwrite": True})[0] == 400
        grafana.request("POST", "/api/folders", {"title": "A", "uid": "a"})
        grafana.request("POST", "/api/folders", {"title": "B", "uid": "b", "parentUid": "a"})
        assert grafana.request("POST", "/api/folders/a/move", {"parentUid": "b"})[0] == 500
        assert [folder["uid"] for folder in grafana.request("GET", "/api/folders?parentUid=a")] == ["b"]


# The double beside a Grafana

RECORDED = pathlib.Path(__file__).parent / "files/grafana_answers.json"
# Of a datasource in the settings, what the collection's modules or a peer read.
USED = ("id", "isDefault", "name", "type", "uid")
VOLATILE = {"avatarUrl", "created", "createdAt", "dashboardId", "folderId", "id", "updated", "updatedAt"}
KNOWN_ONLY_BY_GRAFANA = {"accessControl", "accessErrorId", "traceID"}


class Conversation:
    """What one Grafana answers, in a form that is the same for another one."""

    def __init__(self, grafana: Grafana, viewer: Grafana, mark: str) -> None:
        self.grafana, self.viewer, self.mark = grafana, viewer, mark
        self.said: list[tuple[str, int, t.Any]] = []
        self.generated: dict[str, str] = {}

    def ask(self, method: str, path: str, body: t.Any = None, *, by: Grafana | None = None, only: t.Callable[[t.Any], t.Any] | None = None) -> t.Any:
        answer = (by or self.grafana).request(method, "/api/" + path.replace("MARK", self.mark), self.filled(body))
        status, found = answer if isinstance(answer, tuple) else (200, answer)
        if method == "POST" and isinstance(found, dict) and found.get("uid") and not found["uid"].startswith(self.mark):
            self.generated[found["uid"]] = f"generated {len(self.generated)}"
        text = json.dumps(body, sort_keys=True)[:120] if isinstance(body, dict) else ""
        self.said.append((f"{method} {path} {text}".strip(), status, self.normal(only(found) if only else found)))
        return found

    def filled(self, body: t.Any) -> t.Any:
        return json.loads(json.dumps(body).replace("MARK", self.mark)) if isinstance(body, dict | list) else body

    def normal(self, value: t.Any, key: str = "") -> t.Any:
        if isinstance(value, dict):
            return {name: self.normal(item, name) for name, item in sorted(value.items()) if name not in KNOWN_ONLY_BY_GRAFANA}
        if isinstance(value, list):
            return [self.normal(item) for item in value]
        if key in VOLATILE:
            return type(value).__name__
        if isinstance(value, str):
            for uid, name in self.generated.items():
                value = value.replace(uid, name)
            return value.replace(self.mark, "MARK")
        return value

    def mine(self, rows: t.Any) -> t.Any:
        """Of a list, what this conversation made."""
        return [row for row in rows if self.mark in json.dumps(row)] if isinstance(rows, list) else rows

    def all(self, *, nested: bool) -> list[tuple[str, int, t.Any]]:
        self.folders(nested=nested)
        self.dashboards()
        self.search()
        self.datasources()
        self.others()
        self.deletions()
        return self.said

    def folders(self, *, nested: bool) -> None:
        ask = self.ask
        for body in (
            {"uid": "MARK-f", "title": "MARK F"},
            {"uid": "MARK-f", "title": "MARK other"},
            {"uid": "MARK-f2", "title": "MARK F"},
            {"title": "MARK generated"},
            {"uid": "MARK-x", "title": " "},
            {"uid": "MARK-x"},
            {"uid": "MARK x", "title": "MARK X"},
            {"uid": "MARK-" + "x" * 40, "title": "MARK X"},
            {"uid": "MARK-g", "title": "MARK G", "parentUid": "MARK-f"},
            {"uid": "MARK-g2", "title": "MARK G2", "parentUid": "MARK-nowhere"},
            {"uid": "MARK-f3", "title": "  MARK Ä/F: x & y  ", "description": "text"},
        ):
            ask("POST", "folders", body)
        ask("POST", "folders", b"{")
        ask("POST", "folders", b"[]")
        for path in ("folders/MARK-f", "folders/MARK-g", "folders/MARK-nowhere", "folders/MARK-f3"):
            ask("GET", path)
        for path in ("folders", "folders?parentUid=MARK-f", "folders?parentUid=MARK-nowhere"):
            ask("GET", path, only=self.mine)
        for body in (
            {"title": "MARK F", "version": 7},
            {"title": "MARK F renamed", "version": 1},
            {"title": "", "overwrite": True},
            {"title": "MARK F", "overwrite": True},
            {"title": "MARK generated"},
        ):
            ask("PUT", "folders/MARK-f", body)
        ask("PUT", "folders/MARK-nowhere", {"title": "x", "overwrite": True})
        ask("POST", "folders/MARK-f/move", {"parentUid": "MARK-f3"})
        ask("POST", "folders/MARK-f3/move", {"parentUid": "MARK-f"})
        ask("POST", "folders/MARK-f/move", {"parentUid": "MARK-f"})
        ask("POST", "folders/MARK-f/move", {"parentUid": ""})
        ask("GET", "folders/MARK-f")
        if nested:
            ask("GET", "folders/MARK-g")

    def dashboards(self) -> None:
        def save(dashboard: t.Any, **more: t.Any) -> t.Any:
            return self.ask("POST", "dashboards/db", {"dashboard": dashboard, **more})

        panels = [{"type": "text", "title": "One"}, {"id": 7, "type": "row", "collapsed": True, "panels": [{"id": 7, "type": "text"}]}]
        one = {"uid": "MARK-a", "title": "MARK A", "tags": ["MARK", "b"], "panels": panels}
        save(one, folderUid="MARK-f", message="first")
        self.ask("GET", "dashboards/uid/MARK-a")
        save(one, folderUid="MARK-f")
        save({**one, "version": 9}, folderUid="MARK-f")
        save({**one, "version": 1, "schemaVersion": 36, "refresh": "", "time": {"from": "now-1h", "to": "now"}}, folderUid="MARK-f")
        save({**one, "title": "MARK Ä: x/y & Z_1 (2)"}, folderUid="MARK-f", overwrite=True, message="third")
        self.ask("GET", "dashboards/uid/MARK-a")
        save({"uid": "MARK-b", "title": " MARK B ", "id": None, "version": 5, "tags": None, "panels": None})
        self.ask("GET", "dashboards/uid/MARK-b")
        save({"uid": "MARK-c", "title": "MARK B"})
        save({"uid": "MARK-c", "title": "MARK b"})
        save({"uid": "MARK-c", "title": "MARK B"}, overwrite=True)
        self.ask("GET", "dashboards/uid/MARK-b")
        self.ask("GET", "dashboards/uid/MARK-c")
        save({"uid": "MARK-b", "title": "MARK B"}, folderUid="MARK-f", overwrite=True)
        save({"uid": "MARK-d", "title": "MARK D"}, folderUid="MARK-nowhere")
        save({"uid": "MARK-d", "title": "MARK D"}, folderUid="general")
        save({"uid": "MARK-d2", "title": "MARK D"}, folderId=0)
        save({"title": "MARK generated dashboard"})
        save({"uid": "MARK-e", "title": "MARK E", "id": 987654321})
        save({"uid": "MARK-e", "title": "MARK E"}, isFolder=True)
        save({"uid": "MARK-f", "title": "MARK E"})
        for wrong in ({"uid": "MARK-e", "title": " "}, {"uid": "MARK-e"}, {"uid": "MARK e", "title": "MARK E"}, {"uid": "MARK-" + "e" * 40, "title": "MARK E"}):
            save(wrong)
        save({"uid": "MARK-e", "title": "MARK E", "refresh": "1s"})
        save({"uid": "MARK-e", "title": "MARK E", "refresh": "nonsense"})
        save({"uid": "MARK-e", "title": "MARK E", "panels": {}})
        save({"uid": "MARK-e", "title": 7})
        save([])
        save(None)
        self.ask("POST", "dashboards/db", {})
        self.ask("POST", "dashboards/db", b"{")
        self.ask("GET", "dashboards/uid/MARK-nowhere")
        self.ask("GET", "dashboards/uid/MARK-a/versions")
        self.ask("GET", "dashboards/uid/MARK-a/versions?limit=1&start=1")
        self.ask("GET", "dashboards/uid/MARK-nowhere/versions")
        self.ask("GET", "dashboards/tags", only=self.mine)
        by = {"by": self.viewer}
        self.ask("GET", "dashboards/uid/MARK-a", **by)
        self.ask("POST", "dashboards/db", {"dashboard": {"uid": "MARK-v", "title": "MARK V"}}, **by)
        self.ask("POST", "dashboards/db", {"dashboard": {**one, "title": "MARK V"}, "folderUid": "MARK-f", "overwrite": True}, **by)
        self.ask("POST", "folders", {"uid": "MARK-v", "title": "MARK V"}, **by)
        self.ask("DELETE", "dashboards/uid/MARK-a", **by)

    def search(self) -> None:
        for query in (
            "query=MARK",
            "query=MARK&limit=2",
            "query=MARK&limit=2&page=2",
            "query=MARK&limit=0",
            "query=MARK&type=dash-db",
            "query=MARK&type=dash-folder",
            "query=MARK&type=dash-db&sort=alpha-desc",
            "query=MARK&sort=alpha-asc",
            "tag=MARK",
            "tag=MARK&tag=b",
            "tag=MARK&tag=nothing",
            "folderUIDs=MARK-f",
            "folderUIDs=general&query=MARK",
            "dashboardUIDs=MARK-a&dashboardUIDs=MARK-b",
            "dashboardUID=MARK-a",
            "limit=5001",
        ):
            self.ask("GET", f"search?{query}", only=self.mine)

    def datasources(self) -> None:
        source = {"name": "MARK", "uid": "MARK-s", "type": "prometheus", "access": "proxy", "url": "http://localhost:9", "jsonData": {"httpMethod": "POST"}}
        self.ask("POST", "datasources", {**source, "secureJsonData": {"password": "x"}})
        self.ask("POST", "datasources", {**source, "uid": "MARK-s2"})
        self.ask("POST", "datasources", {**source, "name": "MARK 2"})
        self.ask("POST", "datasources", {"name": "MARK 3"})
        self.ask("GET", "datasources", only=self.mine)
        number = self.ask("GET", "datasources/uid/MARK-s")["id"]
        self.ask("GET", "datasources/name/MARK")
        self.ask("PUT", "datasources/uid/MARK-s", {**source, "url": "http://localhost:8"})
        for path in ("datasources/uid/MARK-nowhere", "datasources/name/MARK-nowhere", "datasources/987654321"):
            self.ask("GET", path)
        self.said.append(("by its number", 200, self.normal(self.grafana.request("GET", f"/api/datasources/{number}"))))
        self.ask("GET", "frontend/settings", only=lambda found: [{key: item[key] for key in USED} for item in self.mine(list(found["datasources"].values()))])
        self.ask("DELETE", "datasources/uid/MARK-s")
        self.ask("DELETE", "datasources/uid/MARK-s")

    def others(self) -> None:
        self.ask("GET", "org")
        self.ask("GET", "user", only=lambda found: {key: type(value).__name__ for key, value in found.items()})
        self.ask("GET", "user/orgs")
        self.ask("POST", "user/using/1")
        self.ask("POST", "user/using/987654321")
        self.ask("GET", "health", only=sorted)
        self.ask("GET", "nowhere")
        self.ask("PATCH", "folders/MARK-f", {})
        self.ask("GET", "frontend/settings", only=lambda found: {key: found[key] for key in ("appSubUrl", "defaultDatasource")})
        # not admin with a wrong password: five of them lock it
        for authorization in ("Bearer wrong", "Bearer glsa_wrong", basic(self.mark, "wrong"), "Nonsense x", ""):
            by = self.grafana.as_other(authorization)
            self.ask("GET", "search", by=by)
            self.ask("GET", "frontend/settings", by=by, only=lambda found: sorted(found)[:0] if "buildInfo" in found else found)

    def deletions(self) -> None:
        for _again in range(2):
            self.ask("DELETE", "dashboards/uid/MARK-d")
        self.ask("DELETE", "folders/MARK-f", by=self.viewer)
        for _again in range(2):
            self.ask("DELETE", "folders/MARK-f")
        self.ask("GET", "search?query=MARK", only=self.mine)
        self.ask("DELETE", "folders/MARK-nowhere")


@contextlib.contextmanager
def with_viewer(grafana: Grafana, mark: str) -> t.Iterator[Grafana]:
    """The same Grafana, asked by a service account that may only look."""
    account = grafana.request("POST", "/api/serviceaccounts", {"name": mark, "role": "Viewer"})
    account = account[1] if isinstance(account, tuple) else account
    place = f"/api/serviceaccounts/{account['id']}"
    try:
        yield grafana.as_other("Bearer " + grafana.request("POST", f"{place}/tokens", {"name": mark})["key"])
    finally:
        grafana.request("DELETE", place)


def clean(grafana: Grafana, mark: str) -> None:
    for kind, place in (("dash-db", "dashboards/uid"), ("dash-folder", "folders")):
        for hit in grafana.request("GET", f"/api/search?type={kind}&limit=5000"):
            if mark in hit["title"] + hit["uid"]:
                grafana.request("DELETE", f"/api/{place}/{hit['uid']}")


def conversation_with_double(version: str, *, nested: bool, mark: str = "tdouble") -> list[tuple[str, int, t.Any]]:
    with double("--version", version, *(["--nested"] if nested else [])) as grafana:
        admin, viewer = grafana.as_other(basic("admin", "admin")), grafana.as_other(f"Bearer {VIEWER_TOKEN}")
        return Conversation(admin, viewer, mark).all(nested=nested)


def assert_same(theirs: t.Sequence[t.Sequence[t.Any]], ours: list[tuple[str, int, t.Any]]) -> None:
    differences = [
        f"{name}\n  Grafana: {status} {json.dumps(found, ensure_ascii=False)}\n  double:  {other[1]} {json.dumps(other[2], ensure_ascii=False)}"
        for (name, status, found), other in zip(theirs, ours, strict=True)
        if (name, status, found) != other
    ]
    assert not differences, f"{len(differences)} of {len(theirs)} answers differ\n" + "\n".join(differences)


@pytest.mark.parametrize("nested", [True, False], ids=["nested", "flat"])
def test_the_double_answers_as_a_grafana_did(nested):
    """Its answers are kept, with GRAFANA_RECORD=1, by the test below."""
    recorded = json.loads(RECORDED.read_text())
    assert_same(recorded["nested" if nested else "flat"], conversation_with_double(recorded["version"], nested=nested))


# Only defined where there is a Grafana, for a skip would hide that there is none.
if (REAL := real()) is not None:

    def test_the_double_answers_as_this_grafana():
        settings = REAL.request("GET", "/api/frontend/settings")
        version, nested = settings["buildInfo"]["version"], has_nested_folders(settings)
        mark = f"t{uuid.uuid4().hex[:8]}"
        try:
            with with_viewer(REAL, mark) as viewer:
                theirs = Conversation(REAL, viewer, mark).all(nested=nested)
        finally:
            clean(REAL, mark)
        if os.environ.get("GRAFANA_RECORD"):
            kept = json.loads(RECORDED.read_text()) if RECORDED.is_file() else {}
            kept |= {"version": version, "nested" if nested else "flat": theirs}
            RECORDED.write_text(json.dumps(kept, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
        assert_same(theirs, conversation_with_double(version, nested=nested))
