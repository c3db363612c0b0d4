# SPDX-License-Identifier: Apache-2.0
import hashlib
import struct
import unittest

import hypothesis
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.rats import eventlog
from tests.unit import simulator as sim

SHA256 = ((0x0B, 32),)
BOTH = ((0x04, 20), (0x0B, 32))


def header(algorithms=SHA256, vendor=b'\0'):
    data = (b'Spec ID Event03\0' + struct.pack('<IBBBBI', 0, 0, 2, 0, 2,
                                               len(algorithms))
            + b''.join(struct.pack('<HH', *item) for item in algorithms)
            + vendor)
    return struct.pack('<II20sI', 0, 3, bytes(20), len(data)) + data


def event(pcr, kind=1, digest=b'd' * 32, data=b'data', more=()):
    digests = ([(0x0B, digest)] if digest is not None else []) + list(more)
    return (struct.pack('<III', pcr, kind, len(digests))
            + b''.join(struct.pack('<H', alg) + value
                       for alg, value in digests)
            + struct.pack('<I', len(data)) + data)


def locality(value, pcr=0):
    return event(pcr, 3, bytes(32), b'StartupLocality\0' + bytes((value,)))


def extended(*digests, start=bytes(32)):
    for digest in digests:
        start = hashlib.sha256(start + digest).digest()
    return start


