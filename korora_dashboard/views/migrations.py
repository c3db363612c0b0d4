# SPDX-License-Identifier: Apache-2.0
"""Hand-overs of keys, and one hand-over."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from korora_dashboard import ends, proofs, timeline, words
from korora_dashboard.views import base
from korora_nova import client, errors


@dataclasses.dataclass(frozen=True)
class Row:
    """A hand-over in the list."""

    id: str
    url: str
    server: str
    source: str
    dest: str
    kind: str
    status: words.Mark
    created: str
    taint: list[words.Reason]


class Migrations(base.Page):
    """The newest hand-overs."""

    title = gettext_lazy('Migrations')
    template, tab = 'migrations', 'migrations'

    def data(self, **_kwargs: Any) -> dict[str, Any]:
        """See :meth:`.Page.data`."""
        asked = self.request.GET
        status, host = asked.get('status', ''), asked.get('host', '')
        found = [
            one
            for one in self.api.list_migrations()
            if status in ('', one.get('status'))
            and (
                not host
                or host in str(one.get('source'))
                or host in str(one.get('dest'))
            )
        ]
        listed = self.rows(found)
        listed['rows'] = [self._row(one) for one in listed['rows']]
        return {
            **listed,
            'total': words.count(len(found)),
            'status': status,
            'host': host,
            'statuses': words.MOVES.items(),
        }

    def _row(self, one: Mapping[str, Any]) -> Row:
        return Row(
            str(one['id']),
            self.place('migration', uuid.UUID(str(one['id']))),
            words.text(one.get('instance')),
            words.text(one.get('source')),
            words.text(one.get('dest')),
            words.text(one.get('kind')),
            words.mark(words.MOVES, one.get('status')),
            words.moment(one.get('created_at')),
            words.reasons(one.get('taint')),
        )


class Migration(base.Page):
    """What both ends proved, what was signed, and in which order."""

    template, tab = 'migration', 'migrations'

    def data(self, migration: uuid.UUID, **_kwargs: Any) -> dict[str, Any]:
        """See :meth:`.Page.data`."""
        api = self.api
        shown = api.get_migration(str(migration), documents=True)
        keys = base.trusted(api)
        signed = (
            proofs.HandOver([])
            if isinstance(keys, str)
            else proofs.hand_over(shown, keys.ring)
        )
        found = timeline.events(shown, signed)
        return {
            'page_title': _('Migration %(id)s') % {'id': migration},
            'migration': shown,
            'status': words.mark(words.MOVES, shown.get('status')),
            'taint': words.reasons(shown.get('taint')),
            'proofs': signed.proofs,
            'untold': 'documents' not in shown,
            'ends': ends.compare(shown, signed, _hosts(api, shown)),
            'drawing': timeline.draw(found, _lanes(shown)),
            'server': self._server(shown),
            **base.keyed(keys),
        }

    def _server(self, shown: Mapping[str, Any]) -> str:
        return self.place('server', uuid.UUID(str(shown['instance'])))


def _lanes(shown: Mapping[str, Any]) -> dict[timeline.Lane, str]:
    return {
        timeline.Lane.SOURCE: _('Source'),
        timeline.Lane.SERVICE: _('Service'),
        timeline.Lane.DEST: _('Destination'),
    }


def _hosts(
    api: client.AttestationClient, shown: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """Both ends as the service knows them now, as far as it does."""
    found: dict[str, Mapping[str, Any]] = {}
    for end in ('source', 'dest'):
        name = str(shown.get(end))
        try:
            found[name] = api.get_host(name)
        except errors.KororaError:
            # Forgotten since; the page says that it is not known.
            continue
    return found
