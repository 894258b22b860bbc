# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: the answers of the Prometheus HTTP API v1, and a query that is asked again until its answer is as expected."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import math
import re
import time
import typing as t

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

SHOWN = 3  # series that a message names
QUERY_SHOWN = 300
STEPS = 100  # samples of a series, when no step is given
STEPS_MAX = 11000  # Prometheus refuses more

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}


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

    def query_range(self, query: str, *, start: float, end: float, step: float) -> object:
        """As query, for a range."""


@dataclasses.dataclass(frozen=True)
class Series:
    labels: dict[str, str]
    value: str | None
    timestamp: float

    def __str__(self) -> str:
        return f"{_written(self.labels)} {self.value}"

    @property
    def samples(self) -> tuple[tuple[float, str | None], ...]:
        return ((self.timestamp, self.value),)

    def result(self) -> dict[str, t.Any]:
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Range:
    """One series of a range query; a native histogram's values are None."""

    labels: dict[str, str]
    samples: tuple[tuple[float, str | None], ...]

    def __str__(self) -> str:
        return f"{_written(self.labels)} {self.samples[-1][1] if self.samples else None}"

    def result(self) -> dict[str, t.Any]:
        """The last sample as of an instant query, and all."""
        timestamp, value = self.samples[-1] if self.samples else (None, None)
        values = [{"timestamp": moment, "value": text} for moment, text in self.samples]
        return {"labels": self.labels, "value": value, "timestamp": timestamp, "values": values}


class _Warned:
    warnings: tuple[str, ...]

    @property
    def partial(self) -> bool:
        """Thanos lacks the data of some store; annotations of the query itself are another thing."""
        return any(not warning.startswith("PromQL") for warning in self.warnings)


@dataclasses.dataclass(frozen=True)
class Answer(_Warned):
    series: tuple[Series, ...]
    warnings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Ranges(_Warned):
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
class Value:
    """What the numbers must be; C(last) says that of a range only the newest counts."""

    minimum: float | None = None
    maximum: float | None = None
    equal: float | None = None
    last: bool = False

    def __post_init__(self) -> None:
        numbers = {"min": self.minimum, "max": self.maximum, "equal": self.equal}
        given = {name: number for name, number in numbers.items() if number is not None}
        if not given or ("equal" in given and len(given) > 1):
            raise ObserverError("value needs min, max or both, or equal alone.")
        for name, number in given.items():
            if math.isnan(number):
                raise ObserverError(f"value.{name} is NaN, which equals no number. Write a number; a query such as count(x != x) counts what is NaN.")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ObserverError(f"value.min ({self.minimum:g}) is more than value.max ({self.maximum:g}), which no value can be. Change one of them.")

    def __str__(self) -> str:
        words = (("equal to", self.equal), ("at least", self.minimum), ("at most", self.maximum))
        which = "the last value of each" if self.last else "each value"
        return f"{which} {' and '.join(f'{word} {number:.15g}' for word, number in words if number is not None)}"

    def wrong(self, series: Series | Range) -> str:
        """The series with its first value that is wrong; empty when none is."""
        samples = series.samples[-1:] if self.last else series.samples
        return next((f"{_written(series.labels)} {value}" for _moment, value in samples if not self._met(value)), "")

    def _met(self, text: str | None) -> bool:
        try:
            number = float(text or "")
        except ValueError:
            return False  # a histogram or a string
        if math.isnan(number) or (self.equal is not None and number != self.equal):
            return False
        return (self.minimum is None or number >= self.minimum) and (self.maximum is None or number <= self.maximum)


@dataclasses.dataclass(frozen=True)
class Expectation:
    """With a value there must be a series that has it, unless min_series is 0."""

    min_series: int | None = None
    max_series: int | None = None
    value: Value | None = None

    def __post_init__(self) -> None:
        for option, number in (("min_series", self.min_series), ("max_series", self.max_series)):
            if number is not None and number < 0:
                raise ObserverError(f"{option} is {number}. It must be 0 or more.")
        if self.value is not None and self.min_series is None:
            object.__setattr__(self, "min_series", 1)
        if self.min_series is not None and self.max_series is not None and self.min_series > self.max_series:
            implied = " (value asks for one)" if self.value is not None and self.min_series == 1 else ""
            message = f"min_series ({self.min_series}{implied}) is more than max_series ({self.max_series}), which no answer can be."
            raise ObserverError(f"{message} Change one of them.")

    def __str__(self) -> str:
        bounds = (("at least", self.min_series), ("at most", self.max_series))
        number = " and ".join(f"{word} {number}" for word, number in bounds if number is not None)
        if self.min_series == self.max_series:
            number = f"exactly {self.min_series}"
        return f"{number} series" + (f", {self.value}" if self.value else "")

    def shortfall(self, answer: Answer | Ranges) -> str:
        """What was found instead; empty when the expectation is met."""
        found = len(answer.series)
        if self.max_series is not None and answer.partial:
            # What a part of the stores does not show is not gone.
            return f"{found} in a partial answer ({'; '.join(answer.warnings)})"
        if (self.min_series is not None and found < self.min_series) or (self.max_series is not None and found > self.max_series):
            return f"{found} ({_some([str(series) for series in answer.series])})" if found else "none"
        wrong = [text for series in answer.series if self.value is not None and (text := self.value.wrong(series))]
        return f"{len(wrong)} of {found} with other values ({_some(wrong)})" if wrong else ""


