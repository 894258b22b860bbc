# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The alerts on KaaS clusters, each provoked by a real fault in test-alpha and seen firing; provoked.yaml says how, and which are not.

Every alert fires at once here (fixture C(content)), and test-alpha is of a tier whose thresholds lie below its real values where those can not be reached.
The last test makes test-alpha what it was; test_77_observer_alerts.py takes the content away.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import datetime
import http.client
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import typing as t

import pytest
import yaml
from _remote_write import Writer, agent_of, load_authority, now
from _stories import FIRING, Expected, Story, Told, Watch, at_once, story, tell_all
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

OBSERVER, ALPHA = "test-observer", "test-alpha"
NAMESPACE = "faults"
PYTHON = "docker.io/library/python:3.11-slim-bookworm"
# below what test-alpha really has, for its machine is that of all other tests and must not be driven to its limits
LOW: dict[str, dict[str, float]] = {
    "apiserver_error_budget": {"warning": 0.0005, "critical": 0.0005},
    "apiserver_latency_seconds": {"warning": 0.00001},
    "cluster_cpu_utilisation": {"warning": 0.0001, "critical": 0.0002},
    "cluster_memory_utilisation": {"warning": 0.0001, "critical": 0.0002},
    "coredns_latency_seconds": {"warning": 1, "critical": 2},
    "etcd_database_utilisation": {"warning": 0.000001, "critical": 0.000002},
    "etcd_disk_seconds": {"warning": 0.0000001, "critical": 0.0000002},
    "etcd_error_ratio": {"warning": 0.001, "critical": 0.002},
    "job_run_seconds": {"warning": 1},
    "kaas_sample_age_seconds": {"warning": 1},
    "kaas_series_limit_utilisation": {"warning": 0.00001},
    "node_conntrack_utilisation": {"warning": 0.000001, "critical": 0.000002},
    "node_cpu_utilisation": {"warning": 0.0001, "critical": 0.0002},
    "node_disk_queue_length": {"warning": 0.000001},
    # systemd, where there is one, allows 2**63 of them
    "node_file_descriptors_utilisation": {"warning": 1e-18, "critical": 2e-18},
    "node_load_per_cpu": {"warning": 0.0001},
    "node_memory_utilisation": {"warning": 0.0001, "critical": 0.0002},
    "node_pods_utilisation": {"warning": 0.001},
}
# of the profile full: what these alerts need, and no more
FULL = {
    "apiserver": ["apiserver_request_sli_duration_seconds_bucket"],
    "coredns": ["coredns_dns_request_duration_seconds_bucket"],
    "kube-etcd": ["grpc_server_handled_total"],
    "kubelet": ["kubelet_pod_start_sli_duration_seconds_bucket"],
}
WARNING, CRITICAL = {"severity": "warning"}, {"severity": "critical"}
HERE = {"namespace": NAMESPACE}


# -- what the stories need --------------------------------------------------------
def on_alpha(*expects: tuple[str, t.Mapping[str, str]], **settings: t.Any) -> t.Callable[[t.Any], Story]:
    return story(*expects, cluster=ALPHA, **settings)


def both(name: str, **labels: str) -> tuple[tuple[str, dict[str, str]], tuple[str, dict[str, str]]]:
    """An alert with two severities."""
    return (name, WARNING | labels), (name, CRITICAL | labels)


def node(lab: t.Any) -> str:
    """The one that runs; a story makes another that does not."""
    return lab.name(ALPHA)


def machine(lab: t.Any, *command: str, check: bool = True) -> str:
    """Run a program in the machine of test-alpha: in its network and with its mounts."""
    pid = (lab.state(ALPHA) / "machine.pid").read_text().split()[0]
    done = subprocess.run(["nsenter", "-t", pid, "-m", "-n", "-p", *command], capture_output=True, text=True, timeout=60, check=False)
    assert not check or done.returncode == 0, f"'{' '.join(command)}' ended with {done.returncode}: {done.stderr or done.stdout}"
    return done.stdout


def supervise(lab: t.Any, what: str, program: str) -> None:
    """start, stop or restart a program of the machine; again does no harm"""
    words = [sys.executable, "-m", "supervisor.supervisorctl", "-s", f"unix://{lab.state(ALPHA)}/supervisor.sock", what, program]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert any(word in done.stdout for word in ("started", "stopped", "not running")), f"{what} {program}: {done.stdout}{done.stderr}"


def send_signal(lab: t.Any, program: str, number: signal.Signals, *words: str) -> int:
    """Signal the program of test-alpha's machine (or pods) whose command line has these words; returns its process."""
    cgroup = f"scs-lab-{lab.name(ALPHA)}/"
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().decode().split("\0")
            wanted = pathlib.Path(command[0]).name == program and all(any(word in one for one in command) for word in words)
            if wanted and cgroup in (process / "cgroup").read_text():
                os.kill(int(process.name), number)
                return int(process.name)
    raise AssertionError(f"no process {program} of {ALPHA} was found")


