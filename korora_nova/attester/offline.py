# SPDX-License-Identifier: Apache-2.0
"""Approvals that the service gave in advance, for when it cannot be reached.

They are no secret: each serves this TPM only, in this boot and state, until
its clock has passed the deadline. So they lie open in the state directory,
where they outlive the agent, with the number of starts that is left of each.
A number goes down on disk before its approval is used.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import threading
from collections.abc import Callable

from oslo_log import log as logging

from korora_nova import errors, metrics
from korora_nova.attester import boot, files
from korora_nova.custody import messages
from korora_nova.custody.approval import SCHEMA as _APPROVAL
from korora_nova.custody.approval import Approval
from korora_nova.custody.offline import MOST, MOST_STARTS
from korora_nova.custody.offline import Offline as Heard
from korora_nova.rats import schemas

LOG = logging.getLogger(__name__)

_SCHEMA = schemas.closed(
    {
        'version': schemas.VERSION,
        'boot_id': schemas.text(64),
        'windows': {
            'type': 'array',
            'maxItems': MOST,
            'items': schemas.closed(
                {
                    'approval': _APPROVAL,
                    'left': {
                        'type': 'integer',
                        'minimum': 0,
                        'maximum': MOST_STARTS,
                    },
                }
            ),
        },
    }
)


@dataclasses.dataclass(frozen=True)
class _Window:
    """An approval, and for how many starts it serves."""

    approval: Approval
    left: int


class Offline:
    """What this host may start without asking, by server.

    :param path: of the file; there is none while there is nothing to keep.
    :param holds: whether a server's key of an epoch is held here now.
    :param is_trusted: whether the service still trusts this host.
    """

    def __init__(
        self,
        path: pathlib.Path,
        holds: Callable[[str, int], bool],
        is_trusted: Callable[[], bool],
    ) -> None:
        self._path = path
        self._holds = holds
        self._is_trusted = is_trusted
        self._lock = threading.Lock()
        self._windows = self._read()

    def hear(self, heard: Heard | None) -> None:
        """Keep what an attestation brought; None: nothing.

        All is lost if it cannot be written, and nothing is kept if the
        service has said no meanwhile.
        """
        if heard is not None and heard.kept:
            return
        approvals = heard.approvals if heard is not None else ()
        starts = heard.starts if heard is not None else 0
        with self._lock:
            if not self._is_trusted():
                approvals = ()
            self._keep(
                {
                    one.instance: _Window(one, starts)
                    for one in approvals
                    if self._holds(one.instance, one.epoch)
                }
            )

    def drop(self, instance: str) -> None:
        """This server is started only with a fresh approval."""
        with self._lock:
            if instance in self._windows:
                self._keep(
                    {
                        name: window
                        for name, window in self._windows.items()
                        if name != instance
                    }
                )

    def drop_all(self) -> None:
        """No server is started without a fresh approval."""
        with self._lock:
            if self._windows:
                LOG.warning(
                    'The service trusts this host no more: nothing is '
                    'started here without it'
                )
            self._keep({})

    def take(self, instance: str, epoch: int) -> Approval | None:
        """Use an approval for one start; None: there is none.

        :raises CustodyError: OFFLINE_SPENT.
        """
        with self._lock:
            window = self._windows.get(instance)
            if window is None or window.approval.epoch != epoch:
                return None
            if window.left < 1:
                raise errors.CustodyError(
                    errors.Reason.OFFLINE_SPENT,
                    details={'instance': instance},
                )
            self._keep(
                {
                    **self._windows,
                    instance: _Window(window.approval, window.left - 1),
                }
            )
            # None, if it could not be counted
            left = self._windows.get(instance)
            return left.approval if left is not None else None

    def _keep(self, windows: dict[str, _Window]) -> None:
        """Have these, in memory and on disk, or none at all."""
        before, self._windows = self._windows, {}
        try:
            if windows:
                files.write(self._path, _content(windows))
                self._windows = windows
            elif before:
                files.remove(self._path)
        except OSError as exc:
            LOG.error('Approvals in advance were not kept: %s', exc)
            self._remove()
        metrics.AGENT_OFFLINE_SERVERS.set(len(self._windows))

    def _read(self) -> dict[str, _Window]:
        """What is left of this boot; the rest is removed."""
        try:
            fields = messages.loads(self._path.read_text('utf-8'), _SCHEMA)
            if fields['boot_id'] == boot.boot_id():
                found = [
                    _Window(Approval.from_json(one['approval']), one['left'])
                    for one in fields['windows']
                ]
                return {one.approval.instance: one for one in found}
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError, errors.KororaError) as exc:
            LOG.warning('Approvals in advance cannot be read: %s', exc)
        self._remove()
        return {}

    def _remove(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError as exc:
            LOG.error('%s: remove it: %s', self._path, exc)


def _content(windows: dict[str, _Window]) -> bytes:
    document = {
        'version': 1,
        'boot_id': boot.boot_id(),
        'windows': [
            {'approval': one.approval.to_json(), 'left': one.left}
            for one in windows.values()
        ],
    }
    return json.dumps(document).encode()
