# SPDX-License-Identifier: Apache-2.0
"""X.509 certificates as TPMs and their makers hand them out."""

from __future__ import annotations

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
