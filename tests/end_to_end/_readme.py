# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of README.md, for the tests that run them."""

from __future__ import annotations

import dataclasses
import pathlib
import re

TOP = pathlib.Path(__file__).parents[2]
README = TOP / "README.md"

# Commands (by how they begin) that no test can run here, and why.
NOT_RUN = {
    "python3 -m venv": "the environment is make venv's",
    "pip install": "the environment is make venv's; the versions are compared with it",
    "while read": "copies from the official registries, which no test reaches; the file it reads is made and looked at",
    "kubectl -n observer get secret grafana-admin": "Grafana's image can't be had in the lab",
    "kubectl -n observer port-forward service/grafana": "Grafana's image can't be had in the lab",
    "kubectl -n observer exec grafana-0": "Grafana's image can't be had in the lab",
}


@dataclasses.dataclass(frozen=True)
class Command:
    section: str
    text: str

    @property
    def reason(self) -> str:
        """Why it is not run; empty when it is."""
        return next((reason for begin, reason in NOT_RUN.items() if self.text.startswith(begin)), "")


def commands() -> list[Command]:
    """Each line of a block of shell, with the heading above it."""
    found: list[Command] = []
    section, inside = "", False
    for line in README.read_text().splitlines():
        if line.startswith("```"):
            inside = line == "```sh"
        elif not inside and (heading := re.match(r"#+ (.+)", line)):
            section = heading[1]
        elif inside and line.strip():
            found.append(Command(section, line))
    return found


def of_section(begin: str) -> list[Command]:
    found = [command for command in commands() if command.section.startswith(begin)]
    assert found, f"README.md has no commands in a section that begins with {begin!r}"
    return found
