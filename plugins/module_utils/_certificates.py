# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: authorities and the certificates they sign. Pure: what exists comes in as PEM, what ought to exist goes out as PEM."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import itertools
import re
import typing as t

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

try:
    from cryptography import exceptions as crypto_exceptions
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    IMPORT_ERROR: ImportError | None = None if hasattr(x509.Certificate, "not_valid_after_utc") else ImportError("the one here is older")
except ImportError as error:
    IMPORT_ERROR = error

COMMON_NAME_MAX = 64  # ub-common-name of RFC 5280; Thanos takes the tenant from here
CLOCK_SKEW = datetime.timedelta(minutes=5)
ONE_DAY = datetime.timedelta(days=1)
# A renewal that gains less than this is no renewal: the authority's own end cuts it short, and every run would sign again.
RENEWAL_GAIN = datetime.timedelta(hours=1)
DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
RFC1123_LABEL = re.compile(DNS_LABEL)
DNS_NAME = re.compile(rf"(\*\.)?{DNS_LABEL}(\.{DNS_LABEL})*")

USAGES = ("server", "client")
COMMON_NAME_FORMATS = ("text", "rfc1123_label")
State = t.Literal["kept", "created", "renewed"]


@dataclasses.dataclass(frozen=True)
class AuthoritySpec:
    name: str
    common_name: str = ""
    certificate: str = ""
    private_key: str = ""
    days: int = 3650


@dataclasses.dataclass(frozen=True)
class CertificateSpec:
    name: str
    authority: str
    common_name: str
    common_name_format: str = "text"
    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()
    usages: tuple[str, ...] = USAGES
    days: int = 90
    renew_before_days: int = 30
    certificate: str = ""
    private_key: str = ""


