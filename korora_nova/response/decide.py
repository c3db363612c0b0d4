# SPDX-License-Identifier: Apache-2.0
"""To which hosts something is done; pure.

- A host can lose only trust that was seen: one that was bad from the
  beginning has nothing to lose.
- It has lost its trust after several bad results in a row, and has it back
  after several good ones. Silence is neither: a host that does not speak, or a
  service that does not answer, changes nothing.
- What one host does moves nothing but itself, and the count of the fleet.
- If too many hosts are bad, or lost their trust in short time, it is the
  policy, not the hosts: responses are *held*, from the first one on, until an
  operator decides.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence

from korora_nova.verifier.responses.words import FLEET, State


@dataclasses.dataclass(frozen=True)
class Settings:
    """See ``[response]``.

    :param bad_results: in a row, after which trust is lost; ``good_results``
        after which it is back.
    :param max_share: of the fleet, that may be bad while anything is done.
    :param max_hosts: to which something is done in ``window`` seconds.
    :param drivers: names of those that are on, and whether each one touches
        hosts or only tells.
    """

    bad_results: int
    good_results: int
    max_share: float
    max_hosts: int
    window: float
    approval: bool
    dry_run: bool
    drivers: Mapping[str, bool]


@dataclasses.dataclass(frozen=True)
class Seen:
    """A host's result that counts now.

    :param issued: seconds since 1970, by the service's clock.
    :param final: an operator said so; no other result follows.
    """

    good: bool
    issued: float
    reasons: Sequence[str] = ()
    final: bool = False


@dataclasses.dataclass(frozen=True)
class Belief:
    """What is believed of a host that was seen trusted.

    :param streak: results in a row that say otherwise.
    :param seen: when the last one of them was issued.
    """

    lost: bool = False
    streak: int = 0
    seen: float = 0.0


@dataclasses.dataclass(frozen=True)
class Fleet:
    """What is known before a look.

    :param beliefs: of the hosts that there are.
    :param touched: hosts to which something was done, not by an operator,
        within ``window``.
    :param open: host and driver of each open response.
    :param held: responses are held already.
    """

    beliefs: Mapping[str, Belief]
    touched: Collection[str] = ()
    open: Collection[tuple[str, str]] = ()
    held: bool = False


@dataclasses.dataclass(frozen=True)
class New:
    """A response to begin."""

    host: str
    driver: str
    state: State
    reasons: Sequence[str]
    why: str = ''


@dataclasses.dataclass(frozen=True)
class Decision:
    """What follows from a look.

    :param beliefs: those that changed.
    :param lost: hosts that lost their trust now, ``regained`` have it back.
    :param hold: why responses are held from now on; '': as before.
    """

    beliefs: Mapping[str, Belief]
    lost: Sequence[str]
    regained: Sequence[str]
    new: Sequence[New]
    hold: str = ''


def believe(
    belief: Belief | None, seen: Seen | None, settings: Settings
) -> Belief | None:
    """What is believed of one host after a look at it."""
    if seen is None:
        return belief
    if belief is None:
        return Belief() if seen.good else None
    if seen.good != belief.lost:
        # As believed.
        if not belief.streak:
            return belief
        return dataclasses.replace(belief, streak=0)
    if seen.issued == belief.seen and not seen.final:
        return belief
    streak = belief.streak + 1
    needed = settings.good_results if seen.good else settings.bad_results
    if streak >= needed or seen.final:
        return Belief(not belief.lost, 0, seen.issued)
    return Belief(belief.lost, streak, seen.issued)


def decide(
    fleet: Fleet, looked: Mapping[str, Seen], settings: Settings
) -> Decision:
    """What to do after a look at all hosts.

    :param looked: hosts that have a result now; others are silent.
    """
    after: dict[str, Belief] = dict(fleet.beliefs)
    changed: dict[str, Belief] = {}
    lost: list[str] = []
    regained: list[str] = []
    for host in sorted(looked):
        before = fleet.beliefs.get(host)
        belief = believe(before, looked[host], settings)
        if belief is None or belief == before:
            continue
        after[host] = changed[host] = belief
        if before is not None and belief.lost != before.lost:
            (lost if belief.lost else regained).append(host)
    hold = (
        '' if fleet.held else _too_many(fleet, after, looked, lost, settings)
    )
    held = fleet.held or bool(hold)
    new = [
        _new(host, driver, looked[host].reasons, held, settings)
        for host in lost
        for driver in settings.drivers
        if (host, driver) not in fleet.open
    ]
    if hold and not settings.dry_run:
        new += [
            New(FLEET, driver, State.DUE, (), hold)
            for driver, touches in settings.drivers.items()
            if not touches and (FLEET, driver) not in fleet.open
        ]
    return Decision(
        changed, lost, regained, new, '' if settings.dry_run else hold
    )


def limit(hosts: int, settings: Settings) -> int:
    """So many hosts of the fleet may be bad; one, at the least."""
    return max(1, math.floor(hosts * settings.max_share))


def _too_many(
    fleet: Fleet,
    after: Mapping[str, Belief],
    looked: Collection[str],
    lost: Sequence[str],
    settings: Settings,
) -> str:
    """Why nothing must be done; '' if something may."""
    if not lost:
        return ''
    # Those on their way count, while they are heard: of a wrong policy the
    # first host is acted on when all others have failed it, too.
    bad = sum(
        belief.lost or (belief.streak > 0 and host in looked)
        for host, belief in after.items()
    )
    if bad > limit(len(after), settings):
        return (
            f'{bad} of {len(after)} hosts have bad results, more than '
            f'max_share = {settings.max_share} of the fleet.'
        )
    touched = set(fleet.touched) | set(lost)
    if len(touched) > settings.max_hosts:
        return (
            f'{len(touched)} hosts lost their trust within '
            f'{settings.window:.0f} s, more than max_hosts = '
            f'{settings.max_hosts}.'
        )
    return ''


def _new(
    host: str,
    driver: str,
    reasons: Sequence[str],
    held: bool,
    settings: Settings,
) -> New:
    touches = settings.drivers[driver]
    if not touches:
        state, why = State.DUE, ''
    elif held:
        state, why = State.WAITING, 'Responses are held.'
    elif settings.approval:
        state, why = State.WAITING, 'An operator has to approve it.'
    else:
        state, why = State.DUE, ''
    if settings.dry_run:
        return New(
            host, driver, State.DRY_RUN, reasons, f'It would be {state}.'
        )
    return New(host, driver, state, reasons, why)
