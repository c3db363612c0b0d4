# SPDX-License-Identifier: Apache-2.0
import hashlib
import re
import struct
import unittest

from korora_tools.lab import measured

LOG = measured.UEFI_LOG.read_bytes()
RECORDED = measured.UEFI_LOG.with_name('pcrread.txt').read_text()


def recorded() -> dict[int, bytes]:
    """The SHA-256 bank as the recorded machine's TPM had it."""
    bank = RECORDED.split('sha256:')[1].split('sha384')[0]
    return {
        int(pcr): bytes.fromhex(value)
        for pcr, value in re.findall(
            r'^\s+(\d+)\s*:\s*0x([0-9A-F]{64})', bank, re.M
        )
    }


class UefiLogTest(unittest.TestCase):
    def test_extensions_replay_to_the_recorded_registers(self) -> None:
        replayed = measured.replay(measured.extensions(LOG))
        self.assertEqual({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14}, set(replayed))
        for pcr, value in replayed.items():
            self.assertEqual(recorded()[pcr], value, pcr)

    def test_spec_id_header_and_no_action_are_not_extended(self) -> None:
        kinds = [event.kind for event in measured.events(LOG)]
        self.assertEqual(
            len(kinds) - kinds.count(measured.EV_NO_ACTION),
            len(measured.extensions(LOG)),
        )

    def test_other_bootloader_changes_pcr_4_and_nothing_else(self) -> None:
        changed = measured.other_bootloader(LOG)
        before = measured.replay(measured.extensions(LOG))
        after = measured.replay(measured.extensions(changed))
        self.assertEqual(
            {4}, {pcr for pcr in before if before[pcr] != after[pcr]}
        )
        self.assertEqual(len(LOG), len(changed))

    def test_other_bootloader_differs_in_every_bank(self) -> None:
        pairs = zip(
            measured.events(LOG),
            measured.events(measured.other_bootloader(LOG)),
            strict=True,
        )
        changed = [(a, b) for a, b in pairs if a.digests != b.digests]
        self.assertEqual(1, len(changed))
        before, after = changed[0]
        for algorithm in before.digests:
            self.assertNotEqual(
                before.digests[algorithm], after.digests[algorithm]
            )


class ImaTest(unittest.TestCase):
    def test_binary_entry_has_the_kernels_layout(self) -> None:
        entry = measured.ImaEntry(b'd' * 32, '/usr/bin/x')
        binary = entry.binary
        pcr, sha1, size = struct.unpack_from('<I20sI', binary)
        self.assertEqual((10, 6), (pcr, size))
        self.assertEqual(b'ima-ng', binary[28:34])
        data = binary[38:]
        self.assertEqual(len(data), struct.unpack_from('<I', binary, 34)[0])
        self.assertEqual(hashlib.sha1(data).digest(), sha1)
        self.assertEqual(
            struct.pack('<I', 40)
            + b'sha256:\0'
            + b'd' * 32
            + struct.pack('<I', 11)
            + b'/usr/bin/x\0',
            data,
        )
        self.assertEqual((10, hashlib.sha256(data).digest()), entry.extension)

    def test_boot_aggregate_covers_pcr_0_to_9(self) -> None:
        pcrs = {n: bytes([n]) * 32 for n in (0, 8, 9, 10, 14)}
        whole = b''.join(pcrs.get(n, bytes(32)) for n in range(10))
        entry = measured.boot_aggregate(pcrs)
        self.assertEqual('boot_aggregate', entry.path)
        self.assertEqual(hashlib.sha256(whole).digest(), entry.digest)

    def test_invented_programs_are_the_same_on_every_host(self) -> None:
        entries = measured.invented_programs()
        self.assertEqual(
            list(measured.PROGRAMS), [entry.path for entry in entries]
        )
        self.assertEqual(
            hashlib.sha256(b'/usr/sbin/libvirtd').digest(), entries[0].digest
        )

    def test_programs_are_files_of_this_machine(self) -> None:
        entries = measured.programs(limit=6)
        self.assertEqual(6, len(entries))
        for entry in entries:
            with open(entry.path, 'rb') as program:
                self.assertEqual(
                    hashlib.sha256(program.read()).digest(), entry.digest
                )
