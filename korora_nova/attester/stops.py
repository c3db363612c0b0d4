# SPDX-License-Identifier: Apache-2.0
"""A vTPM's state: noted when its guest has stopped, compared when it starts.

What a record says of it is true for as long as no guest runs, and removed
before one starts. See doc/adr/0028-vtpm-state-hash.rst.
"""

from __future__ import annotations

import dataclasses
import pathlib
import threading

from oslo_log import log as logging

from korora_nova import errors
from korora_nova.attester import boot, libvirt_secret, vtpm_state
from korora_nova.attester.accepted import Accepted
from korora_nova.attester.host import Host
from korora_nova.attester.vault import Record
from korora_nova.custody.words import VaultState

LOG = logging.getLogger(__name__)

OFF = 'off'
WARN = 'warn'
REFUSE = 'refuse'

#: Seconds between two looks at all servers.
INTERVAL = 5.0
#: Seconds for which a guest must be off: swtpm ends after it, and a reboot
#: starts it again.
SETTLED = 5.0


class Stops:
    """What this host knows of the vTPMs of guests that are off.

    What it has seen of a guest, it has seen in the life of this process: an
    agent that is started again must not take a guest that is just about to
    start for one that has stopped.

    :param check: ``[attester] vtpm_state_check``.
    :param accepted: what operators have accepted.
    :param directory: of all servers' states.
    """

    def __init__(
        self,
        host: Host,
        check: str,
        accepted: Accepted,
        directory: pathlib.Path = vtpm_state.DIRECTORY,
    ) -> None:
        self._host = host
        self._check = check
        self._accepted = accepted
        self._directory = directory
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name='stops', daemon=True
        )
        self._lock = threading.Lock()
        #: Servers whose key was opened for a start that is not over.
        self._starting: set[str] = set()
        #: Servers that ran, or were to, since their state was noted.
        self._ran: set[str] = set()
        #: When those were first seen to be off.
        self._off: dict[str, float] = {}
        #: What was logged of a server.
        self._told: dict[str, str] = {}

    # Starts

    def opened(self, instance: str) -> None:
        """A start begins."""
        if self._check != OFF:
            with self._lock:
                self._starting.add(instance)

    def closed(self, instance: str) -> None:
        """It is over; if the guest does not run, that was a stop, too."""
        with self._lock:
            if instance in self._starting:
                self._starting.discard(instance)
                self._off.pop(instance, None)
                self._ran.add(instance)

    def launch(self, instance: str) -> None:
        """The guest starts now: compare, and know nothing from here on.

        :raises CustodyError: VTPM_STATE_CHANGED.
        :raises Unavailable: VTPM_STATE_UNREADABLE.
        """
        if self._check == OFF:
            return
        self.opened(instance)
        try:
            while record := self._noted(instance):
                self._compare(record)
                if self._note(record, ''):
                    self._accepted.drop(instance)
                    break
        except OSError as exc:
            self._tolerate(instance, exc)

    def _noted(self, instance: str) -> Record | None:
        """A server's record, if it says what state its vTPM has."""
        record = self._host.vault.current(instance)
        return record if record is not None and record.vtpm_hash else None

    def _compare(self, record: Record) -> None:
        """:raises KororaError: it has to be the state that was noted."""
        instance = record.instance
        try:
            found = vtpm_state.measure(instance, self._directory)
            if found == record.vtpm_hash:
                return
            if not self._accepted.has(instance, found):
                raise errors.CustodyError(
                    errors.Reason.VTPM_STATE_CHANGED,
                    details={'found': 'another' if found else 'none'},
                )
            LOG.warning(
                "%s: started with a vTPM's state that an operator accepted",
                instance,
            )
        except errors.KororaError as exc:
            self._tolerate(instance, exc)

    def _tolerate(self, instance: str, exc: Exception) -> None:
        """Raise what refuses a start, or log it."""
        if self._check == REFUSE:
            raise exc
        LOG.warning(
            '%s: started all the same, as [attester] vtpm_state_check says: '
            '%s',
            instance,
            _why(exc),
        )

    # Stops

    def look(self) -> None:
        """Look at each server whose key is held here, once."""
        known = self._host.vault.all()
        instances = {record.instance for record in known}
        with self._lock:
            self._ran &= instances
        for gone in self._told.keys() - instances:
            del self._told[gone]
        self._accepted.keep_only(instances)
        for record in known:
            try:
                self._look(record)
            except (errors.KororaError, OSError) as exc:
                if isinstance(exc, errors.KororaError) and (
                    exc.reason == errors.Reason.LIBVIRT_UNAVAILABLE
                ):
                    return
                self._tell(record.instance, _why(exc))

    def _tell(self, instance: str, why: str) -> None:
        """Log why nothing could be noted, once."""
        if self._told.get(instance) != why:
            self._told[instance] = why
            LOG.warning("%s: its vTPM's state is not noted: %s", instance, why)

    def _look(self, record: Record) -> None:
        if self._check == OFF:
            if record.vtpm_hash:
                self._change(record, '')
        elif record.state != VaultState.HELD:
            return
        elif self._is_up(record):
            with self._lock:
                self._off.pop(record.instance, None)
                self._ran.add(record.instance)
            if record.vtpm_hash:
                self._change(record, '')
        elif not record.vtpm_hash and self._has_stopped(record.instance):
            found = vtpm_state.measure(record.instance, self._directory)
            # Nova moves it away and back when it moves the server.
            if found and not self._is_up(record):
                self._change(record, found)
                self._accepted.drop(record.instance)

    def _is_up(self, record: Record) -> bool:
        domain = self._host.hypervisor.domain_state(record.instance)
        return domain != libvirt_secret.NONE

    def _has_stopped(self, instance: str) -> bool:
        """Whether a guest ran, and has been off for long enough."""
        with self._lock:
            if instance not in self._ran or instance in self._starting:
                self._off.pop(instance, None)
                return False
            since = self._off.setdefault(instance, boot.now())
        return boot.now() - since >= SETTLED

    def _change(self, record: Record, value: str) -> None:
        """Note or remove a hash, unless the record is in use."""
        instance = record.instance
        with self._host.vault.changing(), self._lock:
            if self._host.vault.is_busy(instance) or (
                value and instance in self._starting
            ):
                return
            if self._note(record, value) and value:
                self._ran.discard(instance)
                self._off.pop(instance, None)
                self._told.pop(instance, None)

    def _note(self, record: Record, value: str) -> bool:
        """Whether it was noted: the record is as it was."""
        with self._host.vault.changing():
            if self._host.vault.find(record) != record:
                return False
            self._host.vault.put(
                dataclasses.replace(record, vtpm_hash=value), 'host.vtpm'
            )
            return True

    # The thread: shared storage may hang, and nothing else with it

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(1)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
                if self._check == OFF and not any(
                    record.vtpm_hash for record in self._host.vault.all()
                ):
                    return
            except Exception:  # noqa: BLE001 - the thread outlives its bugs
                LOG.exception('Looking at vTPMs failed unexpectedly')
            self._stop.wait(INTERVAL)


def _why(exc: Exception) -> str:
    """An error as the log has it."""
    if isinstance(exc, errors.KororaError):
        return f'{exc} {exc.details}'
    return str(exc)
