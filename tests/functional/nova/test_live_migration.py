# SPDX-License-Identifier: Apache-2.0
"""Live migration through Nova's API, scheduler, conductor and computes."""

import base64
import json
from unittest import mock

import fixtures
from nova import objects
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import guest as libvirt_guest
from oslo_messaging._drivers import impl_fake as fake_driver

from korora_nova import errors
from korora_nova.relying_party import nova_calls, outgoing, stream
from tests.functional.nova import base


class Base(base.Base):
    def setUp(self):
        super().setUp()
        self.start_hosts('h1', 'h2')
        self.h1, self.h2 = (self.cloud.agent(name) for name in ('h1', 'h2'))

    def protect(self):
        server = self.create(base.VTPM, host='h1')
        self.h1.calls.clear()
        return server

    def assert_on(self, host, server):
        server = self.show(server)
        self.assertEqual('ACTIVE', server['status'])
        self.assertEqual(host, server['OS-EXT-SRV-ATTR:host'])
        self.assertNotIn('fault', server)

    def assert_stays(self, server, reason=None):
        """Still on h1, running, with its key, and nothing on h2 (I6)."""
        self.assert_on('h1', server)
        self.assertTrue(self.domain('h1', server).isActive())
        # Nova's rollback on h2 is a cast.
        self.wait_until(lambda: not self.h2.vault)
        self.wait_until(lambda: not self.secrets('h2'))
        uuid = server['id']
        if uuid in self.protected:
            self.assertEqual('held', self.h1.vault[uuid]['state'])
            self.assertEqual('h1', self.cloud.ledger[uuid]['holder'])
            self.assertIsNone(self.cloud.ledger[uuid]['pending'])
        if reason is not None:
            self.assertIn(f'[{reason}]', self.stdlog.logger.output)

    def retry(self, server):
        """And a later attempt succeeds."""
        self.migrate(server)
        self.assert_on('h2', server)


