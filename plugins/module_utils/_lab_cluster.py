# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: a one-node Kubernetes on a lab machine: real etcd, control plane, kubelet, kube-proxy and containerd."""

from __future__ import annotations

import base64
import concurrent.futures
import dataclasses
import hashlib
import http.client
import json
import re
import shutil
import ssl
import time
import typing as t
from pathlib import Path

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._images import IMAGES
from ansible_collections.scs.observer.plugins.module_utils._lab_machine import (
    Machine,
    Program,
    check_machine,
    living_owners,
    lock,
    run,
    sweep,
    write_whole,
)
from ansible_collections.scs.observer.plugins.module_utils._lab_pki import Authority, Pair, make_key_pair
from ansible_collections.scs.observer.plugins.module_utils._lab_programs import find_archive, find_build

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,29}[a-z0-9])?")
BASE_IMAGES = ("pause", "coredns")
CLUSTER_DOMAIN = "cluster.local"
# Index 0 is left to machines that are no clusters.
INDEXES = range(1, 90)
# Names of lab machines that are no clusters.
RESERVED_NAMES = ("s3",)
PROGRAMS = ("etcd", "containerd", "ctr", "runc", "iptables", "conntrack")
CNI_PLUGINS = Path("/usr/lib/cni")
# Written last; a state folder without it is what a killed run left behind.
READY = "ready.json"


@dataclasses.dataclass(frozen=True)
class Spec:
    """What the user asked for. C(images) and C(archives) are what containerd imports; C(programs) is the folder with Kubernetes' programs."""

    name: str
    programs: Path
    images: tuple[Path, ...]
    archives: tuple[Path, ...] = ()
    sandbox_image: str = IMAGES["pause"].reference

    @classmethod
    def of(cls, name: str, source: Path, cache: Path, images: t.Sequence[str], archives: t.Sequence[Path]) -> Spec:
        """Where the built programs and images are, or will be."""
        made = [find_archive(image, source, cache) for image in dict.fromkeys([*BASE_IMAGES, *images])]
        kubernetes = find_build("kubernetes", source / "kubernetes", cache)
        return cls(name, kubernetes.output, tuple(archive.path for archive in made), tuple(archives))

    @property
    def all_images(self) -> tuple[Path, ...]:
        return (*self.images, *self.archives)

    def fingerprint(self) -> str:
        """Changes when the programs change: then the cluster has to be made anew. More images are imported into the running one."""
        return hashlib.sha256(json.dumps([str(self.programs.resolve()), self.sandbox_image]).encode()).hexdigest()


class Cluster:
    """A lab cluster: its machine and the files in its state folder."""

    def __init__(self, root: Path, name: str, index: int) -> None:
        self.machine = Machine(root, name, index)
        self.name = name
        self.state = self.machine.state
        self.address = self.machine.address
        self.service_network = f"10.{100 + index}.0.0/16"
        self.service_address = f"10.{100 + index}.0.1"
        self.dns_address = f"10.{100 + index}.0.10"
        self.pod_network = f"172.20.{index}.0/24"
        self.kubeconfig = self.state / "kubeconfig"

    @property
    def routes(self) -> tuple[str, str]:
        return (self.service_network, self.pod_network)

    def facts(self) -> dict[str, t.Any]:
        """What the module returns of a cluster that is there."""
        return {
            "name": self.name,
            "kubeconfig": str(self.kubeconfig),
            "address": self.address,
            "api_url": f"https://{self.address}:6443",
            "service_network": self.service_network,
            "pod_network": self.pod_network,
            "dns_address": self.dns_address,
            "audit_log": str(self.state / "log" / "audit.log"),
            "pid": self.machine.pid,
        }


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ObserverError(f"lab cluster name '{name}' is not valid: use 1 to 31 lower case letters, digits and '-', with a letter or digit at both ends")
    if name in RESERVED_NAMES:
        raise ObserverError(f"lab cluster name '{name}' is taken by the lab's own machine of that name; use another")


def find(root: Path, name: str) -> Cluster | None:
    """The cluster's state folder, whatever state it is in; None also for a folder without an index, in which nothing was started yet."""
    try:
        return Cluster(root, name, int((root / name / "index").read_text()))
    except (FileNotFoundError, ValueError):
        return None


