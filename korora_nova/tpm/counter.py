# SPDX-License-Identifier: Apache-2.0
"""A counter in the TPM's non-volatile memory, which only rises.

A counter that is made anew begins above whatever any counter of this TPM ever
reached (TPM 2.0 Part 1, NV Counter Index), so that removing it does not take
it back, either.
"""

from __future__ import annotations

from tpm2_pytss import TSS2_Exception
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_NT, TPMA_NV
from tpm2_pytss.types import TPM2B_NV_PUBLIC, TPMS_NV_PUBLIC

from korora_nova import errors
from korora_nova.tpm import device
from korora_nova.tpm.device import Operation

_BYTES = 8
# Not orderly: what was counted survives a loss of power.
_ATTRIBUTES = (
    (TPM2_NT.COUNTER << TPMA_NV.TPM2_NT_SHIFT)
    | TPMA_NV.AUTHREAD
    | TPMA_NV.AUTHWRITE
    | TPMA_NV.NO_DA
)


class Counter:
    """The counter at an index, such as 0x01804b4f, of a TPM.

    Each method raises Unavailable (TPM_UNAVAILABLE) if the TPM does not
    answer, or if something else is at this index.
    """

    def __init__(self, tcti: str, index: int) -> None:
        self.tpm = device.Tpm(tcti)
        self._index = index

    def define(self) -> None:
        """Make it, and have it count once, unless that was done.

        The owner hierarchy has no password; otherwise its owner makes it.
        """
        with self.tpm.operation() as operation:
            handle = self._find(operation)
            if handle is None:
                handle = operation.esys.nv_define_space(
                    auth=b'', public_info=TPM2B_NV_PUBLIC(self._public())
                )
            if not self._is_written(operation, handle):
                operation.esys.nv_increment(nv_index=handle)

    def read(self) -> int | None:
        """Its value, or None if there is none: two commands."""
        with self.tpm.operation() as operation:
            handle = self._find(operation)
            if handle is None or not self._is_written(operation, handle):
                return None
            return _value(operation, handle)

    def increment(self) -> int:
        """Count one more, and return its value: three commands."""
        with self.tpm.operation() as operation:
            handle = self._find(operation)
            if handle is None:
                raise errors.Unavailable(
                    errors.Reason.TPM_UNAVAILABLE,
                    f'The TPM has no counter at 0x{self._index:08x}.',
                )
            operation.esys.nv_increment(nv_index=handle)
            return _value(operation, handle)

    def _find(self, operation: Operation) -> ESYS_TR | None:
        try:
            return operation.esys.tr_from_tpmpublic(self._index)
        except TSS2_Exception as exc:
            if device.is_refusal(exc):
                return None
            raise

    def _is_written(self, operation: Operation, handle: ESYS_TR) -> bool:
        """Whether it has counted; its name says so, and that it is ours."""
        name = bytes(operation.esys.tr_get_name(handle))
        if name == bytes(self._public(TPMA_NV.WRITTEN).get_name()):
            return True
        if name == bytes(self._public().get_name()):
            return False
        raise errors.Unavailable(
            errors.Reason.TPM_UNAVAILABLE,
            f'The NV index 0x{self._index:08x} of the TPM is taken by '
            'something that is not ours.',
        )

    def _public(self, more: int = 0) -> TPMS_NV_PUBLIC:
        return TPMS_NV_PUBLIC(
            nvIndex=self._index,
            nameAlg=TPM2_ALG.SHA256,
            attributes=_ATTRIBUTES | more,
            dataSize=_BYTES,
        )


def _value(operation: Operation, handle: ESYS_TR) -> int:
    content = operation.esys.nv_read(nv_index=handle, size=_BYTES)
    return int.from_bytes(bytes(content), 'big')
