# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import unittest

from korora_nova.rats import eventlog, policy
from korora_nova.rats.finding import Finding
from korora_nova.rats.policy.difference import MAX_DIFFERENCES
from korora_nova.rats.state import VerifiedState
from tests.support import states

DEBIAN = 'host/debian-12'
LEARN = (
    'if that is your change, approve with: openstack attestation '
    'reference create NAME --host h3'
)


class DifferenceTest(unittest.TestCase):
    def differences(self, name, host, *learned, state=None):
        document = states.starter(name) if isinstance(name, str) else name
        return policy.difference(
            policy.load(document),
            [states.learned(one) for one in learned or (DEBIAN,)],
            state or states.recorded(host),
            states.files(host) if host.startswith('host/') else (),
            'h3',
        )

    def test_none(self):
        for name in ('debian', 'exact'):
            self.assertEqual([], self.differences(name, DEBIAN))

    def test_another_kernel(self):
        """The example of what an operator wants to read."""
        found = self.differences('debian', 'host/debian-12-previous-kernel')
        self.assertEqual(
            policy.Difference(
                'rules/8/boot-components',
                'COMPONENT_UNKNOWN',
                'kernel 6.1.0-55-amd64 is not in the reference set',
                '6.1.0-56-amd64',
                LEARN,
            ),
            found[0],
        )
        self.assertEqual(
            'kernel 6.1.0-55-amd64 is not in the reference set; last good '
            'was 6.1.0-56-amd64',
            str(found[0]),
        )

    def test_last_good_is_of_the_newest_reference(self):
        old = 'host/debian-12-previous-kernel'
        state = states.recorded(DEBIAN)
        newer = [
            dataclasses.replace(
                item,
                digest='sha256:' + 'a' * 64,
                version='6.1.0-60-amd64',
                name='vmlinuz-6.1.0-60-amd64',
            )
            if item.pcr == 4 and (item.version)
            else item
            for item in state.boot.components
        ]
        state = dataclasses.replace(
            state,
            boot=dataclasses.replace(state.boot, components=tuple(newer)),
        )
        for learned, good in (
            ((old, DEBIAN), '6.1.0-56-amd64'),
            ((DEBIAN, old), '6.1.0-55-amd64'),
        ):
            (found,) = self.differences(
                'debian', DEBIAN, *learned, state=state
            )
            self.assertEqual(
                ('kernel 6.1.0-60-amd64 is not in the reference set', good),
                (found.what, found.last_good),
            )

    def test_same_name_another_digest(self):
        state = states.recorded(DEBIAN)
        other = [
            dataclasses.replace(item, digest='sha256:' + 'a' * 64)
            if item.name == 'grubx64.efi'
            else item
            for item in state.boot.components
        ]
        (found,) = self.differences(
            'debian',
            DEBIAN,
            state=dataclasses.replace(
                state,
                boot=dataclasses.replace(state.boot, components=tuple(other)),
            ),
        )
        (good,) = (
            item
            for item in state.boot.components
            if item.name == 'grubx64.efi'
        )
        self.assertEqual(f'grubx64.efi ({good.digest})', found.last_good)

    def test_files(self):
        (found,) = self.differences('debian', 'host/debian-12-program')
        self.assertEqual('IMA_UNKNOWN_FILE', found.reason)
        self.assertTrue(
            found.what.startswith(
                '/work/miner.sh is not known: sha256:306c6ca740'
            )
        )
        found = self.differences('debian', 'host/debian-12-violation')
        self.assertIn(
            ('IMA_VIOLATION', '/work/log.txt changed while it was measured'),
            [(item.reason, item.what) for item in found],
        )

    def test_kexec(self):
        files = states.files(DEBIAN)
        (found,) = policy.difference(
            policy.load(states.starter('debian')),
            [states.learned(DEBIAN)],
            states.recorded(DEBIAN),
            (*files, files[0]),
            'h3',
        )
        self.assertEqual(
            (
                'IMA_KEXEC',
                'boot_aggregate was measured again: another kernel '
                'was started with kexec',
                'reboot h3 through its firmware',
            ),
            (found.reason, found.what, found.advice),
        )

    def test_another_order(self):
        state = states.recorded(DEBIAN)
        without = tuple(
            item
            for item in state.boot.components
            if item.name != 'grubx64.efi'
        )
        (found,) = self.differences(
            'debian',
            DEBIAN,
            state=dataclasses.replace(
                state, boot=dataclasses.replace(state.boot, components=without)
            ),
        )
        self.assertIn('in this order', found.what)
        self.assertIn('reference create', found.advice)

    def test_many_files_are_summed_up(self):
        found = self.differences('debian', 'host/debian-12-previous-kernel')
        files = [item for item in found if item.rule == 'rules/10/ima']
        self.assertEqual(9, len(files))
        self.assertTrue(files[-1].what.startswith('4 more'))

    def test_signatures_are_not_stored(self):
        document = states.starter('debian')
        document['rules'][10] = {
            'ima': {
                'references': True,
                'keys': ['KEY'],
                'templates': ['ima-sig'],
            }
        }
        key = (
            states.vectors.ROOT / 'ima' / 'ima-sig' / 'key-p256.pem'
        ).read_text()
        document['rules'][10]['ima']['keys'] = [key]
        self.assertEqual([], self.differences(document, DEBIAN))
        (found,) = self.differences(document, 'host/debian-12-program')
        self.assertEqual('IMA_SIGNATURE', found.reason)
        self.assertIn('1 measured files are not listed', found.what)

    def test_command_line(self):
        found = self.differences('debian', 'host/debian-12-option')
        self.assertEqual(
            [
                'The kernel argument module.sig_enforce=0 is forbidden',
                'The kernel argument init=/bin/sh is forbidden',
            ],
            [item.what for item in found],
        )
        self.assertIn(
            'root=UUID=0b2a ro quiet ima_policy=tcb', found[0].last_good
        )
        self.assertIn('/rules/9/command-line', found[0].advice)

    def test_secure_boot(self):
        found = {
            item.reason: item
            for item in self.differences('debian', 'host/debian-12-insecure')
        }
        self.assertEqual(
            "enable Secure Boot in h3's firmware setup",
            found['SECURE_BOOT_OFF'].advice,
        )
        self.assertIn('fwupdmgr', found['SIGNATURE_MISSING'].advice)

    def test_a_shorter_list_of_revocations(self):
        shorter = 'host/debian-12-insecure'
        rule = {'variable': 'dbx', 'references': True}
        document = {
            'version': 1,
            'name': 'x',
            'rules': [
                {'signature-database': rule},
                {'pcrs': {'registers': [4], 'references': True}},
                {'ima': 'not-appraised'},
            ],
        }
        found = [
            one
            for one in self.differences(document, shorter)
            if one.reason == 'SIGNATURE_MISSING'
        ]
        self.assertTrue(found)
        for one in found:
            self.assertRegex(
                one.advice, 'fwupdmgr.*reference create NAME --host h3$'
            )
        self.assertEqual(
            [], self.differences(document, shorter, DEBIAN, shorter)
        )
        # Nothing that is learned ends what the policy itself requires.
        del rule['references']
        rule['required'] = ['sha256:' + 'a' * 64]
        (one,) = self.differences(document, shorter, DEBIAN, shorter)
        self.assertNotIn('reference create', one.advice)

    def test_pcrs_say_what_changed_inside(self):
        found = [
            str(item)
            for item in self.differences('exact', 'host/debian-12-insecure')
        ]
        text = '\n'.join(found)
        for words in (
            'PCR 7 (Secure Boot policy) differs',
            'Secure Boot is off; last good was on',
            'db lacks the certificate CN=Microsoft Corporation UEFI CA 2011',
            'dbx lacks sha256:',
            'configuration grub.cfg',
        ):
            self.assertIn(words, text)
        text = '\n'.join(
            str(item)
            for item in self.differences('exact', 'host/debian-12-option')
        )
        self.assertIn(
            'the kernel command line is /vmlinuz-6.1.0-56-amd64 '
            'root=UUID=0b2a ro quiet ima_policy=tcb '
            'module.sig_enforce=0',
            text,
        )

    def test_inline_values_are_edited(self):
        document = {
            'version': 1,
            'name': 'inline',
            'rules': [
                {
                    'any-of': [
                        {
                            'boot-components': {
                                'allowed': ['sha256:' + 'a' * 64]
                            }
                        }
                    ]
                },
                {'ima': 'not-appraised'},
            ],
        }
        found = self.differences(document, DEBIAN)
        self.assertEqual(
            {
                'edit /rules/0/any-of/0/boot-components of the policy, then: '
                'openstack attestation policy set inline --file FILE'
            },
            {item.advice for item in found},
        )

    def test_no_reference(self):
        found = policy.difference(
            policy.load(states.starter('debian')),
            [],
            states.recorded(DEBIAN),
            states.files(DEBIAN),
            'h3',
        )
        self.assertEqual({'NO_REFERENCE'}, {item.reason for item in found})
        self.assertEqual({LEARN}, {item.advice for item in found})

    def test_faults_of_logs(self):
        state = dataclasses.replace(
            states.recorded(DEBIAN),
            ima_fault=Finding('IMA_LOG_REPLAY', 'It does not replay.'),
        )
        (found,) = self.differences('debian', DEBIAN, state=state)
        self.assertEqual(
            (
                '',
                'It does not replay',
                'find out what extends PCR 10, or whether h3 was hibernated, '
                'which starts the registers anew, or its TPM did not answer '
                'in time ("Error Communicating to TPM chip" in its kernel '
                'log); reboot h3',
            ),
            (found.rule, found.what, found.advice),
        )
        state = dataclasses.replace(
            states.recorded(DEBIAN),
            log=None,
            boot=None,
            log_fault=Finding('UEFI_LOG_MALFORMED', 'Malformed.'),
        )
        self.assertEqual(
            '', self.differences('debian', DEBIAN, state=state)[0].rule
        )

    def test_the_same_from_what_is_stored(self):
        for host in (
            'debian-12-insecure',
            'debian-12-option',
            'debian-12-previous-kernel',
        ):
            state = states.recorded(f'host/{host}')
            stored = VerifiedState.from_json(
                json.loads(json.dumps(state.to_json()))
            )
            self.assertEqual(state, stored)
            for name in ('debian', 'exact'):
                self.assertEqual(
                    self.differences(name, f'host/{host}'),
                    self.differences(name, f'host/{host}', state=stored),
                )

    def test_bounded(self):
        state = states.recorded(DEBIAN)
        many = tuple(
            eventlog.Component(
                'module',
                f'sha256:{number:064x}',
                f'{number}\x1b[2J' * 100,
                '',
                '',
                number % 10,
            )
            for number in range(8000)
        )
        state = dataclasses.replace(
            state,
            boot=dataclasses.replace(state.boot, components=many),
            pcrs={'sha256': {index: bytes(32) for index in range(16)}},
        )
        for name in ('debian', 'exact'):
            found = self.differences(name, DEBIAN, state=state)
            self.assertLess(len(found), MAX_DIFFERENCES)
            for item in found:
                self.assertTrue(
                    all(map(str.isprintable, dataclasses.astuple(item)))
                )
                self.assertLess(len(str(item)), 1000)
