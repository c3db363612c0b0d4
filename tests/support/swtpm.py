# SPDX-License-Identifier: Apache-2.0
"""Software TPMs that behave like hardware ones, for tests.

Manufacturing (``swtpm_setup`` with an EK certificate of a private local CA)
takes about a second, so it is done once per test process for each name; every
:class:`SwTpm` then runs on a copy of that state.  The factory's directory,
with the CA certificates, is removed when the process ends.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

from tpm2_pytss import ESAPI, constants, types

from korora_nova.rats import endorsement

_START_ATTEMPTS = 20


class Factory:
    """A manufacturer: one CA, any number of TPM models."""

    def __init__(self) -> None:
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix='korora-swtpm-'))
        atexit.register(shutil.rmtree, self.directory, ignore_errors=True)
        ca = self.directory / 'ca'
        ca.mkdir()
        (ca / 'localca.conf').write_text(
            f'statedir = {ca}\n'
            f'signingkey = {ca}/signkey.pem\n'
            f'issuercert = {ca}/issuercert.pem\n'
            f'certserial = {ca}/certserial\n'
        )
        (ca / 'localca.options').write_text(
            '--platform-manufacturer Korora\n'
            '--platform-version 2.1\n'
            '--platform-model QEMU\n'
        )
        (ca / 'setup.conf').write_text(
            'create_certs_tool = /usr/bin/swtpm_localca\n'
            f'create_certs_tool_config = {ca}/localca.conf\n'
            f'create_certs_tool_options = {ca}/localca.options\n'
            'active_pcr_banks = sha256\n'
        )
        self._ca = ca
        self._made: dict[str, pathlib.Path] = {}

    def roots(self) -> list[bytes]:
        """PEM certificates an EK certificate of this factory chains to."""
        self.state('A')
        names = ('swtpm-localca-rootca-cert.pem', 'issuercert.pem')
        return [
            (self._ca / name).read_bytes()
            for name in names
            if (self._ca / name).exists()
        ]

    def endorsers(self) -> endorsement.Endorsers:
        """The same for whoever verifies such a certificate."""
        return endorsement.Endorsers.read(
            {str(number): pem for number, pem in enumerate(self.roots())}
        )

    def state(self, name: str) -> pathlib.Path:
        """The directory with the state of the manufactured TPM ``name``."""
        if name not in self._made:
            state = self.directory / f'state-{name}'
            state.mkdir()
            subprocess.run(
                [
                    'swtpm_setup',
                    '--tpm2',
                    '--tpmstate',
                    str(state),
                    '--config',
                    str(self._ca / 'setup.conf'),
                    '--create-ek-cert',
                    '--lock-nvram',
                    '--pcr-banks',
                    'sha256',
                    '--overwrite',
                    '--vmid',
                    f'host{name}',
                ],
                check=True,
                capture_output=True,
            )
            self._made[name] = state
        return self._made[name]


@functools.cache
def factory() -> Factory:
    """The factory of this test process."""
    return Factory()


class SwTpm:
    """One running software TPM; ``tcti`` reaches it.

    :param name: model of the factory; the same name is the same EK.
    """

    def __init__(self, name: str = 'A') -> None:
        self.name = name
        self.directory = pathlib.Path(
            tempfile.mkdtemp(prefix=f'run-{name}-', dir=factory().directory)
        )
        source = factory().state(name) / 'tpm2-00.permall'
        shutil.copy(source, self.directory)
        # Ports would be anyone's between choosing and binding them
        self._socket = self.directory / 'sock'
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def tcti(self) -> str:
        """The TCTI string for tpm2-tss."""
        return f'swtpm:path={self._socket}'

    def start(self, *, resume: bool = False) -> None:
        """Power on: TPM2_Startup(CLEAR), or (STATE) after a suspend."""
        flags = 'not-need-init,' + (
            'startup-state' if resume else 'startup-clear'
        )
        for _ in range(_START_ATTEMPTS):
            self._process = subprocess.Popen(
                [
                    'swtpm',
                    'socket',
                    '--tpm2',
                    '--tpmstate',
                    f'dir={self.directory}',
                    '--server',
                    f'type=unixio,path={self._socket}',
                    '--ctrl',
                    f'type=unixio,path={self._socket}.ctrl',
                    '--flags',
                    flags,
                    '--seccomp',
                    'action=none',
                ],
                stderr=subprocess.DEVNULL,
            )
            if self._wait_until_listening(self._process):
                atexit.register(self.stop)
                return
        raise RuntimeError(f'swtpm {self.name} does not start')

    def _wait_until_listening(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and process.poll() is None:
            try:
                # Either may listen before the other does
                for path in (self._socket, f'{self._socket}.ctrl'):
                    with socket.socket(socket.AF_UNIX) as client:
                        client.connect(str(path))
                return True
            except OSError:
                time.sleep(0.02)
        if process.poll() is None:
            process.kill()
            process.wait()
        time.sleep(0.05)
        return False

    def kill(self) -> None:
        """Power off."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def reboot(self) -> None:
        """Power-cycle: a TPM Reset, PCRs to zero, resetCount + 1."""
        self.kill()
        self.start()

    def suspend_and_resume(self) -> None:
        """A TPM Resume: restartCount + 1, resetCount and PCRs stay."""
        with ESAPI(self.tcti) as esapi:
            esapi.shutdown(constants.TPM2_SU.STATE)
        self.kill()
        self.start(resume=True)

    def stop(self) -> None:
        """Power off and scrap the state."""
        self.kill()
        atexit.unregister(self.stop)
        shutil.rmtree(self.directory, ignore_errors=True)

    def extend(self, pcr: int, data: bytes) -> None:
        """Extend SHA-256 of ``data`` into a PCR as firmware would do."""
        self.extend_digest(pcr, hashlib.sha256(data).digest())

    def extend_digest(self, pcr: int, digest: bytes) -> None:
        """Extend a SHA-256 digest into a PCR."""
        values = types.TPML_DIGEST_VALUES(
            [
                types.TPMT_HA(
                    hashAlg=constants.TPM2_ALG.SHA256,
                    digest=types.TPMU_HA(sha256=digest),
                )
            ]
        )
        with ESAPI(self.tcti) as esapi:
            esapi.pcr_extend(
                pcr_handle=getattr(constants.ESYS_TR, f'PCR{pcr}'),
                digests=values,
            )

    def nv_write(
        self,
        index: int,
        data: bytes | None,
        attributes: int | None = None,
        size: int = 0,
    ) -> None:
        """Have an NV index as a maker does, in the place of another one.

        :param data: None: it is defined, and never written.
        :param attributes: TPMA_NV; default: anybody may read it.
        """
        self.nv_remove(index)
        nv = constants.TPMA_NV
        chosen = (
            nv.AUTHREAD | nv.OWNERREAD if attributes is None else attributes
        )
        area = types.TPMS_NV_PUBLIC(
            nvIndex=index,
            nameAlg=constants.TPM2_ALG.SHA256,
            attributes=chosen
            | nv.PPWRITE
            | nv.PPREAD
            | nv.NO_DA
            | nv.PLATFORMCREATE,
            dataSize=size or len(data or b'') or 512,
        )
        with ESAPI(self.tcti) as esapi:
            handle = esapi.nv_define_space(
                auth=b'',
                public_info=types.TPM2B_NV_PUBLIC(area),
                auth_handle=constants.ESYS_TR.PLATFORM,
            )
            for start in range(0, len(data or b''), 512):
                esapi.nv_write(
                    nv_index=handle,
                    data=(data or b'')[start : start + 512],
                    offset=start,
                    auth_handle=constants.ESYS_TR.PLATFORM,
                )

    def nv_remove(self, index: int) -> None:
        """Have no such NV index."""
        with ESAPI(self.tcti) as esapi:
            _more, data = esapi.get_capability(
                capability=constants.TPM2_CAP.HANDLES,
                prop=index,
                property_count=1,
            )
            if index in [int(one) for one in data.data.handles]:
                esapi.nv_undefine_space(
                    nv_index=esapi.tr_from_tpmpublic(index),
                    auth_handle=constants.ESYS_TR.PLATFORM,
                )

    def password(self, hierarchy: str, value: bytes) -> None:
        """Give a hierarchy that has no password one."""
        with ESAPI(self.tcti) as esapi:
            esapi.hierarchy_change_auth(
                auth_handle=getattr(constants.ESYS_TR, hierarchy.upper()),
                new_auth=value,
            )

    def evict(self, *handles: int) -> None:
        """Have no keys at these persistent handles."""
        with ESAPI(self.tcti) as esapi:
            _more, data = esapi.get_capability(
                capability=constants.TPM2_CAP.HANDLES,
                prop=0x81000000,
                property_count=254,
            )
            there = [int(one) for one in data.data.handles]
            for handle in set(handles).intersection(there):
                esapi.evict_control(
                    auth=constants.ESYS_TR.OWNER,
                    object_handle=esapi.tr_from_tpmpublic(handle),
                    persistent_handle=handle,
                )

    def occupy(self, *handles: int) -> None:
        """Have a key of somebody else at these persistent handles."""
        area = types.TPM2B_PUBLIC.parse(
            'ecc:ecdsa',
            objectAttributes='fixedtpm|fixedparent|sensitivedataorigin|'
            'userwithauth|sign',
            nameAlg='sha256',
        )
        with ESAPI(self.tcti) as esapi:
            made = esapi.create_primary(
                in_sensitive=None,
                in_public=area,
                primary_handle=constants.ESYS_TR.OWNER,
            )[0]
            try:
                for handle in handles:
                    esapi.evict_control(
                        auth=constants.ESYS_TR.OWNER,
                        object_handle=made,
                        persistent_handle=handle,
                    )
            finally:
                esapi.flush_context(made)

    def transient_objects(self) -> int:
        """How many transient objects and sessions occupy the TPM."""
        found = 0
        with ESAPI(self.tcti) as esapi:
            for first in (0x80000000, 0x02000000, 0x03000000):
                _more, data = esapi.get_capability(
                    capability=constants.TPM2_CAP.HANDLES,
                    prop=first,
                    property_count=32,
                )
                # data owns the memory that its handles point into
                found += len(list(data.data.handles))
        return found

    def __enter__(self) -> SwTpm:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
