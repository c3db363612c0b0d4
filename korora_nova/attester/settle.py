# SPDX-License-Identifier: Apache-2.0
"""Settling hand-overs: tell the service, get its receipt, act on it.

Nothing is erased and nothing is held again but on a receipt.  Whoever stays
silent is waited for.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

from oslo_log import log as logging

from korora_nova import errors
from korora_nova.attester import boot, libvirt_secret, outcome
from korora_nova.attester.host import Host
from korora_nova.attester.vault import Record
from korora_nova.custody import bodies
from korora_nova.custody import receipt as receipts
from korora_nova.custody.exchange import Decided
from korora_nova.custody.receipt import VerifiedReceipt
from korora_nova.custody.words import Statement, VaultState

LOG = logging.getLogger(__name__)

#: Seconds after which a copy that no domain came for is given up.
INCOMING_EXPIRY = 600.0
#: Seconds after which a permitted stream that Nova never started is off.
OUTGOING_EXPIRY = 900.0

#: Seconds for which a guest must be seen running here before this host
#: reports its arrival by itself.  libvirt can resume it on the source when the
#: connection breaks at the very end; Nova then says which one counts.
ARRIVAL_GRACE = 60.0

_POLL = 2.0
_FIRST_DELAY = 1.0
_LONGEST_DELAY = 60.0

_BODY: dict[Statement, type[bodies.Decision]] = {
    Statement.STREAM_COMPLETED: bodies.Commit,
    Statement.ACTIVATED: bodies.Commit,
    Statement.NEVER_STARTED: bodies.Abort,
    Statement.NO_DOMAIN: bodies.Abort,
}


class Settler:
    """Brings every record to ``held`` or to nothing.

    :ivar progress: notified whenever a record was settled.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._started = boot.now()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self.progress = threading.Condition()
        self._retries: dict[str, tuple[float, float]] = {}
        self._running: dict[str, float] = {}
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

    def resolve(self, instance: str) -> Record | None:
        """Settle a server's record as far as can be; return what is left.

        A start of the server waits for this: what this host may decide by
        itself (it never started the stream) it decides now.
        """
        with self._host.vault.changing():
            record = self._host.vault.get(instance)
            if (
                record is not None
                and record.state == VaultState.OUTGOING
                and not record.statement
            ):
                record = self._host.vault.put(
                    dataclasses.replace(
                        record, statement=Statement.NEVER_STARTED
                    )
                )
        if record is None:
            return None
        self.settle(record)
        return self._host.vault.get(instance)

    def settle(self, record: Record) -> None:
        """One attempt at one record.

        :raises KororaError: whatever keeps it from being settled.
        """
        record = self._observe(record)
        token = None
        if record.statement:
            token = self._tell(record, record.statement)
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
        statement = None
        if record.state == VaultState.RECEIVING:
            statement = Statement.NO_DOMAIN  # the agent stopped in the middle
        elif record.state == VaultState.OUTGOING and self._off(record):
            statement = Statement.NEVER_STARTED
        elif record.state == VaultState.INCOMING:
            statement = self._arrival(record)
        if statement is None:
            return record
        return self._queue(record, statement)

    def _off(self, record: Record) -> bool:
        """A permitted stream can no longer start, or will not."""
        return (
            record.boot_id != boot.boot_id()
            or boot.now() - record.since > OUTGOING_EXPIRY
        )

    def _arrival(self, record: Record) -> Statement | None:
        domain = self._host.hypervisor.domain_state(record.instance)
        if domain == libvirt_secret.RUNNING:
            seen = self._running.setdefault(record.instance, boot.now())
            arrived = boot.now() - seen >= ARRIVAL_GRACE
            return Statement.ACTIVATED if arrived else None
        self._running.pop(record.instance, None)
        since = self._started
        if record.boot_id == boot.boot_id():
            since = max(since, record.since)
        if (
            domain == libvirt_secret.NONE
            and boot.now() - since > INCOMING_EXPIRY
        ):
            return Statement.NO_DOMAIN
        return None

    def _queue(self, record: Record, statement: Statement) -> Record:
        with self._host.vault.changing():
            if self._host.vault.get(record.instance) != record:
                return record
            changed = dataclasses.replace(record, statement=statement)
            if statement == Statement.NO_DOMAIN:
                changed = changed.moved(VaultState.RELINQUISHED)
            self._host.vault.put(changed)
        if statement == Statement.NO_DOMAIN:
            self._host.shut(changed)
        self._running.pop(record.instance, None)
        LOG.info('%s: %s', record.instance, statement)
        return changed

    def _tell(self, record: Record, statement: Statement) -> str | None:
        """Tell the service the statement; the receipt, if there is one."""
        if statement == Statement.DELETE:
            return self._tell_deleted(record)
        if statement == Statement.NO_DOMAIN and self._still_there(record):
            return None
        body = _BODY[statement](record.migration, statement)
        try:
            answered = self._host.attester.attest_for(body, Decided)
        except errors.NotFound:
            if record.state == VaultState.RELINQUISHED and not record.has_key:
                self._drop(record)
                return None
            raise
        except (errors.Conflict, errors.Forbidden):
            token = self._look_up(record)
            if token is None:
                raise
            return token
        return answered.served.receipt

    def _still_there(self, record: Record) -> bool:
        state = self._host.hypervisor.domain_state(record.instance)
        return state != libvirt_secret.NONE

    def _tell_deleted(self, record: Record) -> str | None:
        try:
            answered = self._host.attester.attest_for(
                bodies.Delete(record.instance), Decided
            )
        except errors.CustodyError as exc:
            if (record.state, exc.reason) != (
                VaultState.CLAIMING,
                errors.Reason.NOT_HOLDER,
            ):
                raise
            self._drop(record)  # the claim was never granted
            return None
        return answered.served.receipt

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
        after = outcome.apply_receipt(record, receipt)
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
                if current.forget:  # deleted while it was under way
                    after = after.moved(
                        VaultState.FORGOTTEN,
                        statement=Statement.DELETE,
                        forget=False,
                    )
                self._host.vault.put(after)
        LOG.info(
            '%s: migration %s %s, now %s',
            record.instance,
            record.migration or '-',
            receipt.receipt.outcome,
            'erased' if after is None else after.state,
        )
        self._notify()

    def _notify(self) -> None:
        with self.progress:
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
        now = time.monotonic()
        due = []
        for record in self._host.vault.all():
            if not _unsettled(record) or self._host.vault.is_busy(
                record.instance
            ):
                continue
            seen = self._attempt(self._observe, record) or record
            if seen != record or now >= self._due(record.instance):
                due.append(seen)
        for record in due:
            if not self._try(record):
                break

    def _due(self, instance: str) -> float:
        return self._retries.get(instance, (0.0, _FIRST_DELAY))[0]

    def _try(self, record: Record) -> bool:
        """Settle; False if the service does not answer at all."""
        _due, delay = self._retries.get(record.instance, (0.0, _FIRST_DELAY))
        self._retries[record.instance] = (
            time.monotonic() + delay,
            min(delay * 2, _LONGEST_DELAY),
        )
        try:
            self.settle(record)
        except errors.KororaError as exc:
            self._log(record, exc)
            return exc.reason != errors.Reason.SERVICE_UNAVAILABLE
        except OSError as exc:  # the disk is full, for one
            self._log(record, exc)
        return True

    def _attempt(
        self, call: Callable[[Record], Record], record: Record
    ) -> Record | None:
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


def _unsettled(record: Record) -> bool:
    if record.state == VaultState.CLAIMING:
        return record.statement is not None
    return record.state != VaultState.HELD


def _key(record: Record) -> tuple[str, int, bytes]:
    """What makes two records the same key in the same hand-over."""
    return record.migration, record.epoch, record.private
