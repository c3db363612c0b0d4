# SPDX-License-Identifier: Apache-2.0
"""Schemas compiled to functions that admit what is valid, fast.

They know a part of JSON Schema, the part that this package uses, and admit
nothing that the validator would refuse; what they do not admit, or a schema
that says more than they know, is the validator's to judge and to explain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

#: Whether a value is valid for sure.
Admits: TypeAlias = Callable[[Any], bool]

#: Say nothing about validity.
_SILENT = frozenset(('description', 'title', '$comment', 'default'))


class _Unknown(Exception):
    """The schema says what is not known here."""


def compiled(schema: object) -> Admits:
    """A function that admits values; without knowing a schema, none."""
    try:
        return _compiled(schema)
    except _Unknown:
        return lambda value: False


def _compiled(schema: object) -> Admits:
    if schema is True:
        return lambda value: True
    if not isinstance(schema, Mapping):
        raise _Unknown
    checks = [
        check
        for name, wanted in schema.items()
        if name not in _SILENT
        and (check := _keyword(name, wanted, schema)) is not None
    ]
    if len(checks) == 1:
        return checks[0]

    def admits(value: Any) -> bool:
        for check in checks:
            if not check(value):
                return False
        return True

    return admits


def _keyword(name: str, wanted: Any, schema: Any) -> Admits | None:
    """What one keyword admits; None if another one sees to it."""
    if name == 'additionalProperties' and 'properties' in schema:
        return None
    if name == 'items' and 'prefixItems' in schema:
        return None
    make = _KEYWORDS.get(name)
    if make is None:
        raise _Unknown
    return make(wanted, schema)


# True and False are numbers in Python, and are not in JSON.
_TYPES: Mapping[str, Admits] = {
    'object': lambda value: type(value) is dict,
    'array': lambda value: type(value) is list,
    'string': lambda value: type(value) is str,
    'integer': lambda value: type(value) is int,
    'number': lambda value: type(value) in (int, float),
    'boolean': lambda value: type(value) is bool,
    'null': lambda value: value is None,
}


def _type(wanted: Any, _: object) -> Admits:
    if isinstance(wanted, str):
        return _TYPES[wanted]
    kinds = [_TYPES[one] for one in wanted]
    return lambda value: any(kind(value) for kind in kinds)


def _texts(wanted: Any) -> frozenset[str]:
    """Words of an enumeration: 1 and 1.0 and True are left to others."""
    if not all(type(one) is str for one in wanted):
        raise _Unknown
    return frozenset(wanted)


def _enum(wanted: Any, _: object) -> Admits:
    words = _texts(wanted)
    return lambda value: type(value) is str and value in words


def _const(wanted: Any, _: object) -> Admits:
    if type(wanted) not in (str, int):
        raise _Unknown
    return lambda value: type(value) is type(wanted) and value == wanted


def _pattern(wanted: str, _: object) -> Admits:
    search = re.compile(wanted).search
    return lambda value: type(value) is not str or search(value) is not None


def _most(kind: type[Any]) -> Callable[[int, object], Admits]:
    return lambda wanted, _: (
        lambda value: type(value) is not kind or len(value) <= wanted
    )


def _least(kind: type[Any]) -> Callable[[int, object], Admits]:
    return lambda wanted, _: (
        lambda value: type(value) is not kind or len(value) >= wanted
    )


def _number(value: Any) -> bool:
    return type(value) in (int, float)


def _minimum(wanted: float, _: object) -> Admits:
    return lambda value: not _number(value) or value >= wanted


def _maximum(wanted: float, _: object) -> Admits:
    return lambda value: not _number(value) or value <= wanted


def _required(wanted: Any, _: object) -> Admits:
    names = frozenset(wanted)
    return lambda value: type(value) is not dict or names <= value.keys()


def _properties(wanted: Mapping[str, object], schema: Any) -> Admits:
    if 'patternProperties' in schema:
        raise _Unknown
    known = {name: _compiled(one) for name, one in wanted.items()}
    other = schema.get('additionalProperties', True)
    rest = (lambda value: False) if other is False else _compiled(other)

    def admits(value: Any) -> bool:
        if type(value) is not dict:
            return True
        for name, item in value.items():
            if not known.get(name, rest)(item):
                return False
        return True

    return admits


def _others(_: object, schema: Any) -> Admits:
    return _properties({}, schema)


def _names(wanted: object, _: object) -> Admits:
    check = _compiled(wanted)
    return lambda value: type(value) is not dict or all(map(check, value))


def _items(wanted: object, _: object) -> Admits:
    check = _compiled(wanted)
    return lambda value: type(value) is not list or all(map(check, value))


def _prefix(wanted: Any, schema: Any) -> Admits:
    rest = schema.get('items')
    if rest not in (None, False):
        raise _Unknown
    checks = [_compiled(one) for one in wanted]

    def admits(value: Any) -> bool:
        if type(value) is not list:
            return True
        if rest is False and len(value) > len(checks):
            return False
        return all(
            check(item) for check, item in zip(checks, value, strict=False)
        )

    return admits


def _any_of(wanted: Any, _: object) -> Admits:
    checks = [_compiled(one) for one in wanted]
    return lambda value: any(check(value) for check in checks)


_KEYWORDS: Mapping[str, Callable[[Any, Any], Admits]] = {
    'type': _type,
    'enum': _enum,
    'const': _const,
    'pattern': _pattern,
    'maxLength': _most(str),
    'minLength': _least(str),
    'maxItems': _most(list),
    'minItems': _least(list),
    'maxProperties': _most(dict),
    'minProperties': _least(dict),
    'minimum': _minimum,
    'maximum': _maximum,
    'required': _required,
    'properties': _properties,
    'additionalProperties': _others,
    'propertyNames': _names,
    'items': _items,
    'prefixItems': _prefix,
    'anyOf': _any_of,
}
