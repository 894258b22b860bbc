# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: the only code that talks S3. Makes a bucket if missing and proves what the Observer needs of it."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import os
import re
import ssl
import tempfile
import typing as t
import urllib.parse
import uuid

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._plan import Plan, make_plan

try:
    import botocore.config
    import botocore.exceptions
    import botocore.parsers
    import botocore.session
except ImportError as import_error:
    BOTOCORE_IMPORT_ERROR: ImportError | None = import_error
else:
    BOTOCORE_IMPORT_ERROR = None

DEFAULT_REGION = "us-east-1"
_CONNECT_TIMEOUT = 4
_READ_TIMEOUT = 8
_ATTEMPTS = 2

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX_PART = re.compile(r"[A-Za-z0-9!_.*'()-]+")
_REGION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEY = re.compile(r"[!-~]+")


@dataclasses.dataclass(frozen=True)
class Storage:
    """Where the data shall lie, checked on construction; the secret key stays out of the representation."""

    endpoint: str
    bucket: str
    access_key: str
    secret_key: str = dataclasses.field(repr=False)
    ca_certificate: str | None = None
    prefix: str = ""
    region: str = DEFAULT_REGION

    def __post_init__(self) -> None:
        _check_endpoint(self.endpoint)
        _check_bucket(self.bucket)
        _check_prefix(self.prefix)
        if not _REGION.fullmatch(self.region):
            raise ObserverError(f"The S3 region {self.region!r} is malformed. Use letters, digits, hyphens and underscores, like {DEFAULT_REGION}.")
        for what, value in (("access", self.access_key), ("secret", self.secret_key)):
            if not _KEY.fullmatch(value):
                raise ObserverError(f"The S3 {what} key is empty or holds spaces or other signs that no key has. Check where it was copied from.")
        if self.ca_certificate:
            try:
                ssl.create_default_context(cadata=self.ca_certificate)
            except (ssl.SSLError, ValueError) as error:
                raise ObserverError(
                    "The option ca_certificate holds no readable certificate. Give the authority's certificate as PEM text, not a path."
                ) from error

    @property
    def name(self) -> str:
        return f"bucket {self.bucket!r} at {self.endpoint}"

    def under_prefix(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key


@dataclasses.dataclass(frozen=True)
class Proof:
    """What was planned, and which operations were seen to work."""

    plan: Plan[str]
    proved: tuple[str, ...]

    @property
    def created(self) -> bool:
        return self.plan.changed


def prove(storage: Storage, *, create: bool, check_mode: bool) -> Proof:
    """Make the bucket if missing (and allowed), then put, get, list and delete one object; in check mode only look."""
    with _client(storage) as s3:
        exists = s3.list(storage.prefix and f"{storage.prefix}/") is not None
        plan = make_plan({storage.bucket: storage.endpoint}, {storage.bucket: storage.endpoint} if exists else {})
        if plan.changed and not create:
            raise ObserverError(f"The S3 {storage.name} does not exist. Make it, or set create to true so that it is made.")
        if check_mode:
            return Proof(plan, ("list",) if exists else ())
        if plan.changed:
            s3.create_bucket()
        return Proof(plan, _put_get_list_delete(storage, s3))


def _put_get_list_delete(storage: Storage, s3: _Client) -> tuple[str, ...]:
    key = storage.under_prefix(f"scs-observer-probe-{uuid.uuid4().hex}")
    body = uuid.uuid4().bytes
    deleted = False
    try:
        version = s3.put(key, body)
        if s3.get(key) != body:
            raise ObserverError(f"The S3 {storage.name} gave back other bytes than were put into object {key!r}. Check the server and what lies before it.")
        if key not in (s3.list(key) or ()):
            raise ObserverError(f"The S3 {storage.name} does not list object {key!r} right after it was put. Thanos needs a server that lists consistently.")
        marker = s3.delete(key)
        deleted = True
        if key in (s3.list(key) or ()):
            raise ObserverError(f"The S3 {storage.name} still lists object {key!r} after it was deleted. Check the server, and delete the object by hand.")
        for old in filter(None, (version, marker)):
            s3.clean_up(key, old)
    finally:
        # a put that timed out may have been stored all the same
        if not deleted:
            s3.clean_up(key)
    return ("put", "get", "list", "delete")


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urllib.parse.urlsplit(endpoint)
        whole = parts.scheme == "https" and parts.hostname and parts.port != 0 and parts.path in ("", "/")
    except ValueError:
        whole = False
    # no echo of what may hold user:password@
    if not whole or parts.username is not None or parts.query or parts.fragment or not endpoint.isprintable() or " " in endpoint:
        raise ObserverError("The S3 endpoint is malformed. Write it like https://s3.example.com or https://10.0.0.1:9000: https, a host, no path and no user.")


def _check_bucket(bucket: str) -> None:
    well_formed = bool(_BUCKET.fullmatch(bucket)) and ".." not in bucket
    if well_formed:
        with contextlib.suppress(ValueError):
            ipaddress.IPv4Address(bucket)
            well_formed = False
    if not well_formed:
        raise ObserverError(
            f"The S3 bucket name {bucket!r} is malformed. "
            "Use 3 to 63 lowercase letters, digits, hyphens and dots, beginning and ending with a letter or digit, and no IP address."
        )


def _check_prefix(prefix: str) -> None:
    parts = prefix.split("/")
    if prefix and (len(prefix) > 512 or not all(_PREFIX_PART.fullmatch(part) and part not in (".", "..") for part in parts)):
        raise ObserverError(
            f"The S3 prefix {prefix!r} is malformed. Write it like observer or monitoring/observer: no slash at its ends, none doubled, "
            "and of letters, digits and !_.*'()- only."
        )


@contextlib.contextmanager
def _client(storage: Storage) -> t.Iterator[_Client]:
    """A client that knows nothing but what was given: no profile and no file of the user's may change where data goes."""
    if BOTOCORE_IMPORT_ERROR is not None:
        raise ObserverError("The Python library boto3 is missing where this module runs. Install boto3 1.35 or newer there.")
    session = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )
    settings: dict[str, t.Any] = {
        "signature_version": "s3v4",
        "s3": {"addressing_style": "path"},
        "connect_timeout": _CONNECT_TIMEOUT,
        "read_timeout": _READ_TIMEOUT,
        "retries": {"total_max_attempts": _ATTEMPTS, "mode": "standard"},
    }
    # newer clients add checksums that many servers which are not AWS refuse; older ones do not know these options
    settings |= {
        name: "when_required" for name in ("request_checksum_calculation", "response_checksum_validation") if name in botocore.config.Config.OPTION_DEFAULTS
    }
    with contextlib.ExitStack() as stack:
        verify: str | None = None
        if storage.ca_certificate:
            authority = stack.enter_context(tempfile.NamedTemporaryFile("w", prefix="scs-observer-ca-", suffix=".pem", encoding="utf-8"))
            authority.write(storage.ca_certificate)
            authority.flush()
            verify = authority.name
        client = session.create_client(
            "s3",
            region_name=storage.region,
            endpoint_url=storage.endpoint,
            aws_access_key_id=storage.access_key,
            aws_secret_access_key=storage.secret_key,
            verify=verify,
            config=botocore.config.Config(**settings),
        )
        stack.callback(client.close)
        yield _Client(storage, client)


