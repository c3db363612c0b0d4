# SPDX-License-Identifier: Apache-2.0
"""What a re-read by somebody hostile has found."""

from unittest import mock

from tests.functional.api.test_custody import OTHER, SERVER
from tests.functional.api.test_recovery import RestoreCase, down

WHY = 'Somebody has to.'


class UntoldTest(RestoreCase):
    """Agents look receipts up, too: nothing is told before it is anchored."""

    def decided(self) -> str:
        """A hand-over whose receipt is stored, but not anchored."""
        migration, _ = self.moving(self.source, self.dest, SERVER)
        self.backup = self.snapshot()
        with self.failing(), self.refused('ANCHOR_UNAVAILABLE'):
            self.dest.state(migration, 'activated')
        return migration

    def failing(self):
        return mock.patch.object(
            self.korora.service.anchor, 'rise', side_effect=down()
        )

    def readers(self, migration: str):
        return (
            lambda: self.admin.get_migration(migration),
            self.admin.list_migrations,
            self.admin.list_receipts,
        )

    def test_not_before_it_is_anchored(self):
        migration = self.decided()
        for read in self.readers(migration):
            with self.failing(), self.refused('ANCHOR_UNAVAILABLE'):
                read()
        # Nobody was told, so the copy before is as good.
        self.restore()
        self.source.state(migration, 'kept')
        self.dest.state(migration, 'no_domain')
        self.source.approve((SERVER, 1))

    def test_readers_anchor_it(self):
        migration = self.decided()
        taken = self.snapshot()
        anchor = self.copy_of_anchor()
        for read in self.readers(migration):
            self.put_anchor(anchor)
            self.restore(taken)
            read()
            self.restore()
            with self.refused('LEDGER_BEHIND'):
                self.source.state(migration, 'kept')

    def copy_of_anchor(self) -> bytes:
        with open(self.korora.directory + '/anchor.db', 'rb') as file:
            return file.read()

    def put_anchor(self, content: bytes) -> None:
        with open(self.korora.directory + '/anchor.db', 'wb') as file:
            file.write(content)

    def test_not_that_of_a_fork(self):
        """Whoever is told the other one would erase the only copy."""
        migration, _ = self.moving(self.source, self.dest, SERVER)
        self.source.claim(OTHER)
        backup = self.snapshot()
        self.dest.state(migration, 'activated')
        self.restore(backup)
        with (
            mock.patch.object(
                self.korora.service.anchor, 'get', lambda *_: {}
            ),
            self.refused('LEDGER_FORKED'),
        ):
            self.source.state(migration, 'kept')
            self.dest.state(migration, 'no_domain')
        self.assertIsNone(self.admin.get_migration(migration)['receipt'])
        (listed,) = self.admin.list_migrations()
        self.assertIsNone(listed['receipt'])
