# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import datetime
import functools
import hashlib
import json
import typing as t

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _osism_sidecar as sidecar
from ansible_collections.scs.observer.plugins.module_utils._certificates import AuthoritySpec, CertificateSpec, provide
from cryptography import x509
from cryptography.hazmat.primitives import serialization

NAME = "testbed"
PASSWORD = "very-secret-password"


@functools.cache
def issued() -> dict[str, t.Any]:
    """What the Observer issues: two authorities, a server and a client certificate."""
    made = provide(
        [AuthoritySpec("infrastructures", "infrastructures-ca"), AuthoritySpec("inside", "inside-ca")],
        [
            CertificateSpec("grpc", "infrastructures", NAME, dns_names=(f"{NAME}.infrastructure",), usages=("server",)),
            CertificateSpec("write", "infrastructures", NAME, usages=("client",)),
            CertificateSpec("other", "infrastructures", "other", dns_names=("other.infrastructure",), usages=("server",)),
        ],
    )
    return {"authorities": made.authorities, **made.certificates}


def settings(**more: t.Any) -> dict[str, t.Any]:
    certificates = issued()
    return {
        "state": "present",
        "mode": "query",
        "infrastructure": NAME,
        "external_labels": {},
        "replica_label": "prometheus_replica",
        "hosts": ["manager"],
        "directory": "/opt/thanos_sidecar",
        "image": "quay.io/thanos/thanos:v0.42.4",
        "operator_user": "dragon",
        "uid": 42472,
        "gid": 42472,
        "grpc_port": 10901,
        "http_address": "127.0.0.1",
        "http_port": 10902,
        "address": "",
        "certificate": certificates["grpc"]["certificate"],
        "private_key": certificates["grpc"]["private_key"],
        "client_ca": certificates["authorities"]["inside"]["certificate"],
        "objstore_config": {},
        "container": "prometheus_server",
        "url": "",
        "username": "admin",
        "password": PASSWORD,
        "remote_write_url": "",
        "remote_write_certificate": "",
        "remote_write_private_key": "",
        "remote_write_ca": "",
        "manage_configuration": True,
        "configuration_directory": "/opt/configuration",
        "manager": "manager",
        **more,
    }


def writing(**more: t.Any) -> dict[str, t.Any]:
    certificates = issued()
    return settings(
        mode="remote_write",
        remote_write_url="https://receive.example.com:19292/api/v1/receive",
        remote_write_certificate=certificates["write"]["certificate"],
        remote_write_private_key=certificates["write"]["private_key"],
        remote_write_ca=certificates["authorities"]["inside"]["certificate"],
        **more,
    )


BUCKET = {"type": "S3", "config": {"bucket": "observer", "secret_key": "very-secret-key"}}


def look(**more: t.Any) -> dict[str, t.Any]:
    """A host as OSISM 10 has it, before the first run. C(more) are paths and values: prometheus__api__status=401."""
    facts: dict[str, t.Any] = {
        "engine": {"docker": True, "error": "", "compose": "2.29.7", "podman": False},
        "prometheus": {
            "found": True,
            "running": True,
            "status": "running",
            "data_volume": "prometheus_server",
            "data_owner": [42472, 42472],
            "url": "http://192.168.16.5:9091",
            "url_is_own": True,
            "address": "192.168.16.5",
            "api": {
                "status": 200,
                "error": "",
                "version": "3.2.1",
                "external_labels": {"infrastructure": NAME},
                "flags": {"storage.tsdb.min-block-duration": "2h", "storage.tsdb.max-block-duration": "1d12h"},
                "remote_writes": [],
                "remote_write_samples": {},
            },
        },
        "sidecar": {"found": False, "running": False, "project": "", "address": "192.168.16.5", "address_is_own": True, "taken_ports": []},
        "machine": {"user": True, "systemd": True, "unit_template": "given", "ca_bundle": "/etc/ssl/certs/ca-certificates.crt"},
        "configuration": {"found": True, "definitions": [], "own": {}},
    }
    for path, value in more.items():
        *folders, name = path.split("__")
        functools.reduce(lambda at, key: at[key], folders, facts)[name] = value
    return facts


