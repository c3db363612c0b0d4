# SPDX-License-Identifier: Apache-2.0
"""A service, hosts with software TPMs, and what tests say about both."""

import contextlib
import uuid

import testtools

from korora_nova import errors
from tests.support import agent, databases, mariadb, postgresql, service


class MariaDbTestCase(testtools.TestCase):
    """One server for all tests of a process; databases are a test's own."""

    SERVER: type[mariadb.MariaDb | postgresql.PostgreSql] = mariadb.MariaDb

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.server = databases.shared(cls.SERVER)

    def connection(self) -> str:
        """URL of a database with the schema."""
        url = databases.migrated(self.server)
        self.addCleanup(self.server.drop, url)
        return url

    def empty(self) -> str:
        """URL of a database without tables."""
        url = self.server.database()
        self.addCleanup(self.server.drop, url)
        return url


class PostgreSqlTestCase(MariaDbTestCase):
    """The same with PostgreSQL."""

    SERVER = postgresql.PostgreSql


class ApiTestCase(testtools.TestCase):
    """One service; :meth:`host` makes hosts that are trusted."""

    SETTINGS: dict = {}
    ANCHOR: dict[str, str] = {}

    def setUp(self) -> None:
        super().setUp()
        self.korora = self.useFixture(
            service.KororaFixture(
                self.connection(), self.ANCHOR, **self.SETTINGS
            )
        )
        self.admin = self.korora.client_as('admin')

    def connection(self) -> str | None:
        """SQLAlchemy URL of the database; None for SQLite."""
        return None

    def stranger(self, name: str, **kwargs) -> agent.SimAgent:
        """A host that the service does not know."""
        return agent.SimAgent(
            name,
            self.korora.client_as('attester'),
            self.korora.vendor,
            **kwargs,
        )

    def host(self, name: str) -> agent.SimAgent:
        """A host that is approved and affirming."""
        made = self.stranger(name)
        made.join(self.admin)
        made.attest_now()
        if not self.admin.list_references():
            self.admin.create_reference('golden', name)
        made.attest_now()
        self.assertEqual('affirming', self.tier(name))
        return made

    def tier(self, name: str) -> str:
        return self.admin.get_host(name)['tier']

    @contextlib.contextmanager
    def refused(self, reason: str):
        """The block must end with this reason id; gives the error."""
        caught: list[errors.KororaError] = []
        try:
            yield caught
        except errors.KororaError as exc:
            caught.append(exc)
            self.assertEqual(reason, exc.reason, (exc.message, exc.details))
        else:
            self.fail(f'not refused with {reason}')

    def handed_over(
        self,
        source,
        dest,
        instance: str | None = None,
        migration: str | None = None,
    ):
        """Everything up to the permit; returns (migration, answer)."""
        migration = migration or str(uuid.uuid4())
        msk = dest.receive(migration, instance, source.name)
        self.korora.nova.migrations.add(
            (migration, instance, source.name, dest.name)
        )
        return migration, source.send(migration, instance, dest.name, msk.name)

    def sealed_over(
        self, source, dest, instance: str, migration: str | None = None
    ):
        """Everything up to D's acknowledgement: (migration, permit)."""
        migration, answer = self.handed_over(source, dest, instance, migration)
        permit = source.read(answer['permit'])
        dest.sealed(permit)
        return migration, permit

    def moving(
        self, source, dest, instance: str, migration: str | None = None
    ):
        """Everything up to the stream: (migration, permit)."""
        migration, permit = self.sealed_over(source, dest, instance, migration)
        source.start(permit)
        return migration, permit

    def moved(self, source, dest, instance: str) -> str:
        """A whole hand-over; returns the receipt."""
        migration, _ = self.moving(source, dest, instance)
        receipt = dest.state(migration, 'activated')
        self.assertEqual(receipt, source.state(migration, 'stream_completed'))
        return receipt
