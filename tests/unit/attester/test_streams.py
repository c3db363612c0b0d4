# SPDX-License-Identifier: Apache-2.0
"""Key and certificate of a host's streams, and the files that QEMU reads."""

import base64
import dataclasses
import errno
import os
import pathlib
import shutil
import stat
import threading
import time
from unittest import mock

import fixtures
import testtools
from cryptography.hazmat.primitives.asymmetric import ec

from korora_nova import errors
from korora_nova.attester import streams, tlsfiles
from korora_nova.attester.libvirt_secret import Qemu, _uid
from korora_nova.custody import exchange
from korora_nova.custody.words import StreamTls
from korora_nova.rats.signed import keys
from korora_nova.rats.x509 import stream

CLOUD = '11111111-2222-4333-8444-555555555555'
HOUR = 3600.0
FILES = [
    'ca-cert.pem',
    'client-cert.pem',
    'client-key.pem',
    'dh-params.pem',
    'server-cert.pem',
    'server-key.pem',
]


class Authority:
    """The service, as far as certificates go."""

    def __init__(self, now: float) -> None:
        self.key = keys.SigningKey.generate()
        self.entry = keys.Pinned.of('tls', self.key, CLOUD, now)

    def sign(self, said, at: float, host: str = 'h1') -> str:
        issued = stream.issue(
            stream.read_request(base64.b64decode(said.request), host),
            self.entry.certificate,
            self.key.private,
            cloud=CLOUD,
            host=host,
            at=at,
            life=4 * HOUR,
        )
        return issued.pem.decode()


