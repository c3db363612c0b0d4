# SPDX-License-Identifier: Apache-2.0
"""Cold migration and resize through Nova's API, conductor and computes."""

import contextlib
import os
import time
from types import SimpleNamespace
from unittest import mock

import fixtures
import nova.privsep
from nova import exception, objects
from nova.compute import task_states
from nova.tests.fixtures import libvirt as fake
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import utils as libvirt_utils

from korora_nova import errors
from korora_nova.custody.moves import way_back
from tests.functional.nova import base

STOCK = libvirt_driver.LibvirtDriver


class Base(base.Base):
    """Nova's own methods run, but for the copy of the disks."""

    def setUp(self):
        super().setUp()
        self.flags(
            allow_resize_to_same_host=False,
        )
        self.start_hosts('h1', 'h2')
        self.h1, self.h2 = (self.cloud.agent(name) for name in ('h1', 'h2'))
        #: Servers that were powered off and copied; what the copy fails with.
        self.copied = []
        #: Calls of nova-compute's that failed and were waited for.
        self.seen = 0
        self.copy_fails = None
        test = self

        def copy(
            self,
            context,
            instance,
            dest,
            flavor,
            network_info,
            block_device_info=None,
            timeout=0,
            retry_interval=0,
        ):
            test.before_power_off(instance)
            self.power_off(instance)
            test.copied.append(instance.uuid)
            if test.copy_fails is not None:
                raise test.copy_fails
            return '[]'

        self.useFixture(
            fixtures.MockPatchObject(STOCK, 'migrate_disk_and_power_off', copy)
        )
        self.before_power_off = lambda instance: None

    def protect(self, host='h1'):
        server = self.create(base.VTPM, host=host)
        self.h1.calls.clear()
        self.h2.calls.clear()
        return server

    def cold(self, server, state='VERIFY_RESIZE'):
        self.act(server, 'migrate')
        return self._wait_for_state_change(server, state)

    def revert(self, server, state='ACTIVE'):
        self.act(server, 'revertResize')
        return self._wait_for_state_change(server, state)

    def confirm(self, server, state='ACTIVE'):
        self.act(server, 'confirmResize')
        self._wait_for_state_change(server, state)
        self._wait_for_migration_status(server, ['confirmed'])

    def is_active(self, host, server):
        try:
            return bool(self.domain(host, server).isActive())
        except Exception:  # noqa: BLE001 the fake's error: no domain
            return False

    def assert_on(self, host, server, *, runs=True):
        """Nova has it there, its key is there, and nowhere else."""
        uuid = server['id']
        other = 'h2' if host == 'h1' else 'h1'
        self.assertEqual(host, self.host_of(server))
        self.assertEqual(runs, self.is_active(host, server))
        self.assertFalse(self.is_active(other, server))
        self.assertEqual(host, self.cloud.ledger[uuid]['holder'])
        self.assertIsNone(self.cloud.ledger[uuid]['pending'])
        self.assertEqual('held', self.cloud.agent(host).vault[uuid]['state'])
        left = self.cloud.agent(other).vault.get(uuid, {'state': 'none'})
        self.assertIn(left['state'], ('none', 'relinquished'))
        self.assertEqual([], self.secrets('h1') + self.secrets('h2'))

    def refused(self, server, reason, status='ACTIVE'):
        """The server was not touched; why is told."""
        self._wait_for_migration_status(server, ['error'])
        server = self._wait_for_server_parameter(
            server, {'OS-EXT-STS:task_state': None}
        )
        self.assertEqual(status, server['status'])
        self.assert_fault(server, reason)
        self.assertEqual([], self.copied)
        self.assert_on('h1', server, runs=status == 'ACTIVE')
        self.await_end()

    def await_end(self):
        """nova-compute is done with what failed.

        It resets the server's task once more after all that it shows, and so
        would undo the next action's.
        """
        end = time.monotonic() + 3
        while self.failed() <= self.seen and time.monotonic() < end:
            time.sleep(0.05)
        self.seen = self.failed()

    def failed(self):
        return self.stdlog.logger.output.count(
            'Exception during message handling'
        )

    def hard_reboot(self, server):
        self.act(server, 'reboot', {'type': 'HARD'})
        self._wait_for_state_change(server, 'ACTIVE')


