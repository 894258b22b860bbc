# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two real lab clusters, lab-test and lab-test-2, beside whatever labs this machine runs; the tests build on each other in this order."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import typing as t
import urllib.request
from pathlib import Path

import pytest
import yaml
from ansible_collections.scs.observer.plugins.module_utils import _lab_cluster as lab_cluster
from ansible_collections.scs.observer.plugins.module_utils import _lab_machine as lab
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._images import IMAGES
from ansible_collections.scs.observer.plugins.module_utils._lab_pki import Authority
from ansible_collections.scs.observer.plugins.module_utils._lab_programs import find_archive, find_build

ROOT = lab.DEFAULT_ROOT
CACHE = Path(os.environ.get("SCS_OBSERVER_CACHE", Path.home() / ".cache" / "scs-observer"))
SOURCE = Path(__file__).parents[2] / "roles" / "lab_cluster" / "files" / "programs"
FIRST, SECOND = "lab-test", "lab-test-2"
INDEX = {FIRST: 41, SECOND: 42}
IMAGE = IMAGES["python"].reference
# Folders of this machine that Kubernetes' programs write to, unless they are a lab machine's own.
HOST_FOLDERS = [
    Path(path) for path in ("/run/netns", "/run/containerd/s", "/run/containerd/runc/k8s.io", "/var/lib/cni", "/var/log/containers", "/var/log/pods")
]
TARGET = "scs.observer.lab_cluster"

WEB = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello from " + os.uname().nodename.encode())
print("web is up", flush=True)
http.server.HTTPServer(("", 8080), Handler).serve_forever()
"""
RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 65534,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def why_not() -> str | None:
    if os.geteuid() != 0:
        return "a lab needs root"
    needed = [find_build("kubernetes", SOURCE / "kubernetes", CACHE)]
    needed += [find_archive(name, SOURCE, CACHE) for name in (*lab_cluster.BASE_IMAGES, "python", "node_exporter")]
    missing = [item.name for item in needed if not item.done]
    return f"{', '.join(missing)} not built yet: 'make demo' builds them" if missing else None


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    if reason := why_not():
        pytest.skip(reason)


@dataclasses.dataclass
class Outcome:
    code: int
    output: str
    result: dict[str, t.Any]

    @property
    def changed(self) -> bool:
        assert not self.result.get("failed"), self.result.get("msg")
        return bool(self.result["changed"])


@dataclasses.dataclass
class Ansible:
    folder: Path

    def command(self, tasks: list[dict[str, t.Any]]) -> tuple[list[str], dict[str, str]]:
        play = {"name": "Test", "hosts": "localhost", "gather_facts": False, "vars": {"ansible_python_interpreter": sys.executable}, "tasks": tasks}
        (self.folder / "play.yml").write_text(yaml.safe_dump([play]))
        (self.folder / "result.json").unlink(missing_ok=True)
        environment = {**os.environ, "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_STDOUT_CALLBACK": "default"}
        program = Path(sys.executable).parent / "ansible-playbook"
        return [str(program), "-i", "localhost,", "-c", "local", str(self.folder / "play.yml")], environment

    def run(self, tasks: list[dict[str, t.Any]], *flags: str) -> Outcome:
        save = {"content": "{{ result | to_json }}", "dest": str(self.folder / "result.json"), "mode": "0600"}
        command, environment = self.command([*tasks, {"ansible.builtin.copy": save, "check_mode": False, "diff": False, "when": "result is defined"}])
        done = subprocess.run([*command, *flags], capture_output=True, text=True, env=environment, cwd=self.folder, timeout=300, check=False)
        saved = self.folder / "result.json"
        return Outcome(done.returncode, done.stdout + done.stderr, json.loads(saved.read_text()) if saved.exists() else {})

    def cluster(self, name: str, *flags: str, **options: t.Any) -> Outcome:
        return self.run([{TARGET: arguments(name, **options), "register": "result", "ignore_errors": True}], *flags)


def arguments(name: str, **options: t.Any) -> dict[str, t.Any]:
    given = {"name": name, "index": INDEX.get(name), "source": str(SOURCE), "cache": str(CACHE), "images": ["python"], **options}
    return {key: value for key, value in given.items() if value is not None}


@pytest.fixture(scope="module")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("play"))


def contents() -> dict[Path, set[str]]:
    return {folder: {path.name for path in folder.iterdir()} if folder.exists() else set() for folder in HOST_FOLDERS}


@pytest.fixture(scope="module")
def clean(built: None, ansible: Ansible) -> t.Iterator[dict[Path, set[str]]]:
    """What the host's folders hold; nothing of an earlier run is there."""
    for name in INDEX:
        ansible.cluster(name, state="absent")
    yield contents()
    for name in INDEX:
        ansible.cluster(name, state="absent")


