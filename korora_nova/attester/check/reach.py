# SPDX-License-Identifier: Apache-2.0
"""Checks of what the agent has to reach: the service and the bus."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from korora_nova import errors
from korora_nova.checks import Result, bad, result, warn
from korora_nova.rats.signed.keys import KeyRing, State

_R = errors.Reason


@dataclasses.dataclass(frozen=True)
class Broker:
    """One node of the bus after a log-in that was tried.

    :param place: host and port.
    :param fault: '' if it let us in; else the name of the error.
    """

    place: str
    fault: str


def service(
    host: str, known: Mapping[str, object] | errors.KororaError
) -> Result:
    """Whether the service answers to the agent's credentials.

    :param known: this host as the service knows it, or its refusal.
    """
    check = 'service'
    if isinstance(known, errors.NotFound):
        return result(check, f'answers; {host} is not enrolled yet')
    if isinstance(known, errors.Forbidden):
        return result(
            check,
            '',
            [
                bad(
                    'the user of [service_auth] may not speak for a host',
                    'give it the role "attester" in its project',
                )
            ],
        )
    if isinstance(known, errors.KororaError):
        return result(
            check,
            '',
            [
                bad(
                    f'[{known.reason}] {known.message}',
                    'compare [service_auth] with the catalog and the user in '
                    'Keystone; see whether the service runs',
                )
            ],
        )
    status, tier = known.get('status'), known.get('tier')
    problems = []
    if status == 'evicted':
        problems.append(
            bad(
                f'{host} was evicted',
                f'openstack attestation host approve {host}, if it may '
                'come back',
            )
        )
    return result(check, f'answers; {host} is {status}, {tier}', problems)


def service_keys(ring: KeyRing, offered: KeyRing) -> Result:
    """Whether the pinned keys are those that the service signs with."""
    advice = 'bring keys.json from the attestation service again'
    problems = []
    if ring.cloud != offered.cloud:
        problems.append(
            bad('keys.json is of another cloud than the service', advice)
        )
    else:
        pinned = {
            key.kid for key in ring.pinned if key.state is not State.REVOKED
        }
        unknown = [
            key.kid
            for key in offered.pinned
            if key.state is State.ACTIVE and key.kid not in pinned
        ]
        if unknown:
            problems.append(
                bad(
                    f'keys.json lacks active keys of the service: '
                    f'{", ".join(unknown)}',
                    advice,
                )
            )
    return result('service-keys', 'all active ones are pinned', problems)


def bus(brokers: Sequence[Broker] | None) -> Result:
    """Whether each node of the bus lets the agent in.

    :param brokers: None: no bus is configured.
    """
    if brokers is None:
        return result(
            'bus',
            '',
            [warn('not configured', 'set [handover] transport_url')],
        )
    problems = [
        bad(f'{one.place}: {one.fault}', _bus_advice(one.fault))
        for one in brokers
        if one.fault
    ]
    return result('bus', ', '.join(one.place for one in brokers), problems)


def _bus_advice(fault: str) -> str:
    if fault == 'AccessRefused':
        return 'correct user and password in [handover] transport_url'
    if fault == 'NotAllowed':
        return 'make the virtual host, and give the user all rights in it'
    return 'see whether the broker runs, and whether a firewall is between'
