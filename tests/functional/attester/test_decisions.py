# SPDX-License-Identifier: Apache-2.0
"""C8, C9: what both ends see decides, as the table says; with real agents."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from typing import Any
from unittest import mock

from korora_nova import errors
from korora_nova.attester import libvirt_secret, observe
from korora_nova.custody import bodies, decision
from korora_nova.custody.exchange import Told
from korora_nova.custody.words import Statement
from korora_nova.verifier.db import models
from tests.functional.attester.test_recovery import RecoveryCase
from tests.support import hosts

_R = errors.Reason
RUNNING, NONE = libvirt_secret.RUNNING, libvirt_secret.NONE

WAIT, COMMITTED, ABORTED, CONTRADICTION = (
    'moving',
    'committed',
    'aborted',
    'contradiction',
)

#: (S, D) -> what it comes to, from ``moving`` on: custody.rst, Decisions.
TABLE = {
    ('', ''): WAIT,
    ('', 'no_domain'): WAIT,
    ('', 'activated'): COMMITTED,
    ('never_started', ''): WAIT,
    ('never_started', 'no_domain'): ABORTED,
    ('never_started', 'activated'): CONTRADICTION,
    ('kept', ''): WAIT,
    ('kept', 'no_domain'): ABORTED,
    ('kept', 'activated'): CONTRADICTION,
    ('ended_here', ''): WAIT,
    ('ended_here', 'no_domain'): ABORTED,
    ('ended_here', 'activated'): COMMITTED,
    ('stream_completed', ''): COMMITTED,
    ('stream_completed', 'no_domain'): COMMITTED,
    ('stream_completed', 'activated'): COMMITTED,
}


class DecisionCase(RecoveryCase):
    migration = ''

    def new(self) -> None:
        """Another server, on h1, of which h2 has got the key."""
        self.instance = str(uuid.uuid4())
        self.create(self.h1)
        self.migration = self.begun()

    def domain(self, machine: hosts.Machine, state: str) -> None:
        machine.libvirt.domains.pop(self.instance, None)
        if state != NONE:
            machine.libvirt.domains[self.instance] = state

    def lost_start(self) -> None:
        """V has signed the start; its answer does not reach S."""
        client = self.h1.agent.attester.client
        genuine = client.evidence

        def lost(host: str, message: dict[str, Any]) -> Any:
            genuine(host, message)
            raise errors.Unavailable(_R.SERVICE_UNAVAILABLE)

        with mock.patch.object(client, 'evidence', lost):
            self.refused(
                _R.SERVICE_UNAVAILABLE,
                self.start,
                self.h1,
                self.h2,
                self.migration,
            )

    def say(self, machine: hosts.Machine, word: str) -> None:
        """Bring about what a host calls by this word, and let it say so."""
        seen = RUNNING if word in ('kept', 'activated', '') else NONE
        if word == 'never_started' or machine is self.h2 and not word:
            seen = machine.libvirt.domain_state(self.instance)
        self.domain(machine, seen)
        grace = {
            'kept': observe.KEPT_GRACE,
            'ended_here': observe.ENDED_GRACE,
        }
        if word in grace:
            self.later(grace[word], machine)
        elif word:
            self.said(machine, word, self.migration)

    def shown(self) -> dict[str, Any]:
        return self.admin.get_migration(self.migration)

    def words(self) -> tuple[str, str]:
        shown = self.shown()
        return shown['source_word'] or '', shown['dest_word'] or ''

    def assert_nobody_opens(self) -> None:
        for machine in (self.h1, self.h2):
            error = self.assertRaises(
                errors.KororaError,
                machine.client.call,
                'open',
                instance=self.instance,
            )
            self.assertIn(
                error.reason, (_R.CUSTODY_PENDING, _R.CUSTODY_DISPUTED)
            )

    def assert_disputed(self) -> None:
        """Nothing is erased, nobody opens, and operators see it."""
        self.assertEqual(self.migration, self.ledger()['disputed'])
        for machine in (self.h1, self.h2):
            self.assertNotEqual('none', machine.state(self.instance))
        with mock.patch.object(decision, 'PATIENCE', 0.0):
            self.assertEqual('disputed', self.shown()['status'])

    def assert_only(self, holder: hosts.Machine) -> None:
        """One host can open the key, the other has nothing left."""
        for _ in range(2):
            self.h1.settle()
            self.h2.settle()
        other = self.h1 if holder is self.h2 else self.h2
        self.assertEqual('held', holder.state(self.instance))
        self.assertEqual('none', other.state(self.instance))
        row = self.ledger()
        self.assertEqual(
            (holder.name, None, None),
            (row['holder'], row['pending'], row['disputed']),
        )
        self.open(holder)


class HeardTest(DecisionCase):
    """What one end learns from what the service knows of the other."""

    def test_stream_that_never_came(self) -> None:
        """Nova on S was killed: nobody tells D, but S says it keeps it."""
        for word in ('kept', 'ended_here'):
            self.new()
            self.start(self.h1, self.h2, self.migration)
            self.domain(self.h2, libvirt_secret.INCOMING)
            self.say(self.h1, word)
            self.h2.settle()
            self.assertEqual((word, ''), self.words())
            self.domain(self.h2, NONE)
            self.h2.settle()
            self.assertEqual((word, 'no_domain'), self.words())
            self.assert_only(self.h1)

    def test_stream_that_comes_at_that_moment(self) -> None:
        """D was about to give up, and its record or its domain changed."""
        self.new()
        self.start(self.h1, self.h2, self.migration)
        self.domain(self.h2, libvirt_secret.INCOMING)
        self.say(self.h1, 'ended_here')
        self.domain(self.h2, NONE)
        settler = self.h2.agent.settler
        (record,) = self.h2.agent.vault.of(self.instance)
        with mock.patch.object(settler, 'say', lambda same, _word: same):
            settler.settle(record)
        with mock.patch.object(settler, '_is_held_back', return_value=True):
            settler.settle(record)
        self.assertEqual(('ended_here', ''), self.words())
        self.h2.settle()
        self.assert_only(self.h1)

    def test_word_that_the_service_has_lost(self) -> None:
        self.new()
        self.start(self.h1, self.h2, self.migration)
        self.say(self.h2, 'no_domain')
        with self.korora.service.db.write() as session:
            row = session.get(models.Migration, self.migration)
            row.dest_word = None
        for _ in range(2):
            self.h2.settle()
        self.assertEqual(('', 'no_domain'), self.words())


class TableTest(DecisionCase):
    def check(self, first: str, source: str, dest: str, wanted: str) -> None:
        """One cell, whoever speaks first."""
        self.new()
        if source == 'never_started':
            self.lost_start()
        else:
            self.start(self.h1, self.h2, self.migration)
        ends = [(self.h1, source), (self.h2, dest)]
        if first == 'dest':
            ends.reverse()
        for machine, word in ends:
            self.say(machine, word)
        if wanted == CONTRADICTION:
            self.assertEqual((source, dest), self.words())
            self.assert_disputed()
        elif wanted == WAIT:
            self.assertEqual((source, dest), self.words())
            self.assertEqual(WAIT, self.shown()['status'])
            self.assert_nobody_opens_yet()
        else:
            self.assertEqual(wanted, self.shown()['status'])
            self.domain(self.h1 if wanted == COMMITTED else self.h2, NONE)
            holder = self.h2 if wanted == COMMITTED else self.h1
            self.assert_only(holder)

    def assert_nobody_opens_yet(self) -> None:
        for machine in (self.h1, self.h2):
            self.assertNotIn(machine.state(self.instance), ('none', 'held'))

    def test_source_first(self) -> None:
        for (source, dest), wanted in TABLE.items():
            with self.subTest(source=source, dest=dest):
                self.check('source', source, dest, wanted)

    def test_destination_first(self) -> None:
        for (source, dest), wanted in TABLE.items():
            with self.subTest(source=source, dest=dest):
                self.check('dest', source, dest, wanted)


class BeforeTheStreamTest(DecisionCase):
    """V has not signed the start: one word is enough."""

    def assert_aborted(self) -> None:
        self.assertEqual('aborted', self.shown()['status'])
        self.refused(
            _R.VAULT_STATE, self.start, self.h1, self.h2, self.migration
        )
        self.domain(self.h2, NONE)
        self.assert_only(self.h1)

    def test_never_started(self) -> None:
        self.new()
        self.said(self.h1, 'never_started', self.migration)
        self.assert_aborted()

    def test_no_domain(self) -> None:
        self.new()
        self.domain(self.h2, NONE)
        self.said(self.h2, 'no_domain', self.migration)
        self.h1.settle()
        self.assert_aborted()

    def test_start_after_no_domain(self) -> None:
        """S had not heard of it yet: its start is refused."""
        self.new()
        self.domain(self.h2, NONE)
        self.said(self.h2, 'no_domain', self.migration)
        self.refused(
            _R.MIGRATION_SPENT, self.start, self.h1, self.h2, self.migration
        )
        self.assertEqual('starting', self.h1.state(self.instance))
        self.said(self.h1, 'never_started', self.migration)
        self.assert_aborted()

    def test_words_of_after_the_stream(self) -> None:
        """T42: root of D says that it arrived, or of S that it left."""
        self.new()
        for machine, word in (
            (self.h2, Statement.ACTIVATED),
            (self.h1, Statement.STREAM_COMPLETED),
        ):
            self.refused(
                _R.STATEMENT_NOT_ALLOWED,
                machine.agent.attester.attest_for,
                bodies.Tell(self.migration, word),
                Told,
            )
        self.assertEqual(('', ''), self.words())
        self.start(self.h1, self.h2, self.migration)

    def test_word_of_the_other_end(self) -> None:
        self.new()
        for machine, word in (
            (self.h1, Statement.NO_DOMAIN),
            (self.h2, Statement.NEVER_STARTED),
            (self.h2, Statement.KEPT),
        ):
            self.refused(
                _R.STATEMENT_NOT_ALLOWED,
                machine.agent.attester.attest_for,
                bodies.Tell(self.migration, word),
                Told,
            )
        self.start(self.h1, self.h2, self.migration)


class RunningTest(DecisionCase):
    """I16: a receipt that says what this host's libvirt does not."""

    def setUp(self) -> None:
        super().setUp()
        self.new()
        self.start(self.h1, self.h2, self.migration)

    def lie(self, machine: hosts.Machine, word: Statement) -> None:
        """Root says so with the host's own evidence."""
        with contextlib.suppress(errors.KororaError):
            machine.agent.attester.attest_for(
                bodies.Tell(self.migration, word), Told
            )

    def settled(self) -> None:
        for machine in (self.h1, self.h2):
            machine.settle()

    def test_committed_while_the_source_runs(self) -> None:
        """T42: D says that it runs the guest, and S has it."""
        self.lie(self.h2, Statement.ACTIVATED)
        self.assertEqual('committed', self.shown()['status'])
        self.settled()
        self.assertEqual('moving', self.h1.state(self.instance))
        self.later(observe.KEPT_GRACE, self.h1)
        self.assert_disputed()
        self.assert_nobody_opens()
        # Nova ends the guest at the source, and all agree
        self.domain(self.h1, NONE)
        self.domain(self.h2, RUNNING)
        self.settled()
        self.assertEqual(('ended_here', 'activated'), self.words())
        self.assert_only(self.h2)

    def test_committed_and_then_taken_back(self) -> None:
        """The guest stays at S: D's word changes, and so does the receipt."""
        self.lie(self.h2, Statement.ACTIVATED)
        self.later(observe.KEPT_GRACE, self.h1)
        self.assert_disputed()
        first = self.shown()['receipt']
        self.domain(self.h2, NONE)
        self.said(self.h2, 'no_domain', self.migration)
        self.assertEqual('aborted', self.shown()['status'])
        self.assertNotEqual(first, self.shown()['receipt'])
        self.assert_only(self.h1)

    def test_committed_to_a_host_that_holds_already(self) -> None:
        """D has its receipt; a later one takes the key from it again."""
        self.domain(self.h2, RUNNING)
        self.said(self.h2, 'activated', self.migration)
        self.assertEqual('held', self.h2.state(self.instance))
        self.later(observe.KEPT_GRACE, self.h1)
        self.assert_disputed()
        self.domain(self.h2, NONE)
        self.lie(self.h2, Statement.NO_DOMAIN)
        self.assertEqual('aborted', self.shown()['status'])
        self.h1.settle()
        self.assertEqual('held', self.h1.state(self.instance))
        self.h2.agent.attestation.step()
        self.h2.settle()
        self.assertEqual('none', self.h2.state(self.instance))
        self.assert_only(self.h1)

    def test_taken_from_a_host_whose_guest_runs(self) -> None:
        """Root of D gives it up, and D runs it: nothing is erased."""
        self.domain(self.h2, RUNNING)
        self.said(self.h2, 'activated', self.migration)
        self.later(observe.KEPT_GRACE, self.h1)
        self.lie(self.h2, Statement.NO_DOMAIN)
        self.assertEqual('aborted', self.shown()['status'])
        self.h1.settle()
        self.h2.agent.attestation.step()
        for _ in range(3):
            self.settled()
        self.assertEqual('incoming', self.h2.state(self.instance))
        self.refused(
            _R.CUSTODY_PENDING,
            self.h2.client.call,
            'open',
            instance=self.instance,
        )
        self.domain(self.h2, NONE)
        self.assert_only(self.h1)

    def test_operator_decides_against_a_guest(self) -> None:
        """Its key stays where it runs, until it is gone."""
        for keep, loser, holder, state in (
            ('source', self.h2, self.h1, 'incoming'),
            ('destination', self.h1, self.h2, 'moving'),
        ):
            self.new()
            self.start(self.h1, self.h2, self.migration)
            self.domain(self.h2, RUNNING)
            self.later(observe.KEPT_GRACE, self.h1)
            self.said(self.h2, 'activated', self.migration)
            self.assert_disputed()
            self.admin.resolve_migration(self.migration, keep, 'a test')
            for _ in range(3):
                self.settled()
            self.assertEqual('held', holder.state(self.instance))
            self.assertEqual(state, loser.state(self.instance))
            self.domain(loser, NONE)
            self.assert_only(holder)

    def test_never_started_after_the_stream(self) -> None:
        """T43: root of S says so; D runs the guest, and its agent says it."""
        self.stream(self.h1, self.h2)
        self.lie(self.h1, Statement.NEVER_STARTED)
        self.said(self.h2, 'activated', self.migration)
        self.assert_disputed()
        self.refused(
            _R.CUSTODY_PENDING,
            self.h2.client.call,
            'open',
            instance=self.instance,
        )
        # S's own agent says what it sees, be it in a while
        self.later(observe.ENDED_GRACE, self.h1)
        self.assertEqual(('ended_here', 'activated'), self.words())
        self.assert_only(self.h2)

    def test_late_rollback(self) -> None:
        """Nova's "no domain" waits for the domain; that arrives instead."""
        self.said(self.h2, 'no_domain', self.migration)
        self.assertEqual('relinquished', self.h2.state(self.instance))
        self.assertEqual(('', ''), self.words())
        self.stream(self.h1, self.h2)
        self.later(observe.ARRIVAL_GRACE, self.h2)
        self.assertEqual(('', 'activated'), self.words())
        self.assert_only(self.h2)

    def test_completed_that_libvirt_denies(self) -> None:
        """Nova says so, and the domain still runs: it is not told."""
        self.said(self.h1, 'stream_completed', self.migration)
        self.assertEqual(('', ''), self.words())
        self.later(observe.KEPT_GRACE, self.h1)
        self.assertEqual(('kept', ''), self.words())
        self.domain(self.h2, NONE)
        self.said(self.h2, 'no_domain', self.migration)
        self.assert_only(self.h1)

    def test_words_change_until_it_is_decided(self) -> None:
        self.domain(self.h1, NONE)
        self.later(observe.ENDED_GRACE, self.h1)
        self.assertEqual(('ended_here', ''), self.words())
        self.domain(self.h1, RUNNING)
        self.later(observe.KEPT_GRACE, self.h1)
        self.assertEqual(('kept', ''), self.words())
        self.stream(self.h1, self.h2)
        self.said(self.h1, 'stream_completed', self.migration)
        self.assert_only(self.h2)

    def test_a_word_is_told_once_and_then_looked_up(self) -> None:
        self.later(observe.KEPT_GRACE, self.h1)
        told, looked = self._counted(self.h1)
        for _ in range(30):
            self.h1.settle()
        self.assertEqual((0, 30), (told(), looked()))

    def _counted(
        self, machine: hosts.Machine
    ) -> tuple[Callable[[], int], Callable[[], int]]:
        client = machine.agent.attester.client
        tell = mock.Mock(side_effect=client.evidence)
        look = mock.Mock(side_effect=client.get_migration)
        client.evidence, client.get_migration = tell, look
        return lambda: tell.call_count, lambda: look.call_count
