# SPDX-License-Identifier: Apache-2.0
"""Changes to recorded evidence, given as data.

A step changes a vector in place; tests/vectors/README.md describes each.
"""

from __future__ import annotations

import copy
import hashlib
import struct
from collections.abc import Callable
from typing import Any

from tests.support.vectors import (
    EV_NO_ACTION,
    SPEC_ID,
    UEFI,
    Record,
    Vector,
    load,
    records,
)

Step = Callable[[Vector, str, Any], None]
STEPS: dict[str, Step] = {}


def _step(function: Step) -> Step:
    STEPS[function.__name__.strip('_').replace('_', '-')] = function
    return function


def change(vector: Vector, steps: list[dict[str, Any]], name: str) -> Vector:
    """A changed copy.

    :param steps: each names one operation of :data:`STEPS`; ``of`` the
        file it changes, else ``name``.
    """
    changed = copy.deepcopy(vector)
    for step in steps:
        ((operation, value),) = (
            (key, value) for key, value in step.items() if key != 'of'
        )
        STEPS[operation](changed, step.get('of', name), value)
    return changed


def _bytes(value: str) -> bytes:
    """Hex digits, or text after "text:"."""
    if value.startswith('text:'):
        return value[5:].encode()
    return bytes.fromhex(value)


@_step
def _truncate(vector: Vector, name: str, size: int) -> None:
    """Keep so many bytes; negative: drop so many at the end."""
    vector.files[name] = vector.files[name][:size]


@_step
def _flip(vector: Vector, name: str, at: int) -> None:
    data = bytearray(vector.files[name])
    data[at] ^= 1
    vector.files[name] = bytes(data)


@_step
def _put(vector: Vector, name: str, value: dict[str, Any]) -> None:
    """Overwrite ``at`` with ``bytes``, ``times`` over."""
    data = bytearray(vector.files[name])
    new = _bytes(value['bytes']) * value.get('times', 1)
    data[value['at'] : value['at'] + len(new)] = new
    vector.files[name] = bytes(data)


@_step
def _insert(vector: Vector, name: str, value: dict[str, Any]) -> None:
    data, at = vector.files[name], value['at']
    new = _bytes(value['bytes']) * value.get('times', 1)
    vector.files[name] = data[:at] + new + data[at:]


@_step
def _append(vector: Vector, name: str, value: dict[str, Any]) -> None:
    vector.files[name] = vector.files.get(name, b'') + _bytes(
        value['bytes']
    ) * value.get('times', 1)


@_step
def _replace(vector: Vector, name: str, value: dict[str, Any]) -> None:
    """``find`` by ``with``, which must occur."""
    data, find = vector.files[name], _bytes(value['find'])
    assert find in data, f'{value["find"]} is not in {name}'
    vector.files[name] = data.replace(
        find, _bytes(value['with']), value.get('count', -1)
    )


@_step
def _empty(vector: Vector, name: str, _: Any) -> None:
    vector.files[name] = b''


@_step
def _file_of(vector: Vector, name: str, other: str) -> None:
    """The same file of another vector; or "VECTOR:FILE"."""
    folder, _, file = other.partition(':')
    vector.files[name] = load(folder).files[file or name]


@_step
def _pcrs_of(vector: Vector, name: str, other: str) -> None:
    vector.pcrs = load(other).pcrs


def _parts(vector: Vector, name: str) -> list[bytes]:
    data = vector.files[name]
    return [data[item.start : item.end] for item in records(name, data)]


@_step
def _drop(vector: Vector, name: str, numbers: int | list[int]) -> None:
    parts = _parts(vector, name)
    for number in sorted(
        [numbers] if isinstance(numbers, int) else numbers, reverse=True
    ):
        del parts[number]
    vector.files[name] = b''.join(parts)


@_step
def _keep(vector: Vector, name: str, count: int) -> None:
    """The first records only."""
    vector.files[name] = b''.join(_parts(vector, name)[:count])


@_step
def _duplicate(vector: Vector, name: str, number: int) -> None:
    parts = _parts(vector, name)
    parts.insert(number, parts[number])
    vector.files[name] = b''.join(parts)


@_step
def _take(vector: Vector, name: str, value: dict[str, Any]) -> None:
    """A ``record`` ``from`` another vector, before ``at`` or at the end."""
    parts = _parts(vector, name)
    taken = _parts(load(value['from']), name)[value['record']]
    parts.insert(value.get('at', len(parts)), taken)
    vector.files[name] = b''.join(parts)


@_step
def _swap(vector: Vector, name: str, pair: list[int]) -> None:
    parts = _parts(vector, name)
    one, two = pair
    parts[one], parts[two] = parts[two], parts[one]
    vector.files[name] = b''.join(parts)


@_step
def _copies(vector: Vector, name: str, value: dict[str, int]) -> None:
    """Append a record so many times."""
    part = _parts(vector, name)[value['record']]
    vector.files[name] += part * value['times']


def _record(vector: Vector, name: str, number: int) -> Record:
    return records(name, vector.files[name])[number]


@_step
def _kind(vector: Vector, name: str, value: dict[str, int]) -> None:
    """Give an event another type."""
    item = _record(vector, name, value['record'])
    _put(
        vector,
        name,
        {'at': item.start + 4, 'bytes': struct.pack('<I', value['to']).hex()},
    )


@_step
def _pcr_of(vector: Vector, name: str, value: dict[str, int]) -> None:
    """Give an event or entry another register."""
    item = _record(vector, name, value['record'])
    _put(
        vector,
        name,
        {'at': item.start, 'bytes': struct.pack('<I', value['to']).hex()},
    )