class TestAllowed(Base):
    def test_there_and_back(self):
        server = self.protect()
        uuid = server['id']
        self.migrate(server)
        self.assert_on('h2', server)
        self.assertEqual(
            ['attest', 'announce', 'start', 'stream_completed'], self.h1.ops()
        )
        self.assertEqual(
            ['attest', 'attest', 'receive', 'activated', 'close'],
            self.h2.ops(),
        )
        self.assertEqual('held', self.h2.vault[uuid]['state'])
        self.assertEqual('relinquished', self.h1.vault[uuid]['state'])
        self.assertEqual('h2', self.cloud.ledger[uuid]['holder'])
        self.assertEqual([], self.secrets('h1') + self.secrets('h2'))
        received = dict(self.h2.calls)['receive']
        self.assertEqual(self.migration(server)['uuid'], received['migration'])
        self.assertEqual(
            ('h1', 'h2', ''),
            (received['source'], received['address'], received['tls_name']),
        )
        self.h1.vault.clear()
        self.migrate(server)
        self.assert_on('h1', server)

    def test_migrate_data_has_fields_without_secret(self):
        server = self.protect()
        seen = []
        stock = libvirt_driver.LibvirtDriver.pre_live_migration

        def spy(
            driver,
            context,
            instance,
            block_device_info,
            network_info,
            disk_info,
            migrate_data,
        ):
            seen.append(
                (
                    migrate_data.has_vtpm,
                    migrate_data.vtpm_secret_uuid,
                    migrate_data.vtpm_secret_value,
                )
            )
            return stock(
                driver,
                context,
                instance,
                block_device_info,
                network_info,
                disk_info,
                migrate_data,
            )

        with mock.patch.object(
            libvirt_driver.LibvirtDriver, 'pre_live_migration', spy
        ):
            self.migrate(server)
        self.assertEqual([(True, None, None)], seen)

    def test_no_postcopy_for_protected_servers(self):
        postcopy = fakelibvirt.VIR_MIGRATE_POSTCOPY
        for driver in (self.computes[name].driver for name in self.computes):
            driver._live_migration_flags |= postcopy
            driver._block_migration_flags |= postcopy
        self.migrate(self.protect())
        self.migrate(self.create(host='h1'))
        flags = [flags for _, _, flags in self.streams]
        self.assertEqual([0, postcopy], [flag & postcopy for flag in flags])

    def named(self, server):
        """Name and whether there is TLS, as libvirt is told."""
        with mock.patch.object(
            fakelibvirt,
            'VIR_MIGRATE_PARAM_TLS_DESTINATION',
            'tls.destination',
            create=True,
        ):
            self.migrate(server)
        _, params, flags = self.streams.pop()
        return (
            params.get('tls.destination'),
            bool(flags & fakelibvirt.VIR_MIGRATE_TLS),
        )

    def test_tls_whatever_nova_conf_says(self):
        """To the key of h2; plain servers are untouched (I9)."""
        self.h2.certificate = 'x.korora.invalid'
        self.assertEqual(
            ('x.korora.invalid', True), self.named(self.protect())
        )
        self.assertEqual((None, False), self.named(self.create(host='h1')))

    def test_plain_servers_with_tls_of_the_site(self):
        """As stock Nova does it: without a name."""
        self.flags(live_migration_with_native_tls=True, group='libvirt')
        # Nova reads it when it starts.
        self.computes['h1'].driver._parse_migration_flags()
        self.h2.certificate = 'x.korora.invalid'
        self.assertEqual((None, True), self.named(self.create(host='h1')))

    def test_channel_that_is_not_authenticated(self):
        """Nova's default; a plain server does not mind."""
        self.flags(live_migration_scheme=None, group='libvirt')
        server = self.protect()
        self.migrate(server, status='error')
        self.assert_stays(server, 'CHANNEL_UNAUTHENTICATED')
        self.assertNotIn('receive', self.h2.ops())
        self.migrate(self.create(host='h1'))
        self.flags(require_authenticated_channel=False, group='korora')
        self.retry(server)

    def test_tunnel(self):
        self.flags(live_migration_tunnelled=True, group='libvirt')
        server = self.protect()
        self.migrate(server, status='error')
        self.assert_stays(server, 'STREAM_TUNNELLED')
        self.assertNotIn('receive', self.h2.ops())

    def test_tls_names_the_destination(self):
        self.flags(live_migration_with_native_tls=True, group='libvirt')
        server = self.protect()
        with mock.patch.object(
            fakelibvirt,
            'VIR_MIGRATE_PARAM_TLS_DESTINATION',
            'tls.destination',
            create=True,
        ):
            self.migrate(server)
        _, params, flags = self.streams[0]
        self.assertEqual('h2', params['tls.destination'])
        self.assertTrue(flags & fakelibvirt.VIR_MIGRATE_TLS)

    def test_trusted_server_without_vtpm(self):
        server = self.create(base.TRUSTED, host='h1')
        self.h1.calls.clear()
        self.migrate(server)
        self.assert_on('h2', server)
        self.assertEqual(['verdict'], self.h1.ops())
        self.assertEqual(['attest', 'attest'], self.h2.ops())

    def test_trusted_server_leaves_a_host_that_turned_bad(self):
        server = self.create(base.TRUSTED, host='h1')
        self.cloud.untrusted.add('h1')
        self.migrate(server)
        self.assert_on('h2', server)


class TestAddress(Base):
    """Where a stream goes is Nova's choice, and the agents' to confirm."""

    def uris(self):
        return [
            (uri, params.get('migrate_uri')) for uri, params, _ in self.streams
        ]

    def test_without_inbound_address_it_is_the_host_name(self):
        """For the memory, too, which Nova leaves to h2's libvirt."""
        self.migrate(self.protect())
        self.migrate(self.create(host='h1'))
        self.assertEqual(
            [
                ('qemu+tls://h2/system', 'tcp://h2'),
                ('qemu+tls://h2/system', None),
            ],
            self.uris(),
        )

    def test_with_inbound_address(self):
        # Of both hosts: one process has one configuration.
        self.flags(live_migration_inbound_addr='h2.storage', group='libvirt')
        self.h2.address = 'h2.storage'
        self.migrate(self.protect())
        self.assertEqual(
            [('qemu+tls://h2.storage/system', 'tcp://h2.storage')], self.uris()
        )
        self.assertEqual(
            'h2.storage', dict(self.h2.calls)['receive']['address']
        )

    def test_my_ip_does_not_count(self):
        self.flags(my_ip='192.0.2.7')
        self.h2.address = '192.0.2.7'
        server = self.protect()
        self.migrate(server, status='error')
        self.assert_stays(server, 'ADDRESS_MISMATCH')
        # Both are for the operator; the log has them, the user has not.
        self.assertIn('h2 or 192.0.2.7?', self.stdlog.logger.output)
        # Nothing was prepared, and nobody else was bothered.
        self.assertNotIn('receive', self.h2.ops())
        self.assertEqual([], self.h1.ops())
        self.h2.address = 'h2'
        self.retry(server)

    def test_nova_configured_anew_in_between(self):
        server = self.protect()
        driver = self.computes['h2'].driver
        stock = driver.check_source_migrate_data_at_dest

        def change(*args, **kwargs):
            data = stock(*args, **kwargs)
            self.flags(live_migration_inbound_addr='other', group='libvirt')
            return data

        driver.check_source_migrate_data_at_dest = change
        self.migrate(server, status='failed')
        self.assert_stays(server, 'ADDRESS_MISMATCH')
        self.assertEqual([], self.streams)

    def test_servers_without_key_do_not_care(self):
        self.h2.address = 'elsewhere'
        for specs in ({}, base.TRUSTED):
            server = self.create(specs, host='h1')
            self.migrate(server)
            self.assert_on('h2', server)


