# SPDX-License-Identifier: Apache-2.0
"""The operations of the agent's local socket.

On the socket a request is ``{"version": 1, "op": OP, ...}``, its answer
``{"version": 1, "ok": true, ...}`` or ``{"version": 1, "error": {...}}``.
Here are the fields of requests; :mod:`korora_nova.custody.answers` has those
of answers. ``to_json`` writes them, ``from_json`` reads them by a closed
schema.

======================  ====================  ============================
request                 answer                asked by
======================  ====================  ============================
Status                  HostStatus            operators; nova-compute once
Attest, Verdict         Appraised             every start, every stream
Enforces                Done                  nova-compute, again and again
Protection              Protected             every operation on a server
Seal, Open              Key                   starts
Launch                  Done                  a guest that is to start now
Close                   Done                  the end of a start
Announce, Start         Done, Started         the source of a migration
CheckAddress, Receive   Done, Received        its destination
Prepare                 Done                  the source of a cold migration
Ended                   Ended                 the source, if a stream failed
StreamCompleted,        Noted                 hooks that tell what happened
NeverStarted, Stays,
Activated, NoDomain,
Forget
======================  ====================  ============================
"""

from __future__ import annotations

import base64
import dataclasses
from typing import Any, ClassVar, TypeVar

from korora_nova import errors
from korora_nova.custody import bodies, messages
from korora_nova.custody.moves import MOVE
from korora_nova.rats import schemas
from korora_nova.secret import Secret

_F = TypeVar('_F', bound='Fields')

_ADDRESS = schemas.text(255)
_WAIT: schemas.Schema = {'type': 'number', 'minimum': 0, 'maximum': 600}
_TLS_NAME: schemas.Schema = {'anyOf': [schemas.text(255, 0), {'type': 'null'}]}


@dataclasses.dataclass(frozen=True)
class Fields:
    """The fields of a request or an answer, without its envelope."""

    #: Field -> its schema, as in JSON Schema.
    PROPERTIES: ClassVar[schemas.Schema] = {}
    #: Fields that are left out while they are None.
    OPTIONAL: ClassVar[tuple[str, ...]] = ()
    #: Field -> type of the object, or of the list's objects, in it.
    PARTS: ClassVar[dict[str, type[Fields]]] = {}

    @classmethod
    def from_json(cls: type[_F], fields: object) -> _F:
        """:raises Invalid: INVALID_REQUEST, without any value in it."""
        messages.validate(fields, schemas.closed(cls.PROPERTIES, cls.OPTIONAL))
        assert isinstance(fields, dict)  # noqa: S101 says the schema
        return cls(
            **{name: cls._read(name, value) for name, value in fields.items()}
        )

    @classmethod
    def _read(cls, name: str, value: Any) -> object:
        """A field's value, which follows its schema."""
        part = cls.PARTS.get(name)
        if isinstance(value, list):
            return tuple(part(**item) if part else item for item in value)
        return part(**value) if part and value is not None else value

    def to_json(self) -> dict[str, Any]:
        return {
            field.name: _plain(value)
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) is not None
            or field.name not in self.OPTIONAL
        }


def _plain(value: object) -> object:
    if isinstance(value, Fields):
        return value.to_json()
    if isinstance(value, Secret):
        return base64.b64encode(value.reveal()).decode()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


# Requests


@dataclasses.dataclass(frozen=True)
class Request(Fields):
    """Asks for one operation."""

    OP: ClassVar[str]


@dataclasses.dataclass(frozen=True)
class Status(Request):
    """What an operator wants to see of this host."""

    OP = 'status'


@dataclasses.dataclass(frozen=True)
class Attest(Request):
    """Attest this host now.

    :param max_age: seconds; evidence that is not older will do, and new one
        is on its way.
    """

    OP = 'attest'
    PROPERTIES = {'max_age': _WAIT}
    OPTIONAL = ('max_age',)

    max_age: float | None = None


@dataclasses.dataclass(frozen=True)
class Verdict(Request):
    """The service's current word on another host."""

    OP = 'verdict'
    PROPERTIES = {'host': schemas.HOST}

    host: str


@dataclasses.dataclass(frozen=True)
class Enforces(Request):
    """nova-compute runs our driver.

    :param driver: its class; ``release`` of this package in nova-compute.
    :param drift: why it refuses protected servers, '' if nothing is wrong.
    """

    OP = 'enforces'
    # Not "version": that is the message's own
    PROPERTIES = {
        'driver': bodies.ENFORCER['driver'],
        'release': bodies.ENFORCER['version'],
        'drift': bodies.ENFORCER['drift'],
    }

    driver: str
    release: str
    drift: str


@dataclasses.dataclass(frozen=True)
class OfServer(Request):
    """A request about one server."""

    PROPERTIES = {'instance': schemas.UUID}

    instance: str


@dataclasses.dataclass(frozen=True)
class Protection(OfServer):
    """Whether a server is protected.

    :param ledger: false: answer from the vault alone, without the network.
    """

    OP = 'protection'
    PROPERTIES = {**OfServer.PROPERTIES, 'ledger': {'type': 'boolean'}}
    OPTIONAL = ('ledger',)

    ledger: bool = True


