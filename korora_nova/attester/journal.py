# SPDX-License-Identifier: Apache-2.0
"""The newest document of each server that this host has seen.

From these the service makes rows again that its database lost.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
import threading

from oslo_log import log as logging

from korora_nova import faultpoints
from korora_nova.attester import files
from korora_nova.custody.chain import AnyVerified
from korora_nova.custody.receipt import Receipt

LOG = logging.getLogger(__name__)

#: Servers remembered; those of which nothing was heard for longest go first.
REMEMBERED = 16384
#: Lines beyond twice the servers before the file is written anew.
_SLACK = 64


@dataclasses.dataclass(frozen=True)
class Entry:
    """One document as kept; it was verified before.

    :param hash: digest of the token, hex.
    :param receipt: whether it is one; of ``subject``, or without a
        migration of the server itself.
    """

    instance: str
    version: int
    hash: str
    subject: str
    receipt: bool
    token: str


class Journal:
    """Documents in ``documents.jsonl``, one object per line."""

    def __init__(self, directory: pathlib.Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = directory / 'documents.jsonl'
        self._lock = threading.Lock()
        self._entries: collections.OrderedDict[str, Entry] = (
            collections.OrderedDict()
        )
        self._size = 0  # of the whole lines
        self._lines = 0
        self._load()

    def newest(self, instance: str) -> Entry | None:
        """The newest document of a server that this host has seen."""
        with self._lock:
            return self._entries.get(instance)

    def all(self) -> list[Entry]:
        """The newest document of each server."""
        with self._lock:
            return list(self._entries.values())

    def receipt(self, instance: str, key: str) -> str | None:
        """The receipt of a migration, or that a server's key was given up.

        :param key: id of the migration, or of the server.
        :returns: None as well if the server has a later document.
        """
        entry = self.newest(instance)
        if entry is None or not entry.receipt:
            return None
        return entry.token if key == (entry.subject or instance) else None

    def add(self, document: AnyVerified) -> bool:
        """Keep a document if it is newer; on disk when this returns.

        :returns: whether it was newer.
        :raises OSError: it is not kept.
        """
        content = document.content
        entry = Entry(
            content.instance,
            content.version,
            document.hash,
            content.subject,
            isinstance(content, Receipt),
            document.token,
        )
        with self._lock:
            if not self._is_newer(entry):
                return False
            with faultpoints.step('host.document'):
                self._append(entry)
            self._note(entry)
            if self._lines > 2 * len(self._entries) + _SLACK:
                self._compact()
        return True

    def _is_newer(self, entry: Entry) -> bool:
        known = self._entries.get(entry.instance)
        if known is None or known.version < entry.version:
            return True
        if (known.version, known.hash) != (
            entry.version,
            entry.hash,
        ) and known.version == entry.version:
            LOG.error(
                '%s: the service signed two documents of version %d',
                entry.instance,
                entry.version,
            )
        return False

    def _append(self, entry: Entry) -> None:
        added = _line(entry)
        files.truncate(self._path, self._size)  # a full disk tears lines
        files.append(self._path, added)
        self._size += len(added)
        self._lines += 1

    def _note(self, entry: Entry) -> None:
        self._entries[entry.instance] = entry
        self._entries.move_to_end(entry.instance)
        while len(self._entries) > REMEMBERED:
            self._entries.popitem(last=False)

    def _compact(self) -> None:
        """Write what counts into a new file; the old one would do as well."""
        content = b''.join(map(_line, self._entries.values()))
        try:
            files.write(self._path, content)
        except OSError as exc:
            LOG.warning('%s is not compacted: %s', self._path, exc)
            return
        self._size, self._lines = len(content), len(self._entries)

    def _load(self) -> None:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return
        self._size = content.rfind(b'\n') + 1  # a crash tears the last line
        files.truncate(self._path, self._size)
        lines = content[: self._size].splitlines()
        self._lines = len(lines)
        for number, text in enumerate(lines, 1):
            try:
                entry = _entry(json.loads(text))
            except (ValueError, KeyError, TypeError, RecursionError):
                LOG.warning('Line %d of %s is damaged', number, self._path)
                continue
            if self._is_newer(entry):
                self._note(entry)


def _line(entry: Entry) -> bytes:
    return json.dumps(dataclasses.asdict(entry)).encode() + b'\n'


def _entry(fields: dict[str, object]) -> Entry:
    """:raises KeyError, TypeError, ValueError: a damaged line."""
    return Entry(
        str(fields['instance']),
        int(str(fields['version'])),
        str(fields['hash']),
        str(fields['subject']),
        bool(fields['receipt']),
        str(fields['token']),
    )
