# SPDX-License-Identifier: Apache-2.0
"""One run: a server's life with one fault in it."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

from korora_nova import errors
from tests.faults import hook, life
from tests.faults.life import D, Life, S, Verdict
from tests.faults.world import Actor, Gone, World

DAY = 86400.0


@dataclasses.dataclass(frozen=True)
class Fault:
    """One cell of the matrix.

    :param story: a key of :data:`tests.faults.life.STORIES`.
    :param actor: who meets the point: ``v``, ``h1`` or ``h2``.
    :param moment: before or after the point's effect.
    :param skip: how often the actor passes it before.
    :param kind: a key of :data:`KINDS`.
    """

    story: str
    actor: str
    point: str
    moment: str
    skip: int
    kind: str

    def __str__(self) -> str:
        again = f' {self.skip + 1}.' if self.skip else ''
        return (
            f'{self.story}: {self.actor} {self.moment} {self.point}{again}: '
            f'{self.kind}'
        )


Do = Callable[['Run', Actor], None]


class Run:
    """A world, a server, and a fault."""

    def __init__(self, world: World, fault: Fault) -> None:
        self.world = world
        self.fault = fault
        self.life = Life(world)
        self.met = False
        self._meeting = threading.Lock()
        self.after: list[Callable[[], None]] = []

    @property
    def _by_itself(self) -> str:
        """What the actor does without this process, if it does."""
        what = KINDS[self.fault.kind]
        return what if isinstance(what, str) else ''

    @property
    def _copies(self) -> bool:
        return self.fault.kind.startswith(('back', 'anchor ahead'))

    def verdict(self) -> Verdict:
        """Live through it, heal, and judge."""
        self.world.on_fault = self._meet
        if self._copies:
            self.world.v.tell('copy', True)
        self.world.actor(self.fault.actor).tell(
            'arm',
            hook.Armed(
                self.fault.point,
                self.fault.moment,
                self._by_itself or hook.ASK,
                self.fault.skip,
            ),
        )
        try:
            life.STORIES[self.fault.story](self.life)
        except (Gone, errors.KororaError) as exc:
            self.life.told.append(f'{type(exc).__name__}: {exc}')
        self._restore_order()
        return self.life.check()

    def _meet(self, actor: Actor, name: str, moment: str) -> bool:
        what = KINDS[self.fault.kind]
        assert not isinstance(what, str)
        self.met = True
        with self._meeting:
            process = actor.process
            what(self, actor)
            return not process.is_alive()

    def _restore_order(self) -> None:
        """Who died is started again, V first; clocks are set right."""
        self.world.on_fault = lambda *_: False
        with self._meeting:
            self._start_all()

    def _start_all(self) -> None:
        for each in self.after:
            each()
        for name in ('v', S, D):
            self.world.mislead(name, 0.0)
        if not self.world.v.alive:
            self.world.korora.restart()
        if self._copies:
            self.world.v.tell('copy', False)
        for name in (S, D):
            machine = self.world.machines[name]
            if not machine.actor.alive:
                machine.stop_agent()
                machine.power_agent()
        for name in ('v', S, D):
            left = self.world.actor(name).tell('arm', None)
            if name == self.fault.actor and self._by_itself:
                self.met = left is None

    # Faults

    def reboot(self, name: str) -> None:
        self.world.machines[name].power_off()
        self.after.append(self.world.machines[name].power_on)


def _kill(*others: str) -> Do:
    def do(run: Run, actor: Actor) -> None:
        for name in (*others, actor.name):
            run.world.actor(name).kill()

    return do


def _reboot(*names: str) -> Do:
    def do(run: Run, actor: Actor) -> None:
        for name in names:
            run.reboot(name)
        if actor.name == 'v':
            actor.kill()

    return do


def _clock(name: str, seconds: float) -> Do:
    def do(run: Run, actor: Actor) -> None:
        run.world.mislead(name or actor.name, seconds)

    return do


def _back(count: int) -> Do:
    """The database loses its last transactions; V was down meanwhile."""

    def do(run: Run, actor: Actor) -> None:
        run.world.v.kill()
        copies = run.world.korora.copies()
        if copies:
            run.world.korora.restore(copies[max(0, len(copies) - count)])
        run.world.korora.restart()
        if run.fault.story in life.BY_OPERATORS:
            # What was signed for them no host may have seen
            run.life.may_reissue = True

    return do


def _anchor_ahead(run: Run, actor: Actor) -> None:
    """The newest document is lost before anybody was told."""
    _back(1)(run, actor)
    run.life.may_reissue = True


def _anchor_gone(run: Run, actor: Actor) -> None:
    """It is lost; an operator makes another one."""
    run.world.v.kill()
    run.world.korora.lose_anchor()
    run.world.korora.restart()
    run.after.append(run.world.korora.make_anchor)


#: What happens at the point: what the process does by itself, or what the
#: test does to it and to others meanwhile.
KINDS: dict[str, str | Do] = {
    'killed': _kill(),
    'killed, and V': _kill('v'),
    'S and D killed': _kill(S, D),
    'all killed': _kill('v', S, D),
    'S reboots': _reboot(S),
    'D reboots': _reboot(D),
    'S and D reboot': _reboot(S, D),
    'lost': hook.LOST,
    'twice': hook.TWICE,
    'disk full': hook.FULL,
    'back 1': _back(1),
    'back 2': _back(2),
    'back 3': _back(3),
    'anchor ahead': _anchor_ahead,
    'anchor gone': _anchor_gone,
    'its clock a day ahead': _clock('', DAY),
    'its clock a day behind': _clock('', -DAY),
}
