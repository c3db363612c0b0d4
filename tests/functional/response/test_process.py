# SPDX-License-Identifier: Apache-2.0
"""The process from results to Nova's API, and back."""

from korora_nova import errors
from korora_nova.verifier.responses import leader
from tests.functional.response.base import HOSTS, ResponseTestCase

WORD = 'because'


class TestProcess(ResponseTestCase):
    def test_one_host_is_lost_and_regained(self):
        made = self.started()
        self.all.lose(made, 'h1', results=2)
        self.assertEqual({}, self.nova.disabled())
        self.all.lose(made, 'h1', results=1)
        row = self.one('h1')
        self.assertEqual(
            {'h1': f'korora response {row["id"]}: PCR_NOT_GOLDEN'},
            self.nova.disabled(),
        )
        self.assertEqual([('lost', 'h1')], self.told.events)
        self.assertEqual('done', row['state'])
        self.all.turns(made, 5)
        self.assertEqual([('disabled', 'h1')], self.nova.calls)
        self.all.regain(made, 'h1')
        self.assertEqual({}, self.nova.disabled())
        self.assertEqual([('lost', 'h1'), ('back', 'h1')], self.told.events)
        self.assertEqual([], self.admin.list_responses())
        self.assertEqual(
            {'undone'},
            {one['state'] for one in self.admin.list_responses(every=True)},
        )
        self.assertEqual(
            [
                ('korora-enforcer', 'response disable due', 'h1'),
                ('korora-enforcer', 'response disable done', 'h1'),
                ('korora-enforcer', 'response disable undoing', 'h1'),
                ('korora-enforcer', 'response disable undone', 'h1'),
            ],
            [one for one in self.all.audit() if 'disable' in one[1]],
        )

    def test_flapping_while_it_is_undone(self):
        made = self.started()
        self.all.lose(made, 'h1')
        self.nova.broken = 503
        self.all.regain(made, 'h1')
        self.assertEqual('undoing', self.state('h1'))
        self.all.lose(made, 'h1')
        self.assertEqual('due', self.state('h1'))
        self.nova.broken = 0
        self.all.turns(made, 20)
        self.assertEqual(['h1'], list(self.nova.disabled()))
        self.all.regain(made, 'h1')
        self.all.turns(made)
        self.assertEqual({}, self.nova.disabled())

    def test_trust_is_back_before_anything_was_done(self):
        made = self.started('disable', approval=True)
        self.all.lose(made, 'h1')
        self.assertEqual('waiting', self.state('h1'))
        self.all.regain(made, 'h1')
        self.assertEqual('ended', self.state('h1'))
        self.assertEqual([], self.nova.calls)

    def test_approval(self):
        made = self.started(approval=True)
        self.all.lose(made, 'h1', 'h2')
        self.assertEqual({}, self.nova.disabled())
        self.assertEqual(2, len(self.told.events))
        for _ in range(2):
            row = self.admin.approve_response(self.one('h1')['id'], WORD)
            self.all.turns(made)
        self.assertEqual('user', row['actor'])
        gone = self.one('h2')['id']
        for _ in range(2):
            row = self.admin.reject_response(gone, WORD)
            self.all.turns(made)
        self.assertEqual(('rejected', WORD), (row['state'], row['note']))
        self.assertEqual(['h1'], list(self.nova.disabled()))
        self.admin.revert_response(gone, WORD)  # Nothing came of it.
        caught = self.assertRaises(
            errors.Conflict, self.admin.approve_response, gone, WORD
        )
        self.assertEqual('RESPONSE_STATE', caught.reason)
        self.all.regain(made, 'h1', 'h2')
        self.all.turns(made)
        self.assertEqual({}, self.nova.disabled())

    def test_dry_run(self):
        made = self.started(dry_run=True)
        self.all.lose(made, *HOSTS)
        self.assertEqual([], self.nova.calls)
        self.assertEqual([], self.told.events)
        self.assertEqual(
            {'dry-run'},
            {one['state'] for one in self.admin.list_responses()},
        )
        page = next(iter(self.admin.response_pages()))
        self.assertIsNone(page['hold'])
        self.all.regain(made, *HOSTS)
        self.assertEqual([], self.admin.list_responses())

    def test_pages(self):
        made = self.started('told')
        self.all.lose(made, *HOSTS)
        pages = list(self.admin.response_pages(limit=2))
        found = [row['id'] for page in pages for row in page['responses']]
        # And one of the whole fleet.
        self.assertEqual(7, len(set(found)))
        self.assertEqual(4, len(pages))

    def test_one_driver_that_fails_leaves_others_alone(self):
        made = self.started()
        self.told.broken = ValueError('a secret')
        self.all.lose(made, 'h1')
        self.assertEqual(['h1'], list(self.nova.disabled()))
        row = self.one('h1', 'told')
        self.assertEqual(
            ('due', 'The driver failed: ValueError.'),
            (row['state'], row['error']),
        )
        self.told.broken = None
        self.all.turns(made, 20)
        self.assertEqual([('lost', 'h1')], self.told.events)

    def test_attempts_are_further_and_further_apart(self):
        self.assertEqual(
            [5, 10, 20, 40, 300, 300],
            [leader.retry_after(count) for count in (1, 2, 3, 4, 9, 99)],
        )
        made = self.started()
        self.nova.broken = 503
        seen = []
        self.nova.before = lambda method, path: seen.append(path)
        self.all.lose(made, 'h1')
        made.survey_interval = 1e9
        self.all.turns(made, 200)
        # 1000 s; once a turn would be 200 times.
        self.assertLess(len(seen), 15)
        self.nova.broken = 0
        self.all.turns(made, 61)
        self.assertEqual(['h1'], list(self.nova.disabled()))


