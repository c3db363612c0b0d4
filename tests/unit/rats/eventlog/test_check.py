# SPDX-License-Identifier: Apache-2.0
import pathlib
import re
import unittest

import yaml

from korora_nova.rats import eventlog
from korora_nova.rats.eventlog import check, quirks, types
from tests.support import simulator as sim
from tests.support.uefilog import (
    AUTHORITY,
    BOOT,
    IMAGE,
    IPL,
    SB,
    SEPARATOR,
    SHIM,
    TAG,
    header,
    measured,
    variable,
)


class StatusTest(unittest.TestCase):
    def status(self, kind, data, of):
        record = measured(1, kind, data, of)
        event = eventlog.parse(header() + record).events[1]
        return check.status(event, 'sha256')

    def test_types_that_hash_their_data(self):
        for kind in check.HASH_DATA:
            self.assertEqual('verified', self.status(kind, b'abc', b'abc'))
            self.assertEqual('mismatch', self.status(kind, b'abc', b'x'))

    def test_types_that_describe(self):
        for kind in (
            0,
            1,
            7,
            9,
            0xA,
            0xC,
            0xF,
            IPL,
            TAG,
            IMAGE,
            0x80000004,
            0x80000008,
            0x80000009,
            0x8000000A,
            0x8000000B,
            0x80000010,
            0x800000E1,
            0x412,
        ):
            self.assertEqual('verified', self.status(kind, b'abc', b'abc'))
            self.assertEqual('not applicable', self.status(kind, b'abc', b'x'))

    def test_text(self):
        for kind in (5, 0x80000007):
            self.assertEqual('verified', self.status(kind, b'a\0', b'a'))
        self.assertEqual('mismatch', self.status(SEPARATOR, b'a\0', b'a'))
        self.assertEqual('verified', self.status(IPL, b'grub_cmd: a\0', b'a'))
        self.assertEqual(
            'not applicable', self.status(IPL, b'/vmlinuz\0', b'content')
        )

    def test_variables(self):
        data = variable('Boot0001', b'abc')
        self.assertEqual('verified', self.status(BOOT, data, b'abc'))
        self.assertEqual('verified', self.status(BOOT, data, data))
        for kind in (SB, AUTHORITY, 0x8000000C):
            self.assertEqual('mismatch', self.status(kind, data, b'abc'))
        data = variable('Shim', b'abc', SHIM)
        self.assertEqual(
            'verified', self.status(AUTHORITY, data + bytes(6), data)
        )
        self.assertEqual(
            'mismatch', self.status(AUTHORITY, data + bytes(9), data)
        )

    def test_no_action(self):
        event = eventlog.parse(header() + measured(1, 3, b'x')).events[1]
        self.assertEqual('not applicable', check.status(event, 'sha256'))

    def test_recorded(self):
        log = eventlog.parse(sim.recorded_log('secure-boot'))
        found = [check.status(event, 'sha256') for event in log.events]
        self.assertEqual(
            {'verified': 34, 'not applicable': 13},
            {key: found.count(key) for key in set(found)},
        )


class OtherReaderTest(unittest.TestCase):
    """Recorded logs as tpm2_eventlog reads them."""

    def test_every_event(self):
        for vector in ('secure-boot', 'direct-kernel'):
            text = (
                sim.VECTORS / 'uefi' / vector / 'eventlog.yaml'
            ).read_text()
            want = [
                (
                    item['PCRIndex'],
                    item['EventType'],
                    item['EventSize'],
                    {
                        digest['AlgorithmId']: digest['Digest']
                        for digest in item.get('Digests', [])
                    },
                )
                for item in yaml.safe_load(text)['events']
            ]
            log = eventlog.parse(sim.recorded_log(vector))
            self.assertEqual(
                want,
                [
                    (
                        event.pcr,
                        types.name(event.type),
                        len(event.data),
                        {
                            bank: digest.hex()
                            for bank, digest in event.digests.items()
                        },
                    )
                    for event in log.events
                ],
            )


class TableTest(unittest.TestCase):
    def test_names(self):
        self.assertEqual('EV_EFI_VARIABLE_AUTHORITY', types.name(0x800000E0))
        self.assertEqual('0x00000412', types.name(0x412))

    def test_quirks_are_complete_and_used(self):
        names = {
            value
            for name, value in vars(quirks).items()
            if name.isupper() and isinstance(value, str)
        }
        self.assertEqual(names, set(quirks.QUIRKS))
        for quirk in quirks.QUIRKS.values():
            self.assertTrue(quirk.what and quirk.seen and quirk.handling)

    def test_code_refers_to_every_quirk(self):
        package = pathlib.Path(quirks.__file__).parent
        code = ''.join(
            path.read_text()
            for path in package.glob('*.py')
            if path.name != 'quirks.py'
        )
        used = set(re.findall(r'quirks\.([A-Z_]+)', code))
        names = {
            name
            for name, value in vars(quirks).items()
            if name.isupper() and isinstance(value, str)
        }
        self.assertEqual(set(), names - used)
