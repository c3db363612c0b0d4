# SPDX-License-Identifier: Apache-2.0
"""Measurement lists that come in parts."""

import hashlib
import json

import fixtures
import sqlalchemy as sa

from korora_nova.rats import evidence
from korora_nova.verifier.appraisal import uploads
from korora_nova.verifier.db import models
from tests.functional.api import base
from tests.support import agent

PART = 1024


class Uploads(base.ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.useFixture(
            fixtures.MockPatchObject(evidence, 'MAX_IMA_LOG', PART)
        )
        self.old = self.host('h1')
        for number in range(60):
            self.old.measure(f'/usr/lib/{number}')

    def part(
        self,
        start: int,
        size: int = PART,
        host: agent.SimAgent | None = None,
        **changed,
    ) -> int:
        """Send a part of the list; returns where to go on."""
        host = host or self.old
        content = host.ima_log[start : start + size]
        body = {
            'version': 1,
            'start': start,
            'digest': hashlib.sha256(content).hexdigest(),
            **changed,
        }
        message = host.message('list', json.dumps(body), host.challenge())
        message['evidence']['ima_log'] = agent.b64(content)
        message['evidence']['ima_offset'] = 0
        return host.api.evidence(host.name, message)['upto']

    def all_but_the_last(self, start: int = 0) -> int:
        while len(self.old.ima_log) - start > PART:
            start = self.part(start)
        return start

    def count(self, table) -> int:
        with self.korora.service.db.read() as session:
            return session.scalar(
                sa.select(sa.func.count()).select_from(table)
            )

    def log(self) -> bytes:
        service = self.korora.service
        return b''.join(
            uploads.segments.between(service, 'h1', 0, self.old.offset)
        )


class UploadsTest(Uploads):
    def test_whole_list(self) -> None:
        self.old.offset = self.all_but_the_last()
        self.assertGreater(self.old.offset, 4 * PART)
        self.old.go_on()
        self.assertEqual(len(self.old.ima_log), self.old.offset)
        self.assertEqual(self.old.ima_log, self.log())
        for table in (models.ListUpload, models.ListUploadPart):
            self.assertEqual(0, self.count(table))
        self.assertEqual('contraindicated', self.tier('h1'))
        self.admin.create_reference('all', 'h1')
        self.old.go_on()
        self.assertEqual('affirming', self.tier('h1'))
        self.assertEqual(
            62, len(self.admin.get_reference('all')['ima_digests'])
        )

    def test_what_was_measured_meanwhile(self) -> None:
        self.old.offset = self.all_but_the_last()
        self.old.measure('/usr/lib/later')
        self.old.go_on()
        self.assertEqual(self.old.ima_log, self.log())

    def test_part_of_what_is_new(self) -> None:
        """A host that was not heard for long goes on from its state."""
        self.old.offset = self.all_but_the_last()
        self.old.go_on()
        base_ = self.old.offset
        for number in range(60):
            self.old.measure(f'/usr/share/{number}')
        self.old.offset = self.all_but_the_last(base_)
        with self.korora.service.db.read() as session:
            row = session.get(models.ListUpload, 'h1')
            self.assertEqual(base_, row.base)
        self.old.go_on()
        self.assertEqual(len(self.old.ima_log), self.old.offset)
        self.assertEqual(self.old.ima_log, self.log())

    def test_resumed(self) -> None:
        """The agent, or the service, has lost what it knew."""
        self.assertEqual(PART, self.part(0))
        self.assertEqual(2 * PART, self.part(PART))
        self.korora.restart()
        self.old.api = self.korora.client_as('attester')
        self.admin = self.korora.client_as('admin')
        self.assertEqual(2 * PART, self.part(0))
        self.assertEqual(2 * PART, self.part(PART))
        with self.refused('IMA_CONTINUITY') as caught:
            self.part(3 * PART)
        self.assertEqual({'upto': str(2 * PART)}, dict(caught[0].details))
        self.old.offset = self.all_but_the_last(2 * PART)
        self.old.go_on()
        self.assertEqual(self.old.ima_log, self.log())

    def test_lies(self) -> None:
        right, wrong = self.old.ima_log, bytearray(self.old.ima_log)
        wrong[PART + 200] ^= 1
        self.part(0)
        self.old.ima_log = bytes(wrong)
        self.part(PART)
        self.old.offset = self.all_but_the_last(2 * PART)
        answer = self.old.attest_now()
        self.assertEqual(0, answer['ima_offset'])
        self.assertIn('contraindicated', self.tier('h1'))
        # What was sent before is still judged only as a whole.
        self.old.offset, self.old.ima_log = PART, right[: 2 * PART]
        with self.refused('IMA_CONTINUITY'):
            self.old.attest_now()
        self.old.ima_log = right
        self.assertEqual(2 * PART, self.part(PART))
        self.old.offset = self.all_but_the_last(2 * PART)
        self.old.go_on()
        self.assertEqual(len(right), self.old.offset)

    def test_not_what_was_signed(self) -> None:
        with self.refused('INVALID_REQUEST'):
            self.part(0, digest='00' * 32)
        other = self.stranger('h2')
        other.join(self.admin)
        # Whoever has the agents' credentials cannot speak for another host.
        tpm, self.old.tpm = self.old.tpm, other.tpm
        with self.refused('QUOTE_SIGNATURE'):
            self.part(0)
        self.old.tpm = tpm
        self.assertEqual(0, self.count(models.ListUpload))

    def test_reboot(self) -> None:
        self.part(0)
        self.part(PART)
        self.old.reboot()
        for number in range(60):
            self.old.measure(f'/usr/lib/{number}')
        with self.refused('IMA_CONTINUITY'):
            self.part(2 * PART)
        self.old.offset = self.all_but_the_last(self.part(0))
        self.old.go_on()
        self.assertEqual(self.old.ima_log, self.log())

    def test_abandoned(self) -> None:
        self.part(0)
        other = self.stranger('h2')
        other.join(self.admin)
        self.korora.clock.advance(uploads.LIFE + 1)
        self.old.offset = PART
        self.old.ima_log = self.old.ima_log[: 2 * PART]
        with self.refused('IMA_CONTINUITY'):
            self.old.attest_now()
        for number in range(60):
            other.measure(f'/usr/lib/{number}')
        self.part(0, host=other)
        with self.korora.service.db.read() as session:
            hosts = session.scalars(sa.select(models.ListUpload.host)).all()
        self.assertEqual(['h2'], hosts)

    def test_two_at_once(self) -> None:
        """One upload of a host: what another one adds is its own list."""
        self.part(0)
        self.assertEqual(2 * PART, self.part(PART))
        self.assertEqual(2 * PART, self.part(PART))
        self.assertEqual(3 * PART, self.part(2 * PART))
        self.assertEqual(PART + 500, self.part(PART, 500))
        self.old.offset = self.all_but_the_last(PART + 500)
        self.old.go_on()
        self.assertEqual(self.old.ima_log, self.log())

    def test_limit(self) -> None:
        self.useFixture(
            fixtures.MockPatchObject(evidence, 'MAX_IMA_OFFSET', 2 * PART)
        )
        self.part(0)
        self.part(PART)
        with self.refused('TOO_LARGE'):
            self.part(2 * PART)

    def test_deleted_host_is_forgotten(self) -> None:
        self.part(0)
        self.admin.delete_host('h1')
        for table in (models.ListUpload, models.ListUploadPart):
            self.assertEqual(0, self.count(table))
