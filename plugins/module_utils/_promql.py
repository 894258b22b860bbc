# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: the answers of the Prometheus HTTP API v1, and a query that is asked again until its answer is as expected."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import typing as t

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

SHOWN = 3  # series that a message names
QUERY_SHOWN = 300


class QueryError(ObserverError):
    """A query that was not answered; C(again) says whether asking again may help."""

    def __init__(self, message: str, *, again: bool) -> None:
        super().__init__(message)
        self.again = again


class NotMet(ObserverError):
    """An expectation that was not met in time, with the last answer."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


class Backend(t.Protocol):
    title: str

    def query(self, query: str) -> object:
        """The server's answer, decoded; QueryError for anything else."""


@dataclasses.dataclass(frozen=True)
class Series:
    labels: dict[str, str]
    value: str | None
    timestamp: float

    def __str__(self) -> str:
        inside = ",".join(f'{name}="{value}"' for name, value in sorted(self.labels.items()) if name != "__name__")
        return f"{self.labels.get('__name__', '')}{{{inside}}} {self.value}"


@dataclasses.dataclass(frozen=True)
class Answer:
    series: tuple[Series, ...]
    warnings: tuple[str, ...] = ()

    @property
    def partial(self) -> bool:
        """Thanos lacks the data of some store; annotations of the query itself are another thing."""
        return any(not warning.startswith("PromQL") for warning in self.warnings)


@dataclasses.dataclass(frozen=True)
class Range:
    """One series of a range query; a native histogram's values are None."""

    labels: dict[str, str]
    samples: tuple[tuple[float, str | None], ...]


@dataclasses.dataclass(frozen=True)
class Ranges:
    series: tuple[Range, ...]
    warnings: tuple[str, ...] = ()


class Values(t.NamedTuple):
    """The values of a label."""

    values: tuple[str, ...]
    warnings: tuple[str, ...]


class LabelSets(t.NamedTuple):
    """The labels of each series."""

    labels: tuple[dict[str, str], ...]
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Expectation:
    min_series: int | None = None
    max_series: int | None = None

    def __post_init__(self) -> None:
        for option, number in (("min_series", self.min_series), ("max_series", self.max_series)):
            if number is not None and number < 0:
                raise ObserverError(f"{option} is {number}. It must be 0 or more.")
        if self.min_series is not None and self.max_series is not None and self.min_series > self.max_series:
            raise ObserverError(f"min_series ({self.min_series}) is more than max_series ({self.max_series}), which no answer can be. Change one of them.")

    def __str__(self) -> str:
        if self.min_series == self.max_series:
            return f"exactly {self.min_series} series"
        bounds = (("at least", self.min_series), ("at most", self.max_series))
        return " and ".join(f"{word} {number}" for word, number in bounds if number is not None) + " series"

    def shortfall(self, answer: Answer) -> str:
        """What was found instead; empty when the expectation is met."""
        found = len(answer.series)
        if self.max_series is not None and answer.partial:
            # What a part of the stores does not show is not gone.
            return f"{found} in a partial answer ({'; '.join(answer.warnings)})"
        if (self.min_series is not None and found < self.min_series) or (self.max_series is not None and found > self.max_series):
            names = "; ".join(str(series) for series in answer.series[:SHOWN])
            more = "; ..." if found > SHOWN else ""
            return f"{found} ({names}{more})" if found else "none"
        return ""


@dataclasses.dataclass(frozen=True)
class Result:
    answer: Answer
    attempts: int
    elapsed: float

    def result(self) -> dict[str, t.Any]:
        series = [dataclasses.asdict(series) for series in self.answer.series]
        return {"series": series, "attempts": self.attempts, "elapsed": round(self.elapsed, 1)}


