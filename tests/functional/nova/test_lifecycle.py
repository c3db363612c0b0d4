# SPDX-License-Identifier: Apache-2.0
"""Create, start, reboot, resume, resize and delete through Nova's API."""

from unittest import mock

from nova import exception
from nova.compute import power_state
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.virt.libvirt import driver as libvirt_driver

from korora_nova import errors
from tests.functional.nova import base


class Base(base.Base):
    def setUp(self):
        super().setUp()
        self.start_hosts('h1', 'h2')
        self.h1, self.h2 = (self.cloud.agent(name) for name in ('h1', 'h2'))
        self.driver = self.computes['h1'].driver

    def protect(self):
        server = self.create(base.VTPM, host='h1')
        self.h1.calls.clear()
        return server

    def assert_running(self, server):
        self.assertTrue(self.domain('h1', server).isActive())
        self.assertEqual('ACTIVE', self.show(server)['status'])

    def assert_closed(self):
        self.assertEqual([], self.secrets('h1') + self.secrets('h2'))
        self.assertEqual(set(), self.h1.opened | self.h2.opened)


class TestCreate(Base):
    def test_first_start(self):
        server = self.create(base.VTPM, host='h1')
        uuid = server['id']
        self.assertEqual(['attest', 'seal', 'open', 'close'], self.h1.ops())
        secret_uuid = self.instance(server).system_metadata['vtpm_secret_uuid']
        key_manager = base.nova.crypto._get_key_manager()
        passphrase = key_manager.secrets[secret_uuid].get_encoded()
        self.assertEqual(passphrase, self.h1.vault[uuid]['value'])
        self.assertEqual(secret_uuid, self.h1.vault[uuid]['secret_uuid'])
        self.assertIn(secret_uuid, self.connection('h1')._removed_secrets)
        self.assert_closed()
        logs = self.stdlog.logger.output
        self.assertNotIn(passphrase.decode(), logs)
        self._delete_server(server)
        self.assertEqual({}, key_manager.secrets)
        self.assertEqual(({}, {}), (self.h1.vault, self.cloud.holders))

    def test_untrusted_host_means_the_next(self):
        self.cloud.untrusted.add('h1')
        for specs in (base.VTPM, base.TRUSTED):
            server = self.create(specs)
            self.assertEqual('h2', self.host_of(server))
        self.assertEqual({}, self.h1.vault)

    def test_forced_on_an_untrusted_host(self):
        """T18: force, or nova:HOST, bypasses the scheduler."""
        self.cloud.untrusted.add('h1')
        for specs in (base.VTPM, base.TRUSTED):
            server = self.create(specs, host='h1', state='ERROR')
            self.assertIn('[HOST_UNTRUSTED]', server['fault']['message'])
            self.assertNotIn('PCR', server['fault']['message'])
        self.assertEqual({}, self.cloud.holders)

    def test_service_down_is_the_end(self):
        self.cloud.up = False
        server = self.create(base.TRUSTED, state='ERROR')
        self.assertIn('[SERVICE_UNAVAILABLE]', server['fault']['message'])
        self.assertEqual(['attest'], self.h1.ops() + self.h2.ops())

    def test_failure_after_sealing_frees_the_name(self):
        launch = fakelibvirt.Domain.createWithFlags

        def fail_once(domain, flags):
            if domain._connection is self.connection('h1'):
                raise fakelibvirt.make_libvirtError(
                    fakelibvirt.libvirtError, 'no memory', error_code=1
                )
            return launch(domain, flags)

        with mock.patch.object(
            fakelibvirt.Domain, 'createWithFlags', fail_once
        ):
            server = self.create(base.VTPM)
        self.assertEqual('h2', self.host_of(server))
        self.assertIn('forget', self.h1.ops())
        self.assertEqual({}, self.h1.vault)
        self.assertEqual('h2', self.cloud.ledger[server['id']]['holder'])
        self.assert_closed()

    def test_lost_answer_of_seal_frees_the_name(self):
        seal = self.h1._seal

        def lose(**fields):
            seal(**fields)
            raise errors.Unavailable('AGENT_UNAVAILABLE')

        with mock.patch.object(self.h1, '_seal', lose):
            server = self.create(base.VTPM)
        self.assertEqual('h2', self.host_of(server))

    def test_mdev_like_second_attempt_finds_the_key(self):
        server = self.protect()
        instance = self.instance(server)
        with self.driver._korora.starts.starting(None, instance):
            self.driver._host.delete_secret('vtpm', server['id'])
            secret, mode = self.driver._get_or_create_secret_for_vtpm(
                None, instance
            )
            self.assertEqual('korora', mode)
            self.assertEqual([secret.UUIDString()], self.secrets('h1'))
            secret.undefine()
            self.assertEqual([secret.UUIDString()], self.secrets('h1'))
        self.assert_closed()


