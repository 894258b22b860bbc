# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures what grows with the number of KaaS clusters, with simulated ones and real programs on this machine.

    python benchmarks/scale.py [--steps 10,100,1000] [--save]

Registry in a real API server, importer, Prometheus, Receives, ruler with the role's rules, Query; the clusters' samples come by remote-write.
All without TLS and on loopback, but Query, which an API server has to reach. --save writes the tables into benchmarks/README.md and docs/sizing.md.
Takes about 12 minutes, 9 GiB of memory for 1,000 clusters, and root (a loop device limits the disk). Receives are killed, never stopped, but the
one that is measured on its own volume.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import typing as t
import urllib.parse

TOP = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(TOP / "tests"), str(TOP / "tests" / "end_to_end"), str(TOP / ".cache" / "tree")]

import psutil  # noqa: E402
import yaml  # noqa: E402
from _api_server import api_server  # noqa: E402
from _clusters import clusters, samples, series_of  # noqa: E402
from _observer import LOCAL, Observer, Sender, compressed, expose_query, free_port, own_address  # noqa: E402
from ansible_collections.scs.observer.plugins.module_utils import _kaas_states, _kubernetes  # noqa: E402
from ansible_collections.scs.observer.plugins.module_utils._promql_backends import ServiceBackend  # noqa: E402
from ansible_collections.scs.observer.plugins.module_utils._registry import Registry, items_from  # noqa: E402
from lab import BIN, ENVIRONMENT, Rows, machine, table  # noqa: E402

SMALL, BIG, BIG_CLUSTERS = 200, 6000, 10
# one in fifty registered ones never reports
SILENT = 50
INTERVAL = 30
BACKFILL = 20  # samples, so that rate() over 5 minutes has what it needs
BATCH = 2000  # series of a request
TURNS = 5
MIB, GIB = 1024**2, 1024**3
MEMORY_EACH, MEMORY_SERIES, MEMORY_FREE = 5 * MIB, 12 * 1024, 3 * GIB
VOLUME = 8 * GIB
VOLUME_CLUSTERS = 10
# Each cluster's block that is written gets so much first. How many are written at once is a matter of cores and luck: a volume has to allow all.
PREALLOCATED = 512 * MIB
BLOCK = 60  # seconds; Receive's own are of two hours

CUSTOMER = 'cluster!="",infrastructure="",observer=""'
RECORDED = 'infrastructure=""'
QUERIES = {
    "clusters by state": f"count by (state) (cluster:kaas_state:info{{{RECORDED}}})",
    "clusters by state, Receives left out": f'count by (state) (cluster:kaas_state:info{{{RECORDED},receive_replica=""}})',
    "state of each": f"group by (cluster, state) (cluster:kaas_state:info{{{RECORDED}}})",
    "state of each, Receives left out": f'group by (cluster, state) (cluster:kaas_state:info{{{RECORDED},receive_replica=""}})',
    "age of the last sample of each": f"time() - max by (cluster) (cluster:kaas_last_sample:timestamp_seconds{{{RECORDED}}})",
    "alerts of each": f"count by (cluster, alertname) (ALERTS{{{RECORDED}}})",
    "CPU of each, %": f'100 * (1 - avg by (cluster) (rate(node_cpu_seconds_total{{{CUSTOMER},mode="idle"}}[5m])))',
    "RAM of each, %": (
        f"100 * (1 - sum by (cluster) (node_memory_MemAvailable_bytes{{{CUSTOMER}}}) / sum by (cluster) (node_memory_MemTotal_bytes{{{CUSTOMER}}}))"
    ),
    "nodes of each": f"count by (cluster) (kube_node_info{{{CUSTOMER}}})",
    "nodes not ready of each": f'count by (cluster) (kube_node_status_condition{{{CUSTOMER},condition="Ready",status="true"}} == 0)',
    "pods that do not run, of each": f'sum by (cluster) (kube_pod_status_phase{{{CUSTOMER},phase=~"Failed|Pending|Unknown"}})',
    "series of each": f"sum by (cluster) (scrape_samples_post_metric_relabeling{{{CUSTOMER}}})",
    "one cluster: CPU of its nodes": '100 * (1 - avg by (instance) (rate(node_cpu_seconds_total{cluster="c0000",mode="idle"}[5m])))',
}


