# SPDX-License-Identifier: Apache-2.0
"""Operations with a server that boots by UEFI with Secure Boot.

Its guest says that Secure Boot is on, unseals under PCR 7, which stands for
that, and keeps a variable in the firmware. Nova takes variables along in a
live migration only. libvirt then leaves a copy behind, which the next cold
migration back would find: so live migration comes last.
"""

from __future__ import annotations

import functools
import pathlib

from korora_tools.lab import uefi
from korora_tools.prove.life import ends, hosts, moves, power
from korora_tools.prove.life.ends import GONE
from korora_tools.prove.life.moves import MOVED, VERIFY
from korora_tools.prove.life.operations import COLD, LIFE, LIVE, operation
from korora_tools.prove.life.power import HARD, OFF, SAME
from korora_tools.prove.life.stage import TRUSTED, Stage

KEPT, NEW = 'variables kept', 'variables new'
booted = functools.partial(operation, image=uefi.IMAGE)


@booted(
    'stop and start, Secure Boot',
    f'{OFF} > {SAME}, {KEPT}',
    f'{LIFE}.test_stop_and_start',
)
def stop(s: Stage) -> str:
    """Stopped, started again."""
    return f'{power.stop(s)}, {s.variables()}'


@booted(
    'cold migration, confirmed, Secure Boot',
    f'{VERIFY} > {MOVED}, {NEW}',
    COLD,
)
def cold(s: Stage) -> str:
    """Moved through a power-off: Nova leaves the variables behind."""
    return f'{moves.cold(s)}, {s.variables()}'


@booted(
    'cold migration, reverted, Secure Boot', f'{VERIFY} > {SAME}, {KEPT}', COLD
)
def cold_reverted(s: Stage) -> str:
    """Moved through a power-off, and taken back."""
    return f'{moves.cold_reverted(s)}, {s.variables()}'


@booted(
    'host reboot, Secure Boot', f'{SAME}, {KEPT}', f'{LIFE}.test_host_boot'
)
def host_reboot(s: Stage) -> str:
    """The host loses power and returns; the server is rebooted hard."""
    return f'{hosts.host_reboot(s)}, {s.variables()}'


@booted(
    'live migration, Secure Boot',
    f'{MOVED}, {KEPT}',
    f'{LIVE}.test_there_and_back',
)
def live(s: Stage) -> str:
    """Where the scheduler likes; then rebooted there."""
    seen = moves.live(s)
    s.act('reboot', HARD)
    return f'{seen}, {s.variables()}'


@booted('delete, Secure Boot', GONE, LIFE, apart=True)
def delete(s: Stage) -> str:
    """Deleted while it runs; its variables go, too."""
    server = ends.new(s, uefi.IMAGE)
    name = s.world.server(server)['OS-EXT-SRV-ATTR:instance_name']
    s.world.delete(server)
    left = [
        f'variables on {host}'
        for host in TRUSTED
        if any(_variables(s, host).glob(name + '_*'))
    ]
    return ', '.join([ends.gone(s, server), *left])


def _variables(s: Stage, host: str) -> pathlib.Path:
    """Where a host's libvirt keeps them."""
    return s.lab.host(host) / 'var/lib/libvirt/qemu/nvram'
