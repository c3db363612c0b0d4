# SPDX-License-Identifier: Apache-2.0
"""QEMU, and what an agent lets it find: who can stream to whom (T50)."""

import base64
import os
import pathlib
import socket
import ssl
import time
import unittest

import fixtures
import testtools

from korora_nova.attester import streams
from korora_nova.attester.libvirt_secret import Qemu
from korora_nova.custody import exchange
from korora_nova.custody.words import StreamTls
from korora_nova.rats.signed import keys
from korora_nova.rats.x509 import stream
from tests.support import qemu

CLOUD = '11111111-2222-4333-8444-555555555555'
HOUR = 3600.0


@unittest.skipUnless(qemu.PROGRAM, 'needs QEMU')
class TestStreams(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.signs = self.authority()
        self.s, self.d = self.host('s'), self.host('d')

    def authority(self) -> tuple[keys.SigningKey, keys.Pinned]:
        key = keys.SigningKey.generate()
        return key, keys.Pinned.of('tls', key, CLOUD, time.time() - 86400)

    def host(
        self, name: str, *, ago: float = 0.0, signs=None, link: str = ''
    ) -> streams.Streams:
        """What an agent has QEMU find, certified so many seconds ago."""
        key, entry = signs or self.signs
        made = streams.Streams(
            self.root / name / (link or 'state'),
            str(self.root / name / f'pki{link}'),
            name,
            lambda: keys.KeyRing(CLOUD, (entry,)),
            lambda: Qemu(os.getuid(), 7002022),
            lambda: False,
            lambda: time.time() - ago,
        )
        self.certify(made, key, entry, name, ago)
        return made

    def certify(self, made, key, entry, name: str, ago: float) -> None:
        said = made.said()
        issued = stream.issue(
            stream.read_request(base64.b64decode(said.request), name),
            entry.certificate,
            key.private,
            cloud=CLOUD,
            host=name,
            at=time.time() - ago,
            life=4 * HOUR,
        )
        made.hear(exchange.Streams(StreamTls.ATTESTED, issued.pem.decode()))
        self.assertNotEqual('', made.name())

    def migrate(self, source, dest, name: str, channels: int = 0):
        return qemu.migrate(
            self.root, source._link, dest._link, name, channels
        )

    def completes(self, source, dest, channels: int = 0) -> None:
        found, state = self.migrate(source, dest, dest.name(), channels)
        self.assertEqual('completed', found['status'], found)
        self.assertNotIn(state, ('inmigrate', 'gone'))

    def refused(self, source, dest, name: str) -> None:
        """The guest stays; D never has it, whatever S's job says."""
        found, state = self.migrate(source, dest, name)
        self.assertIn(state, ('inmigrate', 'gone'), found)
        if state == 'inmigrate':
            self.assertEqual('failed', found['status'], found)

    def test_to_the_attested_host(self) -> None:
        self.completes(self.s, self.d)
        self.completes(self.d, self.s)

    def test_with_several_channels(self) -> None:
        self.completes(self.s, self.d, 4)

    def test_after_a_renewal(self) -> None:
        """No process is told of it."""
        key, entry = self.signs
        before = self.d.name()
        self.certify(self.d, key, entry, 'd', -60)
        self.assertEqual(before, self.d.name())
        self.completes(self.s, self.d)

    def test_another_host_of_the_same_authority(self) -> None:
        """S2: in the middle, with a valid certificate of its own."""
        self.refused(self.s, self.host('m'), self.d.name())

    def test_hosts_names_are_no_names(self) -> None:
        """S2: who can answer for a host's name is not that host."""
        for name in ('d', '127.0.0.1', 'localhost'):
            self.refused(self.s, self.d, name)

    def test_old_certificate(self) -> None:
        """S3: of the right key and name, and of yesterday."""
        old = self.host('o', ago=5 * HOUR)
        error = self.assertRaises(
            RuntimeError, self.migrate, self.s, old, old.name() or 'x'
        )
        self.assertIn('expired', str(error))

    def on_the_wire(self, *, tls: bool) -> int:
        """How often what is in the guest's memory goes by."""
        canary = os.urandom(16)
        file = self.root / 'canary'
        file.write_bytes(canary * 4096)
        loaded = f'loader,file={file},addr=0x200000,force-raw=on'
        dest = qemu.Qemu(self.root, 'd', self.d._link, 'server')
        self.addCleanup(dest.stop)
        source = qemu.Qemu(
            self.root, 's', self.s._link, 'client', '-device', loaded
        )
        self.addCleanup(source.stop)
        port = qemu.free_port()
        wire = qemu.Wire(port)
        self.addCleanup(wire.close)
        named = {'tls-hostname': self.d.name()} if tls else {'tls-creds': ''}
        dest.prepare(**({} if tls else {'tls-creds': ''}))
        dest.run('migrate-incoming', uri=f'tcp:127.0.0.1:{port}')
        source.prepare(**named)
        source.run('migrate', uri=f'tcp:127.0.0.1:{wire.port}')
        self.assertEqual('completed', source.outcome()['status'])
        self.assertGreater(len(wire.seen), 4096)
        return bytes(wire.seen).count(canary)

    def test_nothing_on_the_wire(self) -> None:
        """S1: who listens sees nothing, and sees all without TLS."""
        self.assertEqual(0, self.on_the_wire(tls=True))

    def test_all_on_the_wire_without(self) -> None:
        self.assertLess(1000, self.on_the_wire(tls=False))

    def stolen(self, host) -> bytes:
        """What a thief of D's files gets who takes D's address.

        His program looks at no dates.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(
            host._link / 'server-cert.pem', host._link / 'server-key.pem'
        )
        sender = qemu.Qemu(self.root, 's', self.s._link, 'client')
        try:
            return self.sent(sender, host, context)
        finally:
            sender.stop()

    def sent(self, sender, host, context: ssl.SSLContext) -> bytes:
        """The first bytes of a stream to somebody who passes for a host."""
        name = stream.name_of(host._private().public_key())
        sender.prepare(**{'tls-hostname': name})
        with socket.create_server(('127.0.0.1', 0)) as listener:
            listener.settimeout(30)
            port = listener.getsockname()[1]
            sender.run('migrate', uri=f'tcp:127.0.0.1:{port}')
            connection, _ = listener.accept()
            connection.settimeout(30)
            try:
                with context.wrap_socket(connection, server_side=True) as tls:
                    got = tls.recv(4)
            except OSError:
                got = b''
        self.assertEqual('failed', sender.outcome()['status'])
        return got

    def test_stolen_files(self) -> None:
        """S3: they are of use for as long as the certificate lasts."""
        self.assertEqual(b'', self.stolen(self.host('o', ago=5 * HOUR)))
        self.assertEqual(b'QEVM', self.stolen(self.d))

    def test_source_of_another_authority(self) -> None:
        """T50: a host of another cloud sends a guest."""
        other = self.host('x', signs=self.authority())
        self.refused(other, self.d, self.d.name())

    def test_destination_of_another_authority(self) -> None:
        """T50: a host of another cloud passes for the destination."""
        other = self.host('x', signs=self.authority())
        self.refused(self.s, other, other.name())
