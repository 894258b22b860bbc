# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._promql import (
    Expectation,
    NotMet,
    QueryError,
    Value,
    Window,
    ask,
    parse,
    parse_ranges,
    parse_series,
    parse_values,
    window,
)

UP = {"__name__": "up", "cluster": "a", "job": "kubelet"}


def vector(*labels, warnings=None):
    data = {"resultType": "vector", "result": [{"metric": one, "value": [1700000000.5, "1"]} for one in labels]}
    return {"status": "success", "data": data} | ({"warnings": warnings} if warnings else {})


class Scripted:
    """Gives one scripted answer after the other, the last for ever; a clock that only sleeping moves."""

    title = "thanos"

    def __init__(self, *script):
        self.script, self.asked, self.slept = list(script), 0, []

    def query(self, query):
        self.asked += 1
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def query_range(self, query, **times):
        self.times = times
        return self.query(query)

    def ask(self, min_series=None, max_series=None, value=None, **options):
        expectation = Expectation(min_series, max_series, value)
        return ask(self, 'up{cluster="a"}', expectation, sleep=self.slept.append, clock=lambda: sum(self.slept), **options)


def test_series_of_an_instant_vector():
    result = Scripted(vector(UP)).ask()
    assert result.result() == {"series": [{"labels": UP, "value": "1", "timestamp": 1700000000.5}], "attempts": 1, "elapsed": 0}


@pytest.mark.parametrize("kind", ["scalar", "string"])
def test_scalar_is_one_series_without_labels(kind):
    (series,) = parse({"status": "success", "data": {"resultType": kind, "result": [5, "NaN"]}}, "thanos").series
    assert (series.labels, series.value, series.timestamp) == ({}, "NaN", 5.0)


def test_native_histogram_has_no_value():
    data = {"resultType": "vector", "result": [{"metric": {}, "histogram": [5, {"count": "3"}]}]}
    (series,) = parse({"status": "success", "data": data}, "thanos").series
    assert (series.value, series.timestamp) == (None, 5.0)


def test_asks_again_until_there_are_enough():
    thanos = Scripted(vector(), vector(UP), vector(UP, {"job": "x"}))
    result = thanos.ask(min_series=2, retries=10, delay=2)
    assert (result.attempts, result.elapsed, len(result.answer.series)) == (3, 4, 2)
    assert thanos.slept == [2, 2]


def test_asks_again_until_they_are_gone():
    thanos = Scripted(vector(UP), vector())
    assert thanos.ask(max_series=0, retries=5, delay=1).attempts == 2


def test_met_at_once_does_not_wait():
    thanos = Scripted(vector())
    assert thanos.ask(retries=5).attempts == 1
    assert thanos.slept == []


@pytest.mark.parametrize(
    ("expected", "found", "message"),
    [
        ((1, None), vector(), "Expected at least 1 series, found none, after 4.0 s and 3 attempts, from thanos. The query was up{cluster="),
        ((None, 0), vector(UP), 'Expected at most 0 series, found 1 (up{cluster="a",job="kubelet"} 1), after'),
        ((1, 1), vector(*[UP] * 4), "Expected exactly 1 series, found 4 ("),
        ((2, 3), vector(*[UP] * 4), "Expected at least 2 and at most 3 series, found 4 ("),
    ],
)
def test_failure_says_what_was_expected_found_and_how_long(expected, found, message):
    thanos = Scripted(found)
    with pytest.raises(NotMet) as caught:
        thanos.ask(*expected, retries=2, delay=2)
    assert str(caught.value).startswith(message)
    assert thanos.asked == caught.value.result.attempts == 3
    assert len(caught.value.result.result()["series"]) == len(found["data"]["result"])


def test_long_answers_are_shortened_in_messages():
    with pytest.raises(NotMet, match=r"found 1000 \(\{n=\"0\"\} 1; \{n=\"1\"\} 1; \{n=\"2\"\} 1; \.\.\.\), at the only attempt"):
        Scripted(vector(*[{"n": str(number)} for number in range(1000)])).ask(max_series=5)


def test_long_queries_are_shortened_in_messages():
    with pytest.raises(NotMet) as caught:
        ask(Scripted(vector()), "x" * 5000, Expectation(1))
    assert str(caught.value).endswith("x" * 300 + "...")
    assert len(str(caught.value)) < 500


def test_partial_answer_is_not_taken_for_gone():
    thanos = Scripted(vector(warnings=["receive store does not answer"]), vector())
    assert thanos.ask(max_series=0, retries=5).attempts == 2
    with pytest.raises(NotMet, match=r"found 0 in a partial answer \(receive store does not answer\)"):
        Scripted(vector(warnings=["receive store does not answer"])).ask(max_series=0)
    assert Scripted(vector(UP, warnings=["receive store does not answer"])).ask(min_series=1).attempts == 1
    assert Scripted(vector(warnings=["PromQL warning: quantile value should be between 0 and 1"])).ask(max_series=0).attempts == 1


