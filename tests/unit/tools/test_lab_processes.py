# SPDX-License-Identifier: Apache-2.0
import pathlib
import socket
import struct
import tempfile
import threading
import time
import unittest

from korora_tools import ui
from korora_tools.lab import config, paths, processes, tpmmux


class ProcessesTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.lab = paths.Lab(pathlib.Path(folder.name) / 'lab')
        self.lab.make()

    def _spawn(self, *argv: str) -> dict[str, object]:
        self.addCleanup(processes.stop, self.lab, ['one'], 1)
        return processes.spawn(self.lab, 'one', argv, 'root')

    def test_stop_ends_the_whole_session(self) -> None:
        marker = self.lab.run / 'child'
        self._spawn('sh', '-c', f'sleep 99 & echo $! >{marker}; wait')
        ui.wait(
            'child',
            lambda: marker.exists() and bool(marker.read_text().strip()),
            10,
        )
        child = int(marker.read_text())
        processes.stop(self.lab, ['one'], 5)
        self.assertFalse(processes.alive(processes.load(self.lab, 'one')))
        ui.wait('end', lambda: processes.start_time(child) is None, 5)

    def test_a_reused_pid_is_not_ours(self) -> None:
        record = self._spawn('sleep', '99')
        self.assertTrue(processes.alive(record))
        self.assertFalse(processes.alive({**record, 'started': '1'}))
        self.assertFalse(processes.alive({**record, 'started': None}))

    def test_spawn_does_not_start_twice(self) -> None:
        first = self._spawn('sleep', '99')
        self.assertEqual(first['pid'], self._spawn('sleep', '99')['pid'])

    def test_restart_uses_the_recorded_command(self) -> None:
        first = self._spawn('sleep', '99')
        processes.stop(self.lab, ['one'], 5)
        again = processes.restart(self.lab, 'one')
        self.assertNotEqual(first['pid'], again['pid'])
        self.assertEqual(first['argv'], again['argv'])

    def test_waiting_for_a_dead_process_fails_at_once(self) -> None:
        self._spawn('sh', '-c', 'echo broken; exit 1')
        began = time.monotonic()
        with self.assertRaisesRegex(ui.Problem, '(?s)ended.*broken'):
            processes.wait_for(self.lab, 'one', lambda: False, 30)
        self.assertLess(time.monotonic() - began, 10)

    def test_a_failing_command_says_what_it_printed(self) -> None:
        with self.assertRaisesRegex(ui.Problem, '(?s)with 3.*oops'):
            processes.run(self.lab, ['sh', '-c', 'echo oops; exit 3'], 'root')

    def test_after_abort_nothing_starts(self) -> None:
        self.addCleanup(processes.resume)
        processes.abort()
        with self.assertRaises(ui.Problem):
            processes.run(self.lab, ['true'], 'root')
        with self.assertRaises(ui.Problem):
            self._spawn('sleep', '99')

    def test_a_host_that_is_off_cannot_be_entered(self) -> None:
        with self.assertRaisesRegex(ui.Problem, 'h1 is not running'):
            processes.into(self.lab, 'h1')

    def test_configuration_files_are_for_root_only(self) -> None:
        path = self.lab.etc / 'x' / 'x.conf'
        config.write(path, {'a': {'b': ['1', 2], 'c': 'd'}})
        self.assertEqual('[a]\nb = 1\nb = 2\nc = d\n', path.read_text())
        self.assertEqual(0o600, path.stat().st_mode & 0o777)


class EchoTpm:
    """Answers each command with its own bytes; one at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def transmit(self, command: bytes) -> bytes:
        if not self.lock.acquire(blocking=False):
            raise AssertionError('two commands at the same time')
        try:
            return command
        finally:
            self.lock.release()


class TpmmuxTest(unittest.TestCase):
    def _serve(self, serve) -> socket.socket:
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)

        def run() -> None:
            with theirs:
                try:
                    serve(theirs, EchoTpm())
                except tpmmux.Closed:
                    pass

        threading.Thread(target=run, daemon=True).start()
        return ours

    def test_command_in_pieces_is_put_together(self) -> None:
        client = self._serve(tpmmux.serve_data)
        command = tpmmux.HEADER.pack(0x8001, 14, 0x17B) + b'abcd'
        for at in range(0, len(command), 3):
            client.sendall(command[at : at + 3])
            time.sleep(0.01)
        self.assertEqual(command, tpmmux.message(client))

    def test_absurd_size_ends_the_connection(self) -> None:
        for size in (9, tpmmux.MAX_COMMAND + 1):
            client = self._serve(tpmmux.serve_data)
            client.sendall(tpmmux.HEADER.pack(0x8001, size, 0))
            self.assertEqual(b'', client.recv(1))

    def test_control_channel_accepts_locality_only(self) -> None:
        client = self._serve(tpmmux.serve_control)
        client.sendall(struct.pack('>IB', tpmmux.CMD_SET_LOCALITY, 0))
        self.assertEqual(bytes(4), tpmmux.receive(client, 4))
        client.sendall(struct.pack('>I', 2))
        self.assertEqual(b'\0\0\0\1', tpmmux.receive(client, 4))
