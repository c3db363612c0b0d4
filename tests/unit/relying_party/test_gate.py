# SPDX-License-Identifier: Apache-2.0
"""The driver's decisions, on simulated agents."""

from unittest import mock

import testtools

from korora_nova import errors, secret
from korora_nova.relying_party import gate, requirement
from tests.support import fakes

UUID = '6d3cbd36-8a05-4a2c-b6e3-f2e3ec4f5c11'
SECRET = '0e8a4a5c-1111-4222-8333-94c3a7b1d0aa'
PLAIN = requirement.Requirement()
TRUSTED = requirement.Requirement(trusted=True)
USER_VTPM = requirement.Requirement(vtpm=True)
CUSTODY = requirement.Requirement(trusted=True, custody=True, vtpm=True)


class Base(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.cloud = fakes.Cloud()
        self.agent = self.cloud.agent('h1')
        self.waits = []
        self.time = 0.0
        self.gate = gate.Gate(
            self.connect,
            timeout=60,
            boot_wait=100,
            clock=lambda: self.time,
            sleep=self.pause,
        )

    def connect(self, timeout):
        self.waits.append(timeout)
        return self.agent

    def pause(self, seconds):
        self.time += seconds

    def standing(self, what, vtpm=False, ledger=False):
        return self.gate.standing(gate.Server(UUID, what, vtpm), ledger=ledger)

    def hold(self, state='held'):
        self.agent.call(
            'seal', instance=UUID, secret_uuid=SECRET, passphrase='cGFzcw=='
        )
        self.agent.vault[UUID]['state'] = state
        self.agent.calls.clear()

    def refused(self, reason, function, *args, **kwargs):
        error = self.assertRaises(
            errors.KororaError, function, *args, **kwargs
        )
        self.assertEqual(reason, error.reason)
        return error


class TestStanding(Base):
    def test_plain_asks_the_vault_only(self):
        standing = self.standing(PLAIN)
        self.assertFalse(standing.gated)
        self.assertEqual(
            [('protection', {'instance': UUID, 'ledger': False})],
            self.agent.calls,
        )
        self.assertEqual([gate.QUICK], self.waits)

    def test_plain_with_dead_agent_is_plain(self):
        self.agent.alive = False
        self.assertFalse(self.standing(PLAIN).gated)

    def test_plain_with_angry_agent_is_plain(self):
        self.agent.fail['protection'] = errors.Forbidden('PEER_DENIED')
        self.assertFalse(self.standing(PLAIN).gated)

    def test_vault_overrides_a_stripped_flavor(self):
        for state in (
            'held',
            'outgoing',
            'moving',
            'incoming',
            'relinquished',
        ):
            self.agent.vault.clear()
            self.cloud.ledger.clear()
            self.hold(state)
            for what in (PLAIN, TRUSTED, USER_VTPM):
                standing = self.standing(what)
                self.assertTrue(standing.custody, (state, what))
                self.assertEqual(state, standing.state)

    def test_ledger_overrides_a_lowered_vtpm(self):
        self.cloud.ledger[UUID] = {'holder': 'h2', 'epoch': 3, 'pending': None}
        self.assertTrue(self.standing(USER_VTPM).custody)
        self.assertTrue(self.standing(PLAIN, vtpm=True).custody)

    def test_user_vtpm_nobody_protects_is_stock(self):
        self.assertFalse(self.standing(USER_VTPM).gated)

    def test_possible_custody_is_refused_with_dead_agent(self):
        self.agent.alive = False
        for what, vtpm in ((CUSTODY, False), (PLAIN, True)):
            self.refused('AGENT_UNAVAILABLE', self.standing, what, vtpm)

    def test_possible_custody_is_refused_without_ledger(self):
        self.cloud.up = False
        self.refused('SERVICE_UNAVAILABLE', self.standing, PLAIN, vtpm=True)

    def test_user_vtpm_is_stock_whatever_is_down(self):
        """I9; what the host remembers of it is another's to ask."""
        for alive, up in ((True, False), (False, True), (False, False)):
            self.agent.alive, self.cloud.up = alive, up
            for ledger in (False, True):
                standing = self.standing(USER_VTPM, ledger=ledger)
                self.assertEqual(
                    (False, 'unknown'), (standing.gated, standing.state)
                )

    def test_user_vtpm_does_not_wait_for_the_service(self):
        self.standing(USER_VTPM, ledger=True)
        self.assertEqual([gate.QUICK, gate.QUICK], self.waits)

    def test_user_vtpm_with_a_requirement_needs_a_trusted_host(self):
        what = requirement.Requirement(trusted=True, vtpm=True)
        self.agent.alive = self.cloud.up = False
        self.refused('AGENT_UNAVAILABLE', self.gate.begin, self.standing(what))

    def test_start_is_refused_without_ledger(self):
        self.cloud.up = False
        self.refused(
            'SERVICE_UNAVAILABLE', self.standing, CUSTODY, ledger=True
        )

    def test_custody_by_flavor_asks_no_ledger(self):
        """A hand-over's checks cost one question to the vault."""
        self.assertTrue(self.standing(CUSTODY).custody)
        self.assertEqual(1, len(self.agent.calls))

    def test_held_key_needs_no_ledger(self):
        self.hold()
        self.cloud.up = False
        self.assertTrue(self.standing(USER_VTPM).custody)

    def test_a_refusal_of_the_agent_is_infrastructure(self):
        self.agent.fail['protection'] = errors.Forbidden('PEER_DENIED')
        error = self.assertRaises(errors.Unavailable, self.standing, CUSTODY)
        self.assertEqual('AGENT_UNAVAILABLE', error.reason)


class TestAdmit(Base):
    def test_plain_never_asks(self):
        self.cloud.untrusted.add('h1')
        self.gate.obstacle = errors.Unavailable('NOVA_DRIFT')
        self.gate.admit(self.standing(PLAIN))
        self.gate.admit_peer(self.standing(PLAIN), 'h1')
        self.assertEqual([], self.agent.ops())

    def test_trusted_host(self):
        self.gate.admit(self.standing(TRUSTED))
        self.gate.admit(self.standing(CUSTODY))
        self.assertEqual(['attest', 'attest'], self.agent.ops())

    def test_young_evidence_is_for_keys_only(self):
        """Nothing later would take new evidence for any other server."""
        self.gate.admit(self.standing(CUSTODY), gate.YOUNG)
        self.gate.admit(self.standing(CUSTODY))
        self.gate.admit(self.standing(TRUSTED), gate.YOUNG)
        self.assertEqual(
            [{'max_age': 30.0}, {}, {}],
            [said for op, said in self.agent.calls if op == 'attest'],
        )

    def test_agent_of_an_older_release_takes_new_evidence(self):
        answer = self.agent.call
        said = []

        def old(op, **fields):
            said.append(fields)
            if 'max_age' in fields:
                raise errors.Invalid('INVALID_REQUEST')
            return answer(op, **fields)

        standing = self.standing(CUSTODY)
        with mock.patch.object(self.agent, 'call', old):
            self.gate.admit(standing, gate.YOUNG)
        self.assertEqual([{'max_age': 30.0}, {}], said)

    def test_untrusted_host(self):
        self.cloud.untrusted.add('h1')
        for what in (TRUSTED, CUSTODY):
            self.refused(
                'HOST_UNTRUSTED', self.gate.admit, self.standing(what)
            )

    def test_service_down(self):
        self.cloud.up = False
        self.refused(
            'SERVICE_UNAVAILABLE', self.gate.admit, self.standing(TRUSTED)
        )

    def test_dead_agent(self):
        self.agent.alive = False
        self.refused(
            'AGENT_UNAVAILABLE', self.gate.admit, self.standing(TRUSTED)
        )

    def test_peer(self):
        self.cloud.untrusted.add('h3')
        self.gate.admit_peer(self.standing(TRUSTED), 'h2')
        self.refused(
            'HOST_UNTRUSTED',
            self.gate.admit_peer,
            self.standing(TRUSTED),
            'h3',
        )

    def test_obstacle_refuses_all_with_a_requirement(self):
        self.gate.obstacle = errors.Unavailable('NOVA_DRIFT')
        for what in (TRUSTED, CUSTODY):
            standing = self.standing(what)
            self.refused('NOVA_DRIFT', self.gate.admit, standing)
            self.refused('NOVA_DRIFT', self.gate.admit_peer, standing, 'h2')
            self.refused('NOVA_DRIFT', self.gate.begin, standing)
        self.assertEqual([], self.agent.ops())

    def test_budget_shortens_the_wait_only(self):
        self.gate.agent(7)
        self.gate.agent(700)
        self.assertEqual([7, 60], self.waits)


class TestBegin(Base):
    def test_plain(self):
        ticket = self.gate.begin(self.standing(PLAIN))
        self.gate.close(ticket)
        self.assertEqual([], self.agent.ops())

    def test_trusted_attests(self):
        self.gate.begin(self.standing(TRUSTED))
        self.assertEqual(['attest'], self.agent.ops())

    def test_trusted_with_unknown_vault_attests(self):
        self.agent.alive = False
        standing = self.standing(TRUSTED)
        self.agent.alive = True
        self.gate.begin(standing)
        self.assertEqual(['attest'], self.agent.ops())

    def test_held_key_is_opened_and_closed(self):
        self.hold()
        ticket = self.gate.begin(self.standing(PLAIN))
        self.assertEqual(SECRET, ticket.secret_uuid)
        self.assertEqual({UUID}, self.agent.opened)
        self.gate.close(ticket)
        self.gate.close(ticket)
        self.assertEqual(['open', 'close'], self.agent.ops())

    def test_held_key_on_untrusted_host(self):
        """T18: force, or nova:HOST, bypasses the scheduler."""
        self.hold()
        self.cloud.untrusted.add('h1')
        self.refused('HOST_UNTRUSTED', self.gate.begin, self.standing(CUSTODY))

    def test_pending_hand_over(self):
        self.hold('moving')
        self.cloud.ledger[UUID]['pending'] = 'm'
        self.refused('CUSTODY_PENDING', self.gate.begin, self.standing(PLAIN))

    def test_key_that_nobody_holds_any_more(self):
        # A first start failed on another host, or a ledger was recovered.
        self.cloud.ledger[UUID] = {'holder': None, 'epoch': 1, 'pending': None}
        for what in (CUSTODY, USER_VTPM):
            standing = self.standing(what, vtpm=True, ledger=True)
            self.assertTrue(standing.custody)
            ticket = self.gate.begin(standing)
            self.assertIsNone(ticket.secret_uuid)
        self.assertEqual('attest', self.agent.calls[-1][0])

    def test_key_is_elsewhere(self):
        self.cloud.ledger[UUID] = {'holder': 'h2', 'epoch': 1, 'pending': None}
        self.refused(
            'VAULT_MISSING',
            self.gate.begin,
            self.standing(CUSTODY, ledger=True),
        )
        self.assertEqual([], self.agent.ops())

    def test_first_start(self):
        ticket = self.gate.begin(self.standing(CUSTODY))
        self.assertIsNone(ticket.secret_uuid)
        self.gate.first_key(ticket, SECRET, secret.Secret(b'canary' * 9))
        self.assertTrue(ticket.claimed)
        self.assertEqual(SECRET, ticket.secret_uuid)
        self.assertEqual(b'canary' * 9, self.agent.vault[UUID]['value'])
        self.assertEqual(['attest', 'seal', 'open'], self.agent.ops())

    def test_a_failed_attempt_may_have_claimed(self):
        for op in ('seal', 'open'):
            ticket = self.gate.begin(self.standing(CUSTODY))
            self.assertFalse(ticket.claimed)
            self.agent.fail = {op: errors.Unavailable('TPM_UNAVAILABLE')}
            self.refused(
                'TPM_UNAVAILABLE',
                self.gate.first_key,
                ticket,
                SECRET,
                secret.Secret(b'x'),
            )
            self.assertTrue(ticket.claimed)
            self.assertIsNone(ticket.secret_uuid)


class TestLaunch(Base):
    def setUp(self):
        super().setUp()
        self.hold()
        self.ticket = self.gate.begin(self.standing(PLAIN))

    def launched(self):
        return [op for op, _ in self.agent.calls].count('launch')

    def test_asks(self):
        self.gate.launch(self.ticket)
        self.assertEqual([UUID], self.agent.launched)

    def test_refused(self):
        for error in (
            errors.CustodyError('VTPM_STATE_CHANGED'),
            errors.Unavailable('VTPM_STATE_UNREADABLE'),
            errors.Unavailable('INTERNAL'),
            errors.Invalid('INVALID_REQUEST'),
        ):
            self.agent.calls.clear()
            self.agent.fail['launch'] = error
            self.refused(error.reason, self.gate.launch, self.ticket)
            self.assertEqual(1, self.launched())

    def test_agent_that_just_starts_again(self):
        """Nova has destroyed the guest: not for so little."""
        self.agent.fail['launch'] = errors.Unavailable('AGENT_UNAVAILABLE')
        self.refused('AGENT_UNAVAILABLE', self.gate.launch, self.ticket)
        self.assertEqual(
            (gate.LAUNCHES, (gate.LAUNCHES - 1) * gate.LAUNCH_AGAIN),
            (self.launched(), self.time),
        )
        pause = self.gate._sleep

        def restart(seconds):
            del self.agent.fail['launch']
            pause(seconds)

        self.gate._sleep = restart
        self.gate.launch(self.ticket)
        self.assertEqual([UUID], self.agent.launched)


class TestMoves(Base):
    def test_secret_in_migrate_data(self):
        def check(what, has_secret, protect):
            self.gate.check_migrate_data(
                self.standing(what),
                has_secret=has_secret,
                protect_vtpm=protect,
            )

        check(CUSTODY, False, True)
        check(USER_VTPM, True, False)
        for what, protect in (
            (CUSTODY, False),
            (CUSTODY, True),
            (USER_VTPM, True),
            (PLAIN, True),
        ):
            self.refused('SECRET_IN_MIGRATE_DATA', check, what, True, protect)


class TestBootWait(Base):
    def setUp(self):
        super().setUp()
        self.gate.boot()

    def test_no_wait_before_and_long_after(self):
        self.agent.alive = False
        another = gate.Gate(
            self.connect,
            timeout=60,
            boot_wait=100,
            clock=lambda: self.time,
            sleep=self.pause,
        )
        another.wait_for_trust()
        self.assertEqual(0.0, self.time)
        self.time = 5000.0
        self.gate.wait_for_trust()
        self.assertEqual(5000.0, self.time)

    def test_waits_until_the_agent_answers(self):
        self.agent.fail['attest'] = errors.Unavailable('AGENT_UNAVAILABLE')

        def pause(seconds):
            self.time += seconds
            if self.time >= 5:
                self.agent.fail.clear()

        self.gate._sleep = pause
        self.gate.wait_for_trust()
        self.assertEqual(5.0, self.time)

    def test_bounded_and_once(self):
        self.agent.alive = False
        self.gate.wait_for_trust()
        self.assertEqual(100.0, self.time)
        self.gate.wait_for_trust()
        self.assertEqual(100.0, self.time)

    def test_an_untrusted_host_is_an_answer(self):
        self.cloud.untrusted.add('h1')
        self.gate.wait_for_trust()
        self.assertEqual(0.0, self.time)
