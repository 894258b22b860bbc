# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role observer would write, rendered without a cluster: all variants and all bad inputs by one run of Ansible, one host each."""

from __future__ import annotations

import base64
import json
import pathlib
import re
import subprocess
import typing as t

import _rendering
import pytest
import yaml
from _programs import find_program

ROOT = pathlib.Path(__file__).parents[4]
ROLE = ROOT / "roles" / "observer"
PODS = ("Deployment", "StatefulSet")
SECRETS = {
    "s3": "s3-secret-key-0451",
    "ca key": "agents-key-0452",
    "inside key": "inside-key-0453",
    "infrastructures key": "infrastructures-key-0459",
    "grafana": "grafana-password-0454",
    "heartbeat": "https://heartbeat.example.com/token-0455",
    "webhook": "https://chat.example.com/token-0456",
    "oauth": "oauth-secret-0457",
    "alertmanager": "alertmanager-password-0458",
}

GIVEN: dict[str, t.Any] = {
    "observer_s3_endpoint": "https://s3.example.com:7070/",
    "observer_s3_bucket": "observer",
    "observer_s3_access_key": "access",
    "observer_s3_secret_key": SECRETS["s3"],
    "observer_receive_public_url": "https://receive.example.com:19291",
    "__observer_read": {"resources": []},
    "__observer_query_read": {"resources": []},
    "__observer_certificates": {
        "authorities": {
            "agents-ca": {"certificate": "agents certificate", "private_key": SECRETS["ca key"]},
            "inside-ca": {"certificate": "inside certificate", "private_key": SECRETS["inside key"]},
            "infrastructures-ca": {"certificate": "infrastructures certificate", "private_key": SECRETS["infrastructures key"]},
        },
        "certificates": {
            "inside-tls": {"certificate": "certificate", "private_key": "key", "authority_certificate": "inside certificate"},
            "receive-server-tls": {"certificate": "certificate", "private_key": "key", "authority_certificate": "inside certificate"},
        },
    },
}

SITE: dict[str, t.Any] = {
    "observer_profile": "production",
    "observer_namespace": "monitoring",
    "observer_create_namespace": False,
    "observer_name": "site-a",
    "observer_replicas": {"thanos_receive": 5, "thanos_query": 3},
    "observer_resources": {"thanos_receive": {"limits": {"memory": "16Gi"}}},
    "observer_storage_class": "fast",
    "observer_storage_classes": {"thanos_compact": "cheap"},
    "observer_storage_sizes": {"thanos_receive": "300Gi"},
    "observer_node_selector": {"role": "monitoring"},
    "observer_tolerations": [{"key": "monitoring", "operator": "Exists"}],
    "observer_priority_class": "important",
    "observer_image_prefix": "registry.example.com/mirror",
    "observer_images": {"grafana": "registry.example.com/grafana@sha256:" + "0" * 64},
    "observer_image_pull_secrets": ["site"],
    "observer_http_proxy": "http://proxy.example.com:3128",
    "observer_https_proxy": "http://proxy.example.com:3128",
    "observer_no_proxy": ["s3.example.com"],
    "observer_s3_ca_certificate": "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n",
    "observer_s3_prefix": "a/b",
    "observer_receive_service_type": "NodePort",
    "observer_receive_node_port": 30291,
    "observer_receive_source_ranges": ["192.0.2.0/24"],
    "observer_receive_limits": {"head_series_limit": 7},
    "observer_receive_limits_clusters": {"c7": {"size_bytes_limit": 1}, "c8": {"head_series_limit": 9}},
    "observer_receive_shuffle_shard_size": 3,
    "observer_receive_server_certificate": "given certificate",
    "observer_receive_server_private_key": "given key",
    "observer_receive_server_ca_certificate": "given authority",
    "observer_alert_for": {"KaaSClusterDown": "17m"},
    "observer_alertmanager_global": {"resolve_timeout": "5m"},
    "observer_alertmanager_receivers": [{"name": "chat", "webhook_configs": [{"url": SECRETS["webhook"]}]}, {"name": "nobody"}],
    "observer_alertmanager_routes": [{"receiver": "nobody", "matchers": ['cluster="c7"']}],
    "observer_alertmanager_heartbeat_url": SECRETS["heartbeat"],
    "observer_alertmanager_external_url": "https://alerts.example.com/",
    "observer_grafana_url": "https://grafana.example.com/",
    "observer_grafana_admin_password": SECRETS["grafana"],
    "observer_grafana_settings": {"auth.generic_oauth": {"enabled": True, "client_secret": SECRETS["oauth"]}},
    "observer_query_external_url": "https://query.example.com",
    "observer_query_endpoints": [{"address": "sidecar.example.com:10901", "strict": True}],
    "observer_services": [
        {"name": "registry", "url": "https://registry.example.com/health", "module": "http_2xx"},
        {"name": "git", "url": "git.example.com:22", "module": "tcp_connect"},
        {"name": "web", "url": "https://web.example.com"},
        {"name": "api", "url": "https://s3.example.com/", "labels": {"team": "storage"}, "request": {"bearer_secret": "api-token"}},
        {"name": "gateway", "url": "192.0.2.1", "module": "icmp"},
    ],
    "observer_prometheus_scrape_configs": [{"job_name": "ceph", "static_configs": [{"targets": ["ceph.example.com:9283"]}]}],
    "observer_pages_from": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
}

VARIANTS: dict[str, dict[str, t.Any]] = {
    "small": {},
    "production": {"observer_profile": "production"},
    "site": SITE,
    "infrastructures": {
        "observer_infrastructures": [
            {"name": "testbed", "endpoints": ["192.0.2.5:10901", "[2001:db8::5]:10901"], "alerts": True},
            {"name": "west", "endpoints": ["monitoring.west.example.com:10901"], "mode": "sidecar"},
            {"name": "hidden", "mode": "remote_write"},
        ],
        "observer_receive_infrastructures_public_url": "https://write.example.com:19391",
        "observer_receive_infrastructures_limits_infrastructures": {"hidden": {"head_series_limit": 11}},
    },
    "existing": {
        "observer_alertmanager_enabled": False,
        "observer_alertmanager_urls": ["https://alerts.example.com/alertmanager", "http://192.0.2.9:9093"],
        "observer_alertmanager_http_config": {"basic_auth": {"username": "observer", "password": SECRETS["alertmanager"]}},
        "observer_blackbox_modules": {"icmp": {"prober": "icmp"}, "kaas_api": {"prober": "http", "http": {"tls_config": {"insecure_skip_verify": True}}}},
        # as text, as "-e" gives them
        "observer_grafana_enabled": "false",
        "observer_network_policies": "no",
        "observer_receive_service_type": "NodePort",
        "observer_receive_node_port": "30333",
        "observer_receive_replication_factor": "1",
        "observer_receive_shuffle_shard_size": "0",
        "observer_receive_termination_grace_period": "300",
        "observer_certificate_days": "90",
    },
}

