# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
import typing as t

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _s3
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from botocore import exceptions, parsers

SECRET = "s3cr3t/that+must=not-show"


def storage(**options: t.Any) -> _s3.Storage:
    return _s3.Storage(**{"endpoint": "https://s3.example.com:9000", "bucket": "observer", "access_key": "AK", "secret_key": SECRET} | options)


def refused(code: str, message: str = "no", status: int = 403) -> exceptions.ClientError:
    return exceptions.ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Op")


class FakeS3:
    """The few calls of a botocore client, over a dictionary; C(fail) gives an error for a call, C(answers) another answer."""

    def __init__(self, *, buckets: t.Iterable[str] = ("observer",), fail: dict[str, Exception] | None = None, answers: dict[str, t.Any] | None = None) -> None:
        self.buckets = set(buckets)
        self.objects: dict[str, bytes] = {}
        self.fail = fail or {}
        self.answers = answers or {}
        self.calls: list[str] = []
        self.deleted: list[tuple[str, str | None]] = []
        self.settings: dict[str, t.Any] = {}

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fail:
            raise self.fail[name]

    def list_objects_v2(self, **options: t.Any) -> dict[str, t.Any]:
        self._call("list")
        if options["Bucket"] not in self.buckets:
            raise refused("NoSuchBucket", status=404)
        found = sorted(key for key in self.objects if key.startswith(options["Prefix"]))
        return self.answers.get("list", {"Name": options["Bucket"], "Contents": [{"Key": key} for key in found]} if found else {"Name": options["Bucket"]})

    def create_bucket(self, **options: t.Any) -> None:
        self._call("create")
        self.settings["create"] = options
        self.buckets.add(options["Bucket"])

    def put_object(self, **options: t.Any) -> dict[str, t.Any]:
        self._call("put")
        self.objects[options["Key"]] = options["Body"]
        return self.answers.get("put", {})

    def get_object(self, **options: t.Any) -> dict[str, t.Any]:
        self._call("get")
        return {"Body": io.BytesIO(self.answers.get("get", self.objects[options["Key"]]))}

    def delete_object(self, **options: t.Any) -> dict[str, t.Any]:
        self._call("delete")
        self.deleted.append((options["Key"], options.get("VersionId")))
        self.objects.pop(options["Key"], None)
        return self.answers.get("delete", {})

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> t.Callable[[FakeS3], FakeS3]:
    def use(fake: FakeS3) -> FakeS3:
        def create_client(_session: object, _service: str, **settings: t.Any) -> FakeS3:
            fake.settings |= settings
            return fake

        monkeypatch.setattr("botocore.session.Session.create_client", create_client)
        return fake

    return use


Use = t.Callable[[FakeS3], FakeS3]


def test_proves_all_four_and_leaves_nothing(use: Use) -> None:
    fake = use(FakeS3())
    proof = _s3.prove(storage(prefix="a/b"), create=True, check_mode=False)
    assert proof.proved == ("put", "get", "list", "delete")
    assert not proof.created
    assert fake.objects == {}
    assert fake.deleted[0][0].startswith("a/b/scs-observer-probe-")
    assert fake.calls[-1] == "close"


def test_probe_names_are_unique(use: Use) -> None:
    fake = use(FakeS3())
    for _run in range(2):
        _s3.prove(storage(), create=True, check_mode=False)
    assert fake.deleted[0] != fake.deleted[1]


def test_makes_a_missing_bucket_in_its_region(use: Use) -> None:
    fake = use(FakeS3(buckets=()))
    proof = _s3.prove(storage(region="eu-1"), create=True, check_mode=False)
    assert proof.created
    assert fake.settings["create"] == {"Bucket": "observer", "CreateBucketConfiguration": {"LocationConstraint": "eu-1"}}
    assert proof.plan.diff(str)[0]["before"] == ""


def test_default_region_is_not_named_to_servers_that_refuse_it(use: Use) -> None:
    fake = use(FakeS3(buckets=()))
    _s3.prove(storage(), create=True, check_mode=False)
    assert fake.settings["create"] == {"Bucket": "observer"}


@pytest.mark.parametrize(("buckets", "created", "proved"), [(("observer",), False, ("list",)), ((), True, ())])
def test_check_mode_only_looks(use: Use, buckets: tuple[str, ...], created: bool, proved: tuple[str, ...]) -> None:
    fake = use(FakeS3(buckets=buckets))
    proof = _s3.prove(storage(), create=True, check_mode=True)
    assert (proof.created, proof.proved) == (created, proved)
    assert fake.calls == ["list", "close"]


