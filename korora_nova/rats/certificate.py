# SPDX-License-Identifier: Apache-2.0
"""X.509 certificates as TPMs and their makers hand them out."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

#: Largest certificate read, bytes; padding included.
MAX_CERTIFICATE = 8192

#: What ``cryptography`` raises for a certificate, a key or a revocation
#: list that is not one, at loading or when a field is read.
BROKEN = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm,
          x509.DuplicateExtension, x509.InvalidVersion,
          x509.UnsupportedGeneralNameType)


def trimmed(data: bytes) -> bytes:
    """DER without the padding of an NV index that is larger than it.

    Only bytes that are all 00 or all ff are padding; what else follows is
    kept, and then refused by whoever parses it.
    """
    size = _size(data)
    padding = data[size:]
    if size and padding in (bytes(len(padding)), b'\xff' * len(padding)):
        return data[:size]
    return data


def _size(data: bytes) -> int:
    """Octets of the SEQUENCE at the start (X.690 section 8.1), 0 if none."""
    if len(data) < 2 or data[0] != 0x30:
        return 0
    if data[1] < 0x80:
        return 2 + data[1]
    octets = data[1] & 0x7F
    if not 1 <= octets <= 4 or len(data) < 2 + octets:
        return 0
    return 2 + octets + int.from_bytes(data[2:2 + octets], 'big')


def load(data: bytes) -> x509.Certificate:
    """Read one DER certificate.

    :raises ValueError: it is none, or too large; other :data:`BROKEN`
        errors are possible, here and when its fields are read.
    """
    if len(data) > MAX_CERTIFICATE:
        raise ValueError('too large for a certificate')
    return x509.load_der_x509_certificate(trimmed(data))


_MARKER = re.compile(rb'-----(BEGIN|END) ([A-Z0-9 ]{1,64})-----')


def pem_blocks(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Label and DER of each PEM block (RFC 7468); broken base64 is empty.

    A block is a BEGIN whose next marker is its END.
    """
    for begin, end in pairwise(_MARKER.finditer(data)):
        if (begin[1], end[1]) == (b'BEGIN', b'END') and begin[2] == end[2]:
            text = data[begin.end():end.start()]
            try:
                der = base64.b64decode(b''.join(text.split()), validate=True)
            except ValueError:
                der = b''
            yield begin[2].decode(), der


def bare_key(cert: x509.Certificate) -> bytes:
    """The subjectPublicKey of a certificate, whatever its algorithm.

    Some makers name RSAES-OAEP (RFC 4055) as that of an endorsement key,
    which ``cryptography`` does not read.

    :raises ValueError: there is none.
    """
    # RFC 5280 section 4.1: version, serialNumber, signature, issuer,
    # validity, subject, then {algorithm, BIT STRING}.
    parts = list(_children(_content(cert.tbs_certificate_bytes)))
    if parts and parts[0][0] == 0xA0:
        del parts[0]
    if len(parts) < 6:
        raise ValueError('a certificate without a key')
    spki = list(_children(parts[5][1]))
    if len(spki) != 2 or spki[1][0] != 0x03 or spki[1][1][:1] != b'\0':
        raise ValueError('a certificate without a key')
    return spki[1][1][1:]


def _content(data: bytes) -> bytes:
    return next(_children(data))[1]


def _children(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element of a DER string."""
    at = 0
    while at < len(data):
        first = data[at + 1] if at + 1 < len(data) else 0x80
        octets = first & 0x7F if first >= 0x80 else 0
        begin = at + 2 + octets
        size = int.from_bytes(data[at + 2:begin], 'big') if octets else first
        if first == 0x80 or begin + size > len(data):
            raise ValueError('not DER')
        yield data[at], data[begin:begin + size]
        at = begin + size
