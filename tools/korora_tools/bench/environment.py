# SPDX-License-Identifier: Apache-2.0
"""Keylime in a virtual environment of its own, and Debian's evmctl.

The wheel of keylime names no dependencies, and its own list is longer than
what appraising an IMA list imports: keylime.txt has that, pinned.
"""

from __future__ import annotations

import pathlib

from korora_tools import checkout, environment, setup

_PEER = checkout.ROOT / '.venv-keylime'
PYTHON = _PEER / 'bin' / 'python'


def ensure() -> None:
    """Make it; cheap when it is there.

    :raises Problem: apt-get or pip failed.
    """
    setup.install(('ima-evm-utils',))
    environment.ensure(
        _PEER,
        pathlib.Path(__file__).with_name('keylime.txt'),
        options=['--no-deps'],
    )