def test_passing_failures_are_asked_again():
    away = QueryError("thanos can not be reached.", again=True)
    busy = {"status": "error", "errorType": "unavailable", "error": "no store"}
    assert Scripted(away, busy, vector(UP)).ask(min_series=1, retries=5).attempts == 3
    assert Scripted(away, vector()).ask(retries=1).attempts == 2


def test_last_failure_is_told():
    with pytest.raises(NotMet, match=r"^thanos can not be reached\. Given up after 10\.0 s and 3 attempts; the query was up\{") as caught:
        Scripted(vector(UP), QueryError("thanos can not be reached.", again=True)).ask(max_series=0, retries=2, delay=5)
    assert caught.value.result.answer.series == ()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (QueryError("not let in", again=False), "not let in"),
        ({"status": "error", "errorType": "bad_data", "error": "1:4: parse error"}, "thanos refused the query: 1:4: parse error."),
        ({"status": "success", "data": {"resultType": "matrix", "result": []}}, "The query gives ranges, not one value a series"),
        ({"status": "success", "data": {"resultType": "other", "result": []}}, "not of the Prometheus API v1"),
        ({"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1]}]}}, "not of the Prometheus API v1"),
        ({"status": "success"}, "not of the Prometheus API v1"),
        ([], "something that is not of the Prometheus API"),
        (None, "something that is not of the Prometheus API"),
    ],
)
def test_lasting_failures_are_told_at_once(answer, message):
    thanos = Scripted(answer)
    with pytest.raises(ObserverError) as caught:
        thanos.ask(min_series=1, retries=5)
    assert message in str(caught.value)
    assert thanos.asked == 1


@pytest.mark.parametrize(
    ("expected", "options", "message"),
    [
        ((-1, None), {}, "min_series is -1"),
        ((None, -1), {}, "max_series is -1"),
        ((2, 1), {}, r"min_series \(2\) is more than max_series \(1\)"),
        ((1, None), {"retries": -1}, "retries is -1"),
        ((1, None), {"delay": -1}, "delay is -1"),
    ],
)
def test_bad_options_are_refused_before_asking(expected, options, message):
    thanos = Scripted(vector())
    with pytest.raises(ObserverError, match=message):
        thanos.ask(*expected, **options)
    assert thanos.asked == 0


def test_empty_query_is_refused():
    with pytest.raises(ObserverError, match="The query is empty"):
        ask(Scripted(vector()), " ", Expectation())


def valued(*values):
    data = {"resultType": "vector", "result": [{"metric": UP, "value": [5, value]} for value in values]}
    return {"status": "success", "data": data}


@pytest.mark.parametrize(
    ("value", "good", "bad"),
    [
        (Value(minimum=1), ("1", "1.5", "+Inf"), ("0.999", "-Inf")),
        (Value(maximum=1), ("1", "0", "-Inf"), ("1.001", "+Inf")),
        (Value(0, 1), ("0", "0.5", "1"), ("-1", "2")),
        (Value(equal=0), ("0", "-0", "0.0", "0e5"), ("1e-9", "-1")),
        (Value(equal=float("inf")), ("+Inf",), ("1", "-Inf")),
    ],
)
def test_expected_values(value, good, bad):
    assert Scripted(valued(*good)).ask(value=value).attempts == 1
    for text in (*bad, "NaN", "a text"):
        with pytest.raises(
            NotMet, match=rf"Expected at least 1 series, each value .* found 1 of {len(good) + 1} with other values \(up\{{.*\}} {re.escape(text)}\)"
        ):
            Scripted(valued(*good, text)).ask(value=value)


def test_histograms_have_no_expected_value():
    data = {"resultType": "vector", "result": [{"metric": {}, "histogram": [5, {"count": "3"}]}]}
    with pytest.raises(NotMet, match="found 1 of 1 with other values"):
        Scripted({"status": "success", "data": data}).ask(value=Value(minimum=0))


def test_a_value_is_asked_for_again():
    thanos = Scripted(valued("0"), valued(), valued("1"))
    assert thanos.ask(value=Value(equal=1), retries=5, delay=1).attempts == 3


def test_a_value_needs_a_series():
    with pytest.raises(NotMet, match="Expected at least 1 series, each value equal to 1, found none"):
        Scripted(valued()).ask(value=Value(equal=1))
    assert Scripted(valued()).ask(min_series=0, value=Value(equal=1)).attempts == 1
    with pytest.raises(ObserverError, match=r"min_series \(1 \(value asks for one\)\) is more than max_series \(0\)"):
        Expectation(None, 0, Value(equal=1))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((None, None, None), "value needs min, max or both, or equal alone"),
        ((1, None, 1), "equal alone"),
        ((2, 1, None), r"value\.min \(2\) is more than value\.max \(1\)"),
        ((float("nan"), None, None), r"value\.min is NaN"),
    ],
)
def test_values_that_can_not_be_are_refused(numbers, message):
    with pytest.raises(ObserverError, match=message):
        Value(*numbers)


