# SPDX-License-Identifier: Apache-2.0
import unittest

import hypothesis
from hypothesis import stateful
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.custody import ledger

HOSTS = ('h1', 'h2', 'h3')
ROW = ledger.LedgerRow('i', 'h1', 3, 3)


class LedgerTest(unittest.TestCase):
    def refused(self, reason, function, *args):
        with self.assertRaises(errors.KororaError) as caught:
            function(*args)
        self.assertEqual(reason, caught.exception.reason)

    def test_claim(self):
        row = ledger.claim(None, 'i', 'h1', 'k')
        self.assertEqual(ledger.LedgerRow('i', 'h1', 1, 1, claim='k'), row)
        self.assertNotIn('claim', row.to_json())
        for host in ('h1', 'h2'):
            self.refused('LEDGER_CONFLICT', ledger.claim, ROW, 'i', host, 'k')
        with self.assertRaises(ValueError):
            ledger.claim(ROW, 'j', 'h1', 'k')

    def test_claim_again(self):
        """T46: the same claim is granted again, and no other."""
        row = ledger.claim(None, 'i', 'h1', 'k')
        self.assertEqual(row, ledger.claim(row, 'i', 'h1', 'k'))
        for host, key in (('h1', 'l'), ('h2', 'k')):
            self.refused('LEDGER_CONFLICT', ledger.claim, row, 'i', host, key)
        pending, epoch = ledger.begin(row, 'h1', 1, 'm')
        moved = ledger.commit(pending, 'm', 'h2', epoch)
        back, epoch = ledger.begin(moved, 'h2', epoch, 'n')
        for later in (
            pending,
            moved,
            ledger.commit(back, 'n', 'h1', epoch),
            ledger.reissue(row, 'h1'),
        ):
            self.refused(
                'LEDGER_CONFLICT', ledger.claim, later, 'i', 'h1', 'k'
            )
        deleted = ledger.delete(row, 'h1')
        self.assertEqual(2, ledger.claim(deleted, 'i', 'h1', 'k').epoch)

    def test_claim_after_a_deletion_takes_a_new_epoch(self):
        row = ledger.claim(ledger.delete(ROW, 'h1'), 'i', 'h2', 'k')
        self.assertEqual(ledger.LedgerRow('i', 'h2', 4, 4, claim='k'), row)

    def test_reissue(self):
        self.assertEqual(
            ledger.LedgerRow('i', 'h2', 4, 4), ledger.reissue(ROW, 'h2')
        )
        pending, _ = ledger.begin(ROW, 'h1', 3, 'm')
        self.refused('CUSTODY_PENDING', ledger.reissue, pending, 'h1')

    def test_begin_and_commit(self):
        """T9: the source's copy is dead after the commit."""
        pending, epoch = ledger.begin(ROW, 'h1', 3, 'm')
        self.assertEqual(4, epoch)
        for host, held in (('h1', 3), ('h2', 4)):
            reason = 'CUSTODY_PENDING' if host == 'h1' else 'NOT_HOLDER'
            self.refused(reason, ledger.may_open, pending, host, held)
        self.refused('EPOCH_MISMATCH', ledger.commit, pending, 'm', 'h2', 3)
        row = ledger.commit(pending, 'm', 'h2', 4)
        ledger.may_open(row, 'h2', 4)
        self.refused('NOT_HOLDER', ledger.may_open, row, 'h1', 3)
        self.refused('EPOCH_MISMATCH', ledger.may_open, row, 'h2', 3)

    def test_aborted_copy_and_epoch_stay_dead(self):
        """T28, T29."""
        pending, aborted = ledger.begin(ROW, 'h1', 3, 'm')
        row = ledger.abort(pending, 'm')
        ledger.may_open(row, 'h1', 3)
        self.refused('NOT_HOLDER', ledger.may_open, row, 'h2', aborted)
        again, epoch = ledger.begin(row, 'h1', 3, 'm2')
        self.assertEqual(5, epoch)
        row = ledger.commit(again, 'm2', 'h3', epoch)
        self.refused('NOT_HOLDER', ledger.may_open, row, 'h2', aborted)
        back, epoch = ledger.begin(row, 'h3', 5, 'm3')
        row = ledger.commit(back, 'm3', 'h2', epoch)
        self.refused('EPOCH_MISMATCH', ledger.may_open, row, 'h2', aborted)

    def test_decided_once(self):
        pending, epoch = ledger.begin(ROW, 'h1', 3, 'm')
        committed = ledger.commit(pending, 'm', 'h2', epoch)
        self.refused('MIGRATION_SPENT', ledger.abort, committed, 'm')
        self.refused(
            'MIGRATION_SPENT', ledger.commit, committed, 'm', 'h2', epoch
        )
        self.refused('MIGRATION_SPENT', ledger.abort, pending, 'other')
        aborted = ledger.abort(pending, 'm')
        self.refused(
            'MIGRATION_SPENT', ledger.commit, aborted, 'm', 'h2', epoch
        )

    def test_one_hand_over_at_a_time(self):
        pending, _ = ledger.begin(ROW, 'h1', 3, 'm')
        self.refused('CUSTODY_PENDING', ledger.begin, pending, 'h1', 3, 'n')
        self.refused('CUSTODY_PENDING', ledger.delete, pending, 'h1')
        self.refused('NOT_HOLDER', ledger.begin, ROW, 'h2', 3, 'm')
        self.refused('EPOCH_MISMATCH', ledger.begin, ROW, 'h1', 2, 'm')

    def test_nobody_opens_a_deleted_servers_key(self):
        row = ledger.delete(ROW, 'h1')
        self.refused('NOT_HOLDER', ledger.may_open, row, 'h1', 3)
        self.refused('NOT_HOLDER', ledger.delete, row, 'h1')
        self.refused('NOT_HOLDER', ledger.delete, ROW, 'h2')
        self.refused('NOT_HOLDER', ledger.begin, row, 'h1', 3, 'm')

    def test_rows_that_contradict_themselves(self):
        for fields in (
            ('i', 'h1', 0, 1),
            ('i', 'h1', 2, 1),
            ('i', None, 1, 2, 'm'),
            ('i', 'h1', 2, 2, 'm'),
        ):
            with self.assertRaises(ValueError):
                ledger.LedgerRow(*fields)

    def test_statements(self):
        self.assertEqual(
            'committed', ledger.outcome_of('source', 'stream_completed')
        )
        self.assertEqual(
            'aborted', ledger.outcome_of('source', 'never_started')
        )
        self.assertEqual('committed', ledger.outcome_of('dest', 'activated'))
        self.assertEqual('aborted', ledger.outcome_of('dest', 'no_domain'))
        for role, statement in (
            ('dest', 'stream_completed'),
            ('source', 'no_domain'),
            ('other', 'x'),
            ('source', 'activated'),
            ('dest', ''),
        ):
            self.refused(
                'STATEMENT_NOT_ALLOWED', ledger.outcome_of, role, statement
            )


