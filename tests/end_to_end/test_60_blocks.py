# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of samples into the bucket and back: a Receive that stops writes its blocks, and then a store gateway alone gives the same answers."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import time
import typing as t

import pytest
from _remote_write import Writer, agent_of, inside_of, now

OBSERVER, ALPHA = "test-observer", "test-alpha"
CACHE = pathlib.Path(os.environ.get("SCS_OBSERVER_CACHE", pathlib.Path.home() / ".cache" / "scs-observer"))
POD = "thanos-receive-2"
RUN = str(now())
NAME = "end_to_end_block"
SERIES, SAMPLES = 10, 50


@pytest.fixture(scope="module")
def written(lab: t.Any, kaas: t.Any) -> dict[str, list[tuple[int, float]]]:
    """Known samples of test-alpha, one a second until now, by their series' number label."""
    end = now()
    found = {f"{number:02d}": [(end - 1000 * back, number + 1 / (1 + back)) for back in reversed(range(SAMPLES))] for number in range(SERIES)}
    series = [
        ({"__name__": NAME, "run": RUN, "number": number, "cluster": "forged"}, [(value, when) for when, value in values]) for number, values in found.items()
    ]
    Writer(lab.receive_url, agent_of(lab, ALPHA)).deliver(series, 30)
    return found


def answered(lab: t.Any, url: str | None, selector: str, at: float, seconds: int) -> dict[str, list[tuple[int, float]]]:
    """By the series' labels: milliseconds and value of each raw sample."""
    return {
        ",".join(f"{key}={value}" for key, value in sorted(one["metric"].items())): [(round(when * 1000), float(value)) for when, value in one["values"]]
        for one in lab.query(f"{selector}[{seconds}s]", at=at, url=url)
    }


@pytest.fixture(scope="module")
def blocks(lab: t.Any, written: t.Any) -> list[dict[str, t.Any]]:
    """What the bucket's page says of test-alpha after a Receive has been stopped in the ordinary way."""

    def listed() -> list[dict[str, t.Any]]:
        page = lab.http_json(f"{lab.service('thanos-bucket-web', 10902)}/api/v1/blocks")["data"]
        assert not page["err"], f"the page of the bucket: {page['err']}"
        return [block for block in page["blocks"] if block["thanos"]["labels"].get("cluster") == ALPHA]

    def holds_ours(block: dict[str, t.Any]) -> bool:
        return (
            block["thanos"]["labels"] == {"cluster": ALPHA, "receive_replica": POD}
            and block["minTime"] <= written["00"][0][0]
            and block["maxTime"] > written["00"][-1][0]
        )

    # an agent's later samples, or ours are the tenant's newest, which stay in the write-ahead log
    time.sleep(8)
    begin = time.monotonic()
    # a Receive that stops writes one block for each tenant; it may take its grace period of 300 s, and the disk 512 MiB for each meanwhile
    lab.kubectl(OBSERVER, "delete", "pod", POD, "-n", "observer", timeout=320)
    lab.figures["Receive stopped, all blocks in the bucket, seconds"] = round(time.monotonic() - begin, 1)
    lab.kubectl(OBSERVER, "wait", "pod", POD, "-n", "observer", "--for=condition=Ready", "--timeout=180s", timeout=200)
    found = lab.wait_until(
        lambda: [block for block in listed() if holds_ours(block)], 90, f"bucket-web listing the block of {POD}; it reads every 30 s", delay=3
    )
    lab.figures["block listed by bucket-web after the stop began, seconds"] = round(time.monotonic() - begin, 1)
    return found


def test_bucket_web_lists_the_block(lab: t.Any, blocks: list[dict[str, t.Any]]) -> None:
    assert len(blocks) == 1
    assert blocks[0]["thanos"]["source"] == "receive" and blocks[0]["stats"]["numSamples"] > SERIES * SAMPLES


def test_block_is_in_the_bucket(lab: t.Any, blocks: list[dict[str, t.Any]]) -> None:
    """In the S3 server's own folder, below the bucket's."""
    folder = lab.state(OBSERVER).parent / "s3" / "data" / lab.bucket / blocks[0]["ulid"]
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"meta.json", "index", "chunks/000001"} <= files


@pytest.fixture(scope="module")
def store(lab: t.Any, blocks: t.Any, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[str]:
    """URL of a Query of our own that knows one store gateway and nothing else."""
    folder = tmp_path_factory.mktemp("store")
    inside = inside_of(lab)
    pod = lab.get(OBSERVER, "pod", "thanos-store-0", "-n", "observer")["status"]["podIP"]
    (folder / "endpoints.yml").write_text(
        f"""
endpoints:
- address: "{pod}:10901"
  client_config:
    server_name: inside.observer.svc
    tls_config: {{enabled: true, ca_file: {inside.authority}, cert_file: {inside.certificate}, key_file: {inside.key}, min_version: "1.3"}}
"""
    )
    http, grpc = free_port(), free_port()
    command = [str(CACHE / "bin" / "thanos"), "query", f"--http-address=127.0.0.1:{http}", f"--grpc-address=127.0.0.1:{grpc}"]
    command += [f"--endpoint.sd-config-file={folder / 'endpoints.yml'}", "--query.replica-label=receive_replica"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{http}"

        def connected() -> bool:
            assert process.poll() is None, f"thanos query ended:\n{(folder / 'log').read_text()[-2000:]}"
            stores = lab.http_json(f"{url}/api/v1/stores")["data"]
            return [len(found) for found in stores.values() if found] == [1] and "store" in stores

        lab.wait_until(connected, 30, "the one store gateway, and no other store")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_store_gateway_alone_answers(lab: t.Any, written: dict[str, list[tuple[int, float]]], store: str) -> None:
    selector = f'{NAME}{{run="{RUN}"}}'
    at = written["00"][-1][0] / 1000
    lab.wait_until(lambda: lab.query(f"{selector}[90s]", at=at, url=store), 60, "the store gateway knowing the block; it looks every 10 s", delay=2)
    found = answered(lab, store, selector, at, 90)
    expected = {f"__name__={NAME},cluster={ALPHA},exported_cluster=forged,number={number},run={RUN}": values for number, values in written.items()}
    assert found == expected
    # and Query, which has it three times from the receives and once from the store, gives it once
    assert answered(lab, None, selector, at, 90) == expected


def test_store_gateway_has_the_agents_samples_too(lab: t.Any, written: dict[str, list[tuple[int, float]]], store: str) -> None:
    """All of test-alpha's of a minute; the newest sample of each series may still be in the write-ahead log only."""
    selector = f'{{__name__=~"up|scrape_samples_scraped|node_load1|prometheus_agent_active_series",cluster="{ALPHA}",run=""}}'
    at = written["00"][-1][0] / 1000
    live, cold = answered(lab, None, selector, at, 60), answered(lab, store, selector, at, 60)
    assert len(live) > 20 and set(live) == set(cold)
    for series, values in live.items():
        assert values[:-1] == cold[series][: len(values) - 1], f"the store gateway gives other samples of {series}"
