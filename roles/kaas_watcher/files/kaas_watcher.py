# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the Observer's registry as Cluster API has it: what is ready is onboarded, what has a deletionTimestamp is unregistered.

Nothing is remembered but what the two clusters say, so it can be killed at any moment: wanted is every Cluster that is ready and not being deleted, there is
what the registry holds of this manager. Onboarding is the playbook kaas_onboard, run by ansible-runner; unregistering is one write into the registry.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import datetime
import fcntl
import http.server
import json
import logging
import math
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import threading
import time
import typing as t

import prometheus_client
import psutil
import yaml
from ansible_collections.scs.observer.plugins.module_utils import _kaas_inventory, _kubernetes
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._kubernetes import ApiError
from ansible_collections.scs.observer.plugins.module_utils._registry import Item, Registry, manager_of, named, parse

LOG = logging.getLogger("kaas_watcher")

TURN = 15.0  # seconds between two looks at the registry when nothing happens
WATCH = 50  # seconds of one watch; a connection that died silently is noticed after them
CONFIRM = 5  # seconds after which a LIST that lacks something is asked for again
FAILURE_DELAY_MAX = 30.0
# so many may be missing without a seen deletion, whatever their share
PRUNE_ALWAYS = 3
DAY = 86400.0
STUCK = 120.0  # seconds without a turn, after which it is not healthy
MESSAGE_MAX = 600


@dataclasses.dataclass(frozen=True)
class Settings:
    inventory: str
    folder: str
    playbook: str = "scs.observer.kaas_onboard"
    management_kubeconfig: str = ""
    management_context: str = ""
    namespaces: tuple[str, ...] = ()
    label_selector: str = ""
    observer_kubeconfig: str = ""
    observer_context: str = ""
    observer_namespace: str = "observer"
    manager: str = "cluster_api"
    # how many clusters one run takes that have never failed, and how many runs there are at a time
    batch: int = 1
    parallel: int = 4
    timeout: int = 900
    retry_first: int = 5
    retry_most: int = 600
    resync: int = 300
    # in percent
    prune_limit: int = 50
    renew_days: int = 30
    host: str = "127.0.0.1"
    port: int = 9808

    @classmethod
    def read(cls, path: str) -> Settings:
        try:
            found = yaml.safe_load(pathlib.Path(path).read_text())
            fields = {field.name: field.type for field in dataclasses.fields(cls)}
            unknown = sorted(set(found) - set(fields))
            if unknown:
                raise ObserverError(f"{path}: there is no setting {', '.join(unknown)}.")
            settings = cls(**{**found, "namespaces": tuple(found.get("namespaces") or ())})
        except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
            raise ObserverError(f"{path} is no file of settings for kaas_watcher: {error}") from error
        return settings

    def management(self) -> dict[str, str | None]:
        return {"kubeconfig": self.management_kubeconfig or None, "context": self.management_context or None}

    def observer(self) -> dict[str, str | None]:
        return {"kubeconfig": self.observer_kubeconfig or None, "context": self.observer_context or None}


# -- metrics --------------------------------------------------------------------------------------------------------------------------------------------

CLUSTERS = prometheus_client.Gauge("kaas_watcher_clusters", "Clusters, by what the watcher makes of them", ["state"])
ONBOARDING = prometheus_client.Histogram(
    "kaas_watcher_onboarding_seconds", "From a cluster seen ready to its registration", buckets=(10, 20, 30, 45, 60, 90, 120, 300, 600, 1800, 3600)
)
FAILURES = prometheus_client.Counter("kaas_watcher_onboarding_failures", "Runs after which a cluster was not registered")
FAILED = prometheus_client.Gauge("kaas_watcher_onboarding_failed", "How often in a row a cluster could not be onboarded", ["cluster"])
UNREGISTERED = prometheus_client.Counter("kaas_watcher_unregistered", "Clusters unregistered")
LAST_SYNC = prometheus_client.Gauge("kaas_watcher_last_sync_timestamp_seconds", "When Cluster API and the registry were both seen last")
ERRORS = prometheus_client.Counter("kaas_watcher_errors", "Failures to read or write, by step", ["step"])
STATES = ("registered", "onboarding", "failed", "not_ready", "deleting", "kept")


