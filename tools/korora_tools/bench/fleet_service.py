# SPDX-License-Identifier: Apache-2.0
"""The attestation service over HTTP, with many hosts in its database.

``python -m korora_tools.bench.fleet_service HOSTS KEYS`` writes keys.json to
KEYS, prints ``{"ready": {"port": ...}}``, and does what each line of its
input says (:mod:`korora_tools.bench.worker`). All of it is real but Keystone.
"""

from __future__ import annotations

import shutil
import socketserver
import sys
import threading
import time
from typing import Any
from wsgiref import simple_server

import sqlalchemy as sa

from korora_nova.rats.signed import result
from korora_nova.rats.words import Tier
from korora_nova.verifier import results
from korora_nova.verifier.db import models
from korora_tools.bench import worker
from tests.support import service

#: Seconds for which results are valid, and how long if they end soon.
LIFE = 3600.0
SHORT = 8.0


class Fixture(service.KororaFixture):
    """With the clock of this machine."""

    def restart(self) -> None:
        self.clock = time.time
        super().restart()


class Hosts:
    """What the hosts of the fleet have attested."""

    def __init__(self, fixture: Fixture, count: int) -> None:
        self._fixture = fixture
        self.names = [
            f'compute-{number:05}.example.org' for number in range(count)
        ]
        with fixture.service.db.write() as session:
            session.execute(
                sa.insert(models.Host),
                [
                    {
                        'name': name,
                        'ek_hash': f'{number:064x}',
                        'approved': True,
                        'reasons': [],
                    }
                    for number, name in enumerate(self.names)
                ],
            )

    def attest(
        self, share: int = 1, tier: Tier = Tier.AFFIRMING, life: float = LIFE
    ) -> None:
        """Each one of ``share`` hosts has a new result."""
        with self._fixture.service.db.write() as session:
            first = results.reached(session).seq + 1
            rows = [
                self._row(name, first + number, tier, life)
                for number, name in enumerate(self.names[::share])
            ]
            table: Any = models.Host.__table__
            session.connection().execute(
                sa.update(table).where(table.c.name == sa.bindparam('of')),
                rows,
            )
            self._count(session, len(rows))

    def forget(self) -> None:
        """Nobody has a result."""
        with self._fixture.service.db.write() as session:
            session.execute(sa.update(models.Host).values(token=None))
            self._count(session, 1)

    def _count(self, session: Any, more: int) -> None:
        session.execute(
            sa.update(models.Counter)
            .where(models.Counter.name == 'results')
            .values(value=models.Counter.value + more)
        )

    def _row(
        self, name: str, seq: int, tier: Tier, life: float
    ) -> dict[str, Any]:
        now = time.time()
        reasons = () if tier is Tier.AFFIRMING else ('PCR_NOT_GOLDEN',)
        return {
            'of': name,
            'seq': seq,
            'tier': tier,
            'issued': now,
            'expires': now + life,
            'token': result.sign_result(
                result.Result(
                    name,
                    '00' * 34,
                    tier,
                    reasons,
                    '',
                    now,
                    now + life,
                    service.CLOUD,
                ),
                self._fixture.service.signers.result,
            ),
        }


class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    """One thread for each connection, as a worker with threads."""

    daemon_threads = True


class Quiet(simple_server.WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        """Requests are counted by who makes them."""


def main() -> None:
    fixture = Fixture()
    fixture.setUp()
    try:
        shutil.copy(fixture.keys_file, sys.argv[2])
        hosts = Hosts(fixture, int(sys.argv[1]))

        def application(environ: Any, start: Any) -> Any:
            environ.setdefault('HTTP_X_TEST_ROLES', 'service')
            return fixture.application(environ, start)

        with simple_server.make_server(
            '127.0.0.1', 0, application, Server, Quiet
        ) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            worker.serve(
                {
                    'all': hosts.attest,
                    'all, for a short time': lambda: hosts.attest(life=SHORT),
                    '1 %': lambda: hosts.attest(100),
                    '1 % untrusted': lambda: hosts.attest(
                        100, Tier.CONTRAINDICATED
                    ),
                    'none': hosts.forget,
                },
                port=server.server_port,
            )
    finally:
        fixture.cleanUp()


if __name__ == '__main__':
    main()
