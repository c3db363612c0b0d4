# SPDX-License-Identifier: Apache-2.0
"""Whether what the service needs can be used: keys, database, anchor.

Asked by balancers and by Prometheus, perhaps often, and by anybody: it costs
one look in a few seconds, never more than one thread, and no caller longer
than :data:`PATIENCE`.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from oslo_log import log as logging

from korora_nova import errors
from korora_nova.verifier import results
from korora_nova.verifier.service import Service

LOG = logging.getLogger(__name__)

_R = errors.Reason
#: Seconds for which what was found counts.
REUSE = 5.0
#: Seconds after which what does not answer cannot be used.
PATIENCE = 2.0


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing that the service needs.

    :param reason: the reason id why it cannot be used; '' if it can.
    :param vital: without it this worker can serve nothing.
    """

    name: str
    reason: str
    vital: bool


#: Name -> whether it is vital, and the reason id if it does not answer.
#: Without the anchor hosts still attest, and results are still read.
CHECKS: Mapping[str, tuple[bool, str]] = {
    'keys': (True, _R.KEYS_INVALID),
    'database': (True, _R.DATABASE_UNAVAILABLE),
    'anchor': (False, _R.ANCHOR_UNAVAILABLE),
}


class Health:
    """What was found last, and the thread that looks."""

    def __init__(
        self,
        service: Service,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._look: _Look | None = None

    def current(self) -> Sequence[Check]:
        """All of :data:`CHECKS`, in their order."""
        with self._lock:
            look, now = self._look, self._monotonic()
            if look is None or (
                now - look.began >= REUSE and look.done.is_set()
            ):
                look = self._look = _Look(self._service, now)
                look.start()
        look.done.wait(max(0.0, look.began + PATIENCE - now))
        return look.checks()


class _Look:
    """One look, in a thread of its own: a database may hang for ever."""

    def __init__(self, service: Service, began: float) -> None:
        self.began = began
        self.done = threading.Event()
        self._service = service
        self._found: dict[str, str] = {}

    def start(self) -> None:
        try:
            threading.Thread(
                target=self._run, daemon=True, name='korora-health'
            ).start()
        except RuntimeError as exc:
            LOG.error('No thread can be started: %s', exc)
            self.done.set()

    def checks(self) -> list[Check]:
        """What was found so far; what did not answer cannot be used."""
        return [
            Check(name, self._found.get(name, silent), vital)
            for name, (vital, silent) in CHECKS.items()
        ]

    def _run(self) -> None:
        try:
            self._found['keys'] = _reason(self._keys)
            self._found['database'] = _reason(self._database)
            if not self._found['database']:
                self._found['anchor'] = _reason(self._anchor)
        finally:
            self.done.set()

    def _keys(self) -> None:
        self._service.keyset.signers()

    def _database(self) -> None:
        with self._service.db.read() as session:
            self._incarnation = results.reached(session).incarnation

    def _anchor(self) -> None:
        self._service.anchor.servers(self._incarnation, '', 1)


def _reason(look: Callable[[], None]) -> str:
    """The reason id of what came of it; '' if nothing did."""
    try:
        look()
    except errors.KororaError as exc:
        return exc.reason
    except Exception:  # noqa: BLE001 boundary: a thread's last word
        LOG.exception('A check of health failed')
        return _R.INTERNAL
    return ''
