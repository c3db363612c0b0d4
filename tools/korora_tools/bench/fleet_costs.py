# SPDX-License-Identifier: Apache-2.0
"""What an attestation and a hand-over cost the service, database included.

CPU is that of the processes of workers and MariaDB, user and system, so that
a machine that is busy with something else changes little.
"""

from __future__ import annotations

import contextlib
import statistics
import time
import uuid
from collections.abc import Iterator
from concurrent import futures
from typing import Any

from korora_nova import errors
from korora_nova.custody.words import Statement
from korora_nova.rats.signed import keys
from korora_tools import ui
from korora_tools.bench import fleet_ceiling, fleet_copies
from korora_tools.fleet import plan, stack, whole
from korora_tools.fleet.host import Host
from korora_tools.fleet.processes import LOCAL, Process

Json = dict[str, Any]

#: Hosts that really attest in each database; attestations of each before
#: anything is counted, by which it has as many challenges as it ever has.
REAL = 20
WARM = 34
#: Attestations of one block; blocks of each contender.
BLOCK = 60
BLOCKS = 6
#: Of which statements are counted.
COUNTED = 20
HANDOVERS = 20
#: Hosts that speak at the same time, and seconds of each block with them.
SPEAKERS = 6
SPELL = 6.0
#: Seconds that a host waits which the service puts off.
PAUSE = 0.05
#: Hosts whose reference changes.
CHANGED = 11
_IDLE = ('SET ', 'SHOW ', 'BEGIN', 'SELECT 1')


class Arm:
    """One worker on one database of one size.

    :ivar hosts: those that really attest.
    """

    def __init__(self, service: stack.Simple, size: int) -> None:
        self.size = size
        self._service = service
        self.server = service.server
        self.database = f'korora_{size}'
        self.directory, self.worker = service.database(self.database)
        self.endpoint = service.endpoints[-1]
        self.hosts = self._enrolled()
        self.golden = self.hosts[0]

    def _enrolled(self) -> list[Host]:
        base = self._service.base
        ways = whole.ways(base, self.endpoint)
        self.admin = ways.admin
        self.agents = ways.agents
        ring = keys.KeyRing.load(dict(ways.agents.keys()))
        found = []
        for member in plan.members(REAL, 1):
            host = Host(member, ways.agents, ring, base.vendor)
            host.enrol()
            ways.admin.approve_host(host.name, host.ek_hash)
            found.append(host)
        for number in range(plan.KNOWN):
            found[0].machine.run(plan.known(number))
        found[0].attest()
        ways.admin.create_reference('golden', found[0].name)
        return found

    def grow(self) -> int:
        """Have as many hosts as it is to have."""
        for _ in range(WARM):
            self.attest(len(self.hosts))
        return fleet_copies.grow(self.server, self.database, self.size)

    def attest(self, count: int) -> None:
        """So many steady attestations, one after the other."""
        for number in range(count):
            host = self.hosts[number % len(self.hosts)]
            tier = host.attest().result.tier.value
            if tier != 'affirming':
                raise ui.Problem(f'{host.name} is {tier}')

    def cpu(self) -> float:
        """Seconds so far."""
        return self.worker.cpu() + self.server.process.cpu()

    def cost(self, count: int) -> float:
        """Seconds of CPU of one attestation, in a block of so many."""
        before = self.cpu()
        self.attest(count)
        return (self.cpu() - before) / count


