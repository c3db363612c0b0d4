# SPDX-License-Identifier: Apache-2.0
"""The keys that a host is known by, and what they sign.

========  ============  ======================================================
EK        0x81010001    endorsement key, of the kind that the TPM's maker has
                        certified; template L-1 (RSA 2048) has this handle
AK        0x81010020    attestation key, child of the EK
SRK       0x81000010    storage root key, parent of everything sealed
========  ============  ======================================================

If another key is at one of them, the spare handle is used.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from tpm2_pytss import TSS2_Exception
from tpm2_pytss.constants import ESYS_TR
from tpm2_pytss.types import (
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_ID_OBJECT,
    TPM2B_SENSITIVE_CREATE,
    TPML_PCR_SELECTION,
)

from korora_nova import errors
from korora_nova.rats.quote.verify import Quote
from korora_nova.rats.tpm2 import policy as tpm2_policy
from korora_nova.tpm import (
    device,
    endorsement,
    hierarchies,
    persistent,
    templates,
)
from korora_nova.tpm.device import Operation
from korora_nova.tpm.persistent import Key

EK_HANDLE = 0x81010001
AK_HANDLE = 0x81010020
SRK_HANDLE = 0x81000010
#: Handles of each key, the spare one last.
AK_PLACES = (AK_HANDLE, 0x81010022)
SRK_PLACES = (SRK_HANDLE, 0x81000011)

_QUOTE_ATTEMPTS = 8
_PCRS_PER_READ = 8


@dataclasses.dataclass(frozen=True)
class Identity:
    """Public side of the host's keys; TPM2B_PUBLIC bytes and Names.

    ``*_tr`` are tpm2-tss handles in serialized form: later operations
    salt their sessions with, and address, exactly the keys seen here.

    :param ek_cert: DER, empty if there is none; ``ek_chain``: certificates
        above it that the host has.
    :param ek_fits: whether the certificate is of this key.
    """

    ek_cert: bytes
    ek_chain: tuple[bytes, ...]
    ek_fits: bool
    ek_public: bytes
    ak_public: bytes
    srk_public: bytes
    ek_name: bytes
    ak_name: bytes
    srk_name: bytes
    ek_tr: bytes = dataclasses.field(repr=False)
    ak_tr: bytes = dataclasses.field(repr=False)
    srk_tr: bytes = dataclasses.field(repr=False)

    def ek(self, operation: Operation) -> ESYS_TR:
        """The EK's handle in this operation; costs no command."""
        return operation.esys.tr_deserialize(self.ek_tr)

    def ak(self, operation: Operation) -> ESYS_TR:
        """The AK's handle in this operation; costs no command."""
        return operation.esys.tr_deserialize(self.ak_tr)

    def srk(self, operation: Operation) -> ESYS_TR:
        """The SRK's handle in this operation; costs no command."""
        return operation.esys.tr_deserialize(self.srk_tr)


class HasStorage(Protocol):
    """What knows the storage root key of a TPM."""

    def srk(self, operation: Operation) -> ESYS_TR:
        """Its handle in this operation."""


@dataclasses.dataclass(frozen=True)
class Storage:
    """The storage root key alone, of an :class:`Identity`."""

    srk_tr: bytes

    def srk(self, operation: Operation) -> ESYS_TR:
        """See :meth:`Identity.srk`."""
        return operation.esys.tr_deserialize(self.srk_tr)


def attestation_keys(operation: Operation) -> list[Key]:
    """The keys that may be our attestation key; whose child is not said."""
    return list(persistent.of_template(operation, AK_PLACES, templates.ak()))


