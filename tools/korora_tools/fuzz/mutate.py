# SPDX-License-Identifier: Apache-2.0
"""Mutations of JSON that stay JSON: bytes alone rarely get past a brace."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import atheris

_OTHERS: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1.0,
    2**64,
    1e308,
    '',
    '\n',
    '0',
    '*',
    'x' * 99,
    '00' * 32,
    'sha256:' + '00' * 32,
    [],
    {},
    [[]],
    {'': {}},
]
#: One in so many is mutated as bytes.
_AS_BYTES = 8

Path = tuple[Any, ...]


def document(data: bytes, size: int, seed: int) -> bytes:
    """A custom mutator of libFuzzer: another document, at most ``size``."""
    chance = random.Random(seed)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return bytes(atheris.Mutate(data, size))
    if not chance.randrange(_AS_BYTES):
        return bytes(atheris.Mutate(data, size))
    for _ in range(chance.randrange(1, 4)):
        places = list(_places(found, ()))
        path = chance.choice(places)
        found = _changed(found, path, _change(chance, found, places))
    text = json.dumps(found).encode()
    return text if len(text) <= size else data


def _places(value: Any, path: Path) -> Iterator[Path]:
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from _places(value[key], (*path, key))


def _change(
    chance: random.Random, found: Any, places: list[Path]
) -> Callable[[Any], Any]:
    """What to do with the value at a place."""
    other = chance.choice(_OTHERS)
    if chance.randrange(2):
        other = found
        for step in chance.choice(places):
            other = other[step]

    def change(value: Any) -> Any:
        kind = chance.randrange(4)
        if kind == 0 and isinstance(value, list):
            return value + [other]
        if kind == 0 and isinstance(value, dict):
            return {**value, str(other)[:20]: other}
        if kind == 1 and isinstance(value, (list, str)):
            return value[: chance.randrange(len(value) + 1)]
        if kind == 1 and isinstance(value, dict) and value:
            gone = chance.choice(list(value))
            return {key: item for key, item in value.items() if key != gone}
        if kind == 2 and isinstance(value, int):
            return value ^ 1 << chance.randrange(64)
        return other

    return change


def _changed(value: Any, path: Path, change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _changed(value[path[0]], path[1:], change)
    return copy
