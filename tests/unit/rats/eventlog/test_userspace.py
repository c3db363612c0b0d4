# SPDX-License-Identifier: Apache-2.0
"""What systemd extends after the firmware's log has ended."""

from __future__ import annotations

import hashlib
import json
import unittest
from typing import Any

import hypothesis
from hypothesis import strategies as st

from korora_nova.rats import eventlog, reference
from korora_nova.rats.eventlog import facts, userspace
from korora_nova.rats.state import Explained
from tests.support import states, systemd, vectors

UKI = 'host/uki'
PHASES = ('enter-initrd', 'leave-initrd', 'sysinit', 'ready')
BOOT = (*PHASES, 'shutdown', 'final')
NV = 'nvpcr-init:hardware:0x1d10200:000b' + 'a' * 64


class ParseTest(unittest.TestCase):
    def test_records(self) -> None:
        log = systemd.log((11, 'enter-initrd'), (15, 'machine-id:00'))
        first, second = userspace.parse(log)
        self.assertEqual((11, 'enter-initrd'), (first.pcr, first.text))
        self.assertEqual(
            hashlib.sha256(b'enter-initrd').digest(), first.digests['sha256']
        )
        self.assertEqual(15, second.pcr)

    def test_nv_pcrs_are_left_out(self) -> None:
        nv = b'\x1e' + json.dumps({'nv_index': 1, 'digests': []}).encode()
        log = systemd.log((9, NV)) + nv + systemd.log((9, 'x'))
        self.assertEqual(
            [NV, 'x'], [item.text for item in userspace.parse(log)]
        )

    def test_what_is_no_record_ends_it(self) -> None:
        good = systemd.log((11, 'ready'))
        for bad in (
            good[:-5],
            b'\x1e[]',
            b'\x1e{"pcr": true, "digests": []}',
            b'\x1e{"pcr": 24, "digests": []}',
            b'\x1e{"pcr": 1.0, "digests": []}',
            b'\x1e{"pcr": 1}',
            b'\x1e{"pcr": 1, "digests": [{"hashAlg": [], "digest": ""}]}',
            b'\x1e{"pcr": 1, "digests": [{"hashAlg": "sha256"}]}',
            b'\x1e{"pcr": 1, "digests": [{"hashAlg": "sha256",'
            b' "digest": "00"}]}',
            b'\x1e{"pcr": 1, "digests": [], "content": []}',
            b'\x1e{"pcr": 1, "digests": [], "content": {"string": 1}}',
            b'\x1e' + b'[' * 100_000,
            b'\x1e\xff',
        ):
            self.assertEqual(
                1, len(userspace.parse(good + bad + good)), msg=bad[:60]
            )
        for log in (b'', b'x' + good, b'{}'):
            self.assertEqual((), userspace.parse(log))

    def test_many(self) -> None:
        log = systemd.log((11, 'x')) * (userspace.MAX_RECORDS + 1)
        self.assertGreaterEqual(
            userspace.MAX_RECORDS, len(userspace.parse(log))
        )


