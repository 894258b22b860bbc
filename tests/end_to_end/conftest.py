# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole on real Kubernetes: one Observer cluster (production profile) and two KaaS clusters, made by the collection's own playbooks.

The lab of these tests stands beside the demo's; inventory/ describes it. Environment:

- C(END_TO_END_KEEP=1): use what runs already, and leave everything running at the end. Tests that need an empty cluster are skipped then, unless it is empty.
- C(END_TO_END_SLOT=1): another lab beside it, with clusters and a bucket of its own.

The files are run in the order of their names. Each leaves both clusters reporting and registered, but for the last (lifecycle), which removes all.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request

import _outage
import pytest
import yaml

HERE = pathlib.Path(__file__).parent
TOP = HERE.parents[1]
ROOT = pathlib.Path("/var/lib/scs-observer-lab")
CACHE = pathlib.Path(os.environ.get("SCS_OBSERVER_CACHE", pathlib.Path.home() / ".cache" / "scs-observer"))
SLOT = int(os.environ.get("END_TO_END_SLOT") or 0)
KEEP = os.environ.get("END_TO_END_KEEP", "") not in ("", "0")
OBSERVER = "test-observer"
ALPHA = "test-alpha"
BETA = "test-beta"
NAMESPACE = "observer"
# what was measured on the way, for the summary
FIGURES = pytest.StashKey[dict[str, t.Any]]()


@dataclasses.dataclass
class Task:
    """One task's result on one host; C(status): ok, failed, ignored, skipped or unreachable."""

    name: str
    action: str
    host: str
    status: str
    result: dict[str, t.Any]


@dataclasses.dataclass
class Run:
    """One run of a playbook."""

    command: str
    code: int
    output: str
    seconds: float
    tasks: list[Task]
    stats: dict[str, dict[str, int]]

    @property
    def changed(self) -> int:
        """Changed tasks of all hosts, as in the recap."""
        return sum(host["changed"] for host in self.stats.values())

    @property
    def changed_tasks(self) -> list[str]:
        return [f"{task.host}: {task.name} ({_changes(task.result)})" for task in self.tasks if task.status == "ok" and task.result.get("changed")]

    @property
    def failures(self) -> list[str]:
        """The messages of the tasks that failed, as the user reads them, also of those that a rescue follows. The last ended the run."""
        return [str(task.result.get("msg", task.result)) for task in self.tasks if task.status in ("failed", "unreachable")]

    def results(self, module: str, host: str | None = None) -> list[dict[str, t.Any]]:
        """What this module's tasks returned, such as C(kubernetes_manifests)."""
        return [task.result for task in self.tasks if task.action.rpartition(".")[2] == module and task.status != "skipped" and host in (None, task.host)]

    def objects(self, *states: str, host: str | None = None) -> set[str]:
        """Titles ("Kind namespace/name") that C(kubernetes_manifests) returned as C(created), C(updated), C(deleted) or C(unchanged).

        A plan that the playbook makes for itself (C(changed_when: false)) is no change.
        """
        results = self.results("kubernetes_manifests", host)
        return {title for result in results for state in states if result["changed"] or state == "unchanged" for title in result.get(state, [])}


def _changes(result: dict[str, t.Any]) -> str:
    return ", ".join(f"{key} {result[key]}" for key in ("created", "updated", "deleted", "renewed") if result.get(key)) or "changed"


