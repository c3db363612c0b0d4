# SPDX-License-Identifier: Apache-2.0
"""A policy on stored states says what an attestation would say."""

import dataclasses
import unittest

from korora_nova.rats import rejudge, variation
from korora_nova.rats.finding import Finding
from korora_nova.rats.variation import Golden
from tests.support import states

DEBIAN = 'host/debian-12'
OTHER = 'host/debian-12-previous-kernel'
NO_FILES = {'ima': 'not-appraised'}
FILES = {'ima': {'references': True}}


class RejudgeTest(unittest.TestCase):
    def found(self, state, files, *rules):
        bound = states.load(states.PIN, *rules).bind([states.learned(DEBIAN)])
        return states.reasons(rejudge.rejudge(bound, state, files))

    def test_files(self):
        state = states.recorded(DEBIAN)
        for host, reasons in (
            (DEBIAN, []),
            ('host/debian-12-program', ['IMA_UNKNOWN_FILE']),
            (
                'host/debian-12-violation',
                ['IMA_VIOLATION', 'IMA_UNKNOWN_FILE'],
            ),
        ):
            found = self.found(state, states.files(host), FILES)
            self.assertEqual(sorted(reasons), sorted(found), host)
            self.assertEqual(
                [], self.found(state, states.files(host), NO_FILES)
            )

    def test_a_list_that_is_wanted_and_not_there(self):
        found = self.found(states.recorded(DEBIAN), (), FILES)
        self.assertEqual(['IMA_LOG_MISSING'], found)

    def test_a_list_that_does_not_begin_as_one(self):
        files = states.files(DEBIAN)[1:]
        found = self.found(states.recorded(DEBIAN), files, FILES)
        self.assertEqual(['IMA_BOOT_AGGREGATE'], found)

    def test_a_list_that_was_refused(self):
        fault = Finding('IMA_LOG_REPLAY', 'It does not replay.')
        state = dataclasses.replace(states.recorded(DEBIAN), ima_fault=fault)
        for rule in (FILES, NO_FILES):
            self.assertEqual(['IMA_LOG_REPLAY'], self.found(state, (), rule))
        # No list, and no policy that wants one: the attestation looks at none.
        bank = {**state.pcrs['sha256'], 10: bytes(32)}
        state = dataclasses.replace(state, pcrs={'sha256': bank})
        self.assertEqual([], self.found(state, (), NO_FILES))
        self.assertEqual(['IMA_LOG_REPLAY'], self.found(state, (), FILES))

    def test_rules(self):
        found = self.found(
            states.recorded('host/debian-12-insecure'), (), NO_FILES
        )
        self.assertEqual(['PCR_NOT_GOLDEN'], found)


class VariationTest(unittest.TestCase):
    def of(self, **hosts):
        found = variation.variations(
            {
                name: Golden.learn(
                    name, states.recorded(host), states.files(host)
                )
                for name, host in hosts.items()
            }
        )
        return {one.component: one.values for one in found}

    def test_nothing_differs(self):
        self.assertEqual({}, self.of())
        self.assertEqual({}, self.of(h1=DEBIAN))
        self.assertEqual({}, self.of(h1=DEBIAN, h2=DEBIAN))

    def test_another_kernel(self):
        found = self.of(h1=DEBIAN, h2=OTHER, h3=DEBIAN)
        self.assertIn('PCR 4', found)
        self.assertNotIn('PCR 0', found)
        self.assertNotIn('database db', found)
        kernels = found['components of PCR 4']
        self.assertEqual(kernels['h1'], kernels['h3'])
        self.assertIn('6.1.0-56', kernels['h1'])
        self.assertNotIn('6.1.0-56', kernels['h2'])
        self.assertIn('/', found['files']['h2'])

    def test_secure_boot_and_command_line(self):
        found = self.of(h1=DEBIAN, h2='host/debian-12-insecure')
        self.assertEqual({'h1': 'on', 'h2': 'off'}, found['Secure Boot'])
        found = self.of(h1=DEBIAN, h2='host/debian-12-option')
        self.assertNotEqual(*found['command line'].values())

    def test_long_lists_that_differ_late_still_differ(self):
        many = {f'{n}': f'sha256:{n}' for n in range(9)}
        first = variation._listed(many)
        self.assertIn('and 5 more', first)
        self.assertNotEqual(
            first, variation._listed({**many, '8': 'sha256:x'})
        )
