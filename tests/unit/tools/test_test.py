# SPDX-License-Identifier: Apache-2.0
import io
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable

import fixtures
import subunit
import testtools

from korora_tools import children, ui
from korora_tools.test import cli, stream, suites

ENV = dict(os.environ)


def recorded(*events: tuple[str, str]) -> io.BytesIO:
    """A subunit stream of (test id, status); "start" only starts a test."""
    data = io.BytesIO()
    out = subunit.StreamResultToBytes(data)
    for name, status in events:
        out.status(name, 'inprogress')
        if status == 'fail':
            out.status(
                name,
                file_name='traceback',
                file_bytes=b'why it failed',
                mime_type='text/plain;charset=utf8',
                eof=True,
            )
        if status != 'start':
            out.status(name, status)
    data.seek(0)
    return data


class TestCounting(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        out = self.useFixture(fixtures.StringStream('out')).stream
        self.useFixture(fixtures.MonkeyPatch('sys.stdout', out))

    def count(self, *events: tuple[str, str]) -> stream.Totals:
        self.other = io.BytesIO()
        return stream.count(
            recorded(*events), 'suite', verbose=False, other=self.other
        )

    def account_for(self, code: int, totals: stream.Totals) -> None:
        output = pathlib.Path(self.useFixture(fixtures.TempDir()).join('o'))
        output.write_text('ImportError: no such thing\n')
        suites._account_for(
            types.SimpleNamespace(returncode=code), 'suite', totals, output
        )

    def test_each_status_counts_once(self) -> None:
        totals = self.count(
            ('a', 'success'),
            ('b', 'fail'),
            ('c', 'skip'),
            ('d', 'xfail'),
            ('e', 'uxsuccess'),
        )
        self.assertEqual('2 passed, 2 failed, 1 skipped', str(totals))
        self.assertIn('why it failed', totals.failures[0][1])
        self.assertEqual(('e', stream.MENDED), totals.failures[1])

    def test_a_test_that_never_ended_has_failed(self) -> None:
        totals = self.count(('a', 'start'), ('b', 'success'))
        self.assertEqual('1 passed, 1 failed, 0 skipped', str(totals))

    def test_a_listing_is_no_result(self) -> None:
        self.assertEqual(0, self.count(('a', 'exists')).ran)

    def test_an_empty_stream_fails_its_suite(self) -> None:
        totals = self.count()
        self.account_for(0, totals)
        self.assertEqual(1, totals.failed)
        self.assertIn('ImportError', totals.failures[0][1])

    def test_a_runner_that_died_fails_its_suite(self) -> None:
        totals = self.count(('a', 'success'))
        self.account_for(1, totals)
        self.assertEqual('1 passed, 1 failed, 0 skipped', str(totals))

    def test_a_runner_that_told_of_a_failure_is_not_counted_twice(
        self,
    ) -> None:
        totals = self.count(('a', 'fail'))
        self.account_for(1, totals)
        self.assertEqual('0 passed, 1 failed, 0 skipped', str(totals))

    def test_other_output_is_no_result(self) -> None:
        other = io.BytesIO()
        data = io.BytesIO(
            b'a warning\n' + recorded(('a', 'success')).getvalue()
        )
        totals = stream.count(data, 'suite', False, other)
        self.assertEqual('1 passed, 0 failed, 0 skipped', str(totals))
        self.assertEqual(b'a warning\n', other.getvalue())

    def test_sums(self) -> None:
        totals = self.count(('a', 'success'))
        totals.add(self.count(('b', 'fail'), ('c', 'skip')))
        self.assertEqual('1 passed, 1 failed, 1 skipped', str(totals))
        self.assertEqual(3, totals.ran)


class TestParts(testtools.TestCase):
    def run_parts(self, *argv: str) -> tuple[int, list[str], str]:
        """The exit code, which parts ran, and what is said of them."""
        ran: list[str] = []

        def part(name: str) -> Callable[..., stream.Totals]:
            def run(*_: object) -> stream.Totals:
                ran.append(name)
                return stream.Totals(passed=1)

            return run

        for name in (*cli.PARTS, 'environments'):
            self.useFixture(fixtures.MockPatchObject(suites, name, part(name)))
        self.useFixture(fixtures.MockPatchObject(ui, 'require_root'))
        out = self.useFixture(fixtures.StringStream('out')).stream
        self.useFixture(fixtures.MonkeyPatch('sys.stdout', out))
        code = cli._test(cli.parser().parse_args(['--no-setup', *argv]))
        out.seek(0)
        return code, ran, out.read().splitlines()[-1]

    def test_all(self) -> None:
        """First, in any order, what runs side by side."""
        code, ran, said = self.run_parts()
        self.assertEqual((0, '6 passed, 0 failed, 0 skipped'), (code, said))
        self.assertEqual({'pep8', 'docs', 'environments'}, set(ran[:3]))
        self.assertEqual(['unit', 'functional', 'integration'], ran[3:])

    def test_some(self) -> None:
        self.assertEqual(['unit'], self.run_parts('--unit')[1])
        self.assertEqual(['docs'], self.run_parts('--docs')[1])
        self.assertEqual(
            ['environments', 'functional'], self.run_parts('--functional')[1]
        )


class TestChildren(testtools.TestCase):
    GRANDCHILD = (
        'import subprocess, sys, time\n'
        "p = subprocess.Popen([sys.executable, '-c', "
        "'import time; time.sleep(60)'])\n"
        'print(p.pid, flush=True)\n'
        'time.sleep(60)\n'
    )

    def setUp(self) -> None:
        super().setUp()
        # As signals.take_over() has it for the runner and its children,
        # however this process was started.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)

    def gone(self, pid: int) -> bool:
        for _ in range(100):
            try:
                state = pathlib.Path(f'/proc/{pid}/stat').read_text()
            except (FileNotFoundError, ProcessLookupError):
                return True
            if state.rpartition(')')[2].split()[0] in 'ZX':
                return True
            time.sleep(0.05)
        return False

    def test_an_interrupt_ends_the_whole_group(self) -> None:
        argv = [sys.executable, '-c', self.GRANDCHILD]
        pids = []

        def interrupted() -> None:
            with children.child(
                argv, ENV, '/', subprocess.PIPE, subprocess.DEVNULL
            ) as process:
                pids.append(process.pid)
                pids.append(int(process.stdout.readline()))
                raise KeyboardInterrupt

        self.assertRaises(KeyboardInterrupt, interrupted)
        self.assertEqual([True, True], [self.gone(pid) for pid in pids])

    def test_the_time_limit_interrupts(self) -> None:
        began = time.monotonic()
        argv = [sys.executable, '-c', 'import time; time.sleep(60)']
        with children.child(
            argv, ENV, '/', stderr=subprocess.DEVNULL, timeout=0.3
        ) as process:
            pass
        self.assertNotEqual(0, process.returncode)
        self.assertLess(time.monotonic() - began, 30)

    def test_together(self) -> None:
        """Each is under way before the first has ended."""
        barrier = threading.Barrier(2)
        works = [lambda: barrier.wait(30) >= 0, lambda: barrier.wait(30) >= 0]
        self.assertEqual([True, True], children.together(*works))

    def test_what_fails_ends_what_is_beside_it(self) -> None:
        running = threading.Event()
        after: list[str] = []

        def beside() -> None:
            with children.child(['sleep', '60'], ENV, '/'):
                running.set()
            children.proceed()
            after.append('another step')

        def fails() -> None:
            running.wait(30)
            raise KeyboardInterrupt

        began = time.monotonic()
        self.assertRaises(KeyboardInterrupt, children.together, beside, fails)
        self.assertLess(time.monotonic() - began, 30)
        self.assertEqual([], after)
        children.proceed()

    def test_exit_codes_are_passed_on(self) -> None:
        self.assertEqual(0, children.run(['true'], ENV, '/'))
        self.assertNotEqual(0, children.run(['false'], ENV, '/'))

    def test_follow_tells_new_lines_only(self) -> None:
        old = pathlib.Path(self.useFixture(fixtures.TempDir()).join('old'))
        old.write_text('stale\n')
        os.utime(old, (1, 1))
        told: list[str] = []
        with children.follow(old, told.append):
            time.sleep(1.2)
            old.write_text('one\ntwo\nhal')
            for _ in range(60):
                if told:
                    break
                time.sleep(0.1)
        self.assertEqual(['one', 'two'], told)