class TestMigrate(Base):
    def test_confirm(self):
        server = self.protect()
        self.cold(server)
        self.assert_on('h2', server)
        self.assertEqual(['prepare'], self.h1.ops())
        self.assertEqual(['activated', 'open', 'close'], self.h2.ops())
        self.confirm(server)
        self.assert_on('h2', server)
        # There is nothing to do for a confirmation.
        self.assertEqual(['prepare'], self.h1.ops())
        self._delete_server(server)
        self.assertEqual({}, self.cloud.holders)

    def test_revert(self):
        server = self.protect()
        self.cold(server)
        uuid = self.migration(server)['uuid']
        self.h1.calls.clear()
        self.h2.calls.clear()
        self.revert(server)
        self.assert_on('h1', server)
        self.assertEqual(['prepare'], self.h2.ops())
        asked = dict(self.h2.calls)['prepare']
        self.assertEqual(
            (way_back(uuid), 'h1', 'revert'),
            (asked['migration'], asked['dest'], asked['kind']),
        )
        self.assertEqual(['activated', 'open', 'close'], self.h1.ops())
        # And again.
        self.cold(server)
        self.confirm(server)
        self.assert_on('h2', server)

    def test_revert_leaves_no_state_of_the_vtpm(self):
        """On shared storage, where stock Nova would keep it there."""
        flags = []
        undefine = fake.Domain.undefineFlags

        def noted(domain, value):
            flags.append(value)
            undefine(domain, value)

        self.useFixture(
            fixtures.MockPatchObject(fake.Domain, 'undefineFlags', noted)
        )
        for name in ('h1', 'h2'):
            self.useFixture(
                fixtures.MockPatchObject(
                    self.computes[name].manager,
                    '_is_instance_storage_shared',
                    return_value=True,
                )
            )
        kept = (
            fake.VIR_DOMAIN_UNDEFINE_KEEP_TPM
            | fake.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
        )
        protected, plain = self.protect(), self.create(host='h1')
        for server, left in ((protected, 0), (plain, kept)):
            self.hard_reboot(server)
            self.assertEqual(kept, flags[-1] & kept)
            self.cold(server)
            self.revert(server)
            self.assertEqual(left, flags[-1] & kept)

    def test_stopped_server(self):
        server = self.protect()
        self._stop_server(server)
        self.h1.calls.clear()
        self.cold(server)
        self.assert_on('h2', server, runs=False)
        self.assertEqual(['activated'], self.h2.ops())
        self.confirm(server, 'SHUTOFF')
        self._start_server(server)
        self.assert_on('h2', server)

    def test_stopped_server_back(self):
        server = self.protect()
        self._stop_server(server)
        self.cold(server)
        self.revert(server, 'SHUTOFF')
        self.assert_on('h1', server, runs=False)
        self._start_server(server)
        self.assert_on('h1', server)

    def test_deleted_before_it_is_confirmed(self):
        server = self.protect()
        self.cold(server)
        self._delete_server(server)
        self.assertEqual({}, self.cloud.holders)
        self.assertEqual({}, self.h2.vault)

    def test_not_powered_off_before_the_key_is_there(self):
        server = self.protect()
        seen = []
        self.before_power_off = lambda instance: seen.append(
            (
                self.is_active('h1', server),
                self.h2.vault[instance.uuid]['state'],
            )
        )
        self.cold(server)
        self.assertEqual([(True, 'incoming')], seen)

    def test_plain_servers_do_as_before(self):
        for specs in (None, base.TRUSTED):
            server = self.create(specs, host='h1')
            self.cold(server)
            self.revert(server)
            self.assertEqual('h1', self.host_of(server))
        self.h1.alive = self.h2.alive = False
        server = self.create(host='h1')
        self.cold(server)
        self.confirm(server)
        self.assertEqual('h2', self.host_of(server))


