# SPDX-License-Identifier: Apache-2.0
"""Permits: one hand-over, from one host's TPM to another's, once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from korora_nova import errors
from korora_nova.custody import documents
from korora_nova.custody.moves import MOVE, Move
from korora_nova.rats import schemas
from korora_nova.rats.signed import keys
from korora_nova.rats.tpm2 import policy as tpm2_policy

#: A permit counts this long after it was asked for, seconds, by the
#: source's CLOCK_BOOTTIME.
MAX_AGE = 30.0

_BOOT = schemas.hex_string(8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Permit(documents.Document):
    """What the service permits; all byte strings in hex.

    The epoch of the destination's copy is the permit's version.

    :param nonce: the source's, 32 bytes.
    :param ak_source: TPM names of both attestation keys, and of the
        destination's migration storage key.
    :param epoch: of the source's key.
    :param dest_pcr_digest: over ``policydigest.PCRS_POLICY`` of the
        destination as attested.
    :param dest_reset_restart: its resetCount || restartCount, 8 bytes.
    :param dest_deadline: milliseconds of its TPM clock.
    :param source_pcr_digest: of the source, over the same PCRs;
        ``source_reset_restart`` likewise.
    :param address: where the stream must go; ``tls_name`` the name its
        certificate must carry, empty without TLS.
    :param approval_kid: id of the key whose approvals will open the
        destination's copy.
    :param kind: what Nova does meanwhile.
    """

    OPTIONAL = ('kind',)
    KIND = documents.kind(
        'korora-permit+jwt',
        {
            'migration': schemas.UUID,
            'nonce': schemas.DIGEST,
            'source': schemas.HOST,
            'dest': schemas.HOST,
            'ak_source': schemas.NAME,
            'ak_dest': schemas.NAME,
            'epoch': schemas.EPOCH,
            'msk_name': schemas.NAME,
            'dest_pcr_digest': schemas.DIGEST,
            'dest_reset_restart': _BOOT,
            'dest_deadline': schemas.COUNTER,
            'source_pcr_digest': schemas.DIGEST,
            'source_reset_restart': _BOOT,
            'address': schemas.text(255),
            'tls_name': schemas.text(255, 0),
            'approval_kid': schemas.hex_string(8),
            'kind': MOVE,
        },
        OPTIONAL,
    )
    INVALID = errors.Reason.PERMIT_INVALID

    migration: str
    nonce: str
    source: str
    dest: str
    ak_source: str
    ak_dest: str
    epoch: int
    msk_name: str
    dest_pcr_digest: str
    dest_reset_restart: str
    dest_deadline: int
    source_pcr_digest: str
    source_reset_restart: str
    address: str
    tls_name: str
    approval_kid: str
    kind: Move = Move.LIVE

    @property
    def new_epoch(self) -> int:
        """Epoch of the destination's copy."""
        return self.version

    @property
    def subject(self) -> str:
        """See :attr:`.Document.subject`."""
        return self.migration

    def holding(self) -> Mapping[str, Any]:
        """See :meth:`.Document.holding`."""
        return {
            'holder': self.source,
            'epoch': self.epoch,
            'pending': self.migration,
        }

    def check(self) -> None:
        """See :meth:`.Document.check`."""
        super().check()
        if self.version <= self.epoch or self.source == self.dest:
            raise self.refused('The permit contradicts itself.')


@dataclasses.dataclass(frozen=True)
class VerifiedPermit(documents.Verified[Permit]):
    """A permit of this cloud's custody key."""

    @property
    def transit_policy(self) -> bytes:
        """authPolicy of the transit object: the destination's state."""
        permit = self.content
        return tpm2_policy.state_policy(
            bytes.fromhex(permit.dest_pcr_digest),
            bytes.fromhex(permit.dest_reset_restart),
            permit.dest_deadline,
            None,
        )

    def check_source(
        self,
        *,
        host: str,
        ak_name: bytes,
        instance: str,
        epoch: int,
        migration: str,
        nonce: str,
        dest: str,
        msk_name: bytes,
        kind: Move = Move.LIVE,
    ) -> None:
        """The source's checks before it wraps.

        :raises CustodyError: PERMIT_MISMATCH naming the field.
        """
        self._check(
            source=host,
            ak_source=ak_name.hex(),
            instance=instance,
            epoch=epoch,
            migration=migration,
            nonce=nonce,
            dest=dest,
            msk_name=msk_name.hex(),
            kind=kind,
        )

    def check_dest(
        self,
        *,
        host: str,
        ak_name: bytes,
        instance: str,
        migration: str,
        source: str,
        msk_name: bytes,
        kind: Move = Move.LIVE,
    ) -> None:
        """The destination's checks before it imports.

        :raises CustodyError: PERMIT_MISMATCH naming the field.
        """
        self._check(
            dest=host,
            ak_dest=ak_name.hex(),
            instance=instance,
            migration=migration,
            source=source,
            msk_name=msk_name.hex(),
            kind=kind,
        )

    def check_stream(
        self, *, dest: str, address: str, tls_name: str | None
    ) -> None:
        """The source's checks before the memory stream starts.

        :raises CustodyError: ADDRESS_MISMATCH; PERMIT_MISMATCH, it is for
            no stream.
        """
        permit = self.content
        self._check(kind=Move.LIVE)
        told = (dest, address, tls_name or '')
        permitted = (permit.dest, permit.address, permit.tls_name)
        if told != permitted:
            raise errors.CustodyError(
                errors.Reason.ADDRESS_MISMATCH,
                'Nova would send the server to another host, address or TLS '
                'name than the permit has.',
                details={
                    'nova': ' '.join(told),
                    'permit': ' '.join(permitted),
                },
            )

    def _check(self, **expected: str | int) -> None:
        for field, value in expected.items():
            if getattr(self.content, field) != value:
                raise errors.CustodyError(
                    errors.Reason.PERMIT_MISMATCH,
                    f"The permit's {field} differs from what is at hand.",
                    details={'field': field},
                )


def verify_permit(
    token: str, ring: keys.KeyRing, *, incarnation: str | None = None
) -> VerifiedPermit:
    """Verify a permit; its age is for the caller's CLOCK_BOOTTIME.

    :raises CustodyError: PERMIT_INVALID.
    """
    permit = documents.verify(Permit, token, ring, incarnation)
    return VerifiedPermit(
        dataclasses.replace(permit, kind=Move(permit.kind)), token
    )
