# SPDX-License-Identifier: Apache-2.0
"""One pass over a list: read, rehash, look up, extend.

Nearly all entries of a list are alike: a digest and a path (and perhaps a
signature) whose digest the rules list. Those take the short way, in one
function per form of list and without an object per entry; any other, and
any that is odd in any way, is read again by :mod:`records` and judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Sequence
from typing import NamedTuple

from korora_nova import errors
from korora_nova.rats.ima import digests, fast, memo, records, state, templates
from korora_nova.rats.ima.records import HASHES, Record, malformed
from korora_nova.rats.ima.rules import (
    BOOT_AGGREGATE,
    BOOT_AGGREGATES,
    Rules,
)
from korora_nova.rats.ima.state import State
from korora_nova.rats.ima.templates import Entry, Malformed

#: Caps against absurd lists.
MAX_ENTRIES = 5_000_000

# Entries read in full before the memo is asked again.
_MOST = 512
_R = errors.Reason


class Settings(NamedTuple):
    """What a list is, and how it extends which PCR.

    :param extension: of :data:`state.EXTENSIONS`.
    """

    form: str
    template_hash: str
    bank: str
    pcr: int
    extension: str


class Pass:
    """A pass over a list; see :meth:`run`.

    :ivar at: offset behind the last covered entry; ``pcr`` there.
    :ivar count: covered entries of this list.
    :ivar aggregates: boot aggregates met.
    :ivar violations: whether there was one.
    """

    def __init__(
        self,
        log: bytes,
        settings: Settings,
        rules: Sequence[Rules],
        start: bytes,
        last: State | None = None,
    ) -> None:
        self.log, self.settings, self.rules = log, settings, rules
        self.pcr, self.at, self.count = start, 0, 0
        self.aggregates = list(last.aggregates) if last else []
        self.first = not self.aggregates
        self.violations = False
        #: Offset of the entry that was read in full last.
        self.reading = 0
        results = last.results if last else {}
        self.counters = [
            state.Counter(results.get(item.fingerprint, state.Tally()))
            for item in rules
        ]
        self._key: memo.Key = (
            settings,
            tuple(item.fingerprint for item in rules),
        )
        self.memo = memo.find(self._key)
        self._hits = 0
        self._read = records.READERS[settings.form]
        size = HASHES[settings.bank]
        self.in_list = getattr(hashlib, settings.template_hash)
        self.bank = getattr(hashlib, settings.bank)
        self._sha1 = hashlib.sha1
        padding = bytes(max(0, size - HASHES['sha1']))
        self._padding = padding
        self._violated = b'\xff' * size
        if settings.extension == state.PADDED:
            self._violated = b'\xff' * HASHES['sha1'] + padding
        # What the short way appends to the template hash to extend with it,
        # None if that is another hash.
        self.reuse: bytes | None = None
        if settings.extension != state.OWN:
            self.reuse = padding
        elif settings.template_hash == settings.bank:
            self.reuse = b''
        self._shapes: dict[tuple[str, bytes], fast.Shape] = {}
        self.shape: fast.Shape | None = None
        # The short way knows SHA-1 of the data only if the list states it.
        self.plain = settings.form != records.BIG_ENDIAN and (
            settings.extension == state.OWN or settings.template_hash == 'sha1'
        )
        self._lookups()
        #: Longest entry that is kept now.
        self.room = 0
        #: Bytes before the template data of entries like the last.
        self.skip = 0

    def run(self, target: bytes) -> bool:
        """Go on until the PCR has the target value; False if it never has.

        :raises EvidenceError: IMA_LOG_MALFORMED, IMA_TEMPLATE,
            IMA_TEMPLATE_HASH.
        """
        warm, cold = _WAYS[self.settings.form]
        length, known = len(self.log), bool(self.memo.entries)
        rounds = 1 if known else _MOST
        while self.pcr != target and self.at < length:
            before = self.count
            # The boot aggregate must be looked at.
            if known and not self.first:
                warm(self, target)
                self._hits += self.count - before
                if self.pcr == target or self.at >= length:
                    break
                rounds = 1 if self.count > before else min(2 * rounds, _MOST)
            self.room = 0 if self.memo.full else memo.MAX_ENTRY
            cold(self, target, rounds)
            if self.count > MAX_ENTRIES:
                raise malformed('too many entries', self.at)
        memo.settle(self._key, self.memo, self._hits, self.count - self._hits)
        return self.pcr == target

    def _lookups(self) -> None:
        """What the short way looks up."""
        #: What the rules list, if there is one set of them. An empty tuple
        #: does not even hash what it is asked for.
        self.digests: Container[bytes] = ()
        self.paths: Callable[..., Container[bytes]] = {}.get
        self._each = [
            (item.digests, item.paths.get, item) for item in self.rules
        ]
        if len(self.rules) == 1:
            self.digests = self.rules[0].digests or ()
            self.paths = self.rules[0].paths.get

    def admitted(self, digest: bytes, path: bytes) -> bool:
        """Whether all rules list a digest, as a key, or excuse the path."""
        for listed, paths, item in self._each:
            if (
                digest not in listed
                and digest not in paths(path, ())
                and not item.excuses(path)
            ):
                return False
        return digests.is_key(digest)

    def slow(self, at: int, pcr: bytes) -> tuple[int, bytes]:
        """Any entry: the offset behind it, and the PCR then."""
        self.reading = at
        record = self._read(self.log, at, self.settings.template_hash)
        if record.pcr != self.settings.pcr:
            raise malformed(
                f'an entry for PCR {record.pcr} in a list of PCR '
                f'{self.settings.pcr}',
                at,
            )
        violation = record.violation
        if not violation:
            records.check_hash(record, at)
        entry = entry_of(record, at)
        extension = self._extension(record, violation)
        clean = self._judge(entry) and not violation
        if clean and entry.path not in BOOT_AGGREGATES:
            self._keep(self.log[at : record.end], extension)
            self._learn(record)
        return record.end, self.bank(pcr + extension).digest()

    def _extension(self, record: Record, violation: bool) -> bytes:
        if violation:
            self.violations = True
            return self._violated
        if self.settings.extension != state.OWN:
            return self._sha1(record.hashed).digest() + self._padding
        digest: bytes = self.bank(record.hashed).digest()
        return digest

    def _judge(self, entry: Entry) -> bool:
        """Whether all rules admit an entry; count why not."""
        first = self.first
        if entry.path in BOOT_AGGREGATES or first:
            self._aggregate(entry)
            entry = entry._replace(path=entry.path or BOOT_AGGREGATE)
        clean = True
        for rules, counter in zip(self.rules, self.counters, strict=True):
            finding = rules.check(entry, first)
            if finding is not None:
                counter.add(finding)
                clean = False
        return clean

    def _aggregate(self, entry: Entry) -> None:
        named = entry.path in BOOT_AGGREGATES or (
            not entry.path and self.first
        )
        self.first = False
        if not named or entry.violation:
            raise errors.EvidenceError(
                _R.IMA_BOOT_AGGREGATE,
                'The IMA measurement list does not '
                'begin with a boot aggregate.',
                place='offset 0',
            )
        if entry.digest not in self.aggregates:
            self.aggregates.append(entry.digest)
        if len(self.aggregates) > state.MAX_AGGREGATES:
            raise errors.EvidenceError(
                _R.IMA_BOOT_AGGREGATE,
                'The IMA measurement list holds more '
                f'than {state.MAX_AGGREGATES} different boot aggregates.',
            )

    def _keep(self, raw: bytes, extension: bytes) -> None:
        if self.settings.form == records.ASCII:
            raw = raw.removesuffix(b'\n')
        if len(raw) <= memo.MAX_ENTRY and not self.memo.full:
            self.memo.entries[raw] = extension
            self.memo.taken += len(raw) + memo.OVERHEAD

    def _learn(self, record: Record) -> None:
        """Take the short way for entries like this one from here on."""
        name = record.template.name
        if not self.plain:
            return
        kind = (name, record.values[0].partition(b'\0')[0])
        shape = self._shapes.get(kind) or fast.shape(
            record, self.settings.form
        )
        if shape is not None:
            self.shape = self._shapes[kind] = shape
            self.skip = shape.skip
        elif self.shape is None and not record.template.legacy:
            self.skip = 12 + len(record.stated) + len(name)


_WAYS = {
    records.BINARY: (fast.warm_binary, fast.cold_binary),
    records.BIG_ENDIAN: (fast.warm_binary, fast.cold_binary),
    records.ASCII: (fast.warm_ascii, fast.cold_ascii),
}


def entry_of(record: Record, at: int) -> Entry:
    """The measurement in a record; a buffer has the digest it states."""
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
