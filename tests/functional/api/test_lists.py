# SPDX-License-Identifier: Apache-2.0
"""Lists by version: whole and as ever in 1.0, in pages with filters since."""

import uuid

from korora_nova.verifier import hosts, results
from korora_nova.verifier.db import models
from tests.functional.api import base

NEWEST = 'attestation 1.1'
LISTS = {
    '/v1/hosts': 'hosts',
    '/v1/results': 'results',
    '/v1/references': 'references',
    '/v1/policies': 'policies',
    '/v1/servers': 'servers',
    '/v1/migrations': 'migrations',
    '/v1/receipts': 'receipts',
    '/v1/responses': 'responses',
}
#: Those that took no parameters in 1.0, and looked at none.
WHOLE = ('/v1/hosts', '/v1/references', '/v1/policies', '/v1/migrations')


class ListTestCase(base.ApiTestCase):
    def get(self, path, code=200, version=NEWEST, **headers):
        if version:
            headers['OpenStack-API-Version'] = version
        answer = self.korora.request('GET', path, headers=headers)
        self.assertEqual(code, answer.status_code, answer.text)
        return answer

    def refusal(self, path, code=400):
        return self.get(path, code).json['error']['reason']

    def pages(self, path, name, **query):
        """Elements, and how many each page had."""
        found, sizes, marker = [], [], ''
        while True:
            wanted = {**query, **({'marker': marker} if marker else {})}
            text = '&'.join(f'{key}={value}' for key, value in wanted.items())
            page = self.get(f'{path}?{text}').json
            found += page[name]
            sizes.append(len(page[name]))
            marker = page['next']
            if not marker:
                return found, sizes

    def add_hosts(self, **rows):
        """Rows as they would be; a name is approved and has no result."""
        with self.korora.service.db.write() as session:
            for number, (name, values) in enumerate(rows.items()):
                session.add(
                    models.Host(
                        **{
                            'name': name,
                            'ek_hash': f'{number:064x}',
                            'approved': True,
                            'reasons': [],
                            **values,
                            **(
                                {'ak_name': name}
                                if 'ak_name' in values
                                else {}
                            ),
                        }
                    )
                )


class TestVersions(ListTestCase):
    def test_what_answers_say(self):
        answer = self.get('/v1/hosts')
        self.assertEqual(NEWEST, answer.headers['OpenStack-API-Version'])
        for version in (None, 'attestation 1.0', 'compute 2.1'):
            answer = self.get('/v1/hosts', version=version)
            self.assertEqual(
                'attestation 1.0', answer.headers['OpenStack-API-Version']
            )
        self.assertEqual('OpenStack-API-Version', answer.headers['Vary'])

    def test_refusals_have_versions_too(self):
        answer = self.get('/v1/hosts/none', 404)
        self.assertEqual(NEWEST, answer.headers['OpenStack-API-Version'])
        answer = self.korora.request('GET', '/v1/hosts', roles=None)
        self.assertEqual(401, answer.status_code)
        self.assertIn('OpenStack-API-Version', answer.headers['Vary'])

    def test_versions_that_there_are_not(self):
        answer = self.get('/v1/hosts', 406, 'attestation 1.99')
        self.assertEqual('VERSION_UNKNOWN', answer.json['error']['reason'])
        self.assertEqual('1.0', answer.json['error']['details']['min_version'])
        self.get('/v1/hosts', 400, 'attestation one')

    def test_discovery_takes_no_version(self):
        (version,) = self.get('/', version='attestation 9.9').json['versions']
        self.assertEqual(
            ('v1', '1.0', '1.1', 'CURRENT'),
            tuple(
                version[name]
                for name in ('id', 'min_version', 'max_version', 'status')
            ),
        )

    def test_methods_that_a_path_does_not_have(self):
        answer = self.korora.request('PATCH', '/v1/policies/x')
        self.assertEqual(405, answer.status_code)
        self.assertEqual('DELETE, GET, PUT', answer.headers['Allow'])

    def test_request_ids(self):
        answer = self.get('/v1/hosts')
        self.assertRegex(answer.headers['x-openstack-request-id'], '^req-')
        again = self.get('/v1/hosts/none', 404)
        self.assertNotEqual(
            answer.headers['x-openstack-request-id'],
            again.headers['x-openstack-request-id'],
        )


