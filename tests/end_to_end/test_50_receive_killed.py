# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One of three receives dies and stays away: nobody who writes or asks loses anything.

A node that breaks is played by SIGKILL and by keeping the scheduler from starting the pod again. A writer of known samples takes an agent's place, and two
agents go on writing beside it.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import os
import pathlib
import signal
import threading
import time
import typing as t

import pytest
from _remote_write import Writer, agent_of, now

OBSERVER, ALPHA = "test-observer", "test-alpha"
VICTIM = "thanos-receive-1"
SERIES = 20
# seconds of writing before, while it is away, and after
BEFORE, AWAY, AFTER = 15, 45, 20
RUN = str(now())
STEADY = f'end_to_end_steady{{run="{RUN}"}}'


@dataclasses.dataclass
class Stream(threading.Thread):
    """Writes one sample a second to each series, and the same one again until it is accepted, as an agent does."""

    writer: Writer

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.accepted: list[int] = []
        self.retried = 0
        self.slowest = 0.0
        self.failure: BaseException | None = None
        self._over = threading.Event()

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        due = time.time()
        try:
            while not self._over.wait(max(0.0, due - time.time())):
                when, begin = int(due * 1000), time.monotonic()
                series = [({"__name__": "end_to_end_steady", "run": RUN, "number": f"{number:02d}"}, [(float(when), when)]) for number in range(SERIES)]
                self.retried += self.writer.deliver(series, seconds=60) - 1
                self.slowest = max(self.slowest, time.monotonic() - begin)
                self.accepted.append(when)
                due += 1
        except BaseException as error:
            self.failure = error

    def stop(self) -> None:
        self._over.set()
        self.join(90)
        assert not self.is_alive()
        if self.failure:
            raise self.failure


def samples(lab: t.Any, selector: str, begin: float, end: float, **parameters: str) -> dict[str, list[tuple[int, str]]]:
    """By the number label: timestamps (ms) and values of the raw samples after begin, until end."""
    found: dict[str, list[tuple[int, str]]] = {}
    for one in lab.query(f"{selector}[{round((end - begin) * 1000)}ms]", at=end, **parameters):
        key = ",".join(f"{name}={value}" for name, value in sorted(one["metric"].items()))
        found[key] = [(round(when * 1000), value) for when, value in one["values"]]
    return found


def complete(found: dict[str, list[tuple[int, str]]], expected: list[int]) -> str:
    """Empty, or what is wrong."""
    if len(found) != SERIES:
        return f"{len(found)} series for {SERIES}"
    for key, values in found.items():
        times = [when for when, _value in values]
        if times != expected:
            missing, more = (
                sorted(set(expected) - set(times)),
                [when for when, number in collections.Counter(times).items() if number > 1 or when not in expected],
            )
            return f"{key}: {len(times)} samples for {len(expected)}; missing {missing}, too many {more}"
        if any(float(value) != when for when, value in values):
            return f"{key}: a sample has another value"
    return ""


def kill(lab: t.Any, pod: str) -> None:
    """SIGKILL to its program, and the pod is gone from the API at once."""
    uid = lab.get(OBSERVER, "pod", pod, "-n", "observer")["metadata"]["uid"]
    killed = 0
    for process in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if uid.replace("-", "_") in (process / "cgroup").read_text().replace("-", "_") and b"receive" in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
                killed += 1
    assert killed, f"no process of {pod} was found"
    lab.kubectl(OBSERVER, "delete", "pod", pod, "-n", "observer", "--grace-period=0", "--force")


@pytest.fixture
def cordon(lab: t.Any) -> t.Iterator[t.Callable[[bool], None]]:
    """Whether the Observer's only node takes new pods."""
    node = lab.get(OBSERVER, "nodes")[0]["metadata"]["name"]
    try:
        yield lambda closed: lab.kubectl(OBSERVER, "cordon" if closed else "uncordon", node)
    finally:
        lab.kubectl(OBSERVER, "uncordon", node)


