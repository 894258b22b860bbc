# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API answers: clusters and jobs, who sees what, and one clear message for everything that is wrong."""

from __future__ import annotations

import concurrent.futures
import json
import re
import sqlite3
import threading
import typing as t
from pathlib import Path

import httpx
import pytest
from _service import TOKENS, Api, Double, mode, wait_until
from ansible_collections.scs.observer.plugins.module_utils import _lab_cluster
from fastapi.testclient import TestClient
from kaas_mock.app import NAME, RESERVED_NAMES, create_app
from kaas_mock.settings import Settings, SettingsError


# -- the way of a cluster -------------------------------------------------------
def test_create_answers_at_once_with_a_job_that_can_be_followed(api: Api, double: Double) -> None:
    double.set("hold-create")
    answer = api.create("one")
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["Location"] == f"/api/jobs/{job['id']}"
    assert (job["cluster"], job["action"], job["error"]) == ("one", "create", "")
    assert job["state"] in ("queued", "running")
    running = wait_until(lambda: (found := api.job(job["id"]))["task"] == "the task of create" and found, "the task")
    assert (running["state"], running["step"], running["finished"]) == ("running", "create", None)
    assert running["steps"][0]["name"] == "create" and not running["steps"][0]["done"]
    assert api.state("one") == "creating"
    double.set("hold-onboard")
    double.unset("hold-create")
    wait_until(lambda: api.state("one") == "onboarding", "onboarding")
    double.unset("hold-onboard")
    done = api.wait(job["id"])
    assert api.state("one") == "ready"
    assert [step["name"] for step in done["steps"]] == ["create", "onboard"] and all(step["done"] for step in done["steps"])
    assert 0 < done["elapsed"] < 20 and done["elapsed"] >= sum(step["seconds"] for step in done["steps"]) - 0.2
    assert double.registered() == {"one"} and len(double.machines("one")) == 1
    again = api.job(job["id"])
    assert again["elapsed"] == done["elapsed"], "the clock of a job that ended goes on"


def test_kubeconfig_of_a_ready_cluster(api: Api, double: Double) -> None:
    double.set("hold-onboard")
    job = api.create("one")
    wait_until(lambda: api.state("one") == "onboarding", "onboarding")
    early = api.request("GET", "/api/clusters/one")
    assert early.status_code == 409 and "onboarding" in early.json()["detail"]
    double.unset("hold-onboard")
    api.wait(job)
    answer = api.request("GET", "/api/clusters/one")
    assert answer.status_code == 200 and answer.json() == {"kind": "Config", "current-context": "one"}
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/api/clusters/one", "/api/clusters/?name=one"])
def test_delete_unregisters_first(api: Api, double: Double, path: str) -> None:
    api.wait(api.create("one"))
    answer = api.request("DELETE", path)
    assert answer.status_code == 202 and answer.json()["action"] == "delete"
    done = api.wait(answer)
    assert [step["name"] for step in done["steps"]] == ["unregister", "delete"]
    assert double.begun("one") == ["create", "onboard", "unregister", "delete"]
    assert api.clusters() == {} and double.registered() == set() and double.machines("one") == []
    assert api.delete("one").status_code == 404


def test_deleting_twice_is_one_job(api: Api, double: Double) -> None:
    api.wait(api.create("one"))
    double.set("hold-delete")
    first, second = api.delete("one"), api.delete("one")
    assert first.json()["id"] == second.json()["id"] and second.status_code == 202
    double.unset("hold-delete")
    api.wait(first)
    assert double.begun().count("delete") == 1


