# SPDX-License-Identifier: Apache-2.0
"""The commands of doc/source/start.rst, as they stand there."""

import os
import re
import subprocess
import time
import unittest

from korora_tools import checkout
from korora_tools.fresh import document
from korora_tools.lab import paths, processes

PAGE = checkout.ROOT / 'doc' / 'source' / 'start.rst'
PATIENCE = 60.0


class FirstStepsTest(unittest.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.lab = paths.Lab.default()
        self.addCleanup(self.typed, 'openstack server delete --wait first')

    def typed(self, text: str) -> tuple[int, str]:
        """What a reader's shell does."""
        env = {**os.environ, **self.lab.openrc()}
        env['PATH'] = f'{checkout.BIN}:{env["PATH"]}'
        env.pop('PYTHONPATH', None)
        done = subprocess.run(
            [*processes.into(self.lab, 'ctl'), 'bash', '-ec', text],
            env=env,
            capture_output=True,
            text=True,
            timeout=240,
        )
        return done.returncode, done.stdout + done.stderr

    def test_the_page(self) -> None:
        for step in document.steps(PAGE):
            for command in step.commands:
                self.follow(step, command)

    def follow(self, step: document.Step, command: document.Command) -> None:
        pattern = step.ways.get('until', step.ways.get('expect', ''))
        end = time.monotonic() + (PATIENCE if 'until' in step.ways else 0)
        while True:
            code, said = self.typed(command.text)
            place = f'{PAGE.name}:{command.line}: {said}'
            self.assertEqual(0, code, place)
            if re.search(pattern, said):
                return
            self.assertLess(time.monotonic(), end, place)
            time.sleep(2)
