# SPDX-License-Identifier: Apache-2.0
"""Each check of ``korora-agent check``, each outcome."""

import dataclasses
import datetime
import hashlib

import testtools
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from korora_nova import checks as outcome
from korora_nova import errors
from korora_nova.attester.check import (
    logs,
    reach,
    settings,
    software,
    sources,
    stream_files,
)
from korora_nova.attester.check import tpm as tpm_checks
from korora_nova.checks import Level
from korora_nova.rats import evidence
from korora_nova.rats.quote.verify import Clock
from korora_nova.rats.signed import keys
from korora_nova.relying_party import drift
from korora_nova.tpm.inspection import Endorsed, Place, Properties
from tests.support import makers, vectors
from tests.support import simulator as sim
from tests.unit.rats.x509.base import EK

HOST = 'host/debian-12'
NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.timezone.utc)
GOOD = Properties('IFX', 0x10, 159, (), (), False, 7)
PLACES = {
    'EK': (0x81010001, 0x81010021),
    'SRK': (0x81000010, 0x81000011),
    'AK': (0x81010020, 0x81010022),
}
FRESH = {name: Place('free', at) for name, at in PLACES.items()}
USED = {name: Place('ours', at) for name, at in PLACES.items()}
TAKEN = {name: Place('foreign', at) for name, at in PLACES.items()}
AGENT = settings.AgentSettings(
    'h1', '192.0.2.1', 'h1', '/run/a', '/etc/k', ('nova',), True, 0o600
)
NOVA = settings.NovaSettings(
    ('/etc/nova/nova.conf',),
    settings.DRIVER,
    'h1',
    True,
    '192.0.2.1',
    False,
    '/run/a',
    '/etc/k',
    True,
)


class CheckTest(testtools.TestCase):
    def assertSays(self, found, level, *words):
        """The result has this level and these words, and advice if bad."""
        self.assertEqual(level, found.level, found)
        for word in words:
            self.assertIn(word, f'{found.text} -> {found.advice}')
        if level is Level.BAD:
            self.assertNotEqual('', found.advice)


