# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ingress controllers and cert-manager, from their pods to what leaves the cluster.

The role on a real API server, and a real Prometheus with the configuration that it makes and the rights that it gives. The pages that are scraped are
doubles in the format of the real ones: no kubelet runs here. Real Traefik and cert-manager were scraped in the lab (docs/agent.md).
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import typing as t
import urllib.parse
import urllib.request

import pytest
import yaml
from _observer import free_port
from _programs import find_program
from cryptography.hazmat.primitives import serialization

TOP = pathlib.Path(__file__).parents[2]
DOUBLE = TOP / "tests" / "end_to_end" / "files" / "applications_double.py"
SECRET = "customer.example"
HARBOR = ("core", "exporter", "jobservice", "registry")
APPLICATIONS = {"ingress-nginx", "traefik", "cert-manager", "harbor"}

PLAY = """
- hosts: kaas
  gather_facts: false
  roles: [{role: scs.observer.kaas_agent}]
"""


@contextlib.contextmanager
def served(page: t.Callable[[], str]) -> t.Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # who scrapes must not say who it is
            assert "Authorization" not in self.headers
            content = page().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture(name="pages")
def fixture_pages() -> t.Iterator[dict[str, int]]:
    specification = importlib.util.spec_from_file_location("applications_double", DOUBLE)
    assert specification and specification.loader
    double = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(double)
    double.START -= 1000
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(served(functools.partial(double.page, name))) for name in double.PAGES}


class Site:
    """The namespaces of one test."""

    def __init__(self, cluster: t.Any) -> None:
        self.cluster = cluster
        self.names: dict[str, str] = {}

    def namespace(self, name: str) -> str:
        if name not in self.names:
            self.names[name] = f"{self.cluster.namespace()}-{name}"
            assert self.cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": self.names[name]}})[0] == 201
            # the controller manager makes it too, perhaps first
            accounts = f"/api/v1/namespaces/{self.names[name]}/serviceaccounts"
            assert self.cluster.request("POST", accounts, {"metadata": {"name": "default"}})[0] in (201, 409)
        return self.names[name]

    def pod(self, namespace: str, name: str, port: tuple[str, int], /, **labels: str) -> None:
        """A pod that runs on this machine's loopback."""
        path = f"/api/v1/namespaces/{self.namespace(namespace)}/pods"
        ports = [({"name": port[0]} if port[0] else {}) | {"containerPort": port[1]}]
        container = {"name": "main", "image": "none", "ports": ports}
        plain = {"app", "component"} <= set(labels)
        named = {key if plain else f"app.kubernetes.io/{key}": text for key, text in labels.items()}
        metadata = {"name": name, "labels": named, "annotations": {"secret": SECRET}}
        spec = {"containers": [container], "automountServiceAccountToken": False}
        status, answer = self.cluster.request("POST", path, {"metadata": metadata, "spec": spec})
        assert status == 201, answer
        running = {"status": {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}}
        status, answer = self.cluster.request("PATCH", f"{path}/{name}/status", running, "application/merge-patch+json")
        assert status == 200, answer


@pytest.fixture(name="site")
def fixture_site(cluster: t.Any) -> t.Iterator[Site]:
    site = Site(cluster)
    yield site
    for name in site.names.values():
        cluster.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture(name="onboard")
