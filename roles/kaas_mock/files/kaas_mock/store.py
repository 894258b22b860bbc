# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service knows: clusters and jobs, in one SQLite file. Every method is one transaction, so a killed service finds all or nothing of it."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import threading
import time
import typing as t
from pathlib import Path

QUEUED, RUNNING, SUCCEEDED, FAILED = "queued", "running", "succeeded", "failed"
JOB_STATES = (QUEUED, RUNNING, SUCCEEDED, FAILED)
CREATE, DELETE = "create", "delete"
ACTIONS = (CREATE, DELETE)
READY = "ready"
CLUSTER_STATES = (QUEUED, "creating", "onboarding", READY, FAILED, "unregistering", "deleting")
CANCELLED = "Cancelled, for the cluster's deletion was asked for."

# one entry a version of the file, applied in order; an entry that was released is never changed
MIGRATIONS = (
    """
    CREATE TABLE clusters (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        state TEXT NOT NULL,
        slot INTEGER NOT NULL UNIQUE,
        error TEXT NOT NULL DEFAULT '',
        created REAL NOT NULL,
        updated REAL NOT NULL,
        reserved INTEGER NOT NULL DEFAULT 0,    -- what bears its name on this machine is ours
        registered INTEGER NOT NULL DEFAULT 0   -- so is what bears its name in the registry
    );
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        cluster TEXT NOT NULL,
        owner TEXT NOT NULL,
        action TEXT NOT NULL,
        state TEXT NOT NULL,
        step TEXT NOT NULL DEFAULT '',
        error TEXT NOT NULL DEFAULT '',
        cancelled INTEGER NOT NULL DEFAULT 0,
        run TEXT NOT NULL DEFAULT '',           -- mark of the processes that work on it
        created REAL NOT NULL,
        started REAL,
        finished REAL
    );
    CREATE UNIQUE INDEX one_job_a_cluster ON jobs (cluster) WHERE state = 'running';
    CREATE INDEX jobs_by_state ON jobs (state);
    CREATE TABLE steps (
        job INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        started REAL NOT NULL,
        finished REAL,
        PRIMARY KEY (job, name)
    );
    """,
)


