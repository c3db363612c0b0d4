# SPDX-License-Identifier: Apache-2.0
"""What policies said of a state, for as long as nothing in it changes.

To parse a firmware's log, compare it with registers and ask all rules is most
of an appraisal, and it comes to the same from one boot to the next. PCR 10
and the clock, which no rule looks at, change all the time.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from korora_nova.rats import ima
from korora_nova.rats.evidence import Evidence
from korora_nova.rats.finding import Finding
from korora_nova.rats.policy import BoundPolicy, Judgement
from korora_nova.rats.quote.verify import VerifiedQuote

#: States that are remembered; one of a trusted host takes about 2 kB.
MAX = 16384

Key: TypeAlias = tuple[bytes, tuple[int, ...]]


class Judged(NamedTuple):
    """What came of a state.

    :param log_fault: why the firmware's log was refused.
    :param policies: those that judged, for as long as this is kept: the key
        names them by their places in memory.
    """

    log_fault: Finding | None
    judgements: tuple[Judgement, ...]
    policies: tuple[BoundPolicy, ...]


class Judgements:
    """The last ones of a process; shared by threads.

    :param most: how many.
    """

    def __init__(self, most: int = MAX) -> None:
        self._most = most
        self._known: collections.OrderedDict[Key, Judged] = (
            collections.OrderedDict()
        )

    def get(self, key: Key) -> Judged | None:
        """What came of a state, if it is remembered."""
        found = self._known.get(key)
        # Another thread may have forgotten it just now.
        with contextlib.suppress(KeyError):
            self._known.move_to_end(key)
        return found

    def clear(self) -> None:
        """Forget all: they keep the rules that they come from."""
        self._known.clear()

    def put(self, key: Key, judged: Judged) -> None:
        """Remember it, and forget the one that was not asked for longest."""
        self._known[key] = judged
        while len(self._known) > self._most:
            with contextlib.suppress(KeyError):
                self._known.popitem(last=False)


def key(
    quote: VerifiedQuote,
    evidence: Evidence,
    before: Mapping[int, bytes],
    policies: Sequence[BoundPolicy],
) -> Key:
    """Stands for all that rules look at, and for the rules.

    :param before: of registers that IMA extends besides its own.
    """
    digest = hashlib.sha256()
    pcrs = {**quote.pcrs, **before}
    for index in sorted(pcrs):
        if index != ima.IMA_PCR:
            digest.update(b'%d:%b;' % (index, pcrs[index].hex().encode()))
    clock = quote.clock
    for part in (
        sorted(before),
        clock.reset_count,
        clock.restart_count,
        clock.safe,
        quote.firmware_version,
        evidence.log_digest,
        hashlib.sha256(evidence.systemd_log).hexdigest(),
    ):
        digest.update(repr(part).encode() + b';')
    return digest.digest(), tuple(map(id, policies))
