# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import unittest

from korora_nova import errors
from korora_nova.rats import finding
from korora_nova.rats.state import VerifiedState
from tests.support import states


class StateTest(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.state = states.recorded('host/debian-12')

    def round_trip(self, state):
        return VerifiedState.from_json(json.loads(json.dumps(state.to_json())))

    def test_round_trip(self):
        fault = finding.Finding('IMA_LOG_REPLAY', 'Why.', {'want': '00'})
        for state in (
            self.state,
            dataclasses.replace(self.state, ima_fault=fault),
            dataclasses.replace(
                self.state, log=None, boot=None, log_fault=fault
            ),
            dataclasses.replace(
                self.state,
                pcrs={'sha1': {0: b'x' * 20}, 'sha256': {0: b'x' * 32}},
            ),
        ):
            self.assertEqual(state, self.round_trip(state))

    def test_what_the_log_explains(self):
        log = self.state.log
        self.assertEqual((*range(10), *range(11, 16)), log.agrees)
        self.assertEqual(5, len(self.state.measured(4)))
        self.assertEqual((), self.state.measured(13))
        self.assertEqual(
            (), dataclasses.replace(self.state, log=None).measured(4)
        )

    def test_faults(self):
        """Of logs, those count always that are malformed."""
        ima = finding.Finding('IMA_LOG_MISSING', '')
        for reason, counts in (
            ('UEFI_LOG_MALFORMED', True),
            ('UEFI_LOG_MISSING', False),
            ('UEFI_LOG_BANK', False),
        ):
            log = finding.Finding(reason, '')
            state = dataclasses.replace(
                self.state, log_fault=log, ima_fault=ima
            )
            self.assertEqual((log, ima) if counts else (ima,), state.faults())
        self.assertEqual((), self.state.faults())

    def test_refusals(self):
        document = self.state.to_json()
        for path, value in (
            (('version',), 2),
            (('more',), 1),
            (('pcrs',), None),
            (('pcrs', 'sha256', '0'), 'a'),
            (('pcrs', 'sha256', '0'), 'zz'),
            (('pcrs', 'sha256', '24'), 'aa'),
            (('clock', 'safe'), 1),
            (('clock', 'clock_ms'), -1),
            (('firmware_version',), 1 << 64),
            (('log', 'agrees'), [24]),
            (('log', 'measured', '4'), ['x']),
            (('log', 'measured', '4'), 'x'),
            (('log', 'differs', '4'), {}),
            (('log_fault',), {}),
            (
                ('ima_fault',),
                {'reason': 'X', 'message': 'y', 'details': {'x': 1}},
            ),
            (('boot',), {}),
            (('boot', 'components'), [[1]]),
        ):
            changed = json.loads(json.dumps(document))
            inner = changed
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value
            with self.assertRaises(errors.Invalid, msg=str(path)) as caught:
                VerifiedState.from_json(changed)
            self.assertEqual('INVALID_REQUEST', caught.exception.reason)


class FindingTest(unittest.TestCase):
    def test_listed(self):
        found = finding.listed(
            'X',
            [str(number) for number in range(10)],
            'item {}',
            {'rule': 'r'},
            'got',
        )
        self.assertEqual(finding.MAX_LISTED + 1, len(found))
        self.assertEqual(
            finding.Finding('X', 'item 0', {'rule': 'r', 'got': '0'}), found[0]
        )
        self.assertEqual(
            finding.Finding('X', 'item 2 more', {'rule': 'r'}), found[-1]
        )

    def test_of_an_error(self):
        self.assertEqual(
            finding.Finding('QUOTE_MAGIC', 'Why.', {'place': 'magic'}),
            finding.Finding.of(
                errors.EvidenceError('QUOTE_MAGIC', 'Why.', place='magic')
            ),
        )
