# SPDX-License-Identifier: Apache-2.0
"""Units, packages and roles come from one source, and fit together."""

import configparser
import os
import pathlib
import re
import unittest

from korora_tools.deploy import packages

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLES = ROOT / 'etc/korora'
DEBIAN = ROOT / 'debian'
COLLECTION = ROOT / 'deploy/ansible'
AGENT = 'korora-agent.service'
#: What differs between processes, not between sandboxes.
OWN = re.compile(
    r'(Type|NotifyAccess|User|Group|ExecStart|Restart|RestartSec|'
    r'TimeoutStartSec|LoadCredential)='
)


def service(path: pathlib.Path) -> list[str]:
    """The lines of [Service], comments left out."""
    text = path.read_text().partition('[Service]')[2].partition('\n[')[0]
    return [line for line in text.splitlines() if line and line[0] != '#']


class UnitsTest(unittest.TestCase):
    def sandbox(self, name: str) -> list[str]:
        return [
            line for line in service(SAMPLES / name) if not OWN.match(line)
        ]

    def test_all_of_the_service_have_the_same_sandbox(self) -> None:
        wanted = self.sandbox('korora-api.service')
        self.assertGreater(len(wanted), 25)
        for path in SAMPLES.glob('*.service'):
            if path.name != AGENT:
                with self.subTest(path.name):
                    self.assertEqual(wanted, self.sandbox(path.name))

    def test_what_the_agents_lacks_of_it_is_what_it_needs(self) -> None:
        less = set(self.sandbox('korora-api.service')) - set(
            self.sandbox(AGENT)
        )
        self.assertEqual(
            {
                'CapabilityBoundingSet=',
                'PrivateDevices=yes',
                'PrivateUsers=yes',
                'ProcSubset=pid',
            },
            {line for line in less if 'Directory' not in line}
            - {one for one in less if one.startswith('ReadWritePaths=')},
        )

    def test_each_has_a_credential_of_its_file(self) -> None:
        for path in SAMPLES.glob('*.service'):
            given = [
                line.partition('=')[2]
                for line in service(path)
                if line.startswith('LoadCredential=')
            ]
            with self.subTest(path.name):
                self.assertRegex(
                    given[0],
                    r'^korora\.secrets:korora-(api|agent|enforcer)\.secrets$',
                )


class DebianTest(unittest.TestCase):
    def test_packages(self) -> None:
        names = re.findall(
            r'^Package: (\S+)$', (DEBIAN / 'control').read_text(), re.M
        )
        self.assertEqual(set(packages.NAMES), set(names))

    def test_what_builds_them(self) -> None:
        self.assertIn('libtss2-dev', packages.needed())
        self.assertNotIn('debhelper-compat', packages.needed())

    def test_every_unit_and_program_is_in_one(self) -> None:
        rules = (DEBIAN / 'rules').read_text()
        for path in SAMPLES.glob('*.service'):
            name = path.stem.removeprefix('korora-')
            self.assertRegex(rules, rf'SERVICES = .*\b{name}\b|{path.name}')
        config = configparser.ConfigParser()
        config.read(ROOT / 'setup.cfg')
        split = (DEBIAN / 'split').read_text()
        for line in config['entry_points']['console_scripts'].split('\n'):
            if name := line.partition(' = ')[0].removeprefix('korora-'):
                self.assertRegex(split, rf'\b{name}\b')


class CollectionTest(unittest.TestCase):
    def test_roles_have_links_and_no_copies(self) -> None:
        files = list(COLLECTION.glob('roles/*/files/*'))
        self.assertGreater(len(files), 10)
        for path in files:
            with self.subTest(path.name):
                self.assertTrue(path.is_symlink())
                self.assertEqual(
                    SAMPLES / path.name, pathlib.Path(os.path.realpath(path))
                )

    def test_the_playbook_upgrades_in_order(self) -> None:
        text = (COLLECTION / 'playbooks/site.yml').read_text()
        self.assertEqual(
            ['service', 'agent', 'nova_compute', 'nova_scheduler'],
            re.findall(r'role: korora\.attestation\.(\w+)', text),
        )
