# SPDX-License-Identifier: Apache-2.0
"""A TPM in software in the place of the agent's, as far as it attests.

What it signs is real: TPMS_ATTEST by an attestation key of its own. The
structures are those of the tests' TPM, so that no code under test makes what
it is to judge.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import threading
import types
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from korora_nova.attester.collect import Logs
from korora_nova.custody import bodies, transcript
from korora_nova.rats import evidence
from tests.support import simulator

#: Recorded boots: the one that is wanted, and another one.
GOOD, OTHER = 'shim-grub', 'shim-grub-insecure'


@functools.cache
def _recorded(vector: str) -> tuple[dict[int, bytes], bytes]:
    return simulator.recorded_pcrs(vector), simulator.recorded_log(vector)


class Machine(simulator.SimHost):
    """One machine: a TPM that booted, a firmware log, an IMA list.

    It is the agent's ``Tpm``, its ``Operation``, and the ``esys`` of that,
    one operation at a time; and the agent's ``Collector``.

    :ivar hidden: bytes at the end of the list that it keeps to itself.
    :ivar wholes: how often the list was read from its beginning.
    :ivar ak: its own attestation key, whatever signs at the moment.
    """

    def __init__(self, name: str, vendor: Any) -> None:
        self._lock = threading.RLock()
        self.hidden = self.wholes = 0
        super().__init__(name, GOOD)
        self.ak = self.tpm.ak
        self.ek = ec.generate_private_key(ec.SECP256R1())
        self.ek_public = simulator.ecc_ek(self.ek.public_key())
        self.ek_cert = vendor.certify(self.ek.public_key())

    def _boot(self) -> None:
        values, self.uefi_log = _recorded(self.vector)
        for index in (*range(10), *range(11, 16)):
            self.tpm.pcrs[index] = values[index]
        self.ima_log = b''
        aggregate = b''.join(values[index] for index in range(10))
        self.measure('boot_aggregate', hashlib.sha256(aggregate).digest())

    def boot(self, vector: str) -> None:
        """Power-cycle into a recorded boot."""
        with self._lock:
            self.vector, self.hidden = vector, 0
            self.reboot()

    def run(self, path: str) -> None:
        """IMA measures a file before it runs."""
        with self._lock:
            self.measure(path)

    def activate(self, credential: bytes, secret: bytes) -> bytes:
        """TPM2_ActivateCredential."""
        return simulator.activate_ecc(
            self.ek, self.tpm.ak_name, credential, secret, 'sha256'
        )

    # korora_nova.tpm.device.Tpm

    def reclaim(self) -> None:
        """Nothing of an earlier process is left."""

    @contextlib.contextmanager
    def operation(self) -> Iterator[Machine]:
        with self._lock:
            yield self

    @property
    def esys(self) -> Machine:
        return self

    def pcr_read(self, selection: Any) -> tuple[int, None, list[bytes]]:
        wanted = int.from_bytes(bytes(selection.marshal())[-3:], 'little')
        pcrs = self.tpm.pcrs
        return 0, None, [pcrs[n] for n in range(24) if wanted >> n & 1]

    def quote(self, qualifying_data: bytes, **_: Any) -> tuple[Any, Any]:
        quoted = self.tpm.quote(qualifying_data)
        return (
            types.SimpleNamespace(attestationData=quoted.attest),
            types.SimpleNamespace(marshal=lambda: quoted.signature),
        )

    # korora_nova.attester.collect.Collector

    def read(self, ima_offset: int = 0, dropped: int = 0) -> Logs:
        with self._lock:
            shown = self.ima_log[: len(self.ima_log) - self.hidden]
            if ima_offset > len(shown):
                ima_offset = 0
            if not ima_offset:
                self.wholes += 1
            return Logs(self.uefi_log, shown[ima_offset:], ima_offset)

    def sha1(self) -> bool:
        return False

    def part(self, offset: int, dropped: int = 0) -> bytes:
        return b''

    # Hand-over

    def migration_key(
        self, challenge: bytes, asked: bodies.Receive
    ) -> bodies.Receive:
        """Make and certify a migration storage key, for this body."""
        plan = (asked.migration, asked.instance, asked.source)
        with self._lock:
            public, creation, _, _ = self.tpm.create_msk(
                transcript.msk_outside_info(challenge, *plan, self.name), b''
            )
            qualifying = evidence.qualify(
                challenge,
                'receive-key',
                self.name,
                bodies.receive_key_body(*plan, public),
            )
            attest = self._certified(public, creation, qualifying)
            signature = self.tpm.sign(attest)
        return dataclasses.replace(
            asked,
            msk_public=public,
            creation_data=creation,
            creation_attest=attest,
            creation_signature=signature,
        )

    def _certified(
        self, public: bytes, creation: bytes, qualifying: bytes
    ) -> bytes:
        """TPM2_CertifyCreation."""
        kept = self.tpm.fields
        self.tpm.fields = dataclasses.replace(kept, kind=0x801A)
        try:
            return self.tpm.attest(
                qualifying,
                simulator.sized(simulator.name_of(public))
                + simulator.sized(hashlib.sha256(creation).digest()),
            )
        finally:
            self.tpm.fields = kept


@dataclasses.dataclass(frozen=True)
class Identity:
    """What the agent uses of its keys."""

    machine: Machine

    @property
    def ak_name(self) -> bytes:
        return self.machine.tpm.ak_name

    def ak(self, operation: object) -> None:
        """This TPM has one."""