class _Client:
    """The S3 operations that are needed, each with errors the user can act on."""

    def __init__(self, storage: Storage, client: t.Any) -> None:
        self._storage = storage
        self._client = client

    def list(self, prefix: str) -> list[str] | None:
        """Keys under a prefix (the first few), or None when the bucket does not exist."""
        try:
            with self._errors("list the objects", "s3:ListBucket"):
                answer = self._client.list_objects_v2(Bucket=self._storage.bucket, Prefix=prefix, MaxKeys=2)
        except _NoSuchBucket:
            return None
        if not {"Name", "MaxKeys", "IsTruncated"} & answer.keys():
            raise ObserverError(self._not_s3())
        return [entry["Key"] for entry in answer.get("Contents", [])]

    def create_bucket(self) -> None:
        extra: dict[str, t.Any] = {}
        if self._storage.region != DEFAULT_REGION:
            extra["CreateBucketConfiguration"] = {"LocationConstraint": self._storage.region}
        with self._errors("make the bucket", "s3:CreateBucket"):
            try:
                self._client.create_bucket(Bucket=self._storage.bucket, **extra)
            except botocore.exceptions.ClientError as error:
                if _code(error) != "BucketAlreadyOwnedByYou":
                    raise

    def put(self, key: str, body: bytes) -> str | None:
        with self._errors(f"put object {key!r}", "s3:PutObject", "is not writable"):
            return self._client.put_object(Bucket=self._storage.bucket, Key=key, Body=body).get("VersionId")

    def get(self, key: str) -> bytes:
        with self._errors(f"get object {key!r}", "s3:GetObject", "is not readable"):
            return self._client.get_object(Bucket=self._storage.bucket, Key=key)["Body"].read()

    def delete(self, key: str) -> str | None:
        """Delete as Thanos does, without a version; gives the version of the delete marker that a versioned bucket makes."""
        with self._errors(f"delete object {key!r}, which stays there,", "s3:DeleteObject", "lets nothing be deleted"):
            return self._client.delete_object(Bucket=self._storage.bucket, Key=key).get("VersionId")

    def clean_up(self, key: str, version: str | None = None) -> None:
        with contextlib.suppress(botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, botocore.parsers.ResponseParserError):
            self._client.delete_object(Bucket=self._storage.bucket, Key=key, **({"VersionId": version} if version else {}))

    @contextlib.contextmanager
    def _errors(self, doing: str, right: str, denied: str = "") -> t.Iterator[None]:
        try:
            yield
        except botocore.exceptions.ClientError as error:
            if _code(error) == "NoSuchBucket":
                raise _NoSuchBucket(f"The S3 {self._storage.name} does not exist (any more). Run again.") from None
            raise ObserverError(self._refused(error, doing, right, denied)) from None
        except botocore.parsers.ResponseParserError:
            raise ObserverError(self._not_s3()) from None
        except botocore.exceptions.BotoCoreError as error:
            raise ObserverError(self._no_answer(error)) from None

    def _refused(self, error: botocore.exceptions.ClientError, doing: str, right: str, denied: str) -> str:
        storage = self._storage
        code = _code(error)
        if code == "InvalidAccessKeyId":
            return f"The S3 server at {storage.endpoint} does not know the access key. Check access_key."
        if code == "SignatureDoesNotMatch":
            return f"The S3 server at {storage.endpoint} knows the access key, but the signature does not fit. Check secret_key."
        if code == "RequestTimeTooSkewed":
            return f"The clocks of the S3 server at {storage.endpoint} and of this machine differ too much. Set them right (NTP)."
        if code in ("AccessDenied", "AllAccessDisabled", "MethodNotAllowed"):
            state = f" {denied}: these keys" if denied else ": these keys"
            return f"The S3 {storage.name}{state} may not {doing}. Give them the right {right} on the bucket."
        if code in ("AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException", "InvalidLocationConstraint", "InvalidRegion"):
            return f"The S3 {storage.name} is not in region {storage.region!r}. Set region. The server says: {self._said(error)}"
        if code == "BucketAlreadyExists":
            return f"The S3 {storage.name} exists and belongs to somebody else. Choose another bucket."
        if code.isdecimal():
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", code)
            return self._not_s3(f"HTTP {status} without an S3 error")
        return f"The S3 {storage.name} refused to {doing} ({code}): {self._said(error)} Look into the server's log."

    def _said(self, error: botocore.exceptions.ClientError) -> str:
        said = str(error.response.get("Error", {}).get("Message", "")).replace(self._storage.secret_key, "********")
        return " ".join(said.split())[:300].rstrip(".") + "."

    def _not_s3(self, instead: str = "something that is not S3's XML") -> str:
        return f"What answers at {self._storage.endpoint} does not speak S3: {instead} came back. Check the endpoint's host and port, and proxies."

    def _no_answer(self, error: botocore.exceptions.BotoCoreError) -> str:
        endpoint = self._storage.endpoint
        text = str(error)
        if isinstance(error, botocore.exceptions.SSLError):
            if "match" in text and ("ostname" in text or "IP address" in text):
                return f"The TLS certificate of the S3 server at {endpoint} is for another name. Use a name or address that the certificate holds."
            if "expired" in text:
                return f"The TLS certificate of the S3 server at {endpoint} has expired. Renew it there."
            if "CERTIFICATE_VERIFY_FAILED" in text:
                return (
                    f"The TLS certificate of the S3 server at {endpoint} is signed by an authority that is not trusted here. "
                    "Give that authority's certificate as ca_certificate."
                )
            return f"The S3 server at {endpoint} does not speak TLS as it should. Check that the port is the one for https."
        if isinstance(error, botocore.exceptions.ProxyConnectionError):
            return f"The proxy on the way to the S3 server at {endpoint} cannot be reached. Check HTTPS_PROXY and NO_PROXY."
        if isinstance(error, (botocore.exceptions.ConnectTimeoutError, botocore.exceptions.ReadTimeoutError)):
            return f"The S3 server at {endpoint} does not answer in time. Check host, port, firewall, and that it runs."
        if isinstance(error, (botocore.exceptions.ConnectionError, botocore.exceptions.HTTPClientError)):
            return f"The S3 server at {endpoint} cannot be reached. Check host, port, name resolution, and that it runs."
        return f"The S3 {self._storage.name} could not be asked ({type(error).__name__}). Check the options given."


class _NoSuchBucket(ObserverError):
    """Tells a missing bucket from all else that may be wrong."""


def _code(error: botocore.exceptions.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
