# SPDX-License-Identifier: Apache-2.0
"""What vault, Nova and libvirt of one host say of the same servers."""

import threading
import uuid

import fixtures
from nova.compute import vm_states

from korora_nova import errors
from korora_nova.relying_party import reconcile
from tests.unit.relying_party import compute


class Base(compute.Base):
    def setUp(self):
        super().setUp()
        self.reconciler = self.h1.reconciler
        self.clock = 0.0
        self.reconciler._clock = self.tick

    def tick(self):
        self.clock += 1
        return self.clock

    def key(self, state='held', **fields):
        """A key of this host, and Nova's record of its server."""
        instance = compute.Instance(
            compute.VTPM, uuid=str(uuid.uuid4()), **fields
        )
        self.h1.agent.vault[instance.uuid] = {
            'state': state,
            'secret_uuid': compute.SECRET,
            'value': b'canary',
        }
        self.cloud.ledger[instance.uuid] = {
            'holder': 'h1',
            'epoch': 1,
            'pending': None,
        }
        self.h1.instances[instance.uuid] = instance
        return instance

    def round(self):
        done = self.reconciler.step()
        ops = self.h1.agent.ops()
        self.h1.agent.calls.clear()
        return done, ops

    def assert_nothing_done(self):
        self.assertEqual((True, []), self.round())

    def assert_told_once(self, text):
        self.assert_nothing_done()
        self.assertIn(text, self.log.output)
        self.log = self.useFixture(fixtures.FakeLogger())
        self.assert_nothing_done()
        self.assertEqual('', self.log.output)


class TestKeys(Base):
    def test_all_is_well(self):
        self.key()
        self.assert_nothing_done()
        self.assertEqual('', self.log.output)

    def test_deleted(self):
        """H4c: while the agent was down, by force or during the build."""
        instance = self.key(deleted=True)
        self.h1.servers.remember([instance.uuid])
        self.assertEqual((True, ['forget']), self.round())
        self.assertEqual({}, self.h1.agent.vault)
        self.assertNotIn(instance.uuid, self.h1.servers._protected)
        self.assertIn('Forgot the key', self.log.output)
        self.assert_nothing_done()

    def test_deleted_elsewhere(self):
        """Nova's last word on the host does not matter then."""
        self.key(deleted=True, host=None)
        self.assertEqual((True, ['forget']), self.round())

    def test_deleted_but_running(self):
        """Nova ends such a guest itself, or an operator does."""
        self.key(deleted=True)
        self.h1.libvirt.alive = True
        self.assert_nothing_done()
        self.h1.libvirt.alive = False
        self.assertEqual((True, ['forget']), self.round())

    def test_soft_deleted(self):
        self.key(vm_state=vm_states.SOFT_DELETED)
        self.assert_nothing_done()

    def test_under_way(self):
        """Whose key it is has to be decided first."""
        for state in ('receiving', 'claiming', 'new'):
            self.key(state, deleted=True)
            self.key(state, host='h2')
        self.assert_nothing_done()
        self.assertEqual([], self.h1.looked_up)
        for state in ('incoming', 'outgoing', 'starting', 'moving'):
            self.key(state, host='h2')
            self.key(state, task_state='migrating')
        self.assert_nothing_done()
        self.assertEqual('', self.log.output)

    def test_what_nova_does_not_know(self):
        """Archived, or in another cell: not known is not deleted."""
        instance = self.key()
        del self.h1.instances[instance.uuid]
        self.assert_told_once('which Nova does not know')

    def test_on_another_host(self):
        self.key(host='h2')
        self.assert_told_once('which Nova has on host h2')

    def test_on_another_host_with_something_under_way(self):
        self.key(host='h2', task_state='migrating')
        self.h1.moving.add(self.key(host='h2').uuid)
        self.assert_nothing_done()
        self.assertEqual('', self.log.output)

    def test_told_again_when_it_changes(self):
        instance = self.key(host='h2')
        self.round()
        instance.host = 'h1'
        self.round()
        instance.host = 'h3'
        self.round()
        self.assertIn('host h3', self.log.output)

    def test_agent_that_does_not_forget(self):
        self.key(deleted=True)
        self.key(deleted=True)
        self.h1.agent.fail['forget'] = errors.CustodyError('VAULT_STATE')
        self.assertEqual((True, ['forget', 'forget']), self.round())
        self.assertEqual(2, self.log.output.count('VAULT_STATE'))
        self.h1.agent.fail.clear()
        self.assertEqual((True, ['forget', 'forget']), self.round())
        self.assertEqual({}, self.h1.agent.vault)


