# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule files of the collection, and which of them are about infrastructures."""

from __future__ import annotations

import pathlib

FILES = sorted((pathlib.Path(__file__).parents[1] / "roles").glob("*/files/rules/*.yaml"))
OF_INFRASTRUCTURES = frozenset(path.stem for path in FILES if 'infrastructure!=""' in path.read_text())
# what neither a KaaS cluster of the lab nor its Observer has: the infrastructures' services, and Harbor
ELSEWHERE = (OF_INFRASTRUCTURES - {"infrastructures"}) | {"harbor"}
