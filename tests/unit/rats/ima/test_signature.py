# SPDX-License-Identifier: Apache-2.0
import datetime
import hashlib
import pathlib
import struct
import unittest

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import (
    ec,
    ed25519,
    padding,
    rsa,
    utils,
)

from korora_nova import errors
from korora_nova.rats import ima
from tests.support import ima_lists

VECTORS = pathlib.Path(__file__).parents[3] / 'vectors' / 'ima'
NUMBERS = {'sha1': 2, 'sha256': 4, 'sha384': 5, 'sha512': 6}
HASHES = {
    'sha1': hashes.SHA1,
    'sha256': hashes.SHA256,
    'sha384': hashes.SHA384,
    'sha512': hashes.SHA512,
}
RSA = rsa.generate_private_key(65537, 2048)
P256, P384 = (
    ec.generate_private_key(curve()) for curve in (ec.SECP256R1, ec.SECP384R1)
)


def key_id(key):
    public = key.public_key()
    if isinstance(key, rsa.RSAPrivateKey):
        bits = public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.PKCS1
        )
    else:
        bits = public.public_bytes(
            serialization.Encoding.X962,
            serialization.PublicFormat.UncompressedPoint,
        )
    return hashlib.sha1(bits).digest()[-4:]


def sign(
    key,
    digest,
    name='sha256',
    *,
    kind=3,
    version=2,
    number=None,
    identifier=None,
):
    number = NUMBERS[name] if number is None else number
    if version == 3:
        digest = hashlib.new(name, bytes((kind, number)) + digest).digest()
    chosen = utils.Prehashed(HASHES[name]())
    if isinstance(key, rsa.RSAPrivateKey):
        value = key.sign(digest, padding.PKCS1v15(), chosen)
    else:
        value = key.sign(digest, ec.ECDSA(chosen))
    return (
        struct.pack(
            '>BBB4sH',
            kind,
            version,
            number,
            identifier or key_id(key),
            len(value),
        )
        + value
    )


def pem(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM,
        serialization.PublicFormat.SubjectPublicKeyInfo,
    )


def certificate(key, extension=True, identifier=b'0123456789abcdefwxyz'):
    name = x509.Name([])
    now = datetime.datetime(2026, 1, 1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(1))
    )
    if extension:
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier(identifier), False
        )
    return builder.sign(key, hashes.SHA256())


def entry(signature, digest=b'd' * 32, name='sha256', prefix='', **kwargs):
    return ima.Entry(
        f'{prefix}{name}:{digest.hex()}',
        b'/bin/a',
        False,
        'ima-sig',
        signature,
        **kwargs,
    )