def test_what_the_playbooks_are_told(api: Api, double: Double, options: dict[str, t.Any]) -> None:
    api.wait(api.create("one"))
    api.wait(api.create("two"))
    api.wait(api.delete("one"))
    runs = {(line["name"], line["begin"]): line["variables"] for line in double.journal() if "begin" in line}
    create = runs["one", "create"]
    assert (create["lab_cluster_index"], runs["two", "create"]["lab_cluster_index"]) == (65, 66)
    assert create["lab_cluster_name"] == create["kaas_agent_cluster"] == "one"
    assert create["lab_cluster_root"] == str(options["lab_root"])
    assert create["kaas_agent_kubeconfig"] == f"{options['lab_root']}/one/kubeconfig"
    assert (create["kaas_mock_again"], create["kaas_mock_registered"], create["lab_cluster_provider"]) == (False, False, "source")
    assert runs["one", "onboard"]["kaas_onboard_manager"] == "kaas_mock"
    assert runs["one", "onboard"]["kaas_cluster"]["labels"]["customer"] == "alice"
    assert runs["one", "delete"]["kaas_mock_registered"] is True


def test_a_slot_is_used_again(api: Api, double: Double) -> None:
    for name in ("one", "two"):
        api.wait(api.create(name))
    api.wait(api.delete("one"))
    api.wait(api.create("three"))
    assert (double.folder.parent / "lab" / "three" / "index").read_text() == "65"


def test_variables_of_the_file_stand_between_defaults_and_what_is_fixed(options: dict[str, t.Any], double: Double, tmp_path: Path) -> None:
    file = tmp_path / "variables.json"
    file.write_text(json.dumps({"kaas_agent_kind": "kubeadm", "lab_cluster_name": "other", "observer_kubeconfig": "/x"}))
    with TestClient(create_app(Settings(**options, variables=file)), base_url="http://localhost") as client:
        api = Api(client, "admin")
        api.wait(api.create("one"))
    variables = next(line["variables"] for line in double.journal() if "begin" in line)
    assert (variables["kaas_agent_kind"], variables["lab_cluster_name"], variables["observer_kubeconfig"]) == ("kubeadm", "one", "/x")


# -- what can not be done as things are -----------------------------------------
def test_the_same_name_twice(api: Api, double: Double) -> None:
    double.set("hold-create")
    first = api.create("one")
    second = api.create("one")
    assert second.status_code == 409 and "one exists already" in second.json()["detail"]
    double.unset("hold-create")
    api.wait(first)
    third = api.create("one")
    assert third.status_code == 409 and "is ready" in third.json()["detail"]
    assert double.begun("one") == ["create", "onboard"]


def test_one_name_at_one_moment(api: Api, double: Double) -> None:
    double.set("hold-create")
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        codes = sorted(answer.status_code for answer in pool.map(lambda _number: api.create("one"), range(12)))
    assert codes == [202] + [409] * 11
    assert len(api.request("GET", "/api/jobs/").json()) == 1
    double.unset("hold-create")
    api.wait(1)
    assert double.begun("one") == ["create", "onboard"] and double.twice() == []


def test_the_eleventh_cluster(api: Api, double: Double) -> None:
    double.set("hold-create")
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda number: api.create(f"c{number}"), range(12)))
    assert sorted(answer.status_code for answer in answers) == [202] * 10 + [429] * 2
    assert "no more than 10" in next(answer.json()["detail"] for answer in answers if answer.status_code == 429)
    assert len(api.clusters()) == 10
    accepted = [answer for answer in answers if answer.status_code == 202]
    wait_until(lambda: len(double.begun()) == 2, "two that begin")
    double.unset("hold-create")
    for answer in accepted:
        api.wait(answer)
    assert double.most_at_once() == 2, "parallel is 2"
    indexes = {line["variables"]["lab_cluster_index"] for line in double.journal() if "begin" in line}
    assert indexes == set(range(65, 75))
    assert api.create("late").status_code == 429
    api.wait(api.delete(accepted[0].json()["cluster"]))
    api.wait(api.create("late"))


def test_unknown_ones(api: Api) -> None:
    for method, path in (("DELETE", "/api/clusters/none"), ("DELETE", "/api/clusters/?name=none"), ("GET", "/api/clusters/none"), ("GET", "/api/jobs/7")):
        answer = api.request(method, path)
        assert answer.status_code == 404 and re.match(r"There is no (cluster none|job 7)\.", answer.json()["detail"]), answer.text


