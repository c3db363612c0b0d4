# SPDX-License-Identifier: Apache-2.0
import struct
import unittest
import uuid

import hypothesis
from hypothesis import strategies as st

from korora_nova.rats.eventlog import devicepath
from tests.support.uefilog import END, file_path, path_node

GUID = uuid.UUID('12345678-9abc-def0-1122-334455667788')
TEXT = str(GUID).upper()


class DevicePathTest(unittest.TestCase):
    def shown(self, want, kind, sub, body):
        self.assertEqual(
            want, devicepath.render(path_node(kind, sub, body) + END)
        )

    def test_hardware_and_acpi(self):
        self.shown('Pci(0x1F,0x2)', 1, 1, b'\2\x1f')
        self.shown(
            'MemoryMapped(0xB,0x1000,0x1FFF)',
            1,
            3,
            struct.pack('<IQQ', 11, 0x1000, 0x1FFF),
        )
        self.shown(f'VenHw({TEXT})', 1, 4, GUID.bytes_le)
        self.shown(f'VenHw({TEXT},0102)', 1, 4, GUID.bytes_le + b'\1\2')
        self.shown('Ctrl(0x5)', 1, 5, b'\5\0\0\0')
        self.shown('PciRoot(0x1)', 2, 1, b'\xd0\x41\x03\x0a\1\0\0\0')
        self.shown('PcieRoot(0x0)', 2, 1, b'\xd0\x41\x08\x0a\0\0\0\0')
        self.shown('Acpi(PNP0C02,0x3)', 2, 1, b'\xd0\x41\x02\x0c\3\0\0\0')
        self.shown(
            'AcpiEx(ACPI0004,@@@0000,0x0)', 2, 2, bytes(12) + b'ACPI0004\0\0\0'
        )
        self.shown('AcpiAdr(0x80010100)', 2, 3, b'\0\1\1\x80')

    def test_messaging(self):
        self.shown('Sata(0x1,0xFFFF,0x0)', 3, 18, b'\1\0\xff\xff\0\0')
        self.shown(
            'NVMe(0x1,08-07-06-05-04-03-02-01)',
            3,
            23,
            b'\1\0\0\0\1\2\3\4\5\6\7\x08',
        )
        self.shown('USB(0x3,0x0)', 3, 5, b'\3\0')
        self.shown('Scsi(0x1,0x2)', 3, 2, b'\1\0\2\0')
        self.shown('Ata(Secondary,Master,0x0)', 3, 1, b'\1\0\0\0')
        self.shown(
            'MAC(525400123456,0x1)',
            3,
            11,
            bytes.fromhex('525400123456').ljust(32, b'\0') + b'\1',
        )
        self.shown(
            'IPv4(10.0.0.1,10.0.0.2)',
            3,
            12,
            b'\x0a\0\0\2\x0a\0\0\1' + bytes(15),
        )
        self.shown(
            'IPv6(::1,::2)',
            3,
            13,
            bytes(15) + b'\2' + bytes(15) + b'\1' + bytes(8),
        )
        self.shown('Uri(http://x/y)', 3, 24, b'http://x/y')
        self.shown('Uri()', 3, 24, b'')
        self.shown('Unit(0x4)', 3, 17, b'\4')
        self.shown(
            'UsbWwid(0x8086,0x1,0x0,"serial")',
            3,
            16,
            b'\0\0\x86\x80\1\0' + 'serial'.encode('utf-16-le'),
        )

    def test_media(self):
        self.shown(
            f'HD(1,GPT,{TEXT},0x800,0x100000)',
            4,
            1,
            struct.pack('<IQQ16sBB', 1, 0x800, 0x100000, GUID.bytes_le, 2, 2),
        )
        self.shown(
            'HD(2,MBR,0x12345678,0x800,0x10)',
            4,
            1,
            struct.pack(
                '<IQQ16sBB', 2, 0x800, 0x10, b'\x78\x56\x34\x12', 1, 1
            ),
        )
        self.shown(
            'HD(3,None,0,0x0,0x0)',
            4,
            1,
            struct.pack('<IQQ16sBB', 3, 0, 0, b'', 0, 0),
        )
        self.shown('CDROM(0x1,0x2,0x3)', 4, 2, struct.pack('<IQQ', 1, 2, 3))
        self.shown(f'VenMedia({TEXT})', 4, 3, GUID.bytes_le)
        self.shown('\\EFI\\x.efi', 4, 4, '\\EFI\\x.efi\0'.encode('utf-16-le'))
        self.shown(f'FvFile({TEXT})', 4, 6, GUID.bytes_le)
        self.shown(f'Fv({TEXT})', 4, 7, GUID.bytes_le)
        self.shown(
            'Offset(0x10,0x20)', 4, 8, bytes(4) + struct.pack('<QQ', 16, 32)
        )
        self.shown(
            f'RamDisk(0x1,0x2,0,{TEXT})',
            4,
            9,
            struct.pack('<QQ16sH', 1, 2, GUID.bytes_le, 0),
        )
        self.shown('BBS(HD,disk)', 5, 1, b'\2\0\0\0disk\0')

    def test_unknown_and_malformed_nodes(self):
        self.shown('Path(9,1,AB)', 9, 1, b'\xab')
        self.shown('Path(1,1,01)', 1, 1, b'\1')
        self.shown('Path(4,1,01)', 4, 1, b'\1')
        self.assertEqual('', devicepath.render(b''))
        self.assertEqual('', devicepath.render(END))
        self.assertEqual('...', devicepath.render(b'\1'))
        self.assertEqual('...', devicepath.render(b'\1\1\3\0'))
        self.assertEqual('...', devicepath.render(b'\1\1\x07\0ab'))

    def test_joined(self):
        path = path_node(1, 1, b'\0\1') + file_path('\\a')
        self.assertEqual('Pci(0x1,0x0)/\\a', devicepath.render(path + END))
        self.assertEqual('Pci(0x1,0x0)/\\a', devicepath.render(path))
        two = path + path_node(0x7F, 1, b'') + path + END
        self.assertEqual(
            'Pci(0x1,0x0)/\\a,Pci(0x1,0x0)/\\a', devicepath.render(two)
        )

    def test_too_many_nodes(self):
        text = devicepath.render(path_node(1, 1, b'\0\1') * 1000)
        self.assertTrue(text.endswith('/...'))
        self.assertEqual(devicepath.MAX_NODES, text.count('/'))

    @hypothesis.given(
        st.lists(
            st.tuples(
                st.integers(0, 6), st.integers(0, 30), st.binary(max_size=40)
            )
        ),
        st.binary(max_size=8),
    )
    @hypothesis.settings(deadline=None, database=None, max_examples=500)
    def test_always_text(self, nodes, tail):
        data = b''.join(path_node(*node) for node in nodes) + tail
        text = devicepath.render(data)
        self.assertTrue(
            all(char.isprintable() or char in '\n\t' for char in text)
        )
