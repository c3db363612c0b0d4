# SPDX-License-Identifier: Apache-2.0
import random
import unittest

import hypothesis
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.rats import eventlog
from tests.support import simulator as sim
from tests.support.uefilog import event, extended, header, locality

ALL = (*range(10), *range(11, 16))


class Case(unittest.TestCase):
    def pcrs(self, **values):
        pcrs = {index: bytes(32) for index in range(16)}
        pcrs.update({int(key[1:]): value for key, value in values.items()})
        return pcrs

    def refused(self, reason, call, *args, **kwargs):
        with self.assertRaises(errors.EvidenceError) as caught:
            call(*args, **kwargs)
        self.assertEqual(reason, caught.exception.reason)
        return caught.exception

    def malformed(self, log):
        error = self.refused('UEFI_LOG_MALFORMED', eventlog.parse, log)
        self.assertRegex(error.place, r'^offset \d+$')
        return error

    def differs(self, log, pcrs, names):
        error = self.refused(
            'UEFI_LOG_REPLAY', eventlog.parse(log).verify, pcrs
        )
        self.assertEqual(names, error.details['pcrs'])
        return error


class ReplayTest(Case):
    def test_recorded_boots_replay(self):
        for vector, count in (('direct-kernel', 24), ('secure-boot', 46)):
            pcrs = sim.recorded_pcrs(vector)
            log = eventlog.parse(sim.recorded_log(vector))
            self.assertEqual('crypto-agile', log.format)
            self.assertEqual(('sha256',), log.banks)
            self.assertEqual(frozenset(), log.quirks)
            verified = log.verify(pcrs)
            self.assertEqual(count, len(verified.events))
            self.assertEqual(
                ALL, tuple(index for index in verified.agrees if index < 16)
            )
            for index in ALL:
                self.differs(
                    sim.recorded_log(vector),
                    {**pcrs, index: b'\1' * 32},
                    str(index),
                )

    def test_events_are_numbered_and_placed(self):
        log = header() + event(4) + event(5, 3) + event(6, data=b'')
        events = eventlog.parse(log).events
        self.assertEqual([0, 1, 2, 3], [item.index for item in events])
        self.assertEqual([0, 4, 5, 6], [item.pcr for item in events])
        self.assertEqual([3, 1, 3, 1], [item.type for item in events])
        self.assertEqual(
            [0, len(header()), len(header() + event(4))],
            [item.offset for item in events[:3]],
        )
        self.assertEqual({'sha256': b'd' * 32}, events[1].digests)

    def test_only_quoted_pcrs_are_compared(self):
        log = eventlog.parse(header() + event(4))
        verified = log.verify({4: extended(b'd' * 32)})
        self.assertEqual((4,), verified.agrees)
        error = self.refused('UEFI_LOG_REPLAY', verified.require, [4, 7])
        self.assertEqual('7', error.details['pcrs'])

    def test_nothing_quoted_is_no_pass(self):
        log = eventlog.parse(header() + event(4))
        self.refused('UEFI_LOG_REPLAY', log.verify, {})
        self.refused('UEFI_LOG_REPLAY', log.verify, {10: bytes(32)})

    def test_required_replaces_the_default(self):
        pcrs = self.pcrs(p4=extended(b'd' * 32), p5=b'x' * 32)
        log = eventlog.parse(header() + event(4))
        self.assertEqual([5], list(log.verify(pcrs, required=[4]).differs))
        self.refused('UEFI_LOG_REPLAY', log.verify, pcrs, required=[5])
        self.refused('UEFI_LOG_REPLAY', log.verify, {}, required=[4])

    def test_compare_reports_both_values(self):
        pcrs = self.pcrs(p3=b'x' * 32)
        verified = eventlog.parse(header() + event(3)).compare(pcrs)
        self.assertEqual(
            {3: eventlog.Difference(b'x' * 32, extended(b'd' * 32))},
            verified.differs,
        )
        error = self.refused('UEFI_LOG_REPLAY', verified.require, [3])
        self.assertEqual(f'3={(b"x" * 32).hex()}', error.details['want'])
        self.assertEqual(
            f'3={extended(b"d" * 32).hex()}', error.details['got']
        )

    def test_values_of_a_wrong_length_differ(self):
        log = eventlog.parse(header() + event(3))
        value = extended(b'd' * 32)
        for wrong in (value[:31], value + b'\0', b''):
            self.assertEqual((), log.compare({3: wrong}).agrees)
        self.assertEqual((), log.compare({1: b''}).agrees)
        self.assertEqual((), log.compare({24: bytes(32)}).agrees)
        self.assertEqual((), log.compare({-1: bytes(32)}).agrees)

    def test_registers_after_a_reset(self):
        log = eventlog.parse(header() + event(3))
        start = {
            16: bytes(32),
            17: b'\xff' * 32,
            22: b'\xff' * 32,
            23: bytes(32),
        }
        self.assertEqual((16, 17, 22, 23), log.compare(start).agrees)

    def test_registers_of_a_dynamic_launch(self):
        log = eventlog.parse(header() + event(17, 0x402) + event(18, 0x40A))
        value = extended(b'd' * 32)
        self.assertEqual(
            (17, 18, 19),
            log.compare({17: value, 18: value, 19: b'\xff' * 32}).agrees,
        )

    def test_event_dropped_doubled_or_swapped(self):
        one, two = event(4, digest=b'1' * 32), event(4, digest=b'2' * 32)
        pcrs = self.pcrs(p4=extended(b'1' * 32, b'2' * 32))
        good = eventlog.parse(header() + one + two)
        self.assertEqual(
            (b'1' * 32, b'2' * 32),
            tuple(item.digests['sha256'] for item in good.verify(pcrs).events),
        )
        for body in (one, two, two + one, one + two + two, b''):
            self.differs(header() + body, pcrs, '4')

    def test_several_pcrs_are_named(self):
        self.differs(header(), self.pcrs(p3=b'x' * 32, p14=b'x' * 32), '3 14')

    def test_events_of_pcrs_that_differ_are_kept_back(self):
        pcrs = self.pcrs(p4=extended(b'd' * 32), p5=b'x' * 32)
        verified = eventlog.parse(
            header() + event(4) + event(5) + event(16) + event(10)
        ).compare(pcrs)
        self.assertEqual([4], [item.pcr for item in verified.events])

    def test_no_action_never_extends(self):
        log = header() + event(0xFFFFFFFF, 3) + event(5, 3, b'x' * 32)
        parsed = eventlog.parse(log)
        self.assertEqual((), parsed.verify(self.pcrs()).events)
        self.assertEqual(3, len(parsed.events))
        self.assertIn('no-action-register', parsed.quirks)

    def test_unknown_types_extend(self):
        for kind in (0x40A, 0x412, 0x501, 0x8401, 0x14, 0xFFFFFFFF):
            log = eventlog.parse(header() + event(5, kind))
            self.assertEqual(
                1, len(log.verify(self.pcrs(p5=extended(b'd' * 32))).events)
            )


