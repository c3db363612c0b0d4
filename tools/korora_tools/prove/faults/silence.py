# SPDX-License-Identifier: Apache-2.0
"""What a guest that prints nothing is at: evidence for who looks into it."""

from __future__ import annotations

import time
from typing import Any

from korora_tools import ui
from korora_tools.demo import continuity
from korora_tools.demo import world as w

#: Seconds for which it may still go on by itself.
LATER = 240.0
_ASKED = ('info status', 'info registers', 'info lapic', 'info migrate')
_SHOWN = 3000


def look(
    world: w.World, server: str, host: str, watcher: continuity.Watcher
) -> dict[str, Any]:
    """The emulator's state twice, a second apart, and what came later.

    The guest's kernel tells of an NMI on its console if it still runs.
    """
    last = watcher.latest()
    began = time.monotonic()
    found: dict[str, Any] = {
        'host': host,
        'tick': last,
        'emulator': [_ask(world, host, server, words) for words in _ASKED],
    }
    time.sleep(1)
    found['registers_later'] = _ask(world, host, server, 'info registers')
    found['cpu'] = _virsh(world, host, 'domstats', '--vcpu', server)
    found['nmi'] = _virsh(world, host, 'inject-nmi', server)
    try:
        watcher.wait_past(last, LATER)
        found['went_on_after_s'] = round(time.monotonic() - began, 1)
    except TimeoutError:
        found['went_on_after_s'] = None
    console = world.lab.console(host, server)
    found['console'] = (
        console.read_text(errors='replace')[-_SHOWN:]
        if console.exists()
        else 'no file'
    )
    return found


def _ask(world: w.World, host: str, server: str, words: str) -> str:
    return _virsh(world, host, 'qemu-monitor-command', '--hmp', server, words)[
        :_SHOWN
    ]


def _virsh(world: w.World, host: str, *arguments: str) -> str:
    try:
        return world.virsh(host, *arguments)
    except (ui.Problem, w.DemoError, OSError) as exc:
        return f'{type(exc).__name__}: {exc}'
