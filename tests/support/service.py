# SPDX-License-Identifier: Apache-2.0
"""The attestation service in this process, and clients of it.

Everything is real but the network, Keystone, Nova and the clock.
"""

import datetime
import functools
import io
import os
import tempfile
import uuid
from typing import Any

import fixtures
import requests
import sqlalchemy as sa
import urllib3
import webob
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from keystoneauth1 import adapter, noauth, session
from oslo_config import cfg

from korora_nova import client, errors, trail, transport
from korora_nova import conf as options
from korora_nova.api import deploy
from korora_nova.custody.moves import Move
from korora_nova.rats.signed import keys
from korora_nova.verifier import nova_record, service
from korora_nova.verifier.anchor import loading
from korora_nova.verifier.custody import ledger
from korora_nova.verifier.db import api, migration, models
from tests.support import contract

ENDPOINT = 'http://attestation.test'
CLOUD = '11111111-2222-4333-8444-555555555555'
#: 2026-01-01, when all certificates of tests are valid.
START = 1767225600.0


class Clock:
    """Seconds since 1970; a test moves it."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        # Two readings are never the same, as in life.
        self.now += 0.001
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class FakeNova:
    """Nova's record: the migrations that it carries out.

    :ivar migrations: (hand-over, instance, source, dest), and the kind of
        what is no live migration.
    :ivar servers: instance to the host where Nova has put it; one that is
        not named here is where it is looked for.
    :ivar flavors_of: flavors of servers by their names, for all hosts.
    :ivar in_aggregates: hosts in host aggregates.
    :ivar gone: instances that Nova does not have.
    :ivar down: Nova does not answer.
    :ivar at_hand: it was asked ahead, and its answer is there.
    """

    def __init__(self) -> None:
        self.at_hand = False
        self.gone: set[str] = set()
        self.migrations: set[tuple[str, ...]] = set()
        self.servers: dict[str, str] = {}
        self.flavors_of: dict[str, str] = {}
        self.in_aggregates: dict[str, frozenset[str]] = {}
        self.down = False
        self.before_answer = lambda: None

    def flavors(self, host: str) -> dict[str, str]:
        self._answer()
        return dict(self.flavors_of)

    def aggregates(self) -> dict[str, frozenset[str]]:
        self._answer()
        return dict(self.in_aggregates)

    def find_server(self, instance: str) -> nova_record.NovaServer | None:
        self._answer()
        if instance in self.gone:
            return None
        return nova_record.NovaServer(self.servers.get(instance), 'ACTIVE')

    def check_server(self, *, instance: str, host: str) -> None:
        self._answer()
        if instance in self.gone or self.servers.get(instance, host) != host:
            raise errors.CustodyError(errors.Reason.SERVER_NOT_IN_NOVA)

    def _answer(self) -> None:
        self.before_answer()
        if self.down:
            raise errors.Unavailable(errors.Reason.NOVA_UNAVAILABLE)

    def ahead(self, *, instance: str, kind: Move) -> None:
        """Nothing to do: nobody waits for its answers."""

    def recall(self, **record: Any) -> None:
        """What :meth:`check` says is at hand, if so told."""
        if not self.at_hand:
            raise errors.Unavailable(errors.Reason.NOVA_UNAVAILABLE)
        self.check(**record)

    def check(
        self,
        *,
        migration: str,
        instance: str,
        source: str,
        dest: str,
        kind: Move,
    ) -> None:
        self._answer()
        named: tuple[str, ...] = (migration, instance, source, dest)
        if kind != Move.LIVE:
            named = (*named, kind)
        if named not in self.migrations:
            raise errors.CustodyError(errors.Reason.MIGRATION_NOT_IN_NOVA)


class FakeKeystone:
    """WSGI middleware in auth_token's place: roles come in a header."""

    def __init__(self, application):
        self._application = application

    def __call__(self, environ, start_response):
        roles = environ.get('HTTP_X_TEST_ROLES')
        if roles is None and environ['PATH_INFO'] != '/':
            return webob.Response(status=401)(environ, start_response)
        environ.update(
            {
                'HTTP_X_ROLES': roles or '',
                'HTTP_X_USER_ID': 'user',
                'HTTP_X_IDENTITY_STATUS': 'Confirmed',
            }
        )
        if 'HTTP_X_TEST_SYSTEM' in environ:
            environ['HTTP_OPENSTACK_SYSTEM_SCOPE'] = 'all'
        else:
            environ['HTTP_X_PROJECT_ID'] = 'project'
        return self._application(environ, start_response)


