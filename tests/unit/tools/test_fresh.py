# SPDX-License-Identifier: Apache-2.0
"""What tools/fresh reads: apt, pip, the README, a command's last words."""

import pathlib
import re

import fixtures
import testtools

from korora_tools import checkout
from korora_tools.fresh import cli, sources, stranger

TARGETS = """\
Debian bookworm http://mirror.example/debian/
Debian bookworm-updates http://mirror.example/debian/
Debian bookworm-security http://other.example/debian-security/
Example stable https://example.org/
"""
DUMP = """\
APT "";
Acquire::http::Proxy "http://proxy.example:3142";
Acquire::IndexTargets::deb::Packages::MetaKey "x";
Acquire::cdrom::mount "/media/cdrom/";
Acquire::Check-Valid-Until "false";
Dir::Cache "var/cache/apt";
"""


class TestSources(testtools.TestCase):
    def test_the_mirror_of_this_machine(self) -> None:
        mirror = sources.mirror(TARGETS)
        self.assertEqual(
            'deb http://mirror.example/debian trixie main\n'
            'deb http://mirror.example/debian trixie-updates main\n'
            'deb http://other.example/debian-security trixie-security main\n',
            mirror.sources('trixie'),
        )

    def test_debians_own_where_there_is_none(self) -> None:
        for targets in (
            '',
            'Example stable https://example.org/\n',
            'Debian bookworm file:/srv/debian\n',
        ):
            self.assertEqual(sources.Mirror(), sources.mirror(targets))

    def test_apt_settings_are_those_of_the_network(self) -> None:
        self.assertEqual(
            'Acquire::http::Proxy "http://proxy.example:3142";\n'
            'Acquire::Check-Valid-Until "false";\n',
            sources.apt_settings(DUMP),
        )

    def test_paths_named_in_configuration(self) -> None:
        named = sources.named_paths(
            [
                '[global]\n# find-links = /not/this\n; nor = /this\n'
                'find-links = /wheels file:///more/wheels/\n'
                'index-url = https://example.org/simple\n'
                'cert=/etc/ssl/ca.pem\n',
                '/from/a/variable',
            ]
        )
        self.assertEqual(
            ['/etc/ssl/ca.pem', '/from/a/variable', '/more/wheels', '/wheels'],
            named,
        )

    def test_proxies_and_pips_options_are_taken_along(self) -> None:
        environ = {'PIP_INDEX_URL': 'a', 'https_proxy': 'b', 'NO_PROXY': 'c'}
        self.assertEqual(
            environ,
            sources.variables({**environ, 'OS_TOKEN': 'd', 'HOME': '/e'}),
        )


class TestBinds(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.home = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.environ = {
            'HOME': str(self.home),
            'XDG_CONFIG_DIRS': str(self.home / 'xdg'),
        }

    def binds(self, **environ: str) -> list[str]:
        found = sources.binds({**self.environ, **environ})
        # The machine that runs this may have a file of its own.
        here = sources.binds(self.environ) if environ else found
        return [
            path
            for path in found
            if path.startswith(str(self.home)) or path not in here
        ]

    def test_what_exists_of_what_is_named(self) -> None:
        for name in ('.config/pip', 'index/simple', 'index/files', 'wheels'):
            (self.home / name).mkdir(parents=True)
        (self.home / '.config/pip/pip.conf').write_text(
            f'[global]\nextra-index-url = file://{self.home}/index/simple\n'
            f'find-links = {self.home}/gone\n'
        )
        self.assertEqual(
            sorted(
                str(self.home / name)
                for name in ('.config/pip', 'index', 'wheels')
            ),
            sorted(self.binds(PIP_FIND_LINKS=f'{self.home}/wheels')),
        )

    def test_nothing_twice(self) -> None:
        (self.home / '.config/pip').mkdir(parents=True)
        (self.home / '.config/pip/constraints.txt').write_text('')
        (self.home / '.config/pip/pip.conf').write_text(
            f'[global]\nconstraint = {self.home}/.config/pip/constraints.txt\n'
        )
        self.assertEqual([str(self.home / '.config/pip')], self.binds())

    def test_certificates_of_the_system_are_its_own(self) -> None:
        ours = sources.binds({**self.environ, 'PIP_CERT': '/etc/ssl/certs'})
        self.assertNotIn('/etc/ssl/certs', ours)


class TestStranger(testtools.TestCase):
    def test_the_readme_says_what_comes_first(self) -> None:
        steps = stranger.prerequisites(
            (checkout.ROOT / 'README.rst').read_text()
        )
        self.assertEqual('apt-get update', steps[0])
        for name in ('python3', 'git', 'ca-certificates'):
            self.assertIn(name, steps[1].split())

    def test_the_launcher_says_the_same(self) -> None:
        steps = stranger.prerequisites(
            (checkout.ROOT / 'README.rst').read_text()
        )
        self.assertIn(steps[1], (checkout.ROOT / 'tools/launch').read_text())

    def test_versions_agree(self) -> None:
        readme = (checkout.ROOT / 'README.rst').read_text()
        rows = re.findall(r'^\d+ (\w+) +(3\.\d+) ', readme, re.M)
        self.assertEqual(list(sources.RELEASES), [name for name, _ in rows])
        setup = (checkout.ROOT / 'setup.cfg').read_text()
        self.assertEqual(
            [python for _, python in rows],
            re.findall(r'Python :: (3\.\d+)$', setup, re.M),
        )

    def test_the_last_words_count(self) -> None:
        for command, lines, expected in (
            (
                'demo',
                ['x', '18 of 18 scenarios as expected', 'guest'],
                (18, 0),
            ),
            ('demo', ['17 of 18 scenarios as expected'], (17, 1)),
            (
                'test',
                [
                    '1 passed, 1 failed, 0 skipped so far',
                    '900 passed, 2 failed, 1 skipped',
                ],
                (900, 2),
            ),
            ('test', ['error: no lab'], (0, 1)),
            ('demo', [], (0, 1)),
            (
                'life',
                [
                    '  8.9s  ok  34: 1/2 stop and start (vtpm): SHUTOFF (9 s)',
                    '  9.1s  !!! mixed: 2/2 delete (plain): gone (3 s)',
                    '  9.2s  ok  virtual environment (1.0 s)',
                ],
                (1, 1),
            ),
            ('life', ['error: no lab'], (0, 1)),
        ):
            self.assertEqual(expected, stranger.count(command, lines))

    def test_versions_are_the_makers(self) -> None:
        for debian, upstream in (
            ('3.11.2-1+b1', '3.11.2'),
            ('1:7.2+dfsg-7+deb12u16', '7.2'),
            ('1:10.11.14-0+deb12u2', '10.11.14'),
            ('9.0.0-4', '9.0.0'),
            ('0.7.1-1.3', '0.7.1'),
            ('4.1.3-1.2', '4.1.3'),
        ):
            self.assertEqual(upstream, stranger.upstream(debian))


class TestOptions(testtools.TestCase):
    def test_release_and_command_are_optional(self) -> None:
        options = cli.parser().parse_args([])
        self.assertEqual(
            ('trixie', 'demo'), (options.release, options.command)
        )
        options = cli.parser().parse_args(['bookworm', 'test'])
        self.assertEqual(
            ('bookworm', 'test'), (options.release, options.command)
        )
