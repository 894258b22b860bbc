# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ast
import json
import pathlib
import socket
import typing as t

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _osism_host as host

TOP = pathlib.Path(__file__).parents[4]

KOLLA_COMMAND = (
    "/opt/prometheus/prometheus --web.config.file=/etc/prometheus/web.yml --config.file /etc/prometheus/prometheus.yml "
    "--web.listen-address 192.168.16.5:9091 --web.external-url=https://api-int.testbed.osism.xyz:9091/ --storage.tsdb.path /var/lib/prometheus"
)

# docker container inspect, shortened; what must not come out is in it
INSPECTED: dict[str, t.Any] = {
    "State": {"Running": True, "Restarting": False, "Status": "running"},
    "Config": {
        "Image": "registry.osism.tech/kolla/prometheus-server:2025.1",
        "Env": ["KOLLA_CONFIG_STRATEGY=COPY_ALWAYS", "TOKEN=very-secret"],
        "Cmd": ["kolla_start"],
        "Labels": {"kolla_version": "20.0.0"},
    },
    "HostConfig": {"NetworkMode": "host", "PortBindings": {}},
    "Args": ["--single-child", "--", "kolla_start"],
    "Mounts": [
        {"Type": "volume", "Name": "prometheus_server", "Source": "/var/lib/docker/volumes/prometheus_server/_data", "Destination": "/var/lib/prometheus"},
        {"Type": "bind", "Source": "/etc/kolla/prometheus-server", "Destination": "/var/lib/kolla/config_files"},
    ],
}

# as Prometheus 2.55.1 and 3.15.0 print it at /api/v1/status/config
CONFIG = """global:
  scrape_interval: 1m
  external_labels:
    infrastructure: testbed
    prometheus_replica: "1"
    region: 'it''s'
  scrape_protocols:
  - PrometheusText0.0.4
rule_files:
- /etc/prometheus/*.rules
scrape_configs:
- job_name: external_labels
  basic_auth:
    password: <secret>
remote_write:
- url: https://receive.example.com:19292/api/v1/receive
  remote_timeout: 30s
  name: scs-observer-0123abcd
  tls_config:
    ca_file: /etc/prometheus/extras/scs-observer/ca.crt
- url: http://other.example.com/write
  remote_timeout: 30s
"""


def test_it_runs_on_python_3_9() -> None:
    """It is sent to the host, and Ubuntu 22.04 has Python 3.10, Rocky 9 has 3.9."""
    for path in ("plugins/module_utils/_osism_host.py", "plugins/modules/osism_thanos_sidecar_info.py"):
        ast.parse((TOP / path).read_text(), feature_version=(3, 9))


@pytest.mark.parametrize(
    "command",
    [KOLLA_COMMAND, KOLLA_COMMAND.split()],
)
def test_flags_are_read_in_both_forms(command: str | list[str]) -> None:
    flags = host.read_flags(command)
    assert flags["web.listen-address"] == "192.168.16.5:9091"
    assert flags["web.config.file"] == "/etc/prometheus/web.yml"
    assert host.read_flags("prog --enable --storage.tsdb.min-block-duration=2h") == {"enable": "true", "storage.tsdb.min-block-duration": "2h"}


@pytest.mark.parametrize(
    ("flags", "url"),
    [
        ({"web.listen-address": "192.168.16.5:9091", "web.external-url": "https://api-int.testbed.osism.xyz:9091"}, "http://192.168.16.5:9091"),
        ({"web.listen-address": "0.0.0.0:9091", "web.external-url": "https://x/prom/"}, "http://127.0.0.1:9091/prom"),
        ({"web.listen-address": "[fd00::5]:9091", "web.external-url": "https://x/prom", "web.route-prefix": "/"}, "http://[fd00::5]:9091"),
        ({"web.listen-address": ":9091"}, "http://127.0.0.1:9091"),
        ({}, ""),
    ],
)
def test_the_url_is_the_hosts_own(flags: dict[str, str], url: str) -> None:
    assert host.prometheus_url(flags) == url


def test_a_container_is_described_without_secrets() -> None:
    facts = host.describe_container(INSPECTED)
    assert facts["data_volume"] == "prometheus_server"
    assert facts["kolla_config_path"] == "/etc/kolla/prometheus-server"
    assert facts["running"] is True
    assert "secret" not in json.dumps(facts)
    assert host.describe_container({**INSPECTED, "State": {"Running": True, "Restarting": True}})["running"] is False
    assert host.describe_container(None)["found"] is False


