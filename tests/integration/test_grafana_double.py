# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The double of Grafana's API, held to what was written for real Grafanas: its OpenAPI description, community.grafana's modules, grafana-client.

With GRAFANA_URL the same answers of that Grafana are compared with the description, and each with the double's. Where the description lies nowhere, a
warning says so.
"""

from __future__ import annotations

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
from grafana_double.running import TOKEN, double, real

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
        if (method, path, status) == ("post", "/dashboards/db", "200"):
            # the source of 10.4 says slug where its description says title
            answer = {"title" if name == "slug" else name: value for name, value in answer.items()}
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
        ask("put", "/folders/{folder_uid}", {"title": " ", "overwrite": True}, status=400, folder_uid=mark)
        ask("post", "/folders", {"title": f"{mark} c", "uid": mark}, status=409)
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
        assert grafana.request("POST", "/api/folders/a/move", {"parentUid": "b"})[0] == 400
        assert [folder["uid"] for folder in grafana.request("GET", "/api/folders?parentUid=a")] == ["b"]
