# SPDX-License-Identifier: Apache-2.0
"""A fleet that lives: rounds of attestation, custody, a watching scheduler."""

from __future__ import annotations

import dataclasses
import heapq
import pathlib
import threading
import time
from collections.abc import Callable, Iterable
from concurrent import futures
from typing import Any

import requests

from korora_nova import client, errors
from korora_nova.rats.signed import keys
from korora_nova.rats.words import Tier
from korora_nova.relying_party import feed
from korora_tools import ui
from korora_tools.fleet import garbage, nova, plan
from korora_tools.fleet.custody import Ask, Lives, directly
from korora_tools.fleet.host import Host, trusted
from korora_tools.fleet.plan import Act
from korora_tools.fleet.tally import Tally, overdue

#: Seconds between looks of the scheduler.
LOOK = 5.0
#: Servers that live at the same time.
LIVING = 4


@dataclasses.dataclass(frozen=True)
class Ways:
    """How the fleet reaches the service.

    :param agents, admin, scheduler: the API, as each of these users.
    :param token: makes a token of the agents' user.
    """

    endpoint: str
    agents: client.AttestationClient
    admin: client.AttestationClient
    scheduler: client.AttestationClient
    token: Callable[[], str]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How much, and how fast.

    :param rounds: of each host; ``interval`` seconds between them.
    :param lives: protected servers.
    :param threads: hosts that speak at the same time.
    """

    hosts: int
    rounds: int
    interval: float
    lives: int
    threads: int
    seed: int


class Fleet:
    """The hosts of a plan, enrolled at a service.

    :ivar hosts: by number.
    """

    def __init__(
        self,
        settings: Settings,
        ways: Ways,
        vendor: Any,
        record: nova.Nova,
        scratch: pathlib.Path,
    ) -> None:
        self.settings = settings
        self.ways = ways
        self.tally = Tally()
        self._nova = record
        ring = keys.KeyRing.load(dict(ways.agents.keys()))
        self._pins = scratch / 'pinned.json'
        ring.save(str(self._pins))
        self.members = plan.members(settings.hosts, settings.seed)
        self.hosts = {
            one.number: Host(one, ways.agents, ring, vendor)
            for one in self.members
        }
        self.stopped = threading.Event()
        self._session = threading.local()
        self.custodians = [
            self.hosts[number]
            for number in range(plan.custodians(settings.hosts))
        ]

    @property
    def golden(self) -> Host:
        """The one that references are learned from."""
        return self.hosts[0]

    def enrol(self) -> None:
        """All are known and approved; the reference is what they run."""
        for number in range(plan.KNOWN):
            self.golden.machine.run(plan.known(number))

        def join(host: Host) -> None:
            host.enrol()
            self.ways.admin.approve_host(host.name, host.ek_hash)

        with ui.step(f'{len(self.hosts)} hosts enrol'):
            join(self.golden)
            self.golden.attest()
            self.ways.admin.create_reference('golden', self.golden.name)
            self.all(join, list(self.hosts.values())[1:])

    def all(
        self, work: Callable[[Host], object], hosts: Iterable[Host]
    ) -> None:
        """Do something with hosts, several at a time."""
        with futures.ThreadPoolExecutor(self.settings.threads) as pool:
            for done in [pool.submit(work, one) for one in hosts]:
                done.result()

    # Rounds

    def rounds(self) -> None:
        """Each host does what is planned, each at its time."""
        settings = self.settings
        began = time.monotonic()
        due = [
            (
                began + settings.interval * one.number / settings.hosts,
                one.number,
                0,
            )
            for one in self.members
        ]
        heapq.heapify(due)
        lock = threading.Lock()

        def work() -> None:
            while not self.stopped.is_set():
                with lock:
                    if not due:
                        return
                    at, number, turn = heapq.heappop(due)
                self.stopped.wait(max(0.0, at - time.monotonic()))
                self.turn(self.hosts[number], turn)
                if turn + 1 < settings.rounds:
                    with lock:
                        heapq.heappush(
                            due, (at + settings.interval, number, turn + 1)
                        )

        with futures.ThreadPoolExecutor(settings.threads) as pool:
            for done in [pool.submit(work) for _ in range(settings.threads)]:
                done.result()

    def turn(self, host: Host, turn: int) -> None:
        """One round of one host."""
        act = host.member.act(turn)
        self.tally.acted(act.value)
        if act is Act.SKIP:
            return
        if act is Act.GARBAGE:
            self._garbage(host, turn)
            return
        host.live(act, turn, self.golden)
        self.attest(host)

    def attest(self, host: Host) -> None:
        """Attest, and judge the answer."""
        began = time.monotonic()
        try:
            answered = host.attest()
        except errors.KororaError as exc:
            self.tally.refused('attest', began, exc)
            self.tally.judge_refusal(host.name, good=host.good, error=exc)
            return
        tier = answered.result.tier
        self.tally.answered('attest', began, str(tier.value))
        self.tally.judge(host.name, good=host.good, tier=str(tier.value))
        host.told = tier
        host.told_at = time.monotonic()

    def _garbage(self, host: Host, turn: int) -> None:
        began = time.monotonic()
        try:
            kind, status = garbage.send(
                self._http(),
                self.ways.endpoint,
                self.ways.token(),
                host.name,
                host.member.dice(turn),
            )
        except requests.RequestException as exc:
            failed = errors.Unavailable(
                errors.Reason.SERVICE_UNAVAILABLE, type(exc).__name__
            )
            self.tally.refused('garbage', began, failed)
            return
        self.tally.answered('garbage', began, f'{kind} {status}')
        if status not in garbage.REFUSALS and status != 503:
            self.tally.blame(f'garbage {kind}: HTTP {status}')

    def _http(self) -> requests.Session:
        if not hasattr(self._session, 'http'):
            self._session.http = requests.Session()
        found: requests.Session = self._session.http
        return found

    # A scheduler

    def watch(self) -> None:
        """Read what the service tells schedulers, until the end."""
        reader = feed.Feed(
            lambda: self.ways.scheduler, feed.Pins(str(self._pins))
        )
        while not self.stopped.wait(LOOK):
            self.look(reader)

    def look(self, reader: feed.Feed) -> None:
        """Nobody is trusted who was told otherwise, or stayed away."""
        began = time.monotonic()
        try:
            rows = reader.refresh().rows
        except errors.KororaError as exc:
            self.tally.refused('snapshot', began, exc)
            return
        self.tally.answered('snapshot', began, 'read')
        now = time.time()
        for host in self.hosts.values():
            row = rows.get(host.name)
            if row is None or row.tier is not Tier.AFFIRMING:
                continue
            if row.expires <= now or host.good:
                continue
            told_bad = host.told not in (None, Tier.AFFIRMING)
            if overdue(began, host.since, host.told_at, told_bad=told_bad):
                self.tally.judge(
                    host.name, good=False, tier=Tier.AFFIRMING.value
                )

    # All at once

    def live(
        self, ask: Ask = directly, during: Callable[[], object] | None = None
    ) -> Lives:
        """Rounds, custody traffic and a scheduler, side by side.

        :param during: ends it all; without, it ends when all is done.
        """
        settings = self.settings
        lives = Lives(self.hosts, self._nova, self.tally, ask)
        planned = plan.lives(
            settings.lives,
            [one.member for one in self.custodians],
            settings.seed,
        )
        watcher = threading.Thread(target=self.watch, daemon=True)
        watcher.start()
        with futures.ThreadPoolExecutor(1 + LIVING) as pool:
            rounds = pool.submit(self.rounds)
            living = [pool.submit(lives.live, one) for one in planned]
            try:
                if during is None:
                    futures.wait([rounds, *living])
                else:
                    during()
            finally:
                lives.stopped.set()
                self.stopped.set()
                for one in living:
                    one.cancel()
        rounds.result()
        for one in living:
            if not one.cancelled():
                one.result()
        watcher.join(LOOK + 60)
        return lives


__all__ = ('Fleet', 'Settings', 'Ways', 'trusted')
