# SPDX-License-Identifier: Apache-2.0
"""The driver tells its agent that it is there."""

import fixtures

from korora_nova import conf, errors
from korora_nova.custody import operations
from korora_nova.relying_party import presence
from tests.unit.relying_party import compute


class TestPresence(compute.Base):
    def setUp(self):
        super().setUp()
        self.presence = self.h1.parts.presence

    def said(self):
        return [f for op, f in self.h1.agent.calls if op == 'enforces']

    def test_speaks(self):
        self.presence.step()
        self.assertEqual(
            [
                {
                    'driver': 'tests.Driver',
                    'release': conf.release(),
                    'drift': '',
                }
            ],
            self.said(),
        )

    def test_why_it_refuses(self):
        """Whatever the text, the agent takes it."""
        self.h1.gate.obstacle = errors.Unavailable(
            'NOVA_DRIFT', 'two\nlines ' + 'x' * 2000
        )
        self.presence.step()
        (said,) = self.said()
        operations.Enforces.from_json(said)
        self.assertTrue(said['drift'].startswith('[NOVA_DRIFT] two lines x'))

    def test_dead_agent(self):
        self.h1.agent.alive = False
        self.presence.step()
        self.assertNotIn('Traceback', self.log.output)

    def test_agent_that_is_back_hears_of_deletes(self):
        self.protect()
        self.h1.tombstones.add(compute.UUID)
        self.h1.agent.alive = False
        self.presence.step()
        self.assertEqual([compute.UUID], self.h1.tombstones.list())
        self.h1.agent.alive = True
        self.presence.step()
        self.assertEqual([], self.h1.tombstones.list())
        self.assertEqual({}, self.h1.agent.vault)

    def test_its_own_fault(self):
        self.h1.gate.agent = None
        self.presence.step()
        self.assertIn('Cannot tell the agent', self.log.output)

    def test_again_and_again(self):
        self.useFixture(fixtures.MockPatchObject(presence, 'INTERVAL', 0.01))
        self.presence.start()
        thread = self.presence._thread
        self.presence.start()
        self.assertIs(thread, self.presence._thread)
        self.addCleanup(self.presence.stop)
        while len(self.said()) < 3:
            self.assertTrue(thread.is_alive())
        self.presence.stop()
        thread.join(10)
        self.assertFalse(thread.is_alive())

    def test_ends_with_nova_compute(self):
        self.h1.parts.end()
        self.assertTrue(self.presence._stop.is_set())
        self.assertTrue(self.h1.reconciler._stop.is_set())