def test_data_on_a_bound_folder_is_no_volume() -> None:
    facts = host.describe_container({**INSPECTED, "Mounts": [{"Type": "bind", "Source": "/data", "Destination": "/var/lib/prometheus"}]})
    assert (facts["data_volume"], facts["data_path"]) == ("", "/data")


def test_ports_of_the_old_role_and_of_this_one() -> None:
    old = {
        "HostConfig": {"NetworkMode": "thanos_sidecar_default", "PortBindings": {"10901/tcp": [{"HostIp": "192.168.16.5", "HostPort": "10901"}]}},
        "Args": [],
    }
    assert host.listening_ports(old) == [10901]
    new = {"HostConfig": {"NetworkMode": "host"}, "Args": ["sidecar", "--grpc-address=192.168.16.5:10911", "--http-address=[::1]:10912"]}
    assert host.listening_ports(new) == [10911, 10912]


def test_labels_and_remote_writes_are_read() -> None:
    assert host.external_labels(CONFIG) == {"infrastructure": "testbed", "prometheus_replica": "1", "region": "it's"}
    assert host.external_labels("global:\n  scrape_interval: 1m\nscrape_configs:\n- job_name: a\n") == {}
    assert host.remote_writes(CONFIG) == [
        {"name": "scs-observer-0123abcd", "url": "https://receive.example.com:19292/api/v1/receive"},
        {"name": "", "url": "http://other.example.com/write"},
    ]


def test_samples_are_read() -> None:
    text = '# HELP a b\na 1\nab 2\na{x="1"} 3e+06\n'
    assert host.samples(text, "a") == {"": 1, 'x="1"': 3e6}


def test_definitions_come_without_what_stands_beside_them() -> None:
    text = (
        "---\nprometheus_password: very-secret\nprometheus_cmdline_extras: >-\n  --storage.tsdb.retention.time=15d\n\n  --web.enable-lifecycle\n"
        "# a comment\nother: very-secret\n'prometheus_external_labels':\n  infrastructure: testbed\nlast: very-secret\n"
    )
    found = host.variable_definitions(text, host.WATCHED_VARIABLES)
    assert set(found) == {"prometheus_cmdline_extras", "prometheus_external_labels"}
    assert "very-secret" not in "".join(found.values())
    assert "--web.enable-lifecycle" in found["prometheus_cmdline_extras"]


def test_the_configuration_is_looked_at(tmp_path: pathlib.Path) -> None:
    (tmp_path / "environments/kolla").mkdir(parents=True)
    (tmp_path / "environments/kolla/configuration.yml").write_text("prometheus_cmdline_extras: --web.enable-lifecycle\n")
    (tmp_path / "environments/kolla/secrets.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n3132\n")
    (tmp_path / "inventory/group_vars/prometheus").mkdir(parents=True)
    own = "inventory/group_vars/prometheus/scs-observer.yml"
    (tmp_path / own).write_text("prometheus_cmdline_extras: ours\n")
    facts = host.look_at_configuration(str(tmp_path), [own, "environments/kolla/files/overlays/a.yml"])
    assert facts["found"] is True
    assert [entry["path"] for entry in facts["definitions"]] == ["environments/kolla/configuration.yml"]
    assert facts["own"] == {own: "prometheus_cmdline_extras: ours\n"}
    assert facts["missing_folders"] == ["environments/kolla/files", "environments/kolla/files/overlays"]
    assert host.look_at_configuration(str(tmp_path / "none"), [])["found"] is False


def test_a_port_that_is_taken_is_seen() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert host.is_port_taken("127.0.0.1", port)
    assert not host.is_port_taken("127.0.0.1", port)


def test_own_addresses_are_known() -> None:
    assert host.is_own_address("127.0.0.1")
    assert not host.is_own_address("192.0.2.1")
    assert not host.is_own_address("no.such.host.invalid")


def test_a_machine_without_docker_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.shutil, "which", lambda program: "/usr/bin/podman" if program == "podman" else None)
    facts = host.look_at_engine(lambda _command: (127, "", ""))
    assert (facts["docker"], facts["podman"], facts["error"]) == (False, True, "there is no program docker")


def test_a_docker_that_does_not_answer_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.shutil, "which", lambda _program: "/usr/bin/docker")
    facts = host.look_at_engine(lambda _command: (1, "", "a warning\nCannot connect to the Docker daemon at unix:///var/run/docker.sock.\n"))
    assert facts["error"] == "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."