class LocalityTest(Case):
    def test_startup_locality(self):
        for value, ok in (
            (0, True),
            (3, True),
            (4, True),
            (1, False),
            (255, False),
        ):
            log = header() + locality(value) + event(0)
            if not ok:
                self.malformed(log)
                continue
            start = bytes(31) + bytes((value,))
            pcrs = self.pcrs(p0=extended(b'd' * 32, start=start))
            eventlog.parse(log).verify(pcrs)
            self.assertEqual(value, eventlog.parse(log).locality)
            if value:
                self.differs(header() + event(0), pcrs, '0')

    def test_late_or_twice_is_accepted_if_it_replays(self):
        start = bytes(31) + b'\3'
        pcrs = self.pcrs(p0=extended(b'd' * 32, start=start))
        for log in (
            header() + event(0) + locality(3),
            header() + locality(3) + locality(3) + event(0),
        ):
            parsed = eventlog.parse(log)
            self.assertIn('late-locality', parsed.quirks)
            parsed.verify(pcrs)

    def test_contradictions_and_other_faults(self):
        self.malformed(header() + locality(3) + locality(4))
        self.malformed(header() + locality(3, pcr=1))
        self.malformed(header() + event(0, 3, data=b'StartupLocality\0'))
        self.malformed(header() + event(0, 3, data=b'StartupLocality\0\3\1'))

    def test_padded(self):
        log = eventlog.parse(
            header() + event(0, 3, data=b'StartupLocality\0\3' + bytes(15))
        )
        self.assertEqual(3, log.locality)

    def test_hardware_root_of_trust(self):
        crtm = event(0, 0x80000010, data=b'HCRTM')
        start = bytes(31) + b'\4'
        pcrs = self.pcrs(p0=extended(b'd' * 32, b'd' * 32, start=start))
        for log in (crtm + event(0), locality(4) + crtm + event(0)):
            self.assertEqual(4, eventlog.parse(header() + log).locality)
            eventlog.parse(header() + log).verify(pcrs)
        for log, want in (
            (event(0) + crtm, 0),
            (locality(3) + crtm, 3),
            (event(1, 0x80000010), 0),
        ):
            self.assertEqual(want, eventlog.parse(header() + log).locality)

    def test_only_no_action_events_state_it(self):
        log = header() + event(0, 1, data=b'StartupLocality\0\3')
        self.assertEqual(0, eventlog.parse(log).locality)


