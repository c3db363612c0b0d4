# SPDX-License-Identifier: Apache-2.0
"""A whole list as objects, for people and tests.

:func:`korora_nova.rats.ima.measure` is the way to appraise one: it needs no
object per entry, and its result is verified.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping

from korora_nova import errors
from korora_nova.rats.ima import aggregate, records, state
from korora_nova.rats.ima.records import HASHES, IMA_PCR, malformed
from korora_nova.rats.ima.replay import entry_of
from korora_nova.rats.ima.rules import BOOT_AGGREGATES
from korora_nova.rats.ima.templates import Entry

#: Cap against absurd lists.
MAX_ENTRIES = 500_000

_R = errors.Reason


@dataclasses.dataclass(frozen=True)
class ImaLog:
    """A parsed list whose entries match their own hashes, unverified.

    :param hashed: what each entry's hash is over, None of a violation.
    """

    entries: tuple[Entry, ...]
    hashed: tuple[bytes | None, ...]

    def verify(self, pcrs: Mapping[int, bytes], bank: str = 'sha256', *,
               banks: Mapping[str, Mapping[int, bytes]] | None = None
               ) -> tuple[Entry, ...]:
        """Replay against quoted PCRs; return the entries PCR 10 covers.

        IMA measures on between the quote and the reading of the list, so
        the list may go on behind the quoted state: that tail is left out.

        :param banks: other quoted banks; a SHA-1 boot aggregate needs
            theirs.
        :raises EvidenceError: IMA_LOG_REPLAY, IMA_BOOT_AGGREGATE.
        """
        covered = self._covered(pcrs.get(IMA_PCR, b''), bank)
        if covered is None:
            raise errors.EvidenceError(_R.IMA_LOG_REPLAY)
        entries = self.entries[:covered]
        # A template without a name leaves the first entry without one.
        if not entries or entries[0].path and (
                entries[0].path not in BOOT_AGGREGATES):
            raise errors.EvidenceError(_R.IMA_BOOT_AGGREGATE)
        aggregate.check([entries[0].digest, *(
            entry.digest for entry in entries[1:]
            if entry.path in BOOT_AGGREGATES)], {**(banks or {}), bank: pcrs})
        return entries

    def _covered(self, target: bytes, bank: str) -> int | None:
        size = HASHES.get(bank)
        if size is None or len(target) != size:
            return None
        for extension in state.extensions(bank):
            count = self._count(target, bank, extension)
            if count is not None:
                return count
        return None

    def _count(self, target: bytes, bank: str, extension: str
               ) -> int | None:
        extend = getattr(hashlib, bank)
        in_list = extend if extension == state.OWN else hashlib.sha1
        size, digest_size = HASHES[bank], in_list().digest_size
        violated = b'\xff' * (digest_size if extension == state.PADDED
                              else size)
        pcr = bytes(size)
        if pcr == target:
            return 0
        for count, data in enumerate(self.hashed, 1):
            value = violated if data is None else in_list(data).digest()
            pcr = extend(pcr + value.ljust(size, b'\0')).digest()
            if pcr == target:
                return count
        return None


def parse(log: bytes, *, form: str | None = None,
          template_hash: str | None = None) -> ImaLog:
    """Parse a list and rehash every entry's template data.

    :param form: as in :class:`State`, None: detected; so is
        ``template_hash``, the hash in the list, e.g. 'sha1'.
    :raises EvidenceError: IMA_LOG_MALFORMED, place gives the offset;
        IMA_TEMPLATE, IMA_TEMPLATE_HASH.
    """
    if not log:
        return ImaLog((), ())
    form = form or records.detect_form(log)
    template_hash = template_hash or records.detect_hash(log, form)
    read = records.READERS[form]
    entries: list[Entry] = []
    hashed: list[bytes | None] = []
    at = 0
    while at < len(log):
        record = read(log, at, template_hash)
        if record.pcr != IMA_PCR:
            raise malformed(f'an entry for PCR {record.pcr}', at)
        if not record.violation:
            records.check_hash(record, at)
        entries.append(entry_of(record, at))
        hashed.append(None if record.violation else record.hashed)
        at = record.end
        if len(entries) > MAX_ENTRIES:
            raise malformed('too many entries', at)
    return ImaLog(tuple(entries), tuple(hashed))
