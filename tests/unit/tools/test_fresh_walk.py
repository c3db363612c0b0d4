# SPDX-License-Identifier: Apache-2.0
"""The installation guide can be followed by tools/fresh, all of it."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping
from unittest import mock

import fixtures
import testtools

from korora_tools.fresh import document, nodes, units, walk
from korora_tools.lab import paths

ROOT = pathlib.Path(__file__).resolve().parents[3]
GUIDE = ROOT / 'doc' / 'source' / 'install'
SAMPLES = ROOT / 'etc' / 'korora'
# Capitals with an underscore, but for variables and keywords of the shell.
WORD = re.compile(r'(?<![$\w])[A-Z]+(?:_[A-Z]+)+\b')
NOT_OURS = {'KORORA_CONFIG_DIR'}


class TestGuide(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.pages = document.pages(GUIDE / 'index.rst')
        self.words = document.words(GUIDE / 'index.rst')
        self.steps = [
            step for page in self.pages for step in document.steps(page)
        ]

    def test_all_pages_but_other_ways_are_followed(self) -> None:
        others = {
            f'{name}.rst'
            for name in (
                'index units packages ansible kolla devstack horizon'.split()
            )
        }
        names = {path.name for path in self.pages}
        self.assertEqual(
            {path.name for path in GUIDE.glob('*.rst')}, names | others
        )

    def test_every_block_of_commands_is_followed(self) -> None:
        followed = {(step.path, step.line) for step in self.steps}
        blocks = 0
        for page in self.pages:
            lines = page.read_text().splitlines()
            for number, line in enumerate(lines, 1):
                if line.strip() == '.. code-block:: console':
                    blocks += 1
                    self.assertIn((page, number - 1), followed)
                # No other way to show commands.
                self.assertNotRegex(line, r'^(?! *\.\. ).*::$')
        self.assertGreater(blocks, 15)
        self.assertGreater(sum(len(step.commands) for step in self.steps), 40)

    def test_words_are_explained_and_known(self) -> None:
        lab = paths.Lab(pathlib.Path(self.useFixture(fixtures.TempDir()).path))
        lab.cache.mkdir()
        kept = {
            step.ways['keep'] for step in self.steps if 'keep' in step.ways
        }
        self.assertEqual(self.words, set(walk.values(lab)) | kept)

    def test_every_word_is_explained_and_used(self) -> None:
        texts = [
            command.text for step in self.steps for command in step.commands
        ]
        texts += [
            path.read_text()
            for pattern in ('*.snippet', '*.ini')
            for path in SAMPLES.glob(pattern)
        ]
        used = {
            word
            for text in texts
            for word in (
                *WORD.findall(text),
                *re.findall(
                    r'\b(?:COMPUTE|IMAGE|REPOSITORY|'
                    r'CONSTRAINTS)\b',
                    text,
                ),
            )
        }
        self.assertEqual(self.words, used - NOT_OURS)

    def test_samples_that_are_installed_are_edited(self) -> None:
        """A copy with words in capitals in it is opened right away."""
        commands = [
            command.text for step in self.steps for command in step.commands
        ]
        for at, command in enumerate(commands):
            if '/opt/korora/share/korora/' not in command:
                continue
            name = re.search(r'share/korora/(\S+)', command)
            assert name is not None
            text = (SAMPLES / name[1]).read_text()
            if any(re.search(rf'\b{word}\b', text) for word in self.words):
                self.assertRegex(commands[at + 1], r'^\$EDITOR \S+$')

    def test_units_that_are_enabled_can_be_started(self) -> None:
        enabled = [
            command.text.split()[-1]
            for step in self.steps
            for command in step.commands
            if command.text.startswith('systemctl enable --now ')
        ]
        self.assertEqual(
            ['korora-api', 'korora-agent', 'korora-enforcer'], enabled
        )
        for name in enabled:
            unit = units.read((SAMPLES / f'{name}.service').read_text())
            self.assertIn('--no-new-privs', unit.script)

    def test_secrets_are_not_readable_by_all(self) -> None:
        secret = {
            path.name
            for path in SAMPLES.glob('*.snippet')
            if 'PASSWORD' in path.read_text()
            and not path.name.startswith('nova-')
        }
        modes = {}
        for step in self.steps:
            for command in step.commands:
                if found := re.fullmatch(
                    r'install -m (\d+) .*/(\S+\.snippet) \S+', command.text
                ):
                    modes[found[2]] = found[1]
        self.assertEqual(secret, set(modes))
        self.assertEqual(
            set(), {mode for mode in modes.values() if not mode.endswith('0')}
        )


class StandIn:
    """A node on which everything goes well, and which remembers it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root = pathlib.Path('/node')
        self.done: list[str] = []
        self.files: dict[str, str] = {
            '/etc/nova/nova.conf': '[libvirt]\nswtpm_user = old\n',
            '/etc/korora/keys.json': '{}',
        }
        self.tiers = ['', 'pending', 'NO_REFERENCE', 'affirming']
        self.fails = ''

    def read(self, path: str) -> str:
        sample = SAMPLES / f'{pathlib.Path(path).name}.snippet'
        if path not in self.files and not sample.exists():
            sample = SAMPLES / pathlib.Path(path).name
        return self.files.get(path) or sample.read_text()

    def write(self, path: str, text: str) -> None:
        self.files[path] = text

    def run(
        self,
        text: str,
        env: Mapping[str, str] | None = None,
    ) -> tuple[int, str]:
        self.done.append(text)
        if self.fails and self.fails in text:
            return 3, 'no such thing'
        if 'host list' in text:
            tier = self.tiers.pop(0) if self.tiers[1:] else self.tiers[0]
            return 0, f'| h1 | {tier} |'
        if 'tpm2_nvread' in text:
            return 0, 'WARN: something\nc0ffee  -\n'
        return 0, '| holder | h1 |' if 'server show' in text else ''

    def start(self, name: str) -> None:
        self.done.append(f'start {name}')

    def check(self) -> None:
        return


