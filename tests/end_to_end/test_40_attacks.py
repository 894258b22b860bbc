# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a customer's administrator can try who owns a KaaS cluster and so its agent's certificate, and what anybody can try who has none.

Every attack has its counterpart that succeeds with the right certificate, so that a refusal means what it seems to mean.
"""

from __future__ import annotations

import json
import pathlib
import socket
import ssl
import time
import typing as t

import cramjam
import grpc
import pytest
from _remote_write import (
    Answer,
    Identity,
    Writer,
    agent_of,
    grpc_call,
    inside_of,
    load_authority,
    make_authority,
    now,
    series_request,
    store_write_request,
    write_message,
)

OBSERVER, ALPHA, BETA = "test-observer", "test-alpha", "test-beta"
# a customer that sends too much; the inventory sets its limit
FLOOD = "test-flood"
INSIDE = "inside.observer.svc"
GRPC_COMPONENTS = ["prometheus", "thanos-receive", "thanos-store", "thanos-query", "thanos-ruler"]
RESERVED_LABELS = ["cluster", "infrastructure", "observer", "receive_replica", "prometheus_replica", "ruler_replica"]
# of this session, for another one's series may still be there
RUN = str(now())


@pytest.fixture(scope="module", autouse=True)
def _cut(outage: t.Any) -> None:
    """test-beta is away for ten minutes from here on; an attacker must not be able to use that."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("attacks")


@pytest.fixture(scope="module")
def agent(lab: t.Any, kaas: t.Any) -> Identity:
    """The attacker's: the certificate of test-alpha's agent."""
    return agent_of(lab, ALPHA)


@pytest.fixture(scope="module")
def inside(lab: t.Any, kaas: t.Any) -> Identity:
    return inside_of(lab)


@pytest.fixture(scope="module")
def writer(lab: t.Any, agent: Identity) -> Writer:
    return Writer(lab.receive_url, agent)


def mine(suffix: str, /, **labels: str) -> dict[str, str]:
    return {"__name__": f"end_to_end_{suffix}", "run": RUN, **labels}


def stored(lab: t.Any, name: str, number: int) -> list[dict[str, str]]:
    """The labels of so many series of this session, without name and run; waits for them and for none more."""
    selector = f'last_over_time(end_to_end_{name}{{run="{RUN}"}}[10m])'
    found = lab.wait_until(lambda: [series for series in [lab.query(selector)] if len(series) == number], 30, f"{number} series of {selector}")
    return sorted(({key: value for key, value in one["metric"].items() if key not in ("__name__", "run")} for one in found[0]), key=str)


def refused(writer: Writer, name: str, alert: str) -> None:
    """The attack ends without an answer, and the TLS server says why."""
    try:
        answer = writer.write_now((mine(name), 1))
    except OSError:
        # of a client that was already sending, the alert may be lost: so it is asked for below
        assert alert in writer.alert()
    else:
        raise AssertionError(f"expected no connection, got {answer}")


def pods(lab: t.Any, component: str) -> list[str]:
    """Addresses"""
    found = [pod["status"]["podIP"] for pod in lab.get(OBSERVER, "pods", "-n", "observer", "-l", f"app.kubernetes.io/name={component}")]
    assert found, f"there is no pod of {component}"
    return found


# -- at the door ------------------------------------------------------------
def test_agents_certificate_is_taken(lab: t.Any, writer: Writer) -> None:
    assert writer.alert() == ""
    assert writer.write_now((mine("control"), 1)) == Answer(200, "")
    assert stored(lab, "control", 1) == [{"cluster": ALPHA}]


def test_no_certificate(lab: t.Any, writer: Writer, agent: Identity) -> None:
    refused(Writer(lab.receive_url, agent.without_certificate()), "no_certificate", "certificate required")


@pytest.mark.parametrize("kind", ["of another authority of the same name", "self-signed", "of the inside", "that has ended", "that is not valid yet"])
def test_wrong_certificate(lab: t.Any, agent: Identity, inside: Identity, folder: pathlib.Path, kind: str) -> None:
    ours = load_authority(lab.get(OBSERVER, "secret", "agents-ca", "-n", "observer"))
    where = folder / kind.replace(" ", "-")
    identity = {
        "of another authority of the same name": lambda: agent.signed_by(where, ALPHA, make_authority(ours[0].subject.rfc4514_string().removeprefix("CN="))),
        "self-signed": lambda: agent.signed_by(where, ALPHA, make_authority(ALPHA)),
        "of the inside": lambda: Identity(agent.authority, inside.certificate, inside.key),
        "that has ended": lambda: agent.signed_by(where, ALPHA, ours, begin=-7200, end=-3600),
        "that is not valid yet": lambda: agent.signed_by(where, ALPHA, ours, begin=3600, end=7200),
    }[kind]()
    refused(Writer(lab.receive_url, identity), "wrong_certificate", "expired" if kind.startswith("that") else "unknown ca")
    assert lab.query(f'end_to_end_wrong_certificate{{run="{RUN}"}}') == []