class TpmTest(CheckTest):
    def test_which_one_it_is(self):
        self.assertSays(tpm_checks.tpm(GOOD), Level.OK, 'IFX', '1.59')

    def test_state(self):
        for level, handles, changes, word in (
            (Level.OK, FRESH, {}, 'no passwords'),
            (Level.OK, USED, {'passwords': ('owner', 'lockout')}, ''),
            (Level.BAD, FRESH, {'passwords': ('owner',)}, 'owner'),
            (Level.BAD, USED, {'passwords': ('endorsement',)}, '-c e'),
            (Level.BAD, USED, {'passwords': ('endorsement',)}, 'korora.'),
            (Level.BAD, USED, {'disabled': ('endorsement',)}, 'disabled'),
            (Level.WARN, USED, {'in_lockout': True}, 'lock-out'),
        ):
            found = dataclasses.replace(GOOD, **changes)
            self.assertSays(tpm_checks.tpm_state(found, handles), level, word)

    def test_passwords_that_the_agent_has(self):
        both = ('owner', 'endorsement')
        found = dataclasses.replace(GOOD, passwords=both)
        for given, level in (
            (both, Level.OK),
            (('owner',), Level.BAD),
            (('endorsement',), Level.BAD),
        ):
            self.assertSays(
                tpm_checks.tpm_state(found, FRESH, given), level, 'password'
            )

    def test_keys(self):
        self.assertSays(tpm_checks.tpm_keys(FRESH, 3), Level.OK, 'to be made')
        self.assertSays(tpm_checks.tpm_keys(USED, 0), Level.OK)
        self.assertSays(tpm_checks.tpm_keys(FRESH, 2), Level.BAD, 'room')
        self.assertSays(
            tpm_checks.tpm_keys({**USED, 'SRK': TAKEN['SRK']}, 3),
            Level.BAD,
            '0x81000010 and 0x81000011',
            'evict one',
        )
        for name in ('EK', 'AK'):
            found = tpm_checks.tpm_keys({**USED, name: TAKEN[name]}, 3)
            self.assertSays(found, Level.BAD, 'maker', 'leave it')
            self.assertNotIn('evict', found.advice)

    def test_banks(self):
        for level, banks in (
            (Level.OK, {'sha256': tuple(range(24))}),
            (Level.BAD, {'sha256': tuple(range(8))}),
            (Level.BAD, {'sha1': tuple(range(24))}),
            (Level.BAD, {}),
        ):
            self.assertSays(tpm_checks.pcr_banks(banks), level)

    def test_its_clock(self):
        self.assertSays(tpm_checks.tpm_clock(Clock(1, 2, 3, True)), Level.OK)
        self.assertSays(
            tpm_checks.tpm_clock(Clock(1, 2, 3, False)),
            Level.WARN,
            'TPM_CLOCK_UNSAFE',
        )

    def test_a_host_that_was_suspended(self):
        clock = Clock(1, 2, 3, True)
        self.assertSays(tpm_checks.tpm_clock(clock, 500, 480), Level.OK)
        self.assertSays(
            tpm_checks.tpm_clock(clock, 60, 86_400),
            Level.WARN,
            'hibernation',
            'reboot',
        )

    def test_clock(self):
        for level, offset in (
            (Level.OK, 1.0),
            (Level.WARN, -10.0),
            (Level.BAD, 31.0),
            (Level.WARN, None),
        ):
            self.assertSays(tpm_checks.clock(offset, 'Keystone'), level)

    def test_no_certificate(self):
        ek = sim.rsa_public(EK.public_key())
        found = Endorsed(ek, 'L-1', b'', (), 'the NV index 0x01c00002')
        self.assertSays(
            tpm_checks.ek_certificate(found, NOW),
            Level.WARN,
            '0x01c00002',
            hashlib.sha256(sim.name_of(ek)).hexdigest(),
            '--uncertified',
        )
        self.assertSays(tpm_checks.ek_chain(found, {}, NOW), Level.WARN)

    def test_certificate_of_another_key(self):
        other = ec.generate_private_key(ec.SECP256R1()).public_key()
        root = makers.Authority('root')
        found = Endorsed(
            sim.ecc_ek(other),
            'L-2',
            root.certify(EK.public_key()),
            (),
            'the NV index 0x01c0000a',
        )
        self.assertSays(
            tpm_checks.ek_certificate(found, NOW),
            Level.BAD,
            'EK_MISMATCH',
            '[attester] ek_certificate',
        )

    def test_chain_of_the_tpm_s_own(self):
        root = makers.Authority('root')
        middle = makers.Authority('middle', root)
        ek = sim.rsa_public(EK.public_key())
        cert = middle.certify(EK.public_key())
        for chain, level in (((middle.der,), Level.OK), ((), Level.BAD)):
            found = Endorsed(ek, 'L-1', cert, chain, 'there')
            self.assertSays(
                tpm_checks.ek_chain(found, {'root.pem': root.pem}, NOW), level
            )


