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
from korora_tools.prove.life import ends, hosts, moves, power
from korora_tools.prove.life.ends import GONE
from korora_tools.prove.life.moves import MOVED, VERIFY
from korora_tools.prove.life.operations import (
    BAD_LIVE,
    COLD,
    LIFE,
    LIVE,
    operation,
)
from korora_tools.prove.life.power import OFF, SAME
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
    'stop and start, shared storage',
    f'{OFF} > {SAME}',
    f'{LIFE}.test_stop_and_start',
)
def stop(s: Stage) -> str:
    """Stopped, started again."""
    return power.stop(s)


@shared(
    'cold migration, confirmed, shared storage', f'{VERIFY} > {MOVED}', COLD
)
def cold(s: Stage) -> str:
    """Moved through a power-off, and confirmed."""
    return moves.cold(s)


@shared(
    'cold migration, reverted, shared storage',
    f'{VERIFY} > {SAME} > {VERIFY} > {SAME}',
    COLD,
)
def cold_reverted(s: Stage) -> str:
    """Moved and taken back, twice."""
    return s.in_turn(
        lambda: moves.cold_reverted(s), lambda: moves.cold_reverted(s)
    )


@shared(
    'live migration after a revert, shared storage',
    f'{VERIFY} > {SAME} > {MOVED}',
    COLD,
)
def live_after_revert(s: Stage) -> str:
    """Taken back from a host, and live migrated to it."""
    return s.in_turn(lambda: moves.cold_reverted(s), lambda: moves.live(s))


@shared('host reboot, shared storage', SAME, f'{LIFE}.test_host_boot')
def host_reboot(s: Stage) -> str:
    """The host loses power and returns; the server is rebooted hard."""
    return hosts.host_reboot(s)


@shared('delete, shared storage', GONE, LIFE)
def delete(s: Stage) -> str:
    """Deleted after it was live migrated."""
    moves.live(s)
    server = s.server
    s.discard()
    left = (s.lab.shared / server).exists()
    return ends.gone(s, server) + (', its directory' if left else '')


@shared(
    'delete in mid-stream, shared storage',
    GONE,
    f'{BAD_LIVE}.test_deleted_meanwhile',
    apart=True,
)
def delete_streaming(s: Stage) -> str:
    """Deleted while it is live migrated."""
    return ends.delete_streaming(s)
