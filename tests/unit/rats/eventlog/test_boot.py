# SPDX-License-Identifier: Apache-2.0
"""Boot options and components: by hand and from recorded boots."""

import unittest

from korora_nova import errors
from korora_nova.rats import eventlog
from korora_nova.rats.eventlog import components, facts
from tests.support import simulator as sim
from tests.support import uefilog as raw
from tests.support.uefilog import (
    BOOT,
    IMAGE,
    IPL,
    boot,
    event,
    file_path,
    measured,
    separator,
    variable,
)


def utf16(text):
    return (text + '\0').encode('utf-16-le')


def recorded(vector):
    log = eventlog.parse(sim.recorded_log(vector))
    return log.compare(log.replay()).boot


class OptionTest(unittest.TestCase):
    def variable(self, name, value, whole=False, pcr=1):
        data = variable(name, value)
        return measured(pcr, BOOT, data, of=data if whole else value)

    def test_order_and_options(self):
        path = raw.path_node(4, 4, utf16('\\EFI\\x.efi')) + raw.END
        option = raw.load_option('Debian', path)
        for whole in (True, False):
            for pcr in (1, 5):
                state = boot(
                    self.variable('BootOrder', b'\2\0\1\0', whole, pcr),
                    self.variable('Boot0002', option, whole, pcr),
                    separator(pcr),
                )
                self.assertEqual(
                    ((2, 1), True),
                    (state.boot_order, state.boot_order_verified),
                )
                self.assertEqual(
                    (
                        eventlog.BootOption(
                            2, 'Debian', '\\EFI\\x.efi', True, True
                        ),
                    ),
                    state.boot_options,
                )
                self.assertEqual((), state.components)

    def test_hidden_option(self):
        state = boot(
            self.variable('Boot00Af', raw.load_option('Off', raw.END, 0x108)),
            separator(1),
        )
        self.assertEqual(
            (eventlog.BootOption(0xAF, 'Off', '', False, True),),
            state.boot_options,
        )

    def test_behind_the_separator_or_without_one(self):
        order = self.variable('BootOrder', b'\1\0')
        option = self.variable('Boot0001', raw.load_option('x'))
        for records in ((separator(1), order, option), (order, option)):
            state = boot(*records)
            self.assertEqual((1,), state.boot_order)
            self.assertFalse(state.boot_order_verified)
            self.assertFalse(state.boot_options[0].verified)

    def test_data_that_does_not_match(self):
        state = boot(
            event(1, BOOT, b'd' * 32, variable('BootOrder', b'\1\0')),
            separator(1),
        )
        self.assertFalse(state.boot_order_verified)
        self.assertEqual(1, len(state.components))

    def test_contradicting_orders(self):
        one = self.variable('BootOrder', b'\1\0')
        state = boot(one, one, separator(1))
        self.assertTrue(state.boot_order_verified)
        state = boot(one, self.variable('BootOrder', b'\2\0'), separator(1))
        self.assertEqual(
            ((1,), False), (state.boot_order, state.boot_order_verified)
        )

    def test_malformed(self):
        state = boot(
            self.variable('BootOrder', b'\1\0\1'),
            self.variable('Boot0001', b'\1'),
            self.variable('Boot0002', raw.load_option('x', b'p' * 9)[:-1]),
            self.variable('Boot0003', b'\1\0\0\0\0\0x\0y'),
            separator(1),
        )
        self.assertFalse(state.boot_order_verified)
        self.assertEqual(
            [False, False, True],
            [item.verified for item in state.boot_options],
        )

    def test_another_vendors_variable_is_a_component(self):
        data = variable('BootOrder', b'\1\0', raw.SHIM)
        state = boot(measured(1, BOOT, data), separator(1))
        self.assertEqual((), state.boot_order)
        self.assertEqual('BootOrder', state.components[0].name)


