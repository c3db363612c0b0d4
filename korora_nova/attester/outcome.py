# SPDX-License-Identifier: Apache-2.0
"""What a receipt makes of a record: the only place that lets one go."""

from __future__ import annotations

from korora_nova import errors
from korora_nova.attester import vault
from korora_nova.attester.vault import Record
from korora_nova.custody.receipt import VerifiedReceipt
from korora_nova.custody.words import Outcome, VaultState


def apply_receipt(record: Record, receipt: VerifiedReceipt) -> Record | None:
    """What a receipt makes of a record; None erases it.

    :raises CustodyError: RECEIPT_INVALID, it is about another key.
    """
    outcome = receipt.receipt.outcome
    if record.state in (VaultState.FORGOTTEN, VaultState.CLAIMING):
        epoch = record.epoch
        if record.state == VaultState.CLAIMING:  # the ledger chose the epoch
            epoch = receipt.receipt.epoch
        receipt.check_deleted(instance=record.instance, epoch=epoch)
        return None
    if record.state in vault.AS_SOURCE:
        if outcome == Outcome.COMMITTED:
            receipt.check_committed(
                instance=record.instance,
                migration=record.migration,
                held_epoch=record.epoch,
            )
            return None
        _require_aborted(record, receipt)
        return record.settled()
    if outcome == Outcome.COMMITTED:
        _require_arrived(record, receipt)
        return record.settled()
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
