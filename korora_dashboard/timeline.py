# SPDX-License-Identifier: Apache-2.0
"""A hand-over in the order in which it happened, drawn; pure.

The drawing repeats the list beside it, for those who see it; who does not
reads the list.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _

from korora_dashboard import words
from korora_dashboard.proofs import HandOver

# Pixels: between steps, above them, and of the names of lanes.
_STEP, _TOP, _LEFT = 110, 36, 130
_LANE = 56


class Lane(enum.IntEnum):
    """Who did it, from above."""

    SOURCE = 0
    SERVICE = 1
    DEST = 2


@dataclasses.dataclass(frozen=True)
class Event:
    """One step.

    :param at: seconds since 1970; None: before the next one.
    :param look: class of the style sheet.
    """

    lane: Lane
    text: str
    at: float | None = None
    look: str = words.GOOD


@dataclasses.dataclass(frozen=True)
class Step:
    """An event with its place; numbers are text, which no locale changes."""

    number: str
    x: str
    y: str
    when: str
    event: Event


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Steps, and the lines between them.

    :param lanes: name, and its height.
    """

    width: str
    height: str
    end: str
    lanes: Sequence[tuple[str, str]]
    steps: Sequence[Step]

    @property
    def path(self) -> str:
        """From step to step."""
        return ' '.join(f'{one.x},{one.y}' for one in self.steps)


def events(migration: Mapping[str, Any], signed: HandOver) -> Sequence[Event]:
    """What happened, in its order."""
    found = [
        Event(
            Lane.DEST,
            _('%(host)s proves its state and shows a new key of its TPM')
            % {'host': words.text(migration.get('dest'))},
            words.number(migration.get('created_at')),
        )
    ]
    if signed.permit is not None:
        found += [
            Event(
                Lane.SOURCE,
                _('%(host)s proves its state for the same migration')
                % {'host': words.text(migration.get('source'))},
            ),
            Event(
                Lane.SERVICE,
                _('Permit: the key may be wrapped to that TPM, once'),
                signed.permit.content.issued,
            ),
        ]
    if signed.start is not None:
        found.append(
            Event(
                Lane.SERVICE,
                _('Start: the copy is sealed, the memory may be streamed'),
                signed.start.content.issued,
            )
        )
    return [*found, *_said(migration), *_decided(migration, signed)]


def _said(migration: Mapping[str, Any]) -> list[Event]:
    found = []
    for lane, field, host in (
        (Lane.SOURCE, 'source_word', 'source'),
        (Lane.DEST, 'dest_word', 'dest'),
    ):
        if word := migration.get(field):
            said = {'host': words.text(migration.get(host)), 'word': word}
            found.append(Event(lane, _('%(host)s says: %(word)s') % said))
    return found


def _decided(migration: Mapping[str, Any], signed: HandOver) -> list[Event]:
    if signed.receipt is not None:
        content = signed.receipt.content
        text = _('Receipt: %(outcome)s, %(holder)s holds the key') % {
            'outcome': words.mark(words.MOVES, content.outcome).word,
            'holder': words.text(content.holder),
        }
        return [Event(Lane.SERVICE, text, content.issued)]
    if migration.get('receipt'):
        text = _('There is a receipt, and it is not verified')
        return [Event(Lane.SERVICE, text, None, words.BAD)]
    return [Event(Lane.SERVICE, _('Not decided yet'), None, words.UNSURE)]


def draw(found: Sequence[Event], names: Mapping[Lane, str]) -> Drawing:
    """Give each event its place: one column each, not to scale."""
    steps = [
        Step(
            str(number),
            str(_LEFT + _STEP * number - _STEP // 2),
            str(_height(one.lane)),
            words.moment(one.at) if one.at is not None else '',
            one,
        )
        for number, one in enumerate(found, 1)
    ]
    width = _LEFT + _STEP * len(steps) + 10
    return Drawing(
        str(width),
        str(_height(Lane.DEST) + _TOP),
        str(width - 10),
        [(names[lane], str(_height(lane))) for lane in Lane],
        steps,
    )


def _height(lane: Lane) -> int:
    return _TOP + _LANE * lane