class Base(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.state = self.root / 'state'
        self.link = self.root / 'pki' / 'qemu' / 'korora'
        self.now = time.time()
        self.authority = Authority(self.now)
        self.ring = keys.KeyRing(CLOUD, (self.authority.entry,))
        self.qemu = Qemu(os.getuid(), 7002022)
        self.busy = False
        self.agent = self.started()

    def started(self, link: str | None = '') -> streams.Streams:
        """An agent; again, with nothing but what is on disk."""
        return streams.Streams(
            self.state,
            str(self.link) if link == '' else link,
            'h1',
            lambda: self.ring,
            lambda: self.qemu,
            lambda: self.busy,
            lambda: self.now,
        )

    def attest(self, **fields) -> stream.Issued | None:
        """One attestation; the service signs if nothing is at hand."""
        said = self.agent.said()
        if not said.serial and not fields:
            fields['certificate'] = self.authority.sign(said, self.now)
        self.agent.hear(exchange.Streams(StreamTls.ATTESTED, **fields))
        return self.agent._issued()

    def renew(self) -> stream.Issued | None:
        certificate = self.authority.sign(self.agent.said(), self.now)
        return self.attest(certificate=certificate)

    def file(self, name: str) -> bytes:
        return (self.link / name).read_bytes()

    def generations(self) -> list[str]:
        return sorted(
            one.name
            for one in self.link.parent.iterdir()
            if one.name != self.link.name
        )


class TestCertificate(Base):
    def test_first(self) -> None:
        self.assertEqual('', self.agent.name())
        issued = self.attest()
        self.assertEqual(issued.name, self.agent.name())
        self.assertEqual(FILES, sorted(os.listdir(self.link)))
        self.assertEqual(issued.pem, self.file('server-cert.pem'))
        self.assertEqual(issued.pem, self.file('client-cert.pem'))
        self.assertEqual(issued.serial, self.agent.said().serial)

    def test_this_authority_alone(self) -> None:
        self.attest()
        self.assertEqual(
            1, self.file('ca-cert.pem').count(b'BEGIN CERTIFICATE')
        )

    def test_the_key_stays(self) -> None:
        before = self.attest()
        key = self.file('server-key.pem')
        self.now += 3 * HOUR
        after = self.renew()
        self.assertEqual(before.name, after.name)
        self.assertNotEqual(before.serial, after.serial)
        self.assertEqual(key, self.file('server-key.pem'))
        self.assertEqual(after.pem, self.file('server-cert.pem'))

    def test_nothing_new(self) -> None:
        self.attest()
        before = os.readlink(self.link)
        self.attest()
        self.assertEqual(before, os.readlink(self.link))

    def test_not_wanted(self) -> None:
        """As before: nothing is said, made or written."""
        self.agent = self.started(None)
        self.assertIsNone(self.agent.said())
        self.agent.hear(exchange.Streams(StreamTls.TRANSITION, 'rubbish'))
        self.agent.require()
        self.assertEqual('', self.agent.name())
        self.assertEqual([], os.listdir(self.root))

    def test_required(self) -> None:
        self.agent = self.started(None)
        self.agent.hear(exchange.Streams(StreamTls.ATTESTED))
        error = self.assertRaises(errors.CustodyError, self.agent.require)
        self.assertEqual('CERTIFICATE_MISSING', error.reason)
        self.assertIn('migration_tls_dir is not set', error.message)
        self.agent = self.started()
        self.agent.hear(exchange.Streams(StreamTls.ATTESTED))
        self.assertIn(
            f'{self.link} has none',
            self.assertRaises(errors.CustodyError, self.agent.require).message,
        )
        for mode in (StreamTls.SITE, StreamTls.TRANSITION):
            self.agent.hear(exchange.Streams(mode))
            self.agent.require()

    def test_it_ends(self) -> None:
        issued = self.attest()
        self.now = issued.until + 1
        self.assertEqual('', self.agent.name())
        self.assertEqual('', self.agent.said().serial)

    def test_clocks_differ(self) -> None:
        """This one is 50 minutes behind that of the service."""
        self.now -= 50 * 60
        self.attest(
            certificate=self.authority.sign(
                self.agent.said(), self.now + 50 * 60
            )
        )
        self.assertNotEqual('', self.agent.name())
        self.now -= 20 * 60
        self.assertEqual('', self.agent.name())

    def test_no_certificate_of_another_key(self) -> None:
        other = Base.started(self)
        other._key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.authority.sign(other.said(), self.now)
        self.assertIsNone(self.attest(certificate=certificate))
        self.assertIn('CERTIFICATE_INVALID', self.log.output)
        self.assertFalse(self.link.exists())

    def test_no_certificate_of_another_authority(self) -> None:
        """The service, or who passes for it, cannot add one."""
        certificate = Authority(self.now).sign(self.agent.said(), self.now)
        self.assertIsNone(self.attest(certificate=certificate))
        self.assertIn('CERTIFICATE_INVALID', self.log.output)

    def test_why_there_is_none(self) -> None:
        for _ in range(2):
            self.attest(refused='CERTIFICATE_AUTHORITY_MISSING')
        self.assertEqual(
            1, self.log.output.count('korora-manage keys create tls')
        )
        error = self.assertRaises(errors.CustodyError, self.agent.require)
        self.assertIn('keys create tls', error.message)

    def test_copied_with_the_disk(self) -> None:
        """Another host has the same key: this one makes another."""
        self.agent.said()
        before = self.agent._private().public_key()
        self.attest(refused='CERTIFICATE_KEY_TAKEN')
        self.attest()
        self.assertNotEqual(before, self.agent._private().public_key())
        self.assertNotEqual('', self.agent.name())

    def test_no_secret_is_logged(self) -> None:
        self.attest()
        self.renew()
        self.assertNotIn('PRIVATE', self.log.output)
        self.assertNotIn('PRIVATE', repr(vars(self.agent)))


class TestCrashes(Base):
    def test_between_key_and_certificate(self) -> None:
        said = self.agent.said()
        self.agent = self.started()
        self.assertEqual('', self.agent.said().serial)
        name = self.attest().name
        public = stream.read_request(base64.b64decode(said.request), 'h1')
        self.assertEqual(stream.name_of(public), name)

    def test_between_certificate_and_files(self) -> None:
        with mock.patch.object(
            tlsfiles, 'install', side_effect=KeyboardInterrupt
        ):
            self.assertRaises(KeyboardInterrupt, self.attest)
        self.agent = self.started()
        issued = self.attest()
        self.assertEqual(issued.name, self.agent.name())

    def test_key_is_damaged(self) -> None:
        before = self.attest().name
        for content in (b'', b'rubbish'):
            (self.state / 'key.pem').write_bytes(content)
            self.agent = self.started()
            self.assertEqual('', self.agent.said().serial)
            after = self.attest().name
            self.assertNotEqual(before, after)
            self.assertEqual(after, self.agent.name())

    def test_key_cannot_be_read(self) -> None:
        """No other one is made: the disk may come back."""
        self.attest()
        self.agent = self.started()
        error = OSError(errno.EIO, 'Input/output error')
        with mock.patch('pathlib.Path.read_bytes', side_effect=error):
            self.assertIsNone(self.agent.said())
            self.agent.hear(exchange.Streams(StreamTls.ATTESTED))
        self.assertIn('Input/output error', self.log.output)
        self.assertNotEqual('', self.agent.said().serial)

    def test_state_is_lost(self) -> None:
        self.attest()
        for path in self.state.iterdir():
            path.unlink()
        self.agent = self.started()
        issued = self.attest()
        self.assertEqual(issued.name, self.agent.name())

    def test_files_are_damaged(self) -> None:
        issued = self.attest()
        for name in ('server-cert.pem', 'server-key.pem', 'ca-cert.pem'):
            path = self.link / name
            os.chmod(path, 0o600)
            path.write_bytes(b'rubbish')
            self.attest()
            self.assertEqual(issued.name, self.agent.name(), name)

    def test_libvirt_is_down(self) -> None:
        error = errors.Unavailable(errors.Reason.LIBVIRT_UNAVAILABLE)
        agent, self.agent._qemu = self.agent, mock.Mock(side_effect=error)
        self.attest()
        self.assertEqual('', agent.name())
        agent._qemu = lambda: self.qemu
        self.attest()
        self.assertNotEqual('', agent.name())

    def test_keys_json_is_broken(self) -> None:
        error = errors.Unavailable(errors.Reason.KEYS_INVALID)
        self.attest()
        self.agent._ring = mock.Mock(side_effect=error)
        self.assertIsNone(self.agent.said())
        self.assertEqual('', self.agent.name())


class TestOpenPermit(Base):
    """Nothing is replaced while a permit is open, unless it must."""

    def setUp(self) -> None:
        super().setUp()
        self.first = self.attest()
        self.busy = True

    def test_later(self) -> None:
        self.now += 2 * HOUR
        after = self.renew()
        self.assertEqual(after.serial, self.agent.said().serial)
        self.assertEqual(self.first.pem, self.file('server-cert.pem'))
        self.busy = False
        self.attest()
        self.assertEqual(after.pem, self.file('server-cert.pem'))

    def test_a_permit_that_stays_open(self) -> None:
        """It costs no other server its certificate."""
        self.now += 2 * HOUR
        after = self.renew()
        self.now = self.first.until - 0.2 * 5 * HOUR
        self.attest()
        self.assertEqual(after.pem, self.file('server-cert.pem'))

    def test_the_first_one_waits_for_nothing(self) -> None:
        self.link.unlink()
        self.attest()
        self.assertEqual(self.first.name, self.agent.name())

    def test_revoked_authority(self) -> None:
        """It is not trusted for a moment longer than it is listed."""
        other = Authority(self.now)
        old = dataclasses.replace(
            self.authority.entry, state=keys.State.REVOKED
        )
        self.authority = other
        self.ring = keys.KeyRing(CLOUD, (old, other.entry))
        self.assertEqual('', self.agent.name())
        after = self.attest()
        self.assertEqual(after.name, self.agent.name())
        self.assertEqual(
            1, self.file('ca-cert.pem').count(b'BEGIN CERTIFICATE')
        )

    def test_another_authority_beside_it(self) -> None:
        other = Authority(self.now)
        old = dataclasses.replace(
            self.authority.entry, state=keys.State.VERIFY_ONLY
        )
        self.ring = keys.KeyRing(CLOUD, (old, other.entry))
        self.attest()
        count = self.file('ca-cert.pem').count
        self.assertEqual(1, count(b'BEGIN CERTIFICATE'))
        self.busy = False
        self.attest()
        self.assertEqual(
            2, self.file('ca-cert.pem').count(b'BEGIN CERTIFICATE')
        )

    def test_retired_authority_that_is_trusted_still(self) -> None:
        other = Authority(self.now)
        old = dataclasses.replace(
            self.authority.entry, state=keys.State.VERIFY_ONLY
        )
        self.ring = keys.KeyRing(CLOUD, (old, other.entry))
        self.busy = False
        self.attest()
        self.busy = True
        gone = dataclasses.replace(other.entry, state=keys.State.REVOKED)
        self.ring = keys.KeyRing(CLOUD, (self.authority.entry, gone))
        self.attest()
        self.assertEqual(
            1, self.file('ca-cert.pem').count(b'BEGIN CERTIFICATE')
        )


class TestFiles(Base):
    def test_who_reads_what(self) -> None:
        self.attest()
        for name in FILES:
            mode = stat.S_IMODE(os.stat(self.link / name).st_mode)
            private = name.endswith('-key.pem')
            self.assertEqual(0o400 if private else 0o644, mode, name)
        for path in (self.link, self.link.parent, self.link.parent.parent):
            self.assertEqual(0o755, stat.S_IMODE(os.stat(path).st_mode))

    def test_for_the_user_of_qemu(self) -> None:
        with (
            mock.patch('os.geteuid', return_value=0),
            mock.patch('os.fchown') as chown,
        ):
            self.qemu = Qemu(64055, 7002022)
            self.attest()
        owners = [call.args[1:] for call in chown.call_args_list]
        self.assertEqual([(64055, -1)] * 2, owners)

    def test_the_user_of_qemu_changes(self) -> None:
        """Or somebody has changed the owner: it is mended."""
        self.attest()
        before = os.readlink(self.link)
        os.chmod(self.link / 'server-key.pem', 0o440)
        self.attest()
        self.assertNotEqual(before, os.readlink(self.link))
        self.assertTrue(tlsfiles.is_readable(self.link, os.getuid()))
        self.assertFalse(tlsfiles.is_readable(self.link, os.getuid() + 1))

    def test_parameters(self) -> None:
        """QEMU of 10.2 warns of them."""
        self.attest()
        self.assertIn(b'DH PARAMETERS', self.file('dh-params.pem'))
        self.qemu = Qemu(os.getuid(), 10_002_000)
        self.attest()
        self.assertFalse((self.link / 'dh-params.pem').exists())

    def test_there_before_any_certificate(self) -> None:
        """libvirtd does not start if its directory is not there."""
        self.agent.prepare()
        before = os.readlink(self.link)
        self.assertEqual([], os.listdir(self.link))
        self.agent.prepare()
        self.assertEqual(before, os.readlink(self.link))
        self.assertEqual('', self.agent.name())
        issued = self.attest()
        self.assertEqual(issued.name, self.agent.name())
        self.agent.prepare()
        self.assertEqual(issued.name, self.agent.name())
        self.started(None).prepare()

    def test_link_that_leads_nowhere(self) -> None:
        """Somebody has tidied up."""
        issued = self.attest()
        shutil.rmtree(self.link.parent / os.readlink(self.link))
        self.assertEqual('', self.agent.name())
        self.agent.prepare()
        self.assertTrue(self.link.is_dir())
        shutil.rmtree(self.link.parent / os.readlink(self.link))
        self.attest()
        self.assertEqual(issued.name, self.agent.name())

    def test_answers_at_once(self) -> None:
        """Two attestations end at the same time."""
        self.attest()
        said = self.agent.said()
        answers = [self.authority.sign(said, self.now) for _ in range(8)]
        threads = [
            threading.Thread(target=self.agent.hear, args=(heard,))
            for heard in (
                exchange.Streams(StreamTls.ATTESTED, one) for one in answers
            )
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertNotEqual('', self.agent.name())
        self.assertEqual(FILES, sorted(os.listdir(self.link)))
        self.assertEqual(2, len(self.generations()))

    def test_no_place_to_prepare(self) -> None:
        self.agent._link = pathlib.Path('/dev/null/korora')
        self.agent.prepare()
        self.assertIn('No certificate for streams', self.log.output)

    def test_what_others_made_stays(self) -> None:
        """A site's own files: nothing is touched, and it is said."""
        self.link.mkdir(parents=True)
        (self.link / 'server-key.pem').write_bytes(b'theirs')
        self.attest()
        self.assertEqual(b'theirs', self.file('server-key.pem'))
        self.assertEqual('', self.agent.name())
        self.assertIn('is no symbolic link', self.log.output)
        self.assertIsNotNone(self.agent.said())

    def test_a_link_of_others_stays(self) -> None:
        self.link.parent.mkdir(parents=True)
        for target in ('../site', 'korora.old', 'x.12345678'):
            self.link.symlink_to(target)
            self.attest()
            self.assertEqual(target, os.readlink(self.link))
            self.assertIn(f'leads to {target}', self.log.output)
            self.link.unlink()

    def test_full_disk(self) -> None:
        """What was there stays, whole; what was begun is gone."""
        before = self.attest()
        found = self.generations()
        self.now += 2 * HOUR
        full = OSError(errno.ENOSPC, 'No space left on device')
        certificate = self.authority.sign(self.agent.said(), self.now)
        for step in range(1, 40):
            real, calls = os.fsync, [0]

            def failing(descriptor, step=step, real=real, calls=calls):
                calls[0] += 1
                if calls[0] >= step:
                    raise full
                real(descriptor)

            with mock.patch('os.fsync', failing):
                self.attest(certificate=certificate)
            if calls[0] < step:
                break
            self.assertEqual(before.name, self.agent.name())
            self.assertIsNotNone(self.agent._found(self.link))
        self.assertGreater(step, 8)
        self.assertNotEqual(before.pem, self.file('server-cert.pem'))
        self.assertGreaterEqual(len(found) + 2, len(self.generations()))

    def test_crash_at_every_step(self) -> None:
        """QEMU finds all of the old ones or all of the new ones."""
        before = self.attest()
        self.now += 2 * HOUR
        certificate = self.authority.sign(self.agent.said(), self.now)
        for name in ('mkdir', 'chmod', 'symlink', 'replace'):
            with mock.patch(f'os.{name}', side_effect=KeyboardInterrupt):
                self.assertRaises(
                    KeyboardInterrupt,
                    self.attest,
                    certificate=certificate,
                )
            found = tlsfiles.read(self.link)
            self.assertEqual(before.pem, found['server-cert.pem'], name)
            self.assertEqual(FILES, sorted(found), name)
        self.attest(certificate=certificate)
        self.assertNotEqual(before.pem, self.file('server-cert.pem'))

    def test_what_is_left_is_swept(self) -> None:
        """The last one before stays: QEMU may just be reading it."""
        for _ in range(4):
            self.now += HOUR
            self.renew()
        self.assertEqual(2, len(self.generations()))
        self.assertIn(os.readlink(self.link), self.generations())

    def test_read_while_it_is_replaced(self) -> None:
        """A reader that opens one file after the other: all fit."""
        self.attest()
        first = self.file('server-cert.pem')
        self.now += 2 * HOUR
        self.renew()
        rest = self.file('server-key.pem')
        private = streams._load(rest)
        read = stream.read(
            first, private.public_key(), self.ring.authorities.values()
        )
        self.assertEqual(read.name, self.agent.name())


class TestLibvirt(testtools.TestCase):
    def test_user_of_qemu(self) -> None:
        text = (
            '<capabilities><host>{}<secmodel><model>dac</model>'
            "<baselabel type='kvm'>{}</baselabel></secmodel></host>"
            '</capabilities>'
        )
        armor = (
            '<secmodel><model>apparmor</model>'
            "<baselabel type='kvm'>+1:+1</baselabel></secmodel>"
        )
        self.assertEqual(64055, _uid(text.format('', '+64055:+108')))
        self.assertEqual(64055, _uid(text.format(armor, '+64055:+108')))
        self.assertEqual(0, _uid(text.format('', 'qemu')))
        self.assertEqual(0, _uid('<capabilities/>'))
