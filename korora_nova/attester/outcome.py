# SPDX-License-Identifier: Apache-2.0
"""What a document makes of a record: the only place that lets one go."""

from __future__ import annotations

from collections.abc import Callable

from korora_nova import errors
from korora_nova.attester import vault
from korora_nova.attester.vault import Record
from korora_nova.custody.chain import AnyVerified
from korora_nova.custody.grant import VerifiedGrant
from korora_nova.custody.permit import VerifiedPermit
from korora_nova.custody.receipt import VerifiedReceipt
from korora_nova.custody.words import Outcome, Statement, VaultState
from korora_nova.rats.tpm2 import objects

#: Whether this host's own libvirt has the server.
HasDomain = Callable[[], bool]


def apply_receipt(
    record: Record, receipt: VerifiedReceipt, has_domain: HasDomain
) -> Record | None:
    """What the receipt of its own hand-over makes of a record (C9).

    :returns: None: the record goes.
    :raises CustodyError: RECEIPT_INVALID, it is about another key;
        DOMAIN_RUNNING.
    """
    about = {'instance': record.instance, 'migration': record.migration}
    committed = receipt.content.outcome == Outcome.COMMITTED
    if record.state in vault.AS_SOURCE:
        if committed:
            receipt.check_superseded(**about, epoch=record.epoch)
            check_erasable(record, has_domain)
            return None
        receipt.check_aborted(**about, epoch=None)
        return record.settled().resting_on(receipt)
    if committed:
        receipt.check_arrived(**about, epoch=record.epoch)
        return record.settled().resting_on(receipt)
    receipt.check_aborted(
        **about, epoch=record.epoch if record.has_key else None
    )
    check_erasable(record, has_domain)
    return None


def apply_document(
    record: Record, document: AnyVerified, host: str, has_domain: HasDomain
) -> Record | None:
    """What a server's newest document makes of a record.

    :param host: this one's name.
    :returns: None: the record goes.
    :raises CustodyError: as :func:`apply_receipt`.
    """
    if isinstance(document, VerifiedReceipt) and is_decision(record, document):
        return apply_receipt(record, document, has_domain)
    if record.state == VaultState.CLAIMING:
        return _claimed(record, document, host)
    row = document.row
    if not record.has_key or row.pending and row.pending == record.migration:
        return record  # its hand-over is still under way
    if (row.holder, row.epoch) == (host, record.epoch):
        return _held(record, document)
    if _is_reversed(record, document, host) and has_domain():
        return _reopened(record, document, host)
    check_erasable(record, has_domain)
    return None


def is_decision(record: Record, document: AnyVerified) -> bool:
    """Whether a document is the receipt of a record's hand-over."""
    return (
        isinstance(document, VerifiedReceipt)
        and bool(record.migration)
        and document.content.subject == record.migration
    )


def check_erasable(record: Record, has_domain: HasDomain) -> None:
    """Insist that no guest runs here under this key (I16).

    :raises CustodyError: DOMAIN_RUNNING.
    """
    if record.has_key and has_domain():
        raise errors.CustodyError(
            errors.Reason.DOMAIN_RUNNING,
            details={'instance': record.instance},
        )


def _claimed(
    record: Record, document: AnyVerified, host: str
) -> Record | None:
    """A claim whose answer was lost, or that another one came before."""
    content, row = document.content, document.row
    if content.version < record.epoch:
        return record
    if row.holder != host:
        return None
    if isinstance(document, VerifiedGrant) and (
        content.key,
        content.version,
        content.approval_kid,
    ) == (key_name(record), record.epoch, record.kid):
        return record.moved(VaultState.HELD).resting_on(document)
    return record  # it has to be sealed anew, with the passphrase


def key_name(record: Record) -> str:
    """TPM name, hex, of the object that a record's key is sealed in."""
    return objects.parse_public(record.public).name.hex()


def _held(record: Record, document: AnyVerified) -> Record:
    """The key is this host's; a hand-over of it may be pending.

    One that the vault does not know was permitted in an answer that was
    lost, or the vault is an older one: then libvirt says how it ended.
    """
    if record.state == VaultState.FORGOTTEN:
        return record.resting_on(document)
    held = record if record.state == VaultState.HELD else record.settled()
    held = held.resting_on(document)
    pending = document.row.pending
    if pending is None:
        return held
    if isinstance(document, VerifiedPermit):
        return held.moved(
            VaultState.OUTGOING,
            migration=pending,
            permit=document.token,
            peer=document.content.dest,
            statement=Statement.NEVER_STARTED,
            kind=document.content.kind,
        )
    return held.moved(VaultState.MOVING, migration=pending)


def _is_reversed(record: Record, document: AnyVerified, host: str) -> bool:
    """Whether a later receipt took away what an earlier one gave."""
    if record.state != VaultState.HELD or not isinstance(
        document, VerifiedReceipt
    ):
        return False
    content = document.content
    if not content.migration:
        return False
    if content.outcome == Outcome.COMMITTED:
        return content.source == host and content.epoch > record.epoch
    return content.dest == host and content.epoch == record.epoch


def _reopened(record: Record, document: AnyVerified, host: str) -> Record:
    """As before the decision: the guest runs here, and that is to be said."""
    content = document.content
    if content.source == host:
        return record.moved(
            VaultState.MOVING,
            migration=content.subject,
            peer=content.dest,
            statement=Statement.KEPT,
        )
    return record.moved(
        VaultState.INCOMING,
        migration=content.subject,
        peer=content.source,
        statement=Statement.ACTIVATED,
    )