RECEIVERS = [{"name": "chat"}]
SIDECAR = {"name": "testbed", "endpoints": ["a.example.com:10901"]}
# what is wrong -> variables, and words that the one line must hold
BAD: dict[str, tuple[dict[str, t.Any], tuple[str, ...]]] = {
    "no-bucket": ({"observer_s3_bucket": ""}, ("observer_s3_bucket",)),
    "no-endpoint": ({"observer_s3_endpoint": ""}, ("observer_s3_endpoint",)),
    "no-secret-key": ({"observer_s3_secret_key": ""}, ("observer_s3_secret_key",)),
    "no-receive-url": ({"observer_receive_public_url": ""}, ("observer_receive_public_url",)),
    "plain-s3": ({"observer_s3_endpoint": "http://s3.example.com"}, ("observer_s3_endpoint", "https://")),
    "s3-ca-path": ({"observer_s3_ca_certificate": "/etc/ssl/ca.crt"}, ("observer_s3_ca_certificate", "path")),
    "prefix-slash": ({"observer_s3_prefix": "a/"}, ("observer_s3_prefix", "slash")),
    "duration": ({"observer_retention_raw": "30 days"}, ("observer_retention_raw", "30 days")),
    "observer-name": ({"observer_name": "Site_A"}, ("observer_name", "Site_A", "RFC 1123")),
    "namespace": ({"observer_namespace": "-x"}, ("observer_namespace", "RFC 1123")),
    "factor-above-replicas": ({"observer_receive_replication_factor": 3}, ("observer_receive_replication_factor is 3", "there are 1 receives")),
    "factor-even": ({"observer_receive_replication_factor": 2, "observer_replicas": {"thanos_receive": 3}}, ("observer_receive_replication_factor is 2",)),
    "unknown-component": ({"observer_replicas": {"thanos_recieve": 3}}, ("thanos_recieve", "thanos_receive")),
    "two-compactors": ({"observer_replicas": {"thanos_compact": 2}}, ("observer_replicas.thanos_compact is 2",)),
    "no-pods": ({"observer_replicas": {"thanos_query": 0}}, ("observer_replicas.thanos_query", "from 1 on")),
    "unknown-image": ({"observer_images": {"thanoss": "x"}}, ("thanoss",)),
    "image-prefix": ({"observer_image_prefix": "https://registry.example.com/"}, ("observer_image_prefix",)),
    "receive-http": ({"observer_receive_public_url": "http://receive.example.com"}, ("observer_receive_public_url", "https://")),
    "public-name": ({"observer_receive_public_names": ["https://receive.example.com"]}, ("observer_receive_public_names",)),
    "cluster-id": ({"observer_receive_limits_clusters": {"Cluster_7": {}}}, ("Cluster_7", "RFC 1123")),
    "unknown-limit": ({"observer_receive_limits_clusters": {"c7": {"series": 1}}}, ("observer_receive_limits_clusters.c7", "series")),
    "small-batches": ({"observer_receive_limits": {"series_limit": 100}}, ("series_limit is 100", "2000")),
    "grace": ({"observer_receive_termination_grace_period": 30}, ("observer_receive_termination_grace_period", "300")),
    "certificate-alone": ({"observer_receive_server_certificate": "x"}, ("observer_receive_server_certificate", "all three or none")),
    "renewal": ({"observer_certificate_days": 20}, ("observer_certificate_renew_before_days (30)",)),
    "rule-file": ({"observer_rule_files": ["/nowhere/x.yaml"]}, ("/nowhere/x.yaml",)),
    "grace-of-clusters": ({"observer_kaas_grace": "10"}, ("observer_kaas_grace", "'10'")),
    "unknown-alert": ({"observer_alert_for": {"KaasClusterDown": "5m"}}, ("KaasClusterDown", "KaaSClusterDown")),
    "alert-duration": ({"observer_alert_for": {"KaaSClusterDown": "soon"}}, ("observer_alert_for.KaaSClusterDown", "soon")),
    "receiver-twice": ({"observer_alertmanager_receivers": RECEIVERS * 2}, ("chat", "2 times")),
    "receiver-reserved": ({"observer_alertmanager_receivers": [{"name": "heartbeat"}]}, ("'heartbeat'",)),
    "receiver-unknown": ({"observer_alertmanager_receivers": RECEIVERS, "observer_alertmanager_routes": [{"receiver": "mail"}]}, ("'mail'",)),
    "alertmanager-url": (
        {"observer_alertmanager_enabled": False, "observer_alertmanager_urls": ["alerts:9093"]},
        ("observer_alertmanager_urls", "alerts:9093"),
    ),
    "service-twice": ({"observer_services": [{"name": "web", "url": "https://a.example"}, {"name": "web", "url": "https://b.example"}]}, ("web", "2 times")),
    "service-name": ({"observer_services": [{"name": "Web Site", "url": "https://a.example"}]}, ("Web Site", "RFC 1123")),
    "service-url": ({"observer_services": [{"name": "web", "url": "a.example"}]}, ("web", "a.example", "https://host")),
    "service-module": ({"observer_services": [{"name": "web", "url": "https://a.example", "module": "htpp"}]}, ("web", "htpp", "http_2xx")),
    "service-expectation": ({"observer_services": [{"name": "web", "url": "https://a.example", "expectations": {"code": 200}}]}, ("web", "code", "status")),
    "endpoint": ({"observer_query_endpoints": [{"address": "https://sidecar:10901"}]}, ("observer_query_endpoints", "https://sidecar:10901")),
    "endpoint-strict": ({"observer_query_endpoints": [{"address": "dns+sidecar:10901", "strict": True}]}, ("strict",)),
    "infrastructure-name": ({"observer_infrastructures": [SIDECAR | {"name": "Test_Bed"}]}, ("observer_infrastructures", "Test_Bed", "RFC 1123")),
    "infrastructure-twice": ({"observer_infrastructures": [SIDECAR, SIDECAR]}, ("'testbed' is there 2 times",)),
    "infrastructure-no-endpoint": ({"observer_infrastructures": [{"name": "testbed"}]}, ("'testbed' has no endpoints", "host:port")),
    "infrastructure-scheme": ({"observer_infrastructures": [SIDECAR | {"endpoints": ["https://a:10901"]}]}, ("https://a:10901", "testbed", "host:port")),
    "infrastructure-dns": ({"observer_infrastructures": [SIDECAR | {"endpoints": ["dns+a:10901"]}]}, ("dns+a:10901", "testbed", "host:port")),
    "infrastructure-port": ({"observer_infrastructures": [SIDECAR | {"endpoints": ["a:70000"]}]}, ("a:70000", "testbed", "host:port")),
    "infrastructure-no-port": ({"observer_infrastructures": [SIDECAR | {"endpoints": ["a"]}]}, ("'a' of 'testbed'", "host:port")),
    "infrastructure-same-endpoint": ({"observer_infrastructures": [SIDECAR, SIDECAR | {"name": "west"}]}, ("'a.example.com:10901' is there 2 times",)),
    "infrastructure-known-endpoint": (
        {"observer_infrastructures": [SIDECAR], "observer_query_endpoints": [{"address": "a.example.com:10901"}]},
        ("'a.example.com:10901' is there 2 times",),
    ),
    "infrastructure-writes-and-is-asked": (
        {"observer_infrastructures": [SIDECAR | {"mode": "remote_write"}], "observer_receive_infrastructures_public_url": "https://write.example.com"},
        ("'testbed' writes itself", "no endpoints"),
    ),
    "infrastructure-no-url": ({"observer_infrastructures": [{"name": "x", "mode": "remote_write"}]}, ("observer_receive_infrastructures_public_url", "'x'")),
    "infrastructure-url": (
        {"observer_receive_infrastructures_public_url": "http://write.example.com"},
        ("observer_receive_infrastructures_public_url", "https://host:port"),
    ),
    "infrastructure-limit": (
        {"observer_receive_infrastructures_limits_infrastructures": {"x": {"series": 1}}},
        ("observer_receive_infrastructures_limits_infrastructures.x", "series"),
    ),
    "same-node-port": (
        {"observer_receive_node_port": 30291, "observer_receive_infrastructures_node_port": 30291},
        ("observer_receive_infrastructures_node_port is 30291", "observer_receive_node_port"),
    ),
    "tool": ({"observer_amtool": "/nowhere/amtool"}, ("observer_amtool", "/nowhere/amtool")),
}

