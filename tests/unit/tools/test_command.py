# SPDX-License-Identifier: Apache-2.0
"""What the commands of tools/ have in common."""

import argparse
import contextlib
import importlib
import io
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

from korora_tools import checkout, command, setup, signals, ui

#: The links in tools/.
NAMES = sorted(
    path.name
    for path in (checkout.ROOT / 'tools').iterdir()
    if path.is_symlink()
)


class MainTest(unittest.TestCase):
    """The exit code and what is printed, for whatever the work does."""

    def main(self, work, *argv, **more):
        parser = command.parser('it', 'Do it.')
        command.add_report(parser)
        self.err = io.StringIO()
        with (
            mock.patch.object(signals, 'take_over') as self.take_over,
            contextlib.redirect_stderr(self.err),
        ):
            return command.main(parser, work, argv, **more)

    def test_the_code_is_that_of_the_work(self):
        self.assertEqual(7, self.main(lambda options: 7))
        self.assertEqual('', self.err.getvalue())
        self.take_over.assert_called_once_with()

    def test_a_problem_is_told_without_a_traceback(self):
        def work(options):
            raise ui.Problem('no disk')

        self.assertEqual(2, self.main(work))
        self.assertEqual('error: no disk\n', self.err.getvalue())
        self.assertEqual(1, self.main(work, problem=1))

    def test_interrupted(self):
        def work(options):
            raise KeyboardInterrupt

        self.assertEqual(130, self.main(work))
        self.assertEqual(
            'error: interrupted; nothing was left running\n',
            self.err.getvalue(),
        )
        self.main(work, interrupted='interrupted')
        self.assertEqual('error: interrupted\n', self.err.getvalue())

    def test_nobody_reads_on(self):
        def work(options):
            raise BrokenPipeError

        self.assertEqual(1, self.main(work))

    def test_signals_can_be_left_to_another_program(self):
        self.main(lambda options: 0, leaves_signals=lambda options: True)
        self.take_over.assert_not_called()

    def test_a_report_is_checked_before_the_work(self):
        done = []
        self.assertEqual(2, self.main(done.append, '--json', '/nowhere/x'))
        self.assertEqual([], done)
        self.assertIn('cannot write the report', self.err.getvalue())

    def test_a_report(self):
        def work(options):
            command.write_report(options, {'a': 1})
            return 0

        self.assertEqual(0, self.main(work))
        with tempfile.TemporaryDirectory() as scratch:
            path = pathlib.Path(scratch, 'report')
            self.assertEqual(0, self.main(work, '--json', str(path)))
            self.assertEqual({'a': 1}, json.loads(path.read_text()))


class VenvTest(unittest.TestCase):
    def test_set_up_then_start_again(self):
        calls = mock.Mock()
        with mock.patch.multiple(
            setup, ensure=calls.ensure, again_in_the_venv=calls.again
        ):
            command.in_the_venv(
                argparse.Namespace(no_setup=False), 'it', calls.more
            )
            self.assertEqual(
                [mock.call.ensure(), mock.call.more(), mock.call.again('it')],
                calls.mock_calls,
            )
            calls.reset_mock()
            command.in_the_venv(
                argparse.Namespace(no_setup=True), 'it', calls.more
            )
            self.assertEqual([], calls.mock_calls)


class EachCommandTest(unittest.TestCase):
    def test_it_says_how_it_is_called(self):
        for name in NAMES:
            with self.subTest(name):
                cli = importlib.import_module(f'korora_tools.{name}.cli')
                self.assertEqual(f'tools/{name}', cli.parser().prog)

    def test_help_needs_no_more_than_python(self):
        for name in NAMES:
            with self.subTest(name):
                done = subprocess.run(
                    [sys.executable, '-ES', 'tools/launch.py', name, '-h'],
                    cwd=checkout.ROOT,
                    capture_output=True,
                    text=True,
                )
                self.assertEqual((0, ''), (done.returncode, done.stderr))
                self.assertIn(f'usage: tools/{name} ', done.stdout)


class SignalsTest(unittest.TestCase):
    def test_a_second_signal_does_not_stop_the_cleaning_up(self):
        before = {n: signal.getsignal(n) for n in signals.ENDING}
        for number, handler in before.items():
            self.addCleanup(signal.signal, number, handler)
        signals.take_over()
        with self.assertRaises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        for number in signals.ENDING:
            self.assertEqual(signal.SIG_IGN, signal.getsignal(number))
