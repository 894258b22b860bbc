# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: the certificates of a lab cluster, made as kubeadm makes them; nothing is renewed, for a lab is made anew."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import typing as t
from pathlib import Path

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError as error:
    IMPORT_ERROR: ImportError | None = error
else:
    IMPORT_ERROR = None

LIFETIME = datetime.timedelta(days=365)


def _pem(key: t.Any) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


@dataclasses.dataclass(frozen=True)
class Pair:
    certificate_pem: bytes
    key_pem: bytes

    def write(self, folder: Path, name: str) -> None:
        """C(name).crt and C(name).key, readable by root only."""
        _write(folder / f"{name}.crt", self.certificate_pem)
        _write(folder / f"{name}.key", self.key_pem)


@dataclasses.dataclass(frozen=True)
class Authority(Pair):
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, common_name: str) -> Authority:
        if IMPORT_ERROR is not None:
            raise ObserverError(f"Python package 'cryptography' cannot be imported ({IMPORT_ERROR}): install it for the Python that runs this task")
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = _builder(name, name, key).add_extension(x509.BasicConstraints(True, None), True).add_extension(usage, True)
        certificate = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False).sign(key, hashes.SHA256())
        return cls(certificate.public_bytes(serialization.Encoding.PEM), _pem(key), certificate, key)

    def issue(self, common_name: str, organization: str | None = None, dns_names: t.Sequence[str] = (), ip_addresses: t.Sequence[str] = ()) -> Pair:
        """A certificate for both ends of a connection."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
        subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = (
            _builder(subject, self.certificate.subject, key)
            .add_extension(x509.BasicConstraints(False, None), True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
        )
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns_names]
        names.extend(x509.IPAddress(ipaddress.ip_address(address)) for address in ip_addresses)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        return Pair(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), _pem(key))

    @classmethod
    def read(cls, folder: Path, name: str) -> Authority:
        """An authority that C(write) left in C(folder)."""
        certificate_pem, key_pem = (folder / f"{name}.crt").read_bytes(), (folder / f"{name}.key").read_bytes()
        key = serialization.load_pem_private_key(key_pem, None)
        return cls(certificate_pem, key_pem, x509.load_pem_x509_certificate(certificate_pem), t.cast(ec.EllipticCurvePrivateKey, key))


def make_key_pair(folder: Path, name: str) -> None:
    """The RSA pair that signs service account tokens."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _write(folder / f"{name}.key", _pem(key))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _write(folder / f"{name}.pub", public)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
    )
