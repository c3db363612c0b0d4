# SPDX-License-Identifier: Apache-2.0
"""Whatever lies where a vTPM's state should be, it is read or refused."""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from unittest import mock

import testtools

from korora_nova import errors
from korora_nova.attester import vtpm_state

INSTANCE = '6b6f726f-7261-4000-8000-000000000001'

#: A process that locks a file as swtpm does, and waits.
_LOCK = """
import fcntl, sys
with open(sys.argv[1], 'w') as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print('locked', flush=True)
    sys.stdin.read()
"""


class MeasureTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.base = pathlib.Path(scratch.name) / 'swtpm'
        self.directory = self.base / INSTANCE / 'tpm2'
        self.directory.mkdir(parents=True)
        self.path = self.directory / 'tpm2-00.permall'
        self.path.write_bytes(b'state')

    def measure(self) -> str:
        return vtpm_state.measure(INSTANCE, self.base)

    def assert_unreadable(self, why: str) -> None:
        descriptors = os.listdir('/proc/self/fd')
        error = self.assertRaises(errors.Unavailable, self.measure)
        self.assertEqual(errors.Reason.VTPM_STATE_UNREADABLE, error.reason)
        self.assertEqual({'why': why}, error.details)
        self.assertEqual(len(descriptors), len(os.listdir('/proc/self/fd')))

    def test_content_counts_and_nothing_else(self) -> None:
        first = self.measure()
        self.assertRegex(first, '^[0-9a-f]{64}$')
        (self.directory / '.lock').touch()
        (self.directory / 'tpm2-00.volatilestate').write_bytes(b'x')
        os.utime(self.path, (1, 1))
        moved = self.path.with_name('moved')
        moved.write_bytes(b'state')
        moved.replace(self.path)
        self.assertEqual(first, self.measure())
        self.path.write_bytes(b'State')
        self.assertNotEqual(first, self.measure())

    def test_version_of_the_tpm_counts(self) -> None:
        first = self.measure()
        other = self.base / INSTANCE / 'tpm1.2'
        other.mkdir()
        (other / 'tpm-00.permall').write_bytes(b'state')
        both = self.measure()
        self.path.unlink()
        self.assertEqual(3, len({first, both, self.measure()}))

    def test_none(self) -> None:
        for path in (
            self.path,
            self.directory,
            self.base / INSTANCE,
            self.base,
        ):
            path.rmdir() if path.is_dir() else path.unlink()
            self.assertEqual('', self.measure())

    def test_base_may_be_a_link_to_shared_storage(self) -> None:
        first = self.measure()
        shared = self.base.with_name('shared')
        self.base.rename(shared)
        self.base.symlink_to(shared)
        self.assertEqual(first, self.measure())

    def test_links_below_it_are_not_followed(self) -> None:
        aside = self.base.with_name('aside')
        for path in (self.path, self.directory, self.base / INSTANCE):
            path.rename(aside)
            path.symlink_to(aside)
            error = self.assertRaises(errors.Unavailable, self.measure)
            self.assertEqual('VTPM_STATE_UNREADABLE', error.reason)
            path.unlink()
            aside.rename(path)
        self.measure()

    def test_no_regular_file(self) -> None:
        made: tuple[Callable[[], object], ...] = (
            lambda: self.path.mkdir(),
            lambda: os.mkfifo(self.path),
        )
        for make in made:
            self.path.unlink()
            make()
            self.assert_unreadable('it is no regular file')
            if self.path.is_dir():
                self.path.rmdir()
                self.path.touch()

    def test_socket(self) -> None:
        self.path.unlink()
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(self.path))
            self.assert_unreadable(os.strerror(errno.ENXIO))

    def test_huge_file_is_not_read(self) -> None:
        with self.path.open('wb') as file:
            file.truncate(vtpm_state.MAX_SIZE)
            self.measure()
            file.truncate(2**40)
        with mock.patch('hashlib.sha256') as hashing:
            self.assert_unreadable('it is too large')
            self.assertEqual(1, hashing.call_count)

    def changing(self, change: Callable[[], object]) -> None:
        """The file is changed when some of it was read."""
        fstat, seen = os.fstat, []

        def note(descriptor: int) -> os.stat_result:
            found = fstat(descriptor)
            if not seen:
                seen.append(descriptor)
                change()
            return found

        with mock.patch.object(os, 'fstat', note):
            self.assert_unreadable('it changes just now')
        self.measure()

    def test_replaced_while_it_is_read(self) -> None:
        other = self.path.with_name('other')
        other.write_bytes(b'other')
        self.changing(lambda: other.replace(self.path))

    def test_written_while_it_is_read(self) -> None:
        self.changing(lambda: self.path.write_bytes(b'longer than before'))

    def test_swtpm_runs(self) -> None:
        lock = self.directory / '.lock'
        lock.touch()
        self.measure()
        holder = subprocess.Popen(
            [sys.executable, '-c', _LOCK, str(lock)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            self.assert_unreadable('swtpm uses it')
            assert holder.stdin is not None
            holder.stdin.close()
            holder.wait()
            self.measure()

    def test_to_look_at_a_lock_takes_none(self) -> None:
        lock = self.directory / '.lock'
        with lock.open('w') as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            self.measure()  # one's own

    def test_faults_of_the_storage(self) -> None:
        for code in (errno.EACCES, errno.EIO, errno.ESTALE):
            with mock.patch.object(os, 'open', side_effect=OSError(code, '')):
                self.assert_unreadable(os.strerror(code))