class TestResize(Base):
    def resize(self, server, specs, **kwargs):
        flavor = self._create_flavor(extra_spec=specs, vcpu=1, **kwargs)
        self.act(server, 'resize', {'flavorRef': flavor})

    def test_there_and_back(self):
        server = self.protect()
        self.resize(server, base.VTPM, memory_mb=4096)
        self._wait_for_state_change(server, 'VERIFY_RESIZE')
        self.assert_on('h2', server)
        self.revert(server)
        self.assert_on('h1', server)

    def test_same_host(self):
        """No hand-over: the key never moves."""
        self.flags(allow_resize_to_same_host=True)
        self.computes['h2'].stop()
        self.api.put_service(
            self.computes['h2'].service_ref.uuid, {'forced_down': True}
        )
        server = self.protect()
        self.resize(server, base.VTPM, memory_mb=4096)
        self._wait_for_state_change(server, 'VERIFY_RESIZE')
        self.assert_on('h1', server)
        self.revert(server)
        self.assert_on('h1', server)
        self.assertNotIn('prepare', self.h1.ops())
        self.assertEqual([], self.h2.ops())

    def test_same_host_untrusted(self):
        self.flags(allow_resize_to_same_host=True)
        self.computes['h2'].stop()
        self.api.put_service(
            self.computes['h2'].service_ref.uuid, {'forced_down': True}
        )
        server = self.protect()
        self.cloud.untrusted.add('h1')
        self.resize(server, base.VTPM, memory_mb=4096)
        self.refused(server, 'HOST_UNTRUSTED')

    def test_another_vtpm(self):
        server = self.protect()
        tis = {**base.VTPM, 'hw:tpm_model': 'tpm-tis'}
        for specs in (tis, {}):
            self.resize(server, specs)
            self.refused(server, 'COLD_VTPM_CHANGED')
        self.assertEqual([], self.h1.ops())

    def test_gains_a_vtpm(self):
        server = self.create(host='h1')
        self.resize(server, base.VTPM)
        self._wait_for_migration_status(server, ['error'])
        self.assert_fault(server, 'COLD_VTPM_CHANGED')
        self.assertEqual('h1', self.host_of(server))
        self.assertTrue(self.is_active('h1', server))


class TestRefused(Base):
    """Before the power-off: nothing was touched."""

    def test_untrusted(self):
        server = self.protect()
        for host in ('h1', 'h2'):
            self.cloud.untrusted = {host}
            self.act(server, 'migrate')
            self.refused(server, 'HOST_UNTRUSTED')
        self.cloud.untrusted.clear()
        self.cold(server)
        self.assert_on('h2', server)

    def test_nobody_answers(self):
        server = self.protect()
        self.cloud.up = False
        self.act(server, 'migrate')
        self._wait_for_migration_status(server, ['error'])
        self.assert_fault(server, 'SERVICE_UNAVAILABLE')
        self.cloud.up = True
        self.refused(server, 'SERVICE_UNAVAILABLE')
        self.h1.alive = False
        self.act(server, 'migrate')
        self.refused(server, 'AGENT_UNAVAILABLE')
        self.h1.alive = True
        self.h2.alive = False
        self.act(server, 'migrate')
        self.refused(server, 'BUS_UNAVAILABLE')

    def test_stopped_server(self):
        server = self.protect()
        self._stop_server(server)
        self.cloud.untrusted = {'h2'}
        self.act(server, 'migrate')
        self.refused(server, 'HOST_UNTRUSTED', 'SHUTOFF')

    def test_older_destination(self):
        server = self.protect()
        self.h2.fail['prepared'] = errors.Unavailable('PEER_TOO_OLD')
        self.act(server, 'migrate')
        self.refused(server, 'PEER_TOO_OLD')

    def test_lost_answer(self):
        """S's agent has the start, and nova-compute does not know."""
        server = self.protect()
        stock = self.h1._prepare

        def lost(**fields):
            stock(**fields)
            raise errors.Unavailable('AGENT_UNAVAILABLE')

        with mock.patch.object(self.h1, '_prepare', lost):
            self.act(server, 'migrate')
            self.refused(server, 'AGENT_UNAVAILABLE')

    def test_another_cell(self):
        """Nova powers off by a call of its own."""
        server = self.protect()
        instance = self.instance(server)
        instance.task_state = task_states.RESIZE_MIGRATING
        driver = self.computes['h1'].driver
        error = self.assertRaises(
            exception.InstanceFaultRollback, driver.power_off, instance
        )
        self.assertIn('COLD_MIGRATION_UNSUPPORTED', str(error))
        self.assertTrue(self.is_active('h1', server))


