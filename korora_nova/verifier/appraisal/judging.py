# SPDX-License-Identifier: Apache-2.0
"""Which policies judge a host.

A host is appraised by every policy that names it, and by the built-in one
if none does.  A change counts from the host's next attestation on.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova.rats import policy
from korora_nova.verifier import cache, records
from korora_nova.verifier.appraisal import documents, references
from korora_nova.verifier.db import models
from korora_nova.verifier.service import Service


def names(session: orm.Session, host: str) -> list[str]:
    """Names of the policies that judge a host."""
    table = models.Policy
    rows = session.execute(
        sa.select(table.name, table.summary).order_by(table.name)
    )
    return [
        row.name for row in rows if policy.names(row.summary['hosts'], host)
    ] or [documents.EXACT]


def bound(
    service: Service, record: records.Record
) -> tuple[policy.BoundPolicy, ...]:
    """The policies that judge a host, ready for use.

    :raises Unavailable: INTERNAL, a policy in the database is damaged.
    """
    held = service.policies
    rules = held.rules
    if rules is None or rules.key != record.rules:
        before, rules = rules, _read(service)
        held.rules = rules
        if before is None or before.key != rules.key:
            service.judgements.clear()
        held.keep([*(key for key, _ in rules.policies), documents.EXACT_KEY])
    return _bound(service, rules, record.host.name)


def bound_to(service: Service, host: str) -> tuple[policy.BoundPolicy, ...]:
    """The same, of a host that does not attest just now."""
    return _bound(service, _read(service), host)


def _bound(
    service: Service, rules: cache.Rules, host: str
) -> tuple[policy.BoundPolicy, ...]:
    wanted = [
        key for key, hosts in rules.policies if policy.names(hosts, host)
    ]
    return service.policies.get(
        wanted or [documents.EXACT_KEY],
        references.by_ids(service, rules.references),
        lambda key: documents.load(service, key),
    )


def _read(service: Service) -> cache.Rules:
    """All rules there are now."""
    table = models.Policy
    with service.db.read() as session:
        rows = session.execute(
            sa.select(table.uuid, table.revision, table.summary).order_by(
                table.name
            )
        ).all()
        uuids = references.ids(session)
    return cache.Rules(
        frozenset([*(f'{row.uuid}:{row.revision}' for row in rows), *uuids]),
        tuple(
            ((row.uuid, row.revision), tuple(row.summary['hosts']))
            for row in rows
        ),
        uuids,
    )
