# SPDX-License-Identifier: Apache-2.0
"""Protected servers: claimed, opened, handed over, and looked for at last."""

from __future__ import annotations

import collections
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from korora_nova import errors
from korora_nova.custody.chain import AnyVerified
from korora_nova.custody.words import Statement
from korora_tools.fleet import nova
from korora_tools.fleet.host import Host
from korora_tools.fleet.plan import End, Life, Move
from korora_tools.fleet.tally import Tally

T = TypeVar('T')

#: Seconds for which one step of a server's life is tried again while the
#: service, or what it needs, is away; and between two trials.
PATIENCE = 180.0
PAUSE = 1.0
#: Refusals of what another end of the same server is at.
_AGAIN = frozenset(
    (
        errors.Reason.RETRY,
        errors.Reason.CHALLENGE_USED,
        errors.Reason.CHALLENGE_EXPIRED,
        errors.Reason.CHALLENGE_UNKNOWN,
        errors.Reason.HOST_UNTRUSTED,
        errors.Reason.LEDGER_BEHIND,
    )
)
#: Words of both ends, by what becomes of the hand-over.
_WORDS = {
    End.COMMITTED: (Statement.STREAM_COMPLETED, Statement.ACTIVATED),
    End.ABORTED: (Statement.KEPT, Statement.NO_DOMAIN),
    End.NEVER_STARTED: (Statement.NEVER_STARTED, Statement.NO_DOMAIN),
}


class Ask(Protocol):
    """D asks S for the permit; returns its token."""

    def __call__(
        self, source: Host, dest: Host, move: Move, instance: str, msk: bytes
    ) -> str: ...


def directly(
    source: Host, dest: Host, move: Move, instance: str, msk: bytes
) -> str:
    """Without a bus."""
    return source.send(move.uuid, instance, dest.name, msk).token


