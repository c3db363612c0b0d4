# SPDX-License-Identifier: Apache-2.0
"""Certificates of a server on the loopback address and of its client."""

from __future__ import annotations

import datetime
import ipaddress
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Files:
    """Paths of PEM files below a directory."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        key = ec.generate_private_key(ec.SECP256R1())
        cert = _certificate('authority', key, 'authority', key)
        self.authority = self._write('authority', _pem(cert))
        self.server, self.server_key = self._pair('server', key)
        self.client, self.client_key = self._pair('client', key)

    def _pair(
        self, name: str, authority: ec.EllipticCurvePrivateKey
    ) -> tuple[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        cert = _certificate(name, key, 'authority', authority)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return (
            self._write(name, _pem(cert)),
            self._write(f'{name}-key', private),
        )

    def _write(self, name: str, content: bytes) -> str:
        path = os.path.join(self._directory, f'{name}.pem')
        with open(path, 'wb') as file:
            file.write(content)
        return path


def _pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    signer: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    ca = name == issuer
    address = x509.IPAddress(ipaddress.ip_address('127.0.0.1'))
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(ca, None), True)
        .add_extension(x509.SubjectAlternativeName([address]), False)
        .sign(signer, hashes.SHA256())
    )


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, text)])
