# SPDX-License-Identifier: Apache-2.0
"""Where the service's private keys come from: ``[verifier] key_store``.

A key store is a class that an installed package offers as an entry point in
the namespace ``korora.keystore``; ``file`` is the one that comes with
Kororā. A store that is missing or broken stops the service at its start.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Protocol

from oslo_config import cfg
from stevedore import driver
from stevedore import exception as stevedore_exc

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.rats.signed import keys

NAMESPACE = 'korora.keystore'


class KeyStore(Protocol):
    """What a driver is.

    :param conf: the service's configuration; a driver registers options of
        its own there.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None: ...

    def signing_key(self, use: str) -> keys.SigningKey:
        """The private key for a use, of ``keys.USES``.

        The key may stay in hardware: ``SigningKey.private`` is whatever
        implements ``cryptography``'s interface.

        :raises Unavailable: KEYS_INVALID.
        """


class FileKeyStore:
    """PEM files, one for each use, in ``[verifier] keys_dir``."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._directory = conf[options.VERIFIER].keys_dir

    def signing_key(self, use: str) -> keys.SigningKey:
        """See :meth:`KeyStore.signing_key`."""
        return keys.SigningKey.load(
            os.path.join(self._directory, f'{use}.pem')
        )


@dataclasses.dataclass(frozen=True)
class Signers:
    """The private keys, one per use."""

    result: keys.SigningKey
    custody: keys.SigningKey
    approval: keys.SigningKey


def load_signers(conf: cfg.ConfigOpts, ring: keys.KeyRing) -> Signers:
    """Take the keys from the configured store; hosts must have pinned each.

    :raises Unavailable: KEYS_INVALID: the store is missing or broken, or a
        key is missing, malformed or not in the ring.
    """
    name = conf[options.VERIFIER].key_store
    driver_class = _find(name)
    try:
        store = driver_class(conf)
        found = {use: store.signing_key(use) for use in keys.USES}
    except errors.KororaError:
        raise
    except Exception as exc:  # noqa: BLE001 - a driver may fail in any way
        # Without its text and cause, which may hold a secret of the driver's.
        raise _invalid(
            f'The key store {name} failed with {type(exc).__name__}.'
        ) from None
    for use, key in found.items():
        if not isinstance(key, keys.SigningKey):
            raise _invalid(f'The key store {name} has no key for {use}.')
        if key.kid not in getattr(ring, use):
            raise _invalid(
                f'The trusted keys do not list the key {key.kid} that the '
                f'key store {name} has for {use}.'
            )
    return Signers(**found)


def _find(name: str) -> Any:
    """The driver's class."""
    try:
        return driver.DriverManager(NAMESPACE, name).driver
    except stevedore_exc.MultipleMatches as exc:
        raise _invalid(
            f'Several installed packages have a key store {name}.'
        ) from exc
    except stevedore_exc.NoMatches as exc:
        raise _invalid(
            f'No installed package has a key store {name}: there is no such '
            f'entry point in {NAMESPACE}.'
        ) from exc
    except Exception as exc:  # noqa: BLE001 - an import may fail in any way
        raise _invalid(
            f'The key store {name} cannot be loaded: '
            f'{type(exc).__name__}: {exc}.'
        ) from exc


def _invalid(message: str) -> errors.Unavailable:
    return errors.Unavailable(errors.Reason.KEYS_INVALID, message)
