# SPDX-License-Identifier: Apache-2.0
"""Bodies of attestations, one per purpose, hashed into the quote as sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

from korora_nova import errors
from korora_nova.custody import decision, messages
from korora_nova.custody.moves import MOVE, Move
from korora_nova.custody.words import Statement
from korora_nova.rats import schemas
from korora_nova.rats.x509 import stream

#: Servers in one report, and documents in one presentation.
PAGE = 1024
PRESENTED = 64

_KEYS = {
    'type': 'array',
    'minItems': 1,
    'maxItems': 64,
    'items': {
        'type': 'array',
        'minItems': 3,
        'maxItems': 3,
        'prefixItems': [schemas.UUID, schemas.EPOCH, schemas.hex_string(8)],
    },
}
_KID: schemas.Schema = {'anyOf': [schemas.hex_string(8), {'const': ''}]}
_KNOWN = {
    'type': 'array',
    'maxItems': PAGE,
    'items': {
        'type': 'array',
        'minItems': 4,
        'maxItems': 4,
        'prefixItems': [schemas.UUID, schemas.EPOCH, schemas.DIGEST, _KID],
    },
}

_BOUND = {'anyOf': [schemas.UUID, {'const': ''}]}
#: Fields of :class:`Enforcer`, as JSON Schema.
ENFORCER: schemas.Schema = {
    'driver': schemas.text(128),
    'version': schemas.text(64),
    'drift': schemas.text(1024, 0),
    'seen': {'type': 'integer', 'minimum': 0, 'maximum': 86400},
}


#: Fields of :class:`Tls`, as JSON Schema.
TLS: schemas.Schema = {
    'request': schemas.base64_string(stream.MAX_REQUEST),
    'serial': {
        'type': 'string',
        'maxLength': 40,
        'pattern': '^[0-9a-f]*' + schemas.END,
    },
}


class Key(NamedTuple):
    """The key of one server at one epoch.

    :param kid: of the approval key that it rests under.
    """

    instance: str
    epoch: int
    kid: str


class Known(NamedTuple):
    """What a host knows of one server.

    :param version: of its newest document; ``digest`` of that, hex.
    :param kid: approval key that the key rests under; '' without key.
    """

    instance: str
    version: int
    digest: str
    kid: str


class Enforcer(NamedTuple):
    """Who enforces on this host what the service says: its nova-compute.

    :param driver: the compute driver's class; ``version`` of this package.
    :param drift: why protected servers are refused, '' if nothing is wrong.
    :param seen: seconds since nova-compute was heard from.
    """

    driver: str
    version: str
    drift: str
    seen: int


class Tls(NamedTuple):
    """What a host wants to stream with, and what it has.

    :param request: ``x509.stream.request``, base64.
    :param serial: hex, of the certificate that it has; '' if it has none.
    """

    request: str
    serial: str


@dataclasses.dataclass(frozen=True)
class Body(messages.Message):
    """The body of an attestation with one purpose.

    :cvar PURPOSE: is hashed into the quote beside the body.
    """

    PURPOSE: ClassVar[str]


@dataclasses.dataclass(frozen=True)
class Attest(Body):
    """The host reports facts and wants nothing but its result (C11).

    :param known: servers whose documents this host has: those whose ids
        come after ``after``, up to and with ``upto``. Both are empty without
        bound, so that one report of a host with few servers has them all.
    :param enforcer: None if nova-compute was not heard from for a while.
    :param tls: None if this host wants no certificate for its streams.
    """

    PURPOSE = 'attest'
    SCHEMA = schemas.closed(
        {
            'version': schemas.VERSION,
            'known': _KNOWN,
            'after': _BOUND,
            'upto': _BOUND,
            'enforcer': schemas.closed(ENFORCER),
            'tls': schemas.closed(TLS),
        },
        optional=('after', 'upto', 'enforcer', 'tls'),
    )

    known: tuple[Known, ...]
    after: str = ''
    upto: str = ''
    enforcer: Enforcer | None = None
    tls: Tls | None = None

    @classmethod
    def page(
        cls,
        known: Iterable[Known],
        after: str,
        enforcer: Enforcer | None = None,
        tls: Tls | None = None,
    ) -> Attest:
        """The report of the first servers after one; all, if they fit.

        The next page begins after this one's ``upto``.
        """
        rest = sorted(one for one in known if one.instance > after)
        upto = rest[PAGE - 1].instance if len(rest) > PAGE else ''
        return cls(tuple(rest[:PAGE]), after, upto, enforcer, tls)

    def covers(self, instance: str) -> bool:
        """Whether the page says something about a server."""
        return self.after < instance and (
            not self.upto or instance <= self.upto
        )

    @property
    def is_whole(self) -> bool:
        """Whether it is all that the host knows, or the end of it."""
        return not self.upto

    def to_json(self) -> dict[str, object]:
        """See :meth:`.Message.to_json`; without what it has not."""
        document = super().to_json()
        if self.enforcer is not None:
            document['enforcer'] = self.enforcer._asdict()
        if self.tls is not None:
            document['tls'] = self.tls._asdict()
        for name in ('after', 'upto', 'enforcer', 'tls'):
            if not document[name]:
                del document[name]
        return document

    @classmethod
    def from_json(cls, document: object) -> Attest:
        """See :meth:`.Message.from_json`."""
        fields = messages.validate(document, cls.SCHEMA)
        page = cls(
            tuple(
                # In JSON 3.0 is an integer, too.
                Known(instance, int(version), digest, kid)
                for instance, version, digest, kid in fields['known']
            ),
            fields.get('after', ''),
            fields.get('upto', ''),
            _enforcer(fields.get('enforcer')),
            Tls(**fields['tls']) if 'tls' in fields else None,
        )
        if not all(page.covers(one.instance) for one in page.known):
            raise errors.Invalid(
                errors.Reason.INVALID_REQUEST,
                'The report names a server outside of its bounds.',
            )
        return page


@dataclasses.dataclass(frozen=True)
class ListPart(Body):
    """A part of the IMA list, which is too long to be sent at once (C13).

    :param start: its offset in the list, bytes.
    :param digest: SHA-256 of it, hex.
    """

    PURPOSE = 'list'
    SCHEMA = schemas.closed(
        {
            'version': schemas.VERSION,
            'start': {'type': 'integer', 'minimum': 0, 'maximum': 2**53 - 1},
            'digest': schemas.DIGEST,
        }
    )

    start: int
    digest: str


@dataclasses.dataclass(frozen=True)
class Present(Body):
    """The host shows documents of the service (C12)."""

    PURPOSE = 'present'
    SCHEMA = schemas.closed(
        {
            'version': schemas.VERSION,
            'documents': {
                'type': 'array',
                'minItems': 1,
                'maxItems': PRESENTED,
                'items': schemas.TOKEN,
            },
        }
    )

    documents: tuple[str, ...]

    @classmethod
    def from_json(cls, document: object) -> Present:
        """See :meth:`.Message.from_json`."""
        fields = messages.validate(document, cls.SCHEMA)
        return cls(tuple(fields['documents']))


@dataclasses.dataclass(frozen=True)
class Claim(Body):
    """First start of a server: this host wants to hold its key.

    :param key: TPM name, hex, of the object that the key is sealed in: what
        tells the same claim, said again, from another one.
    """

    PURPOSE = 'claim'
    SCHEMA = schemas.closed(
        {
            'version': schemas.VERSION,
            'instance': schemas.UUID,
            'key': schemas.NAME,
        }
    )

    instance: str
    key: str


@dataclasses.dataclass(frozen=True)
class Delete(Body):
    """The server was deleted: its holder wants to erase the key."""

    PURPOSE = 'delete'
    SCHEMA = schemas.closed(
        {'version': schemas.VERSION, 'instance': schemas.UUID}
    )

    instance: str


@dataclasses.dataclass(frozen=True)
class Approve(Body):
    """The host's TPM wants to open keys that this host holds."""

    PURPOSE = 'approve'
    SCHEMA = schemas.closed(
        {
            'version': schemas.VERSION,
            'keys': _KEYS,
        }
    )

    keys: tuple[Key, ...]

    @classmethod
    def from_json(cls, document: object) -> Approve:
        """See :meth:`.Message.from_json`."""
        return cls(_keys(messages.validate(document, cls.SCHEMA)['keys']))


