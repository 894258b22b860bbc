# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What infrastructures make of the role's objects, rendered without a cluster: one host each. Bad input is in test_templates.py."""

from __future__ import annotations

import json
import pathlib
import typing as t

import _rendering
import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[4]
ROLE = ROOT / "roles" / "observer"
TESTBED = {"name": "testbed", "endpoints": ["192.0.2.5:10901", "[2001:db8::5]:10901", "monitoring.example.com:10901"], "alerts": True}
WEST = {"name": "west", "endpoints": ["west.example.com:10901"], "mode": "sidecar"}
HIDDEN = {"name": "hidden", "mode": "remote_write"}
# by host: the list, and the one of the run before it; none: the first run
CASES: dict[str, tuple[list[dict[str, t.Any]], list[dict[str, t.Any]] | None]] = {
    "none": ([], None),
    "every": ([TESTBED, WEST, HIDDEN], None),
    "same": ([TESTBED], [TESTBED]),
    "added": ([TESTBED, WEST, HIDDEN], [TESTBED]),
    "removed": ([], [TESTBED]),
    "moved": ([WEST | {"name": "east"}], [WEST]),
}
PLAYBOOK = """
- hosts: all
  gather_facts: false
  vars:
    made: "{{ lookup('ansible.builtin.template', role_path ~ '/templates/thanos_query.yml.j2') }}"
  tasks:
    - ansible.builtin.set_fact:
        __observer_query_read: {resources: []}
        wanted: "{{ observer_infrastructures }}"
        observer_infrastructures: "{{ last or observer_infrastructures }}"
    - ansible.builtin.set_fact:
        first: "{{ made | from_yaml_all | selectattr('kind', 'defined') | selectattr('kind', 'equalto', 'ConfigMap') | list }}"
    - ansible.builtin.set_fact:
        __observer_query_read: "{{ {'resources': first if last is not none else []} }}"
        observer_infrastructures: "{{ wanted }}"
    - ansible.builtin.set_fact:
        result:
          first: "{{ first }}"
          query: "{{ made }}"
          receive: "{{ lookup('ansible.builtin.template', role_path ~ '/templates/thanos_receive_infrastructures.yml.j2') }}"
          requests: "{{ lookup('ansible.builtin.template', role_path ~ '/templates/_infrastructure_requests.yml.j2') | from_yaml }}"
          templates: "{{ __observer_templates }}"
          server: "{{ __observer_receive_request }}"
    - ansible.builtin.copy:
        dest: "{{ folder }}/results.json"
        content: "{{ dict(ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, 'result'))) | to_json }}"
      run_once: true
"""


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, t.Any]]:
    folder = tmp_path_factory.mktemp("infrastructures")
    authorities = {name: {"certificate": f"{name} certificate"} for name in ("agents-ca", "inside-ca", "infrastructures-ca")}
    given = {
        "observer_infrastructures_directory": str(folder / "vars"),
        "observer_receive_public_url": "https://receive.example.com:19291",
        "observer_receive_infrastructures_public_url": "https://write.example.com:19291",
        "observer_s3_endpoint": "https://s3.example.com",
        "__observer_read": {"resources": []},
        "__observer_certificates": {"authorities": authorities},
    }
    # what an earlier run wrote
    (folder / "vars").mkdir()
    written = {"osism_thanos_sidecar_grpc_certificate": "a certificate", "osism_thanos_sidecar_grpc_private_key": "its key"}
    (folder / "vars" / "west.yml").write_text(yaml.safe_dump(written))
    hosts = {name: {"observer_infrastructures": wanted, "last": last} for name, (wanted, last) in CASES.items()}
    _rendering.play(folder, {"all": {"vars": _rendering.variables(folder, **given), "hosts": hosts}}, PLAYBOOK, forks=2)
    return json.loads((folder / "results.json").read_text())


def one(text: str, kind: str) -> dict[str, t.Any]:
    (found,) = [item for item in yaml.safe_load_all(text) if item and item["kind"] == kind]
    return found


def settings(rendered: dict[str, dict[str, t.Any]], case: str) -> tuple[str, str]:
    """What makes new pods of Query: before, and now."""
    (before,) = rendered[case]["first"]
    now = one(rendered[case]["query"], "Deployment")["spec"]["template"]["metadata"]["annotations"]["scs.observer/settings"]
    assert one(rendered[case]["query"], "ConfigMap")["metadata"]["annotations"]["scs.observer/settings"] == now, "the next run reads it there"
    return before["metadata"]["annotations"]["scs.observer/settings"], now


