# SPDX-License-Identifier: Apache-2.0
"""A small fleet against the real service, Keystone and MariaDB."""

from __future__ import annotations

import argparse

import testtools

from korora_tools.fleet import whole
from korora_tools.fleet.plan import Kind


class FleetTest(testtools.TestCase):
    """One run, of which everything is looked at: a start takes long."""

    def test_small(self) -> None:
        found = whole.simulate(
            argparse.Namespace(
                hosts=20,
                rounds=5,
                interval=0.0,
                lives=3,
                workers=1,
                threads=4,
                seed=1,
            )
        )
        self.assertEqual([], found['details'])
        for key in (
            'false_trusted',
            'false_untrusted',
            'wrong',
            'lost',
            'custody_double',
        ):
            self.assertEqual(0, found[key], key)
        # Each kind was there, and was answered as it is to be
        self.assertEqual({one.value for one in Kind}, set(found['kinds']))
        answers = found['answers']
        self.assertGreater(answers['attest']['affirming'], 50)
        self.assertGreater(answers['attest']['contraindicated'], 2)
        self.assertTrue(answers['garbage'])
        self.assertEqual(3, found['custody']['lives'])
        self.assertEqual(
            {'served': 3},
            answers['custody claim'],
        )
