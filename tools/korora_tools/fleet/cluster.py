# SPDX-License-Identifier: Apache-2.0
"""Two workers behind HAProxy, on three nodes of Galera that all take writes.

The anchor is on another server, as its documentation wants it.
"""

from __future__ import annotations

import contextlib

from korora_tools import ui
from korora_tools.fleet import broker, database, serving
from korora_tools.fleet.processes import Process
from korora_tools.fleet.stack import Base

WORKERS = 2


class Cluster:
    """All of it.

    :ivar base, galera, balancer, workers: see there; ``rabbitmq`` with its
        ``bus``, a URL.
    """

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.base = Base(stack)
        scratch = self.base.scratch
        with ui.step('MariaDB: Galera of three nodes, and one for the anchor'):
            self.galera = database.Galera(scratch)
            self.anchor = database.single(scratch, 'anchor')
        self.galera.nodes[0].create('korora')
        self.anchor.create('korora_anchor')
        ports = [scratch.port() for _ in range(WORKERS)]
        with ui.step('HAProxy'):
            self.balancer = serving.Balancer(scratch, ports, self.galera.nodes)
            self.await_nodes()
        with ui.step('RabbitMQ'):
            self.rabbitmq, self.bus = broker.rabbitmq(scratch)
        with ui.step(f'the attestation service, {WORKERS} workers'):
            self.directory = self.base.configure(
                'korora',
                database.url(self.balancer.database, 'korora'),
                database.url(self.anchor.port, 'korora_anchor'),
                {},
            )
            self.base.prepare(self.directory)
            self.workers: list[Process] = [
                self.base.worker(f'worker{number}', self.directory, port)
                for number, port in enumerate(ports, 1)
            ]
            for one in self.workers:
                one.wait()
            self.balancer.await_workers()

    def await_nodes(self) -> None:
        """Until each node is asked in its turn.

        :raises Problem: they are not.
        """
        self.galera.await_size()
        names = {one.name for one in self.galera.nodes}

        def all_asked() -> bool:
            return {self._asked() for _ in range(len(names))} == names

        ui.wait('all nodes behind HAProxy', all_asked, 120, 0.5)

    def _asked(self) -> str:
        try:
            found = database.rows(
                self.balancer.database, "SHOW VARIABLES LIKE 'wsrep_node_name'"
            )
        except database.ERRORS:
            return ''
        return str(found[0][1])