class HostileTest(Case):
    def test_every_truncation(self):
        log = header() + event(1) + event(2)
        whole = {len(header()), len(header() + event(1)), len(log)}
        for size in range(1, len(log)):
            if size not in whole and log[:size].strip(b'\0'):
                self.malformed(log[:size])

    def test_every_truncation_of_recorded_logs(self):
        for vector in ('direct-kernel', 'secure-boot'):
            good = sim.recorded_log(vector)
            ends = {item.offset for item in eventlog.parse(good).events}
            for size in range(1, len(good)):
                try:
                    eventlog.parse(good[:size])
                except errors.EvidenceError as exc:
                    self.assertIn('UEFI_LOG_M', exc.reason)
                else:
                    # The rest of a record may look like padding.
                    end = max(item for item in ends if item <= size)
                    self.assertFalse(good[end:size].strip(b'\0'))

    def test_every_byte_flipped(self):
        good = sim.recorded_log('direct-kernel')
        pcrs = sim.recorded_pcrs('direct-kernel')
        truth = self.truth(eventlog.parse(good).verify(pcrs))
        chance = random.Random(1)
        for at in range(len(good)):
            flip = chance.randrange(1, 256)
            log = bytearray(good)
            log[at] ^= flip
            self.only_the_truth(bytes(log), pcrs, truth)

    def truth(self, verified):
        return [(item.pcr, item.digests['sha256']) for item in verified.events]

    def only_the_truth(self, log, pcrs, truth):
        try:
            verified = eventlog.parse(log).verify(pcrs)
        except errors.EvidenceError as exc:
            self.assertIn('UEFI_LOG', exc.reason)
            return
        self.assertEqual(truth, self.truth(verified))
        eventlog.boot_from_json(eventlog.boot_to_json(verified.boot))

    @hypothesis.given(st.data())
    @hypothesis.settings(deadline=None, database=None, max_examples=300)
    def test_only_evidence_errors_and_no_other_truth(self, data):
        good = sim.recorded_log('direct-kernel')
        at = data.draw(st.integers(0, len(good) - 1))
        log = data.draw(
            st.one_of(
                st.binary(max_size=400),
                st.just(good[:at]),
                st.binary(max_size=64).map(
                    lambda value: good[:at] + value + good[at + len(value) :]
                ),
                st.binary(max_size=64).map(
                    lambda value: good[:at] + value + good[at:]
                ),
            )
        )
        pcrs = sim.recorded_pcrs('direct-kernel')
        self.only_the_truth(
            log, pcrs, self.truth(eventlog.parse(good).verify(pcrs))
        )
