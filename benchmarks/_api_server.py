# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real API server of the integration tests, for benchmarks."""

from __future__ import annotations

import contextlib
import importlib.util
import pathlib
import sys
import typing as t

import lab


@contextlib.contextmanager
def api_server(folder: pathlib.Path) -> t.Iterator[t.Any]:
    """The fixture of the integration tests, without pytest."""
    sys.path.insert(0, str(lab.TOP / "tests"))
    specification = importlib.util.spec_from_file_location("integration_conftest", lab.TOP / "tests" / "integration" / "conftest.py")
    conftest = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = conftest
    specification.loader.exec_module(conftest)

    class Factory:
        def mktemp(self, name: str) -> pathlib.Path:
            (folder / name).mkdir()
            return folder / name

    with contextlib.contextmanager(conftest.cluster.__wrapped__)(Factory()) as server:
        yield server
