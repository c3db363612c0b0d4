# SPDX-License-Identifier: Apache-2.0
"""X.509 certificates as TPMs and their makers hand them out."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Iterator
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from korora_nova.rats.x509 import der, deviations
from korora_nova.rats.x509.der import Element

#: Largest certificate read, bytes; padding included.
MAX_CERTIFICATE = 8192

#: What ``cryptography`` raises for a certificate, a key or a revocation
#: list that is not one, at loading or when a field is read; release 43
#: raises KeyError for an unknown type of string.
BROKEN = (
    ValueError,
    TypeError,
    KeyError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def trimmed(data: bytes) -> bytes:
    """DER without the padding of an NV index that is larger than it.

    Only bytes that are all 00 or all ff are padding, and the end of a line
    that an editor added; what else follows is kept, and refused when it is
    parsed.
    """
    end = size(data)
    rest = data[end:]
    padding = (bytes(len(rest)), b'\xff' * len(rest), b'\n', b'\r\n')
    if end and rest in padding:
        return data[:end]
    return data


def size(data: bytes) -> int:
    """Octets of the SEQUENCE at the start, 0 if there is none.

    It may be longer than the data.
    """
    try:
        return der.span(data, 0)[1] if data[:1] == b'\x30' else 0
    except ValueError:
        return 0


def spki(key: PublicKeyTypes) -> bytes:
    """The SubjectPublicKeyInfo of a key, DER."""
    return key.public_bytes(
        serialization.Encoding.DER,
        serialization.PublicFormat.SubjectPublicKeyInfo,
    )


@dataclasses.dataclass(frozen=True)
class Certificate:
    """A parsed certificate; nobody vouches for it.

    :param x509: its fields.
    :param der: the certificate without padding.
    :param tbs: TBSCertificate, the bytes that its issuer signed.
    """

    x509: x509.Certificate
    der: bytes = dataclasses.field(repr=False)
    tbs: bytes = dataclasses.field(repr=False)


def load(data: bytes) -> Certificate:
    """Read one DER certificate.

    Makers deviate from DER (:mod:`korora_nova.rats.x509.deviations`); the
    signature stays the one over the bytes as they are.

    :raises ValueError: it is not a certificate, or too large; other
        :data:`BROKEN` errors are possible, here and when a field is read.
    """
    if len(data) > MAX_CERTIFICATE:
        raise ValueError('too large for a certificate')
    whole = der.element(trimmed(data))
    cert = x509.load_der_x509_certificate(deviations.certificate(whole).der)
    # Names are read lazily, and everything is found by them.
    cert.subject, cert.issuer  # noqa: B018
    tbs = signed_part(whole, _fields(whole.parts()[0])[1])
    return Certificate(cert, whole.der, tbs)


def signed_part(whole: Element, algorithm: Element) -> bytes:
    """What the issuer of a certificate or revocation list signed.

    :param algorithm: as the signed part names it.
    :raises ValueError: another algorithm is beside the signature, or the
        signature is not of whole octets.
    """
    tbs, beside, signature = whole.parts()
    if algorithm != beside:
        raise ValueError('two signature algorithms')
    if signature.content[:1] != b'\0':
        raise ValueError('a signature that ends within an octet')
    return tbs.der


def check_signature(
    signed: x509.Certificate | x509.CertificateRevocationList,
    tbs: bytes,
    issuer: Certificate,
) -> None:
    """Insist that the key of ``issuer`` signed a certificate or list.

    :param tbs: what it must have signed.
    :raises InvalidSignature: or another of :data:`BROKEN`.
    """
    key = issuer.x509.public_key()
    scheme = signed.signature_algorithm_parameters
    algorithm = signed.signature_hash_algorithm
    if (
        isinstance(key, rsa.RSAPublicKey)
        and algorithm is not None
        and isinstance(scheme, (padding.PKCS1v15, padding.PSS))
    ):
        key.verify(signed.signature, tbs, scheme, algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(
        scheme, ec.ECDSA
    ):
        key.verify(signed.signature, tbs, scheme)
    else:
        raise InvalidSignature


_MARKER = re.compile(rb'-----(BEGIN|END) ([A-Z0-9 ]{1,64})-----')


def pem_blocks(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Label and DER of each PEM block (RFC 7468); broken base64 is empty.

    A block is a BEGIN whose next marker is its END.
    """
    for begin, end in pairwise(_MARKER.finditer(data)):
        if (begin[1], end[1]) == (b'BEGIN', b'END') and begin[2] == end[2]:
            text = data[begin.end() : end.start()]
            try:
                der = base64.b64decode(b''.join(text.split()), validate=True)
            except ValueError:
                der = b''
            yield begin[2].decode(), der


def bare_key(cert: Certificate) -> bytes:
    """The subjectPublicKey of a certificate, whatever its algorithm.

    Some makers name RSAES-OAEP (RFC 4055) as that of an endorsement key,
    which ``cryptography`` does not read.

    :raises ValueError: the certificate has none.
    """
    parts = _fields(der.element(cert.tbs))[5].parts()
    if (
        len(parts) != 2
        or parts[1].tag != 0x03
        or parts[1].content[:1] != b'\0'
    ):
        raise ValueError('a certificate without a key')
    return parts[1].content[1:]


def _fields(tbs: Element) -> list[Element]:
    """serialNumber, signature, issuer, validity, subject, {algorithm, BIT
    STRING}, ...: RFC 5280 section 4.1, without the version."""
    parts = tbs.parts()
    if parts and parts[0].tag == 0xA0:
        del parts[0]
    if len(parts) < 6:
        raise ValueError('not a certificate')
    return parts
