# SPDX-License-Identifier: Apache-2.0
"""What systemd extends after the firmware's log has ended.

Its measurements are in a log of its own, ``/run/log/systemd/tpm2-measure.log``
(systemd-pcrphase.service(8)): a JSON text sequence (RFC 7464) of records like
those of the TCG's Canonical Event Log without their numbers::

    {"pcr": 11, "digests": [{"hashAlg": "sha256", "digest": HEX}],
     "content_type": "systemd",
     "content": {"string": "ready", "bootId": ..., "eventType": "phase"}}

As events of this log they are no more trusted than the others: a host could
move any of them from one log to the other. So they take the same way through
this package, and are listed like them. Only words that systemd measures on
every host, known by their digests, say nothing.

Without the log, these words alone still explain a register.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from korora_nova.rats.eventlog import check, types
from korora_nova.rats.eventlog.formats import Event

#: Most of the log that is read: bytes, records. A boot has some dozens.
MAX_BYTES = 1 << 20
MAX_RECORDS = 8192

#: PCRs that systemd extends with what differs between hosts or boots
#: (systemd, docs/TPM2_PCR_MEASUREMENTS.md): 9 with the names of NV indices
#: from release 259 on, 11 with phases of the boot, 15 with the machine ID,
#: file systems and volume keys.
PCRS = frozenset((9, 11, 15))

_PHASES = (b'enter-initrd', b'leave-initrd', b'sysinit', b'ready')
_PHASES_OF_SHUTDOWN = (b'shutdown', b'final')
_OS = (b'os-separator',)
_NV = (b'nvpcr-separator',)
#: Registers to what may follow their log, in order, up to any of the words.
_WORDS: Mapping[int, tuple[tuple[bytes, ...], ...]] = {
    **dict.fromkeys((*range(8), 12, 13, 14), (_OS,)),
    9: (_NV + _OS, _OS + _NV),
    # Without an initrd the boot begins with the third.
    11: (_PHASES + _PHASES_OF_SHUTDOWN, _PHASES[2:] + _PHASES_OF_SHUTDOWN),
}

Digest = Callable[[bytes], 'hashlib._Hash']


@dataclasses.dataclass(frozen=True)
class Record:
    """One measurement of systemd's log, unverified.

    :param text: what it says was measured, '' if it does not.
    """

    pcr: int
    digests: Mapping[str, bytes]
    text: str

    def event(self, index: int) -> Event:
        """As an event that follows the firmware's."""
        return Event(
            index,
            self.pcr,
            types.USER_SPACE,
            self.digests,
            self.text.encode(errors='replace'),
            0,
        )


def parse(log: bytes) -> tuple[Record, ...]:
    """Read systemd's log, up to what is no record.

    The last one may be half written. What is not read explains nothing.
    """
    return tuple(_records(log[:MAX_BYTES]))


def _records(log: bytes) -> Iterator[Record]:
    first, *texts = log.split(b'\x1e')
    if first.strip():
        return
    for text in texts[:MAX_RECORDS]:
        try:
            document = json.loads(text)
            # NvPCRs are NV indices, and have none.
            if document.get('pcr') is not None:
                yield _record(document)
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        except RecursionError:
            return


def _record(document: Any) -> Record:
    """:raises ValueError, KeyError, TypeError, AttributeError: no record."""
    pcr = document['pcr']
    if type(pcr) is not int or not 0 <= pcr <= 23:
        raise ValueError
    digests = {
        item['hashAlg']: bytes.fromhex(item['digest'])
        for item in document['digests']
        if item['hashAlg'] in types.HASHES
    }
    for bank, digest in digests.items():
        if len(digest) != hashlib.new(types.HASHES[bank]).digest_size:
            raise ValueError
    text = document.get('content', {}).get('string', '')
    if not isinstance(text, str):
        raise TypeError
    return Record(pcr, digests, text)


def explain(
    index: int,
    logged: bytes,
    quoted: bytes,
    records: Sequence[Record],
    bank: str,
    digest: Digest,
) -> int | None:
    """How a register went on from its value in the firmware's log.

    :param logged: what the firmware's log makes of it.
    :param records: of this register.
    :param digest: the algorithm of the bank.
    :returns: how many of the records; None: they do not lead to ``quoted``,
        nor do words that are known.
    """
    value = logged
    for count, record in enumerate(records, 1):
        if bank not in record.digests:
            break
        value = digest(value + record.digests[bank]).digest()
        if value == quoted:
            return count
    for words in _WORDS.get(index, ()):
        value = logged
        for word in words:
            value = digest(value + digest(word).digest()).digest()
            if value == quoted:
                return 0
    return None


def silent(event: Event, bank: str) -> bool:
    """Whether an event of systemd's log is the same on every host."""
    return event.type == types.USER_SPACE and event.digests[
        bank
    ] in check.words(bank)
