# SPDX-License-Identifier: Apache-2.0
"""A disk that firmware boots with Secure Boot: shim, GRUB, kernel, initrd.

All but the initrd are as the distribution signs them, for the keys that its
firmware comes with.
"""

from __future__ import annotations

import pathlib
import subprocess
import tempfile

from korora_tools import ui

#: Its name in Glance.
IMAGE = 'guest-uefi'
#: Of the boot loaders.
PACKAGES = ('shim-signed', 'grub-efi-amd64-signed')
#: Of the image in Glance: what makes Nova choose that firmware.
PROPERTIES = {
    'hw_firmware_type': 'uefi',
    'hw_machine_type': 'q35',
    'os_secure_boot': 'required',
}
#: They doubt disks whose size is no multiple of a cylinder's.
_MTOOLS = {'MTOOLS_SKIP_CHECK': '1'}
#: MiB of files, and what is left behind them for the guest to write to.
SIZE, FREE = 64, 1
CONFIG = """\
search --no-floppy --label --set=root ESP
linux /vmlinuz console=ttyS0 panic=1
initrd /initrd.gz
boot
"""


def build(
    loaders: pathlib.Path,
    kernel: pathlib.Path,
    initrd: pathlib.Path,
    target: pathlib.Path,
) -> None:
    """Make the disk, one FAT without partitions.

    :param loaders: where their packages are unpacked.
    :param kernel: with its signature.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folder = pathlib.Path(scratch)
        config = folder / 'grub.cfg'
        config.write_text(CONFIG)
        disk = folder / 'disk'
        with disk.open('wb') as empty:
            empty.truncate(SIZE << 20)
        _call('mkfs.vfat', '-n', 'ESP', str(disk))
        for name in ('EFI', 'EFI/BOOT', 'EFI/debian'):
            _call('mmd', '-i', str(disk), '::/' + name)
        for source, name in (
            (_shim(loaders), 'EFI/BOOT/BOOTX64.EFI'),
            (_grub(loaders), 'EFI/BOOT/grubx64.efi'),
            (config, 'EFI/debian/grub.cfg'),
            (kernel, 'vmlinuz'),
            (initrd, 'initrd.gz'),
        ):
            _call('mcopy', '-i', str(disk), str(source), '::/' + name)
        with disk.open('r+b') as whole:
            whole.truncate((SIZE + FREE) << 20)
        _call('qemu-img', 'convert', '-O', 'qcow2', str(disk), str(target))


def _shim(loaders: pathlib.Path) -> pathlib.Path:
    return loaders / 'usr/lib/shim/shimx64.efi.signed'


def _grub(loaders: pathlib.Path) -> pathlib.Path:
    return loaders / 'usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed'


def _call(*argv: str) -> None:
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', **_MTOOLS},
    )
    if done.returncode:
        raise ui.Problem(f'{argv[0]}: {done.stderr.strip()}')