class TestEscrow(Base):
    """A key that an operator has reissued, or that its host has lost."""

    def reissued(self):
        server = self.protect()
        self._stop_server(server)
        self.h1.vault.clear()
        self.cloud.ledger[server['id']]['holder'] = None
        self.passphrase = next(
            iter(self.key_manager().secrets.values())
        ).get_encoded()
        return server

    def key_manager(self):
        return base.nova.crypto._get_key_manager()

    def start_refused(self, server, reason):
        self.h1.calls.clear()
        self.act(server, 'os-start')
        self.assert_fault(server, reason)
        self.assertEqual('SHUTOFF', self.show(server)['status'])
        self.assertEqual(['attest'], self.h1.ops())
        # What there was is still defined, with its vTPM.
        self.domain('h1', server)

    def test_read_with_the_tenants_token(self):
        server = self.reissued()
        self._start_server(server)
        self.assertEqual(self.passphrase, self.h1.vault[server['id']]['value'])
        self.assertEqual(1, len(self.key_manager().secrets))
        self.assert_closed()

    def test_secret_that_nova_lost(self):
        """Stock Nova would make another one."""
        server = self.reissued()
        instance = self.instance(server)
        del instance.system_metadata['vtpm_secret_uuid']
        instance.save()
        self.start_refused(server, 'ESCROW_MISSING')
        self.assertEqual(1, len(self.key_manager().secrets))

    def test_secret_that_its_owner_deleted(self):
        server = self.reissued()
        self.key_manager().secrets.clear()
        self.start_refused(server, 'ESCROW_MISSING')
        self.assertEqual({}, self.key_manager().secrets)

    def test_project_of_somebody_else(self):
        server = self.reissued()
        self.key_manager().project = 'another'
        self.start_refused(server, 'ESCROW_FORBIDDEN')
        self.key_manager().project = self.instance(server).project_id
        self._start_server(server)
        self.assert_running(server)

    def test_boot_of_the_host(self):
        server = self.reissued()
        instance = self.instance(server)
        instance.vm_state, instance.power_state = 'active', 1
        instance.save()
        self.flags(resume_guests_state_on_host_boot=True)
        self.restart_compute_service('h1')
        self.assert_fault(server, 'ESCROW_FORBIDDEN')
        self.assertEqual({}, self.h1.vault)


