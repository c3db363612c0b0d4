# SPDX-License-Identifier: Apache-2.0
"""Whatever is sent, the answer is 4xx with a reason, never a 500."""

import base64
import contextlib
import copy
import io
import json

import fixtures
import hypothesis
from hypothesis import strategies

from korora_nova import errors
from korora_nova.api import routes, schemas
from korora_nova.custody.words import CHALLENGE_HEADER
from korora_nova.verifier import limits
from tests.functional.api import base
from tests.support import agent

UUID = '00000000-0000-4000-8000-000000000001'
REPORT = json.dumps({'version': 1, 'known': []})

# Things that have broken parsers of JSON APIs.
STRANGE = [
    None,
    True,
    0,
    -1,
    1.0,
    1e308,
    2**64,
    10**400,
    '',
    'x',
    '=',
    'é',
    '\0',
    '\ud800',
    'A' * 70000,
    [],
    {},
    [[]],
    {'': {}},
    [None] * 100,
    {'version': 1},
    'AAAA',
    'AAA',
    '00' * 32,
    UUID,
    UUID + '\n',
]

BODIES = [
    b'',
    b'null',
    b'[]',
    b'{',
    b'{"a":1,"a":2}',
    b'\xff\xfe',
    b'"x"',
    b'{"a":NaN}',
    b'[' * 50000,
    b'{"a":' * 20000 + b'1' + b'}' * 20000,
    b'{"version":' + b'9' * 5000 + b'}',
    b'{"class":"\\ud800"}',
]


class BadInputTestCase(base.ApiTestCase):
    def post(self, path: str, **kwargs):
        method = kwargs.pop('method', 'POST')
        return self.korora.request(
            method, path, roles='admin,attester', **kwargs
        )

    def assert_refused(self, answer, *codes: int) -> str:
        """4xx in the error format, with a reason that is documented."""
        self.assertIn(
            answer.status_code, codes or range(400, 500), answer.body[:500]
        )
        error = answer.json['error']
        self.assertEqual(answer.status_code, error['code'])
        self.assertIn(error['reason'], errors.REASONS)
        return error['reason']

    def post_evidence(self, challenge: str, document):
        """Evidence of h1; the header names this challenge."""
        return self.post(
            '/v1/hosts/h1/evidence',
            headers={CHALLENGE_HEADER: challenge},
            body=_dumps(document),
            content_type='application/json',
        )


class TestBodies(BadInputTestCase):
    WRITES = [
        (method, path.format(host='h1', name='x', instance=UUID, id=UUID))
        for path, methods in routes.ROUTES.items()
        for method in methods
        if method in ('POST', 'PUT')
    ]

    #: What has a body that may be large: one that is too large.
    LARGE = {
        'enrolment': (256 << 10) + 1,
        'evidence': 60 << 20,
        'documents': 60 << 20,
        'policies': (128 << 20) + 1,
        'policy-proposals': (128 << 20) + 1,
    }

    def test_not_json(self):
        for method, path in self.WRITES:
            for body in BODIES:
                self.assert_refused(
                    self.post(
                        path,
                        method=method,
                        body=body,
                        content_type='application/json',
                    ),
                    400,
                    413,
                )

    def test_strange_values(self):
        for method, path in self.WRITES:
            for value in STRANGE:
                self.assert_refused(
                    self.post(
                        path,
                        method=method,
                        body=json.dumps(value).encode(),
                        content_type='application/json',
                    ),
                    400,
                    413,
                )

    def test_other_media_type(self):
        for method, path in self.WRITES:
            self.assert_refused(
                self.post(
                    path, method=method, body=b'{}', content_type='text/plain'
                ),
                415,
            )

    def test_oversize(self):
        for method, path in self.WRITES:
            limit = next(
                (size for name, size in self.LARGE.items() if name in path),
                70000,
            )
            answer = self.post(
                path,
                method=method,
                body=b' ' * limit,
                content_type='application/json',
            )
            self.assertEqual('TOO_LARGE', self.assert_refused(answer, 413))

    def test_oversize_without_length(self):
        request = self.korora.request
        answer = request(
            'PUT',
            '/v1/hosts/h1/approval',
            body=b' ' * 70000,
            content_type='application/json',
            environ={'CONTENT_LENGTH': '', 'wsgi.input_terminated': True},
        )
        self.assert_refused(answer, 413)

    def test_oversize_body_is_not_read(self):
        read = []

        class Body:
            def read(self, size=-1):
                read.append(size)
                return b' ' * max(size, 0)

        answer = self.post(
            '/v1/hosts/h1/challenges',
            environ={
                'wsgi.input': Body(),
                'CONTENT_LENGTH': str(1 << 40),
                'CONTENT_TYPE': 'application/json',
            },
        )
        self.assert_refused(answer, 413)
        self.assertEqual([], read)

    def test_body_that_ends_early(self):
        answer = self.post(
            '/v1/hosts/h1/challenges',
            environ={
                'wsgi.input': io.BytesIO(b'{"class":'),
                'CONTENT_LENGTH': '1000',
                'CONTENT_TYPE': 'application/json',
            },
        )
        self.assert_refused(answer, 400)

    def test_length_that_is_no_number(self):
        answer = self.post(
            '/v1/hosts/h1/challenges',
            environ={
                'CONTENT_LENGTH': 'x',
                'CONTENT_TYPE': 'application/json',
            },
        )
        self.assert_refused(answer, 400)


