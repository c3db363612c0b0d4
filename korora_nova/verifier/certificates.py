# SPDX-License-Identifier: Apache-2.0
"""Certificates with which hosts stream, and the name that a permit gets.

A host asks in its periodic attestation, and the answer brings a certificate
if one is due: it has none, or another than is noted here, or less than half
of its life is left, or another authority is the active one.
"""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from oslo_db import exception as db_exc
from oslo_log import log as logging
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody import bodies, messages
from korora_nova.custody.exchange import Streams
from korora_nova.custody.words import StreamTls
from korora_nova.rats.signed import keys
from korora_nova.rats.words import Tier
from korora_nova.rats.x509 import stream
from korora_nova.verifier import peers, records
from korora_nova.verifier.attested import Attested
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

LOG = logging.getLogger(__name__)

_R = errors.Reason
#: Seconds that certificates of both ends last at least when a permit is
#: signed: the stream waits for networks, and clocks differ.
REMAINING = 600.0


def renew(
    service: Service,
    attested: Attested,
    said: bodies.Tls | None,
    row: records.Host,
) -> Streams:
    """A certificate, if one is due, for a host that is trusted now.

    :param said: the host's request, and what it has; None: it wants none.
    :param row: as it was before this attestation.
    """
    mode = StreamTls(service.settings.migration_tls)
    if (
        said is None
        or mode is StreamTls.SITE
        or attested.tier != Tier.AFFIRMING
    ):
        return Streams(mode)
    try:
        return Streams(mode, _renewed(service, row, said))
    except errors.KororaError as exc:
        LOG.warning('Host %s gets no certificate: %s', attested.host, exc)
        return Streams(mode, refused=exc.reason)


def _renewed(service: Service, row: records.Host, said: bodies.Tls) -> str:
    """PEM; '' if none is due.

    :raises Invalid: INVALID_REQUEST.
    :raises Unavailable: CERTIFICATE_AUTHORITY_MISSING, KEYS_INVALID.
    :raises Conflict: CERTIFICATE_KEY_TAKEN.
    """
    public = stream.read_request(
        messages.base64_field(said.request, 'request'), row.name
    )
    signers = service.signers
    authority = signers.ring.streams
    if authority is None or signers.tls is None:
        raise errors.Unavailable(_R.CERTIFICATE_AUTHORITY_MISSING)
    now, life = service.clock(), service.settings.certificate_ttl
    if (
        (row.tls_name, row.tls_serial, row.tls_authority)
        == (stream.name_of(public), said.serial, authority.kid)
        and row.tls_until is not None
        and now + life / 2 < row.tls_until
    ):
        return ''
    assert authority.certificate is not None
    issued = stream.issue(
        public,
        authority.certificate,
        signers.tls.private,
        cloud=service.cloud,
        host=row.name,
        at=now,
        life=life,
    )
    _note(service, row.name, issued, authority.kid)
    return issued.pem.decode()


@api.retried
def _note(
    service: Service, host: str, issued: stream.Issued, kid: str
) -> None:
    """Keep what was signed last for a host; no other may have its key."""
    table = models.Host
    try:
        with service.db.write() as session:
            session.execute(
                sa.update(table)
                .where(table.name == host)
                .values(
                    tls_name=issued.name,
                    tls_serial=issued.serial,
                    tls_until=issued.until,
                    tls_authority=kid,
                )
            )
    except db_exc.DBDuplicateEntry:
        raise errors.Conflict(_R.CERTIFICATE_KEY_TAKEN) from None


def counts(
    ring: keys.KeyRing, row: models.Host | peers.Peer | None, now: float
) -> bool:
    """Whether a host has a certificate that lasts for a migration."""
    return (
        row is not None
        and row.tls_name is not None
        and row.tls_authority in ring.authorities
        and (row.tls_until or 0.0) >= now + REMAINING
    )


def name_for(
    service: Service, session: orm.Session, source: str, dest: str, said: str
) -> str:
    """The name that D's certificate must have for a stream, '' without TLS.

    :param said: D's own word, which counts for certificates of a site.
    :raises CustodyError: CERTIFICATE_MISSING.
    :raises Unavailable: CERTIFICATE_AUTHORITY_MISSING.
    """
    mode = StreamTls(service.settings.migration_tls)
    own = stream.is_name(said)
    if mode is StreamTls.SITE and not own:
        return said or dest
    ring, now = service.ring, service.clock()
    if mode is StreamTls.ATTESTED and ring.streams is None:
        raise errors.Unavailable(_R.CERTIFICATE_AUTHORITY_MISSING)
    peers.load(session, (source, dest))
    row = peers.find(session, dest)
    for name, host in (
        (dest, row),
        (source, peers.find(session, source)),
    ):
        if counts(ring, host, now):
            continue
        if mode is StreamTls.ATTESTED or own:
            raise _missing(name)
        return said
    return row.tls_name or '' if row is not None else ''


def shown(row: models.Host) -> Mapping[str, object] | None:
    """A host's certificate as operators see it; seconds since 1970."""
    if row.tls_name is None:
        return None
    return {
        'name': row.tls_name,
        'serial': row.tls_serial,
        'until': row.tls_until,
        'authority': row.tls_authority,
    }


def refusal(service: Service, row: models.Host) -> str:
    """Why no protected server is streamed to or from a host; '' if it may be.

    :returns: CERTIFICATE_AUTHORITY_MISSING or CERTIFICATE_MISSING.
    """
    if service.settings.migration_tls != StreamTls.ATTESTED:
        return ''
    ring = service.ring
    if ring.streams is None:
        return _R.CERTIFICATE_AUTHORITY_MISSING
    return '' if counts(ring, row, service.clock()) else _R.CERTIFICATE_MISSING


def lacking(session: orm.Session, ring: keys.KeyRing, now: float) -> list[str]:
    """Hosts that have no certificate that lasts for a migration."""
    table = models.Host
    rows = session.scalars(
        sa.select(table)
        .where(
            table.approved.is_(True),
            table.ak_name.is_not(None),
            table.evicted_at.is_(None),
        )
        .order_by(table.name)
    )
    return [row.name for row in rows if not counts(ring, row, now)]


def recheck(
    service: Service, session: orm.Session, asked: models.Migration
) -> None:
    """The name that was found for a migration is still D's.

    :raises CustodyError: CERTIFICATE_MISSING, PERMIT_MISMATCH.
    :raises Unavailable: CERTIFICATE_AUTHORITY_MISSING.
    """
    name = name_for(service, session, asked.source, asked.dest, asked.tls_name)
    if name != asked.tls_name:
        raise errors.CustodyError(
            _R.PERMIT_MISMATCH,
            'The certificate of the destination has changed; start the '
            'migration again.',
            details={'field': 'tls_name'},
        )


def _missing(host: str) -> errors.CustodyError:
    return errors.CustodyError(
        _R.CERTIFICATE_MISSING,
        f'{host} has no certificate for its stream that counts: set '
        '[attester] migration_tls_dir there, and see the log of its agent; '
        'while hosts are being prepared, [verifier] migration_tls can be '
        'transition.',
        details={'host': host},
    )