@pytest.mark.parametrize("check_mode", [True, False])
def test_missing_bucket_that_shall_not_be_made(use: Use, check_mode: bool) -> None:
    fake = use(FakeS3(buckets=()))
    with pytest.raises(ObserverError, match=r"bucket 'observer' at https://s3.example.com:9000 does not exist. Make it, or set create"):
        _s3.prove(storage(), create=False, check_mode=check_mode)
    assert fake.calls == ["list", "close"]


def test_bucket_made_by_another_run_at_the_same_moment(use: Use) -> None:
    class Raced(FakeS3):
        def create_bucket(self, **options: t.Any) -> None:
            super().create_bucket(**options)
            raise refused("BucketAlreadyOwnedByYou", status=409)

    use(Raced(buckets=()))
    assert _s3.prove(storage(), create=True, check_mode=False).proved == ("put", "get", "list", "delete")


def test_bucket_of_somebody_else(use: Use) -> None:
    use(FakeS3(buckets=(), fail={"create": refused("BucketAlreadyExists", status=409)}))
    with pytest.raises(ObserverError, match="belongs to somebody else"):
        _s3.prove(storage(), create=True, check_mode=False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("list", r"these keys may not list the objects. Give them the right s3:ListBucket"),
        ("put", r"is not writable: these keys may not put object 'scs-observer-probe-\w+'. Give them the right s3:PutObject"),
        ("get", r"is not readable: these keys may not get object .* s3:GetObject"),
        ("delete", r"lets nothing be deleted: these keys may not delete object 'scs-observer-probe-\w+', which stays there,.* s3:DeleteObject"),
        ("create", r"these keys may not make the bucket.* s3:CreateBucket"),
    ],
)
def test_denied(use: Use, call: str, message: str) -> None:
    use(FakeS3(buckets=() if call == "create" else ("observer",), fail={call: refused("AccessDenied")}))
    with pytest.raises(ObserverError, match=message):
        _s3.prove(storage(), create=True, check_mode=False)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (refused("InvalidAccessKeyId"), r"does not know the access key. Check access_key"),
        (refused("SignatureDoesNotMatch"), r"signature does not fit. Check secret_key"),
        (refused("RequestTimeTooSkewed"), r"clocks .* differ too much"),
        (refused("AuthorizationHeaderMalformed", "expecting 'eu-1'", 400), r"not in region 'us-east-1'. Set region. The server says: expecting 'eu-1'\."),
        (refused("404", "Not Found", 404), r"at https://s3.example.com:9000 does not speak S3: HTTP 404"),
        (refused("SlowDown", f"wait {SECRET}\n please.", 503), r"refused to list the objects \(SlowDown\): wait \*{8} please\. Look"),
        (parsers.ResponseParserError("<html>"), r"does not speak S3"),
        (
            exceptions.SSLError(endpoint_url="x", error="CERTIFICATE_VERIFY_FAILED] self-signed certificate"),
            r"authority that is not trusted here.*ca_certificate",
        ),
        (exceptions.SSLError(endpoint_url="x", error="CERTIFICATE_VERIFY_FAILED] Hostname mismatch, not valid for"), r"is for another name"),
        (exceptions.SSLError(endpoint_url="x", error="CERTIFICATE_VERIFY_FAILED] IP address mismatch, not valid for"), r"is for another name"),
        (exceptions.SSLError(endpoint_url="x", error="CERTIFICATE_VERIFY_FAILED] certificate has expired"), r"has expired"),
        (exceptions.SSLError(endpoint_url="x", error="WRONG_VERSION_NUMBER"), r"does not speak TLS"),
        (exceptions.EndpointConnectionError(endpoint_url="x", error="refused"), r"cannot be reached. Check host, port"),
        (exceptions.ConnectTimeoutError(endpoint_url="x"), r"does not answer in time"),
        (exceptions.ReadTimeoutError(endpoint_url="x"), r"does not answer in time"),
        (exceptions.ProxyConnectionError(proxy_url="http://user:word@proxy"), r"proxy on the way .* cannot be reached"),
        (exceptions.BotoCoreError(), r"could not be asked \(BotoCoreError\)"),
    ],
)
def test_errors_say_what_to_do_and_no_secret(use: Use, error: Exception, message: str) -> None:
    use(FakeS3(fail={"list": error}))
    with pytest.raises(ObserverError, match=message) as raised:
        _s3.prove(storage(), create=True, check_mode=True)
    assert SECRET not in str(raised.value)
    assert "user:word" not in str(raised.value)


