# SPDX-License-Identifier: Apache-2.0
"""What documents and samples name exists: options, commands, files."""

from __future__ import annotations

import argparse
import configparser
import contextlib
import functools
import importlib.metadata
import io
import pathlib
import re
import shlex
from collections.abc import Iterator

import fixtures
import nova.conf
import testtools
from keystoneauth1 import loading as ks_loading
from oslo_config import cfg

from korora_nova import conf as options
from korora_nova.cmd import manage
from tests.unit import test_packaging as packaging

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLES = ROOT / 'etc' / 'korora'
GENERATOR = SAMPLES / 'korora-config-generator.conf'
# "[section] option", perhaps with a value, over the end of a line or not.
OPTION = re.compile(r'``\[(\w+)\]\s+(\w+)(?:\s*=\s*([^`]*))?``')
INLINE = re.compile(
    r'``((?:openstack\s+attestation|korora-(?:manage|status))'
    r'\s[^`]+)``'
)
TYPED = re.compile(
    r'\s+(?:[#$] )?((?:runuser -u \w+ -- )?'
    r'(?:openstack attestation|korora-(?:manage|status)) .*)'
)
PLACES = re.compile(r'(?:share|etc)/korora/([\w./-]*\w)')
DEVSTACK_VARIABLE = re.compile(r'\bKORORA_[A-Z_]+\b')
SHARED = {'nova-compute', 'nova-scheduler'}


def documents() -> list[pathlib.Path]:
    """Everything that an operator reads."""
    found = [ROOT / 'README.rst', SAMPLES / 'README.rst']
    for tree, pattern in (
        ('doc/source', '*.rst'),
        ('devstack', '*.rst'),
        ('releasenotes/notes', '*.yaml'),
    ):
        found += sorted((ROOT / tree).rglob(pattern))
    return [path for path in found if '_generated' not in path.parts]


