# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""observer_services against real servers: the real blackbox exporter and the real Prometheus with what the role's templates make of them, and its rules.

Changed for the test are addresses (the exporter's is loopback), intervals, the C(for) of alerts, and the path of the mounted Secrets.
"""

from __future__ import annotations

import functools
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import typing as t
import urllib.parse
import urllib.request

import pytest
import yaml
from _programs import find_program
from _regexps import BAD, GOOD
from _services import HOST, PASSWORD, TOKEN, USER, Authority, Page, Proxy, Servers, Silent, closed_port
from _services_examples import blocks
from ansible_collections.scs.observer.plugins.module_utils import _alert_rules, _dashboard_queries, _grafana_dashboards, _promql_backends, _services
from ansible_collections.scs.observer.plugins.module_utils._url_access import Access

TOP = pathlib.Path(__file__).parents[2]
ROLE = TOP / "roles" / "observer"
RULES = TOP / "roles" / "observer_content" / "files" / "rules"
ZONE = """example.test:PORT {
    hosts {
        192.0.2.7 www.example.test
        2001:db8::7 www.example.test
    }
}
"""
# what each service has to be: None, or the phase in which its probe fails
WANTED: dict[str, str | None] = {}


def get(url: str, **query: str) -> str:
    with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(query)}" if query else url, timeout=30) as answer:
        return answer.read().decode()


def listens(port: int) -> bool:
    socket.create_connection((HOST, port), 1).close()
    return True


def wait_until(check: t.Callable[[], t.Any], seconds: float, what: str | t.Callable[[], str]) -> t.Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = check()
        except OSError:
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} seconds: {what() if callable(what) else what}"
        time.sleep(0.5)


class Running:
    """Programs of the test, killed at its end."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str, ready: t.Callable[[], t.Any]) -> None:
        log = self.folder / f"{name}.log"
        with log.open("ab") as out:
            self.processes[name] = subprocess.Popen(command, cwd=self.folder, stdout=out, stderr=subprocess.STDOUT)
        process = self.processes[name]

        def runs() -> t.Any:
            assert process.poll() is None, log.read_text()[-2000:]
            return ready()

        wait_until(runs, 60, name)

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


def services(servers: Servers, folder: pathlib.Path, dns: int) -> list[dict[str, t.Any]]:
    """One of each kind; fills WANTED."""
    authority = Authority(folder)
    trust = {"ca_certificate": authority.pem}
    plain = servers.http()
    closed = f"{HOST}:{closed_port()}"
    Page.plain, Page.closed = f"{plain}/", f"http://{closed}/"
    secure = servers.http(authority.context("good"))
    only12 = authority.context("only12")
    only12.maximum_version = only12.maximum_version.TLSv1_2
    short = servers.http(authority.context("short", days=20))
    ends = servers.http(authority.context("ends", days=3))
    lines = servers.tcp()
    six = servers.http6()
    everything = {"status": [200], "body": "(?i)all IS well", "body_not": "for sale", "header": {"Content-Type": "^text/html"}, "max_seconds": 1}
    # name, phase, url, module, request, expectations
    rows: list[tuple[str, str | None, str, str, dict[str, t.Any], dict[str, t.Any]]] = [
        ("good", None, f"{plain}/", "http", {}, {}),
        ("good-all", None, f"{plain}/", "http", {}, everything),
        ("good-tls", None, f"{secure}/", "http", trust, {"tls_min_version": "1.3", "redirect": False}),
        ("good-moved", None, f"{secure}/moved", "http", trust, {"body": "All is well"}),
        ("good-redirect", None, f"{plain}/moved", "http", {}, {"redirect": "/"}),
        ("good-post", None, f"{plain}/items", "http", {"method": "POST", "body": '{"a": 1}', "headers": {"X-Probe": "yes"}}, {"status": 201, "body": "^made"}),
        ("good-login", None, f"{secure}/login", "http", {**trust, "basic_auth_secret": "login"}, {}),
        ("good-token", None, f"{secure}/token", "http", {**trust, "bearer_secret": "token"}, {}),
        ("good-proxy", None, "http://only-the-proxy-knows.invalid/", "http", {"proxy": servers.http(handler=Proxy)}, {}),
        ("good-sni", None, f"{servers.http(authority.context('sni', names=('www.example.test',)))}/", "http", {**trust, "server_name": "www.example.test"}, {}),
        ("good-v6", None, f"{six}/", "http", {}, {}),
        ("good-v6-only", None, f"{six}/", "http", {"ip_protocol": "ip6"}, {}),
        ("v6-by-v4", "resolve", f"{six}/", "http", {"ip_protocol": "ip4"}, {}),
        ("no-login", "status", f"{secure}/login", "http", trust, {}),
        ("closed", "connect", f"http://{closed}/", "http", {}, {}),
        ("closed-tls", "connect", f"https://{closed}/", "http", {}, {}),
        ("no-name", "resolve", "http://no-such-name.invalid/", "http", {}, {}),
        ("no-proxy-name", "status", "http://nobody-knows.invalid/", "http", {"proxy": servers.http(handler=Proxy)}, {}),
        ("error", "status", f"{plain}/error", "http", {}, {}),
        ("wrong-page", "content", f"{plain}/wrong", "http", {}, {"body": "All is well"}),
        ("for-sale", "content", f"{plain}/wrong", "http", {}, {"body_not": "for sale"}),
        ("wrong-header", "content", f"{plain}/", "http", {}, {"header": {"Content-Type": "json"}}),
        ("slow", "answer", f"{plain}/slow", "http", {}, {"max_seconds": 0.8}),
        ("slow-tls", "answer", f"{secure}/slow", "http", trust, {"max_seconds": 0.8}),
        ("slow-but-there", None, f"{plain}/slow", "http", {}, {}),
        ("endless", "transfer", f"{plain}/drip", "http", {}, {"max_seconds": 1.2}),
        ("moved", "status", f"{plain}/moved", "http", {}, {"redirect": False}),
        ("moved-elsewhere", "content", f"{plain}/moved", "http", {}, {"redirect": "/elsewhere"}),
        ("moved-away", "redirect", f"{plain}/away", "http", {}, {}),
        ("moved-down", "redirect", f"{secure}/down", "http", trust, {}),
        ("expired", "certificate", f"{servers.http(authority.context('expired', days=-2))}/", "http", trust, {}),
        ("other-name", "certificate", f"{servers.http(authority.context('other', names=('other.example.test',)))}/", "http", trust, {}),
        ("self-signed", "certificate", f"{servers.http(authority.context('own', signed=False))}/", "http", trust, {}),
        ("unknown-authority", "certificate", f"{secure}/", "http", {}, {}),
        ("old-tls", "tls", f"{servers.http(authority.old())}/", "http", trust, {}),
        ("not-tls13", "tls", f"{servers.http(only12)}/", "http", trust, {"tls_min_version": 1.3}),
        ("no-tls", "tls", plain.replace("http:", "https:"), "http", {}, {}),
        ("short", None, f"{short}/", "http", trust, {}),
        ("ends", None, f"{ends}/", "http", trust, {}),
        ("tcp-open", None, lines, "tcp", {}, {}),
        ("tcp-greets", None, lines, "tcp", {}, {"answer": "^220 .*ready"}),
        ("tcp-answers", None, lines, "tcp", {"send": "PING"}, {"answer": [r"^220 ", r"^\+PONG"]}),
        ("tcp-closed", "connect", closed, "tcp", {}, {}),
        ("tcp-no-name", "resolve", "no-such-name.invalid:25", "tcp", {}, {}),
        ("tcp-silent", "answer", servers.tcp(Silent), "tcp", {}, {"answer": "^220 ", "max_seconds": 0.8}),
        ("tcp-other", "content", lines, "tcp", {"send": "PONG"}, {"answer": "^554 "}),
        ("tls-good", None, servers.tcp(context=authority.context("lines")), "tls", trust, {"answer": "^220 ", "tls_min_version": "1.2"}),
        ("tls-expired", "certificate", servers.tcp(context=authority.context("lines-expired", days=-1)), "tls", trust, {}),
        ("tls-none", "tls", lines, "tls", trust, {}),
        ("tls-closed", "connect", closed, "tls", trust, {}),
        ("tls-silent", "answer", servers.tcp(Silent, authority.context("silent")), "tls", trust, {"answer": "^220", "max_seconds": 0.8}),
        ("dns-good", None, f"{HOST}:{dns}", "dns", {"name": "www.example.test"}, {"answer": r"192\.0\.2\.7$"}),
        ("dns-aaaa", None, f"{HOST}:{dns}", "dns", {"name": "www.example.test", "type": "AAAA", "transport": "tcp"}, {"answer": "2001:db8::7"}),
        ("dns-servfail", None, f"{HOST}:{dns}", "dns", {"name": "none.example.test"}, {"rcode": "SERVFAIL"}),
        ("dns-other", "content", f"{HOST}:{dns}", "dns", {"name": "www.example.test"}, {"answer": r"192\.0\.2\.8$"}),
        ("dns-none", "content", f"{HOST}:{dns}", "dns", {"name": "none.example.test"}, {}),
        ("dns-closed", "answer", closed, "dns", {"name": "www.example.test"}, {"max_seconds": 0.8}),
        ("icmp-good", None, HOST, "icmp", {}, {}),
        ("icmp-no-name", "resolve", "no-such-name.invalid", "icmp", {}, {}),
        # of the documentation's network, to which no host answers
        ("icmp-none", "answer", "198.51.100.3", "icmp", {}, {"max_seconds": 0.8}),
    ]
    WANTED.update({name: phase for name, phase, *_more in rows})
    return [
        {"name": name, "url": url, "module": module, "labels": {"team": "tests"}, "request": request, "expectations": expectations}
        for name, _phase, url, module, request, expectations in rows
    ]


PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.copy:
        dest: "{{ folder }}/rendered.json"
        content: "{{ {'problems': problems, 'manifests': manifests} | to_json }}"
      vars:
        problems: "{{ lookup('ansible.builtin.template', role_path ~ '/templates/_problems.j2') | split('\\n') | map('trim') | select | list }}"
        manifests: "{{ lookup('ansible.builtin.template', role_path ~ '/templates/prometheus.yml.j2', role_path ~ '/templates/blackbox_exporter.yml.j2',
          wantlist=True) }}"
