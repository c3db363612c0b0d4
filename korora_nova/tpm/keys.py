# SPDX-License-Identifier: Apache-2.0
"""The keys that a host is known by, and what they sign.

========  ============  ======================================================
EK        0x81010001    endorsement key (RSA 2048), certificate in NV
                        0x01c00002
AK        0x81010020    attestation key, child of the EK
SRK       0x81000010    storage root key, parent of everything sealed
========  ============  ======================================================
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping

from tpm2_pytss import TSS2_Exception
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_CAP
from tpm2_pytss.types import (
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_ID_OBJECT,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPML_PCR_SELECTION,
)

from korora_nova import errors
from korora_nova.rats.quote.verify import Quote
from korora_nova.rats.tpm2 import policy as tpm2_policy
from korora_nova.rats.x509 import certificate
from korora_nova.tpm import device, templates
from korora_nova.tpm.device import Operation

EK_HANDLE = 0x81010001
AK_HANDLE = 0x81010020
SRK_HANDLE = 0x81000010
EK_CERT_INDEX = 0x01C00002

_NV_READ_BYTES = 512
_QUOTE_ATTEMPTS = 8
_PCRS_PER_READ = 8


@dataclasses.dataclass(frozen=True)
class Identity:
    """Public side of the host's keys; TPM2B_PUBLIC bytes and Names.

    ``*_tr`` are tpm2-tss handles in serialized form: later operations
    salt their sessions with, and address, exactly the keys seen here.
    """

    ek_cert: bytes
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


@dataclasses.dataclass(frozen=True)
class _Key:
    handle: ESYS_TR
    public: TPM2B_PUBLIC
    qualified_name: bytes

    @property
    def name(self) -> bytes:
        return bytes(self.public.get_name())


def provision(operation: Operation) -> Identity:
    """Find the host's keys in the TPM, and create those it lacks.

    :raises errors.Unavailable: TPM_UNAVAILABLE when a handle is taken by a
        key that is not ours: never evicted here, an operator decides.
    """
    ek = _present(operation, EK_HANDLE, templates.ek()) or _create_primary(
        operation, EK_HANDLE, templates.ek(), ESYS_TR.ENDORSEMENT
    )
    srk = _present(operation, SRK_HANDLE, templates.srk()) or _create_primary(
        operation, SRK_HANDLE, templates.srk(), ESYS_TR.OWNER
    )
    ak = _present(operation, AK_HANDLE, templates.ak()) or _create_ak(
        operation, ek
    )
    _require_parent(ek, AK_HANDLE, ak)
    esys = operation.esys
    return Identity(
        ek_cert=_read_ek_certificate(operation),
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


def _handles(operation: Operation, first: int) -> set[int]:
    _more, data = operation.esys.get_capability(
        capability=TPM2_CAP.HANDLES, prop=first, property_count=64
    )
    # data owns the memory that its handles point into
    return {int(handle) for handle in data.data.handles}


def _read(operation: Operation, handle: int) -> _Key:
    found = operation.esys.tr_from_tpmpublic(handle)
    public, _name, qualified = operation.esys.read_public(found)
    return _Key(found, public, bytes(qualified))


def _present(
    operation: Operation, handle: int, template: TPM2B_PUBLIC
) -> _Key | None:
    if handle not in _handles(operation, handle):
        return None
    key = _read(operation, handle)
    if not templates.same_template(key.public, template):
        raise _occupied(handle)
    return key


def _occupied(handle: int) -> errors.Unavailable:
    return errors.Unavailable(
        errors.Reason.TPM_UNAVAILABLE,
        f'The TPM handle 0x{handle:08x} is taken by a key that is not '
        'ours; evict it if nothing needs it.',
        details={'handle': f'0x{handle:08x}'},
    )


def _require_parent(parent: _Key, handle: int, child: _Key) -> None:
    # TPM 2.0 Part 1, 16.4: QN = H(QN of the parent || Name)
    digest = hashlib.sha256(parent.qualified_name + child.name).digest()
    if child.qualified_name != TPM2_ALG.SHA256.to_bytes(2, 'big') + digest:
        raise _occupied(handle)


def _persist(operation: Operation, loaded: ESYS_TR, handle: int) -> _Key:
    operation.esys.evict_control(
        auth=ESYS_TR.OWNER, object_handle=loaded, persistent_handle=handle
    )
    operation.flush(loaded)
    return _read(operation, handle)


def _create_primary(
    operation: Operation,
    handle: int,
    template: TPM2B_PUBLIC,
    hierarchy: ESYS_TR,
) -> _Key:
    created = operation.esys.create_primary(
        in_sensitive=TPM2B_SENSITIVE_CREATE(),
        in_public=template,
        primary_handle=hierarchy,
    )
    return _persist(operation, operation.own(created[0]), handle)


def _ek_session(operation: Operation) -> ESYS_TR:
    session = templates.plain_policy_session(operation)
    operation.esys.policy_secret(
        auth_handle=ESYS_TR.ENDORSEMENT,
        policy_session=session,
        nonce_tpm=b'',
        cp_hash_a=b'',
        policy_ref=b'',
        expiration=0,
    )
    return session


def _create_ak(operation: Operation, ek: _Key) -> _Key:
    session = _ek_session(operation)
    private, public, *_ = operation.esys.create(
        parent_handle=ek.handle,
        in_sensitive=TPM2B_SENSITIVE_CREATE(),
        in_public=templates.ak(),
        session1=session,
    )
    operation.disown(session)
    session = _ek_session(operation)
    loaded = operation.own(
        operation.esys.load(
            parent_handle=ek.handle,
            in_private=private,
            in_public=public,
            session1=session,
        )
    )
    operation.disown(session)
    return _persist(operation, loaded, AK_HANDLE)


def _read_ek_certificate(operation: Operation) -> bytes:
    """The DER certificate without what pads its NV index; empty if none."""
    if EK_CERT_INDEX not in _handles(operation, EK_CERT_INDEX):
        return b''
    esys = operation.esys
    index = esys.tr_from_tpmpublic(EK_CERT_INDEX)
    public, _name = esys.nv_read_public(index)
    size = int(public.nvPublic.dataSize)
    content = b''
    while len(content) < size:
        want = min(_NV_READ_BYTES, size - len(content))
        content += bytes(
            esys.nv_read(nv_index=index, size=want, offset=len(content))
        )
    return content[: certificate.size(content) or len(content)]


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
        session = _ek_session(operation)
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
    operation.disown(session)
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
