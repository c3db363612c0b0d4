# SPDX-License-Identifier: Apache-2.0
"""Passwords of hierarchies: where they come from; nobody sees them."""

import pathlib

import fixtures
import testtools

from korora_nova import errors
from korora_nova.tpm import authorisation


class AuthorisationTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def file(self, content, name='auth'):
        path = self.directory / name
        path.write_bytes(content)
        return str(path)

    def owner(self, content):
        found = authorisation.load(self.file(content), None, {})
        self.assertEqual(b'', found.endorsement.reveal())
        return found.owner.reveal()

    def test_none(self):
        found = authorisation.load(None, None, {})
        self.assertEqual(
            (b'', b''), (found.owner.reveal(), found.endorsement.reveal())
        )

    def test_of_a_file(self):
        for content, value in (
            (b'secret', b'secret'),
            (b'secret\n', b'secret'),
            (b'secret\r\n', b'secret'),
            (b' a b \n\n', b' a b \n'),
            (b'hex:00ff01\n', b'\0\xff\1'),
            (b'x' * 64, b'x' * 64),
            # as the TPM compares them
            (b'hex:ff0000', b'\xff'),
        ):
            self.assertEqual(value, self.owner(content))

    def test_of_systemd(self):
        self.file(b'one\n', 'korora.owner-auth')
        environ = {'CREDENTIALS_DIRECTORY': str(self.directory)}
        found = authorisation.load(None, None, environ)
        self.assertEqual(b'one', found.owner.reveal())
        self.assertEqual(b'', found.endorsement.reveal())
        self.file(b'two\n', 'korora.endorsement-auth')
        named = self.file(b'three')
        found = authorisation.load(named, None, environ)
        self.assertEqual(
            (b'three', b'two'),
            (found.owner.reveal(), found.endorsement.reveal()),
        )

    def test_what_cannot_be_read(self):
        for name, why in (
            (str(self.directory / 'none'), 'No such file'),
            (str(self.directory), 'directory'),
            (self.file(b'x' * 65, 'long'), '64 bytes'),
            (self.file(b'hex:topsecret', 'hex'), 'digits'),
        ):
            exc = self.assertRaises(
                errors.Unavailable, authorisation.load, None, name, {}
            )
            self.assertEqual('TPM_UNAVAILABLE', exc.reason)
            self.assertIn(
                f'endorsement hierarchy cannot be read from {name}',
                exc.message,
            )
            self.assertIn(why, exc.message)
            self.assertNotIn('topsecret', str(exc))

    def test_nobody_sees_them(self):
        found = authorisation.load(self.file(b'topsecret'), None, {})
        for text in (repr(found), str(found), f'{found}', str(vars(found))):
            self.assertNotIn('topsecret', text)
