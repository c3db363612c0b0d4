# SPDX-License-Identifier: Apache-2.0
"""A list that comes in parts, of which one is in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from korora_nova import errors
from korora_nova.rats.ima import records, templates
from korora_nova.rats.ima.records import Record

#: Gives the parts of a list in their order, each time from the beginning.
#: Entries may begin in one part and end in another.
Parts: TypeAlias = Callable[[], Iterable[bytes]]

# An entry is not longer: template data, name, and what is around them.
_MAX_RECORD = templates.MAX_TEMPLATE_DATA + 2 * templates.MAX_TEMPLATE_NAME


class Buffer:
    """Reads entries out of parts.

    :ivar log: what is in memory; ``at``: offset in it of what is unread;
        ``before``: bytes of the list before it.
    """

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = iter(parts)
        self.log, self.at, self.before = b'', 0, 0
        self.more()

    @property
    def offset(self) -> int:
        """In the list."""
        return self.before + self.at

    @property
    def exhausted(self) -> bool:
        """Whether all was read."""
        return self.at >= len(self.log) and not self.more()

    def more(self) -> bool:
        """Take one more part that is not empty; False: there is none."""
        part = next(filter(None, self._parts), b'')
        if part:
            self.before += self.at
            self.log = self.log[self.at :] + part
            self.at = 0
        return bool(part)

    def peek(self, ahead: int, form: str, template_hash: str) -> Record | None:
        """The entry so many bytes ahead; None: there is none to be read."""
        read = records.READERS[form]
        while True:
            at = self.at + ahead
            try:
                record = read(self.log, at, template_hash)
                if form != records.ASCII or record.end < len(self.log):
                    return record
                if not self.more():
                    return record
            except errors.EvidenceError:
                if len(self.log) - at > _MAX_RECORD or not self.more():
                    return None

    def record(self, form: str, template_hash: str, check: bool) -> Record:
        """The next entry, which ``at`` still stands before.

        :param check: whether its hash must match.
        :raises EvidenceError: IMA_LOG_MALFORMED, IMA_TEMPLATE,
            IMA_TEMPLATE_HASH.
        """
        read = records.READERS[form]
        while True:
            try:
                record = read(self.log, self.at, template_hash)
                if check and not record.violation:
                    records.check_hash(record, self.at)
                # A line of text may go on in the next part.
                if form != records.ASCII or record.end < len(self.log):
                    return record
                if not self.more():
                    return record
            except errors.EvidenceError:
                if len(self.log) - self.at > _MAX_RECORD or not self.more():
                    raise
