# SPDX-License-Identifier: Apache-2.0
"""tools/prove attack: what it counts, and what it does not call prevented."""

from __future__ import annotations

import ctypes
import os
import pathlib
import socket
import tempfile
import unittest
from typing import Any
from unittest import mock

from korora_tools.prove.attack import memory, report, wire

TEST = {
    'id': 'T9',
    'tests': 2,
    'test': 'tests.x',
    'why': '',
    'without': 'AssertionError: it opens',
}


def seen(succeeded: bool | None) -> dict[str, Any]:
    return {'T9': {'succeeded': succeeded, 'evidence': 'runs on h1'}}


class ReportTest(unittest.TestCase):
    def made(self, **seen_on: bool | None) -> dict[str, Any]:
        ours, stock = (
            {'attacks': seen(seen_on[cloud])} if cloud in seen_on else {}
            for cloud in ('korora', 'stock')
        )
        return report.made([TEST], ours, stock)

    def row(self, **seen_on: bool | None) -> dict[str, Any]:
        (row,) = self.made(**seen_on)['attacks']
        return dict(row)

    def test_both_clouds(self) -> None:
        row = self.row(korora=False, stock=True)
        self.assertEqual(
            ('lab', 'succeeded', 'prevented', 'succeeded'),
            tuple(
                row[name]
                for name in ('where', 'stock', 'korora', 'without_defence')
            ),
        )

    def test_without_the_lab(self) -> None:
        row = self.row()
        self.assertEqual(
            ('functional', 'n/a', 'prevented'),
            (row['where'], row['stock'], row['korora']),
        )

    def test_a_good_test_outweighs_no_success_on_the_lab(self) -> None:
        self.assertEqual('succeeded', self.row(korora=True)['korora'])
        self.assertEqual('not judged', self.row(korora=None)['korora'])

    def test_a_red_test_outweighs_the_lab(self) -> None:
        with mock.patch.dict(TEST, why='it fails'):
            row = self.row(korora=False)
        self.assertEqual('not prevented', row['korora'])

    def test_not_tried_is_not_succeeded(self) -> None:
        with mock.patch.dict(TEST, without=''):
            self.assertEqual('not tried', self.row()['without_defence'])

    def test_refused_by_another_check_is_not_succeeded(self) -> None:
        with mock.patch.object(
            report.catalogue, 'REFUSED_TWICE', frozenset(('T9',))
        ):
            self.assertEqual('not tried', self.row()['without_defence'])

    def test_scenarios_head_it(self) -> None:
        found = self.made(korora=False, stock=True)
        self.assertEqual('scenarios', next(iter(found)))
        self.assertEqual(
            {'T9': {'stock': 'succeeded', 'korora': 'prevented'}},
            found['scenarios'][2]['attacks'],
        )

    def test_complaints(self) -> None:
        found = self.made(korora=False, stock=True)
        few = report.complaints(found, [TEST], whole=False, teeth=True)
        self.assertEqual([], few)
        many = ' '.join(
            report.complaints(found, [TEST], whole=True, teeth=True)
        )
        for part in ('50 are wanted', '12 are wanted', 'memory of agent'):
            self.assertIn(part, many)
        self.assertIn('wire: ram_canary: None', many)
        self.assertIn('aborted in None s', many)


class MemoryTest(unittest.TestCase):
    def test_finds_what_is_there(self) -> None:
        word = os.urandom(64)
        before = memory.count(os.getpid(), (bytes(reversed(word)),))
        kept = ctypes.create_string_buffer(bytes(reversed(word)))
        after = memory.count(os.getpid(), (bytes(reversed(word)),))
        self.assertGreater(after, before)
        del kept

    def test_each_is_counted_once(self) -> None:
        size = memory._CHUNK
        content = bytearray(2 * size + 100)
        for at in (5, size - 3, 2 * size + 50):
            content[at : at + 6] = b'canary'
        with tempfile.TemporaryFile() as file:
            file.write(content)
            for wanted, number in (
                ((b'canary',), 3),
                ((b'canary', b'and a longer one'), 3),
            ):
                self.assertEqual(
                    number, memory._count(file, 0, len(content), wanted)
                )


class WireTest(unittest.TestCase):
    def test_disks_are_told_from_memory(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for flow, content in (
                ('h1.4000-h2.49152', b'xx word word'),
                ('h2.49152-h1.4000', b''),
                ('h1.4001-h2.49153', b'yy word'),
                ('h2.49153-h1.4001', b'NBDMAGIC'),
            ):
                (folder / flow).write_bytes(content)
            self.assertEqual(
                (2, 1), wire._count(sorted(folder.iterdir()), b'word')
            )

    def test_relay_counts_what_passes(self) -> None:
        with (
            socket.create_server(('127.0.0.1', 0)) as server,
            mock.patch.object(wire, 'RELAY', '127.0.0.1'),
        ):
            port = server.getsockname()[1]
            relay = wire.Relay('127.0.0.1', b'word')
            near, ours = socket.socketpair()
            with (
                near,
                ours,
                socket.create_connection(('127.0.0.1', port)) as far,
            ):
                got, _ = server.accept()
                ours.sendall(b'a wo')
                ours.sendall(b'rd, a word')
                ours.shutdown(socket.SHUT_WR)
                relay._pass(near, far, port)
                with got:
                    self.assertEqual(b'a word, a word', got.recv(100))
        self.assertEqual((14, 2), (relay.passed, relay.found))
