# SPDX-License-Identifier: Apache-2.0
"""Rules that packages add: installed as an operator would, or refused."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import textwrap
import unittest
from typing import Any

import fixtures
import testtools

from korora_nova.rats import policy
from korora_nova.verifier.appraisal import extensions

ROOT = pathlib.Path(__file__).parents[3]
EXAMPLE = ROOT / 'doc' / 'examples' / 'korora-rule-example'

JUDGE = """
import json, sys
from korora_nova import errors
from korora_nova.rats import policy
from korora_nova.verifier.appraisal import extensions
from tests.support import states

try:
    rules = extensions.load()
except errors.Unavailable as exc:
    print(json.dumps({'error': exc.reason, 'message': exc.message}))
    raise SystemExit
answer = {'rules': list(rules)}
for document in json.load(sys.stdin):
    wanted = [document, states.PIN, {'ima': policy.NOT_APPRAISED}]
    try:
        loaded = policy.load(
            {'version': 1, 'name': 'p', 'rules': wanted}, rules
        )
    except errors.Invalid as exc:
        answer.setdefault('refused', []).append(exc.message)
        continue
    bound = loaded.bind([states.learned('host/debian-12')])
    found = bound.check(states.recorded('host/debian-12'))
    answer.setdefault('found', []).append(
        [[one.reason, one.message, one.details['rule']] for one in found]
    )
print(json.dumps(answer))
"""

GOOD = """
from korora_nova.rats import policy
class Good(policy.Rule):
    NAME = 'good'
    HELP = 'Whatever.'
    SCHEMA = {'type': 'object'}
    @classmethod
    def parse(cls, params, path):
        return cls(path)
    def check(self, state):
        return []
"""


class Case(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.site = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def judge(self, *documents: object) -> dict[str, Any]:
        """What another process says, with our packages installed."""
        ran = subprocess.run(
            [sys.executable, '-c', JUDGE],
            input=json.dumps(documents),
            capture_output=True,
            text=True,
            cwd=self.site,
            env={
                **os.environ,
                'HOME': str(self.site),
                'PYTHONPATH': f'{self.site}:{ROOT}',
            },
        )
        self.assertEqual(0, ran.returncode, ran.stderr)
        answer: dict[str, Any] = json.loads(ran.stdout)
        return answer


class ExampleTest(Case):
    def test_the_documented_package_judges_hosts(self) -> None:
        source = self.site / 'source'
        source.mkdir()
        for path in EXAMPLE.iterdir():
            if path.is_file():
                (source / path.name).write_bytes(path.read_bytes())
        subprocess.run(
            [
                *(sys.executable, '-m', 'pip', '-q', 'install'),
                *('--no-deps', '--no-index', '--no-build-isolation'),
                *('--target', str(self.site), str(source)),
            ],
            check=True,
            capture_output=True,
        )
        answer = self.judge(
            {'boot-options': {'allowed': ['PciRoot(*', 'Fv(*']}},
            {'boot-options': {'allowed': ['Fv(*']}},
            {'boot-options': {}},
            {'boot-option': {}},
        )
        self.assertEqual([*policy.BUILT_IN, 'boot-options'], answer['rules'])
        good, bad = answer['found']
        self.assertEqual([], good)
        self.assertEqual(3, len(bad))
        self.assertEqual(
            [
                'SITE_RULE',
                'The firmware may boot from PciRoot(0x0)/Pci(0x1,0x0), '
                'which is not allowed',
                'rules/0/boot-options',
            ],
            bad[0],
        )
        for refused, what in zip(
            answer['refused'],
            ("'allowed' is a required property", 'ima, boot-options, all-of'),
            strict=True,
        ):
            self.assertIn(what, refused)


class BrokenTest(Case):
    """A broken package is an error when the service starts."""

    def install(self, name: str, points: str, module: str, text: str) -> None:
        """A distribution as pip leaves it."""
        info = self.site / f'{name.replace("-", "_")}-1.0.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(
            f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n'
        )
        (info / 'entry_points.txt').write_text(
            f'[{extensions.NAMESPACE}]\n{points}\n'
        )
        (self.site / f'{module}.py').write_text(textwrap.dedent(text))

    def refused(self, *says: str) -> None:
        answer = self.judge()
        self.assertEqual('EXTENSION_INVALID', answer.get('error'), answer)
        for text in says:
            self.assertIn(text, answer['message'])

    def test_a_good_one(self) -> None:
        self.install('site-good', 'good = good_rule:Good', 'good_rule', GOOD)
        self.assertEqual([*policy.BUILT_IN, 'good'], self.judge()['rules'])

    def test_one_that_cannot_be_imported(self) -> None:
        self.install(
            'site-gone', 'gone = gone_rule:Gone', 'gone_rule', 'import no_such'
        )
        self.refused('site-gone', 'ModuleNotFoundError', 'no_such')

    def test_one_that_is_not_there(self) -> None:
        self.install('site-less', 'good = good_rule:Bad', 'good_rule', GOOD)
        self.refused('site-less', 'AttributeError')

    def test_a_name_of_a_built_in_rule(self) -> None:
        self.install('site-pcrs', 'pcrs = good_rule:Good', 'good_rule', GOOD)
        self.refused('site-pcrs', 'built in has this name')

    def test_a_name_of_a_rule_of_rules(self) -> None:
        self.install('site-all', 'all-of = good_rule:Good', 'good_rule', GOOD)
        self.refused('site-all', 'built in has this name')

    def test_two_packages_with_one_name(self) -> None:
        self.install('site-one', 'good = rule_one:Good', 'rule_one', GOOD)
        self.install('site-two', 'good = rule_two:Good', 'rule_two', GOOD)
        self.refused('site-one', 'site-two', 'a rule of this name')

    def test_what_is_not_a_rule(self) -> None:
        cases = {
            'not a subclass of': 'Good = 1',
            'not a subclass of ': 'class Good: NAME = "good"',
            'its NAME': GOOD.replace("'good'", "'other'"),
            'no HELP': GOOD.replace('HELP', 'HELPS'),
            'no method check': GOOD.replace('check', 'checks'),
            'no method parse': GOOD.replace('def parse', 'def parses'),
            'not a JSON schema': GOOD.replace("'object'", "'thing'"),
            'describe an object': GOOD.replace("'object'", "'array'"),
            'the rule ima alone': GOOD.replace(
                'policy.Rule', "policy.BUILT_IN['ima']"
            ),
        }
        self.install('site-bad', 'good = bad_rule:Good', 'bad_rule', '')
        for says, text in cases.items():
            (self.site / 'bad_rule.py').write_text(text)
            with self.subTest(says):
                self.refused('site-bad', says.strip())


class NothingInstalledTest(unittest.TestCase):
    def test_the_rules_are_those_built_in(self) -> None:
        self.assertEqual(list(policy.BUILT_IN), list(extensions.load()))
