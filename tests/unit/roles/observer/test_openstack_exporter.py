# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The OpenStack exporters of the role observer: what is written for them, and what is refused. One run of Ansible, one host for each variant."""

from __future__ import annotations

import base64
import json
import pathlib
import subprocess
import typing as t

import _rendering
import pytest
import yaml
from _programs import find_program

ROOT = pathlib.Path(__file__).parents[4]
ROLE = ROOT / "roles" / "observer"
SECRET = "credential-secret-0461"
PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"


def cloud(**changes: t.Any) -> dict[str, t.Any]:
    return {"auth_url": "https://api.example.com:5000/v3", "application_credential_id": "c0ffee", "application_credential_secret": SECRET, **changes}


def exporters(**changes: t.Any) -> dict[str, t.Any]:
    return {"observer_openstack_exporters": [{"infrastructure": "testbed", "cloud": cloud(), **changes}]}


VARIANTS: dict[str, dict[str, t.Any]] = {
    "none": {},
    "one": exporters(),
    "two": {
        "observer_openstack_exporters": [
            {"infrastructure": "testbed", "cloud": cloud(region_name="RegionOne", ca_certificate=PEM), "interval": 60, "slow_metrics": True},
            {"infrastructure": "other", "cloud": cloud(), "services": ["compute", "load-balancer"], "interface": "internal"},
        ],
        "observer_image_prefix": "registry.example.com/m",
        "observer_https_proxy": "http://proxy.example.com:3128",
    },
}
BAD: dict[str, tuple[dict[str, t.Any], tuple[str, ...]]] = {
    "name": (exporters(infrastructure="Testbed_1"), ("Testbed_1", "RFC 1123")),
    "long": (exporters(infrastructure="x" * 45), ("at most 44",)),
    "twice": ({"observer_openstack_exporters": exporters()["observer_openstack_exporters"] * 2}, ("'testbed' is there 2 times",)),
    "url": (exporters(cloud=cloud(auth_url="api.example.com")), ("cloud.auth_url of 'testbed'", "https://")),
    "user": (exporters(cloud=cloud(auth_url="https://me:url-password-0462@api.example.com")), ("cloud.auth_url of 'testbed'", "without a user")),
    "no-id": (exporters(cloud=cloud(application_credential_id="")), ("cloud.application_credential_id of 'testbed'",)),
    "no-secret": (exporters(cloud=cloud(application_credential_secret="")), ("cloud.application_credential_secret of 'testbed'",)),
    "ca-path": (exporters(cloud=cloud(ca_certificate="/etc/ssl/ca.crt")), ("cloud.ca_certificate of 'testbed'", "not its path")),
    "service": (exporters(services=["nova"]), ("nova", "compute")),
    "often": (exporters(interval=5), ("interval of 'testbed' is 5", "30 to 240")),
    "seldom": (exporters(interval=300), ("interval of 'testbed' is 300",)),
}

