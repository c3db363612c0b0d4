# SPDX-License-Identifier: Apache-2.0
"""The answers of the agent's local socket, read by closed schemas."""

from __future__ import annotations

import dataclasses

from korora_nova.custody.operations import Fields
from korora_nova.rats import schemas

_TEXT: schemas.Schema = {'type': 'string'}
_TEXTS: schemas.Schema = {'type': 'array', 'items': _TEXT}
_COUNT: schemas.Schema = {'type': 'integer', 'minimum': 0}
_BOOLEAN: schemas.Schema = {'type': 'boolean'}
_SECONDS: schemas.Schema = {'type': 'number', 'minimum': 0}


def _or_null(schema: schemas.Schema) -> schemas.Schema:
    return {'anyOf': [schema, {'type': 'null'}]}


@dataclasses.dataclass(frozen=True)
class Done(Fields):
    """The operation succeeded; there is nothing to tell."""


@dataclasses.dataclass(frozen=True)
class HeldKey(Fields):
    """A record of the vault, as operators see it."""

    PROPERTIES = {
        'instance': schemas.UUID,
        'state': _TEXT,
        'epoch': _COUNT,
        'migration': _TEXT,
    }

    instance: str
    state: str
    epoch: int
    migration: str


@dataclasses.dataclass(frozen=True)
class Handover(Fields):
    """How long a hand-over took, milliseconds, and what it cost."""

    PROPERTIES = {'role': _TEXT, 'ms': _SECONDS, 'tpm_commands': _COUNT}

    role: str
    ms: float
    tpm_commands: int


@dataclasses.dataclass(frozen=True)
class HostStatus(Fields):
    """A host as its agent knows it.

    :param tier: of its last result; none, if it has none.
    :param expires: of that result, seconds since 1970.
    :param documents: servers of which this host keeps a document.
    """

    PROPERTIES = {
        'host': _TEXT,
        'incarnation': _TEXT,
        'tier': _TEXT,
        'reasons': _TEXTS,
        'expires': _or_null(_SECONDS),
        'documents': _COUNT,
        'keys': {'type': 'array', 'items': schemas.closed(HeldKey.PROPERTIES)},
        'last_handover': _or_null(schemas.closed(Handover.PROPERTIES)),
        'versions': {'type': 'object', 'additionalProperties': _TEXT},
    }
    PARTS = {'keys': HeldKey, 'last_handover': Handover}

    host: str
    incarnation: str
    tier: str
    reasons: tuple[str, ...]
    expires: float | None
    documents: int
    keys: tuple[HeldKey, ...]
    last_handover: Handover | None
    versions: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Appraised(Fields):
    """A host that is trusted until ``expires``, seconds since 1970."""

    PROPERTIES = {'tier': _TEXT, 'reasons': _TEXTS, 'expires': _SECONDS}

    tier: str
    reasons: tuple[str, ...]
    expires: float


@dataclasses.dataclass(frozen=True)
class LedgerRow(Fields):
    """What the ledger has for a server.

    :param holder: the host with the key; None if nobody has it any more.
    :param pending: the migration under way, if any.
    """

    PROPERTIES = {
        'holder': _or_null(_TEXT),
        'epoch': _or_null(_COUNT),
        'pending': _or_null(_TEXT),
    }

    holder: str | None
    epoch: int | None
    pending: str | None


@dataclasses.dataclass(frozen=True)
class Protected(Fields):
    """What vault and ledger know of a server.

    :param state: of the vault: none, held, incoming, outgoing, moving or
        relinquished.
    :param migration: the hand-over that the vault's record belongs to; ''
        for none.
    :param ledger: None if it has no row, or was not asked.
    :param ledger_known: whether the ledger answered.
    """

    PROPERTIES = {
        'state': _TEXT,
        'epoch': _COUNT,
        'migration': _TEXT,
        'ledger': _or_null(schemas.closed(LedgerRow.PROPERTIES)),
        'ledger_known': _BOOLEAN,
    }
    PARTS = {'ledger': LedgerRow}

    state: str
    epoch: int
    migration: str
    ledger: LedgerRow | None
    ledger_known: bool


@dataclasses.dataclass(frozen=True)
class Key(Fields):
    """A key in custody, by the name of its libvirt secret."""

    PROPERTIES = {'secret_uuid': schemas.UUID, 'epoch': schemas.EPOCH}

    secret_uuid: str
    epoch: int


@dataclasses.dataclass(frozen=True)
class Received(Key):
    """The same, and what the hand-over cost: milliseconds, commands."""

    PROPERTIES = {**Key.PROPERTIES, 'ms': _SECONDS, 'tpm_commands': _COUNT}

    ms: float
    tpm_commands: int


@dataclasses.dataclass(frozen=True)
class Started(Fields):
    """Where the permit sends the stream.

    :param tls_name: the name in the destination's certificate; '' for a
        stream without TLS.
    """

    PROPERTIES = {'address': _TEXT, 'tls_name': _TEXT}

    address: str
    tls_name: str


@dataclasses.dataclass(frozen=True)
class Ended(Fields):
    """Why the agent was told to end a stream.

    :param reason: reason id; '' if it was not.
    :param host: the end that is the cause; '' if neither is.
    :param reasons: why that host is not trusted, reason ids.
    """

    PROPERTIES = {'reason': _TEXT, 'host': _TEXT, 'reasons': _TEXTS}

    reason: str
    host: str
    reasons: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Noted(Fields):
    """A statement's fate.

    :param queued: whether it is, or was already, noted durably.
    :param receipt: the signed receipt, if it came while waiting.
    :param outcome: the receipt's.
    """

    PROPERTIES = {
        'queued': _BOOLEAN,
        'receipt': _or_null(_TEXT),
        'outcome': _or_null(_TEXT),
    }

    queued: bool
    receipt: str | None = None
    outcome: str | None = None