@dataclasses.dataclass(frozen=True)
class Receive(Body):
    """A destination is ready: its migration storage key, certified.

    :param msk_public: TPM2B_PUBLIC; ``creation_data`` TPMS_CREATION_DATA,
        ``creation_attest`` TPMS_ATTEST, ``creation_signature``
        TPMT_SIGNATURE by the attestation key.
    :param address: where the stream must go; ``tls_name`` the name in the
        host's certificate, empty without TLS.
    """

    PURPOSE = 'receive'
    SCHEMA = schemas.closed(
        {
            'version': schemas.VERSION,
            'migration': schemas.UUID,
            'instance': schemas.UUID,
            'source': schemas.HOST,
            'msk_public': messages.PUBLIC,
            'creation_data': messages.PUBLIC,
            'creation_attest': messages.BLOB,
            'creation_signature': messages.PUBLIC,
            'address': schemas.text(255),
            'tls_name': schemas.text(255, 0),
            'kind': MOVE,
        },
        optional=('kind',),
    )
    BLOBS = (
        'msk_public',
        'creation_data',
        'creation_attest',
        'creation_signature',
    )
    OPTIONAL = ('kind',)

    migration: str
    instance: str
    source: str
    msk_public: bytes
    creation_data: bytes
    creation_attest: bytes
    creation_signature: bytes
    address: str
    tls_name: str
    kind: Move = Move.LIVE

    @classmethod
    def from_json(cls, document: object) -> Receive:
        """See :meth:`.Message.from_json`."""
        return _of_kind(super().from_json(document))


