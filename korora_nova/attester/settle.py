# SPDX-License-Identifier: Apache-2.0
"""Settling hand-overs: tell the service, get its receipt, act on it.

The queue is the vault itself: a record's ``statement`` is what is still to
be said, so it is as durable as the key.  Nothing is erased and nothing is
held again but on a receipt.  Whoever stays silent is waited for.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import Any

from oslo_log import log as logging

from korora_nova import errors
from korora_nova.attester import boot, libvirt_secret, vault
from korora_nova.attester.host import Host
from korora_nova.attester.vault import Record
from korora_nova.custody import ledger
from korora_nova.custody import receipt as receipts
from korora_nova.custody.receipt import VerifiedReceipt

LOG = logging.getLogger(__name__)

#: Seconds after which a copy that no domain came for is given up.
INCOMING_EXPIRY = 600.0
#: Seconds after which a permitted stream that Nova never started is off.
OUTGOING_EXPIRY = 900.0

_POLL = 2.0
_FIRST_DELAY = 1.0
_LONGEST_DELAY = 60.0

_PURPOSE = {
    'stream_completed': 'commit',
    'activated': 'commit',
    'never_started': 'abort',
    'no_domain': 'abort',
}


class Settler:
    """Brings every record to ``held`` or to nothing."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._started = boot.now()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._progress = threading.Condition()
        self._retries: dict[str, tuple[float, float]] = {}
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
        """Try this server's record again now."""
        self._retries.pop(instance, None)
        self._wake.set()

    # What the driver tells

    def state(
        self,
        statement: str,
        instance: str,
        migration: str,
        wait: float = 0.0,
    ) -> dict[str, Any]:
        """Queue a statement durably; with ``wait``, await its receipt.

        Saying the same again, or after the decision, is harmless.
        """
        queued = self._queue(statement, instance, migration)
        self.kick(instance)
        return {'queued': queued, **self._await(instance, migration, wait)}

    def _queue(self, statement: str, instance: str, migration: str) -> bool:
        with self._host.vault.changing():
            record = self._host.vault.get(instance)
            if record is None or record.migration != migration:
                return False
            if record.statement:
                return True
            self._allow(statement, record)
            if statement == 'no_domain':
                record = record.moved(vault.RELINQUISHED)
            self._host.vault.put(
                dataclasses.replace(record, statement=statement)
            )
        if statement == 'no_domain':
            self._host.shut(record)
        return True

    def _allow(self, statement: str, record: Record) -> None:
        """What a record's own history admits to be said."""
        allowed = {
            'stream_completed': (vault.MOVING,),
            'never_started': (vault.OUTGOING,),
            'activated': (vault.INCOMING,),
            'no_domain': vault.AS_DEST,
        }[statement]
        if record.state not in allowed:
            raise errors.Forbidden(
                errors.Reason.STATEMENT_NOT_ALLOWED,
                details={'state': record.state},
            )
        if statement == 'activated':
            domain = self._host.hypervisor.domain_state(record.instance)
            if domain != libvirt_secret.RUNNING:
                raise errors.Forbidden(
                    errors.Reason.STATEMENT_NOT_ALLOWED,
                    'The domain does not run on this host.',
                    details={'domain': domain},
                )

    def relinquish(self, instance: str, migration: str) -> None:
        """Give up a key that was being received; never raises."""
        try:
            with self._host.vault.changing():
                record = self._host.vault.get(instance)
                if (
                    record is None
                    or record.migration != migration
                    or record.state not in vault.AS_DEST
                ):
                    return
                record = self._host.vault.put(
                    record.moved(vault.RELINQUISHED, statement='no_domain')
                )
            self._host.shut(record)
        except (errors.KororaError, OSError) as error:
            LOG.error('%s: cannot relinquish: %s', instance, error)
        self.kick(instance)

    def forget(self, instance: str, wait: float = 0.0) -> dict[str, Any]:
        """The server was deleted: a tombstone now, gone on the receipt."""
        with self._host.vault.changing():
            record = self._host.vault.get(instance)
            if record is None:
                return {'queued': False}
            if record.state == vault.HELD:
                record = record.moved(
                    vault.FORGOTTEN, statement='delete', migration=''
                )
            elif record.state == vault.CLAIMING:
                record = dataclasses.replace(record, statement='delete')
            elif record.state in vault.AS_DEST:
                record = record.moved(
                    vault.RELINQUISHED, statement='no_domain', forget=True
                )
            elif record.state in vault.AS_SOURCE:
                record = dataclasses.replace(record, forget=True)
            self._host.vault.put(record)
        self._host.shut(record)
        self.kick(instance)
        key = record.migration or instance
        return {'queued': True, **self._await(instance, key, wait)}

    def _await(self, instance: str, key: str, wait: float) -> dict[str, Any]:
        """Wait until nothing is to be said; the receipt, if there is one."""
        deadline = time.monotonic() + wait
        with self._progress:
            while not (settled := self._is_settled(instance, key)):
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._progress.wait(min(left, _POLL))
        token = self._host.journal.find(key) if settled else None
        if token is None:
            return {'receipt': None, 'outcome': None}
        return {'receipt': token, 'outcome': self._outcome(token)}

    def _is_settled(self, instance: str, key: str) -> bool:
        record = self._host.vault.get(instance)
        return record is None or key not in (
            record.migration,
            record.instance if record.statement == 'delete' else None,
        )

    def _outcome(self, token: str) -> str:
        ring = self._host.ring()
        receipt = receipts.verify_receipt(token, ring, cloud=ring.cloud)
        return receipt.receipt.outcome

    # Settling

    def resolve(self, instance: str) -> Record | None:
        """Settle a server's record as far as can be; return what is left.

        A start of the server waits for this: what this host may decide by
        itself (it never started the stream) it decides now.
        """
        with self._host.vault.changing():
            record = self._host.vault.get(instance)
            if (
                record is not None
                and record.state == vault.OUTGOING
                and not record.statement
            ):
                record = self._host.vault.put(
                    dataclasses.replace(record, statement='never_started')
                )
        if record is None:
            return None
        self.settle(record)
        return self._host.vault.get(instance)

    def settle(self, record: Record) -> None:
        """One attempt at one record.

        :raises errors.KororaError: whatever keeps it from being settled.
        """
        record = self._observe(record)
        token = None
        if record.statement:
            token = self._tell(record)
        elif record.migration:
            token = self._look_up(record)
        if token is not None:
            ring = self._host.ring()
            receipt = receipts.verify_receipt(token, ring, cloud=ring.cloud)
            self._apply(record, receipt)

    def _observe(self, record: Record) -> Record:
        """Note what this host sees by itself: domains, time, reboots."""
        if record.statement or self._host.vault.is_busy(record.instance):
            return record
        statement = ''
        if record.state == vault.RECEIVING:
            statement = 'no_domain'  # the agent stopped in the middle
        elif record.state == vault.OUTGOING and self._off(record):
            statement = 'never_started'
        elif record.state == vault.INCOMING:
            statement = self._arrival(record)
        if not statement:
            return record
        return self._say(record, statement)

    def _off(self, record: Record) -> bool:
        """A permitted stream can or will not start any more."""
        return (
            record.boot_id != boot.boot_id()
            or boot.now() - record.since > OUTGOING_EXPIRY
        )

    def _arrival(self, record: Record) -> str:
        domain = self._host.hypervisor.domain_state(record.instance)
        if domain == libvirt_secret.RUNNING:
            return 'activated'
        since = self._started
        if record.boot_id == boot.boot_id():
            since = max(since, record.since)
        if (
            domain == libvirt_secret.NONE
            and boot.now() - since > INCOMING_EXPIRY
        ):
            return 'no_domain'
        return ''

    def _say(self, record: Record, statement: str) -> Record:
        with self._host.vault.changing():
            if self._host.vault.get(record.instance) != record:
                return record
            changed = dataclasses.replace(record, statement=statement)
            if statement == 'no_domain':
                changed = changed.moved(vault.RELINQUISHED)
            self._host.vault.put(changed)
        if statement == 'no_domain':
            self._host.shut(changed)
        LOG.info('%s: %s', record.instance, statement)
        return changed

    def _tell(self, record: Record) -> str | None:
        """Say a record's statement; the receipt, if there is one."""
        if record.statement == 'delete':
            return self._say_deleted(record)
        if record.statement == 'no_domain' and self._still_there(record):
            return None
        try:
            answer = self._host.attester.say(
                _PURPOSE[record.statement],
                {
                    'migration': record.migration,
                    'statement': record.statement,
                },
            )
        except errors.NotFound:
            if record.state == vault.RELINQUISHED and not record.has_key:
                self._drop(record)
                return None
            raise
        except (errors.Conflict, errors.Forbidden):
            token = self._look_up(record)
            if token is None:
                raise
            return token
        return str(answer.get('receipt', str))

    def _still_there(self, record: Record) -> bool:
        state = self._host.hypervisor.domain_state(record.instance)
        return state != libvirt_secret.NONE

    def _say_deleted(self, record: Record) -> str | None:
        try:
            answer = self._host.attester.say(
                'delete', {'instance': record.instance}
            )
        except (errors.NotFound, errors.CustodyError):
            if record.state != vault.CLAIMING:
                raise
            self._drop(record)  # the claim was never granted
            return None
        return str(answer.get('receipt', str))

    def _look_up(self, record: Record) -> str | None:
        token = self._host.client.get_migration(record.migration).get(
            'receipt'
        )
        return str(token) if token is not None else None

    def _drop(self, record: Record) -> None:
        """This host never was, nor could become, the holder of this key."""
        with self._host.vault.changing():
            if self._host.vault.get(record.instance) == record:
                self._host.vault.erase(record.instance)
        self._notify()

    def _apply(self, record: Record, receipt: VerifiedReceipt) -> None:
        after = _after(record, receipt)
        self._host.journal.add(receipt)
        # Shut before the record goes: it names libvirt's secret
        if after is None:
            self._host.shut(record)
        with self._host.vault.changing():
            current = self._host.vault.get(record.instance)
            if current is None or _key(current) != _key(record):
                return
            if after is None:
                self._host.vault.erase(record.instance)
            else:
                self._host.vault.put(
                    dataclasses.replace(
                        after, forget=after.forget or current.forget
                    )
                )
        LOG.info(
            '%s: migration %s %s, now %s',
            record.instance,
            record.migration or '-',
            receipt.receipt.outcome,
            'erased' if after is None else after.state,
        )
        self._notify()
        if after is not None and after.forget:
            self.forget(record.instance)

    def _notify(self) -> None:
        with self._progress:
            self._progress.notify_all()

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
        """One attempt at each record whose time has come."""
        now = time.monotonic()
        for record in self._host.vault.all():
            if record.state == vault.HELD or (
                record.state == vault.CLAIMING and not record.statement
            ):
                continue
            if self._host.vault.is_busy(record.instance):
                continue
            due, delay = self._retries.get(
                record.instance, (0.0, _FIRST_DELAY)
            )
            watched = record.state == vault.INCOMING and not record.statement
            if now < due and not watched:
                continue
            self._attempt(record, delay, lookup=now >= due)

    def _attempt(self, record: Record, delay: float, *, lookup: bool) -> None:
        due = time.monotonic() + delay
        longer = min(delay * 2, _LONGEST_DELAY)
        if lookup:
            self._retries[record.instance] = (due, longer)
        try:
            seen = self._observe(record)
            if lookup or seen != record:
                self.settle(seen)
        except errors.KororaError as error:
            LOG.warning(
                '%s: not settled yet (%s): %s',
                record.instance,
                record.statement or record.state,
                error,
            )


