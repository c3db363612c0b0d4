# SPDX-License-Identifier: Apache-2.0
import hashlib
import pathlib
import tempfile
import unittest

from korora_tools.demo import continuity


def console(numbers, boot='b1', ext='ok', start=bytes(32)):
    """Console text of a guest that printed these ticks."""
    lines, value = [], start
    for number in range(1, max(numbers) + 1):
        digest = hashlib.sha256(str(number).encode()).digest()
        value = hashlib.sha256(value + digest).digest()
        if number in numbers:
            lines.append(
                f'TICK n={number} up={number}.0 boot={boot} '
                f'ext={ext} pcr16={value.hex().upper()}\n'
            )
    return ''.join(lines)


class ContinuityTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.one = pathlib.Path(folder.name) / 'h1'
        self.two = pathlib.Path(folder.name) / 'h2'
        self.watcher = continuity.Watcher([self.one, self.two])

    def _report(self, one: str, two: str) -> continuity.Report:
        self.one.write_text(one)
        self.two.write_text(two)
        self.watcher.read_now()
        return self.watcher.report()

    def test_one_chain_over_two_hosts(self) -> None:
        report = self._report(console({1, 2, 3}), console({5, 6}))
        self.assertTrue(report.continuity)
        self.assertEqual((1, 5), (report.boot_ids, report.ticks))

    def test_noise_on_the_console_is_no_tick(self) -> None:
        self.one.write_bytes(
            b'[    3.1] noise\n' + console({1}).encode() + b'\xff\xfe'
        )
        self.watcher.read_now()
        report = self.watcher.report()
        self.assertTrue(report.continuity)
        self.assertEqual(1, report.ticks)

    def test_nothing_seen_is_no_continuity(self) -> None:
        self.assertFalse(self.watcher.report().continuity)

    def test_a_reboot_is_noticed(self) -> None:
        report = self._report(console({1, 2}), console({1}, boot='b2'))
        self.assertFalse(report.continuity)
        self.assertEqual(2, report.boot_ids)

    def test_a_vtpm_that_lost_its_state_is_noticed(self) -> None:
        two = console({3}, start=b'\1' * 32)
        self.assertFalse(self._report(console({1, 2}), two).continuity)

    def test_two_diverging_copies_are_noticed(self) -> None:
        report = self._report(
            console({1, 2, 3}), console({3}, start=b'\1' * 32)
        )
        self.assertFalse(report.continuity)

    def test_a_refused_extend_is_noticed(self) -> None:
        self.assertFalse(self._report(console({1}, ext='FAIL'), '').continuity)

    def test_trouble_of_the_emulator_is_reported(self) -> None:
        report = self._report(console({1}), 'list_add corruption\n')
        self.assertTrue(report.emulator_trouble)

    def test_a_silent_guest_times_out(self) -> None:
        self.assertRaises(TimeoutError, self.watcher.wait_past, 0, timeout=0.1)
