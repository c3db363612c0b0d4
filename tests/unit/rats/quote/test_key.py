# SPDX-License-Identifier: Apache-2.0
import base64
import datetime
import json
import struct
import unittest

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)

from korora_nova import errors
from korora_nova.rats.quote import key as attestation_key
from tests.support import quoter, simulator

KINDS = {
    'p256': 'P-256',
    'p384': 'P-384',
    'rsa2048': 'RSA-2048',
    'rsa3072': 'RSA-3072',
}
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
_CA = ec.generate_private_key(ec.SECP256R1())


def certificate(key, encoding=Encoding.DER):
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, 'x')])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key)
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW)
        .sign(_CA, hashes.SHA256())
        .public_bytes(encoding)
    )


def b64(number, size=None):
    size = size or (number.bit_length() + 7) // 8
    return (
        base64.urlsafe_b64encode(number.to_bytes(size, 'big'))
        .rstrip(b'=')
        .decode()
    )


def jwk(key, **more):
    numbers = key.public_numbers()
    if isinstance(key, rsa.RSAPublicKey):
        return {'kty': 'RSA', 'n': b64(numbers.n), 'e': b64(numbers.e), **more}
    size = (key.key_size + 7) // 8
    return {
        'kty': 'EC',
        'crv': f'P-{key.key_size}',
        'x': b64(numbers.x, size),
        'y': b64(numbers.y, size),
        **more,
    }


def forms(signer):
    """Every form of a key that says nothing of its scheme."""
    key = signer.key.public_key()
    return {
        'spki': key.public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        ),
        'pem': key.public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        ),
        'certificate': certificate(key),
        'padded': certificate(key) + bytes(300),
        'padded-ff': certificate(key) + b'\xff' * 300,
        'certificate-pem': b'Subject: x\n' + certificate(key, Encoding.PEM),
        'jwk': json.dumps(jwk(key)).encode(),
        'jwk-use': b' \n' + json.dumps(jwk(key, use='sig', kid='k')).encode(),
    }


class KeyCase(unittest.TestCase):
    def refused(self, data, reason='QUOTE_KEY'):
        with self.assertRaises(errors.EvidenceError) as caught:
            attestation_key.load(data)
        self.assertEqual(reason, caught.exception.reason, data[:80])
        return caught.exception