def apply(lab: t.Any, *objects: dict[str, t.Any], namespace: str = NAMESPACE) -> None:
    lab.kubectl(ALPHA, "apply", "-n", namespace, "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def delete(lab: t.Any, *words: str, namespace: str = NAMESPACE) -> None:
    lab.kubectl(ALPHA, "delete", *words, "-n", namespace, "--ignore-not-found", "--now", "--wait=false", check=False)


def thing(kind: str, name: str, api: str = "v1", **fields: t.Any) -> dict[str, t.Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **fields}


def pod(code: str = "import time; time.sleep(9999)", **fields: t.Any) -> dict[str, t.Any]:
    """The specification of a pod with one container, which runs this Python."""
    fields = copy.deepcopy(fields)
    own = {name: fields.pop(name) for name in ("image", "resources", "readinessProbe", "env", "volumeMounts", "imagePullPolicy", "ports") if name in fields}
    container = {"name": "main", "image": PYTHON, "imagePullPolicy": "IfNotPresent", "command": ["python3", "-u", "-c", code], **own}
    return {"terminationGracePeriodSeconds": 1, "containers": [container], **fields}


def workload(kind: str, name: str, spec: dict[str, t.Any], **fields: t.Any) -> dict[str, t.Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": spec}
    return thing(kind, name, "apps/v1", spec={"selector": {"matchLabels": labels}, "template": template, **fields})


NOT_READY = {"exec": {"command": ["/no/such/program"]}, "periodSeconds": 5}


# -- workloads: they are made while nobody looks, so that nothing of them seems to change ------
@on_alpha(("KubeStateMetricsMissing", {}), seconds=120)
def blind(lab: t.Any) -> t.Iterator[None]:
    words = ["deployment", "kube-state-metrics", "-n", "observer-agent"]
    lab.kubectl(ALPHA, "scale", *words, "--replicas=0")
    try:
        # what has to be as it is since long, when kube-state-metrics comes back
        prepare(lab)
        yield
    finally:
        lab.kubectl(ALPHA, "scale", *words, "--replicas=1")


def prepare(lab: t.Any) -> None:
    """Workloads whose fault must have lasted for a while, as kube-state-metrics sees it when it is back."""
    spread = {"serviceName": "faults", "podManagementPolicy": "Parallel", "replicas": 2}
    apply(lab, workload("StatefulSet", "half-updated", pod(), **spread))
    lab.kubectl(ALPHA, "rollout", "status", "statefulset/half-updated", "-n", NAMESPACE, "--timeout=200s", timeout=210)
    apply(lab, workload("StatefulSet", "half-updated", pod(image="example.invalid/none:1", imagePullPolicy="Never"), **spread))
    apply(
        lab,
        workload("StatefulSet", "not-ready", pod(readinessProbe=NOT_READY), serviceName="faults", replicas=2),
        workload("DaemonSet", "not-ready", pod(readinessProbe=NOT_READY)),
    )
    TEARING.begin(lab)


class Tearing:
    """A Deployment is given one replica again each time that its autoscaler wants two, from before anybody looks: one change lasts for 15 minutes."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.threads: list[threading.Thread] = []
        self.tellings = 0

    def begin(self, lab: t.Any) -> None:
        self.end(lab)
        # under a new name, for what was seen of an earlier one is remembered
        self.tellings += 1
        name = f"torn-{self.tellings}"
        self.over = threading.Event()
        apply(lab, workload("Deployment", name, pod(), replicas=1), autoscaler(name, 2, 3))
        self.threads = [threading.Thread(target=self.tear, args=(lab, name, self.over), daemon=True)]
        self.threads[0].start()
        lab.wait_until(lambda: lab.get(ALPHA, "hpa", name, "-n", NAMESPACE)["status"].get("desiredReplicas") == 2, 60, "the autoscaler to want two replicas")

    @staticmethod
    def tear(lab: t.Any, name: str, over: threading.Event) -> None:
        while not over.wait(2):
            with contextlib.suppress(subprocess.TimeoutExpired):
                lab.kubectl(ALPHA, "scale", "deployment", name, "-n", NAMESPACE, "--replicas=1", check=False)

    def end(self, lab: t.Any) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(30)
        if self.tellings:
            delete(lab, "hpa,deployments", f"torn-{self.tellings}")


TEARING = Tearing()


def autoscaler(name: str, least: int, most: int) -> dict[str, t.Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
    return thing(
        "HorizontalPodAutoscaler", name, "autoscaling/v2", spec={"scaleTargetRef": target, "minReplicas": least, "maxReplicas": most, "metrics": [metric]}
    )


@on_alpha(
    ("KubeStatefulSetUpdateNotRolledOut", HERE | {"statefulset": "half-updated"}),
    ("KubeStatefulSetReplicasMismatch", HERE | {"statefulset": "not-ready"}),
    ("KubeDaemonSetRolloutStuck", HERE | {"daemonset": "not-ready"}),
)
def prepared(lab: t.Any) -> t.Iterator[None]:
    yield
    delete(lab, "statefulsets,daemonsets", "half-updated", "not-ready")


@on_alpha(
    ("KubeHpaReplicasMismatch", HERE | {"horizontalpodautoscaler": "torn-.+"}),
    ("KubeHpaMaxedOut", HERE | {"horizontalpodautoscaler": "maximum"}),
    ("KubeHpaInactive", HERE | {"horizontalpodautoscaler": "maximum"}),
)
def autoscalers(lab: t.Any) -> t.Iterator[None]:
    apply(lab, workload("Deployment", "maximum", pod(), replicas=3), autoscaler("maximum", 1, 2))
    yield
    TEARING.end(lab)
    delete(lab, "hpa,deployments", "maximum")


@on_alpha(
    ("KubePodCrashLooping", HERE | {"container": "main"}),
    ("KubeContainerOOMKilled", HERE | {"container": "main"}),
    ("KubeDeploymentReplicasMismatch", HERE | {"deployment": "crashes"}),
    ("KubePdbNotEnoughHealthyPods", HERE | {"poddisruptionbudget": "crashes"}),
    ends_within=120,
    remembered=["KubePodCrashLooping"],
)
def crashes(lab: t.Any) -> t.Iterator[None]:
    small = {"limits": {"memory": "40Mi", "cpu": "500m"}}
    apply(
        lab,
        workload("Deployment", "crashes", pod("x = b'x' * 400_000_000", resources=small), replicas=1),
        thing("PodDisruptionBudget", "crashes", "policy/v1", spec={"minAvailable": 1, "selector": {"matchLabels": {"app": "crashes"}}}),
    )
    yield
    delete(lab, "deployments,pdb", "crashes")


@on_alpha(("KubeContainerWaiting", HERE | {"reason": "ErrImageNeverPull"}), ("KubeDeploymentRolloutStuck", HERE | {"deployment": "no-image"}))
def no_image(lab: t.Any) -> t.Iterator[None]:
    apply(lab, workload("Deployment", "no-image", pod(image="example.invalid/none:1", imagePullPolicy="Never"), progressDeadlineSeconds=5))
    yield
    delete(lab, "deployment", "no-image")


@on_alpha(("KubePodNotReady", HERE | {"pod": "unschedulable"}), ends_within=60)
def unschedulable(lab: t.Any) -> t.Iterator[None]:
    apply(lab, thing("Pod", "unschedulable", spec=pod(nodeSelector={"there-is": "none"})))
    yield
    delete(lab, "pod", "unschedulable")


@on_alpha(("KubeDaemonSetNotScheduled", {"namespace": "faults-quota"}), ("KubeDaemonSetMisscheduled", HERE | {"daemonset": "misplaced"}))
def daemon_sets(lab: t.Any) -> t.Iterator[None]:
    """One has no quota for pods; one is not wanted on its node any more, and its pod does not go."""
    lab.kubectl(ALPHA, "create", "namespace", "faults-quota", check=False)
    apply(lab, thing("ResourceQuota", "none", spec={"hard": {"pods": "0"}}), namespace="faults-quota")
    apply(lab, workload("DaemonSet", "no-quota", pod()), namespace="faults-quota")
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(9999)"
    lab.kubectl(ALPHA, "label", "node", node(lab), "faults=here", "--overwrite")
    try:
        apply(lab, workload("DaemonSet", "misplaced", pod(stubborn, terminationGracePeriodSeconds=900) | {"nodeSelector": {"faults": "here"}}))
        lab.kubectl(ALPHA, "rollout", "status", "daemonset/misplaced", "-n", NAMESPACE, "--timeout=200s", timeout=210)
    finally:
        lab.kubectl(ALPHA, "label", "node", node(lab), "faults-")
    yield
    delete(lab, "daemonset", "misplaced")
    lab.kubectl(ALPHA, "delete", "pods", "-n", NAMESPACE, "-l", "app=misplaced", "--force", "--grace-period=0", "--ignore-not-found")
    lab.kubectl(ALPHA, "delete", "namespace", "faults-quota", "--wait=false", "--ignore-not-found")


@on_alpha(("KubeJobFailed", HERE | {"job_name": "fails"}), ("KubeJobNotCompleted", HERE | {"job_name": "lasts"}), ends_within=60)
def jobs(lab: t.Any) -> t.Iterator[None]:
    for name, code in (("fails", "raise SystemExit(1)"), ("lasts", "import time; time.sleep(9999)")):
        apply(lab, thing("Job", name, "batch/v1", spec={"backoffLimit": 0, "template": {"spec": pod(code, restartPolicy="Never")}}))
    yield
    delete(lab, "jobs", "fails", "lasts")


@on_alpha(
    ("KubeQuotaAlmostFull", {"resourcequota": "full", "namespace": "faults-full"}),
    ("KubeQuotaExceeded", {"resourcequota": "exceeded", "namespace": "faults-full"}),
    ends_within=60,
)
def quotas(lab: t.Any) -> t.Iterator[None]:
    lab.kubectl(ALPHA, "create", "namespace", "faults-full", check=False)
    services = [thing("Service", name, spec={"ports": [{"port": 80}]}) for name in ("one", "two")]
    apply(lab, *services, namespace="faults-full")
    quota = {"full": {"services": "2"}, "exceeded": {"count/services": "1"}}
    apply(lab, *(thing("ResourceQuota", name, spec={"hard": hard}) for name, hard in quota.items()), namespace="faults-full")
    yield
    lab.kubectl(ALPHA, "delete", "namespace", "faults-full", "--wait=false", "--ignore-not-found")


@on_alpha(("KubeContainerThrottled", HERE | {"container": "main"}))
def throttled(lab: t.Any) -> t.Iterator[None]:
    apply(lab, workload("Deployment", "throttled", pod("while True: pass", resources={"limits": {"cpu": "20m"}})))
    yield
    delete(lab, "deployment", "throttled")


# -- volumes and file systems -----------------------------------------------------
@contextlib.contextmanager
def small_disk(lab: t.Any, name: str) -> t.Iterator[str]:
    """A file system of 32 MiB on a loop device, mounted in test-alpha's machine."""
    state = lab.state(ALPHA)
    image, mount = state / f"{name}.img", f"/mnt/{name}"
    with image.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True, capture_output=True, timeout=60)
    machine(lab, "mkdir", "-p", mount)
    machine(lab, "mount", "-o", "loop", str(image), mount)
    machine(lab, "chmod", "777", mount)
    try:
        yield mount
    finally:
        # the pods that used it may still go
        lab.wait_until(lambda: machine(lab, "umount", mount, check=False) or mount not in machine(lab, "cat", "/proc/mounts"), 60, "the umount")
        machine(lab, "rmdir", mount)
        image.unlink()


def fill(lab: t.Any, mount: str, mebibytes: int) -> None:
    machine(lab, "dd", "if=/dev/zero", f"of={mount}/ballast-{time.time()}", "bs=1M", f"count={mebibytes}", "conv=fsync", check=False)


@on_alpha(*both("NodeFilesystemAlmostFull", device="/dev/loop.+"), ("NodeFilesystemFillingUp", {"device": "/dev/loop.+"}), ends_within=90)
def full_disk(lab: t.Any) -> t.Iterator[None]:
    with small_disk(lab, "faults-full") as mount:
        for mebibytes in (4, 4, 4, 99):
            time.sleep(7)
            fill(lab, mount, mebibytes)
        yield


@on_alpha(("NodeFilesystemReadOnly", {"mountpoint": "/mnt/faults-read-only"}), ends_within=90)
def read_only_disk(lab: t.Any) -> t.Iterator[None]:
    with small_disk(lab, "faults-read-only") as mount:
        time.sleep(15)
        machine(lab, "mount", "-o", "remount,ro", mount)
        yield


@on_alpha(
    ("KubePersistentVolumeErrors", {"persistentvolume": "faults-failed", "phase": "Failed"}), ("KubePersistentVolumeClaimPending", HERE | {"phase": "Pending"})
)
def broken_volumes(lab: t.Any) -> t.Iterator[None]:
    """A claim of a class that there is not, and a volume that can not be deleted."""
    sizes: dict[str, t.Any] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    using = [{"name": "data", "persistentVolumeClaim": {"claimName": "pending"}}]
    apply(
        lab,
        thing("PersistentVolumeClaim", "pending", spec=sizes | {"storageClassName": "there-is-none"}),
        thing("Pod", "pending", spec=pod(volumes=using)),
        thing(
            "PersistentVolume",
            "faults-failed",
            spec={
                "capacity": {"storage": "1Mi"},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "faults-failed",
                "persistentVolumeReclaimPolicy": "Delete",
                # Kubernetes deletes folders below /tmp only
                "hostPath": {"path": "/mnt/faults-failed"},
            },
        ),
        thing("PersistentVolumeClaim", "bound", spec=sizes | {"storageClassName": "faults-failed"}),
    )
    lab.wait_until(lambda: lab.get(ALPHA, "pvc", "bound", "-n", NAMESPACE)["status"]["phase"] == "Bound", 60, "the claim to be bound")
    delete(lab, "pvc", "bound")
    yield
    delete(lab, "pod,pvc", "pending")
    lab.kubectl(ALPHA, "delete", "pv", "faults-failed", "--wait=false", "--ignore-not-found")


# -- nodes --------------------------------------------------------------------------
@on_alpha(
    *both("KubeClusterCPUHigh"),
    *both("KubeClusterMemoryHigh"),
    *both("NodeCPUHigh"),
    *both("NodeMemoryHigh"),
    *both("NodeFileDescriptorsAlmostUsedUp"),
    *both("NodeConntrackAlmostFull"),
    *both("EtcdDiskSlow"),
    *both("EtcdDatabaseAlmostFull"),
    ("NodeLoadHigh", {}),
    ("NodeDiskIOSaturated", {}),
    ("KubeletTooManyPods", {}),
    ("KubeAPIServerSlow", {}),
    ("KaaSSamplesLate", {}),
    ("KaaSSeriesLimit", WARNING),
)
def low_thresholds(lab: t.Any) -> t.Iterator[None]:
    """LOW are lower than what is."""
    yield


@on_alpha(("NodeNetworkErrors", {"device": "eth0", "direction": "receive"}))
def dropped_packets(lab: t.Any) -> t.Iterator[None]:
    """Frames of a protocol that nobody knows, which the kernel of the node drops."""

    link = f"lab-{(lab.state(ALPHA) / 'index').read_text().strip()}"
    over = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((link, 0))
            while not over.wait(0.1):
                for _frame in range(20):
                    # to all, by nobody, an experimental protocol
                    raw.send(b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x88\xb5" + b"faults" * 10)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    yield
    over.set()
    thread.join(10)


@on_alpha(("NodeClockNotSynchronised", {}))
def clock(lab: t.Any) -> t.Iterator[None]:
    """No time server speaks to the kernel of a test machine."""
    yield


@on_alpha(("NodeExporterDown", {}), ends_within=90)
def no_node_exporter(lab: t.Any) -> t.Iterator[None]:
    words = ["patch", "daemonset", "node-exporter", "-n", "observer-agent-node", "--type=merge", "-p"]
    lab.kubectl(ALPHA, *words, json.dumps({"spec": {"template": {"spec": {"nodeSelector": {"faults": "nowhere"}}}}}))
    try:
        yield
    finally:
        lab.kubectl(ALPHA, *words, json.dumps({"spec": {"template": {"spec": {"nodeSelector": {"faults": None}}}}}))


@on_alpha(("KubeResourcesOvercommitted", {"resource": "cpu"}), seconds=60)
def overcommitted(lab: t.Any) -> t.Iterator[None]:
    """A second node, which is small: an entry without a machine, as of one that just joins."""
    apply(lab, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "faults-small"}})
    sizes = {"cpu": "1m", "memory": "1Mi", "pods": "0"}
    ready = [
        {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "", "lastHeartbeatTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    ]
    patch = {"status": {"capacity": sizes, "allocatable": sizes, "conditions": ready}}
    lab.kubectl(ALPHA, "patch", "node", "faults-small", "--subresource=status", "--type=merge", "-p", json.dumps(patch))
    try:
        yield
    finally:
        lab.kubectl(ALPHA, "delete", "node", "faults-small")


@on_alpha(("KubeNodeNotReady", {}), ("KubeNodeReadinessFlapping", {}), seconds=150)
def flapping(lab: t.Any) -> t.Iterator[None]:
    """The network of its pods is there, and not, and there."""
    used = lab.state(ALPHA) / "cni" / "10-lab.conflist"
    away = used.with_suffix(".away")

    def ready(wanted: str) -> None:
        def seen() -> bool:
            return [one["value"][1] for one in lab.query(f'max(kube_node_status_condition{{cluster="{ALPHA}",condition="Ready",status="true"}})')] == [wanted]

        lab.wait_until(seen, 60, f"readiness {wanted} of the node")

    try:
        for _times in range(2):
            used.rename(away)
            ready("0")
            away.rename(used)
            ready("1")
        used.rename(away)
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            away.rename(used)
        lab.kubectl(ALPHA, "wait", "nodes", "--all", "--for=condition=Ready", "--timeout=200s", timeout=210)


@on_alpha(("KubeletPlegSlow", {}), seconds=200)
def slow_runtime(lab: t.Any) -> t.Iterator[None]:
    """containerd stands still for some seconds, again and again."""
    try:
        for _times in range(6):
            send_signal(lab, "containerd", signal.SIGSTOP)
            time.sleep(12)
            send_signal(lab, "containerd", signal.SIGCONT)
            time.sleep(1)
        yield
    finally:
        send_signal(lab, "containerd", signal.SIGCONT)


@on_alpha(("KubeletDown", {}), ("KubeNodeUnreachable", {}), ("KubeNodesNotReady", {}), seconds=150, ends_within=90)
def no_kubelet(lab: t.Any) -> t.Iterator[None]:
    supervise(lab, "stop", "kubelet")
    try:
        yield
    finally:
        supervise(lab, "start", "kubelet")
        lab.kubectl(ALPHA, "wait", "nodes", "--all", "--for=condition=Ready", "--timeout=200s", timeout=210)


@contextlib.contextmanager
def kubelet_settings(lab: t.Any, **settings: t.Any) -> t.Iterator[None]:
    path = lab.state(ALPHA) / "kubelet.yaml"
    saved = path.read_text()
    path.write_text(json.dumps(json.loads(saved) | settings))
    supervise(lab, "restart", "kubelet")
    try:
        yield
    finally:
        path.write_text(saved)
        supervise(lab, "restart", "kubelet")


# -- control plane --------------------------------------------------------------------
def signed_by_cluster(lab: t.Any, name: str, group: str, begin: float, end: float) -> tuple[bytes, bytes]:
    """A client certificate of test-alpha's authority, valid from and until so many seconds from now, and its key."""

    folder = lab.state(ALPHA) / "pki"
    authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    ca_key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    moment = datetime.datetime.now(datetime.UTC)
    subject = [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, group), x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment + datetime.timedelta(seconds=begin))
        .not_valid_after(moment + datetime.timedelta(seconds=end))
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(t.cast("ec.EllipticCurvePrivateKey", ca_key), hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), private


@contextlib.contextmanager
def api_client(lab: t.Any, certificate: tuple[bytes, bytes] | None = None) -> t.Iterator[t.Callable[..., int]]:
    """Asks the API server of test-alpha over one connection, quickly; returns the status."""

    folder = lab.state(ALPHA) / "pki"
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    if certificate:
        both_pems = lab.folder / f"client-{time.time()}.pem"
        both_pems.write_bytes(b"".join(certificate))
        context.load_cert_chain(both_pems)
    else:
        context.load_cert_chain(folder / "admin.crt", folder / "admin.key")
    connection = http.client.HTTPSConnection(lab.address(ALPHA), 6443, context=context, timeout=20)

    def ask(path: str, body: dict[str, t.Any] | None = None) -> int:
        headers = {"Content-Type": "application/json"}
        connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    try:
        yield ask
    finally:
        connection.close()


@contextlib.contextmanager
def again_and_again(what: t.Callable[[], t.Any], delay: float) -> t.Iterator[None]:
    over = threading.Event()

    def work() -> None:
        while not over.wait(delay):
            with contextlib.suppress(OSError, AssertionError):
                what()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)


