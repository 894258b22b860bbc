# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service is killed with kill -9, stopped, cancelled; its playbooks fail. What it does then, with a DOUBLE of ansible-playbook."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import random
import sqlite3
import ssl
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import httpx
import pytest
from _service import FILES, Api, Double, Service, wait_until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


# -- kill -9 --------------------------------------------------------------------
@pytest.mark.parametrize("step", ["create", "onboard", "unregister", "delete"])
def test_killed_at_a_step(service: Service, double: Double, step: str) -> None:
    api = service.start()
    if step in ("unregister", "delete"):
        api.wait(api.create("one"))
        double.set(f"hold-{step}")
        job = api.delete("one").json()["id"]
    else:
        double.set(f"hold-{step}")
        job = api.create("one").json()["id"]
    wait_until(lambda: double.begun().count(step) == 1, f"the playbook of {step}")
    first = next(line["pid"] for line in double.journal() if line.get("begin") == step)
    machines = double.machines("one")
    service.kill()
    assert not gone(first), "the double has to outlive the service, as Ansible's workers do"

    api = service.start()
    assert api.job(job)["state"] in ("queued", "running")
    wait_until(lambda: double.begun().count(step) == 2, "the same step again")
    assert gone(first), "the killed service's playbook still ran when the next one began"
    double.unset(f"hold-{step}")
    done = api.wait(job)
    assert {one["name"]: one["attempts"] for one in done["steps"]}[step] == 2
    assert double.twice() == []
    if step in ("create", "onboard"):
        assert api.state("one") == "ready" and len(double.machines("one")) == 1 and double.registered() == {"one"}
    else:
        assert api.clusters() == {} and double.machines("one") == [] and double.registered() == set()
    if step == "onboard":
        assert double.machines("one") == machines, "the machine of a step that was done has to live on"


def test_killed_at_any_moment(service: Service, double: Double) -> None:
    for step in ("create", "onboard", "unregister", "delete"):
        double.set(f"slow-{step}", "0.3")
    moments = random.Random(4)
    api = service.start()
    jobs = [api.create(name).json()["id"] for name in ("one", "two", "three")]
    for _kill in range(5):
        time.sleep(moments.uniform(0.05, 0.9))
        service.kill()
        api = service.start()
    for job in jobs:
        api.wait(job)
    assert {name: cluster["state"] for name, cluster in api.clusters().items()} == {"one": "ready", "two": "ready", "three": "ready"}
    assert [len(double.machines(name)) for name in ("one", "two", "three")] == [1, 1, 1]
    jobs = [api.delete(name).json()["id"] for name in ("one", "two", "three")]
    for _kill in range(3):
        time.sleep(moments.uniform(0.05, 0.9))
        service.kill()
        api = service.start()
    for job in jobs:
        api.wait(job)
    assert api.clusters() == {} and double.registered() == set() and double.twice() == [] and double.processes() == []
    assert [double.machines(name) for name in ("one", "two", "three")] == [[], [], []]


def test_what_was_queued_is_done_in_its_order(service: Service, double: Double) -> None:
    double.set("hold-create")
    api = service.start()
    jobs = [api.create(f"c{number}").json()["id"] for number in range(5)]
    wait_until(lambda: len(double.begun()) == 2, "two that run")
    service.kill()
    api = service.start()
    wait_until(lambda: len(double.begun()) == 4, "the same two again")
    assert double.begun("c0") == double.begun("c1") == ["create", "create"] and double.begun("c2") == []
    double.unset("hold-create")
    for job in jobs:
        api.wait(job)


