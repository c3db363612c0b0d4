# SPDX-License-Identifier: Apache-2.0
"""Agents that send what is new in their measurement list, on real TPMs."""

from __future__ import annotations

import base64
import concurrent.futures
import hashlib
import struct
from typing import Any
from unittest import mock

import sqlalchemy as sa

from korora_nova import errors
from korora_nova.attester import attest
from korora_nova.custody.bodies import Attest
from korora_nova.custody.exchange import Heard
from korora_nova.rats import evidence
from korora_nova.verifier.db import models
from tests.support import hosts

POLICY = {
    'version': 1,
    'name': 'site',
    'rules': [
        {'pcrs': {'registers': [0, 4, 7], 'references': True}},
        {'ima': 'not-appraised'},
    ],
}


class ContinuityCase(hosts.HostsTestCase):
    HOSTS: tuple[str, ...] = ('h1',)

    def setUp(self) -> None:
        super().setUp()
        self.sent: list[dict[str, Any]] = []
        for machine in self.machines.values():
            self.watch(machine)
        self.step()
        self.sent.clear()

    def watch(self, machine: hosts.Machine) -> None:
        """Note the evidence that an agent sends."""
        client = machine.agent.attester.client
        real = client.evidence

        def evidence(host: str, message: dict[str, Any], *more: str) -> Any:
            self.sent.append(message['evidence'])
            return real(host, message, *more)

        client.evidence = evidence  # type: ignore[method-assign]

    def step(self) -> None:
        self.assertEqual(60, self.h1.agent.attestation.step())

    def offsets(self) -> list[int]:
        return [one.get('ima_offset', 0) for one in self.sent]

    def tier(self) -> str:
        return str(self.admin.get_host('h1')['tier'])

    @property
    def size(self) -> int:
        return (self.h1.directory / 'ima').stat().st_size

    def rewrite(self, old: bytes, new: bytes) -> None:
        path = self.h1.directory / 'ima'
        content = path.read_bytes()
        self.assertEqual(1, content.count(old))
        path.write_bytes(content.replace(old, new))


class ContinuityTest(ContinuityCase):
    def test_rounds(self) -> None:
        start = self.size
        self.step()
        self.h1.run_file('/usr/bin/swtpm')
        self.step()
        after = self.size
        self.step()
        self.assertEqual([start, start, after], self.offsets())
        lists = [base64.b64decode(one['ima_log']) for one in self.sent]
        self.assertEqual([0, after - start, 0], [*map(len, lists)])
        self.assertEqual('affirming', self.tier())

    def test_list_that_is_too_long_for_one_request(self) -> None:
        """It is sent in parts, and resumed by an agent that starts again."""
        for number in range(40):
            self.h1.run_file(f'/usr/lib/{number}')
        with mock.patch.object(evidence, 'MAX_IMA_LOG', 1024):
            self.h1.agent.attester._place = attest._BEGINNING
            self.step()
            sent = [base64.b64decode(one['ima_log']) for one in self.sent]
            self.assertEqual({1024}, set(map(len, sent[:-1])))
            self.assertEqual(
                (self.h1.directory / 'ima').read_bytes(), b''.join(sent)
            )
            self.admin.create_reference('more', 'h1')
            self.sent.clear()
            self.step()
        self.assertEqual([self.size], self.offsets())
        self.assertEqual('affirming', self.tier())

    def test_file_that_is_not_known(self) -> None:
        self.h1.run_file('/tmp/rootkit')
        self.step()
        self.assertEqual('contraindicated', self.tier())
        self.step()
        self.assertEqual('contraindicated', self.tier())
        self.assertNotIn(0, self.offsets())

    def test_restart_of_the_agent(self) -> None:
        self.h1.restart_agent()
        self.watch(self.h1)
        self.step()
        self.step()
        self.assertEqual([0, self.size], self.offsets())

    def test_reboot(self) -> None:
        self.h1.reboot()
        self.watch(self.h1)
        self.step()
        self.step()
        self.assertEqual([0, self.size], self.offsets())
        self.assertEqual('affirming', self.tier())

    def test_reboot_that_the_agent_survives(self) -> None:
        """It does not happen, and would be found out."""
        self.h1.hardware.reboot()
        self.h1.boot()
        self.step()
        self.assertEqual([self.size, 0], self.offsets())
        self.assertEqual('affirming', self.tier())

    def test_new_reference_and_policy(self) -> None:
        self.h1.run_file('/usr/bin/new')
        self.step()
        self.assertEqual('contraindicated', self.tier())
        self.admin.create_reference('newer', 'h1')
        self.step()
        self.assertEqual('affirming', self.tier())
        self.assertEqual(self.size, self.offsets()[-1])
        self.admin.create_policy(POLICY)
        self.h1.run_file('/tmp/anything')
        self.step()
        self.assertEqual('affirming', self.tier())
        self.admin.delete_policy('site')
        self.step()
        self.assertEqual('contraindicated', self.tier())

    def test_tampering_with_what_is_new(self) -> None:
        self.h1.run_file('/tmp/rootkit')
        self.rewrite(b'/tmp/rootkit', b'/usr/bin/ls1')
        self.step()
        self.assertEqual(2, len(self.sent))
        self.assertEqual(0, self.offsets()[-1])
        self.assertEqual('contraindicated', self.tier())
        self.assertIn(
            'IMA_TEMPLATE_HASH', self.admin.get_host('h1')['reasons']
        )

    def test_tampering_with_what_was_sent(self) -> None:
        """It has no effect but on whoever reads that file."""
        self.h1.run_file('/tmp/rootkit')
        self.step()
        self.rewrite(b'/tmp/rootkit', b'/usr/bin/ls1')
        self.step()
        self.assertEqual('contraindicated', self.tier())
        self.assertIn(
            '/tmp/rootkit',
            self.admin.get_result('h1')['findings'][0]['message'],
        )

    def test_list_that_became_shorter(self) -> None:
        path = self.h1.directory / 'ima'
        path.write_bytes(path.read_bytes()[:-20])
        self.step()
        self.assertEqual([0], self.offsets())
        self.assertEqual('contraindicated', self.tier())

    def test_service_that_always_asks_for_more(self) -> None:
        """The agent gives up for this time."""
        client = self.h1.agent.attester.client
        asked: list[int] = []

        def refuse(host: str, message: dict[str, Any]) -> Any:
            asked.append(1)
            raise errors.Conflict(errors.Reason.IMA_CONTINUITY)

        client.evidence = refuse  # type: ignore[method-assign]
        self.refused(
            'IMA_CONTINUITY',
            self.h1.agent.attester.attest_for,
            Attest(()),
            Heard,
        )
        self.assertEqual(2, len(asked))

    def test_answers_with_strange_offsets(self) -> None:
        client = self.h1.agent.attester.client
        real = client.evidence
        for strange in (True, '7', None, 1.5, [], -5):

            def answer(
                host: str, message: dict[str, Any], strange: Any = strange
            ) -> Any:
                return {**real(host, message), 'ima_offset': strange}

            client.evidence = answer  # type: ignore[method-assign]
            self.step()
            client.evidence = real  # type: ignore[method-assign]
            self.step()
            self.assertEqual(0, self.offsets()[-1], strange)

    def test_many_at_once(self) -> None:
        """On demand from all sides, while programs start: no live-lock."""
        attester = self.h1.agent.attester

        def say(number: int) -> str:
            self.h1.run_file('/usr/bin/swtpm')
            return attester.attest_for(Attest(()), Heard).answer.result

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            results = list(pool.map(say, range(12)))
        self.assertEqual(12, len(results))
        self.assertEqual('affirming', self.tier())
        # At worst each lost some races, and repeated once for continuity.
        self.assertLess(len(self.sent), 12 * 4)
        self.step()
        self.step()
        self.assertEqual(self.size, self.offsets()[-1])


