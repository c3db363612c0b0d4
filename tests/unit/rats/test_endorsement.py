# SPDX-License-Identifier: Apache-2.0
import unittest
from unittest import mock

import hypothesis
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.rats import endorsement
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.x509 import certificate
from korora_nova.rats.x509 import path as certpath
from tests.support import makers
from tests.support import simulator as sim
from tests.support.makers import DAY, NOW, named

ECDSA_SHA256 = bytes.fromhex('300a06082a8648ce3d040302')
_EK = rsa.generate_private_key(65537, 2048)


class Authority(makers.Authority):
    def certify(self, key=None, **kwargs):
        return super().certify(key or _EK.public_key(), **kwargs)


def read(files):
    """Endorsers from files without names."""
    if not isinstance(files, dict):
        files = {str(number): data for number, data in enumerate(files)}
    return endorsement.Endorsers.read(files)


def der(tag, content):
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = (size.bit_length() + 7) // 8
    return bytes((tag, 0x80 | octets)) + size.to_bytes(octets, 'big') + content


class EndorsementTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ek = objects.parse_public(sim.rsa_public(_EK.public_key()))
        cls.root = Authority('root')
        cls.middle = Authority('middle', cls.root)
        cls.cert = cls.root.certify()
        cls.endorsers = read([cls.root.pem, cls.middle.pem])

    def verify(self, cert, roots=None, ek=None, now=NOW):
        return endorsement.verify_ek(
            cert,
            ek or self.ek,
            self.endorsers if roots is None else read(roots),
            now,
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
        numbers = _EK.public_key().public_numbers()
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


class OddNamesTest(unittest.TestCase):
    """Names as Nuvoton writes them, and what must not pass for them."""

    def setUp(self):
        super().setUp()
        self.ek = objects.parse_public(sim.rsa_public(_EK.public_key()))
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
                _EK.public_key(), x509.Name([]), self.maker.name, NOW + DAY
            )
            .add_extension(x509.ExtendedKeyUsage([endorsement.EKU_EK]), False)
            .sign(self.maker.key, hashes.SHA224())
            .public_bytes(Encoding.DER)
        )
        with self.assertRaises(errors.EvidenceError) as caught:
            endorsement.verify_ek(cert, self.ek, read([self.authority()]), NOW)
        self.assertIn('weak', caught.exception.message)


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
        cls.ek = objects.parse_public(sim.rsa_public(_EK.public_key()))
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
