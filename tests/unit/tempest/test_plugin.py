# SPDX-License-Identifier: Apache-2.0
"""What Tempest finds when it looks for plugins, and for tests in this one."""

from __future__ import annotations

import ast
import collections.abc
import pathlib
import re
import uuid

import stevedore
import testtools
from oslo_config import cfg

import korora_tempest_plugin
from korora_tempest_plugin import config, plugin
from tests.unit import test_layering as layering

PACKAGE = pathlib.Path(korora_tempest_plugin.__file__).parent


class TestPlugin(testtools.TestCase):
    def test_tempest_finds_it(self) -> None:
        found = stevedore.ExtensionManager('tempest.test_plugins')
        self.assertIs(plugin.KororaTempestPlugin, found['korora_tests'].plugin)

    def test_tests_are_where_it_says(self) -> None:
        tests, top = plugin.KororaTempestPlugin().load_tests()
        self.assertTrue(pathlib.Path(tests, 'api', 'test_hosts.py').is_file())
        self.assertEqual(
            'korora_tempest_plugin.tests',
            '.'.join(pathlib.Path(tests).relative_to(top).parts),
        )

    def test_options_are_registered_as_they_are_listed(self) -> None:
        conf = cfg.ConfigOpts()
        one = plugin.KororaTempestPlugin()
        one.register_opts(conf)
        conf([], default_config_files=[], default_config_dirs=[])
        for group, options in one.get_opt_lists():
            for option in options:
                self.assertEqual(option.default, conf[group][option.dest])
                self.assertTrue(option.help.endswith('.'), option.name)

    def test_commands_are_off_by_default(self) -> None:
        defaults = {one.dest: one.default for one in config.OPTIONS}
        for name, default in defaults.items():
            if name.endswith('_command'):
                self.assertEqual('', default, name)

    def test_clients_can_be_made(self) -> None:
        (described,) = plugin.KororaTempestPlugin().get_service_clients()
        self.assertEqual('attestation', described['service'])
        module = __import__(described['module_path'], fromlist=['a'])
        for name in described['client_names']:
            self.assertTrue(isinstance(getattr(module, name), type))


def sources() -> collections.abc.Iterator[tuple[pathlib.Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob('*.py')):
        yield path, ast.parse(path.read_text())


def tests() -> collections.abc.Iterator[ast.FunctionDef]:
    """Every test that is written down; some are inherited several times."""
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                if path.name.startswith('test_') and node.name.startswith(
                    'test_'
                ):
                    yield node


def identity(test: ast.FunctionDef) -> str:
    """The argument of decorators.idempotent_id, or nothing."""
    for one in test.decorator_list:
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute):
            if one.func.attr == 'idempotent_id':
                return str(ast.literal_eval(one.args[0]))
    return ''


class TestSources(testtools.TestCase):
    def test_each_test_has_an_identity_of_its_own(self) -> None:
        seen: set[str] = set()
        for test in tests():
            self.assertEqual(4, uuid.UUID(identity(test)).version, test.name)
            self.assertNotIn(identity(test), seen, test.name)
            seen.add(identity(test))
        self.assertGreater(len(seen), 40)

    def test_it_stands_beside_the_project_and_does_not_lean_on_it(
        self,
    ) -> None:
        """It describes the API as a stranger sees it."""
        found = [
            f'{path.relative_to(PACKAGE)}: {one.target}'
            for path, _ in sources()
            for one in layering.imports(path.read_text(), PACKAGE.name)
            if layering.within(one.target, 'korora_nova')
        ]
        self.assertEqual([], found)


class TestDocument(testtools.TestCase):
    """doc/source/contributor/tempest.rst describes what is there."""

    def setUp(self) -> None:
        super().setUp()
        root = pathlib.Path(__file__).resolve().parents[3]
        self.text = (root / 'doc/source/contributor/tempest.rst').read_text()

    def test_options(self) -> None:
        told = re.findall(r'^``(\w+)`` {2,}\S', self.text, re.MULTILINE)
        options = {one.dest for one in config.OPTIONS}
        self.assertEqual(options, set(told) & options)
        set_there = re.findall(r'^  (\w+) = ', self.text, re.MULTILINE)
        self.assertEqual(set(), set(set_there) - options)

    def test_defaults(self) -> None:
        for one in config.OPTIONS:
            if isinstance(one.default, int):
                row = re.search(
                    rf'^``{one.dest}``.*?(?=^``|^==)',
                    self.text,
                    re.MULTILINE | re.DOTALL,
                )
                assert row is not None
                self.assertIn(f'({one.default})', row[0])

    def test_classes(self) -> None:
        classes = {
            node.name
            for _, tree in sources()
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
        }
        told = set(re.findall(r'``(\w+Test)``', self.text))
        self.assertNotEqual(set(), told)
        self.assertEqual(set(), told - classes)
