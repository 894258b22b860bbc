# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input is refused by a real run: with one clear line that names the item and the remedy, and before anything is changed."""

from __future__ import annotations

import base64
import contextlib
import json
import pathlib
import re
import socket
import time
import typing as t

import pytest
import yaml

OBSERVER, ALPHA, BETA = "test-observer", "test-alpha", "test-beta"
GUEST = {"access": "end-to-end-guest", "secret": "end-to-end-guest-secret", "role": "user"}

Everything = dict[str, dict[str, str]]


@pytest.fixture
def everything(lab: t.Any, kaas: t.Any) -> t.Callable[[], Everything]:
    """All objects that the playbooks manage, by cluster, with their versions."""

    def read() -> Everything:
        found = {cluster: lab.snapshot(cluster, "observer-agent", "observer-agent-node") for cluster in (ALPHA, BETA)}
        return found | {OBSERVER: lab.snapshot(OBSERVER, "observer")}

    return read


@pytest.fixture
def refused(lab: t.Any, everything: t.Callable[[], Everything]) -> t.Callable[..., str]:
    """Runs a playbook that has to fail; gives back the last line that the user reads."""

    def run(playbook: str, *flags: str, secrets: t.Sequence[str] = (), **variables: t.Any) -> str:
        before = everything()
        done = lab.playbook(playbook, *flags, variables=variables, check=False)
        assert done.code != 0, f"{playbook} took what it should refuse: {variables}"
        changes = differences(before, everything())
        assert not changes, f"{playbook} changed something before it failed: {changes}"
        assert done.failures, done.output[-2000:]
        message = str(done.failures[-1])
        assert bare(message) in bare(done.output), f"the user does not see: {message}"
        assert "\n" not in message.strip(), f"one line is promised: {message}"
        assert "Traceback" not in done.output
        assert "no_log" not in message
        for secret in secrets:
            assert secret not in done.output, "a secret is shown"
        return message

    return run


def differences(before: Everything, after: Everything) -> list[str]:
    return [
        f"{cluster}: {title}"
        for cluster in before
        for title in sorted(before[cluster].keys() | after[cluster].keys())
        if before[cluster].get(title) != after[cluster].get(title)
    ]


def bare(text: str) -> str:
    """Without what YAML adds to a long line: breaks and doubled quotes."""
    return re.sub(r"[\s'\"\\]+", "", text)


def has(message: str, *words: str) -> None:
    missing = [word for word in words if word not in message]
    assert not missing, f"the message does not say {missing}: {message}"


@pytest.mark.parametrize(("key", "word"), [("access_key", "Check access_key"), ("secret_key", "Check secret_key")])
def test_wrong_s3_keys(lab: t.Any, refused: t.Callable[..., str], key: str, word: str) -> None:
    has(refused("observer", secrets=["not-the-right-key"], **{f"observer_s3_{key}": "not-the-right-key"}), "https://10.200.0.10:7070", word)


@pytest.fixture
def readonly_bucket(lab: t.Any) -> t.Iterator[str]:
    """A bucket of which a guest may list and get, but not put; the bucket is gone afterwards, and so is the guest."""
    root = pathlib.Path("/var/lib/scs-observer-lab/s3")
    bucket = f"{lab.bucket}-readonly"
    accounts = root / "accounts" / "users.json"
    before = accounts.read_text() if accounts.exists() else None
    known = json.loads(before) if before else {"accessAccounts": {}}
    known["accessAccounts"][GUEST["access"]] = GUEST
    accounts.write_text(json.dumps(known))
    import botocore.session

    keys = lab.s3_keys
    s3 = botocore.session.Session().create_client(
        "s3",
        "us-east-1",
        endpoint_url="https://10.200.0.10:7070",
        verify=str(root / "pki" / "ca.crt"),
        aws_access_key_id=keys["access_key"],
        aws_secret_access_key=keys["secret_key"],
    )
    with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou, s3.exceptions.BucketAlreadyExists):
        s3.create_bucket(Bucket=bucket)
    statements = [
        {"Effect": "Allow", "Principal": {"AWS": [GUEST["access"]]}, "Action": [action], "Resource": f"arn:aws:s3:::{bucket}{suffix}"}
        for action, suffix in (("s3:ListBucket", ""), ("s3:GetObject", "/*"))
    ]
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    try:
        yield bucket
    finally:
        s3.delete_bucket(Bucket=bucket)
        if before is None:
            accounts.unlink()
        else:
            accounts.write_text(before)


