# SPDX-License-Identifier: Apache-2.0
"""On the lab: who reads the stream of a migration, or stands in its way.

The canary is the word that the guest makes at its first boot: it is in its
memory, and it writes it to its disk.
"""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import socket
import threading
from collections.abc import Iterator

from korora_tools.demo import canary
from korora_tools.lab import paths, processes
from korora_tools.prove.attack.ground import Ground, Seen, on_lab

#: Where a stream is led that somebody wants to stand in.
RELAY = '10.77.0.66'
_LIBVIRT = (16509, 16514)
_PORTS = (*_LIBVIRT, *range(49152, 49160))
_CHUNK = 1 << 16
#: What a server of block devices says first.
_NBD = b'NBDMAGIC'


@on_lab('T4', 'S1')
def wire_tap(g: Ground) -> dict[str, Seen]:
    """A migration is captured on the wire."""
    moved, ram, disk = _tapped(g)
    name = 'stock_' if g.stock else ''
    g.figures['wire'] = {f'{name}ram_canary': ram, f'{name}disk_canary': disk}
    memory = f'{moved}; the canary in the stream of memory: {ram}'
    return {
        'T4': Seen(ram > 0, memory),
        'S1': Seen(ram + disk > 0, f'{memory}, of disks: {disk}'),
    }


@on_lab('S5')
def downgrade(g: Ground) -> Seen:
    """The source's nova.conf turns TLS off, the destination's has it on."""
    source, dest = g.home, g.other
    with (
        g.configured(dest, live_migration_with_native_tls='true'),
        g.configured(source, live_migration_with_native_tls='false'),
    ):
        moved, ram, disk = _tapped(g)
    return Seen(
        ram + disk > 0, f'{moved}; the canary: memory {ram}, disks {disk}'
    )


def _tapped(g: Ground) -> tuple[str, int, int]:
    """What came of a migration, and the canary in memory and disks."""
    source = g.home
    try:
        with g.tapped(source) as tap:
            moved = g.move(g.other)
        if g.runs_on(source):
            return f'{moved}; no stream', 0, 0
        ram, disk = _count(tap.reassemble(), g.word.encode())
    finally:
        shutil.rmtree(g.lab.data / 'wire', ignore_errors=True)
    return moved, ram, disk


def _count(flows: list[pathlib.Path], word: bytes) -> tuple[int, int]:
    """The canary in the streams of memory, and of disks."""
    disks = {
        f'{there}-{here}'
        for flow in flows
        for here, _, there in [flow.name.partition('-')]
        if _begins(flow) == _NBD
    }
    found = {True: 0, False: 0}
    for flow in flows:
        found[flow.name in disks] += canary.count_in_file(flow, (word,))
    return found[False], found[True]


def _begins(flow: pathlib.Path) -> bytes:
    with flow.open('rb') as data:
        return data.read(len(_NBD))


class Relay:
    """Stands between a source and a destination, and passes all on."""

    def __init__(self, to: str, word: bytes) -> None:
        self._to, self._word = to, word
        self._lock = threading.Lock()
        self._closing = threading.Event()
        #: Bytes of streams, and the canary in them.
        self.passed = self.found = 0

    @contextlib.contextmanager
    def standing(self) -> Iterator[Relay]:
        """Listen on every port that a migration may use."""
        with contextlib.ExitStack() as stack:
            for port in _PORTS:
                listener = socket.create_server((RELAY, port))
                stack.enter_context(listener)
                threading.Thread(
                    target=self._accept, args=(listener, port), daemon=True
                ).start()
            try:
                yield self
            finally:
                self._closing.set()

    def _accept(self, listener: socket.socket, port: int) -> None:
        while not self._closing.is_set():
            try:
                near, _ = listener.accept()
                far = socket.create_connection((self._to, port), 10)
                far.settimeout(None)
            except OSError:
                continue
            for one, other in ((near, far), (far, near)):
                threading.Thread(
                    target=self._pass, args=(one, other, port), daemon=True
                ).start()

    def _pass(
        self, here: socket.socket, there: socket.socket, port: int
    ) -> None:
        rest = b''
        with contextlib.suppress(OSError):
            while data := here.recv(_CHUNK):
                there.sendall(data)
                if port not in _LIBVIRT:
                    found = (rest + data).count(self._word)
                    rest = data[-len(self._word) + 1 :]
                    with self._lock:
                        self.passed += len(data)
                        self.found += found
        for end in (here, there):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@on_lab('T33', 'S4')
def relayed(g: Ground) -> dict[str, Seen]:
    """The destination announces the address of somebody in the middle."""
    dest = g.other
    address = ['ip', 'addr', 'add', f'{RELAY}/24', 'dev', 'br0']
    processes.run(g.lab, address, 'ctl')
    relay = Relay(paths.HOSTS[dest], g.word.encode())
    try:
        with (
            relay.standing(),
            g.configured(dest, live_migration_inbound_addr=RELAY),
        ):
            moved = g.move(dest)
    finally:
        address[2] = 'del'
        processes.run(g.lab, address, 'ctl')
    seen = Seen(
        relay.passed > 0,
        f'{moved}; {relay.passed} bytes of streams went through the relay, '
        f'with the canary {relay.found} times',
    )
    return {'T33': seen, 'S4': seen}
