# SPDX-License-Identifier: Apache-2.0
"""One public key in the forms in which others hand it over."""

from __future__ import annotations

import base64
import datetime
import json
import struct

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils

START = datetime.datetime(2020, 1, 1)
END = datetime.datetime(2120, 1, 1)
CURVES = {'secp256r1': 'P-256', 'secp384r1': 'P-384', 'secp521r1': 'P-521'}
RSASSA, RSAPSS, ECDSA = 0x14, 0x16, 0x18


def forms(pem: bytes) -> dict[str, bytes]:
    """SPKI, X.509 (a certificate by a CA of no further use) and JWK."""
    key = serialization.load_pem_public_key(pem)
    assert isinstance(key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey))
    certificate = _certificate(key)
    return {
        'ak.pem': pem,
        'ak.der': key.public_bytes(
            serialization.Encoding.DER,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        ),
        'ak.crt': certificate.public_bytes(serialization.Encoding.PEM),
        'ak.crt.der': certificate.public_bytes(serialization.Encoding.DER),
        'ak.jwk': json.dumps(_jwk(key)).encode(),
    }


def _certificate(
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
) -> x509.Certificate:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    builder = x509.CertificateBuilder(
        name('Test CA'),
        name('AK'),
        key,
        x509.random_serial_number(),
        START,
        END,
    )
    return builder.sign(
        ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()
    )


def _jwk(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> dict[str, str]:
    def text(number: int, size: int) -> str:
        return (
            base64.urlsafe_b64encode(number.to_bytes(size, 'big'))
            .rstrip(b'=')
            .decode()
        )

    if isinstance(key, rsa.RSAPublicKey):
        public = key.public_numbers()
        return {
            'kty': 'RSA',
            'n': text(public.n, key.key_size // 8),
            'e': text(public.e, 3),
        }
    point, size = key.public_numbers(), (key.key_size + 7) // 8
    return {
        'kty': 'EC',
        'crv': CURVES[key.curve.name],
        'x': text(point.x, size),
        'y': text(point.y, size),
    }


def plain(signature: bytes) -> bytes | None:
    """What ``tpm2_quote -f plain`` makes of a TPMT_SIGNATURE.

    DER for ECDSA, the bare number for RSA; None for other schemes.
    """
    scheme, _, size = struct.unpack_from('>HHH', signature)
    first = signature[6 : 6 + size]
    if scheme in (RSASSA, RSAPSS):
        return first
    if scheme != ECDSA:
        return None
    rest = signature[6 + size :]
    return utils.encode_dss_signature(
        int.from_bytes(first, 'big'), int.from_bytes(rest[2:], 'big')
    )
