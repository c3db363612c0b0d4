# SPDX-License-Identifier: Apache-2.0
import dataclasses
import unittest

import hypothesis
from hypothesis import stateful
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.custody import documents as sealed
from korora_nova.custody import ledger
from tests.support import documents

HOSTS = ('h1', 'h2', 'h3')
ROW = documents.a_grant().row('11' * 32)
PENDING = documents.a_permit().row('11' * 32)
MOVED = documents.a_receipt().row('11' * 32)
DELETED = documents.a_receipt(**documents.DELETED).row('11' * 32)
DISPUTED = dataclasses.replace(MOVED, disputed=documents.MIGRATION)


class LedgerTest(unittest.TestCase):
    def refused(self, reason, function, *args):
        with self.assertRaises(errors.KororaError) as caught:
            function(*args)
        self.assertEqual(reason, caught.exception.reason)

    def test_claim(self):
        for row in (None, DELETED):
            self.assertFalse(ledger.may_claim(row, 'h1', documents.MSK))

    def test_claim_again(self):
        """T46: the same claim was granted, and no other is."""
        self.assertTrue(ledger.may_claim(ROW, 'h1', documents.MSK))
        for host, key in (('h1', 'l'), ('h2', documents.MSK)):
            self.refused('LEDGER_CONFLICT', ledger.may_claim, ROW, host, key)
        for row in (PENDING, MOVED, DISPUTED):
            for host in HOSTS:
                self.refused(
                    'LEDGER_CONFLICT',
                    ledger.may_claim,
                    row,
                    host,
                    documents.MSK,
                )

    def test_open(self):
        ledger.may_open(ROW, 'h1', 1)
        ledger.may_open(MOVED, 'h2', 5)
        for reason, row, host, epoch in (
            ('NOT_HOLDER', None, 'h1', 1),
            ('NOT_HOLDER', ROW, 'h2', 1),
            ('EPOCH_MISMATCH', ROW, 'h1', 2),
            ('CUSTODY_PENDING', PENDING, 'h1', 3),
            ('NOT_HOLDER', PENDING, 'h2', 5),
            ('NOT_HOLDER', MOVED, 'h1', 3),
            ('EPOCH_MISMATCH', MOVED, 'h2', 3),
            ('NOT_HOLDER', DELETED, 'h1', 5),
            ('CUSTODY_DISPUTED', DISPUTED, 'h2', 5),
        ):
            self.refused(reason, ledger.may_open, row, host, epoch)

    def test_give_up(self):
        self.assertEqual(ROW, ledger.may_give_up(ROW, 'h1'))
        for reason, row, host in (
            ('NOT_HOLDER', None, 'h1'),
            ('NOT_HOLDER', ROW, 'h2'),
            ('NOT_HOLDER', DELETED, 'h1'),
            ('CUSTODY_PENDING', PENDING, 'h1'),
            ('CUSTODY_DISPUTED', DISPUTED, 'h2'),
        ):
            self.refused(reason, ledger.may_give_up, row, host)

    def test_rows_that_contradict_themselves(self):
        for changes in (
            {'version': 0, 'epoch': 0, 'holder': None},
            {'epoch': 2},
            {'epoch': 0},
            {'holder': None},
            {'pending': 'm'},
            {'pending': 'm', 'holder': None, 'epoch': 0, 'version': 2},
        ):
            with self.assertRaises(ValueError):
                dataclasses.replace(ROW, **changes)

    def test_json(self):
        for row in (ROW, PENDING, MOVED, DELETED, DISPUTED):
            shown = row.to_json()
            self.assertNotIn('claim', shown)
            self.assertEqual(
                dataclasses.replace(row, claim=None),
                ledger.LedgerRow.from_json({**shown, 'more': 1}),
            )
            for field in shown:
                with self.assertRaises(ValueError):
                    ledger.LedgerRow.from_json({**shown, field: 1.5})
        with self.assertRaises(ValueError):
            ledger.LedgerRow.from_json(None)

    def test_json_of_what_is_not_told(self):
        for reason in ('LEDGER_BEHIND', 'LEDGER_FORKED'):
            shown = {'instance': ROW.instance, 'refused': {'reason': reason}}
            with self.assertRaises(errors.Conflict) as caught:
                ledger.LedgerRow.from_json(shown)
            self.assertEqual(reason, caught.exception.reason)
        for refused in ({'reason': 'X'}, {}, 'LEDGER_BEHIND'):
            with self.assertRaises(ValueError):
                ledger.LedgerRow.from_json({'refused': refused})


