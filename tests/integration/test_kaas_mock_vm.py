# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook kaas_mock_vm against the double of the OpenStack APIs.

The double starts no machine. The play that works by SSH runs once, on this machine and in check mode; that an installation works shows
tests/end_to_end/test_66_kaas_mock_clusters.py. All other runs are limited to the controller.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import typing as t

import pytest
from openstack_double.running import PASSWORD, Cloud, double

TOP = pathlib.Path(__file__).parents[2]
FILES = pathlib.Path(__file__).parent / "files"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ0 somebody"
NAME = "kaas-mock"
KINDS = ("networks", "subnets", "routers", "security_groups", "floatingips", "servers", "keypairs")


class Site:
    def __init__(self, cloud: Cloud, folder: pathlib.Path) -> None:
        self.cloud, self.folder = cloud, folder
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text("{}")
        place = str(folder / "machine")
        host = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "ansible_become": False,
            # what the role reads
            "kaas_mock_service": "none",
            "kaas_mock_build": False,
            "kaas_mock_install_packages": False,
            "kaas_mock_prefix": f"{place}/opt",
            "kaas_mock_config_dir": f"{place}/etc",
            "kaas_mock_state_dir": f"{place}/state",
            "kaas_mock_observer_kubeconfig": str(kubeconfig),
            "kaas_mock_receive_url": "https://10.0.0.1:30291",
        }
        self.variables = {
            "kaas_mock_vm_public_key": PUBLIC_KEY,
            "kaas_mock_vm_ssh_from": ["192.0.2.0/24"],
            "kaas_mock_vm_api_from": ["192.0.2.0/24", "2001:db8::/32"],
            "kaas_mock_vm_known_hosts": str(folder / "known_hosts"),
            "kaas_mock_vm_host_variables": host,
        }

    def start(self, *words: str, playbook: pathlib.Path = TOP / "playbooks" / "kaas_mock_vm.yml", **more: t.Any) -> subprocess.Popen[str]:
        self.cloud.forget()
        variables = self.folder / "variables.json"
        variables.write_text(json.dumps({**self.variables, **more}))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        environment = {**kept, **self.cloud.environment, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_STDOUT_CALLBACK": "default", "HOME": str(self.folder)}
        command = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", str(playbook), "-e", f"@{variables}", *words]
        return subprocess.Popen(command, cwd=TOP, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)

    def play(self, *words: str, everywhere: bool = False, **more: t.Any) -> tuple[int, str]:
        process = self.start(*words, *([] if everywhere else ["--limit", "localhost"]), **more)
        try:
            output, _nothing = process.communicate(timeout=300)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        assert PASSWORD not in output
        return process.returncode, " ".join(output.split())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Site]:
    with double() as cloud:
        yield Site(cloud, tmp_path_factory.mktemp("kaas_mock_vm"))


def counts(cloud: Cloud) -> dict[str, int]:
    return {kind: len(items) for kind, items in cloud.names().items() if kind in KINDS}


ONE_OF_EACH = dict.fromkeys(KINDS, 1)
NOTHING = dict.fromkeys(KINDS, 0)

REFUSED: dict[str, tuple[dict[str, t.Any], tuple[str, ...]]] = {
    "name": ({"kaas_mock_vm_name": "Kaas_Mock"}, ("kaas_mock_vm_name", "Kaas_Mock")),
    "key": ({"kaas_mock_vm_public_key": "~/.ssh/id.pub"}, ("kaas_mock_vm_public_key", "Give its text")),
    "nobody": ({"kaas_mock_vm_ssh_from": []}, ("kaas_mock_vm_ssh_from is empty",)),
    "host-bits": ({"kaas_mock_vm_ssh_from": ["192.0.2.5/24"]}, ("192.0.2.5/24 has host bits set", "192.0.2.7/32")),
    "cloud": ({"kaas_mock_vm_cloud": "nowhere"}, ("The cloud nowhere can not be asked", "clouds.yaml")),
    "image": ({"kaas_mock_vm_image": "Fedora"}, ("kaas_mock_vm_image: the cloud has no usable image 'Fedora'", "Debian 12, Ubuntu 22.04, Ubuntu 24.04")),
    "flavor": ({"kaas_mock_vm_flavor": "huge"}, ("kaas_mock_vm_flavor: the cloud has no flavor 'huge'", "SCS-4V-16-50")),
    "diskless": ({"kaas_mock_vm_flavor": "SCS-4V-16"}, ("'SCS-4V-16' has no disk", "kaas_mock_vm_volume_size")),
    "outside": ({"kaas_mock_vm_external_network": "internet"}, ("the cloud has no external network 'internet'", "Name one of: public")),
    "foreign": ({"kaas_mock_vm_name": "others"}, ("did not make: network", "Choose another kaas_mock_vm_name")),
    "foreign-absent": ({"kaas_mock_vm_name": "others", "kaas_mock_vm_state": "absent"}, ("did not make: network", "Nothing was changed")),
}


@pytest.fixture(scope="module")
def said(site: Site) -> dict[str, str]:
    foreign = site.cloud.control("add", {"collection": "networks", "item": {"name": "others"}})
    cases = {case: given for case, (given, _words) in REFUSED.items()}
    playbook = FILES / "kaas_mock_vm_refused.yml"
    code, output = run_cases(site, playbook, cases)
    assert code == 0, output
    assert site.cloud.writes() == [], "something was changed before the refusal"
    site.cloud.request("DELETE", f"/_double/networks/{foreign['id']}")
    return {case: (site.folder / case).read_text() for case in REFUSED if (site.folder / case).exists()}


