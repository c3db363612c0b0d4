# SPDX-License-Identifier: Apache-2.0
"""Nova's record of a migration: this one, being prepared."""

import threading
import time
from concurrent import futures
from unittest import mock

import requests_mock
import testtools

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.custody.moves import Move, way_back
from korora_nova.verifier import nova_record

SERVER = '00000000-0000-4000-8000-000000000001'
MIGRATION = '00000000-0000-4000-8000-000000000002'
ASKED = {
    'migration': MIGRATION,
    'instance': SERVER,
    'source': 'h1',
    'dest': 'h2',
    'kind': Move.LIVE,
}
ROW = {
    'uuid': MIGRATION,
    'status': 'preparing',
    'source_compute': 'h1',
    'dest_compute': 'h2',
    'id': 7,
}
STATE = {'OS-EXT-STS:task_state': 'migrating', 'id': SERVER}
#: Of a cold migration: what is asked, Nova's record, the task state.
COLD = {
    Move.COLD: (ASKED, {**ROW, 'status': 'migrating'}, 'resize_migrating'),
    Move.REVERT: (
        {
            **ASKED,
            'migration': way_back(MIGRATION),
            'source': 'h2',
            'dest': 'h1',
        },
        {**ROW, 'status': 'reverting'},
        'resize_reverting',
    ),
}


class RecordTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        conf = options.parse([], [])
        options.register_verifier_opts(conf)
        conf.set_override('auth_type', 'none', options.NOVA)
        conf.set_override(
            'endpoint_override', 'http://nova.test/v2.1', options.NOVA
        )
        self.record = nova_record.KeystoneNovaRecord(conf)
        self.addCleanup(self.record._pool.shutdown)
        self.mock = requests_mock.Mocker()
        self.mock.start()
        self.addCleanup(self.mock.stop)

    def nova(self, server=STATE, migrations=(ROW,), status: int = 200):
        base = f'http://nova.test/v2.1/servers/{SERVER}'
        self.mock.get(base, json={'server': server}, status_code=status)
        self.listed({'servers': [{'id': SERVER}]}, status)
        self.mock.get(
            f'{base}/migrations',
            status_code=status,
            json={'migrations': list(migrations)},
        )

    def listed(self, answer, status: int = 200):
        """What Nova says to the question for servers that are migrated."""
        self.mock.get(
            'http://nova.test/v2.1/servers?status=MIGRATING&all_tenants=True'
            f'&uuid={SERVER}',
            status_code=status,
            json=answer,
        )


class TestAhead(RecordTestCase):
    """What was read ahead admits; it refuses nothing."""

    def ahead(self) -> None:
        self.record.ahead(instance=SERVER, kind=Move.LIVE)
        begun = self.record._begun[SERVER, Move.LIVE]
        futures.wait((begun.server, begun.migrations), 10)

    def requests(self) -> int:
        return len(self.mock.request_history)

    def test_nothing_is_asked_twice(self):
        self.nova()
        self.ahead()
        self.record.check(**ASKED)
        self.assertEqual(2, self.requests())
        # It served once
        self.record.check(**ASKED)
        self.assertEqual(4, self.requests())

    def test_of_the_server_only_its_status_is_asked(self):
        self.nova(server={})
        self.ahead()
        self.record.check(**ASKED)
        # The whole of it is, for a refusal or for want of an answer
        self.assertEqual(
            'the task state',
            self.assertRaises(
                errors.CustodyError, self.record.check, **ASKED
            ).details['differs'],
        )

    def test_list_that_does_not_show_it_admits_nothing(self):
        for answer, status in (
            ({'servers': []}, 200),
            ({'servers': [{'id': 'another'}, 'x']}, 200),
            ({'servers': {}}, 200),
            ({}, 403),
            ({}, 404),
            ({}, 503),
        ):
            self.nova(server={})
            self.listed(answer, status)
            self.ahead()
            self.assertRaises(errors.CustodyError, self.record.check, **ASKED)
            self.nova()
            self.listed(answer, status)
            self.ahead()
            self.record.check(**ASKED)

    def test_refusal_is_of_a_new_answer(self):
        self.nova(migrations=())
        self.ahead()
        self.nova()
        self.record.check(**ASKED)
        self.assertEqual(4, self.requests())

    def test_refused_still(self):
        self.nova(migrations=())
        self.ahead()
        self.assertEqual(
            'MIGRATION_NOT_IN_NOVA',
            self.assertRaises(
                errors.CustodyError, self.record.check, **ASKED
            ).reason,
        )

    def test_of_another_migration_it_admits_nothing(self):
        self.nova()
        self.ahead()
        other = {**ASKED, 'dest': 'h3'}
        self.assertRaises(errors.CustodyError, self.record.check, **other)

    def test_old_answer_is_asked_for_again(self):
        self.nova()
        self.ahead()
        self.nova(migrations=())
        began = time.monotonic()
        with mock.patch.object(
            nova_record.time,
            'monotonic',
            lambda: began + nova_record.AHEAD + 1,
        ):
            self.assertRaises(errors.CustodyError, self.record.check, **ASKED)

    def test_nova_that_was_down_is_asked_again(self):
        self.nova(status=503)
        self.ahead()
        self.nova()
        self.record.check(**ASKED)

    def test_few_are_kept(self):
        self.nova()
        for number in range(2 * nova_record._KEPT):
            self.record.ahead(instance=str(number), kind=Move.LIVE)
        self.assertEqual(nova_record._KEPT, len(self.record._begun))

    def test_both_at_once(self):
        both = threading.Barrier(2, timeout=10)

        def answer(path, trace):
            both.wait()
            return {'server': STATE, 'migrations': [ROW]}

        with mock.patch.object(self.record, '_get', answer):
            self.record.check(**ASKED)