class TestOnboarding(Base):
    """P19: servers that stock Nova started before."""

    def stock(self):
        """A running server with a readable, persistent libvirt secret."""
        self.flags(protect_vtpm=False, group='korora')
        self.check_secret = lambda connection, uuid: None
        server = self.create(base.VTPM, host='h1')
        del self.check_secret
        self.flags(protect_vtpm=True, group='korora')
        secret = self.driver._host.find_secret('vtpm', server['id'])
        self.assertFalse(secret._private or secret._ephemeral)
        self.assertEqual([], self.h1.ops())
        return server, secret.UUIDString(), secret.value()

    def assert_in_custody(self, server, uuid, value):
        record = self.h1.vault[server['id']]
        self.assertEqual(
            ('held', uuid, value),
            (record['state'], record['secret_uuid'], record['value']),
        )
        self.assert_closed()

    def test_at_the_start_of_nova_compute(self):
        known = self.stock()
        self.restart_compute_service('h1')
        self.assert_in_custody(*known)
        self.restart_compute_service('h1')
        self.assertEqual(1, self.h1.ops().count('seal'))

    def test_untrusted_host_keeps_it_as_it_is(self):
        server, uuid, _ = self.stock()
        self.cloud.untrusted.add('h1')
        self.restart_compute_service('h1')
        self.assertEqual([uuid], self.secrets('h1'))
        self.assertEqual({}, self.h1.vault)

    def test_before_a_live_migration(self):
        known = self.stock()
        self.migrate(known[0])
        self.assertEqual('h2', self.host_of(known[0]))
        self.assertEqual(known[2], self.h2.vault[known[0]['id']]['value'])
        self.assert_closed()

    def test_at_a_start_by_somebody_else(self):
        """Without the tenant's token: the key comes from libvirt."""
        known = self.stock()
        base.nova.crypto._get_key_manager().secrets.clear()
        self._reboot_server(known[0], hard=True)
        self.assert_in_custody(*known)

    def test_failed_start_keeps_the_key(self):
        known = self.stock()
        self._stop_server(known[0])
        with mock.patch.object(
            fakelibvirt.Domain,
            'createWithFlags',
            side_effect=fakelibvirt.make_libvirtError(
                fakelibvirt.libvirtError, 'no memory', error_code=1
            ),
        ):
            self.act(known[0], 'os-start')
            self._wait_for_action_fail_completion(
                known[0], 'start', 'compute_start_instance'
            )
        self.assertNotIn('forget', self.h1.ops())
        self.assert_in_custody(*known)


class TestFilter(base.Base):
    FILTER = True

    def test_only_trusted_hosts_are_tried(self):
        self.start_hosts('h1', 'h2', 'h3')
        self.cloud.untrusted.update(('h1', 'h2'))
        server = self.create(base.VTPM)
        self.assertEqual('h3', self.host_of(server))
        for name in ('h1', 'h2'):
            self.assertEqual([], self.cloud.agent(name).ops())
        self.migrate(server, status='error')
        self.assertEqual('h3', self.host_of(server))
        self.cloud.untrusted.discard('h2')
        self.migrate(server)
        self.assertEqual('h2', self.host_of(server))

    def test_service_down(self):
        self.start_hosts('h1')
        self.cloud.up = False
        server = self.create(base.TRUSTED, state='ERROR')
        self.assertIn('No valid host', server['fault']['message'])
        self.create()