def test_receive_killed(lab: t.Any, kaas: t.Any, cordon: t.Callable[[bool], None]) -> None:
    def ready() -> int:
        return lab.get(OBSERVER, "statefulset", "thanos-receive", "-n", "observer")["status"].get("readyReplicas", 0)

    def settled(stream: Stream) -> list[int]:
        """What has to be there: everything that was accepted more than a moment ago."""
        return [when for when in list(stream.accepted) if when < now() - 1500]

    assert ready() == 3
    begin = time.time() - 1
    stream = Stream(Writer(lab.receive_url, agent_of(lab, ALPHA), timeout=5))
    stream.start()
    questions = 0
    wrong: list[str] = []

    def ask_for(seconds: float) -> None:
        """Ask again and again, all of the time so far and an agent's up: each answer has to be whole."""
        nonlocal questions
        until = time.time() + seconds
        while time.time() < until:
            expected = settled(stream)
            if expected:
                problem = complete(samples(lab, STEADY, begin, expected[-1] / 1000), expected)
                up = lab.query(f'up{{cluster="{ALPHA}",job="prometheus-agent",run=""}}')
                if len(up) != 1 or up[0]["value"][1] != "1":
                    problem = problem or f"up of the agent: {up}"
                questions += 1
                if problem:
                    wrong.append(f"{time.time() - begin:.1f} s after the begin: {problem}")
            time.sleep(0.5)

    try:
        # the first request has to make the tenant's series known to Query
        lab.wait_until(lambda: lab.query(STEADY), 30, "the first samples")
        ask_for(BEFORE)
        assert not wrong, f"before anything was killed: {wrong}"
        cordon(True)
        killed = time.time()
        kill(lab, VICTIM)
        ask_for(AWAY)
        assert ready() == 2 and lab.get(OBSERVER, "pod", VICTIM, "-n", "observer")["status"]["phase"] == "Pending"
        cordon(False)
        back = time.time()
        lab.wait_until(lambda: ready() == 3, 120, f"{VICTIM} to be back")
        lab.figures["killed Receive, ready again after it may start, seconds"] = round(time.time() - back, 1)
        ask_for(AFTER)
    finally:
        stream.stop()
    time.sleep(2)
    end = time.time()
    lab.figures["Receive killed: away, seconds; samples written; requests tried again; slowest write, seconds; questions"] = (
        f"{back - killed:.0f}; {len(stream.accepted) * SERIES}; {stream.retried}; {stream.slowest:.1f}; {questions}"
    )
    assert not wrong, f"{len(wrong)} of {questions} answers were not whole: {wrong[:5]}"
    assert questions > 20
    assert not complete(samples(lab, STEADY, begin, end), stream.accepted)

    # it takes part again: what was written at last is there three times, what was written meanwhile twice
    copies = samples(lab, STEADY, begin, end, dedup="false")
    number = collections.Counter(when for values in copies.values() for when, _value in values)
    assert number[stream.accepted[-1]] == 3 * SERIES
    meanwhile = next(when for when in stream.accepted if when > (killed + 20) * 1000)
    assert number[meanwhile] == 2 * SERIES
    assert number[stream.accepted[0]] == 3 * SERIES, "what it had written before it was killed"


def test_agents_lost_nothing(lab: t.Any) -> None:
    """Of the time of the test before: no gap in what test-alpha's agent scraped (every 5 s; half an interval for a busy machine)."""
    seconds = BEFORE + AWAY + AFTER
    for one in lab.query(f'up{{cluster="{ALPHA}",run=""}}[{seconds}s]', at=time.time() - 10):
        times = [when for when, _value in one["values"]]
        gaps = [round(later - earlier, 1) for earlier, later in itertools.pairwise(times) if later - earlier > 7.5]
        assert not gaps and len(times) >= seconds // 5 - 1, f"{one['metric']['job']} has {len(times)} samples in {seconds} s, with gaps of {gaps} s"
