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
from korora_nova.custody import receipt as receipts
from korora_nova.custody.answers import Noted
from korora_nova.custody.words import Outcome, Statement, VaultState

LOG = logging.getLogger(__name__)

_LOOK_AGAIN = 2.0

#: What a record's own history admits to be said.
_ALLOWED = {
    Statement.STREAM_COMPLETED: (VaultState.MOVING,),
    Statement.NEVER_STARTED: (VaultState.OUTGOING,),
    Statement.ACTIVATED: (VaultState.INCOMING,),
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

        Saying the same again, or after the decision, is harmless.
        """
        if statement == Statement.ACTIVATED:
            self._require_running(instance, migration)
        queued = self._queue(statement, instance, migration)
        self._settler.kick(instance)
        return self._await(queued, instance, migration, wait)

    def _queue(
        self, statement: Statement, instance: str, migration: str
    ) -> bool:
        with self._host.vault.changing():
            record = self._host.vault.get(instance)
            if record is None or record.migration != migration:
                return False
            if record.statement:
                return record.statement == statement
            if record.state not in _ALLOWED[statement]:
                raise errors.Forbidden(
                    errors.Reason.STATEMENT_NOT_ALLOWED,
                    details={'state': record.state},
                )
            if statement == Statement.NO_DOMAIN:
                record = record.moved(VaultState.RELINQUISHED)
            self._host.vault.put(
                dataclasses.replace(record, statement=statement)
            )
        if statement == Statement.NO_DOMAIN:
            self._host.shut(record)
        return True

    def _require_running(self, instance: str, migration: str) -> None:
        """That a guest arrived is for this host's libvirt to say."""
        record = self._host.vault.get(instance)
        if record is None or record.migration != migration:
            return
        domain = self._host.hypervisor.domain_state(instance)
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
                    record.moved(
                        VaultState.RELINQUISHED, statement=Statement.NO_DOMAIN
                    )
                )
            self._host.shut(record)
        except (errors.KororaError, OSError) as exc:
            LOG.error('%s: cannot relinquish: %s', instance, exc)
        self._settler.kick(instance)

    def forget(self, instance: str, wait: float = 0.0) -> Noted:
        """The server was deleted: a tombstone now, gone on the receipt."""
        with self._host.vault.changing():
            record = self._host.vault.get(instance)
            if record is None:
                return Noted(False)
            if record.state == VaultState.HELD:
                record = record.moved(
                    VaultState.FORGOTTEN,
                    statement=Statement.DELETE,
                    migration='',
                )
            elif record.state == VaultState.CLAIMING:
                record = dataclasses.replace(
                    record, statement=Statement.DELETE
                )
            elif record.state in vault.AS_DEST:
                record = record.moved(
                    VaultState.RELINQUISHED,
                    statement=Statement.NO_DOMAIN,
                    forget=True,
                )
            elif record.state in vault.AS_SOURCE:
                record = dataclasses.replace(record, forget=True)
            self._host.vault.put(record)
        self._host.shut(record)
        self._settler.kick(instance)
        key = record.migration or instance
        return self._await(True, instance, key, wait)

    def _await(
        self, queued: bool, instance: str, key: str, wait: float
    ) -> Noted:
        """Wait until nothing is left to say; the receipt, if there is one."""
        deadline = time.monotonic() + wait
        progress = self._settler.progress
        with progress:
            while not (settled := self._is_settled(instance, key)):
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                progress.wait(min(left, _LOOK_AGAIN))
        token = self._host.journal.find(key) if settled else None
        if token is None:
            return Noted(queued)
        return Noted(queued, token, self._outcome(token))

    def _is_settled(self, instance: str, key: str) -> bool:
        record = self._host.vault.get(instance)
        return record is None or key not in (
            record.migration,
            record.instance if record.statement == Statement.DELETE else None,
        )

    def _outcome(self, token: str) -> Outcome:
        ring = self._host.ring()
        receipt = receipts.verify_receipt(token, ring, cloud=ring.cloud)
        return receipt.receipt.outcome
