# SPDX-License-Identifier: Apache-2.0
"""Odd moments of live migrations."""

import threading
from unittest import mock

from nova import objects
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import guest as libvirt_guest

from korora_nova import errors
from korora_nova.attester import socket_client
from tests.functional.nova import test_live_migration

#: Seconds that Nova's conductor waits for the source's check.
RPC_TIMEOUT = 60


class Base(test_live_migration.Base):
    def begin(self, server):
        """Migrate; returns while the stream runs."""
        self.stream = 'abort'
        self.act(
            server, 'os-migrateLive', {'host': None, 'block_migration': 'auto'}
        )
        self._wait_for_migration_status(server, ['running'])
        self.assertTrue(self.streaming.wait(30))

    def settled(self, server):
        return self._wait_for_server_parameter(
            server, {'OS-EXT-STS:task_state': None}, max_retries=30
        )


class TestStream(Base):
    def test_force_complete(self):
        """M2: force-complete pauses a protected server."""
        self.assertEqual(['pause'], self.force_complete(self.protect()))

    def test_force_complete_of_a_plain_server(self):
        self.assertEqual(
            ['post-copy'], self.force_complete(self.create(host='h1'))
        )

    def test_timeout_action(self):
        """M2: so does Nova itself if the stream takes too long."""
        self.flags(
            live_migration_timeout_action='force_complete',
            live_migration_completion_timeout=1,
            group='libvirt',
        )
        with mock.patch.object(
            libvirt_driver.LibvirtDriver,
            '_live_migration_data_gb',
            return_value=1,
        ):
            self.assertEqual(
                ['pause'], self.force_complete(self.protect(), act=False)[:1]
            )

    def force_complete(self, server, act=True):
        """What is done to a server's stream, which is then aborted.

        :param act: whether an operator asks for it.
        """
        for driver in (self.computes[name].driver for name in self.computes):
            driver._live_migration_flags |= fakelibvirt.VIR_MIGRATE_POSTCOPY
        self.begin(server)
        domain = self.domain('h1', server)
        domain._job_type = fakelibvirt.VIR_DOMAIN_JOB_UNBOUNDED
        done = []
        with (
            mock.patch.object(
                libvirt_guest.Guest,
                'migrate_start_postcopy',
                lambda guest: done.append('post-copy'),
            ),
            mock.patch.object(
                libvirt_guest.Guest,
                'pause',
                lambda guest: done.append('pause'),
            ),
            mock.patch.object(libvirt_guest.Guest, 'resume'),
        ):
            if act:
                self.api.force_complete_migration(
                    server['id'], self.migration(server)['id']
                )
            self.wait_until(lambda: done)
            domain.abortJob()
            self.settled(server)
        return done

    def test_deleted_meanwhile(self):
        """T48, M5a: a delete in mid-stream leaves no host a key."""
        server = self.protect()
        self.begin(server)
        self.api.delete_server(server['id'])
        self.wait_until(lambda: not self.connection('h1')._running_vms)
        self.abort.set()
        self._wait_until_deleted(server)
        # Nova ends it at both hosts, one way or the other.
        self.wait_until(
            lambda: {'activated', 'no_domain'} & set(self.h2.ops())
        )
        self.assertNotIn(
            'held',
            [record['state'] for record in self.h2.vault.values()],
            'h2 holds a key',
        )
        self.assertNotIn('stream_completed', self.h1.ops())
        # In the end the agent at the destination says so by itself.
        (migration,) = self.cloud.moves
        self.h2.call('no_domain', instance=server['id'], migration=migration)
        self.assertEqual({}, self.h1.vault)
        self.assertEqual({}, self.h2.vault)
        self.assertEqual({}, self.cloud.holders)

    def test_guest_dies_meanwhile(self):
        """M5b: a guest that dies in mid-stream has not arrived."""
        server = self.protect()
        self.begin(server)
        self.domain('h1', server).destroy()
        self.abort.set()
        self.settled(server)
        self.assertNotIn(
            'stream_completed', self.h1.ops(), 'it is said to have arrived'
        )
        # Nobody has decided anything: its key is where its vTPM is.
        self.assertEqual('moving', self.h1.vault[server['id']]['state'])
        self.assertEqual('h1', self.cloud.ledger[server['id']]['holder'])

    def test_late_rollback(self):
        """L5: a late rollback ends its own migration only."""
        server = self.protect()
        old, new = (
            '9ab6bd4c-6a49-4f8a-96a2-7e1b4f3c5d1%d' % number
            for number in (1, 2)
        )
        driver = self.computes['h2'].driver
        driver._korora.incoming._migrations[server['id']] = new
        data = objects.LibvirtLiveMigrateData(
            vtpm_secret_uuid=None,
            vtpm_secret_value=None,
            migration=objects.Migration(uuid=old),
        )
        with mock.patch.object(
            libvirt_driver.LibvirtDriver,
            'rollback_live_migration_at_destination',
        ):
            driver.rollback_live_migration_at_destination(
                None, self.instance(server), [], {}, migrate_data=data
            )
        ended = [
            fields['migration']
            for op, fields in self.h2.calls
            if op == 'no_domain'
        ]
        self.assertEqual([old], ended)
        self.assertNotIn('close', self.h2.ops())
        self.assertEqual(
            {server['id']: new}, driver._korora.incoming._migrations
        )


