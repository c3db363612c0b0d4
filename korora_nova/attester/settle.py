# SPDX-License-Identifier: Apache-2.0
"""Settling hand-overs: say what is seen, get the receipt, act on it.

Nothing is erased and nothing is held again but on a document of the service.
Whoever stays silent is waited for.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from oslo_log import log as logging

from korora_nova import errors, faultpoints, spans, trail
from korora_nova.attester import libvirt_secret, outcome
from korora_nova.attester.host import Host
from korora_nova.attester.observe import Observer
from korora_nova.attester.reports import Reports
from korora_nova.attester.vault import Record
from korora_nova.custody import bodies, decision
from korora_nova.custody.chain import AnyVerified
from korora_nova.custody.exchange import Told
from korora_nova.custody.words import MigrationState, Statement, VaultState

LOG = logging.getLogger(__name__)

_POLL = 2.0
_FIRST_DELAY = 1.0
_LONGEST_DELAY = 60.0
#: The same for a cold hand-over: a server may wait for the other end's word.
_COLD_DELAY = 10.0
#: Times that a server's records are settled at most while it waits to start.
_PASSES = 3

#: Refusals after which the service has to see this host's documents.
_BEHIND = (
    errors.Reason.LEDGER_BEHIND,
    errors.Reason.MIGRATION_UNKNOWN,
    errors.Reason.NOT_HOLDER,
)

#: Word of an end whose domain is here -> its word when that is gone.
_GONE: dict[Statement, Statement] = {
    Statement.KEPT: Statement.ENDED_HERE,
    Statement.ACTIVATED: Statement.NO_DOMAIN,
}

_T = TypeVar('_T')
#: Server and epoch.
_Place = tuple[str, int]


class Settler:
    """Brings every record to ``held`` or to nothing.

    :ivar progress: notified whenever a record was settled.
    """

    def __init__(self, host: Host, reports: Reports) -> None:
        self._host = host
        self._reports = reports
        self._observer = Observer(host.hypervisor)
        self._stop = threading.Event()
        self._wake = threading.Event()
        self.progress = threading.Condition()
        self._retries: dict[str, tuple[float, float]] = {}
        #: The words that the service has heard in this process' life.
        self._heard: dict[_Place, Statement] = {}
        #: What else a round does, once the records are settled.
        self.afterwards: list[Callable[[], None]] = []
        self._thread = threading.Thread(
            target=self._run, name='settle', daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join(5)

    def kick(self, instance: str) -> None:
        """Try this server's records again now."""
        self._retries.pop(instance, None)
        self.wake()

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    def resolve(self, instance: str) -> Record | None:
        """Settle a server's records as far as can be; return what counts.

        A start of the server waits for this: what this host may decide by
        itself (it never started the stream) it decides now.

        :raises KororaError: what keeps the key from being held here.
        """
        error: errors.KororaError | None = None
        for _ in range(_PASSES):
            before = self._host.vault.of(instance)
            error = self._resolve(before)
            if self._host.vault.of(instance) == before:
                break
        left = self._host.vault.current(instance)
        if error is not None and (
            left is None or left.state != VaultState.HELD
        ):
            raise error
        return left

    def _resolve(self, records: list[Record]) -> errors.KororaError | None:
        error = None
        for record in filter(self._is_due, records):
            try:
                self.settle(self._observe(record, now=True))
            except errors.KororaError as exc:
                self._log(record, exc)
                # That a guest runs here is no fault: its state says enough
                if exc.reason != errors.Reason.DOMAIN_RUNNING:
                    error = exc
        return error

    def refresh(self, instance: str) -> Record | None:
        """The same, after the service has said what it knows.

        :raises KororaError: as :meth:`resolve`, or the service's.
        """
        self._reports.refresh(instance)
        return self.resolve(instance)

    def settle(self, record: Record) -> None:
        """One attempt at one record.

        :raises KororaError: whatever keeps it from being settled.
        """
        record = self._observe(record)
        document = self._known(record)
        if record.state != VaultState.HELD and (
            self._has_to_tell(record) or document is None
        ):
            self._learn(record)
            document = self._known(record)
        if document is not None:
            self._follow(record, document)

    def _follow(self, record: Record, document: AnyVerified) -> None:
        """Act on a document, or on a later one if that cannot be done.

        :raises CustodyError: DOMAIN_RUNNING.
        """
        try:
            self._apply(record, document)
        except errors.CustodyError as exc:
            if exc.reason != errors.Reason.DOMAIN_RUNNING:
                raise
            if record.is_cold and record.statement is None:
                # Given away, and it runs: no move of Nova's does that.
                record = self.look(record)
            self._learn(record)
            later = self._known(record)
            if later is None or later.hash == document.hash:
                raise
            self._apply(record, later)

    # What this host sees by itself

    def _observe(self, record: Record, *, now: bool = False) -> Record:
        if self._host.vault.is_busy(record.instance):
            return record
        word = self._observer.word(
            record, told=not self._has_to_tell(record), now=now
        )
        return record if word is None else self.say(record, word)

    def look(self, record: Record) -> Record:
        """Note what libvirt says of a hand-over that is over here."""
        return self._observe(record, now=True)

    def say(self, record: Record, word: Statement) -> Record:
        """Note a word durably, unless the record was changed meanwhile."""
        with self._host.vault.changing():
            if self._host.vault.find(record) != record:
                return record
            if word == Statement.NO_DOMAIN:
                changed = self._host.vault.put(
                    record.moved(VaultState.RELINQUISHED, statement=word)
                )
            else:
                changed = self._host.vault.say(record, word)
        if word == Statement.NO_DOMAIN and not self._others(record):
            self._host.shut(changed)
        LOG.info('%s: %s', record.instance, word)
        return changed

    def _is_due(self, record: Record) -> bool:
        """Whether something is, or may be, left to settle."""
        if record.state in (VaultState.HELD, VaultState.CLAIMING):
            newest = self._host.journal.newest(record.instance)
            known = max(record.rests_on, record.epoch - 1)
            return record.statement is not None or (
                newest is not None and newest.version > known
            )
        return True

    def _known(self, record: Record) -> AnyVerified | None:
        """The server's newest document, if the record is to follow it.

        :raises CustodyError: it does not verify any more.
        """
        newest = self._host.journal.newest(record.instance)
        if newest is None or newest.version <= record.rests_on:
            return None
        document = self._host.read(newest.token)
        row = document.row
        if (
            not record.has_key
            and not outcome.is_decision(record, document)
            or row.pending
            and row.pending == record.migration
        ):
            return None
        return document

    # What the service is told

    def _has_to_tell(self, record: Record) -> bool:
        heard = self._heard.get(_place(record))
        return record.statement is not None and heard != record.statement

    def _learn(self, record: Record) -> None:
        """Tell the service this host's word, or look what it decided."""
        if record.statement == Statement.DELETE:
            self._keep(self._tell_deleted(record))
        elif not record.migration:
            return
        elif self._has_to_tell(record):
            if not self._is_held_back(record):
                self._keep(self._tell(record))
        else:
            self._keep(self._look(record))

    def _is_held_back(self, record: Record) -> bool:
        """Whether libvirt does not bear out a word that Nova has said."""
        if record.statement == Statement.NO_DOMAIN:
            return self._domain(record) != libvirt_secret.NONE
        if record.statement == Statement.STREAM_COMPLETED:
            return self._domain(record) == libvirt_secret.RUNNING
        return False

    def _domain(self, record: Record) -> str:
        return self._host.hypervisor.domain_state(record.instance)

    def _tell(self, record: Record) -> str | None:
        """Tell the word; the receipt, if there is one."""
        word = record.statement
        assert word is not None  # noqa: S101 only words are told
        body = bodies.Tell(record.migration, word)
        try:
            token = self._said(record, body)
        except errors.NotFound as exc:
            if exc.reason != errors.Reason.MIGRATION_UNKNOWN:
                raise
            self._drop_keyless(record)
            return None
        except (errors.Conflict, errors.Forbidden) as exc:
            # Decided meanwhile, it may be
            token = self._look(record)
            if token is None:
                raise exc from None
        self._heard[_place(record)] = word
        if token is None and not record.has_key:
            return self._look(record)
        return token

    def _said(self, record: Record, body: bodies.Body) -> str | None:
        """Say it; again after documents, if the service has lost some."""
        attester = self._host.attester
        try:
            return attester.attest_for(body, Told).served.receipt or None
        except errors.KororaError as exc:
            if exc.reason not in _BEHIND or not record.document:
                raise
        self._reports.present([record.instance])
        return attester.attest_for(body, Told).served.receipt or None

    def _tell_deleted(self, record: Record) -> str | None:
        try:
            return self._said(record, bodies.Delete(record.instance))
        except errors.CustodyError as exc:
            if exc.reason != errors.Reason.NOT_HOLDER:
                raise
            if record.state != VaultState.CLAIMING:
                self._reports.refresh(record.instance)
                if self._known(record) is None:
                    raise
                return None  # somebody else has ended it
            self._drop(record)  # the claim was never granted
            return None

    def _look(self, record: Record) -> str | None:
        """Look up the receipt, and whether this host's word is still known."""
        try:
            found = self._host.migration(record.migration)
        except errors.NotFound:
            self._heard.pop(_place(record), None)
            self._drop_keyless(record)
            if record.document:
                self._reports.present([record.instance])
            return None
        mine = 'dest' if found.get('dest') == self._host.name else 'source'
        if found.get(f'{mine}_word') != record.statement:
            self._heard.pop(_place(record), None)  # its database went back
        token = found.get('receipt')
        if token is None and (
            found.get('status') == MigrationState.ABORTED
            or found.get('dest') != self._host.name
        ):
            # It ended before a permit, or another host is to receive.
            self._drop_keyless(record)
        if token is None and self._is_left_alone(record, found):
            changed = self.say(record, Statement.NO_DOMAIN)
            # Changed by somebody else meanwhile, or a domain has come
            if self._has_to_tell(changed) and not self._is_held_back(changed):
                return self._tell(changed)
        return str(token) if token is not None else None

    def _is_left_alone(self, record: Record, found: Mapping[str, Any]) -> bool:
        """Whether the source says that no stream comes, and none has.

        Nova, that tells so, may have been killed.
        """
        return (
            record.state == VaultState.INCOMING
            and record.statement is None
            and found.get('source_word') in decision.STAYS
            and not self._host.vault.is_busy(record.instance)
            and self._domain(record) == libvirt_secret.NONE
        )

    def _keep(self, token: str | None) -> None:
        """:raises CustodyError: it is no document of the service."""
        if token is not None:
            self._host.journal.add(self._host.read(token))

    # What comes of it

    def _drop_keyless(self, record: Record) -> None:
        if record.state == VaultState.RELINQUISHED and not record.has_key:
            self._drop(record)

    def _drop(self, record: Record) -> None:
        """This host never was, nor could become, the holder of this key."""
        with self._host.vault.changing():
            if self._host.vault.find(record) == record:
                self._host.vault.erase(record)
        self._settled(record)

    def _apply(self, record: Record, document: AnyVerified) -> None:
        """Do to a record what a document says (C9)."""
        after = outcome.apply_document(
            record,
            document,
            self._host.name,
            lambda: self._has_domain(record),
        )
        if after == record or after is None and self._took_back(record):
            return
        # Shut before the record goes: it names libvirt's secret
        if after is None and not self._others(record):
            self._host.shut(record)
        with self._host.vault.changing():
            current = self._host.vault.find(record)
            if current is None or self._host.vault.is_busy(record.instance):
                return
            if after is None:
                self._host.vault.erase(record)
            else:
                self._host.vault.put(_after(current, after))
        LOG.info(
            '%s: epoch %d, migration %s: %s',
            record.instance,
            record.epoch,
            record.migration or '-',
            'erased' if after is None else after.state,
        )
        self._settled(record)

    def _took_back(self, record: Record) -> bool:
        """Settle with a new word: the last one was that the guest is here.

        Untold, a dispute about it would never end.
        """
        word = _GONE.get(record.statement) if record.statement else None
        if word is None or not record.migration:
            return False
        changed = self.say(record, word)
        if changed != record:
            self.settle(changed)
        return True

    def _has_domain(self, record: Record) -> bool:
        """Whether libvirt has the server, under this very key."""
        return (
            not self._others(record)
            and self._domain(record) != libvirt_secret.NONE
        )

    def _others(self, record: Record) -> bool:
        """Whether the server's key is here at a later epoch."""
        return any(
            other.epoch > record.epoch and other.has_key
            for other in self._host.vault.of(record.instance)
        )

    def _settled(self, record: Record) -> None:
        self._observer.forget(record)
        self._heard.pop(_place(record), None)
        with faultpoints.step('host.settled'), self.progress:
            self.progress.notify_all()

    # The worker

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.sweep()
            except Exception:  # noqa: BLE001 - the worker outlives its bugs
                LOG.exception('Settling failed unexpectedly')
            self._wake.wait(_POLL)
            self._wake.clear()

    def sweep(self) -> None:
        """Look at each record, then try those whose time has come.

        What a host sees is noted first: it must not wait for a service
        that does not answer, of which one try is enough.
        """
        for instance in self._reports.work():
            self._retries.pop(instance, None)
        now = time.monotonic()
        due = []
        for record in self._host.vault.all():
            if self._host.vault.is_busy(record.instance) or not self._is_due(
                record
            ):
                continue
            seen = self._attempt(self._observe, record) or record
            if seen != record or now >= self._next_try(record.instance):
                due.append(seen)
        for record in due:
            if not self._try(record):
                return
        for extra in self.afterwards:
            extra()

    def _next_try(self, instance: str) -> float:
        return self._retries.get(instance, (0.0, _FIRST_DELAY))[0]

    def _try(self, record: Record) -> bool:
        """Settle; False if the service does not answer at all."""
        _due, delay = self._retries.get(record.instance, (0.0, _FIRST_DELAY))
        self._retries[record.instance] = (
            time.monotonic() + delay,
            min(delay * 2, _COLD_DELAY if record.is_cold else _LONGEST_DELAY),
        )
        ids = {'instance': record.instance, 'migration': record.migration}
        with trail.following(**ids):
            return self._tried(record, ids)

    def _tried(self, record: Record, ids: dict[str, str]) -> bool:
        try:
            with spans.span('settle', **ids):
                self.settle(record)
        except errors.KororaError as exc:
            self._log(record, exc)
            return exc.reason != errors.Reason.SERVICE_UNAVAILABLE
        except OSError as exc:  # the disk is full, for one
            self._log(record, exc)
        return True

    def _attempt(
        self, call: Callable[[Record], _T], record: Record
    ) -> _T | None:
        try:
            return call(record)
        except (errors.KororaError, OSError) as exc:
            self._log(record, exc)
            return None

    def _log(self, record: Record, error: Exception) -> None:
        LOG.warning(
            '%s: not settled yet (%s): %s',
            record.instance,
            record.statement or record.state,
            error,
        )


def _place(record: Record) -> _Place:
    return record.instance, record.epoch


def _after(current: Record, after: Record) -> Record:
    """The record to keep: what was deleted meanwhile is given up."""
    if not current.forget or after.state != VaultState.HELD:
        return dataclasses.replace(after, forget=current.forget)
    return after.moved(
        VaultState.FORGOTTEN, statement=Statement.DELETE, forget=False
    )