class WsgiTransport(requests.adapters.BaseAdapter):
    """Lets ``requests`` call a WSGI application; .down refuses."""

    def __init__(self, application) -> None:
        super().__init__()
        self.application = application
        self.down = False

    def send(self, request, *args, **kwargs):
        if self.down:
            raise requests.exceptions.ConnectionError('down')
        body = request.body or b''
        wsgi = webob.Request.blank(
            request.path_url,
            method=request.method,
            headers=dict(request.headers) | transport.identity(),
            body=body.encode() if isinstance(body, str) else body,
        )
        wsgi.environ['wsgi.multithread'] = True
        # Of a process of its own.
        with trail.scope():
            answer = wsgi.get_response(self.application)
        response = requests.Response()
        response.status_code = answer.status_code
        response.headers = requests.structures.CaseInsensitiveDict(
            answer.headers
        )
        response.raw = urllib3.HTTPResponse(
            io.BytesIO(answer.body),
            answer.headers,
            answer.status_code,
            preload_content=False,
        )
        response.url = request.url
        response.request = request
        return response

    def close(self) -> None:
        pass


class VendorCa:
    """A TPM vendor: a root that certifies endorsement keys."""

    def __init__(self, name: str = 'Test TPM Vendor') -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.root = (
            self._builder(self.name, self.key.public_key(), 1)
            .add_extension(x509.BasicConstraints(True, None), True)
            .sign(self.key, hashes.SHA256())
        )
        self.pem = self.root.public_bytes(serialization.Encoding.PEM)

    def _builder(self, subject, public, days):
        start = datetime.datetime.fromtimestamp(START, datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start - datetime.timedelta(days=days))
            .not_valid_after(start + datetime.timedelta(days=3650))
        )

    def certify(self, public) -> bytes:
        """EK certificate, DER."""
        made = (
            self._builder(x509.Name([]), public, 1)
            .add_extension(x509.BasicConstraints(False, None), True)
            .add_extension(
                x509.ExtendedKeyUsage([x509.ObjectIdentifier('2.23.133.8.1')]),
                False,
            )
            .sign(self.key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.DER)


def made_ring(directory: str, *, tls: bool = False) -> keys.KeyRing:
    """Save three private keys and the ring that pins them.

    :param tls: and one that signs certificates of streams.
    """
    made = {}
    for use in keys.USES:
        key = keys.SigningKey.generate()
        key.save(os.path.join(directory, f'{use}-{key.kid}.pem'))
        made[use] = [key.public]
    ring = keys.KeyRing.build(CLOUD, **made)
    if tls:
        key = keys.SigningKey.generate()
        key.save(os.path.join(directory, f'tls-{key.kid}.pem'))
        ring = ring.having(keys.Pinned.of('tls', key, CLOUD, START))
    ring.save(os.path.join(directory, 'keys.json'))
    return ring


@functools.cache
def _schema() -> bytes:
    """An empty database of SQLite, made once: its schema takes a second."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, 'korora.db')
        engine = sa.create_engine(f'sqlite:///{path}')
        migration.upgrade(engine)
        engine.dispose()
        with open(path, 'rb') as file:
            return file.read()


class KororaFixture(fixtures.Fixture):
    """The service over SQLite, with its anchor in a file of its own.

    :param anchor: options of ``[anchor]``.
    :param tls: it signs certificates of streams.
    :param sources: options of ``[sources]``; ``keylime`` of ``[keylime]``.
    :param settings: options of ``[verifier]``; without any, its hosts need
        no certificates.
    :ivar client: with every role; :meth:`client_as` for fewer.
    :ivar clock: the service's; move it instead of sleeping.
    :ivar nova: what the service is told about migrations.
    :ivar vendor: certifies EKs of test hosts.
    :ivar ring: the pinned keys; ``keys_file`` is where they are.
    """

    def __init__(
        self,
        connection: str | None = None,
        anchor: dict[str, str] | None = None,
        tls: bool = False,
        sources: dict[str, Any] | None = None,
        keylime: dict[str, Any] | None = None,
        **settings,
    ) -> None:
        super().__init__()
        self._sources = sources
        self._keylime = keylime
        self._tls = tls
        self._anchor = anchor
        self._connection = connection
        self._settings = settings

    def _setUp(self) -> None:
        self.directory = self.useFixture(fixtures.TempDir()).path
        self.clock: Any = Clock()
        self.nova = FakeNova()
        self.vendor = VendorCa()
        with open(os.path.join(self.directory, 'vendor.crt'), 'wb') as file:
            file.write(self.vendor.pem)
        self.ring = made_ring(self.directory, tls=self._tls)
        self.keys_file = os.path.join(self.directory, 'keys.json')
        self.transport = WsgiTransport(None)
        self.conf = self._conf()
        database = api.Database(self.conf)
        if self._connection is None:
            self._copy(database)
        else:
            migration.upgrade(database.engine)
        if self.conf[options.ANCHOR].backend != 'none':
            with database.read() as session:
                incarnation = ledger.incarnation(session)
            loading.load(self.conf).create(incarnation)
        self.restart()
        self.client = self.client_as('admin', 'attester', 'service')

    def _copy(self, database: api.Database) -> None:
        """A database as :func:`migration.upgrade` would have made it."""
        with open(os.path.join(self.directory, 'korora.db'), 'wb') as file:
            file.write(_schema())
        with database.write() as session:
            session.execute(
                sa.update(models.Ledger).values(incarnation=str(uuid.uuid4()))
            )

    def _conf(self) -> cfg.ConfigOpts:
        conf = options.parse([], [])
        options.register_verifier_opts(conf)
        api.register_opts(conf)
        group = options.VERIFIER
        conf.set_override('keys_dir', self.directory, group)
        conf.set_override('ek_roots', self.directory, group)
        conf.set_override('trusted_keys', self.keys_file, group)
        settings = {'migration_tls': 'transition', **self._settings}
        for name, value in settings.items():
            conf.set_override(name, value, group)
        for name, value in {
            'backend': 'database',
            'connection': f'sqlite:///{self.directory}/anchor.db',
            'path': f'{self.directory}/anchor.db',
            **(self._anchor or {}),
        }.items():
            conf.set_override(name, value, options.ANCHOR)
        options.register_keylime_opts(conf)
        for group, chosen in (
            (options.SOURCES, self._sources),
            (options.KEYLIME, self._keylime),
        ):
            for name, value in (chosen or {}).items():
                conf.set_override(name, value, group)
        conf.set_override(
            'connection',
            self._connection or f'sqlite:///{self.directory}/korora.db',
            'database',
        )
        return conf

    def restart(self) -> None:
        """Another worker of the same service serves all clients."""
        self.service = service.from_conf(self.conf, self.nova, self.clock)
        self.application = contract.Checked(
            deploy.application(self.conf, self.service, FakeKeystone)
        )
        self.transport.application = self.application

    def client_as(self, *roles: str) -> client.AttestationClient:
        """A client with these roles."""
        http = requests.Session()
        http.mount('http://', self.transport)
        return client.AttestationClient(
            adapter.Adapter(
                session.Session(
                    auth=noauth.NoAuth(endpoint=ENDPOINT),
                    session=http,
                    additional_headers={'X-Test-Roles': ','.join(roles)},
                ),
                service_type='attestation',
            )
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        roles: str | None = 'admin',
        system: bool = False,
        **kwargs,
    ) -> webob.Response:
        """One raw request; ``roles`` None sends no credentials.

        :param system: the roles are the whole system's, not a project's.
        """
        request = webob.Request.blank(path, method=method, **kwargs)
        if roles is not None:
            request.headers['X-Test-Roles'] = roles
        if system:
            request.headers['X-Test-System'] = 'all'
        return request.get_response(self.application)
