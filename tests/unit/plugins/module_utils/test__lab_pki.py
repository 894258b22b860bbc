# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

import pytest
from ansible_collections.scs.observer.plugins.module_utils._lab_pki import Authority, Pair, make_key_pair
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store


def load(pair: Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate_pem)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("kubernetes")


def test_a_chain_verifies_as_browsers_verify_it(authority: Authority) -> None:
    leaf = load(authority.issue("server", dns_names=["one.example", "two.example"], ip_addresses=["10.200.0.11"]))
    builder = PolicyBuilder().store(Store([authority.certificate]))
    for name in (x509.DNSName("two.example"), x509.IPAddress(ipaddress.ip_address("10.200.0.11"))):
        builder.build_server_verifier(name).verify(leaf, [])
    with pytest.raises(x509.verification.VerificationError):
        builder.build_server_verifier(x509.DNSName("three.example")).verify(leaf, [])


def test_a_certificate_of_another_authority_does_not_verify(authority: Authority) -> None:
    # Of the same name, so that only the signature differs.
    leaf = load(Authority.create("kubernetes").issue("server"))
    with pytest.raises(InvalidSignature):
        leaf.verify_directly_issued_by(authority.certificate)


def test_what_an_authority_may(authority: Authority) -> None:
    constraints = authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value.ca
    usage = authority.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert usage.crl_sign


def test_what_a_certificate_may(authority: Authority) -> None:
    leaf = load(authority.issue("system:node:one", organization="system:nodes"))
    assert leaf.subject.rfc4514_string() == "CN=system:node:one,O=system:nodes"
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usages = set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert usages == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    with pytest.raises(x509.ExtensionNotFound):
        leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_certificates_are_good_now_and_for_a_lab(authority: Authority) -> None:
    leaf = load(authority.issue("x"))
    now = datetime.datetime.now(datetime.UTC)
    assert leaf.not_valid_before_utc < now < leaf.not_valid_after_utc
    assert leaf.not_valid_after_utc - now > datetime.timedelta(days=300)


def test_serial_numbers_differ(authority: Authority) -> None:
    assert load(authority.issue("x")).serial_number != load(authority.issue("x")).serial_number


def test_keys_are_roots_alone_and_read_again(authority: Authority, tmp_path: Path) -> None:
    authority.write(tmp_path, "ca")
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {"ca.crt": 0o600, "ca.key": 0o600}
    again = Authority.read(tmp_path, "ca")
    load(again.issue("x")).verify_directly_issued_by(authority.certificate)


def test_the_service_accounts_pair_fits(tmp_path: Path) -> None:
    make_key_pair(tmp_path, "service-account")
    key = serialization.load_pem_private_key((tmp_path / "service-account.key").read_bytes(), None)
    public = serialization.load_pem_public_key((tmp_path / "service-account.pub").read_bytes())
    assert isinstance(key, rsa.RSAPrivateKey)
    assert isinstance(public, rsa.RSAPublicKey)
    public.verify(key.sign(b"token", padding.PKCS1v15(), hashes.SHA256()), b"token", padding.PKCS1v15(), hashes.SHA256())
