# SPDX-License-Identifier: Apache-2.0
"""Padding, banks, headers, caps: the forms of logs in the field."""

from korora_nova.rats import eventlog
from tests.support import uefilog as raw
from tests.support.uefilog import BOTH, event, event2, extended, header, record
from tests.unit.rats.eventlog.test_eventlog import Case


class PaddingTest(Case):
    def test_padding_ends_the_log(self):
        for fill in (b'\0', b'\xff'):
            log = header() + event(1) + fill * 4096
            parsed = eventlog.parse(log)
            self.assertEqual(2, len(parsed.events))
            self.assertEqual({'padding'}, parsed.quirks)
        self.malformed(header() + event(1) + bytes(64) + b'\1')
        self.malformed(header() + event(1) + b'\xff' * 64 + b'\1')

    def test_padding_of_a_few_bytes(self):
        for size in range(1, 40):
            for fill in (b'\0', b'\xff'):
                log = header() + event(1) + fill * size
                self.assertEqual(2, len(eventlog.parse(log).events))

    def test_data_that_ends_like_padding(self):
        for fill in (b'\0', b'\xff'):
            last = event(1, data=fill * 8)
            for log in (header() + last, header() + last + fill * 100):
                self.assertEqual(fill * 8, eventlog.parse(log).events[1].data)

    def test_nothing_but_padding_is_a_missing_log(self):
        for log in (b'', bytes(4096), b'\xff' * 4096, b'\0', b'\xff'):
            error = self.refused('UEFI_LOG_MISSING', eventlog.parse, log)
            self.assertEqual('offset 0', error.place)

    def test_legacy_padding(self):
        log = record(1, 4, b's' * 20, b'\1\0\0\0')
        for fill in (b'\0', b'\xff'):
            parsed = eventlog.parse(log + fill * 1000)
            self.assertEqual(1, len(parsed.events))


class BankTest(Case):
    def test_other_banks(self):
        banks = (
            ('sha1', 20),
            ('sha256', 32),
            ('sha384', 48),
            ('sha512', 64),
            ('sm3-256', 32),
        )
        log = eventlog.parse(
            header(banks)
            + event2(3, 1, [(name, b'd' * size) for name, size in banks])
        )
        self.assertEqual(tuple(name for name, _ in banks), log.banks)
        for name, size in banks:
            value = extended(b'd' * size, start=bytes(size), bank=name)
            self.assertEqual(value, log.replay(name)[3])
            verified = log.verify({3: value, 4: bytes(size)}, name)
            self.assertEqual((name, (3, 4)), (verified.bank, verified.agrees))

    def test_bank_that_is_not_there(self):
        log = eventlog.parse(
            header((('sha1', 20),)) + event2(1, 1, [('sha1', b'd' * 20)])
        )
        for call in (
            log.replay,
            lambda: log.verify({1: bytes(32)}),
            lambda: log.compare({}),
            lambda: log.replay('none'),
        ):
            self.refused('UEFI_LOG_BANK', call)
        self.assertEqual(
            {1: extended(b'd' * 20, start=bytes(20), bank='sha1')}[1],
            log.replay('sha1')[1],
        )

    def test_bank_missing_from_later_events(self):
        one = event2(1, 1, [('sha1', b'1' * 20), ('sha256', b'1' * 32)])
        two = event2(1, 1, [('sha1', b'2' * 20)])
        none = event2(1, 3, [])
        log = eventlog.parse(header(BOTH) + one + none + two + two)
        self.assertEqual({'sha256': 3}, log.incomplete)
        self.assertIn('missing-bank', log.quirks)
        error = self.refused('UEFI_LOG_BANK', log.replay)
        self.assertIn('from event 3 on', error.message)
        self.assertEqual(
            {'want': 'sha256', 'got': 'sha1'},
            {key: error.details[key] for key in ('want', 'got')},
        )
        self.assertEqual(20, len(log.replay('sha1')[1]))

    def test_algorithm_unknown_here(self):
        log = eventlog.parse(
            header(((0x31, 24), ('sha256', 32)))
            + event2(1, 1, [(0x31, b'x' * 24), ('sha256', b'd' * 32)])
        )
        self.assertEqual(('0x0031', 'sha256'), log.banks)
        self.assertEqual(extended(b'd' * 32), log.replay()[1])
        self.refused('UEFI_LOG_BANK', log.replay, '0x0031')

    def test_digest_twice_unknown_or_none(self):
        self.malformed(
            header(BOTH)
            + event2(1, 1, [('sha256', b'x' * 32), ('sha256', b'x' * 32)])
        )
        self.malformed(
            header(BOTH)
            + event2(1, 1, [('sha256', b'x' * 32), ('sha384', b'x' * 48)])
        )
        self.malformed(header() + event2(1, 1, []))


