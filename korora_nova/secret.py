# SPDX-License-Identifier: Apache-2.0
"""A wrapper for secret bytes that no log, repr or serializer can open."""

from __future__ import annotations

import hmac
from typing import NoReturn


class Secret:
    """Secret bytes; only :meth:`reveal` shows them.

    :param value: the secret; copied, so the caller may wipe its own copy.
    """

    __slots__ = ('_value',)

    def __init__(self, value: bytes | bytearray | memoryview) -> None:
        self._value = bytearray(value)

    def reveal(self) -> bytes:
        """Return the bytes. Keep the result in as few places as possible."""
        return bytes(self._value)

    def wipe(self) -> None:
        """Overwrite this copy with zeros and empty it (best effort)."""
        for index in range(len(self._value)):
            self._value[index] = 0
        self._value.clear()

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    # Mutable through wipe(), and a hash would be an oracle on the value.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return '<Secret>'

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return '<Secret>'

    def __bytes__(self) -> NoReturn:
        raise TypeError('use reveal() to read a Secret')

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError('a Secret is never serialized')

    def __copy__(self) -> NoReturn:
        raise TypeError('a Secret is never copied')

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError('a Secret is never copied')
