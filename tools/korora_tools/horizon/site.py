# SPDX-License-Identifier: Apache-2.0
"""A Horizon's directory: settings, static files, and how uWSGI serves it.

The standard library only: the lab uses it, too.
"""

from __future__ import annotations

import dataclasses
import pathlib
import secrets
from collections.abc import Sequence

from korora_tools import ui
from korora_tools.horizon import environment

_SETTINGS = """\
import os
DEBUG = False
ALLOWED_HOSTS = {hosts!r}
SECRET_KEY = '{secret}'
LOCAL_PATH = '{path}'
STATIC_ROOT = '{static}'
COMPRESS_ENABLED = True
COMPRESS_OFFLINE = True
OPENSTACK_KEYSTONE_URL = '{keystone}'
AVAILABLE_THEMES = [('default', 'Default', 'themes/default')]
CACHES = {{
    'default': {{
        'BACKEND': 'django.core.cache.backends.memcached.PyMemcacheCache',
        'LOCATION': '{memcached}',
    }}
}}
if os.environ.get('{alone}'):
    CACHES['default'] = {{
        'BACKEND': 'django.core.cache.backends.locmem.LocMemCache'
    }}
ATTESTATION_TIMEOUT = 3
ATTESTATION_TRUSTED_KEYS = {keys!r}
"""
#: In the environment of what needs no memcached, which is in a network of its
#: own in the lab.
_ALONE = 'KORORA_HORIZON_ALONE'
_UWSGI = """\
[uwsgi]
http-socket = {listen}
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


@dataclasses.dataclass(frozen=True)
class Site:
    """Where it lives, and what it is told.

    :param listen: address and port. ``hosts`` are the names by which
        browsers may call it.
    :param keystone: URL; ``memcached`` address and port; ``keys`` path of
        the pinned keys.
    """

    path: pathlib.Path
    listen: str
    hosts: Sequence[str]
    keystone: str
    memcached: str
    keys: str

    @property
    def static(self) -> pathlib.Path:
        return self.path / 'static'

    @property
    def ini(self) -> pathlib.Path:
        return self.path / 'horizon.ini'

    def write(self) -> None:
        """Its configuration files, for root alone."""
        local = self.path / 'local'
        local.mkdir(parents=True, exist_ok=True)
        (local / '__init__.py').touch()
        settings = local / 'local_settings.py'
        settings.touch(mode=0o600)
        settings.write_text(
            _SETTINGS.format(
                hosts=list(self.hosts),
                secret=secrets.token_hex(32),
                path=local,
                static=self.static,
                keystone=self.keystone,
                memcached=self.memcached,
                alone=_ALONE,
                keys=self.keys,
            )
        )
        self.ini.write_text(
            _UWSGI.format(
                listen=self.listen,
                home=environment.VENV,
                path=self.path,
                static=self.static,
            )
        )

    def collect(self, python: pathlib.Path) -> None:
        """Static files, compressed before anybody asks.

        :raises Problem: Django could not.
        """
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
                        _ALONE: '1',
                    },
                    self.path,
                )
                if done.returncode:
                    lines = (done.stdout + done.stderr).splitlines()[-12:]
                    raise ui.Problem(
                        f'Horizon cannot {command[0]}:\n  '
                        + '\n  '.join(lines)
                    )