def check(facts: dict[str, t.Any], given: dict[str, t.Any], configuration: dict[str, t.Any] | None = None, host: str = "manager") -> dict[str, list[str]]:
    return sidecar.preflight(host, facts, configuration or {}, given, ["prometheus", "manager"])


def test_the_testbed_is_ready_as_it_is() -> None:
    assert check(look(), settings()) == {"problems": [], "pending": []}


def test_prometheus_2_is_ready_as_it_is() -> None:
    assert check(look(prometheus__api__version="2.55.1", prometheus__data_volume="prometheus_v2"), settings(mode="query")) == {"problems": [], "pending": []}


GIVEN: list[tuple[dict[str, t.Any], str]] = [
    ({"infrastructure": ""}, "osism_thanos_sidecar_infrastructure '' is no RFC 1123 label"),
    ({"infrastructure": "Test_bed"}, "osism_thanos_sidecar_infrastructure 'Test_bed'"),
    ({"external_labels": {"cluster": "a"}}, "has 'cluster'"),
    ({"external_labels": {"region": 1}}, "osism_thanos_sidecar_external_labels.region is no text"),
    ({"replica_label": "a b"}, "osism_thanos_sidecar_replica_label 'a b'"),
    ({"grpc_port": 0}, "osism_thanos_sidecar_grpc_port 0 is no port"),
    ({"grpc_port": 10902}, "are both 10902"),
    ({"image": "not an image"}, "osism_thanos_sidecar_image 'not an image'"),
    ({"image": "quay.io/thanos/thanos:v0.32.5"}, "reads no labels of Prometheus 3.2.1"),
    ({"url": "192.168.16.5:9091"}, "osism_thanos_sidecar_prometheus_url '192.168.16.5:9091' is no http:// URL"),
    ({"url": "http://user:pw@192.168.16.5:9091"}, "without user"),
    ({"password": ""}, "osism_thanos_sidecar_prometheus_password is empty"),
    ({"password": "$ANSIBLE_VAULT;1.1;AES256\n31"}, "osism_thanos_sidecar_prometheus_password is still encrypted"),
    ({"mode": "upload"}, "osism_thanos_sidecar_objstore_config has no type and config"),
    ({"objstore_config": BUCKET}, "mode=query uploads nothing"),
    ({"certificate": ""}, "osism_thanos_sidecar_grpc_certificate is empty"),
    ({"certificate": "text"}, "osism_thanos_sidecar_grpc_certificate is no certificate in PEM"),
    ({"private_key": "text"}, "osism_thanos_sidecar_grpc_private_key is no private key"),
    ({"client_ca": ""}, "osism_thanos_sidecar_grpc_client_ca is empty"),
    ({"manager": ""}, "no group manager"),
    ({"hosts": ["manager", "second"], "replica_label": ""}, "osism_thanos_sidecar_replica_label is empty"),
]


@pytest.mark.parametrize(("given", "said"), GIVEN, ids=[said for _given, said in GIVEN])
def test_bad_variables_are_named(given: dict[str, t.Any], said: str) -> None:
    problems = check(look(), settings(**given))["problems"]
    assert len(problems) == 1, problems
    assert said in problems[0]
    assert PASSWORD not in problems[0]


