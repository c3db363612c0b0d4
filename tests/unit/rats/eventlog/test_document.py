# SPDX-License-Identifier: Apache-2.0
"""BootState as JSON, and facts of anything."""

import json
import unittest

import hypothesis
from hypothesis import strategies as st

from korora_nova import errors
from korora_nova.rats import eventlog
from korora_nova.rats.eventlog import document
from tests.support import simulator as sim
from tests.support import uefilog as raw
from tests.support.uefilog import boot, measured, separator, variable


def recorded(vector):
    log = eventlog.parse(sim.recorded_log(vector))
    return log.compare(log.replay()).boot


class DocumentTest(unittest.TestCase):
    def test_round_trip(self):
        for vector in ('secure-boot', 'direct-kernel'):
            state = recorded(vector)
            text = json.dumps(document.boot_to_json(state))
            self.assertEqual(state, document.boot_from_json(json.loads(text)))
            self.assertLess(len(text), 5000)
        empty = eventlog.BootState()
        self.assertEqual(
            empty, document.boot_from_json(document.boot_to_json(empty))
        )

    def test_long_databases_stay_small(self):
        lists = raw.signature_list(
            raw.IMAGE_HASH,
            *[
                bytes((number >> 8, number & 255)) * 16
                for number in range(400)
            ],
        )
        state = boot(
            raw.measured(7, raw.SB, variable('dbx', lists, raw.SECURITY)),
            separator(7),
        )
        text = json.dumps(document.boot_to_json(state))
        self.assertLess(len(text), 400 * 80)
        self.assertEqual(state, document.boot_from_json(json.loads(text)))

    def test_every_field_is_checked(self):
        good = document.boot_to_json(recorded('secure-boot'))
        for place, value in self.faults(good):
            bad = json.loads(json.dumps(good))
            here = bad
            for key in place[:-1]:
                here = here[key]
            here[place[-1]] = value
            with self.assertRaises(errors.Invalid) as caught:
                document.boot_from_json(bad)
            self.assertEqual('INVALID_REQUEST', caught.exception.reason)
        for bad in (None, [], {}, {**good, 'more': 1}, 'x'):
            self.assertRaises(errors.Invalid, document.boot_from_json, bad)

    def faults(self, node, place=()):
        """Every node replaced by one of another type."""
        if place and place not in (('secure_boot',),):
            yield place, ({} if not isinstance(node, dict) else [])
            if not self.may_be_null(place):
                yield place, None
        if isinstance(node, dict):
            for key, value in node.items():
                yield from self.faults(value, (*place, key))
        elif isinstance(node, list):
            for index, value in enumerate(node[:3]):
                yield from self.faults(value, (*place, index))

    def may_be_null(self, place):
        return place[0] == 'authorities' and place[2:] == (1,)

    def test_numbers_are_no_booleans(self):
        good = document.boot_to_json(boot(raw.secure_boot(), separator(7)))
        self.assertRaises(
            errors.Invalid, document.boot_from_json, {**good, 'secure_boot': 1}
        )
        self.assertRaises(
            errors.Invalid,
            document.boot_from_json,
            {**good, 'boot_order': [True]},
        )
        self.assertRaises(
            errors.Invalid,
            document.boot_from_json,
            {**good, 'boot_order': [0] * 16385},
        )


KINDS = st.sampled_from(
    [
        0,
        1,
        4,
        5,
        6,
        7,
        8,
        13,
        0x11,
        0x80000001,
        0x80000002,
        0x80000003,
        0x80000004,
        0x80000006,
        0x80000007,
        0x80000008,
        0x80000009,
        0x8000000A,
        0x8000000B,
        0x800000E0,
        0x800000E1,
        0x800000E3,
    ]
)
PATHS = st.binary(max_size=60).map(lambda value: raw.image(value))
VARIABLES = st.tuples(
    st.sampled_from(
        [
            'db',
            'dbx',
            'PK',
            'SecureBoot',
            'Boot0001',
            'BootOrder',
            'Shim',
            'SbatLevel',
        ]
    ),
    st.one_of(
        st.binary(max_size=80),
        st.binary(max_size=60).map(lambda value: raw.X509.bytes_le + value),
    ),
    st.sampled_from([raw.GLOBAL, raw.SECURITY, raw.SHIM]),
).map(lambda item: variable(*item))


class AnythingTest(unittest.TestCase):
    @hypothesis.given(
        st.lists(
            st.tuples(
                st.integers(0, 15),
                KINDS,
                st.one_of(st.binary(max_size=80), PATHS, VARIABLES),
                st.booleans(),
            )
        )
    )
    @hypothesis.settings(deadline=None, database=None, max_examples=300)
    def test_no_data_breaks_the_facts(self, items):
        records = [
            measured(pcr, kind, data, data if same else b'other')
            for pcr, kind, data, same in items
        ]
        state = boot(*records)
        text = json.dumps(document.boot_to_json(state))
        self.assertEqual(state, document.boot_from_json(json.loads(text)))
