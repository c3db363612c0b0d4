# SPDX-License-Identifier: Apache-2.0
"""A site's PKI for the native TLS of libvirt: what stock Nova uses."""

from __future__ import annotations

import datetime
import ipaddress
import pathlib
import subprocess

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_USAGES = {
    'server': ExtendedKeyUsageOID.SERVER_AUTH,
    'client': ExtendedKeyUsageOID.CLIENT_AUTH,
}


class Authority:
    """A CA that lives as long as the bench."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name('bench migration CA')
        self.certificate = (
            _builder(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(True, 0), True)
            .add_extension(_usage(signs=True), True)
            .sign(self._key, hashes.SHA256())
        )

    def install(self, to: pathlib.Path, host: str, address: str) -> None:
        """Write what QEMU reads: CA, certificates, keys, parameters."""
        to.mkdir(parents=True, exist_ok=True)
        (to / 'ca-cert.pem').write_bytes(_pem(self.certificate))
        for role, usage in _USAGES.items():
            key = ec.generate_private_key(ec.SECP256R1())
            leaf = (
                _builder(_name(host), self._name, key)
                .add_extension(x509.BasicConstraints(False, None), True)
                .add_extension(_usage(signs=False), True)
                .add_extension(x509.ExtendedKeyUsage([usage]), False)
                .add_extension(_names(host, address), False)
                .sign(self._key, hashes.SHA256())
            )
            (to / f'{role}-cert.pem').write_bytes(_pem(leaf))
            (to / f'{role}-key.pem').write_bytes(_private(key))
        # Without it each of QEMU's servers makes parameters for 0.8 s
        subprocess.run(
            [
                'openssl',
                'genpkey',
                '-genparam',
                '-algorithm',
                'DH',
                '-pkeyopt',
                'group:ffdhe2048',
                '-out',
                str(to / 'dh-params.pem'),
            ],
            check=True,
            capture_output=True,
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _names(host: str, address: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [
            x509.DNSName(host),
            x509.IPAddress(ipaddress.ip_address(address)),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - datetime.timedelta(hours=1),
        not_valid_after=now + datetime.timedelta(days=2),
    )


def _usage(signs: bool) -> x509.KeyUsage:
    """GnuTLS wants both of a leaf's."""
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


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
