# SPDX-License-Identifier: Apache-2.0
"""What a host says by itself of what it sees."""

from __future__ import annotations

from unittest import mock

import testtools

from korora_nova.attester import boot, libvirt_secret, observe
from korora_nova.attester.vault import Record
from korora_nova.custody.moves import Move
from korora_nova.custody.words import Statement, VaultState
from tests.unit.attester import test_outcome as records

_S = Statement
_V = VaultState
RUNNING, INCOMING, NONE = (
    libvirt_secret.RUNNING,
    libvirt_secret.INCOMING,
    libvirt_secret.NONE,
)


class ObserveTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 1000.0
        self.boot = 'this'
        for name, value in (
            ('now', lambda: self.now),
            ('boot_id', lambda: self.boot),
        ):
            patcher = mock.patch.object(boot, name, value)
            patcher.start()
            self.addCleanup(patcher.stop)
        self.domain, self.job = NONE, False
        hypervisor = mock.Mock()
        hypervisor.domain_state.side_effect = lambda _: self.domain
        hypervisor.has_job.side_effect = lambda _: self.job
        self.observer = observe.Observer(hypervisor)

    def source(self, state: VaultState, **changes: object) -> Record:
        return records.source(state, **changes).moved(state)

    def dest(
        self, state: VaultState = _V.INCOMING, **changes: object
    ) -> Record:
        return records.dest(state, **changes).moved(state)

    def assert_words(
        self,
        record: Record,
        *words: tuple[float, Statement | None],
        told: bool = False,
    ) -> None:
        """What is said after so many more seconds each."""
        said = []
        for seconds, _word in words:
            self.now += seconds
            said.append(self.observer.word(record, told=told))
        self.assertEqual([word for _seconds, word in words], said)

    def restarted(self) -> None:
        """The agent, a moment later."""
        self.now += 1
        self.observer = observe.Observer(self.observer._hypervisor)

    def test_held_says_nothing(self) -> None:
        self.assert_words(records.record(_V.HELD), (0, None), (10**6, None))

    def test_receiving_that_is_nobodys(self) -> None:
        self.assert_words(self.dest(_V.RECEIVING), (0, _S.NO_DOMAIN))

    def test_stream_that_is_not_started(self) -> None:
        for state in (_V.OUTGOING, _V.STARTING):
            self.assert_words(
                self.source(state),
                (0, None),
                (observe.OUTGOING_EXPIRY, None),
                (1, _S.NEVER_STARTED),
            )

    def test_stream_that_is_not_started_in_another_boot(self) -> None:
        for state in (_V.OUTGOING, _V.STARTING):
            record = self.source(state)
            self.boot = 'another'
            self.assert_words(record, (0, _S.NEVER_STARTED))
            self.boot = 'this'

    def test_start_that_a_crash_interrupted(self) -> None:
        """Nova's call ended with the process; a permit still serves."""
        starting = self.source(_V.STARTING)
        outgoing = self.source(_V.OUTGOING)
        self.restarted()
        self.assert_words(starting, (0, _S.NEVER_STARTED))
        self.assert_words(outgoing, (0, None))

    def test_server_that_waits_to_be_started(self) -> None:
        for state, domain, word in (
            (_V.OUTGOING, NONE, _S.NEVER_STARTED),
            (_V.STARTING, NONE, _S.NEVER_STARTED),
            (_V.MOVING, NONE, _S.ENDED_HERE),
            (_V.MOVING, RUNNING, _S.KEPT),
            (_V.MOVING, INCOMING, None),
        ):
            self.domain = domain
            said = self.observer.word(self.source(state), now=True)
            self.assertEqual(word, said)

    def test_kept(self) -> None:
        self.domain = RUNNING
        record = self.source(_V.MOVING)
        self.assert_words(record, (0, None), (observe.KEPT_GRACE, _S.KEPT))

    def test_job_moves_it(self) -> None:
        self.domain, self.job = RUNNING, True
        record = self.source(_V.MOVING)
        self.assert_words(record, (0, None), (10**6, None))
        self.job = False  # the job has failed
        self.assert_words(record, (0, None), (observe.KEPT_GRACE, _S.KEPT))

    def test_job_begins_in_time(self) -> None:
        self.domain = RUNNING
        record = self.source(_V.MOVING)
        self.assert_words(record, (0, None), (observe.KEPT_GRACE - 1, None))
        self.job = True
        self.assert_words(record, (1, None))
        self.job = False
        self.assert_words(record, (0, None))

    def test_paused_at_the_end_of_the_stream(self) -> None:
        self.domain = INCOMING
        self.assert_words(self.source(_V.MOVING), (0, None), (10**6, None))

    def test_ended(self) -> None:
        record = self.source(_V.MOVING)
        self.assert_words(
            record, (0, None), (observe.ENDED_GRACE, _S.ENDED_HERE)
        )

    def test_ended_by_a_boot(self) -> None:
        record = self.source(_V.MOVING)
        self.boot = 'another'
        self.assert_words(record, (0, _S.ENDED_HERE))

    def test_ended_by_its_deletion(self) -> None:
        record = self.source(_V.MOVING, forget=True)
        self.assert_words(record, (0, _S.ENDED_HERE))

    def test_cold_source_sees_nothing(self) -> None:
        """Off, or still stopping: Nova says how it ends, or a start."""
        record = self.source(_V.MOVING, kind=Move.COLD)
        for self.domain in (NONE, RUNNING):
            self.assert_words(record, (0, None), (10**6, None))
        for self.domain, word in ((NONE, _S.ENDED_HERE), (RUNNING, _S.KEPT)):
            self.assertEqual(word, self.observer.word(record, now=True))
        self.domain = NONE
        forgotten = self.source(_V.MOVING, kind=Move.COLD, forget=True)
        self.assert_words(forgotten, (0, _S.ENDED_HERE))
        self.boot = 'another'
        self.assert_words(record, (0, None), (10**6, None))

    def test_cold_that_is_not_started(self) -> None:
        """Nobody copies before the start: as for a stream."""
        for state in (_V.OUTGOING, _V.STARTING):
            self.assert_words(
                self.source(state, kind=Move.REVERT),
                (0, None),
                (observe.OUTGOING_EXPIRY + 1, _S.NEVER_STARTED),
            )

    def test_cold_destination_waits(self) -> None:
        record = self.dest(kind=Move.COLD)
        self.assert_words(record, (0, None), (10**6, None))
        self.boot = 'another'
        self.assert_words(record, (0, None), (10**6, None))
        self.domain = RUNNING
        self.assert_words(
            record, (0, None), (observe.ARRIVAL_GRACE, _S.ACTIVATED)
        )

    def test_completed_stays_completed(self) -> None:
        record = self.source(_V.MOVING, statement=_S.STREAM_COMPLETED)
        self.assert_words(record, (0, None), (10**6, None))

    def test_completed_and_yet_it_runs(self) -> None:
        self.domain = RUNNING
        record = self.source(_V.MOVING, statement=_S.STREAM_COMPLETED)
        self.assert_words(record, (0, None), (observe.KEPT_GRACE, _S.KEPT))

    def test_kept_until_it_is_gone(self) -> None:
        record = self.source(_V.MOVING, statement=_S.KEPT)
        self.domain = RUNNING
        self.assert_words(record, (0, None), (10**6, None))
        self.domain = NONE
        self.assert_words(record, (0, _S.ENDED_HERE))

    def test_arrived(self) -> None:
        self.domain = RUNNING
        for record in (self.dest(), self.dest(_V.RELINQUISHED)):
            self.observer.forget(record)
            self.assert_words(
                record, (0, None), (observe.ARRIVAL_GRACE, _S.ACTIVATED)
            )

    def test_no_domain_came(self) -> None:
        self.assert_words(
            self.dest(),
            (0, None),
            (observe.INCOMING_EXPIRY, None),
            (1, _S.NO_DOMAIN),
        )

    def test_domain_that_waits(self) -> None:
        self.domain = INCOMING
        self.assert_words(self.dest(), (0, None), (10**6, None))

    def test_another_boot_of_the_destination(self) -> None:
        """The guest may have arrived before: the host waits."""
        record = self.dest()
        self.boot = 'another'
        self.restarted()
        self.assert_words(
            record, (0, None), (observe.INCOMING_EXPIRY + 1, _S.NO_DOMAIN)
        )

    def test_activated_and_gone(self) -> None:
        record = self.dest(statement=_S.ACTIVATED)
        # Unheard, the word says where the guest was.
        self.assert_words(record, (0, None), (10**6, None))
        self.observer.forget(record)
        self.assert_words(
            record,
            (0, None),
            (observe.ENDED_GRACE, _S.NO_DOMAIN),
            told=True,
        )

    def test_given_up_without_a_key(self) -> None:
        self.domain = RUNNING
        record = self.dest(
            _V.RELINQUISHED, private=b'', statement=_S.NO_DOMAIN
        )
        self.assert_words(record, (0, None), (10**6, None))
