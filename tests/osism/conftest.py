# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One OSISM test host for all scenarios. What needs the collection is imported late, for it can't be found before pytest has read this file."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

# Two runs at once need two of these.
FIRST_INDEX = int(os.environ.get("OSISM_TEST_INDEX", "92"))
ROOT = pathlib.Path(f"/var/lib/scs-observer-osism-{FIRST_INDEX}")


@pytest.fixture(scope="session")
def host() -> t.Iterator[t.Any]:
    from osism_host import machine

    if os.geteuid() != 0:
        pytest.skip("lab machines need root")
    found = machine.Host(root=ROOT, first_index=FIRST_INDEX)
    # of a run that was killed
    found.down()
    try:
        found.up()
        yield found
    finally:
        found.down()


@pytest.fixture(scope="session")
def sidecar(host: t.Any, tmp_path_factory: pytest.TempPathFactory) -> t.Any:
    from _osism import Sidecar

    return Sidecar(host, tmp_path_factory.mktemp("osism"))
