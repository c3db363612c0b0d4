# SPDX-License-Identifier: Apache-2.0
"""JSON bodies that are hashed into quotes, and messages between agents.

Each document is versioned and closed: unknown fields are refused. Bodies
travel as text and are hashed exactly as sent, never re-serialized.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from korora_nova import errors
from korora_nova.custody import ledger
from korora_nova.rats import schemas

#: Longest document read unless the caller says otherwise, characters.
MAX_DOCUMENT = 1 << 20

#: TPM structures in base64.
_PUBLIC = schemas.base64_string(1024)
_BLOB = schemas.base64_string(2048)
_PAIRS: schemas.Schema = {
    'type': 'array',
    'maxItems': 4096,
    'items': {
        'type': 'array',
        'minItems': 2,
        'maxItems': 2,
        'prefixItems': [schemas.UUID, schemas.EPOCH],
    },
}
#: The last receipt itself: an unsigned one would stop the ledger.
_HEAD: schemas.Schema = {'anyOf': [schemas.TOKEN, {'const': ''}]}

ATTEST = schemas.closed(
    {'version': schemas.VERSION, 'receipt_head': _HEAD, 'held': _PAIRS}
)

CLAIM = schemas.closed({'version': schemas.VERSION, 'instance': schemas.UUID})

DELETE = CLAIM

APPROVE = schemas.closed(
    {
        'version': schemas.VERSION,
        'keys': {**_PAIRS, 'minItems': 1, 'maxItems': 64},
    }
)

RECEIVE = schemas.closed(
    {
        'version': schemas.VERSION,
        'migration': schemas.UUID,
        'instance': schemas.UUID,
        'source': schemas.HOST,
        'msk_public': _PUBLIC,
        'creation_data': _PUBLIC,
        'creation_attest': _BLOB,
        'creation_signature': _PUBLIC,
        'address': schemas.text(255),
        'tls_name': schemas.text(255, 0),
    }
)

SEND = schemas.closed(
    {
        'version': schemas.VERSION,
        'migration': schemas.UUID,
        'instance': schemas.UUID,
        'nonce': schemas.DIGEST,
        'dest': schemas.HOST,
        'msk_name': schemas.NAME,
    }
)

STATEMENT = schemas.closed(
    {
        'version': schemas.VERSION,
        'migration': schemas.UUID,
        'statement': {
            'enum': sorted(
                {word for said in ledger.STATEMENTS.values() for word in said}
            )
        },
    }
)

#: purpose of an attestation -> schema of its body.
BODIES: dict[str, schemas.Schema] = {
    'attest': ATTEST,
    'claim': CLAIM,
    'approve': APPROVE,
    'receive': RECEIVE,
    'send': SEND,
    'commit': STATEMENT,
    'abort': STATEMENT,
    'delete': DELETE,
}

#: The source's answer to one hand-over call: permit, transit object,
#: envelope, and a quote over them by the key whose name the permit holds.
TRANSFER = schemas.closed(
    {
        'version': schemas.VERSION,
        'permit': schemas.TOKEN,
        'ak_public': _PUBLIC,
        'public': _PUBLIC,
        'duplicate': _BLOB,
        'seed': _PUBLIC,
        'envelope': schemas.base64_string(8192),
        'quote': schemas.closed(
            {
                'attest': _BLOB,
                'signature': _PUBLIC,
                'pcrs': {
                    'type': 'object',
                    'maxProperties': 24,
                    'propertyNames': {
                        'pattern': '^(0|1?[1-9]|10|2[0-3])' + schemas.END
                    },
                    'additionalProperties': schemas.DIGEST,
                },
            }
        ),
    }
)

#: Arguments of the hand-over call.
WRAP = schemas.closed(
    {
        'version': schemas.VERSION,
        'migration': schemas.UUID,
        'instance': schemas.UUID,
        'msk_public': _PUBLIC,
        'dest': schemas.HOST,
    }
)


def receive_key_body(
    migration: str, instance: str, source: str, msk_public: bytes
) -> bytes:
    """What the certified creation of a migration storage key answers.

    Its qualifying data is ``evidence.qualify(challenge, 'receive-key',
    host, THIS)``: the body of ``receive`` itself holds the attestation and
    cannot be bound into it.
    """
    return dumps(
        {
            'version': 1,
            'migration': migration,
            'instance': instance,
            'source': source,
            'msk_public': base64.b64encode(msk_public).decode(),
        }
    ).encode()


def dumps(document: dict[str, Any]) -> str:
    """Serialize deterministically: sorted keys, no spaces, ASCII."""
    return json.dumps(
        document, sort_keys=True, separators=(',', ':'), allow_nan=False
    )


def loads(
    text: str, schema: schemas.Schema, *, limit: int = MAX_DOCUMENT
) -> dict[str, Any]:
    """Parse and validate; duplicate keys and NaN are refused.

    :raises TooLarge: more than ``limit`` characters.
    :raises Invalid: INVALID_REQUEST; details name the path, not the value.
    """
    if len(text) > limit:
        raise errors.TooLarge(errors.Reason.TOO_LARGE)
    try:
        document = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        raise _invalid('not the JSON of an object') from None
    validate(document, schema)
    result: dict[str, Any] = document
    return result


def validate(document: object, schema: schemas.Schema) -> None:
    """Validate a decoded document, which must be an object.

    :raises Invalid: INVALID_REQUEST; details name the path, not the value.
    """
    if not isinstance(document, dict):
        raise _invalid('not an object')
    error = schemas.fault(schema, document)
    if error is not None:
        path = '/'.join(str(step) for step in error.absolute_path)
        raise _invalid(f'{path or "/"} breaks the rule {error.validator!r}')


def _invalid(what: str) -> errors.Invalid:
    # The validator's own message quotes the value, which may be a secret.
    return errors.Invalid(
        errors.Reason.INVALID_REQUEST,
        f'The document does not follow its schema: {what}.',
        details={'what': what},
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError('a key occurs twice')
    return document


def _no_constant(name: str) -> Any:
    raise ValueError(f'{name} is not JSON')
