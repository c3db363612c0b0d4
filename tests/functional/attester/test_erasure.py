# SPDX-License-Identifier: Apache-2.0
"""No passphrase is in the memory of an agent, whatever it did with one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import fixtures
import testtools

from korora_tools.demo import canary
from korora_tools.prove.attack import memory
from tests.faults.life import D, Life, S
from tests.faults.world import World
from tests.support import custodian
from tests.support.custodian import children

#: Seconds for a process that has nothing more to do to end.
PATIENCE = 60.0


def family(pid: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield pid
    for child in children(pid):
        yield from family(child)


class ErasureTest(testtools.TestCase):
    """Agents as processes, a service and real TPMs."""

    def setUp(self) -> None:
        super().setUp()
        scratch = self.useFixture(fixtures.TempDir())
        self.world = self.useFixture(World(f'sqlite:///{scratch.path}/db'))
        self.life = Life(self.world)
        self.world.korora.nova.servers[self.life.instance] = S
        self.needles = canary.needles(self.life.passphrase)

    def pid(self, host: str) -> int:
        return int(self.world.machines[host].actor.process.pid)

    def finds(self, host: str) -> int:
        """In an agent, its zygote, and whatever custodian is left."""
        return sum(
            memory.count(pid, self.needles) for pid in family(self.pid(host))
        )

    def assert_erased(self) -> None:
        """Nothing is left once the custodians have ended, which is soon."""
        deadline = time.monotonic() + PATIENCE
        for host in (S, D):
            (zygote,) = children(self.pid(host)) or (0,)
            while zygote and children(zygote):
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.02)
            self.assertEqual(0, self.finds(host), host)

    def test_a_whole_life(self) -> None:
        """I1: first seal, start, hand-over at both ends, start there."""
        self.life.start(S)
        self.assert_erased()
        self.life.restart(S)
        self.assert_erased()
        self.assertTrue(self.life.migrate(), self.life.told)
        self.assert_erased()
        self.life.restart(D)
        self.assert_erased()
        self.assertEqual([], self.life.told)
        # The search finds it where it is
        self.assertLess(0, memory.count(self.me(), self.needles))

    def test_agent_that_is_killed_takes_its_key_along(self) -> None:
        """In the middle of a job; nothing of it runs on."""
        self.life.start(S)
        machine = self.world.machines[S]
        custodian.arm(
            machine.door_path, 'unseal', custodian.AFTER, custodian.HANG
        )
        start = threading.Thread(target=self.life.tried, args=(self.open,))
        start.start()
        deadline = time.monotonic() + PATIENCE
        while custodian.armed(machine.door_path):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        agent, zygote, keeper = family(self.pid(S))
        # The search finds it there, so that its end is that of the find
        self.assertLess(0, memory.count(keeper, self.needles))
        machine.actor.kill()
        while any(os.path.exists(f'/proc/{x}') for x in (zygote, keeper)):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        start.join(PATIENCE)
        machine.power_agent()
        self.life.restart(S)
        self.assert_erased()

    def open(self) -> None:
        self.life.ask(S, 'open')

    def test_without_custodians_it_stays(self) -> None:
        """What the search is for: an agent that does it all by itself."""
        for machine in self.world.machines.values():
            machine.actor.tell('keep keys inside')
        self.life.start(S)
        self.assertLess(0, self.finds(S))
        self.assertTrue(self.life.migrate(), self.life.told)
        self.assertLess(0, self.finds(D))

    def me(self) -> int:
        return os.getpid()