def fixture_onboard(cluster: t.Any, site: Site, tmp_path: pathlib.Path) -> t.Callable[..., str]:
    observer = site.namespace("observer")
    certificate, key = cluster.authority.issue("agents")
    pem = cluster.authority.pem
    plain = serialization.NoEncryption()
    authority_key = cluster.authority.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()
    for name, data in (
        ("agents-ca", {"tls.crt": pem, "tls.key": authority_key}),
        ("receive-server-tls", {"tls.crt": certificate, "tls.key": key, "ca.crt": pem}),
    ):
        encoded = {file: base64.b64encode(text.encode()).decode() for file, text in data.items()}
        body = {"metadata": {"name": name}, "type": "kubernetes.io/tls", "data": encoded}
        assert cluster.request("POST", f"/api/v1/namespaces/{observer}/secrets", body)[0] == 201
    agent = f"{cluster.namespace()}-agent"
    site.names |= {"agent": agent, "node": f"{agent}-node"}

    def run(**more: t.Any) -> str:
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "kaas_agent_kubeconfig": cluster.kubeconfig,
            "kaas_agent_observer_kubeconfig": cluster.kubeconfig,
            "kaas_agent_observer_namespace": observer,
            "kaas_agent_receive_url": "https://receive.example.com:19291",
            "kaas_agent_kind": "host",
            "kaas_agent_namespace": site.names["agent"],
            "kaas_agent_node_namespace": site.names["node"],
            "kaas_agent_scrape_interval": "1s",
            "kaas_agent_wait": False,
            **more,
        }
        (tmp_path / "play.yml").write_text(PLAY)
        (tmp_path / "inventory.json").write_text(json.dumps({"all": {"vars": variables, "children": {"kaas": {"hosts": {"kaas-one": {}}}}}}))
        program = pathlib.Path(sys.executable).with_name("ansible-playbook")
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_STDOUT_CALLBACK": "default"}
        command = [str(program), "-i", str(tmp_path / "inventory.json"), str(tmp_path / "play.yml")]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        return done.stdout

    return run


def configuration(cluster: t.Any, agent: str) -> dict[str, t.Any]:
    status, found = cluster.request("GET", f"/api/v1/namespaces/{agent}/configmaps/prometheus-agent")
    assert status == 200, found
    return yaml.safe_load(found["data"]["prometheus.yml"])


