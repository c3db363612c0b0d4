# SPDX-License-Identifier: Apache-2.0
"""Checks of libvirt, QEMU and swtpm."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from collections.abc import Sequence
from xml.etree import ElementTree

import libvirt

from korora_nova import errors
from korora_nova.checks import Problem, Result, bad, result

#: Older ones lose the vTPM's state when a guest is undefined; the same as
#: ``relying_party.drift.MIN_LIBVIRT``.
MIN_LIBVIRT = (8, 9, 0)
#: The oldest ones that the tests have run with.
MIN_QEMU = (7, 2, 0)
MIN_SWTPM = (0, 7, 0)

_VERSION = re.compile(r'(\d+)\.(\d+)(?:\.(\d+))?')


@dataclasses.dataclass(frozen=True)
class Hypervisor:
    """What libvirt says of itself.

    :param emulates_tpm: whether guests can have a TPM of swtpm; None: this
        libvirt does not tell.
    """

    libvirt: tuple[int, int, int]
    qemu: tuple[int, int, int]
    emulates_tpm: bool | None


def ask(uri: str) -> Hypervisor:
    """Ask libvirt, over a connection that can change nothing.

    :raises Unavailable: LIBVIRT_UNAVAILABLE.
    """
    libvirt.registerErrorHandler(lambda *_: None, None)
    try:
        connection = libvirt.openReadOnly(uri)
        try:
            return Hypervisor(
                _triple(connection.getLibVersion()),
                _triple(connection.getVersion()),
                _emulates_tpm(connection.getDomainCapabilities),
            )
        finally:
            connection.close()
    except libvirt.libvirtError as exc:
        raise errors.Unavailable(
            errors.Reason.LIBVIRT_UNAVAILABLE,
            f'libvirt at [attester] libvirt_uri = {uri} failed with error '
            f'{exc.get_error_code()}: is libvirtd running?',
        ) from None


def swtpm_version(timeout: float, command: Sequence[str] = ('swtpm',)) -> str:
    """What ``swtpm --version`` prints; '' if it is not there.

    :raises subprocess.TimeoutExpired: it takes longer.
    """
    try:
        done = subprocess.run(
            [*command, '--version'],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        return ''
    return done.stdout.decode(errors='replace').strip()[:256]


def libvirt_version(found: Hypervisor) -> Result:
    """Whether libvirt keeps the state of vTPMs."""
    problems = []
    if found.libvirt < MIN_LIBVIRT:
        problems.append(
            bad(
                f'{_dotted(found.libvirt)} loses the state of vTPMs when a '
                'guest is undefined',
                f'upgrade libvirt to {_dotted(MIN_LIBVIRT)} or newer',
            )
        )
    if found.emulates_tpm is False:
        problems.append(
            bad(
                'it offers no emulated TPM to guests',
                'install swtpm and swtpm-tools, and restart libvirtd',
            )
        )
    return result('libvirt', _dotted(found.libvirt), problems)


def qemu_version(found: Hypervisor) -> Result:
    """Whether QEMU is one that has been tried."""
    return result(
        'qemu', _dotted(found.qemu), _old(found.qemu, MIN_QEMU, 'QEMU')
    )


def swtpm(said: str) -> Result:
    """Whether swtpm is there, and one that has been tried."""
    if not said:
        return result(
            'swtpm',
            '',
            [bad('swtpm is not installed', 'install swtpm and swtpm-tools')],
        )
    parts = _VERSION.search(said)
    if parts is None:
        return result(
            'swtpm', '', [bad('it does not say its version', 'reinstall it')]
        )
    version = (int(parts[1]), int(parts[2]), int(parts[3] or 0))
    return result('swtpm', _dotted(version), _old(version, MIN_SWTPM, 'swtpm'))


def _old(
    version: tuple[int, int, int], least: tuple[int, int, int], name: str
) -> list[Problem]:
    if version >= least:
        return []
    return [
        bad(
            f'{_dotted(version)} is older than all that were tried',
            f'upgrade {name} to {_dotted(least)} or newer',
        )
    ]


def _triple(number: int) -> tuple[int, int, int]:
    return (number // 1_000_000, number // 1_000 % 1_000, number % 1_000)


def _dotted(version: tuple[int, int, int]) -> str:
    return '.'.join(map(str, version))


def _emulates_tpm(capabilities: object) -> bool | None:
    """Read libvirt's domain capabilities (formatdomaincaps.html, TPM)."""
    assert callable(capabilities)
    try:
        root = ElementTree.fromstring(capabilities())
    except (libvirt.libvirtError, ElementTree.ParseError):
        return None
    tpm = root.find('./devices/tpm')
    if tpm is None:
        return None
    models = [
        one.text for one in tpm.findall("./enum[@name='backendModel']/value")
    ]
    return tpm.get('supported') == 'yes' and 'emulator' in models
