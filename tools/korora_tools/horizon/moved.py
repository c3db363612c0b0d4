# SPDX-License-Identifier: Apache-2.0
"""In a lab that is up: a protected server that has moved from h1 to h2.

``python -m korora_tools.horizon.moved OUT`` runs in the control plane's
network, and writes JSON: ``server`` and ``migration``. The server stays.
"""

from __future__ import annotations

import json
import pathlib
import sys

from korora_tools import ui
from korora_tools.demo import world as w
from korora_tools.demo.stage import Stage
from korora_tools.lab import paths


def main(out: str) -> int:
    world = w.World(paths.Lab.default(), ui.say)
    server = world.create('panel', 'vtpm', host='h1')
    if server['status'] != 'ACTIVE':
        ui.fail('the server does not start: ' + world.reason(server['id']))
        return 1
    result = Stage(world, server['id']).move_measured('h2')
    if result.observed != 'migrated':
        ui.fail(f'the server does not move: {result.reason or result.status}')
        return 1
    (migration, *_) = world.migrations(server['id'])
    pathlib.Path(out).write_text(
        json.dumps({'server': server['id'], 'migration': migration['uuid']})
    )
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
