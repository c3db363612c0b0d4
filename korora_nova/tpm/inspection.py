# SPDX-License-Identifier: Apache-2.0
"""What a TPM says of itself, by commands that change nothing in it.

Nothing is written to NV memory, nothing made persistent, and no password but
the empty one is tried. The endorsement key is made anew, as a transient
object that is flushed with the operation, if the TPM does not have it yet.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tpm2_pytss import TSS2_Exception
from tpm2_pytss.constants import (
    ESYS_TR,
    TPM2_CAP,
    TPM2_PT,
    TPMA_NV,
    TPMA_PERMANENT,
    TPMA_STARTUP,
)
from tpm2_pytss.types import TPM2B_PUBLIC, TPM2B_SENSITIVE_CREATE

from korora_nova import errors
from korora_nova.rats.quote.verify import Clock
from korora_nova.rats.tpm2 import algorithms
from korora_nova.rats.x509 import certificate
from korora_nova.tpm import keys, templates
from korora_nova.tpm.device import Operation, Tpm

#: What is at a handle that the agent uses.
FREE, OURS, FOREIGN = 'free', 'ours', 'foreign'
#: Handles of the agent's keys, by the names that operators know.
HANDLES = {
    'EK': keys.EK_HANDLE,
    'SRK': keys.SRK_HANDLE,
    'AK': keys.AK_HANDLE,
}

# TPM 2.0 Part 2, 6.13: PT_FIXED and PT_VAR; tpm2-pytss names few of them
_FIXED = 0x100
_FIRMWARE = (_FIXED + 11, _FIXED + 12)
_PERSISTENT_AVAILABLE = 0x209
_PER_QUERY = 64
_NV_READ_BYTES = 512


@dataclasses.dataclass(frozen=True)
class Properties:
    """What TPM2_GetCapability says of the TPM.

    :param manufacturer: four letters, such as IFX.
    :param firmware: firmware version, 64 bits.
    :param revision: of the specification, in hundredths: 138, 159.
    :param passwords: hierarchies that have one: owner, endorsement, lockout.
    :param disabled: hierarchies that firmware has switched off.
    :param in_lockout: too many wrong passwords were tried.
    :param room: persistent objects that fit, at least.
    """

    manufacturer: str
    firmware: int
    revision: int
    passwords: tuple[str, ...]
    disabled: tuple[str, ...]
    in_lockout: bool
    room: int


def properties(tpm: Tpm) -> Properties:
    """Ask for the properties.

    :raises Unavailable: TPM_UNAVAILABLE.
    """
    with tpm.operation() as operation:
        fixed = _numbers(operation, _FIXED)
        variable = _numbers(operation, int(TPM2_PT.PERMANENT))
    permanent = variable.get(int(TPM2_PT.PERMANENT), 0)
    startup = variable.get(int(TPM2_PT.STARTUP_CLEAR), 0)
    letters = fixed.get(int(TPM2_PT.MANUFACTURER), 0).to_bytes(4, 'big')
    high, low = (fixed.get(number, 0) for number in _FIRMWARE)
    return Properties(
        letters.decode('ascii', 'replace').strip('\0 '),
        high << 32 | low,
        fixed.get(int(TPM2_PT.REVISION), 0),
        tuple(
            name
            for name, bit in (
                ('owner', TPMA_PERMANENT.OWNERAUTHSET),
                ('endorsement', TPMA_PERMANENT.ENDORSEMENTAUTHSET),
                ('lockout', TPMA_PERMANENT.LOCKOUTAUTHSET),
            )
            if permanent & int(bit)
        ),
        tuple(
            name
            for name, bit in (
                ('owner', TPMA_STARTUP.CLEAR_SHENABLE),
                ('endorsement', TPMA_STARTUP.CLEAR_EHENABLE),
            )
            if not startup & int(bit)
        ),
        bool(permanent & int(TPMA_PERMANENT.INLOCKOUT)),
        variable.get(_PERSISTENT_AVAILABLE, 0),
    )


def banks(tpm: Tpm) -> Mapping[str, tuple[int, ...]]:
    """Banks of PCRs that are on: name of the hash to its registers.

    :raises Unavailable: TPM_UNAVAILABLE.
    """
    with tpm.operation() as operation:
        _more, data = operation.esys.get_capability(
            capability=TPM2_CAP.PCRS, prop=0, property_count=_PER_QUERY
        )
        found: dict[str, tuple[int, ...]] = {}
        selections = data.data.assignedPCR
        for bank in selections.pcrSelections[: int(selections.count)]:
            known = algorithms.BY_ID.get(int(bank.hash))
            bits = bytes(bank.pcrSelect[0 : int(bank.sizeofSelect)])
            pcrs = tuple(
                index
                for index in range(8 * len(bits))
                if bits[index // 8] >> index % 8 & 1
            )
            if pcrs:
                name = known.name if known else f'0x{int(bank.hash):04x}'
                found[name] = pcrs
        return found


def pcrs(tpm: Tpm) -> Mapping[int, bytes]:
    """Values of the PCRs that are quoted, of the SHA-256 bank.

    :raises Unavailable: TPM_UNAVAILABLE.
    """
    with tpm.operation() as operation:
        return keys.read_pcrs(operation)


def pcrs_sha1(tpm: Tpm) -> Mapping[int, bytes]:
    """Those of the SHA-1 bank that boot aggregates need; empty if it is off.

    :raises Unavailable: TPM_UNAVAILABLE.
    """
    with tpm.operation() as operation:
        return keys.read_sha1(operation)


def clock(tpm: Tpm) -> Clock:
    """The TPM's clock and counters.

    :raises Unavailable: TPM_UNAVAILABLE.
    """
    with tpm.operation() as operation:
        info = operation.esys.read_clock().clockInfo
        return Clock(
            int(info.clock),
            int(info.resetCount),
            int(info.restartCount),
            bool(info.safe),
        )


def handles(tpm: Tpm) -> Mapping[str, str]:
    """What is at each of :data:`HANDLES`: FREE, OURS or FOREIGN.

    :raises Unavailable: TPM_UNAVAILABLE.
    """
    made = {
        'EK': templates.ek(),
        'SRK': templates.srk(),
        'AK': templates.ak(),
    }
    with tpm.operation() as operation:
        return {
            name: _owner(operation, handle, made[name])
            for name, handle in HANDLES.items()
        }


def certificate_of_ek(tpm: Tpm) -> bytes | None:
    """The EK certificate as it is in NV memory, without what pads it.

    :returns: None if the TPM has none; empty if its index was not written.
    :raises Unavailable: TPM_UNAVAILABLE, it cannot be read.
    """
    with tpm.operation() as operation:
        if not _exists(operation, keys.EK_CERT_INDEX):
            return None
        esys = operation.esys
        index = esys.tr_from_tpmpublic(keys.EK_CERT_INDEX)
        public, _name = esys.nv_read_public(index)
        attributes = int(public.nvPublic.attributes)
        if not attributes & int(TPMA_NV.WRITTEN):
            return b''
        if not attributes & int(TPMA_NV.AUTHREAD):
            raise errors.Unavailable(
                errors.Reason.TPM_UNAVAILABLE,
                'The NV index 0x01c00002 of the EK certificate can be read '
                'only by the owner of the TPM.',
            )
        content = b''
        size = int(public.nvPublic.dataSize)
        while len(content) < size:
            want = min(_NV_READ_BYTES, size - len(content))
            content += bytes(
                esys.nv_read(nv_index=index, size=want, offset=len(content))
            )
    return content[: certificate.size(content) or len(content)]


def endorsement_key(tpm: Tpm) -> bytes:
    """The public part of the EK, TPM2B_PUBLIC; made if it is not there.

    :raises Unavailable: TPM_UNAVAILABLE.
    """
    with tpm.operation() as operation:
        esys = operation.esys
        if _exists(operation, keys.EK_HANDLE):
            found = esys.tr_from_tpmpublic(keys.EK_HANDLE)
            return bytes(esys.read_public(found)[0].marshal())
        created = esys.create_primary(
            in_sensitive=TPM2B_SENSITIVE_CREATE(),
            in_public=templates.ek(),
            primary_handle=ESYS_TR.ENDORSEMENT,
        )
        operation.own(created[0])
        return bytes(created[1].marshal())


def _numbers(operation: Operation, first: int) -> dict[int, int]:
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


def _exists(operation: Operation, handle: int) -> bool:
    _more, data = operation.esys.get_capability(
        capability=TPM2_CAP.HANDLES, prop=handle, property_count=1
    )
    # data owns the memory that its handles point into
    return handle in [int(one) for one in data.data.handles]


def _owner(operation: Operation, handle: int, template: TPM2B_PUBLIC) -> str:
    if not _exists(operation, handle):
        return FREE
    try:
        found = operation.esys.tr_from_tpmpublic(handle)
        public, _name, _qualified = operation.esys.read_public(found)
    except TSS2_Exception:
        return FOREIGN
    return OURS if templates.same_template(public, template) else FOREIGN