class TestTime(Base):
    """How long agents may take, by the driver's clock."""

    def setUp(self):
        super().setUp()
        self.waits = []
        self.time = 0.0

    def slow_down(self, host, *, answers=True):
        """The agent takes all of the time that it is given."""
        driver, agent = self.computes[host].driver, self.cloud.agent(host)
        test = self

        class Slow(socket_client.AgentClient):
            def __init__(self, wait):
                super().__init__('/nowhere', wait)
                self.wait = wait

            def call(self, op, **fields):
                # No request waits for what the driver does beside them.
                if not threading.current_thread().name.startswith('korora-'):
                    test.waits.append(self.wait)
                    test.time += self.wait
                if not answers:
                    raise errors.Unavailable('AGENT_UNAVAILABLE')
                return agent.call(op, **fields)

        driver._korora.gate._agent = Slow
        driver._korora.gate._clock = lambda: self.time
        return driver

    def test_check_of_the_source(self):
        """M3: the source's check ends while its RPC is waited for."""
        server = self.protect()
        driver = self.slow_down('h1')
        stock, took = driver.check_can_live_migrate_source, []

        def timed(*args, **kwargs):
            began = self.time
            try:
                return stock(*args, **kwargs)
            finally:
                took.append(self.time - began)

        driver.check_can_live_migrate_source = timed
        self.act(
            server, 'os-migrateLive', {'host': None, 'block_migration': 'auto'}
        )
        self.wait_until(lambda: took)
        self._wait_for_migration_status(server, ['error'])
        self.settled(server)
        self.assertLess(took[0], RPC_TIMEOUT - 10, 'seconds')
        # Nova tried the other host, too; it could not go on, either.
        self.assert_stays(server, 'AGENT_UNAVAILABLE')
        self.assertNotIn('announce', self.h1.ops())
        driver._korora.gate._agent = lambda wait: self.h1
        self.retry(server)

    def test_slow_stock_checks(self):
        """What Nova itself takes counts, too."""
        server = self.protect()
        driver = self.slow_down('h1')
        driver._korora.gate._agent = lambda wait: self.h1

        def check(stock, *args, **kwargs):
            self.time += RPC_TIMEOUT
            return args[-1] if args else None

        with mock.patch.object(
            libvirt_driver.LibvirtDriver,
            '_check_shared_storage_test_file',
            check,
        ):
            self.migrate(server, status='error')
        self.assert_stays(server, 'AGENT_UNAVAILABLE')
        # The destination does not wait for it any more.
        self.assertNotIn('announce', self.h1.ops())
        self.retry(server)

    def test_plain_server_and_hung_agents(self):
        """L3: hung agents delay plain servers once, not each time."""
        server = self.create(host='h1')
        for host in ('h1', 'h2'):
            self.slow_down(host, answers=False)
        self.migrate(server)
        self.assert_on('h2', server)
        self.assertLessEqual(sum(self.waits), 10, 'seconds')
        self.migrate(server)
        self.assert_on('h1', server)
        another = self.create(host='h1')
        self.migrate(another)
        self.assert_on('h2', another)
        self.assertLessEqual(sum(self.waits), 10, 'seconds')
