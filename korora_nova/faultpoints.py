# SPDX-License-Identifier: Apache-2.0
"""Where a process may be stopped, or what it sends lost, by a test.

Each durable step of custody and each message is a *point* with a name::

    with faultpoints.step('v.permit'):
        transaction.commit()
    answer = faultpoints.call('bus.wrap', lambda: ask(source, request))

Nothing happens at a point while :data:`hook` is None, as it is outside of
tests. A test's hook may end the process, raise what the step could raise, or
wait. The steps are those of ``doc/source/contributor/custody.rst``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Final, TypeVar

#: Point -> what is done there.
POINTS: Final = {
    # V: one transaction each, from its commit's call to its return
    'v.challenge': 'a challenge is issued, or used',
    'v.enrol': "a host's identity is bound",
    'v.part': 'a part of a measurement list is kept',
    'v.result': "a host's result",
    'v.repeat': 'an answer is kept, for a request that comes again',
    'v.claim': 'C1: grant',
    'v.receive': 'C2: D, which shall receive, and its MSK',
    'v.permit': 'C4: permit',
    'v.sealed': 'C6: D has sealed',
    'v.start': 'C7: start',
    'v.word': 'C8: a word that does not decide',
    'v.decide': 'C8: a word, and the receipt that it decides',
    'v.delete': 'receipt of a deletion',
    'v.present': 'C12: the newest document becomes the row',
    'v.resolve': "an operator's decision of a dispute",
    'v.reissue': 'an operator lets the next start have the key again',
    'v.release': 'an operator takes the key from its holder',
    'v.evict': 'an operator gives a host up',
    # V, outside of its database
    'v.anchor': 'the anchor rises',
    # A host's vault: one record, from its write to its directory's fsync
    'host.claiming': 'C1: a new key, not yet granted',
    'host.held': 'the key can be opened: granted, committed or aborted',
    'host.outgoing': 'C4: permitted away',
    'host.starting': 'C7: asks for its start',
    'host.moving': 'C7: libvirt may be called',
    'host.receiving': 'C2: a permit is asked for',
    'host.incoming': 'C5: imported, not yet held',
    'host.relinquished': 'no domain came, and none will',
    'host.forgotten': 'the server was deleted',
    'host.word': 'C8: a word that is to be told',
    'host.vtpm': "the hash of a vTPM's state is noted, or removed",
    'host.erase': 'C9: a record goes',
    # The rest of a host's disk
    'host.document': 'a grant, permit, start or receipt is kept',
    'host.settled': 'C9: a receipt was applied, and its waiters are told',
    # A host's libvirt
    'host.define': "libvirt's secret is defined and set",
    'host.undefine': "libvirt's secret goes",
    # Messages: before is the request lost, after is the answer lost
    'ask.challenge': 'host -> V',
    'ask.claim': 'C1, host -> V',
    'ask.receive': 'C2, D -> V',
    'ask.send': 'C4, S -> V',
    'ask.sealed': 'C6, D -> V',
    'ask.start': 'C7, S -> V',
    'ask.tell': 'C8, host -> V',
    'ask.delete': 'host -> V',
    'ask.approve': 'C10, host -> V',
    'ask.attest': 'C11, host -> V',
    'ask.list': 'C13, host -> V',
    'ask.present': 'C12, host -> V',
    'ask.look': 'host -> V: a migration, a server or a receipt is read',
    'bus.wrap': 'C3 and C5, D -> S and back',
    'bus.prepare': 'S -> D, before a cold migration: C2 to C6, and back',
}

BEFORE: Final = 'before'
AFTER: Final = 'after'
#: Asked of a call that has succeeded: whether it is made once more.
AGAIN: Final = 'again'

#: Takes a point and a moment. What it raises is raised at the point; only
#: what it returns for :data:`AGAIN` counts.
Hook = Callable[[str, str], object]

#: The test's, in a process that a test has started.
hook: Hook | None = None

_Answer = TypeVar('_Answer')


class _Step:
    def __init__(self, name: str, to: Hook) -> None:
        self._name, self._hook = name, to

    def __enter__(self) -> None:
        self._hook(self._name, BEFORE)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._hook(self._name, AFTER)


_NOTHING: Final = contextlib.nullcontext()


def step(name: str) -> contextlib.AbstractContextManager[None]:
    """What is done inside is the point ``name`` of :data:`POINTS`.

    The hook is not called after what failed.
    """
    return _NOTHING if hook is None else _Step(name, hook)


def call(name: str, function: Callable[[], _Answer]) -> _Answer:
    """The same for a message, which may also arrive twice."""
    if hook is None:
        return function()
    with step(name):
        answer = function()
        if hook(name, AGAIN):
            answer = function()
        return answer
