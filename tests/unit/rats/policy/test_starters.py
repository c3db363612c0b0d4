# SPDX-License-Identifier: Apache-2.0
"""The starter policies, on recorded hosts."""

import dataclasses
import unittest

from korora_nova import errors
from korora_nova.rats import appraise, evidence, ima, policy, reference
from korora_nova.rats.quote import verify as quote
from korora_nova.rats.tpm2 import objects
from tests.support import simulator as sim
from tests.support import states

DEBIAN = 'host/debian-12'
CHALLENGE = b'c' * 32


class StarterTest(unittest.TestCase):
    def bound(self, name, *learned):
        return policy.load(states.starter(name)).bind(
            [states.learned(one) for one in learned]
        )

    def reasons(self, name, host, *learned):
        """Of the rules, and of the files as one measurement."""
        judgement = self.bound(name, *(learned or (DEBIAN,))).judge(
            states.recorded(host)
        )
        found = [*judgement.findings]
        if host.startswith('host/'):
            found += filter(
                None, map(judgement.ima_rules.check, states.files(host))
            )
        return set(states.reasons(found))

    def test_all_load(self):
        names = sorted(path.stem for path in states.STARTERS.iterdir())
        self.assertEqual(['debian', 'exact', 'ubuntu'], names)
        for name in names:
            loaded = policy.load(states.starter(name))
            self.assertEqual(name, loaded.name)
            self.assertTrue(loaded.applies('h1'))

    def test_exact_is_the_built_in_one(self):
        self.assertEqual(policy.EXACT.document, states.starter('exact'))

    def test_nothing_is_trusted_without_a_reference(self):
        for name in ('debian', 'ubuntu', 'exact'):
            found = self.bound(name).check(states.recorded(DEBIAN))
            self.assertIn('NO_REFERENCE', states.reasons(found))

    def test_recorded_hosts(self):
        for name in ('debian', 'ubuntu'):
            for host, reasons in (
                ('debian-12', set()),
                (
                    'debian-12-insecure',
                    {
                        'SECURE_BOOT_OFF',
                        'PCR_NOT_GOLDEN',
                        'SIGNATURE_MISSING',
                        'AUTHORITY_UNKNOWN',
                        'COMPONENT_UNKNOWN',
                    },
                ),
                ('debian-12-option', {'COMMAND_LINE'}),
                (
                    'debian-12-previous-kernel',
                    {'COMPONENT_UNKNOWN', 'IMA_UNKNOWN_FILE'},
                ),
                ('debian-12-program', {'IMA_UNKNOWN_FILE'}),
                ('debian-12-violation', {'IMA_UNKNOWN_FILE', 'IMA_VIOLATION'}),
            ):
                self.assertEqual(
                    reasons,
                    self.reasons(name, f'host/{host}'),
                    msg=f'{name} {host}',
                )

    def test_a_rolling_update(self):
        """Both kernels are trusted as long as both references are there."""
        old = 'host/debian-12-previous-kernel'
        for host in (DEBIAN, old):
            self.assertEqual(set(), self.reasons('debian', host, old, DEBIAN))
        self.assertIn('COMPONENT_UNKNOWN', self.reasons('debian', old, DEBIAN))

    def test_a_host_with_other_disks(self):
        """What differs between equal hosts is no reason to distrust one."""
        state = states.recorded(DEBIAN)
        for root in ('root=UUID=1234', 'root=/dev/mapper/vg-root'):
            lines = [
                dataclasses.replace(
                    item, text=item.text.replace('root=UUID=0b2a', root)
                )
                for item in state.boot.command_lines
            ]
            boot = dataclasses.replace(
                state.boot,
                command_lines=tuple(lines),
                components=tuple(
                    dataclasses.replace(item, digest='sha256:' + 'a' * 64)
                    if item.pcr == 9
                    else item
                    for item in state.boot.components
                ),
            )
            other = dataclasses.replace(state, boot=boot)
            self.assertNotEqual(state, other)
            for name in ('debian', 'ubuntu'):
                self.assertEqual((), self.bound(name, DEBIAN).check(other))

    def test_without_measuring_files(self):
        """A host that boots without ima_policy=tcb has no unknown files."""
        found = self.bound('debian', DEBIAN).check(
            states.recorded('uefi/shim-grub')
        )
        self.assertIn('ima_policy=tcb', found[0].message)
        self.assertEqual('rules/9/command-line', found[0].details['rule'])

    def test_every_argument_of_its_own_patterns_is_harmless(self):
        for name in ('debian', 'ubuntu'):
            params = next(
                rule['command-line']
                for rule in states.starter(name)['rules']
                if 'command-line' in rule
            )
            for word in (
                'init=/bin/sh',
                'rdinit=/x',
                'rd.break',
                'systemd.debug-shell',
                'systemd.debug_shell=1',
                'single',
                'ima_appraise=off',
                'ima=off',
                'systemd.unit=rescue.target',
                'emergency',
            ):
                self.assertEqual(
                    [word],
                    list(
                        policy.arguments.matching(
                            (word,), tuple(params['forbidden'])
                        )
                    ),
                    msg=word,
                )
                self.assertEqual(
                    [],
                    list(
                        policy.arguments.matching(
                            (word,), tuple(params['patterns'])
                        )
                    ),
                    msg=word,
                )


