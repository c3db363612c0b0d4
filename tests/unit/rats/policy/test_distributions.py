# SPDX-License-Identifier: Apache-2.0
"""The pairs of policies for distributions."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import unittest
from typing import Any

import yaml

from korora_nova import starters
from korora_nova.rats import ima, policy
from korora_nova.rats.ima.judge import refusal
from korora_nova.rats.ima.state import Counter, Tally
from tests.support import states

NAMES = ['centos-10', 'centos-9', 'debian-12', 'debian-13', 'ubuntu-24.04']
DEBIAN = 'host/debian-12'

# Documentation/ABI/testing/ima_policy; no rule here needs more.
_RULE = re.compile(
    r'(dont_measure fsmagic=0x[0-9a-f]+'
    r'|dont_measure func=FILE_CHECK obj_type=\w+'
    r'|measure func=FILE_CHECK mask=\^MAY_READ euid=0 obj_type=\w+'
    r'|measure func=(BPRM|MMAP)_CHECK mask=MAY_EXEC'
    r'|measure func=(MODULE|FIRMWARE|KEXEC_KERNEL|KEXEC_INITRAMFS|POLICY)'
    r'_CHECK|measure func=KEXEC_CMDLINE)'
)
TMPFS, RAMFS = '0x1021994', '0x858458f6'


def appraisal(name: str) -> dict[str, Any]:
    text = starters.find(name).joinpath('appraisal.yaml').read_text()
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def rules_of(name: str) -> list[str]:
    text = starters.find(name).joinpath('ima-policy').read_text()
    return [
        line for line in text.splitlines() if line and not line.startswith('#')
    ]


def with_line(change: str, text: str) -> Any:
    """The recorded Debian host with an argument replaced."""
    state = states.recorded(DEBIAN)
    assert state.boot is not None
    assert change in state.boot.command_lines[0].text
    lines = tuple(
        dataclasses.replace(item, text=item.text.replace(change, text))
        for item in state.boot.command_lines
    )
    boot = dataclasses.replace(state.boot, command_lines=lines, commands=())
    return dataclasses.replace(state, boot=boot)


class PairsTest(unittest.TestCase):
    def bound(self, name: str, *learned: str) -> policy.BoundPolicy:
        return policy.load(appraisal(name)).bind(
            [states.learned(one) for one in learned or (DEBIAN,)]
        )

    def test_there_is_one_for_each_distribution(self) -> None:
        self.assertEqual(NAMES, starters.names())
        for name in NAMES:
            self.assertEqual(name, policy.load(appraisal(name)).name)
            self.assertIn(
                'What is given up',
                starters.find(name).joinpath('README').read_text(),
            )
        with self.assertRaises(KeyError):
            starters.find('..')

    def test_the_policy_of_the_host_is_the_one_that_is_admitted(self) -> None:
        for name in NAMES:
            data = starters.find(name).joinpath('ima-policy').read_bytes()
            files = appraisal(name)['rules'][-1]['ima']['files']
            self.assertEqual(
                [f'sha256:{hashlib.sha256(data).hexdigest()}'],
                files['/etc/ima/ima-policy'],
            )

    def test_each_rule_of_it_is_one_of_the_kernel(self) -> None:
        for name in NAMES:
            lines = rules_of(name)
            for line in lines:
                self.assertIsNotNone(_RULE.fullmatch(line), msg=line)
            # A program in /tmp, /dev/shm or an initrd is measured as well.
            for magic in (TMPFS, RAMFS):
                self.assertNotIn(f'dont_measure fsmagic={magic}', lines)
            for func in ('BPRM_CHECK', 'MMAP_CHECK'):
                self.assertIn(f'measure func={func} mask=MAY_EXEC', lines)
            self.assertIn('measure func=POLICY_CHECK', lines)
            labels = any('obj_type' in line for line in lines)
            self.assertEqual(name.startswith('centos'), labels)

    def files(self, name: str, *entries: ima.Entry) -> list[str]:
        rules = self.bound(name).judge(states.recorded(DEBIAN)).ima_rules
        assert rules is not None
        counter = Counter(Tally())
        found = (refusal(rules, item, counter, False) for item in entries)
        return [item.reason if item else '' for item in found]

    def test_files(self) -> None:
        other = 'sha256:' + 'a' * 64
        for name in NAMES:
            want = appraisal(name)['rules'][-1]['ima']['files']
            digest = want['/etc/ima/ima-policy'][0]
            self.assertEqual(
                ['', 'IMA_WRONG_DIGEST', '', 'IMA_UNKNOWN_FILE', '']
                + ['IMA_UNKNOWN_FILE'] * 3,
                self.files(
                    name,
                    ima.Entry(digest, b'/etc/ima/ima-policy', False, 'ima-ng'),
                    ima.Entry(other, b'/etc/ima/ima-policy', False, 'ima-ng'),
                    ima.Entry(other, b'/etc/fstab', False, 'ima-ng'),
                    ima.Entry(other, b'/var/log/x', False, 'ima-ng'),
                    ima.Entry('', b'/var/log/journal/x', True, 'ima-ng'),
                    ima.Entry(other, b'/dev/shm/x', False, 'ima-ng'),
                    ima.Entry(other, b'/tmp/x', False, 'ima-ng'),
                    ima.Entry(other, b'/usr/bin/x', False, 'ima-ng'),
                ),
            )

    def test_violations(self) -> None:
        for name in NAMES:
            for path, count, reason in (
                (b'/var/log/libvirt/qemu/a.log', 1000, ''),
                (b'/var/log/libvirt/qemu/a.log', 1001, 'IMA_VIOLATION'),
                (b'/usr/bin/qemu-system-x86_64', 1, 'IMA_VIOLATION'),
                (b'/var/log/../../usr/bin/bash', 1, 'IMA_VIOLATION'),
            ):
                entry = ima.Entry('', path, True, 'ima-ng')
                self.assertEqual(
                    reason, self.files(name, *[entry] * count)[-1]
                )

    def test_command_lines(self) -> None:
        lost = 'root=UUID=0b2a'
        for name in ('debian-12', 'debian-13', 'ubuntu-24.04', 'centos-9'):
            bound = self.bound(name)
            for text in (lost, 'root=UUID=1234-5678', 'root=/dev/mapper/v-r'):
                self.assertEqual((), bound.check(with_line(lost, text)))
            for text in (
                'root=/dev/nfs',
                'root=/dev/ram0',
                'root=live:http://x/y',
                'root=UUID=0b2a init=/bin/sh',
                'root=UUID=0b2a unknown=1',
            ):
                self.assertEqual(
                    ['COMMAND_LINE'],
                    states.reasons(bound.check(with_line(lost, text))),
                    msg=text,
                )
            found = bound.check(with_line('ima_policy=tcb', 'quiet'))
            self.assertEqual(['COMMAND_LINE'], states.reasons(found))

    def test_recorded_hosts(self) -> None:
        for name in ('debian-12', 'debian-13', 'ubuntu-24.04'):
            bound = self.bound(name)
            self.assertEqual((), bound.check(states.recorded(DEBIAN)))
            for other in ('previous-kernel', 'insecure', 'option'):
                state = states.recorded(f'host/debian-12-{other}')
                self.assertNotEqual((), bound.check(state), msg=other)
            self.assertEqual(
                (),
                self.bound(name, 'uefi/uki-secure').check(
                    states.recorded('uefi/uki-secure')
                ),
            )