@dataclasses.dataclass(frozen=True)
class Seal(OfServer):
    """Take a new key into custody; the passphrase travels in base64."""

    OP = 'seal'
    PROPERTIES = {
        **OfServer.PROPERTIES,
        'secret_uuid': schemas.UUID,
        'passphrase': schemas.base64_string(4096),
    }

    secret_uuid: str
    passphrase: Secret

    @classmethod
    def _read(cls, name: str, value: Any) -> object:
        if name != 'passphrase':
            return super()._read(name, value)
        try:
            passphrase = base64.b64decode(value, validate=True)
        except ValueError:
            raise errors.Invalid(errors.Reason.INVALID_REQUEST) from None
        if not passphrase:
            raise errors.Invalid(errors.Reason.INVALID_REQUEST)
        return Secret(passphrase)


@dataclasses.dataclass(frozen=True)
class Open(OfServer):
    """Give libvirt the passphrase, under a fresh approval."""

    OP = 'open'


@dataclasses.dataclass(frozen=True)
class Launch(OfServer):
    """The guest starts now: is its vTPM's state as it was?"""

    OP = 'launch'


@dataclasses.dataclass(frozen=True)
class Close(OfServer):
    """Take the passphrase from libvirt."""

    OP = 'close'


@dataclasses.dataclass(frozen=True)
class Announce(OfServer):
    """This host's own Nova is about to migrate a server away."""

    OP = 'announce'


@dataclasses.dataclass(frozen=True)
class CheckAddress(Request):
    """Compare where Nova and the agent receive live migrations."""

    OP = 'check_address'
    PROPERTIES = {'address': _ADDRESS}

    address: str


@dataclasses.dataclass(frozen=True)
class OfMigration(OfServer):
    """A request about one migration of a server."""

    PROPERTIES = {'instance': schemas.UUID, 'migration': schemas.UUID}

    migration: str


@dataclasses.dataclass(frozen=True)
class Receive(OfMigration):
    """Get a server's key from its source.

    :param tls_name: this host's name in Nova if the stream uses TLS.
    """

    OP = 'receive'
    PROPERTIES = {
        **OfMigration.PROPERTIES,
        'source': schemas.HOST,
        'address': _ADDRESS,
        'tls_name': _TLS_NAME,
    }

    source: str
    address: str
    tls_name: str | None


@dataclasses.dataclass(frozen=True)
class Start(OfMigration):
    """Let the memory stream start.

    :param tls_name: the destination's name in Nova if the stream uses TLS.
    """

    OP = 'start'
    PROPERTIES = {
        **OfMigration.PROPERTIES,
        'dest': schemas.HOST,
        'address': _ADDRESS,
        'tls_name': _TLS_NAME,
    }

    dest: str
    address: str
    tls_name: str | None


@dataclasses.dataclass(frozen=True)
class Prepare(OfMigration):
    """Hand a key over before a cold migration, all of it.

    After the answer the key opens at one end only: here, if ``stays`` is
    said or the server is started here; there, if it is started there.

    :param kind: of :class:`.moves.Move`.
    """

    OP = 'prepare'
    PROPERTIES = {
        **OfMigration.PROPERTIES,
        'dest': schemas.HOST,
        'kind': MOVE,
    }

    dest: str
    kind: str


@dataclasses.dataclass(frozen=True)
class Statement(OfMigration):
    """What happened to a migration; harmless if told again.

    :param wait: seconds to await the receipt.
    """

    PROPERTIES = {**OfMigration.PROPERTIES, 'wait': _WAIT}
    OPTIONAL = ('wait',)

    wait: float | None = None


@dataclasses.dataclass(frozen=True)
class StreamCompleted(Statement):
    """The source's memory is all at the destination."""

    OP = 'stream_completed'


@dataclasses.dataclass(frozen=True)
class NeverStarted(Statement):
    """The source did not call libvirt, and will not."""

    OP = 'never_started'


@dataclasses.dataclass(frozen=True)
class Stays(OfMigration):
    """The cold migration failed: the server is still at the source."""

    OP = 'stays'


@dataclasses.dataclass(frozen=True)
class Activated(Statement):
    """The guest runs at the destination; a cold one belongs there now."""

    OP = 'activated'


@dataclasses.dataclass(frozen=True)
class NoDomain(Statement):
    """The destination has no guest, and will not have one."""

    OP = 'no_domain'


@dataclasses.dataclass(frozen=True)
class Ended(OfMigration):
    """Whether this host's agent was told to end the stream, and why."""

    OP = 'ended'


@dataclasses.dataclass(frozen=True)
class Forget(OfServer):
    """The server was deleted.

    :param wait: seconds to await the receipt.
    """

    OP = 'forget'
    PROPERTIES = {**OfServer.PROPERTIES, 'wait': _WAIT}
    OPTIONAL = ('wait',)

    wait: float | None = None


#: Every operation of the socket.
REQUESTS: dict[str, type[Request]] = {
    request.OP: request
    for request in (
        Status,
        Attest,
        Verdict,
        Enforces,
        Protection,
        Seal,
        Open,
        Launch,
        Close,
        Announce,
        CheckAddress,
        Receive,
        Start,
        Prepare,
        StreamCompleted,
        NeverStarted,
        Stays,
        Activated,
        NoDomain,
        Ended,
        Forget,
    )
}
