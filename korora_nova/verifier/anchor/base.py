# SPDX-License-Identifier: Apache-2.0
"""What every anchor does, and how it refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol

from oslo_config import cfg

from korora_nova import errors


class Mark(NamedTuple):
    """A server's newest document.

    :param version: of the document, from 1.
    :param digest: ``signed.token.digest`` of it, hex.
    """

    version: int
    digest: str


class Anchor(Protocol):
    """What a driver is; one per process, used by many threads.

    Each method raises Unavailable (ANCHOR_UNAVAILABLE) if the anchor does
    not answer, and Conflict (ANCHOR_MISSING) if it was not made, or for
    another ledger.

    :cvar GUARANTEES: a database that is restored does not take it along.
    """

    GUARANTEES: ClassVar[bool]

    def __init__(self, conf: cfg.ConfigOpts) -> None: ...

    def create(self, incarnation: str) -> None:
        """Make it, empty, for one ledger: on an operator's order only.

        :raises Conflict: ANCHOR_EXISTS, there is one.
        """

    def get(
        self, incarnation: str, instances: Sequence[str]
    ) -> Mapping[str, Mark]:
        """The marks of servers; those without any are left out."""

    def servers(
        self, incarnation: str, after: str, limit: int
    ) -> Sequence[str]:
        """Servers that have a mark, in order.

        :param after: begin behind this server.
        :param limit: as many at most.
        """

    def rise(self, incarnation: str, instance: str, mark: Mark) -> None:
        """Raise a server's mark; one that is as high or higher stays.

        On stable storage when this returns.

        :raises Conflict: LEDGER_FORKED, it has another document of this
            version.
        """


def is_news(held: Mark | None, mark: Mark, instance: str) -> bool:
    """Whether a mark is above the one that a server has.

    :raises Conflict: LEDGER_FORKED.
    """
    if held is None or held.version < mark.version:
        return True
    if held.version == mark.version and held.digest != mark.digest:
        raise errors.Conflict(
            errors.Reason.LEDGER_FORKED,
            f'The anchor knows another document {mark.version} of server '
            f'{instance} than the database: another service signed it, or '
            'the database went back and went on from there.',
            details={'instance': instance, 'version': str(mark.version)},
        )
    return False


def unavailable(where: str, why: str) -> errors.Unavailable:
    """The error for an anchor that does not answer.

    :param where: as in "The anchor, WHERE, does not ...".
    """
    return errors.Unavailable(
        errors.Reason.ANCHOR_UNAVAILABLE,
        f'The anchor, {where}, does not answer as it should: {why}.',
    )


def misconfigured(why: str) -> errors.Unavailable:
    """The error for options of ``[anchor]`` that cannot work."""
    return errors.Unavailable(errors.Reason.ANCHOR_UNAVAILABLE, why)


def missing(where: str, why: str = 'nothing is there') -> errors.Conflict:
    """The error for an anchor that was not made, or is gone."""
    return errors.Conflict(
        errors.Reason.ANCHOR_MISSING,
        f'The anchor, {where}, cannot be used: {why}. If it was never made, '
        'run "korora-manage anchor create"; if it was, find out where it '
        'went first.',
    )


def exists(where: str) -> errors.Conflict:
    """The error for an anchor that is to be made, but is there."""
    return errors.Conflict(
        errors.Reason.ANCHOR_EXISTS,
        f'The anchor, {where}, was made before. It is never emptied; to '
        'begin a new one, put this one aside.',
    )


def check_ledger(where: str, found: str | None, incarnation: str) -> None:
    """Refuse an anchor that is not this ledger's.

    :raises Conflict: ANCHOR_MISSING.
    """
    if found is None:
        raise missing(where)
    if found != incarnation:
        raise missing(
            where, f'it belongs to the ledger {found}, not to {incarnation}'
        )