PLAYBOOK = """
- hosts: all
  gather_facts: false
  vars:
    problems: "{{ lookup('ansible.builtin.template', role_path ~ '/templates/_problems.j2') | split('\\n') | map('trim') | select | list }}"
    everything:
      problems: "{{ problems }}"
      manifests: "{{ dict(__observer_templates | zip(lookup('ansible.builtin.template',
        *(__observer_templates | map('regex_replace', '^(.*)$', role_path ~ '/templates/\\\\1.yml.j2')), wantlist=True))) }}"
      alertmanager: "{{ lookup('ansible.builtin.template', role_path ~ '/templates/_alertmanager_config.yml.j2') }}"
      rules: "{{ lookup('ansible.builtin.template', role_path ~ '/templates/_rules.yml.j2') }}"
      authorities: "{{ __observer_authorities }}"
      requests: "{{ __observer_certificate_requests }}"
  tasks:
    - ansible.builtin.set_fact:
        result: "{{ everything if inventory_hostname in groups.variants else {'problems': problems} }}"
    - ansible.builtin.copy:
        dest: "{{ folder }}/results.json"
        content: "{{ dict(ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, 'result'))) | to_json }}"
      run_once: true
"""


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, t.Any]]:
    folder = tmp_path_factory.mktemp("rendered")
    inventory = {
        "all": {"vars": _rendering.variables(folder, **GIVEN)},
        "variants": {"hosts": VARIANTS},
        "bad": {"hosts": {name: variables for name, (variables, words) in BAD.items()}},
    }
    _rendering.play(folder, inventory, PLAYBOOK, forks=4)
    results = json.loads((folder / "results.json").read_text())
    for result in results.values():
        result["objects"] = [found for text in result.get("manifests", {}).values() for found in yaml.safe_load_all(text) if found]
    return results


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def objects(rendered: dict[str, dict[str, t.Any]], variant: str) -> list[dict[str, t.Any]]:
    return objects_of(rendered, variant)


def objects_of(rendered: dict[str, dict[str, t.Any]], variant: str) -> list[dict[str, t.Any]]:
    return rendered[variant]["objects"]


