# SPDX-License-Identifier: Apache-2.0
"""A wrong policy untrusts all hosts, and korora-enforcer is on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from korora_nova import errors
from korora_nova.client import AttestationClient
from korora_tools import ui
from korora_tools.demo import world as w
from korora_tools.lab import attestation, client, onboard
from korora_tools.prove.life import moves
from korora_tools.prove.life.moves import MOVED
from korora_tools.prove.life.operations import operation
from korora_tools.prove.life.power import SAME
from korora_tools.prove.life.stage import TRUSTED, UNTRUSTED, Stage

#: No host has this in its PCR 4.
MISTAKE = {
    'version': 1,
    'name': 'mistake',
    'hosts': ['*'],
    'rules': [
        {
            'pcrs': {
                'registers': [4],
                'generations': [{'name': 'none', 'values': {'4': '00' * 32}}],
            }
        },
        {'ima': 'not-appraised'},
    ],
}
WHY = 'the policy was wrong'
#: Seconds for the process to see, and to do, one thing.
PATIENCE = 90.0
#: Two hosts of which one may be bad at a time; two results decide.
ACTING = {
    'drivers': 'disable',
    'dry_run': 'false',
    'bad_results': 2,
    'good_results': 1,
    'interval': 1,
}


@operation(
    'all hosts untrusted by a policy',
    'held, 0 disabled > approved, 2 disabled > reverted, 0 disabled > '
    f'{SAME} > {MOVED}',
    'tests.functional.response.test_matrix.test_day_policy',
)
def untrusted(s: Stage) -> str:
    """Responses are held, approved by mistake, reverted by one command."""
    if s.stock:
        return s.in_turn(*_plain(s), lambda: moves.live(s))
    with _acting(s), _mistake(s) as service:
        told = []
        for step in (held, approved, reverted):
            step(s, service)
            told.append(f'{step.__name__}, {len(_marked(s))} disabled')
        during = s.in_turn(*_plain(s))
        service.delete_policy('mistake')
        s.calm()
        service.resume_responses(WHY)
    after = moves.live(s)
    return ' > '.join([*(told if s.protected else ()), during, after])


def _plain(s: Stage) -> list[Callable[[], str]]:
    """What is done with the server while no host is trusted."""
    if s.protected:
        return [s.seen]
    # Nobody asks a host about it.
    return [s.seen, lambda: s.act('os-stop'), lambda: s.act('os-start')]


@contextlib.contextmanager
def _acting(s: Stage) -> Iterator[None]:
    """korora-enforcer does what it decides."""
    s.calm()
    attestation.enforcer(s.lab, **ACTING)
    try:
        yield
    finally:
        attestation.enforcer(s.lab)


@contextlib.contextmanager
def _mistake(s: Stage) -> Iterator[AttestationClient]:
    service = AttestationClient(client.adapter_for('attestation'))
    ui.wait('the hosts to be known', lambda: _quiet(s, service), PATIENCE, 1)
    service.create_policy(MISTAKE)
    try:
        yield service
    finally:
        with contextlib.suppress(errors.NotFound):
            service.delete_policy('mistake')


def _quiet(s: Stage, service: AttestationClient) -> bool:
    """It leads, holds nothing, and has nothing open of these hosts."""
    for host in TRUSTED:
        onboard.attest(s.lab, host)
    page = next(iter(service.response_pages()))
    if page.get('hold'):
        service.resume_responses(WHY)
    hosts = {one['host'] for one in page.objects('responses')}
    return bool(
        page['leader']['leads'] and not page.get('hold')
    ) and not hosts & {*TRUSTED, '*'}


def _waiting(service: AttestationClient) -> list[str]:
    return [
        one['id']
        for one in service.list_responses()
        if one['state'] == 'waiting'
    ]


def held(s: Stage, service: AttestationClient) -> None:
    def waiting() -> bool:
        for host in TRUSTED:
            onboard.attest(s.lab, host)
        return len(_waiting(service)) == len(TRUSTED)

    ui.wait('responses to be held', waiting, PATIENCE, 2)
    if not next(iter(service.response_pages())).get('hold'):
        raise w.DemoError('responses wait, and nothing holds them')


def approved(s: Stage, service: AttestationClient) -> None:
    """An operator takes the policy for right."""
    for one in _waiting(service):
        service.approve_response(one, 'all hosts are bad')
    ui.wait(
        'nova-compute to be disabled',
        lambda: len(_marked(s)) == len(TRUSTED),
        PATIENCE,
        1,
    )


def reverted(s: Stage, service: AttestationClient) -> None:
    s.world.openstack(
        'attestation', 'response', 'revert', '--all', '--reason', WHY
    )


def _marked(s: Stage) -> list[str]:
    """Hosts that korora-enforcer has disabled.

    :raises DemoError: it has touched what an administrator has disabled.
    """
    found = {
        one['host']: one
        for one in s.world.nova.get('/os-services?binary=nova-compute').json()[
            'services'
        ]
    }
    if (
        found[UNTRUSTED]['status'] != 'disabled'
        or (found[UNTRUSTED]['disabled_reason'])
    ):
        raise w.DemoError(f'{UNTRUSTED}: {found[UNTRUSTED]}')
    return [
        host
        for host in TRUSTED
        if found[host]['status'] == 'disabled'
        and str(found[host]['disabled_reason']).startswith('korora response ')
    ]