@dataclasses.dataclass(frozen=True)
class Send(Body):
    """A source asks for the permit; byte strings in hex.

    :param nonce: 32 bytes that the permit must repeat.
    :param msk_name: TPM name of the destination's migration storage key.
    :param kid: approval key that the source's copy rests under.
    """

    PURPOSE = 'send'
    SCHEMA = schemas.closed(
        {
            'version': schemas.VERSION,
            'migration': schemas.UUID,
            'instance': schemas.UUID,
            'nonce': schemas.DIGEST,
            'dest': schemas.HOST,
            'msk_name': schemas.NAME,
            'kid': schemas.hex_string(8),
            'kind': MOVE,
        },
        optional=('kind',),
    )
    OPTIONAL = ('kind',)

    migration: str
    instance: str
    nonce: str
    dest: str
    msk_name: str
    kid: str
    kind: Move = Move.LIVE

    @classmethod
    def from_json(cls, document: object) -> Send:
        """See :meth:`.Message.from_json`."""
        return _of_kind(super().from_json(document))


@dataclasses.dataclass(frozen=True)
class Sealed(Body):
    """The destination has its copy sealed, durably (C6).

    :param permit_hash: digest of the permit, hex.
    :param key: TPM name, hex, of the object that the copy is sealed in.
    """

    PURPOSE = 'sealed'
    SCHEMA = schemas.closed(
        {
            'version': schemas.VERSION,
            'migration': schemas.UUID,
            'permit_hash': schemas.DIGEST,
            'key': schemas.NAME,
        }
    )

    migration: str
    permit_hash: str
    key: str


@dataclasses.dataclass(frozen=True)
class Start(Body):
    """The source wants to start the stream (C7).

    :param permit_hash: digest of the permit, hex.
    """

    PURPOSE = 'start'
    SCHEMA = schemas.closed(
        {
            'version': schemas.VERSION,
            'migration': schemas.UUID,
            'permit_hash': schemas.DIGEST,
        }
    )

    migration: str
    permit_hash: str


@dataclasses.dataclass(frozen=True)
class Tell(Body):
    """An end of a hand-over says a word on what it sees (C8)."""

    PURPOSE = 'tell'
    SCHEMA = schemas.closed(
        {
            'version': schemas.VERSION,
            'migration': schemas.UUID,
            'statement': {
                'enum': sorted(
                    str(word)
                    for words in decision.WORDS.values()
                    for word in words
                )
            },
        }
    )

    migration: str
    statement: Statement

    @classmethod
    def from_json(cls, document: object) -> Tell:
        """See :meth:`.Message.from_json`."""
        fields = messages.validate(document, cls.SCHEMA)
        return cls(fields['migration'], Statement(fields['statement']))


_M = TypeVar('_M', Receive, Send)

#: purpose of an attestation -> its body.
BODIES: dict[str, type[Body]] = {
    body.PURPOSE: body
    for body in (
        Attest,
        ListPart,
        Present,
        Claim,
        Approve,
        Receive,
        Send,
        Sealed,
        Start,
        Tell,
        Delete,
    )
}


def receive_key_body(
    migration: str, instance: str, source: str, msk_public: bytes
) -> bytes:
    """What the certified creation of a migration storage key answers.

    Its qualifying data is ``evidence.qualify(challenge, 'receive-key',
    host, THIS)``: the body of ``receive`` itself holds the attestation and
    cannot be bound into it.
    """
    return messages.dumps(
        {
            'version': 1,
            'migration': migration,
            'instance': instance,
            'source': source,
            'msk_public': messages.b64(msk_public),
        }
    ).encode()


def _of_kind(body: _M) -> _M:
    """With the kind as a word of its own."""
    return dataclasses.replace(body, kind=Move(body.kind))


def _keys(items: Iterable[tuple[str, int, str]]) -> tuple[Key, ...]:
    # In JSON 3.0 is an integer, too.
    return tuple(
        Key(instance, int(epoch), kid) for instance, epoch, kid in items
    )


def _enforcer(fields: Mapping[str, Any] | None) -> Enforcer | None:
    if fields is None:
        return None
    # In JSON 3.0 is an integer, too.
    return Enforcer(**{**fields, 'seen': int(fields['seen'])})