# -- what to do, without any I/O ------------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Seen:
    """What is known of Cluster API. C(lists) counts the complete answers, for what is missing in one only may be an error."""

    ready: set[str] = dataclasses.field(default_factory=set)
    not_ready: set[str] = dataclasses.field(default_factory=set)
    # with a deletionTimestamp, there still or not; and those that went and came back as another one
    deleted: set[str] = dataclasses.field(default_factory=set)
    replaced: set[str] = dataclasses.field(default_factory=set)
    lists: int = 0

    @property
    def present(self) -> set[str]:
        return self.ready | self.not_ready


@dataclasses.dataclass
class Decision:
    unregister: list[str]
    # missing without a seen deletion, and too many to believe it
    keep: list[str]
    onboard: list[str]


class Reconciler:
    def __init__(self, manager: str, prune_limit: int) -> None:
        self.manager = manager
        self.prune_limit = prune_limit
        self._missing: dict[str, int] = {}

    def decide(self, seen: Seen, entries: t.Mapping[str, str | None]) -> Decision:
        """C(entries): who registered each cluster of the registry."""
        owned = {name for name, manager in entries.items() if manager == self.manager}
        deleted = {name for name in owned if (name in seen.deleted and name not in seen.present) or name in seen.replaced}
        missing = owned - seen.present - seen.deleted - deleted
        self._missing = {name: self._missing.get(name, seen.lists) for name in missing}
        confirmed = sorted(name for name, lists in self._missing.items() if seen.lists > lists)
        believed = len(confirmed) <= max(PRUNE_ALWAYS, math.floor(self.prune_limit * len(owned) / 100))
        return Decision(
            unregister=sorted(deleted) + (confirmed if believed else []),
            keep=[] if believed else confirmed,
            onboard=sorted(seen.ready - seen.deleted - set(entries)),
        )


@dataclasses.dataclass
class Attempt:
    since: float
    tries: int = 0
    due: float = 0.0


class Schedule:
    """Which clusters are onboarded now. What has failed is run alone, later and later, and never takes the last place, so that it holds up no other."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.attempts: dict[str, Attempt] = {}
        self.running: list[list[str]] = []

    def wanted(self, names: t.Iterable[str], now: float) -> None:
        names = set(names)
        for name in set(self.attempts) - names - set(self.busy):
            del self.attempts[name]
        for name in names:
            self.attempts.setdefault(name, Attempt(now, due=now))

    @property
    def busy(self) -> list[str]:
        return [name for run in self.running for name in run]

    def take(self, now: float) -> list[str] | None:
        """The next run's clusters; None if none may begin now."""
        settings = self.settings
        idle = {name: attempt for name, attempt in self.attempts.items() if name not in self.busy and attempt.due <= now}
        fresh = sorted((name for name, attempt in idle.items() if not attempt.tries), key=lambda name: (idle[name].since, name))
        again = sorted((name for name, attempt in idle.items() if attempt.tries), key=lambda name: (idle[name].due, name))
        repeating = sum(any(self.attempts[name].tries for name in run if name in self.attempts) for run in self.running)
        if len(self.running) >= settings.parallel:
            return None
        if fresh:
            run = fresh[: settings.batch]
        elif again and repeating < max(1, settings.parallel - 1):
            run = again[:1]
        else:
            return None
        self.running.append(run)
        return run

    def ended(self, run: list[str], registered: t.Container[str], now: float) -> tuple[dict[str, float], dict[str, int]]:
        """Seconds of those that are registered now, tries of those that are not."""
        self.running.remove(run)
        done, failed = {}, {}
        for name in run:
            attempt = self.attempts.get(name)
            if attempt is None:
                continue
            if name in registered:
                done[name] = now - attempt.since
                del self.attempts[name]
            else:
                attempt.tries += 1
                attempt.due = now + min(self.settings.retry_most, self.settings.retry_first * 2 ** (attempt.tries - 1))
                failed[name] = attempt.tries
        return done, failed

    def next_due(self, now: float) -> float:
        """When a retry is due; what waits for a free place waits for the end of a run."""
        return min((attempt.due for attempt in self.attempts.values() if attempt.due > now), default=math.inf)


