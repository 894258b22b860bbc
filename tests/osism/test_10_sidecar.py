# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidecar beside kolla's Prometheus 2: from a fresh host to a Query that sees it, and what must not harm it then. One host, so in this order."""

from __future__ import annotations

import pathlib
import time

from _osism import Sidecar, wait
from ansible_collections.scs.observer.plugins.module_utils._lab_pki import Authority

CONFIGURATION = "environments/kolla/configuration.yml"
OVERLAY = "/opt/configuration/environments/kolla/files/overlays/prometheus/prometheus.yml.d/60-scs-observer.yml"


def test_check_mode_on_a_fresh_host_predicts_and_touches_nothing(sidecar: Sidecar) -> None:
    before = sidecar.state()
    run = sidecar.works("--check", "--diff")
    assert run.changed > 3, run.output[-3000:]
    assert "60-scs-observer.yml" in run.output
    assert sidecar.state() == before


def test_preflight_alone_changes_nothing(sidecar: Sidecar) -> None:
    before = sidecar.state()
    assert sidecar.works("--tags", "preflight").changed == 0
    assert sidecar.state() == before


def test_a_wrong_password_is_refused_on_a_fresh_host(sidecar: Sidecar) -> None:
    run = sidecar.refused(prometheus_password="not-it-at-all", says=r"refuses the user .*admin.*401")
    assert "not-it-at-all" not in run.output
    assert sidecar.container() is None


def test_no_external_labels_are_refused_where_the_role_may_not_write_them(sidecar: Sidecar) -> None:
    text = sidecar.host.manager.sh(f"cat /opt/configuration/{CONFIGURATION}")
    with sidecar.edited(CONFIGURATION, text.replace("prometheus_external_labels:\n  infrastructure: testbed\n", "")):
        sidecar.host.apply_prometheus()
        sidecar.refused(manage_configuration=False, says="no external label infrastructure=testbed")
    sidecar.host.apply_prometheus()


def test_a_fresh_run_starts_a_sidecar(sidecar: Sidecar, record_property) -> None:
    begin = time.monotonic()
    run = sidecar.works()
    record_property("first_run", time.monotonic() - begin)
    assert run.changed > 3
    container = sidecar.container()
    assert container["State"]["Running"]
    assert container["Config"]["User"] == "42472:42472"
    assert container["HostConfig"]["NetworkMode"] == "host"
    # a query-only sidecar needs no volume, and one that it held would break kolla's upgrade
    assert [mount for mount in container["Mounts"] if mount["Type"] == "volume"] == []
    # what it may read is in no list of processes and in no description of the container
    assert sidecar.host.manager.sh("ps axww -o args").count("basic_auth") == 0
    described = sidecar.host.manager.sh("docker inspect thanos_sidecar")
    assert "http-client-file" in described and "password" not in described.replace("prometheus_password", "")


def test_files_are_as_osism_lays_them_out_and_secrets_are_the_sidecars_only(sidecar: Sidecar) -> None:
    listed = sidecar.host.manager.sh("find /opt/thanos_sidecar -printf '%P %m %u\\n'")
    files = {path: (mode, owner) for path, mode, owner in (line.split(" ") for line in listed.splitlines())}
    assert files["docker-compose.yml"] == ("640", "dragon")
    assert files["configuration/prometheus-http-client.yml"] == ("400", "42472")
    assert files["configuration/tls/tls.key"] == ("400", "42472")
    assert sidecar.host.manager.sh(
        "systemctl is-active docker-compose@thanos_sidecar.service; systemctl is-enabled docker-compose@thanos_sidecar.service"
    ).split() == [
        "active",
        "enabled",
    ]


def test_query_sees_the_infrastructures_series_by_mutual_tls(sidecar: Sidecar) -> None:
    with sidecar.query() as query:
        [store] = query.wait_for_stores()
        assert {"infrastructure": "testbed"} in store["labelSets"]
        found = query.wait_for('up{infrastructure="testbed"}')
        assert {series["job"] for series in found} >= {"prometheus"}


def test_a_client_of_another_authority_sees_nothing(sidecar: Sidecar) -> None:
    """Nor does one with a certificate of the infrastructures' own authority, so that no infrastructure reads another."""
    for authority in (Authority.create("another"), sidecar.infrastructures):
        with sidecar.query(sidecar.client(authority)) as query:
            wait(lambda query=query: query.get("/api/v1/stores") is not None, 30, "Query does not answer")
            time.sleep(6)
            assert query.stores() == []


def test_a_second_run_changes_nothing(sidecar: Sidecar, record_property) -> None:
    before = sidecar.state()
    begin = time.monotonic()
    run = sidecar.works()
    record_property("second_run", time.monotonic() - begin)
    assert run.changed == 0, run.output[-3000:]
    assert sidecar.state() == before
    assert sidecar.works("--check", "--diff").changed == 0


def test_git_reset_hard_leaves_what_the_role_has_written(sidecar: Sidecar) -> None:
    container = sidecar.container()["Id"]
    sidecar.host.osism("apply", "configuration")
    assert sidecar.host.manager.run("test", "-e", OVERLAY, check=False).returncode == 0
    sidecar.host.apply_prometheus()
    assert sidecar.works().changed == 0
    assert sidecar.container()["Id"] == container


