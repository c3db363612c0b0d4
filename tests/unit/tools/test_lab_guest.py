# SPDX-License-Identifier: Apache-2.0
import pathlib
import subprocess
import tempfile
import unittest

from korora_tools.lab import guest


class ArchiveTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def test_archive_is_one_that_cpio_unpacks(self) -> None:
        tree = self.root / 'tree'
        (tree / 'bin').mkdir(parents=True)
        (tree / 'bin' / 'odd').write_bytes(b'12345')
        (tree / 'bin' / 'odd').chmod(0o755)
        (tree / 'lib').symlink_to('usr/lib')
        unpacked = self.root / 'unpacked'
        unpacked.mkdir()
        subprocess.run(
            ['/bin/busybox', 'cpio', '-i'],
            input=guest._cpio(tree),
            cwd=unpacked,
            check=True,
            capture_output=True,
        )
        self.assertEqual(b'12345', (unpacked / 'bin/odd').read_bytes())
        self.assertEqual(0o755, (unpacked / 'bin/odd').stat().st_mode & 0o777)
        self.assertEqual('usr/lib', str((unpacked / 'lib').readlink()))