def run(count: int) -> Json:
    """The service's half of the report.

    :param count: hosts of the largest database.
    """
    with contextlib.ExitStack() as cleanup:
        cleanup.enter_context(whole.quietly())
        service = stack.Simple(cleanup, 0)
        arms = []
        for size in (count // 10, count // 2, count):
            with ui.step(f'a database of {size} hosts'):
                arms.append(Arm(service, size))
                arms[-1].grow()
        largest = arms[-1]
        with ui.step(f'{BLOCKS} blocks of {BLOCK} attestations each'):
            growth = _growth(arms)
        with ui.step('statements, redo log, bodies'):
            found = _one(largest)
        with ui.step('hand-overs'):
            found |= _handovers(service, largest)
        with ui.step('one worker and two'):
            found['workers'] = _workers(service, largest)
        with ui.step('rows that hosts share, at 1 ms to the database'):
            found |= fleet_ceiling.run(cleanup, service, largest)
        with ui.step('a new reference'):
            found['reference_change'] = _reference(largest)
        return {
            'attestations_per_s_core': growth[str(largest.size)],
            'growth': growth,
            **found,
        }


def _growth(arms: list[Arm]) -> Json:
    """Attestations per second of CPU, by size; blocks take turns."""
    for arm in arms:
        # Challenges at hand may be too old by now.
        arm.attest(len(arm.hosts))
    taken: dict[int, list[float]] = {one.size: [] for one in arms}
    for number in range(BLOCKS):
        for arm in arms if number % 2 else reversed(arms):
            taken[arm.size].append(arm.cost(BLOCK))
    return {
        str(size): round(1 / statistics.median(costs), 1)
        for size, costs in taken.items()
    }


@contextlib.contextmanager
def _bodies(arm: Arm) -> Iterator[list[int]]:
    """Bytes of each request of agents while the block runs."""
    sent: list[int] = []

    def note(response: Any, *_: Any, **__: Any) -> None:
        sent.append(len(response.request.body or b''))

    hooks = arm.agents._adapter.session.session.hooks  # noqa: SLF001
    hooks['response'].append(note)
    try:
        yield sent
    finally:
        hooks['response'].remove(note)


def _one(arm: Arm) -> Json:
    """What one steady attestation is, in numbers no load can change."""
    with _bodies(arm) as sent, _logged(arm) as log:
        arm.attest(COUNTED)
    before = _redo(arm)
    arm.attest(BLOCK)
    redo = (_redo(arm) - before) / BLOCK
    found = count(log)
    return {
        'statements': _per_one(found['statements']),
        'transactions': _per_one(found['transactions']),
        'rollbacks': _per_one(found['rollbacks']),
        'requests': _per_one(len(sent)),
        'redo_bytes': round(redo),
        'body_bytes': round(statistics.median(sent)),
    }


def _per_one(number: int) -> float:
    return round(number / COUNTED, 2)


def _redo(arm: Arm) -> int:
    return int(arm.server.status('Innodb_lsn_current')['Innodb_lsn_current'])


@contextlib.contextmanager
def _logged(arm: Arm) -> Any:
    """What MariaDB was told while the block ran: connection and text."""
    found: list[tuple[int, str]] = []
    server = arm.server
    server.rows("SET GLOBAL log_output = 'TABLE'")
    server.rows('TRUNCATE TABLE mysql.general_log')
    server.rows('SET GLOBAL general_log = 1')
    try:
        yield found
    finally:
        server.rows('SET GLOBAL general_log = 0')
    rows = server.rows(
        'SELECT thread_id, CAST(argument AS CHAR) FROM mysql.general_log '
        "WHERE command_type = 'Query' ORDER BY event_time"
    )
    found += [(int(one), str(text)) for one, text in rows]


def count(log: list[tuple[int, str]]) -> dict[str, int]:
    """Statements, transactions that had any, and rollbacks, in a log."""
    open_: dict[int, int] = {}
    found = {'statements': 0, 'transactions': 0, 'rollbacks': 0}
    for connection, text in log:
        words = text.strip().upper()
        if words.startswith(('COMMIT', 'ROLLBACK')):
            found['transactions'] += bool(open_.pop(connection, 0))
            found['rollbacks'] += words.startswith('ROLLBACK')
        elif not words.startswith(_IDLE) and 'GENERAL_LOG' not in words:
            found['statements'] += 1
            open_[connection] = open_.get(connection, 0) + 1
    return found


def _handovers(service: stack.Simple, arm: Arm) -> Json:
    """CPU and requests of one hand-over, from offer to receipts."""
    record = service.base.nova
    source, dest = arm.hosts[1], arm.hosts[2]
    costs, requests = [], []
    for _ in range(HANDOVERS):
        instance, migration = str(uuid.uuid4()), str(uuid.uuid4())
        record.hosts[instance] = source.name
        source.claim(instance, '000b' + uuid.uuid4().hex * 2)
        for one in (source, dest):
            one.attest()
        before = arm.cpu()
        record.migrations[instance] = (migration, source.name, dest.name)
        with _bodies(arm) as sent:
            msk = dest.receive(migration, instance, source.name)
            permit = source.send(migration, instance, dest.name, msk)
            dest.sealed(permit)
            source.start(permit)
            del record.migrations[instance]
            dest.tell(migration, Statement.ACTIVATED)
            source.tell(migration, Statement.STREAM_COMPLETED)
        costs.append(arm.cpu() - before)
        requests.append(len(sent))
    # Not the median: the clock of processes has ticks of 10 ms.
    return {
        'handover_service_ms': round(statistics.mean(costs) * 1000, 1),
        'handover_requests': statistics.median(requests),
    }


def _workers(service: stack.Simple, arm: Arm) -> Json:
    """Attestations per second by one worker and by two, as a clock says.

    Clients and database have to run, too: cores bound it.
    """
    port = service.base.scratch.port()
    second = service.base.worker('second', arm.directory, port)
    second.wait()
    others = service.base.client(f'http://{LOCAL}:{port}', 'korora-agent')
    rates: dict[int, list[float]] = {1: [], 2: []}
    for number in range(4):
        for workers in (1, 2) if number % 2 else (2, 1):
            for index, host in enumerate(arm.hosts):
                host.use(others if workers == 2 and index % 2 else arm.agents)
            rates[workers].append(_rate(arm))
    for host in arm.hosts:
        host.use(arm.agents)
    second.end()
    one, two = (statistics.median(rates[number]) for number in (1, 2))
    return {
        '1': round(one, 1),
        '2': round(two, 1),
        'speedup': round(two / one, 2),
    }


def _rate(arm: Arm) -> float:
    """Attestations per second of several hosts at once."""
    end = time.monotonic() + SPELL

    def speak(number: int) -> int:
        done = 0
        mine = arm.hosts[number::SPEAKERS]
        while time.monotonic() < end:
            try:
                mine[done % len(mine)].attest()
            except errors.KororaError as exc:
                if exc.reason != errors.Reason.BUSY:
                    raise
                time.sleep(PAUSE)
                continue
            done += 1
        return done

    with futures.ThreadPoolExecutor(SPEAKERS) as pool:
        done = sum(pool.map(speak, range(SPEAKERS)))
    return done / SPELL


def _reference(arm: Arm) -> Json:
    """Who sends its whole list when a reference has something new."""
    hosts = arm.hosts[1 : CHANGED + 1]
    for host in hosts:
        host.attest()
    before = sum(host.machine.wholes for host in hosts)
    arm.golden.machine.run('/usr/bin/program-new')
    arm.golden.attest()
    arm.admin.create_reference('newer', arm.golden.name)
    for _ in range(2):
        for host in hosts:
            host.attest()
    resent = sum(host.machine.wholes for host in hosts) - before
    return {'hosts': len(hosts), 'lists_resent': resent}


__all__ = ('Arm', 'Process', 'count', 'run')
