# SPDX-License-Identifier: Apache-2.0
"""Policies: documents of rules, and which of them apply to a host.

A host is appraised by every policy that names it, and by the built-in
one if none does.  A change counts from the host's next attestation on.
"""

from __future__ import annotations

import json
import uuid
import zlib
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exc
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.rats import policy
from korora_nova.verifier import audit, cache, service
from korora_nova.verifier.appraisal import references
from korora_nova.verifier.db import api, models

#: The name of the built-in policy.
EXACT = 'exact'
#: Every process keeps each of them in memory.
MAX_POLICIES = 64
#: Bytes of compressed JSON in one row: see ``models.PolicyPart``.
PART = 4 << 20

_EXACT_KEY: cache.Key = (EXACT, 0)
_R = errors.Reason


def create(
    verifier: service.Service, document: dict[str, Any], actor: str
) -> dict[str, Any]:
    """Add a policy under the name in its document.

    :raises Invalid: POLICY_INVALID.
    :raises Conflict: POLICY_CONFLICT, the name is taken, or there are
        MAX_POLICIES already.
    """
    loaded = _load(verifier, document)
    parts = _parts(document)
    try:
        _create(verifier, loaded, parts, actor)
    except db_exc.DBDuplicateEntry:
        raise errors.Conflict(
            _R.POLICY_CONFLICT, 'There is a policy of this name already.'
        ) from None
    return _find(verifier, loaded.name)


@api.retried
def _create(
    verifier: service.Service,
    loaded: policy.Policy,
    parts: Sequence[bytes],
    actor: str,
) -> None:
    with verifier.db.write() as session:
        count = (
            session.scalar(
                sa.select(sa.func.count()).select_from(models.Policy)
            )
            or 0
        )
        if count >= MAX_POLICIES:
            raise errors.Conflict(
                _R.POLICY_CONFLICT,
                f'There are {MAX_POLICIES} policies already.',
            )
        now = verifier.clock()
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
        _add_parts(session, row.uuid, 1, parts)
        audit.record(
            verifier,
            session,
            actor=actor,
            action='policy created',
            subject=loaded.name,
        )


def update(
    verifier: service.Service,
    name: str,
    document: dict[str, Any],
    revision: int,
    actor: str,
) -> dict[str, Any]:
    """Replace a policy's document.

    :param revision: the one that the caller has seen.
    :raises NotFound: NOT_FOUND.
    :raises Invalid: POLICY_INVALID, also if it has another name.
    :raises Conflict: POLICY_CONFLICT, there is a newer revision.
    """
    loaded = _load(verifier, document)
    if loaded.name != name:
        raise _invalid('/name', 'the policy keeps its name')
    _update(verifier, loaded, _parts(document), revision, actor)
    return _find(verifier, name)


@api.retried
def _update(
    verifier: service.Service,
    loaded: policy.Policy,
    parts: Sequence[bytes],
    revision: int,
    actor: str,
) -> None:
    table = models.Policy
    with verifier.db.write() as session:
        row = _row(session, loaded.name)
        if not api.swap(
            session,
            sa.update(table)
            .where(table.uuid == row.uuid, table.revision == revision)
            .values(
                revision=revision + 1,
                summary=_summary(loaded),
                updated_at=verifier.clock(),
                actor=actor,
            ),
        ):
            raise errors.Conflict(
                _R.POLICY_CONFLICT,
                'The policy was changed meanwhile; look at it again.',
                details={'revision': str(row.revision)},
            )
        _delete_parts(session, row.uuid)
        _add_parts(session, row.uuid, revision + 1, parts)
        audit.record(
            verifier,
            session,
            actor=actor,
            action='policy changed',
            subject=loaded.name,
            note=f'revision {revision + 1}',
        )


def list_policies(verifier: service.Service) -> list[dict[str, Any]]:
    """All of them without their documents; the built-in one is not listed."""
    with verifier.db.read() as session:
        return [
            _view(row)
            for row in session.scalars(
                sa.select(models.Policy).order_by(models.Policy.name)
            )
        ]


def show(verifier: service.Service, name: str) -> dict[str, Any]:
    """One of them with its document.

    :raises NotFound: NOT_FOUND.
    """
    if name == EXACT:
        return {
            **_summary(policy.EXACT),
            'name': EXACT,
            'uuid': None,
            'revision': 0,
            'created_at': None,
            'updated_at': None,
            'actor': '',
            'document': dict(policy.EXACT.document),
        }
    return _show(verifier, name)


@api.retried
def _show(verifier: service.Service, name: str) -> dict[str, Any]:
    with verifier.db.read() as session:
        row = _row(session, name)
        return {
            **_view(row),
            'document': _read(session, (row.uuid, row.revision)),
        }