class TestAfterTheStream(Base):
    """P4: nothing that we do there fails the migration, or erases."""

    def test_agents_that_died_meanwhile(self):
        server = self.protect()
        for agent, ops in (
            (self.h1, ('stream_completed',)),
            (self.h2, ('activated', 'close')),
        ):
            for op in ops:
                agent.fail[op] = errors.Unavailable('AGENT_UNAVAILABLE')
        self.migrate(server)
        self.assert_on('h2', server)
        self.assertEqual('moving', self.h1.vault[server['id']]['state'])
        self.assertEqual('incoming', self.h2.vault[server['id']]['state'])

    def test_destination_reports_even_if_nova_fails(self):
        server = self.protect()
        self.h1.fail['stream_completed'] = errors.Unavailable('RETRY')
        with mock.patch.object(
            libvirt_driver.LibvirtDriver,
            '_reattach_instance_vifs',
            side_effect=ValueError('vifs'),
        ):
            self.act(
                server,
                'os-migrateLive',
                {'host': None, 'block_migration': 'auto'},
            )
            self._wait_for_migration_status(server, ['error'])
        self.assertIn('activated', self.h2.ops())
        self.assertEqual('h2', self.cloud.ledger[server['id']]['holder'])


class TestCanary(Base):
    """I1: no passphrase in what Nova logs or sends, at DEBUG too."""

    def setUp(self):
        self.useFixture(base.fixtures.EnvironmentVariable('OS_DEBUG', '1'))
        super().setUp()

    def test_whole_life(self):
        """T5: the passphrase on the bus, in logs or on disk."""
        sent = []
        stock = fake_driver.FakeDriver._send

        def spy(driver, target, ctxt, message, *args, **kwargs):
            sent.append(json.dumps(message, default=str))
            return stock(driver, target, ctxt, message, *args, **kwargs)

        self.useFixture(
            base.fixtures.MockPatchObject(fake_driver.FakeDriver, '_send', spy)
        )
        server = self.protect()
        canary = self.h1.vault[server['id']]['value']
        self.migrate(server)
        self._reboot_server(server, hard=True)
        self.cloud.untrusted.add('h1')
        self.migrate(server, status='error')
        self.h2.fail['open'] = errors.Unavailable('TPM_UNAVAILABLE')
        self.act(server, 'reboot', {'type': 'HARD'})
        self._wait_for_server_parameter(
            server, {'OS-EXT-STS:task_state': None, 'status': 'ACTIVE'}
        )
        logs = self.stdlog.logger.output
        self.assertIn('migrate_data in pre_live_migration', logs)
        self.assertGreater(len(sent), 10)
        for form in (canary, base64.b64encode(canary)):
            self.assertNotIn(form.decode(), logs)
            self.assertNotIn(form.decode(), ''.join(sent))