class CompareTest(unittest.TestCase):
    def setUp(self) -> None:
        super().setUp()
        vector = vectors.load(UKI)
        self.log = eventlog.parse(vector.files[vectors.UEFI])
        # As the firmware left them.
        self.pcrs = self.log.replay()
        self.pcrs.pop(10, None)

    def extend(self, *words: tuple[int, str]) -> None:
        for pcr, word in words:
            digest = hashlib.sha256(word.encode()).digest()
            self.pcrs[pcr] = hashlib.sha256(self.pcrs[pcr] + digest).digest()

    def compare(self, log: bytes = b'') -> Any:
        return self.log.compare(self.pcrs, records=userspace.parse(log))

    def test_separators_without_a_log(self) -> None:
        words = [(pcr, 'os-separator') for pcr in (*range(8), 9, 12, 13, 14)]
        self.extend(*words)
        verified = self.compare()
        self.assertEqual({}, verified.differs)
        self.assertTrue(verified.boot.secure_boot)
        self.extend((4, 'os-separator'))
        self.assertEqual([4], list(self.compare().differs))

    def test_a_separator_is_not_for_every_register(self) -> None:
        self.extend((8, 'os-separator'), (15, 'os-separator'))
        self.assertEqual([8, 15], list(self.compare().differs))

    def test_phases(self) -> None:
        for word in BOOT:
            self.extend((11, word))
            self.assertEqual({}, self.compare().differs, msg=word)
        self.extend((11, 'ready'))
        self.assertEqual([11], list(self.compare().differs))

    @hypothesis.given(
        st.lists(st.sampled_from((*BOOT, '', 'evil', 'ready ')), max_size=7)
    )
    @hypothesis.settings(database=None, max_examples=200)
    def test_no_other_words(self, words: list[str]) -> None:
        pcrs, self.pcrs = self.pcrs, dict(self.pcrs)
        self.extend(*((11, word) for word in words))
        admitted = any(
            words == boot[: len(words)] for boot in ([*BOOT], [*BOOT[2:]])
        )
        self.assertEqual(admitted, not self.compare().differs)
        self.pcrs = pcrs

    def test_phases_without_an_initrd(self) -> None:
        self.extend((11, 'sysinit'), (11, 'ready'))
        self.assertEqual({}, self.compare().differs)

    def test_the_log_explains_what_no_word_does(self) -> None:
        done = [
            (9, NV),
            (9, 'nvpcr-separator'),
            (7, 'os-separator'),
            (12, 'os-separator'),
            *[(11, word) for word in PHASES],
            (15, 'machine-id:' + '0' * 32),
            (11, 'a phase of the site'),
        ]
        self.extend(*done)
        self.assertEqual([9, 11, 15], list(self.compare().differs))
        verified = self.compare(systemd.log(*done))
        self.assertEqual({}, verified.differs)
        before = {item.digest for item in states.recorded(UKI).boot.components}
        self.assertEqual(
            {
                ('user space', NV, 9),
                ('user space', 'a phase of the site', 11),
                ('user space', 'machine-id:' + '0' * 32, 15),
            },
            {
                (item.kind, item.name, item.pcr)
                for item in verified.boot.components
                if item.digest not in before
            },
        )
        self.assertTrue(verified.boot.secure_boot)
        self.assertEqual(
            states.recorded(UKI).boot.command_lines,
            verified.boot.command_lines,
        )
        measured = Explained.of(verified).measured
        self.assertNotIn(
            hashlib.sha256(b'os-separator').hexdigest(), measured[7]
        )
        self.assertIn(hashlib.sha256(NV.encode()).hexdigest(), measured[9])

    def test_the_quote_is_older_than_the_log(self) -> None:
        self.extend((15, 'one'))
        log = systemd.log((15, 'one'), (15, 'two'))
        verified = self.compare(log)
        self.assertEqual({}, verified.differs)
        self.assertNotIn('two', str(verified.boot.components))

    def test_a_changed_log_explains_nothing(self) -> None:
        self.extend((15, 'one'), (15, 'two'))
        for done in ((15, 'one'),), ((15, 'two'), (15, 'one')):
            self.assertEqual(
                [15], list(self.compare(systemd.log(*done)).differs)
            )

    def test_no_event_hides_in_the_log_of_systemd(self) -> None:
        """Each event, moved there with all that follow in its register."""
        bound = {
            index: [item for item in self.log.events if item.pcr == index]
            for index in (4, 7, 11, 12)
        }
        for index, events in bound.items():
            for cut in range(len(events)):
                moved = events[cut:]
                kept = [item for item in self.log.events if item not in moved]
                other = eventlog.EventLog(
                    **{**vars(self.log), 'events': tuple(kept)}
                )
                records = [
                    userspace.Record(index, item.digests, 'os-separator')
                    for item in moved
                ]
                verified = other.compare(self.pcrs, records=records)
                self.assertEqual({}, verified.differs)
                ends = facts._silent('sha256')
                for item in moved:
                    digest = item.digests['sha256']
                    if digest in ends:
                        continue
                    self._listed(index, digest.hex(), verified)

    def _listed(self, index: int, digest: str, verified: Any) -> None:
        boot = verified.boot
        self.assertIn(digest, Explained.of(verified).measured[index])
        told = (
            any(item.digest.endswith(digest) for item in boot.components)
            or any(not item.verified for item in boot.command_lines)
            # Names of sections are known by their digests.
            or index == 11
            or boot.secure_boot is not True
            or any(not item.verified for item in boot.authorities)
        )
        self.assertTrue(told, msg=(index, digest))

    def test_a_section_is_no_word(self) -> None:
        """.cmdline of 'ready': listed, as every section."""
        ready = hashlib.sha256(b'ready').digest()
        last = self.log.events[-1]
        name, content = (
            type(last)(last.index + number, 11, 13, {'sha256': digest}, b'', 0)
            for number, digest in (
                (1, hashlib.sha256(b'.cmdline\0').digest()),
                (2, ready),
            )
        )
        other = eventlog.EventLog(
            **{
                **vars(self.log),
                'events': (*self.log.events, name, content),
            }
        )
        found = other.compare(other.replay()).boot.components
        self.assertEqual(
            'sha256:' + ready.hex(), found[-1].digest, msg=found[-1]
        )


class LearnTest(unittest.TestCase):
    def test_registers_of_user_space(self) -> None:
        whole = vectors.load(UKI)
        pcrs = {**whole.pcrs['sha256'], 9: b'9' * 32, 15: b'5' * 32}
        state = states.of(whole.files[vectors.UEFI], pcrs)
        self.assertEqual({9, 15}, set(state.log.differs))
        learned = reference.learn('x', state, ())
        self.assertEqual(((b'9' * 32).hex(),), learned.pcrs[9])