def ask(
    backend: Backend,
    query: str,
    expectation: Expectation,
    *,
    retries: int = 0,
    delay: float = 5,
    sleep: t.Callable[[float], None] = time.sleep,
    clock: t.Callable[[], float] = time.monotonic,
) -> Result:
    """Ask until the expectation is met, at most C(retries) times more than once."""
    if not query.strip():
        raise ObserverError("The query is empty. Set query.")
    if retries < 0 or delay < 0:
        raise ObserverError(f"retries is {retries} and delay is {delay}. Both must be 0 or more.")
    begin = clock()
    answer = Answer(())
    for attempt in range(1, retries + 2):
        error = None
        try:
            answer = parse(backend.query(query), backend.title)
            shortfall = expectation.shortfall(answer)
        except QueryError as caught:
            if not caught.again:
                raise
            error, shortfall = caught, "no answer"
        if not shortfall:
            return Result(answer, attempt, clock() - begin)
        if attempt <= retries:
            sleep(delay)
    elapsed = clock() - begin
    tried = f"after {elapsed:.1f} s and {retries + 1} attempts" if retries else "at the only attempt"
    asked = query if len(query) <= QUERY_SHOWN else f"{query[:QUERY_SHOWN]}..."
    if error is not None:
        raise NotMet(f"{error} Given up {tried}; the query was {asked}", Result(Answer(()), retries + 1, elapsed)) from error
    message = f"Expected {expectation}, found {shortfall}, {tried}, from {backend.title}. The query was {asked}"
    raise NotMet(message, Result(answer, retries + 1, elapsed))


def parse(answer: t.Any, title: str) -> Answer:
    """An answer of the Prometheus HTTP API v1."""
    data = _data(answer, title)
    with _of_the_api(title):
        kind, found = data["resultType"], data["result"]
        if kind == "vector":
            series = tuple(_series(item) for item in found)
        elif kind in ("scalar", "string"):
            series = (Series({}, found[1], float(found[0])),)
        elif kind == "matrix":
            raise QueryError("The query gives ranges, not one value a series. Aggregate it over time, for example by rate() or last_over_time().", again=False)
        else:
            raise ValueError(kind)
        return Answer(series, _warnings(answer))


def parse_ranges(answer: t.Any, title: str) -> Ranges:
    """An answer to a range query."""
    data = _data(answer, title)
    with _of_the_api(title):
        if data["resultType"] != "matrix":
            raise ValueError(data["resultType"])
        return Ranges(tuple(_range(item) for item in data["result"]), _warnings(answer))


def parse_values(answer: t.Any, title: str) -> Values:
    """An answer to what values a label has."""
    data = _data(answer, title)
    with _of_the_api(title):
        return Values(tuple(str(value) for value in _list(data)), _warnings(answer))


def parse_series(answer: t.Any, title: str) -> LabelSets:
    """An answer to which series there are."""
    data = _data(answer, title)
    with _of_the_api(title):
        return LabelSets(tuple(dict(labels) for labels in _list(data)), _warnings(answer))


def _data(answer: t.Any, title: str) -> t.Any:
    if not isinstance(answer, dict) or answer.get("status") not in ("success", "error"):
        raise QueryError(f"{title} answered with something that is not of the Prometheus API. Check the address.", again=False)
    if answer["status"] == "error":
        # bad_data is the query's own fault; the rest (timeout, execution, unavailable ...) may pass
        raise QueryError(f"{title} refused the query: {answer.get('error')}.", again=answer.get("errorType") != "bad_data")
    return answer.get("data")


@contextlib.contextmanager
def _of_the_api(title: str) -> t.Iterator[None]:
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise QueryError(f"{title} answered with something that is not of the Prometheus API v1 ({error!r}). Check the address.", again=False) from error


def _list(data: t.Any) -> list[t.Any]:
    if data is None:
        return []  # Thanos, when there is nothing
    if not isinstance(data, list):
        raise TypeError(type(data).__name__)
    return data


def _warnings(answer: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    return tuple(answer.get("warnings") or ())


def _range(item: t.Mapping[str, t.Any]) -> Range:
    samples = [(float(moment), value) for moment, value in item.get("values") or ()]
    samples += [(float(moment), None) for moment, _histogram in item.get("histograms") or ()]
    return Range(dict(item["metric"]), tuple(sorted(samples, key=lambda sample: sample[0])))


def _series(item: t.Mapping[str, t.Any]) -> Series:
    if "value" in item:
        moment, value = item["value"]
        return Series(dict(item["metric"]), value, float(moment))
    return Series(dict(item["metric"]), None, float(item["histogram"][0]))
