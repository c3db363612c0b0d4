# SPDX-License-Identifier: Apache-2.0
"""Odd moments in a protected server's life; see tests/support/faults.py."""

import threading
import time
from unittest import mock

import fixtures
from nova import context as nova_context
from nova import exception, objects
from nova.compute import task_states
from nova.tests.fixtures import libvirt as fakelibvirt

from korora_nova import errors
from korora_nova.attester import socket_client
from korora_nova.relying_party import arrival
from korora_nova.relying_party import driver as korora_driver
from tests.functional.nova import base, patience, test_lifecycle

#: Of no server.
UNKNOWN = '5a3f0d52-4f0c-4d5b-9a39-0b1b2f9b7d10'
RESCUE_IMAGE = '155d900f-4e14-4e4c-a73d-069cbf4541e6'


class Base(test_lifecycle.Base):
    def settled(self, server):
        """The server, as soon as nothing is under way with it."""
        found = self._wait_for_server_parameter(
            server, {'OS-EXT-STS:task_state': None}, max_retries=30
        )
        # A build has no task before the first one.
        return self.settled(server) if found['status'] == 'BUILD' else found

    def power_fails(self, *servers):
        """All guests of h1 are off when it comes back."""
        for server in servers:
            domain = self.domain('h1', server)
            domain._state = fakelibvirt.VIR_DOMAIN_SHUTOFF
            self.connection('h1')._running_vms.pop(domain._id, None)
        self.flags(boot_wait=1, group='korora')
        self.h1.calls.clear()

    def assert_starts(self):
        """nova-compute of h1."""
        try:
            self.restart_compute_service('h1')
        except Exception as exc:  # noqa: BLE001 told by the failure
            self.fail(f'nova-compute does not start: {exc}')


