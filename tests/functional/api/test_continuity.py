# SPDX-License-Identifier: Apache-2.0
"""Measurement lists that go on where the last evidence ended."""

import hashlib
import json
from unittest import mock

import sqlalchemy as sa

from korora_nova.rats import evidence, reference
from korora_nova.verifier import numbers
from korora_nova.verifier.appraisal import measurements, packed, segments
from korora_nova.verifier.db import models
from tests.functional.api import base
from tests.support import agent, simulator

REPORT = json.dumps({'version': 1, 'known': []})
NEWER = 'newer'


class ContinuityTestCase(base.ApiTestCase):
    def host(self, name: str = 'h1') -> agent.SimAgent:
        """An affirming host whose next evidence is incremental."""
        made = super().host(name)
        made.go_on()
        self.assertEqual(len(made.ima_log), made.offset)
        return made

    def message(self, host: agent.SimAgent, kind: str = 'steady') -> dict:
        return host.message('attest', REPORT, host.challenge(kind))

    def send(self, host: agent.SimAgent, message: dict) -> dict:
        return host.api.evidence(host.name, message)

    def rows(self, table) -> list:
        with self.korora.service.db.read() as session:
            return session.scalars(sa.select(table)).all()

    def learned(self, name: str = NEWER) -> set[str]:
        self.admin.create_reference(name, 'h1')
        return set(self.admin.get_reference(name)['ima_digests'])


