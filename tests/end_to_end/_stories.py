# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stories: faults that are made for real, and the alerts that have to fire because of them.

A story is a context manager: until C(yield) it does the harm, after it all is undone. The stories of an act are told side by side: all begin, then one query
is asked again and again until every alert that any of them expects was seen firing, then all end. So an act lasts as long as its slowest alert.
On a machine that other tests need too, some stories of a full act come too late; those are told once more, when the others are over.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import math
import pathlib
import re
import threading
import time
import typing as t

import yaml
from _rule_files import ELSEWHERE

RULES = pathlib.Path(__file__).parents[2] / "roles/observer_content/files/rules"

# so many begin at once; a small machine needs its time for each
SIDE_BY_SIDE = 8
# so many times longer than on a calm machine; only what fails waits for it
PATIENCE = 2
FIRING = 'ALERTS{alertstate="firing",infrastructure="",receive_replica=""}'


def at_once() -> dict[str, dict[str, t.Any]]:
    """For observer_content_alerts: alerts fire when their condition is met, and no later. What the lab has nothing for would only be questions to Query."""
    found: dict[str, dict[str, t.Any]] = {}
    for path in sorted(RULES.glob("*.yaml")):
        for rule in (rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"] if "alert" in rule):
            if path.stem in ELSEWHERE:
                found[rule["alert"]] = {"enabled": False}
            elif "for" in rule:
                found[rule["alert"]] = {"for": "0s"}
    return found


@dataclasses.dataclass(frozen=True)
class Expected:
    """An alert, by its name and some of its labels; their values are regular expressions."""

    alert: str
    labels: tuple[tuple[str, str], ...] = ()

    def matches(self, labels: t.Mapping[str, str]) -> bool:
        return labels.get("alertname") == self.alert and all(re.fullmatch(value, labels.get(name, "")) for name, value in self.labels)

    def __str__(self) -> str:
        return f"{self.alert}{{{', '.join(f'{name}={value}' for name, value in self.labels)}}}"


Tell: t.TypeAlias = "t.Callable[[t.Any], contextlib.AbstractContextManager[t.Any]]"


@dataclasses.dataclass(frozen=True)
class Story:
    name: str
    expects: tuple[Expected, ...]
    tell: Tell
    # from its begin until the last of its alerts fires, on a calm machine
    seconds: float
    # none of its alerts fires any more so long after its end; 0: they look back for longer than a test can wait
    ends_within: float
    # but these, which look back longer
    remembered: frozenset[str] = frozenset()


def story(
    *expects: tuple[str, t.Mapping[str, str]], seconds: float = 180, ends_within: float = 0, remembered: t.Iterable[str] = (), cluster: str = ""
) -> t.Callable[[t.Any], Story]:
    """Decorates a generator function that takes the lab and yields once."""
    found = tuple(Expected(name, tuple(sorted((({"cluster": cluster} if cluster else {}) | dict(labels)).items()))) for name, labels in expects)

    def made(tell: t.Callable[[t.Any], t.Iterator[None]]) -> Story:
        return Story(tell.__name__, found, contextlib.contextmanager(tell), seconds, ends_within, frozenset(remembered))

    return made


@dataclasses.dataclass
class Told:
    """How the stories went: seconds until each alert was seen, what never was, and what went wrong in the telling."""

    seen: dict[Expected, float] = dataclasses.field(default_factory=dict)
    missing: dict[Expected, str] = dataclasses.field(default_factory=dict)
    errors: dict[str, BaseException] = dataclasses.field(default_factory=dict)
    # alerts that still fired when they should have ended
    lasting: dict[Expected, float] = dataclasses.field(default_factory=dict)

    def forget_failures(self, stories: t.Iterable[Story]) -> list[Story]:
        """Those of the stories that did not go as they should, which may be told once more."""
        wrong = self.missing.keys() | self.lasting.keys()
        failed = [one for one in stories if {one.name, end_of(one)} & self.errors.keys() or wrong & set(one.expects)]
        for one in failed:
            for name in (one.name, end_of(one)):
                self.errors.pop(name, None)
            for expected in one.expects:
                self.missing.pop(expected, None)
                self.lasting.pop(expected, None)
        return failed

    def check(self, expected: Expected, name: str) -> None:
        """Fail if this alert of this story did not fire."""
        if expected in self.seen:
            return
        if name in self.errors:
            raise self.errors[name]
        raise AssertionError(f"{expected} of the story {name} did not fire{self.missing.get(expected, ', for the story was not told')}")


def end_of(one: Story) -> str:
    return f"the end of {one.name}"


class Watch(threading.Thread):
    """Sees all alerts that fire, all the time, so that none which fires only while others are waited for is missed."""

    def __init__(self, ask: t.Callable[[], list[dict[str, str]]], delay: float = 3) -> None:
        super().__init__(daemon=True)
        self._ask, self._delay = ask, delay
        self._over = threading.Event()
        # labels, when it was seen first and last
        self.first: dict[frozenset[tuple[str, str]], float] = {}
        self.last: dict[frozenset[tuple[str, str]], float] = {}
        self.answered = time.time()

    def run(self) -> None:
        while not self._over.wait(self._delay):
            with contextlib.suppress(OSError, AssertionError):
                found = self._ask()
                now = time.time()
                for labels in found:
                    key = frozenset(labels.items())
                    self.first.setdefault(key, now)
                    self.last[key] = now
                self.answered = now

    def end(self) -> None:
        self._over.set()
        self.join(30)

    def since(self, expected: Expected, begin: float) -> float | None:
        """When an alert that is as expected fired last, if it did after this time."""
        times = [last for labels, last in list(self.last.items()) if last >= begin and expected.matches(dict(labels))]
        return max(times, default=None)

    def fires(self, expected: Expected) -> bool:
        """In the last answer."""
        return any(last >= self.answered and expected.matches(dict(labels)) for labels, last in list(self.last.items()))


def tell(lab: t.Any, stories: t.Sequence[Story], watch: Watch, told: Told, say: t.Callable[[str], None] = lambda _text: None) -> None:
    """One act."""
    begin = time.time()
    stacks = {one.name: contextlib.ExitStack() for one in stories}
    began: dict[str, float] = {}

    def enter(one: Story) -> None:
        began[one.name] = time.time()
        stacks[one.name].enter_context(one.tell(lab))
        say(f"{time.time() - begin:.0f} s: {one.name} is told")

    def leave(one: Story) -> None:
        stacks[one.name].close()

    def over(one: Story) -> bool:
        return one.name in told.errors or time.time() > began.get(one.name, math.inf) + one.seconds * PATIENCE

    try:
        with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            futures = {one: pool.submit(enter, one) for one in stories}
            while True:
                for one, future in futures.items():
                    if future.done() and (error := future.exception()) is not None:
                        told.errors.setdefault(one.name, error)
                    for expected in one.expects:
                        if expected not in told.seen and (when := watch.since(expected, began.get(one.name, math.inf))) is not None:
                            told.seen[expected] = round(when - began[one.name], 1)
                            say(f"{time.time() - begin:.0f} s: {expected} fires")
                waiting = [one for one in stories if not over(one) and (not futures[one].done() or any(expected not in told.seen for expected in one.expects))]
                if not waiting:
                    break
                time.sleep(1)
    finally:
        with concurrent.futures.ThreadPoolExecutor(max(1, len(stories))) as pool:
            for one, future in {one: pool.submit(leave, one) for one in stories}.items():
                if (error := future.exception()) is not None:
                    told.errors[end_of(one)] = error
    ended = time.time()
    for one in stories:
        for expected in one.expects:
            if expected not in told.seen:
                told.missing[expected] = f" within {one.seconds * PATIENCE:.0f} s"
    ending = [(one, expected) for one in stories if one.ends_within for expected in one.expects if expected.alert not in one.remembered]
    lasting = [(one, expected) for one, expected in ending if expected in told.seen]
    # Query shows what the ruler wrote last for as long as its lookback
    while lasting:
        lasting = [(one, expected) for one, expected in lasting if watch.fires(expected) or watch.answered < ended]
        for one, expected in list(lasting):
            if time.time() > ended + one.ends_within * PATIENCE:
                told.lasting[expected] = one.ends_within * PATIENCE
                lasting.remove((one, expected))
        time.sleep(1)
    say(f"{time.time() - begin:.0f} s: the act is over")


def tell_all(
    lab: t.Any,
    acts: t.Sequence[t.Sequence[Story]],
    watch: Watch,
    told: Told,
    say: t.Callable[[str], None] = lambda _text: None,
    between: t.Callable[[list[Story]], list[list[Story]]] = lambda _failed: [],
) -> list[str]:
    """All acts, then once more what failed; returns the names of what was told twice. C(between) makes ready for it: acts that have to come before."""
    for act in acts:
        tell(lab, act, watch, told, say)
    again = [failed for act in acts if (failed := told.forget_failures(act))]
    if again:
        failed_stories = [one for failed in again for one in failed]
        say(f"once more: {', '.join(one.name for one in failed_stories)}")
        for act in between(failed_stories) + again:
            tell(lab, act, watch, told, say)
    return [one.name for failed in again for one in failed]