@pytest.mark.parametrize("case", ["same", "added", "removed"])
def test_query_is_not_started_again(rendered: dict[str, dict[str, t.Any]], case: str) -> None:
    before, now = settings(rendered, case)
    assert before == now
    assert (one(rendered[case]["query"], "ConfigMap")["data"] == rendered[case]["first"][0]["data"]) is (case == "same"), "the list is another one"


def test_query_is_started_again_for_other_settings_of_an_address(rendered: dict[str, dict[str, t.Any]]) -> None:
    before, now = settings(rendered, "moved")
    assert before != now


def test_each_sidecar_has_to_show_its_own_name(rendered: dict[str, dict[str, t.Any]]) -> None:
    config = yaml.safe_load(one(rendered["every"]["query"], "ConfigMap")["data"]["endpoints.yml"])
    found = {endpoint["address"]: endpoint.get("client_config") for endpoint in config["endpoints"] if "client_config" in endpoint}
    names = {address: f"{each['name']}.infrastructure" for each in (TESTBED, WEST) for address in each["endpoints"]}
    assert {address: client["server_name"] for address, client in found.items()} == names
    for client in found.values():
        assert client["tls_config"] == {
            "enabled": True,
            "ca_file": "/etc/observer/infrastructures/ca.crt",
            "cert_file": "/etc/observer/inside/tls.crt",
            "key_file": "/etc/observer/inside/tls.key",
            "min_version": "1.3",
        }
    # the Receive's own pods too
    assert "thanos-receive-infrastructures-0.thanos-receive-infrastructures.observer.svc:10901" in {each["address"] for each in config["endpoints"]}


def test_their_receive_is_there_only_with_one_that_writes(rendered: dict[str, dict[str, t.Any]]) -> None:
    assert {case for case, result in rendered.items() if "thanos_receive_infrastructures" in result["templates"]} == {"added", "every"}
    names = [name for name in rendered["every"]["server"]["dns_names"] if name not in rendered["none"]["server"]["dns_names"]]
    assert names == ["write.example.com", "thanos-receive-infrastructures-remote-write.observer.svc"], "the server's certificate holds for it"


def test_their_receive_believes_the_certificate_alone(rendered: dict[str, dict[str, t.Any]]) -> None:
    text = rendered["every"]["receive"]
    spec = one(text, "StatefulSet")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert {
        "--remote-write.server-tls-client-ca=/etc/observer/infrastructures/ca.crt",
        "--receive.tenant-certificate-field=commonName",
        "--receive.tenant-label-name=infrastructure",
        "--receive.capnproto-address=127.0.0.1:19391",
        "--receive.local-endpoint=$(POD_NAME).thanos-receive-infrastructures.observer.svc:10901",
    } <= set(container["args"])
    config = one(text, "ConfigMap")["data"]
    (ring,) = json.loads(config["hashrings.json"])
    assert ring["tenants"] == ["hidden"], "who is no more in the list writes no more"
    drop, rename, remove = yaml.safe_load(config["relabel.yml"])
    assert drop["regex"].split("|") == ["(cluster:)?kaas(_.+)?", "observer:.+", "ALERTS_FOR_STATE"]
    assert set(remove["regex"].split("|")) == {"cluster", "infrastructure", "observer", "receive_replica", "ruler_replica"}
    assert rename["regex"] == f"({remove['regex']})"
    assert "agents" not in json.dumps(spec["volumes"])


def test_certificates_are_for_one_use(rendered: dict[str, dict[str, t.Any]]) -> None:
    testbed, west, hidden = rendered["every"]["requests"]
    assert {request["authority"] for request in (testbed, west, hidden)} == {"infrastructures-ca"}
    assert (testbed["usages"], testbed["common_name"]) == (["server"], "testbed")
    assert testbed["dns_names"] == ["monitoring.example.com", "testbed.infrastructure"]
    assert testbed["ip_addresses"] == ["192.0.2.5", "2001:db8::5"]
    assert (testbed["certificate"], testbed["private_key"]) == ("", "")
    assert (west["certificate"], west["private_key"]) == ("a certificate", "its key"), "what an earlier run wrote"
    assert (hidden["usages"], hidden["common_name"], hidden["dns_names"], hidden["ip_addresses"]) == (["client"], "hidden", [], [])
    assert rendered["none"]["requests"] == []
