# SPDX-License-Identifier: Apache-2.0
"""Horizon under uWSGI on the loopback address, DEBUG off."""

from __future__ import annotations

import pathlib
import secrets

import requests

from korora_tools import checkout, ui
from korora_tools.fleet.processes import LOCAL, Process, Scratch
from korora_tools.horizon import environment

_SETTINGS = """
import os
DEBUG = False
ALLOWED_HOSTS = ['{local}']
SECRET_KEY = '{secret}'
LOCAL_PATH = '{path}'
STATIC_ROOT = '{static}'
COMPRESS_ENABLED = True
COMPRESS_OFFLINE = True
OPENSTACK_HOST = '{local}'
OPENSTACK_KEYSTONE_URL = '{keystone}'
AVAILABLE_THEMES = [('default', 'Default', 'themes/default')]
CACHES = {{
    'default': {{
        'BACKEND': 'django.core.cache.backends.memcached.PyMemcacheCache',
        'LOCATION': '{local}:{memcached}',
    }}
}}
ATTESTATION_TIMEOUT = 3
ATTESTATION_TRUSTED_KEYS = {keys!r}
"""
_UWSGI = """
[uwsgi]
http-socket = {local}:{port}
module = openstack_dashboard.wsgi:application
home = {home}
pythonpath = {path}
env = DJANGO_SETTINGS_MODULE=openstack_dashboard.settings
static-map = /static={static}
processes = 2
threads = 4
enable-threads = true
need-app = true
die-on-term = true
buffer-size = 65535
disable-logging = true
lazy-apps = true
listen = 100
# Browsers, too, see resets without these
add-header = Connection: close
post-buffering = 65536
"""


class Horizon:
    """The dashboard.

    :ivar url: of its front page.
    """

    def __init__(
        self,
        scratch: Scratch,
        python: pathlib.Path,
        *,
        keystone: str,
        memcached: int,
        keys: str,
    ) -> None:
        self._scratch = scratch
        self.port = scratch.port()
        self.url = f'http://{LOCAL}:{self.port}'
        self.path = scratch.path / 'horizon'
        self.static = self.path / 'static'
        local = self.path / 'local'
        local.mkdir(parents=True)
        (local / '__init__.py').touch()
        (local / 'local_settings.py').write_text(
            _SETTINGS.format(
                local=LOCAL,
                secret=secrets.token_hex(32),
                path=local,
                static=self.static,
                keystone=keystone,
                memcached=memcached,
                keys=keys,
            )
        )
        self._collect(python)
        self.process = self._served()

    def _collect(self, python: pathlib.Path) -> None:
        """Static files, compressed before anybody asks."""
        for command in (
            ['collectstatic', '--noinput', '--verbosity=0'],
            ['compress', '--force'],
        ):
            with ui.step(f'Horizon: {command[0]}'):
                done = environment.run(
                    python,
                    ['-m', 'django', *command],
                    {
                        'DJANGO_SETTINGS_MODULE': (
                            'openstack_dashboard.settings'
                        ),
                        'PYTHONPATH': str(self.path),
                    },
                    self.path,
                )
            if done.returncode:
                lines = (done.stdout + done.stderr).splitlines()[-12:]
                raise ui.Problem(
                    f'Horizon cannot {command[0]}:\n  ' + '\n  '.join(lines)
                )

    def _served(self) -> Process:
        ini = self.path / 'horizon.ini'
        ini.write_text(
            _UWSGI.format(
                local=LOCAL,
                port=self.port,
                home=environment.VENV,
                path=self.path,
                static=self.static,
            )
        )
        return self._scratch.process(
            'horizon',
            [str(checkout.BIN / 'uwsgi'), '--ini', str(ini)],
            self._answers,
            {'PYTHONPATH': str(self.path)},
        )

    def _answers(self) -> bool:
        try:
            found = requests.get(f'{self.url}/auth/login/', timeout=30)
        except requests.RequestException:
            return False
        return found.status_code == 200
