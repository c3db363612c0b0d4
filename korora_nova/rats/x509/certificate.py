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

    Only bytes that are all 00 or all ff are padding; what else follows is
    kept, and refused when it is parsed.
    """
    end = size(data)
    rest = data[end:]
    if end and rest in (bytes(len(rest)), b'\xff' * len(rest)):
        return data[:end]
    return data


def size(data: bytes) -> int:
    """Octets of the SEQUENCE at the start, 0 if there is none.

    It may be longer than the data.
    """
    try:
        return _header(data, 0, len(data))[1] if data[:1] == b'\x30' else 0
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

    Nuvoton's names are not DER: the SET of a relative name is not in
    order. They are read as if it were; the signature stays the one over
    the bytes as they are.

    :raises ValueError: it is not a certificate, or too large; other
        :data:`BROKEN` errors are possible, here and when a field is read.
    """
    if len(data) > MAX_CERTIFICATE:
        raise ValueError('too large for a certificate')
    der = trimmed(data)
    try:
        cert = x509.load_der_x509_certificate(der)
    except ValueError:
        ordered = _with_ordered_names(der)
        if ordered == der:
            raise
        cert = x509.load_der_x509_certificate(ordered)
    # Names are read lazily, and everything is found by them.
    cert.subject, cert.issuer  # noqa: B018
    _, begin, end = next(_children(der))
    (_, after), *_ = _spans(der, begin, end)
    tbs = der[begin:after]
    _, algorithm, _ = _children(der, begin, end)
    _, inner, *_ = _fields(tbs)
    if der[slice(*algorithm[1:])] != tbs[slice(*inner[1:])]:
        raise ValueError('two signature algorithms')
    return Certificate(cert, der, tbs)


def check_signature(cert: Certificate, issuer: Certificate) -> None:
    """Insist that the key of ``issuer`` signed ``cert``.

    :raises InvalidSignature: or another of :data:`BROKEN`.
    """
    key = issuer.x509.public_key()
    scheme = cert.x509.signature_algorithm_parameters
    algorithm = cert.x509.signature_hash_algorithm
    if (
        isinstance(key, rsa.RSAPublicKey)
        and algorithm is not None
        and isinstance(scheme, (padding.PKCS1v15, padding.PSS))
    ):
        key.verify(cert.x509.signature, cert.tbs, scheme, algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(
        scheme, ec.ECDSA
    ):
        key.verify(cert.x509.signature, cert.tbs, scheme)
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
    spki = cert.tbs[slice(*_fields(cert.tbs)[5][1:])]
    parts = list(_children(spki))
    if len(parts) != 2 or parts[1][0] != 0x03:
        raise ValueError('a certificate without a key')
    _, begin, end = parts[1]
    if spki[begin : begin + 1] != b'\0':
        raise ValueError('a certificate without a key')
    return spki[begin + 1 : end]


# Tag, begin and end of the content of an element, in the string around it.
_Element = tuple[int, int, int]


def _fields(tbs: bytes) -> list[_Element]:
    """serialNumber, signature, issuer, validity, subject, {algorithm, BIT
    STRING}, ...: RFC 5280 section 4.1, without the version."""
    _, begin, end = next(_children(tbs), (0, 0, 0))
    parts = list(_children(tbs, begin, end))
    if parts and parts[0][0] == 0xA0:
        del parts[0]
    if len(parts) < 6:
        raise ValueError('not a certificate')
    return parts


def _with_ordered_names(der: bytes) -> bytes:
    """The same with each SET of issuer and subject in DER's order."""
    _, begin, _ = next(_children(der), (0, 0, 0))
    _, _, end = next(_children(der, begin), (0, 0, 0))
    fields = _fields(der[begin:end])
    out = bytearray(der)
    for _, first, last in (fields[2], fields[4]):
        for tag, start, stop in _children(der, begin + first, begin + last):
            items = sorted(
                der[at:after] for at, after in _spans(der, start, stop)
            )
            if tag == 0x31:
                out[start:stop] = b''.join(items)
    return bytes(out)


def _spans(data: bytes, at: int, end: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each element, its header included."""
    for _, _, after in _children(data, at, end):
        yield at, after
        at = after


def _children(
    data: bytes, at: int = 0, end: int | None = None
) -> Iterator[_Element]:
    """The elements of a DER string."""
    end = len(data) if end is None else end
    while at < end:
        begin, after = _header(data, at, end)
        if after > end:
            raise ValueError('not DER')
        yield data[at], begin, after
        at = after


def _header(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Begin and end of the content of an element (X.690 section 8.1)."""
    first = data[at + 1] if at + 1 < end else 0x80
    octets = first & 0x7F if first >= 0x80 else 0
    begin = at + 2 + octets
    if first == 0x80 or begin > end:
        raise ValueError('not DER')
    length = int.from_bytes(data[at + 2 : begin], 'big') if octets else first
    return begin, begin + length
