# SPDX-License-Identifier: Apache-2.0
"""Lists in pages: what follows a marker, and the marker of what follows.

A marker is what rows are ordered by, not a place: rows that come or go
between two pages make none of the others appear twice, or not at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from korora_nova import errors

T = TypeVar('T')
U = TypeVar('U')

#: Things in one page, at most.
LIMIT = 1000


@dataclasses.dataclass(frozen=True)
class Page(Generic[T]):
    """Some of a list.

    :param next: the marker of the rest; '' if there is none.
    """

    items: Sequence[T]
    next: str = ''

    @classmethod
    def of(
        cls, found: Sequence[T], limit: int | None, key: Callable[[T], str]
    ) -> Page[T]:
        """A page of what was looked for with a limit of one more.

        :param limit: None: there is none, and this is all.
        """
        if limit is None or len(found) <= limit:
            return cls(found)
        return cls(found[:limit], key(found[limit - 1]))

    def map(self, function: Callable[[T], U]) -> Page[U]:
        """The same page of other things."""
        return Page([function(one) for one in self.items], self.next)


def one_more(limit: int | None) -> int | None:
    """What a statement asks for, so that :meth:`Page.of` knows of more."""
    return None if limit is None else limit + 1


def gone(marker: str) -> errors.Invalid:
    """The error that nothing is there to go on behind."""
    return errors.Invalid(
        errors.Reason.MARKER_UNKNOWN, details={'marker': marker}
    )