class TestStarts(Base):
    def bad(self):
        self.cloud.untrusted.add('h1')

    def test_hard_reboot(self):
        server = self.protect()
        self._reboot_server(server, hard=True)
        self.assertEqual(['open', 'close'], self.h1.ops())
        self.assert_running(server)
        self.assert_closed()

    def test_hard_reboot_refused_leaves_the_guest_running(self):
        """T17."""
        for specs in (base.VTPM, base.TRUSTED):
            self.cloud.untrusted.clear()
            server = self.create(specs, host='h1')
            before = self.domain('h1', server)
            self.bad()
            self.act(server, 'reboot', {'type': 'HARD'})
            self._wait_for_server_parameter(
                server, {'OS-EXT-STS:task_state': None, 'status': 'ACTIVE'}
            )
            self.assert_running(server)
            self.assertIs(before, self.domain('h1', server))
            self.assert_fault(server, 'HOST_UNTRUSTED')
        self.assert_closed()

    def test_soft_reboot_has_the_key(self):
        server = self.protect()
        seen = []

        def soft(driver, instance):
            seen.extend(self.secrets('h1'))
            return True

        with mock.patch.object(
            libvirt_driver.LibvirtDriver, '_soft_reboot', soft
        ):
            self._reboot_server(server)
        self.assertEqual(1, len(seen))
        self.assert_closed()

    def test_soft_reboot_refused(self):
        server = self.protect()
        self.bad()
        with mock.patch.object(
            libvirt_driver.LibvirtDriver, '_soft_reboot'
        ) as soft:
            self.act(server, 'reboot', {'type': 'SOFT'})
            self._wait_for_server_parameter(
                server, {'OS-EXT-STS:task_state': None, 'status': 'ACTIVE'}
            )
        soft.assert_not_called()
        self.assert_running(server)

    def test_stop_and_start(self):
        server = self.protect()
        self._stop_server(server)
        self._start_server(server)
        self.assertEqual(['open', 'close'], self.h1.ops())
        self.assert_running(server)
        self.assert_closed()

    def test_start_refused(self):
        """T17."""
        for specs in (base.VTPM, base.TRUSTED):
            self.cloud.untrusted.clear()
            server = self.create(specs, host='h1')
            self._stop_server(server)
            self.bad()
            server = self.refuse_start(server)
            self.assertEqual('SHUTOFF', server['status'])
            self.assert_fault(server, 'HOST_UNTRUSTED')
            self.assertFalse(self.domain('h1', server).isActive())
        self.assert_closed()

    def refuse_start(self, server):
        self.act(server, 'os-start')
        self._wait_for_action_fail_completion(
            server, 'start', 'compute_start_instance'
        )
        return self._wait_for_server_parameter(
            server, {'OS-EXT-STS:task_state': None}
        )

    def test_start_with_pending_custody(self):
        """P5: a second copy must not start while a stream may live."""
        server = self.protect()
        self._stop_server(server)
        self.h1.vault[server['id']]['state'] = 'moving'
        self.cloud.ledger[server['id']]['pending'] = 'm'
        server = self.refuse_start(server)
        self.assertEqual('SHUTOFF', server['status'])
        self.assert_fault(server, 'CUSTODY_PENDING')

    def test_start_after_the_key_left(self):
        """T9: the source's copy is dead after a committed hand-over."""
        server = self.protect()
        self._stop_server(server)
        self.cloud.ledger[server['id']]['holder'] = 'h2'
        self.assertEqual('SHUTOFF', self.refuse_start(server)['status'])
        self.assert_fault(server, 'NOT_HOLDER')

    def test_flavor_stripped(self):
        """T32: still protected."""
        server = self.protect()
        self._stop_server(server)
        instance = self.instance(server)
        instance.flavor.extra_specs = {}
        instance.save()
        self.bad()
        self.assertEqual('SHUTOFF', self.refuse_start(server)['status'])
        self.h1.alive = False
        self.assertEqual('SHUTOFF', self.refuse_start(server)['status'])
        self.assert_fault(server, 'AGENT_UNAVAILABLE')

    def test_secret_renamed_on_the_bus(self):
        server = self.protect()
        self._stop_server(server)
        instance = self.instance(server)
        name = instance.system_metadata['vtpm_secret_uuid']
        instance.system_metadata['vtpm_secret_uuid'] = server['id']
        instance.save()
        self._start_server(server)
        self.assertEqual(
            name, self.instance(server).system_metadata['vtpm_secret_uuid']
        )

    def test_suspend_and_resume(self):
        server = self.protect()
        self._suspend_server(server)
        self._resume_server(server)
        self.assertEqual(['open', 'close'], self.h1.ops())
        self.assert_closed()

    def test_resume_refused(self):
        """T17."""
        server = self.protect()
        self._suspend_server(server)
        self.bad()
        self.act(server, 'resume')
        self._wait_for_action_fail_completion(
            server, 'resume', 'compute_resume_instance'
        )
        server = self._wait_for_server_parameter(
            server, {'OS-EXT-STS:task_state': None}
        )
        self.assertEqual('SUSPENDED', server['status'])
        self.assert_fault(server, 'HOST_UNTRUSTED')
        self.cloud.untrusted.clear()
        self._resume_server(server)

    def test_host_boot(self):
        server = self.protect()
        self.flags(resume_guests_state_on_host_boot=True)
        self.boot(server)
        self.assert_running(server)
        self.assertEqual(['attest', 'open', 'close'], self.h1.ops())

    def test_host_boot_refused(self):
        server = self.protect()
        self.flags(resume_guests_state_on_host_boot=True)
        self.bad()
        self.boot(server)
        self.assertFalse(self.domain('h1', server).isActive())
        self._wait_for_state_change(server, 'ERROR', wait_for_fault_key=False)

    def test_host_boot_without_agent(self):
        server = self.protect()
        self.flags(resume_guests_state_on_host_boot=True)
        self.h1.alive = False
        self.boot(server)
        self.assertFalse(self.domain('h1', server).isActive())

    def test_restart_of_nova_compute_alone(self):
        server = self.protect()
        self.flags(resume_guests_state_on_host_boot=True)
        self.bad()
        self.restart_compute_service('h1')
        self.assert_running(server)
        self.assertEqual([], self.h1.ops())

    def boot(self, server):
        """What the computer's restart leaves: guests off, defined."""
        domain = self.domain('h1', server)
        domain._state = fakelibvirt.VIR_DOMAIN_SHUTOFF
        self.connection('h1')._running_vms.pop(domain._id, None)
        self.flags(boot_wait=1, group='korora')
        self.h1.calls.clear()
        self.restart_compute_service('h1')

    def test_cold_snapshot(self):
        server = self.protect()
        instance = self.instance(server)
        guest = self.driver._host.get_guest(instance)
        resume = self.driver._resume_guest_after_snapshot
        args = (None, False, power_state.RUNNING, instance, guest)
        with (
            mock.patch.object(self.driver, '_attach_pci_devices'),
            mock.patch.object(self.driver, '_attach_direct_passthrough_ports'),
            (
                mock.patch.object(
                    self.driver,
                    '_needs_suspend_resume_for_snapshot',
                    return_value=True,
                )
            ),
        ):
            self.h1.launched.clear()
            resume(*args)
            self.assertEqual(['open', 'close'], self.h1.ops())
            self.assertEqual([server['id']], self.h1.launched)
            self.bad()
            self.assertRaises(exception.NovaException, resume, *args)
            with mock.patch.object(self.driver, 'suspend') as suspend:
                self.assertRaises(
                    exception.NovaException,
                    self.driver._suspend_guest_for_snapshot,
                    None,
                    False,
                    power_state.RUNNING,
                    instance,
                )
            suspend.assert_not_called()
        self.assert_closed()

    def test_every_start_asks_for_the_state_of_the_vtpm(self):
        server = self.protect()
        self.flags(resume_guests_state_on_host_boot=True)
        for start in (
            lambda: self._stop_server(server) and self._start_server(server),
            lambda: self._reboot_server(server, hard=True),
            lambda: (
                self._suspend_server(server) and self._resume_server(server)
            ),
            lambda: self.boot(server),
        ):
            self.h1.launched.clear()
            start()
            self.assert_running(server)
            self.assertEqual([server['id']], self.h1.launched)

    def test_another_state_of_the_vtpm(self):
        """Refused in the last moment; the server is off, as it was."""
        server = self.protect()
        self._stop_server(server)
        self.h1.fail['launch'] = errors.CustodyError('VTPM_STATE_CHANGED')
        server = self.refuse_start(server)
        self.assertEqual('SHUTOFF', server['status'])
        self.assert_fault(server, 'VTPM_STATE_CHANGED')
        self.assert_closed()
        self.assertEqual('held', self.h1.vault[server['id']]['state'])
        del self.h1.fail['launch']
        self._start_server(server)
        self.assert_running(server)
        self.assert_closed()

    def test_a_way_that_nobody_gated(self):
        """The last door: no guest is made past it."""
        server = self.protect()
        instance = self.instance(server)
        xml = self.domain('h1', server).XMLDesc(0)
        self.driver._create_guest(None, xml, instance)
        self.bad()
        self.assertRaises(
            exception.NovaException,
            self.driver._create_guest,
            None,
            xml,
            instance,
        )
        self.driver._create_guest(None, xml, instance, power_on=False)

    def test_drift(self):
        server = self.protect()
        plain = self.create(host='h1')
        with mock.patch(
            'korora_nova.relying_party.drift.SHAPES', {'spawn': ('another',)}
        ):
            self.restart_compute_service('h1')
        for each in (server, plain):
            self._stop_server(each)
        self.assertEqual('SHUTOFF', self.refuse_start(server)['status'])
        self.assert_fault(server, 'NOVA_DRIFT')
        self._start_server(plain)

    def test_old_libvirt(self):
        self.start_compute('h0', libvirt_version=8_000_000)
        server = self.create(base.VTPM, host='h0', state='ERROR')
        self.assertIn('[LIBVIRT_TOO_OLD]', server['fault']['message'])
        self.create(host='h0')


