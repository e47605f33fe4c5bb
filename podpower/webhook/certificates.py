"""Issue certificates, and decide when they are renewed: an authority of a year, a leaf of 150 days. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from podpower.errors import Refused

AUTHORITY_DAYS: Final = 365
LEAF_DAYS: Final = 150
LEAF_RENEWED_DAYS: Final = 50  # before its end
AUTHORITY_RENEWED_DAYS: Final = LEAF_DAYS + 30  # a new leaf ends well before its authority
_BACKDATED: Final = timedelta(hours=1)  # clocks of nodes differ
_AUTHORITY_NAME: Final = "podpower webhook CA"


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """PEM texts: `authorities` that are trusted, the newest first, the key of the newest, and the leaf with its key."""

    authorities: str
    authority_key: str
    leaf: str
    leaf_key: str


def dns_names(service: str, namespace: str) -> tuple[str, ...]:
    """Return the names under which a Service is called.

    >>> dns_names("webhook", "power")[0]
    'webhook.power.svc'
    """
    return (f"{service}.{namespace}.svc", f"{service}.{namespace}", f"{service}.{namespace}.svc.cluster.local")


def renewed(present: Certificates | None, names: Sequence[str], now: datetime) -> Certificates:
    """Return certificates for the names that are far from their end: those that are present, or new ones instead.

    An authority that is replaced stays trusted until its end. Certificates that cannot be used are replaced too.
    """
    try:
        authorities = _authorities(present.authorities) if present else []
        key = _key(present.authority_key) if present else None
        if not authorities or key is None or not _belongs(key, authorities[0]):
            authorities, key = [], None
    except Refused:
        authorities, key = [], None
    if key is None or _left(authorities[0], now) < timedelta(days=AUTHORITY_RENEWED_DAYS):
        authority, key = _new_authority(now)
        authorities = [authority, *(old for old in authorities if _left(old, now) > timedelta())]
    if present is not None and _is_good(present, authorities[0], names, now):
        leaf, leaf_key = present.leaf, present.leaf_key
    else:
        leaf, leaf_key = _new_leaf(authorities[0], key, names, now)
    return Certificates(
        authorities="".join(map(_text, authorities)), authority_key=_key_text(key), leaf=leaf, leaf_key=leaf_key
    )


def ends_at(pem: str) -> datetime:
    """Return the end of the first certificate of a text. Refused where there is none."""
    return _authorities(pem)[0].not_valid_after_utc


def _is_good(present: Certificates, authority: x509.Certificate, names: Sequence[str], now: datetime) -> bool:
    """Return True for a leaf of this authority and these names that is far from its end."""
    try:
        leaf = _authorities(present.leaf)[0]
        leaf.verify_directly_issued_by(authority)
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return (
            _belongs(_key(present.leaf_key), leaf)
            and set(names) <= set(found.get_values_for_type(x509.DNSName))
            and leaf.not_valid_before_utc <= now
            and _left(leaf, now) >= timedelta(days=LEAF_RENEWED_DAYS)
        )
    except Exception:  # cryptography raises many kinds for what is no certificate of ours
        return False


def _new_authority(now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    # Two authorities of one name would be confused while both are trusted.
    name = _name(f"{_AUTHORITY_NAME} {now:%Y%m%dT%H%M%S.%fZ}")
    builder = _builder(name, name, key, now, AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return builder.sign(key, hashes.SHA256()), key


def _new_leaf(
    authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey, names: Sequence[str], now: datetime
) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(names[0][:64]), authority.subject, key, now, LEAF_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
    )
    return _text(builder.sign(authority_key, hashes.SHA256())), _key_text(key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _left(certificate: x509.Certificate, now: datetime) -> timedelta:
    return certificate.not_valid_after_utc - now.astimezone(UTC)


def _belongs(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> bool:
    return bool(key.public_key() == certificate.public_key())


def _authorities(pem: str) -> list[x509.Certificate]:
    """Return the certificates of a text. Refused where there is none, or one that cannot be read."""
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise Refused(f"no certificate: {error}") from None


def _key(pem: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise Refused(f"no key: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Refused("the key is of another kind")
    return key


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_text(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
