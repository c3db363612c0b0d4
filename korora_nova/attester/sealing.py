# SPDX-License-Identifier: Apache-2.0
"""Keys at rest on this host: seal once, open under each approval."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec
from oslo_log import log as logging

from korora_nova import errors, faultpoints, metrics
from korora_nova.attester import boot, outcome, vault
from korora_nova.attester.custodian import jobs
from korora_nova.attester.custodian.custodians import Custodian
from korora_nova.attester.host import Host
from korora_nova.attester.vault import Record
from korora_nova.custody import approval as approvals
from korora_nova.custody import bodies, transcript
from korora_nova.custody import grant as grants
from korora_nova.custody.answers import Key
from korora_nova.custody.exchange import (
    Approvals,
    Granted,
    malformed_answer,
)
from korora_nova.custody.grant import VerifiedGrant
from korora_nova.custody.ledger import LedgerRow
from korora_nova.custody.words import VaultState
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.tpm2 import policy as tpm2_policy

LOG = logging.getLogger(__name__)

#: Keys that are sealed anew in one round, and seconds until one that was
#: refused is tried again.
_RESEALED = 4
_RESEAL_AGAIN = 300.0
#: Seconds until the vault is searched again for such keys.
_LOOK_AGAIN = 60.0
#: Refusals of an approval after which both sides compare what they know.
_NEWS = (
    errors.Reason.CUSTODY_PENDING,
    errors.Reason.LEDGER_BEHIND,
    errors.Reason.NOT_HOLDER,
    errors.Reason.EPOCH_MISMATCH,
)
#: Other refusals that end an approval which was given in advance.
_NO = (
    errors.Reason.CUSTODY_DISPUTED,
    errors.Reason.LEDGER_FORKED,
    errors.Reason.APPROVAL_INVALID,
)
#: Refusals after which an approval is of no use any more.
_NO_MORE = (errors.Reason.UNSEAL_REFUSED, errors.Reason.APPROVAL_INVALID)


def approval_key(host: Host, kid: str) -> ec.EllipticCurvePublicKey:
    """The pinned key of this id, whose approvals open keys at rest.

    :raises CustodyError: APPROVAL_INVALID, this host has not pinned it.
    """
    known = host.ring().approval
    if kid not in known:
        raise errors.CustodyError(
            errors.Reason.APPROVAL_INVALID,
            'The approval key of the attestation service is not pinned on '
            'this host.',
            details={'kid': kid},
        )
    return known[kid]


def seal_into(
    host: Host, record: Record, epoch: int, custodian: Custodian, kid: str
) -> Record:
    """The record with a custodian's key, sealed to this TPM for ``epoch``.

    :param kid: approval key that must open it.
    :raises CustodyError: APPROVAL_INVALID.
    """
    approver = approval_key(host, kid)
    binding = _binding(host, record.instance, epoch)
    policy = tpm2_policy.policy_authorize(
        objects.external_ecc_name(approver), transcript.rest_ref(*binding)
    )
    sealed = custodian.do(
        jobs.Seal(host.identity.srk_tr, policy, transcript.rest_aad(*binding)),
        jobs.Sealed,
    )
    return dataclasses.replace(
        record,
        epoch=epoch,
        secret_uuid=custodian.secret_uuid,
        kid=kid,
        public=sealed.public,
        private=sealed.private,
        envelope=sealed.envelope,
    )


def approve(host: Host, record: Record) -> approvals.Approval:
    """Ask the service to approve that this host opens this key now."""
    key = bodies.Key(record.instance, record.epoch, record.kid)
    answered = host.attester.attest_for(bodies.Approve((key,)), Approvals)
    given = answered.served.approvals
    if len(given) != 1:
        raise malformed_answer('approvals')
    return given[0]


def unseal(
    host: Host,
    record: Record,
    approval: approvals.Approval,
    custodian: Custodian,
) -> None:
    """Let a custodian open a record's key and envelope.

    :raises CustodyError: APPROVAL_INVALID, UNSEAL_REFUSED or
        VAULT_DAMAGED.
    """
    binding = _binding(host, record.instance, record.epoch)
    signer = approvals.verify_approval(
        approval,
        host.ring(),
        instance=record.instance,
        epoch=record.epoch,
        ref=transcript.rest_ref(*binding),
    )
    custodian.open(
        jobs.Unseal(
            srk=host.identity.srk_tr,
            public=record.public,
            private=record.private,
            signer=objects.external_ecc_public(signer),
            envelope=record.envelope,
            aad=transcript.rest_aad(*binding),
            approval=approval,
        )
    )


def _binding(
    host: Host, instance: str, epoch: int
) -> tuple[bytes, bytes, str, int]:
    identity = host.identity
    return identity.ak_name, identity.srk_name, instance, epoch


class AtRest:
    """The socket's operations on keys at rest.

    :param resolve: settles what is under way for a server, if it can;
        ``refresh`` has the service say first what it knows.
    """

    def __init__(
        self,
        host: Host,
        resolve: Callable[[str], Record | None],
        refresh: Callable[[str], Record | None],
    ) -> None:
        self._host = host
        self._resolve = resolve
        self._refresh = refresh
        self._refused: dict[str, float] = {}
        self._active = ''
        self._done = '', 0.0

    def seal(self, instance: str, custodian: Custodian) -> Key:
        """Take a server's passphrase into custody at its first start.

        The sealed record is on disk before the ledger names this host the
        holder, so that no crash can lose a claimed key.

        :raises Conflict: LEDGER_CONFLICT, the ledger knows a key.
        """
        host = self._host
        with host.vault.busy(instance):
            before = self._claimable(instance)
            if before is not None and before.state == VaultState.HELD:
                return _sealed(before)
            record = before or self._guess(instance, custodian)
            grant = self._claim(record)
            host.journal.add(grant)
            held = self._granted(record, grant, custodian, before is None)
            return _sealed(host.vault.replace(record, held))

    def _claimable(self, instance: str) -> Record | None:
        """The record that a claim goes on with, or that makes it needless.

        A copy that was left over is neither.

        :raises CustodyError: VAULT_STATE, the key is in a hand-over.
        """
        found = None
        for record in self._host.vault.of(instance):
            if record.state == VaultState.CLAIMING:
                found = record
            elif not self._is_left_over(record):
                if record.state == VaultState.HELD:
                    return record
                raise errors.CustodyError(
                    errors.Reason.VAULT_STATE,
                    details={'state': record.state},
                )
        return found

    def _is_left_over(self, record: Record) -> bool:
        """Whether the ledger has gone on without this very key."""
        try:
            row = self._host.ledger_row(record.instance)
        except errors.NotFound:
            return False
        return row.version >= record.rests_on and not is_live(
            record, row, self._host.name
        )

    def _guess(self, instance: str, custodian: Custodian) -> Record:
        """A sealed key for a claim; its answer says whether all is right."""
        host = self._host
        newest = host.journal.newest(instance)
        epoch = newest.version + 1 if newest is not None else 1
        while not host.vault.is_free(instance, epoch):
            epoch += 1
        blank = host.blank(instance, VaultState.CLAIMING)
        return host.vault.put(
            seal_into(host, blank, epoch, custodian, host.approval_kid())
        )

    def _granted(
        self,
        record: Record,
        grant: VerifiedGrant,
        custodian: Custodian,
        is_fresh: bool,
    ) -> Record:
        """The record as the grant says; sealed anew if it differs."""
        epoch, kid = grant.content.version, grant.content.approval_kid
        if (
            (epoch, kid, custodian.secret_uuid)
            != (record.epoch, record.kid, record.secret_uuid)
        ) or not is_fresh:
            record = seal_into(self._host, record, epoch, custodian, kid)
        return record.moved(VaultState.HELD, statement=None).resting_on(grant)

    def _claim(self, record: Record) -> VerifiedGrant:
        """Become the holder of the key in a record (C1).

        The record goes only if the service says that the server has another
        key: whatever else it says, or if it says nothing, this one may have
        been granted, and the next call finds out.

        :raises Conflict: LEDGER_CONFLICT.
        :raises CustodyError: DOCUMENT_INVALID.
        """
        host = self._host
        key = outcome.key_name(record)
        try:
            answered = host.attester.attest_for(
                bodies.Claim(record.instance, key), Granted
            )
        except errors.Conflict as exc:
            if exc.reason == errors.Reason.LEDGER_CONFLICT:
                host.vault.erase(record)
            raise
        grant = grants.verify_grant(
            answered.served.grant,
            host.ring(),
            incarnation=answered.challenge.incarnation,
        )
        grant.check_host(
            host=host.name,
            ak_name=host.identity.ak_name,
            instance=record.instance,
            key=key,
        )
        return grant

    def open(self, instance: str) -> Key:
        """Give libvirt the passphrase, under a fresh approval.

        What the service says of the ledger may be news: a hand-over whose
        permit was lost on its way, or documents that the service has lost.

        :raises Conflict: CUSTODY_PENDING, a hand-over is undecided.
        """
        record = self._held(instance)
        try:
            return self._open(record)
        except (errors.Conflict, errors.CustodyError) as exc:
            if exc.reason in (*_NEWS, *_NO):
                self._host.offline.drop(instance)
            if exc.reason not in _NEWS:
                raise
            refused = exc
        try:
            left = self._refresh(instance)
        except errors.KororaError as exc:
            LOG.warning('%s: %s', instance, exc)
            left = None
        if left is None or left.state != VaultState.HELD:
            raise refused
        return self._open(left)

    def _open(self, record: Record) -> Key:
        host = self._host
        with (
            host.vault.busy(record.instance),
            host.custodians.begin() as custodian,
        ):
            try:
                unseal(host, record, approve(host, record), custodian)
            except errors.Unreachable as exc:
                self._unseal_offline(record, custodian, exc)
            if custodian.secret_uuid != record.secret_uuid:
                raise errors.CustodyError(
                    errors.Reason.VAULT_DAMAGED,
                    details={'instance': record.instance},
                )
            host.define(record, custodian)
        return Key(record.secret_uuid, record.epoch)

    def _unseal_offline(
        self, record: Record, custodian: Custodian, why: errors.Unreachable
    ) -> None:
        """Open a key under what the service approved in advance.

        :raises Unreachable: it did not.
        :raises CustodyError: OFFLINE_SPENT, OFFLINE_REFUSED.
        """
        approval = self._host.offline.take(record.instance, record.epoch)
        if approval is None:
            raise why
        with metrics.counted(metrics.AGENT_OFFLINE_STARTS):
            try:
                unseal(self._host, record, approval, custodian)
            except errors.CustodyError as exc:
                if exc.reason not in _NO_MORE:
                    raise
                self._host.offline.drop(record.instance)
                raise errors.CustodyError(
                    errors.Reason.OFFLINE_REFUSED,
                    details={'instance': record.instance, **exc.details},
                ) from None
        LOG.warning(
            '%s: started without the service, which cannot be reached',
            record.instance,
        )

    def close(self, instance: str) -> None:
        """Take the passphrase from libvirt; it may be gone already."""
        record = vault.current(self._host.vault.of(instance))
        uuid_of = record.secret_uuid if record is not None else ''
        with faultpoints.step('host.undefine'):
            self._host.hypervisor.undefine(uuid_of, instance)

    def _held(self, instance: str) -> Record:
        record = self._host.vault.current(instance)
        if record is not None and record.state != VaultState.HELD:
            record = self._resolve(instance)
        if record is None or record.state == VaultState.CLAIMING:
            raise errors.CustodyError(errors.Reason.VAULT_MISSING)
        if record.state == VaultState.FORGOTTEN:
            raise errors.CustodyError(
                errors.Reason.VAULT_STATE, details={'state': record.state}
            )
        if record.state != VaultState.HELD:
            raise errors.Conflict(
                errors.Reason.CUSTODY_PENDING,
                details={'state': record.state},
            )
        return record

    def hear(self, kid: str) -> None:
        """Note which approval key is active in the service."""
        self._active = kid

    def reseal(self) -> None:
        """Seal a few keys anew that rest under another approval key.

        Only if the service and this host agree on the key that is active:
        one of them that is late would lead back to a key that is retired.

        The old record stays until the new one is on disk; it opens as long
        as the service still signs with the key that it names.
        """
        kid = self._host.approval_kid()
        if kid != self._active or self._is_done(kid):
            return
        stale = [
            record
            for record in self._host.vault.all()
            if record.has_key and record.kid != kid
        ]
        if not stale:
            self._done = kid, boot.now()
        not_now = self._not_now()
        ready = [
            record
            for record in stale
            if record.state == VaultState.HELD
            and record.instance not in not_now
        ]
        for record in ready[:_RESEALED]:
            try:
                self._reseal(record, kid)
            except (errors.KororaError, OSError) as exc:
                self._refused[record.instance] = boot.now()
                LOG.warning('%s: not sealed anew: %s', record.instance, exc)

    def _is_done(self, kid: str) -> bool:
        """Whether all was found to rest under this key a moment ago."""
        found, at = self._done
        return found == kid and boot.now() - at < _LOOK_AGAIN

    def _not_now(self) -> set[str]:
        """Servers whose key could not be sealed anew a moment ago."""
        later = boot.now() - _RESEAL_AGAIN
        self._refused = {
            instance: at
            for instance, at in self._refused.items()
            if at > later
        }
        return set(self._refused)

    def _reseal(self, record: Record, kid: str) -> None:
        host = self._host
        with host.vault.busy(record.instance):
            if host.vault.find(record) != record:
                return
            with host.custodians.begin() as custodian:
                unseal(host, record, approve(host, record), custodian)
                sealed = seal_into(host, record, record.epoch, custodian, kid)
            host.vault.replace(record, sealed)
        LOG.info('%s: sealed anew for the key %s', record.instance, kid)


def is_live(record: Record, row: LedgerRow, host: str) -> bool:
    """Whether the ledger still speaks of a record's very key."""
    return (row.holder, row.epoch) == (host, record.epoch) or (
        bool(record.migration) and row.pending == record.migration
    )


def _sealed(record: Record) -> Key:
    return Key(record.secret_uuid, record.epoch)