class TestChallengeFirst(BadInputTestCase):
    """A7: what is large is not read for whoever has no challenge."""

    def setUp(self) -> None:
        super().setUp()
        self.source = self.host('h1')
        self.read: list[int] = []

    def send(self, challenge: str | None, host: str = 'h1'):
        case = self

        class Body:
            def read(self, size=-1):
                case.read.append(size)
                return b' ' * max(size, 0)

        headers = {} if challenge is None else {CHALLENGE_HEADER: challenge}
        return self.post(
            f'/v1/hosts/{host}/evidence',
            headers=headers,
            environ={
                'wsgi.input': Body(),
                'CONTENT_LENGTH': '100000',
                'CONTENT_TYPE': 'application/json',
            },
        )

    def assert_unread(self, reason: str, answer) -> None:
        self.assertEqual(reason, self.assert_refused(answer))
        self.assertEqual([], self.read)

    def test_no_challenge(self):
        for challenge in (None, '', 'x', 'AB' * 32, 'ab' * 33):
            self.assert_unread('INVALID_REQUEST', self.send(challenge))

    def test_challenge_that_admits_nothing(self):
        used = self.source.challenge()
        self.source.say('attest', used, known=[])
        other = self.host('h2').challenge()
        late = self.source.challenge()
        self.korora.clock.advance(11)
        for challenge, reason in (
            ('ab' * 32, 'CHALLENGE_UNKNOWN'),
            (other, 'CHALLENGE_UNKNOWN'),
            (used, 'CHALLENGE_USED'),
            (late, 'CHALLENGE_EXPIRED'),
        ):
            self.assert_unread(reason, self.send(challenge))

    def test_host_that_may_not(self):
        challenge = self.source.challenge()
        self.assert_unread('HOST_UNKNOWN', self.send(challenge, 'nobody'))
        self.stranger('h2').enrol()
        self.assert_unread('HOST_PENDING', self.send(challenge, 'h2'))

    def test_one_that_admits(self):
        self.assert_refused(self.send(self.source.challenge()), 400)
        self.assertNotEqual([], self.read)

    def test_other_challenge_in_the_body(self):
        message = self.source.message(
            'attest', REPORT, self.source.challenge()
        )
        answer = self.post_evidence(self.source.challenge(), message)
        self.assertEqual('INVALID_REQUEST', self.assert_refused(answer))
        # Nothing was spent.
        self.source.api.evidence('h1', message)

    def test_several_at_once(self):
        uploads = self.korora.service.uploads
        with contextlib.ExitStack() as stack:
            for _ in range(limits.LARGE):
                stack.enter_context(uploads.of('h1'))
            self.assert_unread('RETRY', self.send(self.source.challenge()))
            # Small ones, and other hosts, go on.
            self.source.attest_now()
            with uploads.of('h2'):
                pass
        self.assert_refused(self.send(self.source.challenge()), 400)