SEEN = f"count by (cluster) (up{{{CUSTOMER}}})"
EMPTY = {"nodes not ready of each", "alerts of each"}


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} load {os.getloadavg()[0]:.1f} {text}", file=sys.stderr, flush=True)


# -- the programs --------------------------------------------------------------------------------------------------------------------------------


class Rest:
    """GETs over one kept connection."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=120)

    def text(self, path: str) -> str:
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        body = answer.read().decode()
        assert answer.status == 200, f"{path}: {answer.status} {body[:300]}"
        return body

    def query(self, query: str, **parameters: str) -> list[t.Any]:
        answer = json.loads(self.text("/api/v1/query?" + urllib.parse.urlencode({"query": query, **parameters})))
        assert not answer.get("warnings"), answer["warnings"]
        return answer["data"]["result"]


def delivered(sender: Sender, tenant: str, body: bytes) -> None:
    """A Receive refuses what comes first for a tenant, until its TSDB is open; 409 says that an earlier attempt was stored after all."""
    for attempt in range(200):
        try:
            sender.send(tenant, body)
            return
        except RuntimeError as error:
            if attempt and ": 409 " in str(error):
                return
            if attempt == 199:
                raise
            time.sleep(0.1)


class Agents:
    """All clusters' agents: history first, then a sample of each series every 30 s, from four threads."""

    THREADS = 4

    def __init__(self, url: str) -> None:
        self.url, self.lock = url, threading.Lock()
        self._series = {count: series_of(count) for count in (SMALL, BIG)}
        self._all: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def series(self) -> int:
        return sum(self._all.values())

    def _bodies(self, count: int, times: t.Sequence[float]) -> list[bytes]:
        series = self._series[count]
        return [compressed(samples(series[begin : begin + BATCH], times)) for begin in range(0, len(series), BATCH)]

    def _deliver(self, work: t.Sequence[tuple[str, list[bytes]]]) -> None:
        def run(part: t.Sequence[tuple[str, list[bytes]]]) -> None:
            sender = Sender(self.url)
            for tenant, bodies in part:
                for body in bodies:
                    delivered(sender, tenant, body)
            sender.close()

        threads = [threading.Thread(target=run, args=(work[number :: self.THREADS],)) for number in range(self.THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def add(self, wanted: t.Mapping[str, int]) -> None:
        """With a history of ten minutes; its samples are those of the rounds after it, so that it is in order."""
        with self.lock:
            now = time.time()
            times = [now - INTERVAL * number for number in range(BACKFILL, 0, -1)]
            bodies = {count: self._bodies(count, times) for count in set(wanted.values())}
            self._deliver([(name, bodies[count]) for name, count in wanted.items() if name not in self._all])
            # a small one that becomes big: its first series are there already
            grown = {name for name, count in wanted.items() if self._all.get(name, count) != count}
            if grown:
                more = {labels_key(labels) for labels, _value in self._series[SMALL]}
                extra = [one for one in self._series[BIG] if labels_key(one[0]) not in more]
                parts = [compressed(samples(extra[begin : begin + BATCH], times)) for begin in range(0, len(extra), BATCH)]
                self._deliver([(name, parts) for name in grown])
            self._all |= wanted
            self._round()
        if not self._thread.is_alive():
            self._thread.start()

    def _round(self) -> None:
        bodies = {count: self._bodies(count, [time.time()]) for count in set(self._all.values())}
        self._deliver([(name, bodies[count]) for name, count in self._all.items()])

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL):
            with self.lock:
                self._round()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()


def labels_key(labels: t.Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def resident(observer: Observer, name: str) -> float:
    return psutil.Process(observer.running[name].process.pid).memory_info().rss


def settled(observer: Observer, *names: str) -> list[float]:
    """The largest of ten seconds: what a limit has to allow."""
    found = [0.0] * len(names)
    for _turn in range(20):
        found = [max(before, resident(observer, name)) for before, name in zip(found, names, strict=True)]
        time.sleep(0.5)
    return found


# -- one Receive, more and more clusters -------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Step:
    clusters: int
    reporting: int
    series: int
    memory: float
    cores: float
    query_memory: float
    evaluation: float
    evaluation_all: float
    info: list[float]
    task: list[float]
    control: list[float]
    queries: dict[str, tuple[list[float], int]]
    load: float


def grow(folder: pathlib.Path, steps: t.Sequence[int]) -> tuple[list[Step], dict[str, float]]:
    address = own_address()
    if not address:
        raise SystemExit("this machine has no address but loopback, and an API server proxies to no other")
    found: list[Step] = []
    extra: dict[str, float] = {}
    with api_server(folder) as cluster, Observer(folder, interval="30s", name="benchmark") as observer:
        namespace = "observer"
        assert cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})[0] == 201
        client = _kubernetes.connect({"kubeconfig": cluster.kubeconfig})
        registry = Registry(client, namespace)
        url = observer.receive()
        observer.reserve_query(address)
        importer = observer.importer(cluster, namespace, "--grace", "1s")
        observer.prometheus(importer=importer)
        ruler = observer.ruler()
        query_url = observer.query()
        expose_query(cluster, namespace, observer)
        extra["memory_empty"] = settled(observer, "thanos-receive-0")[0]
        agents = Agents(url)
        try:
            names = clusters(max(steps))
            agents.add(dict.fromkeys(names[:BIG_CLUSTERS], SMALL))
            extra["memory_small"], extra["series_small"] = settled(observer, "thanos-receive-0")[0], agents.series
            for count in steps:
                needed = count * MEMORY_EACH + (count * SMALL + BIG_CLUSTERS * BIG) * MEMORY_SERIES
                free = psutil.virtual_memory().available + resident(observer, "thanos-receive-0")
                if free - needed < MEMORY_FREE:
                    say(f"{count} clusters need about {needed / GIB:.1f} GiB, {free / GIB:.1f} are free: left out")
                    continue
                found.append(_step(observer, cluster, registry, agents, names[:count], ruler, query_url))
                say(f"{count} clusters: Receive {found[-1].memory / MIB:.0f} MiB, module {statistics.median(found[-1].info):.3f} s")
        finally:
            agents.end()
    return found, extra


