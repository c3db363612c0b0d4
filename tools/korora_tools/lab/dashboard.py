# SPDX-License-Identifier: Apache-2.0
"""Horizon with the panel, for a lab that is up.

It runs beside the other services, in the control plane's network. A browser
is outside: haproxy listens at the machine's loopback address, and calls into
that network's namespace.
"""

from __future__ import annotations

import shutil

from korora_tools import checkout, ui
from korora_tools.horizon import environment, site
from korora_tools.lab import attestation, paths, processes

HORIZON, DOOR = 'horizon', 'horizon-door'
PORT = 8980
URL = f'http://127.0.0.1:{PORT}'
#: By which a browser may call it; "localhost" is for who comes by ssh -L.
_HOSTS = ('127.0.0.1', 'localhost', paths.CTL_IP)
_HAPROXY = """\
defaults
    mode http
    timeout connect 5s
    timeout client 120s
    timeout server 120s
frontend outside
    bind 127.0.0.1:{port}
    default_backend horizon
backend horizon
    server horizon {inside} namespace {namespace}
"""


def made(lab: paths.Lab) -> site.Site:
    """Where it is, and what it is told."""
    return site.Site(
        lab.data / HORIZON,
        f'{paths.CTL_IP}:{PORT}',
        _HOSTS,
        paths.AUTH_URL,
        paths.address('memcached'),
        str(attestation.directory(lab) / 'keys.json'),
    )


def door() -> str:
    """What haproxy is told."""
    return _HAPROXY.format(
        port=PORT, inside=f'{paths.CTL_IP}:{PORT}', namespace=paths.CTL
    )


def up(lab: paths.Lab) -> None:
    """Bring it up, unless it is; on a failure nothing of it stays.

    :raises Problem: it cannot be installed or served.
    """
    if not all(processes.pid_of(lab, name) for name in (HORIZON, DOOR)):
        down(lab)
        try:
            _up(lab)
        except BaseException:
            down(lab)
            raise
    ui.note(
        f'Horizon: {URL} (Admin > Compute > Attestation)\n'
        f'  user admin, password in {lab.cache / "password"}'
    )


def _up(lab: paths.Lab) -> None:
    python = environment.ensure(browser=False)
    here = made(lab)
    here.write()
    here.collect(python)
    config = here.path / 'haproxy.cfg'
    config.write_text(door())
    with ui.step('Horizon'):
        processes.spawn(
            lab,
            HORIZON,
            [str(checkout.BIN / 'uwsgi'), '--ini', str(here.ini)],
            env={'PYTHONPATH': str(here.path)},
        )
        processes.spawn(
            lab, DOOR, ['haproxy', '-db', '-f', str(config)], 'root'
        )
        answers = processes.answering(f'{URL}/auth/login/')
        processes.wait_for(lab, HORIZON, lambda: answers() or _shut(lab))
        if _shut(lab):
            raise ui.Problem(
                f'haproxy cannot listen at {URL}; does somebody else?'
                + processes.tail(lab, DOOR)
            )


def _shut(lab: paths.Lab) -> bool:
    return processes.pid_of(lab, DOOR) is None


def down(lab: paths.Lab) -> None:
    """Stop and remove it; nothing if it is not there."""
    processes.stop(lab, (DOOR, HORIZON))
    for name in (DOOR, HORIZON):
        processes.forget(lab, name)
    shutil.rmtree(lab.data / HORIZON, ignore_errors=True)