FOUND: list[tuple[dict[str, t.Any], str]] = [
    ({"engine__docker": False, "engine__error": "there is no program docker", "engine__podman": True}, "There is podman"),
    ({"engine__compose": ""}, "Docker Compose v2 is missing"),
    ({"machine__systemd": False}, "There is no systemd"),
    ({"machine__user": False}, "There is no user 'dragon'"),
    ({"prometheus__found": False}, "There is no container 'prometheus_server'"),
    ({"prometheus__running": False, "prometheus__status": "exited"}, "does not run (it is exited)"),
    ({"prometheus__url": ""}, "Set osism_thanos_sidecar_prometheus_url"),
    ({"prometheus__url_is_own": False}, "never through the load balancer"),
    ({"prometheus__api__status": 401, "prometheus__api__error": "HTTP 401"}, "refuses the user 'admin' (HTTP 401)"),
    ({"prometheus__api__status": 0, "prometheus__api__error": "Connection refused"}, "does not answer (Connection refused)"),
    ({"prometheus__api__status": 503, "prometheus__api__error": "HTTP 503"}, "does not answer (HTTP 503)"),
    ({"prometheus__api__external_labels": {"infrastructure": "other"}}, "has the external label infrastructure=other"),
    ({"prometheus__api__external_labels": {"infrastructure": NAME, "cluster": "a"}}, "has the external label cluster"),
    ({"sidecar__taken_ports": [10901]}, "Port 10901 is in use"),
    ({"sidecar__address_is_own": False}, "is no address of this host"),
    ({"sidecar__address": ""}, "Set osism_thanos_sidecar_address"),
    ({"sidecar__found": True, "sidecar__project": "foreign"}, "belongs to something else"),
    ({"configuration__found": False}, "There is no /opt/configuration/environments/kolla"),
]


@pytest.mark.parametrize(("found", "said"), FOUND, ids=[said for _found, said in FOUND])
def test_bad_hosts_are_named(found: dict[str, t.Any], said: str) -> None:
    problems = check(look(**found), settings())["problems"]
    assert len(problems) == 1, problems
    assert said in problems[0]


def test_a_host_that_can_not_be_looked_at_is_one_problem() -> None:
    found = sidecar.preflight("manager", {"unreachable": True, "msg": "ssh: no route to host"}, {}, settings(), ["prometheus"])
    assert found["pending"] == []
    assert len(found["problems"]) == 1
    assert "no route to host" in found["problems"][0]


def test_all_problems_are_found_at_once_and_said_once() -> None:
    bad = settings(infrastructure="", password="")
    found = {name: check(look(prometheus__found=False), bad, host=name)["problems"] for name in ("a", "b")}
    text = sidecar.report(found)
    assert text.count("\n- ") == 2
    assert all(line.startswith("- a, b: ") for line in text.splitlines())
    assert sidecar.report({"a": []}) == ""


def test_removal_needs_nothing_to_be_right() -> None:
    assert check(look(prometheus__found=False), settings(state="absent", infrastructure="", password="")) == {"problems": [], "pending": []}


# Certificates


def test_a_key_of_another_certificate_is_refused() -> None:
    problems = check(look(), settings(private_key=issued()["other"]["private_key"]))["problems"]
    assert ["does not belong to osism_thanos_sidecar_grpc_certificate" in text for text in problems] == [True]


def test_another_infrastructures_certificate_is_refused() -> None:
    other = issued()["other"]
    problems = check(look(), settings(certificate=other["certificate"], private_key=other["private_key"]))["problems"]
    assert ["is for other.infrastructure, and not for testbed.infrastructure" in text for text in problems] == [True]


def test_a_clients_certificate_is_refused() -> None:
    client = issued()["write"]
    problems = check(look(), settings(certificate=client["certificate"], private_key=client["private_key"]))["problems"]
    assert any("is no server's certificate" in text for text in problems)


def test_the_authority_of_the_infrastructures_is_refused_for_clients() -> None:
    problems = check(look(), settings(client_ca=issued()["authorities"]["infrastructures"]["certificate"]))["problems"]
    assert ["every infrastructure's certificate would open this sidecar" in text for text in problems] == [True]


def test_a_leaf_is_no_authority() -> None:
    problems = check(look(), settings(client_ca=issued()["write"]["certificate"]))["problems"]
    assert ["grpc_client_ca is no authority's certificate" in text for text in problems] == [True]


def test_an_expired_certificate_is_refused() -> None:
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=200)
    problems = sidecar.preflight("manager", look(), {}, settings(), ["prometheus"], later)["problems"]
    assert ["osism_thanos_sidecar_grpc_certificate is valid from" in text for text in problems] == [True]


# What is pending


def test_missing_labels_are_pending_when_the_role_writes_them() -> None:
    facts = look(prometheus__api__external_labels={})
    assert check(facts, settings()) == {"problems": [], "pending": ["The external label infrastructure is not there and has to be testbed."]}
    assert "manage_configuration is false" in check(facts, settings(manage_configuration=False))["problems"][0]


