# SPDX-License-Identifier: Apache-2.0
"""Hosts as operators see and approve them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from oslo_db import exception as db_exc

from korora_nova import errors
from korora_nova.rats.signed import result
from korora_nova.rats.verdict import Verdict
from korora_nova.rats.words import Tier
from korora_nova.verifier import (
    audit,
    certificates,
    enforcement,
    numbers,
    paging,
    results,
    windows,
)
from korora_nova.verifier.appraisal import judging, measurements
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service
from korora_nova.verifier.sources import verdicts

#: How the name of a key begins, with SHA-256 as its nameAlg.
_SHA256 = '000b'


@dataclasses.dataclass(frozen=True)
class Host:
    """A host as operators see it.

    :param status: see :func:`status`.
    :param certified: whether a TPM maker vouches for its EK; None if it has
        not enrolled.
    :param enrolled_at: when its TPM was proven, seconds since 1970;
        ``evicted_at`` when it was given up.
    :param last_attested: likewise; ``tier`` and ``reasons`` are those that
        count now.
    :param enforcing: whether a result that is valid now says that it
        enforces; ``enforcer`` is what it attested last of its nova-compute.
    :param certificate: that was signed last for its streams; None: none.
    :param streams: '' if protected servers may be streamed to and from it as
        far as certificates go, else a reason id.
    :param offline: its offline window; None: it has none.
    """

    name: str
    status: str
    ek_hash: str
    certified: bool | None
    ak_name: str | None
    srk_name: str | None
    enrolled_at: float | None
    last_attested: float | None
    evicted_at: float | None
    tier: str
    reasons: Sequence[str]
    enforcing: bool
    enforcer: Mapping[str, object] | None
    certificate: Mapping[str, object] | None
    streams: str
    offline: Mapping[str, object] | None

    @classmethod
    def of(cls, service: Service, row: models.Host) -> Host:
        tier, reasons = results.current(row, service.clock())
        heard = enforcement.Heard.of(row)
        return cls(
            name=row.name,
            status=status(row),
            ek_hash=row.ek_hash,
            certified=None if row.ek_name is None else not uncertified(row),
            ak_name=row.ak_name,
            srk_name=row.srk_name,
            enrolled_at=row.enrolled_at,
            last_attested=row.attested_at,
            evicted_at=row.evicted_at,
            tier=tier,
            reasons=reasons,
            enforcing=tier != Tier.NONE
            and row.evicted_at is None
            and not heard.missing(service),
            enforcer=heard.to_json(),
            certificate=certificates.shown(row),
            streams=certificates.refusal(service, row),
            offline=windows.shown(row, service.clock()),
        )

    def to_json(self) -> dict[str, object]:
        return dict(vars(self))


@dataclasses.dataclass(frozen=True)
class JudgedHost:
    """A host, and who judges it.

    :param policies: their names.
    :param sources: what other verifiers say of it now.
    """

    host: Host
    policies: Sequence[str]
    sources: Sequence[Verdict]

    def to_json(self) -> dict[str, object]:
        return {
            **self.host.to_json(),
            'policies': self.policies,
            'sources': [one.to_json() for one in self.sources],
        }


def status(row: models.Host) -> str:
    """preloaded (approved, not yet proved), pending, approved or evicted."""
    if row.evicted_at is not None:
        return 'evicted'
    if row.ak_name is None:
        return 'preloaded'
    return 'approved' if row.approved else 'pending'


def uncertified(row: models.Host) -> bool:
    """Whether the EK was enrolled without a certificate.

    Its hash is then that of its name, see ``enrolment.Identity``.
    """
    name = row.ek_name or ''
    if name.startswith(_SHA256):
        return row.ek_hash == hashlib.sha256(bytes.fromhex(name)).hexdigest()
    return row.ek_hash == name[len(_SHA256) :]


@dataclasses.dataclass(frozen=True)
class Query:
    """Which hosts to list.

    :param status: see :func:`status`; '' for any.
    :param tier: that counts now; '' for any.
    :param limit: None: all of them.
    :param marker: begin behind this host.
    """

    status: str = ''
    tier: str = ''
    limit: int | None = None
    marker: str = ''


STATUSES = ('approved', 'evicted', 'pending', 'preloaded')


def list_hosts(service: Service, query: Query) -> paging.Page[Host]:
    """Hosts, by name."""
    table, limit = models.Host, query.limit
    wanted = sa.select(table).where(table.name > query.marker)
    if query.status:
        wanted = wanted.where(_has_status(query.status))
    if query.tier:
        wanted = wanted.where(
            results.has_tier(Tier(query.tier), service.clock())
        )
    with service.db.read() as session:
        rows = session.scalars(
            wanted.order_by(table.name).limit(paging.one_more(limit))
        ).all()
        page = paging.Page.of(rows, limit, lambda row: row.name)
        return page.map(lambda row: Host.of(service, row))


def _has_status(wanted: str) -> sa.ColumnElement[bool]:
    """The rows of which :func:`status` says this."""
    table = models.Host
    if wanted == 'evicted':
        return table.evicted_at.is_not(None)
    proved = table.ak_name.is_not(None)
    if wanted == 'preloaded':
        return sa.and_(table.evicted_at.is_(None), sa.not_(proved))
    return sa.and_(
        table.evicted_at.is_(None),
        proved,
        table.approved.is_(wanted == 'approved'),
    )


def show(service: Service, name: str) -> JudgedHost:
    """One host.

    :raises NotFound: HOST_UNKNOWN.
    """
    with service.db.read() as session:
        row = session.get(models.Host, name)
        if row is None:
            raise errors.NotFound(errors.Reason.HOST_UNKNOWN)
        now = service.clock()
        return JudgedHost(
            Host.of(service, row),
            judging.names(session, name),
            [
                one.at(now)
                for one in verdicts.of(service, session, [name])[name]
            ],
        )


def approve(
    service: Service,
    name: str,
    ek_hash: str,
    actor: str,
    *,
    uncertified: bool = False,
) -> JudgedHost:
    """Approve the TPM with this EK certificate as this host.

    One that was evicted may attest again; its keys stay taken.

    :param uncertified: the operator vouches for an EK without certificate.
    :raises Conflict: IDENTITY_CONFLICT, the host has another TPM or the
        TPM is another host's; IDENTITY_UNCERTIFIED.
    """
    try:
        _approve(service, name, ek_hash, actor, uncertified)
    except db_exc.DBDuplicateEntry:
        raise errors.Conflict(errors.Reason.IDENTITY_CONFLICT) from None
    return show(service, name)


@api.retried
def _approve(
    service: Service, name: str, ek_hash: str, actor: str, vouched: bool
) -> None:
    with service.db.write() as session:
        row = session.get(models.Host, name)
        if row is None:
            session.add(models.Host(name=name, ek_hash=ek_hash, approved=True))
            session.flush()
        elif row.ek_hash != ek_hash:
            raise errors.Conflict(errors.Reason.IDENTITY_CONFLICT)
        elif uncertified(row) and not vouched:
            raise errors.Conflict(errors.Reason.IDENTITY_UNCERTIFIED)
        else:
            row.approved = True
            if row.evicted_at is not None:
                _welcome(row)
            row.seq = numbers.CHANGED
        audit.record(
            service,
            session,
            actor=actor,
            action='approved',
            subject=name,
            note=f'{ek_hash} without certificate' if vouched else ek_hash,
        )


def _welcome(row: models.Host) -> None:
    """Nothing that was said of the host before its eviction counts."""
    row.evicted_at = row.reported_at = None
    row.tier = row.token = row.issued = row.expires = None
    row.reasons = []


def is_known(service: Service, name: str) -> bool:
    """Whether there is a host of this name."""
    with service.db.read() as session:
        return session.get(models.Host, name) is not None


@api.retried
def evict(service: Service, name: str, actor: str, note: str) -> bool:
    """Let a host attest no more; what it holds is not touched here.

    Readers of its result are told at once, so that it gets no guests.

    :returns: whether there is a host of this name.
    """
    with service.db.write() as session:
        row = session.get(models.Host, name, with_for_update=True)
        if row is None or row.evicted_at is not None:
            return row is not None
        row.evicted_at = service.clock()
        # An attestation under way loses its race.
        row.version += 1
        row.seq = numbers.CHANGED
        if row.ak_name is not None:
            _refuse(service, row, row.ak_name)
        session.execute(
            sa.delete(models.Challenge).where(models.Challenge.host == name)
        )
        audit.record(
            service,
            session,
            actor=actor,
            action='evicted',
            subject=name,
            note=note,
        )
    return True


def _refuse(service: Service, row: models.Host, ak_name: str) -> None:
    """Sign the result that the host is not trusted."""
    now = service.clock()
    row.tier = Tier.CONTRAINDICATED
    row.reasons = [errors.Reason.EVICTED]
    row.findings = []
    row.issued, row.expires = now, now + service.settings.result_ttl
    row.token = result.sign_result(
        result.Result(
            host=row.name,
            ak_name=ak_name,
            tier=Tier.CONTRAINDICATED,
            reasons=(errors.Reason.EVICTED,),
            enforcer=errors.Reason.ENFORCER_ABSENT,
            issued=now,
            expires=row.expires,
            cloud=service.cloud,
        ),
        service.signers.result,
    )


@api.retried
def delete(service: Service, name: str, actor: str, *, force: bool) -> None:
    """Forget a host, its TPM and its result.

    :raises NotFound: HOST_UNKNOWN.
    :raises Conflict: HOLDS_KEYS, and not ``force``.
    """
    with service.db.write() as session:
        row = session.get(models.Host, name)
        if row is None:
            raise errors.NotFound(errors.Reason.HOST_UNKNOWN)
        held = session.scalar(_count_keys(name))
        if held and not force:
            raise errors.Conflict(
                errors.Reason.HOLDS_KEYS, details={'keys': str(held)}
            )
        measurements.delete(session, name)
        for table in (
            models.Challenge,
            models.Enrolment,
            models.SourceVerdict,
        ):
            session.execute(sa.delete(table).where(table.host == name))
        session.delete(row)
        session.flush()
        numbers.take(session)
        audit.record(
            service,
            session,
            actor=actor,
            action='host deleted',
            subject=name,
            note='forced' if held else '',
        )


def _count_keys(name: str) -> sa.Select[tuple[int]]:
    """Keys that the host holds, or takes over in a pending migration."""
    servers, migrations = models.Server, models.Migration
    return (
        sa.select(sa.func.count())
        .select_from(servers)
        .outerjoin(migrations, migrations.id == servers.pending)
        .where(sa.or_(servers.holder == name, migrations.dest == name))
    )
