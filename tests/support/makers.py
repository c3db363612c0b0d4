# SPDX-License-Identifier: Apache-2.0
"""Authorities, certificates and revocation lists of TPM makers for tests."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
EKU_EK = x509.ObjectIdentifier('2.23.133.8.1')


def named(text):
    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, text)])


class Authority:
    def __init__(
        self,
        name,
        parent=None,
        *,
        path=None,
        ca=True,
        sign=True,
        until=NOW + DAY,
        critical=(),
        key=None,
    ):
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.name = named(name)
        issuer = parent or self
        builder = certificate(
            self.key.public_key(), self.name, issuer.name, until
        ).add_extension(x509.BasicConstraints(ca, path if ca else None), True)
        if not sign:
            builder = builder.add_extension(
                x509.KeyUsage(
                    True,
                    False,
                    False,
                    False,
                    False,
                    False,
                    False,
                    False,
                    False,
                ),
                True,
            )
        for extension in critical:
            builder = builder.add_extension(extension, True)
        self.cert = builder.sign(issuer.key, hashes.SHA256())

    @property
    def pem(self):
        return self.cert.public_bytes(Encoding.PEM)

    @property
    def der(self):
        return self.cert.public_bytes(Encoding.DER)

    def crl(
        self,
        *revoked,
        since=NOW - DAY,
        until=NOW + DAY,
        critical=(),
        signer=None,
        encoding=Encoding.DER,
    ):
        """A revocation list of these certificates."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(since)
            .next_update(until)
        )
        for cert in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(cert.serial_number)
                .revocation_date(NOW - DAY)
                .build()
            )
        for extension in critical:
            builder = builder.add_extension(extension, True)
        return builder.sign(
            (signer or self).key, hashes.SHA256()
        ).public_bytes(encoding)

    def certify(
        self, key, *, eku=EKU_EK, until=NOW + DAY, ca=None, critical=()
    ):
        builder = certificate(key, x509.Name([]), self.name, until)
        if eku:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([eku]), False
            )
        if ca is not None:
            builder = builder.add_extension(
                x509.BasicConstraints(ca, None), True
            )
        for extension in critical:
            builder = builder.add_extension(extension, True)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(
            Encoding.DER
        )


def certificate(key, subject, issuer, until):
    return (
        x509.CertificateBuilder()
        .public_key(key)
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(until)
    )
