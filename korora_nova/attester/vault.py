# SPDX-License-Identifier: Apache-2.0
"""One record per server: its sealed key, and where that stands.

::

    (none) --claiming--> held --outgoing--> moving --committed--> (none)
                          ^ ^       |         |
                          | +-------+-aborted-+
                          |
    (none) --receiving--> incoming --committed--> held
                  |           |
                  +-----------+--> relinquished --aborted--> (none)

    held --forgotten--> (none), on the receipt of the deletion

Only ``held`` can be opened.  A record that holds a key is removed on a
receipt only.  Nothing in it is a plaintext: the passphrase is in an envelope
whose key the TPM opens under an approval.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

from oslo_log import log as logging

from korora_nova import errors
from korora_nova.attester import boot, files
from korora_nova.custody import messages
from korora_nova.custody.words import Statement, VaultState
from korora_nova.rats import schemas

LOG = logging.getLogger(__name__)

#: States of a key that this host had before the hand-over under way.
AS_SOURCE = (VaultState.OUTGOING, VaultState.MOVING)
#: States of a key that this host gets, or nearly got, by a hand-over.
AS_DEST = (VaultState.RECEIVING, VaultState.INCOMING, VaultState.RELINQUISHED)

_BLOBS = ('public', 'private', 'envelope')

_SCHEMA = schemas.closed(
    {
        'version': schemas.VERSION,
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
        'permit': schemas.text(16384, 0),
        'peer': schemas.text(255, 0),
        'statement': {'enum': ['', *(str(word) for word in Statement)]},
        'forget': {'type': 'boolean'},
        'boot_id': schemas.text(64, 0),
        'since': {'type': 'number'},
    }
)


@dataclasses.dataclass(frozen=True)
class Record:
    """What this host has of one server's key.

    :param epoch: of the key in the blobs; 0 while there is none.
    :param ak_name: TPM names, hex, of the keys it was sealed for.
    :param kid: approval key whose approvals open it.
    :param public: sealed object; ``envelope`` is under the key inside it.
    :param migration: the hand-over under way, and its other host.
    :param permit: the source's permit, a signed token.
    :param statement: what the attestation service is still to be told.
    :param forget: the server was deleted while a hand-over was under way.
    :param since: CLOCK_BOOTTIME of the boot ``boot_id`` at the last change
        of state.
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
    permit: str = dataclasses.field(default='', repr=False)
    peer: str = ''
    statement: Statement | None = None
    forget: bool = False
    boot_id: str = ''
    since: float = 0.0

    @property
    def has_key(self) -> bool:
        """Whether there is a sealed key to lose."""
        return bool(self.private)

    def moved(self, state: VaultState, **changes: Any) -> Record:
        """This record in another state, from now on."""
        return dataclasses.replace(
            self,
            state=state,
            boot_id=boot.boot_id(),
            since=boot.now(),
            **changes,
        )

    def settled(self) -> Record:
        """This record after its hand-over was decided: held here."""
        return self.moved(
            VaultState.HELD, migration='', permit='', peer='', statement=None
        )

    def to_json(self) -> dict[str, object]:
        """JSON object; blobs in base64, no statement as empty text."""
        fields = dataclasses.asdict(self)
        for name in _BLOBS:
            fields[name] = messages.b64(fields[name])
        fields['statement'] = self.statement or ''
        return {'version': 1, **fields}

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
        return cls(**fields)


class Vault:
    """The records, each in a file of mode 0600, always read from disk."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._busy: set[str] = set()

    def get(self, instance: str) -> Record | None:
        """The record of a server.

        :raises CustodyError: VAULT_DAMAGED.
        """
        with self._lock:
            try:
                content = self._path(instance).read_text(encoding='utf-8')
            except FileNotFoundError:
                return None
            except (OSError, UnicodeDecodeError):
                raise _damaged(instance) from None
        try:
            record = Record.from_json(json.loads(content))
        except (ValueError, errors.Invalid):
            raise _damaged(instance) from None
        if record.instance != instance:
            raise _damaged(instance)
        return record

    def put(self, record: Record) -> Record:
        """Store a record; on disk when this returns."""
        content = json.dumps(record.to_json(), indent=1).encode()
        with self._lock:
            files.write(self._path(record.instance), content)
        return record

    def erase(self, instance: str) -> None:
        """Remove a record; gone from disk when this returns."""
        with self._lock:
            files.remove(self._path(instance))

    def all(self) -> list[Record]:
        """Every readable record; the damaged ones are logged."""
        records = []
        for path in sorted(self._directory.glob('*.json')):
            if path.name.startswith('.'):
                continue
            try:
                record = self.get(path.stem)
            except errors.CustodyError as exc:
                LOG.error('%s', exc)
                continue
            if record is not None:
                records.append(record)
        return records

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

    def _path(self, instance: str) -> pathlib.Path:
        return self._directory / f'{instance}.json'


def _damaged(instance: str) -> errors.CustodyError:
    return errors.CustodyError(
        errors.Reason.VAULT_DAMAGED, details={'instance': instance}
    )
