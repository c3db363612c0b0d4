# SPDX-License-Identifier: Apache-2.0
"""Responses to lost trust, and what an operator decides about them."""

from __future__ import annotations

from collections.abc import Iterator

from korora_nova.client.http import LONG_TIMEOUT, Answer, Calls, path


class ResponseCalls(Calls):
    """What korora-enforcer does; each order takes a reason."""

    def response_pages(
        self,
        *,
        every: bool = False,
        host: str | None = None,
        state: str | None = None,
        driver: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Answer]:
        """Responses, page by page, the newest first.

        Each page says whether responses are on ``hold`` (an object or None),
        and who is the ``leader``.

        :param every: those that are over, too.
        """
        return self._pages(
            'responses',
            {
                'all': 'true' if every else None,
                'host': host,
                'limit': str(limit) if limit else None,
            },
            state=state,
            driver=driver,
        )

    def list_responses(
        self, *, every: bool = False, host: str | None = None
    ) -> list[Answer]:
        return [
            response
            for page in self.response_pages(every=every, host=host)
            for response in page.objects('responses')
        ]

    def get_response(self, id: str) -> Answer:
        """:raises NotFound: RESPONSE_UNKNOWN."""
        return self._get(path('responses', id))

    def approve_response(self, id: str, reason: str) -> Answer:
        """:raises Conflict: RESPONSE_STATE."""
        return self._decide(reason, id, 'approve')

    def reject_response(self, id: str, reason: str) -> Answer:
        """:raises Conflict: RESPONSE_STATE."""
        return self._decide(reason, id, 'reject')

    def revert_response(self, id: str, reason: str) -> Answer:
        """:raises Conflict: RESPONSE_STATE."""
        return self._decide(reason, id, 'revert')

    def revert_responses(self, reason: str) -> Answer:
        """Undo all that is open, and hold what comes.

        :returns: a page of what was open.
        """
        return self._decide(reason, 'revert')

    def resume_responses(self, reason: str) -> Answer:
        """Hold responses no more."""
        return self._decide(reason, 'resume')

    def _decide(self, reason: str, *parts: str) -> Answer:
        # There may be some for each host of a large cloud.
        return self._send(
            'POST',
            path('responses', *parts),
            {'reason': reason},
            timeout=LONG_TIMEOUT,
        )
