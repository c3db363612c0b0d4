# SPDX-License-Identifier: Apache-2.0
"""Operations that leave a server on its host."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

from korora_tools import ui
from korora_tools.lab import paths, processes
from korora_tools.prove.life.operations import (
    BAD_LIFE,
    LIFE,
    operation,
)
from korora_tools.prove.life.stage import Json, Stage

SAME = 'ACTIVE same'
OFF = 'SHUTOFF same'
#: Nova's API refuses it for every server with a vTPM.
BY_NOVA = 'refused 400; ACTIVE same'
HARD = {'type': 'HARD'}
SOFT = {'type': 'SOFT'}
KEEP_DELETED = 'reclaim_instance_interval = 3600'


@operation(
    'stop and start',
    f'{OFF} > {SAME}',
    f'{LIFE}.test_stop_and_start',
    older=True,
)
def stop(s: Stage) -> str:
    """Stopped, started again."""
    return s.in_turn(lambda: s.act('os-stop'), lambda: s.act('os-start'))


def _rebooted(s: Stage, how: Json) -> str:
    """Nova shows a refused reboot of a guest that runs on in its log only."""
    before = s.domain()
    seen = s.act('reboot', how)
    return f'{seen}, {"ran on" if s.domain() == before else "restarted"}'


@operation(
    'soft reboot', f'{SAME}, restarted', f'{LIFE}.test_soft_reboot_has_the_key'
)
def soft_reboot(s: Stage) -> str:
    """Rebooted through its guest, which does not listen."""
    return _rebooted(s, SOFT)


@operation(
    'hard reboot',
    f'{SAME}, restarted',
    f'{LIFE}.test_hard_reboot',
    older=True,
)
def hard_reboot(s: Stage) -> str:
    """Rebooted by its host."""
    return _rebooted(s, HARD)


@operation('pause and unpause', f'PAUSED same > {SAME}', LIFE)
def pause(s: Stage) -> str:
    """Paused, unpaused."""
    return s.in_turn(lambda: s.act('pause'), lambda: s.act('unpause'))


@operation(
    'suspend and resume',
    f'SUSPENDED same > {SAME}',
    f'{LIFE}.test_suspend_and_resume',
    older=True,
)
def suspend(s: Stage) -> str:
    """Suspended to its host's disk, resumed."""
    return s.in_turn(lambda: s.act('suspend'), lambda: s.act('resume'))


@operation('rescue', BY_NOVA, f'{BAD_LIFE}.test_rescue_refused')
def rescue(s: Stage) -> str:
    """Started from a rescue image."""
    return s.act('rescue', {})


@operation('rebuild', BY_NOVA, f'{LIFE}.test_rebuild')
def rebuild(s: Stage) -> str:
    """Made anew from its own image."""
    image = s.world.server(s.server)['image']['id']
    return s.act('rebuild', {'imageRef': image})


@operation('shelve', BY_NOVA, LIFE)
def shelve(s: Stage) -> str:
    """Shelved; its host forgets it."""
    return s.act('shelve')


@operation('snapshot', SAME, LIFE)
def snapshot(s: Stage) -> str:
    """An image is made of it while it runs."""
    return s.act('createImage', {'name': 'life'})


@operation(
    'snapshot of a stopped server',
    f'{OFF} > {OFF}',
    f'{LIFE}.test_cold_snapshot',
)
def cold_snapshot(s: Stage) -> str:
    """Stopped, and an image is made of it."""
    return s.in_turn(
        lambda: s.act('os-stop'),
        lambda: s.act('createImage', {'name': 'life'}),
    )


@operation('start of a running server', 'refused 409; ACTIVE same', LIFE)
def started_twice(s: Stage) -> str:
    """Started although it runs."""
    return s.act('os-start')


@operation(
    'reset state',
    f'ERROR same > {SAME}',
    f'{BAD_LIFE}.test_reboot_that_is_refused',
)
def reset(s: Stage) -> str:
    """Put into ERROR by an operator, rebooted hard."""
    return s.in_turn(
        lambda: s.act('os-resetState', {'state': 'error'}),
        lambda: s.act('reboot', HARD),
    )


# -- something is away ----------------------------------------------------


@operation(
    'stop without service', OFF, f'{BAD_LIFE}.test_power_off_is_no_start'
)
def stop_without_service(s: Stage) -> str:
    """Stopped while the attestation service is down."""
    with s.without_service():
        return s.act('os-stop')


@operation(
    'start without service',
    f'{OFF} > failed SERVICE_UNAVAILABLE; {OFF}',
    f'{LIFE}.test_start_refused',
    older=True,
)
def start_without_service(s: Stage) -> str:
    """Stopped; started while the service is down."""
    first = s.act('os-stop')
    with s.without_service():
        return f'{first} > {s.act("os-start")}'


@operation(
    'hard reboot without service',
    f'{SAME}, ran on',
    f'{LIFE}.test_hard_reboot_refused_leaves_the_guest_running',
)
def reboot_without_service(s: Stage) -> str:
    """Rebooted hard while the service is down: it runs on."""
    with s.without_service():
        return _rebooted(s, HARD)


@operation(
    'soft reboot without service',
    f'{SAME}, ran on',
    f'{LIFE}.test_soft_reboot_refused',
)
def soft_reboot_without_service(s: Stage) -> str:
    """Rebooted while the service is down: it runs on."""
    with s.without_service():
        return _rebooted(s, SOFT)


