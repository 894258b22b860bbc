# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/dashboards.md names every dashboard, and its pictures are there and small."""

from __future__ import annotations

import pathlib
import re

TOP = pathlib.Path(__file__).parents[2]
TEXT = (TOP / "docs/dashboards.md").read_text()


def test_every_dashboard_is_named():
    there = {file.stem for file in (TOP / "roles/observer_content/files/dashboards").glob("*/*.json")}
    assert set(re.findall(r"`(scs-[a-z-]+)`", TEXT)) == there


def test_pictures_are_there_and_small():
    shown = {TOP / "docs" / path for path in re.findall(r"\]\((pictures/[^)]+)\)", TEXT)}
    assert shown == set((TOP / "docs/pictures").iterdir())
    assert {file.name: file.stat().st_size for file in shown if file.stat().st_size > 200_000} == {}
