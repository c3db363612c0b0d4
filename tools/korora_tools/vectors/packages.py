# SPDX-License-Identifier: Apache-2.0
"""Boot software of the distribution: downloaded and unpacked only.

Nothing is installed, so no boot loader of this machine is touched.
"""

from __future__ import annotations

import pathlib
import re
import subprocess
from dataclasses import dataclass

from korora_tools import ui

BOOTED = ('ovmf', 'shim-signed', 'grub-efi-amd64-signed', 'systemd-boot-efi')
#: What the recipes boot or run, besides the kernels.
PACKAGES = (
    *BOOTED,
    'shim-helpers-amd64-signed',
    'mtools',
    'dosfstools',
    'sbsigntool',
    'fdisk',
    'libfdisk1',
    'ima-evm-utils',
    'libimaevm2',
    'keyutils',
    'libkeyutils1',
    'attr',
    'kexec-tools',
    'fsverity',
    'libfsverity0',
    'libfaketime',
)
#: Libraries that kexec needs; their names go on with a version.
LIBRARIES = (
    'libxenmisc',
    'libxentoolcore',
    'libxentoollog',
    'libxencall',
    'libxenevtchn',
    'libxengnttab',
    'libxenforeignmemory',
    'libxendevicemodel',
)
#: Meta-packages of the kernels, by what the recipes call them.
KERNELS = {'cloud': 'linux-image-cloud-amd64', 'generic': 'linux-image-amd64'}
#: The flavour of the second newest generic kernel.
PREVIOUS = 'previous'
#: The flavour of a later release's cloud kernel, and that release.
NEXT, NEXT_SUITE = 'next', 'trixie'


def call(
    *argv: str | pathlib.Path,
    cwd: pathlib.Path | None = None,
    env: dict[str, str] | None = None,
    text: str = '',
) -> str:
    """Run a program to its end.

    :param text: for its standard input.
    :raises Problem: it failed.
    """
    done = subprocess.run(
        [str(item) for item in argv],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        input=text,
    )
    if done.returncode:
        raise ui.Problem(f'{argv[0]}: {done.stderr.strip()[-400:]}')
    return done.stdout


