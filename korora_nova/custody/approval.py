# SPDX-License-Identifier: Apache-2.0
"""Approvals: the service lets one TPM open one key, now.

An approval is a TPM2_PolicyAuthorize signature over the state of a host:
PCRs as attested, this boot, a deadline of its TPM's clock, and Unseal. That
of an offline window has a later deadline, and is the same otherwise.
"""

from __future__ import annotations

import dataclasses
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from korora_nova import errors
from korora_nova.rats import schemas
from korora_nova.rats.signed import keys
from korora_nova.rats.tpm2 import policy as tpm2_policy

SCHEMA = schemas.closed(
    {
        'version': schemas.VERSION,
        'instance': schemas.UUID,
        'epoch': schemas.EPOCH,
        'pcr_digest': schemas.DIGEST,
        'reset_restart': schemas.hex_string(8),
        'deadline': schemas.COUNTER,
        'ref': schemas.DIGEST,
        'key_kid': schemas.hex_string(8),
        'signature_r': schemas.DIGEST,
        'signature_s': schemas.DIGEST,
    }
)

_BYTES = ('pcr_digest', 'reset_restart', 'ref', 'signature_r', 'signature_s')


@dataclasses.dataclass(frozen=True)
class Approval:
    """One approval, unverified.

    :param pcr_digest: over ``policydigest.PCRS_POLICY``, 32 bytes.
    :param reset_restart: resetCount || restartCount, 8 bytes.
    :param deadline: milliseconds of the host's TPM clock.
    :param ref: ``custody.transcript.rest_ref`` of host, server and epoch.
    :param signature_r: ECDSA P-256 over SHA-256(approvedPolicy || ref),
        r and s of 32 bytes each.
    """

    instance: str
    epoch: int
    pcr_digest: bytes
    reset_restart: bytes
    deadline: int
    ref: bytes
    key_kid: str
    signature_r: bytes
    signature_s: bytes

    @property
    def approved_policy(self) -> bytes:
        """The policy digest a session must reach before PolicyAuthorize."""
        return tpm2_policy.state_policy(
            self.pcr_digest,
            self.reset_restart,
            self.deadline,
            tpm2_policy.CC_UNSEAL,
        )

    @property
    def signed_digest(self) -> bytes:
        """aHash of TPM2_PolicyAuthorize (part 3 section 23.16)."""
        return hashlib.sha256(self.approved_policy + self.ref).digest()

    def to_json(self) -> dict[str, object]:
        """JSON object; byte strings in hex."""
        fields = dataclasses.asdict(self)
        return {
            'version': 1,
            **{
                field: value.hex() if field in _BYTES else value
                for field, value in fields.items()
            },
        }

    @classmethod
    def from_json(cls, document: object) -> Approval:
        """Read what :meth:`to_json` made.

        :raises CustodyError: APPROVAL_INVALID.
        """
        if (
            not isinstance(document, dict)
            or schemas.fault(SCHEMA, document) is not None
        ):
            raise _bad('The approval does not follow its schema.')
        fields = dict(document)
        del fields['version']
        for field in _BYTES:
            fields[field] = bytes.fromhex(fields[field])
        return cls(**fields)


def _bad(message: str) -> errors.CustodyError:
    return errors.CustodyError(errors.Reason.APPROVAL_INVALID, message)


def sign_approval(
    *,
    instance: str,
    epoch: int,
    pcr_digest: bytes,
    reset_restart: bytes,
    deadline: int,
    ref: bytes,
    key: keys.SigningKey,
) -> Approval:
    """Approve that a host in this state unseals one key; see the fields.

    :raises ValueError: a field has the wrong length or range.
    """
    blank = Approval(
        instance,
        epoch,
        pcr_digest,
        reset_restart,
        deadline,
        ref,
        key.kid,
        b'',
        b'',
    )
    if len(ref) != 32:
        raise ValueError('the reference must have 32 bytes')
    signature = key.private.sign(
        blank.signed_digest, ec.ECDSA(utils.Prehashed(hashes.SHA256()))
    )
    r, s = utils.decode_dss_signature(signature)
    return dataclasses.replace(
        blank,
        signature_r=r.to_bytes(32, 'big'),
        signature_s=s.to_bytes(32, 'big'),
    )


def verify_approval(
    approval: Approval,
    ring: keys.KeyRing,
    *,
    instance: str,
    epoch: int,
    ref: bytes,
) -> ec.EllipticCurvePublicKey:
    """Check an approval before the TPM is troubled with it.

    :returns: the pinned key that signed it, for TPM2_LoadExternal.
    :raises CustodyError: APPROVAL_INVALID.
    """
    if (approval.instance, approval.epoch, approval.ref) != (
        instance,
        epoch,
        ref,
    ):
        raise _bad('The approval is for another server, epoch or host.')
    key = ring.approval.get(approval.key_kid)
    if key is None:
        raise _bad(
            'The approval is signed with a key that is not pinned '
            'for approvals.'
        )
    signature = utils.encode_dss_signature(
        int.from_bytes(approval.signature_r, 'big'),
        int.from_bytes(approval.signature_s, 'big'),
    )
    try:
        key.verify(
            signature,
            approval.signed_digest,
            ec.ECDSA(utils.Prehashed(hashes.SHA256())),
        )
    except InvalidSignature:
        raise _bad("The approval's signature does not verify.") from None
    return key
