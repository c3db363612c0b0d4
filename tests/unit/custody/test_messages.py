# SPDX-License-Identifier: Apache-2.0
import json
import unittest
import uuid

import hypothesis
import jsonschema
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.custody import bodies, exchange, messages, moves, words
from tests.support import documents

B64 = 'AAAA'
UUIDS = {'migration': documents.MIGRATION, 'instance': documents.INSTANCE}
GOOD = {
    'attest': {
        'version': 1,
        'known': [[documents.INSTANCE, 3, '44' * 32, 'ab' * 8]],
    },
    'list': {'version': 1, 'start': 0, 'digest': '44' * 32},
    'present': {'version': 1, 'documents': ['a.b.c']},
    'claim': {
        'version': 1,
        'instance': documents.INSTANCE,
        'key': documents.MSK,
    },
    'approve': {'version': 1, 'keys': [[documents.INSTANCE, 3, 'ab' * 8]]},
    'receive': {
        'version': 1,
        **UUIDS,
        'source': 'h1',
        'msk_public': B64,
        'creation_data': B64,
        'creation_attest': B64,
        'creation_signature': B64,
        'address': '192.0.2.1',
        'tls_name': '',
    },
    'send': {
        'version': 1,
        **UUIDS,
        'nonce': '44' * 32,
        'dest': 'h2',
        'msk_name': documents.MSK,
        'kid': 'ab' * 8,
    },
    'sealed': {
        'version': 1,
        'migration': documents.MIGRATION,
        'permit_hash': '44' * 32,
        'key': documents.MSK,
    },
    'start': {
        'version': 1,
        'migration': documents.MIGRATION,
        'permit_hash': '44' * 32,
    },
    'tell': {
        'version': 1,
        'migration': documents.MIGRATION,
        'statement': 'activated',
    },
    'delete': {'version': 1, 'instance': documents.INSTANCE},
}


