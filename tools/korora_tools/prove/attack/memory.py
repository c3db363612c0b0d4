# SPDX-License-Identifier: Apache-2.0
"""On the lab: is a passphrase in the memory of processes?

Nova makes the passphrase of a server at its first start, in nova-compute of
its first host: that process is started again before anything is counted.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from korora_tools import ui
from korora_tools.demo import canary
from korora_tools.lab import processes
from korora_tools.prove.attack.ground import Ground, Json

_CHUNK = 1 << 24
#: What is not memory, or the same in every process.
_SKIPPED = ('[vvar]', '[vsyscall]', '[vdso]')


def scan(g: Ground) -> Json:
    """Finds by program, after a first start and a hand-over.

    ``first_start`` is nova-compute of the first host before it was started
    again; ``libvirtd`` hands the passphrase to swtpm, and is no part of the
    claim.
    """
    g.discard()
    g.ready()
    source, dest = g.home, g.other
    wanted = canary.needles(g.world.passphrase(g.server))
    compute = f'{source}/nova-compute'
    first = _services(g, [compute], wanted)
    g.restart_compute(source)
    g.calm()
    moved = g.move(dest)
    if not g.runs_on(dest):
        raise ui.Problem(f'no hand-over to begin with: {moved}')
    ends = (source, dest)
    found: Json = {
        'nova_compute': _services(
            g, [f'{host}/nova-compute' for host in ends], wanted
        ),
        'first_start': first,
        'libvirtd': _services(
            g, [f'{host}/libvirtd' for host in ends], wanted
        ),
    }
    if not g.stock:
        found['agent'] = _services(
            g, [f'{host}/korora-agent' for host in ends], wanted
        )
        found['service'] = _services(g, ['korora'], wanted)
    return found


def _services(
    g: Ground, names: Iterable[str], wanted: tuple[bytes, ...]
) -> int:
    """Finds in all processes of some services."""
    total = 0
    for name in names:
        record = processes.load(g.lab, name)
        if record is None or not processes.alive(record):
            raise ui.Problem(f'{name} does not run')
        for pid in _session(record['pid']):
            total += count(pid, wanted)
    return total


def _session(leader: int) -> Iterator[int]:
    """Processes of a session, whatever namespace they are in."""
    for path in pathlib.Path('/proc').glob('[0-9]*'):
        try:
            stat = (path / 'stat').read_text()
        except OSError:
            continue
        fields = stat.rpartition(')')[2].split()
        if int(fields[3]) == leader:
            yield int(path.name)


def count(pid: int, wanted: tuple[bytes, ...]) -> int:
    """Occurrences of any needle in what a process can write to."""
    total = 0
    try:
        lines = pathlib.Path(f'/proc/{pid}/maps').read_text().splitlines()
        with open(f'/proc/{pid}/mem', 'rb') as memory:
            for line in lines:
                fields = line.split()
                if 'rw' not in fields[1] or fields[-1] in _SKIPPED:
                    continue
                first, last = (int(x, 16) for x in fields[0].split('-'))
                total += _count(memory, first, last, wanted)
    except (FileNotFoundError, ProcessLookupError):
        pass
    return total


def _count(
    memory: BinaryIO, first: int, last: int, wanted: tuple[bytes, ...]
) -> int:
    """In one range, by pieces that overlap by less than a needle."""
    total, rest, at = 0, b'', first
    longest = max(map(len, wanted)) - 1
    while at < last:
        try:
            memory.seek(at)
            data = memory.read(min(_CHUNK, last - at))
        except (OSError, ValueError, OverflowError):
            break
        if not data:
            break
        whole = rest + data
        for needle in wanted:
            # What is in the overlap alone has been counted.
            total += whole.count(needle) - rest.count(needle)
        rest = whole[-longest:]
        at += len(data)
    return total