def test_a_pair_needs_replica_labels() -> None:
    pair = settings(hosts=["manager", "second"])
    assert check(look(), pair, host="second")["pending"] == ["The external label prometheus_replica is not there and has to be second."]
    labels = {"infrastructure": NAME, "prometheus_replica": "second"}
    assert check(look(prometheus__api__external_labels=labels), pair, host="second")["pending"] == []
    assert sidecar.wanted_labels(settings(), "manager") == {"infrastructure": NAME}


def test_two_hosts_that_read_one_prometheus_are_refused() -> None:
    assert len(sidecar.pair_problems({"a": look(), "b": look()})) == 1
    assert sidecar.pair_problems({"a": look(), "b": look(prometheus__url="http://192.168.16.6:9091")}) == []
    assert sidecar.pair_problems({"a": look(prometheus__url="http://127.0.0.1:9091"), "b": look(prometheus__url="http://127.0.0.1:9091")}) == []


def test_a_name_that_the_role_wrote_before_may_change() -> None:
    facts = look(prometheus__api__external_labels={"infrastructure": "old"})
    own = {"own": {"60.yml": "global:\n  external_labels:\n    infrastructure: old\n"}}
    assert check(facts, settings(), own)["problems"] == []
    assert len(check(facts, settings(), own)["pending"]) == 1


def test_a_name_in_the_configuration_has_to_be_the_same() -> None:
    configuration = {
        "definitions": [
            {"path": "environments/kolla/configuration.yml", "name": "prometheus_external_labels", "text": "prometheus_external_labels:\n  infrastructure: b\n"}
        ]
    }
    assert "environments/kolla/configuration.yml has the external label infrastructure=b" in check(look(), settings(), configuration)["problems"][0]


# Upload


def uploading(**more: t.Any) -> dict[str, t.Any]:
    return settings(mode="upload", objstore_config=BUCKET, **more)


EQUAL = {"storage.tsdb.min-block-duration": "2h", "storage.tsdb.max-block-duration": "2h"}


def extras(value: str) -> dict[str, t.Any]:
    definition = {
        "path": "environments/kolla/configuration.yml",
        "name": "prometheus_cmdline_extras",
        "text": f"prometheus_cmdline_extras: {json.dumps(value)}\n",
    }
    return {"definitions": [definition], "own": {}}


def test_unequal_block_durations_are_pending() -> None:
    assert check(look(), uploading()) == {"problems": [], "pending": ["The block durations of Prometheus are not the same."]}
    assert check(look(prometheus__api__flags=EQUAL), uploading()) == {"problems": [], "pending": []}


def test_extras_that_would_win_are_refused_with_what_to_write() -> None:
    problems = check(look(), uploading(), extras("--storage.tsdb.retention.time=15d"))["problems"]
    assert len(problems) == 1
    wanted = "--storage.tsdb.retention.time=15d --storage.tsdb.min-block-duration=2h --storage.tsdb.max-block-duration=2h"
    assert f'prometheus_cmdline_extras: "{wanted}"' in problems[0]
    assert check(look(prometheus__api__flags=EQUAL), uploading(), extras(wanted))["problems"] == []


def test_extras_are_nobodys_business_without_upload() -> None:
    assert check(look(), settings(), extras("--web.enable-lifecycle")) == {"problems": [], "pending": []}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "--storage.tsdb.min-block-duration=2h --storage.tsdb.max-block-duration=2h"),
        ("--a=1 --storage.tsdb.max-block-duration=24h --b 2", "--a=1 --b 2 --storage.tsdb.min-block-duration=2h --storage.tsdb.max-block-duration=2h"),
        ("--storage.tsdb.max-block-duration 24h --a", "--a --storage.tsdb.min-block-duration=2h --storage.tsdb.max-block-duration=2h"),
    ],
)
def test_block_durations_join_the_operators_flags(before: str, after: str) -> None:
    assert sidecar.with_block_durations(before) == after
    assert sidecar.with_block_durations(after) == after


