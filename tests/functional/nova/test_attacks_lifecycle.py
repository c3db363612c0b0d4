# SPDX-License-Identifier: Apache-2.0
"""Odd moments in a protected server's life; see tests/support/faults.py."""

import threading
import time
from unittest import mock

import fixtures
from nova import context as nova_context
from nova.compute import task_states
from nova.tests.fixtures import libvirt as fakelibvirt

from korora_nova import errors
from korora_nova.attester import socket_client
from korora_nova.relying_party import driver as korora_driver
from tests.functional.nova import base, test_lifecycle
from tests.support import faults

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
        end = time.monotonic() + 3
        while server['id'] in self.h1.vault and time.monotonic() < end:
            time.sleep(0.1)
        self.assertNotIn(server['id'], self.h1.vault, 'the key stays')

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

    @faults.not_yet('H4a', 'lifecycle', today='the key stays')
    def test_deleted_while_it_is_built(self):
        """H4a: a delete during the build leaves the key; it should bury."""
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

    @faults.not_yet('H4c', 'lifecycle', today='the key stays')
    def test_deleted_while_the_host_is_down(self):
        """H4c: a delete on a dead host leaves the key; a sweep should bury."""
        server = self.protect()
        self.computes['h1'].stop()
        service = self.computes['h1'].service_ref.uuid
        self.api.put_service(service, {'forced_down': True})
        self._delete_server(server)
        domain = self.domain('h1', server)
        domain.destroy()
        domain.undefine()
        self.api.put_service(service, {'forced_down': False})
        self.restart_compute_service('h1')
        self.flags(running_deleted_instance_timeout=0)
        self.computes['h1'].manager._cleanup_running_deleted_instances(
            nova_context.get_admin_context()
        )
        self.assert_buried(server)

    @faults.not_yet('M6', 'lifecycle', today='the guest is off')
    def test_rescue_refused(self):
        """M6: a refused rescue turns the guest off; it should run on."""
        server = self.create(base.TRUSTED, host='h1')
        self.cloud.untrusted.add('h1')
        self.act(server, 'rescue', {'rescue_image_ref': RESCUE_IMAGE})
        self.settled(server)
        self.assertTrue(
            self.domain('h1', server).isActive(), 'the guest is off'
        )


class TestHostBoot(Base):
    @faults.not_yet('H2a', 'lifecycle', today='does not start')
    def test_reboot_that_is_refused(self):
        """H2a: a refused reboot ends nova-compute's start; it should not."""
        server = self.interrupted()
        self.cloud.untrusted.add('h1')
        self.power_fails(server)
        self.assert_starts()

    @faults.not_yet('H2b', 'lifecycle', today='does not start')
    def test_reboot_without_agent(self):
        """H2b: a dead agent ends nova-compute's start, too; it should not."""
        server = self.interrupted()
        self.h1.alive = False
        self.power_fails(server)
        self.assert_starts()

    def interrupted(self):
        """A server in the middle of a hard reboot."""
        server = self.protect()
        instance = self.instance(server)
        instance.task_state = task_states.REBOOT_STARTED_HARD
        instance.save()
        return server

    @faults.not_yet('M1', 'lifecycle', today='seconds in all')
    def test_agent_that_hangs(self):
        """M1: at boot each server waits by itself; one budget should do."""
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
                if threading.current_thread().name != 'korora-arrival':
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


class TestDefining(Base):
    @faults.not_yet('L4', 'lifecycle', today='admitted')
    def test_start_beside_a_definition(self):
        """L4: a definition admits a start beside it; each should be judged."""
        instance = self.instance(self.protect())
        self.cloud.untrusted.add('h1')
        outcome = []

        def start():
            try:
                with self.driver._korora.starts.starting(instance):
                    outcome.append('admitted')
            except errors.KororaError as exc:
                outcome.append(exc.reason)

        with self.driver._korora.starts.defining(instance):
            thread = threading.Thread(target=start)
            thread.start()
            # A start may also wait for the definition to end.
            thread.join(1)
        thread.join(10)
        self.assertEqual(['HOST_UNTRUSTED'], outcome)


class TestStockDriver(base.Base):
    """T47: who passes the filter enforces."""

    FILTER = True

    @faults.not_yet('H3', 'lifecycle', today="'h2' != 'h1'")
    def test_attested_host_without_our_driver(self):
        """H3: a host with the stock driver passes; evidence should tell."""
        self.flags(compute_driver='libvirt.LibvirtDriver')
        self.start_hosts('h1')
        self.flags(compute_driver='korora.KororaLibvirtDriver')
        self.start_hosts('h2')
        self.assertEqual('h2', self.host_of(self.create(base.TRUSTED)))
