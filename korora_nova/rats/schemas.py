# SPDX-License-Identifier: Apache-2.0
"""Fragments of JSON schemas that several documents share.

Patterns end with :data:`END`: in Python, unlike in JSON Schema, ``$`` also
matches before a trailing newline.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

import jsonschema

from korora_nova.rats import compiled

#: A JSON schema, opaque to all but the validator.
Schema: TypeAlias = Mapping[str, object]
#: A JSON object whose members a schema, or the reader, checks.
Json: TypeAlias = Mapping[str, Any]

#: The end of a string and nothing else, in Python and in ECMA-262.
END = '$(?!\\n)'

#: Schemas whose validators are kept: the package has fewer, as constants.
MAX_PREPARED = 256
_PREPARED: dict[int, tuple[Schema, compiled.Admits, Any]] = {}


def fault(schema: Schema, document: object) -> Any | None:
    """The first ``ValidationError`` of a document, None if it has none.

    One that is nested so deeply that Python gives up is a fault as well.
    """
    known = _PREPARED.get(id(schema))
    if known is None:
        # With the schema itself, so that its id is nobody else's.
        known = (
            schema,
            compiled.compiled(schema),
            jsonschema.Draft202012Validator(schema),
        )
        if len(_PREPARED) < MAX_PREPARED:
            _PREPARED[id(schema)] = known
    _, admits, validator = known
    if admits(document):
        return None
    try:
        return next(validator.iter_errors(document), None)
    except RecursionError:
        return jsonschema.ValidationError(
            'it is nested too deeply', validator='depth'
        )


def hex_string(size: int) -> Schema:
    """Lower-case hex of exactly ``size`` bytes."""
    return {
        'type': 'string',
        'maxLength': 2 * size,
        'pattern': f'^[0-9a-f]{{{2 * size}}}{END}',
    }


def base64_string(size: int) -> Schema:
    """Standard base64 of at most ``size`` bytes."""
    return {
        'type': 'string',
        'pattern': '^[A-Za-z0-9+/]*={0,2}' + END,
        'maxLength': 4 * ((size + 2) // 3),
    }


def text(size: int, least: int = 1) -> Schema:
    """Printable text of at most ``size`` characters."""
    return {
        'type': 'string',
        'minLength': least,
        'maxLength': size,
        'pattern': '^[^\\x00-\\x1f\\x7f]*' + END,
    }


def closed(properties: Schema, optional: tuple[str, ...] = ()) -> Schema:
    """An object with these properties, all required but the optional."""
    required = sorted(set(properties) - set(optional))
    return {
        'type': 'object',
        'properties': properties,
        'required': required,
        'additionalProperties': False,
    }


def properties(schema: Schema) -> Mapping[str, Schema]:
    """Those of the schema of an object."""
    return cast('Mapping[str, Schema]', schema['properties'])


UUID: Schema = {
    'type': 'string',
    'maxLength': 36,
    'pattern': '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'
    + END,
}
DIGEST = hex_string(32)
#: A TPM name: algorithm id and SHA-256 digest.
NAME = hex_string(34)
#: Of hosts and references; '.' and '..' cannot be in the path of a URL.
HOST: Schema = {
    'type': 'string',
    'maxLength': 255,
    'pattern': '^(?!\\.{1,2}' + END + ')[A-Za-z0-9._:-]+' + END,
}
#: Epochs start at 1.
EPOCH: Schema = {'type': 'integer', 'minimum': 1, 'maximum': 2**63 - 1}
COUNTER: Schema = {'type': 'integer', 'minimum': 0, 'maximum': 2**64 - 1}
TOKEN: Schema = {
    'type': 'string',
    'maxLength': 16384,
    'pattern': '^[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+' + END,
}
VERSION: Schema = {'const': 1}
#: Seconds since 1970.
TIME: Schema = {'type': 'number', 'minimum': 0, 'maximum': 2**53}
