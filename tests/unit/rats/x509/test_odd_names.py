# SPDX-License-Identifier: Apache-2.0
import unittest

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from korora_nova import errors
from korora_nova.rats import endorsement
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.x509 import certificate
from tests.support import makers
from tests.support import simulator as sim
from tests.support.makers import DAY, NOW
from tests.unit.rats.x509.base import ECDSA_SHA256, EK, Authority, der, read


class OddNamesTest(unittest.TestCase):
    """Names as Nuvoton writes them, and what must not pass for them."""

    def setUp(self):
        super().setUp()
        self.ek = objects.parse_public(sim.rsa_public(EK.public_key()))
        self.maker = Authority('maker')
        self.maker.name = x509.Name(
            [
                x509.RelativeDistinguishedName(
                    [
                        x509.NameAttribute(oid, text)
                        for oid, text in (
                            (x509.NameOID.COMMON_NAME, 'CN'),
                            (x509.NameOID.ORGANIZATION_NAME, 'Organisation'),
                            (x509.NameOID.COUNTRY_NAME, 'TW'),
                        )
                    ]
                )
            ]
        )

    def disordered(self, good):
        """The certificate with the SET of each name turned round."""
        cert = x509.load_der_x509_certificate(good)
        name = self.maker.name.public_bytes()
        # SEQUENCE, SET, and three attributes of which each says its size.
        parts, at = [], 4
        while at < len(name):
            parts.append(name[at : at + 2 + name[at + 1]])
            at += len(parts[-1])
        turned = name[:4] + b''.join(reversed(parts))
        self.assertNotEqual(name, turned)
        tbs = cert.tbs_certificate_bytes.replace(name, turned)
        signature = self.maker.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
        return der(0x30, tbs + ECDSA_SHA256 + der(3, b'\0' + signature))

    def authority(self):
        builder = makers.certificate(
            self.maker.key.public_key(),
            self.maker.name,
            self.maker.name,
            NOW + DAY,
        ).add_extension(x509.BasicConstraints(True, 0), True)
        return builder.sign(self.maker.key, hashes.SHA256()).public_bytes(
            Encoding.DER
        )

    def test_accepted_and_kept_as_it_is(self):
        root = self.disordered(self.authority())
        cert = self.disordered(self.maker.certify())
        for value in (root, cert):
            with self.assertRaises(ValueError):
                x509.load_der_x509_certificate(value)
        for authority in (root, self.authority()):
            self.assertEqual(
                cert,
                endorsement.verify_ek(
                    cert + bytes(9), self.ek, read([authority]), NOW
                ),
            )

    def test_the_signature_is_over_the_bytes_as_they_are(self):
        good = self.maker.certify()
        tbs = certificate.load(self.disordered(good)).tbs
        signature = x509.load_der_x509_certificate(good).signature
        forged = der(0x30, tbs + ECDSA_SHA256 + der(3, b'\0' + signature))
        with self.assertRaises(errors.EvidenceError) as caught:
            endorsement.verify_ek(
                forged, self.ek, read([self.authority()]), NOW
            )
        self.assertEqual('EK_CHAIN', caught.exception.reason)

    def test_every_bit_counts(self):
        cert = self.disordered(self.maker.certify())
        endorsers = read([self.disordered(self.authority())])
        for at in range(0, len(cert), 3):
            bad = bytearray(cert)
            bad[at] ^= 1
            with self.assertRaises(errors.EvidenceError):
                endorsement.verify_ek(bytes(bad), self.ek, endorsers, NOW)

    def test_two_signature_algorithms(self):
        good = self.maker.certify()
        other = good.replace(
            bytes.fromhex('2a8648ce3d040302'),
            bytes.fromhex('2a8648ce3d040303'),
        )
        tail = good.rindex(bytes.fromhex('2a8648ce3d040302'))
        for bad in (other[:tail] + good[tail:], good[:tail] + other[tail:]):
            with self.assertRaises(errors.EvidenceError) as caught:
                endorsement.verify_ek(
                    bad, self.ek, read([self.authority()]), NOW
                )
            self.assertEqual('EK_MISMATCH', caught.exception.reason)

    def test_weak_hash(self):
        cert = (
            makers.certificate(
                EK.public_key(), x509.Name([]), self.maker.name, NOW + DAY
            )
            .add_extension(x509.ExtendedKeyUsage([endorsement.EKU_EK]), False)
            .sign(self.maker.key, hashes.SHA224())
            .public_bytes(Encoding.DER)
        )
        with self.assertRaises(errors.EvidenceError) as caught:
            endorsement.verify_ek(cert, self.ek, read([self.authority()]), NOW)
        self.assertIn('weak', caught.exception.message)