class LogsTest(CheckTest):
    def setUp(self):
        super().setUp()
        vector = vectors.load(HOST)
        self.uefi = vector.files[vectors.UEFI]
        self.ima = vector.files[vectors.IMA]
        self.pcrs = {
            pcr: value
            for pcr, value in vector.pcrs['sha256'].items()
            if pcr < 16
        }

    def moved(self, pcr):
        return {**self.pcrs, pcr: hashlib.sha256(b'x').digest()}

    def test_event_log(self):
        self.assertSays(logs.uefi_log(self.uefi, self.pcrs), Level.OK)
        for pcr, level in ((4, Level.BAD), (8, Level.WARN), (11, Level.OK)):
            self.assertSays(
                logs.uefi_log(self.uefi, self.moved(pcr)),
                level,
                '' if level is Level.OK else f'PCR {pcr}',
            )
        for log, reason in (
            (b'', 'UEFI_LOG_MISSING'),
            (self.uefi[:99], 'UEFI_LOG_MALFORMED'),
        ):
            found = logs.uefi_log(log, self.pcrs)
            self.assertSays(found, Level.BAD, reason)

    def test_secure_boot(self):
        self.assertSays(logs.secure_boot(self.uefi, self.pcrs), Level.OK)
        off = vectors.load('host/debian-12-insecure')
        self.assertSays(
            logs.secure_boot(
                off.files[vectors.UEFI],
                {pcr: off.pcrs['sha256'][pcr] for pcr in range(16)},
            ),
            Level.WARN,
            'off',
        )
        self.assertSays(
            logs.secure_boot(self.uefi, self.moved(7)), Level.WARN, 'unknown'
        )
        self.assertSays(logs.secure_boot(b'', self.pcrs), Level.WARN)

    def test_ima_policy(self):
        whole = 'measure func=BPRM_CHECK\nmeasure func=MMAP_CHECK\n'
        for level, line, active, entries in (
            (Level.OK, 'ro ima_policy=tcb', None, 55),
            (Level.OK, 'ro', whole + 'measure func=MODULE_CHECK', 55),
            (Level.OK, 'ro', None, 55),
            (Level.BAD, 'ro', whole, 55),
            (Level.BAD, 'ima_policy=tcb', None, 1),
            (Level.BAD, 'ro', None, 0),
            (Level.WARN, 'ro', None, None),
        ):
            self.assertSays(logs.ima_policy(line, active, entries), level)

    def test_ima_list(self):
        middle = len(self.ima) // 2
        for listed in (
            (self.ima,),
            (self.ima[:middle], self.ima[middle:]),
        ):
            found = logs.ima_list(lambda: listed, self.pcrs, 0)  # noqa: B023
            self.assertSays(found, Level.OK, '55 entries')
        for listed, pcrs, violations, level, word in (
            (self.ima, self.pcrs, 3, Level.WARN, '3 violations'),
            (b'', self.pcrs, None, Level.BAD, 'IMA_LOG_MISSING'),
            (self.ima, self.moved(10), 0, Level.BAD, 'IMA_LOG_REPLAY'),
            (self.ima, self.moved(0), 0, Level.BAD, 'ima_hash=sha256'),
        ):
            found = logs.ima_list(lambda: (listed,), pcrs, violations)  # noqa: B023
            self.assertSays(found, level, word)
        old = vectors.load('ima/hash-sha1')
        listed, banks = old.files[vectors.IMA], old.pcrs
        for sha1, level in (({}, Level.BAD), (banks['sha1'], Level.OK)):
            found = logs.ima_list(lambda: (listed,), banks['sha256'], 0, sha1)
            self.assertSays(found, level)
        name = b'boot_aggregate\0' + bytes(4)  # and no signature
        less = self.ima[self.ima.index(name) + len(name) :]
        found = logs.ima_list(lambda: (less,), self.pcrs, 0)
        self.assertSays(found, Level.WARN, 'dropped', 'reboot')
        for most, level, word in (
            (len(self.ima) + 1, Level.WARN, 'half'),
            (99, Level.BAD, 'keeps'),
        ):
            self.patch(evidence, 'MAX_IMA_OFFSET', most)
            found = logs.ima_list(lambda: (self.ima,), self.pcrs, 0)
            self.assertSays(found, level, word)


class SoftwareTest(CheckTest):
    GOOD = software.Hypervisor((11, 3, 0), (10, 0, 0), True)

    def test_the_minimum_is_the_drivers(self):
        self.assertEqual(drift.MIN_LIBVIRT, software.MIN_LIBVIRT)

    def test_versions(self):
        for level, changes in (
            (Level.OK, {}),
            (Level.OK, {'emulates_tpm': None}),
            (Level.BAD, {'emulates_tpm': False}),
            (Level.BAD, {'libvirt': (8, 8, 0)}),
        ):
            found = dataclasses.replace(self.GOOD, **changes)
            self.assertSays(software.libvirt_version(found), level)
        self.assertSays(software.qemu_version(self.GOOD), Level.OK, '10.0.0')
        old = dataclasses.replace(self.GOOD, qemu=(5, 2, 0))
        self.assertSays(software.qemu_version(old), Level.BAD)

    def test_swtpm(self):
        for level, said in (
            (Level.OK, 'TPM emulator version 0.7.1, Copyright'),
            (Level.BAD, 'TPM emulator version 0.6.3, Copyright'),
            (Level.BAD, 'hello'),
            (Level.BAD, ''),
        ):
            self.assertSays(software.swtpm(said), level)
        self.assertEqual('', software.swtpm_version(5, ('/no/such',)))
        self.assertEqual(
            '--version', software.swtpm_version(5, ('echo', '-E'))
        )

    def test_libvirt_that_is_not_there(self):
        error = self.assertRaises(
            errors.Unavailable, software.ask, 'qemu:///no-such'
        )
        self.assertEqual('LIBVIRT_UNAVAILABLE', error.reason)

    def test_libvirts_own_test_driver(self):
        found = software.ask('test:///default')
        self.assertGreater(found.libvirt, (1, 0, 0))
        self.assertIsNone(found.emulates_tpm)