class Continuity(ContinuityTestCase):
    def test_nothing_new(self):
        host = self.host()
        before = self.rows(models.Measurement)[0].measured_at
        for _ in range(3):
            answer = host.go_on()
            self.assertEqual(len(host.ima_log), answer['ima_offset'])
        self.assertEqual('affirming', self.tier('h1'))
        self.assertEqual(before, self.rows(models.Measurement)[0].measured_at)
        self.assertEqual(1, len(self.rows(models.MeasurementSegment)))

    def test_only_what_is_new_is_sent(self):
        host = self.host()
        host.measure('/usr/bin/qemu-system-x86_64')
        message = self.message(host)
        self.assertLess(len(message['evidence']['ima_log']), 250)
        self.send(host, message)
        self.assertEqual('affirming', self.tier('h1'))

    def test_new_file_is_judged(self):
        host = self.host()
        host.measure('/tmp/rootkit')
        host.go_on()
        (finding,) = self.admin.get_result('h1')['findings']
        self.assertEqual('IMA_UNKNOWN_FILE', finding['reason'])
        self.assertIn('/tmp/rootkit', finding['message'])

    def test_what_was_wrong_stays_wrong(self):
        host = self.host()
        host.measure('/tmp/rootkit')
        for _ in range(3):
            host.go_on()
            self.assertEqual('contraindicated', self.tier('h1'))
            host.measure('/usr/bin/swtpm')
        self.assertIn(
            '/tmp/rootkit',
            self.admin.get_result('h1')['findings'][0]['message'],
        )

    def test_violation_stays_a_violation(self):
        host = self.host()
        violation(host)
        host.go_on()
        host.measure('/usr/bin/swtpm')
        host.go_on()
        self.assertEqual(
            ['IMA_VIOLATION'], self.admin.get_host('h1')['reasons']
        )
        self.assertEqual(2, len(self.learned()))

    def test_all_files_are_learned(self):
        host = self.host()
        for number in range(5):
            host.measure(f'/usr/lib/{number}')
            host.go_on()
        self.assertEqual(7, len(self.learned()))
        self.assertLess(1, len(self.rows(models.MeasurementSegment)))
        host.offset = 0
        host.measure('/usr/lib/5')
        host.attest_now()
        self.assertEqual(1, len(self.rows(models.MeasurementSegment)))
        self.assertEqual(8, len(self.learned('newest')))

    def test_many_segments_become_few(self):
        host = self.host()
        with mock.patch.object(segments, 'MAX_ROWS', 4):
            for number in range(11):
                host.measure(f'/usr/lib/{number}')
                host.go_on()
        self.assertGreater(6, len(self.rows(models.MeasurementSegment)))
        self.assertEqual(13, len(self.learned()))

    def test_tampering_with_what_is_new(self):
        host = self.host()
        host.measure('/tmp/rootkit')
        message = self.message(host)
        log = host.ima_log[host.offset :].replace(b'rootkit', b'harmles')
        message['evidence']['ima_log'] = agent.b64(log)
        self.assert_whole_list_is_asked_for(host, message)
        host.ima_log = host.ima_log.replace(b'rootkit', b'harmles')
        host.offset = 0
        host.attest_now()
        self.assertEqual('contraindicated', self.tier('h1'))

    def test_leaving_out_what_is_new(self):
        host = self.host()
        host.measure('/tmp/rootkit')
        message = self.message(host)
        message['evidence']['ima_log'] = ''
        self.assert_whole_list_is_asked_for(host, message)

    def test_tampering_with_what_was_sent_before(self):
        """The quote proves it: the old part leads to the old PCR only."""
        host = self.host()
        host.tpm.pcrs[10] = b'\1' * 32
        host.measure('/usr/bin/swtpm')
        self.assert_whole_list_is_asked_for(host, self.message(host))

    def assert_whole_list_is_asked_for(self, host, message):
        before = self.admin.get_result('h1')
        with self.refused('IMA_CONTINUITY'):
            self.send(host, message)
        self.assertEqual(before, self.admin.get_result('h1'))
        with self.refused('CHALLENGE_USED'):
            self.send(host, message)

    def test_offsets_that_are_not_known(self):
        host = self.host()
        right = host.offset
        for offset in (1, right - 1, right + 1, 2**30):
            host.offset = offset
            message = self.message(host)
            message['evidence']['ima_offset'] = offset
            with self.refused('IMA_CONTINUITY'):
                self.send(host, message)
        host.offset = right
        message = self.message(host)
        for offset in (-1, 2**30 + 1, 1.5, '1', True, None, [1]):
            message['evidence']['ima_offset'] = offset
            with self.refused('INVALID_REQUEST'):
                self.send(host, message)
        message['evidence']['ima_offset'] = right
        self.send(host, message)

    def test_host_that_was_never_heard(self):
        host = self.stranger('h1')
        host.join(self.admin)
        host.offset = 10
        with self.refused('IMA_CONTINUITY'):
            host.attest_now()

    def test_reboot(self):
        host = self.host()
        host.reboot()
        with self.refused('IMA_CONTINUITY'):
            host.attest_now()
        host.offset = 0
        host.go_on()
        host.go_on()
        self.assertEqual('affirming', self.tier('h1'))

    def test_state_of_an_earlier_boot_is_not_gone_on_from(self):
        """Although the list is the same, byte by byte, up to there."""
        host = self.host()
        offset = host.offset
        host.reboot()
        host.measure('/usr/bin/swtpm')
        host.offset = offset
        with self.refused('IMA_CONTINUITY'):
            host.attest_now()

    def test_suspend_keeps_the_list(self):
        host = self.host()
        host.tpm.restart_count += 1
        host.measure('/usr/bin/swtpm')
        host.go_on()
        self.assertEqual('affirming', self.tier('h1'))

    def test_log_that_does_not_verify_starts_anew(self):
        host = self.host()
        log = host.ima_log
        host.ima_log, host.offset = log.replace(b'swtpm', b'swxxx'), 0
        self.assertEqual(0, host.go_on()['ima_offset'])
        self.assertEqual('contraindicated', self.tier('h1'))
        self.assertEqual([], self.rows(models.MeasurementSegment))
        with self.refused('NO_REFERENCE'):
            self.admin.create_reference(NEWER, 'h1')
        host.ima_log, host.offset = log, len(log)
        with self.refused('IMA_CONTINUITY'):
            host.attest_now()
        host.offset = 0
        host.go_on()
        self.assertEqual(
            ('affirming', 2), (self.tier('h1'), len(self.learned()))
        )

    def test_new_reference_needs_no_list(self):
        """What is kept is judged again, and what was wrong is right."""
        host = self.host()
        host.measure('/usr/bin/new')
        host.go_on()
        self.assertEqual('contraindicated', self.tier('h1'))
        self.admin.create_reference(NEWER, 'h1')
        message = self.message(host)
        self.assertEqual('', message['evidence']['ima_log'])
        self.send(host, message)
        self.assertEqual('affirming', self.tier('h1'))
        self.admin.delete_reference(NEWER)
        host.go_on()
        self.assertEqual('contraindicated', self.tier('h1'))
        self.admin.create_reference(NEWER, 'h1')
        host.measure('/usr/bin/new')
        host.go_on()
        self.assertEqual('affirming', self.tier('h1'))

    def test_parallel_evidence(self):
        """B starts where A starts, and arrives when A is stored."""
        host = self.host()
        host.measure('/usr/bin/swtpm')
        one = self.message(host)
        host.measure('/usr/bin/qemu-system-x86_64')
        two = self.message(host)
        first = self.send(host, one)['ima_offset']
        second = self.send(host, two)['ima_offset']
        self.assertLess(first, second)
        for offset in (first, second):
            host.offset = offset
            host.measure('/usr/bin/swtpm')
            host.attest_now()
            self.assertEqual('affirming', self.tier('h1'))

    def test_parallel_evidence_loses_no_file(self):
        host = self.host()
        host.measure('/usr/lib/a')
        one = self.message(host)
        host.measure('/usr/lib/b')
        two = self.message(host)
        host.measure('/usr/lib/c')
        self.send(host, one)
        self.send(host, two)
        host.go_on()
        self.assertEqual(5, len(self.learned()))

    def test_segments_that_overlap(self):
        """What goes on from an older state repeats what newer ones had."""
        host = self.host()
        host.measure('/usr/lib/a')
        one = self.message(host)
        host.measure('/usr/lib/b')
        two = self.message(host)
        first = self.send(host, one)['ima_offset']
        self.send(host, two)
        host.offset = first
        host.measure('/usr/lib/c')
        with mock.patch.object(segments, 'MAX_ROWS', 2):
            host.go_on()
        with self.korora.service.db.read() as session:
            log = b''.join(segments.read(session, 'h1', host.offset))
        self.assertEqual(host.ima_log, log)
        self.assertEqual(2, len(self.rows(models.MeasurementSegment)))

    def test_kept_segments_that_are_damaged(self):
        """The host is asked for all of it, and not blamed."""
        host = self.host()
        host.measure('/usr/lib/a')
        host.go_on()
        self.admin.create_reference(NEWER, 'h1')
        for content in (b'', packed.compress(b'x' * 40)):
            with self.korora.service.db.write() as session:
                session.execute(
                    sa.update(models.MeasurementSegment)
                    .where(models.MeasurementSegment.start == 0)
                    .values(content=content)
                )
            with self.refused('IMA_CONTINUITY'):
                host.attest_now()
        host.offset = 0
        host.go_on()
        self.assertEqual('affirming', self.tier('h1'))

    def test_attestations_wait_for_no_other_host(self):
        """No row is written that hosts share."""
        host = self.host()
        host.measure('/usr/lib/a')
        seen = []

        def note(connection, cursor, statement, *more):
            seen.append(statement)

        engine = self.korora.service.db.engine
        sa.event.listen(engine, 'before_cursor_execute', note)
        self.addCleanup(sa.event.remove, engine, 'before_cursor_execute', note)
        host.go_on()
        self.assertTrue(
            any('INTO measurement_segments' in one for one in seen)
        )
        self.assertEqual(
            [],
            [
                one
                for one in seen
                if one.startswith(('UPDATE counters', 'UPDATE ledger'))
            ],
        )
        self.assertEqual(numbers.CHANGED, self.rows(models.Host)[0].seq)

    def test_list_without_end(self):
        """What is kept of one host has a bound."""
        host = self.host()
        with mock.patch.object(evidence, 'MAX_IMA_OFFSET', host.offset):
            host.measure('/usr/lib/a')
            host.go_on()
            host.measure('/usr/lib/b')
            with self.refused('INVALID_REQUEST'):
                host.attest_now()

    def test_reference_that_could_not_be_read_again(self):
        """It would stop the appraisal of every host."""
        host = self.host()
        host.measure('/usr/lib/a')
        host.go_on()
        with mock.patch.dict(
            reference.SCHEMA['properties']['ima_digests'], maxItems=2
        ):
            with self.refused('INVALID_REQUEST'):
                self.admin.create_reference(NEWER, 'h1')
            host.go_on()
        self.assertEqual(1, len(self.admin.list_references()))
        with self.korora.service.db.write() as session:
            row = session.scalars(sa.select(models.Reference)).one()
            session.add(
                models.Reference(
                    name='x',
                    uuid='x',
                    host='h1',
                    created_at=row.created_at,
                    document=packed.pack({'version': 3}),
                )
            )
        with self.refused('INTERNAL') as caught:
            host.attest_now()
        self.assertIn('x', caught[0].message)
        self.admin.delete_reference('x')
        host.offset = 0
        host.attest_now()
        self.assertEqual('contraindicated', self.tier('h1'))

    def test_old_states_are_forgotten(self):
        host = self.host()
        offset = host.offset
        for number in range(measurements.MAX_STATES):
            host.measure(f'/usr/lib/{number}')
            host.go_on()
        host.offset = offset
        with self.refused('IMA_CONTINUITY'):
            host.attest_now()

    def test_agent_of_an_earlier_release(self):
        host = self.host()
        host.offset = 0
        host.measure('/usr/bin/swtpm')
        message = self.message(host)
        self.assertNotIn('ima_offset', message['evidence'])
        self.send(host, message)
        self.assertEqual('affirming', self.tier('h1'))

    def test_other_worker(self):
        host = self.host()
        self.korora.restart()
        host.api = self.korora.client_as('attester')
        self.admin = self.korora.client_as('admin')
        host.measure('/usr/bin/swtpm')
        host.go_on()
        self.assertEqual('affirming', self.tier('h1'))

    def test_deleted_host_is_forgotten(self):
        self.host()
        self.admin.delete_host('h1')
        for table in (models.Measurement, models.MeasurementSegment):
            self.assertEqual([], self.rows(table))

    def test_state_that_cannot_be_read(self):
        host = self.host()
        with self.korora.service.db.write() as session:
            row = session.scalars(sa.select(models.Measurement)).one()
            row.ima_states = packed.pack([{'bytes': host.offset}])
        with self.refused('IMA_CONTINUITY'):
            host.attest_now()

    def test_paths_that_are_no_text(self):
        host = self.host()
        entry, extension = simulated(b'/usr/\xff\xfe\n')
        host.ima_log += entry
        host.tpm.extend(10, extension)
        host.go_on()
        self.assertEqual(3, len(self.learned()))


class TestSqlite(Continuity):
    pass


class TestMariaDb(base.MariaDbTestCase, Continuity):
    pass


class TestPostgreSql(base.PostgreSqlTestCase, Continuity):
    pass


del Continuity


def simulated(path: bytes) -> tuple[bytes, bytes]:
    """An ima-ng entry with any path."""
    marker = 'M' * len(path)
    entry, _ = simulator.ima_entry(marker)
    data = entry[entry.index(b'ima-ng') + 10 :].replace(marker.encode(), path)
    head = entry[:4] + hashlib.sha1(data).digest() + entry[24:38]
    return head + data, hashlib.sha256(data).digest()


def violation(host: agent.SimAgent) -> None:
    """A file was written while it was measured."""
    entry, _ = simulated(b'/etc/shadow')
    host.ima_log += entry[:4] + bytes(20) + entry[24:]
    host.tpm.extend(10, b'\xff' * 32)
