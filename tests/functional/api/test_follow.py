# SPDX-License-Identifier: Apache-2.0
"""``openstack attestation watch`` sees what happens at the service."""

import uuid

from korora_nova.osc import watcher
from tests.functional.api import base


class TestWatcher(base.ApiTestCase):
    def setUp(self):
        super().setUp()
        self.watcher = watcher.Watcher(self.admin)
        self.watcher.begin(self.korora.clock())

    def look(self):
        return [
            (one.kind, one.subject, one.what)
            for one in self.watcher.look(self.korora.clock())
        ]

    def test_a_life(self):
        self.assertEqual([], self.look())
        source, dest = self.host('h1'), self.host('h2')
        self.assertEqual(
            [
                ('tier', 'h1', 'unknown -> affirming'),
                ('tier', 'h2', 'unknown -> affirming'),
            ],
            self.look(),
        )
        instance = str(uuid.uuid4())
        source.claim(instance)
        migration, permit = self.moving(source, dest, instance)
        self.assertEqual(
            [('migration', instance, 'h1 -> h2: moving')], self.look()
        )
        dest.state(migration, 'activated')
        source.state(migration, 'stream_completed')
        self.assertEqual(
            [
                ('migration', instance, 'h1 -> h2: committed'),
                ('receipt', instance, 'committed: held by h2'),
            ],
            self.look(),
        )
        self.admin.evict_host('h1', 'x')
        self.assertEqual(
            [('tier', 'h1', 'affirming -> contraindicated EVICTED')],
            self.look(),
        )
        self.korora.clock.advance(3600)
        # That the other one was given up does not expire.
        self.assertEqual(
            [('tier', 'h2', 'affirming -> none RESULT_EXPIRED')], self.look()
        )
        self.admin.delete_host('h2', force=True)
        self.korora.clock.advance(watcher.WHOLE)
        self.assertEqual(
            [('tier', 'h2', 'none RESULT_EXPIRED -> unknown')], self.look()
        )

    def test_nothing_new_costs_no_list(self):
        self.host('h1')
        self.look()
        asked = []
        send = self.korora.transport.send

        def note(request, *args, **kwargs):
            answer = send(request, *args, **kwargs)
            asked.append((request.path_url.split('?')[0], answer.status_code))
            return answer

        self.korora.transport.send = note
        self.assertEqual([], self.look())
        self.assertEqual(
            [
                ('/v1/results', 304),
                ('/v1/migrations', 304),
                ('/v1/receipts', 200),
            ],
            asked,
        )
