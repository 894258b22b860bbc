"""A double of ingress-nginx, Traefik and cert-manager: C(applications_double.py NAME) serves that one's metrics, made up and growing.

Named and labelled as by ingress-nginx 1.15 (internal/ingress/metric/collectors), and as pages of a real Traefik 3.5 and a real cert-manager 1.21 were. The lab
builds none of them: nginx with its Lua modules is no Go module, the others would be built for an hour. Only the standard library is used.
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


def process() -> list[str]:
    age = time.time() - START
    return [f"process_cpu_seconds_total {age / 100}", "process_resident_memory_bytes 4e+07", f"process_start_time_seconds {START}", "go_goroutines 90"]


# name -> the port of its chart, and its metrics
PAGES = {"ingress-nginx": (10254, ingress_nginx), "traefik": (9100, traefik), "cert-manager": (9402, cert_manager)}


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
