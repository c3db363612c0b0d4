# SPDX-License-Identifier: Apache-2.0
"""All attacks on a lab that is up.

``python -m korora_tools.prove.attack.inside OUT stock|korora [ID,ID]`` writes
to OUT what was seen. It runs in the control plane's network.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time
from collections.abc import Collection

from korora_tools import ui
from korora_tools.demo import world as w
from korora_tools.lab import paths
from korora_tools.prove.attack import copies, hosts, memory, wire
from korora_tools.prove.attack.ground import (
    ALL,
    Ground,
    Json,
    OnLab,
    Seen,
)
from korora_tools.prove.life.stage import TROUBLES, UNTRUSTED, NoServer

#: The order in which a cloud suffers least.
MODULES = (wire, copies, hosts)
#: The scan of processes' memory.
MEMORY = 'memory'
#: A crash of the emulator, or a cloud that is slow, is no answer.
ATTEMPTS = 2
OUTCOMES = {True: 'succeeded', False: 'prevented', None: '!!!'}


def chosen(stock: bool, only: Collection[str]) -> list[OnLab]:
    """What is tried on a cloud.

    :param only: ids; all if there are none.
    """
    places = {module.__name__: n for n, module in enumerate(MODULES)}
    return [
        one
        for one in sorted(ALL, key=lambda one: places[one.run.__module__])
        if (one.stock or not stock) and (not only or set(only) & set(one.ids))
    ]


def attempt(g: Ground, one: OnLab) -> Json:
    """What was seen of each of its rows."""
    row: Json = {}
    for _ in range(ATTEMPTS):
        row = _once(g, one)
        if all(seen['succeeded'] is not None for seen in row.values()):
            break
        g.world.say(f'    {"/".join(one.ids)}: not judged; once more')
        g.discard()
    return row


def _once(g: Ground, one: OnLab) -> Json:
    began = time.monotonic()
    found: Seen | dict[str, Seen] | None
    try:
        if not one.apart:
            g.ready()
        found, why = one.run(g), ''
        hosts.settle(g)
    except Exception as exc:  # noqa: BLE001 boundary: one does not end all
        found, why = None, f'{type(exc).__name__}: {exc}'[:600]
    seconds = time.monotonic() - began
    rows = {}
    for id in one.ids:
        seen = found.get(id) if isinstance(found, dict) else found
        succeeded = seen.succeeded if seen else None
        evidence = seen.evidence if seen else why
        rows[id] = {'succeeded': succeeded, 'evidence': evidence}
        g.world.say(
            f'{OUTCOMES[succeeded]} {id}: {evidence} ({seconds:.0f} s)'
        )
    return rows


def main() -> int:
    out, cloud, *rest = sys.argv[1:]
    only = rest[0].split(',') if rest else []
    world = w.World(paths.Lab.default(), ui.say)
    g = Ground(world, 'vtpm', cloud == 'stock')
    world.enable(UNTRUSTED, False)
    rows: Json = {}
    for one in chosen(g.stock, only):
        rows |= attempt(g, one)
    if not only or MEMORY in only:
        try:
            g.figures[MEMORY] = memory.scan(g)
        except (NoServer, *TROUBLES) as exc:
            g.figures['memory_why'] = f'{type(exc).__name__}: {exc}'[:600]
        world.say(f'memory: {g.figures.get(MEMORY)}')
    g.discard()
    pathlib.Path(out).write_text(
        json.dumps({'attacks': rows, **g.figures}, indent=1)
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
