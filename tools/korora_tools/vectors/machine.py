# SPDX-License-Identifier: Apache-2.0
"""One boot: a swtpm, QEMU without KVM, and what the guest recorded."""

from __future__ import annotations

import contextlib
import gzip
import io
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

from korora_tools import ui
from korora_tools.vectors.packages import Workshop, call

#: Longest boot, seconds.
PATIENCE = 240.0
#: Comes before the archive on the second serial port.
MARK = b'KORORA-VECTOR'


@dataclass(frozen=True)
class Tpm:
    """:param banks: of swtpm_setup; None makes a TPM 1.2."""

    banks: str | None = 'sha1,sha256,sha384,sha512'
    model: str = 'tpm-crb'


@dataclass(frozen=True)
class Boot:
    """What to boot.

    :param firmware: file name below usr/share/OVMF, None for SeaBIOS.
    :param variables: file with UEFI variables, below the same folder or
        absolute; it is copied.
    :param kernel: loaded by QEMU, with ``initrd`` and ``command_line``.
    :param disks: images, the first one bootable.
    :param devices: more of them, as QEMU's ``-device`` names them.
    """

    tpm: Tpm = Tpm()
    firmware: str | None = 'OVMF_CODE_4M.fd'
    variables: pathlib.Path | str = 'OVMF_VARS_4M.fd'
    kernel: pathlib.Path | None = None
    initrd: pathlib.Path | None = None
    command_line: str = ''
    disks: tuple[pathlib.Path, ...] = ()
    memory: int = 512
    devices: tuple[str, ...] = ()

    @property
    def secure(self) -> bool:
        return self.firmware is not None and '.' in self.firmware[:-3]


def run(shop: Workshop, boot: Boot) -> dict[str, bytes]:
    """Boot once; the guest's files by name.

    :raises Problem: the guest handed nothing over.
    """
    # A short name: it holds unix sockets.
    with tempfile.TemporaryDirectory(prefix='kv') as scratch:
        folder = pathlib.Path(scratch)
        with _tpm(boot.tpm, folder):
            _qemu(shop, boot, folder)
        shutil.copy(folder / 'console', shop.root / 'last-console')
        return _unpack((folder / 'out').read_bytes())


def manufacture(tpm: Tpm, state: pathlib.Path) -> None:
    """A new TPM's state, without certificates."""
    state.mkdir()
    kind = (
        ['--tpm2', '--pcr-banks', tpm.banks] if tpm.banks else ['--create-ek']
    )
    call(
        'swtpm_setup',
        *kind,
        '--tpmstate',
        state,
        '--overwrite',
        '--logfile',
        state.parent / 'setup.log',
    )


@contextlib.contextmanager
def _tpm(tpm: Tpm, folder: pathlib.Path) -> Iterator[None]:
    manufacture(tpm, folder / 'tpm')
    with running_tpm(tpm, folder / 'tpm', folder / 'tpm.sock'):
        yield


@contextlib.contextmanager
def running_tpm(
    tpm: Tpm, state: pathlib.Path, socket: pathlib.Path
) -> Iterator[None]:
    """A manufactured TPM, for one QEMU.

    It goes before all else on this machine: a kernel waits 750 ms for it.
    """
    process = subprocess.Popen(
        [
            *('nice', '-n', '-20'),
            'swtpm',
            'socket',
            *(['--tpm2'] if tpm.banks else []),
            '--tpmstate',
            f'dir={state}',
            '--ctrl',
            f'type=unixio,path={socket}',
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        ui.wait('swtpm', socket.exists, 10)
        yield
    finally:
        process.terminate()
        process.wait()


def _qemu(shop: Workshop, boot: Boot, folder: pathlib.Path) -> None:
    process = subprocess.Popen(_arguments(shop, boot, folder))
    began = time.monotonic()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        shutil.copy(folder / 'console', shop.root / 'last-console')
        raise ui.Problem(
            f'no end after {PATIENCE:.0f} s; see {shop.root}/last-console'
        ) from None
    finally:
        process.kill()
        process.wait()
    ui.say(f'    booted and recorded in {time.monotonic() - began:.0f} s')


def _arguments(shop: Workshop, boot: Boot, folder: pathlib.Path) -> list[str]:
    argv = [
        'nice',
        'qemu-system-x86_64',
        '-nodefaults',
        '-display',
        'none',
        '-machine',
        'q35,smm=' + ('on' if boot.secure else 'off'),
        '-accel',
        'tcg,tb-size=64',
        '-cpu',
        'Nehalem,+rdrand',
        '-smp',
        '1',
        '-m',
        str(boot.memory),
        '-no-reboot',
        '-serial',
        f'file:{folder}/console',
        '-serial',
        f'file:{folder}/out',
        '-chardev',
        f'socket,id=tpm,path={folder}/tpm.sock',
        '-tpmdev',
        'emulator,id=tpm0,chardev=tpm',
        '-device',
        f'{boot.tpm.model},tpmdev=tpm0',
        *_firmware(shop, boot, folder),
    ]
    if boot.kernel:
        argv += ['-kernel', str(boot.kernel), '-append', boot.command_line]
    if boot.kernel and boot.initrd:
        argv += ['-initrd', str(boot.initrd)]
    for number, disk in enumerate(boot.disks):
        argv += [
            '-drive',
            f'if=none,id=d{number},format=raw,file={disk},snapshot=on',
            '-device',
            f'virtio-blk-pci,drive=d{number},bootindex={number + 1}',
        ]
    for device in boot.devices:
        argv += ['-device', device]
    return argv


def _firmware(shop: Workshop, boot: Boot, folder: pathlib.Path) -> list[str]:
    if boot.firmware is None:
        return []
    ovmf = shop.tree / 'usr/share/OVMF'
    shutil.copy(ovmf / boot.variables, folder / 'vars.fd')
    secure = (
        ['-global', 'driver=cfi.pflash01,property=secure,value=on']
        if boot.secure
        else []
    )
    return [
        '-drive',
        f'if=pflash,format=raw,unit=0,readonly=on,file={ovmf / boot.firmware}',
        '-drive',
        f'if=pflash,format=raw,unit=1,file={folder}/vars.fd',
        *secure,
    ]


def _unpack(data: bytes) -> dict[str, bytes]:
    # Firmware and boot loaders write there too.
    return unpack(data.partition(MARK)[2])


def unpack(data: bytes) -> dict[str, bytes]:
    """The files of an archive.

    :raises Problem: it is none.
    """
    try:
        raw = gzip.decompress(data)
    except (OSError, EOFError) as exc:
        raise ui.Problem(
            'the guest recorded nothing; see last-console'
        ) from exc
    files = {}
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        for member in archive.getmembers():
            stream = archive.extractfile(member)
            if stream is not None:
                files[member.name.removeprefix('./')] = stream.read()
    return files