class TestPaths(BadInputTestCase):
    def test_unknown(self):
        for path in (
            '/v2',
            '/v1',
            '/v1/',
            '/v1/hosts/',
            '/v1/hosts/a/b',
            '/v1/hosts/%00',
            '/v1/hosts/%ff',
            '/v1/hosts/a%0a',
            '/v1/hosts/' + 'a' * 256,
            '/v1/servers/x',
            '/v1/migrations/' + UUID.upper().replace('0', 'A'),
        ):
            self.assert_refused(self.post(path, method='GET'), 404)

    def test_method(self):
        for method, path in (
            ('PATCH', '/v1/hosts'),
            ('GET', '/v1/documents'),
            ('PUT', '/v1/hosts/h1'),
            ('HEAD', '/v1/results'),
            ('X', '/v1/keys'),
        ):
            answer = self.korora.request(method, path, roles='admin')
            self.assertEqual(405, answer.status_code)

    def test_accept(self):
        answer = self.korora.request(
            'GET', '/v1/hosts', roles='admin', accept='text/html'
        )
        self.assert_refused(answer, 406)
        for accept in ('*/*', 'application/json', 'text/html, */*;q=0.1'):
            answer = self.korora.request(
                'GET', '/v1/hosts', roles='admin', accept=accept
            )
            self.assertEqual(200, answer.status_code)

    def test_query(self):
        for path in (
            '/v1/results?changes-since=x',
            '/v1/results?changes-since=',
            '/v1/results?changes-since=%ff',
            '/v1/results?changes-since=2026-13-01T00:00:00',
            '/v1/results?changes-since=1&changes-since=2',
            '/v1/results?other=1',
            '/v1/receipts?since=-1',
            '/v1/receipts?since=1e3',
            '/v1/receipts?since=%b2',
            '/v1/receipts?since=' + '9' * 30,
        ):
            self.assert_refused(self.post(path, method='GET'), 400)
        self.assert_refused(
            self.post('/v1/hosts/h1?force=1', method='DELETE'), 400
        )

    def test_etag(self):
        for etag in ('x', '"', '*', '"\xe9"', 'W/"1"'):
            answer = self.korora.request(
                'GET',
                '/v1/results',
                roles='admin',
                environ={'HTTP_IF_NONE_MATCH': etag},
            )
            self.assertIn(answer.status_code, (200, 304))


