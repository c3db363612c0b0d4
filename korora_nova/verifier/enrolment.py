# SPDX-License-Identifier: Apache-2.0
"""Enrolment: bind a host's name to its TPM, once and for good.

1. The agent names its keys; EK certificate, kinds of keys and conflicts
   are checked, and it is given a credential that only the TPM with this EK
   *and* this AK can open (TPM2_ActivateCredential).
2. It returns the secret inside.  Only now is anything recorded about the
   host, so a name cannot be taken by somebody without the TPM.
3. The host waits for an operator, unless its EK was approved beforehand.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import hmac
import os
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exc
from oslo_log import log as logging
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody import messages
from korora_nova.rats import endorsement
from korora_nova.rats.tpm2 import objects
from korora_nova.verifier import audit, decode, hosts, results, service
from korora_nova.verifier.db import api, models

LOG = logging.getLogger(__name__)

#: Seconds to open the credential.
CREDENTIAL_TTL = 300


@dataclasses.dataclass(frozen=True)
class Identity:
    """The keys of one TPM after every check that needs no TPM."""

    ek_hash: str
    ek: objects.Public
    ak: objects.Public
    srk: objects.Public

    @property
    def columns(self) -> dict[str, Any]:
        """The identity as columns of ``hosts`` and ``enrolments``."""
        return {
            'ek_hash': self.ek_hash,
            'ek_name': self.ek.name.hex(),
            'ak_public': self.ak.raw,
            'ak_name': self.ak.name.hex(),
            'srk_name': self.srk.name.hex(),
        }


def enrol(
    verifier: service.Service, host: str, document: dict[str, Any]
) -> dict[str, Any]:
    """Answer with a credential for the keys in ``document``.

    :raises EvidenceError: EK_*, AK_ATTRIBUTES, SRK_ATTRIBUTES.
    :raises Conflict: IDENTITY_CONFLICT.
    """
    identity = _verify(verifier, document)
    secret = os.urandom(32)
    credential, encrypted = objects.make_credential(
        identity.ek, identity.ak.name, secret
    )
    _open(verifier, host, identity, secret)
    LOG.info(
        'Host %(host)s enrols with EK %(ek)s',
        {'host': host, 'ek': identity.ek_hash},
    )
    return {
        'credential': base64.b64encode(credential).decode(),
        'secret': base64.b64encode(encrypted).decode(),
        'expires_in': CREDENTIAL_TTL,
    }


def prove(verifier: service.Service, host: str, proof: str) -> dict[str, Any]:
    """Accept the secret of a credential; the host is known from then on.

    :param proof: base64.
    :returns: ``status``: pending or approved.
    :raises Forbidden: CREDENTIAL_WRONG, CREDENTIAL_EXPIRED.
    :raises Conflict: IDENTITY_CONFLICT.
    """
    digest = _digest(messages.base64_field(proof, 'proof'))
    try:
        return {'status': _prove(verifier, host, digest)}
    except db_exc.DBDuplicateEntry:
        # Another worker bound the name or the TPM in between.
        raise errors.Conflict(errors.Reason.IDENTITY_CONFLICT) from None


def _verify(verifier: service.Service, document: dict[str, Any]) -> Identity:
    certificate = messages.base64_field(document['ek_cert'], 'ek_cert')
    ek, ak, srk = (
        decode.public_field(document[name], name)
        for name in ('ek_public', 'ak_public', 'srk_public')
    )
    objects.check_ek(ek)
    objects.check_ak(ak)
    objects.check_srk(srk)
    now = datetime.datetime.fromtimestamp(
        verifier.clock(), datetime.timezone.utc
    )
    certificate = endorsement.verify_ek(
        certificate, ek, verifier.endorsers(), now
    )
    return Identity(hashlib.sha256(certificate).hexdigest(), ek, ak, srk)


@api.retried
def _open(
    verifier: service.Service, host: str, identity: Identity, secret: bytes
) -> None:
    now = verifier.clock()
    table = models.Enrolment
    with verifier.db.write() as session:
        _check_conflicts(session, host, identity.columns)
        session.execute(
            sa.delete(table).where(
                table.host == host, table.expires < now - CREDENTIAL_TTL
            )
        )
        session.add(
            table(
                secret_hash=_digest(secret),
                host=host,
                used=False,
                expires=now + CREDENTIAL_TTL,
                **identity.columns,
            )
        )


@api.retried
def _prove(verifier: service.Service, host: str, digest: str) -> str:
    table = models.Enrolment
    with verifier.db.write() as session:
        found = _matching(verifier, session, host, digest)
        if not api.swap(
            session,
            sa.update(table)
            .where(
                table.secret_hash == found.secret_hash, table.used.is_(False)
            )
            .values(used=True),
        ):
            raise errors.Forbidden(errors.Reason.CREDENTIAL_EXPIRED)
        identity = {
            name: getattr(found, name)
            for name in (
                'ek_hash',
                'ek_name',
                'ak_public',
                'ak_name',
                'srk_name',
            )
        }
        _check_conflicts(session, host, identity)
        row = _bind(verifier, session, host, identity)
        return hosts.status(row)


def _matching(
    verifier: service.Service, session: orm.Session, host: str, digest: str
) -> models.Enrolment:
    """The open enrolment of this host that the secret belongs to.

    The hash is the key of the table, so that a flood of enrolments slows
    nobody down; what its comparison takes says nothing about the secret.
    """
    table, now = models.Enrolment, verifier.clock()
    row = session.get(table, digest)
    if (
        row is not None
        and row.host == host
        and (
            not row.used
            and now < row.expires
            and hmac.compare_digest(row.secret_hash, digest)
        )
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
    session: orm.Session, host: str, identity: dict[str, Any]
) -> None:
    """Host <-> EK <-> AK are immutable (T16)."""
    table = models.Host
    rows = session.scalars(
        sa.select(table).where(
            sa.or_(
                table.name == host,
                table.ek_hash == identity['ek_hash'],
                table.ek_name == identity['ek_name'],
                table.ak_name == identity['ak_name'],
            )
        )
    ).all()
    for row in rows:
        same = row.name == host and row.ek_hash == identity['ek_hash']
        proved = row.ak_name is None or (
            row.ek_name,
            row.ak_name,
            row.srk_name,
        ) == (identity['ek_name'], identity['ak_name'], identity['srk_name'])
        if not (same and proved):
            raise errors.Conflict(errors.Reason.IDENTITY_CONFLICT)


def _bind(
    verifier: service.Service,
    session: orm.Session,
    host: str,
    identity: dict[str, Any],
) -> models.Host:
    row = session.get(models.Host, host)
    if row is None:
        row = models.Host(name=host, approved=False)
        session.add(row)
    if row.ak_name is None:
        for name, value in identity.items():
            setattr(row, name, value)
        row.enrolled_at = verifier.clock()
        results.next_seq(session)
        audit.record(
            verifier,
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
