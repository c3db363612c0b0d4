# SPDX-License-Identifier: Apache-2.0
"""A service in whose name alerts fire, and an operator who reads a page."""

from __future__ import annotations

import contextlib
import io
import pathlib
import re
import shlex
import types
from typing import Any
from unittest import mock

import fixtures
import webob

from korora_nova import metrics
from korora_nova.cmd import check, manage
from korora_nova.wsgi import exposition
from tests.functional.api import base
from tests.support import promtool
from tests.unit import test_packaging as packaging

PAGE = (
    pathlib.Path(__file__).resolve().parents[2]
    / 'doc/source/admin/monitoring.rst'
)
TYPED = re.compile(
    r'``((?:openstack\s+attestation|korora-manage|korora-agent)\s[^`]+)``'
)
_CONFIG = """
[database]
connection = sqlite:///{directory}/korora.db
[anchor]
backend = database
connection = sqlite:///{directory}/anchor.db
[verifier]
keys_dir = {directory}
ek_roots = {directory}
trusted_keys = {directory}/keys.json
[nova]
auth_type = none
endpoint_override = http://127.0.0.1:1
[placement]
auth_type = none
endpoint_override = http://127.0.0.1:1
"""
_AGENT = """
[attester]
host = h1
socket = {directory}/agent.sock
tcti = swtpm:path={directory}/no-tpm
state_dir = {directory}/state
trusted_keys = {directory}/keys.json
libvirt_uri = test:///default
[service_auth]
auth_type = none
endpoint_override = http://127.0.0.1:1
"""


def section(alert: str) -> str:
    """What the page says about an alert."""
    _, _, rest = PAGE.read_text().partition(f'\n{alert}\n{"-" * len(alert)}\n')
    return re.split(r'\n\S+\n-{5,}\n|\n\S.*\n={5,}\n', rest)[0]


def words(command: str) -> tuple[str, ...]:
    """A command without what differs from cloud to cloud."""
    return tuple(
        word
        for word in shlex.split(command)
        if re.fullmatch('[a-z-]+', word) and not word.startswith('--')
    )


class RunbookCase(base.ApiTestCase):
    """Gives :meth:`scrape`, :meth:`tried` and :meth:`typed`.

    :cvar PROCESS: which process's metrics the test counts.
    """

    SETTINGS = {'migration_tls': 'site'}
    PROCESS = metrics.API

    def setUp(self) -> None:
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        metrics.start(str(self.directory), self.PROCESS)
        self.addCleanup(metrics.stop)
        self.said: set[tuple[str, ...]] = set()
        self.config = self._written('korora.conf', _CONFIG)
        self.agent_config = self._written('agent.conf', _AGENT)

    def _written(self, name: str, text: str) -> str:
        path = pathlib.Path(self.korora.directory, name)
        path.write_text(text.format(directory=self.korora.directory))
        return str(path)

    # What Prometheus sees

    def exported(self) -> str:
        """``/metrics``, of a process that has read nothing before."""
        app = exposition.Application(
            exposition.Collector(self.korora.service, str(self.directory))
        )
        answer = webob.Request.blank('/metrics').get_response(app)
        self.assertEqual(200, answer.status_code)
        return answer.text

    def scrape(self, up: int = 1) -> promtool.Scrape:
        """All targets: the service, and node_exporter's files."""
        metrics.write()
        node = {'instance': 'node-1', 'job': 'node'}
        service = {'instance': 'controller-1:9899', 'job': 'korora'}
        found = {promtool.series('up', service): float(up)}
        if up:
            found |= promtool.read(self.exported(), **service)
        for path in self.directory.glob('*.prom'):
            if not path.name.startswith(metrics.API):
                found |= promtool.read(path.read_text(), **node)
            stamp = {'file': str(path), **node}
            found[promtool.series('node_textfile_mtime_seconds', stamp)] = (
                path.stat().st_mtime
            )
        return promtool.Scrape(self.now(), found)

    def now(self) -> float:
        return float(self.korora.clock())

    def quiet(self, alert: str, state: promtool.Scrape) -> None:
        self.assertFalse(promtool.fires(alert, state, state), alert)

    def fires(
        self, alert: str, before: promtool.Scrape, after: promtool.Scrape
    ) -> None:
        self.quiet(alert, before)
        self.assertTrue(promtool.fires(alert, before, after), alert)

    # What an operator does

    def typed(self, command: str, code: int = 0) -> str:
        """Type a command of the page; returns what it says."""
        self.said.add(words(command))
        program, *rest = shlex.split(command)
        if program == 'korora-manage':
            return self._run(
                lambda: manage.main(['--config-file', self.config, *rest]),
                code,
            )
        if program == 'korora-agent':
            argv = ['--config-file', self.agent_config, '--timeout', '3']
            return self._run(lambda: check.main([*argv, *rest[1:]]), code)
        return self._openstack(rest, code)

    def _run(self, work: Any, code: int) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            self.assertEqual(code, work(), out.getvalue())
        return out.getvalue()

    def _openstack(self, rest: list[str], code: int) -> str:
        commands = {
            tuple(point.name.split('_')): point
            for point in packaging.entry_points()
            if point.group == 'openstack.attestation.v1'
        }
        point = commands[tuple(rest[:3])]
        app = types.SimpleNamespace(
            client_manager=types.SimpleNamespace(attestation=self.admin),
            stdout=io.StringIO(),
            options=None,
        )
        made = point.load()(app, None)
        try:
            parsed = made.get_parser('openstack').parse_args(rest[3:])
        except SystemExit:
            raise AssertionError(f'no such command: {rest}') from None
        with mock.patch('time.time', self.korora.clock):
            self.assertEqual(code, made.run(parsed))
        return app.stdout.getvalue()

    def tried(self, alert: str) -> None:
        """Insist that each command of the page was typed."""
        text = ' '.join(section(alert).split())
        self.assertTrue(text, alert)
        for command in TYPED.findall(text):
            wanted = words(command)
            heads = {one[: len(wanted)] for one in self.said}
            self.assertIn(wanted, heads, alert)