class TestFind(RecordTestCase):
    def test_found(self):
        self.nova({nova_record.HOST: 'h1', 'status': 'SHUTOFF'})
        self.assertEqual(
            nova_record.NovaServer('h1', 'SHUTOFF'),
            self.record.find_server(SERVER),
        )

    def test_not_scheduled(self):
        self.nova({nova_record.HOST: None})
        found = self.record.find_server(SERVER)
        self.assertEqual({'host': None, 'status': ''}, found.to_json())

    def test_gone(self):
        self.nova(status=404)
        self.assertIsNone(self.record.find_server(SERVER))

    def test_no_answer(self):
        """Nobody is gone because Nova is away, or shows too little."""
        for server, status in ((STATE, 200), (STATE, 503), (STATE, 403)):
            self.nova(server, status=status)
            error = self.assertRaises(
                errors.Unavailable, self.record.find_server, SERVER
            )
            self.assertEqual('NOVA_UNAVAILABLE', error.reason)


class TestServer(RecordTestCase):
    def refused(self, reason: str) -> None:
        error = self.assertRaises(
            errors.KororaError,
            self.record.check_server,
            instance=SERVER,
            host='h1',
        )
        self.assertEqual(reason, error.reason)

    def test_agrees(self):
        self.nova({nova_record.HOST: 'h1', 'status': 'BUILD'})
        self.record.check_server(instance=SERVER, host='h1')

    def test_is_elsewhere(self):
        """T44: a host claims a server that Nova has elsewhere."""
        for host in ('h2', None, 'H1', ['h1']):
            self.nova({nova_record.HOST: host})
            self.refused('SERVER_NOT_IN_NOVA')

    def test_is_gone(self):
        self.nova(status=404)
        self.refused('SERVER_NOT_IN_NOVA')

    def test_no_answer(self):
        for status in (401, 403, 500, 503):
            self.nova({nova_record.HOST: 'h1'}, status=status)
            self.refused('NOVA_UNAVAILABLE')
        # A user without the role is not shown the host.
        for server in ({'id': SERVER}, [], None):
            self.nova(server)
            self.refused('NOVA_UNAVAILABLE')


