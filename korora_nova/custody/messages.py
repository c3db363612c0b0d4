# SPDX-License-Identifier: Apache-2.0
"""How the project's own messages are written and read.

Each document is versioned and closed: unknown fields are refused. What is
hashed into a quote travels as text and is hashed exactly as sent, never
re-serialized.

The bodies of attestations are in :mod:`korora_nova.custody.bodies`, what is
around them in :mod:`korora_nova.custody.exchange`, and the call between two
agents in :mod:`korora_nova.custody.transfer`.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from korora_nova import errors
from korora_nova.rats import schemas

#: Longest document read unless the caller says otherwise, characters.
MAX_DOCUMENT = 1 << 20

#: TPM structures in base64.
PUBLIC = schemas.base64_string(1024)
BLOB = schemas.base64_string(2048)

M = TypeVar('M', bound='Message')


@dataclasses.dataclass(frozen=True)
class Message:
    """A versioned, closed JSON object whose properties are the fields.

    :cvar SCHEMA: of the object.
    :cvar BLOBS: fields that are bytes here and base64 in JSON.
    :cvar OPTIONAL: fields that are left out while they have their default.
    """

    SCHEMA: ClassVar[schemas.Schema]
    BLOBS: ClassVar[tuple[str, ...]] = ()
    OPTIONAL: ClassVar[tuple[str, ...]] = ()

    def to_json(self) -> dict[str, object]:
        """The object, in the order of the fields."""
        return {
            'version': 1,
            **{
                field.name: _plain(value)
                for field in dataclasses.fields(self)
                if (value := getattr(self, field.name)) != field.default
                or field.name not in self.OPTIONAL
            },
        }

    @classmethod
    def from_json(cls: type[M], document: object) -> M:
        """Read what :meth:`to_json` made.

        :raises Invalid: INVALID_REQUEST, schema or base64.
        """
        fields = validate(document, cls.SCHEMA)
        del fields['version']
        for name in cls.BLOBS:
            fields[name] = base64_field(fields[name], name)
        return cls(**fields)

    @classmethod
    def parse(cls: type[M], text: str) -> M:
        """Read the text of what :meth:`to_json` made.

        :raises TooLarge: more than :data:`MAX_DOCUMENT` characters.
        :raises Invalid: INVALID_REQUEST.
        """
        return cls.from_json(decode(text))


def dumps(document: Message | Mapping[str, object]) -> str:
    """Serialize deterministically: sorted keys, no spaces, ASCII."""
    if isinstance(document, Message):
        document = document.to_json()
    return json.dumps(
        document, sort_keys=True, separators=(',', ':'), allow_nan=False
    )


def loads(
    text: str, schema: schemas.Schema, *, limit: int = MAX_DOCUMENT
) -> dict[str, Any]:
    """Parse and validate; see :func:`decode` and :func:`validate`."""
    return validate(decode(text, limit=limit), schema)


def decode(text: str, *, limit: int = MAX_DOCUMENT) -> object:
    """Parse JSON; duplicate keys, NaN and half surrogate pairs are refused.

    :raises TooLarge: more than ``limit`` characters.
    :raises Invalid: INVALID_REQUEST.
    """
    if len(text) > limit:
        raise errors.TooLarge(errors.Reason.TOO_LARGE)
    try:
        document: object = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        raise _invalid('not the JSON of an object') from None
    if '\\u' in text:
        _check_surrogates(document)
    return document


def validate(document: object, schema: schemas.Schema) -> dict[str, Any]:
    """Validate a decoded document, which must be an object; return a copy.

    :raises Invalid: INVALID_REQUEST; details name the path, not the value.
    """
    if not isinstance(document, dict):
        raise _invalid('not an object')
    error = schemas.fault(schema, document)
    if error is not None:
        path = '/'.join(str(step) for step in error.absolute_path)
        raise _invalid(f'{path or "/"} breaks the rule {error.validator!r}')
    return dict(document)


def base64_field(text: str, field: str) -> bytes:
    """Decode standard base64.

    :raises Invalid: INVALID_REQUEST naming the field.
    """
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise errors.Invalid(
            errors.Reason.INVALID_REQUEST,
            f'{field} is not base64.',
            details={'field': field},
        ) from None


def b64(content: bytes) -> str:
    """Standard base64 text."""
    return base64.b64encode(content).decode()


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return b64(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def _check_surrogates(document: object) -> None:
    """Half a surrogate pair is JSON, but no text that can be stored."""
    stack = [document]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, str):
            try:
                item.encode('utf-8')
            except UnicodeEncodeError:
                raise errors.Invalid(
                    errors.Reason.INVALID_REQUEST,
                    'A string is not Unicode text.',
                ) from None


def _invalid(what: str) -> errors.Invalid:
    # The validator's own message quotes the value, which may be a secret.
    return errors.Invalid(
        errors.Reason.INVALID_REQUEST,
        f'The document does not follow its schema: {what}.',
        details={'what': what},
    )


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError('a key occurs twice')
    return document


def _no_constant(name: str) -> object:
    raise ValueError(f'{name} is not JSON')