class TestWhatCounts(ResponseTestCase):
    """Only what the service signed, of a host, now."""

    def nothing(self, made):
        self.all.turns(made, 3)
        self.assertEqual([], self.admin.list_responses(every=True))
        self.assertEqual([], self.nova.calls)

    def test_hosts_that_were_never_trusted(self):
        made = self.all.process()
        for _ in range(9):
            self.all.bad(*HOSTS)
            self.all.turns(made)
        self.nothing(made)

    def test_silence(self):
        made = self.started()
        self.all.lose(made, 'h1', results=2)
        self.now.advance(86400)
        self.nothing(made)

    def test_old_results_of_a_restored_database(self):
        made = self.started()
        self.now.advance(-86400)
        self.all.bad('h1')
        self.now.advance(86400)
        self.nothing(made)

    def test_results_from_the_future(self):
        made = self.started()
        self.now.advance(3600)
        for _ in range(4):
            self.all.bad('h1')
        self.now.advance(-3600)
        self.nothing(made)

    def test_results_that_nobody_signed(self):
        made = self.started()
        for _ in range(5):
            self.all.write(
                'h1',
                tier='contraindicated',
                issued=self.now(),
                reasons=['PCR_NOT_GOLDEN'],
            )
            self.all.turns(made)
        self.nothing(made)
        self.assertGreater(made.counters.refused, 4)

    def test_another_hosts_result(self):
        """One host's word never decides for others."""
        made = self.started()
        for _ in range(4):
            self.all.bad('h1')
            with self.korora.service.db.read() as session:
                row = session.get(leader.models.Host, 'h1')
                values = {
                    name: getattr(row, name)
                    for name in ('tier', 'reasons', 'issued', 'token')
                }
            self.all.good('h1')
            self.all.write('h2', **values)
            self.all.turns(made)
        self.nothing(made)

    def test_eviction_counts_at_once(self):
        made = self.started()
        self.all.write('h1', evicted_at=self.now())
        self.all.turns(made)
        self.assertEqual(['h1'], list(self.nova.disabled()))
        self.assertEqual(['EVICTED'], self.one('h1')['reasons'])

    def test_a_host_that_is_forgotten(self):
        made = self.started()
        self.all.lose(made, 'h1')
        with self.korora.service.db.write() as session:
            session.delete(session.get(leader.models.Host, 'h1'))
        self.all.turns(made, 3)
        self.assertEqual('done', self.state('h1'))
        self.all.enrol('h1')
        self.all.good('h1')
        self.all.turns(made, 2)
        self.assertEqual({}, self.nova.disabled())
