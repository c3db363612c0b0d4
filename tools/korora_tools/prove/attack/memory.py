# SPDX-License-Identifier: Apache-2.0
"""On the lab: is a passphrase in the memory of processes?

Nova makes the passphrase of a server at its first start, in nova-compute of
its first host: that process is started again before anything is counted.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
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
    again. ``by_name`` has libvirtd, too, which hands the passphrase to swtpm
    and is no part of the claim.
    """
    g.discard()
    g.ready()
    source, dest = g.home, g.other
    wanted = canary.needles(g.world.passphrase(g.server))
    compute = f'{source}/nova-compute'
    first = _service(g, compute, wanted)
    g.restart_compute(source)
    g.calm()
    moved = g.move(dest)
    if not g.runs_on(dest):
        raise ui.Problem(f'no hand-over to begin with: {moved}')
    names = [
        f'{host}/{program}'
        for host in (source, dest)
        for program in ('nova-compute', 'libvirtd')
    ]
    if not g.stock:
        names += [f'{host}/korora-agent' for host in (source, dest)]
        names.append('korora')
    by_name = {name: _service(g, name, wanted) for name in names}
    return {
        'nova_compute': _sum(by_name, 'nova-compute'),
        'agent': _sum(by_name, 'korora-agent'),
        'service': _sum(by_name, 'korora'),
        'first_start': first,
        'moved': f'{source} to {dest}',
        'by_name': by_name,
    }


def _sum(by_name: dict[str, int], program: str) -> int:
    return sum(
        count
        for name, count in by_name.items()
        if name.rpartition('/')[2] == program
    )


def _service(g: Ground, name: str, wanted: tuple[bytes, ...]) -> int:
    """Finds in all processes of a service."""
    record = processes.load(g.lab, name)
    if record is None or not processes.alive(record):
        raise ui.Problem(f'{name} does not run')
    return sum(count(pid, wanted) for pid in _session(record['pid']))


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
