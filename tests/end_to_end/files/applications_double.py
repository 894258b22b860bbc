"""A double of ingress-nginx, Traefik, cert-manager and Harbor: C(applications_double.py NAME) serves that one's metrics, made up and growing.

Named and labelled as by ingress-nginx 1.15 (internal/ingress/metric/collectors), and as pages of a real Traefik 3.5 and a real cert-manager 1.21 were. The lab
builds none of them: nginx with its Lua modules is no Go module, the others would be built for an hour. Harbor's pods each have a page, named and labelled as by
Harbor 2.16 (src/pkg/exporter, src/lib/metric, src/jobservice/runner) and by the registry in it (distribution 2.8). Only the standard library is used.
"""

from __future__ import annotations

import http.server
import sys
import time

START = time.time()
OWN = 'controller_class="k8s.io/ingress-nginx",controller_namespace="ingress-nginx",controller_pod="ingress-nginx-controller-0"'
# host, path, namespace, ingress, service, requests a second, share that fails
ROUTES = (
    ("shop.customer.example", "/", "shop", "shop", "frontend", 8.0, 0.0),
    ("shop.customer.example", "/checkout", "shop", "shop", "frontend", 2.0, 0.1),
    ("api.customer.example", "/", "shop", "api", "backend", 5.0, 0.02),
)
CERTIFICATES = (("shop.customer.example", "shop", "shop-tls", 63), ("api.customer.example", "shop", "api-tls", 12))
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def requests(age: float) -> list[str]:
    lines = ["# TYPE nginx_ingress_controller_requests counter"]
    durations = ["# TYPE nginx_ingress_controller_request_duration_seconds histogram"]
    for host, path, namespace, ingress, service, rate, failing in ROUTES:
        for status, share in (("200", 1 - failing), ("503", failing)):
            count = int(age * rate * share)
            labels = (
                f'canary="",{OWN},host="{host}",ingress="{ingress}",method="GET",namespace="{namespace}",path="{path}",service="{service}",status="{status}"'
            )
            lines.append(f"nginx_ingress_controller_requests{{{labels}}} {count}")
            name = "nginx_ingress_controller_request_duration_seconds"
            durations += [f'{name}_bucket{{{labels},le="{bound}"}} {int(count * min(1.0, bound * 8))}' for bound in BOUNDS]
            durations += [f'{name}_bucket{{{labels},le="+Inf"}} {count}', f"{name}_sum{{{labels}}} {count * 0.06}", f"{name}_count{{{labels}}} {count}"]
    return lines + durations


def ingress_nginx() -> list[str]:
    age = time.time() - START
    total = int(age * sum(route[5] for route in ROUTES))
    process = "nginx_ingress_controller_nginx_process"
    lines = requests(age)
    lines += [f'{process}_connections{{{OWN},state="{state}"}} {count}' for state, count in (("active", 9), ("reading", 1), ("waiting", 5), ("writing", 3))]
    lines += [f'{process}_connections_total{{{OWN},state="{state}"}} {total // 4}' for state in ("accepted", "handled")]
    lines += [
        f"{process}_requests_total{{{OWN}}} {total}",
        f"{process}_resident_memory_bytes{{{OWN}}} 9e+07",
        f"{process}_cpu_seconds_total{{{OWN}}} {age / 50}",
    ]
    config = "nginx_ingress_controller_config_last_reload_successful"
    lines += [f"{config}{{{OWN}}} 1", f"{config}_timestamp_seconds{{{OWN}}} {START}"]
    lines += [f"nginx_ingress_controller_success{{{OWN}}} {1 + int(age / 60)}", f"nginx_ingress_controller_errors{{{OWN}}} 0"]
    for host, namespace, secret, days in CERTIFICATES:
        labels = f'class="k8s.io/ingress-nginx",host="{host}",identifier="{secret}-0815",namespace="{namespace}",secret_name="{secret}"'
        lines.append(f"nginx_ingress_controller_ssl_expire_time_seconds{{{labels}}} {START + days * 86400}")
    # of no interest to anybody, and so never to leave the cluster
    lines += [f'nginx_ingress_controller_bytes_sent_sum{{{OWN},host="{route[0]}",path="{route[1]}"}} 1' for route in ROUTES]
    return lines