class TestOldLists(ListTestCase):
    """Whoever names no version gets what the first release gave."""

    def test_no_next_where_there_was_none(self):
        for path, name in LISTS.items():
            answer = self.get(path, version=None)
            self.assertEqual(
                path in ('/v1/servers', '/v1/receipts', '/v1/responses'),
                'next' in answer.json,
                path,
            )
            self.assertEqual([], answer.json[name])
            self.assertEqual(path == '/v1/results', 'ETag' in answer.headers)

    def test_parameters_are_ignored_where_they_were(self):
        self.add_hosts(a={}, b={})
        for path in WHOLE:
            self.get(f'{path}?limit=x&y=z', version=None)
        answer = self.get('/v1/hosts?limit=1', version=None)
        self.assertEqual(2, len(answer.json['hosts']))

    def test_receipts(self):
        self.assertEqual(
            {'receipts': [], 'next': 0},
            self.get('/v1/receipts?since=5', version=None).json,
        )
        self.get('/v1/receipts?marker=5', 400, version=None)

    def test_marker_of_responses(self):
        answer = self.get(
            f'/v1/responses?marker={uuid.uuid4()}', 404, version=None
        )
        self.assertEqual('RESPONSE_UNKNOWN', answer.json['error']['reason'])
        self.get('/v1/responses?state=due', 400, version=None)


class TestPages(ListTestCase):
    def test_parameters_that_a_list_does_not_take(self):
        for path in LISTS:
            for query in (
                'x=y',
                'limit=0',
                'limit=x',
                'limit=-1',
                'limit=99999',
                'limit=1&limit=2',
                'marker=%2f',
                'marker=',
            ):
                self.assertEqual(
                    'INVALID_REQUEST', self.refusal(f'{path}?{query}'), path
                )

    def test_limit_is_bounded(self):
        for path in LISTS:
            self.get(f'{path}?limit=9999')

    def test_empty(self):
        for path, name in LISTS.items():
            answer = self.get(path)
            self.assertEqual(
                ([], ''), (answer.json[name], answer.json['next'])
            )

    def test_entity_tags(self):
        for path in LISTS:
            first = self.get(path)
            same = self.get(
                path, 304, **{'If-None-Match': first.headers['ETag']}
            )
            self.assertEqual(b'', same.body)
            self.assertEqual(first.headers['ETag'], same.headers['ETag'])
            self.get(path, **{'If-None-Match': '"other"'})

    def test_an_entity_tag_ends_with_what_it_stands_for(self):
        first = self.get('/v1/hosts').headers['ETag']
        self.add_hosts(a={})
        changed = self.get('/v1/hosts', **{'If-None-Match': first})
        self.assertEqual('a', changed.json['hosts'][0]['name'])
        listed = self.get('/v1/results').headers['ETag']
        self.assertNotEqual(
            listed, self.get('/v1/results', version=None).headers['ETag']
        )

    def test_pages_of_hosts(self):
        names = [f'h{number}' for number in range(5)]
        self.add_hosts(**{name: {} for name in names})
        found, sizes = self.pages('/v1/hosts', 'hosts', limit=2)
        self.assertEqual(names, [one['name'] for one in found])
        self.assertEqual([2, 2, 1], sizes)
        _, sizes = self.pages('/v1/hosts', 'hosts', limit=5)
        self.assertEqual([5], sizes)

    def test_a_row_that_goes_between_two_pages_shifts_nothing(self):
        self.add_hosts(a={}, b={}, c={})
        first = self.get('/v1/hosts?limit=1').json
        self.admin.delete_host('a')
        rest = self.get(f'/v1/hosts?marker={first["next"]}').json['hosts']
        self.assertEqual(['b', 'c'], [one['name'] for one in rest])

    def test_the_client_reads_all_pages(self):
        self.add_hosts(**{f'h{number:04}': {} for number in range(1002)})
        self.assertEqual(1002, len(self.admin.list_hosts()))
        self.assertEqual([], self.admin.list_hosts(status='evicted'))

    def test_marker_that_is_gone(self):
        for path in ('/v1/migrations', '/v1/responses'):
            self.assertEqual(
                'MARKER_UNKNOWN', self.refusal(f'{path}?marker={uuid.uuid4()}')
            )
        self.get(f'/v1/servers?marker={uuid.uuid4()}')