def provision(
    operation: Operation, supplied: Sequence[bytes] = ()
) -> Identity:
    """Find the host's keys in the TPM, and create those it lacks.

    :param supplied: DER of the EK certificate and those above it, from a
        file.
    :raises errors.Unavailable: TPM_UNAVAILABLE when all handles of a key are
        taken by keys that are not ours: never evicted here.
    """
    hierarchies.require(operation)
    aks = attestation_keys(operation)
    endorsed = endorsement.find(operation, supplied, aks)
    ek = endorsed.key
    if not ek.at:
        ek = persistent.persist(
            operation, ek.handle, endorsement.places(endorsed.kind)
        )
    ak = next((one for one in aks if ek.is_parent_of(one)), None)
    if ak is None:
        ak = _create_ak(operation, ek)
    srk = next(
        persistent.of_template(operation, SRK_PLACES, templates.srk()), None
    )
    if srk is None:
        srk = _create_srk(operation)
    esys = operation.esys
    return Identity(
        ek_cert=endorsed.certificate,
        ek_chain=endorsed.chain,
        ek_fits=endorsed.fits,
        ek_public=bytes(ek.public.marshal()),
        ak_public=bytes(ak.public.marshal()),
        srk_public=bytes(srk.public.marshal()),
        ek_name=ek.name,
        ak_name=ak.name,
        srk_name=srk.name,
        ek_tr=bytes(esys.tr_serialize(ek.handle)),
        ak_tr=bytes(esys.tr_serialize(ak.handle)),
        srk_tr=bytes(esys.tr_serialize(srk.handle)),
    )


def _create_srk(operation: Operation) -> Key:
    created = operation.esys.create_primary(
        in_sensitive=TPM2B_SENSITIVE_CREATE(),
        in_public=templates.srk(),
        primary_handle=ESYS_TR.OWNER,
    )
    return persistent.persist(operation, operation.own(created[0]), SRK_PLACES)


def _create_ak(operation: Operation, ek: Key) -> Key:
    public_ek = bytes(ek.public.marshal())
    with endorsement.authorised(operation, public_ek) as session:
        private, public, *_ = operation.esys.create(
            parent_handle=ek.handle,
            in_sensitive=TPM2B_SENSITIVE_CREATE(),
            in_public=templates.ak(),
            session1=session,
        )
    with endorsement.authorised(operation, public_ek) as session:
        loaded = operation.own(
            operation.esys.load(
                parent_handle=ek.handle,
                in_private=private,
                in_public=public,
                session1=session,
            )
        )
    return persistent.persist(operation, loaded, AK_PLACES)


def activate_credential(
    operation: Operation, identity: Identity, credential: bytes, secret: bytes
) -> bytes:
    """Prove that AK and EK share this TPM.

    :param credential: TPM2B_ID_OBJECT of the verifier.
    :param secret: TPM2B_ENCRYPTED_SECRET of the verifier.
    :returns: the secret that only this TPM can find.
    :raises errors.Forbidden: CREDENTIAL_WRONG, not made for these keys.
    """
    esys = operation.esys
    try:
        blob, rest = TPM2B_ID_OBJECT.unmarshal(credential)
        encrypted, tail = TPM2B_ENCRYPTED_SECRET.unmarshal(secret)
        if rest != len(credential) or tail != len(secret):
            raise errors.Forbidden(errors.Reason.CREDENTIAL_WRONG)
        with endorsement.authorised(operation, identity.ek_public) as session:
            proof = bytes(
                esys.activate_credential(
                    activate_handle=identity.ak(operation),
                    key_handle=identity.ek(operation),
                    credential_blob=blob,
                    secret=encrypted,
                    session1=ESYS_TR.PASSWORD,
                    session2=session,
                )
            )
    except TSS2_Exception as exc:
        if not device.is_refusal(exc):
            raise
        raise errors.Forbidden(
            errors.Reason.CREDENTIAL_WRONG,
            details={'rc': f'0x{exc.rc:08x}'},
        ) from None
    return proof


def read_sha1(operation: Operation) -> dict[int, bytes]:
    """The SHA-1 bank as far as boot aggregates need it; empty if it is off."""
    marshalled = tpm2_policy.selection((), tpm2_policy.PCRS_SHA1)
    _counter, _selection, digests = operation.esys.pcr_read(
        TPML_PCR_SELECTION.unmarshal(marshalled)[0]
    )
    got = [bytes(digest) for digest in digests]
    if len(got) != len(tpm2_policy.PCRS_SHA1):
        return {}
    return dict(zip(tpm2_policy.PCRS_SHA1, got, strict=True))