def named(objects: list[dict[str, t.Any]], kind: str, name: str) -> dict[str, t.Any]:
    (found,) = [item for item in objects if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


def workloads(objects: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    return [item for item in objects if item["kind"] in PODS]


def containers(objects: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    return [container for workload in workloads(objects) for container in workload["spec"]["template"]["spec"]["containers"]]


def args_of(objects: list[dict[str, t.Any]], name: str) -> list[str]:
    (found,) = [container for container in containers(objects) if container["name"] == name]
    return found["args"]


# Every variant


def test_no_variant_has_a_problem(rendered: dict[str, dict[str, t.Any]], variant: str) -> None:
    assert rendered[variant]["problems"] == []


def test_every_component_is_there(objects: list[dict[str, t.Any]], variant: str) -> None:
    expected = {
        *("prometheus", "thanos-receive", "thanos-query", "thanos-query-frontend", "thanos-store", "thanos-compact", "thanos-ruler", "thanos-bucket-web"),
        *("blackbox-exporter", "kaas-metric-importer", "alertmanager", "grafana"),
    }
    if variant == "existing":
        expected -= {"alertmanager", "grafana"}
    if variant == "infrastructures":
        expected.add("thanos-receive-infrastructures")
    assert {item["metadata"]["name"] for item in workloads(objects)} == expected


def test_no_object_is_there_twice(objects: list[dict[str, t.Any]]) -> None:
    names = [(item["kind"], item["metadata"]["name"]) for item in objects]
    assert len(names) == len(set(names))


def test_everything_lies_in_the_namespace(objects: list[dict[str, t.Any]], variant: str) -> None:
    namespace = (GIVEN | VARIANTS[variant]).get("observer_namespace", "observer")
    assert {item["metadata"].get("namespace") for item in objects if item["kind"] != "Namespace"} == {namespace}
    assert bool([item for item in objects if item["kind"] == "Namespace"]) is (variant != "site")
    assert not [item for item in objects if item["kind"].startswith("Cluster")]


def test_the_namespace_enforces_restricted(rendered: dict[str, dict[str, t.Any]]) -> None:
    assert named(objects_of(rendered, "small"), "Namespace", "observer")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_pods_satisfy_restricted(objects: list[dict[str, t.Any]]) -> None:
    for workload in workloads(objects):
        spec = workload["spec"]["template"]["spec"]
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)
        assert {next(key for key in volume if key != "name") for volume in spec["volumes"]} <= {"configMap", "secret", "emptyDir", "projected"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_a_token_is_mounted_only_where_the_api_is_asked(objects: list[dict[str, t.Any]]) -> None:
    with_token = {item["metadata"]["name"] for item in workloads(objects) if item["spec"]["template"]["spec"]["automountServiceAccountToken"]}
    assert with_token == {"prometheus", "kaas-metric-importer"}
    accounts = {item["metadata"]["name"] for item in objects if item["kind"] == "ServiceAccount"}
    assert {item["spec"]["template"]["spec"]["serviceAccountName"] for item in workloads(objects)} == accounts
    rules = {item["metadata"]["name"]: item["rules"] for item in objects if item["kind"] == "Role"}
    assert rules == {
        "prometheus": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}],
        "kaas-metric-importer": [
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["kaas-clusters"], "verbs": ["get", "list", "watch"]},
        ],
    }


def test_requests_and_limits(objects: list[dict[str, t.Any]]) -> None:
    for container in containers(objects):
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}, container["name"]
        assert "memory" in container["resources"]["limits"], container["name"]


def test_probes_and_named_ports(objects: list[dict[str, t.Any]]) -> None:
    for container in containers(objects):
        assert "livenessProbe" in container, container["name"]
        ports = {port["name"]: port for port in container.get("ports", [])}
        assert len(ports) == len(container.get("ports", []))
        if ports:
            assert container["readinessProbe"]["httpGet"]["port"] in ports
    for workload in workloads(objects):
        names = [port["name"] for container in workload["spec"]["template"]["spec"]["containers"] for port in container.get("ports", [])]
        assert len(names) == len(set(names)), workload["metadata"]["name"]