class ComponentTest(unittest.TestCase):
    def one(self, pcr, kind, data):
        (item,) = boot(measured(pcr, kind, data, b'content')).components
        return item.kind, item.name, item.path

    def test_firmware(self):
        blob = (0x820000).to_bytes(8, 'little') + (16).to_bytes(8, 'little')
        self.assertEqual(
            ('firmware', '0x820000+0x10', ''), self.one(0, 0x80000008, blob)
        )
        self.assertEqual(
            ('firmware', 'Fv(X)', ''),
            self.one(0, 0x8000000A, b'\5Fv(X)' + blob),
        )
        self.assertEqual(
            ('firmware', 'POST CODE', ''), self.one(0, 1, b'POST CODE')
        )
        self.assertEqual(
            ('firmware', 'EV_EFI_PLATFORM_FIRMWARE_BLOB2', ''),
            self.one(0, 0x8000000A, b''),
        )
        self.assertEqual(
            ('configuration', 'GCE NonHostInfo', ''),
            self.one(3, 0x11, b'GCE NonHostInfo\0'),
        )

    def test_configuration_of_qemu(self):
        data = b'QEMU FW CFG\0' + b'BootMenu'.ljust(56, b'\0')
        self.assertEqual(
            ('configuration', 'QEMU FW CFG BootMenu', ''),
            self.one(1, 0xA, data),
        )
        for data in (
            b'AB\0\0CD\0',
            b'QEMU FW CFG\0Boot\0Menu',
            b'QEMU FW CFG\0Boot\1Menu',
        ):
            self.assertEqual(
                'EV_PLATFORM_CONFIG_FLAGS', self.one(1, 0xA, data)[1]
            )

    def test_crtm_version(self):
        (item,) = boot(measured(0, 8, utf16('1.2.3'))).components
        self.assertEqual(('firmware', '1.2.3'), (item.kind, item.version))
        (item,) = boot(measured(0, 8, raw.OWNER.bytes_le)).components
        self.assertEqual(
            ('firmware', str(raw.OWNER)), (item.kind, item.version)
        )
        for unknown in (b'', bytes(2), b'\1\2\3'):
            (item,) = boot(measured(0, 8, unknown)).components
            self.assertEqual('', item.version)

    def test_tables_and_partitions(self):
        tables = (
            (1).to_bytes(8, 'little')
            + raw.uuid.UUID('eb9d2d31-2d88-11d3-9a16-0090273fc14d').bytes_le
            + bytes(8)
        )
        self.assertEqual('SMBIOS', self.one(1, 0x80000009, tables)[1])
        self.assertEqual('X', self.one(1, 0x8000000B, b'\1X' + tables)[1])
        disk = b'EFI PART'.ljust(56, b'\0') + raw.OWNER.bytes_le
        self.assertEqual(f'GPT {raw.OWNER}', self.one(5, 0x80000006, disk)[1])
        self.assertEqual('GPT', self.one(5, 0x80000006, b'EFI PART')[1])

    def test_images(self):
        path = (
            raw.path_node(
                4,
                3,
                raw.uuid.UUID('55c5d1f8-04cd-46b5-8a20-e56cbb3052d0').bytes_le,
            )
            + raw.END
        )
        self.assertEqual('kernel', self.one(4, IMAGE, raw.image(path))[0])
        path = file_path('\\EFI\\Linux\\debian-6.1.0-42-amd64.efi') + raw.END
        (item,) = boot(measured(4, IMAGE, raw.image(path), b'x')).components
        self.assertEqual(
            ('application', 'debian-6.1.0-42-amd64.efi', '6.1.0-42-amd64'),
            (item.kind, item.name, item.version),
        )
        self.assertEqual('driver', self.one(2, 0x80000004, raw.image(path))[0])
        for data in (
            b'',
            raw.image(path)[:40],
            raw.image()[:24] + b'\xff' * 8,
        ):
            self.assertEqual('application', self.one(4, IMAGE, data)[0])

    def test_spdm(self):
        path = raw.path_node(1, 1, b'\0\1') + raw.END
        told = len(path).to_bytes(8, 'little') + path
        one = (
            b'SPDM Device Sec\0'
            + bytes(12)
            + b'\1\1'
            + (3).to_bytes(2, 'little')
            + b'abc'
            + told
        )
        two = b'SPDM Device Sec2' + bytes(28) + told
        for data in (one, two):
            self.assertEqual(
                ('firmware', 'EV_EFI_SPDM_FIRMWARE_BLOB', 'Pci(0x1,0x0)'),
                self.one(2, 0x800000E1, data),
            )
        self.assertEqual('', self.one(2, 0x800000E1, one[:33])[2])

    def test_names_are_printable_and_short(self):
        (item,) = boot(
            measured(9, IPL, b'/' + b'\x1b' * 4000, b'x')
        ).components
        self.assertTrue(item.name.isprintable())
        self.assertLessEqual(len(item.name), components.MAX_NAME)
        self.assertLessEqual(len(item.path), components.MAX_PATH)

    def test_versions(self):
        for name, want in (
            ('vmlinuz-6.1.0-42-amd64', '6.1.0-42-amd64'),
            ('vmlinuz-5.14.0-503.el9.x86_64', '5.14.0-503.el9.x86_64'),
            ('linux-6.1.efi', '6.1'),
            ('vmlinuz', ''),
            ('arch-6.9.1-arch1.efi', '6.9.1-arch1'),
            ('grubx64.efi', ''),
            ('BOOTX64.EFI', ''),
        ):
            self.assertEqual(want, components.version(name))