def machine(name: str) -> lab.Machine:
    return lab.Machine(ROOT, name, INDEX[name])


@dataclasses.dataclass
class Lab:
    name: str
    facts: dict[str, t.Any]
    seconds: dict[str, float]

    @property
    def machine(self) -> lab.Machine:
        return machine(self.name)

    def kubectl(self, *words: str, text: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        program = find_build("kubernetes", SOURCE / "kubernetes", CACHE).output / "kubectl"
        command = [str(program), "--kubeconfig", self.facts["kubeconfig"], "--request-timeout=30s", *words]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done

    def apply(self, *manifests: dict[str, t.Any], check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.kubectl("apply", "-f", "-", text=yaml.safe_dump_all(manifests), check=check)

    def python(self, pod: str, code: str) -> str:
        return self.kubectl("exec", pod, "--", "python3", "-c", code).stdout.strip()

    def context(self, user: str | None = None, organization: str | None = None) -> ssl.SSLContext:
        """A client that knows the cluster's authority, as a user with a certificate of it or as nobody."""
        pki = self.machine.state / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        if user:
            Authority.read(pki, "ca").issue(user, organization).write(pki, "of-a-test")
            context.load_cert_chain(pki / "of-a-test.crt", pki / "of-a-test.key")
        return context

    def get(self, path: str, context: ssl.SSLContext) -> tuple[int, str]:
        connection = http.client.HTTPSConnection(self.facts["address"], 6443, timeout=10, context=context)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()


@pytest.fixture(scope="module")
def first(clean: dict[Path, set[str]], ansible: Ansible) -> Lab:
    """Made by the role, so with CoreDNS and the storage class."""
    variables = {"lab_cluster_name": FIRST, "lab_cluster_index": INDEX[FIRST], "lab_cluster_images": ["python"], "lab_cluster_build": False}
    role = {
        "ansible.builtin.include_role": {"name": TARGET, "public": True},
        "vars": {**variables, "lab_cluster_root": str(ROOT), "lab_cluster_cache": str(CACHE)},
    }
    done = ansible.run([role, {"ansible.builtin.set_fact": {"result": "{{ __lab_cluster }}"}}])
    assert done.code == 0, done.output
    made = Lab(FIRST, done.result["cluster"], done.result["seconds"])
    labels = {"app": "web"}
    container = {"name": "web", "image": IMAGE, "args": ["python3", "-c", WEB], "securityContext": RESTRICTED}
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    made.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "labels": labels}, "spec": {"containers": [{**container, "readinessProbe": probe}]}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"type": "NodePort", "selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    )
    made.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=90s")
    # kube-proxy hears of a pod a moment after its readiness.
    eventually(lambda: answers(f"http://{service(made)['clusterIP']}"), 30, "the Service web does not answer")
    return made


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def second(first: Lab, ansible: Ansible) -> Lab:
    done = ansible.cluster(SECOND)
    assert done.changed
    return Lab(SECOND, done.result["cluster"], done.result["seconds"])


def eventually(done: t.Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def service(found: Lab) -> dict[str, t.Any]:
    return t.cast(dict[str, t.Any], json.loads(found.kubectl("get", "service", "web", "-o", "json").stdout)["spec"])


# -- one cluster ---------------------------------------------------------------
def test_the_node_is_ready_soon(first: Lab, record_property: t.Callable[[str, object], None]) -> None:
    record_property("seconds", first.seconds)
    print(f"lab cluster: {first.seconds}")
    # 20 s is what an idle machine with two processors takes at most; tests run beside others.
    assert first.seconds["node_ready"] < 60
    node = json.loads(first.kubectl("get", "node", FIRST, "-o", "json").stdout)
    assert node["status"]["nodeInfo"]["kubeletVersion"] == "v1.36.3"
    assert "node-role.kubernetes.io/control-plane" in node["metadata"]["labels"]


def test_logs_and_exec(first: Lab) -> None:
    assert "web is up" in first.kubectl("logs", "web").stdout
    assert first.python("web", "import os; print(os.getuid(), os.uname().nodename)") == "65534 web"


def test_a_service_has_a_name_and_is_reached_from_pods_and_from_this_machine(first: Lab) -> None:
    address = service(first)["clusterIP"]
    assert first.python("web", "import socket; print(socket.gethostbyname('web.default.svc.cluster.local'))") == address
    assert first.python("web", "import urllib.request as r; print(r.urlopen('http://web.default').read().decode())") == "hello from web"
    with urllib.request.urlopen(f"http://{address}", timeout=10) as answer:
        assert answer.read() == b"hello from web"
    pod = json.loads(first.kubectl("get", "pod", "web", "-o", "json").stdout)["status"]["podIP"]
    with urllib.request.urlopen(f"http://{pod}:8080", timeout=10) as answer:
        assert answer.read() == b"hello from web"


def test_a_volume_is_made_and_written_by_a_pod_that_is_not_root(first: Lab) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}}
    code = "import os; open('/data/x', 'w').write('kept'); print(os.getuid(), open('/data/x').read())"
    mounts = [{"name": "data", "mountPath": "/data"}]
    container = {"name": "writer", "image": IMAGE, "args": ["python3", "-c", code], "securityContext": RESTRICTED, "volumeMounts": mounts}
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    first.apply(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": claim},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "writer"},
            "spec": {"restartPolicy": "OnFailure", "containers": [container], "volumes": volumes},
        },
    )
    first.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/writer", "--timeout=90s")
    assert first.kubectl("logs", "writer").stdout.strip().endswith("65534 kept")
    [written] = first.machine.state.glob("tmp/hostpath_pv/*/x")
    assert written.read_text() == "kept"


