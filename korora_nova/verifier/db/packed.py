# SPDX-License-Identifier: Apache-2.0
"""Rows in few columns, for the statements that run most.

A driver written in Python spends more time on the description of a column
than on its value. So what is text, or a number without fraction, comes in one
column; times, bytes and JSON come as they are.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from korora_nova.verifier.db import models

T = TypeVar('T')

#: Between two texts; no name, digest, word or token has it.
_BAR = '|'
_NULLABLE = ' | None'
# Parameters would be sent each time.
_EMPTY = sa.literal_column("''", sa.String)
_BETWEEN = sa.literal_column(f"'{_BAR}'", sa.String)


def _number(text: str) -> int:
    return int(text)


def _truth(text: str) -> bool:
    return text == '1'


_READ: Mapping[str, Callable[[str], object]] = {
    'str': str,
    'int': _number,
    'bool': _truth,
}


def text(*values: Any) -> sa.Label[Any]:
    """One column of several; NULL becomes ''."""
    found = [sa.func.coalesce(_as_text(value), _EMPTY) for value in values]
    return functools.reduce(
        lambda before, one: before + _BETWEEN + one, found
    ).label(None)


def split(value: str, count: int) -> list[str]:
    """What :func:`text` joined.

    :raises ValueError: it is not that many.
    """
    found = value.split(_BAR)
    if len(found) != count:
        raise ValueError('a column of several has others than it should')
    return found


def _as_text(value: Any) -> Any:
    if isinstance(value.type, sa.Boolean):
        value = sa.cast(value, sa.Integer)
    if isinstance(value.type, sa.Integer):
        return sa.cast(value, sa.String(20))
    return value


@functools.cache
def _fields(part: type) -> tuple[Sequence[Any], Sequence[Any]]:
    """Those in one column, and those with columns of their own."""
    fields: Sequence[Any] = dataclasses.fields(part)
    joined = [one for one in fields if _kind(one) in _READ]
    return joined, [one for one in fields if one not in joined]


def _kind(field: Any) -> str:
    return str(field.type).removesuffix(_NULLABLE)


def columns(part: type, table: type[models.Base]) -> list[sa.Label[Any]]:
    """The columns of a dataclass whose fields are a table's.

    Annotations tell what they are; the first field is never NULL.
    """
    source = models.table(table).c
    joined, alone = _fields(part)
    return [
        text(*(source[one.name] for one in joined)),
        *(
            source[one.name].label(f'{part.__name__}_{one.name}')
            for one in alone
        ),
    ]


def read(part: type[T], values: Iterator[Any]) -> T | None:
    """Take the columns of a part; None if a join found nothing."""
    joined, alone = _fields(part)
    texts = split(next(values), len(joined))
    others = {one.name: next(values) for one in alone}
    if not texts[0]:
        return None
    return part(
        **{
            one.name: _value(one, found)
            for one, found in zip(joined, texts, strict=True)
        },
        **others,
    )


def _value(field: Any, found: str) -> object:
    if not found and str(field.type).endswith(_NULLABLE):
        return None
    return _READ[_kind(field)](found)