class SpecIdTest(Case):
    def test_faults(self):
        self.malformed(header((('sha256', 20),)) + event(1))
        self.malformed(header((('sha256', 32), ('sha256', 32))))
        self.malformed(header(()) + event(1))
        self.malformed(header(((0x31, 0),)))
        self.malformed(header(((0x31, 65),)))
        self.malformed(
            header(tuple((0x100 + index, 32) for index in range(17)))
        )
        good = header()
        self.malformed(good[:4] + b'\4' + good[5:])
        self.malformed(b'\1' + good[1:])

    def test_vendor_bytes(self):
        for vendor in (b'', b'\0', b'\3abc'):
            log = eventlog.parse(header(vendor=vendor) + event(1))
            self.assertEqual(2, len(log.events))
            self.assertEqual(frozenset(), log.quirks)

    def test_vendor_bytes_missing_from_the_size(self):
        size = len(header(vendor=b'')) - 32
        for vendor in (b'\0', b'\3abc', b'\5' + b'\1' * 5):
            log = eventlog.parse(
                header(vendor=vendor, size=size) + event(1) + event(2)
            )
            self.assertEqual(extended(b'd' * 32), log.replay()[2])
            self.assertEqual({'vendor-bytes'}, log.quirks)
        log = eventlog.parse(header(vendor=b'\3abc', size=size + 1) + event(1))
        self.assertEqual({'vendor-bytes'}, log.quirks)

    def test_a_fault_keeps_its_place(self):
        log = header() + event(1) + event(99)
        error = self.malformed(log)
        self.assertEqual(f'offset {len(header() + event(1))}', error.place)


class LegacyTest(Case):
    def test_sha1_log(self):
        log = eventlog.parse(
            record(0, 3, data=b'Spec ID Event02\0' + bytes(12))
            + record(4, 13, b'a' * 20, b'x')
            + record(4, 4, b'b' * 20)
        )
        self.assertEqual(('sha1', ('sha1',)), (log.format, log.banks))
        want = extended(b'a' * 20, b'b' * 20, start=bytes(20), bank='sha1')
        self.assertEqual(want, log.replay('sha1')[4])
        self.assertEqual(2, len(log.verify({4: want}, 'sha1').events))
        self.refused('UEFI_LOG_BANK', log.verify, {4: want})

    def test_without_a_header(self):
        log = eventlog.parse(record(0, 8, b'a' * 20, b'x'))
        self.assertEqual('sha1', log.format)
        self.assertEqual(frozenset(), log.quirks)

    def test_faults(self):
        good = record(0, 8, b'a' * 20, b'1234')
        for size in range(1, len(good)):
            if good[:size].strip(b'\0'):
                self.malformed(good[:size])
        self.malformed(record(24, 8, b'a' * 20, b'1234'))

    def test_agile_fragment(self):
        log = eventlog.parse(event(1) + event(2))
        self.assertEqual('crypto-agile', log.format)
        self.assertEqual(('sha256',), log.banks)
        self.assertEqual({'headerless'}, log.quirks)
        self.assertEqual(extended(b'd' * 32), log.replay()[2])
        self.assertEqual([0, 1], [item.index for item in log.events])

    def test_agile_fragment_with_a_fault(self):
        self.malformed(event(1) + event(99))
        self.malformed(event(1)[:-1])

    def test_ambiguous_fragment(self):
        # As a SHA-1 record: the size is in the digest, the data after it.
        digest = bytes(14) + (22).to_bytes(4, 'little') + bytes(14)
        log = event(1, digest=digest, data=b'data')
        self.assertIn('two formats', self.malformed(log).message)


