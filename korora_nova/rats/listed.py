# SPDX-License-Identifier: Apache-2.0
"""A host's measurement list as it comes, and what is known of it before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from korora_nova import errors
from korora_nova.rats import ima


def _nothing(offset: int) -> Iterable[bytes]:
    """Nothing is known of a list."""
    raise errors.Conflict(errors.Reason.IMA_CONTINUITY)


class Seen(NamedTuple):
    """Of the same boot, what was appraised of a list that may go on.

    :param offset: where it ends, and there ``state`` is, if it can be read.
    :param tail: what is before that, up to ``ima.TAIL`` bytes.
    :param parts: gives the list from an offset on, up to the end.
    """

    offset: int
    state: ima.State | None
    tail: bytes
    parts: Callable[[int], Iterable[bytes]]


class Known(NamedTuple):
    """What is known of a host's list, if not all of it comes with evidence.

    :param state: where an appraisal ended; None if all of the list comes.
    :param parts: gives the list from an offset on, up to where the evidence
        goes on.
    :param seen: of the boot with a resetCount, if the kernel has dropped the
        beginning of the list.
    :raises Conflict: ``parts``; IMA_CONTINUITY, it is not known.
    """

    state: ima.State | None = None
    parts: Callable[[int], Iterable[bytes]] = _nothing
    seen: Callable[[int], Seen | None] = lambda reset_count: None


#: All of the list comes.
NOTHING = Known()


class Listed(NamedTuple):
    """A list as it comes, or in its place after what was seen of it.

    :param log: ``offset`` bytes of the list precede it.
    :param dropped: bytes of the list before what the kernel still shows.
    :param lost: what it has dropped was not seen.
    :param first: values of registers before IMA extends them.
    """

    log: bytes
    offset: int
    known: Known
    first: ima.First
    dropped: int = 0
    lost: bool = False

    def parts(self) -> Iterable[bytes]:
        """The list from its beginning, or from where the kernel's begins."""
        if self.offset:
            yield from self.known.parts(0)
        yield self.log

    def after(self, place: int, seen: Seen) -> Listed:
        """What follows ``place``, as what follows what was seen."""
        rest = max(0, self.offset - place)
        earlier = self.known.parts

        def parts(start: int) -> Iterator[bytes]:
            yield from seen.parts(start)
            if rest:
                yield from _skip(place, earlier(0))

        return Listed(
            self.log[max(0, place - self.offset) :],
            seen.offset + rest,
            Known(seen.state, parts),
            self.first,
            seen.offset - place,
        )


def _skip(size: int, parts: Iterable[bytes]) -> Iterator[bytes]:
    for part in parts:
        if size < len(part):
            yield part[size:]
        size = max(0, size - len(part))
