# SPDX-License-Identifier: Apache-2.0
"""How the words of both ends decide a hand-over.

The table is in doc/source/contributor/custody.rst, Decisions; nothing here
knows what was decided before.
"""

from __future__ import annotations

import enum

from korora_nova import errors
from korora_nova.custody.words import MigrationState, Outcome, Role, Statement

#: Seconds for which a contradiction lasts before the hand-over is disputed.
PATIENCE = 60.0

_S = Statement
#: What each end may say.
WORDS: dict[Role, frozenset[Statement]] = {
    Role.SOURCE: frozenset(
        (_S.NEVER_STARTED, _S.KEPT, _S.ENDED_HERE, _S.STREAM_COMPLETED)
    ),
    Role.DEST: frozenset((_S.NO_DOMAIN, _S.ACTIVATED)),
}
#: The source's words by which its key stays.
STAYS = frozenset((_S.NEVER_STARTED, _S.KEPT, _S.ENDED_HERE))
#: What only a stream can have brought about.
_AFTER_STREAM = frozenset((_S.STREAM_COMPLETED, _S.ACTIVATED))
#: What a boot of an end says, if that end says nothing.
REBOOTED: dict[Role, Statement] = {
    Role.SOURCE: _S.ENDED_HERE,
    Role.DEST: _S.NO_DOMAIN,
}


class Verdict(enum.Enum):
    """What the words come to."""

    WAIT = 'wait'
    COMMITTED = Outcome.COMMITTED
    ABORTED = Outcome.ABORTED
    CONTRADICTION = 'contradiction'


def check_word(
    role: Role, word: Statement, *, moving: bool, decided: bool
) -> None:
    """Insist that an end may say this now (C8).

    :param moving: whether the start was signed.
    :param decided: whether a receipt was.
    :raises Forbidden: STATEMENT_NOT_ALLOWED.
    """
    if word not in WORDS[role] or (
        word in _AFTER_STREAM and not moving and not decided
    ):
        raise errors.Forbidden(errors.Reason.STATEMENT_NOT_ALLOWED)


def judge(
    source: Statement | None, dest: Statement | None, *, moving: bool
) -> Verdict:
    """What the last words of both ends come to; None: silent.

    :param moving: whether the start was signed.
    """
    if moving:
        return _judge_moving(source, dest)
    if dest == _S.ACTIVATED or source == _S.STREAM_COMPLETED:
        return Verdict.CONTRADICTION
    if source in STAYS or dest == _S.NO_DOMAIN:
        return Verdict.ABORTED
    return Verdict.WAIT


def _judge_moving(source: Statement | None, dest: Statement | None) -> Verdict:
    if source == _S.STREAM_COMPLETED:
        return Verdict.COMMITTED
    if dest == _S.ACTIVATED:
        if source in (None, _S.ENDED_HERE):
            return Verdict.COMMITTED
        return Verdict.CONTRADICTION
    if source in STAYS and dest == _S.NO_DOMAIN:
        return Verdict.ABORTED
    return Verdict.WAIT


def may_replace(
    role: Role, old: Statement | None, other: Statement | None, *, moving: bool
) -> bool:
    """Whether an end may say something else than it said before.

    What the other end may have acted on is final: that the stream has
    completed, and that the guest runs at the destination unless the source
    contradicts that.

    :param old: its word now; ``other`` is the other end's.
    """
    if old == _S.STREAM_COMPLETED:
        return False
    if old == _S.ACTIVATED:
        return judge(other, old, moving=moving) == Verdict.CONTRADICTION
    return True


def is_agreed(
    source: Statement | None, dest: Statement | None, *, moving: bool
) -> bool:
    """Whether both ends have spoken and do not contradict each other."""
    spoken = source is not None and dest is not None
    return spoken and judge(source, dest, moving=moving) in (
        Verdict.COMMITTED,
        Verdict.ABORTED,
    )


def is_disputed(contradicted_at: float | None, now: float) -> bool:
    """Whether a contradiction has lasted; both in seconds since 1970."""
    return contradicted_at is not None and now - contradicted_at >= PATIENCE


def shown_state(
    state: MigrationState, contradicted_at: float | None, now: float
) -> MigrationState:
    """The state that readers are told."""
    if is_disputed(contradicted_at, now):
        return MigrationState.DISPUTED
    return state
