# SPDX-License-Identifier: Apache-2.0
"""Grants: a host may hold a new key of a server."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from korora_nova import errors
from korora_nova.custody import documents
from korora_nova.rats import schemas
from korora_nova.rats.signed import keys


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grant(documents.Document):
    """The server's first key here, or a new one after it was given up.

    :param host: may hold it; ``ak`` is the TPM name, hex, of the
        attestation key that asked.
    :param key: what the host calls the key: the TPM name, hex, of the
        object that it is sealed in.
    :param approval_kid: id of the key whose approvals will open it.
    """

    KIND = documents.kind(
        'korora-grant+jwt',
        {
            'host': schemas.HOST,
            'ak': schemas.NAME,
            'key': schemas.NAME,
            'approval_kid': schemas.hex_string(8),
        },
    )
    INVALID = errors.Reason.DOCUMENT_INVALID

    host: str
    ak: str
    key: str
    approval_kid: str

    def holding(self) -> Mapping[str, Any]:
        """See :meth:`.Document.holding`."""
        return {'holder': self.host, 'epoch': self.version, 'claim': self.key}


@dataclasses.dataclass(frozen=True)
class VerifiedGrant(documents.Verified[Grant]):
    """A grant of this cloud's custody key."""

    def check_host(
        self, *, host: str, ak_name: bytes, instance: str, key: str
    ) -> None:
        """The host's checks before it holds the key.

        :raises CustodyError: DOCUMENT_INVALID naming the field.
        """
        expected = {
            'host': host,
            'ak': ak_name.hex(),
            'instance': instance,
            'key': key,
        }
        for field, value in expected.items():
            if getattr(self.content, field) != value:
                raise Grant.refused(
                    f"The grant's {field} differs from what was claimed.",
                    field=field,
                )


def verify_grant(
    token: str, ring: keys.KeyRing, *, incarnation: str | None = None
) -> VerifiedGrant:
    """:raises CustodyError: DOCUMENT_INVALID."""
    return VerifiedGrant(
        documents.verify(Grant, token, ring, incarnation), token
    )
