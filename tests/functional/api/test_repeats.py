# SPDX-License-Identifier: Apache-2.0
"""T46: a request is sent again below the agent; nothing happens twice."""

import json

import sqlalchemy as sa

from korora_nova.verifier import repeats
from korora_nova.verifier.db import models
from tests.functional.api.test_custody import (
    MIGRATION,
    OTHER,
    SERVER,
    CustodyTestCase,
)
from tests.support import agent

KEY = '000b' + '22' * 32


class RepeatsTest(CustodyTestCase):
    def counted(self) -> tuple[int, ...]:
        """What each change of custody adds to."""
        with self.korora.service.db.read() as session:
            return tuple(
                session.scalar(sa.select(sa.func.count()).select_from(table))
                for table in (models.Audit, models.Document, models.Server)
            )

    def message(self, host: agent.SimAgent, purpose: str, **body) -> dict:
        text = json.dumps({'version': 1, **body})
        return host.message(purpose, text, host.challenge())

    def twice(self, host: agent.SimAgent, message: dict) -> dict:
        first = host.api.evidence(host.name, message)
        counted = self.counted()
        self.assertEqual(first, host.api.evidence(host.name, message))
        self.assertEqual(counted, self.counted())
        return first

    def test_claim_and_delete(self):
        claim = self.message(self.source, 'claim', instance=OTHER, key=KEY)
        self.source.keep(self.twice(self.source, claim)['grant'])
        self.twice(
            self.source, self.message(self.source, 'delete', instance=OTHER)
        )
        # A late one says what was; it does not make the key come back.
        self.source.api.evidence('h1', claim)
        self.assertIsNone(self.admin.get_server(OTHER)['holder'])

    def test_hand_over(self):
        msk = self.dest.receive(MIGRATION, SERVER, 'h1')
        self.korora.nova.migrations.add((MIGRATION, SERVER, 'h1', 'h2'))
        wanted = {
            'migration': MIGRATION,
            'instance': SERVER,
            'nonce': '0f' * 32,
            'dest': 'h2',
            'msk_name': msk.name,
            'kid': self.source.approval_kid,
        }
        first = self.twice(
            self.source, self.message(self.source, 'send', **wanted)
        )
        # Above: the same, with a new challenge.
        again = self.source.say('send', **wanted)
        self.assertEqual(first['permit'], again['permit'])
        self.assertEqual(2, self.version())
        with self.refused('MIGRATION_SPENT'):
            self.source.say('send', **{**wanted, 'nonce': '0e' * 32})
        self.korora.clock.advance(31)
        with self.refused('RESULT_EXPIRED'):
            self.source.say('send', **wanted)
        permit = self.dest.keep(first['permit'])
        about = {'migration': MIGRATION, 'permit_hash': permit.hash}
        self.twice(
            self.dest, self.message(self.dest, 'sealed', **about, key=KEY)
        )
        self.twice(self.source, self.message(self.source, 'start', **about))
        for host, word in (
            (self.dest, 'activated'),
            (self.source, 'stream_completed'),
        ):
            self.twice(
                host,
                self.message(
                    host, 'tell', migration=MIGRATION, statement=word
                ),
            )
        with self.refused('MIGRATION_SPENT'):
            self.source.say('send', **wanted)

    def test_with_new_challenges(self):
        """T30, I17: each call is idempotent by what it says."""
        calls: list = [lambda: self.source.claim(OTHER, KEY)]
        migration, answer = self.handed(migration=MIGRATION)
        msk_name = self.source.read(answer['permit']).content.msk_name
        permit = self.dest.keep(answer['permit'])
        calls.append(
            lambda: self.source.send(migration, SERVER, 'h2', msk_name)[
                'permit'
            ]
        )
        self.again(calls)
        calls = [lambda: self.dest.sealed(permit) and None]
        self.again(calls)
        calls.append(lambda: self.source.start(permit)['start'])
        self.again(calls)
        calls = [
            lambda: self.dest.state(migration, 'activated'),
            lambda: self.source.state(migration, 'stream_completed'),
            lambda: self.source.present(
                *(item.token for item in self.source.documents.values())
            ),
            lambda: self.source.heal()['wanted'],
            lambda: self.source.delete(OTHER),
        ]
        self.again(calls)

    def again(self, calls) -> None:
        for call in calls:
            first = call()
            counted = self.counted()
            for _ in range(2):
                self.assertEqual(first, call())
            self.assertEqual(counted, self.counted())

    def test_send_from_another_state(self):
        """The permit names the state of S, which must be the same."""
        msk = self.dest.receive(MIGRATION, SERVER, 'h1')
        self.korora.nova.migrations.add((MIGRATION, SERVER, 'h1', 'h2'))
        self.source.send(MIGRATION, SERVER, 'h2', msk.name)
        self.source.tpm.extend(14, b'\x01' * 32)
        with self.refused('HOST_UNTRUSTED'):
            self.source.send(MIGRATION, SERVER, 'h2', msk.name)

    def test_another_request_with_its_challenge(self):
        claim = self.message(self.source, 'claim', instance=OTHER, key=KEY)
        self.source.api.evidence('h1', claim)
        for change in (
            {'body': claim['body'] + ' '},
            {'purpose': 'delete'},
            {'evidence': {**claim['evidence'], 'signature': 'AAAA'}},
        ):
            with self.refused(
                'CHALLENGE_USED'
                if 'purpose' not in change
                else 'INVALID_REQUEST'
            ):
                self.source.api.evidence('h1', {**claim, **change})
        with self.refused('CHALLENGE_UNKNOWN'):
            self.dest.api.evidence('h2', claim)

    def test_crash_before_the_answer_was_kept(self):
        """The challenge is spent; the claim itself can be said again."""
        claim = self.message(self.source, 'claim', instance=OTHER, key=KEY)
        self.patch_keep()
        self.source.api.evidence('h1', claim)
        with self.refused('CHALLENGE_USED'):
            self.source.api.evidence('h1', claim)
        self.assertEqual(1, self.source.claim(OTHER, KEY).row.epoch)

    def patch_keep(self) -> None:
        kept = repeats.keep
        self.addCleanup(setattr, repeats, 'keep', kept)
        repeats.keep = lambda *args: None

    def test_approvals_and_reports_are_not_kept(self):
        for message in (
            self.message(
                self.source,
                'approve',
                keys=[[SERVER, 1, self.source.approval_kid]],
            ),
            self.message(self.source, 'attest', known=[]),
        ):
            self.source.api.evidence('h1', message)
            with self.refused('CHALLENGE_USED'):
                self.source.api.evidence('h1', message)
