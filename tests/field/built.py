# SPDX-License-Identifier: Apache-2.0
"""Hosts of each distribution, built: none of them was booted.

Each is a boot that was recorded in QEMU (tests/vectors/host) with the command
line of its distribution in the place of the recorded one, and a measurement
list of the recorded files, the IMA policy of its starter and a day of logs
that are rotated. A simulated TPM signs, and the evidence is appraised as the
service does it, from bytes. What only a real host shows (its own firmware,
other files, the order of events) is not in it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import struct
from collections.abc import Callable, Sequence

import yaml

from korora_nova import starters
from korora_nova.rats import appraise, eventlog, policy, reference
from korora_nova.rats.tpm2 import objects
from tests.support import simulator, states, uefilog, vectors

CHALLENGE = b'c' * 32
#: Logs that are written while they are read, and how often in a day.
LOGS = {
    '/var/log/journal/0123456789abcdef/system.journal': 24,
    '/var/log/libvirt/qemu/instance-0000002a.log': 24,
    '/var/log/nova/nova-compute.log': 48,
    '/var/log/syslog.1': 1,
}
_UUIDS = (
    '8a1f6f0e-3c58-4d0c-9a3f-111111111111',
    '5c2b7f11-8f0e-4e11-b1a7-222222222222',
)
_DEBIAN = 'root=UUID={} ro quiet ima_policy=tcb'
_RHEL = (
    'root=/dev/mapper/{0}-root ro crashkernel=1G-4G:192M,4G-64G:256M '
    'resume=/dev/mapper/{0}-swap rd.lvm.lv={0}/root rd.lvm.lv={0}/swap rhgb '
    'quiet ima_policy=tcb'
)


@dataclasses.dataclass(frozen=True)
class Host:
    """A distribution, and what it is built from.

    :param os: as the report calls it.
    :param policy: its starter.
    :param vector: the recorded boot.
    :param line: the command line; ``{}`` differs from host to host.
    :param kernel: what the boot loader puts before it.
    """

    os: str
    policy: str
    vector: str
    line: str
    kernel: str = ''
    disks: tuple[str, str] = _UUIDS

    def lines(self) -> tuple[str, str]:
        """Those of two hosts that are equal otherwise."""
        one, two = (self.kernel + self.line.format(of) for of in self.disks)
        return one, two

    def about(self) -> str:
        return (
            f'built from a boot of Debian that was recorded in QEMU '
            f'(tests/vectors/{self.vector}), with another command line, the '
            "starter's IMA policy and a day of rotated logs in its list; "
            'this host was not booted'
        )


HOSTS = (
    Host(
        'debian-12',
        'debian-12',
        'host/debian-12',
        _DEBIAN,
        '/vmlinuz-6.1.0-56-amd64 ',
    ),
    Host(
        'debian-13',
        'debian-13',
        'host/newer-kernel',
        _DEBIAN,
        '/vmlinuz-6.12.117+deb13-amd64 ',
    ),
    Host('debian-13-uki', 'debian-13', 'host/uki', _DEBIAN),
    Host(
        'ubuntu-24.04',
        'ubuntu-24.04',
        'host/debian-12',
        'root=UUID={} ro quiet splash ima_policy=tcb',
        '/vmlinuz-6.8.0-31-generic ',
    ),
    Host(
        'centos-9',
        'centos-9',
        'host/debian-12',
        _RHEL,
        '(hd0,gpt2)/vmlinuz-5.14.0-503.el9.x86_64 ',
        ('cs_node1', 'cs_node2'),
    ),
    Host(
        'centos-10',
        'centos-10',
        'host/debian-12',
        _RHEL,
        '(hd0,gpt2)/vmlinuz-6.12.0-55.el10.x86_64 ',
        ('cs_node1', 'cs_node2'),
    ),
)

Change = Callable[[eventlog.Event, bytes], bytes]


@functools.cache
def recorded_line(vector: str) -> str:
    """The command line of a recorded boot."""
    boot = states.recorded(vector).boot
    assert boot is not None
    return boot.command_lines[0].text


class Machine(simulator.SimHost):
    """A host of a distribution with a command line."""

    def __init__(
        self, about: Host, line: str, *, other_kernel: bool = False
    ) -> None:
        self.about, self.line = about, line
        self.other_kernel = other_kernel
        super().__init__()
        recorded = states.files(about.vector)
        for entry in recorded[1:]:
            self.measure(
                entry.path.decode(),
                bytes.fromhex(entry.digest.partition(':')[2]),
            )
        own = starters.find(about.policy) / 'ima-policy'
        self.measure(
            '/etc/ima/ima-policy', hashlib.sha256(own.read_bytes()).digest()
        )
        for path, times in LOGS.items():
            for _ in range(times):
                self.violate(path)

    def _boot(self) -> None:
        log = vectors.load(self.about.vector).files[vectors.UEFI]
        old = recorded_line(self.about.vector)
        self.uefi_log = rewritten(
            log, old, self.line, _kernels(self.about) * self.other_kernel
        )
        self.tpm.pcrs.update(eventlog.parse(self.uefi_log).replay())
        aggregate = hashlib.sha256(
            b''.join(self.tpm.pcrs[index] for index in range(10))
        )
        self.ima_log = b''
        self.measure('boot_aggregate', aggregate.digest())

    def violate(self, path: str) -> None:
        """A file is read while it is written: an entry of zeros."""
        field = b'sha256:\0' + bytes(32)
        name = path.encode() + b'\0'
        data = b''.join(
            struct.pack('<I', len(part)) + part for part in (field, name)
        )
        self.ima_log += (
            struct.pack('<I20sI', 10, bytes(20), 6)
            + b'ima-ng'
            + struct.pack('<I', len(data))
            + data
        )
        self.tpm.extend(10, b'\xff' * 32)

    def judged(self, *policies: policy.BoundPolicy) -> appraise.Appraisal:
        """What the service makes of its evidence."""
        return appraise.appraise(
            self.attest(CHALLENGE),
            ak=objects.parse_public(self.tpm.ak_public),
            challenge=CHALLENGE,
            purpose='attest',
            host=self.name,
            body=b'{}',
            policies=policies,
            last_clock=None,
        )


def rewritten(
    log: bytes, old: str, new: str, kernels: Sequence[bytes] = ()
) -> bytes:
    """A log with another command line, and other kernels.

    :param kernels: digests of events to be those of other content.
    """
    found = [uefilog.header()]
    for item in eventlog.parse(log).events[1:]:
        digest, data = item.digests['sha256'], item.data
        for encoding in ('utf-8', 'utf-16-le'):
            text = old.encode(encoding)
            if text in data:
                data, digest = _replaced(
                    data, digest, text, new.encode(encoding)
                )
        if digest in kernels:
            digest = hashlib.sha256(b'another' + digest).digest()
        found.append(
            uefilog.event2(item.pcr, item.type, [('sha256', digest)], data)
        )
    return b''.join(found)


def _replaced(
    data: bytes, digest: bytes, old: bytes, new: bytes
) -> tuple[bytes, bytes]:
    """An event with another text: GRUB hashes it without prefix and NUL."""
    start = data.index(b': ') + 2 if b': ' in data[:20] else 0
    for end in (len(data), len(data) - 1):
        if hashlib.sha256(data[start:end]).digest() == digest:
            text = data[start:end].replace(old, new)
            return (
                data[:start] + text + data[end:],
                hashlib.sha256(text).digest(),
            )
    return data, digest


def _kernels(about: Host) -> list[bytes]:
    boot = states.recorded(about.vector).boot
    assert boot is not None
    what = [one for one in boot.components if one.kind == 'kernel']
    # Of a unified image, what firmware starts last is the kernel.
    what = what or [one for one in boot.components if one.pcr == 4][-1:]
    return [bytes.fromhex(one.digest.partition(':')[2]) for one in what]


def bound(about: Host) -> policy.BoundPolicy:
    """The starter, with what was learned from the first of two hosts."""
    golden = Machine(about, about.lines()[0])
    return starter(about.policy, golden.judged(policy.EXACT.bind(())))


def starter(name: str, golden: appraise.Appraisal) -> policy.BoundPolicy:
    """A starter, with what is learned from a golden host."""
    assert golden.measured is not None
    learned = reference.learn('golden', golden.state, golden.measured.files())
    return with_references(name, learned)


def with_references(
    name: str, *references: reference.ReferenceValues
) -> policy.BoundPolicy:
    """A starter as it is, with references."""
    text = (starters.find(name) / 'appraisal.yaml').read_text()
    return policy.load(yaml.safe_load(text)).bind(references)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a distribution.

    :param affirming: both hosts are, a day after their boot.
    :param refused: by manipulation, the reasons; none: it passed.
    """

    affirming: bool
    refused: dict[str, tuple[str, ...]]
    cases: int


def judge(about: Host) -> Outcome:
    """Two good hosts, and three that are not."""
    rules = bound(about)
    one, two = about.lines()
    good = [Machine(about, line).judged(rules) for line in (one, two)]
    program = Machine(about, two)
    program.measure('/tmp/x', hashlib.sha256(b'unknown').digest())
    bad = {
        'an unknown program runs': program,
        'a kernel argument is added': Machine(about, two + ' evil=1'),
        'the kernel is another': Machine(about, two, other_kernel=True),
    }
    refused = {
        what: machine.judged(rules).reason_ids for what, machine in bad.items()
    }
    return Outcome(
        not any(appraisal.reasons for appraisal in good),
        refused,
        len(good) + len(bad),
    )
