# SPDX-License-Identifier: Apache-2.0
"""The store of the service's private keys is found, or the start fails."""

import dataclasses
import importlib.metadata
import json
import os
import pathlib
import stat
import traceback
from unittest import mock

import fixtures
import testtools
from oslo_config import cfg

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.rats.signed import keys
from korora_nova.verifier import keystore
from tests.support import service


class InMemory:
    """A driver: the same keys whenever it is asked."""

    KEYS = {use: keys.SigningKey.generate() for use in keys.USES}

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        pass

    def signing_key(self, use: str, kid: str) -> keys.SigningKey:
        return self.KEYS[use]

    def create(self, use: str) -> keys.SigningKey:
        return self.KEYS[use]


class Empty(InMemory):
    def signing_key(self, use: str, kid: str):
        return None


class Failing(InMemory):
    def signing_key(self, use: str, kid: str):
        raise RuntimeError('the PIN is 1234')


class Refusing(InMemory):
    def signing_key(self, use: str, kid: str):
        raise errors.Unavailable(errors.Reason.KEYS_INVALID, 'Locked.')


DRIVERS = {
    'memory': f'{__name__}:InMemory',
    'empty': f'{__name__}:Empty',
    'failing': f'{__name__}:Failing',
    'refusing': f'{__name__}:Refusing',
    'not-there': f'{__name__}:Nothing',
    'not-a-class': f'{__name__}:DRIVERS',
    'not-importable': 'korora_no_such_package:Store',
}


class KeyStoreTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        self.directory = self.useFixture(fixtures.TempDir()).path
        self.ring = service.made_ring(self.directory)
        self.path = f'{self.directory}/keys.json'
        self.conf = options.parse([], [])
        options.register_verifier_opts(self.conf)
        self.conf.set_override('keys_dir', self.directory, options.VERIFIER)
        self.conf.set_override('trusted_keys', self.path, options.VERIFIER)

    def choose(self, name: str, *more: importlib.metadata.EntryPoint) -> None:
        """As if packages with the drivers of this module were installed."""
        self.useFixture(
            fixtures.MonkeyPatch(
                'stevedore.extension.ExtensionManager.ENTRY_POINT_CACHE',
                {
                    keystore.NAMESPACE: [
                        *(point(one) for one in DRIVERS),
                        *more,
                    ]
                },
            )
        )
        self.conf.set_override('key_store', name, options.VERIFIER)

    def refused(self, message: str, function=None) -> errors.Unavailable:
        error = self.assertRaises(
            errors.Unavailable,
            function or (lambda: keystore.Keys(self.conf)),
        )
        self.assertEqual('KEYS_INVALID', error.reason)
        self.assertEqual(message, error.message)
        return error

    def file(self, use: str, kid: str | None = None) -> pathlib.Path:
        kid = kid or self.ring.active(use).kid
        return pathlib.Path(self.directory, f'{use}-{kid}.pem')


class TestDrivers(KeyStoreTestCase):
    def test_files_by_default(self) -> None:
        signers = keystore.Keys(self.conf).signers()
        for use in keys.USES:
            self.assertEqual(
                set(getattr(self.ring, use)), {getattr(signers, use).kid}
            )

    def test_driver_of_a_package(self) -> None:
        self.choose('memory')
        keys.KeyRing.build(
            'cloud',
            **{use: [key.public] for use, key in InMemory.KEYS.items()},
        ).save(self.path)
        signers = keystore.Keys(self.conf).signers()
        self.assertIs(InMemory.KEYS['custody'], signers.custody)

    def test_another_key_than_was_asked_for(self) -> None:
        self.choose('memory')
        kid = self.ring.active('result').kid
        self.refused(f'The key store memory has no key {kid} for result.')

    def test_missing(self) -> None:
        self.choose('nowhere')
        self.refused(
            'No installed package has a key store nowhere: there is no such '
            'entry point in korora.keystore.'
        )

    def test_of_two_packages(self) -> None:
        self.choose('memory', point('memory'))
        self.refused('Several installed packages have a key store memory.')

    def test_cannot_be_imported(self) -> None:
        self.choose('not-importable')
        self.refused(
            'The key store not-importable cannot be loaded: '
            "ModuleNotFoundError: No module named 'korora_no_such_package'."
        )
        self.choose('not-there')
        self.refused(
            'The key store not-there cannot be loaded: AttributeError: '
            f"module '{__name__}' has no attribute 'Nothing'."
        )

    def test_not_a_driver(self) -> None:
        self.choose('not-a-class')
        self.refused('The key store not-a-class failed with TypeError.')

    def test_fails(self) -> None:
        self.choose('failing')
        error = self.refused('The key store failing failed with RuntimeError.')
        shown = ''.join(traceback.format_exception(error))
        self.assertNotIn('1234', shown)

    def test_refuses(self) -> None:
        self.choose('refusing')
        self.refused('Locked.')

    def test_without_keys(self) -> None:
        self.choose('empty')
        kid = self.ring.active('result').kid
        self.refused(f'The key store empty has no key {kid} for result.')

    def test_no_service_without_it(self) -> None:
        self.choose('nowhere')
        self.assertRaises(
            errors.Unavailable, service.service.from_conf, self.conf
        )