class TestFilters(ListTestCase):
    def rows(self):
        """Every state of a host that its row can be in."""
        now = self.korora.clock.now
        token = {'token': 't', 'ak_name': '', 'issued': now - 1}
        valid = {**token, 'expires': now + 1000}
        return {
            'affirming': {**valid, 'tier': 'affirming'},
            'bad': {**valid, 'tier': 'contraindicated'},
            'early': {
                **valid,
                'tier': 'affirming',
                'issued': now + 900,
            },
            'expired': {**token, 'tier': 'affirming', 'expires': now - 1},
            'gone': {**valid, 'tier': 'affirming', 'evicted_at': now},
            'gone-new': {'evicted_at': now},
            'new': {},
            'none': {'ak_name': ''},
            'old': {**valid, 'tier': 'affirming', 'issued': None},
            'pending': {'ak_name': '', 'approved': False},
        }

    def test_hosts_by_tier_and_status(self):
        self.add_hosts(**self.rows())
        everything = self.get('/v1/hosts').json['hosts']
        for field, words in (
            ('tier', ('affirming', 'contraindicated', 'none')),
            ('status', hosts.STATUSES),
        ):
            seen = set()
            for word in words:
                wanted = [one for one in everything if one[field] == word]
                found = self.get(f'/v1/hosts?{field}={word}').json['hosts']
                self.assertEqual(wanted, found)
                seen |= {one['name'] for one in found}
            self.assertEqual(set(self.rows()), seen)
        both = self.get('/v1/hosts?status=evicted&tier=affirming').json
        self.assertEqual([], both['hosts'])

    def test_results_by_tier(self):
        self.add_hosts(**self.rows())
        everything = self.get('/v1/results').json['results']
        for tier in ('affirming', 'contraindicated', 'none'):
            self.assertEqual(
                [one for one in everything if one['tier'] == tier],
                self.get(f'/v1/results?tier={tier}').json['results'],
            )

    def test_a_tier_that_ends_is_no_entity_tag(self):
        self.add_hosts(**{'affirming': self.rows()['affirming']})
        path = '/v1/results?tier=affirming'
        first = self.get(path)
        self.assertEqual(1, len(first.json['results']))
        self.korora.clock.advance(2000)
        later = self.get(path, **{'If-None-Match': first.headers['ETag']})
        self.assertEqual([], later.json['results'])

    def test_results_page_with_what_changed(self):
        self.add_hosts(**self.rows())
        first = self.get('/v1/results?changes-since=0&limit=2').json
        self.assertEqual(2, len(first['results']))
        with self.korora.service.db.read() as session:
            self.assertEqual(first['seq'], results.reached(session).seq)

    def test_words_that_are_none(self):
        for path in (
            '/v1/hosts?tier=x',
            '/v1/hosts?status=x',
            '/v1/results?tier=x',
            '/v1/migrations?status=x',
            '/v1/migrations?kind=x',
            '/v1/migrations?instance=x',
            '/v1/responses?state=x',
            '/v1/receipts?instance=x',
            '/v1/policies?host=%2f',
        ):
            self.assertEqual('INVALID_REQUEST', self.refusal(path), path)

    def test_policies_of_a_host(self):
        for name, patterns in (('one', ['a*']), ('two', ['b*', 'ab'])):
            self.admin.create_policy(
                {
                    'version': 1,
                    'name': name,
                    'hosts': patterns,
                    'rules': [
                        {'secure-boot': {'enabled': True}},
                        {'authorities': {'references': True}},
                        {'ima': 'not-appraised'},
                    ],
                }
            )
        for host, wanted in (
            ('ab', ['one', 'two']),
            ('ax', ['one']),
            ('c', []),
        ):
            found, sizes = self.pages(
                '/v1/policies', 'policies', host=host, limit=1
            )
            self.assertEqual(wanted, [one['name'] for one in found])
            self.assertEqual(
                wanted,
                [one['name'] for one in self.admin.list_policies(host=host)],
            )
            self.assertEqual(max(1, len(wanted)), len(sizes))


