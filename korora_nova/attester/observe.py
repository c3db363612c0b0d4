# SPDX-License-Identifier: Apache-2.0
"""What a host sees of a hand-over by itself: domains, jobs, time, reboots.

Of a cold one it sees nothing: the guest is off while its disks are copied,
and may be for hours. There a start decides, or what Nova says.
"""

from __future__ import annotations

from korora_nova.attester import boot, libvirt_secret
from korora_nova.attester.libvirt_secret import Hypervisor
from korora_nova.attester.vault import Record
from korora_nova.custody.words import Statement, VaultState

_S = Statement

#: Seconds after which a copy that no domain came for is given up.
INCOMING_EXPIRY = 600.0
#: Seconds after which a permitted stream that Nova never started is off.
OUTGOING_EXPIRY = 900.0
#: Seconds for which a guest must be seen running here before this host
#: reports its arrival by itself.  libvirt can resume it on the source when the
#: connection breaks at the very end; Nova then says which one counts.
ARRIVAL_GRACE = 60.0
#: Seconds for which a guest must be seen running here, moved by no job,
#: before it counts as kept: Nova takes some to begin.
KEPT_GRACE = 20.0
#: Seconds for which there must be neither domain nor job before the stream
#: counts as ended without success; Nova says at once if it had some.
ENDED_GRACE = 60.0


class Observer:
    """Turns what libvirt and the clocks say into words.

    What has to last is timed from when this process first saw it.
    """

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor
        self._started = boot.now()
        self._seen: dict[tuple[str, int], tuple[str, float]] = {}

    def word(
        self, record: Record, *, told: bool = False, now: bool = False
    ) -> Statement | None:
        """What this host may say of a record's hand-over; None: nothing new.

        :param told: the service has heard the record's own word.
        :param now: the server waits to be started here: do not wait and see.
        :raises Unavailable: LIBVIRT_UNAVAILABLE.
        """
        word = self._word(record, told, now)
        return None if word == record.statement else word

    def forget(self, record: Record) -> None:
        """A record is settled or gone."""
        self._seen.pop((record.instance, record.epoch), None)

    def _word(self, record: Record, told: bool, now: bool) -> Statement | None:
        state = record.state
        if state == VaultState.RECEIVING:
            return _S.NO_DOMAIN  # the agent stopped in the middle
        if state in (VaultState.OUTGOING, VaultState.STARTING):
            return _S.NEVER_STARTED if now or self._is_off(record) else None
        if state == VaultState.MOVING:
            return self._of_source(record, now)
        if state == VaultState.INCOMING or (
            state == VaultState.RELINQUISHED and record.has_key
        ):
            return self._of_dest(record, told)
        return None

    def _is_off(self, record: Record) -> bool:
        """A permitted stream can no longer start, or will not."""
        if not record.is_of_this_boot:
            return True
        if (
            record.state == VaultState.STARTING
            and record.since < self._started
        ):
            return True  # nobody is left to take the answer
        return boot.now() - record.since > OUTGOING_EXPIRY

    def _of_source(self, record: Record, now: bool) -> Statement | None:
        if record.is_cold and not (now or record.forget):
            return None
        seen = self._hypervisor.domain_state(record.instance)
        if self._hypervisor.has_job(record.instance):
            seen = libvirt_secret.INCOMING
        lasted = self._lasted(record, seen)
        now = now or record.forget or not record.is_of_this_boot
        if seen == libvirt_secret.RUNNING:
            return _S.KEPT if now or lasted >= KEPT_GRACE else None
        if seen != libvirt_secret.NONE or (
            record.statement == _S.STREAM_COMPLETED
        ):
            return None
        # What is said of a domain that is gone is no longer so.
        now = now or record.statement == _S.KEPT
        return _S.ENDED_HERE if now or lasted >= ENDED_GRACE else None

    def _of_dest(self, record: Record, told: bool) -> Statement | None:
        seen = self._hypervisor.domain_state(record.instance)
        lasted = self._lasted(record, seen)
        if seen == libvirt_secret.RUNNING:
            return _S.ACTIVATED if lasted >= ARRIVAL_GRACE else None
        if seen != libvirt_secret.NONE or record.statement == _S.NO_DOMAIN:
            return None
        if record.statement == _S.ACTIVATED:
            # Unheard, it still says where the guest was.
            gone = told and lasted >= ENDED_GRACE
            return _S.NO_DOMAIN if gone else None
        if record.is_cold:
            return None
        since = self._started
        if record.is_of_this_boot:
            since = max(since, record.since)
        expired = boot.now() - since > INCOMING_EXPIRY
        return _S.NO_DOMAIN if expired else None

    def _lasted(self, record: Record, seen: str) -> float:
        """Seconds for which libvirt has said the same of a record."""
        key = record.instance, record.epoch
        before, since = self._seen.get(key, ('', 0.0))
        if before != seen:
            since = boot.now()
            self._seen[key] = seen, since
        return boot.now() - since
