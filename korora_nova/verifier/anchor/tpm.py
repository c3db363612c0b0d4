# SPDX-License-Identifier: Apache-2.0
"""The anchor in a file whose age a counter of this node's TPM tells.

The file has a generation, which is what the counter shows. To raise a mark,
the file is written with the next generation, then the counter counts. A crash
between the two leaves a file that is one ahead; whoever comes next, also to
read, has the counter count first. A file that is behind was restored.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from oslo_config import cfg

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.tpm import counter
from korora_nova.verifier.anchor import base, file, sql

_POLL = 0.005


class TpmAnchor:
    """See :class:`base.Anchor`; only for a service on one node.

    :ivar counter: the TPM's; it counts commands.
    :raises Unavailable: ANCHOR_UNAVAILABLE, ``[anchor] path`` is not set.
    """

    GUARANTEES: ClassVar[bool] = True

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        group = conf[options.ANCHOR]
        self._timeout: float = group.timeout
        self._path = file.path(group.path)
        self._where = (
            f'the file {self._path} with the counter {group.nv_index} of the '
            f'TPM at {group.tcti}'
        )
        self.counter = counter.Counter(group.tcti, int(group.nv_index, 16))
        self._marks = sql.Marks(
            file.url(self._path), self._where, self._timeout
        )

    def create(self, incarnation: str) -> None:
        """See :meth:`base.Anchor.create`; makes the counter, too.

        The counter counts, so that a file that was put aside is behind.
        """
        file.make(self._path, self._where)
        with self._alone():
            if self._marks.is_made():
                raise base.exists(self._where)
            self.counter.define()
            value = self.counter.read()
            self._marks.create(incarnation, (value or 0) + 1)
            self.counter.increment()

    def get(
        self, incarnation: str, instances: Sequence[str]
    ) -> Mapping[str, base.Mark]:
        """See :meth:`base.Anchor.get`; two TPM commands."""
        file.check(self._path, self._where)
        with self._alone():
            self._settle(incarnation)
            return self._marks.get(incarnation, instances)

    def servers(
        self, incarnation: str, after: str, limit: int
    ) -> Sequence[str]:
        """See :meth:`base.Anchor.servers`; two TPM commands."""
        file.check(self._path, self._where)
        with self._alone():
            self._settle(incarnation)
            return self._marks.servers(incarnation, after, limit)

    def rise(self, incarnation: str, instance: str, mark: base.Mark) -> None:
        """See :meth:`base.Anchor.rise`; five TPM commands, or two."""
        file.check(self._path, self._where)
        with self._alone():
            value = self._settle(incarnation)
            held = self._marks.get(incarnation, [instance]).get(instance)
            if base.is_news(held, mark, instance):
                self._marks.rise(incarnation, instance, mark, value + 1)
                self.counter.increment()

    def _settle(self, incarnation: str) -> int:
        """Compare file and counter, and return what both show.

        :raises Conflict: ANCHOR_MISSING.
        """
        generation = self._marks.generation(incarnation)
        value = self.counter.read()
        if value is None:
            raise base.missing(self._where, 'the TPM has no such counter')
        if generation == value + 1:
            return self.counter.increment()
        if generation < value:
            raise base.missing(
                self._where,
                f'the file is of generation {generation}, and the counter is '
                f'at {value}: it was restored from a backup',
            )
        if generation > value:
            raise base.missing(
                self._where,
                f'the file is of generation {generation}, and the counter is '
                f'at {value}: it belongs to another TPM',
            )
        return value

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep off other threads and processes; errors are the anchor's."""
        try:
            with self._locked():
                yield
        except errors.Unavailable as exc:
            if exc.reason != errors.Reason.TPM_UNAVAILABLE:
                raise
            raise base.unavailable(
                self._where, exc.details.get('rc', exc.message)
            ) from None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(f'{self._path}.lock', flags, 0o600)
        except OSError as exc:
            raise base.unavailable(self._where, str(exc.strerror)) from None
        try:
            end = time.monotonic() + self._timeout
            while not _lock(descriptor):
                if time.monotonic() > end:
                    raise base.unavailable(
                        self._where, 'another process keeps it busy'
                    )
                time.sleep(_POLL)
            yield
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> bool:
    # Of the open file, so that it also keeps threads apart
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
