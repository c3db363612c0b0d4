# SPDX-License-Identifier: Apache-2.0
"""A busy service puts periodic attestations off, and nothing else."""

import contextlib

from korora_nova import errors
from tests.functional.api import base


class TestPressure(base.ApiTestCase):
    SETTINGS = {'busy_requests': 2}

    def setUp(self) -> None:
        super().setUp()
        self.h1 = self.host('h1')
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)

    def fill(self) -> None:
        for host in ('h8', 'h9'):
            self.stack.enter_context(self.korora.service.pressure.of(host))

    def steady(self, challenge: str):
        message = self.h1.message(
            'attest', '{"version":1,"known":[]}', challenge
        )
        return self.h1.api.evidence('h1', message, 'steady')

    def test_periodic_attestations(self) -> None:
        challenge = self.h1.challenge('steady')
        self.fill()
        for ask in (
            lambda: self.h1.challenge('steady'),
            lambda: self.steady(challenge),
        ):
            with self.refused('BUSY') as caught:
                ask()
            self.assertIsInstance(caught[0], errors.Busy)
            self.assertLessEqual(1, caught[0].retry_after)
        self.stack.close()
        # The challenge was not used up.
        self.steady(challenge)

    def test_the_header(self) -> None:
        self.fill()
        answer = self.korora.request(
            'POST',
            '/v1/hosts/h1/challenges',
            roles='attester',
            body=b'{"class":"steady"}',
            content_type='application/json',
        )
        self.assertEqual(429, answer.status_code)
        self.assertEqual(
            answer.json['error']['details']['retry_after'],
            answer.headers['Retry-After'],
        )

    def test_nothing_is_read_for_it(self) -> None:
        challenge = self.h1.challenge('steady')
        self.fill()
        with self.korora.service.db.read():
            pass
        self.korora.service.db.look = None  # type: ignore[assignment]
        with self.refused('BUSY'):
            self.steady(challenge)

    def test_custody_goes_on(self) -> None:
        """What Nova waits for is never put off."""
        self.fill()
        self.h1.attest_now('on-demand')
        self.h1.claim('00000000-0000-4000-8000-000000000001')
        h2 = self.stranger('h2')
        h2.join(self.admin)
        h2.attest_now('on-demand')
        self.moved(self.h1, h2, '00000000-0000-4000-8000-000000000001')
        self.assertEqual(2, len(self.admin.list_results()))

    def test_agents_of_the_release_before(self) -> None:
        """They do not say what is periodic, but ask for challenges."""
        challenge = self.h1.challenge('steady')
        self.fill()
        self.h1.say('attest', challenge, known=[])
