# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Infrastructures: "testbed" and "other" by their Thanos sidecars, "hidden" by writing itself. All with certificates of the playbook, and with wrong ones."""

from __future__ import annotations

import base64
import json
import pathlib
import shutil
import subprocess
import sys
import time
import typing as t

import grpc
import pytest
import yaml
from _infrastructure import Machine
from _remote_write import Identity, Writer, grpc_call, inside_of, load_authority, make_authority, now

OBSERVER = "test-observer"
RECEIVE = "thanos-receive-infrastructures"
# a Service's port of the inventory
PORT = 30292
RUN = str(now())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("infrastructures")


@pytest.fixture(scope="module")
def machines(lab: t.Any, observer: t.Any, folder: pathlib.Path) -> t.Iterator[dict[str, Machine]]:
    slot = int(lab.address(OBSERVER).rpartition(".")[2]) - 21
    found = {
        name: Machine(f"{name}{slot or ''}", folder / name, f"10.200.0.{120 + slot + number}") for number, name in enumerate(("testbed", "other", "hidden"))
    }
    try:
        for machine in found.values():
            machine.start()
        yield found
    finally:
        for machine in found.values():
            machine.remove()


@pytest.fixture(scope="module")
def wanted(machines: dict[str, Machine], folder: pathlib.Path) -> dict[str, t.Any]:
    """Variables of both playbooks."""
    listed = [
        {"name": "testbed", "endpoints": [f"{machines['testbed'].address}:10901"], "alerts": True},
        {"name": "other", "endpoints": [f"{machines['other'].address}:10901"]},
        {"name": "hidden", "mode": "remote_write"},
    ]
    return {"observer_infrastructures": listed, "observer_infrastructures_directory": str(folder / "vars")}


def pods(lab: t.Any) -> dict[str, tuple[str, int]]:
    """Of each pod: who it is, and how often its containers were started again."""
    return {
        pod["metadata"]["name"]: (pod["metadata"]["uid"], sum(status["restartCount"] for status in pod["status"]["containerStatuses"]))
        for pod in lab.get(OBSERVER, "pods", "-n", "observer")
    }


def read(wanted: dict[str, t.Any], name: str) -> dict[str, str]:
    """The file that the playbook wrote, without its common prefix."""
    path = pathlib.Path(wanted["observer_infrastructures_directory"]) / f"{name}.yml"
    assert path.stat().st_mode & 0o777 == 0o600
    return {key.removeprefix("osism_thanos_sidecar_"): value for key, value in yaml.safe_load(path.read_text()).items()}


def secret(lab: t.Any, name: str) -> dict[str, t.Any]:
    return lab.get(OBSERVER, "secret", name, "-n", "observer")


@pytest.fixture(scope="module")
def issued(lab: t.Any, wanted: dict[str, t.Any]) -> dict[str, dict[str, str]]:
    made = lab.playbook("observer_infrastructures", "--diff", variables=wanted)
    found = {name: read(wanted, name) for name in ("testbed", "other", "hidden")}
    keys = [line for values in found.values() for key, value in values.items() if "private_key" in key for line in value.splitlines()[1:-1]]
    assert keys and not [line for line in keys if line in made.output], "the run shows a private key"
    return found


@pytest.fixture(scope="module")
def connected(lab: t.Any, machines: dict[str, Machine], wanted: dict[str, t.Any], issued: dict[str, dict[str, str]]) -> t.Iterator[dict[str, t.Any]]:
    """They run and are in the Observer's list. "other" begins with a certificate that another authority made for its very names."""
    testbed, other = issued["testbed"], issued["other"]
    for name in ("testbed", "other"):
        machines[name].prometheus({"infrastructure": name, "prometheus_replica": f"{name}-a"})
    machines["testbed"].sidecar(testbed["grpc_certificate"], testbed["grpc_private_key"], testbed["grpc_client_ca"])
    machines["other"].sidecar(*foreign(lab, machines["other"]), other["grpc_client_ca"])
    before = pods(lab)
    run = lab.playbook("observer", variables=wanted)
    lab.figures["observer, run with three infrastructures more, seconds"] = run.seconds
    begin = time.monotonic()
    found: dict[str, t.Any] = {"before": before, "begin": begin}
    yield found
    # for the tests after this one: as if they had never been
    if "removed" not in found:
        lab.playbook("observer")
    assert not lab.exists(OBSERVER, "statefulset", RECEIVE, "-n", "observer")
    for meta in (lab.state(OBSERVER).parent / "s3" / "data" / lab.bucket).glob("*/meta.json"):
        if "infrastructure" in json.loads(meta.read_text())["thanos"]["labels"]:
            shutil.rmtree(meta.parent)


