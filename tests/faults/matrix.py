# SPDX-License-Identifier: Apache-2.0
"""All runs: each point that a story passes, with each fault that may be."""

from __future__ import annotations

import collections
import random
from collections.abc import Iterator, Sequence

from korora_nova import faultpoints
from tests.faults import life
from tests.faults.copies import NOT_CUSTODY
from tests.faults.run import Fault
from tests.faults.world import World

MESSAGES = ('ask.', 'bus.')
KILLS = (
    'killed',
    'killed, and V',
    'S and D killed',
    'all killed',
    'S reboots',
    'D reboots',
    'S and D reboot',
)
BACK = ('back 1', 'back 2', 'back 3')
CLOCKS = ('its clock a day ahead', 'its clock a day behind')

Passed = tuple[str, str, str]


def trace(world: World, story: str) -> list[tuple[str, str, int]]:
    """(actor, point, how often before) that a story passes; no faults.

    :raises AssertionError: the story does not end well.
    """
    since = len(world.points())
    one = life.Life(world)
    life.STORIES[story](one)
    passed = [
        (actor, name)
        for actor, name, moment in world.points(since)
        if moment == faultpoints.BEFORE
    ]
    verdict = one.check()
    if not verdict.good:
        raise AssertionError(f'{story}: {verdict} {one.told}')
    seen: collections.Counter[tuple[str, str]] = collections.Counter()
    found = []
    for each in passed:
        found.append((*each, seen[each]))
        seen[each] += 1
    return found


def faults(story: str, passed: Sequence[tuple[str, str, int]]) -> list[Fault]:
    """What may happen at the points of a story."""
    return [
        Fault(story, actor, name, moment, skip, kind)
        for actor, name, skip in passed
        for moment, kind in _possible(actor, name)
    ]


def _possible(actor: str, name: str) -> Iterator[tuple[str, str]]:
    before, after = faultpoints.BEFORE, faultpoints.AFTER
    for kind in KILLS:
        if actor == 'v' and kind == 'killed, and V':
            continue
        yield before, kind
        yield after, kind
    if name.startswith(MESSAGES):
        yield before, 'lost'
        yield after, 'lost'
        yield faultpoints.AGAIN, 'twice'
    else:
        yield before, 'disk full'
    if name.startswith('ask.') or (
        actor == 'v' and not NOT_CUSTODY.match(name)
    ):
        for kind in BACK:
            yield after, kind
        yield before, 'anchor gone'
    if name == 'v.anchor':
        yield before, 'anchor gone'
        yield after, 'anchor ahead'
    for kind in CLOCKS:
        yield before, kind


def chosen(every: Sequence[Fault], number: int, seed: int) -> list[Fault]:
    """A sample of the matrix; each (actor, point, kind) before any twice."""
    rng = random.Random(seed)  # noqa: S311 not for secrets
    groups: dict[tuple[str, str, str, str], list[Fault]] = {}
    for fault in every:
        key = fault.actor, fault.point, fault.moment, fault.kind
        groups.setdefault(key, []).append(fault)
    picked: list[Fault] = []
    left = list(groups.values())
    for group in left:
        rng.shuffle(group)
    while left and len(picked) < number:
        rng.shuffle(left)
        picked += [group.pop() for group in left]
        left = [group for group in left if group]
    return picked[:number]
