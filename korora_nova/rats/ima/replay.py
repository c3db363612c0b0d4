# SPDX-License-Identifier: Apache-2.0
"""One pass over a list: read, rehash, look up, extend.

Nearly all entries of a list are alike: a digest and a path (and perhaps a
signature) whose digest the rules list, or an entry whose very bytes were
seen before (:mod:`memo`). Those take the short way, which each form of list
has in a module of its own (:mod:`binary`, :mod:`text`), without an object
per entry. Any other, and any that is odd in any way, is read again by
:mod:`records` and judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from korora_nova.rats.ima import digests, registers, templates
from korora_nova.rats.ima.buffer import Buffer
from korora_nova.rats.ima.hashing import Hashing, Settings
from korora_nova.rats.ima.judge import Judge
from korora_nova.rats.ima.memo import Memos
from korora_nova.rats.ima.records import Record, check_pcr, malformed
from korora_nova.rats.ima.registers import First, Registers
from korora_nova.rats.ima.rules import BOOT_AGGREGATES, Rules
from korora_nova.rats.ima.state import State
from korora_nova.rats.ima.templates import Entry, Malformed

#: Most entries of a list.
MAX_ENTRIES = 20_000_000

# Entries read in full before the memo is asked again.
_MOST = 512


class Pass(Buffer):
    """A pass over a list that has no short way; see :meth:`run`.

    :ivar pcr: value after the last covered entry, which ends at ``at``.
    :ivar count: covered entries of this list.
    :ivar violations: whether there was one.
    :ivar reading: offset of the entry that was read in full last.
    :ivar others: other registers that the list extends.
    """

    def __init__(
        self,
        parts: Iterable[bytes],
        settings: Settings,
        rules: Sequence[Rules],
        start: bytes,
        last: State | None,
        memos: Memos,
        first: First = lambda index: b'',
    ) -> None:
        super().__init__(parts)
        self.settings = settings
        self.hashing, self.judge = Hashing(settings), Judge(rules, last)
        self._memos = memos
        self._key = (settings, tuple(item.fingerprint for item in rules))
        self.memo = memos.find(self._key)
        self.pcr, self.count = start, 0
        self.violations = False
        self.reading = 0
        self.others = Registers(registers.of(last), first)

    def run(self, target: bytes, quoted: Mapping[int, bytes]) -> bool:
        """Go on until the PCR has the target value; False if it never has.

        :param quoted: values that other registers must have then.
        :raises EvidenceError: IMA_LOG_MALFORMED, IMA_TEMPLATE,
            IMA_TEMPLATE_HASH, IMA_BOOT_AGGREGATE.
        """
        known, hits = bool(self.memo.entries), 0
        rounds = 1 if known else _MOST
        while self.count <= MAX_ENTRIES and not self._ended(target):
            # The boot aggregate must be looked at.
            if known and not self.judge.first:
                before = self.count
                self._warm(target)
                hits += self.count - before
                if self._ended(target):
                    break
                rounds = 1 if self.count > before else min(2 * rounds, _MOST)
            self._cold(target, self.count + rounds)
        if self.count > MAX_ENTRIES:
            raise malformed('too many entries', self.at)
        self._memos.settle(self._key, self.memo, hits, self.count - hits)
        return self.pcr == target and self._finish(quoted)

    def _finish(self, quoted: Mapping[int, bytes]) -> bool:
        """Cover what the quote does of other registers; False: they differ.

        What follows the last entry of this register may be in it.
        """
        others, at, count = self.others.copy(), 0, 0
        agree = 0 if others.differ(quoted) is None else None
        while True:
            record = self.peek(
                at, self.settings.form, self.settings.template_hash
            )
            if record is None or record.pcr == self.settings.pcr:
                break
            others.extend(record.pcr, self._extended(record))
            at, count = record.end - self.at, count + 1
            if others.differ(quoted) is None:
                agree = count
        for _ in range(agree or 0):
            self.step()
        return agree is not None

    def _extended(self, record: Record) -> Callable[[bytes], bytes]:
        extension = self.hashing.extension(record)
        in_bank = self.hashing.in_bank
        return lambda value: in_bank(value + extension).digest()

    def _ended(self, target: bytes) -> bool:
        return self.pcr == target or self.exhausted

    def _cold(self, target: bytes, most: int) -> None:
        """Read entries in full until ``most`` are covered."""
        while True:
            self._alike(target, most)
            if self.count >= most or self._ended(target):
                return
            self.step()
            if self.count >= most or self._ended(target):
                return

    def _warm(self, target: bytes) -> None:
        """Go on as long as entries were seen before."""

    def _alike(self, target: bytes, most: int) -> None:
        """Go on as long as entries are like the last, up to ``most``."""

    def _learn(self, record: Record) -> None:
        """Take the short way for entries like this one from here on."""

    def _raw(self, at: int, end: int) -> bytes:
        """An entry as the memo has it."""
        return self.log[at:end]

    def step(self) -> None:
        """Read any entry, and judge it."""
        self.reading = self.offset
        record = self.record(
            self.settings.form, self.settings.template_hash, check=True
        )
        at = self.at
        violation = record.violation
        if violation:
            self.violations = True
        entry = entry_of(record, at)
        extension = self.hashing.extension(record)
        clean = self.judge.admits(entry) and not violation
        if record.pcr != self.settings.pcr:
            check_pcr(record, at)
            self.others.extend(record.pcr, self._extended(record))
            self.at, self.count = record.end, self.count + 1
            return
        if clean and entry.path not in BOOT_AGGREGATES:
            self.memo.add(self._raw(at, record.end), extension)
            if self.hashing.follows:
                self._learn(record)
        self.pcr = self.hashing.in_bank(self.pcr + extension).digest()
        self.at = record.end
        self.count += 1


def entry_of(record: Record, at: int) -> Entry:
    """The measurement in a record; a buffer has the digest it states.

    :raises EvidenceError: IMA_LOG_MALFORMED.
    """
    try:
        entry = templates.entry(
            record.template, record.values, record.violation
        )
    except Malformed as exc:
        raise malformed(str(exc), at) from None
    if entry.buffer and not entry.violation:
        name, _, text = entry.digest.rpartition(':')
        digest = digests.compute(name, entry.buffer)
        if digest is None or digest.hex() != text:
            raise malformed('a buffer does not have the stated digest', at)
    return entry