def foreign(lab: t.Any, machine: Machine) -> tuple[str, str]:
    """Certificate and key for "other", by an authority of the right name that is not the Observer's."""
    ours = load_authority(secret(lab, "infrastructures-ca"))
    theirs = make_authority(ours[0].subject.rfc4514_string().removeprefix("CN="))
    found = Identity(pathlib.Path()).signed_by(machine.folder / "foreign", "other", theirs, server_names=["other.infrastructure"])
    assert found.certificate and found.key
    return found.certificate.read_text(), found.key.read_text()


def stores(lab: t.Any) -> dict[str, list[dict[str, str]]]:
    """By the address of a healthy store: its label sets."""
    found = lab.http_json(f"{lab.service('thanos-query', 9090)}/api/v1/stores")["data"]
    return {store["name"]: store["labelSets"] for kind in found.values() for store in kind or [] if not store["lastError"]}


def refusals(lab: t.Any, address: str) -> str:
    """What the Queries say of an endpoint that they do not use."""
    lines = lab.kubectl(OBSERVER, "logs", "-n", "observer", "-l", "app.kubernetes.io/name=thanos-query", "--tail=200").splitlines()
    return "\n".join(line for line in lines if address in line and "err=" in line)


# -- bad input --------------------------------------------------------------
@pytest.mark.parametrize("playbook", ["observer", "observer_infrastructures"])
def test_an_infrastructure_twice(lab: t.Any, wanted: dict[str, t.Any], playbook: str) -> None:
    twice = wanted | {"observer_infrastructures": [{"name": "testbed", "endpoints": ["10.0.0.1:10901"]}] * 2}
    done = lab.playbook(playbook, variables=twice, check=False)
    assert done.code != 0 and done.changed == 0
    assert done.failures == ["observer_infrastructures: 'testbed' is there 2 times; write all its endpoints into one entry."]
    assert not pathlib.Path(wanted["observer_infrastructures_directory"]).exists()


# -- what the playbook writes -----------------------------------------------
def test_the_files_hold_what_the_role_osism_thanos_sidecar_takes(lab: t.Any, issued: dict[str, dict[str, str]]) -> None:
    sidecar = {"infrastructure", "grpc_certificate", "grpc_private_key", "grpc_client_ca"}
    writes = {"infrastructure", "remote_write_url", "remote_write_certificate", "remote_write_private_key", "remote_write_ca"}
    assert {name: set(values) for name, values in issued.items()} == {"testbed": sidecar, "other": sidecar, "hidden": writes}
    assert issued["hidden"]["remote_write_url"] == f"https://{lab.address(OBSERVER)}:{PORT}/api/v1/receive"
    inside = base64.b64decode(secret(lab, "inside-ca")["data"]["tls.crt"]).decode()
    assert issued["testbed"]["grpc_client_ca"].strip() == inside.strip(), "it must be the inside's, or one infrastructure could read another"