class ConfidentialTest(Case):
    def log(self, bank):
        size = raw.SIZES[bank]
        return header(((bank, size),)) + b''.join(
            event2(pcr, 1, [(bank, b'd' * size)]) for pcr in (1, 1, 2, 3)
        )

    def test_registers(self):
        for bank in ('sha384', 'sm3-256'):
            log = eventlog.parse(self.log(bank))
            self.assertEqual('cc', log.format)
            size = raw.SIZES[bank]
            one = extended(b'd' * size, start=bytes(size), bank=bank)
            two = extended(b'd' * size, start=one, bank=bank)
            self.assertEqual({1: two, 2: one, 3: one}, log.replay(bank))
            self.assertEqual(
                (1, 2, 3, 4),
                log.verify(
                    {1: two, 2: one, 3: one, 4: bytes(size)}, bank
                ).agrees,
            )

    def test_spec_id_for_the_first_register(self):
        # EDK II has it there for Intel TDX.
        for bank in ('sha384', 'sm3-256'):
            log = eventlog.parse(b'\1' + self.log(bank)[1:])
            self.assertEqual(
                ('cc', 1, {}),
                (log.format, log.events[0].pcr, log.events[0].digests),
            )
            self.assertEqual(
                eventlog.parse(self.log(bank)).replay(bank), log.replay(bank)
            )
        empty = eventlog.parse(b'\1' + header((('sha384', 48),))[1:])
        self.assertEqual(('cc', {}), (empty.format, empty.replay('sha384')))

    def test_spec_id_for_a_register_that_is_none(self):
        self.malformed(b'\1' + (header() + event(1))[1:])
        self.malformed(b'\1' + header()[1:])
        self.malformed(
            b'\1'
            + header((('sha384', 48),))[1:]
            + event2(7, 4, [('sha384', b'd' * 48)])
        )
        for pcr in (b'\2', b'\xff'):
            self.malformed(pcr + self.log('sha384')[1:])

    def test_the_register_of_the_build_is_not_required(self):
        log = eventlog.parse(self.log('sha384'))
        pcrs = {0: b'b' * 48, **log.replay('sha384')}
        verified = log.verify(pcrs, 'sha384')
        self.assertEqual(
            ((1, 2, 3), [0]), (verified.agrees, list(verified.differs))
        )
        self.refused('UEFI_LOG_REPLAY', log.verify, {0: b'b' * 48}, 'sha384')

    def test_a_tpm_with_one_bank_is_no_confidential_vm(self):
        for pcr in (0, 7):
            log = header((('sha384', 48),)) + event2(
                pcr, 4, [('sha384', b'd' * 48)]
            )
            self.assertEqual('crypto-agile', eventlog.parse(log).format)
        self.assertEqual(
            'crypto-agile', eventlog.parse(header((('sha384', 48),))).format
        )


class CapsTest(Case):
    def test_caps(self):
        self.malformed(header() + event(1) * (eventlog.MAX_EVENTS + 1))
        self.malformed(record(1, 1, b'x' * 20) * (eventlog.MAX_EVENTS + 1))
        for end in (b'\xff' * 4, (1 << 20 | 1).to_bytes(4, 'little')):
            self.malformed(header() + event(1)[:-8] + end + b'data')
            self.malformed(record(1, 1, b'x' * 20)[:-4] + end + b'data')
        self.malformed(bytes(1) * eventlog.MAX_LOG_BYTES + b'xx')
        self.malformed(header() + event(24))

    def test_the_longest_event(self):
        log = header() + event(1, data=b'x' * eventlog.MAX_EVENT_BYTES)
        self.assertEqual(2, len(eventlog.parse(log).events))
