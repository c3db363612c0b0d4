# SPDX-License-Identifier: Apache-2.0
"""What holds for anchors that are servers, through a proxy that fails."""

from __future__ import annotations

import contextlib
import threading
import time

import sqlalchemy as sa

from korora_nova import errors
from tests.support import anchors
from tests.support.anchors import LEDGER, SERVER, mark


class ServerMixin(anchors.AnchorMixin):
    """Through a proxy that can fail."""

    #: Seconds that any call may take when the timeout is 1 s: two of it, and
    #: the pauses of a busy machine.
    PATIENCE = 15.0

    @contextlib.contextmanager
    def soon(self):
        start = time.monotonic()
        yield
        self.assertLess(time.monotonic() - start, self.PATIENCE)

    def calls(self, anchor):
        return (
            lambda: anchor.get(LEDGER, [SERVER]),
            lambda: anchor.rise(LEDGER, SERVER, mark(9)),
            lambda: anchor.create(LEDGER),
        )

    def assertUnavailable(self, anchor) -> None:
        for call in self.calls(anchor):
            with self.soon(), self.refused('ANCHOR_UNAVAILABLE'):
                call()

    def test_guarantees(self) -> None:
        self.assertTrue(self.anchor.GUARANTEES)

    def test_gone_and_back(self) -> None:
        anchor = self.another(timeout=1)
        anchor.create(LEDGER)
        anchor.rise(LEDGER, SERVER, mark(1))
        self.proxy.refuse()
        self.assertUnavailable(anchor)
        self.proxy.accept()
        anchor.rise(LEDGER, SERVER, mark(2))
        self.assertMark(mark(2))

    def test_silent(self) -> None:
        anchor = self.another(timeout=1)
        anchor.create(LEDGER)
        anchor.get(LEDGER, [SERVER])
        self.proxy.stall()
        self.assertUnavailable(anchor)
        self.proxy.accept()
        self.assertMark(None)
        anchor.rise(LEDGER, SERVER, mark(2))
        self.assertMark(mark(2))

    def test_cut_anywhere(self) -> None:
        """The old mark or the new one; once more, and it is the new one."""
        self.anchor.create(LEDGER)
        version = 1
        for passed_on in (True, False):
            for cut in range(1, 40):
                anchor = self.another(timeout=2)
                self.anchor.rise(LEDGER, SERVER, mark(version))
                self.proxy.cut_after(cut, passed_on=passed_on)
                refused = None
                try:
                    anchor.rise(LEDGER, SERVER, mark(version + 1))
                except errors.Unavailable as exc:
                    refused = exc
                    self.assertEqual('ANCHOR_UNAVAILABLE', exc.reason)
                self.proxy.accept()
                held = self.anchor.get(LEDGER, [SERVER])[SERVER]
                if refused is None:
                    self.assertEqual(mark(version + 1), held)
                self.assertIn(held.version, (version, version + 1))
                anchor.rise(LEDGER, SERVER, mark(version + 1))
                version += 1
                self.assertMark(mark(version))
                if refused is None:
                    break
            # Connecting, raising and committing, at least; and an end
            self.assertIn(cut, range(3, 39))


class SqlMixin(ServerMixin):
    """What both kinds of databases have in common."""

    def run_sql(self, *statements: str) -> None:
        engine = sa.create_engine(self.direct)
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))
        engine.dispose()

    def test_a_lock_of_somebody_else(self) -> None:
        self.anchor.create(LEDGER)
        self.anchor.rise(LEDGER, SERVER, mark(1))
        anchor = self.another(timeout=1)
        engine = sa.create_engine(self.direct)
        self.addCleanup(engine.dispose)
        with engine.begin() as connection:
            connection.execute(
                sa.text('SELECT * FROM anchor_marks FOR UPDATE')
            ).all()
            with self.soon(), self.refused('ANCHOR_UNAVAILABLE'):
                anchor.rise(LEDGER, SERVER, mark(2))
            with self.soon():
                self.assertMark(mark(1))
        anchor.rise(LEDGER, SERVER, mark(2))
        self.assertMark(mark(2))

    def test_tables_are_gone(self) -> None:
        self.anchor.create(LEDGER)
        self.anchor.rise(LEDGER, SERVER, mark(1))
        self.run_sql('DROP TABLE anchor_marks')
        for call in self.calls(self.anchor)[:2]:
            with self.refused('ANCHOR_MISSING'):
                call()
        # The row of the ledger is there: nothing is made anew in silence
        with self.refused('ANCHOR_EXISTS'):
            self.anchor.create(LEDGER)

    def test_no_such_database(self) -> None:
        url = sa.make_url(self.options['connection'])
        url = url.set(database='not_there')
        anchor = self.another(
            connection=url.render_as_string(hide_password=False)
        )
        self.assertUnavailable(anchor)

    def test_restored(self) -> None:
        """What its operator must not do: it does not know that it forgot."""
        self.anchor.create(LEDGER)
        self.anchor.rise(LEDGER, SERVER, mark(9))
        self.run_sql('UPDATE anchor_marks SET version = 2')
        self.anchor.rise(LEDGER, SERVER, mark(3))
        self.assertMark(mark(3))

    def test_first_marks_at_once(self) -> None:
        """Where there is no row yet that could be locked."""
        self.anchor.create(LEDGER)
        done = []

        def climb(number: int) -> None:
            for version in range(1, 30):
                server = f'{version:036}'
                self.anchor.rise(LEDGER, server, mark(version))
            done.append(number)

        threads = [threading.Thread(target=climb, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([0, 1, 2, 3], sorted(done))
