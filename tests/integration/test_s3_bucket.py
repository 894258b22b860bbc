# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""s3_bucket against a real S3 server, versitygw over a folder, with TLS, on loopback."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
import os
import pathlib
import socket
import ssl
import subprocess
import threading
import time
import typing as t
import urllib.request

import botocore.session
import pytest
from _programs import find_program
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._lab_pki import Authority
from ansible_collections.scs.observer.plugins.module_utils._s3 import Storage, prove

ROOT = ("root-key", "root-secret-0123456789")
# no right but those that a bucket's policy gives
GUEST = ("guest-key", "guest-secret-0123456789")
CACHE = pathlib.Path(os.environ.get("SCS_OBSERVER_CACHE", pathlib.Path.home() / ".cache" / "scs-observer"))


@dataclasses.dataclass
class Server:
    endpoint: str
    data: pathlib.Path
    authority: Authority

    @property
    def ca_certificate(self) -> str:
        return self.authority.certificate_pem.decode()

    def storage(self, bucket: str, keys: tuple[str, str] = ROOT, **options: t.Any) -> Storage:
        return Storage(**{"endpoint": self.endpoint, "bucket": bucket, "ca_certificate": self.ca_certificate} | options, access_key=keys[0], secret_key=keys[1])

    def options(self, bucket: str, **options: t.Any) -> dict[str, t.Any]:
        return dataclasses.asdict(self.storage(bucket)) | options

    def allow(self, bucket: str, *actions: str) -> None:
        """Let the guest do just this in a bucket."""
        authority = self.data.parent / "ca.crt"
        s3 = botocore.session.Session().create_client(
            "s3", "us-east-1", endpoint_url=self.endpoint, verify=str(authority), **dict(zip(_KEY_NAMES, ROOT, strict=True))
        )
        resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
        # a statement for each action: the server refuses one that mixes the bucket's and the objects'
        statements = [
            {"Effect": "Allow", "Principal": {"AWS": [GUEST[0]]}, "Action": [action], "Resource": resources[0] if action == "s3:ListBucket" else resources[1]}
            for action in actions
        ]
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))

    def objects(self, bucket: str) -> list[str]:
        """Files as they lie on the disk, without the server's own."""
        root = self.data / bucket
        return [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and ".sgwtmp" not in path.parts]


_KEY_NAMES = ("aws_access_key_id", "aws_secret_access_key")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Server]:
    program = find_program("versitygw")
    folder = tmp_path_factory.mktemp("s3")
    (folder / "data").mkdir()
    (folder / "accounts").mkdir()
    guest = {"access": GUEST[0], "secret": GUEST[1], "role": "user"}
    (folder / "accounts" / "users.json").write_text(json.dumps({"accessAccounts": {GUEST[0]: guest}}))
    authority = Authority.create("test-s3")
    authority.write(folder, "ca")
    authority.issue("s3", ip_addresses=["127.0.0.1"]).write(folder, "server")
    endpoint = f"127.0.0.1:{free_port()}"
    command = [program, "--port", endpoint, "--cert", f"{folder}/server.crt", "--key", f"{folder}/server.key", "--iam-dir", f"{folder}/accounts"]
    environment = os.environ | dict(zip(("ROOT_ACCESS_KEY", "ROOT_SECRET_KEY"), ROOT, strict=True))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "posix", f"{folder}/data"], env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        context = ssl.create_default_context(cafile=f"{folder}/ca.crt")
        for _attempt in range(100):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"https://{endpoint}/-/healthy", context=context, timeout=2) as answer:
                if answer.status == 200:
                    break
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        else:
            pytest.fail((folder / "log").read_text())
        yield Server(f"https://{endpoint}", folder / "data", authority)
    finally:
        process.terminate()
        assert process.wait(20) == 0


Run = t.Callable[..., t.Any]


def test_check_then_made_then_unchanged(server: Server, run_playbook: Run) -> None:
    options = server.options("fresh", prefix="thanos/a")
    predicted = run_playbook("scs.observer.s3_bucket", options, "--check", "--diff", "-vvv")
    assert predicted.result["changed"], predicted.output
    assert (predicted.result["created"], predicted.result["proved"]) == (True, [])
    assert not (server.data / "fresh").exists()
    made = run_playbook("scs.observer.s3_bucket", options, "--diff", "-vvv")
    assert (made.result["changed"], made.result["created"], made.result["proved"]) == (True, True, ["put", "get", "list", "delete"])
    again = run_playbook("scs.observer.s3_bucket", options, "-vvv")
    assert (again.result["changed"], again.result["created"], again.result["proved"]) == (False, False, ["put", "get", "list", "delete"])
    looked = run_playbook("scs.observer.s3_bucket", options, "--check")
    assert (looked.result["changed"], looked.result["proved"]) == (False, ["list"])
    assert server.objects("fresh") == []
    for run in (predicted, made, again):
        assert ROOT[1] not in run.output + json.dumps(run.result)


def test_failure_is_one_line_without_the_secret(server: Server, run_playbook: Run) -> None:
    done = run_playbook("scs.observer.s3_bucket", server.options("fresh", secret_key="wrong-secret-value"), "-vvv")
    assert done.result["msg"] == f"The S3 server at {server.endpoint} knows the access key, but the signature does not fit. Check secret_key."
    assert "wrong-secret-value" not in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("check_mode", [True, False])
