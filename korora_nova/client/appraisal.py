# SPDX-License-Identifier: Apache-2.0
"""Reference values and policies: what counts as good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib import parse as urls

from korora_nova.client.http import LONG_TIMEOUT, Answer, Calls, parse, path


class AppraisalCalls(Calls):
    """Reference values and policies."""

    # Reference values

    def create_reference(self, name: str, host: str) -> Answer:
        return self._send(
            'POST', '/v1/references', {'name': name, 'host': host}
        )

    def list_references(self, *, host: str | None = None) -> list[Answer]:
        """:param host: only those that were learned from it."""
        return self._list('references', host=host)

    def get_reference(self, name: str) -> Answer:
        return self._get(path('references', name))

    def delete_reference(self, name: str) -> None:
        self._request('DELETE', path('references', name))

    # Policies

    def create_policy(
        self,
        document: Mapping[str, object],
        learn: Sequence[Mapping[str, object]] = (),
    ) -> Answer:
        """Add a policy under the name in its document.

        :param learn: hosts to make references of with it, each with
            ``host``, the ``name`` of the reference, the ``digest`` that a
            proposal gave, and ``untrusted`` if the host may not be affirming.
        :raises Invalid: POLICY_INVALID; details give the JSON ``pointer``.
        :raises Conflict: POLICY_CONFLICT, the name is taken.
        """
        return self._send(
            'POST',
            '/v1/policies',
            {
                'document': document,
                **({'learn': [dict(one) for one in learn]} if learn else {}),
            },
            timeout=LONG_TIMEOUT,
        )

    def propose_policy(
        self,
        document: Mapping[str, object],
        learn: Sequence[str] = (),
        *,
        everyone: bool = False,
        marker: str = '',
    ) -> Answer:
        """Try a document on a page of hosts; nothing is stored.

        :param learn: hosts whose state would be learned for it.
        :param everyone: also hosts that it does not name.
        :param marker: the ``next`` of the page before.
        :returns: ``golden``, ``differences``, ``hosts`` and ``next``.
        """
        return self._send(
            'POST',
            '/v1/policy-proposals',
            {
                'document': document,
                'learn': list(learn),
                'all': everyone,
                'marker': marker,
            },
            timeout=LONG_TIMEOUT,
        )

    def check_policy(
        self, name: str, *, everyone: bool = False, marker: str = ''
    ) -> Answer:
        """Try a stored policy on a page of hosts; see `propose_policy`."""
        query = {'all': 'true' if everyone else 'false'}
        if marker:
            query['marker'] = marker
        return parse(
            self._request(
                'GET',
                path('policies', name, 'check') + '?' + urls.urlencode(query),
                LONG_TIMEOUT,
            )
        )

    def list_policies(self, *, host: str | None = None) -> list[Answer]:
        """Policies without their documents.

        :param host: only those that judge it.
        """
        return self._list('policies', host=host)

    def get_policy(self, name: str) -> Answer:
        """A policy with its ``document``; 'exact' is the built-in one."""
        return self._get(path('policies', name))

    def update_policy(
        self, name: str, document: Mapping[str, object], revision: int
    ) -> Answer:
        """Replace the document of a policy that was seen at a revision.

        :raises Conflict: POLICY_CONFLICT, there is a newer one.
        """
        return self._send(
            'PUT',
            path('policies', name),
            {'document': document, 'revision': revision},
            timeout=LONG_TIMEOUT,
        )

    def delete_policy(self, name: str) -> None:
        self._request('DELETE', path('policies', name))

    def policy_differences(self, name: str, host: str) -> Answer:
        """What keeps a host's last evidence from satisfying a policy."""
        return self._get(path('policies', name, 'differences', host))
