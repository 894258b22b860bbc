# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples in docs/services.md."""

from __future__ import annotations

import pathlib
import re
import typing as t

import yaml

TOP = pathlib.Path(__file__).parents[1]
PAGE = TOP / "docs" / "services.md"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nexample\n-----END CERTIFICATE-----\n"


def blocks() -> list[dict[str, t.Any]]:
    """Variables of each; a lookup of a certificate gives one that nobody reads."""
    found = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [yaml.safe_load(re.sub(r'"\{\{ lookup\(.*?\) \}\}"', repr(CERTIFICATE).replace("'", '"'), text)) for text in found]
