"""python -m tests.osism_host prepare|up|down: the OSISM test host by hand; C(up --two) has a second Prometheus host."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

TOP = Path(__file__).parents[2]
sys.path[:0] = [str(TOP / "tests"), str(TOP / ".cache" / "tree")]

from osism_host import machine  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.osism_host", description=__doc__)
    parser.add_argument("action", choices=["prepare", "up", "down"])
    parser.add_argument("--two", action="store_true", help="a second machine with a Prometheus")
    parser.add_argument("--release", default="2024.2", choices=["2024.2", "2025.1"], help="OpenStack's release, which decides Prometheus's")
    arguments = parser.parse_args()
    begin = time.monotonic()
    host = machine.Host([machine.MANAGER, machine.SECOND] if arguments.two else [machine.MANAGER])
    if arguments.action == "prepare":
        machine.rootfs()
    elif arguments.action == "down":
        host.down()
    else:
        host.up(arguments.release)
        print(f"inventory: {host.inventory}\nenter: ssh -i {host.key} dragon@{host.manager.address}")
    print(f"{arguments.action}: {time.monotonic() - begin:.1f} s")


if __name__ == "__main__":
    main()
