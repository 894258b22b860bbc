# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells the ruler beside it to read its rules again when their files change. The ruler watches no files, and a restart with a broken rule would not start;
a reload keeps the old rules. Runs in the ruler's pod with nothing but Python's standard library."""

from __future__ import annotations

import hashlib
import os
import pathlib
import signal
import sys
import time
import urllib.error
import urllib.request


def digest(folder: pathlib.Path) -> str:
    """One digest over names and contents; the hidden folders by which a ConfigMap is swapped are left out."""
    result = hashlib.sha256()
    for path in sorted(folder.glob("[!.]*")):
        result.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return result.hexdigest()


def reload(url: str) -> str:
    """Empty when the ruler took the rules, else why not."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=30):
            return ""
    except urllib.error.HTTPError as error:
        return f"{error.code}: {error.read(2000).decode(errors='replace').strip()}"
    except OSError as error:
        return str(error)


def main() -> None:
    folder, url, interval = pathlib.Path(os.environ["RULES_FOLDER"]), os.environ["RELOAD_URL"], float(os.environ.get("INTERVAL", "5"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # The ruler starts at the same time: what it read is not known, so the first round always reloads.
    loaded, last_problem = "", ""
    while True:
        try:
            current = digest(folder)
        except OSError:
            current = loaded
        if current != loaded:
            problem = reload(url)
            if not problem:
                print(f"rules {current[:12]} loaded", flush=True)
                loaded, last_problem = current, ""
            elif problem != last_problem:
                print(f"rules {current[:12]} not loaded, the old ones stay: {problem}", file=sys.stderr, flush=True)
                last_problem = problem
        time.sleep(interval)


if __name__ == "__main__":
    main()