class TestFields(BadInputTestCase):
    """Each field of valid requests, replaced by strange values."""

    def mutations(self, document, values=STRANGE):
        for path in _paths(document):
            for value in values:
                yield _replaced(document, path, value)
            yield _replaced(document, path, _ABSENT)
        yield {**document, 'unknown': 1}

    def enrolment(self):
        host = self.stranger('h1')
        return {
            'version': 1,
            'ek_cert': agent.b64(host.ek_cert),
            'ek_public': agent.b64(host.ek_public),
            'ak_public': agent.b64(host.tpm.ak_public),
            'srk_public': agent.b64(host.tpm.srk_public),
        }

    def enrol(self, document):
        return self.post(
            '/v1/hosts/h1/enrolment',
            body=_dumps(document),
            content_type='application/json',
        )

    def test_enrolment(self):
        document = self.enrolment()
        for mutated in self.mutations(document):
            # Without a certificate a host waits for somebody to vouch for it.
            if mutated == document or mutated.get('ek_cert') == '':
                continue
            self.assert_refused(self.enrol(mutated))

    def test_certificates_that_a_host_offers(self):
        """They may be anything of their form, and only help."""
        document = self.enrolment()
        for value in (*STRANGE, *([one] for one in STRANGE)):
            answer = self.enrol({**document, 'ek_chain': value})
            if answer.status_code != 200:
                self.assert_refused(answer)

    def test_evidence(self):
        host = self.host('h1')
        document = host.message('attest', REPORT, host.challenge())
        before = self.admin.get_result('h1')
        for mutated in self.mutations(document):
            # 1.0 is 1, and a log is only as good as the quote over it.
            if mutated == document or 'log' in _changed(document, mutated):
                continue
            self.assert_refused(
                self.post_evidence(document['challenge'], mutated)
            )
        self.assertEqual(before, self.admin.get_result('h1'))

    def test_strange_logs(self):
        host = self.host('h1')
        for name in ('uefi_log', 'ima_log'):
            for log in (b'', b'\0' * 1000, b'\xff' * 1000, b'x' * 33):
                message = host.message('attest', REPORT, host.challenge())
                message['evidence'][name] = agent.b64(log)
                self.assertEqual(
                    200,
                    self.post_evidence(
                        message['challenge'], message
                    ).status_code,
                )
                # An empty list is one whose kernel has dropped what was seen
                trimmed = (name, log) == ('ima_log', b'')
                self.assertEqual(
                    'affirming' if trimmed else 'contraindicated',
                    self.tier('h1'),
                )

    def test_policy(self):
        self.admin.create_policy(POLICY)
        for method, path, document in (
            ('POST', '/v1/policies', {'document': POLICY}),
            ('PUT', '/v1/policies/p', {'document': POLICY, 'revision': 1}),
        ):
            for mutated in self.mutations(document):
                answer = self.post(
                    path,
                    method=method,
                    body=_dumps(mutated),
                    content_type='application/json',
                )
                # Another name or description is as good.
                if answer.status_code == 200:
                    self.assertIsInstance(mutated['document'], dict)
                    self.admin.delete_policy(answer.json['name'])
                    if method == 'PUT':
                        self.admin.create_policy(POLICY)
                else:
                    self.assert_refused(answer)

    def test_purposes(self):
        host = self.host('h1')
        for purpose, body in PURPOSES.items():
            for mutated in self.mutations(body, STRANGE[::3]):
                if mutated == body:
                    continue
                message = host.message(
                    purpose, _dumps(mutated).decode(), host.challenge()
                )
                answer = self.post_evidence(message['challenge'], message)
                # Another head or server is a valid report or claim.
                if purpose not in ('attest', 'claim') or (
                    answer.status_code != 200
                ):
                    self.assert_refused(answer)

    def test_oversize_log(self):
        host = self.host('h1')
        message = host.message('attest', REPORT, host.challenge())
        message['evidence']['uefi_log'] = 'A' * (6 << 20)
        self.assertEqual(
            'TOO_LARGE',
            self.assert_refused(
                self.post_evidence(message['challenge'], message),
                413,
            ),
        )
        self.assertGreater(schemas.EVIDENCE_LIMIT, 48 << 20)

    @hypothesis.settings(
        max_examples=60, deadline=None, database=None, derandomize=True
    )
    @hypothesis.given(strategies.data())
    def _bytes(self, host, data):
        name = data.draw(
            strategies.sampled_from(
                ['attest', 'signature', 'uefi_log', 'ima_log']
            )
        )
        message = host.message('attest', REPORT, host.challenge())
        proof = bytearray(base64.b64decode(message['evidence'][name]))
        for _ in range(data.draw(strategies.integers(1, 4))):
            place = data.draw(strategies.integers(0, len(proof) - 1))
            proof[place] ^= data.draw(strategies.integers(1, 255))
        cut = data.draw(strategies.integers(0, len(proof)))
        message['evidence'][name] = agent.b64(bytes(proof[:cut]))
        answer = self.post_evidence(message['challenge'], message)
        if name in ('attest', 'signature'):
            self.assert_refused(answer, 400)
        else:
            self.assertEqual(200, answer.status_code, answer.body)
            if name != 'ima_log' or cut:
                # With nothing in it, the kernel has dropped what was seen
                self.assertEqual('contraindicated', self.tier('h1'))

    def test_fuzzed_evidence(self):
        """T26: malformed evidence."""
        self._bytes(self.host('h1'))


