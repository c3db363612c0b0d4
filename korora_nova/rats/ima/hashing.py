# SPDX-License-Identifier: Apache-2.0
"""What entries of one list extend a PCR with."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from korora_nova.rats.ima import records, state
from korora_nova.rats.ima.records import HASHES, Record


class Settings(NamedTuple):
    """What a list is, and how it extends which PCR.

    :param extension: of :data:`state.EXTENSIONS`.
    """

    form: str
    template_hash: str
    bank: str
    pcr: int
    extension: str


class Hashing:
    """The hashes of a list.

    :ivar in_list: constructor of the template hash; ``in_bank``: of the
        bank's.
    :ivar reuse: what follows the template hash in an extension; None if the
        extension has a hash of its own.
    :ivar follows: whether an extension follows from what the short way
        computes.
    """

    def __init__(self, settings: Settings) -> None:
        self.in_list = getattr(hashlib, settings.template_hash)
        self.in_bank = getattr(hashlib, settings.bank)
        size, padded = HASHES[settings.bank], HASHES['sha1']
        self._own = settings.extension == state.OWN
        self._padding = bytes(max(0, size - padded))
        self._violated = b'\xff' * size
        if settings.extension == state.PADDED:
            self._violated = b'\xff' * padded + self._padding
        self.reuse: bytes | None = None
        if not self._own:
            self.reuse = self._padding
        elif settings.template_hash == settings.bank:
            self.reuse = b''
        # SHA-1 of the data is known only if the list states it.
        self.follows = settings.form != records.BIG_ENDIAN and (
            self._own or settings.template_hash == 'sha1'
        )

    def extension(self, record: Record) -> bytes:
        """What an entry extends the PCR with."""
        if record.violation:
            return self._violated
        if not self._own:
            return hashlib.sha1(record.hashed).digest() + self._padding
        digest: bytes = self.in_bank(record.hashed).digest()
        return digest