def _step(observer: Observer, cluster: t.Any, registry: Registry, agents: Agents, names: list[str], ruler: str, query_url: str) -> Step:
    labels = {"customer": "customer-a", "name": "Production of customer A", "region": "west", "tier": "gold"}
    registry.ensure(items_from([{"name": name, "labels": labels} for name in names], present=True))
    reporting = {name: BIG if number < BIG_CLUSTERS else SMALL for number, name in enumerate(names) if number % SILENT != SILENT - 1}
    agents.add(reporting)
    client = registry.client
    backend = ServiceBackend(client, registry.namespace, "thanos-query", "9090", parameters=_kaas_states.PARAMETERS)
    deadline = time.monotonic() + 300
    while True:
        with contextlib.suppress(_kaas_states.ObserverError):
            states = _kaas_states.observe(registry, backend).result()["states"]
            if states["up"] == len(reporting) and states["never_seen"] == len(names) - len(reporting):
                break
        assert time.monotonic() < deadline, f"the states are not as they should be: {states}"
        time.sleep(1)
    rest = Rest(query_url)
    while len(rest.query(SEEN)) < len(reporting):
        assert time.monotonic() < deadline, "Query does not show all clusters"
        time.sleep(2)
    process = psutil.Process(observer.running["thanos-receive-0"].process.pid)
    begin, used = time.monotonic(), sum(process.cpu_times()[:2])
    memory = 0.0
    while time.monotonic() - begin < INTERVAL:
        time.sleep(0.5)
        memory = max(memory, process.memory_info().rss)
    cores = (sum(process.cpu_times()[:2]) - used) / (time.monotonic() - begin)
    load = os.getloadavg()[0]
    with agents.lock:  # what is written in between is another matter
        queries = {name: _timed(rest, query) for name, query in QUERIES.items()}
        info = []
        for _turn in range(TURNS):
            before, start = client.requests, time.monotonic()
            outcome = _kaas_states.observe(registry, backend)
            info.append(time.monotonic() - start)
            assert client.requests - before == 2 and len(outcome.clusters) == len(names)
        control, task = _tasks(cluster.kubeconfig, registry.namespace)
        metrics = Rest(f"http://{ruler}").text("/metrics")
    asking_all = evaluation(observer.ruler(f"ruler-all-{len(names)}", (str(rules_asking_all(observer.folder)),)), 45)
    observer.running[f"ruler-all-{len(names)}"].kill()
    failures = [float(value) for value in re.findall(r"^prometheus_rule_evaluation_failures_total\{[^}]*\} (\S+)", metrics, re.MULTILINE)]
    if any(failures):
        say(f"evaluations of rules that failed so far: {sum(failures):.0f}")
    query_memory = resident(observer, "thanos-query")
    return Step(len(names), len(reporting), agents.series, memory, cores, query_memory, duration(metrics), asking_all, info, task, control, queries, load)


