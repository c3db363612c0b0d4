# SPDX-License-Identifier: Apache-2.0
"""The calls between two agents: a request to wrap, and the transfer.

They travel over a bus that neither end trusts. Before a cold migration the
source asks first: it wants to be asked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from korora_nova import errors
from korora_nova.custody import messages, transcript
from korora_nova.custody.moves import MOVE, Move
from korora_nova.custody.permit import VerifiedPermit
from korora_nova.rats import evidence, schemas
from korora_nova.rats.quote.verify import Quote, verify_quote
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.tpm2.policy import PCRS_POLICY


@dataclasses.dataclass(frozen=True)
class WrapRequest(messages.Message):
    """A destination asks for a server's key.

    :param msk_public: TPM2B_PUBLIC of the key to wrap to.
    :param dest: host that asks.
    """

    SCHEMA = schemas.closed(
        {
            'version': schemas.VERSION,
            'migration': schemas.UUID,
            'instance': schemas.UUID,
            'msk_public': messages.PUBLIC,
            'dest': schemas.HOST,
        }
    )
    BLOBS = ('msk_public',)

    migration: str
    instance: str
    msk_public: bytes
    dest: str


@dataclasses.dataclass(frozen=True)
class PrepareRequest(messages.Message):
    """A source wants a destination to ask for a server's key.

    :param source: host that asks.
    :param kind: COLD or REVERT.
    """

    SCHEMA = schemas.closed(
        {
            'version': schemas.VERSION,
            'migration': schemas.UUID,
            'instance': schemas.UUID,
            'source': schemas.HOST,
            'kind': MOVE,
        }
    )

    migration: str
    instance: str
    source: str
    kind: Move

    @classmethod
    def from_json(cls, document: object) -> PrepareRequest:
        """See :meth:`.Message.from_json`."""
        asked = super().from_json(document)
        return dataclasses.replace(asked, kind=Move(asked.kind))


@dataclasses.dataclass(frozen=True)
class Transfer(messages.Message):
    """A source's answer as it came: nothing in it is verified.

    :param permit: the signed token.
    :param ak_public: TPM2B_PUBLIC of the key that the quote is by; its name
        is in the permit.
    :param public: TPM2B_PUBLIC of the transit object; ``duplicate``
        TPM2B_PRIVATE and ``seed`` TPM2B_ENCRYPTED_SECRET, for TPM2_Import.
    :param envelope: the key, under the key in the transit object.
    :param quote: over all of this; see ``transcript.transfer_qualifying``.
    """

    SCHEMA = schemas.closed(
        {
            'version': schemas.VERSION,
            'permit': schemas.TOKEN,
            'ak_public': messages.PUBLIC,
            'public': messages.PUBLIC,
            'duplicate': messages.BLOB,
            'seed': messages.PUBLIC,
            'envelope': schemas.base64_string(8192),
            'quote': schemas.closed(
                {
                    'attest': messages.BLOB,
                    'signature': messages.PUBLIC,
                    'pcrs': {
                        'type': 'object',
                        'maxProperties': 24,
                        'propertyNames': {
                            'pattern': '^(0|1?[1-9]|10|2[0-3])' + schemas.END
                        },
                        'additionalProperties': schemas.DIGEST,
                    },
                }
            ),
        }
    )

    BLOBS = ('ak_public', 'public', 'duplicate', 'seed', 'envelope')

    permit: str
    ak_public: bytes
    public: bytes
    duplicate: bytes
    seed: bytes
    envelope: bytes
    quote: Quote

    def to_json(self) -> dict[str, object]:
        """The object, in the order of the fields."""
        return {
            **super().to_json(),
            'quote': {
                'attest': messages.b64(self.quote.attest),
                'signature': messages.b64(self.quote.signature),
                'pcrs': {
                    str(index): value.hex()
                    for index, value in self.quote.pcrs.items()
                },
            },
        }

    @classmethod
    def from_json(cls, document: object) -> Transfer:
        """Read what :meth:`to_json` made.

        :raises CustodyError: TRANSFER_INVALID.
        """
        try:
            fields = messages.validate(document, cls.SCHEMA)
            return cls(
                permit=fields['permit'],
                quote=_quote(fields['quote']),
                **{
                    name: messages.base64_field(fields[name], name)
                    for name in cls.BLOBS
                },
            )
        except errors.Invalid as exc:
            raise errors.CustodyError(
                errors.Reason.TRANSFER_INVALID, details={'what': str(exc)}
            ) from None

    def verify_source(self, permit: VerifiedPermit) -> None:
        """The permit's source, in its attested state, sent just this.

        :raises EvidenceError: the quote, or the key that it is by.
        :raises CustodyError: PERMIT_MISMATCH, TRANSFER_INVALID.
        """
        content = permit.content
        ak = objects.parse_public(self.ak_public)
        if ak.name.hex() != content.ak_source:
            raise errors.CustodyError(
                errors.Reason.PERMIT_MISMATCH,
                details={'field': 'ak_source'},
            )
        objects.check_ak(ak)
        qualifying = transcript.transfer_qualifying(
            self.permit,
            self.public,
            self.duplicate,
            self.seed,
            self.envelope,
        )
        verified = verify_quote(self.quote, ak, qualifying, PCRS_POLICY)
        if verified.policy_pcr_digest.hex() != content.source_pcr_digest:
            raise errors.CustodyError(
                errors.Reason.TRANSFER_INVALID,
                'The source is not in the state in which it was attested.',
            )
        objects.check_transit(
            objects.parse_public(self.public), permit.transit_policy
        )


def _quote(fields: Mapping[str, Any]) -> Quote:
    return Quote(
        messages.base64_field(fields['attest'], 'attest'),
        messages.base64_field(fields['signature'], 'signature'),
        evidence.pcrs_from_json(fields['pcrs']),
    )