def test_a_name_that_something_else_on_this_machine_has(api: Api, double: Double, options: dict[str, t.Any]) -> None:
    (options["lab_root"] / "observer").mkdir(parents=True)
    answer = api.create("observer")
    assert answer.status_code == 409 and answer.json()["detail"] == "The name observer is taken on this machine. Choose another."
    assert api.clusters() == {} and double.journal() == []


# -- what is wrong --------------------------------------------------------------
@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a_b", "a.b", "a" * 32, "ü", "a b", "a\n", 'x":null,"y', "../x", "s3", "{{ 1 }}"])
def test_names_that_are_none(api: Api, double: Double, name: str) -> None:
    answer = api.create(name)
    assert answer.status_code == 422, answer.text
    assert re.match(r"name: .+ (is no cluster name\. Use 1 to 31 lower case|is reserved\. Use another name)", answer.json()["detail"])
    assert api.clusters() == {} and double.journal() == []


def test_names_are_those_that_the_lab_takes() -> None:
    assert NAME.pattern == _lab_cluster.NAME.pattern and set(RESERVED_NAMES) == set(_lab_cluster.RESERVED_NAMES)


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("content", "headers", "code", "message"),
    [
        (b"{", JSON, 400, "The body is no JSON"),
        (b"\xff\xfe", JSON, 400, "The body"),
        (b"", JSON, 422, "The body is missing or no JSON object"),
        (b'"one"', JSON, 422, "The body is missing or no JSON object"),
        (b"[]", JSON, 422, "The body is missing or no JSON object"),
        (b"{}", JSON, 422, "name is missing"),
        (b'{"name": 7}', JSON, 422, "name: Input should be a valid string."),
        (b'{"name": null}', JSON, 422, "name: Input should be a valid string."),
        (b'{"name": "one", "nodes": 3}', JSON, 422, "'nodes' is unknown"),
        (b'{"name": "one"}', {"Content-Type": "text/plain"}, 415, "The body has to be JSON"),
        (b'{"name": "one"}', {}, 415, "The body has to be JSON"),
        (b'{"name": "' + b"x" * 20000 + b'"}', JSON, 413, "The body is larger than 16384 bytes"),
        (b"[" * 10000, JSON, 400, "The body"),
    ],
)
def test_bodies_that_are_none(api: Api, double: Double, content: bytes, headers: dict[str, str], code: int, message: str) -> None:
    answer = api.request("POST", "/api/clusters/", content=content, headers=headers)
    assert answer.status_code == code and answer.json()["detail"].startswith(message), answer.text
    assert list(answer.json()) == ["detail"] and len(answer.text) < 400
    assert api.clusters() == {} and double.journal() == []


@pytest.mark.parametrize("number", ["x", "-1", "1.5", str(2**70)])
def test_job_numbers_that_are_none(api: Api, number: str) -> None:
    answer = api.request("GET", f"/api/jobs/{number}")
    assert answer.status_code == 422 and answer.json()["detail"].startswith("number: "), answer.text


def test_other_methods_and_paths(api: Api) -> None:
    assert api.request("PATCH", "/api/clusters/", json={}).json() == {"detail": "Method Not Allowed"}
    assert api.request("GET", "/api/clusters/../../etc/passwd").status_code == 404


