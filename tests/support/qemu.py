# SPDX-License-Identifier: Apache-2.0
"""Two QEMUs that migrate a guest which never runs, with TLS, on loopback."""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
import socket
import subprocess
import threading
import time
from typing import Any

PROGRAM = shutil.which('qemu-system-x86_64')
#: Seconds for a migration, on a busy machine.
PATIENCE = 30.0


class Qemu:
    """One QEMU, paused, and its monitor.

    :param directory: of its monitor's socket.
    :param tls: of its certificates.
    :param endpoint: "server" where the migration ends, else "client".
    :param more: arguments.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        name: str,
        tls: pathlib.Path,
        endpoint: str,
        *more: str,
    ) -> None:
        path = directory / f'{name}.sock'
        path.unlink(missing_ok=True)
        machine = ['-machine', 'pc', '-accel', 'tcg', '-m', '16', '-S']
        plain = ['-nodefaults', '-display', 'none', '-no-user-config']
        incoming = ['-incoming', 'defer'] if endpoint == 'server' else []
        assert PROGRAM is not None
        self.process = subprocess.Popen(
            [
                PROGRAM,
                *machine,
                *plain,
                *incoming,
                '-object',
                f'tls-creds-x509,id=tls0,dir={tls},endpoint={endpoint},'
                'verify-peer=on',
                '-qmp',
                f'unix:{path},server=on,wait=off',
                *more,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._stream = self._socket.makefile('rwb')
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError:
                if self.process.poll() is not None:
                    _, error = self.process.communicate()
                    raise RuntimeError(error.strip()) from None
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
        self._stream.readline()
        self.run('qmp_capabilities')

    def run(self, command: str, **arguments: Any) -> Any:
        """One command of the monitor.

        :raises RuntimeError: it is refused, in QEMU's words.
        """
        request = {'execute': command, 'arguments': arguments}
        self._stream.write(json.dumps(request).encode() + b'\n')
        self._stream.flush()
        while True:
            answer = json.loads(self._stream.readline())
            if 'error' in answer:
                raise RuntimeError(answer['error']['desc'])
            if 'return' in answer:
                return answer['return']

    def prepare(self, channels: int = 0, **parameters: str) -> None:
        """Set up a migration; channels: of multifd, 0 for one stream."""
        if channels:
            self.run(
                'migrate-set-capabilities',
                capabilities=[{'capability': 'multifd', 'state': True}],
            )
            parameters = {**parameters, 'multifd-channels': channels}  # type: ignore[dict-item]
        self.run(
            'migrate-set-parameters', **{'tls-creds': 'tls0', **parameters}
        )

    def outcome(self) -> dict[str, Any]:
        """What has become of the migration from here."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            found: dict[str, Any] = self.run('query-migrate')
            if found.get('status') in ('completed', 'failed', 'cancelled'):
                return found
            time.sleep(0.02)
        raise TimeoutError('the migration did not end')

    def stop(self) -> str:
        """End it; what it said of itself."""
        with contextlib.suppress(OSError):
            self._stream.close()
        self._socket.close()
        self.process.kill()
        _, error = self.process.communicate()
        return error


class Wire:
    """What lies between two hosts, and looks at what goes by.

    :ivar seen: all bytes from S to D.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port: int = self._listener.getsockname()[1]
        self.seen = bytearray()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                source, _ = self._listener.accept()
                dest = socket.create_connection(('127.0.0.1', self._to))
                for pair in ((source, dest, self.seen), (dest, source, None)):
                    threading.Thread(
                        target=self._carry, args=pair, daemon=True
                    ).start()

    def _carry(
        self,
        source: socket.socket,
        dest: socket.socket,
        seen: bytearray | None,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if seen is not None:
                    seen += data
                dest.sendall(data)
            dest.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.close()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        port: int = found.getsockname()[1]
        return port


def migrate(
    directory: pathlib.Path,
    source: pathlib.Path,
    dest: pathlib.Path,
    name: str,
    channels: int = 0,
) -> tuple[dict[str, Any], str]:
    """Migrate; what the source says became of it, and D's guest's state.

    :param source: directory of its certificates; ``dest`` likewise.
    :param name: the name that D's certificate must have.
    """
    receiver = Qemu(directory, 'd', dest, 'server')
    try:
        sender = Qemu(directory, 's', source, 'client')
        try:
            address = f'tcp:127.0.0.1:{free_port()}'
            receiver.prepare(channels)
            receiver.run('migrate-incoming', uri=address)
            sender.prepare(channels, **{'tls-hostname': name})
            sender.run('migrate', uri=address)
            found = sender.outcome()
            until = time.monotonic() + 2
            state = 'inmigrate'
            while state == 'inmigrate' and time.monotonic() < until:
                try:
                    state = receiver.run('query-status')['status']
                except (OSError, ValueError):
                    state = 'gone'  # QEMU ends when its migration fails
                time.sleep(0.02)
            return found, state
        finally:
            sender.stop()
    finally:
        receiver.stop()
