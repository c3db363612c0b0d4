# SPDX-License-Identifier: Apache-2.0
"""Tables of messages, written out of the schemas that are enforced."""

from __future__ import annotations

import collections.abc
import importlib
import re
import typing

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from korora_nova.rats import schemas

Schema = collections.abc.Mapping[str, typing.Any]

#: Schemas that have a name of their own.
NAMED: tuple[tuple[Schema, str], ...] = (
    (schemas.UUID, 'UUID'),
    (schemas.DIGEST, '32 bytes, hex'),
    (schemas.NAME, 'TPM name, hex'),
    (schemas.HOST, 'name of a host'),
    (schemas.EPOCH, 'integer, 1 to 2^63-1'),
    (schemas.COUNTER, 'integer, 0 to 2^64-1'),
    (schemas.TOKEN, 'token'),
    (schemas.TIME, 'seconds since 1970'),
)
_HEX = re.compile(r'\^\[0-9a-f\]\{(\d+)\}')


class Fields(Directive):
    """``.. korora-fields:: MODULE:NAME``: the fields of a message.

    The object has a ``SCHEMA``, or a ``KIND`` that has one, or is one.
    """

    has_content = False
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        box = nodes.container()
        lines = list(table(schema_of(self.arguments[0])))
        source = StringList(lines, source=self.arguments[0])
        self.state.nested_parse(source, self.content_offset, box)
        return list(box.children)


def schema_of(place: str) -> Schema:
    """The schema of the object at MODULE:NAME, below ``korora_nova``."""
    module, _, name = place.partition(':')
    found: typing.Any = importlib.import_module(f'korora_nova.{module}')
    for part in name.split('.'):
        found = getattr(found, part)
    found = getattr(found, 'KIND', found)
    found = getattr(found, 'SCHEMA', getattr(found, 'schema', found))
    return typing.cast(Schema, found)


def table(schema: Schema) -> collections.abc.Iterator[str]:
    """A list-table of an object's members; optional ones say so."""
    needed = schema['required']
    yield '.. list-table::'
    yield '   :header-rows: 1'
    yield '   :widths: 30 70'
    yield ''
    yield '   * - Member'
    yield '     - Form'
    for name, member in schema['properties'].items():
        more = '' if name in needed else '; may be left out'
        yield f'   * - ``{name}``'
        yield f'     - {form(member)}{more}'


def form(schema: Schema) -> str:
    """What a member is, in a few words."""
    for known, name in NAMED:
        if schema == known:
            return name
    if 'const' in schema:
        return f'``{schema["const"]!r}``'.replace("''", '""')
    if 'enum' in schema:
        return ', '.join(f'``{one or chr(34) * 2}``' for one in schema['enum'])
    if 'anyOf' in schema:
        return ' or '.join(form(one) for one in schema['anyOf'])
    return _FORMS[schema['type']](schema)


def _text(schema: Schema) -> str:
    pattern = str(schema.get('pattern', ''))
    if found := _HEX.match(pattern):
        return f'{int(found[1]) // 2} bytes, hex'
    if pattern.startswith('^[A-Za-z0-9+/]'):
        return f'base64, at most {schema["maxLength"] // 4 * 3} bytes'
    return f'text, at most {schema["maxLength"]} characters'


def _array(schema: Schema) -> str:
    most = f', at most {schema["maxItems"]}' if 'maxItems' in schema else ''
    if 'prefixItems' in schema:
        return (
            '[' + ', '.join(form(one) for one in schema['prefixItems']) + ']'
        )
    return f'list{most}, of: {form(schema["items"])}'


def _object(schema: Schema) -> str:
    members = schema.get('properties', {})
    inner = '; '.join(
        f'``{name}``: {form(one)}' for name, one in members.items()
    )
    return f'object ({inner})' if inner else 'object'


def _integer(schema: Schema) -> str:
    return f'integer, {schema["minimum"]} to {schema["maximum"]}'


_FORMS: dict[str, collections.abc.Callable[[Schema], str]] = {
    'string': _text,
    'array': _array,
    'object': _object,
    'integer': _integer,
    'number': lambda schema: 'number',
    'boolean': lambda schema: 'true or false',
    'null': lambda schema: 'null',
}


def setup(app: typing.Any) -> dict[str, bool]:
    app.add_directive('korora-fields', Fields)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
