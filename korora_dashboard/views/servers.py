# SPDX-License-Identifier: Apache-2.0
"""Protected servers, and one server."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from korora_dashboard import words
from korora_dashboard.views import base


@dataclasses.dataclass(frozen=True)
class Row:
    """A server in the list."""

    id: str
    url: str
    state: words.Mark
    holder: str
    holder_url: str
    epoch: str
    issues: list[str]


class Servers(base.Page):
    """Who holds the key of which server."""

    title = gettext_lazy('Servers')
    template, tab = 'servers', 'servers'

    def data(self, **_kwargs: Any) -> dict[str, Any]:
        """See :meth:`.Page.data`; one page of the service's."""
        asked = self.request.GET
        issues, holder = asked.get('issues') == 'true', asked.get('holder', '')
        page = next(
            self.api.server_pages(
                issues=issues,
                holder=holder or None,
                limit=base.PER_PAGE,
                marker=asked.get('marker', ''),
            )
        )
        return {
            'rows': [row(self, one) for one in page.objects('servers')],
            'issues': issues,
            'holder': holder,
            'next': words.text(page['next']) if page.get('next') else '',
            'unasked': issues and not page.get('nova'),
        }


class Server(base.Page):
    """One server, its documents, and the ways out of its state."""

    template, tab = 'server', 'servers'

    def data(self, server: uuid.UUID, **_kwargs: Any) -> dict[str, Any]:
        """See :meth:`.Page.data`."""
        shown = self.api.get_server(str(server))
        last = shown.get('migration')
        return {
            'page_title': _('Server %(id)s') % {'id': server},
            'row': row(self, shown),
            'ends': [_end(one) for one in words.objects(shown.get('ends'))],
            'documents': [
                {**one, 'stored': words.moment(one.get('stored_at'))}
                for one in words.objects(shown.get('documents'))
            ],
            'exits': words.objects(shown.get('exits')),
            'refused': shown.get('refused'),
            'migration': self.place('migration', uuid.UUID(str(last['id'])))
            if isinstance(last, dict)
            else '',
        }


def row(page: base.Page, one: Mapping[str, Any]) -> Row:
    """A server as the service tells it."""
    holder = one.get('holder')
    return Row(
        str(one['instance']),
        page.place('server', uuid.UUID(str(one['instance']))),
        words.mark(words.KEYS, one.get('state')),
        words.text(holder),
        page.place('host', holder) if holder else '',
        words.text(one.get('epoch')),
        [
            words.text(issue.get('message'))
            for issue in words.objects(one.get('issues'))
        ],
    )


def _end(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        'role': {
            'holder': _('Holder'),
            'source': _('Source'),
            'dest': _('Destination'),
        }.get(str(one.get('role')), words.text(one.get('role'))),
        'host': words.text(one.get('host')),
        'tier': words.mark(words.TIERS, one.get('tier')),
        'heard': words.moment(one.get('last_heard')),
        'copy': words.text(one.get('copy')),
        'word': words.text(one.get('word')),
    }