class TestEnds(Base):
    """T48: deletes and restores at odd moments."""

    def assert_buried(self, server):
        """Soon after the delete, h1 has no key for it."""
        patience.until(
            lambda: server['id'] not in self.h1.vault, 'the key stays'
        )

    def soft_deleted(self):
        self.flags(reclaim_instance_interval=3600)
        server = self.protect()
        self.api.delete_server(server['id'])
        self._wait_for_state_change(server, 'SOFT_DELETED')
        self.assertIn(server['id'], self.h1.vault)
        return server

    def test_restored(self):
        """H1: a restored server had lost its key; mended."""
        server = self.soft_deleted()
        self.act(server, 'restore', {})
        self.settled(server)
        self.assertIn(server['id'], self.h1.vault, 'the key is gone')
        self.assertNotIn('forget', self.h1.ops())
        self.assert_running(server)
        self._reboot_server(server, hard=True)

    def test_restore_that_fails(self):
        """The guest is gone when the restore fails; the key must not be."""
        server = self.soft_deleted()
        broken = fakelibvirt.make_libvirtError(
            fakelibvirt.libvirtError, 'no memory', error_code=1
        )
        with mock.patch.object(
            fakelibvirt.Domain, 'createWithFlags', side_effect=broken
        ):
            self.act(server, 'restore', {})
            self.settled(server)
        self.assertIn(server['id'], self.h1.vault, 'the key is gone')

    def test_reclaimed_and_forced(self):
        """What ends a soft-deleted server for good buries its key."""
        forced, reclaimed = self.soft_deleted(), self.soft_deleted()
        self.act(forced, 'forceDelete', {})
        self._wait_until_deleted(forced)
        self.assert_buried(forced)
        self.assertIn(reclaimed['id'], self.h1.vault)
        self.flags(reclaim_instance_interval=1)
        time.sleep(1.5)
        self.computes['h1'].manager._reclaim_queued_deletes(
            nova_context.get_admin_context()
        )
        self._wait_until_deleted(reclaimed)
        self.assert_buried(reclaimed)

    def test_left_by_an_evacuation(self):
        """The guest is another host's now, and what it deletes is its own."""
        instance = self.instance(self.protect())
        instance.host, instance.task_state = 'h2', task_states.DELETING
        self.driver.destroy(None, instance, [], {})
        self.assertIn(instance.uuid, self.h1.vault, 'the key is gone')

    def test_deleted_while_it_is_built(self):
        """H4a: a delete during the build left the key; mended."""
        go, inside = threading.Event(), threading.Event()
        create = fakelibvirt.Domain.createWithFlags

        def slowly(domain, flags):
            answer = create(domain, flags)
            inside.set()
            go.wait(20)
            return answer

        with mock.patch.object(fakelibvirt.Domain, 'createWithFlags', slowly):
            body = self._build_server(
                flavor_id=self._create_flavor(extra_spec=base.VTPM),
                networks='none',
            )
            body['availability_zone'] = 'nova:h1'
            server = self.api.post_server({'server': body})
            self.assertTrue(inside.wait(20))
            self.assertIn(server['id'], self.h1.vault)
            self.api.delete_server(server['id'])
            go.set()
            self._wait_until_deleted(server)
        self.assert_buried(server)

    def test_deleted_while_the_host_is_down(self):
        """H4c: a delete on a dead host left the key; mended."""
        server = self.protect()
        self.computes['h1'].stop()
        service = self.computes['h1'].service_ref.uuid
        self.api.put_service(service, {'forced_down': True})
        self._delete_server(server)
        domain = self.domain('h1', server)
        domain.destroy()
        domain.undefine()
        self.api.put_service(service, {'forced_down': False})
        self.flags(reconcile_interval=1, group='korora')
        self.restart_compute_service('h1')
        self.flags(running_deleted_instance_timeout=0)
        self.computes['h1'].manager._cleanup_running_deleted_instances(
            nova_context.get_admin_context()
        )
        self.assert_buried(server)

    def test_compared(self):
        """The reconciler, on Nova's own records."""
        kept, moved, ended = (self.protect() for _ in range(3))
        reconciler = self.driver._korora.reconciler
        self.h1.vault[UNKNOWN] = dict(self.h1.vault[kept['id']])
        instance = self.instance(moved)
        instance.host = 'h2'
        instance.save()
        instance = self.instance(ended)
        instance.destroy()
        self.assertTrue(reconciler.step())
        # Its guest still runs.
        self.assertIn(ended['id'], self.h1.vault)
        self.domain('h1', ended).destroy()
        self.assertTrue(reconciler.step())
        self.assertEqual(
            {kept['id'], moved['id'], UNKNOWN}, set(self.h1.vault)
        )
        log = self.stdlog.logger.output
        self.assertIn(f'server {moved["id"]}, which Nova has on host h2', log)
        self.assertIn(f'server {UNKNOWN}, which Nova does not know', log)
        self.assertNotIn(f'server {kept["id"]}, which', log)

    def test_compared_during_a_migration(self):
        server = self.protect()
        instance = self.instance(server)
        instance.host = 'h2'
        instance.save()
        migration = objects.Migration(
            nova_context.get_admin_context(),
            instance_uuid=instance.uuid,
            source_compute='h1',
            dest_compute='h2',
            migration_type='live-migration',
            status='running',
        )
        migration.create()
        reconciler = self.driver._korora.reconciler
        self.assertTrue(reconciler.step())
        self.assertEqual({}, reconciler._told)
        migration.status = 'completed'
        migration.save()
        self.assertTrue(reconciler.step())
        self.assertEqual([server['id']], list(reconciler._told))

    def test_rescue_refused(self):
        """M6: a refused rescue turned the guest off; mended."""
        server = self.create(base.TRUSTED, host='h1')
        self.cloud.untrusted.add('h1')
        self.act(server, 'rescue', {'rescue_image_ref': RESCUE_IMAGE})
        self.settled(server)
        self.assertTrue(
            self.domain('h1', server).isActive(), 'the guest is off'
        )
        self.assert_fault(server, 'HOST_UNTRUSTED')
        self.cloud.untrusted.clear()
        self._reboot_server(server, hard=True)
        self.assert_running(server)

    def test_power_off_is_no_start(self):
        """Whoever may not start may still be stopped."""
        server = self.create(base.TRUSTED, host='h1')
        self.cloud.untrusted.add('h1')
        self.h1.alive = False
        self._stop_server(server)
        self.assertFalse(self.domain('h1', server).isActive())

    def test_cell_left(self):
        """A resize to another cell stops the guest in its own way."""
        instance = self.instance(self.protect())
        instance.task_state = task_states.RESIZE_MIGRATING
        self.assertRaises(
            exception.InstanceFaultRollback, self.driver.power_off, instance
        )
        self.assert_running({'id': instance.uuid})