# -- by a sidecar -----------------------------------------------------------
def test_testbed_is_seen(lab: t.Any, machines: dict[str, Machine], connected: dict[str, t.Any]) -> None:
    address = f"{machines['testbed'].address}:10901"
    labels = {"infrastructure": "testbed", "prometheus_replica": "testbed-a"}
    # the kubelet brings a changed ConfigMap within a minute or so
    lab.wait_until(lambda: stores(lab).get(address) == [labels], 150, f"{address} in /api/v1/stores")
    lab.figures["testbed in /api/v1/stores after the run, seconds"] = round(time.monotonic() - connected["begin"], 1)
    found = lab.wait_until(lambda: lab.query('up{infrastructure="testbed"}'), 30, "testbed's up")
    assert [(one["metric"]["job"], one["value"][1]) for one in found] == [("prometheus", "1")]
    assert "prometheus_replica" not in found[0]["metric"], "copies of a pair are merged by it"


def test_nothing_was_started_again_for_them(lab: t.Any, connected: dict[str, t.Any]) -> None:
    after = pods(lab)
    assert set(after) - set(connected["before"]) == {f"{RECEIVE}-0"}
    assert {name: after.get(name) for name in connected["before"]} == connected["before"]


def test_a_sidecar_of_another_authority_is_not_used(lab: t.Any, machines: dict[str, Machine], connected: t.Any) -> None:
    """And that is told: InfrastructureDown, InfrastructureEndpointsMissing."""
    address = f"{machines['other'].address}:10901"
    lab.wait_until(lambda: "x509: certificate signed by unknown authority" in refusals(lab, address), 150, f"Query's refusal of {address}", delay=3)
    assert address not in stores(lab)
    assert lab.query('up{infrastructure="other"}') == []
    alerts = lab.wait_until(lambda: [one for one in lab.alerts("InfrastructureDown") if one["labels"]["infrastructure"] == "other"], 60, "InfrastructureDown")
    assert alerts[0]["labels"]["severity"] == "critical"
    lab.wait_until(lambda: lab.alerts("InfrastructureEndpointsMissing"), 60, "InfrastructureEndpointsMissing")


def test_a_sidecar_can_not_pass_for_another(lab: t.Any, machines: dict[str, Machine], issued: dict[str, dict[str, str]], connected: t.Any) -> None:
    """By the right authority, and yet another's."""
    testbed, address = issued["testbed"], f"{machines['other'].address}:10901"
    machines["other"].sidecar(testbed["grpc_certificate"], testbed["grpc_private_key"], testbed["grpc_client_ca"])
    lab.wait_until(lambda: "not other.infrastructure" in refusals(lab, address), 60, f"Query's refusal of {address}", delay=3)
    assert address not in stores(lab) and lab.query('up{infrastructure="other"}') == []


def test_the_right_certificate_is_used(lab: t.Any, machines: dict[str, Machine], issued: dict[str, dict[str, str]], connected: t.Any) -> None:
    """What the wrong ones are measured by; and the alerts end."""
    other = issued["other"]
    machines["other"].sidecar(other["grpc_certificate"], other["grpc_private_key"], other["grpc_client_ca"])
    lab.wait_until(lambda: lab.query('up{infrastructure="other"} == 1'), 60, "other's up")
    lab.wait_until(lambda: not lab.query('ALERTS{alertname=~"Infrastructure(Down|EndpointsMissing)",infrastructure!="hidden"}'), 60, "the end of both alerts")