@api.retried
def delete(verifier: service.Service, name: str, actor: str) -> None:
    """Hosts that no other one names are judged by the built-in one.

    :raises NotFound: NOT_FOUND.
    """
    with verifier.db.write() as session:
        row = _row(session, name)
        _delete_parts(session, row.uuid)
        session.delete(row)
        audit.record(
            verifier,
            session,
            actor=actor,
            action='policy deleted',
            subject=name,
        )


def find(verifier: service.Service, name: str) -> tuple[policy.Policy, int]:
    """A policy and its revision, the built-in one included.

    :raises NotFound: NOT_FOUND.
    """
    if name == EXACT:
        return policy.EXACT, 0
    with verifier.db.read() as session:
        row = _row(session, name)
        key = (row.uuid, row.revision)
    return verifier.policies.loaded(
        key, lambda one: _stored(verifier, one)
    ), key[1]


def applicable(
    verifier: service.Service, host: str
) -> tuple[policy.BoundPolicy, ...]:
    """The policies that judge a host, ready for use.

    :raises Unavailable: INTERNAL, a policy in the database is damaged.
    """
    table, held = models.Policy, verifier.policies
    with verifier.db.read() as session:
        rows = session.execute(
            sa.select(table.uuid, table.revision, table.summary).order_by(
                table.name
            )
        ).all()
    held.keep([*((row.uuid, row.revision) for row in rows), _EXACT_KEY])
    wanted = [
        (row.uuid, row.revision)
        for row in rows
        if policy.names(row.summary['hosts'], host)
    ]
    return held.get(
        wanted or [_EXACT_KEY],
        references.by_uuid(verifier),
        lambda key: _stored(verifier, key),
    )


def judging(session: orm.Session, host: str) -> list[str]:
    """Names of the policies that judge a host."""
    table = models.Policy
    rows = session.execute(
        sa.select(table.name, table.summary).order_by(table.name)
    )
    return [
        row.name for row in rows if policy.names(row.summary['hosts'], host)
    ] or [EXACT]


def _stored(verifier: service.Service, key: cache.Key) -> policy.Policy:
    if key == _EXACT_KEY:
        return policy.EXACT
    try:
        return policy.load(_document(verifier, key), verifier.rules)
    except errors.Invalid as exc:
        raise errors.Unavailable(
            _R.INTERNAL,
            f'A stored policy cannot be read by this release: {exc.message}',
            details=exc.details,
        ) from exc


@api.retried
def _document(verifier: service.Service, key: cache.Key) -> dict[str, Any]:
    with verifier.db.read() as session:
        return _read(session, key)


def _load(
    verifier: service.Service, document: dict[str, Any]
) -> policy.Policy:
    loaded = policy.load(document, verifier.rules)
    if loaded.name == EXACT:
        raise _invalid('/name', 'this is the name of the built-in policy')
    return loaded


def _invalid(pointer: str, what: str) -> errors.Invalid:
    return errors.Invalid(
        _R.POLICY_INVALID,
        f'The policy is invalid at {pointer}: {what}.',
        details={'pointer': pointer},
    )


def _summary(loaded: policy.Policy) -> dict[str, Any]:
    return {
        'description': loaded.description,
        'hosts': list(loaded.hosts),
        'rules': list(loaded.kinds),
    }


def _view(row: models.Policy) -> dict[str, Any]:
    return {
        **row.summary,
        'name': row.name,
        'uuid': row.uuid,
        'revision': row.revision,
        'created_at': row.created_at,
        'updated_at': row.updated_at,
        'actor': row.actor,
    }


def _find(verifier: service.Service, name: str) -> dict[str, Any]:
    with verifier.db.read() as session:
        return _view(_row(session, name))


def _row(session: orm.Session, name: str) -> models.Policy:
    row = session.get(models.Policy, name)
    if row is None:
        raise errors.NotFound(_R.NOT_FOUND)
    return row


def _parts(document: dict[str, Any]) -> list[bytes]:
    content = zlib.compress(
        json.dumps(document, separators=(',', ':')).encode(), 1
    )
    return [
        content[start : start + PART] for start in range(0, len(content), PART)
    ]


def _add_parts(
    session: orm.Session, owner: str, revision: int, parts: Sequence[bytes]
) -> None:
    for seq, content in enumerate(parts):
        session.add(
            models.PolicyPart(
                uuid=owner, revision=revision, seq=seq, content=content
            )
        )
        # One by one: together they are more than one statement may hold.
        session.flush()


def _delete_parts(session: orm.Session, owner: str) -> None:
    session.execute(
        sa.delete(models.PolicyPart).where(models.PolicyPart.uuid == owner)
    )


def _read(session: orm.Session, key: cache.Key) -> dict[str, Any]:
    """:raises Lost: another revision took its place just now."""
    table = models.PolicyPart
    parts = session.scalars(
        sa.select(table.content)
        .where(table.uuid == key[0], table.revision == key[1])
        .order_by(table.seq)
    ).all()
    if not parts:
        raise api.Lost()
    document: dict[str, Any] = json.loads(zlib.decompress(b''.join(parts)))
    return document
