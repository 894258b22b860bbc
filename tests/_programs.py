# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where tests find the real programs that they run, such as promtool."""

from __future__ import annotations

import os
import pathlib
import shutil

import pytest

CACHE = pathlib.Path(os.environ.get("SCS_OBSERVER_CACHE", pathlib.Path.home() / ".cache" / "scs-observer"))


def find_program(name: str) -> str:
    """The program in C($SCS_OBSERVER_BIN), the lab's cache or PATH; without it the test is skipped, which C(make test) does not let pass."""
    folders = [os.environ.get("SCS_OBSERVER_BIN"), str(CACHE / "bin"), os.environ.get("PATH")]
    found = shutil.which(name, path=os.pathsep.join(folder for folder in folders if folder))
    if not found:
        pytest.skip(f"{name} is not built: 'make programs' builds it, or set SCS_OBSERVER_BIN to the folder that has it")
    return found