@on_alpha(*both("KubeClientCertificateExpiring"))
def client_certificate(lab: t.Any) -> t.Iterator[None]:
    """Somebody logs in with a certificate that ends in five hours."""
    pair = signed_by_cluster(lab, "faults", "system:masters", -60, 5 * 3600)
    with api_client(lab, pair) as ask, again_and_again(lambda: [ask("/version") for _times in range(20)], 1):
        yield


@on_alpha(*both("KubeletCertificateExpiring", usage="client"), ("KubeletCertificateRenewalErrors", {"usage": "client"}), seconds=240)
def kubelet_certificate(lab: t.Any) -> t.Iterator[None]:
    """The kubelet renews its certificate, which ends in some hours, and the API server takes no request for a new one."""
    policy = "admissionregistration.k8s.io/v1"
    rule = {"apiGroups": ["certificates.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["certificatesigningrequests"]}
    spec: dict[str, t.Any] = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "false"}]}
    apply(
        lab,
        thing("ValidatingAdmissionPolicy", "faults-csr", policy, spec=spec),
        thing("ValidatingAdmissionPolicyBinding", "faults-csr", policy, spec={"policyName": "faults-csr", "validationActions": ["Deny"]}),
    )
    folder = lab.state(ALPHA) / "kubelet" / "pki"
    folder.mkdir(exist_ok=True)
    current = folder / "kubelet-client-current.pem"
    current.write_bytes(b"".join(signed_by_cluster(lab, f"system:node:{node(lab)}", "system:nodes", -20 * 86400, 5 * 3600)))
    try:
        with kubelet_settings(lab, rotateCertificates=True):
            yield
    finally:
        current.unlink()
        lab.kubectl(ALPHA, "delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", "faults-csr")