def test_data_of_another_owner_or_without_volume_is_refused() -> None:
    assert "belongs to 1001:0" in check(look(prometheus__data_owner=[1001, 0]), uploading())["problems"][0]
    assert "on no volume" in check(look(prometheus__data_volume=""), uploading())["problems"][0]


# Remote write


def test_remote_write_is_pending_until_prometheus_has_it() -> None:
    given = writing()
    assert len(check(look(), given)["pending"]) == 1
    running = [{"name": sidecar.remote_write_name(given["remote_write_certificate"]), "url": given["remote_write_url"]}]
    assert check(look(prometheus__api__remote_writes=running), given) == {"problems": [], "pending": []}
    renewed = [{**running[0], "name": "scs-observer-00000000"}]
    assert len(check(look(prometheus__api__remote_writes=renewed), given)["pending"]) == 1
    assert len(check(look(prometheus__api__remote_writes=running), settings())["pending"]) == 1


WRITE_GIVEN: list[tuple[dict[str, t.Any], str]] = [
    ({"remote_write_url": "receive:19292"}, "osism_thanos_sidecar_remote_write_url 'receive:19292' is no https:// URL"),
    ({"remote_write_certificate": ""}, "osism_thanos_sidecar_remote_write_certificate is empty"),
    ({"remote_write_private_key": "x"}, "osism_thanos_sidecar_remote_write_private_key is no private key"),
    ({"remote_write_ca": "x"}, "osism_thanos_sidecar_remote_write_ca is no certificate"),
    ({"infrastructure": "other", "prometheus_label": "other"}, "osism_thanos_sidecar_remote_write_certificate is testbed's, and"),
    ({"manage_configuration": False}, "osism_thanos_sidecar_manage_configuration is false"),
]


@pytest.mark.parametrize(("given", "said"), WRITE_GIVEN, ids=[said for _given, said in WRITE_GIVEN])
def test_bad_remote_writes_are_named(given: dict[str, t.Any], said: str) -> None:
    changed = {**writing(), **given}
    problems = sidecar.preflight("manager", look(prometheus__api__external_labels={"infrastructure": changed["infrastructure"]}), {}, changed, ["prometheus"])[
        "problems"
    ]
    assert len(problems) == 1, problems
    assert said in problems[0]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"status": 400, "error": ""}, ""),
        ({"status": 0, "error": "certificate verify failed"}, "certificate verify failed"),
        ({"status": 404, "error": ""}, "answers HTTP 404"),
    ],
)
def test_a_receive_that_refuses_is_named(answer: dict[str, t.Any], said: str) -> None:
    problems = check({**look(), "remote_write": answer}, writing())["problems"]
    assert [said in text for text in problems] == ([True] if said else [])


# The Compose project


def test_the_project_holds_no_secret_and_tells_when_it_changed() -> None:
    given = uploading()
    text = json.dumps(sidecar.compose(given, look()))
    assert PASSWORD not in text
    assert "very-secret-key" not in text
    assert "PRIVATE KEY" not in text
    sums = {json.dumps(sidecar.compose(changed, look())["services"]["thanos_sidecar"]["labels"]) for changed in (given, {**given, "password": "x"}, settings())}
    assert len(sums) == 3
    assert sidecar.compose(given, look()) == sidecar.compose(copy.deepcopy(given), look())


def test_only_upload_mounts_the_volume_that_was_found() -> None:
    project = sidecar.compose(uploading(), look(prometheus__data_volume="prometheus_v2"))
    assert project["volumes"] == {"prometheus": {"external": True, "name": "prometheus_v2"}}
    assert "--tsdb.path=/var/lib/prometheus" in project["services"]["thanos_sidecar"]["command"]
    project = sidecar.compose(settings(), look())
    assert "volumes" not in project
    assert not any("objstore" in argument for argument in project["services"]["thanos_sidecar"]["command"])


