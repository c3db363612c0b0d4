# SPDX-License-Identifier: Apache-2.0
"""Files of an operator, and the revocation lists among them."""

import unittest

import hypothesis
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.rats import endorsement
from korora_nova.rats.tpm2 import objects
from tests.support import simulator as sim
from tests.support.makers import DAY, NOW
from tests.unit.rats.x509.base import EK, Authority, read


class EndorsersTest(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.root = Authority('root')
        self.middle = Authority('middle', self.root)

    def test_every_form_of_a_file(self):
        crl = self.root.crl()
        found = read(
            {
                'a.der': self.root.der,
                'b.cer': self.middle.der,
                'again.pem': b'Text\n'
                + self.root.pem
                + b'\n'
                + self.middle.pem.replace(b'\n', b'\r\n'),
                'lists.crl': self.root.crl(encoding=Encoding.PEM)
                + self.middle.crl(encoding=Encoding.PEM),
                'c.CRL': crl,
                'd.der': self.middle.crl(),
                'padded.cer': Authority('third').der + bytes(9),
            }
        )
        self.assertEqual(3, len(found.certificates))
        self.assertEqual(4, len(found.revocations))
        self.assertEqual(((), ()), (found.unread, found.broken))

    def test_what_cannot_be_read(self):
        pem = self.root.pem
        crl = self.root.crl(encoding=Encoding.PEM)
        found = read(
            {
                'empty.pem': b'',
                'key.pem': b'-----BEGIN PRIVATE KEY-----\nAA\n'
                b'-----END PRIVATE KEY-----\n',
                'x.der': b'0',
                'half.pem': pem + pem.replace(b'M', b'!', 1),
                'empty.crl': b'',
                'cert.crl': self.root.der,
                'certs.crl': pem,
                'half.crl': crl[:-20],
                'damaged.pem': pem + crl.replace(b'M', b'-', 2),
            }
        )
        self.assertEqual(
            {'empty.pem', 'key.pem', 'x.der', 'half.pem'}, set(found.unread)
        )
        self.assertEqual(
            {'empty.crl', 'cert.crl', 'certs.crl', 'half.crl', 'damaged.pem'},
            set(found.broken),
        )
        self.assertEqual(1, len(found.certificates))

    @hypothesis.given(
        st.dictionaries(
            st.sampled_from(('a.pem', 'b.crl')),
            st.one_of(
                st.binary(max_size=99),
                st.binary(max_size=60).map(
                    lambda data: (
                        b'-----BEGIN X509 CRL-----\n'
                        + data
                        + b'-----END X509 CRL-----\n'
                    )
                ),
            ),
        )
    )
    @hypothesis.settings(deadline=None, database=None, max_examples=200)
    def test_any_file(self, files):
        found = read(files)
        self.assertFalse(found.certificates or found.revocations)
        if 'b.crl' in files:
            self.assertIn('b.crl', found.broken)


class RevocationTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ek = objects.parse_public(sim.rsa_public(EK.public_key()))
        cls.root = Authority('root')
        cls.middle = Authority('middle', cls.root)
        cls.cert = cls.middle.certify()
        cls.leaf = x509.load_der_x509_certificate(cls.cert)

    def verify(self, *lists, now=NOW, more=()):
        files = {f'{number}.crl': crl for number, crl in enumerate(lists)}
        endorsement.verify_ek(
            self.cert,
            self.ek,
            read(
                {
                    'root.pem': self.root.pem,
                    'middle.cer': self.middle.der,
                    **{
                        f'{number}.der': item.der
                        for number, item in enumerate(more)
                    },
                    **files,
                }
            ),
            now,
        )

    def refused(self, reason, *lists, **kwargs):
        with self.assertRaises(errors.EvidenceError) as caught:
            self.verify(*lists, **kwargs)
        self.assertEqual(reason, caught.exception.reason)
        self.assertTrue(caught.exception.place)
        return caught.exception

    def test_on_no_list(self):
        self.verify(
            self.root.crl(),
            self.middle.crl(),
            Authority('x').crl(until=NOW - DAY / 2),
        )

    def test_revoked(self):
        error = self.refused(
            'EK_REVOKED', self.root.crl(), self.middle.crl(self.leaf)
        )
        self.assertIn(f'{self.leaf.serial_number:x}', error.message)
        self.refused('EK_REVOKED', self.root.crl(self.middle.cert))
        # A serial number of another issuer's is another certificate.
        self.verify(self.root.crl(self.leaf))

    def test_dates(self):
        self.refused('EK_CRL', self.middle.crl(until=NOW - DAY / 2))
        self.refused('EK_CRL', self.middle.crl(since=NOW + DAY / 2))
        self.refused('EK_CRL', self.root.crl(until=NOW - DAY / 2))

    def test_the_newest_counts(self):
        old = self.middle.crl(self.leaf, since=NOW - DAY, until=NOW - DAY / 2)
        new = self.middle.crl(since=NOW - DAY / 2)
        for lists in ((old, new), (new, old)):
            self.verify(*lists)
        newer = self.middle.crl(self.leaf, since=NOW - DAY / 4)
        self.refused('EK_REVOKED', old, newer, new)

    def test_forged(self):
        stranger = Authority('middle')
        self.refused('EK_CRL', self.middle.crl(signer=stranger))
        # A namesake with another key has lists of its own.
        self.verify(stranger.crl(self.leaf), more=[stranger])
        silent = Authority('root', sign=False)
        self.refused('EK_CRL', silent.crl(), more=[silent])

    def test_every_bit_of_a_list_counts(self):
        good = self.middle.crl()
        for at in range(0, len(good), 5):
            bad = bytearray(good)
            bad[at] ^= 1
            try:
                self.verify(bytes(bad))
            except errors.EvidenceError as exc:
                self.assertEqual('EK_CRL', exc.reason)
            else:
                # Still a list, but of an issuer nobody asks about.
                name = x509.load_der_x509_crl(bytes(bad)).issuer
                self.assertNotEqual(self.middle.name, name)

    def test_unreadable(self):
        for bad in (b'', b'rubbish', self.middle.crl()[:-1], self.middle.der):
            self.assertEqual('0.crl', self.refused('EK_CRL', bad).place)

    def test_partial_lists(self):
        def point(**kwargs):
            return x509.IssuingDistributionPoint(
                **{
                    'full_name': None,
                    'relative_name': None,
                    'only_contains_user_certs': False,
                    'only_contains_ca_certs': False,
                    'only_some_reasons': None,
                    'indirect_crl': False,
                    'only_contains_attribute_certs': False,
                    **kwargs,
                }
            )

        where = [x509.UniformResourceIdentifier('http://crl.example/1')]
        self.verify(self.middle.crl(critical=[point(full_name=where)]))
        self.refused(
            'EK_REVOKED',
            self.middle.crl(since=NOW - DAY / 2),
            self.middle.crl(self.leaf, critical=[point(full_name=where)]),
        )
        for bad in (
            point(indirect_crl=True),
            point(only_contains_ca_certs=True),
            point(only_contains_user_certs=True),
            x509.DeltaCRLIndicator(1),
            x509.UnrecognizedExtension(
                x509.ObjectIdentifier('1.2.3.4'), b'\5\0'
            ),
        ):
            self.refused('EK_CRL', self.middle.crl(critical=[bad]))
