# SPDX-License-Identifier: Apache-2.0
"""Reading the measurement logs."""

from __future__ import annotations

import pathlib
import tempfile
from unittest import mock

import testtools

from korora_nova import errors
from korora_nova.attester import collect


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

    def test_too_long(self) -> None:
        (self.directory / 'uefi').write_bytes(b'12345')
        with mock.patch.object(collect.evidence, 'MAX_UEFI_LOG', 4):
            self.assertRaises(errors.TooLarge, self.collector.read)

    def test_unreadable_is_unavailable(self) -> None:
        (self.directory / 'ima').mkdir()
        error = self.assertRaises(errors.Unavailable, self.collector.read)
        self.assertEqual(errors.Reason.TPM_UNAVAILABLE, error.reason)
