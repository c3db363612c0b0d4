# SPDX-License-Identifier: Apache-2.0
"""The release of Nova before, in an environment of its own.

All else is as in the project's: what differs is Nova's doing.
"""

from __future__ import annotations

import pathlib

from korora_tools import checkout, environment, ui

RELEASE = '33'
#: nova/objects/service.py: SERVICE_VERSION of that release.
SERVICE = 72
_PIN = f'nova=={RELEASE}.0.0'
#: What is started from there, beside Nova's own; the rest is only seen.
_STARTED = ('oslo.privsep==', 'stestr==')

TARGET = checkout.VENV / 'series' / f'nova-{RELEASE}'
BIN = TARGET / 'bin'


def ensure() -> pathlib.Path:
    """Make the environment, if need be; its Python."""
    lines = checkout.CONSTRAINTS.read_text().splitlines()
    pinned = [line for line in lines if line.startswith(_STARTED)]
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    listed = TARGET.with_suffix('.txt')
    listed.write_text('\n'.join([*pinned, _PIN, '']))
    python = environment.ensure(TARGET, listed, options=['--no-deps'])
    environment.share(python)
    return python


def install() -> None:
    """Install what is here now beside it, for its services.

    Their entry points, and our part of Nova's package, come installed only.
    """
    python = ensure()
    with ui.step(f'install korora-nova beside Nova {RELEASE}'):
        environment.install(
            python,
            '--no-deps',
            '--no-build-isolation',
            '--force-reinstall',
            str(checkout.ROOT),
        )