class TestRefused(Base):
    def test_untrusted_destination(self):
        """T1: a server is migrated to an untrusted host."""
        server = self.protect()
        self.cloud.untrusted.add('h2')
        self.migrate(server, status='error')
        self.assert_stays(server, 'HOST_UNTRUSTED')
        self.assertEqual([], self.h1.ops())
        self.cloud.untrusted.clear()
        self.retry(server)

    def test_forced_past_the_scheduler(self):
        """T18: force, or nova:HOST, bypasses the scheduler."""
        server = self.protect()
        self.cloud.untrusted.add('h2')
        self.migrate(server, host='h2', force=True, status='error')
        self.assert_stays(server, 'HOST_UNTRUSTED')

    def test_untrusted_source(self):
        """T3: an untrusted source injects what it likes."""
        server = self.protect()
        self.cloud.untrusted.add('h1')
        self.migrate(server, status='error')
        self.assert_stays(server, 'HOST_UNTRUSTED')
        self.assertNotIn('announce', self.h1.ops())

    def test_service_down(self):
        """T19: a good result outlives the service that gave it."""
        server = self.protect()
        self.cloud.up = False
        self.migrate(server, status='error')
        self.assert_stays(server, 'SERVICE_UNAVAILABLE')
        self.cloud.up = True
        self.retry(server)

    def test_dead_agents(self):
        server = self.protect()
        for agent in (self.h2, self.h1):
            agent.alive = False
            self.migrate(server, status='error')
            agent.alive = True
            self.assert_stays(server, 'AGENT_UNAVAILABLE')

    def test_trusted_server_to_untrusted_host(self):
        server = self.create(base.TRUSTED, host='h1')
        self.cloud.untrusted.add('h2')
        self.migrate(server, host='h2', force=True, status='error')
        self.assert_stays(server, 'HOST_UNTRUSTED')

    def test_turned_bad_before_the_hand_over(self):
        server = self.protect()
        self.h2.fail['receive'] = errors.Untrusted('HOST_UNTRUSTED')
        self.migrate(server, status='failed')
        self.assert_stays(server, 'HOST_UNTRUSTED')
        self.assertIn('no_domain', self.h2.ops())
        self.assertEqual([], self.streams)
        self.h2.fail.clear()
        self.retry(server)

    def test_hand_over_lost_after_it_happened(self):
        """P9: D ends it itself; Nova's rollback may never come."""
        server = self.protect()
        receive = self.h2._receive

        def lose(**fields):
            receive(**fields)
            raise errors.Unavailable('AGENT_UNAVAILABLE')

        with mock.patch.object(self.h2, '_receive', lose):
            self.migrate(server, status='failed')
        self.assert_stays(server)
        self.retry(server)

    def test_turned_bad_before_the_stream(self):
        """P1: recovered, not in ERROR."""
        server = self.protect()
        self.h1.fail['start'] = errors.Untrusted('HOST_UNTRUSTED')
        self.migrate(server, status='failed')
        self.assert_stays(server, 'HOST_UNTRUSTED')
        self.assertIn('never_started', self.h1.ops())
        self.assertEqual([], self.streams)
        self.h1.fail.clear()
        self.retry(server)

    def test_trusted_server_turned_bad_before_the_stream(self):
        server = self.create(base.TRUSTED, host='h1')
        self.h1.fail['verdict'] = errors.Untrusted('HOST_UNTRUSTED')
        self.migrate(server, status='failed')
        self.assert_stays(server, 'HOST_UNTRUSTED')

    def test_drift(self):
        server = self.protect()
        plain = self.create(host='h1')
        self.computes['h2'].driver._korora.gate.obstacle = errors.Unavailable(
            'NOVA_DRIFT'
        )
        self.migrate(server, status='error')
        self.assert_stays(server, 'NOVA_DRIFT')
        self.migrate(plain)
        self.assert_on('h2', plain)


