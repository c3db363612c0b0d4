# SPDX-License-Identifier: Apache-2.0
"""What is told to others about a host's trust: events and their payload.

=======================  ========================================
event                    when
=======================  ========================================
``host.trust.lost``      a host has lost its trust
``host.trust.regained``  it is trusted again, or an operator took
                         the response back
``responses.held``       too many hosts are bad: an operator has
                         to decide
``responses.resumed``    one did
=======================  ========================================

The version of the payload is MAJOR.MINOR: readers take any newer MINOR. An
event may come twice, then with the same ``id``.
"""

from __future__ import annotations

import dataclasses
import datetime
import uuid

from korora_nova.verifier.responses.words import FLEET, Response

VERSION = '1.0'
_NAMES = {
    (False, False): ('host.trust.lost', 'WARN'),
    (False, True): ('host.trust.regained', 'INFO'),
    (True, False): ('responses.held', 'ERROR'),
    (True, True): ('responses.resumed', 'INFO'),
}


@dataclasses.dataclass(frozen=True)
class Event:
    """One thing to tell.

    :param id: the same each time that it is told.
    :param level: a priority of oslo.messaging.
    """

    id: str
    type: str
    level: str
    response: Response

    def payload(self) -> dict[str, object]:
        """In the form of oslo.versionedobjects."""
        told = self.response
        return {
            'korora_object.name': 'TrustPayload',
            'korora_object.namespace': 'korora',
            'korora_object.version': VERSION,
            'korora_object.data': {
                'event': self.type,
                'id': self.id,
                'response': told.id,
                'host': None if told.host == FLEET else told.host,
                'reasons': list(told.reasons),
                'message': told.why,
                'decided_at': datetime.datetime.fromtimestamp(
                    told.updated_at, datetime.timezone.utc
                ).isoformat(),
            },
        }


def of(response: Response, *, undone: bool) -> Event:
    """What a response, or its end, is told as."""
    name, level = _NAMES[response.host == FLEET, undone]
    made = uuid.uuid5(uuid.UUID(response.id), f'{name} {response.updated_at}')
    return Event(str(made), name, level, response)
