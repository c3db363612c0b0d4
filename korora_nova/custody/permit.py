# SPDX-License-Identifier: Apache-2.0
"""Permits: one hand-over, from one host's TPM to another's, once."""

from __future__ import annotations

import dataclasses

from korora_nova import errors
from korora_nova.rats import schemas
from korora_nova.rats.signed import keys
from korora_nova.rats.signed import token as tokens
from korora_nova.rats.tpm2 import policy as tpm2_policy

#: A permit counts this long after it was asked for, seconds, by the
#: source's CLOCK_BOOTTIME.
MAX_AGE = 30.0

_FIELDS = {
    'incarnation': schemas.UUID,
    'migration': schemas.UUID,
    'instance': schemas.UUID,
    'nonce': schemas.DIGEST,
    'source': schemas.HOST,
    'dest': schemas.HOST,
    'ak_source': schemas.NAME,
    'ak_dest': schemas.NAME,
    'epoch': schemas.EPOCH,
    'new_epoch': schemas.EPOCH,
    'msk_name': schemas.NAME,
    'dest_pcr_digest': schemas.DIGEST,
    'dest_reset_restart': schemas.hex_string(8),
    'dest_deadline': schemas.COUNTER,
    'source_pcr_digest': schemas.DIGEST,
    'address': schemas.text(255),
    'tls_name': schemas.text(255, 0),
    'approval_kid': schemas.hex_string(8),
}

KIND = tokens.Kind(
    'korora-permit+jwt', 'korora-agent', 'custody', tokens.schema(_FIELDS)
)


@dataclasses.dataclass(frozen=True)
class Permit:
    """What the service permits; all byte strings in hex.

    :param incarnation: the ledger's.
    :param nonce: the source's, 32 bytes.
    :param ak_source: TPM names of both attestation keys, and of the
        destination's migration storage key.
    :param epoch: of the source's key; ``new_epoch`` is the destination's.
    :param dest_pcr_digest: over ``policydigest.PCRS_POLICY`` of the
        destination as attested.
    :param dest_reset_restart: its resetCount || restartCount, 8 bytes.
    :param dest_deadline: milliseconds of its TPM clock.
    :param source_pcr_digest: of the source, over the same PCRs.
    :param address: where the stream must go; ``tls_name`` the name its
        certificate must carry, empty without TLS.
    :param approval_kid: id of the key whose approvals will open the
        destination's copy.
    :param issued: seconds since 1970.
    :param kid: the custody key's id; set by signing.
    """

    cloud: str
    incarnation: str
    migration: str
    instance: str
    nonce: str
    source: str
    dest: str
    ak_source: str
    ak_dest: str
    epoch: int
    new_epoch: int
    msk_name: str
    dest_pcr_digest: str
    dest_reset_restart: str
    dest_deadline: int
    source_pcr_digest: str
    address: str
    tls_name: str
    approval_kid: str
    issued: float
    kid: str = ''


@dataclasses.dataclass(frozen=True)
class VerifiedPermit:
    """A permit that the custody key signed for this cloud."""

    permit: Permit
    token: str

    @property
    def hash(self) -> str:
        """Digest of the token, hex; receipts cite it."""
        return tokens.digest(self.token).hex()

    @property
    def transit_policy(self) -> bytes:
        """authPolicy of the transit object: the destination's state."""
        permit = self.permit
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
        )

    def check_stream(
        self, *, dest: str, address: str, tls_name: str | None
    ) -> None:
        """The source's checks before the memory stream starts.

        :raises CustodyError: ADDRESS_MISMATCH.
        """
        permit = self.permit
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
            if getattr(self.permit, field) != value:
                raise errors.CustodyError(
                    errors.Reason.PERMIT_MISMATCH,
                    f"The permit's {field} differs from what is at hand.",
                    details={'field': field},
                )


def sign_permit(permit: Permit, key: keys.SigningKey) -> str:
    """Sign with the custody key; returns a JWT."""
    claims = dataclasses.asdict(permit)
    claims['iat'] = claims.pop('issued')
    del claims['kid']
    return tokens.sign(claims, key, KIND, permit.cloud)


def verify_permit(
    token: str,
    ring: keys.KeyRing,
    *,
    cloud: str,
    incarnation: str | None = None,
) -> VerifiedPermit:
    """Verify a permit; its age is for the caller's CLOCK_BOOTTIME.

    :raises CustodyError: PERMIT_INVALID.
    """
    invalid = errors.Reason.PERMIT_INVALID
    try:
        claims = tokens.verify(token, ring, KIND)
    except tokens.TokenError as exc:
        raise errors.CustodyError(invalid, details={'why': str(exc)}) from None
    permit = Permit(
        cloud=claims['cloud'],
        issued=float(claims['iat']),
        kid=claims['kid'],
        **{field: claims[field] for field in _FIELDS},
    )
    if permit.cloud != cloud or incarnation not in (None, permit.incarnation):
        raise errors.CustodyError(
            invalid,
            'The permit is of another cloud or incarnation of the ledger.',
        )
    if permit.new_epoch <= permit.epoch or permit.source == permit.dest:
        raise errors.CustodyError(invalid, 'The permit contradicts itself.')
    return VerifiedPermit(permit, token)