class LedgerMachine(stateful.RuleBasedStateMachine):
    """I3, with copies that no host ever forgets: backups of everything."""

    def __init__(self):
        super().__init__()
        self.row = None
        self.copies = set()
        self.issued = set()
        self.migrations = 0
        self.dest = None

    def issue(self, host, epoch):
        assert epoch not in self.issued, 'an epoch was reissued'
        self.issued.add(epoch)
        self.copies.add((host, epoch))

    def attempt(self, function, *args):
        try:
            return function(*args)
        except errors.KororaError:
            return None

    @stateful.rule(host=st.sampled_from(HOSTS))
    def claim(self, host):
        row = self.attempt(ledger.claim, self.row, 'i', host, host)
        if row and row != self.row:
            self.row = row
            self.issue(host, row.epoch)

    @stateful.precondition(lambda self: self.row)
    @stateful.rule(host=st.sampled_from(HOSTS))
    def reissue(self, host):
        row = self.attempt(ledger.reissue, self.row, host)
        if row:
            self.row = row
            self.issue(host, row.epoch)

    @stateful.precondition(lambda self: self.row)
    @stateful.rule(
        source=st.sampled_from(HOSTS),
        dest=st.sampled_from(HOSTS),
        epoch=st.integers(1, 12),
    )
    def begin(self, source, dest, epoch):
        self.migrations += 1
        begun = self.attempt(
            ledger.begin, self.row, source, epoch, f'm{self.migrations}'
        )
        if begun:
            self.row, new = begun
            self.dest = dest
            self.issue(dest, new)

    @stateful.precondition(lambda self: self.row)
    @stateful.rule(migration=st.integers(1, 12), epoch=st.integers(1, 12))
    def commit(self, migration, epoch):
        row = self.attempt(
            ledger.commit, self.row, f'm{migration}', self.dest, epoch
        )
        self.row = row or self.row

    @stateful.precondition(lambda self: self.row and self.row.pending)
    @stateful.rule()
    def commit_pending(self):
        self.row = ledger.commit(
            self.row, self.row.pending, self.dest, self.row.max_epoch
        )

    @stateful.precondition(lambda self: self.row and self.row.pending)
    @stateful.rule()
    def abort_pending(self):
        self.row = ledger.abort(self.row, self.row.pending)

    @stateful.precondition(lambda self: self.row)
    @stateful.rule(migration=st.integers(1, 12))
    def abort(self, migration):
        row = self.attempt(ledger.abort, self.row, f'm{migration}')
        self.row = row or self.row

    @stateful.precondition(lambda self: self.row)
    @stateful.rule(host=st.sampled_from(HOSTS))
    def delete(self, host):
        row = self.attempt(ledger.delete, self.row, host)
        self.row = row or self.row

    @stateful.invariant()
    def at_most_one_copy_opens(self):
        if self.row is None:
            return
        opened = []
        for host in HOSTS:
            for epoch in range(1, self.row.max_epoch + 2):
                try:
                    ledger.may_open(self.row, host, epoch)
                except errors.KororaError:
                    continue
                opened.append((host, epoch))
        assert len(opened) <= 1, opened
        assert set(opened) <= self.copies
        if self.row.pending or self.row.holder is None:
            assert not opened


LedgerMachine.TestCase.settings = hypothesis.settings(
    deadline=None, database=None, max_examples=100, stateful_step_count=30
)
LedgerWalkTest = LedgerMachine.TestCase
