# SPDX-License-Identifier: Apache-2.0
"""NV indices that others have written: whole, whoever may read them."""

from __future__ import annotations

from tpm2_pytss import TSS2_Exception
from tpm2_pytss.constants import ESYS_TR, TPM2_CAP, TPMA_NV

from korora_nova import errors
from korora_nova.tpm import causes
from korora_nova.tpm.device import Operation

_BYTES = 512
_PER_QUERY = 256


def exists(operation: Operation, handle: int) -> bool:
    """Whether there is an NV index or a persistent object."""
    return handle in handles(operation, handle, handle)


def handles(operation: Operation, first: int, last: int) -> list[int]:
    """Those from ``first`` to ``last``, ascending."""
    found: list[int] = []
    more, begin = True, first
    while more and begin <= last:
        more, data = operation.esys.get_capability(
            capability=TPM2_CAP.HANDLES,
            prop=begin,
            property_count=min(_PER_QUERY, last - begin + 1),
        )
        # data owns the memory that its handles point into
        listed = [int(one) for one in data.data.handles]
        if not listed:
            break
        found += listed
        begin = listed[-1] + 1
    return [one for one in found if first <= one <= last]


def read(operation: Operation, index: int) -> bytes | None:
    """The content of an index.

    :returns: None if there is no such index; empty if it was never written.
    :raises Unavailable: TPM_UNAVAILABLE, nobody here may read it.
    """
    return content(operation, index) if exists(operation, index) else None


def content(operation: Operation, index: int) -> bytes:
    """The same of an index that is there."""
    esys = operation.esys
    handle = esys.tr_from_tpmpublic(index)
    public, _name = esys.nv_read_public(handle)
    attributes = int(public.nvPublic.attributes)
    if not attributes & int(TPMA_NV.WRITTEN):
        return b''
    return _read(
        operation,
        handle,
        int(public.nvPublic.dataSize),
        _readers(index, handle, attributes),
    )


def _readers(index: int, handle: ESYS_TR, attributes: int) -> list[ESYS_TR]:
    """By whose authorisation it can be read: its own, empty one; owner's."""
    found = []
    if attributes & int(TPMA_NV.AUTHREAD):
        found.append(handle)
    if attributes & int(TPMA_NV.OWNERREAD):
        found.append(ESYS_TR.OWNER)
    if not found:
        raise errors.Unavailable(
            errors.Reason.TPM_UNAVAILABLE,
            f'The NV index 0x{index:08x} of the TPM can be read only by '
            'firmware or under a policy of its maker; supply what is in it '
            'as a file, [attester] ek_certificate.',
        )
    return found


def _read(
    operation: Operation, handle: ESYS_TR, size: int, readers: list[ESYS_TR]
) -> bytes:
    reader, *others = readers
    content = b''
    try:
        while len(content) < size:
            content += bytes(
                operation.esys.nv_read(
                    nv_index=handle,
                    auth_handle=reader,
                    size=min(_BYTES, size - len(content)),
                    offset=len(content),
                )
            )
    except TSS2_Exception as exc:
        refused = causes.reduced(exc.rc)
        if others and refused in (*causes.PASSWORDS, causes.LOCKOUT):
            return _read(operation, handle, size, others)
        raise
    return content