def test_services_point_at_named_ports_of_a_pod(objects: list[dict[str, t.Any]]) -> None:
    for service in [item for item in objects if item["kind"] == "Service"]:
        selected = [
            workload for workload in workloads(objects) if service["spec"]["selector"].items() <= workload["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert len(selected) == 1, service["metadata"]["name"]
        names = {port["name"] for container in selected[0]["spec"]["template"]["spec"]["containers"] for port in container.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names


def test_only_receives_are_meant_for_the_outside(objects: list[dict[str, t.Any]], variant: str) -> None:
    outside = [item["metadata"]["name"] for item in objects if item["kind"] == "Service" and item["spec"]["type"] != "ClusterIP"]
    assert outside == ["thanos-receive-remote-write"] + (["thanos-receive-infrastructures-remote-write"] if variant == "infrastructures" else [])
    for name in outside:
        (port,) = named(objects, "Service", name)["spec"]["ports"]
        assert port["targetPort"] == "remote-write"


def test_stateful_sets_find_their_service_and_claims(objects: list[dict[str, t.Any]]) -> None:
    services = {item["metadata"]["name"] for item in objects if item["kind"] == "Service"}
    for workload in [item for item in objects if item["kind"] == "StatefulSet"]:
        assert workload["spec"]["serviceName"] in services
        (claim,) = workload["spec"]["volumeClaimTemplates"]
        assert claim["metadata"]["labels"]["scs.observer/set"] == workload["metadata"]["namespace"]
        assert claim["spec"]["resources"]["requests"]["storage"]


def test_volumes_exist(objects: list[dict[str, t.Any]]) -> None:
    existing = {(item["kind"], item["metadata"]["name"]) for item in objects}
    for workload in workloads(objects):
        spec = workload["spec"]["template"]["spec"]
        for volume in spec["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in existing
            if "secret" in volume:
                # Secrets of services are the user's, and looked for before anything is written
                assert ("Secret", volume["secret"]["secretName"]) in existing or volume["name"].startswith("service-")
        names = {volume["name"] for volume in spec["volumes"]} | {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
        used = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
        assert used == names, workload["metadata"]["name"]


def test_a_disruption_budget_where_there_are_replicas(objects: list[dict[str, t.Any]]) -> None:
    budgets = {item["metadata"]["name"] for item in objects if item["kind"] == "PodDisruptionBudget"}
    assert budgets == {item["metadata"]["name"] for item in workloads(objects) if item["spec"]["replicas"] > 1}


def test_network_policies(objects: list[dict[str, t.Any]], variant: str) -> None:
    policies = {item["metadata"]["name"]: item["spec"] for item in objects if item["kind"] == "NetworkPolicy"}
    if variant == "existing":
        assert not policies
        return
    assert policies.pop("default-deny") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert set(policies) == {item["metadata"]["name"] for item in workloads(objects)}
    for name, policy in policies.items():
        for rule in policy["ingress"]:
            assert "from" in rule or (name.startswith("thanos-receive") and rule["ports"] == [{"port": 19291}])


def test_no_secret_outside_of_secrets(rendered: dict[str, dict[str, t.Any]], objects: list[dict[str, t.Any]], variant: str) -> None:
    text = json.dumps([item for item in objects if item["kind"] != "Secret"])
    assert not [name for name, value in SECRETS.items() if value in text]
    secrets = json.dumps(
        [base64.b64decode(value).decode() for item in objects if item["kind"] == "Secret" for value in item["data"].values()],
    )
    always = {"s3", "ca key", "inside key", "infrastructures key"}
    wanted = {"site": SECRETS.keys() - {"alertmanager"}, "existing": always | {"alertmanager"}}.get(variant, always)
    assert {name for name, value in SECRETS.items() if value in secrets} == wanted


def test_secrets_hold_data_only(objects: list[dict[str, t.Any]]) -> None:
    assert not [item for item in objects if item["kind"] == "Secret" and "stringData" in item]


def test_nobody_skips_verification(rendered: dict[str, dict[str, t.Any]], variant: str) -> None:
    text = json.dumps(rendered[variant])
    # the manifests are there as text and as objects; the one probe that sends nothing and believes nothing is held by the next test
    handshake = 2 if "observer_services" in VARIANTS[variant] else 0
    assert text.replace("insecure_skip_verify: false", "").count("skip_verify") == 2 + handshake
    assert "skip-verify" not in text


def test_services_are_probed_by_their_module(rendered: dict[str, dict[str, t.Any]]) -> None:
    variant = next(name for name, variables in VARIANTS.items() if "observer_services" in variables)
    config = yaml.safe_load(named(objects_of(rendered, variant), "ConfigMap", "prometheus")["data"]["prometheus.yml"])
    probed = {
        job["job_name"]: [(target, each["labels"]["service"]) for each in job["static_configs"] for target in each["targets"]]
        for job in config["scrape_configs"]
        if job["job_name"].startswith("blackbox-")
    }
    assert probed == {
        "blackbox-http_2xx": [("https://registry.example.com/health", "registry")],
        "blackbox-http": [("https://web.example.com", "web"), ("https://s3.example.com/", "api")],
        "blackbox-icmp": [("192.0.2.1", "gateway")],
        "blackbox-tcp_connect": [("git.example.com:22", "git")],
        # not where a proxy is between
        "blackbox-handshake": [("https://registry.example.com/health", "registry"), ("https://s3.example.com/", "api")],
    }
    (api,) = [each["labels"] for job in config["scrape_configs"] if job["job_name"] == "blackbox-handshake" for each in job["static_configs"][1:]]
    assert api == {"service": "api", "team": "storage", "__param_module": "handshake", "__param_target": "s3.example.com:443"}


def test_the_exporter_gets_what_services_need_and_no_more(rendered: dict[str, dict[str, t.Any]]) -> None:
    modules = yaml.safe_load(named(objects_of(rendered, "site"), "ConfigMap", "blackbox-exporter")["data"]["blackbox.yml"])["modules"]
    assert set(modules) == {"kaas_api", "http_2xx", "tcp_connect", "https-proxy", "https-request-f18836", "icmp", "handshake"}
    # observer_no_proxy
    assert "proxy_from_environment" not in modules["https-request-f18836"]["http"]
    assert modules["https-request-f18836"]["http"]["authorization"] == {"credentials_file": "/etc/observer/services/api-token/token"}
    spec = named(objects_of(rendered, "site"), "Deployment", "blackbox-exporter")["spec"]["template"]["spec"]
    assert {"name": "service-1", "secret": {"secretName": "api-token", "defaultMode": 288}} in spec["volumes"]
    assert {"name": "service-1", "mountPath": "/etc/observer/services/api-token", "readOnly": True} in spec["containers"][0]["volumeMounts"]
    assert spec["securityContext"]["sysctls"] == [{"name": "net.ipv4.ping_group_range", "value": "65534 65534"}]
    assert spec["securityContext"]["runAsGroup"] == 65534
    plain = named(objects_of(rendered, "small"), "Deployment", "blackbox-exporter")["spec"]["template"]
    assert "sysctls" not in plain["spec"]["securityContext"] and [volume["name"] for volume in plain["spec"]["volumes"]] == ["config"]
    # read again by the exporter itself: no new pods for another module
    assert "--config.enable-auto-reload" in args_of(objects_of(rendered, "small"), "blackbox-exporter")
    assert "annotations" not in plain["metadata"]


def test_the_probe_of_api_servers_is_always_there_and_the_only_one_without_verification(rendered: dict[str, dict[str, t.Any]], variant: str) -> None:
    modules = yaml.safe_load(named(objects_of(rendered, variant), "ConfigMap", "blackbox-exporter")["data"]["blackbox.yml"])["modules"]
    assert set(modules) >= {"kaas_api"} | set(VARIANTS[variant].get("observer_blackbox_modules", {"http_2xx", "tcp_connect"}))
    if variant == "existing":
        assert modules["kaas_api"] == VARIANTS[variant]["observer_blackbox_modules"]["kaas_api"], "the user's own wins"
        return
    # the handshake neither sends nor reads anything
    handshake = modules.pop("handshake", None)
    assert handshake is None or handshake["tcp"]["query_response"] == [{"starttls": True}]
    assert [name for name, module in modules.items() if "skip_verify" in json.dumps(module)] == ["kaas_api"]
    probe = modules["kaas_api"]["http"]
    assert probe["valid_status_codes"] == [200, 401, 403]
    assert set(probe) == {"valid_status_codes", "follow_redirects", "preferred_ip_protocol", "tls_config"}, "it may send no secret"
    assert probe["follow_redirects"] is False


def test_every_grpc_server_wants_a_certificate_of_the_inside(objects: list[dict[str, t.Any]]) -> None:
    servers = [container for container in containers(objects) if any(port["name"] == "grpc" for port in container.get("ports", []))]
    assert {container["name"] for container in servers} - {"thanos-receive-infrastructures"} == {
        *("thanos-receive", "thanos-query", "thanos-store", "thanos-ruler", "thanos-sidecar")
    }
    for container in servers:
        assert {"--grpc-server-tls-client-ca=/etc/observer/inside/ca.crt", "--grpc-server-tls-min-version=1.3"} <= set(container["args"])


def test_receive_takes_the_tenant_from_the_certificate_alone(objects: list[dict[str, t.Any]]) -> None:
    args = args_of(objects, "thanos-receive")
    assert {
        "--remote-write.server-tls-client-ca=/etc/observer/agents/ca.crt",
        "--remote-write.server-tls-min-version=1.3",
        "--receive.tenant-certificate-field=commonName",
        "--receive.tenant-label-name=cluster",
        "--receive.capnproto-address=127.0.0.1:19391",
        "--receive.hashrings-algorithm=ketama",
        "--receive.hashrings-file-refresh-interval=30s",
        '--label=receive_replica="$(POD_NAME)"',
    } <= set(args)
    spec = named(objects, "StatefulSet", "thanos-receive")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] >= 300
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    # never the authority's key
    assert volumes["agents-ca"]["secret"]["items"] == [{"key": "tls.crt", "path": "ca.crt"}]
    for workload in workloads(objects):
        for volume in workload["spec"]["template"]["spec"]["volumes"]:
            if "secret" in volume and volume["secret"]["secretName"].endswith("-ca"):
                assert volume["secret"]["items"] == [{"key": "tls.crt", "path": "ca.crt"}]


def test_receive_knows_itself_in_the_hashring(objects: list[dict[str, t.Any]]) -> None:
    (ring,) = json.loads(named(objects, "ConfigMap", "thanos-receive")["data"]["hashrings.json"])
    (own,) = [arg.partition("=")[2] for arg in args_of(objects, "thanos-receive") if arg.startswith("--receive.local-endpoint=")]
    replicas = named(objects, "StatefulSet", "thanos-receive")["spec"]["replicas"]
    assert ring["endpoints"] == [own.replace("$(POD_NAME)", f"thanos-receive-{number}") for number in range(replicas)]
    factor = int(next(arg.partition("=")[2] for arg in args_of(objects, "thanos-receive") if arg.startswith("--receive.replication-factor=")))
    assert factor <= replicas


def test_reserved_names_and_labels_are_closed(objects: list[dict[str, t.Any]]) -> None:
    drop, rename, remove = yaml.safe_load(named(objects, "ConfigMap", "thanos-receive")["data"]["relabel.yml"])
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for name in {"kaas", "kaas_cluster_info", "ALERTS", "ALERTS_FOR_STATE", "probe_success"} | recorded:
        assert re.fullmatch(drop["regex"], name)
    for name in ("up", "kube_pod_info", "ALERTSX", "cluster:namespace:pod_memory:active", "kaasx", "cluster:up:sum"):
        assert not re.fullmatch(drop["regex"], name)
    replicas = {arg.partition("=")[2] for arg in args_of(objects, "thanos-query") if arg.startswith("--query.replica-label=")}
    for label in {"cluster", "infrastructure", "observer"} | replicas:
        assert re.fullmatch(rename["regex"], label)
        assert re.fullmatch(remove["regex"], label)
    assert (drop["action"], rename["action"], remove["action"]) == ("drop", "labelmap", "labeldrop")


def test_only_what_receives_write_twice_is_merged_for_ever(objects: list[dict[str, t.Any]]) -> None:
    args = args_of(objects, "thanos-compact")
    assert [arg for arg in args if "replica-label" in arg] == ["--deduplication.replica-label=receive_replica"]
    assert named(objects, "StatefulSet", "thanos-compact")["spec"]["replicas"] == 1


def test_query_knows_every_pod_with_a_store_api(objects: list[dict[str, t.Any]], variant: str) -> None:
    config = yaml.safe_load(named(objects, "ConfigMap", "thanos-query")["data"]["endpoints.yml"])
    assert config["default_client_config"]["tls_config"]["min_version"] == "1.3"
    expected = set()
    for name in ("prometheus", "thanos-receive", "thanos-store", "thanos-ruler"):
        spec = named(objects, "StatefulSet", name)["spec"]
        namespace = (GIVEN | VARIANTS[variant]).get("observer_namespace", "observer")
        expected |= {f"{name}-{number}.{spec['serviceName']}.{namespace}.svc:10901" for number in range(spec["replicas"])}
    assert expected <= {endpoint["address"] for endpoint in config["endpoints"]}


def test_own_series_never_carry_a_cluster(objects: list[dict[str, t.Any]]) -> None:
    config = yaml.safe_load(named(objects, "ConfigMap", "prometheus")["data"]["prometheus.yml"])
    assert set(config["global"]["external_labels"]) == {"observer", "prometheus_replica"}
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert jobs["kaas-metric-importer"]["honor_labels"] is True
    assert not any(job.get("honor_labels") for name, job in jobs.items() if name != "kaas-metric-importer")
    assert "cluster" not in {rule.get("target_label") for job in jobs.values() for rule in job.get("relabel_configs", [])}
    # metric_relabel_configs leave "up" alone
    assert [name for name, job in jobs.items() if "cluster" in {rule.get("target_label") for rule in job.get("metric_relabel_configs", [])}] == ["kaas-api"]


def test_api_servers_are_asked_by_the_blackbox_exporter(objects: list[dict[str, t.Any]], variant: str) -> None:
    namespace = (GIVEN | VARIANTS[variant]).get("observer_namespace", "observer")
    config = yaml.safe_load(named(objects, "ConfigMap", "prometheus")["data"]["prometheus.yml"])
    (job,) = [job for job in config["scrape_configs"] if job["job_name"] == "kaas-api"]
    assert job["params"] == {"module": ["kaas_api"]}
    (discovery,) = job["http_sd_configs"]
    assert discovery["url"] == f"http://kaas-metric-importer.{namespace}.svc:8080/api-targets"
    (port,) = named(objects, "Service", "kaas-metric-importer")["spec"]["ports"]
    assert port["port"] == 8080
    assert "--grace=10m" in args_of(objects, "kaas-metric-importer")
    policies = {item["metadata"]["name"]: item["spec"] for item in objects if item["kind"] == "NetworkPolicy"}
    if policies:
        for name, number in (("kaas-metric-importer", 8080), ("blackbox-exporter", 9115)):
            (rule,) = [rule for rule in policies[name]["ingress"] if rule["ports"] == [{"port": number}]]
            assert "prometheus" in [peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for peer in rule["from"]]
        assert policies["blackbox-exporter"]["egress"] == [{}]


# Single variants


def test_profiles(rendered: dict[str, dict[str, t.Any]]) -> None:
    small = {item["metadata"]["name"]: item["spec"]["replicas"] for item in workloads(objects_of(rendered, "small"))}
    production = {item["metadata"]["name"]: item["spec"]["replicas"] for item in workloads(objects_of(rendered, "production"))}
    assert set(small.values()) == {1}
    assert {name: number for name, number in production.items() if number > 1} == {
        "prometheus": 2,
        "thanos-receive": 3,
        "thanos-query": 2,
        "thanos-query-frontend": 2,
        "thanos-store": 2,
        "thanos-ruler": 2,
        "alertmanager": 3,
        "blackbox-exporter": 2,
    }
    assert "--receive.replication-factor=1" in args_of(objects_of(rendered, "small"), "thanos-receive")
    assert "--receive.replication-factor=3" in args_of(objects_of(rendered, "production"), "thanos-receive")


def test_alertmanagers_know_each_other(rendered: dict[str, dict[str, t.Any]]) -> None:
    peers = [arg for arg in args_of(objects_of(rendered, "production"), "alertmanager") if arg.startswith("--cluster.peer=")]
    assert len(peers) == 3
    assert not [arg for arg in args_of(objects_of(rendered, "small"), "alertmanager") if arg.startswith("--cluster.peer=")]


def test_every_image_goes_through_the_mirror(rendered: dict[str, dict[str, t.Any]]) -> None:
    images = {container["image"] for container in containers(objects_of(rendered, "site"))}
    assert all(image.startswith("registry.example.com/") for image in images)
    assert SITE["observer_images"]["grafana"] in images
    for workload in workloads(objects_of(rendered, "site")):
        spec = workload["spec"]["template"]["spec"]
        assert spec["imagePullSecrets"] == [{"name": "site"}]
        assert spec["priorityClassName"] == "important"
        assert spec["nodeSelector"] == {"role": "monitoring"}
        assert spec["tolerations"]


def test_who_talks_to_the_outside_knows_the_proxy(rendered: dict[str, dict[str, t.Any]]) -> None:
    proxied = {
        container["name"]: {entry["name"]: entry["value"] for entry in container.get("env", []) if "PROXY" in entry["name"]}
        for container in containers(objects_of(rendered, "site"))
    }
    assert {name for name, found in proxied.items() if found} == {
        *("thanos-receive", "thanos-sidecar", "thanos-store", "thanos-compact", "thanos-ruler", "thanos-bucket-web"),
        *("alertmanager", "blackbox-exporter", "grafana"),
    }
    assert proxied["thanos-store"]["HTTPS_PROXY"] == "http://proxy.example.com:3128"
    assert {".svc", "127.0.0.1", "s3.example.com"} <= set(proxied["thanos-store"]["NO_PROXY"].split(","))
    assert not [entry for container in containers(objects_of(rendered, "small")) for entry in container.get("env", []) if "PROXY" in entry["name"]]


def test_limits(rendered: dict[str, dict[str, t.Any]]) -> None:
    write = yaml.safe_load(named(objects_of(rendered, "site"), "ConfigMap", "thanos-receive")["data"]["limits.yml"])["write"]
    assert write["default"]["head_series_limit"] == 7
    assert write["default"]["request"]["series_limit"] >= 2000
    assert write["tenants"] == {"c7": {"request": {"size_bytes_limit": 1}}, "c8": {"head_series_limit": 9}}
    assert write["global"]["meta_monitoring_url"] == "http://prometheus.monitoring.svc:9090"
    assert write["global"]["meta_monitoring_limit_query"].endswith("/ 3")
    assert yaml.safe_load(named(objects_of(rendered, "small"), "ConfigMap", "thanos-receive")["data"]["limits.yml"])["write"]["tenants"] == {}


def test_the_site_s_wishes(rendered: dict[str, dict[str, t.Any]]) -> None:
    objects = objects_of(rendered, "site")
    claims = {item["metadata"]["name"]: item["spec"]["volumeClaimTemplates"][0]["spec"] for item in objects if item["kind"] == "StatefulSet"}
    assert claims["thanos-receive"]["resources"]["requests"]["storage"] == "300Gi"
    assert claims["thanos-receive"]["storageClassName"] == "fast"
    assert claims["thanos-compact"]["storageClassName"] == "cheap"
    assert "storageClassName" not in named(objects_of(rendered, "small"), "StatefulSet", "thanos-store")["spec"]["volumeClaimTemplates"][0]["spec"]
    service = named(objects, "Service", "thanos-receive-remote-write")
    assert service["spec"]["type"] == "NodePort"
    assert service["spec"]["ports"][0]["nodePort"] == 30291
    policy = named(objects, "NetworkPolicy", "thanos-receive")["spec"]["ingress"][-1]
    assert policy == {"ports": [{"port": 19291}], "from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}
    tls = named(objects, "Secret", "receive-server-tls")["data"]
    assert {key: base64.b64decode(value).decode() for key, value in tls.items()} == {
        "tls.crt": "given certificate",
        "tls.key": "given key",
        "ca.crt": "given authority",
    }
    objstore = yaml.safe_load(base64.b64decode(named(objects, "Secret", "objstore")["data"]["objstore.yml"]))
    assert objstore["config"]["endpoint"] == "s3.example.com:7070"
    assert objstore["config"]["http_config"]["tls_config"] == {"ca_file": "/etc/observer/objstore/ca.crt"}
    assert objstore["prefix"] == "a/b"
    assert objstore["config"]["insecure"] is False
    assert [request["name"] for request in rendered["site"]["requests"]] == ["inside-tls"]


def test_alert_for(rendered: dict[str, dict[str, t.Any]]) -> None:
    def duration(variant: str) -> str:
        text = named(objects_of(rendered, variant), "ConfigMap", "thanos-ruler-rules")["data"]["kaas.yaml"]
        (found,) = [rule["for"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"] if rule.get("alert") == "KaaSClusterDown"]
        return found

    assert (duration("small"), duration("site")) == ("5m", "17m")


def test_the_ruler_knows_how_large_the_volumes_are(rendered: dict[str, dict[str, t.Any]]) -> None:
    def sizes(variant: str) -> dict[str, str]:
        text = named(objects_of(rendered, variant), "ConfigMap", "thanos-ruler-rules")["data"]["observer_volumes.yaml"]
        (group,) = yaml.safe_load(text)["groups"]
        assert {rule["record"] for rule in group["rules"]} == {"observer:volume_size:bytes"}
        assert group in yaml.safe_load(rendered[variant]["rules"])["groups"]
        return {rule["labels"]["job"]: rule["expr"] for rule in group["rules"]}

    gibi = 2**30
    assert sizes("small") == {"prometheus": f"vector(5 * {gibi})", "thanos-receive": f"vector(20 * {gibi})", "thanos-ruler": f"vector(2 * {gibi})"}
    assert sizes("site")["thanos-receive"] == f"vector(300 * {gibi})"


def test_existing_alertmanagers(rendered: dict[str, dict[str, t.Any]]) -> None:
    secret = named(objects_of(rendered, "existing"), "Secret", "thanos-ruler")["data"]["alertmanagers.yml"]
    first, second = yaml.safe_load(base64.b64decode(secret))["alertmanagers"]
    assert (first["scheme"], first["static_configs"], first["path_prefix"]) == ("https", ["alerts.example.com:443"], "/alertmanager")
    assert (second["scheme"], second["static_configs"]) == ("http", ["192.0.2.9:9093"])
    assert first["http_config"]["basic_auth"]["username"] == "observer"


def test_alertmanager_s_configuration(rendered: dict[str, dict[str, t.Any]]) -> None:
    config = yaml.safe_load(rendered["site"]["alertmanager"])
    assert config["route"]["receiver"] == "chat"
    assert config["route"]["routes"][0]["receiver"] == "heartbeat"
    # one cluster's alert mutes no other cluster's; but the one that says that many are silent has no cluster itself
    (mass,) = [rule for rule in config["inhibit_rules"] if not {"cluster", "infrastructure"} & set(rule.get("equal", []))]
    assert mass == {
        "source_matchers": ['alertname="KaaSMassOutage"'],
        "target_matchers": ['alertname=~"KaaSClusterDown|KaaSAgentDown|KaaSClusterNeverSeen"'],
    }
    # tests/integration/test_alertmanager_inhibition.py shows what that means
    assert {"alertname", "cluster", "instance", "namespace", "pod", "persistentvolumeclaim"} <= set(config["inhibit_rules"][0]["equal"])
    assert "cluster" in config["route"]["group_by"]
    quiet = yaml.safe_load(rendered["small"]["alertmanager"])
    assert (quiet["route"]["receiver"], quiet["route"]["routes"][0]["receiver"]) == ("none", "none")


def test_what_exists_is_kept_and_never_mixed(rendered: dict[str, dict[str, t.Any]]) -> None:
    assert [(authority["certificate"], authority["private_key"]) for authority in rendered["small"]["authorities"]] == [("", "")] * 3
    assert rendered["small"]["requests"][1]["dns_names"] == ["receive.example.com", "thanos-receive-remote-write.observer.svc"]


# Other programs judge


def test_amtool_accepts_the_configuration(rendered: dict[str, dict[str, t.Any]], variant: str, tmp_path: pathlib.Path) -> None:
    amtool = find_program("amtool")
    (tmp_path / "alertmanager.yml").write_text(rendered[variant]["alertmanager"])
    done = subprocess.run([amtool, "check-config", str(tmp_path / "alertmanager.yml")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_promtool_accepts_the_configuration(objects: list[dict[str, t.Any]], tmp_path: pathlib.Path) -> None:
    promtool = find_program("promtool")
    (tmp_path / "prometheus.yml").write_text(named(objects, "ConfigMap", "prometheus")["data"]["prometheus.yml"])
    done = subprocess.run([promtool, "check", "config", "--syntax-only", str(tmp_path / "prometheus.yml")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_rules(rendered: dict[str, dict[str, t.Any]], variant: str) -> None:
    done = subprocess.run([find_program("promtool"), "check", "rules"], input=rendered[variant]["rules"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "tests/rules").glob("*.yaml")), ids=lambda path: path.stem)
def test_rules_do_what_they_say(path: pathlib.Path) -> None:
    done = subprocess.run([find_program("promtool"), "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def rules() -> list[dict[str, t.Any]]:
    files = sorted((ROLE / "files/rules").glob("*.yaml"))
    return [rule for path in files for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def test_every_alert_of_the_lab_comes_in_seconds() -> None:
    alerts = {rule["alert"] for rule in rules() if "alert" in rule and "for" in rule}
    for inventory in (ROOT / "inventories/lab/group_vars/observer.yml", ROOT / "tests/end_to_end/inventory/group_vars/observer.yml"):
        assert set(yaml.safe_load(inventory.read_text())["observer_alert_for"]) == {name for name in alerts if name.startswith(("KaaS", "Infrastructure"))}


def test_written_series_are_read_as_only_the_observer_can_write_them() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        for name in recorded:
            for found in re.finditer(rf"{re.escape(name)}(?![\w:])(\{{[^}}]*\}})?", rule["expr"]):
                assert 'infrastructure=""' in (found.group(1) or ""), f"{rule.get('record', rule.get('alert'))} reads {found.group()}"
                assert name.startswith("cluster:") or 'cluster=""' in found.group(1)


# flags that work and that no help names
HIDDEN = {"receive.limits-config-file", "compact.enable-vertical-compaction"}
COMMANDS = {
    "thanos-receive": ["receive"],
    "thanos-query": ["query"],
    "thanos-query-frontend": ["query-frontend"],
    "thanos-store": ["store"],
    "thanos-compact": ["compact"],
    "thanos-ruler": ["rule"],
    "thanos-sidecar": ["sidecar"],
    "thanos-bucket-web": ["tools", "bucket", "web"],
}


@pytest.mark.parametrize("component", COMMANDS)
def test_thanos_knows_every_flag(rendered: dict[str, dict[str, t.Any]], component: str) -> None:
    words = COMMANDS[component]
    done = subprocess.run([find_program("thanos"), *words, "--help"], capture_output=True, text=True, check=False)
    known = HIDDEN | set(re.findall(r"--(?:\[no-\])?([a-z0-9][a-z0-9.-]*)", done.stdout + done.stderr))
    for variant in VARIANTS:
        args = args_of(objects_of(rendered, variant), component)
        assert args[: len(words)] == words
        assert not {arg.removeprefix("--").partition("=")[0] for arg in args[len(words) :]} - known


# Bad input


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line(rendered: dict[str, dict[str, t.Any]], case: str) -> None:
    (problem,) = rendered[case]["problems"]
    for word in BAD[case][1]:
        assert word in problem
    assert not [name for name, value in SECRETS.items() if value in problem]
