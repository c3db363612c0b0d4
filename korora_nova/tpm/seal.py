# SPDX-License-Identifier: Apache-2.0
"""Keys at rest: sealed to this TPM, opened by fresh approvals only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tpm2_pytss import TSS2_Exception
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_CC, TPM2_EO
from tpm2_pytss.types import (
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMS_SENSITIVE_CREATE,
    TPMS_SIGNATURE_ECC,
    TPMT_SIGNATURE,
    TPMT_TK_VERIFIED,
    TPMU_SIGNATURE,
)

from korora_nova import errors
from korora_nova.custody.approval import Approval
from korora_nova.rats.tpm2 import policy as tpm2_policy
from korora_nova.secret import Secret
from korora_nova.tpm import device, keys, templates
from korora_nova.tpm.device import Operation
from korora_nova.tpm.keys import HasStorage

KEY_BYTES = 32
_UNSEAL_ATTEMPTS = 16
# TPMS_TIME_INFO: time u64 | clock u64 | resetCount u32 | restartCount u32
_CLOCK_OFFSET = 8
_COUNTERS_OFFSET = 16
_P256_BYTES = 32


@dataclasses.dataclass(frozen=True)
class SealedKey:
    """A sealed object: TPM2B_PUBLIC and TPM2B_PRIVATE."""

    public: bytes
    private: bytes


def seal(
    operation: Operation, storage: HasStorage, key: Secret, policy: bytes
) -> SealedKey:
    """Seal a 32-byte key to this TPM: two commands.

    :param policy: 32 bytes, the authPolicy that alone can open it.
    """
    if len(key) != KEY_BYTES or len(policy) != KEY_BYTES:
        raise ValueError('seal takes a 32-byte key and a SHA-256 policy')
    srk = storage.srk(operation)
    session = templates.secret_session(operation, srk)
    private, public, *_ = operation.esys.create(
        parent_handle=srk,
        in_sensitive=TPM2B_SENSITIVE_CREATE(
            TPMS_SENSITIVE_CREATE(data=key.reveal())
        ),
        in_public=templates.sealed(policy),
        session1=session,
    )
    operation.disown(session)
    return SealedKey(bytes(public.marshal()), bytes(private.marshal()))


def unseal(
    operation: Operation,
    storage: HasStorage,
    sealed: SealedKey,
    approval: Approval,
    approval_public: bytes,
) -> Secret:
    """Open a sealed key with a fresh approval: twelve commands.

    :param approval_public: TPM2B_PUBLIC of the pinned approval key.
    :raises errors.CustodyError: APPROVAL_INVALID, the signature is not the
        approval key's; UNSEAL_REFUSED, the TPM is not in the approved state,
        the approval is too old, or it is for another key.
    """
    srk = storage.srk(operation)
    try:
        loaded = _load(operation, srk, sealed)
        key_name, ticket = _verify(operation, approval, approval_public)
        session = templates.secret_policy_session(operation, srk)
        key = unseal_in_session(
            operation,
            loaded,
            session,
            lambda: _satisfy(operation, session, approval, key_name, ticket),
        )
    except TSS2_Exception as exc:
        raise refused(exc, errors.Reason.UNSEAL_REFUSED) from None
    operation.flush(loaded)
    return key


def unseal_in_session(
    operation: Operation,
    loaded: ESYS_TR,
    session: ESYS_TR,
    satisfy: Callable[[], None],
) -> Secret:
    """Unseal; start over while PCRs move between policy and command.

    Any PCR counts for the TPM, also one that the policy does not name.
    """
    for attempt in range(_UNSEAL_ATTEMPTS):
        if attempt:
            operation.esys.policy_restart(session)
        satisfy()
        try:
            key = Secret(
                bytes(
                    operation.esys.unseal(item_handle=loaded, session1=session)
                )
            )
        except TSS2_Exception as exc:
            if exc.rc != device.RC_PCR_CHANGED:
                raise
            continue
        operation.disown(session)
        return key
    raise errors.Unavailable(
        errors.Reason.TPM_UNAVAILABLE,
        'The PCRs change faster than a key can be opened.',
    )


def assert_state(
    operation: Operation,
    session: ESYS_TR,
    pcr_digest: bytes,
    reset_restart: bytes,
    deadline: int,
) -> None:
    """PCRs as attested, same boot, before ``deadline`` (TPM clock, ms)."""
    esys = operation.esys
    selection = keys.pcr_selection(tuple(tpm2_policy.PCRS_POLICY))
    esys.policy_pcr(
        policy_session=session, pcr_digest=pcr_digest, pcrs=selection
    )
    esys.policy_counter_timer(
        policy_session=session,
        operand_b=reset_restart,
        operation=TPM2_EO.EQ,
        offset=_COUNTERS_OFFSET,
    )
    esys.policy_counter_timer(
        policy_session=session,
        operand_b=deadline.to_bytes(8, 'big'),
        operation=TPM2_EO.UNSIGNED_LT,
        offset=_CLOCK_OFFSET,
    )


def refused(error: TSS2_Exception, reason: str) -> Exception:
    """``reason`` if the TPM said no; what is no answer stays as it is.

    The operation around makes TPM_UNAVAILABLE of the latter.
    """
    if not device.is_refusal(error):
        broken: Exception = error
        return broken
    return errors.CustodyError(reason, details={'rc': f'0x{error.rc:08x}'})


def _load(operation: Operation, srk: ESYS_TR, sealed: SealedKey) -> ESYS_TR:
    public, end = TPM2B_PUBLIC.unmarshal(sealed.public)
    private, last = TPM2B_PRIVATE.unmarshal(sealed.private)
    if end != len(sealed.public) or last != len(sealed.private):
        raise errors.CustodyError(errors.Reason.VAULT_DAMAGED)
    attributes = public.publicArea.objectAttributes
    if attributes != templates.SEALED_AT_REST:
        raise errors.CustodyError(errors.Reason.VAULT_DAMAGED)
    return operation.own(
        operation.esys.load(
            parent_handle=srk, in_private=private, in_public=public
        )
    )


def _verify(
    operation: Operation, approval: Approval, approval_public: bytes
) -> tuple[bytes, TPMT_TK_VERIFIED]:
    """The approval key's Name and the TPM's ticket that it signed."""
    esys = operation.esys
    public = TPM2B_PUBLIC.unmarshal(approval_public)[0]
    key = operation.own(
        esys.load_external(in_public=public, hierarchy=ESYS_TR.OWNER)
    )
    signature = TPMT_SIGNATURE(
        sigAlg=TPM2_ALG.ECDSA,
        signature=TPMU_SIGNATURE(
            ecdsa=TPMS_SIGNATURE_ECC(
                hash=TPM2_ALG.SHA256,
                signatureR=approval.signature_r,
                signatureS=approval.signature_s,
            )
        ),
    )
    try:
        ticket = esys.verify_signature(
            key_handle=key, digest=approval.signed_digest, signature=signature
        )
    except TSS2_Exception as exc:
        raise refused(exc, errors.Reason.APPROVAL_INVALID) from None
    operation.flush(key)
    return bytes(public.get_name()), ticket


def _satisfy(
    operation: Operation,
    session: ESYS_TR,
    approval: Approval,
    key_name: bytes,
    ticket: TPMT_TK_VERIFIED,
) -> None:
    assert_state(
        operation,
        session,
        approval.pcr_digest,
        approval.reset_restart,
        approval.deadline,
    )
    esys = operation.esys
    esys.policy_command_code(policy_session=session, code=TPM2_CC.Unseal)
    esys.policy_authorize(
        policy_session=session,
        approved_policy=approval.approved_policy,
        key_sign=key_name,
        check_ticket=ticket,
        policy_ref=approval.ref,
    )