class TestStreamFails(Base):
    def test_broken_stream(self):
        """P2: stock Nova puts the server in ERROR here."""
        server = self.protect()
        self.stream = 'fail'
        self.migrate(server, status='failed')
        self.assert_stays(server)
        self.assertEqual(1, len(self.streams))
        self.assertNotIn('never_started', self.h1.ops())
        self.stream = 'ok'
        self.retry(server)

    def test_aborted_stream(self):
        server = self.protect()
        self.stream = 'abort'
        self.act(
            server, 'os-migrateLive', {'host': None, 'block_migration': 'auto'}
        )
        self._wait_for_migration_status(server, ['running'])
        self.assertTrue(self.streaming.wait(30))
        self.api.api_delete(
            '/servers/%s/migrations/%s'
            % (server['id'], self.migration(server)['id'])
        )
        self._wait_for_migration_status(server, ['cancelled'])
        self._wait_for_server_parameter(
            server, {'status': 'ACTIVE', 'OS-EXT-STS:task_state': None}
        )
        self.assert_stays(server)
        self.stream = 'ok'
        self.retry(server)

    def stuck(self, server):
        """A stream that does not end by itself; the migration's uuid."""
        self.stream = 'abort'
        self.abort.clear()
        self.streaming.clear()
        source = self.host_of(server)
        self.domain(source, server)._job_type = fakelibvirt.VIR_DOMAIN_JOB_NONE
        self.act(
            server, 'os-migrateLive', {'host': None, 'block_migration': 'auto'}
        )
        self._wait_for_migration_status(server, ['running'])
        self.assertTrue(self.streaming.wait(30))
        return self.migration(server)['uuid']

    def events(self, server):
        """Of the last live migration's action: event to its details."""
        path = '/servers/%s/os-instance-actions' % server['id']
        actions = self.api.api_get(path).body['instanceActions']
        (request,) = (
            one['request_id']
            for one in actions[:1]
            if one['action'] == 'live-migration'
        )
        action = self.api.api_get(f'{path}/{request}').body['instanceAction']
        return {one['event']: one for one in action['events']}

    def test_the_end_of_a_stream_is_seen_when_it_comes(self):
        """Nova's first look waits for it; plain servers go as in stock."""
        looks = []
        look = libvirt_guest.Guest.get_job_info

        def looked(guest):
            looks.append(guest)
            return look(guest)

        for change in (
            (libvirt_guest.Guest, 'get_job_info', looked),
            (stream, 'FIRST_LOOK', 60),
        ):
            self.useFixture(fixtures.MockPatchObject(*change))
        server = self.protect()
        self.stuck(server)
        self.domain('h1', server).abortJob()
        self._wait_for_migration_status(server, ['cancelled'])
        self.assertEqual(1, len(looks))
        plain = self.create(host='h1')
        self.stuck(plain)
        self.wait_until(lambda: len(looks) > 1)
        self.domain('h1', plain).abortJob()

    def test_trust_is_lost_in_flight(self):
        """T13: the agent ends libvirt's job, and Nova rolls back, I6."""
        server = self.protect()
        migration = self.stuck(server)
        self.h1.endings[migration] = ('IMA_UNKNOWN_FILE',)
        self.domain('h1', server).abortJob()  # as the agent does
        self._wait_for_migration_status(server, ['cancelled'])
        self._wait_for_server_parameter(
            server, {'status': 'ACTIVE', 'OS-EXT-STS:task_state': None}
        )
        self.assert_stays(server, 'TRUST_LOST_IN_FLIGHT')
        self.assert_fault(server, 'TRUST_LOST_IN_FLIGHT')
        event = self.events(server)[nova_calls.ENDED]
        self.assertEqual('Error', event['result'])
        self.assertIn('[TRUST_LOST_IN_FLIGHT]', event['details'])
        for text in ('h2', 'IMA_UNKNOWN_FILE'):
            self.assertNotIn(text, event['details'])
            self.assertIn(text, self.stdlog.logger.output)
        self.stream = 'ok'
        self.retry(server)

    def test_what_is_to_be_shown_cannot_be(self):
        """The rollback comes first."""
        server = self.protect()
        migration = self.stuck(server)
        self.h1.endings[migration] = ('IMA_UNKNOWN_FILE',)
        genuine = objects.InstanceActionEvent.event_start

        def start(context, uuid, name, **more):
            if name == nova_calls.ENDED:
                raise ValueError('no action')
            return genuine(context, uuid, name, **more)

        with (
            mock.patch.object(
                objects.InstanceActionEvent, 'event_start', start
            ),
            mock.patch.object(
                nova_calls, 'add_fault', side_effect=ValueError('no fault')
            ),
        ):
            self.domain('h1', server).abortJob()
            self._wait_for_migration_status(server, ['cancelled'])
        self._wait_for_server_parameter(
            server, {'status': 'ACTIVE', 'OS-EXT-STS:task_state': None}
        )
        self.assert_stays(server, 'TRUST_LOST_IN_FLIGHT')

    def test_agent_that_cannot_say_why(self):
        """An older one does not know the question, a dead one nothing."""
        for error in (
            errors.Invalid('INVALID_REQUEST'),
            errors.Unavailable('AGENT_UNAVAILABLE'),
        ):
            server = self.protect()
            migration = self.stuck(server)
            self.h1.endings[migration] = ('IMA_UNKNOWN_FILE',)
            self.h1.fail['ended'] = error
            self.domain('h1', server).abortJob()
            self._wait_for_migration_status(server, ['cancelled'])
            self._wait_for_server_parameter(
                server, {'status': 'ACTIVE', 'OS-EXT-STS:task_state': None}
            )
            self.h1.fail.clear()
            self.assert_stays(server)
            self.assertNotIn(nova_calls.ENDED, self.events(server))

    def test_plain_server_meanwhile(self):
        """I9: whatever its hosts are, nobody asks about its stream."""
        server = self.create(host='h1')
        self.h1.calls.clear()
        migration = self.stuck(server)
        self.cloud.untrusted |= {'h1', 'h2'}
        self.h1.endings[migration] = ('IMA_UNKNOWN_FILE',)
        self.domain('h1', server).abortJob()
        self._wait_for_state_change(server, 'ERROR', wait_for_fault_key=False)
        self.assertNotIn('ended', [op for op, _ in self.h1.calls])
        self.assertNotIn(nova_calls.ENDED, self.events(server))

    def test_plain_server_ends_as_in_stock_nova(self):
        server = self.create(host='h1')
        self.stream = 'fail'
        self.act(
            server, 'os-migrateLive', {'host': None, 'block_migration': 'auto'}
        )
        self._wait_for_state_change(server, 'ERROR', wait_for_fault_key=False)

    def test_failure_before_the_stream(self):
        server = self.protect()
        with (
            mock.patch.object(
                libvirt_driver.LibvirtDriver,
                '_live_migration_copy_disk_paths',
                side_effect=ValueError('no disks'),
            ),
            mock.patch.object(
                libvirt_driver.LibvirtDriver,
                '_is_shared_block_storage',
                return_value=False,
            ),
            mock.patch.object(
                libvirt_driver.LibvirtDriver,
                '_check_shared_storage_test_file',
                return_value=False,
            ),
            (
                mock.patch.object(
                    libvirt_driver.LibvirtDriver,
                    '_assert_dest_node_has_enough_disk',
                )
            ),
            # The fixture's QEMU is too old to copy disks.
            mock.patch.object(outgoing.Outgoing, 'check_disks'),
        ):
            self.migrate(server, status='failed')
        self.assert_stays(server)