def test_who_may_read_a_sidecar(lab: t.Any, machines: dict[str, Machine], issued: dict[str, dict[str, str]], folder: pathlib.Path, connected: t.Any) -> None:
    """Query, and neither a customer, nor another infrastructure, nor anybody else."""
    ca = folder / "infrastructures-ca.crt"
    ca.write_bytes(base64.b64decode(secret(lab, "infrastructures-ca")["data"]["tls.crt"]))

    def of(name: str, part: str) -> Identity:
        values = {"tls.crt": issued[name][f"{part}_certificate"], "tls.key": issued[name][f"{part}_private_key"], "ca.crt": ca.read_text()}
        return Identity.of_secret(folder / f"as-{name}", {"data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}})

    inside = inside_of(lab)
    anybody = Identity(ca)
    identities: dict[str, Identity | None] = {
        "the writing one": of("hidden", "remote_write"),
        "another with a sidecar": of("other", "grpc"),
        "a customer's agent": anybody.signed_by(folder / "agent", "test-alpha", load_authority(secret(lab, "agents-ca"))),
        "of an authority of its own": anybody.signed_by(folder / "own", "inside", make_authority("inside")),
        "without a certificate": anybody,
        "without TLS": None,
    }
    target = f"{machines['testbed'].address}:10901"

    def ask(identity: Identity | None) -> t.Any:
        return grpc_call(target, "/thanos.info.Info/Info", b"", identity, server_name="testbed.infrastructure")

    right = ask(Identity(ca, inside.certificate, inside.key))
    assert right.code == grpc.StatusCode.OK and b"testbed" in right.messages[0], right
    for name, identity in identities.items():
        answer = ask(identity)
        assert answer.code == grpc.StatusCode.UNAVAILABLE and answer.messages == [], f"{name}: {answer}"


# -- alerts -----------------------------------------------------------------
def test_alerts_are_seen_and_sent_if_asked(lab: t.Any, connected: t.Any) -> None:
    """InfrastructureAlert"""
    lab.wait_until(lambda: len(lab.query('ALERTS{alertname="TestbedBroken",alertstate="firing",infrastructure=~"testbed|other"}')) == 2, 60, "both's ALERTS")
    found = lab.wait_until(lambda: lab.alerts("InfrastructureAlert"), 60, "InfrastructureAlert")
    labels = {"alertname": "InfrastructureAlert", "infra_alertname": "TestbedBroken", "infrastructure": "testbed", "instance": "db1", "severity": "critical"}
    # "other" did not ask for it, and nobody asked for hints
    assert [{key: value for key, value in one["labels"].items() if key != "observer"} for one in found] == [labels]


# -- by remote-write --------------------------------------------------------
@pytest.fixture(scope="module")
def writer(lab: t.Any, issued: dict[str, dict[str, str]], folder: pathlib.Path, connected: t.Any) -> Writer:
    values = issued["hidden"]
    texts = {"ca.crt": values["remote_write_ca"], "tls.crt": values["remote_write_certificate"], "tls.key": values["remote_write_private_key"]}
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    return Writer(f"https://{lab.address(OBSERVER)}:{PORT}", Identity.of_secret(folder / "hidden-identity", {"data": encoded}))


def test_what_writes_is_stored_as_its_own(lab: t.Any, machines: dict[str, Machine], issued: dict[str, dict[str, str]], writer: Writer) -> None:
    """A real Prometheus that says it is another one."""
    files = {"ca_file": writer.identity.authority, "cert_file": writer.identity.certificate, "key_file": writer.identity.key}
    url = issued["hidden"]["remote_write_url"]
    machines["hidden"].prometheus(
        {"infrastructure": "other", "cluster": "x", "observer": "observer", "prometheus_replica": "hidden-a"},
        remote_write=[{"url": url, "tls_config": {key: str(value) for key, value in files.items()}, "headers": {"X-Tenant": "other"}}],
    )
    found = lab.wait_until(lambda: lab.query('up{exported_infrastructure="other"}'), 90, "hidden's up")
    mine = {"infrastructure": "hidden", "exported_infrastructure": "other", "exported_cluster": "x", "exported_observer": "observer"}
    (labels,) = [one["metric"] for one in found]
    assert {key: value for key, value in labels.items() if key not in ("__name__", "instance", "job", "tenant_id")} == mine
    assert len(lab.query('up{infrastructure="other"}')) == 1, "only that one's own"
    lab.wait_until(lambda: lab.query('ALERTS{alertname="TestbedBroken",infrastructure="hidden"}'), 60, "hidden's ALERTS")
    lab.wait_until(lambda: not lab.query('ALERTS{alertname="InfrastructureDown"}'), 60, "the end of InfrastructureDown")


def test_reserved_names_are_dropped(lab: t.Any, writer: Writer) -> None:
    names = ("kaas", "cluster:kaas_state:info", "observer:infrastructure:info", "ALERTS_FOR_STATE")
    series = [({"__name__": name, "run": RUN, "cluster": "ghost", "observer": "observer"}, 1.0) for name in (*names, "end_to_end_infrastructure")]
    assert writer.write_now(*series, headers={"THANOS-TENANT": "other"}).status == 200
    lab.wait_until(lambda: lab.query(f'end_to_end_infrastructure{{run="{RUN}",infrastructure="hidden",cluster=""}}'), 20, "what was sent with them")
    for name in names:
        assert lab.query(f'last_over_time({name}{{run="{RUN}"}}[5m])') == []


def test_who_may_not_write(lab: t.Any, issued: dict[str, dict[str, str]], writer: Writer, folder: pathlib.Path) -> None:
    ours = load_authority(secret(lab, "infrastructures-ca"))
    agents = load_authority(secret(lab, "agents-ca"))
    sidecar = folder / "as-other"
    identities = {
        "a customer's agent": writer.identity.signed_by(folder / "agent-writes", "test-alpha", agents),
        "no certificate": writer.identity.without_certificate(),
        "a sidecar's": Identity(writer.identity.authority, sidecar / "tls.crt", sidecar / "tls.key"),
        "the inside's": Identity(writer.identity.authority, inside_of(lab).certificate, inside_of(lab).key),
    }
    for name, identity in identities.items():
        assert Writer(writer.url, identity).alert(), f"{name} gets a connection"
    # of the right authority, but in no list any more: a certificate that still lasts
    stranger = Writer(writer.url, writer.identity.signed_by(folder / "stranger", "stranger", ours))
    assert stranger.write_now(({"__name__": "end_to_end_stranger", "run": RUN}, 1)).status >= 500
    assert lab.query(f'end_to_end_stranger{{run="{RUN}"}}') == []
    # nor may an infrastructure write as a cluster
    assert Writer(lab.receive_url, writer.identity).alert()


# -- again, and the end -----------------------------------------------------
def test_second_runs_change_nothing(lab: t.Any, wanted: dict[str, t.Any], connected: t.Any) -> None:
    """Nor is a file that was encrypted meanwhile written in clear."""
    folder = pathlib.Path(wanted["observer_infrastructures_directory"])
    (folder / "password").write_text("only for this test")
    encrypted = folder / "testbed.yml"
    command = [str(pathlib.Path(sys.executable).parent / "ansible-vault"), "encrypt", "--vault-password-file", str(folder / "password"), str(encrypted)]
    subprocess.run(command, check=True, capture_output=True)
    before = encrypted.read_text()
    assert before.startswith("$ANSIBLE_VAULT")
    for playbook in ("observer", "observer_infrastructures"):
        run = lab.playbook(playbook, variables=wanted, environment={"ANSIBLE_VAULT_PASSWORD_FILE": str(folder / "password")})
        assert run.changed == 0, f"changed: {run.changed_tasks}"
        lab.figures[f"{playbook}, second run with infrastructures, seconds"] = run.seconds
    assert encrypted.read_text() == before


def test_those_that_are_taken_out(lab: t.Any, machines: dict[str, Machine], connected: dict[str, t.Any]) -> None:
    """Their Receive and endpoints go, and nothing else does."""
    before = pods(lab)
    run = lab.playbook("observer")
    connected["removed"] = True
    gone = run.objects("deleted")
    assert gone and not [title for title in gone if RECEIVE not in title], gone
    addresses = {f"{machines[name].address}:10901" for name in ("testbed", "other")}
    lab.wait_until(lambda: not addresses & set(stores(lab)), 150, "the end of their endpoints")
    lab.wait_until(lambda: not lab.query('up{infrastructure=~"testbed|other|hidden"}'), 90, "the end of their series")
    assert {name: uid for name, uid in before.items() if name != f"{RECEIVE}-0"} == pods(lab)
    lab.wait_until(lambda: not lab.query('observer:infrastructure:info{mode!=""}'), 120, "the end of the list")
    assert lab.alerts("InfrastructureDown") == [], "taken out on purpose"
