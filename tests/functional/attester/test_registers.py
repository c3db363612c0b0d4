# SPDX-License-Identifier: Apache-2.0
"""Hosts whose IMA uses the SHA-1 bank, or more registers than PCR 10."""

from __future__ import annotations

import hashlib
import struct
from typing import Any
from unittest import mock

from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG
from tpm2_pytss.types import (
    TPML_DIGEST_VALUES,
    TPML_PCR_SELECTION,
    TPMT_HA,
    TPMU_HA,
)

from tests.support import hosts, ima_lists, simulator


class Sha1Test(hosts.HostsTestCase):
    """``ima_hash=sha1``, and the bank is on."""

    HOSTS = ('h1',)

    def setUp(self) -> None:
        super().setUp()
        with ESAPI(self.h1.hardware.tcti) as esapi:
            esapi.pcr_allocate(TPML_PCR_SELECTION.parse('sha1:all+sha256:all'))

    def boot(self, kernel: bytes = b'kernel') -> None:
        """The aggregate is of the SHA-1 bank, in which PCR 4 is extended."""
        digest = hashlib.sha1(kernel).digest()
        pcrs = [bytes(20)] * 8
        pcrs[4] = hashlib.sha1(bytes(20) + digest).digest()
        made = hashlib.sha1(b''.join(pcrs)).digest()
        real = simulator.ima_entry

        def entry(path: str, content: bytes | None) -> tuple[bytes, bytes]:
            if path != 'boot_aggregate':
                return real(path, content)
            self.extend(digest)
            data = ima_lists.field(b'sha1:\0' + made)
            data += ima_lists.field(path.encode() + b'\0')
            head = struct.pack('<I', 10) + hashlib.sha1(data).digest()
            return (
                head + ima_lists.field(b'ima-ng') + ima_lists.field(data),
                hashlib.sha256(data).digest(),
            )

        with mock.patch.object(simulator, 'ima_entry', entry):
            self.h1.reboot()

    def extend(self, digest: bytes) -> None:
        values = TPML_DIGEST_VALUES(
            [TPMT_HA(hashAlg=TPM2_ALG.SHA1, digest=TPMU_HA(sha1=digest))]
        )
        with ESAPI(self.h1.hardware.tcti) as esapi:
            esapi.pcr_extend(pcr_handle=ESYS_TR.PCR4, digests=values)

    def test_boot_aggregate(self) -> None:
        self.boot()
        self.assertEqual(60, self.h1.agent.attestation.step())
        host = self.admin.get_host('h1')
        self.assertEqual(('affirming', []), (host['tier'], host['reasons']))
        self.create(self.h1)
        self.extend(b'x' * 20)
        self.h1.agent.attestation.step()
        self.assertEqual(
            ['IMA_BOOT_AGGREGATE'], self.admin.get_host('h1')['reasons']
        )


class RegistersTest(hosts.HostsTestCase):
    """``pcr=4`` in a rule of the IMA policy, for what kexec loads."""

    def measure(self, machine: hosts.Machine, path: str) -> None:
        known = hashlib.sha256(b'/usr/bin/swtpm').digest()
        entry, extension = simulator.ima_entry(
            path, known if path.startswith('/boot') else None
        )
        with (machine.directory / 'ima').open('ab') as log:
            log.write(struct.pack('<I', 4) + entry[4:])
        machine.hardware.extend_digest(4, extension)

    def tier(self, name: str) -> Any:
        self.machines[name].agent.attestation.step()
        host = self.admin.get_host(name)
        return host['tier'], host['reasons']

    def test_servers_go_on(self) -> None:
        """A new kernel was loaded: PCR 4 moves, the boot is the same."""
        self.create(self.h1)
        for number in range(2):
            self.measure(self.h1, f'/boot/vmlinuz-{number}')
            self.assertEqual(('affirming', []), self.tier('h1'))
        self.measure(self.h2, '/boot/vmlinuz')
        self.migrate(self.h1, self.h2)
        self.assertEqual('h2', self.ledger()['holder'])
        self.measure(self.h2, '/tmp/vmlinuz')
        self.assertEqual(
            ('contraindicated', ['IMA_UNKNOWN_FILE']), self.tier('h2')
        )
