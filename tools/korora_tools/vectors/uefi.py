# SPDX-License-Identifier: Apache-2.0
"""Recipes: UEFI and BIOS event logs."""

from __future__ import annotations

import hashlib
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

from korora_tools.vectors import guest, machine, signing, store
from korora_tools.vectors.packages import Workshop, call

#: Logs that every vector has.
KEPT = (
    'binary_bios_measurements',
    'binary_runtime_measurements',
    'ascii_runtime_measurements',
)
CONSOLE = 'console=ttyS0 panic=-1'
Recipe = Callable[[Workshop], machine.Boot]

#: Name to (what it is, how to boot it).
RECIPES: dict[str, tuple[str, Recipe]] = {}


def recipe(name: str, about: str) -> Callable[[Recipe], Recipe]:
    def register(function: Recipe) -> Recipe:
        RECIPES[name] = (about, function)
        return function

    return register


def record(shop: Workshop, name: str) -> None:
    """Boot and write the vector."""
    about, make = RECIPES[name]
    boot = make(shop)
    store.write(
        shop.out,
        'uefi/' + name,
        *vector(shop, about, boot, machine.run(shop, boot)),
    )


def vector(
    shop: Workshop, about: str, boot: machine.Boot, got: dict[str, bytes]
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files to keep and what vector.json says."""
    return {name: got[name] for name in KEPT if name in got}, {
        'about': about,
        'made': {
            'firmware': boot.firmware or 'SeaBIOS',
            'kernel': got['kernel'].decode().strip(),
            'tpm': ('TPM 2.0' if boot.tpm.banks else 'TPM 1.2')
            + f' {boot.tpm.model}',
            'command_line': got['cmdline'].decode().strip(),
            'packages': shop.versions,
        },
        'pcrs': store.pcrs(got['pcrs']),
    }


def shim_disk(
    shop: Workshop,
    config: bytes,
    flavour: str = 'generic',
    kernel: pathlib.Path | None = None,
) -> tuple[pathlib.Path]:
    """shim, GRUB, a kernel and the initrd, as the distribution signs them.

    :param kernel: instead of the flavour's own.
    """
    target = shop.root / 'esp.img'
    guest.esp(
        shop,
        target,
        {
            'EFI/BOOT/BOOTX64.EFI': shop.tree
            / 'usr/lib/shim/shimx64.efi.signed',
            'EFI/BOOT/mmx64.efi': shop.tree / 'usr/lib/shim/mmx64.efi.signed',
            'EFI/BOOT/grubx64.efi': (
                shop.tree / 'usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed'
            ),
            'EFI/debian/grub.cfg': config,
            shop.vmlinuz(flavour).name: kernel or shop.vmlinuz(flavour),
            'initrd.img': guest.initrd(shop, flavour),
        },
    )
    return (target,)


#: What grub-mkconfig writes, shortened.
GRUB = """\
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
set default="0"
set timeout=0
function gfxmode {{
	set gfxpayload="${{1}}"
}}
export linux_gfx_mode
menuentry 'Debian GNU/Linux' --class debian --class os $menuentry_id_option \
 'gnulinux-simple-0b2a' {{
	insmod gzio
	if [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
	insmod part_gpt
	search --no-floppy --label --set=root ESP
	echo	'Loading Linux {version} ...'
	linux{efi}	/vmlinuz-{version} root=UUID=0b2a ro quiet {more}
	echo	'Loading initial ramdisk ...'
	initrd{efi}	/initrd.img
}}
"""


def menu(
    shop: Workshop,
    flavour: str = 'generic',
    efi: str = '',
    more: str = CONSOLE,
) -> bytes:
    version = shop.vmlinuz(flavour).name.removeprefix('vmlinuz-')
    return GRUB.format(version=version, efi=efi, more=more).encode()


@recipe(
    'shim-grub',
    "Secure Boot with Microsoft's keys; shim, GRUB and "
    'kernel signed by Debian',
)
def _shim_grub(shop: Workshop) -> machine.Boot:
    return machine.Boot(
        firmware='OVMF_CODE_4M.ms.fd',
        variables='OVMF_VARS_4M.ms.fd',
        disks=shim_disk(shop, menu(shop)),
    )


@recipe('shim-grub-insecure', 'shim and GRUB, Secure Boot off: no keys')
def _insecure(shop: Workshop) -> machine.Boot:
    return machine.Boot(disks=shim_disk(shop, menu(shop, efi='efi')))


@recipe('efi-stub', "the kernel started by the firmware's shell")
def _efi_stub(shop: Workshop) -> machine.Boot:
    target = shop.root / 'esp.img'
    guest.esp(
        shop,
        target,
        {
            'vmlinuz.efi': shop.vmlinuz('generic'),
            'initrd.img': guest.initrd(shop, 'generic'),
            'startup.nsh': (
                'FS0:\r\n\\vmlinuz.efi initrd=\\initrd.img '
                f'{CONSOLE} name=Kororā\r\n'
            ).encode('utf-16'),
        },
    )
    return machine.Boot(disks=(target,))


@recipe('uki', "a unified kernel image of systemd's stub, Secure Boot off")
def _uki(shop: Workshop) -> machine.Boot:
    return machine.Boot(
        disks=_efi_disk(shop, {'EFI/BOOT/BOOTX64.EFI': uki(shop)})
    )


@recipe('systemd-boot-uki', 'systemd-boot and a unified kernel image')
def _systemd_boot_uki(shop: Workshop) -> machine.Boot:
    return machine.Boot(
        disks=_efi_disk(
            shop,
            {
                'EFI/BOOT/BOOTX64.EFI': shop.tree / SYSTEMD_BOOT,
                'EFI/Linux/debian.efi': uki(shop),
            },
        )
    )


@recipe(
    'systemd-boot-entry',
    'systemd-boot with kernel, initrd and options of a boot loader entry',
)
def _systemd_boot_entry(shop: Workshop) -> machine.Boot:
    return machine.Boot(
        disks=_efi_disk(
            shop,
            {
                'EFI/BOOT/BOOTX64.EFI': shop.tree / SYSTEMD_BOOT,
                'loader/entries/debian.conf': (
                    'title Debian\nlinux /vmlinuz\ninitrd /initrd.img\n'
                    f'options root=LABEL=x ro {CONSOLE}\n'
                ).encode(),
                'vmlinuz': shop.vmlinuz('cloud'),
                'initrd.img': guest.initrd(shop, 'cloud'),
            },
        )
    )


@recipe(
    'uki-secure',
    "Secure Boot with own keys (OVMF's test keys); "
    'systemd-boot and a unified kernel image signed by them',
)
def _uki_secure(shop: Workshop) -> machine.Boot:
    return secure_uki(shop)


def secure_uki(
    shop: Workshop, more: str = CONSOLE, disks: tuple[pathlib.Path, ...] = ()
) -> machine.Boot:
    """systemd-boot and a unified kernel image, signed with OVMF's key.

    :param more: of the command line.
    :param disks: besides the one with both.
    """
    keys = shop.tree / 'usr/share/ovmf'
    plain = {'boot': shop.tree / SYSTEMD_BOOT, 'uki': uki(shop, more)}
    for name, path in plain.items():
        # The test key's passphrase is "snakeoil".
        call(
            'openssl',
            'rsa',
            '-passin',
            'pass:snakeoil',
            '-in',
            keys / 'PkKek-1-snakeoil.key',
            '-out',
            shop.root / 'key',
        )
        shop.run(
            'sbsign',
            '--key',
            shop.root / 'key',
            '--cert',
            keys / 'PkKek-1-snakeoil.pem',
            '--output',
            shop.root / f'{name}.signed',
            path,
        )
    return machine.Boot(
        firmware='OVMF_CODE_4M.secboot.fd',
        variables='OVMF_VARS_4M.snakeoil.fd',
        disks=(
            *_efi_disk(
                shop,
                {
                    'EFI/BOOT/BOOTX64.EFI': shop.root / 'boot.signed',
                    'EFI/Linux/debian.efi': shop.root / 'uki.signed',
                },
            ),
            *disks,
        ),
    )


@recipe(
    'gpt-option-rom',
    'a GPT disk and a network card whose option ROM is '
    'a driver, Secure Boot off',
)
def _gpt(shop: Workshop) -> machine.Boot:
    (plain,) = shim_disk(shop, menu(shop, efi='efi'))
    return machine.Boot(
        disks=(guest.partitioned(shop, shop.root / 'gpt.img', plain),),
        devices=('virtio-net-pci',),
    )


@recipe(
    'gpt-secure',
    'a GPT disk, and a network card whose option ROM is not '
    'signed, Secure Boot on',
)
def _gpt_secure(shop: Workshop) -> machine.Boot:
    (plain,) = shim_disk(shop, menu(shop))
    return machine.Boot(
        firmware='OVMF_CODE_4M.ms.fd',
        variables='OVMF_VARS_4M.ms.fd',
        disks=(guest.partitioned(shop, shop.root / 'gpt.img', plain),),
        devices=('virtio-net-pci',),
    )


OWNER = 'a4ac4d6e-7a6a-4b0a-9f0e-5b0e6f0f7c11'


@recipe(
    'mok',
    "a machine owner's certificate and hash enrolled in shim; the "
    'kernel is signed by that owner',
)
def _mok(shop: Workshop) -> machine.Boot:
    name = shop.vmlinuz('generic').name
    keys = signing.keys(shop)
    bare, signed = shop.root / 'bare', shop.root / name
    shutil.copy(shop.vmlinuz('generic'), bare)
    shop.run('sbattach', '--remove', bare)
    shop.run(
        'sbsign',
        '--key',
        keys / 'rsa.key',
        '--cert',
        keys / 'rsa.pem',
        '--output',
        signed,
        bare,
    )
    shop.variables(
        'OVMF_VARS_4M.ms.fd',
        shop.root / 'mok.fd',
        '--add-mok',
        OWNER,
        keys / 'rsa.pem',
        '--add-mok-hash',
        OWNER,
        'ab' * 32,
    )
    return machine.Boot(
        firmware='OVMF_CODE_4M.ms.fd',
        variables=shop.root / 'mok.fd',
        disks=shim_disk(shop, menu(shop), kernel=signed),
    )


@recipe(
    'many-keys',
    "Secure Boot with all of Microsoft's certificates of "
    '2011 and 2023, hashes in db, and a dbx of hashes and a certificate',
)
def _many_keys(shop: Workshop) -> machine.Boot:
    keys = signing.keys(shop)
    hashes = [
        item
        for number in range(120)
        for item in (
            '--add-dbx-hash',
            OWNER,
            hashlib.sha256(b'revoked %d' % number).hexdigest(),
        )
    ]
    shop.variables(
        'OVMF_VARS_4M.fd',
        shop.root / 'many.fd',
        '--enroll-cert',
        keys / 'p256.pem',
        '--microsoft-db',
        'all',
        '--add-db-hash',
        OWNER,
        'cd' * 32,
        *hashes,
        '--add-dbx-cert',
        OWNER,
        keys / 'p384.pem',
        '--sb',
    )
    return machine.Boot(
        firmware='OVMF_CODE_4M.ms.fd',
        variables=shop.root / 'many.fd',
        disks=shim_disk(shop, menu(shop)),
    )


SYSTEMD_BOOT = 'usr/lib/systemd/boot/efi/systemd-bootx64.efi'


def _efi_disk(
    shop: Workshop, files: dict[str, bytes | pathlib.Path]
) -> tuple[pathlib.Path]:
    guest.esp(shop, shop.root / 'esp.img', files)
    return (shop.root / 'esp.img',)


def uki(shop: Workshop, more: str = CONSOLE) -> pathlib.Path:
    """Sections at the addresses that systemd 252's documentation uses."""
    target = shop.root / 'uki.efi'
    (shop.root / 'os-release').write_text(
        'ID=debian\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\n'
    )
    (shop.root / 'cmdline').write_text(f'root=LABEL=x ro {more}')
    (shop.root / 'uname').write_text(
        shop.vmlinuz('cloud').name.removeprefix('vmlinuz-')
    )
    argv: list[str | pathlib.Path] = []
    for section, path, address in (
        ('osrel', shop.root / 'os-release', 0x20000),
        ('cmdline', shop.root / 'cmdline', 0x30000),
        ('uname', shop.root / 'uname', 0x40000),
        ('linux', shop.vmlinuz('cloud'), 0x2000000),
        ('initrd', guest.initrd(shop, 'cloud'), 0x4000000),
    ):
        argv += [
            '--add-section',
            f'.{section}={path}',
            '--change-section-vma',
            f'.{section}={address:#x}',
        ]
    call(
        'objcopy',
        *argv,
        shop.tree / 'usr/lib/systemd/boot/efi/linuxx64.efi.stub',
        target,
    )
    return target


def _direct(banks: str | None, model: str = 'tpm-crb', **more: Any) -> Recipe:
    """Kernel and initrd loaded by QEMU: the shortest boot."""

    def boot(shop: Workshop) -> machine.Boot:
        return machine.Boot(
            tpm=machine.Tpm(banks, model),
            kernel=shop.vmlinuz('cloud'),
            initrd=guest.initrd(shop, 'cloud'),
            command_line=CONSOLE,
            **more,
        )

    return boot


for _banks in ('sha1', 'sha256', 'sha384', 'sha256,sha384'):
    RECIPES['banks-' + _banks.replace(',', '-')] = (
        f'a TPM with the banks {_banks}',
        _direct(_banks),
    )
RECIPES['tis'] = (
    'a TPM with the FIFO interface, firmware of 2 MiB',
    _direct(
        'sha1,sha256',
        model='tpm-tis',
        firmware='OVMF_CODE.fd',
        variables='OVMF_VARS.fd',
    ),
)
RECIPES['seabios-tpm2'] = (
    'SeaBIOS and TPM 2.0: a crypto-agile log of a BIOS boot',
    _direct('sha1,sha256,sha384,sha512', model='tpm-tis', firmware=None),
)
RECIPES['seabios-tpm12'] = (
    'SeaBIOS and TPM 1.2: a log of SHA-1 events only',
    _direct(None, model='tpm-tis', firmware=None),
)
