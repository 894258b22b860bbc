# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import ssl
import typing as t
from pathlib import Path

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _lab_cluster as lab_cluster
from ansible_collections.scs.observer.plugins.module_utils import _lab_machine as lab_machine
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from cryptography import x509


@pytest.fixture(autouse=True)
def no_other_labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_machine, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr(lab_cluster, "living_owners", dict)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def spec(tmp_path: Path) -> lab_cluster.Spec:
    archive = tmp_path / "image.tar"
    archive.write_text("image")
    return lab_cluster.Spec("one", tmp_path / "programs", (archive,))


@pytest.mark.parametrize("name", ["a", "0", "kaas-alpha", "a" * 31])
def test_names_that_are_right(name: str) -> None:
    lab_cluster.check_name(name)


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a.b", "a" * 32, "ä", "a\n", "../x"])
def test_names_that_are_wrong(name: str) -> None:
    with pytest.raises(ObserverError, match="is not valid: use 1 to 31"):
        lab_cluster.check_name(name)


def test_the_s3_servers_name_is_taken() -> None:
    with pytest.raises(ObserverError, match="is taken by the lab's own machine"):
        lab_cluster.check_name("s3")


def test_addresses_of_a_cluster(root: Path) -> None:
    facts = lab_cluster.Cluster(root, "one", 7).facts()
    assert facts["address"] == "10.200.0.17"
    assert facts["api_url"] == "https://10.200.0.17:6443"
    assert (facts["service_network"], facts["dns_address"], facts["pod_network"]) == ("10.107.0.0/16", "10.107.0.10", "172.20.7.0/24")
    assert facts["pid"] is None


def test_the_lowest_free_index_is_taken(root: Path) -> None:
    assert lab_cluster.allocate(root, "a", None).machine.index == 1
    assert lab_cluster.allocate(root, "c", 3).machine.index == 3
    assert lab_cluster.allocate(root, "b", None).machine.index == 2
    assert lab_cluster.allocate(root, "d", None).machine.index == 4


def test_an_index_of_ones_own_may_be_taken_again(root: Path) -> None:
    lab_cluster.allocate(root, "a", 5)
    assert lab_cluster.allocate(root, "a", 5).machine.index == 5


def test_an_index_that_another_has_is_refused(root: Path) -> None:
    lab_cluster.allocate(root, "a", 5)
    with pytest.raises(ObserverError, match="lab cluster b asks for index 5, which a has; choose another, or leave it out"):
        lab_cluster.allocate(root, "b", 5)
    assert not (root / "b").exists()


def test_an_index_that_runs_below_another_root_is_not_free(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_cluster, "living_owners", lambda: {1: Path("/elsewhere/x")})
    assert lab_cluster.allocate(root, "a", None).machine.index == 2
    with pytest.raises(ObserverError, match="index 1, which /elsewhere/x has"):
        lab_cluster.allocate(root, "b", 1)


@pytest.mark.parametrize("index", [-1, 0, 90])
def test_an_index_out_of_range_is_refused(root: Path, index: int) -> None:
    with pytest.raises(ObserverError, match=f"index {index} is not in 1 to 89"):
        lab_cluster.choose_index(root, "a", index)


def test_no_address_is_left(root: Path) -> None:
    for index in lab_cluster.INDEXES:
        lab_cluster.allocate(root, f"c{index}", index)
    with pytest.raises(ObserverError, match="all 89 addresses of the lab are taken; remove a cluster first"):
        lab_cluster.allocate(root, "one-more", None)


def ready(cluster: lab_cluster.Cluster, spec: lab_cluster.Spec, monkeypatch: pytest.MonkeyPatch, pid: int | None = 4711) -> None:
    lab_cluster._write_ready(cluster, spec)
    monkeypatch.setattr(lab_machine.Machine, "pid", pid)


def test_state_absent(root: Path, spec: lab_cluster.Spec) -> None:
    assert lab_cluster.find(root, "one") is None
    assert lab_cluster.state_of(None, spec) == "absent"


def test_a_half_made_cluster_is_stale(root: Path, spec: lab_cluster.Spec) -> None:
    cluster = lab_cluster.allocate(root, "one", 1)
    assert lab_cluster.state_of(cluster, spec) == "stale"
    (cluster.state / lab_cluster.READY).write_text('{"fingerp')
    assert lab_cluster.state_of(cluster, spec) == "stale"


