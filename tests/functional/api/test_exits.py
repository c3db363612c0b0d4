# SPDX-License-Identifier: Apache-2.0
"""Every state of custody is left by every exit that its table names.

``python -m tests.functional.api.test_exits`` prints how many states there
are, how many have no exit, and of how many each exit was taken.
"""

import json
import sys
import unittest
import uuid
from collections.abc import Callable

import sqlalchemy as sa

from korora_nova import client
from korora_nova.custody import exits
from korora_nova.custody.bodies import Known
from korora_nova.custody.exits import Exit, Part
from korora_nova.verifier.db import models
from tests.functional.api import base

SERVER = str(uuid.UUID(int=1))
KEY = '000b' + '22' * 32
WHY = 'Somebody has to.'


class ExitsTestCase(base.ApiTestCase):
    """h1 holds a server's key, h2 and h3 are trusted."""

    def setUp(self) -> None:
        super().setUp()
        self.source, self.dest = self.host('h1'), self.host('h2')
        self.third = self.host('h3')
        #: Where a guest may be started.
        self.kept = self.source
        #: What an exit is told beside its reason.
        self.options: dict[str, str] = {}
        self.evicted = 'h1'
        self.migration = ''
        self.server = SERVER
        self.held = self.source.claim(self.server, KEY)

    # The ways into a state

    def to_ledger_unknown(self) -> None:
        self.server = str(uuid.UUID(int=2))

    def to_ledger_held(self) -> None:
        self.options = {'fenced': 'h1 has no power.'}
        self.distrusted()

    def to_ledger_pending(self) -> None:
        self.to_migration_moving()

    def to_ledger_disputed(self) -> None:
        self.to_migration_disputed()

    def to_ledger_released(self) -> None:
        self.to_vault_missing()
        self.admin.reissue_server(self.server, WHY)

    def to_ledger_deleted(self) -> None:
        self.source.delete(self.server)

    def to_ledger_behind(self) -> None:
        self.sql(sa.delete(models.Server), sa.delete(models.Document))
        self.options = {'fenced': 'All of them are off.'}

    def to_ledger_forked(self) -> None:
        self.sql(sa.update(models.Server).values(head='ff' * 32))
        self.options = {'fenced': 'All of them are off.'}

    def to_migration_receiving(self) -> None:
        self.migration, self.evicted = str(uuid.uuid4()), 'h2'
        self.dest.receive(self.migration, self.server, 'h1')

    def to_migration_permitted(self) -> None:
        self.migration, _ = self.handed_over(
            self.source, self.dest, self.server
        )
        self.evicted = 'h2'

    def to_migration_sealed(self) -> None:
        self.migration, _ = self.sealed_over(
            self.source, self.dest, self.server
        )
        self.evicted = 'h2'

    def to_migration_moving(self) -> None:
        self.migration, _ = self.moving(self.source, self.dest, self.server)
        self.evicted = 'h2'

    def to_migration_disputed(self) -> None:
        self.to_migration_moving()
        self.source.state(self.migration, 'kept')
        self.dest.state(self.migration, 'activated')
        self.korora.clock.advance(61)

    def to_migration_committed(self) -> None:
        self.to_migration_moving()
        self.dest.state(self.migration, 'activated')

    def to_migration_aborted(self) -> None:
        self.to_migration_sealed()
        self.dest.state(self.migration, 'no_domain')

    def to_vault_claiming(self) -> None:
        self.lost()

    to_vault_held = to_ledger_held
    to_vault_outgoing = to_migration_permitted
    to_vault_starting = to_migration_sealed
    to_vault_moving = to_migration_moving
    to_vault_receiving = to_migration_receiving
    to_vault_incoming = to_migration_moving

    def to_vault_relinquished(self) -> None:
        self.to_migration_moving()
        self.dest.state(self.migration, 'no_domain')

    def to_vault_forgotten(self) -> None:
        self.korora.nova.gone.add(self.server)

    def to_vault_missing(self) -> None:
        self.lost()

    def to_vault_damaged(self) -> None:
        self.lost()

    # The exits, and where they lead

    def by_start(self, dry_run: bool) -> client.Answer | None:
        if not dry_run:
            self.restored()
            row = self.admin.get_server(self.server) if self.is_known() else {}
            if row.get('holder'):
                self.kept.claim(self.server, KEY)
                self.kept.approve((self.server, row['epoch']))
            else:
                self.starts(self.third)
        return None

    def by_present(self, dry_run: bool) -> client.Answer | None:
        if not dry_run:
            answer = self.admin.present_documents([self.held.token])
            self.assertEqual({'servers': 1, 'current': 1}, dict(answer))
            self.source.approve((self.server, 1))
        return None

    def by_reissue(self, dry_run: bool) -> client.Answer:
        answer = self.admin.reissue_server(
            self.server, WHY, dry_run=dry_run, **self.options
        )
        if not dry_run:
            self.assertEqual('released', self.state())
        return answer

    def after_reissue(self) -> None:
        self.closed(self.source, 1)
        self.learns(self.source, 'released')
        self.starts(self.third)

    def by_release(self, dry_run: bool) -> client.Answer:
        self.korora.nova.gone.add(self.server)
        answer = self.admin.release_server(self.server, WHY, dry_run=dry_run)
        if not dry_run:
            self.assertEqual('deleted', self.state())
        return answer

    def after_release(self) -> None:
        self.closed(self.source, 1)
        self.learns(self.source, 'deleted')

    def by_keep_source(self, dry_run: bool) -> client.Answer:
        return self.admin.resolve_migration(
            self.migration, 'source', WHY, dry_run=dry_run
        )

    def after_keep_source(self) -> None:
        self.source.approve((self.server, 1))
        self.closed(self.dest, 2)
        self.assertEqual('aborted', self.shown()['status'])
        if self.shown()['receipt']:
            self.learns(self.source, 'aborted')
            self.learns(self.dest, 'aborted')
            # Words do not count any more.
            self.dest.state(self.migration, 'no_domain')
            self.source.approve((self.server, 1))

    def by_keep_destination(self, dry_run: bool) -> client.Answer:
        return self.admin.resolve_migration(
            self.migration, 'destination', WHY, dry_run=dry_run
        )

    def after_keep_destination(self) -> None:
        self.dest.approve((self.server, 2))
        self.closed(self.source, 1)
        self.learns(self.source, 'committed')
        self.learns(self.dest, 'committed')
        self.source.state(self.migration, 'kept')
        self.dest.approve((self.server, 2))

    def by_evict(self, dry_run: bool) -> client.Answer | None:
        answer = self.admin.evict_host(self.evicted, WHY, dry_run=dry_run)
        if not dry_run:
            self.assertEqual(([], ''), (answer['left'], answer['next']))
        return next(iter(answer.objects('servers')), None)

    def after_evict(self) -> None:
        with self.refused('EVICTED'):
            getattr(
                self, {'h1': 'source', 'h2': 'dest'}[self.evicted]
            ).approve((self.server, 1))
        if self.admin.get_server(self.server)['holder'] == 'h1':
            self.source.approve((self.server, 1))
        else:
            self.starts(self.third)

    # Helpers

    def sql(self, *statements: sa.Executable) -> None:
        with self.korora.service.db.write() as session:
            for statement in statements:
                session.execute(statement)

    def lost(self) -> None:
        """h1 reports that it has no copy."""
        known = Known(self.server, 1, self.held.hash, '')
        self.source.attest_now(known=[known])

    def distrusted(self) -> None:
        self.source.measure('/tmp/rootkit')
        self.source.attest_now()
        self.assertEqual('contraindicated', self.tier('h1'))

    def restored(self) -> None:
        """Whatever was against h1 is over: it is rebuilt."""
        if self.tier('h1') == 'affirming':
            return
        self.admin.delete_host('h1', force=True)
        self.source = self.kept = self.host('h1')

    def is_known(self) -> bool:
        with self.korora.service.db.read() as session:
            return session.get(models.Server, self.server) is not None

    def state(self) -> str:
        return self.admin.get_server(self.server)['state']

    def shown(self) -> client.Answer:
        return self.admin.get_migration(self.migration)

    def starts(self, host) -> None:
        """The server's next start, where Nova has it now."""
        self.korora.nova.gone.discard(self.server)
        grant = host.claim(self.server)
        host.approve((self.server, grant.content.version))

    def closed(self, host, epoch: int) -> None:
        """No copy of this host opens."""
        if self.tier(host.name) == 'affirming':
            with self.refused('NOT_HOLDER'):
                host.approve((self.server, epoch))

    def learns(self, host, outcome: str) -> None:
        """The host is sent the newest document, which ends its copy."""
        if self.server not in host.newest:
            # It was sent nothing yet: its word is answered.
            host.state(self.migration, 'no_domain')
        host.heal()
        newest = host.newest[self.server].content
        self.assertEqual(outcome, newest.outcome)

    def documents(self) -> int:
        with self.korora.service.db.read() as session:
            return session.scalar(
                sa.select(sa.func.count()).select_from(models.Document)
            )

    def walk(self, state: exits.State, way: Exit) -> None:
        """Into the state, and out again: planned, done, done again."""
        getattr(self, f'to_{state.part}_{state.name}')()
        self.assert_in(state)
        by = getattr(self, f'by_{way.id.replace("-", "_")}')
        before = self.documents()
        plan = by(True)
        self.assertEqual(before, self.documents(), 'a dry run signed')
        if plan is not None:
            self.assertFalse(plan['done'])
            self.assertIsNone(plan['refused'])
            self.assertNotEqual([], plan['consequences'])
        done = by(False)
        if done is not None:
            self.assertTrue(done['done'], done)
            signed = self.documents()
            again = by(False)
            self.assertEqual(signed, self.documents(), 'signed twice')
            if again is not None:
                self.assertTrue(again['done'])
            if way != Exit.EVICT:
                self.assertEqual(done['receipt'], again['receipt'])
        after = getattr(self, f'after_{way.id.replace("-", "_")}', None)
        if after is not None:
            after()

    def assert_in(self, state: exits.State) -> None:
        if state.part == Part.LEDGER and self.is_known():
            shown = self.admin.get_server(self.server)
            self.assertEqual(state.name, shown['state'])
            self.assertEqual(
                [one.id for one in state.exits],
                [one['id'] for one in shown['exits']],
            )
        if state.part == Part.MIGRATION:
            self.assertEqual(state.name, self.shown()['status'])