def test_it_survives_a_restart_of_prometheus(sidecar: Sidecar) -> None:
    sidecar.host.manager.sh("systemctl restart kolla-prometheus_server-container.service")
    sidecar.host.wait_for_prometheus()
    with sidecar.query() as query:
        query.wait_for('up{infrastructure="testbed"}')


def test_a_wrong_password_leaves_the_sidecar_that_runs(sidecar: Sidecar) -> None:
    sidecar.refused(prometheus_password="not-it-at-all", says=r"refuses the user .*admin.*401")
    assert sidecar.container()["State"]["Running"]


def test_a_wrong_url_leaves_the_sidecar_that_runs(sidecar: Sidecar) -> None:
    sidecar.refused(prometheus_url="http://10.200.0.1:9", says="does not answer")


def test_a_certificate_of_another_pair_leaves_the_sidecar_that_runs(sidecar: Sidecar) -> None:
    other = sidecar.infrastructures.issue("other", dns_names=["other.infrastructure"])
    sidecar.refused(grpc_private_key=other.key_pem.decode(), says="grpc_private_key")
    sidecar.refused(grpc_certificate=other.certificate_pem.decode(), grpc_private_key=other.key_pem.decode(), says="not for testbed.infrastructure")
    sidecar.refused(grpc_client_ca=sidecar.infrastructures.certificate_pem.decode(), says="grpc_client_ca has signed")


def test_an_image_that_can_not_be_had_leaves_the_sidecar_that_runs(sidecar: Sidecar) -> None:
    """No registry is reachable from the test host: the image that is there suffices for everything above, another one is refused."""
    sidecar.refused(image="quay.io/thanos/thanos:v0.99.0", says="can ?not be pulled")
    assert sidecar.container()["State"]["Running"]


def test_the_sidecar_starts_again_without_a_registry(sidecar: Sidecar) -> None:
    sidecar.host.manager.sh("systemctl restart docker-compose@thanos_sidecar.service")
    wait(lambda: (sidecar.container() or {"State": {}})["State"].get("Running"), 60, "the sidecar does not run again")
    assert sidecar.works().changed == 0


def test_what_an_interrupted_run_left_is_finished_by_the_next(sidecar: Sidecar) -> None:
    sidecar.host.manager.sh("systemctl stop docker-compose@thanos_sidecar.service; docker rm --force thanos_sidecar; rm /opt/thanos_sidecar/docker-compose.yml")
    assert sidecar.works().changed > 0
    assert sidecar.container()["State"]["Running"]


def test_a_new_certificate_is_used(sidecar: Sidecar) -> None:
    sidecar.server = sidecar.infrastructures.issue("testbed", dns_names=["testbed.infrastructure"])
    assert sidecar.works().changed > 0
    with sidecar.query() as query:
        query.wait_for_stores()


def test_vaulted_secrets_are_read_and_not_shown(sidecar: Sidecar, tmp_path: pathlib.Path) -> None:
    """The manager's secrets.yml encrypted as deployments have it; the operator's machine reads the same file."""
    manager = sidecar.host.manager
    secrets = "/opt/configuration/environments/kolla/secrets.yml"
    manager.write("/opt/configuration/environments/.vault_pass", "of-the-vault\n", mode=0o600, owner=45000)
    try:
        manager.sh(f"sudo -u dragon -H ansible-vault encrypt --vault-password-file /opt/configuration/environments/.vault_pass {secrets}")
        encrypted = manager.sh(f"cat {secrets}")
        assert encrypted.startswith("$ANSIBLE_VAULT")
        sidecar.host.apply_prometheus()
        (tmp_path / "secrets.yml").write_text(encrypted)
        (tmp_path / "vault").write_text("of-the-vault\n")
        run = sidecar.play("-e", f"@{tmp_path}/secrets.yml", "--vault-password-file", str(tmp_path / "vault"), "--diff", "-v", without=["prometheus_password"])
        assert run.code == 0, run.output[-4000:]
        assert run.changed == 0
        assert "of-the-vault" not in run.output
    finally:
        manager.sh("cd /opt/configuration; sudo -u dragon git checkout --quiet environments/kolla/secrets.yml; rm environments/.vault_pass")


def test_removal_takes_everything_away(sidecar: Sidecar) -> None:
    run = sidecar.works(state="absent")
    assert run.changed > 3
    left = sidecar.state()
    assert "thanos_sidecar" not in left["files"] and "scs-observer" not in left["files"] and "docker-compose@" not in left["files"]
    assert "thanos_sidecar" not in left["containers"]
    assert "prometheus_v2" in left["volumes"]
    assert sidecar.host.manager.sh("cd /opt/configuration; sudo -u dragon git status --short") == ""
    again = sidecar.works(state="absent")
    assert again.changed == 0
    # the deployment's own label stays
    assert "infrastructure: testbed" in sidecar.host.manager.sh("cat /etc/kolla/prometheus-server/prometheus.yml")
