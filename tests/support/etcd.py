# SPDX-License-Identifier: Apache-2.0
"""An etcd of one's own, of one member or of several, on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence

import etcd3gw
import fixtures
from etcd3gw import exceptions


class Etcd(fixtures.Fixture):
    """A cluster in a temporary directory.

    :param members: how many there are.
    :param arguments: of each of them, besides those that it needs.
    :param scheme: of the addresses for clients.
    :raises RuntimeError: it is not installed, or does not start.
    """

    START = 60.0

    def __init__(
        self,
        members: int = 1,
        arguments: Sequence[str] = (),
        scheme: str = 'http',
    ) -> None:
        super().__init__()
        self._arguments = list(arguments)
        self._scheme = scheme
        ports = _free_ports(2 * members)
        self.ports, self._peers = ports[:members], ports[members:]

    def _setUp(self) -> None:
        program = shutil.which('etcd')
        if program is None:
            raise RuntimeError('install the package etcd-server')
        self.directory = self.useFixture(fixtures.TempDir()).path
        self._program = program
        self._log = open(os.path.join(self.directory, 'log'), 'wb')
        self.addCleanup(self._log.close)
        self.processes: list[subprocess.Popen[bytes] | None] = []
        self.addCleanup(self._stop)
        for number in range(len(self.ports)):
            self.processes.append(None)
            self.start(number)
        if self._scheme == 'http':
            for number in range(len(self.ports)):
                self.wait(number)

    @property
    def endpoints(self) -> list[str]:
        """URLs of the members."""
        return [f'{self._scheme}://127.0.0.1:{port}' for port in self.ports]

    def client(self, number: int = 0) -> etcd3gw.Etcd3Client:
        return etcd3gw.Etcd3Client(
            '127.0.0.1', self.ports[number], timeout=5, api_path='/v3/'
        )

    def start(self, number: int) -> None:
        """Start a member, with what it has stored."""
        peers = [f'http://127.0.0.1:{port}' for port in self._peers]
        client, peer = self.endpoints[number], peers[number]
        self.processes[number] = subprocess.Popen(
            [
                self._program,
                f'--name=m{number}',
                f'--data-dir={self.directory}/m{number}',
                f'--listen-client-urls={client}',
                f'--advertise-client-urls={client}',
                f'--listen-peer-urls={peer}',
                f'--initial-advertise-peer-urls={peer}',
                '--initial-cluster='
                + ','.join(f'm{n}={url}' for n, url in enumerate(peers)),
                *self._arguments,
            ],
            stdout=self._log,
            stderr=self._log,
        )

    def kill(self, number: int) -> None:
        """As if the machine lost its power."""
        process, self.processes[number] = self.processes[number], None
        if process is not None:
            process.kill()
            process.wait()

    def wait(self, number: int = 0) -> None:
        """Until a member answers."""
        end = time.monotonic() + self.START
        while True:
            try:
                self.client(number).get('/ready')
                return
            except exceptions.Etcd3Exception:
                process = self.processes[number]
                if process is None or process.poll() is not None:
                    raise RuntimeError('etcd does not start') from None
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def wait_for_port(self, number: int = 0) -> None:
        """Until a member listens, whomever it answers."""
        end = time.monotonic() + self.START
        while True:
            try:
                address = ('127.0.0.1', self.ports[number])
                socket.create_connection(address, 1).close()
                return
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def _stop(self) -> None:
        for number in range(len(self.processes)):
            self.kill(number)


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
