# SPDX-License-Identifier: Apache-2.0
"""Operations in which a server's host goes, and comes back or does not."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from korora_nova.client import AttestationClient
from korora_tools import ui
from korora_tools.lab import client, cloud, hostconfig, onboard
from korora_tools.prove.life.operations import BAD_LIFE, LIFE, operation
from korora_tools.prove.life.power import HARD, SAME
from korora_tools.prove.life.stage import Stage

WHY = 'the machine is destroyed'


@operation('host reboot', SAME, f'{LIFE}.test_host_boot')
def host_reboot(s: Stage) -> str:
    """The host loses power and returns; the server is rebooted hard."""
    s.world.lab_command('reboot', s.home)
    s.calm()
    return s.act('reboot', HARD)


@operation('host reboot, guests resumed', SAME, f'{LIFE}.test_host_boot')
def host_boot(s: Stage) -> str:
    """The same with resume_guests_state_on_host_boot."""
    with _configured(
        s, s.home, 'DEFAULT', 'resume_guests_state_on_host_boot', 'true'
    ):
        s.world.lab_command('reboot', s.home)
        s.calm()
        _await_domain(s)
        return s.ended()


@operation(
    'host reboot, guests resumed, service late',
    SAME,
    f'{BAD_LIFE}.test_reboot_that_is_refused',
)
def host_boot_without_service(s: Stage) -> str:
    """The same, and the service comes only after nova-compute."""
    with (
        _configured(
            s, s.home, 'DEFAULT', 'resume_guests_state_on_host_boot', 'true'
        ),
        # Its start waits for no longer; then it tries in the background.
        _configured(s, s.home, 'korora', 'boot_wait', '20'),
    ):
        with s.without_service():
            s.world.lab_command('reboot', s.home)
            time.sleep(5)
        s.calm()
        _await_domain(s)
        return s.ended()


def _await_domain(s: Stage) -> None:
    ui.wait(
        'the guest to run again',
        lambda: (
            s.server in s.world.virsh(s.home, 'list', '--uuid')
            and s.world.server(s.server)['status'] == 'ACTIVE'
        ),
        180,
        1,
    )


@contextlib.contextmanager
def _configured(
    s: Stage, host: str, section: str, option: str, value: str
) -> Iterator[None]:
    """An option of a host's nova-compute, from its next start on."""
    path = hostconfig.nova_file(s.lab, host)
    before = path.read_text()
    path.write_text(
        before.replace(f'[{section}]', f'[{section}]\n{option} = {value}', 1)
    )
    try:
        yield
    finally:
        path.write_text(before)


@operation('host replaced', SAME, 'tests.functional.attester.test_reissue')
def replaced(s: Stage) -> str:
    """Its host dies; another takes its name, with its disks; rebooted hard."""
    cloud.power_off(s.lab, s.home)
    if not s.stock:
        service = AttestationClient(client.adapter_for('attestation'))
        service.evict_host(s.home, WHY)
        service.delete_host(s.home)
    cloud.replace(s.lab, s.home)
    if not s.stock:
        onboard.expect(s.lab, s.home)
    cloud.power_on(s.lab, s.home)
    s.calm()
    return s.act('reboot', HARD)
