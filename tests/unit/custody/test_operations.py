# SPDX-License-Identifier: Apache-2.0
"""What travels over the agent's local socket, both ways."""

import json
import unittest

import jsonschema

from korora_nova import errors
from korora_nova.custody import answers, operations
from korora_nova.rats import schemas
from korora_nova.secret import Secret
from tests.support import documents

SERVER = {'instance': documents.INSTANCE}
MOVE = {**SERVER, 'migration': documents.MIGRATION}
REQUESTS = {
    'status': {},
    'attest': {},
    'verdict': {'host': 'h2'},
    'enforces': {'driver': 'a.Driver', 'release': '1', 'drift': ''},
    'protection': {**SERVER, 'ledger': False},
    'seal': {
        **SERVER,
        'secret_uuid': documents.OTHER,
        'passphrase': 'Y2FuYXJ5',
    },
    'open': SERVER,
    'close': SERVER,
    'launch': SERVER,
    'announce': SERVER,
    'check_address': {'address': '192.0.2.1'},
    'receive': {**MOVE, 'source': 'h1', 'address': 'h2', 'tls_name': ''},
    'start': {**MOVE, 'dest': 'h2', 'address': 'h2', 'tls_name': None},
    'prepare': {**MOVE, 'dest': 'h2', 'kind': 'cold'},
    'stays': MOVE,
    'stream_completed': MOVE,
    'never_started': MOVE,
    'activated': {**MOVE, 'wait': 5},
    'no_domain': MOVE,
    'ended': MOVE,
    'forget': {**SERVER, 'wait': 0.5},
}
KEY = {'secret_uuid': documents.OTHER, 'epoch': 3}
ROW = {'holder': 'h1', 'epoch': 3, 'pending': None}
STATUS = {
    'host': 'h1',
    'incarnation': '',
    'tier': 'none',
    'reasons': ['TPM_UNAVAILABLE'],
    'expires': None,
    'documents': 0,
    'keys': [{**SERVER, 'state': 'held', 'epoch': 3, 'migration': ''}],
    'last_handover': {'role': 'source', 'ms': 1.5, 'tpm_commands': 16},
    'versions': {'korora-nova': '1.0'},
}
ANSWERS = (
    (answers.Done, {}),
    (answers.HostStatus, STATUS),
    (answers.HostStatus, {**STATUS, 'keys': [], 'last_handover': None}),
    (
        answers.Appraised,
        {'tier': 'affirming', 'reasons': [], 'expires': 1.7e9},
    ),
    (
        answers.Protected,
        {
            'state': 'held',
            'epoch': 3,
            'migration': '',
            'ledger': ROW,
            'ledger_known': True,
        },
    ),
    (
        answers.Protected,
        {
            'state': 'none',
            'epoch': 0,
            'migration': '',
            'ledger': None,
            'ledger_known': False,
        },
    ),
    (answers.Key, KEY),
    (answers.Received, {**KEY, 'ms': 20.5, 'tpm_commands': 20}),
    (answers.Started, {'address': 'h2', 'tls_name': ''}),
    (answers.Ended, {'reason': '', 'host': '', 'reasons': []}),
    (
        answers.Ended,
        {'reason': 'X', 'host': 'h2', 'reasons': ['PCR_NOT_GOLDEN']},
    ),
    (answers.Noted, {'queued': True, 'receipt': None, 'outcome': None}),
    (
        answers.Noted,
        {'queued': False, 'receipt': 'a.b.c', 'outcome': 'committed'},
    ),
)


class Base(unittest.TestCase):
    def refused(self, message, fields):
        with self.assertRaises(errors.Invalid) as caught:
            message.from_json(fields)
        self.assertEqual('INVALID_REQUEST', caught.exception.reason)
        return caught.exception

    def there_and_back(self, message, fields):
        read = message.from_json(json.loads(json.dumps(fields)))
        self.assertEqual(fields, json.loads(json.dumps(read.to_json())))
        self.assertEqual(read, message.from_json(read.to_json()))
        return read

    def closed(self, message, fields):
        for field in fields:
            rest = {key: fields[key] for key in fields if key != field}
            if field in message.OPTIONAL:
                message.from_json(rest)
            else:
                self.refused(message, rest)
            self.refused(message, {**fields, field: {'x': 1}})
        for more in ({'more': 1}, {'version': 1}, {'op': 'status'}):
            self.refused(message, {**fields, **more})
        for other in (None, [], 'x', 1):
            self.refused(message, other)


