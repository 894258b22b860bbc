# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import pathlib
import socket
import ssl
import threading

import pytest
from ansible_collections.scs.observer.plugins.module_utils._certificates import AuthoritySpec, CertificateSpec, provide
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)
CA = AuthoritySpec("agents", "SCS Observer agents")
LEAF = CertificateSpec("receive", "agents", "thanos-receive", dns_names=("receive.example.com",), ip_addresses=("10.0.0.1",))
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def key_pem(key, passphrase: bytes = b"") -> str:
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption).decode()


def signed(key, subject: str, *, issuer=None, issuer_key=None, ca=True, begin=-1, end=100, usages=None, key_usage=True):
    """A certificate as some other tool would make it."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer.subject if issuer else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + begin * DAY)
        .not_valid_after(NOW + end * DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if not key_usage:
        builder = builder.add_extension(x509.KeyUsage(True, False, False, False, False, False, False, False, False), critical=True)
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    signer = issuer_key or key
    return builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def loaded(text: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(text.encode())


def again(result, authority=CA, leaf=LEAF):
    """The specs of the next run, which gets what the last one returned."""
    kept = result.authorities[authority.name]
    own = result.certificates[leaf.name]
    return (
        dataclasses.replace(authority, certificate=kept["certificate"], private_key=kept["private_key"]),
        dataclasses.replace(leaf, certificate=own["certificate"], private_key=own["private_key"]),
    )


def test_authority_and_certificate_are_made_as_rfc_5280_asks():
    result = provide([CA], [LEAF], NOW)

    assert result.changed
    assert result.warnings == ()
    assert result.authorities["agents"]["state"] == "created"
    assert result.authorities["agents"]["not_after"] == (NOW + 3650 * DAY).strftime("%Y-%m-%dT%H:%M:%SZ")
    authority = loaded(result.authorities["agents"]["certificate"])
    extensions = authority.extensions
    assert authority.subject.rfc4514_string() == "CN=SCS Observer agents"
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.crl_sign, usage.value.digital_signature) == (True, True, True, False)

    own = result.certificates["receive"]
    assert (own["state"], own["reason"]) == ("created", "did not exist")
    assert own["authority_certificate"] == result.authorities["agents"]["certificate"]
    leaf = loaded(own["certificate"])
    leaf.verify_directly_issued_by(authority)
    assert isinstance(leaf.public_key().curve, ec.SECP256R1)
    assert leaf.not_valid_before_utc == NOW - datetime.timedelta(minutes=5)
    assert leaf.not_valid_after_utc == NOW + 90 * DAY
    assert leaf.serial_number.bit_length() > 64
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["receive.example.com"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("10.0.0.1")]
    assert set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    identifier = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert identifier == extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert leaf.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest != identifier


def test_second_run_keeps_everything():
    first = provide([CA], [LEAF], NOW)
    authority, leaf = again(first)
    second = provide([authority], [leaf], NOW + DAY)

    assert not second.changed
    assert second.authorities["agents"] == first.authorities["agents"] | {"state": "kept"}
    assert second.certificates["receive"] == first.certificates["receive"] | {"state": "kept", "reason": ""}


def test_order_case_and_spelling_of_names_are_no_change():
    leaf = dataclasses.replace(LEAF, dns_names=("a.example.com", "B.example.com"), ip_addresses=("2001:db8::1", "10.0.0.1"))
    authority, existing = again(provide([CA], [leaf], NOW), leaf=leaf)
    respelled = dataclasses.replace(existing, dns_names=("b.example.com", "A.example.com"), ip_addresses=("10.0.0.1", "2001:0db8:0::1"))

    assert provide([authority], [respelled], NOW).certificates["receive"]["state"] == "kept"


@pytest.mark.parametrize(
    ("change", "days_later", "reason"),
    [
        ({"common_name": "other"}, 0, "the common name changed to other"),
        ({"dns_names": ("new.example.com",)}, 0, "names changed: +new.example.com -receive.example.com"),
        ({"ip_addresses": ("10.0.0.1", "10.0.0.2")}, 0, "names changed: +10.0.0.2"),
        ({"usages": ("server",)}, 0, "usages changed: -client"),
        ({"private_key": ""}, 0, "the private key is missing or can not be read"),
        ({"private_key": "broken"}, 0, "the private key is missing or can not be read"),
        ({"private_key": key_pem(OTHER_KEY)}, 0, "the private key does not fit the certificate"),
        ({"certificate": "broken"}, 0, "the certificate can not be read"),
        ({"certificate": ""}, 0, "did not exist"),
        ({}, 61, f"expires soon, on {(NOW + 90 * DAY).strftime('%Y-%m-%dT%H:%M:%SZ')}"),
        ({}, 90, f"expired on {(NOW + 90 * DAY).strftime('%Y-%m-%dT%H:%M:%SZ')}"),
        ({}, -10, f"not valid before {(NOW - datetime.timedelta(minutes=5)).strftime('%Y-%m-%dT%H:%M:%SZ')}"),
    ],
)
def test_certificate_is_signed_anew_with_its_reason(change, days_later, reason):
    authority = dataclasses.replace(CA, certificate=pem(signed(OTHER_KEY, "ca", begin=-30, end=1000)), private_key=key_pem(OTHER_KEY))
    _kept, leaf = again(provide([authority], [LEAF], NOW))
    existing = loaded(leaf.certificate)
    result = provide([authority], [dataclasses.replace(leaf, **change)], NOW + days_later * DAY)

    own = result.certificates["receive"]
    assert own["reason"] == reason
    assert own["state"] == ("created" if change.get("certificate") == "" else "renewed")
    made = loaded(own["certificate"])
    assert made.serial_number != existing.serial_number
    assert made.public_key() != existing.public_key()
    assert result.authorities["agents"]["state"] == "kept"


def test_just_before_the_renewal_time_nothing_happens():
    authority, leaf = again(provide([CA], [LEAF], NOW))

    assert not provide([authority], [leaf], NOW + 60 * DAY).changed


def test_certificate_of_another_authority_of_the_same_name_is_renewed():
    _authority, leaf = again(provide([CA], [LEAF], NOW))
    result = provide([CA], [leaf], NOW)

    assert result.certificates["receive"]["reason"] == "signed by another authority than agents"


def test_authority_renewed_with_its_key_keeps_its_certificates():
    root = pem(signed(OTHER_KEY, "ca"))
    authority, leaf = again(provide([dataclasses.replace(CA, certificate=root, private_key=key_pem(OTHER_KEY))], [LEAF], NOW))
    renewed = dataclasses.replace(authority, certificate=pem(signed(OTHER_KEY, "ca", end=1000)))

    assert not provide([renewed], [leaf], NOW).changed


def test_certificate_never_outlives_its_authority_and_is_not_signed_on_every_run():
    key = ec.generate_private_key(ec.SECP256R1())
    authority = dataclasses.replace(CA, certificate=pem(signed(key, "old", end=20)), private_key=key_pem(key))
    first = provide([authority], [LEAF], NOW)
    assert first.certificates["receive"]["not_after"] == (NOW + 20 * DAY).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert len(first.warnings) == 1
    assert "Authority agents ends on" in first.warnings[0]

    _authority, leaf = again(first)
    assert not provide([authority], [leaf], NOW + 10 * DAY).changed


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP384R1())])
def test_given_authority_may_have_another_kind_of_key(key):
    authority = dataclasses.replace(CA, certificate=pem(signed(key, "given")), private_key=key_pem(key))
    result = provide([authority], [LEAF], NOW)

    assert result.authorities["agents"]["certificate"] == authority.certificate
    loaded(result.certificates["receive"]["certificate"]).verify_directly_issued_by(loaded(authority.certificate))
    _authority, leaf = again(result)
    assert not provide([authority], [leaf], NOW).changed


@pytest.fixture(name="chain")
def fixture_chain():
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = signed(root_key, "root")
    own = signed(key, "issuing", issuer=root, issuer_key=root_key)
    return root, own, key_pem(key)


def test_intermediate_certificates_follow_the_leaf_but_not_the_root(chain):
    root, own, key = chain
    authority = dataclasses.replace(CA, certificate="some text before\n" + pem(own) + pem(root), private_key=key)
    result = provide([authority], [LEAF], NOW)

    carried = x509.load_pem_x509_certificates(result.certificates["receive"]["certificate"].encode())
    assert [certificate.subject.rfc4514_string() for certificate in carried] == ["CN=thanos-receive", "CN=issuing"]
    assert result.certificates["receive"]["authority_certificate"] == authority.certificate
    _authority, leaf = again(result)
    assert not provide([authority], [leaf], NOW).changed
    alone = dataclasses.replace(leaf, certificate=pem(carried[0]))
    assert provide([authority], [alone], NOW).certificates["receive"]["reason"] == "the chain of authority agents changed"


def test_chain_in_wrong_order_is_refused(chain):
    root, own, key = chain
    with pytest.raises(ObserverError, match=r"the private key fits a later certificate of the chain\. Put the authority's own certificate first"):
        provide([dataclasses.replace(CA, certificate=pem(root) + pem(own), private_key=key)], [], NOW)
    stranger = signed(OTHER_KEY, "stranger")
    with pytest.raises(ObserverError, match="CN=issuing was not issued by CN=stranger"):
        provide([dataclasses.replace(CA, certificate=pem(own) + pem(stranger), private_key=key)], [], NOW)


GOOD = pem(signed(OTHER_KEY, "ca"))
GOOD_KEY = key_pem(OTHER_KEY)


@pytest.mark.parametrize(
    ("certificate", "private_key", "message"),
    [
        (GOOD, "", "Authority agents: its certificate is given without its private key. Give both"),
        ("", GOOD_KEY, "Authority agents: its private key is given without its certificate. Give both"),
        ("no pem", GOOD_KEY, "Authority agents: its certificate can not be read as PEM"),
        (GOOD, "no pem", "Authority agents: its private key can not be read as PEM"),
        (GOOD, key_pem(OTHER_KEY, b"secret"), "Authority agents: its private key is encrypted with a passphrase"),
        (GOOD, key_pem(ec.generate_private_key(ec.SECP256R1())), "Authority agents: the private key does not fit the certificate (CN=ca)"),
        (pem(signed(OTHER_KEY, "leaf", ca=False)), GOOD_KEY, "Authority agents: the certificate CN=leaf is no CA's"),
        (pem(signed(OTHER_KEY, "leaf", key_usage=False)), GOOD_KEY, "Authority agents: the certificate CN=leaf is no CA's"),
        (pem(signed(OTHER_KEY, "old", begin=-10, end=-1)), GOOD_KEY, "Authority agents: the certificate CN=old expired on "),
        (pem(signed(OTHER_KEY, "new", begin=1)), GOOD_KEY, "Authority agents: the certificate CN=new is valid only from "),
    ],
)
def test_bad_authority_is_refused(certificate, private_key, message):
    with pytest.raises(ObserverError) as caught:
        provide([dataclasses.replace(CA, certificate=certificate, private_key=private_key)], [LEAF], NOW)
    assert message in str(caught.value)
    assert "PRIVATE KEY" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"authority": "inside"}, "there is no authority 'inside' among authorities (agents)"),
        ({"common_name": ""}, "the common name is empty"),
        ({"common_name": "x" * 65}, "has 65 characters; X.509 allows 64"),
        ({"common_name": "a\nb"}, "holds characters that can not be printed"),
        ({"common_name": "Prod_1", "common_name_format": "rfc1123_label"}, "'Prod_1' is no RFC 1123 label"),
        ({"common_name": "x" * 64, "common_name_format": "rfc1123_label"}, "is no RFC 1123 label"),
        ({"dns_names": ("under_score.example.com",)}, "'under_score.example.com' in dns_names is no DNS name"),
        ({"ip_addresses": ("receive.example.com",)}, "'receive.example.com' in ip_addresses is no IPv4 or IPv6 address"),
        ({"usages": ()}, "usages is []"),
        ({"usages": ("email",)}, "usages is ['email']"),
        ({"dns_names": (), "ip_addresses": ()}, "a server needs names that clients can verify"),
        ({"days": 0}, "days is 0"),
        ({"days": 30}, "renew_before_days (30) is not less than days (30)"),
    ],
)
def test_bad_certificate_is_refused(change, message):
    with pytest.raises(ObserverError) as caught:
        provide([CA], [dataclasses.replace(LEAF, **change)], NOW)
    assert str(caught.value).startswith("Certificate receive: ")
    assert message in str(caught.value)


def test_common_name_of_64_characters_is_allowed():
    assert provide([CA], [dataclasses.replace(LEAF, common_name="x" * 64)], NOW).changed


def test_names_given_twice_are_refused_with_both_positions():
    with pytest.raises(ObserverError, match="Items 1 and 3 of certificates have one name, receive"):
        provide([CA], [LEAF, dataclasses.replace(LEAF, name="other"), LEAF], NOW)
    with pytest.raises(ObserverError, match="Items 1 and 2 of authorities have one name, agents"):
        provide([CA, CA], [], NOW)


def test_authority_for_other_usages_is_refused():
    own = pem(signed(OTHER_KEY, "ca", usages=[ExtendedKeyUsageOID.SERVER_AUTH]))
    authority = dataclasses.replace(CA, certificate=own, private_key=GOOD_KEY)
    with pytest.raises(ObserverError, match=r"Certificate receive: authority agents \(CN=ca\) may not sign for a client"):
        provide([authority], [LEAF], NOW)
    assert provide([authority], [dataclasses.replace(LEAF, usages=("server",))], NOW).changed


def handshake(tmp_path: pathlib.Path, server: dict, client: dict, *, agents_ca: str, server_ca: str, server_name: str) -> str:
    """Both sides verified, TLS 1.3; gives the client's common name as the server sees it."""

    def context(purpose: ssl.Purpose, own: dict, trusted: str, name: str) -> ssl.SSLContext:
        (tmp_path / f"{name}.crt").write_text(own["certificate"])
        (tmp_path / f"{name}.key").write_text(own["private_key"])
        result = ssl.create_default_context(purpose, cadata=trusted)
        result.minimum_version = ssl.TLSVersion.TLSv1_3
        result.verify_mode = ssl.CERT_REQUIRED
        result.load_cert_chain(tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
        return result

    listening, calling = socket.socketpair()
    seen: dict[str, object] = {}

    def serve() -> None:
        try:
            with context(ssl.Purpose.CLIENT_AUTH, server, agents_ca, "server").wrap_socket(listening, server_side=True) as connection:
                seen["version"] = connection.version()
                seen["subject"] = connection.getpeercert()["subject"]
                connection.sendall(b"hello")
        except OSError as error:
            seen["error"] = error
            listening.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        with context(ssl.Purpose.SERVER_AUTH, client, server_ca, "client").wrap_socket(calling, server_hostname=server_name) as connection:
            assert connection.recv(5) == b"hello"
    finally:
        calling.close()
        thread.join(10)
        if "error" in seen:
            raise seen["error"]
    assert seen["version"] == "TLSv1.3"
    return dict(item for (item,) in seen["subject"])["commonName"]


@pytest.fixture(name="trust", scope="module")
def fixture_trust():
    return provide(
        [CA, AuthoritySpec("inside")],
        [
            dataclasses.replace(LEAF, authority="inside", usages=("server",)),
            CertificateSpec("agent", "agents", "customer-a", usages=("client",)),
            CertificateSpec("intruder", "inside", "customer-a", usages=("client",)),
        ],
    )


@pytest.mark.parametrize("server_name", ["receive.example.com", "10.0.0.1"])
def test_tls_1_3_with_both_sides_verified(tmp_path, trust, server_name):
    agents, inside = trust.authorities["agents"]["certificate"], trust.authorities["inside"]["certificate"]
    own = trust.certificates
    assert handshake(tmp_path, own["receive"], own["agent"], agents_ca=agents, server_ca=inside, server_name=server_name) == "customer-a"


@pytest.mark.parametrize(
    ("client", "server_ca", "server_name"),
    [
        ("agent", "agents", "receive.example.com"),
        ("agent", "inside", "other.example.com"),
        ("intruder", "inside", "receive.example.com"),
        ("receive", "inside", "receive.example.com"),
    ],
    ids=["server of an unknown authority", "server of another name", "client of another authority", "server certificate as client"],
)
def test_tls_refuses_what_it_must(tmp_path, trust, client, server_ca, server_name):
    agents, trusted = trust.authorities["agents"]["certificate"], trust.authorities[server_ca]["certificate"]
    with pytest.raises(ssl.SSLError):
        handshake(tmp_path, trust.certificates["receive"], trust.certificates[client], agents_ca=agents, server_ca=trusted, server_name=server_name)


def test_tls_with_an_intermediate_verifies_against_the_root_alone(tmp_path, chain, trust):
    root, own, key = chain
    authority = dataclasses.replace(CA, certificate=pem(own) + pem(root), private_key=key)
    agent = CertificateSpec("agent", "agents", "customer-b", usages=("client",))
    made = provide([authority], [agent]).certificates["agent"]
    inside = trust.authorities["inside"]["certificate"]
    receive = trust.certificates["receive"]
    assert handshake(tmp_path, receive, made, agents_ca=pem(root), server_ca=inside, server_name="10.0.0.1") == "customer-b"
