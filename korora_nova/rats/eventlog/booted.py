# SPDX-License-Identifier: Apache-2.0
"""What the boot left in the registers, as its log says it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping

from korora_nova import errors
from korora_nova.rats.eventlog import log as logs
from korora_nova.rats.eventlog import types


class Booted:
    """The value of a register after the boot; the log is read when asked.

    :param log: one that cannot be read extends nothing.
    """

    def __init__(self, log: bytes, bank: str = 'sha256') -> None:
        self._log, self._bank = log, bank

    def __call__(self, index: int) -> bytes:
        zeros = bytes(hashlib.new(types.HASHES[self._bank]).digest_size)
        return self._values.get(index, zeros)

    @functools.cached_property
    def _values(self) -> Mapping[int, bytes]:
        try:
            return logs.parse(self._log).replay(self._bank)
        except errors.EvidenceError:
            return {}
