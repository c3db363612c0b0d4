# SPDX-License-Identifier: Apache-2.0
"""A policy that is proposed from hosts: what comes of it, for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from osc_lib import exceptions

from korora_nova import client
from korora_nova.osc import base, documents, fleet, steps


@dataclasses.dataclass(frozen=True)
class Learned:
    """A reference that is made with a policy, as the request has it.

    :param digest: of what was seen of the host.
    :param untrusted: it is learned from although it is not affirming.
    """

    host: str
    name: str
    digest: str
    untrusted: bool


def golden(first: client.Answer, untrusted: bool) -> list[Learned]:
    """What is learned when the policy is created.

    :param first: page of the proposal.
    :param untrusted: learn also from hosts that are not affirming.
    :raises exceptions.CommandError: one of them is not.
    """
    found = []
    for one in first.objects('golden'):
        host = str(one.get('host'))
        if not one.get('admitted') and not untrusted:
            reasons = ' '.join(map(str, one.member('reasons')))
            raise exceptions.CommandError(
                f'[HOST_UNTRUSTED] The host {host} is not affirming '
                f'({reasons}): what it is would count as good. Leave it out, '
                'or check it by hand and give --untrusted.'
            )
        found.append(
            Learned(
                host,
                f'{first.get("policy")}-{host}',
                str(one.get('digest')),
                untrusted,
            )
        )
    return found


def sentences(
    document: Mapping[str, object], answers: Sequence[client.Answer]
) -> list[str]:
    """What would be created, and what it would do."""
    first = answers[0]
    wanted = client.Answer({'hosts': ['*'], **document})
    patterns = ', '.join(map(str, wanted.member('hosts')))
    rules = ', '.join(
        str(name) for rule in wanted.objects('rules') for name in rule
    )
    return [
        f'Policy {first.get("policy")} for the hosts {patterns}.',
        f'Rules: {rules}.',
        *_learned(first),
        *_differences(first),
        *fleet.Fleet.of(answers).sentences(),
    ]


def record(
    document: Mapping[str, object], answers: Sequence[client.Answer]
) -> base.Record:
    """The answer to --dry-run."""
    first = answers[0]
    return base.record(
        {
            'name': first.get('policy'),
            'document': documents.DocumentColumn(dict(document)),
            'golden': base.Sentences(_learned(first), first.get('golden')),
            'differences': base.Sentences(
                _differences(first), first.get('differences')
            ),
            **fleet.Fleet.of(answers).record(),
        }
    )


def confirm(
    document: Mapping[str, object], answers: Sequence[client.Answer]
) -> None:
    """Show it, and ask.

    :raises exceptions.CommandError: it is not confirmed.
    """
    said = sentences(document, answers)
    steps.confirm(client.Answer({'consequences': said}))


def _learned(first: client.Answer) -> list[str]:
    found = []
    for one in first.objects('golden'):
        reasons = ' '.join(map(str, one.member('reasons')))
        found.append(
            f'Reference {first.get("policy")}-{one.get("host")}: what '
            f'{one.get("host")} ({one.get("tier")}'
            f'{": " + reasons if reasons else ""}) has shown since '
            f'{base.when(one.get("measured_at"))}.'
        )
    return found


def _differences(first: client.Answer) -> list[str]:
    """For each component that differs, who has what."""
    found = []
    for one in first.objects('differences'):
        hosts: dict[str, list[str]] = {}
        for host, value in dict(one.get('values') or {}).items():
            hosts.setdefault(str(value), []).append(str(host))
        lines = (
            f'  {", ".join(sorted(same))}: {value}'
            for value, same in hosts.items()
        )
        found.append(
            '\n'.join([f'Either is good: {one.get("component")}', *lines])
        )
    return found
