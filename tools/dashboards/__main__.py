# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the dashboards' JSON, or compares it with what is there: C(python -m tools.dashboards [--check] [MODULE ...])."""

from __future__ import annotations

import argparse
import importlib
import json
import pathlib
import pkgutil
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from .common import Dashboard

HERE = pathlib.Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / "roles" / "observer_content" / "files" / "dashboards"


def modules() -> list[str]:
    """The modules with dashboards, by name."""
    return sorted(found.name for found in pkgutil.iter_modules([str(HERE)]) if found.name != "common" and not found.name.startswith("_"))


def generate(names: list[str]) -> dict[pathlib.Path, str]:
    """Path below FOLDER -> content, of all dashboards of these modules."""
    result: dict[pathlib.Path, str] = {}
    for name in names:
        made: list[Dashboard] = importlib.import_module(f"{__package__}.{name}").dashboards()
        for dashboard in made:
            path = pathlib.Path(dashboard.folder, f"{dashboard.uid}.json")
            if path in result:
                raise ValueError(f"two dashboards have the uid {dashboard.uid!r}")
            result[path] = json.dumps(dashboard.model, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"
    return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.dashboards", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"only these of: {', '.join(modules())}")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is not what the code makes")
    arguments = parser.parse_args()
    names = arguments.modules or modules()
    made = generate(names)
    wrong = [path for path, content in made.items() if not (FOLDER / path).is_file() or (FOLDER / path).read_text(encoding="utf-8") != content]
    present = {path.relative_to(FOLDER) for path in FOLDER.rglob("*.json")} if not arguments.modules else set()
    left = sorted(present - set(made))
    for path in wrong:
        print(f"{path}: {'is not what the code makes' if arguments.check else 'written'}")
        if not arguments.check:
            (FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
            (FOLDER / path).write_text(made[path], encoding="utf-8")
    for path in left:
        print(f"{path}: no code makes it{'' if arguments.check else '; delete it'}")
    return 1 if left or (arguments.check and wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
