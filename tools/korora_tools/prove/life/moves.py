# SPDX-License-Identifier: Apache-2.0
"""Operations that take a server to another host, or try to."""

from __future__ import annotations

import time
from collections.abc import Callable

from korora_tools import ui
from korora_tools.lab import net
from korora_tools.prove.faults import operator
from korora_tools.prove.life.operations import (
    BAD_LIFE,
    BAD_LIVE,
    COLD,
    LIVE,
    operation,
)
from korora_tools.prove.life.power import HARD, OFF, SAME
from korora_tools.prove.life.stage import UNTRUSTED, Stage

MOVED = 'ACTIVE other'
MOVE = 'os-migrateLive'
VERIFY = 'VERIFY_RESIZE other'
#: Nova's answer when no host is left that may be tried.
NONE_LEFT = f'failed; {SAME}'
#: The scheduler has results that are valid yet; the drivers ask.
NO_SERVICE = f'failed SERVICE_UNAVAILABLE; {SAME}'


def _live(s: Stage, host: str | None, **how: object) -> str:
    return s.act(
        MOVE,
        {'host': host, 'block_migration': 'auto', **how},
        microversion='2.67' if 'force' in how else None,
    )


# -- live -----------------------------------------------------------------


@operation('live migration', MOVED, f'{LIVE}.test_whole_life')
def live(s: Stage) -> str:
    """Where the scheduler likes."""
    return _live(s, None)


@operation(
    'live migration to a host',
    MOVED,
    f'{LIVE}.test_there_and_back',
    older=True,
)
def live_named(s: Stage) -> str:
    """To a host by name."""
    return _live(s, s.other)


@operation(
    'live migration of a paused server', 'PAUSED same > PAUSED other', LIVE
)
def live_paused(s: Stage) -> str:
    """Paused, then moved."""
    return s.in_turn(lambda: s.act('pause'), lambda: _live(s, s.other))


@operation(
    'live migration of a stopped server', f'{OFF} > refused 409; {OFF}', LIVE
)
def live_stopped(s: Stage) -> str:
    """Stopped, then moved: Nova refuses."""
    return s.in_turn(lambda: s.act('os-stop'), lambda: _live(s, s.other))


@operation(
    'live migration to an untrusted host',
    NONE_LEFT,
    f'{LIVE}.test_untrusted_destination',
    older=True,
)
def live_untrusted(s: Stage) -> str:
    """To an untrusted host by name."""
    with s.enabled(UNTRUSTED):
        return _live(s, UNTRUSTED)


@operation(
    'forced live migration to an untrusted host',
    f'failed HOST_UNTRUSTED; {SAME}',
    f'{LIVE}.test_forced_past_the_scheduler',
)
def live_forced(s: Stage) -> str:
    """The same past the scheduler (force, compute API 2.67)."""
    return _live(s, UNTRUSTED, force=True)


@operation(
    'live migration from a host that changed',
    f'failed HOST_UNTRUSTED; {SAME}',
    f'{LIVE}.test_untrusted_source',
)
def live_from_changed(s: Stage) -> str:
    """The source's boot state changes, and the server is to leave it."""
    s.tampered(s.home)
    try:
        return _live(s, s.other)
    finally:
        s.mended(s.home)


@operation(
    'live migration aborted', SAME, f'{LIVE}.test_aborted_stream', older=True
)
def live_aborted(s: Stage) -> str:
    """Aborted in mid-stream."""
    with net.slow(s.home):
        migration = s.world.start_migration(s.server, s.other)
        time.sleep(1.5)
        s.world.nova.delete(f'/servers/{s.server}/migrations/{migration}')
        s.idle()
    return s.seen()


@operation(
    'live migration forced to complete',
    MOVED,
    f'{BAD_LIVE}.test_force_complete',
)
def live_completed(s: Stage) -> str:
    """Forced to complete in mid-stream: it is paused."""
    with net.slow(s.home):
        migration = s.world.start_migration(s.server, s.other)
        time.sleep(1)
        s.world.nova.post(
            f'/servers/{s.server}/migrations/{migration}/action',
            json={'force_complete': None},
        )
    return s.ended()


@operation(
    'live migration without service',
    NO_SERVICE,
    f'{LIVE}.test_service_down',
    older=True,
)
def live_without_service(s: Stage) -> str:
    """While the attestation service is down."""
    with s.without_service():
        return _live(s, s.other)


@operation(
    "live migration without the destination's agent",
    f'failed AGENT_UNAVAILABLE; {SAME}',
    f'{LIVE}.test_dead_agents',
)
def live_without_agent(s: Stage) -> str:
    """While the agent of the destination is down."""
    with s.without_agent(s.other):
        return _live(s, s.other)


def _crash(s: Stage, victim: str, host: str) -> str:
    """Something is killed in mid-stream; then comes what the guide says.

    What Nova makes of it depends on the moment, in stock Nova, too. What
    counts: the guest can be had, in one place, and moves again.
    """
    with net.slow(s.home):
        s.world.start_migration(s.server, s.other)
        with s.crashed(victim, host):
            time.sleep(1)
    # Nova leaves its disks at the other end, and refuses to go there again.
    s.spoilt = True
    _rest(s)
    running = _places(s)
    if not running:
        s.act('reboot', HARD)
    elif running != [s.world.host(s.server)]:
        operator.correct_nova(s.lab, s.server, running[0])
    if s.world.server(s.server)['status'] == 'ERROR':
        s.act('os-resetState', {'state': 'active'})
    return s.back_to_work() or f'runs in {len(_places(s))} place'


def _rest(s: Stage) -> None:
    """Nova ends what it was at, or its operator does."""
    try:
        s.idle(60)
    except (ui.Problem, TimeoutError):
        s.act('os-resetState', {'state': 'active'})


