# SPDX-License-Identifier: Apache-2.0
"""The report of tools/bench fleet, held against what is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from korora_tools import ui

Json = dict[str, Any]

#: What the acceptance of this project asks for.
MAX_RATIO = 0.5
MAX_RATIO_NONE = 1.0
MAX_DEAD_MS = 50.0
MAX_VERIFY_MS = 300.0
MIN_PER_CORE = 200.0
MAX_STATEMENTS = 6
MAX_TRANSACTIONS = 2
MAX_HANDOVER_MS = 60.0
MIN_CEILING = 2000.0
#: By how much the cost of an attestation may differ between sizes.
MAX_GROWTH = 0.1


def conclude(report: Json) -> int:
    """Print the figures as a person reads them; 0 if all is as it should."""
    for key, value in _flat(report):
        ui.note(f'{key:34} {value}')
    missed = list(_missed(report))
    for line in missed:
        ui.note(f'MISSED: {line}')
    return 1 if missed else 0


def _flat(report: Json) -> Iterator[tuple[str, object]]:
    for key, value in report.items():
        if isinstance(value, dict):
            yield from (
                (f'{key}.{one}', found) for one, found in value.items()
            )
        else:
            yield key, value


def _missed(report: Json) -> Iterator[str]:
    if 'filter' in report:
        yield from _missed_by_scheduler(report)
    if 'growth' in report:
        yield from _missed_by_service(report)


def _missed_by_scheduler(report: Json) -> Iterator[str]:
    found, refresh = report['filter'], report['refresh']
    yield from _above(
        found,
        ratio_all_affirming=MAX_RATIO,
        ratio_1pct=MAX_RATIO,
        ratio_none=MAX_RATIO_NONE,
        request_ms_service_dead=MAX_DEAD_MS,
        cold_ms=report['budget_ms'],
    )
    for key in ('passed_cold', 'passed_after_idle', 'passed_service_hanging'):
        if found[key] != report['hosts']:
            yield f'{key} {found[key]} of {report["hosts"]}'
    yield from _above(refresh, verify_ms_10000=MAX_VERIFY_MS)


def _missed_by_service(report: Json) -> Iterator[str]:
    yield from _above(
        report,
        statements=MAX_STATEMENTS,
        transactions=MAX_TRANSACTIONS,
        handover_service_ms=MAX_HANDOVER_MS,
    )
    for key, least in (
        ('attestations_per_s_core', MIN_PER_CORE),
        ('ceiling_rtt_1ms_per_s', MIN_CEILING),
    ):
        if report[key] < least:
            yield f'{key} {report[key]} < {least}'
    rates = report['growth'].values()
    if max(rates) > min(rates) * (1 + MAX_GROWTH):
        yield f'growth {report["growth"]}'
    yield from _above(report['reference_change'], lists_resent=0)


def _above(found: Json, **most: float) -> Iterator[str]:
    for key, value in most.items():
        if found[key] > value:
            yield f'{key} {found[key]} > {value}'
