# SPDX-License-Identifier: Apache-2.0
"""Long lists: hosts that have run for months, and kernels that trim them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

from korora_nova import errors
from korora_nova.rats import appraise, evidence, ima, policy
from korora_nova.rats.ima import memo
from tests.field import Case
from tests.support import simulator
from tests.support.busy import CHALLENGE, judge

#: In the place of 226,164 entries, which are 32 MiB.
ENTRIES = 20_000
PART = 64 << 10
TRIM = (
    'http://kernsec.org/pipermail/linux-security-module-archive/'
    '2025-December/053968.html'
)
STAGE = 'https://lkml.iu.edu/2606.1/01782.html'
KEYLIME = 'https://github.com/keylime/keylime/'
KNOWN = hashlib.sha256(b'/usr/bin/swtpm').digest()


def same(want: object, got: object) -> None:
    assert want == got, f'want {want}, got {got}'


class Host(simulator.SimHost):
    """A host whose files all have a digest that is known.

    :ivar ends: offsets after its entries.
    """

    def __init__(self, count: int = 0) -> None:
        super().__init__()
        self.number = 0
        self.ends = [len(self.ima_log)]
        self.run(count)

    def run(self, count: int) -> None:
        """It measures files."""
        entries, end = [self.ima_log], len(self.ima_log)
        for _ in range(count):
            path = f'/var/lib/containers/{self.number}'
            entry, extension = simulator.ima_entry(path, KNOWN)
            self.tpm.extend(10, extension)
            entries.append(entry)
            end += len(entry)
            self.ends.append(end)
            self.number += 1
        self.ima_log = b''.join(entries)

    def proof(self, start: int, offset: int) -> evidence.Evidence:
        """Evidence with the list from ``start`` on."""
        made = self.attest(CHALLENGE)
        return dataclasses.replace(
            made, ima_log=self.ima_log[start:], ima_offset=offset
        )

    def parts(self, end: int) -> Any:
        """What came of it before, as the service keeps it."""

        def parts(start: int) -> Iterator[bytes]:
            for at in range(start, end, PART):
                yield self.ima_log[at : min(at + PART, end)]

        return parts

    def judged(self, start: int, offset: int, **known: Any) -> Any:
        return judge(
            self,
            self.proof(start, offset),
            policies=[files(self, KNOWN.hex())],
            known=appraise.Known(**known),
        )

    def seen(self, end: int, state: ima.State | None) -> Any:
        """The service has this boot's list up to an end."""
        tail = self.ima_log[max(0, end - ima.TAIL) : end]
        parts = self.parts(end)
        return lambda boot: (
            appraise.Seen(end, state, tail, parts)
            if boot == self.tpm.reset_count
            else None
        )


@functools.cache
def _document(digests: tuple[str, ...], pcr: str) -> policy.Policy:
    generation = {'name': 'one', 'values': {'4': pcr}}
    return policy.load(
        {
            'version': 1,
            'name': 'files',
            'rules': [
                {'pcrs': {'registers': [4], 'generations': [generation]}},
                {
                    'ima': {
                        'digests': [f'sha256:{one}' for one in digests],
                        'exclude': ['/usr/bin/*'],
                    }
                },
            ],
        }
    )


def files(host: Host, *digests: str) -> policy.BoundPolicy:
    return _document(digests, host.tpm.pcrs[4].hex()).bind(())


def _in_parts() -> None:
    host = Host(ENTRIES)
    end = len(host.ima_log) // PART * PART
    files(host, KNOWN.hex())
    tracemalloc.start()
    try:
        # What hosts share has a bound of its own.
        with mock.patch.object(memo, 'MAX_BYTES', 0):
            found = host.judged(end, end, parts=host.parts(end))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    same('affirming', found.tier)
    same(len(host.ima_log), found.measured.state.bytes)
    assert peak < len(host.ima_log) // 3, peak


def _new_rules() -> None:
    """``reference create``: the host sends what is new, as always."""
    host = Host(200)
    first = host.judged(0, 0)
    end = len(host.ima_log)
    host.run(3)
    found = judge(
        host,
        host.proof(end, end),
        policies=[files(host, KNOWN.hex(), 'ab' * 32)],
        known=appraise.Known(first.measured.state, host.parts(end)),
    )
    same(('affirming', ()), (found.tier, found.reason_ids))
    found = judge(
        host,
        host.proof(end, end),
        policies=[files(host, 'ab' * 32)],
        known=appraise.Known(first.measured.state, host.parts(end)),
    )
    # What is not admitted any more is found, though it did not come again.
    same(('IMA_UNKNOWN_FILE',), found.reason_ids)
    (others,) = (one for one in found.reasons if 'more' in one.details)
    same(203, int(others.details['more']) + len(found.reasons) - 1)


