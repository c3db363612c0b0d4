# SPDX-License-Identifier: Apache-2.0
"""What a check says, one line each."""

from __future__ import annotations

import dataclasses
import enum
import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from korora_nova.rats.finding import printable

#: Columns of a terminal.
WIDTH = 79
_ID_WIDTH = 15


class Level(enum.IntEnum):
    """How good it is; the worst of all results is the exit code."""

    OK = 0
    WARN = 1
    BAD = 2

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclasses.dataclass(frozen=True)
class Result:
    """What one check found.

    :param id: of the check; stable.
    :param text: what is there; no secrets.
    :param advice: what to do; '' if nothing.
    """

    id: str
    level: Level
    text: str
    advice: str = ''

    def to_json(self) -> dict[str, object]:
        return {
            'id': self.id,
            'level': self.level.word,
            'text': self.text,
            'advice': self.advice,
        }


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be."""

    level: Level
    text: str
    advice: str = ''


def warn(text: str, advice: str = '') -> Problem:
    return Problem(Level.WARN, text, advice)


def bad(text: str, advice: str = '') -> Problem:
    return Problem(Level.BAD, text, advice)


def result(check: str, good: str, problems: Iterable[Problem] = ()) -> Result:
    """All problems of a check as one result, the worst ones first.

    :param good: what to say if there are none.
    """
    found = sorted(problems, key=lambda one: -one.level)
    if not found:
        return Result(check, Level.OK, _clean(good))
    return Result(
        check,
        found[0].level,
        _clean('; '.join(one.text for one in found)),
        _clean(
            '; '.join(dict.fromkeys(one.advice for one in found if one.advice))
        ),
    )


def worst(results: Iterable[Result]) -> Level:
    return max((one.level for one in results), default=Level.OK)


def as_text(
    results: Sequence[Result], commands: Mapping[str, int] | None = None
) -> str:
    """A table of at most 79 columns, and a line that sums up."""
    lines = [line for one in results for line in _lines(one)]
    counts = ', '.join(
        f'{sum(one.level == level for one in results)} {level.word}'
        for level in Level
    )
    sent = sum(commands.values()) if commands else 0
    return '\n'.join([*lines, f'{counts}; {sent} commands to the TPM'])


def as_json(
    results: Sequence[Result], commands: Mapping[str, int] | None = None
) -> str:
    """One object: ``level``, ``checks``, and ``tpm_commands`` by name."""
    return json.dumps(
        {
            'level': worst(results).word,
            'checks': [one.to_json() for one in results],
            'tpm_commands': dict(sorted((commands or {}).items())),
        },
        indent=2,
    )


def _lines(one: Result) -> list[str]:
    margin = ' ' * (_ID_WIDTH + 6)
    first = f'{one.level.word:<4}  {one.id:<{_ID_WIDTH}}'
    lines = _wrapped(one.text, first, margin)
    if one.advice:
        lines += _wrapped(one.advice, f'{margin}-> ', f'{margin}   ')
    return lines


def _wrapped(text: str, first: str, margin: str) -> list[str]:
    return textwrap.wrap(
        text or '-',
        WIDTH,
        initial_indent=first,
        subsequent_indent=margin,
        break_on_hyphens=False,
    )


def _clean(text: str) -> str:
    """A terminal shows what a file, a TPM or a peer said: one plain line."""
    return ''.join(
        printable(text[start : start + 256])
        for start in range(0, len(text), 256)
    )