def test_pod_security_admission_refuses_a_privileged_pod(first: Lab) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    first.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "restricted", "labels": labels}})
    container = {"name": "x", "image": IMAGE, "securityContext": {"privileged": True}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": "restricted"}, "spec": {"containers": [container]}}
    eventually(lambda: first.kubectl("get", "serviceaccount", "default", "-n", "restricted", check=False).returncode == 0, 30, "no service account")
    refused = first.apply(pod, check=False)
    assert refused.returncode != 0
    assert 'violates PodSecurity "restricted' in refused.stderr


def test_a_user_without_rights_and_a_nobody_are_refused(first: Lab) -> None:
    assert first.get("/api/v1/namespaces/default/pods", first.context("mallory"))[0] == 403
    assert first.get("/api/v1/namespaces/default/pods", first.context())[0] in (401, 403)
    assert first.get("/api/v1/namespaces/default/pods", first.context("admin", "system:masters"))[0] == 200


def test_the_api_server_is_verified_by_the_clusters_own_authority(first: Lab) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        first.get("/readyz", ssl.create_default_context())
    assert first.get("/readyz", first.context()) == (200, "ok")
    assert "insecure" not in Path(first.facts["kubeconfig"]).read_text()
    assert Path(first.facts["kubeconfig"]).stat().st_mode & 0o777 == 0o600


def test_the_kubelet_asks_who_is_there(first: Lab) -> None:
    connection = http.client.HTTPSConnection(first.facts["address"], 10250, timeout=10, context=first.context())
    with contextlib.closing(connection):
        connection.request("GET", "/pods")
        assert connection.getresponse().status == 401


def test_the_audit_log_is_written(first: Lab) -> None:
    marker = f"/api/v1/namespaces/default?marker={time.monotonic_ns()}"
    first.get(marker, first.context("auditor"))
    log = Path(first.facts["audit_log"])
    eventually(lambda: marker in log.read_text(), 20, "no audit event")
    [event] = [json.loads(line) for line in log.read_text().splitlines() if marker in line]
    assert event["user"]["username"] == "auditor"


def test_a_second_run_changes_nothing(first: Lab, ansible: Ansible) -> None:
    again = ansible.cluster(FIRST)
    assert not again.changed
    assert again.result["cluster"] == first.facts
    assert again.result["seconds"] == {}


def test_check_mode_says_and_does_nothing(first: Lab, ansible: Ansible) -> None:
    assert not ansible.cluster(FIRST, "--check").changed
    assert ansible.cluster(FIRST, "--check", images=["python", "node_exporter"]).changed
    assert ansible.cluster(FIRST, "--check", state="absent").changed
    assert ansible.cluster(SECOND, "--check").changed
    assert not (ROOT / SECOND).exists()
    assert first.get("/readyz", first.context())[0] == 200


def test_more_images_come_into_the_running_cluster(first: Lab, ansible: Ansible) -> None:
    more = ["python", "node_exporter"]
    assert ansible.cluster(FIRST, images=more).changed
    socket = first.machine.state / "run" / "containerd.sock"
    names = lab.run("ctr", "--address", socket, "--namespace", "k8s.io", "images", "list", "-q").stdout.split()
    assert IMAGES["node_exporter"].reference in names
    assert not ansible.cluster(FIRST, images=more).changed
    assert first.machine.pid == first.facts["pid"]


def test_a_lost_link_and_route_are_mended(first: Lab, ansible: Ansible) -> None:
    lab.run("ip", "link", "set", first.machine.veth, "nomaster")
    lab.run("ip", "route", "delete", first.facts["service_network"])
    assert ansible.cluster(FIRST).changed
    assert first.get("/readyz", first.context())[0] == 200
    assert answers(f"http://{service(first)['clusterIP']}")
    assert not ansible.cluster(FIRST).changed


@pytest.mark.parametrize("program", ["kubelet", "kube-apiserver"])
def test_a_program_that_dies_is_started_again(first: Lab, program: str) -> None:
    before = first.machine.supervisor().getProcessInfo(program)["pid"]
    lab.run(*first.machine.nsenter("kill", "-9", str(before)))
    eventually(lambda: first.machine.supervisor().getProcessInfo(program)["pid"] not in (0, before), 20, f"{program} is not started again")

    def works() -> bool:
        return first.kubectl("exec", "web", "--", "python3", "-c", "print(1)", check=False).stdout.strip() == "1"

    eventually(works, 90, f"the cluster does not work after {program} died")


# -- two clusters --------------------------------------------------------------
def test_two_clusters_reach_each_other(first: Lab, second: Lab) -> None:
    forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    authority = (second.machine.state / "pki" / "ca.crt").read_text()
    code = "import ssl, urllib.request as r; print(r.urlopen({url!r}, context=ssl.create_default_context(cadata={ca!r})).read().decode())"
    assert first.python("web", code.format(url=f"{second.facts['api_url']}/readyz", ca=authority)) == "ok"
    port = service(first)["ports"][0]["nodePort"]
    url = f"http://{first.facts['address']}:{port}"
    answer = lab.run(*second.machine.nsenter(sys.executable, "-c", f"import urllib.request as r; print(r.urlopen({url!r}, timeout=10).read().decode())"))
    assert answer.stdout.strip() == "hello from web"
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == forwarding


def test_a_run_that_is_killed_half_way_is_recovered_from(second: Lab, ansible: Ansible) -> None:
    os.kill(t.cast(int, second.machine.pid), signal.SIGKILL)
    eventually(lambda: second.machine.pid is None, 20, "the machine does not end")
    command, environment = ansible.command([{TARGET: arguments(SECOND)}])
    run = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    eventually(lambda: second.machine.pid is not None, 60, "the machine does not start again")
    # The task runs in a session of its own, and it goes too.
    module = holder_of_lock(SECOND)
    for group in sorted({os.getpgid(run.pid), os.getpgid(module)}):
        os.killpg(group, signal.SIGKILL)
    run.wait()
    half_made = second.machine.pid
    assert half_made is not None
    again = ansible.cluster(SECOND)
    assert again.changed
    assert lab._start_time(half_made) is None
    assert second.get("/readyz", second.context())[0] == 200


def holder_of_lock(name: str) -> int:
    return int((lab.LOCKS / f"machine-{name}.lock").read_text())


# -- bad input -----------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Lab_Test", {}, "lab cluster name 'Lab_Test' is not valid: use 1 to 31 lower case letters"),
        ("s3", {}, "lab cluster name 's3' is taken by the lab's own machine"),
        (SECOND, {"index": 0}, "lab cluster lab-test-2: index 0 is not in 1 to 89"),
        (SECOND, {"index": 90}, "lab cluster lab-test-2: index 90 is not in 1 to 89"),
        (SECOND, {"index": 41}, "lab cluster lab-test-2 asks for index 41, which lab-test has; choose another"),
        (SECOND, {"images": ["nonsense"]}, "no image is named 'nonsense'; there are"),
        (SECOND, {"source": "/nonexistent"}, "holds no go.mod"),
        (SECOND, {"cache": "/nonexistent"}, "is missing; build it first with the role lab_cluster's entry point programs"),
        (SECOND, {"archives": ["/nonexistent.tar"]}, "lab cluster lab-test-2: there is no image archive /nonexistent.tar"),
        (SECOND, {"root": "/var/lib/" + "x" * 60}, "is too long"),
    ],
)
def test_bad_input_is_refused_before_anything_changes(second: Lab, name: str, options: dict[str, t.Any], message: str) -> None:
    before = second.machine.pid
    given = {"images": ["python"], "archives": [], "root": ROOT, "source": SOURCE, "cache": CACHE, "index": INDEX.get(name), **options}

    def make() -> None:
        spec = lab_cluster.Spec.of(name, Path(given["source"]), Path(given["cache"]), given["images"], [Path(path) for path in given["archives"]])
        lab_cluster.ensure_present(Path(given["root"]), spec, given["index"], 60, False)

    with pytest.raises(ObserverError) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert second.machine.pid == before
    assert not Path(options.get("root", "/nonexistent")).exists()


