# SPDX-License-Identifier: Apache-2.0
"""For how long an attestation locks a row that another host needs, too.

1. One host attests, and each of its commits in turn is held back while
   another host attests. If that one waits, MariaDB says for which lock.
2. The first one attests alone, over a database that is 1 ms away. From the
   first statement that may lock the table until its transaction has ended no
   other host gets on: so many attestations per second are the ceiling of the
   fleet, whatever the number of workers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

from korora_tools import ui
from korora_tools.fleet import delay, stack

if TYPE_CHECKING:
    from korora_tools.bench.fleet_costs import Arm

Json = dict[str, Any]

#: Seconds each way, so that a round trip takes 1 ms.
DELAY = 0.0005
RUNS = 30
#: Seconds until a host that does not come back is taken to wait.
PATIENCE = 20.0
#: What is said if no row is shared: nothing is locked for a microsecond.
UNBOUND = 1_000_000.0
_WAITS = (
    'SELECT l.lock_table, l.lock_index, l.lock_data '
    'FROM information_schema.innodb_lock_waits w '
    'JOIN information_schema.innodb_locks l '
    'ON l.lock_id = w.requested_lock_id'
)


@dataclasses.dataclass(frozen=True)
class Shared:
    """A row that two hosts lock.

    :param commit: of which transaction of an attestation that writes.
    """

    commit: int
    table: str
    row: str


@dataclasses.dataclass(frozen=True, order=True)
class Locked:
    """For how long: what a load of the machine makes longer, and what not.

    :param round_trips: between worker and database meanwhile.
    """

    seconds: float
    round_trips: int


def run(
    cleanup: contextlib.ExitStack, service: stack.Simple, arm: Arm
) -> Json:
    """``ceiling_rtt_1ms_per_s``, and of which rows it is."""
    way = delay.Way(cleanup, service.server.port, DELAY)
    worker = service.behind(arm.directory, way.port)
    near = arm.agents
    far = service.base.client(service.endpoints[-1], 'korora-agent')
    for host in arm.hosts:
        host.use(far)
    try:
        arm.attest(len(arm.hosts))
        shared = _shared(way, arm)
        locked = [_held(way, arm, one) for one in shared]
    finally:
        for host in arm.hosts:
            host.use(near)
        worker.end()
    longest = max(locked, default=None)
    return {
        'ceiling_rtt_1ms_per_s': (
            round(1 / longest.seconds, 1) if longest else UNBOUND
        ),
        'locked_round_trips': longest.round_trips if longest else 0,
        'shared_rows': sorted({f'{one.table} {one.row}' for one in shared}),
    }


def _shared(way: delay.Way, arm: Arm) -> list[Shared]:
    found: list[Shared] = []
    commit = 0
    while True:
        waits = _hold(way, arm, commit)
        if waits is None:
            return found
        found += [Shared(commit, table, row) for table, row in waits]
        commit += 1


def _hold(
    way: delay.Way, arm: Arm, number: int
) -> set[tuple[str, str]] | None:
    """What the second host waits for while a commit is held back.

    :param number: of the commit, among those of transactions that write.
    :returns: None if the attestation has no such commit.
    """
    first, second = arm.hosts[3], arm.hosts[4]
    holder = _Holder(number)
    way.before = holder
    one = threading.Thread(target=first.attest, daemon=True)
    one.start()
    try:
        while not holder.held.is_set():
            if not one.is_alive():
                return None
            time.sleep(0.005)
        other = threading.Thread(target=second.attest, daemon=True)
        other.start()
        waits: set[tuple[str, str]] = set()
        end = time.monotonic() + PATIENCE
        while other.is_alive() and not waits:
            waits = {
                (str(table).rpartition('`.`')[2].strip('`'), str(row))
                for table, _, row in arm.server.rows(_WAITS)
            }
            if time.monotonic() > end:
                raise ui.Problem('a host waits, and not for a row')
            time.sleep(0.02)
    finally:
        holder.release.set()
        way.before = lambda statement: None
        one.join(PATIENCE)
    other.join(PATIENCE)
    return waits


class _Holder:
    """Holds one commit back."""

    def __init__(self, number: int) -> None:
        self._left = number
        self._writing: set[int] = set()
        self.held, self.release = threading.Event(), threading.Event()

    def __call__(self, statement: delay.Statement) -> None:
        if self.held.is_set():
            return
        if statement.locks:
            self._writing.add(statement.connection)
        elif statement.ends and statement.connection in self._writing:
            self._writing.discard(statement.connection)
            if not self._left:
                self.held.set()
                self.release.wait(2 * PATIENCE)
            self._left -= 1


def _held(way: delay.Way, arm: Arm, shared: Shared) -> Locked:
    """For how long a row is locked, the medians."""
    taken: list[Locked] = []
    for _ in range(RUNS):
        with way.recorded() as statements:
            arm.hosts[3].attest()
        taken += held(delay.transactions(statements), shared.table)
    if not taken:
        raise ui.Problem(f'nothing seems to lock {shared.table}')
    return Locked(
        statistics.median(one.seconds for one in taken),
        round(statistics.median(one.round_trips for one in taken)),
    )


def held(
    transactions: list[list[delay.Statement]], table: str
) -> list[Locked]:
    """From each first lock of a table to the end of its transaction."""
    found = []
    for one in transactions:
        for number, statement in enumerate(one):
            if statement.locks and table in statement.text:
                found.append(
                    Locked(
                        one[-1].answered - statement.sent,
                        len(one) - number - 1,
                    )
                )
                break
    return found
