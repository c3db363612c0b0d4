# SPDX-License-Identifier: Apache-2.0
"""The hardware of the lab's hosts: their TPMs, power on and attacks.

Power on starts a host's TPM (TPM Reset), plays the firmware's and the
kernel's part, and leaves their logs where the host sees them.
"""

from __future__ import annotations

import pathlib
import shutil

from korora_tools import ui
from korora_tools.lab import hwtpm, measured, paths, processes, tpmmux

UEFI_NAME = hwtpm.UEFI_NAME
IMA_NAME = hwtpm.IMA_NAME
TAMPER = tuple(hwtpm.TAMPER)


def service(host: str) -> str:
    return host + '/tpm'


def sock(lab: paths.Lab, host: str) -> pathlib.Path:
    """The TPM's socket; the host sees it as /run/hwtpm/sock."""
    return lab.host(host) / 'hwtpm' / 'sock'


def securityfs(lab: paths.Lab, host: str) -> pathlib.Path:
    """The host's logs; the host sees them in /run/securityfs."""
    return lab.host(host) / 'securityfs'


def _ca(lab: paths.Lab) -> pathlib.Path:
    return lab.data / 'tpm-ca'


def _state(lab: paths.Lab, host: str) -> pathlib.Path:
    return lab.host(host) / 'tpm'


def make_vendor(lab: paths.Lab) -> None:
    """Prepare the vendor's configuration, before any `make_tpm`."""
    hwtpm.make_vendor(_ca(lab))


def make_tpm(lab: paths.Lab, host: str) -> None:
    """Manufacture the host's TPM: RSA-2048 EK with certificate in NV."""
    state = _state(lab, host)
    if hwtpm.is_made(state):
        return
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(0o700)
    processes.run(
        lab,
        hwtpm.manufacture(
            _ca(lab) / 'setup.conf',
            state,
            host,
            lab.log / (host + '-tpm-setup.log'),
        ),
        'root',
    )


def scrap_tpm(lab: paths.Lab, host: str) -> None:
    """It is gone, with all that was sealed in it."""
    shutil.rmtree(_state(lab, host))


def ek_certificate(lab: paths.Lab, host: str) -> pathlib.Path:
    """The vendor's delivery note: the EK certificate (DER) of the TPM."""
    return hwtpm.ek_certificate(_state(lab, host))


def export_roots(lab: paths.Lab, target: pathlib.Path) -> None:
    """Copy the vendor's CA certificates, one PEM file each."""
    hwtpm.export_roots(_ca(lab), target)


def power_on(lab: paths.Lab, host: str) -> None:
    """Start the TPM and boot, every step measured."""
    path = sock(lab, host)
    path.unlink(missing_ok=True)
    processes.spawn(
        lab,
        service(host),
        [
            '/usr/bin/python3',
            str(pathlib.Path(tpmmux.__file__)),
            str(_state(lab, host)),
            str(path),
        ],
        'root',
    )
    processes.wait_for(lab, service(host), path.exists, 20)
    log = measured.UEFI_LOG.read_bytes()
    if host in paths.TAMPERED:
        log = measured.other_bootloader(log)
    try:
        with hwtpm.Client(path) as transmit:
            hwtpm.boot(
                transmit, securityfs(lab, host), log, measured.programs()
            )
    except hwtpm.TpmError as exc:
        raise ui.Problem(f'{host}: {exc}') from exc


def power_off(lab: paths.Lab, host: str) -> None:
    processes.stop(lab, [service(host)], grace=5)


def tamper(lab: paths.Lab, host: str, how: str) -> None:
    """Attack a running host; `how` is one of TAMPER."""
    try:
        with hwtpm.Client(sock(lab, host)) as transmit:
            hwtpm.TAMPER[how](transmit, securityfs(lab, host))
    except hwtpm.TpmError as exc:
        raise ui.Problem(f'{host}: {exc}') from exc
