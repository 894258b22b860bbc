# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The workers: they take jobs and do their steps, each step a playbook that can be run again at any point.

A service that stops, or is killed, leaves its jobs as they are. The next one ends what is left of their processes, waits until they are gone, and
goes on with the step that was interrupted. So there are never two that work on one cluster.
"""

from __future__ import annotations

import dataclasses
import fcntl
import logging
import os
import shutil
import sqlite3
import subprocess
import threading
import time
import typing as t
import uuid
from pathlib import Path

import yaml

from kaas_mock import runner, store
from kaas_mock.settings import Settings, SettingsError

LOG = logging.getLogger("kaas_mock")
PLAYBOOKS = Path(__file__).resolve().parent / "playbooks"
# who registered a cluster, as the registry knows it
MANAGER = "kaas_mock"
# exit code
DATABASE_FAILED = 70


@dataclasses.dataclass(frozen=True)
class Step:
    """C(state): the cluster's meanwhile. C(reserves), C(registers): from now on what bears its name on this machine, or in the registry, may be ours."""

    name: str
    state: str
    playbook: str
    needed: t.Callable[[store.Cluster], bool] = lambda cluster: True
    variables: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    reserves: bool = False
    registers: bool = False


STEPS = {
    store.CREATE: (
        Step("create", "creating", str(PLAYBOOKS / "cluster.yml"), variables={"kaas_mock_state": "present"}, reserves=True),
        Step("onboard", "onboarding", "scs.observer.kaas_onboard", registers=True),
    ),
    store.DELETE: (
        Step("unregister", "unregistering", str(PLAYBOOKS / "unregister.yml"), needed=lambda cluster: cluster.registered),
        Step("delete", "deleting", str(PLAYBOOKS / "cluster.yml"), needed=lambda cluster: cluster.reserved, variables={"kaas_mock_state": "absent"}),
    ),
}


