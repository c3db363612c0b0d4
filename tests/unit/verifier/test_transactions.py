# SPDX-License-Identifier: Apache-2.0
"""A transaction that lost a race is repeated, and nothing else is."""

from unittest import mock

import fixtures
import sqlalchemy as sa
import testtools
from oslo_db import exception as db_exc

from korora_nova import errors
from korora_nova.verifier.db import api


def _of(statement: str, value: str) -> sa.exc.OperationalError:
    return sa.exc.OperationalError(
        statement, {'name': value}, ValueError("(1114, 'table is full')")
    )


class TestRetried(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        sleeping = mock.patch('oslo_db.api.time.sleep')
        self.sleep = sleeping.start()
        self.addCleanup(sleeping.stop)
        self.useFixture(fixtures.FakeLogger())

    def transaction(self, *outcomes):
        """One that ends in these ways, one after the other."""
        work = mock.Mock(side_effect=outcomes)

        @api.retried
        def run():
            with api.available():
                return work()

        return run, work

    def test_races_are_run_again(self):
        for lost in (
            api.Lost(),
            db_exc.DBDeadlock(),
            db_exc.RetryRequest(ValueError()),
            db_exc.DBError(ValueError('database is locked')),
            db_exc.DBError(
                ValueError('could not serialize access due to ...')
            ),
            sa.exc.OperationalError(
                'UPDATE',
                {},
                ValueError('(1020, "Record has changed since last read")'),
            ),
        ):
            run, work = self.transaction(lost, lost, 'done')
            self.assertEqual('done', run())
            self.assertEqual(3, work.call_count)

    def test_ends(self):
        run, work = self.transaction(*[api.Lost()] * api.ATTEMPTS, 'late')
        error = self.assertRaises(errors.Retry, run)
        self.assertEqual('RETRY', error.reason)
        self.assertEqual(api.ATTEMPTS, work.call_count)
        waits = [call.args[0] for call in self.sleep.call_args_list]
        self.assertEqual(api.ATTEMPTS - 1, len(waits))
        self.assertLessEqual(max(waits), 0.06)

    def test_nothing_else_is(self):
        for outcome, error in (
            (db_exc.DBConnectionError(), errors.Unavailable),
            (
                # A node of Galera's that lost its cluster.
                sa.exc.OperationalError(
                    'COMMIT',
                    {},
                    ValueError(
                        "(1180, 'Error while appending streaming replication "
                        'fragment(provider status: Not connected to Primary '
                        "Component)')"
                    ),
                ),
                errors.Unavailable,
            ),
            (
                db_exc.DBError(
                    ValueError("(1180, 'Got error 6 during COMMIT')")
                ),
                errors.Unavailable,
            ),
            # What somebody has written is not what the driver says.
            (
                db_exc.DBError(_of('INSERT', 'database is locked')),
                db_exc.DBError,
            ),
            (_of('INSERT', 'died during COMMIT'), sa.exc.OperationalError),
            (errors.Retry(), errors.Retry),
            (
                errors.Conflict(errors.Reason.IDENTITY_CONFLICT),
                errors.Conflict,
            ),
            (db_exc.DBDuplicateEntry(), db_exc.DBDuplicateEntry),
        ):
            run, work = self.transaction(outcome, 'done')
            self.assertRaises(error, run)
            self.assertEqual(1, work.call_count)