class TestCustody(ListTestCase):
    def setUp(self):
        super().setUp()
        self.source, self.dest = self.host('h1'), self.host('h2')
        self.servers = [str(uuid.uuid4()) for _ in range(3)]
        self.moved_ids = []
        for server in self.servers:
            self.source.claim(server)
        for server in self.servers[:2]:
            self.moved(self.source, self.dest, server)
        self.handed_over(self.source, self.dest, self.servers[2])

    def test_references_by_host(self):
        for host, count in (('h1', 1), ('h2', 0)):
            self.assertEqual(count, len(self.admin.list_references(host=host)))

    def test_migrations(self):
        everything = self.admin.list_migrations()
        self.assertEqual(3, len(everything))
        found, sizes = self.pages('/v1/migrations', 'migrations', limit=2)
        self.assertEqual(everything, found)
        self.assertEqual([2, 1], sizes)
        for field, asked in (
            ('instance', 'instance'),
            ('status', 'status'),
            ('kind', 'kind'),
            ('source', 'host'),
            ('dest', 'host'),
        ):
            for value in {one[field] for one in everything}:
                self.assertEqual(
                    [
                        one
                        for one in everything
                        if value in (one[field], one.get(asked))
                    ],
                    self.admin.list_migrations(**{asked: value}),
                )
        self.assertEqual([], self.admin.list_migrations(host='h3'))
        self.assertEqual([], self.admin.list_migrations(status='disputed'))

    def test_receipts(self):
        everything = self.admin.list_receipts()
        self.assertEqual(2, len(everything))
        found, sizes = self.pages('/v1/receipts', 'receipts', limit=1)
        self.assertEqual(everything, found)
        self.assertEqual([1, 1, 0], sizes)
        by_server = [
            self.admin.list_receipts(instance=one) for one in self.servers
        ]
        self.assertEqual(everything, [*by_server[0], *by_server[1]])
        self.assertEqual([], by_server[2])

    def test_receipts_that_are_to_come(self):
        last = self.get(f'/v1/receipts?marker={10**17}').json
        self.assertEqual([], last['receipts'])
        self.assertEqual(last['last'], self.get('/v1/receipts').json['last'])
        receipt = self.dest.delete(self.servers[0])
        after = self.get(f'/v1/receipts?marker={last["last"]}').json
        self.assertEqual([receipt], after['receipts'])
        self.assertLess(int(last['last']), int(after['last']))

    def test_servers(self):
        found, sizes = self.pages('/v1/servers', 'servers', limit=2)
        self.assertEqual(
            sorted(self.servers), [one['instance'] for one in found]
        )
        self.assertEqual([2, 1], sizes)


class TestResponses(ListTestCase):
    def test_filters(self):
        with self.korora.service.db.write() as session:
            for number, (state, driver) in enumerate(
                (('due', 'disable'), ('waiting', 'drain'), ('due', 'drain'))
            ):
                session.add(
                    models.Response(
                        id=str(uuid.UUID(int=number)),
                        host=f'h{number}',
                        driver=driver,
                        state=state,
                        created_at=number,
                        updated_at=0,
                        due_at=0,
                    )
                )
        for query, wanted in (
            ({'state': 'due'}, ['h2', 'h0']),
            ({'driver': 'drain'}, ['h2', 'h1']),
            ({'driver': 'drain', 'state': 'due'}, ['h2']),
            ({'state': 'undone'}, []),
        ):
            pages = self.admin.response_pages(**query)
            self.assertEqual(
                wanted,
                [
                    one['host']
                    for page in pages
                    for one in page.objects('responses')
                ],
            )
        found, sizes = self.pages('/v1/responses', 'responses', limit=2)
        self.assertEqual(([2, 1], 3), (sizes, len(found)))
