# SPDX-License-Identifier: Apache-2.0
"""The guest: a kernel, an initrd with the TPM tools, and a 16 MiB disk.

Another disk boots the same by UEFI with Secure Boot (``uefi``). The guest
proves its own continuity. Every second it extends PCR 16 of its
vTPM by SHA-256 of its tick's number and prints the register; whoever reads
the consoles of all hosts can compute the chain again. At its first start it
seals a word to its vTPM, under its boot's registers, and unseals it from then
on, as disk encryption does. With UEFI it says whether Secure Boot is on, and
keeps a word in a variable of the firmware, too.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

from korora_tools import ui
from korora_tools.lab import paths, uefi

KERNELS = ('linux-image-cloud-amd64', 'linux-image-virtual')
MODULES = (
    'virtio/virtio',
    'virtio/virtio_ring',
    'virtio/virtio_pci_legacy_dev',
    'virtio/virtio_pci_modern_dev',
    'virtio/virtio_pci',
    'block/virtio_blk',
    'efivarfs/efivarfs',
)
TOOLS = (
    'pcrextend',
    'nvdefine',
    'nvwrite',
    'nvread',
    'createpolicy',
    'createprimary',
    'create',
    'load',
    'evictcontrol',
    'unseal',
)


def directory(lab: paths.Lab) -> pathlib.Path:
    return lab.cache / 'guest'


def build(lab: paths.Lab) -> None:
    """Make the guest's files in the cache unless they are there."""
    target = directory(lab)
    recipe = hashlib.sha256(
        b''.join(
            pathlib.Path(__file__).with_name(name).read_bytes()
            for name in ('guest.py', 'guest-init.sh', 'uefi.py')
        )
    ).hexdigest()
    stamp = target / 'recipe'
    if stamp.exists() and stamp.read_text() == recipe:
        return
    with ui.step('guest images (kernel, initrd, disks)'):
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=lab.cache) as scratch:
            room = pathlib.Path(scratch)
            kernel = _kernel(lab, room / 'kernel')
            signed = _signed(kernel)
            _vmlinuz(signed, target / 'vmlinuz')
            _initrd(kernel, room / 'root', target / 'initrd.gz')
            uefi.build(
                _loaders(lab, room / 'loaders'),
                signed,
                target / 'initrd.gz',
                target / 'uefi.qcow2',
            )
        _call(
            'qemu-img',
            'create',
            '-q',
            '-f',
            'qcow2',
            str(target / 'disk.qcow2'),
            '16M',
        )
        stamp.write_text(recipe)


def _call(*argv: str, cwd: pathlib.Path | None = None) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        raise ui.Problem(f'{argv[0]}: {done.stderr.strip()}')
    return done.stdout


def _kernel(lab: paths.Lab, target: pathlib.Path) -> pathlib.Path:
    """Unpack (not install) the distribution's cloud kernel."""
    return _unpacked(lab, 'linux-*.deb', target)


def _loaders(lab: paths.Lab, target: pathlib.Path) -> pathlib.Path:
    """Unpack (not install) what firmware starts before the kernel."""
    for name in uefi.PACKAGES:
        _unpacked(lab, f'{name}_*.deb', target, [name])
    return target


def _unpacked(
    lab: paths.Lab,
    pattern: str,
    target: pathlib.Path,
    names: Sequence[str] = (),
) -> pathlib.Path:
    """Unpack packages, downloaded unless the cache has some.

    :param names: of what to download; by default the kernel.
    """
    debs = lab.cache / 'debs'
    debs.mkdir(exist_ok=True)
    if not any(debs.glob(pattern)):
        wanted = names or _kernel_packages()
        with ui.step('download ' + ' '.join(wanted)):
            # apt's sandbox user may not write into our cache.
            _call(
                'apt-get',
                '-o',
                'APT::Sandbox::User=root',
                'download',
                '-qq',
                *wanted,
                cwd=debs,
            )
    for deb in sorted(debs.glob(pattern)):
        _call('dpkg-deb', '-x', str(deb), str(target))
    return target


