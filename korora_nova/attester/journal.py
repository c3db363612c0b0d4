# SPDX-License-Identifier: Apache-2.0
"""The receipts that this host was given; from them a ledger is rebuilt."""

from __future__ import annotations

import collections
import json
import pathlib
import threading

from oslo_log import log as logging

from korora_nova.attester import files
from korora_nova.custody.receipt import VerifiedReceipt
from korora_nova.custody.words import Outcome

LOG = logging.getLogger(__name__)

_REMEMBERED = 4096


class Journal:
    """Receipts in ``receipts.jsonl``, one object per line."""

    def __init__(self, directory: pathlib.Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = directory / 'receipts.jsonl'
        self._lock = threading.Lock()
        self._seq = 0
        self._head = ''
        self._head_token = ''
        self._tokens: collections.OrderedDict[str, str] = (
            collections.OrderedDict()
        )
        self._commits: dict[str, str] = {}
        self._size = 0  # of the whole lines
        self._load()

    @property
    def head(self) -> str:
        """Digest, hex, of the latest receipt seen; empty before any."""
        with self._lock:
            return self._head

    @property
    def head_token(self) -> str:
        """The latest receipt seen; empty before any."""
        with self._lock:
            return self._head_token

    def find(self, key: str) -> str | None:
        """The receipt of a migration, or of a deleted instance."""
        with self._lock:
            return self._tokens.get(key)

    def superseding(self, instance: str) -> str | None:
        """The latest receipt that moved a server's key somewhere."""
        with self._lock:
            return self._commits.get(instance)

    def add(self, receipt: VerifiedReceipt) -> None:
        """Keep a receipt; on disk when this returns.

        :raises OSError: it is not kept.
        """
        content = receipt.receipt
        line = {
            'seq': content.seq,
            'hash': receipt.hash,
            'key': content.migration or content.instance,
            'instance': content.instance,
            'outcome': content.outcome,
            'token': receipt.token,
        }
        with self._lock:
            if self._tokens.get(str(line['key'])) == receipt.token:
                return
            added = json.dumps(line).encode() + b'\n'
            files.truncate(self._path, self._size)  # a full disk tears lines
            files.append(self._path, added)
            self._size += len(added)
            self._note(line)

    def _note(self, line: dict[str, object]) -> None:
        seq = int(str(line['seq']))
        if seq >= self._seq:
            self._seq, self._head = seq, str(line['hash'])
            self._head_token = str(line['token'])
        self._tokens[str(line['key'])] = str(line['token'])
        if line['outcome'] == Outcome.COMMITTED:
            self._commits[str(line['instance'])] = str(line['token'])
        while len(self._tokens) > _REMEMBERED:
            self._tokens.popitem(last=False)

    def _load(self) -> None:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return
        self._size = content.rfind(b'\n') + 1  # a crash tears the last line
        files.truncate(self._path, self._size)
        lines = content[: self._size].splitlines()
        for number, text in enumerate(lines, 1):
            try:
                self._note(json.loads(text))
            except (ValueError, KeyError, TypeError):
                LOG.warning('Line %d of %s is damaged', number, self._path)
