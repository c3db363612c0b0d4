# SPDX-License-Identifier: Apache-2.0
"""Keys at rest on this host: seal once, open under each approval."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec

from korora_nova import errors
from korora_nova.attester.host import Host
from korora_nova.attester.vault import Record
from korora_nova.custody import approval as approvals
from korora_nova.custody import bodies, envelope, transcript
from korora_nova.custody.answers import Key
from korora_nova.custody.exchange import (
    Approvals,
    Claimed,
    malformed_answer,
)
from korora_nova.custody.words import VaultState
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.tpm2 import policy as tpm2_policy
from korora_nova.secret import Secret
from korora_nova.tpm import seal

_UUID_BYTES = 16


@dataclasses.dataclass(frozen=True)
class Custodial:
    """What the envelopes hold: libvirt's secret, its uuid included."""

    secret_uuid: str
    passphrase: Secret

    def pack(self) -> Secret:
        """16 bytes of uuid, then the passphrase."""
        prefix = uuid.UUID(self.secret_uuid).bytes
        return Secret(prefix + self.passphrase.reveal())

    @classmethod
    def unpack(cls, content: Secret) -> Custodial:
        """:raises CustodyError: TRANSFER_INVALID, too short."""
        plain = content.reveal()
        if len(plain) <= _UUID_BYTES:
            raise errors.CustodyError(errors.Reason.TRANSFER_INVALID)
        return cls(
            str(uuid.UUID(bytes=plain[:_UUID_BYTES])),
            Secret(plain[_UUID_BYTES:]),
        )


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
    host: Host, record: Record, epoch: int, custodial: Custodial, kid: str
) -> Record:
    """The record with a fresh key for ``epoch``, sealed to this TPM.

    :param kid: approval key that must open it.
    :raises CustodyError: APPROVAL_INVALID.
    """
    approver = approval_key(host, kid)
    binding = _binding(host, record.instance, epoch)
    policy = tpm2_policy.policy_authorize(
        objects.external_ecc_name(approver), transcript.rest_ref(*binding)
    )
    key = envelope.new_key()
    with host.tpm.operation() as operation:
        sealed = seal.seal(operation, host.identity, key, policy)
    content = envelope.seal_envelope(
        key, custodial.pack(), transcript.rest_aad(*binding)
    )
    key.wipe()
    return dataclasses.replace(
        record,
        epoch=epoch,
        secret_uuid=custodial.secret_uuid,
        kid=kid,
        public=sealed.public,
        private=sealed.private,
        envelope=content,
    )


def approve(host: Host, record: Record) -> approvals.Approval:
    """Ask the service to approve that this host opens this key now."""
    key = bodies.Key(record.instance, record.epoch)
    answered = host.attester.attest_for(bodies.Approve((key,)), Approvals)
    given = answered.served.approvals
    if len(given) != 1:
        raise malformed_answer('approvals')
    return given[0]


