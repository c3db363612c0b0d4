# SPDX-License-Identifier: Apache-2.0
"""The parts of tools/devstack that need no container."""

from __future__ import annotations

import pathlib
import subprocess

import fixtures
import testtools

from korora_tools import ui
from korora_tools.devstack import (
    image,
    localconf,
    mirrors,
    paths,
    tempest,
    verify,
)

RUN = """\
{0} korora_tempest_plugin.tests.api.test_hosts.Hosts.test_list [0.2s] ... ok
{0} korora_tempest_plugin.tests.api.test_hosts.Hosts.test_x [0.2s] ... FAILED
{0} tempest.api.compute.admin.test_a.A.test_b ... SKIPPED: Only one node

======
Totals
======
Ran: 3 tests in 10.0000 sec.
 - Passed: 1
 - Skipped: 1
 - Expected Fail: 0
 - Unexpected Success: 0
 - Failed: 1
Sum of execute time for each test: 9.0000 sec.
"""


class TestMirrors(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.dir = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def make(self, name: str) -> pathlib.Path:
        path = self.dir / name
        subprocess.run(['git', 'init', '-q', '--bare', str(path)], check=True)
        return path

    def test_names_of_many_layouts(self) -> None:
        made = {
            'nova': self.make('openstack/nova.git'),
            'keystone': self.make('keystone.git'),
            'glance': self.make('openstack+glance/repo'),
            'tempest': self.make('tempest'),
        }
        self.assertEqual(made, mirrors.find(self.dir))

    def test_a_missing_mirror_says_how_to_make_it(self) -> None:
        self.make('openstack/nova.git')
        refused = self.assertRaises(
            ui.Problem,
            mirrors.lay_out,
            paths.Work(self.dir / 'work'),
            self.dir,
            ['master'],
        )
        self.assertIn('no mirror of barbican, devstack', str(refused))
        self.assertIn('git clone --mirror', str(refused))

    def test_no_such_directory(self) -> None:
        self.assertEqual({}, mirrors.find(self.dir / 'nowhere'))

    def commit(self, name: str, branch: str) -> None:
        path = self.make(f'{name}.git')
        tree = mirrors.git('write-tree', at=path).strip()
        who = ('-c', 'user.name=x', '-c', 'user.email=x@example.org')
        made = mirrors.git(
            *who, 'commit-tree', '-m', name, tree, at=path
        ).strip()
        mirrors.git('update-ref', f'refs/heads/{branch}', made, at=path)

    def lay_out(self) -> pathlib.Path:
        work = paths.Work(self.dir / 'work')
        mirrors.lay_out(work, self.dir, ['stable/x'])
        return work.git / 'openstack'

    def test_repositories_of_others_are_left_out(self) -> None:
        for name in mirrors.NAMES:
            self.commit(name, 'master')
        self.commit('another', 'main')
        served = {path.stem for path in self.lay_out().iterdir()}
        self.assertEqual(set(mirrors.NAMES), served)

    def test_one_of_ours_without_a_branch(self) -> None:
        for name in mirrors.NAMES[1:]:
            self.commit(name, 'master')
        self.commit(mirrors.NAMES[0], 'main')
        refused = self.assertRaises(ui.Problem, self.lay_out)
        self.assertIn(mirrors.NAMES[0], str(refused))


class TestTempest(testtools.TestCase):
    def test_counts_and_reasons(self) -> None:
        self.assertEqual(
            {
                'passed': 1,
                'failed': 1,
                'skipped': 1,
                'failures': [
                    'korora_tempest_plugin.tests.api.test_hosts.Hosts.test_x'
                ],
                'skips': {
                    'tempest.api.compute.admin.test_a.A.test_b': (
                        'Only one node'
                    )
                },
            },
            tempest.read(RUN),
        )

    def test_a_run_that_broke_off(self) -> None:
        self.assertRaises(
            ui.Problem, tempest.read, 'ImportError: no module named x'
        )


class TestLocalConf(testtools.TestCase):
    def test_plugins_in_the_order_in_which_they_need_each_other(self) -> None:
        text = localconf.render('ctl', 'master')
        barbican = text.index('enable_plugin barbican')
        self.assertLess(barbican, text.index('enable_plugin korora-nova'))
        self.assertIn('HOST_IP=10.78.0.11\n', text)
        self.assertIn('stack@{host} sudo', text)
        self.assertNotIn('OFFLINE', text)

    def test_a_subnode_has_no_service(self) -> None:
        text = localconf.render('sub1', 'master', offline=True)
        self.assertIn('disable_service korora-api\n', text)
        self.assertIn('SERVICE_HOST=10.78.0.11\n', text)
        self.assertIn('OFFLINE=True\n', text)
        self.assertNotIn('barbican', text)


class TestVerify(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.report: verify.Report = {
            'parts': [part.__name__ for part in verify.PARTS],
            'stack_rc': 0,
            'restack_rc': 0,
            'offline_rc': 0,
            'affirming': True,
            'scenarios': [{'id': 'boot', 'ok': True}],
            'multinode': {'migrated': True, 'back': True, 'refused': True},
            'tempest': {
                'ours': {'passed': 40, 'failed': 0},
                'upstream': {'passed': 52, 'failed': 0},
            },
            'left_after_clean': [],
        }

    def test_all_is_well(self) -> None:
        self.assertTrue(verify.good(self.report))

    def test_each_part_counts(self) -> None:
        for broken in (
            {'restack_rc': 1},
            {'left_after_clean': ['/etc/korora']},
            {'scenarios': [{'id': 'boot', 'ok': False}]},
            {'multinode': {'migrated': True, 'back': False}},
            {'failed': ['stack.sh on sub1 ended with 1']},
            {
                'tempest': {
                    'ours': {'passed': 39, 'failed': 0},
                    'upstream': {'passed': 52, 'failed': 0},
                }
            },
            {
                'tempest': {
                    'ours': {'passed': 40, 'failed': 0},
                    'upstream': {'passed': 52, 'failed': 1},
                }
            },
        ):
            self.assertFalse(verify.good({**self.report, **broken}), broken)

    def test_a_part_that_did_not_run_is_not_good(self) -> None:
        for name in (
            'multinode',
            'tempest',
            'offline_rc',
            'scenarios',
            'parts',
        ):
            report = {k: v for k, v in self.report.items() if k != name}
            self.assertFalse(verify.good(report), name)


class TestImage(testtools.TestCase):
    def test_a_disk_that_prints_its_line(self) -> None:
        disk = image.raw()
        self.assertEqual(image.SIZE, len(disk))
        self.assertEqual(b'\x55\xaa', disk[510:512])
        self.assertIn(image.LINE.encode(), disk[:446])