class TestMoves(Base):
    def refused(self, server, reason):
        self._wait_for_migration_status(server, ['error'])
        self._wait_for_server_parameter(
            server, {'OS-EXT-STS:task_state': None}
        )
        self.assert_running(server)
        self.assertEqual('h1', self.host_of(server))
        self.assert_fault(server, reason)

    def test_trusted_server(self):
        server = self.create(base.TRUSTED, host='h1')
        self.cloud.untrusted.add('h2')
        self.act(server, 'migrate')
        self.refused(server, 'HOST_UNTRUSTED')
        self.cloud.untrusted.clear()
        with mock.patch.object(
            libvirt_driver.LibvirtDriver,
            'migrate_disk_and_power_off',
            return_value='{}',
        ):
            self._migrate_server(server)
        self._wait_for_state_change(server, 'VERIFY_RESIZE')
        self.assertEqual('h2', self.host_of(server))
        self.assertEqual(['attest'], self.h2.ops())
        self.cloud.untrusted.add('h1')
        self.act(server, 'revertResize')
        self._wait_for_state_change(server, 'ERROR')
        self.assert_fault(server, 'HOST_UNTRUSTED')

    def test_rebuild(self):
        server = self.create(base.TRUSTED, host='h1')
        before = self.domain('h1', server)
        self.cloud.untrusted.add('h1')
        self.act(server, 'rebuild', {'imageRef': server['image']['id']})
        self._wait_for_action_fail_completion(
            server, 'rebuild', 'compute_rebuild_instance'
        )
        self._wait_for_server_parameter(
            server, {'OS-EXT-STS:task_state': None}
        )
        self.assert_running(server)
        self.assertIs(before, self.domain('h1', server))
        self.assert_fault(server, 'HOST_UNTRUSTED')
        self.cloud.untrusted.clear()
        self._rebuild_server(server, server['image']['id'])

    def test_evacuate(self):
        server = self.create(base.TRUSTED, host='h1')
        self.computes['h1'].stop()
        self.api.put_service(
            self.computes['h1'].service_ref.uuid, {'forced_down': True}
        )
        self.cloud.untrusted.add('h2')
        self.act(server, 'evacuate', {})
        self._wait_for_migration_status(server, ['failed'])
        server = self._wait_for_server_parameter(
            server, {'OS-EXT-STS:task_state': None}
        )
        self.assertEqual(
            ('ACTIVE', 'h1'),
            (server['status'], server['OS-EXT-SRV-ATTR:host']),
        )
        self.assert_fault(server, 'HOST_UNTRUSTED')
        self.cloud.untrusted.clear()
        self.act(server, 'evacuate', {})
        self._wait_for_migration_status(server, ['done'])
        self.assertEqual('h2', self.host_of(server))

    def test_rebuild_of_protected_servers_past_the_api(self):
        instance = self.instance(self.protect())
        self.assertRaises(
            exception.InstanceFaultRollback,
            self.driver.rebuild,
            None,
            instance,
            instance.image_meta,
            [],
            None,
            {},
            [],
            None,
            None,
        )


class TestDelete(Base):
    def test_dead_agent_does_not_block(self):
        server = self.protect()
        self.h1.alive = False
        self._delete_server(server)
        self.assertEqual([server['id']], self.driver._korora.tombstones.list())
        self.assertIn(server['id'], self.h1.vault)
        self.h1.alive = True
        self.restart_compute_service('h1')
        self.assertEqual([], self.driver._korora.tombstones.list())
        self.assertEqual(({}, {}), (self.h1.vault, self.cloud.holders))

    def test_next_delete_settles_too(self):
        first, second = self.protect(), self.protect()
        self.h1.alive = False
        self._delete_server(first)
        self.h1.alive = True
        self._delete_server(second)
        self.assertEqual({}, self.h1.vault)
        self.assertEqual([], self.driver._korora.tombstones.list())

    def test_plain_server_leaves_no_tombstone(self):
        server = self.create(host='h1')
        self.h1.alive = False
        self._delete_server(server)
        self.assertEqual([], self.driver._korora.tombstones.list())
