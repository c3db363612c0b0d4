# SPDX-License-Identifier: Apache-2.0
"""What a policy would make of the fleet, gathered page by page."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

from osc_lib import exceptions

from korora_nova import client
from korora_nova.osc import base, progress
from korora_nova.rats.words import Tier

#: Names of hosts in a sentence.
SHOWN = 8

#: Asks for the page behind a marker; '' is the first.
Ask = Callable[[str], client.Answer]


@dataclasses.dataclass(frozen=True)
class Fleet:
    """The hosts that a policy was tried on, by name.

    :param hosts: how many there are.
    :param satisfied: for how many of them it holds.
    :param would_fall: affirming now, and it does not hold.
    :param unknown: affirming now, and what they showed cannot be judged.
    :param untrusted: neither now, nor under the policy; or not attested yet.
    :param reasons: reason id to the hosts that have it, most hosts first.
    """

    hosts: int
    satisfied: int
    would_fall: Sequence[str]
    unknown: Sequence[str]
    untrusted: Sequence[str]
    reasons: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, answers: Iterable[client.Answer]) -> Fleet:
        """Read pages of verdicts."""
        verdicts = {
            str(one.get('host')): one
            for answer in answers
            for one in answer.objects('hosts')
        }
        places: dict[str, list[str]] = {name: [] for name in _PLACES}
        reasons: dict[str, list[str]] = {}
        for host, one in sorted(verdicts.items()):
            if one.get('satisfied') is True:
                continue
            places[_place(one)].append(host)
            for reason in one.member('reasons'):
                reasons.setdefault(str(reason), []).append(host)
        bad = sum(map(len, places.values()))
        most_first = sorted(
            reasons.items(), key=lambda one: (-len(one[1]), one[0])
        )
        return cls(
            len(verdicts),
            len(verdicts) - bad,
            reasons=dict(most_first),
            **places,
        )

    def sentences(self) -> list[str]:
        """For people."""
        said = [
            f'Hosts that the policy was tried on: {self.hosts}. It holds for '
            f'{self.satisfied}.'
        ]
        for field, what in _PLACES.items():
            hosts = getattr(self, field)
            if hosts:
                said.append(f'{what}: {_names(hosts)}.')
        return [*said, *self._by_reason()]

    def record(self) -> dict[str, object]:
        """As fields of a record."""
        return {
            **vars(self),
            'reasons': base.Sentences(self._by_reason(), dict(self.reasons)),
        }

    def _by_reason(self) -> list[str]:
        return [
            f'{reason}: {_names(hosts)}'
            for reason, hosts in self.reasons.items()
        ]


_PLACES = {
    'would_fall': 'Trusted now, and would not be',
    'unknown': 'Trusted now, but what they showed cannot be judged',
    'untrusted': 'Not trusted now, nor under the policy',
}


def pages(ask: Ask) -> list[client.Answer]:
    """All of them.

    :raises exceptions.CommandError: they come round again: what was not
        looked at must not count as good.
    """
    found: list[client.Answer] = []
    asked: set[str] = set()
    marker = ''
    while not found or marker:
        if marker in asked:
            raise exceptions.CommandError(
                f'The service gives the hosts after {marker} again and again.'
            )
        asked.add(marker)
        found.append(ask(marker))
        tried = sum(len(one.objects('hosts')) for one in found)
        progress.at(f'{tried} hosts so far')
        marker = str(found[-1].get('next') or '')
    return found


def _place(host: client.Answer) -> str:
    if host.get('tier') != Tier.AFFIRMING:
        return 'untrusted'
    return 'unknown' if host.get('satisfied') is None else 'would_fall'


def _names(hosts: Sequence[str]) -> str:
    """The number of hosts, and the first of them."""
    more = f' and {len(hosts) - SHOWN} more' if len(hosts) > SHOWN else ''
    return f'{len(hosts)} ({", ".join(hosts[:SHOWN])}{more})'
