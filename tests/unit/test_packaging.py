# SPDX-License-Identifier: Apache-2.0
"""What setup.cfg promises is there."""

import configparser
import importlib.metadata
import pathlib
import re
import sys

import testtools

from tests.unit import test_layering as layering

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPDX = '# SPDX-License-Identifier: Apache-2.0'


def entry_points() -> list[importlib.metadata.EntryPoint]:
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    found = []
    for group, text in config['entry_points'].items():
        for line in text.strip().splitlines():
            name, value = line.split(' = ')
            found.append(importlib.metadata.EntryPoint(name, value, group))
    return found


class TestPackaging(testtools.TestCase):
    def test_every_entry_point_loads(self) -> None:
        points = entry_points()
        self.assertNotEqual([], points)
        for point in points:
            self.assertIsNotNone(point.load(), point)

    def test_every_command_of_the_plugin_is_an_entry_point(self) -> None:
        promised = {
            point.value
            for point in entry_points()
            if point.group == 'openstack.attestation.v1'
        }
        written = set()
        for path in (ROOT / 'korora_nova' / 'osc').glob('*.py'):
            for line in path.read_text().splitlines():
                if line.startswith('class ') and path.stem not in (
                    'base',
                    'diagnosis',
                    'documents',
                    'events',
                    'fleet',
                    'plugin',
                    'progress',
                    'proposal',
                    'steps',
                    'watcher',
                ):
                    name = line.split()[1].split('(')[0]
                    if not name.startswith('_'):
                        written.add(f'korora_nova.osc.{path.stem}:{name}')
        self.assertEqual(promised, written)

    def test_every_file_says_its_license(self) -> None:
        trees = (
            'korora_dashboard',
            'korora_nova',
            'korora_tempest_plugin',
            'nova',
            'tests',
            'tools',
            'doc',
            'api-ref',
        )
        without = [
            str(path.relative_to(ROOT))
            for tree in trees
            for path in (ROOT / tree).rglob('*.py')
            if path.stat().st_size
            and SPDX not in path.read_text().splitlines()[:2]
        ]
        self.assertEqual([], without)


class TestRequirements(testtools.TestCase):
    """What the code imports is what the package asks for."""

    def names(self, text: str) -> set[str]:
        found = set()
        for line in text.splitlines():
            name = re.match(r'[A-Za-z0-9._-]+', line)
            if name:
                found.add(_normal(name[0]))
        return found

    def imported(self) -> set[str]:
        owners = importlib.metadata.packages_distributions()
        ours = {'korora_nova', 'korora_tempest_plugin'}
        found = set()
        for package in ours:
            for path in (ROOT / package).rglob('*.py'):
                for target in layering.imports(path.read_text(), package):
                    top = target.target.split('.')[0]
                    if top == 'opentelemetry':  # of its SDK, maybe
                        found.add('opentelemetry-api')
                    elif top not in sys.stdlib_module_names | ours:
                        found |= {_normal(owner) for owner in owners[top]}
        return found

    def test_requirements_are_the_imports(self) -> None:
        config = configparser.ConfigParser()
        config.read(ROOT / 'setup.cfg')
        wanted = self.names((ROOT / 'requirements.txt').read_text())
        for name, extra in config['extras'].items():
            # Horizon is not in this environment: see test_dashboard.
            if name != 'horizon':
                wanted |= self.names(extra.strip())
        # pbr builds; PyMySQL and the like are the operator's choice.
        self.assertEqual(wanted - {'pbr'}, self.imported())


def _normal(name: str) -> str:
    return re.sub(r'[-_.]+', '-', name).lower()
