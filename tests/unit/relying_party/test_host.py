# SPDX-License-Identifier: Apache-2.0
"""The start of nova-compute, without Nova's driver."""

import threading

from korora_nova import errors
from tests.unit.relying_party import compute


class Base(compute.Base):
    def setUp(self):
        super().setUp()
        self.host = self.h1.parts
        self.began = threading.Event()
        self.host.arrival.start = self.began.set


class TestExamine(Base):
    def test_begin(self):
        self.host.gate._boot_wait = 100
        self.host.begin('another')
        self.assertEqual('another', self.host.name)
        self.assertTrue(self.host.gate.booting)

    def test_all_is_well(self):
        self.host.examine(lambda: None)
        self.assertIsNone(self.host.gate.obstacle)
        self.assertTrue(self.began.is_set())
        self.assertEqual('', self.log.output)

    def test_obstacle(self):
        self.host.examine(lambda: errors.Unavailable('LIBVIRT_TOO_OLD'))
        self.assertTrue(self.began.is_set())
        self.assertIn('are refused here: [LIBVIRT_TOO_OLD]', self.log.output)
        self.refused(
            'LIBVIRT_TOO_OLD', self.h1.starts.check_suspend, self.instance
        )

    def test_what_fails_refuses_too(self):
        def fail():
            raise ValueError

        self.host.examine(fail)
        self.assertFalse(self.began.is_set())
        self.assertEqual('INTERNAL', self.host.gate.obstacle.reason)
        self.assertIn('Cannot examine this host', self.log.output)


class TestArrival(Base):
    def step(self):
        return self.host.arrival.step()

    def test_agent_that_comes_late(self):
        self.h1.tombstones.add(compute.MIGRATION)
        self.h1.running = [self.instance]
        self.h1.libvirt.stock = (compute.SECRET, b'stock key')
        self.h1.agent.alive = False
        self.assertFalse(self.step())
        self.h1.agent.alive = True
        self.assertTrue(self.step())
        self.assertEqual([], self.h1.tombstones.list())
        self.assertEqual(
            b'stock key', self.h1.agent.vault[compute.UUID]['value']
        )

    def test_keys_that_the_agent_has_are_left_alone(self):
        self.protect()
        self.instance.task_state = 'rebooting'
        self.h1.running = [self.instance]
        self.assertTrue(self.step())

    def test_address(self):
        self.h1.agent.address = '192.0.2.1'
        self.assertTrue(self.step())
        self.assertIn('Protected servers cannot migrate', self.log.output)