class HandoverTest(ContinuityCase):
    HOSTS = ('h1', 'h2')

    def test_both_ends_have_to_send_everything(self) -> None:
        """The migration goes on, with a new key and challenge."""
        self.create(self.h1)
        self.h2.agent.attestation.step()
        # The service has lost what it knew of both lists.
        with self.korora.service.db.write() as session:
            session.execute(sa.delete(models.Measurement))
        self.sent.clear()
        self.migrate(self.h1, self.h2)
        self.assertEqual('h2', self.ledger()['holder'])
        self.assertEqual(2, self.offsets().count(0))


class TrimmedTest(ContinuityCase):
    """The kernel has dropped what was sent, to have its memory back."""

    def setUp(self) -> None:
        super().setUp()
        self.dropped = 0

    def trim(self, keep: int = 0) -> None:
        """As a tool that keeps the last so many entries."""
        path = self.h1.directory / 'ima'
        content = path.read_bytes()
        ends = [0]
        while ends[-1] < len(content):
            at = ends[-1] + 34  # ima-ng, with a template hash of SHA-1
            (size,) = struct.unpack_from('<I', content, at)
            ends.append(at + 4 + size)
        dropped = ends[-1 - keep]
        self.dropped += dropped
        path.write_bytes(content[dropped:])

    def run_known(self, count: int) -> None:
        digest = hashlib.sha256(b'/usr/bin/swtpm').digest()
        for number in range(count):
            self.h1.run_file(f'/usr/lib/{self.dropped}-{number}', digest)

    def assert_goes_on(self) -> None:
        self.step()
        self.assertEqual('affirming', self.tier())
        self.sent.clear()
        self.run_known(1)
        self.step()
        self.assertEqual('affirming', self.tier())
        (sent,) = self.sent
        self.assertEqual(
            (self.h1.directory / 'ima').read_bytes()[-len(self.last(sent)) :],
            self.last(sent),
        )
        self.assertEqual(
            self.dropped + self.size - len(self.last(sent)),
            sent['ima_offset'],
        )

    def last(self, sent: dict[str, Any]) -> bytes:
        return base64.b64decode(sent['ima_log'])

    def test_while_the_agent_runs(self) -> None:
        for keep in (0, 1, 0, 3):
            self.trim(keep)
            self.run_known(3)
            self.assert_goes_on()

    def test_while_the_agent_is_down(self) -> None:
        for keep in (0, 2, 0):
            self.trim(keep)
            self.run_known(3)
            self.h1.restart_agent()
            self.watch(self.h1)
            self.assert_goes_on()

    def test_nothing_is_left(self) -> None:
        self.trim()
        self.step()
        self.run_known(1)
        self.assert_goes_on()

    def test_what_is_left_is_long(self) -> None:
        with mock.patch.object(evidence, 'MAX_IMA_LOG', 1024):
            self.trim()
            self.run_known(40)
            self.h1.restart_agent()
            self.watch(self.h1)
            self.assert_goes_on()

    def test_more_than_was_sent(self) -> None:
        self.run_known(2)
        self.trim()
        self.run_known(2)
        self.step()
        self.assertEqual(
            ['IMA_LOG_TRIMMED'], self.admin.get_host('h1')['reasons']
        )
        self.h1.reboot()
        self.watch(self.h1)
        self.dropped = 0
        self.assert_goes_on()
