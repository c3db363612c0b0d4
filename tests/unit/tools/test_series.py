# SPDX-License-Identifier: Apache-2.0
import configparser
import pathlib
import re

import fixtures
import testtools
from packaging.requirements import Requirement

from korora_tools import checkout
from korora_tools.test import series, stream, suites
from tests.unit.tools import test_test

ROOT = checkout.ROOT


def normal(name: str) -> str:
    return re.sub(r'[-_.]+', '-', name).lower()


def required() -> list[Requirement]:
    """What the project and its extra of the agent ask for."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    lines = (ROOT / 'requirements.txt').read_text().splitlines()
    lines += setup['extras']['tpm'].splitlines()
    bare = [line.split('#')[0].strip() for line in lines]
    return [Requirement(line) for line in bare if line]


class TestLists(testtools.TestCase):
    """tests/constraints, beside what the project asks for."""

    def test_there_is_one_for_each_nova(self) -> None:
        self.assertEqual(
            ['2026.1', '2026.2'], [one.name for one in series.every()]
        )

    def test_minimums_admit_what_a_series_has(self) -> None:
        for one in series.every():
            pins = {normal(name): v for name, v in one.pins.items()}
            for wanted in required():
                have = pins.get(normal(wanted.name))
                # osc-lib and the like: no suite here needs them.
                if have is not None:
                    self.assertIn(have, wanted.specifier, wanted)
            self.assertIn('cryptography', pins)

    def test_tox_uses_the_same_lists(self) -> None:
        tox = (ROOT / 'tox.ini').read_text()
        for one in series.distinct():
            self.assertIn(str(one.path.relative_to(ROOT)), tox)


class TestSeries(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.lists = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def add(self, name: str, **pins: str) -> None:
        lines = [f'{name.replace("_", "-")}=={v}' for name, v in pins.items()]
        text = '\n'.join(['# a comment', 'certifi', *lines])
        (self.lists / f'{name}.txt').write_text(text + '\n')

    def test_equal_ones_need_one_environment(self) -> None:
        self.add('1', tpm2_pytss='2.3.0', cryptography='43.0.3', cffi='1')
        self.add('2', tpm2_pytss='2.3.0', cryptography='43.0.3', cffi='2')
        self.add('3', tpm2_pytss='2.3.0', cryptography='44.0.0', cffi='2')
        found = series.distinct(self.lists)
        self.assertEqual(['1', '3'], [one.name for one in found])
        self.assertEqual(
            '1: tpm2-pytss 2.3.0, cryptography 43.0.3', str(found[0])
        )


class TestSuites(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        out = self.useFixture(fixtures.StringStream('out')).stream
        self.useFixture(fixtures.MonkeyPatch('sys.stdout', out))
        self.bin = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def test_each_suite_runs_with_the_python_of_its_series(self) -> None:
        used = []

        def run(
            name: str,
            path: pathlib.Path,
            verbose: bool,
            python: pathlib.Path,
            pattern: str,
        ) -> stream.Totals:
            used.append((name, path.name, python, pattern))
            return stream.Totals(1)

        self.useFixture(
            fixtures.MonkeyPatch('korora_tools.test.suites.stestr', run)
        )
        self.useFixture(
            fixtures.MonkeyPatch(
                'korora_tools.environment.ensure',
                lambda directory, *_, **__: directory / 'bin' / 'python',
            )
        )
        totals = suites.constrained(verbose=False)
        python = checkout.VENV / 'series' / '2026.1' / 'bin' / 'python'
        self.assertEqual(
            [
                ('functional/tpm@2026.1', 'tpm', python, ''),
                (
                    'functional/attester@2026.1',
                    'attester',
                    python,
                    series.SUITES['attester'],
                ),
            ],
            used,
        )
        self.assertEqual(2, totals.passed)

    def failures(self, script: str) -> list[tuple[str, str]]:
        """Of a suite whose runner is a shell script."""
        fake = self.bin / 'stestr'
        fake.write_text(f'#!/bin/sh\n{script}\n')
        fake.chmod(0o755)
        return suites.stestr(
            'functional/x@1', self.bin, False, python=self.bin / 'python'
        ).failures

    def test_a_failure_names_its_series(self) -> None:
        """The same test runs with other versions, too."""
        recorded = test_test.recorded(('a.test', 'fail'))
        (self.bin / 'stream').write_bytes(recorded.getvalue())
        found = self.failures(f'cat {self.bin}/stream; exit 1')
        self.assertEqual(['functional/x@1: a.test'], [n for n, _ in found])

    def test_a_runner_that_cannot_start_is_a_failure(self) -> None:
        ((name, why),) = self.failures('echo no tests here >&2; exit 3')
        self.assertEqual('functional/x@1', name)
        self.assertIn('no tests here', why)