def test_killed_while_a_creation_is_cancelled(service: Service, double: Double) -> None:
    double.set("hold-onboard")
    api = service.start()
    create = api.create("one").json()["id"]
    wait_until(lambda: double.begun() == ["create", "onboard"], "onboarding")
    # as if the kill came between the request and what the worker does about it
    service.kill()
    database = sqlite3.connect(service.state / "kaas.db")
    with database:
        database.execute("UPDATE jobs SET cancelled = 1 WHERE id = ?", (create,))
        database.execute("INSERT INTO jobs (cluster, owner, action, state, created) VALUES ('one', 'alice', 'delete', 'queued', 1)")
        database.execute("UPDATE clusters SET state = 'unregistering'")
    database.close()
    pid = double.journal()[-1]["pid"]
    api = service.start()
    api.wait(create + 1)
    assert gone(pid) and api.clusters() == {} and double.machines("one") == [] and double.registered() == set()
    assert api.job(create)["state"] == "failed" and api.job(create)["error"].startswith("Cancelled")


# -- stop -----------------------------------------------------------------------
def test_a_stop_ends_the_playbooks_and_the_next_start_goes_on(service: Service, double: Double) -> None:
    double.set("hold-create")
    api = service.start()
    job = api.create("one").json()["id"]
    wait_until(double.begun, "the playbook")
    assert service.stop() == 0, service.log.read_text()
    assert double.processes() == []
    double.unset("hold-create")
    api = service.start()
    assert api.wait(job)["steps"][0]["attempts"] == 2
    assert api.state("one") == "ready" and len(double.machines("one")) == 1