class Refused(Exception):
    """The request can not be done as things are; nothing was changed. C(kind): conflict, limit or unknown."""

    def __init__(self, kind: t.Literal["conflict", "limit", "unknown"], message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclasses.dataclass(frozen=True)
class Cluster:
    id: int
    name: str
    owner: str
    state: str
    slot: int
    error: str
    created: float
    updated: float
    reserved: bool
    registered: bool


@dataclasses.dataclass(frozen=True)
class Step:
    name: str
    attempts: int
    started: float
    finished: float | None


@dataclasses.dataclass(frozen=True)
class Job:
    id: int
    cluster: str
    owner: str
    action: str
    state: str
    step: str
    error: str
    cancelled: bool
    run: str
    created: float
    started: float | None
    finished: float | None
    steps: tuple[Step, ...] = ()


class Store:
    """C(owner) None stands for all owners."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        # one connection, for transactions are few and short
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._database.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._database.execute(f"PRAGMA {pragma}")
        with self._transaction() as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise RuntimeError(f"{path} was written by a newer version of this service. Install that one, or use another state_dir.")
            for number, migration in enumerate(MIGRATIONS[version:], version + 1):
                for statement in migration.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {number}")

    def close(self) -> None:
        with self._lock:
            self._database.close()

    @contextlib.contextmanager
    def _transaction(self) -> t.Iterator[sqlite3.Connection]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    # -- what is asked for ----------------------------------------------------------------------------------------------------------------------
    def create(self, name: str, owner: str, max_clusters: int, sees_all: bool = False) -> Job:
        """A job that makes the cluster; also once more for one whose creation failed."""
        with self._transaction() as database:
            found = database.execute("SELECT * FROM clusters WHERE name = ?", (name,)).fetchone()
            if found is not None:
                self._check_again(database, found, owner, sees_all)
                database.execute("UPDATE clusters SET state = ?, error = '', updated = ? WHERE name = ?", (QUEUED, time.time(), name))
                return self._new_job(database, name, found["owner"], CREATE)
            taken = {row["slot"] for row in database.execute("SELECT slot FROM clusters")}
            slot = next((number for number in range(max_clusters) if number not in taken), None)
            if slot is None or len(taken) >= max_clusters:
                raise Refused("limit", f"There are {len(taken)} clusters, and no more than {max_clusters} are allowed. Delete one, or try again later.")
            now = time.time()
            database.execute(
                "INSERT INTO clusters (name, owner, state, slot, created, updated) VALUES (?, ?, ?, ?, ?, ?)", (name, owner, QUEUED, slot, now, now)
            )
            return self._new_job(database, name, owner, CREATE)

    def _check_again(self, database: sqlite3.Connection, found: sqlite3.Row, owner: str, sees_all: bool) -> None:
        name = found["name"]
        if found["owner"] != owner and not sees_all:
            raise Refused("conflict", f"The name {name} is taken. Choose another.")
        last = database.execute("SELECT * FROM jobs WHERE cluster = ? ORDER BY id DESC LIMIT 1", (name,)).fetchone()
        if found["state"] != FAILED:
            raise Refused("conflict", f"Cluster {name} exists already: it is {found['state']} (job {last['id']}). Choose another name, or delete it first.")
        if last["action"] == DELETE:
            raise Refused("conflict", f"The deletion of cluster {name} failed (job {last['id']}). Delete it again before you create it anew.")

    def delete(self, name: str, owner: str | None) -> Job:
        """A job that removes the cluster, or the one that does already. What is being made is cancelled."""
        with self._transaction() as database:
            found = database.execute("SELECT * FROM clusters WHERE name = ? AND owner = ifnull(?, owner)", (name, owner)).fetchone()
            if found is None:
                raise Refused("unknown", f"There is no cluster {name}. GET /api/clusters/ lists what there is.")
            open_jobs = database.execute("SELECT * FROM jobs WHERE cluster = ? AND state IN (?, ?)", (name, QUEUED, RUNNING)).fetchall()
            for job in open_jobs:
                if job["action"] == DELETE:
                    return self._job(database, job["id"])
            for job in open_jobs:
                if job["state"] == QUEUED:
                    self._end(database, job["id"], FAILED, CANCELLED)
                else:
                    database.execute("UPDATE jobs SET cancelled = 1 WHERE id = ?", (job["id"],))
            state = "unregistering" if found["registered"] else "deleting"
            database.execute("UPDATE clusters SET state = ?, error = '', updated = ? WHERE name = ?", (state, time.time(), name))
            return self._new_job(database, name, found["owner"], DELETE)

    def _new_job(self, database: sqlite3.Connection, name: str, owner: str, action: str) -> Job:
        cursor = database.execute(
            "INSERT INTO jobs (cluster, owner, action, state, created) VALUES (?, ?, ?, ?, ?)", (name, owner, action, QUEUED, time.time())
        )
        return self._job(database, t.cast("int", cursor.lastrowid))

    # -- what is known --------------------------------------------------------------------------------------------------------------------------
    def clusters(self, owner: str | None = None) -> list[Cluster]:
        with self._transaction() as database:
            rows = database.execute("SELECT * FROM clusters WHERE owner = ifnull(?, owner) ORDER BY id", (owner,)).fetchall()
        return [_cluster(row) for row in rows]

    def cluster(self, name: str, owner: str | None = None) -> Cluster | None:
        return next((cluster for cluster in self.clusters(owner) if cluster.name == name), None)

    def jobs(self, owner: str | None = None, cluster: str | None = None) -> list[Job]:
        with self._transaction() as database:
            rows = database.execute(
                "SELECT id FROM jobs WHERE owner = ifnull(?, owner) AND cluster = ifnull(?, cluster) ORDER BY id", (owner, cluster)
            ).fetchall()
            return [self._job(database, row["id"]) for row in rows]

    def job(self, number: int, owner: str | None = None) -> Job | None:
        with self._transaction() as database:
            row = database.execute("SELECT id FROM jobs WHERE id = ? AND owner = ifnull(?, owner)", (number, owner)).fetchone()
            return self._job(database, number) if row else None

    def _job(self, database: sqlite3.Connection, number: int) -> Job:
        row = dict(database.execute("SELECT * FROM jobs WHERE id = ?", (number,)).fetchone())
        steps = database.execute("SELECT * FROM steps WHERE job = ? ORDER BY started", (number,)).fetchall()
        row["cancelled"] = bool(row["cancelled"])
        return Job(**row, steps=tuple(Step(step["name"], step["attempts"], step["started"], step["finished"]) for step in steps))

    def counts(self) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
        """Clusters by state; jobs by action and state."""
        with self._transaction() as database:
            clusters = database.execute("SELECT state, count(*) FROM clusters GROUP BY state").fetchall()
            jobs = database.execute("SELECT action, state, count(*) FROM jobs GROUP BY action, state").fetchall()
        return {row[0]: row[1] for row in clusters}, {(row[0], row[1]): row[2] for row in jobs}

    # -- what the workers do --------------------------------------------------------------------------------------------------------------------
    def recover(self) -> list[str]:
        """After a start: what ran is queued again. Returns the marks of its processes, which have to be gone before anything else is started."""
        with self._transaction() as database:
            runs = [row["run"] for row in database.execute("SELECT run FROM jobs WHERE run != ''")]
            for row in database.execute("SELECT id FROM jobs WHERE state = ? AND cancelled", (RUNNING,)).fetchall():
                self._end(database, row["id"], FAILED, CANCELLED)
            database.execute("UPDATE jobs SET state = ? WHERE state = ?", (QUEUED, RUNNING))
        return runs

    def forget_runs(self) -> None:
        """The processes of all recovered runs are gone."""
        with self._transaction() as database:
            database.execute("UPDATE jobs SET run = '' WHERE state != ?", (RUNNING,))

    def claim(self) -> Job | None:
        """The next job of a cluster that no other job works on. What was begun once goes first."""
        with self._transaction() as database:
            row = database.execute(
                "SELECT id FROM jobs WHERE state = ? AND cluster NOT IN (SELECT cluster FROM jobs WHERE state = ?) ORDER BY started IS NULL, id LIMIT 1",
                (QUEUED, RUNNING),
            ).fetchone()
            if row is None:
                return None
            database.execute("UPDATE jobs SET state = ?, started = ifnull(started, ?) WHERE id = ?", (RUNNING, time.time(), row["id"]))
            return self._job(database, row["id"])

    def begin_step(self, job: Job, step: str, cluster_state: str, run: str, *, reserved: bool = False, registered: bool = False) -> bool:
        """Note what is about to be done, before it is done. False when the job was cancelled."""
        with self._transaction() as database:
            if self._job(database, job.id).cancelled:
                return False
            now = time.time()
            database.execute(
                "INSERT INTO steps (job, name, attempts, started) VALUES (?, ?, 1, ?) ON CONFLICT (job, name) DO UPDATE SET attempts = attempts + 1",
                (job.id, step, now),
            )
            database.execute("UPDATE jobs SET step = ?, run = ? WHERE id = ?", (step, run, job.id))
            database.execute(
                "UPDATE clusters SET state = ?, updated = ?, reserved = max(reserved, ?), registered = max(registered, ?) WHERE name = ?",
                (cluster_state, now, reserved, registered, job.cluster),
            )
        return True

    def step_failed(self, job: Job, error: str) -> None:
        """It is tried again, and meanwhile the error can be read."""
        with self._transaction() as database:
            database.execute("UPDATE jobs SET error = ?, run = '' WHERE id = ?", (error, job.id))

    def step_done(self, job: Job, step: str) -> float:
        """Returns its seconds, all attempts together."""
        with self._transaction() as database:
            now = time.time()
            database.execute("UPDATE steps SET finished = ? WHERE job = ? AND name = ?", (now, job.id, step))
            database.execute("UPDATE jobs SET error = '', run = '' WHERE id = ?", (job.id,))
            return now - database.execute("SELECT started FROM steps WHERE job = ? AND name = ?", (job.id, step)).fetchone()["started"]

    def succeed(self, job: Job) -> bool:
        """False when it was cancelled at the last moment; then it failed."""
        with self._transaction() as database:
            if self._job(database, job.id).cancelled:
                self._end(database, job.id, FAILED, CANCELLED)
                return False
            self._end(database, job.id, SUCCEEDED, "")
            if job.action == DELETE:
                database.execute("DELETE FROM clusters WHERE name = ?", (job.cluster,))
            else:
                database.execute("UPDATE clusters SET state = ?, error = '', updated = ? WHERE name = ?", (READY, time.time(), job.cluster))
        return True

    def fail(self, job: Job, error: str) -> None:
        with self._transaction() as database:
            if self._job(database, job.id).cancelled:
                # the cluster belongs to its deletion now
                self._end(database, job.id, FAILED, CANCELLED)
                return
            self._end(database, job.id, FAILED, error)
            database.execute("UPDATE clusters SET state = ?, error = ?, updated = ? WHERE name = ?", (FAILED, error, time.time(), job.cluster))

    def _end(self, database: sqlite3.Connection, number: int, state: str, error: str) -> None:
        # the mark stays where a killed service left it: recover() still has to end those processes
        database.execute("UPDATE jobs SET state = ?, error = ?, finished = ? WHERE id = ?", (state, error, time.time(), number))

    def run_ended(self, job: Job) -> None:
        """None of its processes is left."""
        with self._transaction() as database:
            database.execute("UPDATE jobs SET run = '' WHERE id = ?", (job.id,))

    def forget_jobs(self, keep: int) -> list[int]:
        """All finished jobs but the newest, except each living cluster's last one."""
        with self._transaction() as database:
            rows = database.execute(
                "SELECT id FROM jobs WHERE finished IS NOT NULL AND run = ''"
                " AND id NOT IN (SELECT max(id) FROM jobs WHERE cluster IN (SELECT name FROM clusters) GROUP BY cluster) ORDER BY id DESC LIMIT -1 OFFSET ?",
                (keep,),
            ).fetchall()
            database.executemany("DELETE FROM jobs WHERE id = ?", [(row["id"],) for row in rows])
        return [row["id"] for row in rows]


def _cluster(row: sqlite3.Row) -> Cluster:
    values = dict(row)
    return Cluster(**{**values, "reserved": bool(values["reserved"]), "registered": bool(values["registered"])})
