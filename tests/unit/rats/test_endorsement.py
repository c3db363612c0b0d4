# SPDX-License-Identifier: Apache-2.0
import datetime
import unittest

import hypothesis
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.rats import endorsement, tpm2
from tests.unit import simulator as sim

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
_EK = rsa.generate_private_key(65537, 2048)


def named(text):
    return x509.Name([x509.NameAttribute(
        x509.oid.NameOID.COMMON_NAME, text)])


class Authority:

    def __init__(self, name, parent=None, *, path=None, ca=True,
                 sign=True, until=NOW + DAY, critical=()):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = named(name)
        issuer = parent or self
        builder = certificate(self.key.public_key(), self.name, issuer.name,
                              until).add_extension(
            x509.BasicConstraints(ca, path if ca else None), True)
        if not sign:
            builder = builder.add_extension(x509.KeyUsage(
                True, False, False, False, False, False, False, False,
                False), True)
        for extension in critical:
            builder = builder.add_extension(extension, True)
        self.cert = builder.sign(issuer.key, hashes.SHA256())

    @property
    def pem(self):
        return self.cert.public_bytes(Encoding.PEM)

    def certify(self, key=None, *, eku=endorsement.EKU_EK, until=NOW + DAY,
                ca=None, critical=()):
        builder = certificate(key or _EK.public_key(), x509.Name([]),
                              self.name, until)
        if eku:
            builder = builder.add_extension(x509.ExtendedKeyUsage([eku]),
                                            False)
        if ca is not None:
            builder = builder.add_extension(
                x509.BasicConstraints(ca, None), True)
        for extension in critical:
            builder = builder.add_extension(extension, True)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(
            Encoding.DER)


def certificate(key, subject, issuer, until):
    return (x509.CertificateBuilder().public_key(key).subject_name(subject)
            .issuer_name(issuer).serial_number(x509.random_serial_number())
            .not_valid_before(NOW - DAY).not_valid_after(until))


class EndorsementTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ek = tpm2.parse_public(sim.rsa_public(_EK.public_key()))
        cls.root = Authority('root')
        cls.middle = Authority('middle', cls.root)
        cls.cert = cls.root.certify()

    def verify(self, cert, roots=None, ek=None, now=NOW):
        endorsement.verify_ek(
            cert, ek or self.ek,
            [self.root.pem, self.middle.pem] if roots is None else roots,
            now)

    def refused(self, reason, *args, **kwargs):
        with self.assertRaises(errors.EvidenceError) as caught:
            self.verify(*args, **kwargs)
        self.assertEqual(reason, caught.exception.reason)

    def test_good(self):
        self.verify(self.middle.certify())
        self.verify(self.root.certify(), [self.root.pem])
        self.verify(self.middle.certify(),
                    [b'rubbish', self.middle.pem + self.root.pem])

    def test_critical_name_as_vendors_have_it(self):
        self.verify(self.root.certify(critical=[
            x509.SubjectAlternativeName([x509.DirectoryName(
                named('id:414D4400'))])]))

    def test_no_path(self):
        self.refused('EK_CHAIN', self.middle.certify(), [])
        self.refused('EK_CHAIN', self.middle.certify(), [self.root.pem])
        self.refused('EK_CHAIN', self.middle.certify(), [self.middle.pem])
        self.refused('EK_CHAIN', Authority('root').certify())

    def test_same_names_other_keys(self):
        root = Authority('root')
        self.refused('EK_CHAIN', Authority('middle', root).certify(),
                     [self.root.pem, self.middle.pem])

    def test_dates(self):
        self.refused('EK_CHAIN', self.middle.certify(), now=NOW + 2 * DAY)
        self.refused('EK_CHAIN', self.middle.certify(), now=NOW - 2 * DAY)
        self.refused('EK_CHAIN', self.middle.certify(until=NOW - DAY / 2))
        old = Authority('old', self.root, until=NOW - DAY / 2)
        self.refused('EK_CHAIN', old.certify(), [self.root.pem, old.pem])

    def test_issuers_must_be_authorities(self):
        for odd in (Authority('m', self.root, ca=False),
                    Authority('m', self.root, sign=False)):
            self.refused('EK_CHAIN', odd.certify(),
                         [self.root.pem, odd.pem])

    def test_path_length(self):
        root = Authority('short', path=0)
        middle = Authority('m', root)
        self.verify(root.certify(), [root.pem])
        self.refused('EK_CHAIN', middle.certify(), [root.pem, middle.pem])
        chain = [self.root]
        for index in range(endorsement.MAX_PATH):
            chain.append(Authority(f'm{index}', chain[-1]))
        self.refused('EK_CHAIN', chain[-1].certify(),
                     [item.pem for item in chain])
        self.verify(chain[-3].certify(), [item.pem for item in chain])

    def test_unknown_critical_extension(self):
        odd = x509.UnrecognizedExtension(
            x509.ObjectIdentifier('1.2.3.4'), b'\5\0')
        self.refused('EK_CHAIN', self.root.certify(critical=[odd]))
        middle = Authority('m', self.root, critical=[odd])
        self.refused('EK_CHAIN', middle.certify(),
                     [self.root.pem, middle.pem])

    def test_usage(self):
        self.refused('EK_EKU', self.root.certify(eku=None))
        self.refused('EK_EKU', self.root.certify(
            eku=x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH))
        self.refused('EK_EKU', self.root.certify(ca=True))
        self.verify(self.root.certify(ca=False))

    def test_certificate_of_another_key(self):
        other = rsa.generate_private_key(65537, 2048).public_key()
        self.refused('EK_MISMATCH', self.root.certify(other))
        self.refused('EK_MISMATCH', self.root.certify(
            ec.generate_private_key(ec.SECP256R1()).public_key()))

    def test_key_of_another_kind(self):
        self.refused('EK_MISMATCH', self.root.certify(),
                     ek=tpm2.parse_public(sim.SimTpm().srk_public))

    def test_rubbish(self):
        good = self.root.certify()
        for cert in (b'', b'rubbish', good[:-1], good + b'\0',
                     good + bytes(endorsement.MAX_CERTIFICATE)):
            self.refused('EK_MISMATCH', cert)

    def test_every_bit_of_the_certificate_counts(self):
        good = self.root.certify()
        for at in range(0, len(good), 3):
            bad = bytearray(good)
            bad[at] ^= 1
            with self.assertRaises(errors.EvidenceError):
                self.verify(bytes(bad))

    @hypothesis.given(st.data())
    @hypothesis.settings(deadline=None, database=None, max_examples=300)
    def test_only_evidence_errors(self, data):
        good = self.cert
        at = data.draw(st.integers(0, len(good) - 1))
        cert = data.draw(st.one_of(
            st.binary(max_size=200), st.integers(0, 255).map(
                lambda value: good[:at] + bytes((value,))
                + good[at + 1:])))
        try:
            self.verify(cert)
        except errors.EvidenceError:
            return
        self.assertEqual(good, cert)