class TestLog(BadInputTestCase):
    def test_caller_cannot_forge_a_line(self):
        logs = self.useFixture(fixtures.FakeLogger())
        self.post('/v1/hosts/a%0aforged', method='GET')
        self.post(
            '/v1/references',
            body=b'{"x\\nforged": 1}',
            content_type='application/json',
        )
        self.assertEqual(
            [],
            [
                line
                for line in logs.output.splitlines()
                if line.startswith('forged')
            ],
        )
        self.assertIn('NOT_FOUND', logs.output)


class TestInternalErrors(BadInputTestCase):
    def test_leak_nothing(self):
        def broken():
            raise RuntimeError('the password is s3cret')

        self.korora.service.db.read = broken
        answer = self.korora.request('GET', '/v1/hosts', roles='admin')
        self.assertEqual(503, answer.status_code)
        self.assertEqual('INTERNAL', answer.json['error']['reason'])
        self.assertNotIn(b's3cret', answer.body)

    def test_database_is_away(self):
        self.korora.service.db.engine.dispose()
        with self.korora.service.db.engine.begin() as connection:
            connection.exec_driver_sql('DROP TABLE hosts')
        answer = self.korora.request('GET', '/v1/hosts', roles='admin')
        self.assertEqual(503, answer.status_code)
        self.assertEqual(
            'DATABASE_UNAVAILABLE', answer.json['error']['reason']
        )


POLICY = {
    'version': 1,
    'name': 'p',
    'description': 'words',
    'hosts': ['h*'],
    'rules': [
        {
            'pcrs': {
                'registers': [4, 7],
                'generations': [
                    {'name': 'g', 'values': {'4': '00' * 32, '7': '11' * 32}}
                ],
            }
        },
        {
            'any-of': [
                {'secure-boot': {'enabled': True}},
                {'pcrs': {'registers': [4], 'references': True}},
            ]
        },
        {
            'ima': {
                'digests': ['sha256:' + '00' * 32],
                'exclude': ['/tmp/*'],
                'violations': False,
            }
        },
    ],
}
PURPOSES = {
    'attest': {
        'version': 1,
        'known': [[UUID, 1, '00' * 32, '00' * 8]],
        'after': '',
        'upto': '',
    },
    'present': {'version': 1, 'documents': ['AAAA.AAAA.AAAA']},
    'list': {'version': 1, 'start': 0, 'digest': '00' * 32},
    'claim': {'version': 1, 'instance': UUID, 'key': '000b' + '11' * 32},
    'approve': {'version': 1, 'keys': [[UUID, 1]]},
    'delete': {'version': 1, 'instance': UUID},
    'receive': {
        'version': 1,
        'migration': UUID,
        'instance': UUID,
        'source': 'h2',
        'msk_public': 'AAAA',
        'creation_data': 'AAAA',
        'creation_attest': 'AAAA',
        'creation_signature': 'AAAA',
        'address': '192.0.2.1',
        'tls_name': '',
    },
    'send': {
        'version': 1,
        'migration': UUID,
        'instance': UUID,
        'nonce': '00' * 32,
        'dest': 'h2',
        'msk_name': '00' * 34,
    },
    'sealed': {
        'version': 1,
        'migration': UUID,
        'permit_hash': '00' * 32,
        'key': '00' * 34,
    },
    'start': {'version': 1, 'migration': UUID, 'permit_hash': '00' * 32},
    'tell': {'version': 1, 'migration': UUID, 'statement': 'activated'},
}

_ABSENT = object()


def _dumps(document) -> bytes:
    return json.dumps(document).encode()


def _paths(document, prefix=()):
    """Paths of all members, depth first."""
    items = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    for key, value in items:
        yield (*prefix, key)
        yield from _paths(value, (*prefix, key))


def _replaced(document, path, value):
    changed = copy.deepcopy(document)
    place = changed
    for step in path[:-1]:
        place = place[step]
    if value is not _ABSENT:
        place[path[-1]] = value
    elif isinstance(place, dict):
        del place[path[-1]]
    return changed


def _changed(before, after) -> str:
    """The names of the members that differ."""
    return ' '.join(
        key
        for key in before['evidence']
        if not isinstance(after.get('evidence'), dict)
        or after['evidence'].get(key) != before['evidence'][key]
    )