def run_cases(site: Site, playbook: pathlib.Path, cases: dict[str, t.Any]) -> tuple[int, str]:
    kept = site.variables
    # extra variables would win over those of the cases
    site.variables = {"kaas_mock_vm_known_hosts": kept["kaas_mock_vm_known_hosts"]}
    try:
        return site.play(playbook=playbook, cases=cases, folder=str(site.folder), public_key=PUBLIC_KEY)
    finally:
        site.variables = kept


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_gets_one_message_before_anything_is_made(said: dict[str, str], case: str) -> None:
    message = " ".join(said[case].split())
    assert all(word in message for word in REFUSED[case][1]), message


def test_check_mode_writes_nothing_and_says_what_it_would(site: Site) -> None:
    code, output = site.play("--check")
    assert code == 0, output
    assert site.cloud.writes() == [] and counts(site.cloud) == NOTHING
    assert "Would make for ''kaas-mock'': key pair, network, subnet, router, security group, port, floating IP, server." in output


def test_killed_run_leaves_what_the_next_one_finds(site: Site) -> None:
    process = site.start()
    deadline = time.monotonic() + 240
    while "POST /network/v2.0/networks" not in site.cloud.log():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    found = counts(site.cloud)
    assert found["networks"] == 1 and found["servers"] == 0


def test_quota_is_told_with_a_remedy(site: Site) -> None:
    site.cloud.control("quota", {"floatingips": 0})
    code, output = site.play()
    site.cloud.control("quota", {})
    assert code == 2
    assert "Floating IP of ''kaas-mock'' could not be made:" in output and "Quota exceeded for resources: [''floatingip'']" in output
    assert "ask for a larger quota; then run the playbook again" in output
    # the network of the killed run was found again
    assert counts(site.cloud) == {**ONE_OF_EACH, "floatingips": 0, "servers": 0}


def test_server_that_does_not_start_is_told(site: Site) -> None:
    site.cloud.control("settings", {"build_status": "ERROR"})
    code, output = site.play()
    site.cloud.control("settings", {"build_status": "ACTIVE"})
    assert code == 2 and "Server of ''kaas-mock'' could not be made:" in output and "Remove the cause" in output
    assert counts(site.cloud) == ONE_OF_EACH
    # somebody sees to it that it runs
    (server,) = site.cloud.state("servers")
    site.cloud.control("change", {"collection": "servers", "id": server["id"], "item": {"status": "ACTIVE"}})


def test_next_run_goes_on(site: Site) -> None:
    code, output = site.play()
    assert code == 0, output[-3000:]
    assert counts(site.cloud) == ONE_OF_EACH


def test_what_was_made_is_as_asked_for(site: Site) -> None:
    (group,) = [group for group in site.cloud.state("security_groups") if group["name"] == NAME]
    rules = [rule for rule in site.cloud.state("security_group_rules") if rule["security_group_id"] == group["id"]]
    inward = {(rule["protocol"], rule["port_range_min"], rule["port_range_max"], rule["remote_ip_prefix"]) for rule in rules if rule["direction"] == "ingress"}
    assert inward == {("tcp", 22, 22, "192.0.2.0/24"), ("tcp", 8080, 8080, "192.0.2.0/24"), ("tcp", 8080, 8080, "2001:db8::/32")}
    (port,) = [port for port in site.cloud.state("ports") if port["name"] == NAME]
    (floating,) = site.cloud.state("floatingips")
    (server,) = site.cloud.state("servers")
    assert floating["port_id"] == port["id"] and floating["status"] == "ACTIVE" and port["security_groups"] == [group["id"]]
    assert port["device_id"] == server["id"] and server["key_name"] == f"{NAME}-scs-observer-kaas-mock-vm"
    assert server["user_data"] is None


def test_second_run_changes_nothing(site: Site) -> None:
    code, output = site.play()
    assert code == 0, output[-3000:]
    assert site.cloud.writes() == []
    assert "changed=0" in output


def test_check_mode_sees_a_rule_that_somebody_added_and_reaches_the_server(site: Site) -> None:
    (group,) = [group for group in site.cloud.state("security_groups") if group["name"] == NAME]
    rule = {"direction": "ingress", "protocol": "tcp", "port_range_min": 1, "port_range_max": 65535, "remote_ip_prefix": "0.0.0.0/0"}
    site.cloud.control("add", {"collection": "security_group_rules", "item": {**rule, "security_group_id": group["id"]}})
    code, output = site.play("--check", everywhere=True)
    assert code == 0, output[-3000:]
    assert re.search(r"Security group\] \*+ changed: \[localhost\]", output) and site.cloud.writes() == []
    # the second play, with the role kaas_mock, ran on what add_host gave it
    assert re.search(rf"{NAME} : ok=\d+ changed=[1-9]", output) and not (site.folder / "machine").exists()


def test_absent_removes_all_of_it_in_order(site: Site) -> None:
    site.cloud.control("add", {"collection": "networks", "item": {"name": "somebody-elses"}})
    code, output = site.play("-e", "kaas_mock_vm_state=absent")
    assert code == 0, output[-3000:]
    assert site.cloud.names()["networks"] == ["somebody-elses"]
    assert counts(site.cloud) == {**NOTHING, "networks": 1}
    deleted = [line.split("/")[3] for line in site.cloud.writes() if line.startswith("DELETE ")]
    assert deleted == ["servers", "floatingips", "ports", "routers", "subnets", "networks", "security-groups", "os-keypairs"]


def test_absent_again_changes_nothing(site: Site) -> None:
    code, output = site.play("-e", "kaas_mock_vm_state=absent")
    assert code == 0 and "changed=0" in output and site.cloud.writes() == []
