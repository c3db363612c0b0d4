# SPDX-License-Identifier: Apache-2.0
"""Certificates that are not DER, and what must not pass for them."""

import unittest

import hypothesis
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.rats import endorsement
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.x509 import certificate, der, deviations, revocation
from korora_nova.rats.x509.der import Element
from tests.support import makers, reissue
from tests.support import simulator as sim
from tests.support.reissue import FALSE, NULL, TRUE, extensions, value

BASIC_CONSTRAINTS = '551d13'
DISTRIBUTION_POINT = '551d1c'
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier('1.2.3.4'), b'\5\0')
ECDSA_NULL = reissue.ECDSA_SHA256.of((*reissue.ECDSA_SHA256.parts(), NULL))
ZERO = Element(0x02, b'\0')
_EK = rsa.generate_private_key(65537, 2048)


def algorithm(*more):
    return reissue.ECDSA_SHA256.of((*reissue.ECDSA_SHA256.parts(), *more))


class DeviationsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ek = objects.parse_public(sim.rsa_public(_EK.public_key()))
        cls.maker = makers.Authority('maker')
        cls.leaf = cls.certify()

    @classmethod
    def certify(cls, **kwargs):
        return cls.maker.certify(_EK.public_key(), **{'ca': False, **kwargs})

    def reissue(self, *args, **kwargs):
        return reissue.reissued(args[0], self.maker.key, *args[1:], **kwargs)

    def verify(self, leaf, root=None, crl=None):
        files = {'root.der': self.maker.der if root is None else root}
        if crl is not None:
            files['list.crl'] = crl
        endorsers = endorsement.Endorsers.read(files)
        self.assertEqual(
            leaf, endorsement.verify_ek(leaf, self.ek, endorsers, makers.NOW)
        )

    def refused(self, reason, *args, **kwargs):
        with self.assertRaises(errors.EvidenceError) as caught:
            self.verify(*args, **kwargs)
        self.assertEqual(reason, caught.exception.reason)

    def test_defaults_written_out(self):
        for change in (
            reissue.with_critical_false,
            value(BASIC_CONSTRAINTS, FALSE),
        ):
            leaf = self.reissue(self.leaf, extensions(change))
            self.assertNotEqual(len(self.leaf), len(leaf))
            self.verify(leaf)

    def test_a_critical_extension_is_not_excused(self):
        leaf = self.certify(critical=[UNKNOWN])
        plain = self.reissue(leaf, extensions(reissue.with_critical_false))
        self.refused('EK_CHAIN', plain)
        for critical in (Element(0x01, b'\1'), Element(0x01, b'')):
            self.refused(
                'EK_MISMATCH',
                self.reissue(
                    leaf,
                    extensions(
                        lambda parts, c=critical: [parts[0], c, parts[-1]]
                    ),
                ),
            )

        def uncritical(parts):
            return [parts[0], FALSE, parts[-1]]

        self.verify(self.reissue(leaf, extensions(uncritical)))

        def twice(parts):
            return [parts[0], FALSE, FALSE, parts[-1]]

        self.refused('EK_MISMATCH', self.reissue(leaf, extensions(twice)))

    def test_an_authority_is_none_the_less_one(self):
        leaf = self.certify(ca=True)
        self.refused(
            'EK_EKU',
            self.reissue(leaf, extensions(reissue.with_critical_false)),
        )

    def test_what_is_no_authority_does_not_become_one(self):
        for content in (
            (FALSE,),
            (FALSE, ZERO),
            (FALSE, TRUE),
            (TRUE, FALSE),
            (Element(0x01, b'\1'),),
        ):
            root = self.reissue(
                self.maker.der, extensions(value(BASIC_CONSTRAINTS, *content))
            )
            self.refused('EK_CHAIN', self.leaf, root)

    def test_basic_constraints_of_no_kind(self):
        for content in ((FALSE, FALSE), (ZERO, FALSE), (FALSE, NULL)):
            self.refused(
                'EK_MISMATCH',
                self.reissue(
                    self.leaf, extensions(value(BASIC_CONSTRAINTS, *content))
                ),
            )

    def test_the_same_extension_twice(self):
        def doubled(fields):
            (items,) = fields[-1].parts()
            item = items.parts()[0]
            parts = reissue.with_critical_false(item.parts())
            fields[-1] = fields[-1].of(
                (items.of((*items.parts(), item.of(parts))),)
            )

        self.refused('EK_MISMATCH', self.reissue(self.leaf, doubled))

    def test_parameters_of_ecdsa(self):
        self.verify(
            self.reissue(self.leaf, inner=ECDSA_NULL),
            self.reissue(self.maker.der, inner=ECDSA_NULL),
        )
        for more in (
            (Element(0x05, b'\0'),),
            (NULL, NULL),
            (Element(0x30, b''),),
            (reissue.ECDSA_SHA256.parts()[0],),
        ):
            odd = algorithm(*more)
            self.refused('EK_MISMATCH', self.reissue(self.leaf, inner=odd))
            self.refused(
                'EK_CHAIN', self.leaf, self.reissue(self.maker.der, inner=odd)
            )

    def test_both_algorithms_are_the_same(self):
        for inner, outer in (
            (ECDSA_NULL, reissue.ECDSA_SHA256),
            (reissue.ECDSA_SHA256, ECDSA_NULL),
        ):
            self.refused(
                'EK_MISMATCH',
                self.reissue(self.leaf, inner=inner, outer=outer),
            )

    def test_signature_is_over_the_bytes_as_they_are(self):
        # The same fields, but with the signature over the DER of them.
        for odd in (
            self.reissue(self.leaf, extensions(reissue.with_critical_false)),
            self.reissue(self.leaf, inner=ECDSA_NULL),
        ):
            whole = der.element(odd)
            neat = deviations.certificate(whole)
            tbs, signed_with, _ = whole.parts()
            good = self.reissue(neat.der)
            self.verify(good)
            forged = whole.of((tbs, signed_with, der.element(good).parts()[2]))
            self.refused('EK_CHAIN', forged.der)

    def test_signatures_are_of_whole_octets(self):
        for good in (self.leaf, self.maker.crl()):
            whole = der.element(good)
            tbs, signed_with, bits = whole.parts()
            cut = Element(bits.tag, b'\x08' + bits.content[1:])
            for read in (certificate.load, revocation.load):
                with self.assertRaises(ValueError):
                    read(whole.of((tbs, signed_with, cut)).der)

    def test_every_bit_counts(self):
        leaf = self.reissue(
            self.leaf,
            extensions(reissue.with_critical_false),
            inner=ECDSA_NULL,
        )
        self.verify(leaf)
        for at in range(len(leaf)):
            bad = bytearray(leaf)
            bad[at] ^= 1 << at % 8
            with self.assertRaises(errors.EvidenceError):
                self.verify(bytes(bad))

    def test_lists(self):
        leaf = x509.load_der_x509_certificate(self.leaf)
        point = x509.IssuingDistributionPoint(
            full_name=None,
            relative_name=x509.RelativeDistinguishedName(
                list(makers.named('point'))
            ),
            only_contains_user_certs=False,
            only_contains_ca_certs=False,
            only_some_reasons=None,
            indirect_crl=False,
            only_contains_attribute_certs=False,
        )

        def written_out(parts):
            if parts[0].content.hex() != DISTRIBUTION_POINT:
                return parts
            kept = der.element(parts[-1].content).parts()
            return value(
                DISTRIBUTION_POINT,
                *kept,
                *(Element(tag, b'\0') for tag in (0x81, 0x82, 0x84, 0x85)),
            )(parts)

        for crl, reason in (
            (self.maker.crl(leaf, critical=[point]), 'EK_REVOKED'),
            (self.maker.crl(critical=[point]), None),
        ):
            odd = self.reissue(crl, extensions(written_out), inner=ECDSA_NULL)
            with self.assertRaises(ValueError):
                x509.load_der_x509_crl(odd)
            for data in (odd, odd + b'\n'):
                if reason:
                    self.refused(reason, self.leaf, crl=data)
                else:
                    self.verify(self.leaf, crl=data)
            self.refused(
                'EK_CRL', self.leaf, crl=odd[:-1] + bytes([odd[-1] ^ 1])
            )
            self.refused(
                'EK_CRL',
                self.leaf,
                crl=self.reissue(
                    crl, inner=ECDSA_NULL, outer=reissue.ECDSA_SHA256
                ),
            )

    def test_a_partial_list_stays_partial(self):
        point = x509.IssuingDistributionPoint(
            None, None, True, False, None, False, False
        )

        def written_out(parts):
            return value(
                DISTRIBUTION_POINT,
                Element(0x81, b'\xff'),
                Element(0x82, b'\0'),
            )(parts)

        crl = self.maker.crl(critical=[point])
        self.refused(
            'EK_CRL',
            self.leaf,
            crl=self.reissue(crl, extensions(written_out)),
        )


class PropertiesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        maker = makers.Authority('maker', path=3)
        cls.key = maker.key
        cls.good = [
            maker.der,
            maker.certify(_EK.public_key(), ca=False, critical=[UNKNOWN]),
            maker.certify(_EK.public_key(), ca=True),
        ]

    @hypothesis.given(st.data())
    @hypothesis.settings(deadline=None, database=None, max_examples=200)
    def test_defaults_written_out_say_the_same(self, data):
        """Any of them written out reads as none of them does."""
        good = data.draw(st.sampled_from(self.good))

        def change(parts):
            if parts[0].content.hex() == BASIC_CONSTRAINTS:
                kept = der.element(parts[-1].content).parts()
                if TRUE not in kept and data.draw(st.booleans()):
                    parts = value(BASIC_CONSTRAINTS, FALSE, *kept)(parts)
            written = data.draw(st.booleans())
            return reissue.with_critical_false(parts) if written else parts

        null = data.draw(st.booleans())
        odd = reissue.reissued(
            good,
            self.key,
            extensions(change),
            inner=ECDSA_NULL if null else reissue.ECDSA_SHA256,
        )
        want, got = certificate.load(good).x509, certificate.load(odd).x509
        self.assertEqual(list(want.extensions), list(got.extensions))
        self.assertEqual(want.subject, got.subject)
        self.assertEqual(want.public_key(), got.public_key())
        self.assertEqual(odd, certificate.load(odd).der)

    def test_der_stays_as_it_is(self):
        for good in self.good:
            self.assertEqual(
                good, deviations.certificate(der.element(good)).der
            )

    @hypothesis.given(st.binary(max_size=300))
    @hypothesis.settings(database=None)
    def test_elements_give_their_bytes(self, data):
        try:
            found = der.elements(data)
        except ValueError:
            return
        self.assertEqual(data, b''.join(item.der for item in found))

    @hypothesis.given(st.data())
    @hypothesis.settings(deadline=None, database=None, max_examples=300)
    def test_any_bytes(self, data):
        """Nothing but ValueError, and a second time changes nothing."""
        damaged = bytearray(data.draw(st.sampled_from(self.good)))
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(damaged) - 1))
            damaged[at] = data.draw(st.integers(0, 255))
        for read in (deviations.certificate, deviations.revocation_list):
            try:
                once = read(der.element(bytes(damaged)))
            except ValueError:
                continue
            self.assertEqual(once, read(once))
