# SPDX-License-Identifier: Apache-2.0
import hashlib
import struct
import unittest

import hypothesis
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.rats import ima
from tests.support import simulator as sim

AGGREGATE = hashlib.sha256(bytes(320)).digest()


def field(data):
    return struct.pack('<I', len(data)) + data


def raw_entry(data, *, pcr=10, name=b'ima-ng', stated=None):
    return (
        struct.pack('<I', pcr)
        + (stated or hashlib.sha1(data).digest())
        + field(name)
        + field(data)
    )


class ImaTest(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.log = b''
        self.pcrs = {index: bytes(32) for index in range(16)}
        self.measure('boot_aggregate', AGGREGATE)

    def measure(self, path, digest=None, **kwargs):
        entry, extension = sim.ima_entry(path, digest, **kwargs)
        self.add(entry, extension)

    def add(self, entry, extension):
        self.log += entry
        self.pcrs[10] = hashlib.sha256(self.pcrs[10] + extension).digest()

    def refused(self, reason, log=None):
        with self.assertRaises(errors.EvidenceError) as caught:
            ima.parse(self.log if log is None else log).verify(self.pcrs)
        self.assertEqual(reason, caught.exception.reason)

    def test_good(self):
        self.measure('/bin/a', b'a' * 32)
        entries = ima.parse(self.log).verify(self.pcrs)
        self.assertEqual(
            ima.Entry('sha256:' + '61' * 32, b'/bin/a', False), entries[1]
        )

    def test_template_hash_of_any_length(self):
        for name in ('sha1', 'sha256', 'sha384', 'sha512'):
            self.setUp()
            self.log, self.pcrs[10] = b'', bytes(32)
            for path, digest in (
                ('boot_aggregate', AGGREGATE),
                ('/bin/a', None),
            ):
                self.measure(path, digest, template_hash=name)
            self.assertEqual(2, len(ima.parse(self.log).verify(self.pcrs)))

    def test_ima_sig(self):
        data = (
            field(b'sha256:\0' + b'a' * 32)
            + field(b'/bin/a\0')
            + field(b'\3signature')
        )
        self.add(
            raw_entry(data, name=b'ima-sig'), hashlib.sha256(data).digest()
        )
        self.assertEqual(
            b'/bin/a', ima.parse(self.log).verify(self.pcrs)[1].path
        )

    def test_tail_after_the_quote_is_left_out(self):
        quoted = dict(self.pcrs)
        self.measure('/bin/later')
        self.assertEqual(1, len(ima.parse(self.log).verify(quoted)))

    def test_truncated_list(self):
        """T14: measurements left out of the list."""
        kept = self.log
        self.measure('/bin/evil')
        self.refused('IMA_LOG_REPLAY', kept)
        self.refused('IMA_LOG_MISSING', b'')

    def test_pcr_10_alone_was_tampered_with(self):
        """T27: rubbish in PCR 10."""
        self.pcrs[10] = hashlib.sha256(self.pcrs[10] + b'x').digest()
        self.refused('IMA_LOG_REPLAY')

    def test_ima_off_is_not_good(self):
        self.pcrs[10] = bytes(32)
        self.refused('IMA_LOG_MISSING', b'')
        self.refused('IMA_BOOT_AGGREGATE')

    def test_boot_aggregate(self):
        self.pcrs[8] = b'\1' * 32
        self.refused('IMA_BOOT_AGGREGATE')

    def test_boot_aggregate_must_be_first_and_all_agree(self):
        self.measure('boot_aggregate', b'x' * 32)
        self.refused('IMA_BOOT_AGGREGATE')
        self.log, self.pcrs[10] = b'', bytes(32)
        self.measure('/bin/a')
        self.measure('boot_aggregate', AGGREGATE)
        self.refused('IMA_BOOT_AGGREGATE')

    def test_edited_entry(self):
        self.measure('/bin/a', b'a' * 32)
        edited = self.log.replace(b'a' * 32, b'b' * 32)
        self.refused('IMA_TEMPLATE_HASH', edited)

    def test_edited_entry_with_its_hash(self):
        self.measure('/bin/a', b'a' * 32)
        self.refused(
            'IMA_LOG_REPLAY',
            self.log[: -len(sim.ima_entry('/bin/a')[0])]
            + sim.ima_entry('/bin/a')[0],
        )

    def test_edited_template_name(self):
        """The hash does not cover it; the layout decides."""
        self.refused(
            'IMA_LOG_MALFORMED',
            self.log.replace(b'\6\0\0\0ima-ng', b'\7\0\0\0ima-sig'),
        )

    def test_violation(self):
        data = field(b'sha1:\0' + bytes(20)) + field(b'/var/log/x\0')
        self.add(raw_entry(data, stated=bytes(20)), b'\xff' * 32)
        entry = ima.parse(self.log).verify(self.pcrs)[1]
        self.assertTrue(entry.violation)
        self.assertEqual(b'/var/log/x', entry.path)

    def test_violation_hidden_as_an_entry(self):
        data = field(b'sha1:\0' + bytes(20)) + field(b'/var/log/x\0')
        self.add(raw_entry(data), b'\xff' * 32)
        self.refused('IMA_LOG_REPLAY')

    def test_entry_hidden_as_a_violation(self):
        data = field(b'sha256:\0' + b'a' * 32) + field(b'/bin/evil\0')
        self.add(
            raw_entry(data, stated=bytes(20)), hashlib.sha256(data).digest()
        )
        self.refused('IMA_LOG_REPLAY')

    def test_unsupported_kinds(self):
        data = field(b'sha256:\0' + b'a' * 32) + field(b'/bin/a\0')
        for entry in (
            raw_entry(data, pcr=24),
            raw_entry(data + b'\0'),
            raw_entry(b''),
            raw_entry(field(b'sha256:\0' + b'a' * 31) + field(b'/bin/a\0')),
            raw_entry(field(b'sha256' + b'a' * 32) + field(b'/bin/a\0')),
            raw_entry(field(b'sha256:\0' + b'a' * 32) + field(b'/bin/a')),
            raw_entry(field(b'sha256:\0' + b'a' * 32) + field(b'/bin\0/a\0')),
            raw_entry(field(b'sha256:\0' + b'a' * 32) + field(b'')),
        ):
            self.refused('IMA_LOG_MALFORMED', self.log + entry)
            self.refused('IMA_LOG_MALFORMED', entry)

    def test_newline_in_a_path_forges_nothing(self):
        self.measure('/tmp/x\n10 aa ima-ng sha256:bb /bin/y')
        self.assertEqual(2, len(ima.parse(self.log).verify(self.pcrs)))

    def test_truncations(self):
        for size in range(1, len(self.log)):
            self.refused('IMA_LOG_MALFORMED', self.log[:size])

    def test_caps(self):
        data = field(b'sha256:\0' + b'a' * 32) + field(
            b'/' * ima.MAX_TEMPLATE_DATA + b'\0'
        )
        self.refused('IMA_LOG_MALFORMED', raw_entry(data))

    @hypothesis.given(st.data())
    @hypothesis.settings(deadline=None, database=None, max_examples=400)
    def test_only_evidence_errors_and_no_other_truth(self, data):
        self.setUp()
        self.measure('/bin/a')
        self.measure('/bin/b')
        good = ima.parse(self.log).verify(self.pcrs)
        at = data.draw(st.integers(0, len(self.log) - 1))
        log = data.draw(
            st.one_of(
                st.binary(max_size=400),
                st.just(self.log[:at]),
                st.integers(0, 255).map(
                    lambda value: (
                        self.log[:at] + bytes((value,)) + self.log[at + 1 :]
                    )
                ),
            )
        )
        try:
            entries = ima.parse(log).verify(self.pcrs)
        except errors.EvidenceError as exc:
            self.assertIn('IMA', exc.reason)
            return
        self.assertEqual(good, entries)
