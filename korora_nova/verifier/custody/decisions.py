# SPDX-License-Identifier: Apache-2.0
"""How a hand-over ends (C8): the words of both ends, and what they come to.

- Each end says a word on what it sees; its last word counts. What the words
  come to is in :mod:`korora_nova.custody.decision`.
- When they decide, the receipt is signed in the same transaction. Words that
  contradict each other close the key to everybody; if they agree later on
  something else than the receipt says, another receipt follows it.
- A word that was said before changes nothing, nor does any word when both
  ends agree with the receipt or the server has a later document.
- A host that has just become untrusted may still say what it sees; the
  reasons for doubt are kept.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

import sqlalchemy as sa
from oslo_log import log as logging
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody import bodies, decision
from korora_nova.custody.decision import Verdict
from korora_nova.custody.exchange import Told
from korora_nova.custody.ledger import LedgerRow
from korora_nova.custody.moves import Move
from korora_nova.custody.receipt import Receipt
from korora_nova.custody.words import (
    MigrationState,
    Outcome,
    Role,
    Statement,
)
from korora_nova.rats.signed import token as tokens
from korora_nova.verifier import audit
from korora_nova.verifier.attested import Attested
from korora_nova.verifier.custody import (
    documents,
    ledger,
    migrations,
)
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

LOG = logging.getLogger(__name__)

#: Hand-overs of one host that a boot of it speaks for at once.
REBOOTS = 64

_R = errors.Reason
_WORD = {Role.SOURCE: 'source_word', Role.DEST: 'dest_word'}


@dataclasses.dataclass(frozen=True)
class _Said:
    """A word, and who says it.

    :param taint: why its host is not trusted.
    """

    role: Role
    word: Statement
    actor: str
    taint: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Stand:
    """How a hand-over stands, and what a word makes of it.

    :param read: reads the newest receipt, None without any.
    """

    migration: models.Migration
    row: LedgerRow | None
    read: Callable[[], str | None]
    said: _Said

    @functools.cached_property
    def receipt(self) -> str:
        """The newest receipt, '' without any."""
        return self.read() or ''

    @property
    def moving(self) -> bool:
        return self.migration.start_hash is not None

    @property
    def decided(self) -> Outcome | None:
        """What the newest receipt says."""
        if self.migration.status not in migrations.DECIDED:
            return None
        return Outcome(self.migration.status)

    @property
    def closed(self) -> bool:
        """Whether words do not count any more."""
        newest = self.row.head if self.row is not None else None
        if self.decided is None:
            pending = self.row.pending if self.row is not None else None
            return pending != self.migration.id
        if not self.receipt or tokens.digest(self.receipt).hex() != newest:
            return True
        before = self._judge({})
        return self._agreed({}) and before.value == self.decided

    @property
    def final(self) -> bool:
        """Whether its end has said something that it cannot take back."""
        words = dict(
            zip((Role.SOURCE, Role.DEST), self._words({}), strict=True)
        )
        mine = words.pop(self.said.role)
        (other,) = words.values()
        return self.said.word != mine and not decision.may_replace(
            self.said.role, mine, other, moving=self.moving
        )

    @property
    def verdict(self) -> Verdict:
        """What the words come to, with this one."""
        return self._judge({self.said.role: self.said.word})

    @property
    def outcome(self) -> Outcome | None:
        """What is to be signed now; None if nothing is."""
        verdict = self.verdict
        if verdict not in (Verdict.COMMITTED, Verdict.ABORTED):
            return None
        outcome = Outcome(verdict.value)
        if self.decided is None:
            return outcome
        agreed = self._agreed({self.said.role: self.said.word})
        return outcome if agreed and outcome != self.decided else None

    def _words(
        self, new: Mapping[Role, Statement]
    ) -> tuple[Statement | None, Statement | None]:
        source, dest = self.migration.source_word, self.migration.dest_word
        return (
            new.get(Role.SOURCE, Statement(source) if source else None),
            new.get(Role.DEST, Statement(dest) if dest else None),
        )

    def _judge(self, new: Mapping[Role, Statement]) -> Verdict:
        return decision.judge(*self._words(new), moving=self.moving)

    def _agreed(self, new: Mapping[Role, Statement]) -> bool:
        return decision.is_agreed(*self._words(new), moving=self.moving)


def tell(service: Service, attested: Attested, body: bodies.Tell) -> Told:
    """Hear a word of one end of a hand-over.

    :returns: the receipt, or '' while nothing is decided and after an end
        without permit.
    :raises NotFound: MIGRATION_UNKNOWN.
    :raises Forbidden: STATEMENT_NOT_ALLOWED.
    :raises Conflict: LEDGER_BEHIND, HOSTS_UNHEARD.
    :raises Unavailable: ANCHOR_UNAVAILABLE.
    """

    def said(known: models.Migration) -> _Said:
        role = migrations.role_of(attested, known)
        return _Said(role, body.statement, attested.host, attested.reasons)

    receipt = _say(service, body.migration, said)
    if receipt is None:
        receipt = _lost(service, attested, body.migration)
    return Told(receipt)


def _lost(service: Service, attested: Attested, migration: str) -> str:
    """The receipt of a hand-over of which nothing else is known.

    :raises NotFound: MIGRATION_UNKNOWN, there is none for this host.
    :raises Conflict: LEDGER_BEHIND, another one may have followed it.
    """
    with service.db.read() as session:
        found = documents.of_migration(service, session, migration)
    for item in reversed(found):
        content = item.content
        if isinstance(content, Receipt) and attested.host in (
            content.source,
            content.dest,
        ):
            ledger.current(service, content.instance)
            return item.token
    raise errors.NotFound(_R.MIGRATION_UNKNOWN)


@api.retried
def _say(
    service: Service,
    migration: str,
    speak: Callable[[models.Migration], _Said],
) -> str | None:
    """Hear a word; returns the receipt, '' while there is none.

    What it comes to is found out first, because a transaction that signs
    has other conditions, and again in the transaction.

    :param speak: who says what, of the hand-over as it stands.
    :returns: None: the hand-over is not known.
    """
    with service.db.read() as session:
        known = session.get(models.Migration, migration)
        if known is None:
            return None
        said, instance = speak(known), known.instance
        row = ledger.load(session, instance)
        signs = _signs(_stand(session, known, said, row))
    return ledger.attempt(
        service,
        instance,
        functools.partial(_hear, service, migration, said, signs),
        point='v.decide' if signs else 'v.word',
        signs=signs,
    )


def _stand(
    session: orm.Session,
    known: models.Migration,
    said: _Said,
    row: LedgerRow | None,
) -> _Stand:
    return _Stand(
        known,
        row,
        functools.partial(documents.receipt_of, session, known.id),
        said,
    )


def _signs(stand: _Stand) -> bool:
    if stand.migration.status == MigrationState.RECEIVING:
        return False
    if stand.closed or stand.final:
        return False
    return stand.outcome is not None


def _hear(
    service: Service,
    migration: str,
    said: _Said,
    signs: bool,
    session: orm.Session,
    row: LedgerRow | None,
) -> str:
    known = migrations.get(session, migration)
    stand = _stand(session, known, said, row)
    if _signs(stand) != signs:
        raise api.Lost()
    if known.permit_hash is None:
        _close(service, session, known, said)
        return ''
    decision.check_word(
        said.role,
        said.word,
        moving=stand.moving,
        decided=stand.decided is not None,
    )
    if stand.closed or stand.final or row is None:
        return stand.receipt
    values = _noted(service, stand)
    outcome = stand.outcome
    if outcome is not None:
        return sign_receipt(
            service,
            session,
            row,
            known,
            outcome,
            actor=said.actor,
            note=' '.join((said.word, *said.taint)),
            words=values,
        )
    disputed = known.id if stand.verdict == Verdict.CONTRADICTION else None
    if row.disputed != disputed:
        ledger.replace(
            session, row, dataclasses.replace(row, disputed=disputed)
        )
        audit.record(
            service,
            session,
            actor=said.actor,
            action='contradicted' if disputed else 'agreed',
            subject=known.id,
            note=' '.join((said.word, *said.taint)),
        )
    if values:
        migrations.change(service, session, known, **values)
    return stand.receipt


def _noted(service: Service, stand: _Stand) -> dict[str, object]:
    """The columns of the hand-over that a word changes."""
    known, said = stand.migration, stand.said
    contradicted_at = None
    if stand.verdict == Verdict.CONTRADICTION:
        contradicted_at = known.contradicted_at or service.clock()
    values = {
        _WORD[said.role]: str(said.word),
        'contradicted_at': contradicted_at,
        'taint': sorted({*known.taint, *said.taint}),
    }
    return {
        name: value
        for name, value in values.items()
        if getattr(known, name) != value
    }


def _close(
    service: Service,
    session: orm.Session,
    known: models.Migration,
    said: _Said,
) -> None:
    """No permit was signed yet: make sure that none will be."""
    decision.check_word(said.role, said.word, moving=False, decided=False)
    if known.status != MigrationState.RECEIVING:
        return
    migrations.change(
        service,
        session,
        known,
        status=MigrationState.ABORTED,
        **{_WORD[said.role]: str(said.word)},
    )
    audit.record(
        service,
        session,
        actor=said.actor,
        action='closed',
        subject=known.id,
        note=said.word,
    )


def sign_receipt(
    service: Service,
    session: orm.Session,
    row: LedgerRow,
    migration: models.Migration,
    outcome: Outcome,
    *,
    actor: str,
    note: str,
    words: Mapping[str, object] | None = None,
) -> str:
    """Decide a hand-over: ledger and migration move together.

    :param row: rests on the hand-over's permit or start, or on a receipt
        of it that the new one supersedes.
    :param outcome: COMMITTED or ABORTED.
    :param words: what else changes in the hand-over's row.
    :returns: the receipt.
    """
    new_epoch = migration.new_epoch or 0
    values = {'contradicted_at': None, **(words or {})}
    said = {
        name: str(values.get(name) or getattr(migration, name) or '')
        for name in _WORD.values()
    }
    holder = (
        (migration.dest, new_epoch)
        if outcome == Outcome.COMMITTED
        else (migration.source, migration.epoch or 0)
    )
    receipt = Receipt(
        **documents.next_place(service, session, row.instance, row),
        migration=migration.id,
        epoch=new_epoch,
        outcome=outcome,
        source=migration.source,
        dest=migration.dest,
        permit_hash=migration.permit_hash or '',
        **said,
        holder=holder[0],
        held=holder[1],
    )
    moved = holder != (row.holder, row.epoch)
    boot = _boot(migration, outcome) if moved else None
    token = documents.append(service, session, row, receipt, boot)
    migrations.change(
        service,
        session,
        migration,
        **{**values, 'status': MigrationState(outcome)},
    )
    audit.record(
        service,
        session,
        actor=actor,
        action=outcome,
        subject=migration.id,
        note=note,
    )
    return token


def _boot(migration: models.Migration, outcome: Outcome) -> str | None:
    """In which boot the new holder had the key opened."""
    if outcome == Outcome.COMMITTED:
        return migration.dest_reset_restart
    return migration.source_reset_restart


def rebooted(service: Service, attested: Attested) -> None:
    """A boot of an end that has said nothing speaks for it.

    What cannot be settled now is, by the host's next attestation.
    """
    boot = attested.quote.clock.reset_restart.hex()
    for migration, role in _silent(service, attested, boot):
        said = _Said(
            role, decision.REBOOTED[role], attested.host, attested.reasons
        )
        try:
            _say(service, migration, functools.partial(_always, said))
        except errors.KororaError as exc:
            LOG.warning(
                'The boot of host %(host)s cannot count in migration '
                '%(migration)s yet: %(why)s',
                {'host': attested.host, 'migration': migration, 'why': exc},
            )


def _always(said: _Said, _: models.Migration) -> _Said:
    return said


def _silent(
    service: Service, attested: Attested, boot: str
) -> list[tuple[str, Role]]:
    """Hand-overs of which the host is an end that was booted since.

    Not cold ones: no guest was to survive, and Nova goes on after the boot.
    """
    table = models.Migration
    source = sa.and_(
        table.source == attested.host,
        table.ak_source == attested.ak_name,
        table.source_word.is_(None),
        table.source_reset_restart != boot,
    )
    dest = sa.and_(
        table.dest == attested.host,
        table.ak_dest == attested.ak_name,
        table.dest_word.is_(None),
        table.dest_reset_restart != boot,
    )
    with service.db.read() as session:
        found = session.execute(
            sa.select(table.id, table.source)
            .where(
                table.status.in_(migrations.OPEN),
                table.kind == Move.LIVE,
                sa.or_(source, dest),
            )
            .limit(REBOOTS)
        ).all()
    return [
        (
            row.id,
            Role.SOURCE if row.source == attested.host else Role.DEST,
        )
        for row in found
    ]
