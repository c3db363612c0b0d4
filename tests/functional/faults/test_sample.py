# SPDX-License-Identifier: Apache-2.0
"""A sample of the matrix of faults; ``tools/prove faults`` runs it all.

KORORA_SEED chooses another one.
"""

from __future__ import annotations

import os

import testtools

from tests.faults import worker

SEED = int(os.environ.get('KORORA_SEED', '1'))
RUNS = 12


class SampleMixin:
    DATABASE: str

    def test_sample(self) -> None:
        first, *runs = worker.rows(self.DATABASE, RUNS, SEED)
        self.assertGreaterEqual(len(first['points']), 25)
        self.assertEqual(RUNS, len(runs))
        wrong = [
            row for row in runs if row['lost'] + row['double'] + row['stuck']
        ]
        self.assertEqual([], wrong)


class TestMariaDb(SampleMixin, testtools.TestCase):
    DATABASE = 'mariadb'


class TestPostgreSql(SampleMixin, testtools.TestCase):
    DATABASE = 'postgresql'