def choose_index(root: Path, name: str, index: int | None) -> int:
    """An address that no other cluster has, of this root or (if it runs) of another; C(index) None takes the lowest free one."""
    if index is not None and index not in INDEXES:
        raise ObserverError(f"lab cluster {name}: index {index} is not in {INDEXES.start} to {INDEXES.stop - 1}")
    taken = {number: str(owner) for number, owner in living_owners().items() if owner != root / name}
    for path in root.glob("*/index"):
        text = path.read_text().strip()
        if text.isdigit() and path.parent.name != name:
            taken[int(text)] = path.parent.name
    if index in taken:
        raise ObserverError(f"lab cluster {name} asks for index {index}, which {taken[index]} has; choose another, or leave it out")
    chosen = index if index is not None else next((number for number in INDEXES if number not in taken), None)
    if chosen is None:
        raise ObserverError(f"lab cluster {name}: all {len(INDEXES)} addresses of the lab are taken; remove a cluster first")
    return chosen


def allocate(root: Path, name: str, index: int | None) -> Cluster:
    """Reserve an address."""
    with lock():
        chosen = choose_index(root, name, index)
        (root / name).mkdir(mode=0o755, parents=True, exist_ok=True)
        write_whole(root / name / "index", str(chosen))
    return Cluster(root, name, chosen)


def state_of(cluster: Cluster | None, spec: Spec, index: int | None = None) -> t.Literal["absent", "stale", "present"]:
    """C(stale): killed, half made, made of other programs or at another address; it is removed and made anew, for a lab holds nothing worth mending."""
    if cluster is None:
        return "absent"
    try:
        ready = json.loads((cluster.state / READY).read_text())
    except (FileNotFoundError, ValueError):
        return "stale"
    same = ready["fingerprint"] == spec.fingerprint() and index in (None, cluster.machine.index)
    return "present" if same and cluster.machine.pid is not None else "stale"


def missing_images(cluster: Cluster, spec: Spec) -> list[Path]:
    """Archives that were not imported yet, by name and content (their size and time)."""
    imported = json.loads((cluster.state / READY).read_text())["images"]
    return [path for path in spec.all_images if _image_mark(path) not in imported]


def _image_mark(path: Path) -> str:
    try:
        status = path.stat()
    except FileNotFoundError:
        return f"{path}: not made yet"
    return f"{path}:{status.st_size}:{status.st_mtime_ns}"


def remove(cluster: Cluster) -> None:
    (cluster.state / READY).unlink(missing_ok=True)
    cluster.machine.remove(cluster.routes)


def import_images(cluster: Cluster, archives: t.Sequence[Path]) -> None:
    """Import archives into the cluster's containerd, several at once."""
    socket = cluster.state / "run" / "containerd.sock"

    def one(path: Path) -> None:
        result = run("ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", path, check=False)
        if result.returncode:
            raise ObserverError(f"lab cluster {cluster.name}: {path} can't be imported as an image archive: {_last_line(result.stderr)}")

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(one, archives))


def _write_ready(cluster: Cluster, spec: Spec) -> None:
    marks = [_image_mark(path) for path in spec.all_images]
    write_whole(cluster.state / READY, json.dumps({"fingerprint": spec.fingerprint(), "images": marks}))


