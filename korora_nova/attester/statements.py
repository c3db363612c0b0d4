# SPDX-License-Identifier: Apache-2.0
"""What this host's own Nova says about hand-overs and deletions.

The queue is the vault itself: a record's ``statement`` is what the service is
still to be told, so it is as durable as the key.
"""

from __future__ import annotations

import dataclasses
import time

from oslo_log import log as logging

from korora_nova import errors
from korora_nova.attester import libvirt_secret, vault
from korora_nova.attester.host import Host
from korora_nova.attester.settle import Settler
from korora_nova.attester.vault import Record
from korora_nova.custody import receipt as receipts
from korora_nova.custody.answers import Noted
from korora_nova.custody.words import Statement, VaultState

LOG = logging.getLogger(__name__)

_LOOK_AGAIN = 2.0
#: Times that a record may change just when it is to be.
_ATTEMPTS = 8

#: What a record's own history admits to be said.
_ALLOWED = {
    Statement.STREAM_COMPLETED: (VaultState.MOVING,),
    Statement.NEVER_STARTED: (VaultState.OUTGOING, VaultState.STARTING),
    Statement.ACTIVATED: (VaultState.INCOMING, VaultState.RELINQUISHED),
    Statement.NO_DOMAIN: vault.AS_DEST,
}


class Statements:
    """Notes statements durably, and waits for what comes of them."""

    def __init__(self, host: Host, settler: Settler) -> None:
        self._host = host
        self._settler = settler

    def state(
        self,
        statement: Statement,
        instance: str,
        migration: str,
        wait: float = 0.0,
    ) -> Noted:
        """Queue a statement durably; with ``wait``, await its receipt.

        Saying the same again, or after the decision, is harmless; until
        then the last word counts.
        """
        if statement == Statement.ACTIVATED:
            self._require_running(instance, migration)
        queued = self._queue(statement, instance, migration)
        self._settler.kick(instance)
        return self._await(queued, instance, migration, wait)

    def _queue(
        self, statement: Statement, instance: str, migration: str
    ) -> bool:
        for _ in range(_ATTEMPTS):
            record = self._host.vault.of_migration(instance, migration)
            if record is None:
                return False
            if record.statement == statement:
                return True
            if record.state not in _ALLOWED[statement] or (
                statement == Statement.ACTIVATED and not record.has_key
            ):
                raise errors.Forbidden(
                    errors.Reason.STATEMENT_NOT_ALLOWED,
                    details={'state': record.state},
                )
            if self._settler.say(record, statement) != record:
                return True
        return False

    def _require_running(self, instance: str, migration: str) -> None:
        """That a guest arrived is for this host's libvirt to say.

        In a cold migration it needs the key before it can run.
        """
        record = self._host.vault.of_migration(instance, migration)
        if record is None or record.is_cold:
            return
        domain = self._host.hypervisor.domain_state(instance)
        if domain != libvirt_secret.RUNNING:
            raise errors.Forbidden(
                errors.Reason.STATEMENT_NOT_ALLOWED,
                'The domain does not run on this host.',
                details={'domain': domain},
            )

    def stays(self, instance: str, migration: str) -> Noted:
        """Nova has given up a cold migration on its source.

        :raises Forbidden: STATEMENT_NOT_ALLOWED, it is none, or not its
            source.
        """
        record = self._host.vault.of_migration(instance, migration)
        if record is None:
            return Noted(False)
        if not record.is_cold:
            raise errors.Forbidden(errors.Reason.STATEMENT_NOT_ALLOWED)
        if record.state != VaultState.MOVING:
            return self.state(Statement.NEVER_STARTED, instance, migration)
        self._settler.look(record)
        self._settler.kick(instance)
        return Noted(True)

    def arrive(self, instance: str) -> None:
        """A server is started here: if a cold migration brings it, by now."""
        record = vault.current(self._host.vault.of(instance))
        if (
            record is not None
            and record.is_cold
            and record.state == VaultState.INCOMING
            and record.statement is None
        ):
            self._settler.say(record, Statement.ACTIVATED)

    def await_cold(self, instance: str, wait: float) -> bool:
        """Await the end of a cold migration from here that was given up.

        :returns: whether there was one.
        """
        key = vault.current(self._host.vault.of(instance))
        if key is None or not key.is_cold or key.state not in vault.AS_SOURCE:
            return False
        self._settler.kick(instance)
        self._await(True, instance, key.migration, wait)
        return True

    def relinquish(self, instance: str, migration: str) -> None:
        """Give up a key that was being received; never raises."""
        try:
            record = self._host.vault.of_migration(instance, migration)
            if record is not None and record.state in vault.AS_DEST:
                self._settler.say(record, Statement.NO_DOMAIN)
        except (errors.KororaError, OSError) as exc:
            LOG.error('%s: cannot relinquish: %s', instance, exc)
        self._settler.kick(instance)

    def forget(self, instance: str, wait: float = 0.0) -> Noted:
        """The server was deleted: a tombstone now, gone on the receipt."""
        with self._host.vault.changing():
            records = [
                self._host.vault.put(_forgotten(record))
                for record in self._host.vault.of(instance)
            ]
        for record in records:
            self._host.shut(record)
        self._settler.kick(instance)
        last = vault.current(records)
        if last is None:
            return Noted(False)
        return self._await(True, instance, last.migration or instance, wait)

    def _await(
        self, queued: bool, instance: str, key: str, wait: float
    ) -> Noted:
        """Wait until nothing is left to say; the receipt, if there is one.

        :param key: the migration, or the server if it was deleted.
        """
        deadline = time.monotonic() + wait
        progress = self._settler.progress
        with progress:
            while not (settled := self._is_settled(instance, key)):
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                progress.wait(min(left, _LOOK_AGAIN))
        token = self._host.journal.receipt(instance, key) if settled else None
        if token is None:
            return Noted(queued)
        receipt = receipts.verify_receipt(token, self._host.ring())
        return Noted(queued, token, receipt.content.outcome)

    def _is_settled(self, instance: str, key: str) -> bool:
        return not any(
            key == record.migration
            or key == instance
            and record.statement == Statement.DELETE
            for record in self._host.vault.of(instance)
        )


def _forgotten(record: Record) -> Record:
    """A record of a server that was deleted."""
    if record.state == VaultState.HELD:
        return record.moved(
            VaultState.FORGOTTEN, statement=Statement.DELETE, migration=''
        )
    if record.state == VaultState.CLAIMING:
        return dataclasses.replace(record, statement=Statement.DELETE)
    if record.state in vault.AS_DEST:
        return record.moved(
            VaultState.RELINQUISHED,
            statement=Statement.NO_DOMAIN,
            forget=True,
        )
    if record.state in vault.AS_SOURCE:
        return dataclasses.replace(record, forget=True)
    return record
