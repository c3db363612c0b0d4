# SPDX-License-Identifier: Apache-2.0
"""All operations on a lab that is up.

``python -m korora_tools.prove.life.inside OUT stock|korora [PART OF A NAME]``
writes to OUT what came of each. It runs in the control plane's network.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time
from typing import Any

from korora_tools import ui
from korora_tools.demo import world as w
from korora_tools.lab import paths
from korora_tools.older_nova import RELEASE as OLDER
from korora_tools.prove.life import series, shared, table
from korora_tools.prove.life.operations import Operation
from korora_tools.prove.life.stage import (
    TROUBLES,
    UNTRUSTED,
    NoServer,
    Stage,
)

Json = dict[str, Any]
#: A guest's crash that its console shows as the emulator's.
REPEATS = 3
NEWER = '34'
#: Which release each host's nova-compute is of.
MIXES = {
    'mixed': {'h1': OLDER, 'h2': NEWER},
    OLDER: {'h1': OLDER, 'h2': OLDER},
}


def prepare(world: w.World) -> None:
    """The bigger flavors; nothing is scheduled to the untrusted host."""
    for kind in ('vtpm', 'plain'):
        specs = world.nova.get(f'/flavors/{kind}/os-extra_specs').json()
        name = kind + '-big'
        made = world.nova.post(
            '/flavors',
            json={
                'flavor': {
                    'id': name,
                    'name': name,
                    'ram': 320,
                    'vcpus': 1,
                    'disk': 0,
                }
            },
            raise_exc=False,
        )
        if made.status_code < 300 and specs['extra_specs']:
            world.nova.post(f'/flavors/{name}/os-extra_specs', json=specs)
    world.enable(UNTRUSTED, False)


def run(stage: Stage, one: Operation) -> Json:
    """What came of an operation, and of the server afterwards."""
    for _ in range(REPEATS):
        row = _once(stage, one)
        if not row.pop('emulator', False):
            break
        stage.world.say(f'    {one.op}: the emulator crashed; once more')
        stage.discard()
    return row


def _once(stage: Stage, one: Operation) -> Json:
    began = time.monotonic()
    row: Json = {'seen': '', 'after': '', 'guest_secret': 'n/a'}
    try:
        if one.apart:
            row['seen'] = one.run(stage)
            row['seconds'] = round(time.monotonic() - began, 1)
            return row
        stage.ready(one.image)
        row['seen'] = one.run(stage)
        row['after'] = stage.back_to_work()
        row['guest_secret'] = stage.secret()
        row['after'] = row['after'] or stage.custody()
    except (NoServer, *TROUBLES) as exc:
        row['after'] = f'{type(exc).__name__}: {exc}'[:600]
        row['emulator'] = stage.emulator_crashed()
        if row['seen'] and stage.protected:
            row['guest_secret'] = 'lost'
    if row['after'] or stage.spoilt:
        stage.discard()
    row['seconds'] = round(time.monotonic() - began, 1)
    return row


def every(
    stages: dict[str, Stage], chosen: list[Operation], nova: str
) -> Json:
    """What came of each operation, by kind of server."""
    found: Json = {}
    for number, one in enumerate(chosen, 1):
        for kind, stage in stages.items():
            row = run(stage, one)
            found.setdefault(one.op, {})[kind] = row
            good = not row['after'] and (
                kind != 'vtpm' or row['seen'] == one.expected
            )
            stage.world.say(
                f'{"ok " if good else "!!!"} {nova}: {number}/{len(chosen)} '
                f'{one.op} ({kind}): {row["seen"]}'
                + (f'; {row["after"]}' if row['after'] else '')
                + f' ({row["seconds"]:.0f} s)'
            )
    for stage in stages.values():
        stage.discard()
    return found


def main() -> int:
    out, cloud, *only = sys.argv[1:]
    world = w.World(paths.Lab.default(), ui.say)
    kinds = ('plain',) if cloud == 'stock' else ('vtpm', 'plain')
    stages = {kind: Stage(world, kind, cloud == 'stock') for kind in kinds}
    prepare(world)
    chosen = table.chosen(only[0] if only else None)
    local = [one for one in chosen if not one.shared]
    found = {NEWER: every(stages, local, NEWER)}
    if together := [one for one in chosen if one.shared]:
        with shared.directory(stages.values()):
            found[NEWER] |= every(stages, together, NEWER)
    older = [one for one in local if one.older]
    if cloud != 'stock' and older:
        for name, hosts in MIXES.items():
            series.switch(world, hosts)
            for stage in stages.values():
                stage.calm()
            found[name] = every(stages, older, name)
    pathlib.Path(out).write_text(json.dumps(found, indent=1))
    return 0


if __name__ == '__main__':
    sys.exit(main())
