# SPDX-License-Identifier: Apache-2.0
import hashlib
import unittest

import hypothesis
from hypothesis import strategies as st

from korora_nova.rats.eventlog import phases

BOOT = (
    'enter-initrd',
    'leave-initrd',
    'sysinit',
    'ready',
    'shutdown',
    'final',
)
LOGGED = b'l' * 32
#: What systemd measures, in the order of a boot.
ADMITTED = {
    boot[:count]
    for boot in (BOOT, BOOT[2:])
    for count in range(1, len(boot) + 1)
}


def extended(value, words):
    for word in words:
        digest = hashlib.sha256(word.encode()).digest()
        value = hashlib.sha256(value + digest).digest()
    return value


def explained(words, logged=LOGGED):
    return phases.explain(logged, extended(LOGGED, words), hashlib.sha256)


class PhasesTest(unittest.TestCase):
    def test_every_phase_of_a_boot(self):
        for words in ADMITTED:
            self.assertTrue(explained(words), words)

    def test_another_log(self):
        for words in ADMITTED:
            self.assertFalse(explained(words, b'm' * 32), words)

    def test_other_banks(self):
        value = hashlib.sha1(LOGGED[:20] + hashlib.sha1(b'sysinit').digest())
        self.assertTrue(
            phases.explain(LOGGED[:20], value.digest(), hashlib.sha1)
        )

    @hypothesis.given(
        st.lists(st.sampled_from((*BOOT, '', 'evil', 'ready ')), max_size=7)
    )
    @hypothesis.settings(database=None, max_examples=300)
    def test_nothing_else(self, words):
        self.assertEqual(tuple(words) in ADMITTED, explained(words))
