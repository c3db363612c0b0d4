# SPDX-License-Identifier: Apache-2.0
"""Operations by what Kororā does in them: the administration guide's table."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Group:
    """Operations with which Kororā does the same.

    :param name: what operators call them.
    :param begins: how the names of their operations begin.
    :param checked: what is asked of whom.
    :param key: who holds the key afterwards.
    :param fails: what a refusal or failure comes to.
    """

    name: str
    begins: tuple[str, ...]
    checked: str
    key: str
    fails: str


_BOTH = (
    'both hosts: trusted, their nova-computes enforce, their agents answer; '
    "Nova's record of the migration; "
)
_AS_BEFORE = (
    'The server is as it was before, with a fault that has the reason: a '
    'running guest runs on.'
)

GROUPS = (
    Group(
        'create',
        ('create',),
        'The host: trusted, its nova-compute enforces, its agent answers.',
        'The host, sealed in its TPM.',
        'The next host is tried, unless the service is down. In the end '
        '``ERROR``; nothing is left.',
    ),
    Group(
        'stop, pause, unpause, snapshot',
        ('stop without', 'stop, crash', 'pause', 'snapshot'),
        'Nothing: no guest is started.',
        'As before.',
        'As in stock Nova, whatever of Kororā is down.',
    ),
    Group(
        'start, reboot, resume',
        (
            'start',
            'stop and start',
            'soft reboot',
            'hard reboot',
            'suspend',
            'resume',
            'reset state',
        ),
        'The host: trusted at this moment, and the key is there. Asked before '
        'anything is stopped.',
        'As before.',
        _AS_BEFORE,
    ),
    Group(
        'boot of the host',
        ('host reboot',),
        'The same as at a start, for each server that Nova resumes; it waits '
        'for ``[korora] boot_wait``.',
        'As before.',
        'nova-compute starts; the server is in ``ERROR`` and is started by '
        'itself once the host is trusted, within ``[korora] boot_retry``.',
    ),
    Group(
        'restart of a process beside running servers',
        ('nova-compute restarted', 'agent restarted', 'libvirtd restarted'),
        'Nothing.',
        'As before.',
        'Servers run on.',
    ),
    Group(
        'live migration',
        ('live migration', 'forced live migration'),
        'By the scheduler, in both pre-checks, at the hand-over and at the '
        'start of the stream: ' + _BOTH + 'the address of the destination.',
        'The destination, once the guest runs there.',
        'The server runs on at the source, which keeps the key; the '
        'migration is ``failed`` or ``error``; the next host is tried.',
    ),
    Group(
        'cold migration, resize, confirm, revert',
        ('cold migration', 'resize'),
        'Before the server is powered off: ' + _BOTH + 'the vTPM stays the '
        'same. A revert asks the same for the way back, a confirmation '
        'nothing.',
        'The destination, once Nova has finished the move there; the source '
        'again after a revert.',
        'Before the power-off: as it was before. Later: the file of the vTPM '
        'is put back, and the server can be started where Nova has it.',
    ),
    Group(
        'soft delete, restore',
        ('soft delete',),
        'Nothing; restoring is a start.',
        'As before.',
        'As at a start.',
    ),
    Group(
        'delete',
        ('delete',),
        'Nothing.',
        'Nobody: it is buried.',
        'Never refused. What an agent that is down has of it goes when it is '
        'there again.',
    ),
    Group(
        'rescue, rebuild, shelve, evacuate',
        ('rescue', 'rebuild', 'shelve', 'evacuate'),
        "Nova's API refuses them for every server with a vTPM.",
        'As before.',
        'Error 400; the server is as it was before.',
    ),
    Group(
        'no host is trusted, by a wrong policy',
        ('all hosts untrusted',),
        'Nothing of servers that run.',
        'As before.',
        'Guests run on. What korora-enforcer would do is held until an '
        'operator decides; ``response revert --all`` undoes what was done.',
    ),
    Group(
        'the host is replaced, its keys are evicted',
        ('host replaced',),
        'That the old holder cannot run the server any more.',
        'The host of the next start, which needs the token of somebody who '
        "may read the server's secret.",
        '``NOT_FENCED``: nothing changes.',
    ),
)


def group_of(op: str) -> Group:
    """The one group of an operation.

    :raises ValueError: it has none, or several.
    """
    found = [one for one in GROUPS if op.startswith(one.begins)]
    if len(found) != 1:
        raise ValueError(f'{op!r} is in {[one.name for one in found]}')
    return found[0]
