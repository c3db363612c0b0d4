# SPDX-License-Identifier: Apache-2.0
"""Values of the API as a person reads them.

A service of another release may leave out what is asked for, or send
something else: then there is a dash, and never an error.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from korora_nova import errors

#: Where nothing is known.
DASH = '\N{EM DASH}'
_UNITS = ((86400, 'd'), (3600, 'h'), (60, 'min'))


@dataclasses.dataclass(frozen=True)
class Mark:
    """A state, by a word and a sign, and a colour besides.

    :param look: class of the style sheet.
    :param sign: tells it from others without colour.
    """

    word: Any
    look: str
    sign: str


GOOD, BAD, UNSURE, IDLE = 'good', 'bad', 'unsure', 'idle'
_OK, _NO, _ASK, _NONE = '\u2713', '\u2717', '!', '\u25cb'

TIERS: Mapping[str, Mark] = {
    'affirming': Mark(gettext_lazy('Affirming'), GOOD, _OK),
    'contraindicated': Mark(gettext_lazy('Contraindicated'), BAD, _NO),
    'none': Mark(gettext_lazy('No result'), IDLE, _NONE),
}
STATUSES: Mapping[str, Mark] = {
    'approved': Mark(gettext_lazy('Approved'), GOOD, _OK),
    'pending': Mark(gettext_lazy('Waits for approval'), UNSURE, _ASK),
    'preloaded': Mark(gettext_lazy('Never enrolled'), IDLE, _NONE),
    'evicted': Mark(gettext_lazy('Evicted'), BAD, _NO),
}
MOVES: Mapping[str, Mark] = {
    'receiving': Mark(gettext_lazy('Receiving'), UNSURE, _ASK),
    'permitted': Mark(gettext_lazy('Permitted'), UNSURE, _ASK),
    'sealed': Mark(gettext_lazy('Sealed'), UNSURE, _ASK),
    'moving': Mark(gettext_lazy('Moving'), UNSURE, _ASK),
    'committed': Mark(gettext_lazy('Committed'), GOOD, _OK),
    'aborted': Mark(gettext_lazy('Aborted'), IDLE, _NONE),
    'disputed': Mark(gettext_lazy('Disputed'), BAD, _NO),
}
KEYS: Mapping[str, Mark] = {
    'held': Mark(gettext_lazy('Held'), GOOD, _OK),
    'pending': Mark(gettext_lazy('Pending'), UNSURE, _ASK),
    'disputed': Mark(gettext_lazy('Disputed'), BAD, _NO),
    'released': Mark(gettext_lazy('Released'), IDLE, _NONE),
    'deleted': Mark(gettext_lazy('Deleted'), IDLE, _NONE),
    'behind': Mark(gettext_lazy('Behind its anchor'), BAD, _NO),
    'forked': Mark(gettext_lazy('Forked'), BAD, _NO),
}
LEVELS: Mapping[str, Mark] = {
    'ok': Mark(gettext_lazy('Good'), GOOD, _OK),
    'warn': Mark(gettext_lazy('Warning'), UNSURE, _ASK),
    'bad': Mark(gettext_lazy('Bad'), BAD, _NO),
}


def mark(known: Mapping[str, Mark], value: object) -> Mark:
    """Of a word of the API; one that is not known is shown as it is."""
    said = text(value)
    return known.get(said) or Mark(said, UNSURE, _ASK)


def text(value: object) -> str:
    """Anything in one line."""
    if value is None or value == '':
        return DASH
    return str(value)


def number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    found = float(value)
    return found if math.isfinite(found) else None


def moment(value: object) -> str:
    """Seconds since 1970 as UTC."""
    at = number(value)
    if at is None:
        return DASH
    try:
        found = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
    except (OverflowError, OSError, ValueError):
        return DASH
    return found.strftime('%Y-%m-%d %H:%M:%S UTC')


def span(seconds: float) -> str:
    """As long as people say it is."""
    whole = max(0, round(seconds))
    for size, unit in _UNITS:
        if whole >= 2 * size:
            return f'{whole // size} {unit}'
    return f'{whole} s'


def age(value: object, now: float) -> str:
    """Since a moment, or that there was none."""
    at = number(value)
    if at is None:
        return _('never')
    return _('%(span)s ago') % {'span': span(now - at)}


def items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def objects(value: object) -> list[Mapping[str, Any]]:
    return [one for one in items(value) if isinstance(one, dict)]


@dataclasses.dataclass(frozen=True)
class Reason:
    """A reason id, and what it means."""

    id: str
    text: str


def reasons(
    ids: object, sentences: Mapping[str, str] | None = None
) -> list[Reason]:
    """In words; a sentence about this very host goes before the table's."""
    told = sentences or {}
    return [
        Reason(
            str(one),
            told.get(str(one))
            or errors.REASONS.get(str(one))
            or _('This release of the panel does not know the reason.'),
        )
        for one in items(ids)
    ]


def yes(value: object) -> str:
    """A truth value, if it is one."""
    if not isinstance(value, bool):
        return DASH
    return _('yes') if value else _('no')


def count(found: int) -> str:
    return ngettext('%(n)d entry', '%(n)d entries', found) % {'n': found}