def test_valid_certificate_of_the_same_making_is_taken(lab: t.Any, agent: Identity, folder: pathlib.Path) -> None:
    """What the wrong ones are measured by: made in the same way, but by the right authority and for now."""
    ours = load_authority(lab.get(OBSERVER, "secret", "agents-ca", "-n", "observer"))
    assert Writer(lab.receive_url, agent.signed_by(folder / "right", ALPHA, ours)).write_now((mine("right_certificate"), 1)).status == 200
    assert stored(lab, "right_certificate", 1) == [{"cluster": ALPHA}]


def test_tls_before_1_3(lab: t.Any, agent: Identity, writer: Writer) -> None:
    refused(Writer(lab.receive_url, agent, maximum_version=ssl.TLSVersion.TLSv1_2), "tls", "protocol version")
    assert Writer(lab.receive_url, agent, maximum_version=ssl.TLSVersion.TLSv1_3).write_now((mine("tls"), 1)).status == 200


def test_plain_http(lab: t.Any) -> None:
    host, _colon, port = lab.receive_url.removeprefix("https://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"POST /api/v1/receive HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert b" 400 " in connection.recv(200).split(b"\r\n")[0]


# -- another cluster's name -------------------------------------------------
def test_another_clusters_name(lab: t.Any, outage: t.Any, writer: Writer) -> None:
    victim = "last_over_time(prometheus_build_info{cluster=%s}[30m])"
    before = lab.query(victim % f'"{BETA}"', at=outage.began)
    assert len(before) == 1 and before[0]["value"][1] == "1", f"the victim's own series is not as expected: {before}"
    labels = before[0]["metric"]
    headers = {"THANOS-TENANT": BETA, "X-Scope-OrgID": BETA, "X-Tenant": BETA}
    # exactly the victim's series, and one with a name of ours
    assert writer.write_now((labels, 666), (mine("identity", cluster=BETA), 666), headers=headers).status == 200
    assert stored(lab, "identity", 1) == [{"cluster": ALPHA, "exported_cluster": BETA}]
    forged = lab.query('last_over_time(prometheus_build_info{exported_cluster!=""}[10m])')
    assert [(one["metric"]["cluster"], one["metric"]["exported_cluster"], one["value"][1]) for one in forged] == [(ALPHA, BETA, "666")]
    now_there = lab.query(f'max_over_time(prometheus_build_info{{cluster="{BETA}"}}[30m])')
    assert [one["value"][1] for one in now_there] == ["1"], f"the victim's series changed: {now_there}"


def test_dead_cluster_can_not_be_shown_alive(lab: t.Any, outage: t.Any, writer: Writer) -> None:
    """The alert for test-beta, which is cut off, comes in test_70 in spite of this."""
    forged = {"__name__": "up", "job": "prometheus-agent", "instance": "forged", "run": RUN, "cluster": BETA}
    assert writer.write_now((forged, 1), headers={"THANOS-TENANT": BETA}).status == 200
    lab.wait_until(lambda: lab.query(f'up{{run="{RUN}",cluster="{ALPHA}"}}'), 20, "the forged up, under the certificate's name")
    assert lab.query(f'last_over_time(up{{run="{RUN}",cluster="{BETA}"}}[10m])') == []


# -- names and labels that only the Observer may give -----------------------
def test_reserved_labels_are_renamed(lab: t.Any, writer: Writer) -> None:
    assert writer.write_now((mine("reserved", **dict.fromkeys(RESERVED_LABELS, "forged")), 1)).status == 200
    assert stored(lab, "reserved", 1) == [{"cluster": ALPHA, **{f"exported_{name}": "forged" for name in RESERVED_LABELS}}]


def test_series_are_not_merged(lab: t.Any, writer: Writer) -> None:
    """Two series that differ in such a label only stay two: 1 + 2 = 3. A replica label that Query knew would make one of them."""
    for name in RESERVED_LABELS:
        assert writer.write_now((mine("merge", of=name, **{name: "a"}), 1), (mine("merge", of=name, **{name: "b"}), 2)).status == 200
    stored(lab, "merge", 2 * len(RESERVED_LABELS))
    sums = lab.query(f'sum by (of) (last_over_time(end_to_end_merge{{run="{RUN}"}}[10m]))')
    assert {one["metric"]["of"]: one["value"][1] for one in sums} == dict.fromkeys(RESERVED_LABELS, "3")


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("kaas", {}),
        ("kaas", {"cluster": "end-to-end-ghost"}),
        ("kaas_cluster_info", {"customer": "forged"}),
        ("cluster:kaas_state:info", {"state": "up"}),
        ("cluster:kaas_registered:timestamp_seconds", {}),
        ("ALERTS", {"alertname": "Watchdog", "alertstate": "firing"}),
        ("ALERTS_FOR_STATE", {"alertname": "KaaSClusterDown"}),
        ("probe_success", {"job": "blackbox-http"}),
    ],
)
def test_reserved_names_are_dropped(lab: t.Any, writer: Writer, name: str, labels: dict[str, str]) -> None:
    accompanied = mine("accompanies", name=name, labels=str(len(labels)))
    assert writer.write_now(({"__name__": name, "run": RUN, **labels}, 1), (accompanied, 1)).status == 200
    lab.wait_until(lambda: lab.query(f'end_to_end_accompanies{{run="{RUN}",name="{name}",labels="{len(labels)}"}}'), 20, "the series of the same request")
    assert lab.query(f'last_over_time({name}{{run="{RUN}"}}[10m])') == []
    assert lab.query(f'last_over_time({name}{{observer=""}}[10m])') == [], f"a {name} that is not the Observer's"


