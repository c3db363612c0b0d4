# SPDX-License-Identifier: Apache-2.0
"""Certificates whose names are digests of keys."""

import base64
import hashlib
import unittest

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from korora_nova import errors
from korora_nova.rats.x509 import stream

NOW = 1767225600.0
CLOUD = '11111111-2222-4333-8444-555555555555'


def key(curve=None):
    return ec.generate_private_key(curve or ec.SECP256R1())


class Base(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.ca, self.own = key(), key()
        self.authority = stream.authority(self.ca, CLOUD, 'a' * 16, NOW)

    def issue(self, private=None, host='h1', **fields):
        return stream.issue(
            (private or self.own).public_key(),
            self.authority,
            self.ca,
            **{'cloud': CLOUD, 'host': host, 'at': NOW, 'life': 7200.0}
            | fields,
        )

    def invalid(self, reason, function, *args):
        with self.assertRaises(errors.KororaError) as caught:
            function(*args)
        self.assertEqual(reason, caught.exception.reason)
        return caught.exception.message


class NameTest(Base):
    def test_digest_of_the_key(self):
        """Written out once more, by the words of the specification."""
        der = self.own.public_key().public_bytes(
            serialization.Encoding.DER,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )
        label, _, rest = stream.name_of(self.own.public_key()).partition('.')
        self.assertEqual('korora.invalid', rest)
        self.assertEqual(52, len(label))
        self.assertRegex(label, '^[a-z2-7]*$')
        padded = label.upper() + '=' * 4
        self.assertEqual(
            hashlib.sha256(der).digest(), base64.b32decode(padded)
        )

    def test_whose_making(self):
        self.assertTrue(stream.is_name(stream.name_of(self.own.public_key())))
        for other in ('h1', '', 'korora.invalid', 'x.korora.invalid.example'):
            self.assertFalse(stream.is_name(other), other)


class IssueTest(Base):
    def setUp(self):
        super().setUp()
        self.issued = self.issue()
        self.made = x509.load_pem_x509_certificate(self.issued.pem)

    def extension(self, kind):
        return self.made.extensions.get_extension_for_class(kind).value

    def test_one_name(self):
        names = self.extension(x509.SubjectAlternativeName)
        wanted = x509.DNSName(stream.name_of(self.own.public_key()))
        self.assertEqual([wanted], list(names))
        self.assertEqual(wanted.value, self.issued.name)

    def test_what_qemu_looks_at(self):
        self.assertFalse(self.extension(x509.BasicConstraints).ca)
        usage = self.extension(x509.KeyUsage)
        self.assertTrue(usage.digital_signature and usage.key_encipherment)
        self.assertFalse(usage.key_cert_sign)
        self.assertEqual(
            {'1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'},
            {
                one.dotted_string
                for one in self.extension(x509.ExtendedKeyUsage)
            },
        )

    def test_dates(self):
        self.assertEqual(NOW - 3600, self.issued.since)
        self.assertEqual(NOW + 7200, self.issued.until)

    def test_authority_signs_hosts_only(self):
        found = self.authority.extensions
        basic = found.get_extension_for_class(x509.BasicConstraints)
        self.assertEqual((True, 0), (basic.value.ca, basic.value.path_length))
        usage = found.get_extension_for_class(x509.KeyUsage).value
        self.assertTrue(usage.key_cert_sign)
        self.assertFalse(usage.digital_signature)
        self.assertEqual(self.authority.subject, self.made.issuer)

    def test_names_of_hosts_may_be_long(self):
        self.assertIn('x' * 255, str(self.issue(host='x' * 255)) + 'x' * 255)
        stream.read_request(stream.request(self.own, 'x' * 255), 'x' * 255)

    def test_numbers_differ(self):
        self.assertNotEqual(self.issued.serial, self.issue().serial)


class ReadTest(Base):
    def read(self, pem, private=None, authorities=None):
        return stream.read(
            pem,
            (private or self.own).public_key(),
            [self.authority] if authorities is None else authorities,
        )

    def test_its_own(self):
        issued = self.issue()
        self.assertEqual(issued, self.read(issued.pem))

    def test_any_authority_that_counts(self):
        other = stream.authority(key(), CLOUD, 'b' * 16, NOW)
        issued = self.issue()
        self.assertEqual(
            issued, self.read(issued.pem, None, [other, self.authority])
        )

    def test_refused(self):
        other = stream.authority(key(), CLOUD, 'a' * 16, NOW)
        pem = self.issue().pem
        for why, args in {
            'malformed': (b'rubbish',),
            'another key': (pem, key()),
            'no key of keys.json': (pem, None, [other]),
        }.items():
            with self.subTest(why):
                self.assertIn(
                    why, self.invalid('CERTIFICATE_INVALID', self.read, *args)
                )
        self.invalid('CERTIFICATE_INVALID', self.read, pem, None, [])

    def test_another_name(self):
        """As a careless authority would make it."""
        made = (
            x509.CertificateBuilder()
            .subject_name(self.authority.subject)
            .issuer_name(self.authority.subject)
            .public_key(self.own.public_key())
            .serial_number(1)
            .not_valid_before(self.authority.not_valid_before_utc)
            .not_valid_after(self.authority.not_valid_after_utc)
        )
        named = stream.name_of(self.own.public_key())
        for names in (['h1'], [named, 'h1'], [named, named], None):
            builder = made
            if names is not None:
                builder = made.add_extension(
                    x509.SubjectAlternativeName(
                        [x509.DNSName(one) for one in names]
                    ),
                    False,
                )
            pem = builder.sign(self.ca, hashes.SHA256()).public_bytes(
                serialization.Encoding.PEM
            )
            with self.subTest(names):
                self.invalid('CERTIFICATE_INVALID', self.read, pem)


class RequestTest(Base):
    def asked(self, der, host='h1'):
        return self.invalid('INVALID_REQUEST', stream.read_request, der, host)

    def test_its_own(self):
        found = stream.read_request(stream.request(self.own, 'h1'), 'h1')
        self.assertEqual(
            stream.name_of(self.own.public_key()), stream.name_of(found)
        )
        self.assertLess(
            len(stream.request(self.own, 'x' * 255)), stream.MAX_REQUEST
        )

    def test_of_another_host(self):
        """A key is asked for by the host that has it."""
        der = stream.request(self.own, 'h2')
        self.assertIn('another host', self.asked(der))

    def test_without_the_key(self):
        """Another key in a request that was signed with one's own."""
        der = bytearray(stream.request(self.own, 'h1'))
        mine, its = (
            one.public_key().public_bytes(
                serialization.Encoding.X962,
                serialization.PublicFormat.UncompressedPoint,
            )
            for one in (self.own, key())
        )
        at = der.index(mine)
        der[at : at + len(its)] = its
        self.assertIn('not signed', self.asked(bytes(der)))

    def test_malformed(self):
        for der in (b'', b'\x30\x00', b'rubbish'):
            self.assertIn('malformed', self.asked(der))

    def test_keys_of_another_kind(self):
        for other in (
            key(ec.SECP384R1()),
            rsa.generate_private_key(65537, 2048),
        ):
            self.assertIn('P-256', self.asked(stream.request(other, 'h1')))


class Hardware(ec.EllipticCurvePrivateKey):
    """A key that only signs, as one in a PKCS#11 token."""

    def __init__(self, inner):
        self._inner = inner

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    curve = property(lambda self: self._inner.curve)
    key_size = property(lambda self: self._inner.key_size)

    def public_key(self):
        return self._inner.public_key()

    def sign(self, data, signature_algorithm):
        return self._inner.sign(data, signature_algorithm)

    def exchange(self, *args):
        raise TypeError

    private_numbers = private_bytes = exchange


class HardwareTest(Base):
    def test_signs(self):
        ca = Hardware(self.ca)
        authority = stream.authority(ca, CLOUD, 'a' * 16, NOW)
        issued = stream.issue(
            self.own.public_key(),
            authority,
            ca,
            cloud=CLOUD,
            host='h1',
            at=NOW,
            life=7200.0,
        )
        stream.read(issued.pem, self.own.public_key(), [authority])


class AuthorityTest(Base):
    def pem(self, certificate):
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    def refused(self, pem, public=None):
        with self.assertRaises(ValueError):
            stream.read_authority(pem, public or self.ca.public_key())

    def test_its_own(self):
        read = stream.read_authority(
            self.pem(self.authority), self.ca.public_key()
        )
        self.assertEqual(self.authority, read)

    def test_refused(self):
        self.refused('rubbish')
        self.refused(self.pem(self.authority), key().public_key())
        self.refused(self.issue().pem.decode(), self.own.public_key())