class LoadTest(KeyCase):
    def test_every_form_of_every_kind(self):
        for kind, shown in KINDS.items():
            signer = quoter.Quoter(
                kind, 'ecdsa' if kind[0] == 'p' else 'rsapss'
            )
            for form, data in forms(signer).items():
                with self.subTest(kind=kind, form=form):
                    found = attestation_key.load(data)
                    self.assertEqual(signer.key.public_key(), found.key)
                    self.assertEqual(
                        (shown, None, b''),
                        (found.kind, found.scheme, found.name),
                    )
            for data in (signer.public(), quoter.sized(signer.public())):
                found = attestation_key.load(data)
                self.assertEqual(signer.key.public_key(), found.key)
                self.assertEqual(
                    f'{signer.scheme}-sha256'.upper(),
                    attestation_key.scheme_name(found.scheme),
                )
                self.assertEqual(
                    simulator.name_of(quoter.sized(signer.public())),
                    found.name,
                )

    def test_a_pkcs1_key(self):
        key = quoter.private_key('rsa2048').public_key()
        for encoding in (Encoding.DER, Encoding.PEM):
            self.assertEqual(
                key,
                attestation_key.load(
                    key.public_bytes(encoding, PublicFormat.PKCS1)
                ).key,
            )

    def test_name_algorithms(self):
        data = quoter.Quoter('p384').public(name_alg=0x0C)
        self.assertEqual(
            (b'\0\x0c', 50),
            ((name := attestation_key.load(data).name)[:2], len(name)),
        )
        self.refused(quoter.Quoter().public(name_alg=4))

    def test_attributes(self):
        good = quoter.AK_ATTRIBUTES
        for bad in (
            good & ~(1 << 16),
            good & ~(1 << 18),
            good | 1 << 17,
            good & ~(1 << 1),
            0,
        ):
            self.refused(quoter.Quoter().public(bad), 'AK_ATTRIBUTES')

    def test_schemes(self):
        public = quoter.Quoter().public
        self.assertIsNone(
            attestation_key.load(public(scheme=b'\0\x10')).scheme
        )
        for bad in (
            b'\0\x1a\0\x0b\0\0',
            b'\0\x1b\0\x12',
            b'\0\x18\0\4',
            b'\0\x18\0\x12',
            b'\0\x19\0\x0b',
            b'\0\x14\0\x0b',
        ):
            self.refused(public(scheme=bad), 'QUOTE_ALGORITHM')
        for bad in (b'\0\x15', b'\0\x17\0\x0b', b'\0\x14\0\4'):
            self.refused(
                quoter.Quoter('rsa2048').public(scheme=bad), 'QUOTE_ALGORITHM'
            )

    def test_exactly_one_public_area(self):
        good = quoter.Quoter().public()
        for bad in (
            good + b'\0',
            quoter.sized(good) + b'\0',
            quoter.sized(good + b'\0'),
            quoter.sized(quoter.sized(good)),
        ):
            self.refused(bad)
        for size in range(len(good)):
            self.refused(good[:size])

    def test_other_curves(self):
        self.refused(quoter.Quoter('p521').public())
        for curve in (ec.SECP521R1(), ec.SECP256K1(), ec.SECP224R1()):
            key = ec.generate_private_key(curve).public_key()
            self.refused(
                key.public_bytes(
                    Encoding.DER, PublicFormat.SubjectPublicKeyInfo
                )
            )
            self.refused(certificate(key))
        self.refused(
            ed25519.Ed25519PrivateKey.generate()
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )

    def test_wrong_curve_for_the_point(self):
        raw = bytearray(quoter.Quoter().public())
        raw[raw.index(b'\0\3\0\x10') + 1] = 4
        self.refused(bytes(raw))

    def test_off_the_curve(self):
        raw = bytearray(quoter.Quoter().public())
        raw[-1] ^= 1
        self.refused(bytes(raw))

    def test_weak_rsa(self):
        n = quoter.private_key('rsa2048').public_key().public_numbers().n
        for exponent, modulus in (
            (3, n),
            (17, n),
            (65535, n),
            (65538, n),
            (1, n),
            (2**32 + 1, n),
            (65537, n >> 1024),
            (65537, n >> 1),
        ):
            try:
                key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
            except ValueError:
                pass
            else:
                self.refused(
                    key.public_bytes(
                        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
                    )
                )
            self.refused(
                json.dumps(
                    {'kty': 'RSA', 'n': b64(modulus), 'e': b64(exponent)}
                ).encode()
            )
        good = quoter.Quoter('rsa2048', 'rsassa').public()
        at = good.index(struct.pack('>HI', 2048, 0))
        for bits, exponent in ((2048, 3), (1024, 0), (3072, 0)):
            self.refused(
                good[:at] + struct.pack('>HI', bits, exponent) + good[at + 6 :]
            )

    def test_pem_of_something_else(self):
        key = quoter.private_key('p256')
        pem = forms(quoter.Quoter())['pem']
        private = key.private_bytes(
            Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        for bad in (
            private,
            pem + pem,
            pem + private,
            pem.replace(b'PUBLIC', b'PRETTY'),
            pem[:60],
            pem.replace(b'M', b'!', 1),
            b'-----BEGIN ',
            b'-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n',
        ):
            self.refused(bad)

    def test_rubbish(self):
        spki = forms(quoter.Quoter())['spki']
        for bad in (
            b'',
            b'0',
            b'\0',
            spki[:-1],
            spki + b'\0',
            b'rubbish',
            certificate(quoter.private_key('p256').public_key()) + b'\0\xff',
            b'\x30\x84\xff\xff\xff\xff',
            bytes(attestation_key.MAX_KEY + 1),
        ):
            self.refused(bad)


class JwkTest(KeyCase):
    def setUp(self):
        super().setUp()
        self.key = quoter.private_key('p256').public_key()

    def test_alg(self):
        for kind, name, shown in (
            ('p256', 'ES256', 'ECDSA-SHA256'),
            ('p384', 'ES384', 'ECDSA-SHA384'),
            ('rsa2048', 'RS256', 'RSASSA-SHA256'),
            ('rsa3072', 'PS512', 'RSAPSS-SHA512'),
        ):
            found = attestation_key.load(
                json.dumps(
                    jwk(quoter.private_key(kind).public_key(), alg=name)
                ).encode()
            )
            self.assertEqual(shown, attestation_key.scheme_name(found.scheme))
        for bad in ('RS256', 'none', 'ECDH-ES', '', None, 1, []):
            self.refused(
                json.dumps(jwk(self.key, alg=bad)).encode(), 'QUOTE_ALGORITHM'
            )

    def test_refusals(self):
        good = jwk(self.key)
        for change in (
            {'d': 'AAAA'},
            {'use': 'enc'},
            {'kty': 'oct'},
            {'kty': None},
            {'kty': []},
            {'crv': 'P-521'},
            {'crv': 'P-384'},
            {'crv': {}},
            {'x': good['y']},
            {'x': good['x'] + 'AA'},
            {'x': good['x'] + '='},
            {'x': good['x'][:-1]},
            {'x': 'é'},
            {'x': ''},
            {'x': 1},
            {'y': None},
            {'x': good['x'] + '\n'},
        ):
            self.refused(json.dumps({**good, **change}).encode())
        for missing in good:
            self.refused(
                json.dumps(
                    {
                        name: value
                        for name, value in good.items()
                        if name != missing
                    }
                ).encode()
            )

    def test_not_a_json_object(self):
        text = json.dumps(jwk(self.key))
        for bad in (
            b'{',
            b'{}',
            b'{"kty":1}',
            b'{' + b'"a":[' * 5000,
            b'{"a":' * 3000,
            b'{"n": ' + b'9' * 9000 + b'}',
            text[:-1].encode() + b', "x": "AA"}',
            b'{"\xff": 1}',
        ):
            self.refused(bad)
