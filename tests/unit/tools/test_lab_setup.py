# SPDX-License-Identifier: Apache-2.0
"""Set-up: what it installs, what it leaves off, and how it is undone."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import fixtures
import testtools

from korora_tools import checkout, packages, ui

TOOLS = str(checkout.ROOT / 'tools')

SIMULATED = """\
Inst libnew (1.0-1 Debian:12.15/oldstable [amd64])
Inst old [1.0] (1.1 Debian:12.15/oldstable [amd64]) []
Conf libnew (1.0-1 Debian:12.15/oldstable [amd64])
"""


class TestServices(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.etc = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.units = self.etc / 'systemd/system'
        self.patch(packages, 'UNITS', self.units)
        self.patch(packages, 'SCRIPTS', self.etc)

    def link(self, place: str, target: str) -> pathlib.Path:
        path = self.etc / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
        return path

    def test_new_links_of_new_packages_go(self) -> None:
        wants = 'systemd/system/multi-user.target.wants'
        before = self.link(f'{wants}/ssh.service', '/lib/x/ssh.service')
        known = packages.links()
        ours = self.link(f'{wants}/mariadb.service', '/lib/x/mariadb.service')
        alias = self.link(
            'systemd/system/mysql.service', '/lib/x/mariadb.service'
        )
        other = self.link(f'{wants}/cron.service', '/lib/x/cron.service')
        script = self.link('rc2.d/S01rabbitmq', '../init.d/rabbitmq')
        packages.disable(
            packages.links() - known,
            [
                '/lib/systemd/system/mariadb.service',
                '/etc/init.d/rabbitmq',
                '/usr/share/doc/cron.service',
            ],
        )
        self.assertEqual(
            [True, False, False, True, False],
            [p.is_symlink() for p in (before, ours, alias, other, script)],
        )
        # An upgrade must not take it for one that was never set up.
        self.assertTrue((self.etc / 'rc2.d/K01rabbitmq').is_symlink())

    def test_what_an_interrupted_run_enabled(self) -> None:
        self.patch(packages, 'RECORD', self.etc / 'record.json')
        ours = self.link('systemd/system/a.wants/a.socket', '/x/a.socket')
        packages._record(packages=['a'], links=[])
        self.patch(
            packages, '_files', lambda _: ['/usr/lib/systemd/system/a.socket']
        )
        packages._finish()
        self.assertFalse(ours.is_symlink())
        self.assertEqual(
            {'packages': ['a']}, json.loads(packages.RECORD.read_text())
        )
        self.link('systemd/system/a.wants/a.socket', '/x/a.socket')
        packages._finish()  # by now somebody has enabled it
        self.assertTrue(ours.is_symlink())


class TestPackages(testtools.TestCase):
    """`remove`, over an apt that knows three packages of ours."""

    def setUp(self) -> None:
        super().setUp()
        record = self.useFixture(fixtures.TempDir()).join('record.json')
        self.patch(packages, 'RECORD', pathlib.Path(record))
        packages._record(packages=['lib', 'old', 'tool'])
        self.patch(packages, 'BOOTED', packages.RECORD.with_name('booted'))
        self.installed = {'lib', 'tool', 'theirs'}
        self.needs: dict[str, set[str]] = {'tool': {'lib'}}
        self.patch(packages, '_apt', self.apt)
        self.known = packages._known
        self.patch(
            packages, '_known', lambda names: set(names) & self.installed
        )
        self.patch(
            packages,
            '_needs',
            lambda names: set().union(
                *(self.needs.get(n, set()) for n in names)
            ),
        )
        out = self.useFixture(fixtures.StringStream('out')).stream
        self.useFixture(fixtures.MonkeyPatch('sys.stdout', out))

    def apt(self, *arguments: str) -> str:
        names = {a for a in arguments[1:] if not a.startswith('-')}
        gone = names | {
            user
            for user, needs in self.needs.items()
            if needs & names and user in self.installed
        }
        if '-s' in arguments:
            return ''.join(f'Purg {name} [1]\n' for name in gone)
        self.installed -= gone
        return ''

    def test_only_what_was_installed(self) -> None:
        self.assertEqual([], packages.remove())
        self.assertEqual({'theirs'}, self.installed)
        self.assertFalse(packages.RECORD.exists())

    def test_twice(self) -> None:
        packages.remove()
        self.assertEqual([], packages.remove())

    def test_no_record_is_nothing_to_remove(self) -> None:
        self.patch(packages, '_known', self.known)
        packages.RECORD.unlink()
        self.assertEqual([], packages.remove())
        self.assertEqual({'lib', 'tool', 'theirs'}, self.installed)

    def test_databases_of_somebody_stay(self) -> None:
        data = pathlib.Path(self.useFixture(fixtures.TempDir()).path, 'mysql')
        self.patch(packages, 'DATABASES', data)
        (data / 'shop').mkdir(parents=True)
        packages._remove_empty_database()
        self.assertTrue(data.exists())
        (data / 'shop').rename(data / 'sys')
        packages._remove_empty_database()
        self.assertFalse(data.exists())
        packages._remove_empty_database()

    def test_what_others_need_stays(self) -> None:
        self.needs['theirs'] = {'lib'}
        self.assertEqual(['lib'], packages.remove())
        self.assertEqual({'lib', 'theirs'}, self.installed)

    def test_never_what_was_there_before(self) -> None:
        self.needs['theirs'] = {'lib'}
        self.patch(packages, '_needs', lambda names: set())
        error = self.assertRaises(ui.Problem, packages.remove)
        self.assertIn('theirs', str(error))
        self.assertEqual({'lib', 'tool', 'theirs'}, self.installed)

    def test_the_init_that_runs_stays(self) -> None:
        packages._record(packages=['lib', 'systemd-sysv', 'tool'])
        self.installed.add('systemd-sysv')
        self.patch(packages, 'BOOTED', packages.RECORD.parent)
        self.assertEqual(['systemd-sysv'], packages.remove())
        self.assertEqual({'systemd-sysv', 'theirs'}, self.installed)

    def test_nothing_is_removed_to_install(self) -> None:
        self.patch(packages, 'missing', list)
        self.patch(packages, '_available', set)
        self.patch(packages, '_apt', lambda *a: 'Remv theirs [1]\n')
        error = self.assertRaises(ui.Problem, packages.install, ['tool'])
        self.assertIn('theirs', str(error))

    def test_upgrades_are_no_installations(self) -> None:
        self.assertEqual(['libnew'], packages.planned(SIMULATED))


class TestSignals(testtools.TestCase):
    SCRIPT = (
        'import os, signal, sys\n'
        'from korora_tools import signals\n'
        'signals.take_over()\n'
        'try:\n'
        '    os.kill(os.getpid(), int(sys.argv[1]))\n'
        'except KeyboardInterrupt:\n'
        '    os.kill(os.getpid(), int(sys.argv[1]))\n'
        '    print("in order")\n'
    )

    def told(self, number: int, ignored: int) -> str:
        """What a program says that was started to ignore a signal."""

        def start() -> None:
            for each in signal.SIGHUP, signal.SIGINT, signal.SIGTERM:
                signal.signal(each, signal.SIG_DFL)
            signal.signal(ignored, signal.SIG_IGN)

        return subprocess.run(
            [sys.executable, '-c', self.SCRIPT, str(number)],
            env={**os.environ, 'PYTHONPATH': TOOLS},
            text=True,
            capture_output=True,
            timeout=60,
            preexec_fn=start,
        ).stdout

    def test_even_if_started_to_ignore_sigint(self) -> None:
        self.assertEqual('in order\n', self.told(signal.SIGINT, signal.SIGINT))

    def test_each_ends_it_once(self) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            self.assertEqual('in order\n', self.told(number, signal.SIGINT))

    def test_nohup_holds(self) -> None:
        self.assertEqual('', self.told(signal.SIGHUP, signal.SIGHUP))


class TestClock(testtools.TestCase):
    def seconds(self, started: str) -> float:
        """What a program says whose parent began then."""
        said = subprocess.run(
            [sys.executable, '-c', 'from korora_tools import ui; ui.say("x")'],
            env={**os.environ, 'PYTHONPATH': TOOLS, 'KORORA_STARTED': started},
            text=True,
            capture_output=True,
            timeout=60,
        ).stdout
        return float(said.split('s')[0])

    def test_a_child_goes_on_with_its_parents(self) -> None:
        said = self.seconds(f'{time.monotonic() - 1000:.3f}')
        self.assertTrue(1000 <= said < 1060, said)

    def test_nonsense_is_no_time(self) -> None:
        for started in ('', 'yesterday', '1e99', 'nan'):
            said = self.seconds(started)
            self.assertTrue(0 <= said < 60, (started, said))


class TestLauncher(testtools.TestCase):
    def test_every_command_is_a_link_to_it(self) -> None:
        for name in (
            'bench',
            'demo',
            'fresh',
            'fuzz',
            'lab',
            'test',
            'vectors',
        ):
            path = pathlib.Path(TOOLS, name)
            self.assertEqual('launch', os.readlink(path))
            told = subprocess.run(
                [str(path), '--help'],
                text=True,
                capture_output=True,
                timeout=60,
            )
            self.assertEqual(0, told.returncode, told.stderr)
            self.assertIn('usage', told.stdout)

    def test_it_says_what_to_install(self) -> None:
        text = pathlib.Path(TOOLS, 'launch').read_text()
        folder = self.useFixture(fixtures.TempDir())
        script = pathlib.Path(folder.join('demo'))
        script.write_text(
            text.replace('/usr/bin/python3', folder.join('python3'))
        )
        told = subprocess.run(
            ['sh', str(script)], text=True, capture_output=True
        )
        self.assertEqual(2, told.returncode)
        self.assertIn('apt-get install', told.stderr)