class TestHostBoot(Base):
    def setUp(self):
        super().setUp()
        for name in ('FIRST_WAIT', 'LONGEST_WAIT'):
            self.useFixture(fixtures.MockPatchObject(arrival, name, 0.5))

    def test_reboot_that_is_refused(self):
        """H2a: a refused reboot ended nova-compute's start; mended."""
        servers = [
            self.interrupted(task)
            for task in (
                task_states.REBOOT_STARTED_HARD,
                task_states.REBOOT_PENDING_HARD,
                task_states.REBOOT_STARTED,
            )
        ]
        self.cloud.untrusted.add('h1')
        self.power_fails(*servers)
        self.assert_starts()
        for server in servers:
            self.assert_refused(server, 'HOST_UNTRUSTED')
        self.cloud.untrusted.clear()
        for server in servers:
            self.assert_started_at_last(server)

    def test_reboot_without_agent(self):
        """H2b: a dead agent ended nova-compute's start, too; mended."""
        servers = [self.interrupted(), self.interrupted()]
        self.h1.alive = False
        self.power_fails(*servers)
        self.assert_starts()
        for server in servers:
            self.assert_refused(server, 'AGENT_UNAVAILABLE')
        # And so does the next start.
        self.assert_starts()

    def test_resume_that_is_refused(self):
        server = self.protect()
        self.flags(resume_guests_state_on_host_boot=True)
        self.cloud.untrusted.add('h1')
        self.power_fails(server)
        self.assert_starts()
        self.assert_refused(server, 'HOST_UNTRUSTED')
        self.cloud.untrusted.clear()
        self.assert_started_at_last(server)

    def test_somebody_else_is_faster(self):
        """Who was stopped, or deleted, after the refusal stays so."""
        stopped, deleted = self.interrupted(), self.interrupted()
        self.cloud.untrusted.add('h1')
        self.power_fails(stopped, deleted)
        self.assert_starts()
        for server in (stopped, deleted):
            self.assert_refused(server, 'HOST_UNTRUSTED')
        self.act(stopped, 'os-stop')
        self._wait_for_state_change(stopped, 'SHUTOFF')
        self._delete_server(self.show(deleted))
        self.assertNotIn(deleted['id'], self.h1.vault)
        self.cloud.untrusted.clear()
        retries = self.computes['h1'].driver._korora.retries
        self.wait_until(lambda: not retries._refused)
        self.assertEqual('SHUTOFF', self.show(stopped)['status'])

    def assert_refused(self, server, reason):
        self.assert_fault(server, reason)
        self._wait_for_state_change(server, 'ERROR')
        self.assertFalse(self.domain('h1', server).isActive())

    def assert_started_at_last(self, server):
        self._wait_for_state_change(server, 'ACTIVE')
        self.assert_running(server)

    def interrupted(self, task=task_states.REBOOT_STARTED_HARD):
        """A server in the middle of a reboot."""
        server = self.protect()
        instance = self.instance(server)
        instance.task_state = task
        instance.save()
        return server

    def test_agent_that_hangs(self):
        """M1: at boot each server waited by itself; mended."""
        servers = [self.protect() for _ in range(4)]
        self.flags(resume_guests_state_on_host_boot=True)
        self.flags(agent_timeout=1, group='korora')
        self.power_fails(*servers)
        waited = []

        class Hanging(socket_client.AgentClient):
            def __init__(self, timeout):
                super().__init__('/nowhere', timeout)
                self.timeout = timeout

            def call(self, op, **fields):
                # What goes on beside the start may wait.
                if not threading.current_thread().name.startswith('korora'):
                    waited.append(self.timeout)
                    time.sleep(self.timeout)
                raise errors.Unavailable('AGENT_UNAVAILABLE')

        self.useFixture(
            fixtures.MockPatchObject(
                korora_driver.KororaLibvirtDriver,
                '_make_agent',
                lambda driver, timeout: Hanging(timeout),
            )
        )
        self.assert_starts()
        self.assertLess(sum(waited), 3.5, 'seconds in all')

    def test_one_bad_flavor(self):
        """L6: it ended the onboarding of all later servers; mended."""
        bad, good = self.protect(), self.protect()
        instance = self.instance(bad)
        instance.flavor.extra_specs['korora:max_result_age'] = 'soon'
        instance.save()
        for server in (bad, good):
            self.h1.vault.pop(server['id'])
            self.cloud.ledger.pop(server['id'])
            self.driver._host.create_secret(
                'vtpm',
                server['id'],
                password=b'stock key',
                uuid=server['id'],
                ephemeral=False,
                private=False,
            )
        self.assertFalse(self.driver._korora.arrival.step())
        self.assertEqual([good['id']], list(self.h1.vault))