def unseal(
    host: Host, record: Record, approval: approvals.Approval
) -> Custodial:
    """Open a record's key and envelope.

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
    with host.tpm.operation() as operation:
        key = seal.unseal(
            operation,
            host.identity,
            seal.SealedKey(record.public, record.private),
            approval,
            objects.external_ecc_public(signer),
        )
    try:
        content = envelope.open_envelope(
            key, record.envelope, transcript.rest_aad(*binding)
        )
        return Custodial.unpack(content)
    except errors.CustodyError:
        raise errors.CustodyError(
            errors.Reason.VAULT_DAMAGED,
            details={'instance': record.instance},
        ) from None
    finally:
        key.wipe()


def _binding(
    host: Host, instance: str, epoch: int
) -> tuple[bytes, bytes, str, int]:
    identity = host.identity
    return identity.ak_name, identity.srk_name, instance, epoch


class AtRest:
    """The socket's operations on keys at rest.

    :param resolve: settles what is under way for a server, if it can.
    """

    def __init__(
        self, host: Host, resolve: Callable[[str], Record | None]
    ) -> None:
        self._host = host
        self._resolve = resolve

    def seal(self, instance: str, secret_uuid: str, passphrase: Secret) -> Key:
        """Take a server's passphrase into custody at its first start.

        The sealed record is on disk before the ledger names this host the
        holder, so that no crash can lose a claimed key.

        :raises Conflict: LEDGER_CONFLICT, the ledger knows a key.
        """
        host = self._host
        with host.vault.busy(instance):
            before = host.vault.get(instance)
            if before is not None and before.state == VaultState.HELD:
                return _sealed(before)
            if before is not None and before.state != VaultState.CLAIMING:
                raise errors.CustodyError(
                    errors.Reason.VAULT_STATE,
                    details={'state': before.state},
                )
            custodial = Custodial(secret_uuid, passphrase)
            record = before or host.vault.put(
                seal_into(
                    host,
                    host.blank(instance, VaultState.CLAIMING),
                    1,
                    custodial,
                    # A guess: the claim's answer says which one it is
                    next(iter(host.ring().approval), ''),
                )
            )
            claimed = self._claim(record)
            epoch, kid = claimed.epoch, claimed.approval_kid
            if (
                (epoch, kid) != (record.epoch, record.kid)
                or record.secret_uuid != secret_uuid
                or before is not None
            ):
                record = seal_into(host, record, epoch, custodial, kid)
            return _sealed(
                host.vault.put(record.moved(VaultState.HELD, statement=None))
            )

    def _claim(self, record: Record) -> Claimed:
        """Become the holder of the key in a record.

        The record goes only if the service says that the server has another
        key: whatever else it says, or if it says nothing, this one may have
        been granted, and the next call finds out.

        :raises Conflict: LEDGER_CONFLICT.
        """
        key = objects.parse_public(record.public).name.hex()
        try:
            return self._host.attester.attest_for(
                bodies.Claim(record.instance, key), Claimed
            ).served
        except errors.Conflict as exc:
            if exc.reason == errors.Reason.LEDGER_CONFLICT:
                self._host.vault.erase(record.instance)
            raise

    def open(self, instance: str) -> Key:
        """Give libvirt the passphrase, under a fresh approval.

        :raises Conflict: CUSTODY_PENDING, a hand-over is undecided.
        """
        record = self._held(instance)
        host = self._host
        with host.vault.busy(instance):
            custodial = unseal(host, record, approve(host, record))
            if custodial.secret_uuid != record.secret_uuid:
                raise errors.CustodyError(
                    errors.Reason.VAULT_DAMAGED,
                    details={'instance': instance},
                )
            host.hypervisor.define(
                custodial.secret_uuid, instance, custodial.passphrase
            )
            custodial.passphrase.wipe()
        return Key(custodial.secret_uuid, record.epoch)

    def close(self, instance: str) -> None:
        """Take the passphrase from libvirt; it may be gone already."""
        record = self._host.vault.get(instance)
        uuid_of = record.secret_uuid if record is not None else ''
        self._host.hypervisor.undefine(uuid_of, instance)

    def _held(self, instance: str) -> Record:
        record = self._host.vault.get(instance)
        if record is not None and record.state not in (
            VaultState.HELD,
            VaultState.CLAIMING,
        ):
            record = self._resolve(instance)
        if record is None:
            raise errors.CustodyError(errors.Reason.VAULT_MISSING)
        if record.state == VaultState.FORGOTTEN:
            raise errors.CustodyError(
                errors.Reason.VAULT_STATE, details={'state': record.state}
            )
        if record.state == VaultState.CLAIMING:
            raise errors.CustodyError(errors.Reason.VAULT_MISSING)
        if record.state != VaultState.HELD:
            raise errors.Conflict(
                errors.Reason.CUSTODY_PENDING,
                details={'state': record.state},
            )
        return record


def _sealed(record: Record) -> Key:
    return Key(record.secret_uuid, record.epoch)
