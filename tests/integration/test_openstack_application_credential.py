# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook openstack_application_credential against the double of the OpenStack APIs: rights asked for, the file, the second run."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time
import typing as t
import urllib.request

import openstack
import pytest
import yaml
from openstack.exceptions import SDKException
from openstack_double.running import PASSWORD, Cloud, double

TOP = pathlib.Path(__file__).parents[2]
VARIABLE = "test_bed_openstack_cloud"
# Its source is no module that Go's proxy gives, so "make test" can not build it: the path of a built one turns the test with it on.
EXPORTER = os.environ.get("OPENSTACK_EXPORTER", "")


class Site:
    def __init__(self, cloud: Cloud, folder: pathlib.Path) -> None:
        self.cloud, self.file = cloud, folder / "cloud.yml"

    def play(self, *words: str, **more: t.Any) -> tuple[int, str]:
        self.cloud.forget()
        variables = json.dumps({"infrastructure": "test-bed", "openstack_credential_file": str(self.file), **more})
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        environment = {**kept, **self.cloud.environment, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_STDOUT_CALLBACK": "default"}
        playbook = TOP / "playbooks" / "openstack_application_credential.yml"
        command = [sys.executable, "-m", "ansible", "playbook", str(playbook), "-vvv", "-e", variables, *words]
        done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, timeout=300, check=False)
        output = done.stdout + done.stderr
        assert PASSWORD not in output
        if self.file.exists():
            assert self.held["application_credential_secret"] not in output
        return done.returncode, " ".join(output.split())

    @property
    def held(self) -> dict[str, str]:
        return yaml.safe_load(self.file.read_text())[VARIABLE]

    def connection(self) -> openstack.connection.Connection:
        held = self.held
        names = ("auth_url", "application_credential_id", "application_credential_secret")
        auth = {name: held[name] for name in names}
        return openstack.connect(load_envvars=False, load_yaml_config=False, auth_type="v3applicationcredential", auth=auth, region_name=held["region_name"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Site]:
    with double() as cloud:
        yield Site(cloud, tmp_path_factory.mktemp("credential"))


def test_bad_input_is_told(site: Site) -> None:
    code, output = site.play(openstack_credential_services=["nova"])
    assert code == 2 and "openstack_credential_services: nova is none of" in output and site.cloud.writes() == []


def test_role_that_the_user_has_not_is_told(site: Site) -> None:
    code, output = site.play(openstack_credential_roles=["auditor"])
    assert code == 2 and "Could not find role assignment with role: auditor" in output and "has to have the roles auditor" in output
    assert not site.file.exists() and site.cloud.state("credentials") == []


def test_check_mode_makes_nothing(site: Site) -> None:
    code, output = site.play("--check")
    assert code == 0 and "Would make the application credential" in output
    assert site.cloud.writes() == [] and not site.file.exists()


def test_credential_may_read_and_nothing_else(site: Site) -> None:
    code, output = site.play()
    assert code == 0, output[-3000:]
    (credential,) = site.cloud.state("credentials")
    assert credential["name"] == "scs-observer-test-bed" and credential["unrestricted"] is False
    assert [role["name"] for role in credential["roles"]] == ["reader"]
    assert {rule["method"] for rule in credential["access_rules"]} == {"GET"}
    assert {rule["service"] for rule in credential["access_rules"]} == {
        "network",
        "compute",
        "image",
        "volumev3",
        "block-storage",
        "volume",
        "identity",
        "placement",
    }
    assert site.file.stat().st_mode & 0o777 == 0o600
    connection = site.connection()
    assert [image.name for image in connection.image.images()] and list(connection.compute.servers()) == []
    with pytest.raises(SDKException):
        connection.network.create_network(name="x")
    with pytest.raises(SDKException):
        connection.identity.create_application_credential(user=connection.current_user_id, name="another")
    assert site.cloud.names()["networks"] == []


def test_second_run_changes_nothing(site: Site) -> None:
    before = site.file.read_text()
    code, output = site.play()
    assert code == 0 and "changed=0" in output and site.cloud.writes() == [] and site.file.read_text() == before


def test_exporter_reads_the_cloud_with_it(site: Site, tmp_path: pathlib.Path) -> None:
    """With the real exporter where there is one; without it the rights are those of its requests, as its source has them."""
    if not EXPORTER:
        connection = site.connection()
        for service, paths in REQUESTS.items():
            for path in paths:
                assert getattr(connection, service).get(path).status_code == 200, path
        return
    clouds = tmp_path / "clouds.yaml"
    auth = {name: value for name, value in site.held.items() if name != "region_name"}
    clouds.write_text(
        yaml.safe_dump({"clouds": {"test-bed": {"auth_type": "v3applicationcredential", "auth": auth, "verify": True, "region_name": "RegionOne"}}})
    )
    others = ("object-store", "load-balancer", "container-infra", "dns", "baremetal", "gnocchi", "database", "orchestration")
    flags = ["--collect-metric-time", "--disable-cinder-agent-uuid", "--disable-slow-metrics", *(f"--disable-service.{name}" for name in others)]
    command = [EXPORTER, f"--os-client-config={clouds}", "--web.listen-address=127.0.0.1:19180", "--endpoint-type=public", *flags, "test-bed"]
    site.cloud.forget()
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
        try:
            text = ""
            deadline = time.monotonic() + 60
            while "openstack_nova_up" not in text and time.monotonic() < deadline:
                time.sleep(0.5)
                with contextlib.suppress(OSError):
                    text = urllib.request.urlopen("http://127.0.0.1:19180/metrics", timeout=60).read().decode()
        finally:
            process.terminate()
            process.wait(10)
    said = (tmp_path / "log").read_text()
    for name in ("nova", "neutron", "cinder", "glance", "identity", "placement"):
        assert f"openstack_{name}_up 1" in text, said[-4000:]
    assert "level=error" not in said, said[-4000:]
    for series in ("openstack_nova_agent_state{", "openstack_neutron_agent_state{", "openstack_cinder_agent_state{", "openstack_nova_vcpus_available{"):
        assert series in text
    asked = {line.split("?")[0] for line in site.cloud.log()}
    print("\n".join(sorted(asked)))
    print("\n".join(sorted({line.split("{")[0].split(" ")[0] for line in text.splitlines() if line.startswith("openstack_")})))


# what it asks for at each scrape (v1.7.0, without slow metrics)
REQUESTS = {
    "compute": [
        "/flavors/detail",
        "/os-availability-zone",
        "/os-security-groups",
        "/servers/detail",
        "/os-services",
        "/os-hypervisors/detail",
        "/os-aggregates",
    ],
    "network": ["/floatingips", "/networks", "/security-groups", "/subnets", "/ports", "/routers", "/agents", "/network-ip-availabilities", "/subnetpools"],
    "image": ["/images"],
    "identity": ["/domains", "/users", "/groups", "/projects", "/regions"],
    "placement": ["/resource_providers"],
    "block_storage": ["/os-services", "/volumes/detail", "/snapshots", "/scheduler-stats/get_pools"],
}


def test_credential_that_the_cloud_does_not_take_any_more_is_told(site: Site) -> None:
    (credential,) = site.cloud.state("credentials")
    before = site.file.read_text()
    site.file.write_text(before.replace(credential["id"], "0" * 32))
    code, output = site.play()
    assert code == 2 and "does not take the credential" in output and "openstack_credential_renew=true" in output and site.cloud.writes() == []
    site.file.write_text(before)


def test_lost_file_and_renewal(site: Site) -> None:
    first = site.held["application_credential_id"]
    site.file.unlink()
    code, output = site.play()
    assert code == 0, output[-3000:]
    second = site.held["application_credential_id"]
    # nobody has the lost one's secret
    assert [item["id"] for item in site.cloud.state("credentials")] == [second] and first != second
    code, output = site.play(openstack_credential_renew=True)
    assert code == 0 and f"The one before, {second}, goes on until you delete it" in output
    assert {item["id"] for item in site.cloud.state("credentials")} == {second, site.held["application_credential_id"]}


def test_absent_deletes_the_files_credential(site: Site) -> None:
    mine = site.held["application_credential_id"]
    code, output = site.play("-e", "openstack_credential_state=absent")
    assert code == 0, output[-3000:]
    assert mine not in {item["id"] for item in site.cloud.state("credentials")} and not site.file.exists()
    code, output = site.play("-e", "openstack_credential_state=absent")
    assert code == 0 and "changed=0" in output