class TestServers(Base):
    """Servers here, without key here."""

    def setUp(self):
        super().setUp()
        self.h1.running = [self.instance]

    def hold(self, holder):
        self.cloud.ledger[compute.UUID] = {
            'holder': holder,
            'epoch': 1,
            'pending': None,
        }

    def test_held_by_another_host(self):
        self.hold('h2')
        self.assert_told_once('The ledger says that host h2 holds it')

    def test_lost_here(self):
        self.hold('h1')
        self.assert_told_once('The ledger says that host h1 holds it')

    def test_held_by_nobody(self):
        self.hold(None)
        self.assert_told_once('its next start reads')

    def test_never_in_custody(self):
        self.assert_nothing_done()
        self.assertEqual('', self.log.output)

    def test_who_needs_none(self):
        self.hold('h2')
        self.h1.libvirt.stock = (compute.SECRET, b'stock')
        self.assert_nothing_done()
        self.h1.libvirt.stock = None
        for instance in (
            compute.Instance(),
            compute.Instance(compute.VTPM, task_state='rebuilding'),
            compute.Instance(compute.VTPM, vm_state=vm_states.BUILDING),
            compute.Instance(
                {**compute.VTPM, 'korora:max_result_age': 'soon'}
            ),
        ):
            self.h1.running = [instance]
            self.assert_nothing_done()
        self.assertEqual('', self.log.output)

    def test_service_that_does_not_answer(self):
        self.cloud.up = False
        self.assertEqual((False, []), self.round())
        self.assertIn('SERVICE_UNAVAILABLE', self.log.output)


class TestRounds(Base):
    def test_bounded_and_fair(self):
        servers = {self.key().uuid for _ in range(25)}
        seen = []
        for _ in range(3):
            self.h1.looked_up = []
            self.assert_nothing_done()
            self.assertLessEqual(len(self.h1.looked_up), 10)
            seen += self.h1.looked_up
        self.assertEqual((30, servers), (len(seen), set(seen)))

    def test_database_that_does_not_answer(self):
        """It changes nothing, and is told once."""
        self.key(deleted=True)
        self.h1.fails = ConnectionError('no database')
        self.assertEqual((False, []), self.round())
        self.assertEqual((False, []), self.round())
        self.assertEqual(1, self.log.output.count('no database'))
        self.h1.fails = None
        self.assertEqual((True, ['forget']), self.round())

    def test_one_that_fails_keeps_nobody_waiting(self):
        for _ in range(3):
            self.key()
        self.h1.fails = ValueError('a bad record')
        for _ in range(3):
            self.round()
        self.assertEqual(3, len(set(self.h1.looked_up)))

    def test_dead_agent(self):
        self.h1.agent.alive = False
        self.assertFalse(self.reconciler.step())
        self.assertIn('AGENT_UNAVAILABLE', self.log.output)
        self.assertEqual([], self.h1.looked_up)

    def test_agent_that_dies(self):
        """What was deleted is looked at again in the next round."""
        self.key(deleted=True)
        self.h1.agent.fail['forget'] = errors.Unavailable('AGENT_UNAVAILABLE')
        self.assertEqual((False, ['forget']), self.round())
        self.h1.agent.fail.clear()
        self.assertEqual((True, ['forget']), self.round())

    def test_stopped_in_the_middle(self):
        self.key()
        self.reconciler.stop()
        self.assert_nothing_done()
        self.assertEqual([], self.h1.looked_up)

    def test_who_is_gone_is_forgotten_here_too(self):
        instance = self.key(host='h2')
        self.round()
        self.h1.agent.vault.pop(instance.uuid)
        self.round()
        self.assertEqual(
            ({}, {}), (self.reconciler._looked, self.reconciler._told)
        )

    def test_thread(self):
        rounds = threading.Semaphore(0)

        def step():
            rounds.release()
            return False

        self.reconciler.step = step
        self.reconciler.start()
        self.assertIsNone(self.reconciler._thread, 'turned off')
        self.h1.conf.korora.reconcile_interval = 0.01
        self.addCleanup(self.reconciler.stop)
        self.reconciler.start()
        thread = self.reconciler._thread
        self.reconciler.start()
        self.assertIs(thread, self.reconciler._thread)
        for _ in range(3):
            self.assertTrue(rounds.acquire(timeout=10))
        self.reconciler.stop()
        thread.join(10)
        self.assertFalse(thread.is_alive())

    def test_texts(self):
        for text in (
            reconcile.ABSENT,
            reconcile.ELSEWHERE,
            reconcile.KEYLESS,
            reconcile.NOBODYS,
            reconcile.REFUSED,
        ):
            self.assertNotIn('%', text % {'server': 'a', 'what': 'b'})
