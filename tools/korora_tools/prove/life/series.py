# SPDX-License-Identifier: Apache-2.0
"""nova-compute of the release before, beside the newer one in one cloud."""

from __future__ import annotations

import pathlib

from korora_tools import checkout, older_nova, ui
from korora_tools.demo import world as w
from korora_tools.lab import bootstrap, database, hostconfig, paths, processes

_CONTROL = ('nova', 'nova-scheduler', 'nova-conductor')


def switch(world: w.World, hosts: dict[str, str]) -> None:
    """Let these hosts' nova-compute be of these releases.

    With ``[upgrade_levels] compute = auto`` who starts asks which is oldest.
    """
    lab = world.lab
    computes = [f'{host}/nova-compute' for host in hosts]
    processes.stop(lab, [*computes, *_CONTROL])
    _go_back(lab, [host for host in hosts if _is_old(hosts[host])])
    processes.restart(lab, 'nova-conductor')
    bootstrap.consumers('conductor')
    # The old one first, so that all others know of it
    for host in sorted(hosts, key=lambda host: hosts[host]):
        place = older_nova.BIN if _is_old(hosts[host]) else checkout.BIN
        path = hostconfig.nova_file(lab, host)
        path.write_text(_at(path.read_text(), place))
        processes.spawn(
            lab,
            f'{host}/nova-compute',
            [str(place / 'nova-compute'), '--config-file', str(path)],
            host,
            env={'PATH': f'{place}:/usr/sbin:/usr/bin:/sbin:/bin'},
        )
        bootstrap.consumers('compute.' + host)
    for name in _CONTROL:
        processes.stop(lab, [name])
        processes.restart(lab, name)
    processes.wait_for(
        lab, 'nova', processes.answering(paths.url('nova', '/')), 60
    )
    bootstrap.consumers('conductor', 'scheduler')
    ui.note(f'nova-compute: {hosts}')


def _is_old(release: str) -> bool:
    return release == older_nova.RELEASE


def _go_back(lab: paths.Lab, hosts: list[str]) -> None:
    """These hosts were not upgraded yet: Nova lets nobody downgrade."""
    named = ', '.join(f"'{host}'" for host in hosts)
    database.query(
        lab,
        f'UPDATE nova_cell1.services SET version = {older_nova.SERVICE} '
        f"WHERE `binary` = 'nova-compute' AND host IN ({named})",
    )


def _at(text: str, place: pathlib.Path) -> str:
    """nova.conf whose privsep helper is of this environment."""
    lines = [
        f'helper_command = {place}/privsep-helper --config-file '
        + line.rpartition(' ')[2]
        if line.startswith('helper_command')
        else line
        for line in text.splitlines()
    ]
    return '\n'.join(lines) + '\n'
