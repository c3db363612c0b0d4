# SPDX-License-Identifier: Apache-2.0
"""What a driver of a source is.

A package names one as an entry point in :data:`NAMESPACE`; the name is that
of the source. The class is given the configuration.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, NoReturn, Protocol

from oslo_config import cfg

from korora_nova import errors
from korora_nova.rats.words import Tier

NAMESPACE = 'korora.verdict_source'


class Enrolled(NamedTuple):
    """A host that is asked about.

    :param ek_name: of its endorsement key, as ``enrolment.ek_name``.
    """

    host: str
    ek_name: str


@dataclasses.dataclass(frozen=True)
class Said:
    """What a source says of a host; see :class:`korora_nova.rats.verdict`."""

    tier: Tier
    reasons: tuple[str, ...]
    subject: str
    issued: float
    expires: float


@dataclasses.dataclass(frozen=True)
class Known:
    """Whose TPM a source means by one of its names.

    :param ek_name: of the key when the name was first seen.
    :param agrees: whether the source still says so.
    :param count: of a record, whatever grows while it is the same one.
    :param read_at: when the key was last read, seconds since 1970.
    """

    ek_name: str
    agrees: bool
    count: int
    read_at: float


@dataclasses.dataclass(frozen=True)
class Asked:
    """One answer: about hosts, and all names that the source has."""

    said: Mapping[str, Said]
    known: Mapping[str, Known] = dataclasses.field(default_factory=dict)


class Source(Protocol):
    """Something that says which hosts are trusted.

    :cvar PROOF: whether evidence of the host stands behind what it says.
    :cvar ASKED: whether it is asked, by ``korora-sources``.
    """

    PROOF: ClassVar[bool]
    ASKED: ClassVar[bool]

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        """:raises Unavailable: SOURCE_INVALID."""

    def ask(
        self,
        hosts: Sequence[Enrolled],
        known: Mapping[str, Known],
        now: float,
    ) -> Asked:
        """Ask about hosts, within a total time.

        :param known: as the last answer had it.
        :param now: seconds since 1970.
        :raises Unavailable: SOURCE_UNAVAILABLE; what was said before counts
            until it expires.
        """


def unavailable(source: str, why: str) -> errors.Unavailable:
    """The source gives no answer that may be used."""
    return errors.Unavailable(
        errors.Reason.SOURCE_UNAVAILABLE,
        f'The source {source} gives no verdicts: {why}.',
    )


def misconfigured(why: str) -> NoReturn:
    """:raises Unavailable: SOURCE_INVALID."""
    raise errors.Unavailable(errors.Reason.SOURCE_INVALID, why)
