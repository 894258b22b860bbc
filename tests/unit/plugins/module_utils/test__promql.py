# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._promql import Expectation, NotMet, QueryError, ask, parse

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

    def ask(self, min_series=None, max_series=None, **options):
        expectation = Expectation(min_series, max_series)
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
