# SPDX-License-Identifier: Apache-2.0
"""Horizon in the lab: what it is told, and what becomes of it."""

import ast
import configparser
import contextlib
import io
import pathlib
import tempfile
import unittest
from unittest import mock

from korora_tools import ui
from korora_tools.lab import cli, cloud, dashboard, paths, processes


class DashboardTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.lab = paths.Lab(pathlib.Path(folder.name) / 'lab')
        self.lab.make()

    def test_settings_are_python_for_root_alone(self) -> None:
        here = dashboard.made(self.lab)
        here.write()
        path = here.path / 'local' / 'local_settings.py'
        self.assertEqual(0o600, path.stat().st_mode & 0o777)
        told = {
            target.id: node.value
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

        def value(name: str) -> object:
            return ast.literal_eval(told[name])

        self.assertIs(False, value('DEBUG'))
        self.assertEqual(paths.AUTH_URL, value('OPENSTACK_KEYSTONE_URL'))
        self.assertEqual(
            ['127.0.0.1', 'localhost', paths.CTL_IP], value('ALLOWED_HOSTS')
        )
        self.assertEqual(
            str(self.lab.etc / 'korora/keys.json'),
            value('ATTESTATION_TRUSTED_KEYS'),
        )
        first = value('SECRET_KEY')
        here.write()
        self.assertNotIn(str(first), path.read_text())

    def test_it_listens_inside_and_its_door_outside(self) -> None:
        here = dashboard.made(self.lab)
        here.write()
        ini = configparser.ConfigParser()
        ini.read(here.ini)
        inside = f'{paths.CTL_IP}:{dashboard.PORT}'
        self.assertEqual(inside, ini['uwsgi']['http-socket'])
        self.assertNotIn(dashboard.PORT, paths.PORTS.values())
        self.assertIn('bind 127.0.0.1:8980\n', dashboard.door())
        self.assertIn(
            f'server horizon {inside} namespace korora-ctl\n',
            dashboard.door(),
        )

    def test_what_fails_leaves_nothing(self) -> None:
        def fails(lab: paths.Lab) -> None:
            dashboard.made(lab).write()
            processes.spawn(lab, dashboard.HORIZON, ['sleep', '99'], 'root')
            raise ui.Problem('no room')

        with (
            mock.patch.object(dashboard, '_up', fails),
            self.assertRaisesRegex(ui.Problem, 'no room'),
        ):
            dashboard.up(self.lab)
        self.assertEqual([], processes.names(self.lab))
        self.assertFalse((self.lab.data / 'horizon').exists())

    def test_what_runs_is_not_made_again(self) -> None:
        with (
            mock.patch.object(dashboard, '_up') as made,
            mock.patch.object(processes, 'pid_of', return_value=1),
            mock.patch.object(ui, 'note') as said,
        ):
            dashboard.up(self.lab)
        made.assert_not_called()
        self.assertIn(dashboard.URL, said.call_args.args[0])


class CommandTest(unittest.TestCase):
    def test_a_lab_that_is_up_gets_it_as_well(self) -> None:
        lab = paths.Lab(pathlib.Path('/nonexistent'))
        with (
            mock.patch.object(cloud, 'is_up', return_value=True),
            mock.patch.object(cloud, 'is_stock', return_value=False),
            mock.patch.object(cloud.dashboard, 'up') as up,
            mock.patch.object(ui, 'note'),
        ):
            cloud.up(lab, stock=False)
            up.assert_not_called()
            cloud.up(lab, stock=False, horizon=True)
        up.assert_called_once_with(lab)

    def test_the_baseline_has_none(self) -> None:
        with (
            contextlib.redirect_stderr(io.StringIO()) as said,
            self.assertRaises(SystemExit),
        ):
            cli.parser().parse_args(['up', '--stock', '--horizon'])
        self.assertIn('not allowed', said.getvalue())
