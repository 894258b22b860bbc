"""A double of ingress-nginx: serves metrics as its controller names and labels them (internal/ingress/metric/collectors), made up and growing.

nginx with its Lua modules can not be built from Go modules, so the lab has no real one. Only the standard library is used.
"""

from __future__ import annotations

import http.server
import itertools
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


def page() -> str:
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
    lines += ["process_cpu_seconds_total " + str(age / 100), "process_resident_memory_bytes 4e+07", f"process_start_time_seconds {START}", "go_goroutines 90"]
    # of no interest to anybody, and so never to leave the cluster
    lines += [f'nginx_ingress_controller_bytes_sent_sum{{{OWN},host="{host}"}} 1' for host in dict.fromkeys(itertools.chain(route[0] for route in ROUTES))]
    return "\n".join(lines) + "\n"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = page().encode()
        self.send_response(200 if self.path == "/metrics" else 404)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        pass


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("", 10254), Handler).serve_forever()
