# SPDX-License-Identifier: Apache-2.0
"""What is signed, verified here before it is called verified.

With the keys that the operator has put on this machine if there are any, and
otherwise with those that the service itself tells: that shows that its answer
is whole, and nothing about who answers. Each page says which.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from korora_dashboard import words
from korora_nova import client, errors
from korora_nova.custody import chain
from korora_nova.custody.chain import AnyVerified
from korora_nova.custody.permit import Permit
from korora_nova.custody.receipt import Receipt
from korora_nova.custody.start import Start
from korora_nova.rats.signed import keys
from korora_nova.rats.signed.result import VerifiedResult, verify_result

#: Documents of one hand-over that are looked at.
MOST = 16


@dataclasses.dataclass(frozen=True)
class Trust:
    """The keys that count, and whose word that is.

    :param pinned: they are of this machine, not from the service.
    """

    ring: keys.KeyRing
    pinned: bool


def trust(api: client.AttestationClient) -> Trust:
    """:raises KororaError: there are no keys that can be used."""
    path = getattr(settings, 'ATTESTATION_TRUSTED_KEYS', None)
    if path:
        return Trust(keys.KeyRing.load(path), True)
    return Trust(keys.KeyRing.load(dict(api.keys())), False)


@dataclasses.dataclass(frozen=True)
class Proof:
    """One signed thing.

    :param title: what it is.
    :param refused: why it does not count; '' if it is verified.
    :param at: when it was signed, seconds since 1970.
    :param digest: of the document, hex.
    """

    title: str
    refused: str
    at: float | None = None
    digest: str = ''

    @property
    def mark(self) -> words.Mark:
        if self.refused:
            return words.Mark(_('Not verified'), words.BAD, '\u2717')
        return words.Mark(_('Verified'), words.GOOD, '\u2713')

    @property
    def signed(self) -> str:
        return words.moment(self.at)


@dataclasses.dataclass(frozen=True)
class HandOver:
    """The signed side of a hand-over.

    :param proofs: one for each document that was told, in their order.
    :param permit, start, receipt: those that are verified and are about this
        hand-over.
    """

    proofs: Sequence[Proof]
    permit: AnyVerified | None = None
    start: AnyVerified | None = None
    receipt: AnyVerified | None = None


def result_of(
    host: str, token: object, known: Trust
) -> tuple[Proof, VerifiedResult | None]:
    """The signed result of a host."""
    title = _('Attestation result')
    if not isinstance(token, str):
        return Proof(title, _('There is none.')), None
    try:
        found = verify_result(
            token,
            known.ring,
            host=host,
            cloud=known.ring.cloud,
            now=time.time(),
        )
    except errors.KororaError as exc:
        return Proof(title, str(exc)), None
    return Proof(title, '', found.result.issued), found


def hand_over(migration: Mapping[str, Any], ring: keys.KeyRing) -> HandOver:
    """Verify what the service told of a hand-over.

    1. Each document verifies with the keys for custody; 2. it is about this
    migration, this server and these hosts; 3. the receipt and the start name
    the digest of the permit.
    """
    proofs: list[Proof] = []
    found: dict[type, AnyVerified] = {}
    for token in words.items(migration.get('documents'))[:MOST]:
        proof, item = _document(token, migration, ring, found.get(Permit))
        proofs.append(proof)
        if item is not None:
            found[type(item.content)] = item
    return HandOver(
        proofs, found.get(Permit), found.get(Start), found.get(Receipt)
    )


def _document(
    token: object,
    migration: Mapping[str, Any],
    ring: keys.KeyRing,
    permit: AnyVerified | None,
) -> tuple[Proof, AnyVerified | None]:
    try:
        item = chain.read(str(token), ring)
    except errors.KororaError as exc:
        return Proof(_('Document'), str(exc)), None
    content = item.content
    refused = _mismatch(content, migration) or _detached(content, permit)
    proof = Proof(_title(content), refused, content.issued, item.hash)
    return proof, None if refused else item


def _title(content: object) -> str:
    if isinstance(content, Permit):
        return _('Permit')
    if isinstance(content, Start):
        return _('Start')
    return _('Receipt') if isinstance(content, Receipt) else _('Document')


def _mismatch(content: Any, migration: Mapping[str, Any]) -> str:
    """Why a document is not about this hand-over; '' if it is."""
    for field, other in (
        ('migration', 'id'),
        ('instance', 'instance'),
        ('source', 'source'),
        ('dest', 'dest'),
    ):
        said = getattr(content, field, None)
        if said is not None and said != migration.get(other):
            return _('It names another %(field)s than the service does.') % {
                'field': field
            }
    return ''


def _detached(content: Any, permit: AnyVerified | None) -> str:
    """Why a document does not rest on the permit; '' if it does."""
    if isinstance(content, Receipt):
        named = content.permit_hash
    elif isinstance(content, Start):
        named = content.prev
    else:
        return ''
    if permit is None:
        return _('There is no verified permit that it could rest on.')
    return '' if named == permit.hash else _('It rests on another permit.')