class SettingsTest(CheckTest):
    def test_agent(self):
        self.assertSays(settings.agent_conf(AGENT), Level.OK, 'h1')
        for level, changes in (
            (Level.BAD, {'mode': None}),
            (Level.BAD, {'mode': 0o644}),
            (Level.WARN, {'has_bus': False}),
        ):
            found = dataclasses.replace(AGENT, **changes)
            self.assertSays(settings.agent_conf(found), level)

    def test_nova(self):
        self.assertSays(settings.nova_conf(NOVA, AGENT), Level.OK)
        for level, changes in (
            (Level.WARN, {'files': ()}),
            (Level.WARN, {'driver': 'libvirt.LibvirtDriver'}),
            (Level.BAD, {'swtpm': False}),
            (Level.BAD, {'host': 'h2'}),
            (Level.BAD, {'inbound': ''}),
            (Level.BAD, {'socket': '/run/b'}),
            (Level.WARN, {'trusted_keys': '/etc/l'}),
            (Level.BAD, {'has_credentials': False}),
        ):
            found = dataclasses.replace(NOVA, **changes)
            self.assertSays(settings.nova_conf(found, AGENT), level)

    def certificate(self, days, name='h1'):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(NOW - datetime.timedelta(days=400))
            .not_valid_after(NOW + datetime.timedelta(days=days))
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name)]), False
            )
            .sign(key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)

    def test_certificates(self):
        for level, content in (
            (Level.OK, self.certificate(300)),
            (Level.WARN, self.certificate(20)),
            (Level.BAD, self.certificate(-1)),
            (Level.BAD, self.certificate(300, 'h2')),
            (Level.BAD, b'nonsense'),
            (Level.BAD, 'No such file or directory'),
        ):
            files = {'/etc/pki/qemu/server-cert.pem': content}
            found = settings.certificates(files, 'h1', True, NOW)
            self.assertSays(found, level)
        found = settings.certificates(files, 'h1', False, NOW)
        self.assertSays(found, Level.OK, 'none needed')

    def test_streams(self):
        link, name = '/etc/pki/qemu/korora', 'x.korora.invalid'
        set_there = f'migrate_tls_x509_cert_dir = "{link}"\n'
        for level, text, args in (
            (Level.OK, name, (link, name, set_there, False)),
            (Level.WARN, 'is not set', (None, '', set_there, False)),
            (Level.WARN, 'no certificate', (link, '', set_there, False)),
            (Level.WARN, 'cannot be read', (link, name, None, False)),
            (Level.WARN, 'plain servers', (link, name, set_there, True)),
            (Level.BAD, 'is not set,', (link, name, '', False)),
            (Level.BAD, 'is not set,', (link, name, f'#{set_there}', False)),
            (
                Level.BAD,
                'is /x,',
                (link, name, 'migrate_tls_x509_cert_dir="/x"', False),
            ),
            (
                Level.BAD,
                'not to verify',
                (
                    link,
                    name,
                    set_there + 'default_tls_x509_verify = 0\n',
                    False,
                ),
            ),
            (
                Level.OK,
                name,
                (
                    link,
                    name,
                    set_there
                    + 'default_tls_x509_verify = 0\n'
                    + 'migrate_tls_x509_verify = 1\n',
                    False,
                ),
            ),
        ):
            self.assertSays(stream_files.streams(*args), level, text)

    def test_state_directory(self):
        for level, mode, free in (
            (Level.OK, None, 1 << 30),
            (Level.OK, 0o700, 1 << 30),
            (Level.BAD, 0o755, 1 << 30),
            (Level.BAD, 0o700, 1 << 20),
        ):
            self.assertSays(settings.state_dir('/v', mode, free), level)