@dataclasses.dataclass(frozen=True)
class Window:
    """The time of a range query, as texts: seconds since 1970, RFC 3339, now or now-1h; durations such as 30s or 1h30m."""

    start: str = ""
    end: str = ""
    range: str = ""
    step: str = ""

    def __post_init__(self) -> None:
        if bool(self.start) == bool(self.range):
            raise ObserverError("A range query needs start or range, and not both.")
        self.at(time.time())  # a mistake is told before anything is asked

    def at(self, now: float) -> dict[str, float]:
        """Start, end and step in seconds."""
        end = _moment("end", self.end or "now", now)
        start = _moment("start", self.start, now) if self.start else end - _duration("range", self.range)
        if start >= end:
            raise ObserverError(f"start ({self.start or f'{self.range} before the end'}) is not before end ({self.end or 'now'}).")
        step = _duration("step", self.step) if self.step else max(1.0, float(round((end - start) / STEPS)))
        if (end - start) / step > STEPS_MAX:
            message = f"step is {step:g} s, which gives {(end - start) / step:.0f} samples a series. The server gives at most {STEPS_MAX}."
            raise ObserverError(f"{message} Use a longer step or a shorter range.")
        return {"start": start, "end": end, "step": step}


@dataclasses.dataclass(frozen=True)
class Result:
    answer: Answer | Ranges
    attempts: int
    elapsed: float

    def result(self) -> dict[str, t.Any]:
        return {"series": [series.result() for series in self.answer.series], "attempts": self.attempts, "elapsed": round(self.elapsed, 1)}


def ask(
    backend: Backend,
    query: str,
    expectation: Expectation,
    *,
    window: Window | None = None,
    retries: int = 0,
    delay: float = 5,
    sleep: t.Callable[[float], None] = time.sleep,
    clock: t.Callable[[], float] = time.monotonic,
) -> Result:
    """Ask until the expectation is met, at most C(retries) times more than once; a window is one of now at each time."""
    if not query.strip():
        raise ObserverError("The query is empty. Set query.")
    if retries < 0 or delay < 0:
        raise ObserverError(f"retries is {retries} and delay is {delay}. Both must be 0 or more.")
    begin = clock()
    answer: Answer | Ranges = Answer(())
    for attempt in range(1, retries + 2):
        error = None
        try:
            answer = _once(backend, query, window)
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


def window(params: t.Mapping[str, t.Any]) -> Window | None:
    """The window of the options range, start, end and step; None for an instant query."""
    given = {name: params[name] for name in ("start", "end", "range", "step") if params[name]}
    return Window(**given) if given else None


def _once(backend: Backend, query: str, window: Window | None) -> Answer | Ranges:
    if window is None:
        return parse(backend.query(query), backend.title)
    return parse_ranges(backend.query_range(query, **window.at(time.time())), backend.title)


def _written(labels: t.Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()) if name != "__name__")
    return f"{labels.get('__name__', '')}{{{inside}}}"


def _some(texts: t.Sequence[str]) -> str:
    return "; ".join(texts[:SHOWN]) + ("; ..." if len(texts) > SHOWN else "")


def _moment(option: str, text: str, now: float) -> float:
    found = re.fullmatch(r"now(?:-(.+))?", text.strip())
    if found:
        return now - (_duration(option, found[1]) if found[1] else 0)
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ObserverError(f"{option} is {text}. Write now, now-1h, seconds since 1970, or a time with its zone such as 2026-01-31T12:00:00Z.")
    return moment.timestamp()


def _duration(option: str, text: str) -> float:
    seconds = 0.0
    if re.fullmatch(r"\d+(\.\d+)?", text.strip()):
        seconds = float(text)
    elif re.fullmatch(r"(?:\d+(?:\.\d+)?(?:ms|[smhdwy]))+", text.strip()):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|[smhdwy])", text))
    if seconds <= 0:
        raise ObserverError(f"{option} is {text}. Write a duration such as 30s, 15m or 1h30m; a bare number is seconds.")
    return seconds


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
