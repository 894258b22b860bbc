# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks into a real S3 server, and the upgrade of kolla that moves the volume under the sidecar. One host, so in this order."""

from __future__ import annotations

import json
import pathlib
import subprocess
import time
import typing as t

import pytest
from _osism import Sidecar, s3_server, wait
from _programs import find_program

CONFIGURATION = "environments/kolla/configuration.yml"
RELEASE = "environments/manager/configuration.yml"
EQUAL = "--storage.tsdb.min-block-duration=2h --storage.tsdb.max-block-duration=2h"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[tuple[dict[str, t.Any], pathlib.Path]]:
    """What Thanos is told of the bucket, and the folder in which its objects are files."""
    with s3_server(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture(scope="module")
def upload(bucket: tuple[dict[str, t.Any], pathlib.Path]) -> dict[str, t.Any]:
    return {"mode": "upload", "objstore_config": bucket[0]}


def add_block(sidecar: Sidecar, volume: str, hours_ago: int, folder: pathlib.Path) -> str:
    """A block of an hour ago in Prometheus's folder, as if it had been cut there; returns its id."""
    begin = (int(time.time()) // 7200 - hours_ago // 2) * 7200
    lines = [f'lab_old_series{{hours_ago="{hours_ago}"}} 1 {begin + 60 * minute}' for minute in range(1, 100)]
    (folder / "samples").write_text("# TYPE lab_old_series gauge\n" + "\n".join(lines) + "\n# EOF\n")
    subprocess.run(
        [find_program("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--quiet", folder / "samples", folder / "blocks"],
        check=True,
        capture_output=True,
    )
    [block] = (folder / "blocks").iterdir()
    data = sidecar.host.manager.state / "docker" / "volumes" / volume / "_data"
    subprocess.run(["cp", "-a", block, data], check=True)
    subprocess.run(["chown", "-R", "42472:42472", data / block.name], check=True)
    return block.name


def uploaded(bucket: pathlib.Path, block: str) -> dict[str, t.Any] | None:
    meta = bucket / block / "meta.json"
    return json.loads(meta.read_text()) if meta.exists() else None


def test_unequal_block_durations_are_refused_where_the_role_may_not_set_them(sidecar: Sidecar, upload: dict[str, t.Any]) -> None:
    sidecar.refused(manage_configuration=False, says="block durations of Prometheus are not the same", **upload)


def test_a_bucket_without_a_type_is_refused(sidecar: Sidecar) -> None:
    sidecar.refused(mode="upload", objstore_config={"bucket": "x"}, says="objstore_config has no type and config")


def test_check_mode_of_an_upload_on_a_fresh_host(sidecar: Sidecar, upload: dict[str, t.Any]) -> None:
    before = sidecar.state()
    assert sidecar.works("--check", "--diff", **upload).changed > 3
    assert sidecar.state() == before


def test_the_operators_own_extras_are_kept_and_named(sidecar: Sidecar, upload: dict[str, t.Any]) -> None:
    """An operator's prometheus_cmdline_extras would win over the role's group variable: the message holds the text to write there."""
    text = sidecar.host.manager.sh(f"cat /opt/configuration/{CONFIGURATION}")
    with sidecar.edited(CONFIGURATION, f'{text}prometheus_cmdline_extras: "--storage.tsdb.retention.time=5d"\n'):
        sidecar.host.apply_prometheus()
        sidecar.refused(says=f"prometheus_cmdline_extras: .*--storage.tsdb.retention.time=5d {EQUAL}", **upload)
        sidecar.edit(CONFIGURATION, f'{text}prometheus_cmdline_extras: "--storage.tsdb.retention.time=5d {EQUAL}"\n')
        sidecar.works(**upload)
        described = sidecar.host.manager.sh("cat /etc/kolla/prometheus-server/config.json")
        assert f"--storage.tsdb.retention.time=5d {EQUAL}" in described
        assert sidecar.host.manager.run("test", "-e", "/opt/configuration/inventory/group_vars/prometheus/scs-observer.yml", check=False).returncode == 1
        assert sidecar.works(**upload).changed == 0
    sidecar.works(state="absent")
    sidecar.host.apply_prometheus()


def test_upload_sets_the_block_durations_and_blocks_arrive(
    sidecar: Sidecar, upload: dict[str, t.Any], bucket: tuple[dict[str, t.Any], pathlib.Path], tmp_path: pathlib.Path
) -> None:
    sidecar.works(**upload)
    assert EQUAL in sidecar.host.manager.sh("cat /etc/kolla/prometheus-server/config.json")
    container = sidecar.container()
    assert [mount["Name"] for mount in container["Mounts"] if mount["Type"] == "volume"] == ["prometheus_v2"]
    assert bucket[0]["config"]["secret_key"] not in sidecar.host.manager.sh("docker inspect thanos_sidecar; ps axww -o args")
    block = add_block(sidecar, "prometheus_v2", 24, tmp_path)
    meta = wait(lambda: uploaded(bucket[1], block), 90, f"the block {block} is not uploaded")
    assert meta["thanos"]["labels"] == {"infrastructure": "testbed"}
    assert sidecar.works(**upload).changed == 0


def test_a_sidecar_that_uploads_breaks_kollas_upgrade_until_it_is_removed(
    sidecar: Sidecar, upload: dict[str, t.Any], bucket: tuple[dict[str, t.Any], pathlib.Path], tmp_path: pathlib.Path
) -> None:
    """What docs/osism.md says to do before: the sidecar away, the upgrade, the sidecar again, which finds the new volume."""
    host = sidecar.host
    sidecar.edit(RELEASE, '---\nopenstack_version: "2025.1"\n')
    failed = host.osism("apply", "-a", "upgrade", "prometheus", check=False)
    assert failed.returncode != 0 and "volume is in use" in failed.stdout + failed.stderr
    sidecar.works("--tags", "service", state="absent")
    host.apply_prometheus("-a", "upgrade")
    # What the upgrade that failed has moved stays moved, and the old volume stays, without data: kolla's own way.
    assert host.manager.sh("ls /var/lib/docker/volumes/prometheus_v2") == ""
    assert sidecar.works(**upload).changed > 0
    container = sidecar.container()
    assert [mount["Name"] for mount in container["Mounts"] if mount["Type"] == "volume"] == ["prometheus_server"]
    with sidecar.query() as query:
        query.wait_for('up{infrastructure="testbed"}')
        assert query.wait_for('prometheus_build_info{version=~"3[.].*"}')
        # from before the move
        assert query.get("/api/v1/query", query='last_over_time(lab_old_series{hours_ago="24"}[2d])')["result"]
    block = add_block(sidecar, "prometheus_server", 48, tmp_path)
    wait(lambda: uploaded(bucket[1], block), 90, f"the block {block} is not uploaded")


def test_from_upload_to_query_only(sidecar: Sidecar) -> None:
    """Nothing of the bucket is left, and the block durations are Prometheus's own again."""
    sidecar.works()
    assert sidecar.host.manager.run("test", "-e", "/opt/thanos_sidecar/configuration/objstore.yml", check=False).returncode == 1
    assert [mount for mount in sidecar.container()["Mounts"] if mount["Type"] == "volume"] == []
    assert sidecar.works().changed == 0
    sidecar.works(state="absent")
