# SPDX-License-Identifier: Apache-2.0
"""What a unit's sandbox lets through, and what it does not.

Run by systemd in place of the unit's program: ``probe.py agent|service``. One
line for each thing that is not as it should be; the last line is ``N tried``.
Nothing here imports the tools: it runs where only the packages are.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import pathlib
import signal
import socket
import sys
from collections.abc import Callable

from korora_nova.attester.custodian import hardening

SECURITY = pathlib.Path('/sys/kernel/security')
CREDENTIAL = 'korora.secrets'
OTHER = 65533
"""A user who is neither root nor the service's."""
CLONE_NEWUSER = 0x10000000
MS_BIND = 4096
PTRACE_ATTACH = 16

_libc = ctypes.CDLL(None, use_errno=True)
Trial = Callable[[], object]


def _call(name: str, *arguments: int | bytes | None) -> None:
    if getattr(_libc, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _write(path: str) -> None:
    pathlib.Path(path).write_text('probe')
    os.unlink(path)


def _append(path: str) -> None:
    with open(path, 'a'):
        pass


def _open(path: str) -> None:
    os.close(os.open(path, os.O_RDWR))


def _credential() -> None:
    directory = os.environ['CREDENTIALS_DIRECTORY']
    assert pathlib.Path(directory, CREDENTIAL).read_text()


def _connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(path)


def _listen(kind: int, address: str | tuple[str, int]) -> None:
    with socket.socket(kind, socket.SOCK_STREAM) as server:
        server.bind(address)
        server.listen()


def _serve(path: str) -> None:
    _listen(socket.AF_UNIX, path)
    os.chmod(path, 0o666)
    os.unlink(path)


def _certificate() -> None:
    """As the agent gives QEMU its keys."""
    path = '/etc/pki/qemu/probe'
    with open(path, 'w') as stream:
        os.fchown(stream.fileno(), OTHER, -1)
        os.fchmod(stream.fileno(), 0o400)
    os.unlink(path)


def _custodian() -> None:
    """A child with its memory locked, and a descriptor to end it by."""
    child = os.fork()
    if child == 0:
        hardening.conceal()
        hardening.die_with(os.getppid())
        os._exit(0 if hardening.lock_memory() else 1)
    descriptor = os.pidfd_open(child)
    _, status = os.waitpid(child, 0)
    assert status == 0, 'memory cannot be locked'
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        os.close(descriptor)


def _bindings() -> None:
    """Libraries in C that keep pages to execute, or could."""
    import libvirt
    import tpm2_pytss

    assert libvirt.getVersion() and tpm2_pytss


def _executable() -> None:
    mmap.mmap(
        -1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    ).close()


def _packet() -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()


WORKS: dict[str, dict[str, Trial]] = {
    'agent': {
        'the TPM': lambda: _open('/dev/tpmrm0'),
        "IMA's list": lambda: (
            SECURITY / 'ima/binary_runtime_measurements'
        ).read_bytes(),
        "the firmware's log": lambda: (
            SECURITY / 'tpm0/binary_bios_measurements'
        ).read_bytes(),
        'the id of the boot': lambda: pathlib.Path(
            '/proc/sys/kernel/random/boot_id'
        ).read_text(),
        "libvirt's socket": lambda: _connect('/run/libvirt/libvirt-sock'),
        'the state directory': lambda: _write('/var/lib/korora/probe'),
        'log_dir': lambda: _write('/var/log/korora-agent/probe'),
        'the socket': lambda: _serve('/run/korora/probe.sock'),
        'certificates for QEMU': _certificate,
        "a vTPM's file": lambda: pathlib.Path(
            '/var/lib/libvirt/swtpm/probe/tpm2-00.permall'
        ).read_bytes(),
        'a custodian': _custodian,
        'libraries': _bindings,
        'the credential': _credential,
        'a connection': lambda: _listen(socket.AF_INET, ('127.0.0.1', 0)),
    },
    'service': {
        'the configuration': lambda: pathlib.Path(
            '/etc/korora/korora.conf'
        ).read_bytes(),
        'private keys': lambda: os.listdir('/etc/korora/private'),
        'the state directory': lambda: _write('/var/lib/korora-service/probe'),
        'log_dir': lambda: _write('/var/log/korora/probe'),
        'the credential': _credential,
        'a connection': lambda: _listen(socket.AF_INET, ('127.0.0.1', 0)),
    },
}
REFUSED: dict[str, Trial] = {
    'to write programs': lambda: _append('/usr/bin/env'),
    'to write /etc': lambda: _append('/etc/passwd'),
    'to write other state': lambda: _write('/var/lib/dpkg/probe'),
    'to see home directories': lambda: os.stat('/root/home'),
    'to open other devices': lambda: _open('/dev/probe'),
    'to read the kernel log': lambda: _open('/dev/kmsg'),
    'to write kernel parameters': lambda: _append(
        '/proc/sys/kernel/domainname'
    ),
    'a raw socket': _packet,
    'a name space': lambda: _call('unshare', CLONE_NEWUSER),
    'to debug': lambda: _call('ptrace', PTRACE_ATTACH, os.getppid(), 0, 0),
    'to mount': lambda: _call('mount', b'/srv', b'/srv', None, MS_BIND, None),
    'to change its root': lambda: os.chroot('/'),
    'to become somebody else': lambda: os.setuid(OTHER),
    'pages to write and execute': _executable,
}
REFUSED_SERVICE: dict[str, Trial] = {
    'the TPM': lambda: _open('/dev/tpmrm0'),
    'to read /etc/shadow': lambda: pathlib.Path('/etc/shadow').read_bytes(),
    'to give files away': lambda: os.chown('/etc/korora/private', OTHER, -1),
}


def main(kind: str) -> int:
    refused = REFUSED | (REFUSED_SERVICE if kind == 'service' else {})
    for name, trial in WORKS[kind].items():
        try:
            trial()
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is said
            print(f'{name}: {type(exc).__name__}: {exc}')
    for name, trial in refused.items():
        try:
            trial()
        except OSError:
            continue
        print(f'not refused: {name}')
    print(f'{len(WORKS[kind]) + len(refused)} tried')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