# -- Cluster API ----------------------------------------------------------------------------------------------------------------------------------------


class Source(threading.Thread):
    """Lists and watches the Cluster objects of one namespace, or of all."""

    def __init__(self, settings: Settings, namespace: str | None, changed: threading.Event) -> None:
        super().__init__(name=f"watch {namespace or 'all namespaces'}", daemon=True)
        self.settings = settings
        self.namespace = namespace
        self.changed = changed
        self._lock = threading.Lock()
        self._objects: dict[str, dict[str, t.Any]] = {}
        self._uids: dict[str, str] = {}
        self._deleted: set[str] = set()
        self._replaced: set[str] = set()
        self._lists = 0

    def seen(self) -> Seen | None:
        with self._lock:
            if not self._lists:
                return None
            live = {name: item for name, item in self._objects.items() if not _kaas_inventory.is_deleted(item)}
            ready = {name for name, item in live.items() if _kaas_inventory.is_ready(item)}
            return Seen(ready, set(live) - ready, set(self._deleted) - set(live), set(self._replaced), self._lists)

    def settled(self, names: t.Iterable[str]) -> None:
        """Not registered (any more): that they were deleted or replaced has no further consequence."""
        with self._lock:
            self._replaced -= set(names)
            self._deleted -= set(names) - set(self._objects)

    def run(self) -> None:
        delay = 1.0
        while True:
            begin = time.monotonic()
            try:
                self._follow()
            except ApiError as error:
                # 410 Gone: what the watch was to go on from is forgotten there
                level = logging.INFO if error.status == 410 else logging.WARNING
                LOG.log(level, "step watch (%s): %s Nothing is unregistered for it; listed again.", self.namespace or "all namespaces", error)
                ERRORS.labels("watch").inc()
            except Exception:
                LOG.exception("step watch (%s): not foreseen", self.namespace or "all namespaces")
                ERRORS.labels("watch").inc()
            delay = 1.0 if time.monotonic() - begin > WATCH else min(FAILURE_DELAY_MAX, delay * 2)
            time.sleep(delay)

    def _follow(self) -> None:
        """A client of its own, so that renewed credentials are read. Ends by an error only."""
        with CONNECTING:
            client = _kubernetes.connect(self.settings.management())
        path = _kaas_inventory.find_resource(client).path(self.namespace)
        selector = self.settings.label_selector or None
        while True:
            objects, version = _kaas_inventory.list_objects(client, path, selector)
            end = time.monotonic() + (CONFIRM if self._listed(objects) else self.settings.resync)
            while (left := end - time.monotonic()) > 0:
                version, surprised = self._watch(client, path, version, min(WATCH, math.ceil(left)))
                if surprised:
                    time.sleep(CONFIRM)
                    break

    def _listed(self, objects: list[dict[str, t.Any]]) -> bool:
        """True when another LIST should follow soon: it was the first one, or lacks what there was."""
        with self._lock:
            before = set(self._objects)
            self._objects = {}
            for item in objects:
                self._put(item, listed=True)
            first, self._lists = self._lists < 1, self._lists + 1
            lost = before - set(self._objects) - self._deleted
        self.changed.set()
        return first or bool(lost)

    def _put(self, item: dict[str, t.Any], *, listed: bool = False) -> None:
        metadata = item["metadata"]
        name = _kaas_inventory.cluster_id(metadata["namespace"], metadata["name"])
        if listed and name in self._objects:
            here = f"{metadata['namespace']}/{metadata['name']}"
            LOG.error("cluster %s: %s gets the same id as another one, and is left out. Give it another name.", name, here)
            return
        known = self._uids.get(name)
        self._uids[name] = metadata["uid"]
        if known not in (None, metadata["uid"]):
            self._replaced.add(name)
        if _kaas_inventory.is_deleted(item):
            self._deleted.add(name)
        else:
            self._deleted.discard(name)
        self._objects[name] = item

    def _watch(self, client: _kubernetes.Client, path: str, version: str, seconds: int) -> tuple[str, bool]:
        """The version to go on from, and whether an object vanished that was not seen being deleted."""
        query = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": version, "timeoutSeconds": str(seconds)}
        if self.settings.label_selector:
            query["labelSelector"] = self.settings.label_selector
        for line in client.stream(path, query=query, silence=seconds + 15):
            event = json.loads(line)
            item = event["object"]
            if event["type"] == "ERROR":
                raise ApiError(f"the watch ended with {item.get('code')}: {item.get('message')}.", status=item.get("code") or 0)
            version = item["metadata"]["resourceVersion"]
            if event["type"] == "BOOKMARK":
                continue
            with self._lock:
                self._put(item)
                if event["type"] == "DELETED":
                    name = _kaas_inventory.cluster_id(item["metadata"]["namespace"], item["metadata"]["name"])
                    del self._objects[name]
                    if name not in self._deleted:
                        return version, True
            self.changed.set()
        return version, False


