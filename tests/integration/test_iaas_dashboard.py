# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the dashboard IaaS shows, by real Prometheus, sidecars and Query over a double of exporters: one infrastructure is well, one is not, one is gone."""

from __future__ import annotations

import http.server
import json
import pathlib
import threading
import typing as t
import urllib.parse
import urllib.request

import pytest
from _infrastructures import Infrastructures, wait_for

DASHBOARD = json.loads((pathlib.Path(__file__).parents[2] / "roles/observer_content/files/dashboards/IaaS/scs-iaas.json").read_text())
GOOD = """
up{job="node",instance="ctl001"} 1
node_uname_info{instance="ctl001"} 1
node_memory_MemAvailable_bytes{instance="ctl001"} 40
node_memory_MemTotal_bytes{instance="ctl001"} 100
openstack_nova_up 1
openstack_neutron_up 1
openstack_nova_agent_state{adminState="enabled",service="nova-compute",hostname="cmp001"} 1
openstack_nova_agent_state{adminState="disabled",service="nova-compute",hostname="cmp002"} 0
ceph_health_status 0
ceph_osd_up{ceph_daemon="osd.0"} 1
ceph_cluster_total_bytes 100
ceph_cluster_total_used_raw_bytes 30
mysql_up{instance="ctl001"} 1
mysql_up{instance="ctl002"} 1
mysql_global_status_wsrep_cluster_size{instance="ctl001"} 2
mysql_global_status_wsrep_cluster_size{instance="ctl002"} 2
rabbitmq_unreachable_cluster_peers_count{instance="ctl001"} 0
rabbitmq_alarms_memory_used_watermark{instance="ctl001"} 0
haproxy_backend_status{proxy="keystone",state="UP"} 1
"""
BAD = (
    GOOD.replace("openstack_neutron_up 1", "openstack_neutron_up 0")
    .replace('hostname="cmp001"} 1', 'hostname="cmp001"} 0')
    .replace("ceph_health_status 0", "ceph_health_status 2")
    .replace('ceph_daemon="osd.0"} 1', 'ceph_daemon="osd.0"} 0')
    .replace('cluster_size{instance="ctl002"} 2', 'cluster_size{instance="ctl002"} 1')
    .replace('memory_used_watermark{instance="ctl001"} 0', 'memory_used_watermark{instance="ctl001"} 1')
    .replace('state="UP"} 1', 'state="UP"} 0')
    + """
ALERTS{alertname="CephHealthError",alertstate="firing",severity="critical"} 1
ALERTS{alertname="Old",alertstate="firing",severity="P3"} 1
ALERTS{alertname="Watchdog",alertstate="firing",severity="none"} 1
"""
)
# of the Observer's ruler, and a KaaS cluster that would like to be an infrastructure
RULER = "".join(f'observer:infrastructure:info{{infrastructure="{name}",mode="sidecar",alerts="true"}} 1\n' for name in ("good", "bad", "gone")) + "".join(
    f'ALERTS{{alertname="{alert}",alertstate="firing",severity="{severity}",infrastructure="{name}"}} 1\n'
    for alert, severity, name in (("InfrastructureDown", "critical", "gone"), ("InfrastructureAlert", "critical", "bad"), ("ClockWrong", "warning", "bad"))
)
SITES = {"good": GOOD, "bad": BAD, "ruler": RULER, "kaas": BAD + 'up{job="node",instance="n",infrastructure="good"} 0\n'}
LABELS = {"good": {"infrastructure": "good"}, "bad": {"infrastructure": "bad"}, "ruler": {"observer": "test"}, "kaas": {"cluster": "kaas"}}


class Exporters(http.server.BaseHTTPRequestHandler):
    """The double: /<site> has what its exporters would tell."""

    def do_GET(self) -> None:
        body = SITES[self.path.strip("/")].encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: t.Any) -> None:
        """Not one line for each scrape."""


