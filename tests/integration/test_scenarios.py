# SPDX-License-Identifier: Apache-2.0
"""The demo's scenarios, one test each, on the lab that is up.

They share one cloud and build on each other, so they run once, in their
order, and each test then judges its own row of the report.
"""

import json
import os
import pathlib
import subprocess
import tempfile
import typing
import unittest

from korora_tools import checkout
from korora_tools.demo import scenarios
from korora_tools.lab import paths, processes

LIMIT = 6 * 60  # seconds for one run; two must fit the suite's limit


class ScenariosTest(unittest.TestCase):
    """What ``tools/demo`` shows."""

    report: dict[str, typing.Any]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.report = cls._run()
        if cls.report['guest']['emulator_trouble']:
            # The guest's kernel crashed under emulation: that says nothing.
            cls.report = cls._run()

    @staticmethod
    def _run() -> dict[str, typing.Any]:
        lab = paths.Lab.default()
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / 'report.json'
            log = lab.log / 'scenarios.out'
            with log.open('wb') as output:
                done = subprocess.run(
                    [
                        *processes.into(lab, 'ctl'),
                        str(checkout.BIN / 'python'),
                        '-m',
                        'korora_tools.demo.run',
                        str(out),
                        'scenarios',
                    ],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=LIMIT,
                    env={
                        **os.environ,
                        'PYTHONPATH': str(checkout.ROOT / 'tools'),
                    },
                )
            if done.returncode:
                raise AssertionError(
                    'the scenarios did not run:\n'
                    + log.read_text(errors='replace')[-3000:]
                )
            return typing.cast(
                dict[str, typing.Any], json.loads(out.read_text())
            )

    def _judge(self, ident: str) -> None:
        rows = [r for r in self.report['scenarios'] if r['id'] == ident]
        self.assertEqual(1, len(rows))
        self.assertTrue(rows[0]['ok'], json.dumps(rows[0], indent=1))

    def test_guest_ran_on_with_one_vtpm(self) -> None:
        guest = self.report['guest']
        self.assertTrue(guest['continuity'], guest)
        self.assertEqual(1, guest['boot_ids'])

    def test_passphrase_is_nowhere_in_clear(self) -> None:
        self.assertEqual(
            {'bus': 0, 'logs': 0, 'disk': 0, 'db': 0},
            self.report['canary'],
            self.report['canary_files'],
        )


def _test(ident: str) -> typing.Callable[[ScenariosTest], None]:
    def test(self: ScenariosTest) -> None:
        self._judge(ident)

    return test


for _scenario in scenarios.ALL:
    setattr(
        ScenariosTest,
        'test_scenario_' + _scenario.id.replace('-', '_'),
        _test(_scenario.id),
    )
