# SPDX-License-Identifier: Apache-2.0
"""Certificates for streams: who gets one, and what name a permit gets."""

import contextlib
import json
import uuid

import testtools
from cryptography.hazmat.primitives.asymmetric import ec

from korora_nova import errors
from korora_nova.rats.signed import keys
from korora_nova.rats.x509 import stream
from korora_nova.verifier.db import models
from tests.support import agent, service

HOUR = 3600.0


class Base(testtools.TestCase):
    """A service, and two hosts that are trusted; none has a certificate."""

    TLS = True

    def setUp(self) -> None:
        super().setUp()
        self.korora = self.useFixture(
            service.KororaFixture(
                tls=self.TLS,
                migration_tls='attested',
                certificate_ttl=4 * HOUR,
            )
        )
        self.admin = self.korora.client_as('admin')
        self.h1, self.h2 = self.host('h1'), self.host('h2')

    def host(self, name: str) -> agent.SimAgent:
        made = agent.SimAgent(
            name, self.korora.client_as('attester'), self.korora.vendor
        )
        made.join(self.admin)
        made.attest_now()
        if not self.admin.list_references():
            self.admin.create_reference('golden', name)
        made.attest_now()
        self.assertEqual('affirming', self.tier(name))
        return made

    def tier(self, name: str) -> str:
        return self.admin.get_host(name)['tier']

    @contextlib.contextmanager
    def refused(self, reason: str):
        """The block must end with this reason id; gives the error."""
        caught: list[errors.KororaError] = []
        try:
            yield caught
        except errors.KororaError as exc:
            caught.append(exc)
            self.assertEqual(reason, exc.reason, (exc.message, exc.details))
        else:
            self.fail(f'not refused with {reason}')

    def mode(self, word: str) -> None:
        self.korora.conf.set_override('migration_tls', word, 'verifier')
        self.korora.restart()

    def shown(self, name: str) -> dict:
        return self.admin.get_host(name)['certificate']