@on_alpha(("KubeAggregatedAPIDown", {"name": "v1.faults.example"}), ("KubeAPIServerTerminatesRequests", {}))
def aggregated_api(lab: t.Any) -> t.Iterator[None]:
    """An API behind the API server, whose service is not there, and somebody who asks for it."""
    spec = {"group": "faults.example", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100, "insecureSkipTLSVerify": True}
    apply(lab, thing("APIService", "v1.faults.example", "apiregistration.k8s.io/v1", spec=spec | {"service": {"name": "none", "namespace": NAMESPACE}}))
    try:
        with api_client(lab) as ask, again_and_again(lambda: [ask("/apis/faults.example/v1/things") for _times in range(100)], 1):
            yield
    finally:
        lab.kubectl(ALPHA, "delete", "apiservice", "v1.faults.example")


@on_alpha(*both("KubeAPIServerErrorBudgetBurn"), seconds=240)
def broken_webhook(lab: t.Any) -> t.Iterator[None]:
    """A webhook that does not answer: what it ought to look at fails with 500."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    hook = {
        "name": "broken.faults.example",
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "faults-hook"}},
        "clientConfig": {"url": "https://127.0.0.1:9/"},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    lab.kubectl(ALPHA, "create", "namespace", "faults-hook", check=False)
    apply(lab, thing("ValidatingWebhookConfiguration", "faults", "admissionregistration.k8s.io/v1", webhooks=[hook]))
    try:
        made = thing("ConfigMap", "hooked")
        with api_client(lab) as ask, again_and_again(lambda: [ask("/api/v1/namespaces/faults-hook/configmaps", made) for _times in range(20)], 1):
            yield
    finally:
        lab.kubectl(ALPHA, "delete", "validatingwebhookconfiguration", "faults")
        lab.kubectl(ALPHA, "delete", "namespace", "faults-hook", "--wait=false")


@on_alpha(*both("CoreDNSErrorsHigh"), *both("CoreDNSSlow"), ("CoreDNSUpstreamsDown", {}), seconds=240)
def dns(lab: t.Any) -> t.Iterator[None]:
    """CoreDNS asks a name server that never answers, and is asked for names that it does not know."""
    words = ["configmap", "coredns", "-n", "kube-system"]
    saved = lab.get(ALPHA, *words)["data"]["Corefile"]
    assert "forward" not in saved
    # nobody has this address
    changed = saved.replace("cache 10", "forward . 10.200.0.250 { \n max_fails 1 \n }")

    def configure(text: str) -> None:
        lab.kubectl(ALPHA, "patch", *words, "--type=merge", "-p", json.dumps({"data": {"Corefile": text}}))
        lab.kubectl(ALPHA, "rollout", "restart", "deployment/coredns", "-n", "kube-system")
        lab.kubectl(ALPHA, "rollout", "status", "deployment/coredns", "-n", "kube-system", "--timeout=200s", timeout=210)

    ask = "import socket, threading, time\n" + "\n".join(
        [
            "def work(n):",
            "    i = 0",
            "    while True:",
            "        i += 1",
            "        try: socket.getaddrinfo(f'n{n}-{i}.example.org.', 80)",
            "        except OSError: pass",
            "[threading.Thread(target=work, args=(n,)).start() for n in range(8)]",
        ]
    )
    try:
        configure(changed)
        apply(lab, workload("Deployment", "asks", pod(ask)))
        yield
    finally:
        delete(lab, "deployment", "asks")
        configure(saved)


def etcd(lab: t.Any, path: str, body: dict[str, t.Any] | None = None, port: int = 2379) -> dict[str, t.Any]:
    answer = machine(lab, "curl", "-sS", "--max-time", "10", f"http://127.0.0.1:{port}/v3/{path}", "-d", json.dumps(body or {}))
    return json.loads(answer)


@on_alpha(("EtcdDatabaseFragmented", {}), seconds=120, ends_within=60)
def fragmented(lab: t.Any) -> t.Iterator[None]:
    """Much is written and deleted again."""
    blob = base64.b64encode(os.urandom(900_000)).decode()
    request = lab.state(ALPHA) / "faults-put.json"
    for number in range(130):
        request.write_text(json.dumps({"key": base64.b64encode(f"faults/{number:03d}".encode()).decode(), "value": blob}))
        machine(lab, "curl", "-sSf", "--max-time", "20", "http://127.0.0.1:2379/v3/kv/put", "-d", f"@{request}")
    request.unlink()
    begin, end = (base64.b64encode(key).decode() for key in (b"faults/", b"faults0"))
    revision = etcd(lab, "kv/deleterange", {"key": begin, "range_end": end})["header"]["revision"]
    etcd(lab, "kv/compaction", {"revision": revision, "physical": True})
    try:
        yield
    finally:
        etcd(lab, "maintenance/defragment")


@on_alpha(
    *both("KubeControlPlaneDown", job="kube-scheduler"),
    *both("KubeControlPlaneDown", job="kube-proxy"),
    ends_within=90,
)
def stopped_parts(lab: t.Any) -> t.Iterator[None]:
    """Scheduler, controller manager and kube-proxy stop."""
    parts = ("kube-scheduler", "kube-controller-manager", "kube-proxy")
    for part in parts:
        supervise(lab, "stop", part)
    try:
        yield
    finally:
        for part in parts:
            supervise(lab, "start", part)


@on_alpha(
    *both("EtcdMembersDown"),
    *both("KubeControlPlaneDown", job="apiserver"),
    ("KubeClientErrors", {}),
    seconds=120,
)
def no_etcd(lab: t.Any) -> t.Iterator[None]:
    """etcd stops, the API server is killed and does not come up without it. One that ends in peace takes itself out of what the agent looks for."""
    supervise(lab, "stop", "etcd")
    send_signal(lab, "kube-apiserver", signal.SIGKILL)
    try:
        yield
    finally:
        for part in ("etcd", "kube-apiserver"):
            supervise(lab, "start", part)
        lab.wait_until(lambda: lab.kubectl_run(ALPHA, "get", "--raw", "/readyz", check=False).returncode == 0, 90, "the API server")


@on_alpha(("AgentDiscoveryFailing", {}), seconds=120)
def lost_rights(lab: t.Any) -> t.Iterator[None]:
    """The agent may not look for its targets any more, which it notices when the API server ends its connections."""
    (binding,) = (one for one in lab.get(ALPHA, "clusterrolebindings") if one["metadata"]["name"].endswith("prometheus-agent"))
    binding["metadata"] = {key: binding["metadata"][key] for key in ("name", "labels")}
    lab.kubectl(ALPHA, "delete", "clusterrolebinding", binding["metadata"]["name"])
    try:
        send_signal(lab, "kube-apiserver", signal.SIGKILL)
        yield
    finally:
        lab.wait_until(lambda: lab.kubectl_run(ALPHA, "get", "--raw", "/readyz", check=False).returncode == 0, 90, "the API server")
        # as the role does, or it would not be the role's any more
        lab.kubectl(ALPHA, "apply", "--server-side", "--field-manager=scs.observer", "-f", "-", stdin=json.dumps(binding))


# -- the agent and what arrives of it ---------------------------------------------------
@contextlib.contextmanager
def agent_configuration(lab: t.Any) -> t.Iterator[tuple[dict[str, t.Any], t.Callable[[str], None]]]:
    """The configuration of the agent, and how to change it; the agent reads it within half a minute."""
    words = ["configmap", "prometheus-agent", "-n", "observer-agent"]
    saved = lab.get(ALPHA, *words)["data"]["prometheus.yml"]

    def configure(text: str) -> None:
        lab.kubectl(ALPHA, "patch", *words, "--type=merge", "-p", json.dumps({"data": {"prometheus.yml": text}}))

    try:
        yield yaml.safe_load(saved), configure
    finally:
        configure(saved)


EXPORTER = """
import http.server, threading, time
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        # of yesterday, and always new; of yesterday, and always the same
        text = f"faults_old 1 {int(time.time() * 1000) - 86400000}\\nfaults_same 1 {START}\\nfaults_now 1\\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *words):
        pass
