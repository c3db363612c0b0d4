# SPDX-License-Identifier: Apache-2.0
"""Kernels that drop the beginning of their list, and agents that forget."""

import hashlib
import json
from unittest import mock

import fixtures
import sqlalchemy as sa

from korora_nova import errors
from korora_nova.rats import evidence, ima
from korora_nova.verifier.appraisal import segments
from korora_nova.verifier.db import models
from tests.functional.api import base
from tests.support import agent, simulator

PART = 1024
KNOWN = hashlib.sha256(b'/usr/bin/swtpm').digest()
LOG = '/var/log/journal'
POLICY = {
    'version': 1,
    'name': 'logs',
    'rules': [
        {'pcrs': {'registers': [0, 4, 7], 'references': True}},
        {
            'ima': {
                'references': True,
                'violations': [{'path': LOG, 'most': 100}],
            }
        },
    ],
}


class Trimmed(base.ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.old = self.host('h1')
        self.number = 0
        self.measure(20)
        self.old.go_on()
        self.seen = self.old.offset
        self.measure(3)

    def measure(self, count: int) -> None:
        for _ in range(count):
            self.old.measure(f'/usr/lib/{self.number:04}', KNOWN)
            self.number += 1

    def trim(self, dropped: int) -> None:
        """The kernel drops so much; the agent has forgotten where it was."""
        self.old.dropped, self.old.offset = dropped, 0

    def entry(self) -> int:
        """Size of one of the entries that follow the first ones."""
        return len(simulator.ima_entry('/usr/lib/0000')[0])

    def first(self, host: agent.SimAgent) -> int:
        """Size of the boot aggregate's entry."""
        return len(simulator.ima_entry('boot_aggregate')[0])

    def stored(self) -> bytes:
        end = len(self.old.ima_log)
        with self.korora.service.db.read() as session:
            return b''.join(segments.read(session, 'h1', end))

    def assert_goes_on(self) -> None:
        answer = self.old.go_on()
        self.assertEqual('affirming', self.tier('h1'))
        self.assertEqual(len(self.old.ima_log), answer['ima_offset'])
        self.assertEqual(self.old.dropped, answer['ima_dropped'])
        self.assertEqual(self.old.ima_log, self.stored())
        # And then as any other
        self.measure(2)
        answer = self.old.go_on()
        self.assertNotIn('ima_dropped', answer)
        self.assertEqual('affirming', self.tier('h1'))
        self.assertEqual(self.old.ima_log, self.stored())

    def test_all_that_was_seen_is_dropped(self) -> None:
        self.trim(self.seen)
        self.assert_goes_on()

    def test_less_is_dropped(self) -> None:
        for back in (1, 2, 15):
            with self.subTest(back):
                self.trim(self.seen - back * self.entry())
                self.assert_goes_on()
                self.seen = self.old.offset
                self.measure(1)

    def test_all_is_dropped_and_nothing_follows(self) -> None:
        self.old.go_on()
        self.trim(len(self.old.ima_log))
        self.assert_goes_on()

    def test_again_and_again(self) -> None:
        for _ in range(3):
            self.trim(self.seen)
            self.assert_goes_on()
            self.seen = self.old.offset
            self.measure(2)

    def test_what_is_new_is_judged(self) -> None:
        self.old.measure('/tmp/rootkit')
        self.trim(self.seen)
        self.old.go_on()
        self.assertEqual('contraindicated', self.tier('h1'))
        self.assertIn(
            '/tmp/rootkit',
            self.admin.get_result('h1')['findings'][0]['message'],
        )

    def test_what_was_wrong_stays_wrong(self) -> None:
        self.old.measure('/tmp/rootkit')
        self.old.go_on()
        self.trim(self.old.offset)
        self.measure(1)
        self.old.go_on()
        self.assertEqual(
            ['IMA_UNKNOWN_FILE'], self.admin.get_host('h1')['reasons']
        )

    def test_rules_are_new(self) -> None:
        """What was dropped is judged again as it is kept."""
        self.old.measure('/usr/lib/new')
        self.old.go_on()
        self.trim(self.old.offset)
        self.measure(1)
        self.admin.create_reference('newer', 'h1')
        self.assert_goes_on()

    def test_violations(self) -> None:
        """The same bytes again and again: the replay tells them apart."""
        self.admin.create_policy(POLICY)
        for _ in range(6):
            violation(self.old)
        self.old.go_on()
        self.assertEqual('affirming', self.tier('h1'))
        end = len(self.old.ima_log)
        one = (end - self.seen - 3 * self.entry()) // 6
        for _ in range(3):
            violation(self.old)
        for back in (0, 1, 5):
            with self.subTest(back):
                self.trim(end - back * one)
                self.old.go_on()
                self.assertEqual('affirming', self.tier('h1'))
                self.assertEqual(self.old.ima_log, self.stored())
                end = self.old.offset
                violation(self.old)

    def test_long_after_a_trim(self) -> None:
        """What is left comes in parts; it may begin anywhere."""
        self.useFixture(
            fixtures.MockPatchObject(evidence, 'MAX_IMA_LOG', PART)
        )
        for back in (0, 4, 15):
            with self.subTest(back):
                if back:
                    self.old.go_on()
                seen = self.old.offset
                self.measure(30)
                self.trim(seen - back * self.entry())
                shown = self.old.ima_log[self.old.dropped :]
                start = 0
                while len(shown) - start > PART:
                    start = self.part(shown, start)
                text = json.dumps({'version': 1, 'known': []})
                message = self.old.message(
                    'attest', text, self.old.challenge()
                )
                message['evidence']['ima_log'] = agent.b64(shown[start:])
                message['evidence']['ima_offset'] = start
                answer = self.old.api.evidence('h1', message)
                self.assertEqual('affirming', self.tier('h1'))
                self.assertEqual(self.old.dropped, answer['ima_dropped'])
                self.assertEqual(len(self.old.ima_log), answer['ima_offset'])
                self.assertEqual(self.old.ima_log, self.stored())
                self.old.offset = answer['ima_offset']

    def part(self, shown: bytes, start: int) -> int:
        content = shown[start : start + PART]
        digest = hashlib.sha256(content).hexdigest()
        body = {'version': 1, 'start': start, 'digest': digest}
        message = self.old.message(
            'list', json.dumps(body), self.old.challenge()
        )
        message['evidence']['ima_log'] = agent.b64(content)
        return self.old.api.evidence('h1', message)['upto']

    def test_more_is_dropped_than_was_seen(self) -> None:
        """Nobody can tell what it was; but what was seen is not forgotten."""
        self.trim(self.seen + self.entry())
        self.assertEqual(0, self.old.go_on()['ima_offset'])
        host = self.admin.get_host('h1')
        self.assertEqual(
            ('contraindicated', ['IMA_LOG_TRIMMED']),
            (host['tier'], host['reasons']),
        )
        self.assertIn(
            'reboot', self.admin.get_result('h1')['findings'][0]['message']
        )
        with self.refused('NO_REFERENCE'):
            self.admin.create_reference('newer', 'h1')
        self.trim(self.seen)
        self.assert_goes_on()

    def test_trimmed_before_the_enrolment(self) -> None:
        new = self.stranger('h2')
        new.dropped = self.first(new)
        new.join(self.admin)
        new.attest_now()
        self.assertEqual(
            ['IMA_LOG_TRIMMED'], self.admin.get_host('h2')['reasons']
        )
        new.reboot()
        new.dropped = 0
        new.go_on()
        self.assertEqual('affirming', self.tier('h2'))

    def test_trimmed_in_another_boot(self) -> None:
        self.old.reboot()
        self.trim(self.first(self.old))
        self.old.go_on()
        self.assertEqual(
            ['IMA_LOG_TRIMMED'], self.admin.get_host('h1')['reasons']
        )
        self.trim(0)
        self.old.go_on()
        self.assertEqual('affirming', self.tier('h1'))

    def test_what_is_left_was_changed(self) -> None:
        self.old.measure('/tmp/rootkit')
        self.trim(self.seen)
        right = self.old.ima_log
        self.old.ima_log = right.replace(b'rootkit', b'harmles')
        self.old.go_on()
        self.assertEqual('contraindicated', self.tier('h1'))
        self.old.ima_log = right
        self.old.go_on()
        self.assertEqual(
            ['IMA_UNKNOWN_FILE'], self.admin.get_host('h1')['reasons']
        )

    def test_kept_list_that_is_damaged(self) -> None:
        self.trim(self.seen)
        with self.korora.service.db.write() as session:
            session.execute(
                sa.update(models.MeasurementSegment).values(content=b'x')
            )
        self.old.go_on()
        self.assertEqual('contraindicated', self.tier('h1'))

    def test_state_of_another_release(self) -> None:
        """The kept list leads there as well."""
        self.trim(self.seen)
        with mock.patch.object(
            ima.State,
            'from_json',
            side_effect=errors.Invalid(errors.Reason.INVALID_REQUEST),
        ):
            self.old.go_on()
        self.assertEqual('affirming', self.tier('h1'))
        self.assertEqual(self.old.ima_log, self.stored())


def violation(host: agent.SimAgent) -> None:
    """A file was written while it was measured."""
    entry, _ = simulator.ima_entry(LOG)
    host.ima_log += entry[:4] + bytes(20) + entry[24:]
    host.tpm.extend(10, b'\xff' * 32)


class TestSqlite(Trimmed):
    pass


class TestMariaDb(base.MariaDbTestCase, Trimmed):
    pass


class TestPostgreSql(base.PostgreSqlTestCase, Trimmed):
    pass
