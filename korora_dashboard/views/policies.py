# SPDX-License-Identifier: Apache-2.0
"""Policies and references, and what a policy would do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from korora_dashboard import words
from korora_dashboard.views import base
from korora_nova import client


class Policies(base.Page):
    """What counts as good."""

    title = gettext_lazy('Policies and references')
    template, tab = 'policies', 'policies'

    def data(self, **_kwargs: Any) -> dict[str, Any]:
        """See :meth:`.Page.data`."""
        api = self.api
        return {
            'policies': [
                {
                    'name': words.text(one.get('name')),
                    'revision': words.text(one.get('revision')),
                    'hosts': ', '.join(
                        map(str, words.items(one.get('hosts')))
                    ),
                    'rules': ', '.join(
                        map(str, words.items(one.get('rules')))
                    ),
                    'updated': words.moment(one.get('updated_at')),
                    'dry_run': self.place('dry_run', one.get('name')),
                }
                for one in api.list_policies()
            ],
            'exact': self.place('dry_run', 'exact'),
            'references': [
                {
                    'name': words.text(one.get('name')),
                    'host': words.text(one.get('host')),
                    'created': words.moment(one.get('created_at')),
                    'files': words.text(one.get('ima_digest_count')),
                    'components': words.text(one.get('components')),
                }
                for one in api.list_references()
            ],
            'may_learn': self.may('references:create'),
            'learn': self.place('create_reference'),
            'may_try': self.may('policies:propose'),
            'try_policy': self.place('try_policy'),
        }


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the policy would make of a host.

    :param effect: of putting it in force.
    """

    host: str
    url: str
    tier: words.Mark
    effect: words.Mark
    reasons: list[words.Reason]


def verdicts(page: base.Page, found: client.Answer) -> Sequence[Verdict]:
    """Of one page of the service's answer; what would fall comes first."""
    listed = [
        Verdict(
            words.text(one.get('host')),
            page.place('host', one.get('host')),
            words.mark(words.TIERS, one.get('tier')),
            _effect(one),
            words.reasons(one.get('reasons')),
        )
        for one in found.objects('hosts')
    ]
    return sorted(listed, key=lambda one: (one.effect.look, one.host))


def _effect(one: Mapping[str, Any]) -> words.Mark:
    trusted = one.get('tier') == 'affirming'
    if one.get('satisfied') is True:
        return words.Mark(_('It holds'), words.GOOD, '\u2713')
    if one.get('satisfied') is None:
        return words.Mark(_('Not known'), words.UNSURE, '!')
    if trusted:
        return words.Mark(_('The host would fall'), words.BAD, '\u2717')
    return words.Mark(_('Not trusted now either'), words.IDLE, '\u25cb')


class DryRun(base.Page):
    """A stored policy, tried on the fleet; nothing changes."""

    template, tab = 'dry_run', 'policies'
    long = True

    def data(self, policy: str, **_kwargs: Any) -> dict[str, Any]:
        """See :meth:`.Page.data`."""
        everyone = self.request.GET.get('all') == 'true'
        found = self.api.check_policy(
            policy,
            everyone=everyone,
            marker=self.request.GET.get('marker', ''),
        )
        return {
            'page_title': _('Dry run of policy %(name)s') % {'name': policy},
            'verdicts': verdicts(self, found),
            'next': words.text(found['next']) if found.get('next') else '',
            'everyone': everyone,
            'back': self.place('policies'),
        }