class LedgerMachine(stateful.RuleBasedStateMachine):
    """I3, with copies that no host ever forgets: backups of everything."""

    def __init__(self):
        super().__init__()
        self.row = None
        self.copies = set()
        self.dest = None
        self.permit = None
        self.migrations = 0

    def place(self):
        return {
            'version': self.row.version + 1 if self.row else 1,
            'prev': self.row.head if self.row else sealed.GENESIS,
        }

    def add(self, document):
        document.check()
        head = f'{document.version:064x}'
        assert self.row is None or document.version == self.row.version + 1
        self.row = document.row(head)

    def issue(self, host, epoch):
        assert epoch not in {known for _, known in self.copies}
        self.copies.add((host, epoch))

    def allowed(self, rule, *args):
        try:
            rule(*args)
        except errors.KororaError:
            return False
        return True

    @stateful.rule(host=st.sampled_from(HOSTS))
    def claim(self, host):
        try:
            if ledger.may_claim(self.row, host, documents.MSK):
                return
        except errors.KororaError:
            return
        self.add(documents.a_grant(host=host, **self.place()))
        self.issue(host, self.row.epoch)

    @stateful.rule(
        source=st.sampled_from(HOSTS),
        dest=st.sampled_from(HOSTS),
        epoch=st.integers(1, 12),
    )
    def permit_it(self, source, dest, epoch):
        if source == dest or not self.allowed(
            ledger.may_open, self.row, source, epoch
        ):
            return
        self.dest = dest
        self.permit = documents.a_permit(
            source=source, dest=dest, epoch=epoch, **self.place()
        )
        self.add(self.permit)
        self.issue(dest, self.permit.new_epoch)

    @stateful.precondition(lambda self: self.row and self.row.pending)
    @stateful.rule()
    def start(self):
        if self.row.version == self.permit.version:
            self.add(
                documents.a_start(
                    source=self.row.holder,
                    epoch=self.row.epoch,
                    **self.place(),
                )
            )

    @stateful.precondition(lambda self: self.row and self.row.pending)
    @stateful.rule(commit=st.booleans())
    def decide(self, commit):
        source, held = self.row.holder, self.row.epoch
        new = self.permit.new_epoch
        self.add(
            documents.a_receipt(
                source=source,
                dest=self.dest,
                epoch=new,
                outcome='committed' if commit else 'aborted',
                holder=self.dest if commit else source,
                held=new if commit else held,
                **self.place(),
            )
        )

    @stateful.rule(host=st.sampled_from(HOSTS), by_operator=st.booleans())
    def give_up(self, host, by_operator):
        if not self.allowed(ledger.may_give_up, self.row, host):
            return
        changes = documents.RELEASED if by_operator else documents.DELETED
        self.add(
            documents.a_receipt(
                **{**changes, 'epoch': self.row.epoch, **self.place()}
            )
        )

    @stateful.invariant()
    def at_most_one_copy_opens(self):
        if self.row is None:
            return
        opened = [
            (host, epoch)
            for host in HOSTS
            for epoch in range(1, self.row.version + 2)
            if self.allowed(ledger.may_open, self.row, host, epoch)
        ]
        assert len(opened) <= 1, opened
        assert set(opened) <= self.copies
        if self.row.pending or self.row.holder is None:
            assert not opened


LedgerMachine.TestCase.settings = hypothesis.settings(
    deadline=None, database=None, max_examples=100, stateful_step_count=30
)
LedgerWalkTest = LedgerMachine.TestCase
