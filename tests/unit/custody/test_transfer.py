# SPDX-License-Identifier: Apache-2.0
import unittest

import jsonschema

from korora_nova import errors
from korora_nova.custody import moves, transfer
from korora_nova.rats.quote.verify import Quote
from tests.support import documents

B64 = 'AAAA'
WRAP = {
    'version': 1,
    'migration': documents.MIGRATION,
    'instance': documents.INSTANCE,
    'msk_public': B64,
    'dest': 'h2',
}
PREPARE = {
    'version': 1,
    'migration': documents.MIGRATION,
    'instance': documents.INSTANCE,
    'source': 'h1',
    'kind': 'cold',
}
TRANSFER = {
    'version': 1,
    'permit': 'a.b.c',
    'ak_public': B64,
    'public': B64,
    'duplicate': B64,
    'seed': B64,
    'envelope': B64,
    'quote': {
        'attest': B64,
        'signature': B64,
        'pcrs': {'0': '00' * 32, '15': '00' * 32},
    },
}


def broken(good):
    """The document with one field more, or with one that is not itself."""
    yield {**good, 'more': 1}
    yield {**good, 'version': 2}
    for field in good:
        yield {key: value for key, value in good.items() if key != field}
        yield {**good, field: None}
        yield {**good, field: {'x': 1}}


class TransferTest(unittest.TestCase):
    def test_schemas_are_schemas(self):
        for kind in (
            transfer.WrapRequest,
            transfer.PrepareRequest,
            transfer.Transfer,
        ):
            jsonschema.Draft202012Validator.check_schema(kind.SCHEMA)

    def test_request(self):
        read = transfer.WrapRequest.from_json(WRAP)
        self.assertEqual(WRAP, read.to_json())
        self.assertEqual(list(WRAP), list(read.to_json()))
        self.assertEqual(bytes(3), read.msk_public)
        for document in (None, [], *broken(WRAP)):
            with self.assertRaises(errors.Invalid) as caught:
                transfer.WrapRequest.from_json(document)
            self.assertEqual('INVALID_REQUEST', caught.exception.reason)

    def test_prepare(self):
        read = transfer.PrepareRequest.from_json(PREPARE)
        self.assertEqual(PREPARE, read.to_json())
        self.assertIs(moves.Move.COLD, read.kind)
        for document in (None, *broken(PREPARE), {**PREPARE, 'kind': 'live'}):
            with self.assertRaises(errors.Invalid):
                transfer.PrepareRequest.from_json(document)

    def test_transfer(self):
        read = transfer.Transfer.from_json(TRANSFER)
        self.assertEqual(TRANSFER, read.to_json())
        self.assertEqual(list(TRANSFER), list(read.to_json()))
        self.assertEqual(
            Quote(bytes(3), bytes(3), {0: bytes(32), 15: bytes(32)}),
            read.quote,
        )

    def test_malformed_transfers(self):
        quote = TRANSFER['quote']
        for document in (
            None,
            'x',
            *broken(TRANSFER),
            *({**TRANSFER, 'quote': one} for one in broken(quote)),
            {**TRANSFER, 'seed': 'AAAAA'},
            {**TRANSFER, 'quote': {**quote, 'attest': 'AAAAA'}},
            *(
                {**TRANSFER, 'quote': {**quote, 'pcrs': pcrs}}
                for pcrs in (
                    {'24': '00' * 32},
                    {'00': '00' * 32},
                    {'0': '00'},
                )
            ),
        ):
            with self.assertRaises(errors.CustodyError) as caught:
                transfer.Transfer.from_json(document)
            self.assertEqual('TRANSFER_INVALID', caught.exception.reason)