def create(cluster: Cluster, spec: Spec, timeout: float) -> dict[str, float]:
    """Make the cluster and wait until its node is Ready; returns seconds by step."""
    begin = time.monotonic()
    seconds: dict[str, float] = {}

    def mark(step: str) -> None:
        seconds[step] = round(time.monotonic() - begin, 2)

    for folder in ("log", "pki", "etcd", "kubelet", "cni", "containerd", "run"):
        (cluster.state / folder).mkdir(exist_ok=True)
    _write_pki(cluster)
    _write_configuration(cluster, spec)
    cluster.machine.start(_programs(cluster, spec), cluster.routes)
    mark("machine_started")
    end = begin + timeout
    _wait((cluster.state / "run" / "containerd.sock").exists, end, cluster, "containerd", "containerd's socket")
    # Images come in while the API server starts: the one uses the disk, the other the processor.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        importing = pool.submit(import_images, cluster, spec.all_images)
        api = _Api(cluster)
        _wait(lambda: api.request("GET", "/readyz")[0] == 200, end, cluster, "kube-apiserver", "the API server's /readyz")
        mark("api_ready")
        cluster.machine.start_programs(("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"))
        _wait(lambda: _node_is_ready(cluster, api), end, cluster, "kubelet", "the node to be Ready")
        mark("node_ready")
        importing.result()
        mark("images_imported")
    label = {"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}
    _wait(lambda: api.request("PATCH", f"/api/v1/nodes/{cluster.name}", label)[0] == 200, end, cluster, "kube-apiserver", "the node's label to be written")
    _write_ready(cluster, spec)
    return seconds


class _Api:
    """The new cluster's API server, asked so often that a kubectl for each question would take half of the machine."""

    def __init__(self, cluster: Cluster) -> None:
        self._address = cluster.address
        self._context = ssl.create_default_context(cafile=str(cluster.state / "pki" / "ca.crt"))
        self._context.load_cert_chain(cluster.state / "pki" / "admin.crt", cluster.state / "pki" / "admin.key")

    def request(self, method: str, path: str, body: t.Any = None) -> tuple[int, bytes]:
        """Status and body; status 0 while it does not answer."""
        connection = http.client.HTTPSConnection(self._address, 6443, timeout=5, context=self._context)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/merge-patch+json"})
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()


def _node_is_ready(cluster: Cluster, api: _Api) -> bool:
    status, body = api.request("GET", f"/api/v1/nodes/{cluster.name}")
    if status != 200:
        return False
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in json.loads(body)["status"].get("conditions", []))


def _last_line(text: str) -> str:
    return next((line.strip()[:300] for line in reversed(text.splitlines()) if line.strip()), "it says nothing")


def _wait(done: t.Callable[[], bool], end: float, cluster: Cluster, program: str, what: str) -> None:
    while not done():
        if cluster.machine.pid is None:
            raise ObserverError(f"lab cluster {cluster.name} ended while it started; see {cluster.state}/log/machine.log and supervisord.log")
        if time.monotonic() > end:
            log = f"{cluster.state}/log/{program}.log, which ends with: {_last_line(cluster.machine.log_tail(program))}"
            raise ObserverError(f"lab cluster {cluster.name}: waited in vain for {what}; see {log}")
        time.sleep(0.1)


def _write_pki(cluster: Cluster) -> None:
    pki = cluster.state / "pki"
    authority = Authority.create("kubernetes")
    authority.write(pki, "ca")
    ours = [cluster.address, "127.0.0.1"]
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{CLUSTER_DOMAIN}", "localhost", cluster.name]
    authority.issue("kube-apiserver", dns_names=names, ip_addresses=[*ours, cluster.service_address]).write(pki, "apiserver")
    authority.issue("kube-apiserver-kubelet-client", organization="system:masters").write(pki, "apiserver-kubelet-client")
    authority.issue(f"system:node:{cluster.name}", organization="system:nodes", dns_names=[cluster.name], ip_addresses=ours).write(pki, "kubelet")
    serving = {"dns_names": ["localhost", cluster.name], "ip_addresses": ours}
    for name in ("kube-controller-manager", "kube-scheduler"):
        authority.issue(f"system:{name}", **serving).write(pki, name)
        _write_kubeconfig(cluster, cluster.state / "pki" / f"{name}.kubeconfig", authority, f"system:{name}")
    _write_kubeconfig(cluster, pki / "kube-proxy.kubeconfig", authority, "system:kube-proxy")
    _write_kubeconfig(cluster, pki / "kubelet.kubeconfig", authority, f"system:node:{cluster.name}", "system:nodes")
    admin = authority.issue("kubernetes-admin", organization="system:masters")
    admin.write(pki, "admin")
    _write_kubeconfig(cluster, cluster.kubeconfig, authority, "kubernetes-admin", pair=admin)
    make_key_pair(pki, "service-account")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _write_kubeconfig(cluster: Cluster, path: Path, authority: Authority, user: str, organization: str | None = None, pair: Pair | None = None) -> None:
    pair = pair or authority.issue(user, organization=organization)
    server = {"server": f"https://{cluster.address}:6443", "certificate-authority-data": _base64(authority.certificate_pem)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster.name, "cluster": server}],
        "users": [{"name": user, "user": {"client-certificate-data": _base64(pair.certificate_pem), "client-key-data": _base64(pair.key_pem)}}],
        "contexts": [{"name": cluster.name, "context": {"cluster": cluster.name, "user": user}}],
        "current-context": cluster.name,
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content))