# -- onboarding -----------------------------------------------------------------------------------------------------------------------------------------

CONNECTING = threading.Lock()
Runner = t.Callable[[list[str]], dict[str, str]]


def kill_run(folder: str) -> None:
    """Ansible's workers are in sessions of their own, so ansible-runner alone would leave them behind."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.cwd() == folder:
                for one in (*process.children(recursive=True), process):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        one.kill()


def onboard(settings: Settings, names: list[str], stopping: threading.Event) -> dict[str, str]:
    """Runs the playbook; what it said of those that failed, by cluster; under the empty name what it said of the whole run."""
    import ansible_runner

    said: dict[str, str] = {}

    def heard(event: dict[str, t.Any]) -> bool:
        data = event.get("event_data") or {}
        if event.get("event") in ("runner_on_failed", "runner_on_unreachable") and not data.get("ignore_errors"):
            # the last one ended it; those before were rescued
            said[str(data.get("host"))] = f"{data.get('task')}: {(data.get('res') or {}).get('msg', 'no message')}"
        return False

    folder = tempfile.mkdtemp(prefix="run-", dir=settings.folder)
    end = time.monotonic() + settings.timeout

    def over() -> bool:
        if stopping.is_set() or time.monotonic() > end:
            kill_run(folder)
            return True
        return False

    try:
        result = ansible_runner.run(
            private_data_dir=folder,
            playbook=settings.playbook,
            inventory=settings.inventory,
            limit=",".join(names),
            forks=len(names),
            envvars={"ANSIBLE_NOCOLOR": "1", "ANSIBLE_PIPELINING": "1"},
            suppress_env_files=True,
            quiet=True,
            event_handler=heard,
            cancel_callback=over,
        )
        if result.status != "successful":
            lines = [line for line in result.stdout.read().splitlines() if "ERROR" in line]
            late = f" after {settings.timeout} s" if result.status == "canceled" else ""
            said.setdefault("", f"ansible-playbook: {result.status}{late}{': ' + lines[-1] if lines else ''}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {name: " ".join(text.split())[:MESSAGE_MAX] for name, text in said.items()}


# -- the loop -------------------------------------------------------------------------------------------------------------------------------------------


class Watcher:
    def __init__(self, settings: Settings, sources: t.Sequence[Source], changed: threading.Event, runner: Runner) -> None:
        self.settings = settings
        self.sources = sources
        self.changed = changed
        self.runner = runner
        self.stopping = threading.Event()
        self.last_turn = time.monotonic()
        self.reconciler = Reconciler(settings.manager, settings.prune_limit)
        self.schedule = Schedule(settings)
        self._pool = concurrent.futures.ThreadPoolExecutor(settings.parallel, "onboard")
        self._results: collections.deque[tuple[list[str], dict[str, str]]] = collections.deque()
        self._registry: Registry | None = None
        self._kept: list[str] = []
        self._renewed: dict[str, float] = {}
        self._renewing: set[str] = set()
        for state in STATES:
            CLUSTERS.labels(state).set(0)

    def loop(self) -> None:
        delay = 0.0
        while not self.stopping.is_set():
            now = time.monotonic()
            self.changed.wait(max(0.05, min(TURN, self.schedule.next_due(now) - now)))
            self.changed.clear()
            if self.stopping.is_set():
                break
            try:
                self.turn()
                delay = 0.0
                continue
            except ObserverError as error:
                self._registry = None
                delay = min(FAILURE_DELAY_MAX, delay * 2 or 1.0)
                ERRORS.labels("registry").inc()
                LOG.warning("step registry: %s", error)
            except Exception:
                self._registry = None
                delay = FAILURE_DELAY_MAX
                ERRORS.labels("loop").inc()
                LOG.exception("step loop: not foreseen")
            finally:
                self.last_turn = time.monotonic()
            self.stopping.wait(delay)
            self.changed.set()
        # the runs end by themselves: each asks now and then
        self._pool.shutdown(wait=True, cancel_futures=True)

    def seen(self) -> Seen | None:
        """Of all namespaces together, once each has been listed."""
        parts = [source.seen() for source in self.sources]
        if any(part is None for part in parts):
            return None
        whole = Seen(lists=min(part.lists for part in parts if part))
        for part in parts:
            if part:
                whole.ready |= part.ready
                whole.not_ready |= part.not_ready
                whole.deleted |= part.deleted
                whole.replaced |= part.replaced
        return whole

    def turn(self) -> None:
        """One look at everything, and what follows from it."""
        seen = self.seen()
        if seen is None:
            return
        # counted before the registry is read, which then knows what they registered
        ended = len(self._results)
        values = self._values()
        for _number in range(ended):
            self._ended(*self._results.popleft(), values)
        entries = {name: manager_of(value) for name, value in values.items()}
        decision = self.reconciler.decide(seen, entries)
        if decision.unregister:
            self._unregister(decision.unregister)
            entries = {name: manager for name, manager in entries.items() if name not in decision.unregister}
        for source in self.sources:
            source.settled((seen.deleted | seen.replaced) - set(entries))
        if decision.keep != self._kept:
            self._kept = decision.keep
            if decision.keep:
                LOG.error(
                    "step unregister: %d registered clusters are missing in Cluster API (%s), more than prune_limit %d%% allows, and no deletion was seen. "
                    "They stay registered. Check that the right management cluster is asked; unregister them by kaas_clusters, or raise the limit.",
                    len(decision.keep),
                    named(decision.keep),
                    self.settings.prune_limit,
                )
        now = time.monotonic()
        self.schedule.wanted([*decision.onboard, *self._renewals(seen, values)], now)
        while not self.stopping.is_set() and (run := self.schedule.take(now)):
            for name in run:
                LOG.info("cluster %s, step onboard: begins (try %d)", name, self.schedule.attempts[name].tries + 1)
            self._pool.submit(self._run, run)
        self._count(seen, entries)

    def _renewals(self, seen: Seen, values: t.Mapping[str, str]) -> list[str]:
        """Clusters whose agent's certificate ends soon. Once a day, for another setting of the role may say that it is kept."""
        soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=self.settings.renew_days)
        for name in seen.ready & set(values):
            fields = parse(values[name]) or {}
            ends = fields.get("agent_certificate_not_after")
            tried = self._renewed.get(name)
            if fields.get("manager") != self.settings.manager or not ends or (tried is not None and time.monotonic() - tried < DAY):
                continue
            if datetime.datetime.fromisoformat(ends) < soon:
                LOG.info("cluster %s, step renew: its agent's certificate ends at %s", name, ends)
                self._renewed[name] = time.monotonic()
                self._renewing.add(name)
        return sorted(self._renewing & seen.ready & set(values))

    def _values(self) -> dict[str, str]:
        if self._registry is None:
            with CONNECTING:
                client = _kubernetes.connect(self.settings.observer())
            self._registry = Registry(client, self.settings.observer_namespace)
        return dict(self._registry.read().data)

    def _unregister(self, names: list[str]) -> None:
        assert self._registry is not None
        outcome = self._registry.ensure([Item(name, present=False) for name in names], manager=self.settings.manager)
        for name in outcome.plan.names("delete"):
            LOG.info("cluster %s, step unregister: done, for it is deleted in Cluster API", name)
            UNREGISTERED.inc()

    def _run(self, run: list[str]) -> None:
        try:
            said = self.runner(run)
        except Exception as error:
            LOG.exception("clusters %s, step onboard: not foreseen", ", ".join(run))
            said = {"": f"{type(error).__name__}: {error}"}
        self._results.append((run, said))
        self.changed.set()

    def _ended(self, run: list[str], said: dict[str, str], entries: t.Container[str]) -> None:
        done, failed = self.schedule.ended(run, entries, time.monotonic())
        for name, seconds in done.items():
            if name in self._renewing:
                self._renewing.discard(name)
                LOG.info("cluster %s, step renew: %s", name, said.get(name) or said.get("") or "done")
            else:
                LOG.info("cluster %s, step onboard: registered %.0f s after it was seen ready", name, seconds)
                ONBOARDING.observe(seconds)
        for name, tries in failed.items():
            if self.stopping.is_set():
                break
            wait = self.schedule.attempts[name].due - time.monotonic()
            reason = said.get(name) or said.get("") or "it was not registered, without a message"
            LOG.warning("cluster %s, step onboard: failed (try %d, again in %.0f s): %s", name, tries, wait, reason)
            FAILURES.inc()

    def _count(self, seen: Seen, entries: t.Mapping[str, str | None]) -> None:
        failed = {name: attempt.tries for name, attempt in self.schedule.attempts.items() if attempt.tries}
        counts = {
            "registered": sum(manager == self.settings.manager for manager in entries.values()),
            "onboarding": len(self.schedule.attempts) - len(failed),
            "failed": len(failed),
            "not_ready": len(seen.not_ready),
            "deleting": len(seen.deleted),
            "kept": len(self._kept),
        }
        for state in STATES:
            CLUSTERS.labels(state).set(counts[state])
        FAILED.clear()
        for name, tries in failed.items():
            FAILED.labels(name).set(tries)
        LAST_SYNC.set_to_current_time()

    def healthy(self) -> bool:
        return time.monotonic() - self.last_turn < STUCK

    def stop(self) -> None:
        self.stopping.set()
        self.changed.set()