class TestUserMode(Base):
    """H5: a vTPM of the user's, and no requirement, is stock (I9); mended."""

    SPECS = {**base.VTPM, 'hw:tpm_secret_security': 'user'}

    def test_while_the_service_is_down(self):
        self.check_life(lambda: setattr(self.cloud, 'up', False))

    def test_while_the_agent_is_down(self):
        self.check_life(lambda: setattr(self.h1, 'alive', False))

    def check_life(self, fail):
        server = self.create(self.SPECS, host='h1')
        self.protected.discard(server['id'])
        self._stop_server(server)
        fail()
        self.act(server, 'os-start')
        self.assertEqual('ACTIVE', self.settled(server)['status'])
        self._reboot_server(server, hard=True)
        self._suspend_server(server)
        self._resume_server(server)
        self._delete_server(server)
        self.assertEqual([], self.driver._korora.tombstones.list())

    def test_lowered_on_the_bus(self):
        """A protected server whose flavor is changed, and the agent killed."""
        server = self.protect()
        self._stop_server(server)
        instance = self.instance(server)
        instance.flavor.extra_specs['hw:tpm_secret_security'] = 'user'
        instance.save()
        self.h1.alive = False
        self.act(server, 'os-start')
        self.assertEqual('SHUTOFF', self.settled(server)['status'])
        self.assert_fault(server, 'AGENT_UNAVAILABLE')

    def test_create_while_the_service_is_down(self):
        self.cloud.up = False
        self.check_create()

    def test_create_while_the_agents_are_down(self):
        self.h1.alive = self.h2.alive = False
        self.check_create()

    def check_create(self):
        body = self._build_server(
            flavor_id=self._create_flavor(extra_spec=self.SPECS),
            networks='none',
        )
        server = self.api.post_server({'server': body})
        # Its task_state is None before the build begins, too.
        self.wait_until(lambda: self.show(server)['status'] != 'BUILD')
        self.assertEqual('ACTIVE', self.settled(server)['status'])


class TestBeside(Base):
    """L4: what is admitted admits nothing beside it; mended."""

    def test_start_beside_a_definition(self):
        instance = self.instance(self.protect())
        self.cloud.untrusted.add('h1')
        with self.driver._korora.starts.defining(instance):
            self.assertEqual(['HOST_UNTRUSTED'], self.start(instance))

    def test_start_beside_a_start(self):
        instance = self.instance(self.protect())
        with self.driver._korora.starts.starting(None, instance):
            self.cloud.untrusted.add('h1')
            self.assertEqual(['HOST_UNTRUSTED'], self.start(instance))

    def start(self, instance):
        outcome = []

        def start():
            try:
                with self.driver._korora.starts.starting(None, instance):
                    outcome.append('admitted')
            except errors.KororaError as exc:
                outcome.append(exc.reason)

        thread = threading.Thread(target=start)
        thread.start()
        thread.join(10)
        return outcome


class TestStockDriver(base.Base):
    """T47: who passes the filter enforces."""

    FILTER = True

    def test_attested_host_without_our_driver(self):
        """H3: a host with the stock driver passed; mended."""
        self.flags(compute_driver='libvirt.LibvirtDriver')
        self.start_hosts('h1')
        self.flags(compute_driver='korora.KororaLibvirtDriver')
        self.start_hosts('h2')
        self.assertEqual('h2', self.host_of(self.create(base.TRUSTED)))

    def test_driver_that_refuses(self):
        """H3: where Nova has drifted the driver would refuse."""
        self.start_hosts('h1', 'h2')
        agent = self.cloud.agent('h1')
        driver = self.computes['h1'].driver
        self.assertEqual(
            'korora_nova.relying_party.driver.KororaLibvirtDriver',
            agent.enforcer[0],
        )
        driver._korora.gate.obstacle = errors.Unavailable('NOVA_DRIFT')
        driver._korora.presence.step()
        self.assertIn('NOVA_DRIFT', agent.enforcer[1])
        self.assertEqual('h2', self.host_of(self.create(base.TRUSTED)))
        # Whom nothing is required of is not concerned.
        self.assertEqual('h1', self.host_of(self.create()))