class MessagesTest(unittest.TestCase):
    def refused(self, document, schema):
        with self.assertRaises(errors.Invalid) as caught:
            messages.loads(json.dumps(document), schema)
        self.assertEqual('INVALID_REQUEST', caught.exception.reason)
        return caught.exception

    def test_schemas_are_schemas(self):
        for schema in (*(body.SCHEMA for body in bodies.BODIES.values()),):
            jsonschema.Draft202012Validator.check_schema(schema)

    def test_bodies(self):
        self.assertEqual(set(GOOD), set(bodies.BODIES))
        for purpose, good in GOOD.items():
            body = bodies.BODIES[purpose]
            self.assertEqual(purpose, body.PURPOSE)
            read = body.parse(json.dumps(good))
            self.assertEqual(good, read.to_json())
            self.assertEqual(list(good), list(read.to_json()))
            self.assertEqual(messages.dumps(good), messages.dumps(read))
            self.assertEqual(read, body.parse(messages.dumps(read)))
            self.closed(good, body.SCHEMA)

    def test_fields_have_their_types(self):
        receive = bodies.Receive.from_json(GOOD['receive'])
        self.assertEqual(bytes(3), receive.msk_public)
        told = bodies.Tell.from_json(GOOD['tell'])
        self.assertIs(words.Statement.ACTIVATED, told.statement)
        for number in (3, 3.0):
            approve = bodies.Approve.from_json(
                {
                    'version': 1,
                    'keys': [[documents.INSTANCE, number, 'ab' * 8]],
                }
            )
            (key,) = approve.keys
            self.assertEqual((documents.INSTANCE, 3, 'ab' * 8), key)
            self.assertIs(int, type(key.epoch))

    def test_kind_of_a_hand_over(self):
        """A live one is as it was before there were others."""
        for purpose in ('receive', 'send'):
            body, good = bodies.BODIES[purpose], GOOD[purpose]
            self.assertIs(moves.Move.LIVE, body.from_json(good).kind)
            for kind in (moves.Move.COLD, moves.Move.REVERT):
                named = {**good, 'kind': str(kind)}
                read = body.from_json(named)
                self.assertIs(kind, read.kind)
                self.assertEqual(messages.dumps(named), messages.dumps(read))
            for wrong in ('live', 'warm', None, 1):
                self.refused({**good, 'kind': wrong}, body.SCHEMA)

    def test_reading_changes_no_document(self):
        document = dict(GOOD['receive'])
        bodies.Receive.from_json(document)
        self.assertEqual(GOOD['receive'], document)

    def test_base64_of_impossible_length(self):
        with self.assertRaises(errors.Invalid) as caught:
            bodies.Receive.from_json(
                {**GOOD['receive'], 'creation_data': 'AAAAA'}
            )
        self.assertEqual('creation_data', caught.exception.details['field'])

    def test_half_a_surrogate_pair_is_no_text(self):
        for document in (
            {**GOOD['receive'], 'address': '\ud800'},
            {'\udfff': 1},
            {'a': [{'b': ['x', '\ud800']}]},
        ):
            with self.assertRaises(errors.Invalid) as caught:
                messages.decode(json.dumps(document))
            self.assertIn('Unicode', caught.exception.message)
        for text in ('"\\ud83d\\ude00"', '"\\\\ud800"', '"é\\u00e9"'):
            self.assertEqual(json.loads(text), messages.decode(text))

    def closed(self, good, schema):
        self.refused({**good, 'more': 1}, schema)
        self.refused({**good, 'version': 2}, schema)
        for field in good:
            self.refused(
                {key: value for key, value in good.items() if key != field},
                schema,
            )
            self.refused({**good, field: None}, schema)
            self.refused({**good, field: {'x': 1}}, schema)

    def test_pages_of_a_report(self):
        """H4: together they have every server, each with its bounds."""
        known = [
            bodies.Known(
                str(uuid.UUID(int=number)), 2**63 - 1, '44' * 32, 'ab' * 8
            )
            for number in range(1, 2 * bodies.PAGE + 2)
        ]
        longest = bodies.Enforcer('x' * 128, 'x' * 64, '"' * 1024, 86400)
        seen, after = [], ''
        for left in (2 * bodies.PAGE + 1, bodies.PAGE + 1, 1):
            page = bodies.Attest.page(reversed(known), after, longest)
            self.assertEqual(min(left, bodies.PAGE), len(page.known))
            self.assertEqual(page, bodies.Attest.parse(messages.dumps(page)))
            self.assertLess(len(messages.dumps(page)), exchange.MAX_BODY)
            self.assertEqual(
                [one.instance for one in page.known],
                [one.instance for one in known if page.covers(one.instance)],
            )
            self.assertEqual(left == 1, page.is_whole)
            seen += page.known
            after = page.upto
        self.assertEqual(known, seen)
        self.assertEqual('', after)
        one = bodies.Attest.page(known[:1], '').to_json()
        self.assertEqual({'version', 'known'}, set(one))

    def test_report_outside_of_its_bounds(self):
        good = {**GOOD['attest'], 'after': '', 'upto': documents.INSTANCE}
        bodies.Attest.from_json(good)
        for bounds in (
            {'after': documents.INSTANCE},
            {'upto': str(uuid.UUID(int=1))},
            {'after': 'x'},
        ):
            with self.assertRaises(errors.Invalid):
                bodies.Attest.from_json({**good, **bounds})

    def test_values(self):
        for purpose, field, value in (
            ('claim', 'instance', documents.INSTANCE + '\n'),
            (
                'claim',
                'instance',
                documents.INSTANCE.upper().replace('0', 'A'),
            ),
            ('claim', 'key', ''),
            ('claim', 'key', '44' * 32),
            ('approve', 'keys', []),
            ('approve', 'keys', [[1, 2]]),
            ('approve', 'keys', [[documents.INSTANCE]]),
            ('approve', 'keys', [[documents.INSTANCE, 1]]),
            ('approve', 'keys', [[documents.INSTANCE, 0, 'ab' * 8]]),
            ('approve', 'keys', [[documents.INSTANCE, 1, '']]),
            ('approve', 'keys', [[documents.INSTANCE, 1, 'ab' * 8]] * 65),
            ('tell', 'statement', 'lost'),
            ('tell', 'statement', 'delete'),
            ('present', 'documents', []),
            ('present', 'documents', ['x']),
            ('present', 'documents', ['a.b.c'] * 65),
            ('attest', 'known', [[documents.INSTANCE, 3, '44' * 32]]),
            ('attest', 'known', [[documents.INSTANCE, 0, '44' * 32, '']]),
            ('send', 'dest', 'h2\n'),
            ('send', 'nonce', '44' * 33),
            ('receive', 'msk_public', 'A' * 3000),
            ('receive', 'msk_public', '!!!!'),
            ('receive', 'address', 'a\x00b'),
        ):
            self.refused(
                {**GOOD[purpose], field: value},
                bodies.BODIES[purpose].SCHEMA,
            )

    def test_parsing(self):
        schema = bodies.Claim.SCHEMA
        for text in (
            '',
            'x',
            '[]',
            '1',
            'null',
            '"a"',
            '[' * 100000,
            '{"version": NaN}',
            '{"version": 1, "version": 1, "instance": "'
            + documents.INSTANCE
            + '"}',
        ):
            with self.assertRaises(errors.Invalid):
                messages.loads(text, schema)
        with self.assertRaises(errors.TooLarge):
            messages.loads(' ' * 11, schema, limit=10)

    def test_dumps_is_deterministic(self):
        self.assertEqual(
            '{"a":1,"b":"\\u00e9"}', messages.dumps({'b': 'é', 'a': 1})
        )

    def test_receive_key_body_counts_every_field(self):
        args = (documents.MIGRATION, documents.INSTANCE, 'h1', b'public')
        seen = {bodies.receive_key_body(*args)}
        for index, other in enumerate(
            (documents.OTHER, documents.OTHER, 'h2', b'x')
        ):
            seen.add(
                bodies.receive_key_body(
                    *args[:index], other, *args[index + 1 :]
                )
            )
        self.assertEqual(5, len(seen))

    @hypothesis.given(st.text(max_size=60), st.sampled_from(sorted(GOOD)))
    @hypothesis.settings(deadline=None, database=None, max_examples=300)
    def test_only_typed_errors(self, text, purpose):
        with self.assertRaises(errors.Invalid):
            bodies.BODIES[purpose].parse(text)
