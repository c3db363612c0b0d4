# SPDX-License-Identifier: Apache-2.0
"""korora-enforcer over the real service and its database.

Real are the API, its database, results and their signatures, and all of the
process. Results are written as an attestation would: tests are about what
follows from them.
"""

import fixtures
import sqlalchemy as sa
from oslo_config import cfg

from korora_nova import conf as options
from korora_nova.rats.signed import result
from korora_nova.rats.words import Tier
from korora_nova.response import process
from korora_nova.response.drivers import base
from korora_nova.response.drivers.abort import Abort
from korora_nova.response.drivers.disable import Disable
from korora_nova.response.drivers.drain import Drain
from korora_nova.response.drivers.loading import Drivers
from korora_nova.verifier.db import models
from tests.support import nova_api, service

TTL = 180.0


class Told(base.Driver):
    """Keeps what it is to tell; breaks if it is told to."""

    TOUCHES = False

    def __init__(self, conf=None):
        self.events = []
        self.broken = None

    def do(self, response, scene):
        return self._keep('lost', response)

    def undo(self, response, scene):
        return self._keep('back', response)

    def _keep(self, what, response):
        if self.broken is not None:
            raise self.broken
        self.events.append((what, response.host))
        return base.Outcome()


class Enforcers(fixtures.Fixture):
    """A service, a Nova, and processes that respond.

    :param korora: the service.
    :ivar nova: Nova at its API.
    :ivar told: what a driver that only tells has told.
    :ivar now: the clock of service, database and processes.
    """

    def __init__(self, korora: service.KororaFixture, *hosts: str) -> None:
        super().__init__()
        self.korora = korora
        self.hosts = hosts

    def _setUp(self) -> None:
        self.now = self.korora.clock
        self.nova = nova_api.FakeNovaApi(*self.hosts)
        self.told = Told()
        self.useFixture(
            fixtures.MockPatch(
                'korora_nova.verifier.responses.orders.database_time',
                lambda session: self.now(),
            )
        )
        for host in self.hosts:
            self.enrol(host)

    # Hosts

    def enrol(self, host: str) -> None:
        with self.korora.service.db.write() as session:
            session.add(
                models.Host(
                    name=host,
                    ek_hash=(host.encode().hex() * 64)[:64],
                    approved=True,
                    reasons=[],
                )
            )

    def say(self, tier: Tier, *hosts: str, reasons=('PCR_NOT_GOLDEN',)):
        """The service has a new result of these hosts."""
        at = self.now()
        said = () if tier == Tier.AFFIRMING else reasons
        for host in hosts:
            token = result.sign_result(
                result.Result(
                    host=host,
                    ak_name='00' * 34,
                    tier=tier,
                    reasons=said,
                    enforcer='',
                    issued=at,
                    expires=at + TTL,
                    cloud=service.CLOUD,
                ),
                self.korora.service.signers.result,
            )
            self.write(
                host,
                tier=tier,
                reasons=list(said),
                issued=at,
                expires=at + TTL,
                token=token,
            )

    def write(self, host: str, **values: object) -> None:
        with self.korora.service.db.write() as session:
            session.execute(
                sa.update(models.Host)
                .where(models.Host.name == host)
                .values(**values)
            )

    def good(self, *hosts: str) -> None:
        self.say(Tier.AFFIRMING, *hosts)

    def bad(self, *hosts: str) -> None:
        self.say(Tier.CONTRAINDICATED, *hosts)

    # Processes

    def conf(self, **settings: object) -> cfg.ConfigOpts:
        conf = self.korora.conf
        options.register_response_opts(conf)
        group = options.RESPONSE
        for name, value in {
            'trusted_keys': self.korora.keys_file,
            'survey_interval': 1.0,
            'bad_results': 3,
            'good_results': 2,
            'max_share': 0.5,
            'max_hosts': 5,
            **settings,
        }.items():
            conf.set_override(name, value, group)
        return conf

    def process(self, *names: str, **settings: object):
        """One more process, with these drivers on."""
        conf = self.conf(**settings)
        api = self.nova.client()
        drivers = Drivers(
            conf,
            list(names or ('told', 'disable')),
            {
                'told': self.told,
                'disable': Disable(conf, api),
                'abort': Abort(conf, api),
                'drain': Drain(conf, api),
            },
        )
        made = process.from_conf(conf, drivers)
        made.steady = made.lease.steady = self.now
        made.lease.now = lambda session: self.now()
        return made

    def turns(self, made, count: int = 1, seconds: float = 5.0) -> None:
        for _ in range(count):
            made.turn()
            self.now.advance(seconds)

    def lose(self, made, *hosts: str, results: int = 3) -> None:
        """Hosts have bad results until their trust is lost."""
        for _ in range(results):
            self.bad(*hosts)
            self.turns(made)

    def regain(self, made, *hosts: str) -> None:
        for _ in range(2):
            self.good(*hosts)
            self.turns(made)

    def states(self) -> dict[tuple[str, str], str]:
        """State of the newest response by host and driver."""
        with self.korora.service.db.read() as session:
            rows = session.scalars(
                sa.select(models.Response).order_by(models.Response.created_at)
            )
            return {(row.host, row.driver): str(row.state) for row in rows}

    def audit(self) -> list[tuple[str, str, str]]:
        with self.korora.service.db.read() as session:
            rows = session.scalars(
                sa.select(models.Audit).order_by(models.Audit.id)
            )
            return [(row.actor, row.action, row.subject) for row in rows]
