# SPDX-License-Identifier: Apache-2.0
import base64
import hashlib
import pathlib
import tempfile
import unittest

from korora_tools.demo import canary

PASSPHRASE = base64.b64encode(hashlib.shake_256(b'canary').digest(384))


class CanaryTest(unittest.TestCase):
    """A zero in the demo's report must mean that a find was possible."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.wanted = canary.needles(PASSPHRASE)

    def _finds(self, content: bytes) -> int:
        (self.root / 'file').write_bytes(content)
        return canary.search_trees([self.root], self.wanted).total

    def test_plain_is_found_as_often_as_it_occurs(self) -> None:
        self.assertEqual(2, self._finds(b'a' + PASSPHRASE + PASSPHRASE))

    def test_base64_is_found_at_each_alignment(self) -> None:
        for pad in (b'', b'x', b'xx', b'xxx'):
            with self.subTest(pad=pad):
                self.assertEqual(
                    1, self._finds(base64.b64encode(pad + PASSPHRASE))
                )

    def test_hexadecimal_is_found(self) -> None:
        self.assertEqual(1, self._finds(PASSPHRASE.hex().encode()))

    def test_a_truncated_copy_is_found(self) -> None:
        self.assertEqual(1, self._finds(b'log: ' + PASSPHRASE[:80]))

    def test_another_passphrase_is_not_found(self) -> None:
        other = base64.b64encode(hashlib.shake_256(b'other').digest(384))
        self.assertEqual(0, self._finds(other))

    def test_skipped_folders_are_not_searched(self) -> None:
        folder = self.root / 'skip'
        folder.mkdir()
        (folder / 'file').write_bytes(PASSPHRASE)
        self.assertEqual(
            0, canary.search_trees([self.root], self.wanted, [folder]).total
        )

    def test_a_short_canary_is_refused(self) -> None:
        self.assertRaises(ValueError, canary.needles, b'short')

    def test_output_of_a_command_is_searched(self) -> None:
        (self.root / 'dump').write_bytes(PASSPHRASE)
        finds = canary.search_output(
            'dump', ['cat', str(self.root / 'dump')], self.wanted
        )
        self.assertEqual({'dump': 1}, finds.files)
