# SPDX-License-Identifier: Apache-2.0
"""Registers that a list extends besides its own: ``pcr=`` in IMA rules.

IMA adds to its list and extends under one lock, so a quote covers a beginning
of the list in all registers. Where a register stood before is what the event
log says of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from korora_nova import errors
from korora_nova.rats.ima.state import State

#: Value of a register before IMA extends it for the first time.
First: TypeAlias = Callable[[int], bytes]
#: Of a register: that value, and the one now.
Values: TypeAlias = Mapping[int, tuple[bytes, bytes]]

_R = errors.Reason


def of(state: State | None) -> Values:
    """Those of a state."""
    return {
        index: (bytes.fromhex(start), bytes.fromhex(now))
        for index, (start, now) in (state.others if state else {}).items()
    }


class Registers:
    """The registers that a list has mentioned, as far as it was read.

    :ivar values: by index.
    """

    def __init__(self, values: Values, first: First) -> None:
        self.values, self._first = dict(values), first

    def copy(self) -> Registers:
        """Another one, to look ahead."""
        return Registers(self.values, self._first)

    def extend(self, index: int, extended: Callable[[bytes], bytes]) -> None:
        """Extend one.

        :param extended: gives the new value.
        """
        if index in self.values:
            start, now = self.values[index]
        else:
            start = now = self._first(index)
        self.values[index] = start, extended(now)

    def differ(self, quoted: Mapping[int, bytes]) -> int | None:
        """One that was not quoted as it is here; None: there is none."""
        for index, (_, now) in self.values.items():
            if quoted.get(index) != now:
                return index
        return None

    def require(self, index: int, quoted: Mapping[int, bytes]) -> None:
        """Insist that entries after the quote are for this register.

        :raises EvidenceError: IMA_LOG_REPLAY.
        """
        now = (self.values.get(index) or (self._first(index),))[-1]
        if quoted.get(index) != now:
            raise mismatch(index, quoted, now)


def mismatch(
    index: int, quoted: Mapping[int, bytes], got: bytes
) -> errors.EvidenceError:
    """The error for a register that a list does not explain."""
    want = quoted[index].hex() if index in quoted else 'not quoted'
    return errors.EvidenceError(
        _R.IMA_LOG_REPLAY,
        f'The IMA measurement list has entries for PCR {index} and does not '
        f'replay to it: want {want}, got {got.hex()}. Something else may '
        'extend it, too; let rules of the IMA policy name another one.',
        place=f'pcr {index}',
        details={'want': want, 'got': got.hex(), 'pcr': str(index)},
    )