@operation(
    'resume without service',
    'SUSPENDED same > failed SERVICE_UNAVAILABLE; SUSPENDED same',
    f'{LIFE}.test_resume_refused',
)
def resume_without_service(s: Stage) -> str:
    """Suspended; resumed while the service is down."""
    first = s.act('suspend')
    with s.without_service():
        return f'{first} > {s.act("resume")}'


@operation(
    'pause without service',
    f'PAUSED same > {SAME}',
    f'{BAD_LIFE}.test_power_off_is_no_start',
)
def pause_without_service(s: Stage) -> str:
    """Paused and unpaused while the service is down: it never stopped."""
    with s.without_service():
        return s.in_turn(lambda: s.act('pause'), lambda: s.act('unpause'))


@operation('stop without agent', OFF, f'{BAD_LIFE}.test_power_off_is_no_start')
def stop_without_agent(s: Stage) -> str:
    """Stopped while its host's agent is down."""
    with s.without_agent(s.home):
        return s.act('os-stop')


@operation(
    'start without agent',
    f'{OFF} > failed AGENT_UNAVAILABLE; {OFF}',
    f'{LIFE}.test_start_refused',
)
def start_without_agent(s: Stage) -> str:
    """Stopped; started while its host's agent is down."""
    first = s.act('os-stop')
    with s.without_agent(s.home):
        return f'{first} > {s.act("os-start")}'


@operation(
    'hard reboot without agent',
    f'{SAME}, ran on',
    f'{BAD_LIFE}.test_reboot_without_agent',
)
def reboot_without_agent(s: Stage) -> str:
    """Rebooted hard while its host's agent is down: it runs on."""
    with s.without_agent(s.home):
        return _rebooted(s, HARD)


@operation(
    'start on a host that changed',
    f'{OFF} > failed HOST_UNTRUSTED; {OFF}',
    f'{LIFE}.test_start_refused',
)
def start_on_changed_host(s: Stage) -> str:
    """Stopped; its host's boot state changes; started."""
    first = s.act('os-stop')
    s.tampered(s.home)
    try:
        return f'{first} > {s.act("os-start")}'
    finally:
        s.mended(s.home)


# -- crashes --------------------------------------------------------------


@operation('stop, crash of nova-compute', OFF, LIFE)
def crash_in_stop(s: Stage) -> str:
    """nova-compute is killed while it stops the server, and started."""
    s.act('os-stop', wait=False)
    s.await_task('powering-off', status='SHUTOFF')
    with s.crashed('nova-compute of source', s.home):
        time.sleep(1)
    return s.ended()


@operation(
    'start, crash of nova-compute',
    f'{OFF} > {SAME}',
    f'{LIFE}.test_restart_of_nova_compute_alone',
)
def crash_in_start(s: Stage) -> str:
    """Stopped; nova-compute is killed while it starts the server."""
    first = s.act('os-stop')
    s.act('os-start', wait=False)
    s.await_task('powering-on', status='ACTIVE')
    with s.crashed('nova-compute of source', s.home):
        time.sleep(1)
    return f'{first} > {s.ended()}'


@operation(
    'hard reboot, crash of nova-compute',
    SAME,
    f'{LIFE}.test_restart_of_nova_compute_alone',
)
def crash_in_reboot(s: Stage) -> str:
    """nova-compute is killed while it reboots the server hard."""
    s.act('reboot', HARD, wait=False)
    s.await_task('reboot_started_hard', 'rebooting_hard')
    with s.crashed('nova-compute of source', s.home):
        time.sleep(1)
    return s.ended()


@operation(
    'nova-compute restarted',
    SAME,
    f'{LIFE}.test_restart_of_nova_compute_alone',
)
def compute_restarted(s: Stage) -> str:
    """nova-compute is killed and started beside the running server."""
    with s.crashed('nova-compute of source', s.home):
        time.sleep(1)
    return s.seen()


@operation('agent restarted', SAME, LIFE)
def agent_restarted(s: Stage) -> str:
    """The agent is killed and started beside the running server."""
    with s.without_agent(s.home):
        time.sleep(1)
    return s.seen()


@operation('libvirtd restarted', SAME, LIFE)
def libvirt_restarted(s: Stage) -> str:
    """libvirtd is killed and started beside the running server."""
    with s.crashed('libvirtd of source', s.home):
        time.sleep(1)
    return s.seen()


@contextlib.contextmanager
def soft_deletes(s: Stage) -> Iterator[None]:
    """Nova's API keeps deleted servers for an hour."""
    path = s.lab.etc / 'nova/nova.conf'
    before = path.read_text()
    path.write_text(
        before.replace('[DEFAULT]', f'[DEFAULT]\n{KEEP_DELETED}', 1)
    )
    _restart_api(s)
    try:
        yield
    finally:
        path.write_text(before)
        _restart_api(s)


def _is_free() -> bool:
    with socket.socket() as one:
        return one.connect_ex((paths.CTL_IP, paths.PORTS['nova'])) != 0


def _restart_api(s: Stage) -> None:
    processes.stop(s.lab, ['nova'])
    ui.wait("the API's port to be free", _is_free, 30)
    processes.restart(s.lab, 'nova')
    processes.wait_for(
        s.lab, 'nova', processes.answering(paths.url('nova', '/')), 60
    )


@operation(
    'soft delete and restore',
    f'SOFT_DELETED same > {SAME}',
    f'{BAD_LIFE}.test_restored',
)
def restore(s: Stage) -> str:
    """Deleted where Nova keeps deleted servers, and restored."""
    with soft_deletes(s):
        s.world.nova.delete('/servers/' + s.server)
        time.sleep(0.5)
        first = s.ended()
        return f'{first} > {s.act("restore")}'
