# SPDX-License-Identifier: Apache-2.0
"""How far a host's list was appraised, and with what result.

The next list need only hold what follows: extending the PCR value of the
state with the new entries up to the newly quoted value proves that nothing
before them has changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from korora_nova import errors
from korora_nova.rats import schemas
from korora_nova.rats.finding import MAX_LISTED, Finding
from korora_nova.rats.ima.patterns import MAX_LENGTH, MAX_PATTERNS
from korora_nova.rats.ima.records import HASHES, READERS

#: Sets of rules a state keeps results for.
MAX_RULES = 64
#: Reasons for which a measurement is refused, and their sentence for more.
MAX_REASONS = 16
#: Different boot aggregates in one list.
MAX_AGGREGATES = 8
#: How entries extend a bank: with its own hash or, before Linux 5.8, with
#: the SHA-1 template hash and zeros; violations then with ff or ff and zeros.
OWN, PADDED, PADDED_ALL = 'own', 'sha1-padded', 'sha1-padded-ff'
EXTENSIONS = (OWN, PADDED, PADDED_ALL)


def extensions(bank: str) -> tuple[str, ...]:
    """How a kernel can extend a bank, likely ones first."""
    return (OWN,) if bank == 'sha1' else EXTENSIONS


_R = errors.Reason
_COUNT: schemas.Schema = {
    'type': 'integer',
    'minimum': 0,
    'maximum': 2**53 - 1,
}
_VALUE: schemas.Schema = {
    'type': 'string',
    'maxLength': 128,
    'pattern': '^([0-9a-f]{2})+' + schemas.END,
}
_LONG: schemas.Schema = {'type': 'string', 'maxLength': 2048}
_FINDING = schemas.closed(
    {
        'reason': {'type': 'string', 'maxLength': 64},
        'message': _LONG,
        'details': {
            'type': 'object',
            'maxProperties': 16,
            'propertyNames': {'maxLength': 64},
            'additionalProperties': _LONG,
        },
    }
)
_TALLY = schemas.closed(
    {
        'counts': {
            'type': 'object',
            'maxProperties': MAX_REASONS,
            'propertyNames': {'pattern': '^[A-Z_]{1,64}' + schemas.END},
            'additionalProperties': _COUNT,
        },
        'listed': {
            'type': 'array',
            'items': _FINDING,
            'maxItems': MAX_REASONS * MAX_LISTED,
        },
        'tolerated': {
            'type': 'object',
            'maxProperties': MAX_PATTERNS,
            'propertyNames': {'maxLength': MAX_LENGTH},
            'additionalProperties': _COUNT,
        },
    },
    ('tolerated',),
)
SCHEMA = schemas.closed(
    {
        'version': schemas.VERSION,
        'entries': _COUNT,
        'bytes': _COUNT,
        'pcr': _VALUE,
        'index': {'type': 'integer', 'minimum': 0, 'maximum': 23},
        'bank': {'enum': list(HASHES)},
        'form': {'enum': list(READERS)},
        'template_hash': {'enum': list(HASHES)},
        'extension': {'enum': list(EXTENSIONS)},
        'aggregates': {
            'type': 'array',
            'maxItems': MAX_AGGREGATES,
            'items': {'type': 'string', 'maxLength': 160},
        },
        'results': {
            'type': 'object',
            'maxProperties': MAX_RULES,
            'propertyNames': {
                'pattern': '^[0-9a-f]{64}' + schemas.END,
                'maxLength': 64,
            },
            'additionalProperties': _TALLY,
        },
        'others': {
            'type': 'object',
            'maxProperties': 23,
            'propertyNames': {
                'pattern': '^([0-9]|1[0-9]|2[0-3])' + schemas.END
            },
            'additionalProperties': {
                'type': 'array',
                'items': _VALUE,
                'minItems': 2,
                'maxItems': 2,
            },
        },
    },
    ('others',),
)


@dataclasses.dataclass(frozen=True)
class Tally:
    """What one set of rules refused: counts by reason, the first of each.

    :param tolerated: violations that were admitted, by pattern.
    """

    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    listed: tuple[Finding, ...] = ()
    tolerated: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def findings(self) -> tuple[Finding, ...]:
        """Those listed, and one for the others of each reason."""
        found: list[Finding] = []
        for reason, count in self.counts.items():
            first = [item for item in self.listed if item.reason == reason]
            found += first
            if count > len(first):
                more = count - len(first)
                found.append(
                    Finding(
                        reason,
                        f'{more} more: {errors.REASONS[reason]}',
                        {'more': str(more)},
                    )
                )
        return tuple(found)


class Counter:
    """A tally under way."""

    def __init__(self, start: Tally) -> None:
        self._counts = dict(start.counts)
        self._listed = list(start.listed)
        self._tolerated = dict(start.tolerated)

    def add(self, finding: Finding) -> None:
        """Count a finding; list it if it is among the first."""
        count = self._counts.get(finding.reason, 0)
        self._counts[finding.reason] = count + 1
        if count < MAX_LISTED:
            self._listed.append(finding)

    def tolerates(self, limits: Mapping[str, int | None]) -> bool:
        """Count a violation, unless there are as many as the limits admit."""
        for text, most in limits.items():
            count = self._tolerated.get(text, 0)
            if most is None or count < most:
                self._tolerated[text] = count + 1
                return True
        return False

    def tally(self) -> Tally:
        """As it is now."""
        return Tally(self._counts, tuple(self._listed), self._tolerated)


@dataclasses.dataclass(frozen=True)
class State:
    """What was covered by the last quote; its size has a bound.

    :param entries: covered entries; ``bytes``: offset in the list after
        the last of them.
    :param pcr: value of PCR ``index`` there, hex, in ``bank``.
    :param form: 'binary', 'binary-big-endian' or 'ascii'.
    :param template_hash: algorithm of the list's template hash.
    :param extension: how the kernel extends the bank, of ``EXTENSIONS``.
    :param aggregates: the boot aggregates, "ALG:HEX".
    :param results: tallies by the fingerprints of rules.
    :param others: other registers that the list extends, by index: the value
        before that, and the one there, hex.
    """

    entries: int
    bytes: int
    pcr: str
    index: int
    bank: str
    form: str
    template_hash: str
    extension: str
    aggregates: tuple[str, ...]
    results: Mapping[str, Tally]
    others: Mapping[int, tuple[str, str]] = dataclasses.field(
        default_factory=dict
    )

    def to_json(self) -> dict[str, object]:
        """JSON object for :meth:`from_json`."""
        document = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != 'others'
        }
        if self.others:
            document['others'] = {
                str(index): list(values)
                for index, values in self.others.items()
            }
        return {
            **document,
            'version': 1,
            'aggregates': list(self.aggregates),
            'results': {
                name: _tally_to_json(tally)
                for name, tally in self.results.items()
            },
        }

    @classmethod
    def from_json(cls, document: object) -> State:
        """Read what :meth:`to_json` made.

        :raises Invalid: INVALID_REQUEST.
        """
        if (
            schemas.fault(SCHEMA, document) is not None
            or not isinstance(document, dict)
            or any(
                len(value) != 2 * HASHES[document['bank']]
                for values in (
                    [document['pcr']],
                    *document.get('others', {}).values(),
                )
                for value in values
            )
        ):
            raise errors.Invalid(
                _R.INVALID_REQUEST,
                'The state of an IMA list does not follow its schema.',
            )
        fields = {
            **document,
            'aggregates': tuple(document['aggregates']),
            'others': {
                int(index): tuple(values)
                for index, values in document.get('others', {}).items()
            },
            'results': {
                name: _tally(item)
                for name, item in document['results'].items()
            },
        }
        for name in ('entries', 'bytes', 'index'):
            fields[name] = int(fields[name])
        del fields['version']
        return cls(**fields)


def _tally_to_json(tally: Tally) -> dict[str, object]:
    return {
        'counts': dict(tally.counts),
        'listed': [
            {
                'reason': item.reason,
                'message': item.message,
                'details': dict(item.details),
            }
            for item in tally.listed
        ],
        **({'tolerated': dict(tally.tolerated)} if tally.tolerated else {}),
    }


def _tally(document: schemas.Json) -> Tally:
    known = all(reason in errors.REASONS for reason in document['counts'])
    if not known:
        raise errors.Invalid(
            _R.INVALID_REQUEST,
            'The state of an IMA list names an unknown reason.',
        )
    return Tally(
        {reason: int(count) for reason, count in document['counts'].items()},
        tuple(
            Finding(item['reason'], item['message'], item['details'])
            for item in document['listed']
        ),
        {
            text: int(count)
            for text, count in document.get('tolerated', {}).items()
        },
    )
