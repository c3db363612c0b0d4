# SPDX-License-Identifier: Apache-2.0
"""IMA on hypervisors: violations, policies of hosts, command lines."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from typing import Any

import yaml

from korora_nova import starters
from korora_nova.rats import ima, policy, reference
from korora_nova.rats.ima.judge import refusal
from korora_nova.rats.ima.state import Counter, Tally
from korora_nova.rats.policy import arguments
from korora_nova.rats.state import VerifiedState
from tests.field import Case
from tests.support import states

DEBIAN = 'host/debian-12'
OTHER = 'sha256:' + 'a' * 64
DEBIAN_LIKE = ('debian-12', 'debian-13', 'ubuntu-24.04')
RHEL_LIKE = ('centos-9', 'centos-10')
RHEL_LINE = (
    '(hd0,gpt2)/vmlinuz-5.14.0-503.el9.x86_64 root=/dev/mapper/rhel-root ro '
    'crashkernel=1G-4G:192M,4G-64G:256M,64G-:512M '
    'resume=/dev/mapper/rhel-swap rd.lvm.lv=rhel/root rd.lvm.lv=rhel/swap '
    'rhgb quiet ima_policy=tcb'
)
KEYLIME = 'https://github.com/keylime/keylime/'
POLICY = 'https://docs.kernel.org/admin-guide/kernel-parameters.html '
DRACUT = 'dracut.cmdline(7); https://docs.kernel.org/admin-guide/kdump'


@functools.cache
def document(name: str) -> Any:
    text = (starters.find(name) / 'appraisal.yaml').read_text()
    return yaml.safe_load(text)


def line(text: str) -> VerifiedState:
    """The recorded host with another kernel command line."""
    state = states.recorded(DEBIAN)
    assert state.boot is not None
    lines = tuple(
        dataclasses.replace(item, text=text)
        for item in state.boot.command_lines
    )
    boot = dataclasses.replace(state.boot, command_lines=lines, commands=())
    return dataclasses.replace(state, boot=boot)


def of_line(name: str, golden: str, got: str) -> list[str]:
    """What a starter that learned one line says of another."""
    learned = reference.learn('golden', line(golden), states.files(DEBIAN))
    bound = policy.load(document(name)).bind([learned])
    return states.reasons(bound.check(line(got)))


def of_files(name: str, *entries: ima.Entry) -> list[str]:
    """What a starter says of what IMA measured, in order."""
    bound = policy.load(document(name)).bind([states.learned(DEBIAN)])
    rules = bound.judge(states.recorded(DEBIAN)).ima_rules
    assert rules is not None
    counter = Counter(Tally())
    found = (refusal(rules, item, counter, False) for item in entries)
    return [item.reason if item else '' for item in found]


def violation(path: str) -> ima.Entry:
    return ima.Entry('', path.encode(), True, 'ima-ng')


def file(path: str, digest: str = OTHER) -> ima.Entry:
    return ima.Entry(digest, path.encode(), False, 'ima-ng')


def same(want: object, got: object) -> None:
    assert want == got, f'want {want}, got {got}'


def _logs() -> None:
    entries = [
        violation('/var/log/journal/0123/system.journal'),
        violation('/var/log/libvirt/qemu/instance-0000002a.log'),
    ]
    for name in starters.names():
        same([''] * 200, of_files(name, *entries * 100))


def _bound() -> None:
    entries = [violation('/var/log/a')] * 1001
    same('IMA_VIOLATION', of_files('debian-13', *entries)[-1])


def _programs() -> None:
    for name in starters.names():
        for path in ('/usr/bin/virsh', '/tmp/x', '/var/log/../../bin/sh'):
            same(['IMA_VIOLATION'], of_files(name, violation(path)))


def _old_policies_list() -> None:
    rules = ima.Rules([OTHER], violations=True)
    assert rules.check(violation('/usr/bin/x')) is None


def _pair() -> None:
    for name in starters.names():
        data = (starters.find(name) / 'ima-policy').read_bytes()
        good = f'sha256:{hashlib.sha256(data).hexdigest()}'
        path = '/etc/ima/ima-policy'
        same(
            ['', 'IMA_WRONG_DIGEST'],
            of_files(name, file(path, good), file(path)),
        )


def _tmpfs() -> None:
    for name in starters.names():
        text = (starters.find(name) / 'ima-policy').read_text()
        assert '0x01021994' not in text and '0x1021994' not in text
        same(
            ['IMA_UNKNOWN_FILE'] * 2,
            of_files(name, file('/dev/shm/x'), file('/run/x')),
        )


def _uuid() -> None:
    golden = '/vmlinuz-6.1.0 root=UUID={} ro quiet ima_policy=tcb'
    one = golden.format('8a1f6f0e-3c58-4d0c-9a3f-111111111111')
    two = golden.format('5c2b7f11-8f0e-4e11-b1a7-222222222222')
    for name in DEBIAN_LIKE:
        same([], of_line(name, one, two))
        same(['COMMAND_LINE'], of_line(name, one, two + ' evil=1'))
        same(
            ['COMMAND_LINE'],
            of_line(name, one, two.replace(' ima_policy=tcb', '')),
        )


def _lvm() -> None:
    other = (
        RHEL_LINE.replace('rhel-', 'cs_node7-')
        .replace('=rhel/', '=cs_node7/')
        .replace('4G-64G:256M', '4G-64G:320M')
    )
    assert other != RHEL_LINE
    for name in RHEL_LIKE:
        same([], of_line(name, RHEL_LINE, other))


def _no_disk() -> None:
    for value in ('/dev/nfs', 'live:https://x/y', '/dev/ram0', 'nbd:1:2'):
        other = RHEL_LINE.replace('/dev/mapper/rhel-root', value)
        same(['COMMAND_LINE'], of_line('centos-9', RHEL_LINE, other))


def _kdump() -> None:
    path = '/boot/initramfs-5.14.0-503.el9.x86_64kdump.img'
    command = ima.Entry(OTHER, b'kexec-cmdline', False, 'ima-buf', b'', b'x')
    for name in RHEL_LIKE:
        same(['', ''], of_files(name, file(path), command))
        same(
            ['IMA_UNKNOWN_FILE'], of_files(name, file('/boot/vmlinuz-5.14.0'))
        )


def _values() -> None:
    for word in (
        'crashkernel=auto',
        'crashkernel=512M,high',
        'crashkernel=256M@64M',
        'rd.luks.uuid=luks-8a1f6f0e-3c58-4d0c-9a3f-111111111111',
        'resume=UUID=8a1f6f0e-3c58-4d0c-9a3f-111111111111',
        'resume_offset=38912',
        'root=PARTUUID=1234-02',
        'root=/dev/disk/by-id/nvme-eui.0025385b71b0a1f2-part2',
    ):
        name = word.partition('=')[0]
        same(f'{name}=*', arguments.general(word, {name}))
    for word in ('root=/dev/../etc/x', 'crashkernel=$(x)', 'resume=/x'):
        same(word, arguments.general(word, set(arguments.VARIABLES)))


def _case(number: int, source: str, what: str, check: Any) -> Case:
    return Case(f'1-{number}', 1, source, what, check)


CASES = (
    _case(
        1,
        f'{KEYLIME}pull/766; {KEYLIME}issues/783',
        'journald and libvirt write logs that are read: violations',
        _logs,
    ),
    _case(2, f'{KEYLIME}pull/766', 'and more than the bound', _bound),
    _case(
        3,
        f'{KEYLIME}issues/821',
        'a violation of a program is not one of a log',
        _programs,
    ),
    _case(
        4,
        f'{KEYLIME}pull/766',
        'violations: true goes on to admit all of them',
        _old_policies_list,
    ),
    _case(
        5,
        'https://docs.kernel.org/next/ABI/testing/ima_policy',
        'the host loads a policy of its own, or another one',
        _pair,
    ),
    _case(
        6,
        'https://build.opensuse.org/projects/security/packages/rust-keylime/'
        'files/ima-policy',
        'a program in a tmpfs is measured, and refused',
        _tmpfs,
    ),
    _case(
        7, POLICY + 'root=', 'every second host has another root=UUID', _uuid
    ),
    _case(8, DRACUT, 'volume groups are named after hosts', _lvm),
    _case(9, DRACUT, 'root= that is no disk of the host', _no_disk),
    _case(
        10, DRACUT, 'kdump loads a kernel with an initrd of this host', _kdump
    ),
    _case(11, DRACUT, 'values in the forms of the manuals', _values),
)