class TestExits(ExitsTestCase):
    """A test for each state and exit; they are made below."""


def _walk(state: exits.State, way: Exit) -> Callable[[ExitsTestCase], None]:
    def test(self: ExitsTestCase) -> None:
        self.walk(state, way)

    test.__doc__ = f'{state.part} {state.name}, by {way.id}'
    return test


def _name(state: exits.State, way: Exit) -> str:
    return f'test_{state.part}_{state.name}_{way.id}'.replace('-', '_')


for _state in exits.STATES:
    for _exit in _state.exits:
        setattr(TestExits, _name(_state, _exit), _walk(_state, _exit))


def main() -> int:
    """Take every exit; prints the figures as JSON."""
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(TestExits)
    found = unittest.TextTestRunner(stream=sys.stderr).run(suite)
    bad = {
        test.id().rsplit('.', 1)[-1]
        for test, _ in (*found.failures, *found.errors)
    }
    tried = [
        state
        for state in exits.STATES
        if not bad & {_name(state, way) for way in state.exits}
    ]
    figures = {
        'states': len(exits.STATES),
        'without_exit': sum(1 for one in exits.STATES if not one.exits),
        'tried': len(tried),
    }
    print(json.dumps(figures))
    return 0 if found.wasSuccessful() else 1


if __name__ == '__main__':
    sys.exit(main())
