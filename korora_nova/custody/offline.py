# SPDX-License-Identifier: Apache-2.0
"""Approvals for starts while the attestation service cannot be reached."""

from __future__ import annotations

import dataclasses

from korora_nova import errors
from korora_nova.custody.approval import SCHEMA as _APPROVAL
from korora_nova.custody.approval import Approval
from korora_nova.rats import schemas

#: Servers of one host that have such an approval.
MOST = 64
#: Starts for which one serves.
MOST_STARTS = 16

SCHEMA = schemas.closed(
    {
        'approvals': {'type': 'array', 'maxItems': MOST, 'items': _APPROVAL},
        'starts': {'type': 'integer', 'minimum': 0, 'maximum': MOST_STARTS},
        'kept': {'type': 'boolean'},
    }
)


@dataclasses.dataclass(frozen=True)
class Offline:
    """What one attestation gives a host for its offline window.

    :param approvals: one for each server that has one from now on; all
        earlier ones are to be dropped.
    :param starts: how often each serves.
    :param kept: the service could not tell: earlier ones stay as they are,
        until they end.
    """

    approvals: tuple[Approval, ...] = ()
    starts: int = 0
    kept: bool = False

    def to_json(self) -> dict[str, object]:
        return {
            'approvals': [one.to_json() for one in self.approvals],
            'starts': self.starts,
            'kept': self.kept,
        }

    @classmethod
    def from_json(cls, document: object) -> Offline:
        """Read what :meth:`to_json` made.

        :raises Unavailable: SERVICE_UNAVAILABLE, it is malformed.
        """
        if (
            not isinstance(document, dict)
            or schemas.fault(SCHEMA, document) is not None
        ):
            raise errors.Unavailable(
                errors.Reason.SERVICE_UNAVAILABLE,
                'The answer of the attestation service lacks a valid '
                "'offline'.",
            )
        return cls(
            tuple(Approval.from_json(one) for one in document['approvals']),
            int(document['starts']),
            document['kept'],
        )
