# SPDX-License-Identifier: Apache-2.0
"""Persistent keys of a TPM: which are there, and where there is room.

Each key of ours has a handle and a spare one: what somebody else has at the
first is never touched, and nobody needs to evict it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

from tpm2_pytss.constants import ESYS_TR
from tpm2_pytss.types import TPM2B_PUBLIC

from korora_nova import errors
from korora_nova.rats.tpm2 import algorithms
from korora_nova.tpm import nv, templates
from korora_nova.tpm.device import Operation

#: Handles of endorsement keys (TCG registry of reserved handles, 2.3.1).
ENDORSEMENT = range(0x81010000, 0x81020000)


@dataclasses.dataclass(frozen=True)
class Key:
    """A key that is loaded.

    :param at: its persistent handle, 0 if it is transient.
    """

    handle: ESYS_TR
    public: TPM2B_PUBLIC
    qualified_name: bytes
    at: int

    @property
    def name(self) -> bytes:
        return bytes(self.public.get_name())

    def is_parent_of(self, child: Key) -> bool:
        """Whether the other one is below it: Part 1, 16.4.

        QN = H(QN of the parent || Name), with the hash of the child's name.
        """
        known = algorithms.BY_ID[int(child.public.publicArea.nameAlg)]
        digest = hashlib.new(known.name, self.qualified_name + child.name)
        return child.qualified_name == (
            known.id.to_bytes(2, 'big') + digest.digest()
        )


def read(operation: Operation, at: int) -> Key:
    """The key at a persistent handle."""
    return loaded(operation, operation.esys.tr_from_tpmpublic(at), at)


def loaded(operation: Operation, handle: ESYS_TR, at: int = 0) -> Key:
    """The key at a handle of the stack."""
    public, _name, qualified = operation.esys.read_public(handle)
    return Key(handle, public, bytes(qualified), at)


def of_template(
    operation: Operation, places: Sequence[int], template: TPM2B_PUBLIC
) -> Iterator[Key]:
    """The keys at these handles that were made from a template."""
    for at in places:
        if nv.exists(operation, at):
            key = read(operation, at)
            if templates.same_template(key.public, template):
                yield key


def free(operation: Operation, places: Sequence[int]) -> int:
    """The first handle at which there is nothing, 0 if there is none."""
    return next((at for at in places if not nv.exists(operation, at)), 0)


def persist(
    operation: Operation, handle: ESYS_TR, places: Sequence[int]
) -> Key:
    """Make a transient key persistent at the first free handle.

    :raises errors.Unavailable: TPM_UNAVAILABLE, all are taken.
    """
    at = free(operation, places)
    if not at:
        raise occupied(places)
    operation.esys.evict_control(
        auth=ESYS_TR.OWNER, object_handle=handle, persistent_handle=at
    )
    operation.flush(handle)
    return read(operation, at)


def occupied(places: Sequence[int]) -> errors.Unavailable:
    """The error when keys of others are wherever ours could be."""
    shown = ' and '.join(f'0x{at:08x}' for at in places)
    return errors.Unavailable(
        errors.Reason.TPM_UNAVAILABLE,
        f'The TPM handles {shown} are taken by keys that are not ours. '
        f'{whose(places)}',
        details={'handle': f'0x{places[0]:08x}'},
    )


def whose(places: Sequence[int]) -> str:
    """Who may have put something at handles, and what to do about it."""
    if any(at in ENDORSEMENT or at >= 0x81800000 for at in places):
        return (
            'What is there may be of the maker of the TPM or the platform, '
            'which nothing can bring back: leave it, and free the one that '
            'an application of yours has made.'
        )
    return (
        'Find out which application has made them; evict one of them only if '
        'nothing needs it.'
    )
