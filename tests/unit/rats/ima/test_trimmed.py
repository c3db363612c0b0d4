# SPDX-License-Identifier: Apache-2.0
"""Where a list goes on whose beginning the kernel has dropped."""

from __future__ import annotations

import itertools

import testtools

from korora_nova.rats import ima
from tests.support.ima_lists import List


def parts(content: bytes, size: int) -> ima.Parts:
    return lambda: (
        content[at : at + size] for at in range(0, len(content), size)
    )


class BeginsTest(testtools.TestCase):
    def test_forms_and_templates(self) -> None:
        for template, form in itertools.product(
            ('ima', 'ima-ng', 'ima-sig', 'ima-ngv2'), ('binary', 'ascii')
        ):
            aggregate = 'sha1' if template == 'ima' else 'sha256'
            made = List(template, aggregate=aggregate)
            first = len(made.form(form))
            made.file('/usr/bin/a')
            whole = made.form(form)
            self.assertTrue(ima.begins(whole), (template, form))
            self.assertFalse(ima.begins(whole[first:]), (template, form))

    def test_what_is_no_list_has_another_fault(self) -> None:
        for log in (b'', b'x', b'\0' * 99, b'\xff' * 99, b'10 '):
            self.assertTrue(ima.begins(log))


class PlacesTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.made = List()
        self.ends = [len(self.made.binary)]
        for number in range(20):
            self.made.file(f'/usr/lib/{number}')
            self.ends.append(len(self.made.binary))

    def assert_first(self, seen: int, dropped: int) -> None:
        """The first guess is right, however the list comes."""
        whole = self.made.binary
        for size in (7, 100, 1 << 20):
            for tail in (whole[max(0, seen - 300) : seen], whole[:seen]):
                found = ima.places(tail, parts(whole[dropped:], size))
                self.assertEqual(max(0, seen - dropped), next(found))

    def test_after_before_and_at_what_was_seen(self) -> None:
        for seen in self.ends[4:]:
            for dropped in (end for end in self.ends if end <= seen):
                self.assert_first(seen, dropped)

    def test_nothing_is_left(self) -> None:
        self.assertEqual(
            [0], [*ima.places(self.made.binary[-300:], parts(b'', 9))]
        )

    def test_violations_repeat_the_same_bytes(self) -> None:
        made = List()
        start = len(made.binary)
        for _ in range(9):
            made.violation('/var/log/journal')
        one = (len(made.binary) - start) // 9
        content = made.binary[start:]
        found = [*ima.places(content[:one], parts(content, 50))]
        self.assertEqual([n * one for n in range(9, 0, -1)], found[:9])
        found = [*ima.places(content[: 5 * one], parts(content[: 2 * one], 9))]
        self.assertEqual([2 * one, one, 0], found)

    def test_guesses_have_a_bound(self) -> None:
        content = b'x' * 5000
        found = [*ima.places(content[:100], parts(content, 1000))]
        self.assertEqual(64, len(found))