class TestFailures(Base):
    def test_copy(self):
        server = self.protect()
        self.copy_fails = exception.NovaException('the copy broke')
        self.cold(server, 'ERROR')
        self.assert_on('h1', server, runs=False)
        self.copy_fails = None
        self.hard_reboot(server)
        self.assert_on('h1', server)
        self.cold(server)
        self.assert_on('h2', server)

    def test_nova_gives_up_before_the_power_off(self):
        """It does so after our gate: a disk would have to shrink, say."""
        server = self.protect()

        def fail(instance):
            raise exception.InstanceFaultRollback(
                exception.ResizeError(reason='too small')
            )

        self.before_power_off = fail
        self.act(server, 'migrate')
        self._wait_for_migration_status(server, ['error'])
        self._wait_for_server_parameter(
            server, {'OS-EXT-STS:task_state': None, 'status': 'ACTIVE'}
        )
        self.assert_on('h1', server)

    def test_nova_fails_after_the_copy(self):
        """Nova has it on S still: so has S its key, once it starts there."""
        server = self.protect()
        manager = self.computes['h1'].manager
        with mock.patch.object(
            manager.network_api,
            'migrate_instance_start',
            side_effect=exception.NovaException('no network'),
        ):
            self.cold(server, 'ERROR')
        self.assertEqual('moving', self.h1.vault[server['id']]['state'])
        self.assertEqual('h1', self.host_of(server))
        self.hard_reboot(server)
        self.assert_on('h1', server)

    def test_start_is_refused(self):
        """All is in place on D: a hard reboot is enough."""
        server = self.protect()
        self.before_power_off = lambda _: self.cloud.untrusted.add('h2')
        self.cold(server, 'ERROR')
        self.assert_fault(server, 'HOST_UNTRUSTED')
        self.assert_on('h2', server, runs=False)
        self.domain('h2', server)
        self.cloud.untrusted.clear()
        self.hard_reboot(server)
        self.assert_on('h2', server)

    def test_nova_fails_as_it_finishes(self):
        server = self.protect()
        with mock.patch.object(
            STOCK,
            '_finish_migration_vtpm',
            side_effect=exception.NovaException('x'),
        ):
            self.cold(server, 'ERROR')
        self.assert_on('h2', server, runs=False)
        self.hard_reboot(server)
        self.assert_on('h2', server)

    def test_destination_crashes_as_it_finishes(self):
        """Nobody said that the server is there: its start does."""
        server = self.protect()
        with mock.patch.object(
            self.computes['h2'].driver,
            'finish_migration',
            side_effect=exception.NovaException('killed'),
        ):
            self.cold(server, 'ERROR')
        self.assertEqual('incoming', self.h2.vault[server['id']]['state'])
        self.hard_reboot(server)
        self.assert_on('h2', server)

    def test_revert_is_refused(self):
        """Before anything is destroyed: it runs on, and can migrate back."""
        server = self.protect()
        self.cold(server)
        self.cloud.untrusted.add('h1')
        self.act(server, 'revertResize')
        self._wait_for_migration_status(server, ['error'])
        self._wait_for_server_parameter(
            server, {'OS-EXT-STS:task_state': None, 'status': 'ACTIVE'}
        )
        self.assert_fault(server, 'HOST_UNTRUSTED')
        self.assert_on('h2', server)
        self.cloud.untrusted.clear()
        self.cold(server)
        self.assert_on('h1', server)

    def test_start_after_a_revert_is_refused(self):
        server = self.protect()
        self.cold(server)
        stock = STOCK.destroy

        def destroy(*args, **kwargs):
            stock(*args, **kwargs)
            self.cloud.untrusted.add('h1')

        with mock.patch.object(STOCK, 'destroy', destroy):
            self.revert(server, 'ERROR')
        self.assert_fault(server, 'HOST_UNTRUSTED')
        self.assert_on('h1', server, runs=False)
        self.cloud.untrusted.clear()
        self.hard_reboot(server)
        self.assert_on('h1', server)

    def test_destroy_fails_in_a_revert(self):
        server = self.protect()
        self.cold(server)
        with mock.patch.object(
            STOCK, 'destroy', side_effect=exception.NovaException('stuck')
        ):
            self.revert(server, 'ERROR')
        self.assert_on('h2', server)


