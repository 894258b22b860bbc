# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
import yaml
from _programs import find_program

ROOT = pathlib.Path(__file__).parents[4]
ROLE = ROOT / "roles" / "kaas_agent"
POD_KINDS = ("StatefulSet", "Deployment", "DaemonSet")
TOKEN_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/token"
CLUSTER_CA = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"

GIVEN = {"kaas_agent_receive_url": "https://receive.example.com:19291", "__kaas_agent_kind": "host"}


def static_pod(component: str, *arguments: str) -> dict[str, t.Any]:
    return {"metadata": {"labels": {"component": component, "tier": "control-plane"}}, "spec": {"containers": [{"command": [component, *arguments]}]}}


def kubeadm(proxy: str, *pods: dict[str, t.Any]) -> dict[str, t.Any]:
    config_map = {"data": {"config.conf": yaml.safe_dump({"kind": "KubeProxyConfiguration", "metricsBindAddress": proxy})}}
    return {"__kaas_agent_kind": "kubeadm", "__kaas_agent_answers": {"kube-proxy": [config_map], "control plane": list(pods)}}


def pod(namespace: str, *ports: tuple[str | None, int], **more: t.Any) -> dict[str, t.Any]:
    containers = [{"name": "sidecar"}, {"name": "main", "ports": [({"name": name} if name else {}) | {"containerPort": number} for name, number in ports]}]
    return {"metadata": {"namespace": namespace} | more, "spec": {"containers": containers}, "status": {"phase": "Running"}}


def looked(**found: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    """What the role makes of its look at the applications' pods."""
    return {"pods of " + name.replace("_", "-"): pods for name, pods in found.items()}


VARIANTS: dict[str, dict[str, t.Any]] = {
    "minimal": {},
    "full": {"kaas_agent_profile": "full"},
    "k3s": {"__kaas_agent_kind": "k3s"},
    "hosted": {"__kaas_agent_kind": "hosted", "__kaas_agent_answers": {"kube-proxy": [], "control plane": []}},
    "kubeadm-default": kubeadm(
        "",
        static_pod("kube-scheduler", "--bind-address=127.0.0.1"),
        static_pod("kube-controller-manager", "--bind-address=127.0.0.1"),
        static_pod("etcd", "--listen-metrics-urls=http://127.0.0.1:2381"),
        static_pod("kube-apiserver"),
    ),
    "kubeadm-open": kubeadm(
        "0.0.0.0:10249",
        static_pod("kube-scheduler", "--bind-address=0.0.0.0", "--tls-cert-file=/pki/scheduler.crt"),
        static_pod("kube-controller-manager", "--bind-address=0.0.0.0"),
        static_pod("etcd", "--listen-metrics-urls=http://127.0.0.1:2381,http://192.0.2.7:2381"),
    ),
    "chosen": {
        "__kaas_agent_kind": "k3s",
        "kaas_agent_control_plane": {
            "etcd": {"scrape": "always"},
            "coredns": {"scrape": "never"},
            "kube_scheduler": {"scrape": "always", "port": 20259, "tls": "unverified"},
        },
        "kaas_agent_metrics": {"kubelet": ["kubelet_http_requests_total"]},
        "kaas_agent_metric_labels": {"pods": ["app.kubernetes.io/name"]},
    },
    "applications": {
        "__kaas_agent_answers": looked(
            ingress_nginx=[pod("ingress-nginx", ("http", 80), ("metrics", 10254)), pod("kube-system", ("metrics", 10255))],
            traefik=[pod("gone", ("metrics", 9100), deletionTimestamp="2026-01-01T00:00:00Z")],
            cert_manager=[pod("default", ("http-metrics", 9402), ("http-healthz", 9403))],
            haproxy=[pod("edge", ("stat", 1024))],
            harbor=[pod("registry", (None, 8080)), pod("registry", (None, 5000), (None, 8001))],
        ),
        "kaas_agent_applications": [
            {"name": "cert-manager", "path": "/certificates"},
            {"name": "haproxy", "selector": "app=haproxy", "port_name": "stat|stats"},
        ],
        "kaas_agent_metrics": {"haproxy": ["haproxy_up"]},
    },
    "applications-full": {
        "kaas_agent_profile": "full",
        "__kaas_agent_answers": looked(
            ingress_nginx=[pod("ingress-nginx", ("metrics", 10254))],
            traefik=[pod("kube-system", ("web", 8000), ("metrics", 9100))],
            cert_manager=[pod("cert-manager", ("http-healthz", 9403))],
            # its chart without metrics
            harbor=[pod("registry", (None, 8080)), pod("registry", (None, 5000), (None, 5001))],
        ),
        "kaas_agent_applications": [{"name": "ingress-nginx", "hidden_labels": []}],
    },
    "proxied": {"kaas_agent_proxy_url": "http://proxy.example.com:3128", "kaas_agent_no_proxy": ["example.com", "192.0.2.0/24"]},
    "through-apiserver": {"kaas_agent_kubelet_access": "apiserver_proxy"},
    "unverified": {"kaas_agent_kubelet_access": "unverified"},
    "site": {
        "kaas_agent_image_prefix": "registry.example.com/mirror",
        "kaas_agent_images": {"prometheus": "registry.example.com/prometheus@sha256:" + "0" * 64},
        "kaas_agent_image_pull_secrets": ["site"],
        "kaas_agent_registry_credentials": '{"auths": {}}',
        "kaas_agent_storage": "persistent",
        "kaas_agent_storage_class": "fast",
        "kaas_agent_kubelet_ca_certificate": "-----BEGIN CERTIFICATE-----\nkubelets\n-----END CERTIFICATE-----\n",
        "kaas_agent_network_policies": False,
        "kaas_agent_scrape_interval": "5s",
        "kaas_agent_resources": {"node_exporter": {"limits": {"memory": "64Mi"}}},
        "kaas_agent_priority_class": "important",
        "kaas_agent_node_selector": {"pool": "system"},
        "kaas_agent_tolerations": [{"key": "system", "operator": "Exists"}],
        "kaas_agent_node_exporter_port": 9111,
    },
    "bad-id": {"kaas_agent_cluster": "Kaas_Alpha"},
    "bad-long-id": {"kaas_agent_cluster": "a" * 64},
    "bad-url": {"kaas_agent_receive_url": "http://receive.example.com"},
    "bad-interval": {"kaas_agent_scrape_interval": "1h30m"},
    "bad-days": {"kaas_agent_certificate_days": 30},
    "bad-part": {"kaas_agent_control_plane": {"scheduler": {"scrape": "always"}}},
    "bad-metrics": {"kaas_agent_metrics": {"api": ["up"]}},
    "bad-application-job": {"kaas_agent_applications": [{"name": "apiserver", "selector": "app=mine"}]},
    "bad-application-selector": {"kaas_agent_applications": [{"name": "haproxy"}], "kaas_agent_metrics": {"haproxy": ["haproxy_up"]}},
    "bad-application-metrics": {"kaas_agent_applications": [{"name": "haproxy", "selector": "app=haproxy"}]},
    "bad-label": {"kaas_agent_metric_labels": {"pods": ["*"]}},
    "bad-resource": {"kaas_agent_metric_labels": {"secrets": ["owner"]}},
    "bad-namespace": {"kaas_agent_node_namespace": "observer-agent"},
}
GOOD = [name for name in VARIANTS if not name.startswith("bad-")]


@pytest.fixture(scope="session")
def output(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("kaas_agent")
    hosts = {name: {**GIVEN, **variables} for name, variables in VARIANTS.items()}
    everywhere = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "render_output": str(folder),
        "render_templates": str(ROLE / "templates"),
    }
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": everywhere}}))
    # the collection by its name, whatever this checkout's folder is called
    (folder / "ansible_collections" / "scs").mkdir(parents=True)
    (folder / "ansible_collections" / "scs" / "observer").symlink_to(ROOT)
    (folder / "ansible.cfg").touch()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "ANSIBLE_COLLECTIONS_PATH": str(folder),
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_FORKS": "4",
        "LC_ALL": "C.UTF-8",
    }
    program = pathlib.Path(sys.executable).with_name("ansible-playbook")
    command = [str(program), "-i", str(inventory), str(pathlib.Path(__file__).with_name("render.yml"))]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return folder


