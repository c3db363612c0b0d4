# SPDX-License-Identifier: Apache-2.0
"""Crashes, reboots and silence at every step; nothing lost, nothing twice."""

from __future__ import annotations

import time
from typing import Any
from unittest import mock

from korora_nova import errors
from korora_nova.attester import boot, libvirt_secret, observe
from tests.support import hosts

_R = errors.Reason


class RecoveryCase(hosts.HostsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.create(self.h1)

    def begun(self) -> str:
        """A hand-over that D completed and S has not started to stream."""
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        return migration

    def moving(self) -> str:
        migration = self.begun()
        self.start(self.h1, self.h2, migration)
        return migration

    def later(self, seconds: float, *machines: hosts.Machine) -> None:
        """What some hosts see in so many seconds, and then say."""
        for machine in machines:
            machine.settle()  # what it sees from now on
        now = boot.now() + seconds
        with mock.patch.object(boot, 'now', return_value=now):
            for machine in machines:
                machine.settle()

    def service_down(self, down: bool = True) -> None:
        self.korora.transport.down = down

    def assert_pending(self, machine: hosts.Machine, reason: str) -> None:
        self.refused(
            reason, machine.client.call, 'open', instance=self.instance
        )
        self.assertNotIn(self.instance, machine.libvirt.secrets)

    def assert_held_by(self, holder: hosts.Machine) -> None:
        """One host can open the key, the other has nothing left."""
        for machine in (self.h1, self.h2, self.h1):
            machine.settle()
        self.assertEqual(holder.name, self.ledger()['holder'])
        self.assertIsNone(self.ledger()['pending'])
        other = self.h1 if holder is self.h2 else self.h2
        self.assertEqual('held', holder.state(self.instance))
        self.assertEqual('none', other.state(self.instance))
        self.assertNotIn(self.instance, other.libvirt.secrets)
        self.assertEqual([], list(other.state_dir.glob('vault/*')))
        self.open(holder)


class ServiceDownTest(RecoveryCase):
    """T30, P20: the attestation service falls silent."""

    def test_at_start(self) -> None:
        self.service_down()
        self.h1.libvirt.secrets.clear()
        self.assert_pending(self.h1, _R.SERVICE_UNAVAILABLE)
        self.service_down(False)
        self.open(self.h1)

    def test_at_receive(self) -> None:
        migration = self.nova_migrates(self.h1, self.h2)
        self.service_down()
        self.refused(
            _R.SERVICE_UNAVAILABLE,
            self.receive,
            self.h1,
            self.h2,
            migration,
        )
        self.service_down(False)
        self.assert_held_by(self.h1)

    def test_at_send(self) -> None:
        migration = self.nova_migrates(self.h1, self.h2)
        self.korora.nova.before_answer = self.service_down
        genuine = self.h2.agent.bus.ask

        def ask(*args: Any) -> Any:
            with mock.patch.object(
                self.h1.agent.attester.client,
                'evidence',
                side_effect=errors.Unavailable(_R.SERVICE_UNAVAILABLE),
            ):
                return genuine(*args)

        self.h2.agent.destination._ask = ask
        self.refused(
            _R.SERVICE_UNAVAILABLE,
            self.receive,
            self.h1,
            self.h2,
            migration,
        )
        self.assertEqual('held', self.h1.state(self.instance))
        self.assert_held_by(self.h1)

    def test_answer_to_send_is_lost(self) -> None:
        """V has burned the epoch, S does not know."""
        migration = self.nova_migrates(self.h1, self.h2)
        client = self.h1.agent.attester.client
        genuine = client.evidence

        def lost(host: str, message: dict[str, Any]) -> dict[str, Any]:
            genuine(host, message)
            raise errors.Unavailable(_R.SERVICE_UNAVAILABLE)

        with mock.patch.object(client, 'evidence', lost):
            self.refused(
                _R.SERVICE_UNAVAILABLE,
                self.receive,
                self.h1,
                self.h2,
                migration,
            )
        self.assertEqual(migration, self.ledger()['pending'])
        self.h1.libvirt.secrets.clear()
        self.open(self.h1)
        self.assertIsNone(self.ledger()['pending'])
        self.assert_held_by(self.h1)

    def test_at_start_of_the_stream(self) -> None:
        migration = self.begun()
        self.service_down()
        self.refused(
            _R.SERVICE_UNAVAILABLE,
            self.start,
            self.h1,
            self.h2,
            migration,
        )
        # Nova's source recovers, both sides clean up
        self.said(self.h1, 'never_started', migration)
        self.h2.libvirt.domains.clear()
        self.said(self.h2, 'no_domain', migration)
        self.assertEqual('starting', self.h1.state(self.instance))
        self.assertEqual('relinquished', self.h2.state(self.instance))
        self.assertNotIn(self.instance, self.h2.libvirt.secrets)
        self.service_down(False)
        self.assert_held_by(self.h1)

    def test_at_commit(self) -> None:
        migration = self.moving()
        self.service_down()
        self.stream(self.h1, self.h2)
        self.said(self.h1, 'stream_completed', migration)
        self.said(self.h2, 'activated', migration)
        self.assertEqual('moving', self.h1.state(self.instance))
        self.assertEqual('incoming', self.h2.state(self.instance))
        self.assertIn(self.instance, self.h2.libvirt.secrets)
        for machine in (self.h1, self.h2):
            machine.restart_agent()
        self.service_down(False)
        self.assert_held_by(self.h2)

    def test_receipt_is_lost(self) -> None:
        migration = self.moving()
        self.stream(self.h1, self.h2)
        client = self.h2.agent.attester.client
        genuine = client.evidence

        def lost(host: str, message: dict[str, Any]) -> dict[str, Any]:
            genuine(host, message)
            raise errors.Unavailable(_R.SERVICE_UNAVAILABLE)

        with mock.patch.object(client, 'evidence', lost):
            self.said(self.h2, 'activated', migration)
        self.assertEqual('incoming', self.h2.state(self.instance))
        self.assertEqual('h2', self.ledger()['holder'])
        self.assert_held_by(self.h2)

    def test_silence_erases_nothing(self) -> None:
        migration = self.moving()
        self.service_down()
        self.stream(self.h1, self.h2)
        self.said(self.h1, 'stream_completed', migration)
        later = boot.now() + 10**6
        with mock.patch.object(boot, 'now', return_value=later):
            self.h1.settle()
            self.h2.settle()
        self.assertTrue(self.h1.record_path(self.instance).exists())
        self.assertTrue(self.h2.record_path(self.instance).exists())


class CrashTest(RecoveryCase):
    """T22, T30, P5: agents and hosts end at each step."""

    def test_source_agent_after_the_transfer(self) -> None:
        migration = self.begun()
        self.h1.restart_agent()
        self.start(self.h1, self.h2, migration)
        self.stream(self.h1, self.h2)
        self.said(self.h1, 'stream_completed', migration)
        self.assert_held_by(self.h2)

    def test_source_host_before_the_stream(self) -> None:
        self.begun()
        with mock.patch.object(boot, 'boot_id', return_value='another'):
            self.h1.reboot()
            self.h1.settle()
        self.h2.libvirt.domains.clear()
        self.assert_held_by(self.h1)

    def test_start_on_source_after_its_crash(self) -> None:
        """P5: Nova resumes guests: custody is resolved first."""
        migration = self.begun()
        self.h1.reboot()
        self.h1.libvirt.secrets.clear()
        self.open(self.h1)
        status = self.admin.get_migration(migration)
        self.assertEqual('aborted', status['status'])
        self.h2.libvirt.domains.clear()
        self.assert_held_by(self.h1)

    def test_start_on_source_while_moving(self) -> None:
        migration = self.moving()
        self.h1.reboot()
        self.assert_pending(self.h1, _R.CUSTODY_PENDING)
        self.stream(self.h1, self.h2)
        self.said(self.h2, 'activated', migration)
        self.assert_pending(self.h1, _R.VAULT_MISSING)
        self.assert_held_by(self.h2)

    def test_destination_agent_while_receiving(self) -> None:
        migration = self.nova_migrates(self.h1, self.h2)
        genuine = self.h2.agent.bus.ask

        def die(*args: Any) -> Any:
            genuine(*args)
            self.h2.agent.destination._relinquish = lambda *_: None
            raise SystemExit

        self.h2.agent.destination._ask = die
        self.assertRaises(
            SystemExit,
            self.h2.agent.destination.receive,
            self.instance,
            migration,
            'h1',
            '192.0.2.2',
            'h2',
        )
        self.assertEqual('receiving', self.h2.state(self.instance))
        self.h2.restart_agent()
        self.h2.settle()
        self.assert_held_by(self.h1)

    def test_destination_host_after_the_transfer(self) -> None:
        migration = self.moving()
        self.h2.reboot()
        self.assert_pending(self.h2, _R.CUSTODY_PENDING)
        self.h2.settle()
        # its silence may mean that the stream was complete: it waits
        self.assertEqual(migration, self.ledger()['pending'])
        self.said(self.h2, 'no_domain', migration)
        self.later(observe.KEPT_GRACE, self.h1)
        self.assert_held_by(self.h1)

    def test_destination_without_a_rollback(self) -> None:
        """P9: Nova's rollback is a cast and may never come."""
        self.begun()
        self.h2.libvirt.domains.clear()
        self.h2.settle()
        self.assertEqual('incoming', self.h2.state(self.instance))
        later = boot.now() + observe.INCOMING_EXPIRY + 1
        with mock.patch.object(boot, 'now', return_value=later):
            self.h2.settle()
        self.assert_held_by(self.h1)

    def test_source_never_starts(self) -> None:
        self.begun()
        later = boot.now() + observe.OUTGOING_EXPIRY + 1
        with mock.patch.object(boot, 'now', return_value=later):
            self.h1.settle()
        self.assertEqual('held', self.h1.state(self.instance))
        self.h2.libvirt.domains.clear()
        self.assert_held_by(self.h1)

    def test_destination_notices_by_itself(self) -> None:
        migration = self.moving()
        self.stream(self.h1, self.h2)
        self.h2.settle()
        self.assertEqual(migration, self.ledger()['pending'])
        later = boot.now() + observe.ARRIVAL_GRACE
        with mock.patch.object(boot, 'now', return_value=later):
            self.h2.settle()
        self.assert_held_by(self.h2)

    def test_connection_breaks_when_the_guest_has_just_arrived(self) -> None:
        """libvirt resumes it on S, and Nova's rollback ends it on D."""
        migration = self.moving()
        self.stream(self.h1, self.h2)
        self.h2.settle()
        self.h1.libvirt.domains[self.instance] = libvirt_secret.RUNNING
        self.h2.libvirt.domains.clear()
        self.said(self.h2, 'no_domain', migration)
        self.later(observe.KEPT_GRACE, self.h1)
        self.assert_held_by(self.h1)

    def test_guest_died_on_the_source(self) -> None:
        """P4: S's cleanup runs, and nothing is erased by it."""
        migration = self.moving()
        self.h1.libvirt.domains.clear()
        self.h1.client.call('close', instance=self.instance)
        self.h1.settle()
        self.assertEqual('moving', self.h1.state(self.instance))
        self.h2.libvirt.domains.clear()
        self.said(self.h2, 'no_domain', migration)
        self.assertEqual(migration, self.ledger()['pending'])
        self.later(observe.ENDED_GRACE, self.h1)
        self.assert_held_by(self.h1)

    def test_no_domain_waits_for_the_domain_to_go(self) -> None:
        migration = self.moving()
        self.assertEqual(
            libvirt_secret.INCOMING,
            self.h2.libvirt.domains[self.instance],
        )
        self.said(self.h2, 'no_domain', migration)
        self.assertEqual(migration, self.ledger()['pending'])
        self.assertEqual('relinquished', self.h2.state(self.instance))
        self.h2.libvirt.domains.clear()
        self.later(observe.KEPT_GRACE, self.h1)
        self.assert_held_by(self.h1)

    def test_commit_beats_a_late_abort(self) -> None:
        """D gave up, but the decision was the other one: the key lives."""
        migration = self.moving()
        self.stream(self.h1, self.h2)
        self.said(self.h1, 'stream_completed', migration)
        self.h2.libvirt.domains.clear()
        self.said(self.h2, 'no_domain', migration)
        self.assert_held_by(self.h2)

    def test_libvirt_down(self) -> None:
        migration = self.nova_migrates(self.h1, self.h2)
        self.h2.libvirt.down = True
        self.refused(
            _R.LIBVIRT_UNAVAILABLE,
            self.receive,
            self.h1,
            self.h2,
            migration,
        )
        self.h2.settle()
        self.assertEqual('relinquished', self.h2.state(self.instance))
        self.h2.libvirt.down = False
        self.assert_held_by(self.h1)

    def test_tpm_down(self) -> None:
        self.h1.libvirt.secrets.clear()
        self.h1.hardware.kill()
        self.assert_pending(self.h1, _R.TPM_UNAVAILABLE)
        self.h1.hardware.start()
        self.h1.boot()
        self.open(self.h1)


class LifeTest(RecoveryCase):
    def test_reboot_attests_by_itself(self) -> None:
        before = self.h1.client.call('status')
        self.assertEqual('affirming', before['tier'])
        self.h1.reboot()
        after = self.h1.client.call('attest')
        self.assertEqual('affirming', after['tier'])
        self.open(self.h1)

    def test_runtime_tampering(self) -> None:
        """T17, T27: rubbish in PCR 10 ends approvals."""
        self.h1.hardware.extend(10, b'rubbish')
        self.h1.libvirt.secrets.clear()
        self.assert_pending(self.h1, _R.HOST_UNTRUSTED)
        self.assertEqual('none', self.h1.client.call('status')['tier'])
        self.refused(_R.HOST_UNTRUSTED, self.h1.client.call, 'attest')
        status = self.h1.client.call('status')
        self.assertEqual('contraindicated', status['tier'])
        self.assertEqual(['IMA_LOG_REPLAY'], status['reasons'])
        self.h1.reboot()
        self.open(self.h1)

    def test_reports_what_it_knows(self) -> None:
        self.migrate(self.h1, self.h2)
        row = self.ledger()
        record = self.h2.agent.vault.current(self.instance)
        assert record is not None
        expected = [self.instance, row['version'], row['head']]
        for machine, kid in ((self.h1, ''), (self.h2, record.kid)):
            report = machine.agent.reports.page().to_json()
            self.assertEqual([[*expected, kid]], report['known'])
            machine.restart_agent()
            report = machine.agent.reports.page().to_json()
            self.assertEqual([[*expected, kid]], report['known'])
            self.assertEqual(1, machine.client.call('status')['documents'])
            machine.agent.attestation.step()

    def test_seal_is_idempotent(self) -> None:
        self.create(self.h1)
        self.assertEqual(1, self.ledger()['epoch'])

    def test_claim_whose_answer_was_lost(self) -> None:
        self.instance = '6b6f726f-7261-4000-8000-000000000003'
        client = self.h1.agent.attester.client
        genuine = client.evidence

        def lost(host: str, message: dict[str, Any]) -> dict[str, Any]:
            genuine(host, message)
            raise errors.Unavailable(_R.SERVICE_UNAVAILABLE)

        with mock.patch.object(client, 'evidence', lost):
            self.refused(_R.SERVICE_UNAVAILABLE, self.create, self.h1)
        self.h1.restart_agent()
        self.create(self.h1)
        self.assertEqual(1, self.ledger()['epoch'])

    def test_claim_whose_answer_was_not_believed(self) -> None:
        self.instance = '6b6f726f-7261-4000-8000-000000000003'
        with mock.patch('korora_nova.attester.attest.time') as wrong:
            wrong.time.return_value = time.time() + 3600
            self.refused(_R.RESULT_EXPIRED, self.create, self.h1)
        self.assertEqual('h1', self.ledger()['holder'])
        self.create(self.h1)
        self.assertEqual(1, self.ledger()['epoch'])

    def test_claim_of_a_server_held_elsewhere(self) -> None:
        self.refused(_R.LEDGER_CONFLICT, self.create, self.h2)
        self.assertEqual('none', self.h2.state(self.instance))
        # a lost vault is not a first start either
        self.h1.record_path(self.instance).unlink()
        self.refused(_R.LEDGER_CONFLICT, self.create, self.h1)

    def test_forget(self) -> None:
        self.h1.libvirt.domains.clear()
        answer = self.h1.client.call('forget', instance=self.instance)
        self.assertTrue(answer['queued'])
        self.assertEqual({}, self.h1.libvirt.secrets)
        self.service_down()
        self.assert_pending(self.h1, _R.SERVICE_UNAVAILABLE)
        self.service_down(False)
        self.h1.settle()
        self.assertEqual('none', self.h1.state(self.instance))
        self.assertIsNone(self.ledger()['holder'])
        self.create(self.h2)
        self.assertEqual(3, self.ledger()['epoch'])

    def test_forget_while_moving(self) -> None:
        migration = self.moving()
        self.h1.libvirt.domains.clear()
        self.h1.client.call('forget', instance=self.instance)
        self.h1.settle()
        self.assertEqual('moving', self.h1.state(self.instance))
        self.h2.libvirt.domains.clear()
        self.said(self.h2, 'no_domain', migration)
        self.h1.settle()
        self.h1.settle()
        self.assertEqual('none', self.h1.state(self.instance))
        self.assertIsNone(self.ledger()['holder'])

    def test_worker_and_wait(self) -> None:
        """With its threads an agent settles while the driver waits."""
        migration = self.moving()
        self.h1.agent.settler.start()
        self.h2.agent.settler.start()
        self.addCleanup(self.h1.agent.settler.stop)
        self.addCleanup(self.h2.agent.settler.stop)
        self.stream(self.h1, self.h2)
        answer = self.h1.client.call(
            'stream_completed',
            instance=self.instance,
            migration=migration,
            wait=20,
        )
        self.assertEqual('committed', answer['outcome'])
        self.assertEqual('none', self.h1.state(self.instance))
        answer = self.h2.client.call(
            'activated',
            instance=self.instance,
            migration=migration,
            wait=20,
        )
        self.assertEqual('committed', answer['outcome'])
        self.assertEqual('held', self.h2.state(self.instance))

    def test_another_migration_after_a_crash_of_nova(self) -> None:
        """T49: nova-compute of S dies; the next migration need not wait."""
        self.begun()
        migration = self.nova_migrates(self.h1, self.h2)
        self.assertEqual('held', self.h1.state(self.instance))
        self.h2.libvirt.domains.clear()
        self.receive(self.h1, self.h2, migration)
        self.start(self.h1, self.h2, migration)
        self.stream(self.h1, self.h2)
        self.said(self.h1, 'stream_completed', migration)
        self.said(self.h2, 'activated', migration)
        self.assert_held_by(self.h2)

    def test_protection(self) -> None:
        call = self.h1.client.call
        answer = call('protection', instance=self.instance)
        self.assertEqual(('held', 1), (answer['state'], answer['epoch']))
        self.assertEqual('h1', answer['ledger']['holder'])
        answer = self.h2.client.call('protection', instance=self.instance)
        self.assertEqual('none', answer['state'])
        self.assertEqual('h1', answer['ledger']['holder'])
        unknown = '6b6f726f-7261-4000-8000-000000000004'
        answer = call('protection', instance=unknown)
        self.assertEqual(
            (None, True), (answer['ledger'], answer['ledger_known'])
        )
        self.service_down()
        answer = call('protection', instance=self.instance)
        self.assertEqual(
            ('held', False), (answer['state'], answer['ledger_known'])
        )
        self.service_down(False)
        answer = call('protection', instance=self.instance, ledger=False)
        self.assertFalse(answer['ledger_known'])

    def test_verdict(self) -> None:
        self.assertEqual(
            'affirming', self.h1.client.call('verdict', host='h2')['tier']
        )
        self.refused(
            _R.HOST_UNKNOWN,
            self.h1.client.call,
            'verdict',
            host='h9',
        )