@dataclasses.dataclass(frozen=True)
class Authority:
    name: str
    state: State
    certificate: str
    private_key: str
    chain: tuple[x509.Certificate, ...]
    key: t.Any

    @property
    def own(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def intermediates(self) -> tuple[x509.Certificate, ...]:
        """What a leaf must carry along so that a peer that knows only the root can verify it."""
        return tuple(certificate for certificate in self.chain if certificate.issuer != certificate.subject)

    def result(self) -> dict[str, t.Any]:
        return {
            "certificate": self.certificate,
            "private_key": self.private_key,
            "state": self.state,
            "not_after": timestamp(self.own.not_valid_after_utc),
        }


@dataclasses.dataclass(frozen=True)
class Result:
    authorities: dict[str, dict[str, t.Any]]
    certificates: dict[str, dict[str, t.Any]]
    warnings: tuple[str, ...]

    @property
    def changed(self) -> bool:
        return any(item["state"] != "kept" for item in (*self.authorities.values(), *self.certificates.values()))


def provide(authorities: t.Sequence[AuthoritySpec], certificates: t.Sequence[CertificateSpec], now: datetime.datetime | None = None) -> Result:
    """All authorities, then all certificates; every bad input is found before the first key is made."""
    if IMPORT_ERROR is not None:
        raise ObserverError(
            f"The Python library cryptography, 42 or newer, can not be used where this task runs ({IMPORT_ERROR}). "
            "Install it there: pip install 'cryptography>=42'."
        )
    now = (now or datetime.datetime.now(datetime.UTC)).replace(microsecond=0)
    _check_unique("authorities", [spec.name for spec in authorities])
    _check_unique("certificates", [spec.name for spec in certificates])
    known = {spec.name for spec in authorities}
    for spec in authorities:
        _check_authority_spec(spec)
    for spec in certificates:
        _check_certificate_spec(spec, known)
    kept = {spec.name: _read_authority(spec, now) for spec in authorities if spec.certificate}
    made = {spec.name: kept[spec.name] if spec.name in kept else _make_authority(spec, now) for spec in authorities}

    warnings: list[str] = []
    results: dict[str, dict[str, t.Any]] = {}
    for spec in certificates:
        authority = made[spec.authority]
        _check_may_sign(authority, spec)
        end = authority.own.not_valid_after_utc
        if end < now + spec.days * ONE_DAY:
            warnings.append(
                f"Authority {authority.name} ends on {timestamp(end)}, before certificate {spec.name} would with its {spec.days} days. "
                "Plan a new authority; its certificate must be known to every peer before the old one ends."
            )
        results[spec.name] = _provide_certificate(spec, authority, now)
    return Result({name: authority.result() for name, authority in made.items()}, results, tuple(warnings))


def timestamp(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _check_unique(option: str, names: t.Sequence[str]) -> None:
    first: dict[str, int] = {}
    for position, name in enumerate(names, 1):
        if not name:
            raise ObserverError(f"Item {position} of {option} has an empty name. Give it one.")
        if name in first:
            raise ObserverError(f"Items {first[name]} and {position} of {option} have one name, {name}. Leave one out or rename it.")
        first[name] = position


def _check_common_name(what: str, common_name: str, form: str = "text") -> None:
    if not common_name:
        raise ObserverError(f"{what}: the common name is empty. Set common_name.")
    if len(common_name) > COMMON_NAME_MAX:
        raise ObserverError(f"{what}: the common name {common_name!r} has {len(common_name)} characters; X.509 allows {COMMON_NAME_MAX}. Use a shorter name.")
    if not common_name.isprintable():
        raise ObserverError(f"{what}: the common name {common_name!r} holds characters that can not be printed. Remove them.")
    if form == "rfc1123_label" and not RFC1123_LABEL.fullmatch(common_name):
        raise ObserverError(
            f"{what}: the common name {common_name!r} is no RFC 1123 label: lower-case letters, digits and '-', "
            "beginning and ending with a letter or digit, at most 63 characters. Choose such an id."
        )


def _check_authority_spec(spec: AuthoritySpec) -> None:
    what = f"Authority {spec.name}"
    if bool(spec.certificate) != bool(spec.private_key):
        given, missing = ("certificate", "private key") if spec.certificate else ("private key", "certificate")
        raise ObserverError(f"{what}: its {given} is given without its {missing}. Give both, or neither to have a new authority made.")
    if not spec.certificate:
        _check_common_name(what, spec.common_name or spec.name)
        if spec.days < 1:
            raise ObserverError(f"{what}: days is {spec.days}. It must be 1 or more.")


def _check_certificate_spec(spec: CertificateSpec, known: t.Collection[str]) -> None:
    what = f"Certificate {spec.name}"
    if spec.authority not in known:
        names = ", ".join(sorted(known)) or "none given"
        raise ObserverError(f"{what}: there is no authority {spec.authority!r} among authorities ({names}). Name one of them.")
    _check_common_name(what, spec.common_name, spec.common_name_format)
    for name in spec.dns_names:
        if len(name) > 253 or not DNS_NAME.fullmatch(name.lower()):
            raise ObserverError(f"{what}: {name!r} in dns_names is no DNS name. An address belongs in ip_addresses.")
    for address in spec.ip_addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise ObserverError(f"{what}: {address!r} in ip_addresses is no IPv4 or IPv6 address. A name belongs in dns_names.") from None
    unknown = sorted(set(spec.usages) - set(USAGES))
    if unknown or not spec.usages:
        raise ObserverError(f"{what}: usages is {list(spec.usages)}. Give server, client or both.")
    if "server" in spec.usages and not spec.dns_names and not spec.ip_addresses:
        raise ObserverError(f"{what}: a server needs names that clients can verify, for they ignore the common name. Set dns_names or ip_addresses.")
    if spec.days < 1 or spec.renew_before_days < 0:
        raise ObserverError(f"{what}: days is {spec.days}, renew_before_days {spec.renew_before_days}. The first must be 1 or more, the second 0 or more.")
    if spec.renew_before_days >= spec.days:
        raise ObserverError(
            f"{what}: renew_before_days ({spec.renew_before_days}) is not less than days ({spec.days}), so every run would renew it. "
            "Lower the first or raise the second."
        )


def _read_authority(spec: AuthoritySpec, now: datetime.datetime) -> Authority:
    what = f"Authority {spec.name}"
    try:
        chain = tuple(x509.load_pem_x509_certificates(spec.certificate.encode()))
    except ValueError as error:
        raise ObserverError(f"{what}: its certificate can not be read as PEM ({error}). Give the text from BEGIN CERTIFICATE to END CERTIFICATE.") from None
    try:
        key = _load_key(spec.private_key)
    except TypeError:
        raise ObserverError(f"{what}: its private key is encrypted with a passphrase. Give it decrypted, from a vault.") from None
    except (ValueError, crypto_exceptions.UnsupportedAlgorithm):
        raise ObserverError(f"{what}: its private key can not be read as PEM. Give an unencrypted RSA, ECDSA or Ed25519 key.") from None
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)):
        raise ObserverError(f"{what}: its private key is of a kind that can not sign TLS certificates. Give an RSA, ECDSA or Ed25519 key.")

    own = chain[0]
    if not _fits(own, key):
        if any(_fits(other, key) for other in chain[1:]):
            raise ObserverError(f"{what}: the private key fits a later certificate of the chain. Put the authority's own certificate first, then its issuers.")
        raise ObserverError(f"{what}: the private key does not fit the certificate ({own.subject.rfc4514_string()}). Give the two that belong together.")
    for child, parent in itertools.pairwise(chain):
        if not _issued_by(child, parent):
            raise ObserverError(
                f"{what}: in its chain, {child.subject.rfc4514_string()} was not issued by {parent.subject.rfc4514_string()}. "
                "Order the chain from the authority's own certificate to the root."
            )
    for certificate in chain:
        title = certificate.subject.rfc4514_string()
        if not _is_authority(certificate):
            raise ObserverError(f"{what}: the certificate {title} is no CA's (basic constraints CA, key usage certificate sign). Give a CA's certificate.")
        if certificate.not_valid_after_utc <= now:
            end = timestamp(certificate.not_valid_after_utc)
            raise ObserverError(f"{what}: the certificate {title} expired on {end}. Give a new one, or none to have one made.")
        if certificate.not_valid_before_utc > now:
            begin = timestamp(certificate.not_valid_before_utc)
            raise ObserverError(f"{what}: the certificate {title} is valid only from {begin}. Check the clock or the certificate.")
    return Authority(spec.name, "kept", spec.certificate, spec.private_key, chain, key)


