# SPDX-License-Identifier: Apache-2.0
"""A hand-over between two agents that goes well."""

from __future__ import annotations

import dataclasses
from typing import Any
from unittest import mock

import sqlalchemy as sa

from korora_nova import errors
from korora_nova.attester import attest, boot
from korora_nova.attester.agent import Agent
from korora_nova.custody import operations
from korora_nova.custody.words import ChallengeClass
from korora_nova.verifier import attest as service_attest
from korora_nova.verifier import purposes
from korora_nova.verifier.db import models
from tests.support import custodian, hosts

_R = errors.Reason


class HandoverTest(hosts.HostsTestCase):
    def setUp(self) -> None:
        super().setUp()
        # A machine that is busy must not make challenges old
        patch = mock.patch.object(attest, 'YOUNG', 120.0)
        patch.start()
        self.addCleanup(patch.stop)

    def test_there_and_back(self) -> None:
        self.create(self.h1)
        self.assertEqual('held', self.h1.state(self.instance))
        migration = self.migrate(self.h1, self.h2)
        self.assertEqual('none', self.h1.state(self.instance))
        self.assertEqual('held', self.h2.state(self.instance))
        self.assertEqual({}, self.h1.libvirt.secrets)
        row = self.ledger()
        self.assertEqual(
            ('h2', 2, None), (row['holder'], row['epoch'], row['pending'])
        )
        status = self.admin.get_migration(migration)
        self.assertEqual('committed', status['status'])
        self.open(self.h2)

        self.migrate(self.h2, self.h1)
        self.assertEqual('none', self.h2.state(self.instance))
        self.assertEqual(5, self.ledger()['epoch'])
        self.open(self.h1)
        self.refused(
            errors.Reason.VAULT_MISSING,
            self.h2.client.call,
            'open',
            instance=self.instance,
        )

    def test_costs_few_tpm_commands(self) -> None:
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        counts = [
            machine.agent.attester.tpm.count.total()
            for machine in (self.h1, self.h2)
        ]
        answer = self.receive(self.h1, self.h2, migration)
        self.assertEqual(21, answer['tpm_commands'])
        self.assertEqual(16, self.last(self.h1)['tpm_commands'])
        self.start(self.h1, self.h2, migration)
        source, dest = self.last(self.h1), self.last(self.h2)
        self.assertEqual(
            ('source', 17), (source['role'], source['tpm_commands'])
        )
        self.assertEqual(
            ('destination', 21), (dest['role'], dest['tpm_commands'])
        )
        spent = [
            machine.agent.attester.tpm.count.total() - before
            for machine, before in zip((self.h1, self.h2), counts, strict=True)
        ]
        self.assertEqual([17, 21], spent)
        self.assertLessEqual(sum(spent), 39)
        self.assertEqual(0, self.h1.hardware.transient_objects())
        self.assertEqual(0, self.h2.hardware.transient_objects())

    def last(self, machine: hosts.Machine) -> dict[str, Any]:
        return machine.client.call('status')['last_handover']

    def asked(self, machine: hosts.Machine) -> list[str]:
        """What a host asks the service for from now on."""
        client, asked = machine.agent.attester.client, []
        challenge, evidence = client.challenge, client.evidence

        def new(host: str, kind: str) -> Any:
            asked.append('challenge')
            return challenge(host, kind)

        def say(host: str, message: dict[str, Any], *more: str) -> Any:
            asked.append(message['purpose'])
            return evidence(host, message, *more)

        client.challenge, client.evidence = new, say
        return asked

    def test_overtaken_by_other_evidence(self) -> None:
        """As where several servers come to a host at once."""
        self.create(self.h1)
        real = service_attest._check_overtaken
        refusals = iter((True, True, True))

        def check(row: Any, quote: Any) -> None:
            if next(refusals, False):
                raise errors.Retry()
            real(row, quote)

        with mock.patch.object(service_attest, '_check_overtaken', check):
            self.migrate(self.h1, self.h2)
        self.assertIsNone(next(refusals, None))
        self.assertEqual('held', self.h2.state(self.instance))

    def test_asks_for_no_challenge_twice(self) -> None:
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        source, dest = self.asked(self.h1), self.asked(self.h2)
        self.drop_spares()
        self.receive(self.h1, self.h2, migration)
        self.start(self.h1, self.h2, migration)
        self.assertEqual(['challenge', 'receive', 'sealed'], dest)
        self.assertEqual(['challenge', 'send', 'start'], source)

    def drop_spares(self) -> None:
        for machine in (self.h1, self.h2):
            machine.agent.attester.spare()

    def test_challenge_of_the_last_report_will_do(self) -> None:
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        self.attest_again()
        source, dest = self.asked(self.h1), self.asked(self.h2)
        self.receive(self.h1, self.h2, migration)
        self.start(self.h1, self.h2, migration)
        self.assertEqual(['receive', 'sealed'], dest)
        self.assertEqual(['send', 'start'], source)
        # The next report has to ask for one, and that is not news
        del dest[:]
        self.h2.agent.attestation.step()
        self.assertEqual(['challenge', 'attest'], dest)

    def attest_again(self) -> None:
        for machine in (self.h1, self.h2):
            machine.agent.attestation.step()

    def test_challenge_of_an_old_report_will_not(self) -> None:
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        self.attest_again()
        source, dest = self.asked(self.h1), self.asked(self.h2)
        later = boot.now() + attest.YOUNG + 1
        with mock.patch.object(boot, 'now', lambda: later):
            self.receive(self.h1, self.h2, migration)
        self.assertEqual(['challenge', 'receive', 'sealed'], dest)
        self.assertEqual(['challenge', 'send'], source)

    def test_service_of_an_older_release(self) -> None:
        """It wants a challenge of its own for either."""
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        self.attest_again()
        source, dest = self.asked(self.h1), self.asked(self.h2)
        once = frozenset((ChallengeClass.ON_DEMAND,))
        old = {
            name: dataclasses.replace(purposes.PURPOSES[name], classes=once)
            for name in ('receive', 'send')
        }
        with mock.patch.dict(purposes.PURPOSES, old):
            self.receive(self.h1, self.h2, migration)
        self.assertEqual(['receive', 'challenge', 'receive', 'sealed'], dest)
        self.assertEqual(['send', 'challenge', 'send'], source)

    def test_permit_counts_the_age_of_such_a_challenge(self) -> None:
        """An agent that keeps one gets no permit for old evidence."""
        self.create(self.h1)
        for machine in (self.h1, self.h2):
            migration = self.nova_migrates(self.h1, self.h2)
            self.attest_again()
            kept = machine.agent.attester.spare()
            assert kept is not None
            with self.korora.service.db.write() as session:
                session.execute(
                    sa.update(models.Challenge)
                    .where(models.Challenge.challenge == kept.value.hex())
                    .values(issued=models.Challenge.issued - 31)
                )
            with mock.patch.object(
                machine.agent.attester, 'spare', lambda *_, kept=kept: kept
            ):
                self.refused(
                    _R.RESULT_EXPIRED,
                    self.receive,
                    self.h1,
                    self.h2,
                    migration,
                )
            self.h1.settle()
            self.h2.settle()
            self.assertEqual('held', self.h1.state(self.instance))

    # Evidence of a moment ago begins a migration, and does not end it

    def test_young_evidence_begins_a_migration(self) -> None:
        self.create(self.h1)
        self.attest_again()
        for machine in (self.h1, self.h2):
            asked = self.asked(machine)
            machine.client.attest(30)
            self.assertEqual([], asked)
            machine.client.attest()
            self.assertEqual(['challenge', 'attest'], asked)

    def test_host_that_turned_bad_is_refused_at_the_hand_over(self) -> None:
        self.create(self.h1)
        for machine in (self.h2, self.h1):
            self.attest_again()
            machine.hardware.extend(10, b'rubbish')
            for one in (self.h1, self.h2):
                self.assertEqual('affirming', one.client.attest(30).tier)
            migration = self.nova_migrates(self.h1, self.h2)
            self.refused(
                _R.HOST_UNTRUSTED, self.receive, self.h1, self.h2, migration
            )
            self.assertEqual('held', self.h1.state(self.instance))
            self.assertNotIn(self.instance, self.h2.libvirt.secrets)
            self.assertEqual('h1', self.ledger()['holder'])
            # It is known from there on
            self.refused(_R.HOST_UNTRUSTED, machine.client.attest, 30)
            machine.reboot()
            self.h2.settle()

    def test_pcrs_that_moved_are_read_anew(self) -> None:
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        self.h1.run_file('/usr/bin/swtpm')
        self.start(self.h1, self.h2, migration)
        self.assertEqual(19, self.last(self.h1)['tpm_commands'])

    def test_challenge_that_became_too_old(self) -> None:
        """By this host's clock: it is not even tried."""
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        asked = self.asked(self.h1)
        later = boot.now() + 1000
        with mock.patch.object(boot, 'now', return_value=later):
            self.start(self.h1, self.h2, migration)
        self.assertEqual(['challenge', 'start'], asked)

    def test_challenge_that_is_refused(self) -> None:
        self.create(self.h1)
        for reason in (
            _R.CHALLENGE_EXPIRED,
            _R.CHALLENGE_UNKNOWN,
            _R.CHALLENGE_USED,
        ):
            migration = self.nova_migrates(self.h1, self.h2)
            self.receive(self.h1, self.h2, migration)
            client = self.h1.agent.attester.client
            genuine, refused = client.evidence, [reason]

            def evidence(
                host: str,
                message: dict[str, Any],
                genuine: Any = genuine,
                refused: list[str] = refused,
            ) -> Any:
                if refused:
                    raise errors.EvidenceError(refused.pop())
                return genuine(host, message)

            with mock.patch.object(client, 'evidence', evidence):
                self.start(self.h1, self.h2, migration)
            self.assertEqual('moving', self.h1.state(self.instance))
            self.h2.libvirt.domains.clear()
            self.said(self.h2, 'no_domain', migration)
            self.h1.agent.settler.resolve(self.instance)
            self.open(self.h1)