def traefik() -> list[str]:
    age = time.time() - START
    lines = [f"traefik_config_last_reload_success {START}", f"traefik_config_reloads_total {1 + int(age / 300)}"]
    for kind, labels in (("entrypoint", 'entrypoint="web"'), ("service", 'service="shop-frontend-80@kubernetes"')):
        for code, rate in (("200", 6.0), ("404", 0.5), ("502", 0.1)):
            every, name = f'code="{code}",{labels},method="GET",protocol="http"', f"traefik_{kind}_request_duration_seconds"
            count = int(age * rate)
            lines += [f"traefik_{kind}_requests_total{{{every}}} {count}", f"traefik_{kind}_responses_bytes_total{{{every}}} {count * 2000}"]
            lines += [f'{name}_bucket{{{every},le="{bound}"}} {int(count * min(1.0, bound * 3))}' for bound in (0.1, 0.3, 1.2, 5.0)]
            lines += [f'{name}_bucket{{{every},le="+Inf"}} {count}', f"{name}_sum{{{every}}} {count * 0.05}", f"{name}_count{{{every}}} {count}"]
    lines += [f'traefik_open_connections{{entrypoint="{name}",protocol="TCP"}} {count}' for name, count in (("metrics", 1), ("web", 7))]
    for number, (host, _namespace, _secret, days) in enumerate(CERTIFICATES):
        lines.append(f'traefik_tls_certs_not_after{{cn="{host}",sans="{host}",serial="{number}"}} {START + days * 86400}')
    # names of routers are often made of hosts
    lines.append(f'traefik_router_requests_total{{code="200",method="GET",protocol="http",router="shop-{ROUTES[0][0]}@kubernetes",service="shop"}} 1')
    return lines


def cert_manager() -> list[str]:
    lines = []
    for name, days, ready in (("shop", 63, "True"), ("api", 12, "True"), ("never", 0, "False")):
        labels = f'issuer_group="",issuer_kind="Issuer",issuer_name="ca",name="{name}",namespace="shop"'
        end = START + days * 86400 if days else 0
        lines += [f"certmanager_certificate_expiration_timestamp_seconds{{{labels}}} {end}"]
        lines += [f"certmanager_certificate_renewal_timestamp_seconds{{{labels}}} {end and end - 10 * 86400}"]
        lines += [f'certmanager_certificate_ready_status{{condition="{state}",{labels}}} {int(state == ready)}' for state in ("True", "False", "Unknown")]
    lines += [
        f'certmanager_issuer_ready_status{{condition="{state}",name="ca",namespace="shop"}} {int(state == "True")}' for state in ("True", "False", "Unknown")
    ]
    lines.append(f'certmanager_certificate_challenge_status{{domain="{ROUTES[0][0]}",name="shop",namespace="shop",status="ready"}} 1')
    return lines


# project, public, quota in bytes (-1 has none), share of it in use, repositories, members, pulls an hour
PROJECTS = (("library", "true", -1, 0.0, 12, 3, 900), ("shop", "false", 50e9, 0.62, 7, 9, 300), ("lab", "false", 10e9, 0.93, 3, 2, 5))
QUEUES = {"REPLICATION": (2, 4), "IMAGE_SCAN": (14, 35), "GARBAGE_COLLECTION": (0, 0), "RETENTION": (0, 0)}
# type, status: tasks a minute
TASKS = {
    ("REPLICATION", "success"): 3,
    ("REPLICATION", "fail"): 0.05,
    ("IMAGE_SCAN", "success"): 6,
    ("IMAGE_SCAN", "fail"): 0.1,
    ("GARBAGE_COLLECTION", "success"): 0.05,
    ("RETENTION", "success"): 0.1,
    ("RETENTION", "stop"): 0.01,
}


def summary(name: str, labels: str, count: int, mean: float) -> list[str]:
    lines = [f'{name}{{{labels},quantile="{quantile}"}} {mean * factor}' for quantile, factor in (("0.5", 0.8), ("0.9", 2), ("0.99", 5))]
    return [*lines, f"{name}_sum{{{labels}}} {count * mean}", f"{name}_count{{{labels}}} {count}"]


def harbor_exporter() -> list[str]:
    age = time.time() - START
    lines = ["harbor_health 1", 'harbor_system_info{auth_mode="oidc_auth",harbor_version="v2.16.0-c50c7ddd",self_registration="false"} 1']
    names = ("core", "database", "jobservice", "portal", "redis", "registry", "registryctl", "trivy")
    lines += [f'harbor_up{{component="{name}"}} 1' for name in names]
    lines += [f'harbor_project_total{{public="{public}"}} {sum(project[1] == public for project in PROJECTS)}' for public in ("true", "false")]
    used = 0.0
    for name, public, quota, share, repositories, members, pulls in PROJECTS:
        usage = quota * share if quota > 0 else 20e9
        used += usage
        own = f'project_name="{name}"'
        lines += [f"harbor_project_quota_byte{{{own}}} {quota:.0f}", f"harbor_project_quota_usage_byte{{{own}}} {usage:.0f}"]
        lines += [f"harbor_project_member_total{{{own}}} {members}", f'harbor_project_repo_total{{{own},public="{public}"}} {repositories}']
        lines += [f"harbor_artifact_pulled{{{own}}} {1000 + int(age * pulls / 3600)}"]
        lines += [f'harbor_project_artifact_total{{artifact_type="{kind}",{own},public="{public}"}} {repositories * 4}' for kind in ("IMAGE", "CHART")]
    public = sum(project[1] == "true" for project in PROJECTS)
    repositories = sum(project[4] for project in PROJECTS)
    for kind, count, all_public in (("project", len(PROJECTS), public), ("repo", repositories, PROJECTS[0][4])):
        for scope, number in (("total", count), ("public", all_public), ("private", count - all_public)):
            lines.append(f"harbor_statistics_{scope}_{kind}_amount {number}")
    lines.append(f"harbor_statistics_total_storage_consumption {used:.0f}")
    for kind, (size, latency) in QUEUES.items():
        lines += [f'harbor_task_queue_size{{type="{kind}"}} {size}', f'harbor_task_queue_latency{{type="{kind}"}} {latency}']
        lines.append(f'harbor_task_concurrency{{pool="9b1f",type="{kind}"}} {min(size, 10)}')
    return [*lines, "harbor_task_scheduled_total 3"]


