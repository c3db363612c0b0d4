# SPDX-License-Identifier: Apache-2.0
"""Operations where both hosts have one directory of servers, as with NFS.

Nova then copies no disks in a live migration, and removes none where a
server leaves. libvirt's state of the vTPM is each host's own all the same.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator

from korora_tools import ui
from korora_tools.lab import bootstrap, hostconfig, paths, processes
from korora_tools.prove.life import ends, moves
from korora_tools.prove.life.ends import GONE
from korora_tools.prove.life.moves import MOVED, VERIFY
from korora_tools.prove.life.operations import (
    COLD,
    LIFE,
    LIVE,
    operation,
)
from korora_tools.prove.life.power import SAME
from korora_tools.prove.life.stage import TRUSTED, Stage

shared = functools.partial(operation, shared=True)


@contextlib.contextmanager
def directory(stages: Iterable[Stage]) -> Iterator[None]:
    """The hosts' nova-computes keep servers in one directory meanwhile."""
    stages = list(stages)
    lab = stages[0].lab
    lab.shared.mkdir(exist_ok=True)
    _use(stages, lab, lab.instances, lab.shared)
    try:
        yield
    finally:
        _use(stages, lab, lab.shared, lab.instances)


def _use(
    stages: list[Stage], lab: paths.Lab, before: object, after: object
) -> None:
    for host in TRUSTED:
        path = hostconfig.nova_file(lab, host)
        option = 'instances_path = '
        path.write_text(
            path.read_text().replace(f'{option}{before}', f'{option}{after}')
        )
        name = f'{host}/nova-compute'
        processes.stop(lab, [name])
        processes.restart(lab, name)
        bootstrap.consumers('compute.' + host)
    for stage in stages:
        stage.calm()
    ui.note(f'servers are in {after}')


@shared('live migration, shared storage', MOVED, f'{LIVE}.test_whole_life')
def live(s: Stage) -> str:
    """Where the scheduler likes."""
    return moves.live(s)


@shared(
    'live migration aborted, shared storage',
    SAME,
    f'{LIVE}.test_aborted_stream',
)
def live_aborted(s: Stage) -> str:
    """Aborted in mid-stream."""
    return moves.live_aborted(s)


@shared(
    'cold migration, confirmed, shared storage', f'{VERIFY} > {MOVED}', COLD
)
def cold(s: Stage) -> str:
    """Moved through a power-off, and confirmed."""
    return moves.cold(s)


@shared(
    'cold migration, reverted, shared storage',
    f'{VERIFY} > {SAME} > {VERIFY} > {SAME} > {MOVED}',
    f'{COLD}.test_revert_leaves_no_state_of_the_vtpm',
)
def cold_reverted(s: Stage) -> str:
    """Moved and taken back, twice; then live migrated there."""
    return s.in_turn(
        lambda: moves.cold_reverted(s),
        lambda: moves.cold_reverted(s),
        lambda: moves.live(s),
    )


@shared('delete, shared storage', GONE, LIFE, apart=True)
def delete(s: Stage) -> str:
    """Deleted after it was live migrated; its directory goes, too."""
    server = ends.new(s)
    s.world.migrate_by_api(server)
    s.world.delete(server)
    left = ', its directory' if (s.lab.shared / server).exists() else ''
    return ends.gone(s, server) + left
