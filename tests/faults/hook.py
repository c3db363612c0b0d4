# SPDX-License-Identifier: Apache-2.0
"""What a process under test does at a point of fault."""

from __future__ import annotations

import dataclasses
import errno
import os
import pathlib
import threading
from multiprocessing.connection import Connection

import sqlalchemy as sa

from korora_nova import errors, faultpoints

#: What happens at a point. ASK: the test decides, and does more.
ASK = 'ask'
LOST = 'lost'
FULL = 'full'
TWICE = 'twice'


@dataclasses.dataclass(frozen=True)
class Armed:
    """The point at which something happens, once.

    :param skip: how often the process passes it before that.
    """

    name: str
    moment: str
    what: str
    skip: int = 0


class Hook:
    """Notes each point that is passed, and does what was armed.

    :param log: appended to, one line a point.
    :param ask: tells the test, and gives its answer.
    :param copies: called before each change of the database.
    """

    def __init__(self, actor: str, log: pathlib.Path, ask: Connection) -> None:
        self._actor = actor
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._ask = ask
        self._lock = threading.Lock()
        self._armed: Armed | None = None
        self.copies = lambda _name: None

    def arm(self, armed: Armed | None) -> Armed | None:
        """Returns what was armed and has not happened."""
        with self._lock:
            before, self._armed = self._armed, armed
        return before

    def __call__(self, name: str, moment: str) -> object:
        if name not in faultpoints.POINTS:
            os.write(self._log, f'{self._actor} {name} unknown\n'.encode())
            raise AssertionError(f'no such point: {name}')
        if moment != faultpoints.AGAIN:
            os.write(self._log, f'{self._actor} {name} {moment}\n'.encode())
        if moment == faultpoints.BEFORE:
            self.copies(name)
        with self._lock:
            armed = self._armed
            if armed is None or (armed.name, armed.moment) != (name, moment):
                return False
            if armed.skip:
                self._armed = dataclasses.replace(armed, skip=armed.skip - 1)
                return False
            self._armed = None
        return self._do(armed)

    def _do(self, armed: Armed) -> bool:
        if armed.what == TWICE:
            return True
        if armed.what == LOST:
            raise errors.Unavailable(errors.Reason.SERVICE_UNAVAILABLE)
        if armed.what == FULL:
            if armed.name.startswith('v.') and armed.name != 'v.anchor':
                raise sa.exc.OperationalError(
                    'COMMIT', {}, OSError(errno.ENOSPC, 'table is full')
                )
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._ask.send((self._actor, armed.name, armed.moment))
        self._ask.recv()  # if it is to go on
        return False
