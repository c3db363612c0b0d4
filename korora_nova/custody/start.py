# SPDX-License-Identifier: Apache-2.0
"""Starts: the memory stream of a hand-over may begin."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from korora_nova import errors
from korora_nova.custody import documents
from korora_nova.rats import schemas
from korora_nova.rats.signed import keys


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start(documents.Document):
    """Both ends have acknowledged: D has the key sealed, S is to stream.

    ``prev`` is the permit.

    :param migration: the permit's; ``source`` is its host, and ``epoch``
        that of the source's key.
    """

    KIND = documents.kind(
        'korora-start+jwt',
        {
            'migration': schemas.UUID,
            'source': schemas.HOST,
            'epoch': schemas.EPOCH,
        },
    )
    INVALID = errors.Reason.DOCUMENT_INVALID

    migration: str
    source: str
    epoch: int

    @property
    def subject(self) -> str:
        """See :attr:`.Document.subject`."""
        return self.migration

    def holding(self) -> Mapping[str, Any]:
        """See :meth:`.Document.holding`."""
        return {
            'holder': self.source,
            'epoch': self.epoch,
            'pending': self.migration,
        }

    def check(self) -> None:
        """See :meth:`.Document.check`."""
        super().check()
        if self.epoch >= self.version - 1:
            raise self.refused('The start contradicts itself.')


@dataclasses.dataclass(frozen=True)
class VerifiedStart(documents.Verified[Start]):
    """A start of this cloud's custody key."""

    def check_source(self, *, instance: str, permit_hash: str) -> None:
        """The source's check before it calls libvirt.

        :raises CustodyError: DOCUMENT_INVALID, it is for another permit.
        """
        found = self.content.instance, self.content.prev
        if found != (instance, permit_hash):
            raise Start.refused('The start is for another hand-over.')


def verify_start(
    token: str, ring: keys.KeyRing, *, incarnation: str | None = None
) -> VerifiedStart:
    """:raises CustodyError: DOCUMENT_INVALID."""
    return VerifiedStart(
        documents.verify(Start, token, ring, incarnation), token
    )