def _places(s: Stage) -> list[str]:
    """Where its guest runs."""
    return [
        host
        for host in (s.home, s.other)
        if s.server in s.world.virsh(host, 'list', '--uuid')
    ]


@operation(
    "live migration, crash of the source's nova-compute",
    'runs in 1 place',
    f'{LIVE}.test_migration_is_found_again',
)
def live_crash_of_source(s: Stage) -> str:
    """nova-compute of the source is killed in mid-stream."""
    return _crash(s, 'nova-compute of source', s.home)


@operation(
    "live migration, crash of the destination's nova-compute",
    'runs in 1 place',
    f'{LIVE}.test_destination_reports_even_if_nova_fails',
)
def live_crash_of_dest(s: Stage) -> str:
    """nova-compute of the destination is killed in mid-stream."""
    return _crash(s, 'nova-compute of dest', s.other)


# -- cold -----------------------------------------------------------------


def _confirmed(s: Stage, *first: Callable[[], str]) -> str:
    return s.in_turn(*first, lambda: s.act('confirmResize'))


def _reverted(s: Stage, *first: Callable[[], str]) -> str:
    return s.in_turn(*first, lambda: s.act('revertResize'))


def _cold(s: Stage, host: str | None = None) -> str:
    return s.act('migrate', {'host': host} if host else None)


def _resize(s: Stage, flavor: str) -> str:
    return s.act('resize', {'flavorRef': flavor})


@operation(
    'cold migration, confirmed', f'{VERIFY} > {MOVED}', COLD, older=True
)
def cold(s: Stage) -> str:
    """Moved through a power-off, and confirmed."""
    return _confirmed(s, lambda: _cold(s))


@operation('cold migration, reverted', f'{VERIFY} > {SAME}', COLD, older=True)
def cold_reverted(s: Stage) -> str:
    """Moved through a power-off, and taken back."""
    return _reverted(s, lambda: _cold(s))


@operation('cold migration to a host', f'{VERIFY} > {MOVED}', COLD)
def cold_named(s: Stage) -> str:
    """To a host by name."""
    return _confirmed(s, lambda: _cold(s, s.other))


@operation(
    'cold migration of a stopped server',
    f'{OFF} > {VERIFY} > SHUTOFF other',
    COLD,
)
def cold_stopped(s: Stage) -> str:
    """Stopped, moved, confirmed."""
    return _confirmed(s, lambda: s.act('os-stop'), lambda: _cold(s))


@operation(
    'cold migration of a stopped server, reverted',
    f'{OFF} > {VERIFY} > {OFF}',
    COLD,
)
def cold_stopped_reverted(s: Stage) -> str:
    """Stopped, moved, taken back."""
    return _reverted(s, lambda: s.act('os-stop'), lambda: _cold(s))


@operation('resize, confirmed', f'{VERIFY} > {MOVED}', COLD, older=True)
def resize(s: Stage) -> str:
    """To a bigger flavor, on another host."""
    s.spoilt = True
    return _confirmed(s, lambda: _resize(s, s.flavor('big')))


@operation('resize, reverted', f'{VERIFY} > {SAME}', COLD)
def resize_reverted(s: Stage) -> str:
    """To a bigger flavor, and taken back."""
    return _reverted(s, lambda: _resize(s, s.flavor('big')))


@operation('cold migration to an untrusted host', NONE_LEFT, COLD)
def cold_untrusted(s: Stage) -> str:
    """To an untrusted host by name."""
    with s.enabled(UNTRUSTED):
        return _cold(s, UNTRUSTED)


@operation('cold migration without service', NO_SERVICE, COLD)
def cold_without_service(s: Stage) -> str:
    """While the attestation service is down."""
    with s.without_service():
        return _cold(s, s.other)


@operation(
    "cold migration without the destination's agent",
    f'failed BUS_UNAVAILABLE; {SAME}',
    COLD,
)
def cold_without_agent(s: Stage) -> str:
    """While the agent of the destination is down: it is not powered off."""
    with s.without_agent(s.other):
        return _cold(s, s.other)


@operation(
    "cold migration, crash of the source's nova-compute",
    'runs in 1 place',
    COLD,
)
def cold_crash(s: Stage) -> str:
    """nova-compute of the source is killed while disks are copied."""
    s.act('migrate', {'host': s.other}, wait=False)
    s.await_task('resize_migrating', status='VERIFY_RESIZE')
    with s.crashed('nova-compute of source', s.home):
        time.sleep(1)
    _rest(s)
    if s.world.server(s.server)['status'] == 'VERIFY_RESIZE':
        s.act('confirmResize')
    else:
        s.act('os-resetState', {'state': 'active'})
        s.act('reboot', HARD)
    return s.back_to_work() or f'runs in {len(_places(s))} place'


# -- out of a host that died ----------------------------------------------


@operation('evacuate', 'refused 400; ACTIVE same', BAD_LIFE)
def evacuate(s: Stage) -> str:
    """Its host is said to be dead: Nova refuses it with a vTPM."""
    path = '/os-services/' + s.compute_service(s.home)
    back = s.killed('nova-compute of source', s.home)
    s.world.nova.put(path, json={'forced_down': True})
    try:
        return s.act('evacuate', {})
    finally:
        back()
        # Nova hears of it only when the host has cleaned up.
        ui.wait('Nova to take the host back', lambda: _is_up(s, path), 120, 1)
        s.recovered()


def _is_up(s: Stage, path: str) -> bool:
    answer = s.world.nova.put(
        path, json={'forced_down': False}, raise_exc=False
    )
    return bool(answer.status_code < 300)
