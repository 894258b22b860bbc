# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that say to Thanos whatever they like: remote-write (also with forged labels and headers) and gRPC, each with any certificate.

Messages are encoded by hand, for a client that is made for the protocol refuses to build what an attacker sends.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import http.client
import pathlib
import socket
import ssl
import struct
import time
import typing as t
import urllib.parse

import cramjam
import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# pairs, not a mapping: an attacker may send a label twice, or out of order
Labels: t.TypeAlias = "t.Mapping[str, str] | t.Sequence[tuple[str, str]]"
# value, milliseconds
Samples: t.TypeAlias = "t.Sequence[tuple[float, int]]"


# -- protobuf ---------------------------------------------------------------
def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def number_field(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def bytes_field(field: int, value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def series_message(labels: Labels, samples: Samples) -> bytes:
    """prometheus.TimeSeries; a mapping's labels are sorted as the protocol wants it, pairs are sent as they are."""
    pairs = sorted(labels.items()) if isinstance(labels, t.Mapping) else labels
    return b"".join(bytes_field(1, bytes_field(1, name) + bytes_field(2, value)) for name, value in pairs) + b"".join(
        bytes_field(2, b"\x09" + struct.pack("<d", value) + number_field(2, when)) for value, when in samples
    )


def write_message(series: t.Iterable[tuple[Labels, Samples]]) -> bytes:
    """prometheus.WriteRequest"""
    return b"".join(bytes_field(1, series_message(labels, samples)) for labels, samples in series)


def series_request(labels: t.Mapping[str, str], begin: int, end: int) -> bytes:
    """thanos.SeriesRequest for series with these labels, without chunks."""
    matchers = b"".join(bytes_field(3, bytes_field(2, name) + bytes_field(3, value)) for name, value in labels.items())
    return number_field(1, begin) + number_field(2, end) + matchers + number_field(8, 1)


def store_write_request(tenant: str, series: t.Iterable[tuple[Labels, Samples]]) -> bytes:
    """thanos.WriteRequest, by which receives forward to each other; it names the tenant freely."""
    return write_message(series) + bytes_field(2, tenant)


# -- certificates -----------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class Identity:
    """Files: C(authority) verifies the server; C(certificate) and C(key) are shown to it, if given."""

    authority: pathlib.Path
    certificate: pathlib.Path | None = None
    key: pathlib.Path | None = None

    @classmethod
    def of_secret(cls, folder: pathlib.Path, secret: dict[str, t.Any]) -> Identity:
        """Of a Secret of type kubernetes.io/tls with ca.crt."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for key, value in secret["data"].items():
            (folder / key).touch(mode=0o600)
            (folder / key).write_bytes(base64.b64decode(value))
        return cls(folder / "ca.crt", folder / "tls.crt", folder / "tls.key")

    def without_certificate(self) -> Identity:
        return Identity(self.authority)

    def signed_by(
        self,
        folder: pathlib.Path,
        common_name: str,
        ca: tuple[x509.Certificate, ec.EllipticCurvePrivateKey],
        *,
        begin: int = -60,
        end: int = 3600,
        server_names: t.Sequence[str] = (),
    ) -> Identity:
        """Another client certificate towards the same server (a server's, with names), valid from and until so many seconds from now."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .issuer_name(ca[0].subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(seconds=begin))
            .not_valid_after(now + datetime.timedelta(seconds=end))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH if server_names else ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        )
        if server_names:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in server_names]), critical=False)
        _write(folder, key, builder.sign(ca[1], hashes.SHA256()))
        return Identity(self.authority, folder / "tls.crt", folder / "tls.key")