def _write_configuration(cluster: Cluster, spec: Spec) -> None:
    state = cluster.state
    audit = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}
    (state / "audit-policy.yaml").write_text(json.dumps(audit))
    (state / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    network = {
        "cniVersion": "0.4.0",
        "name": "lab",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": cluster.pod_network}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": f"{state}/cni-ipam"},
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    (state / "cni" / "10-lab.conflist").write_text(json.dumps(network))
    (state / "containerd.toml").write_text(CONTAINERD.format(state=state, sandbox_image=spec.sandbox_image, cgroup=cluster.machine.cgroup))
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {"clientCAFile": f"{state}/pki/ca.crt"}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{state}/pki/kubelet.crt",
        "tlsPrivateKeyFile": f"{state}/pki/kubelet.key",
        "clusterDNS": [cluster.dns_address],
        "clusterDomain": CLUSTER_DOMAIN,
        "containerRuntimeEndpoint": f"unix://{state}/run/containerd.sock",
        # The lab has no name server outside; without this line pods would inherit the machine's.
        "resolvConf": f"{state}/resolv.conf",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cluster.machine.cgroup}",
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "featureGates": {"KubeletInUserNamespace": True},
        "localStorageCapacityIsolation": True,
        "evictionHard": {"nodefs.available": "0%", "imagefs.available": "0%", "memory.available": "100Mi"},
        # Nothing can be pulled again, so nothing is collected.
        "imageGCHighThresholdPercent": 100,
        "maxPods": 200,
        "serializeImagePulls": False,
        # The default, /var/log/pods, is one folder for all clusters of the machine, and each kubelet would remove the others' logs.
        "podLogsDir": f"{state}/log/pods",
        "syncFrequency": "10s",
        "configMapAndSecretChangeDetectionStrategy": "Watch",
    }
    (state / "kubelet.yaml").write_text(json.dumps(kubelet))
    proxy = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": cluster.name,
        "clusterCIDR": cluster.pod_network,
        "metricsBindAddress": "0.0.0.0:10249",
        "clientConnection": {"kubeconfig": f"{state}/pki/kube-proxy.kubeconfig"},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"minSyncPeriod": "0s"},
    }
    (state / "kube-proxy.yaml").write_text(json.dumps(proxy))


CONTAINERD = """version = 2
root = "{state}/containerd"
state = "{state}/run/containerd"
[grpc]
  address = "{state}/run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox_image}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{state}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


# The controller manager makes volumes for root alone (0750), and there is no fsGroup for a hostPath; other provisioners give 0777.
VOLUME_MODES = "while sleep 0.2; do find /tmp/hostpath_pv -mindepth 1 -maxdepth 1 ! -perm 0777 -exec chmod 0777 {} + 2>/dev/null; done"


def _programs(cluster: Cluster, spec: Spec) -> list[Program]:
    state, pki, programs = cluster.state, cluster.state / "pki", spec.programs

    def component(name: str, *flags: str, priority: int, autostart: bool = False) -> Program:
        return Program(name, (str(programs / name), *flags), priority=priority, autostart=autostart)

    def serving(name: str) -> tuple[str, ...]:
        own = f"{pki}/{name}.kubeconfig"
        return (
            f"--kubeconfig={own}",
            f"--authentication-kubeconfig={own}",
            f"--authorization-kubeconfig={own}",
            "--leader-elect=false",
            "--bind-address=0.0.0.0",
            f"--tls-cert-file={pki}/{name}.crt",
            f"--tls-private-key-file={pki}/{name}.key",
        )

    etcd = (
        "/usr/bin/etcd",
        f"--data-dir={state}/etcd",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        f"--listen-metrics-urls=http://{cluster.address}:2381",
        # A lab's data is made again, so it need not survive the machine's power.
        "--unsafe-no-fsync",
    )
    return [
        Program("etcd", etcd, priority=10),
        Program("containerd", ("/usr/bin/containerd", "--config", f"{state}/containerd.toml"), priority=10),
        component(
            "kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            f"--advertise-address={cluster.address}",
            "--bind-address=0.0.0.0",
            f"--service-cluster-ip-range={cluster.service_network}",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--client-ca-file={pki}/ca.crt",
            f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
            f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
            f"--service-account-key-file={pki}/service-account.pub",
            f"--service-account-signing-key-file={pki}/service-account.key",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--audit-policy-file={state}/audit-policy.yaml",
            f"--audit-log-path={state}/log/audit.log",
            "--audit-log-maxsize=200",
            "--audit-log-maxbackup=1",
            priority=20,
            autostart=True,
        ),
        component(
            "kube-controller-manager",
            *serving("kube-controller-manager"),
            f"--service-account-private-key-file={pki}/service-account.key",
            f"--root-ca-file={pki}/ca.crt",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
            "--use-service-account-credentials",
            "--allocate-node-cidrs=false",
            f"--cluster-cidr={cluster.pod_network}",
            # PersistentVolumes under the machine's own /tmp, which is a folder of the state.
            "--enable-hostpath-provisioner",
            priority=30,
        ),
        component("kube-scheduler", *serving("kube-scheduler"), priority=30),
        component(
            "kubelet",
            f"--config={state}/kubelet.yaml",
            f"--kubeconfig={pki}/kubelet.kubeconfig",
            f"--root-dir={state}/kubelet",
            f"--cert-dir={state}/kubelet/pki",
            f"--hostname-override={cluster.name}",
            f"--node-ip={cluster.address}",
            # cAdvisor would look at the machine's own containerd, and show no container's labels.
            f"--containerd={state}/run/containerd.sock",
            priority=40,
        ),
        component("kube-proxy", f"--config={state}/kube-proxy.yaml", priority=40),
        Program("volume-modes", ("/bin/sh", "-c", VOLUME_MODES), priority=30),
    ]


def ensure_absent(root: Path, name: str, check_mode: bool) -> dict[str, t.Any]:
    """The module's result for state absent."""
    check_name(name)
    check_machine(root / name)
    with lock(name):
        there = (root / name).exists()
        if there and not check_mode:
            _remove_traces(root, name)
        left = sweep(root, check_mode)
    return {"changed": there or bool(left), "cluster": {}, "seconds": {}}