class Rendered:
    def __init__(self, texts: list[str]) -> None:
        self.text = "\n".join(texts)
        self.objects = [document for text in texts for document in yaml.safe_load_all(text) if document]
        self.config = yaml.safe_load(self.one("ConfigMap", "prometheus-agent")["data"]["prometheus.yml"])
        self.jobs = {job["job_name"]: job for job in self.config["scrape_configs"]}

    def all(self, *kinds: str) -> list[dict[str, t.Any]]:
        return [item for item in self.objects if item["kind"] in kinds]

    def one(self, kind: str, name: str, namespace: str | None = None) -> dict[str, t.Any]:
        found = [item for item in self.all(kind) if item["metadata"]["name"] == name and (namespace is None or item["metadata"].get("namespace") == namespace)]
        assert len(found) == 1, f"{kind} {name}: {len(found)}"
        return found[0]

    def pod(self, kind: str, name: str) -> dict[str, t.Any]:
        return self.one(kind, name)["spec"]["template"]["spec"]

    def kept(self, job: str, metric: str) -> bool:
        for rule in self.jobs[job]["metric_relabel_configs"]:
            if rule["source_labels"] != ["__name__"]:
                continue
            if (re.fullmatch(rule["regex"], metric) is None) == (rule["action"] == "keep"):
                return False
        return True


@pytest.fixture(scope="session")
def rendered(output: pathlib.Path) -> t.Callable[[str], Rendered]:
    cache: dict[str, Rendered] = {}

    def get(variant: str) -> Rendered:
        if variant not in cache:
            cache[variant] = Rendered(json.loads((output / f"{variant}.json").read_text()))
        return cache[variant]

    return get


def settings(variant: str) -> dict[str, t.Any]:
    return yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()) | VARIANTS[variant]


