# SPDX-License-Identifier: Apache-2.0
"""What every anchor does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol

from oslo_config import cfg


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

    def rise(self, incarnation: str, instance: str, mark: Mark) -> None:
        """Raise a server's mark; one that is as high or higher stays.

        On stable storage when this returns.

        :raises Conflict: LEDGER_FORKED, it has another document of this
            version.
        """