def test_wrong_keys(server: Server, check_mode: bool) -> None:
    with pytest.raises(ObserverError, match=r"does not know the access key. Check access_key"):
        prove(server.storage("observer", ("unknown", ROOT[1])), create=True, check_mode=check_mode)
    with pytest.raises(ObserverError, match=r"signature does not fit. Check secret_key"):
        prove(server.storage("observer", (ROOT[0], "unknown")), create=True, check_mode=check_mode)
    assert not (server.data / "observer").exists()


def test_missing_bucket(server: Server) -> None:
    with pytest.raises(ObserverError, match=r"bucket 'missing' at \S+ does not exist. Make it, or set create"):
        prove(server.storage("missing"), create=False, check_mode=False)
    assert not (server.data / "missing").exists()


def test_bucket_that_may_not_be_made(server: Server) -> None:
    with pytest.raises(ObserverError, match=r"may not make the bucket. Give them the right s3:CreateBucket"):
        prove(server.storage("guests", GUEST), create=True, check_mode=False)


@pytest.mark.parametrize(
    ("bucket", "actions", "message", "left"),
    [
        ("nothing", (), r"may not list the objects.*s3:ListBucket", 0),
        ("readonly", ("s3:ListBucket", "s3:GetObject"), r"is not writable: these keys may not put object 'p/scs-observer-probe-\w+'.*s3:PutObject", 0),
        ("writeonly", ("s3:ListBucket", "s3:PutObject", "s3:DeleteObject"), r"is not readable: these keys may not get .*s3:GetObject", 0),
        (
            "appendonly",
            ("s3:ListBucket", "s3:PutObject", "s3:GetObject"),
            r"lets nothing be deleted: .*'p/scs-observer-probe-\w+', which stays there.*s3:DeleteObject",
            1,
        ),
    ],
)
def test_lacking_rights(server: Server, bucket: str, actions: tuple[str, ...], message: str, left: int) -> None:
    prove(server.storage(bucket), create=True, check_mode=False)
    if actions:
        server.allow(bucket, *actions)
    with pytest.raises(ObserverError, match=message):
        prove(server.storage(bucket, GUEST, prefix="p"), create=True, check_mode=False)
    assert len(server.objects(bucket)) == left


def test_just_the_rights_that_are_needed(server: Server) -> None:
    prove(server.storage("enough"), create=True, check_mode=False)
    server.allow("enough", "s3:ListBucket", "s3:PutObject", "s3:GetObject", "s3:DeleteObject")
    proof = prove(server.storage("enough", GUEST, prefix="p"), create=False, check_mode=False)
    assert proof.proved == ("put", "get", "list", "delete")
    assert server.objects("enough") == []


def test_authority_that_is_not_trusted(server: Server) -> None:
    for certificate in (None, Authority.create("another").certificate_pem.decode()):
        with pytest.raises(ObserverError, match=r"authority that is not trusted here. Give .* as ca_certificate"):
            prove(server.storage("observer", ca_certificate=certificate), create=True, check_mode=True)


def test_certificate_for_another_name(server: Server) -> None:
    with pytest.raises(ObserverError, match="is for another name"):
        prove(server.storage("observer", endpoint=server.endpoint.replace("127.0.0.1", "localhost")), create=True, check_mode=True)


def test_nothing_listens(server: Server) -> None:
    begin = time.monotonic()
    with pytest.raises(ObserverError, match=r"cannot be reached. Check host, port"):
        prove(server.storage("observer", endpoint=f"https://127.0.0.1:{free_port()}"), create=True, check_mode=True)
    assert time.monotonic() - begin < 20


def test_name_that_does_not_resolve(server: Server) -> None:
    with pytest.raises(ObserverError, match=r"cannot be reached. Check host, port, name resolution"):
        prove(server.storage("observer", endpoint="https://s3.invalid"), create=True, check_mode=True)


def test_server_that_never_answers(server: Server) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begin = time.monotonic()
        with pytest.raises(ObserverError, match="does not answer in time"):
            prove(server.storage("observer", endpoint=f"https://127.0.0.1:{silent.getsockname()[1]}"), create=True, check_mode=True)
        assert time.monotonic() - begin < 20


class _Page(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        body = b"<!DOCTYPE html><html><body><p>Welcome<br></body></html>"
        self.send_response(self.status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: t.Any) -> None:
        """Keep the tests' output clean."""


class _NotFound(_Page):
    status = 404


@contextlib.contextmanager
def page(handler: type[_Page], folder: pathlib.Path, *, tls: bool = True) -> t.Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / "server.crt", folder / "server.key")
            web.socket = context.wrap_socket(web.socket, server_side=True)
        thread = threading.Thread(target=web.serve_forever, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{web.server_address[1]}"
        web.shutdown()
        thread.join()


@pytest.mark.parametrize("handler", [_Page, _NotFound])
def test_web_page_is_not_s3(server: Server, handler: type[_Page]) -> None:
    with page(handler, server.data.parent) as endpoint, pytest.raises(ObserverError, match="does not speak S3"):
        prove(server.storage("observer", endpoint=endpoint), create=True, check_mode=False)


def test_port_without_tls(server: Server) -> None:
    with page(_Page, server.data.parent, tls=False) as endpoint, pytest.raises(ObserverError, match="does not speak TLS as it should"):
        prove(server.storage("observer", endpoint=endpoint), create=True, check_mode=False)
