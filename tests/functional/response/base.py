# SPDX-License-Identifier: Apache-2.0
"""A service, a Nova and processes that respond."""

import testtools

from tests.functional.api import base
from tests.support.enforcers import Enforcers
from tests.support.service import KororaFixture

HOSTS = tuple(f'h{number}' for number in range(6))


class Mixin:
    """Six hosts that were seen trusted."""

    def setUp(self) -> None:
        super().setUp()
        self.korora = self.useFixture(KororaFixture(self.connection()))
        self.admin = self.korora.client_as('admin')
        self.all = self.useFixture(Enforcers(self.korora, *HOSTS))
        self.nova, self.told = self.all.nova, self.all.told
        self.now = self.all.now

    def started(self, *names, **settings):
        """A process that leads, and has seen all hosts trusted."""
        made = self.all.process(*names, **settings)
        self.all.good(*HOSTS)
        self.all.turns(made)
        return made

    def one(self, host, driver='disable'):
        """The open response of a host."""
        found = [
            row
            for row in self.admin.list_responses(host=host)
            if row['driver'] == driver
        ]
        self.assertEqual(1, len(found), found)
        return found[0]

    def state(self, host, driver='disable'):
        return self.all.states().get((host, driver))


class ResponseTestCase(Mixin, testtools.TestCase):
    """With SQLite."""

    def connection(self) -> None:
        return None


class MariaDbTestCase(Mixin, base.MariaDbTestCase):
    """With MariaDB."""


class PostgreSqlTestCase(Mixin, base.PostgreSqlTestCase):
    """With PostgreSQL."""