def make_authority(common_name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def load_authority(secret: dict[str, t.Any]) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """An authority from its Secret."""
    certificate = x509.load_pem_x509_certificate(base64.b64decode(secret["data"]["tls.crt"]))
    key = serialization.load_pem_private_key(base64.b64decode(secret["data"]["tls.key"]), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return certificate, key


def _write(folder: pathlib.Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    (folder / "tls.key").touch(mode=0o600)
    (folder / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    (folder / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


# -- remote-write -----------------------------------------------------------
@dataclasses.dataclass
class Answer:
    status: int
    text: str


@dataclasses.dataclass
class Writer:
    """Sends to one Receive, or to the Service of all. A new connection for each request, so that a Service gives each to any pod."""

    url: str
    identity: Identity
    maximum_version: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED
    # the name in the server's certificate, where it is not the address
    server_name: str | None = None
    timeout: float = 20

    def context(self) -> ssl.SSLContext:
        found = ssl.create_default_context(cafile=str(self.identity.authority))
        found.maximum_version = self.maximum_version
        if self.identity.certificate:
            found.load_cert_chain(str(self.identity.certificate), str(self.identity.key))
        return found

    def request(self, method: str, path: str, body: bytes | None = None, headers: t.Mapping[str, str] | None = None) -> Answer:
        """Raises OSError (ssl.SSLError for a refused handshake) when there is no answer."""
        address = urllib.parse.urlsplit(self.url)
        assert address.hostname
        connection = _Connection(address.hostname, address.port or 443, timeout=self.timeout, context=self.context(), server_name=self.server_name)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode(errors="replace").strip())
        finally:
            connection.close()

    def alert(self) -> str:
        """What the server says to the handshake when nothing is sent after it; empty when it waits for a request, so takes the certificate."""
        address = urllib.parse.urlsplit(self.url)
        assert address.hostname
        with socket.create_connection((address.hostname, address.port or 443), timeout=3) as plain:
            try:
                with self.context().wrap_socket(plain, server_hostname=self.server_name or address.hostname) as secure:
                    return "" if secure.recv(1) else "closed without an alert"
            except TimeoutError:
                return ""
            except ssl.SSLError as error:
                return (error.reason or str(error)).lower().replace("_", " ")

    def send(self, body: bytes, headers: t.Mapping[str, str] | None = None) -> Answer:
        """A body that is already compressed."""
        common = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"}
        return self.request("POST", "/api/v1/receive", body, {**common, **(headers or {})})

    def write(self, series: t.Iterable[tuple[Labels, Samples]], headers: t.Mapping[str, str] | None = None) -> Answer:
        return self.send(bytes(cramjam.snappy.compress_raw(write_message(series))), headers)

    def write_now(self, *series: tuple[Labels, float], headers: t.Mapping[str, str] | None = None) -> Answer:
        """One sample of each series, of now."""
        when = now()
        return self.write([(labels, [(value, when)]) for labels, value in series], headers)

    def deliver(self, series: t.Sequence[tuple[Labels, Samples]], seconds: float) -> int:
        """As an agent does: again until it is accepted, but not what is refused for good. Returns the number of tries."""
        end = time.monotonic() + seconds
        tries = 0
        while True:
            tries += 1
            try:
                answer = self.write(series)
            except (OSError, http.client.HTTPException) as error:
                answer = Answer(0, str(error))
            if answer.status == 200:
                return tries
            assert answer.status == 0 or answer.status == 429 or answer.status >= 500, f"Receive refused a write for good: {answer}"
            assert time.monotonic() < end, f"not accepted in {seconds:g} s and {tries} tries; the last answer was {answer}"
            time.sleep(0.2)


class _Connection(http.client.HTTPSConnection):
    def __init__(self, host: str, port: int, *, timeout: float, context: ssl.SSLContext, server_name: str | None) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._tls, self._server_name = context, server_name or host

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._server_name)


def now() -> int:
    """Milliseconds"""
    return time.time_ns() // 1_000_000


# -- gRPC -------------------------------------------------------------------
@dataclasses.dataclass
class GrpcAnswer:
    """C(code) is OK with the C(messages) that came, or what went wrong."""

    code: grpc.StatusCode
    messages: list[bytes]
    details: str = ""


def grpc_call(address: str, method: str, request: bytes, identity: Identity | None, *, server_name: str, streams: bool = False) -> GrpcAnswer:
    """C(identity) none: without TLS."""
    channel = grpc.insecure_channel(address) if identity is None else _secure_channel(address, identity, server_name)
    with channel:
        try:
            messages = list(channel.unary_stream(method)(request, timeout=10)) if streams else [channel.unary_unary(method)(request, timeout=10)]
        except grpc.RpcError as error:
            return GrpcAnswer(error.code(), [], error.details() or "")
    return GrpcAnswer(grpc.StatusCode.OK, messages)


def _secure_channel(address: str, identity: Identity, server_name: str) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(
        root_certificates=identity.authority.read_bytes(),
        private_key=identity.key.read_bytes() if identity.key else None,
        certificate_chain=identity.certificate.read_bytes() if identity.certificate else None,
    )
    # a session of an earlier identity must not be taken up again
    return grpc.secure_channel(address, credentials, options=[("grpc.ssl_target_name_override", server_name), ("grpc.use_local_subchannel_pool", 1)])


# -- the lab ----------------------------------------------------------------
def agent_of(lab: t.Any, cluster: str) -> Identity:
    """The identity of a KaaS cluster's agent, from the Secret in that cluster."""
    return Identity.of_secret(lab.folder / "identities" / cluster, lab.get(cluster, "secret", "observer-agent-certificate", "-n", "observer-agent"))


def inside_of(lab: t.Any) -> Identity:
    """The identity that the Observer's own components have towards each other."""
    return Identity.of_secret(lab.folder / "identities" / "inside", lab.get("test-observer", "secret", "inside-tls", "-n", "observer"))