def rules_asking_all(folder: pathlib.Path) -> pathlib.Path:
    """The role's rules, with all selectors made so that Query asks the Receives too: what leaving them out saves."""
    text = (TOP / "roles" / "observer" / "files" / "rules" / "kaas.yaml").read_text()
    (folder / "kaas-all.yaml").write_text(text.replace(',receive_replica=""', ""))
    return folder / "kaas-all.yaml"


def duration(metrics: str) -> float:
    return max(float(value) for value in re.findall(r"^prometheus_rule_group_last_duration_seconds\{[^}]*\} (\S+)", metrics, re.MULTILINE))


def evaluation(ruler: str, seconds: float) -> float:
    """Of its first one, or the longest that was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(ValueError):
            if found := duration(Rest(f"http://{ruler}").text("/metrics")):
                return found
        time.sleep(1)
    return seconds


def _timed(rest: Rest, query: str) -> tuple[list[float], int]:
    seconds, size = [], 0
    for _turn in range(TURNS):
        begin = time.monotonic()
        size = len(rest.query(query))
        seconds.append(time.monotonic() - begin)
    return seconds, size


def _tasks(kubeconfig: str, namespace: str) -> tuple[list[float], list[float]]:
    """Seconds of Ansible's task ping, which does nothing, and of the module's; Ansible's start left out."""
    module = {"scs.observer.kaas_clusters_info": {"kubeconfig": kubeconfig, "namespace": namespace}}
    tasks = [{"name": f"{name} {turn}", **task} for turn in range(3) for name, task in (("ping", {"ansible.builtin.ping": {}}), ("info", module))]
    play = {"name": "Measure", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
    play["vars"] = {"ansible_python_interpreter": sys.executable}
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write(yaml.safe_dump([play]))
        file.flush()
        environment = {**ENVIRONMENT, "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.profile_tasks", "PROFILE_TASKS_TASK_OUTPUT_LIMIT": "all"}
        command = [str(BIN / "ansible-playbook"), "-i", "localhost,", file.name]
        done = subprocess.run(command, env=environment, cwd=TOP, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    took = {name: float(seconds) for name, seconds in re.findall(r"^(\w+ \d) -+ ([\d.]+)s$", done.stdout, re.MULTILINE)}
    return [took[f"ping {turn}"] for turn in range(3)], [took[f"info {turn}"] for turn in range(3)]


# -- shuffle sharding --------------------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Sharding:
    receives: int
    shard: int  # 0: no shuffle sharding
    clusters: int
    memory: list[float]
    tenants: list[int]


def shard(folder: pathlib.Path, steps: t.Sequence[int], receives: int = 6) -> list[Sharding]:
    """The same clusters into six Receives with replication factor 3, which hold all of them, or three for each."""
    found = []
    for size in (0, 3):
        place = folder / f"shard-{size}"
        place.mkdir()
        with Observer(place) as observer:
            addresses = [f"{LOCAL}:{free_port()}" for _number in range(receives)]
            ring: dict[str, t.Any] = {"hashring": "default", "algorithm": "ketama", "endpoints": [{"address": address} for address in addresses]}
            if size:
                ring["shuffle_sharding_config"] = {"shard_size": size, "cache_size": 2000}
            (place / "hashrings.json").write_text(json.dumps([ring]))
            flags = [f"--receive.hashrings-file={place / 'hashrings.json'}", "--receive.hashrings-algorithm=ketama", "--receive.replication-factor=3"]
            urls = [observer.receive(f"thanos-receive-{number}", *flags, grpc=address) for number, address in enumerate(addresses)]
            time.sleep(5)
            agents = Agents(urls[0])
            try:
                for count in steps:
                    agents.add(dict.fromkeys(clusters(count), SMALL))
                    time.sleep(5)
                    memory = settled(observer, *observer.receives)
                    tenants = [_tenants(address) for _url, address in observer.receives.values()]
                    found.append(Sharding(receives, size, count, memory, tenants))
                    say(f"shard {size}, {count} clusters: {[round(value / MIB) for value in memory]} MiB, tenants {tenants}")
            finally:
                agents.end()
    return found


def _tenants(address: str) -> int:
    """Tenants whose series a Receive holds."""
    text = Rest(f"http://{address}").text("/metrics")
    return sum(float(value) > 0 for value in re.findall(r'^prometheus_tsdb_head_series\{[^}]*tenant="c\d+"[^}]*\} (\S+)', text, re.MULTILINE))


# -- blocks, and the disk while a Receive stops ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Storage:
    clusters: int
    windows: int
    blocks: int
    objects: int
    stopping: float
    seconds: float
    added: int


@contextlib.contextmanager
def volume(folder: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """A file system of its own in a sparse file, so that what is preallocated can not fill the machine's."""
    image, place = folder / "volume.img", folder / "volume"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(VOLUME)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
        image.unlink()


class DiskUse:
    """The most that is used while it runs, asked every 2 ms."""

    def __init__(self, place: pathlib.Path) -> None:
        self.place, self.most, self._stop = place, 0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def now(self) -> int:
        return shutil.disk_usage(self.place).used

    def _run(self) -> None:
        while not self._stop.wait(0.002):
            self.most = max(self.most, self.now())

    def __enter__(self) -> DiskUse:
        self.most = self.now()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


def store(folder: pathlib.Path) -> Storage:
    """Blocks of one minute instead of two hours, and some minutes of samples at once: each cluster's head is cut as it is every two hours."""
    bucket = folder / "bucket"
    bucket.mkdir()
    (folder / "objstore.yml").write_text(json.dumps({"type": "FILESYSTEM", "config": {"directory": str(bucket)}}))
    names, series = clusters(VOLUME_CLUSTERS), series_of(SMALL)

    def found() -> list[tuple[int, int]]:
        """Ranges of the blocks in the bucket; meta.json comes last."""
        metas = [json.loads(path.read_text()) for path in bucket.glob("*/meta.json")]
        return [(meta["minTime"] // (BLOCK * 1000), meta["maxTime"]) for meta in metas]

    with volume(folder) as place, Observer(folder) as observer:
        flags = [f"--objstore.config-file={folder / 'objstore.yml'}", *(f"--tsdb.{end}-block-duration={BLOCK}s" for end in ("min", "max"))]
        # Thanos 0.42.4 looks for idle tenants in each minute that two blocks' lengths divide, and dies if one is just being opened, as at its start.
        while time.gmtime().tm_min % 2 == 0 or time.gmtime().tm_sec > 40:
            time.sleep(1)
        sender = Sender(observer.receive("thanos-receive-volume", *flags, data=place / "data"))
        end = int(time.time())
        for name in names:
            delivered(sender, name, compressed(samples(series, range(end // BLOCK * BLOCK - 6 * BLOCK, end, 10))))
        # It is cut into all blocks that are due when the Receive has run for one block's length, or a tenth more; and half a minute later they are uploaded.
        deadline = time.monotonic() + 240
        while len(found()) < 5 * len(names) and time.monotonic() < deadline:
            time.sleep(1)
        blocks = found()
        objects = len([path for path in bucket.rglob("*") if path.is_file()])
        with DiskUse(place) as use:
            before, start = use.most, time.monotonic()
            observer.running["thanos-receive-volume"].stop(300)
            seconds = time.monotonic() - start
        windows = len({window for window, _end in blocks})
        return Storage(len(names), windows, len(blocks), objects, use.most - before, seconds, len(found()) - len(blocks))


# -- tables ------------------------------------------------------------------------------------------------------------------------------------------


def seconds(values: t.Sequence[float]) -> str:
    median = statistics.median(values)
    return f"{median:.3f} ({max(values):.3f})" if len(values) > 1 else f"{median:.3f}"


def growth(steps: t.Sequence[Step], value: t.Callable[[Step], float]) -> str:
    """How many times more from the first to the last."""
    first, last = value(steps[0]), value(steps[-1])
    return f"{last / first:.1f} x" if first else ""


def latency_table(steps: t.Sequence[Step]) -> str:
    head = ["seconds, median of 5 (largest)", *(f"{step.clusters} clusters" for step in steps), f"growth, clusters {growth(steps, lambda step: step.clusters)}"]
    rows: Rows = [
        ("**kaas_clusters_info**, registry and states", *(seconds(step.info) for step in steps), growth(steps, lambda step: statistics.median(step.info))),
        ("the whole task in Ansible (3 turns)", *(seconds(step.task) for step in steps), growth(steps, lambda step: statistics.median(step.task))),
        (
            "beside it, Ansible's ping, which does nothing",
            *(seconds(step.control) for step in steps),
            growth(steps, lambda step: statistics.median(step.control)),
        ),
        ("requests of the module", *("2" for _step in steps), "1.0 x"),
        ("the machine's load then", *(f"{step.load:.1f}" for step in steps), ""),
    ]
    for name in QUERIES:
        # Query without its Receive answers at once, and nothing; that is no figure
        cells = [
            f"{seconds(step.queries[name][0])}, {step.queries[name][1]} series" if step.queries[name][1] or name in EMPTY else "no answer" for step in steps
        ]
        rows.append((f"query: {name}", *cells, growth(steps, lambda step, name=name: statistics.median(step.queries[name][0]))))
    for name, value in (("", lambda step: step.evaluation), (", Receives asked too where nothing of theirs is", lambda step: step.evaluation_all)):
        rows.append((f"ruler: one evaluation of all rules of kaas.yaml{name}", *(f"{value(step):.3f}" for step in steps), growth(steps, value)))
    return table(head, rows)


def memory_table(steps: t.Sequence[Step], extra: t.Mapping[str, float]) -> str:
    head = ["one Receive that holds all", "empty", f"{BIG_CLUSTERS} of {SMALL} series", *(f"{step.clusters} clusters" for step in steps)]
    rows: Rows = [
        ("clusters that send", "0", str(BIG_CLUSTERS), *(str(step.reporting) for step in steps)),
        ("series", "0", f"{extra['series_small']:,.0f}", *(f"{step.series:,}" for step in steps)),
        ("memory (RSS), MiB", *(f"{value / MIB:.0f}" for value in (extra["memory_empty"], extra["memory_small"], *(step.memory for step in steps)))),
        ("CPU, cores, samples and rules every 30 s", "", "", *(f"{step.cores:.2f}" for step in steps)),
        ("thanos-query, memory (RSS), MiB", "", "", *(f"{step.query_memory / MIB:.0f}" for step in steps)),
    ]
    return table(head, rows)


def storage_table(found: Storage) -> str:
    each, objects = found.blocks / found.clusters / found.windows, found.objects / found.blocks
    rows: Rows = [
        (
            f"blocks of {BLOCK} s, in {found.windows} such times",
            str(found.blocks),
            f"{each:.1f} in each",
            f"{each * 12:.0f} blocks a day, of two hours",
        ),
        ("objects of them", str(found.objects), f"{objects:.1f} for a block", f"{each * 12 * objects:.0f} objects a day, until they are compacted"),
        ("**disk, for a while, when the Receive stops**", f"{found.stopping / MIB:.0f} MiB", f"{found.stopping / MIB / found.clusters:.0f} MiB", ""),
        ("blocks that the stop adds", str(found.added), f"{found.added / found.clusters:.1f}", ""),
        ("time that the stop takes", f"{found.seconds:.1f} s", f"{found.seconds / found.clusters:.2f} s", ""),
    ]
    return table([f"one Receive, {found.clusters} clusters of {SMALL} series", "all", "for each cluster", "converted"], rows)


def sharding_table(found: t.Sequence[Sharding]) -> str:
    rows: Rows = []
    for one in found:
        how = f"shards of {one.shard}" if one.shard else "none"
        memory = [value / MIB for value in one.memory]
        cells = (f"{statistics.mean(memory):.0f} ({max(memory):.0f})", f"{sum(memory):.0f}", f"{statistics.mean(one.tenants):.0f} ({max(one.tenants)})")
        rows.append((how, str(one.clusters), *cells))
    head = ["shuffle sharding", "clusters", "memory of a Receive, MiB, mean (largest)", "of all, MiB", "clusters in a Receive, mean (largest)"]
    return table(head, rows)


@dataclasses.dataclass
class Costs:
    """Of a Receive, in bytes."""

    empty: float
    cluster: float
    series: float
    disk: float
    blocks: float


def costs(steps: t.Sequence[Step], extra: t.Mapping[str, float], found: Storage) -> Costs:
    """A cluster's from the last two steps, its series taken off; a series' from the ten that grew from 200 to 6,000."""
    first = steps[0]
    series = max(0.0, (first.memory - extra["memory_small"]) / (first.series - extra["series_small"]))
    if len(steps) > 1:
        before, last = steps[-2], steps[-1]
        cluster = (last.memory - before.memory - series * (last.series - before.series)) / (last.reporting - before.reporting)
    else:
        cluster = (extra["memory_small"] - extra["memory_empty"]) / BIG_CLUSTERS - series * SMALL
    return Costs(extra["memory_empty"], cluster, series, PREALLOCATED, 12 * found.blocks / found.clusters / found.windows)


def spread(found: t.Sequence[Sharding]) -> float:
    """How many more clusters than the mean the fullest Receive has, of the most clusters that were tried."""
    last = max((one for one in found if one.shard), key=lambda one: one.clusters)
    return max(last.tenants) / statistics.mean(last.tenants)


def sizing_table(cost: Costs, most: float) -> str:
    """Clusters of 1,000 series, replication factor 3."""
    rows: Rows = []
    for count, receives, shard_size in ((10, 3, 0), (50, 3, 0), (100, 3, 0), (300, 6, 3), (1000, 12, 3)):
        held = count * 3 / receives if shard_size else count
        # a shard is chosen by the tenant's name, so that some Receives get more
        held *= most if shard_size else 1
        memory = cost.empty + held * (cost.cluster + 1000 * cost.series)
        disk = held * cost.disk
        rows.append(
            (
                f"{count:,}",
                str(receives),
                str(shard_size) if shard_size else "0 (off)",
                f"{held:.0f}",
                f"{memory / GIB:.1f} GiB",
                f"{2 * memory / GIB:.0f} GiB" if memory > GIB else "2 GiB",
                f"{disk / GIB:.0f} GiB",
                f"{count * 3 * cost.blocks:,.0f}",
            )
        )
    head = [
        "KaaS clusters",
        "Receives",
        "`observer_receive_shuffle_shard_size`",
        "clusters in each",
        "memory in use of each",
        "memory limit of each",
        "volume of each, besides its samples",
        "new blocks a day, all",
    ]
    return table(head, rows)


def costs_text(cost: Costs) -> str:
    return (
        f"From these tables: a Receive takes {cost.empty / MIB:.0f} MiB, {cost.cluster / MIB:.1f} MiB for each cluster that it holds "
        f"and {cost.series / 1024:.1f} KiB for each of its series; up to {cost.disk / MIB:.0f} MiB of disk for each while it stops; "
        f"{cost.blocks:.0f} blocks a day of each cluster."
    )


def place(path: pathlib.Path, section: str, text: str) -> None:
    old = path.read_text()
    marker = re.compile(rf"(<!-- {section} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not marker.search(old):
        sys.exit(f"{path} has no place for {section}")
    path.write_text(marker.sub(lambda found: f"{found[1]}{text}\n{found[2]}", old))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="10,100,1000", help="numbers of clusters, of one Receive")
    parser.add_argument("--shard-steps", default="30,60", help="numbers of clusters, of six Receives")
    parser.add_argument("--save", action="store_true", help="write the tables into benchmarks/README.md and docs/sizing.md")
    parser.add_argument("--folder", help="where the samples lie meanwhile")
    options = parser.parse_args()
    if shutil.disk_usage(options.folder or tempfile.gettempdir()).free < VOLUME + 8 * GIB:
        sys.exit("less than 16 GiB of disk are free: give another --folder")
    where = machine()
    begin = time.monotonic()
    # so that what was started is ended and what lies about removed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    # the storage's part is mostly waiting, so the next begins beside it
    with tempfile.TemporaryDirectory(prefix="scs-observer-scale-", dir=options.folder) as temporary:
        folder = pathlib.Path(temporary)
        (folder / "store").mkdir()
        stored: list[Storage] = []
        storing = threading.Thread(target=lambda: stored.append(store(folder / "store")), daemon=True)
        storing.start()
        sharded = shard(folder, [int(count) for count in options.shard_steps.split(",")])
        storing.join()
        if not stored:
            sys.exit("the storage was not measured; see above")
        say(f"storage: {stored[0]}")
        steps, extra = grow(folder, [int(count) for count in options.steps.split(",")])
    cost = costs(steps, extra, stored[0])
    sizing = sizing_table(cost, spread(sharded))
    minutes = (time.monotonic() - begin) / 60
    command = " ".join(["python benchmarks/scale.py", *(word for word in sys.argv[1:] if word != "--save" and not word.startswith("--folder"))])
    note = f"`{command}`. {where} One run of {minutes:.0f} minutes made all tables below; load at its end {os.getloadavg()[0]:.1f}."
    parts = [note, latency_table(steps), memory_table(steps, extra), sharding_table(sharded), storage_table(stored[0]), costs_text(cost)]
    text = "\n\n".join(parts)
    print(text, sizing, sep="\n\n")
    if options.save:
        place(TOP / "benchmarks" / "README.md", "scale", text)
        place(TOP / "docs" / "sizing.md", "sizing", f"{sizing}\n\n{costs_text(cost)}")


if __name__ == "__main__":
    main()
