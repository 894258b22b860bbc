# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The KaaS mock service with a DOUBLE of ansible-playbook: in this process (fixture api), or as a process of its own (fixture service)."""

from __future__ import annotations

import json
import os
import sys
import typing as t
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[3] / "roles" / "kaas_mock" / "files")]

from _service import TOKENS, Api, Double, Service  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402
from kaas_mock.app import create_app  # noqa: E402
from kaas_mock.settings import Settings  # noqa: E402


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Double]:
    for name in list(os.environ):
        if name.startswith("KAAS_MOCK_"):
            monkeypatch.delenv(name)
    found = Double(tmp_path / "double")
    monkeypatch.setenv("DOUBLE_FOLDER", str(found.folder))
    yield found
    found.clean()


@pytest.fixture
def options(tmp_path: Path, double: Double) -> dict[str, t.Any]:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps(TOKENS))
    tokens.chmod(0o600)
    return {
        "state_dir": tmp_path / "state",
        "tokens_file": tokens,
        "port": 0,
        "lab_root": tmp_path / "lab",
        "ansible_playbook": double.program,
        "first_index": 65,
        "attempts": 1,
        "retry_seconds": 0,
    }


@pytest.fixture
def client(options: dict[str, t.Any]) -> t.Iterator[TestClient]:
    with TestClient(create_app(Settings(**options)), base_url="http://localhost") as found:
        yield found


@pytest.fixture
def api(client: TestClient) -> Api:
    return Api(client, "alice")


@pytest.fixture
def service(options: dict[str, t.Any], tmp_path: Path) -> t.Iterator[Service]:
    found = Service(options, tmp_path)
    yield found
    if found.process is not None and found.process.poll() is None:
        found.kill()
