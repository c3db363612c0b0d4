# SPDX-License-Identifier: Apache-2.0
"""Kororā: lists, whole appraisals, and what they rest on."""

from __future__ import annotations

import gc
import hashlib
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

from korora_nova.rats import appraise, eventlog, ima, policy
from korora_nova.rats.evidence import Evidence, qualify
from korora_nova.rats.quote import verify as quote
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.words import Tier
from korora_tools.bench import worker, workload
from tests.support import simulator

CHALLENGE = b'c' * 32
NEW_ENTRIES = 100
#: Hosts of which each has such news: a service is never asked by one alone.
NEWS = 9
MILLION = 1_000_000


class Host:
    """A host that booted as recorded and measured the workload's files."""

    def __init__(self, load: workload.Workload, vector: str) -> None:
        self.tpm = simulator.SimTpm()
        self.uefi_log = self.tpm.boot(vector)
        self.tpm.pcrs[10] = bytes.fromhex(load.pcr)
        self.ak = objects.parse_public(self.tpm.ak_public)

    def evidence(self, ima_log: bytes, offset: int = 0) -> Evidence:
        """Evidence for :data:`CHALLENGE` and whatever the PCRs are now."""
        qualifying = qualify(CHALLENGE, 'attest', 'h1', b'{}')
        return Evidence(
            self.tpm.quote(qualifying), self.uefi_log, ima_log, offset
        )

    def appraise(
        self,
        proof: Evidence,
        bound: policy.BoundPolicy,
        state: ima.State | None = None,
        memos: ima.Memos | None = None,
    ) -> appraise.Appraisal:
        """The whole appraisal, which must find nothing."""
        appraisal = appraise.appraise(
            proof,
            ak=self.ak,
            challenge=CHALLENGE,
            purpose='attest',
            host='h1',
            body=b'{}',
            policies=[bound],
            last_clock=None,
            known=appraise.Known(state),
            memos=memos,
        )
        assert appraisal.tier == Tier.AFFIRMING, appraisal.reasons
        return appraisal


def document(load: workload.Workload, host: Host) -> dict[str, Any]:
    """A policy: the log explains the PCRs, they are golden, files known."""
    registers = [*range(10), *range(11, 16)]
    return {
        'version': 1,
        'name': 'bench',
        'rules': [
            {'event-log': {'pcrs': registers}},
            {
                'pcrs': {
                    'registers': registers,
                    'generations': [
                        {
                            'name': 'golden',
                            'values': {
                                str(index): host.tpm.pcrs[index].hex()
                                for index in registers
                            },
                        }
                    ],
                }
            },
            {
                'ima': {
                    'files': {
                        path: [f'sha256:{digest}']
                        for path, digest in load.files.items()
                    }
                }
            },
        ],
    }


def prepare(
    directory: str, vector: str
) -> tuple[workload.Workload, Host, policy.BoundPolicy]:
    """Read the workload and compile its policy, as a service does once."""
    load = workload.read(pathlib.Path(directory))
    host = Host(load, vector)
    return load, host, policy.load(document(load, host)).bind(())


#: What is timed; it is given what is known of earlier lists.
Work = Callable[[ima.Memos], object]


def cold(
    work: Work,
    prepare: Callable[[ima.Memos], object] | None = None,
    times: int = 1,
) -> worker.Task:
    """A task for which nothing of any list was seen before.

    :param prepare: what a service does once for a policy.
    :param times: how often ``work`` does what is timed.
    """

    def run() -> dict[str, Any]:
        memos = ima.Memos()
        if prepare is not None:
            prepare(memos)
        gc.collect()
        began, used = time.perf_counter(), time.process_time()
        work(memos)
        return {
            's': (time.perf_counter() - began) / times,
            'cpu': (time.process_time() - used) / times,
        }

    return run


def again(work: Work) -> worker.Task:
    """A task for which another host of the fleet had the same list."""

    def run() -> dict[str, Any]:
        memos = ima.Memos()
        work(memos)
        gc.collect()
        return _seconds(lambda: work(memos), 1)

    return run