def _key(record: Record) -> tuple[str, int, bytes]:
    """What makes two records the same key in the same hand-over."""
    return record.migration, record.epoch, record.private


def _after(record: Record, receipt: VerifiedReceipt) -> Record | None:
    """What a receipt makes of a record; None erases it.

    :raises errors.CustodyError: RECEIPT_INVALID, it is about another key.
    """
    outcome = receipt.receipt.outcome
    if record.state in (vault.FORGOTTEN, vault.CLAIMING):
        epoch = record.epoch
        if record.state == vault.CLAIMING:  # the ledger chose the epoch
            epoch = receipt.receipt.epoch
        receipt.check_deleted(instance=record.instance, epoch=epoch)
        return None
    settled = {
        'migration': '',
        'permit': '',
        'peer': '',
        'statement': '',
    }
    if record.state in vault.AS_SOURCE:
        if outcome == ledger.COMMITTED:
            receipt.check_committed(
                instance=record.instance,
                migration=record.migration,
                held_epoch=record.epoch,
            )
            return None
        _require_aborted(record, receipt)
        return record.moved(vault.HELD, **settled)
    if outcome == ledger.COMMITTED:
        _require_arrived(record, receipt)
        return record.moved(vault.HELD, **settled)
    _require_aborted(record, receipt)
    if record.has_key:
        receipt.check_aborted(
            instance=record.instance,
            migration=record.migration,
            epoch=record.epoch,
        )
    return None


def _require_aborted(record: Record, receipt: VerifiedReceipt) -> None:
    content = receipt.receipt
    receipt.check_aborted(
        instance=record.instance,
        migration=record.migration,
        epoch=content.epoch,
    )


def _require_arrived(record: Record, receipt: VerifiedReceipt) -> None:
    """A committed key is ours: the very epoch that was sealed here."""
    content = receipt.receipt
    receipt.check_committed(
        instance=record.instance,
        migration=record.migration,
        held_epoch=content.epoch - 1,
    )
    if not record.has_key or content.epoch != record.epoch:
        raise errors.CustodyError(
            errors.Reason.RECEIPT_INVALID,
            'The service committed a hand-over whose key this host does '
            'not have.',
            details={'instance': record.instance},
        )
