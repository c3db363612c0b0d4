# SPDX-License-Identifier: Apache-2.0
"""Who the hosts of a fleet are, and what each does when; pure.

All of it follows from a seed, host by host and round by round, so that it
does not depend on which thread came first.
"""

from __future__ import annotations

import dataclasses
import enum
import random
import uuid
from collections.abc import Sequence


class Kind(str, enum.Enum):
    """What is special about a host."""

    STEADY = 'steady'
    REBOOTS = 'reboots'
    DRIFTS = 'drifts'
    FLAPS = 'flaps'
    SKEWED = 'skewed'
    SILENT = 'silent'
    LIES = 'lies'
    MALFORMED = 'malformed'


class Act(str, enum.Enum):
    """What a host does before, or in place of, an attestation."""

    NOTHING = 'nothing'
    #: New files that the reference has.
    MEASURE = 'measure'
    #: Into the state that the reference has.
    REBOOT = 'reboot'
    #: A file that no reference has.
    DRIFT = 'drift'
    #: Into another recorded boot.
    BOOT_OTHER = 'boot-other'
    #: No attestation in this round.
    SKIP = 'skip'
    #: Evidence that is not what the TPM and the logs say.
    LIE = 'lie'
    #: A request that is none.
    GARBAGE = 'garbage'


#: Share of the hosts, percent; the rest is steady.
SHARES = {
    Kind.REBOOTS: 10,
    Kind.DRIFTS: 5,
    Kind.FLAPS: 5,
    Kind.SKEWED: 5,
    Kind.SILENT: 5,
    Kind.LIES: 5,
    Kind.MALFORMED: 5,
}
#: Of one host by kind; what is not named is good throughout.
_TURNS: dict[Kind, tuple[Act, ...]] = {
    Kind.REBOOTS: (Act.REBOOT, Act.NOTHING, Act.MEASURE),
    Kind.FLAPS: (Act.BOOT_OTHER, Act.REBOOT, Act.DRIFT, Act.REBOOT),
    Kind.LIES: (Act.LIE,),
    Kind.MALFORMED: (Act.GARBAGE, Act.NOTHING),
}
_CALM = (Act.NOTHING, Act.NOTHING, Act.NOTHING, Act.MEASURE)
#: How wrong the clock of a skewed host is, seconds either way, at most: the
#: agent refuses what is signed 30 s in its future.
SKEW = 20.0
#: Files that the reference has, and how many are measured at once.
KNOWN = 400
AT_ONCE = 3


@dataclasses.dataclass(frozen=True)
class Member:
    """One host.

    :param number: its place in the fleet.
    :param skew: seconds by which its clock is ahead.
    """

    number: int
    name: str
    kind: Kind
    skew: float
    seed: int

    def dice(self, turn: int) -> random.Random:
        """Of one round."""
        return random.Random(f'{self.seed}/{self.name}/{turn}')  # noqa: S311

    def act(self, turn: int) -> Act:
        """What it does in a round; the first one is calm."""
        if turn == 0 and self.kind is not Kind.LIES:
            return Act.NOTHING
        if self.kind is Kind.DRIFTS:
            # Once, and nobody looks after it
            return Act.DRIFT if turn == 1 else Act.NOTHING
        if self.kind is Kind.SILENT:
            return Act.SKIP if turn % 2 else Act.NOTHING
        turns = _TURNS.get(self.kind)
        if turns is None:
            return self.dice(turn).choice(_CALM)
        return turns[(turn + self.number) % len(turns)]

    def files(self, turn: int) -> list[str]:
        """What is measured in a round."""
        return [
            known(self.dice(turn).randrange(KNOWN)) for _ in range(AT_ONCE)
        ]


def known(number: int) -> str:
    """A file of the reference."""
    return f'/usr/bin/program-{number:03}'


def members(count: int, seed: int) -> list[Member]:
    """The fleet: the first ones are steady, for a reference and custody."""
    dice = random.Random(f'{seed}/fleet')  # noqa: S311
    calm = custodians(count)
    kinds = [
        kind
        for kind, share in SHARES.items()
        for _ in range(count * share // 100)
    ]
    kinds += [Kind.STEADY] * (count - calm - len(kinds))
    kinds = kinds[: count - calm]
    dice.shuffle(kinds)
    return [
        Member(
            number,
            f'compute-{number:05}.example.org',
            kind,
            round(dice.uniform(-SKEW, SKEW), 3) if kind is Kind.SKEWED else 0,
            seed,
        )
        for number, kind in enumerate([Kind.STEADY] * calm + kinds)
    ]


def custodians(count: int) -> int:
    """How many hosts of a fleet have protected servers."""
    return max(3, min(24, count // 10))


class End(str, enum.Enum):
    """How a hand-over ends."""

    COMMITTED = 'committed'
    #: The stream broke: the guest stays.
    ABORTED = 'aborted'
    #: The source gave up before the stream.
    NEVER_STARTED = 'never-started'


@dataclasses.dataclass(frozen=True)
class Move:
    """One migration of a server.

    :param dest: number of a host.
    """

    uuid: str
    dest: int
    end: End


@dataclasses.dataclass(frozen=True)
class Life:
    """One protected server: claimed, opened, moved, maybe deleted.

    :param host: number of the host that claims it.
    :param key: TPM name of what its key is sealed in.
    """

    instance: str
    host: int
    key: str
    moves: tuple[Move, ...]
    deleted: bool


def lives(count: int, hosts: Sequence[Member], seed: int) -> list[Life]:
    """Custody traffic.

    :param hosts: those that take part.
    """
    return [_life(number, hosts, seed) for number in range(count)]


def _life(number: int, hosts: Sequence[Member], seed: int) -> Life:
    dice = random.Random(f'{seed}/life/{number}')  # noqa: S311
    here = first = dice.choice(hosts).number
    moves = []
    for _ in range(dice.randrange(1, 4)):
        there = dice.choice(
            [one.number for one in hosts if one.number != here]
        )
        end = dice.choice(
            [End.COMMITTED, End.COMMITTED, End.ABORTED, End.NEVER_STARTED]
        )
        moves.append(Move(_uuid(dice), there, end))
        if end is End.COMMITTED:
            here = there
    return Life(
        _uuid(dice),
        first,
        '000b' + dice.randbytes(32).hex(),
        tuple(moves),
        dice.random() < 0.3,
    )


def _uuid(dice: random.Random) -> str:
    return str(uuid.UUID(bytes=dice.randbytes(16), version=4))
