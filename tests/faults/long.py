# SPDX-License-Identifier: Apache-2.0
"""Many hand-overs of one server: does anything run full?

``python -m tests.faults.long HAND_OVERS`` prints one JSON object. Two agents
with a software TPM each, the service and MariaDB, each a process; the key
goes there and back.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
import time
from typing import Any

from tpm2_pytss import ESAPI
from tpm2_pytss.constants import TPM2_CAP

from tests.faults.life import Life
from tests.faults.world import Machine, World
from tests.support import mariadb

#: Hand-overs after which caches are full and memory should not grow.
WARM = 100
EVERY = 100
#: Seconds between two steady attestations.
STEADY = 20.0
MIB = 1 << 20
PAGE = os.sysconf('SC_PAGE_SIZE')
#: Transient objects, sessions loaded and saved.
_VOLATILE = (0x80000000, 0x02000000, 0x03000000)

Row = dict[str, Any]


def _resident(world: World) -> dict[str, int]:
    """MiB of each process."""
    return {
        name: _pages(world.actor(name).process.pid) * PAGE // MIB
        for name in ('v', *World.HOSTS)
    }


def _pages(pid: int) -> int:
    return int(pathlib.Path(f'/proc/{pid}/statm').read_text().split()[1])


def _handles(machine: Machine) -> int:
    """What is loaded in a host's TPM."""
    found = 0
    with ESAPI(machine.hardware.tcti) as esapi:
        for first in _VOLATILE:
            _more, data = esapi.get_capability(
                capability=TPM2_CAP.HANDLES, prop=first, property_count=32
            )
            found += len(list(data.data.handles))
    return found


def run(number: int) -> Row:
    """Hand a key over this many times; what is left, and how it grew."""
    with mariadb.MariaDb() as server, World(server.database()) as world:
        life = Life(world)
        life.world.korora.nova.servers[life.instance] = life.host
        life.start(life.host)
        warm: dict[str, int] = {}
        began = time.monotonic()
        attested = 0.0
        for done in range(1, number + 1):
            if time.monotonic() > attested + STEADY:
                for machine in world.machines.values():
                    machine.enforce()
                    machine.step()
                attested = time.monotonic()
            if not life.migrate():
                return {'handovers': done - 1, 'told': life.told[-5:]}
            if done == min(WARM, number):
                warm = _resident(world)
            if done % EVERY == 0:
                print(f'{done} hand-overs', file=sys.stderr, flush=True)
        seconds = time.monotonic() - began
        grown = _resident(world)
        for machine in world.machines.values():
            machine.stop_agent()
        return {
            'handovers': number,
            'seconds': round(seconds, 1),
            'rss_growth_mb': {
                name: grown[name] - warm[name] for name in grown
            },
            'handles_left': sum(map(_handles, world.machines.values())),
            'records': sum(
                len(list(pathlib.Path(machine.directory).rglob('*.json')))
                for machine in world.machines.values()
            ),
            'told': life.told[-5:],
        }


def main() -> None:
    print(json.dumps(run(int(sys.argv[1]))), flush=True)


if __name__ == '__main__':
    main()
