# SPDX-License-Identifier: Apache-2.0
"""What an attestation costs the database when nothing is new."""

import contextlib
import dataclasses

import sqlalchemy as sa

from korora_nova.verifier.db import models
from tests.functional.api import base

#: Challenge and evidence together.
STATEMENTS = 6
TRANSACTIONS = 2
#: Of a hand-over whose six requests each ask for a challenge, both receipts
#: included; the anchor's are not in it.
HANDOVER = 92


@dataclasses.dataclass
class Cost:
    """Statements as they were run, and ends of transactions."""

    statements: list[str] = dataclasses.field(default_factory=list)
    transactions: int = 0


class Statements(base.ApiTestCase):
    @contextlib.contextmanager
    def counted(self):
        cost = Cost()
        database = self.korora.service.db
        engines = [database.engine]
        if database.engine.dialect.name == 'mysql':
            engines.append(database._looking)

        def statement(connection, cursor, text, *more):
            # oslo.db's own, for SQLite
            if text != 'BEGIN':
                cost.statements.append(text)

        def end(connection):
            # SQLAlchemy ends also what commits itself.
            options = connection.get_execution_options()
            if options.get('isolation_level') != 'AUTOCOMMIT':
                cost.transactions += 1

        hooks = [
            *(('before_cursor_execute', one, statement) for one in engines),
            ('commit', database.engine, end),
            ('rollback', database.engine, end),
        ]
        for name, engine, hook in hooks:
            sa.event.listen(engine, name, hook)
        try:
            yield cost
        finally:
            for name, engine, hook in hooks:
                sa.event.remove(engine, name, hook)

    def steady(self, host):
        host.go_on()
        host.go_on()

    def assert_lean(self, cost: Cost, servers: int = 0) -> None:
        # With servers their rows are read, and where their keys rest.
        most = STATEMENTS + 2 * bool(servers)
        self.assertLessEqual(len(cost.statements), most, cost.statements)
        self.assertLessEqual(
            cost.transactions, TRANSACTIONS + bool(servers), cost.statements
        )

    def test_nothing_is_new(self):
        host = self.host('h1')
        self.steady(host)
        with self.counted() as cost:
            host.go_on()
        self.assert_lean(cost)
        self.assertEqual('affirming', self.tier('h1'))

    def test_a_challenge_at_hand(self):
        host = self.host('h1')
        self.steady(host)
        challenge = host.go_on()['next_challenge']['challenge']
        with self.counted() as cost:
            host.say('attest', challenge, known=[])
        self.assertLessEqual(len(cost.statements), 4, cost.statements)
        self.assertEqual(1, cost.transactions)

    def test_the_same_for_all_rounds(self):
        """What is forgotten at last is so for many rounds at once."""
        host = self.host('h1')
        self.steady(host)
        rounds = 60
        with self.counted() as cost:
            for _ in range(rounds):
                host.go_on()
        self.assertLessEqual(len(cost.statements), rounds * (STATEMENTS + 0.5))
        self.assertLessEqual(cost.transactions, rounds * TRANSACTIONS)

    def test_with_servers(self):
        host = self.host('h1')
        grants = [
            host.claim(f'00000000-0000-4000-8000-{number:012}')
            for number in range(5)
        ]
        self.assertEqual(5, len(grants))
        host.heal()
        self.steady(host)
        host.heal()
        with self.counted() as cost:
            host.heal()
        self.assert_lean(cost, servers=5)

    def test_a_hand_over(self):
        source, dest = self.host('h1'), self.host('h2')
        self.korora.nova.at_hand = True
        for number in range(2):
            server = f'00000000-0000-4000-8000-{number:012}'
            source.claim(server)
            with self.counted() as cost:
                self.moved(source, dest, server)
        self.assertLessEqual(
            len(cost.statements), HANDOVER, '\n'.join(cost.statements)
        )

    def test_no_row_of_a_host_is_read_twice_in_a_transaction(self):
        source, dest = self.host('h1'), self.host('h2')
        server = '00000000-0000-4000-8000-000000000001'
        source.claim(server)
        with self.counted() as cost:
            self.handed_over(source, dest, server)
        ends = [one for one in cost.statements if ' hosts.name IN ' in one]
        # In ``receive``, and before and after Nova is asked in ``send``.
        self.assertEqual(3, len(ends), '\n'.join(cost.statements))

    def test_what_did_not_change_is_not_written(self):
        host = self.host('h1')
        self.steady(host)
        with self.counted() as cost:
            host.go_on()
        (update,) = (
            one for one in cost.statements if one.startswith('UPDATE hosts')
        )
        for column in (
            'reasons',
            'findings',
            'tier',
            'reset_count',
            'clock_safe',
            'enforcer=',
            'ak_public',
        ):
            self.assertNotIn(f' {column}', update.split('WHERE')[0])

    def test_no_row_is_locked_that_hosts_share(self):
        host = self.host('h1')
        self.steady(host)
        with self.counted() as cost:
            host.go_on()
        written = {
            one.split()[1 if one.startswith('UPDATE') else 2]
            for one in cost.statements
            if not one.startswith('SELECT')
        }
        self.assertEqual({'hosts', 'challenges'}, written)
        self.assertFalse([one for one in cost.statements if ' FOR ' in one])


class TestSqlite(Statements):
    pass


class TestMariaDb(base.MariaDbTestCase, Statements):
    def status(self, connection) -> dict[str, int]:
        with connection.cursor() as cursor:
            cursor.execute("SHOW GLOBAL STATUS LIKE 'Com\\_%'")
            return {name: int(value) for name, value in cursor}

    def test_as_the_server_counts(self):
        host = self.host('h1')
        self.steady(host)
        with self.server._connect() as connection:
            before = self.status(connection)
            host.go_on()
            after = self.status(connection)
        counts = {
            name: after[name] - before[name]
            for name in after
            if after[name] != before[name]
        }
        # The questions of this test, and pings of connections
        for name in ('Com_show_status', 'Com_admin_commands'):
            counts.pop(name, None)
        self.assertEqual(
            {
                'Com_select': 2,
                'Com_insert': 2,
                'Com_update': 2,
                'Com_commit': 2,
            },
            counts,
        )
        with self.korora.service.db.read() as session:
            self.assertEqual(
                1, session.scalar(sa.select(sa.func.count(models.Host.name)))
            )


class TestPostgreSql(base.PostgreSqlTestCase, Statements):
    pass


del Statements