class RequestsTest(Base):
    def test_envelope(self) -> None:
        """A field cannot be called as one of what is around it."""
        for request in operations.REQUESTS.values():
            self.assertFalse({'version', 'op'} & set(request.PROPERTIES))

    def test_all(self):
        self.assertEqual(set(REQUESTS), set(operations.REQUESTS))
        for op, fields in REQUESTS.items():
            request = operations.REQUESTS[op]
            self.assertEqual(op, request.OP)
            self.there_and_back(request, fields)
            self.closed(request, fields)

    def test_schemas_are_schemas(self):
        for message in (
            *operations.REQUESTS.values(),
            *(message for message, _ in ANSWERS),
        ):
            jsonschema.Draft202012Validator.check_schema(
                schemas.closed(message.PROPERTIES, message.OPTIONAL)
            )

    def test_no_wait_is_not_sent(self):
        for message in (
            operations.Forget(documents.INSTANCE),
            operations.NoDomain(documents.INSTANCE, documents.MIGRATION),
        ):
            self.assertNotIn('wait', message.to_json())

    def test_tls_name_is_always_sent(self):
        fields = operations.Start(
            documents.INSTANCE, documents.MIGRATION, 'h2', 'h2', None
        ).to_json()
        self.assertIsNone(fields['tls_name'])

    def test_values(self):
        for op, field, value in (
            ('verdict', 'host', 'h2\n'),
            ('open', 'instance', documents.INSTANCE + '\n'),
            ('open', 'instance', '../../etc/passwd'),
            ('open', 'instance', None),
            ('receive', 'address', 'a\x00b'),
            ('start', 'tls_name', 7),
            ('activated', 'wait', 601),
            ('activated', 'wait', None),
            ('seal', 'passphrase', ''),
            ('seal', 'passphrase', 'A'),
            ('seal', 'passphrase', '!!!!'),
        ):
            self.refused(
                operations.REQUESTS[op], {**REQUESTS[op], field: value}
            )


class SecretTest(Base):
    def test_the_passphrase_is_a_secret(self):
        request = operations.Seal.from_json(REQUESTS['seal'])
        self.assertEqual(Secret(b'canary'), request.passphrase)
        self.assertNotIn('canary', repr(request))
        self.assertNotIn('Y2FuYXJ5', repr(request))

    def test_refusals_do_not_quote_values(self):
        for passphrase in ('canary canary', 'canary', 7):
            error = self.refused(
                operations.Seal,
                {**REQUESTS['seal'], 'passphrase': passphrase},
            )
            self.assertNotIn('canary', str(error) + repr(error.details))
        self.assertIn('passphrase', error.message)


class AnswersTest(Base):
    def test_all(self):
        for message, fields in ANSWERS:
            self.there_and_back(message, fields)
            self.closed(message, fields)

    def test_parts_have_types(self):
        status = answers.HostStatus.from_json(STATUS)
        self.assertEqual(('TPM_UNAVAILABLE',), status.reasons)
        self.assertEqual(
            (answers.HeldKey(documents.INSTANCE, 'held', 3, ''),), status.keys
        )
        self.assertEqual(
            answers.Handover('source', 1.5, 16), status.last_handover
        )

    def test_parts_are_closed(self):
        for field, value in (
            ('keys', [{**STATUS['keys'][0], 'more': 1}]),
            ('keys', [{}]),
            ('last_handover', {'role': 'source'}),
            ('versions', {'korora-nova': 1}),
        ):
            self.refused(answers.HostStatus, {**STATUS, field: value})


class EnvelopeTest(unittest.TestCase):
    def test_fields_leave_the_envelope_alone(self) -> None:
        """A field of such a name would take the place of the message's own."""
        for name, request in operations.REQUESTS.items():
            self.assertEqual(
                set(), {'version', 'op'} & set(request.PROPERTIES), name
            )
