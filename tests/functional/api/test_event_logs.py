# SPDX-License-Identifier: Apache-2.0
"""The firmware's log is sent once: later evidence has its digest."""

import hashlib
from unittest import mock

import sqlalchemy as sa

from korora_nova.rats import appraise
from korora_nova.verifier.appraisal import packed
from korora_nova.verifier.db import models
from tests.functional.api import base

_T = models.Measurement


class EventLogs(base.ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.h1 = self.host('h1')
        self.h1.go_on()

    def sent(self, host) -> dict:
        """The evidence that it would send."""
        return host.message('attest', '{}', '00' * 32)['evidence']

    def change(self, **values) -> None:
        with self.korora.service.db.write() as session:
            session.execute(sa.update(_T).values(**values))

    def assert_asked_again(self) -> None:
        with self.refused('EVENT_LOG_UNKNOWN') as caught:
            self.h1.attest_now()
        self.assertEqual(409, caught[0].code)
        self.h1.log_there = ''
        self.h1.go_on()
        self.assertNotEqual('', self.h1.log_there)
        self.h1.attest_now()
        self.assertEqual('affirming', self.tier('h1'))

    def test_it_is_not_sent_again(self) -> None:
        digest = hashlib.sha256(self.h1.uefi_log).hexdigest()
        self.assertEqual(digest, self.h1.log_there)
        evidence = self.sent(self.h1)
        self.assertEqual(
            ('', digest), (evidence['uefi_log'], evidence['uefi_digest'])
        )
        self.h1.attest_now()
        self.assertEqual('affirming', self.tier('h1'))

    def test_nothing_is_parsed_again(self) -> None:
        with mock.patch.object(
            appraise.eventlog, 'parse', side_effect=AssertionError
        ):
            self.h1.measure('/usr/lib/a')
            self.h1.go_on()
        # A file that no reference has
        self.assertEqual('contraindicated', self.tier('h1'))

    def test_another_worker_has_it_from_the_database(self) -> None:
        self.korora.restart()
        with mock.patch.object(
            appraise.eventlog, 'parse', wraps=appraise.eventlog.parse
        ) as parse:
            self.h1.attest_now()
            self.h1.attest_now()
        self.assertEqual(1, parse.call_count)
        self.assertEqual('affirming', self.tier('h1'))

    def test_new_rules_need_no_log(self) -> None:
        self.admin.delete_reference('golden')
        self.h1.attest_now()
        self.assertEqual('contraindicated', self.tier('h1'))
        self.admin.create_reference('golden', 'h1')
        self.h1.attest_now()
        self.assertEqual('affirming', self.tier('h1'))

    def test_old_rules_are_not_kept(self) -> None:
        """What is remembered holds them in memory."""
        known = self.korora.service.judgements._known
        (before,) = known.values()
        self.admin.create_reference('other', 'h1')
        self.h1.attest_now()
        (after,) = known.values()
        self.assertNotEqual(before.policies, after.policies)

    def test_hosts_that_always_send_it(self) -> None:
        """Agents of the release before."""
        for _ in range(2):
            self.h1.log_there = ''
            self.assertNotEqual('', self.sent(self.h1)['uefi_log'])
            self.h1.attest_now()
        self.assertEqual('affirming', self.tier('h1'))

    def test_rows_of_the_release_before(self) -> None:
        """They have the document, and no log."""
        self.change(uefi_digest=None, uefi_log=None)
        self.assert_asked_again()

    def test_a_service_that_lost_it(self) -> None:
        self.korora.restart()
        self.change(uefi_log=None)
        self.assert_asked_again()

    def test_a_log_that_is_damaged_or_another(self) -> None:
        for content in (b'x', packed.compress(b'x')):
            self.korora.restart()
            self.change(uefi_log=content)
            with self.refused('EVENT_LOG_UNKNOWN'):
                self.h1.attest_now()
            self.assertEqual('affirming', self.tier('h1'))

    def test_digest_of_a_log_that_others_have(self) -> None:
        """What the service has of other hosts is not this one's."""
        h2 = self.stranger('h2')
        h2.join(self.admin)
        h2.log_there = self.h1.log_there
        self.assertEqual('', self.sent(h2)['uefi_log'])
        with self.refused('EVENT_LOG_UNKNOWN'):
            h2.attest_now()

    def test_a_liar(self) -> None:
        """It booted something else, and names the log of before."""
        self.h1.tpm.extend(4, b'\1' * 32)
        self.h1.attest_now()
        self.assertEqual('contraindicated', self.tier('h1'))
        (row,) = self.admin.results().results
        self.assertIn('UEFI_LOG_REPLAY', row['reasons'])

    def test_a_liar_whom_no_worker_remembers(self) -> None:
        self.korora.restart()
        self.test_a_liar()

    def test_another_log_replaces_it(self) -> None:
        self.h1.vector = 'secure-boot'
        self.h1.reboot()
        self.h1.offset = 0
        self.assertNotEqual('', self.sent(self.h1)['uefi_log'])
        before = self.h1.log_there
        self.h1.go_on()
        self.assertNotEqual(before, self.h1.log_there)
        with self.korora.service.db.read() as session:
            kept = session.scalar(sa.select(_T.uefi_log))
        self.assertEqual(self.h1.uefi_log, packed.zlib.decompress(kept))

    def test_log_and_digest(self) -> None:
        whole = self.h1.uefi_log
        for change in (
            {'uefi_log': 'AAAA'},
            {'uefi_digest': 'x'},
            {'uefi_digest': self.h1.log_there.upper()},
            {'uefi_digest': 1},
        ):
            challenge = self.h1.challenge()
            message = self.h1.message('attest', '{"version":1}', challenge)
            message['evidence'] |= change
            with self.refused('INVALID_REQUEST'):
                self.h1.api.evidence('h1', message)
        self.assertEqual(whole, self.h1.uefi_log)

    def test_a_host_without_log(self) -> None:
        self.h1.uefi_log = b''
        answer = self.h1.attest_now()
        self.assertNotIn('uefi_digest', answer)
        self.assertEqual('contraindicated', self.tier('h1'))


class TestSqlite(EventLogs):
    pass


class TestMariaDb(base.MariaDbTestCase, EventLogs):
    pass


del EventLogs