class Prometheus:
    """The agent's jobs of applications in a Prometheus that can be asked, with the agent's rights."""

    def __init__(self, folder: pathlib.Path, kubeconfig: str, jobs: list[dict[str, t.Any]]) -> None:
        for job in jobs:
            for discovery in job["kubernetes_sd_configs"]:
                discovery["kubeconfig_file"] = kubeconfig
        (folder / "prometheus.yml").write_text(yaml.safe_dump({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}))
        self.url = f"http://127.0.0.1:{free_port()}"
        command = [find_program("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={self.url[7:]}"]
        self.log = folder / "prometheus.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT)

    def series(self) -> list[dict[str, str]]:
        query = urllib.parse.urlencode({"match[]": '{__name__!=""}'})
        with urllib.request.urlopen(f"{self.url}/api/v1/series?{query}", timeout=5) as answer:
            return json.load(answer)["data"]

    def wait_for(self, jobs: set[str]) -> list[dict[str, str]]:
        end = time.monotonic() + 60
        found: list[dict[str, str]] = []
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                found = self.series()
                if {each["job"] for each in found if each["__name__"] == "up"} == jobs and {each["job"] for each in found if "_" in each["__name__"]} == jobs:
                    return found
            time.sleep(0.5)
        raise AssertionError(f"not scraped in time: {found[:5]}\n{self.log.read_text()[-3000:]}")


def named(series: list[dict[str, str]], name: str) -> list[dict[str, str]]:
    return [each for each in series if each["__name__"] == name]


def test_what_leaves_the_cluster_of_ingresses_and_certificates(
    cluster: t.Any, site: Site, pages: dict[str, int], onboard: t.Callable[..., str], tmp_path: pathlib.Path
) -> None:
    site.pod("edge", "nginx", ("metrics", pages["ingress-nginx"]), name="ingress-nginx", component="controller")
    site.pod("edge", "webhook", ("metrics", pages["ingress-nginx"]), name="ingress-nginx", component="admission-webhook")
    site.pod("edge", "quiet", ("web", 8000), name="traefik")
    site.pod("own", "traefik", ("metrics", pages["traefik"]), name="traefik")
    site.pod("own", "manager", ("http-metrics", pages["cert-manager"]), name="cert-manager", component="controller")
    site.pod("customer", "app", ("metrics", pages["traefik"]), name="app")
    # Harbor's pods have one port; here on one address, so that they serve one page
    for component in HARBOR:
        site.pod("own", f"harbor-{component}", ("", pages["harbor-exporter"]), app="harbor", component=component)
    site.pod("own", "harbor-portal", ("", pages["harbor-exporter"]), app="harbor", component="portal")
    harbor = [{"name": "harbor", "port": pages["harbor-exporter"]}]
    output = onboard(kaas_agent_applications=harbor)
    assert all(name in output for name in APPLICATIONS)

    agent = site.names["agent"]
    known = APPLICATIONS
    jobs = [job for job in configuration(cluster, agent)["scrape_configs"] if job["job_name"] in known]
    assert {job["job_name"] for job in jobs} == known
    kubeconfig = cluster.user(f"system:serviceaccount:{agent}:prometheus-agent", "system:serviceaccounts")
    prometheus = Prometheus(tmp_path, kubeconfig, jobs)
    try:
        series = prometheus.wait_for(known)
    finally:
        prometheus.process.terminate()
        prometheus.process.wait(20)

    # one target each: neither the webhook's pod, nor the one without the port, nor another's
    assert sorted((each["job"], each["pod"], each["namespace"]) for each in named(series, "up")) == [
        ("cert-manager", "manager", site.names["own"]),
        *(("harbor", f"harbor-{component}", site.names["own"]) for component in HARBOR),
        ("ingress-nginx", "nginx", site.names["edge"]),
        ("traefik", "traefik", site.names["own"]),
    ]
    assert SECRET not in json.dumps(series)
    # three routes with two statuses: none was mixed with another, although hosts and paths are gone
    requests = named(series, "nginx_ingress_controller_requests")
    assert len(requests) == 6 and len({each["hidden"] for each in requests}) == 3
    assert {(each["namespace"], each["ingress"], each["service"]) for each in requests} == {("shop", "shop", "frontend"), ("shop", "api", "backend")}
    certificates = named(series, "nginx_ingress_controller_ssl_expire_time_seconds")
    assert {(each["namespace"], each["secret_name"]) for each in certificates} == {("shop", "shop-tls"), ("shop", "api-tls")}
    assert "hidden" not in named(series, "nginx_ingress_controller_config_last_reload_successful")[0]
    assert len({each["hidden"] for each in named(series, "traefik_tls_certs_not_after")}) == 2
    assert [each["condition"] for each in named(series, "certmanager_certificate_ready_status")] == ["True"] * 3
    assert named(series, "certmanager_certificate_expiration_timestamp_seconds")[0]["namespace"] == "shop"
    assert {each["component"] for each in named(series, "up") if each["job"] == "harbor"} == set(HARBOR)
    assert {"database", "trivy"} < {each["component"] for each in named(series, "harbor_up")}, "of what Harbor says the component is its own"
    kept = {each["__name__"] for each in series}
    assert not {"nginx_ingress_controller_bytes_sent_sum", "traefik_router_requests_total", "certmanager_certificate_challenge_status"} & kept

    # what is gone takes its job and the right with it
    for name in ("edge", "own"):
        assert cluster.request("DELETE", f"/api/v1/namespaces/{site.names[name]}/pods?gracePeriodSeconds=0")[0] == 200
    onboard(kaas_agent_applications=harbor)
    left = {job["job_name"] for job in configuration(cluster, agent)["scrape_configs"]}
    assert not left & known and "kubelet" in left
    for name in ("edge", "own"):
        assert cluster.request("GET", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{site.names[name]}/roles")[1]["items"] == []


def test_a_namespace_without_the_role_is_closed_to_the_agent(cluster: t.Any, site: Site, pages: dict[str, int], onboard: t.Callable[..., str]) -> None:
    """The right is needed, and not more than it is given."""
    site.pod("own", "traefik", ("metrics", pages["traefik"]), name="traefik")
    site.pod("customer", "app", ("metrics", pages["traefik"]), name="app")
    onboard(kaas_agent_applications=[{"name": "cert-manager", "scrape": "never"}])
    user = f"system:serviceaccount:{site.names['agent']}:prometheus-agent"
    for namespace, allowed in (("own", True), ("customer", False), ("observer", False)):
        attributes = {"namespace": site.namespace(namespace), "verb": "list", "resource": "pods"}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": user, "resourceAttributes": attributes}}
        status, answer = cluster.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        assert (status, answer["status"]["allowed"]) == (201, allowed), namespace
