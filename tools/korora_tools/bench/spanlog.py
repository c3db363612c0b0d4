# SPDX-License-Identifier: Apache-2.0
"""What spans in the logs of a lab say of one operation."""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
import re
from collections.abc import Collection, Iterable
from typing import Any

Json = dict[str, Any]

_LINE = re.compile(r'korora_nova\.spans .*?\bspan (\{.*\})$')
#: Process whose spans are in the serial path of what Nova does.
SERIAL = 'nova-compute'


@dataclasses.dataclass(frozen=True)
class Cost:
    """What was added to one operation.

    :param ms: wall time by name of a span in the serial path.
    :param cpu_ms: CPU time of all processes.
    :param counts: of all processes.
    """

    ms: dict[str, float]
    cpu_ms: float
    counts: dict[str, int]

    @property
    def serial_ms(self) -> float:
        return sum(self.ms.values())


def parse(text: str) -> list[Json]:
    """The spans in the lines of a log."""
    found = (_LINE.search(line) for line in text.splitlines())
    return [json.loads(match[1]) for match in found if match]


class Logs:
    """The logs of all processes, from a moment on."""

    def __init__(self, files: Iterable[pathlib.Path]) -> None:
        self._marks = {
            file: file.stat().st_size if file.exists() else 0 for file in files
        }

    def spans(self) -> list[Json]:
        """Those that have ended since."""
        found: list[Json] = []
        for file, mark in self._marks.items():
            if file.exists():
                with file.open('rb') as log:
                    log.seek(mark)
                    found += parse(log.read().decode(errors='replace'))
        return found


def cost(
    spans: Collection[Json], instance: str, names: Collection[str]
) -> Cost:
    """What an operation with a server cost.

    A trace belongs to it if nova-compute has a span of these names in it;
    what settles a hand-over later says itself whose it is.

    :param names: of spans in the serial path.
    """
    serial = [
        span
        for span in spans
        if span['process'] == SERIAL
        and span['root']
        and span['span'] in names
        and span.get('instance') == instance
    ]
    traces = {span['trace'] for span in serial}
    firsts = [
        span
        for span in spans
        if span['root']
        and (
            span['trace'] in traces
            or (span['span'] == 'settle' and span.get('instance') == instance)
        )
    ]
    traces |= {span['trace'] for span in firsts}
    # What a settling asked of the service
    firsts += [
        span
        for span in spans
        if span['root'] and span['trace'] in traces and span not in firsts
    ]
    ms: dict[str, float] = dict.fromkeys(names, 0.0)
    for span in serial:
        ms[span['span']] += span['wall_ms']
    counts: collections.Counter[str] = collections.Counter()
    for span in firsts:
        counts.update(span['counts'])
    return Cost(ms, sum(span['cpu_ms'] for span in firsts), dict(counts))