class TestWalk(testtools.TestCase):
    """The whole guide, on nodes that are not there."""

    def setUp(self) -> None:
        super().setUp()
        self.lab = paths.Lab(
            pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        )
        self.lab.make()
        self.controller = StandIn('controller')
        self.compute = StandIn('compute')
        for target, name, value in (
            (nodes, 'controller', mock.Mock(return_value=self.controller)),
            (nodes, 'compute', mock.Mock(return_value=self.compute)),
            (nodes, 'call', mock.Mock()),
            (walk.processes, 'into', mock.Mock(return_value=['true'])),
            (walk.processes, 'stop', mock.Mock()),
            (walk.processes, 'restart', mock.Mock()),
            (walk.processes, 'wait_for', mock.Mock()),
            (walk.control, 'consumers', mock.Mock()),
            (walk.time, 'sleep', mock.Mock()),
            (walk.ui, 'say', mock.Mock()),
        ):
            self.useFixture(fixtures.MockPatchObject(target, name, value))
        self.walk = walk.Walk(self.lab, self.lab.root, [])

    def follow(self) -> None:
        for page in document.pages(GUIDE / 'index.rst'):
            for step in document.steps(page):
                self.walk.step(step)

    def test_to_the_end(self) -> None:
        self.follow()
        done = self.controller.done
        self.assertIn('start korora-api', done)
        self.assertIn('start korora-agent', self.compute.done)
        self.assertIn('openstack attestation host approve h1 c0ffee', done)
        self.assertLess(
            done.index(
                'openstack attestation reference create '
                'compute-2026-11 --host h1'
            ),
            next(at for at, text in enumerate(done) if 'first' in text),
        )
        restarted = [
            call.args[1] for call in walk.processes.restart.call_args_list
        ]
        self.assertEqual(
            ['h1/nova-compute', 'nova-scheduler', 'nova'], restarted
        )
        self.assertEqual('{}', self.compute.files['/root/keys.json'])
        agent = self.compute.files['/etc/korora/agent.conf']
        self.assertIn('address = 10.77.0.11\n', agent)
        self.assertIn('tcti = swtpm:', agent)
        for node in (self.controller, self.compute):
            for path, text in node.files.items():
                self.assertEqual([], WORD.findall(text), path)
        self.assertIn(
            '\nswtpm_user = tss\n', self.compute.files['/etc/nova/nova.conf']
        )
        self.assertGreater(self.walk.passed, 45)

    def test_a_failure_names_its_place(self) -> None:
        self.compute.fails = '-m venv'
        error = self.assertRaises(walk.Failed, self.follow)
        self.assertRegex(
            str(error),
            r'^agent\.rst:\d+ compute: python3 -m '
            r'venv /opt/korora\nit ended with 3:\nno such',
        )

    def test_what_is_waited_for_has_to_come(self) -> None:
        self.controller.tiers = ['contraindicated']
        self.useFixture(fixtures.MockPatchObject(walk, 'PATIENCE', 0.01))
        error = self.assertRaises(walk.Failed, self.follow)
        self.assertRegex(str(error), r'^trust\.rst:17 ')

    def test_an_unknown_service_is_refused(self) -> None:
        for words in ('restart sshd', 'enable korora-api', 'stop nova-api'):
            self.assertRaises(
                walk.Failed, self.walk._systemctl, 'controller', words.split()
            )