def _make_authority(spec: AuthoritySpec, now: datetime.datetime) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(spec.common_name or spec.name)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + spec.days * ONE_DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(spec.name, "created", _pem(certificate), _key_pem(key), (certificate,), key)


def _check_may_sign(authority: Authority, spec: CertificateSpec) -> None:
    for certificate in authority.chain:
        usages = _extension(certificate, x509.ExtendedKeyUsage)
        if usages is None or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages:
            continue
        refused = [usage for usage in spec.usages if _usage_oid(usage) not in usages]
        if refused:
            raise ObserverError(
                f"Certificate {spec.name}: authority {authority.name} ({certificate.subject.rfc4514_string()}) may not sign for a {' and '.join(refused)}. "
                "Use another authority, or fewer usages."
            )


def _provide_certificate(spec: CertificateSpec, authority: Authority, now: datetime.datetime) -> dict[str, t.Any]:
    end = min(now + spec.days * ONE_DAY, authority.own.not_valid_after_utc)
    existing = _existing(spec)
    reason = _reason_to_sign(spec, existing, authority, now, end)
    if not reason:
        leaf = t.cast("list[x509.Certificate]", existing)[0]
        return _certificate_result(spec.certificate, spec.private_key, authority, "kept", "", leaf)
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = _sign(spec, key, authority, now, end)
    text = "".join(_pem(certificate) for certificate in (leaf, *authority.intermediates))
    state: State = "renewed" if spec.certificate else "created"
    return _certificate_result(text, _key_pem(key), authority, state, reason, leaf)


def _certificate_result(certificate: str, private_key: str, authority: Authority, state: State, reason: str, leaf: x509.Certificate) -> dict[str, t.Any]:
    return {
        "certificate": certificate,
        "private_key": private_key,
        "authority_certificate": authority.certificate,
        "state": state,
        "reason": reason,
        "not_after": timestamp(leaf.not_valid_after_utc),
    }


def _existing(spec: CertificateSpec) -> list[x509.Certificate] | None:
    try:
        return x509.load_pem_x509_certificates(spec.certificate.encode()) if spec.certificate else None
    except ValueError:
        return None