class AddressTest(hosts.HostsTestCase):
    def test_an_address_that_is_not_the_agents_is_named(self) -> None:
        """Before anything is touched, and so that one can mend it."""
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        self.h2.agent.destination._address = 'h2'
        wanted = (
            '192.0.2.2 ([libvirt] live_migration_inbound_addr',
            'h2 ([attester] address',
        )
        for call in (
            lambda: self.receive(self.h1, self.h2, migration),
            lambda: self.h2.client.call('check_address', address='192.0.2.2'),
        ):
            error = self.assertRaises(errors.CustodyError, call)
            self.assertEqual(errors.Reason.ADDRESS_MISMATCH, error.reason)
            for part in wanted:
                self.assertIn(part, error.message)
            self.assertEqual('none', self.h2.state(self.instance))
            self.assertEqual('held', self.h1.state(self.instance))
        self.h2.agent.destination._address = '192.0.2.2'
        self.receive(self.h1, self.h2, migration)

    def test_the_default_is_the_hosts_name(self) -> None:
        conf = self.h1._conf()
        conf.clear_override('address', 'attester')
        agent = Agent(
            conf,
            self.h1.agent.attester.client,
            self.h1.libvirt,
            custodian.shared(),
        )
        check = agent.operations()['check_address']
        check(operations.CheckAddress('h1'))
        self.assertRaises(
            errors.CustodyError, check, operations.CheckAddress('192.0.2.1')
        )
