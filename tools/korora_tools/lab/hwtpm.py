# SPDX-License-Identifier: Apache-2.0
"""A software TPM in place of a hardware TPM, and a measured boot on it.

Made by a vendor (a CA of its own, swtpm_localca), soldered to a machine,
reset at power on; then firmware and kernel measure what they start. Nothing
here knows the lab: the DevStack plugin uses it, too. Standard library only.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import socket
import struct
from collections.abc import Callable, Iterable, Sequence

from korora_tools.lab import measured, tpmmux

TPM_RC_SUCCESS = 0
TPM_CC_PCR_EXTEND = 0x182
UEFI_NAME = 'binary_bios_measurements'
IMA_NAME = 'binary_runtime_measurements'
ROOTS = ('swtpm-localca-rootca-cert.pem', 'issuercert.pem')

Transmit = Callable[[bytes], bytes]


class TpmError(Exception):
    """The TPM answered with an error."""


# -- manufacture ----------------------------------------------------------


def make_vendor(ca: pathlib.Path) -> pathlib.Path:
    """Configure a vendor; swtpm_localca makes its keys at first use.

    :returns: the configuration for :func:`manufacture`.
    """
    ca.mkdir(parents=True, exist_ok=True)
    (ca / 'localca.conf').write_text(
        f'statedir = {ca}\nsigningkey = {ca}/signkey.pem\n'
        f'issuercert = {ca}/issuercert.pem\ncertserial = {ca}/certserial\n'
    )
    (ca / 'localca.options').write_text(
        '--platform-manufacturer Korora\n--platform-version 1\n'
        '--platform-model Lab\n'
    )
    (ca / 'setup.conf').write_text(
        f'create_certs_tool = {shutil.which("swtpm_localca")}\n'
        f'create_certs_tool_config = {ca}/localca.conf\n'
        f'create_certs_tool_options = {ca}/localca.options\n'
    )
    return ca / 'setup.conf'


def manufacture(
    setup: pathlib.Path, state: pathlib.Path, name: str, log: pathlib.Path
) -> list[str]:
    """The command that makes a TPM: RSA-2048 EK with certificate in NV.

    :param setup: of the vendor.
    :param state: an existing directory, the TPM's own.
    """
    return [
        'swtpm_setup',
        '--tpm2',
        '--tpmstate',
        str(state),
        '--config',
        str(setup),
        '--create-ek-cert',
        '--lock-nvram',
        '--pcr-banks',
        'sha256',
        '--overwrite',
        '--vmid',
        name,
        '--logfile',
        str(log),
        '--write-ek-cert-files',
        str(state),
    ]


def is_made(state: pathlib.Path) -> bool:
    return (state / 'tpm2-00.permall').exists()


def ek_certificate(state: pathlib.Path) -> pathlib.Path:
    """The vendor's delivery note: the EK certificate (DER) of the TPM."""
    return state / 'ek-rsa2048.crt'


def export_roots(ca: pathlib.Path, target: pathlib.Path) -> None:
    """Copy the vendor's CA certificates, one PEM file each."""
    target.mkdir(parents=True, exist_ok=True)
    for name in ROOTS:
        shutil.copy(ca / name, target)


# -- power on -------------------------------------------------------------


def boot(
    transmit: Transmit,
    logs: pathlib.Path,
    firmware_log: bytes,
    programs: Sequence[measured.ImaEntry],
) -> None:
    """Measure a boot into a TPM that was reset, and leave both logs.

    :raises TpmError: the TPM refused.
    """
    firmware = measured.extensions(firmware_log)
    entries = [measured.boot_aggregate(measured.replay(firmware)), *programs]
    extend(transmit, firmware + [entry.extension for entry in entries])
    (logs / UEFI_NAME).write_bytes(firmware_log)
    (logs / IMA_NAME).write_bytes(b''.join(e.binary for e in entries))


def extend(transmit: Transmit, pairs: Iterable[measured.Extension]) -> None:
    """TPM2_PCR_Extend each digest (TPM 2.0 Part 3, 22.2)."""
    for pcr, digest in pairs:
        answer = transmit(_pcr_extend(pcr, digest))
        code = struct.unpack_from('>I', answer, 6)[0]
        if code != TPM_RC_SUCCESS:
            raise TpmError(f'PCR {pcr}: TPM error {code:#x}')


def _pcr_extend(pcr: int, digest: bytes) -> bytes:
    password = struct.pack('>IHBH', 0x40000009, 0, 0, 0)
    body = (
        struct.pack('>I', pcr)
        + struct.pack('>I', len(password))
        + password
        + struct.pack('>IH', 1, measured.SHA256)
        + digest
    )
    head = tpmmux.HEADER.pack(
        0x8002, tpmmux.HEADER.size + len(body), TPM_CC_PCR_EXTEND
    )
    return head + body


class Client:
    """A connection to a running TPM's socket."""

    def __init__(self, path: pathlib.Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.connect(str(path))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self._sock.close()

    def __call__(self, command: bytes) -> bytes:
        self._sock.sendall(command)
        return tpmmux.message(self._sock)


# -- attacks --------------------------------------------------------------


def tamper_boot(transmit: Transmit, logs: pathlib.Path) -> None:
    """Extend PCR 4 but not the log: the state is not the one attested."""
    extend(transmit, [(4, os.urandom(32))])


def tamper_garbage(transmit: Transmit, logs: pathlib.Path) -> None:
    """Extend PCR 10 by something that the IMA list does not have."""
    extend(transmit, [(measured.IMA_PCR, os.urandom(32))])


def tamper_runtime(transmit: Transmit, logs: pathlib.Path) -> None:
    """Run a program nobody knows: list and PCR 10 agree about it."""
    entry = measured.ImaEntry(
        os.urandom(32), '/usr/local/bin/' + os.urandom(4).hex()
    )
    with open(logs / IMA_NAME, 'ab') as log:
        log.write(entry.binary)
    extend(transmit, [entry.extension])


TAMPER = {
    'boot': tamper_boot,
    'runtime': tamper_runtime,
    'garbage': tamper_garbage,
}
