# SPDX-License-Identifier: Apache-2.0
"""Run inside a lab that is up: stock Nova and Kororā in turn.

``python -m korora_tools.bench.live OUT migration|start PAIRS`` writes its
report to OUT as JSON. It runs in the control plane's network namespace with
the virtual environment's Python.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from korora_tools import ui
from korora_tools.bench import arms, pairs, records, spanlog
from korora_tools.bench.pairs import Sample
from korora_tools.demo import run as demo
from korora_tools.demo import world as w
from korora_tools.lab import client, paths

Json = dict[str, Any]

#: Seconds of rest before each operation: what the last one left is over.
REST = 1.0


class What(NamedTuple):
    """What is measured.

    :param op: the agent's operation that a sleep comes before.
    :param phases: names of spans in the serial path.
    """

    op: str
    phases: tuple[str, ...]
    tls: bool


MIGRATION = What('announce', ('precheck', 'handover', 'start', 'post'), True)
START = What('open', ('gate', 'supply', 'close'), False)


class Bench:
    """One server that is moved, or started, again and again."""

    def __init__(self, world: w.World, what: What) -> None:
        self._world = world
        self._what = what
        self._records = records.Records(world.lab)
        made = world.create('bench', 'vtpm', host='h1')
        if made['status'] != 'ACTIVE':
            raise ui.Problem(f'the server is {made["status"]}')
        self.server = str(made['id'])
        self._watcher = world.watcher(self.server)
        self._watcher.wait_past(1, 240)

    def run(self, count: int) -> dict[str, list[Sample]]:
        """All blocks."""
        measure = self._migrate if self._what is MIGRATION else self._start
        samples: dict[str, list[Sample]] = {}
        order = pairs.blocks(count, self._what.tls)
        switch = arms.Arms(self._world, self.server, self._what.op)
        try:
            switch.begin()
            for number, arm in enumerate(order, 1):
                with switch.block(arm):
                    taken = self._block(arm, measure)
                samples.setdefault(arm, []).extend(taken)
                self._world.say(
                    f'ok  block {number} of {len(order)}, {arm}: '
                    + ' '.join(f'{one.total_s:.2f}' for one in taken)
                    + ' s'
                )
        finally:
            switch.close()
            self._watcher.stop()
        if self._watcher.report().emulator_trouble:
            raise ui.Problem('the emulated guest crashed: run it again')
        return samples

    def _block(
        self, arm: str, measure: Callable[[str], Sample]
    ) -> list[Sample]:
        taken = []
        for _ in range(pairs.DROPPED + pairs.BLOCK):
            time.sleep(REST)
            taken.append(measure(arm))
        return taken[pairs.DROPPED :]

    def _migrate(self, arm: str) -> Sample:
        stock = arm in (pairs.STOCK, pairs.STOCK_TLS)
        source = self._records.server(self.server).host
        dest = 'h2' if source == 'h1' else 'h1'
        logs = self._logs()
        total = self._ask(
            {'os-migrateLive': {'host': dest, 'block_migration': 'auto'}}
        )
        if self._records.server(self.server).host != dest:
            raise ui.Problem(
                f'{arm}: not migrated {self._world.reason(self.server)}'
            )
        self._ended()
        downtime = self._world.downtime_ms(dest, self.server)
        if not stock:
            self._settled()
        return Sample(total, downtime, None if stock else self._cost(logs))

    def _start(self, arm: str) -> Sample:
        self._world.act(self.server, 'os-stop')
        time.sleep(REST)
        logs = self._logs()
        total = self._ask({'os-start': None})
        stock = arm == pairs.STOCK
        return Sample(total, 0.0, None if stock else self._cost(logs))

    def _ask(self, action: Json) -> float:
        """Ask Nova for something; seconds until it is done."""
        began = time.monotonic()
        self._world.nova.post(f'/servers/{self.server}/action', json=action)
        return self._records.idle(self.server, began)[1]

    def _ended(self) -> None:
        """The source's nova-compute has cleaned up, too."""

        def ended() -> bool:
            return all(
                one['status'] in client.ENDED
                for one in self._world.migrations(self.server)
            )

        ui.wait('the end of the migration', ended, 60, 0.2)

    def _settled(self) -> None:
        def settled() -> bool:
            row = self._world.attestation(f'/v1/servers/{self.server}')
            return not row['pending']

        ui.wait('the end of the hand-over', settled, 60, 0.2)

    def _logs(self) -> spanlog.Logs:
        log = self._world.lab.log
        return spanlog.Logs(
            [
                log / 'korora.log',
                *(log / f'nova-{host}.log' for host in arms.HOSTS),
                *(log / f'korora-agent-{host}.log' for host in arms.HOSTS),
            ]
        )

    def _cost(self, logs: spanlog.Logs) -> spanlog.Cost:
        found = spanlog.cost(logs.spans(), self.server, self._what.phases)
        if not found.serial_ms:
            raise ui.Problem('nova-compute has reported no spans')
        return found


def measured(world: w.World, name: str, count: int) -> Json:
    """The report of ``migration`` or ``start``."""
    what = MIGRATION if name == 'migration' else START
    bench = Bench(world, what)
    samples = bench.run(count)
    found = pairs.report(samples, what.phases)
    if what.tls:
        found |= pairs.downtimes(samples)
    return {**found, 'versions': demo.versions(world)}


def main() -> int:
    out, what, count = sys.argv[1:]
    try:
        found = measured(
            w.World(paths.Lab.default(), ui.say), what, int(count)
        )
    except demo.UNJUDGED as exc:
        ui.fail(str(exc))
        return 1
    except KeyboardInterrupt:
        return 130
    pathlib.Path(out).write_text(json.dumps(found, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
