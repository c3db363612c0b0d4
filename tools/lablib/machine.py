# SPDX-License-Identifier: Apache-2.0
"""A host's hardware: its TPM, and power on with a measured boot.

The TPM is a swtpm with an EK certificate from the lab's own CA. Power on
starts it (TPM Reset), plays the firmware's and the kernel's part by
extending the UEFI log and the IMA list, and leaves both where the host sees
them. Attackers' tools are here too.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import socket
import struct

from lablib import measured, paths, processes, tpmmux, ui

TPM_RC_SUCCESS = 0
TPM_CC_PCR_EXTEND = 0x182
UEFI_NAME = 'binary_bios_measurements'
IMA_NAME = 'binary_runtime_measurements'


def service(host: str) -> str:
    return host + '/tpm'


def sock(lab: paths.Lab, host: str) -> pathlib.Path:
    """The TPM's socket; the host sees it as /run/hwtpm/sock."""
    return lab.host(host) / 'hwtpm' / 'sock'


def securityfs(lab: paths.Lab, host: str) -> pathlib.Path:
    """The host's logs; the host sees them in /run/securityfs."""
    return lab.host(host) / 'securityfs'


# -- manufacture ----------------------------------------------------------

def _ca(lab: paths.Lab) -> pathlib.Path:
    """The lab's TPM vendor; swtpm_localca makes its keys at first use."""
    ca = lab.data / 'tpm-ca'
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
        f"create_certs_tool = {shutil.which('swtpm_localca')}\n"
        f"create_certs_tool_config = {ca}/localca.conf\n"
        f"create_certs_tool_options = {ca}/localca.options\n"
    )
    return ca


def make_vendor(lab: paths.Lab) -> None:
    """Prepare the vendor's configuration, before any `make_tpm`."""
    _ca(lab)


def make_tpm(lab: paths.Lab, host: str) -> None:
    """Manufacture the host's TPM: RSA-2048 EK with certificate in NV."""
    state = lab.host(host) / 'tpm'
    if (state / 'tpm2-00.permall').exists():
        return
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(0o700)
    processes.run(lab, [
        'swtpm_setup', '--tpm2', '--tpmstate', str(state), '--config',
        str(lab.data / 'tpm-ca/setup.conf'), '--create-ek-cert',
        '--lock-nvram', '--pcr-banks', 'sha256', '--overwrite',
        '--vmid', host, '--logfile', str(lab.log / (host + '-tpm-setup.log')),
        '--write-ek-cert-files', str(state),
    ], 'root')


def ek_certificate(lab: paths.Lab, host: str) -> pathlib.Path:
    """The vendor's delivery note: the EK certificate (DER) of the TPM."""
    return lab.host(host) / 'tpm' / 'ek-rsa2048.crt'


def export_roots(lab: paths.Lab, target: pathlib.Path) -> None:
    """Copy the vendor's CA certificates, one PEM file each."""
    target.mkdir(parents=True, exist_ok=True)
    for name in ('swtpm-localca-rootca-cert.pem', 'issuercert.pem'):
        shutil.copy(lab.data / 'tpm-ca' / name, target)


# -- power ----------------------------------------------------------------

def power_on(lab: paths.Lab, host: str) -> None:
    """Start the TPM and boot, every step measured."""
    path = sock(lab, host)
    path.unlink(missing_ok=True)
    processes.spawn(
        lab, service(host),
        ['/usr/bin/python3', str(pathlib.Path(tpmmux.__file__)),
         str(lab.host(host) / 'tpm'), str(path)], 'root',
    )
    processes.wait_for(lab, service(host), path.exists, 20)
    log = measured.UEFI_LOG.read_bytes()
    if host in paths.TAMPERED:
        log = measured.other_bootloader(log)
    firmware = measured.extensions(log)
    entries = [
        measured.boot_aggregate(measured.replay(firmware)),
        *measured.programs(),
    ]
    extend(lab, host, firmware + [entry.extension for entry in entries])
    logs = securityfs(lab, host)
    (logs / UEFI_NAME).write_bytes(log)
    (logs / IMA_NAME).write_bytes(b''.join(e.binary for e in entries))


def power_off(lab: paths.Lab, host: str) -> None:
    processes.stop(lab, [service(host)], grace=5)


# -- the TPM's command that matters here ----------------------------------

def extend(
    lab: paths.Lab, host: str, pairs: list[measured.Extension]
) -> None:
    """TPM2_PCR_Extend each digest (TPM 2.0 Part 3, 22.2); LabError."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(sock(lab, host)))
        for pcr, digest in pairs:
            client.sendall(_pcr_extend(pcr, digest))
            code = struct.unpack_from('>I', tpmmux.message(client), 6)[0]
            if code != TPM_RC_SUCCESS:
                raise ui.LabError(
                    f'PCR {pcr} of {host}: TPM error {code:#x}'
                )


def _pcr_extend(pcr: int, digest: bytes) -> bytes:
    password = struct.pack('>IHBH', 0x40000009, 0, 0, 0)
    body = (
        struct.pack('>I', pcr) + struct.pack('>I', len(password)) + password
        + struct.pack('>IH', 1, measured.SHA256) + digest
    )
    head = tpmmux.HEADER.pack(
        0x8002, tpmmux.HEADER.size + len(body), TPM_CC_PCR_EXTEND
    )
    return head + body


# -- attacks --------------------------------------------------------------

def tamper_boot(lab: paths.Lab, host: str) -> None:
    """Change PCR 4 behind the log: the state is another than attested."""
    extend(lab, host, [(4, os.urandom(32))])


def tamper_garbage(lab: paths.Lab, host: str) -> None:
    """Extend PCR 10 by something that the IMA list does not have."""
    extend(lab, host, [(measured.IMA_PCR, os.urandom(32))])


def tamper_runtime(lab: paths.Lab, host: str) -> None:
    """Run a program nobody knows: list and PCR 10 agree about it."""
    entry = measured.ImaEntry(
        os.urandom(32), '/usr/local/bin/' + os.urandom(4).hex()
    )
    with open(securityfs(lab, host) / IMA_NAME, 'ab') as log:
        log.write(entry.binary)
    extend(lab, host, [entry.extension])


TAMPER = {
    'boot': tamper_boot, 'runtime': tamper_runtime,
    'garbage': tamper_garbage,
}
