# SPDX-License-Identifier: Apache-2.0
"""Enrolment: bind a host's name to its TPM, once and for good.

1. The agent names its keys; EK certificate, kinds of keys and conflicts
   are checked, and it is given a credential that only the TPM with this EK
   *and* this AK can open (TPM2_ActivateCredential).
2. It returns the secret inside.  Only now is anything recorded about the
   host, so a name cannot be taken by somebody without the TPM.
3. The host waits for an operator, unless its EK was approved beforehand.
   Without a certificate it waits in any case, until somebody says that a
   maker's word is not needed.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exc
from oslo_log import log as logging
from sqlalchemy import orm

from korora_nova import errors, faultpoints
from korora_nova.custody import messages
from korora_nova.rats import endorsement
from korora_nova.rats.tpm2 import objects
from korora_nova.verifier import audit, decode, hosts, numbers
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

LOG = logging.getLogger(__name__)

#: Seconds to open the credential.
CREDENTIAL_TTL = 300
#: Open enrolments of one TPM.
REMEMBERED = 8


@dataclasses.dataclass(frozen=True)
class Keys:
    """What an agent says that the keys of its TPM are; nothing is proven.

    :param ek_cert: DER, perhaps padded as NV indices are; empty: none.
    :param chain: DER of intermediates that the TPM has.
    """

    ek_cert: bytes
    ek: objects.Public
    ak: objects.Public
    srk: objects.Public
    chain: Sequence[bytes] = ()

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Keys:
        """Read the body of a request, which follows its schema.

        :raises Invalid: INVALID_REQUEST, a field is not base64.
        :raises EvidenceError: a key is malformed.
        """
        ek, ak, srk = (
            decode.public_field(document[name], name)
            for name in ('ek_public', 'ak_public', 'srk_public')
        )
        return cls(
            messages.base64_field(document['ek_cert'], 'ek_cert'),
            ek,
            ak,
            srk,
            [
                messages.base64_field(one, 'ek_chain')
                for one in document.get('ek_chain', ())
            ],
        )


@dataclasses.dataclass(frozen=True)
class Identity:
    """One TPM, as columns of ``hosts`` and ``enrolments``; names in hex.

    ``ek_hash`` is of the certificate; without one, of the EK's name. An
    ``ek_name`` of SHA-384 is 000c and its SHA-256, to fit into the column.
    """

    ek_hash: str
    ek_name: str
    ak_public: bytes
    ak_name: str
    srk_name: str

    @classmethod
    def of(cls, row: models.Enrolment) -> Identity:
        return cls(
            row.ek_hash, row.ek_name, row.ak_public, row.ak_name, row.srk_name
        )

    @property
    def columns(self) -> dict[str, str | bytes]:
        """Column -> value."""
        return dict(vars(self))


@dataclasses.dataclass(frozen=True)
class Credential:
    """What only the TPM with the enrolled keys can open.

    :param credential: TPM2B_ID_OBJECT; ``secret``: TPM2B_ENCRYPTED_SECRET.
    """

    credential: bytes
    secret: bytes

    def to_json(self) -> dict[str, object]:
        return {
            'credential': base64.b64encode(self.credential).decode(),
            'secret': base64.b64encode(self.secret).decode(),
            'expires_in': CREDENTIAL_TTL,
        }


def enrol(service: Service, host: str, keys: Keys) -> Credential:
    """Answer with a credential for these keys.

    :raises EvidenceError: EK_*, AK_ATTRIBUTES, SRK_ATTRIBUTES.
    :raises Conflict: IDENTITY_CONFLICT.
    """
    identity = _verify(service, keys)
    secret = os.urandom(32)
    made = objects.make_credential(keys.ek, keys.ak.name, secret)
    _open(service, host, identity, secret)
    LOG.info(
        'Host %(host)s enrols with EK %(ek)s',
        {'host': host, 'ek': identity.ek_hash},
    )
    return Credential(*made)


def prove(service: Service, host: str, proof: str) -> str:
    """Accept the secret of a credential; the host is known from then on.

    :param proof: base64.
    :returns: the host's status: pending or approved.
    :raises Forbidden: CREDENTIAL_WRONG, CREDENTIAL_EXPIRED.
    :raises Conflict: IDENTITY_CONFLICT.
    """
    digest = _digest(messages.base64_field(proof, 'proof'))
    try:
        return _prove(service, host, digest)
    except db_exc.DBDuplicateEntry:
        # Another worker bound the name or the TPM in between.
        raise errors.Conflict(errors.Reason.IDENTITY_CONFLICT) from None


def _verify(service: Service, keys: Keys) -> Identity:
    objects.check_ek(keys.ek)
    objects.check_ak(keys.ak)
    objects.check_srk(keys.srk)
    now = datetime.datetime.fromtimestamp(
        service.clock(), datetime.timezone.utc
    )
    if keys.ek_cert:
        certificate = endorsement.verify_ek(
            keys.ek_cert, keys.ek, service.endorsers(), now, keys.chain
        )
        ek_hash = hashlib.sha256(certificate).hexdigest()
    else:
        ek_hash = endorsement.uncertified_hash(keys.ek)
    return Identity(
        ek_hash=ek_hash,
        ek_name=ek_name(keys.ek),
        ak_public=keys.ak.raw,
        ak_name=keys.ak.name.hex(),
        srk_name=keys.srk.name.hex(),
    )


def ek_name(ek: objects.Public) -> str:
    """What an endorsement key is called in the database."""
    if ek.name_alg == objects.ALG_SHA256:
        return ek.name.hex()
    return f'{ek.name_alg:04x}{endorsement.uncertified_hash(ek)}'


@api.retried
def _open(
    service: Service, host: str, identity: Identity, secret: bytes
) -> None:
    now = service.clock()
    table = models.Enrolment
    with service.db.write() as session:
        _check_conflicts(session, host, identity)
        _forget(session, identity, now)
        session.add(
            table(
                secret_hash=_digest(secret),
                host=host,
                used=False,
                expires=now + CREDENTIAL_TTL,
                **identity.columns,
            )
        )


def _forget(session: orm.Session, identity: Identity, now: float) -> None:
    """Drop what is over, and all but the newest of this TPM."""
    table = models.Enrolment
    session.execute(
        sa.delete(table).where(table.expires < now - CREDENTIAL_TTL)
    )
    oldest = session.scalars(
        sa.select(table.expires)
        .where(table.ek_hash == identity.ek_hash)
        .order_by(table.expires.desc())
        .offset(REMEMBERED - 2)
        .limit(1)
    ).one_or_none()
    if oldest is not None:
        session.execute(
            sa.delete(table).where(
                table.ek_hash == identity.ek_hash, table.expires < oldest
            )
        )


@api.retried
def _prove(service: Service, host: str, digest: str) -> str:
    table = models.Enrolment
    with faultpoints.step('v.enrol'), service.db.write() as session:
        found = _matching(service, session, host, digest)
        if not api.swap(
            session,
            sa.update(table)
            .where(
                table.secret_hash == found.secret_hash, table.used.is_(False)
            )
            .values(used=True),
        ):
            raise errors.Forbidden(errors.Reason.CREDENTIAL_EXPIRED)
        identity = Identity.of(found)
        _check_conflicts(session, host, identity)
        row = _bind(service, session, host, identity)
        return hosts.status(row)


def _matching(
    service: Service, session: orm.Session, host: str, digest: str
) -> models.Enrolment:
    """The open enrolment of this host that the secret belongs to.

    The hash is the key of the table, so that a flood of enrolments slows
    nobody down; what its comparison takes says nothing about the secret.
    """
    table, now = models.Enrolment, service.clock()
    row = session.get(table, digest)
    if (
        row is not None
        and row.host == host
        and not row.used
        and now < row.expires
        and hmac.compare_digest(row.secret_hash, digest)
    ):
        return row
    waiting = session.scalars(
        sa.select(table.secret_hash)
        .where(table.host == host, table.used.is_(False), table.expires > now)
        .limit(1)
    ).one_or_none()
    if waiting is None or row is not None and row.host == host:
        raise errors.Forbidden(errors.Reason.CREDENTIAL_EXPIRED)
    raise errors.Forbidden(errors.Reason.CREDENTIAL_WRONG)


def _check_conflicts(
    session: orm.Session, host: str, identity: Identity
) -> None:
    """Host <-> EK <-> AK are immutable (T16)."""
    table = models.Host
    rows = session.scalars(
        sa.select(table).where(
            sa.or_(
                table.name == host,
                table.ek_hash == identity.ek_hash,
                table.ek_name == identity.ek_name,
                table.ak_name == identity.ak_name,
            )
        )
    ).all()
    for row in rows:
        _check_same(row, host, identity)


def _check_same(row: models.Host, host: str, identity: Identity) -> None:
    same = row.name == host and row.ek_hash == identity.ek_hash
    proved = row.ak_name is None or (
        row.ek_name,
        row.ak_name,
        row.srk_name,
    ) == (identity.ek_name, identity.ak_name, identity.srk_name)
    if not (same and proved):
        raise errors.Conflict(errors.Reason.IDENTITY_CONFLICT)


def _bind(
    service: Service,
    session: orm.Session,
    host: str,
    identity: Identity,
) -> models.Host:
    row = session.get(models.Host, host)
    if row is None:
        row = models.Host(name=host, approved=False)
        session.add(row)
    else:
        # PostgreSQL shows what was committed since the conflicts were checked.
        _check_same(row, host, identity)
    if row.ak_name is None:
        for name, value in identity.columns.items():
            setattr(row, name, value)
        row.approved = bool(row.approved) and not hosts.uncertified(row)
        row.enrolled_at = service.clock()
        row.seq = numbers.CHANGED
        audit.record(
            service,
            session,
            actor=host,
            action='enrolled',
            subject=host,
            note=row.ek_hash,
        )
        session.flush()
    return row


def _digest(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()
