# SPDX-License-Identifier: Apache-2.0
import json
import os
import pathlib
import stat
import tempfile
import unittest

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from korora_nova import errors
from korora_nova.rats.signed import keys


class KeysTest(unittest.TestCase):
    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.keys = [keys.SigningKey.generate() for _ in range(3)]
        result, custody, approval = (key.public for key in self.keys)
        self.ring = keys.KeyRing.build(
            'cloud', result=[result], custody=[custody], approval=[approval]
        )

    def refused(self, source):
        with self.assertRaises(errors.Unavailable) as caught:
            keys.KeyRing.load(source)
        self.assertEqual('KEYS_INVALID', caught.exception.reason)

    def test_private_key_round_trip(self):
        path = self.directory / 'key.pem'
        self.keys[0].save(path)
        self.assertEqual(0o600, stat.S_IMODE(os.stat(path).st_mode))
        self.assertEqual(self.keys[0].kid, keys.SigningKey.load(path).kid)
        with self.assertRaises(FileExistsError):
            self.keys[1].save(path)

    def test_private_key_has_no_repr(self):
        number = self.keys[0].private.private_numbers().private_value
        shown = repr(self.keys[0])
        self.assertNotIn(str(number), shown)
        self.assertEqual(f'<SigningKey {self.keys[0].kid}>', shown)

    def test_private_key_refusals(self):
        other = self.directory / 'p384.pem'
        other.write_bytes(
            ec.generate_private_key(ec.SECP384R1()).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        broken = self.directory / 'broken.pem'
        broken.write_bytes(b'rubbish')
        for path in (other, broken, self.directory / 'missing'):
            with self.assertRaises(errors.Unavailable) as caught:
                keys.SigningKey.load(path)
            self.assertEqual('KEYS_INVALID', caught.exception.reason)

    def test_ring_round_trip(self):
        path = self.directory / 'keys.json'
        self.ring.save(path)
        for loaded in (
            keys.KeyRing.load(path),
            keys.KeyRing.load(json.loads(path.read_text())),
        ):
            self.assertEqual('cloud', loaded.cloud)
            self.assertEqual(self.ring.to_json(), loaded.to_json())
            self.assertEqual([self.keys[1].kid], list(loaded.custody))

    def test_ring_refusals(self):
        self.refused(self.directory / 'missing')
        broken = self.directory / 'keys.json'
        for text in ('rubbish', '[]', '[' * 100000):
            broken.write_text(text)
            self.refused(broken)
        for change in (
            {'version': 2},
            {'cloud': ''},
            {'cloud': None},
            {'result': None},
            {'custody': [1]},
            {'approval': [{'kid': 'x', 'pem': 'y'}]},
        ):
            self.refused({**self.ring.to_json(), **change})

    def test_ring_refuses_a_wrong_id(self):
        document = self.ring.to_json()
        document['result'][0]['kid'] = '0' * 16
        self.refused(document)

    def test_ring_refuses_another_curve(self):
        key = ec.generate_private_key(ec.SECP384R1()).public_key()
        document = self.ring.to_json()
        document['result'] = [
            {
                'kid': keys.key_id(key),
                'pem': key.public_bytes(
                    serialization.Encoding.PEM,
                    serialization.PublicFormat.SubjectPublicKeyInfo,
                ).decode(),
            }
        ]
        self.refused(document)

    def test_a_key_has_one_use(self):
        document = self.ring.to_json()
        document['custody'] = document['result']
        self.refused(document)
