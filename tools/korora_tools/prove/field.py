# SPDX-License-Identifier: Apache-2.0
"""Hosts as they are: situations from public reports, every advice, starters.

The report says of each host where it comes from. "recorded" ones lived in
QEMU, with firmware, kernel and IMA policy of their own, and a TPM of software;
what they gave is stored, and is judged here. "built" ones were not booted, and
"how" says what they are made of. Situations that need a TPM have one of
software.
"""

from __future__ import annotations

import argparse
import collections
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from korora_tools import ui

if TYPE_CHECKING:
    from tests.field import Case

ABOUT = 'hosts as they are are affirmed, situations get the right answer'
NEEDS_SETUP = True

#: Situations, and those of each clause, that there must be.
CASES, PER_CLAUSE, CLAUSES = 25, 2, range(1, 8)

#: Hosts that there must be recordings of.
RECORDED = (
    'debian-12-grub',
    'debian-12-uki',
    'debian-13-grub',
    'debian-13-uki',
)

#: What becomes an object of the report.
Row = dict[str, Any]


def add_options(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        '--without-tpm',
        action='store_true',
        help='leave out the situations that need a TPM of software',
    )


def prove(options: argparse.Namespace) -> tuple[Any, bool]:
    started = time.monotonic()
    cases, wrong = field_cases(situations(options.without_tpm))
    rows = hosts()
    report: Row = {
        'hosts': rows,
        'field_cases': cases,
        'advice': advice(),
        'wrong': wrong,
        'not_shown': missing(options.without_tpm, cases, rows),
    }
    report['s'] = round(time.monotonic() - started, 1)
    for row in report['hosts']:
        ui.note(
            f'{row["os"]:14} {row["source"]:9} '
            f'{"affirming" if row["affirming"] else "NOT AFFIRMING"}, '
            f'{"refused" if row["tampered_refused"] else "NOT REFUSED"} '
            'when tampered with'
        )
    ui.note(
        f'situations: {cases["right"]} of {cases["n"]} right; advices: '
        f'{report["advice"]["helps"]} of {report["advice"]["reasons"]} help'
    )
    for sentence in [*wrong.values(), *report['not_shown']]:
        ui.note(f'- {sentence}')
    return report, holds(report)


def holds(report: Row) -> bool:
    """Whether all that is claimed was shown."""
    cases, advices = report['field_cases'], report['advice']
    return (
        all(
            row['affirming'] and row['tampered_refused']
            for row in report['hosts']
        )
        and cases['right'] == cases['n'] >= CASES
        and advices['helps'] == advices['tried'] == advices['reasons']
        and not report['not_shown']
    )


# -- hosts ------------------------------------------------------------------


def hosts() -> list[Row]:
    """Every host that there is, whatever its source."""
    return [row for source in SOURCES.values() for row in source()]


def _built() -> Iterable[Row]:
    from tests.field import built

    for about in built.HOSTS:
        found = built.judge(about)
        yield {
            'os': about.os,
            'source': 'built',
            'how': about.about(),
            'policy': about.policy,
            'affirming': found.affirming,
            'tampered_refused': all(found.refused.values()),
            'refused': {
                what: list(reasons) for what, reasons in found.refused.items()
            },
            'cases': found.cases,
        }


def _recorded() -> Iterable[Row]:
    """Stored recordings are judged: recording takes hours."""
    from tests.field import recorded

    for host in recorded.hosts():
        made = recorded.recording(host, 'day').about['made']
        found = recorded.judge(host)
        yield {
            'os': host,
            'source': 'recorded',
            'how': recorded.about(host),
            'command': recorded.COMMAND,
            'when': made['when'],
            'policy': recorded.starter(host),
            'affirming': not found.wrong,
            'tampered_refused': all(found.refused.values()),
            'wrong': {key: list(value) for key, value in found.wrong.items()},
            'refused': {
                what: list(reasons) for what, reasons in found.refused.items()
            },
            'cases': found.cases,
        }


#: Where hosts come from, and what judges them.
SOURCES: dict[str, Callable[[], Iterable[Row]]] = {
    'recorded': _recorded,
    'built': _built,
}


# -- situations and advices ---------------------------------------------------


def situations(without_tpm: bool) -> list[Case]:
    from tests import field

    found = field.cases()
    if not without_tpm:
        from tests.field import machines

        found += machines.CASES
    return found


def field_cases(cases: Iterable[Case]) -> tuple[Row, dict[str, str]]:
    """Counts, and a sentence for each situation that came out wrong."""
    by_clause: Row = collections.defaultdict(lambda: {'n': 0, 'right': 0})
    wrong = {}
    for case in cases:
        counts = by_clause[str(case.clause)]
        counts['n'] += 1
        try:
            case.check()
        except Exception as exc:  # noqa: BLE001 - wrong, however it is wrong
            wrong[case.id] = (
                f'{case.id}, {case.what} ({case.source}): '
                f'{type(exc).__name__}: {exc}'
            )
        else:
            counts['right'] += 1
    return {
        'n': sum(one['n'] for one in by_clause.values()),
        'right': sum(one['right'] for one in by_clause.values()),
        'clauses': dict(sorted(by_clause.items())),
    }, wrong


def advice() -> Row:
    """How many there are, were followed, and made the finding go."""
    from korora_nova.rats.policy.advice import ADVICE
    from tests.field import advice as trials

    tried = [key for key in ADVICE if key in trials.TRIALS]
    unhelpful = {}
    for key in tried:
        try:
            trials.follow(key)
        except AssertionError as exc:
            unhelpful[key] = str(exc)
    return {
        'reasons': len(ADVICE),
        'tried': len(tried),
        'helps': len(tried) - len(unhelpful),
        'unhelpful': unhelpful,
    }


def missing(without_tpm: bool, cases: Row, rows: Iterable[Row]) -> list[str]:
    """What the requirement wants and this does not show, in sentences."""
    recorded = {row['os'] for row in rows if row['source'] == 'recorded'}
    found = [
        f'No {name} was recorded.' for name in RECORDED if name not in recorded
    ]
    for clause in CLAUSES:
        counts = cases['clauses'].get(str(clause), {'n': 0})
        if counts['n'] < PER_CLAUSE:
            found.append(
                f'Clause {clause} has {counts["n"]} situations, '
                f'{PER_CLAUSE} are wanted.'
            )
    if without_tpm:
        found.append('Situations that need a TPM were left out.')
    return found