def argument(pod: dict[str, t.Any], name: str) -> str:
    (found,) = [item for item in pod["containers"][0]["args"] if item.startswith(f"--{name}=")]
    return found.partition("=")[2]


def test_defaults_agree_with_argument_specs() -> None:
    options = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    assert {name: option["default"] for name, option in options.items()} == defaults
    assert all(option["description"] and option["type"] for option in options.values())


def test_readme_names_every_variable() -> None:
    text = (ROLE / "README.md").read_text()
    missing = [name for name in yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()) if f"`{name}`" not in text]
    assert missing == []


@pytest.mark.parametrize("variant", GOOD)
def test_objects_are_well_formed_and_unique(rendered: t.Callable[[str], Rendered], variant: str) -> None:
    objects = rendered(variant).objects
    identities = [(item["apiVersion"], item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in objects]
    assert len(identities) == len(set(identities))
    namespaces = {"observer-agent", "observer-agent-node"}
    assert {item["metadata"]["name"] for item in objects if item["kind"] == "Namespace"} == namespaces
    foreign = {(item["kind"], item["metadata"]["namespace"]) for item in objects if item["metadata"].get("namespace", "observer-agent") not in namespaces}
    allowed = {"applications": {"ingress-nginx", "edge", "registry"}, "applications-full": {"ingress-nginx"}}.get(variant, set()) | {"default", "kube-system"}
    assert foreign <= {(kind, namespace) for kind in ("Role", "RoleBinding") for namespace in allowed}


@pytest.mark.parametrize("variant", GOOD)
def test_everything_but_node_exporter_is_restricted(rendered: t.Callable[[str], Rendered], variant: str) -> None:
    it = rendered(variant)
    levels = {item["metadata"]["name"]: item["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] for item in it.all("Namespace")}
    assert levels == {"observer-agent": "restricted", "observer-agent-node": "privileged"}
    workloads = it.all(*POD_KINDS)
    assert {item["metadata"]["name"] for item in workloads} == {"prometheus-agent", "kube-state-metrics", "node-exporter"}
    for workload in workloads:
        pod = workload["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 65534
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]
            assert "command" not in container
        host = {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        paths = [volume for volume in pod.get("volumes", []) if "hostPath" in volume]
        if workload["metadata"]["name"] == "node-exporter":
            assert workload["metadata"]["namespace"] == "observer-agent-node"
            assert host == {"hostNetwork"} and len(paths) == 3
            assert all(mount["readOnly"] for mount in pod["containers"][0]["volumeMounts"])
            assert pod["automountServiceAccountToken"] is False
        else:
            assert workload["metadata"]["namespace"] == "observer-agent"
            assert not host and not paths


EXPECTED_RULES = {
    ("ClusterRole", None, "observer-agent:prometheus-agent"): [
        ([""], ["nodes"], ["list", "watch"]),
        ([""], ["nodes/metrics"], ["get"]),
        (["/metrics"], ["get"]),
    ],
    ("Role", "observer-agent", "prometheus-agent"): [([""], ["pods"], ["list", "watch"])],
    ("Role", "observer-agent-node", "prometheus-agent"): [([""], ["pods"], ["list", "watch"])],
    ("Role", "kube-system", "observer-agent:prometheus-agent"): [([""], ["pods"], ["list", "watch"])],
    ("Role", "default", "observer-agent:prometheus-agent"): [
        ([""], ["pods", "services"], ["list", "watch"]),
        (["discovery.k8s.io"], ["endpointslices"], ["list", "watch"]),
    ],
    ("ClusterRole", None, "observer-agent:kube-state-metrics"): [
        ([""], ["namespaces", "nodes", "persistentvolumeclaims", "persistentvolumes", "pods", "resourcequotas"], ["list", "watch"]),
        (["apps"], ["daemonsets", "deployments", "replicasets", "statefulsets"], ["list", "watch"]),
        (["autoscaling"], ["horizontalpodautoscalers"], ["list", "watch"]),
        (["batch"], ["cronjobs", "jobs"], ["list", "watch"]),
        (["policy"], ["poddisruptionbudgets"], ["list", "watch"]),
    ],
}


def rules(it: Rendered) -> dict[tuple[str, str | None, str], list[tuple[t.Any, ...]]]:
    keys = ("apiGroups", "resources", "nonResourceURLs", "verbs")
    return {
        (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]): [tuple(rule[key] for key in keys if key in rule) for rule in item["rules"]]
        for item in it.all("Role", "ClusterRole")
    }


def test_rights_are_exactly_these(rendered: t.Callable[[str], Rendered]) -> None:
    assert rules(rendered("minimal")) == EXPECTED_RULES
    extra = ([""], ["nodes/proxy"], ["get"])
    agent = ("ClusterRole", None, "observer-agent:prometheus-agent")
    assert rules(rendered("through-apiserver")) == EXPECTED_RULES | {agent: [*EXPECTED_RULES[agent], extra]}


def test_applications_need_the_right_to_see_their_pods_only(rendered: t.Callable[[str], Rendered]) -> None:
    pods = [([""], ["pods"], ["list", "watch"])]
    there = {("Role", namespace, "observer-agent:prometheus-agent"): pods for namespace in ("ingress-nginx", "edge", "registry")}
    assert rules(rendered("applications")) == EXPECTED_RULES | there


@pytest.mark.parametrize("variant", GOOD)
def test_no_right_reads_secrets_or_writes(rendered: t.Callable[[str], Rendered], variant: str) -> None:
    it = rendered(variant)
    for role in it.all("Role", "ClusterRole"):
        for rule in role["rules"]:
            assert set(rule["verbs"]) <= {"get", "list", "watch"}
            assert not {"secrets", "configmaps", "*"} & set(rule.get("resources", []))
            assert "*" not in rule.get("apiGroups", [])
    accounts = {(item["metadata"]["namespace"], item["metadata"]["name"]) for item in it.all("ServiceAccount")}
    for binding in it.all("RoleBinding", "ClusterRoleBinding"):
        assert all((subject["namespace"], subject["name"]) in accounts for subject in binding["subjects"])
        reference = binding["roleRef"]
        assert it.one(reference["kind"], reference["name"], binding["metadata"].get("namespace"))


@pytest.mark.parametrize("variant", GOOD)
def test_no_annotation_and_no_secret_leaves(rendered: t.Callable[[str], Rendered], variant: str) -> None:
    it = rendered(variant)
    pod = it.pod("Deployment", "kube-state-metrics")
    arguments = pod["containers"][0]["args"]
    assert not [item for item in arguments if "annotations-allowlist" in item or "custom-resource" in item or "denylist" in item]
    resources = argument(pod, "resources").split(",")
    assert not {"secrets", "configmaps"} & set(resources)
    watched = [name for rule in it.one("ClusterRole", "observer-agent:kube-state-metrics")["rules"] for name in rule["resources"]]
    assert sorted(watched) == resources
    assert "*" not in argument(pod, "metric-labels-allowlist")
    assert not it.kept("kube-state-metrics", "kube_pod_annotations")
    assert not it.kept("kube-state-metrics", "kube_secret_info")
    # discovery knows annotations and labels; nothing of them may become a label but by its own name
    text = it.one("ConfigMap", "prometheus-agent")["data"]["prometheus.yml"]
    assert "annotation_" not in text and "labelmap" not in text and "_annotations" not in text.replace("kube_.+_annotations", "")


@pytest.mark.parametrize("variant", GOOD)
def test_configuration_is_valid_for_promtool(rendered: t.Callable[[str], Rendered], variant: str, tmp_path: pathlib.Path) -> None:
    promtool = find_program("promtool")
    path = tmp_path / "prometheus.yml"
    path.write_text(rendered(variant).one("ConfigMap", "prometheus-agent")["data"]["prometheus.yml"])
    done = subprocess.run([promtool, "check", "config", "--agent", "--syntax-only", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("variant", GOOD)
def test_remote_write_is_mutual_tls_and_keeps_trying(rendered: t.Callable[[str], Rendered], variant: str) -> None:
    it = rendered(variant)
    (write,) = it.config["remote_write"]
    assert write["url"] == "https://receive.example.com:19291/api/v1/receive"
    assert write["tls_config"] == {
        "ca_file": "/etc/observer-agent/ca.crt",
        "cert_file": "/etc/observer-agent/tls.crt",
        "key_file": "/etc/observer-agent/tls.key",
        "min_version": "TLS13",
    }
    assert write["queue_config"]["retry_on_http_429"] is True
    assert write["queue_config"]["max_backoff"] == "30s"
    assert "headers" not in write and "external_labels" not in it.config["global"]
    secret = it.one("Secret", "observer-agent-certificate")
    assert {key: base64.b64decode(value).decode() for key, value in secret["data"].items()} == {
        "ca.crt": "the authority",
        "tls.crt": "the certificate",
        "tls.key": "the key",
    }


@pytest.mark.parametrize("variant", GOOD)
def test_agent_takes_changes_without_restart(rendered: t.Callable[[str], Rendered], variant: str) -> None:
    workload = rendered(variant).one("StatefulSet", "prometheus-agent")
    assert workload["spec"]["replicas"] == 1
    assert "annotations" not in workload["spec"]["template"]["metadata"]
    container = workload["spec"]["template"]["spec"]["containers"][0]
    assert {"--agent", "--config.auto-reload", "--storage.agent.retention.max-time=24h"} <= set(container["args"])
    assert not [mount for mount in container["volumeMounts"] if "subPath" in mount]


@pytest.mark.parametrize("variant", GOOD)
def test_no_series_is_labelled_cluster_by_the_agent(rendered: t.Callable[[str], Rendered], variant: str) -> None:
    for job in rendered(variant).jobs.values():
        targets = [rule.get("target_label") for rule in job.get("relabel_configs", []) + job["metric_relabel_configs"]]
        assert "cluster" not in targets
        assert all("cluster" not in item.get("labels", {}) for item in job.get("static_configs", []))


@pytest.mark.parametrize("variant", GOOD)
def test_token_goes_to_verified_peers_only(rendered: t.Callable[[str], Rendered], variant: str) -> None:
    unverified = set()
    for name, job in rendered(variant).jobs.items():
        assert ("authorization" in job) == (job.get("scheme") == "https"), name
        if "authorization" in job:
            assert job["authorization"] == {"credentials_file": TOKEN_FILE}
            assert job["tls_config"]["ca_file"] in {CLUSTER_CA, "/etc/prometheus/kubelet-ca.crt"}
            if job["tls_config"].get("insecure_skip_verify"):
                unverified.add(name)
    assert unverified == {"unverified": {"kubelet", "cadvisor"}, "chosen": {"kube-scheduler"}}.get(variant, set())


NODE_JOBS = {"kube-controller-manager", "kube-scheduler", "kube-etcd", "kube-proxy"}
ALWAYS_JOBS = {"kubelet", "cadvisor", "node-exporter", "kube-state-metrics", "kube-state-metrics-self", "prometheus-agent"}


@pytest.mark.parametrize(
    ("variant", "jobs"),
    [
        ("minimal", NODE_JOBS | {"apiserver", "coredns"}),
        ("k3s", {"apiserver", "coredns"}),
        ("hosted", {"apiserver", "coredns"}),
        ("kubeadm-default", {"apiserver", "coredns"}),
        ("kubeadm-open", {"apiserver", "coredns", "kube-scheduler", "kube-etcd", "kube-proxy"}),
        ("chosen", {"apiserver", "kube-etcd", "kube-scheduler"}),
        ("applications", NODE_JOBS | {"apiserver", "coredns", "ingress-nginx", "cert-manager", "haproxy", "harbor"}),
        ("applications-full", NODE_JOBS | {"apiserver", "coredns", "ingress-nginx", "traefik"}),
    ],
)
def test_what_can_not_be_reached_is_left_out(rendered: t.Callable[[str], Rendered], variant: str, jobs: set[str]) -> None:
    assert set(rendered(variant).jobs) == ALWAYS_JOBS | jobs


def test_parts_of_the_control_plane_are_found_by_node(rendered: t.Callable[[str], Rendered]) -> None:
    it = rendered("minimal")
    for name, port in {"kube-controller-manager": 10257, "kube-scheduler": 10259, "kube-etcd": 2381, "kube-proxy": 10249}.items():
        job = it.jobs[name]
        assert job["relabel_configs"][0]["replacement"] == f"$1:{port}"
        (discovery,) = job["kubernetes_sd_configs"]
        only_control_plane = discovery.get("selectors") == [{"role": "node", "label": "node-role.kubernetes.io/control-plane"}]
        assert discovery["role"] == "node" and only_control_plane == (name != "kube-proxy")
    assert rendered("chosen").jobs["kube-scheduler"]["relabel_configs"][0]["replacement"] == "$1:20259"


def labels(job: dict[str, t.Any]) -> dict[str, str]:
    result = {}
    for rule in job.get("relabel_configs", []):
        if "target_label" in rule:
            result[rule["target_label"]] = rule.get("replacement") if "source_labels" not in rule else rule["source_labels"][0]
    return result


def test_series_get_the_labels_of_kube_prometheus(rendered: t.Callable[[str], Rendered]) -> None:
    jobs = rendered("minimal").jobs
    for name, path in {"kubelet": "/metrics", "cadvisor": "/metrics/cadvisor"}.items():
        assert labels(jobs[name]) == {"job": "kubelet", "node": "__meta_kubernetes_node_name", "metrics_path": path, "instance": "__address__"}
        assert jobs[name]["metrics_path"] == path and jobs[name]["honor_labels"] is True
    assert labels(jobs["node-exporter"]) == {
        "instance": "__meta_kubernetes_pod_node_name",
        "node": "__meta_kubernetes_pod_node_name",
        "namespace": "__meta_kubernetes_namespace",
        "pod": "__meta_kubernetes_pod_name",
    }
    assert labels(jobs["kube-state-metrics"]) == {"instance": "kube-state-metrics:8080"}
    assert jobs["kube-state-metrics"]["honor_labels"] is True
    assert labels(jobs["kube-state-metrics-self"])["job"] == "kube-state-metrics"
    assert labels(jobs["apiserver"]) == {"namespace": "default", "service": "kubernetes"}
    assert labels(jobs["coredns"])["pod"] == "__meta_kubernetes_pod_name"


def test_kubelets_through_the_api_server(rendered: t.Callable[[str], Rendered]) -> None:
    for name, path in {"kubelet": "/metrics", "cadvisor": "/metrics/cadvisor"}.items():
        job = rendered("through-apiserver").jobs[name]
        changed = {rule["target_label"]: rule.get("replacement") for rule in job["relabel_configs"]}
        assert changed["__address__"] == "kubernetes.default.svc:443"
        assert changed["__metrics_path__"] == f"/api/v1/nodes/$1/proxy{path}"
        # the node's own address stays the instance: it is copied before the address is replaced
        order = [rule["target_label"] for rule in job["relabel_configs"]]
        assert order.index("instance") < order.index("__address__")
        assert job["tls_config"] == {"ca_file": CLUSTER_CA, "server_name": "kubernetes.default.svc"}


def test_kubelets_own_authority(rendered: t.Callable[[str], Rendered]) -> None:
    it = rendered("site")
    assert it.one("ConfigMap", "prometheus-agent")["data"]["kubelet-ca.crt"] == VARIANTS["site"]["kaas_agent_kubelet_ca_certificate"]
    assert it.jobs["kubelet"]["tls_config"] == {"ca_file": "/etc/prometheus/kubelet-ca.crt"}


# What kubernetes-mixin's alerts and dashboards on nodes, pods, workloads and volumes ask for.
@pytest.mark.parametrize(
    ("job", "metric"),
    [
        ("apiserver", "apiserver_request_total"),
        ("apiserver", "apiserver_client_certificate_expiration_seconds_bucket"),
        ("cadvisor", "container_cpu_usage_seconds_total"),
        ("cadvisor", "container_memory_working_set_bytes"),
        ("cadvisor", "container_network_receive_packets_dropped_total"),
        ("cadvisor", "container_cpu_cfs_throttled_periods_total"),
        ("kubelet", "kubelet_volume_stats_available_bytes"),
        ("kubelet", "kubelet_volume_stats_inodes_used"),
        ("kubelet", "kubelet_node_name"),
        ("kubelet", "kubelet_pleg_relist_duration_seconds_bucket"),
        ("kubelet", "kubelet_certificate_manager_client_expiration_renew_errors"),
        ("kube-state-metrics", "kube_pod_container_status_waiting_reason"),
        ("kube-state-metrics", "kube_pod_owner"),
        ("kube-state-metrics", "kube_deployment_status_replicas_updated"),
        ("kube-state-metrics", "kube_statefulset_status_update_revision"),
        ("kube-state-metrics", "kube_horizontalpodautoscaler_spec_max_replicas"),
        ("kube-state-metrics", "kube_persistentvolumeclaim_labels"),
        ("kube-state-metrics", "kube_resourcequota"),
        ("kube-state-metrics", "kube_node_status_allocatable"),
        ("kube-state-metrics", "kube_poddisruptionbudget_status_desired_healthy"),
        ("kube-state-metrics-self", "kube_state_metrics_list_total"),
        ("node-exporter", "node_cpu_seconds_total"),
        ("node-exporter", "node_filesystem_avail_bytes"),
        ("node-exporter", "node_memory_MemAvailable_bytes"),
        ("node-exporter", "node_disk_io_time_weighted_seconds_total"),
        ("node-exporter", "node_timex_sync_status"),
        ("kube-etcd", "etcd_server_has_leader"),
        ("kube-scheduler", "scheduler_pending_pods"),
        ("prometheus-agent", "prometheus_remote_storage_samples_failed_total"),
    ],
)
def test_both_profiles_keep_what_content_needs(rendered: t.Callable[[str], Rendered], job: str, metric: str) -> None:
    assert rendered("minimal").kept(job, metric)
    assert rendered("full").kept(job, metric)


@pytest.mark.parametrize(
    ("job", "metric"),
    [
        ("apiserver", "apiserver_request_sli_duration_seconds_bucket"),
        ("apiserver", "workqueue_queue_duration_seconds_bucket"),
        ("kubelet", "kubelet_pod_worker_duration_seconds_bucket"),
        ("kube-etcd", "etcd_disk_wal_fsync_duration_seconds_bucket"),
        ("kube-scheduler", "scheduler_pod_scheduling_sli_duration_seconds_bucket"),
        ("coredns", "coredns_dns_request_duration_seconds_bucket"),
        ("kube-state-metrics", "kube_ingress_info"),
    ],
)
def test_only_full_keeps_histograms_and_rarer_objects(rendered: t.Callable[[str], Rendered], job: str, metric: str) -> None:
    assert not rendered("minimal").kept(job, metric)
    assert rendered("full").kept(job, metric)


@pytest.mark.parametrize("variant", GOOD)
def test_nothing_is_kept_that_is_not_named(rendered: t.Callable[[str], Rendered], variant: str) -> None:
    it = rendered(variant)
    for name, job in it.jobs.items():
        assert any(rule["action"] == "keep" and rule["source_labels"] == ["__name__"] for rule in job["metric_relabel_configs"]), name
        assert not it.kept(name, "etcd_object_counts_of_no_interest")


def test_own_metrics_are_added(rendered: t.Callable[[str], Rendered]) -> None:
    assert rendered("chosen").kept("kubelet", "kubelet_http_requests_total")
    assert not rendered("k3s").kept("kubelet", "kubelet_http_requests_total")
    assert argument(rendered("chosen").pod("Deployment", "kube-state-metrics"), "metric-labels-allowlist") == "pods=[app.kubernetes.io/name]"


def test_kube_state_metrics_keeps_the_same_list(rendered: t.Callable[[str], Rendered]) -> None:
    allowed = argument(rendered("minimal").pod("Deployment", "kube-state-metrics"), "metric-allowlist")
    assert "," not in allowed, "a comma would begin another expression"
    assert re.search(allowed, "kube_pod_info") and not re.search(allowed, "kube_pod_info_of_more")


def test_applications_are_scraped_where_they_were_found(rendered: t.Callable[[str], Rendered]) -> None:
    it = rendered("applications")
    for name, namespaces, path, port in (
        ("ingress-nginx", ["ingress-nginx", "kube-system"], "/metrics", "metrics"),
        ("cert-manager", ["default"], "/certificates", "http-metrics"),
        ("haproxy", ["edge"], "/metrics", "stat|stats"),
    ):
        job = it.jobs[name]
        (discovery,) = job["kubernetes_sd_configs"]
        assert discovery["namespaces"] == {"names": namespaces}
        assert job["metrics_path"] == path and job["honor_labels"] is True
        assert {"action": "keep", "source_labels": ["__meta_kubernetes_pod_container_port_name"], "regex": port} in job["relabel_configs"]
        # plain HTTP: what does not know the cluster's authority gets no token
        assert "scheme" not in job and "authorization" not in job
    assert it.jobs["haproxy"]["kubernetes_sd_configs"][0]["selectors"] == [{"role": "pod", "label": "app=haproxy"}]
    assert it.kept("haproxy", "haproxy_up") and not it.kept("haproxy", "haproxy_other")
    ports = {item["port"] for item in it.one("NetworkPolicy", "prometheus-agent")["spec"]["egress"][-1]["ports"]}
    assert {10254, 10255, 9402, 1024, 8001} <= ports and not {9403, 8080, 5000} & ports


def test_all_pods_of_harbor_are_scraped_once_at_a_port_without_a_name(rendered: t.Callable[[str], Rendered]) -> None:
    it = rendered("applications")
    job = it.jobs["harbor"]
    assert job["kubernetes_sd_configs"][0]["selectors"] == [{"role": "pod", "label": "app=harbor,component in (core,exporter,jobservice,registry)"}]
    rules = [rule for rule in job["relabel_configs"] if rule.get("source_labels") == ["__address__"]]
    targets = [{"__address__": address} for address in ("10.1.0.4:8080", "10.1.0.4:8001", "[fd00::4]:5000")]
    moved = [{**target, "__address__": re.sub(rules[0]["regex"], r"\1:8001", target["__address__"])} for target in targets]
    assert rules[0]["replacement"] == "$1:8001" and [relabeled(rules[1:], target) for target in moved] == moved
    assert [target["__address__"] for target in moved] == ["10.1.0.4:8001", "10.1.0.4:8001", "[fd00::4]:8001"]
    # a container that declares no port would be a second target
    assert relabeled(rules[1:], {"__address__": "10.1.0.4"}) is None
    assert {"source_labels": ["__meta_kubernetes_pod_label_component"], "target_label": "component"} in job["relabel_configs"]
    assert it.kept("harbor", "harbor_task_queue_size") and not it.kept("harbor", "registry_notifications_events_total")


def relabeled(rules: list[dict[str, t.Any]], series: dict[str, str]) -> dict[str, str] | None:
    """The part of Prometheus' relabelling that the agent's metrics need; promtool has none for it."""
    result = dict(series)
    for rule in rules:
        text = rule.get("separator", ";").join(result.get(name, "") for name in rule.get("source_labels", []))
        fits = re.fullmatch(rule.get("regex", "(.*)"), text) is not None
        action = rule.get("action", "replace")
        if action == "labeldrop":
            result = {name: content for name, content in result.items() if not re.fullmatch(rule["regex"], name)}
        elif action == "hashmod":
            result[rule["target_label"]] = str(hash(text) % rule["modulus"])
        elif action == "replace":
            if fits:
                result[rule["target_label"]] = rule["replacement"]
        elif fits == (action == "drop"):
            return None
    return {name: content for name, content in result.items() if content}


def test_names_of_hosts_do_not_leave_the_cluster(rendered: t.Callable[[str], Rendered]) -> None:
    nginx = {"__name__": "nginx_ingress_controller_requests", "ingress": "shop", "status": "200"}
    secret = nginx | {"host": "shop.example.com", "path": "/checkout"}
    rules = rendered("applications").jobs["ingress-nginx"]["metric_relabel_configs"]
    one, other = relabeled(rules, secret), relabeled(rules, secret | {"path": "/other"})
    assert one and other and one != other
    assert {name: content for name, content in one.items() if name != "hidden"} == nginx and one["hidden"].isdecimal()
    assert relabeled(rules, nginx) == nginx
    assert relabeled(rendered("applications-full").jobs["ingress-nginx"]["metric_relabel_configs"], secret) == secret
    traefik = {"__name__": "traefik_tls_certs_not_after", "cn": "shop.example.com", "sans": "shop.example.com", "serial": "1"}
    sent = relabeled(rendered("applications-full").jobs["traefik"]["metric_relabel_configs"], traefik)
    assert sent and set(sent) == {"__name__", "hidden"}
    for variant in GOOD:
        assert not rendered(variant).kept("kube-state-metrics", "kube_ingress_path") and not rendered(variant).kept("kube-state-metrics", "kube_ingress_tls")


def test_one_series_tells_whether_a_certificate_is_ready(rendered: t.Callable[[str], Rendered]) -> None:
    rules = rendered("applications").jobs["cert-manager"]["metric_relabel_configs"]
    ready = {"__name__": "certmanager_certificate_ready_status", "name": "shop", "condition": "True"}
    assert relabeled(rules, ready) == ready
    assert relabeled(rules, ready | {"condition": "False"}) is None


def test_images_pull_secrets_and_place(rendered: t.Callable[[str], Rendered]) -> None:
    it = rendered("site")
    images = {item["metadata"]["name"]: item["spec"]["template"]["spec"]["containers"][0]["image"] for item in it.all(*POD_KINDS)}
    assert images["prometheus-agent"] == VARIANTS["site"]["kaas_agent_images"]["prometheus"]
    assert images["node-exporter"].startswith("registry.example.com/mirror/prometheus/node-exporter:v")
    assert images["kube-state-metrics"].startswith("registry.example.com/mirror/kube-state-metrics/kube-state-metrics:v")
    for item in it.all(*POD_KINDS):
        pod = item["spec"]["template"]["spec"]
        assert pod["imagePullSecrets"] == [{"name": "site"}, {"name": "observer-agent-registry"}]
        assert pod["priorityClassName"] == "important"
        if item["kind"] != "DaemonSet":
            assert pod["nodeSelector"] == {"pool": "system"} and pod["tolerations"] == [{"key": "system", "operator": "Exists"}]
    for namespace in ("observer-agent", "observer-agent-node"):
        assert it.one("Secret", "observer-agent-registry", namespace)["type"] == "kubernetes.io/dockerconfigjson"
    assert it.pod("DaemonSet", "node-exporter")["tolerations"] == [{"operator": "Exists"}]
    assert it.pod("DaemonSet", "node-exporter")["containers"][0]["resources"]["limits"] == {"memory": "64Mi"}
    assert it.all("NetworkPolicy") == []


def test_storage(rendered: t.Callable[[str], Rendered]) -> None:
    assert {"name": "data", "emptyDir": {"sizeLimit": "4Gi"}} in rendered("minimal").pod("StatefulSet", "prometheus-agent")["volumes"]
    it = rendered("site")
    assert it.one("PersistentVolumeClaim", "prometheus-agent")["spec"]["storageClassName"] == "fast"
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "prometheus-agent"}} in it.pod("StatefulSet", "prometheus-agent")["volumes"]


def test_timeout_is_never_above_the_interval(rendered: t.Callable[[str], Rendered]) -> None:
    assert rendered("minimal").config["global"] == {"scrape_interval": "30s", "scrape_timeout": "10s"}
    assert rendered("site").config["global"] == {"scrape_interval": "5s", "scrape_timeout": "5s"}


def test_proxy(rendered: t.Callable[[str], Rendered]) -> None:
    (write,) = rendered("proxied").config["remote_write"]
    assert (write["proxy_url"], write["no_proxy"]) == ("http://proxy.example.com:3128", "example.com,192.0.2.0/24")
    assert "proxy_url" not in rendered("minimal").config["remote_write"][0]


def test_network_policies(rendered: t.Callable[[str], Rendered]) -> None:
    for variant, observer in (("minimal", 19291), ("proxied", 3128)):
        it = rendered(variant)
        assert it.one("NetworkPolicy", "default-deny", "observer-agent")["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        agent = it.one("NetworkPolicy", "prometheus-agent")["spec"]
        assert agent["policyTypes"] == ["Ingress", "Egress"] and "ingress" not in agent
        ports = {item["port"] for item in agent["egress"][-1]["ports"]}
        assert ports == {443, 6443, 10250, 9100, 9153, 10257, 10259, 2381, 10249, observer}


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ("bad-id", ["Kaas_Alpha", "RFC 1123"]),
        ("bad-long-id", ["63"]),
        ("bad-url", ["http://receive.example.com", "https://"]),
        ("bad-interval", ["1h30m", "30s"]),
        ("bad-days", ["kaas_agent_certificate_renew_before_days", "30"]),
        ("bad-part", ["scheduler", "kube_scheduler"]),
        ("bad-metrics", ["api", "apiserver"]),
        ("bad-application-job", ["apiserver", "another name"]),
        ("bad-application-selector", ["haproxy", "selector"]),
        ("bad-application-metrics", ["haproxy", "kaas_agent_metrics"]),
        ("bad-label", ["*", "wildcard"]),
        ("bad-resource", ["secrets", "pods"]),
        ("bad-namespace", ["observer-agent", "privileged"]),
    ],
)
def test_bad_input_is_one_clear_line(output: pathlib.Path, variant: str, words: list[str]) -> None:
    assert not (output / f"{variant}.json").exists()
    (message,) = json.loads((output / f"{variant}.failed.json").read_text())
    assert "\n" not in message and all(word in message for word in words), message
