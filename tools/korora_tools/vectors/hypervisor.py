# SPDX-License-Identifier: Apache-2.0
"""Recipes: Debian as a hypervisor, installed, booted and lived with.

Unlike ``host``, nothing is abridged: what debootstrap installs boots from a
disk of its own with the firmware's Secure Boot, systemd, libvirtd and a guest,
measured as the starter of the distribution asks an operator to. There are two
machines of a kind, each with its own disk, TPM and identity: what is learned
of the first one, the second one is judged by.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from korora_tools import checkout, ui
from korora_tools.fresh import sources
from korora_tools.vectors import host, machine, store
from korora_tools.vectors.packages import Workshop, call

HERE = pathlib.Path(__file__).parent
STARTERS = checkout.ROOT / 'korora_nova' / 'starters'
#: Longest life of a machine, seconds: up to three boots and a day.
PATIENCE = 4 * 3600.0
#: What each machine does, in the words of ``hypervisor-record.sh``; the
#: last two of them reboot.
MACHINES = {
    'h1': ('work', 'day', 'evidence golden'),
    'h2': (
        'evidence booted',
        'work',
        'day',
        'evidence day',
        'program',
        'evidence program',
        'argument',
        'evidence argument',
        'kernel',
        'evidence kernel',
    ),
}
#: Files of an archive that a vector keeps.
KEPT = {
    'binary_bios_measurements',
    'binary_runtime_measurements',
    'tpm2-measure.log',
    'attest',
    'signature',
    'ak.tpm2b',
}
#: Packages whose versions a vector names.
NAMED = (
    'systemd',
    'libvirt-daemon-system',
    'qemu-system-x86',
    'swtpm',
    'shim-signed',
    'grub-efi-amd64-signed',
    'systemd-boot-efi',
    'libssl3',
    'libssl3t64',
)
TPM = machine.Tpm('sha1,sha256')
PANIC = b'Kernel panic - not syncing'
#: Of a machine's clock, compared with this one's.
SPEED = 0.25


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A kind of host.

    :param starter: also the name of the distribution.
    :param suite: of Debian's archive.
    :param loader: 'grub' as Debian signs it, or 'uki': systemd-boot and a
        unified kernel image, signed by the machine's owner.
    """

    starter: str
    suite: str
    loader: str

    @property
    def about(self) -> str:
        how = {
            'grub': 'shim and GRUB',
            'uki': 'systemd-boot and a unified kernel image',
        }[self.loader]
        return (
            f'{self.starter} with {how}, Secure Boot, the IMA policy of its '
            'starter, libvirtd and a guest'
        )

    @property
    def firmware(self) -> tuple[str, str]:
        """Code, and variables with keys of Microsoft or of the owner."""
        if self.loader == 'grub':
            return 'OVMF_CODE_4M.ms.fd', 'OVMF_VARS_4M.ms.fd'
        return 'OVMF_CODE_4M.secboot.fd', 'OVMF_VARS_4M.snakeoil.fd'


RECIPES = {
    f'{starter}-{loader}': Recipe(starter, suite, loader)
    for starter, suite in (('debian-12', 'bookworm'), ('debian-13', 'trixie'))
    for loader in ('grub', 'uki')
}


def record(shop: Workshop, name: str) -> None:
    """Install both machines, let them live, and write their vectors.

    :raises Problem: a machine did not hand over all that was to be recorded.
    """
    recipe = RECIPES[name]
    work = shop.root / 'hypervisor'
    work.mkdir(exist_ok=True)
    tree = _tree(work, recipe.suite)
    shutil.rmtree(shop.out / 'hypervisor' / name, ignore_errors=True)
    for called, jobs in MACHINES.items():
        folder = work / f'{name}-{called}'
        with ui.step(f'install {called}'):
            _install(shop, recipe, tree, folder, called)
        with ui.step(f'life of {called}'):
            lived = _live(shop, recipe, folder, (called, jobs))
        for moment, files in lived.items():
            about = _about(shop, recipe, called, files)
            kept = {key: data for key, data in files.items() if key in KEPT}
            store.write(shop.out, f'hypervisor/{name}/{moment}', kept, about)


# -- machines ---------------------------------------------------------------


