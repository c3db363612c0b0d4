# SPDX-License-Identifier: Apache-2.0
"""Names that are the same as text, and names that are not."""

import unittest

import hypothesis
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.name import _ASN1Type as Type
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.rats import endorsement
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.x509 import names
from tests.support import makers
from tests.support import simulator as sim

NAME, UNIT, COUNTRY, ID = (
    x509.NameOID.COMMON_NAME,
    x509.NameOID.ORGANIZATIONAL_UNIT_NAME,
    x509.NameOID.COUNTRY_NAME,
    x509.NameOID.X500_UNIQUE_IDENTIFIER,
)


def name(*relatives):
    """A name of relative names; each is pairs of type and value."""
    return x509.Name(
        [
            x509.RelativeDistinguishedName(
                [x509.NameAttribute(*pair) for pair in relative]
            )
            for relative in relatives
        ]
    )


def common(text, kind=None):
    return name([(NAME, text, kind)])


class NamesTest(unittest.TestCase):
    def test_match(self):
        for one, other in (
            (common('TPM Root'), common('TPM Root', Type.PrintableString)),
            (common('TPM Root'), common('TPM Root', Type.BMPString)),
            (common('TPM Root'), common('tpm ROOT')),
            (common('TPM Root'), common('  TPM \t Root ')),
            (common('Ärzte'), common('äRZTE')),
            (common('Straße'), common('STRASSE')),
            (common('Ä'), common('A\u0308')),
            (common('TPM Root'), common('TPM\u00a0Ro\u00adot')),
            (
                name([(NAME, 'a'), (UNIT, 'b')]),
                name([(UNIT, 'B'), (NAME, 'A')]),
            ),
            (name([(COUNTRY, 'CH')]), name([(COUNTRY, 'ch')])),
            (name(), name()),
        ):
            self.assertTrue(names.match(one, other), (one, other))

    def test_no_match(self):
        for one, other in (
            (common('TPM Root'), common('TPMRoot')),
            (common('TPM Root'), common('TPM R oot')),
            (common('TPM Root 01'), common('TPM Root 02')),
            (common('TPM Root'), common('TPM Root.')),
            (common('Root'), common('R\u043eot')),  # Cyrillic
            (common('Root'), common('R\u00f6ot')),
            (common('Root'), name([(UNIT, 'Root')])),
            (common('Root'), name([(NAME, 'Root')], [(NAME, 'Root')])),
            (
                name([(NAME, 'a')], [(UNIT, 'b')]),
                name([(UNIT, 'b')], [(NAME, 'a')]),
            ),
            (
                name([(NAME, 'a')], [(UNIT, 'b')]),
                name([(NAME, 'a'), (UNIT, 'b')]),
            ),
            (common('Root'), name()),
            (
                name([(ID, b'\0a', Type.BitString)]),
                name([(ID, b'\0A', Type.BitString)]),
            ),
        ):
            self.assertFalse(names.match(one, other), (one, other))

    @hypothesis.given(st.text(max_size=20))
    @hypothesis.example('\U0001f110')  # newer than the tables: (A)
    @hypothesis.settings(database=None)
    def test_folded(self, text):
        """Case and spaces around do not count; folding is done at once."""
        want = names.folded(text)
        self.assertEqual(want, names.folded(f'  {text}\t'))
        self.assertEqual(want, names.folded(want))

    @hypothesis.given(
        st.lists(st.text('abcXYZ019 .-', min_size=1), min_size=1, max_size=3),
        st.lists(st.text('abcXYZ019 .-', min_size=1), min_size=1, max_size=3),
    )
    @hypothesis.settings(database=None)
    def test_ascii(self, one, other):
        """As OpenSSL compares ASCII: lower case, runs of spaces are one."""

        def plain(texts):
            return [' '.join(text.lower().split()) for text in texts]

        self.assertEqual(
            plain(one) == plain(other),
            names.match(
                *(
                    name(*([(NAME, text)] for text in texts))
                    for texts in (one, other)
                )
            ),
        )


class PathsTest(unittest.TestCase):
    """What a maker says of its authority under another spelling."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        key = rsa.generate_private_key(65537, 2048).public_key()
        cls.ek = objects.parse_public(sim.rsa_public(key))
        cls.root = makers.Authority('The Root')
        middle = makers.Authority('the middle', cls.root)
        cls.middle = middle.der
        middle.name = makers.named('The  Middle')
        cls.leaf = middle.certify(key)
        cls.maker = middle

    def verify(self, *lists, root=None):
        endorsement.verify_ek(
            self.leaf,
            self.ek,
            endorsement.Endorsers.read(
                {
                    'root.der': self.root.der if root is None else root,
                    'middle.der': self.middle,
                    **{f'{n}.crl': crl for n, crl in enumerate(lists)},
                }
            ),
            makers.NOW,
        )

    def refused(self, reason, *lists, **kwargs):
        with self.assertRaises(errors.EvidenceError) as caught:
            self.verify(*lists, **kwargs)
        self.assertEqual(reason, caught.exception.reason)

    def test_accepted(self):
        self.verify()

    def test_lists_of_any_spelling_count(self):
        leaf = x509.load_der_x509_certificate(self.leaf)
        for spelling in ('the middle', 'THE MIDDLE', 'The  Middle'):
            self.maker.name = makers.named(spelling)
            self.verify(self.maker.crl())
            self.refused('EK_REVOKED', self.maker.crl(leaf))
            stranger = makers.Authority(spelling)
            self.refused('EK_CRL', self.maker.crl(signer=stranger))

    def test_a_name_is_no_proof(self):
        self.refused('EK_CHAIN', root=makers.Authority('the root').der)
        impostor = makers.Authority('THE ROOT', makers.Authority('other'))
        self.refused('EK_CHAIN', root=impostor.der)
