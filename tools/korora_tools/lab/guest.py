# SPDX-License-Identifier: Apache-2.0
"""The guest: a kernel, an initrd with the TPM tools, and a 16 MiB disk.

The guest proves its own continuity. Every second it extends PCR 16 of its
vTPM by SHA-256 of its tick's number and prints the register; whoever reads
the consoles of all hosts can compute the chain again. At its first start it
seals a word to its vTPM, under its boot's registers, and unseals it from then
on, as disk encryption does.
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

from korora_tools import ui
from korora_tools.lab import paths

FILES = ('vmlinuz', 'initrd.gz', 'disk.qcow2')
KERNELS = ('linux-image-cloud-amd64', 'linux-image-virtual')
MODULES = (
    'virtio/virtio',
    'virtio/virtio_ring',
    'virtio/virtio_pci_legacy_dev',
    'virtio/virtio_pci_modern_dev',
    'virtio/virtio_pci',
    'block/virtio_blk',
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
        pathlib.Path(__file__).read_bytes()
        + pathlib.Path(__file__).with_name('guest-init.sh').read_bytes()
    ).hexdigest()
    stamp = target / 'recipe'
    if stamp.exists() and stamp.read_text() == recipe:
        return
    with ui.step('guest image (kernel, initrd, disk)'):
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=lab.cache) as scratch:
            kernel = _kernel(lab, pathlib.Path(scratch))
            _vmlinuz(kernel, target / 'vmlinuz')
            _initrd(
                kernel, pathlib.Path(scratch) / 'root', target / 'initrd.gz'
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


def _kernel(lab: paths.Lab, scratch: pathlib.Path) -> pathlib.Path:
    """Download and unpack (not install) the distribution's cloud kernel."""
    debs = lab.cache / 'debs'
    debs.mkdir(exist_ok=True)
    have = sorted(debs.glob('linux-*.deb'))
    if not have:
        names = _kernel_packages()
        with ui.step('download ' + ' '.join(names)):
            # apt's sandbox user may not write into our cache.
            _call(
                'apt-get',
                '-o',
                'APT::Sandbox::User=root',
                'download',
                '-qq',
                *names,
                cwd=debs,
            )
        have = sorted(debs.glob('linux-*.deb'))
    for deb in have:
        _call('dpkg-deb', '-x', str(deb), str(scratch / 'kernel'))
    return scratch / 'kernel'


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


def _vmlinuz(kernel: pathlib.Path, target: pathlib.Path) -> None:
    found = next((kernel / 'boot').glob('vmlinuz-*'), None)
    if found is None:
        raise ui.Problem('the kernel package has no boot/vmlinuz')
    image = bytearray(found.read_bytes())
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
    found = next(kernel.glob(f'**/kernel/drivers/{name}.ko*'), None)
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
