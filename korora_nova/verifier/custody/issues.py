# SPDX-License-Identifier: Apache-2.0
"""What is the matter with a server's key, for operators."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from korora_nova.custody import decision
from korora_nova.custody.exits import LedgerState
from korora_nova.rats.words import Tier, Word
from korora_nova.verifier import results
from korora_nova.verifier.custody import ends
from korora_nova.verifier.custody.standing import Standing
from korora_nova.verifier.db import models
from korora_nova.verifier.nova_record import NovaServer

#: Seconds after which a hand-over that is not decided is an issue: by then
#: both ends have given up by themselves.
PATIENCE = 900.0
#: Seconds after a decision in which Nova notes the server's new host.
NOVA_NOTES = 120.0


class IssueId(Word):
    """Stable ids."""

    BEHIND = 'behind'
    FORKED = 'forked'
    DISPUTED = 'disputed'
    PENDING = 'pending'
    HOLDER_UNKNOWN = 'holder-unknown'
    HOLDER_EVICTED = 'holder-evicted'
    HOLDER_UNTRUSTED = 'holder-untrusted'
    NO_COPY = 'no-copy'
    OLD_KEY = 'old-key'
    RELEASED = 'released'
    GONE = 'gone'
    ELSEWHERE = 'elsewhere'


@dataclasses.dataclass(frozen=True)
class Issue:
    """One thing that is the matter."""

    id: IssueId
    message: str

    def to_json(self) -> dict[str, object]:
        return {'id': self.id, 'message': self.message}


@dataclasses.dataclass(frozen=True)
class Facts:
    """What issues of some servers are found in.

    :param servers: rows by server; ``migrations`` by id; ``hosts`` by name.
    :param heads: when their newest documents were stored, by digest.
    :param kid: of the approval key that is active.
    :param nova: what Nova has of those servers that it was asked about.
    """

    servers: Mapping[str, models.Server]
    migrations: Mapping[str, models.Migration]
    hosts: Mapping[str, models.Host]
    heads: Mapping[str, float]
    kid: str
    now: float
    nova: Mapping[str, NovaServer | None]


def of_nova(found: Standing, facts: Facts) -> Iterator[Issue]:
    """What Nova says otherwise than the ledger."""
    if found.instance not in facts.nova:
        return
    server, row = facts.nova[found.instance], found.told
    if server is None:
        yield Issue(
            IssueId.GONE,
            'Nova does not have the server any more: release it.',
        )
    elif (
        row is not None
        and not (row.pending or row.disputed)
        and None not in (row.holder, server.host)
        and row.holder != server.host
        and facts.now - facts.heads.get(row.head, 0.0) >= NOVA_NOTES
    ):
        yield Issue(
            IssueId.ELSEWHERE,
            f'Nova has the server on host {server.host}, and host '
            f'{row.holder} holds its key: if its guest runs there, correct '
            "Nova's record; if it runs nowhere, reissue the key.",
        )


def find(found: Standing, facts: Facts) -> Iterator[Issue]:
    """All but what Nova has to be asked about."""
    if found.state == LedgerState.BEHIND:
        version = found.mark.version if found.mark else 0
        yield Issue(
            IssueId.BEHIND,
            f'The database lacks document {version}: present it, or reissue '
            'the key.',
        )
        return
    if found.state == LedgerState.FORKED:
        yield Issue(
            IssueId.FORKED,
            'The anchor knows another newest document: reissue the key.',
        )
        return
    if found.state == LedgerState.RELEASED:
        yield Issue(
            IssueId.RELEASED, 'The server waits for its next start: start it.'
        )
    row = found.row
    if row is None:
        return
    yield from _of_migration(row.disputed or row.pending, facts)
    if row.holder is not None:
        yield from _of_holder(row.holder, facts)
        yield from _of_copy(facts.servers[found.instance], facts)


def _of_migration(migration: str | None, facts: Facts) -> Iterator[Issue]:
    row = facts.migrations.get(migration or '')
    if row is None:
        return
    if row.contradicted_at is not None:
        if decision.is_disputed(row.contradicted_at, facts.now):
            yield Issue(
                IssueId.DISPUTED,
                f'Hosts {row.source} and {row.dest} contradict each other '
                f'about migration {row.id}: resolve it.',
            )
    elif facts.now - row.updated_at >= PATIENCE:
        minutes = int((facts.now - row.updated_at) // 60)
        yield Issue(
            IssueId.PENDING,
            f'Migration {row.id} from {row.source} to {row.dest} is '
            f'{row.status} for {minutes} minutes: bring both agents back, or '
            'resolve it.',
        )


def _of_holder(name: str, facts: Facts) -> Iterator[Issue]:
    host = facts.hosts.get(name)
    if host is None:
        yield Issue(
            IssueId.HOLDER_UNKNOWN,
            f'Host {name} holds the key, and is not known: enrol or evict it.',
        )
    elif host.evicted_at is not None:
        yield Issue(
            IssueId.HOLDER_EVICTED,
            f'Host {name} holds the key, and was evicted: evict it again.',
        )
    else:
        tier, reasons = results.current(host, facts.now)
        if tier != Tier.AFFIRMING:
            yield Issue(
                IssueId.HOLDER_UNTRUSTED,
                f'Host {name} holds the key, and is not trusted: '
                f'{" ".join(reasons)}.',
            )


def _of_copy(server: models.Server, facts: Facts) -> Iterator[Issue]:
    host = facts.hosts.get(server.holder or '')
    since = server.reported_at or facts.heads.get(server.head)
    if host is not None and ends.is_missing(host, server, since, facts.now):
        yield Issue(
            IssueId.NO_COPY,
            f'Host {server.holder} reports that it has no copy of the key: '
            'restore its vault, or reissue the key.',
        )
    elif server.approval_kid not in (None, '', facts.kid):
        yield Issue(
            IssueId.OLD_KEY,
            f'The key rests under approval key {server.approval_kid}, which '
            f'is not active; host {server.holder} reseals it by itself.',
        )
