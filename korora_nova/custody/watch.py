# SPDX-License-Identifier: Apache-2.0
"""What a source is told of a stream that is under way: to end it, or not.

The guest comes first: only news end a stream. That none come, because the
service or its database is down, does not; nor does one end's silence for as
long as the service may just have been out of reach for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from korora_nova import errors
from korora_nova.custody import messages
from korora_nova.custody.exchange import malformed_answer
from korora_nova.rats import schemas

_R = errors.Reason

#: Longest that the service keeps a request, seconds.
MAX_WAIT = 30.0
#: What a host that says nothing is found to be.
SILENCE = frozenset((_R.RESULT_EXPIRED, _R.ENFORCER_ABSENT))


@dataclasses.dataclass(frozen=True)
class Watched:
    """The service's word on a stream under way.

    :param reason: reason id, why it is to end; '' if it may go on.
    :param host: the end that is the cause; '' if neither is.
    :param reasons: why that host is not trusted, reason ids.
    :param retry_after: seconds after which to ask again.
    """

    reason: str = ''
    host: str = ''
    reasons: tuple[str, ...] = ()
    retry_after: float = 0.0

    @classmethod
    def lost(cls, host: str, reasons: Collection[str]) -> Watched:
        """A host at one end is not trusted any more."""
        return cls(_R.TRUST_LOST_IN_FLIGHT, host, tuple(sorted(reasons)))

    @property
    def ends(self) -> bool:
        """Whether the stream is to end."""
        return bool(self.reason)

    @property
    def is_silence(self) -> bool:
        """Whether all that is wrong is that a host was not heard."""
        return bool(self.reasons) and set(self.reasons) <= SILENCE

    def to_json(self) -> dict[str, object]:
        return {**vars(self), 'reasons': list(self.reasons)}

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Watched:
        """Read what :meth:`to_json` made.

        :raises Unavailable: SERVICE_UNAVAILABLE, it is something else.
        """
        try:
            fields = messages.validate(dict(document), _SCHEMA)
        except errors.Invalid:
            raise malformed_answer('reason') from None
        return cls(
            fields['reason'],
            fields['host'],
            tuple(fields['reasons']),
            float(fields['retry_after']),
        )


# Open: the service may come to say more.
_SCHEMA = {
    **schemas.closed(
        {
            'reason': schemas.text(64, 0),
            'host': schemas.text(255, 0),
            'reasons': {
                'type': 'array',
                'maxItems': 64,
                'items': schemas.text(64),
            },
            'retry_after': {'type': 'number', 'minimum': 0, 'maximum': 60},
        }
    ),
    'additionalProperties': True,
}
