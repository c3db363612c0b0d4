# SPDX-License-Identifier: Apache-2.0
"""Every case of tests/vectors/cases, each a test of its own.

tests/vectors/README.md says what a case can hold.
"""

from __future__ import annotations

import re
import unittest
from collections.abc import Callable
from typing import Any

import yaml

from korora_nova import errors
from tests.support import faults, vectorcalls, vectors, vectorsteps

Case = dict[str, Any]
CASES = sorted((vectors.ROOT / 'cases').glob('*.yaml'))

#: Reasons that some case must give.
ABOUT_EVIDENCE = (
    'QUOTE_',
    'UEFI_LOG_',
    'IMA_',
    'SECURE_BOOT_',
    'SIGNATURE_',
    'AUTHORITY_',
    'COMPONENT_',
    'COMMAND_LINE',
    'EVENT_',
    'TPM_FIRMWARE',
    'TPM_CLOCK_',
    'PCR_NOT_',
    'NO_REFERENCE',
    'NO_POLICY',
    'POLICY_INVALID',
    'AK_ATTRIBUTES',
    'CLOCK_',
)
#: What is not in evidence: creations of keys, and what a service has lost.
ELSEWHERE = frozenset(('QUOTE_CREATION', 'EVENT_LOG_UNKNOWN'))


def mismatch(want: Any, got: Any, path: str = '') -> str:
    """Where ``got`` is not as wanted; '' if it is.

    An object must have the keys wanted, a list exactly the items wanted.
    {has: [...]}, {lacks: [...]}, {count: n} and {match: REGEX} say less.
    """
    if isinstance(want, dict) and want and set(want) <= set(_LOOSE):
        for key, value in want.items():
            if why := _LOOSE[key](value, got, path):
                return why
        return ''
    if isinstance(want, dict) and isinstance(got, dict):
        return next(
            filter(
                None,
                (
                    mismatch(value, got.get(key), f'{path}/{key}')
                    for key, value in want.items()
                ),
            ),
            '',
        )
    if (
        isinstance(want, list)
        and isinstance(got, list)
        and (len(want) == len(got))
    ):
        return next(
            filter(
                None,
                (
                    mismatch(one, other, f'{path}/{number}')
                    for number, (one, other) in enumerate(
                        zip(want, got, strict=True)
                    )
                ),
            ),
            '',
        )
    return '' if want == got else f'{path}: want {want!r}, got {got!r}'


def _has(want: list[Any], got: Any, path: str) -> str:
    missing = [
        item for item in want if all(mismatch(item, other) for other in got)
    ]
    return f'{path}: lacks {missing}, has {got}' if missing else ''


def _lacks(want: list[Any], got: Any, path: str) -> str:
    found = [
        item
        for item in want
        if any(not mismatch(item, other) for other in got)
    ]
    return f'{path}: has {found}' if found else ''


def _count(want: int, got: Any, path: str) -> str:
    return '' if len(got) == want else f'{path}: has {len(got)}: {got}'


def _match(want: str, got: Any, path: str) -> str:
    found = isinstance(got, str) and re.search(want, got)
    return '' if found else f'{path}: want {want!r}, got {got!r}'


_LOOSE: dict[str, Callable[[Any, Any, str], str]] = {
    'has': _has,
    'lacks': _lacks,
    'count': _count,
    'match': _match,
}


class VectorsTest(unittest.TestCase):
    """Has a method for each case; see :func:`_add`."""

    maxDiff = None

    def test_every_reason_about_evidence_has_a_case(self) -> None:
        seen = ' '.join(path.read_text() for path in CASES)
        wanted = [
            reason
            for reason in errors.REASONS
            if reason.startswith(ABOUT_EVIDENCE) and reason not in ELSEWHERE
        ]
        self.assertEqual(
            [],
            [
                reason
                for reason in wanted
                if not re.search(rf'\b{reason}\b', seen)
            ],
        )

    def check(self, case: Case) -> None:
        call = vectorcalls.CALLS[case['call']]
        self.assertEqual(set(), set(case) - vectorcalls.KEYS - call.keys)
        vector = vectorsteps.change(
            vectors.load(case['vector']), case.get('change', []), call.file
        )
        expect = case['expect']
        self.assertTrue(expect, 'the case expects nothing')
        if 'reason' not in expect:
            self.assertEqual('', mismatch(expect, call.function(vector, case)))
            return
        with self.assertRaises(errors.KororaError) as caught:
            call.function(vector, case)
        got = {
            'reason': caught.exception.reason,
            'place': getattr(caught.exception, 'place', None),
            'message': caught.exception.message,
            'details': dict(caught.exception.details),
        }
        self.assertEqual('', mismatch(expect, got))


def _add(file: str, case: Case) -> None:
    name = vectors.test_name(file, case['name'])
    if hasattr(VectorsTest, name):
        raise ValueError(f'two cases are called {case["name"]}')

    def test(self: VectorsTest) -> None:
        self.check(case)

    test.__doc__ = f'{case["vector"]}: {case["name"]}'
    if 'not-yet' in case:
        test = faults.not_yet(**case['not-yet'])(test)
    setattr(VectorsTest, name, test)


def _cases() -> None:
    for path in CASES:
        document = yaml.safe_load(path.read_text())
        for case in document['cases']:
            _add(path.stem, {**document.get('defaults', {}), **case})


_cases()