def test_a_cluster_is_present_while_its_process_lives(root: Path, spec: lab_cluster.Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = lab_cluster.allocate(root, "one", 1)
    ready(cluster, spec, monkeypatch)
    assert lab_cluster.state_of(cluster, spec) == "present"
    assert lab_cluster.state_of(cluster, spec, 1) == "present"
    assert lab_cluster.state_of(cluster, spec, 2) == "stale"
    monkeypatch.setattr(lab_machine.Machine, "pid", None)
    assert lab_cluster.state_of(cluster, spec) == "stale"


def test_other_programs_make_a_cluster_stale_and_other_images_dont(root: Path, spec: lab_cluster.Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = lab_cluster.allocate(root, "one", 1)
    ready(cluster, spec, monkeypatch)
    other = lab_cluster.Spec("one", tmp_path / "other", spec.images)
    assert other.fingerprint() != spec.fingerprint()
    assert lab_cluster.state_of(cluster, other) == "stale"
    more = lab_cluster.Spec("one", spec.programs, spec.images, (tmp_path / "more.tar",))
    assert more.fingerprint() == spec.fingerprint()
    assert lab_cluster.state_of(cluster, more) == "present"
    assert lab_cluster.missing_images(cluster, more) == [tmp_path / "more.tar"]


def test_an_archive_that_was_written_again_is_imported_again(root: Path, spec: lab_cluster.Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = lab_cluster.allocate(root, "one", 1)
    ready(cluster, spec, monkeypatch)
    assert lab_cluster.missing_images(cluster, spec) == []
    spec.images[0].write_text("another image")
    assert lab_cluster.missing_images(cluster, spec) == [spec.images[0]]


@pytest.fixture
def configured(root: Path, spec: lab_cluster.Spec) -> lab_cluster.Cluster:
    cluster = lab_cluster.allocate(root, "one", 7)
    for folder in ("pki", "cni", "log"):
        (cluster.state / folder).mkdir()
    lab_cluster._write_pki(cluster)
    lab_cluster._write_configuration(cluster, spec)
    return cluster


def test_the_kubeconfig_names_the_server_and_its_authority(configured: lab_cluster.Cluster) -> None:
    content: dict[str, t.Any] = json.loads(configured.kubeconfig.read_text())
    assert configured.kubeconfig.stat().st_mode & 0o777 == 0o600
    [cluster], [user] = content["clusters"], content["users"]
    assert cluster["cluster"]["server"] == "https://10.200.0.17:6443"
    authority = base64.b64decode(cluster["cluster"]["certificate-authority-data"]).decode()
    assert authority == (configured.state / "pki" / "ca.crt").read_text()
    certificate = x509.load_pem_x509_certificate(base64.b64decode(user["user"]["client-certificate-data"]))
    assert certificate.subject.rfc4514_string() == "CN=kubernetes-admin,O=system:masters"
    assert content["current-context"] == content["contexts"][0]["name"]
    # OpenSSL takes the pair only if the key is the certificate's.
    folder = configured.state / "pki"
    ssl.create_default_context(cadata=authority).load_cert_chain(folder / "admin.crt", folder / "admin.key")


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("kubelet", "CN=system:node:one,O=system:nodes"),
        ("kube-proxy", "CN=system:kube-proxy"),
        ("kube-scheduler", "CN=system:kube-scheduler"),
        ("kube-controller-manager", "CN=system:kube-controller-manager"),
    ],
)
def test_each_component_is_a_user_of_its_own(configured: lab_cluster.Cluster, name: str, subject: str) -> None:
    [user] = json.loads((configured.state / "pki" / f"{name}.kubeconfig").read_text())["users"]
    certificate = x509.load_pem_x509_certificate(base64.b64decode(user["user"]["client-certificate-data"]))
    assert certificate.subject.rfc4514_string() == subject


def test_the_api_servers_certificate_has_all_its_names(configured: lab_cluster.Cluster) -> None:
    certificate = x509.load_pem_x509_certificate((configured.state / "pki" / "apiserver.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(address) for address in names.get_values_for_type(x509.IPAddress)} == {"10.200.0.17", "127.0.0.1", "10.107.0.1"}
    assert {"kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost", "one"} <= set(names.get_values_for_type(x509.DNSName))


def test_nothing_is_anonymous_or_unverified(configured: lab_cluster.Cluster, spec: lab_cluster.Spec) -> None:
    kubelet = json.loads((configured.state / "kubelet.yaml").read_text())
    assert kubelet["authentication"]["anonymous"] == {"enabled": False}
    assert kubelet["authorization"] == {"mode": "Webhook"}
    flags = [word for program in lab_cluster._programs(configured, spec) for word in program.command]
    assert not [flag for flag in flags if "insecure" in flag or "skip" in flag]
    assert "--authorization-mode=Node,RBAC" in flags


def test_all_paths_of_a_cluster_are_its_own(configured: lab_cluster.Cluster, spec: lab_cluster.Spec) -> None:
    kubelet = json.loads((configured.state / "kubelet.yaml").read_text())
    assert kubelet["podLogsDir"].startswith(str(configured.state))
    network = json.loads((configured.state / "cni" / "10-lab.conflist").read_text())
    assert network["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "172.20.7.0/24"}]]
    assert f'root = "{configured.state}/containerd"' in (configured.state / "containerd.toml").read_text()


@pytest.mark.parametrize("check_mode", [False, True])
def test_an_archive_that_is_not_there_is_named(tmp_path: Path, check_mode: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_cluster, "check_machine", lambda *_words: None)
    spec = lab_cluster.Spec("one", tmp_path, (), (tmp_path / "grafana.tar",))
    with pytest.raises(ObserverError, match=r"there is no image archive .*grafana.tar; make it with 'docker save'"):
        lab_cluster.ensure_present(tmp_path, spec, None, 1, check_mode)


def test_the_last_line_of_a_log_is_one_line() -> None:
    assert lab_cluster._last_line("a\nb\n\n") == "b"
    assert lab_cluster._last_line("") == "it says nothing"
