# SPDX-License-Identifier: Apache-2.0
"""Reading the measurement logs."""

from __future__ import annotations

import os
import pathlib
import tempfile
import threading
from unittest import mock

import testtools

from korora_nova import errors
from korora_nova.attester import collect
from tests.support import ima_lists


class CollectTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = pathlib.Path(scratch.name)
        self.collector = collect.Collector(
            str(self.directory / 'uefi'), str(self.directory / 'ima')
        )

    def test_missing_logs_are_empty(self) -> None:
        self.assertEqual(collect.Logs(b'', b''), self.collector.read())

    def test_reads_what_there_is_now(self) -> None:
        (self.directory / 'uefi').write_bytes(b'u')
        (self.directory / 'ima').write_bytes(b'i')
        self.assertEqual(collect.Logs(b'u', b'i'), self.collector.read())
        (self.directory / 'ima').write_bytes(b'ii')
        self.assertEqual(b'ii', self.collector.read().ima)

    def test_log_of_systemd(self) -> None:
        """Its beginning; what is not there explains nothing."""
        path = self.directory / 'systemd'
        collector = collect.Collector(
            str(self.directory / 'uefi'),
            str(self.directory / 'ima'),
            str(path),
        )
        self.assertEqual(b'', collector.read().systemd)
        path.write_bytes(b'12345')
        self.assertEqual(b'12345', collector.read().systemd)
        (self.directory / 'ima').write_bytes(b'0123')
        self.assertEqual(b'12345', collector.read(2).systemd)
        with mock.patch.object(collect.evidence, 'MAX_SYSTEMD_LOG', 4):
            self.assertEqual(b'1234', collector.read().systemd)
        path.unlink()
        path.mkdir()
        self.assertEqual(b'', collector.read().systemd)

    def test_hash_of_the_boot_aggregate(self) -> None:
        path = self.directory / 'ima'
        self.assertFalse(self.collector.sha1())
        for aggregate in ('sha1', 'sha256', 'sha384'):
            made = ima_lists.List(aggregate=aggregate)
            first = len(made.binary)
            made.file('/usr/bin/a')
            path.write_bytes(made.binary)
            self.assertEqual(aggregate == 'sha1', self.collector.sha1())
            # Nobody can tell from what is left.
            path.write_bytes(made.binary[first:])
            self.assertTrue(self.collector.sha1())
        path.write_bytes(b'no list')
        self.assertFalse(self.collector.sha1())

    def test_what_was_dropped(self) -> None:
        """Offsets are those of the whole list."""
        (self.directory / 'ima').write_bytes(b'56789')
        for offset, dropped, content in (
            (5, 5, b'56789'),
            (7, 5, b'789'),
            (10, 5, b''),
        ):
            logs = self.collector.read(offset, dropped)
            self.assertEqual((content, offset), (logs.ima, logs.ima_offset))
        # It became shorter: all that is left, as if nothing was known
        logs = self.collector.read(11, 5)
        self.assertEqual((b'56789', 0), (logs.ima, logs.ima_offset))
        with mock.patch.object(collect.evidence, 'MAX_IMA_LOG', 2):
            self.assertEqual(b'67', self.collector.part(6, 5))
            self.assertEqual(b'', self.collector.part(8, 5))

    def test_too_long(self) -> None:
        (self.directory / 'uefi').write_bytes(b'12345')
        with mock.patch.object(collect.evidence, 'MAX_UEFI_LOG', 4):
            self.assertRaises(errors.TooLarge, self.collector.read)

    def test_unreadable_is_unavailable(self) -> None:
        (self.directory / 'ima').mkdir()
        error = self.assertRaises(errors.Unavailable, self.collector.read)
        self.assertEqual(errors.Reason.TPM_UNAVAILABLE, error.reason)

    def test_from_an_offset(self) -> None:
        (self.directory / 'ima').write_bytes(b'0123456789')
        self.assertEqual(
            collect.Logs(b'', b'3456789', 3), self.collector.read(3)
        )
        self.assertEqual(collect.Logs(b'', b'', 10), self.collector.read(10))

    def test_list_that_is_shorter_is_read_whole(self) -> None:
        (self.directory / 'ima').write_bytes(b'0123')
        self.assertEqual(collect.Logs(b'', b'0123', 0), self.collector.read(5))

    def test_list_that_is_gone(self) -> None:
        self.assertEqual(collect.Logs(b'', b'', 0), self.collector.read(5))

    def test_cap_counts_what_is_sent(self) -> None:
        (self.directory / 'ima').write_bytes(b'0123456789')
        with mock.patch.object(collect.evidence, 'MAX_IMA_LOG', 4):
            self.assertRaises(errors.TooLarge, self.collector.read, 5)
            self.assertEqual(b'6789', self.collector.read(6).ima)

    def test_what_cannot_seek_is_read_and_dropped(self) -> None:
        path = self.directory / 'ima'
        os.mkfifo(path)
        writer = threading.Thread(
            target=path.write_bytes, args=(b'x' * (3 << 20) + b'tail',)
        )
        writer.start()
        self.addCleanup(writer.join)
        logs = self.collector.read(3 << 20)
        self.assertEqual((b'tail', 3 << 20), (logs.ima, logs.ima_offset))
