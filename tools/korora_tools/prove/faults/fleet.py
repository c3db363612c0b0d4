# SPDX-License-Identifier: Apache-2.0
"""Many simulated hosts, while parts of the service die under them.

Two workers behind HAProxy, three nodes of Galera that all take writes, and
one fault after the other. What must hold is what :mod:`korora_tools.fleet`
judges: nobody is trusted who is not good, and no key is lost or in two hands.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from korora_nova import errors
from korora_tools import ui
from korora_tools.fleet import broker, run, tally, whole
from korora_tools.fleet.cluster import Cluster
from korora_tools.fleet.custody import Lives
from korora_tools.fleet.host import Host
from korora_tools.fleet.processes import Process

Json = dict[str, Any]

#: Attestations of all hosts together in a second, at most: what two cores
#: with three databases, clients and all can do.
RATE = 12.0
#: Seconds for which a part is away, and between two faults, at least.
AWAY = 15.0
CALM = 20.0
#: Seconds for good hosts to be affirming again at the end.
SETTLE = 120.0
#: Protected servers in an hour: more than can be lived.
LIVES = 2000
THREADS = 10


@dataclasses.dataclass(frozen=True)
class Fault:
    """Something that is away while the block runs.

    :param heal: waits until it is as before.
    """

    name: str
    away: Callable[[], contextlib.AbstractContextManager[object]]
    heal: Callable[[], object]


def faults(cluster: Cluster) -> list[Fault]:
    """In the order in which they come."""
    galera, base = cluster.galera, cluster.base
    second, third = galera.nodes[1:3]
    return [
        _killed('worker', cluster.workers[0]),
        dataclasses.replace(
            _killed('database_node', second.process), heal=cluster.await_nodes
        ),
        _killed('memcached', base.memcached),
        _killed('broker', cluster.rabbitmq),
        _killed('keystone', base.keystone.process),
        Fault(
            'database_partitioned',
            lambda: galera.isolated(third),
            cluster.await_nodes,
        ),
        Fault(
            'database_stopped',
            lambda: galera.nodes[0].process.stopped(),
            cluster.await_nodes,
        ),
    ]


def _killed(name: str, process: Process) -> Fault:
    @contextlib.contextmanager
    def away() -> Iterator[None]:
        process.kill()
        try:
            yield
        finally:
            process.start()

    return Fault(name, away, process.wait)


@dataclasses.dataclass(frozen=True)
class Span:
    """When a fault began, and when the next one did."""

    name: str
    began: float
    ended: float


class Bad:
    """The days of a fleet."""

    def __init__(self, cluster: Cluster, fleet: run.Fleet) -> None:
        self._cluster = cluster
        self._fleet = fleet
        self.spans: list[Span] = []

    def days(self) -> None:
        """One fault after the other."""
        self._wait(CALM)
        for one in faults(self._cluster):
            began = time.monotonic()
            with ui.step(f'{one.name} is away for {AWAY:.0f} s'):
                with one.away():
                    self._wait(AWAY)
                one.heal()
            self._wait(CALM)
            self.spans.append(Span(one.name, began, time.monotonic()))
            ui.say(f'    {self._said(self.spans[-1])}')

    def _wait(self, seconds: float) -> None:
        if self._fleet.stopped.wait(seconds):
            raise ui.Problem('the fleet ended early')

    def _said(self, span: Span) -> str:
        failed = self.failed(span)
        return (
            f'{span.name}: {failed} requests failed, the last one after '
            f'{self.recovery(span)} s'
        )

    def recovery(self, span: Span) -> float:
        """Seconds until the last request failed; 0: none did."""
        return tally.recovery(self._fleet.tally.said, span.began, span.ended)

    def failed(self, span: Span) -> int:
        said = self._fleet.tally.said
        return len(tally.failed(said, span.began, span.ended))


def simulate(hosts: int, seed: int) -> Json:
    """The report.

    :raises Problem: the cloud could not be set up, or does not heal.
    """
    with contextlib.ExitStack() as cleanup:
        cleanup.enter_context(whole.quietly())
        cluster = Cluster(cleanup)
        settings = run.Settings(
            hosts=hosts,
            rounds=1_000_000,
            interval=hosts / RATE,
            lives=LIVES,
            threads=THREADS,
            seed=seed,
        )
        base = cluster.base
        fleet = run.Fleet(
            settings,
            whole.ways(base, cluster.balancer.endpoint),
            base.vendor,
            base.nova,
            base.scratch.path,
        )
        fleet.enrol()
        buses = broker.Buses(cleanup, cluster.bus, fleet.custodians)
        bad = Bad(cluster, fleet)
        began = time.monotonic()
        lives = fleet.live(buses.ask, bad.days)
        took = time.monotonic() - began
        untrusted = _settle(fleet)
        with ui.step('who can open which key'):
            audit = lives.audit(fleet.ways.admin)
            base.manage(cluster.directory, 'audit', 'verify')
        return _report(fleet, lives, bad, audit, untrusted, took)


def _settle(fleet: run.Fleet) -> int:
    """How many good hosts are not affirming, all being well again."""
    lock, left = threading.Lock(), []

    def attest(host: Host) -> None:
        end = time.monotonic() + SETTLE
        while time.monotonic() < end:
            try:
                if run.trusted(host.attest()) or not host.good:
                    return
            except errors.KororaError:
                if not host.good:
                    return
            time.sleep(1)
        with lock:
            left.append(host.name)

    with ui.step('all hosts attest once more'):
        fleet.all(attest, fleet.hosts.values())
    return len(left)


def _report(
    fleet: run.Fleet,
    lives: Lives,
    bad: Bad,
    audit: dict[str, int],
    untrusted: int,
    took: float,
) -> Json:
    found = whole.report(fleet.settings, fleet, lives, audit, took)
    del found['rounds'], found['lives']
    return {
        'lost': found['lost'],
        'false_trusted': found['false_trusted'],
        'false_untrusted': found['false_untrusted'] + untrusted,
        'recovery_s': {one.name: bad.recovery(one) for one in bad.spans},
        'custody_double': found['custody_double'],
        'failed_requests': {one.name: bad.failed(one) for one in bad.spans},
        'away_s': AWAY,
        **found,
    }


def wrong(found: Json) -> list[str]:
    """What must be 0 and is not."""
    return [
        f'the fleet: {key} is {found[key]}'
        for key in ('lost', 'false_trusted', 'custody_double', 'wrong')
        if found[key]
    ]
