# SPDX-License-Identifier: Apache-2.0
"""nova-compute starts, with an agent that is there, late, or of other mind."""

import threading
import time
import uuid

from korora_nova import errors
from tests.functional.nova import base


class Base(base.Base):
    def setUp(self):
        super().setUp()
        self.start_hosts('h1')
        self.h1 = self.cloud.agent('h1')

    @property
    def driver(self):
        return self.computes['h1'].driver

    def stock(self):
        """A server that stock Nova has started: its key is readable."""
        server = self.create(base.VTPM, host='h1')
        self.h1.vault.pop(server['id'])
        self.cloud.ledger.pop(server['id'])
        self.driver._host.create_secret(
            'vtpm',
            server['id'],
            password=b'stock key',
            uuid=str(uuid.uuid4()),
            ephemeral=False,
            private=False,
        )
        self.h1.calls.clear()
        return server

    def step(self):
        return self.driver._korora.arrival.step()

    def assert_taken(self, *servers):
        for server in servers:
            record = self.h1.vault[server['id']]
            self.assertEqual(
                ('held', b'stock key'), (record['state'], record['value'])
            )
        self.assertEqual([], self.secrets('h1'))

    def warnings(self, text):
        return [
            line
            for line in self.stdlog.logger.output.splitlines()
            if text in line
        ]


class TestKeysOfStockServers(Base):
    def test_agent_that_comes_late(self):
        server = self.stock()
        self.h1.alive = False
        self.assertEqual([False, False], [self.step(), self.step()])
        self.assertEqual(1, len(self.warnings('Waiting for')))
        self.assertEqual(1, len(self.secrets('h1')))
        self.h1.alive = True
        self.assertTrue(self.step())
        self.assert_taken(server)
        self._reboot_server(server, hard=True)

    def test_host_that_is_trusted_late(self):
        servers = [self.stock(), self.stock()]
        self.cloud.untrusted.add('h1')
        self.assertFalse(self.step())
        self.assertFalse(self.step())
        # One attempt for all, and one line for all attempts.
        self.assertEqual(['attest', 'attest'], self.h1.ops())
        self.assertEqual(1, len(self.warnings('[HOST_UNTRUSTED]')))
        self.cloud.untrusted.clear()
        self.assertTrue(self.step())
        self.assert_taken(*servers)

    def test_one_that_is_refused_keeps_nobody_waiting(self):
        bad, good = self.stock(), self.stock()
        seal = self.h1._seal

        def refuse(instance, **fields):
            if instance == bad['id']:
                raise errors.Conflict('LEDGER_CONFLICT')
            return seal(instance, **fields)

        self.h1._seal = refuse
        self.assertEqual([False, False], [self.step(), self.step()])
        self.assertIn(good['id'], self.h1.vault)
        (line,) = self.warnings('[LEDGER_CONFLICT]')
        self.assertIn(bad['id'], line)

    def test_what_is_under_way_is_left_alone(self):
        server = self.stock()
        instance = self.instance(server)
        instance.task_state = 'rebooting'
        instance.save()
        self.assertFalse(self.step())
        instance.task_state = None
        instance.save()
        self.driver._korora.starts._beginning.add(server['id'])
        self.assertFalse(self.step())
        self.assertEqual([], self.h1.ops())
        self.driver._korora.starts._beginning.clear()
        self.assertTrue(self.step())
        self.assert_taken(server)

    def test_a_start_waits_for_it(self):
        """Neither takes the key from libvirt under the other's hands."""
        server = self.stock()
        entered, leave = threading.Event(), threading.Event()
        seal = self.h1._seal

        def slowly(**fields):
            entered.set()
            leave.wait(10)
            return seal(**fields)

        self.h1._seal = slowly
        thread = threading.Thread(target=self.step)
        thread.start()
        self.assertTrue(entered.wait(10))
        began = time.monotonic()
        threading.Timer(0.5, leave.set).start()
        with self.driver._korora.starts.starting(
            None, self.instance(server)
        ) as ticket:
            self.assertGreater(time.monotonic() - began, 0.4)
            self.assertIsNotNone(ticket.secret_uuid)
            self.assertEqual(1, len(self.secrets('h1')))
        thread.join(10)
        self.assert_taken(server)

    def test_restart(self):
        server = self.stock()
        self.restart_compute_service('h1')
        self.wait_until(lambda: server['id'] in self.h1.vault)
        self.wait_until(lambda: not self.secrets('h1'))
        self.assert_taken(server)

    def test_ends_with_the_service(self):
        self.stock()
        self.h1.alive = False
        self.restart_compute_service('h1')
        thread = self.driver._korora.arrival._thread
        self.wait_until(lambda: self.warnings('Waiting for'))
        self.computes['h1'].stop()
        thread.join(10)
        self.assertFalse(thread.is_alive())


class TestAddress(Base):
    def test_mismatch_is_told_at_the_start(self):
        """Not first at a migration, and what it is."""
        self.h1.address = '192.0.2.1'
        self.restart_compute_service('h1')
        self.wait_until(lambda: self.warnings('h1 or 192.0.2.1?'))
        (line,) = self.warnings('[ADDRESS_MISMATCH]')
        self.assertIn('Protected servers cannot migrate to this host', line)
        self.assertIn('WARNING', line)
        # All else works.
        self.create(base.VTPM, host='h1')

    def test_agreement_says_nothing(self):
        self.flags(live_migration_inbound_addr='192.0.2.1', group='libvirt')
        self.h1.address = '192.0.2.1'
        self.assertTrue(self.step())
        self.assertEqual([], self.warnings('ADDRESS_MISMATCH'))
        self.assertIn(
            ('check_address', {'address': '192.0.2.1'}), self.h1.calls
        )
