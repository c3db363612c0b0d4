# SPDX-License-Identifier: Apache-2.0
"""Documents: each change of a server's custody, signed by the service.

Those of one server are versions 1, 2, 3, ...; each names the digest of the
one before it and says the whole of the ledger's row after it. The kinds are
in :mod:`.grant`, :mod:`.permit`, :mod:`.start` and :mod:`.receipt`, what
reads any of them in :mod:`.chain`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from korora_nova import errors
from korora_nova.custody.ledger import LedgerRow
from korora_nova.rats import schemas
from korora_nova.rats.signed import keys
from korora_nova.rats.signed import token as tokens

D = TypeVar('D', bound='Document')

_COMMON: schemas.Schema = {
    'incarnation': schemas.UUID,
    'instance': schemas.UUID,
    'version': schemas.EPOCH,
    'prev': schemas.DIGEST,
}
#: ``prev`` of the first document of a server.
GENESIS = '0' * 64


def kind(
    typ: str, claims: schemas.Schema, optional: tuple[str, ...] = ()
) -> tokens.Kind:
    """The sort of token that a document is.

    Its ``version`` is the document's; that of the format is in ``typ``.

    :param optional: see :attr:`Document.OPTIONAL`.
    """
    return tokens.Kind(
        typ,
        'korora-agent',
        'custody',
        tokens.schema({**_COMMON, **claims}, optional),
        versioned=False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Document:
    """What every document says.

    :cvar KIND: of its token.
    :cvar OPTIONAL: claims that are left out while they have their default.
    :cvar INVALID: reason id if one does not verify.
    :param incarnation: of the ledger.
    :param version: 1, 2, ... without gap, of this server.
    :param prev: digest of the version before, hex; :data:`GENESIS` first.
    :param issued: seconds since 1970.
    """

    KIND: ClassVar[tokens.Kind]
    OPTIONAL: ClassVar[tuple[str, ...]] = ()
    INVALID: ClassVar[str]

    cloud: str
    incarnation: str
    instance: str
    version: int
    prev: str
    issued: float

    @property
    def subject(self) -> str:
        """The migration that it is about; '' for none."""
        return ''

    def holding(self) -> Mapping[str, Any]:
        """The fields of the row after it that it decides."""
        raise NotImplementedError

    def row(self, head: str) -> LedgerRow:
        """The ledger's row after this document.

        :param head: digest of its token, hex.
        """
        return LedgerRow(
            instance=self.instance,
            version=self.version,
            head=head,
            **self.holding(),
        )

    def check(self) -> None:
        """Insist that it does not contradict itself.

        :raises CustodyError: :attr:`INVALID`.
        """
        first = self.version == 1
        if first != (self.prev == GENESIS):
            raise self.refused('The document contradicts itself.')

    @classmethod
    def refused(cls, message: str, **details: str) -> errors.CustodyError:
        """The error that it is not accepted."""
        return errors.CustodyError(cls.INVALID, message, details=details)


@dataclasses.dataclass(frozen=True)
class Verified(Generic[D]):
    """A document that the custody key signed for this cloud."""

    content: D
    token: str

    @property
    def hash(self) -> str:
        """Digest of the token, hex; the next version names it."""
        return tokens.digest(self.token).hex()

    @property
    def row(self) -> LedgerRow:
        """The ledger's row after it."""
        return self.content.row(self.hash)


def sign(document: Document, key: keys.SigningKey) -> str:
    """Sign with the custody key; returns a JWT."""
    claims = {
        field.name: value
        for field in dataclasses.fields(document)
        if (value := getattr(document, field.name)) != field.default
        or field.name not in document.OPTIONAL
    }
    claims['iat'] = claims.pop('issued')
    return tokens.sign(claims, key, document.KIND, document.cloud)


def verify(
    cls: type[D],
    token: str,
    ring: keys.KeyRing,
    incarnation: str | None = None,
) -> D:
    """Verify a document of one kind, not its place in the chain.

    :raises CustodyError: the kind's :attr:`Document.INVALID`.
    """
    try:
        claims = tokens.verify(token, ring, cls.KIND)
    except tokens.TokenError as exc:
        raise cls.refused(
            'The document does not verify with the pinned keys.',
            why=str(exc),
        ) from None
    fields = {
        field.name: claims[field.name]
        for field in dataclasses.fields(cls)
        if field.name in claims
    }
    document = cls(**fields, issued=float(claims['iat']))
    if incarnation not in (None, document.incarnation):
        raise cls.refused('The document is of another ledger.')
    document.check()
    return document
