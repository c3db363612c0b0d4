# SPDX-License-Identifier: Apache-2.0
"""Every case of tests/vectors/cases, each a test of its own.

tests/vectors/README.md says what a case can hold.
"""

from __future__ import annotations

import dataclasses
import re
import unittest
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from korora_nova import errors
from korora_nova.rats import attestation_key, eventlog, quote
from tests.unit import vectors

Case = dict[str, Any]


def plain(value: Any) -> Any:
    """Results as YAML can state them: bytes become hex digits."""
    if isinstance(value, bytes):
        return value.hex()
    if dataclasses.is_dataclass(value):
        return {item.name: plain(getattr(value, item.name))
                for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if hasattr(value, '_asdict'):
        return plain(value._asdict())
    if isinstance(value, (tuple, list, set, frozenset)):
        return [plain(item) for item in value]
    return value


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
        return next(filter(None, (
            mismatch(value, got.get(key), f'{path}/{key}')
            for key, value in want.items())), '')
    if isinstance(want, list) and isinstance(got, list) and (
            len(want) == len(got)):
        return next(filter(None, (
            mismatch(one, other, f'{path}/{number}')
            for number, (one, other) in enumerate(
                zip(want, got, strict=True)))), '')
    return '' if want == got else f'{path}: want {want!r}, got {got!r}'


def _has(want: list[Any], got: Any, path: str) -> str:
    missing = [item for item in want
               if all(mismatch(item, other) for other in got)]
    return f'{path}: lacks {missing}, has {got}' if missing else ''


def _lacks(want: list[Any], got: Any, path: str) -> str:
    found = [item for item in want
             if any(not mismatch(item, other) for other in got)]
    return f'{path}: has {found}' if found else ''


def _count(want: int, got: Any, path: str) -> str:
    return '' if len(got) == want else f'{path}: has {len(got)}: {got}'


def _match(want: str, got: Any, path: str) -> str:
    found = isinstance(got, str) and re.search(want, got)
    return '' if found else f'{path}: want {want!r}, got {got!r}'


_LOOSE: dict[str, Callable[[Any, Any, str], str]] = {
    'has': _has, 'lacks': _lacks, 'count': _count, 'match': _match}


# -- what cases call ------------------------------------------------------

def call_uefi(vector: vectors.Vector, case: Case) -> Any:
    """Parse, compare, require if told; facts of log and boot."""
    bank = case.get('bank', 'sha256')
    log = eventlog.parse(vector.files[vectors.UEFI])
    facts = {'format': log.format, 'banks': log.banks,
             'events': log.events, 'incomplete': log.incomplete,
             'locality': log.locality}
    if bank is None:
        return plain(facts)
    if case.get('verify'):
        verified = log.verify(vector.pcrs[bank], bank)
    else:
        verified = log.compare(vector.pcrs[bank], bank)
        if 'require' in case:
            verified.require(case['require'])
    boot = verified.boot
    if eventlog.BootState.from_json(boot.to_json()) != boot:
        raise AssertionError('the document of the boot differs')
    facts |= {'agrees': verified.agrees, 'differs': verified.differs}
    return plain(facts) | plain(boot)


def call_quote(vector: vectors.Vector, case: Case) -> Any:
    """Load a key, verify a quote; what it proves."""
    key = attestation_key.load(vector.files[case.get('key', 'ak.tpm2b')])
    selection = case.get('select', vector.about['selection'])
    given = {bank: {index: vector.pcrs[bank][index]
                    for index in indices if index in vector.pcrs[bank]}
             for bank, indices in case.get(
                 'give', vector.about['selection']).items()
             if bank in vector.pcrs}
    return plain(quote.verify(
        vector.files['attest'],
        vector.files[case.get('signature', 'signature')], key, vector.nonce,
        given, selection))


CALLS: dict[str, tuple[Callable[[vectors.Vector, Case], Any], str]] = {
    'uefi': (call_uefi, vectors.UEFI), 'quote': (call_quote, 'attest')}


class VectorsTest(unittest.TestCase):
    """Has a method for each case; see :func:`_add`."""

    maxDiff = None

    def check(self, case: Case) -> None:
        function, file = CALLS[case['call']]
        vector = vectors.change(vectors.load(case['vector']),
                                case.get('change', []), file)
        expect = case['expect']
        if 'reason' not in expect:
            self.assertEqual('', mismatch(expect, function(vector, case)))
            return
        with self.assertRaises(errors.KororaError) as caught:
            function(vector, case)
        got = {'reason': caught.exception.reason,
               'place': getattr(caught.exception, 'place', None),
               'message': caught.exception.message,
               'details': dict(caught.exception.details)}
        self.assertEqual('', mismatch(expect, got))


def _add(file: str, case: Case) -> None:
    slug = re.sub(r'\W+', '_', f'{file} {case["name"]}').strip('_').lower()
    name = f'test_{slug}'
    if hasattr(VectorsTest, name):
        raise ValueError(f'two cases are called {case["name"]}')

    def test(self: VectorsTest) -> None:
        self.check(case)
    test.__doc__ = f'{case["vector"]}: {case["name"]}'
    setattr(VectorsTest, name, test)


def _cases() -> None:
    for path in sorted((vectors.ROOT / 'cases').glob('*.yaml')):
        document = yaml.safe_load(path.read_text())
        for case in document['cases']:
            _add(path.stem, {**document.get('defaults', {}), **case})


_cases()