class WholeHostTest(unittest.TestCase):
    """The same through the quote, with a golden host of the simulator."""

    def setUp(self):
        super().setUp()
        self.host = sim.SimHost(vector='secure-boot')
        first = self.appraise([policy.EXACT.bind(())])
        self.golden = reference.learn(
            'golden', first.state, first.measured.files()
        )

    def appraise(self, policies, **changes):
        return appraise.appraise(
            self.host.attest(CHALLENGE),
            **{
                'ak': objects.parse_public(self.host.tpm.ak_public),
                'challenge': CHALLENGE,
                'purpose': 'attest',
                'host': 'h1',
                'body': b'{}',
                'policies': policies,
                'last_clock': None,
                **changes,
            },
        )

    def starter(self, name):
        return policy.load(states.starter(name)).bind([self.golden])

    def test_affirming(self):
        for name in ('debian', 'ubuntu', 'exact'):
            appraisal = self.appraise([self.starter(name)])
            self.assertEqual(
                ('affirming', ()), (appraisal.tier, appraisal.reasons)
            )

    def test_other_boots(self):
        """Each recorded boot is affirmed by what was learned from it."""
        for vector in ('shim-grub', 'uki-secure', 'many-keys'):
            self.host = sim.SimHost(vector=vector)
            first = self.appraise([policy.EXACT.bind(())])
            self.golden = reference.learn(
                vector, first.state, first.measured.files()
            )
            for name in ('debian', 'ubuntu', 'exact'):
                appraisal = self.appraise([self.starter(name)])
                self.assertEqual((), appraisal.reasons, msg=vector)

    def test_all_at_once(self):
        names = ('debian', 'ubuntu', 'exact')
        bound = [self.starter(name) for name in names]
        self.assertEqual('affirming', self.appraise(bound).tier)
        self.host.measure('/bin/evil')
        found = self.appraise(bound).reasons
        self.assertEqual(
            [
                (name, rule)
                for name, rule in zip(
                    names,
                    ('rules/10/ima', 'rules/10/ima', 'rules/2/ima'),
                    strict=True,
                )
            ],
            [(item.details['policy'], item.details['rule']) for item in found],
        )

    def test_excluded_file(self):
        self.host.measure('/var/log/syslog')
        self.assertEqual(
            'affirming', self.appraise([self.starter('debian')]).tier
        )
        self.assertEqual(
            ('IMA_UNKNOWN_FILE',),
            self.appraise([self.starter('exact')]).reason_ids,
        )

    def test_violations(self):
        """Nothing covers a violation's path: no exclusion excuses it."""
        for path in ('/var/log/syslog', '/usr/bin/qemu'):
            host = self.host = sim.SimHost(vector='secure-boot')
            data = (
                b'\x1a\0\0\0sha1:\0'
                + bytes(20)
                + (len(path) + 1).to_bytes(4, 'little')
                + path.encode()
                + b'\0'
            )
            host.ima_log += (
                b'\x0a\0\0\0'
                + bytes(20)
                + b'\6\0\0\0ima-ng'
                + len(data).to_bytes(4, 'little')
                + data
            )
            host.tpm.extend(10, b'\xff' * 32)
            appraisal = self.appraise([self.starter('debian')])
            self.assertEqual(('IMA_VIOLATION',), appraisal.reason_ids)
            learned = reference.learn(
                'x', appraisal.state, appraisal.measured.files()
            )
            self.assertEqual(self.golden.ima_digests, learned.ima_digests)

    def test_user_space_extends_a_pcr(self):
        """systemd extends 11 and 15: starters do not mind.

        To exact they are other values, which it can learn.
        """
        for pcr in (11, 15):
            self.host.tpm.extend(pcr, b'x' * 32)
        appraisal = self.appraise([self.starter('debian')])
        self.assertEqual('affirming', appraisal.tier)
        self.assertEqual({11, 15}, set(appraisal.state.log.differs))
        self.assertEqual(
            ('PCR_NOT_GOLDEN',),
            self.appraise([self.starter('exact')]).reason_ids,
        )
        again = reference.learn(
            'again', appraisal.state, appraisal.measured.files()
        )
        for bound in (
            policy.load(states.starter('debian')).bind([again]),
            policy.EXACT.bind([again]),
        ):
            self.assertEqual('affirming', self.appraise([bound]).tier)
        for pcr in (11, 15):
            self.host.tpm.extend(pcr, b'y' * 32)
            self.assertEqual(
                ('PCR_NOT_GOLDEN',),
                self.appraise([policy.EXACT.bind([again])]).reason_ids,
            )

    def test_each_pcr_extended(self):
        for pcr in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14):
            self.host = sim.SimHost(vector='secure-boot')
            self.host.tpm.extend(pcr, b'x' * 32)
            self.assertEqual(
                'contraindicated',
                self.appraise([self.starter('debian')]).tier,
                msg=pcr,
            )

    def test_incremental(self):
        bound = [self.starter('debian')]
        first = self.appraise(bound)
        whole = self.host.ima_log
        self.host.measure('/bin/evil')
        value = self.host.attest(CHALLENGE)
        suffix = evidence.Evidence(
            value.quote,
            value.uefi_log,
            self.host.ima_log[len(whole) :],
            len(whole),
        )
        self.assertEqual(len(whole), first.measured.state.bytes)
        for state, reason in (
            (None, 'IMA_CONTINUITY'),
            (
                ima.State.from_json(
                    {**first.measured.state.to_json(), 'bytes': 1}
                ),
                'IMA_CONTINUITY',
            ),
        ):
            with self.assertRaises(errors.Conflict) as caught:
                self.send(suffix, bound, state)
            self.assertEqual(reason, caught.exception.reason)
        appraisal = self.send(suffix, bound, first.measured.state)
        self.assertEqual(('IMA_UNKNOWN_FILE',), appraisal.reason_ids)
        self.assertEqual(
            [b'/bin/evil'],
            [entry.path for entry in appraisal.measured.files()],
        )
        # A state made under other rules is not continued.
        with self.assertRaises(errors.Conflict):
            self.send(suffix, [self.starter('exact')], first.measured.state)
        # The whole list is judged from its beginning, state or not.
        whole = evidence.Evidence(
            value.quote, value.uefi_log, self.host.ima_log
        )
        self.assertEqual(
            4, self.send(whole, bound, first.measured.state).measured.entries
        )

    def send(self, value, policies, state):
        return appraise.appraise(
            value,
            ak=objects.parse_public(self.host.tpm.ak_public),
            challenge=CHALLENGE,
            purpose='attest',
            host='h1',
            body=b'{}',
            policies=policies,
            last_clock=None,
            known=appraise.Known(state),
        )