def _part_is_changed() -> None:
    host = Host(2000)
    end = len(host.ima_log) // PART * PART
    right = host.parts(end)

    def wrong(start: int) -> Iterable[bytes]:
        for part in right(start):
            yield part.replace(b'containers/700', b'containers/x00')

    try:
        found = host.judged(end, end, parts=wrong)
    except errors.Conflict as exc:
        same('IMA_CONTINUITY', exc.reason)
    else:
        same('contraindicated', found.tier)


def _trimmed(keep: int, new: int = 5) -> None:
    """After a restart the agent has no more than what is left."""
    host = Host(300)
    seen = len(host.ima_log)
    state = host.judged(0, 0).measured.state
    host.run(new)
    dropped = host.ends[-1 - new - keep]
    for known in (state, None):
        found = host.judged(dropped, 0, seen=host.seen(seen, known))
        same(('affirming', ()), (found.tier, found.reason_ids))
        same(len(host.ima_log), found.measured.state.bytes)
        same(dropped, found.listed.dropped)


def _trimmed_at_the_end() -> None:
    _trimmed(0)
    _trimmed(0, 0)


def _trimmed_before() -> None:
    for keep in (1, 7, 200):
        _trimmed(keep)


def _trimmed_and_new_rules() -> None:
    host = Host(300)
    seen = len(host.ima_log)
    state = host.judged(0, 0).measured.state
    host.run(2)
    found = judge(
        host,
        host.proof(seen, 0),
        policies=[files(host, 'ab' * 32)],
        known=appraise.Known(seen=host.seen(seen, state)),
    )
    same(('IMA_UNKNOWN_FILE',), found.reason_ids)


def _before_enrolment() -> None:
    host = Host(50)
    found = host.judged(host.ends[20], 0)
    same(('IMA_LOG_TRIMMED',), found.reason_ids)
    assert 'reboot' in found.reasons[0].message


def _more_than_attested() -> None:
    host = Host(50)
    seen = len(host.ima_log)
    state = host.judged(0, 0).measured.state
    host.run(5)
    found = host.judged(host.ends[-3], 0, seen=host.seen(seen, state))
    same(('IMA_LOG_TRIMMED',), found.reason_ids)


def _another_boot() -> None:
    host = Host(50)
    seen = len(host.ima_log)
    known = host.seen(seen, host.judged(0, 0).measured.state)
    host.reboot()
    host.ends = [len(host.ima_log)]
    host.run(5)
    found = host.judged(host.ends[2], 0, seen=known)
    same(('IMA_LOG_TRIMMED',), found.reason_ids)


def _left_out() -> None:
    """A liar calls it trimmed, and leaves out what it ran."""
    host = Host(50)
    seen = len(host.ima_log)
    state = host.judged(0, 0).measured.state
    host.measure('/tmp/rootkit')
    start = len(host.ima_log)
    host.run(3)
    found = host.judged(start, 0, seen=host.seen(seen, state))
    same(('IMA_LOG_TRIMMED',), found.reason_ids)
    found = host.judged(seen, 0, seen=host.seen(seen, state))
    same(('IMA_UNKNOWN_FILE',), found.reason_ids)


def _case(number: int, source: str, what: str, check: Any) -> Case:
    return Case(f'2-{number}', 2, source, what, check)


CASES = (
    _case(
        1,
        'https://www.mail-archive.com/linux-integrity@vger.kernel.org/'
        'msg05025.html',
        'a list that no request can hold comes in parts',
        _in_parts,
    ),
    _case(
        2,
        f'{KEYLIME}pull/676',
        'rules change while a host goes on with what is new',
        _new_rules,
    ),
    _case(
        3, f'{KEYLIME}pull/676', 'and a part is not what was', _part_is_changed
    ),
    _case(
        4,
        TRIM,
        'a tool trims what was attested, and the agent starts anew',
        _trimmed_at_the_end,
    ),
    _case(5, TRIM, 'and it keeps the last entries', _trimmed_before),
    _case(6, TRIM, 'and the rules are new', _trimmed_and_new_rules),
    _case(
        7, STAGE, 'entries are staged before the enrolment', _before_enrolment
    ),
    _case(8, STAGE, 'more is staged than was attested', _more_than_attested),
    _case(9, STAGE, 'it was seen in another boot', _another_boot),
    _case(10, TRIM, 'what ran is said to be trimmed', _left_out),
)
