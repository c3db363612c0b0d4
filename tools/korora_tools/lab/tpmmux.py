# SPDX-License-Identifier: Apache-2.0
"""A host's hardware TPM: one swtpm, shared by many clients.

``python3 tpmmux.py STATE_DIR SOCKET`` starts swtpm on a socket pair, with a
TPM2_Startup(CLEAR) like a machine's firmware, and serves SOCKET and
SOCKET.ctrl as tpm2-tss expects them of ``swtpm:path=SOCKET``. swtpm itself
takes a single connection; here commands of all clients go through one at a
time, as in a kernel's character device. There is no resource manager.
On TERM the TPM gets an orderly TPM2_Shutdown.
"""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable

HEADER = struct.Struct('>HII')
SHUTDOWN_CLEAR = struct.pack('>HIIH', 0x8001, 12, 0x145, 0)
CMD_SET_LOCALITY = 5
CMD_CANCEL = 9
MAX_COMMAND = 4096


class Closed(Exception):
    """The peer has gone."""


def receive(sock: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes, or Closed."""
    data = b''
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise Closed
        data += part
    return data


def message(sock: socket.socket) -> bytes:
    """One TPM command or response: both start with tag, size, code."""
    head = receive(sock, HEADER.size)
    size = HEADER.unpack(head)[1]
    if not HEADER.size <= size <= MAX_COMMAND:
        raise Closed
    return head + receive(sock, size - HEADER.size)


class Tpm:
    """The emulator process and the only connection to it."""

    def __init__(self, state: str) -> None:
        self._lock = threading.Lock()
        self._sock, theirs = socket.socketpair()
        # AppArmor's profile for swtpm knows libvirt's directories only.
        free = ['aa-exec', '-p', 'unconfined', '--'] if _confined() else []
        self.process = subprocess.Popen(
            [
                *free,
                'swtpm',
                'socket',
                '--tpm2',
                '--tpmstate',
                'dir=' + state,
                '--fd',
                str(theirs.fileno()),
                '--flags',
                'not-need-init,startup-clear',
                '--log',
                f'file={state}/swtpm.log,level=1',
                '--terminate',
            ],
            # A TERM to our session must not overtake TPM2_Shutdown; swtpm
            # ends with the connection if we are killed.
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()

    def transmit(self, command: bytes) -> bytes:
        with self._lock:
            self._sock.sendall(command)
            return message(self._sock)


def _confined() -> bool:
    try:
        with open('/sys/kernel/security/apparmor/profiles') as profiles:
            return any('swtpm' in line for line in profiles)
    except OSError:
        return False


def serve_data(sock: socket.socket, tpm: Tpm) -> None:
    while True:
        sock.sendall(tpm.transmit(message(sock)))


def serve_control(sock: socket.socket, tpm: Tpm) -> None:
    """Locality is always 0 here and nothing can be cancelled."""
    while True:
        command = struct.unpack('>I', receive(sock, 4))[0]
        if command == CMD_SET_LOCALITY:
            receive(sock, 1)
        known = command in (CMD_SET_LOCALITY, CMD_CANCEL)
        sock.sendall(struct.pack('>I', 0 if known else 1))


def listen(
    path: str, serve: Callable[[socket.socket, Tpm], None], tpm: Tpm
) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    os.chmod(path, 0o600)
    server.listen(64)

    def client(sock: socket.socket) -> None:
        with sock:
            try:
                serve(sock, tpm)
            except (Closed, OSError):
                pass

    def accept() -> None:
        while True:
            threading.Thread(
                target=client, args=server.accept()[:1], daemon=True
            ).start()

    threading.Thread(target=accept, daemon=True).start()


def serve(state: str, path: str, power_on: Callable[[Tpm], None]) -> int:
    """Serve until TERM (0) or until the emulator ends (1).

    :param power_on: done before the first client is served.
    """
    stop = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    for old in (path, path + '.ctrl'):
        if os.path.exists(old):
            os.unlink(old)
    tpm = Tpm(state)
    # Not before: swtpm would inherit it and never end.
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    power_on(tpm)
    listen(path + '.ctrl', serve_control, tpm)
    listen(path, serve_data, tpm)
    if tpm.process.poll() is not None:
        return 1
    if signal.sigwait(stop) == signal.SIGCHLD:
        return 1
    tpm.transmit(SHUTDOWN_CLEAR)
    tpm.process.terminate()
    tpm.process.wait()
    return 0


if __name__ == '__main__':
    sys.exit(serve(sys.argv[1], sys.argv[2], power_on=lambda tpm: None))
