# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An agent that can not reach the Observer for ten minutes: an alert meanwhile, and nothing is missing afterwards.

Its cluster's API server answers the Observer's probe all the time, so it is the agent that is down, not the cluster.
The cut began with test_40; where these tests run alone, it begins here.
"""

from __future__ import annotations

import itertools
import time
import typing as t

import pytest
from _outage import agent_counters

ALPHA, BETA = "test-alpha", "test-beta"
# seconds
OUTAGE = 600
INTERVAL = 5
# How far two scrapes may be apart that follow each other. Prometheus holds a rhythm of 5 s to a few ms, but for a machine that is too busy: then one comes
# late, the next in time. From 1.5 intervals on one is missing.
LATE = 1.5 * INTERVAL


def down(lab: t.Any, cluster: str) -> bool:
    return any(alert["labels"]["cluster"] == cluster for alert in lab.alerts("KaaSAgentDown"))


def test_alert_while_it_is_cut_off(lab: t.Any, outage: t.Any) -> None:
    lab.wait_until(lambda: down(lab, BETA), max(60.0, outage.began + 120 - time.time()), f"KaaSAgentDown for {BETA} in Alertmanager")
    assert not down(lab, ALPHA)
    assert lab.query(f'up{{cluster="{BETA}"}}') == []


@pytest.fixture(scope="module")
def healed(lab: t.Any, outage: t.Any) -> t.Any:
    """Ten minutes after the begin it ends."""
    outage.wait(OUTAGE)
    assert down(lab, BETA), "the alert has to last as long as the outage"
    assert lab.query(f'up{{cluster="{BETA}"}}') == []
    outage.end()
    return outage


def test_it_reports_again(lab: t.Any, healed: t.Any) -> None:
    """An agent waits at most 30 s (max_backoff) between two tries, and a try may hang for 30 s (remote_timeout)."""

    def caught_up() -> bool:
        when = lab.value(f'max(timestamp(up{{cluster="{BETA}"}}))')
        return when is not None and when > healed.ended and time.time() - when < 3 * INTERVAL

    lab.wait_until(caught_up, 150, f"{BETA} to have sent everything up to now")
    lab.figures["after an outage of 10 min, all caught up after, seconds"] = round(time.time() - healed.ended, 1)


def test_alert_is_resolved(lab: t.Any, healed: t.Any) -> None:
    lab.wait_until(lambda: not down(lab, BETA), 60, f"KaaSAgentDown for {BETA} to be resolved")


def gaps(lab: t.Any, cluster: str, begin: float, end: float) -> tuple[int, int, list[str]]:
    """Series of up, samples of them, and each place where one is missing."""
    found: list[str] = []
    number = 0
    series = lab.query(f'up{{cluster="{cluster}",run=""}}[{round(end - begin)}s]', at=end)
    for one in series:
        times = [begin, *(when for when, _value in one["values"]), end]
        number += len(times) - 2
        for earlier, later in itertools.pairwise(times):
            # at both ends up to one interval belongs to nobody
            if later - earlier > LATE:
                found.append(f"{one['metric']['job']} {one['metric'].get('metrics_path', '')}: {later - earlier:.1f} s without, {earlier - begin:.0f} s on")
    return len(series), number, found


def test_no_sample_is_missing(lab: t.Any, healed: t.Any) -> None:
    """Counted in up, which every scrape of every target gives, from before the outage until after it. None may be missing, so the tolerance is 0."""
    begin, end = healed.began - 60, healed.ended + 60
    time.sleep(max(0.0, end + 15 - time.time()))
    series, number, missing = gaps(lab, BETA, begin, end)
    expected = round((end - begin) / INTERVAL)
    lab.figures["outage of 10 min: series of up, samples expected of each, samples of all, missing"] = f"{series}; {expected}; {number}; {len(missing)}"
    assert series >= 10
    assert not missing, f"{len(missing)} gaps: {missing[:10]}"
    assert abs(number - series * expected) <= series, f"{number} samples of {series} targets, expected {expected} of each, up to one more or less"


def test_agent_says_so_too(lab: t.Any, healed: t.Any) -> None:
    """Its own counters, which know every series: nothing failed for good, nothing was dropped, and it was not restarted."""
    counters = agent_counters(lab, BETA)
    assert counters["process_start_time_seconds"] == healed.counters["process_start_time_seconds"], "the agent was restarted meanwhile"
    for name in ("prometheus_remote_storage_samples_failed_total", "prometheus_remote_storage_samples_dropped_total"):
        # a counter of what never happened may not be there
        before, after = healed.counters.get(name, 0), counters.get(name, 0)
        assert after == before, f"{name} rose from {before:g} to {after:g}"
    written = counters["prometheus_agent_samples_appended_total"] - healed.counters["prometheus_agent_samples_appended_total"]
    lab.figures["outage of 10 min: samples of the agent's write-ahead log"] = round(written)
    assert written > 10_000


def test_every_appended_sample_arrived(lab: t.Any, healed: t.Any) -> None:
    """The agent counts what it appends; Thanos has to hold just as many for the same time. Both ends are the times of a scrape of that counter."""
    counter = f'prometheus_agent_samples_appended_total{{cluster="{BETA}",type="float"}}'
    values = lab.query(f"{counter}[{round(healed.ended - healed.began + 100)}s]", at=healed.ended + 50)
    assert len(values) == 1
    (begin, first), *_rest, (end, last) = values[0]["values"]
    appended = int(last) - int(first)
    # count_over_time of everything at once is no question for PromQL: without their names, series are the same
    everything = lab.query(f'{{__name__=~".+",cluster="{BETA}",observer="",run=""}}[{round((end - begin) * 1000)}ms]', at=end)
    there = sum(len(one["values"]) for one in everything)
    lab.figures["outage of 10 min: samples that the agent appended; that Thanos holds"] = f"{appended}; {there}"
    # a scrape that is under way at either end is counted on one side only: at most all targets' samples of one scrape, twice
    scrape = lab.value(f'sum(last_over_time(scrape_samples_post_metric_relabeling{{cluster="{BETA}"}}[1m]) + 5)', at=end)
    assert abs(appended - there) <= 2 * scrape, f"the agent appended {appended} samples, Thanos holds {there}; one scrape of all targets is {scrape:.0f}"


def test_other_cluster_had_no_gap(lab: t.Any, healed: t.Any) -> None:
    series, number, missing = gaps(lab, ALPHA, healed.began, healed.ended)
    assert series >= 10 and number > 1000
    assert not missing, f"{len(missing)} gaps: {missing[:10]}"