@dataclass(frozen=True)
class Workshop:
    """A scratch directory: packages, images and runs.

    :param out: where vectors go.
    """

    root: pathlib.Path
    out: pathlib.Path

    @property
    def debs(self) -> pathlib.Path:
        return self.root / 'debs'

    @property
    def tree(self) -> pathlib.Path:
        """Every package except kernels, unpacked over each other."""
        return self.root / 'tree'

    def kernel(self, flavour: str) -> pathlib.Path:
        return self.root / 'kernel' / flavour

    def vmlinuz(self, flavour: str) -> pathlib.Path:
        return next((self.kernel(flavour) / 'boot').glob('vmlinuz-*'))

    def tool(self, name: str) -> str:
        """A program of the unpacked packages, else of this machine."""
        for folder in ('bin', 'usr/bin', 'sbin', 'usr/sbin'):
            if (self.tree / folder / name).exists():
                return str(self.tree / folder / name)
        return name

    @property
    def environment(self) -> dict[str, str]:
        """For programs of the unpacked packages."""
        return {
            'PATH': '/usr/sbin:/usr/bin:/sbin:/bin',
            'MTOOLS_SKIP_CHECK': '1',
            'LC_ALL': 'C.UTF-8',
            'LD_LIBRARY_PATH': str(self.tree / 'usr/lib/x86_64-linux-gnu'),
        }

    def run(self, name: str, *argv: str | pathlib.Path, text: str = '') -> str:
        return call(self.tool(name), *argv, env=self.environment, text=text)

    def variables(
        self, name: str, target: pathlib.Path, *argv: str | pathlib.Path
    ) -> None:
        """Enrol keys in a copy of a file of UEFI variables.

        ``virt-firmware`` of PyPI does it.
        """
        folder = self.root / 'python'
        if not folder.exists():
            call(
                'python3',
                '-m',
                'pip',
                'install',
                '--quiet',
                '--target',
                folder,
                'virt-firmware',
            )
        call(
            'python3',
            '-m',
            'virt.firmware.vars',
            '--input',
            self.tree / 'usr/share/OVMF' / name,
            '--output',
            target,
            *argv,
            env={**self.environment, 'PYTHONPATH': str(folder)},
        )

    @property
    def versions(self) -> dict[str, str]:
        """Package to version, of what boots and what it boots in."""
        found = (
            re.match(r'(.+?)_(.+)_\w+\.deb$', deb.name)
            for deb in sorted(self.debs.glob('*.deb'))
        )
        versions = {
            match[1]: match[2].replace('%3a', ':')
            for match in found
            if match and match[1] in BOOTED
        }
        versions['qemu'] = call('qemu-system-x86_64', '--version').split()[3]
        versions['swtpm'] = call('swtpm', '--version').split()[3].strip(',')
        return versions

    def prepare(self) -> None:
        """Download and unpack what is not there yet."""
        for folder in (self.debs, self.tree, self.root / 'kernel'):
            folder.mkdir(parents=True, exist_ok=True)
        for name in (*PACKAGES, *map(_newest, LIBRARIES)):
            if not (self.tree / 'usr/share/doc' / name).exists():
                self._fetch(name)
                call('dpkg-deb', '-x', self._deb(name), self.tree)
        for flavour in (*KERNELS, PREVIOUS):
            if not self.kernel(flavour).exists():
                self._unpack_kernel(flavour, _kernel(flavour))
        if not self.kernel(NEXT).exists():
            options = self._other_release()
            self._unpack_kernel(
                NEXT, _depends(KERNELS['cloud'], *options), *options
            )

    def _unpack_kernel(self, flavour: str, name: str, *options: str) -> None:
        self._fetch(name, *options)
        call('dpkg-deb', '-x', self._deb(name), self.kernel(flavour))

    def _other_release(self) -> tuple[str, ...]:
        """Options for apt to see another release than this machine's."""
        folder = self.root / 'apt'
        for name in ('lists/partial', 'cache/archives/partial', 'sources'):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / 'sources/next.sources').write_text(
            'Types: deb\nURIs: http://deb.debian.org/debian\n'
            f'Suites: {NEXT_SUITE}\nComponents: main\nSigned-By: '
            '/usr/share/keyrings/debian-archive-keyring.gpg\n'
        )
        options = (
            '-o',
            'Dir::Etc::sourcelist=/dev/null',
            '-o',
            f'Dir::Etc::sourceparts={folder}/sources/',
            '-o',
            f'Dir::State::lists={folder}/lists',
            '-o',
            f'Dir::Cache={folder}/cache',
            '-o',
            'APT::Sandbox::User=root',
        )
        call('apt-get', *options, 'update')
        return options

    def _deb(self, name: str) -> pathlib.Path:
        return next(self.debs.glob(f'{name}_*.deb'))

    def _fetch(self, name: str, *options: str) -> None:
        if any(self.debs.glob(f'{name}_*.deb')):
            return
        with ui.step(f'download {name}'):
            # apt's sandbox user may not write into our directory.
            call(
                'apt-get',
                '-o',
                'APT::Sandbox::User=root',
                *options,
                'download',
                '-qq',
                name,
                cwd=self.debs,
            )


def _newest(prefix: str) -> str:
    """The last package of which only the version in the name is unknown."""
    names = [
        name
        for name in call('apt-cache', 'pkgnames', prefix).split()
        if re.fullmatch(prefix + r'[0-9.]+', name)
    ]
    if not names:
        raise ui.Problem(f'apt-get knows no {prefix}*')
    return max(names)


def _kernel(flavour: str) -> str:
    """The package that holds a kernel today."""
    current = _depends(KERNELS.get(flavour, KERNELS['generic']))
    if flavour != PREVIOUS:
        return current
    stem, _, number, last = re.split(r'(?<=\.0)(-)(\d+)', current)
    names = call('apt-cache', 'pkgnames', stem + '-').split()
    older = [
        int(name[len(stem) + 1 : -len(last)])
        for name in names
        if re.fullmatch(re.escape(stem) + r'-\d+' + last, name)
        and name != current
    ]
    if not older:
        raise ui.Problem(f'apt-get knows no older kernel than {current}')
    return f'{stem}-{max(older)}{last}'


def _depends(meta: str, *options: str) -> str:
    """The kernel that a meta-package names today."""
    out = call('apt-cache', *options, 'depends', '--important', meta)
    names: list[str] = re.findall(r'Depends: (linux-image-\d\S+)', out)
    if not names:
        raise ui.Problem(f'apt-get knows no {meta}')
    return names[0]
