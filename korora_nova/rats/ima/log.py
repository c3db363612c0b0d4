# SPDX-License-Identifier: Apache-2.0
"""A whole list as objects, for people and tests.

:func:`korora_nova.rats.ima.measure` is the way to appraise one: it needs no
object per entry, and its result is verified.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from korora_nova.rats.ima import records
from korora_nova.rats.ima.measure import measure
from korora_nova.rats.ima.records import malformed
from korora_nova.rats.ima.replay import MAX_ENTRIES, entry_of
from korora_nova.rats.ima.templates import Entry


@dataclasses.dataclass(frozen=True)
class ImaLog:
    """A parsed list whose entries match their own hashes, unverified."""

    entries: tuple[Entry, ...]
    _log: bytes = dataclasses.field(default=b'', repr=False, compare=False)
    _form: str | None = dataclasses.field(default=None, compare=False)
    _template_hash: str | None = dataclasses.field(default=None, compare=False)

    def verify(
        self,
        pcrs: Mapping[int, bytes],
        bank: str = 'sha256',
        *,
        banks: Mapping[str, Mapping[int, bytes]] | None = None,
    ) -> tuple[Entry, ...]:
        """Replay against quoted PCRs; return the entries PCR 10 covers.

        :raises EvidenceError: as :func:`korora_nova.rats.ima.measure`.
        """
        return tuple(
            measure(
                self._log,
                pcrs,
                (),
                bank=bank,
                banks=banks,
                form=self._form,
                template_hash=self._template_hash,
            ).files()
        )


def parse(
    log: bytes, *, form: str | None = None, template_hash: str | None = None
) -> ImaLog:
    """Parse a list and rehash every entry's template data.

    :param form: as in :class:`State`, None: detected; so is
        ``template_hash``, the hash in the list, e.g. 'sha1'.
    :raises EvidenceError: IMA_LOG_MALFORMED, place gives the offset;
        IMA_TEMPLATE, IMA_TEMPLATE_HASH.
    """
    if not log:
        return ImaLog(())
    form = form or records.detect_form(log)
    template_hash = template_hash or records.detect_hash(log, form)
    read = records.READERS[form]
    entries: list[Entry] = []
    at = 0
    while at < len(log):
        record = read(log, at, template_hash)
        records.check_pcr(record, at)
        if not record.violation:
            records.check_hash(record, at)
        entries.append(entry_of(record, at))
        at = record.end
        if len(entries) > MAX_ENTRIES:
            raise malformed('too many entries', at)
    return ImaLog(tuple(entries), log, form, template_hash)
