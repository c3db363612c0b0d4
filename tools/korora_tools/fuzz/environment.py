# SPDX-License-Identifier: Apache-2.0
"""Atheris in a virtual environment of its own, small and without root."""

from __future__ import annotations

import pathlib

from korora_tools import checkout, environment

#: The environment, the corpora that runs have found, and what failed.
STATE = checkout.ROOT / '.fuzz'
VENV = STATE / 'venv'
PYTHON = VENV / 'bin' / 'python'


def ensure() -> None:
    """Make it; cheap when it is there.

    :raises Problem: pip failed.
    """
    environment.ensure(
        VENV,
        pathlib.Path(__file__).with_name('requirements.txt'),
        checkout.CONSTRAINTS,
    )