class EventLogTest(unittest.TestCase):

    def pcrs(self, **values):
        pcrs = {index: bytes(32) for index in range(16)}
        pcrs.update({int(key[1:]): value for key, value in values.items()})
        return pcrs

    def malformed(self, log):
        with self.assertRaises(errors.EvidenceError) as caught:
            eventlog.parse(log)
        self.assertEqual('UEFI_LOG_MALFORMED', caught.exception.reason)

    def differs(self, log, pcrs, names):
        with self.assertRaises(errors.EvidenceError) as caught:
            eventlog.parse(log).verify(pcrs)
        self.assertEqual('UEFI_LOG_REPLAY', caught.exception.reason)
        self.assertEqual(names, caught.exception.details['pcrs'])

    def test_recorded_boots_replay(self):
        for vector, count in (('direct-kernel', 24), ('secure-boot', 46)):
            pcrs = sim.recorded_pcrs(vector)
            log = eventlog.parse(sim.recorded_log(vector))
            events = log.verify(pcrs)
            self.assertEqual(count, len(events))
            for index in (*range(10), *range(11, 16)):
                self.differs(sim.recorded_log(vector),
                             {**pcrs, index: b'\1' * 32}, str(index))

    def test_pcr_missing_from_the_quote(self):
        pcrs = self.pcrs()
        del pcrs[15]
        self.differs(header(), pcrs, '15')

    def test_event_dropped_doubled_or_swapped(self):
        one, two = event(4, digest=b'1' * 32), event(4, digest=b'2' * 32)
        pcrs = self.pcrs(p4=extended(b'1' * 32, b'2' * 32))
        good = eventlog.parse(header() + one + two)
        self.assertEqual((b'1' * 32, b'2' * 32), tuple(
            item.digest for item in good.verify(pcrs)))
        for body in (one, two, two + one, one + two + two, b''):
            self.differs(header() + body, pcrs, '4')

    def test_several_pcrs_are_named(self):
        self.differs(header(), self.pcrs(p3=b'x' * 32, p14=b'x' * 32),
                     '3 14')

    def test_no_action_never_extends(self):
        log = header() + event(0xFFFFFFFF, 3) + event(5, 3, b'x' * 32)
        self.assertEqual((), eventlog.parse(log).verify(self.pcrs()))

    def test_startup_locality(self):
        for value, ok in ((0, True), (3, True), (4, True), (1, False),
                          (255, False)):
            log = header() + locality(value) + event(0)
            if not ok:
                self.malformed(log)
                continue
            start = bytes(31) + bytes((value,))
            pcrs = self.pcrs(p0=extended(b'd' * 32, start=start))
            eventlog.parse(log).verify(pcrs)
            if value:
                self.differs(header() + event(0), pcrs, '0')

    def test_startup_locality_out_of_place(self):
        self.malformed(header() + event(0) + locality(3))
        self.malformed(header() + locality(3) + locality(3))
        self.malformed(header() + locality(3, pcr=1))
        self.malformed(header() + event(0, 3, data=b'StartupLocality\0'))

    def test_padding_ends_the_log(self):
        for fill in (b'\0', b'\xff'):
            log = header() + event(1) + fill * 4096
            self.assertEqual(1, len(eventlog.parse(log).events))
        self.malformed(header() + event(1) + bytes(64) + b'\1')

    def test_zero_filled_file(self):
        self.malformed(bytes(4096))

    def test_not_crypto_agile(self):
        self.malformed(b'')
        self.malformed(struct.pack('<II20sI', 0, 8, bytes(20), 2) + b'ab')

    def test_bank_missing_from_the_header_or_an_event(self):
        self.malformed(header(((0x04, 20),)))
        self.malformed(header(BOTH) + event(
            1, digest=None, more=[(4, b'1' * 20)]))
        self.malformed(header() + event(1, digest=None))

    def test_other_banks_are_read_over(self):
        log = header(BOTH) + event(1, more=[(4, b'1' * 20)])
        pcrs = self.pcrs(p1=extended(b'd' * 32))
        self.assertEqual(1, len(eventlog.parse(log).verify(pcrs)))

    def test_digest_twice_or_unknown(self):
        self.malformed(header(BOTH) + event(1, more=[(0x0B, b'x' * 32)]))
        self.malformed(header(BOTH) + event(1, more=[(0x0C, b'x' * 48)]))
        self.malformed(header(((0x0B, 20),)) + event(1))
        self.malformed(header(((0x0B, 32), (0x0B, 32))))

    def test_vendor_bytes_may_be_missing(self):
        log = header(vendor=b'') + event(1)
        self.assertEqual(1, len(eventlog.parse(log).events))

    def test_pcr_out_of_range(self):
        self.malformed(header() + event(24))

    def test_events_outside_the_quote_are_not_handed_out(self):
        log = header() + event(16) + event(10)
        self.assertEqual((), eventlog.parse(log).verify(self.pcrs()))

    def test_caps(self):
        self.malformed(header() + event(1) * (eventlog.MAX_EVENTS + 1))
        self.malformed(header() + struct.pack('<III', 1, 1, 0xFFFFFFFF))
        self.malformed(header() + event(1)[:-8] + b'\xff' * 4 + b'data')
        self.malformed(header(tuple((0x100 + index, 32)
                                    for index in range(17))))

    def test_every_truncation(self):
        log = header() + event(1) + event(2)
        whole = {len(header()), len(header() + event(1)), len(log)}
        for size in range(len(log)):
            if size not in whole:
                self.malformed(log[:size])

    @hypothesis.given(st.data())
    @hypothesis.settings(deadline=None, database=None, max_examples=300)
    def test_only_evidence_errors_and_no_other_truth(self, data):
        good = sim.recorded_log('direct-kernel')
        at = data.draw(st.integers(0, len(good) - 1))
        log = data.draw(st.one_of(
            st.binary(max_size=400), st.just(good[:at]),
            st.integers(0, 255).map(
                lambda value: good[:at] + bytes((value,))
                + good[at + 1:])))
        pcrs = sim.recorded_pcrs('direct-kernel')
        try:
            events = eventlog.parse(log).verify(pcrs)
        except errors.EvidenceError as exc:
            self.assertIn('UEFI_LOG', exc.reason)
            return
        expected = eventlog.parse(good).verify(pcrs)
        self.assertEqual([(item.pcr, item.digest) for item in expected],
                         [(item.pcr, item.digest) for item in events])