@pytest.mark.parametrize(
    "labels",
    [
        [("cluster", "x"), ("__name__", "kaas")],
        [("zone", "x"), ("observer", "x"), ("__name__", "ALERTS")],
        [("__name__", "end_to_end_double"), ("__name__", "kaas")],
        [("__name__", "end_to_end_double"), ("cluster", "x"), ("__name__", "kaas")],
        [("__name__", "kaas"), ("empty", "")],
    ],
    ids=["name last", "name last of three", "two names", "two names apart", "empty label"],
)
def test_reserved_names_in_malformed_series(lab: t.Any, writer: Writer, labels: list[tuple[str, str]]) -> None:
    """A relabelling that stops reading where labels are out of order would not see the name."""
    writer.write([([*labels[:-1], ("run", RUN), labels[-1]], [(1.0, now())])])
    writer.write([(labels, [(1.0, now())])])
    # a later request that is seen means that the earlier ones are done with
    marker = f"malformed_{now()}"
    assert writer.write_now((mine(marker), 1)).status == 200
    stored(lab, marker, 1)
    for name in ("kaas", "ALERTS", "end_to_end_double"):
        assert lab.query(f'last_over_time({name}{{observer=""}}[10m])') == []


def test_reserved_names_and_labels_by_otlp(lab: t.Any, writer: Writer) -> None:
    """Receive takes OpenTelemetry at the same port."""
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in {"run": RUN, **dict.fromkeys(RESERVED_LABELS, "forged")}.items()]
    point = {"asDouble": 1, "timeUnixNano": str(time.time_ns()), "attributes": attributes}
    metrics = [{"name": name, "gauge": {"dataPoints": [point]}} for name in ("end_to_end_otlp", "kaas", "ALERTS")]
    body = {"resourceMetrics": [{"resource": {"attributes": []}, "scopeMetrics": [{"metrics": metrics}]}]}
    answer = writer.request("POST", "/api/v1/otlp", json.dumps(body).encode(), {"Content-Type": "application/json", "THANOS-TENANT": BETA})
    assert answer.status == 200, answer
    assert stored(lab, "otlp", 1) == [{"cluster": ALPHA, **{f"exported_{name}": "forged" for name in RESERVED_LABELS}}]
    for name in ("kaas", "ALERTS"):
        assert lab.query(f'last_over_time({name}{{run="{RUN}"}}[10m])') == []


# -- other ports ------------------------------------------------------------
def test_grpc_is_where_it_is_expected(lab: t.Any, kaas: t.Any) -> None:
    found = {
        pod["metadata"]["labels"]["app.kubernetes.io/name"]
        for pod in lab.get(OBSERVER, "pods", "-n", "observer")
        for container in pod["spec"]["containers"]
        for port in container.get("ports", [])
        if port["name"] == "grpc"
    }
    assert found == set(GRPC_COMPONENTS)