START = int(time.time() * 1000) - 80000000
http.server.ThreadingHTTPServer(("", 8000), Page).serve_forever()
"""


@on_alpha(
    ("AgentSamplesRefused", {}),
    ("AgentScrapeLimited", {}),
    *both("KubeTargetDown", job="faults-silent"),
    ("AgentConfigInvalid", {}),
    seconds=540,
)
def bad_targets(lab: t.Any) -> t.Iterator[None]:
    """The agent scrapes a page with old samples, one that is too large, one that does not answer; then its configuration is no YAML any more."""
    apply(lab, thing("Pod", "exporter", spec=pod(EXPORTER)))
    lab.kubectl(ALPHA, "wait", "pod/exporter", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=200s", timeout=210)
    address = lab.get(ALPHA, "pod", "exporter", "-n", NAMESPACE)["status"]["podIP"]
    more = [
        {"job_name": "faults", "static_configs": [{"targets": [f"{address}:8000"]}]},
        {"job_name": "faults-large", "sample_limit": 1, "static_configs": [{"targets": [f"{address}:8000"]}]},
        {"job_name": "faults-silent", "static_configs": [{"targets": [f"{address}:8001"]}]},
    ]
    with agent_configuration(lab) as (settings, configure):
        configure(yaml.safe_dump(settings | {"scrape_configs": settings["scrape_configs"] + more}))
        lab.wait_until(lambda: lab.query(f'faults_now{{cluster="{ALPHA}",job="faults"}}'), 150, "the agent to scrape the new targets", 3)
        # it goes on with what it knows
        configure("scrape_configs: [")
        yield
    delete(lab, "pod", "exporter")


@story(("KaaSSeriesLimit", CRITICAL | {"cluster": "test-flood"}), seconds=150)
def flood(lab: t.Any) -> t.Iterator[None]:
    """A cluster that sends more series than it may (inventory: observer_receive_limits_clusters)."""
    ours = load_authority(lab.get(OBSERVER, "secret", "agents-ca", "-n", "observer"))
    writer = Writer(lab.receive_url, agent_of(lab, ALPHA).signed_by(lab.folder / "flood-77", "test-flood", ours))

    def send() -> None:
        writer.write([({"__name__": "end_to_end_flood_77", "number": str(number)}, [(1.0, now())]) for number in range(800)])

    with again_and_again(send, 2):
        yield


# in an act, what lasts comes first
ACTS: list[list[Story]] = [
    [blind],
    [
        bad_targets, prepared, autoscalers, crashes, jobs, throttled, kubelet_certificate, dns, broken_webhook, client_certificate, fragmented, daemon_sets,
        no_image, unschedulable, quotas, full_disk, read_only_disk, broken_volumes, low_thresholds, dropped_packets, clock, overcommitted, aggregated_api,
        flood,
    ],
    [no_node_exporter, flapping],
    [slow_runtime],
    [stopped_parts, no_etcd],
    [no_kubelet],
    [lost_rights],
]  # fmt: skip
STORIES = {one.name: one for act in ACTS for one in act}


# -- the scene ---------------------------------------------------------------------------
@pytest.fixture(scope="module")
def scene(lab: t.Any, content: t.Any) -> t.Iterator[Watch]:
    """test-alpha is of the tier with low thresholds; all alerts that fire are noted."""
    # a KaaS cluster has none with a program that can do harm
    images = ["prometheus", "kube_state_metrics", "node_exporter", "python"]
    lab.playbook("lab", "--limit", ALPHA, variables={"lab_cluster_images": images})
    lab.playbook("observer_content", variables={"observer_content_alerts": at_once(), "observer_content_thresholds": {"test": LOW}})
    settings: dict[str, t.Any] = {"kaas_cluster": {"labels": {"tier": "test"}}, "kaas_agent_metrics": FULL}
    lab.playbook("kaas_onboard", "--limit", ALPHA, variables=settings)
    # with two, each rule is a question to Query twice in five seconds, which a small machine does not bear
    lab.kubectl(OBSERVER, "scale", "statefulset", "thanos-ruler", "-n", "observer", "--replicas=1")
    lab.kubectl(ALPHA, "create", "namespace", NAMESPACE, check=False)
    url = lab.service("thanos-query", 9090)
    watch = Watch(lambda: [one["metric"] for one in lab.query(FIRING, url=url)])
    watch.start()
    try:
        yield watch
    finally:
        watch.end()
        lab.kubectl(ALPHA, "delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false", check=False)
        lab.kubectl(ALPHA, "delete", "pods", "--all", "-n", NAMESPACE, "--force", "--grace-period=0", check=False)
        lab.kubectl(OBSERVER, "scale", "statefulset", "thanos-ruler", "-n", "observer", "--replicas=2")


@pytest.fixture(scope="module")
def told(lab: t.Any, scene: Watch) -> Told:
    """The stories, and what became of them."""
    found = Told()
    begin = time.time()

    def say(text: str) -> None:
        with (lab.folder / "stories.txt").open("a") as file:
            file.write(f"{time.time() - begin:.0f} s: {text}\n")

    wanted = os.environ.get("END_TO_END_STORIES", "").split()
    acts = [[one for one in act if not wanted or one.name in wanted] for act in ACTS]

    def between(failed: list[Story]) -> list[list[Story]]:
        def gone() -> bool:
            return not [one for one in lab.get(ALPHA, "namespaces") if one["metadata"]["name"].startswith("faults-")]

        lab.wait_until(gone, 120, "the namespaces of the stories to be gone")
        return [[blind]] if {prepared, autoscalers} & set(failed) else []

    lab.figures["stories on KaaS clusters told twice"] = tell_all(lab, [act for act in acts if act], scene, found, say, between)
    lab.figures["alerts on KaaS clusters told, seconds"] = round(time.time() - begin)
    return found


@pytest.mark.parametrize(("name", "expected"), [(one.name, expected) for one in STORIES.values() for expected in one.expects], ids=str)
def test_fires(told: Told, name: str, expected: Expected) -> None:
    told.check(expected, name)


def test_stories_end_well(told: Told) -> None:
    assert {name: str(error) for name, error in told.errors.items()} == {}
    assert told.lasting == {}


def test_alpha_is_as_before(lab: t.Any, told: Told) -> None:
    """The playbook finds nothing more to do, and nothing of the stories is left."""
    settings: dict[str, t.Any] = {"kaas_cluster": {"labels": {}}}
    lab.playbook("kaas_onboard", "--limit", ALPHA, variables=settings | {"kaas_agent_force_conflicts": True})
    again = lab.playbook("kaas_onboard", "--limit", ALPHA, variables=settings)
    assert again.changed == 0, again.changed_tasks
    entry = json.loads(lab.get(OBSERVER, "configmap", "kaas-clusters", "-n", "observer")["data"][ALPHA])
    assert "tier" not in entry.get("labels", {})
    assert "faults" not in machine(lab, "cat", "/proc/mounts") + lab.kubectl(ALPHA, "get", "nodes,pv,apiservices,validatingwebhookconfigurations", "-o", "name")
    assert len(etcd(lab, "cluster/member/list")["members"]) == 1