@_step
def _data(vector: Vector, name: str, value: dict[str, Any]) -> None:
    """Change a record's data: ``find``/``with``, or all ``bytes``."""
    item = _record(vector, name, value['record'])
    data = vector.files[name]
    old = data[item.data : item.end]
    if 'bytes' in value:
        new = _bytes(value['bytes']) * value.get('times', 1)
    else:
        assert _bytes(value['find']) in old, value
        new = old.replace(_bytes(value['find']), _bytes(value['with']))
    vector.files[name] = (
        data[: item.data - 4]
        + struct.pack('<I', len(new))
        + new
        + data[item.end :]
    )


@_step
def _flip_data(vector: Vector, name: str, value: dict[str, int]) -> None:
    """Flip a bit of a record's data."""
    _flip(
        vector, name, _record(vector, name, value['record']).data + value['at']
    )


@_step
def _rehash(vector: Vector, name: str, number: int) -> None:
    """Let a record's digests be those of its data."""
    item = _record(vector, name, number)
    hashed = item.hashed or vector.files[name][item.data : item.end]
    data = bytearray(vector.files[name])
    for bank, at in item.digests.items():
        digest = hashlib.new(bank, hashed).digest()
        data[at : at + len(digest)] = digest
    vector.files[name] = bytes(data)


@_step
def _digest(vector: Vector, name: str, value: dict[str, Any]) -> None:
    """Let a record's digests be those of ``of``, or all one byte."""
    item = _record(vector, name, value['record'])
    data = bytearray(vector.files[name])
    for bank, at in item.digests.items():
        size = hashlib.new(bank).digest_size
        data[at : at + size] = (
            hashlib.new(bank, _bytes(value['of'])).digest()
            if 'of' in value
            else _bytes(value['byte']) * size
        )
    vector.files[name] = bytes(data)


@_step
def _drop_digest(vector: Vector, name: str, value: dict[str, Any]) -> None:
    """Leave ``bank`` out of the events ``from`` a number on."""
    data, parts = vector.files[name], []
    for number, item in enumerate(records(name, data)):
        part = data[item.start : item.end]
        if number >= value['from']:
            at = item.digests[value['bank']] - item.start
            size = hashlib.new(value['bank']).digest_size
            count = struct.unpack_from('<I', part, 8)[0] - 1
            part = (
                part[:8]
                + struct.pack('<I', count)
                + part[12 : at - 2]
                + part[at + size :]
            )
        parts.append(part)
    vector.files[name] = b''.join(parts)


# -- registers ------------------------------------------------------------


@_step
def _set_pcr(vector: Vector, name: str, value: dict[str, Any]) -> None:
    """``bank``, ``index`` and ``value`` (hex); without one a flipped bit."""
    bank = vector.pcrs[value.get('bank', 'sha256')]
    old = bank[value['index']]
    bank[value['index']] = (
        bytes.fromhex(value['value'])
        if 'value' in value
        else old[:-1] + bytes((old[-1] ^ 1,))
    )


@_step
def _shift_pcrs(vector: Vector, name: str, value: dict[str, Any]) -> None:
    """Move the last byte of a value to the front of the next one."""
    bank = vector.pcrs[value.get('bank', 'sha256')]
    first, second = value['index'], value['index'] + 1
    bank[second] = bank[first][-1:] + bank[second]
    bank[first] = bank[first][:-1]


@_step
def _extend_pcr(vector: Vector, name: str, value: dict[str, Any]) -> None:
    """Extend all banks at ``index`` with the text ``of``, as after boot."""
    for bank, values in vector.pcrs.items():
        event = hashlib.new(bank, value['of'].encode()).digest()
        values[value['index']] = hashlib.new(
            bank, values[value['index']] + event
        ).digest()


@_step
def _drop_pcr(vector: Vector, name: str, value: dict[str, Any]) -> None:
    del vector.pcrs[value.get('bank', 'sha256')][value['index']]


@_step
def _add_pcr(vector: Vector, name: str, value: dict[str, Any]) -> None:
    bank = value.get('bank', 'sha256')
    size = hashlib.new(bank).digest_size
    vector.pcrs.setdefault(bank, {})[value['index']] = bytes(size)


@_step
def _drop_bank(vector: Vector, name: str, bank: str) -> None:
    del vector.pcrs[bank]


@_step
def _nonce(vector: Vector, name: str, value: str) -> None:
    vector.about['nonce'] = value


@_step
def _replay(vector: Vector, name: str, _: Any) -> None:
    """The registers of a machine that really did what the file says."""
    data = vector.files[name]
    items = records(name, data)
    if name == UEFI and data[32:48] == SPEC_ID:
        del items[0]
    for bank, values in vector.pcrs.items():
        for index in {item.pcr for item in items} & set(values):
            values[index] = _start(items, data, bank, index)
        for item in items:
            if item.kind != EV_NO_ACTION and item.pcr in values:
                values[item.pcr] = hashlib.new(
                    bank, values[item.pcr] + _extension(data, item, bank)
                ).digest()


def _start(items: list[Record], data: bytes, bank: str, index: int) -> bytes:
    size = hashlib.new(bank).digest_size
    for item in items:
        text = data[item.data : item.end]
        if index == 0 and text.startswith(b'StartupLocality\0'):
            return bytes(size - 1) + text[16:17]
    return bytes(size)


def _extension(data: bytes, item: Record, bank: str) -> bytes:
    size = hashlib.new(bank).digest_size
    if not item.hashed:
        at = item.digests[bank]
        return data[at : at + size]
    stated = data[item.start + 4 : item.start + 24]
    if stated == bytes(20):
        return b'\xff' * size
    if bank in ('sha384', 'sha512'):
        # The recorded kernels had no such algorithm when IMA started.
        return hashlib.sha1(item.hashed).digest().ljust(size, b'\0')
    return hashlib.new(bank, item.hashed).digest()
