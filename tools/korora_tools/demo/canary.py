# SPDX-License-Identifier: Apache-2.0
"""Look for one real vTPM passphrase wherever a cloud could leave it.

The canary is the passphrase that Nova generated for a demo server.  It is
searched plain, in hexadecimal and in base64 at each of the three possible
alignments, by its first 64 bytes so that a truncated copy counts as well.
"""

import base64
import collections.abc
import contextlib
import dataclasses
import mmap
import os
import pathlib
import signal
import subprocess
import tempfile
import time

PREFIX = 64  # bytes of the passphrase that count as a find
CHUNK = 1 << 24


def needles(passphrase: bytes) -> tuple[bytes, ...]:
    """Every spelling of the passphrase that is looked for."""
    part = passphrase[:PREFIX]
    if len(part) < 32:
        raise ValueError('a canary under 32 bytes would find itself anywhere')
    found = [part, part.hex().encode(), part.hex().upper().encode()]
    for shift in range(3):
        text = base64.b64encode(b'\0' * shift + part)
        # Drop the characters that depend on the neighbouring bytes.
        found.append(text[(shift * 8 + 5) // 6 : -4])
    return tuple(found)


@dataclasses.dataclass
class Finds:
    """Number of finds by file."""

    files: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.files.values())

    def add(self, name: str, count: int) -> None:
        if count:
            self.files[name] = self.files.get(name, 0) + count


def count_in_file(path: pathlib.Path, wanted: tuple[bytes, ...]) -> int:
    """Occurrences of any needle in one file; a vanished file has none."""
    try:
        with path.open('rb') as handle:
            if os.fstat(handle.fileno()).st_size == 0:
                return 0
            with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as m:
                return sum(_count(m, needle) for needle in wanted)
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _count(data: mmap.mmap, needle: bytes) -> int:
    found, at = 0, data.find(needle)
    while at >= 0:
        found, at = found + 1, data.find(needle, at + len(needle))
    return found


def search_trees(
    roots: collections.abc.Iterable[pathlib.Path],
    wanted: tuple[bytes, ...],
    skip: collections.abc.Collection[pathlib.Path] = (),
) -> Finds:
    """Search every regular file under the roots, except below ``skip``."""
    finds = Finds()
    for root in roots:
        for folder, folders, files in os.walk(root):
            here = pathlib.Path(folder)
            folders[:] = [f for f in folders if here / f not in skip]
            for name in files:
                path = here / name
                if (
                    path not in skip
                    and path.is_file()
                    and not path.is_symlink()
                ):
                    finds.add(str(path), count_in_file(path, wanted))
    return finds


def search_output(
    name: str, command: list[str], wanted: tuple[bytes, ...]
) -> Finds:
    """Search what a command prints, for example a database dump."""
    finds = Finds()
    with tempfile.NamedTemporaryFile(prefix='korora-canary-') as out:
        subprocess.run(command, stdout=out, check=True)
        out.flush()
        finds.add(name, count_in_file(pathlib.Path(out.name), wanted))
    return finds


class Capture:
    """Capture TCP streams and search the reassembled bytes.

    :param traffic: what counts, as tcpdump says it.
    """

    def __init__(self, folder: pathlib.Path, netns: str, traffic: str) -> None:
        self.file = folder / 'traffic.pcap'
        self.flows = folder / 'flows'
        self._command = [
            'ip',
            'netns',
            'exec',
            netns,
            'tcpdump',
            '-i',
            'any',
            # tcpflow does not read the newer LINUX_SLL2.
            '-y',
            'LINUX_SLL',
            '-s',
            '0',
            '-B',
            '65536',
            '-U',
            '-w',
            str(self.file),
            traffic,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> 'Capture':
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self.file.unlink()
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert self._process.stderr is not None
        # tcpdump says "listening on" once packets are being kept.
        line = self._process.stderr.readline()
        while line and b'listening' not in line:
            line = self._process.stderr.readline()
        if not line:
            raise RuntimeError('tcpdump did not start: ' + self._command[-1])
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the capture; calling it again does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        time.sleep(0.5)  # the kernel hands packets over with a delay
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        lost = [x for x in err.splitlines() if b'dropped by kernel' in x]
        if not lost or not lost[0].startswith(b'0 '):
            raise RuntimeError(f'the capture lost packets: {err!r}')

    def count(self, wanted: tuple[bytes, ...]) -> Finds:
        """Finds in the reassembled streams of the capture.

        :raises RuntimeError: when the capture holds no traffic at all,
            because a zero would then mean nothing.
        """
        self.reassemble()
        return search_trees([self.flows], wanted)

    def reassemble(self) -> list[pathlib.Path]:
        """One file for each direction of a connection, as tcpflow names it.

        :raises RuntimeError: as :meth:`count`.
        """
        self.flows.mkdir(parents=True, exist_ok=True)
        for old in self.flows.iterdir():
            old.unlink()
        subprocess.run(
            ['tcpflow', '-q', '-o', str(self.flows), '-r', str(self.file)],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        (self.flows / 'report.xml').unlink(missing_ok=True)
        size = sum(f.stat().st_size for f in self.flows.iterdir())
        if size < 10_000:
            raise RuntimeError(f'only {size} bytes of traffic were captured')
        return sorted(self.flows.iterdir())
