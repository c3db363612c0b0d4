# SPDX-License-Identifier: Apache-2.0
"""Blocks of contenders, and the figures that come of them."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from korora_tools.bench.spanlog import Cost

Json = dict[str, Any]

STOCK, STOCK_TLS, KORORA = 'stock', 'stock with TLS', 'Kororā'
#: Kororā with a sleep of so many milliseconds before what it measures.
LONG_SLEEP, SHORT_SLEEP = 'Kororā + 1 s', 'Kororā + 50 ms'
SLEEPS = {LONG_SLEEP: 1000.0, SHORT_SLEEP: 50.0}
#: The first ones after a start, which count nowhere.
DROPPED = 2
#: Measured in a block. With those that are dropped an even number: each block
#: ends where it began.
BLOCK = 6


@dataclasses.dataclass(frozen=True)
class Sample:
    """One operation.

    :param cost: what its spans say; None for stock.
    """

    total_s: float
    downtime_ms: float = 0.0
    cost: Cost | None = None


def blocks(pairs: int, tls: bool = True) -> list[str]:
    """Who has which block: ABBA as often as it needs, then the sleeps.

    :param tls: whether stock with TLS takes part, in each half once.
    """
    rounds = math.ceil(pairs / (2 * BLOCK))
    aside = [STOCK_TLS] if tls else []
    half = [STOCK, *aside, KORORA]
    return (half + half[::-1]) * rounds + [LONG_SLEEP, SHORT_SLEEP]


Samples = Mapping[str, Sequence[Sample]]


def report(samples: Samples, phases: Sequence[str]) -> Json:
    """The figures.

    :param phases: names of spans in the serial path.
    """
    totals = {
        arm: statistics.median(one.total_s for one in taken)
        for arm, taken in samples.items()
    }
    costs = [one.cost for one in samples[KORORA] if one.cost is not None]
    serial = [one.serial_ms for one in costs]
    return {
        'pairs': min(len(samples[STOCK]), len(samples[KORORA])),
        'stock_total_s': round(totals[STOCK], 3),
        **(
            {'stock_tls_total_s': round(totals[STOCK_TLS], 3)}
            if STOCK_TLS in samples
            else {}
        ),
        'korora_total_s': round(totals[KORORA], 3),
        'ratio_total': round(totals[KORORA] / totals[STOCK], 3),
        'injected_ms': SLEEPS[LONG_SLEEP],
        'recovered_ms': round((totals[LONG_SLEEP] - totals[KORORA]) * 1000, 1),
        'spans_ms_p50': {
            phase: _median(one.ms[phase] for one in costs) for phase in phases
        },
        'added_serial_ms_p50': _median(serial),
        'added_serial_ms_p95': round(quantile(serial, 0.95), 1),
        'counts': {
            kind: int(
                statistics.median(one.counts.get(kind, 0) for one in costs)
            )
            for kind in ('http', 'rpc', 'tpm', 'sql', 'agent')
        },
        'cpu_ms_p50': _median(one.cpu_ms for one in costs),
        'spans_injected_ms': SLEEPS[SHORT_SLEEP],
        'spans_recovered_ms': round(
            statistics.median(
                one.cost.serial_ms
                for one in samples[SHORT_SLEEP]
                if one.cost is not None
            )
            - statistics.median(serial),
            1,
        ),
        'ratio_of': f'{KORORA} to {STOCK}, which is without TLS',
        'samples_s': {
            arm: [round(one.total_s, 3) for one in taken]
            for arm, taken in samples.items()
        },
    }


def downtimes(samples: Samples) -> Json:
    """Medians, milliseconds."""
    return {
        f'{key}_downtime_ms': _median(one.downtime_ms for one in samples[arm])
        for key, arm in (
            ('stock', STOCK),
            ('stock_tls', STOCK_TLS),
            ('korora', KORORA),
        )
    }


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that so large a part of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def _median(values: Any) -> float:
    return round(statistics.median(values), 1)