class TestCrash(Base):
    """nova-compute on S is killed; it starts again and goes back."""

    def setUp(self):
        super().setUp()
        self.place = self.useFixture(fixtures.TempDir()).path
        self.useFixture(
            fixtures.MockPatchObject(libvirt_utils, 'VTPM_DIR', self.place)
        )
        me = SimpleNamespace(pw_uid=os.getuid(), gr_gid=os.getgid())
        for name in ('pwd.getpwnam', 'grp.getgrnam'):
            self.useFixture(fixtures.MockPatch(name, lambda _: me))
        context = nova.privsep.sys_admin_pctxt
        context.set_client_mode(False)
        self.addCleanup(context.set_client_mode, True)

    @contextlib.contextmanager
    def killed(self, server, when):
        """Leaves Nova's records as a killed nova-compute does.

        :param when: 'before' the power-off, or in the 'copy'.
        """

        class Killed(BaseException):
            pass

        uuid = server['id']
        saved = objects.Instance.save

        def save(instance, *args, **kwargs):
            # What is saved after the crash is never saved.
            if instance.uuid == uuid and self.dead:
                return None
            return saved(instance, *args, **kwargs)

        self.dead = False
        driver = self.computes['h1'].driver

        def die(instance):
            if when == 'copy':
                driver.power_off(instance)
                self.lose_vtpm(instance)
            self.dead = True
            raise Killed

        self.before_power_off = die
        with (
            mock.patch.object(objects.Instance, 'save', save),
            mock.patch.object(
                driver._korora.moves._hypervisor, 'bring_back_vtpm'
            ),
            mock.patch.object(self.h1, '_stays', side_effect=Killed),
            mock.patch.object(
                self.computes['h1'].manager, '_revert_allocation'
            ),
        ):
            self.act(server, 'migrate')
            self.wait_until(lambda: self.dead)
            self.wait_until(
                lambda: (
                    not self.computes[
                        'h1'
                    ].manager.driver._korora.moves._leaving
                )
            )
        self.before_power_off = lambda instance: None
        yield

    def lose_vtpm(self, instance):
        """Nova has moved the vTPM's state away, to copy it."""
        resize = libvirt_utils.get_instance_path(instance) + '_resize'
        directory = os.path.join(resize, 'swtpm', instance.uuid)
        os.makedirs(directory)
        with open(os.path.join(directory, 'state'), 'w') as file:
            file.write('old')

    def restart(self):
        self.dead = False
        self.restart_compute_service('h1')

    def test_in_the_copy(self):
        server = self.protect()
        launch = self.h1._launch
        place = os.path.join(self.place, server['id'], 'state')

        def compare(instance):
            # Only then there is something to compare.
            self.assertTrue(os.path.exists(place))
            return launch(instance)

        self.h1._launch = compare
        with self.killed(server, 'copy'):
            self.assertEqual('moving', self.h1.vault[server['id']]['state'])
            self.restart()
            self._wait_for_server_parameter(
                server, {'OS-EXT-STS:task_state': None}
            )
            self.assert_on('h1', server)
            with open(os.path.join(self.place, server['id'], 'state')) as file:
                self.assertEqual('old', file.read())
            self.assertIsNone(self.instance(server).old_flavor)

    def test_in_the_copy_and_the_host_is_not_trusted(self):
        server = self.protect()
        with self.killed(server, 'copy'):
            self.cloud.untrusted.add('h1')
            self.restart()
            self.wait_until(
                lambda: self.show(server)['OS-EXT-STS:task_state'] is None
            )
            self.assertFalse(self.is_active('h1', server))
            self.assertEqual(
                ['state'],
                os.listdir(os.path.join(self.place, server['id'])),
            )
            self.cloud.untrusted.clear()
            self.wait_until(lambda: self.is_active('h1', server))
            self.wait_until(lambda: self.show(server)['status'] == 'ACTIVE')
            self.assert_on('h1', server)

    def test_before_the_power_off(self):
        """The guest runs on; what libvirt has of it is not touched.

        Of a domain that it forgets while it runs, libvirt deletes the vTPM's
        state when that is powered off.
        """
        server = self.protect()
        with (
            self.killed(server, 'before'),
            mock.patch.object(STOCK, '_create_guest') as created,
            mock.patch.object(STOCK, '_undefine_domain') as undefined,
        ):
            self.restart()
            self._wait_for_server_parameter(
                server, {'OS-EXT-STS:task_state': None}
            )
            self.assert_on('h1', server)
        created.assert_not_called()
        undefined.assert_not_called()
