# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A KaaS cluster that can not reach the Observer for a while, as behind a broken firewall: packets vanish, nothing answers."""

from __future__ import annotations

import dataclasses
import time
import typing as t
import urllib.request

OBSERVER = "test-observer"
CHAINS = ("FORWARD", "OUTPUT")


@dataclasses.dataclass
class Outage:
    lab: t.Any
    cluster: str
    # of time.time(); 0: not yet
    began: float = 0
    ended: float = 0
    # the agent's counters at the begin
    counters: dict[str, float] = dataclasses.field(default_factory=dict)

    def begin(self) -> None:
        # one of a session that was killed
        self._open()
        self.counters = agent_counters(self.lab, self.cluster)
        for chain in CHAINS:
            self.lab.nsenter(self.cluster, "iptables", "-w", "-I", chain, *self._rule())
        self.began = time.time()

    def end(self) -> None:
        """Heal it; again does no harm."""
        if not self.ended:
            self._open()
            self.ended = time.time()

    def wait(self, seconds: float) -> None:
        """Until it has lasted so long."""
        time.sleep(max(0.0, self.began + seconds - time.time()))

    def _rule(self) -> list[str]:
        words = ["-p", "tcp", "-d", self.lab.address(OBSERVER), "--dport", "30291"]
        return [*words, "-m", "comment", "--comment", "end-to-end outage", "-j", "DROP"]

    def _open(self) -> None:
        for chain in CHAINS:
            while self.lab.nsenter(self.cluster, "iptables", "-w", "-D", chain, *self._rule(), check=False).returncode == 0:
                pass


def agent_counters(lab: t.Any, cluster: str) -> dict[str, float]:
    """The agent's own counters of what it has sent and lost, of its remote-write to the Observer."""
    address = lab.get(cluster, "pod", "prometheus-agent-0", "-n", "observer-agent")["status"]["podIP"]
    found: dict[str, float] = {}
    with urllib.request.urlopen(f"http://{address}:9090/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    for line in lines:
        name, _space, value = line.rpartition(" ")
        if name.startswith(("prometheus_remote_storage_samples_", "prometheus_agent_samples_appended_total", "process_start_time_seconds")):
            key = name.partition("{")[0]
            found[key] = found.get(key, 0) + float(value)
    return found
