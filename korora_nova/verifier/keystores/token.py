# SPDX-License-Identifier: Apache-2.0
"""One PKCS#11 token, as threads and forked processes may use it.

The module is loaded and the token opened at first use in each process: what
was opened before a fork belongs to the parent. All threads share one session,
one after the other. What fails is tried once more with a new session; a
token that fails then, too, is left alone for :data:`PAUSE` seconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn, TypeVar

import pkcs11
from oslo_config import cfg
from pkcs11.types import Session, SignMixin

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.secret import Secret

T = TypeVar('T')

#: Seconds for which a token that failed is not asked again.
PAUSE = 2.0

_REFUSED = 'refuses the PIN; change it, or start the service again'
#: What the errors of a token mean for an operator; others show their name.
_MEANING: dict[type[Exception], str] = {
    # Not of any PKCS#11 function: the module is missing, or is none.
    pkcs11.PKCS11Error: 'is not there: [pkcs11] module cannot be loaded',
    pkcs11.PinIncorrect: _REFUSED,
    pkcs11.PinLenRange: _REFUSED,
    pkcs11.PinLocked: 'is locked after too many wrong PINs',
    pkcs11.UserPinNotInitialized: 'has no PIN of a user yet',
    pkcs11.NoSuchToken: 'is not there',
    pkcs11.TokenNotPresent: 'is not there',
    pkcs11.MultipleTokensReturned: 'is there more than once',
    pkcs11.SessionCount: 'has no session left; close those of others',
    pkcs11.DeviceMemory: 'has no room left',
    pkcs11.TokenWriteProtected: 'is write-protected',
}
_WRONG_PIN = (pkcs11.PinIncorrect, pkcs11.PinLenRange)


def invalid(message: str) -> errors.Unavailable:
    """The error that a key cannot be used."""
    return errors.Unavailable(errors.Reason.KEYS_INVALID, message)


class Missing(pkcs11.NoSuchKey):
    """A key is not in the token; the text is a sentence of ours."""


@dataclasses.dataclass(frozen=True)
class Opened:
    """A session.

    :param pid: the process that it belongs to.
    :param keys: private keys that were found in it.
    """

    session: Session
    pid: int = dataclasses.field(default_factory=os.getpid)
    keys: dict[str, SignMixin] = dataclasses.field(default_factory=dict)


class Token:
    """The token that ``[pkcs11]`` names.

    :param conf: the service's configuration.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        options.register_pkcs11_opts(conf)
        self._conf = conf[options.PKCS11]
        # A lock that was held during a fork stays locked in the child.
        self._locks: dict[int, threading.Lock] = {}
        self._opened: Opened | None = None
        self._paused: tuple[float, errors.Unavailable] | None = None
        self._missed_at: float | None = None
        self._wrong_pin: Secret | None = None
        for name in ('module', 'token'):
            if not self._conf[name]:
                raise invalid(f'[pkcs11] {name} is not set.')

    def run(self, action: Callable[[Opened], T]) -> T:
        """What an action returns that only reads and signs.

        It may run twice, the second time in a new session.

        :raises Unavailable: KEYS_INVALID.
        """
        with self._alone():
            try:
                return action(self._session())
            except Missing as exc:
                self._miss(exc)
            except pkcs11.PKCS11Error:
                self._close()
            try:
                return action(self._session())
            except pkcs11.PKCS11Error as exc:
                self._fail(exc)

    def write(self, action: Callable[[Session], T]) -> T:
        """What an action returns that may change the token; it runs once.

        :raises Unavailable: KEYS_INVALID.
        """
        with self._alone():
            self._close()
            try:
                return action(self._session(rw=True).session)
            except pkcs11.PKCS11Error as exc:
                self._fail(exc)
            finally:
                self._close()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        lock = self._locks.setdefault(os.getpid(), threading.Lock())
        if not lock.acquire(timeout=self._conf.timeout):
            raise invalid(f'The token {self._conf.token} does not answer.')
        try:
            if self._paused and time.monotonic() < self._paused[0]:
                raise self._paused[1].fresh()
            yield
        finally:
            lock.release()

    def _session(self, rw: bool = False) -> Opened:
        opened = self._opened
        if opened is not None and opened.pid == os.getpid():
            return opened
        if opened is not None:
            self._close()
        self._opened = Opened(self._open(rw))
        self._paused = None
        return self._opened

    def _open(self, rw: bool) -> Session:
        pin = self._pin()
        if pin == self._wrong_pin:
            self._fail(pkcs11.PinIncorrect())
        try:
            module = pkcs11.lib(self._conf.module)
            token = module.get_token(token_label=self._conf.token)
            return token.open(rw=rw, user_pin=pin.reveal().decode())
        except _WRONG_PIN as exc:
            # Once more with the same one, and so on, would lock the token.
            self._wrong_pin = pin
            self._fail(exc)

    def _pin(self) -> Secret:
        if self._conf.pin:
            return Secret(self._conf.pin.encode())
        path = self._conf.pin_file
        if not path:
            raise invalid('Neither [pkcs11] pin nor pin_file is set.')
        try:
            with open(path, encoding='utf-8') as stream:
                return Secret(stream.readline().rstrip('\r\n').encode())
        except (OSError, ValueError) as exc:
            raise invalid(
                f'Cannot read the PIN in {path}: {type(exc).__name__}.'
            ) from None

    def _close(self) -> None:
        """Forget the session, and have the module look for tokens anew."""
        opened, self._opened = self._opened, None
        with contextlib.suppress(pkcs11.PKCS11Error):
            if opened is not None and opened.pid == os.getpid():
                opened.session.close()
        with contextlib.suppress(pkcs11.PKCS11Error):
            pkcs11.lib(self._conf.module).finalize()

    def _miss(self, exc: Missing) -> None:
        """Look again in a new session, but not whenever somebody asks.

        :raises Unavailable: KEYS_INVALID.
        """
        now, at = time.monotonic(), self._missed_at
        if at is not None and now < at + PAUSE:
            raise invalid(str(exc)) from None
        self._missed_at = now
        self._close()

    def _fail(self, exc: pkcs11.PKCS11Error) -> NoReturn:
        """:raises Unavailable: KEYS_INVALID, in the words of an operator."""
        if isinstance(exc, Missing):
            raise invalid(str(exc)) from None
        self._close()
        meaning = _MEANING.get(type(exc), f'failed with {type(exc).__name__}')
        error = invalid(f'The token {self._conf.token} {meaning}.')
        self._paused = (time.monotonic() + PAUSE, error)
        # Without its text, which is the module's.
        raise error.fresh() from None
