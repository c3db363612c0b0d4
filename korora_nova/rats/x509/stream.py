# SPDX-License-Identifier: Apache-2.0
"""Certificates with which hosts stream: names that are digests of keys.

QEMU compares a certificate's name with the one that it was told, and nothing
else that would say whose it is. So the only name of a host's certificate is

    base32(SHA-256(SubjectPublicKeyInfo)) '.korora.invalid'

and whoever has a certificate of that name has that key. What signs them is
the service's key of the use ``tls``; its own certificate is in keys.json.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from korora_nova import errors
from korora_nova.rats.x509.certificate import BROKEN, spki

#: Top level domain of no host at all, RFC 2606.
SUFFIX = '.korora.invalid'
#: Seconds before its issue from which a certificate counts: clocks differ.
BACKDATED = 3600
#: Days for which the certificate of an authority counts.
AUTHORITY_DAYS = 3650
#: Longest request for a certificate that is read, bytes, and longest
#: certificate in PEM.
MAX_REQUEST = 1024
MAX_PEM = 4096

_EKU = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def name_of(public: ec.EllipticCurvePublicKey) -> str:
    """The only name in a certificate of this key: a DNS name.

    Its first label has 52 characters; a label may have 63.
    """
    digest = hashlib.sha256(spki(public)).digest()
    return base64.b32encode(digest).decode().rstrip('=').lower() + SUFFIX


def is_name(text: str) -> bool:
    """Whether a name is one of these, and not of a site's own making."""
    return text.endswith(SUFFIX)


@dataclasses.dataclass(frozen=True)
class Issued:
    """A certificate of this key, verified.

    :param serial: hex; ``authority`` the id of the key that signed it.
    :param since: seconds since 1970; ``until`` likewise.
    """

    name: str
    serial: str
    since: float
    until: float
    pem: bytes


def authority(
    private: ec.EllipticCurvePrivateKey, cloud: str, kid: str, at: float
) -> x509.Certificate:
    """The certificate of a key that signs those of hosts.

    :param at: seconds since 1970.
    """
    public = private.public_key()
    name = _named(cloud, (NameOID.COMMON_NAME, f'Korora stream CA {kid}'))
    now = _time(at)
    day = datetime.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + AUTHORITY_DAYS * day)
        .add_extension(x509.BasicConstraints(True, 0), True)
        .add_extension(_usage(signs=True), True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(public), False
        )
        .sign(private, hashes.SHA256())
    )


def read_authority(
    pem: str, public: ec.EllipticCurvePublicKey
) -> x509.Certificate:
    """The certificate of an authority whose key is known.

    :raises ValueError: it is none, or of another key.
    """
    try:
        found = x509.load_pem_x509_certificate(pem.encode())
        basic = found.extensions.get_extension_for_class(x509.BasicConstraints)
        key = found.public_key()
        found.verify_directly_issued_by(found)
    except (*BROKEN, x509.ExtensionNotFound):
        raise ValueError('not a certificate of an authority') from None
    if not basic.value.ca or spki(key) != spki(public):
        raise ValueError('a certificate of another key')
    return found


def request(private: ec.EllipticCurvePrivateKey, host: str) -> bytes:
    """A host's request for a certificate: PKCS #10, DER."""
    made = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_host(host))
        .sign(private, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.DER)


def read_request(der: bytes, host: str) -> ec.EllipticCurvePublicKey:
    """The key for which a host asks, and which it has.

    :raises Invalid: INVALID_REQUEST: malformed, of another host's, or not
        signed with the key.
    """
    try:
        found = x509.load_der_x509_csr(der)
        public = found.public_key()
        signed = found.is_signature_valid
    except BROKEN:
        raise _invalid('is malformed') from None
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(
        public.curve, ec.SECP256R1
    ):
        raise _invalid('is not for a key on P-256')
    if found.subject != _host(host):
        raise _invalid('is of another host')
    if not signed:
        raise _invalid('is not signed with its key')
    return public


def _invalid(what: str) -> errors.Invalid:
    return errors.Invalid(
        errors.Reason.INVALID_REQUEST,
        f'The request for a certificate {what}.',
        details={'field': 'request'},
    )


def issue(
    public: ec.EllipticCurvePublicKey,
    issuer: x509.Certificate,
    private: ec.EllipticCurvePrivateKey,
    *,
    cloud: str,
    host: str,
    at: float,
    life: float,
) -> Issued:
    """Sign a certificate for a host's key, which it has shown to have.

    :param issuer: the authority's; ``private`` is its key.
    :param at: seconds since 1970; ``life`` seconds from then on.
    """
    name = name_of(public)
    label = name.removesuffix(SUFFIX)
    made = (
        x509.CertificateBuilder()
        .subject_name(
            _named(
                cloud,
                (NameOID.ORGANIZATIONAL_UNIT_NAME, host),
                (NameOID.COMMON_NAME, label),
            )
        )
        .issuer_name(issuer.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_time(at - BACKDATED))
        .not_valid_after(_time(at + life))
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(_usage(signs=False), True)
        .add_extension(x509.ExtendedKeyUsage(_EKU), False)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name)]), False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(
                private.public_key()
            ),
            False,
        )
        .sign(private, hashes.SHA256())
    )
    return _issued(made)


def read(
    pem: bytes,
    public: ec.EllipticCurvePublicKey,
    authorities: Iterable[x509.Certificate],
) -> Issued:
    """A certificate of this key by one of these authorities.

    Its dates are for the caller.

    :raises EvidenceError: CERTIFICATE_INVALID.
    """
    try:
        found = x509.load_pem_x509_certificate(pem)
        key = found.public_key()
        names = found.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except (*BROKEN, x509.ExtensionNotFound):
        raise _refused('It is malformed.') from None
    if spki(key) != spki(public):
        raise _refused('It is of another key.')
    if list(names) != [x509.DNSName(name_of(public))]:
        raise _refused('It has another name.')
    if not any(_signed_by(found, one) for one in authorities):
        raise _refused('It is signed by no key of keys.json.')
    return _issued(found)


def _signed_by(found: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        found.verify_directly_issued_by(issuer)
    except BROKEN:
        return False
    return True


def _refused(why: str) -> errors.EvidenceError:
    return errors.EvidenceError(
        errors.Reason.CERTIFICATE_INVALID,
        f'{errors.REASONS[errors.Reason.CERTIFICATE_INVALID]} {why}',
    )


def _issued(found: x509.Certificate) -> Issued:
    names = found.extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    ).value
    return Issued(
        names.get_values_for_type(x509.DNSName)[0],
        f'{found.serial_number:x}',
        found.not_valid_before_utc.timestamp(),
        found.not_valid_after_utc.timestamp(),
        found.public_bytes(serialization.Encoding.PEM),
    )


def _host(host: str) -> x509.Name:
    """A host's name may be longer than a common name can be."""
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, host)]
    )


def _named(cloud: str, *more: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cloud),
            *(x509.NameAttribute(oid, text) for oid, text in more),
        ]
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    """QEMU before 9 wants keyEncipherment, although nothing uses it."""
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=not signs,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _time(at: float) -> datetime.datetime:
    moment = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
    return moment.replace(microsecond=0)
