# SPDX-License-Identifier: Apache-2.0
"""What the boot left in the registers, as its log says it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping

from korora_nova import errors
from korora_nova.rats.eventlog import log as logs
from korora_nova.rats.eventlog import types


class Booted:
    """The value of a register after the boot; the log is read when asked.

    :param read: gives the log; one that cannot be parsed extends nothing.
    """

    def __init__(
        self, read: Callable[[], bytes], bank: str = 'sha256'
    ) -> None:
        self._read, self._bank = read, bank

    def __call__(self, index: int) -> bytes:
        zeros = bytes(hashlib.new(types.HASHES[self._bank]).digest_size)
        return self._values.get(index, zeros)

    @functools.cached_property
    def _values(self) -> Mapping[int, bytes]:
        log = self._read()
        try:
            return logs.parse(log).replay(self._bank)
        except errors.EvidenceError:
            return {}