class TestIssue(Base):
    def read(self, streams, host) -> stream.Issued:
        return stream.read(
            streams['certificate'].encode(),
            host.tls_key.public_key(),
            self.korora.service.ring.authorities.values(),
        )

    def test_one_answer_brings_it(self) -> None:
        streams = self.h1.certify()
        self.assertEqual('attested', streams['mode'])
        issued = self.read(streams, self.h1)
        self.assertEqual(
            {
                'name': stream.name_of(self.h1.tls_key.public_key()),
                'serial': issued.serial,
                'until': issued.until,
                'authority': self.korora.service.ring.streams.kid,
            },
            self.shown('h1'),
        )
        now = self.korora.clock()
        self.assertAlmostEqual(now + 4 * HOUR, issued.until, delta=2)
        self.assertAlmostEqual(now - HOUR, issued.since, delta=2)

    def test_not_again_until_half_of_its_life(self) -> None:
        self.h1.certify()
        self.assertEqual({'mode': 'attested'}, self.h1.certify())
        self.korora.clock.advance(2 * HOUR - 60)
        self.assertEqual({'mode': 'attested'}, self.h1.certify())
        self.korora.clock.advance(120)
        self.assertIn('certificate', self.h1.certify())

    def test_lost_answer(self) -> None:
        """The host says which one it has; another one is signed."""
        self.h1.certify()
        self.h1.tls = self.h1.tls._replace(serial='')
        first = self.shown('h1')
        self.assertIn('certificate', self.h1.certify())
        self.assertEqual(first['name'], self.shown('h1')['name'])
        self.assertNotEqual(first['serial'], self.shown('h1')['serial'])

    def test_another_key(self) -> None:
        self.h1.certify()
        before = self.shown('h1')['name']
        self.h1.certify(ec.generate_private_key(ec.SECP256R1()))
        self.assertNotEqual(before, self.shown('h1')['name'])

    def test_nothing_is_asked_for(self) -> None:
        """As agents of earlier releases do."""
        self.assertEqual({'mode': 'attested'}, self.h1.attest_now()['streams'])
        self.assertIsNone(self.shown('h1'))

    def test_untrusted(self) -> None:
        """S6: a host that lost its trust gets no new one."""
        self.h1.certify()
        before = self.shown('h1')
        self.h1.measure('/tmp/evil')
        self.h1.tls = self.h1.tls._replace(serial='')
        self.assertEqual({'mode': 'attested'}, self.h1.certify())
        self.assertEqual('contraindicated', self.tier('h1'))
        self.assertEqual(before, self.shown('h1'))

    def test_key_of_another_host(self) -> None:
        """A state directory was copied with the host's disk."""
        self.h1.certify()
        streams = self.h2.certify(self.h1.tls_key)
        self.assertEqual('CERTIFICATE_KEY_TAKEN', streams['refused'])
        self.assertIsNone(self.shown('h2'))
        self.assertIn(
            'certificate',
            self.h2.certify(ec.generate_private_key(ec.SECP256R1())),
        )

    def test_request_of_another_host(self) -> None:
        self.h1.certify()
        self.h2.tls = self.h1.tls
        streams = self.h2.attest_now()['streams']
        self.assertEqual('INVALID_REQUEST', streams['refused'])
        self.assertEqual('affirming', self.tier('h2'))

    def test_quoted(self) -> None:
        """Who cannot quote over the request gets nothing for it."""
        self.h1.certify()
        challenge = self.h2.challenge('steady')
        plain = json.dumps({'version': 1, 'known': []})
        message = self.h2.message('attest', plain, challenge)
        message['body'] = json.dumps(
            {'version': 1, 'known': [], 'tls': self.h1.tls._asdict()}
        )
        with self.refused('QUOTE_NONCE'):
            self.h2.api.evidence('h2', message)

    def test_malformed(self) -> None:
        self.h1.certify()
        said = self.h1.tls._asdict()
        for changed in (
            {'request': 'x' * 4096},
            {'request': 'A==='},
            {'serial': 'x'},
            {'serial': '0' * 41},
            {'more': 1},
        ):
            with self.refused('INVALID_REQUEST'):
                self.h1.attest_now(tls={**said, **changed})
        for request in ('AAAA', 'A', ''):
            streams = self.h1.attest_now(tls={**said, 'request': request})
            self.assertEqual('INVALID_REQUEST', streams['streams']['refused'])

    def test_site(self) -> None:
        self.mode('site')
        self.assertEqual({'mode': 'site'}, self.h1.certify())

    def test_restored_database(self) -> None:
        """An older serial is noted there: it signs another one."""
        self.h1.certify()
        with self.korora.service.db.write() as session:
            row = session.get(models.Host, 'h1')
            row.tls_name = row.tls_serial = row.tls_until = None
        self.assertIn('certificate', self.h1.certify())

    def test_authority_replaced(self) -> None:
        """Hosts renew when another key signs; peers take both meanwhile."""
        first = self.h1.certify()
        made = keys.SigningKey.generate()
        made.save(f'{self.korora.directory}/tls-{made.kid}.pem')
        ring = keys.KeyRing.load(self.korora.keys_file)
        old = ring.streams
        new = keys.Pinned.of('tls', made, ring.cloud, self.korora.clock())
        retired = keys.Pinned(
            'tls', old.kid, old.public, keys.State.VERIFY_ONLY, old.certificate
        )
        ring.having(retired, new).save(self.korora.keys_file)
        second = self.h1.certify()
        self.assertEqual(made.kid, self.shown('h1')['authority'])
        for one in (first, second):
            self.read(one, self.h1)


class TestWithoutAuthority(Base):
    TLS = False

    def test_no_certificate(self) -> None:
        self.assertEqual(
            'CERTIFICATE_AUTHORITY_MISSING', self.h1.certify()['refused']
        )
        instance = str(uuid.uuid4())
        self.h1.claim(instance)
        with self.refused('CERTIFICATE_AUTHORITY_MISSING'):
            self.h2.receive(str(uuid.uuid4()), instance, 'h1')


