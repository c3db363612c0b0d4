# SPDX-License-Identifier: Apache-2.0
import pathlib
import subprocess
import tempfile
import unittest

from lablib import guest

LINE = (
    '[    3.1] noise\nTICK n=10 up=14.20 boot=1070c7e5 ext=ok pcr16='
    + guest.chain(10) + ' once=1070c7e5 nv=x\r\n'
)


class ConsoleTest(unittest.TestCase):

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def test_no_console_has_no_ticks(self) -> None:
        self.assertEqual([], guest.ticks(self.root / 'console.log'))

    def test_tick_is_read(self) -> None:
        console = self.root / 'console.log'
        console.write_bytes(LINE.encode() + b'\xff\xfe')
        self.assertEqual(
            [guest.Tick(10, 14.2, '1070c7e5', True, guest.chain(10),
                        '1070c7e5')],
            guest.ticks(console),
        )

    def test_chain_starts_at_zero_and_depends_on_every_tick(self) -> None:
        self.assertEqual('0' * 64, guest.chain(0))
        self.assertEqual(100, len({guest.chain(n) for n in range(100)}))

    def test_archive_is_one_that_cpio_unpacks(self) -> None:
        tree = self.root / 'tree'
        (tree / 'bin').mkdir(parents=True)
        (tree / 'bin' / 'odd').write_bytes(b'12345')
        (tree / 'bin' / 'odd').chmod(0o755)
        (tree / 'lib').symlink_to('usr/lib')
        unpacked = self.root / 'unpacked'
        unpacked.mkdir()
        subprocess.run(
            ['/bin/busybox', 'cpio', '-i'], input=guest._cpio(tree),
            cwd=unpacked, check=True, capture_output=True,
        )
        self.assertEqual(b'12345', (unpacked / 'bin/odd').read_bytes())
        self.assertEqual(0o755, (unpacked / 'bin/odd').stat().st_mode & 0o777)
        self.assertEqual(
            'usr/lib', str((unpacked / 'lib').readlink())
        )