def where(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


# -- options --------------------------------------------------------------

Known = dict[str, set[str]]


def known(*namespaces: str) -> Known:
    """Section -> options, of packages that list theirs for the generator."""
    found: Known = {}
    points = importlib.metadata.entry_points(group='oslo.config.opts')
    for namespace in namespaces:
        if namespace == 'korora':
            listed = options.list_opts()
        else:
            listed = next(p for p in points if p.name == namespace).load()()
        for group, opts in listed:
            names = found.setdefault(str(group or 'DEFAULT'), set())
            names.update(opt.dest for opt in opts)
    return found


def service() -> Known:
    """Ours, and the libraries' whose options we have in the sample."""
    names = re.findall(r'namespace = (\S+)', GENERATOR.read_text())
    found = known(*names)
    # keystonemiddleware leaves out what the chosen plugin adds.
    plugin_opts = ks_loading.get_auth_plugin_conf_options('password')
    found['keystone_authtoken'].update(opt.dest for opt in plugin_opts)
    return found


@functools.cache
def everything() -> Known:
    merged = service()
    for group, names in known('nova.conf').items():
        merged.setdefault(group, set()).update(names)
    return merged


def for_document(path: pathlib.Path) -> Known:
    """The options that a document may name; one is about Tempest's."""
    exist = everything()
    if path.stem != 'tempest':
        return exist
    # It lists those of its plugins, ours among them.
    theirs = known('tempest.config')
    return {
        group: exist.get(group, set()) | theirs.get(group, set())
        for group in {*exist, *theirs}
    }


def settings(text: str) -> Iterator[tuple[str, str, str]]:
    """Section, option and value of every line of a configuration file."""
    section = ''
    for line in text.splitlines():
        line = line.strip()
        if line.startswith('['):
            section = line.strip('[]')
        elif line and not line.startswith('#'):
            name, _, value = line.partition('=')
            yield section, name.strip(), value.strip()


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Section and option of what is shown as configuration in a document.

    A section on a line of its own begins it; it ends with a line that is
    no option. What DevStack's [[...]] hold are shell variables, but for
    sections in them.
    """
    section = ''
    for line in text.splitlines():
        line = line.strip()
        if found := re.fullmatch(r'\[(\w+)\]', line):
            section = found[1]
        elif found := re.fullmatch(r'([a-z]\w*)\s*=.*', line):
            if section:
                yield section, found[1]
        elif line and not line.startswith('#'):
            section = ''


class TestOptions(testtools.TestCase):
    def test_options_in_documents_exist(self) -> None:
        seen, missing = 0, []
        for path in documents():
            exist = for_document(path)
            for section, name, _ in OPTION.findall(path.read_text()):
                seen += 1
                if name not in exist.get(section, ()):
                    missing.append(f'{where(path)}: [{section}] {name}')
        self.assertEqual([], missing)
        self.assertGreater(seen, 20)

    def test_options_in_blocks_exist(self) -> None:
        samples = [path for path in (ROOT / 'devstack').rglob('*.conf*')]
        for path in (*documents(), *samples):
            exist = for_document(path)
            for section, name in blocks(path.read_text()):
                self.assertIn(name, exist.get(section, ()), where(path))

    def test_blocks_are_found(self) -> None:
        self.assertEqual(
            [('libvirt', 'swtpm_enabled'), ('DEFAULT', 'my_ip')],
            list(
                blocks(
                    '[[post-config|$NOVA_CONF]]\nX=1\n[libvirt]\n'
                    '# text\nswtpm_enabled = true\n\n[DEFAULT]\n'
                    'my_ip=1\nText.\nother = 1\n'
                )
            ),
        )

    def test_a_name_that_does_not_exist_is_found(self) -> None:
        exist = everything()
        self.assertNotIn('live_migration_inbound_interface', exist['libvirt'])
        self.assertIn('swtpm_enabled', exist['libvirt'])

    def test_options_in_samples_exist(self) -> None:
        ours, nova = service(), everything()
        for path in sorted(SAMPLES.glob('*.conf.snippet')):
            of_nova = path.name.split('.')[0] in SHARED
            exist = nova if of_nova else ours
            found = list(settings(path.read_text()))
            self.assertNotEqual([], found, path)
            self.assertEqual(
                [],
                [
                    (path.name, section, name)
                    for section, name, _ in found
                    if name not in exist.get(section, ())
                ],
            )

    def test_processes_take_their_samples(self) -> None:
        for name, register, groups in (
            ('agent', options.register_attester_opts, ['service_auth']),
            ('korora', options.register_verifier_opts, ['nova']),
            ('enforcer', options.register_response_opts, ['response']),
            ('nova-compute', options.register_korora_opts, ['korora']),
            ('nova-scheduler', options.register_korora_opts, ['korora']),
        ):
            path = SAMPLES / f'{name}.conf.snippet'
            conf = options.parse([], [str(path)])
            register(conf)
            for group in groups:
                auth = ks_loading.load_auth_from_conf_options(conf, group)
                self.assertIsNotNone(auth, path)
            registered = 0
            for section, option, value in settings(path.read_text()):
                with contextlib.suppress(
                    cfg.NoSuchOptError, cfg.NoSuchGroupError
                ):
                    self.assertEqual(value, written(conf[section][option]))
                    registered += 1
            self.assertGreater(registered, len(groups), path)

    def test_nova_takes_its_samples(self) -> None:
        conf = nova_options('nova-compute', 'nova-scheduler')
        self.assertTrue(conf.libvirt.swtpm_enabled)
        self.assertEqual(
            'COMPUTE_ADDRESS', conf.libvirt.live_migration_inbound_addr
        )
        filters = nova_options().filter_scheduler.enabled_filters
        self.assertEqual(
            [*filters, 'AttestationFilter'],
            conf.filter_scheduler.enabled_filters,
        )


def written(value: object) -> str:
    """An option's value as a file has it."""
    if isinstance(value, list):
        return ','.join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def nova_options(*samples: str) -> cfg.ConfigOpts:
    """Nova's sections that our samples add to, read from these samples."""
    conf = cfg.ConfigOpts()
    nova.conf.libvirt.register_opts(conf)
    nova.conf.scheduler.register_opts(conf)
    conf(
        [],
        default_config_files=[
            str(SAMPLES / f'{name}.conf.snippet') for name in samples
        ],
    )
    return conf


# -- commands -------------------------------------------------------------


def plugin() -> dict[str, type]:
    """Words after "openstack" -> the class that takes the rest."""
    return {
        point.name.replace('_', ' '): point.load()
        for point in packaging.entry_points()
        if point.group == 'openstack.attestation.v1'
    }


def typed(text: str) -> Iterator[str]:
    """Commands that stand on lines of their own, continued or not."""
    text = re.sub(r'\\\n\s*', '', text)
    for line in text.splitlines():
        if found := TYPED.fullmatch(line):
            yield found[1]


def mentioned(text: str) -> Iterator[str]:
    """Commands within sentences; patterns of several are left out."""
    for found in INLINE.findall(text):
        words = ' '.join(found.split())
        if not re.search(r'[|\[]', words):
            yield words


class TestCommands(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.commands = plugin()
        self.config = (
            pathlib.Path(self.useFixture(fixtures.TempDir()).path)
            / 'korora.conf'
        )
        self.config.touch()

    def check(self, command: str, strict: bool) -> None:
        """Take it as the program would. Raises ValueError."""
        command = re.sub(r'\$\([^)]*\)', 'SUBSTITUTED', command)
        words = shlex.split(command, comments=True)
        if words[0] == 'runuser':
            words = words[words.index('--') + 1 :]
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                self._check(words, strict)
        except SystemExit:
            raise ValueError(f'{command}: {said.getvalue()}') from None

    def _check(self, words: list[str], strict: bool) -> None:
        program, rest = words[0], words[1:]
        if program == 'openstack':
            self._openstack(rest, strict)
            return
        if '--config-file' in rest:
            rest[rest.index('--config-file') + 1] = str(self.config)
        if program == 'korora-manage':
            conf = cfg.ConfigOpts()
            conf.register_cli_opt(
                cfg.SubCommandOpt('command', handler=manage._add_parsers)
            )
            options.parse(rest, [], conf=conf)
        elif rest[-2:] != ['upgrade', 'check']:
            raise ValueError(' '.join(words))

    def _openstack(self, words: list[str], strict: bool) -> None:
        for size in (3, 2):
            command = self.commands.get(' '.join(words[:size]))
            if command is not None:
                parser: argparse.ArgumentParser = command(
                    None, None
                ).get_parser('openstack')
                if strict or words[size:]:
                    parser.parse_args(words[size:])
                return
        raise ValueError('no command openstack ' + ' '.join(words))

    def test_commands_in_documents_are_taken(self) -> None:
        seen = 0
        for path in documents():
            text = path.read_text()
            for strict, found in (
                (True, typed(text)),
                (False, mentioned(text)),
            ):
                for command in found:
                    seen += 1
                    self.check(command, strict)
        self.assertGreater(seen, 30)

    def test_wrong_ones_are_not(self) -> None:
        for wrong in (
            'openstack attestation host approve h1',
            'openstack attestation host forget h1',
            'openstack attestation host delete h1 --hard',
            'korora-manage db upgrade',
            'korora-manage keys create --folder NEW',
            'korora-status upgrade',
        ):
            self.assertRaises(ValueError, self.check, wrong, True)

    def test_continued_lines_are_one_command(self) -> None:
        self.assertEqual(
            ['openstack attestation ledger show X'],
            list(
                typed(
                    'text\n\n   $ openstack attestation ledger show \\\n'
                    '         X\n'
                )
            ),
        )


# -- versions -------------------------------------------------------------


class TestVersions(testtools.TestCase):
    def test_nova_is_the_one_that_the_lab_installs(self) -> None:
        constraints = ROOT / 'tools' / 'korora_tools' / 'constraints.txt'
        installed = re.search(
            r'^nova==(\S+)$', constraints.read_text(), re.MULTILINE
        )
        assert installed is not None
        rows = re.findall(
            r'^\d+ \w+ +3\.\d+ +(\S+) ',
            (ROOT / 'README.rst').read_text(),
            re.MULTILINE,
        )
        self.assertEqual([installed[1]] * 2, rows)
        requirements = ROOT / 'doc/source/install/requirements.rst'
        self.assertIn(f'with {installed[1]} ', requirements.read_text())


# -- files ----------------------------------------------------------------


class TestFiles(testtools.TestCase):
    def test_samples_that_are_named_exist(self) -> None:
        seen = set()
        for path in documents():
            for name in PLACES.findall(path.read_text()):
                if (
                    name.endswith('.sample')
                    or '/' in where(path)
                    and (f'/etc/korora/{name}' in path.read_text())
                ):
                    continue
                seen.add(name)
                self.assertTrue((SAMPLES / name).exists(), (path, name))
        self.assertGreater(len(seen), 3)

    def test_readme_of_the_samples_names_all(self) -> None:
        text = (SAMPLES / 'README.rst').read_text()
        for path in SAMPLES.iterdir():
            if path.is_file() and path.suffix not in ('.rst', '.conf'):
                self.assertIn(f'``{path.name}``', text)

    def test_settings_of_devstack_exist(self) -> None:
        defined = ''.join(
            path.read_text()
            for path in (ROOT / 'devstack').rglob('*')
            if path.is_file() and path.suffix != '.rst'
        )
        text = (ROOT / 'doc/source/install/devstack.rst').read_text()
        named = set(DEVSTACK_VARIABLE.findall(text))
        self.assertNotEqual(set(), named)
        self.assertEqual(
            [], [name for name in sorted(named) if name not in defined]
        )

    def test_the_service_files_start_what_is_installed(self) -> None:
        config = configparser.ConfigParser()
        config.read(ROOT / 'setup.cfg')
        scripts = config['entry_points']['console_scripts']
        for path in SAMPLES.glob('*.service'):
            program = re.search(
                r'^ExecStart=/opt/korora/bin/(\S+)', path.read_text(), re.M
            )
            assert program is not None, path
            self.assertTrue(
                program[1] == 'uwsgi' or f'{program[1]} = ' in scripts
            )
