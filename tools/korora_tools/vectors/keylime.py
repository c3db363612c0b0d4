# SPDX-License-Identifier: Apache-2.0
"""Recipe: what a real Keylime verifier and registrar answer in each situation.

The situations are those of :mod:`korora_tools.keylime.stages`, on software
TPMs.
"""

from __future__ import annotations

import contextlib
import functools
import pathlib
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import Any

import requests

from korora_tools import ui
from korora_tools.keylime import services, stages
from korora_tools.vectors import store
from korora_tools.vectors.packages import Workshop

HOST = 'h1'
#: Seconds between the two readings of an agent at the registrar.
_APART = 11.0


def recipes() -> dict[str, tuple[str, Callable[..., None]]]:
    """One for each situation."""
    return {
        f'keylime/{stage.__name__}': (stages.about(stage), record)
        for stage in stages.STAGES
    }


@functools.cache
def record(shop: Workshop) -> None:
    """All of them, once: each follows from the one before."""
    from tests.support import swtpm

    python = services.ensure()
    with contextlib.ExitStack() as life:
        directory = pathlib.Path(
            life.enter_context(
                tempfile.TemporaryDirectory(prefix='korora-keylime-')
            )
        )
        made = services.Services(python, directory)
        life.callback(made.stop)
        made.start()
        machine = life.enter_context(swtpm.SwTpm('A'))
        other = life.enter_context(swtpm.SwTpm('B'))
        keylime = stages.Keylime(made, machine, other, HOST)
        life.callback(keylime.stop)
        what = {
            'keylime': _version(python),
            'swtpm': _line('swtpm', '--version'),
            'when': time.strftime('%Y-%m-%d', time.gmtime()),
        }
        for stage in stages.STAGES:
            ui.note(stage.__name__)
            stage(keylime)
            if stage is stages.reassigned:
                time.sleep(_APART)
            _write(shop, stage, keylime, what)


def _write(
    shop: Workshop,
    stage: stages.Stage,
    keylime: stages.Keylime,
    made: dict[str, str],
) -> None:
    ask = functools.partial(_exchange, keylime.services)
    asked = time.time()
    exchanges = [
        ask('verifier', '/version'),
        ask('verifier', '/v2.6/agents/?bulk=true'),
        ask('registrar', '/version'),
        ask('registrar', f'/v2.6/agents/{keylime.uuid}'),
        ask('registrar', f'/v2.6/agents/{keylime.host}'),
    ]
    store.write(
        shop.out,
        f'keylime/{stage.__name__}',
        {},
        {
            'about': stages.about(stage),
            'made': made,
            'host': HOST,
            'agent': keylime.uuid,
            # TPM2B_PUBLIC of the machine that is the host
            'ek_public': keylime.agent.file64('ek.pub'),
            'asked_at': asked,
            'exchanges': exchanges,
        },
    )


def _exchange(made: services.Services, name: str, path: str) -> dict[str, Any]:
    options = made.options()
    answer = requests.get(
        options[f'{name}_url'] + path,
        verify=options['ca_file'],
        cert=(options['cert_file'], options['key_file']),
        timeout=20,
    )
    return {
        'service': name,
        'path': path,
        'status': answer.status_code,
        'headers': {
            key: answer.headers[key] for key in ('Content-Type', 'Date')
        },
        'body': answer.text,
    }


def _version(python: pathlib.Path) -> str:
    return _line(
        str(python),
        '-c',
        'from importlib import metadata as m; print(m.version("keylime"))',
    )


def _line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]
