# SPDX-License-Identifier: Apache-2.0
"""One pass over a list: read, rehash, look up, extend.

Nearly all entries of a list are alike: a digest and a path (and perhaps a
signature) whose digest the rules list. Those take the short way, in one
function per form of list and without an object per entry; any other, and
any that is odd in any way, is read again by :mod:`records` and judged.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from korora_nova import errors
from korora_nova.rats.ima import digests, memo, records, state, templates
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

_U32 = struct.Struct('<I').unpack_from
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


class _Shape(NamedTuple):
    """Where things are in entries of a template that take the short way.

    :param cut: bytes of the field with the digest, with its size.
    :param third: whether a third field follows the path.
    """

    unpack: Any
    tag: bytes
    skip: int
    cut: int
    third: bool


class _Any:
    """What no rules admit: every digest of a known kind."""

    def __contains__(self, key: bytes) -> bool:
        return digests.is_key(key)


class Pass:
    """A pass over a list; see :meth:`run`.

    :ivar at: offset behind the last covered entry; ``pcr`` there.
    :ivar count: covered entries of this list.
    :ivar aggregates: boot aggregates met.
    :ivar violations: whether there was one.
    """

    def __init__(self, log: bytes, settings: Settings,
                 rules: Sequence[Rules], start: bytes,
                 last: State | None = None) -> None:
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
            for item in rules]
        self._key: memo.Key = (
            settings, tuple(item.fingerprint for item in rules))
        self._memo = memo.find(self._key)
        self._hits = 0
        self._read = records.READERS[settings.form]
        size = HASHES[settings.bank]
        self._stated = getattr(hashlib, settings.template_hash)
        self._bank = getattr(hashlib, settings.bank)
        self._sha1 = hashlib.sha1
        padding = bytes(max(0, size - HASHES['sha1']))
        self._padding = padding
        self._violated = b'\xff' * size
        if settings.extension == state.PADDED:
            self._violated = b'\xff' * HASHES['sha1'] + padding
        # What the short way appends to the template hash to extend with it,
        # None if that is another hash.
        self._reuse: bytes | None = None
        if settings.extension != state.OWN:
            self._reuse = padding
        elif settings.template_hash == settings.bank:
            self._reuse = b''
        self._shapes: dict[tuple[str, int], _Shape] = {}
        self._shape: _Shape | None = None
        #: Bytes before the template data of entries like the last.
        self._skip = 0

    def run(self, target: bytes) -> bool:
        """Go on until the PCR has the target value; False if it never has.

        :raises EvidenceError: IMA_LOG_MALFORMED, IMA_TEMPLATE,
            IMA_TEMPLATE_HASH.
        """
        binary = self.settings.form == records.BINARY
        warm = self._warm_binary if binary else self._warm_ascii
        cold = self._cold_binary if binary else self._cold_ascii
        length, rounds = len(self.log), 1
        while self.pcr != target and self.at < length:
            before = self.count
            if self._memo.entries:
                warm(target)
                if self.pcr == target:
                    break
            rounds = 1 if self.count > before else min(2 * rounds, _MOST)
            self._hits += self.count - before
            cold(target, rounds)
            if self.count > MAX_ENTRIES:
                raise malformed('too many entries', self.at)
        memo.settle(self._key, self._memo, self._hits,
                    self.count - self._hits)
        return self.pcr == target

    def _warm_binary(self, target: bytes) -> None:
        """Entries that were seen before."""
        if not self._skip:
            return
        log, at, pcr, count = self.log, self.at, self.pcr, 0
        known, sha, u32 = self._memo.entries.get, self._bank, _U32
        skip = self._skip
        size_at = skip - 4
        last = len(log) - skip
        while at <= last and pcr != target:
            end = at + skip + u32(log, at + size_at)[0]
            extension = known(log[at:end])
            if extension is None:
                break
            pcr = sha(pcr + extension).digest()
            at = end
            count += 1
        # Known bytes say where they end, also if read in another shape.
        self.at, self.pcr = min(at, len(log)), pcr
        self.count += count

    def _warm_ascii(self, target: bytes) -> None:
        log, at, pcr, count = self.log, self.at, self.pcr, 0
        known, sha, find = self._memo.entries.get, self._bank, log.find
        while pcr != target:
            end = find(b'\n', at)
            extension = known(log[at:end])
            if extension is None or end < 0:
                break
            pcr = sha(pcr + extension).digest()
            at = end + 1
            count += 1
        self.at, self.pcr = at, pcr
        self.count += count

    def _lookups(self) -> tuple[Any, Any]:
        """Digests and paths that all rules admit, for the short way."""
        if not self.rules:
            return _Any(), {}
        if len(self.rules) == 1:
            return self.rules[0].digests, self.rules[0].paths
        return _Every(self.rules), {}

    def _cold_binary(self, target: bytes, rounds: int) -> None:
        """Entries read in full, at most ``rounds`` of them."""
        log, at, pcr, count = self.log, self.at, self.pcr, 0
        length, u32 = len(log), _U32
        stated_hash, bank, reuse = self._stated, self._bank, self._reuse
        wanted, paths = self._lookups()
        index, kept, taken = self.settings.pcr, self._memo.entries, 0
        room, overhead = not self._memo.full, memo.OVERHEAD
        keep_most = memo.MAX_ENTRY
        find_path = paths.get
        shape = self._shape
        while count < rounds and at < length and pcr != target:
            count += 1
            if shape is not None:
                unpack, tag, skip, cut, third = shape
                try:
                    in_pcr, stated, named, size = unpack(log, at)
                    start = at + skip
                    end = start + size
                    data = log[start:end]
                    stop = cut + 4 + u32(data, cut)[0]
                    digest = data[:cut]
                    if (named == tag and in_pcr == index and end <= length
                            and (digest in wanted or digest in find_path(
                                data[cut + 4:stop - 1], ()))
                            and (stop == size or third and size
                                 == stop + 4 + u32(data, stop)[0])
                            and data.find(0, cut + 4) == stop - 1
                            and stop - cut not in (19, 24)
                            and stated_hash(data).digest() == stated):
                        extension = (bank(data).digest() if reuse is None
                                     else stated + reuse)
                        pcr = bank(pcr + extension).digest()
                        if room and size < keep_most:
                            kept[log[at:end]] = extension
                            taken += size + overhead
                        at = end
                        continue
                except struct.error:
                    pass
            at, pcr = self._slow(at, pcr, self.count + count)
            shape = self._shape
        self.at, self.pcr = at, pcr
        self._memo.taken += taken
        self.count += count

    def _cold_ascii(self, target: bytes, rounds: int) -> None:
        at, pcr, count = self.at, self.pcr, 0
        while count < rounds and at < len(self.log) and pcr != target:
            count += 1
            at, pcr = self._slow(at, pcr, self.count + count)
        self.at, self.pcr = at, pcr
        self.count += count

    def _slow(self, at: int, pcr: bytes, number: int) -> tuple[int, bytes]:
        """Any entry: the offset behind it, and the PCR then."""
        self.reading = at
        record = self._read(self.log, at, self.settings.template_hash)
        if record.pcr != self.settings.pcr:
            raise malformed(
                f'an entry for PCR {record.pcr} in a list of PCR '
                f'{self.settings.pcr}', at)
        violation = record.violation
        if not violation and self._stated(
                record.hashed).digest() != record.stated:
            raise errors.EvidenceError(
                _R.IMA_TEMPLATE_HASH, 'An entry of the IMA measurement list '
                f'does not match its hash (offset {at}).',
                place=f'offset {at}')
        entry = entry_of(record, at)
        extension = self._extension(record, violation)
        clean = self._judge(entry, number) and not violation
        if clean and entry.path not in BOOT_AGGREGATES:
            self._keep(self.log[at:record.end], extension)
            self._learn(record)
        return record.end, self._bank(pcr + extension).digest()

    def _extension(self, record: Record, violation: bool) -> bytes:
        if violation:
            self.violations = True
            return self._violated
        if self.settings.extension != state.OWN:
            return self._sha1(record.hashed).digest() + self._padding
        digest: bytes = self._bank(record.hashed).digest()
        return digest

    def _judge(self, entry: Entry, number: int) -> bool:
        """Whether all rules admit an entry; count why not."""
        if entry.path in BOOT_AGGREGATES or self.first:
            self._aggregate(entry)
            entry = entry._replace(path=BOOT_AGGREGATE)
        clean = True
        for rules, counter in zip(self.rules, self.counters, strict=True):
            finding = rules.check(entry)
            if finding is not None:
                counter.add(finding)
                clean = False
        return clean

    def _aggregate(self, entry: Entry) -> None:
        named = entry.path in BOOT_AGGREGATES or (
            not entry.path and self.first)
        self.first = False
        if not named or entry.violation:
            raise errors.EvidenceError(
                _R.IMA_BOOT_AGGREGATE, 'The IMA measurement list does not '
                'begin with a boot aggregate.', place='offset 0')
        if entry.digest not in self.aggregates:
            self.aggregates.append(entry.digest)
        if len(self.aggregates) > state.MAX_AGGREGATES:
            raise errors.EvidenceError(
                _R.IMA_BOOT_AGGREGATE, 'The IMA measurement list holds more '
                f'than {state.MAX_AGGREGATES} different boot aggregates.')

    def _keep(self, raw: bytes, extension: bytes) -> None:
        if self.settings.form == records.ASCII:
            raw = raw[:-1]
        if len(raw) <= memo.MAX_ENTRY and not self._memo.full:
            self._memo.entries[raw] = extension
            self._memo.taken += len(raw) + memo.OVERHEAD

    def _learn(self, record: Record) -> None:
        """Take the short way for entries like this one from here on."""
        template = record.template
        if self._shape is None and not template.legacy:
            self._skip = (12 + len(record.stated) + len(template.name))
        if template.fields[:2] != ('d-ng', 'n-ng') or (
                template.fields[2:] not in ((), ('sig',))) or (
                self.settings.extension != state.OWN
                and self.settings.template_hash != 'sha1'):
            return
        cut = 4 + len(record.values[0])
        shape = self._shapes.get((template.name, cut))
        if shape is None:
            tag = struct.pack('<I', len(template.name)) + (
                template.name.encode())
            size = HASHES[self.settings.template_hash]
            unpack = struct.Struct(f'<I{size}s{len(tag)}sI')
            shape = self._shapes[template.name, cut] = _Shape(
                unpack.unpack_from, tag, unpack.size, cut,
                len(template.fields) == 3)
        self._shape = shape
        self._skip = shape.skip


class _Every:
    """The digests that each of several rules admits anywhere."""

    def __init__(self, rules: Sequence[Rules]) -> None:
        self._digests = [item.digests for item in rules]

    def __contains__(self, key: bytes) -> bool:
        return all(key in item for item in self._digests)


def entry_of(record: Record, at: int) -> Entry:
    """The measurement in a record; a buffer has the digest it states."""
    try:
        entry = templates.entry(record.template, record.values,
                                record.violation)
    except Malformed as exc:
        raise malformed(str(exc), at) from None
    if entry.buffer and not entry.violation:
        name, _, text = entry.digest.rpartition(':')
        digest = digests.compute(name, entry.buffer)
        if digest is None or digest.hex() != text:
            raise malformed('a buffer does not have the stated digest', at)
    return entry
