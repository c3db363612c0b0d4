# SPDX-License-Identifier: Apache-2.0
"""BootState as a JSON document.

Lists of fields instead of objects, and signature entries by kind and
owner: a dbx has hundreds of entries, and services keep one document per
host. Checked by hand, since a schema takes 10 us for each item.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from korora_nova import errors
from korora_nova.rats import schemas
from korora_nova.rats.eventlog import boot, text

VERSION = 1
#: Items of one list, and characters of one text with its escapes.
MAX_ITEMS = 16384
MAX_TEXT = 10 * text.MAX_TEXT

_ROWS: dict[str, type[Any]] = {
    'boot_options': boot.BootOption,
    'components': boot.Component,
    'commands': boot.CommandLine,
    'command_lines': boot.CommandLine,
}
# Fields of a row in their order; the annotations are strings.
_TYPES: dict[str, type] = {'str': str, 'int': int, 'bool': bool}

_T = TypeVar('_T')


def boot_to_json(state: boot.BootState) -> dict[str, object]:
    """The document of a state."""
    document: dict[str, object] = {
        'version': VERSION,
        'secure_boot': state.secure_boot,
        'databases': [
            [item.name, item.verified, _grouped(item.entries)]
            for item in state.databases
        ],
        'authorities': [
            [
                item.variable,
                list(item.entry) if item.entry else None,
                item.verified,
            ]
            for item in state.authorities
        ],
        'boot_order': list(state.boot_order),
        'boot_order_verified': state.boot_order_verified,
        'variables': dict(state.variables),
    }
    for name, cls in _ROWS.items():
        fields = list(cls.__dataclass_fields__)
        document[name] = [
            [getattr(item, field) for field in fields]
            for item in getattr(state, name)
        ]
    return document


def boot_from_json(document: Any) -> boot.BootState:
    """The state of a document.

    :raises Invalid: INVALID_REQUEST, details name the place.
    """
    if not isinstance(document, dict) or set(document) != {
        'version',
        'secure_boot',
        'databases',
        'authorities',
        'boot_order',
        'boot_order_verified',
        'variables',
        *_ROWS,
    }:
        raise _bad('boot')
    if document['version'] != VERSION:
        raise _bad('version')
    secure = document['secure_boot']
    variables = document['variables']
    if not isinstance(variables, dict) or len(variables) > MAX_ITEMS:
        raise _bad('variables')
    return boot.BootState(
        secure if secure is None else _typed(secure, bool, 'secure_boot'),
        tuple(_database(row) for row in _list(document, 'databases')),
        tuple(_authority(row) for row in _list(document, 'authorities')),
        tuple(
            _typed(item, int, 'boot_order')
            for item in _list(document, 'boot_order')
        ),
        _typed(document['boot_order_verified'], bool, 'boot_order_verified'),
        variables={
            _typed(key, str, 'variables'): _typed(value, str, 'variables')
            for key, value in variables.items()
        },
        **{
            name: tuple(_row(row, cls, name) for row in _list(document, name))
            for name, cls in _ROWS.items()
        },
    )


def _bad(place: str) -> errors.Invalid:
    return errors.Invalid(
        errors.Reason.INVALID_REQUEST,
        f'The document of a boot is malformed: {place}.',
        details={'place': place},
    )


def _typed(value: Any, cls: type[_T], place: str) -> _T:
    # A bool is an int for isinstance.
    if type(value) is not cls or (
        isinstance(value, str) and len(value) > MAX_TEXT
    ):
        raise _bad(place)
    return value


def _list(document: schemas.Json, place: str) -> list[Any]:
    value: list[Any] = _typed(document[place], list, place)
    if len(value) > MAX_ITEMS:
        raise _bad(place)
    return value


def _row(row: Any, cls: type[_T], place: str) -> _T:
    fields = list(cls.__dataclass_fields__.values())  # type: ignore
    if not isinstance(row, list) or len(row) != len(fields):
        raise _bad(place)
    return cls(
        *(
            _typed(value, _TYPES[field.type], place)
            for value, field in zip(row, fields, strict=True)
        )
    )


def _authority(row: Any) -> boot.Authority:
    if not isinstance(row, list) or len(row) != 3:
        raise _bad('authorities')
    variable, entry, verified = row
    if entry is not None:
        if not isinstance(entry, list) or len(entry) != 4:
            raise _bad('authorities')
        entry = boot.SignatureEntry(
            *(_typed(value, str, 'authorities') for value in entry)
        )
    return boot.Authority(
        _typed(variable, str, 'authorities'),
        entry,
        _typed(verified, bool, 'authorities'),
    )


def _database(row: Any) -> boot.SignatureDatabase:
    if not isinstance(row, list) or len(row) != 3:
        raise _bad('databases')
    name, verified, groups = row
    return boot.SignatureDatabase(
        _typed(name, str, 'databases'),
        _typed(verified, bool, 'databases'),
        tuple(_entries(_typed(groups, list, 'databases'))),
    )


def _grouped(entries: tuple[boot.SignatureEntry, ...]) -> list[list[Any]]:
    """Runs of entries of one kind, owner and subject: their digests."""
    groups: list[list[Any]] = []
    last: tuple[str, str, str] | None = None
    for kind, digest, owner, subject in entries:
        if (kind, owner, subject) != last:
            last = (kind, owner, subject)
            groups.append([kind, owner, subject, []])
        groups[-1][3].append(digest)
    return groups


def _entries(groups: list[Any]) -> Iterator[boot.SignatureEntry]:
    count = 0
    for group in groups:
        if not isinstance(group, list) or len(group) != 4:
            raise _bad('databases')
        kind, owner, subject = (
            _typed(value, str, 'databases') for value in group[:3]
        )
        digests: list[Any] = _typed(group[3], list, 'databases')
        count += len(digests)
        if count > MAX_ITEMS:
            raise _bad('databases')
        for digest in digests:
            yield boot.SignatureEntry(
                kind, _typed(digest, str, 'databases'), owner, subject
            )
