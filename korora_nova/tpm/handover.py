# SPDX-License-Identifier: Apache-2.0
"""From TPM to TPM: a migration storage key, and a key wrapped to it.

The destination creates the MSK and certifies how; the source wraps in
software; the destination imports, opens once and forgets the MSK.  Between
these steps the MSK exists only as a saved context, so hand-overs that were
abandoned occupy no slot of the TPM.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tpm2_pytss import TSS2_Exception
from tpm2_pytss.constants import TPM2_ALG
from tpm2_pytss.types import (
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE,
    TPM2B_SENSITIVE_CREATE,
    TPMS_CONTEXT,
)
from tpm2_pytss.utils import wrap as software_wrap

from korora_nova import errors
from korora_nova.custody.permit import VerifiedPermit
from korora_nova.rats.tpm2 import policy as tpm2_policy
from korora_nova.secret import Secret
from korora_nova.tpm import seal, templates
from korora_nova.tpm.device import Operation
from korora_nova.tpm.keys import HasStorage, Identity


@dataclasses.dataclass(frozen=True)
class MigrationKey:
    """A fresh MSK of this TPM and the proof of its creation.

    :param public: TPM2B_PUBLIC.
    :param creation_data: TPMS_CREATION_DATA.
    :param creation_attest: TPMS_ATTEST of TPM2_CertifyCreation.
    :param creation_signature: TPMT_SIGNATURE over it.
    :param context: TPMS_CONTEXT; worthless after a reset of the TPM.
    """

    public: bytes
    name: bytes
    creation_data: bytes
    creation_attest: bytes
    creation_signature: bytes
    context: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class Wrapped:
    """A transit object: TPM2B_PUBLIC, TPM2B_PRIVATE, TPM2B_ENCRYPTED_SECRET.

    Only the TPM that holds the MSK can open it.
    """

    public: bytes
    duplicate: bytes
    seed: bytes


@dataclasses.dataclass(frozen=True)
class TransitState:
    """The only state of the destination in which a transit object opens.

    :param pcr_digest: over ``policydigest.PCRS_POLICY``.
    :param reset_restart: resetCount and restartCount, 8 bytes.
    :param deadline: on the destination's TPM clock, ms.
    """

    pcr_digest: bytes
    reset_restart: bytes
    deadline: int

    @classmethod
    def of(cls, permit: VerifiedPermit) -> TransitState:
        """The state that a permit names."""
        content = permit.content
        return cls(
            bytes.fromhex(content.dest_pcr_digest),
            bytes.fromhex(content.dest_reset_restart),
            content.dest_deadline,
        )

    @property
    def policy(self) -> bytes:
        """The authPolicy digest."""
        return tpm2_policy.state_policy(
            self.pcr_digest, self.reset_restart, self.deadline, None
        )


def create_msk(
    operation: Operation,
    identity: Identity,
    outside_info: bytes,
    qualify: Callable[[bytes], bytes],
) -> MigrationKey:
    """Create an MSK and certify its creation: five commands.

    :param outside_info: 32 bytes bound into the creation data.
    :param qualify: what to bind into the certificate, 32 bytes, given the
        new key's TPM2B_PUBLIC.
    """
    esys = operation.esys
    # The private blob would reload after a reboot: it is never kept
    private, public, data, digest, ticket = esys.create(
        parent_handle=identity.srk(operation),
        in_sensitive=TPM2B_SENSITIVE_CREATE(),
        in_public=templates.msk(),
        outside_info=outside_info,
        creation_pcr=templates.NO_PCRS,
    )
    loaded = operation.own(
        esys.load(
            parent_handle=identity.srk(operation),
            in_private=private,
            in_public=public,
        )
    )
    attest, signature = esys.certify_creation(
        sign_handle=identity.ak(operation),
        object_handle=loaded,
        qualifying_data=qualify(bytes(public.marshal())),
        creation_hash=digest,
        in_scheme=templates.NO_SIG_SCHEME,
        creation_ticket=ticket,
    )
    context = esys.context_save(loaded)
    operation.flush(loaded)
    return MigrationKey(
        public=bytes(public.marshal()),
        name=bytes(public.get_name()),
        creation_data=bytes(data.creationData.marshal()),
        creation_attest=bytes(attest.attestationData),
        creation_signature=bytes(signature.marshal()),
        context=bytes(context.marshal()),
    )


def wrap(msk_public: bytes, payload: Secret, state: TransitState) -> Wrapped:
    """Wrap ``payload`` so that it opens below the MSK, in ``state``, only.

    Software only; no TPM command.  ``msk_public`` was checked against its
    template and the permit by the caller.
    """
    parent = TPM2B_PUBLIC.unmarshal(msk_public)[0]
    sensitive, public = TPM2B_SENSITIVE.keyedhash_from_secret(
        payload.reveal(),
        nameAlg=TPM2_ALG.SHA256,
        objectAttributes=templates.SEALED_IN_TRANSIT,
        scheme=None,
    )
    public.publicArea.authPolicy = state.policy
    _, duplicate, seed = software_wrap(parent.publicArea, public, sensitive)
    return Wrapped(
        bytes(public.marshal()),
        bytes(duplicate.marshal()),
        bytes(seed.marshal()),
    )


def import_transfer(
    operation: Operation,
    storage: HasStorage,
    msk_context: bytes,
    wrapped: Wrapped,
    state: TransitState,
) -> Secret:
    """Import, open once, and flush all of it: ten commands.

    :raises errors.CustodyError: TRANSFER_INVALID, not wrapped to this MSK
        or with another policy; UNSEAL_REFUSED, this TPM is not in ``state``
        any more.
    """
    public, duplicate, seed = _parse(wrapped, state)
    esys = operation.esys
    try:
        msk = operation.own(
            esys.context_load(TPMS_CONTEXT.unmarshal(msk_context)[0])
        )
    except TSS2_Exception as exc:
        raise seal.refused(exc, errors.Reason.UNSEAL_REFUSED) from None
    try:
        private = esys.import_(
            parent_handle=msk,
            encryption_key=b'',
            object_public=public,
            duplicate=duplicate,
            in_sym_seed=seed,
            symmetric_alg=templates.NO_SYMMETRIC,
        )
        loaded = operation.own(
            esys.load(parent_handle=msk, in_private=private, in_public=public)
        )
    except TSS2_Exception as exc:
        raise seal.refused(exc, errors.Reason.TRANSFER_INVALID) from None
    operation.flush(msk)
    session = templates.secret_policy_session(
        operation, storage.srk(operation)
    )
    try:
        payload = seal.unseal_in_session(
            operation,
            loaded,
            session,
            lambda: seal.assert_state(
                operation,
                session,
                state.pcr_digest,
                state.reset_restart,
                state.deadline,
            ),
        )
    except TSS2_Exception as exc:
        raise seal.refused(exc, errors.Reason.UNSEAL_REFUSED) from None
    operation.flush(loaded)
    return payload


def _parse(
    wrapped: Wrapped, state: TransitState
) -> tuple[TPM2B_PUBLIC, TPM2B_PRIVATE, TPM2B_ENCRYPTED_SECRET]:
    parsed = []
    for kind, content in (
        (TPM2B_PUBLIC, wrapped.public),
        (TPM2B_PRIVATE, wrapped.duplicate),
        (TPM2B_ENCRYPTED_SECRET, wrapped.seed),
    ):
        try:
            value, end = kind.unmarshal(content)
        except TSS2_Exception:
            raise errors.CustodyError(errors.Reason.TRANSFER_INVALID) from None
        if end != len(content):
            raise errors.CustodyError(errors.Reason.TRANSFER_INVALID)
        parsed.append(value)
    public, duplicate, seed = parsed
    expected = templates.sealed(state.policy)
    expected.publicArea.objectAttributes = templates.SEALED_IN_TRANSIT
    if not templates.same_template(public, expected):
        raise errors.CustodyError(errors.Reason.TRANSFER_INVALID)
    return public, duplicate, seed