class Manager:
    """C(observe) is told the seconds of every step that was done."""

    def __init__(self, settings: Settings, observe: t.Callable[[str, float], None] = lambda step, seconds: None) -> None:
        self.settings = settings
        self._observe = observe
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.state_dir.chmod(0o700)
        self._lock = (settings.state_dir / "lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise SettingsError(f"Another KaaS mock service works with state_dir {settings.state_dir}. Stop it, or use another folder.") from None
        for name in ("log", "run", "ansible"):
            (settings.state_dir / name).mkdir(mode=0o700, exist_ok=True)
        self.store = store.Store(settings.state_dir / "kaas.db")
        self._runner = runner.Runner(settings.ansible_playbook, settings.state_dir / "ansible", settings.collections_path)
        self._changed = threading.Condition()
        self._stopping = False
        self._threads: list[threading.Thread] = []
        # of jobs that run: the task, and whether somebody wants them to end
        self._tasks: dict[int, str] = {}
        self._cancelled: set[int] = set()

    # -- begin and end --------------------------------------------------------------------------------------------------------------------------
    def start(self) -> None:
        marks = self.store.recover()
        if marks:
            LOG.info("ending what is left of %s interrupted jobs", len(marks))
        runner.end(marks)
        self.store.forget_runs()
        for folder in (self.settings.state_dir / "run").iterdir():
            shutil.rmtree(folder, ignore_errors=True)
        for number in range(self.settings.parallel):
            thread = threading.Thread(target=self._worker, name=f"worker-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End the playbooks that run. Their jobs stay as they are, for the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self.store.close()
        self._lock.close()

    @property
    def alive(self) -> bool:
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    # -- what the API asks for ------------------------------------------------------------------------------------------------------------------
    def create(self, name: str, owner: str, sees_all: bool = False) -> store.Job:
        known = self.store.cluster(name)
        if (known is None or not known.reserved) and self._folder(name).exists():
            raise store.Refused("conflict", f"The name {name} is taken on this machine. Choose another.")
        job = self.store.create(name, owner, self.settings.max_clusters, sees_all)
        self._wake()
        return job

    def delete(self, name: str, owner: str | None) -> store.Job:
        job = self.store.delete(name, owner)
        with self._changed:
            self._cancelled.update(other.id for other in self.store.jobs(cluster=name) if other.state == store.RUNNING and other.cancelled)
        self._wake()
        return job

    def task(self, job: store.Job) -> str:
        return self._tasks.get(job.id, "")

    def kubeconfig(self, cluster: store.Cluster) -> dict[str, t.Any]:
        return yaml.safe_load((self._folder(cluster.name) / "kubeconfig").read_text())

    def _folder(self, name: str) -> Path:
        return self.settings.lab_root / name

    # -- the workers ----------------------------------------------------------------------------------------------------------------------------
    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _worker(self) -> None:
        try:
            self._take_jobs()
        except sqlite3.Error:
            # What can not be written down must not go on. The next start finds out what is left, as after a kill.
            LOG.critical("the database failed", exc_info=True)
            os._exit(DATABASE_FAILED)

    def _take_jobs(self) -> None:
        while not self._stopping:
            job = self.store.claim()
            if job is None:
                with self._changed:
                    # a wake-up between claim and here is made up for by the time limit
                    if not self._stopping:
                        self._changed.wait(1)
                continue
            LOG.info("job %s: %s %s begins", job.id, job.action, job.cluster)
            try:
                self._work(job)
            except sqlite3.Error:
                raise
            except Exception as error:
                # a fault of this program; the job must not look as if somebody worked on it
                LOG.exception("job %s", job.id)
                self.store.fail(job, runner.clean(f"{type(error).__name__}: {error}"))
            finally:
                self._tasks.pop(job.id, None)
                with self._changed:
                    self._cancelled.discard(job.id)
            for number in self.store.forget_jobs(self.settings.keep_jobs):
                self._log(number).unlink(missing_ok=True)
            self._wake()

    def _work(self, job: store.Job) -> None:
        done = {step.name for step in job.steps if step.finished is not None}
        for step in STEPS[job.action]:
            cluster = self.store.cluster(job.cluster)
            assert cluster is not None, f"job {job.id} has no cluster"
            if step.name not in done and step.needed(cluster) and not self._do(job, step, cluster):
                return
        if self.store.succeed(job):
            LOG.info("job %s: %s %s succeeded", job.id, job.action, job.cluster)

    def _do(self, job: store.Job, step: Step, cluster: store.Cluster) -> bool:
        """False when the job ended, or waits for the next start."""
        if step.reserves and not cluster.reserved and self._taken(cluster.name):
            self.store.fail(job, f"There is a cluster {cluster.name} on this machine that this service did not make. Choose another name.")
            return False
        for attempt in range(1, self.settings.attempts + 1):
            folder = self.settings.state_dir / "run" / uuid.uuid4().hex
            if not self.store.begin_step(job, step.name, step.state, str(folder), reserved=step.reserves, registered=step.registers):
                break
            self._tasks[job.id] = ""
            try:
                result = self._run(job, step, cluster, folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            if not result.error:
                seconds = self.store.step_done(job, step.name)
                self._observe(step.name, seconds)
                return True
            if result.stopped and self._stopping:
                return False
            self.store.step_failed(job, result.error)
            if result.stopped:
                break
            LOG.warning("job %s: step %s of %s failed: %s", job.id, step.name, job.cluster, result.error)
            if result.final or attempt == self.settings.attempts:
                self.store.fail(job, result.error)
                return False
            self._tasks[job.id] = f"waiting for attempt {attempt + 1} of {self.settings.attempts}"
            cluster = dataclasses.replace(cluster, reserved=cluster.reserved or step.reserves, registered=cluster.registered or step.registers)
            if self._pause(job, self.settings.retry_seconds) and self._stopping:
                return False
        # cancelled
        self.store.fail(job, store.CANCELLED)
        return False

    def _pause(self, job: store.Job, seconds: float) -> bool:
        """Whether somebody wanted it to end meanwhile."""
        end = time.monotonic() + seconds
        with self._changed:
            while not self._wanted_to_end(job) and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)
        return self._wanted_to_end(job)

    def _wanted_to_end(self, job: store.Job) -> bool:
        return self._stopping or job.id in self._cancelled

    def _run(self, job: store.Job, step: Step, cluster: store.Cluster, folder: Path) -> runner.Result:
        settings = self.settings
        host = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        inventory = {"kaas": {"hosts": {cluster.name: host}}}
        defaults: dict[str, t.Any] = {
            # built when the service was set up
            "lab_cluster_build": False,
            "lab_cluster_images": ["prometheus", "kube_state_metrics", "node_exporter"],
            "kaas_agent_kind": "host" if settings.provider == "source" else "auto",
            "observer_namespace": "observer",
        }
        fixed: dict[str, t.Any] = {
            **step.variables,
            "kaas_mock_again": cluster.reserved,
            "kaas_mock_registered": cluster.registered,
            "kaas_mock_manager": MANAGER,
            "lab_cluster_name": cluster.name,
            "lab_cluster_index": settings.first_index + cluster.slot,
            "lab_cluster_provider": settings.provider,
            "lab_cluster_root": str(settings.lab_root),
            "kaas_agent_cluster": cluster.name,
            "kaas_agent_kubeconfig": str(self._folder(cluster.name) / "kubeconfig"),
            "kaas_onboard_manager": MANAGER,
            "kaas_cluster": {"role": "kaas", "labels": {"customer": cluster.owner, "tier": "mock"}, "description": "Made by the KaaS mock service"},
        }
        if settings.lab_cache is not None:
            fixed["lab_cluster_cache"] = str(settings.lab_cache)
        return self._runner.run(
            folder,
            step.playbook,
            inventory,
            [defaults, *([settings.variables] if settings.variables else []), fixed],
            self._log(job.id),
            settings.job_timeout,
            lambda: self._wanted_to_end(job),
            lambda task: self._tasks.__setitem__(job.id, task),
        )

    def _taken(self, name: str) -> bool:
        if self._folder(name).exists():
            return True
        if self.settings.provider == "source":
            return False
        return name in subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True, check=True, timeout=60).stdout.split()

    def _log(self, job: int) -> Path:
        return self.settings.state_dir / "log" / f"{job}.log"