class Base(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.rules = ima.Rules(keys=[pem(key) for key in (RSA, P256, P384)])

    def refused(self, text, item, rules=None):
        found = (rules or self.rules).check(item)
        self.assertIsNotNone(found)
        self.assertEqual('IMA_SIGNATURE', found.reason)
        self.assertIn(text, found.message)

    def admitted(self, item, rules=None):
        self.assertIsNone((rules or self.rules).check(item))


class SignatureTest(Base):
    def test_keys_and_hashes(self):
        for key in (RSA, P256, P384):
            for name in NUMBERS:
                digest = hashlib.new(name, b'content').digest()
                good = sign(key, digest, name)
                self.admitted(entry(good, digest, name))
                self.refused('wrong', entry(good, digest[::-1], name))
                self.refused(
                    'wrong',
                    entry(good[:-1] + bytes((good[-1] ^ 1,)), digest, name),
                )

    def test_missing_or_malformed(self):
        good = sign(RSA, b'd' * 32)
        self.refused('missing', entry(b''))
        for size in range(1, 9):
            self.refused('too short', entry(good[:size]))
        self.refused('size', entry(good[:-1]))
        self.refused('size', entry(good + b'x'))
        self.refused('version 1', entry(b'\3\1' + good[2:]))
        self.refused('type 2', entry(b'\2' + good[1:]))
        self.refused('number 99', entry(good[:2] + b'\x63' + good[3:]))
        self.refused('sm3', entry(good[:2] + b'\x11' + good[3:]))
        self.refused('over sha1', entry(good[:2] + b'\2' + good[3:]))
        self.refused('missing', ima.Entry('', b'/x', False))
        self.refused('no digest', ima.Entry('', b'/x', False, 'n', good))

    def test_unknown_key(self):
        other = ec.generate_private_key(ec.SECP256R1())
        self.refused(
            'unknown key ' + key_id(other).hex(), entry(sign(other, b'd' * 32))
        )
        # One that claims the id of a known key.
        self.refused(
            'wrong', entry(sign(other, b'd' * 32, identifier=key_id(P256)))
        )
        self.refused(
            'wrong', entry(sign(other, b'd' * 32, identifier=key_id(RSA)))
        )

    def test_no_keys_no_signatures(self):
        found = ima.Rules().check(entry(sign(RSA, b'd' * 32)))
        self.assertEqual('IMA_UNKNOWN_FILE', found.reason)

    def test_listed_files_need_no_signature(self):
        rules = ima.Rules(
            ['sha256:' + '64' * 32], keys=[pem(RSA)], files={'/bin/b': []}
        )
        self.admitted(entry(b''), rules)
        # What is signed is admitted, also where files names others.
        self.admitted(
            entry(sign(RSA, b'e' * 32), b'e' * 32),
            ima.Rules(
                files={'/bin/a': ['sha256:' + '64' * 32]}, keys=[pem(RSA)]
            ),
        )

    def test_version_3(self):
        self.admitted(
            entry(sign(P256, b'd' * 32, kind=6, version=3), prefix='verity:')
        )
        self.admitted(entry(sign(P256, b'd' * 32, kind=3, version=3)))
        self.refused(
            'another kind', entry(sign(P256, b'd' * 32, kind=6, version=3))
        )
        self.refused(
            'another kind', entry(sign(P256, b'd' * 32), prefix='verity:')
        )
        self.refused('type 6', entry(sign(P256, b'd' * 32, kind=6)))
        # A version 2 signature over the digest of another structure.
        self.refused(
            'wrong',
            entry(b'\6\3' + sign(P256, b'd' * 32)[2:], prefix='verity:'),
        )

    def test_certificates(self):
        digest = b'd' * 32
        for encoding in (
            serialization.Encoding.PEM,
            serialization.Encoding.DER,
        ):
            stated = ima.Rules(keys=[certificate(RSA).public_bytes(encoding)])
            self.admitted(entry(sign(RSA, digest, identifier=b'wxyz')), stated)
            self.refused('unknown', entry(sign(RSA, digest)), stated)
            plain = ima.Rules(
                keys=[
                    certificate(P256, extension=False).public_bytes(encoding)
                ]
            )
            self.admitted(entry(sign(P256, digest)), plain)

    def test_public_keys(self):
        der = P384.public_key().public_bytes(
            serialization.Encoding.DER,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )
        both = pem(RSA).decode() + 'text\n' + pem(P256).decode()
        for keys, signer in (([der], P384), ([both], RSA), ([both], P256)):
            self.admitted(entry(sign(signer, b'd' * 32)), ima.Rules(keys=keys))

    def test_keys_that_share_an_id(self):
        keys = [
            certificate(key).public_bytes(serialization.Encoding.PEM)
            for key in (RSA, P256)
        ]
        for key in (RSA, P256):
            self.admitted(
                entry(sign(key, b'd' * 32, identifier=b'wxyz')),
                ima.Rules(keys=keys),
            )

    def test_invalid_keys(self):
        other = ed25519.Ed25519PrivateKey.generate()
        private = RSA.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        short = certificate(RSA, identifier=b'xyz').public_bytes(
            serialization.Encoding.PEM
        )
        for bad in (
            b'',
            b'x',
            b'0' * 70_000,
            pem(other),
            private,
            short,
            pem(RSA).replace(b'A', b'B', 3)[:200],
            b'-----BEGIN X-----\n-----END X-----',
        ):
            with self.assertRaises(errors.Invalid) as caught:
                ima.Rules(keys=[bad])
            self.assertEqual('POLICY_INVALID', caught.exception.reason)

    def test_fingerprint(self):
        self.assertNotEqual(
            ima.Rules(keys=[pem(RSA)]).fingerprint,
            ima.Rules(keys=[pem(P256)]).fingerprint,
        )
        self.assertNotEqual(
            ima.Rules(keys=[pem(RSA)]).fingerprint,
            ima.Rules(
                keys=[
                    certificate(RSA).public_bytes(serialization.Encoding.PEM)
                ]
            ).fingerprint,
        )

    def test_in_lists(self):
        for template in ('ima-sig', 'ima-sigv2', 'ima-modsig', 'sig|d-ng'):
            log = ima_lists.List(template)
            log.file('/bin/a', b'd' * 32, sig=sign(RSA, b'd' * 32))
            log.file('/bin/b', b'e' * 32, sig=sign(P256, b'd' * 32))
            for form in (log.binary, log.ascii):
                for _ in range(2):
                    (found,) = ima.measure(
                        form, log.pcrs, [self.rules]
                    ).findings[0]
                    self.assertEqual('IMA_SIGNATURE', found.reason)
                    self.assertEqual(
                        b'e'.hex() * 32,
                        found.details['got'].rpartition(':')[2],
                    )

    def test_recorded(self):
        """RSA and ECDSA as evmctl makes them, in lists of a real kernel."""
        for name, count in (
            ('ima-sig', 4),
            ('evm-sig', 4),
            ('ima-modsig', 4),
            ('ima-sigv2', 4),
            ('keys', 4),
        ):
            directory = VECTORS / name
            rules = ima.Rules(
                keys=[
                    path.read_bytes() for path in directory.glob('key-*.pem')
                ]
            )
            log = (directory / 'binary_runtime_measurements').read_bytes()
            signed = [
                item
                for item in ima.parse(log).entries
                if b'/signed-' in item.path
            ]
            self.assertEqual(count, len(signed))
            for item in signed:
                self.admitted(item, rules)
                other = item._replace(digest='sha256:' + '0' * 64)
                self.assertEqual('IMA_SIGNATURE', rules.check(other).reason)


class PortableTest(Base):
    """EVM signatures, for the template evm-sig."""

    def entry_of(
        self,
        attribute,
        key=P256,
        uid=1,
        mode=0o100755,
        more=b'',
        version=2,
        **changes,
    ):
        names = [b'security.selinux', b'security.ima']
        values = [b'label\0', attribute]
        octets = b''.join(values)
        misc = struct.pack('<QIIIHH', 0, 0, uid, 2, mode, 0)
        signature = sign(
            key,
            hashlib.sha256(octets + misc).digest(),
            kind=5,
            version=version,
        )
        fields = {
            'xattrnames': b'|'.join(names) + b'\0',
            'xattrlengths': struct.pack('<II', *map(len, values)) + more,
            'xattrvalues': octets,
            'iuid': struct.pack('<I', 1),
            'igid': struct.pack('<I', 2),
            'imode': struct.pack('<H', 0o100755),
            **changes,
        }
        return entry(signature, extra=tuple(fields.items()))

    def test_digest_in_the_attribute(self):
        good = b'\4\4' + b'd' * 32
        for key in (RSA, P256):
            for version in (2, 3):
                self.admitted(self.entry_of(good, key, version=version))
        for bad in (
            b'',
            b'\4\4' + b'e' * 32,
            b'\4\5' + b'd' * 32,
            b'\1' + b'd' * 32,
            b'd' * 32,
            good + b'x',
        ):
            self.refused('another digest', self.entry_of(bad))

    def test_sha1_attribute(self):
        item = self.entry_of(b'\1' + b'd' * 20)
        self.admitted(item._replace(digest='sha1:' + '64' * 20))

    def test_signature_in_the_attribute(self):
        self.admitted(self.entry_of(sign(RSA, b'd' * 32)))
        self.refused('wrong', self.entry_of(sign(RSA, b'e' * 32)))
        self.refused('too short', self.entry_of(b'\3\2'))

    def test_owner_mode_and_attributes_are_signed(self):
        good = b'\4\4' + b'd' * 32
        self.refused('wrong', self.entry_of(good, uid=3))
        self.refused('wrong', self.entry_of(good, mode=0o104755))
        self.refused(
            'wrong', self.entry_of(good, xattrvalues=b'other\0' + good)
        )

    def test_odd_attributes(self):
        good = b'\4\4' + b'd' * 32
        for change in (
            {'more': bytes(4)},
            {'xattrnames': b'\0'},
            {'xattrnames': b''},
            {'xattrlengths': b''},
            {'xattrnames': b'security.ima|security.ima\0'},
        ):
            self.refused('another digest', self.entry_of(good, **change))
        short = dict(self.entry_of(good).extra)
        del short['iuid']
        self.refused(
            'evm-sig', self.entry_of(good)._replace(extra=tuple(short.items()))
        )
        self.refused('evm-sig', self.entry_of(good)._replace(extra=()))