def main() -> None:
    load, host, bound = prepare(sys.argv[1], sys.argv[2])
    whole = host.evidence(load.binary)
    first = host.appraise(whole, bound)
    assert first.measured is not None
    state = first.measured.state
    files = bound.ima
    assert files is not None
    text = load.text.encode()
    covered = first.quote.pcrs
    log, quoted = host.uefi_log, whole.quote

    digests = ima.Rules(f'sha256:{item}' for item in load.files.values())

    def measure(log: bytes, rules: ima.Rules = files) -> Work:
        def run(memos: ima.Memos) -> None:
            measured = ima.measure(log, covered, [rules], memos=memos)
            assert measured.findings == ((),), measured.findings

        return run

    def as_text(memos: ima.Memos) -> None:
        ima.prepare(files, memos, form='ascii')

    def as_binary(memos: ima.Memos) -> None:
        ima.prepare(files, memos)

    def uefi() -> None:
        for _ in range(20):
            eventlog.parse(log).verify(covered).boot  # noqa: B018

    def verify() -> None:
        qualifying = qualify(CHALLENGE, 'attest', 'h1', b'{}')
        for _ in range(20):
            quote.verify_quote(quoted, host.ak, qualifying)

    worker.serve(
        {
            'text': cold(measure(text), as_text),
            'binary': cold(measure(load.binary), as_binary),
            'text, digests': cold(measure(text, digests)),
            'binary, digests': cold(measure(load.binary, digests)),
            'again, digests': again(measure(load.binary, digests)),
            'uefi': lambda: _seconds(uefi, 20),
            'quote': lambda: _seconds(verify, 20),
            'full': cold(
                lambda memos: host.appraise(whole, bound, memos=memos),
                as_binary,
            ),
            **_incremental(host, bound, state),
            'million': million,
        },
        state_bytes=len(str(state.to_json())),
    )


def _seconds(task: Callable[[], object], times: int) -> dict[str, Any]:
    began = time.perf_counter()
    task()
    return {'s': (time.perf_counter() - began) / times}


def _incremental(
    host: Host, bound: policy.BoundPolicy, state: ima.State
) -> dict[str, worker.Task]:
    """Tasks about hosts that have a little more to tell than before."""
    news, files = _measure_more(host, state.bytes), bound.ima
    assert files is not None

    def appraise(memos: ima.Memos | None) -> None:
        for more in news:
            host.appraise(more, bound, state, memos)

    def measure(memos: ima.Memos) -> None:
        for more in news:
            ima.measure(
                more.ima_log,
                more.quote.pcrs,
                [files],
                state=state,
                memos=memos,
            )

    def as_binary(memos: ima.Memos) -> None:
        ima.prepare(files, memos)

    return {
        'incremental': cold(appraise, as_binary, NEWS),
        'incremental, unprepared': cold(
            lambda memos: appraise(None), times=NEWS
        ),
        'incremental, list only': cold(measure, as_binary, NEWS),
    }


def _measure_more(host: Host, offset: int) -> list[Evidence]:
    """Hosts use files again in another version, all of them known.

    :param offset: of the list up to then, which they have in common.
    """
    found, before = [], host.tpm.pcrs[10]
    for first in range(1, NEWS * NEW_ENTRIES, NEW_ENTRIES):
        host.tpm.pcrs[10], suffix = before, b''
        for number in range(first, first + NEW_ENTRIES):
            path = f'/usr/lib/x86_64-linux-gnu/pkg{number}/file-{number}.so'
            digest = hashlib.sha256(path.encode()).digest()
            entry, extension = simulator.ima_entry(path, digest)
            suffix += entry
            host.tpm.extend(10, extension)
        found.append(host.evidence(suffix, offset))
    return found


def million() -> dict[str, Any]:
    """Load 1,000,000 digests; look up among them and among 1,000."""
    listed = [
        f'sha256:{hashlib.sha256(b"%d" % number).hexdigest()}'
        for number in range(MILLION)
    ]
    began = time.perf_counter()
    large = _files(listed)
    load_s = time.perf_counter() - began
    return {
        'load_s': round(load_s, 3),
        'lookup_ns': _lookup(large, listed[::1000]),
        'lookup_among_1000_ns': _lookup(
            _files(listed[::1000]), listed[::1000]
        ),
    }


def _files(listed: list[str]) -> ima.Rules:
    """Policy document to compiled rules, as a service does once."""
    bound = policy.load(
        {
            'version': 1,
            'name': 'million',
            'rules': [
                {
                    'pcrs': {
                        'registers': [4],
                        'generations': [
                            {'name': 'any', 'values': {'4': '00' * 32}}
                        ],
                    }
                },
                {'ima': {'digests': listed}},
            ],
        }
    ).bind(())
    assert bound.ima is not None
    return bound.ima


def _lookup(rules: ima.Rules, listed: list[str]) -> int:
    """Nanoseconds for one file that is known, lists read in full."""
    log = b''
    pcrs = dict.fromkeys(range(10), bytes(32))
    pcr = bytes(32)
    aggregate = hashlib.sha256(bytes(320)).digest()
    entries = [simulator.ima_entry('boot_aggregate', aggregate)]
    entries += [
        simulator.ima_entry(
            f'/file-{number}', bytes.fromhex(digest.removeprefix('sha256:'))
        )
        for number, digest in enumerate(listed)
    ]
    for entry, extension in entries:
        log += entry
        pcr = hashlib.sha256(pcr + extension).digest()
    pcrs[10] = pcr
    took = []
    for _ in range(9):
        memos = ima.Memos()
        began = time.perf_counter()
        measured = ima.measure(log, pcrs, [rules], memos=memos)
        took.append(time.perf_counter() - began)
        assert not measured.findings[0]
    return round(sorted(took)[4] / len(entries) * 1e9)


if __name__ == '__main__':
    main()