@pytest.mark.parametrize("component", GRPC_COMPONENTS)
def test_grpc_refuses_agents(lab: t.Any, agent: Identity, inside: Identity, component: str) -> None:
    """Reading: what is there, and the samples of another cluster."""
    series = series_request({"cluster": BETA, "__name__": "up"}, now() - 3_600_000, now())
    for address in pods(lab, component):
        target = f"{address}:10901"
        right = grpc_call(target, "/thanos.info.Info/Info", b"", inside, server_name=INSIDE)
        assert right.code == grpc.StatusCode.OK and right.messages[0], f"the inside's own certificate is refused: {right}"
        # the same authority to verify the server, or it would be the client that refuses
        forged = Identity(inside.authority, agent.certificate, agent.key)
        for identity in (forged, inside.without_certificate(), None):
            for method, request, streams in (("/thanos.info.Info/Info", b"", False), ("/thanos.Store/Series", series, True)):
                answer = grpc_call(target, method, request, identity, server_name=INSIDE, streams=streams)
                assert answer.code == grpc.StatusCode.UNAVAILABLE and answer.messages == [], f"{component} at {target} answered {method}: {answer}"


def test_grpc_of_receive_refuses_writes_and_reads_of_agents(lab: t.Any, agent: Identity, inside: Identity) -> None:
    """It takes any tenant's name from who may come in: nobody but the inside may."""
    forged = Identity(inside.authority, agent.certificate, agent.key)
    for number, address in enumerate(pods(lab, "thanos-receive")):
        target = f"{address}:10901"
        for name, identity in (("grpc_attack", forged), ("grpc_control", inside)):
            request = store_write_request(ALPHA, [(mine(name, pod=str(number)), [(1.0, now())])])
            answer = grpc_call(target, "/thanos.WriteableStore/RemoteWrite", request, identity, server_name=INSIDE)
            assert answer.code == (grpc.StatusCode.OK if identity is inside else grpc.StatusCode.UNAVAILABLE), f"{target}, {name}: {answer}"
        question = series_request({"cluster": ALPHA, "__name__": "up"}, now() - 600_000, now())
        series = grpc_call(target, "/thanos.Store/Series", question, inside, server_name=INSIDE, streams=True)
        assert len(series.messages) > 10 and any(b"prometheus-agent" in message for message in series.messages), f"the inside's certificate reads {series}"
    assert len(stored(lab, "grpc_control", 3)) == 3
    assert lab.query(f'last_over_time(end_to_end_grpc_attack{{run="{RUN}"}}[10m])') == []


def test_receive_has_no_other_port(lab: t.Any, kaas: t.Any) -> None:
    """Above all not 19391, Cap'n Proto, which has no TLS and takes any tenant's name."""
    expected = {10901, 10902, 19291}
    addresses = pods(lab, "thanos-receive")
    for address in addresses:
        assert not is_open(address, 19391), f"Cap'n Proto can be reached at {address}"
    found = {port for port in range(1, 65536) if is_open(addresses[0], port)}
    assert found == expected, f"open ports of a Receive's pod: {sorted(found)}"


