# SPDX-License-Identifier: Apache-2.0
"""What a TPM says of itself, by commands that change nothing in it.

Nothing is written to NV memory, nothing made persistent, and no password but
those that are configured is tried. The endorsement key is made anew, as a
transient object that is flushed with the operation, if the TPM does not have
it yet.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from tpm2_pytss.constants import TPM2_CAP, TPM2_PT, TPMA_PERMANENT

from korora_nova.rats.quote.verify import Clock
from korora_nova.rats.tpm2 import algorithms
from korora_nova.tpm import (
    endorsement,
    hierarchies,
    keys,
    nv,
    persistent,
    templates,
)
from korora_nova.tpm.device import Operation, Tpm
from korora_nova.tpm.persistent import Key

#: What is at the handles of a key of the agent.
FREE, OURS, FOREIGN = 'free', 'ours', 'foreign'

# TPM 2.0 Part 2, 6.13: PT_FIXED and PT_VAR; tpm2-pytss names few of them
_FIXED = 0x100
_FIRMWARE = (_FIXED + 11, _FIXED + 12)
_PERSISTENT_AVAILABLE = 0x209
_PER_QUERY = 64


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a key of the agent is or could be.

    :param what: FREE, OURS, or FOREIGN: all are taken by other keys.
    :param handles: persistent handles.
    """

    what: str
    handles: Sequence[int]


@dataclasses.dataclass(frozen=True)
class Endorsed:
    """An EK and who vouches for it; nothing is verified.

    :param public: TPM2B_PUBLIC.
    :param kind: name of its template, such as L-1.
    :param certificate: DER, empty if there is none.
    :param chain: DER of certificates above it.
    :param place: where the certificate is, or should be.
    """

    public: bytes
    kind: str
    certificate: bytes
    chain: Sequence[bytes]
    place: str


@dataclasses.dataclass(frozen=True)
class Keys:
    """The keys of the agent.

    :param places: of EK, SRK and AK.
    """

    endorsed: Endorsed
    places: Mapping[str, Place]


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
        fixed = hierarchies.numbers(operation, _FIXED)
        variable = hierarchies.numbers(operation, int(TPM2_PT.PERMANENT))
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
        hierarchies.disabled(startup),
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


def clock(tpm: Tpm) -> tuple[Clock, float]:
    """The TPM's clock and counters, and the seconds since it was started.

    :raises Unavailable: TPM_UNAVAILABLE.
    """
    with tpm.operation() as operation:
        found = operation.esys.read_clock()
        info = found.clockInfo
        counters = Clock(
            int(info.clock),
            int(info.resetCount),
            int(info.restartCount),
            bool(info.safe),
        )
        return counters, int(found.time) / 1000


def found_keys(tpm: Tpm, supplied: Sequence[bytes] = ()) -> Keys:
    """The agent's keys; the EK is made if it is not persistent.

    :param supplied: see :func:`korora_nova.tpm.keys.provision`.
    :raises Unavailable: TPM_UNAVAILABLE.
    """
    with tpm.operation() as operation:
        hierarchies.require(operation)
        aks = keys.attestation_keys(operation)
        found = endorsement.find(operation, supplied, aks)
        return Keys(
            Endorsed(
                bytes(found.key.public.marshal()),
                found.kind.id,
                found.certificate,
                found.chain,
                _index(operation, found, supplied),
            ),
            _places(operation, found, aks),
        )


def _places(
    operation: Operation, found: endorsement.Endorsement, aks: Sequence[Key]
) -> Mapping[str, Place]:
    srk = persistent.of_template(operation, keys.SRK_PLACES, templates.srk())
    return {
        'EK': _place(
            operation, endorsement.places(found.kind), bool(found.key.at)
        ),
        'SRK': _place(operation, keys.SRK_PLACES, any(srk)),
        'AK': _place(
            operation,
            keys.AK_PLACES,
            any(map(found.key.is_parent_of, aks)),
        ),
    }


def _index(
    operation: Operation, found: endorsement.Endorsement, supplied: object
) -> str:
    """What an operator calls the place of the certificate."""
    if supplied:
        return 'the file of [attester] ek_certificate'
    index = found.kind.certificate
    empty = not found.certificate and nv.exists(operation, index)
    return f'the NV index 0x{index:08x}' + (' (never written)' * empty)


def _place(operation: Operation, places: Sequence[int], ours: bool) -> Place:
    if ours:
        return Place(OURS, places)
    return Place(
        FREE if persistent.free(operation, places) else FOREIGN, places
    )