def test_the_module_says_what_is_wrong_in_one_line(ansible: Ansible) -> None:
    done = ansible.cluster("Lab_Test")
    assert done.result["failed"]
    assert done.result["msg"].startswith("lab cluster name 'Lab_Test' is not valid")
    assert "Traceback" not in done.output


def test_a_time_that_is_too_short_is_said(second: Lab, ansible: Ansible) -> None:
    ansible.cluster(SECOND, state="absent")
    done = ansible.cluster(SECOND, timeout=1)
    assert done.result["failed"]
    assert "lab cluster lab-test-2: waited in vain for" in done.result["msg"]
    assert "\n" not in done.result["msg"]


# -- the end -------------------------------------------------------------------
def traces(found: lab.Machine) -> list[str]:
    """What is left of a machine."""
    left = [str(folder) for folder in (controller / found.cgroup for controller in lab._controllers()) if folder.exists()]
    left += [found.veth] if lab._links(found.veth) else []
    left += [network for network, index in lab._lab_routes().items() if index == found.index]
    left += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(found.state) + "/" in line]
    return left + ([str(found.state)] if found.state.exists() else [])


def namespaces(pids: t.Iterable[int]) -> set[str]:
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            found.add(str(Path(f"/proc/{pid}/ns/net").readlink()))
    return found


def test_a_cluster_whose_state_folder_is_lost_is_removed(second: Lab, ansible: Ansible) -> None:
    found = second.machine
    pids = lab._processes(found.cgroup)
    assert pids
    lab.run("rm", "-rf", found.state)
    assert ansible.cluster(SECOND, state="absent").changed
    assert traces(found) == []
    assert [pid for pid in pids if lab._start_time(pid) is not None] == []


def test_absent_leaves_nothing(first: Lab, ansible: Ansible, clean: dict[Path, set[str]]) -> None:
    found = first.machine
    pids = lab._processes(found.cgroup)
    own = namespaces(pids)
    # The machine's, and one for each pod.
    assert len(own) >= 3
    others = set(lab._lab_links()) - {found.index}
    assert ansible.cluster(FIRST, state="absent").changed
    assert traces(found) == []
    assert [pid for pid in pids if lab._start_time(pid) is not None] == []
    assert not own & namespaces(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    assert others <= set(lab._lab_links())
    assert {folder: names - clean[folder] for folder, names in contents().items() if any(FIRST in name for name in names - clean[folder])} == {}
    assert not Path("/tmp/hostpath_pv").exists()
    assert not ansible.cluster(FIRST, state="absent").changed
