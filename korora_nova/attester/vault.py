# SPDX-License-Identifier: Apache-2.0
"""One record per server and epoch: a sealed key, and where it stands.

::

    (none) --claiming--> held --outgoing--> starting --moving--> (none)
                          ^        |           |         |  committed,
                          |        |           |         |  no domain here
                          +--------+-aborted---+---------+

    (none) --receiving--> incoming --committed--> held
                  |           |
                  +-----------+--> relinquished --aborted--> (none)

    held --forgotten--> (none), on the receipt of the deletion

Only ``held`` can be opened.  A record that holds a key is removed on a
document of the service only.  Nothing in it is a plaintext: the passphrase is
in an envelope whose key the TPM opens under an approval.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from oslo_log import log as logging

from korora_nova import errors, faultpoints
from korora_nova.attester import boot, files
from korora_nova.custody import messages
from korora_nova.custody.chain import AnyVerified
from korora_nova.custody.moves import MOVE, Move
from korora_nova.custody.words import Statement, VaultState
from korora_nova.rats import schemas

LOG = logging.getLogger(__name__)

#: States of a key that this host had before the hand-over under way.
AS_SOURCE = (VaultState.OUTGOING, VaultState.STARTING, VaultState.MOVING)
#: States of a key that this host gets, or nearly got, by a hand-over.
AS_DEST = (VaultState.RECEIVING, VaultState.INCOMING, VaultState.RELINQUISHED)

#: Version of the format.
VERSION = 2

_BLOBS = ('public', 'private', 'envelope')
_TOKEN = schemas.text(16384, 0)

_SCHEMA = schemas.closed(
    {
        'version': {'const': VERSION},
        'instance': schemas.UUID,
        'state': {'enum': [str(word) for word in VaultState]},
        'epoch': schemas.COUNTER,
        'secret_uuid': {'anyOf': [schemas.UUID, {'const': ''}]},
        'ak_name': schemas.NAME,
        'srk_name': schemas.NAME,
        'kid': schemas.text(64, 0),
        'public': schemas.base64_string(1024),
        'private': schemas.base64_string(1024),
        'envelope': schemas.base64_string(8192),
        'migration': {'anyOf': [schemas.UUID, {'const': ''}]},
        'document': _TOKEN,
        'rests_on': schemas.COUNTER,
        'permit': _TOKEN,
        'peer': schemas.text(255, 0),
        'statement': {'enum': ['', *(str(word) for word in Statement)]},
        'forget': {'type': 'boolean'},
        'boot_id': schemas.text(64, 0),
        'since': {'type': 'number'},
        'kind': MOVE,
        'vtpm_hash': schemas.hex_string(32),
    },
    optional=('kind', 'vtpm_hash'),
)


@dataclasses.dataclass(frozen=True)
class Record:
    """What this host has of one server's key at one epoch.

    :param epoch: of the key in the blobs; 0 while it is not known.
    :param ak_name: TPM names, hex, of the keys it was sealed for.
    :param kid: approval key whose approvals open it.
    :param public: sealed object; ``envelope`` is under the key inside it.
    :param migration: the hand-over under way, and its other host.
    :param document: the newest document, a signed token, that the record
        rests on, and its version; '' and 0 before any.
    :param permit: of the hand-over under way, a signed token.
    :param statement: the last word to the attestation service.
    :param forget: the server was deleted while a hand-over was under way.
    :param since: CLOCK_BOOTTIME of the boot ``boot_id`` at the last change
        of state.
    :param kind: of the hand-over under way.
    :param vtpm_hash: SHA-256, hex, of the vTPM's state since its guest stopped
        here; '' if it was not noted, or the guest may have run since.
    """

    instance: str
    state: VaultState
    ak_name: str
    srk_name: str
    epoch: int = 0
    secret_uuid: str = ''
    kid: str = ''
    public: bytes = dataclasses.field(default=b'', repr=False)
    private: bytes = dataclasses.field(default=b'', repr=False)
    envelope: bytes = dataclasses.field(default=b'', repr=False)
    migration: str = ''
    document: str = dataclasses.field(default='', repr=False)
    rests_on: int = 0
    permit: str = dataclasses.field(default='', repr=False)
    peer: str = ''
    statement: Statement | None = None
    forget: bool = False
    boot_id: str = ''
    since: float = 0.0
    kind: Move = Move.LIVE
    vtpm_hash: str = ''

    @property
    def is_cold(self) -> bool:
        """Whether its hand-over is one without a stream."""
        return self.kind != Move.LIVE

    @property
    def has_key(self) -> bool:
        """Whether there is a sealed key to lose."""
        return bool(self.private)

    @property
    def key(self) -> tuple[str, str, int, bytes]:
        """What makes two records the same key in the same hand-over."""
        return self.instance, self.migration, self.epoch, self.private

    @property
    def is_of_this_boot(self) -> bool:
        """Whether its state was reached since the host was booted."""
        return self.boot_id == boot.boot_id()

    def moved(self, state: VaultState, **changes: Any) -> Record:
        """This record in another state, from now on."""
        return dataclasses.replace(
            self,
            state=state,
            boot_id=boot.boot_id(),
            since=boot.now(),
            **changes,
        )

    def resting_on(self, document: AnyVerified) -> Record:
        """This record with a newer document."""
        return dataclasses.replace(
            self,
            document=document.token,
            rests_on=document.content.version,
        )

    def settled(self) -> Record:
        """This record after its hand-over was decided: held here."""
        return self.moved(
            VaultState.HELD,
            migration='',
            permit='',
            peer='',
            statement=None,
            kind=Move.LIVE,
        )

    def to_json(self) -> dict[str, object]:
        """JSON object; blobs in base64, no statement as empty text.

        Older agents read it unless a cold hand-over is under way, or the
        state of the vTPM was noted.
        """
        fields = dataclasses.asdict(self)
        for name in _BLOBS:
            fields[name] = messages.b64(fields[name])
        fields['statement'] = self.statement or ''
        if not self.is_cold:
            del fields['kind']
        if not self.vtpm_hash:
            del fields['vtpm_hash']
        return {'version': VERSION, **fields}

    @classmethod
    def from_json(cls, document: object) -> Record:
        """Read what :meth:`to_json` made.

        :raises Invalid: it does not follow the schema.
        """
        fields = messages.validate(document, _SCHEMA)
        del fields['version']
        for name in _BLOBS:
            fields[name] = messages.base64_field(fields[name], name)
        fields['state'] = VaultState(fields['state'])
        told = fields['statement']
        fields['statement'] = Statement(told) if told else None
        fields['kind'] = Move(fields.get('kind', Move.LIVE))
        return cls(**fields)


def current(records: Iterable[Record]) -> Record | None:
    """Of one server's records the one that says where its key stands.

    Epochs only grow: the highest one is the newest. What has no epoch yet
    counts if there is nothing else.
    """
    return max(records, key=lambda record: record.epoch, default=None)


class Vault:
    """The records, each in a file of mode 0600, always read from disk."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._busy: set[str] = set()

    def get(self, instance: str, epoch: int) -> Record | None:
        """One record.

        :raises CustodyError: VAULT_DAMAGED.
        """
        with self._lock:
            try:
                content = self._path(instance, epoch).read_text('utf-8')
            except FileNotFoundError:
                return None
            except (OSError, UnicodeDecodeError):
                raise _damaged(instance) from None
        try:
            record = Record.from_json(json.loads(content))
        except (ValueError, RecursionError, errors.Invalid):
            raise _damaged(instance) from None
        if (record.instance, record.epoch) != (instance, epoch):
            raise _damaged(instance)
        return record

    def find(self, record: Record) -> Record | None:
        """The same key in the same hand-over, as it is now.

        :raises CustodyError: VAULT_DAMAGED.
        """
        found = self.get(record.instance, record.epoch)
        return found if found and found.key == record.key else None

    def of(self, instance: str) -> list[Record]:
        """A server's readable records, by epoch; damaged ones are logged."""
        return list(self._read(self._names(instance)))

    def current(self, instance: str) -> Record | None:
        """The record that says where a server's key stands.

        :raises CustodyError: VAULT_DAMAGED, the only ones are.
        """
        names = self._names(instance)
        record = current(self._read(names))
        if record is None and names:
            raise _damaged(instance)
        return record

    def of_migration(self, instance: str, migration: str) -> Record | None:
        """The record of a hand-over."""
        return current(
            record
            for record in self.of(instance)
            if record.migration == migration
        )

    def all(self) -> list[Record]:
        """Every readable record; the damaged ones are logged."""
        return list(self._read(self._names()))

    def put(self, record: Record, point: str = '') -> Record:
        """Store a record; on disk when this returns.

        :param point: of :data:`.faultpoints.POINTS`; else it is the state's.
        """
        content = json.dumps(record.to_json(), indent=1).encode()
        path = self._path(record.instance, record.epoch)
        with self._lock, faultpoints.step(point or f'host.{record.state}'):
            files.write(path, content)
        return record

    def say(self, record: Record, word: Statement) -> Record:
        """Store a record with another word to the service."""
        return self.put(
            dataclasses.replace(record, statement=word), 'host.word'
        )

    def replace(self, old: Record, new: Record) -> Record:
        """Store a record whose epoch has become known.

        A crash between the two steps leaves both: see :meth:`of_migration`.

        :raises CustodyError: VAULT_STATE, the old one was changed meanwhile.
        """
        with self._lock:
            if self.get(old.instance, old.epoch) != old:
                raise errors.CustodyError(errors.Reason.VAULT_STATE)
            self.put(new)
            if new.epoch != old.epoch:
                files.remove(self._path(old.instance, old.epoch))
        return new

    def erase(self, record: Record) -> None:
        """Remove a record; gone from disk when this returns."""
        with self._lock, faultpoints.step('host.erase'):
            files.remove(self._path(record.instance, record.epoch))

    def is_free(self, instance: str, epoch: int) -> bool:
        """Whether there is no record, and no damaged one, either."""
        return (instance, epoch) not in self._names(instance)

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Read and write without others in between; never over a network."""
        with self._lock:
            yield

    @contextlib.contextmanager
    def busy(self, instance: str) -> Iterator[None]:
        """Single flight of what uses one server's key.

        :raises Retry: BUSY.
        """
        with self._lock:
            if instance in self._busy:
                raise errors.Retry(errors.Reason.BUSY)
            self._busy.add(instance)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(instance)

    def is_busy(self, instance: str) -> bool:
        """Whether an operation on this server's key is in flight."""
        with self._lock:
            return instance in self._busy

    def _path(self, instance: str, epoch: int) -> pathlib.Path:
        return self._directory / f'{instance}.{epoch}.json'

    def _names(self, instance: str = '') -> list[tuple[str, int]]:
        """(server, epoch) of the files there are, in this order."""
        found = []
        for name in os.listdir(self._directory):
            server, _, rest = name.partition('.')
            epoch, _, suffix = rest.partition('.')
            if (
                suffix == 'json'
                and epoch.isdecimal()
                and server
                and (not instance or server == instance)
            ):
                found.append((server, int(epoch)))
        return sorted(found)

    def _read(self, names: Iterable[tuple[str, int]]) -> Iterator[Record]:
        for instance, epoch in names:
            try:
                record = self.get(instance, epoch)
            except errors.CustodyError as exc:
                LOG.error('%s %s', self._path(instance, epoch), exc)
                continue
            if record is not None:
                yield record


def _damaged(instance: str) -> errors.CustodyError:
    return errors.CustodyError(
        errors.Reason.VAULT_DAMAGED, details={'instance': instance}
    )
