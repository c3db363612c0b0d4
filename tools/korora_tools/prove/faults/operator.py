# SPDX-License-Identifier: Apache-2.0
"""What an operator does on the lab after a crash, as the guide says."""

from __future__ import annotations

import pathlib
import subprocess
import sys
from collections.abc import Sequence

from korora_nova.client import AttestationClient
from korora_tools import ui
from korora_tools.demo import world as w
from korora_tools.lab import client, database, paths

WHY = 'its guest is dead'
#: nova-manage placement audit: nothing was to be freed, or all of it was.
_AUDITED = (0, 4)


def audit_placement(lab: paths.Lab) -> None:
    """Free what migrations that died have allocated: some ten fill a host.

    :raises Problem: it did not come to its end.
    """
    done = subprocess.run(
        [
            str(pathlib.Path(sys.executable).with_name('nova-manage')),
            '--config-file',
            str(lab.etc / 'nova/nova.conf'),
            'placement',
            'audit',
            '--delete',
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode not in _AUDITED:
        raise ui.Problem(
            f'nova-manage placement audit: {done.returncode}, '
            f'{done.stdout[-200:]}'
        )


def place_key(world: w.World, server: str) -> bool:
    """Let the dead guest's key be where Nova has the server.

    Nova takes a migration whose source has no domain any more for one that
    succeeded.

    :returns: whether there was something to do.
    """
    service = AttestationClient(client.adapter_for('attestation'))
    host = world.host(server)
    ledger = service.get_server(server)
    if ledger['pending']:
        keep = 'source' if ledger['holder'] == host else 'destination'
        service.resolve_migration(ledger['pending'], keep, WHY)
    elif ledger['holder'] != host:
        service.reissue_server(server, WHY, fenced=WHY)
    else:
        return False
    return True


def is_elsewhere(world: w.World, server: str, running: Sequence[str]) -> bool:
    """Whether Nova has lost the end of a stream, as stock Nova does.

    :param running: hosts where the guest runs.
    """
    holder = world.attestation(f'/v1/servers/{server}')['holder']
    return list(running) == [holder] != [world.host(server)]


def correct_nova(lab: paths.Lab, server: str, host: str) -> None:
    """Have Nova know where the guest runs: troubleshooting.rst has it."""
    database.query(
        lab,
        'USE nova_cell1;'
        'SELECT id, hypervisor_hostname INTO @id, @node FROM compute_nodes '
        f"WHERE host = '{host}' AND deleted = 0;"
        f"UPDATE instances SET host = '{host}', launched_on = '{host}', "
        'node = @node, compute_id = @id, task_state = NULL, '
        "vm_state = 'active', power_state = 1 "
        f"WHERE uuid = '{server}' AND deleted = 0",
    )