class Lives:
    """Lives of servers on hosts of a fleet.

    :param ask: how a destination reaches the source.
    :ivar held: where each server's key is, and of which epoch, as far as a
        signed document told; hosts None: deleted.
    """

    def __init__(
        self,
        hosts: Mapping[int, Host],
        record: nova.Nova,
        tally: Tally,
        ask: Ask = directly,
    ) -> None:
        self._hosts = hosts
        self._nova = record
        self._tally = tally
        self._ask = ask
        self._lock = threading.Lock()
        self.stopped = threading.Event()
        self.held: dict[str, tuple[str | None, int]] = {}
        self.newest: dict[str, int] = {}
        self.done: collections.Counter[str] = collections.Counter()

    def live(self, life: Life) -> None:
        """One server's whole life; what fails for good is counted."""
        try:
            self._live(life)
        except errors.KororaError as exc:
            self.done['stuck'] += 1
            if not self.stopped.is_set():
                self._tally.blame(f'server {life.instance}: {exc}')

    def _live(self, life: Life) -> None:
        here = self._hosts[life.host]
        self._nova.hosts[life.instance] = here.name
        grant = self._do('claim', lambda: here.claim(life.instance, life.key))
        self._note(grant)
        self._open(here, life.instance)
        for move in life.moves:
            if self.stopped.is_set():
                return
            dest = self._hosts[move.dest]
            if dest is here:
                continue
            if self._move(life.instance, here, dest, move):
                here = dest
            self._open(here, life.instance)
        if life.deleted:
            self._note(self._do('delete', lambda: here.delete(life.instance)))
            self.done['deleted'] += 1
        self.done['lives'] += 1

    def _open(self, here: Host, instance: str) -> None:
        epoch = self.held[instance][1]
        self._do('approve', lambda: here.open(instance, epoch))

    def _move(
        self, instance: str, source: Host, dest: Host, move: Move
    ) -> bool:
        """A hand-over; returns whether the key moved.

        What fails for good before the stream is given up by both ends, as
        agents do: the guest stays.
        """
        end = move.end
        try:
            self._hand_over(instance, source, dest, move)
        except errors.KororaError as exc:
            self._tally.acted(f'given up: {exc.reason}')
            end = End.NEVER_STARTED
        left, right = _WORDS[end]
        for host, word in ((source, left), (dest, right)):
            receipt = self._tell(host, move.uuid, word)
            if receipt is not None:
                self._note(receipt)
        self.done[f'hand-over {end.value}'] += 1
        if end is not End.COMMITTED:
            return False
        self._nova.hosts[instance] = dest.name
        return True

    def _hand_over(
        self, instance: str, source: Host, dest: Host, move: Move
    ) -> None:
        with self._prepared(instance, source, dest, move):
            msk = self._do(
                'receive',
                lambda: dest.receive(move.uuid, instance, source.name),
            )
            token = self._do(
                'send', lambda: self._ask(source, dest, move, instance, msk)
            )
            permit = dest.keep(token)
            self._note(permit)
            if move.end is not End.NEVER_STARTED:
                self._do('sealed', lambda: dest.sealed(permit))
                self._do('start', lambda: source.start(permit))

    def _tell(
        self, host: Host, migration: str, word: Statement
    ) -> AnyVerified | None:
        try:
            return self._do('tell', lambda: host.tell(migration, word))
        except errors.NotFound:
            # It failed before the service knew of it.
            return None

    @contextlib.contextmanager
    def _prepared(
        self, instance: str, source: Host, dest: Host, move: Move
    ) -> Iterator[None]:
        """Nova prepares the migration while the block runs."""
        record = (move.uuid, source.name, dest.name)
        self._nova.migrations[instance] = record
        try:
            yield
        finally:
            del self._nova.migrations[instance]

    def _note(self, item: AnyVerified) -> None:
        """A document was given to a host: it counts from now on."""
        content = item.content
        holding = content.holding()
        with self._lock:
            if content.version < self.newest.get(content.instance, 0):
                return
            self.newest[content.instance] = content.version
            if 'holder' in holding:
                self.held[content.instance] = (
                    holding['holder'],
                    holding['epoch'],
                )

    def _do(self, what: str, call: Callable[[], T]) -> T:
        """A step, again for as long as the service is away."""
        end = time.monotonic() + PATIENCE
        while True:
            began = time.monotonic()
            try:
                found = call()
            except errors.KororaError as exc:
                self._tally.refused(f'custody {what}', began, exc)
                again = exc.reason in _AGAIN or isinstance(
                    exc, errors.Unavailable
                )
                if not again or time.monotonic() > end:
                    raise
                time.sleep(PAUSE)
                continue
            self._tally.answered(f'custody {what}', began, 'served')
            return found

    # At last

    def audit(self, admin: Any) -> dict[str, int]:
        """Look for each server's key on every host that took part.

        :param admin: a client of the service.
        :returns: ``lost``: keys that nobody can open any more, and documents
            that a host has and the service does not; ``custody_double``:
            keys that more than one may open, or an old epoch.
        """
        lost = double = 0
        for instance, (holder, epoch) in sorted(self.held.items()):
            row = admin.get_server(instance)
            if row.get('version', 0) < self.newest[instance]:
                lost += 1
                self._tally.blame(f'{instance}: the ledger lost a document')
                continue
            if row.get('pending'):
                # A life that was cut short; nobody may open it.
                holder = None
            openers = self._openers(instance, epoch)
            if len(openers) > 1:
                double += 1
                self._tally.blame(f'{instance}: {openers} may open it')
            elif holder and openers != [(holder, epoch)]:
                lost += 1
                self._tally.blame(
                    f'{instance}: {holder} holds it, {openers} may open it'
                )
            elif not holder and openers:
                double += 1
                self._tally.blame(f'{instance}: {openers}, and nobody should')
        return {'lost': lost, 'custody_double': double}

    def _openers(self, instance: str, epoch: int) -> list[tuple[str, int]]:
        """Who may open which epoch of a key, of those that ever had it."""
        found = []
        for host in self._hosts.values():
            if instance not in host.documents:
                continue
            for one in range(1, epoch + 1):
                if self._opens(host, instance, one):
                    found.append((host.name, one))
        return found

    def _opens(self, host: Host, instance: str, epoch: int) -> bool:
        try:
            self._do('audit', lambda: host.open(instance, epoch))
        except (errors.CustodyError, errors.Conflict, errors.NotFound):
            return False
        return True
