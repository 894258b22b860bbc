# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test host itself goes without a trace, also when its first process was killed. Last, for then it is gone."""

from __future__ import annotations

import os
import pathlib
import signal

from _osism import wait
from ansible_collections.scs.observer.plugins.module_utils import _lab_machine as lab
from osism_host import machine


def test_the_host_is_what_it_is_said_to_be(host: machine.Host) -> None:
    manager = host.manager
    assert manager.sh("cat /proc/1/comm; systemctl is-active docker.service ssh.service").split() == ["systemd", "active", "active"]
    assert manager.sh("docker info --format '{{.Driver}} {{.CgroupVersion}}'").split() == ["overlay2", "2"]
    modes = manager.sh("cd /etc/kolla/prometheus-server; stat --format '%n %a %U' . config.json prometheus.yml web.yml").split("\n")
    assert modes[:4] == [". 770 root", "config.json 660 root", "prometheus.yml 660 root", "web.yml 600 root"]
    assert manager.sh("curl --silent --output /dev/null --write-out '%{http_code}' http://127.0.0.1:9091/-/ready || true") == "000"
    assert manager.sh(f"curl --silent --output /dev/null --write-out '%{{http_code}}' http://{manager.address}:9091/-/ready") == "401"


def test_nothing_is_left_of_a_host_that_was_killed(host: machine.Host) -> None:
    machines = list(host.machines.values())
    for each in machines:
        os.kill(each.pid, signal.SIGKILL)
        wait(lambda each=each: each.pid is None, 20, "the machine does not end")
    host.down()
    assert not host.root.exists()
    assert str(host.root) not in pathlib.Path("/proc/mounts").read_text()
    assert not {each.index for each in machines} & lab._lab_links().keys()
    assert not [path for each in machines for path in lab.CGROUP_ROOT.glob(f"*/{each.cgroup}")]