# -- who ------------------------------------------------------------------------
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKENS['admin']}"},
        {"Authorization": f"Bearer {TOKENS['admin']}x"},
        {"Authorization": f"Bearer {TOKENS['admin'][:-1]}"},
        {"Authorization": f"Bearer {TOKENS['admin']} {TOKENS['admin']}"},
        {"Authorization": "Bearer \xfc".encode("latin-1")},
    ],
)
def test_no_token_or_a_wrong_one(client: TestClient, double: Double, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/api/clusters/"), ("GET", "/api/clusters/x"), ("GET", "/api/jobs/"), ("GET", "/api/jobs/1"), ("DELETE", "/api/clusters/x")):
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer" and "oken" in answer.json()["detail"], path
    assert client.post("/api/clusters/", json={"name": "one"}, headers=headers).status_code == 401
    assert Api(client, "admin").clusters() == {} and double.journal() == []


def test_every_route_of_the_api_asks_for_a_token(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert bool(operation.get("security")) == path.startswith("/api/"), f"{method} {path}"


def test_others_see_only_their_own(client: TestClient) -> None:
    alice, bob, admin = (Api(client, name) for name in ("alice", "bob", "admin"))
    job = alice.wait(alice.create("one"))["id"]
    assert bob.clusters() == {} and bob.request("GET", "/api/jobs/").json() == []
    missing = bob.request("GET", "/api/clusters/none").json()["detail"].replace("none", "one")
    for answer in (bob.request("GET", "/api/clusters/one"), bob.delete("one")):
        assert answer.status_code == 404 and answer.json()["detail"] == missing, "a foreign cluster must look like none"
    assert bob.request("GET", f"/api/jobs/{job}").status_code == 404
    assert bob.request("GET", "/api/jobs/?cluster=one").json() == []
    taken = bob.create("one")
    assert taken.status_code == 409 and taken.json()["detail"] == "The name one is taken. Choose another."
    assert admin.clusters()["one"]["owner"] == "alice" and admin.request("GET", "/api/clusters/one").status_code == 200
    admin.wait(admin.delete("one"))
    assert alice.clusters() == {} and [found["action"] for found in alice.request("GET", "/api/jobs/").json()] == ["create", "delete"]


def test_the_first_run_makes_a_token(options: dict[str, t.Any], capfd: pytest.CaptureFixture[str]) -> None:
    options.pop("tokens_file")
    with TestClient(create_app(Settings(**options)), base_url="http://localhost") as client:
        path = options["state_dir"] / "tokens.json"
        tokens = json.loads(path.read_text())
        assert list(tokens) == ["admin"] and len(tokens["admin"]) >= 40 and mode(path) == 0o600
        assert client.get("/api/clusters/", headers={"Authorization": f"Bearer {tokens['admin']}"}).status_code == 200
    with TestClient(create_app(Settings(**options))):
        assert json.loads(path.read_text()) == tokens, "a second start made another token"
    said = capfd.readouterr()
    assert tokens["admin"] not in said.out + said.err


def test_tokens_are_read_again(client: TestClient, options: dict[str, t.Any]) -> None:
    path = options["tokens_file"]
    new = {**TOKENS, "carol": "d" * 32}
    del new["alice"]
    path.write_text(json.dumps(new))
    assert client.get("/api/clusters/", headers={"Authorization": f"Bearer {'d' * 32}"}).status_code == 200
    assert client.get("/api/clusters/", headers={"Authorization": f"Bearer {TOKENS['alice']}"}).status_code == 401
    path.write_text("{")
    broken = client.get("/api/clusters/", headers={"Authorization": f"Bearer {'d' * 32}"})
    assert broken.status_code == 503 and broken.json() == {"detail": "The service's tokens can not be read. Tell its operator."}


@pytest.mark.parametrize(
    ("content", "rights", "message"),
    [
        (json.dumps(TOKENS), 0o640, "can be read by others"),
        ("{", 0o600, "is no JSON"),
        ("{}", 0o600, "holds no object"),
        ('["x"]', 0o600, "holds no object"),
        ('{"admin": "short"}', 0o600, "the token of admin is no text of at least 20"),
        ('{"admin": 7}', 0o600, "the token of admin is no text"),
        ('{"a b": "' + "x" * 32 + '"}', 0o600, "a token for 'a b'"),
        (json.dumps({"a": "x" * 32, "b": "x" * 32}), 0o600, "one token under two names"),
    ],
)
def test_tokens_files_that_are_refused(options: dict[str, t.Any], content: str, rights: int, message: str) -> None:
    options["tokens_file"].write_text(content)
    options["tokens_file"].chmod(rights)
    with pytest.raises(SettingsError, match=message) as error:
        create_app(Settings(**options))
    assert "xxxx" not in str(error.value)


def test_without_tokens_on_loopback(options: dict[str, t.Any]) -> None:
    with TestClient(create_app(Settings(**options, auth=False)), base_url="http://localhost") as client:
        assert client.get("/api/clusters/").status_code == 200
        # another site's name that was pointed to this address
        assert client.get("/api/clusters/", headers={"Host": "evil.example.com"}).status_code == 400
        assert client.post("/api/clusters/", content=b'{"name": "one"}', headers={"Content-Type": "text/plain"}).status_code == 415


# -- the page, health, metrics --------------------------------------------------
def test_the_page_loads_nothing_from_outside(client: TestClient) -> None:
    page = client.get("/kaas")
    assert page.status_code == 200 and "http://" not in page.text and "https://" not in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self' 'sha256-")
    for path in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert path.startswith("/kaas-static/") and client.get(path).status_code == 200, path
    assert client.get("/openapi.json").status_code == 200


def test_headers(client: TestClient) -> None:
    for path in ("/kaas", "/health", "/api/clusters/", "/none"):
        headers = client.get(path, headers={"Origin": "https://evil.example.com"}).headers
        assert not [name for name in headers if name.lower().startswith("access-control-")]
        assert (
            headers["X-Frame-Options"] == "DENY"
            and headers["X-Content-Type-Options"] == "nosniff"
            and "default-src 'none'" in headers["Content-Security-Policy"]
        )
    asked = {"Origin": "https://evil.example.com", "Access-Control-Request-Method": "POST"}
    preflight = client.options("/api/clusters/", headers=asked)
    assert preflight.status_code == 405 and "access-control-allow-origin" not in preflight.headers


def test_health(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok", "checks": {"database": "ok", "workers": "ok"}}


def test_health_tells_what_is_wrong(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise sqlite3.OperationalError("disk I/O error")

    manager = client.app.state.context.manager  # type: ignore[attr-defined]
    monkeypatch.setattr(manager.store, "counts", broken)
    monkeypatch.setattr(manager, "_threads", [*manager._threads, threading.Thread(target=str)])
    answer = client.get("/health")
    assert answer.status_code == 503
    assert answer.json() == {"status": "failed", "checks": {"database": "can not be read", "workers": "a worker has ended"}}
    monkeypatch.undo()


def test_metrics(api: Api, double: Double, client: TestClient) -> None:
    double.set("once-onboard", {"task": "Wait", "error": "nothing came"})
    api.wait(api.create("one"), "failed")
    api.wait(api.create("two"))
    text = client.get("/metrics").text
    for line in (
        'scs_kaas_mock_clusters{state="ready"} 1.0',
        'scs_kaas_mock_clusters{state="failed"} 1.0',
        'scs_kaas_mock_clusters{state="creating"} 0.0',
        'scs_kaas_mock_jobs{action="create",state="succeeded"} 1.0',
        'scs_kaas_mock_jobs{action="delete",state="queued"} 0.0',
        'scs_kaas_mock_step_seconds_count{step="create"} 2.0',
        'scs_kaas_mock_step_seconds_count{step="onboard"} 1.0',
        "scs_kaas_mock_clusters_max 10.0",
        'scs_kaas_mock_build_info{version="0.1.0"} 1.0',
    ):
        assert line in text.splitlines(), line
    assert "alice" not in text and '"one"' not in text
    names = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    assert not [name for name in names if re.fullmatch(r"(cluster:)?kaas(_.+)?", name)], "Receive would drop it"


def test_secrets_lie_where_only_the_service_reads_them(api: Api, options: dict[str, t.Any]) -> None:
    api.wait(api.create("one"))
    state = options["state_dir"]
    assert mode(state) == 0o700 and mode(state / "kaas.db") == 0o600 and mode(state / "log" / "1.log") == 0o600
    assert "the double runs create for one" in (state / "log" / "1.log").read_text()
    assert list((state / "run").iterdir()) == []


def test_requests_are_quick_while_all_workers_are_busy(api: Api, double: Double) -> None:
    double.set("hold-create")
    answers = [api.create(f"c{number}") for number in range(4)]
    assert all(answer.elapsed.total_seconds() < 1 for answer in answers)
    assert isinstance(api.request("GET", "/health"), httpx.Response)
    double.unset("hold-create")
    for answer in answers:
        api.wait(answer)
