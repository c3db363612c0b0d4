# SPDX-License-Identifier: Apache-2.0
"""Hierarchies of a TPM that firmware has switched off."""

from __future__ import annotations

from tpm2_pytss.constants import TPM2_CAP, TPM2_PT, TPMA_STARTUP

from korora_nova import errors
from korora_nova.tpm import causes
from korora_nova.tpm.device import Operation

_PER_QUERY = 64


def numbers(operation: Operation, first: int) -> dict[int, int]:
    """TPM properties from one on: number to value."""
    _more, data = operation.esys.get_capability(
        capability=TPM2_CAP.TPM_PROPERTIES,
        prop=first,
        property_count=_PER_QUERY,
    )
    listed = data.data.tpmProperties
    return {
        int(item.property): int(item.value)
        for item in listed.tpmProperty[: int(listed.count)]
    }


def disabled(startup: int) -> tuple[str, ...]:
    """Names of those that are off.

    :param startup: TPM_PT_STARTUP_CLEAR (Part 2, 8.7).
    """
    return tuple(
        name
        for name, bit in (
            ('owner', TPMA_STARTUP.CLEAR_SHENABLE),
            ('endorsement', TPMA_STARTUP.CLEAR_EHENABLE),
        )
        if not startup & int(bit)
    )


def require(operation: Operation) -> None:
    """Insist that ours are on.

    Otherwise keys in them are listed, and cannot be reached.

    :raises Unavailable: TPM_UNAVAILABLE.
    """
    wanted = int(TPM2_PT.STARTUP_CLEAR)
    for name in disabled(numbers(operation, wanted).get(wanted, 0)):
        raise errors.Unavailable(
            errors.Reason.TPM_UNAVAILABLE,
            f'In the TPM of this host {causes.off(name)}.',
        )