def harbor_core() -> list[str]:
    age = time.time() - START
    lines = ["harbor_core_http_inflight_requests 2"]
    operations = (("GET", "getArtifact", 2.0, 0.04), ("GET", "v2_manifest", 6.0, 0.09), ("GET", "v2_blob", 3.0, 0.6), ("POST", "v2_blob_upload", 0.5, 0.3))
    for method, operation, rate, mean in operations:
        own = f'method="{method}",operation="{operation}"'
        lines += summary("harbor_core_http_request_duration_seconds", own, int(age * rate), mean)
        for code, share in (("200", 0.98), ("404", 0.015), ("500", 0.005)):
            lines.append(f'harbor_core_http_request_total{{code="{code}",{own}}} {int(age * rate * share)}')
    for name, rate in (("http_registry_proxy_requests_total", 1.0), ("http_registry_proxy_upstream_requests_total", 0.2)):
        lines.append(f'harbor_core_{name}{{method="GET",project="library"}} {int(age * rate)}')
    return lines


def harbor_jobservice() -> list[str]:
    age = time.time() - START
    lines = ['harbor_jobservice_info{node="harbor-jobservice-0",pool="9b1f",workers="10"} 1']
    for (kind, status), rate in TASKS.items():
        own, count = f'status="{status}",type="{kind}"', int(5 + age * rate / 60)
        lines.append(f"harbor_jobservice_task_total{{{own}}} {count}")
        lines += summary("harbor_jobservice_task_process_time_seconds", own, count, 90 if kind == "GARBAGE_COLLECTION" else 8)
    return lines


def harbor_registry() -> list[str]:
    age = time.time() - START
    lines = []
    for handler, rate in (("manifest", 6.0), ("blob", 3.0), ("blob_upload", 0.5)):
        for code, share in (("200", 0.99), ("500", 0.01)):
            lines.append(f'registry_http_requests_total{{code="{code}",handler="{handler}",method="get"}} {int(age * rate * share)}')
        own, name, count = f'handler="{handler}",method="get"', "registry_http_request_duration_seconds", int(age * rate)
        lines += [f'{name}_bucket{{{own},le="{bound}"}} {int(count * min(1.0, bound * 8))}' for bound in BOUNDS]
        lines += [f'{name}_bucket{{{own},le="+Inf"}} {count}', f"{name}_sum{{{own}}} {count * 0.05}", f"{name}_count{{{own}}} {count}"]
        lines.append(f'registry_http_in_flight_requests{{handler="{handler}"}} 1')
    for action, rate in (("GetContent", 8.0), ("Stat", 9.0), ("Writer", 0.5), ("Delete", 0.1)):
        own, name, count = f'action="{action}",driver="s3"', "registry_storage_action_seconds", int(age * rate)
        lines += [f'{name}_bucket{{{own},le="{bound}"}} {int(count * min(1.0, bound * 12))}' for bound in BOUNDS]
        lines += [f'{name}_bucket{{{own},le="+Inf"}} {count}', f"{name}_sum{{{own}}} {count * 0.03}", f"{name}_count{{{own}}} {count}"]
    for kind, rate in (("Request", 10.0), ("Hit", 8.5), ("Miss", 1.5)):
        lines.append(f'registry_storage_cache_total{{type="{kind}"}} {int(age * rate)}')
    # of no interest to anybody
    return [*lines, 'registry_notifications_events_total{endpoint="harbor",type="Successes"} 1']


def process() -> list[str]:
    age = time.time() - START
    return [f"process_cpu_seconds_total {age / 100}", "process_resident_memory_bytes 4e+07", f"process_start_time_seconds {START}", "go_goroutines 90"]


# name -> the port of its chart, and its metrics
HARBOR = {"core": harbor_core, "exporter": harbor_exporter, "jobservice": harbor_jobservice, "registry": harbor_registry}
PAGES = {
    "ingress-nginx": (10254, ingress_nginx),
    "traefik": (9100, traefik),
    "cert-manager": (9402, cert_manager),
    **{f"harbor-{component}": (8001, lines) for component, lines in HARBOR.items()},
}


def page(name: str) -> str:
    return "\n".join(PAGES[name][1]() + process()) + "\n"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = page(sys.argv[1]).encode()
        self.send_response(200 if self.path == "/metrics" else 404)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        pass


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("", PAGES[sys.argv[1]][0]), Handler).serve_forever()
