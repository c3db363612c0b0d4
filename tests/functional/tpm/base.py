# SPDX-License-Identifier: Apache-2.0
"""A test case with as many software TPMs as it asks for."""

from __future__ import annotations

import testtools

from korora_nova.tpm import device, keys
from tests.support import swtpm

FIRMWARE = (0, 2, 4, 7, 9, 14)


class Machine:
    """A host as far as its TPM is concerned: boot state and identity."""

    def __init__(self, name: str, firmware: bytes = b'firmware 1') -> None:
        self.hardware = swtpm.SwTpm(name)
        self.hardware.start()
        self.measure(firmware)
        self.tpm = device.Tpm(self.hardware.tcti)
        with self.tpm.operation() as operation:
            self.identity = keys.provision(operation)

    def measure(self, firmware: bytes) -> None:
        """What firmware extends into the PCRs when it boots."""
        for pcr in FIRMWARE:
            self.hardware.extend(pcr, firmware + bytes([pcr]))

    def reboot(self, firmware: bytes = b'firmware 1') -> None:
        self.hardware.reboot()
        self.measure(firmware)


class TpmTestCase(testtools.TestCase):
    """Each machine is scrapped when the test ends."""

    def machine(self, name: str = 'A') -> Machine:
        machine = Machine(name)
        self.addCleanup(machine.hardware.stop)
        return machine

    def assert_empty(self, machine: Machine) -> None:
        """Nothing stays loaded in the TPM."""
        self.assertEqual(0, machine.hardware.transient_objects())
