# SPDX-License-Identifier: Apache-2.0
import hashlib
import unittest
from unittest import mock

import hypothesis
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.rats import endorsement
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.x509 import certificate
from korora_nova.rats.x509 import path as certpath
from tests.support import simulator as sim
from tests.support.makers import DAY, NOW, named
from tests.unit.rats.x509.base import ECDSA_SHA256, EK, Authority, der, read


class EndorsementTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ek = objects.parse_public(sim.rsa_public(EK.public_key()))
        cls.root = Authority('root')
        cls.middle = Authority('middle', cls.root)
        cls.cert = cls.root.certify()
        cls.endorsers = read([cls.root.pem, cls.middle.pem])

    def verify(self, cert, roots=None, ek=None, now=NOW, chain=()):
        return endorsement.verify_ek(
            cert,
            ek or self.ek,
            self.endorsers if roots is None else read(roots),
            now,
            chain,
        )

    def refused(self, reason, *args, **kwargs):
        with self.assertRaises(errors.EvidenceError) as caught:
            self.verify(*args, **kwargs)
        self.assertEqual(reason, caught.exception.reason)
        return caught.exception

    def test_good(self):
        self.verify(self.middle.certify())
        self.verify(self.root.certify(), [self.root.pem])
        self.verify(
            self.middle.certify(),
            [b'rubbish', self.middle.pem + self.root.pem],
        )

    def test_critical_name_as_vendors_have_it(self):
        self.verify(
            self.root.certify(
                critical=[
                    x509.SubjectAlternativeName(
                        [x509.DirectoryName(named('id:414D4400'))]
                    )
                ]
            )
        )

    def test_no_path(self):
        self.refused('EK_CHAIN', self.middle.certify(), [])
        self.refused('EK_CHAIN', self.middle.certify(), [self.root.pem])
        self.refused('EK_CHAIN', self.middle.certify(), [self.middle.pem])
        self.refused('EK_CHAIN', Authority('root').certify())

    def test_same_names_other_keys(self):
        root = Authority('root')
        self.refused(
            'EK_CHAIN',
            Authority('middle', root).certify(),
            [self.root.pem, self.middle.pem],
        )

    def test_dates(self):
        for now in (NOW + 2 * DAY, NOW - 2 * DAY):
            self.refused('EK_VALIDITY', self.middle.certify(), now=now)
        error = self.refused(
            'EK_VALIDITY', self.middle.certify(until=NOW - DAY / 2)
        )
        self.assertEqual('2026-06-01 00:00:00+00:00', error.details['want'])
        self.assertIn('2026-05-31 12:00:00', error.details['got'])
        old = Authority('old', self.root, until=NOW - DAY / 2)
        error = self.refused(
            'EK_VALIDITY', old.certify(), [self.root.pem, old.pem]
        )
        self.assertEqual('CN=old', error.place)
        root = Authority('old root', until=NOW - DAY / 2)
        self.refused('EK_VALIDITY', root.certify(), [root.pem])

    def test_another_path_that_is_valid(self):
        new = Authority('new root')
        key = self.middle.key
        old = Authority('m', self.root, key=key, until=NOW - DAY / 2)
        fresh = Authority('m', new, key=key)
        for roots in ([old.pem, fresh.pem], [fresh.pem, old.pem]):
            self.verify(fresh.certify(), [self.root.pem, new.pem, *roots])
        self.refused(
            'EK_VALIDITY', fresh.certify(), [self.root.pem, old.pem, fresh.pem]
        )

    def test_what_is_missing_is_named(self):
        error = self.refused(
            'EK_CHAIN', self.middle.certify(), [self.middle.pem, b'rubbish']
        )
        self.assertEqual(
            {
                'want': 'CN=root',
                'got': 'none of that name',
                'place': 'ek_cert',
                'unread': '1',
            },
            error.details,
        )
        self.assertIn('CN=root', error.message)
        error = self.refused('EK_CHAIN', Authority('root').certify())
        self.assertIn('1 of that name', error.details['got'])

    def test_crosswise_authorities_end(self):
        # Each certified by the other, and no root.
        one, two = Authority('1'), Authority('2')
        pair = [
            Authority('1', two, key=one.key),
            Authority('2', one, key=two.key),
        ]
        self.refused('EK_CHAIN', one.certify(), [item.pem for item in pair])

    def test_many_authorities_of_one_name(self):
        many = [Authority('same') for _ in range(12)]
        tangle = [
            Authority('same', signer, key=item.key)
            for item in many
            for signer in many
            if item is not signer
        ]
        self.refused(
            'EK_CHAIN', many[0].certify(), [item.der for item in tangle]
        )

    def test_issuers_must_be_authorities(self):
        for odd in (
            Authority('m', self.root, ca=False),
            Authority('m', self.root, sign=False),
        ):
            self.refused('EK_CHAIN', odd.certify(), [self.root.pem, odd.pem])

    def test_path_length(self):
        root = Authority('short', path=0)
        middle = Authority('m', root)
        self.verify(root.certify(), [root.pem])
        self.refused('EK_CHAIN', middle.certify(), [root.pem, middle.pem])
        chain = [self.root]
        for index in range(certpath.MAX_PATH):
            chain.append(Authority(f'm{index}', chain[-1]))
        self.refused(
            'EK_CHAIN', chain[-1].certify(), [item.pem for item in chain]
        )
        self.verify(chain[-3].certify(), [item.pem for item in chain])

    def test_as_long_as_the_longest_of_a_maker(self):
        chain = [self.root]
        for index in range(6):
            chain.append(Authority(f'm{index}', chain[-1]))
        files = [item.pem for item in chain]
        self.verify(chain[-1].certify(), files)
        self.refused('EK_CHAIN', chain[-1].certify(), files[1:])
        self.refused('EK_CHAIN', chain[-1].certify(), files[:3] + files[4:])

    def test_marked_anchor(self):
        leaf = self.middle.certify()
        for name in ('amd.anchor.pem', 'a/b.v2.anchor.CRT'):
            self.verify(leaf, {name: self.middle.pem})
        self.verify(leaf, {'x.anchor.der': self.middle.der})
        for name in (
            'amd.pem',
            'anchor.pem',
            'x.anchors.pem',
            'a.anchor/b.pem',
        ):
            self.refused('EK_CHAIN', leaf, {name: self.middle.pem})
        # One certificate in two files, of which one is marked.
        self.verify(
            leaf, {'a.pem': self.middle.pem, 'b.anchor.pem': self.middle.pem}
        )

    def test_a_mark_excuses_nothing_else(self):
        old = Authority('m', self.root, until=NOW - DAY / 2)
        self.refused('EK_VALIDITY', old.certify(), {'a.anchor.pem': old.pem})
        for odd in (
            Authority('m', self.root, ca=False),
            Authority('m', self.root, sign=False),
            Authority('m', self.root, path=0),
        ):
            below = Authority('below', odd)
            self.refused(
                'EK_CHAIN',
                below.certify(),
                {'a.anchor.pem': odd.pem, 'below.pem': below.pem},
            )
        self.refused(
            'EK_CHAIN',
            Authority('middle', self.root).certify(),
            {'a.anchor.pem': self.middle.pem},
        )
        # It is no way around what its own issuer says.
        root = Authority('short', path=0)
        marked = Authority('m', root)
        below = Authority('below', marked)
        files = {'a.anchor.pem': marked.pem, 'below.pem': below.pem}
        self.verify(below.certify(), files)
        self.refused(
            'EK_CHAIN', below.certify(), {**files, 'root.pem': root.pem}
        )
        # The certificate itself is not its own anchor.
        leaf = self.middle.certify()
        self.refused('EK_CHAIN', leaf, {'a.anchor.der': leaf})

    def test_a_mark_does_not_hide_a_revocation(self):
        leaf, files = self.middle.certify(), {'a.anchor.pem': self.middle.pem}
        revoked = {**files, 'root.crl': self.root.crl(self.middle.cert)}
        self.refused(
            'EK_REVOKED', leaf, {**revoked, 'root.pem': self.root.pem}
        )
        mine = self.middle.crl(x509.load_der_x509_certificate(leaf))
        self.refused('EK_REVOKED', leaf, {**files, 'middle.crl': mine})

    def test_search_of_a_tangle_is_bounded(self):
        many = [Authority(f'{index % 2}') for index in range(12)]
        tangle = [
            Authority(f'{index % 2}', signer, key=item.key)
            for index, item in enumerate(many)
            for signer in many
            if item is not signer
        ]
        files = [item.der for item in (*tangle, self.root, self.middle)]
        with mock.patch.object(certpath, 'MAX_STEPS', 50):
            self.refused('EK_CHAIN', many[0].certify(), files)
            self.verify(self.middle.certify(), files)
        search = certpath.Search(read(files).certificates)
        leaf = certificate.load(many[0].certify())
        self.assertEqual([], list(search.paths((leaf,))))

    # Certificates that the host offers

    def test_offered_intermediates(self):
        leaf = self.middle.certify()
        self.refused('EK_CHAIN', leaf, [self.root.pem])
        self.verify(leaf, [self.root.pem], chain=[self.middle.der])
        self.verify(
            leaf,
            [self.root.pem],
            chain=[b'rubbish', b'', self.root.der, self.middle.der],
        )

    def test_offered_roots_are_no_anchors(self):
        mine = Authority('mine')
        below = Authority('below', mine)
        for leaf, chain in (
            (mine.certify(), [mine.der]),
            (below.certify(), [below.der, mine.der]),
        ):
            found = self.refused(
                'EK_CHAIN', leaf, [self.root.pem], chain=chain
            )
            self.assertIn('only the TPM itself names', found.message)
        # The operator's copy of the same certificate is one.
        self.verify(mine.certify(), [mine.pem], chain=[mine.der])

    def test_offered_certificates_obey_the_same_rules(self):
        for bad in (
            Authority('m', self.root, ca=False),
            Authority('m', self.root, sign=False),
            Authority('m', self.root, until=NOW - DAY / 2),
        ):
            with self.assertRaises(errors.EvidenceError):
                self.verify(bad.certify(), [self.root.pem], chain=[bad.der])
        short = Authority('short', path=0)
        middle = Authority('m', short)
        lowest = Authority('l', middle)
        self.refused(
            'EK_CHAIN',
            lowest.certify(),
            [short.pem],
            chain=[middle.der, lowest.der],
        )

    def test_a_marked_anchor_stays_one(self):
        """Although the TPM has the certificate of its issuer."""
        leaf = self.middle.certify()
        files = {'m.anchor.pem': self.middle.pem}
        self.verify(leaf, files)
        self.verify(leaf, files, chain=[self.root.der])

    def test_revocation_lists_are_the_operator_s(self):
        """A key that the TPM offers under the issuer's name hides none."""
        other = Authority('root')
        forged = self.root.crl(signer=other)
        files = {'root.pem': self.root.pem, 'list.crl': forged}
        leaf = self.root.certify()
        self.refused('EK_CRL', leaf, files)
        self.refused('EK_CRL', leaf, files, chain=[other.der])
        revoked = self.root.crl(
            x509.load_der_x509_certificate(self.middle.der)
        )
        self.refused(
            'EK_REVOKED',
            self.middle.certify(),
            {'root.pem': self.root.pem, 'list.crl': revoked},
            chain=[self.middle.der],
        )

    def test_chain_of_nv_indices(self):
        one, two = self.root.der, self.middle.der
        for data, found in (
            ([], []),
            ([b''], []),
            ([one], [one]),
            ([one + two], [one, two]),
            ([one[:7], one[7:] + two], [one, two]),
            ([one + bytes(9), b'\xff' * 9 + two], [one, two]),
            ([one, b'rubbish', two], [one]),
            ([one + two[:-1]], [one]),
            ([b'\x30\x80'], []),
            ([one] * 17, [one] * 16),
        ):
            self.assertEqual(found, endorsement.chain(data))

    def test_hash_of_a_key_without_certificate(self):
        self.assertEqual(
            hashlib.sha256(self.ek.name).hexdigest(),
            endorsement.uncertified_hash(self.ek),
        )

    def test_ecc_keys(self):
        for curve in (ec.SECP256R1(), ec.SECP384R1()):
            key = ec.generate_private_key(curve).public_key()
            ek = objects.parse_public(sim.ecc_ek(key))
            self.verify(self.root.certify(key=key), ek=ek)
            self.refused('EK_MISMATCH', self.root.certify(), ek=ek)

    def test_unknown_critical_extension(self):
        odd = x509.UnrecognizedExtension(
            x509.ObjectIdentifier('1.2.3.4'), b'\5\0'
        )
        self.refused('EK_CHAIN', self.root.certify(critical=[odd]))
        middle = Authority('m', self.root, critical=[odd])
        self.refused('EK_CHAIN', middle.certify(), [self.root.pem, middle.pem])

    def test_usage(self):
        self.refused('EK_EKU', self.root.certify(eku=None))
        self.refused(
            'EK_EKU',
            self.root.certify(eku=x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH),
        )
        self.refused('EK_EKU', self.root.certify(ca=True))
        self.verify(self.root.certify(ca=False))

    def test_certificate_of_another_key(self):
        other = rsa.generate_private_key(65537, 2048).public_key()
        self.refused('EK_MISMATCH', self.root.certify(key=other))
        self.refused(
            'EK_MISMATCH',
            self.root.certify(
                key=ec.generate_private_key(ec.SECP256R1()).public_key()
            ),
        )

    def test_key_of_another_kind(self):
        self.refused(
            'EK_MISMATCH',
            self.root.certify(),
            ek=objects.parse_public(sim.SimTpm().srk_public),
        )

    def test_rubbish(self):
        good = self.root.certify()
        for cert in (
            b'',
            b'rubbish',
            good[:-1],
            good + b'\1',
            good + b'\0\xff',
            good + good,
            good + bytes(certificate.MAX_CERTIFICATE),
        ):
            self.refused('EK_MISMATCH', cert)

    def test_size_of_what_begins_an_nv_index(self):
        good = self.root.certify()
        for data, size in (
            (good, len(good)),
            (good + b'whatever', len(good)),
            (good[:9], len(good)),
            (b'\x30\x03abc', 5),
            (b'\x30\x81\x03abc', 6),
            (b'\x30\x80abc', 0),
            (b'\x30\x82\x03', 0),
            (b'\x30', 0),
            (b'\x31\x03abc', 0),
            (b'', 0),
        ):
            self.assertEqual(size, certificate.size(data), data[:8])

    def test_padding_of_an_nv_index(self):
        good = self.root.certify()
        for padding in (b'\0', b'\xff', bytes(700), b'\xff' * 700):
            self.assertEqual(good, self.verify(good + padding))

    def test_end_of_a_line_after_a_file(self):
        good = self.root.certify()
        for end in (b'\n', b'\r\n'):
            self.assertEqual(good, self.verify(good + end))
            self.verify(good, [self.root.der + end])
        for end in (b'\r', b'\n\n', b'\n\0', b' ', b'\0\n'):
            self.refused('EK_MISMATCH', good + end)
            self.refused('EK_CHAIN', good, [self.root.der + end])

    def test_key_declared_for_oaep(self):
        # The same bytes but the algorithm: rsaEncryption to RSAES-OAEP.
        numbers = EK.public_key().public_numbers()
        plain, oaep = (
            bytes.fromhex('06092a864886f70d0101') + end
            for end in (b'\1', b'\7')
        )
        leaf = x509.load_der_x509_certificate(self.root.certify())
        tbs = leaf.tbs_certificate_bytes
        self.assertEqual(1, tbs.count(plain))
        tbs = tbs.replace(plain, oaep)
        signature = self.root.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
        cert = der(0x30, tbs + ECDSA_SHA256 + der(3, b'\0' + signature))
        self.assertEqual(cert, self.verify(cert))
        self.assertEqual(
            der(
                0x30,
                b''.join(
                    der(
                        2, number.to_bytes(number.bit_length() // 8 + 1, 'big')
                    )
                    for number in (numbers.n, numbers.e)
                ),
            ),
            certificate.bare_key(certificate.load(cert)),
        )
        other = rsa.generate_private_key(65537, 2048).public_key()
        self.refused(
            'EK_MISMATCH', cert, ek=objects.parse_public(sim.rsa_public(other))
        )

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
        cert = data.draw(
            st.one_of(
                st.binary(max_size=200),
                st.integers(0, 255).map(
                    lambda value: good[:at] + bytes((value,)) + good[at + 1 :]
                ),
            )
        )
        try:
            self.verify(cert)
        except errors.EvidenceError:
            return
        self.assertEqual(good, cert)