def _remove_traces(root: Path, name: str) -> None:
    cluster = find(root, name)
    if cluster is not None:
        remove(cluster)
    elif (root / name).exists():
        # Without an index nothing of it can run that sweep does not find.
        shutil.rmtree(root / name)
        sweep(root)


def ensure_present(root: Path, spec: Spec, index: int | None, timeout: float, check_mode: bool) -> dict[str, t.Any]:
    """The module's result for state present."""
    check_name(spec.name)
    check_machine(root / spec.name, *PROGRAMS)
    _check_input(spec, check_mode)
    with lock(spec.name):
        choose_index(root, spec.name, index)
        cluster = find(root, spec.name)
        if cluster is not None and state_of(cluster, spec, index) == "present":
            return {"changed": _complete(cluster, spec, check_mode), "cluster": cluster.facts(), "seconds": {}}
        if check_mode:
            return {"changed": True, "cluster": {}, "seconds": {}}
        if cluster is not None and index is None:
            index = cluster.machine.index
        _remove_traces(root, spec.name)
        cluster = allocate(root, spec.name, index)
        seconds = create(cluster, spec, timeout)
        return {"changed": True, "cluster": cluster.facts(), "seconds": seconds}


def _complete(cluster: Cluster, spec: Spec, check_mode: bool) -> bool:
    """Give a running cluster the images that it lacks and its link to this machine; whether it lacked any."""
    missing = missing_images(cluster, spec)
    connected = cluster.machine.is_connected(cluster.routes)
    if not check_mode:
        if not connected:
            cluster.machine.connect(cluster.routes)
        if missing:
            import_images(cluster, missing)
            _write_ready(cluster, spec)
    return bool(missing) or not connected


def _check_input(spec: Spec, check_mode: bool) -> None:
    for path in spec.archives:
        if not path.is_file():
            raise ObserverError(f"lab cluster {spec.name}: there is no image archive {path}; make it with 'docker save', or leave it out")
    if not (CNI_PLUGINS / "bridge").is_file():
        raise ObserverError(f"the lab needs the CNI plugins in {CNI_PLUGINS}; 'make system' installs all that the lab needs")
    for path in () if check_mode else (spec.programs / "kube-apiserver", spec.programs / "kubelet", *spec.images):
        if not path.is_file():
            raise ObserverError(f"lab cluster {spec.name}: {path} is missing; build it first with the role lab_cluster's entry point programs")