"""


def rendered(folder: pathlib.Path, variables: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The objects that the role would write of Prometheus and the exporter."""
    given = yaml.safe_load((ROLE / "defaults/main.yml").read_text()) | yaml.safe_load((ROLE / "vars/main.yml").read_text())
    given |= {
        "observer_s3_endpoint": "https://s3.example.com",
        "observer_s3_bucket": "bucket",
        "observer_s3_access_key": "access",
        "observer_s3_secret_key": "secret",
        "observer_receive_public_url": "https://receive.example.com",
        "__observer_certificates": {"authorities": {name: {"certificate": "c"} for name in ("agents-ca", "inside-ca", "infrastructures-ca")}},
        "__observer_read": {"resources": []},
        "role_path": str(ROLE),
        "folder": str(folder),
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
    }
    (folder / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": {"observer": given | variables}}}))
    (folder / "playbook.yml").write_text(PLAYBOOK)
    command = [sys.executable, "-m", "ansible", "playbook", "-i", str(folder / "inventory.yml"), str(folder / "playbook.yml")]
    done = subprocess.run(command, cwd=TOP, env=os.environ, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    result = json.loads((folder / "rendered.json").read_text())
    assert result["problems"] == []
    return [found for text in result["manifests"] for found in yaml.safe_load_all(text) if found]


def config_of(objects: list[dict[str, t.Any]], name: str, key: str) -> str:
    (text,) = [item["data"][key] for item in objects if item["kind"] == "ConfigMap" and item["metadata"]["name"] == name]
    return text


def flags_of(objects: list[dict[str, t.Any]], name: str) -> list[str]:
    containers = [each for item in objects if item["kind"] in ("Deployment", "StatefulSet") for each in item["spec"]["template"]["spec"]["containers"]]
    (flags,) = [container["args"] for container in containers if container["name"] == name]
    return flags


def replace(path: pathlib.Path, text: str) -> None:
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


class Observer:
    """The exporter and Prometheus as the role configures them."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.running = Running(folder)
        self.exporter, self.prometheus = (f"http://{HOST}:{closed_port()}" for _program in range(2))

    def configure(self, wanted: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
        objects = rendered(self.folder, {"observer_services": wanted, "observer_scrape_interval": "3s"})
        exporter = config_of(objects, "blackbox-exporter", "blackbox.yml").replace(_services.SECRETS_FOLDER, str(self.folder / "secrets"))
        text = config_of(objects, "prometheus", "prometheus.yml").replace("blackbox-exporter.observer.svc:9115", self.exporter.removeprefix("http://"))
        config = yaml.safe_load(text)
        config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"].startswith("blackbox-")]
        # of the rest of the Observer only the exporter itself
        own = [{"targets": [self.exporter.removeprefix("http://")], "labels": {"instance": "blackbox-exporter-a"}}]
        config["scrape_configs"].append({"job_name": "blackbox-exporter", "static_configs": own})
        for job in config["scrape_configs"]:
            # an external label, which Prometheus gives to others only
            job.setdefault("relabel_configs", []).append({"target_label": "observer", "replacement": "test"})
        config["rule_files"] = ["rules-*.yaml"]
        config["global"] |= {"evaluation_interval": "1s", "external_labels": {}}
        replace(self.folder / "blackbox.yml", exporter)
        replace(self.folder / "prometheus.yml", yaml.safe_dump(config))
        return objects

    def start(self, objects: list[dict[str, t.Any]]) -> None:
        place = f"{self.folder}/"
        changed = {"--web.listen-address": "", "--config.auto-reload-interval": "", "--storage.tsdb.path": f"{place}data"}
        for program, url, ready, more in (
            ("blackbox_exporter", self.exporter, "/-/healthy", ["--config.auto-reload-interval=1"]),
            ("prometheus", self.prometheus, "/-/ready", ["--config.auto-reload-interval=1s"]),
        ):
            flags = []
            for flag in flags_of(objects, program.replace("_", "-")):
                name, _equals, _value = flag.partition("=")
                if name in changed:
                    flags += [f"{name}={changed[name]}"] if changed[name] else []
                else:
                    flags.append(flag.replace("/etc/observer/config/", place))
            flags += [f"--web.listen-address={url.removeprefix('http://')}", *more]
            self.running.start(program, find_program(program), *flags, ready=lambda url=url, ready=ready: get(url + ready))

    def query(self, expr: str) -> list[dict[str, t.Any]]:
        return json.loads(get(f"{self.prometheus}/api/v1/query", query=expr))["data"]["result"]

    def by_service(self, expr: str) -> dict[str, float]:
        return {found["metric"]["service"]: float(found["value"][1]) for found in self.query(expr)}

    def phases(self) -> dict[str, str]:
        return {found["metric"]["service"]: found["metric"]["phase"] for found in self.query("observer:service_failed_phase:info")}

    def firing(self, name: str) -> dict[str, list[dict[str, t.Any]]]:
        """By service."""
        found: dict[str, list[dict[str, t.Any]]] = {}
        for alert in json.loads(get(f"{self.prometheus}/api/v1/alerts"))["data"]["alerts"]:
            if alert["state"] == "firing" and alert["labels"]["alertname"] == name:
                found.setdefault(alert["labels"].get("service", ""), []).append(alert)
        return found


@pytest.fixture(name="observer", scope="module")
def fixture_observer(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Observer]:
    folder = tmp_path_factory.mktemp("services")
    for secret, keys in {"login": {"username": USER, "password": PASSWORD}, "token": {"token": TOKEN}}.items():
        (folder / "secrets" / secret).mkdir(parents=True)
        for key, value in keys.items():
            (folder / "secrets" / secret / key).write_text(value)
    settings = {"default": {"service_probe_seconds": {"warning": 1}}}
    (folder / "rules-thresholds.yaml").write_text(json.dumps(_alert_rules.thresholds((RULES / "thresholds.yaml").read_text(), settings)))
    (folder / "rules-services.yaml").write_text(re.sub(r"(?m)^(\s+for:) .*$", r"\1 2s", (RULES / "services.yaml").read_text()))
    observer = Observer(folder)
    dns = closed_port()
    with Servers() as servers:
        try:
            (folder / "Corefile").write_text(ZONE.replace("PORT", str(dns)))
            listening = functools.partial(listens, dns)
            observer.running.start("coredns", find_program("coredns"), "-conf", str(folder / "Corefile"), ready=listening)
            observer.services = services(servers, folder, dns)
            observer.start(observer.configure(observer.services))
            yield observer
        finally:
            observer.running.stop()


def test_each_probe_succeeds_or_fails_in_its_phase(observer: Observer) -> None:
    failing = {name: phase for name, phase in WANTED.items() if phase}
    success: dict[str, float] = {}

    def settled() -> bool:
        success.update(observer.by_service('max by (service) (probe_success{job=~"blackbox-.+"})'))
        return len(success) == len(WANTED) and observer.phases() == failing

    def left() -> str:
        phases = observer.phases()
        names = {name for name in WANTED if phases.get(name) != failing.get(name) or name not in success}
        return json.dumps({name: [success.get(name), phases.get(name), failing.get(name)] for name in sorted(names)})

    wait_until(settled, 60, left)
    assert {name for name, value in success.items() if value} == {name for name, phase in WANTED.items() if not phase}


def test_a_failed_service_has_its_alert_with_the_phase_and_a_good_one_has_none(observer: Observer) -> None:
    failing = {name: phase for name, phase in WANTED.items() if phase}

    def told() -> dict[str, str]:
        return {name: alert["annotations"]["phase"] for name, (alert,) in observer.firing("ServiceDown").items()}

    wait_until(lambda: told() == failing, 40, lambda: f"{told()} is not {failing}")
    alerts = {name: alert for name, (alert,) in observer.firing("ServiceDown").items()}
    assert {alert["labels"]["team"] for alert in alerts.values()} == {"tests"}
    words = {
        "error": "(phase status): HTTP status 500.",
        "closed": "no connection is made",
        "expired": "certificate is not believed",
        "old-tls": "no common version",
        "slow": "no answer comes in time",
        "no-name": "can not be resolved",
        "wrong-page": "not the wanted one",
        "moved-away": "does not answer or is not encrypted",
        "endless": "does not end in time",
    }
    for name, text in words.items():
        assert text in alerts[name]["annotations"]["description"], alerts[name]
    assert observer.firing("ServiceNotProbed") == {} and observer.firing("ServiceProbesConfigInvalid") == {}


def test_certificates_are_told_of_before_they_end_and_after(observer: Observer) -> None:
    both = {"critical", "warning"}
    wanted = {"short": {"warning"}, "ends": both, "expired": both, "tls-expired": both}

    def told() -> dict[str, set[str]]:
        return {name: {alert["labels"]["severity"] for alert in alerts} for name, alerts in observer.firing("ServiceCertificateExpiring").items()}

    wait_until(lambda: told() == wanted, 40, lambda: f"{told()} is not {wanted}")


def test_a_slow_service_is_told_of_with_its_slow_phase(observer: Observer) -> None:
    wait_until(lambda: set(observer.firing("ServiceSlow")) == {"slow-but-there"}, 40, lambda: str(observer.firing("ServiceSlow")))
    (alert,) = observer.firing("ServiceSlow")["slow-but-there"]
    assert "most of it in phase processing (1." in alert["annotations"]["description"]


def test_the_dashboard_of_probes_shows_it_all(observer: Observer) -> None:
    """In every panel but those of the clusters' API servers, of which there is none here."""
    board = TOP / "roles/observer_content/files/dashboards/Services/scs-service-probes.json"
    wanted = _grafana_dashboards.parse([_grafana_dashboards.entry_of(source, "", by_folder=False) for source in _grafana_dashboards.read_all([str(board)])], "")
    with _promql_backends.UrlBackend(observer.prometheus, Access(), timeout=60) as backend:
        report = _dashboard_queries.run(wanted, backend, _dashboard_queries.Options(span=60, scrape_interval=3))
    panels = json.loads(board.read_text())["panels"]
    api = [panel["title"] for panel in panels[[panel["title"] for panel in panels].index("API servers of the KaaS clusters") :]]
    assert report.failures(["error"]) == []
    left = [text for text in map(str, report.failures(["empty"])) if not any(f"({title})" in text for title in api)]
    assert left == []


def test_services_that_expect_the_same_share_a_module(observer: Observer) -> None:
    modules = yaml.safe_load((observer.folder / "blackbox.yml").read_text())["modules"]
    jobs = {job["job_name"]: job["static_configs"] for job in yaml.safe_load((observer.folder / "prometheus.yml").read_text())["scrape_configs"]}
    used = [target["labels"]["__param_module"] for name, targets in jobs.items() for target in targets if name != "blackbox-exporter"]
    assert used.count("http") > 5 and len(set(used)) < len(WANTED)
    assert set(used) <= set(modules)


def test_changes_need_no_restart(observer: Observer) -> None:
    more = {"name": "later", "url": next(each["url"] for each in observer.services if each["name"] == "good"), "expectations": {"status": [200, 204]}}
    pids = {name: process.pid for name, process in observer.running.processes.items()}
    observer.configure([*observer.services, more])
    wait_until(lambda: observer.by_service('probe_success{service="later"}') == {"later": 1.0}, 40, "the new service")
    assert all(process.poll() is None for process in observer.running.processes.values())
    assert {name: process.pid for name, process in observer.running.processes.items()} == pids


def test_a_configuration_that_the_exporter_refuses_leaves_the_old_one_and_is_told_of(observer: Observer) -> None:
    good = (observer.folder / "blackbox.yml").read_text()
    replace(observer.folder / "blackbox.yml", good + "  broken: {prober: http, http: {no_such_option: 1}}\n")
    reloaded = "min(max_over_time(blackbox_exporter_config_last_reload_successful[5s])) == 0"
    wait_until(lambda: observer.query(reloaded), 40, "the refused configuration")
    assert observer.by_service('probe_success{service="good"}') == {"good": 1.0}
    assert observer.firing("ServiceNotProbed") == {}
    replace(observer.folder / "blackbox.yml", good)


def test_the_exporter_takes_the_examples(tmp_path: pathlib.Path) -> None:
    inventory = yaml.safe_load((TOP / "inventories/example/group_vars/observer.yml").read_text())
    for variables in [*blocks(), inventory]:
        modules = _services.probes(variables["observer_services"], variables.get("observer_blackbox_modules"))["modules"]
        (tmp_path / "blackbox.yml").write_text(yaml.safe_dump({"modules": modules}))
        command = [find_program("blackbox_exporter"), "--config.check", f"--config.file={tmp_path}/blackbox.yml"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr


def test_regular_expressions_are_judged_as_the_exporter_does(tmp_path: pathlib.Path) -> None:
    def refused(*patterns: str) -> bool:
        config = {"modules": {"x": {"prober": "http", "http": {"fail_if_body_matches_regexp": list(patterns)}}}}
        (tmp_path / "blackbox.yml").write_text(json.dumps(config))
        command = [find_program("blackbox_exporter"), "--config.check", f"--config.file={tmp_path}/blackbox.yml"]
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode != 0

    assert not refused(*GOOD)
    assert [pattern for pattern in BAD if not refused(pattern)] == []


PING = """
set -eu
ip link set lo up
echo "$1" > /proc/sys/net/ipv4/ping_group_range
setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs \\
    "$2" --config.file="$3" --web.listen-address=127.0.0.1:9115 &
for try in $(seq 100); do
    if out=$(curl -s "http://127.0.0.1:9115/probe?module=icmp&target=127.0.0.1"); then break; fi
    sleep 0.2
done
kill $!
echo "$out"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
@pytest.mark.parametrize(("group_range", "success", "setup"), [("65534 65534", 1, True), ("1 0", 0, False)])
def test_icmp_needs_the_sysctl_and_no_capability(tmp_path: pathlib.Path, group_range: str, success: int, setup: bool) -> None:
    """In a network namespace, as the pod has one: the pod's user without any capability."""
    wanted = [{"name": "gateway", "url": HOST, "module": "icmp"}]
    folder = tmp_path / "world"
    folder.mkdir(mode=0o755)
    (folder / "blackbox.yml").write_text(yaml.safe_dump({"modules": _services.probes(wanted)["modules"]}))
    # readable for the other user, whatever the folders above say
    program = folder / "blackbox_exporter"
    shutil.copy(find_program("blackbox_exporter"), program)
    for path in (tmp_path, *tmp_path.parents[:3]):
        if path.is_relative_to(tempfile.gettempdir()) and path != pathlib.Path(tempfile.gettempdir()):
            path.chmod(path.stat().st_mode | 0o055)
    command = ["unshare", "--net", "sh", "-c", PING, "sh", group_range, str(program), str(folder / "blackbox.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines() if line.startswith("probe_"))
    assert found["probe_success"] == str(success), done.stdout + done.stderr
    assert (float(found['probe_icmp_duration_seconds{phase="setup"}']) > 0) is setup