@pytest.fixture(name="panel", scope="module")
def fixture_panel(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[t.Callable[..., t.Any]]:
    """What each of a panel's queries finds, with what is chosen in the variable."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exporters)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with Infrastructures(tmp_path_factory.mktemp("iaas")) as running:
        for name, labels in LABELS.items():
            target = {"honor_labels": True, "metrics_path": f"/{name}", "static_configs": [{"targets": [f"127.0.0.1:{server.server_port}"]}]}
            running.source(name, labels, [{"job_name": "exporters", **target}])
        url = running.query()
        wait_for(url, 'count(node_uname_info) == 3 and on () count(observer:infrastructure:info{observer="test"}) == 3')

        def find(panel: dict[str, t.Any], chosen: str = ".*") -> list[list[tuple[dict[str, str], float]]]:
            answers = []
            for target in panel["targets"]:
                expr = target["expr"].replace("$infrastructure", chosen).replace("$__rate_interval", "1m")
                with urllib.request.urlopen(f"{url}/api/v1/query?query={urllib.parse.quote(expr)}", timeout=30) as answer:
                    rows = json.load(answer)["data"]["result"]
                answers.append([(row["metric"], float(row["value"][1])) for row in rows])
            return answers

        yield find
    server.shutdown()


def named(title: str, kind: str) -> dict[str, t.Any]:
    (found,) = (each for each in DASHBOARD["panels"] if (each["title"], each["type"]) == (title, kind))
    return found


def columns(panel: t.Callable[..., t.Any], title: str) -> dict[str, dict[str, float]]:
    """By column, {infrastructure: value}."""
    found = named(title, "table")
    (organize,) = (each["options"] for each in found["transformations"] if each["id"] == "organize")
    names = [organize["renameByName"][f"Value #{target['refId']}"] for target in found["targets"]]
    return {name: {labels["infrastructure"]: value for labels, value in rows} for name, rows in zip(names, panel(found), strict=True)}


def test_one_row_for_each_infrastructure(panel: t.Callable[..., t.Any]) -> None:
    found = columns(panel, "Infrastructures")
    assert found["State"] == {"good": 1, "bad": 3, "gone": 4}
    assert found["Critical"] == {"good": 0, "bad": 1, "gone": 1}
    assert found["Warning"] == {"good": 0, "bad": 1, "gone": 0}
    assert found["Targets"] == {"good": 2, "bad": 2} and found["Targets down"] == {"good": 0, "bad": 0}
    assert found["Hosts"] == {"good": 1, "bad": 1} and found["Memory"] == {"good": 0.6, "bad": 0.6}
    for name in ("APIs down", "Agents down", "Databases down", "RabbitMQ"):
        assert found[name] == {"good": 0, "bad": 1}, name
    assert found["Ceph"] == {"good": 0, "bad": 2}
    assert max(found["Last sample"].values()) < 60


def test_details(panel: t.Callable[..., t.Any]) -> None:
    found = columns(panel, "OpenStack")
    assert (found["APIs"], found["Agents"]) == ({"good": 2, "bad": 2}, {"good": 1, "bad": 1}), "an agent that is disabled is not missed"
    found = columns(panel, "Ceph")
    assert (found["OSDs down"], found["Used"]) == ({"good": 0, "bad": 1}, {"good": 0.3, "bad": 0.3})
    found = columns(panel, "Databases, queues and load balancers")
    assert (found["In the cluster"], found["In trouble"], found["Backends down"]) == ({"good": 2, "bad": 1}, {"good": 0, "bad": 1}, {"good": 0, "bad": 1})


def test_counters(panel: t.Callable[..., t.Any]) -> None:
    def count(title: str, chosen: str = ".*") -> float:
        ((_labels, value),) = panel(named(title, "stat"), chosen)[0]
        return value

    found = {title: count(title) for title in ("Down", "Targets", "Targets down", "Critical", "Warning", "Other alerts")}
    assert found == {"Down": 1, "Targets": 4, "Targets down": 0, "Critical": 2, "Warning": 1, "Other alerts": 1}
    assert {title: count(title, "good") for title in found} == {"Down": 0, "Targets": 2, "Targets down": 0, "Critical": 0, "Warning": 0, "Other alerts": 0}


def test_alerts_say_whose_they_are(panel: t.Callable[..., t.Any]) -> None:
    (rows,) = panel(named("Alerts", "table"))
    assert sorted((labels["infrastructure"], labels["alertname"], labels["source"]) for labels, _value in rows) == [
        ("bad", "CephHealthError", "infrastructure"),
        ("bad", "ClockWrong", "Observer"),
        ("bad", "Old", "infrastructure"),
        ("gone", "InfrastructureDown", "Observer"),
    ]