def matrix(*values, histograms=()):
    result = [{"metric": UP, "values": [[number, value] for number, value in enumerate(values)], "histograms": list(histograms)}]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


HOUR = Window(range="1h")


def test_series_of_a_range():
    thanos = Scripted(matrix("1", "2"))
    result = thanos.ask(window=Window(start="1000", end="1970-01-01T00:20:00Z", step="10s"))
    assert thanos.times == {"start": 1000, "end": 1200, "step": 10}
    (series,) = result.result()["series"]
    assert series == {"labels": UP, "value": "2", "timestamp": 1.0, "values": [{"timestamp": 0.0, "value": "1"}, {"timestamp": 1.0, "value": "2"}]}


def test_samples_of_histograms_are_in_order():
    (series,) = parse_ranges(matrix("1", "2", histograms=[[0.5, {"count": "3"}]]), "thanos").series
    assert series.samples == ((0.0, "1"), (0.5, None), (1.0, "2"))


def test_values_of_a_range():
    thanos = Scripted(matrix("0", "1", "1"))
    with pytest.raises(NotMet, match=r"each value equal to 1, found 1 of 1 with other values \(up\{.*\} 0\)"):
        thanos.ask(window=HOUR, value=Value(equal=1))
    assert thanos.ask(window=HOUR, value=Value(equal=1, last=True)).attempts == 1
    with pytest.raises(NotMet, match=r"the last value of each equal to 0, found 1 of 1 with other values \(up\{.*\} 1\)"):
        thanos.ask(window=HOUR, value=Value(equal=0, last=True))
    with pytest.raises(NotMet, match=r"found 1 \(up\{.*\} 1\)"):
        thanos.ask(max_series=0, window=HOUR)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"range": "1h"}, (6400, 10000, 36)),
        ({"range": "90"}, (9910, 10000, 1)),
        ({"range": "1h30m", "step": "500ms"}, (4600, 10000, 0.5)),
        ({"start": "now-1d", "end": "now-1h", "step": "1h"}, (10000 - 86400, 6400, 3600)),
        ({"start": "5000.5", "step": "60"}, (5000.5, 10000, 60)),
        ({"start": "1970-01-01T02:00:00+01:00"}, (3600, 10000, 64)),
        ({"start": "1970-01-01 01:00:00+00:00", "end": "now"}, (3600, 10000, 64)),
    ],
)
def test_windows(given, expected, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 10000.0)
    found = Window(**given).at(10000)
    assert (found["start"], found["end"], found["step"]) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "needs start or range, and not both"),
        ({"start": "now-1h", "range": "1h"}, "needs start or range, and not both"),
        ({"step": "1m"}, "needs start or range"),
        ({"range": "1 hour"}, "range is 1 hour. Write a duration"),
        ({"range": "0s"}, "range is 0s"),
        ({"range": "-5m"}, "range is -5m"),
        ({"range": "1h", "step": "0"}, "step is 0"),
        ({"start": "yesterday"}, "start is yesterday"),
        ({"start": "2026-01-31T12:00:00"}, "a time with its zone"),
        ({"start": "now", "end": "now-1h"}, "start (now) is not before end (now-1h)"),
        ({"range": "1y", "step": "1s"}, "31536000 samples a series"),
    ],
)
def test_windows_that_can_not_be_are_refused(given, message):
    with pytest.raises(ObserverError) as caught:
        Window(**given)
    assert message in str(caught.value)


def test_window_of_options():
    assert window({"start": None, "end": None, "range": None, "step": None}) is None
    assert window({"start": None, "end": "now", "range": "5m", "step": None}) == Window(range="5m", end="now")


def test_label_values_and_series():
    listed = {"status": "success", "data": ["a", "b"], "warnings": ["no store"]}
    assert parse_values(listed, "thanos") == (("a", "b"), ("no store",))
    assert parse_series({"status": "success", "data": [UP]}, "thanos") == ((UP,), ())
    assert parse_values({"status": "success"}, "thanos").values == ()


@pytest.mark.parametrize("parsed", [parse_ranges, parse_values, parse_series])
@pytest.mark.parametrize("answer", [None, {"status": "success", "data": 5}, {"status": "success", "data": {"resultType": "vector", "result": []}}])
def test_other_answers_are_of_no_api(parsed, answer):
    with pytest.raises(QueryError, match="not of the Prometheus API") as caught:
        parsed(answer, "thanos")
    assert not caught.value.again


@pytest.mark.parametrize("parsed", [parse_ranges, parse_values, parse_series])
def test_refusals_of_all_kinds(parsed):
    with pytest.raises(QueryError, match="thanos refused the query: no") as caught:
        parsed({"status": "error", "errorType": "timeout", "error": "no"}, "thanos")
    assert caught.value.again