def _kernel_packages() -> list[str]:
    for meta in KERNELS:
        out = subprocess.run(
            ['apt-cache', 'depends', '--important', meta],
            capture_output=True,
            text=True,
        ).stdout
        names = re.findall(r'Depends: (linux-image-\d\S+)', out)
        if names:
            return names[:1]
    raise ui.Problem(
        'apt-get knows no kernel for the guest, ' + ' or '.join(KERNELS)
    )


def _signed(kernel: pathlib.Path) -> pathlib.Path:
    """The kernel as it is in its package, signed for Secure Boot."""
    found = next((kernel / 'boot').glob('vmlinuz-*'), None)
    if found is None:
        raise ui.Problem('the kernel package has no boot/vmlinuz')
    return found


def _vmlinuz(signed: pathlib.Path, target: pathlib.Path) -> None:
    image = bytearray(signed.read_bytes())
    # Nova's image inspection takes a kernel's 55aa for a boot sector.
    image[510:512] = b'\0\0'
    target.write_bytes(image)


def _initrd(
    kernel: pathlib.Path, root: pathlib.Path, target: pathlib.Path
) -> None:
    library = root / 'usr/lib/x86_64-linux-gnu'
    for name in (
        'bin',
        'sbin',
        'proc',
        'sys',
        'dev',
        'tmp',
        'run',
        'etc',
        'lib64',
        'mods',
        'usr/bin',
    ):
        (root / name).mkdir(parents=True, exist_ok=True)
    library.mkdir(parents=True)
    (root / 'lib').symlink_to('usr/lib')
    busybox = next(
        p
        for p in map(pathlib.Path, ('/bin/busybox', '/usr/bin/busybox'))
        if p.exists()
    )
    shutil.copy(busybox, root / 'bin/busybox')
    shutil.copy('/usr/bin/tpm2', root / 'usr/bin/tpm2')
    for tool in TOOLS:
        (root / 'usr/bin' / ('tpm2_' + tool)).symlink_to('tpm2')
    tcti = _tcti()
    for path in {*_libraries('/usr/bin/tpm2'), *_libraries(tcti), tcti}:
        shutil.copy(path, library / pathlib.Path(path).name)
    shutil.copy('/lib64/ld-linux-x86-64.so.2', root / 'lib64')
    for module in MODULES:
        _module(kernel, module, root / 'mods')
    init = pathlib.Path(__file__).with_name('guest-init.sh').read_text()
    (root / 'init').write_text(init)
    (root / 'init').chmod(0o755)
    target.write_bytes(gzip.compress(_cpio(root), 9))


def _tcti() -> str:
    return '/usr/lib/x86_64-linux-gnu/libtss2-tcti-device.so.0'


def _libraries(binary: str) -> set[str]:
    return set(re.findall(r'=> (/\S+)', _call('ldd', binary)))


def _module(kernel: pathlib.Path, name: str, target: pathlib.Path) -> None:
    """Copy a module, unpacked; some kernels have them built in."""
    found = next(kernel.glob(f'**/kernel/*/{name}.ko*'), None)
    if found is None:
        return
    data = found.read_bytes()
    if found.suffix == '.xz':
        data = lzma.decompress(data)
    elif found.suffix != '.ko':
        raise ui.Problem(f'cannot unpack kernel module {found.name}')
    (target / (pathlib.Path(name).name + '.ko')).write_bytes(data)


def _cpio(root: pathlib.Path) -> bytes:
    """A newc archive of a directory, everything owned by root."""
    out = bytearray()
    entries = [root, *sorted(root.rglob('*'))]
    for number, path in enumerate(entries, 1):
        mode = os.lstat(path).st_mode
        data = b''
        if path.is_symlink():
            data = os.readlink(path).encode()
        elif path.is_file():
            data = path.read_bytes()
        _cpio_entry(out, str(path.relative_to(root)), number, mode, data)
    _cpio_entry(out, 'TRAILER!!!', 0, 0, b'')
    return bytes(out)


def _cpio_entry(
    out: bytearray, name: str, number: int, mode: int, data: bytes
) -> None:
    fields = (
        number,
        mode,
        0,
        0,
        1,
        0,
        len(data),
        0,
        0,
        0,
        0,
        len(name) + 1,
        0,
    )
    out += b'070701' + b''.join(b'%08X' % field for field in fields)
    out += name.encode() + b'\0'
    out += bytes(-len(out) % 4)
    out += data
    out += bytes(-len(out) % 4)