def _script(name: str, log: pathlib.Path, **variables: object) -> None:
    """Run one of the shell scripts beside this; its mounts end with it."""
    with log.open('w') as output:
        done = subprocess.run(
            [
                'unshare',
                '--mount',
                '--propagation',
                'private',
                'sh',
                HERE / name,
            ],
            env=os.environ
            | {key: str(value) for key, value in variables.items()},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        raise ui.Problem(f'{name} failed; see {log}')


def _tree(work: pathlib.Path, suite: str) -> pathlib.Path:
    """What debootstrap and apt install, once for all machines."""
    tree, made = work / suite, work / f'{suite}.made'
    if not made.exists():
        mirror = sources.this_mirror()
        with ui.step(f'debootstrap {suite}'):
            _script(
                'hypervisor-packages.sh',
                work / f'{suite}.log',
                TREE=tree,
                SUITE=suite,
                MIRROR=mirror.archive,
                SECURITY=mirror.security,
            )
        made.touch()
    return tree


def _install(
    shop: Workshop,
    recipe: Recipe,
    tree: pathlib.Path,
    folder: pathlib.Path,
    name: str,
) -> None:
    """A disk, a TPM and UEFI variables of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    ovmf = shop.tree / 'usr/share'
    for ending, option in (('key', 'rsa'), ('pem', 'x509')):
        # The test key's passphrase is "snakeoil".
        call(
            'openssl',
            option,
            *(['-passin', 'pass:snakeoil'] if ending == 'key' else []),
            '-in',
            ovmf / f'ovmf/PkKek-1-snakeoil.{ending}',
            '-out',
            folder / f'owner.{ending}',
        )
    shutil.copy(ovmf / 'OVMF' / recipe.firmware[1], folder / 'vars.fd')
    machine.manufacture(TPM, folder / 'tpm')
    _disk(shop, folder / 'disk')
    _script(
        'hypervisor-install.sh',
        folder / 'install.log',
        IMAGE=folder / 'disk',
        TREE=tree,
        NAME=name,
        LOADER=recipe.loader,
        STARTER=STARTERS / recipe.starter,
        KEYS=folder,
        HERE=HERE,
    )
    partition = f'{folder}/disk@@{1 << 20}'
    shop.run('mcopy', '-s', '-i', partition, folder / 'disk.efi', '::/EFI')


def _disk(shop: Workshop, target: pathlib.Path) -> None:
    """4 GiB: an EFI system partition and one for all else."""
    with target.open('wb') as disk:
        disk.truncate(4 << 30)
    shop.run(
        'sfdisk',
        '--quiet',
        target,
        text='label: gpt\nstart=2048, size=614400, type=U, name=ESP\n'
        'start=616448, type=L, name=root\n',
    )


def _live(
    shop: Workshop,
    recipe: Recipe,
    folder: pathlib.Path,
    life: tuple[str, tuple[str, ...]],
) -> dict[str, dict[str, bytes]]:
    """Switch on, and wait until it switches itself off.

    :param life: name and jobs.
    :returns: by moment, the files of its archive.
    """
    called, jobs = life
    lines = [
        f'nonce={host.qualify(called).hex()}',
        *(f'do {job}' for job in jobs),
    ]
    text = '\n'.join(lines) + '\n'
    (folder / 'job').write_bytes(text.encode().ljust(1 << 16, b'\0'))
    _run(shop, recipe, folder)
    found = dict(_archives((folder / 'out').read_bytes()))
    wanted = {job.split()[1] for job in jobs if job.startswith('evidence ')}
    if found.keys() != wanted:
        raise ui.Problem(
            f'recorded {sorted(found)} of {sorted(wanted)}; '
            f'see {folder}/console'
        )
    return found


def _run(shop: Workshop, recipe: Recipe, folder: pathlib.Path) -> None:
    """QEMU with the machine's TPM, to its end."""
    began = time.monotonic()
    # A short name: it holds unix sockets.
    with tempfile.TemporaryDirectory(prefix='kv') as scratch:
        socket = pathlib.Path(scratch) / 'tpm.sock'
        with machine.running_tpm(TPM, folder / 'tpm', socket):
            process = subprocess.Popen(
                _qemu(shop, recipe, folder, socket),
                env=os.environ | _slower(shop),
            )
            try:
                _wait(process, folder / 'console', began + PATIENCE)
            finally:
                process.kill()
                process.wait()
    ui.say(f'    lived for {time.monotonic() - began:.0f} s')


def _wait(
    process: subprocess.Popen[bytes], console: pathlib.Path, end: float
) -> None:
    while process.poll() is None:
        if console.exists() and PANIC in console.read_bytes():
            # Of a busy machine's timer, mostly.
            raise ui.Problem(f'its kernel panicked, try again: {console}')
        if time.monotonic() > end:
            raise ui.Problem(f'no end after {PATIENCE:.0f} s; see {console}')
        time.sleep(1)


def _slower(shop: Workshop) -> dict[str, str]:
    """Environment in which QEMU's clock goes slower.

    A kernel gives a TPM 750 ms. One of software can be later than that if
    this machine is busy, and what is listed then is not in the register.
    """
    library = 'usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1'
    return {
        'LD_PRELOAD': str(shop.tree / library),
        'FAKETIME': f'+0 x{SPEED}',
    }


def _qemu(
    shop: Workshop,
    recipe: Recipe,
    folder: pathlib.Path,
    socket: pathlib.Path,
) -> list[str]:
    code = shop.tree / 'usr/share/OVMF' / recipe.firmware[0]
    return [
        'nice',
        'qemu-system-x86_64',
        '-nodefaults',
        *('-display', 'none'),
        *('-machine', 'q35,smm=on'),
        *('-accel', 'tcg,thread=multi,tb-size=256'),
        *('-cpu', 'Nehalem,+rdrand'),
        *('-smp', '2'),
        *('-m', '1024'),
        *('-serial', f'file:{folder}/console'),
        *('-serial', f'file:{folder}/out'),
        *('-chardev', f'socket,id=tpm,path={socket}'),
        *('-tpmdev', 'emulator,id=tpm0,chardev=tpm'),
        *('-device', f'{TPM.model},tpmdev=tpm0'),
        *('-global', 'driver=cfi.pflash01,property=secure,value=on'),
        '-drive',
        f'if=pflash,format=raw,unit=0,readonly=on,file={code}',
        '-drive',
        f'if=pflash,format=raw,unit=1,file={folder}/vars.fd',
        '-drive',
        f'if=none,id=disk,format=raw,cache=unsafe,file={folder}/disk',
        *('-device', 'virtio-blk-pci,drive=disk,bootindex=1'),
        *('-drive', f'if=none,id=job,format=raw,file={folder}/job'),
        *('-device', 'virtio-blk-pci,drive=job,serial=job'),
    ]


def _archives(data: bytes) -> Iterator[tuple[str, dict[str, bytes]]]:
    """What the machine handed over: by moment, files."""
    # Firmware and boot loaders write there too.
    at = data.find(machine.MARK)
    while at >= 0:
        line, _, _ = data[at + len(machine.MARK) :].partition(b'\n')
        name, size = line.decode().split()
        start = at + len(machine.MARK) + len(line) + 1
        yield name, machine.unpack(data[start : start + int(size)])
        at = data.find(machine.MARK, start + int(size))


# -- vectors ----------------------------------------------------------------


def _about(
    shop: Workshop, recipe: Recipe, called: str, files: dict[str, bytes]
) -> dict[str, Any]:
    """What vector.json says."""
    packages = dict(
        line.split('\t')
        for line in files['packages'].decode().splitlines()
        if '\t' in line
    )
    plain = {key.partition(':')[0]: value for key, value in packages.items()}
    return {
        'about': recipe.about,
        'made': {
            'starter': recipe.starter,
            'when': time.strftime('%Y-%m-%d'),
            'firmware': recipe.firmware[0],
            'kernel': files['kernel'].decode().strip(),
            'tpm': f'TPM 2.0 {TPM.model}',
            'command_line': files['cmdline'].decode().strip(),
            'boot': files['boot_id'].decode().strip(),
            'packages': {name: plain[name] for name in NAMED if name in plain},
            'outside': {
                name: version
                for name, version in shop.versions.items()
                if name in ('ovmf', 'qemu', 'swtpm')
            },
            'guests': files['guests'].decode().split('\n'),
        },
        **host.asked(called),
        'pcrs': store.pcrs(files['pcrs']),
    }


def recipes() -> dict[str, tuple[str, Any]]:
    return {
        f'hypervisor/{name}': (
            recipe.about,
            functools.partial(record, name=name),
        )
        for name, recipe in RECIPES.items()
    }
