# SPDX-License-Identifier: Apache-2.0
"""Recipes: measurement lists of the kernel's IMA."""

from __future__ import annotations

import functools
import os
import pathlib
import shutil
import tempfile
from dataclasses import dataclass, field

from korora_tools.vectors import guest, machine, signing, store, uefi
from korora_tools.vectors.packages import Workshop

LISTS = ('binary_runtime_measurements', 'ascii_runtime_measurements')
BANKS = ('sha1', 'sha256', 'sha384', 'sha512')

#: Files that root reads, by path below /work.
FILES = {
    'plain.txt': b'plain\n',
    'with space.txt': b'space\n',
    'na\u00efve-\u6e2c.txt': b'unicode\n',
    'empty': b'',
    'new\nline.txt': b'newline\n',
    'log.txt': b'log\n',
    'data.txt': b'data\n',
    'trailing ': b'trailing\n',
    'x' * 250: b'long\n',
    'tab\tand\\backslash': b'tab\n',
    'script.sh': b'#!/bin/sh\necho a script\n',
    'signed-rsa.sh': b'#!/bin/sh\necho rsa\n',
    'signed-p256.sh': b'#!/bin/sh\necho p256\n',
    'signed-p384.sh': b'#!/bin/sh\necho p384\n',
    'signed-portable.sh': b'#!/bin/sh\necho portable\n',
}

#: What a host does: runs programs, reads files, root's and others'.
WORK = r"""
cd /work
for f in *; do cat "$f" >/dev/null; done
# One whose name is not UTF-8.
n=$(printf 'latin-\351.txt'); echo x >"$n"; cat "$n"
for f in *.sh; do ./$f; done
run tpm2 getrandom --hex 4
"""
#: Open writers, then time of measure, time of use.
VIOLATIONS = r"""
exec 4>>log.txt; echo more >&4; cat log.txt; exec 4>&-
exec 5<data.txt; read line <&5
exec 6>>data.txt; echo changed >&6; exec 6>&- 5<&-
"""


@dataclass(frozen=True)
class Recipe:
    """:param parameters: of the kernel.
    :param policy: rules written to the kernel before the work.
    :param work: what the guest does.
    :param keep: files to keep besides the lists.
    """

    about: str
    parameters: str = 'ima_policy=tcb'
    policy: str = ''
    work: str = WORK
    boot: machine.Boot = field(default_factory=machine.Boot)
    kernel: str = 'cloud'


RECIPES: dict[str, Recipe] = {}

for _name in (
    'ima-ng',
    'ima-ngv2',
    'ima-sig',
    'ima-sigv2',
    'ima-modsig',
    'evm-sig',
    'ima-buf',
):
    RECIPES[_name] = Recipe(
        f'template {_name}', f'ima_policy=tcb ima_template={_name}'
    )
RECIPES['ima'] = Recipe(
    'template ima', 'ima_policy=tcb ima_template=ima ima_hash=sha1'
)
RECIPES['hash-sha1'] = Recipe(
    'files hashed with SHA-1',
    'ima_policy=tcb ima_template=ima-ng ima_hash=sha1',
)
RECIPES['violations'] = Recipe(
    'open writers and changes after measurement',
    'ima_policy=tcb ima_template=ima-ng',
    work=WORK + VIOLATIONS,
)
RECIPES['violations-ima'] = Recipe(
    'violations with the template ima',
    'ima_policy=tcb ima_template=ima ima_hash=sha1',
    work=WORK + VIOLATIONS,
)
for _number, _format in enumerate(
    (
        'd-ng|sig',
        'd-ng|n-ng|iuid|igid|imode',
        'n-ng|d-ng',
        'd|n',
        'd-ngv2|n-ng|xattrnames|xattrlengths|xattrvalues',
    )
):
    RECIPES[f'format-{_number}'] = Recipe(
        f'own format {_format}', f'ima_policy=tcb ima_template_fmt={_format}'
    )
RECIPES['keys'] = Recipe(
    'keys, a kexec command line and the kernel version in ima-buf entries',
    'ima_policy=tcb|critical_data ima_template=ima-sig',
    policy="""
measure func=KEY_CHECK template=ima-buf
measure func=KEXEC_CMDLINE template=ima-buf
measure func=CRITICAL_DATA template=ima-buf
measure func=BPRM_CHECK template=ima-ng
measure func=FILE_CHECK mask=MAY_READ uid=0 fsname=ext4 template=ima-sig
measure func=MODULE_CHECK template=ima-sigv2
""",
    work=r"""
for k in rsa p256; do  # Debian's kernel cannot take the latter
  run keyctl padd asymmetric $k @u </keys/$k.der
done
run kexec -s -l /vmlinuz --append='root=/dev/vda1 quiet "a b"'
"""
    + WORK,
)
RECIPES['no-file-entries'] = Recipe(
    'nothing but the boot aggregate', 'ima_policy=critical_data', work=''
)
for _banks in ('sha1', 'sha256', 'sha384', 'sha256,sha384'):
    RECIPES['banks-' + _banks.replace(',', '-')] = Recipe(
        f'a TPM with the banks {_banks}',
        boot=machine.Boot(machine.Tpm(_banks)),
    )