def test_the_sidecar_listens_and_reads_at_its_own_host() -> None:
    service = sidecar.compose(settings(), look())["services"]["thanos_sidecar"]
    assert service["user"] == "42472:42472"
    assert service["pull_policy"] == "missing"
    assert service["network_mode"] == "host"
    assert {"--prometheus.url=http://192.168.16.5:9091", "--grpc-address=192.168.16.5:10901", "--http-address=127.0.0.1:10902"} <= set(service["command"])


# After the start


def started(given: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    leaf = x509.load_pem_x509_certificates(given["certificate"].encode())[0]
    fingerprint = hashlib.sha256(leaf.public_bytes(serialization.Encoding.DER)).hexdigest()
    facts = look()
    facts["sidecar"] |= {
        "found": True,
        "running": True,
        "project": "thanos_sidecar",
        "checksum": sidecar.compose(given, facts)["services"]["thanos_sidecar"]["labels"]["scs.observer.checksum"],
        "ready": {"status": 200, "error": ""},
        "prometheus_up": True,
        "upload_failures": 0,
        "grpc": {"reachable": True, "certificate_sha256": fingerprint, "refuses_strangers": True, "error": ""},
    }
    for path, value in more.items():
        *folders, name = path.split("__")
        functools.reduce(lambda at, key: at[key], folders, facts)[name] = value
    return facts


def test_a_sidecar_that_works_has_no_problem() -> None:
    given = settings()
    assert sidecar.unready(started(given), given) == []
    assert check(started(given), given) == {"problems": [], "pending": []}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"sidecar__running": False}, "does not run"),
        ({"sidecar__checksum": "other"}, "not the one that was configured"),
        ({"sidecar__ready": {"status": 503, "error": "HTTP 503"}}, "not ready (HTTP 503)"),
        ({"sidecar__prometheus_up": False}, "does not see Prometheus"),
        ({"sidecar__upload_failures": 2}, "2 uploads have failed"),
        ({"sidecar__grpc__reachable": False}, "can not be reached with TLS"),
        ({"sidecar__grpc__certificate_sha256": "0"}, "another certificate"),
        ({"sidecar__grpc__refuses_strangers": False}, "takes clients without a certificate"),
    ],
)
def test_a_sidecar_that_does_not_work_says_why(found: dict[str, t.Any], said: str) -> None:
    given = settings()
    problems = sidecar.unready(started(given, **found), given)
    assert len(problems) == 1
    assert said in problems[0]


def test_a_remote_write_works_when_samples_were_sent() -> None:
    given = writing()
    assert sidecar.unready(look(prometheus__api__remote_write_samples={"sent": 10.0, "failed": 0.0}), given) == []
    assert "has not sent" in sidecar.unready(look(), given)[0]
    assert "failed to send 3" in sidecar.unready(look(prometheus__api__remote_write_samples={"sent": 10.0, "failed": 3.0}), given)[0]


# as thanos v0.42.4 wrote it, its stack shortened
LOG = (
    'ts=2026-11-21T13:31:12.98Z caller=factory.go:39 level=info msg="loading bucket configuration"\n'
    'ts=2026-11-21T13:31:12.99Z caller=main.go:143 level=error err="%s\\ngithub.com/thanos-io/thanos/pkg/block.(*BaseFetcher).fetchMetadata\\n'
    '\\tgithub.com/thanos-io/thanos@v0.42.4/pkg/block/fetcher.go:593\\nmain.main\\n\\truntime/asm_amd64.s:1771"\n'
)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            LOG % 'Get \\"http://10.200.0.1:7071/observer/?location=\\": dial tcp: connect: connection refused\\nBaseFetcher: iter bucket',
            'Get "http://10.200.0.1:7071/observer/?location=": dial tcp: connect: connection refused; BaseFetcher: iter bucket',
        ),
        (
            LOG % "yaml: unmarshal errors:\\n  line 2: cannot unmarshal !!str `secret` into bool",
            "yaml: unmarshal errors:; line 2: cannot unmarshal !!str `...` into bool",
        ),
        ("level=error err=EOF\n", "EOF"),
        ("docker: permission denied\n", "docker: permission denied"),
        ("", "nothing is said"),
    ],
)
def test_the_error_of_thanos_is_read(log: str, said: str) -> None:
    assert sidecar.thanos_error(log) == said