class TestFiles(KeyStoreTestCase):
    def test_private_key_is_missing(self) -> None:
        path = self.file('custody')
        path.unlink()
        self.refused(f'cannot read the private key {path}: FileNotFoundError')

    def test_private_key_of_another_id(self) -> None:
        path, other = self.file('custody'), keys.SigningKey.generate()
        path.unlink()
        other.save(path)
        kid = self.ring.active('custody').kid
        self.refused(
            f'The private key in {path} is not {kid} but {other.kid}.'
        )

    def test_made_for_the_owner_of_the_directory(self) -> None:
        with mock.patch('os.chown') as chown:
            made = keystore.Store(self.conf).create('result')
        found = os.stat(self.file('result', made.kid))
        self.assertEqual(0o600, stat.S_IMODE(found.st_mode))
        chown.assert_called_once_with(
            str(self.file('result', made.kid)),
            os.stat(self.directory).st_uid,
            os.stat(self.directory).st_gid,
        )
        with mock.patch('os.chown', side_effect=PermissionError):
            keystore.Store(self.conf).create('result')


class TestReplaced(KeyStoreTestCase):
    """keys.json changes while the service runs."""

    def setUp(self) -> None:
        super().setUp()
        self.keys = keystore.Keys(self.conf)
        self.old = self.ring.active('approval')
        self.new = keystore.Store(self.conf).create('approval')

    def listed(self, old: keys.State, new: keys.State | None) -> None:
        ring = self.ring.having(dataclasses.replace(self.old, state=old))
        if new is not None:
            ring = ring.having(
                keys.Pinned('approval', self.new.kid, self.new.public, new)
            )
        ring.save(self.path)

    def test_while_it_runs(self) -> None:
        signers = self.keys.signers()
        self.assertEqual(self.old.kid, signers.approval.kid)
        self.assertIs(signers, self.keys.signers())
        self.listed(keys.State.ACTIVE, keys.State.VERIFY_ONLY)
        self.assertEqual(self.old.kid, self.keys.signers().approval.kid)
        self.assertIn(self.new.kid, self.keys.ring.approval)
        self.listed(keys.State.VERIFY_ONLY, keys.State.ACTIVE)
        self.assertEqual(self.new.kid, self.keys.signers().approval.kid)

    def test_what_rests_under_the_old_one_can_be_opened(self) -> None:
        for old, new in (
            (keys.State.ACTIVE, keys.State.VERIFY_ONLY),
            (keys.State.VERIFY_ONLY, keys.State.ACTIVE),
        ):
            self.listed(old, new)
            signers = self.keys.signers()
            for kid in (self.old.kid, self.new.kid):
                self.assertEqual(kid, signers.approver(kid).kid)

    def test_what_rests_under_a_revoked_one_cannot(self) -> None:
        self.listed(keys.State.REVOKED, keys.State.ACTIVE)
        signers = self.keys.signers()
        error = self.assertRaises(
            errors.CustodyError, signers.approver, self.old.kid
        )
        self.assertEqual('APPROVAL_INVALID', error.reason)
        self.assertIn(self.old.kid, error.message)
        self.assertRaises(errors.CustodyError, signers.approver, '00' * 8)

    def test_private_half_of_the_old_one_is_gone_too_early(self) -> None:
        self.listed(keys.State.VERIFY_ONLY, keys.State.ACTIVE)
        path = self.file('approval', self.old.kid)
        path.unlink()
        signers = self.keys.signers()
        self.assertEqual(self.new.kid, signers.approval.kid)
        self.refused(
            f'cannot read the private key {path}: FileNotFoundError',
            lambda: signers.approver(self.old.kid),
        )

    def test_private_half_comes_later(self) -> None:
        """A node has the new keys.json, but not yet the private key."""
        path = self.file('approval', self.new.kid)
        path.rename(f'{path}.elsewhere')
        self.listed(keys.State.ACTIVE, keys.State.VERIFY_ONLY)
        self.assertEqual(self.old.kid, self.keys.signers().approval.kid)
        self.listed(keys.State.VERIFY_ONLY, keys.State.ACTIVE)
        self.refused(
            f'cannot read the private key {path}: FileNotFoundError',
            self.keys.signers,
        )
        pathlib.Path(f'{path}.elsewhere').rename(path)
        self.assertEqual(self.new.kid, self.keys.signers().approval.kid)

    def test_unusable_file_is_not_ignored(self) -> None:
        """Nothing is signed; when the file is whole, all goes on."""
        text = pathlib.Path(self.path).read_text()
        for broken in (text[:100], '', json.dumps([])):
            pathlib.Path(self.path).write_text(broken)
            for _ in range(2):
                self.assertRaises(errors.Unavailable, self.keys.signers)
        os.unlink(self.path)
        self.refused(
            f'Cannot read the trusted keys {self.path}: '
            'No such file or directory.',
            self.keys.signers,
        )
        pathlib.Path(self.path).write_text(text)
        self.keys.signers()

    def test_none_active(self) -> None:
        self.listed(keys.State.VERIFY_ONLY, None)
        self.refused('no key is active for approval', self.keys.signers)


def point(name: str) -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint(
        name, DRIVERS[name], keystore.NAMESPACE
    )