def test_bucket_that_is_not_writable(lab: t.Any, refused: t.Callable[..., str], readonly_bucket: str) -> None:
    keys = {"observer_s3_access_key": GUEST["access"], "observer_s3_secret_key": GUEST["secret"]}
    message = refused("observer", secrets=[GUEST["secret"]], observer_s3_bucket=readonly_bucket, **keys)
    has(message, f"'{readonly_bucket}'", "not writable", "s3:PutObject")


def test_id_that_is_no_label(refused: t.Callable[..., str]) -> None:
    has(refused("kaas_onboard", "--limit", ALPHA, kaas_agent_cluster="Test_Alpha"), "Test_Alpha", "RFC 1123", "at most 63")


def test_one_id_twice(refused: t.Callable[..., str]) -> None:
    has(refused("kaas_onboard", kaas_agent_cluster=ALPHA), "more than one", ALPHA, "kaas_agent_cluster")


def test_replication_factor_above_the_replicas(refused: t.Callable[..., str]) -> None:
    message = refused("observer", observer_receive_replication_factor=5)
    has(message, "observer_receive_replication_factor is 5", "3 receives", "raise observer_replicas.thanos_receive")


def kubeconfig_with(lab: t.Any, cluster: str, folder: pathlib.Path, *, port: int | None = None, user: dict[str, str] | None = None) -> str:
    content = yaml.safe_load(pathlib.Path(lab.kubeconfig(cluster)).read_text())
    if port:
        content["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    if user:
        content["users"][0]["user"] = user
    path = folder / f"{cluster}.kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(("playbook", "variable", "cluster"), [("observer", "observer_kubeconfig", OBSERVER), ("kaas_onboard", "kaas_agent_kubeconfig", ALPHA)])
def test_api_server_that_can_not_be_reached(
    lab: t.Any, refused: t.Callable[..., str], tmp_path: pathlib.Path, playbook: str, variable: str, cluster: str
) -> None:
    path = kubeconfig_with(lab, cluster, tmp_path, port=closed_port())
    flags = ["--limit", ALPHA] if playbook == "kaas_onboard" else []
    begin = time.monotonic()
    message = refused(playbook, *flags, **{variable: path})
    has(message, "127.0.0.1", "refused", "Check that")
    assert time.monotonic() - begin < 60, "it took too long to say so"


@pytest.mark.parametrize(("playbook", "variable", "cluster"), [("observer", "observer_kubeconfig", OBSERVER), ("kaas_onboard", "kaas_agent_kubeconfig", ALPHA)])
def test_kubeconfig_without_rights(lab: t.Any, refused: t.Callable[..., str], tmp_path: pathlib.Path, playbook: str, variable: str, cluster: str) -> None:
    token = lab.kubectl(cluster, "create", "token", "default", "-n", "default").strip()
    path = kubeconfig_with(lab, cluster, tmp_path, user={"token": token})
    flags = ["--limit", ALPHA] if playbook == "kaas_onboard" else []
    has(refused(playbook, *flags, secrets=[token], **{variable: path}), "forbidden", "secrets", "system:serviceaccount:default:default", "right")


def test_receivers_that_amtool_rejects(refused: t.Callable[..., str]) -> None:
    receivers = [{"name": "chat", "webhook_configs": [{"url": "https://chat.example.com/secret-token", "max_alert": 3}]}]
    has(refused("observer", secrets=["secret-token"], observer_alertmanager_receivers=receivers), "amtool", "observer_alertmanager_receivers", "max_alert")


def test_authority_without_its_key(lab: t.Any, refused: t.Callable[..., str]) -> None:
    certificate = base64.b64decode(lab.get(OBSERVER, "secret", "agents-ca", "-n", "observer")["data"]["tls.crt"]).decode()
    message = refused("observer", observer_agents_ca_certificate=certificate)
    has(message, "agents-ca", "observer_agents_ca_", "private key")