class TestBus(Base):
    """What crosses the bus was altered on its way."""

    def alter(self, method, change):
        """Let ``change`` edit the migrate data that a driver answers."""
        stock = getattr(libvirt_driver.LibvirtDriver, method)

        def altered(driver, *args, **kwargs):
            data = stock(driver, *args, **kwargs)
            change(data)
            return data

        self.useFixture(
            base.fixtures.MockPatchObject(
                libvirt_driver.LibvirtDriver, method, altered
            )
        )

    @staticmethod
    def inject(data):
        data.vtpm_secret_uuid = '11111111-2222-3333-4444-555555555555'
        data.vtpm_secret_value = 'canary'

    def test_secret_from_the_source(self):
        """T38: a secret is put into Nova's migrate data."""
        server = self.protect()
        self.alter('check_can_live_migrate_source', self.inject)
        self.migrate(server, status='error')
        self.assert_stays(server, 'SECRET_IN_MIGRATE_DATA')

    def test_secret_from_the_destination(self):
        """T38: a secret is put into Nova's migrate data."""
        server = self.protect()
        self.alter('check_can_live_migrate_destination', self.inject)
        self.migrate(server, status='error')
        self.assert_stays(server, 'SECRET_IN_MIGRATE_DATA')
        self.assertNotIn('announce', self.h1.ops())

    def test_secret_between_check_and_preparation(self):
        server = self.protect()
        self.alter('post_claim_migrate_data', self.inject)
        self.alter('check_source_migrate_data_at_dest', self.inject)
        self.migrate(server, status='failed')
        self.assert_stays(server, 'SECRET_IN_MIGRATE_DATA')
        self.assertNotIn('receive', self.h2.ops())

    def test_secret_between_preparation_and_stream(self):
        """T38: a secret is put into Nova's migrate data."""
        server = self.protect()
        self.alter('pre_live_migration', self.inject)
        self.migrate(server, status='failed')
        self.assert_stays(server, 'SECRET_IN_MIGRATE_DATA')
        self.assertEqual([], self.streams)

    def test_secret_for_an_unprotected_server_defines_nothing(self):
        server = self.create(host='h1')
        self.alter('check_can_live_migrate_source', self.inject)
        self.migrate(server, status='error')
        self.assertEqual([], self.secrets('h2'))

    def test_redirected_stream(self):
        """T33, S4: the stream is redirected on the bus."""
        server = self.protect()
        for host in self.computes:
            driver = self.computes[host].driver
            stock = driver.pre_live_migration

            def redirect(*args, stock=stock, **kwargs):
                data = stock(*args, **kwargs)
                data.target_connect_addr = 'evil'
                return data

            driver.pre_live_migration = redirect
        self.migrate(server, status='failed')
        self.assert_stays(server, 'ADDRESS_MISMATCH')
        self.assertEqual([], self.streams)

    def test_flavor_stripped(self):
        """T32: what the vault knows, a flavor on the bus cannot undo."""
        server = self.protect()
        instance = self.instance(server)
        instance.flavor.extra_specs = {}
        instance.save()
        self.cloud.untrusted.add('h2')
        self.migrate(server, status='failed')
        self.assert_stays(server, 'HOST_UNTRUSTED')
        self.cloud.untrusted.clear()
        self.retry(server)
        self.assertEqual('held', self.h2.vault[server['id']]['state'])