def _reason_to_sign(
    spec: CertificateSpec, existing: list[x509.Certificate] | None, authority: Authority, now: datetime.datetime, end: datetime.datetime
) -> str:
    """Empty when the existing certificate is good; a broken one is no error, for signing again mends it."""
    if not spec.certificate:
        return "did not exist"
    if existing is None:
        return "the certificate can not be read"
    leaf = existing[0]
    try:
        fits = _fits(leaf, _load_key(spec.private_key))
    except (TypeError, ValueError, crypto_exceptions.UnsupportedAlgorithm):
        return "the private key is missing or can not be read"
    if not fits:
        return "the private key does not fit the certificate"
    if not _issued_by(leaf, authority.own):
        return f"signed by another authority than {authority.name}"
    if tuple(existing[1:]) != authority.intermediates:
        return f"the chain of authority {authority.name} changed"
    if leaf.subject != _name(spec.common_name):
        return f"the common name changed to {spec.common_name}"
    names = _changes(_existing_names(leaf), _wanted_names(spec))
    if names:
        return f"names changed: {names}"
    usages = _changes(_existing_usages(leaf), {_usage_oid(usage).dotted_string: usage for usage in spec.usages})
    if usages:
        return f"usages changed: {usages}"
    if leaf.not_valid_before_utc > now:
        return f"not valid before {timestamp(leaf.not_valid_before_utc)}"
    if leaf.not_valid_after_utc <= now:
        return f"expired on {timestamp(leaf.not_valid_after_utc)}"
    left = leaf.not_valid_after_utc - now
    if left < spec.renew_before_days * ONE_DAY and end - leaf.not_valid_after_utc > RENEWAL_GAIN:
        return f"expires soon, on {timestamp(leaf.not_valid_after_utc)}"
    return ""


def _changes(before: t.Mapping[str, str], after: t.Mapping[str, str]) -> str:
    """The difference of two sets as C(+new -old); the keys are compared, the values shown."""
    added = [f"+{after[key]}" for key in sorted(set(after) - set(before))]
    removed = [f"-{before[key]}" for key in sorted(set(before) - set(after))]
    return " ".join(added + removed)


def _wanted_names(spec: CertificateSpec) -> dict[str, str]:
    names = [name.lower() for name in spec.dns_names] + [str(ipaddress.ip_address(address)) for address in spec.ip_addresses]
    return {name: name for name in names}


def _existing_names(leaf: x509.Certificate) -> dict[str, str]:
    names = _extension(leaf, x509.SubjectAlternativeName) or ()
    return {str(name.value): str(name.value) for name in names}


def _existing_usages(leaf: x509.Certificate) -> dict[str, str]:
    titles = {_usage_oid(usage).dotted_string: usage for usage in USAGES}
    oids = [usage.dotted_string for usage in _extension(leaf, x509.ExtendedKeyUsage) or ()]
    return {oid: titles.get(oid, oid) for oid in oids}


def _sign(spec: CertificateSpec, key: ec.EllipticCurvePrivateKey, authority: Authority, now: datetime.datetime, end: datetime.datetime) -> x509.Certificate:
    own = authority.own
    issuer_identifier = _extension(own, x509.SubjectKeyIdentifier)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(spec.common_name))
        .issuer_name(own.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - CLOCK_SKEW, own.not_valid_before_utc))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_usage_oid(usage) for usage in USAGES if usage in spec.usages]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_identifier)
            if issuer_identifier is not None
            else x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
    )
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in sorted({name.lower() for name in spec.dns_names})]
    names += [x509.IPAddress(address) for address in sorted({ipaddress.ip_address(text) for text in spec.ip_addresses}, key=str)]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    algorithm = None if isinstance(authority.key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)) else hashes.SHA256()
    return builder.sign(authority.key, algorithm)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage_oid(usage: str) -> x509.ObjectIdentifier:
    return ExtendedKeyUsageOID.SERVER_AUTH if usage == "server" else ExtendedKeyUsageOID.CLIENT_AUTH


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _extension(certificate: x509.Certificate, kind: t.Any) -> t.Any:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _is_authority(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    return constraints is not None and constraints.ca and (usage is None or usage.key_cert_sign)


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, crypto_exceptions.InvalidSignature, crypto_exceptions.UnsupportedAlgorithm):
        return False
    return True


def _fits(certificate: x509.Certificate, key: t.Any) -> bool:
    return _public_bytes(certificate.public_key()) == _public_bytes(key.public_key())


def _public_bytes(key: t.Any) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _load_key(text: str) -> t.Any:
    return serialization.load_pem_private_key(text.encode(), password=None)


def _key_pem(key: t.Any) -> str:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