class TestPermit(Base):
    def setUp(self) -> None:
        super().setUp()
        self.instance = str(uuid.uuid4())
        self.h1.claim(self.instance)

    def name(self, host) -> str:
        return stream.name_of(host.tls_key.public_key())

    def permitted(self) -> str:
        """The name in a permit from h1 to h2."""
        migration = str(uuid.uuid4())
        msk = self.h2.receive(migration, self.instance, 'h1')
        named = (migration, self.instance, 'h1', 'h2')
        self.korora.nova.migrations.add(named)
        answer = self.h1.send(migration, self.instance, 'h2', msk.name)
        return self.h1.read(answer['permit']).content.tls_name

    def missing(self, host: str) -> None:
        try:
            self.h2.receive(str(uuid.uuid4()), self.instance, 'h1')
            self.fail('received')
        except errors.CustodyError as exc:
            self.assertEqual('CERTIFICATE_MISSING', exc.reason)
            self.assertEqual(host, exc.details['host'])
            self.assertIn('migration_tls_dir', exc.message)

    def test_as_it_was_signed(self) -> None:
        """T50: D's own word counts for nothing."""
        self.h1.certify()
        self.h2.certify()
        for word in ('', 'h3', self.name(self.h1)):
            migration = str(uuid.uuid4())
            self.h2.receive(migration, self.instance, 'h1', tls_name=word)
            with self.korora.service.db.read() as session:
                row = session.get(models.Migration, migration)
                self.assertEqual(self.name(self.h2), row.tls_name)
        self.assertEqual(self.name(self.h2), self.permitted())

    def test_an_end_without(self) -> None:
        """S5: an end without a certificate does not mean a clear stream."""
        self.missing('h2')
        self.h2.certify()
        self.missing('h1')
        self.h1.certify()
        self.permitted()

    def test_about_to_end(self) -> None:
        """None that might end before the stream starts."""
        self.h1.certify()
        self.h2.certify()
        self.korora.clock.advance(4 * HOUR - 590)
        for host in (self.h1, self.h2):
            host.tls, said = None, host.tls
            host.attest_now()
            host.tls = said
        self.missing('h2')
        self.h2.certify()
        self.missing('h1')

    def test_authority_revoked(self) -> None:
        """S6: what a revoked authority signed is worth nothing."""
        self.h1.certify()
        self.h2.certify()
        ring = keys.KeyRing.load(self.korora.keys_file)
        old = ring.streams
        made = keys.SigningKey.generate()
        made.save(f'{self.korora.directory}/tls-{made.kid}.pem')
        ring.having(
            keys.Pinned(
                'tls', old.kid, old.public, keys.State.REVOKED, old.certificate
            ),
            keys.Pinned.of('tls', made, ring.cloud, self.korora.clock()),
        ).save(self.korora.keys_file)
        self.missing('h2')

    def test_another_key_meanwhile(self) -> None:
        """Between D's request and the permit."""
        self.h1.certify()
        self.h2.certify()
        migration = str(uuid.uuid4())
        msk = self.h2.receive(migration, self.instance, 'h1')
        self.h2.certify(ec.generate_private_key(ec.SECP256R1()))
        self.korora.nova.migrations.add((migration, self.instance, 'h1', 'h2'))
        with self.refused('PERMIT_MISMATCH') as caught:
            self.h1.send(migration, self.instance, 'h2', msk.name)
        self.assertEqual({'field': 'tls_name'}, caught[0].details)

    def test_the_mode_is_raised_meanwhile(self) -> None:
        """S5: what was asked for before counts no more."""
        self.mode('transition')
        migration = str(uuid.uuid4())
        msk = self.h2.receive(migration, self.instance, 'h1')
        self.mode('attested')
        self.korora.nova.migrations.add((migration, self.instance, 'h1', 'h2'))
        with self.refused('CERTIFICATE_MISSING'):
            self.h1.send(migration, self.instance, 'h2', msk.name)

    def test_site(self) -> None:
        """The name that D attests, and never none."""
        self.mode('site')
        for word, name in (('h2.example', 'h2.example'), ('', 'h2')):
            migration = str(uuid.uuid4())
            self.h2.receive(migration, self.instance, 'h1', tls_name=word)
            with self.korora.service.db.read() as session:
                row = session.get(models.Migration, migration)
                self.assertEqual(name, row.tls_name)

    def test_transition(self) -> None:
        """An end of an earlier release: as before."""
        self.mode('transition')
        for certify in (None, self.h2):
            if certify is not None:
                certify.certify()
            for word in ('', 'h2.example'):
                migration = str(uuid.uuid4())
                self.h2.receive(migration, self.instance, 'h1', tls_name=word)
                with self.korora.service.db.read() as session:
                    row = session.get(models.Migration, migration)
                    self.assertEqual(word, row.tls_name)
        self.h1.certify()
        self.assertEqual(self.name(self.h2), self.permitted())

    def test_transition_does_not_take_a_name_of_ours(self) -> None:
        """T50: D claims the name of a certificate that it has not."""
        self.mode('transition')
        self.h1.certify()
        migration = str(uuid.uuid4())
        with self.refused('CERTIFICATE_MISSING'):
            self.h2.receive(
                migration, self.instance, 'h1', tls_name=self.name(self.h1)
            )

    def test_cold(self) -> None:
        """Nothing is streamed."""
        migration = str(uuid.uuid4())
        self.h2.receive(migration, self.instance, 'h1', kind='cold')