def test_one_service_for_one_folder(service: Service) -> None:
    service.start()
    environment = {**os.environ, "KAAS_MOCK_SETTINGS": str(service.settings), "PYTHONPATH": str(FILES)}
    second = subprocess.run([sys.executable, "-m", "kaas_mock"], env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 1 and "Another KaaS mock service works with state_dir" in second.stderr and "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("port = 'x'", "port: Input should be a valid integer"),
        ("first_index = 85", "go beyond lab_cluster's index 89"),
        ("auth = false\nhost = '0.0.0.0'", "would give every cluster's kubeconfig to whoever reaches that address"),
        ("tls_key = '/none'", "tls_certificate and tls_key belong together"),
        ("variables = '/none'", "variables: there is no file /none"),
        ("colour = 'blue'", "colour: Extra inputs are not permitted"),
        ("port = ", "is no TOML"),
        ("host = '192.0.2.1'", "can not listen on 192.0.2.1"),
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, double: Double, settings: str, message: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(f"state_dir = '{tmp_path}/state'\n{settings}\n")
    environment = {**os.environ, "KAAS_MOCK_SETTINGS": str(path), "PYTHONPATH": str(FILES)}
    done = subprocess.run([sys.executable, "-m", "kaas_mock"], env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1 and done.stderr.startswith("kaas_mock: ") and message in done.stderr and "Traceback" not in done.stderr


def test_environment_wins_over_the_file(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAAS_MOCK_MAX_CLUSTERS", "1")
    api = service.start()
    assert api.create("one").status_code == 202 and api.create("two").status_code == 429


def test_tls(options: dict[str, t.Any], tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kaas-mock")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    (tmp_path / "tls.crt").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    (tmp_path / "tls.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    service = Service({**options, "tls_certificate": tmp_path / "tls.crt", "tls_key": tmp_path / "tls.key"}, tmp_path)
    service.verify = ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
    try:
        api = service.start()
        assert str(api.client.base_url).startswith("https://") and api.clusters() == {}
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(str(api.client.base_url).replace("https://", "http://"), timeout=5)
    finally:
        service.kill()


# -- cancel ---------------------------------------------------------------------
@pytest.mark.parametrize("step", ["create", "onboard"])
def test_deleted_while_it_is_made(api: Api, double: Double, step: str) -> None:
    double.set(f"hold-{step}")
    create = api.create("one").json()["id"]
    wait_until(lambda: step in double.begun("one"), step)
    pid = double.journal()[-1]["pid"]
    delete = api.delete("one")
    assert delete.status_code == 202
    done = api.wait(delete)
    assert gone(pid), "the creation's playbook was left running"
    assert api.job(create)["state"] == "failed" and api.job(create)["error"] == "Cancelled, for the cluster's deletion was asked for."
    # what was never begun is not undone: the registry may hold somebody else's entry of that name
    assert [one["name"] for one in done["steps"]] == (["delete"] if step == "create" else ["unregister", "delete"])
    assert api.clusters() == {} and double.machines("one") == [] and double.registered() == set() and double.twice() == []
    double.unset(f"hold-{step}")
    api.wait(api.create("one"))


def test_deleted_while_it_is_queued(api: Api, double: Double) -> None:
    double.set("hold-create")
    for name in ("one", "two", "three"):
        api.create(name)
    wait_until(lambda: len(double.begun()) == 2, "two that run")
    delete = api.delete("three")
    assert api.job(3)["state"] == "failed"
    double.unset("hold-create")
    assert api.wait(delete)["steps"] == []
    assert double.begun("three") == []


# -- failure --------------------------------------------------------------------
def test_a_failed_creation_can_be_tried_again(api: Api, double: Double) -> None:
    double.set("once-onboard", {"task": "Wait for the first sample", "error": "up is not there after 180 tries"})
    failed = api.wait(api.create("one"), "failed")
    assert failed["error"] == "Wait for the first sample: up is not there after 180 tries" and failed["step"] == "onboard"
    assert api.clusters()["one"]["state"] == "failed" and api.clusters()["one"]["error"] == failed["error"]
    assert api.request("GET", "/api/clusters/one").status_code == 409
    again = api.wait(api.create("one"))
    assert again["id"] != failed["id"] and api.clusters()["one"]["error"] == ""
    assert len(double.machines("one")) == 1 and len(api.clusters()) == 1
    told = [line["variables"] for line in double.journal() if line.get("begin") == "create"]
    assert [one["kaas_mock_again"] for one in told] == [False, True] and [one["kaas_mock_registered"] for one in told] == [False, True]


def test_a_failed_creation_can_be_deleted(api: Api, double: Double) -> None:
    double.set("once-create", {"task": "Start it", "error": "no room"})
    api.wait(api.create("one"), "failed")
    api.wait(api.delete("one"))
    assert api.clusters() == {} and "unregister" not in double.begun()


def test_a_failed_deletion_is_deleted_again(api: Api, double: Double) -> None:
    api.wait(api.create("one"))
    double.set("once-unregister", {"task": "Unregister", "error": "the API server cannot be reached"})
    failed = api.wait(api.delete("one"), "failed")
    assert api.state("one") == "failed" and len(double.machines("one")) == 1, "the machine went before it was unregistered"
    refused = api.create("one")
    assert refused.status_code == 409 and refused.json()["detail"].startswith(f"The deletion of cluster one failed (job {failed['id']}).")
    api.wait(api.delete("one"))
    assert api.clusters() == {}


def test_a_step_is_tried_several_times(double: Double, options: dict[str, t.Any], service: Service) -> None:
    options.update(attempts=3, retry_seconds=1)
    service = Service(options, service.state.parent)
    api = service.start()
    try:
        double.set("fail-onboard", {"task": "Register", "error": "the API server cannot be reached"})
        job = api.create("one").json()["id"]
        waiting = wait_until(lambda: (found := api.job(job))["task"] == "waiting for attempt 2 of 3" and found, "the second attempt")
        assert waiting["state"] == "running" and waiting["error"] == "Register: the API server cannot be reached"
        double.unset("fail-onboard")
        done = api.wait(job)
        assert done["error"] == "" and [one["attempts"] for one in done["steps"]] == [1, 2]
        # of no use to try again
        double.set("fail-create", {"task": "Refuse an id that somebody else registered", "error": "A cluster two is registered already."})
        assert api.wait(api.create("two"), "failed")["steps"][0]["attempts"] == 1
        # and deletion does not wait for the next attempt
        double.set("fail-create", {"task": "Start it", "error": "no room"})
        job = api.create("three").json()["id"]
        wait_until(lambda: api.job(job)["error"], "the first failure")
        api.wait(api.delete("three"))
    finally:
        service.kill()


def test_a_step_takes_too_long(double: Double, options: dict[str, t.Any], tmp_path: Path) -> None:
    service = Service({**options, "job_timeout": 10}, tmp_path)
    api = service.start()
    try:
        double.set("hold-create")
        failed = api.wait(api.create("one"), "failed")
        assert failed["error"] == "It took longer than 10 s (setting job_timeout) and was ended. Its last task was: the task of create"
        assert double.processes() == []
    finally:
        service.kill()


def test_no_secret_in_an_error(api: Api, double: Double) -> None:
    secret = "-----BEGIN PRIVATE KEY-----\nMIIxyz\n-----END PRIVATE KEY-----"
    double.set("once-create", {"task": "Start it", "error": f"refused {secret} and Authorization: Bearer abcdefghijklmnop, {'x' * 5000}"})
    error = api.wait(api.create("one"), "failed")["error"]
    assert error.startswith("Start it: refused (secret) and Authorization: (secret), xxx") and len(error) <= 2000


def test_a_program_that_can_not_be_started(api: Api, double: Double) -> None:
    double.program.unlink()
    assert "can not be started: No such file or directory. Correct the setting ansible_playbook." in api.wait(api.create("one"), "failed")["error"]


def test_old_jobs_are_forgotten_with_their_logs(double: Double, options: dict[str, t.Any], tmp_path: Path) -> None:
    service = Service({**options, "keep_jobs": 2}, tmp_path)
    api = service.start()
    try:
        api.wait(api.create("stays"))
        for _round in range(3):
            api.wait(api.create("one"))
            api.wait(api.delete("one"))
        wait_until(lambda: len(api.request("GET", "/api/jobs/").json()) == 3, "three jobs")
        left = [job["id"] for job in api.request("GET", "/api/jobs/").json()]
        assert left == [1, 6, 7], "those of living clusters stay, and the two newest"
        assert sorted(path.name for path in (service.state / "log").iterdir()) == ["1.log", "6.log", "7.log"]
    finally:
        service.kill()


def test_a_database_of_a_newer_version_is_left_alone(service: Service, options: dict[str, t.Any]) -> None:
    service.start()
    service.stop()
    with sqlite3.connect(service.state / "kaas.db") as database:
        database.execute("PRAGMA user_version = 99")
    environment = {**os.environ, "KAAS_MOCK_SETTINGS": str(service.settings), "PYTHONPATH": str(FILES)}
    done = subprocess.run([sys.executable, "-m", "kaas_mock"], env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1 and "was written by a newer version of this service" in done.stderr and "Traceback" not in done.stderr


def test_a_database_that_fails_ends_the_service(service: Service, double: Double) -> None:
    double.set("hold-create")
    api = service.start()
    job = api.create("one").json()["id"]
    wait_until(double.begun, "the playbook")
    with sqlite3.connect(service.state / "kaas.db") as database:
        database.execute("ALTER TABLE steps RENAME TO away")
    double.unset("hold-create")
    assert service.process is not None and service.process.wait(60) == 70, "a job went on that nothing was written down about"
    with sqlite3.connect(service.state / "kaas.db") as database:
        database.execute("ALTER TABLE away RENAME TO steps")
    api = service.start()
    assert api.wait(job)["state"] == "succeeded" and len(double.machines("one")) == 1


def test_a_database_that_is_none(service: Service) -> None:
    service.state.mkdir()
    (service.state / "kaas.db").write_text("no database" * 100)
    environment = {**os.environ, "KAAS_MOCK_SETTINGS": str(service.settings), "PYTHONPATH": str(FILES)}
    done = subprocess.run([sys.executable, "-m", "kaas_mock"], env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1 and "can not be used: file is not a database" in done.stderr and "Traceback" not in done.stderr


def test_the_log_names_no_token(service: Service, options: dict[str, t.Any]) -> None:
    api = service.start()
    api.wait(api.create("one"))
    api.request("GET", "/api/clusters/one")
    said = service.log.read_text()
    assert "job 1: create one succeeded" in said
    assert not [token for token in json.loads(options["tokens_file"].read_text()).values() if token in said]
