# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import os
import pathlib
import stat
import tempfile
import unittest
from unittest import mock

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from korora_nova import errors
from korora_nova.rats.signed import keys


class KeysTestCase(unittest.TestCase):
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

    def refused(self, source, message=''):
        with self.assertRaises(errors.Unavailable) as caught:
            keys.KeyRing.load(source)
        self.assertEqual('KEYS_INVALID', caught.exception.reason)
        self.assertIn(message, caught.exception.message)


class KeysTest(KeysTestCase):
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
            {'approvals': []},
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
        self.refused(document, 'listed for two uses')
        document = self.ring.to_json()
        document['result'] *= 2
        self.refused(document, 'two keys are active')
        document['result'][1] = {**document['result'][0], 'state': 'revoked'}
        self.refused(document, 'listed twice')


class StateTest(KeysTestCase):
    """A second key of one use."""

    def setUp(self):
        super().setUp()
        self.new = keys.SigningKey.generate()
        self.old = self.keys[2]
        self.listed = keys.Pinned(
            'approval', self.new.kid, self.new.public, keys.State.VERIFY_ONLY
        )

    def loaded(self, state):
        listed = dataclasses.replace(self.listed, state=state)
        document = self.ring.having(listed).to_json()
        return keys.KeyRing.load(json.loads(json.dumps(document)))

    def test_active_when_absent(self):
        document = self.ring.to_json()
        for use in keys.USES:
            del document[use][0]['state']
        ring = keys.KeyRing.load(document)
        self.assertEqual(self.ring, ring)
        self.assertEqual(self.old.kid, ring.active('approval').kid)

    def test_verify_only(self):
        ring = self.loaded(keys.State.VERIFY_ONLY)
        self.assertEqual({self.old.kid, self.new.kid}, set(ring.approval))
        self.assertEqual(self.old.kid, ring.active('approval').kid)

    def test_revoked_is_listed_and_verifies_nothing(self):
        ring = self.loaded(keys.State.REVOKED)
        self.assertEqual({self.old.kid}, set(ring.approval))
        self.assertIs(keys.State.REVOKED, ring.find(self.new.kid).state)

    def test_two_active(self):
        with self.assertRaises(errors.Unavailable) as caught:
            self.loaded(keys.State.ACTIVE)
        for kid in (self.old.kid, self.new.kid):
            self.assertIn(kid, caught.exception.message)
        self.assertIn('verify-only', caught.exception.message)

    def test_none_active(self):
        old = self.ring.find(self.old.kid)
        ring = self.ring.having(
            dataclasses.replace(old, state=keys.State.VERIFY_ONLY)
        )
        with self.assertRaises(errors.Unavailable) as caught:
            ring.active('approval')
        self.assertIn('approval', caught.exception.message)

    def test_unknown_words(self):
        for change in (
            {'state': 'retired'},
            {'state': None},
            {'state': []},
            {'status': 'active'},
        ):
            document = self.ring.to_json()
            document['approval'][0].update(change)
            self.refused(document)

    def test_unknown_key(self):
        with self.assertRaises(errors.Unavailable) as caught:
            self.ring.find(self.new.kid)
        self.assertIn(self.new.kid, caught.exception.message)

    def test_build_lets_the_last_one_sign(self):
        ring = keys.KeyRing.build(
            'cloud',
            result=[],
            custody=[],
            approval=[self.old.public, self.new.public],
        )
        self.assertEqual(self.new.kid, ring.active('approval').kid)
        self.assertEqual({self.old.kid, self.new.kid}, set(ring.approval))


class FullDiskTest(KeysTestCase):
    """A file is whole, or it is not there; never half of it."""

    def setUp(self):
        super().setUp()
        self.path = self.directory / 'keys.json'
        self.ring.save(self.path)
        self.before = self.path.read_bytes()

    def assert_untouched(self):
        self.assertEqual(self.before, self.path.read_bytes())
        self.assertEqual(['keys.json'], os.listdir(self.directory))

    def test_disk_full(self):
        full = OSError(28, 'No space left on device')
        with mock.patch('os.fsync', side_effect=full):
            with self.assertRaises(OSError):
                self.ring.save(self.path)
            with self.assertRaises(OSError):
                self.keys[0].save(self.directory / 'key.pem')
        self.assert_untouched()

    def test_crash_before_the_new_one_counts(self):
        with mock.patch('os.replace', side_effect=KeyboardInterrupt):
            with self.assertRaises(KeyboardInterrupt):
                self.ring.save(self.path)
        self.assert_untouched()

    def test_access_bits_and_links_stay(self):
        os.chmod(self.path, 0o640)
        link = self.directory / 'link.json'
        link.symlink_to('keys.json')
        self.ring.save(link)
        self.assertTrue(link.is_symlink())
        self.assertEqual(0o640, stat.S_IMODE(os.stat(self.path).st_mode))


class StreamsTest(KeysTestCase):
    """Keys that sign certificates: a use that not every cloud has."""

    def setUp(self):
        super().setUp()
        self.key = keys.SigningKey.generate()
        self.entry = keys.Pinned.of('tls', self.key, 'cloud', 1767225600.0)

    def loaded(self, *entries):
        document = self.ring.having(*entries).to_json()
        return keys.KeyRing.load(json.loads(json.dumps(document)))

    def test_a_cloud_without(self):
        """What agents of earlier releases read."""
        self.assertNotIn('tls', self.ring.to_json())
        ring = keys.KeyRing.load({**self.ring.to_json(), 'tls': []})
        self.assertIsNone(ring.streams)
        self.assertEqual({}, ring.authorities)

    def test_round_trip(self):
        ring = self.loaded(self.entry)
        self.assertEqual(self.key.kid, ring.streams.kid)
        self.assertEqual(
            {self.key.kid: self.entry.certificate}, ring.authorities
        )
        self.assertEqual(ring.to_json(), self.loaded(self.entry).to_json())

    def test_states(self):
        other = keys.SigningKey.generate()
        new = keys.Pinned.of('tls', other, 'cloud', 1767225600.0)
        for state, counts in (
            (keys.State.VERIFY_ONLY, {self.key.kid, other.kid}),
            (keys.State.REVOKED, {other.kid}),
        ):
            ring = self.loaded(
                dataclasses.replace(self.entry, state=state), new
            )
            self.assertEqual(other.kid, ring.streams.kid)
            self.assertEqual(counts, set(ring.authorities))

    def test_certificate_of_another_key(self):
        other = keys.Pinned.of(
            'tls', keys.SigningKey.generate(), 'cloud', 1767225600.0
        )
        document = self.ring.having(self.entry).to_json()
        entry = document['tls'][0]
        for certificate in (other.to_json()['certificate'], 'x', None):
            entry['certificate'] = certificate
            self.refused(document, 'certificate')
        del entry['certificate']
        self.refused(document, 'certificate')

    def test_no_certificate_for_other_uses(self):
        document = self.ring.to_json()
        document['result'][0]['certificate'] = self.entry.to_json()[
            'certificate'
        ]
        self.refused(document, 'unknown name')
