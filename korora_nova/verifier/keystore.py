# SPDX-License-Identifier: Apache-2.0
"""Where the service's private keys come from: ``[verifier] key_store``.

A key store is a class that an installed package offers as an entry point in
the namespace ``korora.keystore``; those that come with Kororā are in
:mod:`.keystores`. A store that is missing or broken stops the service at its
start, and keys.json says which keys it has to have.
"""

from __future__ import annotations

import dataclasses
import os
import threading
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

    It is made once in each process, perhaps before a fork, and used by
    several threads.

    :param conf: the service's configuration; a driver registers options of
        its own there.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None: ...

    def signing_key(self, use: str, kid: str) -> keys.SigningKey:
        """The private key of this use, of ``keys.ALL_USES``, and id.

        The key may stay in hardware: ``SigningKey.private`` is whatever
        implements ``cryptography``'s interface.

        :raises Unavailable: KEYS_INVALID.
        """

    def create(self, use: str) -> keys.SigningKey:
        """Make a key, and return when it is kept for good.

        :raises Unavailable: KEYS_INVALID.
        """


@dataclasses.dataclass(frozen=True)
class Signers:
    """The private keys that sign what is new, one per use.

    :param tls: None in a cloud that signs no certificates.
    :param ring: of which they are the active keys.
    :param store: has them, and other approval keys, which are looked up
        when they are first needed.
    """

    result: keys.SigningKey
    custody: keys.SigningKey
    approval: keys.SigningKey
    tls: keys.SigningKey | None
    ring: keys.KeyRing
    store: Store
    _others: dict[str, keys.SigningKey] = dataclasses.field(
        default_factory=dict
    )

    def approver(self, kid: str) -> keys.SigningKey:
        """The key that approves the opening of what rests under it.

        :param kid: its id.
        :raises CustodyError: APPROVAL_INVALID: hosts refuse its approvals.
        :raises Unavailable: KEYS_INVALID: it is not in the store.
        """
        if kid == self.approval.kid:
            return self.approval
        if kid not in self.ring.approval:
            raise errors.CustodyError(
                errors.Reason.APPROVAL_INVALID,
                f'The key rests under the approval key {kid}, which the '
                'trusted keys do not list, or as revoked.',
            )
        if kid not in self._others:
            self._others[kid] = self.store.signing_key('approval', kid)
        return self._others[kid]


class Store:
    """The configured key store, whatever its driver does.

    :raises Unavailable: KEYS_INVALID, it is missing or broken.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.name = conf[options.VERIFIER].key_store
        driver_class = _find(self.name)
        self._driver: KeyStore = self._guarded(driver_class, conf)

    def signing_key(self, use: str, kid: str) -> keys.SigningKey:
        """See :meth:`KeyStore.signing_key`."""
        key = self._guarded(self._driver.signing_key, use, kid)
        if not isinstance(key, keys.SigningKey) or key.kid != kid:
            raise _invalid(
                f'The key store {self.name} has no key {kid} for {use}.'
            )
        return key

    def create(self, use: str) -> keys.SigningKey:
        """See :meth:`KeyStore.create`."""
        key = self._guarded(self._driver.create, use)
        if not isinstance(key, keys.SigningKey):
            raise _invalid(f'The key store {self.name} made no key for {use}.')
        return key

    def _guarded(self, function: Any, *args: object) -> Any:
        try:
            return function(*args)
        except errors.KororaError:
            raise
        except Exception as exc:  # noqa: BLE001 - a driver may fail anyhow
            # Without its text and cause, which may hold a driver's secret.
            raise _invalid(
                f'The key store {self.name} failed with {type(exc).__name__}.'
            ) from None


class Keys:
    """keys.json and the private keys that it asks for.

    It is read again when it has changed, so that keys are replaced while the
    service runs. While it cannot be used, nothing is signed or verified.

    :raises Unavailable: KEYS_INVALID.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._path = conf[options.VERIFIER].trusted_keys
        self._store = Store(conf)
        self._lock = threading.Lock()
        self._loaded: tuple[object, Signers] | None = None
        self.signers()

    @property
    def ring(self) -> keys.KeyRing:
        """The public keys.

        :raises Unavailable: KEYS_INVALID.
        """
        return self.signers().ring

    def signers(self) -> Signers:
        """The private keys.

        :raises Unavailable: KEYS_INVALID.
        """
        loaded, stamp = self._loaded, self._stamp()
        if loaded is not None and loaded[0] == stamp:
            return loaded[1]
        with self._lock:
            if self._loaded is None or self._loaded[0] != stamp:
                ring = keys.KeyRing.load(self._path)
                self._loaded = stamp, load_signers(self._store, ring)
            return self._loaded[1]

    def _stamp(self) -> object:
        """Another one whenever the file is another."""
        try:
            found = os.stat(self._path)
        except OSError as exc:
            raise _invalid(
                f'Cannot read the trusted keys {self._path}: {exc.strerror}.'
            ) from None
        return found.st_mtime_ns, found.st_ino, found.st_size


def load_signers(store: Store, ring: keys.KeyRing) -> Signers:
    """Take the active keys from a store.

    :raises Unavailable: KEYS_INVALID: no key is active for a use, or it is
        missing or malformed.
    """
    result, custody, approval = (
        store.signing_key(use, ring.active(use).kid) for use in keys.USES
    )
    streams = ring.streams
    tls = store.signing_key(keys.TLS, streams.kid) if streams else None
    return Signers(result, custody, approval, tls, ring, store)


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