def is_open(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((address, port)) == 0


def test_pages_can_not_be_reached_from_outside(lab: t.Any, kaas: t.Any) -> None:
    services = {f"{item['metadata']['namespace']}/{item['metadata']['name']}": item["spec"] for item in lab.get(OBSERVER, "services", "-A")}
    for name in ("thanos-query", "thanos-query-frontend", "prometheus", "alertmanager", "thanos-ruler", "thanos-bucket-web", "thanos-compact", "thanos-store"):
        assert services[f"observer/{name}"]["type"] == "ClusterIP"
    open_services = {name for name, spec in services.items() if spec["type"] != "ClusterIP" or spec.get("externalIPs")}
    assert open_services == {"observer/thanos-receive-remote-write"}
    assert [port["port"] for port in services["observer/thanos-receive-remote-write"]["ports"]] == [19291]
    for pod in lab.get(OBSERVER, "pods", "-n", "observer"):
        name, spec = pod["metadata"]["name"], pod["spec"]
        assert not spec.get("hostNetwork"), f"{name} is in the node's network"
        assert not [port for container in spec["containers"] for port in container.get("ports", []) if port.get("hostPort")], f"{name} has a port of the node"
    assert lab.get(OBSERVER, "ingresses", "-A") == []
    node = lab.address(OBSERVER)
    assert is_open(node, 30291)
    assert [port for port in (3000, 8080, 9090, 9093, 9094, 9115, 10901, 10902, 19291, 19391) if is_open(node, port)] == []


@pytest.mark.parametrize(
    "path", ["/metrics", "/debug/pprof/", "/debug/pprof/cmdline", "/api/v1/query?query=up", "/api/v1/read", "/api/v1/series", "/-/reload", "/-/quit"]
)
def test_receives_port_for_agents_has_no_page(writer: Writer, path: str) -> None:
    for method in ("GET", "POST"):
        assert writer.request(method, path).status in (404, 405)


@pytest.mark.xfail(
    strict=True, reason="Thanos 0.42 serves statistics of all tenants at the remote-write port of a Receive that stores; a router alone would not"
)
@pytest.mark.parametrize("question", ["header", "all"])
def test_statistics_of_other_clusters(writer: Writer, question: str) -> None:
    parameters, headers = ("", {"THANOS-TENANT": BETA}) if question == "header" else ("?all_tenants=true", {})
    answer = writer.request("GET", f"/api/v1/status/tsdb{parameters}", headers=headers)
    assert answer.status == 404 or BETA not in answer.text


# -- too much ---------------------------------------------------------------
def test_request_beyond_a_limit(lab: t.Any, writer: Writer) -> None:
    when = now()
    over_size = [(mine("limit", text="x" * 5_300_000), [(1.0, when)])]
    over_series = [(mine("limit", number=str(number)), [(1.0, when)]) for number in range(10_001)]
    over_samples = [(mine("limit"), [(1.0, when - 20_001 + number) for number in range(20_001)])]
    for what, series, message in (
        ("size", over_size, "write request too large"),
        ("series", over_series, "too many timeseries"),
        ("samples", over_samples, "too many samples"),
    ):
        assert writer.write(series) == Answer(413, message), f"limit of {what}"
    # as many as an agent sends at once
    assert writer.write([(mine("within", number=str(number % 4)), [(1.0, when - number)]) for number in range(2000)]).status in (200, 409)
    stored(lab, "within", 4)
    assert lab.query(f'last_over_time(end_to_end_limit{{run="{RUN}"}}[10m])') == []


def test_garbage_does_no_harm(lab: t.Any, writer: Writer) -> None:
    before = lab.get(OBSERVER, "pods", "-n", "observer", "-l", "app.kubernetes.io/name=thanos-receive")
    for body in (
        b"",
        b"garbage",
        bytes(cramjam.snappy.compress_raw(b"\xff" * 1000)),
        bytes(cramjam.snappy.compress_raw(write_message([(mine("cut"), [])])))[:-3],
    ):
        answer = writer.send(body)
        assert answer.status in (200, 400), answer
    assert writer.write([({"run": RUN}, [(1.0, now())])]).status in (200, 400, 409)
    after = lab.get(OBSERVER, "pods", "-n", "observer", "-l", "app.kubernetes.io/name=thanos-receive")
    for one, other in zip(before, after, strict=True):
        assert one["status"]["containerStatuses"][0]["restartCount"] == other["status"]["containerStatuses"][0]["restartCount"]


def test_more_series_than_a_cluster_may_have(lab: t.Any, agent: Identity, writer: Writer, folder: pathlib.Path) -> None:
    """429 for the cluster that has too many; the others' data keep flowing. It takes some seconds, for a Receive asks Prometheus how many there are."""
    ours = load_authority(lab.get(OBSERVER, "secret", "agents-ca", "-n", "observer"))
    flood = Writer(lab.receive_url, agent.signed_by(folder / "flood", FLOOD, ours))
    begin = time.time()
    first = flood.write([(mine("flood", number=str(number)), [(1.0, now())]) for number in range(800)])
    # of an earlier session: still above
    assert first.status in (200, 429), first

    def all_refuse() -> bool:
        # each connection may meet another receive
        return all(flood.write_now((mine("flood", number="0"), 2)) == Answer(429, "tenant is above active series limit") for _attempt in range(12))

    lab.wait_until(all_refuse, 90, "every Receive refusing the cluster that is above its limit")
    lab.figures["head series limit felt by all receives, seconds"] = round(time.time() - begin, 1)
    for _attempt in range(12):
        assert flood.write_now((mine("flood_later"), 1)).status == 429
        assert writer.write_now((mine("beside_flood"), 1)).status == 200
    assert stored(lab, "beside_flood", 1) == [{"cluster": ALPHA}]
    assert lab.query(f'last_over_time(end_to_end_flood_later{{run="{RUN}"}}[10m])') == []
    # in a later session it is above its limit from the first request on, so some seconds before are looked at too
    seconds = int(time.time() - begin) + 20
    lab.wait_until(
        lambda: (lab.value(f'count_over_time(up{{cluster="{ALPHA}",job="prometheus-agent",run=""}}[{seconds}s])') or 0) >= seconds / 5 - 2,
        30,
        "all samples of the other cluster's agent of that time",
    )