class TestMigration(RecordTestCase):
    def refused(self, reason: str) -> None:
        error = self.assertRaises(
            errors.KororaError, self.record.check, **ASKED
        )
        self.assertEqual(reason, error.reason)

    def test_agrees(self):
        self.nova()
        self.record.check(**ASKED)
        headers = self.mock.last_request.headers
        self.assertEqual('compute 2.59', headers['OpenStack-API-Version'])

    def test_differs(self):
        for field, value in (
            ('uuid', SERVER),
            ('status', 'running'),
            ('status', 'completed'),
            ('source_compute', 'h3'),
            ('dest_compute', 'h3'),
            ('uuid', None),
        ):
            self.nova(migrations=[{**ROW, field: value}])
            self.refused('MIGRATION_NOT_IN_NOVA')

    def test_a_stale_one_beside_it(self):
        """T49, C1: its nova-compute crashed; the one with this uuid counts."""
        stale = {**ROW, 'uuid': SERVER, 'dest_compute': 'h3', 'id': 6}
        for migrations in ([stale, ROW], [ROW, stale], [stale, 'x', ROW]):
            self.nova(migrations=migrations)
            self.record.check(**ASKED)

    def test_a_stale_one_does_not_stand_in(self):
        """T49: the record of a migration that crashed stays in Nova."""
        stale = {**ROW, 'uuid': SERVER, 'id': 6}
        self.nova(migrations=[stale])
        self.refused('MIGRATION_NOT_IN_NOVA')
        self.nova(migrations=[stale, {**ROW, 'status': 'error'}])
        self.refused('MIGRATION_NOT_IN_NOVA')

    def test_none_or_two(self):
        self.nova(migrations=[])
        self.refused('MIGRATION_NOT_IN_NOVA')
        self.nova(migrations=[ROW, ROW])
        self.refused('MIGRATION_NOT_IN_NOVA')

    def test_task_state(self):
        for state in (None, 'rebooting'):
            self.nova(server={**STATE, 'OS-EXT-STS:task_state': state})
            self.refused('MIGRATION_NOT_IN_NOVA')
        self.nova(server={'id': SERVER})
        self.refused('MIGRATION_NOT_IN_NOVA')

    def test_server_is_gone(self):
        self.nova(status=404)
        self.refused('MIGRATION_NOT_IN_NOVA')

    def test_no_answer(self):
        for status in (401, 403, 500, 503):
            self.nova(status=status)
            self.refused('NOVA_UNAVAILABLE')

    def test_strange_answers(self):
        base = f'http://nova.test/v2.1/servers/{SERVER}'
        for answer in (
            {'text': 'x'},
            {'json': []},
            {'json': {}},
            {'json': {'server': [], 'migrations': {}}},
        ):
            self.mock.get(base, **answer)
            self.mock.get(f'{base}/migrations', **answer)
            self.refused('NOVA_UNAVAILABLE')
        self.nova(migrations=['x'])
        self.refused('MIGRATION_NOT_IN_NOVA')

    def test_connection_fails(self):
        import requests

        self.mock.get(
            requests_mock.ANY, exc=requests.exceptions.ConnectTimeout
        )
        self.refused('NOVA_UNAVAILABLE')

    def test_no_credentials(self):
        conf = options.parse([], [])
        options.register_verifier_opts(conf)
        self.record = nova_record.KeystoneNovaRecord(conf)
        self.addCleanup(self.record._pool.shutdown)
        self.refused('NOVA_UNAVAILABLE')


class TestColdMigration(RecordTestCase):
    """Nova lists it elsewhere, and with one record for there and back."""

    def cold(self, kind, row=None, task=None, more=()):
        asked, record, state = COLD[kind]
        self.mock.get(
            f'http://nova.test/v2.1/servers/{SERVER}',
            json={'server': {'OS-EXT-STS:task_state': task or state}},
        )
        self.mock.get(
            f'http://nova.test/v2.1/os-migrations?instance_uuid={SERVER}',
            json={'migrations': [*more, {**record, **(row or {})}]},
        )
        self.record.check(**{**asked, 'kind': kind})

    def refused(self, kind, **changed):
        error = self.assertRaises(
            errors.CustodyError, self.cold, kind, **changed
        )
        self.assertEqual('MIGRATION_NOT_IN_NOVA', error.reason)
        return error.details['differs']

    def test_agrees(self):
        for kind in COLD:
            self.cold(kind)
            self.cold(kind, more=['x', {'uuid': 7}, {**ROW, 'uuid': SERVER}])

    def test_differs(self):
        for kind in COLD:
            for field, value in (
                ('status', 'finished'),
                ('status', 'preparing'),
                ('source_compute', 'h3'),
                ('dest_compute', 'h3'),
            ):
                self.assertEqual(field, self.refused(kind, row={field: value}))
            for value in (SERVER, None, 'x'):
                self.assertEqual(
                    'uuid', self.refused(kind, row={'uuid': value})
                )
            self.assertEqual(
                'the task state', self.refused(kind, task='migrating')
            )

    def test_one_for_the_other(self):
        """What goes there is not what comes back, nor a live migration."""
        there, back = Move.COLD, Move.REVERT
        self.refused(there, task='resize_reverting')
        self.refused(back, task='resize_migrating')
        self.refused(back, row={'source_compute': 'h2', 'dest_compute': 'h1'})
        self.refused(back, row={'uuid': way_back(MIGRATION)})

    def test_way_back_is_one_of_its_own(self):
        self.assertNotEqual(MIGRATION, way_back(MIGRATION))
        self.assertNotEqual(way_back(MIGRATION), way_back(SERVER))
        self.assertEqual(way_back(MIGRATION), way_back(MIGRATION))