@dataclasses.dataclass
class Lab:
    folder: pathlib.Path
    _runs: int = 0
    # seconds, bytes, series: what was measured on the way; pytest's summary has it
    figures: dict[str, t.Any] = dataclasses.field(default_factory=dict)

    # -- the clusters -------------------------------------------------------
    def name(self, cluster: str) -> str:
        """The lab's name of a cluster of the inventory."""
        return f"{cluster}-{SLOT}" if SLOT else cluster

    def state(self, cluster: str) -> pathlib.Path:
        """The folder with everything of the cluster."""
        return ROOT / self.name(cluster)

    def kubeconfig(self, cluster: str) -> str:
        return str(self.state(cluster) / "kubeconfig")

    def address(self, cluster: str) -> str:
        return f"10.200.0.{10 + int((self.state(cluster) / 'index').read_text())}"

    @property
    def receive_url(self) -> str:
        return f"https://{self.address(OBSERVER)}:30291"

    @property
    def bucket(self) -> str:
        return f"end-to-end-{SLOT}" if SLOT else "end-to-end"

    @property
    def s3_keys(self) -> dict[str, str]:
        """access_key and secret_key"""
        return json.loads((ROOT / "s3" / "credentials.json").read_text())

    def remove_bucket(self) -> None:
        """So that no session sees the blocks of another one; the server keeps objects as files."""
        shutil.rmtree(ROOT / "s3" / "data" / self.bucket, ignore_errors=True)

    def nsenter(self, cluster: str, *command: str, timeout: float = 60, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program in the network of the cluster's machine."""
        pid = (self.state(cluster) / "machine.pid").read_text().split()[0]
        return run("nsenter", "-t", pid, "-n", *command, timeout=timeout, check=check)

    # -- Kubernetes ---------------------------------------------------------
    def kubectl(self, cluster: str, *words: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> str:
        """What kubectl prints. A failure fails the test with kubectl's message."""
        return self.kubectl_run(cluster, *words, stdin=stdin, check=check, timeout=timeout).stdout

    def kubectl_run(self, cluster: str, *words: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return run(str(CACHE / "bin" / "kubectl"), "--kubeconfig", self.kubeconfig(cluster), *words, stdin=stdin, check=check, timeout=timeout)

    def get(self, cluster: str, *words: str) -> t.Any:
        """kubectl get, parsed; a list gives its items."""
        answer = json.loads(self.kubectl(cluster, "get", *words, "-o", "json"))
        return answer["items"] if answer["kind"].endswith("List") else answer

    def exists(self, cluster: str, *words: str) -> bool:
        return bool(self.kubectl(cluster, "get", *words, "--ignore-not-found", "-o", "name").strip())

    def service(self, name: str, port: int, *, cluster: str = OBSERVER, namespace: str = NAMESPACE) -> str:
        """URL of a Service; ClusterIPs can be reached from this machine."""
        return f"http://{self.get(cluster, 'service', name, '-n', namespace)['spec']['clusterIP']}:{port}"

    def snapshot(self, cluster: str, *namespaces: str) -> dict[str, str]:
        """Every object of the namespaces that somebody applies, all namespaces and cluster roles, each with its resourceVersion (workloads: generation)."""
        kinds = ["configmaps", "secrets", "services", "serviceaccounts", "persistentvolumeclaims", "statefulsets", "deployments", "daemonsets"]
        kinds += ["roles", "rolebindings", "networkpolicies", "poddisruptionbudgets"]
        found = self.get(cluster, "namespaces,clusterroles,clusterrolebindings")
        for namespace in namespaces:
            found += self.get(cluster, ",".join(kinds), "-n", namespace)
        # a workload's status moves while its pods come and go: its generation counts changes of the specification
        return {
            f"{item['kind']} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}": str(
                item["metadata"].get("generation") or item["metadata"]["resourceVersion"]
            )
            for item in found
        }

    def audit(self, cluster: str, begin: int = 0) -> list[dict[str, t.Any]]:
        """The API server's audit log from this byte on (see audit_size)."""
        with (self.state(cluster) / "log" / "audit.log").open("rb") as file:
            file.seek(begin)
            return [json.loads(line) for line in file if line.endswith(b"}\n")]

    def audit_size(self, cluster: str) -> int:
        # the log is written behind the answer
        time.sleep(0.5)
        return (self.state(cluster) / "log" / "audit.log").stat().st_size

    # -- HTTP ---------------------------------------------------------------
    def http_json(self, url: str, data: bytes | None = None) -> t.Any:
        """The parsed answer of an in-cluster page; raises OSError (urllib's too) when it can not be had."""
        with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=20) as answer:
            return json.load(answer)

    def query(self, promql: str, *, at: float | None = None, url: str | None = None, **parameters: str) -> list[dict[str, t.Any]]:
        """The series of an instant query at Thanos Query (or another C(url)): dicts with C(metric) and C(value) or C(values).

        A pod that just went away may still be asked by kube-proxy, so a lost connection is tried again.
        """
        words = {"query": promql, "dedup": "true", **parameters}
        if at is not None:
            words["time"] = repr(at)
        last: Exception | None = None
        for _attempt in range(6):
            try:
                base = url or self.service("thanos-query", 9090)
                answer = self.http_json(f"{base}/api/v1/query", urllib.parse.urlencode(words).encode())
            except urllib.error.HTTPError as error:
                pytest.fail(f"Query answered {error.code} to {promql}: {error.read().decode()[:500]}")
            except (OSError, http.client.HTTPException) as error:
                last = error
                time.sleep(1)
            else:
                # such as a selector with external labels only, which the stores refuse; those that are away are no fault of the query
                refused = [warning for warning in answer.get("warnings", []) if "InvalidArgument" in warning]
                assert not refused, f"the stores refuse {promql}: {refused[0]}"
                return answer["data"]["result"]
        raise AssertionError(f"Query can not be reached for {promql}: {last}")

    def value(self, promql: str, **parameters: t.Any) -> float | None:
        """The value of the one series of a query; None when there is none."""
        series = self.query(promql, **parameters)
        assert len(series) < 2, f"expected one series for {promql}, got {[one['metric'] for one in series]}"
        return float(series[0]["value"][1]) if series else None

    def alerts(self, name: str) -> list[dict[str, t.Any]]:
        """Active alerts of this name in Alertmanager."""
        found = self.http_json(f"{self.service('alertmanager', 9093)}/api/v2/alerts?" + urllib.parse.urlencode({"filter": f'alertname="{name}"'}))
        return [alert for alert in found if alert["status"]["state"] != "unprocessed"]

    # -- playbooks ----------------------------------------------------------
    def playbook(
        self,
        name: str,
        *flags: str,
        variables: t.Mapping[str, t.Any] | None = None,
        check: bool = True,
        timeout: float = 540,
        environment: t.Mapping[str, str] | None = None,
    ) -> Run:
        """Run playbooks/<name>.yml with this inventory; C(variables) go by a file, not the command line. With C(check) a failure fails the test."""
        self._runs += 1
        stem = self.folder / f"{self._runs:02d}-{name}"
        results = stem.with_suffix(".jsonl")
        command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(HERE / "inventory"), f"playbooks/{name}.yml", *flags]
        if variables:
            stem.with_suffix(".vars.json").write_text(json.dumps(variables))
            command += ["-e", f"@{stem.with_suffix('.vars.json')}"]
        settings = {
            "ANSIBLE_CONFIG": str(TOP / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_STDOUT_CALLBACK": "default",
            "ANSIBLE_CALLBACK_PLUGINS": str(TOP / "tests" / "callback"),
            "ANSIBLE_CALLBACKS_ENABLED": "results",
            "TEST_RESULTS": str(results),
            "END_TO_END_SLOT": str(SLOT),
        }
        begin = time.monotonic()
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=TOP, timeout=timeout, check=False, env={**os.environ, **settings, **(environment or {})}
        )
        seconds = time.monotonic() - begin
        output = done.stdout + done.stderr
        stem.with_suffix(".txt").write_text(output)
        lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
        stats = next((line["stats"] for line in lines if "stats" in line), {})
        found = Run(" ".join([name, *flags]), done.returncode, output, round(seconds, 1), [Task(**line) for line in lines if "stats" not in line], stats)
        if check:
            assert found.code == 0, f"playbook {found.command} ended with {found.code} after {found.seconds} s:\n" + (
                "\n".join(found.failures) or output[-3000:]
            )
        return found

    # -- waiting ------------------------------------------------------------
    def wait_until(self, predicate: t.Callable[[], t.Any], seconds: float, what: str, delay: float = 1) -> t.Any:
        """The predicate's first true value; fails when there was none in so many seconds. Its last answer is named."""
        end = time.monotonic() + seconds
        last: t.Any = None
        while True:
            try:
                last = predicate()
            except (OSError, http.client.HTTPException) as error:
                last = error
            else:
                if last:
                    return last
            if time.monotonic() > end:
                raise AssertionError(f"waited {seconds:g} s for {what}; the last answer was {last!r}")
            time.sleep(delay)


def run(*command: str, stdin: str | None = None, timeout: float = 60, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    if check:
        assert done.returncode == 0, f"'{' '.join(command)}' ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}"
    return done


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash.get(FIGURES, {})
    if figures:
        terminalreporter.section("measured in the lab")
    for name, value in figures.items():
        terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture(scope="session", autouse=True)
def lab(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Lab]:
    """The clusters run; nothing is deployed in them."""
    assert os.geteuid() == 0, "the lab needs root"
    found = Lab(tmp_path_factory.mktemp("lab"))
    pytestconfig.stash[FIGURES] = found.figures
    if not KEEP:
        found.playbook("lab", variables={"lab_state": "absent"})
        found.remove_bucket()
    # a fresh machine has to build the programs first
    made = found.playbook("lab", timeout=3000)
    found.figures["lab made, seconds"] = made.seconds
    yield found
    if not KEEP:
        found.playbook("lab", variables={"lab_state": "absent"})
        found.remove_bucket()


@dataclasses.dataclass
class Deployment:
    """How a deployment went: C(predicted) by --check --diff, C(first) the run that made it, C(second) the run after it.

    C(fresh) false: it was there before (END_TO_END_KEEP), or test_10, which looks at these runs, is not of this session; then C(predicted) and C(second) are
    the same run as C(first).
    """

    fresh: bool
    predicted: Run
    first: Run
    second: Run
    # writes of the check run, by the API server's audit log: "verb /uri"
    writes: list[str] = dataclasses.field(default_factory=list)

    def need_fresh(self) -> None:
        if not self.fresh:
            pytest.skip("it was deployed before this session (END_TO_END_KEEP), or without test_10")


def writes(events: list[dict[str, t.Any]]) -> list[str]:
    """What the user of the playbooks really changed, of an audit log."""
    return [
        f"{event['verb']} {event['requestURI']}"
        for event in events
        if event["user"]["username"] == "kubernetes-admin"
        and event["verb"] in ("create", "update", "patch", "delete", "deletecollection")
        and "dryRun=All" not in event["requestURI"]
        # questions that are put as an object
        and "reviews" not in event.get("objectRef", {}).get("resource", "")
    ]


def _deploy(lab: Lab, playbook: str, clusters: t.Sequence[str], fresh: bool, variables: t.Mapping[str, t.Any] | None = None) -> Deployment:
    if not fresh:
        first = lab.playbook(playbook, variables=variables)
        return Deployment(False, first, first, first)
    sizes = {cluster: lab.audit_size(cluster) for cluster in clusters}
    predicted = lab.playbook(playbook, "--check", "--diff", "-vvv", variables=variables)
    for cluster in clusters:
        lab.audit_size(cluster)
    written = [f"{cluster}: {write}" for cluster in clusters for write in writes(lab.audit(cluster, sizes[cluster]))]
    first = lab.playbook(playbook, "--diff", "-vvv", variables=variables)
    lab.figures[f"{playbook}, first run, seconds"] = first.seconds
    second = lab.playbook(playbook, variables=variables)
    lab.figures[f"{playbook}, second run, seconds"] = second.seconds
    return Deployment(True, predicted, first, second, written)


@pytest.fixture(scope="session")
def looked_at(request: pytest.FixtureRequest) -> bool:
    """Whether a test of this session looks at how deployments went."""
    return any(item.path.name in ("test_10_deploy.py", "test_20_data.py") for item in request.session.items)


@pytest.fixture(scope="session")
def observer(lab: Lab, looked_at: bool) -> Deployment:
    """The Observer runs in test-observer: three receives, factor 3."""
    return _deploy(lab, "observer", [OBSERVER], looked_at and not lab.exists(OBSERVER, "namespace", NAMESPACE))


@pytest.fixture(scope="session")
def kaas(lab: Lab, observer: Deployment, looked_at: bool) -> Deployment:
    """test-alpha and test-beta report and are registered."""
    fresh = looked_at and not any(lab.exists(cluster, "namespace", "observer-agent") for cluster in (ALPHA, BETA))
    return _deploy(lab, "kaas_onboard", [OBSERVER, ALPHA, BETA], fresh)


@pytest.fixture(scope="session")
def outage(lab: Lab, kaas: Deployment) -> t.Iterator[_outage.Outage]:
    """test-beta can't reach the Observer, from the first test that asks for this until test_70 ends it. Ten minutes are long: other tests run meanwhile."""
    found = _outage.Outage(lab, BETA)
    try:
        found.begin()
        yield found
    finally:
        found.end()


@pytest.fixture(scope="session")
def content(lab: Lab, kaas: Deployment) -> Deployment:
    """Dashboards' data and all alerts of the content, each alert at once instead of after its C(for). test_77_observer_alerts.py takes it away again."""
    rules = [
        rule
        for path in sorted(TOP.glob("roles/observer_content/files/rules/*.yaml"))
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]
    at_once = {rule["alert"]: {"for": "0s"} for rule in rules if "for" in rule}
    return _deploy(lab, "observer_content", [OBSERVER], True, {"observer_content_alerts": at_once})