class CompleteTest(unittest.TestCase):
    """No label hides a digest."""

    def test_every_digest_is_somewhere(self):
        for pcr in range(16):
            for kind in (
                1,
                4,
                5,
                6,
                13,
                0x11,
                IMAGE,
                0x80000001,
                BOOT,
                0x80000007,
                0x800000E0,
                0x41A,
            ):
                for data in (
                    b'',
                    bytes(4),
                    b'text\0',
                    variable('Boot0001', b''),
                ):
                    state = boot(
                        event(pcr, kind, b'\7' * 32, data), separator(pcr)
                    )
                    found = ('sha256:' + '07' * 32) in {
                        item.digest for item in state.components
                    }
                    listed = [
                        item
                        for item in state.command_lines
                        if not item.verified
                    ]
                    self.assertTrue(found or listed)

    def test_too_many(self):
        order = variable('BootOrder', bytes(2 * facts.MAX_FACTS + 2))
        lists = variable(
            'dbx',
            raw.signature_list(raw.IMAGE_HASH, *[b'1' * 32] * 9000),
            raw.SECURITY,
        )
        text = b'grub_cmd: ' + b'a' * 60000
        for records in (
            event(9) * (facts.MAX_FACTS + 1),
            measured(1, BOOT, order),
            measured(7, raw.SB, lists) * 2,
            measured(8, IPL, text, text[10:]) * 70,
        ):
            with self.assertRaises(errors.EvidenceError) as caught:
                boot(records)
            self.assertEqual('UEFI_LOG_MALFORMED', caught.exception.reason)


class RecordedTest(unittest.TestCase):
    def test_secure_boot(self):
        state = recorded('secure-boot')
        self.assertIs(True, state.secure_boot)
        self.assertEqual(
            [('PK', 1), ('KEK', 2), ('db', 2), ('dbx', 1)],
            [(item.name, len(item.entries)) for item in state.databases],
        )
        self.assertTrue(all(item.verified for item in state.databases))
        self.assertEqual(
            [
                (
                    'db',
                    'CN=Microsoft Corporation UEFI CA 2011,'
                    'O=Microsoft Corporation,L=Redmond,ST=Washington,C=US',
                ),
                ('MokListRT', 'CN=Debian Secure Boot CA'),
            ],
            [
                (item.variable, item.entry.subject)
                for item in state.authorities
            ],
        )
        self.assertEqual(
            {'SbatLevel': 'sbat,1,2025021800\nshim,4\ngrub,5\n'},
            state.variables,
        )
        self.assertEqual(
            ((1, 0, 2), True), (state.boot_order, state.boot_order_verified)
        )
        self.assertEqual(
            [('/vmlinuz console=ttyS0 panic=1 evdump=1', True)],
            [(item.text, item.verified) for item in state.command_lines],
        )
        self.assertEqual(
            ['BOOTX64.EFI', 'grubx64.efi', 'vmlinuz', 'vmlinuz'],
            [item.name for item in state.components if item.pcr == 4],
        )
        self.assertEqual(
            'PciRoot(0x0)/Pci(0x1,0x1)/Pci(0x0,0x0)/\\EFI\\BOOT\\BOOTX64.EFI',
            [item.path for item in state.components if item.pcr == 4][0],
        )
        self.assertEqual(9, len(state.commands))
        self.assertTrue(all(item.verified for item in state.commands))

    def test_direct_kernel(self):
        state = recorded('direct-kernel')
        self.assertIs(False, state.secure_boot)
        self.assertEqual(
            [('kernel', 4), ('initrd', 9)],
            [
                (item.kind, item.pcr)
                for item in state.components
                if item.kind in ('kernel', 'initrd')
            ],
        )
        self.assertEqual(
            [('', False)],
            [(item.text, item.verified) for item in state.command_lines],
        )