PLAYBOOK = """
- hosts: all
  gather_facts: false
  vars:
    problems: "{{ lookup('ansible.builtin.template', role_path ~ '/templates/_problems.j2') | split('\\n') | map('trim') | select | list }}"
    texts: "{{ lookup('ansible.builtin.template', *(['prometheus', 'openstack_exporter'] | map('regex_replace', '^(.*)$',
      role_path ~ '/templates/\\\\1.yml.j2')), wantlist=True) }}"
  tasks:
    - ansible.builtin.copy:
        dest: "{{ folder }}/{{ inventory_hostname }}.json"
        content: "{{ {'problems': problems, 'templates': __observer_templates, 'texts': texts if inventory_hostname in groups.variants else []} | to_json }}"
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, t.Any]]:
    folder = tmp_path_factory.mktemp("rendered")
    given = {
        "observer_s3_endpoint": "https://s3.example.com",
        "observer_s3_bucket": "observer",
        "observer_s3_access_key": "access",
        "observer_s3_secret_key": "secret",
        "observer_receive_public_url": "https://receive.example.com:19291",
        "__observer_read": {"resources": []},
        "__observer_certificates": {"authorities": {"agents-ca": {"certificate": "x"}, "inside-ca": {"certificate": "x"}}, "certificates": {}},
    }
    bad = {name: changes for name, (changes, _words) in BAD.items()}
    inventory = {"all": {"vars": _rendering.variables(folder, **given)}, "variants": {"hosts": VARIANTS}, "bad": {"hosts": bad}}
    _rendering.play(folder, inventory, PLAYBOOK)
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def objects(result: dict[str, t.Any]) -> dict[tuple[str, str], dict[str, t.Any]]:
    found = [item for text in result["texts"] for item in yaml.safe_load_all(text) if item]
    return {(item["kind"], item["metadata"]["name"]): item for item in found}


def clouds(result: dict[str, t.Any], name: str) -> dict[str, t.Any]:
    return yaml.safe_load(base64.b64decode(objects(result)["Secret", f"openstack-exporter-{name}"]["data"]["clouds.yaml"]))["clouds"]


def scrape_jobs(result: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    config = yaml.safe_load(objects(result)["ConfigMap", "prometheus"]["data"]["prometheus.yml"])
    return {job["job_name"]: job for job in config["scrape_configs"]}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_line(results: dict[str, dict[str, t.Any]], name: str) -> None:
    (line,) = results[name]["problems"]
    assert all(word in line for word in BAD[name][1])
    assert SECRET not in line and "0462" not in line


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_have_no_problem(results: dict[str, dict[str, t.Any]], name: str) -> None:
    assert results[name]["problems"] == []


def test_without_any_nothing_of_it_is_there(results: dict[str, dict[str, t.Any]]) -> None:
    assert "openstack_exporter" not in results["none"]["templates"] and "openstack_exporter" in results["one"]["templates"]
    assert not [job for job in scrape_jobs(results["none"]) if job.startswith("openstack")]


def test_credential_is_in_the_secret_only(results: dict[str, dict[str, t.Any]]) -> None:
    assert clouds(results["one"], "testbed") == {
        "testbed": {
            "auth_type": "v3applicationcredential",
            "auth": {"auth_url": "https://api.example.com:5000/v3", "application_credential_id": "c0ffee", "application_credential_secret": SECRET},
            "verify": True,
        }
    }
    others = [item for (kind, _name), item in objects(results["two"]).items() if kind != "Secret"]
    assert SECRET not in json.dumps(others) and base64.b64encode(SECRET.encode()).decode() not in json.dumps(others)


def test_authority_and_region(results: dict[str, dict[str, t.Any]]) -> None:
    found = clouds(results["two"], "testbed")["testbed"]
    assert (found["region_name"], found["cacert"]) == ("RegionOne", "/etc/observer/openstack/ca.crt")
    assert base64.b64decode(objects(results["two"])["Secret", "openstack-exporter-testbed"]["data"]["ca.crt"]).decode() == PEM
    assert "cacert" not in clouds(results["two"], "other")["other"]


def test_pod_is_restricted_and_starts_anew_with_another_credential(results: dict[str, dict[str, t.Any]]) -> None:
    deployment = objects(results["two"])["Deployment", "openstack-exporter-other"]
    template = deployment["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert template["spec"]["securityContext"]["runAsNonRoot"] is True and template["spec"]["automountServiceAccountToken"] is False
    assert container["image"] == "registry.example.com/m/openstack-exporter/openstack-exporter:1.7.0"
    assert {entry["name"] for entry in container["env"]} == {"HTTPS_PROXY", "NO_PROXY"}
    assert deployment["spec"]["replicas"] == 1
    sums = {
        objects(results[variant])["Deployment", "openstack-exporter-testbed"]["spec"]["template"]["metadata"]["annotations"]["scs.observer/config"]
        for variant in ("one", "two")
    }
    assert len(sums) == 2
    # the job "observer" takes every port named http, at the Observer's own interval
    assert [port["name"] for port in container["ports"]] == ["openstack"]


def test_arguments(results: dict[str, dict[str, t.Any]]) -> None:
    def args(name: str) -> list[str]:
        (container,) = objects(results["two"])["Deployment", f"openstack-exporter-{name}"]["spec"]["template"]["spec"]["containers"]
        return container["args"]

    assert args("other")[-1] == "other" and "--endpoint-type=internal" in args("other") and "--disable-slow-metrics" in args("other")
    assert {"--disable-service.network", "--disable-service.volume", "--disable-service.gnocchi"} <= set(args("other"))
    assert not {"--disable-service.compute", "--disable-service.load-balancer"} & set(args("other"))
    assert "--disable-slow-metrics" not in args("testbed") and "--disable-service.compute" not in args("testbed")


def test_scrape_job(results: dict[str, dict[str, t.Any]]) -> None:
    job = scrape_jobs(results["two"])["openstack-exporter-testbed"]
    assert (job["scrape_interval"], job["scrape_timeout"]) == ("60s", "60s")
    assert scrape_jobs(results["two"])["openstack-exporter-other"]["scrape_interval"] == "120s"
    assert job["static_configs"] == [{"targets": ["openstack-exporter-testbed.observer.svc:9180"]}]
    # not a target's label: "up" must not get it
    assert {"target_label": "infrastructure", "replacement": "testbed"} in job["metric_relabel_configs"]
    assert "infrastructure" not in json.dumps([job["relabel_configs"], job["static_configs"]])


def test_prometheus_takes_it(results: dict[str, dict[str, t.Any]], tmp_path: pathlib.Path) -> None:
    config = tmp_path / "prometheus.yml"
    config.write_text(objects(results["two"])["ConfigMap", "prometheus"]["data"]["prometheus.yml"])
    done = subprocess.run([find_program("promtool"), "check", "config", "--syntax-only", str(config)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