def ring(cloud='c', *pinned):
    return keys.KeyRing(cloud, pinned)


class ReachTest(CheckTest):
    def key(self, use, state=keys.State.ACTIVE):
        public = keys.SigningKey.generate().public
        return keys.Pinned(use, keys.key_id(public), public, state)

    def test_pinned_keys(self):
        all_uses = [self.key(use) for use in keys.USES]
        found = settings.trusted_keys(ring('c', *all_uses))
        self.assertSays(found, Level.OK, '3 keys')
        found = settings.trusted_keys(ring('c', *all_uses[1:]))
        self.assertSays(found, Level.BAD, 'result')

    def test_keys_of_the_service(self):
        one, two = self.key('result'), self.key('custody')
        revoked = dataclasses.replace(two, state=keys.State.REVOKED)
        for level, pinned in (
            (Level.OK, ring('c', one, two)),
            (Level.BAD, ring('c', one)),
            (Level.BAD, ring('c', one, revoked)),
            (Level.BAD, ring('other', one, two)),
        ):
            found = reach.service_keys(pinned, ring('c', one, two))
            self.assertSays(found, level)

    def test_service(self):
        R = errors.Reason
        for level, known in (
            (Level.OK, {'status': 'pending', 'tier': 'none'}),
            (Level.OK, errors.NotFound(R.HOST_UNKNOWN)),
            (Level.BAD, {'status': 'evicted', 'tier': 'contraindicated'}),
            (Level.BAD, errors.Forbidden(R.FORBIDDEN)),
            (Level.BAD, errors.Unavailable(R.SERVICE_UNAVAILABLE)),
        ):
            self.assertSays(reach.service('h1', known), level)

    def test_bus(self):
        for level, brokers, word in (
            (Level.WARN, None, 'transport_url'),
            (Level.OK, [('a:1', '')], 'a:1'),
            (Level.BAD, [('a:1', ''), ('b:1', 'AccessRefused')], 'password'),
            (Level.BAD, [('a:1', 'NotAllowed')], 'virtual host'),
            (Level.BAD, [('a:1', 'ConnectionRefusedError')], 'broker'),
        ):
            nodes = brokers and [reach.Broker(*one) for one in brokers]
            self.assertSays(reach.bus(nodes), level, word)


class OutcomeTest(CheckTest):
    RESULTS = (
        outcome.result('one', 'fine'),
        outcome.result(
            'two',
            '',
            [
                outcome.warn('small ' * 20, 'do this'),
                outcome.bad('large\x1b[2J', 'do that'),
            ],
        ),
    )

    def test_the_worst_counts(self):
        self.assertEqual(Level.BAD, self.RESULTS[1].level)
        self.assertEqual(2, outcome.worst(self.RESULTS))
        self.assertEqual(0, outcome.worst([]))
        self.assertEqual('do that; do this', self.RESULTS[1].advice)

    def test_text_fits_a_terminal_and_controls_none(self):
        shown = outcome.as_text(self.RESULTS, {'readclock': 2})
        self.assertLessEqual(max(map(len, shown.splitlines())), 79)
        self.assertNotIn('\x1b', shown)
        self.assertIn('1 ok, 0 warn, 1 bad; 2 commands', shown)


class SourcesTest(CheckTest):
    def test_a_failure_is_told_once(self):
        source = sources.Source('x', lambda: 1 // 0)
        self.assertRaises(ZeroDivisionError, source.get)
        self.assertRaises(sources.Missing, source.get)

    def test_read_once(self):
        reads = []
        source = sources.Source('x', lambda: reads.append(1))
        source.get()
        source.get()
        self.assertEqual([1], reads)
