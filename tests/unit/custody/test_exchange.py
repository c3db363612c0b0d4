# SPDX-License-Identifier: Apache-2.0
import unittest

import jsonschema

from korora_nova import errors
from korora_nova.custody import approval, exchange
from tests.support import documents

CHALLENGE = {
    'challenge': 'ab' * 32,
    'class': 'steady',
    'issued': 1000.0,
    'expires_in': 90.0,
    'incarnation': documents.INCARNATION,
}
APPROVAL = approval.Approval(
    instance=documents.INSTANCE,
    epoch=3,
    pcr_digest=bytes(32),
    reset_restart=bytes(8),
    deadline=1000,
    ref=bytes(32),
    key_kid='00' * 8,
    signature_r=bytes(32),
    signature_s=bytes(32),
).to_json()
COMMON = {'result': 'a.b.c', 'ima_offset': 7, 'next_challenge': CHALLENGE}
#: What each purpose adds to an answer.
SERVED = {
    exchange.Served: {},
    exchange.Heard: {
        'approval_kid': 'ab' * 8,
        'wanted': [documents.INSTANCE],
        'news': ['a.b.c'],
        'streams': {'mode': 'attested', 'certificate': 'PEM'},
    },
    exchange.Presented: {'news': []},
    exchange.Granted: {'grant': 'a.b.c'},
    exchange.Approvals: {'approvals': [APPROVAL, APPROVAL]},
    exchange.Permitted: {'permit': 'a.b.c', 'approval': APPROVAL},
    exchange.Started: {'start': 'a.b.c', 'peer': 'd.e.f'},
    exchange.Told: {'receipt': ''},
}


class ChallengeTest(unittest.TestCase):
    def test_round_trip(self):
        read = exchange.Challenge.from_json(CHALLENGE)
        self.assertEqual(CHALLENGE, read.to_json())
        self.assertEqual(list(CHALLENGE), list(read.to_json()))

    def test_more_may_be_said(self):
        self.assertEqual(
            exchange.Challenge.from_json(CHALLENGE),
            exchange.Challenge.from_json({**CHALLENGE, 'more': 1}),
        )

    def test_malformed(self):
        for document in (
            None,
            'x',
            *({**CHALLENGE, field: None} for field in CHALLENGE),
            {**CHALLENGE, 'challenge': 'ab' * 31},
            {**CHALLENGE, 'class': 'other'},
        ):
            with self.assertRaises(errors.Unavailable) as caught:
                exchange.Challenge.from_json(document)
            self.assertEqual('SERVICE_UNAVAILABLE', caught.exception.reason)


class RequestTest(unittest.TestCase):
    GOOD = {
        'version': 1,
        'challenge': 'ab' * 32,
        'purpose': 'claim',
        'body': '{"x": 1}',
        'evidence': {'attest': ''},
    }

    def test_round_trip(self):
        jsonschema.Draft202012Validator.check_schema(exchange.Request.SCHEMA)
        read = exchange.Request.from_json(self.GOOD)
        self.assertEqual(self.GOOD, read.to_json())
        self.assertEqual(list(self.GOOD), list(read.to_json()))

    def test_the_body_stays_as_it_was_sent(self):
        text = '{ "version":1,\n "instance": "\\u0030" }'
        read = exchange.Request.from_json({**self.GOOD, 'body': text})
        self.assertEqual(text, read.body)

    def test_malformed(self):
        for change in (
            {'more': 1},
            {'version': 2},
            {'purpose': 'other'},
            {'body': 'x' * (exchange.MAX_BODY + 1)},
            *({field: None} for field in self.GOOD),
        ):
            with self.assertRaises(errors.Invalid):
                exchange.Request.from_json({**self.GOOD, **change})


class AnswerTest(unittest.TestCase):
    def test_round_trip(self):
        for kind, served in SERVED.items():
            document = {**COMMON, **served}
            read = exchange.Answer.from_json(document, kind)
            self.assertIs(kind, type(read.served))
            self.assertEqual(document, read.to_json())
            self.assertEqual(list(document), list(read.to_json()))

    def test_missing_fields(self):
        for kind, served in SERVED.items():
            good = {**COMMON, **served}
            for field in good:
                if field == 'ima_offset':
                    continue
                values = (7,) if field == 'streams' else (None, 7)
                for value in values:
                    with self.assertRaises(errors.Unavailable) as caught:
                        exchange.Answer.from_json({**good, field: value}, kind)
                    self.assertEqual(
                        'SERVICE_UNAVAILABLE', caught.exception.reason
                    )

    def test_lists_of_other_things(self):
        for heard in ({'wanted': [1], 'news': []}, {'news': [None]}):
            with self.assertRaises(errors.Unavailable):
                exchange.Heard.from_json(
                    {'approval_kid': '', 'wanted': [], **heard}
                )

    def test_streams(self):
        heard = {'approval_kid': '', 'wanted': [], 'news': []}
        read = exchange.Heard.from_json(heard)
        self.assertEqual(exchange.Streams(), read.streams)
        for streams in (
            {},
            [],
            {'mode': 'other'},
            {'mode': 'site', 'certificate': 1},
            {'mode': 'site', 'refused': None},
        ):
            with self.assertRaises(errors.Unavailable):
                exchange.Heard.from_json({**heard, 'streams': streams})

    def test_malformed_approvals(self):
        for given in ([{}], [None], [{**APPROVAL, 'epoch': 0}]):
            with self.assertRaises(errors.CustodyError) as caught:
                exchange.Approvals.from_json({'approvals': given})
            self.assertEqual('APPROVAL_INVALID', caught.exception.reason)

    def test_an_offset_that_is_none_means_all_of_it(self):
        for offset in (None, True, '7', 1.5, -1, [], 1 << 40):
            read = exchange.Answer.from_json(
                {**COMMON, 'ima_offset': offset}, exchange.Served
            )
            self.assertEqual(0, read.ima_offset)