class NoImaTest(unittest.TestCase):
    """Hosts without IMA, under policies that say so."""

    def setUp(self):
        super().setUp()
        self.host = sim.SimHost(vector='secure-boot')
        self.host.tpm.pcrs[10] = bytes(32)
        self.host.ima_log = b''

    def appraise(self, rule, **changes):
        values = {
            'registers': [4],
            'generations': [
                {'name': 'x', 'values': {'4': self.host.tpm.pcrs[4].hex()}}
            ],
        }
        bound = states.load({'pcrs': values}, {'ima': rule}).bind(())
        return WholeHostTest.appraise(self, [bound], **changes)

    def test_not_appraised(self):
        appraisal = self.appraise('not-appraised')
        self.assertEqual(
            ('affirming', None), (appraisal.tier, appraisal.measured)
        )
        values = reference.learn('golden', appraisal.state, ())
        self.assertEqual(frozenset(), values.ima_digests)

    def test_appraised(self):
        digest = 'sha256:' + 'a' * 64
        self.assertEqual(
            ('IMA_LOG_MISSING',),
            self.appraise({'digests': [digest]}).reason_ids,
        )

    def test_a_list_replays_also_where_it_is_not_appraised(self):
        self.host.tpm.extend(10, b'x' * 32)
        self.assertEqual(
            ('IMA_LOG_MISSING',), self.appraise('not-appraised').reason_ids
        )
        self.host = sim.SimHost(vector='secure-boot')
        self.host.measure('/bin/anything')
        self.assertEqual('affirming', self.appraise('not-appraised').tier)
        self.host.ima_log = self.host.ima_log[:-1]
        self.assertEqual(
            ('IMA_LOG_MALFORMED',), self.appraise('not-appraised').reason_ids
        )

    def test_boot_aggregate_also_where_it_is_not_appraised(self):
        self.host = sim.SimHost(vector='secure-boot')
        self.host.tpm.extend(9, b'x' * 32)
        self.assertEqual(
            ('IMA_BOOT_AGGREGATE',), self.appraise('not-appraised').reason_ids
        )

    def test_no_event_log(self):
        """Golden PCRs need none; but one that is malformed always counts."""
        for log, reasons in ((b'', ()), (b'garbage', ('UEFI_LOG_MALFORMED',))):
            self.host.uefi_log = log
            self.assertEqual(
                reasons, self.appraise('not-appraised').reason_ids
            )
        self.assertIsInstance(
            self.appraise('not-appraised').quote, quote.VerifiedQuote
        )