class TestPlain(Base):
    """I9: servers without requirement, whatever state we are in."""

    def test_dead_agents(self):
        for agent in (self.h1, self.h2):
            agent.alive = False
        self.cloud.up = False
        server = self.create(host='h1')
        self.migrate(server)
        self.assert_on('h2', server)
        self._reboot_server(server, hard=True)
        self._delete_server(server)

    def test_untrusted_hosts(self):
        self.cloud.untrusted.update(('h1', 'h2'))
        server = self.create(host='h1')
        self.migrate(server)
        self.assert_on('h2', server)
        self.assertEqual([], self.h1.ops() + self.h2.ops())

    def test_deployment_mode_is_stock(self):
        specs = {**base.VTPM, 'hw:tpm_secret_security': 'user'}
        server = self.create(specs, host='h1')
        self.assertEqual([], self.h1.ops())
        secret = self.instance(server).system_metadata['vtpm_secret_uuid']
        self.assertIn(secret, self.connection('h1')._removed_secrets)


class TestNeverStarted(Base):
    def test_aborted_while_it_was_prepared(self):
        """Nova rolls back without having called the driver: S says so."""
        server = self.protect()
        uuid, migration = server['id'], '9ab6bd4c-6a49-4f8a-96a2-7e1b4f3c5d11'
        self.h1.call('announce', instance=uuid)
        self.h2.call(
            'receive',
            migration=migration,
            instance=uuid,
            source='h1',
            address='h2',
            tls_name='',
        )
        data = objects.LibvirtLiveMigrateData(
            vtpm_secret_uuid=None,
            vtpm_secret_value=None,
            migration=objects.Migration(uuid=migration),
        )
        driver = self.computes['h1'].driver
        instance = self.instance(server)
        driver.rollback_live_migration_at_source(None, instance, data)
        self.assertEqual(
            {'instance': uuid, 'migration': migration},
            dict(self.h1.calls)['never_started'],
        )
        self.assertEqual('held', self.h1.vault[uuid]['state'])

    def test_nothing_is_said_of_plain_servers(self):
        server = self.create(host='h1')
        data = objects.LibvirtLiveMigrateData(
            migration=objects.Migration(uuid=server['id'])
        )
        for host in ('h1', 'h2'):
            driver = self.computes[host].driver
            instance = self.instance(server)
            driver.rollback_live_migration_at_source(None, instance, data)
            self.assertEqual([], driver._korora.tombstones.list())
        self.assertEqual([], self.h1.ops() + self.h2.ops())


class TestRestart(Base):
    def test_migration_is_found_again(self):
        server = self.protect()
        check = self.h2._attest
        driver = self.computes['h2'].driver

        def forget(**fields):
            driver._korora.incoming._migrations.clear()
            return check(**fields)

        with mock.patch.object(self.h2, '_attest', forget):
            self.migrate(server)
        self.assert_on('h2', server)
        self.assertEqual(
            objects.MigrationList.get_by_filters(
                base.nova_context.get_admin_context(), {}
            )[0].uuid,
            dict(self.h2.calls)['receive']['migration'],
        )
