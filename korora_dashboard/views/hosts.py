# SPDX-License-Identifier: Apache-2.0
"""Hosts, and one host."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from korora_dashboard import proofs, words
from korora_dashboard.views import base
from korora_nova import client, errors
from korora_nova.osc import diagnosis

#: Policies that a host is compared with on one page.
COMPARED = 4


@dataclasses.dataclass(frozen=True)
class Row:
    """A host in the list."""

    name: str
    url: str
    status: words.Mark
    tier: words.Mark
    reasons: list[words.Reason]
    age: str
    at: str
    enforcing: str


class Hosts(base.Page):
    """Every host, with its tier and why."""

    title = gettext_lazy('Attestation')
    template, tab = 'hosts', 'index'

    def data(self, **_kwargs: Any) -> dict[str, Any]:
        """See :meth:`.Page.data`."""
        now = time.time()
        asked = self.request.GET
        name, tier = asked.get('name', ''), asked.get('tier', '')
        found = [
            host
            for host in self.api.list_hosts()
            if name in str(host.get('name'))
            and tier in ('', host.get('tier'), host.get('status'))
        ]
        found.sort(key=lambda one: str(one.get('name')))
        listed = self.rows(found)
        listed['rows'] = [self._row(one, now) for one in listed['rows']]
        return {
            **listed,
            'total': words.count(len(found)),
            'name': name,
            'tier': tier,
            'tiers': [
                *words.TIERS.items(),
                ('pending', words.STATUSES['pending']),
                ('evicted', words.STATUSES['evicted']),
            ],
            'may_learn': self.may('references:create'),
            'learn': self.place('create_reference'),
        }

    def _row(self, host: Mapping[str, Any], now: float) -> Row:
        name = words.text(host.get('name'))
        return Row(
            name,
            self.place('host', name),
            words.mark(words.STATUSES, host.get('status')),
            words.mark(words.TIERS, host.get('tier')),
            words.reasons(host.get('reasons')),
            words.age(host.get('last_attested'), now),
            words.moment(host.get('last_attested')),
            words.yes(host.get('enforcing')),
        )


@dataclasses.dataclass(frozen=True)
class Check:
    """One line of the diagnosis."""

    mark: words.Mark
    id: str
    text: str
    advice: str


@dataclasses.dataclass(frozen=True)
class Difference:
    """What the policy wants, beside what the host has shown."""

    rule: str
    reason: str
    wanted: str
    shown: str
    advice: str


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A host beside one policy.

    :param refused: why they could not be compared.
    """

    policy: str
    measured: str
    differences: list[Difference]
    refused: str = ''


class Host(base.Page):
    """All that is known of a host, and what to do."""

    template, tab = 'host', 'index'

    def data(self, host: str, **_kwargs: Any) -> dict[str, Any]:
        """See :meth:`.Page.data`."""
        api = self.api
        shown = api.get_host(host)
        result = _or_why(lambda: api.get_result(host))
        keys = base.trusted(api)
        proof, claims = _proof(host, result, keys)
        return {
            'page_title': _('Host %(host)s') % {'host': host},
            'host': shown,
            'status': words.mark(words.STATUSES, shown.get('status')),
            'tier': words.mark(words.TIERS, shown.get('tier')),
            'reasons': words.reasons(shown.get('reasons'), _sentences(result)),
            'attested': words.moment(shown.get('last_attested')),
            'age': words.age(shown.get('last_attested'), time.time()),
            'checks': list(_checks(api, shown, result, claims)),
            'proof': proof,
            'comparisons': [
                _compare(api, str(name), host)
                for name in self._policies(shown)
            ],
            'may_approve': self.may('hosts:approve')
            and shown.get('status') in ('pending', 'evicted'),
            'approve': self.place('approve', host),
            'may_learn': self.may('references:create')
            and shown.get('last_attested') is not None,
            'learn': self.place('create_reference'),
            **base.keyed(keys),
        }

    def _policies(self, host: Mapping[str, Any]) -> list[Any]:
        asked = self.request.GET.get('policy')
        if asked:
            return [asked]
        return words.items(host.get('policies'))[:COMPARED]


def _or_why(ask: Any) -> Any:
    try:
        return ask()
    except errors.KororaError as exc:
        return exc


def _proof(
    host: str, result: Any, keys: proofs.Trust | str
) -> tuple[proofs.Proof, Mapping[str, Any]]:
    """The signed result, and the times in it if it is verified."""
    title = _('Attestation result')
    if isinstance(result, errors.KororaError):
        return proofs.Proof(title, str(result)), {}
    if isinstance(keys, str):
        return proofs.Proof(title, keys), {}
    proof, found = proofs.result_of(host, result.get('token'), keys)
    if found is None:
        return proof, {}
    return proof, {'iat': found.result.issued, 'exp': found.result.expires}


def _sentences(result: Any) -> dict[str, str]:
    """What the last attestation found, by reason."""
    if isinstance(result, errors.KororaError):
        return {}
    found: dict[str, str] = {}
    for one in words.objects(result.get('findings')):
        found.setdefault(str(one.get('reason')), str(one.get('message')))
    return found


def _checks(
    api: client.AttestationClient,
    host: client.Answer,
    result: Any,
    claims: Mapping[str, Any],
) -> Iterator[Check]:
    """As ``openstack attestation host diagnose`` says it."""
    name = str(host.get('name'))
    known = diagnosis.Known(
        host,
        result,
        claims,
        _or_why(lambda: api.list_servers(issues=True, holder=name)),
        0.0,
        '',
        time.time(),
    )
    for one in diagnosis.diagnose(known):
        if one.id == 'clock':
            # Of the machine that asks: here nobody's.
            continue
        yield Check(
            words.mark(words.LEVELS, one.level.word),
            one.id,
            one.text,
            one.advice,
        )


def _compare(
    api: client.AttestationClient, policy: str, host: str
) -> Comparison:
    found = _or_why(lambda: api.policy_differences(policy, host))
    if isinstance(found, errors.KororaError):
        return Comparison(policy, words.DASH, [], str(found))
    return Comparison(
        policy,
        words.moment(found.get('measured_at')),
        [
            Difference(
                words.text(one.get('rule')),
                words.text(one.get('reason')),
                words.text(one.get('last_good')),
                words.text(one.get('what')),
                words.text(one.get('advice')),
            )
            for one in found.objects('differences')
        ],
    )