for _name in ('ima-ng', 'ima-sigv2'):
    RECIPES[f'newer-kernel-{_name}'] = Recipe(
        f'a kernel with a list for each bank, {_name}',
        f'ima_policy=tcb ima_template={_name}',
        work=WORK + VIOLATIONS,
        kernel='next',
    )
RECIPES['newer-kernel-sha512'] = Recipe(
    'files hashed with SHA-512',
    'ima_policy=tcb ima_hash=sha512',
    kernel='next',
)
RECIPES['verity'] = Recipe(
    'digests and signatures of fs-verity',
    'ima_policy=critical_data ima_template=ima-sig',
    'measure func=FILE_CHECK digest_type=verity mask=MAY_READ uid=0 '
    'fsname=ext4 template=ima-ngv2\n'
    'measure func=BPRM_CHECK template=ima-sigv2\n',
    work=r"""
for f in plain.txt script.sh data.txt; do
  run fsverity enable /work/$f
  run fsverity measure /work/$f
done
"""
    + WORK,
)
RECIPES['tpm12'] = Recipe(
    'SeaBIOS and TPM 1.2',
    boot=machine.Boot(machine.Tpm(None, 'tpm-tis'), firmware=None),
)


def record(shop: Workshop, name: str) -> None:
    """Boot and write the vector."""
    recipe = RECIPES[name]
    folder = signing.keys(shop)
    rules = recipe.policy.strip()
    load = (
        f"echo '{rules}' >$SEC/ima/policy || echo policy refused\n"
        if rules
        else ''
    )
    job = guest.job(shop.root / 'job.img', f'{load}{recipe.work}\nima\n')
    boot = machine.Boot(
        recipe.boot.tpm,
        recipe.boot.firmware,
        kernel=shop.vmlinuz(recipe.kernel),
        initrd=guest.initrd(shop, recipe.kernel),
        command_line=f'{uefi.CONSOLE} {recipe.parameters}',
        disks=(disk(shop), job),
    )
    got = machine.run(shop, boot)
    files, about = uefi.vector(shop, recipe.about, boot, got)
    files |= {
        name: data
        for name, data in got.items()
        if '_runtime_measurements' in name
    }
    files |= {
        f'key-{kind}.pem': (folder / f'{kind}.pem').read_bytes()
        for kind in signing.KEYS
    }
    about['policy'] = recipe.policy.strip().splitlines()
    store.write(shop.out, 'ima/' + name, files, about)


#: What the recording guest calls of busybox.
BUSYBOX = (
    'sh',
    'cat',
    'cp',
    'cmp',
    'mkdir',
    'mount',
    'uname',
    'ls',
    'stty',
    'tar',
    'gzip',
    'dmesg',
    'sleep',
    'poweroff',
)


@functools.cache
def disk(shop: Workshop) -> pathlib.Path:
    """A root with programs, files to measure and signatures on them.

    Made once, so that recordings differ only where their recipes do.
    """
    folder = signing.keys(shop)
    target = shop.root / 'ima.img'
    with tempfile.TemporaryDirectory(dir=shop.root) as scratch:
        root = pathlib.Path(scratch)
        guest.programs(shop, root)
        for link in BUSYBOX:
            (root / 'bin' / link).symlink_to('busybox')
        shutil.copy(pathlib.Path(__file__).with_name('record.sh'), root)
        shutil.copy(shop.vmlinuz('cloud'), root / 'vmlinuz')
        shutil.copytree(folder, root / 'keys')
        (root / 'work').mkdir()
        for name, data in FILES.items():
            path = root / 'work' / name
            path.write_bytes(data)
            path.chmod(0o755 if name.endswith('.sh') else 0o644)
        _sign(shop, folder, root / 'work')
        os.chown(root / 'work/plain.txt', 1000, 1001)
        guest.ext4(target, root, 96, ('verity',))
    return target


def _sign(shop: Workshop, keys: pathlib.Path, work: pathlib.Path) -> None:
    for kind in signing.KEYS:
        shop.run(
            'evmctl',
            'ima_sign',
            '--hashalgo',
            'sha256',
            '--key',
            keys / f'{kind}.key',
            work / f'signed-{kind}.sh',
        )
    shop.run(
        'evmctl',
        'sign',
        '--portable',
        '--imasig',
        '--hashalgo',
        'sha256',
        '--key',
        keys / 'rsa.key',
        work / 'signed-portable.sh',
    )
