# SPDX-License-Identifier: Apache-2.0
"""Lists whose beginning the kernel has dropped, to have its memory back.

Patches to Linux (``ima_trim_log``, 2025; staging, 2026) let user space drop
entries from the beginning of the list. PCR 10 stays: who knows its value at
some entry can go on from there. Where that is in what is left is guessed here
from the bytes before it, and proved by the replay.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator

from korora_nova import errors
from korora_nova.rats.ima import records
from korora_nova.rats.ima.buffer import Parts
from korora_nova.rats.ima.replay import entry_of
from korora_nova.rats.ima.rules import BOOT_AGGREGATES
from korora_nova.rats.ima.templates import Entry

#: How much of what was seen is looked for, bytes.
TAIL = 4096
#: Guesses that are tried.
MAX_PLACES = 64
# No entry is shorter.
_SHORTEST = 32


def begins(log: bytes) -> bool:
    """Whether a list has its beginning, as far as that can be told.

    :param log: its first entry, and what follows.
    """
    first = _first(log)
    return first is None or not first.path or first.path in BOOT_AGGREGATES


def aggregate_hash(log: bytes) -> str:
    """The hash of the boot aggregate that a list begins with; '' if none."""
    first = _first(log)
    if first is None or not begins(log):
        return ''
    return first.digest.rpartition(':')[0]


def _first(log: bytes) -> Entry | None:
    """The first entry; None: it has another fault."""
    try:
        form = records.detect_form(log)
        read = records.READERS[form]
        return entry_of(read(log, 0, records.detect_hash(log, form)), 0)
    except errors.EvidenceError:
        return None


def places(tail: bytes, parts: Parts) -> Iterator[int]:
    """Where in a list what follows ``tail`` may begin, likely ones first.

    Violations may repeat the same bytes, so there can be several.
    """
    last = collections.deque(_ends(tail, parts), MAX_PLACES)
    found = itertools.chain(reversed(last), _overlaps(tail, parts), (0,))
    yield from itertools.islice(found, MAX_PLACES)


def _ends(tail: bytes, parts: Parts) -> Iterator[int]:
    """Ends of what equals all of it."""
    before, at = b'', 0
    for part in parts() if tail else ():
        part = before + part
        place = part.find(tail)
        while place >= 0:
            yield at + place + len(tail)
            place = part.find(tail, place + 1)
        before = part[max(0, len(part) - len(tail) + 1) :]
        at += len(part) - len(before)


def _overlaps(tail: bytes, parts: Parts) -> Iterator[int]:
    """Where the list begins within it."""
    first = b''
    for part in parts():
        first += part
        if len(first) >= len(tail):
            break
    for size in range(min(len(tail) - 1, len(first)), _SHORTEST - 1, -1):
        if first.startswith(tail[-size:]):
            yield size
