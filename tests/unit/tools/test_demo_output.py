# SPDX-License-Identifier: Apache-2.0
"""The demo gives the reason of each refusal once."""

import contextlib
import io
import re
import unittest

from korora_tools import ui
from korora_tools.demo import cli, migration, run, scenarios, stage

PRINTED = (
    'openstack server migrate: HTTP exception: .../servers/1f/action, '
    'Migration pre-check error: [HOST_UNTRUSTED] Host h3 is not trusted.'
)
CANARY = {'bus': 0, 'logs': 0, 'disk': 0, 'db': 0}


class Talker:
    """A world whose Nova refuses."""

    say = staticmethod(ui.say)


class ReasonTest(unittest.TestCase):
    def show(self, expected):
        """Everything that is printed about one refused scenario."""
        talker = Talker()

        def refuse(_):
            talker.say('    Nova answers: ' + migration.answer(PRINTED))
            return stage.Outcome('refused', 'HOST_UNTRUSTED')

        scenario = scenarios.Scenario('one', 'it moves', expected, refuse)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            row = run.act(talker, stage.Stage(talker), scenario)
            code = cli._conclude(
                {
                    'scenarios': [row],
                    'guest': {
                        'continuity': True,
                        'ticks': 9,
                        'max_gap_s': 0.5,
                        'emulator_trouble': False,
                    },
                    'canary': CANARY,
                    'migration': {'n': 0},
                }
            )
        return code, out.getvalue()

    def test_as_expected(self):
        code, text = self.show('refused')
        self.assertEqual(0, code)
        self.assertEqual(1, len(re.findall('HOST_UNTRUSTED', text)), text)
        self.assertIn('error: Host h3 is not trusted.\n', text)

    def test_not_as_expected(self):
        code, text = self.show('migrated')
        self.assertEqual(1, code)
        self.assertEqual(1, len(re.findall('HOST_UNTRUSTED', text)), text)
        self.assertIn('\nWRONG one: expected migrated\n', text)