def read_pcrs(operation: Operation) -> dict[int, bytes]:
    """SHA-256 values of the quoted PCRs: two commands."""
    values: dict[int, bytes] = {}
    wanted = list(tpm2_policy.PCRS_QUOTED)
    for start in range(0, len(wanted), _PCRS_PER_READ):
        chunk = wanted[start : start + _PCRS_PER_READ]
        _counter, _selection, digests = operation.esys.pcr_read(
            pcr_selection(chunk)
        )
        got = [bytes(digest) for digest in digests]
        if len(got) != len(chunk):
            raise errors.Unavailable(
                errors.Reason.TPM_UNAVAILABLE,
                'The TPM has no complete SHA-256 bank of PCRs; enable it.',
            )
        values.update(zip(chunk, got, strict=True))
    return values


def pcr_selection(
    pcrs: Iterable[int], sha1: Iterable[int] = ()
) -> TPML_PCR_SELECTION:
    """TPML_PCR_SELECTION of the SHA-256 bank, and of the SHA-1 bank."""
    marshalled = tpm2_policy.selection(pcrs, sha1)
    return TPML_PCR_SELECTION.unmarshal(marshalled)[0]


def quote(
    operation: Operation,
    identity: Identity,
    qualifying: bytes,
    known: Mapping[int, bytes] | None = None,
    sha1: bool = False,
) -> Quote:
    """Read PCR 0-15 and quote them.

    IMA may extend PCR 10 between the two: its list, read later, tells what
    was quoted. If another one moved, both are repeated.

    :param qualifying: 32 bytes, never chosen by a peer.
    :param known: values of a moment ago: if the quote is over them, they are
        not read again, and it is one command instead of three.
    :param sha1: also what a boot aggregate of the SHA-1 bank needs, if that
        bank is on; one command more.
    """
    ak = identity.ak(operation)
    old = read_sha1(operation) if sha1 else {}
    selection = pcr_selection(tpm2_policy.PCRS_QUOTED, tuple(old))
    # What is known may be older than what the service has seen of the list.
    fresh = known is None
    before = read_pcrs(operation) if known is None else known
    for _ in range(_QUOTE_ATTEMPTS):
        quoted, signature = operation.esys.quote(
            sign_handle=ak, pcr_select=selection, qualifying_data=qualifying
        )
        attest = bytes(quoted.attestationData)
        found = Quote(attest, bytes(signature.marshal()), before, old)
        if _is_over(attest, before, old):
            return found
        after = read_pcrs(operation)
        if _is_over(attest, after, old):
            return dataclasses.replace(found, pcrs=after)
        if fresh and all(
            after[index] == before[index] for index in tpm2_policy.PCRS_POLICY
        ):
            return found
        before, fresh = after, True
        old = read_sha1(operation) if sha1 else {}
    raise errors.Unavailable(
        errors.Reason.TPM_UNAVAILABLE,
        'The PCRs change faster than they can be quoted.',
    )


def _is_over(
    attest: bytes, values: Mapping[int, bytes], sha1: Mapping[int, bytes]
) -> bool:
    """Whether a TPMS_ATTEST is a quote over these values."""
    found = [bank[index] for bank in (values, sha1) for index in sorted(bank)]
    # TPMS_QUOTE_INFO ends with the pcrDigest (TPM 2.0 Part 2, 10.12.4)
    return attest.endswith(hashlib.sha256(b''.join(found)).digest())


def authenticate(
    operation: Operation, identity: Identity, qualifying: bytes
) -> tuple[bytes, bytes]:
    """Quote the PCRs of policies without their values: one command.

    PCR 10 is left out: IMA may extend it between evidence and transfer.

    :returns: TPMS_ATTEST and TPMT_SIGNATURE.
    """
    quoted, signature = operation.esys.quote(
        sign_handle=identity.ak(operation),
        pcr_select=pcr_selection(tpm2_policy.PCRS_POLICY),
        qualifying_data=qualifying,
    )
    return bytes(quoted.attestationData), bytes(signature.marshal())