def serve(watcher: Watcher) -> http.server.ThreadingHTTPServer:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, prometheus_client.generate_latest(), prometheus_client.CONTENT_TYPE_LATEST)
            elif self.path == "/-/healthy":
                healthy = watcher.healthy()
                self._answer(200 if healthy else 503, b"healthy\n" if healthy else b"the loop is stuck\n")
            else:
                self._answer(404, b"/metrics, /-/healthy\n")

        def _answer(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: t.Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer((watcher.settings.host, watcher.settings.port), Handler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def only_one(settings: Settings) -> t.IO[str]:
    """Two of them would do everything twice. What runs a killed one has left are removed."""
    folder = pathlib.Path(settings.folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ObserverError(f"Another kaas_watcher runs with the folder {folder}. Stop it first, or give this one its own folder and manager.") from error
    for left in folder.glob("run-*"):
        shutil.rmtree(left, ignore_errors=True)
    return lock


def main() -> int:
    parser = argparse.ArgumentParser(description="Onboards and unregisters the clusters of Cluster API")
    parser.add_argument("settings", help="file of settings (YAML)")
    words = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    # ansible-playbook of the same environment
    os.environ["PATH"] = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        settings = Settings.read(words.settings)
        lock = only_one(settings)
        changed = threading.Event()
        sources = [Source(settings, namespace, changed) for namespace in settings.namespaces or [None]]
        watcher = Watcher(settings, sources, changed, lambda run: onboard(settings, run, watcher.stopping))
        server = serve(watcher)
    except (ObserverError, OSError) as error:
        LOG.error("%s", error)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: watcher.stop())
    LOG.info("watches %s for manager %s", ", ".join(settings.namespaces) or "all namespaces", settings.manager)
    for source in sources:
        source.start()
    watcher.loop()
    server.shutdown()
    lock.close()
    LOG.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
