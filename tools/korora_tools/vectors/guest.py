# SPDX-License-Identifier: Apache-2.0
"""The initrd that records, and disks for firmware and for IMA."""

from __future__ import annotations

import gzip
import lzma
import pathlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence

from korora_tools import ui
from korora_tools.lab import guest as labguest
from korora_tools.vectors.packages import Workshop, call

#: In the order in which they are loaded; some are built in.
MODULES = (
    'virtio_ring',
    'virtio',
    'virtio_pci_legacy_dev',
    'virtio_pci_modern_dev',
    'virtio_pci',
    'virtio_blk',
    'crc16',
    'crc32c_generic',
    'libcrc32c',
    'mbcache',
    'jbd2',
    'ext4',
)
PROGRAMS = ('/usr/bin/tpm2',)
#: Of the unpacked packages, for the recipes that need them.
EXTRAS = ('keyctl', 'kexec', 'setfattr', 'getfattr', 'fsverity')
TCTI = '/usr/lib/x86_64-linux-gnu/libtss2-tcti-device.so.0'
LIBRARIES = 'usr/lib/x86_64-linux-gnu'


def initrd(shop: Workshop, flavour: str) -> pathlib.Path:
    """The initrd for one kernel, the same each time."""
    target = shop.root / f'initrd-{flavour}'
    with tempfile.TemporaryDirectory(dir=shop.root) as scratch:
        root = pathlib.Path(scratch)
        (root / 'mods').mkdir()
        (root / 'mnt').mkdir()
        programs(shop, root)
        _modules(shop.kernel(flavour), root / 'mods')
        here = pathlib.Path(__file__).parent
        shutil.copy(here / 'record-init.sh', root / 'init')
        (root / 'init').chmod(0o755)
        shutil.copy(here / 'record.sh', root)
        target.write_bytes(gzip.compress(labguest._cpio(root), 6, mtime=0))
    return target


def programs(shop: Workshop, root: pathlib.Path) -> None:
    """Busybox, the TPM tools and what else a job may call."""
    for folder in (
        'bin',
        'sbin',
        'proc',
        'sys',
        'dev',
        'tmp',
        'run',
        'etc',
        'lib64',
        'usr/bin',
        LIBRARIES,
    ):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / 'lib').symlink_to('usr/lib')
    shutil.copy('/bin/busybox', root / 'bin/busybox')
    names = [*PROGRAMS, *(shop.tool(name) for name in EXTRAS)]
    libraries = {TCTI, *labguest._libraries(TCTI)}
    for name in names:
        shutil.copy(name, root / 'usr/bin')
        libraries |= _libraries(shop, name)
    for path in libraries:
        shutil.copy(path, root / LIBRARIES / pathlib.Path(path).name)
    shutil.copy('/lib64/ld-linux-x86-64.so.2', root / 'lib64')


def _libraries(shop: Workshop, name: str) -> set[str]:
    out = call('ldd', name, env=shop.environment)
    return {
        part
        for part in out.split()
        if part.startswith('/') and 'ld-linux' not in part
    }


def _modules(kernel: pathlib.Path, target: pathlib.Path) -> None:
    order = []
    for name in MODULES:
        found = next(kernel.glob(f'**/modules/*/kernel/**/{name}.ko*'), None)
        if found is None:
            continue
        data = found.read_bytes()
        if found.suffix == '.xz':
            data = lzma.decompress(data)
        elif found.suffix != '.ko':
            raise ui.Problem(f'cannot unpack kernel module {found.name}')
        (target / f'{name}.ko').write_bytes(data)
        order.append(name)
    (target / 'order').write_text('\n'.join(order) + '\n')


def esp(
    shop: Workshop,
    target: pathlib.Path,
    files: Mapping[str, bytes | pathlib.Path],
    size: int = 96,
) -> None:
    """A FAT disk without partitions, as firmware boots it.

    :param files: path on the disk to content.
    :param size: MiB.
    """
    target.write_bytes(b'')
    call('truncate', '-s', f'{size}M', target)
    shop.run('mkfs.vfat', '-n', 'ESP', target)
    made: set[str] = set()
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in files.items():
            folders = pathlib.PurePosixPath(name).parents
            for folder in [str(f) for f in reversed(folders)][1:]:
                if folder not in made:
                    shop.run('mmd', '-i', target, '::/' + folder)
                    made.add(folder)
            if isinstance(content, bytes):
                source = pathlib.Path(scratch) / 'file'
                source.write_bytes(content)
            else:
                source = content
            shop.run('mcopy', '-i', target, source, '::/' + name)


def partitioned(
    shop: Workshop, target: pathlib.Path, esp: pathlib.Path
) -> pathlib.Path:
    """A GPT disk with a FAT image as its EFI system partition."""
    start, size = 2048, esp.stat().st_size // 512
    with target.open('wb') as disk:
        disk.truncate((2 * start + size) * 512)
        disk.seek(start * 512)
        disk.write(esp.read_bytes())
    shop.run(
        'sfdisk',
        '--quiet',
        '--label',
        'gpt',
        target,
        text='label-id: 5c3e8f0a-19c6-4d7b-9f0e-6b6f726f7261\n'
        f'start={start}, size={size}, type=U, name=ESP, '
        'uuid=0a1b2c3d-4e5f-4a6b-8c7d-6b6f726f7262\n',
    )
    return target


def ext4(
    target: pathlib.Path,
    tree: pathlib.Path,
    size: int = 64,
    features: Sequence[str] = (),
) -> None:
    """An ext4 disk with the files of a directory, extended attributes too.

    :param size: MiB.
    """
    target.write_bytes(b'')
    call('truncate', '-s', f'{size}M', target)
    call(
        'mke2fs',
        '-q',
        '-t',
        'ext4',
        '-b',
        '4096',
        '-O',
        ','.join(('^has_journal', *features)),
        '-d',
        tree,
        target,
    )


def job(target: pathlib.Path, text: str) -> pathlib.Path:
    """A disk with shell commands for the guest."""
    target.write_bytes(f'#job:\n{text}\n'.encode().ljust(1 << 16, b'\0'))
    return target
