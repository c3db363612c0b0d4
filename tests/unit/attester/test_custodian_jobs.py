# SPDX-License-Identifier: Apache-2.0
"""What agent and custodian say to each other."""

from __future__ import annotations

import json

import testtools

from korora_nova import errors
from korora_nova.attester.custodian import jobs
from korora_nova.attester.custodian.keeper import Custodial, Keeper
from korora_nova.custody.approval import Approval
from korora_nova.secret import Secret

SERVER = '6b6f726f-7261-4000-8000-000000000001'
MOVE = '6b6f726f-7261-4000-8000-000000000002'
APPROVAL = Approval(
    SERVER,
    3,
    b'p' * 32,
    b'r' * 8,
    9,
    b'f' * 32,
    'ab' * 8,
    b'1' * 32,
    b's' * 32,
)
STATE = {'pcr_digest': b'p' * 32, 'reset_restart': b'r' * 8, 'deadline': 5}
MESSAGES = (
    jobs.Begin('tcti', 'qemu:///system', 30.0, 300.0),
    jobs.Ready(jobs.VERSION, True),
    jobs.Take(b'head', 100),
    jobs.Unseal(b's', b'u', b'v', b'k', b'e', b'a', APPROVAL),
    jobs.Import(
        b's', b'm', b'u', b'd', b'x', b'e', MOVE, SERVER, 4, b'a', **STATE
    ),
    jobs.Seal(b's', b'p', b'a'),
    jobs.Wrap(b'm', MOVE, SERVER, 4, b'a', **STATE),
    jobs.Define(SERVER, SERVER),
    jobs.Taken(SERVER, SERVER, '00-1-2-3'),
    jobs.Opened(SERVER),
    jobs.Sealed(b'u', b'v', b'e'),
    jobs.Wrapped(b'u', b'd', b's', b'e'),
    jobs.Done(),
)
BEGIN = jobs.Begin('none', 'test:///default', 1.0, 1.0)


class MessagesTest(testtools.TestCase):
    def test_there_and_back(self) -> None:
        for message in MESSAGES:
            text = json.dumps(message.to_json())
            self.assertEqual(message, type(message).parse(text))

    def test_they_are_closed(self) -> None:
        for message in MESSAGES:
            document = {**message.to_json(), 'more': 1}
            self.assertRaises(
                errors.Invalid, type(message).from_json, document
            )

    def test_every_job_has_its_name(self) -> None:
        asked = [one for one in MESSAGES if isinstance(one, jobs.Job)]
        self.assertEqual({one.OP for one in asked}, set(jobs.JOBS))
        for one in asked:
            self.assertIs(type(one), jobs.JOBS[one.OP])

    def test_what_is_said_of_a_job(self) -> None:
        counts = {'tpm': {'UNSEAL': 1}}
        failure = {
            'reason': 'VAULT_DAMAGED',
            'message': 'm',
            'details': {'a': 'b'},
        }
        self.assertEqual(
            jobs.Said({'UNSEAL': 1}, answer={'a': 1}),
            self.said({**counts, 'answer': {'a': 1}}),
        )
        self.assertEqual(
            jobs.Said({'UNSEAL': 1}, broken='KeyError at x.py:1'),
            self.said({**counts, 'broken': 'KeyError at x.py:1'}),
        )
        error = self.said({**counts, 'error': failure}).error
        assert isinstance(error, errors.CustodyError)
        self.assertEqual(
            ('VAULT_DAMAGED', 'm', {'a': 'b'}),
            (error.reason, error.message, error.details),
        )

    def said(self, document: object) -> jobs.Said:
        return jobs.Said.parse(json.dumps(document).encode())

    def test_what_nobody_says(self) -> None:
        counts = {'tpm': {'UNSEAL': 1}}
        for wrong in (
            {},
            counts,
            {'answer': {}},
            {**counts, 'answer': {}, 'broken': ''},
            {**counts, 'broken': ''},
            {**counts, 'error': {}},
            {'tpm': {'UNSEAL': -1}, 'answer': {}},
            {**counts, 'more': 1},
        ):
            self.assertRaises(errors.Invalid, self.said, wrong)


class KeeperTest(testtools.TestCase):
    def ask(self, keeper: Keeper, job: jobs.Job) -> jobs.Said:
        asked = {'op': job.OP, 'job': job.to_json()}
        return self.said(keeper, json.dumps(asked).encode())

    def said(self, keeper: Keeper, content: bytes) -> jobs.Said:
        return jobs.Said.parse(keeper.answer(content, []))

    def test_no_key_no_job(self) -> None:
        for job in MESSAGES:
            if isinstance(job, jobs.Seal | jobs.Wrap | jobs.Define):
                said = self.ask(Keeper(BEGIN), job)
                self.assertIn('RuntimeError at keeper.py', said.broken)

    def test_what_is_no_job(self) -> None:
        for content in (b'', b'[]', b'{}', b'{"op": "x", "job": {}}', b'\xff'):
            self.assertIn(' at ', self.said(Keeper(BEGIN), content).broken)

    def test_job_that_follows_no_schema(self) -> None:
        content = b'{"op": "define", "job": {"version": 1}}'
        error = self.said(Keeper(BEGIN), content).error
        assert error is not None
        self.assertEqual('INVALID_REQUEST', error.reason)

    def test_error_says_nothing_of_the_key(self) -> None:
        """I1: its text may be the key's."""

        class Broken(Keeper):
            def define(self, job: jobs.Define) -> jobs.Done:
                raise ValueError(self._held().passphrase.reveal())

        keeper = Broken(BEGIN)
        keeper._key = Custodial(SERVER, Secret(b'canary'))
        said = self.ask(keeper, jobs.Define(SERVER, SERVER))
        self.assertIn('ValueError at', str(said))
        self.assertNotIn('canary', str(said))

    def test_custodial(self) -> None:
        whole = Custodial(SERVER, Secret(b'x'))
        self.assertEqual(whole, Custodial.unpack(whole.pack()))
        self.assertRaises(
            errors.CustodyError, Custodial.unpack, Secret(bytes(16))
        )
