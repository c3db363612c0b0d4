# SPDX-License-Identifier: Apache-2.0
"""What firmware and kernel measure: a UEFI event log and an IMA list.

Layouts: TCG PC Client Platform Firmware Profile 1.05, section 10 (crypto
agile log); Linux Documentation/security/IMA-templates.rst (binary list).
"""

from __future__ import annotations

import hashlib
import pathlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from korora_tools import checkout

UEFI_LOG = (
    checkout.ROOT
    / 'tests/vectors/uefi/secure-boot'
    / 'binary_bios_measurements'
)
SHA256 = 0x000B
DIGEST_SIZE = {0x0004: 20, 0x000B: 32, 0x000C: 48, 0x000D: 64}
EV_NO_ACTION = 0x00000003
EV_EFI_BOOT_SERVICES_APPLICATION = 0x80000003
IMA_PCR = 10
AGGREGATED = range(10)

Extension = tuple[int, bytes]


@dataclass(frozen=True)
class Event:
    """One event; `digests` maps an algorithm to (offset, digest)."""

    pcr: int
    kind: int
    digests: Mapping[int, tuple[int, bytes]]
    data: bytes


def events(log: bytes) -> Iterator[Event]:
    """Walk a crypto agile log, its Spec ID header left out."""
    at = 32 + struct.unpack_from('<I', log, 28)[0]
    while at < len(log):
        pcr, kind, count = struct.unpack_from('<III', log, at)
        at += 12
        digests = {}
        for _ in range(count):
            algorithm = struct.unpack_from('<H', log, at)[0]
            size = DIGEST_SIZE[algorithm]
            digests[algorithm] = (at + 2, log[at + 2 : at + 2 + size])
            at += 2 + size
        size = struct.unpack_from('<I', log, at)[0]
        at += 4
        yield Event(pcr, kind, digests, log[at : at + size])
        at += size


def extensions(log: bytes) -> list[Extension]:
    """The (PCR, SHA-256 digest) pairs that the firmware extended."""
    return [
        (event.pcr, event.digests[SHA256][1])
        for event in events(log)
        if event.kind != EV_NO_ACTION
    ]


def other_bootloader(log: bytes) -> bytes:
    """The same log, as if the last EFI program had been another."""
    found = [
        e for e in events(log) if e.kind == EV_EFI_BOOT_SERVICES_APPLICATION
    ][-1]
    changed = bytearray(log)
    for algorithm, (at, digest) in found.digests.items():
        name = {4: 'sha1', 11: 'sha256', 12: 'sha384', 13: 'sha512'}
        value = hashlib.new(name[algorithm], b'a bootkit' + digest).digest()
        changed[at : at + len(value)] = value
    return bytes(changed)


def replay(pairs: Iterable[Extension]) -> dict[int, bytes]:
    """The registers after these extensions, from zero."""
    pcrs: dict[int, bytes] = {}
    for pcr, digest in pairs:
        before = pcrs.get(pcr, bytes(32))
        pcrs[pcr] = hashlib.sha256(before + digest).digest()
    return pcrs


# -- IMA ------------------------------------------------------------------


@dataclass(frozen=True)
class ImaEntry:
    """One ima-ng entry: what ran, by SHA-256 and path."""

    digest: bytes
    path: str

    @property
    def template(self) -> bytes:
        digest = b'sha256:\0' + self.digest
        name = self.path.encode() + b'\0'
        return (
            struct.pack('<I', len(digest))
            + digest
            + struct.pack('<I', len(name))
            + name
        )

    @property
    def binary(self) -> bytes:
        """The entry as in binary_runtime_measurements."""
        data = self.template
        return (
            struct.pack('<I', IMA_PCR)
            + hashlib.sha1(data).digest()
            + struct.pack('<I', 6)
            + b'ima-ng'
            + struct.pack('<I', len(data))
            + data
        )

    @property
    def extension(self) -> Extension:
        """A TPM's SHA-256 bank gets the template hashed with SHA-256."""
        return IMA_PCR, hashlib.sha256(self.template).digest()


def boot_aggregate(pcrs: Mapping[int, bytes]) -> ImaEntry:
    """IMA's first entry: SHA-256 over PCR 0 to 9."""
    values = (pcrs.get(pcr, bytes(32)) for pcr in AGGREGATED)
    return ImaEntry(
        hashlib.sha256(b''.join(values)).digest(), 'boot_aggregate'
    )


#: What a compute host runs.
PROGRAMS = (
    '/usr/sbin/libvirtd',
    '/usr/sbin/virtlogd',
    '/usr/bin/swtpm',
    '/usr/bin/qemu-system-x86_64',
    '/usr/bin/python3',
)


def invented_programs() -> list[ImaEntry]:
    """The same entries on every host, whatever versions are installed."""
    return [
        ImaEntry(hashlib.sha256(path.encode()).digest(), path)
        for path in PROGRAMS
    ]


def programs(limit: int = 40) -> list[ImaEntry]:
    """Real programs of this machine, as a booting host would run them."""
    chosen = [
        path for name in PROGRAMS if (path := pathlib.Path(name)).exists()
    ]
    chosen += sorted(
        path
        for path in pathlib.Path('/usr/bin').iterdir()
        if path.is_file() and not path.is_symlink()
    )
    return [
        ImaEntry(hashlib.sha256(path.read_bytes()).digest(), str(path))
        for path in chosen[:limit]
    ]
