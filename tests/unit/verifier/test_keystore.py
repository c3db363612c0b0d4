# SPDX-License-Identifier: Apache-2.0
"""The store of the service's private keys is found, or the start fails."""

import importlib.metadata
import traceback

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

    def signing_key(self, use: str) -> keys.SigningKey:
        return self.KEYS[use]


class Empty(InMemory):
    def signing_key(self, use: str):
        return None


class Failing(InMemory):
    def signing_key(self, use: str):
        raise RuntimeError('the PIN is 1234')


class Refusing(InMemory):
    def signing_key(self, use: str):
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


class TestKeyStore(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        self.directory = self.useFixture(fixtures.TempDir()).path
        self.ring = service.made_ring(self.directory)
        self.conf = options.parse([], [])
        options.register_verifier_opts(self.conf)
        self.conf.set_override('keys_dir', self.directory, options.VERIFIER)

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

    def refused(self, message: str) -> errors.Unavailable:
        error = self.assertRaises(
            errors.Unavailable, keystore.load_signers, self.conf, self.ring
        )
        self.assertEqual('KEYS_INVALID', error.reason)
        self.assertEqual(message, error.message)
        return error

    def test_files_by_default(self) -> None:
        signers = keystore.load_signers(self.conf, self.ring)
        for use in keys.USES:
            self.assertEqual(
                set(getattr(self.ring, use)), {getattr(signers, use).kid}
            )

    def test_driver_of_a_package(self) -> None:
        self.choose('memory')
        ring = keys.KeyRing.build(
            'cloud',
            **{use: [key.public] for use, key in InMemory.KEYS.items()},
        )
        signers = keystore.load_signers(self.conf, ring)
        self.assertIs(InMemory.KEYS['custody'], signers.custody)

    def test_keys_that_hosts_do_not_know(self) -> None:
        self.choose('memory')
        kid = InMemory.KEYS['result'].kid
        self.refused(
            f'The trusted keys do not list the key {kid} that the key store '
            'memory has for result.'
        )

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
        self.refused('The key store empty has no key for result.')

    def test_no_service_without_it(self) -> None:
        self.choose('nowhere')
        path = f'{self.directory}/keys.json'
        self.conf.set_override('trusted_keys', path, options.VERIFIER)
        self.assertRaises(
            errors.Unavailable, service.service.from_conf, self.conf
        )


def point(name: str) -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint(
        name, DRIVERS[name], keystore.NAMESPACE
    )
