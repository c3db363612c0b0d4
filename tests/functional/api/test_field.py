# SPDX-License-Identifier: Apache-2.0
"""Hosts that have run for long."""

import uuid

import fixtures

from korora_nova.rats import evidence
from tests.functional.api import base

SERVER = str(uuid.UUID(int=1))
#: In the place of 8 MiB.
CAP = 4096


class LongListTest(base.ApiTestCase):
    """A list that cannot be sent as a whole any more."""

    def setUp(self) -> None:
        super().setUp()
        for name in ('MAX_IMA_LOG', 'MAX_IMA_READ'):
            self.useFixture(fixtures.MockPatchObject(evidence, name, CAP))
        self.old = self.host('h1')
        self.old.go_on()
        self.old.claim(SERVER)
        for number in range(60):
            self.old.measure(f'/usr/bin/qemu-helper-{number}')
            if number % 20 == 19:
                self.old.go_on()
        self.assertGreater(len(self.old.ima_log), CAP)

    def test_attestation_after_a_change_of_references(self):
        """field 06a: what is kept is judged by the new rules."""
        self.korora.clock.advance(1)
        self.admin.create_reference('newer', 'h1')
        self.old.go_on()
        self.assertEqual('affirming', self.tier('h1'))

    def test_migration_away(self):
        """field 06b: protected servers can leave it."""
        self.korora.clock.advance(1)
        self.admin.create_reference('newer', 'h1')
        self.handed_over(self.old, self.host('h2'), SERVER)
