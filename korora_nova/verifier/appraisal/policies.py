# SPDX-License-Identifier: Apache-2.0
"""Policies: documents of rules that operators write and change.

:mod:`.judging` says which of them judge a host.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from oslo_db import exception as db_exc
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.rats import policy
from korora_nova.verifier import audit, paging
from korora_nova.verifier.appraisal import (
    documents,
    learning,
    packed,
    references,
)
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

#: Every process keeps each of them in memory.
MAX_POLICIES = 64

_R = errors.Reason


@dataclasses.dataclass(frozen=True)
class Listed:
    """A policy as lists show it.

    :param hosts: patterns of the hosts that it judges.
    :param rules: names of the rules at the top.
    :param uuid: None for the built-in one, which has no times either.
    :param revision: counts the documents.
    :param created_at: seconds since 1970, as is ``updated_at``.
    :param actor: who wrote this revision.
    """

    description: str
    hosts: Sequence[str]
    rules: Sequence[str]
    name: str
    uuid: str | None
    revision: int
    created_at: float | None
    updated_at: float | None
    actor: str

    @classmethod
    def of(cls, row: models.Policy) -> Listed:
        return cls(
            **row.summary,
            name=row.name,
            uuid=row.uuid,
            revision=row.revision,
            created_at=row.created_at,
            updated_at=row.updated_at,
            actor=row.actor,
        )

    def to_json(self) -> dict[str, object]:
        return dict(vars(self))


@dataclasses.dataclass(frozen=True)
class Shown:
    """A policy with its document."""

    listed: Listed
    document: Mapping[str, object]

    def to_json(self) -> dict[str, object]:
        return {**self.listed.to_json(), 'document': self.document}


def create(
    service: Service,
    document: Mapping[str, object],
    actor: str,
    learn: Sequence[learning.Wanted] = (),
) -> Listed:
    """Add a policy under the name in its document.

    :param learn: hosts of which references are made with it, or none of it.
    :raises NotFound: HOST_UNKNOWN, RESULT_MISSING.
    :raises Untrusted: HOST_UNTRUSTED, EVICTED, NO_REFERENCE.
    :raises Invalid: POLICY_INVALID.
    :raises Conflict: POLICY_CONFLICT, the name is taken, or there are
        MAX_POLICIES already.
    """
    loaded = _load(service, document)
    learned = [learning.learn(service, one) for one in learn]
    try:
        _create(service, loaded, packed.pack(document), actor, learned)
    except db_exc.DBDuplicateEntry:
        raise errors.Conflict(
            _R.POLICY_CONFLICT, 'There is a policy of this name already.'
        ) from None
    return _show_listed(service, loaded.name)


@api.retried
def _create(
    service: Service,
    loaded: policy.Policy,
    content: bytes,
    actor: str,
    learned: Sequence[learning.Learned],
) -> None:
    with service.db.write() as session:
        _check_number(session)
        for one in learned:
            references.add(service, session, one.values, one.host, actor)
        now = service.clock()
        row = models.Policy(
            name=loaded.name,
            uuid=str(uuid.uuid4()),
            revision=1,
            summary=_summary(loaded),
            created_at=now,
            updated_at=now,
            actor=actor,
        )
        session.add(row)
        session.flush()
        documents.store(session, row.uuid, 1, content)
        audit.record(
            service,
            session,
            actor=actor,
            action='policy created',
            subject=loaded.name,
        )


def update(
    service: Service,
    name: str,
    document: Mapping[str, object],
    revision: int,
    actor: str,
) -> Listed:
    """Replace a policy's document.

    :param revision: the one that the caller has seen.
    :raises NotFound: NOT_FOUND.
    :raises Invalid: POLICY_INVALID, also if it has another name.
    :raises Conflict: POLICY_CONFLICT, there is a newer revision.
    """
    loaded = _load(service, document)
    if loaded.name != name:
        raise _invalid('/name', 'the policy keeps its name')
    _update(service, loaded, packed.pack(document), revision, actor)
    return _show_listed(service, name)


@api.retried
def _update(
    service: Service,
    loaded: policy.Policy,
    content: bytes,
    revision: int,
    actor: str,
) -> None:
    table = models.Policy
    with service.db.write() as session:
        row = _row(session, loaded.name)
        changed = api.swap(
            session,
            sa.update(table)
            .where(table.uuid == row.uuid, table.revision == revision)
            .values(
                revision=revision + 1,
                summary=_summary(loaded),
                updated_at=service.clock(),
                actor=actor,
            ),
        )
        if not changed:
            raise errors.Conflict(
                _R.POLICY_CONFLICT,
                'The policy was changed meanwhile; look at it again.',
                details={'revision': str(row.revision)},
            )
        documents.store(session, row.uuid, revision + 1, content)
        audit.record(
            service,
            session,
            actor=actor,
            action='policy changed',
            subject=loaded.name,
            note=f'revision {revision + 1}',
        )


@dataclasses.dataclass(frozen=True)
class Query:
    """Which policies to list.

    :param host: only those that judge it; '' for any.
    :param limit: None: all of them.
    :param marker: begin behind this policy.
    """

    host: str = ''
    limit: int | None = None
    marker: str = ''


def list_policies(service: Service, query: Query) -> paging.Page[Listed]:
    """Policies, by name; the built-in one is not listed."""
    table, limit = models.Policy, query.limit
    with service.db.read() as session:
        rows = session.scalars(
            sa.select(table)
            .where(table.name > query.marker)
            .order_by(table.name)
        )
        found = [
            Listed.of(row)
            for row in rows
            if not query.host or policy.names(row.summary['hosts'], query.host)
        ]
    return paging.Page.of(found, limit, lambda one: one.name)


def show(service: Service, name: str) -> Shown:
    """One of them, or the built-in one.

    :raises NotFound: NOT_FOUND.
    """
    return _BUILT_IN if name == documents.EXACT else _show(service, name)


@api.retried
def _show(service: Service, name: str) -> Shown:
    with service.db.read() as session:
        row = _row(session, name)
        document = documents.read(session, (row.uuid, row.revision))
        return Shown(Listed.of(row), document)


@api.retried
def delete(service: Service, name: str, actor: str) -> None:
    """Hosts that no other one names are judged by the built-in one.

    :raises NotFound: NOT_FOUND.
    """
    with service.db.write() as session:
        row = _row(session, name)
        documents.delete(session, row.uuid)
        session.delete(row)
        audit.record(
            service,
            session,
            actor=actor,
            action='policy deleted',
            subject=name,
        )


def find(service: Service, name: str) -> tuple[policy.Policy, int]:
    """A policy and its revision, the built-in one included.

    :raises NotFound: NOT_FOUND.
    :raises Unavailable: INTERNAL, it cannot be read by this release.
    """
    if name == documents.EXACT:
        return policy.EXACT, 0
    with service.db.read() as session:
        row = _row(session, name)
        key = (row.uuid, row.revision)
    loaded = service.policies.loaded(
        key, lambda one: documents.load(service, one)
    )
    return loaded, key[1]


def bound(service: Service, name: str, revision: int) -> policy.BoundPolicy:
    """A revision that :func:`find` named, ready to judge.

    :raises Lost: there is a newer one.
    """
    key = documents.EXACT_KEY
    if name != documents.EXACT:
        with service.db.read() as session:
            key = (_row(session, name).uuid, revision)
    (found,) = service.policies.get(
        [key],
        references.by_uuid(service),
        lambda one: documents.load(service, one),
    )
    return found


def read(service: Service, document: Mapping[str, object]) -> policy.Policy:
    """A document that may become a policy.

    :raises Invalid: POLICY_INVALID.
    """
    return _load(service, document)


def _load(service: Service, document: Mapping[str, object]) -> policy.Policy:
    loaded = policy.load(document, service.rules)
    if loaded.name == documents.EXACT:
        raise _invalid('/name', 'this is the name of the built-in policy')
    return loaded


def _invalid(pointer: str, what: str) -> errors.Invalid:
    return errors.Invalid(
        _R.POLICY_INVALID,
        f'The policy is invalid at {pointer}: {what}.',
        details={'pointer': pointer},
    )


def _summary(loaded: policy.Policy) -> models.PolicySummary:
    return {
        'description': loaded.description,
        'hosts': list(loaded.hosts),
        'rules': list(loaded.kinds),
    }


def _check_number(session: orm.Session) -> None:
    count = session.scalar(
        sa.select(sa.func.count()).select_from(models.Policy)
    )
    if count and count >= MAX_POLICIES:
        raise errors.Conflict(
            _R.POLICY_CONFLICT,
            f'There are {MAX_POLICIES} policies already.',
        )


def _show_listed(service: Service, name: str) -> Listed:
    with service.db.read() as session:
        return Listed.of(_row(session, name))


def _row(session: orm.Session, name: str) -> models.Policy:
    row = session.get(models.Policy, name)
    if row is None:
        raise errors.NotFound(_R.NOT_FOUND)
    return row


_BUILT_IN = Shown(
    Listed(
        **_summary(policy.EXACT),
        name=documents.EXACT,
        uuid=None,
        revision=0,
        created_at=None,
        updated_at=None,
        actor='',
    ),
    policy.EXACT.document,
)