@pytest.mark.parametrize("call", ["put", "get"])
def test_probe_is_cleaned_up_after_a_failure(use: Use, call: str) -> None:
    fake = use(FakeS3(fail={call: exceptions.ReadTimeoutError(endpoint_url="x")}))
    with pytest.raises(ObserverError, match="does not answer in time"):
        _s3.prove(storage(), create=True, check_mode=False)
    assert len(fake.deleted) == 1
    assert fake.objects == {}


def test_probe_is_cleaned_up_when_interrupted(use: Use) -> None:
    fake = use(FakeS3(fail={"get": KeyboardInterrupt()}))  # type: ignore[dict-item]
    with pytest.raises(KeyboardInterrupt):
        _s3.prove(storage(), create=True, check_mode=False)
    assert fake.objects == {}


def test_other_bytes_come_back(use: Use) -> None:
    fake = use(FakeS3(answers={"get": b"cached"}))
    with pytest.raises(ObserverError, match="gave back other bytes"):
        _s3.prove(storage(), create=True, check_mode=False)
    assert fake.objects == {}


def test_put_object_is_not_listed(use: Use) -> None:
    fake = use(FakeS3(answers={"list": {"Name": "observer"}}))
    with pytest.raises(ObserverError, match="does not list object"):
        _s3.prove(storage(), create=True, check_mode=False)
    assert fake.objects == {}


def test_answer_without_a_listing_is_not_s3(use: Use) -> None:
    use(FakeS3(answers={"list": {}}))
    with pytest.raises(ObserverError, match="does not speak S3"):
        _s3.prove(storage(), create=True, check_mode=True)


def test_versions_are_deleted_too_as_far_as_allowed(use: Use) -> None:
    fake = use(FakeS3(answers={"put": {"VersionId": "v1"}, "delete": {"VersionId": "marker"}}))
    assert _s3.prove(storage(), create=True, check_mode=False).proved == ("put", "get", "list", "delete")
    assert [version for _key, version in fake.deleted] == [None, "v1", "marker"]


def test_client_knows_only_what_it_was_given(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "missing")
    fake = use(FakeS3())
    _s3.prove(storage(), create=True, check_mode=True)
    config = fake.settings["config"]
    assert config.s3 == {"addressing_style": "path"}
    assert config.signature_version == "s3v4"
    assert (config.connect_timeout + config.read_timeout) * config.retries["total_max_attempts"] <= 24
    assert fake.settings["endpoint_url"] == "https://s3.example.com:9000"
    assert fake.settings["verify"] is None


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://s3.example.com",
        "s3.example.com:9000",
        "https://",
        "https://u:" + SECRET + "@s3.example.com",
        "https://s3/path",
        "https://s3:99999",
        "https://s3:x",
        "https://s 3",
        "https://s3?x=1",
        "",
    ],
)
def test_malformed_endpoint(endpoint: str) -> None:
    with pytest.raises(ObserverError, match=r"endpoint is malformed. Write it like https://") as raised:
        storage(endpoint=endpoint)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("endpoint", ["https://s3.example.com", "https://s3.example.com/", "https://10.0.0.1:9000", "https://[fd00::1]:9000"])
def test_well_formed_endpoint(endpoint: str) -> None:
    assert storage(endpoint=endpoint).endpoint == endpoint


@pytest.mark.parametrize("bucket", ["ab", "a" * 64, "Observer", "obs_erver", "-observer", "observer-", "a..b", "10.0.0.1", "a/b", ""])
def test_malformed_bucket(bucket: str) -> None:
    with pytest.raises(ObserverError, match=r"bucket name .* is malformed"):
        storage(bucket=bucket)


@pytest.mark.parametrize("prefix", ["/a", "a/", "a//b", "a/../b", ".", "a b", "ä", "a\n", "x" * 513])
def test_malformed_prefix(prefix: str) -> None:
    with pytest.raises(ObserverError, match=r"prefix .* is malformed"):
        storage(prefix=prefix)


@pytest.mark.parametrize("options", [{"access_key": ""}, {"access_key": "a b"}, {"secret_key": SECRET + "\n"}, {"secret_key": ""}])
def test_malformed_key(options: dict[str, str]) -> None:
    with pytest.raises(ObserverError, match=rf"S3 {next(iter(options)).split('_')[0]} key is empty or holds") as raised:
        storage(**options)
    assert SECRET not in str(raised.value)


def test_malformed_region_and_authority() -> None:
    with pytest.raises(ObserverError, match="region 'eu 1' is malformed"):
        storage(region="eu 1")
    with pytest.raises(ObserverError, match="ca_certificate holds no readable certificate"):
        storage(ca_certificate="/etc/ssl/ca.pem")


def test_secret_is_not_in_the_representation() -> None:
    assert SECRET not in repr(storage())
